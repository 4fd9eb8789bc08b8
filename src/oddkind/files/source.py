"""How a data set is read: settings that are saved with a model, so that later files are read in the same way."""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oddkind.arrays import Array, to_memmap
from oddkind.errors import InputError
from oddkind.files.cache import cached
from oddkind.files.listing import Entry, entries, kind_of
from oddkind.files.npy import read_array
from oddkind.files.pictures import is_grey, read_picture
from oddkind.files.sounds import sample_rate_of, windows
from oddkind.files.tables import numbers_of, read_signal
from oddkind.model.forward import FrontEnd
from oddkind.samples import Samples

# Increase it when files are read differently, so that what a cache holds is read again.
CACHE_VERSION = 1

# Which settings suit which kind of files.
SUITS = {
    "sounds": {"sample_rate", "window", "hop", "channels", "front_end", "match_loudness"},
    "pictures": {"size", "grey"},
    "tables": {"columns", "window", "hop", "sample_rate"},
    "arrays": set(),
}


class Source(BaseModel):
    """How files are read. `resolved` determines what is None from the files.

    Attributes
    ----------
    kind : "sounds", "pictures", "tables" or "arrays"
    pattern, label, group, normal : str or None
        See `oddkind.files.listing.entries`.
    sample_rate : int or None
        In Hz. Sounds at another rate are resampled; None: the rate of the first file. Tables: rows per second; None:
        windows are counted in rows.
    window, hop : float or None
        Length of a window and step between two windows, in seconds. None: 1 second for sounds, the whole file for
        tables, and a step as long as the window.
    channels : tuple of int or None
        The channels of a sound to keep, counted from 1; None: the mean of all.
    front_end : tuple of str
        What a window of sound is turned into: keys of `oddkind.train.frontends.FRONT_ENDS`, concatenated.
    match_loudness : bool
        Make all windows of sound equally loud, if the distance to the microphone must not matter.
    size : (height, width) or None
        Size to which pictures are resized, in pixels; None: 64 × 64.
    grey : bool or None
        Drop colours; None: only if the first picture has none.
    columns : tuple of str or None
        Columns of tables; None: all columns of the first table that hold numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sounds", "pictures", "tables", "arrays"]
    pattern: str | None = None
    label: str | None = None
    group: str | None = None
    normal: str | None = None
    sample_rate: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    window: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    hop: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    channels: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=1)
    front_end: tuple[Literal["log-mel", "spectrum", "envelope"], ...] = Field(("log-mel",), min_length=1)
    match_loudness: bool = False
    size: tuple[Annotated[int, Field(ge=8, le=4096)], Annotated[int, Field(ge=8, le=4096)]] | None = None
    grey: bool | None = None
    columns: tuple[str, ...] | None = Field(None, min_length=1)

    @property
    def window_samples(self) -> int:
        """The number of samples in a window of sound; the settings must be resolved."""
        assert self.sample_rate is not None and self.window is not None  # noqa: S101, PT018 - resolved
        return max(1, round(self.window * self.sample_rate))

    def entries(self, data: Path) -> tuple[list[Entry], dict[str, str]]:
        """List the files of a data set: `oddkind.files.listing.entries`."""
        named = self.pattern, self.label, self.group, self.normal
        return entries(data, self.kind, **dict(zip(("pattern", "label", "group", "normal"), named, strict=True)))


def source_of(data: Path, **settings: Any) -> Source:
    """Return the settings for a data set; its kind is detected unless it is given.

    Raises
    ------
    InputError
        If a setting is out of range or does not apply to the kind of files.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    kind = settings.pop("kind", None) or kind_of(data)
    try:
        source = Source.model_validate({"kind": kind} | settings)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-")
        raise InputError(f"--{name} {first['input']!r}: {first['msg']}") from error
    fits = SUITS[source.kind] | {"pattern", "label", "group", "normal"}
    others = sorted(name for name, value in settings.items() if name not in fits and value is not False)
    if others:
        raise InputError(f"--{others[0].replace('_', '-')} does not apply to {source.kind}")
    return source


def resolved(source: Source, files: Sequence[Entry]) -> Source:
    """Determine the settings that are None from the first file that can be read.

    Raises
    ------
    InputError
        If no file can be read.
    """
    why = "there are no files"
    for entry in files:
        try:
            return source.model_copy(update=_found(source, entry.path))
        except InputError as error:
            why = f"{entry.name}: {error}"
    raise InputError(f"none of {len(files)} {source.kind} can be read; {why}")


def _found(source: Source, file: Path) -> dict[str, Any]:
    if source.kind == "arrays":
        return {}
    if source.kind == "pictures":
        return {"size": source.size or (64, 64), "grey": is_grey(file) if source.grey is None else source.grey}
    if source.kind == "tables":
        return {"columns": source.columns or numbers_of(file), "hop": source.hop or source.window}
    window = source.window or 1.0
    return {
        "sample_rate": source.sample_rate or sample_rate_of(file),
        "window": window,
        "hop": source.hop or window,
    }


