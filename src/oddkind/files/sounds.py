"""Recordings on disk, cut into windows."""

from __future__ import annotations

import io
import mmap
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import soundfile
import soxr

from oddkind.arrays import Array
from oddkind.errors import ConcernWarning, InputError
from oddkind.files.listing import SIGNALS, SUFFIXES
from oddkind.files.npy import read_recording, sample_rate_in
from oddkind.language import Message

# Smaller than what a 24-bit recording can hold. It keeps the logarithm of silence finite.
FLOOR = 1e-12

# What libsndfile cannot read: where its first bytes are, what they are, and what it is called.
UNREADABLE = (
    (4, b"ftyp", "MP4 (m4a, AAC)"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"0&\xb2u", "Windows Media (wma)"),
    (0, b"\x1aE\xdf\xa3", "Matroska or WebM"),
    (0, b"#!AMR", "AMR"),
)
# A damaged file can seem to have a chunk in every 8 bytes.
MAX_CHUNKS = 1000
CANCELLING = Message(
    "recordings have channels that cancel each other: their mean is nearly silent; choose channels, for example with "
    "--channels 1"
)

# The largest sample: squares of more, summed over a window, are beyond float32. Full scale is 1.
LARGEST = 1e12
# What is resampled to more than so many times its rate holds next to nothing, and a wrong rate would fill the memory.
MAX_UPSAMPLING = 100
# libsndfile's own limit.
MAX_CHANNELS = 1024
# At most so many samples at a time, should a header announce an absurd rate.
MAX_BLOCK = 1 << 24
BLOCK_SECONDS = 60  # read at a time, so that memory does not grow with the length of a recording


def sample_rate_of(file: Path) -> int:
    """Return the sample rate of a recording in Hz."""
    if is_array(file):
        rate = sample_rate_in(file)
        if rate is None:
            raise InputError("holds no sample rate; name it with --sample-rate")
        return rate
    with _opened(file) as sound:
        return int(sound.samplerate)


def seconds_of_recording(file: Path, sample_rate: float = 1) -> float:
    """Return the length of a recording; `sample_rate` is that of arrays that state none."""
    with _opened(file, round(sample_rate)) as sound:
        return float(sound.frames / sound.samplerate)


def n_samples_of(file: Path, sample_rate: int) -> int:
    """Return the number of samples that a recording has, or has once it is resampled to this rate in Hz."""
    with _opened(file, sample_rate) as sound:
        return int(sound.frames * sample_rate / sound.samplerate)


@dataclass(frozen=True)
class Look:
    """What a look at a whole recording shows.

    Attributes
    ----------
    sample_rate : int
        In Hz.
    clipping : float
        The fraction of the samples of all channels that are at full scale. One such sample is not counted: a recording
        that was scaled to its loudest sample has one and does not clip.
    silent : bool
        Whether the channels that are kept never change; in recordings of whole numbers, by more than one step of 16
        bits.
    cancelling : bool
        Whether the channels cancel each other in their mean: see `cancels`.
    n_channels : int
    left_out : tuple of str
        The arrays of a file that are not read: see `oddkind.files.npy.read_recording`.
    """

    sample_rate: int
    clipping: float
    silent: bool
    cancelling: bool
    n_channels: int
    left_out: tuple[str, ...] = ()


def look_at(file: Path, channels: tuple[int, ...] | None = None, sample_rate: int = 1) -> Look:
    """Look at a whole recording; `channels` as in `windows`, `sample_rate` that of arrays that state none.

    Raises
    ------
    InputError
        If it cannot be read or is incomplete.
    """
    with _opened(file, sample_rate) as sound:
        n, full = 0, 0
        low, high = np.full(sound.channels, np.inf), np.full(sound.channels, -np.inf)
        power = np.zeros(2)
        for block, _ in _blocks(sound, "float32"):
            n += len(block)
            full += int((np.abs(block) >= 1 - 2**-15).sum())
            low, high = np.minimum(low, block.min(0)), np.maximum(high, block.max(0))
            power += _power(block)
        kept = slice(None) if channels is None else np.subtract(channels, 1)
        step = 0 if sound.subtype in ("FLOAT", "DOUBLE") else 2**-15
        silent = bool(((high - low)[kept] <= step).all())
        clipping = 0.0 if is_array(file) else max(0, full - 1) / (n * sound.channels)  # arrays have no full scale
        left_out = tuple(read_recording(file)[1]) if is_array(file) else ()
        cancelling = not silent and cancels(power, sound.channels)
        return Look(int(sound.samplerate), clipping, silent, cancelling, sound.channels, left_out)


def cancels(power: Array, n_channels: int) -> bool:
    """Return whether channels cancel each other in their mean.

    `power` is that of the mean, and the mean of that of the channels. Of independent channels the first is 1 / n of the
    second; a tenth of that needs channels that oppose each other.
    """
    return n_channels > 1 and bool(power[0] < 0.1 * power[1] / n_channels)


