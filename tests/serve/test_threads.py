"""Threads: no more than there are compute, and what is given up leaves nothing behind."""

import asyncio
import gc
import threading
import weakref

import pytest

from oddkind.serve.threads import Threads


class Body:
    """Stands for megabytes that a request sent."""


def test_results_and_errors_are_returned():
    async def ask():
        threads = Threads(2)
        found = await asyncio.gather(*(threads.run(pow, 2, n) for n in range(20)))
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 1, 0)
        await asyncio.sleep(0.01)
        assert threads.busy == 0
        threads.close()
        return found

    assert asyncio.run(ask()) == [2**n for n in range(20)]


def test_no_more_run_than_there_are_threads():
    running, most, lock = 0, 0, threading.Lock()

    def work(event):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        event.wait(0.01)
        with lock:
            running -= 1

    async def ask():
        threads, event = Threads(3), threading.Event()
        await asyncio.gather(*(threads.run(work, event) for _ in range(12)))
        threads.close()

    asyncio.run(ask())
    assert most == 3


def test_what_is_given_up_leaves_nothing_behind_while_a_thread_is_stuck():
    """Requests that time out while every thread is busy must not pile up in memory."""
    go = threading.Event()

    async def ask():
        threads = Threads(1)
        stuck = asyncio.create_task(threads.run(go.wait))
        await asyncio.sleep(0.01)
        stuck.cancel()  # its client gives up, the thread does not
        left = []
        for _ in range(10):
            body = Body()
            left.append(weakref.ref(body))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await threads.run(lambda given: given, body)
            del body
        gc.collect()
        assert [body for body in left[:-1] if body() is not None] == []  # the last error may still hold its own
        assert threads.busy == 1
        go.set()
        assert await threads.run(pow, 2, 3) == 8  # there is room again
        threads.close()

    asyncio.run(ask())
