"""Pictures of a diagnosis: the sample, what is nearest to it, and where the evidence lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib import font_manager
from matplotlib.figure import Figure

from oddkind.lab.figures import ANOMALOUS, NORMAL, axes_of, figure_of, picture
from oddkind.model.explain import Diagnosis

Array = npt.NDArray[Any]

# Fonts for names of files in Korean, whichever is there.
HANGUL = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Malgun Gothic", "Apple SD Gothic Neo")


def evidence_map(
    sample: Array,
    diagnosis: Diagnosis,
    text: str = "",
    *,
    bands: Sequence[tuple[float, float, str]] | None = None,
    channels: Sequence[str] | None = None,
    start: float | None = None,
    rate: float = 1,
    unit: str = "",
) -> Figure:
    """A sample, its nearest normal one and where the evidence lies between; `text` stands above.

    Parameters
    ----------
    sample : array [D], [C, T] or [C, H, W]
        The one diagnosed.
    bands : what each number of a vector hears, as `oddkind.train.frontends.FrontEnds.bands` says
    channels : names of a signal's channels
    start, rate, unit : of a signal: where it begins, points a unit, the unit
    """
    figure = figure_of(11, 4.6)
    family = ["DejaVu Sans", *(name for name in HANGUL if name in font_manager.get_font_names())]
    figure.suptitle(text, fontsize=9, x=0.01, ha="left", wrap=True, family=family, parse_math=False)
    if sample.ndim == 3:
        _picture_evidence(figure, sample, diagnosis)
    elif sample.ndim == 2:
        time = (start or 0.0) + np.arange(sample.shape[1]) / rate
        _signal_evidence(figure, sample, diagnosis, channels or list(map(str, range(len(sample)))), time, unit)
    else:
        _vector_evidence(figure, sample, diagnosis, bands or [(n, n + 1, "value") for n in range(len(sample))])
    return figure


def _picture_evidence(figure: Figure, sample: Array, diagnosis: Diagnosis) -> None:
    evidence = diagnosis.evidence.sum(0).clip(min=0)  # only what speaks for an anomaly
    most = float(evidence.max()) or 1.0
    names = "the sample", "where the evidence lies", "nearest normal sample"
    if diagnosis.neighbours is None:
        names = *names[:2], "what parts were replaced by"
    for axes, name, of in zip(axes_of(figure, 1, 3)[0], names, (sample, sample, diagnosis.normal), strict=True):
        axes.imshow(picture(of), cmap="gray", interpolation="nearest")
        axes.set_title(name)
        axes.set_axis_off()
        if name == names[1]:
            axes.imshow(evidence, cmap="autumn_r", vmin=0, vmax=most, alpha=0.8 * evidence / most)


def _vector_evidence(
    figure: Figure, sample: Array, diagnosis: Diagnosis, bands: Sequence[tuple[float, float, str]]
) -> None:
    kinds = list(dict.fromkeys(what for *_, what in bands))
    panels = axes_of(figure, 2, len(kinds), sharex="col", gridspec_kw={"height_ratios": [2, 1]})
    for (above, below), kind in zip(panels.T, kinds, strict=True):
        rows = [row for row, (*_, what) in enumerate(bands) if what == kind]
        middle = [(bands[row][0] + bands[row][1]) / 2 for row in rows]
        above.plot(middle, sample[rows], color=ANOMALOUS, label="the sample")
        above.plot(middle, diagnosis.normal[rows], color=NORMAL, label="nearest normal sample")
        above.set_title(kind)
        widths = [(bands[row][1] - bands[row][0]) / 2 for row in rows]
        below.bar(middle, diagnosis.evidence[rows], widths, color=ANOMALOUS)
        below.set(xlabel="" if kind == "value" else "Hz")
    panels[0, 0].legend(frameon=False)
    panels[1, 0].set_ylabel("evidence")
    low, high = min(0.0, diagnosis.evidence.min()), diagnosis.evidence.max() or 1.0
    for below in panels[1]:
        below.set_ylim(1.05 * low, 1.05 * high)


def _signal_evidence(
    figure: Figure, sample: Array, diagnosis: Diagnosis, channels: Sequence[str], time: Array, unit: str
) -> None:
    left, right = figure.subfigures(1, 2, wspace=0.05, squeeze=False).flat
    evidence = diagnosis.evidence.clip(min=0)
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
    axes.set(xlabel=unit, title="where the evidence lies")
    axes.set_yticks(range(len(channels)), channels, fontsize=8)
    first = np.argsort(-evidence.sum(1), kind="stable")[:3]
    panels = axes_of(right, len(first), sharex=True)[:, 0]
    for panel, channel in zip(panels, first, strict=True):
        panel.plot(time, sample[channel], color=ANOMALOUS, label="the sample")
        panel.plot(time, diagnosis.normal[channel], color=NORMAL, label="nearest normal sample")
        panel.set_title(channels[channel], fontsize=10, loc="left")
    panels[0].legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel(unit)
