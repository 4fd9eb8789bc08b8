"""The command line: one short function a command."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddkind import __version__
from oddkind.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from oddkind.evaluation import Result

app = typer.Typer(
    name="oddkind",
    help="Find anomalies by classification: what a network cannot place among the kinds of normal is one.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; bad input ends with one line on standard error and exit code 2."""
    # Ended from outside, a command cleans up as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except InputError as error:
        print(f"oddkind: {error}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Find anomalies by classification: what a network cannot place among the kinds of normal is one."""
    if version:
        print(f"oddkind {__version__}")
        raise typer.Exit


def digits(text: str) -> list[int]:
    """Read "0,1,2,3"."""
    try:
        return [int(digit) for digit in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of digits such as 0,1,2,3") from None


@app.command()
def lab(
    normal: Annotated[str, typer.Option(help="Digits to learn, at least two.")] = "0,1,2,3",
    anomalous: Annotated[str, typer.Option(help="Digits to find, never seen in training.")] = "7,8,9",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training part.")] = 5,
    seeds: Annotated[int, typer.Option(min=1, help="Independent runs of every exercise.")] = 5,
    out: Annotated[Path, typer.Option(help="Folder for report.html, PNGs and results.json.")] = Path("runs/lab"),
    json: Annotated[bool, typer.Option("--json", help="Print results.json instead of the table.")] = False,
) -> None:
    """Run the whole lecture on MNIST: label smoothing, temperature, t-SNE, RotNet."""
    wanted, odd = digits(normal), digits(anomalous)
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    from oddkind.lab import run_lab

    with Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as progress:
        bars = {stage: progress.add_task(stage, total=1.0) for stage in ("training", "scoring", "drawing")}
        result = run_lab(
            out,
            normal=wanted,
            anomalous=odd,
            epochs=epochs,
            seeds=seeds,
            on_progress=lambda stage, done: progress.update(bars[stage], completed=done),
        )
    if json:
        print((out / "results.json").read_text(encoding="utf-8"), end="")
        return
    console = Console()
    console.print(results_table(result))
    console.print(f"{out / 'report.html'} shows it in pictures.", highlight=False, soft_wrap=True)


def results_table(result: Result) -> Table:
    """Lay the lab's rows out: exercise, the lecture's AUC, ours, and whether the lecture's is one of ours."""
    from rich.table import Table

    table = Table("exercise", "lecture", "ours (95 %)", "single runs", "lecture within", title="AUC")
    for row in result.rows:
        lecture, inside, interval = row.setting.lecture_auc, row.lecture_inside, row.auc_ci95
        half = "" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.3f}"
        table.add_row(
            row.setting.name,
            "" if lecture is None else f"{lecture:.3f}",
            f"{row.auc_mean:.3f}{half}",
            f"{min(row.auc):.3f} to {max(row.auc):.3f}",
            "" if inside is None else "yes" if inside else "no",
        )
    return table
