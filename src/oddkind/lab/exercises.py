"""The lecture's exercises, as one readable list, run over several seeds and written up."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from oddkind import __version__
from oddkind.errors import InputError
from oddkind.lab.mnist import load_mnist
from oddkind.lab.page import Shown, write_report
from oddkind.output import written_whole
from oddkind.study.evaluation import Result, Setting, evaluate, train_settings

EXERCISES = (
    # 1. Classification of internal labels; the score is 1 − maximum softmax probability.
    Setting("initial", lecture_auc=0.868),
    Setting("label-smoothing-0.1", label_smoothing=0.1, lecture_auc=0.927),
    Setting("label-smoothing-0.2", label_smoothing=0.2, lecture_auc=0.918),
    Setting("label-smoothing-0.3", label_smoothing=0.3),
    Setting("temperature-3", label_smoothing=0.1, temperature=3.0),
    Setting("temperature-fitted", temperature="fit"),
    # 2. RotNet: no labels; which way was this picture turned?
    Setting("rotnet", task="rotations", score="rotation-distance", lecture_auc=0.856),
    Setting("rotnet-expected-distance", task="rotations", score="expected-rotation-distance"),
    Setting("rotnet-likelihood", task="rotations", score="target-nll"),
    Setting("rotnet-neighbours", task="rotations", score="cosine-neighbours"),
    # Beyond the lecture: other scores of the same initial network.
    Setting("initial-max-logit", score="max-logit"),
    Setting("initial-energy", score="energy"),
    Setting("initial-entropy", score="entropy"),
    Setting("initial-cosine-neighbours", score="cosine-neighbours"),
    Setting("initial-euclidean-neighbours", score="euclidean-neighbours"),
    Setting("initial-mahalanobis", score="mahalanobis"),
)

# The exercises whose network the page shows.
SHOWN = ("initial", "label-smoothing-0.1", "label-smoothing-0.2", "label-smoothing-0.3", "rotnet")


def run_lab(
    folder: Path,
    *,
    normal: Sequence[int] = (0, 1, 2, 3),
    anomalous: Sequence[int] = (7, 8, 9),
    epochs: int = 5,
    seeds: int = 5,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> Result:
    """Run every exercise and write report.html, its PNGs and results.json into `folder`.

    Parameters
    ----------
    folder : path
        Made where it is missing; files of an earlier run are replaced, all at the end, others stay.
    normal, anomalous : digits
    epochs : int
        Passes over the training part.
    seeds : int
        How many independent runs: seeds 0, 1, …
    on_progress : callable
        Told the stage and its finished part, 0 … 1.

    Raises
    ------
    InputError
        Where an argument cannot be used or the folder cannot be written.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds}; at least 1 run is needed")
    with written_whole(folder) as (unfinished, checkpoints):
        train, test = load_mnist(normal, anomalous)
        trained = train_settings(
            EXERCISES,
            train,
            seeds=range(seeds),
            epochs=epochs,
            checkpoints=checkpoints,
            on_progress=lambda done: on_progress("training", done),
        )
        result = evaluate(EXERCISES, trained, train, test, on_progress=lambda done: on_progress("scoring", done))
        shown = {}
        for name in SHOWN:
            setting = result[name].setting
            detector = trained[setting.task, setting.label_smoothing][0]
            held_out = train[detector.validation_rows_]
            shown[name] = Shown(
                detector.outputs(test.inputs),
                detector.outputs(held_out.inputs, held_out.labels),
                detector.temperature_,
            )
        write_report(unfinished, result, test, shown, on_progress=lambda done: on_progress("drawing", done))
        facts = {
            "oddkind": __version__,
            "torch": torch.__version__,
            "normal": list(normal),
            "anomalous": list(anomalous),
            "epochs": epochs,
            "seeds": list(range(seeds)),
            **result.to_json(),
        }
        (unfinished / "results.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return result
