"""The application: what is answered at which address."""

from __future__ import annotations

import base64
import hashlib
import logging
import re
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from oddkind.errors import ConcernWarning, InputError, PromiseWarning
from oddkind.naming import on_one_line
from oddkind.serve import documents
from oddkind.serve.answers import Answer, ModelList
from oddkind.serve.documents import problems
from oddkind.serve.guard import Guard
from oddkind.serve.limits import RequestError
from oddkind.serve.service import Service

log = logging.getLogger("oddkind.serve")

MAX_REASON = 1000  # characters
CLIENT_CLOSED = 499  # as nginx counts clients that hung up before they were answered


def application(service: Service, token: Callable[[], str | None] = lambda: None) -> ASGIApp:
    """Return the ASGI application of a service.

    Parameters
    ----------
    service : Service
    token : callable
        Returns the bearer token that is asked for, or None: then only this computer is answered.
    """
    app = FastAPI(
        title="oddkind",
        version=version("oddkind"),
        description=documents.DESCRIPTION,
        lifespan=_lifespan(service),
        docs_url=None,  # they would load scripts from other sites
        redoc_url=None,
    )
    _answer_errors(app)
    # Guard asks for the token; this says so in OpenAPI.
    guarded: list[Any] = [] if token() is None else [Security(HTTPBearer(auto_error=False))]
    _add_pages(app, service, guarded)
    _add_models(app, service, guarded)
    return Guard(app, service.limits, service.metrics, token)


def _add_models(app: FastAPI, service: Service, guarded: list[Any]) -> None:
    names = [*service.models.served]

    @app.get(
        "/models",
        response_model=ModelList,
        responses=problems(401, 403),
        summary="Which models are served",
        dependencies=guarded,
    )
    async def models() -> Any:
        """Return the models: what they take, what they promise, and the fingerprint of their content."""
        return JSONResponse({"models": [served.facts for served in service.models.served.values()]})

    @app.post(
        documents.SCORE_PATH,
        response_model=Answer,
        responses=problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
        openapi_extra=documents.BODY,
        summary="Score samples or files",
        description=documents.SCORE,
        dependencies=guarded,
    )
    async def score(
        request: Request,
        name: str = Path(description="The name of a model.", json_schema_extra={"enum": [*names]}),
        explain: Annotated[
            bool, Query(description="Say also why: what it looks like, and where the evidence is.")
        ] = False,
        label: Annotated[
            list[str] | None, Query(description="The label that the files or samples claim: one for all, or one each.")
        ] = None,
    ) -> Any:
        answer = await service.answer(name, request, explained=explain, labels=label or [])
        return Response(answer, media_type="application/json")


def _add_pages(app: FastAPI, service: Service, guarded: list[Any]) -> None:
    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        text, policy = _page()
        return HTMLResponse(text, headers={"content-security-policy": policy, "referrer-policy": "no-referrer"})

    @app.get("/healthz", summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        """Answer, whatever is going on."""
        return {"status": "alive"}

    @app.get("/readyz", summary="Whether requests are answered", responses=problems(503))
    async def readyz() -> dict[str, str]:
        """Answer 200 once all models are read, and 503 while the queue is full."""
        if service.gate.requests >= service.limits.queue:
            raise RequestError(503, "the queue is full", retry_after=1)
        return {"status": "ready"}

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, **problems(401, 403)},
        summary="For Prometheus",
        dependencies=guarded,
    )
    async def metrics() -> Response:
        """Return requests, latency, scores, alarms and the promised rate in the text format of Prometheus."""
        return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _lifespan(service: Service) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with warnings.catch_warnings():
            # Answers say whether the rate is promised, and what is doubtful; the log has the rest.
            warnings.simplefilter("ignore", PromiseWarning)
            warnings.simplefilter("always", ConcernWarning)
            warnings.showwarning = _log_warning
            yield
        service.close()

    return lifespan


def _log_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    log.warning("%s", on_one_line(str(message)))


def _answer_errors(app: FastAPI) -> None:
    """Answer every error as JSON with a plain message."""

    def problem(status: int, why: str, headers: dict[str, str] | None = None) -> JSONResponse:
        short = why if len(why) <= MAX_REASON else f"{why[:MAX_REASON]} …"  # it may quote what was sent
        return JSONResponse({"detail": on_one_line(short)}, status, headers)

    @app.exception_handler(RequestError)
    async def refused(_: Request, error: RequestError) -> JSONResponse:
        headers = None if error.retry_after is None else {"retry-after": str(error.retry_after)}
        return problem(error.status, error.why, headers)

    @app.exception_handler(InputError)
    async def wrong_input(_: Request, error: InputError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(MemoryError)
    async def too_much(_: Request, __: MemoryError) -> JSONResponse:
        return problem(413, "there is not enough memory for this request; send less at a time")

    @app.exception_handler(RequestValidationError)
    async def wrong_parameters(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return problem(422, f"{first['loc'][-1]}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def not_found(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(ClientDisconnect)
    async def hung_up(_: Request, __: ClientDisconnect) -> JSONResponse:
        return problem(CLIENT_CLOSED, "the client hung up")  # nobody reads it; it is counted

    @app.exception_handler(Exception)
    async def own_error(_: Request, __: Exception) -> JSONResponse:
        return problem(500, "an error of the service itself; its log says more")


@cache
def _page() -> tuple[str, str]:
    """Return the page, and the policy that lets it load nothing, and run nothing but its own script."""
    text = files("oddkind.serve").joinpath("page.html").read_text(encoding="utf-8")
    hashes = {
        tag: base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        for tag, content in re.findall(r"<(style|script)>(.*?)</\1>", text, re.DOTALL)
    }
    return text, (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
