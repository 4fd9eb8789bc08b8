"""How should the scores of the windows of a recording become one, for a fault in all windows and for one in a few?

    python bench/pooling.py [--seeds 5]

Seconds of motor sound as in bench/signals.py, pooled to recordings. Steady faults: whole recordings of Propeller and
Bearing. Short faults: 1 or 3 of the ten seconds of a normal recording are replaced by seconds of Propeller.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator

import numpy as np
from signals import CASES, Case

from oddkind import Detector
from oddkind.arrays import Array
from oddkind.metrics import auc

POOLED = "fisher", "mean", "max", "0.9"
REPEATS = 20  # short faults that are planted into each recording


def planted(case: Case, n_odd: int, draw: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return rows of windows, the recording of each, and which recordings have `n_odd` seconds of Propeller."""
    assert case.recordings is not None
    kind = case.problem.kind
    odd = np.flatnonzero(kind == "Propeller")
    rows, owner, anomalous = [], [], []
    for name in np.unique(case.recordings[kind == ""]):
        normal = np.flatnonzero(case.recordings == name)
        for repeat in range(REPEATS + 1):
            own = normal.copy()
            if repeat:
                own[draw.permutation(len(own))[:n_odd]] = draw.choice(odd, n_odd)
            rows.append(own)
            owner.append(np.full(len(own), len(owner)))
            anomalous.append(repeat > 0)
    return np.concatenate(rows), np.concatenate(owner), np.array(anomalous)


def steady(case: Case, kind: str) -> tuple[Array, Array, Array]:
    """Return rows of windows, the recording of each, and which recordings are of this kind and not normal."""
    assert case.recordings is not None
    rows = np.flatnonzero(np.isin(case.problem.kind, ("", kind)))
    _, first, owner = np.unique(case.recordings[rows], return_index=True, return_inverse=True)
    return rows, owner, case.problem.kind[rows][first] == kind


def measured(seed: int) -> Iterator[tuple[str, str, float]]:
    """Yield the AUC of each fault and each way of pooling."""
    case = CASES["motor sound"](seed)
    train, test = case.problem.train, case.problem.test
    # A fifth of the recordings is held out: the p-values of windows need some.
    detector = Detector(random_state=seed, false_alarm_rate=0.5, calibration_fraction=0.2)
    model = detector.fit(train.inputs, train.labels, train.groups).model_
    scores, held_out = model.anomaly_score(test.inputs), model.calibration.of(with_labels=False)
    draw = np.random.default_rng(seed)
    faults = {kind: steady(case, kind) for kind in ("Propeller", "Bearing")}
    faults |= {f"{n} of 10 seconds": planted(case, n, draw) for n in (1, 3)}
    for name, (rows, owner, anomalous) in faults.items():
        for how in POOLED:
            yield name, how, auc(anomalous, held_out.pool_new(scores[rows], owner, how))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    found: dict[tuple[str, str], list[float]] = {}
    warnings.simplefilter("ignore")
    for seed in range(parser.parse_args().seeds):
        for name, how, value in measured(seed):
            found.setdefault((name, how), []).append(value)
    names = list(dict.fromkeys(name for name, _ in found))
    print(f"| pooled by | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
    for how in POOLED:
        print(f"| {how} | {' | '.join(f'{np.mean(found[name, how]):.3f}' for name in names)} |")
    print(json.dumps({how: {name: float(np.mean(found[name, how])) for name in names} for how in POOLED}))


if __name__ == "__main__":
    main()
