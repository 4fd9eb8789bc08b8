"""`oddkind explain`: why files raise an alarm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oddkind.cli.options import Cache, Data, Follow, Json, Label, Pattern, Rate, SavedModel, Strict, opened
from oddkind.cli.terminal import listing, need_some, print_json, progress_bars

app = typer.Typer()


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
        need_some(found, refused)
        if out is not None:
            write_pictures(found, fitted, out)
    if json:
        promised = promise_problem(fitted) is None
        print_json({"files": [as_json(of) for of in found], "refused": refused, "promised": promised})
        return
    print(*map(as_text, found), sep="\n\n")
    if len(files) > len(found):
        which = "This is the" if len(found) == 1 else f"These are the {len(found)}"
        print(f"\n{which} most anomalous of {len(files)} {judged(fitted)}; --most changes the number.")
    if out is not None:
        print(f"\n{out} contains a picture of each file explained.")
    listing(refused)
