"""What a data set contains, and what is doubtful about it, before anything is learnt."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.checks import Issue, check_data
from oddkind.errors import ConcernWarning
from oddkind.files.blocks import cutting, in_blocks, with_blocks
from oddkind.files.columns import LARGEST_STEP, read_clock
from oddkind.files.listing import Entry, labelled
from oddkind.files.pictures import form_of
from oddkind.files.reading import read
from oddkind.files.sounds import is_array, look_at, resampling
from oddkind.files.source import Source, like_recordings, looks, lost, resolved
from oddkind.files.tables import read_signal
from oddkind.language import Message
from oddkind.model.conformal import min_calibration_size
from oddkind.naming import first_names

# The false-alarm rate for which files are cut into blocks, as by default in `fit`.
USUAL_RATE = 0.05
# A recording clips if at least this fraction of it is at full scale.
CLIPPED = 1e-4


def check_files(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Read every file, count the files of each split, label and condition, and look for issues.

    Returns
    -------
    dict
        "taken": a list of dicts found, taken_for, files: what was found in names, folders or a manifest, and what it
        was taken for; "settings": those of `Source` with which the files were read; "row_interval": the usual time
        between two rows of tables in seconds, or None; "left_out": a list of dicts column, reason: columns of tables
        that are not read; "parts": a list of dicts split, label, condition, files, groups, samples; "issues": a list of
        dicts kind, message: what `oddkind.check_data` finds doubtful, what recordings and pictures lose, and where
        the time of tables goes back or has gaps.
    """
    chosen, files = source, labelled(files, on_refused)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # reported below
        # As `fit` does, from the files that may be learnt from, so that both read alike.
        normal = [entry for entry in files if entry.anomalous is not True and entry.split != "test"] or files
        source = with_blocks(resolved(source, normal), normal, min_calibration_size(USUAL_RATE))
        whole, files = files, in_blocks(files, source, apart=True)
        samples = read(files, source, cache=cache, on_refused=on_refused, on_progress=on_progress)
    assert samples.files is not None  # noqa: S101 - read fills it in
    by_name = {entry.name: entry for entry in files}
    n_of = dict(zip(*np.unique(samples.files, return_counts=True), strict=True))
    paths: dict[tuple[str | None, str | None, str | None], set[Path]] = {}
    n_samples: Counter[tuple[str | None, str | None, str | None]] = Counter()
    groups: dict[tuple[str | None, str | None, str | None], set[str]] = {}
    for name, n in n_of.items():
        entry = by_name[str(name)]
        condition = {None: None, True: "anomalous", False: "normal"}[entry.anomalous]
        key = entry.split, entry.label, condition
        paths.setdefault(key, set()).add(entry.path)
        n_samples[key] += int(n)
        groups.setdefault(key, set()).add(entry.group or entry.name)
    names = "split", "label", "condition", "files", "groups", "samples"
    keys = sorted(paths, key=lambda key: [part or "" for part in key])
    rows = [(*key, len(paths[key]), len(groups[key]), n_samples[key]) for key in keys]
    splits = np.array([by_name[str(name)].split or "" for name in samples.files])
    # A normal file of the test split may have no label.
    nameless = np.zeros(len(samples), bool) if samples.labels is None else samples.labels == ""
    if samples.anomalous is not None:
        nameless &= ~samples.anomalous
    issues = check_data(*((samples[~nameless], splits[~nameless]) if nameless.any() else (samples, splits)))
    there = {by_name[str(name)].path for name in n_of}
    taken = Counter(pair for entry in whole for pair in entry.taken)
    whole = [entry for entry in whole if entry.path in there]
    if source.kind == "sounds":
        issues += _of_recordings(whole, source)
    if source.kind == "pictures":
        issues += _of_pictures(whole, source, grey_was_chosen=chosen.grey is not None)
    clock, late = _of_time(whole, source)
    issues += late + _of_gaps(whole, source)
    issues += _of_lengths(whole, chosen, source, len(n_of), samples.inputs.shape[1:])
    return {
        "taken": [{"found": found, "taken_for": meant, "files": n} for (found, meant), n in sorted(taken.items())],
        "settings": source.model_dump(mode="json", exclude={"left_out"}),
        "row_interval": clock,
        "left_out": [{"column": column, "reason": reason} for column, reason in (source.left_out or {}).items()],
        "parts": [dict(zip(names, row, strict=True)) for row in rows],
        "issues": [vars(issue) for issue in issues],
    }


