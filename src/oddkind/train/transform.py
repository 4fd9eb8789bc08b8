"""What every known transform has."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor


class Transform:
    """Turns a sample into V = `count` views; the first is the sample itself, or equivalent to it.

    Attributes
    ----------
    n_draws : int
        The number of random numbers that the views of a sample need. 0: its views are always the same. Otherwise only
        the first view is scored, because it needs none.
    borrows : bool
        Whether the views of a sample take something from another one.
    network : str
        The name of the network that suits it; "auto": that of the shape.
    """

    n_draws: ClassVar[int] = 0
    borrows: ClassVar[bool] = False
    network: ClassVar[str] = "auto"

    @property
    def count(self) -> int:
        """The number of views, V."""
        raise NotImplementedError

    @property
    def scored(self) -> int:
        """The number of views that a sample is scored in, counted from the first."""
        return 1 if self.n_draws else self.count

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view, [V]."""
        raise NotImplementedError

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """Map samples [N, ...] to views [N, V, ...], using random numbers `draws` [N, n_draws] in [0, 1).

        Without `draws`, only the views that are scored are returned. `others` [N, ...] are the samples to borrow from;
        without them, the samples themselves.
        """
        raise NotImplementedError


def like(view: Tensor, x: Tensor) -> Tensor:
    """Convert a view to the type of the samples."""
    return view.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else view.to(x.dtype)
