"""What to classify: L internal labels × V known transforms make L · V classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from oddkind.errors import InputError

Array = npt.NDArray[Any]


class Transform:
    """Shows samples in V = `count` views, the first of them the sample as it is or as good as that.

    Attributes
    ----------
    n_draws : int
        How many random numbers it takes to show a sample. 0: its views are always the same. Else only the first view
        is scored, for it takes none.
    local : bool
        Whether a view differs from the others in one place only.
    """

    n_draws: ClassVar[int] = 0
    local: ClassVar[bool] = False

    @property
    def count(self) -> int:
        """V, how many views there are to tell apart."""
        raise NotImplementedError

    @property
    def scored(self) -> int:
        """How many of the views, the first ones, a sample is scored in."""
        return 1 if self.n_draws else self.count

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows, for people, [V]."""
        raise NotImplementedError

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, ...] → [N, V, ...], with draws [N, n_draws] from [0, 1); without them the views that are scored."""
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Transform):
    """No transform: every sample is seen once, as it is."""

    count: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return ("as it is",)

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, ...] → [N, 1, ...]."""
        return x[:, None]


@dataclass(frozen=True)
class Rotations(Transform):
    """A picture and its turns by 90, 180 and 270 degrees counter-clockwise.

    RotNet: Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018.
    """

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "as it is", *(f"turned by {360 * turn // self.count}°" for turn in range(1, self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, S, S] → [N, 4, C, S, S]."""
        return torch.stack([torch.rot90(x, turns, (-2, -1)) for turns in range(self.count)], 1)


@dataclass(frozen=True)
class Reversals(Transform):
    """A signal forwards and backwards in time."""

    count: int = 2

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "forwards", "backwards"

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 2, C, T]."""
        return torch.stack([x, x.flip(-1)], 1)


@dataclass(frozen=True)
class Speeds(Transform):
    """A signal as it is, a quarter faster and higher, and a fifth slower and lower, about its middle.

    Between samples it is interpolated, beyond its ends reflected. As a pretext task: Sarkar & Etemad,
    "Self-supervised ECG representation learning for emotion recognition", IEEE TAFFC 2020.
    """

    count: int = 3

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "as it is", "faster by a quarter", "slower by a fifth"

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 3, C, T]."""
        last = x.shape[-1] - 1
        now = torch.arange(last + 1, device=x.device) - last / 2
        views = [x]
        for speed in (1.25, 0.8):
            at = last - ((now * speed + last / 2).abs() - last).abs()
            before = at.floor().long().clamp(max=max(last - 1, 0))
            views.append(torch.lerp(x[..., before].float(), x[..., (before + 1).clamp(max=last)].float(), at - before))
        return torch.stack([_like(view, x) for view in views], 1)


@dataclass(frozen=True)
class Bands(Transform):
    """A signal as it is, and without the lowest, middle and highest third of its frequencies; its mean stays.

    As SpecAugment's frequency masks, to be told apart: Park et al., "SpecAugment", Interspeech 2019.
    """

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "as it is", *(f"without the {part} third of its frequencies" for part in ("lowest", "middle", "highest"))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 4, C, T]."""
        spectrum = torch.fft.rfft(x.float())
        third = 3 * torch.arange(spectrum.shape[-1] - 1, device=x.device) // max(1, spectrum.shape[-1] - 1)
        kept = [torch.nn.functional.pad(third != band, (1, 0), value=True) for band in range(3)]
        views = [torch.fft.irfft(spectrum * of, n=x.shape[-1]) for of in kept]
        return torch.stack([x, *(_like(view, x) for view in views)], 1)


