"""Choosing a configuration without anomalies: each kind of normal in turn is hidden and used as the anomaly.

bench/selection.py measures how well this agrees with real anomalies: moderately.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from oddkind import distributed
from oddkind.arrays import Array
from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.metrics import auc, mean_interval
from oddkind.model.scores import SCORES, components_of, refuse_without_signals
from oddkind.samples import Samples
from oddkind.study.evaluation import Configuration, scorer_of, train_settings

# At most this many samples of a hidden label are scored, evenly spread; more would not change the result.
MAX_SCORED_SAMPLES = 2000


@dataclass(frozen=True)
class Verdict:
    """Which configuration to use, and why.

    Attributes
    ----------
    setting : Configuration
        The one to use.
    better_than_chance : bool
        Whether the 95 % interval of its AUC lies above 0.5.
    better_than_default : bool
        Whether the 95 % interval of its paired difference to the default lies above 0.
    reason : str
        Two or three sentences.
    """

    setting: Configuration
    better_than_chance: bool
    better_than_default: bool
    reason: str


@dataclass(frozen=True, eq=False)
class LeaveOneOutResult:
    """AUCs with which configurations distinguish a kind of normal that they never saw from those that they learnt.

    Attributes
    ----------
    settings : tuple of Configuration
    labels : array [L]
        The labels, each of which was hidden in turn.
    auc : array [settings, L, seeds]
        AUC of the samples of the hidden label against held-out samples of the other labels.
    """

    settings: tuple[Configuration, ...]
    labels: Array
    auc: Array

    @property
    def ranked(self) -> list[tuple[Configuration, float, tuple[float, float] | None]]:
        """Each configuration with its mean AUC and the 95 % interval of it, the best first; ties in the given order.

        The interval is Student's t over the labels, each with its mean over the seeds: future anomalies will be of
        other kinds, so the differences between kinds matter, not those between seeds.
        """
        means = self.auc.mean(2)  # [settings, L]
        order = np.argsort(-means.mean(1), kind="stable")
        return [(self.settings[s], float(means[s].mean()), mean_interval(means[s].tolist())) for s in order]

    def gain(self, setting: Configuration, over: Configuration) -> tuple[float, tuple[float, float] | None]:
        """Mean difference between two configurations' AUCs, label by label, and its 95 % interval, as in `ranked`."""
        better, other = (self.auc[self.settings.index(chosen)] for chosen in (setting, over))
        differences = (better - other).mean(1)
        return float(differences.mean()), mean_interval(differences.tolist())

    def verdict(self, default: Configuration) -> Verdict:
        """Return which of the settings to use: the default, unless another is better by more than the noise.

        The best of many settings looks better than it is, and labels are few, so a lead alone does not decide.
        """
        intervals = {setting: interval for setting, _, interval in self.ranked}
        means = {setting: mean for setting, mean, _ in self.ranked}

        def described(setting: Configuration) -> str:
            name = "the default" if setting == default else _described(setting)
            interval = intervals[setting]
            possible = None if interval is None else (max(0.0, interval[0]), min(1.0, interval[1]))
            return f"{name}, with a mean AUC of {means[setting]:.3f}{_between(possible)}"

        best = self.ranked[0][0]
        found = [setting for setting, _, _ in self.ranked if _above(intervals[setting], 0.5)]
        better = [setting for setting in found if setting != default and _above(self.gain(setting, default)[1], 0.0)]
        if not found:
            reason = (
                "No setting is better than chance, an AUC of 0.5, by more than the noise. The first is "
                f"{described(best)}. These labels cannot decide: keep the default, and do not expect it to find what "
                "is like one of them."
            )
            return Verdict(default, False, False, reason)
        if better:
            gain, interval = self.gain(better[0], default)
            reason = (
                f"Use {described(better[0])}: it is better than chance, and better than the default by {_signed(gain)}"
                f"{_between(interval)}."
            )
            return Verdict(better[0], True, True, reason)
        if default not in found:
            reason = (
                f"Use {described(found[0])}: it is better than chance, which is not certain of {described(default)}. "
                "The difference between them may be noise."
            )
            return Verdict(found[0], True, False, reason)
        reason = f"Keep {described(default)}: it is better than chance."
        if best != default:
            gain, interval = self.gain(best, default)
            lead = f"{_signed(gain)}{_between(interval)}"
            reason += f" The first ({_described(best)}) leads by {lead}, which may be noise."
        return Verdict(default, True, False, reason)

    def of_smoothing(self) -> list[str]:
        """Return a sentence on the effect of label smoothing for every two configurations that differ only in it.

        According to the literature, it harms max-logit and energy (arXiv 2403.14715, 2410.06134) and helps neighbours
        on features (2102.05131); on digits it helps 1 − MSP (bench/selection.py). None of this has to hold on other
        data, so it is measured.
        """
        sentences = []
        for setting in self.settings:
            plain = replace(setting, name="", label_smoothing=0.0)
            for other in self.settings:
                if setting.label_smoothing > 0 and replace(other, name="") == plain:
                    mean, interval = self.gain(setting, other)
                    sure = (
                        "with one label, a difference cannot be distinguished from noise"
                        if interval is None
                        else f"95 % {_signed(interval[0])} to {_signed(interval[1])}, "
                        + ("this may be noise" if interval[0] <= 0 <= interval[1] else "more than noise")
                    )
                    at = "" if setting.temperature == 1 else f" at T {setting.temperature}"
                    at += f" in task {setting.task}" if len({other.task for other in self.settings}) > 1 else ""
                    sentences.append(
                        f"on your labels, label smoothing {setting.label_smoothing:g} changes the AUC of "
                        f"{setting.score}{at} by {_signed(mean)} ({sure})"
                    )
        return sentences


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0:+.3f}".replace("-", "\u2212")  # + 0: no minus zero


