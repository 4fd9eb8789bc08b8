"""Does the service answer right, fast and in bounded memory, with 200 clients at once, a tenth of whom send garbage?

    python bench/serving.py [--seconds 60] [--clients 200] [--direct-seconds 5]

A service runs in a process of its own, with exported models of vectors and of sounds. Clients on the same computer keep
their connections open and ask again as soon as they are answered: for one sample, for several, for .npy arrays and for
recordings. Each answer is compared with what the model says offline; scores must be equal to the last digit. A tenth
of the requests are garbage of many kinds. Every few seconds the model of vectors is replaced by another one and SIGHUP
is sent; the fingerprint in the answer says which of the two must have answered. At last all clients send one vector at
a time, and the throughput is compared with that of a loop which calls the model for one vector after another; then one
client asks alone. If schemathesis is installed (`pip install -e '.[bench]'`), it attacks the service by its OpenAPI
description. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from oddkind import Detector, fit_files, load, save, score_files, source_of
from oddkind.files.score import read_as_learnt
from oddkind.model.conformal import alarms
from oddkind.train.onnx_export import checked_graphs

RATE = 8000
D = 16
COMMAND = [sys.executable, "-c", "from oddkind.cli.main import main; main()", "serve"]
RELOAD_SECONDS = 4.0
PATIENCE = 2.0  # seconds after which a client that sent half a request hangs up
Right = dict[str, list[tuple[float, float, bool]]]
VECTORS, SOUNDS = "/models/vectors/score", "/models/sounds/score"


# --- models, and what they say offline ---


def vectors(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return vectors [n, 16] of three kinds, a tenth of them shifted, and the kind of each."""
    draw = np.random.default_rng(seed)
    kind = draw.integers(3, size=n)
    X = draw.normal(size=(n, D)) + 4 * np.eye(3, D)[kind]
    return X.astype(np.float32), kind


def record(file: Path, seed: int, *, odd: bool = False) -> None:
    """Write two seconds of a hum in noise."""
    draw, now = np.random.default_rng(seed), np.arange(2 * RATE) / RATE
    sound = 0.2 * np.sin(2 * np.pi * 220 * now) + odd * 0.1 * np.sin(2 * np.pi * 1730 * now)
    soundfile.write(file, sound + 0.02 * draw.normal(size=len(now)), RATE, subtype="PCM_16")


