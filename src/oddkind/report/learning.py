"""What the networks of a model know: which classes they confuse, and how far their probabilities can be trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.language import Message
from oddkind.model.model import FittedModel, Model, example_rows
from oddkind.model.outputs import pooled
from oddkind.pages.encoding import packed
from oddkind.study.reliability import reliability

BINS = 10
MAX_CLASSES = 12  # rows and columns of a table of confusions


def learning_of(model: FittedModel) -> dict[str, Any]:
    """Return confusions and reliability on the held-out samples that the model keeps, or why there are none.

    A model keeps up to `oddkind.model.model.MAX_EXAMPLES` of its held-out samples; of several folds each is asked about
    its own. The probabilities are those at the temperature of the model.
    """
    task = model.task
    if any(fold.examples is None for fold in model.folds):
        return {"missing": Message("The model was saved by an older oddkind and keeps no held-out samples.")}
    if task.n_classes == 1 or (task.labels is None and task.n_scored == 1):
        return {"missing": Message("The network sees held-out samples in one view only, so it can confuse none.")}
    said = [_outputs(fold) for fold in model.folds]
    logits, targets = (np.concatenate(parts) for parts in zip(*said, strict=True))
    names, part = task.view_names, 1  # class l · V + v is label l in view v
    if with_labels := task.labels is not None and len(task.labels) > 1:
        names, part = tuple(map(str, task.labels.tolist())), 0
    true, predicted = (np.divmod(classes, task.n_views)[part] for classes in (targets, logits.argmax(1)))
    counts = confusion(true, predicted, len(names))
    shown = most_confused(counts)
    binned = reliability(logits, targets, bins=BINS)
    return {
        "missing": None,
        "with_labels": with_labels,
        "names": [names[number] for number in shown],
        "n_classes": len(names),
        "counts": packed(counts[np.ix_(shown, shown)], "i4"),
        "totals": packed(counts.sum(1)[shown], "i4"),
        "n": len(targets),
        "n_samples": sum(len(fold.examples) for fold in model.folds if fold.examples is not None),
        "n_held_out": sum(len(fold.report.calibration_rows) for fold in model.folds),
        "temperatures": [float(fold.temperature) for fold in model.folds],
        "confidence": packed(binned.confidence, "f4"),
        "accuracy": packed(binned.accuracy, "f4"),
        "bin_counts": packed(binned.count, "i4"),
        "error": binned.expected_error,
    }


def _outputs(fold: Model) -> tuple[Array, Array]:
    """Return the logits [n, C], divided by the temperature, and the true classes [n] of all views of the examples."""
    assert fold.examples is not None  # noqa: S101 - refused before
    labels = None
    if fold.task.labels is not None:
        rows = example_rows(len(fold.report.calibration_rows), fold.examples[0].size)
        labels = fold.task.labels[np.asarray(fold.calibration.labelled.label_index)[rows]]
    targets = fold.task.targets(labels, len(fold.examples))
    assert targets is not None  # noqa: S101 - the labels of held-out samples are known
    logits = pooled(fold.run(fold.examples, targets), fold.temperature).logits
    return np.asarray(logits, float).reshape(-1, fold.task.n_classes), targets.ravel()


def confusion(true: Array, predicted: Array, n_classes: int) -> Array:
    """Return how often each true class (a row) was taken for each class (a column), int [C, C]; both arguments [n]."""
    return np.bincount(true * n_classes + predicted, minlength=n_classes**2).reshape(n_classes, n_classes)


def most_confused(counts: Array) -> Array:
    """Return which classes of a confusion matrix [C, C] are shown, sorted: the `MAX_CLASSES` with the most mistakes."""
    wrong = counts * ~np.eye(len(counts), dtype=bool)
    mistakes = wrong.sum(0) + wrong.sum(1)
    return np.sort(np.argsort(-mistakes, kind="stable")[:MAX_CLASSES])
