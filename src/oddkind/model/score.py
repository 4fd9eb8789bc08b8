"""`Score`: what an anomaly score learns and computes; and comparing samples with normal ones of their label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.outputs import Outputs
from oddkind.model.task import Task

Arrays = dict[str, Array]

# Of pictures with more numbers, this many evenly spread ones are compared.
MAX_COMPARED_NUMBERS = 1024


@dataclass(frozen=True)
class Score:
    """An anomaly score of one network, or of several networks that saw the same samples.

    Attributes
    ----------
    formula : str
        One line, for tables.
    compute : callable (outputs, learnt arrays, temperature) → [N]
        It must not estimate anything: a sample's score must not depend on the other samples.
    learn : callable (outputs of normal samples, temperature) → dict of arrays, or None
        What the score learns, once; None if it learns nothing. The arrays are saved with the model.
    usual : callable (learnt arrays, outputs of normal samples) → [n], or None
        Scores of some of the samples learnt from, each compared with those of other groups.
    apart : callable (learnt arrays) → float, or None
        How far two of the samples learnt from are apart.
    extend : callable (learnt arrays, outputs of held-out samples) → dict of arrays, or None
        What the score learnt, with the held-out samples to compare with, too.
    left_out : callable (extended arrays, outputs of held-out samples, their groups [n], with_labels) → [n], or None
        Scores of the held-out samples, each compared with all normal samples but those of its own group.
    pool : "probability", "logit" or "score"
        What is averaged over several networks before the rest is computed.
    network : str or None
        The name of the network that it needs; None: any.
    needs_rotations, needs_labels, needs_signals : bool
        Requirements; labels are needed if samples are seen in one view only.
    needs_learnt : bool
        In a combination it counts only if at least half of what there is to learn was learnt.
    uses_softmax : bool
        Whether it is computed from the logits and not from the features: worthless if nothing was learnt.
    """

    formula: str
    compute: Callable[[Outputs, Arrays, float], Array]
    learn: Callable[[Outputs, float], Arrays] | None = None
    usual: Callable[[Arrays, Outputs], Array] | None = None
    apart: Callable[[Arrays], float] | None = None
    extend: Callable[[Arrays, Outputs], Arrays] | None = None
    left_out: Callable[[Arrays, Outputs, Array, bool], Array] | None = None
    pool: Literal["probability", "logit", "score"] = "score"
    network: str | None = None
    needs_rotations: bool = False
    needs_labels: bool = False
    needs_signals: bool = False
    needs_learnt: bool = False
    uses_softmax: bool = False

    def label_modes(self, task: Task) -> tuple[bool, ...]:
        """Return the kinds of samples it can score: labels known (True), labels not known (False)."""
        return (True,) if self.needs_labels and task.n_scored == 1 and task.labels is not None else (True, False)


def by_class(outputs: Outputs) -> tuple[Array, Arrays]:
    """Order of normal samples by their class, and where each class starts: what `within_label` needs."""
    if outputs.targets is None:
        raise InputError("this score compares with normal samples: pass their outputs with targets")
    own = outputs.targets[:, 0]
    classes, starts = np.unique(np.sort(own), return_index=True)
    return np.argsort(own, kind="stable"), {"classes": classes, "starts": np.append(starts, len(own))}


def within_label(outputs: Outputs, arrays: Arrays, distance: Callable[[Outputs, slice, int], Array]) -> Array:
    """Compare samples with the normal ones of their label, or with all if it is not known, [N].

    `distance` gets some samples, the rows of the normal ones to compare with and the number of the label; −1: all.
    """
    classes, starts = arrays["classes"], arrays["starts"]
    if outputs.targets is None:
        return distance(outputs, slice(0, int(starts[-1])), -1)
    own = outputs.targets[:, 0]
    refuse_absent(own, classes, outputs.n_views)
    result = np.empty(len(outputs))
    for label in np.unique(own):
        number = int(np.searchsorted(classes, label))
        rows = own == label
        result[rows] = distance(outputs[rows], slice(int(starts[number]), int(starts[number + 1])), number)
    return result


def refuse_absent(classes: Array, known: Array, n_views: int) -> None:
    """Refuse classes [N] that no normal sample has; class l · n_views + v is label l."""
    absent = np.setdiff1d(classes, known)
    if len(absent):
        raise InputError(f"there is no normal sample of label {int(absent[0]) // n_views} to compare with")


def some_numbers(outputs: Outputs) -> Array:
    """Inputs [N, D]; of more than `MAX_COMPARED_NUMBERS` numbers so many, evenly spread."""
    if outputs.inputs is None:
        raise InputError("this score compares inputs: pass outputs with inputs")
    n = outputs.inputs.shape[1]
    if n <= MAX_COMPARED_NUMBERS:
        return outputs.inputs
    return outputs.inputs[:, np.linspace(0, n - 1, MAX_COMPARED_NUMBERS).astype(int)]
