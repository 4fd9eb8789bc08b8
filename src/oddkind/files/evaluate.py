"""How well verdicts about files agree with what is known about the files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.listing import Entry
from oddkind.files.score import Verdict, judged, learnt_by, n_calibration_files, promise_problem
from oddkind.metrics import auc, partial_auc
from oddkind.model.conformal import alarms, false_alarm_test, group_weights
from oddkind.model.model import FittedModel


@dataclass(frozen=True)
class Evaluation:
    """How well a model separates normal from anomalous files, all together or of one label.

    Attributes
    ----------
    label : str
        "all", or the label.
    n_normal, n_anomalous : int
    auc, partial_auc : float or None
        The second is up to a false-alarm rate of 0.1 (McClish's, as in DCASE task 2). None if the files are not of both
        kinds.
    false_alarms, found : float or None
        Fraction of the normal and of the anomalous files that are called anomalous.
    """

    label: str
    n_normal: int
    n_anomalous: int
    auc: float | None
    partial_auc: float | None
    false_alarms: float | None
    found: float | None


def with_condition(files: Sequence[Entry]) -> list[Entry]:
    """Return the files known to be normal or anomalous; those of the test split, if any."""
    wanted = [entry for entry in files if entry.split == "test"] or files
    return [entry for entry in wanted if entry.anomalous is not None]


def to_evaluate(files: Sequence[Entry], model: FittedModel) -> list[Entry]:
    """Return the files known to be normal or anomalous that were not learnt from; those of the test split, if any.

    Raises
    ------
    InputError
        If no file is left.
    """
    wanted = with_condition(files)
    if not wanted:
        raise InputError(
            f"none of {len(files)} files is known to be normal or anomalous; name the normal ones with --normal"
        )
    was_learnt = learnt_by(model)
    fresh = [entry for entry in wanted if not was_learnt(entry)]
    if not fresh:
        raise InputError(f"the model learnt from all {len(wanted)} files; evaluate it on others")
    return fresh


def evaluate_files(files: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[Evaluation]:
    """Compare verdicts with what is known about the files: all files, then label by label."""
    truth = {entry.name: bool(entry.anomalous) for entry in files}
    anomalous = np.array([truth[verdict.path] for verdict in verdicts], bool)
    scores = np.array([verdict.score for verdict in verdicts])
    called = np.array([verdict.anomalous for verdict in verdicts], bool)
    labels = np.array([verdict.label or "" for verdict in verdicts])

    def part(name: str, rows: Array) -> Evaluation:
        normal, odd = rows & ~anomalous, rows & anomalous
        both = bool(normal.any() and odd.any())
        return Evaluation(
            name,
            int(normal.sum()),
            int(odd.sum()),
            auc(anomalous[rows], scores[rows]) if both else None,
            partial_auc(anomalous[rows], scores[rows]) if both else None,
            float(called[normal].mean()) if normal.any() else None,
            float(called[odd].mean()) if odd.any() else None,
        )

    found = [part("all", np.ones(len(verdicts), bool))]
    kinds = np.unique(labels[labels != ""])
    return found + ([part(str(kind), labels == kind) for kind in kinds] if len(kinds) > 1 else [])


@dataclass(frozen=True)
class Promise:
    """Whether the promised false-alarm rate was kept.

    Attributes
    ----------
    n_alarms, n_normal : int
        False alarms among the normal files; a group of files counts as one.
    unit : str
        What both count: "files" or "blocks", or "groups" if there are groups of several of them.
    rate : float
        The promised false-alarm rate.
    chance : float
        The chance of this many or more, if these files are like the held-out ones: `oddkind.false_alarm_test`.
    """

    n_alarms: int
    n_normal: int
    unit: str
    rate: float
    chance: float


def promise(files: Sequence[Entry], verdicts: Sequence[Verdict], model: FittedModel) -> Promise | None:
    """Compare the false alarms among files known to be normal with the promised rate.

    None if there are no such files, or the rate cannot be promised.
    """
    return _compared(files, verdicts, model, lambda entry: entry.anomalous is False)


def alarm_excess(files: Sequence[Entry], verdicts: Sequence[Verdict], model: FittedModel) -> Promise | None:
    """Compare the alarms among all files that are not known to be anomalous with the promised rate.

    Some of these alarms may be true, so `Promise.chance` is the chance of this many if *all* the files were normal: a
    small one means that some are anomalous or that the promise does not hold for them. None as in `promise`.
    """
    return _compared(files, verdicts, model, lambda entry: entry.anomalous is not True)


def _compared(
    files: Sequence[Entry], verdicts: Sequence[Verdict], model: FittedModel, wanted: Callable[[Entry], bool]
) -> Promise | None:
    entries = {entry.name: entry for entry in files}
    counted = [(entries[verdict.path], verdict) for verdict in verdicts if wanted(entries[verdict.path])]
    if not counted or promise_problem(model) is not None:
        return None
    groups = np.array([entry.group or entry.name for entry, _ in counted])
    n_new, rate = len(np.unique(groups)), model.false_alarm_rate
    n_alarms = int(group_weights(groups) @ alarms(np.array([verdict.p_value for _, verdict in counted]), rate) + 1e-9)
    chance = false_alarm_test(n_alarms, n_new, n_calibration_files(model), rate)
    return Promise(n_alarms, n_new, judged(model) if n_new == len(counted) else "groups", rate, chance)
