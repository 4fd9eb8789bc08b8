"""Where lines go: standard output, a file, a webhook, or an MQTT topic. Each is kept until it is delivered."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Protocol

from oddkind.errors import InputError
from oddkind.watch.mqtt import Broker, Publisher
from oddkind.watch.state import State

WEBHOOK_SECONDS = 10
TOKEN = "ODDKIND_WEBHOOK_TOKEN"  # noqa: S105 - the name of a variable


class DeliveryError(Exception):
    """Lines could not be delivered now; they are sent again later."""


class Output(Protocol):
    """A receiver of lines.

    Attributes
    ----------
    name : str
        Identifies it in the state, and in messages.
    most : int
        The number of lines delivered at once.
    """

    name: str
    most: int

    def wants(self, line: dict[str, Any]) -> bool:
        """Return whether a line is sent to it."""

    def deliver(self, lines: list[tuple[int, str]], state: State) -> None:
        """Deliver lines, given with their numbers, and take them from the outbox, or raise `DeliveryError`."""

    def close(self) -> None:
        """Release what it holds."""


class StandardOutput:
    """Lines on standard output. `on_closed` is called if nobody reads them any more."""

    name, most = "stdout", 100

    def __init__(self, on_closed: Callable[[], None]) -> None:
        self._on_closed = on_closed

    def wants(self, line: dict[str, Any]) -> bool:
        """All of them."""
        return True

    def deliver(self, lines: list[tuple[int, str]], state: State) -> None:
        """Print lines."""
        try:
            for _, line in lines:
                print(line)
            sys.stdout.flush()
        except BrokenPipeError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the end of Python is quiet
            self._on_closed()
            raise DeliveryError("nobody reads standard output") from error
        state.delivered(self.name, lines[-1][0])

    def close(self) -> None:
        """Nothing is held."""


class FileOutput:
    """Lines appended to a file, each exactly once: its length is noted with the lines that are still to be written.

    What was written, but not noted, when the process was killed is written over by the same lines.

    Raises
    ------
    InputError
        If the file cannot be written, or something else was appended since.
    """

    most = 1000

    def __init__(self, file: Path, state: State) -> None:
        self._file = file.absolute()
        self.name = f"file {self._file}"
        self._fact = f"end of {self._file}"
        try:
            with self._opened() as content:
                self._seek(content, state, _joined(state.undelivered(self.name, self.most)))
        except (OSError, DeliveryError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{file}: cannot be written ({reason}); name another file with --out") from error

    def wants(self, line: dict[str, Any]) -> bool:
        """All of them."""
        return True

    def deliver(self, lines: list[tuple[int, str]], state: State) -> None:
        """Append lines. A file that was moved away (by logrotate) is begun anew."""
        text = _joined(lines)
        try:
            with self._opened() as content:
                end = self._seek(content, state, text) + len(text)
                content.write(text)
                content.flush()
                os.fsync(content.fileno())
                where = [os.fstat(content.fileno()).st_ino, end]
        except OSError as error:
            raise DeliveryError(error.strerror or str(error)) from error
        state.delivered(self.name, lines[-1][0], {self._fact: where})

    def close(self) -> None:
        """Nothing is held."""

    def _opened(self) -> IO[bytes]:
        return os.fdopen(os.open(self._file, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+b")

    def _seek(self, content: IO[bytes], state: State, text: bytes) -> int:
        """Go to the end of the lines that are noted as written, and return it."""
        known, size = state.fact(self._fact), content.seek(0, os.SEEK_END)
        identity = os.fstat(content.fileno()).st_ino
        if known is None or known[0] != identity or known[1] > size:  # new, another, or cut short
            state.delivered(self.name, -1, {self._fact: [identity, size]})
            return size
        content.seek(known[1])
        rest = content.read(len(text) + 1)
        if not text.startswith(rest):
            raise DeliveryError("another program has appended to it")
        return content.seek(known[1])


def _joined(lines: list[tuple[int, str]]) -> bytes:
    return "".join(f"{line}\n" for _, line in lines).encode("utf-8", "backslashreplace")


class Webhook:
    """Lines sent one by one with HTTP POST, each until the server answers with 2xx.

    If the answer is lost, a line is sent twice, with the same header `Idempotency-Key`. The environment variable
    `ODDKIND_WEBHOOK_TOKEN`, if set, is sent as a bearer token.
    """

    most = 1

    def __init__(self, url: str, state_id: str, *, alarms_only: bool = False) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError("--webhook must be an address that begins with http:// or https://")
        self.name = f"webhook {parts.scheme}://{parts.hostname}"  # the path is often a secret
        self._url, self._state_id, self._alarms_only = url, state_id, alarms_only
        self._opener = urllib.request.build_opener(_NoRedirect)

    def wants(self, line: dict[str, Any]) -> bool:
        """All of them, or alarms, the alarm of drift, and errors."""
        return not self._alarms_only or any(line.get(what) for what in ("alarm", "drift_alarm", "error"))

    def deliver(self, lines: list[tuple[int, str]], state: State) -> None:
        """Send lines."""
        for number, line in lines:
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{self._state_id}-{number}"}
            if token := os.environ.get(TOKEN):
                headers["Authorization"] = f"Bearer {token}"
            text = line.encode("utf-8", "backslashreplace")
            request = urllib.request.Request(self._url, text, headers, method="POST")  # noqa: S310 - http or https
            try:
                with self._opener.open(request, timeout=WEBHOOK_SECONDS) as answer:
                    answer.read(1 << 16)
            except urllib.error.HTTPError as error:
                error.close()
                raise DeliveryError(f"the server answers {error.code} {error.reason}") from error
            except (OSError, ValueError) as error:  # a timeout, a refused connection, what is not HTTP
                raise DeliveryError(str(getattr(error, "reason", error))) from error
            state.delivered(self.name, number)

    def close(self) -> None:
        """Nothing is held."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the line."""

    def redirect_request(self, *_: Any) -> None:
        return None


class MqttOutput:
    """Lines published to an MQTT topic with quality of service 1: delivered at least once, each with its `id`."""

    most = 100

    def __init__(self, broker: Broker) -> None:
        self.name = f"mqtt {broker.host}:{broker.port}/{broker.topic}"
        self._broker, self._publisher = broker, Publisher(broker)

    def wants(self, line: dict[str, Any]) -> bool:
        """All of them."""
        return True

    def deliver(self, lines: list[tuple[int, str]], state: State) -> None:
        """Publish lines, and wait until the broker has them."""
        try:
            self._publisher.publish([line.encode("utf-8", "backslashreplace") for _, line in lines])
        except OSError as error:
            raise DeliveryError(str(error)) from error
        state.delivered(self.name, lines[-1][0])

    def close(self) -> None:
        """Disconnect."""
        self._publisher.close()
