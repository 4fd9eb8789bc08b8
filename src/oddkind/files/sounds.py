"""Recordings on disk, cut into windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from oddkind.errors import ConcernWarning, InputError
from oddkind.samples import Array
from oddkind.train.frontends import FLOOR

BLOCK_SECONDS = 60  # read at a time: memory stays flat however long a recording is


def sample_rate_of(file: Path) -> int:
    """Sample rate of a recording in Hz."""
    with _opened(file) as sound:
        return int(sound.samplerate)


def rate_and_clipping(file: Path) -> tuple[int, float]:
    """Sample rate in Hz, and the part of the samples of all channels at an end of the range, the first not counted.

    What clips stays there; what was scaled to its loudest sample touches it once.
    """
    with _opened(file) as sound:
        blocks = sound.blocks(BLOCK_SECONDS * sound.samplerate, dtype="float32", always_2d=True)
        count = sum(int((np.abs(block) >= 1 - 2**-15).sum()) for block in blocks)
        return int(sound.samplerate), max(0, count - 1) / (sound.frames * sound.channels)


def windows(
    file: Path, *, sample_rate: int, window: float, hop: float, channels: tuple[int, ...] | None, match_loudness: bool
) -> Iterator[Array]:
    """Cut a recording into windows, some minutes of it at a time, float32 [n, C, T].

    Parameters
    ----------
    sample_rate : int
        A recording at another rate is resampled, with a word of warning.
    window, hop : float
        Length of a window and the step between two, in seconds; what is left at the end is not used.
    channels : tuple of int or None
        Which to keep, from 1; None: their mean, one channel.
    match_loudness : bool
        Divide each window by its root mean square.

    Raises
    ------
    InputError
        Where the recording cannot be read, is cut short, has no such channel, holds NaN or is shorter than a window.
    """
    length, step = max(1, round(window * sample_rate)), max(1, round(hop * sample_rate))
    with _opened(file) as sound:
        if channels is not None and max(channels) > sound.channels:
            raise InputError(f"no channel {max(channels)}; it has {sound.channels}")
        width = 1 if channels is None else len(channels)
        resampled = sound.samplerate != sample_rate
        stream = soxr.ResampleStream(sound.samplerate, sample_rate, width, dtype="float32") if resampled else None
        if resampled:  # said once a rate
            warnings.warn(f"recordings {resampling(sound.samplerate, sample_rate)}", ConcernWarning, stacklevel=2)
        rest = np.empty((0, width), np.float32)
        seconds, found, skip = 0.0, False, 0
        # What libsndfile does to 16 bits, to the bit, in a fifth of its time.
        whole = sound.subtype == "PCM_16"
        for read in sound.blocks(
            BLOCK_SECONDS * sound.samplerate, dtype="int16" if whole else "float32", always_2d=True
        ):
            block = read * np.float32(2**-15) if whole else read
            if not whole and not np.isfinite(block).all():
                second = seconds + np.flatnonzero(~np.isfinite(block).all(1))[0] / sound.samplerate
                raise InputError(f"NaN or infinite at {second:.3f} s")
            seconds += len(block) / sound.samplerate
            if channels is not None:
                kept = block[:, np.subtract(channels, 1)]
            else:
                kept = block if sound.channels == 1 else (sum(block.T) / sound.channels)[:, None]
            if stream is not None:
                kept = stream.resample_chunk(kept, last=sound.tell() >= sound.frames)
            rest = np.concatenate([rest, kept])[skip:] if len(rest) or skip else kept
            skip = max(0, skip - len(kept)) if skip else 0  # rest is empty while there is something to skip
            if len(rest) < length:
                continue
            cut = np.lib.stride_tricks.sliding_window_view(rest, length, axis=0, writeable=True)[::step]  # [n, C, T]
            cut = np.require(cut, requirements=["C", "W"])
            rest, skip = rest[len(cut) * step :], max(0, len(cut) * step - len(rest))
            if match_loudness:
                cut = cut / (np.sqrt(np.square(cut).mean((1, 2), keepdims=True)) + FLOOR)
            found = True
            yield cut
        if not found:
            raise InputError(f"{seconds:.3f} s long; a window is {window:g} s")


def resampling(rate: int, to: int) -> str:
    """What to think of recordings at another rate."""
    heard = min(rate, to) / 2
    return f"at {rate} Hz are resampled to {to} Hz; above {heard:g} Hz they can differ from others: record all at one"


def _opened(file: Path) -> soundfile.SoundFile:
    """Open a recording, refusing what is none or was cut short; libsndfile would read the rest as if that were all."""
    try:
        with file.open("rb") as content:
            head = content.read(12)
            size = content.seek(0, 2)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if size == 0:
        raise InputError("empty")
    promised = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and head[8:] == b"WAVE" and 0 < promised < 2**32 - 1 and promised + 8 > size + 1:
        raise InputError(f"cut short: {promised + 8} bytes promised, {size} there")
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise InputError(f"no recording that libsndfile reads ({error.error_string.rstrip('.')})") from error
    if sound.frames == 0:
        sound.close()
        raise InputError("0 samples")
    return sound
