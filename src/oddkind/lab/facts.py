"""All that the page of the lab shows, as one object of JSON."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image
from sklearn.metrics import roc_curve

from oddkind.arrays import Array
from oddkind.lab import answers
from oddkind.lab.measures import densest, embed, ink_centre, known, ordered_labels, separation
from oddkind.lab.shown import ROTNETS, SMOOTHED, ShownNetwork
from oddkind.metrics import auc
from oddkind.model.formulas import energy, entropy, expected_rotation_distance, max_logit, msp, rotation_distance
from oddkind.model.outputs import Outputs
from oddkind.model.scores import SCORES
from oddkind.naming import on_one_line
from oddkind.pages.encoding import data_uri, packed
from oddkind.samples import Samples
from oddkind.study.evaluation import Result, Row

SEED = 0  # for the random choice of the pictures that are shown
N_MAPPED = 1200  # pictures on the t-SNE maps
N_EXTREME = 10  # pictures in a row of the most and the least anomalous ones
N_MISTAKEN = 16  # pictures of a digit whose rotation a network mistakes
N_DRAWN = 400  # points of a ROC curve that is drawn
SIDE, ACROSS = 28, 40  # pixels of a picture on the page, and pictures in a row of the one that holds all


def gather(
    result: Result,
    test: Samples,
    shown: Mapping[str, ShownNetwork],
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Return all that the page shows; texts are messages that can be translated.

    Parameters
    ----------
    result : Result
        It has a row for every exercise of the lab.
    test : Samples
        The test data of the result: pictures with labels and anomaly flags.
    shown : name → ShownNetwork
        The networks of `oddkind.lab.shown.SHOWN`.
    on_progress : callable
        Called with the finished fraction, 0 … 1.
    """
    labels, anomalous = known(test)
    draw = np.random.RandomState(SEED)
    mapped = np.sort(draw.permutation(len(test))[:N_MAPPED])
    networks = []
    for smoothing, name in SMOOTHED.items():
        networks.append(_network(name, smoothing, shown[name], test, mapped))
        on_progress(0.9 * len(networks) / len(SMOOTHED))
    extremes = _extremes(anomalous, msp(shown["initial"].test.logits).mean(1))
    mistaken = _mistaken([shown[name].test for name in ROTNETS], labels, draw)
    pictured = np.unique(np.concatenate([mapped, *extremes, mistaken]))
    pictures = {"rows": packed(pictured, "i4"), "png": sprite(test.inputs[pictured]), "side": SIDE, "across": ACROSS}
    order = {label: number for number, (label, _) in enumerate(ordered_labels(test))}
    content = {
        "oddkind": version("oddkind"),
        "data": on_one_line(test.name),
        "labels": [on_one_line(str(label)) for label in order],
        "n_normal_labels": sum(not odd for _, odd in ordered_labels(test)),
        "label": packed([order[label] for label in labels.tolist()], "u1"),
        "rows": [_row(row) for row in result.rows],
        "networks": networks,
        "temperatures": answers.TEMPERATURES,
        "rates": answers.RATES,
        "mapped": packed(mapped, "i4"),
        "extremes": [rows.tolist() for rows in extremes],
        "pictures": pictures,
        "rotnets": [_rotnet(name, shown[name].test) for name in ROTNETS],
        "centres": packed(ink_centre(test.inputs), "f4"),
        "curves": _curves(anomalous, shown),
        "sections": {
            "results": answers.results(result),
            "framework": answers.framework(result, shown, test),
            "features": answers.features(shown, test, mapped),
            "smoothing": answers.smoothing(result, shown),
            "temperature": answers.temperature(result, shown, test),
            "comparison": answers.comparison(shown, test),
            "rotnet": answers.rotnet(result, shown, test),
            "why": answers.why(test),
            "shortcut": answers.shortcut(result, shown, test),
            "scores": answers.scores(result),
        },
    }
    on_progress(1.0)
    return content


