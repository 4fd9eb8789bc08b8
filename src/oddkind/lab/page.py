"""The lab's page: one `report.html` that needs nothing else, and its pictures as PNG files beside it.

Whatever the text claims is computed from the result and the data it stands by; other digits, other numbers.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bokeh.embed import components
from bokeh.resources import Resources

from oddkind.lab import figures
from oddkind.lab.figures import ANOMALOUS, NORMAL, degrees
from oddkind.lab.widgets import hover_map, temperature_slider
from oddkind.metrics import auc
from oddkind.model.calibration import reliability
from oddkind.model.scores import SCORES, Outputs, expected_rotation_distance, max_logit, msp, rotation_distance
from oddkind.samples import Samples
from oddkind.study.evaluation import Result

Array = npt.NDArray[Any]

SEED = 0  # of the random choices of what is shown
MAPPED = 1200  # pictures on the t-SNE maps
SLID = 1500  # pictures of a kind behind the temperature slider
SMOOTHED = {0.0: "initial", 0.1: "label-smoothing-0.1", 0.2: "label-smoothing-0.2", 0.3: "label-smoothing-0.3"}


@dataclass(frozen=True, eq=False)
class Shown:
    """A trained network of the first seed, as the page shows it.

    Attributes
    ----------
    test : Outputs
        Of the test part.
    held_out : Outputs
        Of the validation part, with targets: normal data only.
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
    shown: Mapping[str, Shown],
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Write report.html and its PNGs into a folder that exists.

    Parameters
    ----------
    result : Result
        With a row for every exercise of the lab.
    test : Samples
        What the result was found on: pictures with labels and anomaly flags.
    shown : name → Shown
        "initial", "label-smoothing-0.1", "-0.2", "-0.3" and "rotnet".
    on_progress : callable
        Told the finished part, 0 … 1.
    """
    labels, anomalous = test.labels, test.anomalous
    assert labels is not None  # noqa: S101 - the lab's data has both
    assert anomalous is not None  # noqa: S101
    draw = np.random.RandomState(SEED)
    mapped = np.sort(draw.permutation(len(test))[:MAPPED])
    initial, rotnet = shown["initial"].test, shown["rotnet"].test
    networks = {smoothing: shown[name].test for smoothing, name in SMOOTHED.items()}
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
    }
    for i, (name, drawing) in enumerate(drawn.items()):
        drawing.savefig(folder / f"{name}.png", dpi=110)
        on_progress(0.6 + 0.3 * (i + 1) / len(drawn))

    def picture(name: str, caption: str) -> str:
        data = base64.b64encode((folder / f"{name}.png").read_bytes()).decode()
        text = escape(caption)
        return f'<figure><img src="data:image/png;base64,{data}" alt="{text}"><figcaption>{text}</figcaption></figure>'

    shown_row = np.sort(np.concatenate([draw.permutation(np.flatnonzero(anomalous == k))[:SLID] for k in (0, 1)]))
    logits = {_network(s): outputs.logits[shown_row, 0] for s, outputs in networks.items()}
    slider = temperature_slider(logits, anomalous[shown_row])
    hover = hover_map(maps[0.0], test[mapped], scores[_network(0.0)][mapped])
    script, (slider_place, hover_place) = components((slider, hover))

    n_runs = len(result["initial"].auc)
    digits = {
        odd: escape(_list([str(label) for label, o in figures.ordered_labels(test) if o == odd])) for odd in (0, 1)
    }
    n_odd = int(anomalous.sum())
    body = [
        "<h1>Finding anomalies by classification</h1>",
        f"<p>A network learns to tell kinds of <b class=normal>normal</b> apart: the digits {digits[0]}. What it "
        f"cannot place is an anomaly: here the digits <b class=anomalous>{digits[1]}</b>, which it was never shown. "
        f"The test data ({escape(test.name)}) holds {len(test) - n_odd:,} normal and {n_odd:,} anomalous pictures. "
        f"Every exercise was run {n_runs} time{'s' * (n_runs != 1)}, with other random numbers each time; "
        "the pictures on this page show the first run.</p>",
        "<p>A score says how anomalous a picture looks: higher is more anomalous. The <b>AUC</b> is the chance that "
        "an anomaly scores above a normal picture: 1 is perfect, 0.5 is guessing.</p>",
        "<h2>Results</h2>",
        results_table(result),
        f"<p>The interval is for the mean of {n_runs} run{'s' * (n_runs != 1)} (Student’s t). The lecture’s numbers "
        "are single runs with the normal digits 0 to 3 and the anomalies 7 to 9.</p>",
        picture("histograms", "Scores of normal (blue) and anomalous (orange) test pictures. The less they overlap, "
                "the higher the AUC."),
        picture("roc", "ROC curves: what share of the anomalies each score finds at each rate of false alarms. "
                "A straight piece is a tie: many pictures with the very same score."),
        "<h2>1. Classification of internal labels</h2>",
        "<h3>The initial network</h3>",
        f"<p>The score is 1 − MSP, one minus the largest softmax probability. The network gets "
        f"{_percent(result['initial'].accuracy[0])} of held-out normal pictures right. It never saw an anomaly in "
        f"training; its mean AUC is {result['initial'].auc_mean:.3f}.</p>",
        picture("extremes", "Test pictures by the initial network's score (below each; the digit above it, blue if "
                "normal and orange if anomalous). The last two rows are its worst mistakes."),
        "<h3>What the features look like</h3>",
        f"<p>t-SNE lays the {initial.features.shape[-1]} numbers that the last layer reads out in the plane, so that "
        f"neighbours stay neighbours: {len(mapped):,} test pictures, drawn at random. Where crosses lie among dots, "
        "that anomaly looks to the network like that digit. Distances between far-apart groups mean little.</p>",
        picture("tsne", "t-SNE of the initial network's features: normal digits are dots, anomalous ones crosses."),
        f"<p>The same map to explore: point at a mark to see the picture, its digit and its score.</p>{hover_place}",
        "<h3>Label smoothing</h3>",
        f"<p>Smoothing ε moves the training target from 1 to 1 − ε + ε/C for the right class. "
        f"Compared with the initial network, run by run, 0.1 changes the AUC by "
        f"{paired(result, 'label-smoothing-0.1', 'initial')} From 0.1 to 0.2 the change is "
        f"{paired(result, 'label-smoothing-0.2', 'label-smoothing-0.1')} {_ahead(result)}</p>",
        "<h3>Temperature</h3>",
        "<p>Temperature T divides the logits of a network that is already trained, before the softmax. That moves "
        "the scores, but the AUC depends on their order alone, which T cannot change with two classes and changes "
        "a little with more. Changing T from 1 to 3 (smoothing 0.1) changes it by "
        f"{paired(result, 'temperature-3', 'label-smoothing-0.1')} From 1 to the fitted T (no smoothing): "
        f"{paired(result, 'temperature-fitted', 'initial')} {moved_text(initial, anomalous)}</p>",
        picture("temperatures", "One trained network (no smoothing) at four temperatures."),
        f"<p>Try it: move T; how far does the histogram move, and how far the AUC? "
        f"({len(shown_row):,} pictures, drawn at random.)</p>{slider_place}",
        f"<p>What temperature is for is belief: should a network that says “90 %” be right 9 times in 10? "
        f"Temperature is fitted on held-out normal pictures, by likelihood. {calibration_text(calibrated)}</p>",
        picture("reliability", "Confidence against accuracy on held-out normal pictures, before and after fitting T. "
                "On the dotted line confidence can be believed; a dot's area is its share of the pictures; small "
                "dots jump by chance."),
        "<h3>Label smoothing or temperature?</h3>",
        f"<p>Both move the same histogram, but smoothing trains another network, while temperature only reads the "
        f"same one differently. {smoothing_text(networks, labels, anomalous)}</p>",
        picture("smoothing-or-temperature", "Above: four networks, trained with label smoothing 0, 0.1, 0.2 and 0.3; "
                "features and scores change. Below: one network at four temperatures; only the scores change. "
                "Dotted: the score that training asks of normal pictures. Separation: as in the text."),
        "<h3>A better score of the same network</h3>",
        f"<p>The softmax throws away the common level of the logits. Minus the largest logit keeps it, and needs no "
        f"other training: on the network without smoothing it changes the AUC by "
        f"{paired(result, 'initial-max-logit', 'initial')} Against smoothing 0.1 with "
        f"1 − MSP the difference is {paired(result, 'initial-max-logit', 'label-smoothing-0.1')}</p>",
        "<h2>2. RotNet: no labels at all</h2>",
        "<p>Without labels the network makes its own: every picture is turned by 0°, 90°, 180° and 270°, and it "
        "learns which turn it sees. The lecture's score is the circular distance between the predicted and the true "
        "turn, min(|pred − true|, 4 − |pred − true|), here averaged over the four turns.</p>",
        f"<p>{ties_text(distance, anomalous, result)}</p>",
        "<h3>Why does this happen?</h3>",
        confusion_table(rotnet, test),
        picture("rotation-confusions", "How often (%) each true turn (row) is taken for each turn (column), by digit."),
        f"<p>{centre_text(test)}</p>",
        picture("rotation-grid", "Pictures in their four turns: predicted turn in blue, true turn in orange, mistakes "
                "framed. Pictures with mistakes are shown far more often than they happen."),
        "<h3>Better scores of the same RotNet</h3>",
        f"<p>{rotnet_text(result)}</p>",
    ]  # fmt: skip
    library = Resources(mode="inline", components=["bokeh", "bokeh-widgets"]).render()
    (folder / "report.html").write_text(_page("\n".join(body), library + script), encoding="utf-8")
    on_progress(1.0)


def _network(smoothing: float) -> str:
    return f"smoothing {smoothing:g}" if smoothing else "no smoothing"


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0:+.3f}".replace("-", "−")  # + 0: no minus zero


def _list(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- findings, from the numbers ---


def results_table(result: Result) -> str:
    """The exercises beside the lecture's numbers."""
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
        "<th scope=col>lecture’s in that range?</th></tr></thead><tbody>" + "\n".join(lines) + "</tbody></table>"
    )


