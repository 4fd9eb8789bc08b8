"""Tables on disk: sensor logs cut into windows, and the columns of manifests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from oddkind.arrays import Array
from oddkind.errors import InputError


def columns_of(file: Path) -> list[str]:
    """Return the names of a table's columns, without reading its rows."""
    try:
        if file.suffix.lower() == ".parquet":
            return list(parquet.read_schema(file).names)
        with csv.open_csv(file) as reader:
            return list(reader.schema.names)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read as a table ({_reason(error)})") from error


def read_columns(file: Path) -> dict[str, list[Any]]:
    """Read a table's columns by name; the values of a CSV file are text.

    Raises
    ------
    InputError
        If the file is not a table, or two columns have the same name.
    """
    names = columns_of(file)
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{file}: two columns have the name {twice[0]!r}")
    try:
        if file.suffix.lower() == ".parquet":
            table = parquet.read_table(file)
        else:
            as_text = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
            table = csv.read_csv(file, convert_options=as_text)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: cannot be read as a table ({_reason(error)})") from error
    return dict(table.to_pydict())


def numbers_of(file: Path) -> tuple[str, ...]:
    """Return the names of the columns that hold numbers.

    Raises
    ------
    InputError
        If the file is not a table, or there is no such column.
    """
    schema = _read(file).schema
    names = tuple(field.name for field in schema if _is_number(field.type))
    if not names:
        raise InputError(f"has no column of numbers; its columns are {', '.join(schema.names)}")
    return names


def read_signal(file: Path, columns: Sequence[str]) -> Array:
    """Read a sensor log, one row for each moment, as a signal float32 [C, T], one channel for each column.

    Raises
    ------
    InputError
        If a column is missing or a value is not a number; the message names the column and the row.
    """
    table = _read(file)
    for name in columns:
        if name not in table.schema.names:
            raise InputError(f"has no column {name!r}; its columns are {', '.join(table.schema.names)}")
        if table.num_rows and not _is_number(table.schema.field(name).type):
            values = table[name].to_pylist()
            row = next((row for row, value in enumerate(values) if not _reads(value)), 0)
            raise InputError(f"column {name!r}, row {row + 1}: {values[row]!r} is not a number")
        if table[name].null_count:
            row = table[name].is_null().to_pylist().index(True)
            raise InputError(f"column {name!r}, row {row + 1}: the value is missing")
    return np.stack([table[name].to_numpy().astype(np.float32) for name in columns])


def _read(file: Path) -> pa.Table:
    try:
        return parquet.read_table(file) if file.suffix.lower() == ".parquet" else csv.read_csv(file)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"cannot be read as a table ({_reason(error)})") from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _reads(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0]
