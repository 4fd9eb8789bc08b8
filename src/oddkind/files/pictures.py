"""Pictures on disk."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.language import Message
from oddkind.naming import first_names

# A few kilobytes can unpack to gigabytes, so a larger picture is a mistake or an attack. This is just below the number
# of pixels at which Pillow warns. Pillow's own limit belongs to the whole process, so it is not changed.
MAX_PIXELS = 89_000_000

# Pillow keeps the upper byte of a colour with 16 bits. In the opposite byte order this is the lower byte. It has no
# such order for grey with transparency, but reads its four bytes as four colours.
LOWER_BYTE = {"RGB;16B": "RGB;16L", "RGB;16L": "RGB;16B", "RGBA;16B": "RGBA;16L", "RGBA;16L": "RGBA;16B"}
LOWER_BYTE |= {f"{mode};16N": f"{mode};16{'B' if sys.byteorder == 'little' else 'L'}" for mode in ("RGB", "RGBA")}
# What Pillow raises if a picture is incomplete or holds nonsense.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, struct.error)
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow weighs colours


@dataclass(frozen=True)
class Form:
    """What one picture holds.

    Attributes
    ----------
    coloured : bool
    deep : bool
        Whether values have more than 8 bits.
    low, high : float
        The smallest and the largest value of the first page; 0 and 255 for 8 bits.
    n_pages : int
    transparent : bool
        Whether some pixels are not opaque.
    """

    coloured: bool
    deep: bool
    low: float
    high: float
    n_pages: int
    transparent: bool


def form_of(file: Path) -> Form:
    """Look at a picture without resizing it.

    Raises
    ------
    InputError
        As in `read_picture`.
    """
    with _opened(file) as picture, _damage():
        coloured, deep = not _is_grey(picture), _is_deep(picture)
        n_pages = getattr(picture, "n_frames", 1)
        transparent = False
        if picture.mode[0] in "IF":
            transparent = "transparency" in picture.info
        elif "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
            transparent = picture.convert("RGBA").getchannel("A").getextrema()[0] != 255
    low, high = 0.0, 255.0
    if deep:
        values = _values(file, 0)
        low, high = float(values.min()), float(values.max())
    return Form(coloured, deep, low, high, n_pages, transparent)


def common_form(forms: Sequence[Form]) -> tuple[bool, tuple[float, float] | None]:
    """Return whether all pictures are grey, and the range of their values; None if most have 8 bits."""
    deep = [form for form in forms if form.deep]
    few = 2 * len(deep) < len(forms)
    value_range = None if few else (min(form.low for form in deep), max(form.high for form in deep))
    return not any(form.coloured for form in forms), value_range


def losses(
    forms: Mapping[str, Form], *, grey: bool, value_range: tuple[float, float] | None, all_pages: bool
) -> list[tuple[str, Message]]:
    """Describe what reading drops or makes equal: a kind and a sentence for each.

    Parameters
    ----------
    forms : mapping
        By the name of the file.
    grey, value_range, all_pages
        As in `read_picture`.
    """
    transparent = [name for name, form in forms.items() if form.transparent]
    several = [name for name, form in forms.items() if form.n_pages > 1 and not all_pages]
    deep = [name for name, form in forms.items() if form.deep and value_range is None]
    coloured = [name for name, form in forms.items() if form.coloured and grey]
    colourless = [name for name, form in forms.items() if not form.coloured and not grey and _any_coloured(forms)]

    def of(names: list[str]) -> dict[str, Any]:
        return {"n": len(names), "files": len(forms), "names": first_names(names, 3)}

    found = (
        (
            "transparency",
            transparent,
            Message(
                "{n} of {files} pictures have transparent pixels, which are read as opaque: {names}", **of(transparent)
            ),
        ),
        (
            "pages",
            several,
            Message(
                "{n} of {files} pictures have several pages, of which only the first is read; --pages all reads each "
                "as a sample: {names}",
                **of(several),
            ),
        ),
        (
            "depth",
            deep,
            Message(
                "{n} of {files} pictures have more than 8 bits per value, unlike most, and are read with 8: {names}",
                **of(deep),
            ),
        ),
        (
            "colours",
            coloured,
            Message(
                "{n} of {files} pictures have colours, which are dropped; --no-grey keeps them: {names}", **of(coloured)
            ),
        ),
        (
            "colours",
            colourless,
            Message(
                "{n} of {files} pictures have no colours, unlike the others, and are read as coloured pictures; --grey "
                "reads all as grey: {names}",
                **of(colourless),
            ),
        ),
    )
    return [(kind, message) for kind, names, message in found if names]


def read_picture(
    file: Path,
    *,
    size: tuple[int, int],
    grey: bool,
    value_range: tuple[float, float] | None = None,
    all_pages: bool = False,
) -> Array:
    """Read a picture, turned upright and resized, [pages, 1 or 3, H, W]; `size` is (height, width).

    Without `value_range` it is uint8, and values of 16 bits are divided by 257. With `value_range` it is float32, and
    this range becomes 0 … 1.

    Raises
    ------
    InputError
        If the file cannot be read, the picture is larger than `MAX_PIXELS`, or its values are of another kind than
        those that `value_range` describes.
    """
    with _opened(file) as picture, _damage():
        n_pages = getattr(picture, "n_frames", 1) if all_pages else 1
        deep = _is_deep(picture)
    if value_range is None:
        return np.stack([_of_8_bits(file, page, size, grey) for page in range(n_pages)])
    if not deep:
        raise InputError("has 8 bits per value; the pictures that settings were determined from have more")
    low, high = value_range
    pages = []
    for page in range(n_pages):
        values = (_values(file, page) - low) / (high - low or 1)
        channels = np.atleast_3d(values)
        if grey and channels.shape[2] == 3:
            channels = (channels @ LUMA)[..., None]
        resized = [
            np.asarray(Image.fromarray(channel).resize(size[::-1], Image.Resampling.BILINEAR))
            for channel in np.moveaxis(channels, -1, 0).astype(np.float32)
        ]
        pages.append(resized if grey or len(resized) == 3 else resized * 3)
    return np.array(pages)


def _of_8_bits(file: Path, page: int, size: tuple[int, int], grey: bool) -> Array:
    """Return a page as uint8, [1 or 3, H, W]."""
    with _opened(file, page) as picture, _damage():
        if picture.mode == "F":
            raise InputError("holds floating-point values; the pictures that settings were determined from have 8 bits")
        upright = ImageOps.exif_transpose(picture)
        if picture.mode.startswith("I"):  # 16 bits: Pillow would cut off, not scale
            upright = Image.fromarray((np.asarray(upright) / 257).clip(0, 255).astype(np.uint8))
        if upright.mode == "P" and "transparency" in upright.info:  # Pillow would warn, though colours are the same
            upright = upright.convert("RGBA")
        resized = upright.convert("L" if grey else "RGB").resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(resized)
    return pixels[None] if grey else np.moveaxis(pixels, -1, 0)


def _values(file: Path, page: int) -> Array:
    """Return the values of a page as they are in the file, float64 [H, W] or [H, W, 3], without transparency."""
    with _opened(file, page) as picture, _damage():
        raw = _raw_mode(picture)
        if raw == "LA;16B":
            picture.tile = [type(tile)(*tile[:3], "RGBA") for tile in picture.tile]
        values = np.asarray(ImageOps.exif_transpose(picture), np.float64)
    if raw == "LA;16B":
        values = 256 * values[..., 0] + values[..., 1]
    elif raw in LOWER_BYTE:
        with _opened(file, page) as picture, _damage():
            lower = LOWER_BYTE[raw]
            picture.tile = [
                type(tile)(*tile[:3], (lower, *tile.args[1:]) if isinstance(tile.args, tuple) else lower)
                for tile in picture.tile
            ]
            values = 256 * values + np.asarray(ImageOps.exif_transpose(picture))
        values = values[..., :3]
    if not np.isfinite(values).all():
        raise InputError("holds values that are NaN or infinite")
    return values


def _raw_mode(picture: ImageFile.ImageFile) -> str:
    """Return how Pillow unpacks the pixels of a file that is not yet loaded."""
    if not picture.tile:
        return ""
    args = picture.tile[0].args
    return str(args[0] if isinstance(args, tuple) else args)


def _is_deep(picture: ImageFile.ImageFile) -> bool:
    raw = _raw_mode(picture)
    return picture.mode[0] in "IF" or raw == "LA;16B" or raw in LOWER_BYTE


def _is_grey(picture: ImageFile.ImageFile) -> bool:
    return picture.mode in ("1", "L", "LA") or picture.mode[0] in "IF" or _raw_mode(picture) == "LA;16B"


def _any_coloured(forms: Mapping[str, Form]) -> bool:
    return any(form.coloured for form in forms.values())


@contextmanager
def _damage() -> Iterator[None]:
    """Turn what Pillow raises if a picture is incomplete into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"is too large: {error}") from error
    except DAMAGE as error:
        raise InputError(f"is damaged ({error})") from error


def _opened(file: Path, page: int = 0) -> ImageFile.ImageFile:
    try:
        picture = Image.open(file)
        if page:
            picture.seek(page)
    except UnidentifiedImageError as error:
        raise InputError("is not a picture that Pillow can read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"is too large: {error}") from error
    except DAMAGE as error:
        raise InputError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    width, height = picture.size
    if width * height > MAX_PIXELS:
        picture.close()
        raise InputError(f"has {width} × {height} pixels; at most {MAX_PIXELS:,} are read")
    return picture
