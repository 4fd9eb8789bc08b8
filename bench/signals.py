"""Which faults of machines are found, compared with other methods on the same features?

    python bench/signals.py [--seeds 5] [--only NAME …]

Real recordings, sensors and pictures of ../shared/data, with fair splits: whole recordings, tiles and blocks of time
are held out, different ones for each seed. The other methods learn from the same features, standardised, with their
default settings. The detectors for the motors and the rig are the default, and so is the front end; both existed before
this benchmark. The task "defects", its network and its score were developed with splits 0 and 2 of the tiles; the
others were looked at once after each of two rounds. The task "pastes" and its network were developed with splits 0 and
1. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.ecod import ECOD
from pyod.models.knn import KNN
from quality import DATA, Problem, cell, hydraulic, tiles
from sklearn.ensemble import IsolationForest

from oddkind import Detector, Samples, source_of
from oddkind.files.reading import read
from oddkind.files.source import resolved
from oddkind.metrics import auc
from oddkind.model.distances import neighbour_distances

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """A problem, the labels that the test samples claim, and the recordings they were cut from, if there are any."""

    problem: Problem
    labels: Array | None = None
    recordings: Array | None = None


def motors(seed: int) -> Case:
    """Return seconds of motor sound, at equal loudness, as log-mel statistics; two recordings per motor held out."""
    data = DATA / "bldc_motor"
    named = {"pattern": "{condition}_{label}_{rpm}.wav", "normal": "condition=Healthy", "match_loudness": True}
    source = source_of(data, **named)
    files, _ = source.entries(data)
    source = resolved(source, files)
    samples = read(files, source)
    kinds = np.char.partition(samples.files.astype(str), "_")[:, 0]
    healthy = kinds == "Healthy"
    tested = ~healthy | held_out(samples.files, samples.labels, healthy, seed)
    learnt = samples[~tested]
    train = Samples(learnt.inputs, learnt.labels, groups=learnt.groups)
    problem = Problem(train, Samples(samples.inputs[tested]), np.where(healthy, "", kinds)[tested])
    return Case(problem, samples.labels[tested], samples.files[tested])


def held_out(files: Array, motors: Array, healthy: Array, seed: int) -> Array:
    """Return which samples [N] belong to the two healthy recordings of each motor that are held out."""
    draw = np.random.default_rng(seed)
    of_each = [np.unique(files[healthy & (motors == motor)]) for motor in np.unique(motors[healthy])]
    return np.isin(files, [draw.choice(own, 2, replace=False) for own in of_each])


CASES: dict[str, Callable[[int], Case]] = {
    "motor sound": motors,
    "magnetic tiles": lambda seed: Case(tiles(seed)),
    "hydraulic rig": lambda seed: Case(hydraulic(seed)),
}


def detector(*, labels: bool = True, known: bool = False, **parameters: Any) -> Callable[[Case, int], Array]:
    """Return a function for the anomaly scores of a detector, with or without labels in training and in the test.

    A score is NaN if the label of the sample is used and was not learnt.
    """

    def score(case: Case, seed: int) -> Array:
        train, inputs = case.problem.train, case.problem.test.inputs
        # No rate is promised here, so a tenth is held out even if there are few groups.
        fitted = Detector(random_state=seed, false_alarm_rate=0.5, **parameters)
        fitted.fit(train.inputs, train.labels if labels else None, train.groups)
        if not known:
            return fitted.anomaly_score(inputs)
        learnt = np.isin(case.labels, fitted.classes_)
        scores = np.full(len(inputs), np.nan)
        scores[learnt] = fitted.anomaly_score(inputs[learnt], case.labels[learnt])
        return scores

    return score


def other(make: Callable[[int], Any]) -> Callable[[Case, int], Array]:
    """Return a function for the anomaly scores of an estimator of PyOD or scikit-learn on standardised vectors."""

    def score(case: Case, seed: int) -> Array:
        learnt, tested = (
            np.asarray(samples.inputs, np.float32).reshape(len(samples), -1)
            for samples in (case.problem.train, case.problem.test)
        )
        mean, scale = learnt.mean(0), learnt.std(0) + 1e-9
        estimator = make(seed).fit((learnt - mean) / scale)
        found = estimator.decision_function((tested - mean) / scale)
        return -found if isinstance(estimator, IsolationForest) else found

    return score


class Nearest:
    """Nearest neighbour, with the interface of PyOD's estimators."""

    def fit(self, vectors: Array) -> Nearest:
        """Keep the normal vectors."""
        self.normal = vectors
        return self

    def decision_function(self, vectors: Array) -> Array:
        """Return the Euclidean distance to the nearest normal vector."""
        return neighbour_distances(vectors, self.normal, 1)[:, 0]


