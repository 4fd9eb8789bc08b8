"""`oddkind export`: a model that runs without torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from oddkind.cli.options import Json, SavedModel, check_writable
from oddkind.cli.terminal import listing, print_json, progress_bars
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.remote import RemotePath

if TYPE_CHECKING:
    from oddkind.model.model import CrossModel, Model

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
    if out is None and isinstance(model, RemotePath):
        raise InputError(f"{model}: cannot be replaced where it is; name a file with --out")
    out = model if out is None else out
    check_writable(out)
    with progress_bars("exporting", *([] if data is None else ["comparing"])) as update:
        from oddkind.loading import load
        from oddkind.model.saving import save
        from oddkind.train.onnx_export import checked_graphs

        fitted = load(model, runtime="torch")
        with_graphs, found = checked_graphs(fitted)
        update("exporting", 1.0)
        refused: dict[str, str] = {}
        n_files = 0 if data is None else compare_on_files(fitted, with_graphs, data, refused, update)
        save(with_graphs, out)
    if json:
        print_json({"out": str(out), "files": n_files, "refused": refused, **vars(found)})
        return
    files_too = "" if data is None else " and 1 file" if n_files == 1 else f" and {n_files} files"
    print(f"{out} contains ONNX graphs, and scoring with it needs no torch.")
    print(
        f"Compared on {found.n_samples} held-out samples{files_too}: no decision differs. The largest difference of "
        f"p-values is {found.p_value:.2g}, that of scores {found.score:.1g} of their standard deviation."
    )
    listing(refused)


def compare_on_files(
    fitted: Model | CrossModel,
    with_graphs: Model | CrossModel,
    data: Path,
    refused: dict[str, str],
    update: Callable[[str, float], None],
) -> int:
    """Compare the decisions of two models on files; return the number of files, or of blocks if files are cut.

    Files that cannot be read are added to `refused`.

    Raises
    ------
    InputError
        If a decision differs, or no file can be read.
    """
    from oddkind.files.score import read_as_learnt, score_files

    files, not_listed = read_as_learnt(fitted, data)
    refused |= not_listed
    verdicts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)
        for number, one in enumerate((fitted, with_graphs)):

            def progress(done: float, before: int = number) -> None:
                update("comparing", (before + done) / 2)

            verdicts.append(score_files(files, one, on_refused=refused.__setitem__, on_progress=progress))
    if not verdicts[0]:
        raise InputError(f"{data}: none of its files can be read, so there is nothing to compare; nothing was written")
    for with_torch, with_onnx in zip(*verdicts, strict=True):
        if with_torch.anomalous != with_onnx.anomalous:
            raise InputError(
                f"{with_torch.path}: p-value {with_torch.p_value:.6g} with torch and {with_onnx.p_value:.6g} with "
                "ONNX, so the decisions differ; nothing was written"
            )
    return len(verdicts[0])