def prepare(folder: Path) -> tuple[list[Path], list[bytes], Path]:
    """Fit the models; return the files to serve, the two versions of the vectors' model, and a folder of recordings."""
    X, kind = vectors(1000, 0)
    versions = []
    for seed in range(2):
        Detector(random_state=seed).fit(X, kind).save(folder / "vectors.oddkind", onnx=True)
        versions.append((folder / "vectors.oddkind").read_bytes())
    (folder / "learnt").mkdir()
    (folder / "new").mkdir()
    for number in range(80):
        record(folder / f"learnt/{number}.wav", number)
    for number in range(12):
        record(folder / f"new/{number}.wav", 1000 + number, odd=number % 3 == 0)
    source = source_of(folder / "learnt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit_files(source.entries(folder / "learnt")[0], source, Detector(random_state=0))
    save(checked_graphs(fitted)[0], folder / "sounds.oddkind")
    return [folder / "vectors.oddkind", folder / "sounds.oddkind"], versions, folder / "new"


@dataclass(frozen=True)
class Question:
    """A request, and for each fingerprint what must be answered: score, p-value and decision of each result."""

    message: bytes
    right: Right
    n: int


def message(path: str, body: bytes, content_type: str, method: str = "POST") -> bytes:
    """Return an HTTP request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def fingerprint(file: Path) -> str:
    """Return the SHA-256 that a saved model states."""
    with zipfile.ZipFile(file) as archive:
        return str(json.loads(archive.read("manifest.json"))["sha256"])


def questions(files: list[Path], versions: list[bytes], new: Path) -> dict[str, list[Question]]:
    """Return requests of each kind with their right answers, computed offline from the same files."""
    X, kind = vectors(400, 1)
    X[::10, :4] += 6
    plain: Right = {}
    labelled: Right = {}
    for content in versions:
        files[0].write_bytes(content)
        model = load(files[0])
        for found, y in ((plain, None), (labelled, kind)):
            p = model.p_value(X, y)
            odd = alarms(p, model.false_alarm_rate)
            found[fingerprint(files[0])] = list(
                zip(model.anomaly_score(X, y).tolist(), p.tolist(), odd.tolist(), strict=True)
            )

    def of(
        rows: slice, known: dict[str, list[tuple[float, float, bool]]]
    ) -> dict[str, list[tuple[float, float, bool]]]:
        return {name: values[rows] for name, values in known.items()}

    made: dict[str, list[Question]] = {"one": [], "several": [], "labels": [], "npy": [], "wav": []}
    for n in range(len(X)):
        body = json.dumps([X[n].tolist()]).encode()
        made["one"].append(Question(message(VECTORS, body, "application/json"), of(slice(n, n + 1), plain), 1))
    for start in range(0, len(X), 16):
        rows = slice(start, start + 16)
        body = json.dumps({"samples": X[rows].tolist()}).encode()
        made["several"].append(Question(message(VECTORS, body, "application/json"), of(rows, plain), 16))
        body = json.dumps({"samples": X[rows].tolist(), "labels": kind[rows].tolist()}).encode()
        made["labels"].append(Question(message(VECTORS, body, "application/json"), of(rows, labelled), 16))
        content = io.BytesIO()
        np.save(content, X[rows])
        made["npy"].append(Question(message(VECTORS, content.getvalue(), "application/x-npy"), of(rows, plain), 16))
    sounds = load(files[1])
    for file in sorted(new.iterdir()):
        (verdict,) = score_files(read_as_learnt(sounds, file)[0], sounds)
        right = {fingerprint(files[1]): [(verdict.score, verdict.p_value, verdict.anomalous)]}
        made["wav"].append(Question(message(SOUNDS, file.read_bytes(), "audio/wav"), right, 1))
    return made


def garbage(good: list[Question], draw: random.Random) -> bytes:
    """Return a request that cannot be answered, or hardly."""
    asked = draw.choice(good).message
    head, _, body = asked.partition(b"\r\n\r\n")
    path = draw.choice([VECTORS, SOUNDS])
    return draw.choice(
        [
            lambda: message(path, draw.randbytes(draw.randrange(2000)), "application/octet-stream"),
            lambda: message(path, draw.randbytes(500), "application/json"),
            lambda: message(path, body[: len(body) // 2], "application/json"),
            lambda: message(path, b"[" * 50_000, "application/json"),
            lambda: message(path, b"[[" + b"1," * 400_000 + b"1]]", "application/json"),
            lambda: message(path, json.dumps([["a"] * D]).encode(), "application/json"),
            lambda: message(path, json.dumps([[1e308] * D]).encode(), "application/json"),
            lambda: message(path, b"x" * 1_200_000, "application/json"),
            lambda: message(path, draw.randbytes(300), "multipart/form-data; boundary=abc"),
            lambda: message(path, draw.randbytes(300), "image/png"),
            lambda: message("/models/" + "x" * draw.randrange(200) + "/score", body, "application/json"),
            lambda: message(path, body, "application/json", draw.choice(["GET", "PUT", "DELETE", "PATCH"])),
            lambda: message(SOUNDS, b"RIFF" + draw.randbytes(3000), "audio/wav"),
            lambda: message(SOUNDS, b"fLaC" + draw.randbytes(3000), "audio/flac"),
            lambda: draw.randbytes(200) + b"\r\n\r\n",
            lambda: head.replace(b"HTTP/1.1", b"HTTP/9.9") + b"\r\n\r\n",
        ]
    )()


# --- the service and its clients ---


class Service:
    """The service in a process of its own, and the memory that it takes."""

    def __init__(self, files: list[Path]) -> None:
        command = [*COMMAND, *map(str, files), "--port", "0", "--max-body", "1", "--queue", "1024"]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603
        self.log: list[str] = []
        assert self.process.stderr is not None
        while not (found := re.search(r"at http://127\.0\.0\.1:(\d+)", self._line())):
            pass
        self.port = int(found[1])
        threading.Thread(target=lambda: [*iter(self._line, "")], daemon=True).start()

    def _line(self) -> str:
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        self.log.append(line)
        return line

    def memory(self) -> float:
        """Return the resident memory in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else float("nan")


@dataclass
class Tally:
    """What clients saw."""

    statuses: Counter[int] = field(default_factory=Counter)
    garbage: Counter[int] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    samples: int = 0
    versions: set[str] = field(default_factory=set)


class Connection:
    """A connection that is kept, and opened again when the service closes it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        reader, writer = self.streams
        try:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            body = await (reader.readexactly(int(length[1])) if length else reader.read())
        except BaseException:
            self.close()
            raise
        if b"connection: close" in head or not length:
            self.close()
        return int(head[9:12]), body

    def close(self) -> None:
        """Close it."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def client(
    port: int, asked: dict[str, list[Question]], fraction: float, until: float, tally: Tally, seed: int
) -> None:
    """Ask until the time has come, and check each answer."""
    draw, connection = random.Random(seed), Connection(port)  # noqa: S311 - no secret
    kinds = [*asked]
    everything = [*itertools.chain(*asked.values())]
    while time.perf_counter() < until:
        if draw.random() < fraction:
            try:
                async with asyncio.timeout(PATIENCE):
                    status, body = await connection.ask(garbage(everything, draw))
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                status, body = 0, b""  # one of the two hangs up
            tally.garbage[status] += 1
            if b"Traceback" in body:
                tally.wrong.append("a traceback was sent")
            continue
        kind = draw.choice(kinds)
        question = draw.choice(asked[kind])
        began = time.perf_counter()
        try:
            status, body = await connection.ask(question.message)
        except (OSError, asyncio.IncompleteReadError) as error:
            tally.lost.append(f"{kind}: {error!r}")
            continue
        tally.seconds.setdefault(kind, []).append(time.perf_counter() - began)
        tally.statuses[status] += 1
        if status != 200:
            tally.lost.append(f"{kind}: {status} {body[:200]!r}")
            continue
        answer = json.loads(body)
        found = [(one["score"], one["p_value"], one["anomalous"]) for one in answer["results"]]
        tally.samples += question.n
        tally.versions.add(answer["fingerprint"])
        if found != question.right[answer["fingerprint"]]:
            tally.wrong.append(f"{kind}: {found[:2]} for {question.right[answer['fingerprint']][:2]}")
    connection.close()