def paired(result: Result, name: str, against: str) -> str:
    """How the AUC of one exercise differs from another's, seed by seed, and whether that may be noise."""
    gain, interval = result[name].gain(result[against])
    if interval is None:
        return f"{_signed(gain)} in the only run; one run cannot tell a difference from noise: run more seeds."
    low, high = interval
    verdict = "this may be noise." if low <= 0 <= high else "more than noise."
    return (
        f"{_signed(gain)} on average over {len(result[name].auc)} runs "
        f"(95 % interval {_signed(low)} to {_signed(high)}): {verdict}"
    )


def _ahead(result: Result) -> str:
    apart = np.subtract(result["label-smoothing-0.2"].auc, result["label-smoothing-0.1"].auc)
    return f"0.2 came out ahead in {(apart > 0).sum()} of {len(apart)} runs, 0.1 in {(apart < 0).sum()}."


def moved_text(outputs: Outputs, anomalous: Array) -> str:
    """How far temperature moves the scores, and how far the AUC."""
    low, high = 0.5, 10.0
    (before, after) = (msp(outputs.logits, t).mean(1) for t in (low, high))
    return (
        f"From T = {low:g} to {high:g} the median normal score moves from {np.median(before[~anomalous]):.3f} to "
        f"{np.median(after[~anomalous]):.3f} and the AUC from {auc(anomalous, before):.3f} to "
        f"{auc(anomalous, after):.3f}."
    )


