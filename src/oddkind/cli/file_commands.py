"""Commands for files: check, fit, score, evaluate, explain, choose."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Container
from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind.cli.options import (
    Cache,
    Data,
    Follow,
    Json,
    Label,
    Normal,
    Pattern,
    Rate,
    SavedModel,
    Strict,
    complain,
    folds_from,
    reading,
    source_from,
)
from oddkind.cli.terminal import print_json, progress_bars, show, table_of, three_digits
from oddkind.errors import InputError
from oddkind.naming import on_one_line

if TYPE_CHECKING:
    from oddkind.files.evaluate import Promise
    from oddkind.files.listing import Entry
    from oddkind.files.shards import Scored, Shard
    from oddkind.model.model import CrossModel, Model

app = typer.Typer()

# At most this many rows of what was taken for what, and files that were left out for one reason, are printed.
MOST_TAKEN, MOST_NAMED = 30, 10
SMALL_CHANCE = 0.01  # below it, a number of alarms is no accident


@app.command()
@reading
def check(
    data: Data,
    settings: dict[str, Any],
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Read a data set and print what it contains and what is doubtful, before anything is learnt."""
    with progress_bars("reading") as update:
        from oddkind.files.check import check_files
        from oddkind.files.durations import in_words as duration_in_words
        from oddkind.files.source import DURATIONS

        source = source_from(data, settings, follow=follow)
        files, refused = source.entries(data, follow=follow)
        total = len(files) + len(refused)  # reading may add to the refused ones
        refuse = complain(refused, strict)
        found = check_files(
            files,
            source,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: update("reading", done),
        )
    if json:
        print_json(found | {"refused": refused})
        return
    taken = table_of("found", "taken for", "files")
    taken.columns[1].no_wrap = False
    for row in found["taken"][:MOST_TAKEN]:
        taken.add_row(on_one_line(row["found"]), on_one_line(row["taken_for"]), str(row["files"]))
    more = len(found["taken"]) - MOST_TAKEN
    show(taken, *([f"{more} more are listed with --json."] if more > 0 else []))
    table = table_of("split", "label", "condition", "files", "groups", "samples")
    for row in found["parts"]:
        table.add_row(*("" if value is None else on_one_line(str(value)) for value in row.values()))
    read_as = {name: value for name, value in found["settings"].items() if value not in (None, False, [])}
    if "sample_rate" in read_as:
        read_as |= {name: duration_in_words(value) for name, value in read_as.items() if name in DURATIONS}
    if source.kind == "sounds" and settings["front_end"] is None and len({row["label"] for row in found["parts"]}) > 1:
        read_as["front_end"] = "log-mel, or mel-spectrogram if 'fit' finds that it shows the labels more clearly"
    lines = [f"{name.replace('_', ' ')}: {_in_words(value)}" for name, value in read_as.items()]
    if found["settings"].get("header") is False:
        lines.append("header: none; --header reads names from the first row")
    if (interval := found["row_interval"]) is not None:
        lines.append(
            f"rows are {interval:g} s apart" + ("" if "sample_rate" in read_as else "; windows are counted in rows")
        )
    lines += columns_left_out({column["column"]: column["reason"] for column in found["left_out"]})
    issues = [f"Look at this: {issue['message']}." for issue in found["issues"]]
    show(table, *lines, f"{len(refused)} of {total} files are left out.", *issues)
    listing(refused)


