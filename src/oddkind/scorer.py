"""`Scorer`: a saved model as a function of batches, for Ray Data, Spark and processes of any kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.loading import load
from oddkind.model.conformal import alarms
from oddkind.model.model import CrossModel, Model


class Scorer:
    """Scores batches, each a dict of columns, with a saved model.

    A model that learnt from files takes what was made of them, samples of the shape of `model.inputs`; `score_files`
    scores files themselves. A `Scorer` is pickled as the path of the file alone, and reads the file in the process that
    first calls it. `ray.data.Dataset.map_batches` takes an instance, `multiprocessing` passes it on, and a function for
    Spark's `mapInPandas` calls it.

    Parameters
    ----------
    file : path
        What `save` or `oddkind export` wrote; it must be readable where the batches are scored.
    columns : str or sequence of str
        The column of samples [N, …], or the columns of single numbers that make up a vector, in the order in which they
        were learnt.
    label : str or None
        The column of internal labels, if they are known.
    runtime : "auto", "onnx" or "torch"
        As in `oddkind.load`.
    """

    def __init__(
        self,
        file: str | Path,
        columns: str | Sequence[str] = "data",
        *,
        label: str | None = None,
        runtime: str = "auto",
    ) -> None:
        if len(columns) == 0:
            raise InputError("columns is empty; name the column of samples, or those of numbers")
        self.file, self.columns, self.label, self.runtime = (
            file if isinstance(file, Path) else Path(file),
            columns,
            label,
            runtime,
        )

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of the batch and "score", "p_value" and "anomalous", [N] each.

        Raises
        ------
        InputError
            If the file cannot be used, a column is missing or holds what the model cannot score.
        """
        wanted = [self.columns] if isinstance(self.columns, str) else [*self.columns]
        for name in [*wanted, *([] if self.label is None else [self.label])]:
            if name not in batch:
                raise InputError(f"there is no column {name!r}; the batch has {', '.join(map(repr, batch))}")
        try:
            X = _stacked(batch[wanted[0]]) if isinstance(self.columns, str) else np.stack([batch[n] for n in wanted], 1)
        except ValueError as error:
            raise InputError(f"the samples of {', '.join(map(repr, wanted))} differ in shape ({error})") from error
        y = None if self.label is None else np.asarray(batch[self.label])
        if len(X) == 0:
            return dict(batch) | {"score": np.zeros(0), "p_value": np.zeros(0), "anomalous": np.zeros(0, bool)}
        scores, p = self._model.score_and_p_value(X, y)
        return dict(batch) | {"score": scores, "p_value": p, "anomalous": alarms(p, self._model.false_alarm_rate)}

    @cached_property
    def _model(self) -> Model | CrossModel:
        return load(self.file, runtime=self.runtime)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model out: it is read again in the process that the object lands in."""
        return {name: value for name, value in vars(self).items() if name != "_model"}


def _stacked(column: Any) -> Array:
    """Return a column of arrays as one array; frames hold each sample as an object of its own."""
    values = np.asarray(column)
    return np.stack([np.asarray(one) for one in values]) if values.dtype == object else values
