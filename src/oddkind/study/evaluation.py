"""Evaluation of configurations over several seeds: how well each works, with its uncertainty."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from sklearn.base import clone

from oddkind import distributed
from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.errors import ConcernWarning, InputError, PromiseWarning
from oddkind.fitting import fit_together
from oddkind.metrics import auc, mean_interval
from oddkind.model.combining import combined
from oddkind.model.fitted_score import learn_score
from oddkind.model.formulas import target_nll
from oddkind.model.model import Model
from oddkind.model.outputs import Outputs
from oddkind.model.scores import SCORES, Combination, components_of
from oddkind.samples import Samples
from oddkind.study.reliability import reliability
from oddkind.train.temperature import fit_temperature, label_perplexity

# So many detectors are evaluated by one task, where processes share the work.
DETECTORS_AT_ONCE = 4

Training = tuple[str, float, str | None, int | None]
Trained = dict[Training, list[Detector]]


@dataclass(frozen=True)
class Configuration:
    """One way to detect anomalies.

    Configurations that differ only in temperature or score share their trained networks. A `network` or `max_shift` of
    None is that of the detector with which `train_settings` begins.
    """

    name: str
    task: str = "labels"
    label_smoothing: float = 0.0
    temperature: float | Literal["fit"] = 1.0
    score: str = "msp"
    lecture_auc: float | None = None
    network: str | None = None
    max_shift: int | None = None

    @property
    def training(self) -> Training:
        """What the training depends on: task, label smoothing, network and largest shift."""
        return self.task, self.label_smoothing, self.network, self.max_shift


@dataclass(frozen=True)
class Row:
    """The results of one configuration, with a value for each seed.

    Attributes
    ----------
    setting : Configuration
    auc : AUC on the test data.
    accuracy : fraction of the held-out views that are classified correctly.
    train_seconds : time of the training loop; in a stack of M models, 1 / M of it.
    nll, ece : negative log-likelihood and expected calibration error on the held-out normal samples.
    flagged_auc : AUC of flagged anomalies against the held-out normal samples; None if none were flagged.
    """

    setting: Configuration
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
        """95 % interval of that mean (Student's t); None for one seed."""
        return mean_interval(self.auc)

    @property
    def lecture_inside(self) -> bool | None:
        """True if the lecture's AUC lies in the range of our single runs; None if the lecture gives none."""
        lecture = self.setting.lecture_auc
        return None if lecture is None else min(self.auc) <= lecture <= max(self.auc)

    def gain(self, other: Row) -> tuple[float, tuple[float, float] | None]:
        """Mean difference to the AUC of another row, seed by seed, and its 95 % interval (None for one seed)."""
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
    """A table with one row for each configuration."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        """Return the row of the configuration called `name`."""
        return next(row for row in self.rows if row.setting.name == name)

    @property
    def chosen_by(self) -> dict[str, Row]:
        """The row that each measure on held-out data chooses, without using the test data.

        "nll" and "ece" (lower is better) use normal data only. They are equal for all scores of one network, and the
        first of equal rows is chosen. "flagged_auc" (higher is better) is present if anomalies were flagged.
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


# The lecture's network and its training: Adam with its default settings, batches of 32.
LECTURE: dict[str, Any] = {
    "network": "lecture",
    "batch_size": 32,
    "learning_rate": 1e-3,
    "schedule": "constant",
    "max_shift": 0,
}


def train_settings(
    settings: Sequence[Configuration],
    train: Samples,
    *,
    seeds: Sequence[int],
    epochs: int = 5,
    network: str = "lecture",
    like: Detector | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Trained:
    """Train the networks that configurations need: `Configuration.training` → a `Detector` for each seed, in stacks.

    They are trained as in the lecture, or with the parameters of the detector `like`, except for those that the
    configurations set. Samples flagged as anomalous are left out. `checkpoints` is as in `fit_together`.
    """
    if len(seeds) == 0:
        raise InputError("0 seeds; at least 1 run is needed")
    needed = dict.fromkeys(setting.training for setting in settings)
    normal = train if train.anomalous is None else train[~train.anomalous]
    first = Detector(epochs=epochs, **{**LECTURE, "network": network}) if like is None else like
    trained: Trained = {}
    for training in needed:
        task, smoothing, own_network, max_shift = training
        alike = clone(first).set_params(
            task=task,
            score_function="msp",
            label_smoothing=smoothing,
            temperature="fit",
            network=first.network if own_network is None else own_network,
            max_shift=first.max_shift if max_shift is None else max_shift,
        )
        trained[training] = [clone(alike).set_params(random_state=seed) for seed in seeds]
    detectors = [detector for group in trained.values() for detector in group]
    with warnings.catch_warnings():
        # An experiment shows how well each was learnt, and scores are chosen afterwards.
        warnings.simplefilter("ignore", ConcernWarning)
        warnings.simplefilter("ignore", PromiseWarning)
        fit_together(
            detectors, normal.inputs, normal.labels, normal.groups, checkpoints=checkpoints, on_progress=on_progress
        )
    return trained


def evaluate_settings(
    settings: Sequence[Configuration],
    trained: Trained,
    train: Samples,
    test: Samples,
    *,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Result:
    """Score the test data with every configuration and every seed of its trained networks.

    Parameters
    ----------
    settings, trained, train
        The arguments and the result of `train_settings`. Anomalies flagged in `train` are compared with the held-out
        normal samples.
    test : Samples
        Test data, with `anomalous`.

    Raises
    ------
    InputError
        If the test data does not flag which samples are anomalous.
    """
    if test.anomalous is None:
        raise InputError(f"{test.name}: which samples are anomalous is not known; pass anomalous= for an evaluation")
    found: dict[Configuration, list[dict[str, float]]] = {setting: [] for setting in settings}
    tasks = [
        _Evaluated([setting for setting in found if setting.training == training], detectors[start:end], train, test)
        for training, detectors in trained.items()
        for start in range(0, len(detectors), DETECTORS_AT_ONCE)
        for end in [start + DETECTORS_AT_ONCE]
    ]
    for task, measured in zip(tasks, distributed.run(_evaluate, tasks, on_progress), strict=True):
        for setting, of_detectors in zip(task.settings, measured, strict=True):
            found[setting] += of_detectors
    has_flagged = train.anomalous is not None and bool(train.anomalous.any())

    def row(setting: Configuration) -> Row:
        detectors = trained[setting.training]

        def column(name: str) -> tuple[float, ...]:
            return tuple(values[name] for values in found[setting])

        return Row(
            setting,
            column("auc"),
            tuple(detector.model_.report.accuracy for detector in detectors),
            tuple(detector.model_.report.train_seconds for detector in detectors),
            column("nll"),
            column("ece"),
            column("flagged_auc") if has_flagged else None,
        )

    return Result(tuple(row(setting) for setting in settings))


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """Some detectors that were trained alike, and the configurations that use their networks."""

    settings: list[Configuration]
    detectors: list[Detector]
    train: Samples
    test: Samples


def _evaluate(task: _Evaluated, on_progress: Callable[[float], None]) -> list[list[dict[str, float]]]:
    """Return what each configuration achieves with each detector."""
    train, test = task.train, task.test
    assert test.anomalous is not None  # noqa: S101 - refused above
    flags = np.zeros(len(train), bool) if train.anomalous is None else train.anomalous
    normal, flagged = train[~flags], train[flags]
    learns = any(component.learn for setting in task.settings for component in components_of(SCORES[setting.score]))
    found: list[list[dict[str, float]]] = [[] for _ in task.settings]
    for number, detector in enumerate(task.detectors):
        model = detector.model_
        outputs = model.outputs(test.inputs)
        learnt, held_out = normal[model.report.training_rows], normal[model.report.calibration_rows]
        references = [model.outputs(learnt.inputs, learnt.labels)] if learns else None
        calibration = model.outputs(held_out.inputs, held_out.labels)
        # Only the labels of the normal samples are known, so no score may use them here.
        evaluated = model.outputs(np.concatenate([held_out.inputs, flagged.inputs])) if len(flagged) else None
        for setting, of_setting in zip(task.settings, found, strict=True):
            values = _held_out(calibration, _temperature(model, setting))
            score = scorer_of(model, setting, calibration, references)
            values["auc"] = auc(test.anomalous, score(outputs))
            if evaluated is not None:
                values["flagged_auc"] = auc(np.arange(len(evaluated)) >= len(held_out), score(evaluated))
            of_setting.append(values)
        on_progress((number + 1) / len(task.detectors))
    return found


def scorer_of(
    model: Model, setting: Configuration, calibration: Outputs, references: list[Outputs] | None
) -> Callable[[Outputs], Array]:
    """Return a function that scores outputs of a trained network, without their labels, as a configuration says, [N].

    `calibration` are the outputs of the held-out normal samples; `references` are those of the samples learnt from, if
    the score needs them. Held-out samples are not compared with: some studies evaluate them.
    """
    score, temperature = SCORES[setting.score], _temperature(model, setting)
    fitted = learn_score(
        setting.score,
        score,
        references,
        temperature,
        model.report.perplexity,
        model.task.n_classes,
        label_perplexity=_label_perplexity(model, calibration),
    )
    usual = np.empty((0, 1))
    if isinstance(score, Combination):
        unknown = replace(calibration, targets=model.task.targets(None, len(calibration)))
        usual = fitted([unknown], temperature)
    return lambda outputs: combined(fitted([outputs], temperature), usual, fitted.weights, fitted.fuse)


def _label_perplexity(model: Model, calibration: Outputs) -> float:
    """Return the perplexity of the labels that the detector itself weighs its scores by."""
    assert calibration.targets is not None  # noqa: S101 - the labels were given
    flat = calibration.logits.reshape(-1, calibration.logits.shape[-1]), calibration.targets.ravel()
    return label_perplexity(calibration, model.task.n_views, fit_temperature(*flat))


def _temperature(model: Model, setting: Configuration) -> float:
    return model.temperature if setting.temperature == "fit" else setting.temperature


def _held_out(outputs: Outputs, temperature: float) -> dict[str, float]:
    """Measure how well the probabilities fit the held-out normal samples."""
    assert outputs.targets is not None  # noqa: S101 - the labels were given
    logits, targets = outputs.logits.reshape(-1, outputs.logits.shape[-1]), outputs.targets.ravel()
    return {
        "nll": float(target_nll(logits, targets, temperature).mean()),
        "ece": reliability(logits, targets, temperature=temperature).expected_error,
    }
