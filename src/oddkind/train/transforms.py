"""Known transforms, which turn a sample into V views that a network learns to distinguish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.task import Task
from oddkind.train.planted import Defects, Pastes
from oddkind.train.transform import Transform, like


@dataclass(frozen=True)
class Identity(Transform):
    """No transform: the only view of a sample is the sample itself."""

    count: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return ("as it is",)

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, ...] → [N, 1, ...]."""
        return x[:, None]


@dataclass(frozen=True)
class Rotations(Transform):
    """A picture, and the picture rotated by 90, 180 and 270 degrees counter-clockwise.

    RotNet: Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018.
    """

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", *(f"turned by {360 * turn // self.count}°" for turn in range(1, self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, S, S] → [N, 4, C, S, S]."""
        return torch.stack([torch.rot90(x, turns, (-2, -1)) for turns in range(self.count)], 1)


@dataclass(frozen=True)
class Reversals(Transform):
    """A signal forwards and backwards in time."""

    count: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "forwards", "backwards"

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 2, C, T]."""
        return torch.stack([x, x.flip(-1)], 1)


@dataclass(frozen=True)
class Speeds(Transform):
    """A signal as it is, a quarter faster and higher, and a fifth slower and lower, around its middle.

    It is interpolated between samples and reflected beyond its ends. As a pretext task: Sarkar & Etemad,
    "Self-supervised ECG representation learning for emotion recognition", IEEE TAFFC 2020.
    """

    count: int = 3

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", "faster by a quarter", "slower by a fifth"

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 3, C, T]."""
        last = x.shape[-1] - 1
        now = torch.arange(last + 1, device=x.device) - last / 2
        views = [x]
        for speed in (1.25, 0.8):
            at = last - ((now * speed + last / 2).abs() - last).abs()
            before = at.floor().long().clamp(max=max(last - 1, 0))
            views.append(torch.lerp(x[..., before].float(), x[..., (before + 1).clamp(max=last)].float(), at - before))
        return torch.stack([like(view, x) for view in views], 1)


