"""Fill in the pages that are made from the code. This is a hook of mkdocs, named in mkdocs.yml.

A page holds a marker such as `<!-- generated: scores -->`, which is replaced when the site is built.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from typer.main import get_command

from oddkind import SCORES
from oddkind.cli.main import app
from oddkind.model.scores import components_of


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the markers of a page by what they name."""
    for name, generate in {"scores": scores, "command line": command_line}.items():
        marker = f"<!-- generated: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, "\n".join(generate()))
    return markdown


def scores() -> Iterator[str]:
    """Generate a table with a row for each score."""
    rows = ((f"`{name}`", f"`{score.formula}`", requirement(score)) for name, score in SCORES.items())
    yield from table(("Name", "Formula", "Needs"), rows)


def requirement(score: Any) -> str:
    """Return what a score cannot do without."""
    if getattr(score, "needs_rotations", False):
        return "a task with rotations"
    if any(component.needs_signals for component in components_of(score)):
        return "signals [N, C, T]"
    return "labels, or a task with transforms" if getattr(score, "needs_labels", False) else ""


def command_line() -> Iterator[str]:
    """Generate a section for each command, from the same declarations as `oddkind --help`."""
    for name, command in commands_of(get_command(app)):
        arguments = [option for option in command.params if option.param_type_name == "argument"]
        options = [option for option in command.params if option.param_type_name == "option"]
        usage = " ".join(option.name.upper() for option in arguments)
        yield from (f"## oddkind {name}", "", plain(command.help), "")
        yield from ("```text", f"oddkind {name} [OPTIONS] {usage}".rstrip(), "```", "")
        if arguments:
            named = ((f"`{argument.name.upper()}`", plain(argument.help)) for argument in arguments)
            yield from table(("Argument", "Meaning"), named)
            yield ""
        names = ((" ".join(f"`{text}`" for text in option.opts), option) for option in options)
        rows = ((name, plain(option.help), default(option)) for name, option in names)
        yield from table(("Option", "Meaning", "Default"), rows)
        yield ""


def commands_of(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Generate the commands of a group, and those of groups in it, by their full names."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands_of(command, f"{above}{name} ")
        else:
            yield above + name, command


def default(option: Any) -> str:
    """Return what an option is if it is not given."""
    if option.required:
        return "required"
    return "" if option.default in (None, False) else f"`{option.default}`"


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """Generate the lines of a Markdown table."""
    headers = tuple(headers)
    yield f"| {' | '.join(headers)} |"
    yield "| --- " * len(headers) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def plain(text: str) -> str:
    """Return text of the command line as Markdown that shows every character as it is."""
    return re.sub(r"([\\`*_{}|])", r"\\\1", text)
