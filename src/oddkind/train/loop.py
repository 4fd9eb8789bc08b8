"""The training loop, which trains M models at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from oddkind.arrays import Array
from oddkind.train.augmentation import mixed, shifted, warped
from oddkind.train.checkpoints import fingerprint, restore, save
from oddkind.train.job import Job
from oddkind.train.networks import NETWORKS, PlaceNetwork
from oddkind.train.stacked import Stack, as_float
from oddkind.train.torch_state import seeded
from oddkind.train.transform import Transform

# Views are made and arranged once, before the first epoch, if they fit in this many bytes.
PREPARED_BYTES = 1 << 27
# For the built-in networks, a batch with fewer numbers than this is computed faster by one thread, except by networks
# with features at each place, which compute much with each number.
SMALL_BATCH = 100_000
# A run with checkpoints that is killed loses at most this much work.
CHECKPOINT_SECONDS = 2.0
# How much the class of the whole picture counts beside the places that were changed.
WHOLE_SHARE = 0.1


# The factor of the learning rate, by the fraction of the steps done. "one-cycle": it warms up over a fifth of the run,
# then falls to 0 along a cosine (Smith & Topin, "Super-convergence", 2018).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "one-cycle": lambda done: done / 0.2 if done < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.2) / 0.8),
}


def train(
    jobs: Sequence[Job],
    *,
    epochs: int,
    batch_size: int,
    device: torch.device,
    schedule: str = "constant",
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Array:
    """Train M models of one form in place with Adam on cross-entropy, each as if it were trained alone.

    A batch is `batch_size` samples in all their V views. The temperature is not used in training. Models may have
    different samples, but must need the same number of batches.

    Parameters
    ----------
    jobs : M jobs
    schedule : str
        A name of `SCHEDULES`: how the learning rate changes from the first step to the last.
    checkpoints : folder or None
        The folder in which the state of the run is saved every few seconds. If a state of the same run is there
        already, the run resumes from it, and ends with the same bits.
    on_progress : callable
        Called with the finished fraction, 0 … 1, after each batch.

    Returns
    -------
    losses : array [epochs, M]
        The training loss, averaged over the batches of each epoch.
    """
    stack = Stack([job.network for job in jobs], device)
    views, borrows = jobs[0].transform.count, jobs[0].transform.borrows
    pool, rows, prepare = _pool(jobs, stack, device)
    lengths = [len(job.rows) for job in jobs]
    longest = max(lengths)
    steps = -(-longest // batch_size)
    # The weight of each view in the mean over its batch, [M, longest · V].
    weight = torch.stack([_weights(n, longest, batch_size) for n in lengths]).div(views)
    weight = weight.repeat_interleave(views, 1).to(device)
    # Label smoothing: the target is (1 - ε) · true class + ε · uniform over the C classes.
    smoothing = torch.tensor([job.label_smoothing for job in jobs], device=device).view(-1, 1, 1)  # [M, 1, 1]
    on_true = 1 - smoothing
    rates, decays = (
        torch.tensor(values, device=device).view(-1, 1)
        for values in zip(*((job.learning_rate, job.weight_decay) for job in jobs), strict=True)
    )
    optimizer = Adam(stack.weights, rates, decays)
    parameters = list(stack.parameters.values())
    losses = torch.zeros(epochs, len(jobs), device=device)
    light = type(jobs[0].network) in NETWORKS.values() and not isinstance(jobs[0].network, PlaceNetwork)
    few = light and device.type == "cpu" and len(jobs) * batch_size * views * pool[0].numel() < SMALL_BATCH
    # The seed is for layers that draw at random, such as dropout.
    with seeded(jobs[0].seed), _threads(1 if few else torch.get_num_threads()):
        state = {"losses": losses, "weights": stack.weights, "mean": optimizer.mean, "square": optimizer.square}
        state |= {f"buffer {name}": buffer for name, buffer in jobs[0].network.named_buffers()}
        name = "" if checkpoints is None else fingerprint(jobs, epochs, batch_size, schedule)
        file = None if checkpoints is None else checkpoints / f"{name}.safetensors"
        optimizer.steps = 0 if file is None else restore(file, state)
        if optimizer.steps == epochs * steps:
            on_progress(1.0)
        saved = time.monotonic()
        for epoch in range(optimizer.steps // steps, epochs):
            order = [_order(job, epoch, longest) for job in jobs]
            lenders = [_order(job, epoch, longest, 5) for job in jobs] if borrows else order
            picked, lent = (
                torch.as_tensor(np.take_along_axis(rows, np.stack(places), 1), device=device)
                for places in (order, lenders)
            )  # [M, longest] each
            classes = [job.targets[job.rows[turn]].astype(np.int32) for job, turn in zip(jobs, order, strict=True)]
            moves, draws, warps = (
                torch.as_tensor(np.stack([draw(job, epoch, longest) for job in jobs]), device=device)
                for draw in (_moves, _draws, partial(_warps, views=views if any(job.warp for job in jobs) else 0))
            )
            true = torch.as_tensor(np.stack(classes), device=device).flatten(1)  # [M, longest · V]
            partners, shares = _mixtures(jobs, epoch, longest, device)
            for step in range(optimizer.steps % steps, steps):
                samples = slice(step * batch_size, (step + 1) * batch_size)
                others = torch.index_select(pool, 0, lent[:, samples].flatten()) if borrows else None
                rest = others, moves[:, samples].flatten(0, 1), draws[:, samples].flatten(0, 1)
                warp = warps[:, samples].flatten(0, 1)
                x = prepare(torch.index_select(pool, 0, picked[:, samples].flatten()), *rest, warp)  # [M · B, V, ...]
                in_views = slice(samples.start * views, samples.stop * views)
                classes_of = [(true[:, None, in_views].long(), on_true)]  # [M, 1, B · V] each
                if partners is not None:
                    other, share = partners[:, samples], shares[:, samples]
                    warp = warps.take_along_dim(other[..., None, None], 1).flatten(0, 1)
                    x_other = prepare(torch.index_select(pool, 0, picked.gather(1, other).flatten()), *rest, warp)
                    x = mixed(x, x_other, share.flatten())
                    share, class_other = share.repeat_interleave(views, 1)[:, None], true.unflatten(1, (-1, views))
                    class_other = class_other.take_along_dim(other[..., None], 1).flatten(1)[:, None].long()
                    classes_of = [(classes_of[0][0], on_true * share), (class_other, on_true * (1 - share))]
                z, places = stack.logits(x.view(len(jobs), -1, *x.shape[2:]))  # [M, C, B · V]
                objective, loss = _of_classes(z, classes_of, smoothing, weight[:, None, in_views])
                if places is not None:
                    of_places, loss_of_places = _of_changed(places, x, weight[:, in_views])
                    objective, loss = of_places + WHOLE_SHARE * objective, loss_of_places + WHOLE_SHARE * loss
                losses[epoch] += loss
                gradients = torch.autograd.grad(objective, parameters, materialize_grads=True)
                optimizer.step(gradients, SCHEDULES[schedule](optimizer.steps / (epochs * steps)))
                on_progress(optimizer.steps / (epochs * steps))
                finished = optimizer.steps == epochs * steps
                if file is not None and (finished or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    save(file, state, optimizer.steps)
                    saved = time.monotonic()
    stack.unstack()
    return losses.div_(steps).cpu().numpy()


def _of_classes(
    z: Tensor, classes: Sequence[tuple[Tensor, Tensor]], smoothing: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the classes: a sum with its gradient, and its value for each model [M].

    z : logits [M, C, B · V]
    classes : pairs of classes and their targets, [M, 1, B · V] each; the rest of the target is spread over all classes
    smoothing : the target of each class beside those, times C, [M, 1, 1]
    scale : the weight of each view, [M, 1, B · V]

    Models share no parameter, so each gets the gradient of its own loss. It is written as a sum, because passing a
    gradient to torch.autograd.grad makes it import sympy: a third of the time of one model.
    """
    with torch.no_grad():
        log_p = z.log_softmax(1)
        target = (smoothing / z.shape[1]).expand_as(z)
        for index, on_class in classes:
            target = target.scatter_add(1, index, on_class.expand_as(index))
        loss = -(target * log_p * scale).sum((1, 2))
        # The gradient of cross-entropy, written out: half the work of deriving it automatically.
        gradient = log_p.exp_().sub_(target).mul_(scale)
    return (z * gradient).sum(), loss


