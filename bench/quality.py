"""How well does a `Detector()` without options find anomalies, compared with nearest neighbours and published results?

    python bench/quality.py [--seeds 5] [--only NAME …] [--jobs 1] [--results FILE] [--table]

Every result is written to the results file as soon as it is measured. Results that are in the file are not measured
again, so an interrupted run can resume. `--jobs 2` makes two measurements at a time, with one thread each. `--table`
prints the tables and measures nothing. The last line of the output is JSON.

The recipe was chosen on digit splits that are not measured here, except for those called development: 0-2, 6-8; 3; 8;
1; 0, 1, 3, 5, 7, 9; 1, 2, 3, 7, 8, 9; 0, 4-8; 1, 3, 4, 6, 7, 9; 5-8, each against the rest; for vectors on
scikit-learn's digits, wine, iris and breast cancer. The effect of each component is shown on the development splits.
A few choices were not blind to what is measured here. The weights of the features and of the softmax in the combination
were settled after its results on the lab's digits without labels (seed 0) were also seen; neighbours by probabilities
were kept after results on the open-set splits; neighbours on the input were left out after results on two splits of the
tiles.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import multiprocessing
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.io import wavfile
from scipy.signal import stft
from torch import Tensor, nn
from torch.nn import functional

from oddkind import Detector, Samples, load_mnist
from oddkind.metrics import auc, mean_interval
from oddkind.model.combining import Surprises, combined
from oddkind.model.distances import neighbour_distances, unit
from oddkind.model.fitted_score import learn_score
from oddkind.model.scores import SCORES, Combination
from oddkind.train.networks import PictureCNN

DATA = Path(__file__).parents[2] / "shared" / "data"
RESULTS = Path(__file__).with_suffix(".json")
ALL = set(range(10))

# Scored with the same network as the default, to see what the default might have missed.
SCORED = (
    "view-neighbours",
    "hellinger-neighbours",
    "likelihood",
    "cosine-neighbours",
    "relative-mahalanobis",
    "vim",
    "max-logit",
    "msp",
)
NEAREST = ("input, Euclidean", "input, cosine")


class LogitNorm(nn.Linear):
    """Logits of fixed length 1 / τ with τ = 0.04: Wei et al., "Mitigating neural network overconfidence", ICML 2022."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] → logits [B, C]."""
        return functional.normalize(super().forward(x)) / 0.04


class Cosine(nn.Linear):
    """Logits s · cosine, s = √2 log(centres − 1), the fixed scale of AdaCos: Zhang et al., CVPR 2019.

    With several centres per class, log Σ exp over them: Wilkinghoff, "Sub-cluster AdaCos", IJCNN 2021.
    """

    def __init__(self, size: int, n_classes: int, centres: int = 1) -> None:
        super().__init__(size, n_classes * centres, bias=False)
        self.centres = centres

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] → logits [B, C]."""
        scale = 2**0.5 * math.log(self.out_features - 1)
        cosine = functional.normalize(x) @ functional.normalize(self.weight).T
        return (scale * cosine).unflatten(1, (-1, self.centres)).logsumexp(2)


def with_head(head: Callable[[int, int], nn.Module], input_shape: tuple[int, ...], n_classes: int) -> PictureCNN:
    """Return the default network with another last layer."""
    network = PictureCNN(input_shape, n_classes)
    network.classifier = head(network.classifier.in_features, n_classes)
    return network


class Mixup(PictureCNN):
    """Learns from convex mixtures of pictures: Zhang et al., "mixup", ICLR 2018, with α = 0.2.

    With λ from Beta(α + 1, α), the label of the first picture is the expected target, so targets need not be mixed
    (Huszár 2017).
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        if self.training:
            share = torch.distributions.Beta(1.2, 0.2).sample((len(x), 1, 1, 1))
            x = share * x + (1 - share) * x[torch.randperm(len(x))]
        return super().forward(x)


