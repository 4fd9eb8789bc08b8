"""From the samples of many machines to a fleet, stack by stack: memory does not grow with the number of machines."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from oddkind.detector import Detector
from oddkind.distributed import finished
from oddkind.errors import InputError, PromiseWarning
from oddkind.files.listing import grouped
from oddkind.fleet.borrowing import fit_borrowers
from oddkind.fleet.file import Facts, Fleet, Record, written_fleet
from oddkind.model.conformal import min_calibration_size
from oddkind.model.model import CrossModel, Model
from oddkind.model.saving import packed
from oddkind.samples import Samples
from oddkind.train.fit import fit_models
from oddkind.train.onnx_export import agreement, with_graphs
from oddkind.train.parameters import Parameters
from oddkind.train.problem import Problem, checked

STACK = 64  # machines that are trained together, and that a process is given at once
# A machine that borrows learns together with so many others, which lend at most so many samples each; and with up to
# `BORROWERS` that borrow, too.
LENDERS, LENT, BORROWERS = 31, 200, 32
# At most this many machines are looked at to find those that can lend.
LOOKED_AT = 10 * LENDERS
# Arrays that are the same in all machines that were fitted with the same parameters.
ALIKE = ("onnx", "matrices", "order", "signs")

Fitted = Model | CrossModel
Kinds = dict[tuple[type[Warning], str], dict[str, str]]
"""Category and text of warnings, without its numbers → the names of the machines, each with the text."""
NUMBER = re.compile(r"\d+(\.\d+)?")


class Machine(Protocol):
    """A machine to fit a model to."""

    def samples(self) -> Samples:
        """Return its samples; it may be called several times, and in another process."""
        ...

    def finished(self, model: Fitted, samples: Samples) -> tuple[Fitted, int, bool]:
        """Return the model with its source, how many new samples are compared with, and whether that is enough."""
        ...


@dataclass(frozen=True)
class InMemory:
    """A machine whose samples are arrays."""

    given: Samples | Callable[[], Samples]

    def samples(self) -> Samples:
        """Return the samples, or call what returns them."""
        return self.given if isinstance(self.given, Samples) else self.given()

    def finished(self, model: Fitted, samples: Samples) -> tuple[Fitted, int, bool]:
        """Return the model as it is; samples or groups are compared with."""
        return model, min(model.calibration_sizes().values()), model.promise_problem() is None


@dataclass
class Summary:
    """What became of the machines of a fleet.

    Attributes
    ----------
    fitted : int
        The number of machines that have a model now.
    borrowed : dict of str
        Machines that borrow, each with the reason.
    unpromised : list of str
        Machines with too few held-out samples for the false-alarm rate.
    refused : dict of str
        Machines that could not be fitted, each with the reason.
    """

    fitted: int = 0
    borrowed: dict[str, str] = field(default_factory=dict)
    unpromised: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def compact_detector(n_axes: int = 1, **parameters: Any) -> Detector:
    """Return a detector for fleets: for vectors one that is fitted fast and keeps no samples.

    A network of 64 + 64 units learns in 5 passes, and the score is "joint-mahalanobis". `bench/fleets.py` measures what
    that costs. `n_axes`: of a sample; signals (2) and pictures (3) get the detector that `Detector()` is.
    """
    small = {"network": "mlp", "epochs": 5, "score_function": "joint-mahalanobis"} if n_axes == 1 else {}
    return Detector(**{"random_state": 0, **small, **parameters})


def write_fleet(
    file: str | Path,
    machines: Mapping[str, Samples | Callable[[], Samples]],
    detector: Detector | None = None,
    *,
    only: Collection[str] | None = None,
    least: int | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Summary:
    """Fit a model to each of many machines, and write all into one file, which `Fleet` reads.

    With `joblib.parallel_config` stacks of machines are fitted in its processes; the result is the same. Each model is,
    to the bit, the one that the detector fitted to the samples of that machine alone would be, except for two things:
    no normal samples are kept for explanations, and machines with too little data borrow.

    A machine with fewer than `least` samples (or groups) borrows: a network learns to tell it from up to 31 machines
    with more and from others that borrow, each machine being a label. New samples are compared with its own samples
    alone, each of which is held out in one of 5 folds (`CrossModel`). `Fleet.facts` and
    `report.parameters["borrows_from"]` of each fold say so. See `oddkind.fleet.borrowing`.

    Parameters
    ----------
    file : path
        Such as "pumps.fleet". Written whole or not at all.
    machines : mapping of str to Samples, or to callables that return Samples
        They are asked for stack by stack, so with callables memory does not grow with the number of machines. A
        callable may be called again, and in another process.
    detector : Detector or None
        The parameters; it is not changed. Its network and score must be names, and its `random_state` a number. None:
        `compact_detector`.
    only : names, or None
        Fit these machines alone and add them to the fleet that is there, replacing models of the same name; the models
        of all others stay as they are. None: fit all machines, and write the file anew.
    least : int or None
        None: twice as many as must be held out to promise the false-alarm rate, 38 for 0.05.
    on_refused : callable (name, reason) or None
        Called for each machine that cannot be fitted. If None, the first such machine raises.
    on_progress : callable
        Called with the finished fraction, 0 … 1.

    Returns
    -------
    summary : Summary

    Raises
    ------
    InputError
        If a machine cannot be fitted and `on_refused` is None, no machine can, or the file cannot be written. Nothing
        is then written.
    """
    return write_machines(
        Path(file),
        {name: InMemory(one) for name, one in machines.items()},
        detector,
        only=only,
        least=least,
        on_refused=on_refused,
        on_progress=on_progress,
    )


def write_machines(
    file: Path,
    machines: Mapping[str, Machine],
    detector: Detector | Callable[[int], Detector] | None,
    *,
    about: Mapping[str, Any] | None = None,
    only: Collection[str] | None = None,
    least: int | None = None,
    on_refused: Callable[[str, str], None] | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> Summary:
    """`write_fleet` of machines of any kind; `about` is kept in the file.

    `detector` may be a function of the number of axes of a sample, such as `compact_detector`.
    """
    wanted = _wanted(file, machines, only)
    make = compact_detector if detector is None else detector
    detector = make if isinstance(make, Detector) else make(_axes(machines, wanted))
    parameters = Parameters.of(vars(detector))
    if not isinstance(parameters.random_state, int):
        raise InputError(
            f"random_state={parameters.random_state!r}; a fleet needs a number, so that a refit is the same"
        )
    for name in ("network", "score_function"):
        if not isinstance(getattr(parameters, name), str):
            raise InputError(f"{name} is one of your own; a fleet needs one that oddkind has, by its name")
    fewest = 2 * min_calibration_size(parameters.false_alarm_rate) if least is None else least
    about = {"parameters": parameters.to_json(), **(about or {})}
    refused = _Refusals(on_refused)
    summary, said = Summary(refused=refused.reasons), Kinds()
    with written_fleet(file, about, update=only is not None) as add:

        def take(outcomes: Iterable[Outcome], total: int) -> Iterator[Outcome]:
            for one in outcomes:
                for category, text in one.warnings:
                    said.setdefault((category, NUMBER.sub("#", text)), {})[one.name] = text
                if one.refused:
                    refused(one.name, one.refused)
                elif one.record is not None:
                    add(one.name, one.record)
                    _count(summary, one.name, one.record.facts)
                done = summary.fitted + len(refused.reasons)
                on_progress(done / total)
                yield one

        stacks = [dict(part) for part in _parts([(name, machines[name]) for name in wanted], STACK)]
        with closing(finished(lambda stack, _: _fit_stack(stack, detector, fewest), stacks)) as ended:
            found = {one.name: (one.form, one.little) for _, stack in ended for one in take(stack, len(wanted))}
        # In one order, whichever stack ended first: it decides who borrows from whom.
        forms = {name: found[name] for name in wanted}
        for _ in take(_borrowers(forms, machines, detector, fewest), len(wanted)):
            pass
        if not summary.fitted:
            reasons = grouped(refused.reasons, what="machines")
            raise InputError(f"none of {len(wanted)} machines can be fitted; {reasons}")
    if summary.unpromised:
        n, first = len(summary.unpromised), summary.unpromised[0]
        warnings.warn(
            f"{n} of {summary.fitted} machines raise no alarm, such as {first}: too little of their data is held out "
            f"for a false-alarm rate of {parameters.false_alarm_rate:g}; their scores and the evidence of drift work",
            PromiseWarning,
            stacklevel=3,
        )
    for (category, _), named in sorted(said.items(), key=lambda item: item[0][1]):
        warnings.warn(grouped(named, what="machines"), category, stacklevel=3)
    return summary


@dataclass(frozen=True)
class Outcome:
    """What became of a machine: a record, a reason why it is refused, or neither if it must borrow.

    `form`: shape and kind of its samples; `little`: why it must borrow.
    """

    name: str
    record: Record | None = None
    refused: str = ""
    form: tuple[Any, ...] = ()
    little: str = ""
    warnings: tuple[tuple[type[Warning], str], ...] = ()


class _Refusals:
    """Collects the machines that cannot be fitted, or raises at the first."""

    def __init__(self, on_refused: Callable[[str, str], None] | None) -> None:
        self.reasons: dict[str, str] = {}
        self._on_refused = on_refused

    def __call__(self, name: str, reason: str) -> None:
        if self._on_refused is None:
            raise InputError(f"{name}: {reason}")
        self.reasons[name] = reason
        self._on_refused(name, reason)


def _wanted(file: Path, machines: Mapping[str, Machine], only: Collection[str] | None) -> list[str]:
    if only is not None:
        Fleet(file).close()  # refuses what is no fleet
        for name in only:
            if name not in machines:
                raise InputError(f"there is no machine {name!r} among the {len(machines)} given")
    wanted = [name for name in machines if only is None or name in only]
    if not wanted:
        raise InputError("there are no machines to fit")
    return wanted


def _axes(machines: Mapping[str, Machine], wanted: Sequence[str]) -> int:
    for name in wanted:
        try:
            return max(1, np.ndim(machines[name].samples().inputs) - 1)
        except InputError:  # refused when it is fitted
            continue
    return 1


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _count(summary: Summary, name: str, facts: Facts) -> None:
    summary.fitted += 1
    if facts.borrows_from:
        summary.borrowed[name] = facts.reason
    if not facts.promised:
        summary.unpromised.append(name)


# --- in a process of its own ---


def _fit_stack(stack: Mapping[str, Machine], detector: Detector, fewest: int) -> list[Outcome]:
    """Fit a stack of machines; those that have too little data, or cannot be used, are returned without a model."""
    outcomes: dict[str, Outcome] = {}
    samples: dict[str, Samples] = {}
    problems: dict[str, Problem] = {}
    for name, machine in stack.items():
        try:
            samples[name] = machine.samples()
            if len(samples[name]) < 2:
                raise InputError("it has 1 sample; at least 2 are needed")
            given = checked(samples[name].inputs, samples[name].labels, samples[name].groups)
            problem = Problem(Parameters.of(vars(detector)), *given, name=f"{name}: ")
            little = _too_little(problem, fewest)
            if little:
                outcomes[name] = Outcome(name, form=_form(problem), little=little)
            else:
                problems[name] = problem
        except ValueError as error:
            outcomes[name] = Outcome(name, refused=str(error))
    for name, (model, said) in _models(problems).items():
        if isinstance(model, str):
            outcomes[name] = Outcome(name, refused=model)
            continue
        record = record_of(model, stack[name], samples[name])
        outcomes[name] = Outcome(name, record, form=_form(problems[name]), warnings=said)
    return [outcomes[name] for name in stack]


def _models(
    problems: Mapping[str, Problem],
) -> dict[str, tuple[Model | str, tuple[tuple[type[Warning], str], ...]]]:
    """Fit the models of one stack; if one cannot be fitted each is fitted alone, and the reason is in its place."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            models: list[Model | str] = [*fit_models([*problems.values()])]
        except ValueError as error:
            if len(problems) > 1:
                return {name: _models({name: one})[name] for name, one in problems.items()}
            (name,) = problems
            models = [str(error).removeprefix(f"{name}: ")]
    said: dict[str, list[tuple[type[Warning], str]]] = {name: [] for name in problems}
    for warning in caught:
        text = str(warning.message)
        # The longest name: that of one machine may begin that of another.
        named = max((name for name in problems if text.startswith(f"{name}: ")), key=len, default=None)
        if named is not None and warning.category is not PromiseWarning:  # which the facts know
            said[named].append((warning.category, text.removeprefix(f"{named}: ")))
    return {name: (model, tuple(said[name])) for name, model in zip(problems, models, strict=True)}


