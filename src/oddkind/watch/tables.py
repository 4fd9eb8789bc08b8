"""A CSV file that grows, as a source."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from oddkind.errors import InputError
from oddkind.files.listing import Entry
from oddkind.files.score import settings_of
from oddkind.model.model import FittedModel
from oddkind.naming import printable
from oddkind.watch.items import Item
from oddkind.watch.parts import Parts

READ = 1 << 20
MARK = "table"
PAUSE = 0.25  # seconds between two looks


class GrowingTable:
    """Parts of a CSV file to which rows are appended. A row counts once its line has ended.

    Parameters
    ----------
    file : Path
    model : FittedModel
        It must have learnt from tables.
    parts : Parts
    marks : mapping of str to str
    label : str or None
        The internal label of all parts.
    notify : callable
        Called if the file begins anew.
    once : bool
        Whether it ends with the rows that are there.
    new_only : bool
        Whether the rows that are there are passed over.
    remember : callable
        Keeps the mark of rows that are passed over.

    Raises
    ------
    InputError
        If the model learnt from something else, or the file cannot be read.
    """

    def __init__(
        self,
        file: Path,
        model: FittedModel,
        parts: Parts,
        marks: dict[str, str],
        *,
        label: str | None,
        notify: Callable[[str], None],
        once: bool,
        new_only: bool,
        remember: Callable[[dict[str, str]], None],
    ) -> None:
        settings = settings_of(model)
        if settings.kind != "tables":
            raise InputError(f"{file}: is a single file, and the model learnt from {settings.kind}; watch their folder")
        if file.suffix.lower() == ".parquet":
            raise InputError(f"{file}: a Parquet file does not grow; watch its folder")
        self._dialect = settings.dialect
        if self._dialect.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32")):
            raise InputError(f"{file}: a growing file in {self._dialect.encoding} is not read; write it in UTF-8")
        self._file, self._parts, self._label, self._once, self._notify = file, parts, label, once, notify
        self._needed = max(parts.length, parts.step)
        self._name = printable(file.name)
        self._folder = Path(tempfile.mkdtemp(prefix="oddkind-watch-"))
        self._rows: list[bytes] = []
        self._ends: list[int] = []  # where each of these lines ends
        self._head, self._read, self._offset, self._first, self._count = b"", 0, 0, 0, 0
        self._last, self._digest = 0, ""  # the length of the last line before the offset, and what it and the head are
        if MARK in marks:
            self._offset, self._first, self._last, self._digest = json.loads(marks[MARK])
        if new_only:
            self._skip()
            remember({MARK: self._mark()})

    def poll(self, timeout: float) -> list[Item] | None:
        """Return the next part."""
        if len(self._rows) < self._needed and not self._more():
            if self._once:
                return None
            time.sleep(min(timeout, PAUSE))
        if len(self._rows) < self._needed:
            return []
        rows, first = self._rows[: self._parts.length], self._first
        self._advance()
        self._count += 1
        part = self._folder / f"{self._count}.csv"
        part.write_bytes(self._head + b"".join(rows))
        name = f"{self._name}, rows {first + 1}–{first + len(rows)}"
        return [Item(name, {MARK: self._mark()}, [Entry(part, name, self._label)], label=self._label)]

    def done(self, item: Item) -> None:
        """Remove the file of the part."""
        item.entries[0].path.unlink(missing_ok=True)

    def left_over(self) -> str | None:
        """Nothing: what is too short now is read the next time."""
        return None

    def close(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _more(self) -> bool:
        """Read complete lines, and return whether there were any."""
        try:
            with self._file.open("rb") as content:
                if not self._has_head(content):
                    return False
                end = max(self._read, self._offset, len(self._head))
                content.seek(end)
                lines = content.read(READ).splitlines(keepends=True)
                if len(lines) == 1 and len(lines[0]) == READ and not lines[0].endswith(b"\n"):
                    raise InputError(f"{self._file}: a line is longer than {READ} bytes; it is no table")
        except FileNotFoundError:
            return False  # between two files, when logs are rotated
        except OSError as error:
            raise InputError(f"{self._file}: cannot be read ({error.strerror})") from error
        found = False
        for line in lines:
            if not line.endswith(b"\n"):
                break
            end += len(line)
            found = True
            if line.strip():
                self._rows.append(line)
                self._ends.append(end)
        self._read = end
        return found

    def _has_head(self, content: BinaryIO) -> bool:
        """Read the lines above the values, and begin anew if the file is another one."""
        n = self._dialect.skip_rows + self._dialect.header + self._dialect.units_rows
        lines = [content.readline() for _ in range(n)]
        if not all(line.endswith(b"\n") for line in lines):
            return False
        head = b"".join(lines)
        content.seek(max(0, self._offset - self._last))
        if self._digest and _digest(head, content.read(self._last)) != self._digest:
            self._notify(f"{self._file} begins anew; it is read from its first row")
            self._rows, self._ends, self._read, self._offset, self._first, self._digest = [], [], 0, 0, 0, ""
        self._head = head
        return True

    def _advance(self) -> None:
        """Go to the next part."""
        step = self._parts.step
        self._passed(self._rows[step - 1], self._ends[step - 1], step)
        del self._rows[:step], self._ends[:step]

    def _passed(self, line: bytes, end: int, n_rows: int) -> None:
        """Note that some rows are done with, of which this line is the last."""
        self._offset, self._first, self._last = end, self._first + n_rows, len(line)
        self._digest = _digest(self._head, line)

    def _mark(self) -> str:
        return json.dumps([self._offset, self._first, self._last, self._digest])

    def _skip(self) -> None:
        """Pass over the rows that are there."""
        while self._more():
            if self._rows:
                self._passed(self._rows[-1], self._ends[-1], len(self._rows))
                self._rows, self._ends = [], []


def _digest(head: bytes, line: bytes) -> str:
    return hashlib.sha256(head + line).hexdigest()[:16]
