"""The process: where it listens, which signals it takes, and what it logs."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import _exit as leave_at_once
from pathlib import Path

import uvicorn

from oddkind.errors import InputError
from oddkind.serve.app import application
from oddkind.serve.guard import is_loopback
from oddkind.serve.service import Service

log = logging.getLogger("oddkind.serve")

BACKLOG = 2048  # connections that wait to be accepted
MIN_TOKEN = 16  # characters
HOW = "python -c 'import secrets; print(secrets.token_urlsafe())' > token.txt"


class Token:
    """The bearer token that a file holds, if there is one.

    Raises
    ------
    InputError
        If the file cannot be read or holds no token.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._value = None if file is None else _token_in(file)

    def __call__(self) -> str | None:
        """Return the token."""
        return self._value

    def reload(self) -> None:
        """Read the file again; if it cannot be, the token stays as it was."""
        if self._file is None:
            return
        try:
            self._value = _token_in(self._file)
        except InputError as error:
            log.error("the token stays as it was: %s", error)


def _token_in(file: Path) -> str:
    try:
        value = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise InputError(f"--token-file {file}: cannot be read ({why}); write one with: {HOW}") from error
    if len(value) < MIN_TOKEN or not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(f"--token-file {file}: holds no token of at least {MIN_TOKEN} characters; write one: {HOW}")
    return value


def listen(host: str, port: int, *, with_token: bool) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    InputError
        If others could reach it without a token, or it cannot be had.
    """
    if not with_token and not is_loopback(host):
        raise InputError(
            f"--host {host}: without a token only this computer may ask, as 127.0.0.1 or localhost; name a file that "
            f"holds one with --token-file, written with: {HOW}"
        )
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # Connections inherit it. asyncio sets it only where the protocol is named; without it the body of an answer
        # would wait for its head to be acknowledged, 40 ms.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"--host {host} --port {port}: cannot listen there ({why}); choose another") from error


def run(service: Service, listening: socket.socket, token: Token, on_ready: Callable[[], None]) -> None:
    """Answer until SIGTERM or Ctrl-C; then finish what has begun, and return. SIGHUP reads models and token again.

    `on_ready` is called once requests are answered and signals are taken.
    """
    with _logging(), _quiet_signals():
        asyncio.run(_serve(service, listening, token, on_ready))
        if service.busy:  # Python would wait for threads that are given up, for as long as they like
            log.warning("what is still computed is given up")
            leave_at_once(0)


def address_of(listening: socket.socket) -> str:
    """Return the address of the service, such as http://127.0.0.1:8000."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it answers."""

    on_ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_ready()


async def _serve(service: Service, listening: socket.socket, token: Token, on_ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        application(service, token),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        ws="none",
        backlog=BACKLOG,
        timeout_graceful_shutdown=max(1, int(service.limits.timeout) + 1),
    )
    server = _Server(config)
    server.on_ready = on_ready
    reloads: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        token.reload()
        await service.reload()

    def on_hangup() -> None:
        task = asyncio.create_task(reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    if hasattr(signal, "SIGHUP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_hangup)
    await server.serve(sockets=[listening])


@contextmanager
def _logging() -> Iterator[None]:
    """Log on standard error; of uvicorn only what goes wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    levels = {"oddkind.serve": logging.INFO, "uvicorn": logging.WARNING, "asyncio": logging.WARNING}
    loggers = {logging.getLogger(name): level for name, level in levels.items()}
    for logger, level in loggers.items():
        logger.addHandler(handler)
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """Let uvicorn alone take SIGTERM and Ctrl-C: it raises them again once it has stopped, which would be an error."""
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {one: signal.signal(one, signal.SIG_IGN) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
