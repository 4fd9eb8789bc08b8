"""From samples and parameters to fitted models: hold out, train all networks at once, learn the scores, calibrate."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import platform
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import check_random_state

from oddkind import distributed
from oddkind.arrays import Array
from oddkind.checks import check_data, check_learnt, copy_index, labels_like_truth
from oddkind.errors import ConcernWarning, InputError, PromiseWarning
from oddkind.model.combining import combined_among_others
from oddkind.model.conformal import Calibration, CalibrationScores, min_calibration_size
from oddkind.model.explain import view_nll
from oddkind.model.fitted_score import FittedScore, learn_score, reference_rows, softmax_share
from oddkind.model.inputs import InputSpec
from oddkind.model.model import Model, Normal, TrainingReport, example_rows
from oddkind.model.outputs import Outputs, outputs_of, pooled
from oddkind.model.places import MOST_SAMPLES, learn_places
from oddkind.model.score import Score
from oddkind.model.scores import Combination, components_of, resolve_score
from oddkind.model.task import Task
from oddkind.samples import Samples
from oddkind.train.holdout import calibration_fraction, copy_groups, holdout
from oddkind.train.job import Job
from oddkind.train.networks import build, resolve_network
from oddkind.train.parameters import Parameters, device_of
from oddkind.train.problem import Problem
from oddkind.train.scaling import Scaling, learn_scaling
from oddkind.train.stacks import Run, divide, train_together
from oddkind.train.temperature import fit_temperature, label_perplexity, perplexity
from oddkind.train.torch_forward import TorchForward
from oddkind.train.transform import Transform
from oddkind.train.transforms import Rotations, indistinguishable_views, make_task, show_surfaces

# This many samples are examined before training; a warning says so if a larger fraction of them has equal views.
EXAMINED, INDISTINGUISHABLE = 32, 0.1
# If less than this share of a score is made of the softmax, it does not matter what was learnt.
RELEVANT_SHARE = 0.1
# How much spectrograms are stretched and moved in training.
WARP = 0.3
# How many networks score together, how many samples a step sees, and how many steps are enough; if not said, 1, 64 and
# 900. A network that is told which places were changed learns much from each sample, so many small steps teach it more
# than few large ones.
MEMBERS: Mapping[str | None, int] = {"spectrogram": 5}
BATCH: Mapping[str | None, int] = {"unet": 8}
STEPS: Mapping[str | None, int] = {"unet": 1800}
# As many passes as make these steps, within these bounds.
FEWEST_EPOCHS, MOST_EPOCHS = 3, 100


@dataclass(frozen=True, eq=False)
class Plan:
    """A problem that is ready to be trained. It is sent to another process as the problem, and planned again there.

    Attributes
    ----------
    problem : Problem
    copies : int array [N] or None
        Which samples are copies of one another, as `copy_index` returns; None if the problem has groups.
    inputs : InputSpec
    prepared : array [N, …]
        The samples as networks read them.
    task, transform, transform_name : what to classify
    score_name, score : how to score
    training_rows, calibration_rows : int arrays
    units : int array [N] or None
        What was held out as a whole: the groups, or else exact copies, counted from 0; None: each sample.
    absurd : str
        A warning about absurd values; "" if there are none.
    runs : one Run for each network
    """

    problem: Problem
    copies: Array | None
    inputs: InputSpec
    prepared: Array
    task: Task
    transform: Transform
    transform_name: str
    score_name: str | None
    score: Score | Combination
    training_rows: Array
    calibration_rows: Array
    units: Array | None
    absurd: str
    runs: list[Run]

    @property
    def groups(self) -> Array:
        """The group of each held-out sample, counted from 0; without groups each sample is one, with its copies."""
        if self.units is None:
            return np.arange(len(self.calibration_rows))
        return np.unique(self.units[self.calibration_rows], return_inverse=True)[1]

    def __reduce__(self) -> tuple[Callable[..., Plan], tuple[Problem, Array | None]]:
        return _plan, (self.problem, self.copies)


def fit_models(
    problems: Iterable[Problem],
    *,
    checkpoints: Path | None = None,
    on_progress: Callable[[float], None] = lambda done: None,
) -> list[Model]:
    """Fit a model to each problem; networks of one form are trained in one stack.

    Each model is the one that it would be if it were fitted alone. Stacks run in the processes that
    `joblib.parallel_config` names, with the same bits however many there are. With a folder for `checkpoints`, which
    these processes must see, a run that was killed resumes when it is started again. `on_progress` is called with the
    finished fraction, 0 … 1.

    Raises
    ------
    InputError
        If samples or parameters cannot be used, before anything is trained.
    """
    plans, drawn_anew = [], False
    copies: dict[int, Array] = {}  # found once for samples that several problems share
    for problem in problems:
        if problem.groups is None and id(problem.inputs) not in copies:
            copies[id(problem.inputs)] = copy_index(problem.inputs)
        try:
            plans.append(_plan(problem, copies.get(id(problem.inputs))))
        except ValueError as error:
            raise InputError(f"{problem.name}{error}") from error
        drawn_anew |= problem.parameters.random_state is None
    if checkpoints is not None and drawn_anew:
        raise InputError("random_state=None draws new numbers at each start; pass a number to resume from checkpoints")
    _warn_about_data(plans, copies)
    if checkpoints is not None:
        checkpoints = checkpoints.absolute()
        checkpoints.mkdir(parents=True, exist_ok=True)
    stacks = divide([plan.runs for plan in plans])
    fit = functools.partial(_fit_stack, checkpoints=checkpoints)
    fitted = distributed.run(fit, [[plans[number] for number in stack] for stack in stacks], on_progress)
    models: dict[int, Model] = dict(zip(itertools.chain(*stacks), itertools.chain(*fitted), strict=True))
    return [models[number] for number in range(len(plans))]


def _fit_stack(plans: Sequence[Plan], on_progress: Callable[[float], None], *, checkpoints: Path | None) -> list[Model]:
    """Train the networks of some plans, which are of one form, and fit their models."""
    if checkpoints is not None and not checkpoints.is_dir():
        warnings.warn(
            f"{platform.node()} does not see the folder {checkpoints}, so what it trains is lost if the run is "
            "interrupted; name one that all computers share",
            stacklevel=2,
        )
        checkpoints = None
    results = iter(train_together([run for plan in plans for run in plan.runs], checkpoints, on_progress))
    models = []
    for plan in plans:
        own = list(itertools.islice(results, len(plan.runs)))
        losses, seconds = np.stack([losses for losses, _ in own], 1), sum(seconds for _, seconds in own)
        models.append(_model(plan, losses, seconds))
    return models


# --- before training ---


def _plan(problem: Problem, copies: Array | None) -> Plan:
    """Check everything, hold out the calibration samples and draw the initial weights; `copies` as `copy_index`."""
    replayed, seed = problem, problem.parameters.random_state
    if seed is None or isinstance(seed, np.random.RandomState):  # planned in another process, it must draw the same
        drawn = copy.deepcopy(check_random_state(seed))
        replayed = replace(problem, parameters=replace(problem.parameters, random_state=drawn))
    given, inputs, labels = problem.parameters, problem.inputs, problem.labels
    shape = inputs.shape[1:]
    random_state = check_random_state(given.random_state)
    surfaces = given.task == "auto" and not given.per_label and show_surfaces(inputs)
    task, transform, transform_name = make_task(given.task, shape, labels, random_state, surfaces=surfaces)
    network, with_labels = _network_name(given, transform, task, shape), task.labels is not None
    score_name, score = resolve_score(given.score_function, shape, with_labels=with_labels, network=network)
    if any(one.needs_rotations for one in components_of(score)) and not isinstance(transform, Rotations):
        raise InputError(f"score {score_name!r} needs a task with rotations; task={given.task!r} has none here")
    if given.per_label and task.labels is None:
        raise InputError(f"per_label=True needs a task with labels; task={given.task!r} has none here")
    units = problem.groups
    if units is None and copies is not None:
        fewest = 2 * min_calibration_size(given.false_alarm_rate)
        units = copy_groups(inputs, fewest, labels if given.per_label else None, index=copies)
    training_rows, calibration_rows = _split(problem, task, units, random_state)
    spec, absurd = InputSpec(shape, feature_names=problem.feature_names), ""
    if inputs.dtype != np.uint8:
        learnt: Scaling = learn_scaling(inputs, training_rows, problem.feature_names)
        spec = replace(spec, mean=learnt.mean, scale=learnt.scale, bound=learnt.bound)
        absurd = learnt.warning
    prepared = spec.standardise(inputs)
    targets = task.targets(labels, len(inputs), training=True)
    assert targets is not None  # noqa: S101 - make_task refuses a task with labels if there are none
    warp = float(given.warp) if given.warp != "auto" else WARP * (network == "spectrogram")
    n_members = int(given.n_members) if given.n_members != "auto" else MEMBERS.get(network, 1)
    seeds = random_state.randint(2**31, size=(n_members, 2)).tolist()
    batch_size = int(given.batch_size) if given.batch_size != "auto" else BATCH.get(network, 64)
    shift = 0 if warp or network == "unet" else min(shape[1:], default=0) // 14
    if given.max_shift != "auto":
        shift = int(given.max_shift)
    if network == "unet" and (warp or shift):
        raise InputError(
            f"network 'unet' compares the views place by place, so they cannot be moved; max_shift={shift} and "
            f"warp={warp} must be 0"
        )
    passes = STEPS.get(network, 900) / -(-len(training_rows) // batch_size)
    enough = min(max(math.ceil(passes), FEWEST_EPOCHS), MOST_EPOCHS)
    epochs = int(given.epochs) if given.epochs != "auto" else enough
    runs = []
    for for_weights, for_order in seeds:
        job = Job(
            build(network or given.network, shape, task.n_classes, for_weights),
            torch.from_numpy(prepared),
            transform,
            targets,
            training_rows,
            for_order,
            float(given.label_smoothing),
            float(given.learning_rate),
            float(given.weight_decay),
            shift,
            float(given.mixup)
            if given.mixup != "auto"
            else float(task.n_views == 1 and (len(shape) == 1 or network == "spectrogram")),
            warp,
        )
        runs.append(Run(job, epochs, batch_size, given.schedule, device_of(given.device)))
    _warn_about_views(transform, prepared[training_rows[:EXAMINED]], given.task)
    numbered = None if units is None else np.unique(units, return_inverse=True)[1]
    split = training_rows, calibration_rows, numbered
    return Plan(
        replayed, copies, spec, prepared, task, transform, transform_name, score_name, score, *split, absurd, runs
    )


def _network_name(given: Parameters, transform: Transform, task: Task, shape: tuple[int, ...]) -> str | None:
    """Return the name of the network; None for one of your own."""
    if not isinstance(given.network, str):
        return None
    return resolve_network(given.network, shape, suited=transform.network, labels=task.n_views == 1)


def _spread(rows: Array, most: int) -> Array:
    """Return at most so many of some rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]