def _too_little(problem: Problem, fewest: int) -> str:
    """Explain why a machine must borrow; "" if it need not."""
    what = "samples" if problem.groups is None else "groups of samples"
    n = len(problem.inputs) if problem.groups is None else len(np.unique(problem.groups))
    return f"it has {n} {what}, fewer than {fewest}" if n < fewest else ""


def _form(problem: Problem) -> tuple[Any, ...]:
    return problem.inputs.shape[1:], problem.inputs.dtype == np.uint8, problem.feature_names


def record_of(model: Fitted, machine: Machine, samples: Samples, borrows_from: int = 0, reason: str = "") -> Record:
    """Return the model of a machine as it is stored, with a graph, so that it can be run without torch."""
    if isinstance(model, Model):
        model = replace(model, normal=None)
    model, held_out, promised = machine.finished(model, samples)
    exported = with_graphs(model, shared=True)
    flipped = agreement(model, exported).n_flipped > 0
    facts = Facts(len(samples), held_out, promised, borrows_from, reason, needs_torch=flipped)

    def alike(name: str) -> bool:
        # What those that borrow have in common was learnt for all of them.
        shared = borrows_from > 0 and (".member." in name or name.endswith(".whitening"))
        return shared or name.rpartition(".")[2] in ALIKE

    return Record(facts, *packed(model if flipped else exported, alike))