async def load_it(
    service: Service, asked: dict[str, list[Question]], clients: int, fraction: float, seconds: float
) -> Tally:
    """Let clients ask for some seconds."""
    tally, until = Tally(), time.perf_counter() + seconds
    asking = [client(service.port, asked, fraction, until, tally, seed) for seed in range(clients)]
    await asyncio.gather(*asking)
    return tally


async def replacing(service: Service, file: Path, versions: list[bytes], stop: asyncio.Event) -> int:
    """Replace a model by another one and send SIGHUP, again and again; return how often."""
    count = 0
    while not stop.is_set():
        unfinished = file.with_suffix(".new")
        unfinished.write_bytes(versions[count % 2])
        os.replace(unfinished, file)
        service.process.send_signal(signal.SIGHUP)
        count += 1
        try:
            await asyncio.wait_for(stop.wait(), RELOAD_SECONDS)
        except TimeoutError:
            continue
    return count


async def watching(service: Service, stop: asyncio.Event) -> list[float]:
    """Measure the memory every half second."""
    found = []
    while not stop.is_set():
        found.append(service.memory())
        await asyncio.sleep(0.5)
    return found


async def under_load(
    service: Service, asked: dict[str, list[Question]], file: Path, versions: list[bytes], clients: int, seconds: float
) -> tuple[Tally, int, list[float]]:
    """Let clients ask, a tenth of the time for garbage, while a model is replaced; also measure the memory."""
    stop = asyncio.Event()
    around = asyncio.gather(replacing(service, file, versions, stop), watching(service, stop))
    tally = await load_it(service, asked, clients, 0.1, seconds)
    stop.set()
    reloads, memory = await around
    return tally, reloads, memory


