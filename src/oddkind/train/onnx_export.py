"""From a model that torch runs to the same model as ONNX graphs, and whether both decide alike."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from oddkind.errors import InputError
from oddkind.model.conformal import alarms
from oddkind.model.inputs import InputSpec
from oddkind.model.model import CrossModel, FittedModel, Model, example_rows
from oddkind.model.onnx_forward import OnnxForward
from oddkind.train.networks import PlaceNetwork
from oddkind.train.stacked import as_float
from oddkind.train.torch_forward import TorchForward, state_of


def checked_graphs(model: Model | CrossModel) -> tuple[Model | CrossModel, Agreement]:
    """Return a model with graphs, and how far it agrees with the model itself.

    Raises
    ------
    InputError
        As `with_graphs` and `agreement`, and if a decision differs.
    """
    exported = with_graphs(model)
    found = agreement(model, exported)
    if found.n_flipped:
        raise InputError(
            f"{found.n_flipped} decisions on {found.n_samples} held-out samples differ between torch and ONNX (largest "
            f"difference of p-values {found.p_value:.2g}); nothing was written"
        )
    return exported, found


def with_graphs(model: Model | CrossModel, *, shared: bool = False) -> Model | CrossModel:
    """Return a model whose networks are ONNX graphs; the weights of torch are saved with it too.

    `shared`: graphs that hold no weights but read them, so that networks of one form have the same graph.

    Raises
    ------
    InputError
        If a network is not run by torch or cannot be exported, or the packages for it are not installed.
    """

    def exported(fold: Model) -> Model:
        return replace(fold, members=tuple(_exported(member, fold.inputs, shared) for member in fold.members))

    return (
        replace(model, models=tuple(map(exported, model.models))) if isinstance(model, CrossModel) else exported(model)
    )


def _exported(forward: Any, inputs: InputSpec, shared: bool) -> OnnxForward:
    if not isinstance(forward, TorchForward):
        raise InputError(f"a network is run by {type(forward).__name__}; load the model with runtime='torch'")
    graph = _graph_of(_Form.of(forward, inputs)) if shared else to_onnx(forward, inputs)
    return OnnxForward(graph, forward.describe(), forward.weights())


@dataclass(frozen=True)
class _Form:
    """All that a graph without weights depends on, and a network of this form."""

    key: tuple[object, ...]
    forward: TorchForward = field(compare=False)
    inputs: InputSpec = field(compare=False)

    @classmethod
    def of(cls, forward: TorchForward, inputs: InputSpec) -> Self:
        constants = [array.tobytes() for array in vars(forward.transform).values() if isinstance(array, np.ndarray)]
        shapes = [(name, tuple(tensor.shape)) for name, tensor in state_of(forward.network).items()]
        return cls(
            (
                *(type(forward.network), repr(forward.network), tuple(shapes), inputs.shape, inputs.standardises),
                *(type(forward.transform), forward.transform.names, tuple(constants)),
            ),
            forward,
            inputs,
        )


@functools.lru_cache(maxsize=16)
def _graph_of(form: _Form) -> bytes:
    return to_onnx(form.forward, form.inputs, shared=True)


class _Network(nn.Module):
    """Views and network: what a `TorchForward` runs; with `weights`, names, it reads them as further inputs."""

    def __init__(self, forward: TorchForward, weights: Sequence[str] = ()) -> None:
        super().__init__()
        self.network, self.transform, self.weights = forward.network, forward.transform, weights

    def forward(self, x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        """Return logits [N, V, C], features [N, V, D] and, if it has places, those of the first view."""
        if weights:
            return functional_call(self, dict(zip(self.weights, weights, strict=True)), (x,))
        views = self.transform(x)
        inputs = as_float(views.flatten(0, 1))
        if not isinstance(self.network, PlaceNetwork):
            return tuple(found.unflatten(0, views.shape[:2]) for found in self.network(inputs))
        places = self.network.local_features(inputs)
        logits, features = (found.unflatten(0, views.shape[:2]) for found in self.network.head(places))
        return logits, features, self.network.shown(places).unflatten(0, views.shape[:2])[:, 0]


def to_onnx(forward: TorchForward, inputs: InputSpec, *, shared: bool = False) -> bytes:
    """Write a trained network with its views as an ONNX graph for any number of samples.

    `shared`: the weights are not in the graph; they are further inputs, by the names of `TorchForward.weights`.
    Standardised inputs [N, …] → logits [N, V, C], features [N, V, D] and, if the network has local features, those of
    the first view, [N, K, H', W'], as `OnnxForward` runs it.

    Raises
    ------
    InputError
        If it cannot be exported.
    """
    try:
        import onnxscript  # noqa: F401 - torch.onnx needs it and says so less clearly
    except ImportError as error:
        raise InputError(f"exporting needs {error.name}; pip install 'oddkind[train]'") from error
    state = {f"network.{name}": tensor.detach() for name, tensor in state_of(forward.network).items()} if shared else {}
    network = _Network(forward, [*state]).eval()
    device = next(network.parameters()).device
    example = torch.zeros((2, *inputs.shape), dtype=torch.float32 if inputs.standardises else torch.uint8)
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                network,
                (example.to(device), *state.values()),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")}, *([tuple({} for _ in state)] if state else [])),
                input_names=["x", *state],
                verbose=False,
            )
    except Exception as error:  # a network of the user's own may fail in any way
        why = str(error).strip().partition("\n")[0] or type(error).__name__
        raise InputError(f"the network cannot be exported to ONNX ({why})") from error
    assert program is not None  # noqa: S101 - with dynamo it never is
    proto = program.model_proto
    # The exporter leaves stack traces, which name files of this machine.
    graph = proto.graph
    for one in (proto, graph, *graph.node, *graph.value_info, *graph.input, *graph.output):
        one.ClearField("metadata_props")
        one.ClearField("doc_string")
    return bytes(proto.SerializeToString(deterministic=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says about packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@dataclass(frozen=True)
class Agreement:
    """How far two models that should be the same agree on the held-out samples that they keep.

    Attributes
    ----------
    n_samples : int
        Samples compared, with their labels known and, if the score allows it, not known.
    n_flipped : int
        Decisions that differ.
    p_value, score : float
        The largest differences; that of scores relative to the standard deviation of the held-out scores.
    """

    n_samples: int
    n_flipped: int
    p_value: float
    score: float


def agreement(first: FittedModel, second: FittedModel) -> Agreement:
    """Compare two models on the held-out samples that they keep.

    Raises
    ------
    InputError
        If they keep none, because an older version wrote them.
    """
    n_samples, n_flipped, p_apart, apart = 0, 0, [0.0], [0.0]
    for one, other in zip(first.folds, second.folds, strict=True):
        if one.examples is None:
            raise InputError("the model keeps no held-out samples to compare with; fit it again")
        n_samples += len(one.examples)
        for with_labels in (True, False) if one.calibration.unlabelled is not None else (True,):
            held_out, labels = one.calibration.of(with_labels=with_labels), None
            if with_labels and one.task.labels is not None and held_out.label_index is not None:
                rows = example_rows(len(held_out.label_index), one.examples[0].size)
                labels = one.task.labels[held_out.label_index[rows]]
            targets = one.task.targets(labels, len(one.examples))
            scores, others = (
                fold.score_outputs(fold.run(one.examples, targets), with_labels=with_labels) for fold in (one, other)
            )
            p, p_other = (one.p_value_of(found[None], labels, [held_out]) for found in (scores, others))
            n_flipped += int((alarms(p, first.false_alarm_rate) != alarms(p_other, first.false_alarm_rate)).sum())
            p_apart.append(np.abs(p - p_other).max())
            apart.append(np.abs(scores - others).max() / (np.std(held_out.scores) or 1.0))
    return Agreement(n_samples, n_flipped, float(max(p_apart)), float(max(apart)))
