"""How fast is sound scored on one core, compared with librosa's log-mel and the same network, and in how much memory?

    python bench/throughput.py [--files 200] [--hours 1,10,100] [--fitted-hours 1,10,100] [--repeats 3]

Generated recordings of 10 s at 16 kHz are read repeatedly, and measured from the disk to the score: with `score_files`;
or with librosa's log-mel of the whole recording or of each second in a loop over the files, then `anomaly_score` of the
same detector for all of them at once. Each runs in its own process on one core, one after another; medians of the
repeats are reported. Starting up and loading the detector are not counted. The memory is the peak of the process: all
of it, and that without mapped files (RssAnon of Linux), which the system cannot reclaim when others need it. The last
line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
import torch

from oddkind import Detector, Entry, fit_files, load, save, score_files, source_of

RATE, SECONDS, RECORDINGS = 16_000, 10, 60
CONTESTANTS = ("oddkind", "librosa, whole recording", "librosa, second by second")


def generate(folder: Path) -> None:
    """Write hums in noise of three machines, and fit a detector to them."""
    draw = np.random.default_rng(0)
    now = np.arange(SECONDS * RATE) / RATE
    for number in range(RECORDINGS):
        hum = sum(np.sin(2 * np.pi * (100 + 40 * (number % 3)) * part * now) / part for part in range(1, 8))
        sound = 0.05 * hum + 0.05 * draw.normal(size=len(now))
        soundfile.write(folder / f"m{number % 3}_{number}.wav", sound, RATE, subtype="PCM_16")
    source = source_of(folder, pattern="{label}_{number}.wav")
    save(fit_files(source.entries(folder)[0], source, Detector(random_state=0)), folder / "hum.oddkind")


def log_mel(sound: np.ndarray) -> np.ndarray:
    """Return librosa's log-mel with as many bands, and frames as long and as far apart, as ours, [64, frames]."""
    import librosa

    power = librosa.feature.melspectrogram(y=sound, sr=RATE, n_fft=1024, hop_length=512, n_mels=64)
    return np.log(power + 1e-12)


def of_recording(file: Path, *, whole: bool) -> np.ndarray:
    """Return the mean and standard deviation of librosa's log-mel in each second, [seconds, 128]."""
    import librosa

    sound, _ = librosa.load(file, sr=RATE)
    if whole:
        parts = np.array_split(log_mel(sound), len(sound) // RATE, axis=1)
    else:
        parts = [log_mel(second) for second in sound[: len(sound) // RATE * RATE].reshape(-1, RATE)]
    return np.stack([np.concatenate([part.mean(1), part.std(1)]) for part in parts]).astype(np.float32)


class Memory(threading.Thread):
    """Records the peak memory of this process, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous = 0.0
        self.start()

    def run(self) -> None:
        """Measure twenty times per second."""
        while True:
            (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line)
            self.anonymous = max(self.anonymous, int(line.split()[1]) / 1024)
            time.sleep(0.05)

    def most(self) -> dict[str, float]:
        """Return the peak of all memory, and of the memory without mapped files."""
        return {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "anonymous": self.anonymous}


def learn(folder: Path, n_files: int) -> dict[str, float]:
    """Return the seconds to fit to a number of recordings on one core, and the memory."""
    memory = Memory()
    paths = islice(cycle(sorted(folder.glob("*.wav"))), n_files)
    files = [Entry(path, f"{number}/{path.name}", path.name[:2]) for number, path in enumerate(paths)]
    start = time.perf_counter()
    fit_files(files, source_of(folder), Detector(random_state=0))
    return {"seconds": time.perf_counter() - start} | memory.most()


def contest(contestant: str, folder: Path, n_files: int) -> dict[str, float]:
    """Return the seconds from disk to scores on one core, after a first file, and the memory."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    if contestant == "fit":
        return learn(folder, n_files)
    memory = Memory()
    detector = load(folder / "hum.oddkind")
    paths = islice(cycle(sorted(folder.glob("*.wav"))), n_files)
    files = [Entry(path, f"{number}/{path.name}") for number, path in enumerate(paths)]

    def scores(some: list[Entry]) -> list[float]:
        if contestant == "oddkind":
            return [verdict.score for verdict in score_files(some, detector)]
        features = [of_recording(file.path, whole="whole" in contestant) for file in some]
        return detector.anomaly_score(np.concatenate(features)).reshape(len(some), -1).mean(1).tolist()

    scores(files[:1])
    start = time.perf_counter()
    found = scores(files)
    seconds = time.perf_counter() - start
    assert len(found) == n_files
    assert np.isfinite(found).all()
    return {"seconds": seconds} | memory.most()


def main() -> None:
    """Run every contestant, and ours for many hours of sound."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--hours", default="1,10,100")
    parser.add_argument("--fitted-hours", default="1,10,100")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        contestant, folder, n_files = options.child
        print(json.dumps(contest(contestant, Path(folder), int(n_files))))
        return
    with TemporaryDirectory() as folder:
        generate(Path(folder))

        def child(contestant: str, n_files: int) -> dict[str, float]:
            print(f"{contestant}: {n_files} files", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--child", contestant, folder, str(n_files)]
            alone = os.environ | {"OMP_NUM_THREADS": "1"}
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=alone)  # noqa: S603
            return json.loads(answer.stdout)

        runs: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
        for _ in range(options.repeats):
            for name in CONTESTANTS:
                runs[name].append(child(name, options.files)["seconds"] / options.files)
        seconds = {name: statistics.median(of) for name, of in runs.items()}
        memory = {
            (what, int(hours)): child(contestant, int(hours) * 3600 // SECONDS)
            for what, contestant, listed in (
                ("scored", "oddkind", options.hours),
                ("learnt from", "fit", options.fitted_hours),
            )
            for hours in listed.split(",")
        }
    print(
        "| one core | recordings per second | hours of sound per minute | time relative to oddkind |\n"
        "| --- | --- | --- | --- |"
    )
    for name, each in seconds.items():
        print(f"| {name} | {1 / each:.0f} | {60 / each * SECONDS / 3600:.0f} | {each / seconds['oddkind']:.1f} |")
    print("\n| hours of sound, one process | peak memory, MB | without mapped files | minutes |\n" + "| --- " * 4 + "|")
    for (what, hours), used in memory.items():
        print(f"| {hours} {what} | {used['resident']:.0f} | {used['anonymous']:.0f} | {used['seconds'] / 60:.1f} |")
    found = {f"{hours} hours {what}": used for (what, hours), used in memory.items()}
    print(json.dumps({"bench": "throughput", "seconds_a_recording": seconds, "memory_mb": found}))


if __name__ == "__main__":
    main()
