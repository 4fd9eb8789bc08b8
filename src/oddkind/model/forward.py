"""`Forward`: the interface of a trained network, so that a model does not depend on torch; and how it is run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError

# At most so many views are run at once, and, as those of large pictures take much memory, views of so many numbers.
PREDICT_BATCH, PREDICT_NUMBERS = 512, 1 << 19
# A matrix product with few rows is summed in a different order, and so is a convolution whose batch is not divided
# evenly between the threads. Batches are padded with zeros to a multiple of this size, so that the score of a sample
# does not depend on the batch.
MULTIPLE = 16


class Forward(Protocol):
    """A trained network together with the known transforms whose views it reads."""

    def __call__(self, inputs: Array) -> tuple[Array, Array]:
        """Run standardised inputs [N, …]; return the logits [N, V, C] and the features [N, V, D] of every view.

        The outputs of a sample must not depend on the other samples of the batch.
        """
        ...

    def local_features(self, inputs: Array) -> Array | None:
        """Return what a map of standardised pictures [N, …] is made of, [N, K, H', W']; None if it has no places."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """Return what it takes to build the network again, beside its weights, as a JSON object."""
        ...

    def weights(self) -> Mapping[str, Array]:
        """Return the arrays that it was trained to hold, by name."""
        ...


def run_in_batches(run: Callable[[Array], Sequence[Array]], inputs: Array, n_views: int) -> list[Array]:
    """Run a network on inputs [N, …] in batches; return each of its outputs, [N, …].

    Parameters
    ----------
    run : callable (inputs [n, …]) → outputs [n, …]
    n_views : int
        In how many views a sample is run.

    Raises
    ------
    InputError
        If an output is NaN or infinite.
    """
    n_numbers = max(1, math.prod(inputs.shape[1:]))
    size, found = max(1, min(PREDICT_BATCH, PREDICT_NUMBERS // n_numbers) // n_views), []
    for start in range(0, max(1, len(inputs)), size):
        part = inputs[start : start + size]
        rows = -(-max(1, len(part)) // MULTIPLE) * MULTIPLE
        blanks = np.zeros((rows - len(part), *part.shape[1:]), part.dtype)
        outputs = [output[: len(part)] for output in run(np.concatenate([part, blanks]))]
        if not all(np.isfinite(output).all() for output in outputs):
            raise InputError("the network returns NaN or infinity; fit it again, with a lower learning rate")
        found.append(outputs)
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]
