"""The lab's page: one self-contained `report.html`, and its pictures as PNG files in the same folder.

All numbers in the text are computed from the results and the data, so they fit any choice of digits.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from bokeh.embed import components
from bokeh.resources import Resources

from oddkind.arrays import Array
from oddkind.drawing import ANOMALOUS, NORMAL
from oddkind.lab import figures
from oddkind.lab.figures import degrees
from oddkind.lab.widgets import hover_map, temperature_slider
from oddkind.metrics import auc
from oddkind.model.formulas import expected_rotation_distance, max_logit, msp, rotation_distance
from oddkind.model.outputs import Outputs
from oddkind.model.scores import SCORES
from oddkind.samples import Samples
from oddkind.study.evaluation import Result, Row
from oddkind.study.reliability import reliability

SEED = 0  # for the random choice of the pictures that are shown
N_MAPPED = 1200  # pictures on the t-SNE maps
N_SLIDER = 1500  # normal pictures, and as many anomalous ones, behind the temperature slider
SMOOTHED = {0.0: "initial", 0.1: "label-smoothing-0.1", 0.2: "label-smoothing-0.2", 0.3: "label-smoothing-0.3"}


@dataclass(frozen=True, eq=False)
class ShownNetwork:
    """The outputs of a trained network of the first seed, which the page shows.

    Attributes
    ----------
    test : Outputs
        Outputs for the test data.
    held_out : Outputs
        Outputs for the held-out normal samples, with targets.
    temperature : float
        Fitted on `held_out`.
    """

    test: Outputs
    held_out: Outputs
    temperature: float


def write_report(
    folder: Path,
    result: Result,
    test: Samples,
    shown: Mapping[str, ShownNetwork],
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Write report.html and its PNGs into a folder that exists.

    Parameters
    ----------
    result : Result
        It has a row for every exercise of the lab.
    test : Samples
        The test data of the result: pictures with labels and anomaly flags.
    shown : name → ShownNetwork
        "initial", "label-smoothing-0.1", "-0.2", "-0.3", "rotnet" and "rotnet-shifted".
    on_progress : callable
        Called with the finished fraction, 0 … 1.
    """
    labels, anomalous = test.labels, test.anomalous
    assert labels is not None  # noqa: S101 - the lab's data has both
    assert anomalous is not None  # noqa: S101
    draw = np.random.RandomState(SEED)
    mapped = np.sort(draw.permutation(len(test))[:N_MAPPED])
    initial, rotnet = shown["initial"].test, shown["rotnet"].test
    networks = {smoothing: shown[name].test for smoothing, name in SMOOTHED.items()}
    both_rotnets = {"as in the lecture": rotnet, "pictures moved in training": shown["rotnet-shifted"].test}
    turn_logits = rotnet.transform_logits()
    distance = rotation_distance(turn_logits).mean(1)
    scores = {
        **{_network(s): msp(outputs.logits).mean(1) for s, outputs in networks.items()},
        "no smoothing, max-logit": max_logit(initial.logits).mean(1),
        "RotNet, circular distance": distance,
    }
    more = {**scores, "RotNet, expected distance": expected_rotation_distance(turn_logits).mean(1)}

    maps: dict[float, Array] = {}
    for smoothing, outputs in networks.items():
        maps[smoothing] = figures.embed(outputs.features[mapped, 0], SEED)
        on_progress(0.6 * len(maps) / len(networks))

    calibrated = {_network(s): (shown[SMOOTHED[s]].held_out, shown[SMOOTHED[s]].temperature) for s in (0.0, 0.1)}
    drawn = {
        "histograms": figures.score_histograms(anomalous, scores),
        "roc": figures.roc_curves(anomalous, more),
        "extremes": figures.extremes(test, scores[_network(0.0)]),
        "tsne": figures.embedding_scatter(maps[0.0], labels[mapped], anomalous[mapped]),
        "temperatures": figures.temperature_histograms(initial.logits, anomalous),
        "reliability": figures.reliability_diagrams(calibrated),
        "smoothing-or-temperature": figures.smoothing_or_temperature(networks, maps, mapped, test),
        "rotation-confusions": figures.rotation_confusions(rotnet, test),
        "rotation-grid": figures.rotation_grid(rotnet, test, SEED),
        "rotation-shortcut": figures.rotation_shortcut(test, both_rotnets),
    }
    for i, (name, drawing) in enumerate(drawn.items()):
        drawing.savefig(folder / f"{name}.png", dpi=110)
        on_progress(0.6 + 0.3 * (i + 1) / len(drawn))

    def picture(name: str, caption: str) -> str:
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        text = escape(caption)
        return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'

    shown_rows = np.sort(np.concatenate([draw.permutation(np.flatnonzero(anomalous == k))[:N_SLIDER] for k in (0, 1)]))
    logits = {_network(s): outputs.logits[shown_rows, 0] for s, outputs in networks.items()}
    slider = temperature_slider(logits, anomalous[shown_rows])
    hover = hover_map(maps[0.0], test[mapped], scores[_network(0.0)][mapped])
    script, (slider_place, hover_place) = components((slider, hover))

    n_runs = len(result["initial"].auc)
    digits = {
        kind: escape(_list([str(label) for label, odd in figures.ordered_labels(test) if odd == kind]))
        for kind in (0, 1)
    }
    n_anomalous = int(anomalous.sum())
    body = [
        "<h1>Finding anomalies by classification</h1>",
        f"<p>A network learns to classify kinds of <b class=normal>normal</b> pictures: the digits {digits[0]}. "
        "Pictures that it cannot place in any of these classes are anomalies: here the digits "
        f"<b class=anomalous>{digits[1]}</b>, which it never saw in training. The test data ({escape(test.name)}) "
        f"contains {len(test) - n_anomalous:,} normal and {n_anomalous:,} anomalous pictures. Every exercise was run "
        f"{n_runs} time{'s' * (n_runs != 1)}, each time with different random numbers; the pictures on this page show "
        "the first run.</p>",
        "<p>A score measures how anomalous a picture is: the higher, the more anomalous. The <b>AUC</b> is the chance "
        "that an anomaly scores above a normal picture: 1 is perfect, 0.5 is guessing.</p>",
        "<h2>Results</h2>",
        results_table(result),
        f"<p>The interval is that of the mean of {n_runs} run{'s' * (n_runs != 1)} (Student’s t). The lecture’s "
        "numbers come from single runs with the normal digits 0 to 3 and the anomalies 7 to 9.</p>",
        picture("histograms", "Scores of normal (blue) and anomalous (orange) test pictures. The less they overlap, "
                "the higher the AUC."),
        picture("roc", "ROC curves: the fraction of the anomalies that each score finds at each rate of false alarms. "
                "A straight segment is a tie: many pictures with exactly the same score."),
        "<h2>1. Classification of internal labels</h2>",
        "<h3>The initial network</h3>",
        f"<p>The score is 1 − MSP: one minus the largest softmax probability. The network classifies "
        f"{_percent(result['initial'].accuracy[0])} of the held-out normal pictures correctly. It never saw an anomaly "
        f"in training; its mean AUC is {result['initial'].auc_mean:.3f}.</p>",
        picture("extremes", "Test pictures ordered by the score of the initial network. The score is below each "
                "picture, the digit above it, in blue if normal and in orange if anomalous. The last two rows show the "
                "worst mistakes of the network."),
        "<h3>What the features look like</h3>",
        f"<p>t-SNE maps the {initial.features.shape[-1]} numbers that the last layer reads to the plane, so that "
        f"neighbours remain neighbours. The map shows {len(mapped):,} test pictures, drawn at random. Crosses among "
        "the dots of a digit are anomalies that look like that digit to the network. Distances between groups that are "
        "far apart mean little.</p>",
        picture("tsne", "t-SNE of the initial network's features: dots are normal digits, crosses anomalous ones."),
        "<p>This is the same map: point at a mark to see the picture, its digit and its score.</p>" + hover_place,
        "<h3>Label smoothing</h3>",
        f"<p>Label smoothing ε changes the training target of the true class from 1 to 1 − ε + ε/C. Compared with the "
        f"initial network, run by run, ε = 0.1 changes the AUC by "
        f"{paired(result, 'label-smoothing-0.1', 'initial')} From 0.1 to 0.2 the change is "
        f"{paired(result, 'label-smoothing-0.2', 'label-smoothing-0.1')} {_ahead(result)}</p>",
        "<h3>Temperature</h3>",
        "<p>The temperature T divides the logits of a trained network before the softmax. This moves the scores, but "
        "the AUC depends only on their order. With two classes T cannot change the order; with more classes it changes "
        "the order a little. Changing T from 1 to 3 (smoothing 0.1) changes the AUC by "
        f"{paired(result, 'temperature-3', 'label-smoothing-0.1')} Changing T from 1 to the fitted value (no "
        f"smoothing) changes it by {paired(result, 'temperature-fitted', 'initial')} "
        f"{moved_text(initial, anomalous)}</p>",
        picture("temperatures", "One trained network (no smoothing) at four temperatures."),
        f"<p>Try it: change T and watch how much the histogram moves, and how much the AUC. The plot uses "
        f"{len(shown_rows):,} pictures, drawn at random.</p>{slider_place}",
        f"<p>The purpose of the temperature is calibration: a network that predicts with a probability of 90 % should "
        f"be right 9 times in 10. The temperature is fitted on held-out normal pictures by maximum likelihood. "
        f"{calibration_text(calibrated)}</p>",
        picture("reliability", "Confidence and accuracy on held-out normal pictures, before and after fitting T. On "
                "the dotted line, the confidence equals the accuracy. The area of a dot is its fraction of the "
                "pictures; the positions of small dots vary by chance."),
        "<h3>Label smoothing or temperature?</h3>",
        f"<p>Both move the same histogram, but smoothing trains a different network, while the temperature only "
        f"changes how the outputs of the same network are used. {smoothing_text(networks, labels, anomalous)}</p>",
        picture("smoothing-or-temperature", "Top: four networks, trained with label smoothing 0, 0.1, 0.2 and 0.3; "
                "features and scores change. Bottom: one network at four temperatures; only the scores change. The "
                "dotted line is the score of a picture whose probabilities equal the training target. The separation "
                "is explained in the text."),
        "<h3>A better score of the same network</h3>",
        f"<p>The softmax discards the common level of the logits. The score max-logit, minus the largest logit, keeps "
        f"it, and needs no other training. On the network without smoothing it changes the AUC by "
        f"{paired(result, 'initial-max-logit', 'initial')} Compared with 1 − MSP and smoothing 0.1, "
        f"the difference is {paired(result, 'initial-max-logit', 'label-smoothing-0.1')}</p>",
        "<h2>2. RotNet: without labels</h2>",
        "<p>If there are no labels, they can be created: every picture is rotated by 0°, 90°, 180° and 270°, and the "
        "network learns to classify the rotation. The lecture's score is the circular distance between the predicted "
        "and the true rotation, min(|pred − true|, 4 − |pred − true|), here averaged over the four rotations.</p>",
        f"<p>{ties_text(distance, anomalous, result)}</p>",
        "<h3>Why does this happen?</h3>",
        confusion_table(rotnet, test),
        picture("rotation-confusions", "How often (%) each true rotation (row) is predicted as each rotation (column), "
                "by digit."),
        f"<p>{centre_text(test)}</p>",
        picture("rotation-grid", "Pictures in their four rotations: the predicted rotation in blue, the true one in "
                "orange, a frame around mistakes. Pictures with mistakes are shown far more often than they occur."),
        "<h3>The shortcut, closed</h3>",
        f"<p>{closed_text(result, test, rotnet, shown['rotnet-shifted'].test)}</p>",
        picture("rotation-shortcut", "Left: where the centre of the ink of each test picture lies; the two lines cross "
                "in the middle of the picture. Right: how often the rotation of a test picture is mistaken, by the "
                "network of the lecture and by the same network after training with moved pictures."),
        "<h3>Better scores of the same RotNet</h3>",
        f"<p>{rotnet_text(result)}</p>",
    ]  # fmt: skip
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render()
    (folder / "report.html").write_text(_page("\n".join(body), library + script), encoding="utf-8")
    on_progress(1.0)


