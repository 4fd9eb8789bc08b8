"""Recordings on disk, cut into windows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from oddkind.arrays import Array
from oddkind.errors import ConcernWarning, InputError

# Smaller than what a 24-bit recording can hold. It keeps the logarithm of silence finite.
FLOOR = 1e-12

BLOCK_SECONDS = 60  # read at a time, so that memory does not grow with the length of a recording


def sample_rate_of(file: Path) -> int:
    """Return the sample rate of a recording in Hz."""
    with _opened(file) as sound:
        return int(sound.samplerate)


def rate_and_clipping(file: Path) -> tuple[int, float]:
    """Return the sample rate in Hz, and the fraction of the samples of all channels that are at full scale.

    One such sample is not counted: a recording that was scaled to its loudest sample has one and does not clip.
    """
    with _opened(file) as sound:
        blocks = sound.blocks(BLOCK_SECONDS * sound.samplerate, dtype="float32", always_2d=True)
        count = sum(int((np.abs(block) >= 1 - 2**-15).sum()) for block in blocks)
        return int(sound.samplerate), max(0, count - 1) / (sound.frames * sound.channels)


def windows(
    file: Path, *, sample_rate: int, window: float, hop: float, channels: tuple[int, ...] | None, match_loudness: bool
) -> Iterator[Array]:
    """Cut a recording into windows, a minute of it at a time, float32 [n, C, T].

    Parameters
    ----------
    sample_rate : int
        A recording at another rate is resampled, with a `ConcernWarning`.
    window, hop : float
        Length of a window and step between two windows, in seconds. What is left at the end is not used.
    channels : tuple of int or None
        The channels to keep, counted from 1; None: the mean of all, one channel.
    match_loudness : bool
        Divide each window by its root mean square.

    Raises
    ------
    InputError
        If the recording cannot be read, is incomplete, has no such channel, holds NaN or is shorter than a window.
    """
    length, step = max(1, round(window * sample_rate)), max(1, round(hop * sample_rate))
    with _opened(file) as sound:
        if channels is not None and max(channels) > sound.channels:
            raise InputError(f"has no channel {max(channels)}; it has {sound.channels}")
        width = 1 if channels is None else len(channels)
        resampled = sound.samplerate != sample_rate
        stream = soxr.ResampleStream(sound.samplerate, sample_rate, width, dtype="float32") if resampled else None
        if resampled:  # Python shows the same warning once
            warnings.warn(f"recordings {resampling(sound.samplerate, sample_rate)}", ConcernWarning, stacklevel=2)
        rest = np.empty((0, width), np.float32)
        seconds, found, skip = 0.0, False, 0
        # The same bits as libsndfile gives for 16-bit samples, in a fifth of the time.
        whole = sound.subtype == "PCM_16"
        for read in sound.blocks(
            BLOCK_SECONDS * sound.samplerate, dtype="int16" if whole else "float32", always_2d=True
        ):
            block = read * np.float32(2**-15) if whole else read
            if not whole and not np.isfinite(block).all():
                second = seconds + np.flatnonzero(~np.isfinite(block).all(1))[0] / sound.samplerate
                raise InputError(f"is NaN or infinite at {second:.3f} s")
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
            raise InputError(f"is {seconds:.3f} s long, shorter than a window of {window:g} s")


def resampling(rate: int, to: int) -> str:
    """Explain what it means that recordings have another rate."""
    return (
        f"at {rate} Hz are resampled to {to} Hz; above {min(rate, to) / 2:g} Hz they can differ from the others, "
        "so record all at the same rate"
    )


def _opened(file: Path) -> soundfile.SoundFile:
    """Open a recording. Refuse one that is incomplete, which libsndfile would read without an error."""
    try:
        with file.open("rb") as content:
            head = content.read(12)
            size = content.seek(0, 2)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if size == 0:
        raise InputError("is empty")
    promised = int.from_bytes(head[4:8], "little")
    if head[:4] == b"RIFF" and head[8:] == b"WAVE" and 0 < promised < 2**32 - 1 and promised + 8 > size + 1:
        raise InputError(f"is incomplete: its header announces {promised + 8} bytes, but there are {size}")
    try:
        sound = soundfile.SoundFile(file)
    except soundfile.LibsndfileError as error:
        raise InputError(f"is not a recording that libsndfile can read ({error.error_string.rstrip('.')})") from error
    if sound.frames == 0:
        sound.close()
        raise InputError("has no samples")
    return sound
