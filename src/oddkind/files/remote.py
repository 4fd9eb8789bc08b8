"""Files on object storage and web servers: a path that is fetched when it is opened, and ahead of that.

What fsspec can list and read can be a data set: `s3://bucket/folder`, `gs://…`, `https://…`. Its names are mirrored in
a temporary folder, as empty files, so that all that lists files works as on a disk; their contents come when they are
opened, and go when newer ones need the space.
"""

from __future__ import annotations

import errno
import os
import random
import re
import shutil
import tempfile
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from oddkind.errors import InputError

URL = re.compile(r"([a-z][a-z0-9+.-]+)://")
# How often a file is tried, and the pause after the first time, in seconds; it doubles.
ATTEMPTS, PAUSE = 8, 0.05
# Files fetched at the same time and ahead of the one that is read, and bytes that are kept of those fetched.
FETCHED_TOGETHER, FILES_AHEAD, MAX_KEPT = 16, 256, 1 << 30

T = TypeVar("T")


def data_path(text: str) -> Path:
    """Return the path of a file or a folder, also of a URL such as s3://bucket/recordings.

    Raises
    ------
    InputError
        If the URL cannot be listed, or the package for its protocol is not installed.
    """
    return Path(text) if URL.match(text) is None else _listed(text)


def file_in(data: Path, file: Path) -> Path:
    """Return a file inside a data set, such that it is fetched when it is opened if the data set is remote."""
    mirror = getattr(data, "mirror", None)
    return file if mirror is None else RemotePath.of(mirror, file)


def last_change(file: Path) -> tuple[int, int]:
    """Return what changes when a file does: time and size; a remote one is taken as it was when it was listed."""
    if getattr(file, "mirror", None) is not None:
        return 0, 0
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def expect(data: Path, name: str) -> None:
    """Make a file known that a manifest names, if the manifest is remote."""
    mirror = getattr(data, "mirror", None)
    if mirror is not None:
        mirror.expect(name)


def fetched_ahead(items: Iterable[T], path_of: Callable[[T], Path]) -> Iterator[T]:
    """Yield items, while the files of those that come next are being fetched; local files need nothing."""
    waiting: deque[tuple[T, int]] = deque()
    n_bytes = 0
    for item in items:
        path, size = path_of(item), 0
        if isinstance(path, RemotePath) and path.mirror is not None:
            path.mirror.fetch(path.local)
            size = path.mirror.size_of(path.local)
        elif not waiting:
            yield item
            continue
        waiting.append((item, size))
        n_bytes += size
        while len(waiting) > FILES_AHEAD or n_bytes > MAX_KEPT // 4:
            item, size = waiting.popleft()
            n_bytes -= size
            yield item
    yield from (item for item, _ in waiting)


class RemotePath(type(Path())):  # type: ignore[misc]
    """A path into a mirror: whoever opens it gets the local copy, fetched first if it is not there.

    Attributes
    ----------
    mirror : Mirror or None
        None for what is derived from another path; it is then an ordinary local path.
    local : str
        The local copy.
    """

    mirror: Mirror | None = None
    local: str = ""

    @classmethod
    def of(cls, mirror: Mirror, file: Path) -> RemotePath:
        """Return the path of a file or the folder of a mirror."""
        path = cls(file)
        path.mirror, path.local = mirror, os.fspath(Path(file))
        return path

    def __fspath__(self) -> str:
        """Return the local copy; raises OSError if it cannot be fetched."""
        if self.mirror is None:
            return super().__fspath__()
        self.mirror.ready(self.local)
        return self.local

    def __str__(self) -> str:
        """Return the URL, for messages."""
        return super().__str__() if self.mirror is None else self.mirror.url_of(self.local)


