"""What messages hold: a JSON array, an .npy array, or the bytes of a file."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.listing import Entry
from oddkind.files.npy import NPY, read_npy
from oddkind.files.score import learnt_from_files, settings_of
from oddkind.files.source import Source
from oddkind.model.model import FittedModel
from oddkind.naming import printable
from oddkind.watch.items import Item
from oddkind.watch.parts import block_entries

# The suffix that makes a file of a kind readable; what it holds is found by its first bytes.
SUFFIX = {"sounds": ".wav", "pictures": ".png", "tables": ".csv", "arrays": ".npy"}
PARQUET = b"PAR1"


class Payloads:
    """Turns the bytes of messages into items, as the model's files are read; files lie in a temporary folder.

    Parameters
    ----------
    model : FittedModel
        If it learnt from arrays, a message holds one sample [...] or several [n, ...], as JSON or .npy.
    label : str or None
        The internal label of all of them.
    """

    def __init__(self, model: FittedModel, label: str | None) -> None:
        self._model, self._label = model, label
        self._settings: Source | None = settings_of(model) if learnt_from_files(model) else None
        self._folder = Path(tempfile.mkdtemp(prefix="oddkind-watch-"))
        self._count = 0

    def item(self, name: str, content: bytes, marks: dict[str, str]) -> Item:
        """Return a message as an item; what is wrong with it is its problem."""
        name = printable(name)
        try:
            if self._settings is None:
                return Item(name, marks, samples=self._samples(content), label=self._label)
            file = self._written(content, self._settings)
            entries = block_entries(Entry(file, name, self._label), self._settings)
            return Item(name, marks, entries, label=self._label)
        except InputError as error:
            return Item(name, marks, label=self._label, problem=str(error))

    def done(self, item: Item) -> None:
        """Remove its file."""
        for entry in item.entries[:1]:
            entry.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _samples(self, content: bytes) -> Array:
        shape = self._model.inputs.shape
        array = _array_of(content)
        if array is None:
            raise InputError("the model learnt from arrays; a message must hold a JSON array or an .npy array")
        if array.shape == shape:
            array = array[None]
        if array.shape[1:] != shape:
            raise InputError(f"the array has shape {array.shape}; the model learnt samples of shape {shape}")
        return self._model.inputs.validate(array)

    def _written(self, content: bytes, settings: Source) -> Path:
        """Write the content to a file that is read as those learnt from were."""
        kind, suffix = settings.kind, SUFFIX[settings.kind]
        array = _array_of(content)
        if array is not None and kind == "pictures":
            raise InputError("the model learnt from pictures; send the bytes of a PNG or JPEG file")
        if array is not None and kind == "tables":
            content = _as_table(array, settings)
        elif array is not None:
            packed = io.BytesIO()
            np.save(packed, array)
            content, suffix = packed.getvalue(), ".npy"
        elif kind == "tables" and content[:4] == PARQUET:
            suffix = ".parquet"
        self._count += 1
        file = self._folder / f"{self._count}{suffix}"
        file.write_bytes(content)
        return file


def _array_of(content: bytes) -> Array | None:
    """Return the array that bytes hold as .npy or JSON, or None if they are neither."""
    if content.startswith(NPY):
        return read_npy(content)
    try:
        if content.lstrip()[:1] != b"[":
            return None
        array = np.array(json.loads(content))
    except (ValueError, RecursionError, EOFError, OSError, MemoryError) as error:
        raise InputError(f"the array cannot be read ({error})") from error
    if array.dtype.kind not in "iufb":
        raise InputError("the JSON array must hold numbers, in lists of equal length")
    return array


def _as_table(array: Array, settings: Source) -> bytes:
    """Write an array [rows, columns] as a CSV file in the dialect of those learnt from."""
    columns = settings.columns or ()
    if array.ndim != 2 or array.shape[1] != len(columns):
        raise InputError(
            f"the array has shape {array.shape}; it must hold rows of {len(columns)} values: {', '.join(columns)}"
        )
    dialect, text = settings.dialect, io.StringIO(newline="")
    text.write("\n" * dialect.skip_rows)
    rows = csv.writer(text, delimiter=dialect.delimiter, lineterminator="\n")
    if dialect.header:
        rows.writerow(columns)
    rows.writerows([["-"] * len(columns)] * dialect.units_rows)
    for row in array.tolist():
        rows.writerow([repr(float(value)).replace(".", dialect.decimal) for value in row])
    return text.getvalue().encode(dialect.encoding)
