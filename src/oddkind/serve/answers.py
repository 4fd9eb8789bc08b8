"""What the service answers, as JSON. The models of pydantic describe it for OpenAPI; answers are made as dicts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from oddkind.files.explain import FileExplanation, as_json
from oddkind.files.score import settings_of
from oddkind.model.conformal import alarms
from oddkind.model.explain import Explanation
from oddkind.serve.batching import Scored
from oddkind.serve.files import Judged
from oddkind.serve.formats import Arrays
from oddkind.serve.models import Served


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")


class Problem(BaseModel):
    """Why a request was not answered with scores."""

    detail: str = Field(description="What is wrong, and what would be right.")


class Result(_Answer):
    """The score and the decision for one sample, or for one file."""

    sample: int | None = Field(None, description="The number of the sample, counted from 0; for arrays.")
    path: str | None = Field(None, description="The name of the file, and of a block of it if files are cut.")
    label: bool | int | float | str | None = Field(description="The internal label that it claims.")
    score: float = Field(description="Anomaly score; higher is more anomalous.")
    p_value: float = Field(description="How rare such a score is among normal ones that were held out.")
    anomalous: bool = Field(description="Whether the p-value is at most the false-alarm rate.")
    explanation: dict[str, Any] | None = Field(None, description="With ?explain=true: why.")


class Answer(_Answer):
    """The results of one request, in its order."""

    model: str
    fingerprint: str = Field(description="The SHA-256 of the content of the model.")
    judged: str = Field(description="samples, files or blocks.")
    false_alarm_rate: float = Field(description="The largest fraction of normal ones that raise an alarm.")
    promised: bool = Field(description="Whether that rate can be promised; if not, no alarm is raised.")
    results: list[Result]
    refused: dict[str, str] = Field(description="Files that cannot be read, each with the reason.")
    concerns: list[str] = Field(description="What makes results doubtful.")


class Takes(_Answer):
    """What a model takes."""

    arrays: dict[str, Any] = Field(description="The shape of one sample, and uint8 or float.")
    feature_names: list[str] | None
    kind: str | None = Field(description="The kind of files that it learnt from; null for arrays.")
    files: list[str] = Field(description="The suffixes of files that it takes.")
    labels: list[bool | int | float | str] = Field(description="The labels that it learnt.")


class ModelFacts(_Answer):
    """A model that is served."""

    name: str
    fingerprint: str = Field(description="The SHA-256 of the content of its file.")
    loaded: str = Field(description="When it was read, UTC.")
    takes: Takes
    judged: str = Field(description="What one decision is about: samples, files or blocks.")
    false_alarm_rate: float
    per_label: bool
    promised: bool = Field(description="Whether the false-alarm rate can be promised.")
    held_out: int = Field(description="With how many held-out normal samples, files or groups new ones are compared.")
    pool: str | None = Field(description="How the scores of windows become that of a file.")
    folds: int
    task: str
    score: str


class ModelList(BaseModel):
    """All models that are served."""

    models: list[ModelFacts]


def of_arrays(
    served: Served, scored: Scored, content: Arrays, explanations: Sequence[Explanation] | None
) -> dict[str, Any]:
    """Return the answer about samples, with an `Explanation` of each or None."""
    labels = [None] * len(content.X) if content.y is None else content.y.tolist()
    odd = alarms(scored.p_values, served.model.false_alarm_rate).tolist()
    scores, p_values = scored.scores.tolist(), scored.p_values.tolist()
    results: list[dict[str, Any]] = [
        {"sample": number, "label": label, "score": score, "p_value": p, "anomalous": alarm}
        for number, (label, score, p, alarm) in enumerate(zip(labels, scores, p_values, odd, strict=True))
    ]
    for result, path in zip(results, content.paths or (), strict=False):
        result["path"] = path
    for result, sample, explanation in zip(results, content.X, explanations or (), strict=False):
        result["explanation"] = {
            "looks_like": explanation.looks_like,
            "probabilities": {str(label): chance for label, chance in explanation.probabilities.items()},
            "views": [vars(view) for view in explanation.views],
            "nearest": [vars(near) for near in explanation.neighbours or ()],
            "arrays": {
                "sample": sample.tolist(),
                "normal": explanation.normal.tolist(),
                "evidence": explanation.evidence.tolist(),
            },
        }
    problem = served.problem
    return _answer(served, "samples", results, promised=problem is None, concerns=[problem] if problem else [])


def of_files(served: Served, judged: Judged) -> dict[str, Any]:
    """Return the answer about files."""
    results: list[dict[str, Any]] = []
    for verdict in judged.verdicts:
        result: dict[str, Any] = {**vars(verdict)}
        if (of := judged.explanations.get(verdict.path)) is not None:
            reasons = {name: value for name, value in as_json(of).items() if name not in result}
            result["explanation"] = reasons | {"arrays": _arrays_of(served, of)}
        results.append(result)
    problem = served.problem_of_files
    concerns = [*judged.concerns, *([problem] if problem else [])]
    what = str(served.facts["judged"])
    return _answer(served, what, results, promised=problem is None, concerns=concerns, refused=judged.refused)


def as_bytes(answer: dict[str, Any]) -> bytes:
    """Return an answer as JSON. Each result is encoded alone: while the encoder runs, no other thread does."""
    encode = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    results = ",".join(map(encode, answer["results"]))
    rest = encode({name: value for name, value in answer.items() if name != "results"})
    return f'{rest[:-1]},"results":[{results}]}}'.encode()


def _answer(
    served: Served,
    what: str,
    results: list[dict[str, Any]],
    *,
    promised: bool,
    concerns: list[str],
    refused: dict[str, str] | None = None,
) -> dict[str, Any]:
    return {
        "model": served.name,
        "fingerprint": served.fingerprint,
        "judged": what,
        "false_alarm_rate": served.model.false_alarm_rate,
        "promised": promised,
        "results": results,
        "refused": refused or {},
        "concerns": concerns,
    }


def _arrays_of(served: Served, of: FileExplanation) -> dict[str, Any]:
    """Return what it takes to draw an explanation: the sample, the normal one it was compared with, the evidence."""
    source = settings_of(served.model)
    front_end = source.make_front_end()
    return {
        "sample": of.sample.tolist(),
        "normal": of.explanation.normal.tolist(),
        "evidence": of.explanation.evidence.tolist(),
        "bands": None if front_end is None else [list(band) for band in front_end.bands()],
        "channels": None if source.columns is None else list(source.columns),
    }
