"""How a data set is read: settings that travel with a detector, so that what it is shown later is read the same way."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from oddkind.arrays import gathered, kept
from oddkind.checks import Concern, look
from oddkind.errors import ConcernWarning, InputError
from oddkind.files.listing import Entry, entries, kind_of
from oddkind.files.npy import read_array
from oddkind.files.pictures import is_grey, read_picture
from oddkind.files.sounds import rate_and_clipping, resampling, sample_rate_of, windows
from oddkind.files.tables import numbers_of, read_signal
from oddkind.samples import Array, Samples
from oddkind.train.frontends import FrontEnds

# To be raised when a file comes to be read otherwise: what a cache holds is then read anew.
READING = 1

# Which settings suit which kind of files.
SUITS = {
    "sounds": {"sample_rate", "window", "hop", "channels", "front_end", "match_loudness"},
    "pictures": {"size", "grey"},
    "tables": {"columns", "window", "hop", "sample_rate"},
    "arrays": set(),
}

# A recording clips where this part of it stands at full scale.
CLIPPED = 1e-4


class Source(BaseModel):
    """Settings of reading; what is None is found out from the files, by `resolved`.

    Attributes
    ----------
    kind : "sounds", "pictures", "tables" or "arrays"
    pattern, label, group, normal : str or None
        Where labels come from: see `oddkind.files.listing.entries`.
    sample_rate : int or None
        In Hz. Sounds at another rate are resampled; None: the first file's. Tables: rows a second; None: windows
        are counted in rows.
    window, hop : float or None
        Length of a window and the step between two, in seconds. Sounds: 1 and as long as the window; tables: the
        whole file.
    channels : tuple of int or None
        Which channels of a sound to keep, from 1; None: their mean.
    front_end : tuple of str
        What a window of sound is turned into: keys of `oddkind.train.frontends.FRONT_ENDS`, side by side.
    match_loudness : bool
        Make each window of sound equally loud, where the distance to the microphone must not count.
    size : (height, width) or None
        Of a picture, in pixels; None: 64 × 64.
    grey : bool or None
        Drop colours; None: if the first picture has none.
    columns : tuple of str or None
        Of a table; None: all that hold numbers in the first.
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
    front_end: tuple[str, ...] = ("log-mel",)
    match_loudness: bool = False
    size: tuple[Annotated[int, Field(ge=8, le=4096)], Annotated[int, Field(ge=8, le=4096)]] | None = None
    grey: bool | None = None
    columns: tuple[str, ...] | None = Field(None, min_length=1)

    def entries(self, data: Path) -> tuple[list[Entry], dict[str, str]]:
        """List the files of a data set: `oddkind.files.listing.entries`."""
        named = self.pattern, self.label, self.group, self.normal
        return entries(data, self.kind, **dict(zip(("pattern", "label", "group", "normal"), named, strict=True)))