def attacked(port: int) -> bool | None:
    """Return whether schemathesis finds nothing wrong; None if it is not installed."""
    program = shutil.which("schemathesis", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        print("schemathesis is not installed")
        return None
    # Data of the right form is still refused if the shape is not that of the model.
    options = ["--exclude-checks", "positive_data_acceptance", "--phases", "examples,coverage,fuzzing", "--seed", "0"]
    options += ["--max-examples", "200", "--no-color"]
    ended = subprocess.run(  # noqa: S603
        [program, "run", f"http://127.0.0.1:{port}/openapi.json", *options], capture_output=True, text=True, check=False
    )
    print(*ended.stdout.splitlines()[-8 if ended.returncode == 0 else -60 :], sep="\n")
    return ended.returncode == 0


def directly(file: Path, seconds: float) -> float:
    """Return how many vectors per second a loop scores that calls the model for one after another."""
    model = load(file)
    X, _ = vectors(400, 1)
    X = X.astype(model.inputs.mean.dtype)
    model.score_and_p_value(X[:1])
    count, until = 0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        model.score_and_p_value(X[count % 400][None])
        count += 1
    return count / seconds


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--direct-seconds", type=float, default=5)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        files, versions, new = prepare(Path(name))
        asked = questions(files, versions, new)
        service = Service(files)
        try:
            tally, reloads, memory = asyncio.run(
                under_load(service, asked, files[0], versions, options.clients, options.seconds)
            )
            one = asyncio.run(load_it(service, {"one": asked["one"]}, options.clients, 0.0, 2 * options.direct_seconds))
            alone = asyncio.run(load_it(service, asked, 1, 0.0, options.direct_seconds))
            found_nothing = attacked(service.port)
            service.process.send_signal(signal.SIGTERM)
            ended = service.process.wait(60)
        finally:
            service.process.kill()
        direct = directly(files[0], options.direct_seconds)
    report(tally, one, alone, reloads, memory, ended, direct, options, service.log, found_nothing)


def table(tally: Tally) -> None:
    """Print the time to the answer of each kind of request."""
    print(f"{'':10}{'requests':>10}{'p50, ms':>10}{'p99, ms':>10}{'most, ms':>10}")
    for kind, seconds in sorted(tally.seconds.items()):
        p50, p99, most = 1000 * np.quantile(seconds, [0.5, 0.99, 1])
        print(f"{kind:10}{len(seconds):>10}{p50:>10.1f}{p99:>10.1f}{most:>10.1f}")


def report(
    tally: Tally,
    one: Tally,
    alone: Tally,
    reloads: int,
    memory: list[float],
    ended: int,
    direct: float,
    options: argparse.Namespace,
    log: list[str],
    found_nothing: bool | None,
) -> None:
    """Print what was found."""
    print(f"{options.clients} clients for {options.seconds:g} s, a tenth garbage, {reloads} reloads\n")
    table(tally)
    print("\none client alone\n")
    table(alone)
    every = np.concatenate([*tally.seconds.values()])
    p50, p99 = 1000 * np.quantile(every, [0.5, 0.99])
    print(f"\nall, under load: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    bad = dict(sorted(tally.garbage.items()))
    print(f"\ngarbage by status (0: one of the two hung up): {bad}")
    for what, found in (("wrong", tally.wrong + one.wrong + alone.wrong), ("lost", tally.lost + one.lost + alone.lost)):
        print(f"{what}: {len(found)}", *found[:3], sep="\n  ")
    tracebacks = sum("Traceback" in line for line in log)
    throughput = one.samples / (2 * options.direct_seconds)
    third = len(memory) // 3
    print(f"memory: {memory[0]:.0f} MB at first, {np.median(memory[third : 2 * third]):.0f} MB in the middle,")
    print(f"  {np.median(memory[2 * third :]):.0f} MB in the last third, at most {max(memory):.0f} MB")
    print(f"one vector a request: {throughput:.0f} a second, {throughput / direct:.2f} × a loop without service")
    errors = sum(n for status, n in (tally.statuses + tally.garbage + one.statuses).items() if status >= 500)
    print(
        json.dumps(
            {
                "bench": "serving",
                "clients": options.clients,
                "seconds": options.seconds,
                "requests": int(sum(tally.statuses.values()) + sum(tally.garbage.values())),
                "wrong": len(tally.wrong + one.wrong + alone.wrong),
                "lost": len(tally.lost + one.lost + alone.lost),
                "status_5xx": int(errors),
                "tracebacks_in_log": tracebacks,
                "reloads": reloads,
                "versions_seen": len(tally.versions),
                "p50_ms": round(float(p50), 2),
                "p99_ms": round(float(p99), 2),
                "memory_start_mb": round(memory[0]),
                "memory_end_mb": round(float(np.median(memory[2 * third :]))),
                "memory_most_mb": round(max(memory)),
                "throughput_over_direct": round(throughput / direct, 3),
                "alone_wav_p50_ms": round(1000 * float(np.median(alone.seconds["wav"])), 2),
                "alone_one_p50_ms": round(1000 * float(np.median(alone.seconds["one"])), 2),
                "schemathesis_found_nothing": found_nothing,
                "exit_status": ended,
            }
        )
    )


if __name__ == "__main__":
    main()
