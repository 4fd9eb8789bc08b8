"""Machines that are fitted to files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from oddkind.errors import ConcernWarning, InputError
from oddkind.file_fitting import noted
from oddkind.files.blocks import cutting, in_blocks, with_blocks
from oddkind.files.listing import Entry, grouped, labelled
from oddkind.files.reading import read
from oddkind.files.score import n_calibration_files, promise_problem
from oddkind.files.source import Source, resolved
from oddkind.fleet.machines import by_machine
from oddkind.model.model import CrossModel, Model
from oddkind.samples import Samples

Fitted = Model | CrossModel


@dataclass(frozen=True)
class FileMachine:
    """A machine that is fitted to files, with resolved settings; files that cannot be read are left out, and said so.

    With `strict` the first file that cannot be read is an error.
    """

    files: tuple[Entry, ...]
    source: Source
    how: str
    cache: Path | None
    strict: bool

    @cached_property
    def entries(self) -> list[Entry]:
        """The files, or blocks of files, that are learnt from."""
        cut = in_blocks(self.files, self.source, apart=True)
        refused: dict[str, str] = {}
        entries = labelled([entry for entry in cut if entry.anomalous is not True], refused.__setitem__)
        if refused:
            warnings.warn(f"left out: {grouped(refused)}", ConcernWarning, stacklevel=2)
        if not entries:
            raise InputError("no file of it is normal and outside the test split")
        return entries

    def samples(self) -> Samples:
        """Read them; labels are kept if there are several."""
        refused: dict[str, str] = {}
        samples = read(
            self.entries, self.source, cache=self.cache, on_refused=None if self.strict else refused.__setitem__
        )
        if refused:
            warnings.warn(f"left out: {grouped(refused)}", ConcernWarning, stacklevel=2)
        several = samples.labels is not None and len(np.unique(samples.labels)) > 1
        return replace(samples, labels=samples.labels if several else None)

    def finished(self, model: Fitted, samples: Samples) -> tuple[Fitted, int, bool]:
        """Return the model with what scoring files takes; files, blocks or groups of them are compared with."""
        reason = "as settings say" if self.source.front_end else ""
        source = noted(model, samples, self.entries, self.source, self.how, reason)
        model = replace(model, source=source)
        return model, n_calibration_files(model), promise_problem(model) is None

    def __getstate__(self) -> dict[str, object]:
        """Leave the entries out: another process finds them again."""
        return {name: value for name, value in vars(self).items() if name != "entries"}


def file_machines(
    files: Sequence[Entry],
    source: Source,
    *,
    min_groups: int,
    how: str = "auto",
    cache: Path | None = None,
    strict: bool = False,
) -> tuple[dict[str, FileMachine], Source, dict[str, str]]:
    """Return the machines of a data set, the settings that they are all read with, and files that are left out.

    The settings are determined from files of all machines, so that all are read alike. If each machine has one long
    file, all are cut into blocks of the length that suits the first (`oddkind.files.blocks`).

    Raises
    ------
    InputError
        If there is nothing to learn from, or no file can be read.
    """
    learnt = [entry for entry in files if entry.split != "test" and (entry.anomalous is not True or entry.truth)]
    machines, refused = by_machine(learnt, source)
    for name, own in by_machine(files, source)[0].items():
        if name not in machines:
            why = "anomalous" if all(entry.anomalous for entry in own) else "anomalous or of the test split"
            refused[name] = f"all {len(own)} files of this machine are {why}, so there is nothing to learn from"
    if not machines:
        why = grouped(refused) or "none is normal and outside the test split; --normal names the normal ones"
        raise InputError(f"none of {len(files)} files can be learnt from; {why}")
    every = [entry for own in machines.values() for entry in own]
    first = next(iter(machines.values()))
    whole = resolved(source, every)
    source = with_blocks(whole, first if max(map(len, machines.values())) == 1 else every, min_groups)
    if source.block is not None:
        cut = cutting(source, 1, len(in_blocks(first[:1], source, apart=True)))
        warnings.warn(f"the files of all machines are cut, as the first: {cut}", ConcernWarning, stacklevel=2)
    return (
        {name: FileMachine(tuple(own), source, how, cache, strict) for name, own in machines.items()},
        source,
        refused,
    )
