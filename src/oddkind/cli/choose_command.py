"""`oddkind choose`: which settings find hidden kinds of normal best."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind.cli.options import (
    Address,
    Backend,
    Cache,
    Data,
    Follow,
    Jobs,
    Json,
    Strict,
    complain,
    processes,
    reading,
    source_from,
)
from oddkind.cli.terminal import listed, listing, plus_minus, print_json, progress_bars, show, table_of

if TYPE_CHECKING:
    from oddkind.study.evaluation import Configuration
    from oddkind.study.selection import LeaveOneOutResult

app = typer.Typer()

MOST_RANKED = 10  # settings that are printed


@app.command()
@reading
def choose(
    data: Data,
    settings: dict[str, Any],
    score: Annotated[
        str, typer.Option(help="Scores to choose from.")
    ] = "msp,max-logit,energy,cosine-neighbours,mahalanobis,joint-neighbours",
    label_smoothing: Annotated[str, typer.Option(help="Levels to choose from.")] = "0,0.1",
    task: Annotated[str, typer.Option(help="Tasks to choose from: labels, labels+rotations, auto, …")] = "labels,auto",
    seeds: Annotated[int, typer.Option(help="Runs of every combination.")] = 3,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    jobs: Jobs = None,
    backend: Backend = "loky",
    address: Address = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder from which an interrupted run resumes; it may be deleted afterwards.")
    ] = None,
    json: Json = False,
) -> None:
    """Choose settings without anomalies: hide one label after another, and rank the settings by how well they find it.

    This takes at least three labels. A hidden kind of normal is not a fault: the documentation of the benchmarks shows
    how far the ranking agrees with that for real anomalies.
    """
    with processes(jobs, backend, address), progress_bars("reading", "training") as update:
        from oddkind.detector import Detector
        from oddkind.file_fitting import learnable
        from oddkind.files.reading import read
        from oddkind.front_end_choice import PICTURE
        from oddkind.model.scores import resolve_score
        from oddkind.study.evaluation import Configuration
        from oddkind.study.selection import leave_one_label_out
        from oddkind.train.transforms import show_surfaces

        source = source_from(data, settings, follow=follow)
        files, refused = source.entries(data, follow=follow)
        refuse = complain(refused, strict)
        tasks, levels, scores = (
            listed(task, str, "labels,auto"),
            listed(label_smoothing, float, "0,0.1"),
            listed(score, str, "msp,energy"),
        )
        entries, source = learnable(files, source, on_refused=refuse)
        samples = read(
            entries,
            source,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: update("reading", done),
        )
        network, shape = "spectrogram" if source.front_end == PICTURE else "auto", samples.inputs.shape[1:]
        usual = Detector(network=network)
        suited = "unet" if network == "auto" and show_surfaces(samples.inputs) else network
        usual_score, _ = resolve_score(usual.score_function, shape, with_labels=True, network=suited)
        default = Configuration("", usual.task, usual.label_smoothing, score=str(usual_score))
        choices = [Configuration("", task, level, score=score) for task, level, score in product(tasks, levels, scores)]
        choices = list(dict.fromkeys([*choices, default]))
        # No rate is promised here. A fifth is held out, to compare the hidden label with.
        like = usual.set_params(calibration_fraction=0.2, false_alarm_rate=0.5)
        found = leave_one_label_out(
            samples,
            choices,
            seeds=range(seeds),
            like=like,
            checkpoints=checkpoints,
            on_progress=lambda done: update("training", done),
        )
    print_choice(found, default, front_end=source.front_end if source.kind == "sounds" else None, json=json)
    listing(refused)


def print_choice(
    found: LeaveOneOutResult, default: Configuration, *, front_end: tuple[str, ...] | None = None, json: bool
) -> None:
    """Print the ranking of settings, and last which of them to use and why; `front_end` that of sounds."""
    ranked, verdict = found.ranked, found.verdict(default)
    use = {name: getattr(verdict.setting, name) for name in ("task", "label_smoothing", "score")}
    if json:
        rows = [
            {name: getattr(setting, name) for name in use}
            | {"auc_mean": value, "auc_ci95": interval, "default": setting == default}
            for setting, value, interval in ranked
        ]
        facts = {name: getattr(verdict, name) for name in ("better_than_chance", "better_than_default", "reason")}
        content = {"labels": found.labels.tolist(), "rows": rows, "label_smoothing": found.of_smoothing()}
        print_json(content | {"verdict": {"use": use} | facts})
        return
    table = table_of("task", "label\nsmoothing", "score", "AUC of hidden labels (95 %)", "")
    for place, (setting, value, interval) in enumerate(ranked):
        if place < MOST_RANKED or setting in (default, verdict.setting):
            mark = "default" if setting == default else ""
            table.add_row(
                setting.task, f"{setting.label_smoothing:g}", setting.score, plus_minus(value, interval), mark
            )
    more = f"The best {MOST_RANKED} of {len(ranked)} settings are listed, and all with --json."
    smoothing = found.of_smoothing()
    sure = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in smoothing if "more than noise" in sentence]
    if smoothing and not sure:
        sure = ["No effect of label smoothing is more than noise."]
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in use.items())
    options += f" --front-end {','.join(front_end)}" if front_end else ""  # 'fit' might choose another
    command = [] if verdict.setting == default else [f"oddkind fit {options} trains with these settings."]
    labels = f"These labels were hidden one after another: {', '.join(map(str, found.labels))}."
    show(table, *([more] if len(ranked) > MOST_RANKED else []), labels, *sure, verdict.reason, *command)
