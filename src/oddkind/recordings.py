"""From files to decisions: a detector that learns from files, and what it says of others.

A file may hold many samples (a recording its windows); its score is made of theirs, and its p-value compares it with
whole files that were held out of training.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from oddkind.calibration import alarms, check_enough, discoveries, p_values, pool, promise_kept, shares
from oddkind.detector import Detector
from oddkind.errors import ConcernWarning, InputError
from oddkind.fitting import fit_together
from oddkind.metrics import auc, partial_auc
from oddkind.readers import Entry, Source, at_other_rates, each, read, resolved
from oddkind.samples import Array, Samples

SCORED_AT_ONCE = 4096  # samples


@dataclass(frozen=True)
class Verdict:
    """What a detector says of a file.

    Attributes
    ----------
    path : str
        Inside the data set.
    label : str or None
        The internal label it claims.
    score : float
        Anomaly score, pooled over its samples.
    p_value : float
        Chance that a normal file scores as high: (1 + held-out files at or above) / (1 + held-out files), where files
        of one group count as one.
    anomalous : bool
        Whether the p-value is at most the false-alarm rate, or the file is among the discoveries.
    """

    path: str
    label: str | None
    score: float
    p_value: float
    anomalous: bool


def fit_files(
    files: Sequence[Entry],
    source: Source,
    detector: Detector,
    *,
    how: str = "mean",
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[str, float], None] = lambda stage, done: None,
) -> Source:
    """Fit a detector to normal files, labels and groups as they say; returns the settings they were read with.

    Files that are known to be anomalous or of the test split are not learnt from. A file's score is its samples'
    `how`: "mean", "max" or a quantile such as "0.9". `detector.source_` is what `score_files` needs and
    `Detector.save` keeps.

    Raises
    ------
    InputError
        Where there are too few files for the false-alarm rate, or the detector refuses them.
    """
    pool(np.zeros(1), np.zeros(1), how)  # refuses what it does not know now, not after training
    samples, source = learnable(
        files, source, cache=cache, on_refused=on_refused, on_progress=lambda done: on_progress("reading", done)
    )
    assert samples.files is not None  # noqa: S101 - read fills it in
    labels = samples.labels if samples.labels is not None and len(np.unique(samples.labels)) > 1 else None
    fit_together(
        [detector], samples.inputs, labels, samples.groups, on_progress=lambda done: on_progress("training", done)
    )
    rows = detector.validation_rows_
    first = np.unique(samples.files[rows], return_index=True)[1]
    units = (samples.files if samples.groups is None else samples.groups)[rows]
    learnt = set(samples.files.tolist())
    names, first_rows = np.unique(samples.files, return_index=True)
    order = np.argsort(first_rows)
    detector.source_ = {
        "settings": source.model_dump(mode="json"),
        "pool": how,
        "learnt": sorted(fingerprint(entry.path) for entry in files if entry.name in learnt),
        "held_out": {
            "scores": {
                "labelled" if known else "unlabelled": pool(held_out.scores, samples.files[rows], how).tolist()
                for known, held_out in detector.held_out_.items()
            },
            "groups": np.unique(units[first], return_inverse=True)[1].tolist(),
            "labels": None if labels is None else labels[rows][first].tolist(),
        },
        "files": [[str(names[file]), int(first_rows[file])] for file in order],  # and the row of its first sample
    }
    return source


def learnable(
    files: Sequence[Entry],
    source: Source,
    *,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> tuple[Samples, Source]:
    """Read the files that may be learnt from, those not known to be anomalous or of the test split, and how.

    Raises
    ------
    InputError
        Where there is none, or none that can be read.
    """
    normal = [entry for entry in files if entry.anomalous is not True and entry.split != "test"]
    if not normal:
        raise InputError(f"none of {len(files)} files is normal and not of the test split; there is nothing to learn")
    source = resolved(source, normal)
    _warn_of_rates(normal, source)
    return read(normal, source, cache=cache, on_refused=on_refused, on_progress=on_progress), source


def score_files(
    files: Sequence[Entry],
    detector: Detector,
    *,
    false_discovery_rate: float | None = None,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[Verdict]:
    """Score files; a label that was learnt is used, another or none is not.

    With a false discovery rate, of all files together so many are called anomalous that at most this part of those
    called is normal on average (`oddkind.calibration.discoveries`); else each whose p-value is at most the detector's
    false-alarm rate.

    Raises
    ------
    InputError
        Where a file cannot be read and nobody asks to be told.
    """
    settings = _settings(detector)
    held_out = settings["held_out"]
    _n_held_out(detector)  # refuses a rate that cannot be promised
    if false_discovery_rate is not None:
        discoveries(np.ones(1), false_discovery_rate)  # refuses one that is none
    verdicts: list[Verdict] = []
    source = Source.model_validate(settings["settings"])
    _warn_of_rates(files, source)
    for part in _parts(files, source, detector, cache, on_refused):
        owner = np.repeat(np.arange(len(part)), [len(inputs) for _, inputs in part])
        inputs = np.concatenate([inputs for _, inputs in part])
        classes = getattr(detector, "classes_", np.array([]))
        known = np.array([entry.label is not None and entry.label in classes for entry, _ in part])
        scores = np.empty(len(inputs))
        for with_labels in (True, False):
            rows = known[owner] == with_labels
            if rows.any():
                labels = np.array([part[file][0].label for file in owner[rows]]) if with_labels else None
                scores[rows] = detector.anomaly_score(inputs[rows], labels)
        whole = pool(scores, owner, settings["pool"])
        p = np.empty(len(part))
        labels_of = [entry.label if detector.per_label else None for entry, _ in part]
        claims = [(has, label if has else None) for has, label in zip(known.tolist(), labels_of, strict=True)]
        for claim in set(claims):
            own = np.array([other == claim for other in claims])
            p[own] = _beside_held_out(whole[own], held_out, *claim)
        verdicts += [
            Verdict(entry.name, entry.label, float(score), float(chance), bool(alarm))
            for (entry, _), score, chance, alarm in zip(
                part, whole, p, alarms(p, detector.false_alarm_rate), strict=True
            )
        ]
        on_progress(len(verdicts) / len(files))
    if false_discovery_rate is None:
        return verdicts
    called = discoveries(np.array([verdict.p_value for verdict in verdicts]), false_discovery_rate)
    return [replace(verdict, anomalous=bool(odd)) for verdict, odd in zip(verdicts, called, strict=True)]


def _n_held_out(detector: Detector) -> int:
    """How many files or groups are compared with; with `per_label` the fewest of a label. Refuses too few."""
    held_out = _settings(detector)["held_out"]
    if detector.per_label and not held_out["labels"]:
        raise InputError("per_label=True needs labels; the detector learnt from files without, or of one label")
    labels = held_out["labels"] if detector.per_label else [None] * len(held_out["groups"])
    counts = Counter(label for label, _ in set(zip(labels, held_out["groups"], strict=True)))
    label, n = min(counts.items(), key=lambda pair: (pair[1], str(pair[0])))
    what = "files or groups" + ("" if label is None else f" of label {label!r}")
    check_enough(n, detector.false_alarm_rate, what)
    return n


def _warn_of_rates(files: Sequence[Entry], source: Source) -> None:
    for concern in at_other_rates(files, source):
        warnings.warn(concern.message, ConcernWarning, stacklevel=3)


def _beside_held_out(scores: Array, held_out: dict[str, Any], known: bool, label: str | None) -> Array:
    """P-values of files beside those held out, or those of a label; a group of files counts as one."""
    groups = np.array(held_out["groups"])
    rows = slice(None) if label is None else np.array(held_out["labels"]) == label
    normal = np.array(held_out["scores"]["labelled" if known else "unlabelled"])
    return p_values(scores, normal[rows], shares(groups[rows]))


def _parts(
    files: Sequence[Entry],
    source: Source,
    detector: Detector,
    cache: Path | None,
    on_refused: Callable[[str, str], None] | None,
) -> Iterator[list[tuple[Entry, Array]]]:
    """Read files, some thousand samples at a time: memory stays flat however many there are."""
    part: list[tuple[Entry, Array]] = []
    n_samples = 0
    for entry, inputs in each(files, source, cache=cache):
        if not isinstance(inputs, str) and inputs.shape[1:] != detector.input_shape_:
            inputs = f"gives samples of shape {inputs.shape[1:]}; the detector learnt {detector.input_shape_}"
        if not isinstance(inputs, str):
            part.append((entry, inputs))
            n_samples += len(inputs)
        elif on_refused is None:
            raise InputError(f"{entry.name}: {inputs}")
        else:
            on_refused(entry.name, inputs)
        if n_samples >= SCORED_AT_ONCE:
            yield part
            part, n_samples = [], 0
    if part:
        yield part


def read_as_learnt(detector: Detector, data: Path, **named: str | None) -> tuple[list[Entry], dict[str, str]]:
    """List the files of a data set as the detector's own were listed, but for what is named anew.

    A data set without the field that named groups at first is listed without groups.
    """
    settings = Source.model_validate(_settings(detector)["settings"])
    changes = {name: value for name, value in named.items() if value is not None}
    settings = settings.model_copy(update=changes)
    try:
        return settings.entries(data)
    except InputError:
        if settings.group is None:
            raise
    return settings.model_copy(update={"group": None}).entries(data)


def write_verdicts(verdicts: Sequence[Verdict], file: Path | None, *, as_json: bool = False) -> None:
    """Write verdicts as CSV or Parquet, whole or not at all, or print them as CSV or JSON lines.

    Raises
    ------
    InputError
        Where the file's name does not end in .csv or .parquet, or it cannot be written.
    """
    rows = [vars(verdict) for verdict in verdicts]
    names = [field.name for field in fields(Verdict)]
    if file is None:
        if as_json:
            print(*(json.dumps(row, ensure_ascii=False) for row in rows), sep="\n")
            return
        printed = csv.DictWriter(sys.stdout, names, lineterminator="\n")
        printed.writeheader()
        printed.writerows(rows)
        return
    if file.suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{file}: results are written as .csv or .parquet")
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        if file.suffix.lower() == ".parquet":
            parquet.write_table(pa.table({name: [row[name] for row in rows] for name in names}), unfinished)
        else:
            with unfinished.open("w", encoding="utf-8", newline="") as content:
                writer = csv.DictWriter(content, names)
                writer.writeheader()
                writer.writerows(rows)
        os.replace(unfinished, file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error


@dataclass(frozen=True)
class Evaluation:
    """How well a detector tells files apart, all together or of one label.

    Attributes
    ----------
    label : str
        "all", or the label.
    n_normal, n_anomalous : int
    auc, partial_auc : float or None
        Up to a false-alarm rate of 0.1 for the second (McClish's, as in DCASE task 2); None without both kinds.
    false_alarms, found : float or None
        Part of the normal and of the anomalous files called anomalous.
    """

    label: str
    n_normal: int
    n_anomalous: int
    auc: float | None
    partial_auc: float | None
    false_alarms: float | None
    found: float | None


def to_evaluate(files: Sequence[Entry], detector: Detector) -> list[Entry]:
    """Files whose kind is known and that were not learnt from; those of the test split, if there is one.

    Raises
    ------
    InputError
        Where none is left.
    """
    wanted = [entry for entry in files if entry.split == "test"] or files
    wanted = [entry for entry in wanted if entry.anomalous is not None]
    if not wanted:
        raise InputError(f"of {len(files)} files none is known to be normal or anomalous; say which with --normal")
    learnt = set(_settings(detector)["learnt"])
    fresh = [entry for entry in wanted if fingerprint(entry.path) not in learnt]
    if not fresh:
        raise InputError(f"the detector learnt from all {len(wanted)} files; evaluate it on others")
    return fresh


def evaluate(files: Sequence[Entry], verdicts: Sequence[Verdict]) -> list[Evaluation]:
    """Compare verdicts with what is known: all files, then label by label."""
    truth = {entry.name: bool(entry.anomalous) for entry in files}
    anomalous = np.array([truth[verdict.path] for verdict in verdicts], bool)
    scores = np.array([verdict.score for verdict in verdicts])
    called = np.array([verdict.anomalous for verdict in verdicts], bool)
    labels = np.array([verdict.label or "" for verdict in verdicts])

    def part(name: str, rows: Array) -> Evaluation:
        normal, odd = rows & ~anomalous, rows & anomalous
        both = bool(normal.any() and odd.any())
        return Evaluation(
            name,
            int(normal.sum()),
            int(odd.sum()),
            auc(anomalous[rows], scores[rows]) if both else None,
            partial_auc(anomalous[rows], scores[rows]) if both else None,
            float(called[normal].mean()) if normal.any() else None,
            float(called[odd].mean()) if odd.any() else None,
        )

    found = [part("all", np.ones(len(verdicts), bool))]
    kinds = np.unique(labels[labels != ""])
    return found + ([part(str(kind), labels == kind) for kind in kinds] if len(kinds) > 1 else [])


@dataclass(frozen=True)
class Promise:
    """Whether the promised false-alarm rate was kept.

    Attributes
    ----------
    n_alarms, n_normal : int
        False alarms among normal files; a group of files counts as one.
    rate : float
        What was promised.
    chance : float
        Of so many or more, if these files are like the held-out ones: `oddkind.calibration.promise_kept`.
    """

    n_alarms: int
    n_normal: int
    rate: float
    chance: float


def promise(files: Sequence[Entry], verdicts: Sequence[Verdict], detector: Detector) -> Promise | None:
    """Compare the false alarms among files known to be normal with the promised rate; None where there are none."""
    entries = {entry.name: entry for entry in files}
    normal = [(entries[verdict.path], verdict) for verdict in verdicts if entries[verdict.path].anomalous is False]
    if not normal:
        return None
    units = np.array([entry.group or entry.name for entry, _ in normal])
    n_new, rate = len(np.unique(units)), detector.false_alarm_rate
    n_alarms = int(shares(units) @ alarms(np.array([verdict.p_value for _, verdict in normal]), rate) + 1e-9)
    return Promise(n_alarms, n_new, rate, promise_kept(n_alarms, n_new, _n_held_out(detector), rate))


def fingerprint(file: Path) -> str:
    """What tells a file from all others, wherever it lies."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _settings(detector: Detector) -> dict[str, Any]:
    settings = getattr(detector, "source_", None)
    if settings is None or not {"settings", "held_out", "learnt"} <= set(settings):
        raise InputError("the detector learnt from arrays, not files; pass it arrays")
    return dict(settings)