def _network(smoothing: float) -> str:
    return f"smoothing {smoothing:g}" if smoothing else "no smoothing"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0:+.3f}".replace("-", "−")  # + 0: no minus zero


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- tables and sentences, computed from the results ---


def results_table(result: Result) -> str:
    """Return a table of the exercises, with the lecture's numbers."""
    lines = []
    for line in result.rows:
        setting, interval = line.setting, line.auc_ci95
        lecture = "–" if setting.lecture_auc is None else f"{setting.lecture_auc:.3f}"
        inside = {None: "–", True: "yes", False: "no"}[line.lecture_inside]
        ours = f"{line.auc_mean:.3f}" + ("" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})")
        formula = SCORES[setting.score].formula
        lines.append(
            f"<tr><th scope=row>{escape(setting.name)}</th><td>{escape(formula)}</td><td>{lecture}</td>"
            f"<td>{ours}</td><td>{min(line.auc):.3f} to {max(line.auc):.3f}</td><td>{inside}</td></tr>"
        )
    return (
        "<table><thead><tr><th scope=col>exercise</th><th scope=col>score</th><th scope=col>lecture’s AUC</th>"
        "<th scope=col>our mean AUC (95 % interval)</th><th scope=col>our single runs</th>"
        "<th scope=col>lecture’s AUC in that range?</th></tr></thead><tbody>" + "\n".join(lines) + "</tbody></table>"
    )


