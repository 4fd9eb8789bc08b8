"""`Forward` and `FrontEnd`: the interfaces of what a model runs, so that it does not depend on torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from oddkind.arrays import Array


class Forward(Protocol):
    """A trained network together with the known transforms whose views it reads."""

    def __call__(self, inputs: Array) -> tuple[Array, Array]:
        """Run standardised inputs [N, …]; return the logits [N, V, C] and the features [N, V, D] of every view.

        The outputs of a sample must not depend on the other samples of the batch.
        """
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what it takes to build the network again, beside its weights, as a JSON object."""
        ...

    def weights(self) -> Mapping[str, Array]:
        """Return the arrays that it was trained to hold, by name."""
        ...


Band = tuple[float, float, str]
"""Lowest and highest frequency in Hz that a number describes, and what it describes: "level", "wobble", …"""


class FrontEnd(Protocol):
    """What turns windows of sound into the vectors or pictures that were learnt."""

    def __call__(self, windows: Array) -> Array:
        """Turn windows [n, T] into vectors [n, D] or pictures [n, 1, H, W]."""
        ...

    def bands(self) -> list[Band]:
        """Return what each number of a vector describes, [D], or each row of a picture, [H]."""
        ...

    def sounding(self, windows: Array) -> Array:
        """Return where the picture of each window [n, T] begins and ends in the window, in seconds, [n, 2]."""
        ...
