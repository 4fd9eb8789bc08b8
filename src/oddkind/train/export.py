"""A model's network, with all that comes before it, as one torch module, to be exported or moved to another device."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from oddkind.errors import InputError
from oddkind.files.front_ends import FrontEnds
from oddkind.files.sounds import FLOOR
from oddkind.files.source import Source
from oddkind.model.inputs import FAR
from oddkind.model.model import Model
from oddkind.train.stacked import as_float
from oddkind.train.torch_forward import TorchForward


def as_module(model: Model, *, member: int = 0) -> nn.Module:
    """Make the module [B, ...] → logits [B, V, C], features [B, V, D], the outputs of one network of a model.

    It takes samples as `Detector.fit` was given them. If the model learnt from sound files it takes windows of sound
    [B, channels, T], at the rate and of the length that `model.source["settings"]` names, because the front end is part
    of the module. `torch.export.export` accepts it, with the batch as a dynamic dimension. It shares its weights with
    the model.

    Raises
    ------
    InputError
        If there is no such member, or the network is not run by torch.
    """
    if not 0 <= member < len(model.members):
        raise InputError(f"member={member}; the model has {len(model.members)}, counted from 0")
    forward = model.members[member]
    if not isinstance(forward, TorchForward):
        raise InputError("the networks are not run by torch; load the model with runtime='torch'")
    source = model.source or {}
    settings = Source.model_validate(source["settings"]) if "settings" in source else None
    front_end = None if settings is None else settings.make_front_end()
    sound = None if front_end is None else Sound(front_end, match_loudness=bool(settings and settings.match_loudness))
    return Exported(model, sound, forward).to(next(forward.network.parameters()).device).eval()


class Sound(nn.Module):
    """Windows of sound or vibration [B, channels, T] → what a model learnt from, [B, D]."""

    def __init__(self, front_end: FrontEnds, *, match_loudness: bool) -> None:
        super().__init__()
        self.front_end, self.match_loudness = front_end, match_loudness
        for number, part in enumerate(front_end.parts):
            for name, array in part.constants.items():
                self.register_buffer(f"{name}_{number}", torch.from_numpy(array))

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers of the front end, one channel after another."""
        if self.match_loudness:
            x = x / (x.square().mean((1, 2), keepdim=True).sqrt() + FLOOR)
        constants = [
            {name: getattr(self, f"{name}_{number}") for name in part.constants}
            for number, part in enumerate(self.front_end.parts)
        ]
        return self.front_end(x.flatten(0, 1), constants, torch).unflatten(0, x.shape[:2]).flatten(1, 2)


class Exported(nn.Module):
    """Front end, if any, standardisation of floats, views and network, in this order."""

    mean: Tensor
    scale: Tensor
    bound: Tensor

    def __init__(self, model: Model, sound: Sound | None, forward: TorchForward) -> None:
        super().__init__()
        self.sound, self.network, self.transform = sound, forward.network, forward.transform
        self.standardises = model.inputs.standardises
        if model.inputs.mean is not None and model.inputs.scale is not None:
            self.register_buffer("mean", torch.from_numpy(model.inputs.mean))
            self.register_buffer("scale", torch.from_numpy(model.inputs.scale))
            bound = torch.tensor(FAR) if model.inputs.bound is None else torch.from_numpy(model.inputs.bound)
            self.register_buffer("bound", bound)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features of every view."""
        x = x if self.sound is None else self.sound(x)
        views = self.transform(self._standardised(x) if self.standardises else x)
        logits, features = self.network(as_float(views.flatten(0, 1)))
        return logits.unflatten(0, views.shape[:2]), features.unflatten(0, views.shape[:2])

    def _standardised(self, x: Tensor) -> Tensor:
        """Standardise and compress samples as `InputSpec.standardise` does."""
        z = ((x - self.mean) / self.scale).float()
        size = z.abs()
        far = self.bound * (2 - self.bound / size.clamp(min=1))
        return torch.where(size > self.bound, far.copysign(z), z)