def paired(result: Result, name: str, against: str) -> str:
    """Return the difference between the AUCs of two exercises, seed by seed, and whether it may be noise."""
    gain, interval = result[name].gain(result[against])
    if interval is None:
        return (
            f"{_signed(gain)} in the only run; with one run, a difference cannot be distinguished from noise: "
            "run more seeds."
        )
    low, high = interval
    verdict = "this may be noise." if low <= 0 <= high else "this is more than noise."
    return (
        f"{_signed(gain)} on average over {len(result[name].auc)} runs "
        f"(95 % interval {_signed(low)} to {_signed(high)}): {verdict}"
    )


def _ahead(result: Result) -> str:
    gains = np.subtract(result["label-smoothing-0.2"].auc, result["label-smoothing-0.1"].auc)
    return f"0.2 was better in {(gains > 0).sum()} of {len(gains)} runs, 0.1 in {(gains < 0).sum()}."


def moved_text(outputs: Outputs, anomalous: Array) -> str:
    """Describe how much the temperature changes the scores, and how much the AUC."""
    low, high = 0.5, 10.0
    (before, after) = (msp(outputs.logits, t).mean(1) for t in (low, high))
    return (
        f"From T = {low:g} to {high:g}, the median score of normal pictures changes from "
        f"{np.median(before[~anomalous]):.3f} to {np.median(after[~anomalous]):.3f}, and the AUC "
        f"from {auc(anomalous, before):.3f} to {auc(anomalous, after):.3f}."
    )