def _split(
    problem: Problem, task: Task, units: Array | None, random_state: np.random.RandomState
) -> tuple[Array, Array]:
    """Draw the rows to learn from and the rows to hold out; `units`: the groups, or exact copies, or None."""
    given, n = problem.parameters, len(problem.inputs)
    labels = problem.labels if task.labels is not None else None
    if problem.calibration_rows is not None:
        split = np.delete(np.arange(n), problem.calibration_rows), problem.calibration_rows
    else:
        strata = labels if given.per_label and labels is not None else np.zeros(n)
        fewest = min(_n_groups(units, strata == one) for one in np.unique(strata))
        copied = problem.groups is None and units is not None  # drawn as samples are, the same share of each label
        fraction = given.calibration_fraction
        split = holdout(
            n,
            calibration_fraction(fewest, given.false_alarm_rate) if fraction == "auto" else float(fraction),
            random_state,
            labels=np.zeros(n) if copied and labels is None else labels,
            groups=units,
            each_label=given.per_label or (copied and _of_one_label(units, labels)),
        )
    if labels is not None:
        lost = np.setdiff1d(labels, labels[split[0]]).tolist()
        if lost:
            what = "samples" if problem.groups is None else "groups"
            raise InputError(f"all {what} of label {lost[0]!r} were held out; pass more of each label")
    return split