@dataclass(frozen=True)
class Permutations(Transform):
    """A signal as it is, and with its channels moved on cyclically: each stands where another belongs."""

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "as it is", *(f"channels moved on by {view}/{self.count}" for view in range(1, self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, V, C, T]."""
        channels = x.shape[1]
        return torch.stack([x.roll(view * channels // self.count, 1) for view in range(self.count)], 1)


@dataclass(frozen=True)
class Pastes(Transform):
    """A picture as it is, with a piece of itself pasted elsewhere, and with a thin scar of itself so pasted.

    In training it may be mirrored first, left to right, top to bottom or both, to which surfaces are indifferent.
    The piece covers 1 to 12 % of a square picture, its sides up to 3 : 1; the scar is 2 to 6 % of the shorter side
    wide, 6 to 25 % long, and turned. Both become brighter or darker, by up to twice the picture's standard deviation.
    CutPaste: Li et al., "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021.
    """

    count: int = 3
    n_draws: ClassVar[int] = 18
    local: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return "as it is", "with a piece pasted in", "with a scar pasted in"

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → [N, 3, C, H, W], or [N, 1, C, H, W] without draws."""
        if draws is None:
            return x[:, None]
        for axis, mirrored in ((-1, draws[:, 16]), (-2, draws[:, 17])):
            x = torch.where(mirrored[:, None, None, None] < 0.5, x, x.flip(axis))
        piece, scar = draws[:, :16].unflatten(1, (2, 8)).unbind(1)
        area, sides = (0.01 + 0.11 * piece[:, 0]).sqrt(), 3 ** (piece[:, 1] - 0.5)
        thin = 0.02 + 0.04 * scar[:, 0], 0.06 + 0.19 * scar[:, 1]
        pasted = _pasted(x, area * sides, area / sides, piece), _pasted(x, *thin, scar, turned=True)
        return torch.stack([x, *pasted], 1)


def _pasted(x: Tensor, wide: Tensor, long: Tensor, draws: Tensor, *, turned: bool = False) -> Tensor:
    """Paste a rectangle of each picture [N, C, H, W] into itself, so wide and long [N] in parts of its shorter side."""
    n, channels, height, width = x.shape
    to_y, to_x, angle, from_y, from_x, tone = draws[:, 2:8, None, None].unbind(1)  # [N, 1, 1] each
    rows, columns = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    down, right = rows + 0.5 - to_y * height, columns + 0.5 - to_x * width  # from the middle of where it goes
    cosine, sine = (torch.cos(torch.pi * angle), torch.sin(torch.pi * angle)) if turned else (1.0, 0.0)
    half = min(height, width) / 2
    half_wide, half_long = ((half * of).clamp(min=0.75)[:, None, None] for of in (wide, long))  # a pixel at least
    inside = (cosine * right + sine * down).abs() < half_wide
    inside &= (cosine * down - sine * right).abs() < half_long
    index = (rows + (from_y * height).long()) % height * width + (columns + (from_x * width).long()) % width
    source = x.flatten(2).gather(2, index.view(n, 1, -1).expand(-1, channels, -1)).view_as(x)
    toned = source + (4 * tone[..., None] - 2) * x.float().std((1, 2, 3), keepdim=True)
    return torch.where(inside[:, None], _like(toned, x), x)


def _like(view: Tensor, x: Tensor) -> Tensor:
    """Bring a view to the type of the samples."""
    return view.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else view.to(x.dtype)


@dataclass(frozen=True, eq=False)
class Affine(Transform):
    """A vector under V random linear maps, fixed once drawn; GOAD: Bergman & Hoshen, ICLR 2020."""

    matrices: Array  # [V, D, D]

    @property
    def count(self) -> int:
        """How many maps there are."""
        return len(self.matrices)

    @property
    def names(self) -> tuple[str, ...]:
        """What each view shows."""
        return tuple(f"map {view + 1}" for view in range(self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, D] → [N, V, D]."""
        return torch.einsum("nd,vde->nve", x, torch.as_tensor(self.matrices, dtype=x.dtype, device=x.device))


Maker = Callable[[tuple[int, ...], np.random.RandomState], Transform]


def _rotations(input_shape: tuple[int, ...], _: np.random.RandomState) -> Rotations:
    if len(input_shape) != 3 or input_shape[1] != input_shape[2]:
        raise InputError(f"task 'rotations' turns square pictures [N, C, S, S]; got samples of shape {input_shape}")
    return Rotations()


def _of_signals(name: str, what: str, make: Callable[[int], Transform]) -> Maker:
    def of(input_shape: tuple[int, ...], _: np.random.RandomState) -> Transform:
        if len(input_shape) != 2:
            raise InputError(f"task {name!r} {what} signals [N, C, T]; got samples of shape {input_shape}")
        return make(input_shape[0])

    return of


def _permutations(channels: int) -> Permutations:
    if channels < 2:
        raise InputError("task 'permutations' moves the channels of signals [N, C, T]; it needs at least 2, got 1")
    return Permutations(min(channels, 4))


def _affine(input_shape: tuple[int, ...], random_state: np.random.RandomState, count: int = 8) -> Affine:
    if len(input_shape) != 1:
        raise InputError(f"task 'affine' maps vectors [N, D]; got samples of shape {input_shape}")
    size = input_shape[0]
    return Affine((random_state.standard_normal((count, size, size)) / np.sqrt(size)).astype(np.float32))


def _pastes(input_shape: tuple[int, ...], _: np.random.RandomState) -> Pastes:
    if len(input_shape) != 3:
        raise InputError(f"task 'pastes' pastes into pictures [N, C, H, W]; got samples of shape {input_shape}")
    return Pastes()


TRANSFORMS: dict[str, Maker] = {
    "rotations": _rotations,
    "pastes": _pastes,
    "reversals": _of_signals("reversals", "reverses", lambda _: Reversals()),
    "speeds": _of_signals("speeds", "speeds up and slows down", lambda _: Speeds()),
    "bands": _of_signals("bands", "takes frequencies out of", lambda _: Bands()),
    "permutations": _of_signals("permutations", "moves the channels of", _permutations),
    "affine": _affine,
}

TASKS = ("auto", "labels", *TRANSFORMS, *(f"labels+{name}" for name in TRANSFORMS))

# The transforms a task without labels is made of, by the rank of one sample: [D], [C, T], [C, H, W].
_AUTO = {1: "affine", 2: "reversals", 3: "rotations"}


def ambiguous(transform: Transform, x: Tensor) -> float:
    """Part of the samples [N, ...] of which two views are the same, such as a symmetric picture and its turns."""
    draws = torch.as_tensor(np.random.default_rng(0).random((len(x), transform.n_draws), np.float32), device=x.device)
    views = transform(x, draws).flatten(2)
    same = [(views[:, a] == views[:, b]).all(1) for a in range(transform.count) for b in range(a)]
    return float(torch.stack(same).any(0).float().mean()) if same else 0.0


@dataclass(frozen=True, eq=False)
class Task:
    """L internal labels × V known transforms; class l·V + v is label l under transform v.

    Attributes
    ----------
    labels : array [L] or None
        The internal labels, sorted. None: the task has none (L = 1).
    transform : Transform
    """

    labels: Array | None
    transform: Transform

    @property
    def n_classes(self) -> int:
        """C = L · V."""
        return self.transform.count * (1 if self.labels is None else len(self.labels))

    def targets(self, labels: Array | None, n_samples: int, *, training: bool = False) -> Array | None:
        """Class of every view that is scored, or all for training, int64 [N, V].

        None when the task has labels and they were not given.

        Raises
        ------
        InputError
            Where a label was not learnt.
        """
        views = np.arange(self.transform.count if training else self.transform.scored)
        if self.labels is None:
            return np.tile(views, (n_samples, 1))
        if labels is None:
            return None
        index = np.searchsorted(self.labels, labels).clip(max=len(self.labels) - 1)
        unseen = np.flatnonzero(self.labels[index] != labels)
        if len(unseen):
            label = labels.tolist()[unseen[0]]
            raise InputError(f"label {label!r} of sample {unseen[0]} was not learnt; known are {self.labels.tolist()}")
        return np.asarray(index[:, None] * self.transform.count + views)


def make_task(
    name: str, input_shape: tuple[int, ...], labels: Array | None, random_state: np.random.RandomState
) -> Task:
    """Make the task called `name` for samples of `input_shape`.

    Parameters
    ----------
    name : str
        One of `TASKS`. "auto": the transforms that suit the shape (rotations of square pictures, reversals of
        signals, affine maps of vectors), together with the labels where there are any; for pictures that are not
        square, the labels alone, or pastes without any.
    labels : array [N] or None
        Internal labels of the samples to learn from.

    Raises
    ------
    InputError
        Where the name is unknown, the shape or the labels do not suit it, or there is one label only.
    """
    if name not in TASKS:
        raise InputError(f"task={name!r}; known are {', '.join(map(repr, TASKS))}")
    if name == "auto":
        oblong = len(input_shape) == 3 and input_shape[1] != input_shape[2]
        transform = "pastes" if oblong else _AUTO[len(input_shape)]
        name = transform if labels is None else "labels" if oblong else f"labels+{transform}"
    first, _, rest = name.partition("+")
    if first != "labels":
        return Task(None, TRANSFORMS[first](input_shape, random_state))
    if labels is None:
        raise InputError(f"task {name!r} classifies internal labels; pass them as the second argument of fit")
    kinds = np.unique(labels)
    if len(kinds) < 2 and not rest:
        raise InputError(
            f"all {len(labels)} labels are {kinds.tolist()[0]!r}; telling kinds apart needs at least 2. "
            "Without labels the task makes its own: pass none"
        )
    return Task(kinds, TRANSFORMS[rest](input_shape, random_state) if rest else Identity())
