"""The folder a run writes to: results appear whole or not at all, checkpoints wait there in between."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oddkind.errors import InputError


@contextmanager
def written_whole(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder for results and one for checkpoints, both hidden inside `folder`.

    When the block ends well the results move up, replacing files of the same name, and both are removed.
    When it does not, the results vanish and the checkpoints stay, for the same run to go on from.

    Raises
    ------
    InputError
        At once, where `folder` cannot be made or written.
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
            with suppress(OSError):  # made for nothing, it goes too; with something in it, it stays
                folder.rmdir()
