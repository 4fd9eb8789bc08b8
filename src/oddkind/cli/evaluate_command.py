"""`oddkind evaluate`: how well the scores agree with what is known about files."""

from __future__ import annotations

from statistics import harmonic_mean
from typing import TYPE_CHECKING

import typer

from oddkind.cli.options import Cache, Data, Follow, Json, Label, Normal, Pattern, Rate, SavedModel, Strict, opened
from oddkind.cli.terminal import listing, need_some, print_json, progress_bars, show, table_of, three_digits
from oddkind.naming import on_one_line

if TYPE_CHECKING:
    from oddkind.files.evaluate import Promise

app = typer.Typer()

SMALL_CHANCE = 0.01  # below it, a number of alarms is no accident


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
        need_some(verdicts, refused)
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


def harmonic(values: list[float | None]) -> float | None:
    """Return the harmonic mean of the values that are not None, by which DCASE task 2 ranks."""
    there = [value for value in values if value is not None]
    return harmonic_mean(there) if there else None
