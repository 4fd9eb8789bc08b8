"""The command line: what all commands share, and those of the lecture; the others have modules of their own."""

from __future__ import annotations

import inspect
import io
import re
import signal
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version as installed_version
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer

from oddkind.cli import (
    check_command,
    choose_command,
    evaluate_command,
    explain_command,
    export_command,
    fit_command,
    fleet_command,
    report_command,
    score_command,
    serve_command,
    watch_command,
)
from oddkind.cli.options import Address, Backend, Jobs, Lang, processes
from oddkind.cli.terminal import complain_of, listed, missing, needs_extra, plus_minus, progress_bars, show, table_of
from oddkind.errors import EXTRAS, InputError
from oddkind.language import language_of_locale
from oddkind.naming import on_one_line

app = typer.Typer(
    name="oddkind",
    help="Find anomalies by classification: what a network cannot place among the kinds of normal is an anomaly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line.

    A warning is one line on standard error. Bad input ends the command with one line on standard error and exit code 2.
    """
    # A command that is terminated cleans up, as it does after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are not UTF-8
    try:
        with warnings.catch_warnings():
            warnings.showwarning = print_warning
            # A picture of this size is refused, with a line of its own.
            warnings.filterwarnings("ignore", r"Image size \(\d+ pixels\) exceeds limit")
            app()
    except InputError as error:
        complain_of(error)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        print(f"oddkind: {missing(error.name, EXTRAS[error.name])}", file=sys.stderr)
        sys.exit(2)


def print_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """Print a warning without the line of code that gave it."""
    print(on_one_line(f"oddkind: {message}"), file=sys.stderr)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Find anomalies by classification: what a network cannot place among the kinds of normal is an anomaly."""
    if version:
        print(f"oddkind {installed_version('oddkind')}")
        raise typer.Exit


Out = Annotated[Path, typer.Option(help="Folder for the results; an interrupted run resumes from it.")]
Json = Annotated[bool, typer.Option("--json", help="Print results.json instead of the table.")]


@app.command()
def lab(
    normal: Annotated[str, typer.Option(help="Digits to learn from, at least two.")] = "0,1,2,3",
    anomalous: Annotated[str, typer.Option(help="Digits to find. They are not in the training data.")] = "7,8,9",
    epochs: Annotated[int, typer.Option(help="Passes over the training data.")] = 5,
    seeds: Annotated[int, typer.Option(help="Independent runs of every exercise.")] = 5,
    out: Out = Path("runs/lab"),
    jobs: Jobs = None,
    backend: Backend = "loky",
    address: Address = None,
    lang: Lang = None,
    json: Json = False,
) -> None:
    """Run all exercises of the lecture on MNIST: label smoothing, temperature, t-SNE, RotNet; see report.html."""
    digits = {"normal": listed(normal, int, "0,1,2,3"), "anomalous": listed(anomalous, int, "7,8,9")}
    bars = progress_bars("training", "scoring", "drawing")
    with processes(jobs, backend, address), bars as update, needs_extra("lab"):
        from oddkind.lab.exercises import run_lab

        language = lang or language_of_locale()
        result = run_lab(out, **digits, epochs=epochs, seeds=seeds, language=language, on_progress=update)
    if json:
        print((out / "results.json").read_text(encoding="utf-8"), end="")
        return
    table = table_of("exercise", "lecture\nAUC", "our AUC (95 %)", "single runs", "lecture\ninside")
    for row in result.rows:
        lecture, inside = row.setting.lecture_auc, row.lecture_inside
        table.add_row(
            row.setting.name,
            "" if lecture is None else f"{lecture:.3f}",
            plus_minus(row.auc_mean, row.auc_ci95),
            f"{min(row.auc):.3f} to {max(row.auc):.3f}",
            "" if inside is None else "yes" if inside else "no",
        )
    show(table, f"{out / 'report.html'} explains the results; it opens in any browser, without a network.")


@app.command()
def sweep(
    grid: Annotated[Path | None, typer.Argument(help="TOML file with the options below as keys.")] = None,
    task: Annotated[str | None, typer.Option(help="labels, rotations or labels+rotations.")] = None,
    label_smoothing: Annotated[str | None, typer.Option(help="Levels of label smoothing, such as 0,0.1,0.2.")] = None,
    temperature: Annotated[str | None, typer.Option(help="Temperatures, such as 1,3,fit.")] = None,
    score: Annotated[str | None, typer.Option(help="Scores, such as msp,max-logit.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Independent runs of every combination.")] = None,
    normal: Annotated[str | None, typer.Option(help="Digits to learn from, such as 0,1,2,3.")] = None,
    anomalous: Annotated[str | None, typer.Option(help="Digits to find, such as 7,8,9.")] = None,
    flagged: Annotated[int | None, typer.Option(help="Known anomalies from the training data, to choose by.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training data.")] = None,
    out: Out = Path("runs/sweep"),
    jobs: Jobs = None,
    backend: Backend = "loky",
    address: Address = None,
    json: Json = False,
) -> None:
    """Try every combination of label smoothing, temperature and score on MNIST, over many seeds at once.

    Options override the file. NLL and ECE are computed on held-out normal samples; the gain is the difference to the
    first row, seed by seed.
    """
    lists: dict[str, tuple[str | None, Callable[[str], Any], str]] = {
        "label_smoothing": (label_smoothing, float, "0,0.1,0.2"),
        "temperature": (temperature, lambda value: value if value == "fit" else float(value), "1,3,fit"),
        "score": (score, str, "msp,max-logit"),
        "normal": (normal, int, "0,1,2,3"),
        "anomalous": (anomalous, int, "7,8,9"),
    }
    single: dict[str, Any] = {"task": task, "seeds": seeds, "flagged": flagged, "epochs": epochs}
    changes = {name: value for name, value in single.items() if value is not None}
    changes |= {name: listed(text, kind, like) for name, (text, kind, like) in lists.items() if text is not None}
    with processes(jobs, backend, address), progress_bars("training", "scoring") as update, needs_extra("lab"):
        from oddkind.lab.sweep import read_grid, run_sweep

        result = run_sweep(out, read_grid(grid, changes), on_progress=update)
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
        "nll": "the likelihood of held-out normal samples",
        "ece": "the calibration error on them",
        "flagged_auc": "the AUC of the flagged anomalies",
    }
    choices = [
        f"Chosen by {names[measure]}: {row.setting.name} (test AUC {row.auc_mean:.3f})."
        for measure, row in result.chosen_by.items()
    ]
    best_line = (
        f"Best on the test data, which a user does not have: {best.setting.name} (test AUC {best.auc_mean:.3f})."
    )
    show(table, *choices, best_line, f"{out} contains results.json, heat-map.png and lines.png.")


app.add_typer(check_command.app)
app.add_typer(fit_command.app)
app.add_typer(score_command.app)
app.add_typer(evaluate_command.app)
app.add_typer(explain_command.app)
app.add_typer(choose_command.app)
app.add_typer(report_command.app)
app.add_typer(export_command.app)
app.add_typer(watch_command.app)
app.add_typer(serve_command.app)
app.add_typer(fleet_command.app)

# Typer would break the lines of a later paragraph of a help text where the docstring breaks them.
for part in (app, *(group.typer_instance for group in app.registered_groups)):
    for command in part.registered_commands if part else ():
        text = inspect.cleandoc((command.callback and command.callback.__doc__) or "")
        command.help = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