def _of_one_label(units: Array | None, labels: Array | None) -> bool:
    """Return whether the samples of each unit have the same label."""
    if units is None or labels is None:
        return True
    _, first, index = np.unique(units, return_index=True, return_inverse=True)
    return bool((labels == labels[first][index]).all())


def _n_groups(groups: Array | None, rows: Array) -> int:
    """Number of groups among some rows, bool [N]; without groups each sample is one."""
    return int(rows.sum()) if groups is None else len(np.unique(groups[rows]))


def _warn_about_views(transform: Transform, x: Array, task_name: str) -> None:
    alike = indistinguishable_views(transform, torch.from_numpy(x))
    if len(x) > 1 and alike > INDISTINGUISHABLE:  # a single sample is standardised to zeros
        name = type(transform).__name__.lower()
        warnings.warn(
            f"{name} do not change {alike:.0%} of the samples, so telling views apart teaches little "
            f"(task={task_name!r}); choose another task",
            stacklevel=5,
        )


def _warn_about_data(plans: Sequence[Plan], copies: Mapping[int, Array]) -> None:
    """Warn about what is doubtful in the data, once for each set of samples; `copies` by the id of the inputs."""
    sets: dict[tuple[int, str], list[Plan]] = {}
    for plan in plans:
        sets.setdefault((id(plan.problem.inputs), plan.problem.name), []).append(plan)
    for (inputs, name), own in sets.items():
        labelled = [plan for plan in own if plan.task.labels is not None]
        first = own[0].problem
        absurd = next((plan.absurd for plan in own if plan.absurd), "")
        if absurd:
            warnings.warn(name + absurd, ConcernWarning, stacklevel=4)
        if first.labels is not None and not labelled:  # what the task ignores is learnt from nevertheless
            for message in labels_like_truth(first.labels):
                warnings.warn(name + message, ConcernWarning, stacklevel=4)
        samples = Samples(first.inputs, first.labels if labelled else None, groups=first.groups)
        for issue in check_data(samples, copies=copies.get(inputs)):
            # Easy labels do not matter if the network also learns known transforms, or the score ignores its softmax.
            if issue.kind != "too easy" or any(
                plan.transform.count == 1 and _share_of_softmax(plan, 1.0) > 0 for plan in labelled
            ):
                warnings.warn(name + issue.message, ConcernWarning, stacklevel=4)