# The components of the default, each left out on its own, and what else is recommended, each added on its own.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "labels alone": {"task": "labels"},
    "rotations alone": {"task": "rotations"},
    "no label smoothing": {"label_smoothing": 0.0},
    "no shift": {"max_shift": 0},
    "constant learning rate": {"schedule": "constant"},
    "weight decay 0.05": {"weight_decay": 0.05},
    "the lecture's network": {"network": "lecture"},
    "logit normalisation": {"network": partial(with_head, LogitNorm), "label_smoothing": 0.0},
    "cosine head": {"network": partial(with_head, Cosine)},
    "cosine head, 4 centres a class": {"network": partial(with_head, partial(Cosine, centres=4))},
    "mixup": {"network": Mixup},
    "2 members": {"n_members": 2},
}
# Neal et al., "Open set learning with counterfactual images", ECCV 2018.
OPEN_SET = ([2, 4, 5, 9, 8, 3], [3, 2, 6, 9, 4, 0], [5, 8, 3, 2, 4, 6], [3, 7, 8, 4, 0, 5], [6, 3, 4, 9, 8, 2])

PUBLISHED = {
    "lab": "the lecture's best 0.927",
    "open set": "MSP 0.978, OpenMax 0.981, OSRCI 0.988, CAC 0.991, ARPL 0.996, ARPL+CS 0.997",
    "one digit, no labels": "Deep SVDD 0.948, OCGAN 0.975, GEOM 0.980",
}


@dataclass(frozen=True)
class Problem:
    """Normal samples to learn from, and a test, with the kind of anomaly of each sample (empty for normal ones)."""

    train: Samples
    test: Samples
    kind: Any

    def auc(self, scores: Any) -> float:
        """Mean AUC over the kinds of anomalies."""
        normal = self.kind == ""
        kinds = [self.kind == kind for kind in np.unique(self.kind[~normal])]
        return float(np.mean([auc(kind[normal | kind], scores[normal | kind]) for kind in kinds]))


def digits(normal: list[int], anomalous: list[int], *, labels: bool = True) -> Problem:
    """Return some digits as normal and others as anomalies."""
    fill = [] if len(normal) > 1 else [next(iter(ALL - {*normal}))]  # load_mnist asks for two kinds
    train, test = load_mnist([*normal, *fill], [digit for digit in anomalous if digit not in fill])
    train = train[np.isin(train.labels, normal)]
    train = Samples(train.inputs, train.labels if labels else None)
    return Problem(train, test, np.where(np.isin(test.labels, normal), "", "other digits"))


def drawn(seed: int, *, labels: bool = True) -> Problem:
    """Return two to seven digits against the rest, drawn at random: splits that were not used for any choice."""
    draw = np.random.default_rng(seed)
    n_normal = int(draw.integers(2, 8))
    shuffled = draw.permutation(10).tolist()
    return digits(shuffled[:n_normal], shuffled[n_normal:], labels=labels)


