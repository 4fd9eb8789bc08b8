"""What one request, and all of them together, may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MB = 1 << 20


class RequestError(Exception):
    """A request that is not answered with scores, and why.

    Attributes
    ----------
    status : int
        The HTTP status.
    why : str
        What is wrong and what would be right, for the client.
    retry_after : int or None
        Seconds after which it is worth trying again.
    """

    def __init__(self, status: int, why: str, retry_after: int | None = None) -> None:
        super().__init__(why)
        self.status, self.why, self.retry_after = status, why, retry_after


@dataclass(frozen=True)
class Limits:
    """The limits of the service.

    Attributes
    ----------
    max_body : int
        Bytes of one request.
    max_samples : int
        Samples of one request: those of arrays, or the windows of all its files.
    max_pixels : int
        Pixels of one picture, before it is resized.
    max_explained : int
        Samples or files of one request that are explained, because an explanation scores some hundred variants.
    queue : int
        Requests that are read, wait or are scored at one time. What they hold together is at most `HELD` bodies of the
        largest size.
    timeout : float
        Seconds until a request is answered.
    """

    max_body: int = 32 * MB
    max_samples: int = 10_000
    max_pixels: int = 50_000_000
    max_explained: int = 16
    queue: int = 256
    timeout: float = 30.0


HELD = 8


def too_many_samples(limits: Limits) -> RequestError:
    """Return the refusal of a request that holds more samples than are scored at a time."""
    return RequestError(413, f"there are more than {limits.max_samples:,} samples; send fewer at a time")


class Gate:
    """Counts what is inside, and lets no more in than the limits allow."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def enter(self, n_bytes: int) -> Iterator[None]:
        """Let a request in whose body has so many bytes, or at most so many if that is not known.

        Raises
        ------
        RequestError
            429, if there is no room.
        """
        full = self.requests >= self.limits.queue
        if full or (self.requests and self.bytes + n_bytes > HELD * self.limits.max_body):
            raise RequestError(429, "too many requests wait to be scored; try again in a moment", retry_after=1)
        self.requests += 1
        self.bytes += n_bytes
        try:
            yield
        finally:
            self.requests -= 1
            self.bytes -= n_bytes