def _share_of_softmax(plan: Plan, perplexity: float, label_perplexity: float = 1.0) -> float:
    return softmax_share(plan.score, perplexity, plan.task.n_classes, label_perplexity)


# --- after training ---


def _model(plan: Plan, losses: Array, train_seconds: float) -> Model:
    """Learn what needs the trained networks: temperature, score, and the scores of the held-out samples."""
    given = plan.problem.parameters
    name = _network_name(given, plan.transform, plan.task, plan.inputs.shape)
    members = tuple(TorchForward(run.job.network, plan.transform, name, plan.transform_name) for run in plan.runs)
    held_out = _outputs(plan, members, plan.calibration_rows)
    together = pooled(held_out)
    assert together.targets is not None  # noqa: S101 - as in _plan
    logits, targets = together.logits.reshape(-1, plan.task.n_classes), together.targets.ravel()
    accuracy = float((logits.argmax(1) == targets).mean())
    fitted = fit_temperature(logits, targets)
    sure, of_labels = perplexity(logits, targets, fitted), label_perplexity(together, plan.task.n_views, fitted)
    temperature = fitted if given.temperature == "fit" else float(given.temperature)
    # Views that are drawn at random are not scored, so nothing can be said about them.
    if _share_of_softmax(plan, sure, of_labels) > RELEVANT_SHARE and not plan.transform.n_draws:
        for issue in check_learnt(accuracy, len(together), targets, together.n_views):
            warnings.warn(plan.problem.name + issue.message, ConcernWarning, stacklevel=6)
    reference, normal = None, None
    places = learn_places(members, plan.prepared[_spread(plan.training_rows, MOST_SAMPLES)])
    # Explanations compare with normal samples, too.
    if places is not None or any(component.learn for component in components_of(plan.score)):
        rows = reference_rows(plan.training_rows)
        reference = _outputs(plan, members, rows)
        normal = _normal(plan, reference, rows, temperature)
    score = learn_score(
        plan.score_name, plan.score, reference, temperature, sure, plan.task.n_classes, of_labels
    ).extended(held_out)
    report = TrainingReport(
        accuracy,
        sure,
        losses,
        plan.runs[0].epochs,
        train_seconds,
        plan.training_rows,
        plan.calibration_rows,
        given.to_json(),
    )
    model = Model(
        plan.inputs,
        plan.task,
        members,
        temperature,
        score,
        _calibrate(plan, held_out, score, temperature),
        normal,
        float(given.false_alarm_rate),
        bool(given.per_label),
        report,
        examples=plan.prepared[plan.calibration_rows[example_rows(len(plan.calibration_rows), plan.prepared[0].size)]],
        places=places,
    )
    problem = model.promise_problem()
    if problem is not None:
        warnings.warn(plan.problem.name + problem, PromiseWarning, stacklevel=6)
    return model