@app.command()
@reading
def fit(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File to write the model to.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="The largest fraction of normal files that may raise an alarm.")
    ] = 0.05,
    per_label: Annotated[bool, typer.Option("--per-label", help="Promise that rate within each label.")] = False,
    cross: Annotated[
        str,
        typer.Option(
            help="For few files: the number of folds, such as 5. One model is trained without each fold. 'auto' uses 5 "
            "folds if there are too few files to hold some out, 'none' never uses folds."
        ),
    ] = "auto",
    pool: Annotated[
        str,
        typer.Option(
            help="How the scores of windows become that of the file: fisher (the mean of −log p of the windows, for "
            "faults in few windows as well as in all), mean, max or a quantile such as 0.9. 'auto': fisher, or mean if "
            "few files are held out."
        ),
    ] = "auto",
    task: Annotated[
        str, typer.Option(help="auto, labels, rotations, defects (small marks on surfaces), labels+rotations, …")
    ] = "auto",
    score: Annotated[str, typer.Option(help="auto, or the name of a score.")] = "auto",
    label_smoothing: Annotated[
        float, typer.Option(help="Fraction of each target that is spread over all classes in training.")
    ] = 0.1,
    members: Annotated[
        str, typer.Option(help="Number of networks that score together. 'auto': 5 for spectrograms, otherwise 1.")
    ] = "auto",
    random_state: Annotated[int, typer.Option(help="Seed for all randomness.")] = 0,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Learn from the normal files of a data set. Anomalous files and those of the test split are left out."""
    folds = folds_from(cross)
    check_writable(out)
    with progress_bars("reading", "training") as update:
        from oddkind.detector import Detector
        from oddkind.file_fitting import fit_files
        from oddkind.files.score import judged, n_calibration_files, promise_problem
        from oddkind.model.bundle import save

        source = source_from(data, settings, follow=follow)
        files, refused = source.entries(data, follow=follow)
        refuse = complain(refused, strict)
        detector = Detector(
            task=task,
            score_function=score,
            label_smoothing=label_smoothing,
            n_members=int(members) if members.isdecimal() else members,
            false_alarm_rate=false_alarm_rate,
            per_label=per_label,
            random_state=random_state,
        )
        model = fit_files(
            files, source, detector, folds=folds, how=pool, cache=cache, on_refused=refuse, on_progress=update
        )
        save(model, out)
    facts: dict[str, Any] = {
        "learnt": len((model.source or {})["learnt"]),
        "held_out": n_calibration_files(model),
        "folds": len(model.folds),
        "promised": promise_problem(model) is None,
        "block": (model.source or {})["settings"].get("block"),
        "labels": [] if model.task.labels is None else [str(label) for label in model.task.labels],
        "front_end": (model.source or {})["settings"].get("front_end") or [],
        "front_end_reason": (model.source or {})["front_end_reason"],
        **model.folds[0].describe(),
        "pool": (model.source or {})["pool"],
        "accuracy": sum(fold.report.accuracy for fold in model.folds) / len(model.folds),
        "left_out": (model.source or {})["settings"].get("left_out") or {},
        "refused": refused,
    }
    if json:
        print_json(facts)
        return
    what, named = judged(model), settings["front_end"] is not None
    if facts["folds"] > 1:
        why = f"There are too few {what} to hold some out, so " if folds == "auto" else ""
        models = f"{facts['folds']} models were trained, each without one fold of the {what}"
        print(f"{out} was fitted to {facts['learnt']} {what}. {why}{models}.")
        print(f"A new {what.removesuffix('s')} is compared with all {facts['held_out']} {what} or groups.")
    else:
        held_out = f"{facts['held_out']} {what} or groups were held out"
        print(f"{out} was fitted to {facts['learnt']} {what}, of which {held_out}.")
    if facts["front_end"]:
        reason = facts["front_end_reason"] + (" with --front-end" if named else "; --front-end names another")
        print(f"Front end: {', '.join(facts['front_end'])}, {reason}.")
    print(f"Task: {facts['task']}. Scored by {facts['score']}.")
    if facts["pool"] != "mean":
        print(f"The score of a file is pooled from its windows: {facts['pool']} (--pool).")
    labels = on_one_line(", ".join(facts["labels"])) or "none"
    print(f"Labels: {labels}. Accuracy on held-out views: {facts['accuracy']:.3f}.")
    print(*columns_left_out(facts["left_out"]), sep="\n", end="\n" if facts["left_out"] else "")
    listing(refused)


@app.command()
def score(
    model: SavedModel,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet file to write, or a folder (a name without a suffix) of Parquet parts, from which an "
            "interrupted run resumes. By default the scores are printed."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Score only a shard of the files, such as 3/64, the third of 64; their names divide them."),
    ] = None,
    false_alarm_rate: Rate = None,
    false_discovery_rate: Annotated[
        float | None,
        typer.Option(help="Control the false discovery rate over all files (Benjamini–Hochberg)."),
    ] = None,
    pattern: Pattern = None,
    label: Label = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Score files. The result has the path, the label, the anomaly score, the p-value and the decision for each."""
    if out is not None:
        check_writable(out)
    in_parts = out is not None and (out.is_dir() or not out.suffix)
    if false_discovery_rate is not None and (in_parts or shard is not None):
        raise InputError(
            "--false-discovery-rate needs the p-values of all files; pass those of all parts to oddkind.discoveries"
        )
    with progress_bars("scoring") as update:
        from oddkind.files.evaluate import alarm_excess
        from oddkind.files.score import judged, promise_problem, score_files
        from oddkind.files.shards import Shard
        from oddkind.files.write import write_verdicts

        of = None if shard is None else Shard.parse(shard)
        fitted, files, refused, refuse = opened(
            model, data, false_alarm_rate, strict=strict, follow=follow, pattern=pattern, label=label, only=of
        )
        if out is not None and in_parts:
            changes = {"pattern": pattern, "label": label}
            found = score_parts(out, files, fitted, model, changes, shard=of, cache=cache, strict=strict, update=update)
            print(parts_told(out, found, fitted, shard, as_json=json))
            listing({} if json else refused | found.refused)
            return
        verdicts = score_files(
            files,
            fitted,
            false_discovery_rate=false_discovery_rate,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: update("scoring", done),
        )
    promised = false_discovery_rate is not None or promise_problem(fitted) is None
    write_verdicts(verdicts, out, as_json=json, promised=promised)
    if out is not None:
        odd = sum(verdict.anomalous for verdict in verdicts)
        rate = f"a false-alarm rate of {fitted.false_alarm_rate:g}"
        if false_discovery_rate is not None:
            rate = f"a false discovery rate of {false_discovery_rate:g}"
        print(f"{out} contains {len(verdicts)} {judged(fitted)}, of which {odd} are anomalous at {rate}.")
    if (excess := alarm_excess(files, verdicts, fitted)) is not None and excess.chance < SMALL_CHANCE:
        print(excess_line(excess), file=sys.stderr)
    listing(refused)


