"""Pictures of scores, features and mistakes: arrays, `Outputs` or `Samples` in, a matplotlib `Figure` out.

Nothing here draws through pyplot: a figure belongs to its caller, and no global state or display is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from openTSNE import TSNE
from sklearn.metrics import roc_curve

from oddkind.metrics import auc
from oddkind.model.calibration import reliability
from oddkind.model.scores import Outputs, msp
from oddkind.samples import Samples
from oddkind.study.evaluation import Result, Row

Array = npt.NDArray[Any]

# Okabe & Ito's blue and vermilion stay apart for every kind of colour vision, and in grey.
NORMAL, ANOMALOUS, INK, FAINT = "#0072b2", "#d55e00", "#222222", "#999999"
# Shades for single digits, from the same two families: cold for normal, warm for anomalous.
COLD = (NORMAL, "#56b4e9", "#009e73", "#332288", "#7fcdbb", "#5f7f9f", "#117733", "#9d9ade", "#225ea8")
WARM = (ANOMALOUS, "#e69f00", "#cc3377", "#882255", "#f07f6f", "#a6761d", "#b22222", "#e377c2", "#806000")

_STYLE: Any = {
    "font.size": 11,
    "axes.titlesize": 12,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
}


def figure_of(width: float, height: float) -> Figure:
    """Return an empty figure, in inches."""
    return Figure(figsize=(width, height), layout="constrained")


def axes_of(parent: FigureBase, rows: int = 1, columns: int = 1, **kwargs: Any) -> Array:
    """Return new axes [rows, columns] in a figure or a part of one."""
    with matplotlib.rc_context(_STYLE):
        return parent.subplots(rows, columns, squeeze=False, **kwargs)


def label_colours(labels: Array, anomalous: Array) -> dict[Any, str]:
    """A colour for every label, in order: cold for the normal ones, warm for the anomalous; both [N]."""
    colours = {}
    for part, shades in ((~anomalous, COLD), (anomalous, WARM)):
        kinds = np.unique(labels[part]).tolist()
        colours.update({kind: shades[i % len(shades)] for i, kind in enumerate(kinds)})
    return colours


def ordered_labels(samples: Samples) -> list[tuple[Any, bool]]:
    """(label, whether anomalous) of labelled test samples: the normal labels in order, then the anomalous ones."""
    labels, anomalous = _known(samples)
    return [(label, odd) for odd in (False, True) for label in np.unique(labels[anomalous == odd]).tolist()]


def _known(samples: Samples) -> tuple[Array, Array]:
    assert samples.labels is not None  # noqa: S101 - the lab's data has both
    assert samples.anomalous is not None  # noqa: S101
    return samples.labels, samples.anomalous


def picture(sample: Array) -> Array:
    """A sample [C, H, W] as one grey picture [H, W]; anything without two axes becomes a strip one pixel high."""
    return np.atleast_2d(np.asarray(sample, float).reshape(-1, *sample.shape[-2:]).mean(0))


def _show(axes: Axes, sample: Array) -> None:
    axes.imshow(picture(sample), cmap="gray_r", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


# --- scores ---


def _histogram(axes: Axes, anomalous: Array, scores: Array, title: str, edges: Array) -> None:
    for part, colour, name in ((~anomalous, NORMAL, "normal"), (anomalous, ANOMALOUS, "anomalous")):
        share = np.histogram(scores[part], edges)[0] / part.sum()
        axes.stairs(share, edges, fill=True, alpha=0.45, color=colour, label=name)
        axes.stairs(share, edges, color=colour, linewidth=1.2)
    axes.set_title(f"{title}\nAUC {auc(anomalous, scores):.3f}")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def score_histograms(
    anomalous: Array, scores: Mapping[str, Array], *, columns: int = 3, edges: Array | None = None
) -> Figure:
    """One panel a named score [N]: how often each value comes up, normal against anomalous [N], with its AUC."""
    columns = min(columns, len(scores))
    rows = -(-len(scores) // columns)
    figure = figure_of(3.9 * columns, 2.9 * rows)
    panels = axes_of(figure, rows, columns)
    for axes, (name, values) in zip(panels.flat, scores.items(), strict=False):
        own = np.histogram_bin_edges(values, 40) if edges is None else edges
        _histogram(axes, anomalous, values, name, own)
        axes.set_xlabel("anomaly score")
    for axes in panels.flat[len(scores) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("share of its kind")
    panels[0, 0].legend(frameon=False)
    return figure


def temperature_histograms(
    logits: Array, anomalous: Array, temperatures: Sequence[float] = (0.5, 1, 3, 10), *, name: str = ""
) -> Figure:
    """1 − MSP of one trained network's logits [N, V, C] at several temperatures, on one scale."""
    scores = {f"{name}T = {t:g}": msp(logits, t).mean(1) for t in temperatures}
    figure = score_histograms(anomalous, scores, columns=2, edges=_msp_edges(logits))
    for axes in figure.axes:
        axes.set_xlabel("1 − MSP")
    return figure


