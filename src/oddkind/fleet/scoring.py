"""What a fleet says of new data: which machines alarm, which drift, which are new and which are missing."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.evaluate import alarm_excess, evaluate_files, to_evaluate
from oddkind.files.listing import Entry
from oddkind.files.score import held_out_files, learnt_by, promise_problem, score_files
from oddkind.fleet.file import Facts, Fleet
from oddkind.fleet.machines import without_labels
from oddkind.metrics import auc
from oddkind.model.conformal import alarms, discoveries, false_alarm_test
from oddkind.model.martingale import DRIFT, ConformalMartingale
from oddkind.model.model import FittedModel
from oddkind.report.timeline import Order, evidence_along, order_of
from oddkind.samples import Samples


@dataclass(frozen=True)
class State:
    """What is said of a machine; None: it is not known.

    Attributes
    ----------
    machine : str
    state : str
        "alarm": its alarms are more than its false-alarm rate explains; "drift": there is evidence that its scores have
        drifted; "alarm, drift"; "ok"; "new": it has data and no model; "missing": it has a model and no data;
        "learnt": all of its data were learnt from or held out; "unread": none of its data can be read.
    items, alarms : int
        Its new samples or files, and those of them that raise an alarm. What the model learnt from is not counted.
    learnt : int
        The files that the model learnt from or held out.
    p_value : float or None
        The chance of this many alarms or more if all are like the held-out ones: `oddkind.false_alarm_test`. None if
        too few are held out for the false-alarm rate.
    evidence : float or None
        The greatest evidence of drift along its items (`ConformalMartingale`): without drift it ever reaches c in at
        most 1 of c cases. "drift": at least 100.
    borrows_from : int
        The number of other machines that its network learnt from, too, because it has too little data; 0: none.
    """

    machine: str
    state: str
    items: int = 0
    alarms: int = 0
    learnt: int = 0
    p_value: float | None = None
    evidence: float | None = None
    borrows_from: int = 0


def score_fleet(
    fleet: Fleet,
    machines: Mapping[str, Samples | Callable[[], Samples]],
    *,
    false_alarm_rate: float | None = None,
    false_discovery_rate: float | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[State]:
    """Say which machines alarm, given new samples of each, in the order in which they were taken.

    A machine alarms if the number of its samples (or groups) that alarm has a chance of at most its false-alarm rate;
    with a false discovery rate, machines are chosen such that at most this fraction of them is normal on average
    (`oddkind.discoveries`). Labels are used if they were learnt. Of a group the first sample counts as evidence of
    drift, because the samples of a group are not independent.

    Parameters
    ----------
    machines : mapping of str to Samples, or to callables that return Samples
        Names as in the fleet; they are asked for one after another.
    false_alarm_rate : float or None
        Overrides that of the models.

    Returns
    -------
    states : list of State
        One for each machine of `machines` or of the fleet, by name.

    Raises
    ------
    InputError
        If samples cannot be scored; the message names the machine.
    """

    def state(name: str, model: FittedModel, facts: Facts) -> State:
        given = machines[name]
        samples = given if isinstance(given, Samples) else given()
        return _of_samples(name, model, samples, facts)

    return _states(fleet, machines, state, false_alarm_rate, false_discovery_rate, on_progress)


def score_fleet_files(
    fleet: Fleet,
    files: Mapping[str, Sequence[Entry]],
    data: Path,
    *,
    order: str = "auto",
    false_alarm_rate: float | None = None,
    false_discovery_rate: float | None = None,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[State]:
    """Say which machines alarm, given files of each, as `score_fleet`.

    Parameters
    ----------
    files : mapping of str to entries
        What `oddkind.fleet.machines.by_machine` returned.
    data : path
        The data set that they are from.
    order : str
        In which order they were recorded, for the drift: see `oddkind.report.timeline.order_of`.
    on_refused : callable (name, reason) or None
        Called for each file that cannot be read. If None, the first such file raises.
    """
    whole = order_of([entry for own in files.values() for entry in own], data, order)
    ranks = None if whole is None else {name: rank for rank, name in enumerate(whole.names)}

    def state(name: str, model: FittedModel, facts: Facts) -> State:
        own = without_labels(files[name]) if facts.borrows_from else files[name]
        try:
            along = _order(ranks, own, data, order)
            return _of_files(name, model, own, facts, along, cache, on_refused)
        except InputError as error:
            raise InputError(f"machine {name}: {error}") from error

    return _states(fleet, files, state, false_alarm_rate, false_discovery_rate, on_progress)


def _states(
    fleet: Fleet,
    machines: Mapping[str, object],
    state: Callable[[str, FittedModel, Facts], State],
    false_alarm_rate: float | None,
    false_discovery_rate: float | None,
    on_progress: Callable[[float], None],
) -> list[State]:
    if false_discovery_rate is not None:
        discoveries(np.ones(1), false_discovery_rate)  # refuses a rate out of range
    known = fleet.facts()
    found: list[State] = []
    rates: dict[str, float] = {}
    names = sorted({*known, *machines})
    for number, name in enumerate(names, start=1):
        if name not in known:
            given = machines[name]
            found.append(State(name, "new", len(given) if isinstance(given, Sized) else 0))
        elif name not in machines:
            found.append(State(name, "missing", borrows_from=known[name].borrows_from))
        else:
            model = fleet[name]
            if false_alarm_rate is not None:
                model = replace(model, false_alarm_rate=false_alarm_rate)
            rates[name] = model.false_alarm_rate
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", PromiseWarning)  # the p-value of the machine is then None
                found.append(state(name, model, known[name]))
        on_progress(number / len(names))
    return _decided(found, rates, false_discovery_rate)


def _decided(found: Sequence[State], rates: Mapping[str, float], false_discovery_rate: float | None) -> list[State]:
    """Fill in which machines alarm and which drift."""
    chances = {one.machine: one.p_value for one in found if one.p_value is not None}
    if false_discovery_rate is None:
        called = {name for name, p in chances.items() if alarms(np.array([p]), rates[name])[0]}
    else:
        flags = discoveries(np.array([*chances.values()]), false_discovery_rate).tolist() if chances else []
        called = {name for name, flag in zip(chances, flags, strict=True) if flag}
    states = []
    for one in found:
        drifts = one.evidence is not None and one.evidence >= DRIFT
        names = [name for name, holds in (("alarm", one.machine in called), ("drift", drifts)) if holds]
        states.append(replace(one, state=", ".join(names)) if names else one)
    return states


def _of_samples(name: str, model: FittedModel, samples: Samples, facts: Facts) -> State:
    labels, learnt = samples.labels, model.task.labels
    if labels is not None and (facts.borrows_from or learnt is None or not np.isin(labels, learnt).all()):
        labels = None
    try:
        scores, p = model.score_and_p_value(samples.inputs, labels)
    except ValueError as error:
        raise InputError(f"machine {name}: {error}") from error
    units = np.arange(len(p)) if samples.groups is None else np.unique(samples.groups, return_inverse=True)[1]
    odd = alarms(p, model.false_alarm_rate)
    n, size = int(units.max(initial=-1)) + 1, min(model.calibration_sizes(with_labels=labels is not None).values())
    # A group counts as one: the share of its samples that alarm.
    n_alarms = int(np.bincount(units, odd, n) @ (1 / np.bincount(units, minlength=n)) + 1e-9) if n else 0
    chance = None
    with suppress(InputError):  # too few are held out
        chance = false_alarm_test(n_alarms, n, size, model.false_alarm_rate) if n else None
    held_out = model.first_fold.calibration.of(with_labels=labels is not None).independent()
    first = np.sort(np.unique(units, return_index=True)[1])
    if len(model.folds) > 1:
        scores = model.first_fold.anomaly_score(samples.inputs, labels)
    return State(
        *(name, "ok", len(p), int(odd.sum()), 0, chance),
        _greatest_evidence(held_out, scores[first]),
        facts.borrows_from,
    )


def _greatest_evidence(held_out: Mapping[str, Array], scores: Array) -> float:
    martingale, greatest = ConformalMartingale(held_out), 1.0
    for score in scores.tolist():
        martingale.add(score)
        greatest = max(greatest, martingale.evidence)
    return greatest


def _of_files(
    name: str,
    model: FittedModel,
    files: Sequence[Entry],
    facts: Facts,
    order: Order | None,
    cache: Path | None,
    on_refused: Callable[[str, str], None] | None,
) -> State:
    verdicts = score_files(files, model, cache=cache, held_out=held_out_files(model), on_refused=on_refused)
    if not verdicts:
        return State(name, "unread", borrows_from=facts.borrows_from)
    by_name = {entry.name: entry for entry in files}
    was_learnt = learnt_by(model)
    learnt = {verdict.path for verdict in verdicts if was_learnt(by_name[verdict.path])}
    fresh = [verdict for verdict in verdicts if verdict.path not in learnt]
    counted = [by_name[verdict.path] for verdict in fresh]
    # What is known to be anomalous counts as well here: whether the machine alarms is the question.
    excess = alarm_excess([replace(entry, anomalous=None) for entry in counted], fresh, model)
    evidence = None
    if order is not None and fresh:
        along = evidence_along(order, files, verdicts, model, learnt)[0]
        evidence = float(10 ** min(max(0.0, along.max(initial=0.0)), 300))
    odd = sum(verdict.anomalous for verdict in fresh)
    chance = None if excess is None else excess.chance
    return State(name, "ok" if fresh else "learnt", len(fresh), odd, len(learnt), chance, evidence, facts.borrows_from)


def _order(ranks: Mapping[str, int] | None, files: Sequence[Entry], data: Path, by: str) -> Order | None:
    """Return the order of the files of one machine: as that of all, or else that of the blocks of its only file."""
    if ranks is not None:
        return Order(by, tuple(sorted((entry.name for entry in files), key=ranks.__getitem__)), None, False)
    return None if by == "none" else order_of(files, data.parent if data.is_file() else data, by)


# --- evaluating ---


@dataclass(frozen=True)
class MachineEvaluation:
    """How well the model of a machine separates normal from anomalous files; None: it is not known.

    Attributes
    ----------
    machine : str
    n_normal, n_anomalous : int
    auc : float or None
    interval : (low, high) or None
        95 % of the AUC: DeLong, DeLong & Clarke-Pearson, Biometrics 1988, on the logit scale.
    false_alarms, found : float or None
        Fraction of the normal and of the anomalous files that are called anomalous.
    borrows_from : int
        As in `State`.
    """

    machine: str
    n_normal: int
    n_anomalous: int
    auc: float | None
    interval: tuple[float, float] | None
    false_alarms: float | None
    found: float | None
    borrows_from: int


@dataclass(frozen=True)
class Overall:
    """The mean over machines.

    Attributes
    ----------
    machines : int
        Those that have an AUC.
    auc : float or None
        Its mean.
    interval : (low, high) or None
        95 % of the mean over machines like these: bootstrap, 2,000 draws of machines. None for fewer than 2.
    n_normal, n_anomalous : int
    false_alarms, found : float or None
        Over all files together.
    """

    machines: int
    auc: float | None
    interval: tuple[float, float] | None
    n_normal: int
    n_anomalous: int
    false_alarms: float | None
    found: float | None


def evaluate_fleet(
    fleet: Fleet,
    files: Mapping[str, Sequence[Entry]],
    *,
    false_alarm_rate: float | None = None,
    cache: Path | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> tuple[list[MachineEvaluation], Overall, dict[str, str]]:
    """Compare the scores of each machine with what is known about its files.

    Files that were learnt from are not counted, nor are machines without a model.

    Returns
    -------
    rows, overall, skipped : the machines, all together, and machines that cannot be evaluated, each with the reason

    Raises
    ------
    InputError
        If a file cannot be read and `on_refused` is None, or no machine can be evaluated.
    """
    known = fleet.facts()
    rows: list[MachineEvaluation] = []
    skipped: dict[str, str] = {}
    counts = np.zeros((2, 2))  # normal and anomalous files; all, and those that are called anomalous
    for number, (name, own) in enumerate(files.items(), start=1):
        try:
            if name not in known:
                raise InputError("the fleet has no model of it")
            model = fleet[name]
            if false_alarm_rate is not None:
                model = replace(model, false_alarm_rate=false_alarm_rate)
            wanted = to_evaluate(without_labels(own) if known[name].borrows_from else own, model)
        except InputError as error:
            skipped[name] = str(error)
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PromiseWarning)
            try:
                verdicts = score_files(wanted, model, cache=cache, on_refused=on_refused)
            except InputError as error:
                raise InputError(f"machine {name}: {error}") from error
        if not verdicts:
            skipped[name] = "none of its files can be read"
            continue
        truth = {entry.name: bool(entry.anomalous) for entry in wanted}
        odd = np.array([truth[verdict.path] for verdict in verdicts])
        called = np.array([verdict.anomalous for verdict in verdicts])
        counts += [[(odd == kind).sum(), (called & (odd == kind)).sum()] for kind in (False, True)]
        one = evaluate_files(wanted, verdicts)[0]
        interval = None if one.auc is None else auc_interval(odd, np.array([verdict.score for verdict in verdicts]))
        rates = one.false_alarms if promise_problem(model) is None else None, one.found
        rows.append(
            MachineEvaluation(name, one.n_normal, one.n_anomalous, one.auc, interval, *rates, known[name].borrows_from)
        )
        on_progress(number / len(files))
    if not rows:
        raise InputError(
            f"none of {len(files)} machines can be evaluated; {next(iter(skipped.values()), 'there are none')}"
        )
    values = [row.auc for row in rows if row.auc is not None]
    (n_normal, false), (n_odd, found) = counts.tolist()
    overall = Overall(
        *(len(values), statistics.fmean(values) if values else None, _interval_of_mean(values)),
        *(int(n_normal), int(n_odd)),
        *(false / n_normal if n_normal else None, found / n_odd if n_odd else None),
    )
    return rows, overall, skipped


def auc_interval(anomalous: Array, scores: Array, level: float = 0.95) -> tuple[float, float] | None:
    """Interval of the AUC of scores [N], anomalous bool [N], by DeLong's variance on the logit scale.

    None if there are fewer than 2 of a kind, or the AUC is 0 or 1, where the variance is 0.
    """
    normal, odd = np.asarray(scores)[~anomalous], np.asarray(scores)[anomalous]
    value = auc(anomalous, scores)
    if min(len(normal), len(odd)) < 2 or not 0 < value < 1:
        return None

    def share_below(ordered: Array, of: Array) -> Array:
        below, up_to = (np.searchsorted(ordered, of, side) for side in ("left", "right"))
        return (below + up_to) / (2 * len(ordered))

    of_odd, of_normal = share_below(np.sort(normal), odd), share_below(np.sort(odd), normal)
    error = math.sqrt(of_odd.var(ddof=1) / len(odd) + of_normal.var(ddof=1) / len(normal))
    z = statistics.NormalDist().inv_cdf((1 + level) / 2) * error / (value * (1 - value))
    middle = math.log(value / (1 - value))
    low, high = (1 / (1 + math.exp(-end)) for end in (middle - z, middle + z))
    return low, high


def _interval_of_mean(values: Sequence[float], draws: int = 2000) -> tuple[float, float] | None:
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values), (draws, len(values))).mean(1)
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return low, high
