"""The command line: one short function a command."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import harmonic_mean, mean
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind import __version__
from oddkind.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from oddkind.detector import Detector
    from oddkind.readers import Source
    from oddkind.recordings import Promise

app = typer.Typer(
    name="oddkind",
    help="Find anomalies by classification: what a network cannot place among the kinds of normal is one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a warning is a line on standard error, bad input ends with one and exit code 2."""
    # Ended from outside, a command cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with warnings.catch_warnings():
            warnings.showwarning = tell_warning
            app()
    except InputError as error:
        print(f"oddkind: {error}", file=sys.stderr)
        sys.exit(2)


def tell_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code it came from."""
    print(f"oddkind: {message}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Find anomalies by classification: what a network cannot place among the kinds of normal is one."""
    if version:
        print(f"oddkind {__version__}")
        raise typer.Exit


def listed(text: str, kind: Callable[[str], Any], example: str) -> list[Any]:
    """Read "0,1,2,3"."""
    try:
        return [kind(part.strip()) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{text!r} is not a list such as {example}") from None


@contextmanager
def progress_bars(*stages: str) -> Iterator[Callable[[str, float], None]]:
    """Show a bar a stage on standard error while the block runs; yields what to tell (stage, finished part)."""
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = [*Progress.get_default_columns(), TimeElapsedColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bars = {stage: progress.add_task(stage, total=1.0) for stage in stages}
        shown = dict.fromkeys(stages, 0.0)

        def tell(stage: str, done: float) -> None:
            if done - shown[stage] >= 0.002 or done == 1:  # a bar costs more than a training step
                shown[stage] = done
                progress.update(bars[stage], completed=done)

        yield tell


Out = Annotated[Path, typer.Option(help="Folder for the results; an interrupted run goes on from there.")]
Json = Annotated[bool, typer.Option("--json", help="Print results.json instead of the table.")]


@app.command()
def lab(
    normal: Annotated[str, typer.Option(help="Digits to learn, at least two.")] = "0,1,2,3",
    anomalous: Annotated[str, typer.Option(help="Digits to find, never seen in training.")] = "7,8,9",
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 5,
    seeds: Annotated[int, typer.Option(help="Independent runs of every exercise.")] = 5,
    out: Out = Path("runs/lab"),
    json: Json = False,
) -> None:
    """Run the whole lecture on MNIST: label smoothing, temperature, t-SNE, RotNet; report.html shows it."""
    digits = {"normal": listed(normal, int, "0,1,2,3"), "anomalous": listed(anomalous, int, "7,8,9")}
    with progress_bars("training", "scoring", "drawing") as tell:
        from oddkind.lab import run_lab

        result = run_lab(out, **digits, epochs=epochs, seeds=seeds, on_progress=tell)
    if json:
        print((out / "results.json").read_text(encoding="utf-8"), end="")
        return
    table = table_of("exercise", "lecture\nAUC", "ours (95 %)", "single runs", "lecture\nwithin")
    for row in result.rows:
        lecture, inside = row.setting.lecture_auc, row.lecture_inside
        table.add_row(
            row.setting.name,
            "" if lecture is None else f"{lecture:.3f}",
            plus_minus(row.auc_mean, row.auc_ci95),
            f"{min(row.auc):.3f} to {max(row.auc):.3f}",
            "" if inside is None else "yes" if inside else "no",
        )
    show(table, f"{out / 'report.html'} shows it in pictures.")


@app.command()
def sweep(
    grid: Annotated[Path | None, typer.Argument(help="TOML file with the options below as its keys.")] = None,
    task: Annotated[str | None, typer.Option(help="labels, rotations or labels+rotations.")] = None,
    label_smoothing: Annotated[str | None, typer.Option(help="Levels, such as 0,0.1,0.2.")] = None,
    temperature: Annotated[str | None, typer.Option(help="Temperatures, such as 1,3,fit.")] = None,
    score: Annotated[str | None, typer.Option(help="Scores, such as msp,max-logit.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs of every combination.")] = None,
    normal: Annotated[str | None, typer.Option(help="Digits to learn, such as 0,1,2,3.")] = None,
    anomalous: Annotated[str | None, typer.Option(help="Digits to find, such as 7,8,9.")] = None,
    flagged: Annotated[int | None, typer.Option(help="Known anomalies to choose by, from the training part.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training part.")] = None,
    out: Out = Path("runs/sweep"),
    json: Json = False,
) -> None:
    """Try every combination of label smoothing, temperature and score on MNIST, over many seeds at once.

    Options win over the file. NLL and ECE are of held-out normal samples; the gain is over the first row, seed by seed.
    """
    lists: dict[str, tuple[str | None, Callable[[str], Any], str]] = {
        "label_smoothing": (label_smoothing, float, "0,0.1,0.2"),
        "temperature": (temperature, lambda part: part if part == "fit" else float(part), "1,3,fit"),
        "score": (score, str, "msp,max-logit"),
        "normal": (normal, int, "0,1,2,3"),
        "anomalous": (anomalous, int, "7,8,9"),
    }
    single: dict[str, Any] = {"task": task, "seeds": seeds, "flagged": flagged, "epochs": epochs}
    changes = {name: value for name, value in single.items() if value is not None}
    changes |= {name: listed(text, kind, like) for name, (text, kind, like) in lists.items() if text is not None}
    with progress_bars("training", "scoring") as tell:
        from oddkind.sweep import read_grid, run_sweep

        result = run_sweep(out, read_grid(grid, changes), on_progress=tell)
    if json:
        print((out / "results.json").read_text(encoding="utf-8"), end="")
        return
    table = table_of("label\nsmoothing", "T", "score", "AUC (95 %)", "NLL", "ECE", "gain (95 %)")
    for row in result.rows:
        setting, first = row.setting, result.rows[0]
        table.add_row(
            f"{setting.label_smoothing:g}",
            "fit" if setting.temperature == "fit" else f"{setting.temperature:g}",
            setting.score,
            plus_minus(row.auc_mean, row.auc_ci95),
            f"{mean(row.nll):.3f}",
            f"{mean(row.ece):.3f}",
            "" if row is first else plus_minus(*row.gain(first), sign="+"),
        )
    best = max(result.rows, key=lambda row: row.auc_mean)
    names = {
        "nll": "likelihood of held-out normal samples",
        "ece": "their calibration error",
        "flagged_auc": "AUC of the flagged anomalies",
    }
    choices = [
        f"Chosen by {names[measure]}: {row.setting.name} (test AUC {row.auc_mean:.3f})"
        for measure, row in result.chosen_by.items()
    ]
    best_line = f"Best on the test part, which a user does not have: {best.setting.name} ({best.auc_mean:.3f})"
    show(table, *choices, best_line, f"{out} has results.json, heat-map.png and lines.png.")


Data = Annotated[Path, typer.Argument(help="Folder, manifest (a table with a column path) or single file.")]
Model = Annotated[Path, typer.Argument(help="Detector that fit wrote.")]
Strict = Annotated[bool, typer.Option("--strict", help="End at the first file that cannot be read.")]
Rate = Annotated[float | None, typer.Option("--false-alarm-rate", help="Another than the detector was fitted with.")]
Cache = Annotated[Path | None, typer.Option(help="Folder to keep what was read in, for the next command.")]
Kind = Annotated[str | None, typer.Option(help="sounds, pictures or tables; found out if not said.")]
Pattern = Annotated[str | None, typer.Option(help="What file names say, such as {condition}_{label}_{rpm}.wav.")]
Label = Annotated[str | None, typer.Option(help="Field with the kind of normal: machine, load, lighting.")]
Group = Annotated[str | None, typer.Option(help="Field with what must not be torn apart: session, tile.")]
Normal = Annotated[str | None, typer.Option(help="What normal files say, such as condition=Healthy.")]
SampleRate = Annotated[int | None, typer.Option(help="Hz; sounds at another are resampled. Tables: rows a second.")]
Window = Annotated[float | None, typer.Option(help="Seconds (tables without a rate: rows). Sounds: 1.")]
Hop = Annotated[float | None, typer.Option(help="Step between windows; as long as the window if not said.")]
Channels = Annotated[str | None, typer.Option(help="Of a sound, such as 1 or 1,2; their mean if not said.")]
FrontEnd = Annotated[str | None, typer.Option(help="Of a sound: log-mel, spectrum, envelope, or several: a,b.")]
MatchLoudness = Annotated[bool, typer.Option("--match-loudness", help="Make each window of sound equally loud.")]
Size = Annotated[str | None, typer.Option(help="Of a picture in pixels, height,width; 64,64 if not said.")]
Grey = Annotated[bool | None, typer.Option(help="Whether to drop colours; if the first picture has none.")]
Columns = Annotated[str | None, typer.Option(help="Of a table, such as PS1,PS2; all of numbers if not said.")]


@app.command()
def check(
    context: typer.Context,
    data: Data,
    kind: Kind = None,
    pattern: Pattern = None,
    label: Label = None,
    group: Group = None,
    normal: Normal = None,
    sample_rate: SampleRate = None,
    window: Window = None,
    hop: Hop = None,
    channels: Channels = None,
    front_end: FrontEnd = None,
    match_loudness: MatchLoudness = False,
    size: Size = None,
    grey: Grey = None,
    columns: Columns = None,
    cache: Cache = None,
    strict: Strict = False,
    json: Json = False,
) -> None:
    """Read a data set and say what was understood, before anything is learnt."""
    with progress_bars("reading") as tell:
        from oddkind.readers import check_files

        source = source_from(data, context)
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
def fit(
    context: typer.Context,
    data: Data,
    out: Annotated[Path, typer.Option(help="File to write the detector to.")],
    kind: Kind = None,
    pattern: Pattern = None,
    label: Label = None,
    group: Group = None,
    normal: Normal = None,
    sample_rate: SampleRate = None,
    window: Window = None,
    hop: Hop = None,
    channels: Channels = None,
    front_end: FrontEnd = None,
    match_loudness: MatchLoudness = False,
    size: Size = None,
    grey: Grey = None,
    columns: Columns = None,
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
        from oddkind.recordings import fit_files

        source = source_from(data, context)
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
        "held_out": len(set(detector.source_["held_out"]["groups"])),
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
        from oddkind.recordings import read_as_learnt, score_files, write_verdicts

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
        from oddkind.recordings import evaluate as compare
        from oddkind.recordings import promise, read_as_learnt, score_files, to_evaluate

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
        from oddkind.explanations import as_json, as_text, explain_files, write_pictures
        from oddkind.recordings import read_as_learnt

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


def source_from(data: Path, context: typer.Context) -> Source:
    """Read the options that say how a data set is read."""
    from oddkind.readers import Source, source_of

    settings = {name: value for name, value in context.params.items() if name in Source.model_fields}
    lists: dict[str, tuple[Callable[[str], Any], str]] = {
        "channels": (int, "1,2"),
        "front_end": (str, "log-mel,envelope"),
        "size": (int, "64,64"),
        "columns": (str, "PS1,PS2"),
    }
    for name, how in lists.items():
        if settings[name] is not None:
            settings[name] = tuple(listed(settings[name], *how))
    return source_of(data, **settings)


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


def three_digits(value: float | None) -> str:
    """Lay out a number, or nothing."""
    return "" if value is None else f"{value:.3f}"


def print_json(content: dict[str, Any]) -> None:
    """Print a result for scripts."""
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def plus_minus(value: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    """Lay out a mean with the half width of its interval."""
    return f"{value:{sign}.3f}" + ("" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.3f}")


def table_of(*headers: str) -> Table:
    """Start a table that fits in 80 columns."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def show(table: Table, *lines: str) -> None:
    """Print a table and lines below it."""
    from rich.console import Console

    console = Console()
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
