"""What commands print and how: progress bars, tables, JSON; and lists such as 0,1,2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from oddkind.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


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