def calibration_text(networks: Mapping[str, tuple[Outputs, float]]) -> str:
    """Calibration errors before and after the fitted temperature."""
    parts = []
    for name, (outputs, temperature) in networks.items():
        assert outputs.targets is not None  # noqa: S101 - held-out samples have labels
        before, after = (
            reliability(outputs.logits[:, 0], outputs.targets[:, 0], temperature=t).expected_error
            for t in (1.0, temperature)
        )
        side = "over-confident" if temperature > 1 else "under-confident"
        parts.append(
            f"With {name} the fit gives T = {temperature:.2f} (the network is {side}) and the expected "
            f"calibration error goes from {before:.4f} to {after:.4f}."
        )
    return " ".join(parts)


def smoothing_text(networks: Mapping[float, Outputs], labels: Array, anomalous: Array) -> str:
    """What smoothing does to the scores and to the features, in numbers."""
    most = max(networks)
    n_classes = networks[most].logits.shape[-1]
    scores = {smoothing: msp(outputs.logits).mean(1) for smoothing, outputs in networks.items()}
    apart = [
        f"{figures.separation(outputs.features[~anomalous, 0], labels[~anomalous]):.2f}"
        for outputs in networks.values()
    ]
    typical = ", ".join(
        f"{np.median(values[~anomalous]):.3f} against {np.median(values[anomalous]):.3f} ({_network(smoothing)})"
        for smoothing, values in scores.items()
    )
    return (
        f"Excessive smoothing shows: with {most:g} training asks 1 − MSP = {most * (1 - 1 / n_classes):.3f} even of "
        f"perfectly normal pictures, and the largest score there can be is {1 - 1 / n_classes:.3f}. Median scores, "
        f"normal against anomalous: {typical}. The lecture says that smoothing enlarges the distances between classes. "
        "Distance between the normal digits’ mean features, for the spread within a digit, with smoothing "
        f"{_list([f'{s:g}' for s in networks])}: {_list(apart)}."
    )