@app.command()
def evaluate(
    model: SavedModel,
    data: Data,
    pattern: Pattern = None,
    label: Label = None,
    normal: Normal = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Compare the scores with what is known about files: AUC, partial AUC and false alarms, for each label.

    Files that were learnt from are not counted.
    """
    with progress_bars("scoring") as update:
        from oddkind.files.evaluate import evaluate_files, promise, to_evaluate
        from oddkind.files.score import judged, promise_problem, score_files

        fitted, files, refused, refuse = opened(
            model, data, false_alarm_rate, strict=strict, follow=follow, pattern=pattern, label=label, normal=normal
        )
        wanted = to_evaluate(files, fitted)
        verdicts = score_files(
            wanted, fitted, cache=cache, on_refused=refuse, on_progress=lambda done: update("scoring", done)
        )
        rows, kept = evaluate_files(wanted, verdicts), promise(wanted, verdicts, fitted)
    means = {name: harmonic([getattr(row, name) for row in rows[1:]]) for name in ("auc", "partial_auc")}
    if json:
        found = None if kept is None else vars(kept)
        content = {"rows": [vars(row) for row in rows], "harmonic_mean": means, "promise": found, "refused": refused}
        print_json(content | {"promised": promise_problem(fitted) is None})
        return
    table = table_of("", "normal", "anomalous", "AUC", "pAUC", "false\nalarms", "found")
    for row in rows:
        values = row.auc, row.partial_auc, row.false_alarms, row.found
        table.add_row(on_one_line(row.label), str(row.n_normal), str(row.n_anomalous), *map(three_digits, values))
    if means["auc"] is not None:
        table.add_row("harmonic mean", "", "", *map(three_digits, means.values()))
    left = len(files) - len(wanted)
    why = "were learnt from, are not in the test split, or are not known to be normal or anomalous"
    lines = [f"{left} {judged(fitted)} are not counted, because they {why}."] if left else []
    show(table, *lines, *([] if kept is None else [promise_line(kept)]))
    listing(refused)


@app.command()
def explain(
    model: SavedModel,
    data: Data,
    most: Annotated[int, typer.Option(help="Number of files to explain; the most anomalous ones are chosen.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder into which one picture for each file is written.")] = None,
    pattern: Pattern = None,
    label: Label = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Explain the most anomalous files: what they look like, what is nearest, where the evidence is."""
    with progress_bars("scoring", "explaining") as update:
        from oddkind.files.explain import as_json, as_text, explain_files
        from oddkind.files.score import judged, promise_problem

        if out is not None:
            from oddkind.files.figures import write_pictures

        fitted, files, refused, refuse = opened(
            model, data, false_alarm_rate, strict=strict, follow=follow, pattern=pattern, label=label
        )
        found = explain_files(files, fitted, most=most, cache=cache, on_refused=refuse, on_progress=update)
        if out is not None:
            write_pictures(found, fitted, out)
    if json:
        promised = promise_problem(fitted) is None
        print_json({"files": [as_json(of) for of in found], "refused": refused, "promised": promised})
        return
    print(*map(as_text, found), *([] if found else ["No file could be read."]), sep="\n\n")
    if len(files) > len(found):
        which = "This is the" if len(found) == 1 else f"These are the {len(found)}"
        print(f"\n{which} most anomalous of {len(files)} {judged(fitted)}; --most changes the number.")
    if out is not None:
        print(f"\n{out} contains a picture of each file explained.")
    listing(refused)


def score_parts(
    out: Path,
    files: list[Entry],
    fitted: Model | CrossModel,
    model: Path,
    changes: dict[str, str | None],
    *,
    shard: Shard | None,
    cache: Path | None,
    strict: bool,
    update: Callable[[str, float], None],
) -> Scored:
    """Score files into the parts of a folder; each part notes the model and the options that verdicts depend on."""
    from oddkind.files.shards import score_into
    from oddkind.model.bundle import fingerprint_of

    made_with = {"model": fingerprint_of(model), "false_alarm_rate": fitted.false_alarm_rate, **changes}
    return score_into(
        out,
        files,
        fitted,
        made_with=made_with,
        shard=shard,
        cache=cache,
        strict=strict,
        on_progress=lambda done: update("scoring", done),
    )


def parts_told(out: Path, found: Scored, fitted: Model | CrossModel, shard: str | None, *, as_json: bool) -> str:
    """Describe what was written into a folder of parts."""
    import json

    from oddkind.files.score import judged, promise_problem

    if as_json:
        facts: dict[str, Any] = {"shard": shard, "scored": found.n_scored, "anomalous": found.n_anomalous}
        facts |= {"scored_before": found.n_before, "parts": found.parts, "refused": found.refused}
        return json.dumps(facts | {"promised": promise_problem(fitted) is None}, ensure_ascii=False)
    of = "" if shard is None else f" of shard {shard}"
    before = f"; {found.n_before} had been scored before" if found.n_before else ""
    return (
        f"{out} has {found.n_scored} more {judged(fitted)}{of}, of which {found.n_anomalous} are anomalous at a "
        f"false-alarm rate of {fitted.false_alarm_rate:g}{before}."
    )


def opened(
    model: Path,
    data: Path,
    false_alarm_rate: float | None,
    *,
    strict: bool,
    follow: bool,
    only: Container[str] | None = None,
    **changes: str | None,
) -> tuple[Model | CrossModel, list[Entry], dict[str, str], Callable[[str, str], None] | None]:
    """Load a model, with another false-alarm rate if one is given, and list files as those it learnt from were listed.

    Returns the model, the files, those left out with the reasons, and what takes further ones. With `only`, files of
    other names are not among them.
    """
    from dataclasses import replace

    from oddkind.files.score import read_as_learnt
    from oddkind.loading import load

    fitted = load(model)
    if false_alarm_rate is not None:
        fitted = replace(fitted, false_alarm_rate=false_alarm_rate)
    files, refused = read_as_learnt(fitted, data, follow=follow, only=only, **changes)
    if only is not None:
        refused = {name: reason for name, reason in refused.items() if name in only}
    return fitted, files, refused, complain(refused, strict)


def check_writable(file: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it."""
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error


def promise_line(kept: Promise) -> str:
    """Explain whether the promised false-alarm rate was kept, and what it means if it was not."""
    counted = f"{kept.n_alarms} of {kept.n_normal} normal files raise a false alarm"
    counted = counted.replace("files", kept.unit)
    if kept.unit == "groups":
        counted = (
            "The table counts files; the promise is for groups of files, each of which counts as one: "
            f"{kept.n_alarms} of {kept.n_normal} groups of normal files raise a false alarm"
        )
    found = (
        f"{counted}; the promised rate is {kept.rate:g}. If these files are like those held out, the chance of this "
        f"many or more is {kept.chance:.2g}"
    )
    if kept.chance >= SMALL_CHANCE:
        return f"{found}."
    return (
        f"{found}: something has drifted or is new, and the promise does not hold for these files. "
        "Fit again with files like them."
    )


def excess_line(excess: Promise) -> str:
    """Explain that files raise far more alarms than normal ones would, without calling them normal."""
    return (
        f"{excess.n_alarms} of {excess.n_normal} {excess.unit} raise an alarm; the promised rate of false alarms is "
        f"{excess.rate:g}. If all of them were normal and like those held out, the chance of this many or more would "
        f"be {excess.chance:.2g}. So either some of them are anomalous, or something has drifted or is new, and the "
        "rate does not hold for these files. If you know which ones are normal, 'oddkind evaluate' decides between "
        "the two: name them with --normal."
    )


def _in_words(value: Any) -> str:
    """Format a setting; a list without brackets."""
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    return f"{value:.12g}" if isinstance(value, float) else {"\t": "tab"}.get(value, str(value))


def columns_left_out(columns: dict[str, str]) -> list[str]:
    """Name the columns of tables that are not read, and why."""
    lines = [on_one_line(f"column left out: {name}: {reason}") for name, reason in columns.items()]
    return [*lines, "--columns names the columns to read instead."] if lines else []


def listing(refused: dict[str, str]) -> None:
    """Name on standard error the files that were left out; of many with the same reason only one."""
    from oddkind.files.listing import grouped

    kinds: dict[str, dict[str, str]] = {}
    for name, reason in refused.items():
        kinds.setdefault(reason, {})[name] = reason
    for reason, alike in kinds.items():
        lines = [f"{name}: {reason}" for name in alike] if len(alike) <= MOST_NAMED else [grouped(alike)]
        for line in lines:
            print(on_one_line(f"left out: {line}"), file=sys.stderr)


def harmonic(values: list[float | None]) -> float | None:
    """Return the harmonic mean of the values that are not None, by which DCASE task 2 ranks."""
    there = [value for value in values if value is not None]
    return harmonic_mean(there) if there else None
