"""Tables on disk: sensor logs read as signals, and the columns of manifests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.dialects import MISSING, Dialect, names_of, sniff

# The most numbers that are read from one table: 1 GB in memory. A few kB of Parquet can claim any number of rows.
MAX_VALUES = 100_000_000
HOW_WRITTEN = "--delimiter, --decimal, --no-header, --skip-rows and --encoding say how a CSV file is written"
FIRST_ROWS = 65_536  # of Parquet; of CSV pyarrow's first block, 1 MiB


def columns_of(file: Path, dialect: Dialect | None = None) -> list[str]:
    """Return the names of a table's columns, without reading its rows; by default the dialect is found out."""
    try:
        if _is_parquet(file):
            return list(parquet.read_schema(_opened(file)).names)
        return names_of(file, dialect or sniff([file]))
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read as a table ({_reason(error)})") from error


def read_columns(file: Path) -> dict[str, list[Any]]:
    """Read a manifest's columns by name; the values of a CSV file are text.

    Raises
    ------
    InputError
        If the file is not a table, or two columns have the same name.
    """
    dialect = replace(sniff([file]), header=True, units_rows=0)
    try:
        names = (
            list(parquet.read_schema(_opened(file)).names)
            if _is_parquet(file)
            else names_of(file, dialect, unique=False)
        )
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise InputError(f"{file}: two columns have the name {twice[0]!r}")
        if _is_parquet(file):
            table = _parquet(file, names)
            moments = {name: table[name].cast(pa.string()) for name in names if pa.types.is_temporal(table[name].type)}
            return {name: moments.get(name, table[name]).to_pylist() for name in names}
        as_text = csv.ConvertOptions(column_types=dict.fromkeys(names_of(file, dialect), pa.string()))
        return dict(csv.read_csv(_opened(file), *_layout_options(file, dialect), as_text).to_pydict())
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(f"{file}: cannot be read as a table ({_reason(error)})") from error


def read_signal(file: Path, columns: Sequence[str], dialect: Dialect | None = None) -> Array:
    """Read a sensor log, one row for each moment, as a signal float32 [C, T], one channel for each column.

    True and false are 1 and 0; a missing value is NaN.

    Raises
    ------
    InputError
        If a column is missing or a value is not a number, with the names of the column and the row, or if the table is
        too large.
    """
    table = read_table(file, dialect or Dialect(), columns)
    with np.errstate(over="ignore"):  # what is infinite is refused with its row
        return np.stack([_numbers(table, name).astype(np.float32) for name in columns])


def read_table(file: Path, dialect: Dialect, columns: Sequence[str]) -> pa.Table:
    """Read columns of a table.

    Raises
    ------
    InputError
        If the file is not a table or too large, or a column is missing.
    """
    try:
        names = list(parquet.read_schema(_opened(file)).names) if _is_parquet(file) else names_of(file, dialect)
        for name in columns:
            if name not in names:
                raise InputError(f"has no column {name!r}; its columns are {', '.join(names)}")
        if _is_parquet(file):
            return _parquet(file, columns)
        return csv.read_csv(_opened(file), *_layout_options(file, dialect), _values_options(dialect, columns))
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(_not_a_table(file, error)) from error


def first_rows(file: Path, dialect: Dialect) -> pa.Table:
    """Read the first rows of all columns of a table.

    Raises
    ------
    InputError
        If the file is not a table.
    """
    try:
        if _is_parquet(file):
            with parquet.ParquetFile(_opened(file)) as content:
                first = next(content.iter_batches(FIRST_ROWS), None)
                return content.schema_arrow.empty_table() if first is None else pa.Table.from_batches([first])
        with csv.open_csv(_opened(file), *_layout_options(file, dialect), _values_options(dialect, None)) as reader:
            first = next(iter(reader), None)
            return reader.schema.empty_table() if first is None else pa.Table.from_batches([first])
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(_not_a_table(file, error)) from error


def count_rows(file: Path, dialect: Dialect) -> int:
    """Count the rows of a table, below its header.

    Raises
    ------
    InputError
        If the file is not a table.
    """
    try:
        if _is_parquet(file):
            return int(parquet.read_metadata(_opened(file)).num_rows)
        first = names_of(file, dialect)[:1]
        as_text = csv.ConvertOptions(include_columns=first, column_types=dict.fromkeys(first, pa.string()))
        with csv.open_csv(_opened(file), *_layout_options(file, dialect), as_text) as reader:
            return sum(batch.num_rows for batch in reader)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise InputError(_not_a_table(file, error)) from error


def is_number(kind: pa.DataType) -> bool:
    """Return whether a column's values are numbers; true and false are 1 and 0."""
    tests = pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean
    return any(test(kind) for test in tests)


def as_floats(column: pa.ChunkedArray) -> Array:
    """Return the values of a column of numbers, float64; missing ones are NaN."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy(), np.float64)


def _numbers(table: pa.Table, name: str) -> Array:
    column = table[name]
    if is_number(column.type):
        return as_floats(column)
    if column.null_count == len(column):
        return np.full(len(column), np.nan)
    if pa.types.is_temporal(column.type):
        raise InputError(f"column {name!r} holds {column.type}, not numbers")
    values = column.to_pylist()
    row = next((row for row, value in enumerate(values) if value is not None and not _reads(value)), 0)
    value = values[row] if isinstance(values[row], str) else f"{column.type}"
    raise InputError(f"column {name!r}, row {row + 1}: {value!r} is not a number")


def _opened(file: Path) -> pa.OSFile:
    """Open a file for pyarrow, which takes names that are not UTF-8 only as bytes."""
    return pa.OSFile(os.fsencode(file))


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _parquet(file: Path, columns: Sequence[str]) -> pa.Table:
    n_rows = parquet.read_metadata(_opened(file)).num_rows
    if n_rows * len(columns) > MAX_VALUES:
        raise InputError(
            f"has {n_rows:,} rows and {len(columns)} columns to read, more than {MAX_VALUES:,} numbers; cut it into "
            "several files, or choose fewer columns with --columns"
        )
    return parquet.read_table(_opened(file), columns=[*dict.fromkeys(columns)])


def _layout_options(file: Path, dialect: Dialect) -> tuple[csv.ReadOptions, csv.ParseOptions]:
    skipped = dialect.skip_rows + dialect.header + dialect.units_rows
    names = names_of(file, dialect)
    reading = csv.ReadOptions(column_names=names, skip_rows=skipped, encoding=dialect.encoding)
    return reading, csv.ParseOptions(delimiter=dialect.delimiter)


def _values_options(dialect: Dialect, columns: Sequence[str] | None) -> csv.ConvertOptions:
    return csv.ConvertOptions(
        include_columns=None if columns is None else [*dict.fromkeys(columns)],
        decimal_point=dialect.decimal,
        null_values=list(MISSING),
        strings_can_be_null=True,
    )


def _not_a_table(file: Path, error: Exception) -> str:
    return f"cannot be read as a table ({_reason(error)})" + ("" if _is_parquet(file) else f"; {HOW_WRITTEN}")


def _reads(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
