"""What a source yields: items, each judged once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oddkind.arrays import Array
from oddkind.files.listing import Entry


@dataclass(frozen=True)
class Item:
    """A file, a part of a stream or a message.

    Attributes
    ----------
    name : str
        For results.
    marks : mapping of str to str
        What is remembered once it is judged, so that it is not judged again.
    entries : sequence of Entry
        The file to read, or its blocks.
    samples : array [n, …] or None
        Samples, instead of files, for a model that learnt from arrays.
    label : str or None
        The internal label that the samples claim.
    problem : str or None
        Why it cannot be judged.
    """

    name: str
    marks: Mapping[str, str] = field(default_factory=dict)
    entries: Sequence[Entry] = ()
    samples: Array | None = None
    label: str | None = None
    problem: str | None = None


class Source(Protocol):
    """Where items come from."""

    def poll(self, timeout: float) -> list[Item] | None:
        """Return the items that are there, after waiting for them for about `timeout` seconds; None: it has ended."""

    def done(self, item: Item) -> None:
        """Take note that an item is judged, and that its lines and marks are on the disk."""

    def close(self) -> None:
        """Release what it holds."""

    def left_over(self) -> str | None:
        """Say what was received and is too short to be judged."""
