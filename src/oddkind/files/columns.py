"""Which columns of sensor logs are sensors: decided over all files, with the reason for each that is left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.dialects import MOMENT, Dialect
from oddkind.files.listing import grouped
from oddkind.files.tables import HOW_WRITTEN, as_floats, columns_of, first_rows, is_number, read_table

TIME = {
    *("time", "timestamp", "datetime", "date", "epoch", "unix", "ts", "elapsed", "year", "month", "day", "hour"),
    *("minute", "second", "seconds", "sec", "millisecond", "ms", "microsecond", "zeit", "zeitstempel", "datum"),
    *("시간", "시각", "일시", "날짜"),
}
INDEX = {"index", "idx", "id", "row", "no", "nr", "seq", "sequence", "counter", "count", "sample", "step", "unnamed: 0"}
# Names that say of a row that it is anomalous, and others that hold an answer and no measurement.
TRUTH = {
    *("anomaly", "anomalous", "is_anomaly", "outlier", "is_outlier", "attack", "fault", "faulty", "is_fault"),
    *("defect", "defective", "is_defect", "is_defective"),
}
ANSWERS = TRUTH | {"label", "labels", "class", "target", "failure", "changepoint", "change_point", "ground_truth"}
NORMAL_VALUES = {"0", "0.0", "normal", "ok", "good", "healthy", "false", "no", "none", ""}
# A date, a time of the day, or both, as text.
WRITTEN = (
    r"(?:(?P<a>\d{1,4})[-./](?P<b>\d{1,2})[-./](?P<c>\d{1,4}))?[T ]*"
    r"(?:(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?)?"
)
# Which of the three numbers of a date are year, month and day; the first that is possible counts.
ORDERS = (0, 1, 2), (2, 1, 0), (2, 0, 1)
NUMBERED = re.compile(r"column \d+")  # what columns of files without a header are called
# A column without a telling name is an index only if a file of at least this many rows shows it.
MIN_ROWS = 32
MIN_FILES = 8  # that show a column to number the files
LARGEST_STEP = 5  # of time between two rows, in usual steps; more is a gap
UNEVEN = 0.05  # a time that was rounded rises by steps that differ by this part
MAX_CODES = 32  # different whole numbers of a column of labels


@dataclass(frozen=True)
class Look:
    """What the first rows of a file say about one of its columns."""

    kind: str  # "number", "missing", "time" or "text"
    example: str = ""
    n_rows: int = 0
    rises: bool = True  # never falls
    strictly: bool = True  # rises in every row
    evenly: bool = True  # by the same step
    counts: bool = False  # by one, from one whole number to the next
    codes: bool = False  # a few whole numbers
    steady: bool = False  # one value
    first: float = np.nan
    last: float = np.nan


@dataclass(frozen=True)
class Columns:
    """The sensors, the columns of time and truth (if any), and for each column that is no sensor why not."""

    sensors: tuple[str, ...]
    time: str | None
    truth: str | None
    left_out: dict[str, str]


def find_columns(
    files: Sequence[tuple[str, Path]],
    dialect: Dialect,
    *,
    columns: Sequence[str] | None = None,
    time: str | None = None,
    truth: str | None = None,
    label: str | None = None,
) -> Columns:
    """Decide over all files which columns are sensors.

    A column is left out if it is time, an index or a label (by its name, its type and whether it rises), holds text in
    most of the files that have it or no value in any, or is in fewer than half of the files. Its first rows decide,
    64 Ki rows or 1 MiB of each file. `columns` names the sensors, `time` and `truth` those columns ("none": there is
    none, and numbers that rise are sensors), and `label` one that is no sensor, if it is a column.

    Raises
    ------
    InputError
        If no file can be read, there is no sensor, or no file has a column that is named.
    """
    found: dict[str, list[Look]] = {}
    n_read, refused = 0, dict[str, str]()
    with ThreadPoolExecutor() as pool:
        for (name, _), looks in zip(files, pool.map(lambda file: _look(file[1], dialect), files), strict=True):
            if isinstance(looks, str):
                refused[name] = looks
                continue
            n_read += 1
            for column, look in looks.items():
                found.setdefault(column, []).append(look)
    if not n_read:
        raise InputError(f"none of {len(files)} tables can be read; {grouped(refused) or 'there are no files'}")
    named = [("--columns", name) for name in columns or ()]
    named += [(option, name) for option, name in (("--time", time), ("--truth", truth)) if name not in (None, "none")]
    for option, name in named:
        if name not in found:
            raise InputError(f"no table has the column {name!r} of {option}; the columns are {', '.join(found)}")
    left_out = {}
    for column, seen in found.items():
        reason = _named(column, time, truth, label) or _reason(column, seen, n_read)
        numbers = any(look.kind == "number" for look in seen)
        if time == "none" and numbers and (reason or "").startswith(("is time", "is an index", "rises")):
            reason = None
        if columns is not None:
            reason = None if column in columns else reason or "is not one of --columns"
        if reason:
            left_out[column] = reason
    sensors = columns or [column for column in found if column not in left_out]
    if not sensors:
        reasons = [f"{column} {reason}" for column, reason in left_out.items()]
        why = "; ".join([*reasons[:5], *(["…"] if len(reasons) > 5 else [])]) or "there are no columns"
        raise InputError(f"none of {len(files)} tables has a column of sensor values: {why}. {HOW_WRITTEN}")
    moments = [column for column, reason in left_out.items() if reason.startswith("is time")]
    return Columns(tuple(sensors), time or next(iter(moments), None), truth or truth_column([*found]), left_out)


@dataclass(frozen=True)
class Clock:
    """What the column of time says about the rows: the usual step in seconds, and where it goes back or has gaps."""

    step: float | None  # None: the unit is not known
    goes_back: tuple[str, ...]
    gaps: tuple[str, ...]


def read_clock(files: Sequence[tuple[str, Path]], dialect: Dialect, column: str) -> Clock | None:
    """Compare the time of each row with that of the row before it; None if no file has a time that can be read."""
    steps: dict[str, Array] = {}
    known = False
    for name, file in files:
        with suppress(InputError):
            times, in_seconds = _moments(read_table(file, dialect, [column])[column])
            known |= in_seconds
            if len(times) > 1:
                steps[name] = np.diff(times)
    if not steps:
        return None
    every = np.concatenate([*steps.values()])
    usual = float(np.median(every))
    backwards = [f"{name}, row {(own < 0).argmax() + 2}" for name, own in steps.items() if (own < 0).any()]
    late = {name: own > LARGEST_STEP * usual for name, own in steps.items()} if usual > 0 else {}
    gaps = [f"{name}, row {own.argmax() + 2}" for name, own in late.items() if own.any()]
    changes = np.flatnonzero(every > 0)
    if usual == 0 and len(changes) > 1:  # several rows have the same time, which was rounded
        usual = float(np.median(every[changes]) / np.median(np.diff(changes)))
    return Clock(usual if known else None, tuple(backwards), tuple(gaps))


def _moments(column: pa.ChunkedArray) -> tuple[Array, bool]:
    """Return the times of rows since the first, and whether they are in seconds; none if they cannot be read."""
    column = column.drop_null()
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        moments = column.cast(pa.timestamp("ns", getattr(column.type, "tz", None))).cast(pa.int64()).to_numpy()
        return (moments - moments[:1]) / 1e9, True
    if is_number(column.type):
        return as_floats(column), False
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    return (_written(column), True) if is_text else (np.empty(0), False)


def _written(column: pa.ChunkedArray) -> Array:
    """Return the times of rows in seconds since the first from texts such as 11.03.2024 08:00:00,5; none if one is not.

    Of the orders that dates can have, that one is taken in which time goes back most seldom.
    """
    found = pc.extract_regex(column.combine_chunks(), f"^{WRITTEN}$")
    if found.null_count or not len(found):
        return np.empty(0)
    of_day = np.zeros(len(found))
    for name, seconds in (("hour", 3600), ("minute", 60), ("second", 1)):
        text = pc.replace_substring(pc.struct_field(found, name), ",", ".")
        of_day += seconds * pc.if_else(pc.equal(text, ""), "0", text).cast(pa.float64()).to_numpy()
    of_day -= of_day[0]
    numbers = [pc.struct_field(found, name).to_numpy(zero_copy_only=False).astype(str) for name in "abc"]
    if (numbers[0] == "").all():
        return of_day if all(pc.struct_field(found, "hour").to_pylist()) else np.empty(0)
    possible = []
    for year, month, day in ORDERS:
        if (np.char.str_len(numbers[year]) == 4).all():
            parts = numbers[year], np.char.zfill(numbers[month], 2), np.char.zfill(numbers[day], 2)
            with suppress(ValueError):  # there is no such date
                dates = np.array(["-".join(part) for part in zip(*parts, strict=True)], "datetime64[s]")
                possible.append((dates - dates[0]).astype(float) + of_day)
    return min(possible, key=lambda times: int((np.diff(times) < 0).sum()), default=np.empty(0))


def truth_column(names: Sequence[str]) -> str | None:
    """Return the first column whose name says that it marks anomalous rows, or None."""
    return next((name for name in names if _plain(name) in TRUTH or "attack" in _plain(name).split("/")), None)


def marked(file: Path, dialect: Dialect, truth: str | None) -> tuple[str, bool] | None:
    """Return the column that marks anomalous rows of a file and whether it marks some; None if there is no such column.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    names = columns_of(file, dialect)
    name = truth or truth_column(names)
    return None if name is None or name not in names else (name, bool(marks_of(file, dialect, name).any()))


