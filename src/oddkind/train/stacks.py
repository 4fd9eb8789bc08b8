"""Many jobs at once: those of one form are trained in one stack, as large as memory allows."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch

from oddkind.train.loop import Job, train
from oddkind.train.stacked import learnt, why_alone

Array = npt.NDArray[Any]

# A stack is as large as fits in about this much memory; on a GPU, in half of what is free.
STACK_BYTES = 1 << 29


@dataclass(frozen=True, eq=False)
class Run:
    """A job, and how it is trained: as in `train`."""

    job: Job
    epochs: int
    batch_size: int
    schedule: str
    device: torch.device

    @property
    def form(self) -> Hashable:
        """Runs of one form can be trained in one stack."""
        job = self.job
        weights = tuple((name, tuple(p.shape)) for name, p in learnt(job.network).items())
        transform = (type(job.transform), job.transform.count)
        steps = -(-len(job.rows) // self.batch_size)
        trained = (steps, self.epochs, self.batch_size, self.schedule, self.device)
        return type(job.network), repr(job.network), weights, transform, job.inputs.shape[1:], job.inputs.dtype, trained


def train_together(
    runs: Sequence[Run], checkpoints: Path | None, on_progress: Callable[[float], None]
) -> list[tuple[Array, float]]:
    """Train the networks of all runs in place; of each the losses [epochs], and its part of the seconds it took."""
    stacks: dict[Hashable, list[int]] = {}
    for number, run in enumerate(runs):
        stacks.setdefault(run.form, []).append(number)
    results: dict[int, tuple[Array, float]] = {}  # by number

    def report(done: int, training: int, part: float) -> None:
        on_progress((done + part * training) / len(runs))

    for together in stacks.values():
        first = runs[together[0]]
        network, shape = first.job.network, tuple(first.job.inputs.shape[1:])
        reason = why_alone(network, shape, first.device) if len(together) > 1 else None
        if reason is not None:
            name = type(network).__name__
            warnings.warn(f"{len(together)} networks {name} are trained one after another: {reason}", stacklevel=4)
        for part in _parts(together, runs, alone=reason is not None):
            started, done = time.perf_counter(), len(results)
            losses = train(
                [runs[number].job for number in part],
                epochs=first.epochs,
                batch_size=first.batch_size,
                schedule=first.schedule,
                device=first.device,
                checkpoints=checkpoints,
                on_progress=functools.partial(report, done, len(part)),
            )
            seconds = (time.perf_counter() - started) / len(part)
            results |= {number: (losses[:, m], seconds) for m, number in enumerate(part)}
    return [results[number] for number in range(len(runs))]


def _parts(numbers: list[int], runs: Sequence[Run], *, alone: bool) -> Iterator[list[int]]:
    """Cut runs of one form into stacks that fit in memory, samples that they share counted once."""
    part: list[int] = []
    sources: set[Hashable] = set()
    used = 0
    device = runs[numbers[0]].device
    budget = torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else STACK_BYTES
    for number in numbers:
        job = runs[number].job
        batch = runs[number].batch_size * job.transform.count * job.inputs[0].numel() * 4
        weights = sum(parameter.nbytes for parameter in job.network.parameters())
        # A batch and what is computed from it; weights, two moments and their gradient; rows in two orders.
        own = 4 * batch + 5 * weights + 16 * len(job.rows)
        samples = 0 if job.source in sources else job.inputs.nbytes * job.transform.count
        if part and (alone or used + own + samples > budget):
            yield part
            part, sources, used = [], set(), 0
            samples = job.inputs.nbytes * job.transform.count
        part.append(number)
        sources.add(job.source)
        used += own + samples
    yield part