def windows(
    file: Path,
    *,
    sample_rate: int,
    window: float,
    hop: float,
    channels: tuple[int, ...] | None,
    match_loudness: bool,
    pad: bool = False,
) -> Iterator[Array]:
    """Cut a recording into windows, a minute of it at a time, float32 [n, C, T].

    Parameters
    ----------
    sample_rate : int
        A recording at another rate is resampled, with a `ConcernWarning`.
    window, hop : float
        Length of a window and step between two windows, in seconds. What is left at the end is not used.
    channels : tuple of int or None
        The channels to keep, counted from 1; None: the mean of all, one channel. If they cancel each other, this is a
        `ConcernWarning`.
    match_loudness : bool
        Divide each window by its root mean square.
    pad : bool
        Whether a recording that is shorter than a window becomes one, with silence at its end.

    Raises
    ------
    InputError
        If the recording cannot be read, is incomplete, has no such channel, holds NaN or values beyond `LARGEST`, is
        shorter than a window and not padded, or has less than a hundredth of `sample_rate`.
    """
    length, step = max(1, round(window * sample_rate)), max(1, round(hop * sample_rate))
    with _opened(file, sample_rate) as sound:
        if channels is not None and max(channels) > sound.channels:
            raise InputError(f"has no channel {max(channels)}; it has {sound.channels}")
        width = 1 if channels is None else len(channels)
        resampled = sound.samplerate != sample_rate
        if sample_rate > MAX_UPSAMPLING * sound.samplerate:
            raise InputError(
                f"has a sample rate of {sound.samplerate} Hz, too low for {sample_rate} Hz, at which all are read"
            )
        stream = soxr.ResampleStream(sound.samplerate, sample_rate, width, dtype="float32") if resampled else None
        if resampled:  # Python shows the same warning once
            warnings.warn(resampling(sound.samplerate, sample_rate), ConcernWarning, stacklevel=2)
        rest = np.empty((0, width), np.float32)
        seconds, found, skip, power = 0.0, False, 0, np.zeros(2)
        # The same bits as libsndfile gives for 16-bit samples, in a fifth of the time.
        whole = sound.subtype == "PCM_16"
        for read, last in _blocks(sound, "int16" if whole else "float32"):
            block = read * np.float32(2**-15) if whole else read
            if not whole and not (fits := np.abs(block) <= LARGEST).all():
                row = np.flatnonzero(~fits.all(1))[0]
                what = f"beyond ±{LARGEST:g}" if np.isfinite(block[row]).all() else "NaN or infinite"
                raise InputError(f"is {what} at {seconds + row / sound.samplerate:.3f} s")
            seconds += len(block) / sound.samplerate
            if channels is not None:
                kept = block[:, np.subtract(channels, 1)]
            else:
                kept = block if sound.channels == 1 else (sum(block.T) / sound.channels)[:, None]
                power += _power(block) if sound.channels > 1 else 0
            if stream is not None:
                kept = stream.resample_chunk(kept, last=last)
            rest = np.concatenate([rest, kept])[skip:] if len(rest) or skip else kept
            skip = max(0, skip - len(kept)) if skip else 0  # rest is empty while there is something to skip
            if pad and last and not found and 0 < len(rest) < length:
                rest = np.pad(rest, ((0, length - len(rest)), (0, 0)))
            if len(rest) < length:
                continue
            cut = np.lib.stride_tricks.sliding_window_view(rest, length, axis=0, writeable=True)[::step]  # [n, C, T]
            cut = np.require(cut, requirements=["C", "W"])
            rest, skip = rest[len(cut) * step :], max(0, len(cut) * step - len(rest))
            if match_loudness:
                cut = cut / (np.sqrt(np.square(cut).mean((1, 2), keepdims=True)) + FLOOR)
            found = True
            yield cut
        if channels is None and cancels(power, sound.channels):
            warnings.warn(CANCELLING, ConcernWarning, stacklevel=2)
        if not found:
            raise InputError(f"is {seconds:.3f} s long, shorter than a window of {window:g} s")


def resampling(rate: int, to: int) -> Message:
    """Explain what it means that recordings have another rate."""
    return Message(
        "recordings at {rate} Hz are resampled to {to} Hz; above {highest:g} Hz they can differ from the others, so "
        "record all at the same rate",
        rate=rate,
        to=to,
        highest=min(rate, to) / 2,
    )


def _power(block: Array) -> Array:
    """Return the power of the mean of the channels, and the mean power of the channels, of one block times its length.

    Without what is constant, because an offset that channels share does not cancel.
    """
    block = block - block.mean(0)
    return len(block) * np.array([np.square(block.mean(1)).mean(), np.square(block).mean()], np.float64)