def calibration_text(networks: Mapping[str, tuple[Outputs, float]]) -> str:
    """Return the calibration errors before and after fitting the temperature."""
    sentences = []
    for name, (outputs, temperature) in networks.items():
        assert outputs.targets is not None  # noqa: S101 - held-out samples have labels
        before, after = (
            reliability(outputs.logits[:, 0], outputs.targets[:, 0], temperature=t).expected_error
            for t in (1.0, temperature)
        )
        tendency = "over-confident" if temperature > 1 else "under-confident"
        sentences.append(
            f"With {name}, the fitted temperature is T = {temperature:.2f} (the network is {tendency}), and the "
            f"expected calibration error changes from {before:.4f} to {after:.4f}."
        )
    return " ".join(sentences)


def smoothing_text(networks: Mapping[float, Outputs], labels: Array, anomalous: Array) -> str:
    """Describe the effect of label smoothing on the scores and on the features, in numbers."""
    most = max(networks)
    n_classes = networks[most].logits.shape[-1]
    scores = {smoothing: msp(outputs.logits).mean(1) for smoothing, outputs in networks.items()}
    apart = [
        f"{figures.separation(outputs.features[~anomalous, 0], labels[~anomalous]):.2f}"
        for outputs in networks.values()
    ]
    typical = "; ".join(
        f"{np.median(values[~anomalous]):.3f} and {np.median(values[anomalous]):.3f} ({_network(smoothing)})"
        for smoothing, values in scores.items()
    )
    return (
        f"The effect of excessive smoothing is visible: with ε = {most:g}, the training target of even perfectly "
        f"normal pictures has 1 − MSP = {most * (1 - 1 / n_classes):.3f}, while the largest possible score is "
        f"{1 - 1 / n_classes:.3f}. The median scores of normal and anomalous pictures are {typical}. According to the "
        "lecture, smoothing increases the distances between classes. The separation is the mean distance between the "
        "mean features of the normal digits, divided by the mean distance of pictures to the mean of their own digit. "
        f"With smoothing {_list([f'{s:g}' for s in networks])} it is {_list(apart)}."
    )