def _msp_edges(logits: Array) -> Array:
    """Bins over everything 1 − MSP can be with C classes: 0 … 1 − 1/C."""
    return np.linspace(0, 1 - 1 / logits.shape[-1], 41)


def roc_curves(anomalous: Array, scores: Mapping[str, Array]) -> Figure:
    """ROC curves of named scores [N], the AUC of each in the legend."""
    figure = figure_of(7.6, 6.2)
    axes = axes_of(figure)[0, 0]
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":", label="guessing, AUC 0.500")
    colours = (INK, NORMAL, "#56b4e9", "#009e73", ANOMALOUS, "#e69f00", "#cc79a7")
    for i, (name, values) in enumerate(scores.items()):
        alarms, found, _ = roc_curve(anomalous, values)
        style = ("-", "--", "-.")[i % 3]  # not by colour alone
        label = f"{name}, AUC {auc(anomalous, values):.3f}"
        axes.plot(alarms, found, color=colours[i % len(colours)], linestyle=style, linewidth=1.8, label=label)
    axes.set(xlabel="false alarms: share of normal pictures above the threshold", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_ylabel("found: share of anomalies above the threshold")
    axes.legend(frameon=False, loc="lower right")
    return figure


# --- features ---


def embed(features: Array, random_state: int, *, n_jobs: int = 1) -> Array:
    """Lay features [N, D] out in the plane by t-SNE, [N, 2]; the same bits for one `random_state` and `n_jobs`.

    Van der Maaten & Hinton, JMLR 2008; openTSNE: Poličar et al., 2024. 1,500 points take about 3 s with one job,
    the safe choice: on a busy machine two jobs wait for each other and take ten times as long.
    """
    # A network whose units all died gives one point N times: PCA then has no direction to start from.
    start = "pca" if np.ptp(features, axis=0).any() else "random"
    perplexity = min(30, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, initialization=start, random_state=random_state, n_jobs=n_jobs)
    return np.asarray(tsne.fit(features))


def _scatter(axes: Axes, points: Array, labels: Array, anomalous: Array, size: float) -> None:
    colours = label_colours(labels, anomalous)
    for label, colour in colours.items():
        own = labels == label
        odd = bool(anomalous[own][0])
        x, y = points[own].T
        name = f"{label} (anomalous)" if odd else f"{label}"
        marker, area = ("x", 1.6 * size) if odd else ("o", size)
        axes.scatter(x, y, area, color=colour, marker=marker, linewidths=0.9 * odd, alpha=0.75, label=name)
    for label, colour in colours.items():
        # The name stands where its points are densest: at the one with a quarter of them closest by.
        own = points[labels == label]
        apart = np.quantile(np.linalg.norm(own[:, None] - own, axis=2), 0.25, axis=1)
        outline = [withStroke(linewidth=3, foreground="white")]
        x, y = own[apart.argmin()]
        axes.text(x, y, str(label), color=colour, fontsize=15, weight="bold", path_effects=outline)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def embedding_scatter(points: Array, labels: Array, anomalous: Array, *, title: str = "") -> Figure:
    """Points [N, 2] coloured by label [N]: dots for normal ones, crosses for anomalous ones."""
    figure = figure_of(8.6, 6.6)
    axes = axes_of(figure)[0, 0]
    _scatter(axes, points, labels, anomalous, 13)
    axes.set_title(title)
    figure.legend(loc="outside right center", frameon=False, markerscale=1.8)
    return figure


def separation(features: Array, labels: Array) -> float:
    """How far apart the kinds lie for their size: mean distance between class means / mean distance to the own mean.

    features [N, D], labels [N]; the label-smoothing slide's "inter-class feature distance", free of scale.
    """
    kinds, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[index == k].mean(0) for k in range(len(kinds))])
    between = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(len(kinds), 1)].mean()
    within = np.linalg.norm(features - means[index], axis=1).mean()
    return float(between / within) if within > 0 else np.inf


