"""A corpus of small made-up data sets: what users have in their folders, and what lies about itself.

`FORMS` are ways in which one file can be written; `write(file, draw)` writes one, another one at each call. `LAYOUTS`
are whole data sets: folders, names, links and manifests. Each says what is expected of it.
"""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import soundfile
from edfio import Bdf, BdfSignal, Edf, EdfSignal
from nptdms import ChannelObject, TdmsWriter
from PIL import Image
from pyarrow import parquet
from scipy.io import savemat

RATE = 2000
MANY = 5000  # rows of a table, in place of the 100,000,000 that are one too many
CANARY = "executed"  # the file that a pickle in the corpus makes, if anyone unpickles it
Draw = np.random.Generator


@dataclass(frozen=True)
class Form:
    """One way in which a file is written.

    Attributes
    ----------
    kind, name, suffix : str
    write : callable (file, draw)
    refused : str
        "": it is read. Otherwise a part of the reason why it is not.
    options : tuple of str
        That `check` and `fit` need to read it.
    fit : int
        Exit code of `fit` if all files are of this form and can be read.
    """

    kind: str
    name: str
    suffix: str
    write: Callable[[Path, Draw], None]
    refused: str = ""
    options: tuple[str, ...] = ()
    fit: int = 0

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass(frozen=True)
class Layout:
    """A whole data set.

    Attributes
    ----------
    name : str
    make : callable (folder, draw)
        Makes it in a folder; `data` in it is the data set.
    data : str
    code : int
        Exit code of `check`.
    says : tuple of str
        What `check` must say: parts of what it prints or complains of.
    files : int or None
        How many files `score` scores.
    options : tuple of str
    fit : int
        Exit code of `fit`; by default that of `check`.
    """

    name: str
    make: Callable[[Path, Draw], None]
    data: str = "data"
    code: int = 0
    says: tuple[str, ...] = ()
    files: int | None = None
    options: tuple[str, ...] = ()
    fit: int | None = None

    def __str__(self) -> str:
        return self.name


FORMS: list[Form] = []
LAYOUTS: list[Layout] = []


def form(kind: str, name: str, suffix: str, write: Callable[[Path, Draw], None], refused: str = "", **more) -> None:
    """Add a form to the corpus."""
    if kind == "pictures" and name != "PNG L as .png":
        more["options"] = (*SMALL, *more.get("options", ()))
    FORMS.append(Form(kind, name, suffix, write, refused, **more))


def layout(name: str, **more) -> Callable[[Callable[[Path, Draw], None]], None]:
    """Add the data set that the decorated function makes to the corpus."""
    return lambda make: LAYOUTS.append(Layout(name, make, **more))


def of_bytes(make: Callable[[Draw], bytes]) -> Callable[[Path, Draw], None]:
    """Write what a function returns."""
    return lambda file, draw: file.write_bytes(make(draw)) and None


# Files of another kind, or of none, under each suffix.
SMALL = ("--size", "8,8")
ANY = " "  # whatever the reason is
EMPTY = of_bytes(lambda draw: b"")
NOISE = of_bytes(lambda draw: draw.bytes(600))
TEXT = of_bytes(lambda draw: b"no such file " + draw.bytes(4).hex().encode())
HTML = of_bytes(lambda draw: b"<!DOCTYPE html><html><body>404 %d</body></html>" % draw.integers(1 << 30))
ZEROS = of_bytes(lambda draw: bytes(1000 + int(draw.integers(1000))))
ZIP = of_bytes(lambda draw: zipped({"a.txt": draw.bytes(20)}))


