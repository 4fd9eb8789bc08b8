"""`oddkind fleet`: a model for each of many machines, in one file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
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
    Label,
    Normal,
    Order,
    Pattern,
    Strict,
    check_writable,
    complain,
    processes,
    reading,
    source_from,
)
from oddkind.cli.terminal import listing, print_json, progress_bars, show, table_of, three_digits
from oddkind.errors import InputError
from oddkind.naming import first_names, on_one_line, printable

if TYPE_CHECKING:
    from oddkind.files.listing import Entry
    from oddkind.fleet.file import Fleet
    from oddkind.fleet.fitting import Summary
    from oddkind.fleet.scoring import State

app = typer.Typer(name="fleet", help="A model for each of many machines, in one file.", no_args_is_help=True)

# At most this many machines are printed; all are in --json and --out.
MOST_SHOWN = 50

SavedFleet = Annotated[Path, typer.Argument(metavar="FLEET", help="A file that 'oddkind fleet fit' wrote.")]
MachineField = Annotated[
    str | None,
    typer.Option(
        "--machine-field",
        help="Field that names the machine: a column of the manifest or a part of --pattern; 'machine' by default, and "
        "if there is none, the first folder on the path to a file.",
    ),
]
Rate = Annotated[
    float | None, typer.Option("--false-alarm-rate", help="Override the false-alarm rate set by 'oddkind fleet fit'.")
]


@app.command()
@reading
def fit(
    data: Data,
    settings: dict[str, Any],
    out: Annotated[Path, typer.Option(help="File to write the fleet to, such as pumps.fleet.")],
    machine_field: MachineField = None,
    machine: Annotated[
        list[str] | None,
        typer.Option(
            help="Fit this machine alone, and add it to the fleet that is there; all others stay as they are. May be "
            "given several times."
        ),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Fit only the machines that the fleet that is there has no model of.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option(
            "--full",
            help="Fit each machine as 'oddkind fit' fits a model. It takes about ten times as long and ten to twenty "
            "times the room of the compact models that are fitted by default to vectors.",
        ),
    ] = False,
    least: Annotated[
        int | None,
        typer.Option(
            help="Machines with fewer samples, or groups of them, borrow: a network learns to tell them from other "
            "machines. By default twice as many as must be held out for the false-alarm rate, 38 for 0.05."
        ),
    ] = None,
    false_alarm_rate: Annotated[
        float | None,
        typer.Option(
            help="The largest fraction of normal files of a machine that may raise an alarm; 0.05 by default."
        ),
    ] = None,
    pool: Annotated[
        str, typer.Option(help="How the scores of windows become that of the file, as in 'oddkind fit'.")
    ] = "auto",
    random_state: Annotated[int | None, typer.Option(help="Seed for all randomness; 0 by default.")] = None,
    jobs: Jobs = None,
    backend: Backend = "loky",
    address: Address = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Learn a model for each machine from its normal files, and write all into one file.

    Machines are named by a field, or each has a folder. With --machine or --new the fleet is updated, with the settings
    that it has.
    """
    check_writable(out)
    update = bool(machine) or new
    if update:
        _refuse_in_update(settings, full=full, false_alarm_rate=false_alarm_rate, random_state=random_state)
    with processes(jobs, backend, address), progress_bars("training") as progress:
        from oddkind.files.source import changed
        from oddkind.fleet.file_machines import file_machines
        from oddkind.fleet.fitting import write_machines
        from oddkind.model.conformal import min_calibration_size

        rate = 0.05 if false_alarm_rate is None else false_alarm_rate
        if update:
            with_fleet = _opened(out)
            known, about = {*with_fleet}, with_fleet.about
            source = changed(settings_of(with_fleet), {"machine": machine_field})
            rate = about["parameters"]["false_alarm_rate"]
        else:
            known, about = set(), {}
            source = changed(source_from(data, settings, follow=follow), {"machine": machine_field})
        files, refused = source.entries(data, follow=follow)
        complain(refused, strict)
        machines, resolved, others = file_machines(
            files, source, min_groups=min_calibration_size(rate), how=pool, cache=cache, strict=strict
        )
        refused |= others
        complain(refused, strict)
        if not update:
            about = {"settings": resolved.model_dump(mode="json")}
        only = _wanted(machine or [], machines, known, out) if update else None
        unfit: dict[str, str] = {}
        if only is not None and not only:
            raise InputError(f"{out}: has a model of each of the {len(machines)} machines in {data}; nothing is new")
        summary = write_machines(
            out,
            machines,
            _detector(about, full=full, false_alarm_rate=rate, random_state=random_state or 0),
            about=about,
            only=only,
            least=least,
            on_refused=None if strict else unfit.__setitem__,
            on_progress=lambda done: progress("training", done),
        )
    _say_fitted(out, summary, refused, update=update, total=len(_opened(out)), json=json)


