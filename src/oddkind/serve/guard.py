"""What every request passes before and after it is answered: who asks, how much it holds, and how long it takes."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oddkind.serve.documents import SCORE_PATH
from oddkind.serve.limits import Limits, RequestError
from oddkind.serve.metrics import Metrics

log = logging.getLogger("oddkind.serve")

PUBLIC = {"/", "/healthz", "/readyz", "/openapi.json"}

# How much of a body that is refused is still read, so that the client sees why, and for how long.
DISCARD_BODIES, DISCARD_SECONDS = 2, 5.0
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Guard:
    """Lets in whoever may ask, limits what is read, answers errors as JSON, and counts.

    Parameters
    ----------
    app : ASGI application
    limits : Limits
    metrics : Metrics
    token : callable
        Returns the token that is asked for, or None: then only this computer may ask, and under its own name, because
        a page from elsewhere could make its own name lead here (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, token: Callable[[], str | None]) -> None:
        self.app, self.limits, self.metrics, self.token = app, limits, metrics, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, exchange = time.perf_counter(), _Exchange(scope, receive, send, self.limits)
        scope["oddkind.deadline"] = exchange.deadline
        try:
            self._admit(scope)
            await self.app(scope, exchange.receive, exchange.send)
        except RequestError as refused:
            await exchange.refuse(refused)
        except Exception:
            log.exception("a request could not be answered")
            await exchange.refuse(RequestError(500, "an error of the service itself; its log says more"))
        finally:
            route = _route(scope["path"])
            self.metrics.requests.labels(route, str(exchange.status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _admit(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        token = self.token()
        if token is None and not _is_this_computer(headers.get(b"host", b"").decode("latin-1")):
            raise RequestError(403, "without a token only this computer is answered, as localhost or 127.0.0.1")
        if token is not None and scope["path"] not in PUBLIC:
            scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
            right = hmac.compare_digest(given.strip(), token.encode())
            if scheme.lower() != b"bearer" or not right:
                raise RequestError(401, "this needs the token of the service: send 'Authorization: Bearer …'")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > self.limits.max_body:
            raise _too_large(self.limits)


class _Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: Limits) -> None:
        self._receive, self._send, self._limits = receive, send, limits
        self._read, self._complete = 0, False
        # A client that asks before it sends its body, and has not been told to, sends none.
        self._asks = any(name == b"expect" for name, _ in scope["headers"])
        self.deadline = asyncio.get_running_loop().time() + limits.timeout
        self.status = 0

    async def receive(self) -> Message:
        """Read on, as far as size and time allow."""
        self._asks = False
        try:
            async with asyncio.timeout_at(None if self._complete else self.deadline):
                message = await self._receive()
        except TimeoutError:
            raise RequestError(408, f"the body did not arrive within {self._limits.timeout:g} s") from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)
            if self._read > self._limits.max_body:
                raise _too_large(self._limits)
        return message

    async def send(self, message: Message) -> None:
        """Send on; before the answer begins, read what is left of the body."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *HEADERS]
            await self._discard()
        await self._send(message)

    async def refuse(self, refused: RequestError) -> None:
        """Answer with the reason why there is no other answer."""
        if self.status:  # the answer has begun
            return
        content = json.dumps({"detail": refused.why}, ensure_ascii=False).encode("utf-8", "backslashreplace")
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
        if refused.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if refused.retry_after is not None:
            headers.append((b"retry-after", str(refused.retry_after).encode()))
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": content})

    async def _discard(self) -> None:
        """Read what is left of the body: if a connection is closed before that, the client never sees the answer."""
        most = self._read + DISCARD_BODIES * self._limits.max_body
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while not (self._complete or self._asks) and self._read <= most:
                    message = await self._receive()
                    if message["type"] != "http.request":
                        return
                    self._read += len(message.get("body", b""))
                    self._complete = not message.get("more_body", False)
        except TimeoutError:
            return


def _too_large(limits: Limits) -> RequestError:
    return RequestError(413, f"the body is larger than {limits.max_body:,} bytes; send less at a time (--max-body)")


def _route(path: str) -> str:
    """Return what a request is counted under: clients must not be able to make up new ones."""
    if path in PUBLIC or path in ("/models", "/metrics"):
        return path
    return SCORE_PATH if path.startswith("/models/") and path.endswith("/score") else "other"


def _is_this_computer(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is that of this computer, which others cannot reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
