"""Long files, cut into blocks of time: each block is judged like a file.

A log of weeks in one file is one group, from which nothing can be held out. Its blocks are groups of their own. Between
the blocks that are learnt from or held out lies a gap, because moments that are close in time are alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from oddkind.errors import InputError
from oddkind.files.columns import marks_of
from oddkind.files.durations import clock, in_words
from oddkind.files.listing import Entry
from oddkind.files.sounds import n_samples_of
from oddkind.files.source import WINDOW_ROWS, Source, looks, rate_of_clock
from oddkind.files.tables import count_rows, read_table

# Blocks are chosen to be so long that there are this many times as many as the false-alarm rate needs held out.
TIMES_NEEDED = 4
MIN_WINDOWS = 5  # in a block
MIN_ROWS = 4  # in a window
GAP = 0.1  # of a block, but at least a window
ROUND_SECONDS = (
    *(0.1, 0.2, 0.5, 1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 180, 300, 600, 900, 1200, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800),
)


def with_blocks(source: Source, files: Sequence[Entry], min_groups: int) -> Source:
    """Decide whether files are cut into blocks, given resolved settings and the files that are learnt from.

    `source.block` decides. If it is None, a single file is cut, if it is long enough for four times as many blocks as
    the fewest groups, `min_groups`, that promise a false-alarm rate. Blocks are then the longest usual length of time
    that gives so many, and windows of tables are a tenth of a block, at most 64 rows. Several files are not cut unless
    that is asked for: two blocks of one recording are more alike than two recordings, so the promise might not hold for
    a new recording.

    Raises
    ------
    InputError
        If a block is shorter than a window.
    """
    asked = source.block not in (None, "none")
    if source.kind not in ("sounds", "tables") or not (asked or (source.block is None and len(files) == 1)):
        return source.model_copy(update={"block": None})
    if isinstance(source.block, float | int):
        span = round(source.block * source.rate)
        if source.window is None:
            source = _with_window(source)
        if span < (length := source.window_samples()[0]):
            raise InputError(f"--block is {span} samples long, shorter than a window of {length}; make it longer")
        return source
    if source.window is None and source.sample_rate is None and source.time not in (None, "none"):
        with suppress(InputError):  # blocks are then counted in rows
            source = source.model_copy(update={"sample_rate": rate_of_clock(files, source.dialect, source.time)})
    lengths, _ = looks(files, lambda file: _n_samples(file, source))
    for usual in reversed(_usual(source)):
        candidate = source.model_copy(update={"block": usual / source.rate})
        if source.window is None:
            candidate = _with_window(candidate)
        length, step = candidate.window_samples()
        count = sum(len(_spans((n - length) // step + 1, candidate, apart=True)) for n in lengths.values())
        if length >= MIN_ROWS and _n_windows(candidate) >= MIN_WINDOWS and count >= TIMES_NEEDED * min_groups:
            return candidate
    return source


def in_blocks(files: Sequence[Entry], source: Source, *, apart: bool) -> list[Entry]:
    """Cut files into blocks, if the settings say so; each has the number of its windows in `Entry.windows`.

    With `apart` there is a gap between two blocks, and what is left at the end is not used. Otherwise every window is
    in a block, and the last one begins earlier, so that all are equally long. A block of a table whose rows are marked
    (`Entry.truth`) is anomalous if one of its own rows is. Files that cannot be read stay whole.
    """
    if source.block is None:
        return [*files]
    length, step = source.window_samples()
    found = []
    for entry in files:
        try:
            spans = _spans((_n_samples(entry.path, source) - length) // step + 1, source, apart=apart)
            found += [*_blocks(entry, source, spans)] if spans else [entry]
        except InputError:  # reading names what is wrong
            found.append(entry)
    return found


def block_samples(source: Source) -> tuple[int, int]:
    """Return the length of a block in samples or rows, and the step from one to the next without a gap."""
    length, step = source.window_samples()
    n = _n_windows(source)
    return (n - 1) * step + length, n * step


def cutting(source: Source, n_files: int, n_blocks: int) -> str:
    """Explain how files are cut into blocks for learning."""
    assert isinstance(source.block, float | int)  # noqa: S101 - there are blocks
    gap = _gap(source, _n_windows(source)) * source.window_samples()[1] / source.rate
    files = "1 file is" if n_files == 1 else f"{n_files} files are"
    return (
        f"{files} cut into {n_blocks} blocks of {_long(source, source.block)}, with gaps of {_long(source, gap)} that "
        "are not used between them; each block is judged like a file. --block changes the length, and --block none "
        "cuts nothing"
    )


def _spans(count: int, source: Source, *, apart: bool) -> list[tuple[int, int]]:
    """Return the first window of each block of a file with `count` windows, and the one after its last."""
    n = min(_n_windows(source), max(0, count))
    starts = range(0, count - n + 1, n + _gap(source, n)) if apart else range(0, count, n) if n else ()
    return [(min(start, count - n), min(start, count - n) + n) for start in starts if n]


def _blocks(entry: Entry, source: Source, spans: Sequence[tuple[int, int]]) -> Iterator[Entry]:
    """Return the blocks of a file, given their windows."""
    length, step = source.window_samples()
    rows = [(start * step, (stop - 1) * step + length) for start, stop in spans]
    marks = None if entry.truth is None else marks_of(entry.path, source.dialect, entry.truth)
    for span, (begin, end), when in zip(spans, rows, _times(entry, source, rows), strict=True):
        block = replace(entry, name=f"{entry.name}, {when}", windows=span)
        yield block if marks is None else replace(block, anomalous=bool(marks[begin:end].any()))


def _times(entry: Entry, source: Source, rows: Sequence[tuple[int, int]]) -> list[str]:
    """Describe when each block begins and ends: by its column of time, by the rate, or by rows counted from 1."""
    counted = [f"rows {begin + 1}–{end}" for begin, end in rows]
    if source.kind == "tables" and source.time not in (None, "none"):
        column = read_table(entry.path, source.dialect, [str(source.time)])[str(source.time)]
        if pa.types.is_temporal(column.type):
            stamps = [_stamps(str(column[begin].as_py()), str(column[end - 1].as_py())) for begin, end in rows]
            return stamps if len({*stamps}) == len(stamps) else counted
    if source.sample_rate is None:
        return counted
    return [f"{clock(begin / source.rate)}–{clock(end / source.rate)}" for begin, end in rows]


def _stamps(begin: str, end: str) -> str:
    """Join two moments; a day that both have is written once."""
    return f"{begin}–{end[11:] if begin[:11] == end[:11] else end}"


def _n_windows(source: Source) -> int:
    """Return the number of windows in a block."""
    assert isinstance(source.block, float | int)  # noqa: S101 - there are blocks
    length, step = source.window_samples()
    return max(1, (round(source.block * source.rate) - length) // step + 1)


def _gap(source: Source, n_windows: int) -> int:
    """Return the number of windows between two blocks: none of them overlaps both."""
    length, step = source.window_samples()
    return -(-length // step) - 1 + max(1, int(GAP * n_windows))


def _n_samples(file: Path, source: Source) -> int:
    return count_rows(file, source.dialect) if source.kind == "tables" else n_samples_of(file, int(source.rate))


def _with_window(source: Source) -> Source:
    """Choose windows that are short compared with a block."""
    assert isinstance(source.block, float | int)  # noqa: S101 - there are blocks
    rows = max(1, min(WINDOW_ROWS, round(source.block * source.rate) // (2 * MIN_WINDOWS)))
    window = rows / source.rate
    return source.model_copy(update={"window": window, "hop": source.hop or window})


def _usual(source: Source) -> Sequence[float]:
    """Return usual lengths of blocks in samples or rows, in increasing order."""
    if source.sample_rate is None:
        return [digit * 10**power for power in range(1, 10) for digit in (1, 2, 3, 4, 5, 6, 8)]
    return [seconds * source.rate for seconds in ROUND_SECONDS]


def _long(source: Source, length: float) -> str:
    return f"{length:g} rows" if source.sample_rate is None else in_words(round(length, 3))
