"""How a data set is read: settings that are saved with a model, so that later files are read in the same way."""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    model_validator,
)

from oddkind.errors import ConcernWarning, InputError
from oddkind.files.columns import find_columns, marked, only_value, read_clock
from oddkind.files.dialects import Dialect, sniff
from oddkind.files.durations import seconds_of
from oddkind.files.front_ends import FrontEnds
from oddkind.files.listing import Entry, entries, grouped, kind_of
from oddkind.files.npy import AS_RECORDING
from oddkind.files.pictures import Form, common_form, form_of, losses
from oddkind.files.remote import fetched_ahead
from oddkind.files.sounds import sample_rate_of, seconds_of_recording
from oddkind.files.tables import columns_of, count_rows
from oddkind.language import Message

T = TypeVar("T")

# As many pictures or sounds, evenly spread over a data set, determine how all are read.
MAX_EXAMINED_FILES = 1000
RECORDING = 1000  # so many numbers in a row are rather a recording than features

FrontEndName = Literal["log-mel", "spectrum", "envelope", "mel-spectrogram"]
# From this rate on, the rows of tables are samples of a vibration, whose spectrum says more than its values.
LEAST_RATE_OF_VIBRATION = 1000
# Windows of this many rows are read if tables differ in length, or of fewer if more than this part of them is shorter.
WINDOW_ROWS, MAX_SHORTER = 64, 0.1
# Windows of sound are this long; if more than `MAX_SHORTER` of the recordings are shorter, each recording is a window,
# of the length of the longest one, but at most so long, in seconds.
WINDOW_SECONDS, LONGEST_CLIP = 1.0, 2.0

# Settings of how files are listed, not of how they are read.
LISTED = {"pattern", "label", "group", "normal", "machine"}
# Settings that are lengths of time.
DURATIONS = {"window", "hop", "block"}
# Which settings suit which kind of files.
SUITS = {
    "sounds": {"sample_rate", "window", "hop", "short", "block", "channels", "front_end", "match_loudness"},
    "pictures": {"size", "grey", "pages"},
    "tables": {
        *("columns", "time", "truth", "missing", "window", "hop", "block", "sample_rate", "front_end"),
        *("encoding", "delimiter", "decimal", "header", "skip_rows", "units_rows"),
    },
    "arrays": set(),
}


def _delimiter(name: Any) -> Any:
    """Return the delimiter for a name of one that is hard to type."""
    return "\t" if name in ("tab", "\\t") else name


def _rate(rate: float | str | None) -> float | str | None:
    if not isinstance(rate, str | None) and not 0 < rate <= 10_000_000:
        raise ValueError("must be above 0 and at most 10,000,000")
    return rate


def _known_encoding(name: str) -> str:
    try:
        "a".encode(name)  # not decoding: in UTF-16 a letter has two bytes
    except (LookupError, ValueError):
        raise ValueError("this encoding is not known; utf-8, cp949 and latin-1 are") from None
    return name


