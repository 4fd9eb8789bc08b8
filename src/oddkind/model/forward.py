"""`Forward`: the interface of a trained network, so that a model does not depend on torch."""

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

    def local_features(self, inputs: Array) -> Array | None:
        """Return the features of standardised pictures [N, …] at each place, [N, K, H', W']; None if it has none."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what it takes to build the network again, beside its weights, as a JSON object."""
        ...

    def weights(self) -> Mapping[str, Array]:
        """Return the arrays that it was trained to hold, by name."""
        ...