def source_of(data: Path, **settings: Any) -> Source:
    """Make the settings for a data set, its kind found out unless named.

    Raises
    ------
    InputError
        Where a setting is out of range or does not suit the kind of files.
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
        raise InputError(f"--{others[0].replace('_', '-')} does not suit {source.kind}")
    if source.kind == "sounds":
        FrontEnds(source.front_end, 16000, 16000)  # refuses unknown names now, not after listing
    return source


def resolved(source: Source, files: Sequence[Entry]) -> Source:
    """Fill in what is None from the first file that can be read.

    Raises
    ------
    InputError
        Where none can.
    """
    why = "no files"
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


def each(files: Sequence[Entry], source: Source, *, cache: Path | None = None) -> Iterator[tuple[Entry, Array | str]]:
    """Read files one by one as resolved settings tell: samples [n, …] of each, or why it cannot be read.

    Sounds give vectors [n, D], pictures [1, C, H, W], tables [n, C, T], arrays [1, …] as they are.
    Files are read by as many threads as there are processors, a few ahead: decoding and Fourier transforms hold no
    lock. What was read is kept in the folder `cache`, if there is one, and looked for there first.

    Raises
    ------
    InputError
        Where `cache` is no folder that can be written to.
    """
    if cache is not None:
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=cache):
                pass
        except OSError as error:
            raise InputError(f"{cache}: cannot be written ({error.strerror}); name a cache folder that can") from error
    key = f"{READING} {source.model_dump_json(exclude={'pattern', 'label', 'group', 'normal'})}"
    front_end = None
    if source.kind == "sounds":
        assert source.sample_rate is not None and source.window is not None  # noqa: S101, PT018 - resolved
        front_end = FrontEnds(source.front_end, source.sample_rate, max(1, round(source.window * source.sample_rate)))

    def one(entry: Entry) -> Array | str:
        try:
            if cache is None:
                return _inputs(entry.path, source, front_end)
            return kept(cache, entry.path, key, lambda: _inputs(entry.path, source, front_end))
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
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    name: str = "samples",
) -> Samples:
    """Read files, as `each` does, into one record, its inputs on disk: there may be more than fit in memory.

    Parameters
    ----------
    cache : path or None
        As in `each`.
    on_refused : callable (name, reason) or None
        Told of each file that cannot be read; None: the first ends it all.

    Raises
    ------
    InputError
        Where no file can be read, or one cannot and nobody asks to be told.
    """
    kept_files: list[Entry] = []
    counts: list[int] = []

    def parts() -> Iterator[Array]:
        form: tuple[Any, tuple[int, ...]] | None = None
        for number, (entry, part) in enumerate(each(files, source, cache=cache), start=1):
            if not isinstance(part, str) and form not in (None, (part.dtype, part.shape[1:])):
                assert form is not None  # noqa: S101 - as it says
                part = f"gives {part.dtype} samples of shape {part.shape[1:]}; those before it {form[0]} {form[1]}"
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

    inputs = gathered(parts())

    def column(values: list[Any]) -> Array | None:
        return None if None in values else np.repeat(np.array(values), counts)

    # A picture without a group stands for itself; windows of one file belong together.
    whole = source.kind == "pictures" and all(entry.group is None for entry in kept_files)
    return Samples(
        inputs,
        column([entry.label for entry in kept_files]),
        column([entry.anomalous for entry in kept_files]),
        None if whole else column([entry.group or entry.name for entry in kept_files]),
        column([entry.name for entry in kept_files]),
        name,
    )


def check_files(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Read every file and count what is there: the settings they were read with, a row a kind of file, and concerns.

    Returns
    -------
    dict
        "settings": as in `Source`; "parts": a list of dicts split, label, condition, files, groups, samples;
        "concerns": a list of dicts kind, message: what `oddkind.checks.look` finds doubtful, and recordings that clip
        or are resampled.
    """
    source = resolved(source, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # told below
        samples = read(files, source, cache=cache, on_refused=on_refused, on_progress=on_progress)
    assert samples.files is not None  # noqa: S101 - read fills it in
    by_name = {entry.name: entry for entry in files}
    n_of = dict(zip(*np.unique(samples.files, return_counts=True), strict=True))
    counts: Counter[tuple[str | None, str | None, str | None]] = Counter()
    n_samples: Counter[tuple[str | None, str | None, str | None]] = Counter()
    groups: dict[tuple[str | None, str | None, str | None], set[str]] = {}
    for name, n in n_of.items():
        entry = by_name[str(name)]
        condition = {None: None, True: "anomalous", False: "normal"}[entry.anomalous]
        key = entry.split, entry.label, condition
        counts[key] += 1
        n_samples[key] += int(n)
        groups.setdefault(key, set()).add(entry.group or entry.name)
    names = "split", "label", "condition", "files", "groups", "samples"
    keys = sorted(counts, key=lambda key: [part or "" for part in key])
    rows = [(*key, counts[key], len(groups[key]), n_samples[key]) for key in keys]
    concerns = look(samples, np.array([by_name[str(name)].split or "" for name in samples.files]))
    if source.kind == "sounds":
        concerns += _of_recordings([by_name[str(name)] for name in n_of], source)
    return {
        "settings": source.model_dump(mode="json"),
        "parts": [dict(zip(names, row, strict=True)) for row in rows],
        "concerns": [vars(concern) for concern in concerns],
    }


def _of_recordings(files: Sequence[Entry], source: Source) -> list[Concern]:
    """What only the recordings themselves tell: that some clip, or are at other rates and resampled."""
    assert source.sample_rate is not None  # noqa: S101 - resolved
    found = {entry.name: rate_and_clipping(entry.path) for entry in files}
    clipped = [name for name, (_, part) in found.items() if part >= CLIPPED]
    rates = Counter(rate for rate, _ in found.values() if rate != source.sample_rate)
    concerns = []
    if clipped:
        message = f"{len(clipped)} of {len(files)} recordings clip at full scale: {', '.join(clipped[:5])}"
        concerns.append(Concern("clipped", message + (", …" if len(clipped) > 5 else "")))
    for rate, count in sorted(rates.items()):
        message = f"{count} of {len(files)} recordings {resampling(rate, source.sample_rate)}"
        concerns.append(Concern("resampled", message))
    return concerns


def _inputs(file: Path, source: Source, front_end: FrontEnds | None) -> Array:
    """Samples of one file, [n, …]."""
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
            raise InputError(f"{signal.shape[1]} rows; a window is {length}")
        if not np.isfinite(signal).all():
            channel, row = np.argwhere(~np.isfinite(signal))[0]
            raise InputError(f"column {source.columns[channel]!r}, row {row + 1}: NaN or infinite")
        return np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, ::step].swapaxes(0, 1).copy()
    assert front_end is not None  # noqa: S101 - made by read
    assert source.sample_rate is not None and source.window is not None and source.hop is not None  # noqa: S101, PT018
    cuts = windows(
        file,
        sample_rate=source.sample_rate,
        window=source.window,
        hop=source.hop,
        channels=source.channels,
        match_loudness=source.match_loudness,
    )
    with torch.inference_mode():
        return np.concatenate([front_end(torch.from_numpy(cut).flatten(0, 1)).view(len(cut), -1) for cut in cuts])
