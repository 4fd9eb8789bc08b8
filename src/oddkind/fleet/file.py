"""The file of a fleet: the models of many machines, each read without the others; written whole or not at all.

It is an SQLite database, which has what a fleet needs: a row is found by its name and read alone, a transaction that
was killed is as if it had never begun, and the room of a model that was replaced is used again. A model is stored as
the content of an ordinary file of a model, compressed, so that it is read with the same checks. Arrays that many
machines have in common, such as the graph that runs their networks, are stored once.
"""

from __future__ import annotations

import functools
import io
import json
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oddkind.errors import InputError
from oddkind.loading import restored
from oddkind.model.bundle import bundle_of
from oddkind.model.model import CrossModel, Model
from oddkind.model.saving import own_version
from oddkind.output import unfinished_beside, written_whole

FORMAT = 1
"""Number of the format of the database; the models in it have that of `oddkind.model.bundle`."""

APPLICATION = 0x6F64646B  # "oddk", in the header of the file
LONGEST_WAIT = 10.0  # seconds, for another process that writes
KEPT_PARTS = 64  # shared arrays that an open fleet keeps in memory
# Of a model; a damaged file must not ask for more memory.
MAX_BYTES = 1 << 30

# What is asked for often stands before the model, which may lie on many pages.
SCHEMA = (
    "CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE machines (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, facts TEXT NOT NULL, "
    "size INTEGER NOT NULL, model BLOB NOT NULL)",
    "CREATE TABLE parts (digest BLOB PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE uses (digest BLOB NOT NULL, machine INTEGER NOT NULL, PRIMARY KEY (digest, machine)) WITHOUT ROWID",
    "CREATE INDEX used_by ON uses (machine)",
)


@dataclass(frozen=True)
class Facts:
    """What a table says of a machine's model, without reading the model.

    Attributes
    ----------
    samples, held_out : int
        The number of its own samples, and of those (or of groups of them) that new ones are compared with.
    promised : bool
        Whether these are enough for the false-alarm rate.
    borrows_from : int
        0 if its networks learnt from its own samples alone; else the number of other machines that they learnt from,
        too, because it has too few.
    reason : str
        Why it borrows; "" if it does not.
    needs_torch : bool
        Whether torch is needed to run it, because its graph decided otherwise on a held-out sample.
    """

    samples: int
    held_out: int
    promised: bool
    borrows_from: int = 0
    reason: str = ""
    needs_torch: bool = False


@dataclass(frozen=True)
class Record:
    """The model of a machine, as it is stored: what `oddkind.model.saving.packed` returned, and the facts."""

    facts: Facts
    content: bytes
    parts: Mapping[bytes, bytes] = field(repr=False)


