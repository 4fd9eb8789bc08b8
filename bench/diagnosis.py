"""Does an explanation point at the anomalous region, better than chance and than the gradient that a user would try?

    python bench/diagnosis.py [--seed 0] [--samples 40] [--only NAME …]

Deletion: the tenth of each anomaly with the most evidence is replaced by its nearest normal sample. The drop of the
anomaly score is compared, sample by sample, with that for the same constellation moved to a random place (mean of the
difference with its paired 95 % interval, fraction of the samples won, Wilcoxon's p). Evidence is computed by replacing
single parts in the same way, which favours it over gradients in this test. Marks are a second test: a square of 5 × 5
is inverted in normal digits, and the result is the fraction of the 25 points with the most evidence that lie on it.
Normal tiles get a hole, a crack or a stain; the pointing game asks whether the point with the most evidence lies on it,
or at most two pixels beside it (Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016).
The gradient is that of the networks' largest logit times the input, with its sign (what lowers the logit is evidence)
or as a magnitude. Anomalies are drawn at random from those that the detector finds; the splits are those of
bench/signals.py. The detector for MNIST learns from every fourth digit. Squares of a quarter of a picture, with soft
borders, were chosen after results on a dozen digits of the lab and two dozen tiles of split 2. The last line of the
output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from quality import DATA, hydraulic, tiles
from scipy.ndimage import binary_dilation
from signals import motors

from oddkind import Detector, load_mnist
from oddkind.files.front_ends import FrontEnds
from oddkind.model.explain import Explanation
from oddkind.study.deletion_test import deletion_test
from oddkind.train.stacked import as_float

Array = np.ndarray
MARK = 5  # pixels
SHOWN = 3  # bands, sensors


def gradient(detector: Detector, X: Array) -> Array:
    """Return minus input × input gradient of the largest logit, summed over views; [N, …]."""
    x = as_float(torch.from_numpy(detector.model_.prepare(X, None)[0]))
    x.requires_grad_(True)
    for member in detector.model_.members:
        member.network(member.transform(x).flatten(0, 1))[0].max(1).values.sum().backward()
    return -(x.grad * x).detach().numpy()


def some(odd: Array, scores: Array, detector: Detector, n: int, seed: int) -> Array:
    """Return the rows of n anomalies among those that are found, drawn at random and sorted."""
    found = np.flatnonzero(odd & (-scores < detector.offset_))
    return np.sort(np.random.default_rng(seed).permutation(found)[:n])


def evidence_of(diagnoses: list[Explanation]) -> Array:
    """Return the maps of evidence, [N, …]."""
    return np.stack([diagnosis.evidence for diagnosis in diagnoses])


def deletion(detector: Detector, X: Array, evidence: Array) -> dict[str, Any]:
    """Run the deletion test of occlusion and of the gradients; print a row for each."""
    maps = {"occlusion": evidence, "gradient × input": gradient(detector, X)}
    maps["|gradient × input|"] = np.abs(maps["gradient × input"])
    facts = {}
    print("\n| evidence | drop | elsewhere | gain (95 %) | won | Wilcoxon p |\n| --- " + "| --- " * 5 + "|")
    for name, of in maps.items():
        test = deletion_test(detector.model, X, of)
        low, high = test.interval
        facts[name] = {"drop": test.drops.mean(), "elsewhere": test.elsewhere.mean(), "gain": test.gain}
        facts[name] |= {"low": low, "high": high, "won": test.won, "p": test.p_value}
        print(
            f"| {name} | {test.drops.mean():.3g} | {test.elsewhere.mean():.3g} | {test.gain:.3g} "
            f"({low:.3g} to {high:.3g}) | {test.won:.2f} | {test.p_value:.1g} |",
            flush=True,
        )
    return facts


def timed(detector: Detector, X: Array, **how: Any) -> tuple[list[Explanation], float]:
    """Return explanations, and the seconds per sample."""
    start = time.perf_counter()
    found = detector.explain(X, **how)
    return found, (time.perf_counter() - start) / len(X)


def digits(seed: int, n: int) -> dict[str, Any]:
    """MNIST: deletion, inverted marks, and how often views fail."""
    train, test = load_mnist()
    train = train[::4]
    detector = Detector(random_state=seed).fit(train.inputs, train.labels)
    rows = some(test.anomalous, detector.anomaly_score(test.inputs), detector, n, seed)
    diagnoses, seconds = timed(detector, test.inputs[rows])
    facts: dict[str, Any] = {
        "seconds": seconds,
        "deletion": deletion(detector, test.inputs[rows], evidence_of(diagnoses)),
    }

    draw = np.random.default_rng(seed)
    normal = np.sort(draw.permutation(np.flatnonzero(~test.anomalous))[:n])
    plain, _ = timed(detector, test.inputs[normal])
    for name, of in (("normal", plain), ("anomalous", diagnoses)):
        facts[f"failing views, {name}"] = float(np.mean([len(one.failing) / len(one.views) for one in of]))
    facts["labels right"] = float(
        np.mean([one.looks_like == label for one, label in zip(plain, test.labels[normal], strict=True)])
    )
    facts["nearest of that label"] = float(
        np.mean([one.neighbours[0].label == label for one, label in zip(plain, test.labels[normal], strict=True)])
    )
    marked, where = test.inputs[normal].copy(), np.zeros((n, 28, 28), bool)
    for picture, mark, (y, x) in zip(marked, where, draw.integers(1, 28 - MARK, size=(n, 2)), strict=True):
        mark[y : y + MARK, x : x + MARK] = True
        picture[0, mark] = np.where(picture[0, mark] > 127, 0, 255)  # inverted, so that it shows on ink too
    found, _ = timed(detector, marked)
    maps = {"occlusion": evidence_of(found), "gradient × input": gradient(detector, marked)}
    maps["|gradient × input|"] = np.abs(maps["gradient × input"])
    print(f"\n| evidence | fraction of the {MARK * MARK} points with the most, on the mark |\n| --- | --- |")
    for name, of in maps.items():
        top = np.argsort(-of.reshape(n, -1), 1, kind="stable")[:, : MARK * MARK]
        facts[f"on the mark, {name}"] = hit = float(np.take_along_axis(where.reshape(n, -1), top, 1).mean())
        print(f"| {name} | {hit:.2f} |")
    print(f"| chance | {MARK * MARK / 784:.2f} |")
    return facts


def planted(picture: Array, kind: str, draw: np.random.Generator) -> tuple[Array, Array]:
    """Plant a defect into a picture [H, W]; return the picture and where the defect is, bool [H, W]."""
    down, across = np.mgrid[: picture.shape[0], : picture.shape[1]]
    y, x = draw.uniform(6, np.array(picture.shape) - 6)
    if kind == "crack":
        angle, half = draw.uniform(0, np.pi), draw.uniform(5, 10)
        along = (across - x) * np.cos(angle) + (down - y) * np.sin(angle)
        beside = (down - y) * np.cos(angle) - (across - x) * np.sin(angle) + 0.8 * np.sin(along / 2)
        cover, change = (1.2 - abs(beside)).clip(0, 1) * (half + 0.5 - abs(along)).clip(0, 1), -draw.uniform(1.5, 3)
    elif kind == "hole":
        cover = (draw.uniform(2, 3.5) - np.hypot(down - y, across - x)).clip(0, 1)
        change = -draw.uniform(2, 3.5)
    else:
        high, wide = draw.uniform(3, 6, size=2)
        cover = (1.5 - np.hypot((down - y) / high, (across - x) / wide)).clip(0, 1)
        change = draw.choice([-1, 1]) * draw.uniform(1, 2)
    return (picture + change * picture.std() * cover).clip(0, 255).round().astype(np.uint8), cover > 0.1


def pointing(detector: Detector, normal: Array, seed: int) -> dict[str, Any]:
    """Plant defects into normal pictures [N, 1, H, W]: does the point with the most evidence lie on them?"""
    draw = np.random.default_rng(seed)
    shown = {"map": lambda found, _: [one.map for one in found], "occlusion": lambda found, _: evidence_of(found)}
    shown["|gradient × input|"] = lambda _, marked: np.abs(gradient(detector, marked))
    facts: dict[str, Any] = {}
    print("\n| planted | map | occlusion | |gradient × input| | chance |\n| --- | --- | --- | --- | --- |")
    for kind in ("hole", "crack", "stain"):
        pictures, places = zip(*(planted(picture, kind, draw) for picture in normal[:, 0]), strict=True)
        near = np.stack([binary_dilation(place, iterations=2) for place in places]).reshape(len(normal), -1)
        marked = np.stack(pictures)[:, None]
        found = detector.explain(marked)
        points = {name: np.reshape(of(found, marked), near.shape).argmax(1) for name, of in shown.items()}
        hits = {name: float(near[np.arange(len(near)), point].mean()) for name, point in points.items()}
        facts[kind] = hits | {"chance": float(near.mean())}
        print(f"| {kind} | " + " | ".join(f"{value:.2f}" for value in facts[kind].values()) + " |", flush=True)
    return facts


def surfaces(seed: int, n: int) -> dict[str, Any]:
    """Magnetic tiles: deletion, and the pointing game with planted defects."""
    problem = tiles(seed)
    detector = Detector(false_alarm_rate=0.2, random_state=seed)
    detector.fit(problem.train.inputs, groups=problem.train.groups)
    inputs = problem.test.inputs
    rows = some(problem.kind != "", detector.anomaly_score(inputs), detector, n, seed)
    diagnoses, seconds = timed(detector, inputs[rows])
    facts = {"seconds": seconds, "deletion": deletion(detector, inputs[rows], evidence_of(diagnoses))}
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(problem.kind == ""))[:n]
    return facts | {"pointing": pointing(detector, inputs[normal], seed)}


def sounds(seed: int, n: int) -> dict[str, Any]:
    """Motor sound: deletion, and the bands with the most evidence, for each fault."""
    case = motors(seed)
    train, inputs, kind = case.problem.train, case.problem.test.inputs, case.problem.kind
    detector = Detector(false_alarm_rate=0.2, random_state=seed).fit(train.inputs, train.labels, train.groups)
    scores = detector.anomaly_score(inputs)
    bands = FrontEnds(("log-mel",), 16000, 16000).bands()
    facts: dict[str, Any] = {}
    for name in np.unique(kind[kind != ""]):
        rows = some(kind == name, scores, detector, n, seed)
        print(f"\n{name}", end="")
        diagnoses, seconds = timed(detector, inputs[rows])
        evidence = evidence_of(diagnoses)
        first = Counter(evidence.argmax(1).tolist()).most_common(SHOWN)
        facts[name] = {
            "seconds": seconds,
            "deletion": deletion(detector, inputs[rows], evidence),
            "most evidence": {
                f"{what} {low:.0f}-{high:.0f} Hz": count / len(rows)
                for (low, high, what), count in ((bands[feature], count) for feature, count in first)
            },
        }
        print(f"Most evidence, fraction of the seconds: {facts[name]['most evidence']}")
    return facts


def sensors(seed: int, n: int) -> dict[str, Any]:
    """Hydraulic rig, without labels: deletion, and the sensor with the most evidence, for each fault."""
    problem = hydraulic(seed)
    with np.load(DATA / "hydraulic.npz") as archive:
        names = [str(name) for name in archive["channels"]]
    detector = Detector(false_alarm_rate=0.2, random_state=seed)
    detector.fit(problem.train.inputs, groups=problem.train.groups)
    inputs = problem.test.inputs
    scores = detector.anomaly_score(inputs)
    owner = np.repeat(np.arange(len(names)), inputs.shape[1] // len(names))
    parts = np.arange(len(names))[:, None] == owner
    facts: dict[str, Any] = {}
    for name in np.unique(problem.kind[problem.kind != ""]):
        rows = some(problem.kind == name, scores, detector, n, seed)
        print(f"\n{name}", end="")
        if len(rows) < 2:
            print(f": {len(rows)} found, which is too few to compare")
            continue
        diagnoses, seconds = timed(detector, inputs[rows], parts=parts)
        evidence = evidence_of(diagnoses)
        order = np.argsort(-evidence[:, parts.argmax(1)], 1, kind="stable")
        first = Counter(names[sensor] for sensor in order[:, 0]).most_common(SHOWN)
        among = Counter(names[sensor] for sensor in order[:, :SHOWN].ravel()).most_common(SHOWN)
        facts[name] = {
            "seconds": seconds,
            "deletion": deletion(detector, inputs[rows], evidence),
            "first": {sensor: count / len(rows) for sensor, count in first},
            f"among the first {SHOWN}": {sensor: count / len(rows) for sensor, count in among},
        }
        print(
            f"Most evidence: {facts[name]['first']}; among the first {SHOWN}: {facts[name][f'among the first {SHOWN}']}"
        )
    return facts


CASES: dict[str, Callable[[int, int], dict[str, Any]]] = {
    "MNIST": digits,
    "magnetic tiles": surfaces,
    "motor sound": sounds,
    "hydraulic rig": sensors,
}


def main() -> None:
    """Measure every data set that exists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="data sets whose names start like this")
    options = parser.parse_args()
    torch.set_num_threads(1)
    facts: dict[str, Any] = {"bench": "diagnosis", "seed": options.seed, "samples": options.samples}
    for name, measure in CASES.items():
        if not name.startswith(tuple(options.only)):
            continue
        if name != "MNIST" and not DATA.exists():
            print(f"{DATA} does not exist; {name} is left out", file=sys.stderr)
            continue
        print(f"\n## {name}", flush=True)
        facts[name] = measure(options.seed, options.samples)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