def ties_text(distance: Array, anomalous: Array, result: Result) -> str:
    """Describe how often the circular distance ties."""
    zero = distance == 0
    rotnet = result["rotnet"]
    lecture = rotnet.setting.lecture_auc
    compared = "" if lecture is None else f" (the lecture gives {lecture:.3f})"
    return (
        f"The score is exactly 0, because all four rotations are recognised, for {_percent(zero[~anomalous].mean())} "
        f"of the normal and {_percent(zero[anomalous].mean())} of the anomalous pictures. These scores tie, and no "
        f"threshold can separate them. The mean AUC is {rotnet.auc_mean:.3f}{compared}."
    )


def confusion_table(rotnet: Outputs, test: Samples) -> str:
    """Return a table of the rotations recognised and of the most frequent mistake, by digit."""
    lines = []
    for digit, odd in figures.ordered_labels(test):
        share = figures.rotation_confusion(rotnet[test.labels == digit])
        right, views = share.trace() / len(share), len(share)
        wrong = share - np.diag(share.diagonal())
        v, r = np.unravel_index(wrong.argmax(), wrong.shape)
        mistake = f"{degrees(int(v), views)} predicted as {degrees(int(r), views)}: {_percent(wrong.max())}"
        lines.append(
            f"<tr><th scope=row>{escape(str(digit))} ({'anomalous' if odd else 'normal'})</th>"
            f"<td>{_percent(right)}</td><td>{mistake if wrong.any() else 'none'}</td></tr>"
        )
    return (
        "<table><thead><tr><th scope=col>digit</th><th scope=col>rotations recognised</th>"
        "<th scope=col>most frequent mistake</th></tr></thead><tbody>" + "\n".join(lines) + "</tbody></table>"
    )


def centre_rule(inputs: Array) -> Array:
    """Return whether the centre of the ink lies below and to the right of the middle, [N, C, H, W] → bool [N].

    Each rotation of a picture moves that centre to another quarter. If this holds, all four rotations can therefore be
    recognised without looking at the shape.
    """
    return np.asarray((figures.ink_centre(inputs) > 0).all(1))


def centre_text(test: Samples) -> str:
    """Describe how often the position of the ink is enough to recognise the rotation."""
    assert test.anomalous is not None  # noqa: S101
    holds = centre_rule(test.inputs)
    return (
        "One would expect that the rotations of shapes that look the same upside down, such as 0, 1 and 8, are "
        "confused, and that a 9 is mistaken for a 6; the table shows how far this is true. But the shape is not the "
        "only clue. A picture is rotated around its middle. If the centre of its ink lies a fraction of a pixel below "
        "and to the right of the middle, every rotation moves that centre to another quarter. This holds for "
        f"{_percent(holds[~test.anomalous].mean())} of the normal and {_percent(holds[test.anomalous].mean())} of the "
        "anomalous pictures. For these, a rule that never looks at the shape recognises all four rotations, whatever "
        "the digit. A network that finds this rule recognises the rotations of anomalies as reliably as those of "
        "normal digits."
    )


