"""In which order files were recorded, and the evidence of drift along it."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.listing import Entry, is_manifest
from oddkind.files.score import Verdict, calibration_files, score_files
from oddkind.files.tables import read_columns
from oddkind.language import Message
from oddkind.model.martingale import ConformalMartingale
from oddkind.model.model import FittedModel

# Columns of a manifest that are taken for the time.
TIME_COLUMNS = {"time", "timestamp", "datetime", "date_time", "date", "recorded", "recorded_at", "start", "start_time"}
STAMP = re.compile(
    r"(?<!\d)(\d{4})[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])"
    r"(?:[-_T .]{0,3}([01]\d|2[0-3])[-_:.h]?([0-5]\d)(?:[-_:.m]?([0-5]\d))?)?(?!\d)"
)


@dataclass(frozen=True, eq=False)
class Order:
    """The order of files.

    Attributes
    ----------
    by : str
        What it was taken from.
    names : tuple of str
        The names of the files, the earliest first.
    at : array [N] or None
        The moment of each: seconds since 1970 if `dated`, else a number. None if only the order is known.
    dated : bool
    """

    by: str
    names: tuple[str, ...]
    at: Array | None
    dated: bool


def order_of(files: Sequence[Entry], data: Path, by: str = "auto") -> Order | None:
    """Find the order of files; None if there is none.

    Parameters
    ----------
    by : str
        A column of the manifest; "name": names in natural order, in which 9 comes before 10; "none"; "auto": a column
        of the manifest that is called time or the like, else time stamps in all names, else the order of the blocks if
        there is one file.

    Raises
    ------
    InputError
        If there is no such column, or it holds neither times nor numbers.
    """
    if by == "none" or not files:
        return None
    if by == "name":
        return Order(Message("the names"), tuple(sorted((entry.name for entry in files), key=_natural)), None, False)
    columns = read_columns(data) if is_manifest(data) else {}
    if by != "auto":
        if by not in columns:
            known = f"known columns: {', '.join(columns)}" if columns else f"{data} is no manifest"
            raise InputError(f"--order names the column {by!r}, which does not exist; {known}; or 'name', or 'none'")
        return _by_column(files, columns, by)
    for column in columns:
        if column.lower().replace(" ", "_") in TIME_COLUMNS:
            try:
                return _by_column(files, columns, column)
            except InputError:  # it is called so and holds something else
                continue
    stamps = [_stamp(entry.name) for entry in files]
    known_stamps = [stamp for stamp in stamps if stamp is not None]
    if len(known_stamps) == len(files) and len({*known_stamps}) > 1:
        return _sorted(files, Message("the time stamps in the names"), np.array(known_stamps), dated=True)
    if len({entry.path for entry in files}) == 1 and len(files) > 1:
        at = np.array([float((entry.windows or (0, 0))[0]) for entry in files])
        ordered = _sorted(files, Message("the place of the blocks in their file"), at, dated=False)
        return replace(ordered, at=None)
    return None


def evidence_along(
    order: Order, files: Sequence[Entry], verdicts: Sequence[Verdict], model: FittedModel, learnt: Collection[str]
) -> tuple[Array, int]:
    """Return log₁₀ of the evidence of drift after each file of the order, [N], and how many files count in it.

    It is that of `oddkind watch`: `ConformalMartingale` of the scores. Of a group of files the first counts; files that
    the model learnt from or held out do not, nor do files without a known label if the first one has one, or the other
    way round.
    """
    entries, found = {entry.name: entry for entry in files}, {verdict.path: verdict for verdict in verdicts}
    counted = [name for name in order.names if name in found and name not in learnt]
    classes = set() if model.task.labels is None else {*model.task.labels.tolist()}
    with_labels = bool(counted) and found[counted[0]].label in classes
    counted = [name for name in counted if (found[name].label in classes) == with_labels]
    first: dict[str, str] = {}
    for name in counted:
        first.setdefault(entries[name].group or name, name)
    counted_names = {*first.values()}
    scores = _reference_scores([entries[name] for name in counted if name in counted_names], found, model)
    martingale = ConformalMartingale(_calibration(model, with_labels=with_labels))
    evidence = []
    for name in order.names:
        if name in scores:
            label = found[name].label if model.per_label and with_labels else None
            martingale.add(scores[name], label or "")
        evidence.append(math.log10(max(martingale.evidence, 1e-300)))
    return np.array(evidence), len(scores)


def _reference_scores(files: Sequence[Entry], found: Mapping[str, Verdict], model: FittedModel) -> dict[str, float]:
    if len(model.folds) == 1 or not files:
        return {entry.name: found[entry.name].score for entry in files}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)  # no decision is taken from these scores
        verdicts = score_files(files, model.first_fold, on_refused=lambda name, reason: None)
    return {verdict.path: verdict.score for verdict in verdicts}


def _calibration(model: FittedModel, *, with_labels: bool) -> dict[str, Array]:
    (held_out,) = calibration_files(model.first_fold, with_labels=with_labels)
    return held_out.independent(model.task.labels if model.per_label and with_labels else None)


def _by_column(files: Sequence[Entry], columns: Mapping[str, Sequence[Any]], column: str) -> Order:
    values = dict(zip(columns["path"], columns[column], strict=True))
    moments = []
    for entry in files:
        name = entry.name if entry.name in values else entry.name.rpartition(", ")[0]  # a block of a file
        moments.append(_moment(values.get(name)))
        if moments[-1] is None:
            raise InputError(
                f"--order {column}: {entry.name} has {values.get(name)!r}; it must be a time such as "
                "2024-03-01 12:30:00, or a number"
            )
    known = [moment for moment in moments if moment is not None]
    dated = all(is_date for _, is_date in known)
    if not dated and any(is_date for _, is_date in known):
        raise InputError(f"--order {column}: the column holds times and numbers; it must hold one of them")
    return _sorted(
        files, Message("the column {column}", column=column), np.array([value for value, _ in known]), dated=dated
    )


def _sorted(files: Sequence[Entry], by: str, at: Array, *, dated: bool) -> Order:
    ties = [(float(moment), (entry.windows or (0, 0))[0]) for moment, entry in zip(at, files, strict=True)]
    rows = sorted(range(len(files)), key=ties.__getitem__)
    return Order(by, tuple(files[row].name for row in rows), at[rows], dated)


def _moment(value: Any) -> tuple[float, bool] | None:
    """Return a time as seconds since 1970, or a number, and whether it is a time."""
    text = str(value or "").strip()
    try:
        number = float(text)
    except ValueError:
        number = None
    if number is not None:
        return (number, False) if math.isfinite(number) else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp(), True


def _stamp(name: str) -> float | None:
    """Return the time stamp in a name, in seconds since 1970; None if it has none or several."""
    found = STAMP.findall(name.rpartition("/")[2])
    if len(found) != 1:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in found[0])
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _natural(name: str) -> list[tuple[bool, int, str]]:
    parts = re.findall(r"\d+|\D+", name)
    return [(not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]
