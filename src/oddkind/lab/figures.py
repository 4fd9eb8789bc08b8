"""Figures of scores, features and mistakes: each function returns a matplotlib `Figure`.

Nothing here uses pyplot: a figure belongs to its caller, and no global state or display is touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import PercentFormatter
from openTSNE import TSNE
from sklearn.metrics import roc_curve

from oddkind.arrays import Array
from oddkind.drawing import ANOMALOUS, FAINT, INK, NORMAL, axes_of, figure_of, picture
from oddkind.metrics import auc
from oddkind.model.formulas import msp
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples
from oddkind.study.evaluation import Result, Row
from oddkind.study.reliability import reliability

# Shades for single digits: cold for normal ones, warm for anomalous ones.
COLD = (NORMAL, "#56b4e9", "#009e73", "#332288", "#7fcdbb", "#5f7f9f", "#117733", "#9d9ade", "#225ea8")
WARM = (ANOMALOUS, "#e69f00", "#cc3377", "#882255", "#f07f6f", "#a6761d", "#b22222", "#e377c2", "#806000")


def label_colours(labels: Array, anomalous: Array) -> dict[Any, str]:
    """Return a colour for every label [N], in order: cold for normal labels, warm for anomalous ones."""
    colours = {}
    for rows, shades in ((~anomalous, COLD), (anomalous, WARM)):
        names = np.unique(labels[rows]).tolist()
        colours.update({name: shades[i % len(shades)] for i, name in enumerate(names)})
    return colours


def ordered_labels(samples: Samples) -> list[tuple[Any, bool]]:
    """Return the pairs (label, whether anomalous) of test samples: normal labels in order, then the anomalous ones."""
    labels, anomalous = _known(samples)
    return [(label, odd) for odd in (False, True) for label in np.unique(labels[anomalous == odd]).tolist()]


def _known(samples: Samples) -> tuple[Array, Array]:
    assert samples.labels is not None  # noqa: S101 - the lab's data has both
    assert samples.anomalous is not None  # noqa: S101
    return samples.labels, samples.anomalous


def _show(axes: Axes, sample: Array) -> None:
    axes.imshow(picture(sample), cmap="gray_r", interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


# --- scores ---


def _histogram(axes: Axes, anomalous: Array, scores: Array, title: str, edges: Array) -> None:
    for rows, colour, name in ((~anomalous, NORMAL, "normal"), (anomalous, ANOMALOUS, "anomalous")):
        share = np.histogram(scores[rows], edges)[0] / rows.sum()
        axes.stairs(share, edges, fill=True, alpha=0.45, color=colour, label=name)
        axes.stairs(share, edges, color=colour, linewidth=1.2)
    axes.set_title(f"{title}\nAUC {auc(anomalous, scores):.3f}")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def score_histograms(
    anomalous: Array, scores: Mapping[str, Array], *, columns: int = 3, edges: Array | None = None
) -> Figure:
    """Histograms of named scores [N], one panel each: normal and anomalous [N] samples, with the AUC."""
    columns = min(columns, len(scores))
    rows = -(-len(scores) // columns)
    figure = figure_of(3.9 * columns, 2.9 * rows)
    panels = axes_of(figure, rows, columns)
    for axes, (name, values) in zip(panels.flat, scores.items(), strict=False):
        bins = np.histogram_bin_edges(values, 40) if edges is None else edges
        _histogram(axes, anomalous, values, name, bins)
        axes.set_xlabel("anomaly score")
    for axes in panels.flat[len(scores) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("fraction of its kind")
    panels[0, 0].legend(frameon=False)
    return figure


def temperature_histograms(
    logits: Array, anomalous: Array, temperatures: Sequence[float] = (0.5, 1, 3, 10), *, name: str = ""
) -> Figure:
    """Histograms of 1 − MSP for the logits [N, V, C] of one network at several temperatures, on one scale."""
    scores = {f"{name}T = {t:g}": msp(logits, t).mean(1) for t in temperatures}
    figure = score_histograms(anomalous, scores, columns=2, edges=_msp_edges(logits))
    for axes in figure.axes:
        axes.set_xlabel("1 − MSP")
    return figure


def _msp_edges(logits: Array) -> Array:
    """Return bins over the range of 1 − MSP with C classes: 0 … 1 − 1/C."""
    return np.linspace(0, 1 - 1 / logits.shape[-1], 41)


def roc_curves(anomalous: Array, scores: Mapping[str, Array]) -> Figure:
    """ROC curves of named scores [N], with the AUC of each in the legend."""
    figure = figure_of(7.6, 6.2)
    axes = axes_of(figure)[0, 0]
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle=":", label="guessing, AUC 0.500")
    colours = (INK, NORMAL, "#56b4e9", "#009e73", ANOMALOUS, "#e69f00", "#cc79a7")
    for i, (name, values) in enumerate(scores.items()):
        alarms, found, _ = roc_curve(anomalous, values)
        style = ("-", "--", "-.")[i % 3]  # colour is not the only difference
        label = f"{name}, AUC {auc(anomalous, values):.3f}"
        axes.plot(alarms, found, color=colours[i % len(colours)], linestyle=style, linewidth=1.8, label=label)
    axes.set(xlabel="false alarms: fraction of normal pictures above the threshold", xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_ylabel("found: fraction of anomalies above the threshold")
    axes.legend(frameon=False, loc="lower right")
    return figure


# --- features ---


def embed(features: Array, random_state: int, *, n_jobs: int = 1) -> Array:
    """Arrange features [N, D] in the plane by t-SNE, [N, 2]; the same bits for the same `random_state` and `n_jobs`.

    Van der Maaten & Hinton, JMLR 2008; openTSNE: Poličar et al., 2024. 1,500 points take about 3 s with one job, which
    is the safe choice: on a busy machine, two jobs wait for each other and take ten times as long.
    """
    # A network whose units are all dead gives N equal points, and then PCA has no direction to start from.
    start = "pca" if np.ptp(features, axis=0).any() else "random"
    perplexity = min(30, (len(features) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, initialization=start, random_state=random_state, n_jobs=n_jobs)
    return np.asarray(tsne.fit(features))


def _scatter(axes: Axes, points: Array, labels: Array, anomalous: Array, size: float) -> None:
    colours = label_colours(labels, anomalous)
    for label, colour in colours.items():
        rows = labels == label
        odd = bool(anomalous[rows][0])
        x, y = points[rows].T
        name = f"{label} (anomalous)" if odd else f"{label}"
        marker, area = ("x", 1.6 * size) if odd else ("o", size)
        axes.scatter(x, y, area, color=colour, marker=marker, linewidths=0.9 * odd, alpha=0.75, label=name)
    for label, colour in colours.items():
        # The name is placed where the points are densest: at the point that has a quarter of them closest to it.
        group = points[labels == label]
        apart = np.quantile(np.linalg.norm(group[:, None] - group, axis=2), 0.25, axis=1)
        outline = [withStroke(linewidth=3, foreground="white")]
        x, y = group[apart.argmin()]
        axes.text(x, y, str(label), color=colour, fontsize=15, weight="bold", path_effects=outline)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def embedding_scatter(points: Array, labels: Array, anomalous: Array, *, title: str = "") -> Figure:
    """Points [N, 2], coloured by label [N]: dots for normal samples, crosses for anomalous ones."""
    figure = figure_of(8.6, 6.6)
    axes = axes_of(figure)[0, 0]
    _scatter(axes, points, labels, anomalous, 13)
    axes.set_title(title)
    figure.legend(loc="outside right center", frameon=False, markerscale=1.8)
    return figure


def separation(features: Array, labels: Array) -> float:
    """Mean distance between class means / mean distance to the mean of the own class; features [N, D], labels [N].

    It is the "inter-class feature distance" of the lecture's slide on label smoothing, made independent of scale.
    """
    classes, index = np.unique(labels, return_inverse=True)
    means = np.stack([features[index == c].mean(0) for c in range(len(classes))])
    between = np.linalg.norm(means[:, None] - means, axis=2)[np.triu_indices(len(classes), 1)].mean()
    within = np.linalg.norm(features - means[index], axis=1).mean()
    return float(between / within) if within > 0 else np.inf


def smoothing_or_temperature(
    networks: Mapping[float, Outputs],
    embeddings: Mapping[float, Array],
    rows: Array,
    test: Samples,
    *,
    shown: float = 0.1,
    temperatures: Sequence[float] = (0.5, 1, 3, 10),
) -> Figure:
    """Label smoothing compared with temperature: four networks, and one of them at four temperatures.

    Parameters
    ----------
    networks : label smoothing → Outputs of the test samples
    embeddings : label smoothing → points [R, 2] of the test samples `rows` [R]
    shown : label smoothing of the network that is shown at several temperatures
    """
    labels, anomalous = _known(test)
    columns = max(len(networks), len(temperatures))
    figure = figure_of(3.1 * columns, 11.6)
    above, below = figure.subfigures(2, 1, hspace=0.04, squeeze=False).flat
    above.suptitle("Label smoothing changes the network: four networks with different features", fontsize=15)
    below.suptitle("Temperature changes only the score: one network with the same features", fontsize=15)

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
        wanted = smoothing * (1 - 1 / outputs.logits.shape[-1])  # 1 − MSP of the training target
        pair[1].axvline(wanted, color=INK, linewidth=1.4, linestyle=":", label="training target")
    panels[1, 0].legend(frameon=False)
    for pair, temperature in zip(axes_of(below, 2, columns).T, temperatures, strict=False):
        column(pair, embeddings[shown], networks[shown], shown, temperature)
    return figure


# --- calibration ---


def reliability_diagrams(networks: Mapping[str, tuple[Outputs, float]], *, bins: int = 15) -> Figure:
    """Confidence and accuracy, one row for each network, before and after fitting its temperature.

    `networks`: name → (outputs of held-out samples with targets, temperature).
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
            sizes = 20 + 380 * found.count[filled] / found.count.sum()  # the area is the fraction of the samples
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
    """Return how often a sample rotated v times is taken for one rotated r times, [V, V]; rows (true v) sum to 1."""
    predicted = outputs.transform_logits().argmax(-1)  # [N, V]
    return (predicted[:, :, None] == np.arange(outputs.n_views)).mean(0)


