"""Which files a data set has, and what is known about each before it is opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from oddkind.errors import InputError
from oddkind.files.folders import masks_among, meanings, of_dcase
from oddkind.files.remote import expect, file_in
from oddkind.naming import printable

# Signals that state their sample rate, as sounds do, but are arrays.
SIGNALS = (".tdms", ".edf", ".bdf")
SUFFIXES = {
    "sounds": (
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".rf64",
        ".m4a",
        ".aac",
        ".wma",
        *SIGNALS,
    ),
    "pictures": (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"),
    "tables": (".csv", ".tsv", ".parquet"),
    "arrays": (".npy", ".npz", ".mat", ".h5", ".hdf5"),
}
# Arrays are recordings if a sample rate is given, and signals are arrays if that is asked for.
OTHER_SUFFIXES = {"sounds": SUFFIXES["arrays"], "arrays": SIGNALS}
TRUE, FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
OUTSIDE = "is outside the folder of the data set; --follow allows that"

Fields = dict[str, str]
Taken = tuple[tuple[str, str], ...]


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
    truth : str or None
        The column of a table whose marked rows determine `anomalous`.
    windows : (start, stop) or None
        The windows of the file that this entry is about, one block of it; None: all.
    machine : str or None
        The machine of a fleet that it is from.
    taken : tuple of pairs
        What was found in its name, its folders or its manifest, and what each of them was taken for.
    """

    path: Path
    name: str
    label: str | None = None
    anomalous: bool | None = None
    group: str | None = None
    split: str | None = None
    truth: str | None = None
    windows: tuple[int, int] | None = None
    machine: str | None = None
    taken: Taken = field(default=(), compare=False, repr=False)


def kind_of(data: Path, *, follow: bool = False) -> str:
    """Return the kind of files that a data set has, a key of `SUFFIXES`. Tables count only if there is nothing else.

    Raises
    ------
    InputError
        If there is nothing to read, or there are files of several kinds, such as sounds and pictures.
    """
    _check_exists(data)
    problems: Fields = {}
    if is_manifest(data):
        suffixes = {PurePosixPath(name).suffix.lower() for name in _columns_of_manifest(data)["path"]}
    else:
        files, problems = _files(data, follow=follow)
        suffixes = {path.suffix.lower() for path, _ in files}
    found = {kind for kind, own in SUFFIXES.items() if suffixes & {*own}}
    if len(found) > 1:
        found.discard("tables")
    if len(found) != 1:
        known = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        no_file = "is no" if data.is_file() and not is_manifest(data) else "contains no"
        what = f"{no_file} file with a suffix of {known}" + (f"; {grouped(problems)}" if problems else "")
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
    machine: str | None = None,
    follow: bool = False,
    only: Container[str] | None = None,
) -> tuple[list[Entry], dict[str, str]]:
    """List the files of a kind, and those that cannot be used, each with the reason.

    What is known about a file are its fields: the columns of a manifest (a table with a column "path"), the named
    parts of a pattern such as "{condition}_{label}_{rpm}.wav", or, without either, what the names of its folders mean:
    "train" and "test" are splits; "good", "Fan_normal", "defect" and the like are conditions, as is any folder beside
    one of normal files; any other folder is the label. File names of DCASE task 2 are understood as they are.

    Parameters
    ----------
    data : path
        A folder, which is searched recursively; a manifest; or a single file.
    kind : key of `SUFFIXES`
    pattern : str or None
        The pattern of file names; with a "/", of paths inside `data`.
    label, group : str or None
        The fields that hold the label and the group; by default "label" and "group". Several fields, "field,field",
        are combined. Groups that have numbers for names are counted within each label.
    normal : str or None
        "field=value" or "field=value,value": files with one of these values are normal, others are anomalous. By
        default the field "anomalous" decides, if there is one.
    machine : str or None
        The field that names the machine of a fleet; by default "machine".
    follow : bool
        Whether links and the paths of a manifest may point outside the folder.
    only : container of str or None
        The names of the files that are returned; all are looked at, because names of folders explain each other.

    Raises
    ------
    InputError
        If no file is left, the manifest or the pattern cannot be used, or a field does not exist.
    """
    _check_exists(data)
    found, refused = _fields(data, kind, pattern, follow)
    if not found:
        if data.is_file() and not refused:
            raise InputError(f"{data}: is not read as {kind}, whose files end in {', '.join(SUFFIXES[kind])}")
        raise InputError(f"{data}: contains no {kind}" + (f" that can be used; {grouped(refused)}" if refused else ""))
    there = {name for _, of, _ in found.values() for name in of}
    condition, _, values = (normal or "").partition("=")
    wanted = {value.strip() for value in values.split(",")}
    if normal is not None and not values:
        raise InputError(f"--normal {normal!r}; it must be FIELD=VALUE, such as condition=Healthy")
    roles = {role: (given or role).split(",") for role, given in (("label", label), ("group", group))}
    for option, names in (("label", label), ("group", group), ("normal", condition), ("machine-field", machine)):
        for name in (names or "").split(","):
            if name and name not in there:
                raise InputError(
                    f"{data}: --{option} names the field {name!r}, which does not exist; "
                    f"known fields: {', '.join(sorted(there)) or 'none'}"
                )
    groups = {name: _combined(of, roles["group"]) for name, (_, of, _) in found.items()}
    numbered = len(roles["group"]) == 1 and all(value is None or value.isdecimal() for value in groups.values())
    result = []
    for name, (path, of, taken) in found.items():
        if only is not None and name not in only:
            continue
        anomalous = of.get(condition) not in wanted if condition else _truth(name, of.get("anomalous"))
        split = of.get("split") or None
        if split not in (None, "train", "test"):
            raise InputError(f"{name}: the split is {split!r}; it must be train or test")
        of_label, of_group = _combined(of, roles["label"]), groups[name]
        if numbered and of_label is not None and of_group is not None:
            of_group = f"{of_label} / {of_group}"
        if not taken or label or group or normal:
            taken = _taken_fields(of, roles, condition or "anomalous", anomalous, numbered)
        of_machine = of.get(machine or "machine") or None
        result.append(Entry(path, name, of_label, anomalous, of_group, split, machine=of_machine, taken=taken))
    return result, refused


