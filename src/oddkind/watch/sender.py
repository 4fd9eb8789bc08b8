"""Delivery of lines: a thread for each output takes them from the outbox, and tries again until they are delivered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from oddkind.watch.outputs import DeliveryError, Output
from oddkind.watch.state import State

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until lines are sent again


class Sender:
    """Delivers the lines of one output, in order.

    Parameters
    ----------
    output : Output
    state : State
        For this thread alone.
    notify : callable
        Called when lines cannot be delivered, and when they are again.
    """

    def __init__(self, output: Output, state: State, notify: Callable[[str], None]) -> None:
        self.output, self._state, self._notify = output, state, notify
        self._lines_there, self._stop = threading.Event(), threading.Event()
        self._deadline = float("inf")
        self._failing = False
        self._thread = threading.Thread(target=self._run, name=output.name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there are new lines."""
        self._lines_there.set()

    def finish(self, seconds: float) -> int:
        """Deliver what is left, for at most some seconds, and return how many lines are kept for the next time."""
        self._deadline = time.monotonic() + seconds
        self._stop.set()
        self._lines_there.set()
        self._thread.join(seconds + 1)
        n = self._state.n_undelivered(self.output.name)
        if not self._thread.is_alive():
            self.output.close()
            self._state.close()
        return n

    def _run(self) -> None:
        wait = FIRST_WAIT
        while time.monotonic() < self._deadline:
            self._lines_there.clear()
            lines = self._state.undelivered(self.output.name, self.output.most)
            if not lines:
                if self._stop.is_set():
                    return
                self._lines_there.wait(1.0)
                continue
            try:
                self.output.deliver(lines, self._state)
            except DeliveryError as error:
                if not self._failing:
                    self._notify(f"{self.output.name}: lines are kept and sent again later ({error})")
                self._failing = True
                # A failure at the end is not waited for.
                self._stop.wait(min(wait, max(0.0, self._deadline - time.monotonic())))
                if self._stop.is_set():
                    time.sleep(min(0.2, wait))
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if self._failing:
                    self._notify(f"{self.output.name}: lines are delivered again")
                self._failing, wait = False, FIRST_WAIT
