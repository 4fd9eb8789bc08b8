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
# More networks in a stack would not be faster, and fewer stacks could not be trained by many processes.
STACK_NETWORKS = 64


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


def divide(fits: Sequence[Sequence[Run]]) -> list[list[int]]:
    """Divide fits, each with its runs, into those that are trained at once: lists of their numbers.

    The runs of a list are of one form, and fit in one stack unless those of a single fit do not. The division depends
    on the fits alone, because the bits of a network may depend on how many are trained beside it.
    """
    forms: dict[Hashable, list[int]] = {}
    for number, runs in enumerate(fits):
        forms.setdefault(runs[0].form, []).append(number)
    found = []
    for numbers in forms.values():
        first, count = fits[numbers[0]][0], sum(len(fits[number]) for number in numbers)
        reason = _why_alone(first) if count > 1 else None
        if reason is not None:
            name = type(first.job.network).__name__
            warnings.warn(f"{count} networks {name} are trained one after another: {reason}", stacklevel=4)
        found += [[numbers[n] for n in stack] for stack in _stacks([fits[n] for n in numbers], reason is not None)]
    return found


def train_together(
    runs: Sequence[Run], checkpoints: Path | None, on_progress: Callable[[float], None]
) -> list[tuple[Array, float]]:
    """Train the networks of all runs, which are of one form, in place.

    Returns the losses [epochs] of each run, and its share of the seconds that the training of its stack took.
    """
    first = runs[0]
    results: list[tuple[Array, float]] = []
    for stack in _stacks([[run] for run in runs], len(runs) > 1 and _why_alone(first) is not None):
        started = time.perf_counter()
        losses = train(
            [runs[number].job for number in stack],
            epochs=first.epochs,
            batch_size=first.batch_size,
            schedule=first.schedule,
            device=first.device,
            checkpoints=checkpoints,
            on_progress=functools.partial(_report, on_progress, len(results), len(stack), len(runs)),
        )
        seconds = (time.perf_counter() - started) / len(stack)
        results += [(losses[:, m], seconds) for m in range(len(stack))]
    return results


def _report(on_progress: Callable[[float], None], done: int, training: int, of: int, fraction: float) -> None:
    on_progress((done + fraction * training) / of)


def _why_alone(run: Run) -> str | None:
    return why_alone(run.job.network, tuple(run.job.inputs.shape[1:]), run.device)


def _stacks(fits: Sequence[Sequence[Run]], alone: bool) -> Iterator[list[int]]:
    """Divide fits of one form into stacks that fit in memory, by number; samples that they share are counted once."""
    stack: list[int] = []
    sources: set[Hashable] = set()
    used = count = 0
    device = fits[0][0].device
    budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else STACK_BYTES
    for number, runs in enumerate(fits):
        job = runs[0].job
        batch = runs[0].batch_size * job.transform.count * job.inputs[0].numel() * 4
        weights = sum(parameter.nbytes for parameter in job.network.parameters())
        # A batch and what is computed from it; weights, gradient and two moments; rows in two orders.
        needed = len(runs) * (4 * batch + 5 * weights + 16 * len(job.rows))
        samples = 0 if job.source in sources else job.inputs.nbytes * job.transform.count
        if stack and (alone or used + needed + samples > budget or count + len(runs) > STACK_NETWORKS):
            yield stack
            stack, sources, used, count = [], set(), 0, 0
            samples = job.inputs.nbytes * job.transform.count
        stack.append(number)
        sources.add(job.source)
        used += needed + samples
        count += len(runs)
    yield stack
