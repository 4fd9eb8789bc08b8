"""`Job`: one network to train, and the samples to train it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from oddkind.arrays import Array
from oddkind.train.transform import Transform


@dataclass(frozen=True, eq=False)
class Job:
    """One model to train.

    Attributes
    ----------
    network : module
        Trained in place, starting from the weights it has.
    inputs : tensor [N, ...]
        uint8 or float32; jobs whose tensors share memory also share the views made from them.
    transform : Transform
        Turns samples into V views.
    targets : int array [N, V]
        The class of every view.
    rows : int array [n]
        The samples to learn from.
    seed : int
        Seed of the order of the batches and of all random numbers drawn in training.
    label_smoothing, learning_rate, weight_decay : float
        ε of Szegedy et al. (CVPR 2016); the step size of Adam; the decay, which shrinks the weights by this fraction of
        the step size at each step.
    mixup : float
        If above 0, each sample is mixed with another one, by a share drawn from Beta(mixup, mixup); see
        `augmentation.mixed`.
    shift : int
        Every view is moved by up to this many pixels or points along each of its axes, differently in each epoch; the
        border is repeated.
    warp : float
        If above 0, every view of a picture is stretched and moved differently in each epoch; see `augmentation.warped`.
    """

    network: nn.Module
    inputs: Tensor
    transform: Transform
    targets: Array
    rows: Array
    seed: int
    label_smoothing: float = 0.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    shift: int = 0
    mixup: float = 0.0
    warp: float = 0.0

    @property
    def source(self) -> tuple[Any, ...]:
        """A key that is equal for jobs with the same samples in the same views."""
        return self.inputs.data_ptr(), self.inputs.shape, self.inputs.stride(), self.transform
