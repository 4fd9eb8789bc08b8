"""Messages are strings that can be translated, and the catalogues have all of them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from oddkind.language import Message, catalogue, language_of_locale, translated

SCRIPT = Path(__file__).parents[1] / "scripts" / "translations.py"
LABEL, RATE = "Label:", "False-alarm rate"


def test_a_message_is_a_string_with_its_values():
    message = Message("{share:.0%} of {what}", share=0.25, what="files")
    assert message == "25% of files"
    assert isinstance(message, str)
    assert translated(message, "en") == message


def test_messages_are_translated_wherever_they_are():
    inner = Message(LABEL)
    outer = Message("{what} {x}", what=inner, x="<b>")
    found = translated({"a": [outer, ("plain", 1)], LABEL: None}, "ko")
    assert found == {"a": ["라벨: <b>", ["plain", 1]], LABEL: None}
    assert translated(inner, "ko") == catalogue("ko")[LABEL]


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "fr:ko"}, "ko"),
        ({"LC_MESSAGES": "ko", "LANG": "de_DE"}, "ko"),
        ({"LANG": "kok_IN"}, "en"),
    ],
)
def test_the_language_is_that_of_the_environment(monkeypatch, environment, language):
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language_of_locale() == language


def test_every_message_is_translated_and_the_catalogue_is_up_to_date():
    found = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)  # noqa: S603
    assert found.returncode == 0, found.stdout + found.stderr


def test_no_message_of_a_script_hides_inside_another():
    """Calls in the arguments of a call are not found when messages are extracted, so there must be none."""
    source = Path(__file__).parents[1] / "src" / "oddkind"
    literal = r'"((?:[^"\\]|\\.)*)"'
    hidden = []
    for script in source.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        hidden += [one for one in re.findall(rf"\b(?:t|nodes)\({literal}", text) if one not in catalogue("ko")]
        pairs = re.findall(rf"\btn\({literal}, {literal}", text)
        hidden += [one for pair in pairs for one in pair if one not in catalogue("ko")]
    assert hidden == []
