"""How samples are changed at random in training: mixed with one another, moved, and stretched."""

from __future__ import annotations

import torch
from torch import Tensor

from oddkind.train.stacked import as_float


def mixed(x: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """Mixtures λ x + (1 − λ) x' of samples [n, ...], λ [n], as networks read them: Zhang et al., ICLR 2018."""
    share = share.view(-1, *[1] * (x.ndim - 1))
    return share * as_float(x) + (1 - share) * as_float(other)


def shifted(x: Tensor, moves: Tensor) -> Tensor:
    """Move samples [n, C, ...] along the axes after the channels by `moves` [n, axes]; the border is repeated."""
    for axis in range(moves.shape[1]):
        size = x.shape[axis + 2]
        index = (torch.arange(size, device=x.device) - moves[:, axis, None]).clamp_(0, size - 1)  # [n, size]
        x = x.take_along_dim(index.view(len(x), *[1] * (axis + 1), size, *[1] * (x.ndim - axis - 3)), axis + 2)
    return x


def warped(x: Tensor, warps: Tensor, beyond: str = "zeros") -> Tensor:
    """Stretch and move pictures [n, C, H, W] by `warps` [n, 4], interpolating linearly.

    Beyond the border lies 0, or the border itself ("border").

    (a, b, c, d): the height is divided by exp a and the width by exp b, around the middle; then the picture is moved up
    by c and to the left by d, in halves of its size.
    """
    tall, wide, up, left = warps[:, :, None, None].unbind(1)
    down, across = ((torch.arange(size, device=x.device, dtype=warps.dtype) * 2 + 1) / size - 1 for size in x.shape[2:])
    rows, columns = down[:, None] * tall.exp() + up, across * wide.exp() + left
    grid = torch.stack(torch.broadcast_tensors(columns, rows), 3)
    return torch.nn.functional.grid_sample(as_float(x), grid, padding_mode=beyond, align_corners=False)
