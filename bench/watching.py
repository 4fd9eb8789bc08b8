"""Is evidence of drift valid at any time, how soon does it grow, and does `watch` lose or repeat anything when killed?

    python bench/watching.py [--runs 2000] [--kills 30] [--only NAME …]

- no drift: runs of 1,000 scores that are exchangeable with the held-out ones. Evidence that ever reaches 100 is a false
  alarm; at most 1 % of the runs may have one. With it, the rate of alarms: evidence against a promise that is kept, and
  bounds that ever exclude the true rate.
- drift: how many scores after a shift the evidence reaches 100.
- kill: `oddkind watch` is killed (SIGKILL) at random moments while files arrive.
- broker: the same with an MQTT topic, and a mosquitto that is restarted; left out if there is none.

The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from oddkind import Detector, save
from oddkind.model.alarm_rate import AlarmRate
from oddkind.model.conformal import CalibrationScores, alarms, p_values
from oddkind.model.martingale import DRIFT, Capital, ConformalMartingale

Array = np.ndarray
HELD_OUT = (20, 100)
LENGTH = 1000
WINDOWS = 10  # in a file
DRIFT_RUNS, MOST_WAITED = 200, 400

# A detector of drift: from the held-out scores and a seed to a function that takes a score and says whether there is.
Watcher = Callable[[float], bool]


# --- detectors of drift ---


def among_all(held_out: Array, seed: int) -> Watcher:
    """Oddkind's: ranks among held-out and earlier new scores."""
    martingale = ConformalMartingale({"": held_out}, seed)

    def add(score: float) -> bool:
        martingale.add(score)
        return martingale.drifted

    return add


def among_held_out(held_out: Array, seed: int, margin: float = 0.0, threshold: float = DRIFT) -> Watcher:
    """Ranks among the held-out scores alone, with the same bets: what is often done, and is no martingale."""
    known, draw, capital = np.sort(held_out), np.random.default_rng(seed), Capital()

    def add(score: float) -> bool:
        above = len(known) - np.searchsorted(known, score, side="right")
        capital.bet((above + draw.random()) / (len(known) + 1))
        return capital.log_highest >= math.log(threshold)

    return add


def widened(held_out: Array, seed: int) -> Watcher:
    """Ranks among the held-out scores alone, made valid by the band of Dvoretzky, Kiefer, Wolfowitz and Massart.

    With probability 99.5 % no p-value is further than the margin from that of the true distribution, and bets on small
    ones lose nothing if they are raised by it; another 0.5 % are for the martingale. This is the idea of Shaer et al.,
    ICML 2026, for one side.
    """
    known, powers = np.sort(held_out), np.array([0.1, 0.25, 0.5, 0.75])
    margin = math.sqrt(math.log(2 / 0.005) / (2 * len(held_out)))
    waiting, bet, n = 1.0, np.zeros(4), 0

    def add(score: float) -> bool:
        nonlocal waiting, bet, n
        n += 1
        p = min(1.0, float(np.mean(known >= score)) + margin)
        bet = (bet + waiting / (n + 1) / 4) * powers * p ** (powers - 1)
        waiting *= n / (n + 1)
        return bool(waiting + bet.sum() >= 200)

    return add


def jumper(held_out: Array, seed: int, jump: float = 0.01) -> Watcher:
    """The Simple Jumper of Vovk et al. on ranks among all scores: valid, too."""
    martingale, shares = ConformalMartingale({"": held_out}, seed), np.full(3, 1 / 3)
    bets = np.array([-1.0, 0.0, 1.0])

    def add(score: float) -> bool:
        nonlocal shares
        p = martingale.add(score)
        shares = ((1 - jump) * shares + jump * shares.sum() / 3) * (1 + bets * (p - 0.5))
        return bool(shares.sum() >= DRIFT)

    return add


DETECTORS: dict[str, Callable[[Array, int], Watcher]] = {
    "oddkind: among held-out and earlier new scores": among_all,
    "Simple Jumper, the same p-values": jumper,
    "among held-out scores alone": among_held_out,
    "among held-out scores alone, widened": widened,
}


