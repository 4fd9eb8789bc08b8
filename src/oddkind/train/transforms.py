"""Known transforms, which turn a sample into V views that a network learns to distinguish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.model.task import Task

# What a defect takes to draw: how it looks, where it is, and smooth noise of `NOISE` × `NOISE` numbers.
LOOK, PLACE, NOISE = 8, 7, 16
# The pieces of a line.
PIECES = 10


class Transform:
    """Turns a sample into V = `count` views; the first is the sample itself, or equivalent to it.

    Attributes
    ----------
    n_draws : int
        The number of random numbers that the views of a sample need. 0: its views are always the same. Otherwise only
        the first view is scored, because it needs none.
    network : str
        The name of the network that suits it; "auto": that of the shape.
    """

    n_draws: ClassVar[int] = 0
    network: ClassVar[str] = "auto"

    @property
    def count(self) -> int:
        """The number of views, V."""
        raise NotImplementedError

    @property
    def scored(self) -> int:
        """The number of views that a sample is scored in, counted from the first."""
        return 1 if self.n_draws else self.count

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view, [V]."""
        raise NotImplementedError

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """Map samples [N, ...] to views [N, V, ...], using random numbers `draws` [N, n_draws] in [0, 1).

        Without `draws`, only the views that are scored are returned.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Identity(Transform):
    """No transform: the only view of a sample is the sample itself."""

    count: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return ("as it is",)

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
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

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
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

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
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

    The frequency masks of SpecAugment, used as classes: Park et al., "SpecAugment", Interspeech 2019.
    """

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", *(f"without the {band} third of its frequencies" for band in ("lowest", "middle", "highest"))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, 4, C, T]."""
        spectrum = torch.fft.rfft(x.float())
        third = 3 * torch.arange(spectrum.shape[-1] - 1, device=x.device) // max(1, spectrum.shape[-1] - 1)
        masks = [torch.nn.functional.pad(third != band, (1, 0), value=True) for band in range(3)]
        views = [torch.fft.irfft(spectrum * mask, n=x.shape[-1]) for mask in masks]
        return torch.stack([x, *(_like(view, x) for view in views)], 1)


@dataclass(frozen=True)
class Permutations(Transform):
    """A signal as it is, and with its channels shifted cyclically, so that each takes the place of another."""

    count: int = 4

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", *(f"channels moved on by {view}/{self.count}" for view in range(1, self.count))

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, T] → [N, V, C, T]."""
        channels = x.shape[1]
        return torch.stack([x.roll(view * channels // self.count, 1) for view in range(self.count)], 1)


@dataclass(frozen=True)
class Pastes(Transform):
    """A picture as it is, with a piece of it pasted elsewhere, and with a thin strip of it (a scar) pasted elsewhere.

    In training, the picture may first be mirrored left to right, top to bottom or both, since surfaces have no
    preferred direction. The piece covers 1 to 12 % of a square picture and its sides are up to 3 : 1. The scar is 2 to
    6 % of the shorter side wide, 6 to 25 % long, and rotated. Both are made brighter or darker, by up to twice the
    picture's standard deviation.

    CutPaste: Li et al., "CutPaste: self-supervised learning for anomaly detection and localization", CVPR 2021.
    """

    count: int = 3
    n_draws: ClassVar[int] = 18
    network: ClassVar[str] = "local"

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
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
    """Paste a rectangle of each picture [N, C, H, W] into the picture itself.

    `wide` and `long` [N] are the sides of the rectangle as fractions of the picture's shorter side.
    """
    height, width = x.shape[2:]
    to_y, to_x, angle, from_y, from_x, tone = draws[:, 2:8, None, None].unbind(1)  # [N, 1, 1] each
    rows, columns = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    down, right = rows + 0.5 - to_y * height, columns + 0.5 - to_x * width  # from the centre of the destination
    cosine, sine = (torch.cos(torch.pi * angle), torch.sin(torch.pi * angle)) if turned else (1.0, 0.0)
    half = min(height, width) / 2
    half_wide, half_long = ((half * side).clamp(min=0.75)[:, None, None] for side in (wide, long))  # at least a pixel
    inside = (cosine * right + sine * down).abs() < half_wide
    inside &= (cosine * down - sine * right).abs() < half_long
    toned = _from_elsewhere(x, from_y, from_x) + (4 * tone[..., None] - 2) * x.float().std((1, 2, 3), keepdim=True)
    return torch.where(inside[:, None], _like(toned, x), x)


def _from_elsewhere(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move the content of pictures [N, C, H, W] cyclically, by parts [N, 1, 1] of their height and width."""
    n, channels, height, width = x.shape
    rows, columns = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    index = (rows + (down * height).long()) % height * width + (columns + (right * width).long()) % width
    return x.flatten(2).gather(2, index.view(n, 1, -1).expand(-1, channels, -1)).view_as(x)


