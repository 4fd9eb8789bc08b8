"""The exercises of the lecture as a list; they are run over several seeds, and a report is written."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch

from oddkind.errors import InputError
from oddkind.lab.facts import gather
from oddkind.lab.mnist import load_mnist
from oddkind.lab.shown import SHOWN, ShownNetwork
from oddkind.language import Language
from oddkind.output import results_folder
from oddkind.pages.page import write_page
from oddkind.study.evaluation import Configuration, Result, evaluate_settings, train_settings

EXERCISES = (
    # 1. Classification of internal labels; the score is 1 − maximum softmax probability.
    Configuration("initial", lecture_auc=0.868),
    Configuration("label-smoothing-0.1", label_smoothing=0.1, lecture_auc=0.927),
    Configuration("label-smoothing-0.2", label_smoothing=0.2, lecture_auc=0.918),
    Configuration("label-smoothing-0.3", label_smoothing=0.3),
    Configuration("temperature-3", label_smoothing=0.1, temperature=3.0),
    Configuration("temperature-fitted", temperature="fit"),
    # 2. RotNet, without labels: classification of the rotation of a picture.
    Configuration("rotnet", task="rotations", score="rotation-distance", lecture_auc=0.856),
    Configuration("rotnet-expected-distance", task="rotations", score="expected-rotation-distance"),
    Configuration("rotnet-likelihood", task="rotations", score="target-nll"),
    Configuration("rotnet-neighbours", task="rotations", score="cosine-neighbours"),
    # The same score after the shortcut is closed: pictures are moved by up to some pixels in training.
    Configuration("rotnet-shifted", task="rotations", score="rotation-distance", max_shift=2),
    Configuration("rotnet-shifted-larger", task="rotations", score="rotation-distance", network="picture", max_shift=4),
    # Beyond the lecture: other scores of the same initial network.
    Configuration("initial-max-logit", score="max-logit"),
    Configuration("initial-energy", score="energy"),
    Configuration("initial-entropy", score="entropy"),
    Configuration("initial-cosine-neighbours", score="cosine-neighbours"),
    Configuration("initial-euclidean-neighbours", score="euclidean-neighbours"),
    Configuration("initial-mahalanobis", score="mahalanobis"),
)


def run_lab(
    folder: Path,
    *,
    normal: Sequence[int] = (0, 1, 2, 3),
    anomalous: Sequence[int] = (7, 8, 9),
    epochs: int = 5,
    seeds: int = 5,
    language: Language = "en",
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> Result:
    """Run every exercise and write report.html and results.json into `folder`.

    Parameters
    ----------
    folder : path
        It is created if it does not exist. Files of an earlier run are replaced, all at the end; others stay.
    normal, anomalous : digits
    epochs : int
        The number of passes over the training data.
    seeds : int
        The number of independent runs, with the seeds 0, 1, …
    language : "en" or "ko"
        Of the page.
    on_progress : callable
        Called with the stage and its finished fraction, 0 … 1.

    Raises
    ------
    InputError
        If an argument cannot be used or the folder cannot be written.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds}; at least 1 run is needed")
    with results_folder(folder) as (unfinished, checkpoints):
        train, test = load_mnist(normal, anomalous)
        trained = train_settings(
            EXERCISES,
            train,
            seeds=range(seeds),
            epochs=epochs,
            checkpoints=checkpoints,
            on_progress=lambda done: on_progress("training", done),
        )
        result = evaluate_settings(
            EXERCISES, trained, train, test, on_progress=lambda done: on_progress("scoring", done)
        )
        shown = {}
        for name in SHOWN:
            setting = result[name].setting
            detector = trained[setting.training][0]
            held_out = train[detector.model_.report.calibration_rows]
            shown[name] = ShownNetwork(
                detector.outputs(test.inputs),
                detector.outputs(held_out.inputs, held_out.labels),
                detector.model_.temperature,
            )
        facts = gather(result, test, shown, on_progress=lambda done: on_progress("drawing", done))
        write_page("oddkind.lab", facts, unfinished / "report.html", language)
        content = {
            "oddkind": version("oddkind"),
            "torch": torch.__version__,
            "normal": list(normal),
            "anomalous": list(anomalous),
            "epochs": epochs,
            "seeds": list(range(seeds)),
            **result.to_json(),
        }
        (unfinished / "results.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return result
