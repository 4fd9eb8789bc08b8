"""Scoring archives: files divided into shards, and verdicts in Parquet parts, from which a killed run resumes."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import parquet

from oddkind.errors import InputError, PromiseWarning
from oddkind.files.listing import Entry
from oddkind.files.score import held_out_files, score_files
from oddkind.files.write import as_printed
from oddkind.model.model import FittedModel
from oddkind.naming import printable
from oddkind.output import written_whole

# So many files are scored between two parts: a run that is killed loses at most their work.
PART_FILES = 1000

SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("label", pa.string()),
        ("score", pa.float64()),
        ("p_value", pa.float64()),
        ("anomalous", pa.bool_()),
        ("refused", pa.string()),
    ]
)
_PART = re.compile(r"shard-(\d+)-of-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Shard:
    """One of `of` shards of a data set, counted from 1, as a container of the names of its files.

    A file belongs to the shard that its name says, whatever other files there are, so shards may be listed at different
    times and on different computers.
    """

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a shard such as "3/64".

        Raises
        ------
        InputError
            If it is none.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise InputError(f"shard {text!r}; it must be a number of all shards, from 1/64 to 64/64")
        return cls(int(match[1]), int(match[2]))

    def __contains__(self, name: object) -> bool:
        digest = hashlib.sha256(str(name).encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    @property
    def prefix(self) -> str:
        """How the names of its parts begin."""
        digits = len(str(self.of))
        return f"shard-{self.number:0{digits}}-of-{self.of}-"


@dataclass(frozen=True)
class Scored:
    """What a run has done: files scored and refused now, and files that were finished before."""

    n_scored: int
    n_anomalous: int
    refused: dict[str, str]
    n_before: int
    parts: list[str]


def score_into(
    folder: Path,
    files: Sequence[Entry],
    model: FittedModel,
    *,
    made_with: dict[str, Any],
    shard: Shard | None = None,
    cache: Path | None = None,
    strict: bool = False,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Scored:
    """Score the files of a shard that have no verdict in `folder` yet, and write them there as Parquet parts.

    A part is written whole or not at all, so a run that was killed resumes with the files that are in none. All parts
    have the columns of `SCHEMA`; `refused` says why a file could not be read. Without a shard, all files are looked for
    in the parts of all shards.

    Parameters
    ----------
    made_with : dict
        What the verdicts depend on, such as the model and its false-alarm rate; it is noted in each part.
    strict : bool
        Whether a file that cannot be read ends the run.

    Raises
    ------
    InputError
        If the folder cannot be written, or has parts that were made with something else or of another number of shards;
        if strict, also if a file cannot be read.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        parts = sorted(path for path in folder.iterdir() if _PART.fullmatch(path.name))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name a folder that can") from error
    done = _finished(folder, parts, made_with, shard)
    left = [entry for entry in files if printable(entry.name) not in done]
    prefix = (shard or Shard()).prefix
    next_part = 1 + max(
        (int(path.stem.removeprefix(prefix)) for path in parts if path.name.startswith(prefix)), default=0
    )
    held_out, noted = held_out_files(model), {b"oddkind": json.dumps(made_with).encode()}
    n_anomalous = 0
    written: list[str] = []
    all_refused: dict[str, str] = {}
    for start in range(0, len(left), PART_FILES):
        chunk = left[start : start + PART_FILES]
        refused: dict[str, str] = {}

        def report(fraction: float, start: int = start, size: int = len(chunk)) -> None:
            on_progress((start + fraction * size) / len(left))

        with warnings.catch_warnings():
            if start:
                warnings.simplefilter("ignore", PromiseWarning)  # once is enough
            verdicts = score_files(
                chunk,
                model,
                cache=cache,
                held_out=held_out,
                on_refused=None if strict else refused.__setitem__,
                on_progress=report,
            )
        rows: list[dict[str, Any]] = [vars(as_printed(verdict)) for verdict in verdicts]
        rows += [{"path": printable(name), "refused": printable(reason)} for name, reason in refused.items()]
        name = f"{prefix}{next_part + len(written):06}.parquet"
        with written_whole(folder / name) as unfinished:
            parquet.write_table(pa.Table.from_pylist(rows, SCHEMA.with_metadata(noted)), unfinished)
        written.append(name)
        all_refused |= refused
        n_anomalous += sum(verdict.anomalous for verdict in verdicts)
    on_progress(1.0)
    return Scored(len(left) - len(all_refused), n_anomalous, all_refused, len(files) - len(left), written)


def _finished(folder: Path, parts: Sequence[Path], made_with: dict[str, Any], shard: Shard | None) -> set[str]:
    """Return the names that parts hold; refuse parts that do not belong to the same verdicts."""
    done: set[str] = set()
    for path in parts:
        match = _PART.fullmatch(path.name)
        assert match is not None  # noqa: S101 - they were chosen by it
        if shard is not None and int(match[2]) != shard.of:
            raise InputError(
                f"{path}: a part of {int(match[2])} shards, not {shard.of}, whose files would overlap; name the same "
                "number of shards, another folder, or no shard to score what is left"
            )
        if shard is not None and int(match[1]) != shard.number:
            continue
        try:
            with parquet.ParquetFile(path) as content:
                noted = json.loads((content.schema_arrow.metadata or {}).get(b"oddkind", b"{}"))
                done |= set(content.read(["path"])["path"].to_pylist())
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: not a part that 'oddkind score' wrote ({error}); name another folder") from error
        for name, value in made_with.items():
            if noted.get(name) != value:
                raise InputError(
                    f"{path}: made with another {name} ({noted.get(name)!r}, now {value!r}); name another folder"
                )
    return done
