"""Arrays."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from corpus.forms import (
    ANY,
    CANARY,
    EMPTY,
    HTML,
    NOISE,
    TEXT,
    ZEROS,
    ZIP,
    Draw,
    cut_off,
    form,
    of_bytes,
    patched,
    zipped,
)
from corpus.pictures import pixels


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


def _add() -> None:
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
        add(f"{suffix} cut off", suffix, cut_off(hdf5), ANY)
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


_add()
