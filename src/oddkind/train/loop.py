"""The training loop: M models at once, read from top to bottom."""

from __future__ import annotations

import hashlib
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from oddkind.model.scores import Outputs
from oddkind.train.stacked import Stack, as_float
from oddkind.train.transforms import Task, Transform

Array = npt.NDArray[Any]

# Views are made and arranged once, before the first epoch, where they fit in this much memory.
PREPARED_BYTES = 1 << 27
PREDICT_BATCH = 512
# Threads cost more than they bring for the built-in networks on batches of fewer numbers than this.
SMALL_BATCH = 100_000
# At most this much work is lost when a run with checkpoints is killed.
CHECKPOINT_SECONDS = 2.0


# The learning rate as a part of the one asked for, by the part of the steps done. "one-cycle": it warms up over a
# fifth of the run and falls to 0 as a cosine does (Smith & Topin, "Super-convergence", 2018).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "one-cycle": lambda done: done / 0.2 if done < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (done - 0.2) / 0.8),
}


@dataclass(frozen=True, eq=False)
class Job:
    """One model to train.

    Attributes
    ----------
    network : module
        Trained in place, from the weights it has.
    inputs : tensor [N, ...]
        uint8 or float32; jobs whose tensors share memory share the views made of them.
    transform : Transform
        Shows samples in V views.
    targets : int array [N, V]
        Class of every view.
    rows : int array [n]
        Which samples to learn from.
    seed : int
        Decides the order of the batches.
    label_smoothing, learning_rate, weight_decay : float
        ε of Szegedy et al. (CVPR 2016); Adam's step size; and by what part of it weights shrink at each step.
    shift : int
        Every view is moved by up to so many pixels or points along each of its axes, anew each epoch; the
        border is repeated.
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

    @property
    def source(self) -> tuple[Any, ...]:
        """The same for jobs that see the same samples in the same views."""
        return self.inputs.data_ptr(), self.inputs.shape, self.inputs.stride(), self.transform


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
    """Train M models of one form in place with Adam on cross-entropy, each as if it were alone.

    A batch is `batch_size` samples in all their V views. Temperature plays no part here. Models may have
    different samples, but must need the same number of batches for them.

    Parameters
    ----------
    jobs : M jobs
    schedule : str
        A name of `SCHEDULES`: how the learning rate moves from the first step to the last.
    checkpoints : folder or None
        Where to leave the state of the run every few seconds, and to look for it first: a run that was killed
        goes on where it was and ends with the same bits.
    on_progress : callable
        Told the finished part, 0 … 1, after each batch.

    Returns
    -------
    losses : array [epochs, M]
        Training loss, mean over the epoch's batches.
    """
    stack = Stack([job.network for job in jobs], device)
    views = jobs[0].transform.count
    pool, rows, prepare = _pool(jobs, stack, device)
    lengths = [len(job.rows) for job in jobs]
    longest = max(lengths)
    steps = -(-longest // batch_size)
    # How much each view counts in the mean over its batch, [M, longest · V].
    weight = torch.stack([_weights(n, longest, batch_size) for n in lengths]).div(views)
    weight = weight.repeat_interleave(views, 1).to(device)
    # Label smoothing: the target is (1 - ε) · true class + ε · uniform over the C classes.
    smoothing = torch.tensor([job.label_smoothing for job in jobs], device=device).view(-1, 1, 1)  # [M, 1, 1]
    on_true = 1 - smoothing
    rates, decays = (
        torch.tensor(of, device=device).view(-1, 1)
        for of in zip(*((job.learning_rate, job.weight_decay) for job in jobs), strict=True)
    )
    optimizer = Adam(stack.weights, rates, decays)
    parameters = list(stack.parameters.values())
    losses = torch.zeros(epochs, len(jobs), device=device)
    few = stack.native and device.type == "cpu" and len(jobs) * batch_size * views * pool[0].numel() < SMALL_BATCH
    with torch.random.fork_rng(devices=[]), _threads(1 if few else torch.get_num_threads()):
        torch.manual_seed(jobs[0].seed)  # for layers that draw at random, such as dropout
        state = {"losses": losses, "weights": stack.weights, "mean": optimizer.mean, "square": optimizer.square}
        state |= {f"buffer {name}": buffer for name, buffer in jobs[0].network.named_buffers()}
        name = "" if checkpoints is None else _fingerprint(jobs, epochs, batch_size, schedule)
        file = None if checkpoints is None else checkpoints / f"{name}.safetensors"
        optimizer.steps = 0 if file is None else _restore(file, state)
        if optimizer.steps == epochs * steps:
            on_progress(1.0)
        saved = time.monotonic()
        for epoch in range(optimizer.steps // steps, epochs):
            order = [_order(job, epoch, longest) for job in jobs]
            picked = torch.as_tensor(np.take_along_axis(rows, np.stack(order), 1), device=device)  # [M, longest]
            classes = [job.targets[job.rows[own]].astype(np.int32) for job, own in zip(jobs, order, strict=True)]
            moves, draws = (
                torch.as_tensor(np.stack([of(job, epoch, longest) for job in jobs]), device=device)
                for of in (_moves, _draws)
            )
            true = torch.as_tensor(np.stack(classes), device=device).flatten(1)  # [M, longest · V]
            for step in range(optimizer.steps % steps, steps):
                samples = slice(step * batch_size, (step + 1) * batch_size)
                x = torch.index_select(pool, 0, picked[:, samples].flatten())
                x = prepare(x, moves[:, samples].flatten(0, 1), draws[:, samples].flatten(0, 1))  # [M · B, V, ...]
                z = stack.logits(x.view(len(jobs), -1, *x.shape[2:]))  # [M, C, B · V]
                with torch.no_grad():
                    in_views = slice(samples.start * views, samples.stop * views)
                    index, share = true[:, None, in_views].long(), weight[:, None, in_views]  # [M, 1, B · V]
                    log_p = z.log_softmax(1)
                    target = (smoothing / z.shape[1]).expand_as(z).scatter_add(1, index, on_true.expand_as(index))
                    losses[epoch] -= (target * log_p * share).sum((1, 2))
                    # The gradient of cross-entropy, written out: half the work of having it derived.
                    gradient = log_p.exp_().sub_(target).mul_(share)
                # Models share no parameter, so each gets the gradient of its own loss. As a sum, for handing a
                # gradient to torch.autograd.grad makes it import sympy: a third of the time of one model.
                gradients = torch.autograd.grad((z * gradient).sum(), parameters, materialize_grads=True)
                optimizer.step(gradients, SCHEDULES[schedule](optimizer.steps / (epochs * steps)))
                on_progress(optimizer.steps / (epochs * steps))
                finished = optimizer.steps == epochs * steps
                if file is not None and (finished or time.monotonic() - saved > CHECKPOINT_SECONDS):
                    _save(file, state, optimizer.steps)
                    saved = time.monotonic()
    stack.unstack()
    return losses.div_(steps).cpu().numpy()


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
) -> tuple[Tensor, Array, Callable[[Tensor, Tensor, Tensor], Tensor]]:
    """Put the inputs of all jobs one after another, those that share a tensor once.

    Returns the pool, which of its rows each job learns from [M, longest n], and what makes a batch of it views
    [n, V, ...] in the stack's order, each moved and drawn as told: nothing is left to do where none is and all views
    fit in memory.
    """

    def prepare(x: Tensor, transform: Transform, moves: Tensor | None = None, draws: Tensor | None = None) -> Tensor:
        views = transform(x, draws).flatten(0, 1)
        views = views if moves is None else shifted(views, moves.flatten(0, 1))
        return stack.arrange(views).unflatten(0, (len(x), -1))

    sources = {job.source: job for job in jobs}
    views_bytes = sum(job.inputs.nbytes * job.transform.count for job in sources.values())
    moved, drawn = any(job.shift for job in jobs), jobs[0].transform.n_draws > 0
    lazy = len({job.transform for job in jobs}) == 1 and (moved or drawn or views_bytes > PREPARED_BYTES)
    parts = [
        part if lazy else prepare(part, job.transform)
        for job in sources.values()
        for part in job.inputs.to(device).split(len(job.inputs) if lazy else 4096)
    ]
    starts = dict(zip(sources, np.cumsum([0, *(len(job.inputs) for job in sources.values())]), strict=False))
    longest = max(len(job.rows) for job in jobs)
    rows = [starts[job.source] + np.pad(job.rows, (0, longest - len(job.rows)), "edge") for job in jobs]
    pool = parts[0] if len(parts) == 1 else torch.cat(parts)

    def ready(x: Tensor, moves: Tensor, draws: Tensor) -> Tensor:
        return prepare(x, jobs[0].transform, moves if moved else None, draws if drawn else None) if lazy else x

    return pool, np.stack(rows).astype(np.int32), ready


def _order(job: Job, epoch: int, longest: int) -> Array:
    """Which of its rows a job learns from in turn, padded; of seed and epoch alone: a resumed run finds it again."""
    order = np.random.default_rng((job.seed, epoch)).permutation(len(job.rows))
    return np.pad(order, (0, longest - len(order)), "edge")


def _moves(job: Job, epoch: int, longest: int) -> Array:
    """How far each view is moved along each axis in turn, int64 [longest, V, axes]; of seed and epoch alone."""
    shape = longest, job.transform.count, job.inputs.ndim - 2
    if not job.shift:
        return np.zeros(shape, np.int64)
    return np.random.default_rng((job.seed, epoch, 1)).integers(-job.shift, job.shift + 1, shape)


def _draws(job: Job, epoch: int, longest: int) -> Array:
    """What its transform draws for each sample, float32 [longest, n_draws]; of seed and epoch alone."""
    shape = longest, job.transform.n_draws
    return np.random.default_rng((job.seed, epoch, 2)).random(shape, np.float32)


def shifted(x: Tensor, moves: Tensor) -> Tensor:
    """Move samples [n, C, ...] along the axes after the channels by moves [n, axes]; the border is repeated."""
    for axis in range(moves.shape[1]):
        size = x.shape[axis + 2]
        index = (torch.arange(size, device=x.device) - moves[:, axis, None]).clamp_(0, size - 1)  # [n, size]
        x = x.take_along_dim(index.view(len(x), *[1] * (axis + 1), size, *[1] * (x.ndim - axis - 3)), axis + 2)
    return x


def _weights(n: int, longest: int, batch_size: int) -> Tensor:
    """How much each of n samples counts in the mean over its batch, 0 for the padding; [longest]."""
    place = np.arange(longest)
    sizes = np.clip(n - place // batch_size * batch_size, 1, batch_size)
    return torch.tensor(np.where(place < n, 1 / sizes, 0), dtype=torch.float32)


def _fingerprint(jobs: Sequence[Job], *settings: object) -> str:
    """What decides a run: the same for the same run, another for any other."""
    digest = hashlib.sha256(repr(settings).encode())
    for job in {job.source: job for job in jobs}.values():
        digest.update(job.inputs.contiguous().numpy().data)
    for job in jobs:
        with np.printoptions(threshold=sys.maxsize, floatmode="unique"):  # a transform's matrices, unabridged
            settings = job.transform, job.seed, job.label_smoothing, job.learning_rate, job.weight_decay, job.shift
            digest.update(repr((job.network, *settings)).encode())
        for tensor in (*job.network.parameters(), *job.network.buffers()):
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
        digest.update(np.ascontiguousarray(job.targets[job.rows]).data)
        digest.update(np.ascontiguousarray(job.rows).data)
    return digest.hexdigest()[:32]


def _save(file: Path, state: dict[str, Tensor], steps: int) -> None:
    """Write a checkpoint, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    save_file(state | {"rng": torch.get_rng_state()}, unfinished, metadata={"steps": str(steps)})
    os.replace(unfinished, file)