class Source(BaseModel):
    """How files are read. `resolved` determines what is None from the files.

    Attributes
    ----------
    kind : "sounds", "pictures", "tables" or "arrays"
    pattern, label, group, normal, machine : str or None
        See `oddkind.files.listing.entries`.
    sample_rate : number, "clock" or None
        In Hz. Sounds at another rate are resampled; None: the rate of most files. Arrays with a sample rate are read as
        sounds, as are files of arrays that state one. Tables: rows per second; "clock": as the column of time says;
        None: windows are counted in rows.
    window, hop : float or None
        Length of a window and step between two windows, in seconds; in rows for tables without a rate. None: 1 second
        for sounds and vibration; for other tables the whole file if all have the same length, otherwise 64 rows; less
        if more than a tenth of the tables is shorter. If more than a tenth of the recordings is shorter than 1 second,
        the length of the longest, at most 2 seconds. A step as long as the window.
    short : "pad", "refuse" or None
        What is done with recordings that are shorter than a window: silence is added at the end, or they are not read.
        None: pad if the window has the length of the longest recording, otherwise refuse.
    block : float, "none" or None
        Length of the parts into which files are cut, in the unit of `window`: see `oddkind.files.blocks`. None: chosen
        if there are few and long files; "none", and once resolved None: files are not cut.
    channels : tuple of int or None
        The channels of a sound to keep, counted from 1; None: the mean of all.
    front_end : tuple of str or None
        What a window of sound or each column of a window of a table is turned into: keys of
        `oddkind.files.front_ends.FRONT_ENDS`, concatenated; "mel-spectrogram" stands alone. () and ("none",): the
        values of a table are read as they are. None: ("log-mel",) for sounds (`oddkind.fit_files` may choose another),
        ("spectrum",) for tables with at least 1,000 rows per second, otherwise ().
    match_loudness : bool
        Make all windows of sound equally loud, if the distance to the microphone must not matter.
    size : (height, width) or None
        Size to which pictures are resized, in pixels; None: 64 × 64.
    grey : bool or None
        Drop colours; None: only if no picture has any.
    value_range : (low, high) or None
        The range of the values of pictures with more than 8 bits, which are read as floats, and this range as 0 … 1.
        None: most pictures have 8 bits.
    pages : "first", "all" or None
        What is read of pictures with several pages; "all": each is a sample. None: the first.
    columns : tuple of str or None
        Columns of tables; None: those that `oddkind.files.columns.find_columns` takes for sensors.
    time, truth : str or None
        The columns of tables that hold the time and mark anomalous rows. None: found by name and values; "none": there
        is none. A file with a marked row is anomalous, if nothing else is known about it.
    missing : "refuse", "drop-window", "interpolate" or None
        What is done with a table that lacks values. None: refuse.
    encoding, delimiter, decimal, header, skip_rows, units_rows
        How CSV files are written: `oddkind.files.dialects.Dialect`. None: found out; once resolved, its defaults.
    left_out : dict or None
        Found by `resolved`: each column of tables that is not read, and why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sounds", "pictures", "tables", "arrays"]
    pattern: str | None = None
    label: str | None = None
    group: str | None = None
    normal: str | None = None
    machine: str | None = None
    sample_rate: Annotated[int | float | Literal["clock"] | None, AfterValidator(_rate)] = None
    window: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    hop: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    short: Literal["pad", "refuse"] | None = None
    block: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["none"] | None = None
    channels: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=1)
    front_end: tuple[FrontEndName | Literal["none"], ...] | None = None
    match_loudness: bool = False
    size: tuple[Annotated[int, Field(ge=8, le=4096)], Annotated[int, Field(ge=8, le=4096)]] | None = None
    grey: bool | None = None
    value_range: tuple[FiniteFloat, FiniteFloat] | None = None
    pages: Literal["first", "all"] | None = None
    columns: tuple[str, ...] | None = Field(None, min_length=1)
    time: str | None = None
    truth: str | None = None
    missing: Literal["refuse", "drop-window", "interpolate"] | None = None
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = None
    delimiter: Annotated[str, BeforeValidator(_delimiter), Field(pattern=r"^[^\r\n\"]$")] | None = None
    decimal: Literal[".", ","] | None = None
    header: bool | None = None
    skip_rows: Annotated[int, Field(ge=0, le=10_000)] | None = None
    units_rows: Annotated[int, Field(ge=0, le=100)] | None = None
    left_out: dict[str, str] | None = None

    @model_validator(mode="after")
    def _is_for_sounds(self) -> Self:
        if self.kind == "sounds" and not isinstance(self.sample_rate, int | None):
            raise ValueError(f"--sample-rate {self.sample_rate}: the rate of sounds is a whole number of Hz")
        return self

    @property
    def rate(self) -> float:
        """Samples or rows per second; 1 if it is not known, so that windows are counted in rows."""
        assert self.sample_rate != "clock"  # noqa: S101 - resolved
        return self.sample_rate or 1

    def window_samples(self, whole: int = 1) -> tuple[int, int]:
        """The length of a window and the step between two, in samples or rows; `whole` if a file is one window."""
        length = whole if self.window is None else max(1, round(self.window * self.rate))
        return length, length if self.hop is None else max(1, round(self.hop * self.rate))

    def make_front_end(self) -> FrontEnds | None:
        """Build the front end that resolved settings name; None if they name none.

        Raises
        ------
        InputError
            If the windows are too short for it.
        """
        if not self.front_end:
            return None
        if self.sample_rate is None or self.window is None:
            raise InputError("the settings name no sample rate or no window")
        return FrontEnds(self.front_end, self.rate, self.window_samples()[0])

    def entries(
        self, data: Path, *, follow: bool = False, only: Container[str] | None = None
    ) -> tuple[list[Entry], dict[str, str]]:
        """List the files of a data set: `oddkind.files.listing.entries`."""
        fields = {name: getattr(self, name) for name in LISTED}
        if self.kind != "tables":
            return entries(data, self.kind, **fields, follow=follow, only=only)
        files, refused = entries(data, self.kind, **fields | {"label": None}, follow=follow, only=only)
        if not files:
            return files, refused
        dialect = _dialect_of(self, files)
        if self.label is None or self.label not in columns_of(files[0].path, dialect):
            if self.label:
                files, refused = entries(data, self.kind, **fields, follow=follow, only=only)
            return [*_with_truth(self, files, dialect)], refused
        return [*_with_truth(self, [*_with_label(files, dialect, self.label)], dialect)], refused

    @property
    def dialect(self) -> Dialect:
        """How CSV files are written; the settings must be resolved."""
        known = {name: getattr(self, name) for name in Dialect.__dataclass_fields__}
        return Dialect(**{name: value for name, value in known.items() if value is not None})


def source_of(data: Path, *, follow: bool = False, **settings: Any) -> Source:
    """Return the settings for a data set; its kind is detected unless it is given.

    `follow` is no setting, as a saved model must not decide it: see `oddkind.files.listing.entries`.

    Raises
    ------
    InputError
        If a setting is out of range or does not apply to the kind of files.
    """
    settings = {name: value for name, value in settings.items() if value is not None}
    kind = settings.pop("kind", None) or kind_of(data, follow=follow)
    for name in DURATIONS & settings.keys():
        try:
            settings[name], in_time = settings[name], False
            if isinstance(settings[name], str) and settings[name] != "none":
                settings[name], in_time = seconds_of(settings[name])
        except ValueError as error:
            raise InputError(f"--{name} {settings[name]!r}: {error}") from error
        if in_time and kind == "tables":
            settings.setdefault("sample_rate", "clock")
    if kind == "arrays" and "sample_rate" in settings:
        kind = "sounds"  # signals at a sample rate
    try:
        source = Source.model_validate({"kind": kind} | settings)
    except ValidationError as error:
        first = error.errors()[0]
        what = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            what = f"--{str(first['loc'][0]).replace('_', '-')} {first['input']!r}: {what}"
        raise InputError(what) from error
    fits = SUITS[source.kind] | LISTED
    others = sorted(name for name, value in settings.items() if name not in fits and value is not False)
    if others:
        hint = f". {AS_RECORDING}" if source.kind == "arrays" and {*others} & SUITS["sounds"] else ""
        raise InputError(f"--{others[0].replace('_', '-')} does not apply to {source.kind}{hint}")
    return source


def like_recordings(source: Source, shape: Sequence[int]) -> str | None:
    """Say that arrays are compared number by number, though they are as long as recordings; None if they are not."""
    if source.kind != "arrays" or len(shape) != 1 or shape[0] < RECORDING:
        return None
    return Message(
        "each sample is a row of {n} numbers, which are compared one by one; if the rows are recordings, name their "
        "rate in Hz with --sample-rate",
        n=shape[0],
    )


def changed(source: Source, settings: Mapping[str, object]) -> Source:
    """Return settings, some of them changed; None changes nothing."""
    return source.model_copy(update={name: value for name, value in settings.items() if value is not None})


def resolved(source: Source, files: Sequence[Entry]) -> Source:
    """Determine the settings that are None, from files that are evenly spread over the data set.

    What pictures lose by these settings is a `ConcernWarning`.

    Raises
    ------
    InputError
        If no file can be read.
    """
    if source.kind == "tables":
        return _for_tables(source, files)
    if source.kind == "arrays" and files:
        return source
    if source.kind == "sounds" and source.sample_rate is not None and files:
        return _for_sounds(source, files, source.rate)
    look = form_of if source.kind == "pictures" else sample_rate_of
    found: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    for examined in (_spread(files), files):
        if not found and len(reasons) < len(examined):
            found, reasons = looks(examined, look)
    if found and source.kind == "pictures":
        return _for_pictures(source, found)
    if found:  # the rate of most; of the first, if several are equally frequent
        return _for_sounds(source, files, Counter(found.values()).most_common(1)[0][0])
    raise InputError(f"none of {len(files)} {source.kind} can be read; {grouped(reasons) or 'there are no files'}")


def _for_sounds(source: Source, files: Sequence[Entry], rate: float) -> Source:
    """Determine the rate, the window and the front end of sounds, and warn if short recordings are padded."""
    window, short = source.window or WINDOW_SECONDS, source.short
    if source.window is None and source.short != "refuse":
        lengths = [*looks(_spread(files), partial(seconds_of_recording, sample_rate=rate))[0].values()]
        shorter = sum(length < WINDOW_SECONDS for length in lengths)
        if shorter > MAX_SHORTER * len(lengths):
            window, short = min(math.ceil(10 * max(lengths)) / 10, LONGEST_CLIP), "pad"
            warnings.warn(
                f"{shorter} of {len(lengths)} recordings are shorter than {WINDOW_SECONDS:g} s, so a window is "
                f"{window:g} s long, and shorter recordings are padded with silence; --window and --short decide",
                ConcernWarning,
                stacklevel=3,
            )
    chosen = {"sample_rate": rate, "window": window, "hop": source.hop or window, "short": short}
    return source.model_copy(update=chosen | {"front_end": source.front_end or ("log-mel",)})


def looks(files: Sequence[Entry], look: Callable[[Path], T]) -> tuple[dict[str, T], dict[str, str]]:
    """Look at each file; return by name what was found, and of those that cannot be read the reason."""

    def one(entry: Entry) -> tuple[T | None, str]:
        try:
            return look(entry.path), ""
        except InputError as error:
            return None, str(error)

    coming = fetched_ahead(files, lambda entry: entry.path)
    with ThreadPoolExecutor(processors()) as pool:
        every = dict(
            zip(
                (entry.name for entry in files),
                pool.map(one, coming),
                strict=True,
            )
        )
    found = {name: what for name, (what, _) in every.items() if what is not None}
    return found, {name: reason for name, (what, reason) in every.items() if what is None}


def _for_pictures(source: Source, forms: Mapping[str, Form]) -> Source:
    """Determine size, colours and range of values, and warn of what is lost."""
    grey, value_range = common_form([*forms.values()])
    grey = grey if source.grey is None else source.grey
    known = source.model_copy(update={"size": source.size or (64, 64), "grey": grey, "value_range": value_range})
    for kind, message in lost(known, forms):
        if kind != "colours" or source.grey is None:
            warnings.warn(message, ConcernWarning, stacklevel=3)
    return known


def warn_of_losses(source: Source, files: Sequence[Entry]) -> None:
    """Warn of what new pictures lose when they are read as those that were learnt from (`ConcernWarning`)."""
    if source.kind != "pictures":
        return
    forms = looks(_spread(files), form_of)[0]
    found = [message for _, message in lost(source, forms)]
    if forms and source.grey is False and not any(form.coloured for form in forms.values()):
        found.append(f"none of {len(forms)} pictures has colours, unlike those that the model learnt from")
    for message in found:
        warnings.warn(f"{message}. New pictures are read as 'oddkind fit' read its own", ConcernWarning, stacklevel=2)


def lost(source: Source, forms: Mapping[str, Form]) -> Sequence[tuple[str, str]]:
    """Describe what pictures lose by resolved settings: `oddkind.files.pictures.losses`."""
    assert source.grey is not None  # noqa: S101 - resolved
    return losses(forms, grey=source.grey, value_range=source.value_range, all_pages=source.pages == "all")


def _for_tables(source: Source, files: Sequence[Entry]) -> Source:
    """Determine how CSV files are written, which columns are sensors, time and truth, and the length of windows."""
    dialect = _dialect_of(source, files)
    written = {} if all(entry.path.suffix.lower() == ".parquet" for entry in files) else vars(dialect)
    tables = [(entry.name, entry.path) for entry in files]
    found = find_columns(
        tables, dialect, columns=source.columns, time=source.time, truth=source.truth, label=source.label
    )
    known: dict[str, Any] = {
        "columns": found.sensors,
        "time": found.time,
        "truth": found.truth,
        "left_out": found.left_out,
    }
    if source.sample_rate == "clock":
        known["sample_rate"] = rate_of_clock(files, dialect, found.time)
    source = source.model_copy(update=written | known)
    front_end = source.front_end
    if front_end is None:
        front_end = ("spectrum",) if source.rate >= LEAST_RATE_OF_VIBRATION else ()
    source = source.model_copy(update={"front_end": () if "none" in (front_end or ()) else front_end})
    if source.front_end and source.sample_rate is None:
        raise InputError(
            "--front-end needs the number of rows per second: name it with --sample-rate, or as 'clock' if a column "
            "holds the time"
        )
    if source.window is None:
        counted = looks(_spread(files), lambda file: count_rows(file, dialect))[0].values()
        lengths = [length for length in counted if length]
        usual = round(source.rate) if source.front_end else WINDOW_ROWS
        if lengths and (source.front_end or len({*lengths}) > 1):
            shortest = int(np.quantile(lengths, MAX_SHORTER, method="lower"))
            source = source.model_copy(update={"window": min(usual, shortest) / source.rate})
    return source.model_copy(update={"hop": source.hop or source.window})


def rate_of_clock(files: Sequence[Entry], dialect: Dialect, column: str | None) -> float:
    """Return the number of rows per second that a column of time says, the usual one of all files.

    Raises
    ------
    InputError
        If there is no such column, or its unit is not known.
    """
    tables = [(entry.name, entry.path) for entry in _spread(files)]
    clock = None if column in (None, "none") else read_clock(tables, dialect, str(column))
    if clock is None or not clock.step:
        if column in (None, "none"):
            why = "no column is time"
        elif clock is None:
            why = f"the time in column {column!r} is not written in a way that can be read"
        else:
            why = f"the unit of column {column!r} is not known"
        raise InputError(f"{why}, so lengths of time cannot be used; name the rows per second with --sample-rate")
    return 1 / float(f"{clock.step:.9g}")


def _spread(files: Sequence[Entry]) -> Sequence[Entry]:
    """Return at most `MAX_EXAMINED_FILES` files, evenly spread."""
    return files[:: 1 + len(files) // MAX_EXAMINED_FILES]


def _dialect_of(source: Source, files: Sequence[Entry]) -> Dialect:
    given = {name: getattr(source, name) for name in Dialect.__dataclass_fields__}
    return sniff([entry.path for entry in files], **given)


def _with_label(files: Sequence[Entry], dialect: Dialect, column: str) -> Iterator[Entry]:
    """Take the label of each table from the one value of a column."""
    for entry in files:
        try:
            label = only_value(entry.path, dialect, column)
        except InputError as error:
            raise InputError(f"{entry.name}: {error}") from error
        taken = *(pair for pair in entry.taken if pair[0] != "no folder"), (f"column {column}", f"label {label}")
        yield replace(entry, label=label, taken=taken)


def _with_truth(source: Source, files: Sequence[Entry], dialect: Dialect) -> Iterator[Entry]:
    """Take from the column of truth whether a table is anomalous, if that is not known."""

    def one(entry: Entry) -> Entry:
        marks = None
        if entry.anomalous is None and source.truth != "none":
            with suppress(InputError):  # reading names what is wrong
                marks = marked(entry.path, dialect, source.truth)
        if marks is None:
            return entry
        column, odd = marks
        taken = f"column {column}", "a marked row: an anomalous file" if odd else "no marked row: a normal file"
        return replace(
            entry, anomalous=odd, truth=column, taken=(*(pair for pair in entry.taken if pair[0] != "no folder"), taken)
        )

    with ThreadPoolExecutor(processors()) as pool:
        yield from pool.map(one, files)


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
