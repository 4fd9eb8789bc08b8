"""Commands for files: what is there, learn from it, score, evaluate, explain, choose."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind.cli.terminal import listed, plus_minus, print_json, progress_bars, show, table_of, three_digits
from oddkind.errors import InputError

if TYPE_CHECKING:
    from oddkind.detector import Detector
    from oddkind.files import Source
    from oddkind.files.score import Promise

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]
Data = Annotated[Path, typer.Argument(help="Folder, manifest (a table with a column path) or single file.")]
Model = Annotated[Path, typer.Argument(help="Detector that fit wrote.")]
Strict = Annotated[bool, typer.Option("--strict", help="End at the first file that cannot be read.")]
Rate = Annotated[float | None, typer.Option("--false-alarm-rate", help="Another than the detector was fitted with.")]
Cache = Annotated[Path | None, typer.Option(help="Folder to keep what was read in, for the next command.")]
Pattern = Annotated[str | None, typer.Option(help="What file names say, such as {condition}_{label}_{rpm}.wav.")]
Label = Annotated[str | None, typer.Option(help="Field with the kind of normal: machine, load, lighting.")]
Normal = Annotated[str | None, typer.Option(help="What normal files say, such as condition=Healthy.")]


def _option(kind: Any, text: str, *names: str) -> Any:
    return Annotated[kind, typer.Option(*names, help=text)]


# How a data set is read: fields of `Source`.
READING = {
    "kind": _option(str | None, "sounds, pictures, tables or arrays; found out if not said."),
    "pattern": Pattern,
    "label": Label,
    "group": _option(str | None, "Field with what must not be torn apart: session, tile."),
    "normal": Normal,
    "sample_rate": _option(int | None, "Hz; sounds at another are resampled. Tables: rows a second."),
    "window": _option(float | None, "Seconds (tables without a rate: rows). Sounds: 1."),
    "hop": _option(float | None, "Step between windows; as long as the window if not said."),
    "channels": _option(str | None, "Of a sound, such as 1 or 1,2; their mean if not said."),
    "front_end": _option(str | None, "Of a sound: log-mel, spectrum, envelope, or several: a,b."),
    "match_loudness": _option(bool | None, "Make each window of sound equally loud.", "--match-loudness"),
    "size": _option(str | None, "Of a picture in pixels, height,width; 64,64 if not said."),
    "grey": _option(bool | None, "Whether to drop colours; if the first picture has none."),
    "columns": _option(str | None, "Of a table, such as PS1,PS2; all of numbers if not said."),
}


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all options of `READING` in place of its parameter `settings`, which it gets them as."""
    parameters = []
    for name, own in inspect.signature(command, eval_str=True).parameters.items():
        if name != "settings":
            parameters.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        parameters += [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for option, annotation in READING.items()
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = {name: given.pop(name) for name in READING}
        command(settings=settings, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@app.command()
@reading
def check(
    data: Data,
    settings: dict[str, Any],
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Read a data set and say what was understood, before anything is learnt."""
    with progress_bars("reading") as tell:
        from oddkind.files import check_files

        source = source_from(data, settings)
        files, refused = source.entries(data)
        total = len(files) + len(refused)  # reading refuses more of them
        refuse = complain(refused, strict)
        found = check_files(
            files, source, cache=cache, on_refused=refuse, on_progress=lambda done: tell("reading", done)
        )
    if json:
        print_json(found | {"refused": refused})
        return
    table = table_of("split", "label", "", "files", "groups", "samples")
    for row in found["parts"]:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    read_as = {name: value for name, value in found["settings"].items() if value not in (None, False)}
    if source.kind != "sounds":
        del read_as["front_end"]
    lines = [f"{name.replace('_', ' ')}: {value}" for name, value in read_as.items()]
    concerns = [f"Look at this: {concern['message']}." for concern in found["concerns"]]
    show(table, *lines, f"{len(refused)} of {total} files cannot be read.", *concerns)
    listing(refused)


@app.command()
@reading
def fit(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File to write the detector to.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="At most this part of normal files is called anomalous.")
    ] = 0.05,
    per_label: Annotated[bool, typer.Option("--per-label", help="Promise that rate within each label.")] = False,
    pool: Annotated[str, typer.Option(help="A file's score of its windows': mean, max or a quantile, 0.9.")] = "mean",
    task: Annotated[
        str, typer.Option(help="auto, labels, rotations, pastes (small defects of surfaces), labels+rotations, …")
    ] = "auto",
    score: Annotated[str, typer.Option(help="auto, or a score's name.")] = "auto",
    members: Annotated[int, typer.Option(help="Networks that score together.")] = 1,
    random_state: Annotated[int, typer.Option(help="Where every random draw comes from.")] = 0,
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Learn from the normal files of a folder; those called anomalous or test are left aside."""
    with progress_bars("reading", "training") as tell:
        from oddkind.detector import Detector
        from oddkind.files.score import fit_files, held_out_files

        source = source_from(data, settings)
        files, refused = source.entries(data)
        refuse = complain(refused, strict)
        detector = Detector(
            task=task,
            score=score,
            members=members,
            false_alarm_rate=false_alarm_rate,
            per_label=per_label,
            random_state=random_state,
        )
        fit_files(files, source, detector, how=pool, cache=cache, on_refused=refuse, on_progress=tell)
        detector.save(out, source=detector.source_)
    facts: dict[str, Any] = {
        "learnt": len(detector.source_["learnt"]),
        "held_out": held_out_files(detector).count(),
        "labels": getattr(detector, "classes_", []),
        "accuracy": detector.accuracy_,
        "refused": refused,
    }
    if json:
        print_json(facts | {"labels": [str(label) for label in facts["labels"]]})
        return
    print(f"{out} learnt from {facts['learnt']} files, {facts['held_out']} of them (or groups) held out.")
    labels = ", ".join(map(str, facts["labels"])) or "none"
    print(f"Labels: {labels}. Accuracy on held-out views: {detector.accuracy_:.3f}.")
    listing(refused)


@app.command()
def score(
    model: Model,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="CSV or Parquet to write; printed if not said.")] = None,
    false_alarm_rate: Rate = None,
    false_discovery_rate: Annotated[
        float | None, typer.Option(help="Of all files call so many that at most this part of those called is normal.")
    ] = None,
    pattern: Pattern = None,
    label: Label = None,
    cache: Cache = None,
    strict: Strict = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Score files: path, label, anomaly score, p-value, decision."""
    with progress_bars("scoring") as tell:
        from oddkind.detector import load
        from oddkind.files.score import read_as_learnt, score_files, write_verdicts

        detector = at_rate(load(model), false_alarm_rate)
        files, refused = read_as_learnt(detector, data, pattern=pattern, label=label, normal=None)
        refuse = complain(refused, strict)
        verdicts = score_files(
            files,
            detector,
            false_discovery_rate=false_discovery_rate,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: tell("scoring", done),
        )
    write_verdicts(verdicts, out, as_json=json)
    if out is not None:
        odd = sum(verdict.anomalous for verdict in verdicts)
        rate = f"a false-alarm rate of {detector.false_alarm_rate:g}"
        if false_discovery_rate is not None:
            rate = f"a false discovery rate of {false_discovery_rate:g}"
        print(f"{out}: {len(verdicts)} files, {odd} anomalous at {rate}.")
    listing(refused)


@app.command()
def evaluate(
    model: Model,
    data: Data,
    pattern: Pattern = None,
    label: Label = None,
    normal: Normal = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Compare with what is known of files that were not learnt from: AUC, pAUC, false alarms, label by label."""
    with progress_bars("scoring") as tell:
        from oddkind.detector import load
        from oddkind.files.score import evaluate as compare
        from oddkind.files.score import promise, read_as_learnt, score_files, to_evaluate

        detector = at_rate(load(model), false_alarm_rate)
        files, refused = read_as_learnt(detector, data, pattern=pattern, label=label, normal=normal)
        refuse = complain(refused, strict)
        wanted = to_evaluate(files, detector)
        verdicts = score_files(
            wanted, detector, cache=cache, on_refused=refuse, on_progress=lambda done: tell("scoring", done)
        )
        rows, kept = compare(wanted, verdicts), promise(wanted, verdicts, detector)
    means = {name: harmonic([getattr(row, name) for row in rows[1:]]) for name in ("auc", "partial_auc")}
    if json:
        told = None if kept is None else vars(kept)
        print_json({"rows": [vars(row) for row in rows], "harmonic_mean": means, "promise": told, "refused": refused})
        return
    table = table_of("", "normal", "anomalous", "AUC", "pAUC", "false\nalarms", "found")
    for row in rows:
        values = row.auc, row.partial_auc, row.false_alarms, row.found
        table.add_row(row.label, str(row.n_normal), str(row.n_anomalous), *map(three_digits, values))
    if means["auc"] is not None:
        table.add_row("harmonic mean", "", "", *map(three_digits, means.values()))
    left = len(files) - len(wanted)
    lines = [f"{left} files are not counted: learnt from, or not known to be normal or anomalous."] if left else []
    show(table, *lines, *([] if kept is None else [promise_line(kept)]))
    listing(refused)


@app.command()
def explain(
    model: Model,
    data: Data,
    most: Annotated[int, typer.Option(help="Explain so many files, the most anomalous.")] = 10,
    out: Annotated[Path | None, typer.Option(help="Folder to write a picture a file to.")] = None,
    pattern: Pattern = None,
    label: Label = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Say why files are odd: what they look like, what is nearest, where the evidence lies; most anomalous first."""
    with progress_bars("scoring", "explaining") as tell:
        from oddkind.detector import load
        from oddkind.files.explain import as_json, as_text, explain_files, write_pictures
        from oddkind.files.score import read_as_learnt

        detector = at_rate(load(model), false_alarm_rate)
        files, refused = read_as_learnt(detector, data, pattern=pattern, label=label, normal=None)
        refuse = complain(refused, strict)
        found = explain_files(files, detector, most=most, cache=cache, on_refused=refuse, on_progress=tell)
        written = [] if out is None else write_pictures(found, detector, out)
    if json:
        print_json({"files": [as_json(of) for of in found], "refused": refused})
        return
    print(*map(as_text, found), *([] if found else ["No file could be read."]), sep="\n\n")
    if len(files) > len(found):
        print(f"\nThe most anomalous {len(found)} of {len(files)} files; --most tells how many.")
    if out is not None:
        print(f"\n{out}: {len(written)} pictures.")
    listing(refused)


@app.command()
@reading
def choose(
    data: Data,
    settings: dict[str, Any],
    score: Annotated[
        str, typer.Option(help="Scores to choose from.")
    ] = "msp,max-logit,energy,cosine-neighbours,mahalanobis,joint-neighbours",
    label_smoothing: Annotated[str, typer.Option(help="Levels to choose from.")] = "0,0.1",
    task: Annotated[str, typer.Option(help="Tasks to choose from: labels, labels+rotations, auto, …")] = "labels,auto",
    seeds: Annotated[int, typer.Option(help="Runs of every combination.")] = 3,
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Choose without anomalies: hide one label after another and see which settings find it; needs three labels.

    A hidden kind of normal is no fault: how far the order agrees with that of real anomalies is in the README.
    """
    with progress_bars("reading", "training") as tell:
        from oddkind.detector import Detector
        from oddkind.files.score import learnable
        from oddkind.study.evaluation import Setting
        from oddkind.study.selection import leave_one_label_out

        source = source_from(data, settings)
        files, refused = source.entries(data)
        refuse = complain(refused, strict)
        tasks, levels, scores = (
            listed(task, str, "labels,auto"),
            listed(label_smoothing, float, "0,0.1"),
            listed(score, str, "msp,energy"),
        )
        choices = [
            Setting(f"{task} {level:g} {score}", task, level, score=score)
            for task, level, score in product(tasks, levels, scores)
        ]
        samples, _ = learnable(
            files, source, cache=cache, on_refused=refuse, on_progress=lambda done: tell("reading", done)
        )
        # No rate is promised here: a fifth is held out to compare hidden labels with.
        like = Detector(validation_fraction=0.2, false_alarm_rate=0.5)
        found = leave_one_label_out(
            samples, choices, seeds=range(seeds), like=like, on_progress=lambda done: tell("training", done)
        )
    ranked = found.ranked
    if json:
        names = "task", "label_smoothing", "score"
        rows = [
            {name: getattr(setting, name) for name in names} | {"auc_mean": value, "auc_ci95": interval}
            for setting, value, interval in ranked
        ]
        print_json({"labels": found.labels.tolist(), "rows": rows, "label_smoothing": found.of_smoothing()})
        return
    table = table_of("task", "label\nsmoothing", "score", "AUC of hidden labels (95 %)")
    for setting, value, interval in ranked:
        table.add_row(setting.task, f"{setting.label_smoothing:g}", setting.score, plus_minus(value, interval))
    sentences = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in found.of_smoothing()]
    show(table, f"Hidden, one after another: {', '.join(map(str, found.labels))}.", *sentences)
    listing(refused)


def at_rate(detector: Detector, false_alarm_rate: float | None) -> Detector:
    """Set another false-alarm rate, if there is one; score_files refuses one that cannot be promised."""
    return detector if false_alarm_rate is None else detector.set_params(false_alarm_rate=false_alarm_rate)


def promise_line(kept: Promise) -> str:
    """Say whether the promised false-alarm rate was kept, and what it means where it was not."""
    found = f"{kept.n_alarms} of {kept.n_normal} normal files or groups raise a false alarm; {kept.rate:g} was promised"
    if kept.chance >= 0.01:
        return f"{found} (chance of so many or more: {kept.chance:.2g})."
    return (
        f"{found}. Were they like those held out, so many would come with a chance of {kept.chance:.1g}: something has "
        "drifted or is new, and the promise does not hold for these files. Fit again with some like them."
    )


def source_from(data: Path, settings: dict[str, Any]) -> Source:
    """Read the options that say how a data set is read."""
    from oddkind.files import source_of

    lists: dict[str, tuple[Callable[[str], Any], str]] = {
        "channels": (int, "1,2"),
        "front_end": (str, "log-mel,envelope"),
        "size": (int, "64,64"),
        "columns": (str, "PS1,PS2"),
    }
    given = {
        name: tuple(listed(value, *lists[name])) if name in lists and value is not None else value
        for name, value in settings.items()
    }
    return source_of(data, **given)


def complain(refused: dict[str, str], strict: bool) -> Callable[[str, str], None] | None:
    """Collect files that cannot be read, or, if strict, refuse the first."""
    if strict:
        for name, reason in refused.items():
            raise InputError(f"{name}: {reason}")
        return None
    return refused.__setitem__


def listing(refused: dict[str, str]) -> None:
    """Name on standard error the files that were left out."""
    for name, reason in refused.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)


def harmonic(values: list[float | None]) -> float | None:
    """Harmonic mean of those that are there, as DCASE task 2 ranks by."""
    there = [value for value in values if value is not None]
    return harmonic_mean(there) if there else None