def present(folder: Path, kind: str, *, follow: bool = False) -> dict[str, Path]:
    """Return by name every file in a folder whose suffix is one that a kind may have, whether it can be used or not."""
    suffixes = {*SUFFIXES[kind], *OTHER_SUFFIXES.get(kind, ())}
    files, _ = _files(folder, follow=follow)
    there = (path for path, _ in files if path.suffix.lower() in suffixes)
    return {printable(path.relative_to(folder).as_posix()): path for path in there}


def labelled(files: Sequence[Entry], on_refused: Callable[[str, str], None] | None = None) -> list[Entry]:
    """Leave out files that would be learnt from and have no label, if others have one.

    Raises
    ------
    InputError
        If there is one and `on_refused`, which is called with its name and the reason, is None.
    """
    learnt = [entry for entry in files if entry.anomalous is not True and entry.split != "test"]
    n = sum(entry.label is not None for entry in learnt)
    refused = {entry.name for entry in learnt if entry.label is None} if n else set()
    why = f"has no label, but {n} of {len(learnt)} normal files have one; give it a label, or give none to any file"
    for name in sorted(refused):
        if on_refused is None:
            raise InputError(f"{name}: {why}")
        on_refused(name, why)
    return [entry for entry in files if entry.name not in refused]


def grouped(reasons: Mapping[str, str], most: int = 3, *, what: str = "files") -> str:
    """Summarise why files, or `what` else is named, cannot be used: each reason with an example and their number."""
    kinds: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        kinds.setdefault(re.sub(r"\d+(\.\d+)?", "#", reason), []).append(name)
    lines = []
    for first, *others in sorted(kinds.values(), key=len, reverse=True):
        n = len(others)
        also = f" (and {n} other {what if n > 1 else what.removesuffix('s')})" if n else ""
        lines.append(f"{first}{also}: {reasons[first]}")
    return "; ".join(lines[:most]) + ("; …" if len(lines) > most else "")