def _of_changed(places: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of which places were changed, as `_of_classes` returns it.

    places : logits [M, B · V, H', W']
    x : views [M · B, V, C, H, W], of which the first is not changed
    weight : of each view [M, B · V]

    A place was changed if more than a quarter of its pixels were, each by more than 0.15 standard deviations of the
    picture. Changed places count four times, as they are few.
    """
    with torch.no_grad():
        views = as_float(x)
        plain = views[:, :1]
        differs = (views - plain).abs().amax(2) > 0.15 * plain.std((2, 3, 4))[..., None, None]
        share = torch.nn.functional.adaptive_avg_pool2d(differs.float(), (places.shape[2], places.shape[3]))
        changed = (share > 0.25).view_as(places).to(places.dtype)
        scale = (1 + 3 * changed) * weight[..., None, None] / places[0, 0].numel()
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(places, changed, reduction="none")
        gradient = (places.sigmoid() - changed) * scale
    return (places * gradient).sum(), (entropy * scale).sum((1, 2, 3))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pool(
    jobs: Sequence[Job], stack: Stack, device: torch.device
) -> tuple[Tensor, Array, Callable[[Tensor, Tensor | None, Tensor, Tensor, Tensor], Tensor]]:
    """Concatenate the inputs of all jobs; inputs that several jobs share are included once.

    Returns the pool, the rows of it that each job learns from [M, longest n], and a function that turns a batch of the
    pool into views [n, V, ...] in the stack's order, with the given moves, random numbers and warps. If views are not
    moved, drawn at random or warped and all of them fit in memory, the pool holds the views, and the function does
    nothing.
    """

    def prepare(
        x: Tensor,
        transform: Transform,
        others: Tensor | None = None,
        moves: Tensor | None = None,
        draws: Tensor | None = None,
        warps: Tensor | None = None,
    ) -> Tensor:
        views = transform(x, draws, others).flatten(0, 1)
        views = views if moves is None else shifted(views, moves.flatten(0, 1))
        views = views if warps is None else warped(views, warps.flatten(0, 1))
        return stack.arrange(views).unflatten(0, (len(x), -1))

    sources = {job.source: job for job in jobs}
    views_bytes = sum(job.inputs.nbytes * job.transform.count for job in sources.values())
    moved, drawn = any(job.shift for job in jobs), jobs[0].transform.n_draws > 0
    is_warped = any(job.warp for job in jobs)
    lazy = len({job.transform for job in jobs}) == 1 and (moved or drawn or is_warped or views_bytes > PREPARED_BYTES)
    blocks = [
        block if lazy else prepare(block, job.transform)
        for job in sources.values()
        for block in job.inputs.to(device).split(len(job.inputs) if lazy else 4096)
    ]
    starts = dict(zip(sources, np.cumsum([0, *(len(job.inputs) for job in sources.values())]), strict=False))
    longest = max(len(job.rows) for job in jobs)
    rows = [starts[job.source] + np.pad(job.rows, (0, longest - len(job.rows)), "edge") for job in jobs]
    pool = blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def ready(x: Tensor, others: Tensor | None, moves: Tensor, draws: Tensor, warps: Tensor) -> Tensor:
        if not lazy:
            return x
        given = others, moves if moved else None, draws if drawn else None, warps if is_warped else None
        return prepare(x, jobs[0].transform, *given)

    return pool, np.stack(rows).astype(np.int32), ready


def _order(job: Job, epoch: int, longest: int, *purpose: int) -> Array:
    """Order of the rows of a job, padded; depends on seed, epoch and purpose alone, so a run can resume."""
    order = np.random.default_rng((job.seed, epoch, *purpose)).permutation(len(job.rows))
    return np.pad(order, (0, longest - len(order)), "edge")


def _moves(job: Job, epoch: int, longest: int) -> Array:
    """Distance by which each view is moved along each axis, int64 [longest, V, axes]; from seed and epoch alone."""
    shape = longest, job.transform.count, job.inputs.ndim - 2
    if not job.shift:
        return np.zeros(shape, np.int64)
    return np.random.default_rng((job.seed, epoch, 1)).integers(-job.shift, job.shift + 1, shape)


def _draws(job: Job, epoch: int, longest: int) -> Array:
    """Random numbers of the transform for each sample, float32 [longest, n_draws]; from seed and epoch alone."""
    shape = longest, job.transform.n_draws
    return np.random.default_rng((job.seed, epoch, 2)).random(shape, np.float32)


def _warps(job: Job, epoch: int, longest: int, views: int) -> Array:
    """How each view is stretched and moved, float32 [longest, V, 4], as in `warped`; from seed and epoch alone.

    `views` is V, or 0 if no job of the stack warps.
    """
    shape = longest, views, 4
    if not job.warp:
        return np.zeros(shape, np.float32)
    return job.warp * np.random.default_rng((job.seed, epoch, 4)).uniform(-1, 1, shape).astype(np.float32)


def _mixtures(jobs: Sequence[Job], epoch: int, longest: int, device: torch.device) -> tuple[Tensor | None, Tensor]:
    """Place in the epoch's order of the sample that each is mixed with, and its own share, [M, longest] each.

    They depend on seed and epoch alone. Without mixup there are no partners, and a job without it has shares of 1.
    """
    partners, shares = np.zeros((len(jobs), longest), np.int64), np.ones((len(jobs), longest), np.float32)
    for m, job in enumerate(jobs):
        if job.mixup > 0:
            draw, n = np.random.default_rng((job.seed, epoch, 3)), len(job.rows)
            partners[m, :n], shares[m, :n] = draw.permutation(n), draw.beta(job.mixup, job.mixup, n)
    found = torch.as_tensor(partners, device=device) if any(job.mixup > 0 for job in jobs) else None
    return found, torch.as_tensor(shares, device=device)


def _weights(n: int, longest: int, batch_size: int) -> Tensor:
    """Weight of each of n samples in the mean over its batch, 0 for the padding; [longest]."""
    place = np.arange(longest)
    sizes = np.clip(n - place // batch_size * batch_size, 1, batch_size)
    return torch.tensor(np.where(place < n, 1 / sizes, 0), dtype=torch.float32)


class Adam:
    """AdamW (Loshchilov & Hutter, ICLR 2019) for M models at once, each with its own step size and weight decay.

    `weights` [M, P] are updated in place; `learning_rate` and `weight_decay` are [M, 1]; without decay it is Adam.
    torch.optim.AdamW takes one step size and one decay for each parameter group, so M models would need M groups, and
    one group costs as much as the whole stack does here.
    """

    def __init__(self, weights: Tensor, learning_rate: Tensor, weight_decay: Tensor) -> None:
        self.weights = weights
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay if weight_decay.any() else None
        self.mean = torch.zeros_like(weights)
        self.square = torch.zeros_like(weights)
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], factor: float = 1.0) -> None:
        """Update the weights with gradients [M, ...] of the parameters, in the order in which a row holds them.

        `factor` scales the step size.
        """
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.steps += 1
        gradient = torch.cat([value.flatten(1) for value in gradients], 1)
        if self.weight_decay is not None:
            self.weights.mul_(1 - self.learning_rate * factor * self.weight_decay)
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # Both moments start at 0. These are the paper's corrections, rearranged to be one number per step.
        square_scale = (1 - beta2**self.steps) ** 0.5
        rate = self.learning_rate * (factor * square_scale / (1 - beta1**self.steps))
        self.weights.addcdiv_(self.mean * rate, self.square.sqrt().add_(epsilon * square_scale), value=-1)