def _restore(file: Path, state: dict[str, Tensor]) -> int:
    """Fill the state from a checkpoint and return how many steps it has done; 0 where none can be read."""
    if not file.exists():
        return 0
    try:
        with safe_open(file, "pt") as saved:
            for name, tensor in state.items():
                tensor.copy_(saved.get_tensor(name))
            torch.set_rng_state(saved.get_tensor("rng"))
            return int(saved.metadata()["steps"])
    except SafetensorError:  # cut short by a full disk, say: its header is checked before anything is copied
        return 0


class Adam:
    """AdamW (Loshchilov & Hutter, ICLR 2019) for M models at once, each with a step size and a weight decay of its own.

    weights [M, P] are updated in place; learning_rate, weight_decay [M, 1]; without decay it is Adam. torch.optim.AdamW
    takes one of each a tensor, so M models would be M groups, and a group costs as much as the whole stack does here.
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
        """Update with the gradients of the parts of each row, [M, ...] each, in the order they lie in.

        `factor` scales the step size.
        """
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.steps += 1
        gradient = torch.cat([part.flatten(1) for part in gradients], 1)
        if self.weight_decay is not None:
            self.weights.mul_(1 - self.learning_rate * factor * self.weight_decay)
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        # Both moments start at 0: the paper's corrections, moved to where they are one number a step.
        square_scale = (1 - beta2**self.steps) ** 0.5
        rate = self.learning_rate * (factor * square_scale / (1 - beta1**self.steps))
        self.weights.addcdiv_(self.mean * rate, self.square.sqrt().add_(epsilon * square_scale), value=-1)


def predict(network: nn.Module, task: Task, inputs: Tensor, labels: Array | None) -> Outputs:
    """Run a trained network on every view of the inputs, batch by batch."""
    network.eval()
    device = next(network.parameters()).device
    logits, features = [], []
    with torch.no_grad():
        for part in inputs.split(max(1, PREDICT_BATCH // task.transform.scored)):
            # A product with one row is summed in another order: with blanks beside it a sample scores as in a crowd.
            blanks = part.new_zeros(max(0, 16 - len(part)), *part.shape[1:])
            views = task.transform(torch.cat([part, blanks]).to(device))
            z, f = network(as_float(views.flatten(0, 1)))
            logits.append(z.unflatten(0, views.shape[:2])[: len(part)].cpu())
            features.append(f.unflatten(0, views.shape[:2])[: len(part)].cpu())
    targets = task.targets(labels, len(inputs))
    flat = inputs.flatten(1).numpy()
    return Outputs(np.asarray(torch.cat(logits)), np.asarray(torch.cat(features)), targets, flat)
