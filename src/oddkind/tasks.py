"""What to classify: L internal labels × V known transforms make L · V classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from oddkind.errors import InputError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Identity:
    """No transform: every sample is seen once, as it is."""

    count: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        """[N, ...] → [N, 1, ...]."""
        return x[:, None]


@dataclass(frozen=True)
class Rotations:
    """A picture and its turns by 90, 180 and 270 degrees counter-clockwise.

    RotNet: Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018.
    """

    count: int = 4

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, S, S] → [N, 4, C, S, S]."""
        return torch.stack([torch.rot90(x, turns, (-2, -1)) for turns in range(self.count)], 1)


@dataclass(frozen=True)
class Reversals:
    """A signal forwards and backwards in time."""

    count: int = 2

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, T] → [N, 2, C, T]."""
        return torch.stack([x, x.flip(-1)], 1)


@dataclass(frozen=True, eq=False)
class Affine:
    """A vector under V random linear maps, fixed once drawn; GOAD: Bergman & Hoshen, ICLR 2020."""

    matrices: Array  # [V, D, D]

    @property
    def count(self) -> int:
        """How many maps there are."""
        return len(self.matrices)

    def __call__(self, x: Tensor) -> Tensor:
        """[N, D] → [N, V, D]."""
        return torch.einsum("nd,vde->nve", x, torch.as_tensor(self.matrices, dtype=x.dtype, device=x.device))


Transform = Identity | Rotations | Reversals | Affine


def _rotations(input_shape: tuple[int, ...], _: np.random.RandomState) -> Rotations:
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise InputError(f"task 'rotations' turns square pictures [N, C, S, S]; got samples of shape {input_shape}")
    return Rotations()


def _reversals(input_shape: tuple[int, ...], _: np.random.RandomState) -> Reversals:
    if len(input_shape) != 2:
        raise InputError(f"task 'reversals' plays signals [N, C, T] backwards; got samples of shape {input_shape}")
    return Reversals()


def _affine(input_shape: tuple[int, ...], random_state: np.random.RandomState, count: int = 8) -> Affine:
    if len(input_shape) != 1:
        raise InputError(f"task 'affine' maps vectors [N, D]; got samples of shape {input_shape}")
    size = input_shape[0]
    return Affine((random_state.standard_normal((count, size, size)) / np.sqrt(size)).astype(np.float32))


TRANSFORMS: dict[str, Callable[[tuple[int, ...], np.random.RandomState], Transform]] = {
    "rotations": _rotations,
    "reversals": _reversals,
    "affine": _affine,
}

TASKS = ("auto", "labels", *TRANSFORMS, *(f"labels+{name}" for name in TRANSFORMS))

# The transforms a task without labels is made of, by the rank of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "affine", 2: "reversals", 3: "rotations"}


@dataclass(frozen=True, eq=False)
class Task:
    """L internal labels × V known transforms; class l·V + v is label l under transform v.

    Attributes
    ----------
    labels : array [L] or None
        The internal labels, sorted. None: the task has none (L = 1).
    transform : callable [N, ...] → [N, V, ...]
        Shows every sample in V views.
    """

    labels: Array | None
    transform: Transform

    @property
    def n_classes(self) -> int:
        """C = L · V."""
        return self.transform.count * (1 if self.labels is None else len(self.labels))

    def targets(self, labels: Array | None, n_samples: int) -> Array | None:
        """Class of every view, int64 [N, V]; None when the task has labels and they were not given.

        Raises
        ------
        InputError
            Where a label was not learnt.
        """
        views = np.arange(self.transform.count)
        if self.labels is None:
            return np.tile(views, (n_samples, 1))
        if labels is None:
            return None
        index = np.searchsorted(self.labels, labels).clip(max=len(self.labels) - 1)
        unseen = np.flatnonzero(self.labels[index] != labels)
        if len(unseen):
            label = labels.tolist()[unseen[0]]
            raise InputError(f"label {label!r} of sample {unseen[0]} was not learnt; known are {self.labels.tolist()}")
        return np.asarray(index[:, None] * self.transform.count + views)


def make_task(
    name: str, input_shape: tuple[int, ...], labels: Array | None, random_state: np.random.RandomState
) -> Task:
    """Make the task called `name` for samples of `input_shape`.

    Parameters
    ----------
    name : str
        One of `TASKS`. "auto": the transforms that suit the shape (rotations of square pictures, reversals of
        signals, affine maps of vectors), together with the labels where there are any.
    labels : array [N] or None
        Internal labels of the samples to learn from.

    Raises
    ------
    InputError
        Where the name is unknown, the shape or the labels do not suit it, or there is one label only.
    """
    if name not in TASKS:
        raise InputError(f"task={name!r}; known are {', '.join(map(repr, TASKS))}")
    if name == "auto":
        transform = _AUTO[len(input_shape)]
        suits = transform != "rotations" or input_shape[1] == input_shape[2]
        name = transform if labels is None else f"labels+{transform}" if suits else "labels"
    first, _, rest = name.partition("+")
    if first != "labels":
        return Task(None, TRANSFORMS[first](input_shape, random_state))
    if labels is None:
        raise InputError(f"task {name!r} classifies internal labels; pass them as the second argument of fit")
    kinds = np.unique(labels)
    if len(kinds) < 2 and not rest:
        raise InputError(
            f"all {len(labels)} labels are {kinds.tolist()[0]!r}; telling kinds apart needs at least 2. "
            "Without labels the task makes its own: pass none"
        )
    return Task(kinds, TRANSFORMS[rest](input_shape, random_state) if rest else Identity())
