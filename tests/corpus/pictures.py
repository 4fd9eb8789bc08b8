"""Pictures."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image

from corpus.forms import ANY, EMPTY, HTML, NOISE, TEXT, ZEROS, Draw, form, of_bytes, patched


def pixels(draw: Draw, *shape: int, dtype: type = np.uint8) -> np.ndarray:
    """A smooth picture with noise."""
    height, width = shape[:2]
    ramp = np.linspace(0, 0.6, height)[:, None] + np.linspace(0, 0.3, width)
    values = ramp.reshape(height, width, *[1] * (len(shape) - 2)) + 0.1 * draw.random(shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


def picture(mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (24, 20), **options) -> Callable:
    """Write pictures of one of Pillow's modes."""

    def make(draw: Draw) -> bytes:
        if mode in ("I;16", "F", "I"):
            dtype = {"I;16": np.uint16, "F": np.float32, "I": np.int32}[mode]
            image = Image.fromarray(pixels(draw, *size, dtype=dtype))
        else:
            image = Image.fromarray(pixels(draw, *size, 4), "RGBA" if mode == "RGBA" else None).convert(mode)
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        return stream.getvalue()

    return make


def chunk(name: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0, *more: bytes) -> bytes:
    """A PNG of packed rows, each with its filter byte."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rows_of(draw: Draw, height: int, n_bytes: int) -> bytes:
    """Random rows of a PNG."""
    return b"".join(b"\0" + draw.bytes(n_bytes) for _ in range(height))


def pages(kind: str, sizes: tuple[int, ...], modes: tuple[str, ...] = ("L",)) -> Callable[[Draw], bytes]:
    """Pictures with several pages."""

    def make(draw: Draw) -> bytes:
        images = [
            Image.fromarray(pixels(draw, size, size, 3)).convert(modes[n % len(modes)]) for n, size in enumerate(sizes)
        ]
        stream = io.BytesIO()
        images[0].save(stream, kind, save_all=True, append_images=images[1:])
        return stream.getvalue()

    return make


def tiff_field(content: bytes, tag: int, number: int) -> bytes:
    """Overwrite the value of a field of a little-endian TIFF."""
    new = bytearray(content)
    (at,) = struct.unpack_from("<I", new, 4)
    for entry in range(struct.unpack_from("<H", new, at)[0]):
        place = at + 2 + 12 * entry
        if struct.unpack_from("<H", new, place)[0] == tag:
            struct.pack_into("<HHII", new, place, tag, 4, 1, number)
    return bytes(new)


def _add() -> None:
    add = partial(form, "pictures")
    for mode, kind, suffix in (
        *(
            ("L", kind, suffix)
            for kind, suffix in (("PNG", ".png"), ("JPEG", ".jpg"), ("BMP", ".bmp"), ("TIFF", ".tif"))
        ),
        *(("RGB", kind, suffix) for kind, suffix in (("PNG", ".png"), ("JPEG", ".jpeg"), ("WEBP", ".webp"))),
        *(("RGB", kind, suffix) for kind, suffix in (("TIFF", ".tiff"), ("PPM", ".ppm"), ("BMP", ".BMP"))),
        ("L", "PPM", ".pgm"),
        *(
            ("1", kind, suffix)
            for kind, suffix in (("PNG", ".png"), ("TIFF", ".tif"), ("BMP", ".bmp"), ("PPM", ".pgm"))
        ),
        *((mode, "PNG", ".png") for mode in ("LA", "RGBA", "P", "I;16")),
        *((mode, "TIFF", ".tif") for mode in ("I;16", "F", "I", "RGBA", "LA", "P", "CMYK", "LAB", "YCbCr")),
        *(("CMYK", "JPEG", ".jpg"), ("RGBA", "WEBP", ".webp"), ("P", "BMP", ".bmp"), ("I;16", "PPM", ".pgm")),
        # Content under another suffix.
        *(("RGB", "JPEG", ".png"), ("L", "PNG", ".jpg"), ("RGB", "GIF", ".png"), ("RGB", "JPEG2000", ".tif")),
        ("L", "TIFF", ".bmp"),
    ):
        add(f"{kind} {mode} as {suffix}", suffix, of_bytes(picture(mode, kind)))
    add("PNG of one pixel", ".png", of_bytes(picture("L", size=(1, 1))))
    add("PNG of one row", ".png", of_bytes(picture("RGB", size=(1, 300))))
    add("JPEG, progressive", ".jpg", of_bytes(picture("RGB", "JPEG", progressive=True)))
    exif = Image.Exif()
    exif[0x0112] = 6
    add("JPEG, turned", ".jpg", of_bytes(picture("RGB", "JPEG", exif=exif)))
    exif = Image.Exif()
    exif[0x0112] = 99
    add("JPEG, turned by nonsense", ".jpg", of_bytes(picture("RGB", "JPEG", exif=exif)))
    add("PNG, palette with transparency", ".png", of_bytes(picture("P", transparency=3)))
    for depth in (1, 2, 4):
        write = of_bytes(lambda draw, depth=depth: png(16, 9, rows_of(draw, 9, 2 * depth), depth))
        add(f"PNG grey of {depth} bits", ".png", write)
    add("PNG coloured of 16 bits", ".png", of_bytes(lambda draw: png(12, 9, rows_of(draw, 9, 72), 16, 2)))
    add("PNG grey with alpha of 16 bits", ".png", of_bytes(lambda draw: png(12, 9, rows_of(draw, 9, 48), 16, 4)))
    add("PNG with alpha of 16 bits", ".png", of_bytes(lambda draw: png(12, 9, rows_of(draw, 9, 96), 16, 6)))
    text = chunk(b"tEXt", b"Comment\0" + b"x" * 50)
    add("PNG with text", ".png", of_bytes(lambda draw: png(8, 9, rows_of(draw, 9, 8), 8, 0, text)))
    blown = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 21)))
    add("PNG with text that unpacks to much", ".png", of_bytes(lambda d: png(8, 9, rows_of(d, 9, 8), 8, 0, blown)), ANY)
    for name, options in (("first page", ()), ("all pages", ("--pages", "all"))):
        add(f"TIFF of pages, {name}", ".tif", of_bytes(pages("TIFF", (12, 12, 12))), options=options)
        add(f"TIFF of pages of several sizes, {name}", ".tif", of_bytes(pages("TIFF", (12, 9))), options=options)
        write = of_bytes(pages("TIFF", (12, 12), ("L", "RGB")))
        add(f"TIFF of grey and coloured pages, {name}", ".tif", write, options=options)
        write = of_bytes(pages("TIFF", (12, 12), ("L", "F")))
        add(
            f"TIFF of pages of several depths, {name}",
            ".tif",
            write,
            "floating-point" if options else "",
            options=options,
        )
        write = of_bytes(pages("TIFF", (12, 12), ("F", "L")))
        add(f"TIFF of pages of floats and bytes, {name}", ".tif", write, options=options)
        add(f"GIF of frames as .png, {name}", ".png", of_bytes(pages("GIF", (12, 12))), options=options)
        add(f"WebP of frames, {name}", ".webp", of_bytes(pages("WEBP", (12, 12))), options=options)

    def mixed(draw: Draw) -> bytes:
        return picture(str(draw.choice(["L", "RGB", "1", "P"])))(draw)

    add("PNG, grey and coloured mixed", ".png", of_bytes(mixed))
    add("PNG, one value", ".png", of_bytes(lambda draw: png(9, 9, (b"\0" + bytes([draw.integers(256)]) * 9) * 9)))
    add("PNG, one value in all", ".png", of_bytes(lambda draw: png(9, 9 + int(draw.integers(99)), bytes(10 * 109))))

    def floats(*values: float) -> Callable[[Draw], bytes]:
        def make(draw: Draw) -> bytes:
            content = pixels(draw, 9, 9, dtype=np.float32)
            content[3, 3 : 3 + len(values)] = values
            stream = io.BytesIO()
            Image.fromarray(content).save(stream, "TIFF")
            return stream.getvalue()

        return make

    add("TIFF of floats with NaN", ".tif", of_bytes(floats(np.nan)), "NaN")
    add("TIFF of floats with infinity", ".tif", of_bytes(floats(np.inf)), "infinite")
    add("TIFF of floats at the limits", ".tif", of_bytes(floats(3.4e38, -3.4e38)))
    add("TIFF of constant floats", ".tif", of_bytes(lambda draw: floats(*[draw.random()] * 6)(draw)))
    # Lies.
    add("PNG cut off", ".png", of_bytes(lambda draw: picture()(draw)[:400]), "is damaged")
    add("JPEG cut off", ".jpg", of_bytes(lambda draw: picture("RGB", "JPEG")(draw)[:-100]), "is damaged")
    add("BMP cut off", ".bmp", of_bytes(lambda draw: picture("RGB", "BMP")(draw)[:-100]), "is damaged")
    add("TIFF cut off", ".tif", of_bytes(lambda draw: picture("L", "TIFF")(draw)[:150]), ANY)
    add("WebP cut off", ".webp", of_bytes(lambda draw: picture("RGB", "WEBP")(draw)[:100]), ANY)
    add("PNG of a huge claimed size", ".png", of_bytes(lambda draw: png(2**31 - 1, 2**31 - 1, draw.bytes(9))), ANY)
    add("PNG of 10000 × 10000 pixels", ".png", of_bytes(lambda draw: png(10_000, 10_000, draw.bytes(9))), "pixels")
    add("PNG of no pixels", ".png", of_bytes(lambda draw: png(0, 0, draw.bytes(9))), ANY)
    add("PNG of fewer rows than claimed", ".png", of_bytes(lambda draw: png(9, 99, rows_of(draw, 9, 9))))
    add("PNG of more rows than claimed", ".png", of_bytes(lambda draw: png(9, 9, rows_of(draw, 99, 9))))
    add("PNG of an unknown filter", ".png", of_bytes(lambda draw: png(9, 9, b"\x07" + draw.bytes(89))), ANY)
    add("PGM of a huge claimed size", ".pgm", of_bytes(lambda draw: b"P5 99999999 99999999 255\n" + draw.bytes(9)), ANY)
    add("PGM of no size", ".pgm", of_bytes(lambda draw: b"P5 0 0 255\n" + draw.bytes(9)), ANY)
    add("PGM of nonsense", ".pgm", of_bytes(lambda draw: b"P5 a b c\n" + draw.bytes(9)), ANY)
    wide = of_bytes(lambda draw: tiff_field(picture("L", "TIFF")(draw), 256, 2**31))
    add("TIFF of a huge claimed width", ".tif", wide, ANY)
    strange = of_bytes(lambda draw: tiff_field(picture("L", "TIFF")(draw), 259, 4711))
    add("TIFF of an unknown compression", ".tif", strange, ANY)
    circle = of_bytes(lambda draw: _tiff_in_a_circle(draw))
    add("TIFF whose pages form a circle", ".tif", circle, options=("--pages", "all"))
    for name, write in (("empty", EMPTY), ("noise", NOISE), ("text", TEXT), ("HTML", HTML), ("zeros", ZEROS)):
        add(f"{name} as .png", ".png", write, "not a picture")
        add(f"{name} as .tif", ".tif", write, "not a picture")


def _tiff_in_a_circle(draw: Draw) -> bytes:
    content = pages("TIFF", (12, 12))(draw)
    (first,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, first)
    (second,) = struct.unpack_from("<I", content, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", content, second)
    return patched(content, second + 2 + 12 * count, first)


_add()