# --- fields ---


def _fields(
    data: Path, kind: str, pattern: str | None, follow: bool
) -> tuple[dict[str, tuple[Path, Fields, Taken]], dict[str, str]]:
    """Return by name each file with its fields and what its folders were taken for; and files that cannot be used."""
    known: dict[str, tuple[Path, Fields, Taken]] = {}
    if is_manifest(data):
        rows, refused = _manifest(data, follow)
        for name, (path, of) in rows.items():
            known[name] = path, of | (_matched(name, pattern) or {} if pattern else {}), ()
        return known, refused
    root = data if data.is_dir() else data.parent
    files, refused = _files(data, follow=follow)
    usable: dict[str, Path] = {}
    suffixes = SUFFIXES[kind]
    others = OTHER_SUFFIXES.get(kind, ())
    if not any(path.suffix.lower() in suffixes for path, _ in files):
        suffixes = others or suffixes
    for path, problem in files:
        if path.suffix.lower() in suffixes:
            name = printable(path.relative_to(root).as_posix())
            if problem is None and name in usable:
                problem = "looks the same as another name"
            if problem is None:
                usable[name] = path
            else:
                refused[name] = problem
    if pattern:
        for name, path in usable.items():
            matched = _matched(name, pattern)
            if matched is None:
                refused[name] = f"the name does not match the pattern {pattern}"
            else:
                known[name] = path, matched, ()
        return known, refused
    if kind == "pictures":
        masks = masks_among(usable)
        refused |= masks
        usable = {name: path for name, path in usable.items() if name not in masks}
    meant = meanings({PurePosixPath(name).parent.parts for name in usable})
    for name, path in usable.items():
        of, taken = meant[PurePosixPath(name).parent.parts]
        of_name = of_dcase(PurePosixPath(name))
        known[name] = path, of | of_name, (*taken, ("file name of DCASE task 2", "all fields")) if of_name else taken
    return known, refused


def _check_exists(data: Path) -> None:
    if not os.path.exists(data):
        raise InputError(f"{data}: does not exist; pass a folder, a manifest or a file")


def _combined(of: Mapping[str, str], names: Sequence[str]) -> str | None:
    """Return the values of some fields, or None if one is missing."""
    values = [of.get(name) or "" for name in names]
    return " / ".join(values) if all(values) else None


def _taken_fields(
    of: Mapping[str, str], roles: Mapping[str, Sequence[str]], condition: str, anomalous: bool | None, numbered: bool
) -> Taken:
    """Return what each field was taken for."""
    taken = []
    for name, value in of.items():
        if name == "path":
            continue
        meant = [role if value else f"no {role}" for role, names in roles.items() if name in names]
        if "group" in meant and numbered:
            numbers = f"{name},{name}"
            meant[meant.index("group")] = f"group, numbered within each label (--group {numbers}: over all labels)"
        found = f"field {name}"
        if name in (condition, "split"):
            found = f"field {name} = {value}"
            names_of = {True: "anomalous files", False: "normal files", None: "files of unknown condition"}
            meant.append(names_of[anomalous] if name == condition else f"the split {value}" if value else "no split")
        taken.append((found, " and ".join(meant) or "nothing; --label, --group and --normal can name it"))
    return tuple(taken)


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


# --- files ---


