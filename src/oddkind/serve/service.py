"""`Service`: the models, the threads that score, and the way from a request to its answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from oddkind.errors import InputError
from oddkind.files.npy import read_npy
from oddkind.files.source import processors
from oddkind.model.explain import Explanation, explain
from oddkind.naming import printable
from oddkind.serve.answers import as_bytes, of_arrays, of_files
from oddkind.serve.files import judge
from oddkind.serve.formats import (
    JSON,
    Arrays,
    Upload,
    as_learnt,
    format_of,
    labels_learnt,
    suffix_of,
)
from oddkind.serve.limits import Gate, Limits, RequestError
from oddkind.serve.metrics import Metrics
from oddkind.serve.models import Models, Served
from oddkind.serve.threads import Threads

# A body of at most so many bytes is parsed, and an answer of so many results is written, at once: handing it to a
# thread would take longer.
SMALL, MANY = 1 << 16, 100
MAX_FILES = 1000


class Service:
    """Answers requests to some models.

    Parameters
    ----------
    files : sequence of paths
        Of saved models.
    limits : Limits
    false_alarm_rate : float or None
        Instead of that of the models.

    Raises
    ------
    InputError
        If a model cannot be read.
    """

    def __init__(
        self,
        files: Sequence[Path],
        limits: Limits | None = None,
        *,
        false_alarm_rate: float | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.gate = Gate(self.limits)
        self.metrics = Metrics()
        self.metrics.queue.set_function(lambda: self.gate.requests)
        self.metrics.queue_limit.set(self.limits.queue)
        # Apart, so that files that take long do not keep arrays waiting.
        self.for_arrays, self.for_files = Threads(processors()), Threads(processors())
        self._reloading = asyncio.Lock()
        self.models = Models(files, self.limits, self.for_arrays.run, false_alarm_rate=false_alarm_rate)
        self._take_note()

    async def reload(self) -> dict[str, str]:
        """Read all models again, as `Models.reload`, while requests go on."""
        async with self._reloading:
            problems = await asyncio.to_thread(self.models.reload)
            self._take_note()
        self.metrics.reloads.labels("failed").inc(len(problems))
        self.metrics.reloads.labels("succeeded").inc(len(self.models.served) - len(problems))
        return problems

    def close(self) -> None:
        """Start nothing more."""
        self.for_arrays.close()
        self.for_files.close()

    @property
    def busy(self) -> bool:
        """Whether anything is still being computed."""
        return self.for_arrays.busy + self.for_files.busy > 0

    async def answer(self, name: str, request: Request, *, explained: bool, labels: list[str]) -> bytes:
        """Score what a request holds, and return the answer as JSON.

        Raises
        ------
        RequestError, InputError, HTTPException
            If it cannot be scored.
        """
        served = self.models.served.get(name)
        if served is None:
            raise RequestError(404, f"no model {name!r} is served; /models lists those that are")
        length = request.headers.get("content-length", "")
        with self.gate.enter(int(length) if length.isdigit() else self.limits.max_body):
            form = request.headers.get("content-type", "")
            is_form = form.partition(";")[0].strip().lower() == "multipart/form-data"
            received = await self._uploads(request, labels) if is_form else await request.body()
            try:
                async with asyncio.timeout_at(request.scope.get("oddkind.deadline")):
                    content = await self._content(served, received, form, labels)
                    if isinstance(content, Arrays):
                        answer = await self._of_arrays(served, content, explained=explained)
                    else:
                        answer = await self._of_files(served, content, explained=explained)
                    is_long = explained or len(answer["results"]) > MANY
                    return await self.for_arrays.run(as_bytes, answer) if is_long else as_bytes(answer)
            except TimeoutError:
                why = f"no answer within {self.limits.timeout:g} s; try again, or send less at a time"
                raise RequestError(503, why, retry_after=2) from None

    # --- what a request holds ---

    async def _content(
        self, served: Served, received: bytes | list[Upload], content_type: str, labels: list[str]
    ) -> Arrays | list[Upload]:
        if not isinstance(received, bytes):
            return received if served.kind else await self.for_arrays.run(self._arrays_of_files, served, received)
        form = format_of(content_type, received)
        if form not in (JSON, ".npy"):
            if len(labels) > 1:
                raise InputError(f"{len(labels)} labels for 1 file; send one")
            return [Upload(f"upload{form}", received, labels[0] if labels else None)]
        read = partial(self._read_json if form == JSON else self._read_npy, served, received, labels)
        return read() if len(received) <= SMALL else await self.for_arrays.run(read)

    async def _uploads(self, request: Request, labels: list[str]) -> list[Upload]:
        """Return the files of a form, and the labels of its fields "label": one for each file, or one for all."""
        found: list[tuple[str, bytes]] = []
        try:
            async with request.form(max_files=MAX_FILES, max_fields=MAX_FILES) as form:
                for key, value in form.multi_items():
                    if isinstance(value, UploadFile):
                        found.append((printable(value.filename or "upload"), await value.read()))
                    elif key == "label":
                        labels = [*labels, value]
                    else:
                        raise RequestError(422, f"unknown field {key!r}; send files, and fields named 'label'")
        except (RequestError, HTTPException, ClientDisconnect):
            raise
        except Exception as error:  # whatever the parser makes of garbage
            raise RequestError(400, "the multipart body cannot be read; send files as HTML forms do") from error
        if not found:
            raise RequestError(422, "the form holds no file")
        if len(labels) not in (0, 1, len(found)):
            raise RequestError(422, f"{len(labels)} labels for {len(found)} files; send one for each, or one for all")
        claimed: list[str | None] = [None] * len(found) if not labels else [*labels] * (len(found) // len(labels))
        uploads: dict[str, Upload] = {}
        for (name, content), label in zip(found, claimed, strict=True):
            stem, dot, end = name.rpartition(".")
            numbered = (f"{stem or end} ({n}){dot}{end if dot else ''}" for n in itertools.count(2))
            unique = next(one for one in itertools.chain([name], numbered) if one not in uploads)
            uploads[unique] = Upload(unique, content, label)
        return [*uploads.values()]

    def _read_json(self, served: Served, body: bytes, labels: list[str]) -> Arrays:
        X, own = served.reader.read(body)
        if own is not None and labels:
            raise InputError("labels come in the body and in the address; send them once")
        return self._arrays(served, X, own or labels, as_text=own is None)

    def _read_npy(self, served: Served, body: bytes, labels: list[str]) -> Arrays:
        return self._arrays(served, read_npy(body), labels, as_text=True)

    def _arrays_of_files(self, served: Served, uploads: list[Upload]) -> Arrays:
        """Join the arrays of several files; each holds one sample, or several."""
        parts, labels, paths = [], [], []
        for upload in uploads:
            try:
                if suffix_of(upload.name, upload.content) != ".npy":
                    raise InputError("the model learnt arrays; send .npy files, or JSON")
                X = read_npy(upload.content)
                X = X[None] if X.shape == served.model.inputs.shape else X
                parts.append(as_learnt(X, served.model.inputs, self.limits))
            except InputError as error:
                raise InputError(f"{upload.name}: {error}") from error
            labels += [upload.label] * len(X)
            paths += [upload.name] * len(X)
        known = [label for label in labels if label is not None]
        return self._arrays(served, np.concatenate(parts), known, as_text=True, paths=paths)

    def _arrays(
        self, served: Served, X: Any, labels: list[Any], *, as_text: bool, paths: list[str] | None = None
    ) -> Arrays:
        X = as_learnt(X, served.model.inputs, self.limits)
        y = labels_learnt(labels, served.model.task.labels, len(X), as_text=as_text) if labels else None
        return Arrays(X, y, paths)

    # --- answers ---

    async def _of_arrays(self, served: Served, content: Arrays, *, explained: bool) -> dict[str, Any]:
        if explained and len(content.X) > self.limits.max_explained:
            raise RequestError(413, f"at most {self.limits.max_explained} samples are explained at a time")
        scored = await served.batcher.score(content.X, content.y)
        explanations: list[Explanation] | None = None
        if explained:
            explanations = await self.for_arrays.run(explain, served.model, content.X, content.y)
        answer = of_arrays(served, scored, content, explanations)
        await self._count(served, "samples", answer)
        return answer

    async def _of_files(self, served: Served, uploads: list[Upload], *, explained: bool) -> dict[str, Any]:
        judged = await self.for_files.run(partial(judge, uploads, served, self.limits, explained=explained))
        if not judged.verdicts:
            reasons = [f"{name}: {reason}" for name, reason in judged.refused.items()]
            raise RequestError(422, "; ".join(reasons[:10]))
        answer = of_files(served, judged)
        await self._count(served, "files", answer)
        return answer

    async def _count(self, served: Served, what: str, answer: dict[str, Any]) -> None:
        results, learnt = answer["results"], {*served.labels}
        score, p_value, odd = (
            np.array([result[name] for result in results]) for name in ("score", "p_value", "anomalous")
        )
        known = np.array([result["label"] in learnt for result in results])
        counted = partial(self.metrics.observe, served, what, score, p_value, odd, known)
        await self.for_arrays.run(counted) if len(results) > MANY else counted()

    def _take_note(self) -> None:
        for served in self.models.served.values():
            self.metrics.serve(served)
            served.batcher.on_batch = self.metrics.batches.labels(served.name).observe