def rotations_mistaken(outputs: Outputs) -> float:
    """Return the fraction of the rotated pictures whose rotation is mistaken."""
    return float(1 - rotation_confusion(outputs).trace() / outputs.n_views)


def degrees(turn: int, views: int) -> str:
    """Return the angle of rotation number `turn` of `views` equal rotations, such as "90°"."""
    return f"{360 * turn // views}°"


def rotation_confusions(outputs: Outputs, test: Samples) -> Figure:
    """A heat map for each digit, blue for normal ones, orange for anomalous ones: true (row), predicted (column)."""
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
        line[0].set_ylabel("true rotation")
    figure.supxlabel("predicted rotation; the numbers are percentages of a row", fontsize=11)
    return figure


def rotation_grid(outputs: Outputs, test: Samples, random_state: int, *, rows: int = 6) -> Figure:
    """Pictures in their rotations, normal ones left, anomalous ones right; predicted in blue, true in orange.

    Three in four pictures are drawn from those with a mistake, from each digit in turn; a frame marks a mistake.
    """
    labels, _ = _known(test)
    views = outputs.n_views
    predicted = outputs.transform_logits().argmax(-1)
    mistaken = (predicted != np.arange(views)).any(1)
    draw = np.random.RandomState(random_state)
    figure = figure_of(2.4 * views + 1, 1.45 * rows + 0.7)
    for kind, half in zip((False, True), figure.subfigures(1, 2, wspace=0.08, squeeze=False).flat, strict=True):
        half.suptitle("anomalous digits" if kind else "normal digits", fontsize=13)
        panels = axes_of(half, rows, views, gridspec_kw={"wspace": 0.12})
        digits = [digit for digit, odd in ordered_labels(test) if odd == kind]
        for i in range(rows):
            candidates = labels == digits[i % len(digits)]
            wanted = candidates & (mistaken == (i % 4 != 3))
            sample = draw.choice(np.flatnonzero(wanted if wanted.any() else candidates))
            for turn, axes in enumerate(panels[i]):
                guess = predicted[sample, turn]
                # Counter-clockwise, as in `oddkind.train.transforms.Rotations`.
                _show(axes, np.rot90(test.inputs[sample], turn, (-2, -1)))
                axes.spines[:].set(visible=bool(guess != turn), color=INK, linewidth=1.6)
                axes.set_title(degrees(guess, views), color=NORMAL, loc="left", fontsize=10, weight="bold", pad=3)
                axes.set_title(degrees(turn, views), color=ANOMALOUS, loc="right", fontsize=10, weight="bold", pad=3)
    key = [Patch(color=NORMAL, label="predicted rotation"), Patch(color=ANOMALOUS, label="true rotation")]
    figure.legend(handles=key, loc="outside lower center", ncols=2, frameon=False)
    return figure