def zipped(parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """Pack a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


# --- sounds ---


def sound(draw: Draw, seconds: float = 1.2, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """A tone in noise, [T, C]."""
    time = np.arange(round(rate * seconds)) / rate
    tone = np.sin(2 * np.pi * draw.uniform(100, 400) * time)
    return 0.3 * tone[:, None] + 0.05 * draw.normal(size=(len(time), channels))


def wav(draw: Draw, subtype: str = "PCM_16", channels: int = 1, **of) -> bytes:
    """A WAV file."""
    return encoded(draw, "WAV", subtype, channels, **of)


def encoded(draw: Draw, kind: str, subtype: str | None = None, channels: int = 1, rate: int = RATE, **of) -> bytes:
    """A recording in any format of libsndfile."""
    stream = io.BytesIO()
    soundfile.write(stream, sound(draw, channels=channels, rate=rate, **of), rate, subtype, format=kind)
    return stream.getvalue()


def patched(content: bytes, at: int, number: int, code: str = "<I") -> bytes:
    """Overwrite a number."""
    new = bytearray(content)
    struct.pack_into(code, new, at, number)
    return bytes(new)


def values_wav(make: Callable[[Draw], np.ndarray], subtype: str = "PCM_16") -> Callable[[Path, Draw], None]:
    """Write given samples."""
    return lambda file, draw: soundfile.write(file, make(draw), RATE, subtype, format="WAV")


def _sounds() -> None:
    add = partial(form, "sounds")
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"):
        add(f"WAV {subtype}", ".wav", of_bytes(partial(wav, subtype=subtype)))
    add("WAV GSM610", ".wav", of_bytes(partial(wav, subtype="GSM610")))
    for subtype in ("PCM_16", "PCM_24", "FLOAT"):
        add(f"WAV stereo {subtype}", ".wav", of_bytes(partial(wav, subtype=subtype, channels=2)))
    add("WAV of five channels", ".WAV", of_bytes(partial(wav, channels=5)))
    for suffix, kind, subtype in (
        (".flac", "FLAC", "PCM_16"),
        (".flac", "FLAC", "PCM_24"),
        (".oga", "FLAC", "PCM_S8"),
        (".aif", "AIFF", "PCM_16"),
        (".aiff", "AIFF", "PCM_24"),
        (".aifc", "AIFF", "FLOAT"),
        (".au", "AU", "PCM_16"),
        (".au", "AU", "ULAW"),
        (".caf", "CAF", "PCM_16"),
        (".caf", "CAF", "ALAC_16"),
        (".w64", "W64", "PCM_16"),
        (".rf64", "RF64", "PCM_16"),
        (".wav", "WAVEX", "PCM_24"),
        (".wav", "RF64", "FLOAT"),
        # Content under another suffix.
        (".wav", "FLAC", "PCM_16"),
        (".ogg", "WAV", "PCM_16"),
        (".m4a", "WAV", "PCM_16"),
        (".aac", "AIFF", "PCM_16"),
        (".wma", "W64", "PCM_24"),
    ):
        add(f"{kind} {subtype} as {suffix}", suffix, of_bytes(partial(encoded, kind=kind, subtype=subtype)))
    for suffix, kind, subtype, rate in (
        (".ogg", "OGG", "VORBIS", 8000),
        (".opus", "OGG", "OPUS", 8000),
        (".mp3", "MP3", "MPEG_LAYER_III", 8000),
        (".wav", "MP3", "MPEG_LAYER_III", 16000),
        (".oga", "OGG", "VORBIS", 44100),
    ):
        write = of_bytes(partial(encoded, kind=kind, subtype=subtype, rate=rate))
        add(f"{kind} {subtype} at {rate} Hz as {suffix}", suffix, write)

    def any_rate(draw: Draw) -> bytes:
        return wav(draw, rate=int(draw.choice([1000, 2000, 11025])))

    add("WAV at several rates", ".wav", of_bytes(any_rate))
    add("WAV shorter than a second", ".wav", values_wav(lambda draw: sound(draw, 0.9)))  # padded
    add("WAV silent", ".wav", values_wav(lambda draw: np.zeros(RATE + int(draw.integers(RATE // 2)))))
    add("WAV constant", ".wav", values_wav(lambda draw: np.full(RATE, draw.uniform(0.1, 0.9))))
    antiphase = values_wav(lambda draw: sound(draw) * [1, -1])
    add("WAV whose channels cancel each other", ".wav", antiphase)
    add("WAV FLOAT far beyond full scale", ".wav", values_wav(lambda draw: 1e6 * sound(draw), "FLOAT"))
    add("WAV FLOAT of tiny values", ".wav", values_wav(lambda draw: 1e-30 * sound(draw), "FLOAT"))
    add("WAV DOUBLE beyond float32", ".wav", values_wav(lambda draw: 1e300 * sound(draw), "DOUBLE"), "infinite")
    add(
        "WAV FLOAT near the largest float32",
        ".wav",
        values_wav(lambda draw: 1e38 * sound(draw), "FLOAT"),
        "beyond ±1e+12",
    )
    add("WAV FLOAT with NaN", ".wav", values_wav(_with_nan, "FLOAT"), "NaN")
    add("WAV FLOAT with infinity", ".wav", values_wav(lambda draw: _with_nan(draw, np.inf), "FLOAT"), "infinite")
    # Lies of headers.
    for name, change, refused in (
        ("header only", lambda content: content[:44], "is incomplete"),
        ("header only, without samples", lambda content: patched(content[:44], 40, 0), "has no samples"),
        ("half a header", lambda content: content[:20], "not a recording"),
        ("cut off in the samples", lambda content: content[:3000], "is incomplete"),
        ("cut off by one byte", lambda content: content[:-1], ""),
        ("both sizes 0", lambda content: patched(patched(content, 4, 0), 40, 0), ""),
        ("both sizes 0xFFFFFFFF", lambda content: patched(patched(content, 4, 2**32 - 1), 40, 2**32 - 1), ""),
        ("size of samples one too large", lambda content: patched(content, 40, len(content) - 43), ""),
        ("size of samples one too small", lambda content: patched(content, 40, len(content) - 45), ""),
        ("size of samples far too large", lambda content: patched(content, 40, 10 * len(content)), "is incomplete"),
        ("RIFF size one too large", lambda content: patched(content, 4, len(content) - 7), ""),
        ("RIFF size 0", lambda content: patched(content, 4, 0), ""),
        ("a chunk before the samples", lambda c: c[:36] + b"LIST\x05\0\0\0abcde\0" + c[36:], ""),
        ("a chunk behind the samples", lambda content: content + b"LIST\x04\0\0\0abcd", ""),
        ("a chunk of absurd size before the samples", lambda c: c[:36] + b"LIST\xf0\xff\xff\x7fabcd" + c[36:], "not"),
        ("no format", lambda content: content[:12] + content[36:], "not a recording"),
        ("no samples chunk", lambda content: content[:36] + b"junk" + content[40:], "not a recording"),
        ("0 channels", lambda content: patched(content, 22, 0, "<H"), "not a recording"),
        ("65535 channels", lambda content: patched(content, 22, 65535, "<H"), "not a recording"),
        ("0 bits", lambda content: patched(content, 34, 0, "<H"), "not a recording"),
        ("a rate of 0", lambda content: patched(content, 24, 0), "not a recording"),
        ("a rate of 1", lambda content: patched(content, 24, 1), "too short for a spectrum"),
        ("a rate of 4 GHz", lambda content: patched(content, 24, 4_000_000_000), "not a recording"),
        ("an unknown format", lambda content: patched(content, 20, 0x1234, "<H"), "not a recording"),
    ):
        write = of_bytes(lambda draw, change=change: change(wav(draw)))
        add(f"WAV, {name}", ".wav", write, refused)
    add("FLAC cut off", ".flac", of_bytes(lambda draw: encoded(draw, "FLAC")[:-900]), "cannot be read beyond")
    cut = of_bytes(lambda draw: encoded(draw, "FLAC")[:30])
    add("FLAC, half a header", ".flac", cut, "not a recording")
    cut = of_bytes(lambda draw: encoded(draw, "MP3", rate=8000)[:-1000])
    add("MP3 cut off", ".mp3", cut, "is incomplete")
    cut = of_bytes(lambda draw: encoded(draw, "OGG", rate=8000)[:2000])
    add("OGG cut off in its header", ".ogg", cut, "not a recording")
    cut = of_bytes(lambda draw: encoded(draw, "AIFF")[:2000])
    add("AIFF cut off", ".aiff", cut, "is incomplete")
    for suffix, head, name in (
        (".m4a", b"\0\0\0 ftypM4A ", "MP4"),
        (".aac", b"\xff\xf1", "AAC"),
        (".wma", b"0&\xb2u", ""),
    ):
        other = of_bytes(lambda draw, head=head: head + draw.bytes(300))
        add(f"{name or 'WMA'} as {suffix}", suffix, other, "ffmpeg")
    for suffix, write in ((".tdms", tdms), (".edf", edf), (".bdf", edf)):
        add(suffix, suffix, write)
        add(f"{suffix} cut off", suffix, _cut(write), ANY)
        add(f"noise as {suffix}", suffix, NOISE, ANY)
        add(f"HTML as {suffix}", suffix, HTML, ANY)
    for name, write, refused in (
        ("empty", EMPTY, "is empty"),
        ("noise", NOISE, "not a recording"),
        ("text", TEXT, "not a recording"),
        ("HTML", HTML, "not a recording"),
        ("zeros", ZEROS, "not a recording"),
    ):
        add(f"{name} as .wav", ".wav", write, refused)
        add(f"{name} as .mp3", ".mp3", write, refused)


def tdms(file: Path, draw: Draw) -> None:
    """Write a file of LabVIEW."""
    with TdmsWriter(file) as writer:
        writer.write_segment([ChannelObject("rig", "end", sound(draw)[:, 0], {"wf_increment": 1 / RATE})])


def edf(file: Path, draw: Draw) -> None:
    """Write a file of EDF, or of BDF by its suffix."""
    whole, signal = (Bdf, BdfSignal) if file.suffix == ".bdf" else (Edf, EdfSignal)
    whole([signal(sound(draw, seconds=2)[:, 0], RATE, physical_range=(-2, 2))]).write(file)


def _cut(write: Callable[[Path, Draw], None]) -> Callable[[Path, Draw], None]:
    def cut(file: Path, draw: Draw) -> None:
        write(file, draw)
        file.write_bytes(file.read_bytes()[:-900])

    return cut


def _with_nan(draw: Draw, value: float = np.nan) -> np.ndarray:
    values = sound(draw)
    values[700] = value
    return values


# --- pictures ---


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


def _pictures() -> None:
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


# --- tables ---


def log(
    draw: Draw,
    n: int = 40,
    *,
    delimiter: str = ",",
    decimal: str = ".",
    names: tuple[str, ...] | None = ("p", "q"),
    before: str = "",
    units: str = "",
    first: Callable[[int], str] | None = None,
    change: Callable[[list[list[str]]], None] = lambda rows: None,
    end: str = "\n",
) -> str:
    """A log of two sensors, as text; `first` makes a column before them."""
    rows = [[f"{value:.4f}".replace(".", decimal) for value in row] for row in draw.normal((0, 5), size=(n, 2))]
    if first:
        rows = [[first(number), *row] for number, row in enumerate(rows)]
        names = ("t", *names) if names == ("p", "q") else names
    change(rows)
    lines = [delimiter.join(row) for row in rows]
    head = [] if names is None else [delimiter.join(names)]
    return before + end.join([*head, *([units] if units else []), *lines, ""])


def csv(encoding: str = "utf-8", **how) -> Callable[[Path, Draw], None]:
    """Write logs."""
    return lambda file, draw: file.write_bytes(log(draw, **how).encode(encoding)) and None


def cell(row: int, column: int, value: str) -> Callable[[list[list[str]]], None]:
    """Change one cell."""

    def change(rows: list[list[str]]) -> None:
        rows[row][column] = value

    return change


def ragged(rows: list[list[str]]) -> None:
    rows[7].append("1.5")
    del rows[9][1]


def truth(rows: list[list[str]]) -> None:
    for row in rows:
        row.append("0")


def arrow(make: Callable[[Draw], dict], **options) -> Callable[[Path, Draw], None]:
    """Write Parquet."""
    return lambda file, draw: parquet.write_table(pa.table(make(draw)), file, **options)


def _moment(number: int, step: str = "s") -> str:
    return str(np.datetime64("2024-03-01T10:00:00") + np.timedelta64(number, step)).replace("T", " ")


def _tables() -> None:
    add = partial(form, "tables")
    for name, how in (
        ("comma", {}),
        ("semicolon", {"delimiter": ";"}),
        ("tab", {"delimiter": "\t"}),
        ("bar", {"delimiter": "|"}),
        ("space", {"delimiter": " ", "names": None}),
        ("semicolon and decimal comma", {"delimiter": ";", "decimal": ","}),
        ("tab and decimal comma", {"delimiter": "\t", "decimal": ","}),
        ("CRLF", {"end": "\r\n"}),
        ("CR", {"end": "\r"}),
        ("units row", {"units": "bar,°C"}),
        ("no header", {"names": None}),
        ("leading lines", {"before": "Logger 5\nSerial: 12\n\n"}),
        ("a comment as header", {"names": ("# p", "q")}),
        ("sep=", {"before": "sep=;\n", "delimiter": ";"}),
        ("Latin-1", {"names": ("Druck", "Kälte °C"), "encoding": "latin-1"}),
        ("CP949", {"names": ("압력", "온도"), "encoding": "cp949"}),
        ("UTF-16", {"encoding": "utf-16"}),
        ("UTF-16-LE without BOM", {"encoding": "utf-16-le"}),
        ("UTF-16-BE without BOM", {"encoding": "utf-16-be"}),
        ("UTF-8 with BOM", {"encoding": "utf-8-sig"}),
        ("UTF-32", {"encoding": "utf-32"}),
        ("quoted names", {"names": ('"p"', '"q, r"')}),
        ("names with a newline", {"names": ('"p\nq"', "r")}),
        ("dollars in names", {"names": ("$x_$", "$ {")}),
        ("control characters in names", {"names": ("\x1b[31mp", "q\x07\u202e")}),
        ("a script as name", {"names": ("<script>alert(1)</script>", "q")}),
        ("duplicate names", {"names": ("p", "p")}),
        ("no names", {"names": ("", "")}),
        ("names of 3000 letters", {"names": ("p" * 3000, "q")}),
        ("one column", {"change": lambda rows: [row.pop() for row in rows] and None, "names": ("p",)}),
        ("a time column that rises", {"first": _moment}),
        ("a time column that falls", {"first": lambda number: _moment(-number)}),
        ("a time column with time zone", {"first": lambda number: _moment(number).replace(" ", "T") + "Z"}),
        ("an index column", {"first": str}),
        ("a label column", {"first": lambda number: "fan", "names": ("machine", "p", "q")}),
        ("a truth column", {"change": truth, "names": ("p", "q", "anomaly")}),
        ("spaces around values", {"delimiter": " , "}),
        ("an empty column", {"first": lambda number: "", "names": ("nothing", "p", "q")}),
        ("a trailing delimiter", {"change": lambda rows: [row.append("") for row in rows] and None}),
        ("empty lines", {"end": "\n\n"}),
        ("exponents", {"change": cell(3, 0, "1.5e-3")}),
        ("true and false", {"first": lambda number: ("true", "false")[number % 2], "names": ("on", "p", "q")}),
        ("whole numbers beyond 64 bits", {"change": cell(3, 0, "9" * 30)}),
        ("numbers of 400 digits", {"change": cell(3, 0, "1" * 400)}),
    ):
        add(name, ".tsv" if name == "tab" else ".csv", csv(**how), **REFUSED_TABLES.get(name, {}))
    for missing in ("", "NaN", "NULL", "-", "N/A", "#N/A"):
        add(f"a cell {missing!r}", ".csv", csv(change=cell(5, 1, missing)), "is missing")
        for how in ("drop-window", "interpolate"):
            options = ("--missing", how, "--window", "10")
            add(f"a cell {missing!r}, {how}", ".csv", csv(change=cell(5, 1, missing)), options=options)
    add("a cell that is no number", ".csv", csv(change=cell(5, 1, "broken")), "")
    add("a cell inf", ".csv", csv(change=cell(5, 1, "inf")), "infinite")
    add("a cell 1e999", ".csv", csv(change=cell(5, 1, "1e999")), "infinite")
    add("a cell 1e39, beyond float32", ".csv", csv(change=cell(5, 1, "1e39")), "infinite")
    add("a quote that is not closed", ".csv", csv(change=cell(5, 1, '"1.5')))
    add("a quote in the header that is not closed", ".csv", csv(names=('"p', "q")), ANY)
    add("ragged rows", ".csv", csv(change=ragged), "Expected 2 columns")
    add("NUL bytes", ".csv", csv(change=cell(5, 1, "\0")))
    add("one row", ".csv", csv(n=1))
    add("one row, windows of ten", ".csv", csv(n=1), "fewer than the 10 rows", options=("--window", "10"))
    add("header only", ".csv", csv(n=0), "no")
    add("windows", ".csv", csv(), options=("--window", "10", "--hop", "5"))
    add("windows in seconds", ".csv", csv(first=_moment), options=("--window", "1", "--sample-rate", "10"))
    add("many columns", ".csv", of_bytes(lambda d: _wide(d, 100)))
    add("constant columns", ".csv", of_bytes(lambda draw: b"p,q\n" + b"%d,2\n" % draw.integers(1 << 20) * 40))
    for name, write in (
        ("empty", EMPTY),
        ("noise", NOISE),
        ("text", TEXT),
        ("HTML", HTML),
        ("zeros", ZEROS),
        ("zip", ZIP),
    ):
        add(f"{name} as .csv", ".csv", write, ANY)
        add(f"{name} as .parquet", ".parquet", write, "cannot be read as a table")
    blank = of_bytes(lambda draw: b"\n" * int(draw.integers(1, 9)))
    add("newlines as .csv", ".csv", blank, ANY)
    add("a BOM as .csv", ".csv", of_bytes(lambda draw: b"\xff\xfe"), ANY)
    # Parquet.

    def two(draw: Draw, n: int = 40) -> dict:
        return {"p": draw.normal(size=n), "q": draw.normal(size=n)}

    times = pa.array(np.arange(40) * 10**9, pa.timestamp("ns"))
    zone = pa.array(np.arange(40), pa.timestamp("ms", "Asia/Seoul"))
    odd_zone = pa.array(np.arange(40), pa.timestamp("ms", "Mars/Olympus"))
    for name, make, refused in (
        ("plain", two, ""),
        ("half precision", lambda draw: {"p": pa.array(draw.normal(size=40).astype(np.float16))}, ""),
        ("timestamps", lambda draw: {"t": times, **two(draw)}, ""),
        ("timestamps with a zone", lambda draw: {"t": zone, **two(draw)}, ""),
        ("timestamps of an unknown zone", lambda draw: {"t": odd_zone, **two(draw)}, ""),
        ("dates", lambda draw: {"t": times.cast(pa.date32(), safe=False), **two(draw)}, ""),
        ("times", lambda draw: {"t": pa.array(np.arange(40), pa.time64("us")), **two(draw)}, ""),
        ("durations", lambda draw: {"t": pa.array(np.arange(40), pa.duration("us")), **two(draw)}, ""),
        ("a pandas index", lambda draw: {**two(draw), "__index_level_0__": np.arange(40)}, ""),
        ("decimals", lambda draw: {"p": pa.array(draw.normal(size=40).round(2)).cast(pa.decimal128(9, 2))}, ""),
        ("true and false", lambda draw: {"on": draw.random(40) > 0.5, **two(draw)}, ""),
        ("dictionaries", lambda draw: {"k": pa.array(["a", "b"] * 20).dictionary_encode(), **two(draw)}, ""),
        ("numbers as dictionary", lambda d: {"k": pa.array([1.5, 2.5] * 20).dictionary_encode(), **two(d)}, ""),
        ("lists", lambda draw: {"l": [[1, 2]] * 40, **two(draw)}, ""),
        ("only lists", lambda draw: {"l": [[float(draw.normal())]] * 40}, "has a column of sensor values"),
        ("structures", lambda draw: {"s": [{"a": 1}] * 40, **two(draw)}, ""),
        ("maps", lambda draw: {"m": pa.array([[("a", 1)]] * 40, pa.map_(pa.string(), pa.int8())), **two(draw)}, ""),
        ("binary", lambda draw: {"b": [b"\xff\0"] * 40, **two(draw)}, ""),
        ("text", lambda draw: {"k": ["a"] * 40, **two(draw)}, ""),
        ("text that is numbers", lambda draw: {"k": [str(value) for value in draw.normal(size=40)]}, ANY),
        ("a type null", lambda draw: {"k": pa.nulls(40), **two(draw)}, ""),
        ("only nulls", lambda draw: {"k": pa.nulls(40)}, "has a column of sensor values"),
        (
            "nulls",
            lambda draw: {"p": pa.array([None, *draw.normal(size=39)]), **_without(two(draw), "p")},
            "is missing",
        ),
        ("NaN", lambda draw: {"p": np.array([np.nan, *draw.normal(size=39)])}, "is missing"),
        ("unsigned 64 bits", lambda draw: {"p": draw.integers(2**63, 2**64 - 1, 40, dtype=np.uint64)}, ""),
        ("no rows", lambda draw: {"p": np.empty(0)}, ANY),
        ("no columns", lambda draw: {}, ANY),
        ("a name of nothing", lambda draw: {"": draw.normal(size=40)}, ""),
    ):
        add(f"Parquet, {name}", ".parquet", arrow(make), refused)

    def twice(file: Path, draw: Draw) -> None:
        parquet.write_table(pa.Table.from_arrays([pa.array(draw.normal(size=9))] * 2, ["p", "p"]), file)

    add("Parquet, a name twice", ".parquet", twice, ANY)
    add("Parquet in groups of rows", ".parquet", arrow(two, row_group_size=7))
    add("Parquet, claims many rows", ".parquet", arrow(_long), f"more than {MANY - 1:,} numbers")
    add("Parquet, cut off", ".parquet", of_bytes(lambda draw: _parquet_bytes(two(draw))[:-20]), "cannot be read")
    hole = of_bytes(lambda draw: _parquet_bytes(two(draw))[:4] + draw.bytes(300) + _parquet_bytes(two(draw))[304:])
    add("Parquet, damaged pages", ".parquet", hole, ANY)
    add("CSV as .parquet", ".parquet", csv(), "cannot be read as a table")
    add("Parquet as .csv", ".csv", arrow(two), ANY)


REFUSED_TABLES: dict[str, dict] = {
    "UTF-32": {"refused": "cannot be read as a table"},
    "names with a newline": {"refused": "holds text"},
    "a trailing delimiter": {"refused": "cannot be read as a table"},
    "numbers of 400 digits": {"refused": "the value is infinite"},
}


def _without(table: dict, name: str) -> dict:
    return {key: value for key, value in table.items() if key != name}


def _wide(draw: Draw, n: int) -> bytes:
    lines = [",".join(f"c{number}" for number in range(n))]
    lines += [",".join(f"{value:.3f}" for value in row) for row in draw.normal(size=(8, n))]
    return "\n".join(lines).encode()


def _long(draw: Draw) -> dict:
    return {"p": draw.normal(size=MANY)}


def _parquet_bytes(columns: dict) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


# --- arrays ---


class Payload:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def npy(values: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    """An array as NumPy writes it."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, values, version, allow_pickle=True)
    return stream.getvalue()


def npy_head(text: str, content: bytes, version: bytes = b"\x01\x00") -> bytes:
    """An array with a header of its own."""
    head = text.encode() + b"\n"
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(head))
    return b"\x93NUMPY" + version + length + head + content


