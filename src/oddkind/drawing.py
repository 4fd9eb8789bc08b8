"""The style that all figures share: colours, axes, and pictures as grey images.

Nothing here uses pyplot: a figure belongs to its caller, and no global state or display is touched.
"""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure, FigureBase

from oddkind.arrays import Array

# Okabe & Ito's blue and vermilion can be distinguished with every kind of colour vision, and in grey.
NORMAL, ANOMALOUS, INK, FAINT = "#0072b2", "#d55e00", "#222222", "#999999"

_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
}


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure; its size is in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def axes_of(parent: FigureBase, rows: int = 1, columns: int = 1, **kwargs: Any) -> Array:
    """Return new axes [rows, columns] in a figure or subfigure."""
    with matplotlib.rc_context(_STYLE):
        return parent.subplots(rows, columns, squeeze=False, **kwargs)


def picture(sample: Array) -> Array:
    """Return a sample [C, H, W] as a grey picture [H, W]; a sample with one axis becomes a strip one pixel high."""
    return np.atleast_2d(np.asarray(sample, float).reshape(-1, *sample.shape[-2:]).mean(0))