class Fleet(Mapping[str, Model | CrossModel]):
    """The models of many machines in one file, by the names of the machines; each is read when it is asked for.

    Parameters
    ----------
    file : path
        What `write_fleet` or `oddkind fleet fit` wrote.
    runtime : "auto", "onnx" or "torch"
        As in `oddkind.load`; "auto" needs no torch.

    Attributes
    ----------
    about : dict
        A JSON object about all machines: the parameters of the detector and, if it learnt from files, `settings`.

    Raises
    ------
    InputError
        If the file is not a fleet, is damaged or of a newer format. `fleet[name]` names the machine, too; a machine
        that is not there is a KeyError, as in any mapping.

    Examples
    --------
    >>> fleet = Fleet("pumps.fleet")                                 # doctest: +SKIP
    >>> fleet["pump 3"].p_value(samples)                             # doctest: +SKIP
    """

    def __init__(self, file: str | Path, *, runtime: str = "auto") -> None:
        self.file, self.runtime = Path(file), runtime
        self.about: dict[str, Any] = self._open()

    def __getitem__(self, name: str) -> Model | CrossModel:
        """Read the model of a machine."""
        found = self._rows("SELECT size, model FROM machines WHERE name = ?", name)
        if not found:
            raise KeyError(name)
        size, stored = found[0]
        named = Path(f"{self.file}, machine {name}")
        content = _decompressed(named, stored, size)
        return restored(bundle_of(named, io.BytesIO(content), len(content), self._part), runtime=self.runtime)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the machines, in the order of the names."""
        return iter([name for (name,) in self._rows("SELECT name FROM machines ORDER BY name")])

    def __len__(self) -> int:
        """Return the number of machines."""
        return int(self._rows("SELECT count(*) FROM machines")[0][0])

    def __contains__(self, name: object) -> bool:
        """Return whether there is a model of a machine, without reading it."""
        return isinstance(name, str) and bool(self._rows("SELECT 1 FROM machines WHERE name = ?", name))

    def facts(self) -> dict[str, Facts]:
        """Return what is known about each machine, without reading its model."""
        rows = self._rows("SELECT name, facts FROM machines ORDER BY name")
        try:
            return {name: Facts(**json.loads(facts)) for name, facts in rows}
        except (TypeError, ValueError) as error:
            raise _damaged(self.file, error) from error

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the connection out: the file is opened again in the process that the object lands in."""
        return {"file": self.file, "runtime": self.runtime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def _open(self) -> dict[str, Any]:
        self._connection = _connected(self.file, writing=False)
        self._lock = threading.Lock()
        self._part = functools.lru_cache(KEPT_PARTS)(self._read_part)
        return _checked(self._connection, self.file)

    def _read_part(self, digest: bytes) -> bytes:
        found = self._rows("SELECT content FROM parts WHERE digest = ?", digest)
        return bytes(found[0][0]) if found else b""

    def _rows(self, query: str, *given: Any) -> list[tuple[Any, ...]]:
        with self._lock, _errors(self.file):
            return self._connection.execute(query, given).fetchall()


# --- writing ---


@contextmanager
def written_fleet(file: Path, about: Mapping[str, Any], *, update: bool) -> Iterator[Callable[[str, Record], None]]:
    """Yield a function that adds the model of a machine; the fleet is there, complete, when the block ends well.

    The models go into a temporary file in the same folder, so memory stays flat. With `update` they are then added to
    the fleet that is there, in one transaction: those of the same name are replaced, and all others stay. Otherwise the
    temporary file takes the place of `file`.

    Raises
    ------
    InputError
        If it cannot be written, or is to be updated and is no fleet.
    """
    if not update:
        with written_whole(file) as unfinished:
            with _new(unfinished, about) as add:
                yield add
            _recover(file)  # what an interrupted transaction left must not be applied to another file
        return
    Fleet(file).close()  # refuses what is no fleet before anything is fitted
    with unfinished_beside(file) as unfinished:
        with _new(unfinished, about) as add:
            yield add
        _merge(unfinished, file)


@contextmanager
def _new(file: Path, about: Mapping[str, Any]) -> Iterator[Callable[[str, Record], None]]:
    with closing(_connected(file, writing=True)) as connection, _errors(file):
        # Nobody reads the file before it is complete, so it needs no journal.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 4096;")
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        known = {"oddkind": own_version(), **about}
        connection.executemany("INSERT INTO about VALUES (?, ?)", [(key, json.dumps(of)) for key, of in known.items()])

        def add(name: str, record: Record) -> None:
            row = name, json.dumps(vars(record.facts)), len(record.content), zlib.compress(record.content, 1)
            number = connection.execute("INSERT INTO machines (name, facts, size, model) VALUES (?, ?, ?, ?)", row)
            connection.executemany("INSERT OR IGNORE INTO parts VALUES (?, ?)", record.parts.items())
            uses = [(digest, number.lastrowid) for digest in record.parts]
            connection.executemany("INSERT OR IGNORE INTO uses VALUES (?, ?)", uses)

        connection.execute("BEGIN")
        yield add
        connection.execute("COMMIT")


def _merge(new: Path, file: Path) -> None:
    """Add the machines of one fleet to another, in one transaction."""
    with closing(_connected(file, writing=True)) as connection, _errors(file):
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("ATTACH ? AS new", (str(new),))
        connection.execute("BEGIN IMMEDIATE")
        own = "machine IN (SELECT id FROM machines WHERE name IN (SELECT name FROM new.machines))"
        connection.execute(f"DELETE FROM uses WHERE {own}")  # noqa: S608 - nothing of it is given
        connection.execute("DELETE FROM main.machines WHERE name IN (SELECT name FROM new.machines)")
        connection.execute(
            "INSERT INTO main.machines (name, facts, size, model) SELECT name, facts, size, model FROM new.machines"
        )
        connection.execute("INSERT OR IGNORE INTO main.parts SELECT digest, content FROM new.parts")
        connection.execute(
            "INSERT INTO main.uses SELECT used.digest, own.id FROM new.uses AS used "
            "JOIN new.machines AS given ON given.id = used.machine JOIN main.machines AS own ON own.name = given.name"
        )
        connection.execute("DELETE FROM main.parts WHERE digest NOT IN (SELECT digest FROM main.uses)")
        connection.execute("COMMIT")


# --- reading ---


def _connected(file: Path, *, writing: bool) -> sqlite3.Connection:
    if not writing:
        if not file.exists():
            raise InputError(f"{file}: does not exist; name a fleet that 'oddkind fleet fit' wrote")
        if not file.is_file():
            raise InputError(f"{file}: is not a file; name a fleet that 'oddkind fleet fit' wrote")
        _recover(file)
    mode = "rwc" if writing else "ro"
    with _errors(file):
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=LONGEST_WAIT,
            isolation_level=None,
            check_same_thread=False,
        )
        # A file may come from anywhere: nothing that its schema defines is run, and pages are checked when read.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
    return connection


