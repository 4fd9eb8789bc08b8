"""Why are these files odd? What a detector says of them, in the terms of what they are: seconds, bands, sensors."""

from __future__ import annotations

import textwrap
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.files import Entry, Source, each
from oddkind.files.score import Verdict, score_files
from oddkind.model.explain import Diagnosis
from oddkind.samples import Array
from oddkind.train.frontends import FrontEnds

NAMED = 3  # neighbours, views, places that evidence lies in: more are too many to read
LEAST_SHARE = 0.05  # of the evidence, to be named


@dataclass(frozen=True)
class Place:
    """Where in a file evidence lies.

    Attributes
    ----------
    text : str
        Such as "900–1100 Hz, level", "PS2, 10–25 s", "rows 0–8, columns 20–30".
    share : float
        Its part of all evidence for the file being odd.
    """

    text: str
    share: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a detector says of a file, and why.

    Attributes
    ----------
    verdict : Verdict
    window, windows : int
        Which of the file's samples is diagnosed, the oddest, from 0; and how many there are.
    start, end : float or None
        Of that window; None for pictures and arrays.
    unit : str
        Of both: "s", or "rows" of a table whose rate is not known.
    sample : array
        That window, as the detector reads it.
    diagnosis : Diagnosis
    places : tuple of Place
        Where the evidence lies, most first.
    nearest : tuple of str
        Names of its nearest normal samples.
    """

    verdict: Verdict
    window: int
    windows: int
    start: float | None
    end: float | None
    unit: str
    sample: Array
    diagnosis: Diagnosis
    places: tuple[Place, ...]
    nearest: tuple[str, ...]


def explain_files(
    files: Sequence[Entry],
    detector: Detector,
    *,
    most: int = 10,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> list[Explanation]:
    """Explain the most anomalous of some files, those first, each by its oddest sample; labels as in `score_files`.

    Raises
    ------
    InputError
        As `score_files`, and where `most` is below 1.
    """
    if most < 1:
        raise InputError(f"--most {most}; explain at least 1 file")
    verdicts = score_files(
        files, detector, cache=cache, on_refused=on_refused, on_progress=lambda done: on_progress("scoring", done)
    )
    by_name = {entry.name: entry for entry in files}
    wanted = sorted(verdicts, key=lambda verdict: (verdict.p_value, -verdict.score))[:most]
    settings = Source.model_validate(detector.source_["settings"])
    found = []
    for verdict, (_, inputs) in zip(
        wanted, each([by_name[of.path] for of in wanted], settings, cache=cache), strict=True
    ):
        assert not isinstance(inputs, str)  # noqa: S101 - it has been read once
        found.append(_explanation(detector, settings, verdict, inputs))
        on_progress("explaining", len(found) / len(wanted))
    return found


def _explanation(detector: Detector, source: Source, verdict: Verdict, inputs: Array) -> Explanation:
    learnt = getattr(detector, "classes_", np.array([]))
    known = verdict.label is not None and verdict.label in learnt
    labels = np.array([verdict.label] * len(inputs)) if known else None
    window = int(detector.anomaly_score(inputs, labels).argmax())
    one = slice(window, window + 1)
    (diagnosis,) = detector.diagnose(inputs[one], None if labels is None else labels[one])
    start, end = _span(source, window, inputs.shape[-1])
    files = detector.source_["files"]
    nearest = tuple(_name(files, source, of.row) for of in diagnosis.neighbours or ())
    places = _places(source, diagnosis.evidence, start or 0.0)
    unit = _unit(source)
    return Explanation(verdict, window, len(inputs), start, end, unit, inputs[window], diagnosis, places, nearest)


def _span(source: Source, window: int, length: int) -> tuple[float | None, float | None]:
    """From when to when a window lasts, in seconds or rows."""
    if source.kind == "sounds":
        assert source.window is not None and source.hop is not None  # noqa: S101, PT018 - resolved
        return window * source.hop, window * source.hop + source.window
    if source.kind == "tables":
        rate = source.sample_rate or 1
        step = length if source.hop is None else max(1, round(source.hop * rate))
        return window * step / rate, (window * step + length) / rate
    return None, None


def _unit(source: Source) -> str:
    return "s" if source.kind == "sounds" or source.sample_rate else "rows"


def _name(files: Sequence[tuple[str, int]], source: Source, row: int) -> str:
    """File of a sample that was learnt from, and where in it."""
    at = bisect_right([first for _, first in files], row) - 1
    name, first = files[at]
    if source.kind == "sounds" and source.hop is not None:
        return f"{name} at {(row - first) * source.hop:g} s"
    return name if row == first else f"{name}, window {row - first}"


def _places(source: Source, evidence: Array, start: float) -> tuple[Place, ...]:
    """Where the evidence lies, in the terms of the file: the largest regions of at least half of the largest value."""
    positive = evidence.clip(min=0)
    total = positive.sum()
    if total == 0:
        return ()
    if source.kind == "sounds":
        found = _bands(source, positive)
    elif evidence.ndim == 2:
        names = source.columns or [f"channel {number}" for number in range(len(evidence))]
        rate, unit = source.sample_rate or 1, _unit(source)
        found = [
            (f"{name}, {start + a / rate:g}–{start + b / rate:g} {unit}", line[a:b].sum())
            for name, line in zip(names, positive, strict=True)
            for a, b in _runs(line >= positive.max() / 2)
        ]
    elif evidence.ndim == 3:
        found = _regions(positive.sum(0))
    else:
        found = [(f"value {number}", value) for number, value in enumerate(positive)]
    ranked = sorted(found, key=lambda place: -place[1])[:NAMED]
    return tuple(Place(text, float(part / total)) for text, part in ranked if part / total >= LEAST_SHARE) or tuple(
        Place(text, float(part / total)) for text, part in ranked[:1]
    )


def _bands(source: Source, evidence: Array) -> list[tuple[str, float]]:
    """Neighbouring bands whose evidence is at least half of the largest, as one."""
    assert source.sample_rate is not None and source.window is not None  # noqa: S101, PT018 - resolved
    length = max(1, round(source.window * source.sample_rate))
    bands = FrontEnds(source.front_end, source.sample_rate, length).bands()
    channels = len(evidence) // len(bands)  # side by side, each with all bands
    found = []
    for channel, own in enumerate(evidence.reshape(channels, -1)):
        where = f", channel {(source.channels or [1])[channel]}" if channels > 1 else ""
        for what in dict.fromkeys(band[2] for band in bands):
            rows = np.array([band[2] == what for band in bands])
            for a, b in _runs(rows & (own >= evidence.max() / 2)):
                low, high = bands[a][0], bands[b - 1][1]
                found.append((f"{max(low, 0):.0f}–{high:.0f} Hz, {what}{where}", own[a:b].sum()))
    return found


def _regions(evidence: Array) -> list[tuple[str, float]]:
    """Boxes around connected points of at least half of the largest value."""
    from scipy.ndimage import find_objects, label

    numbered, _ = label(evidence >= evidence.max() / 2)
    return [
        (f"rows {y.start}–{y.stop - 1}, columns {x.start}–{x.stop - 1}", float(evidence[numbered == number].sum()))
        for number, (y, x) in enumerate(find_objects(numbered), start=1)
    ]


def _runs(flags: Array) -> list[tuple[int, int]]:
    """Start and end (one beyond) of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def as_text(of: Explanation) -> str:
    """A few lines for people."""
    verdict, diagnosis = of.verdict, of.diagnosis
    lines = [f"{verdict.path}: {'anomalous' if verdict.anomalous else 'normal'}, p-value {verdict.p_value:.3g}"]
    if of.windows > 1 and of.start is not None:
        when = f"{of.start:g} to {of.end:g} {of.unit}"
        lines.append(f"oddest of {of.windows} windows: {when}, p-value {diagnosis.p_value:.3g}")
    if diagnosis.probabilities:
        likely = sorted(diagnosis.probabilities.items(), key=lambda pair: -pair[1])[:NAMED]
        looks = ", ".join(f"{label} ({chance:.2f})" for label, chance in likely)
        claims = "nothing" if verdict.label is None else verdict.label
        claims += ", which was not learnt" if verdict.label is not None and diagnosis.claimed is None else ""
        lines.append(f"claims {claims}; looks like {looks}")
    if len(diagnosis.views) > 1 or diagnosis.failing:
        worst = sorted(diagnosis.failing, key=lambda view: view.probability)[:NAMED]
        failing = [
            f"{view.name} (probability {view.probability:.2f}"
            + (f", looks {view.taken_for})" if view.taken_for != view.name else ")")
            for view in worst
        ]
        count = f"{len(diagnosis.failing)} of {len(diagnosis.views)}"
        lines.append(f"views that fail: {': '.join([count, *filter(None, [', '.join(failing)])])}")
    if diagnosis.neighbours is not None:
        near = [f"{name} ({one.distance:.3g})" for name, one in zip(of.nearest, diagnosis.neighbours, strict=True)]
        lines.append(f"nearest normal: {', '.join(near[:NAMED])}")
    places = [f"{place.text} ({place.share:.0%})" for place in of.places]
    lines.append(f"evidence: {'; '.join(places) or 'none; no part of it raises the score'}")
    return textwrap.indent("\n".join(lines), "  ")[2:]


