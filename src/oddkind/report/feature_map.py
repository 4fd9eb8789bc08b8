"""A map of what the network sees: normal samples arranged in the plane by t-SNE, and files placed among them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.listing import Entry
from oddkind.files.score import Verdict, file_source, in_parts, learnt_by, settings_of
from oddkind.language import Message
from oddkind.model.distances import neighbour_distances, squared_distances
from oddkind.model.model import FittedModel, Model, example_rows
from oddkind.model.outputs import pooled
from oddkind.pages.encoding import packed

MIN_NORMAL, MAX_NORMAL = 10, 1000  # normal samples that are arranged
MAX_PLACED, ODDEST = 2000, 500  # files that are placed, and how many of them are the most anomalous
DIMENSIONS = 50  # principal components of the features that are arranged
PERPLEXITY, PERPLEXITY_OF_NEW, NEIGHBOURS_OF_NEW = 30, 5, 25
FAR = 0.95
NOT_INSTALLED = Message("A map of the features needs openTSNE, which is not installed: pip install 'oddkind[map]'")


@dataclass(frozen=True, eq=False)
class NormalFeatures:
    """What the first network of a model says about normal samples.

    Attributes
    ----------
    features : array [R, D]
    label_index : int array [R] or None
        The label of each, counted from 0.
    file : int array [R]
        The number of the file that each is from.
    held_out : bool
        Whether they were held out; otherwise they were learnt from.
    """

    features: Array
    label_index: Array | None
    file: Array
    held_out: bool


def check_map(wanted: bool | None) -> None:
    """Refuse a map that is asked for and cannot be drawn.

    Raises
    ------
    InputError
        If openTSNE is not installed.
    """
    if wanted and find_spec("openTSNE") is None:
        raise InputError(NOT_INSTALLED)


def map_of(
    files: Mapping[str, Entry],
    verdicts: Sequence[Verdict],
    model: FittedModel,
    *,
    wanted: bool | None = None,
    cache: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Return where files lie on a map of the model's normal samples, for the page; or why there is no map.

    A file is placed by its most anomalous sample, by the first fold. Many normal samples are arranged in part, and of
    many files the most anomalous ones and others evenly spread are placed; how many is said in the page.

    Parameters
    ----------
    files : mapping
        By name, the files that were judged.
    wanted : bool or None
        None: if openTSNE is installed.
    """
    if wanted is False:
        return {"missing": "", "asked": False}
    if find_spec("openTSNE") is None:
        return {"missing": NOT_INSTALLED, "asked": True}
    normal = normal_features(model.first_fold)
    if normal is None or len(normal.features) < MIN_NORMAL:
        why = Message("A map takes at least {n} normal samples that the model keeps; it keeps fewer.", n=MIN_NORMAL)
        return {"missing": why, "asked": True}
    rows = placed_rows(verdicts)
    found = oddest_features([files[verdicts[row].path] for row in rows], model, cache=cache, on_progress=on_progress)
    rows = np.array([row for row in rows if verdicts[row].path in found], int)
    scale = _scale(normal.features)
    known, new = normal.features / scale, np.stack([found[verdicts[row].path] for row in rows]) / scale
    at_known, at_new = arranged(known, new)
    labels = [] if model.task.labels is None else model.task.labels.tolist()
    far = far_away(known, new, normal.file)
    was_learnt = learnt_by(model)
    if far is not None:  # a file that was learnt from is near itself
        far[[was_learnt(files[verdicts[row].path]) for row in rows]] = False
    on_progress(1.0)
    return {
        "missing": None,
        "asked": True,
        "rows": packed(rows, "i4"),
        "at": packed(at_new, "f4"),
        "far": None if far is None else packed(far, "u1"),
        "normal": packed(at_known, "f4"),
        "normal_label": None if normal.label_index is None else packed(normal.label_index, "i4"),
        "labels": [str(label) for label in labels],
        "held_out": normal.held_out,
        "n_kept": _n_kept(model.first_fold),
        "folds": len(model.folds),
    }


def normal_features(fold: Model) -> NormalFeatures | None:
    """Return the features of normal samples that a model keeps, at most `MAX_NORMAL`, evenly spread; None: it has none.

    Those that it learnt from if it keeps them for its score, else held-out ones.
    """
    noted = file_source(fold)["files"]
    cut = settings_of(fold).block is not None  # blocks of one file are alike, too
    names = [name.rpartition(", ")[0] if cut else name for name, _ in noted]
    starts, number = [first for _, first in noted], np.unique(names, return_inverse=True)[1]
    if fold.normal is not None:
        features, label_index, rows = fold.normal.features, fold.normal.label_index, fold.normal.rows
    elif fold.examples is not None:
        kept = example_rows(len(fold.report.calibration_rows), fold.examples[0].size)
        features = pooled(fold.run(fold.examples, None)).features
        label_index = fold.calibration.labelled.label_index
        label_index = None if label_index is None else label_index[kept]
        rows = fold.report.calibration_rows[kept]
    else:
        return None
    use = np.linspace(0, len(rows) - 1, min(MAX_NORMAL, len(rows))).round().astype(int)
    return NormalFeatures(
        np.asarray(features[use], float).reshape(len(use), -1),
        None if label_index is None else label_index[use],
        number[np.searchsorted(starts, rows[use], side="right") - 1],
        fold.normal is None,
    )


