"""Files that were sent, judged exactly as `oddkind score` judges files that lie in a folder."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from oddkind.errors import InputError
from oddkind.files.blocks import in_blocks
from oddkind.files.explain import FileExplanation, explain_files
from oddkind.files.listing import Entry, is_manifest
from oddkind.files.npy import npy_header
from oddkind.files.pictures import form_of
from oddkind.files.score import Verdict, read_as_learnt, score_files, settings_of
from oddkind.files.sounds import CANCELLING, look_at, n_samples_of, resampling, sample_rate_of
from oddkind.files.source import Source, lost
from oddkind.files.tables import count_rows
from oddkind.naming import on_one_line
from oddkind.serve.formats import ALIKE, Upload, suffix_of
from oddkind.serve.limits import Limits, RequestError, too_many_samples
from oddkind.serve.models import SUFFIXES, Served

MAX_COLUMNS = 10_000  # of a table; a header of megabytes would take minutes


@dataclass(frozen=True)
class Judged:
    """What is said about the files of one request.

    Attributes
    ----------
    verdicts : list of Verdict
        One for each file, or for each block of the files that are cut.
    explanations : dict
        By the name of the file.
    refused : dict
        Why a file could not be read, by its name.
    concerns : list of str
        What makes the result doubtful.
    """

    verdicts: list[Verdict]
    explanations: dict[str, FileExplanation]
    refused: dict[str, str]
    concerns: list[str]


def judge(uploads: Sequence[Upload], served: Served, limits: Limits, *, explained: bool) -> Judged:
    """Read and score files; with `explained` also explain them.

    Raises
    ------
    RequestError
        If the files hold too much.
    """
    model, source, held_out = served.model, settings_of(served.model), served.held_out
    entries: list[Entry] = []
    refused: dict[str, str] = {}
    concerns: list[str] = []
    room = limits.max_samples
    with TemporaryDirectory(prefix="oddkind-serve-") as folder:
        for number, upload in enumerate(uploads):
            path = Path(folder, "upload")
            try:
                path = path.with_name(_safe(upload.name, suffix_of(upload.name, upload.content)))
                if path.exists():
                    path = Path(folder, str(number), path.name)
                    path.parent.mkdir()
                path.write_bytes(upload.content)
                room -= _n_samples(path, upload, source, limits)
                if room < 0:
                    raise too_many_samples(limits)
                entries += _listed(path, upload, served)
                concerns += _concerns(path, upload, source)
            except InputError as error:
                refused[upload.name] = str(error).replace(f"{path}: ", "").replace(str(path), path.name)
        found: list[FileExplanation] = []
        if explained and entries:
            if len(entries) > limits.max_explained:
                raise RequestError(413, f"at most {limits.max_explained} results are explained at a time")
            found = explain_files(entries, model, most=len(entries), on_refused=refused.__setitem__, held_out=held_out)
            by_name = {of.verdict.path: of.verdict for of in found}
            verdicts = [by_name[entry.name] for entry in entries if entry.name in by_name]
        else:
            verdicts = score_files(entries, model, on_refused=refused.__setitem__, held_out=held_out) if entries else []
    return Judged(verdicts, {of.verdict.path: of for of in found}, refused, concerns)


def _safe(name: str, suffix: str) -> str:
    """Return a name for a file on this disk: the client's without what could lead elsewhere, as patterns read names."""
    name = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "_" for letter in name).lstrip(".")
    stem, dot, own = kept.rpartition(".")
    end = dot + own if ALIKE.get(dot + own.lower(), dot + own.lower()) == suffix else suffix
    short = (stem or "upload").encode("utf-8", "replace")[:120].decode("utf-8", "ignore")
    return short + end


def _listed(path: Path, upload: Upload, served: Served) -> list[Entry]:
    """Return what is known about a file before it is opened, as for a file named on the command line.

    A label that the client says counts instead of what the name of the file, or a column of a table, says.
    """
    model = served.model
    if upload.label is not None:
        if upload.label not in served.labels:
            known = ", ".join(map(repr, served.labels[:20])) or "none"
            raise InputError(f"label {upload.label!r} was not learnt; known are {known}")
        found = in_blocks([Entry(path, path.name, upload.label)], settings_of(model), apart=False)
    else:
        found, problems = read_as_learnt(model, path)
        if problems:
            raise InputError(next(iter(problems.values())))
    return [replace(entry, name=upload.name + entry.name.removeprefix(path.name)) for entry in found]


def _n_samples(path: Path, upload: Upload, source: Source, limits: Limits) -> int:
    """Return about how many samples a file holds, before they are read; refuse a file that would take too much.

    Raises
    ------
    RequestError
        413, if a picture has too many pixels.
    InputError
        If the file is of another kind than those that were learnt from, or damaged.
    """
    if path.suffix.lower() not in SUFFIXES[source.kind]:
        raise InputError(f"the model learnt {source.kind}; send {', '.join(SUFFIXES[source.kind])}")
    if path.suffix.lower() == ".npy":
        npy_header(upload.content)
    if source.kind == "pictures":
        pages = _check_pixels(path, source, limits)
        return pages if source.pages == "all" else 1
    if source.kind == "arrays":
        return 1
    if source.kind == "tables":
        if _n_columns(upload.content, source) > MAX_COLUMNS:
            raise InputError(f"has more than {MAX_COLUMNS:,} columns")
        if is_manifest(path):
            raise InputError("is a manifest, a table of the paths of files; send the files themselves")
        length = count_rows(path, source.dialect)
    else:
        length = n_samples_of(path, int(source.rate))
    window, step = source.window_samples(max(1, length))
    return max(1, (length - window) // step + 1)


def _n_columns(content: bytes, source: Source) -> int:
    """Return the number of columns of a table in its header or first row, or a little more."""
    delimiter, quotes, count = source.dialect.delimiter.encode(), 0, 1
    for line in itertools.islice(io.BytesIO(content), source.dialect.skip_rows, None):
        quotes += line.count(b'"')
        count += line.count(delimiter)
        if quotes % 2 == 0:  # otherwise the row goes on
            break
    return count


def _check_pixels(path: Path, source: Source, limits: Limits) -> int:
    """Refuse a picture with too many pixels by its header, before any is unpacked; return the number of pages."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "MPO")) as picture:
            pages = int(getattr(picture, "n_frames", 1)) if source.pages == "all" else 1
            pixels = picture.width * picture.height * pages
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RequestError(413, f"{on_one_line(path.name)}: {error}") from None
    except Exception as error:  # what Pillow raises for a damaged header is not documented
        raise InputError(f"is damaged ({error})") from None
    if pixels > limits.max_pixels:
        name = on_one_line(path.name)
        raise RequestError(413, f"{name}: has {pixels:,} pixels; at most {limits.max_pixels:,} are read (--max-pixels)")
    return pages


def _concerns(path: Path, upload: Upload, source: Source) -> list[str]:
    """Say what a file loses when it is read as those learnt from were, or what makes its score doubtful."""
    if source.kind == "pictures":
        messages = [message for _, message in lost(source, {upload.name: form_of(path)})]
        return [f"{message}. It is read as those that the model learnt from" for message in messages]
    if source.kind != "sounds" or path.suffix.lower() == ".npy":
        return []
    found, rate = [], sample_rate_of(path)
    if rate != source.rate:
        found.append(f"{upload.name}: {resampling(rate, int(source.rate))}")
    if source.channels is None:
        look = look_at(path)
        if look.cancelling:
            found.append(f"{upload.name}: {CANCELLING}")
    return found
