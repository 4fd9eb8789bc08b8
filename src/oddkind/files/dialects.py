"""How the text of CSV files is written: encoding, delimiter, decimal mark, and the rows that hold no data."""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

# How many files, and how many bytes of each, are looked at.
FILES, BYTES = 8, 1 << 16
# Cells that mean "no value".
MISSING = ("", "-", "--", "nan", "NaN", "NAN", "-nan", "NA", "N/A", "n/a", "#N/A", "NULL", "Null", "null", "None", "?")
MOMENT = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}.*)?")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?|[+-]?inf|true|false", re.IGNORECASE)


@dataclass(frozen=True)
class Dialect:
    """How a CSV file is written.

    Attributes
    ----------
    encoding, delimiter, decimal : str
    header : bool
        Whether a row names the columns; otherwise they are called "column 1", "column 2", ….
    skip_rows, units_rows : int
        The number of lines before the header that are ignored, and of those below it, such as a row of units.
    """

    encoding: str = "utf-8"
    delimiter: str = ","
    decimal: str = "."
    header: bool = True
    skip_rows: int = 0
    units_rows: int = 0


def sniff(files: Sequence[Path], **given: Any) -> Dialect:
    """Find out from the first lines of the first files how all are written, except for what is given (not None).

    Parquet files and files that cannot be opened are passed over.
    """
    known = {name: value for name, value in given.items() if value is not None}
    starts: list[bytes] = []
    for file in (file for file in files if file.suffix.lower() != ".parquet"):
        if len(starts) < FILES and (start := _start(file)):
            starts.append(start)
    if not starts:
        return Dialect(**known)
    encoding = known.get("encoding") or encoding_of(starts)
    texts = [lines for start in starts if (lines := _lines(start, encoding))]
    if not texts:
        return Dialect(**known | {"encoding": encoding})
    delimiter = known.get("delimiter") or _delimiter(texts, "," if known.get("decimal") != "," else "")
    tables = [[*csv.reader(lines, delimiter=delimiter)] for lines in texts]
    found = Dialect(encoding, delimiter, "." if delimiter == "," else _decimal(tables), **_layout(tables[0], known))
    return replace(found, **known)


def encoding_of(starts: Sequence[bytes]) -> str:
    """Return UTF-8 or UTF-16 if the bytes are that, CP949 if they then hold Hangul, and otherwise Latin-1."""
    if any(start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) for start in starts):
        return "utf-16"
    for half, name in ((slice(1, None, 2), "utf-16-le"), (slice(0, None, 2), "utf-16-be")):
        if any(start[half].count(0) > len(start) / 4 for start in starts):
            return name
    content = b"\n".join(start[: start.rfind(b"\n") + 1] or start for start in starts)
    if _decodes(content, "utf-8"):
        return "utf-8"
    # Nearly any bytes can be CP949; "°C" in Latin-1 would be a rare syllable. Common ones have two bytes in EUC-KR.
    others = [letter for letter in content.decode("cp949", "replace") if ord(letter) > 127]
    hangul = [letter for letter in others if "가" <= letter <= "힣" and len(letter.encode("euc_kr")) == 2]
    return "cp949" if 2 * len(hangul) > len(others) and _decodes(content, "cp949") else "latin-1"


def names_of(file: Path, dialect: Dialect, *, unique: bool = True) -> list[str]:
    """Return the names of a CSV file's columns. A second column "a" is called "a (2)", one without a name "column 1".

    Raises
    ------
    OSError
        If the file cannot be opened, its header is damaged or it has values in place of units.
    UnicodeError
        If the file is not of this encoding.
    """
    with file.open(encoding=dialect.encoding, newline="") as text:
        for _ in range(dialect.skip_rows):
            text.readline()
        try:
            rows = (row for row in csv.reader(text, delimiter=dialect.delimiter) if row)
            row, *below = [*islice(rows, 1 + dialect.units_rows)] or [[]]
        except csv.Error as error:
            raise OSError(f"the header is damaged: {error}") from error
    if any(all(map(_is_value, units)) for units in below):
        raise OSError("a row below the header holds values where other files have units; see --units-rows")
    cells = [cell.strip("\ufeff \t") for cell in row] if dialect.header else [""] * len(row)
    if cells:
        cells[0] = cells[0].removeprefix("#").strip()
    if not unique:
        return cells
    names: list[str] = []
    seen: Counter[str] = Counter()
    for number, cell in enumerate(cells, start=1):
        name = cell or f"column {number}"
        seen[cell] += 1
        names.append(name if seen[cell] == 1 or not cell else f"{name} ({seen[cell]})")
    return names