def _n_kept(fold: Model) -> int:
    return len(fold.normal.rows) if fold.normal is not None else len(fold.examples if fold.examples is not None else ())


def placed_rows(verdicts: Sequence[Verdict]) -> Array:
    """Return which files are placed, sorted: all, or of many the `ODDEST` and others evenly spread."""
    if len(verdicts) <= MAX_PLACED:
        return np.arange(len(verdicts))
    ranked = sorted(range(len(verdicts)), key=lambda row: (verdicts[row].p_value, -verdicts[row].score))
    others = np.sort(ranked[ODDEST:])
    spread = others[np.linspace(0, len(others) - 1, MAX_PLACED - ODDEST).round().astype(int)]
    return np.sort(np.concatenate([ranked[:ODDEST], spread]))


def oddest_features(
    files: Sequence[Entry],
    model: FittedModel,
    *,
    cache: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Array]:
    """Return the features [D] of the most anomalous sample of each file that can be read, by name; of the first fold.

    Labels are used as in `score_files`.
    """
    fold = model.first_fold
    classes = np.array([]) if fold.task.labels is None else fold.task.labels
    found: dict[str, Array] = {}
    for part in in_parts(files, fold, cache, lambda name, reason: None):
        for known in (False, True):
            own = [(entry, inputs) for entry, inputs in part if (entry.label in classes.tolist()) == known]
            if not own:
                continue
            sizes = [len(inputs) for _, inputs in own]
            labels = np.repeat([entry.label for entry, _ in own], sizes).astype(classes.dtype) if known else None
            inputs, targets = fold.prepare(np.concatenate([inputs for _, inputs in own]), labels)
            members = fold.run(inputs, targets)
            scores, features = fold.score_outputs(members, with_labels=known), pooled(members).features
            ends = np.cumsum(sizes)
            for (entry, _), start, end in zip(own, ends - sizes, ends, strict=True):
                found[entry.name] = np.asarray(features[start + scores[start:end].argmax()], float).ravel()
        on_progress(0.5 * len(found) / len(files))
    return found


def _scale(features: Array) -> Array:
    """Return the standard deviation of each feature [R, D], at least a hundredth of the largest.

    A unit that hardly ever responds to normal samples must not decide alone.
    """
    spread = features.std(0)
    return np.maximum(spread, spread.max() / 100 or 1.0)


def far_away(known: Array, new: Array, file: Array) -> Array | None:
    """Return which samples [M, D] are farther from all normal ones [R, D] than `FAR` of these are from others; [M].

    Samples of the same file, int [R], are not compared, because they are alike. None if all are of one file.
    """
    apart = squared_distances(known, known)
    apart[file[:, None] == file] = np.inf
    nearest = np.sqrt(apart.min(1).clip(min=0))
    if not np.isfinite(nearest).all():
        return None
    return neighbour_distances(new, known, 1)[:, 0] > np.quantile(nearest, FAR)


def arranged(known: Array, new: Array) -> tuple[Array, Array]:
    """Arrange normal samples [R, D] in the plane by t-SNE, [R, 2], and place others [M, D] among them, [M, 2].

    Each is placed by itself, near the normal ones to which it is nearest. The same numbers give the same map. Van der
    Maaten & Hinton, JMLR 2008; placing new points: Poličar et al., "Embedding to reference t-SNE space addresses batch
    effects", Machine Learning 2021.
    """
    from openTSNE import TSNE

    middle = known.mean(0)
    axes = np.linalg.svd(known - middle, full_matrices=False)[2][:DIMENSIONS].T
    low, low_new = (known - middle) @ axes, (new - middle) @ axes
    start = np.zeros((len(known), 2))
    start[:, : min(2, low.shape[1])] = low[:, :2]
    spread = start[:, 0].std()
    if not spread:  # all are equal: there is nothing to arrange by, and nothing to start from
        start, spread = np.random.default_rng(0).normal(size=start.shape), 1.0
    widest = (len(known) - 1) / 3
    how: dict[str, Any] = {"n_jobs": 1, "neighbors": "exact", "negative_gradient_method": "bh", "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn says of its own parameters is nothing to a user
        tsne = TSNE(perplexity=min(PERPLEXITY, widest), initialization=start / spread * 1e-4, **how)
        embedding = tsne.fit(low)
        k = min(NEIGHBOURS_OF_NEW, len(known) - 1)
        placed = embedding.transform(low_new, perplexity=min(PERPLEXITY_OF_NEW, widest), k=k)
    return np.asarray(embedding), np.asarray(placed)
