"""Pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oddkind.errors import InputError
from oddkind.samples import Array

MOST_PIXELS = 100_000_000  # more is a mistake or an attack: a few kilobytes can unpack to gigabytes


def is_grey(file: Path) -> bool:
    """Whether a picture has no colour."""
    with _opened(file) as picture:
        return picture.mode in ("1", "L", "LA") or picture.mode.startswith("I")


def read_picture(file: Path, *, size: tuple[int, int], grey: bool) -> Array:
    """Read a picture, turned upright and resized, uint8 [1 or 3, H, W]; `size` is (height, width).

    Raises
    ------
    InputError
        Where it cannot be read or is larger than `MOST_PIXELS`.
    """
    try:
        with _opened(file) as picture:
            upright = ImageOps.exif_transpose(picture)
            if picture.mode.startswith("I"):  # 16 bits: Pillow would cut off, not scale
                upright = Image.fromarray((np.asarray(upright) / 257).clip(0, 255).astype(np.uint8))
            resized = upright.convert("L" if grey else "RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(resized)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises where a picture breaks off
        raise InputError(f"damaged ({error})") from error
    return pixels[None] if grey else np.moveaxis(pixels, -1, 0)


def _opened(file: Path) -> Image.Image:
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours counts, below
    try:
        picture = Image.open(file)
    except UnidentifiedImageError as error:
        raise InputError("no picture that Pillow reads") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    width, height = picture.size
    if width * height > MOST_PIXELS:
        picture.close()
        raise InputError(f"{width} × {height} pixels; at most {MOST_PIXELS:,} are read")
    return picture