def _described(setting: Configuration) -> str:
    return f"task {setting.task}, label smoothing {setting.label_smoothing:g}, score {setting.score}"


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" (95 % {interval[0]:.3f} to {interval[1]:.3f})".replace("-", "\u2212")


def _above(interval: tuple[float, float] | None, value: float) -> bool:
    return interval is not None and interval[0] > value


def _some(rows: Array) -> Array:
    return rows[np.unique(np.linspace(0, len(rows) - 1, MAX_SCORED_SAMPLES).astype(int))]


def leave_one_label_out(
    samples: Samples,
    settings: Sequence[Configuration],
    *,
    seeds: Sequence[int],
    epochs: int = 5,
    network: str = "lecture",
    like: Detector | None = None,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> LeaveOneOutResult:
    """Hide each internal label in turn, learn the others with every configuration and seed, and score the hidden one.

    Configurations that differ only in temperature or score share their networks. All seeds and label smoothings for
    one hidden label are trained in one stack. The labels are divided among the processes that `joblib.parallel_config`
    names.

    Parameters
    ----------
    samples : Samples
        Normal samples of at least three labels; those flagged as anomalous are left out.
    settings : sequence of Configuration
        The configurations to choose from; see `oddkind.study.evaluation.Configuration`.
    seeds : sequence of int
    epochs, network, like
        As in `oddkind.study.evaluation.train_settings`; if `like` is None, training is as in the lecture.
    checkpoints : folder or None
        With a folder, a run that was killed resumes when it is started again.
    on_progress : callable
        Called with the finished fraction, 0 … 1.

    Raises
    ------
    InputError
        If there are no labels, too few labels or no configurations.
    """
    if len(settings) == 0:
        raise InputError("0 settings; there is nothing to choose from")
    for setting in settings:
        if setting.score not in SCORES:
            raise InputError(f"score={setting.score!r}; known are {', '.join(map(repr, SCORES))}")
        refuse_without_signals(setting.score, samples.inputs.shape[1:])
    if samples.labels is None:
        raise InputError(f"{samples.name}: no labels; hiding one needs at least 3")
    normal = samples if samples.anomalous is None else samples[~samples.anomalous]
    assert normal.labels is not None  # noqa: S101 - as above
    labels = np.unique(normal.labels)
    if len(labels) < 3:
        raise InputError(
            f"{samples.name}: {len(labels)} labels; hiding one and classifying the others needs at least 3"
        )
    hide = functools.partial(
        _hide,
        samples=normal,
        settings=settings,
        seeds=seeds,
        epochs=epochs,
        network=network,
        like=like,
        checkpoints=None if checkpoints is None else checkpoints.absolute(),
    )
    found = distributed.run(hide, labels.tolist(), on_progress)
    return LeaveOneOutResult(tuple(settings), labels, np.stack(found, 1))


def _hide(
    label: Any,
    on_progress: Callable[[float], None],
    *,
    samples: Samples,
    settings: Sequence[Configuration],
    seeds: Sequence[int],
    epochs: int,
    network: str,
    like: Detector | None,
    checkpoints: Path | None,
) -> Array:
    """Hide one label; return the AUC with which each configuration and seed finds it, [settings, seeds]."""
    assert samples.labels is not None  # noqa: S101 - refused above
    rest, hidden = samples[samples.labels != label], samples[_some(np.flatnonzero(samples.labels == label))]
    trained = train_settings(
        settings,
        rest,
        seeds=seeds,
        epochs=epochs,
        network=network,
        like=like,
        checkpoints=checkpoints,
        on_progress=on_progress,
    )
    found = np.empty((len(settings), len(seeds)))
    for training, detectors in trained.items():
        scored = [s for s, setting in enumerate(settings) if setting.training == training]
        learns = any(component.learn for s in scored for component in components_of(SCORES[settings[s].score]))
        for seed, detector in enumerate(detectors):
            model = detector.model_
            learnt, held_out = rest[model.report.training_rows], rest[model.report.calibration_rows]
            evaluated = model.outputs(np.concatenate([held_out.inputs, hidden.inputs]))
            calibration = model.outputs(held_out.inputs, held_out.labels)
            references = [model.outputs(learnt.inputs, learnt.labels)] if learns else None
            is_hidden = np.arange(len(evaluated)) >= len(held_out)
            for s in scored:
                score = scorer_of(model, settings[s], calibration, references)
                found[s, seed] = auc(is_hidden, score(evaluated))
    return found
