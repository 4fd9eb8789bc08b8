"""Options that several commands for files share, and what they mean."""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oddkind.cli.terminal import complain_of, listed
from oddkind.errors import InputError
from oddkind.files.remote import data_path
from oddkind.language import Language

if TYPE_CHECKING:
    from oddkind.files.listing import Entry
    from oddkind.files.source import Source
    from oddkind.model.model import CrossModel, Model

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")]


def _path(text: str) -> Path:
    """Return the path that an argument names; typer would replace the message of an InputError."""
    try:
        return data_path(text)
    except InputError as error:
        complain_of(error)
        raise typer.Exit(2) from error


Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        parser=_path,
        help="A folder, a manifest (a table with a column 'path') or a single file; also a URL, such as s3://….",
    ),
]
SavedModel = Annotated[
    Path, typer.Argument(metavar="MODEL", parser=_path, help="A model that 'oddkind fit' wrote; also a URL.")
]
OtherModel = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        parser=_path,
        help="Another model that judges the same files: which decisions change, and why; also a URL.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first file that cannot be read.")]
Order = Annotated[
    str,
    typer.Option(
        help="What gives the order in which files were recorded, for the drift: a column of the manifest, 'name' "
        "(names in natural order), 'none', or 'auto': a column called time or the like, else time stamps in the names, "
        "else blocks of a file."
    ),
]
Lang = Annotated[
    Language | None,
    typer.Option(help="Language of the page; by default that of the environment (LANG), English if there is none."),
]
Follow = Annotated[
    bool, typer.Option("--follow", help="Read files outside the folder too, by links or the paths of a manifest.")
]
Rate = Annotated[
    float | None, typer.Option("--false-alarm-rate", help="Override the false-alarm rate set by 'oddkind fit'.")
]
Cache = Annotated[Path | None, typer.Option(help="Folder in which what was read is kept for the next command.")]
Jobs = Annotated[
    int | None,
    typer.Option(help="Processes that share the work, each with one thread. By default this one works alone."),
]
Backend = Annotated[
    str, typer.Option(help="What runs the processes: loky on this computer, or ray or dask, also on many.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster or Dask scheduler that runs, such as tcp://head:8786; else one is started here."
    ),
]
Pattern = Annotated[str | None, typer.Option(help="Fields in file names, such as {condition}_{label}_{rpm}.wav.")]
Label = Annotated[
    str | None, typer.Option(help="Field that holds the internal label, such as machine, load or lighting.")
]
Normal = Annotated[str | None, typer.Option(help="Field and value of normal files, such as condition=Healthy.")]


def _option(kind: Any, text: str, *names: str) -> Any:
    return Annotated[kind, typer.Option(*names, help=text)]


# Options for how a data set is read: the fields of `Source`.
READING = {
    "kind": _option(str | None, "sounds, pictures, tables or arrays; detected by default."),
    "pattern": Pattern,
    "label": Label,
    "group": _option(str | None, "Field whose values name files that belong together, such as session or tile."),
    "normal": Normal,
    "sample_rate": _option(
        str | None,
        "In Hz; sounds at another rate are resampled. Arrays become recordings. For tables: rows per second, or "
        "'clock': as the column of time says.",
    ),
    "window": _option(
        str | None,
        "Length of a window in seconds, or in rows for tables without a rate; with a unit, such as 500ms, 10s or 1h, "
        "in time. For sounds 1 by default.",
    ),
    "hop": _option(str | None, "Step between two windows; by default the length of a window."),
    "short": _option(
        str | None,
        "What to do with a recording shorter than a window: pad (with silence) or refuse. By default padded if many "
        "are shorter than a second.",
    ),
    "block": _option(
        str | None,
        "Length of the parts into which long files are cut, such as 10min or 1h; each is judged like a file. By "
        "default chosen if there are too few files to promise the false-alarm rate; 'none' never cuts.",
    ),
    "channels": _option(str | None, "Channels of a sound, such as 1 or 1,2; by default their mean."),
    "front_end": _option(
        str | None,
        "For sounds, and tables with a sample rate: log-mel, spectrum or envelope, or several, such as "
        "log-mel,envelope; or mel-spectrogram, a picture. 'fit' chooses between log-mel and mel-spectrogram for sounds "
        "with labels. 'none' reads the values of tables as they are.",
    ),
    "match_loudness": _option(bool | None, "Make each window of sound equally loud.", "--match-loudness"),
    "size": _option(str | None, "Size of pictures in pixels, height,width; 64,64 by default."),
    "grey": _option(bool | None, "Drop colours; by default only if no picture has any."),
    "pages": _option(str | None, "Of pictures with several pages: first (the default), or all, each as a sample."),
    "columns": _option(str | None, "Columns of tables, such as PS1,PS2; by default those that look like sensors."),
    "time": _option(str | None, "Column of tables that is time, or 'none'; found by default."),
    "truth": _option(
        str | None, "Column of tables that marks anomalous rows, or 'none'; found by its name by default."
    ),
    "missing": _option(
        str | None, "What to do with a table that lacks values: refuse (the default), drop-window or interpolate."
    ),
    "encoding": _option(str | None, "Of CSV files, such as utf-8, cp949 or latin-1; found by default."),
    "delimiter": _option(str | None, "Of CSV files, such as ';' or tab; found by default."),
    "decimal": _option(str | None, "Decimal mark of CSV files, '.' or ','; found by default."),
    "header": _option(
        bool | None, "Whether a row of CSV files names the columns; found by default.", "--header/--no-header"
    ),
    "skip_rows": _option(int | None, "Number of lines before the header of CSV files; found by default."),
    "units_rows": _option(int | None, "Number of lines of units below the header of CSV files; found by default."),
}


