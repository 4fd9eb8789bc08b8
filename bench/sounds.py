"""Does a network for spectrograms find odd sounds that statistics of their bands do not show, and when is it chosen?

    python bench/sounds.py [--only NAME …] [--rows NAME …]

- Spoken digits, no label known when scoring. Digits 0–3 are normal and labels, 7–9 anomalous. "takes": takes 0–9,
  10–19 and 20–29 are held out in turn. "speakers": one of the four speakers is held out in turn, and both kinds of
  clips are that speaker's.
- Motors: whole recordings are held out, 3 splits, as in bench/signals.py; the motor is known when scoring.

The ladder: each row adds one ingredient to the row above. The front ends read the files as `oddkind fit` does, clips
padded. Beside it stand the one-liners, standardised, on the statistics of the bands; whitened within the label. The
network, the front end and the warps were developed with the digits 4–6 as anomalies, and with 7–9 on two of the four
speakers; an earlier score with 7–9 on the second block of takes and on all speakers; slopes, several networks and the
energy with 7–9 on george, jackson and the second block of takes. Differences are paired over splits.
`chosen` is what `oddkind fit` takes for the split, from its normal sounds alone. The last line of the output is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from quality import DATA, cell
from signals import held_out
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor

from oddkind import Detector, Samples, source_of
from oddkind.arrays import Array
from oddkind.files.reading import read
from oddkind.files.source import resolved
from oddkind.front_end_choice import PICTURE, SIGNIFICANT, USUAL, compare
from oddkind.metrics import auc
from oddkind.model.distances import neighbour_distances

FRONT_ENDS = {"statistics": USUAL, "spectrograms": PICTURE}


@dataclass(frozen=True)
class Split:
    """Rows to learn from and to test, which of these are odd, and labels; `known` when scoring."""

    name: str
    learnt: Array
    tested: Array
    anomalous: Array
    labels: Array
    files: Array
    known: bool


@cache
def sounds(folder: str, pattern: str, *, match_loudness: bool) -> dict[str, Samples]:
    """Read a folder with both front ends."""
    source = source_of(DATA / folder, pattern=pattern, match_loudness=match_loudness)
    files, _ = source.entries(DATA / folder)
    source = resolved(source, files)
    found = {}
    for name, front_end in FRONT_ENDS.items():
        settings = source.model_copy(update={"front_end": front_end})
        found[name] = read(files, settings, on_refused=lambda *_: None)
    return found


def spoken() -> tuple[dict[str, Array], list[Split]]:
    """Return spoken digits by front end, and the splits by takes and by speakers."""
    both = sounds("spoken_digits", "{label}_{speaker}_{take}.wav", match_loudness=False)
    samples = both["statistics"]
    assert samples.files is not None
    digit, speaker, take = np.array([name.removesuffix(".wav").split("_") for name in samples.files]).T
    digit, take = digit.astype(int), take.astype(int)
    splits = []
    for block in range(3):
        held = take // 10 == block
        splits.append(_split(f"takes {block}", (digit <= 3) & ~held, (digit <= 3) & held, digit >= 7, digit, samples))
    for one in np.unique(speaker):
        own = speaker == one
        normal, odd = (digit <= 3) & own, (digit >= 7) & own
        splits.append(_split(f"speakers {one}", (digit <= 3) & ~own, normal, odd, digit, samples))
    return {name: np.asarray(found.inputs) for name, found in both.items()}, splits


def _split(
    name: str, learnt: Array, normal: Array, odd: Array, labels: Array, samples: Samples, *, known: bool = False
) -> Split:
    tested = np.flatnonzero(normal | odd)
    assert samples.files is not None
    return Split(name, np.flatnonzero(learnt), tested, odd[tested], labels, samples.files, known)


def motors() -> tuple[dict[str, Array], list[Split]]:
    """Return seconds of motor sound by front end, and splits of whole recordings."""
    both = sounds("bldc_motor", "{condition}_{label}_{rpm}.wav", match_loudness=True)
    samples = both["statistics"]
    assert samples.files is not None
    assert samples.labels is not None
    condition = np.char.partition(samples.files.astype(str), "_")[:, 0]
    healthy, labels, splits = condition == "Healthy", samples.labels, []
    for seed in range(3):
        tested = held_out(samples.files, labels, healthy, seed)
        learnt, odd = healthy & ~tested, condition == "Propeller"
        splits.append(_split(f"motors {seed}", learnt, healthy & tested, odd, labels, samples, known=True))
    return {name: np.asarray(found.inputs) for name, found in both.items()}, splits


# --- contestants: front end, and scores of the tested rows ---


def detector(**parameters: Any) -> Callable[[Array, Split], Array]:
    """Return a function for the anomaly scores of a detector."""

    def score(inputs: Array, split: Split) -> Array:
        # No rate is promised here, so a tenth is held out even if there are few recordings.
        fitted = Detector(random_state=0, false_alarm_rate=0.5 if split.known else 0.05, **parameters)
        labels, groups = split.labels[split.learnt], split.files[split.learnt]
        fitted.fit(inputs[split.learnt], labels, groups)
        return fitted.anomaly_score(inputs[split.tested], split.labels[split.tested] if split.known else None)

    return score


def one_liner(score: Callable[[Array, Array], Array], *, whiten: bool = False) -> Callable[[Array, Split], Array]:
    """Return a function for the scores of a method on standardised vectors, within the label if it is known."""

    def scores(inputs: Array, split: Split) -> Array:
        flat = inputs.reshape(len(inputs), -1)
        mean, scale = flat[split.learnt].mean(0), flat[split.learnt].std(0)
        learnt, tested = ((flat[rows] - mean) / np.where(scale > 0, scale, 1) for rows in (split.learnt, split.tested))
        labels, claimed = split.labels[split.learnt], split.labels[split.tested]
        if whiten:
            means = np.stack([learnt[labels == label].mean(0) for label in labels])
            values, vectors = np.linalg.eigh(LedoitWolf().fit(learnt - means).covariance_)
            learnt, tested = (rows @ (vectors / np.sqrt(values)) for rows in (learnt, tested))
        if not split.known:
            return score(learnt, tested)
        found = np.empty(len(tested))
        for label in np.unique(claimed):
            found[claimed == label] = score(learnt[labels == label], tested[claimed == label])
        return found

    return scores


def nearest(learnt: Array, tested: Array) -> Array:
    """Distance to the nearest neighbour."""
    return neighbour_distances(tested, learnt, 1)[:, 0]


OTHERS = "1-NN", "LOF", "Mahalanobis", "IsolationForest"  # as the names of the one-liners start
BASE = "MLP on statistics: Detector()"


def contestants() -> dict[str, tuple[str, Callable[[Array, Split], Array]]]:
    """Return the front end and the scores of each row."""
    lof, forest = LocalOutlierFactor, IsolationForest
    one = {"network": "spectrogram", "task": "labels", "n_members": 1}
    plain = one | {"max_shift": 0, "warp": 0.0}
    return {
        "1-NN": ("statistics", one_liner(nearest)),
        "1-NN, whitened": ("statistics", one_liner(nearest, whiten=True)),
        "LOF": ("statistics", one_liner(lambda a, b: -lof(novelty=True).fit(a).score_samples(b))),
        "Mahalanobis": ("statistics", one_liner(lambda a, b: LedoitWolf().fit(a).mahalanobis(b))),
        "IsolationForest": ("statistics", one_liner(lambda a, b: -forest(random_state=0).fit(a).score_samples(b))),
        "1-NN on spectrograms": ("spectrograms", one_liner(nearest)),
        BASE: ("statistics", detector()),
        "network for spectrograms": ("spectrograms", detector(**plain, mixup=0.0)),
        "+ mixup": ("spectrograms", detector(**plain)),
        "+ warps": ("spectrograms", detector(**one)),
        "+ 5 networks: the default": ("spectrograms", detector(network="spectrogram", task="labels")),
    }


def measured(inputs: dict[str, Array], split: Split, rows: tuple[str, ...]) -> Iterator[tuple[str, float, float]]:
    """Yield the AUC and the seconds of processor time of each contestant whose name starts like one of `rows`."""
    for name, (front_end, score) in contestants().items():
        if not name.startswith((*OTHERS, BASE, *rows)):
            continue
        start = time.process_time()
        yield name, auc(split.anomalous, score(inputs[front_end], split)), time.process_time() - start


def chosen(inputs: dict[str, Array], split: Split) -> str:
    """Return what `oddkind fit` chooses, and why."""
    rows = split.learnt
    one, other = (inputs[name][rows].reshape(len(rows), -1) for name in FRONT_ENDS)
    scale = one.std(0)
    one = (one - one.mean(0)) / np.where(scale > 0, scale, 1)
    files = split.files[rows]
    found = compare((one, other), split.labels[rows], files, files)
    assert found is not None
    name = [*FRONT_ENDS][int(found.p_value <= SIGNIFICANT)]
    return f"{name} ({found.aucs[1]:.3f} against {found.aucs[0]:.3f}, p = {found.p_value:.1g})"


def report(name: str, values: dict[str, list[float]], seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Print the table of one kind of split; return its numbers."""
    best = max((row for row in [*values][:5]), key=lambda row: np.mean(values[row]))
    print(f"\n{name}\n\n| | AUC | − MLP on statistics | − best one-liner ({best}) | processor seconds |")
    print("| --- | --- | --- | --- | --- |")
    for row, own in values.items():
        apart = [cell(np.subtract(own, values[other]).tolist(), 3, "+") for other in (BASE, best)]
        print(f"| {row} | {cell(own, 3)} | {' | '.join(apart)} | {np.mean(seconds[row]):.0f} |")
    return {row: [round(value, 4) for value in own] for row, own in values.items()}


def main() -> None:
    """Measure every contestant on every split, and print a table for each kind of split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="splits whose names start like this")
    parser.add_argument(
        "--rows", nargs="+", default=[""], metavar="NAME", help="rows of the ladder that start like this"
    )
    options = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"{DATA} does not exist; nothing to measure")
    warnings.simplefilter("ignore")
    facts: dict[str, Any] = {"bench": "sounds"}
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for make in (motors, spoken):
        inputs, splits = make()
        for split in splits:
            if not split.name.startswith(tuple(options.only)):
                continue
            kind, choice = split.name.split()[0], chosen(inputs, split)
            facts.setdefault("chosen", {})[split.name] = choice
            print(f"{split.name}: chosen {choice}", file=sys.stderr)
            for row, value, took in measured(inputs, split, tuple(options.rows)):
                values[kind][row].append(value)
                seconds[kind][row].append(took)
                print(f"{split.name}, {row}: {value:.3f}, {took:.1f} s", file=sys.stderr, flush=True)
    facts |= {kind: report(kind, of, seconds[kind]) for kind, of in values.items()}
    for name, choice in facts.get("chosen", {}).items():
        print(f"{name}: chosen {choice}")
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