# --- machines that borrow ---


def _borrowers(
    forms: Mapping[str, tuple[tuple[Any, ...], str]],
    machines: Mapping[str, Machine],
    detector: Detector,
    fewest: int,
) -> Iterator[Outcome]:
    """Fit the machines that have too little data, those of one form together; `forms`: of all that were looked at."""
    kinds: dict[tuple[Any, ...], list[str]] = {}
    for name, (form, little) in forms.items():
        if little:
            kinds.setdefault(form, []).append(name)
    for form, names in kinds.items():
        lenders = dict(islice(_lenders(form, forms, machines, fewest), LENDERS))
        for part in _parts(names, BORROWERS):
            yield from _borrow(part, lenders, forms, machines, detector)


def _lenders(
    form: tuple[Any, ...],
    forms: Mapping[str, tuple[tuple[Any, ...], str]],
    machines: Mapping[str, Machine],
    fewest: int,
) -> Iterator[tuple[str, Samples]]:
    """Yield machines with enough samples of this form: those that were just fitted, then others."""
    known = [name for name, (own, little) in forms.items() if own == form and not little]
    others = [name for name in machines if name not in forms][: LOOKED_AT if len(known) < LENDERS else 0]
    for name in [*known, *others]:
        try:
            samples = machines[name].samples()
            problem = Problem(Parameters.of(vars(Detector())), *checked(samples.inputs, None, samples.groups))
        except ValueError:  # it was refused, or would be
            continue
        if _form(problem) == form and not _too_little(problem, fewest):
            yield name, samples[np.linspace(0, len(samples) - 1, min(LENT, len(samples))).astype(int)]


def _borrow(
    names: Sequence[str],
    lenders: Mapping[str, Samples],
    forms: Mapping[str, tuple[tuple[Any, ...], str]],
    machines: Mapping[str, Machine],
    detector: Detector,
) -> Iterator[Outcome]:
    own = {name: machines[name].samples() for name in names}
    if len(own) + len(lenders) < 2:
        for name, samples in own.items():
            reason = f"{forms[name][1]}, and there is no machine to borrow from"
            problem = Problem(Parameters.of(vars(detector)), *checked(samples.inputs, samples.labels, samples.groups))
            model, _ = _models({name: problem})[name]
            failed = isinstance(model, str)
            record = None if isinstance(model, str) else record_of(model, machines[name], samples, 0, reason)
            yield Outcome(name, record, refused=str(model) if failed else "", form=forms[name][0])
        return
    try:
        fitted = fit_borrowers(own, lenders, detector)
    except ValueError as error:
        yield from (Outcome(name, refused=f"{forms[name][1]}, and cannot borrow ({error})") for name in own)
        return
    others = len(own) + len(lenders) - 1
    for name, found in fitted.items():
        yield Outcome(name, record_of(found, machines[name], own[name], others, forms[name][1]), form=forms[name][0])
