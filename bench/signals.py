"""Which faults of machines are found, beside what a user would try instead on the same features?

    python bench/signals.py [--seeds 5] [--only NAME …]

Real recordings, sensors and pictures of ../shared/data, with splits that are fair: whole recordings, tiles and blocks
of time are held out, anew for each seed. The others learn from the same features, standardised, with their settings as
they come. The motors' and the rig's detectors are the default, the front end too, as they were before this bench. The
task "pastes" and its network, a maximum over places, were made with the tiles' splits 0 and 1 in sight; that it mirrors
pictures was settled by how well views of held-out normal tiles are told apart. Splits 2 to 4 were not looked at before.
The last line of the output is JSON.
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

from oddkind import Detector, Samples
from oddkind.files import read, resolved, source_of
from oddkind.metrics import auc
from oddkind.model.distances import neighbour_distance

Array = np.ndarray


@dataclass(frozen=True)
class Case:
    """A problem, which labels the test samples claim, and which recording each was cut from; None: neither."""

    problem: Problem
    labels: Array | None = None
    recordings: Array | None = None


def motors(seed: int) -> Case:
    """Seconds of motor sound, all equally loud, as log-mel statistics; two recordings of each motor held out."""
    data = DATA / "bldc_motor"
    named = {"pattern": "{condition}_{label}_{rpm}.wav", "normal": "condition=Healthy", "match_loudness": True}
    source = source_of(data, **named)
    files, _ = source.entries(data)
    samples = read(files, resolved(source, files))
    kinds = np.char.partition(samples.files.astype(str), "_")[:, 0]
    healthy = kinds == "Healthy"
    draw = np.random.default_rng(seed)
    held = [
        draw.choice(np.unique(samples.files[healthy & (samples.labels == motor)]), 2, replace=False)
        for motor in np.unique(samples.labels[healthy])
    ]
    tested = ~healthy | np.isin(samples.files, held)
    learnt = samples[~tested]
    train = Samples(learnt.inputs, learnt.labels, groups=learnt.groups)
    problem = Problem(train, Samples(samples.inputs[tested]), np.where(healthy, "", kinds)[tested])
    return Case(problem, samples.labels[tested], samples.files[tested])


CASES: dict[str, Callable[[int], Case]] = {
    "motor sound": motors,
    "magnetic tiles": lambda seed: Case(tiles(seed)),
    "hydraulic rig": lambda seed: Case(hydraulic(seed)),
}


def detector(*, labels: bool = True, known: bool = False, **parameters: Any) -> Callable[[Case, int], Array]:
    """Anomaly scores of a detector that learnt with labels or without, the test samples' known or not.

    NaN where a label is to be known and was not learnt.
    """

    def score(case: Case, seed: int) -> Array:
        train, inputs = case.problem.train, case.problem.test.inputs
        # No rate is promised here, so a tenth is held out even where there are few groups.
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
    """Anomaly scores of an estimator of PyOD or scikit-learn on standardised vectors."""

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
    """Nearest neighbour, as PyOD's estimators are used."""

    def fit(self, vectors: Array) -> Nearest:
        """Keep what is normal."""
        self.normal = vectors
        return self

    def decision_function(self, vectors: Array) -> Array:
        """Euclidean distance to the nearest."""
        return neighbour_distance(vectors, self.normal, metric="euclidean")


OURS: dict[str, dict[str, Callable[[Case, int], Array]]] = {
    "motor sound": {
        "Detector()": detector(),
        "Detector(), label known": detector(known=True),
        "Detector(), no labels": detector(labels=False),
    },
    "magnetic tiles": {"Detector()": detector(), 'Detector(task="pastes")': detector(task="pastes")},
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
    """AUC of each kind of fault, and of whole recordings by their mean score."""
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
    """Measure every contestant on every split, and print a table a set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="sets whose name begins so")
    options = parser.parse_args()
    facts: dict[str, Any] = {"bench": "signals", "seeds": options.seeds}
    if not DATA.exists():
        sys.exit(f"{DATA} is not here; nothing to measure")
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
