"""Does hiding labels choose the configurations that find real anomalies?

    python bench/selection.py [--seeds 2] [--every 2] [--splits NAME …]

Digits and the lecture's network: every combination of score, label smoothing and temperature is evaluated by leaving
out each normal digit in turn (without any anomaly), and by the digits that are truly anomalous (test data). Printed for
each split of the digits: the rank correlation (Spearman) of the two over the configurations; the true AUC of the
configuration that is chosen, of the best one, of a random one (the mean), of the lecture's (MSP, T 1, no smoothing),
and of the one that the likelihood on held-out samples chooses; how far each is behind the best, and the same for the
one configuration that is best over all splits, which is known only in hindsight; and the effect of label smoothing on
each score, by hidden labels and in truth. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from oddkind import load_mnist
from oddkind.metrics import mean_interval
from oddkind.study.evaluation import Configuration, evaluate_settings, train_settings
from oddkind.study.selection import leave_one_label_out

# Normal and anomalous digits; those of the lab first. The others come from a shuffle of the digits with seed 0.
SPLITS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {"lab, 4 labels": ((0, 1, 2, 3), (7, 8, 9))}
_draw = np.random.default_rng(0)
for _n_labels, _count in ((4, 3), (7, 4)):
    for _number in range(_count):
        _shuffled = tuple(_draw.permutation(10).tolist())
        SPLITS[f"{_n_labels} labels, {_number + 1}"] = (
            tuple(sorted(_shuffled[:_n_labels])),
            tuple(sorted(_shuffled[7:])),
        )

WARM = ("msp", "entropy", "energy")  # temperature is in their formula
SCORED = (*WARM, "max-logit", "cosine-neighbours", "euclidean-neighbours")
SMOOTHINGS = (0.0, 0.1, 0.3)
SETTINGS = [
    Configuration(f"{score}, T {temperature:g}, smoothing {smoothing:g}", "labels", smoothing, temperature, score)
    for score, smoothing in product(SCORED, SMOOTHINGS)
    for temperature in ((1.0, 5.0) if score in WARM else (1.0,))
]


def measure(normal: tuple[int, ...], anomalous: tuple[int, ...], seeds: int, every: int) -> dict[str, Any]:
    """Return both AUCs of every configuration on one split, and what follows from them."""
    start = time.perf_counter()
    train, test = load_mnist(normal, anomalous)
    train, test = train[::every], test[::2]
    hidden = leave_one_label_out(train, SETTINGS, seeds=range(seeds), epochs=5 * every)
    trained = train_settings(SETTINGS, train, seeds=range(seeds), epochs=5 * every)
    result = evaluate_settings(SETTINGS, trained, train, test)
    true = np.array([row.auc_mean for row in result.rows])
    guessed = hidden.auc.mean((1, 2))
    smoothing = {}
    for setting in SETTINGS:
        plain = Configuration(
            f"{setting.score}, T {setting.temperature:g}, smoothing 0",
            "labels",
            0.0,
            setting.temperature,
            setting.score,
        )
        if setting.label_smoothing == 0.1 and setting.temperature == 1:
            smoothing[setting.score] = {
                "hidden": hidden.gain(setting, plain),
                "true": result[setting.name].gain(result[plain.name]),
            }
    return {
        "spearman": float(spearmanr(guessed, true).statistic),
        "chosen": SETTINGS[int(guessed.argmax())].name,
        "chosen_auc": float(true[guessed.argmax()]),
        "best": SETTINGS[int(true.argmax())].name,
        "best_auc": float(true.max()),
        "lecture_auc": float(true[0]),
        "random_auc": float(true.mean()),
        "by_nll": result.chosen_by["nll"].setting.name,
        "by_nll_auc": result.chosen_by["nll"].auc_mean,
        "smoothing": smoothing,
        "seconds": time.perf_counter() - start,
        "settings": {asdict(s)["name"]: [float(g), float(t)] for s, g, t in zip(SETTINGS, guessed, true, strict=True)},
    }


def plus_minus(mean: float, interval: Any, sign: str = "+") -> str:
    """Format a mean and half of its interval."""
    return f"{mean:{sign}.3f}" + ("" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.3f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--every", type=int, default=2, help="learn from every n-th picture")
    parser.add_argument("--splits", nargs="*", default=list(SPLITS), choices=list(SPLITS))
    given = parser.parse_args()
    found = {}
    for name in given.splits:
        found[name] = measure(*SPLITS[name], given.seeds, given.every)
        print(f"{name}: {found[name]['spearman']:.2f}, {found[name]['seconds']:.0f} s", file=sys.stderr)
    print(f"{len(SETTINGS)} configurations, {given.seeds} seeds\n")
    print("| normal against anomalous | Spearman | chosen | its AUC | best | random | lecture's | by likelihood |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, of in found.items():
        normal, odd = ("".join(map(str, digits)) for digits in SPLITS[name])
        aucs = (f"{of[f'{key}_auc']:.3f}" for key in ("chosen", "best", "random", "lecture", "by_nll"))
        print(f"| {normal} against {odd} | {of['spearman']:.2f} | {of['chosen']} | {' | '.join(aucs)} |")
    for n_labels in sorted({len(SPLITS[name][0]) for name in found}):
        own = [of for name, of in found.items() if len(SPLITS[name][0]) == n_labels]
        values = [of["spearman"] for of in own]
        print(
            f"\n{n_labels} labels, {len(own)} splits: Spearman {plus_minus(np.mean(values), mean_interval(values), '')}"
        )
        regret = {
            key: np.mean([of["best_auc"] - of[f"{key}_auc"] for of in own])
            for key in ("chosen", "random", "lecture", "by_nll")
        }
        fixed = {one.name: np.mean([of["best_auc"] - of["settings"][one.name][1] for of in own]) for one in SETTINGS}
        hindsight = min(fixed, key=lambda name: fixed[name])
        regret[f"always {hindsight}"] = fixed[hindsight]
        print(
            "difference to the best AUC: "
            + ", ".join(f"{key.replace('_', ' ')} {value:.3f}" for key, value in regret.items())
        )
    print("\n| change of AUC by smoothing 0.1 | hidden labels, mean over splits | true anomalies | same sign |")
    print("| --- | --- | --- | --- |")
    for score in SCORED:
        both = np.array([[of["smoothing"][score][key][0] for key in ("hidden", "true")] for of in found.values()])
        cells = [plus_minus(own.mean(), mean_interval(own.tolist())) for own in both.T]
        print(f"| {score} | {' | '.join(cells)} | {(both.prod(1) > 0).sum()} of {len(both)} |")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
