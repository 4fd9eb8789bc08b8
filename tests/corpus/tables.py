"""Tables."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from corpus.forms import ANY, EMPTY, HTML, MANY, NOISE, TEXT, ZEROS, ZIP, Draw, form, of_bytes


def log(
    draw: Draw,
    n: int = 40,
    *,
    delimiter: str = ",",
    decimal: str = ".",
    names: tuple[str, ...] | None = ("p", "q"),
    before: str = "",
    units: str = "",
    first: Callable[[int], str] | None = None,
    change: Callable[[list[list[str]]], None] = lambda rows: None,
    end: str = "\n",
) -> str:
    """A log of two sensors, as text; `first` makes a column before them."""
    rows = [[f"{value:.4f}".replace(".", decimal) for value in row] for row in draw.normal((0, 5), size=(n, 2))]
    if first:
        rows = [[first(number), *row] for number, row in enumerate(rows)]
        names = ("t", *names) if names == ("p", "q") else names
    change(rows)
    lines = [delimiter.join(row) for row in rows]
    head = [] if names is None else [delimiter.join(names)]
    return before + end.join([*head, *([units] if units else []), *lines, ""])


def csv(encoding: str = "utf-8", **how) -> Callable[[Path, Draw], None]:
    """Write logs."""
    return lambda file, draw: file.write_bytes(log(draw, **how).encode(encoding)) and None


def cell(row: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    """Change one cell."""

    def change(rows: list[list[str]]) -> None:
        rows[row][column] = value

    return change


def ragged(rows: list[list[str]]) -> None:
    rows[7].append("1.5")
    del rows[9][1]


def truth(rows: list[list[str]]) -> None:
    for row in rows:
        row.append("0")


def arrow(make: Callable[[Draw], dict], **options) -> Callable[[Path, Draw], None]:
    """Write Parquet."""
    return lambda file, draw: parquet.write_table(pa.table(make(draw)), file, **options)


def _moment(number: int, step: str = "s") -> str:
    return str(np.datetime64("2024-03-01T10:00:00") + np.timedelta64(number, step)).replace("T", " ")


def _add() -> None:
    add = partial(form, "tables")
    for name, how in (
        ("comma", {}),
        ("semicolon", {"delimiter": ";"}),
        ("tab", {"delimiter": "\t"}),
        ("bar", {"delimiter": "|"}),
        ("space", {"delimiter": " ", "names": None}),
        ("semicolon and decimal comma", {"delimiter": ";", "decimal": ","}),
        ("tab and decimal comma", {"delimiter": "\t", "decimal": ","}),
        ("CRLF", {"end": "\r\n"}),
        ("CR", {"end": "\r"}),
        ("units row", {"units": "bar,°C"}),
        ("no header", {"names": None}),
        ("leading lines", {"before": "Logger 5\nSerial: 12\n\n"}),
        ("a comment as header", {"names": ("# p", "q")}),
        ("sep=", {"before": "sep=;\n", "delimiter": ";"}),
        ("Latin-1", {"names": ("Druck", "Kälte °C"), "encoding": "latin-1"}),
        ("CP949", {"names": ("압력", "온도"), "encoding": "cp949"}),
        ("UTF-16", {"encoding": "utf-16"}),
        ("UTF-16-LE without BOM", {"encoding": "utf-16-le"}),
        ("UTF-16-BE without BOM", {"encoding": "utf-16-be"}),
        ("UTF-8 with BOM", {"encoding": "utf-8-sig"}),
        ("UTF-32", {"encoding": "utf-32"}),
        ("quoted names", {"names": ('"p"', '"q, r"')}),
        ("names with a newline", {"names": ('"p\nq"', "r")}),
        ("dollars in names", {"names": ("$x_$", "$ {")}),
        ("control characters in names", {"names": ("\x1b[31mp", "q\x07\u202e")}),
        ("a script as name", {"names": ("<script>alert(1)</script>", "q")}),
        ("duplicate names", {"names": ("p", "p")}),
        ("no names", {"names": ("", "")}),
        ("names of 3000 letters", {"names": ("p" * 3000, "q")}),
        ("one column", {"change": lambda rows: [row.pop() for row in rows] and None, "names": ("p",)}),
        ("a time column that rises", {"first": _moment}),
        ("a time column that falls", {"first": lambda number: _moment(-number)}),
        ("a time column with time zone", {"first": lambda number: _moment(number).replace(" ", "T") + "Z"}),
        ("an index column", {"first": str}),
        ("a label column", {"first": lambda number: "fan", "names": ("machine", "p", "q")}),
        ("a truth column", {"change": truth, "names": ("p", "q", "anomaly")}),
        ("spaces around values", {"delimiter": " , "}),
        ("an empty column", {"first": lambda number: "", "names": ("nothing", "p", "q")}),
        ("a trailing delimiter", {"change": lambda rows: [row.append("") for row in rows] and None}),
        ("empty lines", {"end": "\n\n"}),
        ("exponents", {"change": cell(3, 0, "1.5e-3")}),
        ("true and false", {"first": lambda number: ("true", "false")[number % 2], "names": ("on", "p", "q")}),
        ("whole numbers beyond 64 bits", {"change": cell(3, 0, "9" * 30)}),
        ("numbers of 400 digits", {"change": cell(3, 0, "1" * 400)}),
    ):
        add(name, ".tsv" if name == "tab" else ".csv", csv(**how), **REFUSED_TABLES.get(name, {}))
    for missing in ("", "NaN", "NULL", "-", "N/A", "#N/A"):
        add(f"a cell {missing!r}", ".csv", csv(change=cell(5, 1, missing)), "is missing")
        for how in ("drop-window", "interpolate"):
            options = ("--missing", how, "--window", "10")
            add(f"a cell {missing!r}, {how}", ".csv", csv(change=cell(5, 1, missing)), options=options)
    add("a cell that is no number", ".csv", csv(change=cell(5, 1, "broken")), "")
    add("a cell inf", ".csv", csv(change=cell(5, 1, "inf")), "infinite")
    add("a cell 1e999", ".csv", csv(change=cell(5, 1, "1e999")), "infinite")
    add("a cell 1e39, beyond float32", ".csv", csv(change=cell(5, 1, "1e39")), "infinite")
    add("a quote that is not closed", ".csv", csv(change=cell(5, 1, '"1.5')))
    add("a quote in the header that is not closed", ".csv", csv(names=('"p', "q")), ANY)
    add("ragged rows", ".csv", csv(change=ragged), "Expected 2 columns")
    add("NUL bytes", ".csv", csv(change=cell(5, 1, "\0")))
    add("one row", ".csv", csv(n=1))
    add("one row, windows of ten", ".csv", csv(n=1), "fewer than the 10 rows", options=("--window", "10"))
    add("header only", ".csv", csv(n=0), "no")
    add("windows", ".csv", csv(), options=("--window", "10", "--hop", "5"))
    add("windows in seconds", ".csv", csv(first=_moment), options=("--window", "1", "--sample-rate", "10"))
    add("many columns", ".csv", of_bytes(lambda d: _wide(d, 100)))
    add("constant columns", ".csv", of_bytes(lambda draw: b"p,q\n" + b"%d,2\n" % draw.integers(1 << 20) * 40))
    for name, write in (
        ("empty", EMPTY),
        ("noise", NOISE),
        ("text", TEXT),
        ("HTML", HTML),
        ("zeros", ZEROS),
        ("zip", ZIP),
    ):
        add(f"{name} as .csv", ".csv", write, ANY)
        add(f"{name} as .parquet", ".parquet", write, "cannot be read as a table")
    blank = of_bytes(lambda draw: b"\n" * int(draw.integers(1, 9)))
    add("newlines as .csv", ".csv", blank, ANY)
    add("a BOM as .csv", ".csv", of_bytes(lambda draw: b"\xff\xfe"), ANY)
    # Parquet.

    def two(draw: Draw, n: int = 40) -> dict:
        return {"p": draw.normal(size=n), "q": draw.normal(size=n)}

    times = pa.array(np.arange(40) * 10**9, pa.timestamp("ns"))
    zone = pa.array(np.arange(40), pa.timestamp("ms", "Asia/Seoul"))
    odd_zone = pa.array(np.arange(40), pa.timestamp("ms", "Mars/Olympus"))
    for name, make, refused in (
        ("plain", two, ""),
        ("half precision", lambda draw: {"p": pa.array(draw.normal(size=40).astype(np.float16))}, ""),
        ("timestamps", lambda draw: {"t": times, **two(draw)}, ""),
        ("timestamps with a zone", lambda draw: {"t": zone, **two(draw)}, ""),
        ("timestamps of an unknown zone", lambda draw: {"t": odd_zone, **two(draw)}, ""),
        ("dates", lambda draw: {"t": times.cast(pa.date32(), safe=False), **two(draw)}, ""),
        ("times", lambda draw: {"t": pa.array(np.arange(40), pa.time64("us")), **two(draw)}, ""),
        ("durations", lambda draw: {"t": pa.array(np.arange(40), pa.duration("us")), **two(draw)}, ""),
        ("a pandas index", lambda draw: {**two(draw), "__index_level_0__": np.arange(40)}, ""),
        ("decimals", lambda draw: {"p": pa.array(draw.normal(size=40).round(2)).cast(pa.decimal128(9, 2))}, ""),
        ("true and false", lambda draw: {"on": draw.random(40) > 0.5, **two(draw)}, ""),
        ("dictionaries", lambda draw: {"k": pa.array(["a", "b"] * 20).dictionary_encode(), **two(draw)}, ""),
        ("numbers as dictionary", lambda d: {"k": pa.array([1.5, 2.5] * 20).dictionary_encode(), **two(d)}, ""),
        ("lists", lambda draw: {"l": [[1, 2]] * 40, **two(draw)}, ""),
        ("only lists", lambda draw: {"l": [[float(draw.normal())]] * 40}, "has a column of sensor values"),
        ("structures", lambda draw: {"s": [{"a": 1}] * 40, **two(draw)}, ""),
        ("maps", lambda draw: {"m": pa.array([[("a", 1)]] * 40, pa.map_(pa.string(), pa.int8())), **two(draw)}, ""),
        ("binary", lambda draw: {"b": [b"\xff\0"] * 40, **two(draw)}, ""),
        ("text", lambda draw: {"k": ["a"] * 40, **two(draw)}, ""),
        ("text that is numbers", lambda draw: {"k": [str(value) for value in draw.normal(size=40)]}, ANY),
        ("a type null", lambda draw: {"k": pa.nulls(40), **two(draw)}, ""),
        ("only nulls", lambda draw: {"k": pa.nulls(40)}, "has a column of sensor values"),
        (
            "nulls",
            lambda draw: {"p": pa.array([None, *draw.normal(size=39)]), **_without(two(draw), "p")},
            "is missing",
        ),
        ("NaN", lambda draw: {"p": np.array([np.nan, *draw.normal(size=39)])}, "is missing"),
        ("unsigned 64 bits", lambda draw: {"p": draw.integers(2**63, 2**64 - 1, 40, dtype=np.uint64)}, ""),
        ("no rows", lambda draw: {"p": np.empty(0)}, ANY),
        ("no columns", lambda draw: {}, ANY),
        ("a name of nothing", lambda draw: {"": draw.normal(size=40)}, ""),
    ):
        add(f"Parquet, {name}", ".parquet", arrow(make), refused)

    def twice(file: Path, draw: Draw) -> None:
        parquet.write_table(pa.Table.from_arrays([pa.array(draw.normal(size=9))] * 2, ["p", "p"]), file)

    add("Parquet, a name twice", ".parquet", twice, ANY)
    add("Parquet in groups of rows", ".parquet", arrow(two, row_group_size=7))
    add("Parquet, claims many rows", ".parquet", arrow(_long), f"more than {MANY - 1:,} numbers")
    add("Parquet, cut off", ".parquet", of_bytes(lambda draw: parquet_bytes(two(draw))[:-20]), "cannot be read")
    hole = of_bytes(lambda draw: parquet_bytes(two(draw))[:4] + draw.bytes(300) + parquet_bytes(two(draw))[304:])
    add("Parquet, damaged pages", ".parquet", hole, ANY)
    add("CSV as .parquet", ".parquet", csv(), "cannot be read as a table")
    add("Parquet as .csv", ".csv", arrow(two), ANY)


REFUSED_TABLES: dict[str, dict] = {
    "UTF-32": {"refused": "cannot be read as a table"},
    "names with a newline": {"refused": "holds text"},
    "a trailing delimiter": {"refused": "cannot be read as a table"},
    "numbers of 400 digits": {"refused": "the value is infinite"},
}


def _without(table: dict, name: str) -> dict:
    return {key: value for key, value in table.items() if key != name}


def _wide(draw: Draw, n: int) -> bytes:
    lines = [",".join(f"c{number}" for number in range(n))]
    lines += [",".join(f"{value:.3f}" for value in row) for row in draw.normal(size=(8, n))]
    return "\n".join(lines).encode()


def _long(draw: Draw) -> dict:
    return {"p": draw.normal(size=MANY)}


def parquet_bytes(columns: dict) -> bytes:
    """A table as Parquet."""
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


_add()
