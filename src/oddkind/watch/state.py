"""What a watch has done, on disk: it continues from there, and loses or repeats nothing, whenever it is killed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oddkind.errors import InputError

FILE, LOCK = "watch.sqlite", "lock.sqlite"
TABLES = """
CREATE TABLE IF NOT EXISTS marks (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS observations (n INTEGER PRIMARY KEY, score REAL NOT NULL, category TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (output TEXT, id INTEGER, line TEXT NOT NULL, PRIMARY KEY (output, id)) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Step:
    """What judging one item changes, written in one transaction.

    Attributes
    ----------
    marks : mapping of str to str
        What the source needs to know so that the item is not judged again.
    facts : mapping of str to JSON value
    observations : sequence of (score, category)
        What drift is measured by.
    lines : sequence of (id, outputs, line)
        Lines, and the names of the outputs that each is sent to.
    """

    marks: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    observations: Sequence[tuple[float, str]] = ()
    lines: Sequence[tuple[int, Sequence[str], str]] = ()


class State:
    """A folder with a database (SQLite), used by one watch at a time.

    A line is written to the outbox in the same transaction as the mark of its item, and removed from it when it is
    delivered. Each thread opens its own.

    Raises
    ------
    InputError
        If the folder cannot be written, holds something else, or another watch uses it.
    """

    def __init__(self, folder: Path, *, lock: bool = True) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(folder / LOCK) if lock else None
            # A commit is on the disk when it returns, so that a machine that loses its power repeats nothing, either.
            self._database = sqlite3.connect(folder / FILE, timeout=60, isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = WAL", "synchronous = FULL"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.executescript(TABLES)
        except (OSError, sqlite3.Error) as error:
            raise InputError(
                f"{folder}: the state of the watch cannot be kept there ({error}); name another folder with --state"
            ) from error

    def close(self) -> None:
        """Close the database and release the lock."""
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    def another(self) -> State:
        """Open the same state for another thread."""
        return State(self.folder, lock=False)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise

    def marks(self) -> dict[str, str]:
        """Return all marks."""
        return dict(self._database.execute("SELECT key, value FROM marks"))

    def fact(self, name: str, default: Any = None) -> Any:
        """Return a fact, a JSON value."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return default if row is None else json.loads(row[0])

    def observations(self) -> Iterator[tuple[float, str]]:
        """Return every score that drift is measured by, with its category, in order."""
        yield from self._database.execute("SELECT score, category FROM observations ORDER BY n")

    def commit(self, step: Step) -> None:
        """Write a step, all of it or nothing."""
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO marks VALUES (?, ?)", step.marks.items())
            _write_facts(database, step.facts)
            database.executemany("INSERT INTO observations (score, category) VALUES (?, ?)", step.observations)
            database.executemany(
                "INSERT INTO outbox VALUES (?, ?, ?)",
                [(output, number, line) for number, outputs, line in step.lines for output in outputs],
            )

    def forget(self, marks: str, facts: Sequence[str] = (), *, observations: bool = False) -> None:
        """Remove the marks that begin with a text, some facts, and, if asked for, all observations."""
        with self._transaction() as database:
            database.execute("DELETE FROM marks WHERE substr(key, 1, ?) = ?", (len(marks), marks))
            database.executemany("DELETE FROM facts WHERE name = ?", [(name,) for name in facts])
            if observations:
                database.execute("DELETE FROM observations")

    def undelivered(self, output: str, most: int = -1) -> list[tuple[int, str]]:
        """Return the first lines that an output has not been sent, with their numbers."""
        found = self._database.execute(
            "SELECT id, line FROM outbox WHERE output = ? ORDER BY id LIMIT ?", (output, most)
        )
        return found.fetchall()

    def n_undelivered(self, output: str) -> int:
        """Return the number of lines that an output has not been sent."""
        return int(self._database.execute("SELECT count(*) FROM outbox WHERE output = ?", (output,)).fetchone()[0])

    def outputs(self) -> dict[str, int]:
        """Return the outputs that have undelivered lines, and how many."""
        return dict(self._database.execute("SELECT output, count(*) FROM outbox GROUP BY output"))

    def delivered(self, output: str, last: int, facts: Mapping[str, Any] | None = None) -> None:
        """Remove the lines up to a number from the outbox of an output, and write facts."""
        with self._transaction() as database:
            database.execute("DELETE FROM outbox WHERE output = ? AND id <= ?", (output, last))
            _write_facts(database, facts or {})


def _write_facts(database: sqlite3.Connection, facts: Mapping[str, Any]) -> None:
    rows = [(name, json.dumps(value)) for name, value in facts.items()]
    database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)


def _locked(file: Path) -> sqlite3.Connection:
    """Hold a lock until the process ends, however it ends."""
    lock = sqlite3.connect(file, timeout=0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise InputError(
            f"{file.parent}: another watch uses this state; stop it, or name another folder with --state"
        ) from error
    return lock