def _of_lengths(
    files: Sequence[Entry], chosen: Source, source: Source, n_blocks: int, shape: Sequence[int]
) -> list[Issue]:
    """Name the lengths of samples [shape], windows and blocks that were chosen because none were given."""
    found = []
    if (doubt := like_recordings(source, shape)) is not None:
        found.append(Issue("recordings", doubt))
    if source.kind == "tables" and source.window is None and not source.front_end:
        message = (
            f"each file is one sample of {shape[-1]} rows, because all files have the same length; --window cuts them"
        )
        found.append(Issue("window", message))
    if source.kind == "tables" and source.window is not None and chosen.window is None:
        length, _ = source.window_samples()
        message = (
            f"windows of {length} rows are read, because the files are not windows of one length; --window decides"
        )
        found.append(Issue("window", message))
    if source.short == "pad":
        message = (
            f"a window is {source.window:g} s long, and shorter recordings are padded with silence; --window and "
            "--short decide"
        )
        found.append(Issue("window", message))
    if source.block is not None:
        found.append(Issue("blocks", cutting(source, len(files), n_blocks)))
    return found


def _of_time(files: Sequence[Entry], source: Source) -> tuple[float | None, list[Issue]]:
    """Return the usual time between two rows of tables, in seconds, and where the time goes back or has gaps."""
    if source.kind != "tables" or source.time in (None, "none"):
        return None, []
    clock = read_clock([(entry.name, entry.path) for entry in files], source.dialect, str(source.time))
    if clock is None:
        return None, []
    found = []
    if names := clock.goes_back:
        text = Message(
            "in column {column!r} time goes back in {n} of {files} files, such as {name}",
            column=source.time,
            n=len(names),
            files=len(files),
            name=names[0],
        )
        found.append(Issue("time", text))
    if names := clock.gaps:
        text = Message(
            "in column {column!r} time has gaps of more than {steps} usual steps, so windows join moments that were "
            "apart, in {n} of {files} files, such as {name}",
            column=source.time,
            steps=LARGEST_STEP,
            n=len(names),
            files=len(files),
            name=names[0],
        )
        found.append(Issue("time", text))
    return clock.step, found


def _of_gaps(files: Sequence[Entry], source: Source) -> list[Issue]:
    """Count the missing values of tables, if they are not refused for them."""
    if source.kind != "tables" or source.missing in (None, "refuse") or source.columns is None:
        return []
    missing = {entry.name: np.isnan(read_signal(entry.path, source.columns, source.dialect)).sum() for entry in files}
    lacking = [name for name, count in missing.items() if count]
    if not lacking:
        return []
    values = {"n": sum(missing.values()), "lacking": len(lacking), "files": len(files), "name": lacking[0]}
    if source.missing == "interpolate":
        message = Message("{n} values in {lacking} of {files} files are interpolated, such as in {name}", **values)
    else:
        message = Message(
            "{n} values in {lacking} of {files} files are missing, and their windows are left out, such as in {name}",
            **values,
        )
    return [Issue("missing", message)]


def _of_pictures(files: Sequence[Entry], source: Source, *, grey_was_chosen: bool) -> list[Issue]:
    """Look for what pictures lose when they are read."""
    found = lost(source, looks(files, form_of)[0])
    return [Issue(kind, message) for kind, message in found if kind != "colours" or not grey_was_chosen]


def _of_recordings(files: Sequence[Entry], source: Source) -> list[Issue]:
    """Look for recordings that clip, are silent, lose their channels, or have another rate and are resampled."""
    rate_read = int(source.rate)
    averaged = [entry.name for entry in files if is_array(entry.path) and source.channels is None]
    found, _ = looks(files, partial(look_at, channels=source.channels, sample_rate=rate_read))
    clipped = [name for name, look in found.items() if look.clipping >= CLIPPED]
    silent = [name for name, look in found.items() if look.silent]
    cancelling = [name for name, look in found.items() if look.cancelling and source.channels is None]
    several = [name for name in averaged if name in found and found[name].n_channels > 1]
    left_out = [f"{name} ({', '.join(look.left_out)})" for name, look in found.items() if look.left_out]

    def of(names: Sequence[str]) -> dict[str, Any]:
        return {"n": len(names), "files": len(files), "names": first_names(names)}

    issues = [
        Issue(kind, message)
        for kind, names, message in (
            ("clipped", clipped, Message("{n} of {files} recordings clip at full scale: {names}", **of(clipped))),
            ("silent", silent, Message("{n} of {files} recordings are silent: {names}", **of(silent))),
            (
                "cancelling",
                cancelling,
                Message(
                    "{n} of {files} recordings have channels that cancel each other: their mean is nearly silent; "
                    "choose channels, for example with --channels 1: {names}",
                    **of(cancelling),
                ),
            ),
            (
                "averaged",
                several,
                Message(
                    "{n} of {files} recordings hold several signals, whose mean is read; --channels chooses, in the "
                    "order of their names: {names}",
                    **of(several),
                ),
            ),
            (
                "left out",
                left_out,
                Message(
                    "{n} of {files} recordings hold arrays other than the longest signals, which are left out: {names}",
                    **of(left_out),
                ),
            ),
        )
        if names
    ]
    rates = Counter(look.sample_rate for look in found.values() if look.sample_rate != rate_read)
    for rate, count in sorted(rates.items()):
        issues.append(
            Issue(
                "resampled",
                Message("{n} of {files} files: {what}", n=count, files=len(files), what=resampling(rate, rate_read)),
            )
        )
    return issues
