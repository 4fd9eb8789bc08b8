"""The output of commands (progress bars, tables, JSON), and the reading of lists such as 0,1,2."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from oddkind.errors import EXTRAS, InputError
from oddkind.naming import on_one_line

if TYPE_CHECKING:
    from rich.table import Table

MOST_NAMED = 10  # files left out for one reason that are named


def listed(text: str, kind: Callable[[str], Any], example: str) -> list[Any]:
    """Read a list such as "0,1,2,3"; `kind` converts each item."""
    try:
        return [kind(item.strip()) for item in text.split(",")]
    except ValueError:
        raise InputError(f"{text!r} is not a list such as {example}") from None


def missing(package: str, extra: str) -> str:
    """Say that a package is not installed, and which extra of oddkind brings it."""
    return f"this needs {package}, which is not installed: pip install 'oddkind[{extra}]'"


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Name an extra that brings all that a command needs, instead of one for each package that is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        raise InputError(missing(error.name, extra)) from error


@contextmanager
def progress_bars(*stages: str) -> Iterator[Callable[[str, float], None]]:
    """Show a progress bar for each stage on standard error, if it is a terminal.

    Yields a function (stage, finished fraction) to update it.
    """
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    columns = [*Progress.get_default_columns(), TimeElapsedColumn()]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bars = {stage: progress.add_task(stage, total=1.0) for stage in stages}
        shown = dict.fromkeys(stages, 0.0)

        def update(stage: str, done: float) -> None:
            if done - shown[stage] >= 0.002 or done == 1:  # drawing a bar costs more than a training step
                shown[stage] = done
                progress.update(bars[stage], completed=done)

        yield update


def complain_of(error: Exception) -> None:
    """Print an error as one line on standard error."""
    print(on_one_line(f"oddkind: {error}"), file=sys.stderr)


def three_digits(value: float | None) -> str:
    """Format a number with three digits; None becomes an empty text."""
    return "" if value is None else f"{value:.3f}"


def print_json(content: dict[str, Any]) -> None:
    """Print a result as JSON, for scripts."""
    import json

    print(json.dumps(content, indent=2, ensure_ascii=False))


def plus_minus(value: float, interval: tuple[float, float] | None, sign: str = "") -> str:
    """Format a mean with half the width of its interval."""
    return f"{value:{sign}.3f}" + ("" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.3f}")


def table_of(*headers: str) -> Table:
    """Return an empty table that fits in 80 columns."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    for header in headers:
        table.add_column(header, no_wrap=True)
    return table


def show(table: Table, *lines: str) -> None:
    """Print a table, and lines below it."""
    from rich.console import Console

    console = Console(markup=False, emoji=False)  # names of files and labels are printed as they are
    console.print(table)
    for line in lines:
        console.print(on_one_line(line), highlight=False, soft_wrap=True)


def columns_left_out(columns: dict[str, str]) -> list[str]:
    """Name the columns of tables that are not read, and why."""
    lines = [on_one_line(f"column left out: {name}: {reason}") for name, reason in columns.items()]
    return [*lines, "--columns names the columns to read instead."] if lines else []


def need_some(found: Sequence[object], refused: dict[str, str]) -> None:
    """Refuse to go on if no file could be judged."""
    from oddkind.files.listing import grouped

    if refused and not found:
        raise InputError(f"no file can be judged; {grouped(refused)}")


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
