"""Verdicts as CSV, Parquet or JSON lines."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from oddkind.errors import InputError
from oddkind.files.score import Verdict
from oddkind.naming import printable
from oddkind.output import written_whole


def write_verdicts(
    verdicts: Sequence[Verdict], file: Path | None, *, as_json: bool = False, promised: bool = True
) -> None:
    r"""Write verdicts as CSV or Parquet, whole or not at all, or print them as CSV or JSON lines.

    Bytes of a name that are not UTF-8 are written as Python shows them, such as \udcff.

    JSON lines also hold `promised`: whether the false-alarm rate can be promised.

    Raises
    ------
    InputError
        If the name of the file does not end in .csv or .parquet, or it cannot be written.
    """
    rows = [vars(as_printed(verdict)) for verdict in verdicts]
    names = [field.name for field in fields(Verdict)]
    if file is not None:
        write_rows(rows, names, file)
    elif as_json:
        for row in rows:
            print(json.dumps(row | {"promised": promised}, ensure_ascii=False))
    else:
        printed = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        printed.writeheader()
        printed.writerows(rows)


def write_rows(rows: Sequence[Mapping[str, Any]], names: Sequence[str], file: Path) -> None:
    """Write rows with columns of these names as CSV or Parquet, whole or not at all.

    Raises
    ------
    InputError
        If the name of the file does not end in .csv or .parquet, or it cannot be written.
    """
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{file}: results are written as .csv or .parquet, or into a folder, without a suffix")
    with written_whole(file) as unfinished:
        if file.suffix.lower() == ".parquet":
            parquet.write_table(pa.table({name: [row[name] for row in rows] for name in names}), unfinished)
        else:
            with unfinished.open("w", encoding="utf-8", newline="") as content:
                writer = csv.DictWriter(content, names)
                writer.writeheader()
                writer.writerows(rows)


def as_printed(verdict: Verdict) -> Verdict:
    r"""Return a verdict whose texts are UTF-8; other bytes are as Python shows them, such as \udcff."""
    label = None if verdict.label is None else printable(verdict.label)
    return replace(verdict, path=printable(verdict.path), label=label)
