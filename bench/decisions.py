"""Do false alarms stay within the promise, and what do the thresholds of other libraries give for the same scores?

    python bench/decisions.py [--repeats 4000] [--machines 1000] [--splits 100] [--only NAME …]

1. "simulation": scores drawn at random from known distributions, with thousands of repetitions: independent samples;
   windows of recordings (the naive threshold treats each window as an independent sample); labels, one of which scores
   higher.
2. "machines": a thousand small detectors, trained at once, each on its own samples; rates are changed after fitting.
3. "MNIST": 100 random splits of the normal digits (0 to 3), 4,000 to learn from and 4,000 new ones, for a rate of 1 %;
   and other rules for the same scores: PyOD's `contamination` (percentile of the training scores), a quantile of the
   held-out scores (scikit-learn users), the largest held-out score (anomalib's "max"), and the threshold of the best F1
   (anomalib's default), which uses half of the anomalies.
4. "real sets": recordings, tiles and blocks of time that were not learnt from, drawn at random in each of 20 splits (8
   for tiles); windows treated as samples, groups held out (`Detector`), groups cross-conformal. Then the rig in the
   order of time.

Means with 95 % intervals over repetitions, machines or splits (Student's t). The lecture's small network is used on
pictures: the promise must hold for any network. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from quality import DATA, hydraulic, tiles
from signals import motors
from sklearn.base import clone
from sklearn.metrics import precision_recall_curve

from oddkind import CrossConformal, Detector, Samples, fit_fleet, load_mnist
from oddkind.errors import ConcernWarning
from oddkind.metrics import mean_interval
from oddkind.model.conformal import alarms, false_alarm_test, group_weights, min_calibration_size, p_values
from oddkind.study.evaluation import LECTURE

Array = np.ndarray
RATES = (0.1, 0.05, 0.01)


def shown(values: Iterable[float]) -> str:
    """Format a mean and half the width of its interval, in per cent."""
    values = list(values)
    interval = mean_interval(values)
    return f"{100 * np.mean(values):.2f}" + ("" if interval is None else f" ± {50 * (interval[1] - interval[0]):.2f}")


def table(first: str, columns: Iterable[str], rows: dict[str, list[str]]) -> None:
    """Print a table."""
    columns = list(columns)
    print(f"\n| {' | '.join([first, *columns])} |\n| --- {'| --- ' * len(columns)}|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row)} |", flush=True)


def simulation(options: argparse.Namespace) -> dict[str, Any]:
    """Measure false alarms of scores from known distributions."""
    draw = np.random.default_rng(0)
    n_groups, windows = 20, 20
    units, kinds = np.repeat(np.arange(n_groups), windows), np.arange(900) % 3
    found: dict[str, dict[float, list[float]]] = {}

    def count(name: str, p: Array, n: int) -> None:
        for rate in RATES:
            if min_calibration_size(rate) <= n:
                found.setdefault(name, {}).setdefault(rate, []).append(float(alarms(p, rate).mean()))

    for _ in range(options.repeats):
        count("independent samples", p_values(draw.gamma(2.0, size=100), draw.gamma(2.0, size=200)), 200)
        level = 2 * draw.normal(size=n_groups + 1)
        normal = level[units] + draw.normal(size=len(units))
        new = level[-1] + draw.normal(size=windows)  # windows of a new recording
        count("windows, treated as samples", p_values(new, normal), len(normal))
        count("windows, recordings counted", p_values(new, normal, group_weights(units)), n_groups)
        normal, new = draw.normal(size=900) + 2 * (kinds == 2), draw.normal(size=300) + 2
        count("a label that scores higher, compared with all", p_values(new, normal), 900)
        count("a label that scores higher, compared within it", p_values(new, normal[kinds == 2]), 300)
    table(
        f"{options.repeats} repetitions, false alarms in %",
        [f"{100 * rate:g} % promised" for rate in RATES],
        {name: [shown(of[rate]) if rate in of else "refused" for rate in RATES] for name, of in found.items()},
    )
    return {name: {rate: float(np.mean(values)) for rate, values in of.items()} for name, of in found.items()}


def machines(options: argparse.Namespace) -> dict[str, Any]:
    """Measure false alarms of one detector per machine, each fitted to its own vectors."""
    draw = np.random.default_rng(1)
    found: dict[str, dict[float, list[float]]] = {}
    for start in range(0, options.machines, 100):
        mixing = {f"machine {number}": draw.normal(size=(6, 6)) for number in range(start, start + 100)}

        def drawn(own: Array, n: int, label: Array) -> Array:
            return ((draw.normal(size=(n, 6)) + 2 * np.eye(3, 6)[label]) @ own).astype(np.float32)

        labels = np.arange(450) % 3
        fleet = fit_fleet(
            {name: Samples(drawn(own, 450, labels), labels) for name, own in mixing.items()},
            Detector(epochs=3, random_state=start, false_alarm_rate=0.01),
        )
        for name, detector in fleet.items():
            label = draw.integers(3, size=500)
            new = drawn(mixing[name], 500, label)
            p = {"labels not known": detector.p_value(new), "labels known": detector.p_value(new, label)}
            p["within each label"] = detector.set_params(per_label=True).p_value(new, label)
            least = np.bincount(detector.model_.calibration.labelled.label_index).min()
            for how, of in p.items():
                for rate in [
                    rate for rate in RATES if how != "within each label" or min_calibration_size(rate) <= least
                ]:
                    found.setdefault(how, {}).setdefault(rate, []).append(float(alarms(of, rate).mean()))
        print(f"machines: {start + 100} of {options.machines}", file=sys.stderr, flush=True)
    table(
        f"{options.machines} machines, false alarms in %",
        [f"{100 * rate:g} % promised" for rate in RATES],
        {name: [shown(of[rate]) if rate in of else "refused" for rate in RATES] for name, of in found.items()},
    )
    return {name: {rate: float(np.mean(values)) for rate, values in of.items()} for name, of in found.items()}


def best_f1(scores: Array, odd: Array) -> float:
    """Return the threshold of the best F1, as anomalib's F1AdaptiveThreshold does."""
    precision, recall, thresholds = precision_recall_curve(odd, scores)
    with np.errstate(invalid="ignore"):
        return float(thresholds[np.nan_to_num(2 * precision * recall / (precision + recall))[:-1].argmax()])