def _files(data: Path, *, follow: bool) -> tuple[list[tuple[Path, str | None]], dict[str, str]]:
    """List every file in order, with the reason why it cannot be used, or None; and folders that cannot be.

    Links are followed inside the folder, except for those to a folder that contains them and those in a linked
    folder; with `follow` also out of it.
    """
    if not os.path.isdir(data):
        return [(data, problem_of(data))], {}
    errors: list[OSError] = []
    files: list[tuple[Path, str | None]] = []
    folders: dict[str, str] = {}
    linked: set[str] = set()
    root = None if follow else os.path.realpath(data)
    for folder, inside, names in os.walk(data, followlinks=True, onerror=errors.append):
        above = {folder_id(parent) for parent in (Path(folder), *Path(folder).parents)}
        kept = []
        for name in sorted(inside):
            path = Path(folder, name)
            if name[0] == "." or folder_id(path) in above:
                continue
            is_link = path.is_symlink()
            if root is not None and is_link and not _inside(path, root):
                folders[printable(path.relative_to(data).as_posix())] = OUTSIDE
            elif is_link and folder in linked:  # n folders with links to each other have n! paths
                folders[printable(path.relative_to(data).as_posix())] = (
                    "is a link in a linked folder; it is not followed"
                )
            else:
                kept.append(name)
                if is_link or folder in linked:
                    linked.add(str(path))
        inside[:] = kept
        paths = (Path(folder, name) for name in sorted(names) if name[0] != ".")
        files += [(file_in(data, path), problem_of(path, root)) for path in paths]
    for error in errors:
        name = printable(os.path.relpath(error.filename, data))
        folders[name] = f"the folder cannot be read ({error.strerror})"
    return files, folders


def problem_of(file: Path, root: str | None = None) -> str | None:
    """Explain why a file cannot be opened, or return None. With `root` it must not be a link out of that folder."""
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            return "is a link that leads in a circle"
        if os.path.islink(file):  # never raises
            return "is a link to a file that does not exist"
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return "does not exist"
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if stat.S_ISDIR(status.st_mode):
        return "is a folder"
    if not stat.S_ISREG(status.st_mode):
        return "is a named pipe, a socket or a device, not a file"
    if not os.access(file, os.R_OK):
        return "cannot be read (no permission)"
    return OUTSIDE if root is not None and file.is_symlink() and not _inside(file, root) else None


def _inside(path: Path, root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def folder_id(folder: Path) -> tuple[int, int]:
    """Return what identifies a folder, by whatever name it is reached."""
    try:
        status = folder.stat()
    except OSError:  # it was deleted, or may not be entered
        return -1, -1
    return status.st_dev, status.st_ino


def is_manifest(data: Path) -> bool:
    """Return whether `data` is a table with a column "path"."""
    from oddkind.files.tables import columns_of

    usable = data.suffix.lower() in SUFFIXES["tables"] and problem_of(data) is None
    return usable and "path" in columns_of(data)


def _columns_of_manifest(data: Path) -> dict[str, list[str]]:
    from oddkind.files.tables import read_columns

    columns = {
        name: ["" if value is None else str(value) for value in values] for name, values in read_columns(data).items()
    }
    if not columns["path"]:
        raise InputError(f"{data}: the manifest has no rows")
    return columns


def _manifest(data: Path, follow: bool) -> tuple[dict[str, tuple[Path, Fields]], dict[str, str]]:
    """Return by name the file and the fields of each row, and rows that cannot be used, each with the reason.

    Paths are relative to the manifest's folder and stay inside it, unless `follow`.
    """
    columns = _columns_of_manifest(data)
    folder = data.parent.resolve()
    root = None if follow else str(folder)
    inside: dict[str, bool] = {}  # the folders of the files: a manifest may have millions of rows
    known: dict[str, tuple[Path, Fields]] = {}
    refused: dict[str, str] = {}
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        of = dict(zip(columns, values, strict=True))
        name = of["path"]
        if name in known:
            raise InputError(f"{data}: {name} is listed twice")
        path = folder / name
        expect(data, name)
        if root is not None:
            parent = os.path.dirname(path)
            if parent not in inside:
                inside[parent] = _inside(Path(parent), root)
            problem = problem_of(path, root) if inside[parent] else OUTSIDE
        else:
            problem = problem_of(path)
        if not name:
            refused[f"row {number}"] = "the path is empty"
        elif problem is None:
            known[name] = file_in(data, path), of
        else:
            refused[name] = f"row {number} of {data.name}: {problem}"
    return known, refused
