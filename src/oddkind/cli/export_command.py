"""`oddkind export`: a model that runs without torch."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated

import typer

from oddkind.cli.file_commands import check_writable
from oddkind.cli.options import Json, SavedModel
from oddkind.cli.terminal import print_json, progress_bars
from oddkind.errors import InputError, PromiseWarning

app = typer.Typer()


@app.command()
def export(
    model: SavedModel,
    onnx: Annotated[bool, typer.Option("--onnx", help="Add the networks as ONNX graphs.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write; by default MODEL is replaced.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Files on which both must decide alike too; nothing is learnt from them.")
    ] = None,
    json: Json = False,
) -> None:
    """Add to a model what runs it without torch, and make sure that it decides the same.

    The decisions on the held-out samples that the model keeps are compared. If one differs, nothing is written.
    """
    if not onnx:
        raise InputError("name a format: --onnx")
    out = model if out is None else out
    check_writable(out)
    with progress_bars("exporting", "comparing") as update:
        from oddkind.files.score import read_as_learnt, score_files
        from oddkind.loading import load
        from oddkind.model.bundle import save
        from oddkind.train.onnx_export import checked_graphs

        fitted = load(model, runtime="torch")
        with_graphs, found = checked_graphs(fitted)
        update("exporting", 1.0)
        n_files = 0
        if data is not None:
            files, _ = read_as_learnt(fitted, data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PromiseWarning)
                verdicts, others = (
                    score_files(
                        files, one, on_refused=lambda *_: None, on_progress=lambda done: update("comparing", done)
                    )
                    for one in (fitted, with_graphs)
                )
            n_files = len(verdicts)
            for one, other in zip(verdicts, others, strict=True):
                if one.anomalous != other.anomalous:
                    raise InputError(
                        f"{one.path}: p-value {one.p_value:.6g} with torch and {other.p_value:.6g} with ONNX, so the "
                        "decisions differ; nothing was written"
                    )
        save(with_graphs, out)
    if json:
        print_json({"out": str(out), "files": n_files, **vars(found)})
        return
    files_too = f" and {n_files} files" if data is not None else ""
    print(f"{out} contains ONNX graphs, and scoring with it needs no torch.")
    print(
        f"Compared on {found.n_samples} held-out samples{files_too}: no decision differs. The largest difference of "
        f"p-values is {found.p_value:.2g}, that of scores {found.score:.1g} of their standard deviation."
    )