def _blocks(sound: soundfile.SoundFile, dtype: str) -> Iterator[tuple[Array, bool]]:
    """Read a recording, a minute of it at a time, [n, C], and whether it is the last one.

    `SoundFile.blocks` cannot read formats in which libsndfile cannot seek, such as GSM 6.10.
    """
    n, count = min(BLOCK_SECONDS * sound.samplerate, MAX_BLOCK, sound.frames), 0  # libsndfile reserves all of it
    try:
        block = sound.read(n, dtype=dtype, always_2d=True)
        while len(block):
            count += len(block)
            after = sound.read(n, dtype=dtype, always_2d=True)
            yield block, len(after) == 0
            block = after
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"cannot be read beyond {count / sound.samplerate:.3f} s ({error.error_string.rstrip('.')})"
        ) from error
    if count == 0:
        raise InputError("has no samples")
    spare = {"FLAC": 0, "MP3": 2 * 1152}.get(sound.format)  # encoders of MP3 differ by a frame in what they announce
    if spare is not None and count + spare < sound.frames:
        raise InputError(f"is incomplete: its header announces {sound.frames} samples, but there are {count}")


def is_array(file: Path) -> bool:
    """Return whether a recording is an array, which libsndfile cannot read."""
    return file.suffix.lower() in (*SUFFIXES["arrays"], *SIGNALS)


def _array_opened(file: Path, sample_rate: int) -> soundfile.SoundFile:
    """Turn an array into a recording in memory, so that all recordings are read in one way.

    `sample_rate` is its rate, unless the file states another.
    """
    signal, _ = read_recording(file)
    if signal.shape[1] > MAX_CHANNELS:
        raise InputError(f"has {signal.shape[1]} channels of {signal.shape[0]} values; at most {MAX_CHANNELS} are read")
    content = io.BytesIO()
    soundfile.write(content, signal, sample_rate_in(file) or sample_rate, format="W64", subtype="FLOAT")
    content.seek(0)
    return soundfile.SoundFile(content)


def _opened(file: Path, sample_rate: int = 1) -> soundfile.SoundFile:
    """Open a recording, whatever its suffix. Refuse one that is incomplete, if libsndfile reads it without an error."""
    if is_array(file):
        return _array_opened(file, sample_rate)
    try:
        with file.open("rb") as content:
            head = content.read(12)
            size = content.seek(0, 2)
            unfinished = _check_length(content, head, size)
            # A copy in memory of the few bytes that are changed; the file stays as it is.
            source = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_COPY) if unfinished else None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from error
    if source is not None and unfinished is not None:
        source[unfinished : unfinished + 4] = min(size - unfinished - 4, 2**32 - 1).to_bytes(4, "little")
    try:
        sound = soundfile.SoundFile(source or os.fsencode(file))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: the suffix .raw
        reason = error.error_string.rstrip(".") if isinstance(error, soundfile.LibsndfileError) else str(error)
        for start, magic, name in UNREADABLE:
            if head[start:].startswith(magic):
                reason = f"it is {name}; convert it, for example with: ffmpeg -i {file.name} {file.stem}.wav"
        raise InputError(f"is not a recording that libsndfile can read ({reason})") from error
    if sound.frames == 0:
        sound.close()
        raise InputError("has no samples")
    return sound


def _check_length(content: BinaryIO, head: bytes, size: int) -> int | None:
    """Refuse a WAV or AIFF file whose samples are cut off, which libsndfile would read without an error.

    What counts is the chunk of samples, not the size in the header, which can be off by padding. Who writes to a pipe
    cannot know the sizes and writes none: then the samples end with the file. If libsndfile does not see that, the
    position of the size to correct is returned.
    """
    if size == 0:
        raise InputError("is empty")
    order: Literal["big", "little"] = "big" if head[:4] in (b"RIFX", b"FORM") else "little"
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM") or head[8:12] not in (b"WAVE", b"AIFF", b"AIFC"):
        return None
    at, long, unit = 12, None, 1
    for _ in range(MAX_CHUNKS):
        content.seek(at)
        header = content.read(32)
        if len(header) < 8:
            break
        name, length = header[:4], int.from_bytes(header[4:8], order)
        if name == b"ds64":
            long = int.from_bytes(header[16:24], "little")
        if name == b"fmt ":
            unit = int.from_bytes(header[20:22], order)  # bytes in one sample of all channels
        if name in (b"data", b"SSND"):
            there = size - at - 8
            unknown = _is_unknown(length) and long is None
            length = long if long is not None and length == 2**32 - 1 else length
            if length == 0:
                promised = int.from_bytes(head[4:8], order)
                return at + 4 if order == "little" and there > 1 and abs(promised + 8 - size) > 1 else None
            # A missing byte of padding, or less than one sample, is no loss.
            if length > there + max(1, unit - 1) and not unknown:
                raise InputError(f"is incomplete: its header announces {at + 8 + length} bytes, but there are {size}")
            return None
        at += 8 + length + length % 2
    return None


def _is_unknown(length: int) -> bool:
    """Return whether this is what programs write as the size of samples that they do not know: the largest numbers."""
    return length >= 2**32 - 256 or 2**31 - 4096 <= length <= 2**31