def _say_fitted(out: Path, summary: Summary, refused: dict[str, str], *, update: bool, total: int, json: bool) -> None:
    size = out.stat().st_size
    if json:
        print_json({"out": str(out), "machines": total, "bytes": size, **vars(summary), "refused_files": refused})
        return
    what = f"{summary.fitted} machine{'s' * (summary.fitted != 1)}"
    done = f"{out}: {what} fitted" + (f", and now holds {total}" if update else "")
    print(f"{done}; {size / max(1, total) / 1000:.0f} kB for each.")
    if summary.borrowed:
        first = next(iter(summary.borrowed))
        print(
            on_one_line(
                f"{len(summary.borrowed)} of them borrow, because they have too little data, such as {first}: "
                f"{summary.borrowed[first]}. Their networks learnt from other machines, too; new data are compared "
                "with their own."
            )
        )
    for name, reason in list(summary.refused.items())[:MOST_SHOWN]:
        print(on_one_line(f"not fitted: {name}: {reason}"), file=sys.stderr)
    if len(summary.refused) > MOST_SHOWN:
        print(f"not fitted: {len(summary.refused) - MOST_SHOWN} more; --json lists them", file=sys.stderr)
    listing(refused)


def _refuse_in_update(settings: dict[str, Any], **others: Any) -> None:
    """Refuse options that an update takes from the fleet."""
    given = [name for name, value in {**settings, **others}.items() if value not in (None, False)]
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')} is that of the fleet; leave it out with --machine and --new, or fit all "
            "machines again"
        )


def _wanted(named: list[str], machines: Mapping[str, object], known: set[str], out: Path) -> list[str]:
    absent = [name for name in named if name not in machines]
    if absent:
        there = first_names([*machines])
        raise InputError(f"--machine {absent[0]!r}: there are no normal files of it; machines are {there}")
    return named or [name for name in machines if name not in known]


def _detector(about: Mapping[str, Any], *, full: bool, false_alarm_rate: float, random_state: int) -> Any:
    """Return the detector of a fleet that is there, or of a new one; None: a compact one, as suits the samples."""
    from oddkind.detector import Detector
    from oddkind.fleet.fitting import compact_detector

    if "parameters" in about:
        return Detector(**about["parameters"])
    given: dict[str, Any] = {"false_alarm_rate": false_alarm_rate, "random_state": random_state}
    return Detector(**given) if full else lambda n_axes: compact_detector(n_axes, **given)


