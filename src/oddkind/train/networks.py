"""Networks that return `(logits, features)`: the lecture's CNN, and one small network per kind of input."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from oddkind.errors import InputError
from oddkind.train.torch_state import seeded

# Slopes times this vary about as much as the bands of spoken words do.
SLOPES = 3.0

Builder = Callable[[tuple[int, ...], int], nn.Module]


class LectureCNN(nn.Module):
    """The classifier of the KAIST lecture: three 2×2 convolutions of stride 2, then one linear layer.

    [B, C, H, W] → logits [B, n_classes], features [B, 8 · ⌊H/8⌋ · ⌊W/8⌋] (72 for 28 × 28). As in the lecture,
    rows and columns that no 2×2 patch covers are dropped.
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise InputError(f"network 'lecture' reads pictures [N, C, H, W] of at least 8 × 8; got {input_shape}")
        channels, height, width = input_shape
        self.feature_extractor = nn.Sequential(
            nn.Conv2d(channels, 2, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(2, 4, kernel_size=2, stride=2),
            nn.ReLU(),
            nn.Conv2d(4, 8, kernel_size=2, stride=2),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(8 * (height // 8) * (width // 8), n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        features = self.feature_extractor(x).flatten(1)
        return self.classifier(features), features


class PictureCNN(nn.Module):
    """Convolutions of stride 2 down to 12 to 23 rows, two residual blocks, then one linear layer, for pictures.

    The stem consists of 4×4 convolutions of stride 2 (for pictures with fewer than 24 rows, of one 3×3 convolution of
    stride 1). A block is a 3×3 convolution with 2×2 max-pooling, and a second one whose output is added to that of the
    first (He et al., "Deep residual learning", CVPR 2016). Group norm (Wu & He, ECCV 2018) and ReLU follow each
    convolution; group norm keeps no running state, so these networks can be trained in one stack.

    [B, C, H, W] → logits [B, n_classes], features [B, 192]: the averages of the first block in 2 × 2 quarters and those
    of the last block, scaled to lengths √3 and 1. The early features are included because differences that the network
    did not learn to distinguish are visible in them, and no longer at its end.
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise InputError(f"network 'picture' reads pictures [N, C, H, W] of at least 8 × 8; got {input_shape}")
        channels, height, width = input_shape
        halvings = max(0, int(math.log2(min(height, width) / 12)))
        self.stem = nn.ModuleList(
            Convolution(channels if number == 0 else 16, 16, kernel_size=4, stride=2) for number in range(halvings)
        )
        if not halvings:
            self.stem.append(Convolution(channels, 16))
        self.blocks = nn.ModuleList(
            nn.ModuleList([Convolution(narrow, wide), Convolution(wide, wide)]) for narrow, wide in [(16, 32), (32, 64)]
        )
        self.classifier = nn.Linear(64 * (height >> halvings + 2) * (width >> halvings + 2), n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        for convolution in self.stem:
            x = convolution(x)
        maps = []
        for block in self.blocks:
            pooled, added = block.children()
            x = pooled(x, pool=2)
            x = x + added(x)
            maps.append(x)
        early, late = functional.adaptive_avg_pool2d(maps[0], 2).flatten(1), x.mean((-2, -1))
        features = torch.cat([3**0.5 * functional.normalize(early), functional.normalize(late)], 1)
        return self.classifier(x.flatten(1)), features


class PlaceNetwork(nn.Module):
    """A network of pictures that has features at each place, and pools them."""

    def local_features(self, x: Tensor) -> Tensor:
        """Features at each place, [B, C, H, W] → [B, K, H', W']."""
        raise NotImplementedError

    def head(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features from the features at each place."""
        raise NotImplementedError

    def shown(self, places: Tensor) -> Tensor:
        """What a map of the picture is made of, [B, K', H', W']: the features at each place."""
        return places


class LocalCNN(PlaceNetwork):
    """Convolutions with a receptive field of 26 × 26 pixels, then their maximum and mean, for local defects.

    A 4×4 convolution of stride 2, a 3×3 convolution with 2×2 max-pooling and two without, group norm and ReLU after
    each, and a 1×1 convolution. [B, C, H, W] → logits [B, n_classes], features [B, 128]: maximum and mean over the
    picture, so that a defect counts wherever it is.
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise InputError(f"network 'local' reads pictures [N, C, H, W] of at least 8 × 8; got {input_shape}")
        self.stem = Convolution(input_shape[0], 16, kernel_size=4, stride=2)
        self.blocks = nn.ModuleList([Convolution(16, 32), Convolution(32, 64), Convolution(64, 64)])
        self.places = nn.Conv2d(64, 64, kernel_size=1)
        self.classifier = nn.Linear(128, n_classes)

    def local_features(self, x: Tensor) -> Tensor:
        """Features at each place, [B, C, H, W] → [B, 64, ⌊H/4⌋, ⌊W/4⌋]."""
        x = self.stem(x)
        for number, convolution in enumerate(self.blocks):
            x = convolution(x, pool=1 if number else 2)
        return torch.as_tensor(self.places(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        return self.head(self.local_features(x))

    def head(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features from the features at each place."""
        features = torch.cat([places.amax((-2, -1)), places.mean((-2, -1))], 1)
        return self.classifier(features), features


class UNet(PlaceNetwork):
    """Says which places of a picture were changed, and classifies the picture by that.

    Each picture is first brought to mean 0 and deviation 1. Three 4×4 convolutions of stride 2 (four, if it has at
    least 96 rows and columns), each followed by a 3×3 one, then back up, step by step, beside the earlier maps
    (Ronneberger et al., "U-Net", MICCAI 2015), with group norm and ReLU after each convolution; and a 1×1 convolution.

    [B, C, H, W] → logits [B, n_classes]; features [B, 33]: the largest logit of a changed place, then the maximum and
    the mean of the last map over the places; logits of each place, [B, H', W'], above 0 where it was rather changed.
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 16:
            raise InputError(f"network 'unet' reads pictures [N, C, H, W] of at least 16 × 16; got {input_shape}")
        stride = 2 if min(input_shape[1:]) >= 96 else 1
        self.stem = nn.ModuleList([Convolution(input_shape[0], 16, 2 + stride, stride), Convolution(16, 16)])
        self.down = nn.ModuleList(
            nn.ModuleList([Convolution(narrow, wide, kernel_size=4, stride=2), Convolution(wide, wide)])
            for narrow, wide in [(16, 32), (32, 64), (64, 64)]
        )
        self.up = nn.ModuleList([Convolution(64 + 64, 64), Convolution(64 + 32, 32), Convolution(32 + 16, 16)])
        self.changed = nn.Conv2d(16, 1, kernel_size=1)
        # Apart from the largest logit, because products of rows of 33 numbers depend on where a row lies in memory.
        self.classifier = nn.Linear(32, n_classes)
        self.of_largest = nn.Parameter(torch.zeros(n_classes))

    def local_features(self, x: Tensor) -> Tensor:
        """Features at each place, [B, C, H, W] → [B, 16, H', W']."""
        x = functional.group_norm(x, 1, eps=1e-4)
        for convolution in self.stem:
            x = convolution(x)
        maps = [x]
        for block in self.down:
            for convolution in block.children():
                x = convolution(x)
            maps.append(x)
        for convolution, beside in zip(self.up, reversed(maps[:-1]), strict=True):
            x = convolution(torch.cat([functional.interpolate(x, beside.shape[-2:]), beside], 1))
        return torch.as_tensor(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits, features and the logits of each place."""
        places = self.local_features(x)
        return *self.head(places), self.changed(places)[:, 0]

    def shown(self, places: Tensor) -> Tensor:
        """Logits of each place, [B, 1, H', W']."""
        return torch.as_tensor(self.changed(places))

    def head(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and features from the features at each place."""
        largest = self.changed(places).amax((-2, -1))
        pooled = torch.cat([places.amax((-2, -1)), places.mean((-2, -1))], 1)
        return self.classifier(pooled) + self.of_largest * largest, torch.cat([largest, pooled], 1)


class Convolution(nn.Module):
    """A convolution that keeps or halves the size, optional max-pooling, group norm and ReLU."""

    def __init__(self, channels: int, width: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.weights = nn.Conv2d(channels, width, kernel_size, stride, padding=1, bias=False)
        self.norm = nn.GroupNorm(4, width)

    def forward(self, x: Tensor, pool: int = 1) -> Tensor:
        """[B, C, H, W] → [B, width, H', W']."""
        x = self.weights(x)
        if x.device.type == "cpu" and not x.is_contiguous(memory_format=torch.channels_last):  # twice as fast on a CPU
            x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
        if pool > 1:  # before the norm, which then has a quarter of the work
            x = functional.max_pool2d(x, pool)
        return self.norm(x).relu()


class SpectrogramCNN(nn.Module):
    """Four convolutions and a layer of 64 features, for spectrograms whose bands and frames have a meaning.

    It reads each band and its slope over time, which differs less from speaker to speaker than the level does (Furui,
    "Speaker-independent isolated word recognition using dynamic features of speech spectrum", IEEE TASSP 1986). A 4×4
    convolution of stride 2, two 3×3 convolutions with 2×2 max-pooling, and one whose output is added to its input, with
    group norm and ReLU after each. They are averaged over time in quarters, but not over the bands, because it matters
    which of them sounds, and when. A linear layer with layer norm gives the features.

    [B, C, bands, frames] → logits [B, n_classes], features [B, 64].
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 3 or min(input_shape[1:]) < 8:
            raise InputError(f"network 'spectrogram' reads pictures [N, C, H, W] of at least 8 × 8; got {input_shape}")
        channels, bands, frames = input_shape
        self.stem = Convolution(2 * channels, 32, kernel_size=4, stride=2)
        self.blocks = nn.ModuleList([Convolution(32, 64), Convolution(64, 128)])
        self.added = Convolution(128, 128)
        self.quarters = min(4, frames >> 3)
        self.feature_extractor = nn.Linear(128 * (bands >> 3) * self.quarters, 64)
        self.norm = nn.LayerNorm(64)
        self.classifier = nn.Linear(64, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        padded = functional.pad(x, (1, 1, 0, 0), mode="replicate")
        x = self.stem(torch.cat([x, SLOPES / 2 * (padded[..., 2:] - padded[..., :-2])], 1))
        for block in self.blocks:
            x = block(x, pool=2)
        x = x + self.added(x)
        x = functional.adaptive_avg_pool2d(x, (x.shape[2], self.quarters)).flatten(1)
        features = self.norm(self.feature_extractor(x))
        return self.classifier(features), features


class MLP(nn.Module):
    """Two hidden layers for vectors: [B, D] → logits [B, n_classes], features [B, 64]."""

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 1:
            raise InputError(f"network 'mlp' reads vectors [N, D]; got samples of shape {input_shape}")
        self.feature_extractor = nn.Sequential(nn.Linear(input_shape[0], 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.classifier = nn.Linear(64, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        features = self.feature_extractor(x)
        return self.classifier(features), features


class BranchedMLP(nn.Module):
    """Two branches of two hidden layers for vectors, one with layer norm: [B, D] → logits [B, C], features [B, 128].

    Layer norm (Ba, Kiros & Hinton, 2016) makes a branch see the shape of a vector and not its size, which the other
    branch sees. Neither keeps a running state.
    """

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 1:
            raise InputError(f"network 'branches' reads vectors [N, D]; got samples of shape {input_shape}")

        def branch(norm: Callable[[int], nn.Module]) -> nn.Sequential:
            first, second = nn.Linear(input_shape[0], 128), nn.Linear(128, 64)
            return nn.Sequential(first, norm(128), nn.ReLU(), second, norm(64), nn.ReLU())

        self.normed, self.plain = branch(nn.LayerNorm), branch(nn.Identity)
        self.classifier = nn.Linear(128, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        features = torch.cat([self.normed(x), self.plain(x)], 1)
        return self.classifier(features), features


class SignalCNN(nn.Module):
    """Three strided 1-D convolutions averaged over time: [B, C, T] → logits [B, n_classes], features [B, 32]."""

    def __init__(self, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        if len(input_shape) != 2:
            raise InputError(f"network 'signal' reads signals [N, C, T]; got samples of shape {input_shape}")
        self.feature_extractor = nn.Sequential(
            nn.Conv1d(input_shape[0], 16, kernel_size=9, stride=4, padding=4),
            nn.ReLU(),
            nn.Conv1d(16, 32, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(32, 32, kernel_size=5, stride=2, padding=2),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(32, n_classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        features = self.feature_extractor(x).mean(-1)
        return self.classifier(features), features


NETWORKS: dict[str, Builder] = {
    "lecture": LectureCNN,
    "picture": PictureCNN,
    "local": LocalCNN,
    "unet": UNet,
    "spectrogram": SpectrogramCNN,
    "mlp": MLP,
    "branches": BranchedMLP,
    "signal": SignalCNN,
}

# By the rank of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "mlp", 2: "signal", 3: "picture"}


def resolve_network(name: str, input_shape: tuple[int, ...], *, suited: str = "auto", labels: bool = False) -> str:
    """Return the name in `NETWORKS` of a network.

    "auto" is what is `suited` to the transform or else, if that is "auto", chosen by the input shape and by `labels`:
    whether internal labels alone are classified.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if name != "auto" and name not in NETWORKS:
        raise InputError(f"network={name!r}; known are 'auto', {', '.join(map(repr, NETWORKS))}")
    if name == "auto":
        if len(input_shape) == 1 and labels:
            return "branches"
        return suited if suited != "auto" else _AUTO[len(input_shape)]
    return name


def build(network: str | nn.Module | Builder, input_shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
    """Build the network for samples of `input_shape`; its initial weights depend on `seed` alone.

    Parameters
    ----------
    network : str, callable or nn.Module
        A name, as in `resolve_network`; a callable `(input_shape, n_classes) → nn.Module`; or a module, which is copied
        with the weights it has. A module takes [B, *input_shape] and returns `(logits [B, n_classes], features
        [B, D])`.

    Raises
    ------
    InputError
        If the name is unknown, or the network does not return logits and features of the right shapes.
    """
    if isinstance(network, str):
        network = NETWORKS[resolve_network(network, input_shape)]
    if not callable(network):
        raise InputError(f"network={network!r}; pass a name, a torch module or a callable that builds one")
    with seeded(seed):
        module = copy.deepcopy(network) if isinstance(network, nn.Module) else network(input_shape, n_classes)
        if network not in NETWORKS.values():  # the built-in networks refuse shapes that they cannot read
            _check(module, input_shape, n_classes)
    return module


def _check(module: nn.Module, input_shape: tuple[int, ...], n_classes: int) -> None:
    """Refuse a network whose output for two blank samples has the wrong form."""
    name = type(module).__name__
    if not isinstance(module, nn.Module):
        raise InputError(f"the network's builder returned {name}; it must return a torch module")
    if next(module.parameters(), None) is None:
        raise InputError(f"network {name} has no parameters to train")
    module.eval()
    try:
        with torch.no_grad():
            output = module(torch.zeros(2, *input_shape, device=next(module.parameters()).device))
    except (RuntimeError, ValueError, TypeError) as error:
        raise InputError(f"network {name} does not read samples of shape {input_shape}: {error}") from error
    if not (isinstance(output, tuple) and len(output) == 2 and all(isinstance(value, Tensor) for value in output)):
        raise InputError(f"network {name} returned {type(output).__name__}; it must return (logits, features)")
    shapes = [tuple(value.shape) for value in output]
    if shapes[0] != (2, n_classes) or len(shapes[1]) != 2 or shapes[1][0] != 2:
        raise InputError(
            f"network {name} returned shapes {shapes[0]} and {shapes[1]} for 2 samples; "
            f"the task needs logits (2, {n_classes}) and features (2, D)"
        )
