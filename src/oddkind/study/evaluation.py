"""Settings × seeds → `Result`: how well each way of scoring works, and how sure we are."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from oddkind.detector import Detector
from oddkind.errors import ConcernWarning, InputError
from oddkind.fitting import fit_together
from oddkind.metrics import auc, mean_interval
from oddkind.model.calibration import combined, reliability
from oddkind.model.scores import SCORES, Outputs, target_nll
from oddkind.samples import Array, Samples


@dataclass(frozen=True)
class Setting:
    """One way to detect anomalies.

    Settings that differ in temperature or score alone share their trained networks.
    """

    name: str
    task: str = "labels"
    label_smoothing: float = 0.0
    temperature: float | Literal["fit"] = 1.0
    score: str = "msp"
    lecture_auc: float | None = None


@dataclass(frozen=True)
class Row:
    """What one setting gave, a value a seed.

    Attributes
    ----------
    setting : Setting
    auc : AUC on the test part.
    accuracy : part of the held-out views classified right.
    train_seconds : time of the training loop; in a stack of M models, its M-th part.
    nll, ece : negative log-likelihood and expected calibration error on the held-out normal samples.
    flagged_auc : AUC of flagged anomalies against those; None where none were flagged.
    """

    setting: Setting
    auc: tuple[float, ...]
    accuracy: tuple[float, ...]
    train_seconds: tuple[float, ...]
    nll: tuple[float, ...]
    ece: tuple[float, ...]
    flagged_auc: tuple[float, ...] | None

    @property
    def auc_mean(self) -> float:
        """Mean over the seeds."""
        return float(np.mean(self.auc))

    @property
    def auc_ci95(self) -> tuple[float, float] | None:
        """95 % interval for that mean (Student's t); None for one seed."""
        return mean_interval(self.auc)

    @property
    def lecture_inside(self) -> bool | None:
        """Whether the lecture's AUC lies in the range of our single runs; None where it gives none."""
        lecture = self.setting.lecture_auc
        return None if lecture is None else min(self.auc) <= lecture <= max(self.auc)

    def gain(self, other: Row) -> tuple[float, tuple[float, float] | None]:
        """Mean of this AUC minus another's, seed by seed, and its 95 % interval; None for one seed."""
        differences = np.subtract(self.auc, other.auc)
        return float(differences.mean()), mean_interval(differences.tolist())

    def to_json(self) -> dict[str, Any]:
        """Return the row for results.json."""
        return {
            **asdict(self.setting),
            "auc": list(self.auc),
            "auc_mean": self.auc_mean,
            "auc_ci95": None if self.auc_ci95 is None else list(self.auc_ci95),
            "accuracy": list(self.accuracy),
            "train_seconds": list(self.train_seconds),
            "held_out": {
                "nll": list(self.nll),
                "ece": list(self.ece),
                "flagged_auc": None if self.flagged_auc is None else list(self.flagged_auc),
            },
        }


@dataclass(frozen=True)
class Result:
    """A table: one row a setting."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        """Return the row of the setting called `name`."""
        return next(row for row in self.rows if row.setting.name == name)

    @property
    def chosen_by(self) -> dict[str, Row]:
        """The row that each measure of the held-out part would choose, without a look at the test part.

        "nll" and "ece" (lower is better) see normal data only, and cannot tell scores of one network apart: the
        first of equals is chosen. "flagged_auc" (higher is better) is there if anomalies were flagged.
        """

        def cost(measure: str) -> Callable[[Row], float]:
            sign = -1 if measure == "flagged_auc" else 1
            return lambda row: sign * float(np.mean(getattr(row, measure)))

        measures = ["nll", "ece"] if self.rows[0].flagged_auc is None else ["nll", "ece", "flagged_auc"]
        return {measure: min(self.rows, key=cost(measure)) for measure in measures}

    def to_json(self) -> dict[str, Any]:
        """Return the rows, each with its paired gain over the first, and the choices, for results.json."""
        rows = []
        for row in self.rows:
            mean, interval = row.gain(self.rows[0])
            rows.append(row.to_json() | {"gain": {"mean": mean, "ci95": interval and list(interval)}})
        return {"rows": rows, "chosen_by": {measure: row.setting.name for measure, row in self.chosen_by.items()}}


# The lecture's network and its training: Adam as it comes, batches of 32.
LECTURE: dict[str, Any] = {
    "network": "lecture",
    "batch_size": 32,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "shift": 0,
}

Trained = dict[tuple[str, float], list[Detector]]


def train_settings(
    settings: Sequence[Setting],
    train: Samples,
    *,
    seeds: Sequence[int],
    epochs: int = 5,
    network: str = "lecture",
    like: Detector | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Trained:
    """Train as the lecture does what the settings need: (task, label smoothing) → one `Detector` a seed, in stacks.

    Samples flagged as anomalous are left out. `like`: a detector to train as instead, in all that settings do not say.
    `checkpoints` as in `fit_together`.
    """
    if len(seeds) == 0:
        raise InputError("0 seeds; at least 1 run is needed")
    needed = dict.fromkeys((setting.task, setting.label_smoothing) for setting in settings)
    normal = train if train.anomalous is None else train[~train.anomalous]
    first = Detector(epochs=epochs, **{**LECTURE, "network": network}) if like is None else like
    trained: Trained = {
        (task, smoothing): [
            clone(first).set_params(
                task=task, score="msp", label_smoothing=smoothing, temperature="fit", random_state=seed
            )
            for seed in seeds
        ]
        for task, smoothing in needed
    }
    detectors = [detector for group in trained.values() for detector in group]
    with warnings.catch_warnings():
        # How well each was learnt is what an experiment is there to show, and scores are chosen afterwards.
        warnings.simplefilter("ignore", ConcernWarning)
        fit_together(
            detectors, normal.inputs, normal.labels, normal.groups, checkpoints=checkpoints, on_progress=on_progress
        )
    return trained


def evaluate(
    settings: Sequence[Setting],
    trained: Trained,
    train: Samples,
    test: Samples,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Result:
    """Score the test part with every setting and every seed of its trained networks.

    Parameters
    ----------
    settings, trained, train
        As given to and returned by `train_settings`. Anomalies flagged in `train` are scored against the
        held-out normal samples.
    test : Samples
        With `anomalous`.

    Raises
    ------
    InputError
        Where the test part does not say which samples are anomalous.
    """
    if test.anomalous is None:
        raise InputError(f"{test.name}: which samples are anomalous is not known; an evaluation needs it")
    flags = np.zeros(len(train), bool) if train.anomalous is None else train.anomalous
    normal, flagged = train[~flags], train[flags]
    found: dict[Setting, list[dict[str, float]]] = {setting: [] for setting in settings}
    for (task, smoothing), detectors in trained.items():
        own = [setting for setting in found if (setting.task, setting.label_smoothing) == (task, smoothing)]
        needs_reference = any(SCORES[setting.score].needs_reference for setting in own)
        for detector in detectors:
            outputs = detector.outputs(test.inputs)
            learnt, held_out = normal[detector.training_rows_], normal[detector.validation_rows_]
            references = [detector.outputs(learnt.inputs, learnt.labels)] if needs_reference else None
            calm = detector.outputs(held_out.inputs, held_out.labels)
            # A label is known of the normal samples alone, so no score may use it here.
            mixed = detector.outputs(np.concatenate([held_out.inputs, flagged.inputs])) if len(flagged) else None
            for setting in own:
                values = _held_out(calm, _temperature(detector, setting))
                values["auc"] = auc(test.anomalous, scores_of(detector, setting, outputs, calm, references))
                if mixed is not None:
                    odd = np.arange(len(mixed)) >= len(held_out)
                    values["flagged_auc"] = auc(odd, scores_of(detector, setting, mixed, calm, references))
                found[setting].append(values)
                on_progress(sum(map(len, found.values())) / (len(settings) * len(detectors)))

    def row(setting: Setting) -> Row:
        detectors = trained[setting.task, setting.label_smoothing]

        def column(name: str) -> tuple[float, ...]:
            return tuple(values[name] for values in found[setting])

        return Row(
            setting,
            column("auc"),
            tuple(detector.accuracy_ for detector in detectors),
            tuple(detector.train_seconds_ for detector in detectors),
            column("nll"),
            column("ece"),
            column("flagged_auc") if len(flagged) else None,
        )

    return Result(tuple(row(setting) for setting in settings))


def scores_of(
    detector: Detector, setting: Setting, outputs: Outputs, calm: Outputs, references: list[Outputs] | None
) -> Array:
    """Anomaly scores [N] of a trained network's outputs, as a setting says; their labels are not known.

    `calm`: outputs of the held-out normal samples, `references`: of those learnt from, where the score needs them.
    """
    score, temperature = SCORES[setting.score], _temperature(detector, setting)
    unknown = replace(calm, targets=detector.task_.targets(None, len(calm)))
    usual = score.columns([unknown], references, temperature) if score.parts else np.empty((0, 1))
    weights = score.weights(detector.perplexity_, detector.task_.n_classes)
    return combined(score.columns([outputs], references, temperature), usual, weights)


def _temperature(detector: Detector, setting: Setting) -> float:
    return detector.temperature_ if setting.temperature == "fit" else setting.temperature


def _held_out(outputs: Outputs, temperature: float) -> dict[str, float]:
    """How well the probabilities fit the held-out normal samples."""
    assert outputs.targets is not None  # noqa: S101 - the labels were given
    logits, targets = outputs.logits.reshape(-1, outputs.logits.shape[-1]), outputs.targets.ravel()
    return {
        "nll": float(target_nll(logits, targets, temperature).mean()),
        "ece": reliability(logits, targets, temperature=temperature).expected_error,
    }