# --- simulations ---


def rate_of(count: int, runs: int) -> str:
    """Format a fraction in per cent with its 95 % interval (Clopper & Pearson)."""
    low, high = binomtest(count, runs).proportion_ci()
    return f"{100 * count / runs:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def table(first: str, columns: list[str], rows: dict[str, list[str]]) -> None:
    """Print a table."""
    print(f"\n| {' | '.join([first, *columns])} |\n| --- {'| --- ' * len(columns)}|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def files_pooled(n: int, draw: np.random.Generator) -> tuple[Array, Array]:
    """Scores of n held-out files and of new ones, pooled by `fisher` from windows that are alike within a file."""
    n_all = n + LENGTH
    owner = np.repeat(np.arange(n_all), WINDOWS)
    scores = draw.normal(size=n_all)[owner] + draw.normal(size=len(owner))
    own = owner < n
    held_out = CalibrationScores(np.empty((own.sum(), 0)), scores[own], owner[own], None)
    return held_out.pooled(owner[own], "fisher").scores, held_out.pool_new(scores[~own], owner[~own], "fisher")


def no_drift(options: argparse.Namespace) -> dict[str, Any]:
    """Count runs without drift in which drift is declared."""
    counts: dict[str, list[int]] = {}
    for n in HELD_OUT:
        draw = np.random.default_rng(n)
        found = Counter[str]()
        for run in range(options.runs):
            held_out, new = draw.normal(size=n), draw.normal(size=LENGTH)
            for name, make in DETECTORS.items():
                add = make(held_out, run)
                found[name] += any(add(score) for score in new)
            held_out, new = files_pooled(n, draw)
            add = among_all(held_out, run)
            found["oddkind, files pooled from windows"] += any(add(score) for score in new)
            if run % 100 == 99:
                print(f"no drift, {n} held out: {run + 1} of {options.runs}", file=sys.stderr, flush=True)
        for name in [*DETECTORS, "oddkind, files pooled from windows"]:
            counts.setdefault(name, []).append(found[name])
    columns = [f"{n} held out" for n in HELD_OUT]
    table(
        f"{options.runs} runs of {LENGTH} scores: drift declared, %",
        columns,
        {name: [rate_of(count, options.runs) for count in of] for name, of in counts.items()},
    )
    return {name: [count / options.runs for count in of] for name, of in counts.items()} | alarm_rates(options)


def alarm_rates(options: argparse.Namespace) -> dict[str, Any]:
    """Count runs in which a promise that is kept looks broken, or the true rate is outside its bounds."""
    rate, counts = 0.05, Counter[tuple[str, int]]()
    for n in HELD_OUT:
        draw = np.random.default_rng(n)
        for _ in range(options.runs):
            held_out, new = draw.random(n), draw.random(LENGTH)
            k = math.floor(round(rate * (n + 1), 9))
            true = 1 - np.sort(held_out)[-k]
            counted, broken, outside = AlarmRate(n, rate), False, False
            for number, alarm in enumerate(alarms(p_values(new, held_out), rate)):
                counted.add(bool(alarm))
                broken = broken or counted.evidence >= 100
                if number % 10 == 0:
                    low, high = counted.bounds()
                    outside = outside or not low <= true <= high
            counts["more alarms than promised declared", n] += broken
            counts["true rate ever outside its bounds", n] += outside
    names = dict.fromkeys(name for name, _ in counts)
    table(
        f"{options.runs} runs of {LENGTH}, 5 % promised: %",
        [f"{n} held out" for n in HELD_OUT],
        {name: [rate_of(counts[name, n], options.runs) for n in HELD_OUT] for name in names},
    )
    return {name: [counts[name, n] / options.runs for n in HELD_OUT] for name in names}


def drift(options: argparse.Namespace) -> dict[str, Any]:
    """Measure how many scores after a shift drift is declared: the median, and the part of the runs that find it."""
    rows: dict[str, list[str]] = {}
    facts: dict[str, Any] = {}
    cases = [(n, before, shift) for n in HELD_OUT for before in (0, 1000) for shift in (1.0, 2.0, 4.0)]
    runs = min(DRIFT_RUNS, options.runs)
    for name, make in DETECTORS.items():
        for n, before, shift in cases:
            draw, waited = np.random.default_rng(n), []
            for run in range(runs):
                add = make(draw.normal(size=n), run)
                if any(add(score) for score in draw.normal(size=before)):
                    continue  # declared before there was any
                shifted = draw.normal(size=MOST_WAITED) + shift
                waited.append(next((k for k, score in enumerate(shifted, 1) if add(score)), math.inf))
            median, found = float(np.median(waited)), float(np.isfinite(waited).mean())
            rows.setdefault(name, []).append(f"{median:g}" if found > 0.5 else f"{100 * found:.0f} % found")
            facts.setdefault(name, {})[f"{n} held out, after {before}, {shift:g} σ"] = [
                median if math.isfinite(median) else None,
                found,
            ]
        print(f"drift: {name}", file=sys.stderr, flush=True)
    columns = [f"{n}, {before}, {shift:g} σ" for n, before, shift in cases]
    table(f"held out, scores before, shift: median of scores until drift is declared ({runs} runs)", columns, rows)
    return facts


# --- the command, killed ---


def fitted(folder: Path) -> Path:
    """Fit a small model for vectors, as files of arrays."""
    from oddkind import fit_files, source_of

    draw = np.random.default_rng(0)
    learnt = folder / "learnt"
    for number in range(120):
        label = f"machine {number % 3}"
        (learnt / label).mkdir(parents=True, exist_ok=True)
        np.save(learnt / label / f"{number}.npy", draw.normal(size=8) + 4 * np.eye(3, 8)[number % 3])
    source = source_of(learnt)
    model = folder / "model.oddkind"
    save(fit_files(source.entries(learnt)[0], source, Detector(epochs=3, random_state=0)), model)
    return model


@contextmanager
def watching(*words: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run `oddkind watch` until the end of the block."""
    command = [sys.executable, "-c", "from oddkind.cli.main import main; main()", "watch", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def n_lines(file: Path) -> int:
    """Count the lines of a file that may not exist yet."""
    return file.read_bytes().count(b"\n") if file.exists() else 0


def killed(kills: int, words: tuple[object, ...], out: Path, between: Callable[[int], None]) -> None:
    """Run the command and kill it again and again: one time in four while it starts, otherwise while it writes."""
    rng = random.Random(0)  # noqa: S311
    for number in range(kills):
        with watching(*words) as process:
            before, deadline = n_lines(out), time.monotonic() + 60
            if number % 4 == 0:
                time.sleep(rng.uniform(0, 4))
            else:
                while n_lines(out) == before and time.monotonic() < deadline:
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.3))
            between(number)
            process.kill()
            process.wait()
        print(f"killed {number + 1} times; {n_lines(out)} lines", file=sys.stderr, flush=True)


def finished(words: tuple[object, ...], out: Path, n: int) -> None:
    """Run the command until it has written all, and stop it."""
    with watching(*words):
        deadline = time.monotonic() + 120
        while n_lines(out) < n and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(2)  # for what would be repeated


def counted(out: Path, expected: set[str]) -> dict[str, int]:
    """Count the items that are lost and repeated."""
    items = Counter(json.loads(line)["item"] for line in out.read_text(encoding="utf-8").splitlines())
    repeated = sum(count - 1 for count in items.values())
    return {"items": len(expected), "lost": len(expected - items.keys()), "repeated": repeated}


def kill(options: argparse.Namespace) -> dict[str, Any]:
    """Kill the command while files arrive in a folder."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, incoming, out = fitted(folder), folder / "in", folder / "out.jsonl"
        incoming.mkdir()
        words = (model, incoming, "--out", out, "--state", folder / "state", "--settle", "200ms")
        draw, expected, stop = np.random.default_rng(1), set[str](), threading.Event()

        def feed() -> None:
            while not stop.wait(0.02):
                file = f"{len(expected)}.npy"
                with (incoming / file).open("wb") as content:
                    np.save(content, draw.normal(size=8))
                expected.add(file)

        feeder = threading.Thread(target=feed)
        feeder.start()
        killed(options.kills, words, out, lambda number: None)
        stop.set()
        feeder.join()
        finished(words, out, len(expected))
        found = counted(out, expected)
    table(f"folder, killed {options.kills} times", ["files", "lost", "repeated"], {"oddkind watch": row_of(found)})
    return found


def row_of(found: dict[str, int]) -> list[str]:
    """Format counts."""
    return [f"{count:,}" for count in found.values()]


class Mosquitto:
    """A broker of its own, on a free port of this machine."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        kept = f"persistence true\npersistence_location {folder}/\nmax_queued_messages 0\n"
        user = "user root\n" if os.geteuid() == 0 else ""
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n{kept}{user}", encoding="utf-8")
        self.start()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        self._process = subprocess.Popen([str(program), "-c", self._config], stderr=subprocess.DEVNULL)  # noqa: S603
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("mosquitto does not start")

    def stop(self) -> None:
        """Stop it; it writes what it holds to the disk."""
        self._process.terminate()
        self._process.wait(30)


def broker(options: argparse.Namespace) -> dict[str, Any]:
    """Kill the command, and restart the broker, while messages arrive."""
    if shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") is None:
        print("mosquitto is not installed; the broker is left out", file=sys.stderr)
        return {"left_out": "mosquitto is not installed"}
    from paho.mqtt.client import Client
    from paho.mqtt.enums import CallbackAPIVersion

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, out = fitted(folder), folder / "out.jsonl"
        server = Mosquitto(folder)
        address = f"mqtt://127.0.0.1:{server.port}/press/#"
        words = (model, address, "--out", out, "--state", folder / "state")
        with watching(*words):  # subscribes, for the first time
            time.sleep(8)
        draw, expected = np.random.default_rng(1), set[str]()
        stop, quiet = threading.Event(), threading.Lock()

        def feed() -> None:
            client = Client(CallbackAPIVersion.VERSION2)
            client.reconnect_delay_set(1, 1)
            client.connect("127.0.0.1", server.port)
            client.loop_start()
            while not stop.wait(0.02):
                with quiet:  # the publisher must not repeat anything itself: the broker is not stopped meanwhile
                    if not client.is_connected():
                        continue
                    topic = f"press/{len(expected)}"
                    sent = client.publish(topic, json.dumps(draw.normal(size=8).tolist()), qos=1)
                    sent.wait_for_publish(30)
                    expected.add(topic)
            client.disconnect()
            client.loop_stop()

        restarts = 0

        def restart(number: int) -> None:
            nonlocal restarts
            if number % 3 != 2:
                return
            with quiet:
                server.stop()
                time.sleep(0.2)
                server.start()
                restarts += 1
            time.sleep(3 if number % 2 else 0)  # is killed while it is, or is not yet, connected again

        feeder = threading.Thread(target=feed)
        feeder.start()
        killed(options.kills, words, out, restart)
        stop.set()
        feeder.join()
        finished(words, out, len(expected))
        server.stop()
        found = counted(out, expected) | {"restarts": restarts}
    table(
        f"MQTT, killed {options.kills} times",
        ["messages", "lost", "repeated", "restarts of the broker"],
        {"oddkind watch": row_of(found)},
    )
    return found


PARTS = {"no drift": no_drift, "drift": drift, "kill": kill, "broker": broker}


def main() -> None:
    """Run the selected experiments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    facts: dict[str, Any] = {"bench": "watching"}
    for name in options.only:
        started = time.perf_counter()
        facts[name] = PARTS[name](options)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
