"""Training of many jobs: jobs of one form are trained in one stack, as large as memory allows."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from oddkind.arrays import Array
from oddkind.train.job import Job
from oddkind.train.loop import train
from oddkind.train.stacked import learnt, why_alone

# A stack takes up to about this many bytes of memory; on a GPU, up to half of what is free.
STACK_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class Run:
    """A job, and the settings of its training, as in `train`."""

    job: Job
    epochs: int
    batch_size: int
    schedule: str
    device: torch.device

    @property
    def form(self) -> Hashable:
        """A key that is equal for runs that can be trained in one stack."""
        job = self.job
        weights = tuple((name, tuple(p.shape)) for name, p in learnt(job.network).items())
        transform = (type(job.transform), job.transform.count)
        steps = -(-len(job.rows) // self.batch_size)
        trained = (steps, self.epochs, self.batch_size, self.schedule, self.device)
        return type(job.network), repr(job.network), weights, transform, job.inputs.shape[1:], job.inputs.dtype, trained


def train_together(
    runs: Sequence[Run], checkpoints: Path | None, on_progress: Callable[[float], None]
) -> list[tuple[Array, float]]:
    """Train the networks of all runs in place.

    Returns the losses [epochs] of each run, and its share of the seconds that the training of its stack took.
    """
    stacks: dict[Hashable, list[int]] = {}
    for number, run in enumerate(runs):
        stacks.setdefault(run.form, []).append(number)
    results: dict[int, tuple[Array, float]] = {}  # by number

    def report(done: int, training: int, fraction: float) -> None:
        on_progress((done + fraction * training) / len(runs))

    for together in stacks.values():
        first = runs[together[0]]
        network, shape = first.job.network, tuple(first.job.inputs.shape[1:])
        reason = why_alone(network, shape, first.device) if len(together) > 1 else None
        if reason is not None:
            name = type(network).__name__
            warnings.warn(f"{len(together)} networks {name} are trained one after another: {reason}", stacklevel=4)
        for stack in _stacks(together, runs, alone=reason is not None):
            started, done = time.perf_counter(), len(results)
            losses = train(
                [runs[number].job for number in stack],
                epochs=first.epochs,
                batch_size=first.batch_size,
                schedule=first.schedule,
                device=first.device,
                checkpoints=checkpoints,
                on_progress=functools.partial(report, done, len(stack)),
            )
            seconds = (time.perf_counter() - started) / len(stack)
            results |= {number: (losses[:, m], seconds) for m, number in enumerate(stack)}
    return [results[number] for number in range(len(runs))]


def _stacks(numbers: list[int], runs: Sequence[Run], *, alone: bool) -> Iterator[list[int]]:
    """Divide runs of one form into stacks that fit in memory; samples that runs share are counted once."""
    stack: list[int] = []
    sources: set[Hashable] = set()
    used = 0
    device = runs[numbers[0]].device
    budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else STACK_BYTES
    for number in numbers:
        job = runs[number].job
        batch = runs[number].batch_size * job.transform.count * job.inputs[0].numel() * 4
        weights = sum(parameter.nbytes for parameter in job.network.parameters())
        # A batch and what is computed from it; weights, gradient and two moments; rows in two orders.
        needed = 4 * batch + 5 * weights + 16 * len(job.rows)
        samples = 0 if job.source in sources else job.inputs.nbytes * job.transform.count
        if stack and (alone or used + needed + samples > budget):
            yield stack
            stack, sources, used = [], set(), 0
            samples = job.inputs.nbytes * job.transform.count
        stack.append(number)
        sources.add(job.source)
        used += needed + samples
    yield stack
