"""The page: the facts put into the template, as one file that needs no network."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from oddkind.output import written_whole
from oddkind.report.encoding import as_json

PLACE = "/*FACTS*/"


def page_of(facts: dict[str, Any]) -> str:
    """Return the page that shows facts."""
    template = files("oddkind.report").joinpath("page.html").read_text(encoding="utf-8")
    return template.replace(PLACE, as_json(facts))


def write_page(facts: dict[str, Any], file: Path) -> int:
    """Write the page, whole or not at all, and return its size in bytes.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    content = page_of(facts).encode("utf-8", "backslashreplace")
    with written_whole(file) as unfinished:
        unfinished.write_bytes(content)
    return len(content)