def ink_centre(inputs: Array) -> Array:
    """Return how far the centre of the ink of pictures [N, C, H, W] lies below and right of the middle, pixels [N, 2].

    The centre of a picture without ink is its middle.
    """
    ink = inputs.astype(float).mean(1)
    total = np.maximum(ink.sum((1, 2)), np.finfo(float).tiny)
    down, right = (np.arange(size) - (size - 1) / 2 for size in ink.shape[1:])
    return np.stack([np.einsum("nhw,h->n", ink, down) / total, np.einsum("nhw,w->n", ink, right) / total], 1)


def rotation_shortcut(test: Samples, networks: Mapping[str, Outputs]) -> Figure:
    """Left: where the centre of each picture's ink lies. Right: how often named networks mistake a rotation."""
    _, anomalous = _known(test)
    kinds = ((~anomalous, NORMAL, "normal"), (anomalous, ANOMALOUS, "anomalous"))
    figure = figure_of(11, 4.3)
    places, bars = axes_of(figure, 1, 2)[0]
    centres = ink_centre(test.inputs)
    reach = max(1.0, float(np.quantile(np.abs(centres), 0.999)))
    for rows, colour, _ in kinds:
        places.scatter(centres[rows, 1], centres[rows, 0], 3, color=colour, alpha=0.25, linewidths=0)
    places.axhline(0, color=INK, linewidth=0.8)
    places.axvline(0, color=INK, linewidth=0.8)
    places.set(xlim=(-reach, reach), ylim=(reach, -reach), aspect="equal", title="centre of the ink")
    places.locator_params(nbins=5)
    places.set_xlabel("pixels right of the middle")
    places.set_ylabel("pixels below the middle")
    key = [Patch(color=colour, label=name) for _, colour, name in kinds]
    places.legend(handles=key, frameon=False, loc="upper left")
    for i, (rows, colour, _) in enumerate(kinds):
        wrong = [rotations_mistaken(outputs[rows]) for outputs in networks.values()]
        drawn = bars.bar(np.arange(len(networks)) + 0.4 * i - 0.2, wrong, 0.36, color=colour)
        bars.bar_label(drawn, [f"{100 * value:.1f} %" for value in wrong], padding=2)
    bars.set_xticks(range(len(networks)), list(networks))
    bars.tick_params(axis="x", length=0)
    bars.yaxis.set_major_formatter(PercentFormatter(1))
    bars.set_title("rotations that are mistaken")
    return figure


