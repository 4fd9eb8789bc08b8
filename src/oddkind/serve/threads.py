"""Threads that compute for requests, without a queue of their own that could fill the memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any


class Threads:
    """Computes at most n things at a time.

    What waits, waits as a coroutine: if its request is given up, nothing of it stays in memory. A thread cannot be
    stopped; the room that it takes is free once it has really finished.

    Parameters
    ----------
    n : int
    """

    def __init__(self, n: int) -> None:
        self._pool = ThreadPoolExecutor(n, thread_name_prefix="oddkind-serve")
        self._room = asyncio.Semaphore(n)
        self.busy = 0

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns."""
        await self._room.acquire()
        self.busy += 1
        loop = asyncio.get_running_loop()
        future = self._pool.submit(function, *arguments)

        def finished(_: Future[Any]) -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._leave)

        future.add_done_callback(finished)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Start nothing more, and do not wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _leave(self) -> None:
        self.busy -= 1
        self._room.release()
