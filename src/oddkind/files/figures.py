"""Pictures of explanations: the sample, the nearest normal one, and where the evidence is."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from oddkind.arrays import Array
from oddkind.drawing import ANOMALOUS, NORMAL, axes_of, figure_of, picture
from oddkind.errors import InputError
from oddkind.files.explain import FileExplanation, as_text
from oddkind.files.score import settings_of
from oddkind.files.source import Source
from oddkind.model.explain import Explanation
from oddkind.model.model import FittedModel

# Fonts for Korean file names; the first that is installed is used.
HANGUL = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo")
MAX_NAME = 200  # bytes of a path that the name of a picture keeps; a file system takes 255


def evidence_map(
    sample: Array,
    explanation: Explanation,
    text: str = "",
    *,
    bands: Sequence[tuple[float, float, str]] | None = None,
    channels: Sequence[str] | None = None,
    start: float | None = None,
    end: float | None = None,
    rate: float = 1,
    unit: str = "",
) -> Figure:
    """Draw a sample, its nearest normal sample, and where the evidence is; `text` is the title.

    Parameters
    ----------
    sample : array [D], [C, T] or [C, H, W]
        The sample that is explained.
    bands : list of (low, high, what)
        What each number of a vector or each row of a spectrogram describes, as
        `oddkind.files.front_ends.FrontEnds.bands` returns it.
    channels : list of str
        The names of a signal's channels.
    start, rate, unit : float, float, str
        Where a signal starts, how many points a unit has, and the unit.
    end : float
        Where a spectrogram ends.
    """
    figure = figure_of(11, 4.6)
    family = ["DejaVu Sans", *(name for name in HANGUL if name in font_manager.get_font_names())]
    figure.suptitle(_literal(text), fontsize=9, x=0.01, ha="left", wrap=True, family=family)
    if sample.ndim == 3 and bands is not None:
        _spectrogram_evidence(figure, sample, explanation, bands, (start or 0.0, end or 1.0))
    elif sample.ndim == 3:
        _picture_evidence(figure, sample, explanation)
    elif sample.ndim == 2:
        time = (start or 0.0) + np.arange(sample.shape[1]) / rate
        _signal_evidence(figure, sample, explanation, channels or list(map(str, range(len(sample)))), time, unit)
    else:
        _vector_evidence(figure, sample, explanation, bands or [(n, n + 1, "value") for n in range(len(sample))])
    return figure


def _literal(text: str) -> str:
    """Escape what matplotlib would read as a formula; if lines are wrapped, it does so even with parse_math=False."""
    return text.replace("$", r"\$")


def _picture_evidence(figure: Figure, sample: Array, explanation: Explanation) -> None:
    evidence = explanation.where.sum(0).clip(min=0)  # only evidence that it is anomalous
    most = float(evidence.max()) or 1.0
    names = "the sample", "where the evidence is", "nearest normal sample"
    if explanation.neighbours is None:
        names = *names[:2], "what replaced the regions"
    for axes, name, of in zip(axes_of(figure, 1, 3)[0], names, (sample, sample, explanation.normal), strict=True):
        axes.imshow(picture(of), cmap="gray", interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
        if name == names[1]:
            axes.imshow(evidence, cmap="autumn_r", vmin=0, vmax=most, alpha=0.8 * evidence / most)


def _spectrogram_evidence(
    figure: Figure,
    sample: Array,
    explanation: Explanation,
    bands: Sequence[tuple[float, float, str]],
    span: tuple[float, float],
) -> None:
    """Draw spectrograms with seconds and hertz at their axes; the bands are evenly high."""
    evidence = explanation.evidence.sum(0).clip(min=0)
    middle = [(low + high) / 2 for low, high, _ in bands]
    names = "the sample", "where the evidence is", "nearest normal sample"
    if explanation.neighbours is None:
        names = *names[:2], "what replaced the regions"
    pictures = sample.sum(0), evidence, explanation.normal.sum(0)
    ticks = np.linspace(0, len(bands) - 1, 6).astype(int)
    for axes, name, of in zip(axes_of(figure, 1, 3)[0], names, pictures, strict=True):
        colours, extent = "Oranges" if of is evidence else "gray", (*span, -0.5, len(bands) - 0.5)
        axes.imshow(of, cmap=colours, origin="lower", aspect="auto", interpolation="nearest", extent=extent)
        axes.set(title=name, xlabel="s")
        axes.set_yticks(ticks, [f"{middle[row]:.0f}" for row in ticks], fontsize=8)
    figure.axes[0].set_ylabel("Hz")
    figure.axes[2].set(xticks=[], xlabel="stretched to the same length")  # it may be slower or faster


def _vector_evidence(
    figure: Figure, sample: Array, explanation: Explanation, bands: Sequence[tuple[float, float, str]]
) -> None:
    kinds = list(dict.fromkeys(what for *_, what in bands))
    panels = axes_of(figure, 2, len(kinds), sharex="col", gridspec_kw={"height_ratios": [2, 1]})
    for (above, below), kind in zip(panels.T, kinds, strict=True):
        rows = [row for row, (*_, what) in enumerate(bands) if what == kind]
        middle = [(bands[row][0] + bands[row][1]) / 2 for row in rows]
        above.plot(middle, sample[rows], color=ANOMALOUS, label="the sample")
        above.plot(middle, explanation.normal[rows], color=NORMAL, label="nearest normal sample")
        above.set_title(kind)
        widths = [(bands[row][1] - bands[row][0]) / 2 for row in rows]
        below.bar(middle, explanation.evidence[rows], widths, color=ANOMALOUS)
        below.set(xlabel="" if kind == "value" else "Hz")
    panels[0, 0].legend(frameon=False)
    panels[1, 0].set_ylabel("evidence")
    low, high = min(0.0, explanation.evidence.min()), explanation.evidence.max() or 1.0
    for below in panels[1]:
        below.set_ylim(1.05 * low, 1.05 * high)


def _signal_evidence(
    figure: Figure, sample: Array, explanation: Explanation, channels: Sequence[str], time: Array, unit: str
) -> None:
    left, right = figure.subfigures(1, 2, wspace=0.05, squeeze=False).flat
    evidence = explanation.evidence.clip(min=0)
    axes = axes_of(left)[0, 0]
    extent = (time[0], 2 * time[-1] - time[-2] if len(time) > 1 else time[0] + 1, len(sample) - 0.5, -0.5)
    axes.imshow(
        evidence,
        cmap="Oranges",
        vmin=0,
        vmax=evidence.max() or 1.0,
        aspect="auto",
        extent=extent,
        interpolation="nearest",
    )
    axes.set(xlabel=unit, title="where the evidence is")
    axes.set_yticks(range(len(channels)), [*map(_literal, channels)], fontsize=8)
    first = np.argsort(-evidence.sum(1), kind="stable")[:3]
    panels = axes_of(right, len(first), sharex=True)[:, 0]
    for panel, channel in zip(panels, first, strict=True):
        panel.plot(time, sample[channel], color=ANOMALOUS, label="the sample")
        panel.plot(time, explanation.normal[channel], color=NORMAL, label="nearest normal sample")
        panel.set_title(_literal(channels[channel]), fontsize=10, loc="left")
    panels[0].legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel(unit)


def write_pictures(explanations: Sequence[FileExplanation], model: FittedModel, folder: Path) -> list[Path]:
    """Write one PNG for each file: the sample, the nearest normal one, where the evidence is; the most anomalous first.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    source = settings_of(model)
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph")  # a picture with missing letters is better than none
            for number, of in enumerate(explanations, start=1):
                name = of.verdict.path.replace("/", " ").encode()[-MAX_NAME:].decode(errors="ignore")
                file = folder / f"{number:02d} {name}.png"
                evidence_map(of.sample, of.explanation, as_text(of), **_axis(source, of)).savefig(file, dpi=110)
                written.append(file)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error
    return written


def _axis(source: Source, of: FileExplanation) -> dict[str, Any]:
    """Return the names of the numbers of a vector or the channels of a signal, and the scale of its time axis."""
    front_end = source.make_front_end()
    if front_end is not None:
        bands = front_end.bands()
        if of.sample.ndim == 3:
            return {"bands": bands, "start": of.start, "end": of.end}
        return {"bands": bands * (len(of.sample) // len(bands))}
    if source.kind == "tables":
        return {"channels": source.columns, "start": of.start, "rate": source.rate, "unit": of.unit}
    return {}
