"""Choosing without anomalies: one kind of normal after another is hidden, and plays the anomaly.

How far that agrees with real anomalies is measured by bench/selection.py: moderately.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.metrics import auc, mean_interval
from oddkind.model.scores import SCORES
from oddkind.samples import Array, Samples
from oddkind.study.evaluation import Setting, scores_of, train_settings

# Of a hidden label so many samples are scored, evenly spread; more would tell no more.
SCORED = 2000


@dataclass(frozen=True, eq=False)
class LeftOut:
    """How well each setting tells a kind of normal that it never saw from those that it learnt.

    Attributes
    ----------
    settings : tuple of Setting
    labels : array [L]
        The label that was hidden.
    auc : array [settings, L, seeds]
        Of the hidden label's samples against held-out samples of the other labels.
    """

    settings: tuple[Setting, ...]
    labels: Array
    auc: Array

    @property
    def ranked(self) -> list[tuple[Setting, float, tuple[float, float] | None]]:
        """Each setting with its mean AUC and the 95 % interval for it, the best first; equals in the order given.

        The interval is Student's over the labels, each label's mean over the seeds a value: a kind of anomaly that
        comes will be another one, so what counts is how much kinds differ, not seeds.
        """
        means = self.auc.mean(2)  # [settings, L]
        order = np.argsort(-means.mean(1), kind="stable")
        return [(self.settings[s], float(means[s].mean()), mean_interval(means[s].tolist())) for s in order]

    def gain(self, setting: Setting, over: Setting) -> tuple[float, tuple[float, float] | None]:
        """Mean of one setting's AUC minus another's, label by label, and its 95 % interval, as in `ranked`."""
        one, other = (self.auc[self.settings.index(of)] for of in (setting, over))
        differences = (one - other).mean(1)
        return float(differences.mean()), mean_interval(differences.tolist())

    def of_smoothing(self) -> list[str]:
        """What label smoothing does to each score on these labels: a sentence for every two settings differing in it.

        The literature says that it harms max-logit and energy (arXiv 2403.14715, 2410.06134) and helps neighbours on
        features (2102.05131); on digits it helps 1 − MSP (bench/selection.py). None of it need hold on other data, so
        it is measured.
        """
        sentences = []
        for setting in self.settings:
            plain = replace(setting, name="", label_smoothing=0.0)
            for other in self.settings:
                if setting.label_smoothing > 0 and replace(other, name="") == plain:
                    mean, interval = self.gain(setting, other)
                    sure = (
                        "one label cannot tell a difference from noise"
                        if interval is None
                        else f"95 % {_signed(interval[0])} to {_signed(interval[1])}, "
                        + ("this may be noise" if interval[0] <= 0 <= interval[1] else "more than noise")
                    )
                    at = "" if setting.temperature == 1 else f" at T {setting.temperature}"
                    at += f" in task {setting.task}" if len({of.task for of in self.settings}) > 1 else ""
                    sentences.append(
                        f"on your labels, label smoothing {setting.label_smoothing:g} changes the AUC of "
                        f"{setting.score}{at} by {_signed(mean)} ({sure})"
                    )
        return sentences


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0:+.3f}".replace("-", "\u2212")  # + 0: no minus zero


def _some(rows: Array) -> Array:
    return rows[np.unique(np.linspace(0, len(rows) - 1, SCORED).astype(int))]


def leave_one_label_out(
    samples: Samples,
    settings: Sequence[Setting],
    *,
    seeds: Sequence[int],
    epochs: int = 5,
    network: str = "lecture",
    like: Detector | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> LeftOut:
    """Hide one internal label after another, learn the rest with every setting and seed, and score the hidden one.

    Settings that differ in temperature or score alone share their networks, and the seeds and label smoothings of one
    hidden label are trained in one stack.

    Parameters
    ----------
    samples : Samples
        Normal samples with labels, of three labels or more; those flagged as anomalous are left out.
    settings : sequence of Setting
        What to choose from; see `oddkind.study.evaluation.Setting`.
    seeds : sequence of int
    epochs, network, like
        As in `oddkind.study.evaluation.train_settings`: `like` is a detector to train as, the lecture's if None.
    on_progress : callable
        Told the finished part, 0 … 1.

    Raises
    ------
    InputError
        Where there are no labels or too few, or no setting.
    """
    if len(settings) == 0:
        raise InputError("0 settings; there is nothing to choose from")
    for setting in settings:
        if setting.score not in SCORES:
            raise InputError(f"score={setting.score!r}; known are {', '.join(map(repr, SCORES))}")
    if samples.labels is None:
        raise InputError(f"{samples.name}: no labels; hiding one needs at least 3")
    normal = samples if samples.anomalous is None else samples[~samples.anomalous]
    assert normal.labels is not None  # noqa: S101 - as above
    labels = np.unique(normal.labels)
    if len(labels) < 3:
        raise InputError(
            f"{samples.name}: {len(labels)} labels; to hide one and tell the others apart takes at least 3"
        )
    found = np.empty((len(settings), len(labels), len(seeds)))
    for number, label in enumerate(labels):

        def report(done: float, number: int = number) -> None:
            on_progress((number + done) / len(labels))

        rest, hidden = normal[normal.labels != label], normal[_some(np.flatnonzero(normal.labels == label))]
        trained = train_settings(
            settings, rest, seeds=seeds, epochs=epochs, network=network, like=like, on_progress=report
        )
        for (task, smoothing), detectors in trained.items():
            own = [s for s, of in enumerate(settings) if (of.task, of.label_smoothing) == (task, smoothing)]
            needs_reference = any(SCORES[settings[s].score].needs_reference for s in own)
            for seed, detector in enumerate(detectors):
                learnt, held_out = rest[detector.training_rows_], rest[detector.validation_rows_]
                mixed = detector.outputs(np.concatenate([held_out.inputs, hidden.inputs]))
                calm = detector.outputs(held_out.inputs, held_out.labels)
                references = [detector.outputs(learnt.inputs, learnt.labels)] if needs_reference else None
                odd = np.arange(len(mixed)) >= len(held_out)
                for s in own:
                    found[s, number, seed] = auc(odd, scores_of(detector, settings[s], mixed, calm, references))
    return LeftOut(tuple(settings), labels, found)
