"""Which file of a data set is from which machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from oddkind.files.listing import Entry
from oddkind.files.source import Source


def by_machine(files: Sequence[Entry], source: Source) -> tuple[dict[str, list[Entry]], dict[str, str]]:
    """Sort files by machine, in the order of their names; and files that name none, each with the reason.

    The machine is what the field says that `source.machine` names, by default "machine". If no file has such a field,
    it is the first folder on the path to the file.
    """
    named = source.machine is not None or any(entry.machine is not None for entry in files)
    machines: dict[str, list[Entry]] = {}
    refused: dict[str, str] = {}
    for entry in files:
        folders = PurePosixPath(entry.name).parts[:-1]
        name = entry.machine if named else folders[0] if folders else None
        if name is None:
            refused[entry.name] = (
                f"the field {source.machine or 'machine'!r} is empty, so it is of no machine"
                if named
                else "lies in no folder, so it is of no machine; --machine-field names a field that says it"
            )
        else:
            machines.setdefault(name, []).append(entry)
    return dict(sorted(machines.items())), refused


def without_labels(files: Sequence[Entry]) -> list[Entry]:
    """Return the files of a machine that borrows: the labels learnt are machines, not what is known of the files."""
    return [replace(entry, label=None) for entry in files]
