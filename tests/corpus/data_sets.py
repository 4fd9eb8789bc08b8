"""Whole data sets: folders, names, links and manifests."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from corpus import arrays, pictures, sounds  # noqa: F401 - each adds its forms
from corpus.forms import EMPTY, FORMS, HTML, NOISE, SMALL, TEXT, ZEROS, ZIP, Draw, Form, layout
from corpus.tables import parquet_bytes

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
    "as Parquet", parquet_bytes({"path": [f"{n}.npy" for n in range(8)], "rpm": [*range(8)]}), "list.parquet", files=8
)
with_manifest(
    "as Parquet of other types", parquet_bytes({"path": [1.5, None]}), "list.parquet", code=2, says=("contains no",)
)
with_manifest("that is called a manifest and is noise", bytes(range(256)) * 2, code=2, says=("list.csv",))