@dataclass(frozen=True)
class Bands(Transform):
    """A signal as it is, and without the lowest, middle and highest third of its frequencies; its mean stays.

    The frequency masks of SpecAugment, used as classes: Park et al., "SpecAugment", Interspeech 2019.
    """

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", *(f"without the {band} third of its frequencies" for band in ("lowest", "middle", "highest"))

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 4, C, T]."""
        spectrum = torch.fft.rfft(x.float())
        third = 3 * torch.arange(spectrum.shape[-1] - 1, device=x.device) // max(1, spectrum.shape[-1] - 1)
        masks = [torch.nn.functional.pad(third != band, (1, 0), value=True) for band in range(3)]
        views = [torch.fft.irfft(spectrum * mask, n=x.shape[-1]) for mask in masks]
        return torch.stack([x, *(like(view, x) for view in views)], 1)


@dataclass(frozen=True)
class Permutations(Transform):
    """A signal as it is, and with its channels shifted cyclically, so that each takes the place of another."""

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", *(f"channels moved on by {view}/{self.count}" for view in range(1, self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, V, C, T]."""
        channels = x.shape[1]
        return torch.stack([x.roll(view * channels // self.count, 1) for view in range(self.count)], 1)


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """A vector under V random linear maps, which are drawn once; GOAD: Bergman & Hoshen, ICLR 2020."""

    matrices: Array  # [V, D, D]

    @property
    def count(self) -> int:
        """The number of maps."""
        return len(self.matrices)

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return tuple(f"map {view + 1}" for view in range(self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, D] → [N, V, D]."""
        return torch.einsum("nd,vde->nve", x, torch.as_tensor(self.matrices, dtype=x.dtype, device=x.device))


BLOCK = 256


@dataclass(frozen=True, eq=False)
class HadamardMaps(Transform):
    """A long vector under V random maps whose cost grows linearly with its length, as `Affine` for D > 256.

    Each map draws an order and a sign for the numbers, and takes the Walsh–Hadamard transform of each block of 256; if
    the last block is shorter, then also of the last 256 numbers. It is orthogonal: a number becomes a random mixture of
    about 256 others, and lengths are kept. Structured random maps act as dense ones do: Ailon & Chazelle, "The fast
    Johnson–Lindenstrauss transform", SIAM J. Comput. 2009; Le et al., "Fastfood", ICML 2013.
    """

    order: Array  # int32 [V, D]
    signs: Array  # int8 [V, D], ±1

    @property
    def count(self) -> int:
        """The number of maps."""
        return len(self.order)

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return tuple(f"map {view + 1}" for view in range(self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, D] → [N, V, D]."""
        hadamard = torch.ones(1, 1, device=x.device)
        while len(hadamard) < BLOCK:
            hadamard = torch.cat([torch.cat([hadamard, hadamard], 1), torch.cat([hadamard, -hadamard], 1)])
        hadamard = hadamard / BLOCK**0.5
        whole = x.shape[1] // BLOCK * BLOCK
        views = []
        for order, signs in zip(self.order, self.signs, strict=True):
            index = torch.as_tensor(order, dtype=torch.long, device=x.device)
            view = x.float()[:, index] * torch.as_tensor(signs, dtype=torch.float32, device=x.device)
            view = torch.cat([(view[:, :whole].unflatten(1, (-1, BLOCK)) @ hadamard).flatten(1), view[:, whole:]], 1)
            if whole < x.shape[1]:
                view = torch.cat([view[:, :-BLOCK], view[:, -BLOCK:] @ hadamard], 1)
            views.append(view)
        return torch.stack(views, 1)


Maker = Callable[[tuple[int, ...], np.random.RandomState], Transform]


def _rotations(input_shape: tuple[int, ...], _: np.random.RandomState) -> Rotations:
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise InputError(f"task 'rotations' rotates square pictures [N, C, S, S]; got samples of shape {input_shape}")
    return Rotations()


def _for_signals(name: str, what: str, make: Callable[[int], Transform]) -> Maker:
    def maker(input_shape: tuple[int, ...], _: np.random.RandomState) -> Transform:
        if len(input_shape) != 2:
            raise InputError(f"task {name!r} {what} signals [N, C, T]; got samples of shape {input_shape}")
        return make(input_shape[0])

    return maker


def _permutations(channels: int) -> Permutations:
    if channels < 2:
        raise InputError("task 'permutations' shifts the channels of signals [N, C, T]; it needs at least 2, got 1")
    return Permutations(min(channels, 4))


def _affine(input_shape: tuple[int, ...], random_state: np.random.RandomState, count: int = 8) -> Transform:
    if len(input_shape) != 1:
        raise InputError(f"task 'affine' maps vectors [N, D]; got samples of shape {input_shape}")
    size = input_shape[0]
    if size > BLOCK:
        order = np.stack([random_state.permutation(size) for _ in range(count)]).astype(np.int32)
        return HadamardMaps(order, random_state.choice(np.array([-1, 1], np.int8), (count, size)))
    return Affine((random_state.standard_normal((count, size, size)) / np.sqrt(size)).astype(np.float32))


def _pastes(input_shape: tuple[int, ...], _: np.random.RandomState) -> Pastes:
    if len(input_shape) != 3:
        raise InputError(f"task 'pastes' pastes into pictures [N, C, H, W]; got samples of shape {input_shape}")
    return Pastes()


def _defects(input_shape: tuple[int, ...], _: np.random.RandomState) -> Defects:
    if len(input_shape) != 3:
        raise InputError(
            f"task 'defects' plants defects into pictures [N, C, H, W]; got samples of shape {input_shape}"
        )
    return Defects()


TRANSFORMS: dict[str, Maker] = {
    "rotations": _rotations,
    "pastes": _pastes,
    "defects": _defects,
    "reversals": _for_signals("reversals", "reverses", lambda _: Reversals()),
    "speeds": _for_signals("speeds", "speeds up and slows down", lambda _: Speeds()),
    "bands": _for_signals("bands", "removes frequencies from", lambda _: Bands()),
    "permutations": _for_signals("permutations", "shifts the channels of", _permutations),
    "affine": _affine,
}

TASKS = ("auto", "labels", *TRANSFORMS, *(f"labels+{name}" for name in TRANSFORMS))

# Pictures show surfaces if the standard deviation of their values differs from place to place by less than this part.
# Magnetic tiles have 0.11 to 0.13, scikit-learn's digits 0.62 and MNIST's 0.9 to 1.5.
SURFACES, MIN_PICTURES, MAX_PICTURES = 0.25, 32, 1000
# Smaller pictures hardly have places.
SMALLEST = 16

# The transform of a task without labels, by the rank of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "affine", 2: "reversals", 3: "rotations"}


def show_surfaces(inputs: Array) -> bool:
    """Return whether samples [N, …] are pictures that vary equally at every place, as those of surfaces do.

    Pictures of objects vary more where the object is than beside it. What is measured is the standard deviation over
    the pictures at each place: its own standard deviation over the places, divided by its mean.
    """
    if inputs.ndim != 4 or min(inputs.shape[2:]) < SMALLEST or len(inputs) < MIN_PICTURES:
        return False
    spread = np.asarray(inputs[:: 1 + len(inputs) // MAX_PICTURES], np.float32).std(0).mean(0)
    return bool(spread.std() < SURFACES * spread.mean())


def indistinguishable_views(transform: Transform, x: Tensor) -> float:
    """Return the fraction of samples [N, ...] that have two equal views, such as symmetric pictures under rotation."""
    draws = torch.as_tensor(np.random.default_rng(0).random((len(x), transform.n_draws), np.float32), device=x.device)
    views = transform(x, draws).flatten(2)
    same = [(views[:, a] == views[:, b]).all(1) for a in range(transform.count) for b in range(a)]
    return float(torch.stack(same).any(0).float().mean()) if same else 0.0


def make_task(
    name: str,
    input_shape: tuple[int, ...],
    labels: Array | None,
    random_state: np.random.RandomState,
    *,
    surfaces: bool = False,
) -> tuple[Task, Transform, str]:
    """Make the task called `name` for samples of `input_shape`.

    Parameters
    ----------
    name : str
        One of `TASKS`. "auto": the transforms that suit the shape (rotations of square pictures, reversals of signals,
        affine maps of vectors), together with the labels if there are any; for vectors and for pictures that are not
        square, the labels alone if there are any (such pictures have pastes without them); for surfaces defects alone.
    labels : array [N] or None
        Internal labels of the samples to learn from.
    surfaces : bool
        Whether the samples are pictures of surfaces: `show_surfaces`.

    Returns
    -------
    The task, its transform, and the name of the transform ("" if the task has none).

    Raises
    ------
    InputError
        If the name is unknown, the shape or the labels do not suit it, or there is only one label.
    """
    if name not in TASKS:
        raise InputError(f"task={name!r}; known are {', '.join(map(repr, TASKS))}")
    if name == "auto":
        oblong = len(input_shape) == 3 and input_shape[1] != input_shape[2]
        suited = "defects" if surfaces else "pastes" if oblong else _AUTO[len(input_shape)]
        if labels is None or surfaces:
            name = suited
        elif oblong or (len(input_shape) == 1 and len(np.unique(labels)) > 1):
            name = "labels"
        else:
            name = f"labels+{suited}"
    first, _, second = name.partition("+")
    learnt = None
    if first == "labels":
        if labels is None:
            raise InputError(f"task {name!r} classifies internal labels; pass them as the second argument of fit")
        learnt = np.unique(labels)
        if len(learnt) < 2 and not second:
            raise InputError(
                f"all {len(labels)} labels are {learnt.tolist()[0]!r}; classifying labels needs at least 2 of them. "
                "Pass no labels to classify known transforms instead"
            )
    chosen = second if first == "labels" else first
    transform = TRANSFORMS[chosen](input_shape, random_state) if chosen else Identity()
    return Task(learnt, transform.names, transform.scored), transform, chosen
