"""Pictures on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from oddkind.arrays import Array
from oddkind.errors import InputError

# A few kilobytes can unpack to gigabytes, so a larger picture is a mistake or an attack. This is just below the number
# of pixels at which Pillow warns. Pillow's own limit belongs to the whole process, so it is not changed.
MAX_PIXELS = 89_000_000


def is_grey(file: Path) -> bool:
    """Return whether a picture has no colours."""
    with _opened(file) as picture:
        return picture.mode in ("1", "L", "LA") or picture.mode.startswith("I")


def read_picture(file: Path, *, size: tuple[int, int], grey: bool) -> Array:
    """Read a picture, turned upright and resized, uint8 [1 or 3, H, W]; `size` is (height, width).

    Raises
    ------
    InputError
        If the file cannot be read, or the picture is larger than `MAX_PIXELS`.
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
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises if a picture is incomplete
        raise InputError(f"is damaged ({error})") from error
    return pixels[None] if grey else np.moveaxis(pixels, -1, 0)


def _opened(file: Path) -> Image.Image:
    try:
        picture = Image.open(file)
    except UnidentifiedImageError as error:
        raise InputError("is not a picture that Pillow can read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"is too large: {error}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        raise InputError(f"has {width} × {height} pixels; at most {MAX_PIXELS:,} are read")
    return picture
