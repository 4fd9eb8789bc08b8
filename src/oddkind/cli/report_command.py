"""`oddkind report`: what a model says of files, as one page."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from oddkind.cli.options import (
    Cache,
    Data,
    Follow,
    Json,
    Label,
    Lang,
    Normal,
    Order,
    OtherModel,
    Pattern,
    Rate,
    SavedModel,
    Strict,
    check_writable,
    opened,
)
from oddkind.cli.terminal import listing, print_json, progress_bars
from oddkind.errors import InputError
from oddkind.language import language_of_locale

app = typer.Typer()

MAX_MOST = 500


@app.command()
def report(
    model: SavedModel,
    data: Data,
    out: Annotated[Path, typer.Option(help="HTML file to write.")],
    most: Annotated[int, typer.Option(help="Number of files to explain; the most anomalous ones are chosen.")] = 50,
    clips: Annotated[
        int, typer.Option(help="Of those, the number of recordings that can be played; each takes up to 40 kB.")
    ] = 50,
    order: Order = "auto",
    learnt_from: Annotated[
        Path | None,
        typer.Option(help="The data that the model learnt from, so that its nearest recordings can be played."),
    ] = None,
    feature_map: Annotated[
        bool | None,
        typer.Option(
            "--map/--no-map",
            help="Draw a map of the features: normal samples arranged by t-SNE, and files among them; by default if "
            "openTSNE is installed. It takes seconds.",
        ),
    ] = None,
    compare: OtherModel = None,
    pattern: Pattern = None,
    label: Label = None,
    normal: Normal = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    lang: Lang = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Write a page about files: a worklist with reasons, alarms at any rate, a timeline, and what is doubtful.

    It is one file that needs neither a server nor a network. Files that the model learnt from are marked and not
    counted.
    """
    if not 1 <= most <= MAX_MOST:
        raise InputError(f"--most {most}; it must be from 1 to {MAX_MOST}")
    if clips < 0:
        raise InputError(f"--clips {clips}; it must be at least 0")
    check_writable(out)
    with (
        progress_bars("scoring", "explaining", "drawing", "comparing", "mapping", "checking") as update,
        tempfile.TemporaryDirectory() as own,
    ):
        from oddkind.files.score import judged, read_as_learnt
        from oddkind.model.bundle import fingerprint_of
        from oddkind.pages.page import write_page
        from oddkind.report.comparison import Other
        from oddkind.report.facts import MAX_CHECKED, gather

        changes = {"pattern": pattern, "label": label, "normal": normal}
        fitted, files, refused, refuse = opened(model, data, false_alarm_rate, strict=strict, follow=follow, **changes)
        other = None
        if compare is not None:
            theirs, listed, *_ = opened(compare, data, fitted.false_alarm_rate, strict=strict, follow=follow, **changes)
            other = Other(theirs, listed, compare.name)
        others = [] if learnt_from is None else read_as_learnt(fitted, learnt_from, follow=follow)[0]
        facts = gather(
            files,
            fitted,
            data=data,
            most=most,
            clips=clips,
            order=order,
            learnt_from=others,
            feature_map=feature_map,
            other=other,
            cache=Path(own) if cache is None and len(files) <= MAX_CHECKED else cache,  # they are read twice
            refused=refused,
            on_refused=refuse,
            on_progress=update,
        )
        facts["model"] |= {"file": model.name, "fingerprint": fingerprint_of(model)}
        if compare is not None:
            facts["compare"]["model"] |= {"file": compare.name, "fingerprint": fingerprint_of(compare)}
        size = write_page("oddkind.report", facts, out, lang or language_of_locale())
    n = len(facts["files"]["names"])
    if json:
        content = {"out": str(out), "bytes": size, "files": n, "explained": len(facts["details"]), "refused": refused}
        print_json(content)
        return
    what = judged(fitted) if n != 1 else judged(fitted).removesuffix("s")
    print(f"{out} shows {n} {what}, {len(facts['details'])} of them explained, in {size / 1e6:.1f} MB.")
    listing(refused)
