"""Why are these files anomalous? The explanation in terms of the files: seconds, bands of frequency, sensors."""

from __future__ import annotations

import itertools
import textwrap
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.durations import between
from oddkind.files.front_ends import Band
from oddkind.files.listing import Entry
from oddkind.files.reading import each, kept_windows
from oddkind.files.score import HeldOut, Verdict, file_source, learnt_by, score_files, settings_of
from oddkind.files.source import Source
from oddkind.language import Message
from oddkind.model.explain import Explanation, explain
from oddkind.model.model import FittedModel
from oddkind.naming import on_one_line

NAMED = 3  # neighbours, views and places of evidence: more would be too many to read
LEAST_SHARE = 0.05  # a place with a smaller share of the evidence is not named


@dataclass(frozen=True)
class Place:
    """Where in a file there is evidence.

    Attributes
    ----------
    text : str
        Such as "900–1100 Hz, level", "0.15–0.32 s, 900–1100 Hz", "PS2, 10–25 s", "rows 0–8, columns 20–30".
    share : float
        Its fraction of all evidence that the file is anomalous.
    """

    text: str
    share: float


@dataclass(frozen=True, eq=False)
class FileExplanation:
    """The verdict about a file, and the reasons for it.

    Attributes
    ----------
    verdict : Verdict
    window, windows : int
        The number of the sample that is explained, the most anomalous one, counted from 0; and the number of all.
    start, end : float or None
        Where that window starts and ends, or the part of it that a spectrogram shows; None for pictures and arrays.
    unit : str
        The unit of both: "s", or "rows" for a table whose rate is not known.
    sample : array
        That window, as the model reads it.
    explanation : Explanation
    places : tuple of Place
        Where the evidence is, the most important place first.
    nearest : tuple of str
        The names of its nearest normal samples.
    learnt : bool
        Whether the model learnt from this file or held it out, so that its p-value says nothing.
    """

    verdict: Verdict
    window: int
    windows: int
    start: float | None
    end: float | None
    unit: str
    sample: Array
    explanation: Explanation
    places: tuple[Place, ...]
    nearest: tuple[str, ...]
    learnt: bool


def explain_files(
    files: Sequence[Entry],
    model: FittedModel,
    *,
    most: int = 10,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
    held_out: HeldOut | None = None,
    verdicts: Sequence[Verdict] | None = None,
) -> list[FileExplanation]:
    """Explain the most anomalous of some files, the most anomalous first, each by its most anomalous sample.

    Labels and `held_out` are used as in `score_files`. `verdicts`: what it returned for these files, if they have been
    scored already.

    Raises
    ------
    InputError
        As `score_files`, and if `most` is less than 1.
    """
    if most < 1:
        raise InputError(f"--most {most}; it must be at least 1")
    if verdicts is None:
        verdicts = score_files(
            files,
            model,
            cache=cache,
            on_refused=on_refused,
            on_progress=lambda done: on_progress("scoring", done),
            held_out=held_out,
        )
    by_name = {entry.name: entry for entry in files}
    wanted = sorted(verdicts, key=lambda verdict: (verdict.p_value, -verdict.score))[:most]
    source = settings_of(model)
    entries = [by_name[verdict.path] for verdict in wanted]
    classes = [] if model.task.labels is None else model.task.labels.tolist()
    known = np.array([verdict.label in classes for verdict in wanted])
    oddest = []
    shown = _spans_of_spectrograms(entries, source, model)
    for verdict, own, (_, inputs), spans in zip(wanted, known, each(entries, source, cache=cache), shown, strict=True):
        assert not isinstance(inputs, str)  # noqa: S101 - it has been read once
        labels = np.array([verdict.label] * len(inputs)) if own else None
        window = int(model.anomaly_score(inputs, labels).argmax())
        oddest.append((window, len(inputs), inputs[window], None if spans is None else spans[window]))
    explanations: dict[int, Explanation] = {}
    count = itertools.count(1)
    for with_labels in np.unique(known):  # together: the normal samples to compare with are prepared once
        rows = np.flatnonzero(known == with_labels).tolist()
        samples = np.stack([oddest[row][2] for row in rows])
        labels = np.array([wanted[row].label for row in rows]) if with_labels else None
        found = explain(
            model, samples, labels, on_progress=lambda _: on_progress("explaining", next(count) / len(wanted))
        )
        explanations |= zip(rows, found, strict=True)
    was_learnt = learnt_by(model)
    return [
        _in_terms_of_files(model, source, verdict, entry, was_learnt(entry), *oddest[row], explanations[row])
        for row, (verdict, entry) in enumerate(zip(wanted, entries, strict=True))
    ]


