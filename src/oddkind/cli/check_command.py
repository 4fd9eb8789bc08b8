"""`oddkind check`: what a data set contains, and what is doubtful."""

from __future__ import annotations

from typing import Any

import typer

from oddkind.cli.options import Cache, Data, Follow, Json, Strict, complain, reading, source_from
from oddkind.cli.terminal import columns_left_out, listing, print_json, progress_bars, show, table_of
from oddkind.naming import on_one_line

app = typer.Typer()

MOST_TAKEN = 30  # rows of what was taken for what that are printed


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


def _in_words(value: Any) -> str:
    """Format a setting; a list without brackets."""
    if isinstance(value, list):
        return ", ".join(map(_in_words, value))
    return f"{value:.12g}" if isinstance(value, float) else {"\t": "tab"}.get(value, str(value))