def closed_text(result: Result, test: Samples, rotnet: Outputs, shifted: Outputs) -> str:
    """Describe what happens to RotNet when pictures are moved in training, so that the centre reveals nothing."""
    assert test.anomalous is not None  # noqa: S101
    anomalous, rotnets = test.anomalous, [result[f"rotnet{name}"] for name in ("", "-shifted", "-shifted-larger")]
    moves = [line.setting.max_shift for line in rotnets]
    wrong = [
        _percent(figures.rotations_mistaken(outputs[rows]))
        for outputs in (rotnet, shifted)
        for rows in (~anomalous, anomalous)
    ]
    larger = f"{rotnets[2].auc_mean:.3f} with a larger network and moves of up to {moves[2]} pixels"
    return (
        "Such a clue is called a shortcut: it solves the task without what the task was meant to teach. Did the "
        "network find it? To test this, the clue is taken away: in training, every rotated picture is moved by up to "
        f"{moves[1]} pixels in each direction, at random. The centre of the ink can then lie in any quarter, whatever "
        "the rotation, and the shape is what is left to learn from. Test pictures are not moved. The network of the "
        f"first seed now mistakes {wrong[2]} of the rotations of normal pictures, instead of {wrong[0]}, and "
        f"{wrong[3]} of those of digits that it never saw, instead of {wrong[1]}. The mean "
        f"AUC of the circular distance is {rotnets[0].auc_mean:.3f} with the shortcut, {rotnets[1].auc_mean:.3f} "
        f"without it, and {larger}. Closing the shortcut changes the AUC by "
        f"{paired(result, 'rotnet-shifted', 'rotnet')}{_lecture_reached(rotnets)}"
    )


def _lecture_reached(rotnets: list[Row]) -> str:
    """Compare the lecture's AUC of RotNet with the single runs of the rows without the shortcut."""
    lecture = rotnets[0].setting.lecture_auc
    if lecture is None:
        return ""
    places = []
    for line in rotnets[1:]:
        low, high = min(line.auc), max(line.auc)
        where = "within" if low <= lecture <= high else "above" if lecture > high else "below"
        places.append(f"{where} our single runs of {escape(line.setting.name)} ({low:.3f} to {high:.3f})")
    return f" The lecture’s {lecture:.3f} lies {_list(places)}."


def rotnet_text(result: Result) -> str:
    """Compare the scores of RotNet with the lecture's."""
    plain = result["rotnet"].setting.training
    lines = [line for line in result.rows if line.setting.training == plain]
    best = max(lines, key=lambda line: line.auc_mean)
    means = _list([f"{escape(line.setting.name)} {line.auc_mean:.3f}" for line in lines])
    better = (
        "The circular distance is the best of them here."
        if best.setting.name == "rotnet"
        else f"The best, {escape(best.setting.name)}, differs from the circular distance by "
        f"{paired(result, best.setting.name, 'rotnet')}"
    )
    return (
        "The predicted rotation does not contain how confident the network was; the expected distance and the "
        "likelihood of the true rotation do. The score of the nearest neighbour compares the features with those of "
        "normal pictures in the same rotation, and does not use the predicted rotation. The mean AUCs are: "
        f"{means}. {better}"
    )


# --- the page ---

_STYLE = f"""
:root {{ color-scheme: light; }}
body {{ font: 17px/1.55 system-ui, sans-serif; color: #222; background: #fff; max-width: 62rem; margin: 2rem auto;
  padding: 0 1.2rem; }}
h1, h2, h3 {{ line-height: 1.25; }}
h1 {{ font-size: 2rem; }}
h2 {{ margin-top: 3rem; border-bottom: 2px solid #ddd; padding-bottom: .3rem; }}
h3 {{ margin-top: 2.2rem; }}
p {{ max-width: 46rem; }}
.normal {{ color: {NORMAL}; }} .anomalous {{ color: {ANOMALOUS}; }}
table {{ border-collapse: collapse; font-size: .85rem; margin: 1rem 0; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: .3rem 1rem .3rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }}
thead th {{ border-bottom: 2px solid #999; }}
tbody th {{ font-weight: 600; }}
tbody td + td {{ white-space: nowrap; }}
figure {{ margin: 1.6rem 0; break-inside: avoid; }}
figure img {{ max-width: 100%; height: auto; }}
figcaption {{ font-size: .9rem; color: #555; max-width: 46rem; }}
@media print {{ body {{ font-size: 11pt; margin: 0; }} h2, h3 {{ break-after: avoid; }} }}
"""

# The browser must not load anything from anywhere. Bokeh compiles its callbacks, which needs unsafe-eval.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"


def _page(body: str, scripts: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Finding anomalies by classification</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
{scripts}
</body>
</html>
"""
