"""How well does `Detector()` find anomalies among windows of several channels, compared with what a user would try?

    python bench/windows.py [--seeds 5]

- `rig`: cycles of the hydraulic rig, 17 sensors and 60 seconds, which all begin at the same phase. `rig, cut
  anywhere`: the same log, cut into windows of 64 seconds, which do not. Blocks of time are held out. Label: the state
  of the cooler.
- `motors, bands`: levels of 8 bands of motor sound, 100 a second, in windows of 64. `motors, wave`: the sound itself,
  in windows of 64 ms. Whole recordings are held out, two of each motor; the motor is the label, known when scoring.
- `words`: levels of 12 bands of the spoken digits, stretched to 32 frames. Label: the digit; 0–3 are normal, 7–9
  anomalous, and ten takes are held out.

Beside `Detector()` stand its former score for windows ("joint-neighbours") and one-liners, on the standardised values
and on the mean and the deviation of each channel. The score was chosen on the first three sets, together with six
public sets that are not here; `motors, wave` and `words` were looked at for one choice each. Differences are paired
over seeds. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import soundfile
from quality import DATA
from vectors import OTHERS, Problem, against_propeller, by_label, difference, ours, repeated

from oddkind.arrays import Array
from oddkind.metrics import auc


def rig(seed: int) -> Problem:
    """Return cycles of the hydraulic rig, with the blocks of time of bench/quality.py."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cycles = archive["X"]
    return of_rig(cycles, np.arange(len(cycles)), seed)


def rig_log(seed: int) -> Problem:
    """Return windows of 64 seconds of the rig's log, without those in which its state changes."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cycles, profile = archive["X"], archive["profile"]
    log = cycles.transpose(1, 0, 2).reshape(cycles.shape[1], -1)
    starts = np.arange(0, log.shape[1] - 63, 64)
    first, last = starts // 60, (starts + 63) // 60
    steady = (profile[first, :3] == profile[last, :3]).all(1)
    windows = np.stack([log[:, start : start + 64] for start in starts[steady]])
    return of_rig(windows, first[steady], seed)


def of_rig(windows: Array, cycle: Array, seed: int) -> Problem:
    """Hold out the blocks of normal cycles that `hydraulic` of bench/quality.py holds out; test one fault at a time."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cooler, valve, leak = archive["profile"].T[:3].astype(int)
    blocks = np.array_split(np.flatnonzero((valve == 100) & (leak == 0)), 15)
    normal, faulty = ((valve == 100) & (leak == 0))[cycle], ((valve == 100) ^ (leak == 0))[cycle]
    held = np.concatenate([blocks[number] for number in np.random.default_rng(seed).permutation(15)[:5]])
    learnt = normal & ~np.isin(cycle, held)
    tested = (normal & ~learnt) | faulty
    block = np.searchsorted([own[0] for own in blocks], cycle, side="right")
    return Problem(windows[learnt], windows[tested], ~normal[tested], cooler[cycle[learnt]], block[learnt])


def levels(sound: Array, frame: int, n_bands: int) -> Array:
    """Return the logarithm of the energy in bands as wide as each other in octaves, [bands, frames]."""
    count = len(sound) // frame - 1
    frames = np.stack([sound[number * frame : (number + 2) * frame] for number in range(count)]) * np.hanning(2 * frame)
    energy = np.abs(np.fft.rfft(frames)) ** 2
    ends = np.geomspace(2, energy.shape[1], n_bands + 1).astype(int)
    bands = [energy[:, low : max(high, low + 1)].mean(1) for low, high in pairwise(ends)]
    return np.log(np.stack(bands) + 1e-6).astype(np.float32)


@cache
def motor_windows(*, wave: bool) -> tuple[Array, Array, Array, Array]:
    """Return windows of motor sound, equally loud; condition, motor and file."""
    found, names = [], []
    for file in sorted((DATA / "bldc_motor").glob("*.wav")):
        sound = soundfile.read(file, dtype="float32")[0]
        sound /= np.sqrt(np.square(sound).mean())
        signal, length, step = (sound[None], 1024, 4096) if wave else (levels(sound, 160, 8), 64, 64)
        cuts = [signal[:, start : start + length] for start in range(0, signal.shape[1] - length + 1, step)]
        found.extend(cuts)
        names.extend([(*file.stem.split("_")[:2], file.name)] * len(cuts))
    return np.stack(found), *np.array(names).T


