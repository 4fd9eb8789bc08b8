"""A page: a template with its style, its script and its facts put in, as one file that needs no network."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from oddkind.language import Language, catalogue, translated
from oddkind.naming import on_one_line
from oddkind.output import written_whole
from oddkind.pages.encoding import as_json

TEXT = re.compile(r"\{\{(.+?)\}\}", re.DOTALL)


def page_of(package: str, facts: dict[str, Any], language: Language = "en") -> str:
    """Return the page of a package that shows facts.

    The package has `page.html`, what is inside the body of `pages/page.html`, in which a text is written {{so}} if it
    is to be translated; and `page.css` and `page.js`, which follow `pages/style.css` and `pages/core.js`. Scripts of
    other names, each a section of the page, follow `page.js`. A text may contain elements; quotation marks in it are
    escaped, so that it may be an attribute, too. Text of facts is shown as it is, but for characters that control how
    other text is shown.
    """
    shared, own = files("oddkind.pages"), files(package)
    skeleton, body = (one.joinpath("page.html").read_text(encoding="utf-8") for one in (shared, own))
    html = skeleton.replace("/*BODY*/", body)
    html = TEXT.sub(lambda found: translated_text(found[1], language), html)
    scripts = [one for one in own.iterdir() if one.name.endswith(".js")]
    scripts.sort(key=lambda one: (one.name != "page.js", one.name))
    parts = {
        "/*LANGUAGE*/": language,
        "/*STYLE*/": shared.joinpath("style.css").read_text("utf-8") + own.joinpath("page.css").read_text("utf-8"),
        "/*SCRIPT*/": "".join(one.read_text("utf-8") for one in (shared.joinpath("core.js"), *scripts)),
        "/*FACTS*/": as_json(_printable(translated(facts, language)) | {"catalogue": catalogue(language)}),
    }
    return re.sub("|".join(map(re.escape, parts)), lambda found: parts[found[0]], html)


def _printable(content: Any) -> Any:
    """Return content in which no text changes how other text is shown: `on_one_line`, also of keys."""
    if isinstance(content, str):
        return content if content.isprintable() else on_one_line(content)
    if isinstance(content, dict):
        return {_printable(name): _printable(value) for name, value in content.items()}
    return [_printable(one) for one in content] if isinstance(content, list) else content


def translated_text(text: str, language: Language) -> str:
    """Return a text of a template in a language; line breaks and indentation in it do not matter."""
    message = " ".join(text.split())
    return catalogue(language).get(message, message).replace('"', "&quot;")


def write_page(package: str, facts: dict[str, Any], file: Path, language: Language = "en") -> int:
    """Write the page, whole or not at all, and return its size in bytes.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    content = page_of(package, facts, language).encode("utf-8", "backslashreplace")
    with written_whole(file) as unfinished:
        unfinished.write_bytes(content)
    return len(content)
