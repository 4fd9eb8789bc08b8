"""What all threads of a process share in torch: its generator, and the number of threads that it computes with."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Whoever seeds torch's generator or changes its number of threads holds this: networks train one after another.
_lock = threading.RLock()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's generator start from `seed`, for one thread at a time, and restore it in the end."""
    with _lock, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _in_forked_child() -> None:
    """Compute with one thread: OpenMP's others were not forked, and waiting for them would never end."""
    global _lock
    _lock = threading.RLock()  # a thread that held it was not forked either
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
