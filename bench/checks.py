"""When is a task so easy that its softmax reveals nothing about anomalies, and does the check of labels find out?

    python bench/checks.py [--seeds 3]

Real data, with labels alone as the task. Printed for each data set: the accuracy of the best single number of the
input, the accuracy of the network on held-out samples, the AUC of 1 − MSP and of neighbours (the default's for vectors;
cosine for pictures) on the same network, and the issues that `check_data` reports. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable

import numpy as np
from quality import Problem, cell, digits, hydraulic, motor, tiles
from sklearn.datasets import load_digits, load_iris

from oddkind import SCORES, Detector, Samples
from oddkind.checks import best_single_feature, check_data
from oddkind.errors import ConcernWarning
from oddkind.model.fitted_score import learn_score
from oddkind.study.evaluation import LECTURE


def some_kinds(load: Callable[..., tuple[np.ndarray, np.ndarray]], normal: list[int], seed: int) -> Problem:
    """Return some kinds of vectors as normal, two thirds of them to learn from, and the others as anomalies."""
    inputs, labels = load(return_X_y=True)
    known = np.isin(labels, normal)
    learnt = known & (np.random.default_rng(seed).random(len(labels)) < 2 / 3)
    return Problem(
        Samples(inputs[learnt], labels[learnt]), Samples(inputs[~learnt]), np.where(known, "", "other kinds")[~learnt]
    )


SETS: dict[str, Callable[[int], Problem]] = {
    "MNIST 0-3 against 7-9": lambda _: digits([0, 1, 2, 3], [7, 8, 9]),
    "MNIST 0, 1 against 7-9": lambda _: digits([0, 1], [7, 8, 9]),
    "digits 0-3 against 4-9": lambda seed: some_kinds(load_digits, [0, 1, 2, 3], seed),
    "digits 6, 9 against the rest": lambda seed: some_kinds(load_digits, [6, 9], seed),
    "iris 1, 2 against 0": lambda seed: some_kinds(load_iris, [1, 2], seed),
    "iris 0, 1 against 2": lambda seed: some_kinds(load_iris, [0, 1], seed),
    "motor sound, M1-M3": motor,
    "magnetic tiles, lighting": tiles,
    "hydraulic rig, cooler": hydraulic,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    warnings.simplefilter("ignore", ConcernWarning)  # the last column shows them
    found = {}
    print("| labels | best single number | accuracy | AUC of 1 − MSP | AUC of neighbours | `check_data` |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, make in SETS.items():
        rows = []
        said = set()
        for seed in seeds:
            problem = make(seed)
            train, pictures = problem.train, problem.train.inputs.ndim == 4
            lecture = {**LECTURE, "epochs": 5} if pictures else {}
            detector = Detector(task="labels", score_function="msp", false_alarm_rate=0.2, random_state=seed, **lecture)
            detector.fit(train.inputs, train.labels, train.groups)
            model = detector.model_
            learnt = train[model.report.training_rows]
            normal, tested = [model.outputs(learnt.inputs, learnt.labels)], [model.outputs(problem.test.inputs)]
            neighbours = "cosine-neighbours" if pictures else "joint-neighbours"
            scores = [learn_score(name, SCORES[name], normal, 1.0) for name in ("msp", neighbours)]
            aucs = [problem.auc(score(tested, 1.0)[:, 0]) for score in scores]
            some = slice(None, None, 1 + len(train) // 2000)
            single, _ = best_single_feature(train.inputs[some], train.labels[some])
            rows.append([single, model.report.accuracy, *aucs])
            said |= {issue.kind for issue in check_data(train)}
        found[name] = rows
        columns = " | ".join(cell(column, 3) for column in np.transpose(rows))
        print(f"| {name} | {columns} | {', '.join(sorted(said))} |", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
