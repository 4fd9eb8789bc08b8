"""Settings × seeds → `Result`: how well each way of scoring works, and how sure we are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from oddkind.detector import Detector, fit_together
from oddkind.errors import InputError
from oddkind.metrics import auc, mean_interval
from oddkind.samples import Samples
from oddkind.scores import SCORES


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
    """What one setting gave, a value a seed: AUC on the test part, accuracy and training time."""

    setting: Setting
    auc: tuple[float, ...]
    accuracy: tuple[float, ...]
    train_seconds: tuple[float, ...]

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

    def to_json(self) -> dict[str, Any]:
        """Return the row for results.json."""
        return {
            **asdict(self.setting),
            "auc": list(self.auc),
            "auc_mean": self.auc_mean,
            "auc_ci95": None if self.auc_ci95 is None else list(self.auc_ci95),
            "accuracy": list(self.accuracy),
            "train_seconds": list(self.train_seconds),
        }


@dataclass(frozen=True)
class Result:
    """A table: one row a setting."""

    rows: tuple[Row, ...]

    def __getitem__(self, name: str) -> Row:
        """Return the row of the setting called `name`."""
        return next(row for row in self.rows if row.setting.name == name)


Trained = dict[tuple[str, float], list[Detector]]


def train_settings(
    settings: Sequence[Setting],
    train: Samples,
    *,
    seeds: Sequence[int],
    network: str = "auto",
    epochs: int = 5,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Trained:
    """Train what the settings need: (task, label smoothing) → one `Detector` a seed, as many as fit in one stack."""
    if len(seeds) == 0:
        raise InputError("0 seeds; at least 1 run is needed")
    needed = dict.fromkeys((setting.task, setting.label_smoothing) for setting in settings)
    trained: Trained = {
        (task, smoothing): [
            Detector(
                task=task,
                network=network,
                score="msp",
                epochs=epochs,
                label_smoothing=smoothing,
                temperature="fit",
                random_state=seed,
            )
            for seed in seeds
        ]
        for task, smoothing in needed
    }
    detectors = [detector for group in trained.values() for detector in group]
    fit_together(detectors, train.inputs, train.labels, train.groups, on_progress=on_progress)
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

    Raises
    ------
    InputError
        Where the test part does not say which samples are anomalous.
    """
    if test.anomalous is None:
        raise InputError(f"{test.name}: which samples are anomalous is not known; an evaluation needs it")
    found: dict[Setting, list[float]] = {setting: [] for setting in settings}
    for (task, smoothing), detectors in trained.items():
        own = [setting for setting in settings if (setting.task, setting.label_smoothing) == (task, smoothing)]
        for detector in detectors:
            outputs = detector.outputs(test.inputs)
            needs_reference = any(SCORES[setting.score].needs_reference for setting in own)
            part = train[detector.training_rows_]
            reference = detector.outputs(part.inputs, part.labels) if needs_reference else None
            for setting in own:
                temperature = detector.temperature_ if setting.temperature == "fit" else setting.temperature
                scores = SCORES[setting.score].compute(outputs, reference, temperature)
                found[setting].append(auc(test.anomalous, scores))
                on_progress(sum(map(len, found.values())) / (len(settings) * len(detectors)))
    rows = []
    for setting, values in found.items():
        detectors = trained[setting.task, setting.label_smoothing]
        accuracy = tuple(detector.accuracy_ for detector in detectors)
        seconds = tuple(detector.train_seconds_ for detector in detectors)
        rows.append(Row(setting, tuple(values), accuracy, seconds))
    return Result(tuple(rows))
