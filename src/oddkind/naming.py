"""Names of files, folders and labels: what they mean, and how they are printed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

NORMAL = {"normal", "good", "ok", "okay", "healthy", "nominal", "undamaged", "faultless", "flawless"}
ANOMALOUS = {
    *("abnormal", "anomaly", "anomalies", "anomalous", "bad", "broken", "damage", "damaged", "def", "defect"),
    *("defective", "defects", "fail", "failed", "failure", "fault", "faults", "faulty", "ko", "ng", "nok", "notok"),
    *("outlier", "outliers", "unhealthy"),
}
NEGATIONS = {"no", "non", "not", "without"}
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+|\d+|[^\W_]")


def condition_of(name: str) -> tuple[bool | None, str]:
    """Return whether a name means anomalous (None: it says nothing), and what is left of the name.

    "Fan_abnormal" is anomalous and leaves "Fan"; "not ok", "defect-free" and "NoFault" are understood. A name with
    words of both kinds says nothing.
    """
    words = [found for found in WORD.finditer(name) if found[0]]
    lower = [word[0].lower() for word in words]
    found: set[bool] = set()
    used: set[int] = set()
    for place, word in enumerate(lower):
        if word not in NORMAL | ANOMALOUS:
            continue
        turned = [place - 1] if place and lower[place - 1] in NEGATIONS else []
        turned += [place + 1] if word in ANOMALOUS and lower[place + 1 : place + 2] == ["free"] else []
        found.add((word in ANOMALOUS) != bool(turned))
        used |= {place, *turned}
    if len(found) != 1:
        return None, name
    rest = list(name)
    for place in used:
        rest[slice(*words[place].span())] = [""] * len(words[place][0])
    return found.pop(), re.sub(r"([\W_])[\W_]+", r"\1", "".join(rest)).strip("_-. ")


def first_names(names: Sequence[str], most: int = 5) -> str:
    """Return the first names, separated by commas."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def printable(name: str) -> str:
    r"""Escape the bytes of a file name that are not UTF-8 as Python shows them, such as \udcff."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def on_one_line(text: str) -> str:
    r"""Escape what would change how other text is shown: newlines, as \n, control characters and marks of direction."""
    return "".join(
        letter.encode("unicode_escape").decode("ascii")
        if unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") and letter not in "\u200c\u200d"
        else letter
        for letter in text
    )