def motors(seed: int, *, wave: bool) -> Problem:
    """Return windows of motors, two recordings of each held out, against the damaged propeller."""
    return against_propeller(*motor_windows(wave=wave), seed)


@cache
def word_windows() -> tuple[Array, Array, Array]:
    """Return the bands of each spoken digit, stretched to 32 frames; digit and take."""
    found, names = [], []
    for file in sorted((DATA / "spoken_digits").glob("*.wav")):
        sound = soundfile.read(file, dtype="float32")[0]
        bands = levels(sound / np.abs(sound).max(), 80, 12)
        at = np.linspace(0, bands.shape[1] - 1, 32)
        found.append(np.stack([np.interp(at, np.arange(bands.shape[1]), band) for band in bands]))
        names.append(file.stem.split("_"))
    digit, _, take = np.array(names).T
    return np.stack(found), digit.astype(int), take.astype(int)


def words(seed: int) -> Problem:
    """Return spoken digits, ten takes of each held out."""
    windows, digit, take = word_windows()
    normal, held = digit <= 3, take // 10 == seed % 5
    learnt, tested = normal & ~held, held & (normal | (digit >= 7))
    return Problem(windows[learnt], windows[tested], ~normal[tested], digit[learnt])


PROBLEMS: dict[str, Callable[[int], Problem]] = {
    "rig": rig,
    "rig, cut anywhere": rig_log,
    "motors, bands": lambda seed: motors(seed, wave=False),
    "motors, wave": lambda seed: motors(seed, wave=True),
    "words": words,
}
OURS: dict[str, dict[str, Any]] = {
    "Detector()": {},
    "no labels": {"labels": False},
    "before": {"score_function": "joint-neighbours"},
}


def as_vectors(windows: Array, what: str) -> Array:
    """Return all values of windows, or the mean and the deviation of each channel."""
    windows = windows.astype(float)
    return windows.reshape(len(windows), -1) if what == "values" else np.hstack([windows.mean(-1), windows.std(-1)])


def measured(problem: Problem, seed: int) -> Iterator[tuple[str, float]]:
    """Yield the AUC of each method."""
    for name, parameters in OURS.items():
        scores, seconds = ours(problem, seed, **parameters)
        yield name, auc(problem.anomalous, scores)
        yield f"{name}, seconds", seconds
    for what in ("values", "means"):
        vectors = replace(problem, learnt=as_vectors(problem.learnt, what), tested=as_vectors(problem.tested, what))
        for name, score in OTHERS.items():
            yield f"{what}: {name}", auc(problem.anomalous, by_label(score, vectors))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore")
    others = [f"{what}: {name}" for what in ("values", "means") for name in OTHERS]
    shown = [*OURS, "values: 1-NN", "values: 1-NN, whitened", "means: 1-NN", "means: 1-NN, whitened"]
    print(f"| | {' | '.join(shown)} | best one-liner |\n| --- |{' --- |' * (len(shown) + 1)}")
    table: dict[str, dict[str, Array]] = {}
    for name, make in PROBLEMS.items():
        table[name] = repeated(make, seeds, measured)
        best = max(others, key=lambda method: table[name][method].mean())
        cells = [f"{table[name][one].mean():.3f}" for one in shown]
        mine = table[name]["Detector()"]
        print(f"| {name} | {' | '.join(cells)} | {best}: {difference(mine, table[name][best])} |", flush=True)
    together = {one: np.stack([own[one] for own in table.values()]) for one in OURS}
    print(f"Detector() − before: {difference(together['Detector()'], together['before'])}")
    print(f"Detector() − no labels: {difference(together['Detector()'], together['no labels'])}")
    facts = {name: {method: float(values.mean()) for method, values in own.items()} for name, own in table.items()}
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
