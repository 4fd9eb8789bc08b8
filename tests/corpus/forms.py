"""What a form and a data set of the corpus are, and what files of every kind have in common."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

RATE = 2000
MANY = 5000  # rows of a table, in place of the 100,000,000 that are one too many
CANARY = "executed"  # the file that a pickle in the corpus makes, if anyone unpickles it
Draw = np.random.Generator


@dataclass(frozen=True)
class Form:
    """One way in which a file is written.

    Attributes
    ----------
    kind, name, suffix : str
    write : callable (file, draw)
    refused : str
        "": it is read. Otherwise a part of the reason why it is not.
    options : tuple of str
        That `check` and `fit` need to read it.
    fit : int
        Exit code of `fit` if all files are of this form and can be read.
    """

    kind: str
    name: str
    suffix: str
    write: Callable[[Path, Draw], None]
    refused: str = ""
    options: tuple[str, ...] = ()
    fit: int = 0

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Layout:
    """A whole data set.

    Attributes
    ----------
    name : str
    make : callable (folder, draw)
        Makes it in a folder; `data` in it is the data set.
    data : str
    code : int
        Exit code of `check`.
    says : tuple of str
        What `check` must say: parts of what it prints or complains of.
    files : int or None
        How many files `score` scores.
    options : tuple of str
    fit : int
        Exit code of `fit`; by default that of `check`.
    """

    name: str
    make: Callable[[Path, Draw], None]
    data: str = "data"
    code: int = 0
    says: tuple[str, ...] = ()
    files: int | None = None
    options: tuple[str, ...] = ()
    fit: int | None = None

    def __str__(self) -> str:
        return self.name


FORMS: list[Form] = []
LAYOUTS: list[Layout] = []


def form(kind: str, name: str, suffix: str, write: Callable[[Path, Draw], None], refused: str = "", **more) -> None:
    """Add a form to the corpus."""
    if kind == "pictures" and name != "PNG L as .png":
        more["options"] = (*SMALL, *more.get("options", ()))
    FORMS.append(Form(kind, name, suffix, write, refused, **more))


def layout(name: str, **more) -> Callable[[Callable[[Path, Draw], None]], None]:
    """Add the data set that the decorated function makes to the corpus."""
    return lambda make: LAYOUTS.append(Layout(name, make, **more))


def of_bytes(make: Callable[[Draw], bytes]) -> Callable[[Path, Draw], None]:
    """Write what a function returns."""
    return lambda file, draw: file.write_bytes(make(draw)) and None


# Files of another kind, or of none, under each suffix.
SMALL = ("--size", "8,8")
ANY = " "  # whatever the reason is
EMPTY = of_bytes(lambda draw: b"")
NOISE = of_bytes(lambda draw: draw.bytes(600))
TEXT = of_bytes(lambda draw: b"no such file " + draw.bytes(4).hex().encode())
HTML = of_bytes(lambda draw: b"<!DOCTYPE html><html><body>404 %d</body></html>" % draw.integers(1 << 30))
ZEROS = of_bytes(lambda draw: bytes(1000 + int(draw.integers(1000))))
ZIP = of_bytes(lambda draw: zipped({"a.txt": draw.bytes(20)}))


def zipped(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Pack a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def patched(content: bytes, at: int, number: int, code: str = "<I") -> bytes:
    """Overwrite a number."""
    new = bytearray(content)
    struct.pack_into(code, new, at, number)
    return bytes(new)


def cut_off(write: Callable[[Path, Draw], None]) -> Callable[[Path, Draw], None]:
    """Write all but the last bytes."""

    def cut(file: Path, draw: Draw) -> None:
        write(file, draw)
        file.write_bytes(file.read_bytes()[:-900])

    return cut