def motor(seed: int) -> Problem:
    """Return seconds of motor sound as spectra; Propeller against whole held-out recordings, at equal loudness."""
    spectra, condition, machine, recording = [], [], [], []
    for number, file in enumerate(sorted((DATA / "bldc_motor").glob("*.wav"))):
        rate, sound = wavfile.read(file)
        wave = sound / np.sqrt(np.mean(np.square(sound, dtype=float)))
        seconds = wave[: len(wave) // rate * rate].reshape(-1, rate)
        power = np.abs(stft(seconds, nperseg=512)[2]) ** 2
        spectra.append(np.log(power.mean(-1)[:, 1:].reshape(len(seconds), 128, 2).mean(-1) + 1e-12))
        where = file.stem.split("_")
        condition += [where[0]] * len(seconds)
        machine += [where[1]] * len(seconds)
        recording += [number] * len(seconds)
    of, motors, recordings = np.array(condition), np.array(machine), np.array(recording)
    draw = np.random.default_rng(seed)
    healthy = [np.unique(recordings[(of == "Healthy") & (motors == name)]) for name in ("M1", "M2", "M3")]
    held = np.isin(recordings, np.concatenate([draw.choice(own, 2, replace=False) for own in healthy]))
    inputs = np.concatenate(spectra).astype(np.float32)
    learnt, tested = (of == "Healthy") & ~held, held | (of == "Propeller")
    train = Samples(inputs[learnt], motors[learnt], groups=recordings[learnt])
    return Problem(train, Samples(inputs[tested]), np.where(of == "Healthy", "", of)[tested])


def tiles(seed: int) -> Problem:
    """Return magnetic tiles, 64 × 64; five defects against tiles that were not learnt from."""
    with (DATA / "magnetic_tile" / "index.csv").open(encoding="utf-8") as file:
        index = list(csv.DictReader(file))
    pictures = [Image.open(DATA / "magnetic_tile" / row["path"]).convert("L").resize((64, 64)) for row in index]
    inputs = np.stack([np.asarray(picture) for picture in pictures])[:, None]
    kind, light, tile = (np.array([row[name] for row in index]) for name in ("class", "lighting", "tile"))
    free = kind == "Free"
    clean = np.setdiff1d(tile[free], tile[~free])
    held = np.random.default_rng(seed).permutation(clean)[: len(clean) // 3]
    learnt = free & np.isin(tile, np.setdiff1d(clean, held))
    tested = np.isin(tile, held) | ~free
    train = Samples(inputs[learnt], light[learnt], groups=tile[learnt])
    return Problem(train, Samples(inputs[tested]), np.where(free, "", kind)[tested])


def hydraulic(seed: int) -> Problem:
    """Return cycles of a hydraulic rig, 5-second means of 17 sensors; faults against held-out blocks of time."""
    with np.load(DATA / "hydraulic.npz") as archive:
        cycles, profile = archive["X"], archive["profile"]
    cooler, valve, leak = profile[:, 0], profile[:, 1], profile[:, 2]
    inputs = cycles.reshape(len(cycles), 17, 12, 5).mean(-1).reshape(len(cycles), -1).astype(np.float32)
    normal = np.flatnonzero((valve == 100) & (leak == 0))
    blocks = np.array_split(normal, 15)
    held = np.random.default_rng(seed).permutation(15)[:5]
    learnt = np.concatenate([block for number, block in enumerate(blocks) if number not in held])
    kind = np.full(len(cycles), "mixed", dtype="<U12")
    kind[normal] = ""
    for value in (90, 80, 73):
        kind[(valve == value) & (leak == 0)] = f"valve {value}"
    for value in (1, 2):
        kind[(leak == value) & (valve == 100)] = f"leakage {value}"
    tested = np.setdiff1d(np.flatnonzero(kind != "mixed"), learnt)
    block_of = np.repeat(np.arange(15), [len(block) for block in blocks])[np.isin(normal, learnt)]
    return Problem(
        Samples(inputs[learnt], cooler[learnt].astype(int), groups=block_of), Samples(inputs[tested]), kind[tested]
    )


# Benchmark → its problems: name → seed → problem. The result of a benchmark is the mean over its problems.
BENCHES: dict[str, dict[str, Callable[[int], Problem]]] = {
    "lab": {"0-3": lambda _: digits([0, 1, 2, 3], [7, 8, 9])},
    "lab, no labels": {"0-3": lambda _: digits([0, 1, 2, 3], [7, 8, 9], labels=False)},
    "open set": {str(known): lambda _, known=known: digits(known, sorted(ALL - {*known})) for known in OPEN_SET},
    "one digit, no labels": {
        str(digit): lambda _, digit=digit: digits([digit], sorted(ALL - {digit}), labels=False) for digit in range(10)
    },
    "other digits": {"drawn": drawn},
    "other digits, no labels": {"drawn": partial(drawn, labels=False)},
    "motor sound": {"Propeller": motor},
    "magnetic tiles": {"defects": tiles},
    "hydraulic rig": {"faults": hydraulic},
    "development": {"5-8 against 0-2": lambda _: digits([5, 6, 7, 8], [0, 1, 2])},
    "development, no labels": {"5-8 against 0-2": lambda _: digits([5, 6, 7, 8], [0, 1, 2], labels=False)},
}


def nearest(problem: Problem) -> dict[str, float]:
    """AUC of the nearest neighbour on the raw input, which a user would try first; floats are standardised."""
    learnt, tested = (
        np.asarray(samples.inputs, np.float32).reshape(len(samples), -1) for samples in (problem.train, problem.test)
    )
    if problem.train.inputs.dtype != np.uint8:
        mean, scale = learnt.mean(0), learnt.std(0) + 1e-9
        learnt, tested = (learnt - mean) / scale, (tested - mean) / scale
    return {
        name: problem.auc(
            neighbour_distances(*map(unit if "cosine" in name.lower() else np.asarray, (tested, learnt)), 1)[:, 0]
        )
        for name in NEAREST
    }


def measure(problem: Problem, seed: int, parameters: dict[str, Any]) -> dict[str, Any]:
    """Fit and score: the AUC of each score, and the seconds that the default takes from samples to scores."""
    start = time.perf_counter()
    # No rate is promised here, so a tenth is held out even if there are few groups.
    detector = Detector(random_state=seed, false_alarm_rate=0.5, **parameters)
    detector.fit(problem.train.inputs, problem.train.labels, problem.train.groups)
    found = {"default": problem.auc(detector.anomaly_score(problem.test.inputs))}
    seconds = time.perf_counter() - start
    model = detector.model_
    members = model.member_outputs(problem.test.inputs)
    components = model.score(members, model.temperature)
    fitted = SCORES[model.score.name]
    of_softmax = isinstance(fitted, Combination) and isinstance(fitted.fuse, Surprises)
    for number, name in enumerate(fitted.components if of_softmax else []):
        found[name] = problem.auc(components[:, number])
        weights = model.score.weights.copy()
        weights[number] = 0
        found[f"without {name}"] = problem.auc(
            combined(components, model.calibration.unlabelled.components, weights, fitted.fuse)
        )
    labels, learnt = problem.train.labels, model.report.training_rows
    normal = model.member_outputs(problem.train.inputs[learnt], None if labels is None else labels[learnt])
    for name in [name for name in SCORED if name not in found]:
        score = learn_score(name, SCORES[name], normal, model.temperature)
        found[name] = problem.auc(score(members, model.temperature)[:, 0])
    return {
        "auc": found,
        "seconds": seconds,
        "threads": torch.get_num_threads(),
        "accuracy": model.report.accuracy,
        "perplexity": model.report.perplexity,
    }


Run = tuple[str, str, str, int]  # bench, problem, variant, seed


def runs(seeds: int) -> list[Run]:
    """Return all runs, seed by seed, so that an interrupted run covers all benchmarks."""
    return [
        (bench, name, variant, seed)
        for seed in range(seeds)
        for bench, problems in BENCHES.items()
        for name in problems
        for variant in (VARIANTS if bench.startswith("development") else ["default"])
        if not ("no labels" in bench and "alone" in variant)
    ]


def perform(run: Run) -> tuple[Run, dict[str, Any]]:
    """Measure one run; for the default, also nearest neighbours."""
    bench, name, variant, seed = run
    problem = BENCHES[bench][name](seed)
    result = measure(problem, seed, VARIANTS[variant])
    if variant == "default":
        result["auc"] |= nearest(problem)
    return run, result


def cell(sample: Iterable[float], digits: int = 4, sign: str = "") -> str:
    """Format a mean and half of its 95 % interval; empty without values."""
    sample = list(sample)
    interval = mean_interval(sample)
    mean = f"{np.mean(sample):{sign}.{digits}f}" if sample else ""
    return mean + ("" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.{digits}f}")


def table(kept: dict[str, Any], seeds: int) -> dict[str, Any]:
    """Print the tables of the results; return the numbers for the last line."""
    values: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    times: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for key, result in kept.items():
        bench, _, variant, seed = json.loads(key)
        if seed < seeds:
            times[bench].append((result["seconds"], result["threads"]))
            for score, value in result["auc"].items():
                values[bench, variant, score][seed].append(value)

    def means(bench: str, score: str = "default", variant: str = "default") -> dict[int, float]:
        """By seed, of the seeds that have all problems."""
        own = values[bench, variant, score]
        return {seed: float(np.mean(of)) for seed, of in own.items() if len(of) == len(BENCHES[bench])}

    def gain(bench: str, score: str = "default", variant: str = "default") -> str:
        base = means(bench)
        own = means(bench, score, variant)
        return cell([own[seed] - base[seed] for seed in own if seed in base], sign="+")

    def heading(*titles: str) -> None:
        print("\n| " + " | ".join(titles) + " |\n" + "| --- " * len(titles) + "|")

    measured = [bench for bench in BENCHES if means(bench)]
    heading("AUC", "seeds", "`Detector()` (95 %)", "nearest neighbour on the input", "published", "samples to scores")
    for bench in measured:
        near = max((means(bench, name) for name in NEAREST), key=lambda of: np.mean(list(of.values())))
        threads = max(of for _, of in times[bench])  # the run that had the machine to itself, if there is one
        seconds = np.median([seconds for seconds, of in times[bench] if of == threads])
        cells = (cell(means(bench).values()), cell(near.values()), PUBLISHED.get(bench, ""))
        print(f"| {bench} | {len(means(bench))} | {' | '.join(cells)} | {seconds:.0f} s, threads: {threads} |")
    heading("scores of the same networks", *measured)
    for score in dict.fromkeys(score for bench, _, score in values if bench in measured):
        if score not in NEAREST and not score.startswith("without"):
            print(f"| {score} | {' | '.join(cell(means(bench, score).values()) for bench in measured)} |")
    pictures = [bench for bench in measured if means(bench, f"without {SCORED[0]}")]
    heading("change from the default (paired)", *pictures)
    for part in SCORES["combined"].components:
        print(f"| without {part} | {' | '.join(gain(bench, f'without {part}') for bench in pictures)} |")
    development = [bench for bench in pictures if bench.startswith("development")]
    heading("change from the default (paired)", *development)
    for variant in VARIANTS:
        print(f"| {variant} | {' | '.join(gain(bench, variant=variant) for bench in development)} |")
    return {bench: float(np.mean(list(means(bench).values()))) for bench in measured}


def main() -> None:
    """Measure what is missing from the results file, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="NAME", help="benchmarks whose names start like this"
    )
    parser.add_argument("--jobs", type=int, default=1, help="number of measurements at a time, which share the threads")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--table", action="store_true", help="print the tables, measure nothing")
    options = parser.parse_args()
    kept = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    wanted = [] if options.table else [run for run in runs(options.seeds) if run[0].startswith(tuple(options.only))]
    if not DATA.exists():
        print(f"{DATA} does not exist: machine data is left out", file=sys.stderr)
        wanted = [run for run in wanted if not run[0].startswith(("motor", "magnetic", "hydraulic"))]
    missing = [run for run in wanted if json.dumps(run) not in kept]
    # Worker processes read this when they start: threads that wait for those of another process cost most of the time.
    os.environ["OMP_NUM_THREADS"] = str(max(1, torch.get_num_threads() // options.jobs))
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for number, (run, result) in enumerate(pool.imap_unordered(perform, missing)):
            print(f"{number + 1} of {len(missing)}: {', '.join(map(str, run))}: {result}", file=sys.stderr, flush=True)
            kept[json.dumps(run)] = result
            unfinished = options.results.with_suffix(".unfinished")
            unfinished.write_text(json.dumps(kept, indent=0) + "\n", encoding="utf-8")
            os.replace(unfinished, options.results)
    facts = table(kept, options.seeds)
    print(json.dumps({"bench": "quality", **facts}))


if __name__ == "__main__":
    main()