def as_json(of: Explanation) -> dict[str, Any]:
    """All but the arrays, for scripts."""
    diagnosis = of.diagnosis
    near = zip(of.nearest, diagnosis.neighbours or (), strict=True)
    return {
        **vars(of.verdict),
        "window": of.window,
        "windows": of.windows,
        "start": of.start,
        "end": of.end,
        "unit": of.unit,
        "window_p_value": diagnosis.p_value,
        "claimed": diagnosis.claimed,
        "looks_like": diagnosis.looks_like,
        "probabilities": {str(label): chance for label, chance in diagnosis.probabilities.items()},
        "views": [vars(view) for view in diagnosis.views],
        "nearest": [{"name": name, "label": one.label, "distance": one.distance} for name, one in near],
        "evidence": [vars(place) for place in of.places],
    }


def write_pictures(explanations: Sequence[Explanation], detector: Detector, folder: Path) -> list[Path]:
    """Write a PNG a file: what it is, what is nearest, where the evidence lies; numbered, most anomalous first.

    Raises
    ------
    InputError
        Where the folder cannot be written to.
    """
    from oddkind.evidence_figures import evidence_map

    source = Source.model_validate(detector.source_["settings"])
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a name in letters no font here has is better than no picture
            for number, of in enumerate(explanations, start=1):
                file = folder / f"{number:02d} {of.verdict.path.replace('/', ' ')}.png"
                evidence_map(of.sample, of.diagnosis, as_text(of), **_axis(source, of)).savefig(file, dpi=110)
                written.append(file)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name a folder that can") from error
    return written


def _axis(source: Source, of: Explanation) -> dict[str, Any]:
    """What the points of a vector or the channels of a signal are called, and the time between two."""
    if source.kind == "sounds":
        assert source.sample_rate is not None and source.window is not None  # noqa: S101, PT018 - resolved
        bands = FrontEnds(
            source.front_end, source.sample_rate, max(1, round(source.window * source.sample_rate))
        ).bands()
        return {"bands": bands * (len(of.sample) // len(bands))}
    if source.kind == "tables":
        return {"channels": source.columns, "start": of.start, "rate": source.sample_rate or 1, "unit": of.unit}
    return {}
