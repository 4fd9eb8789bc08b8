"""What the names of files and folders mean: conditions, splits, labels, and masks that mark defects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from oddkind.naming import condition_of

SPLITS = {"train", "test"}
# Folders that name the medium are no label if another folder is.
CONTAINERS = {"audio", "data", "image", "images", "img", "imgs", "rgb", "sounds", "wav"}
# Folders of masks in the layouts of MVTec, VisA and BTAD.
MASK_FOLDERS = {"ground_truth", "groundtruth", "gt", "mask", "masks"}
MASK = "is a mask that marks defects, not a picture to judge"

# DCASE task 2 of 2020, and from 2021 on: https://dcase.community
DCASE = re.compile(
    r"(?P<condition>normal|anomaly)_(?P<label>id_\d+)_\d+\.wav"
    r"|(?P<section>section_\d+)_(?P<domain>source|target)_(?P<split>train|test)_(?P<state>normal|anomaly)_.*\.wav"
)

Folder = tuple[str, ...]
# The fields of a file, and what was found, each with what it was taken for.
Meaning = tuple[dict[str, str], tuple[tuple[str, str], ...]]


def masks_among(names: Iterable[str]) -> dict[str, str]:
    """Find masks among pictures, each with the reason: those in a folder of masks, or named after another picture."""
    names = list(names)
    stems = {str(PurePosixPath(name).with_suffix("")) for name in names}
    found = {}
    for name in names:
        path = PurePosixPath(name)
        folder = next((part for part in path.parent.parts if part.lower().replace("-", "_") in MASK_FOLDERS), None)
        stem = str(path.with_suffix(""))
        if folder is not None:
            found[name] = f"{MASK}, because its folder is called {folder}; with --pattern it would be read"
        elif stem.endswith("_mask") and stem.removesuffix("_mask") in stems:
            found[name] = f"{MASK}, because it is named after another picture; with --pattern it would be read"
    return found


def meanings(folders: set[Folder]) -> dict[Folder, Meaning]:
    """Return what the folders of a data set mean; a folder is given by the names on the path to it.

    "train" and "test" are splits. A name such as "good" or "Fan_abnormal" is a condition; so is any other name beside
    a normal one, and means anomalous. What is left of it ("Fan") belongs to the label if every normal folder has such
    a rest. Of other folders, the innermost is the label.
    """
    conditions = {part: condition_of(part) for folder in folders for part in folder}
    normal = {
        (_above(folder, level), conditions[part][1])
        for folder in folders
        for level, part in enumerate(folder)
        if conditions[part][0] is False
    }
    beside_normal = {above for above, _ in normal}
    rests = {rest for _, rest in normal}
    levels = {folder: _level(folder, conditions, beside_normal) for folder in folders}

    def odd(folder: Folder) -> bool | None:
        level = levels[folder]
        return None if level is None else conditions[folder[level]][0] is not False

    def rest(folder: Folder) -> str:
        level = levels[folder]
        left = "" if level is None or conditions[folder[level]][0] is None else conditions[folder[level]][1]
        return left if not rests or ("" not in rests and left in rests) else ""

    def label(folder: Folder, end: int | None = None) -> tuple[str | None, str]:
        parts = [part for n, part in enumerate(folder[:end]) if n != levels[folder] and part.lower() not in SPLITS]
        own = ([part for part in parts if part.lower() not in CONTAINERS] or parts or [""])[-1]
        return "/".join(filter(None, (own, rest(folder)))) or None, own

    known = {label(folder)[0] for folder in folders if not odd(folder)}
    result: dict[Folder, Meaning] = {}
    for folder in folders:
        level, is_odd = levels[folder], odd(folder)
        named, own = label(folder)
        if is_odd and named not in known:  # folders inside one of anomalies describe the fault
            named, own = label(folder, level)
        of = {} if named is None else {"label": named}
        taken = []
        for n, part in enumerate(folder):
            if n == level:
                of |= {"condition": part, "anomalous": str(is_odd)}
                meant = f"{'anomalous' if is_odd else 'normal'} files"
                meant += ", because it is beside a folder of normal files" if conditions[part][0] is None else ""
                meant += f", label {named}" if rest(folder) else ""
            elif part.lower() in SPLITS:
                of["split"] = part.lower()
                meant = f"the split {part.lower()}"
            else:
                meant = f"label {named}" if part == own else "nothing"
            taken.append((f"folder {part}", meant))
        result[folder] = of, tuple(taken) or (("no folder", "nothing is known about the file"),)
    return result


def _above(folder: Folder, level: int) -> Folder:
    return tuple(part for part in folder[:level] if part.lower() not in SPLITS)


def _level(folder: Folder, conditions: dict[str, tuple[bool | None, str]], beside_normal: set[Folder]) -> int | None:
    """Find which name on the path is the condition: one without a rest, else with a rest, else one beside a normal."""
    named = [n for n, part in enumerate(folder) if conditions[part][0] is not None]
    pure = [n for n in named if not conditions[folder[n]][1]]
    beside = [n for n, part in enumerate(folder) if part.lower() not in SPLITS and _above(folder, n) in beside_normal]
    return next((some[-1] for some in (pure, named, beside) if some), None)


def of_dcase(name: PurePosixPath) -> dict[str, str]:
    """Return the fields in a file name of DCASE task 2, or none if it is not one."""
    dcase = DCASE.fullmatch(name.name)
    if not dcase:
        return {}
    machine = [part for part in name.parent.parts if part.lower() not in SPLITS][-1:]
    of = {
        "label": "/".join([*machine, dcase["label"] or dcase["section"]]),
        "anomalous": str((dcase["condition"] or dcase["state"]) == "anomaly"),
    }
    return of | ({"split": dcase["split"], "domain": dcase["domain"]} if dcase["split"] else {})