def each(
    files: Sequence[Entry], source: Source, front_end: FrontEnd | None, *, cache: Path | None = None
) -> Iterator[tuple[Entry, Array | str]]:
    """Read files one by one with resolved settings: samples [n, …] of each, or the reason why it cannot be read.

    Sounds give vectors [n, D], pictures [1, C, H, W], tables [n, C, T], arrays [1, …] as they are.
    As many threads as there are processors read a few files ahead, because decoding and Fourier transforms release
    the interpreter lock. With a folder `cache`, what was read is kept there and looked up before a file is read.

    Raises
    ------
    InputError
        If `cache` is not a folder that can be written to.
    """
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=cache):
                pass
        except OSError as error:
            raise InputError(f"{cache}: cannot be written ({error.strerror}); choose another cache folder") from error
    key = f"{CACHE_VERSION} {source.model_dump_json(exclude={'pattern', 'label', 'group', 'normal'})}"

    def one(entry: Entry) -> Array | str:
        try:
            if cache is None:
                return _inputs(entry.path, source, front_end)
            return cached(cache, entry.path, key, lambda: _inputs(entry.path, source, front_end))
        except InputError as error:
            return str(error)

    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(processors) as pool:
        waiting = iter(files)
        ahead = deque((entry, pool.submit(one, entry)) for entry in islice(waiting, 4 * processors))
        try:
            while ahead:
                entry, future = ahead.popleft()
                yield entry, future.result()
                ahead.extend((entry, pool.submit(one, entry)) for entry in islice(waiting, 1))
        finally:
            for _, future in ahead:
                future.cancel()


def read(
    files: Sequence[Entry],
    source: Source,
    front_end: FrontEnd | None,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    name: str = "samples",
) -> Samples:
    """Read files, as `each` does, into one `Samples`, whose inputs are on disk: they may be larger than memory.

    Parameters
    ----------
    cache : path or None
        As in `each`.
    on_refused : callable (name, reason) or None
        Called for each file that cannot be read. If None, the first such file raises.

    Raises
    ------
    InputError
        If no file can be read, or one cannot be read and `on_refused` is None.
    """
    kept_files: list[Entry] = []
    counts: list[int] = []

    def parts() -> Iterator[Array]:
        form: tuple[Any, tuple[int, ...]] | None = None
        for number, (entry, part) in enumerate(each(files, source, front_end, cache=cache), start=1):
            if not isinstance(part, str) and form not in (None, (part.dtype, part.shape[1:])):
                assert form is not None  # noqa: S101 - as it says
                part = (
                    f"gives {part.dtype} samples of shape {part.shape[1:]}; "
                    f"the files before it give {form[0]} samples of shape {form[1]}"
                )
            if not isinstance(part, str):
                form = part.dtype, part.shape[1:]
                kept_files.append(entry)
                counts.append(len(part))
                yield part
            elif on_refused is None:
                raise InputError(f"{entry.name}: {part}")
            else:
                on_refused(entry.name, part)
            on_progress(number / len(files))
        if not counts:
            raise InputError(f"none of {len(files)} {source.kind} can be read")

    inputs = to_memmap(parts())

    def column(values: list[Any]) -> Array | None:
        return None if None in values else np.repeat(np.array(values), counts)

    # Pictures without groups are independent; windows of one file belong together.
    whole = source.kind == "pictures" and all(entry.group is None for entry in kept_files)
    return Samples(
        inputs,
        column([entry.label for entry in kept_files]),
        column([entry.anomalous for entry in kept_files]),
        None if whole else column([entry.group or entry.name for entry in kept_files]),
        column([entry.name for entry in kept_files]),
        name,
    )


def _inputs(file: Path, source: Source, front_end: FrontEnd | None) -> Array:
    """Return the samples of one file, [n, …]."""
    if source.kind == "pictures":
        assert source.size is not None and source.grey is not None  # noqa: S101, PT018 - resolved
        return read_picture(file, size=source.size, grey=source.grey)[None]
    if source.kind == "arrays":
        return read_array(file)[None]
    if source.kind == "tables":
        assert source.columns is not None  # noqa: S101 - resolved
        signal = read_signal(file, source.columns)
        rate = source.sample_rate or 1
        length = signal.shape[1] if source.window is None else max(1, round(source.window * rate))
        step = length if source.hop is None else max(1, round(source.hop * rate))
        if signal.shape[1] < max(length, 1):
            raise InputError(f"has {signal.shape[1]} rows, fewer than the {length} rows of a window")
        if not np.isfinite(signal).all():
            channel, row = np.argwhere(~np.isfinite(signal))[0]
            raise InputError(f"column {source.columns[channel]!r}, row {row + 1}: the value is NaN or infinite")
        return np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, ::step].swapaxes(0, 1).copy()
    if front_end is None:
        raise InputError("sounds need a front end; oddkind.train.frontends.make_front_end makes one")
    assert source.sample_rate is not None and source.window is not None and source.hop is not None  # noqa: S101, PT018
    cuts = windows(
        file,
        sample_rate=source.sample_rate,
        window=source.window,
        hop=source.hop,
        channels=source.channels,
        match_loudness=source.match_loudness,
    )
    return np.concatenate([front_end(cut.reshape(-1, cut.shape[2])).reshape(len(cut), -1) for cut in cuts])
