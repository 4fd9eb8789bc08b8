"""Do labels help on pictures, or do they harm? The same networks, scored in several ways, with labels and without.

    python bench/labels.py [--seeds 0 1] [--normal 7] [--pictures FILE.npz …]

Some kinds of pictures are normal, drawn at random for each seed, and the others are anomalous: of each kind at most
1,000 pictures to learn from and 500 to test on. Measured are MNIST and each file of pictures that is named: an archive
with `x` uint8 [N, H, W], the kinds `y` [N] and, if some pictures belong together, their groups `g` [N], which are
divided between learning and testing. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from quality import ALL, Problem, cell

from oddkind import Detector, Samples, load_mnist
from oddkind.model.combining import combined, surprise
from oddkind.model.distances import neighbour_distances

Array = np.ndarray
EACH, TESTED = 1000, 500
PARTS = ("view-neighbours", "hellinger-neighbours", "likelihood", "local-input-neighbours")


def sets(files: list[Path]) -> Iterator[tuple[str, Array, Array, Array | None]]:
    """Return name, pictures [N, H, W], kinds [N] and groups [N] or None of each set."""
    train, test = load_mnist(sorted(ALL - {9}), [9])
    nines = test.inputs[test.anomalous]
    yield (
        "MNIST",
        np.concatenate([train.inputs, nines])[:, 0],
        np.concatenate([train.labels, np.full(len(nines), 9)]),
        None,
    )
    for file in files:
        with np.load(file, allow_pickle=False) as archive:
            yield file.stem, archive["x"], archive["y"], archive.get("g")


def split(x: Array, y: Array, groups: Array | None, n_normal: int, seed: int) -> Problem:
    """Draw the normal kinds, and the pictures to learn from and to test on."""
    draw = np.random.default_rng(seed)
    kinds = np.unique(y)
    normal = draw.permutation(kinds)[:n_normal]
    order = draw.permutation(len(y))
    if groups is None:
        first = np.isin(np.arange(len(y)), order[: len(y) // 2])
    else:
        parts = np.unique(groups)
        first = np.isin(groups, draw.permutation(parts)[: len(parts) // 2])
    learnt = np.concatenate([order[first[order] & (y[order] == kind)][:EACH] for kind in normal])
    tested = np.concatenate([order[~first[order] & (y[order] == kind)][:TESTED] for kind in kinds])
    train = Samples(x[learnt][:, None], y[learnt])
    return Problem(train, Samples(x[tested][:, None]), np.where(np.isin(y[tested], normal), "", y[tested].astype(str)))


def measure(problem: Problem, seed: int, *, labels: bool) -> dict[str, float]:
    """AUC of the default, of its parts, and of the default as it was before labels that look alike were heeded."""
    detector = Detector(random_state=seed, false_alarm_rate=0.5)
    model = detector.fit(problem.train.inputs, problem.train.labels if labels else None).model_
    components = model.score(model.member_outputs(problem.test.inputs), model.temperature)
    held_out = model.calibration.of(with_labels=False).components
    known = (1 - model.report.perplexity / model.task.n_classes) ** 4
    weights = {
        "default": model.score.weights,
        "before": np.array([1, known, known, 0]),
        "before + input": np.array([1, known, known, 0.5]),
        "without the input": model.score.weights * [1, 1, 1, 0],
    }
    found = {name: problem.auc(combined(components, held_out, of, model.score.fuse)) for name, of in weights.items()}
    rare = np.stack([surprise(own, among) for own, among in zip(components.T, held_out.T, strict=True)])
    found["largest of the four"] = problem.auc(rare.max(0))
    return found | {name: problem.auc(own) for name, own in zip(PARTS, components.T, strict=True)}


def nearest(problem: Problem) -> float:
    """AUC of the nearest neighbour on the picture."""
    learnt, tested = (one.inputs.reshape(len(one), -1).astype(np.float32) for one in (problem.train, problem.test))
    return problem.auc(neighbour_distances(tested, learnt, 1)[:, 0])


def main() -> None:
    """Measure every set; print a table for each, and the differences from before."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--normal", type=int, default=7)
    parser.add_argument("--pictures", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    facts: dict[str, Any] = {"bench": "labels", "normal": options.normal}
    for name, x, y, groups in sets(options.pictures):
        rows: dict[str, dict[str, list[float]]] = {}
        for seed in options.seeds:
            problem = split(x, y, groups, options.normal, seed)
            for way in ("labels", "no labels"):
                for score, value in measure(problem, seed, labels=way == "labels").items():
                    rows.setdefault(score, {}).setdefault(way, []).append(value)
            near = nearest(problem)
            for way in ("labels", "no labels"):
                rows.setdefault("nearest neighbour", {}).setdefault(way, []).append(near)
        print(f"\n| {name} | with labels | without | labels − none |\n| --- | --- | --- | --- |")
        for score, of in rows.items():
            gain = cell(np.subtract(of["labels"], of["no labels"]), sign="+")
            print(f"| {score} | {cell(of['labels'])} | {cell(of['no labels'])} | {gain} |", flush=True)
        facts[name] = rows
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
