"""What is shown of a file that is explained: its oddest window beside the nearest normal one, and the evidence."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.explain import FileExplanation, as_json
from oddkind.files.front_ends import Band
from oddkind.files.listing import Entry
from oddkind.files.score import Verdict, file_source, settings_of
from oddkind.files.source import Source
from oddkind.language import Message
from oddkind.model.model import FittedModel
from oddkind.pages.encoding import as_bytes_of, data_uri, packed
from oddkind.report.sounds import clip, heat, pictures, window_of

# What is drawn at most: values of a vector, channels and points of a signal, pixels along a side of a picture.
MAX_VALUES, MAX_CHANNELS, MAX_POINTS, MAX_PIXELS = 600, 6, 240, 256
MAX_PICTURE = 16_000  # bytes of a picture without loss; a larger one is a JPEG


@dataclass(frozen=True)
class Heard:
    """A recording beside which an odd one is played.

    Attributes
    ----------
    entry : Entry
    window : int
        The number of its window, counted from the start of the file.
    what : str
        Which one it is, for the page.
    """

    entry: Entry
    window: int
    what: str


def detail_of(
    of: FileExplanation, model: FittedModel, entry: Entry, beside: Heard | None, *, with_clip: bool
) -> dict[str, Any]:
    """Return what the page shows of one explained file, as JSON."""
    source = settings_of(model)
    front_end = source.make_front_end()
    bands = [] if front_end is None else front_end.bands()
    reasons = as_json(of)
    for name in ("path", "label", "score", "p_value", "anomalous", "learnt"):
        reasons.pop(name)
    reasons["nearest"] = [one | {"label": _text(one["label"])} for one in reasons["nearest"][:3]]
    reasons["claimed"], reasons["looks_like"] = _text(reasons["claimed"]), _text(reasons["looks_like"])
    reasons["probabilities"] = dict(sorted(reasons["probabilities"].items(), key=lambda one: -one[1])[:3])
    reasons["views"] = [view for view in reasons["views"] if view["fails"]][:3]
    drawing = _drawing(of, source, bands)
    sound = None
    if source.kind == "sounds":
        with suppress(InputError):  # it was read a moment ago; then it is shown without its sound
            sound = _sound(of, source, bands, entry, beside, with_clip=with_clip)
    return reasons | {"drawing": drawing, "sound": sound}


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _drawing(of: FileExplanation, source: Source, bands: Sequence[Band]) -> dict[str, Any]:
    """Return the sample, the normal one and the evidence as the model sees them."""
    sample, normal = np.asarray(of.sample, float), np.asarray(of.explanation.normal, float)
    evidence = np.asarray(of.explanation.evidence, float)
    if sample.ndim == 3 and not bands:
        return _picture(sample, normal, of.explanation.where.sum(0), bytes_like=of.sample.dtype == np.uint8)
    if sample.ndim == 3:
        low, high = min(sample.min(), normal.min()), max(sample.max(), normal.max())
        drawn = {name: as_bytes_of(one.sum(0), low, high) for name, one in (("sample", sample), ("normal", normal))}
        hot = evidence.sum(0).clip(min=0)
        ends = [max(bands[0][0], 0), bands[-1][1]]
        return drawn | {"kind": "spectrogram", "heat": as_bytes_of(hot, 0, float(hot.max())), "hertz": ends}
    if sample.ndim == 2:
        return _signals(sample, normal, evidence, source)
    return _vector(sample, normal, evidence, source, bands)


def _picture(sample: Array, normal: Array, where: Array, *, bytes_like: bool) -> dict[str, Any]:
    step = -(-max(sample.shape[1:]) // MAX_PIXELS)
    hot = where.clip(min=0)[::step, ::step]
    full = 1.0 if bytes_like else 255.0
    drawn = {name: _image(one * full, step) for name, one in (("sample", sample), ("normal", normal))}
    return drawn | {"kind": "picture", "heat": as_bytes_of(hot, 0, float(hot.max())), "step": step}


def _image(values: Array, step: int) -> str:
    """Return a picture [C, H, W] of values up to 255 as a data URI, every `step`-th pixel of it."""
    pixels = values.round().clip(0, 255).astype(np.uint8)[:, ::step, ::step]
    image = Image.fromarray(
        np.moveaxis(pixels, 0, -1) if len(pixels) == 3 else pixels.astype(float).mean(0).astype(np.uint8)
    )
    for media, how in (("png", {"optimize": True}), ("jpeg", {"quality": 80})):
        content = io.BytesIO()
        image.save(content, media, **how)
        if content.tell() <= MAX_PICTURE:
            break
    return data_uri(content.getvalue(), f"image/{media}")


def _signals(sample: Array, normal: Array, evidence: Array, source: Source) -> dict[str, Any]:
    """Return the channels with the most evidence, at most so many points of each."""
    positive = evidence.clip(min=0)
    shown = np.argsort(-positive.sum(1), kind="stable")[:MAX_CHANNELS]
    points = np.linspace(0, sample.shape[1] - 1, min(MAX_POINTS, sample.shape[1])).round().astype(int)
    names = source.columns or tuple(Message("channel {number}", number=number + 1) for number in range(len(sample)))
    total = positive.sum() or 1.0
    return {
        "kind": "signals",
        "channels": [names[row] for row in shown],
        "shares": [float(positive[row].sum() / total) for row in shown],
        "of_channels": len(sample),
        "of_points": sample.shape[1],
        "sample": packed(sample[np.ix_(shown, points)], "f4"),
        "normal": packed(normal[np.ix_(shown, points)], "f4"),
        "heat": as_bytes_of(positive[np.ix_(shown, points)], 0, float(positive.max())),
    }


def _vector(sample: Array, normal: Array, evidence: Array, source: Source, bands: Sequence[Band]) -> dict[str, Any]:
    """Return a vector in parts: by what its numbers describe, and by channel."""
    names = source.columns or tuple(Message("channel {number}", number=number) for number in source.channels or (1,))
    bands = list(bands) * (len(sample) // len(bands) if bands else 1)
    per_channel = len(bands) // len(names) if bands else 0
    groups: dict[tuple[str, str], list[int]] = {}
    for row in range(len(sample)):
        channel = names[row // per_channel] if per_channel and len(names) > 1 else ""
        groups.setdefault((channel, bands[row][2] if bands else Message("values")), []).append(row)
    positive = evidence.clip(min=0)
    ranked = sorted(groups.items(), key=lambda group: -positive[group[1]].sum())[:MAX_CHANNELS]
    parts = []
    for (channel, what), rows in ranked:
        kept = np.array(rows)[np.linspace(0, len(rows) - 1, min(MAX_VALUES, len(rows))).round().astype(int)]
        parts.append(
            {
                "name": Message("{channel}, {what}", channel=channel, what=what) if channel else what,
                "hertz": [max(bands[rows[0]][0], 0), bands[rows[-1]][1]] if bands else None,
                "of": len(rows),
                "share": float(positive[rows].sum() / (positive.sum() or 1)),
                "sample": packed(sample[kept], "f4"),
                "normal": packed(normal[kept], "f4"),
                "heat": as_bytes_of(positive[kept], 0, float(positive.max())),
            }
        )
    return {"kind": "vector", "parts": parts, "of_parts": len(groups)}


def _sound(
    of: FileExplanation,
    source: Source,
    bands: Sequence[Band],
    entry: Entry,
    beside: Heard | None,
    *,
    with_clip: bool,
) -> dict[str, Any]:
    """Return the spectrograms and the clips of the oddest window, and of a normal one if there is one."""
    place = of.window + (entry.windows or (0, 0))[0]
    waves = [window_of(entry.path, source, place)]
    if beside is not None:
        with suppress(InputError):
            waves.append(window_of(beside.entry.path, source, beside.window))
    rate = source.rate
    evidence = np.asarray(of.explanation.evidence, float)
    seconds = len(waves[0]) / rate
    start = place * source.window_samples()[1] / rate
    span = ((of.start or start) - start, (of.end or start) - start)
    own = evidence.sum(0) if evidence.ndim == 3 else evidence
    channels = 1 if evidence.ndim == 3 else max(1, len(evidence) // len(bands))
    if channels > 1:
        own = evidence.reshape(channels, -1).clip(min=0).sum(0)
    hot = heat(own, list(bands), rate, span, seconds)
    audible = [
        high
        for (_, high, what), value in zip(bands, own, strict=True)
        if what != "envelope" and np.max(value) >= np.max(own) / 2
    ]
    loudest = max(float(np.abs(wave).max()) for wave in waves)
    highest = min(rate / 2, max(audible, default=rate / 2))
    drawn = pictures(waves, rate)
    found = {
        "start": start,
        "seconds": seconds,
        "hertz": rate / 2,
        "heat": as_bytes_of(hot, 0, 1),
        "sample": drawn[0],
        "clip": clip(waves[0], rate, highest, loudest) if with_clip else None,
        "beside": None,
    }
    if beside is not None and len(waves) > 1:
        found["beside"] = {
            "name": beside.entry.name,
            "what": beside.what,
            "start": beside.window * source.window_samples()[1] / rate,
            "picture": drawn[1],
            "clip": clip(waves[1], rate, highest, loudest) if with_clip else None,
        }
    return found


def beside_of(
    of: FileExplanation,
    model: FittedModel,
    known: Mapping[str, Entry],
    verdicts: Sequence[Verdict],
    entries: Mapping[str, Entry],
    learnt: Callable[[Entry], bool],
) -> Heard | None:
    """Return the recording to compare with: the nearest normal one that can be read, or else the most usual one.

    Parameters
    ----------
    known : mapping
        By name, files among which those that the model learnt from may be.
    verdicts, entries
        The files that were judged.
    """
    noted: list[tuple[str, int]] = file_source(model)["files"]
    starts = [first for _, first in noted]
    for number, near in enumerate(of.explanation.neighbours or ()):
        at = bisect_right(starts, near.row) - 1
        name, first = noted[at]
        entry = known.get(name)
        if entry is not None and entry.windows is None and learnt(entry):
            what = Message("The nearest normal one that the model learnt from")
            if number:
                what = Message("Number {n} of the nearest normal ones that the model learnt from", n=number + 1)
            return Heard(entry, near.row - first, what)
    alike = [
        one for one in verdicts if one.label == of.verdict.label and not one.anomalous and one.path != of.verdict.path
    ]
    alike = [one for one in alike if entries[one.path].anomalous is not True]
    if not alike:
        return None
    usual = max(alike, key=lambda one: one.p_value)
    entry = entries[usual.path]
    what = Message("The most usual one of its label among these files")
    if usual.label is None:
        what = Message("The most usual one among these files")
    return Heard(entry, (entry.windows or (0, 0))[0], what)