def marks_of(file: Path, dialect: Dialect, truth: str) -> Array:
    """Return whether each row of a file is marked as anomalous by the column `truth`, bool [T].

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    codes = read_table(file, dialect, [truth])[truth].combine_chunks().dictionary_encode(null_encoding="encode")
    odd = [
        value is not None and str(value).strip().lower() not in NORMAL_VALUES for value in codes.dictionary.to_pylist()
    ]
    return np.array(odd, bool)[codes.indices.to_numpy()]


def only_value(file: Path, dialect: Dialect, column: str) -> str:
    """Return the one value that a column has in a file.

    Raises
    ------
    InputError
        If it has several or none, or the file cannot be read.
    """
    values = read_table(file, dialect, [column])[column].unique().drop_null().to_pylist()
    if len(values) != 1:
        found = ", ".join(map(str, values[:5])) or "none"
        raise InputError(
            f"column {column!r} has {len(values)} values ({found}); --label takes a column with one value in each "
            "file, and --truth one that marks anomalous rows"
        )
    return str(values[0])


def _look(file: Path, dialect: Dialect) -> dict[str, Look] | str:
    try:
        table = first_rows(file, dialect)
    except InputError as error:
        return str(error)
    return {name: _look_at(column) for name, column in zip(table.schema.names, table.columns, strict=True)}


def _look_at(column: pa.ChunkedArray) -> Look:
    values = column.drop_null()
    if not len(values):
        return Look("missing")
    if pa.types.is_temporal(column.type):
        return Look("time", str(column.type), len(values))
    if not is_number(column.type):
        example = str(values[0].as_py()) if not pa.types.is_nested(column.type) else str(column.type)
        return Look("time" if MOMENT.fullmatch(example) else "text", example, len(values))
    numbers = as_floats(values)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return Look("missing")
    steps = np.diff(numbers)
    whole = bool((numbers == np.round(numbers)).all())
    return Look(
        "number",
        f"{numbers[0]:g}",
        len(numbers),
        rises=bool((steps >= 0).all()),
        strictly=bool((steps > 0).all()),
        evenly=bool((steps > 0).all() and np.ptp(steps) <= UNEVEN * steps.max()) if len(steps) else True,
        counts=whole and len(steps) > 0 and bool((steps == 1).all()),
        steady=len(steps) > 0 and bool((steps == 0).all()),
        codes=whole and len(np.unique(numbers)) <= MAX_CODES,
        first=float(numbers[0]),
        last=float(numbers[-1]),
    )


def _named(column: str, time: str | None, truth: str | None, label: str | None) -> str | None:
    if column == time:
        return "is time (--time)"
    if column == label:
        return "is the label (--label)"
    return "marks anomalous rows (--truth)" if column == truth else None


def _reason(column: str, looks: Sequence[Look], n_files: int) -> str | None:
    """Return why a column is no sensor, or None if it is one."""
    kinds = {kind: [look for look in looks if look.kind == kind] for kind in ("number", "missing", "time", "text")}
    numbers, count = kinds["number"], f"of {n_files} file{'s' if n_files > 1 else ''}"
    if len(kinds["missing"]) == len(looks):
        return "has no values"
    if len(kinds["time"]) > len(numbers) + len(kinds["text"]):
        return f"is time ({kinds['time'][0].example})"
    if len(kinds["text"]) > len(numbers):
        return f"holds text, such as {kinds['text'][0].example!r}, in {len(kinds['text'])} {count}"
    if 2 * len(looks) < n_files:
        return f"is only in {len(looks)} {count}"
    if column.startswith("__index_level_"):
        return "is the index of a pandas table"
    plain = _plain(column)
    if (plain in ANSWERS or truth_column([column])) and all(look.codes for look in numbers):
        return "looks like a label, by its name and its few whole numbers"
    if all(look.rises for look in numbers):
        if TIME & set(re.split(r"[\s_.-]+", plain)):
            return "is time, by its name, and never falls"
        if plain in INDEX or (column == "column 1" and all(look.counts for look in numbers)):
            return "is an index and never falls"
    values = {look.first for look in numbers}
    if len(values) == len(looks) >= MIN_FILES and all(look.steady for look in numbers):
        return "has one value in each file and another in every file, as the number of a file does"
    if max(look.n_rows for look in numbers) < MIN_ROWS:
        return None
    if 2 * sum(look.evenly and not look.steady for look in numbers) > len(numbers):
        return "rises by the same step in each row, as time or an index does"
    steady = sum(look.steady and look.codes for look in numbers)
    if NUMBERED.fullmatch(column) and len(numbers) >= MIN_FILES and 2 * steady > len(numbers):
        return "has no name and one whole number in most files, as the hour or the number of a file does"
    if not all(look.strictly for look in numbers):
        return None
    spans = sorted((look.first, look.last) for look in numbers)
    goes_on = all(before[1] < after[0] for before, after in pairwise(spans))
    return "rises in each row and from file to file, as time does" if goes_on else None


def _plain(name: str) -> str:
    """Return a name in small letters, without a unit in brackets."""
    return re.sub(r"[\[(].*", "", name).strip().lower()