def reading(command: Callable[..., None]) -> Callable[..., None]:
    """Replace the parameter `settings` of a command by all options of `READING`."""
    parameters = []
    for name, own in inspect.signature(command, eval_str=True).parameters.items():
        if name != "settings":
            parameters.append(own.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        parameters += [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for option, annotation in READING.items()
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        settings = {name: given.pop(name) for name in READING}
        command(settings=settings, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@contextmanager
def processes(jobs: int | None, backend: str, address: str | None) -> Iterator[None]:
    """Let the work in this block be shared by the processes that the options name."""
    from oddkind.distributed import workers

    with workers(jobs, backend, address):
        yield


def source_from(data: Path, settings: dict[str, Any], *, follow: bool) -> Source:
    """Return the settings that the options for reading a data set describe."""
    from oddkind.files.source import source_of

    lists: dict[str, tuple[Callable[[str], Any], str]] = {
        "channels": (int, "1,2"),
        "front_end": (str, "log-mel,envelope"),
        "size": (int, "64,64"),
        "columns": (str, "PS1,PS2"),
    }
    given: dict[str, Any] = {
        name: tuple(listed(value, *lists[name])) if name in lists and value is not None else value
        for name, value in settings.items()
    }
    if (rate := given["sample_rate"]) not in (None, "clock"):
        try:
            given["sample_rate"] = int(rate) if rate.isdecimal() else float(rate)
        except ValueError:
            raise InputError(f"--sample-rate {rate!r}; it must be a number of Hz, or 'clock' for tables") from None
    return source_of(data, follow=follow, **given)


def folds_from(cross: str) -> int | Literal["auto"] | None:
    """Read the option --cross."""
    if cross == "auto":
        return "auto"
    if cross == "none":
        return None
    try:
        return int(cross)
    except ValueError:
        raise InputError(f"--cross {cross!r}; it must be a number of folds such as 5, 'auto' or 'none'") from None


def complain(refused: dict[str, str], strict: bool) -> Callable[[str, str], None] | None:
    """Return what collects files that cannot be read, or, if strict, refuse the first one."""
    if strict:
        from oddkind.files.folders import MASK

        for name, reason in refused.items():
            if not reason.startswith(MASK):  # a mask can be read, but is not meant to be
                raise InputError(f"{name}: {reason}")
        return None
    return refused.__setitem__


def opened(
    model: Path,
    data: Path,
    false_alarm_rate: float | None,
    *,
    strict: bool,
    follow: bool,
    only: Container[str] | None = None,
    **changes: str | None,
) -> tuple[Model | CrossModel, list[Entry], dict[str, str], Callable[[str, str], None] | None]:
    """Load a model, with another false-alarm rate if one is given, and list files as those it learnt from were listed.

    Returns the model, the files, those left out with the reasons, and what takes further ones. With `only`, files of
    other names are not among them.
    """
    from dataclasses import replace

    from oddkind.files.score import read_as_learnt
    from oddkind.loading import load

    fitted = load(model)
    if false_alarm_rate is not None:
        fitted = replace(fitted, false_alarm_rate=false_alarm_rate)
    files, refused = read_as_learnt(fitted, data, follow=follow, only=only, **changes)
    if only is not None:
        refused = {name: reason for name, reason in refused.items() if name in only}
    return fitted, files, refused, complain(refused, strict)


def check_writable(file: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it."""
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise InputError(f"{file}: cannot be written ({error.strerror}); name a file that can") from error
