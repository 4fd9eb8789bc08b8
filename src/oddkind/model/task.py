"""`Task`: what the network classifies, L internal labels × V known transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError


@dataclass(frozen=True, eq=False)
class Task:
    """L internal labels × V known transforms; class l·V + v is label l under transform v.

    Attributes
    ----------
    labels : array [L] or None
        The internal labels, sorted. None if the task has none (L = 1).
    view_names : tuple of str
        What each of the V views shows.
    n_scored : int
        The number of views, counted from the first, in which a sample is scored.
    """

    labels: Array | None
    view_names: tuple[str, ...]
    n_scored: int

    @property
    def n_views(self) -> int:
        """The number of views to tell apart, V."""
        return len(self.view_names)

    @property
    def n_classes(self) -> int:
        """The number of classes, C = L · V."""
        return self.n_views * (1 if self.labels is None else len(self.labels))

    def label_index(self, labels: Array) -> Array:
        """Return the position of each label [N] among the labels learnt, int [N].

        Raises
        ------
        InputError
            If the task has no labels, or a label was not learnt.
        """
        if self.labels is None:
            raise InputError("the task has no internal labels")
        labels = np.asarray(labels)
        try:
            index = np.searchsorted(self.labels, labels).clip(max=len(self.labels) - 1)
        except TypeError:  # labels of several types cannot be compared, so some of them were not learnt
            known = self.labels.tolist()
            index = np.array([known.index(label) if label in known else 0 for label in labels.tolist()], int)
        unseen = np.flatnonzero(self.labels[index] != labels)
        if len(unseen):
            label = labels.tolist()[unseen[0]]
            raise InputError(f"label {label!r} of sample {unseen[0]} was not learnt; known are {self.labels.tolist()}")
        return np.asarray(index)

    def targets(self, labels: Array | None, n_samples: int, *, training: bool = False) -> Array | None:
        """Return the class of every view that is scored, or of all views if training, int64 [N, V].

        None if the task has labels and they are not given.

        Raises
        ------
        InputError
            If a label was not learnt.
        """
        views = np.arange(self.n_views if training else self.n_scored)
        if self.labels is None:
            return np.tile(views, (n_samples, 1))
        if labels is None:
            return None
        return np.asarray(self.label_index(labels)[:, None] * self.n_views + views)
