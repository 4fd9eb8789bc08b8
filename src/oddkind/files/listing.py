"""Which files a data set has, and what is known about each before it is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from oddkind.errors import InputError

SUFFIXES = {
    "sounds": (".wav", ".flac", ".ogg"),
    "pictures": (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"),
    "tables": (".csv", ".parquet"),
    "arrays": (".npy",),
}
NORMAL = {"normal", "good", "ok", "healthy"}
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}

# DCASE task 2 of 2020, and from 2021 on: https://dcase.community
DCASE = re.compile(
    r"(?P<condition>normal|anomaly)_(?P<label>id_\d+)_\d+\.wav"
    r"|(?P<section>section_\d+)_(?P<domain>source|target)_(?P<split>train|test)_(?P<state>normal|anomaly)_.*\.wav"
)


@dataclass(frozen=True)
class Entry:
    """A file and what is known about it; what is not known is None.

    Attributes
    ----------
    path : Path
    name : str
        Its path inside the data set, for messages and results.
    label : str or None
        Internal label: the kind of normal that it is, or would be if it were normal.
    anomalous : bool or None
    group : str or None
        Files of one group are never separated by a split. None: the file is a group of its own.
    split : "train", "test" or None
    """

    path: Path
    name: str
    label: str | None = None
    anomalous: bool | None = None
    group: str | None = None
    split: str | None = None


def kind_of(data: Path) -> str:
    """Return the kind of files that a data set has, a key of `SUFFIXES`. Tables count only if there is nothing else.

    Raises
    ------
    InputError
        If there is nothing to read, or there are files of several kinds, such as sounds and pictures.
    """
    if not data.exists():
        raise InputError(f"{data}: does not exist; pass a folder, a manifest or a file")
    paths = [path for path, _ in _manifest(data)] if is_manifest(data) else [*_files(data)]
    found = {kind for kind, suffixes in SUFFIXES.items() if any(path.suffix.lower() in suffixes for path in paths)}
    if len(found) > 1:
        found.discard("tables")
    if len(found) != 1:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        what = f"contains no file with a suffix of {known}"
        if found:
            what = f"contains {' and '.join(sorted(found))}; choose one kind with --kind"
        raise InputError(f"{data}: {what}")
    return found.pop()


def entries(
    data: Path,
    kind: str,
    *,
    pattern: str | None = None,
    label: str | None = None,
    group: str | None = None,
    normal: str | None = None,
) -> tuple[list[Entry], dict[str, str]]:
    """List the files of a kind, and those whose names do not match the pattern, each with the reason.

    What is known about a file are its fields: the columns of a manifest (a table with a column "path"), the named
    parts of a pattern such as "{condition}_{label}_{rpm}.wav", or, without either, what the names of its folders mean:
    "train" and "test" are splits, "good", "normal" and the like contain normal files, any other folder is the label.
    File names of DCASE task 2 are understood as they are.

    Parameters
    ----------
    data : path
        A folder, which is searched recursively; a manifest; or a single file.
    kind : key of `SUFFIXES`
    pattern : str or None
        The pattern of file names; with a "/", of paths inside `data`.
    label, group : str or None
        The fields that hold the label and the group; by default "label" and "group".
    normal : str or None
        "field=value" or "field=value,value": files with one of these values are normal, others are anomalous. By
        default the field "anomalous" decides, if there is one.

    Raises
    ------
    InputError
        If no file is left, the manifest or the pattern cannot be used, or a field does not exist.
    """
    fields = _fields(data, kind, pattern)
    refused = {name: of for name, (_, of) in fields.items() if isinstance(of, str)}
    known = {name: (path, of) for name, (path, of) in fields.items() if not isinstance(of, str)}
    if not known:
        first = next(iter(refused.items()), None)
        raise InputError(
            f"{data}: contains no {kind}" + (f" that can be used; {first[0]}: {first[1]}" if first else "")
        )
    there = {field for _, of in known.values() for field in of}
    field, _, values = (normal or "").partition("=")
    wanted = {value.strip() for value in values.split(",")}
    if normal is not None and not values:
        raise InputError(f"--normal {normal!r}; it must be FIELD=VALUE, such as condition=Healthy")
    for option, name in (("label", label), ("group", group), ("normal", field)):
        if name and name not in there:
            raise InputError(
                f"{data}: --{option} names the field {name!r}, which does not exist; "
                f"known fields: {', '.join(sorted(there)) or 'none'}"
            )
    result = []
    for name, (path, of) in known.items():
        anomalous = of.get(field) not in wanted if field else _truth(name, of.get("anomalous"))
        split = of.get("split") or None
        if split not in (None, "train", "test"):
            raise InputError(f"{name}: the split is {split!r}; it must be train or test")
        result.append(
            Entry(path, name, of.get(label or "label") or None, anomalous, of.get(group or "group") or None, split)
        )
    return result, refused


def _fields(data: Path, kind: str, pattern: str | None) -> dict[str, tuple[Path, Mapping[str, str] | str]]:
    """Return by name the file and its fields, or the reason why it has none."""
    if is_manifest(data):
        listed: dict[str, tuple[Path, Mapping[str, str] | str]] = {}
        for path, of in _manifest(data):
            name = of["path"]
            if name in listed:
                raise InputError(f"{data}: {name} is listed twice")
            listed[name] = path, of | (_matched(name, pattern) or {} if pattern else {})
        return listed
    root = data if data.is_dir() else data.parent
    found = [path for path in _files(data) if path.suffix.lower() in SUFFIXES[kind]]
    names = [path.relative_to(root).as_posix() for path in found]
    if pattern:
        matched = [_matched(name, pattern) for name in names]
        why = f"the name does not match the pattern {pattern}"
        return {name: (path, of or why) for name, path, of in zip(names, found, matched, strict=True)}
    folders = [[part.lower() for part in PurePosixPath(name).parent.parts] for name in names]
    known = any(part in NORMAL for parts in folders for part in parts)
    of_folders = [_of_folders(PurePosixPath(name), known) for name in names]
    return {name: (path, of) for name, path, of in zip(names, found, of_folders, strict=True)}


def _of_folders(name: PurePosixPath, known: bool) -> dict[str, str]:
    """Return the fields that the folders of a file give; `known`: some folder is called normal."""
    of = {}
    for part in name.parent.parts:
        if part.lower() in ("train", "test"):
            of["split"] = part.lower()
        elif known and (part.lower() in NORMAL or part == name.parent.name):
            of["condition"], of["anomalous"] = part, str(part.lower() not in NORMAL)
        else:
            of["label"] = part
    dcase = DCASE.fullmatch(name.name)
    if dcase:
        machine = [part for part in name.parent.parts if part.lower() not in ("train", "test")][-1:]
        of["label"] = "/".join([*machine, dcase["label"] or dcase["section"]])
        of["anomalous"] = str((dcase["condition"] or dcase["state"]) == "anomaly")
        of |= {"split": dcase["split"], "domain": dcase["domain"]} if dcase["split"] else {}
    return of


def _matched(name: str, pattern: str) -> dict[str, str] | None:
    """Return the named parts of a pattern, or None if the name does not match it."""
    parts = re.split(r"\{(\w+)\}", pattern)
    if len(parts) < 3 or "{" in "".join(parts[::2]):
        raise InputError(f"--pattern {pattern!r}; it must name fields, as in {{condition}}_{{label}}_{{rpm}}.wav")
    if len({*parts[1::2]}) < len(parts[1::2]):
        raise InputError(f"--pattern {pattern!r}; each field needs a different name")
    expression = "".join(f"(?P<{part}>[^/]+?)" if odd else re.escape(part) for part, odd in _alternating(parts))
    found = re.fullmatch(expression, name if "/" in pattern else PurePosixPath(name).name)
    return None if found is None else found.groupdict()


def _alternating(parts: list[str]) -> Iterator[tuple[str, bool]]:
    return ((part, index % 2 == 1) for index, part in enumerate(parts))


def _truth(name: str, value: str | None) -> bool | None:
    if value is None or value == "":
        return None
    if value.lower() not in TRUE | FALSE:
        raise InputError(f"{name}: anomalous is {value!r}; it must be true or false")
    return value.lower() in TRUE


def _files(data: Path) -> Iterator[Path]:
    """Yield every file, in order. Links are followed, except for those to a folder that contains them."""
    if not data.is_dir():
        yield data
        return
    for folder, inside, names in os.walk(data, followlinks=True):
        above = {folder_id(parent) for parent in (Path(folder), *Path(folder).parents)}
        inside[:] = sorted(name for name in inside if folder_id(Path(folder, name)) not in above and name[0] != ".")
        yield from (Path(folder, name) for name in sorted(names) if name[0] != ".")


def folder_id(folder: Path) -> tuple[int, int]:
    """Return what identifies a folder, by whatever name it is reached."""
    status = folder.stat()
    return status.st_dev, status.st_ino


def is_manifest(data: Path) -> bool:
    """Return whether `data` is a table with a column "path"."""
    from oddkind.files.tables import columns_of

    return data.is_file() and data.suffix.lower() in SUFFIXES["tables"] and "path" in columns_of(data)


def _manifest(data: Path) -> list[tuple[Path, dict[str, str]]]:
    """Return the file and the fields of each row; paths are relative to the manifest's folder and stay inside it."""
    from oddkind.files.tables import read_columns

    columns = read_columns(data)
    root = data.parent.resolve()
    rows = []
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        of = {name: "" if value is None else str(value) for name, value in zip(columns, values, strict=True)}
        path = (root / of["path"]).resolve()
        if not of["path"] or not path.is_relative_to(root):
            raise InputError(f"{data}, row {number}: {of['path'] or 'an empty path'!r} is not inside {data.parent}")
        if not path.is_file():
            raise InputError(f"{data}, row {number}: {of['path']} does not exist")
        rows.append((path, of))
    if not rows:
        raise InputError(f"{data}: the manifest has no rows")
    return rows