def smoothing_or_temperature(
    networks: Mapping[float, Outputs],
    embeddings: Mapping[float, Array],
    rows: Array,
    test: Samples,
    *,
    one: float = 0.1,
    temperatures: Sequence[float] = (0.5, 1, 3, 10),
) -> Figure:
    """Label smoothing against temperature: four networks over one network's four temperatures.

    Parameters
    ----------
    networks : label smoothing → Outputs of the test samples
    embeddings : label smoothing → points [R, 2] of the test samples `rows` [R]
    one : the network whose temperatures are shown
    """
    labels, anomalous = _known(test)
    columns = max(len(networks), len(temperatures))
    figure = figure_of(3.1 * columns, 11.6)
    above, below = figure.subfigures(2, 1, hspace=0.04, squeeze=False).flat
    above.suptitle("Label smoothing changes the model: four trainings, four networks, other features", fontsize=15)
    below.suptitle("Temperature changes the score alone: one network, the same features throughout", fontsize=15)

    def column(pair: Array, points: Array, outputs: Outputs, smoothing: float, temperature: float) -> None:
        title = f"smoothing {smoothing:g}, T = {temperature:g}"
        _scatter(pair[0], points, labels[rows], anomalous[rows], 5)
        apart = separation(outputs.features[~anomalous, 0], labels[~anomalous])
        pair[0].set_title(f"{title}\nseparation {apart:.2f}")
        _histogram(pair[1], anomalous, msp(outputs.logits, temperature).mean(1), title, _msp_edges(outputs.logits))
        pair[1].set_xlabel("1 − MSP")

    panels = axes_of(above, 2, columns)
    for pair, (smoothing, outputs) in zip(panels.T, networks.items(), strict=False):
        column(pair, embeddings[smoothing], outputs, smoothing, 1)
        wanted = smoothing * (1 - 1 / outputs.logits.shape[-1])  # 1 − MSP of the target that training sets
        pair[1].axvline(wanted, color=INK, linewidth=1.4, linestyle=":", label="asked of normal ones")
    panels[1, 0].legend(frameon=False)
    for pair, temperature in zip(axes_of(below, 2, columns).T, temperatures, strict=False):
        column(pair, embeddings[one], networks[one], one, temperature)
    return figure


# --- calibration ---


