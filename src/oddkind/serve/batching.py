"""Samples of different requests, scored together: one forward pass for what arrived while the last one ran."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from oddkind.arrays import BATCH_SIZE, Array
from oddkind.model.model import FittedModel

Run = Callable[..., Awaitable[Any]]
"""(function, *arguments) → what it returns, computed by a thread."""


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says about samples.

    Attributes
    ----------
    scores, p_values : arrays [n]
    """

    scores: Array
    p_values: Array


@dataclass(frozen=True, eq=False)
class _Job:
    X: Array
    y: Array | None
    done: asyncio.Future[Scored]


class Batcher:
    """Scores the samples of all requests to a model.

    The score of a sample has the same bits whatever else is in the batch, so a request never notices the others. While
    one pass runs, what arrives waits and makes up the next: nothing is delayed when there is little to do, and the
    more there is, the larger are the batches.

    Parameters
    ----------
    model : FittedModel
    run : callable
        Runs a function in a thread.

    Attributes
    ----------
    on_batch : callable
        Called with the number of samples of each pass.
    """

    def __init__(self, model: FittedModel, run: Run) -> None:
        self.model, self._run = model, run
        self.on_batch: Callable[[int], Any] = lambda n: None
        self._waiting: deque[_Job] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def score(self, X: Array, y: Array | None = None) -> Scored:
        """Score valid samples [n, …] with labels [n] or None.

        Raises
        ------
        InputError
            If these samples cannot be scored; others of the same pass are not affected.
        """
        job = _Job(X, y, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await job.done

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._score_together(self._next())
        finally:
            self._worker = None

    def _next(self) -> list[_Job]:
        """Take the jobs of the next pass: all with labels, or all without."""
        jobs: list[_Job] = []
        n, with_labels = 0, self._waiting[0].y is not None
        left: deque[_Job] = deque()
        for job in self._waiting:
            if job.done.done():  # its client waits no longer
                continue
            if (job.y is not None) == with_labels and (not jobs or n + len(job.X) <= BATCH_SIZE):
                jobs.append(job)
                n += len(job.X)
            else:
                left.append(job)
        self._waiting = left
        return jobs

    async def _score_together(self, jobs: list[_Job]) -> None:
        if not jobs:
            return
        X = np.concatenate([job.X for job in jobs])
        y = None if jobs[0].y is None else np.concatenate([job.y for job in jobs if job.y is not None])
        self.on_batch(len(X))
        try:
            scores, p_values = await self._run(self.model.score_and_p_value, X, y)
        except Exception as error:
            if len(jobs) > 1:  # the others must not fail because of one
                for job in jobs:
                    await self._score_together([job])
            elif not jobs[0].done.done():
                jobs[0].done.set_exception(error)
            return
        stops = np.cumsum([len(job.X) for job in jobs])
        for job, stop in zip(jobs, stops, strict=True):
            own = slice(stop - len(job.X), stop)
            if not job.done.done():
                job.done.set_result(Scored(scores[own], p_values[own]))
