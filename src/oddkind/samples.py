"""`Samples`: inputs and what is known about them, the record that every reader returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs and what is known about them.

    Attributes
    ----------
    inputs : array [N, ...]
        Vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]; uint8 or float.
    labels : array [N] or None
        Internal labels: the kinds of normal, such as digit, machine id or load.
    anomalous : bool array [N] or None
        Whether each sample is known to be anomalous.
    groups : array [N] or None
        The recording, session or tile that each sample was cut from; a split keeps groups together.
    files : array [N] or None
        The file that each sample was read from.
    name : str
        The name of the data set, for titles and messages.
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
        """Return the given rows of every field."""

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