def reliability_diagrams(networks: Mapping[str, tuple[Outputs, float]], *, bins: int = 15) -> Figure:
    """Confidence against accuracy, one row a network, before and after its temperature.

    networks: name → (outputs of held-out samples with targets, temperature).
    """
    figure = figure_of(9.2, 3.9 * len(networks))
    panels = axes_of(figure, len(networks), 2, sharex=True, sharey=True)
    for row, (name, (outputs, fitted)) in zip(panels, networks.items(), strict=True):
        assert outputs.targets is not None  # noqa: S101 - held-out samples have labels
        logits, targets = outputs.logits.reshape(-1, outputs.logits.shape[-1]), outputs.targets.ravel()
        for axes, temperature, when in zip(row, (1.0, fitted), ("before", "after"), strict=True):
            found = reliability(logits, targets, temperature=temperature, bins=bins)
            filled = found.count > 0
            axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":")
            sizes = 20 + 380 * found.count[filled] / found.count.sum()  # the area is the share of the samples
            axes.scatter(found.confidence[filled], found.accuracy[filled], s=sizes, color=NORMAL, alpha=0.7)
            axes.plot(found.confidence[filled], found.accuracy[filled], color=NORMAL, linewidth=1)
            axes.set_title(
                f"{name}, {when}: T = {temperature:.2f}\nexpected calibration error {found.expected_error:.4f}"
            )
        row[0].set_ylabel("accuracy")
    for axes in panels[-1]:
        axes.set(xlabel="confidence, max softmax(z/T)", xlim=(0, 1.08), ylim=(0, 1.08))
    return figure


# --- rotations ---


def rotation_confusion(outputs: Outputs) -> Array:
    """How often a sample turned v times is taken for r turns, [V, V]; rows (true turns v) sum to 1."""
    predicted = outputs.transform_logits().argmax(-1)  # [N, V]
    return (predicted[:, :, None] == np.arange(outputs.n_views)).mean(0)


def degrees(turn: int, views: int) -> str:
    """Turn number `turn` of `views` equal turns as an angle: "90°"."""
    return f"{360 * turn // views}°"


def rotation_confusions(outputs: Outputs, test: Samples) -> Figure:
    """One heat map a digit, normal ones in blue and anomalous ones in orange: true turn (row), predicted (column)."""
    labels, _ = _known(test)
    digits, views = ordered_labels(test), outputs.n_views
    columns = min(5, max(sum(odd == kind for _, odd in digits) for kind in (False, True)))
    rows = [
        group[start : start + columns]
        for kind in (False, True)
        for group in [[digit for digit in digits if digit[1] == kind]]
        for start in range(0, len(group), columns)
    ]
    figure = figure_of(2.7 * columns, 2.9 * len(rows))
    panels = axes_of(figure, len(rows), columns)
    names = [degrees(turn, views) for turn in range(views)]
    for axes in panels.flat:
        axes.set_visible(False)
    for line, row in zip(panels, rows, strict=True):
        for axes, (digit, odd) in zip(line, row, strict=False):
            axes.set_visible(True)
            share = rotation_confusion(outputs[labels == digit])
            axes.imshow(share, cmap="Oranges" if odd else "Blues", vmin=0, vmax=1)
            for (v, r), value in np.ndenumerate(share):
                colour = "white" if value > 0.6 else INK
                axes.text(r, v, f"{100 * value:.0f}", ha="center", va="center", color=colour, fontsize=10)
            axes.set_xticks(range(views), names, fontsize=9)
            axes.set_yticks(range(views), names, fontsize=9)
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
            colour = ANOMALOUS if odd else NORMAL
            axes.set_title(f"{digit} ({'anomalous' if odd else 'normal'})", color=colour, weight="bold")
        line[0].set_ylabel("true turn")
    figure.supxlabel("predicted turn; the numbers are % of a row", fontsize=11)
    return figure


