"""The loop: an item is judged, written with its mark in one transaction, delivered and acknowledged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from oddkind.watch.items import Source
from oddkind.watch.judge import Judge
from oddkind.watch.monitor import Monitor
from oddkind.watch.sender import Sender
from oddkind.watch.state import State

POLL = 0.25  # seconds
LAST_SECONDS = 5.0  # in which lines that could not be delivered are tried again at the end


def watch(
    source: Source,
    judge: Judge,
    monitor: Monitor,
    state: State,
    senders: Sequence[Sender],
    stop: threading.Event,
    on_item: Callable[[int], None] = lambda n_items: None,
) -> dict[str, Any]:
    """Judge what a source yields until it ends or `stop` is set; an item in hand is finished.

    Returns
    -------
    dict
        "items", the counts and the evidence of `Monitor.summary`, "undelivered": the lines that are kept for the next
        time, by output, and "left_over": what was too short or incomplete, or None.
    """
    n_items = 0
    try:
        while not stop.is_set() and (items := source.poll(POLL)) is not None:
            for item in items:
                state.commit(monitor.step(judge(item), dict(item.marks)))
                source.done(item)
                for sender in senders:
                    sender.wake()
                n_items += 1
                on_item(n_items)
                if stop.is_set():
                    break
    finally:
        source.close()
        kept = {sender.output.name: sender.finish(LAST_SECONDS) for sender in senders}
    undelivered = {name: n for name, n in kept.items() if n}
    return {"items": n_items, **monitor.summary(), "undelivered": undelivered, "left_over": source.left_over()}
