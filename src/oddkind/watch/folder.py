"""A folder as a source: every file that appears in it, once it is complete."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from oddkind.errors import InputError
from oddkind.files.folders import MASK
from oddkind.files.listing import Entry, present
from oddkind.files.score import read_as_learnt, settings_of
from oddkind.model.model import FittedModel
from oddkind.watch.items import Item

MARK = "file:"
MOST = 500  # files listed at once
RESCAN = 5.0  # seconds between two looks at folders that report no changes, such as those of a network
WAIT = 200  # milliseconds that a wait for changes takes at most

Form = tuple[int, int]  # size in bytes, and time of the last change in nanoseconds


class Folder:
    """The files of a folder and the folders in it, read as those that the model learnt from.

    A file is judged when neither its size nor its time has changed for `settle` seconds: at once if it was moved here,
    as it then has an earlier time. One that changes afterwards is judged again.

    Parameters
    ----------
    folder : Path
    model : FittedModel
    marks : mapping of str to str
        What was judged before.
    settle : float
        Seconds.
    stop : Event
        Ends a wait.
    once : bool
        Whether it ends with the files that are there.
    new_only : bool
        Whether the files that are there are passed over.
    remember : callable
        Keeps marks, of files that are passed over.
    notify : callable
        Called if changes cannot be waited for.
    follow : bool
        As in `oddkind.files.listing.entries`.
    stream_label : str or None
        The internal label of all files; None: as their names say.
    changes : str or None
        Settings of listing, such as `pattern` and `label`, other than those that the model learnt with.

    Raises
    ------
    InputError
        If watchfiles is not installed.
    """

    def __init__(
        self,
        folder: Path,
        model: FittedModel,
        marks: dict[str, str],
        *,
        settle: float,
        stop: threading.Event,
        once: bool,
        new_only: bool,
        remember: Callable[[dict[str, str]], None],
        notify: Callable[[str], None],
        follow: bool = False,
        stream_label: str | None = None,
        **changes: str | None,
    ) -> None:
        self._folder, self._model, self._settle, self._once = folder, model, settle, once
        self._follow, self._label, self._changes = follow, stream_label, changes
        self._kind = settings_of(model).kind
        self._judged = {key.removeprefix(MARK): text for key, text in marks.items() if key.startswith(MARK)}
        self._unsettled: dict[str, tuple[Form, float]] = {}
        self._paths: dict[str, Path] = {}
        self._backlog: dict[str, Form] = {}  # complete, and not yet listed
        self._looked = -RESCAN
        self._changed = True
        self._stop, self._notify = stop, notify
        self._waits = None if once else _changes(folder, stop)
        if new_only:
            self._judged |= {name: _text(form) for name, form in self._forms().items()}
            remember({MARK + name: text for name, text in self._judged.items()})

    def poll(self, timeout: float) -> list[Item] | None:
        """Return files that are complete, the oldest first."""
        due = self._changed or time.monotonic() - self._looked > RESCAN or self._unsettled
        if not self._backlog and due:
            self._backlog = self._complete()
        if self._backlog:
            first = dict(islice(self._backlog.items(), MOST))
            self._backlog = dict(islice(self._backlog.items(), MOST, None))
            return self._items(first)
        if self._waits is None:
            if not self._unsettled:
                return None
            time.sleep(min(timeout, self._settle / 2))
            return []
        try:
            self._changed = next(self._waits, False)
        except (OSError, RuntimeError) as error:  # such as more folders than the system reports changes of
            self._notify(f"{self._folder}: changes are not reported ({error}); it is looked at every {RESCAN:g} s")
            self._waits = _pauses(self._stop)
        return []

    def done(self, item: Item) -> None:
        """Nothing: its mark is what counts."""

    def left_over(self) -> str | None:
        """Name files that were still being written."""
        n = len(self._unsettled)
        return f"{n} {'file was' if n == 1 else 'files were'} still being written" if n else None

    def close(self) -> None:
        """Stop waiting for changes."""
        self._waits = iter(())

    def _forms(self) -> dict[str, Form]:
        """Return size and time of each file that is there."""
        forms = {}
        self._paths = present(self._folder, self._kind, follow=self._follow)
        for name, path in self._paths.items():
            try:
                status = path.stat()
            except OSError:
                forms[name] = (-1, -1)  # it is listed with the reason, if it stays
            else:
                forms[name] = (status.st_size, status.st_mtime_ns)
        return forms

    def _complete(self) -> dict[str, Form]:
        """Return files that are not judged and no longer change, the oldest first."""
        self._looked, self._changed = time.monotonic(), False
        waiting = {name: form for name, form in self._forms().items() if self._judged.get(name) != _text(form)}
        before, self._unsettled = self._unsettled, {}
        complete: dict[str, Form] = {}
        for name, form in sorted(waiting.items(), key=lambda pair: (pair[1][1], pair[0])):
            known, since = before.get(name, (None, 0.0))
            since = since if known == form else self._looked
            # A time that is ahead, by another clock, says nothing.
            if 0 <= time.time() - form[1] / 1e9 < self._settle or form[1] / 1e9 > time.time():
                settled = self._looked - since >= self._settle
            else:
                settled = True
            if not settled:
                self._unsettled[name] = form, since
            else:
                complete[name] = form
        return complete

    def _items(self, complete: dict[str, Form]) -> list[Item]:
        """Return complete files as items; those that are none of the model's, such as masks, are passed over."""
        entries: dict[Path, list[Entry]] = {}
        files, refused = self._listed([*complete])
        for entry in files:
            entries.setdefault(entry.path, []).append(entry)
        items = []
        for name, form in complete.items():
            marks = {MARK + name: _text(form)}
            self._judged[name] = _text(form)
            if name in refused and not refused[name].startswith(MASK):
                items.append(Item(name, marks, label=self._label, problem=refused[name]))
            elif found := entries.get(self._paths[name]):
                own = found if self._label is None else [replace(entry, label=self._label) for entry in found]
                items.append(Item(name, marks, own, label=own[0].label))
        return items

    def _listed(self, names: list[str]) -> tuple[list[Entry], dict[str, str]]:
        """List files as those learnt from were; a wrong option is an `InputError`, a wrong file has a reason."""
        try:
            return read_as_learnt(self._model, self._folder, follow=self._follow, only={*names}, **self._changes)
        except InputError as error:
            reason = str(error).removeprefix(f"{self._folder}: ")
            if reason.startswith("contains no "):
                return [], dict.fromkeys(names, reason)
            if len(names) > 1:
                each = [self._listed([name]) for name in names]
                return [entry for files, _ in each for entry in files], {
                    name: why for _, refused in each for name, why in refused.items()
                }
            if not reason.startswith(f"{names[0]}: "):
                raise
            return [], {names[0]: reason.removeprefix(f"{names[0]}: ")}


def _text(form: Form) -> str:
    return f"{form[0]} {form[1]}"


def _changes(folder: Path, stop: threading.Event) -> Iterator[bool]:
    """Wait for changes again and again, and yield whether there were any."""
    try:
        from watchfiles import watch
    except ImportError as error:
        raise InputError(
            "watching a folder needs the package watchfiles; install it with: pip install 'oddkind[watch]'; or use "
            "--once, which does not"
        ) from error
    waits = watch(
        folder,
        watch_filter=None,
        debounce=100,
        step=20,
        stop_event=stop,
        rust_timeout=WAIT,
        yield_on_timeout=True,
        raise_interrupt=False,
        ignore_permission_denied=True,
    )
    return (bool(changes) for changes in waits)


def _pauses(stop: threading.Event) -> Iterator[bool]:
    while not stop.wait(WAIT / 1000):
        yield False