def _spans_of_spectrograms(entries: Sequence[Entry], source: Source, model: FittedModel) -> Iterator[Array | None]:
    """Yield for each file which part of its windows the spectrograms show, in seconds, [n, C · 2]; None for vectors."""
    front_end = source.make_front_end()
    if front_end is None or len(model.inputs.shape) != 3:
        yield from [None] * len(entries)
        return
    for _, spans in each(entries, source, front_end=front_end.sounding):
        assert not isinstance(spans, str)  # noqa: S101 - it has been read once
        yield spans


def _in_terms_of_files(
    model: FittedModel,
    source: Source,
    verdict: Verdict,
    entry: Entry,
    learnt: bool,
    window: int,
    windows: int,
    sample: Array,
    shown: Array | None,
    explanation: Explanation,
) -> FileExplanation:
    place = window + (entry.windows or (0, 0))[0]
    if source.missing == "drop-window":
        place = int(kept_windows(entry, source)[window])
    start, end = _span(source, place, sample.shape[-1])
    if shown is not None and start is not None:  # of all channels
        start, end = start + float(shown.min()), start + float(shown.max())
    noted = file_source(model)
    nearest = tuple(_name(noted["files"], source, neighbour.row) for neighbour in explanation.neighbours or ())
    front_end = source.make_front_end()
    bands = [] if front_end is None else front_end.bands()
    places = _places(source, bands, explanation.where, start or 0.0, end or 0.0)
    unit = unit_of(source)
    return FileExplanation(verdict, window, windows, start, end, unit, sample, explanation, places, nearest, learnt)


def _span(source: Source, window: int, length: int) -> tuple[float | None, float | None]:
    """Return the start and the end of a window, in seconds or rows."""
    if source.kind not in ("sounds", "tables"):
        return None, None
    length, step = source.window_samples(length)
    return window * step / source.rate, (window * step + length) / source.rate


def unit_of(source: Source) -> str:
    """Return the unit of positions in a file: seconds, or rows of a table whose rate is not known."""
    return "s" if source.kind == "sounds" or source.sample_rate else "rows"


def _name(files: Sequence[tuple[str, int]], source: Source, row: int) -> str:
    """Return the name of the file of a sample that was learnt from, and its place in the file."""
    at = bisect_right([first for _, first in files], row) - 1
    name, first = files[at]
    if source.front_end and source.hop is not None:
        return f"{name} at {(row - first) * source.hop:g} s"
    return name if row == first else f"{name}, window {row - first}"


def _places(source: Source, bands: Sequence[Band], evidence: Array, start: float, end: float) -> tuple[Place, ...]:
    """Return the places of the evidence: the largest regions in which it is at least half of its largest value."""
    positive = evidence.clip(min=0)
    total = positive.sum()
    if total == 0:
        return ()
    if bands and evidence.ndim == 3:
        found = [
            (_in_seconds_and_hertz(bands, start, (end - start) / evidence.shape[2], *box), value)
            for box, value in _regions(positive.sum(0))
        ]
    elif bands:
        found = _bands(source, bands, positive)
    elif evidence.ndim == 2:
        names = source.columns or [Message("channel {number}", number=number) for number in range(len(evidence))]

        def when(first: int, last: int) -> str:
            return between(start + first / source.rate, start + last / source.rate, unit_of(source))

        found = [
            (Message("{name}, {when}", name=name, when=when(a, b)), line[a:b].sum())
            for name, line in zip(names, positive, strict=True)
            for a, b in _runs(line >= positive.max() / 2)
        ]
    elif evidence.ndim == 3:
        found = [
            (
                Message(
                    "rows {top}–{bottom}, columns {left}–{right}",
                    top=y.start,
                    bottom=y.stop - 1,
                    left=x.start,
                    right=x.stop - 1,
                ),
                value,
            )
            for (y, x), value in _regions(positive.sum(0))
        ]
    else:
        found = [(Message("value {number}", number=number), value) for number, value in enumerate(positive)]
    ranked = sorted(found, key=lambda place: -place[1])[:NAMED]
    return tuple(Place(text, float(part / total)) for text, part in ranked if part / total >= LEAST_SHARE) or tuple(
        Place(text, float(part / total)) for text, part in ranked[:1]
    )


def _bands(source: Source, bands: Sequence[Band], evidence: Array) -> list[tuple[str, float]]:
    """Join neighbouring bands whose evidence is at least half of the largest."""
    names = source.columns or [Message("channel {number}", number=number) for number in source.channels or [1]]
    found: list[tuple[str, float]] = []
    for name, own in zip(names, evidence.reshape(len(names), -1), strict=True):  # concatenated, each with all bands
        for what in dict.fromkeys(band[2] for band in bands):
            rows = np.array([band[2] == what for band in bands])
            for a, b in _runs(rows & (own >= evidence.max() / 2)):
                text = Message(
                    "{low:.0f}–{high:.0f} Hz, {what}", low=max(bands[a][0], 0), high=bands[b - 1][1], what=what
                )
                if len(names) > 1:
                    text = Message("{what}, {name}", what=text, name=name)
                found.append((text, own[a:b].sum()))
    return found


