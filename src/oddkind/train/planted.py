"""Transforms that plant something into pictures of surfaces: pasted pieces, or defects of many forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from oddkind.train.augmentation import warped
from oddkind.train.transform import Transform, like

# What a defect takes to draw: how it looks, where it is, and smooth noise of `NOISE` × `NOISE` numbers.
LOOK, PLACE, NOISE = 8, 7, 16
# What comes before: how the picture itself is changed, and whether there is a second defect.
HEAD = 11
# The light of a picture is the mean of each of so many parts of its height and width.
PARTS = 8
# The pieces of a line.
PIECES = 10


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

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
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
    return torch.where(inside[:, None], like(toned, x), x)


def _from_elsewhere(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move the content of pictures [N, C, H, W] cyclically, by parts [N, 1, 1] of their height and width."""
    n, channels, height, width = x.shape
    rows, columns = torch.arange(height, device=x.device)[:, None], torch.arange(width, device=x.device)
    index = (rows + (down * height).long()) % height * width + (columns + (right * width).long()) % width
    return x.flatten(2).gather(2, index.view(n, 1, -1).expand(-1, channels, -1)).view_as(x)


@dataclass(frozen=True)
class Defects(Transform):
    """A picture as it is, and with one or two defects planted.

    In training, the picture is first made another one that would be as normal: a part of it is magnified by up to 1.35,
    it may be mirrored left to right, top to bottom or both, it is lit a little unevenly, and half of the pictures get
    their light, which is the mean of each of 8 × 8 parts, from another picture.

    A defect is a patch of any outline, a bent line, a blob or a rectangle (`_patch`, `_line`, `_blob`, `_box`). Lines
    and blobs, and some of the others, are darker or brighter than the picture by 0.4 to 2.5 of its standard deviations.
    In the rest, texture is blended in with an opacity of 0.3 to 1, from elsewhere in the picture or in another one.

    Schlüter et al., "Natural synthetic anomalies for self-supervised anomaly detection and localization", ECCV 2022;
    Zavrtanik et al., "DRÆM: a discriminatively trained reconstruction embedding for surface anomaly detection", ICCV
    2021.
    """

    count: int = 2
    n_draws: ClassVar[int] = HEAD + 2 * (LOOK + PLACE + NOISE**2)
    borrows: ClassVar[bool] = True
    network: ClassVar[str] = "unet"

    @property
    def names(self) -> tuple[str, ...]:
        """A description of each view."""
        return "as it is", "with defects planted"

    def __call__(self, x: Tensor, draws: Tensor | None = None, others: Tensor | None = None) -> Tensor:
        """[N, C, H, W] → [N, 2, C, H, W], or [N, 1, C, H, W] without draws."""
        if draws is None:
            return x[:, None]
        others = x if others is None else others
        mirrored, slopes, parts = draws[:, 0:2], 0.8 * draws[:, 2:4, None, None, None] - 0.4, draws[:, 4:8]
        again, lit, foreign = draws[:, 8] < 0.3, *(draws[:, 9:HEAD, None, None, None] < 0.5).unbind(1)
        first, second = draws[:, HEAD:].unflatten(1, (2, -1)).unbind(1)
        seen = _magnified(x.float(), parts)
        for axis, side in ((-1, mirrored[:, 0]), (-2, mirrored[:, 1])):
            seen = torch.where(side[:, None, None, None] < 0.5, seen, seen.flip(axis))
        seen = torch.where(lit, seen + _light(others.float()) - _light(seen), seen)
        down, right = (torch.linspace(-1, 1, size, device=x.device) for size in x.shape[2:])
        slope = slopes[:, 0] * down[:, None] + slopes[:, 1] * right
        plain = like(seen + slope * seen.std((1, 2, 3), keepdim=True), x)
        texture = others + (plain.float() - others).mean((1, 2, 3), keepdim=True)
        texture = torch.where(foreign, texture, plain)
        planted = _with_defect(plain, texture, first)
        if again.any():
            planted[again] = _with_defect(planted[again], texture[again], second[again])
        return torch.stack([plain, planted], 1)


def _magnified(x: Tensor, draws: Tensor) -> Tensor:
    """Show a part of pictures [N, C, H, W], by draws [N, 4]: all of the height or width, or as little as 74 % of it."""
    size = (0.3 * (2 * draws[:, :2] - 1)).exp().clamp(max=1)
    place = (2 * draws[:, 2:] - 1) * (1 - size)
    return warped(x, torch.cat([size.log(), place], 1), beyond="border")


def _light(x: Tensor) -> Tensor:
    """Return the means of 8 × 8 parts of pictures [N, C, H, W], interpolated between."""
    means = torch.nn.functional.adaptive_avg_pool2d(x, PARTS)
    return torch.nn.functional.interpolate(means, x.shape[2:], mode="bicubic", align_corners=False)


def _with_defect(x: Tensor, texture: Tensor, draws: Tensor) -> Tensor:
    """Plant a defect into each picture [N, C, H, W], by draws [N, LOOK + PLACE + NOISE²]; `texture` is like x."""
    look, where = draws[:, :LOOK, None, None, None], draws[:, LOOK:]
    darker, tone, from_y, from_x, toned_too, opacity, toned = look[:, 1:].unbind(1)
    form, forms = (4 * draws[:, 0]).long(), (_patch, _line, _blob, _box)
    mask = torch.zeros(len(x), 1, *x.shape[2:], device=x.device)
    for number, make in enumerate(forms):
        rows = form == number
        if rows.any():
            mask[rows, 0] = make(where[rows], *x.shape[2:])
    tone = torch.where(darker < 0.65, -1, 1) * (0.4 + 2.1 * tone) * x.float().std((1, 2, 3), keepdim=True)
    blended = _from_elsewhere(texture, from_y[:, 0], from_x[:, 0]) + torch.where(toned_too < 0.5, 0.5, 0.0) * tone
    always_toned = torch.isin(form, torch.tensor([forms.index(_line), forms.index(_blob)], device=x.device))
    toned = always_toned[:, None, None, None] | (toned < 0.3)
    return like(torch.where(toned, x + tone * mask, x + (0.3 + 0.7 * opacity) * mask * (blended - x)), x)


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
