"""Files read with resolved settings: one by one, or all into `Samples`."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array, to_memmap
from oddkind.errors import InputError
from oddkind.files.cache import cached
from oddkind.files.listing import Entry, grouped
from oddkind.files.npy import read_array
from oddkind.files.pictures import read_picture
from oddkind.files.remote import fetched_ahead
from oddkind.files.sounds import windows
from oddkind.files.source import LISTED, Source, processors
from oddkind.files.tables import read_signal
from oddkind.samples import Samples

# Increase it when files are read differently, so that what a cache holds is read again.
CACHE_VERSION = 5


def each(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    front_end: Callable[[Array], Array] | None = None,
) -> Iterator[tuple[Entry, Array | str]]:
    """Read files one by one with resolved settings: samples [n, …] of each, or the reason why it cannot be read.

    Sounds give vectors [n, D] or spectrograms [n, C, H, W], pictures [1, C, H, W], tables [n, C, T] or with a front end
    [n, C · D], arrays [1, …] as they are. Blocks of one file that follow each other are cut from what is read once.
    As many threads as there are processors read a few files ahead, because decoding and Fourier transforms release
    the interpreter lock. With a folder `cache`, what was read is kept there and looked up before a file is read; not
    with a `front_end` other than that of the settings.

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
    front_end = front_end or source.make_front_end()
    not_of_reading = LISTED | {"left_out", "time", "truth", "block"}
    key = f"{CACHE_VERSION} {source.model_dump_json(exclude=not_of_reading)}"

    def one(path: Path) -> Array | str:
        try:
            if cache is None:
                return _inputs(path, source, front_end)
            return cached(cache, path, key, lambda: _inputs(path, source, front_end))
        except InputError as error:
            return str(error)

    threads = processors()
    with ThreadPoolExecutor(threads) as pool:
        coming = fetched_ahead(files, lambda entry: entry.path)
        waiting = ((path, [*blocks]) for path, blocks in groupby(coming, key=lambda entry: entry.path))
        ahead = deque((blocks, pool.submit(one, path)) for path, blocks in islice(waiting, 4 * threads))
        try:
            while ahead:
                blocks, future = ahead.popleft()
                inputs = future.result()
                for entry in blocks:
                    yield entry, inputs if isinstance(inputs, str) else _block(inputs, entry, source)
                ahead.extend((blocks, pool.submit(one, path)) for path, blocks in islice(waiting, 1))
        finally:
            for _, future in ahead:
                future.cancel()


def _block(inputs: Array, entry: Entry, source: Source) -> Array | str:
    """Return the samples of an entry, given those of its file; without windows of tables that lack values."""
    if entry.windows is not None:
        inputs = inputs[slice(*entry.windows)]
    if source.kind != "tables":
        return inputs
    whole = ~np.isnan(inputs).reshape(len(inputs), -1).any(1)
    return inputs[whole] if whole.any() else f"a value is missing in each of its {len(inputs)} windows"


def read(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
    name: str = "samples",
) -> Samples:
    """Read files, as `each` does, into one `Samples`, whose inputs are on disk: they may be larger than memory.

    If only some files have a label, that of the others is ""; if the condition of only some is known, the others count
    as normal, because they would be learnt from.

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
    refused: dict[str, str] = {}
    kept_files: list[Entry] = []
    counts: list[int] = []

    def parts() -> Iterator[Array]:
        form: tuple[Any, tuple[int, ...]] | None = None
        for number, (entry, part) in enumerate(each(files, source, cache=cache), start=1):
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
                refused[entry.name] = part
                on_refused(entry.name, part)
            on_progress(number / len(files))
        if not counts:
            raise InputError(f"none of {len(files)} {source.kind} can be read; {grouped(refused) or 'there are none'}")

    inputs = to_memmap(parts())

    def column(values: list[Any], unknown: str | bool = "") -> Array | None:
        known = any(value is not None for value in values)
        return np.repeat([unknown if value is None else value for value in values], counts) if known else None

    # Pictures without groups are independent; windows or pages of one file belong together.
    whole = source.kind == "pictures" and all(entry.group is None for entry in kept_files) and max(counts) == 1
    return Samples(
        inputs,
        column([entry.label for entry in kept_files]),
        column([entry.anomalous for entry in kept_files], unknown=False),
        None if whole else column([entry.group or entry.name for entry in kept_files]),
        column([entry.name for entry in kept_files]),
        name,
    )


def _inputs(file: Path, source: Source, front_end: Callable[[Array], Array] | None) -> Array:
    """Return the samples of one file, [n, …]."""
    if source.kind == "pictures":
        assert source.size is not None and source.grey is not None  # noqa: S101, PT018 - resolved
        return read_picture(
            file,
            size=source.size,
            grey=source.grey,
            value_range=source.value_range,
            all_pages=source.pages == "all",
        )
    if source.kind == "arrays":
        return read_array(file)[None]
    if source.kind == "tables":
        found = _windows_of_table(file, source)
        return found if front_end is None else _described(found, front_end)
    assert source.window is not None and source.hop is not None and front_end is not None  # noqa: S101, PT018 - resolved
    cuts = windows(
        file,
        sample_rate=int(source.rate),
        window=source.window,
        hop=source.hop,
        channels=source.channels,
        match_loudness=source.match_loudness,
        pad=source.short == "pad",
    )
    return np.concatenate([_described(cut, front_end) for cut in cuts])


def _described(cut: Array, front_end: Callable[[Array], Array]) -> Array:
    """Turn windows [n, C, T] into vectors [n, C · D] or pictures [n, C, H, W]."""
    found = front_end(cut.reshape(-1, cut.shape[2]))
    return found.reshape(len(cut), -1, *found.shape[2:])


def kept_windows(entry: Entry, source: Source) -> Array:
    """Return the numbers of the windows of a sensor log that are read, because they have all their values, [n].

    They are counted from the start of the file, also if the entry is a block of it.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    found = _windows_of_table(entry.path, source)
    start, stop = entry.windows or (0, len(found))
    return start + np.flatnonzero(~np.isnan(found[start:stop]).any((1, 2)))


def _windows_of_table(file: Path, source: Source) -> Array:
    """Return all windows of a sensor log, [n, C, T], with its missing values treated as the settings say."""
    assert source.columns is not None  # noqa: S101 - resolved
    signal = read_signal(file, source.columns, source.dialect)
    n_rows = signal.shape[1]
    length, step = source.window_samples(n_rows)
    if n_rows < max(length, 1):
        raise InputError(f"has {n_rows} rows, fewer than the {length} rows of a window")
    if np.isinf(signal).any():
        channel, row = np.argwhere(np.isinf(signal))[0]
        raise InputError(f"column {source.columns[channel]!r}, row {row + 1}: the value is infinite")
    gaps = np.isnan(signal)
    if gaps.any() and source.missing in (None, "refuse"):
        channel, row = np.argwhere(gaps)[0]
        raise InputError(
            f"column {source.columns[channel]!r}, row {row + 1}: the value is missing (of {signal.size} values "
            f"{gaps.sum()} are); --missing drop-window or --missing interpolate reads the rest"
        )
    if gaps.any() and source.missing == "interpolate":
        if (empty := gaps.all(1)).any():
            raise InputError(f"column {source.columns[empty.argmax()]!r} has no values to interpolate between")
        for channel, lacks in zip(signal, gaps, strict=True):
            channel[lacks] = np.interp(lacks.nonzero()[0], (~lacks).nonzero()[0], channel[~lacks])
    return np.lib.stride_tricks.sliding_window_view(signal, length, axis=1)[:, ::step].swapaxes(0, 1)
