"""How well do evidences of vectors without labels find anomalies, compared with the nearest neighbour?

    python bench/vectors.py [--seeds 5] [--score-function input-evidence …]

The 22 sets of `shared/data/tabular`: half of the normal rows are learnt from, the other half and the anomalies are
tested, at most 3,000 rows of each. The recipe was chosen on every second set by name ("chosen"); the others are
reported apart. Differences to the nearest neighbour on the standardised input are paired over sets and seeds.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from oddkind import Detector
from oddkind.metrics import auc
from oddkind.model.distances import neighbour_distances

DATA = Path(__file__).parents[2] / "shared" / "data" / "tabular"
MOST_ROWS = 3000


def split(name: str, seed: int) -> tuple[Any, Any, Any]:
    """Return rows to learn from, rows to test, and which of those are anomalous."""
    with np.load(DATA / f"{name}.npz") as archive:
        rows, anomalous = archive["X"].astype(float), archive["y"]
    draw = np.random.default_rng(seed)
    normal, odd = (draw.permutation(np.flatnonzero(anomalous == flag)) for flag in (0, 1))
    half = len(normal) // 2
    learnt, tested, odd = normal[:half][:MOST_ROWS], normal[half:][:MOST_ROWS], odd[:MOST_ROWS]
    return rows[learnt], rows[np.concatenate([tested, odd])], np.arange(len(tested) + len(odd)) >= len(tested)


def nearest(learnt: Any, tested: Any) -> Any:
    """Distance to the nearest neighbour on the standardised input."""
    mean, scale = learnt.mean(0), learnt.std(0)
    scale[scale <= 1e-12 * np.abs(mean)] = 1
    return neighbour_distances((tested - mean) / scale, (learnt - mean) / scale, 1)[:, 0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--score-function", nargs="+", default=["input-evidence"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    names = sorted(file.stem for file in DATA.glob("*.npz"))
    found = np.zeros((len(arguments.score_function), len(names), arguments.seeds))
    usual = np.zeros((len(names), arguments.seeds))
    for row, name in enumerate(names):
        seconds = 0.0
        for seed in range(arguments.seeds):
            learnt, tested, anomalous = split(name, seed)
            usual[row, seed] = auc(anomalous, nearest(learnt, tested))
            for column, score in enumerate(arguments.score_function):
                start = time.process_time()
                detector = Detector(random_state=seed, score_function=score).fit(learnt)
                seconds += time.process_time() - start
                found[column, row, seed] = auc(anomalous, detector.anomaly_score(tested))
        values = "  ".join(f"{value:.3f}" for value in found[:, row].mean(1))
        print(f"{name:14s} {usual[row].mean():.3f}  {values}  {seconds / found[:, row].size:.2f} s", flush=True)
    for score, own in zip(arguments.score_function, found, strict=True):
        for half, rows in (("chosen", slice(0, None, 2)), ("reported", slice(1, None, 2)), ("all", slice(None))):
            difference = (own - usual)[rows]
            interval = 1.96 * difference.std(ddof=1) / difference.size**0.5
            of_set = difference.mean(1)
            worst = f"{np.array(names)[rows][of_set.argmin()]} {of_set.min():+.3f}"
            print(f"{score:18s} {half:9s} {own[rows].mean():.4f} {difference.mean():+.4f} ± {interval:.4f}; {worst}")


if __name__ == "__main__":
    main()
