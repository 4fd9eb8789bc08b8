"""`oddkind fit`: from normal files to a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from oddkind.cli.options import (
    Cache,
    Data,
    Follow,
    Json,
    Strict,
    check_writable,
    complain,
    folds_from,
    reading,
    source_from,
)
from oddkind.cli.terminal import columns_left_out, listing, print_json, progress_bars
from oddkind.naming import on_one_line

app = typer.Typer()


@app.command()
@reading
def fit(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File to write the model to.")],
    false_alarm_rate: Annotated[
        float, typer.Option(help="The largest fraction of normal files that may raise an alarm.")
    ] = 0.05,
    per_label: Annotated[bool, typer.Option("--per-label", help="Promise that rate within each label.")] = False,
    cross: Annotated[
        str,
        typer.Option(
            help="For few files: the number of folds, such as 5. One model is trained without each fold. 'auto' uses 5 "
            "folds if there are too few files to hold some out, 'none' never uses folds."
        ),
    ] = "auto",
    pool: Annotated[
        str,
        typer.Option(
            help="How the scores of windows become that of the file: fisher (the mean of −log p of the windows, for "
            "faults in few windows as well as in all), mean, max or a quantile such as 0.9. 'auto': fisher, or mean if "
            "few files are held out."
        ),
    ] = "auto",
    task: Annotated[
        str, typer.Option(help="auto, labels, rotations, defects (small marks on surfaces), labels+rotations, …")
    ] = "auto",
    score: Annotated[str, typer.Option(help="auto, or the name of a score.")] = "auto",
    label_smoothing: Annotated[
        float, typer.Option(help="Fraction of each target that is spread over all classes in training.")
    ] = 0.1,
    members: Annotated[
        str, typer.Option(help="Number of networks that score together. 'auto': 5 for spectrograms, otherwise 1.")
    ] = "auto",
    random_state: Annotated[int, typer.Option(help="Seed for all randomness.")] = 0,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Learn from the normal files of a data set. Anomalous files and those of the test split are left out."""
    folds = folds_from(cross)
    check_writable(out)
    with progress_bars("reading", "training") as update:
        from oddkind.detector import Detector
        from oddkind.file_fitting import fit_files
        from oddkind.files.score import judged, n_calibration_files, promise_problem
        from oddkind.model.saving import save

        source = source_from(data, settings, follow=follow)
        files, refused = source.entries(data, follow=follow)
        refuse = complain(refused, strict)
        detector = Detector(
            task=task,
            score_function=score,
            label_smoothing=label_smoothing,
            n_members=int(members) if members.isdecimal() else members,
            false_alarm_rate=false_alarm_rate,
            per_label=per_label,
            random_state=random_state,
        )
        model = fit_files(
            files, source, detector, folds=folds, how=pool, cache=cache, on_refused=refuse, on_progress=update
        )
        save(model, out)
    facts: dict[str, Any] = {
        "learnt": len((model.source or {})["learnt"]),
        "held_out": n_calibration_files(model),
        "folds": len(model.folds),
        "promised": promise_problem(model) is None,
        "block": (model.source or {})["settings"].get("block"),
        "labels": [] if model.task.labels is None else [str(label) for label in model.task.labels],
        "front_end": (model.source or {})["settings"].get("front_end") or [],
        "front_end_reason": (model.source or {})["front_end_reason"],
        **model.folds[0].describe(),
        "pool": (model.source or {})["pool"],
        "accuracy": sum(fold.report.accuracy for fold in model.folds) / len(model.folds),
        "left_out": (model.source or {})["settings"].get("left_out") or {},
        "refused": refused,
    }
    if json:
        print_json(facts)
        return
    what, named = judged(model), settings["front_end"] is not None
    if facts["folds"] > 1:
        why = f"There are too few {what} to hold some out, so " if folds == "auto" else ""
        models = f"{facts['folds']} models were trained, each without one fold of the {what}"
        print(f"{out} was fitted to {facts['learnt']} {what}. {why}{models}.")
        print(f"A new {what.removesuffix('s')} is compared with all {facts['held_out']} {what} or groups.")
    else:
        held_out = f"{facts['held_out']} {what} or groups were held out"
        print(f"{out} was fitted to {facts['learnt']} {what}, of which {held_out}.")
    if facts["front_end"]:
        reason = facts["front_end_reason"] + (" with --front-end" if named else "; --front-end names another")
        print(f"Front end: {', '.join(facts['front_end'])}, {reason}.")
    print(f"Task: {facts['task']}. Scored by {facts['score']}.")
    if facts["pool"] != "mean":
        print(f"The score of a file is pooled from its windows: {facts['pool']} (--pool).")
    labels = on_one_line(", ".join(facts["labels"])) or "none"
    print(f"Labels: {labels}. Accuracy on held-out views: {facts['accuracy']:.3f}.")
    print(*columns_left_out(facts["left_out"]), sep="\n", end="\n" if facts["left_out"] else "")
    listing(refused)
