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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.files import Entry, Source, each, read, resolved
from oddkind.fitting import fit_together
from oddkind.metrics import auc, partial_auc
from oddkind.model.calibration import HeldOut, alarms, check_enough, discoveries, pool, promise_kept, shares
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
    names, first = np.unique(samples.files, return_index=True)
    learnt = set(names.tolist())
    detector.source_ = {
        "settings": source.model_dump(mode="json"),
        "pool": how,
        "learnt": sorted(fingerprint(entry.path) for entry in files if entry.name in learnt),
        "files": [
            [str(names[file]), int(first[file])] for file in np.argsort(first)
        ],  # and the row of its first sample
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
    called is normal on average (`discoveries`); else each whose p-value is at most the detector's
    false-alarm rate.

    Raises
    ------
    InputError
        Where a file cannot be read and nobody asks to be told.
    """
    settings = _settings(detector)
    _fewest(detector)  # refuses a rate that cannot be promised
    if false_discovery_rate is not None:
        discoveries(np.ones(1), false_discovery_rate)  # refuses one that is none
    verdicts: list[Verdict] = []
    classes = getattr(detector, "classes_", np.array([]))
    beside = {known: held_out_files(detector, known=known) for known in detector.held_out_}
    for part in _parts(files, Source.model_validate(settings["settings"]), detector, cache, on_refused):
        owner = np.repeat(np.arange(len(part)), [len(inputs) for _, inputs in part])
        inputs = np.concatenate([inputs for _, inputs in part])
        claimed = np.array([entry.label for entry, _ in part], object)
        known = np.array([label in classes.tolist() for label in claimed])
        whole, p = np.empty(len(part)), np.empty(len(part))
        for with_labels in np.unique(known):
            own = known == with_labels
            rows = own[owner]
            labels = claimed[owner[rows]].astype(classes.dtype) if with_labels else None
            kinds = np.searchsorted(classes, claimed[own].astype(classes.dtype)) if with_labels else None
            whole[own] = pool(detector.anomaly_score(inputs[rows], labels), owner[rows], settings["pool"])
            p[own] = beside[with_labels].p_values(whole[own], kinds if detector.per_label else None)
        verdicts += [
            Verdict(entry.name, entry.label, float(score), float(chance), bool(alarm))
            for (entry, _), score, chance, alarm in zip(
                part, whole, p, alarms(p, detector.false_alarm_rate), strict=True
            )
        ]
        on_progress(len(verdicts) / len(files))
    on_progress(1.0)  # some may have been refused
    if false_discovery_rate is None:
        return verdicts
    called = discoveries(np.array([verdict.p_value for verdict in verdicts]), false_discovery_rate)
    return [replace(verdict, anomalous=bool(odd)) for verdict, odd in zip(verdicts, called, strict=True)]


def held_out_files(detector: Detector, *, known: bool = True) -> HeldOut:
    """Scores of the files held out of training, with their labels known or not."""
    settings = _settings(detector)
    starts = [row for _, row in settings["files"]]
    file = np.searchsorted(starts, detector.validation_rows_, side="right")
    return detector.held_out_[known].pooled(file, settings["pool"])


def _fewest(detector: Detector) -> int:
    """How many files or groups are compared with; with `per_label` the fewest of a label. Refuses too few."""
    held_out, names = held_out_files(detector), []
    if detector.per_label:
        if held_out.kinds is None:
            raise InputError("per_label=True needs labels; the detector learnt from files without, or of one label")
        names = detector.classes_.tolist()
    kinds: list[int | None] = [*range(len(names))] or [None]
    fewest = min(kinds, key=held_out.count)
    what = "files or groups" + ("" if fewest is None else f" of label {names[fewest]!r}")
    check_enough(held_out.count(fewest), detector.false_alarm_rate, what)
    return held_out.count(fewest)


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
        Of so many or more, if these files are like the held-out ones: `oddkind.model.calibration.promise_kept`.
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
    return Promise(n_alarms, n_new, rate, promise_kept(n_alarms, n_new, _fewest(detector), rate))


def fingerprint(file: Path) -> str:
    """What tells a file from all others, wherever it lies."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:32]


def _settings(detector: Detector) -> dict[str, Any]:
    settings = getattr(detector, "source_", None)
    if settings is None or not {"settings", "files", "learnt"} <= set(settings):
        raise InputError("the detector learnt from arrays, not files; pass it arrays")
    return dict(settings)