def _network(name: str, smoothing: float, shown: ShownNetwork, test: Samples, mapped: Array) -> dict[str, Any]:
    labels, anomalous = known(test)
    targets = shown.held_out.targets
    assert targets is not None  # noqa: S101 - held-out samples have labels
    features = shown.test.features[:, 0]
    apart = separation(features[~anomalous], labels[~anomalous])
    points = embed(features[mapped], SEED)
    own = [np.flatnonzero(labels[mapped] == label) for label, _ in ordered_labels(test)]
    # Single precision is what the network computes in, so the browser has the same logits as Python.
    return {
        "name": name,
        "smoothing": smoothing,
        "logits": packed(shown.test.logits[:, 0], "f4"),
        "held_out": packed(shown.held_out.logits[:, 0], "f4"),
        "targets": packed(targets[:, 0], "u1"),
        "fitted": shown.temperature,
        "separation": apart if np.isfinite(apart) else None,
        "map": packed(points, "f4"),
        "densest": [int(rows[densest(points[rows])]) if len(rows) else None for rows in own],
    }


def _rotnet(name: str, outputs: Outputs) -> dict[str, Any]:
    """Return the predicted rotation of every picture in every rotation, [N, V]."""
    return {"name": name, "predicted": packed(outputs.transform_logits().argmax(-1), "u1")}


def _row(row: Row) -> dict[str, Any]:
    setting, interval = row.setting, row.auc_ci95
    return {
        "name": on_one_line(setting.name),
        "formula": SCORES[setting.score].formula,
        "lecture": setting.lecture_auc,
        "inside": row.lecture_inside,
        "mean": row.auc_mean,
        "interval": None if interval is None else list(interval),
        "runs": list(row.auc),
    }


def _extremes(anomalous: Array, scores: Array) -> list[Array]:
    """Return test rows: the most and least anomalous of all, the highest normal and the lowest anomalous scores."""
    rising = np.argsort(scores, kind="stable")
    falling = rising[::-1]
    groups = falling, rising, falling[~anomalous[falling]], rising[anomalous[rising]]
    return [rows[:N_EXTREME] for rows in groups]


def _mistaken(rotnets: list[Outputs], labels: Array, draw: np.random.RandomState) -> Array:
    """Return rows of some pictures of each digit whose rotation a network mistakes, at random."""
    chosen = [np.empty(0, int)]
    for outputs in rotnets:
        predicted = outputs.transform_logits().argmax(-1)
        wrong = (predicted != np.arange(outputs.n_views)).any(1)
        chosen += [draw.permutation(np.flatnonzero(wrong & (labels == one)))[:N_MISTAKEN] for one in np.unique(labels)]
    return np.unique(np.concatenate(chosen))


def _curves(anomalous: Array, shown: Mapping[str, ShownNetwork]) -> list[dict[str, Any]]:
    """Return ROC curves of several scores of the first run; of a curve with many points some are left out."""
    logits, turned = shown["initial"].test.logits, shown["rotnet"].test.transform_logits()
    scores = {
        "initial": msp(logits),
        "initial-entropy": entropy(logits),
        "initial-max-logit": max_logit(logits),
        "initial-energy": energy(logits),
        "rotnet": rotation_distance(turned),
        "rotnet-expected-distance": expected_rotation_distance(turned),
    }
    curves = []
    for name, values in scores.items():
        mean = values.mean(1)
        points = np.stack(roc_curve(anomalous, mean)[:2], 1)
        kept = np.unique(np.linspace(0, len(points) - 1, N_DRAWN).astype(int))
        curves.append({"name": name, "auc": auc(anomalous, mean), "points": packed(points[kept], "f4")})
    return curves


def sprite(inputs: Array) -> str:
    """Return pictures [N, C, H, W] in one PNG, `ACROSS` in a row, as a data URI: ink is white, in 16 levels of grey."""
    ink = inputs.astype(float).mean(1)
    ink /= np.maximum(ink.max((1, 2), keepdims=True), 1)
    rows = -(-len(ink) // ACROSS)
    sheet = Image.new("L", (SIDE * ACROSS, SIDE * rows))
    for number, one in enumerate((ink * 15).round().astype(np.uint8) * 17):
        small = Image.fromarray(one).resize((SIDE, SIDE), Image.Resampling.BOX)
        sheet.paste(small, (SIDE * (number % ACROSS), SIDE * (number // ACROSS)))
    png = io.BytesIO()
    sheet.save(png, "PNG", optimize=True)
    return data_uri(png.getvalue(), "image/png")
