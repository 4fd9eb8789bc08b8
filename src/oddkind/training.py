"""The training loop: M models at once, read from top to bottom."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from oddkind.scores import Outputs
from oddkind.stacking import Stack, as_float
from oddkind.tasks import Task

Array = npt.NDArray[Any]

# Views are made and arranged once, before the first epoch, where they fit in this much memory.
PREPARED_BYTES = 1 << 29
PREDICT_BATCH = 1024


def train(
    networks: Sequence[nn.Module],
    transform: Callable[[Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    rows: Tensor,
    *,
    seeds: Sequence[int],
    label_smoothing: Sequence[float],
    learning_rate: Sequence[float],
    epochs: int,
    batch_size: int,
    device: torch.device,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Array:
    """Train M networks of one form in place with Adam on cross-entropy, each as if it were alone.

    A batch is `batch_size` samples in all their V views. Temperature plays no part here.

    Parameters
    ----------
    networks : M modules
        Trained in place.
    transform : callable [n, ...] → [n, V, ...]
        Shows samples in V views; the same for all models.
    inputs : tensor [N, ...]
        The samples of all models, uint8 or float32.
    targets : int tensor [N, V]
        Class of every view.
    rows : int tensor [M, n]
        Which samples model m learns from.
    seeds, label_smoothing, learning_rate : M values
        Per model: the seed of its batch order, ε of Szegedy et al. (CVPR 2016), Adam's step size.
    on_progress : callable
        Told the finished part, 0 … 1, after each batch.

    Returns
    -------
    losses : array [epochs, M]
        Mean training loss.
    """
    stack = Stack(networks, device)
    inputs, targets, rows = (tensor.to(device) for tensor in (inputs, targets, rows))
    views = targets.shape[1]

    def prepare(x: Tensor) -> Tensor:
        """[n, ...] → [n, V, ...] in the stack's order."""
        return stack.arrange(transform(x).flatten(0, 1)).unflatten(0, (-1, views))

    sample_shape = prepare(inputs[:1]).shape[2:]
    fits = inputs.nbytes * views <= PREPARED_BYTES
    if fits:
        inputs = torch.cat([prepare(part) for part in inputs.split(4096)])

    # Label smoothing: the target is (1 - ε) · true class + ε · uniform over the C classes.
    smoothing = torch.tensor(label_smoothing, device=device).view(-1, 1, 1)  # [M, 1, 1]
    optimizer = Adam(stack.weights, torch.tensor(learning_rate, device=device).view(-1, 1))
    parameters = list(stack.parameters.values())
    orders = [torch.Generator().manual_seed(seed) for seed in seeds]
    n_models, n = rows.shape
    steps = -(-n // batch_size)
    losses = torch.zeros(epochs, n_models, device=device)
    raw = inputs.new_empty(n_models * batch_size, *inputs.shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[0])  # for layers that draw at random, such as dropout
        for epoch in range(epochs):
            order = torch.stack([torch.randperm(n, generator=generator) for generator in orders]).to(device)
            order = rows.gather(1, order)  # [M, n]
            for step in range(steps):
                batch = order[:, step * batch_size : (step + 1) * batch_size]  # [M, B]
                x = torch.index_select(inputs, 0, batch.flatten(), out=raw[: batch.numel()])  # [M · B, (V,) ...]
                x = (x if fits else prepare(x)).view(n_models, batch.shape[1] * views, *sample_shape)
                z = stack.logits(x)  # [M, C, B · V]
                with torch.no_grad():
                    log_p = z.log_softmax(1)
                    target = (smoothing / z.shape[1]).expand_as(z).clone()
                    true = targets[batch].view(n_models, 1, -1)  # [M, 1, B · V]
                    target.scatter_add_(1, true, (1 - smoothing).expand(true.shape))
                    losses[epoch] -= (target * log_p).sum((1, 2))
                    # The gradient of cross-entropy, written out: half the work of having it derived.
                    gradient = log_p.exp_().sub_(target).div_(z.shape[2])
                # Models share no parameter, so each gets the gradient of its own loss.
                optimizer.step(torch.autograd.grad(z, parameters, gradient))
                on_progress((epoch * steps + step + 1) / (epochs * steps))
    stack.unstack()
    return losses.div_(n * views).cpu().numpy()


class Adam:
    """Adam (Kingma & Ba, ICLR 2015) for M models at once, each with a step size of its own.

    weights [M, P] are updated in place; learning_rate [M, 1]. torch.optim.Adam takes one step size a tensor,
    so M models would be M groups, and a group costs as much as the whole stack does here.
    """

    def __init__(self, weights: Tensor, learning_rate: Tensor) -> None:
        self.weights = weights
        self.learning_rate = learning_rate
        self.mean = torch.zeros_like(weights)
        self.square = torch.zeros_like(weights)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Update with the gradients of the parts of each row, [M, ...] each, in the order they lie in."""
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.steps += 1
        gradient = torch.cat([part.flatten(1) for part in gradients], 1)
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (self.square / (1 - beta2**self.steps)).sqrt_().add_(epsilon)
        self.weights.sub_((self.mean / scale).mul_(self.learning_rate / (1 - beta1**self.steps)))


def predict(network: nn.Module, task: Task, inputs: Tensor, labels: Array | None) -> Outputs:
    """Run a trained network on every view of the inputs, batch by batch."""
    network.eval()
    device = next(network.parameters()).device
    logits, features = [], []
    with torch.no_grad():
        for part in inputs.split(max(1, PREDICT_BATCH // task.transform.count)):
            views = task.transform(part.to(device))
            z, f = network(as_float(views.flatten(0, 1)))
            logits.append(z.unflatten(0, views.shape[:2]).cpu())
            features.append(f.unflatten(0, views.shape[:2]).cpu())
    targets = task.targets(labels, len(inputs))
    return Outputs(np.asarray(torch.cat(logits)), np.asarray(torch.cat(features)), targets)
