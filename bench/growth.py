"""How do time and memory grow with the number of models, of machines and of recordings?

    python bench/growth.py [--part models,machines,recordings] [--largest 256,1600,8000]

Each row is a process of its own. Beside oddkind stands what a user would write otherwise: a joblib loop over estimators
of scikit-learn and PyOD, with the same two processes. Models: one set of 500 vectors of 32 numbers with four labels, a
model for each seed (`fit_together`, PyOD's AutoEncoder, IsolationForest). Machines: 500 such vectors of each, a model
for each machine (`write_fleet`; IsolationForest and PyOD's KNN, dumped). Recordings: a second of sound at 16 kHz each,
scored by a model of forty others (`score_files`; a loop that takes the mean and deviation of 64 bands of the spectrum,
and IsolationForest). Memory is the peak of the process and of its largest child. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
from joblib import Parallel, delayed, dump, parallel_config

SAMPLES, NUMBERS, JOBS, RATE, LEARNT, BANDS = 500, 32, 2, 16_000, 40, 64
# The largest number of each part, and how often it is divided by four.
LARGEST, STEPS = {"models": 256, "machines": 1600, "recordings": 8000}, 2
SLOW = {"PyOD AutoEncoder": 16}  # at most so many of a method that takes seconds each


def vectors(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of four kinds, and the kinds."""
    draw = np.random.default_rng(seed)
    kind, middle = draw.integers(4, size=SAMPLES), draw.normal(size=(4, NUMBERS)) * 2
    return (draw.normal(size=(SAMPLES, NUMBERS)) + middle[kind]).astype(np.float32), kind


def forest(samples: np.ndarray, seed: int = 0) -> Any:
    """Fit scikit-learn's IsolationForest."""
    from sklearn.ensemble import IsolationForest

    return IsolationForest(random_state=seed).fit(samples)


def autoencoder(samples: np.ndarray, seed: int = 0) -> Any:
    """Fit PyOD's AutoEncoder."""
    from pyod.models.auto_encoder import AutoEncoder

    return AutoEncoder(random_state=seed, verbose=0).fit(samples)


def neighbours(samples: np.ndarray, seed: int = 0) -> Any:
    """Fit PyOD's KNN."""
    from pyod.models.knn import KNN

    return KNN().fit(samples)


def kept(fit: Callable[..., Any], folder: Path, number: int) -> None:
    """Fit an estimator to a machine and write it."""
    dump(fit(vectors(number)[0]), folder / f"{number}.joblib")


def record(file: Path, seed: int) -> None:
    """Write a second of a hum in noise."""
    draw, now = np.random.default_rng(seed), np.arange(RATE) / RATE
    sound = 0.2 * np.sin(2 * np.pi * (200 + 60 * (seed % 4)) * now) + 0.02 * draw.normal(size=RATE)
    soundfile.write(file, sound, RATE, subtype="PCM_16")


def bands(file: Path) -> np.ndarray:
    """Mean and deviation of the log power in bands, as a notebook would compute them."""
    wave, _ = soundfile.read(file)
    frames = np.lib.stride_tricks.sliding_window_view(wave, 1024)[::512] * np.hanning(1024)
    power = np.abs(np.fft.rfft(frames)[:, 1:]) ** 2
    levels = np.log(power.reshape(len(power), BANDS, -1).mean(2) + 1e-10)
    return np.concatenate([levels.mean(0), levels.std(0)])


def models(n: int, method: str, folder: Path) -> None:
    """Fit n models to the same samples."""
    from oddkind import Detector, fit_together

    samples, kind = vectors(0)
    if method == "oddkind":
        with parallel_config("loky", n_jobs=JOBS):
            fit_together([Detector(random_state=seed) for seed in range(n)], samples, kind)
    else:
        fit = {"IsolationForest": forest, "PyOD AutoEncoder": autoencoder}[method]
        Parallel(JOBS)(delayed(fit)(samples, seed) for seed in range(n))


def machines(n: int, method: str, folder: Path) -> None:
    """Fit a model to each of n machines, and write all."""
    from oddkind import Samples, write_fleet

    if method == "oddkind":
        named = {f"{number:06}": partial(lambda number: Samples(vectors(number)[0]), number) for number in range(n)}
        with parallel_config("loky", n_jobs=JOBS):
            write_fleet(folder / "fleet", named)
    else:
        fit = {"IsolationForest": forest, "PyOD KNN": neighbours}[method]
        Parallel(JOBS)(delayed(kept)(fit, folder, number) for number in range(n))


def recordings(n: int, method: str, folder: Path) -> float:
    """Score n recordings; return the seconds of that alone."""
    from oddkind import Detector, fit_files, score_files, source_of

    learnt, new = folder / "learnt", folder / "new"
    for where, count, first in ((learnt, LEARNT, 0), (new, n, 1000)):
        for number in range(count):
            label = where / f"machine {number % 4}"
            label.mkdir(parents=True, exist_ok=True)
            record(label / f"{number:06}.wav", first + number)
    source = source_of(learnt, front_end=("log-mel",))
    files, others = source.entries(new)[0], source.entries(learnt)[0]
    if method == "oddkind":
        model = fit_files(others, source, Detector(random_state=0), folds=None)
        begin = time.perf_counter()
        score_files(files, model)
    else:
        model = forest(np.stack([bands(entry.path) for entry in others]))
        begin = time.perf_counter()
        model.score_samples(np.stack(Parallel(JOBS)(delayed(bands)(entry.path) for entry in files)))
    return time.perf_counter() - begin


PARTS: dict[str, tuple[Callable[[int, str, Path], float | None], tuple[str, ...]]] = {
    "models": (models, ("oddkind", "IsolationForest", "PyOD AutoEncoder")),
    "machines": (machines, ("oddkind", "IsolationForest", "PyOD KNN")),
    "recordings": (recordings, ("oddkind", "IsolationForest")),
}


def one(part: str, n: int, method: str) -> dict[str, float]:
    """Measure one row, in this process."""
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as folder:
        begin = time.perf_counter()
        seconds = PARTS[part][0](n, method, Path(folder)) or time.perf_counter() - begin
    peaks = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"seconds": seconds, "mb": max(peaks)}


def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", default=",".join(PARTS))
    parser.add_argument("--largest", help="of each part")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.row:
        part, n, method = given.row
        print(json.dumps(one(part, int(n), method)))
        return
    parts = given.part.split(",")
    largest = LARGEST | (dict(zip(parts, map(int, given.largest.split(",")), strict=True)) if given.largest else {})
    found: dict[str, Any] = {}
    for part in parts:
        print(f"\n| {part} | method | seconds | ms each | peak MB |\n| --- | --- | --- | --- | --- |")
        for method in PARTS[part][1]:
            for step in range(STEPS, -1, -1):
                n = min(largest[part], SLOW.get(method, largest[part])) // 4**step
                command = [sys.executable, __file__, "--row", part, str(n), method]
                lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
                row = found[f"{part} {n} {method}"] = json.loads(lines.splitlines()[-1])
                print(f"| {n} | {method} | {row['seconds']:.1f} | {1000 * row['seconds'] / n:.1f} | {row['mb']:.0f} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
