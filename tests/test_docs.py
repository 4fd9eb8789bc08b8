"""The documentation: its examples run, its links lead somewhere, its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from oddkind.cli.main import app

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TEXTS = README, ROOT / "README.ko.md", *sorted((ROOT / "docs").rglob("*.md"))
PAGES = {page.relative_to(ROOT).as_posix(): page for page in TEXTS}
# A block of code, and the comment before it: <!-- run --> runs a console block too, <!-- not run: why --> skips one.
BLOCK = re.compile(r"(?:^<!-- (not run|run)\b[^\n]*-->\n+)?^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
COMMANDS = get_command(app).commands


def blocks(page):
    """Language, text, number of the line before the text, and mark of each block."""
    text = page.read_text(encoding="utf-8")
    return [(found[2], found[3], text.count("\n", 0, found.start(3)), found[1]) for found in BLOCK.finditer(text)]


def commands(text):
    """The words of each command after a prompt; output has none."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in lines if line.startswith("$ ")]


@pytest.mark.parametrize(
    "page", [name for name, page in PAGES.items() if any(block[0] == "python" for block in blocks(page))]
)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    for language, text, line, mark in blocks(PAGES[page]):
        if language == "python" and mark != "not run":
            # Empty lines before it, so that an error names the line of the page.
            exec(compile("\n" * line + text, PAGES[page], "exec"), namespace)  # noqa: S102 - our own examples
        elif language == "console" and mark == "run":
            for _, *words in commands(text):
                get_command(app)(words, standalone_mode=False)


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_options_exist(page):
    for language, text, *_ in blocks(PAGES[page]):
        for program, *words in commands(text) if language == "console" else []:
            if program == "python":
                assert (ROOT / words[0]).is_file()
            elif program == "oddkind":
                command = COMMANDS[words[0]]
                command = command.commands[words[1]] if hasattr(command, "commands") else command
                options = {name for option in command.params for name in option.opts}
                assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options, words


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = LINK.findall(PAGES[page].read_text(encoding="utf-8"))
    assert [link for link in links if not (PAGES[page].parent / link).exists()] == []


def test_readme_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150