def ties_text(distance: Array, anomalous: Array, result: Result) -> str:
    """How often the circular distance says nothing at all."""
    none = distance == 0
    rotnet = result["rotnet"]
    lecture = rotnet.setting.lecture_auc
    compared = "" if lecture is None else f", where the lecture gives {lecture:.3f}"
    return (
        f"The score is exactly 0, all four turns recognised, for {_percent(none[~anomalous].mean())} of the normal and "
        f"{_percent(none[anomalous].mean())} of the anomalous pictures. Those tie, and no threshold can part them: "
        f"the mean AUC is {rotnet.auc_mean:.3f}{compared}."
    )


def confusion_table(rotnet: Outputs, test: Samples) -> str:
    """Each digit's part of turns recognised, and its most frequent mistake."""
    lines = []
    for digit, odd in figures.ordered_labels(test):
        share = figures.rotation_confusion(rotnet[test.labels == digit])
        right, views = share.trace() / len(share), len(share)
        wrong = share - np.diag(share.diagonal())
        v, r = np.unravel_index(wrong.argmax(), wrong.shape)
        mistake = f"{degrees(int(v), views)} taken for {degrees(int(r), views)}: {_percent(wrong.max())}"
        lines.append(
            f"<tr><th scope=row>{escape(str(digit))} ({'anomalous' if odd else 'normal'})</th>"
            f"<td>{_percent(right)}</td><td>{mistake if wrong.any() else 'none'}</td></tr>"
        )
    return (
        "<table><thead><tr><th scope=col>digit</th><th scope=col>turns recognised</th>"
        "<th scope=col>most frequent mistake</th></tr></thead><tbody>" + "\n".join(lines) + "</tbody></table>"
    )


def centre_rule(inputs: Array) -> Array:
    """Whether the ink of each picture [N, C, H, W] has its centre below and right of the middle, bool [N].

    Turning a picture moves that centre to another quarter for each turn: where this holds, all four turns can be
    named without looking at the shape.
    """
    ink = inputs.astype(float).mean(1)
    down, right = (np.arange(size) - (size - 1) / 2 for size in ink.shape[1:])
    return (np.einsum("nhw,h->n", ink, down) > 0) & (np.einsum("nhw,w->n", ink, right) > 0)


def centre_text(test: Samples) -> str:
    """Whether where the ink lies gives the turn away."""
    assert test.anomalous is not None  # noqa: S101
    told = centre_rule(test.inputs)
    return (
        "One would expect shapes that look the same upside down, such as 0, 1 and 8, to be confused, and a 9 to be "
        "taken for a 6; the table says how far that holds. But there is another clue than the shape. A picture is "
        "turned about its middle; if its ink is centred a fraction of a pixel below and right of that, the centre "
        "moves to another quarter with every turn. So it is in "
        f"{_percent(told[~test.anomalous].mean())} of the normal and {_percent(told[test.anomalous].mean())} of the "
        "anomalous pictures: for those, a rule that never looks at the shape names all four turns, whichever digit "
        "it is. A network that finds this rule recognises the turns of anomalies as surely as those of normal digits."
    )


def rotnet_text(result: Result) -> str:
    """The best of RotNet's scores against the lecture's."""
    lines = [line for line in result.rows if line.setting.task == "rotations"]
    best = max(lines, key=lambda line: line.auc_mean)
    means = _list([f"{escape(line.setting.name)} {line.auc_mean:.3f}" for line in lines])
    better = (
        "The circular distance is the best of them here."
        if best.setting.name == "rotnet"
        else f"The best, {escape(best.setting.name)}, differs from the circular distance by "
        f"{paired(result, best.setting.name, 'rotnet')}"
    )
    return (
        "The predicted turn throws away how sure the network was; the expected distance and the likelihood of the "
        "true turn keep it. The nearest neighbour compares the features with those of normal pictures turned alike, "
        f"whatever turn was predicted. Mean AUC: {means}. {better}"
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

# The browser itself is told to load nothing from anywhere. Bokeh compiles its callbacks: unsafe-eval.
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
