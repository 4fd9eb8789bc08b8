"""Judging items with a fitted model, as `oddkind score` judges files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.score import held_out_files, learnt_from_files, promise_problem, score_files
from oddkind.model.conformal import alarms
from oddkind.model.model import FittedModel
from oddkind.watch.items import Item


@dataclass(frozen=True)
class Judgement:
    """What the model says of a file, a block, a part of a stream or a sample; or why it says nothing.

    Attributes
    ----------
    name : str
    label : str or None
        The internal label it claims.
    score, p_value : float
    anomalous : bool
    drift_score : float
        The score that drift is measured by: that of the first fold.
    group : str or None
        Of what belongs together only the first counts as evidence.
    problem : str or None
        Why it cannot be judged; then the numbers mean nothing.
    """

    name: str
    label: str | None = None
    score: float = 0.0
    p_value: float = 1.0
    anomalous: bool = False
    drift_score: float = 0.0
    group: str | None = None
    problem: str | None = None


class Judge:
    """A fitted model, asked about items."""

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        # Folds score differently; held-out and new scores are exchangeable only if one of them gives both.
        self._reference = model.first_fold
        labels = [] if model.task.labels is None else model.task.labels.tolist()
        self._labels = {str(label): label for label in labels}  # a command line and a message name them as text
        self._takes_files = learnt_from_files(model)
        self._held_out_files, self._of_reference = held_out_files(model), held_out_files(self._reference)

    def __call__(self, item: Item) -> list[Judgement]:
        """Judge an item. Whatever goes wrong with it is said of it, so that the items after it are judged."""
        if item.problem is not None:
            return [Judgement(item.name, item.label, problem=item.problem)]
        try:
            return self._of_samples(item) if item.samples is not None else self._of_files(item)
        except InputError as error:
            return [Judgement(item.name, item.label, problem=str(error))]
        except Exception as error:  # one file that breaks a reader must not stop the watch, now and after each restart
            return [Judgement(item.name, item.label, problem=f"cannot be judged ({type(error).__name__}: {error})")]

    def promise_problem(self) -> str | None:
        """Explain why the false-alarm rate cannot be promised, or return None if it can."""
        if not self._takes_files:
            return self.model.promise_problem()
        return promise_problem(self.model, self._held_out_files)

    def n_calibration(self, *, with_labels: bool) -> dict[str, int]:
        """Return by category the number of held-out files, groups or samples that p-values compare with."""
        files = self._held_out_files(with_labels) if self._takes_files else None
        sizes = self.model.calibration_sizes(with_labels=with_labels, calibration=files)
        return {"" if label is None else str(label): n for label, n in sizes.items()}

    @property
    def labels(self) -> list[str]:
        """The labels that were learnt, as text."""
        return [*self._labels]

    def knows(self, label: str | None) -> bool:
        """Return whether a label was learnt."""
        return str(label) in self._labels and label is not None

    def category(self, label: str | None) -> str:
        """Return the name of what a score is compared with: its label, if the promise is made within each."""
        return str(label) if self.model.per_label and self.knows(label) else ""

    def calibration(self, *, with_labels: bool) -> dict[str, Array]:
        """Return the held-out scores that drift is measured against, by category; of each group the first."""
        if not self._takes_files:
            held_out = self._reference.calibration.of(with_labels=with_labels)
        else:
            (held_out,) = self._of_reference(with_labels)
        return held_out.independent(self.model.task.labels if self.model.per_label and with_labels else None)

    def _of_files(self, item: Item) -> list[Judgement]:
        refused: dict[str, str] = {}
        verdicts = score_files(item.entries, self.model, held_out=self._held_out_files, on_refused=refused.__setitem__)
        scores = {verdict.path: verdict.score for verdict in verdicts}
        if len(self.model.folds) > 1:
            again = score_files(
                item.entries, self._reference, held_out=self._of_reference, on_refused=lambda name, reason: None
            )
            scores = {verdict.path: verdict.score for verdict in again}
        groups = {entry.name: entry.group for entry in item.entries}
        found = [
            Judgement(
                verdict.path,
                verdict.label,
                verdict.score,
                verdict.p_value,
                verdict.anomalous,
                scores[verdict.path],
                groups[verdict.path],
            )
            for verdict in verdicts
        ]
        return found + [Judgement(name, item.label, problem=reason) for name, reason in refused.items()]

    def _of_samples(self, item: Item) -> list[Judgement]:
        assert item.samples is not None  # noqa: S101 - the caller checks
        known = self.knows(item.label)
        labels = np.repeat(np.array([self._labels[str(item.label)]]), len(item.samples)) if known else None
        folds = self.model.fold_scores(item.samples, labels)
        p = self.model.p_value_of(folds, labels)
        odd = alarms(p, self.model.false_alarm_rate)
        names = [f"{item.name}, sample {row + 1}" for row in range(len(p))] if len(p) > 1 else [item.name]
        return [
            Judgement(name, item.label, float(score), float(chance), bool(alarm), float(first))
            for name, score, chance, alarm, first in zip(names, folds.mean(0), p, odd, folds[0], strict=True)
        ]
