"""`Samples`, the record every reader returns, and fair ways to hold a part of it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupShuffleSplit

from oddkind.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs with what is known of them.

    Attributes
    ----------
    inputs : array [N, ...]
        Vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]; uint8 or float.
    labels : array [N] or None
        Internal labels: kinds of normal, such as digit, machine id or load.
    anomalous : bool array [N] or None
        Which samples are known anomalies.
    groups : array [N] or None
        What must not be torn apart by a split: the recording, session or tile a sample was cut from.
    files : array [N] or None
        The file each was read from.
    name : str
        Where the samples came from, for titles and messages.
    """

    inputs: Array
    labels: Array | None = None
    anomalous: Array | None = None
    groups: Array | None = None
    files: Array | None = None
    name: str = "samples"

    def __post_init__(self) -> None:
        for field in ("labels", "anomalous", "groups", "files"):
            values = getattr(self, field)
            if values is not None and np.shape(values) != (len(self.inputs),):
                raise InputError(
                    f"{self.name}: {field} has shape {np.shape(values)}; "
                    f"{len(self.inputs)} inputs need one value each, ({len(self.inputs)},)"
                )

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, rows: slice | Array | Sequence[int]) -> Samples:
        """Return the chosen rows of every field."""

        def take(values: Array | None) -> Array | None:
            return None if values is None else values[rows]

        return replace(
            self,
            inputs=self.inputs[rows],
            labels=take(self.labels),
            anomalous=take(self.anomalous),
            groups=take(self.groups),
            files=take(self.files),
        )


def holdout(
    n_samples: int,
    fraction: float,
    random_state: np.random.RandomState,
    *,
    labels: Array | None = None,
    groups: Array | None = None,
    each_label: bool = False,
) -> tuple[Array, Array]:
    """Split row numbers into a part to learn from and a part held out, both sorted.

    Every label keeps its share in both parts (to within one sample) and at least one sample to
    learn from. With `groups`, whole groups are held out instead: samples of one group never stand
    on both sides.

    Parameters
    ----------
    n_samples : int
        How many samples there are.
    fraction : float
        The part to hold out, in [0, 1). Rounded to whole samples (or groups), at least one when above 0.
    random_state : RandomState
        Decides which ones.
    labels, groups : array [n_samples] or None
        As in `Samples`.
    each_label : bool
        Whether every label keeps its share of the groups, too; each group must then have one label.

    Returns
    -------
    learn, held_out : int arrays
        Together every row once.

    Raises
    ------
    InputError
        Where nothing would be left to learn from, or a group has two labels and may have one.
    """
    if fraction == 0:
        return np.arange(n_samples), np.arange(0)
    if groups is not None and each_label and labels is not None:
        names, first, index = np.unique(groups, return_index=True, return_inverse=True)
        kinds = np.asarray(labels)[first]
        mixed = np.flatnonzero(kinds[index] != labels)
        if len(mixed):
            raise InputError(
                f"group {names.tolist()[index[mixed[0]]]!r} has samples of two labels; for a promise within each "
                "label every group must have one"
            )
        held_out = np.isin(index, holdout(len(names), fraction, random_state, labels=kinds)[1])
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)
    if groups is not None:
        n_groups = len(np.unique(groups))
        if n_groups < 2:
            raise InputError("all samples are of one group; holding out whole groups needs at least 2")
        n_held = min(n_groups - 1, max(1, round(fraction * n_groups)))
        splitter = GroupShuffleSplit(1, test_size=n_held, random_state=random_state)
        learn, held_out = next(splitter.split(np.empty(n_samples), groups=groups))
        return np.sort(learn), np.sort(held_out)
    kinds = np.zeros(n_samples, int) if labels is None else np.unique(labels, return_inverse=True)[1]
    counts = np.bincount(kinds)
    if (counts == 1).all():
        raise InputError(
            f"{n_samples} samples of {len(counts)} labels leave none to hold out; give each label 2 or more"
        )
    # Each label's share rounded down, then one more for those that lost most, while the whole falls short.
    share = fraction * counts
    held = np.floor(share).astype(int)
    wanted = max(1, round(fraction * n_samples))
    for kind in np.argsort(held - share, kind="stable"):
        if held.sum() < wanted and held[kind] < min(np.ceil(share[kind]), counts[kind] - 1):
            held[kind] += 1
    shuffled = random_state.permutation(n_samples)
    held_out = np.sort(np.concatenate([shuffled[kinds[shuffled] == kind][:n] for kind, n in enumerate(held)]))
    return np.delete(np.arange(n_samples), held_out), held_out
