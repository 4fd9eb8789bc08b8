"""The facts that a report shows, gathered from the files and the model, as one object of JSON."""

from __future__ import annotations

import hashlib
import platform
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import ConcernWarning, InputError
from oddkind.files.check import check_files
from oddkind.files.evaluate import alarm_excess, promise, with_condition
from oddkind.files.explain import FileExplanation, explain_files
from oddkind.files.listing import Entry, grouped
from oddkind.files.score import (
    HeldOut,
    Verdict,
    file_source,
    fingerprint,
    held_out_files,
    judged,
    learnt_by,
    promise_problem,
    score_files,
    settings_of,
)
from oddkind.language import Message
from oddkind.model.conformal import group_weights, tie_bound
from oddkind.model.martingale import DRIFT
from oddkind.model.model import FittedModel
from oddkind.pages.encoding import packed
from oddkind.report.comparison import Other, check_comparable, compared
from oddkind.report.details import beside_of, detail_of
from oddkind.report.feature_map import check_map, map_of
from oddkind.report.learning import learning_of
from oddkind.report.timeline import Order, evidence_along, order_of

# With more files than this, they are not read once more to look for what is doubtful.
MAX_CHECKED = 2000
# What a check finds that matters for files that are only judged, not learnt from.
OF_LEARNING = {"truth", "single label", "few samples", "confounded", "too easy", "window", "blocks"}
PACKAGES = "oddkind", "numpy", "onnxruntime", "torch", "soundfile", "soxr", "pillow", "pyarrow"


