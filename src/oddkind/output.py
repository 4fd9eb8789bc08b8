"""Files and folders that are written whole or not at all."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oddkind.errors import InputError

# Whatever is unfinished bears the computer and the process that writes it, so that it can be swept up if both are known
# and the process is gone. Folders may be shared by computers and containers, whose processes cannot be seen here.
_COMPUTER = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_UNFINISHED = re.compile(rf"\..*unfinished-{_COMPUTER}-(\d+)-.+", re.DOTALL)


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """Yield the name of a temporary file in the same folder, which takes the place of `file` when the block ends well.

    When it does not, nothing is left behind and a file that was there stays. What a process that was killed left in the
    folder is removed.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    with unfinished_beside(file) as unfinished:
        try:
            yield unfinished
            os.replace(unfinished, file)
        except OSError as error:
            raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error


@contextmanager
def unfinished_beside(file: Path) -> Iterator[Path]:
    """Yield the name of a temporary file in the same folder, which is removed when the block ends.

    What a process that was killed left in the folder is removed.
    """
    _sweep_once(file.parent)
    unfinished = file.with_name(f".{file.name}.{_unfinished_name()}-{threading.get_ident()}")
    try:
        yield unfinished
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


@contextmanager
def results_folder(folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield an empty folder for results and one for checkpoints, both hidden inside `folder`.

    When the block ends well the results move up, replacing files of the same name, and both are removed. When it does
    not, the results are deleted and the checkpoints stay, so that the same run can resume. What a process that was
    killed left unfinished is removed; checkpoints that another process may be writing are not.

    Raises
    ------
    InputError
        At once, if `folder` cannot be created or written.
    """
    new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{_unfinished_name()}-", dir=folder))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name a folder that can") from error
    checkpoints = folder / ".checkpoints"
    try:
        yield unfinished, checkpoints
        for file in sorted(unfinished.iterdir()):
            os.replace(file, folder / file.name)
        if not any(other != unfinished for other in folder.glob(".unfinished-*-*-*")):
            shutil.rmtree(checkpoints, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if new:
            with suppress(OSError):  # removed again if nothing was written into it
                folder.rmdir()


def sweep(folder: Path) -> None:
    """Remove what oddkind left unfinished in a folder when its process was killed.

    What a living process writes stays, and so does what a process of another computer left: whether that one lives
    cannot be seen from here. A folder that cannot be read is left as it is.
    """
    with suppress(OSError):
        for path in folder.iterdir():
            match = _UNFINISHED.fullmatch(path.name)
            if match is None or _lives(int(match[1])):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


@functools.cache
def _sweep_once(folder: Path) -> None:
    """Sweep a folder at the first file that this process writes into it; many may follow."""
    sweep(folder)


def _unfinished_name() -> str:
    return f"unfinished-{_COMPUTER}-{os.getpid()}"


def _lives(process: int) -> bool:
    """Whether a process of this computer may still be running."""
    if os.name != "posix":  # elsewhere os.kill would end it
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it belongs to someone else
        return True
    return True
