"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oddkind.errors import InputError


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yield the name of a temporary file in the same folder, which takes the place of `file` when the block ends well.

    When it does not, nothing is left behind and a file that was there stays.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    unfinished = file.with_name(f".{file.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        try:
            yield unfinished
            os.replace(unfinished, file)
        except OSError as error:
            raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def results_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder for results and one for checkpoints, both hidden inside `folder`.

    When the block ends well the results move up, replacing files of the same name, and both are removed. When it does
    not, the results are deleted and the checkpoints stay, so that the same run can resume.

    Raises
    ------
    InputError
        At once, if `folder` cannot be created or written.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name a folder that can") from error
    checkpoints = folder / ".checkpoints"
    try:
        yield unfinished, checkpoints
        for file in sorted(unfinished.iterdir()):
            os.replace(file, folder / file.name)
        shutil.rmtree(checkpoints, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if new:
            with suppress(OSError):  # removed again if nothing was written into it
                folder.rmdir()