def gather(
    files: Sequence[Entry],
    model: FittedModel,
    *,
    data: Path,
    most: int,
    clips: int,
    order: str = "auto",
    learnt_from: Sequence[Entry] = (),
    feature_map: bool | None = None,
    other: Other | None = None,
    cache: Path | None = None,
    refused: dict[str, str] | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> dict[str, Any]:
    """Judge files, explain the oddest, and return all that the page shows.

    Parameters
    ----------
    files : sequence of Entry
        As `read_as_learnt` lists them.
    data : path
        The data set that they are from.
    most, clips : int
        The number of files that are explained, the oddest first, and of those that can be heard.
    order : str
        See `oddkind.report.timeline.order_of`.
    learnt_from : sequence of Entry
        The files that the model learnt from, if they are there, to be heard beside odd ones.
    feature_map : bool or None
        Whether a map of the features is drawn; None: if openTSNE is installed.
    other : Other or None
        Another model that judges the same files, to compare with.
    refused : dict
        Files that were left out, with the reasons; `on_refused` may add to it.

    Raises
    ------
    InputError
        As `score_files`, if no file can be read, `order` is not known, or a map is asked for and openTSNE is not
        installed, or the other model does not judge the same things.
    """
    order_of(files, data, order)  # refuses before hours of work
    check_map(feature_map)
    if other is not None:
        check_comparable(model, other)
    held_out = held_out_files(model)
    concerns: list[str] = []
    with _noted(concerns):
        verdicts = score_files(
            files,
            model,
            cache=cache,
            held_out=held_out,
            on_refused=on_refused,
            on_progress=lambda done: on_progress("scoring", done),
        )
        if not verdicts:
            raise InputError(f"{data}: no file can be read; {grouped(refused or {})}")
        explained = explain_files(
            files, model, most=most, cache=cache, verdicts=verdicts, held_out=held_out, on_progress=on_progress
        )
    problem = promise_problem(model, held_out)
    by_name = {entry.name: entry for entry in files}
    was_learnt = learnt_by(model)
    learnt = {verdict.path for verdict in verdicts if was_learnt(by_name[verdict.path])}
    entries = [by_name[verdict.path] for verdict in verdicts]
    details = _details(explained, verdicts, by_name, model, learnt_from, clips, on_progress)
    comparison = None
    if other is not None:
        theirs = held_out_files(other.model)
        comparison = compared(
            verdicts,
            by_name,
            model,
            other,
            counts=counted(entries, learnt),
            explained={of.verdict.path for of in explained},
            held_out=theirs,
            cache=cache,
            strict=on_refused is None,
            on_progress=lambda done: on_progress("comparing", done),
        ) | {"model": _model_facts(other.model, theirs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # as for the details
        mapped = map_of(
            by_name,
            verdicts,
            model,
            wanted=feature_map,
            cache=cache,
            on_progress=lambda done: on_progress("mapping", done),
        )
    issues, checked = _doubts(files, model, data, cache, on_progress)
    return {
        "data": str(data),
        "data_fingerprint": _fingerprint(entries),
        "written": time.strftime("%Y-%m-%d %H:%M", time.localtime()),
        "judged": judged(model),
        "rate": model.false_alarm_rate,
        "problem": problem and _sentence(problem),
        "files": _columns(entries, verdicts, learnt),
        "held_out": _held_out(model, verdicts, held_out),
        "time": _timeline(order_of(entries, data, order), entries, verdicts, model, learnt),
        "details": details,
        "clips": min(clips, len(details)) if settings_of(model).kind == "sounds" else 0,
        "model": _model_facts(model, held_out),
        "learning": learning_of(model),
        "map": mapped,
        "compare": comparison,
        "said": _promises(entries, verdicts, model, learnt),
        "doubts": [*(_sentence(text) for text in dict.fromkeys(concerns) if text != problem), *issues],
        "checked": checked,
        "refused": [*(refused or {}).items()][:200],
        "n_refused": len(refused or {}),
    }


def _fingerprint(entries: Sequence[Entry]) -> str:
    """Return a digest of the names and the contents of files."""
    lines = sorted(f"{fingerprint(entry.path)} {entry.name}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode("utf-8", "backslashreplace")).hexdigest()


def _sentence(text: str) -> Message:
    return Message("{sentence}.", sentence=text)


def _details(
    explained: Sequence[FileExplanation],
    verdicts: Sequence[Verdict],
    by_name: Mapping[str, Entry],
    model: FittedModel,
    learnt_from: Sequence[Entry],
    clips: int,
    on_progress: Callable[[str, float], None],
) -> list[dict[str, Any]]:
    """Return what is shown of each explained file; `clips` of them can be heard."""
    known = {entry.name: entry for entry in (*by_name.values(), *learnt_from)}
    rows, was_learnt = {verdict.path: row for row, verdict in enumerate(verdicts)}, learnt_by(model)
    details = []
    for number, of in enumerate(explained):
        name = of.verdict.path
        beside = beside_of(of, model, known, verdicts, by_name, was_learnt)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcernWarning)  # it was said when they were scored
            shown = detail_of(of, model, by_name[name], beside, with_clip=number < clips)
        details.append({"row": rows[name]} | shown)
        on_progress("drawing", (number + 1) / len(explained))
    return details


@contextmanager
def _noted(messages: list[str]) -> Iterator[None]:
    """Add to a list the warnings that are shown meanwhile."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def note(message: Warning | str, *where: Any, **more: Any) -> None:
            messages.append(message.args[0] if isinstance(message, Warning) else message)
            show(message, *where, **more)

        warnings.showwarning = note
        yield


def counted(entries: Sequence[Entry], learnt: set[str]) -> Array:
    """Return which files count when alarms are compared with the truth, [N].

    Those that `oddkind evaluate` counts: see `oddkind.files.evaluate.with_condition`.
    """
    names = {entry.name for entry in with_condition(entries)} - learnt
    return np.array([entry.name in names for entry in entries])


def _columns(entries: Sequence[Entry], verdicts: Sequence[Verdict], learnt: set[str]) -> dict[str, Any]:
    labels = sorted({verdict.label for verdict in verdicts if verdict.label is not None})
    number = {label: index for index, label in enumerate(labels)}
    groups = np.unique([entry.group or entry.name for entry in entries], return_inverse=True)[1]
    truth = {None: -1, False: 0, True: 1}
    return {
        "names": [verdict.path for verdict in verdicts],
        "labels": labels,
        "label": packed([-1 if one.label is None else number[one.label] for one in verdicts], "i4"),
        "p": packed([verdict.p_value for verdict in verdicts], "f8"),
        "score": packed([verdict.score for verdict in verdicts], "f8"),
        "truth": packed([truth[entry.anomalous] for entry in entries], "i1"),
        "counted": packed(counted(entries, learnt), "u1"),
        "learnt": packed([entry.name in learnt for entry in entries], "u1"),
        "group": packed(groups, "i4") if groups.max() + 1 < len(entries) else None,
    }


def _held_out(model: FittedModel, verdicts: Sequence[Verdict], held_out: HeldOut) -> dict[str, Any]:
    """Return with how many files others are compared, and the held-out scores if there is one fold.

    Of several folds the scores cannot be compared. Most of the files decide whether scores with labels or without are
    returned.
    """
    classes = [] if model.task.labels is None else model.task.labels.tolist()
    with_labels = 2 * sum(verdict.label in classes for verdict in verdicts) > len(verdicts)
    sizes = model.calibration_sizes(with_labels=with_labels, calibration=held_out(with_labels))
    content: dict[str, Any] = {
        "sizes": {"" if label is None else str(label): n for label, n in sizes.items()},
        "per_label": model.per_label and with_labels,
        "folds": len(model.folds),
        "bounds": None,
    }
    if len(model.folds) > 1:
        return content
    (own,) = held_out(with_labels)
    label = np.full(len(own.scores), -1) if own.label_index is None else np.asarray(own.label_index)
    bounds, weights = np.empty(len(label)), np.empty(len(label))
    for part in np.unique(label) if content["per_label"] else [None]:
        rows = np.ones(len(label), bool) if part is None else label == part
        bounds[rows], weights[rows] = tie_bound(own.scores[rows]), group_weights(own.groups[rows])
    return content | {
        "scores": packed(own.scores, "f8"),
        "bounds": packed(bounds, "f8"),
        "weights": packed(weights, "f8"),
        "labels": [*map(str, classes)],
        "label": packed(label, "i4"),
    }


def _timeline(
    order: Order | None,
    entries: Sequence[Entry],
    verdicts: Sequence[Verdict],
    model: FittedModel,
    learnt: set[str],
) -> dict[str, Any] | None:
    if order is None:
        return None
    evidence, n = evidence_along(order, entries, verdicts, model, learnt)
    row = {verdict.path: number for number, verdict in enumerate(verdicts)}
    return {
        "by": order.by,
        "rows": packed([row[name] for name in order.names], "i4"),
        "at": None if order.at is None else packed(order.at, "f8"),
        "dated": order.dated,
        "evidence": packed(evidence, "f4"),
        "n_evidence": n,
        "drift": DRIFT,
    }


def _promises(
    entries: Sequence[Entry], verdicts: Sequence[Verdict], model: FittedModel, learnt: set[str]
) -> dict[str, Any]:
    """Return what `oddkind evaluate` and `oddkind score` would say about the promised rate."""
    use = counted(entries, learnt)
    kept = promise(
        [entry for entry, one in zip(entries, use, strict=True) if one],
        [verdict for verdict, one in zip(verdicts, use, strict=True) if one],
        model,
    )
    fresh = [number for number, verdict in enumerate(verdicts) if verdict.path not in learnt]
    excess = alarm_excess([entries[number] for number in fresh], [verdicts[number] for number in fresh], model)
    return {"kept": None if kept is None else vars(kept), "excess": None if excess is None else vars(excess)}


def _doubts(
    files: Sequence[Entry],
    model: FittedModel,
    data: Path,
    cache: Path | None,
    on_progress: Callable[[str, float], None],
) -> tuple[list[str], bool]:
    """Return what `oddkind check` finds doubtful about the files themselves, and whether it was looked for."""
    whole = {entry.path: replace(entry, name=_without_block(entry), windows=None) for entry in files}
    if len(whole) > MAX_CHECKED:
        return [], False
    settings = settings_of(model)
    try:
        found = check_files(
            [*whole.values()],
            settings,
            cache=cache,
            on_refused=lambda name, reason: None,
            on_progress=lambda done: on_progress("checking", done),
        )
    except (InputError, ConcernWarning):  # the report says what could be read
        return [], False
    return [_sentence(issue["message"]) for issue in found["issues"] if issue["kind"] not in OF_LEARNING], True


def _without_block(entry: Entry) -> str:
    return entry.name if entry.windows is None else entry.name.rpartition(", ")[0]


def _model_facts(model: FittedModel, held_out: HeldOut) -> dict[str, Any]:
    """Return what was learnt, how, and with which settings files are read."""
    noted, reports = file_source(model), [fold.report for fold in model.folds]
    settings = {
        name: value
        for name, value in noted["settings"].items()
        if value not in (None, False, []) and name != "left_out"
    }
    labels = [] if model.task.labels is None else [*map(str, model.task.labels)]
    return {
        **model.folds[0].describe(),
        "labels": labels,
        "accuracy": float(np.mean([report.accuracy for report in reports])),
        "perplexity": float(np.mean([report.perplexity for report in reports])),
        "n_classes": model.task.n_classes,
        "losses": packed(np.asarray(reports[0].losses, float).mean(1), "f4"),
        "epochs": [report.epochs for report in reports],
        "seconds": float(sum(report.train_seconds for report in reports)),
        "n_learnt": len(noted["learnt"]),
        "pool": noted["pool"],
        "front_end": settings.get("front_end") or [],
        "front_end_reason": noted.get("front_end_reason") or "",
        "settings": {name: _shown(value) for name, value in settings.items()},
        "parameters": {name: _shown(value) for name, value in reports[0].parameters.items()},
        "left_out": noted["settings"].get("left_out") or {},
        "versions": _versions(),
    }


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