OURS: dict[str, dict[str, Callable[[Case, int], Array]]] = {
    "motor sound": {
        "Detector()": detector(),
        "Detector(), with the label": detector(known=True),
        "Detector(), no labels": detector(labels=False),
    },
    "magnetic tiles": {
        "Detector()": detector(),
        "Detector(n_members=5)": detector(n_members=5),
        'Detector(task="pastes")': detector(task="pastes"),
    },
    "hydraulic rig": {"Detector()": detector(), "Detector(), no labels": detector(labels=False)},
}
OTHERS: dict[str, Callable[[Case, int], Array]] = {
    "nearest neighbour": other(lambda _: Nearest()),
    "PyOD KNN": other(lambda _: KNN()),
    "PyOD ECOD": other(lambda _: ECOD()),
    "PyOD AutoEncoder": other(lambda seed: AutoEncoder(random_state=seed, verbose=0)),
    "IsolationForest": other(lambda seed: IsolationForest(random_state=seed)),
}


def found(case: Case, scores: Array) -> Iterator[tuple[str, float]]:
    """Yield the AUC of each kind of fault, and that of whole recordings by their mean score."""
    kind = case.problem.kind
    for name in np.unique(kind[kind != ""]):
        rows = (kind == "") | (kind == name)
        if np.isnan(scores[rows]).any():
            continue
        yield str(name), auc(kind[rows] == name, scores[rows])
        if case.recordings is not None:
            _, first, owner = np.unique(case.recordings[rows], return_index=True, return_inverse=True)
            yield (
                f"{name}, whole recordings",
                auc(kind[rows][first] == name, np.bincount(owner, scores[rows]) / np.bincount(owner)),
            )


def main() -> None:
    """Measure every contestant on every split, and print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="data sets whose names start like this")
    options = parser.parse_args()
    facts: dict[str, Any] = {"bench": "signals", "seeds": options.seeds}
    if not DATA.exists():
        sys.exit(f"{DATA} does not exist; nothing to measure")
    for name in [name for name in CASES if name.startswith(tuple(options.only))]:
        values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for seed in range(options.seeds):
            case = CASES[name](seed)
            for contestant, score in (OURS[name] | OTHERS).items():
                scores = score(case, seed)
                of = dict(found(case, scores))
                for kind, value in of.items():
                    values[contestant][kind].append(value)
                print(
                    f"{name}, seed {seed}, {contestant}: {of}, mean {np.mean([*of.values()]):.3f}",
                    file=sys.stderr,
                    flush=True,
                )
        kinds = list(values[next(iter(values))])
        several = case.recordings is None
        print(f"\n{name}\n\n| AUC | " + " | ".join(kinds + ["mean"] * several) + " |")
        print("| --- " * (len(kinds) + 1 + several) + "|")
        for contestant, of in values.items():
            mean = [cell(np.mean(list(of.values()), 0).tolist(), 3)] if several else []
            row = [*(cell(of.get(kind, []), 3) for kind in kinds), *mean]
            print(f"| {contestant} | " + " | ".join(row) + " |")
        facts[name] = {
            contestant: {kind: float(np.mean(v)) for kind, v in of.items()} for contestant, of in values.items()
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
