"""What another model says of the same files: its p-values, and why one of the two raises an alarm."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import ConcernWarning, InputError, PromiseWarning
from oddkind.files.explain import explain_files, unit_of
from oddkind.files.listing import Entry
from oddkind.files.score import (
    HeldOut,
    Verdict,
    learnt_by,
    learnt_from_files,
    promise_problem,
    score_files,
    settings_of,
)
from oddkind.language import Message
from oddkind.metrics import auc, auc_difference
from oddkind.model.conformal import alarms
from oddkind.model.model import FittedModel
from oddkind.pages.encoding import packed

MAX_REASONS = 20  # files that are explained for each of the two models


@dataclass(frozen=True, eq=False)
class Other:
    """Another model, to compare with.

    Attributes
    ----------
    model : FittedModel
    files : sequence of Entry
        The files that are judged, as `read_as_learnt` lists them for it.
    name : str
        What it is called: the name of its file.
    """

    model: FittedModel
    files: Sequence[Entry]
    name: str


def check_comparable(model: FittedModel, other: Other) -> None:
    """Refuse a model that does not judge the same things.

    Raises
    ------
    InputError
        If it learnt from arrays, reads another kind of file, or cuts files into other blocks.
    """
    if not learnt_from_files(other.model):
        raise InputError(f"--compare {other.name}: the model learnt from arrays, not files; name one fitted to files")
    here, there = settings_of(model), settings_of(other.model)
    if here.kind != there.kind:
        raise InputError(
            f"--compare {other.name}: it judges {there.kind}, the first model {here.kind}; name one of those"
        )
    if here.block != there.block:
        lengths = [
            "whole files" if one.block is None else f"blocks of {one.block:g} {unit_of(one)}" for one in (there, here)
        ]
        raise InputError(
            f"--compare {other.name}: it judges {lengths[0]}, the first model {lengths[1]}; fit both with one --block"
        )


def compared(
    verdicts: Sequence[Verdict],
    files: Mapping[str, Entry],
    model: FittedModel,
    other: Other,
    *,
    counts: Array,
    explained: set[str],
    held_out: HeldOut,
    cache: Path | None = None,
    strict: bool = False,
    on_progress: Callable[[float], None] = lambda done: None,
) -> dict[str, Any]:
    """Judge files with another model as well, and return what the page shows of both.

    Both decide at the rate of the first model. Files whose decision changes at this rate are explained by the model
    that raises the alarm, up to `MAX_REASONS` for each.

    Parameters
    ----------
    verdicts, files : what the first model said of the files, by name
    counts : bool array [N]
        Which files count when alarms are compared with the truth.
    explained : set of str
        The names of files that the first model has explained already.
    held_out : HeldOut
        That of the other model.
    strict : bool
        Whether a file that the other model cannot read is refused; otherwise it is left out.

    Raises
    ------
    InputError
        If no file is judged by both.
    """
    own = {entry.name: entry for entry in other.files}
    wanted = [own[verdict.path] for verdict in verdicts if verdict.path in own]
    if not wanted:
        raise InputError(f"--compare {other.name}: it reads none of the files that the first model judges")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # the first model says what is doubtful about the files
        warnings.simplefilter("ignore", PromiseWarning)  # the page says it
        found = score_files(
            wanted,
            other.model,
            cache=cache,
            held_out=held_out,
            on_refused=None if strict else lambda name, reason: None,
            on_progress=lambda done: on_progress(done / 2),
        )
        if not found:
            raise InputError(f"--compare {other.name}: it can read none of the files that the first model judges")
        theirs = {verdict.path: verdict for verdict in found}
        reasons = _reasons(verdicts, theirs, files, own, model, other.model, explained, cache)
    on_progress(1.0)
    was_learnt = learnt_by(other.model)
    learnt = np.array([one.path in theirs and was_learnt(own[one.path]) for one in verdicts])
    judged = np.array([one.path in theirs for one in verdicts])
    rows = {verdict.path: row for row, verdict in enumerate(verdicts)}
    p = [theirs[one.path].p_value if one.path in theirs else np.nan for one in verdicts]
    return {
        "name": other.name,
        "p": packed(p, "f8"),
        "learnt": packed(learnt, "u1"),
        "n_judged": int(judged.sum()),
        "problem": _problem(other, held_out),
        "auc": _auc(verdicts, theirs, files, counts & judged & ~learnt),
        "reasons": [{"row": rows[name], "by": by, "evidence": evidence} for name, by, evidence in reasons],
        "most": MAX_REASONS,
    }


def _problem(other: Other, held_out: HeldOut) -> Message | None:
    why = promise_problem(other.model, held_out)
    return None if why is None else Message("{model}: {why}.", model=other.name, why=why)


def _auc(
    verdicts: Sequence[Verdict], theirs: Mapping[str, Verdict], files: Mapping[str, Entry], use: Array
) -> dict[str, Any] | None:
    """Return the AUC of both models on the files that count for both, [N], and their difference; None if unknown."""
    own = [verdict for verdict, counts in zip(verdicts, use, strict=True) if counts]
    anomalous = np.array([files[verdict.path].anomalous is True for verdict in own], bool)
    if not anomalous.any() or anomalous.all():
        return None
    first = np.array([verdict.score for verdict in own])
    second = np.array([theirs[verdict.path].score for verdict in own])
    groups = np.array([files[verdict.path].group or verdict.path for verdict in own])
    difference, interval = auc_difference(anomalous, first, second, groups)
    return {
        "here": auc(anomalous, first),
        "there": auc(anomalous, second),
        "difference": difference,
        "interval": interval,
        "n": len(own),
    }


def _reasons(
    verdicts: Sequence[Verdict],
    theirs: Mapping[str, Verdict],
    files: Mapping[str, Entry],
    own: Mapping[str, Entry],
    model: FittedModel,
    other: FittedModel,
    explained: set[str],
    cache: Path | None,
) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return for files whose decision changes their name, which model raises the alarm, and where its evidence is."""
    both = [verdict for verdict in verdicts if verdict.path in theirs]
    p, q = np.array([[verdict.p_value, theirs[verdict.path].p_value] for verdict in both]).T
    here, there = alarms(p, model.false_alarm_rate), alarms(q, model.false_alarm_rate)
    found: list[tuple[str, str, list[dict[str, Any]]]] = []
    for by, judge, entries, changed in (("here", model, files, here & ~there), ("there", other, own, there & ~here)):
        ranked = sorted(np.flatnonzero(changed).tolist(), key=lambda row: -abs(np.log(p[row] / q[row])))
        names = [both[row].path for row in ranked if by == "there" or both[row].path not in explained][:MAX_REASONS]
        if not names:
            continue
        said = [theirs[name] for name in names] if by == "there" else [one for one in both if one.path in {*names}]
        for of in explain_files([entries[name] for name in names], judge, most=len(names), cache=cache, verdicts=said):
            places = [vars(place) for place in of.places]
            found.append((of.verdict.path, by, places))
    return found
