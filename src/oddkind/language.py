"""Messages in the language of the reader: English sentences with named values, and a catalogue that translates them.

`translations/` has a catalogue for each language, `ko.po`, and what `scripts/translations.py` makes of it, `ko.json`.
Pages use the same catalogue in the browser.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, cast, get_args

Language = Literal["en", "ko"]
LANGUAGES: tuple[Language, ...] = get_args(Language)


class Message(str):
    """An English text that can be translated: the template, with its values put in.

    It is an ordinary string, so it can be printed, raised and written as any other; `translated` finds the template.

    Examples
    --------
    >>> Message("{n} of {files} cannot be read", n=3, files=12)
    '3 of 12 cannot be read'
    """

    template: str
    values: Mapping[str, Any]

    def __new__(cls, template: str, **values: Any) -> Message:
        """Put values into the template, as `str.format` does."""
        self = super().__new__(cls, template.format(**values))
        self.template, self.values = template, values
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """Return what `__new__` takes, for copies and pickles."""
        return (self.template,), dict(self.values)


def translated(content: Any, language: Language) -> Any:
    """Return content with every `Message` in it translated, also those in lists, tuples and dicts."""
    if isinstance(content, Message):
        values = {name: translated(value, language) for name, value in content.values.items()}
        return catalogue(language).get(content.template, content.template).format(**values)
    if isinstance(content, Mapping):
        return {name: translated(value, language) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [translated(one, language) for one in content]
    return content


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """Return the translations of English messages; those into English are empty."""
    if language == "en":
        return {}
    content = files("oddkind").joinpath("translations", f"{language}.json").read_text(encoding="utf-8")
    return cast("dict[str, str]", json.loads(content))


def language_of_locale() -> Language:
    """Return the language that the environment asks for, as gettext finds it; English if it is none of ours."""
    wanted = os.environ.get("LANGUAGE", "").split(":")
    wanted.append(next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), ""))
    codes = (re.split(r"[_.@-]", one)[0].lower() for one in wanted)
    return next((language for code in codes for language in LANGUAGES if language == code), "en")