def _outputs(plan: Plan, members: Sequence[TorchForward], rows: Array) -> list[Outputs]:
    """Outputs of each network for some of the samples, with their labels known."""
    inputs = plan.prepared[rows]
    targets = plan.task.targets(None if plan.problem.labels is None else plan.problem.labels[rows], len(rows))
    return outputs_of(members, inputs, targets, None if plan.units is None else plan.units[rows])


def _normal(plan: Plan, reference: Sequence[Outputs], rows: Array, temperature: float) -> Normal:
    together = pooled(reference)
    assert together.inputs is not None  # noqa: S101 - _outputs fills it in
    labels = plan.problem.labels
    return Normal(
        together.inputs,
        together.features,
        None if plan.task.labels is None or labels is None else plan.task.label_index(labels[rows]),
        rows,
        view_nll(pooled(reference, temperature).logits, plan.task),
    )


def _calibrate(plan: Plan, held_out: Sequence[Outputs], score: FittedScore, temperature: float) -> Calibration:
    """Score the held-out samples with their labels known and not known: a threshold holds for one way of scoring."""
    task, labels = plan.task, plan.problem.labels
    labels = None if labels is None or task.labels is None else labels[plan.calibration_rows]
    label_index = None if labels is None else task.label_index(labels)
    groups, grouped = plan.groups, plan.problem.groups is not None
    apart = groups if grouped else None

    def scores(*, with_labels: bool) -> CalibrationScores:
        components = score.of_held_out(held_out, apart, temperature, task, with_labels=with_labels)
        return CalibrationScores(
            components, combined_among_others(components, score.weights, score.fuse, groups), groups, label_index
        )

    labelled = scores(with_labels=True)
    unlabelled: CalibrationScores | None = labelled
    if task.labels is not None:
        without_labels = all(False in component.label_modes(task) for component in score.components)
        unlabelled = scores(with_labels=False) if without_labels else None
    return Calibration(labelled, unlabelled, grouped)