def _recover(file: Path) -> None:
    """Let SQLite take back a transaction that was interrupted; only who may write can."""
    journal = file.with_name(f"{file.name}-journal")
    if journal.exists() and file.exists():
        with closing(sqlite3.connect(file, timeout=LONGEST_WAIT)) as connection, _errors(file):
            connection.execute("SELECT count(*) FROM sqlite_master").fetchall()


def _checked(connection: sqlite3.Connection, file: Path) -> dict[str, Any]:
    """Refuse what is not a fleet of a known format; return what is said of all machines."""
    with _errors(file):
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        number = connection.execute("PRAGMA user_version").fetchone()[0]
        if application != APPLICATION:
            raise InputError(f"{file}: not a fleet; name a fleet that 'oddkind fleet fit' wrote")
        if number > FORMAT:
            raise InputError(f"{file}: format {number}, written by a newer oddkind; upgrade to read it")
        schema = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid").fetchall()
        if [sql for (sql,) in schema] != [*SCHEMA]:
            raise InputError(f"{file}: holds other tables than a fleet; it is damaged, fit it again")
        rows = connection.execute("SELECT name, value FROM about").fetchall()
    try:
        return {name: json.loads(value) for name, value in rows}
    except (TypeError, ValueError) as error:
        raise _damaged(file, error) from error


def _decompressed(named: Path, stored: Any, size: Any) -> bytes:
    if not isinstance(stored, bytes) or not isinstance(size, int) or not 0 < size <= MAX_BYTES:
        raise _damaged(named, "no model")
    try:
        decompress = zlib.decompressobj()
        content = decompress.decompress(stored, size)
    except zlib.error as error:
        raise _damaged(named, error) from error
    if len(content) != size or not decompress.eof:  # a few bytes must not become many
        raise _damaged(named, f"{size} bytes are expected")
    return content


def _damaged(file: Path, why: object) -> InputError:
    return InputError(f"{file}: damaged ({why}); fit it again")


@contextmanager
def _errors(file: Path) -> Iterator[None]:
    """Turn SQLite's errors into those of the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise InputError(f"{file}: another process is writing it; try again when it has finished") from error
        raise InputError(f"{file}: cannot be read or written ({error})") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{file}: not a fleet, or damaged ({error}); fit it again") from error