def rotation_grid(outputs: Outputs, test: Samples, random_state: int, *, rows: int = 6) -> Figure:
    """Pictures in their turns, normal ones left and anomalous ones right: predicted turn blue, true turn orange.

    Three in four are drawn from those with a mistake, taking the digits in turn; a frame marks a mistake.
    """
    labels, _ = _known(test)
    views = outputs.n_views
    predicted = outputs.transform_logits().argmax(-1)
    mistaken = (predicted != np.arange(views)).any(1)
    draw = np.random.RandomState(random_state)
    figure = figure_of(2.4 * views + 1, 1.45 * rows + 0.7)
    for kind, part in zip((False, True), figure.subfigures(1, 2, wspace=0.08, squeeze=False).flat, strict=True):
        part.suptitle("anomalous digits" if kind else "normal digits", fontsize=13)
        panels = axes_of(part, rows, views, gridspec_kw={"wspace": 0.12})
        digits = [digit for digit, odd in ordered_labels(test) if odd == kind]
        for i in range(rows):
            own = labels == digits[i % len(digits)]
            wanted = own & (mistaken == (i % 4 != 3))
            sample = draw.choice(np.flatnonzero(wanted if wanted.any() else own))
            for turn, axes in enumerate(panels[i]):
                guess = predicted[sample, turn]
                # As `oddkind.train.transforms.Rotations` turns them: counter-clockwise.
                _show(axes, np.rot90(test.inputs[sample], turn, (-2, -1)))
                axes.spines[:].set(visible=bool(guess != turn), color=INK, linewidth=1.6)
                axes.set_title(degrees(guess, views), color=NORMAL, loc="left", fontsize=10, weight="bold", pad=3)
                axes.set_title(degrees(turn, views), color=ANOMALOUS, loc="right", fontsize=10, weight="bold", pad=3)
    key = [Patch(color=NORMAL, label="predicted turn"), Patch(color=ANOMALOUS, label="true turn")]
    figure.legend(handles=key, loc="outside lower center", ncols=2, frameon=False)
    return figure


# --- extremes ---


def extremes(test: Samples, scores: Array, *, count: int = 10) -> Figure:
    """The most and the least anomalous test pictures, then the mistakes: the highest normal, the lowest anomalous."""
    labels, anomalous = _known(test)
    rising = np.argsort(scores, kind="stable")
    falling = rising[::-1]
    groups = {
        "most anomalous of all": falling,
        "least anomalous of all": rising,
        "normal, scored highest: the first false alarms": falling[~anomalous[falling]],
        "anomalous, scored lowest: the last to be found": rising[anomalous[rising]],
    }
    figure = figure_of(1.12 * count, 1.75 * len(groups))
    for part, (title, rows) in zip(figure.subfigures(len(groups), 1, squeeze=False).flat, groups.items(), strict=True):
        part.suptitle(title, fontsize=12, x=0.01, ha="left")
        for axes in (line := axes_of(part, 1, count)[0]):
            axes.set_axis_off()
        for axes, row in zip(line, rows[:count], strict=False):
            axes.set_axis_on()
            _show(axes, test.inputs[row])
            axes.spines[:].set_visible(False)
            axes.set_title(f"{labels[row]}", color=ANOMALOUS if anomalous[row] else NORMAL, fontsize=12, weight="bold")
            axes.set_xlabel(f"{scores[row]:.2g}", fontsize=9)
    return figure


# --- one sample ---


# --- sweeps ---


def _by_setting(result: Result) -> tuple[list[float], list[str], list[str], dict[tuple[float, str, str], Row]]:
    """The label smoothings, temperatures and scores of a sweep, each in the order given, and its rows by the three."""
    rows = {}
    for row in result.rows:
        temperature = row.setting.temperature
        name = "T fitted" if temperature == "fit" else f"T = {temperature:g}"
        rows[row.setting.label_smoothing, name, row.setting.score] = row
    smoothings, temperatures, scores = (list(dict.fromkeys(values)) for values in zip(*rows, strict=True))
    return smoothings, temperatures, scores, rows


def auc_heat_map(result: Result) -> Figure:
    """Mean AUC of a sweep: a panel a score, label smoothing down, temperature across, one scale for all."""
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
    """AUC of a sweep over label smoothing: a panel a temperature, a line a score, its 95 % interval as a band."""
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
    panels[0].set_ylabel("AUC, mean and its 95 % interval")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure
