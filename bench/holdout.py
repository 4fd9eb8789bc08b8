"""How many normal samples should be held out, so that a promised false-alarm rate still finds anomalies?

    python bench/holdout.py [--seeds 5] [--quick]

With n samples held out the threshold is the k-th largest of their scores, k = ⌊rate (n + 1)⌋. With just as many as the
rate takes, k is 1: the threshold is the largest score, which scatters most. A larger k scatters less, but leaves fewer
samples to learn from. Each rule says how many of N samples (or groups) to hold out for a rate:

- "a tenth": N / 10, or what the rate takes if that is more. "0.2" and "0.3": that part, or what the rate takes.
- "k 5, 0.2": as many as make k = 5, but at least N / 10, at most 0.2 N, and never fewer than the rate takes.
- "whole": what the rule before the comma says, rounded down until rate (n + 1) is a whole number. The samples between
  two such numbers raise the threshold: fewer false alarms are raised than are allowed, and fewer anomalies are found.

Vectors: half of the normal rows of each set are learnt from, but at most 300, 1,000 and 3,000 of them; the other half
is new. MNIST: 200, 500 and 2,000 digits with their labels, the lecture's network. The rig: 80 of 120 blocks of time;
the motors: whole recordings. Of these two, groups are held out, and higher rates are promised, because there are few
groups. A rate that cannot be promised from half of the samples is left out.

Every second set of vectors, MNIST with 0 to 3 normal and the motors choose the rule; the other sets have no say in it.
A gain is the difference from "a tenth" on the same splits, with its 95 % interval (Student's t) over the sets; a set
counts with the mean over its sizes and seeds. "scatter" is the standard deviation of what is found over the seeds. The
last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from quality import DATA, cell, motor

from oddkind import Detector, Samples, load_mnist
from oddkind.errors import ConcernWarning
from oddkind.metrics import auc
from oddkind.model.conformal import min_calibration_size

Array = np.ndarray
RATES = (0.05, 0.01)
SIZES = (300, 1000, 3000)  # How many rows of vectors to learn from; at most half of the normal ones.
TESTED = 1000  # How many normal samples, and how many anomalies, are tested at most.
BANDS = {"N up to 150": (0, 150), "151 to 400": (151, 400), "401 to 1,500": (401, 1500), "more": (1501, 10**9)}


@dataclass(frozen=True)
class Case:
    """Normal samples to learn from, new normal samples, anomalies, the rates promised and the parameters to use."""

    train: Samples
    normal: Array
    anomalous: Array
    rates: tuple[float, ...] = RATES
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many samples, or groups, can be held out or learnt from."""
        return len(self.train) if self.train.groups is None else len(np.unique(self.train.groups))


def tabular(name: str, seed: int) -> Iterator[Case]:
    """Vectors of an ADBench set, in several sizes; the other half of the normal rows is new."""
    with np.load(DATA / "tabular" / f"{name}.npz") as archive:
        vectors, odd = archive["X"].astype(np.float32), archive["y"] == 1
    draw = np.random.default_rng(seed)
    normal, anomalous = (draw.permutation(np.flatnonzero(rows)) for rows in (~odd, odd))
    half = len(normal) // 2
    # Fitting the 1,555 columns of internetads takes several seconds, so only its smallest size is measured.
    sizes = SIZES if vectors.shape[1] < 1000 else SIZES[:1]
    for n in sorted({min(half, size) for size in sizes}):
        yield Case(Samples(vectors[normal[:n]]), vectors[normal[half:][:TESTED]], vectors[anomalous[:TESTED]])


def digits(normal: list[int], anomalous: list[int], seed: int) -> Iterator[Case]:
    """Pictures of digits with their labels, in several sizes."""
    train, test = load_mnist(normal, anomalous)
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(train))
    new, odd = (draw.permutation(np.flatnonzero(test.anomalous == kind))[:TESTED] for kind in (False, True))
    for n in (200, 500, 2000):
        yield Case(train[shuffled[:n]], test.inputs[new], test.inputs[odd], parameters={"network": "lecture"})


