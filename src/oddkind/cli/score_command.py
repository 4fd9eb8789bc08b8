"""`oddkind score`: the score, the p-value and the decision for each file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oddkind.cli.evaluate_command import SMALL_CHANCE
from oddkind.cli.options import Cache, Data, Follow, Label, Pattern, Rate, SavedModel, Strict, check_writable, opened
from oddkind.cli.terminal import listing, need_some, progress_bars
from oddkind.errors import InputError

if TYPE_CHECKING:
    from oddkind.files.evaluate import Promise
    from oddkind.files.listing import Entry
    from oddkind.files.shards import Scored, Shard
    from oddkind.model.model import CrossModel, Model

app = typer.Typer()


@app.command()
def score(
    model: SavedModel,
    data: Data,
    out: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet file to write, or a folder (a name without a suffix) of Parquet parts, from which an "
            "interrupted run resumes. By default the scores are printed."
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Score only a shard of the files, such as 3/64, the third of 64; their names divide them."),
    ] = None,
    false_alarm_rate: Rate = None,
    false_discovery_rate: Annotated[
        float | None,
        typer.Option(help="Control the false discovery rate over all files (Benjamini–Hochberg)."),
    ] = None,
    pattern: Pattern = None,
    label: Label = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
) -> None:
    """Score files. The result has the path, the label, the anomaly score, the p-value and the decision for each."""
    if out is not None:
        check_writable(out)
    in_parts = out is not None and (out.is_dir() or not out.suffix)
    if false_discovery_rate is not None and (in_parts or shard is not None):
        raise InputError(
            "--false-discovery-rate needs the p-values of all files; pass those of all parts to oddkind.discoveries"
        )
    with progress_bars("scoring") as update:
        from oddkind.files.evaluate import alarm_excess
        from oddkind.files.score import judged, learnt_before, promise_problem, score_files
        from oddkind.files.shards import Shard
        from oddkind.files.write import write_verdicts

        of = None if shard is None else Shard.parse(shard)
        fitted, files, refused, refuse = opened(
            model, data, false_alarm_rate, strict=strict, follow=follow, pattern=pattern, label=label, only=of
        )
        if out is not None and in_parts:
            changes = {"pattern": pattern, "label": label}
            found = score_parts(out, files, fitted, model, changes, shard=of, cache=cache, strict=strict, update=update)
            print(parts_told(out, found, fitted, shard, as_json=json))
            listing({} if json else refused | found.refused)
            return
        verdicts = score_files(
            files,
            fitted,
            false_discovery_rate=false_discovery_rate,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: update("scoring", done),
        )
        need_some(verdicts, refused)
        again = learnt_before(files, fitted)
    promised = false_discovery_rate is not None or promise_problem(fitted) is None
    write_verdicts(verdicts, out, as_json=json, promised=promised)
    if out is not None:
        odd = sum(verdict.anomalous for verdict in verdicts)
        rate = f"a false-alarm rate of {fitted.false_alarm_rate:g}"
        if false_discovery_rate is not None:
            rate = f"a false discovery rate of {false_discovery_rate:g}"
        print(f"{out} contains {len(verdicts)} {judged(fitted)}, of which {odd} are anomalous at {rate}.")
    if again:
        print(learnt_line(len(again), len(verdicts), judged(fitted)), file=sys.stderr)
    if (excess := alarm_excess(files, verdicts, fitted)) is not None and excess.chance < SMALL_CHANCE:
        print(excess_line(excess), file=sys.stderr)
    listing(refused)


def score_parts(
    out: Path,
    files: list[Entry],
    fitted: Model | CrossModel,
    model: Path,
    changes: dict[str, str | None],
    *,
    shard: Shard | None,
    cache: Path | None,
    strict: bool,
    update: Callable[[str, float], None],
) -> Scored:
    """Score files into the parts of a folder; each part notes the model and the options that verdicts depend on."""
    from oddkind.files.shards import score_into
    from oddkind.model.bundle import fingerprint_of

    made_with = {"model": fingerprint_of(model), "false_alarm_rate": fitted.false_alarm_rate, **changes}
    return score_into(
        out,
        files,
        fitted,
        made_with=made_with,
        shard=shard,
        cache=cache,
        strict=strict,
        on_progress=lambda done: update("scoring", done),
    )


def parts_told(out: Path, found: Scored, fitted: Model | CrossModel, shard: str | None, *, as_json: bool) -> str:
    """Describe what was written into a folder of parts."""
    import json

    from oddkind.files.score import judged, promise_problem

    if as_json:
        facts: dict[str, Any] = {"shard": shard, "scored": found.n_scored, "anomalous": found.n_anomalous}
        facts |= {"scored_before": found.n_before, "parts": found.parts, "refused": found.refused}
        return json.dumps(facts | {"promised": promise_problem(fitted) is None}, ensure_ascii=False)
    of = "" if shard is None else f" of shard {shard}"
    before = f"; {found.n_before} had been scored before" if found.n_before else ""
    return (
        f"{out} has {found.n_scored} more {judged(fitted)}{of}, of which {found.n_anomalous} are anomalous at a "
        f"false-alarm rate of {fitted.false_alarm_rate:g}{before}."
    )


def learnt_line(n: int, of: int, what: str) -> str:
    """Explain that files were scored that the model was fitted to."""
    return (
        f"{n} of {of} {what} are among those that the model was fitted to; their scores, p-values and decisions say "
        "nothing about new ones. 'oddkind evaluate' leaves them out."
    )


def excess_line(excess: Promise) -> str:
    """Explain that files raise far more alarms than normal ones would, without calling them normal."""
    return (
        f"{excess.n_alarms} of {excess.n_normal} {excess.unit} raise an alarm; the promised rate of false alarms is "
        f"{excess.rate:g}. If all of them were normal and like those held out, the chance of this many or more would "
        f"be {excess.chance:.2g}. So either some of them are anomalous, or something has drifted or is new, and the "
        "rate does not hold for these files. If you know which ones are normal, 'oddkind evaluate' decides between "
        "the two: name them with --normal."
    )
