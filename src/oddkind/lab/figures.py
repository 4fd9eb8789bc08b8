"""Figures of a sweep: each function returns a matplotlib `Figure`."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from oddkind.drawing import ANOMALOUS, INK, NORMAL, axes_of, figure_of
from oddkind.study.evaluation import Result, Row


def _by_setting(result: Result) -> tuple[list[float], list[str], list[str], dict[tuple[float, str, str], Row]]:
    """Return the label smoothings, temperatures and scores of a sweep in the given order, and its rows by the three."""
    rows = {}
    for row in result.rows:
        temperature = row.setting.temperature
        name = "T fitted" if temperature == "fit" else f"T = {temperature:g}"
        rows[row.setting.label_smoothing, name, row.setting.score] = row
    smoothings, temperatures, scores = (list(dict.fromkeys(values)) for values in zip(*rows, strict=True))
    return smoothings, temperatures, scores, rows


def auc_heat_map(result: Result) -> Figure:
    """Mean AUC of a sweep: one panel for each score, label smoothing by row, temperature by column, on one scale."""
    smoothings, temperatures, scores, rows = _by_setting(result)
    columns = min(3, len(scores))
    lines = -(-len(scores) // columns)
    figure = figure_of(columns * (1.7 + 0.85 * len(temperatures)), lines * (1.3 + 0.55 * len(smoothings)))
    panels = axes_of(figure, lines, columns)
    means = [row.auc_mean for row in result.rows]
    for axes, score in zip(panels.flat, scores, strict=False):
        share = np.array([[rows[s, t, score].auc_mean for t in temperatures] for s in smoothings])
        axes.imshow(share, cmap="Blues", vmin=min(means), vmax=max(means), aspect="auto")
        for (i, j), value in np.ndenumerate(share):
            dark = value > (min(means) + 2 * max(means)) / 3
            axes.text(j, i, f"{value:.3f}", ha="center", va="center", color="white" if dark else INK)
        axes.set_xticks(range(len(temperatures)), temperatures)
        axes.set_yticks(range(len(smoothings)), [f"{s:g}" for s in smoothings])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_title(score)
    for axes in panels.flat[len(scores) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("label smoothing")
    return figure


def auc_lines(result: Result) -> Figure:
    """AUC of a sweep over label smoothing: a panel for each temperature, a line with its 95 % band for each score."""
    smoothings, temperatures, scores, rows = _by_setting(result)
    figure = figure_of(max(6.0, 4.2 * len(temperatures)), 4.4)
    panels = axes_of(figure, 1, len(temperatures), sharey=True)[0]
    for axes, temperature in zip(panels, temperatures, strict=True):
        for i, score in enumerate(scores):
            line = [rows[s, temperature, score] for s in smoothings]
            colour = (NORMAL, ANOMALOUS, "#009e73", INK, "#cc79a7", "#e69f00", "#56b4e9")[i % 7]
            axes.plot(smoothings, [row.auc_mean for row in line], marker="o", color=colour, label=score)
            bands = [row.auc_ci95 or (row.auc_mean, row.auc_mean) for row in line]
            axes.fill_between(smoothings, *np.transpose(bands), color=colour, alpha=0.15, linewidth=0)
        axes.set_title(temperature)
        axes.set_xlabel("label smoothing")
        axes.set_xticks(smoothings)
    panels[0].set_ylabel("mean AUC and its 95 % interval")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