@app.command()
def score(
    fleet: SavedFleet,
    data: Data,
    out: Annotated[
        Path | None, typer.Option(help="CSV or Parquet file to write the table to; by default it is printed.")
    ] = None,
    false_alarm_rate: Rate = None,
    false_discovery_rate: Annotated[
        float | None,
        typer.Option(help="Control the false discovery rate over the machines that alarm (Benjamini–Hochberg)."),
    ] = None,
    order: Order = "auto",
    machine_field: MachineField = None,
    pattern: Pattern = None,
    label: Label = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Say of each machine whether it alarms or drifts, and which machines are new or missing."""
    if out is not None:
        check_writable(out)
        if out.suffix.lower() not in (".csv", ".parquet"):
            raise InputError(f"{out}: results are written as .csv or .parquet")
    with progress_bars("scoring") as progress:
        from oddkind.files.write import write_rows
        from oddkind.fleet.scoring import State, score_fleet_files

        opened, files, refused, refuse = _listed(
            fleet, data, strict=strict, follow=follow, machine=machine_field, pattern=pattern, label=label
        )
        states = score_fleet_files(
            opened,
            files,
            data,
            order=order,
            false_alarm_rate=false_alarm_rate,
            false_discovery_rate=false_discovery_rate,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: progress("scoring", done),
        )
    counts = {name: sum(name in one.state.split(", ") for one in states) for name in _STATES}
    if out is not None:
        rows = [vars(one) | {"machine": printable(one.machine)} for one in states]
        write_rows(rows, [field.name for field in fields(State)], out)
    if json:
        print_json({"counts": counts, "machines": [vars(one) for one in states], "refused": refused})
        return
    lines = ["Machines: " + ", ".join(f"{number} {_STATES[name]}" for name, number in counts.items() if number) + "."]
    scored = [one for one in states if one.items and one.state != "new"]
    if scored and all(one.evidence is None for one in scored):
        lines.append("The order of the files is not known, so drift is not looked for; --order names one.")
    if false_discovery_rate is None and (more := _expected(states, opened, false_alarm_rate)):
        lines.append(more)
    if any(one.borrows_from for one in states):
        lines.append("borrows: its network learnt from so many other machines, too, because it has too little data.")
    if out is not None:
        lines.append(f"{out} contains all {len(states)} machines.")
    _show_states(states, lines)
    listing(refused)


_STATES = {
    "alarm": "with an alarm",
    "drift": "with drift",
    "new": "new (no model)",
    "missing": "missing (no data)",
    "learnt": "without new files (all were learnt from or held out)",
    "unread": "not readable",
    "ok": "as usual",
}


def _show_states(states: Sequence[State], lines: list[str]) -> None:
    ranks = [*_STATES]
    order = sorted(states, key=lambda one: (ranks.index(one.state.split(", ")[0]), one.p_value or 0.0, one.machine))
    table = table_of("machine", "state", "new\nfiles", "alarms", "p-value", "evidence\nof drift", "bor-\nrows")
    for one in order[:MOST_SHOWN]:
        evidence = "" if one.evidence is None else f"{one.evidence:.3g}"
        p = "" if one.p_value is None else f"{one.p_value:.2g}"
        counts = (str(one.items), str(one.alarms)) if one.items else ("", "")
        table.add_row(on_one_line(one.machine), one.state, *counts, p, evidence, str(one.borrows_from or ""))
    if len(order) > MOST_SHOWN:
        lines = [f"{len(order) - MOST_SHOWN} more are in --json and --out.", *lines]
    show(table, *lines)


def _expected(states: Sequence[State], fleet: Fleet, false_alarm_rate: float | None) -> str:
    """Say how many machines would alarm if all were normal, where many are scored."""
    rate = false_alarm_rate or fleet.about["parameters"]["false_alarm_rate"]
    n = sum(one.p_value is not None for one in states)
    if n * rate < 1:
        return ""
    return (
        f"If all {n} were as usual, up to {n * rate:.0f} would alarm (--false-alarm-rate {rate:g}); "
        "--false-discovery-rate limits the share of false ones among those that do."
    )


@app.command()
def evaluate(
    fleet: SavedFleet,
    data: Data,
    machine_field: MachineField = None,
    pattern: Pattern = None,
    label: Label = None,
    normal: Normal = None,
    false_alarm_rate: Rate = None,
    cache: Cache = None,
    strict: Strict = False,
    follow: Follow = False,
    json: Json = False,
) -> None:
    """Compare the scores of each machine with what is known about its files: AUC with intervals, and false alarms.

    Files that were learnt from are not counted.
    """
    with progress_bars("scoring") as progress:
        from oddkind.fleet.scoring import evaluate_fleet

        opened, files, refused, refuse = _listed(
            fleet,
            data,
            strict=strict,
            follow=follow,
            machine=machine_field,
            pattern=pattern,
            label=label,
            normal=normal,
        )
        rows, overall, skipped = evaluate_fleet(
            opened,
            files,
            false_alarm_rate=false_alarm_rate,
            cache=cache,
            on_refused=refuse,
            on_progress=lambda done: progress("scoring", done),
        )
    if json:
        content = {"overall": vars(overall), "machines": [vars(row) for row in rows], "skipped": skipped}
        print_json(content | {"refused": refused})
        return
    table = table_of("machine", "normal", "anomalous", "AUC", "95 %", "false\nalarms", "found", "bor-\nrows")
    worst = sorted(rows, key=lambda row: (row.auc is None, row.auc or 0.0))
    for row in worst[:MOST_SHOWN]:
        rates = map(three_digits, (row.false_alarms, row.found))
        numbers = str(row.n_normal), str(row.n_anomalous), three_digits(row.auc), _between(row.interval)
        table.add_row(on_one_line(row.machine), *numbers, *rates, str(row.borrows_from or ""))
    rates = map(three_digits, (overall.false_alarms, overall.found))
    table.add_row(
        *("mean" if overall.machines else "all", str(overall.n_normal), str(overall.n_anomalous)),
        *(three_digits(overall.auc), _between(overall.interval), *rates, ""),
    )
    lines = []
    if len(rows) > MOST_SHOWN:
        lines.append(f"{len(rows) - MOST_SHOWN} more, with a higher AUC, are listed with --json.")
    lines.append(
        "The intervals are DeLong's, that of the mean a bootstrap over machines. Rates of all are of all files."
    )
    if skipped:
        first = next(iter(skipped))
        lines.append(f"{len(skipped)} machines are not counted, such as {first}: {skipped[first]}.")
    show(table, *lines)
    listing(refused)


def _between(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


# --- what the commands share ---


def _opened(file: Path) -> Fleet:
    from oddkind.fleet.file import Fleet

    return Fleet(file)


def settings_of(fleet: Fleet) -> Any:
    """Return the settings with which the files of a fleet were read."""
    from pydantic import ValidationError

    from oddkind.files.source import Source

    if "settings" not in fleet.about:
        raise InputError(f"{fleet.file}: the fleet learnt from arrays, not files; 'oddkind.score_fleet' scores arrays")
    try:
        return Source.model_validate(fleet.about["settings"])
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise InputError(f"{fleet.file}: the settings of its files cannot be used ({why}); fit it again") from error


def _listed(
    file: Path, data: Path, *, strict: bool, follow: bool, **changes: str | None
) -> tuple[Fleet, dict[str, list[Entry]], dict[str, str], Callable[[str, str], None] | None]:
    """Open a fleet, and list files by machine as those that it learnt from were listed."""
    from oddkind.files.score import read_with
    from oddkind.files.source import changed
    from oddkind.fleet.machines import by_machine

    fleet = _opened(file)
    settings = changed(settings_of(fleet), changes)
    files, refused = read_with(settings, data, follow=follow)
    machines, others = by_machine(files, settings)
    refused |= others
    if not machines:
        name, reason = next(iter(refused.items()))
        raise InputError(f"{data}: there is no file of a machine, such as {name}: {reason}")
    return fleet, machines, refused, complain(refused, strict)
