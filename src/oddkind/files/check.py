"""What a data set contains, and what is doubtful about it, before anything is learnt."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.checks import Issue, check_data
from oddkind.errors import ConcernWarning
from oddkind.files.listing import Entry
from oddkind.files.sounds import rate_and_clipping, resampling
from oddkind.files.source import Source, read, resolved
from oddkind.model.forward import FrontEnd

# A recording clips if at least this fraction of it is at full scale.
CLIPPED = 1e-4


def check_files(
    files: Sequence[Entry],
    source: Source,
    make_front_end: Callable[[Source], FrontEnd | None],
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Read every file, count the files of each split, label and condition, and look for issues.

    Returns
    -------
    dict
        "settings": those of `Source` with which the files were read; "parts": a list of dicts split, label, condition,
        files, groups, samples; "issues": a list of dicts kind, message: what `oddkind.check_data` finds doubtful, and
        recordings that clip or are resampled.
    """
    source = resolved(source, files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # reported below
        samples = read(
            files, source, make_front_end(source), cache=cache, on_refused=on_refused, on_progress=on_progress
        )
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
    issues = check_data(samples, np.array([by_name[str(name)].split or "" for name in samples.files]))
    if source.kind == "sounds":
        issues += _of_recordings([by_name[str(name)] for name in n_of], source)
    return {
        "settings": source.model_dump(mode="json"),
        "parts": [dict(zip(names, row, strict=True)) for row in rows],
        "issues": [vars(issue) for issue in issues],
    }


def _of_recordings(files: Sequence[Entry], source: Source) -> list[Issue]:
    """Look for recordings that clip, or have another rate and are resampled."""
    assert source.sample_rate is not None  # noqa: S101 - resolved
    found = {entry.name: rate_and_clipping(entry.path) for entry in files}
    clipped = [name for name, (_, part) in found.items() if part >= CLIPPED]
    rates = Counter(rate for rate, _ in found.values() if rate != source.sample_rate)
    issues = []
    if clipped:
        message = f"{len(clipped)} of {len(files)} recordings clip at full scale: {', '.join(clipped[:5])}"
        issues.append(Issue("clipped", message + (", …" if len(clipped) > 5 else "")))
    for rate, count in sorted(rates.items()):
        message = f"{count} of {len(files)} recordings {resampling(rate, source.sample_rate)}"
        issues.append(Issue("resampled", message))
    return issues