def rules(scores: Array, odd: Array, held_out: Array, learnt: Array, rate: float, seed: int) -> dict[str, float]:
    """Return the thresholds of other libraries; the best F1 uses half of the anomalies, drawn at random."""
    some = np.random.default_rng(seed).permutation(np.flatnonzero(odd))[: odd.sum() // 2]
    return {
        f"PyOD contamination={rate:g}": float(np.percentile(learnt, 100 * (1 - rate))),
        "quantile of held-out scores": float(np.quantile(held_out, 1 - rate)),
        "largest held-out score": float(held_out.max()),
        "best F1": best_f1(np.append(held_out, scores[some]), np.repeat([False, True], [len(held_out), len(some)])),
    }


def mnist(options: argparse.Namespace) -> dict[str, Any]:
    """Measure a rate of 1 % on random splits of the digits, and other rules on the same scores."""
    rate = 0.01
    train, test = load_mnist([0, 1, 2, 3], [7, 8, 9])
    digits, labels = (np.concatenate(of) for of in ((train.inputs, test.inputs), (train.labels, test.labels)))
    normal, odd = np.flatnonzero(np.isin(labels, [0, 1, 2, 3])), len(train) + np.flatnonzero(test.anomalous)
    anomalous = np.repeat([False, True], [4000, len(odd)])
    found: dict[str, list[tuple[float, float]]] = {}
    for seed in range(options.splits):
        drawn = np.random.default_rng(seed).permutation(normal)
        learnt, new = drawn[:4000], np.append(drawn[4000:8000], odd)
        for score in ("auto", "max-logit"):
            detector = Detector(score_function=score, false_alarm_rate=rate, random_state=seed, epochs=10, **LECTURE)
            detector.fit(digits[learnt], labels[learnt])
            scores = detector.anomaly_score(digits[new])
            thresholds = {f"Detector(score_function={score!r})": -detector.offset_}
            if score != "auto":  # a score of the sample alone, so that those learnt from have one, too
                trained = detector.anomaly_score(digits[learnt[detector.model_.report.training_rows]])
                thresholds |= rules(
                    scores, anomalous, detector.model_.calibration.unlabelled.scores, trained, rate, seed
                )
            for name, threshold in thresholds.items():
                called = scores > threshold
                found.setdefault(name, []).append((called[~anomalous].mean(), called[anomalous].mean()))
        print(f"MNIST: split {seed + 1} of {options.splits}", file=sys.stderr, flush=True)
    rows, facts = {}, {}
    for name, pairs in found.items():
        false, caught = np.array(pairs).T
        spread = " to ".join(f"{100 * edge:.2f}" for edge in np.quantile(false, [0.05, 0.95]))
        rows[name] = [shown(false), spread, shown(caught)]
        facts[name] = {"false_alarms": float(false.mean()), "found": float(caught.mean())}
    table(f"MNIST, {options.splits} splits, 1 % promised", ["false alarms, %", "in 9 of 10 splits", "found, %"], rows)
    return facts


def real(_: argparse.Namespace) -> dict[str, Any]:
    """Measure groups that were not learnt from, in random splits of groups; and the rig in the order of time."""
    sets: dict[str, tuple[Callable[[int], Any], float, dict[str, Any]]] = {
        "motor sound, 10 %": (lambda seed: motors(seed).problem, 0.1, {}),
        "magnetic tiles, 5 %": (tiles, 0.05, {**LECTURE, "epochs": 20}),
        "hydraulic rig, 10 %": (hydraulic, 0.1, {}),
    }
    found: dict[str, dict[str, list[float]]] = {}
    for name, (make, rate, parameters) in sets.items():
        for seed in range(8 if name.startswith("magnetic") else 20):
            problem = make(seed)
            train, new = problem.train, problem.test.inputs[problem.kind == ""]
            detector = Detector(random_state=seed, false_alarm_rate=rate, **parameters)
            ways = {
                "windows treated as samples": (detector, None),
                "groups held out": (detector, train.groups),
                "groups, cross-conformal": (CrossConformal(detector), train.groups),
            }
            for way, (estimator, groups) in ways.items():
                of = found.setdefault(way, {}).setdefault(name, [])
                n_groups = len(np.unique(train.groups))
                if way == "groups held out" and 2 * min_calibration_size(rate) > n_groups:
                    continue  # too few groups to promise the rate
                # Without labels: one lighting of the tiles has a single tile, which cannot be both learnt and held out.
                estimator = clone(estimator).fit(train.inputs, groups=groups)
                of.append(float((estimator.predict(new) == -1).mean()))
            print(f"{name}: split {seed + 1}", file=sys.stderr, flush=True)
    table(
        "false alarms in %",
        sets,
        {way: [shown(of[name]) if of[name] else "refused" for name in sets] for way, of in found.items()},
    )
    facts: dict[str, Any] = {
        way: {name: float(np.mean(of[name])) if of[name] else "refused" for name in sets} for way, of in found.items()
    }
    return facts | {"rig in the order of time": in_order()}


def in_order() -> dict[str, float]:
    """Learn from the rig's first normal cycles and measure false alarms in the last third, in 15 blocks of time."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cycles, profile = archive["X"], archive["profile"]
    normal = cycles[(profile[:, 1] == 100) & (profile[:, 2] == 0)]
    inputs = normal.reshape(len(normal), 17, 12, 5).mean(-1).reshape(len(normal), -1).astype(np.float32)
    block = np.arange(len(inputs)) * 15 // len(inputs)
    learnt = block < 10
    cross = CrossConformal(Detector(random_state=0, false_alarm_rate=0.1)).fit(inputs[learnt], groups=block[learnt])
    called, of = alarms(cross.p_value(inputs[~learnt]), 0.1), block[~learnt]
    n_alarms, n_new = int(group_weights(of) @ called), 5
    chance = false_alarm_test(n_alarms, n_new, sum(cross.model_.calibration_sizes().values()), 0.1)
    print(
        f"\nThe rig in the order of time, 10 % promised: {100 * called.mean():.1f} % of the cycles in the last third "
        f"raise a false alarm,\nas many as {n_alarms} of {n_new} blocks; without drift, the chance is {chance:.2g}."
    )
    return {"false_alarms": float(called.mean()), "chance": chance}


PARTS = {"simulation": simulation, "machines": machines, "MNIST": mnist, "real sets": real}


def main() -> None:
    """Run the selected experiments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4000)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConcernWarning)
    facts: dict[str, Any] = {"bench": "decisions"}
    for name in options.only:
        started = time.perf_counter()
        facts[name] = PARTS[name](options)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