def rig(seed: int) -> Iterator[Case]:
    """Normal cycles of the rig in 120 blocks of time, 80 of them to learn from; cycles with one fault are odd."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cycles, profile = archive["X"], archive["profile"]
    inputs = cycles.reshape(len(cycles), 17, 12, 5).mean(-1).reshape(len(cycles), -1).astype(np.float32)
    faults = (profile[:, 1] != 100).astype(int) + (profile[:, 2] != 0)
    normal = np.flatnonzero(faults == 0)
    block = np.arange(len(normal)) * 120 // len(normal)
    draw = np.random.default_rng(seed)
    learnt = np.isin(block, draw.permutation(120)[:80])
    train = Samples(inputs[normal[learnt]], profile[normal[learnt], 0].astype(int), groups=block[learnt])
    odd = draw.permutation(np.flatnonzero(faults == 1))[:TESTED]
    yield Case(train, inputs[normal[~learnt]], inputs[odd], rates=(0.1, 0.05))


def motors(seed: int) -> Iterator[Case]:
    """Seconds of motor sound; whole recordings are held out."""
    problem = motor(seed)
    odd = problem.kind != ""
    yield Case(problem.train, problem.test.inputs[~odd], problem.test.inputs[odd], rates=(0.2, 0.1))


Rule = Callable[[float, int], int]  # (rate, N) → how many to hold out


def kth(k: int, rate: float) -> int:
    """The least number held out with which the threshold is the k-th largest score."""
    return math.ceil(round(k / rate, 9)) - 1


def fixed(share: float, rate: float, n: int) -> int:
    """A part of n, or what the rate takes if that is more."""
    return max(min_calibration_size(rate), round(share * n))


def sharp(k: int, most: float, rate: float, n: int) -> int:
    """As many as make the threshold the k-th largest score, but at least a tenth of n and at most the part `most`."""
    return max(min_calibration_size(rate), round(0.1 * n), min(kth(k, rate), int(most * n)))


def whole(rule: Rule, rate: float, n: int) -> int:
    """What another rule says, rounded down until rate (number + 1) is a whole number."""
    return kth(math.floor(round(rate * (rule(rate, n) + 1), 9)), rate)


CURRENT = "a tenth"
RULES: dict[str, Rule] = {CURRENT: partial(fixed, 0.1), "0.2": partial(fixed, 0.2), "0.3": partial(fixed, 0.3)}
RULES |= {f"k {k}, {most}": partial(sharp, k, most) for most in (0.2, 0.3) for k in (2, 3, 5, 10)}
BEYOND = "k 3, 0.5"  # It may hold out half of the samples, is shown for comparison and cannot be chosen.
RULES[BEYOND] = partial(sharp, 3, 0.5)
RULES |= {f"{name}, whole": partial(whole, rule) for name, rule in RULES.items()}

SETS: dict[str, Callable[[int], Iterator[Case]]] = {
    file.stem: partial(tabular, file.stem) for file in sorted((DATA / "tabular").glob("*.npz"))
}
CHOOSING = [*list(SETS)[::2], "MNIST, 0-3", "motors"]
GROUPED = ("rig", "motors")
SETS |= {
    "MNIST, 0-3": partial(digits, [0, 1, 2, 3], [7, 8, 9]),
    "MNIST, 5-8": partial(digits, [5, 6, 7, 8], [0, 1, 2]),
    "rig": rig,
    "motors": motors,
}


@dataclass(frozen=True)
class Result:
    """What a rule gave for one split of a set."""

    set: str
    rule: str
    rate: float
    n: int
    held: float  # part of the n samples or groups
    found: float  # part of the anomalies
    false: float  # part of the new normal samples
    auc: float


def measure(name: str, case: Case, seed: int) -> Iterator[Result]:
    """What each rule gives at each rate; rules whose numbers differ by less than 2 % share a detector."""
    rates = [rate for rate in case.rates if 2 * min_calibration_size(rate) <= case.n]
    wanted = [(rule(rate, case.n), rule_name, rate) for rate in rates for rule_name, rule in RULES.items()]
    new = np.concatenate([case.normal, case.anomalous])
    odd = np.repeat([False, True], [len(case.normal), len(case.anomalous)])
    least, ranking = 0, 0.0
    called: dict[float, Array] = {}
    for count, rule_name, rate in sorted(wanted):
        if count >= 1.02 * least or rate not in called:
            least = count
            # The rate does not change what is learnt, so that each rate can be set after fitting.
            detector = Detector(
                calibration_fraction=count / case.n, false_alarm_rate=0.5, random_state=seed, **case.parameters
            ).fit(case.train.inputs, case.train.labels, case.train.groups)
            ranking = auc(odd, detector.anomaly_score(new))
            called = {
                promised: detector.set_params(false_alarm_rate=promised).predict(new) == -1
                for promised in rates
                if min_calibration_size(promised) <= count
            }
        found, false = float(called[rate][odd].mean()), float(called[rate][~odd].mean())
        yield Result(name, rule_name, rate, case.n, count / case.n, found, false, ranking)


def by_set(results: list[Result], rule: str, what: str) -> Array:
    """Mean of each set over its sizes and seeds, in per cent."""
    of: dict[str, list[float]] = {}
    for result in results:
        if result.rule == rule:
            of.setdefault(result.set, []).append(100 * getattr(result, what))
    return np.array([np.mean(values) for values in of.values()])


def gain(results: list[Result], rule: str, what: str) -> str:
    """How much more than the current rule, with its interval."""
    return cell(by_set(results, rule, what) - by_set(results, CURRENT, what), 2, "+")


def scatter(results: list[Result], rule: str) -> float:
    """Standard deviation of what is found over the seeds, in per cent; the root mean square over sets and sizes."""
    of: dict[tuple[str, int], list[float]] = {}
    for result in results:
        if result.rule == rule:
            of.setdefault((result.set, result.n), []).append(100 * result.found)
    return float(np.sqrt(np.mean([np.var(values, ddof=1) if len(values) > 1 else np.nan for values in of.values()])))


def compared(results: list[Result], rule: str) -> list[str]:
    """One rule at one rate, a value a column."""
    held, found, false = (f"{by_set(results, rule, what).mean():.2f}" for what in ("held", "found", "false"))
    most = np.quantile([100 * result.false for result in results if result.rule == rule], 0.9)
    scattered = f"{scatter(results, rule):.1f}"
    return [held, found, gain(results, rule, "found"), scattered, gain(results, rule, "auc"), false, f"{most:.1f}"]


def by_band(bands: list[list[Result]], what: str, rule: str) -> list[str]:
    """The gain of one rule at one rate, a value for each range of N."""
    return [gain(band, rule, what) for band in bands]


def table(title: str, columns: Iterable[str], row: Callable[[str], list[str]]) -> None:
    """Print a table with a row a rule."""
    columns = list(columns)
    print(f"\n| {' | '.join([title, *columns])} |\n| --- {'| --- ' * len(columns)}|")
    for rule in RULES:
        print(f"| {rule} | {' | '.join(row(rule))} |", flush=True)


def report(results: list[Result]) -> dict[str, Any]:
    """Print the tables; return what was chosen, and its gains in both halves."""
    columns = ["held out", "found", "found, gain", "scatter", "AUC, gain", "false alarms", "in 9 of 10 fits at most"]
    gains: dict[str, dict[str, dict[float, float]]] = {rule: {"choosing": {}, "other": {}} for rule in RULES}
    for rate in sorted({result.rate for result in results}, reverse=True):
        for half in ("choosing", "other"):
            own = [one for one in results if one.rate == rate and (one.set in CHOOSING) == (half == "choosing")]
            if not own:
                continue
            n_sets = len({one.set for one in own})
            table(f"{100 * rate:g} % promised, {n_sets} {half} sets, in %", columns, partial(compared, own))
            for rule in RULES if rate in RATES else ():
                gains[rule][half][rate] = float((by_set(own, rule, "found") - by_set(own, CURRENT, "found")).mean())
    for rate in RATES:
        bands = [
            [one for one in results if one.rate == rate and low <= one.n <= high and one.set not in GROUPED]
            for low, high in BANDS.values()
        ]
        for what, title in (("found", "anomalies found"), ("auc", "AUC")):
            row = partial(by_band, bands, what)
            table(f"{100 * rate:g} % promised, gain in {title}, all sets without groups", BANDS, row)
    candidates = [rule for rule in RULES if not rule.startswith(BEYOND)]
    chosen = max(candidates, key=lambda rule: np.mean([*gains[rule]["choosing"].values()]))
    return {"chosen": chosen, "gains": gains[chosen]}


def main() -> None:
    """Measure every set, and print what follows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one seed of every fifth set")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConcernWarning)
    results: list[Result] = []
    started = time.perf_counter()
    for name in [*SETS][:: 5 if options.quick else 1]:
        for seed in range(1 if options.quick else options.seeds):
            for case in SETS[name](seed):
                results += measure(name, case, seed)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"bench": "holdout", **report(results)}))


if __name__ == "__main__":
    main()
