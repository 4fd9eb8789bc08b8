"""`Detector`: the scikit-learn estimator, which fits a `Model` and asks it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import nn

from oddkind.arrays import Array
from oddkind.model.explain import Explanation, explain
from oddkind.model.model import Model
from oddkind.model.outputs import Outputs
from oddkind.model.saving import save
from oddkind.model.score import Score
from oddkind.train.estimator import Estimator, validated
from oddkind.train.fit import fit_models
from oddkind.train.networks import Builder
from oddkind.train.onnx_export import checked_graphs
from oddkind.train.parameters import Parameters
from oddkind.train.problem import Problem, checked
from oddkind.train.progress import shown_progress


class Detector(Estimator):
    """Finds anomalies by classification: what it cannot place among the kinds of normal is an anomaly.

    Inputs are normal samples: vectors [N, D], signals [N, C, T] or pictures [N, C, H, W]. uint8
    pictures stand for 0 … 1; all else is standardised, each feature of a vector and each channel of others separately.

    Parameters
    ----------
    task : str
        What to classify. "labels": the internal labels passed to `fit`. Or known transforms: "rotations" of square
        pictures; "defects" planted into pictures of surfaces, where a defect is a small mark anywhere; "pastes" of a
        piece of a picture into the picture; "reversals" of signals in time, "speeds" (faster and slower), "bands"
        (without a third of the frequencies), "permutations" of their channels; "affine" maps of vectors.
        "labels+rotations" and so on: both at once, L · V classes. "auto": the transforms that suit the shape, together
        with the labels if there are any; vectors and pictures that are not square: only the labels, if there are any;
        pictures of surfaces, which vary equally at every place: only defects.
    network : str, callable or torch module
        "lecture", "picture", "local", "unet", "spectrogram", "mlp", "branches", "signal", "auto" (by shape and task);
        or a builder `(input_shape, n_classes) → module`; or a module (a copy is trained, from the weights it has). It
        returns `(logits [B, C], features [B, D])`.
    score_function : str or Score
        "auto" ("combined-with-input" for pictures, "changed-place" for surfaces, "fused-signal-distances" for signals,
        for vectors "fused-distances" with labels and "fused-input-distances" without), a name of `oddkind.SCORES`, or
        an `oddkind.Score`, such as `oddkind.neighbours(k=5)`.
    n_members : int or "auto"
        The number of networks to train, at once and each from its own seed, which score together. "auto": 5 for the
        network "spectrogram", otherwise 1.
    epochs : int or "auto"
        Passes over the samples; "auto": as many as make 900 steps (1,800 for the network "unet"), but at least 3
        and at most 100.
    batch_size : int or "auto"
        A step of training sees this many samples in all their views; "auto": 8 for the network "unet", otherwise 64.
    learning_rate, weight_decay, schedule : float, float, str
        Training with AdamW, and how the rate changes: "one-cycle" (warms up, then falls to 0) or "constant".
    max_shift : int or "auto"
        In training, pictures and signals are moved by up to this many points along each axis, differently in each
        epoch; "auto": a fourteenth of the shortest axis, 0 for the networks "unet" and "spectrogram".
    label_smoothing : float in [0, 1)
        The fraction of the target that is spread over all classes, in training only.
    mixup : float or "auto"
        If above 0, the network learns from mixtures of two samples and of their labels, λ x₁ + (1 − λ) x₂ with λ drawn
        from Beta(mixup, mixup): Zhang et al., "mixup", ICLR 2018. "auto": 1 for vectors and for the network
        "spectrogram" if labels alone are classified, otherwise 0.
    warp : float in [0, 1] or "auto"
        In training, pictures are stretched along each axis by up to exp(±warp), and moved by up to half of `warp` of
        their size, differently in each epoch. "auto": 0.3 for the network "spectrogram", otherwise 0.
    temperature : float > 0 or "fit"
        Divides the logits when scoring, never in training. "fit": the most likely one on the held-out samples.
    calibration_fraction : float in (0, 1) or "auto"
        The fraction of the samples (or groups, if `fit` is given any) that is held out of training for the threshold,
        the temperature and the accuracy. "auto": see `oddkind.train.holdout.calibration_fraction`.
    false_alarm_rate : float in (0, 1)
        `predict` calls at most this fraction of new normal samples anomalous, by split-conformal prediction. May be
        changed after fitting (`set_params`). With groups it is the promise for a sample of a new group. If too few
        samples are held out to promise it, no alarm is raised, and a `PromiseWarning` says how many it takes.
    per_label : bool
        Whether the false-alarm rate holds within each label, if the labels of new samples are known (Mondrian conformal
        prediction: Vovk et al. 2005), instead of over all labels together. May be changed after fitting.
    device : str
        A torch device, or "auto": the GPU if there is one.
    random_state : int, RandomState or None
        Seed for all randomness.
    verbose : bool
        Show a progress bar while training.

    Attributes
    ----------
    model_ : Model
        What was fitted. No parameter except `false_alarm_rate` and `per_label` is read after fitting.
    classes_ : array [L]
        The internal labels learnt; absent if the task uses none.
    offset_ : float
        Samples whose `score_samples` lies below it are called anomalous.
    n_features_in_, feature_names_in_ : int, array
        As scikit-learn defines them; the second is absent if X was not a data frame.

    Examples
    --------
    >>> import numpy as np
    >>> from oddkind import Detector
    >>> draw = np.random.default_rng(0)
    >>> kind = draw.integers(3, size=600)
    >>> normal = draw.normal(size=(600, 4)) + 4 * np.eye(3, 4)[kind]
    >>> detector = Detector(random_state=0).fit(normal, kind)
    >>> detector.predict([[4, 0, 0, 0], [0, 0, 0, 9]]).tolist()
    [1, -1]
    """

    def __init__(
        self,
        *,
        task: str = "auto",
        network: str | nn.Module | Builder = "auto",
        score_function: str | Score = "auto",
        n_members: int | str = "auto",
        epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float = 2e-3,
        weight_decay: float = 0.0,
        schedule: str = "one-cycle",
        max_shift: int | Literal["auto"] = "auto",
        label_smoothing: float = 0.1,
        mixup: float | Literal["auto"] = "auto",
        warp: float | Literal["auto"] = "auto",
        temperature: float | Literal["fit"] = 1.0,
        calibration_fraction: float | Literal["auto"] = "auto",
        false_alarm_rate: float = 0.05,
        per_label: bool = False,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.task = task
        self.network = network
        self.score_function = score_function
        self.n_members = n_members
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.max_shift = max_shift
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.warp = warp
        self.temperature = temperature
        self.calibration_fraction = calibration_fraction
        self.false_alarm_rate = false_alarm_rate
        self.per_label = per_label
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Array, y: Array | None = None, groups: Array | None = None) -> Self:
        """Learn from normal samples [N, …]. If this fails or is interrupted, the detector stays as it was.

        Parameters
        ----------
        X : array [N, D], [N, C, T] or [N, C, H, W]
            At least 2 normal samples.
        y : array [N] or None
            Their internal labels.
        groups : array [N] or None
            The recording or session that each sample was cut from; whole groups are held out.

        Raises
        ------
        InputError (a ValueError)
            If the data or a parameter cannot be used.
        """
        problem = Problem(Parameters.of(vars(self)), *checked(X, y, groups))
        with shown_progress(self.verbose) as on_progress:
            (self.model_,) = fit_models([problem], on_progress=on_progress)
        return self

    def fit_predict(self, X: Array, y: Array | None = None, groups: Array | None = None) -> Array:
        """Fit to samples [N, …] and return `predict` of the same samples, [N]."""
        return self.fit(X, y, groups).predict(X, y)

    @property
    def model(self) -> Model:
        """The fitted model, with the false-alarm rate and `per_label` that the detector has now.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return replace(self.model_, false_alarm_rate=self.false_alarm_rate, per_label=self.per_label)

    def anomaly_score(self, X: Array, y: Array | None = None) -> Array:
        """Anomaly score [N]; see `Model.anomaly_score`."""
        return self.model.anomaly_score(*validated(self, X, y))

    def score_samples(self, X: Array, y: Array | None = None) -> Array:
        """Minus `anomaly_score`, [N]: lower = more anomalous, as everywhere in scikit-learn."""
        return self.model.score_samples(*validated(self, X, y))

    def decision_function(self, X: Array, y: Array | None = None) -> Array:
        """`score_samples − offset_`, [N]: negative for anomalies; see `Model.decision_function`."""
        return self.model.decision_function(*validated(self, X, y))

    def predict(self, X: Array, y: Array | None = None) -> Array:
        """+1 for normal samples, −1 for anomalies, [N]; see `Model.predict`."""
        model, given = self.model, validated(self, X, y)
        if (model.false_alarm_rate, model.per_label) != (self.model_.false_alarm_rate, self.model_.per_label):
            model.warn_unpromised(with_labels=given[1] is not None)  # else fit has warned
        return model.decide(*given)

    def p_value(self, X: Array, y: Array | None = None) -> Array:
        """Conformal p-values of samples [N, …], [N]; see `Model.p_value`."""
        return self.model.p_value(*validated(self, X, y))

    def group_p_value(
        self, X: Array, groups: Array, y: Array | None = None, *, how: str = "mean"
    ) -> tuple[Array, Array]:
        """Conformal p-values of whole groups; see `Model.group_p_value`."""
        X, y = validated(self, X, y)
        return self.model.group_p_value(X, groups, y, how=how)

    def outputs(self, X: Array, y: Array | None = None) -> Outputs:
        """Outputs of the networks together for samples [N, …]; see `Model.outputs`."""
        return self.model.outputs(*validated(self, X, y))

    def explain(self, X: Array, y: Array | None = None, *, parts: Array | None = None) -> list[Explanation]:
        """Explain why each sample [N, …] is anomalous, or why not; see `oddkind.explain`."""
        return explain(self.model, *validated(self, X, y), parts=parts)

    def save(self, file: str | Path, *, onnx: bool = False) -> None:
        """Write the fitted model into one file, without pickle; `oddkind.load` reads it. See `oddkind.save`.

        With `onnx` the file also holds the networks as ONNX graphs, so that scoring with it needs no torch.
        Raises `InputError` as `save`, and if a network cannot be exported or a held-out sample is decided otherwise.
        """
        save(checked_graphs(self.model)[0] if onnx else self.model, file)

    @property
    def offset_(self) -> float:
        """Minus the threshold of scores of samples whose labels are not known; follows `false_alarm_rate`."""
        model = replace(self.model, per_label=False)
        return -float(model.threshold(with_labels=model.calibration.unlabelled is None))
