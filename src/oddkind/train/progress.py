"""A progress bar for training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def shown_progress(verbose: bool) -> Iterator[Callable[[float], None]]:
    """Yield what is called with the finished fraction, 0 … 1; it shows a progress bar if `verbose`."""
    if not verbose:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress(transient=True) as progress:
        bar = progress.add_task("training", total=1.0)
        yield lambda done: progress.update(bar, completed=done)
