"""Brings the catalogues of translations up to date with the messages of the code, and says what is missing.

    python scripts/translations.py [--check]

Messages are found in Python (`Message("…")`), in the scripts of pages (`t("…")`, `tn("…", "…", n)`, `nodes("…")`) and
in their templates ({{…}}). They are kept in `src/oddkind/translations/ko.po`, where they are translated; `ko.json` is
made of it. With --check nothing is written. The exit code is 1 if a file was not up to date or a message is not
translated.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from oddkind.language import LANGUAGES
from oddkind.pages.page import TEXT

SOURCE = Path(__file__).parents[1] / "src" / "oddkind"
FOLDER = SOURCE / "translations"
PYTHON, SCRIPT = {"Message": None}, {"t": None, "nodes": None, "tn": (1, 2)}
VALUES = re.compile(r"\{(\w+)[^}]*\}")


def messages() -> Iterator[tuple[str, str | tuple[str, ...]]]:
    """Yield the file and the text of each message; one and several as a tuple."""
    for file in sorted(SOURCE.rglob("*")):
        name = file.relative_to(SOURCE).as_posix()
        if file.suffix in (".py", ".js"):
            how, keywords = ("python", PYTHON) if file.suffix == ".py" else ("javascript", SCRIPT)
            options = {"parse_template_string": "true"} if file.suffix == ".js" else {}
            with file.open("rb") as content:
                for _, text, _, _ in extract(how, content, keywords, options=options):
                    yield name, text
        elif file.name == "page.html":
            for found in TEXT.finditer(file.read_text(encoding="utf-8")):
                yield name, " ".join(found[1].split())


def up_to_date(language: str) -> Catalog:
    """Return a catalogue with all messages of the code and no other; known translations are kept."""
    template = Catalog(fuzzy=False)
    for name, text in messages():
        template.add(text, locations=[(name, 0)])  # a line number would change with every edit
    file = FOLDER / f"{language}.po"
    known = Catalog(language, fuzzy=False)
    if file.exists():
        with file.open("rb") as content:
            known = read_po(content, language)
    known.update(template, no_fuzzy_matching=True, update_creation_date=False)
    known.obsolete.clear()
    return known


def written(catalogue: Catalog) -> dict[str, bytes]:
    """Return the contents of the two files of a language, by suffix."""
    content = io.BytesIO()
    write_po(content, catalogue, width=120, omit_header=True, include_lineno=False, sort_by_file=True)
    pairs = {one: strings[0] for ids, strings in texts(catalogue) for one in ids if strings[0]}
    table = json.dumps(pairs, ensure_ascii=False, indent=0, sort_keys=True) + "\n"
    return {".po": content.getvalue(), ".json": table.encode()}


def texts(catalogue: Catalog) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Yield each message, one and several, and its translations; "" if it has none."""
    for message in catalogue:
        if message.id:
            ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
            strings = (message.string or "",) if isinstance(message.string, str | None) else tuple(message.string)
            yield ids, strings


def problems(catalogue: Catalog) -> list[str]:
    """Return what is wrong: messages without a translation, and those whose values differ."""
    found = []
    for ids, strings in texts(catalogue):
        wanted, given = ({*VALUES.findall(" ".join(one))} for one in (ids, strings))
        if not all(strings):
            found.append(f"not translated: {ids[0]!r}")
        elif given - wanted or (len(ids) == 1 and wanted - given):
            found.append(f"the values of {ids[0]!r} and of its translation differ: {strings[0]!r}")
    return found


def main() -> int:
    """Update, or check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    said = []
    for language in LANGUAGES:
        if language == "en":
            continue
        catalogue = up_to_date(language)
        said += [f"{language}.po: {problem}" for problem in problems(catalogue)]
        for suffix, content in written(catalogue).items():
            file = FOLDER / f"{language}{suffix}"
            if not file.exists() or file.read_bytes() != content:
                if check:
                    said.append(f"{file.name} is not up to date; run python scripts/translations.py")
                else:
                    FOLDER.mkdir(exist_ok=True)
                    file.write_bytes(content)
    print("\n".join(said) or "all messages are translated")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