def _regions(evidence: Array) -> list[tuple[tuple[slice, slice], float]]:
    """Boxes around connected points of at least half of the largest value, and the evidence of these points."""
    found = []
    for points in connected(evidence >= evidence.max() / 2):
        (top, left), (bottom, right) = points.min(0), points.max(0)
        box = slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)
        found.append((box, float(evidence[tuple(points.T)].sum())))
    return found


def connected(flags: Array) -> list[Array]:
    """Return the points of each connected region of true values, int [n, 2]; neighbours share an edge."""
    waiting = {(int(y), int(x)) for y, x in np.argwhere(flags)}
    regions = []
    while waiting:
        region = [min(waiting)]
        waiting.remove(region[0])
        for y, x in region:  # it grows while it is gone through
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & waiting
            waiting -= near
            region.extend(near)
        regions.append(np.array(region))
    return regions


def _in_seconds_and_hertz(bands: Sequence[Band], start: float, frame: float, rows: slice, frames: slice) -> str:
    """Describe a box in a spectrogram that begins at `start` and whose frames take `frame` seconds each."""
    when = between(round(start + frame * frames.start, 2), round(start + frame * frames.stop, 2), "s")
    low, high = max(bands[rows.start][0], 0), bands[rows.stop - 1][1]
    return Message("{when}, {low:.0f}–{high:.0f} Hz", when=when, low=low, high=high)


def _runs(flags: Array) -> list[tuple[int, int]]:
    """Return the start and the end (exclusive) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def as_text(of: FileExplanation) -> str:
    """Describe an explanation in a few lines."""
    verdict, explanation = of.verdict, of.explanation
    lines = [f"{verdict.path}: {'anomalous' if verdict.anomalous else 'normal'}, p-value {verdict.p_value:.3g}"]
    if of.learnt:
        lines.append("the model was fitted to this file, so its p-value and the decision mean nothing")
    if of.windows > 1 and of.start is not None:
        when = between(of.start, of.end or 0, of.unit)
        lines.append(f"most anomalous of {of.windows} windows: {when}, p-value {explanation.p_value:.3g}")
    if explanation.probabilities:
        likely = sorted(explanation.probabilities.items(), key=lambda pair: -pair[1])[:NAMED]
        looks = ", ".join(f"{label} ({chance:.2f})" for label, chance in likely)
        label = "unknown" if verdict.label is None else verdict.label
        label += ", which was not learnt" if verdict.label is not None and explanation.claimed is None else ""
        lines.append(f"label: {label}; it looks like {looks}")
    if len(explanation.views) > 1 or explanation.failing:
        worst = sorted(explanation.failing, key=lambda view: view.probability)[:NAMED]
        failing = [
            f"{view.name} (probability {view.probability:.2f}"
            + (f", taken for {view.taken_for})" if view.taken_for != view.name else ")")
            for view in worst
        ]
        count = f"{len(explanation.failing) or 'none'} of {len(explanation.views)}"
        lines.append(f"views that fail ({count}): {'; '.join(failing)}" if failing else f"views that fail: {count}")
    if explanation.neighbours is not None:
        near = [f"{name} ({one.distance:.3g})" for name, one in zip(of.nearest, explanation.neighbours, strict=True)]
        lines.append(f"nearest normal samples (distance): {', '.join(near[:NAMED])}")
    places = [f"{place.text} ({place.share:.0%})" for place in of.places]
    lines.append(f"evidence: {'; '.join(places) or 'none, because no region raises the score'}")
    return textwrap.indent("\n".join(map(on_one_line, lines)), "  ")[2:]


def as_json(of: FileExplanation) -> dict[str, Any]:
    """Return everything except the arrays, for scripts."""
    explanation = of.explanation
    near = zip(of.nearest, explanation.neighbours or (), strict=True)
    return {
        **vars(of.verdict),
        "learnt": of.learnt,
        "window": of.window,
        "windows": of.windows,
        "start": of.start,
        "end": of.end,
        "unit": of.unit,
        "window_p_value": explanation.p_value,
        "claimed": explanation.claimed,
        "looks_like": explanation.looks_like,
        "probabilities": {str(label): chance for label, chance in explanation.probabilities.items()},
        "views": [vars(view) for view in explanation.views],
        "nearest": [{"name": name, "label": one.label, "distance": one.distance} for name, one in near],
        "evidence": [vars(place) for place in of.places],
    }