def _start(file: Path) -> bytes:
    try:
        with file.open("rb") as content:
            return content.read(BYTES)
    except OSError:
        return b""


def _lines(start: bytes, encoding: str) -> list[str]:
    """Decode the first lines of a file, without the last if it may be cut."""
    lines = re.split(r"\r\n|\n|\r", codecs.decode(start, encoding, "replace").removeprefix("\ufeff"))
    return (lines[:-1] if len(start) == BYTES and len(lines) > 1 else lines)[:100]


def _delimiter(texts: Sequence[list[str]], comma: str) -> str:
    """Return the delimiter that gives the most lines of a file the same number of cells, two or more."""
    best, best_share = comma or ";", 0.5
    for candidate in filter(None, (";", "\t", "|", comma, " ")):
        tables = [[row for row in csv.reader(lines, delimiter=candidate) if row] for lines in texts]
        if candidate == " " and not all(NUMBER.fullmatch(cell) for rows in tables for row in rows for cell in row):
            continue
        share = min(_usual(rows)[1] if _usual(rows)[0] > 1 else 0.0 for rows in tables)
        if share > best_share:
            best, best_share = candidate, share
    return best


def _usual(rows: Sequence[list[str]]) -> tuple[int, float]:
    """Return the most frequent number of cells in a row, and the fraction of rows that have it."""
    counts = Counter(len(row) for row in rows if row)
    size, count = counts.most_common(1)[0] if counts else (0, 0)
    return size, count / max(1, counts.total())


def _decimal(tables: Sequence[list[list[str]]]) -> str:
    numbers = [cell for rows in tables for row in rows for cell in row if NUMBER.fullmatch(cell.strip())]
    return "," if sum("," in cell for cell in numbers) > sum("." in cell for cell in numbers) else "."


def _layout(rows: Sequence[list[str]], known: dict[str, Any]) -> dict[str, Any]:
    """Find the lines before the header, the header and the rows of units."""
    size = _usual(rows)[0]
    skip = 0
    for row, below in zip(rows, [*rows[1:], []], strict=True):
        # A header may lack one name, as an index has none; then values come right below it.
        nearly = len(row) == size - 1 > 0 and row[0][:1] != "#" and any(map(_is_value, below[:size]))
        if len(row) >= size or (nearly and len(below) == size):
            break
        skip += 1
    skip = known.get("skip_rows", skip)
    rows = [row for row in rows[skip:] if row]
    has_header = known.get("header", not rows or _is_header(rows[0], rows[1:]))
    units, rest = 0, rows[1:] if has_header else []
    while rest and not any(map(_is_value, rest[0])) and _above_values(rest[0], rest[1:]):
        units, rest = units + 1, rest[1:]
    return {"header": has_header, "skip_rows": skip, "units_rows": units}


def _is_header(first: list[str], rest: Sequence[list[str]]) -> bool:
    counted = [cell for cell in first if cell]  # pandas numbers columns without names
    if len(counted) > 2 and counted == [str(number) for number in range(len(counted))]:
        return True
    return _above_values(first, rest) or not any(map(_is_value, first))


def _above_values(row: list[str], rest: Sequence[list[str]]) -> bool:
    """Return whether some cell is text, and numbers or moments come below it."""
    text = [column for column, cell in enumerate(row) if not _is_value(cell) and cell.strip() not in MISSING]
    return any(column < len(below) and _is_value(below[column]) for column in text for below in rest)


def _is_value(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell.strip()) or MOMENT.fullmatch(cell.strip()))


def _decodes(content: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(content)
    except UnicodeError:
        return False
    return True
