"""The interactive elements of the page: bokeh widgets that compute in the browser, offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from bokeh import models
from bokeh.layouts import column, row
from bokeh.plotting import figure as bokeh_figure
from PIL import Image

from oddkind.arrays import Array
from oddkind.drawing import ANOMALOUS, NORMAL, picture
from oddkind.lab import figures
from oddkind.metrics import auc
from oddkind.model.formulas import msp
from oddkind.samples import Samples

_SLIDE = """
const T = 10 ** slider.value, z = logits.data[network.value], classes = z.length / odd.length
const counts = [new Array(bins).fill(0), new Array(bins).fill(0)], ranks = [[], []]
for (let i = 0; i < odd.length; i++) {
  const sorted = Array.from(z.slice(i * classes, (i + 1) * classes)).sort((a, b) => b - a)
  // log of sum exp((z_c - max) / T) over the other classes: keeps the order where 1 - MSP itself rounds to 0
  let sum = 0
  for (const other of sorted.slice(1)) sum += Math.exp((other - sorted[1]) / T)
  const log = (sorted[1] - sorted[0]) / T + Math.log(sum), others = Math.exp(log)
  counts[odd[i]][Math.min(bins - 1, Math.floor(others / (1 + others) / top * bins))] += 1
  ranks[odd[i]].push(log)
}
const [normal, anomalous] = ranks.map(values => values.sort((a, b) => a - b))
let below = 0, upto = 0, wins = 0  // normal scores below, and not above, the anomaly's
for (const score of anomalous) {
  while (below < normal.length && normal[below] < score) below++
  while (upto < normal.length && normal[upto] <= score) upto++
  wins += (below + upto) / 2
}
const auc = wins / normal.length / anomalous.length
shares.data = {...shares.data, normal: counts[0].map(n => n / normal.length),
               anomalous: counts[1].map(n => n / anomalous.length)}
readout.text = `<b>T = ${T.toPrecision(3)}, AUC ${auc.toFixed(3)}</b>`
"""


def temperature_slider(logits: Mapping[str, Array], anomalous: Array) -> Any:
    """Return histograms of 1 − MSP that follow a temperature slider in the browser; logits: network → [N, C]."""
    first = next(iter(logits))
    top, bins = 1 - 1 / logits[first].shape[1], 40
    edges = np.linspace(0, top, bins + 1)
    score = msp(logits[first])
    share = {kind: np.histogram(score[anomalous == odd], edges)[0] / (anomalous == odd).sum()
             for odd, kind in enumerate(("normal", "anomalous"))}  # fmt: skip
    shares = models.ColumnDataSource({"left": edges[:-1], "right": edges[1:], **share})
    plot = bokeh_figure(
        height=320,
        sizing_mode="stretch_width",
        x_range=(0, top),
        x_axis_label="1 − MSP",
        tools="",
        toolbar_location=None,
    )
    for kind, colour in (("normal", NORMAL), ("anomalous", ANOMALOUS)):
        plot.quad("left", "right", kind, 0, source=shares, color=colour, alpha=0.45, legend_label=kind)
    plot.add_layout(plot.legend[0], "right")
    plot.y_range.start = 0
    plot.yaxis.formatter = models.NumeralTickFormatter(format="0%")
    plot.yaxis.axis_label = "fraction of its kind"
    plot.axis.axis_label_text_font_size = plot.axis.major_label_text_font_size = "14px"
    readout = models.Div(text=f"<b>T = 1.00, AUC {auc(anomalous, score):.3f}</b>", styles={"font-size": "1.2em"})
    slider = models.Slider(start=-1, end=np.log10(20), step=0.01, value=0, title="temperature T", width=420)
    slider.format = models.CustomJSTickFormatter(code="return (10 ** tick).toPrecision(3)")
    network = models.Select(options=list(logits), value=first, title="network", width=180)
    values = models.ColumnDataSource({name: np.float32(z).ravel() for name, z in logits.items()})
    arguments = {"slider": slider, "network": network, "logits": values, "shares": shares, "readout": readout,
             "odd": anomalous.astype(int).tolist(), "bins": bins, "top": top}  # fmt: skip
    update = models.CustomJS(args=arguments, code=_SLIDE)
    slider.js_on_change("value", update)
    network.js_on_change("value", update)
    return column(row(slider, network), readout, plot, sizing_mode="stretch_width")


def hover_map(points: Array, samples: Samples, scores: Array) -> Any:
    """Return a map of pictures at points [N, 2]; hovering over one shows it with its label and score."""
    labels, anomalous = samples.labels, samples.anomalous
    assert labels is not None  # noqa: S101 - write_report has checked
    assert anomalous is not None  # noqa: S101
    colours = figures.label_colours(labels, anomalous)
    plot = bokeh_figure(height=560, sizing_mode="stretch_width", tools="pan,wheel_zoom,reset", match_aspect=True)
    plot.toolbar.logo = None
    plot.axis.visible = plot.grid.visible = False
    for label, colour in colours.items():
        rows = labels == label
        odd = bool(anomalous[rows][0])
        data = {"x": points[rows, 0], "y": points[rows, 1], "score": [f"{score:.2g}" for score in scores[rows]],
                "digit": [f"{label}{' (anomalous)' if odd else ''}"] * int(rows.sum()),
                "picture": [_tiny_png(picture(x)) for x in samples.inputs[rows]]}  # fmt: skip
        plot.scatter("x", "y", source=models.ColumnDataSource(data), size=8 if odd else 6,
                     marker="x" if odd else "circle", line_color=colour if odd else None, fill_color=colour, alpha=0.75,
                     legend_label=data["digit"][0])  # fmt: skip
    plot.add_layout(plot.legend[0], "right")
    plot.legend.click_policy = "hide"
    image = '<img src="@picture" alt="" width=84 height=84 style="image-rendering:pixelated">'
    plot.add_tools(models.HoverTool(tooltips=f"{image}<br>@digit<br>score @score"))
    return plot


def _tiny_png(ink: Array) -> str:
    """Return a picture [H, W] as the data URI of a PNG, with dark ink."""
    grey = (255 * (1 - np.clip(ink / (ink.max() or 1), 0, 1))).astype(np.uint8)
    png = io.BytesIO()
    Image.fromarray(grey).save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
