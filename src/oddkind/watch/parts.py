"""How a stream is cut: each part is judged like a file that the model learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oddkind.errors import InputError
from oddkind.files.blocks import block_samples, in_blocks
from oddkind.files.durations import in_words, seconds_of
from oddkind.files.listing import Entry
from oddkind.files.score import file_source, settings_of
from oddkind.files.source import Source
from oddkind.model.model import FittedModel


@dataclass(frozen=True)
class Parts:
    """The parts of a stream.

    Attributes
    ----------
    length, step : int
        The length of a part and the step from one to the next, in samples or rows at `rate`.
    rate : float or None
        Samples or rows per second; None: not known.
    reason : str
        The length in words, and why it is that.
    """

    length: int
    step: int
    rate: float | None
    reason: str


def parts_of(model: FittedModel, block: str | None) -> Parts:
    """Return how a stream is cut: as `block` says, as the files learnt from were cut, or as long as they usually are.

    Raises
    ------
    InputError
        If `block` is no length, or shorter than a window.
    """
    settings = settings_of(model)
    if settings.kind == "tables" and settings.window is None:  # each file was one window
        settings = settings.model_copy(update={"window": model.inputs.shape[-1] / settings.rate})
    if block is not None:
        settings, why = settings.model_copy(update={"block": _length(block, settings)}), "as --block says"
        if round(float(settings.block or 0) * settings.rate) < settings.window_samples()[0]:
            raise InputError(f"--block {block} is shorter than a window; make it longer")
    elif settings.block is not None:
        why = "as long as the blocks that the model learnt from"
    else:
        starts = [row for _, row in file_source(model)["files"]]
        n = int(np.median(np.diff(starts))) if len(starts) > 1 else 1
        length, step = settings.window_samples()
        settings = settings.model_copy(update={"block": ((max(1, n) - 1) * step + length) / settings.rate})
        why = "the usual length of the files that the model learnt from; --block changes it"
    length, step = block_samples(settings)
    rate = None if settings.sample_rate is None else settings.rate
    words = f"{length} rows" if rate is None else in_words(round(length / rate, 3))
    return Parts(length, step, rate, f"each {words} {'are' if rate is None else 'is'} judged like a file, {why}")


def block_entries(entry: Entry, settings: Source) -> Sequence[Entry]:
    """Return the blocks of a file, or the file, as `oddkind score` does."""
    return in_blocks([entry], settings, apart=False)


def _length(block: str, settings: Source) -> float:
    try:
        length, in_time = seconds_of(block)
    except ValueError as error:
        raise InputError(f"--block {block!r}: {error}") from error
    if in_time and settings.sample_rate is None:
        raise InputError(f"--block {block}: the model counts rows; name their number, such as --block 600")
    return length