# --- extremes ---


def extremes(test: Samples, scores: Array, *, count: int = 10) -> Figure:
    """The most and the least anomalous test pictures, then the highest normal and the lowest anomalous scores."""
    labels, anomalous = _known(test)
    rising = np.argsort(scores, kind="stable")
    falling = rising[::-1]
    groups = {
        "most anomalous of all": falling,
        "least anomalous of all": rising,
        "normal pictures with the highest scores: the first false alarms": falling[~anomalous[falling]],
        "anomalies with the lowest scores: the last to be found": rising[anomalous[rising]],
    }
    figure = figure_of(1.12 * count, 1.75 * len(groups))
    for strip, (title, rows) in zip(figure.subfigures(len(groups), 1, squeeze=False).flat, groups.items(), strict=True):
        strip.suptitle(title, fontsize=12, x=0.01, ha="left")
        for axes in (line := axes_of(strip, 1, count)[0]):
            axes.set_axis_off()
        for axes, row in zip(line, rows[:count], strict=False):
            axes.set_axis_on()
            _show(axes, test.inputs[row])
            axes.spines[:].set_visible(False)
            axes.set_title(f"{labels[row]}", color=ANOMALOUS if anomalous[row] else NORMAL, fontsize=12, weight="bold")
            axes.set_xlabel(f"{scores[row]:.2g}", fontsize=9)
    return figure


# --- sweeps ---


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
