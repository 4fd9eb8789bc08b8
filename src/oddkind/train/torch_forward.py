"""`TorchForward`: a trained torch network as the `Forward` of a model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import nn

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.forward import run_in_batches
from oddkind.model.inputs import InputSpec
from oddkind.model.task import Task
from oddkind.train.networks import NETWORKS, Builder, PlaceNetwork, build
from oddkind.train.stacked import as_float
from oddkind.train.transform import Transform
from oddkind.train.transforms import BLOCK, TRANSFORMS, Affine, HadamardMaps, Identity


@dataclass(frozen=True, eq=False)
class TorchForward:
    """A trained network with its known transforms.

    Attributes
    ----------
    network : module
        Returns (logits [B, C], features [B, D]).
    transform : Transform
    network_name : str or None
        Its name in `NETWORKS`; None for a network of your own.
    transform_name : str
        Its name in `TRANSFORMS`; "" for none.
    """

    network: nn.Module
    transform: Transform
    network_name: str | None
    transform_name: str

    def __call__(self, inputs: Array) -> tuple[Array, Array]:
        """Run standardised inputs [N, …]; return logits [N, V, C] and features [N, V, D] of the views scored."""

        def run(x: torch.Tensor) -> Iterable[torch.Tensor]:
            views = self.transform(x)
            outputs = self.network(as_float(views.flatten(0, 1)))[:2]
            return (found.unflatten(0, views.shape[:2]) for found in outputs)

        logits, features = self._run(run, inputs, self.transform.scored)
        return logits, features

    def local_features(self, inputs: Array) -> Array | None:
        """Return what a map of standardised pictures [N, …] is made of, [N, K, H', W']; None if it has no places."""
        network = self.network
        if not isinstance(network, PlaceNetwork):
            return None
        return self._run(lambda x: [network.shown(network.local_features(as_float(x)))], inputs, 1)[0]

    def _run(self, run: Callable[[torch.Tensor], Iterable[torch.Tensor]], inputs: Array, n_views: int) -> list[Array]:
        self.network.eval()
        device = next(self.network.parameters()).device

        def on_arrays(part: Array) -> list[Array]:
            return [found.cpu().numpy() for found in run(torch.from_numpy(part).to(device))]

        with torch.no_grad():
            return run_in_batches(on_arrays, inputs, n_views)

    def describe(self) -> Mapping[str, Any]:
        """Return the names of the network and of the transform."""
        return {"network": self.network_name, "transform": self.transform_name}

    def weights(self) -> Mapping[str, Array]:
        """Return the weights and buffers of the network by name, and the numbers of affine maps."""
        found = {f"network.{name}": tensor for name, tensor in state_of(self.network).items()}
        try:
            arrays = {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in found.items()}
        except TypeError as error:
            raise InputError(f"the weights of the network are of a type that NumPy does not have ({error})") from error
        if isinstance(self.transform, Affine):
            arrays["matrices"] = self.transform.matrices
        if isinstance(self.transform, HadamardMaps):
            arrays |= {"order": self.transform.order, "signs": self.transform.signs}
        return arrays


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights and buffers of a network, by name."""
    return dict(chain(network.named_parameters(), network.named_buffers()))


def restore_forward(
    description: Mapping[str, Any],
    weights: Mapping[str, Array],
    inputs: InputSpec,
    task: Task,
    *,
    network: nn.Module | Builder | None,
    device: torch.device,
) -> TorchForward:
    """Build a network again from what `TorchForward.describe` and `TorchForward.weights` returned.

    Parameters
    ----------
    network : callable or torch module
        The model's own, if it was fitted with one, as it was passed to `Detector`. A copy of a module gets the weights.

    Raises
    ------
    InputError
        If a name is unknown, a weight is missing or has another form, or `network` is missing or not asked for.
    """
    name, transform_name = description.get("network"), description.get("transform")
    if set(description) != {"network", "transform"} or (name is not None and name not in [*NETWORKS]):
        raise InputError(f"network {name!r} is unknown; known are {', '.join(map(repr, NETWORKS))}")
    if transform_name not in ("", *TRANSFORMS):
        raise InputError(f"transform {transform_name!r} is unknown; known are {', '.join(map(repr, TRANSFORMS))}")
    if name is None and network is None:
        raise InputError("fitted with a network of its own; pass it: load(file, network=...)")
    if name is not None and network is not None:
        raise InputError(f"names its network, {name!r}; leave out network=")
    weights = dict(weights)
    transform = _transform(transform_name, inputs.shape, weights)
    if (transform.names, transform.scored) != (task.view_names, task.n_scored):
        raise InputError(f"the views {list(task.view_names)} are not those of {transform_name or 'no transform'!r}")
    if name is not None:
        with torch.device("meta"):  # without memory: a damaged file must not ask for any
            module = NETWORKS[name](inputs.shape, task.n_classes)
    else:
        assert network is not None  # noqa: S101 - refused above
        module = build(network, inputs.shape, task.n_classes, seed=0)
    state = {}
    for key, tensor in state_of(module).items():
        array = weights.pop(f"network.{key}", None)
        if array is None or array.shape != tuple(tensor.shape) or torch.from_numpy(array).dtype != tensor.dtype:
            found = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise InputError(f"weight {key!r} is {found}; the network needs {tensor.dtype} {tuple(tensor.shape)}")
        state[key] = torch.from_numpy(array)
    if weights:
        raise InputError(f"unexpected weight {min(weights)!r}; `network` is not the one that the model was saved with")
    if name is not None:
        module.load_state_dict(state, assign=True)
    else:
        with torch.no_grad():
            for key, tensor in state_of(module).items():
                tensor.copy_(state[key])
    return TorchForward(module.to(device).eval(), transform, name, transform_name)


def _transform(name: str, shape: tuple[int, ...], weights: dict[str, Array]) -> Transform:
    if name == "":
        return Identity()
    if name == "affine" and "order" in weights:
        order, signs = weights.pop("order"), weights.pop("signs", np.empty(0))
        _check_maps(order, signs, shape)
        return HadamardMaps(order, signs)
    if name == "affine":  # without drawing matrices that the saved ones would replace
        matrices = weights.pop("matrices", np.empty(0))
        if len(shape) != 1 or matrices.ndim != 3 or matrices.shape[1:] != shape * 2 or matrices.dtype != np.float32:
            raise InputError(f"affine maps are {matrices.dtype} {matrices.shape}; they must be float32 [V, D, D]")
        return Affine(matrices)
    return TRANSFORMS[name](shape, np.random.RandomState(0))


def _check_maps(order: Array, signs: Array, shape: tuple[int, ...]) -> None:
    """Refuse structured maps that are not a permutation and signs for each view."""
    if len(shape) != 1 or shape[0] <= BLOCK or order.shape[1:] != shape or order.dtype != np.int32:
        raise InputError(
            f"the orders of affine maps are {order.dtype} {order.shape}; they must be int32 [V, D], D above {BLOCK}"
        )
    if (np.sort(order, axis=1) != np.arange(shape[0])).any():
        raise InputError("the orders of affine maps are no permutations; save the model again")
    if signs.dtype != np.int8 or signs.shape != order.shape or (np.abs(signs) != 1).any():
        raise InputError(f"the signs of affine maps must be 1 and −1, int8 {order.shape}; save the model again")
