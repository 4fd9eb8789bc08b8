"""A detector's network with all that comes before it as one torch module, to be exported or moved to another device."""

from __future__ import annotations

import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from oddkind.detector import Detector
from oddkind.errors import InputError
from oddkind.files import Source
from oddkind.train.frontends import FLOOR, FrontEnds
from oddkind.train.stacked import as_float


def as_module(detector: Detector, *, member: int = 0) -> nn.Module:
    """Make the module [B, ...] → logits [B, V, C], features [B, V, D], what `Detector.outputs` says of each sample.

    It takes samples as `Detector.fit` was given them; of a detector that learnt from sound files windows of sound
    [B, channels, T], at the rate and of the length that `detector.source_["settings"]` names, for the front end is
    inside. `torch.export.export` takes it, with the batch as a dynamic dimension. It shares its weights with the
    detector.

    Raises
    ------
    InputError
        Where there is no such member.
    NotFittedError
        Before `fit`.
    """
    check_is_fitted(detector)
    if not 0 <= member < len(detector.networks_):
        raise InputError(f"member={member}; the detector has {len(detector.networks_)}, counted from 0")
    source = getattr(detector, "source_", None) or {}
    settings = Source.model_validate(source["settings"]) if "settings" in source else None
    sound = None if settings is None or settings.kind != "sounds" else Sound(settings)
    network = detector.networks_[member]
    return Deployed(detector, sound, network).to(next(network.parameters()).device).eval()


class Sound(nn.Module):
    """Windows of sound [B, channels, T] → what a detector learnt from, [B, D]."""

    def __init__(self, settings: Source) -> None:
        super().__init__()
        assert settings.sample_rate is not None and settings.window is not None  # noqa: S101, PT018 - resolved
        length = max(1, round(settings.window * settings.sample_rate))
        self.front_end = FrontEnds(settings.front_end, settings.sample_rate, length)
        self.match_loudness = settings.match_loudness

    def forward(self, x: Tensor) -> Tensor:
        """Return the front end's features, one channel after another."""
        if self.match_loudness:
            x = x / (x.square().mean((1, 2), keepdim=True).sqrt() + FLOOR)
        return self.front_end(x.flatten(0, 1)).unflatten(0, x.shape[:2]).flatten(1)


class Deployed(nn.Module):
    """Front end, if any, standardisation of floats, views and network, in this order."""

    mean: Tensor
    scale: Tensor

    def __init__(self, detector: Detector, sound: Sound | None, network: nn.Module) -> None:
        super().__init__()
        self.sound, self.network, self.transform = sound, network, detector.task_.transform
        self.scaled = detector.scaled_
        if self.scaled:
            self.register_buffer("mean", torch.from_numpy(detector.mean_))
            self.register_buffer("scale", torch.from_numpy(detector.scale_))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features of every view."""
        x = x if self.sound is None else self.sound(x)
        views = self.transform((x - self.mean) / self.scale if self.scaled else x)
        logits, features = self.network(as_float(views.flatten(0, 1)))
        return logits.unflatten(0, views.shape[:2]), features.unflatten(0, views.shape[:2])