def array(make: Callable[[Draw], np.ndarray], version: tuple[int, int] | None = None) -> Callable[[Path, Draw], None]:
    """Write arrays."""
    return of_bytes(lambda draw: npy(make(draw), version))


def mat(make: Callable[[Draw], dict], **options) -> Callable[[Path, Draw], None]:
    """Write MATLAB files."""

    def write(file: Path, draw: Draw) -> None:
        with file.open("wb") as stream:
            savemat(stream, make(draw), **options)

    return write


def hdf5(file: Path, draw: Draw) -> None:
    """Write an HDF5 file of one data set."""
    with h5py.File(file, "w") as content:
        content["x"] = draw.normal(size=40)


def _arrays() -> None:
    add = partial(form, "arrays")
    for code in ("b1", "i1", "u1", "<i2", ">u2", "<i4", ">i4", "<u4", "<i8", "<u8", "<f2", "<f4", ">f4", "<f8", ">f8"):
        add(f"npy {code}", ".npy", array(lambda draw, code=code: (50 * draw.random(6)).astype(code)))
    add("npy longdouble", ".npy", array(lambda draw: draw.normal(size=6).astype(np.longdouble)))
    for code, make in (
        ("complex", lambda draw: draw.normal(size=6).astype(complex)),
        ("datetime", lambda draw: np.arange(6).astype("M8[s]")),
        ("timedelta", lambda draw: np.arange(6).astype("m8[s]")),
        ("text", lambda draw: np.array(["a", "b"])),
        ("bytes", lambda draw: np.array([b"a", b"b"])),
        ("void", lambda draw: np.array([b"ab", b"cd"], "V2")),
        ("structured", lambda draw: np.zeros(4, [("a", "f4"), ("b", "i2")])),
    ):
        add(f"npy {code}", ".npy", array(make), "must hold numbers")

    def explosive(file: Path, draw: Draw) -> None:
        file.write_bytes(npy(np.array([Payload(file.parent / CANARY)], object)))

    def bare(file: Path, draw: Draw) -> None:
        file.write_bytes(pickle.dumps(Payload(file.parent / CANARY)))

    def packed(file: Path, draw: Draw) -> None:
        file.write_bytes(zipped({"a.npy": npy(np.array([Payload(file.parent / CANARY)], object))}))

    add("npy of objects", ".npy", explosive, "pickle")
    add("a pickle as .npy", ".npy", bare, "pickle")
    add("a pickle as .mat", ".mat", bare, "pickle")
    add("npz of objects", ".npz", packed, "pickle")
    for shape in ((4, 8), (2, 8, 8), (1,), (3, 1), (1, 1, 1)):
        add(
            f"npy of shape {shape}",
            ".npy",
            array(lambda draw, shape=shape: draw.normal(size=shape)),
            **TINY.get(shape, {}),
        )
    for shape in ((), (0,), (3, 0), (2, 2, 2, 2)):
        add(f"npy of shape {shape}", ".npy", array(lambda draw, shape=shape: draw.normal(size=shape)), "has shape")
    add("npy in Fortran order", ".npy", array(lambda draw: np.asfortranarray(draw.normal(size=(3, 9)))))
    add("npy, bytes of pictures", ".npy", array(lambda draw: pixels(draw, 12, 12)[None]))
    add("npy version 2", ".npy", array(lambda draw: draw.normal(size=5), (2, 0)))
    add("npy version 3", ".npy", array(lambda draw: draw.normal(size=5), (3, 0)))
    add("npy with NaN", ".npy", array(lambda draw: np.array([np.nan, draw.normal()])), "NaN")
    add("npy beyond float32", ".npy", array(lambda draw: np.array([1e300, draw.normal()])), "too large")
    add("npy at the limit of float32", ".npy", array(lambda d: np.array([3.4e38, -3.4e38, d.normal()])))
    add("npy of one value", ".npy", array(lambda draw: np.ones(6)))
    for name, text in (
        ("a huge shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,)}"),
        ("a large shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296,)}"),
        ("a negative shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (-5,)}"),
        ("an overflowing shape", "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
        ("a shape of words", "{'descr': '<f8', 'fortran_order': False, 'shape': ('a',)}"),
        ("a type of nothing", "{'descr': '', 'fortran_order': False, 'shape': (2,)}"),
        ("a type of objects", "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}"),
        ("a type of no size", "{'descr': '|V0', 'fortran_order': False, 'shape': (99999999999,)}"),
        ("code", "__import__('os').getcwd()"),
        ("deep brackets", "(" * 500),
        ("NUL", "\0"),
    ):
        for version in (b"\x01\x00", b"\x02\x00"):
            write = of_bytes(lambda draw, text=text, version=version: npy_head(text, draw.bytes(80), version))
            add(f"npy, header with {name}, version {version[0]}", ".npy", write, ANY)
    head = of_bytes(lambda draw: b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + draw.bytes(80))
    add("npy, header of absurd length", ".npy", head, "pickle")
    add("npy, version 9", ".npy", of_bytes(lambda draw: b"\x93NUMPY\x09\x00" + draw.bytes(80)), "is not an array")
    add("npy cut off", ".npy", of_bytes(lambda draw: npy(draw.normal(size=9))[:-9]), "pickle")
    add("npy, header only", ".npy", of_bytes(lambda draw: npy(draw.normal(size=9))[:128]), "pickle")
    add("npz of one", ".npz", of_bytes(lambda draw: zipped({"a.npy": npy(draw.normal(size=6))})))
    packed_well = of_bytes(lambda draw: zipped({"a.npy": npy(draw.normal(size=6))}, zipfile.ZIP_DEFLATED))
    add("npz of one, compressed", ".npz", packed_well)
    add("npz as .npy", ".npy", packed_well)
    add("npy as .npz", ".npz", array(lambda draw: draw.normal(size=6)))
    add("npy as .mat", ".mat", array(lambda draw: draw.normal(size=6)))
    two = of_bytes(lambda draw: zipped({name: npy(draw.normal(size=6)) for name in ("a.npy", "b.npy")}))
    add("npz of two", ".npz", two, "must hold one array")
    add("npz of none", ".npz", of_bytes(lambda draw: zipped({})), ANY)
    add("npz of a text", ".npz", of_bytes(lambda draw: zipped({"a.txt": draw.bytes(9)})), ANY)
    add("npz with one name twice", ".npz", _twice, "several arrays of the same name")
    add("npz cut off", ".npz", of_bytes(lambda draw: zipped({"a.npy": npy(draw.normal(size=99))})[:-90]), ANY)
    add("npz that claims to unpack to 6 GB", ".npz", of_bytes(_bomb), "unpacks to more")
    add("npz that lies about how much it unpacks to", ".npz", of_bytes(_liar), ANY)
    add("npz of a huge shape", ".npz", of_bytes(_huge), ANY)
    add(
        "npz with a password",
        ".npz",
        of_bytes(lambda draw: _encrypted(zipped({"a.npy": npy(draw.normal(size=6))}))),
        ANY,
    )
    for code in ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
        write = mat(lambda draw, code=code: {"x": (50 * draw.random((1, 6))).astype(code)})
        add(f"mat {code}", ".mat", write)
    add("mat compressed", ".mat", mat(lambda draw: {"x": draw.normal(size=(2, 12))}, do_compression=True))
    add("mat of true and false", ".mat", mat(lambda draw: {"x": draw.random((1, 6)) > 0.5}))
    add("mat of two", ".mat", mat(lambda draw: {"x": draw.normal(size=5), "y": draw.normal(size=4)}), "must hold one")
    for name, value in (
        ("a structure", {"a": 1.0}),
        ("a cell", np.array([1.0, "a"], object)),
        ("text", "abc"),
        ("complex numbers", np.ones(3) * 1j),
        ("no values", np.empty((0, 0))),
    ):
        add(f"mat of {name}", ".mat", mat(lambda draw, value=value: {"x": value}), ANY)
    add("mat of nothing", ".mat", mat(lambda draw: {}), ANY)
    add("mat version 4", ".mat", mat(lambda draw: {"x": draw.normal(size=(1, 6))}, format="4"), ANY)
    newer = of_bytes(lambda draw: b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n" + draw.bytes(99))
    add("mat version 7.3", ".mat", newer, ANY)
    add("mat cut off", ".mat", _changed_mat(lambda content: content[:-10]), ANY)
    add("mat, header only", ".mat", _changed_mat(lambda content: content[:128]), ANY)
    add("mat, an element of absurd size", ".mat", _changed_mat(lambda content: patched(content, 132, 2**31)), ANY)
    add("mat, dimensions that do not fit", ".mat", _changed_mat(lambda content: patched(content, 160, 99, "<i")), ANY)
    add("mat, negative dimensions", ".mat", _changed_mat(lambda content: patched(content, 160, -6, "<i")), ANY)
    write = mat(lambda draw: {"x": draw.normal(size=(1, 60))}, do_compression=True)
    add("mat, compressed and damaged", ".mat", _changed_mat(lambda c: c[:150] + b"\0\0\0\0" + c[154:], write), ANY)
    for suffix, options in ((".npy", ("--sample-rate", "40")), (".mat", ("--sample-rate", "40", "--channels", "1"))):
        make = array(lambda draw: draw.normal(size=40)) if suffix == ".npy" else mat(lambda d: {"x": d.normal(size=40)})
        add(f"{suffix} as recordings", suffix, make, options=options)
    for suffix in (".h5", ".hdf5"):
        add(suffix, suffix, hdf5)
        add(f"{suffix} cut off", suffix, _cut(hdf5), ANY)
        add(f"{suffix} as recordings", suffix, hdf5, options=("--sample-rate", "40"))
        add(f"noise as {suffix}", suffix, NOISE, ANY)
        add(f"HTML as {suffix}", suffix, HTML, ANY)
    pairs = of_bytes(lambda draw: zipped({f"{name}.npy": npy(draw.normal(size=40)) for name in "ab"}))
    add(".npz as recordings of two channels", ".npz", pairs, options=("--sample-rate", "40"))
    for name, write in (
        ("empty", EMPTY),
        ("noise", NOISE),
        ("text", TEXT),
        ("HTML", HTML),
        ("zeros", ZEROS),
        ("zip", ZIP),
    ):
        add(f"{name} as .npy", ".npy", write, ANY)
        add(f"{name} as .mat", ".mat", write, ANY)


TINY: dict[tuple[int, ...], dict] = {(1, 1, 1): {"fit": 2}}


def _twice(file: Path, draw: Draw) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for _ in range(2):
            archive.writestr("a.npy", npy(draw.normal(size=6)))


def _sized(content: bytes, size: int) -> bytes:
    """Let the directory of a zip claim another unpacked size."""
    return patched(content, content.rindex(b"PK\x01\x02") + 24, size)


def _bomb(draw: Draw) -> bytes:
    content = zipped({f"{name}.npy": npy(draw.normal(size=6)) for name in "ab"})
    first = content.index(b"PK\x01\x02")
    return _sized(patched(content, first + 24, 3 << 30), 3 << 30)


def _liar(draw: Draw) -> bytes:
    values = np.zeros(1 << 18)
    values[0] = draw.normal()
    return _sized(zipped({"a.npy": npy(values)}, zipfile.ZIP_DEFLATED), 200)


def _huge(draw: Draw) -> bytes:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}"
    return zipped({"a.npy": npy_head(text, draw.bytes(80))})


def _encrypted(content: bytes) -> bytes:
    return patched(patched(content, 6, 1, "<H"), content.index(b"PK\x01\x02") + 8, 1, "<H")


def _changed_mat(change: Callable[[bytes], bytes], write: Callable[[Path, Draw], None] | None = None) -> Callable:
    usual = write or mat(lambda draw: {"x": draw.normal(size=(1, 6))})

    def changed(file: Path, draw: Draw) -> None:
        usual(file, draw)
        file.write_bytes(change(file.read_bytes()))

    return changed


_sounds()
_pictures()
_tables()
_arrays()


N = 8  # files that `write_forms` writes by default


def write_forms(folder: Path, of: Form, draw: Draw, n: int = 6) -> None:
    """Write n normal files of one form, and a third as many anomalous ones."""
    for place, count in (("good", n), ("bad", n // 3)):
        (folder / place).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            of.write(folder / place / f"{number}{of.suffix}", draw)


PLAIN = {
    kind: next(of for of in FORMS if str(of) == f"{kind}: {name}")
    for kind, name in (
        ("sounds", "WAV PCM_16"),
        ("pictures", "PNG RGB as .png"),
        ("tables", "comma"),
        ("arrays", "npy <f8"),
    )
}


def plain(file: Path, draw: Draw, kind: str = "arrays") -> None:
    """Write one file that is as it should be."""
    file.parent.mkdir(parents=True, exist_ok=True)
    PLAIN[kind].write(file, draw)


# --- whole data sets ---

NAMES = (
    *(
        "with space",
        " leading and trailing ",
        "quote'",
        'double"',
        "back`tick",
        "new\nline",
        "tab\tstop",
        "back\\slash",
    ),
    *(
        "팬 정상",
        "🙂👩‍🔬",
        "\u202egnp.evil",
        "-dash",
        "--strict",
        "<script>alert(1)<script>",
        "[red]x",
        "%s{0}$HOME",
        "a,b;c",
    ),
    *("a:b", "*?", "~", "CON", "e\u0301", "\x1b[31mred", "\u200bnothing", "dot.", "#1", "=1+1", "é" * 120),
)


def files(folder: Path, draw: Draw, kind: str = "arrays", n: int = 6) -> None:
    """Write normal and anomalous files that are as they should be."""
    write_forms(folder, PLAIN[kind], draw, n)


@layout("an empty folder", code=2, says=("contains no file with a suffix of",))
def _(folder: Path, draw: Draw) -> None:
    (folder / "data").mkdir()


@layout("empty folders in folders", code=2, says=("contains no file",))
def _(folder: Path, draw: Draw) -> None:
    (folder / "data/a/b/good").mkdir(parents=True)


@layout("nothing", code=2, says=("does not exist; pass a folder",))
def _(folder: Path, draw: Draw) -> None:
    pass


@layout("only hidden files", code=2, says=("contains no file",))
def _(folder: Path, draw: Draw) -> None:
    plain(folder / "data/.1.npy", draw)
    plain(folder / "data/.hidden/1.npy", draw)


@layout("one file", data="data/1.npy", fit=2, files=1)
def _(folder: Path, draw: Draw) -> None:
    plain(folder / "data/1.npy", draw)


@layout("a file of an unknown suffix", data="data/1.xyz", code=2, says=("is no file with a suffix",))
def _(folder: Path, draw: Draw) -> None:
    plain(folder / "data/1.xyz", draw)


@layout("a folder called like a file", code=2, says=("contains no file",))
def _(folder: Path, draw: Draw) -> None:
    (folder / "data/1.npy").mkdir(parents=True)


@layout("two files", files=2)
def _(folder: Path, draw: Draw) -> None:
    for number in range(2):
        plain(folder / f"data/{number}.npy", draw)


@layout("a deep folder", files=8)
def _(folder: Path, draw: Draw) -> None:
    files(folder / "data" / "/".join("abcdefghij" * 3), draw)


@layout("copies of one file", files=8)
def _(folder: Path, draw: Draw) -> None:
    plain(folder / "data/0.npy", draw)
    for number in range(1, 8):
        (folder / f"data/{number}.npy").write_bytes((folder / "data/0.npy").read_bytes())


@layout("links in circles, to nowhere, out of the folder, a pipe, a socket", files=8, says=("5 of", "--follow"))
def _(folder: Path, draw: Draw) -> None:
    files(folder / "data", draw)
    good = folder / "data/good"
    os.symlink("..", good / "above")
    os.symlink("circle.npy", good / "circle.npy")
    os.symlink("gone.npy", good / "gone.npy")
    plain(folder / "outside/1.npy", draw)
    os.symlink(folder / "outside/1.npy", good / "outside.npy")
    os.mkfifo(good / "pipe.npy")
    here = os.getcwd()
    os.chdir(good)  # a socket takes no long path
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind("socket.npy")
    finally:
        os.chdir(here)


@layout("folders that link to each other")
def _(folder: Path, draw: Draw) -> None:
    names = [f"machine {number}" for number in range(9)]
    for name in names:
        plain(folder / f"data/{name}/1.npy", draw)
    for name in names:
        for other in names:
            if other != name:
                os.symlink(f"../{other}", folder / "data" / name / other)


@layout("names of every kind", files=len(NAMES) + 4)
def _(folder: Path, draw: Draw) -> None:
    for name in NAMES:
        plain(folder / f"data/good/{name}.npy", draw)
    plain(folder / "data/good" / ("x" * 251 + ".npy"), draw)
    (folder / "data/bad").mkdir()
    for number in range(3):
        name = os.fsencode(folder / "data" / ("bad" if number else "good")) + b"/\xff%d.npy" % number
        plain(Path(os.fsdecode(name)), draw)


@layout("names that are drawn", files=8)
def _(folder: Path, draw: Draw) -> None:
    for name in ("%s{0}$HOME$", "<script>", "new\nline", "팬 정상", "\u202egnp.evil", "x" * 251, "-dash", "a" * 200):
        plain(folder / f"data/{name}.npy", draw)


@layout("folders of every name", files=2 * (len(NAMES) + 2) + 1)
def _(folder: Path, draw: Draw) -> None:
    for name in (*NAMES, "x" * 255, os.fsdecode(b"\xff\xfe")):
        for number in range(2):
            plain(folder / "data" / name / "train" / f"{number}.npy", draw)
    plain(folder / "data" / NAMES[0] / "test/anomaly/1.npy", draw)


@layout("hidden files and files of other kinds beside those to read", files=8)
def _(folder: Path, draw: Draw) -> None:
    files(folder / "data", draw)
    for name in (".DS_Store", "Thumbs.db", "._1.npy", "desktop.ini", "notes.txt", "run.log", "list.csv"):
        (folder / "data/good" / name).write_bytes(draw.bytes(50))


@layout("sounds and pictures", code=2, says=("choose one kind with --kind",))
def _(folder: Path, draw: Draw) -> None:
    plain(folder / "data/1.wav", draw, "sounds")
    plain(folder / "data/1.png", draw, "pictures")


@layout("masks in the layout of MVTec", options=SMALL, says=("is a mask that marks defects",), files=8)
def _(folder: Path, draw: Draw) -> None:
    for name in (*(f"train/good/{n}" for n in range(4)), "test/good/0", "test/crack/0", "ground_truth/crack/0_mask"):
        plain(folder / f"data/bottle/{name}.png", draw, "pictures")
    for name in ("test/hole/1", "test/hole/2", "test/hole/2_mask"):
        plain(folder / f"data/bottle/{name}.png", draw, "pictures")


for _kind in PLAIN:

    @layout(f"half of the {_kind} are bad", options=SMALL if _kind == "pictures" else (), files=8, says=("broken 5",))
    def _(folder: Path, draw: Draw, kind: str = _kind) -> None:
        files(folder / "data", draw, kind, 6)
        for number, write in enumerate((EMPTY, NOISE, TEXT, HTML, ZEROS, ZIP)):
            write(folder / f"data/good/broken {number}{PLAIN[kind].suffix}", draw)


def manifest(*rows: str, head: str = "path,label,anomalous,split", end: str = "\n") -> str:
    """Write a manifest of the files that `rows_of_manifest` makes, and more rows."""
    return end.join([head, *(f"{number}.npy,{'ab'[number % 2]},{number == 7}," for number in range(8)), *rows, ""])


def with_manifest(name: str, content: str | bytes, file: str = "list.csv", **more) -> None:
    """Add a data set with a manifest to the corpus."""

    @layout(f"a manifest {name}", data=f"data/{file}", **more)
    def _(folder: Path, draw: Draw) -> None:
        for number in range(9):
            plain(folder / f"data/{number}.npy", draw)
        plain(folder / "above.npy", draw)
        whole = content.replace("FOLDER", str(folder)) if isinstance(content, str) else content
        (folder / f"data/{file}").write_bytes(whole.encode() if isinstance(whole, str) else whole)


with_manifest("as it should be", manifest(), files=8)
with_manifest("without a column path", manifest(head="file,label,anomalous,split"), code=2, says=("column of sensor",))
with_manifest("of no rows", "path,label\n", code=2, says=("has no rows",))
with_manifest("that is empty", "", code=2, says=("list.csv",))
with_manifest("that names a file twice", manifest("0.npy,a,,"), code=2, says=("0.npy is listed twice",))
with_manifest("with an absolute path", manifest("FOLDER/above.npy,a,,"), files=8, says=("--follow",))
absolute = manifest("FOLDER/above.npy,a,,")
with_manifest("with an absolute path that is followed", absolute, files=9, options=("--follow",))
with_manifest("with ..", manifest("../above.npy,a,,", "../data/8.npy,a,,"), files=9, says=("--follow",))
with_manifest("with a file that is not there", manifest("gone.npy,a,,"), files=8, says=("does not exist",))
with_manifest("with a folder", manifest(".,a,,"), says=("--follow",), files=8)
with_manifest(
    "with a folder that is followed", manifest(".,a,,"), says=("is a folder",), files=8, options=("--follow",)
)
with_manifest("with an empty path", manifest(",a,,"), says=("the path is empty",), files=8)
with_manifest("with an unknown split", manifest("8.npy,a,,validation"), code=2, says=("it must be train or test",))
with_manifest("with an unknown condition", manifest("8.npy,a,maybe,"), code=2, says=("it must be true or false",))
with_manifest("that is partly labelled", manifest("8.npy,,,"), says=("has no label",), files=9)
with_manifest("with a ragged row", manifest("8.npy,a"), code=2, says=("list.csv",))
with_manifest("with two columns of one name", manifest(head="path,a,a,b"), code=2, says=("two columns",))
with_manifest("with a long path", manifest("x" * 5000 + ".npy,a,,"), says=("File name too long",), files=8)
with_manifest("with NUL in a path", manifest("a\0b.npy,a,,"), says=("1 of 9",), files=8)
with_manifest("with a name in quotes", manifest('"8.npy","a, b",,'), files=9)
with_manifest("of Windows", "\ufeff" + manifest(end="\r\n"), files=8)
with_manifest("in UTF-16", manifest("8.npy,ä,,").encode("utf-16"), files=9)
with_manifest("with semicolons", manifest().replace(",", ";"), files=8)
with_manifest(
    "that names itself", manifest("list.csv,a,,"), code=2, options=("--kind", "tables"), says=("cannot be read",)
)
with_manifest(
    "as Parquet", _parquet_bytes({"path": [f"{n}.npy" for n in range(8)], "rpm": [*range(8)]}), "list.parquet", files=8
)
with_manifest(
    "as Parquet of other types", _parquet_bytes({"path": [1.5, None]}), "list.parquet", code=2, says=("contains no",)
)
with_manifest("that is called a manifest and is noise", bytes(range(256)) * 2, code=2, says=("list.csv",))