@dataclass(frozen=True)
class Defects(Transform):
    """A picture as it is, and with one or two defects planted.

    In training, the picture may first be mirrored left to right, top to bottom or both, and is lit a little unevenly. A
    defect is a patch of any outline, a bent line, a blob or a rectangle (`_patch`, `_line`, `_blob`, `_box`). Lines and
    blobs, and some of the others, are darker or brighter than the picture by 0.4 to 2.5 of its standard deviations; in
    the others, texture from elsewhere in the picture is blended in, with an opacity of 0.3 to 1.

    Schlüter et al., "Natural synthetic anomalies for self-supervised anomaly detection and localization", ECCV 2022;
    Zavrtanik et al., "DRÆM: a discriminatively trained reconstruction embedding for surface anomaly detection", ICCV
    2021.
    """

    count: int = 2
    n_draws: ClassVar[int] = 5 + 2 * (LOOK + PLACE + NOISE**2)
    network: ClassVar[str] = "unet"

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", "with defects planted"

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → [N, 2, C, H, W], or [N, 1, C, H, W] without draws."""
        if draws is None:
            return x[:, None]
        for axis, mirrored in ((-1, draws[:, 0]), (-2, draws[:, 1])):
            x = torch.where(mirrored[:, None, None, None] < 0.5, x, x.flip(axis))
        down, right = (torch.linspace(-1, 1, size, device=x.device) for size in x.shape[2:])
        slopes = 0.8 * draws[:, 2:4, None, None, None] - 0.4
        light = slopes[:, 0] * down[:, None] + slopes[:, 1] * right
        plain = _like(x + light * x.float().std((1, 2, 3), keepdim=True), x)
        first, second = draws[:, 5:].unflatten(1, (2, -1)).unbind(1)
        planted, again = _with_defect(plain, first), draws[:, 4] < 0.3
        if again.any():
            planted[again] = _with_defect(planted[again], second[again])
        return torch.stack([plain, planted], 1)


def _with_defect(x: Tensor, draws: Tensor) -> Tensor:
    """Plant a defect into each picture [N, C, H, W], by draws [N, LOOK + PLACE + NOISE²]."""
    look, where = draws[:, :LOOK, None, None, None], draws[:, LOOK:]
    darker, tone, from_y, from_x, toned_too, opacity, toned = look[:, 1:].unbind(1)
    form, forms = (4 * draws[:, 0]).long(), (_patch, _line, _blob, _box)
    mask = torch.zeros(len(x), 1, *x.shape[2:], device=x.device)
    for number, make in enumerate(forms):
        rows = form == number
        if rows.any():
            mask[rows, 0] = make(where[rows], *x.shape[2:])
    tone = torch.where(darker < 0.65, -1, 1) * (0.4 + 2.1 * tone) * x.float().std((1, 2, 3), keepdim=True)
    texture = _from_elsewhere(x, from_y[:, 0], from_x[:, 0]) + torch.where(toned_too < 0.5, 0.5, 0.0) * tone
    always_toned = torch.isin(form, torch.tensor([forms.index(_line), forms.index(_blob)], device=x.device))
    toned = always_toned[:, None, None, None] | (toned < 0.3)
    return _like(torch.where(toned, x + tone * mask, x + (0.3 + 0.7 * opacity) * mask * (texture - x)), x)


def _patch(draws: Tensor, height: int, width: int) -> Tensor:
    """Where smooth noise is high, often within a rectangle only; [N, H, W] of 0 and 1."""
    zoom, level, whole = (draws[:, number, None, None] for number in (0, 1, 2))
    noise = torch.erfinv(1.98 * draws[:, PLACE:] - 0.99).view(-1, 1, NOISE, NOISE)
    down, right = (torch.linspace(-1, 1, size, device=draws.device) for size in (height, width))
    share = 0.15**zoom  # of the noise that fills the picture: the less, the larger the patches
    grid = torch.stack(torch.broadcast_tensors(right * share, down[:, None] * share), 3)
    smooth = torch.nn.functional.grid_sample(noise, grid, mode="bicubic", align_corners=False)[:, 0]
    smooth = smooth / (smooth.std((1, 2), keepdim=True) + 1e-6)
    inside = (whole < 0.3) | (_box(draws[:, 3:], height, width) > 0)
    smooth = torch.where(inside, smooth, -torch.inf)
    least = torch.minimum(0.8 + 1.2 * level, smooth.amax((1, 2), keepdim=True) - 0.3)  # something always shows
    return (smooth > least).float()


def _line(draws: Tensor, height: int, width: int) -> Tensor:
    """A bent line of 2 to 10 pieces; [N, H, W] from 0 to 1."""
    side, (bends, steps) = min(height, width), draws[:, PLACE : PLACE + 2 * PIECES].split(PIECES, 1)
    bends = torch.cumsum(2 * bends - 1, 1) + 2 * torch.pi * draws[:, :1]
    steps = side * (0.02 + 0.08 * steps)
    start = torch.stack([draws[:, 1] * height, draws[:, 2] * width], 1)[:, None]
    moves = torch.stack([bends.sin(), bends.cos()], 2) * steps[..., None]
    ends = start + moves.cumsum(1)
    starts = ends - moves
    rows, columns = torch.arange(height, device=draws.device) + 0.5, torch.arange(width, device=draws.device) + 0.5
    count = 2 + (draws[:, 3] * (PIECES - 1)).long()
    nearest = torch.full((len(draws), height, width), float("inf"), device=draws.device)
    for piece in range(PIECES):
        y, x = (rows - starts[:, piece, :1])[:, :, None], (columns - starts[:, piece, 1:])[:, None, :]
        down, right = moves[:, piece, 0, None, None], moves[:, piece, 1, None, None]
        along = ((y * down + x * right) / (down**2 + right**2)).clamp(0, 1)
        distance = (y - along * down).square() + (x - along * right).square()
        nearest = torch.where((piece < count)[:, None, None], torch.minimum(nearest, distance), nearest)
    half = 0.25 + side / 128 * 1.5 * draws[:, 4, None, None]
    return (half + 0.5 - nearest.sqrt()).clamp(0, 1)


def _blob(draws: Tensor, height: int, width: int) -> Tensor:
    """A soft ellipse, of 1 to 23 % of the shorter side; [N, H, W] from 0 to 1."""
    y, x, size, shape, angle = (draws[:, number, None, None] for number in range(5))
    rows, columns = torch.arange(height, device=draws.device)[:, None], torch.arange(width, device=draws.device)
    down, right = rows + 0.5 - y * height, columns + 0.5 - x * width
    radius, longer = min(height, width) * 0.012 * 19.5**size, 2 ** (2 * shape - 1)
    cosine, sine = torch.cos(torch.pi * angle), torch.sin(torch.pi * angle)
    away = torch.hypot((cosine * right + sine * down) / longer, (cosine * down - sine * right) * longer)
    return ((radius - away) / 2 + 0.5).clamp(0, 1)


def _box(draws: Tensor, height: int, width: int) -> Tensor:
    """A rectangle of 1 to 20 % of a square picture, with sides of up to 3.3 : 1; [N, H, W] of 0 and 1."""
    area, shape, y, x = (draws[:, number, None, None] for number in range(4))
    side, longer = min(height, width) * (0.01 + 0.19 * area).sqrt(), 3.3 ** (shape - 0.5)
    rows, columns = torch.arange(height, device=draws.device)[:, None], torch.arange(width, device=draws.device)
    inside = (rows + 0.5 - y * height).abs() < (side * longer / 2).clamp(min=0.75)
    return (inside & ((columns + 0.5 - x * width).abs() < (side / longer / 2).clamp(min=0.75))).float()


def _like(view: Tensor, x: Tensor) -> Tensor:
    """Convert a view to the type of the samples."""
    return view.round().clamp(0, 255).to(x.dtype) if x.dtype == torch.uint8 else view.to(x.dtype)


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

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
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

    def __call__(self, x: Tensor, draws: Tensor | None = None) -> Tensor:
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