class Mirror:
    """A temporary folder with the names of remote files, and the contents of some.

    Parameters
    ----------
    system : fsspec.AbstractFileSystem
    url : str
        What the user named.
    root : str
        The remote folder, as the file system names it.
    """

    def __init__(self, system: Any, url: str, root: str) -> None:
        self._system, self._url, self._root = system, url, root
        self._get = _getter(system, root)
        self.folder = os.path.realpath(tempfile.mkdtemp(prefix="oddkind-remote-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self._pool = ThreadPoolExecutor(FETCHED_TOGETHER, "fetch")
        self._lock = threading.Lock()
        self._sizes: dict[str, int | None] = {}  # of the remote files, by their local paths
        self._fetched: OrderedDict[str, Future[int]] = OrderedDict()  # the file used last is the last one
        self._kept = 0

    def expect(self, name: str, size: int | None = None) -> Path:
        """Make a file known by its name in the folder; return its local path, an empty file until it is fetched."""
        file = Path(self.folder, *PurePosixPath(name).parts)
        local = os.fspath(file)
        if ".." not in PurePosixPath(name).parts and local not in self._sizes:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            self._sizes[local] = size
        return file

    def size_of(self, local: str) -> int:
        """Return the number of bytes of a remote file, 0 if it is not known."""
        return self._sizes.get(local) or 0

    def url_of(self, local: str) -> str:
        """Return the URL of a local path."""
        name = os.path.relpath(local, self.folder)
        return self._url if name == "." else f"{self._url.rstrip('/')}/{Path(name).as_posix()}"

    def fetch(self, local: str) -> Future[int] | None:
        """Begin to fetch a file, unless it is there; None if it is no remote file, such as a folder."""
        if local not in self._sizes:
            return None
        with self._lock:
            if local not in self._fetched:
                self._fetched[local] = self._pool.submit(self._fetch, local)
            return self._fetched[local]

    def ready(self, local: str) -> None:
        """Wait until a file is there.

        Raises
        ------
        OSError
            If it cannot be fetched.
        """
        future = self.fetch(local)
        if future is None:
            return
        try:
            size = future.result()
        except OSError:
            with self._lock:
                self._fetched.pop(local, None)  # the next one who opens it tries again
            raise
        with self._lock:
            self._fetched.move_to_end(local)
            if size:
                self._make_room()

    def _make_room(self) -> None:
        """Empty the files that were not used for the longest time, never the one used last."""
        for local, future in [*self._fetched.items()][:-1]:
            if self._kept <= MAX_KEPT:
                return
            if future.done() and future.exception() is None:
                self._kept -= future.result()
                del self._fetched[local]
                empty = f"{local}.empty"
                Path(empty).touch()
                os.replace(empty, local)  # whoever reads it goes on with what is there

    def _fetch(self, local: str) -> int:
        """Fetch a file, whole or not at all; return its number of bytes."""
        name = Path(local).relative_to(self.folder).as_posix()
        remote, part = f"{self._root.rstrip('/')}/{name}", f"{local}.part"
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._get(remote, part)
                size, expected = os.path.getsize(part), self._sizes[local]
                if expected is not None and size != expected:
                    raise OSError(errno.EIO, f"{size:,} of {expected:,} bytes came")
                os.replace(part, local)
            except (FileNotFoundError, PermissionError) as error:
                raise OSError(error.errno or errno.ENOENT, f"cannot be fetched: {_reason(error)}") from error
            except Exception as error:  # each protocol has errors of its own
                if attempt == ATTEMPTS:
                    why = f"could not be fetched in {ATTEMPTS} attempts: {_reason(error)}"
                    raise OSError(errno.EIO, why) from error
                time.sleep(PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            else:
                with self._lock:
                    self._kept += size
                return size
        raise AssertionError  # the last attempt returns or raises


def _getter(system: Any, root: str) -> Callable[[str, str], None]:
    """Return what copies a remote file to a local one: for S3 obstore, if it is installed, else the file system.

    obstore takes a third of the processor time. It asks as s3fs does: with its endpoint, region and credentials.
    """
    get: Callable[[str, str], None] = system.get_file
    if "s3" not in system.protocol:
        return get
    try:
        import obstore
        from obstore.store import S3Store
    except ImportError:
        return get
    meta, credentials = system.s3.meta, _credentials(system)
    store = S3Store(
        root.partition("/")[0],
        endpoint=meta.endpoint_url,
        region=meta.region_name,
        skip_signature=credentials is None,
        credential_provider=credentials,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},  # `Mirror` tries again
    )

    def fetch(remote: str, local: str) -> None:
        Path(local).write_bytes(obstore.get(store, remote.partition("/")[2]).bytes())

    return fetch


def _credentials(system: Any) -> Any:
    """Return a function that gives the credentials of s3fs, for a quarter of an hour; None if it has none."""
    from fsspec.asyn import sync

    if system.anon:
        return None
    found = None if system.key else sync(system.loop, system.session.get_credentials)
    if found is None and not system.key:
        return None

    def current() -> dict[str, Any]:
        if found is None:
            key, secret, token = system.key, system.secret, system.token
        else:
            frozen = sync(system.loop, found.get_frozen_credentials)
            key, secret, token = frozen.access_key, frozen.secret_key, frozen.token
        expires = datetime.now(UTC) + timedelta(minutes=15)
        return {"access_key_id": key, "secret_access_key": secret, "token": token, "expires_at": expires}

    return current


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _listed(url: str) -> RemotePath:
    """Return a remote file, or a remote folder whose names are mirrored."""
    try:
        from fsspec.core import url_to_fs

        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        advice = "pip install 'oddkind[remote]' installs what s3:// and https:// need"
        raise InputError(f"{url}: {error}; {advice}") from error
    try:
        if not url.endswith("/") and system.isfile(root):
            parent, _, name = root.rpartition("/")
            mirror = Mirror(system, url.rpartition("/")[0], parent)
            return RemotePath.of(mirror, mirror.expect(name, system.size(root)))
        found = system.find(root, detail=True)
    except Exception as error:  # each protocol has errors of its own
        raise InputError(f"{url}: cannot be listed ({_reason(error)})") from error
    if not found:
        raise InputError(f"{url}: cannot be reached, does not exist, or has no files")
    mirror = Mirror(system, url, root)
    for path, of in found.items():
        mirror.expect(path.removeprefix(root).lstrip("/"), of.get("size"))
    return RemotePath.of(mirror, Path(mirror.folder))
