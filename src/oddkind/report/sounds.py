"""What is heard and seen of a recording: one window of it, its spectrogram, and a short clip."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.front_ends import Band, frame_length, hann, mel, mel_filters, power
from oddkind.files.sounds import FLOOR, windows
from oddkind.files.source import Source
from oddkind.pages.encoding import as_bytes_of, data_uri

# A clip takes at most this many characters in the page.
MAX_CLIP = 20_000
WAV_HEADER = 44
MAX_SAMPLES = (MAX_CLIP * 3 // 4 - WAV_HEADER - 32) // 2
# Rates at which clips are embedded, in Hz, the lowest that holds the evidence.
RATES = 8000, 11025, 16000, 22050, 32000, 44100, 48000
LOUDEST = 0.7  # of full scale
BANDS, MAX_FRAMES, RANGE = 48, 96, 60.0  # of a spectrogram; decibels below its loudest point


def window_of(file: Path, source: Source, number: int) -> Array:
    """Return one window of a recording as the model hears it, the mean of its channels, [T]."""
    assert source.window is not None  # noqa: S101 - resolved
    cuts = windows(
        file,
        sample_rate=int(source.rate),
        window=source.window,
        hop=source.hop or source.window,
        channels=source.channels,
        match_loudness=source.match_loudness,
        pad=source.short == "pad",
    )
    first = 0
    for cut in cuts:
        if number < first + len(cut):
            return np.asarray(cut[number - first].mean(0))
        first += len(cut)
    raise InputError(f"has no window {number}")


def decibels(wave: Array, rate: float) -> Array:
    """Return the level in mel bands over time, in decibels, [bands, frames], the lowest band first."""
    n_fft = frame_length(rate, len(wave))
    filters, _ = mel_filters(rate, n_fft, BANDS, 0)
    lines = power(np.asarray(wave, np.float32)[None], hann(n_fft), np)[0]
    levels = 10 * np.log10(lines @ (filters / filters.sum(1, keepdims=True)).T + FLOOR)
    step = -(-len(levels) // MAX_FRAMES)
    parts = np.split(levels, range(step, len(levels), step))
    return np.array([part.mean(0) for part in parts]).T


def pictures(waves: list[Array], rate: float) -> list[dict[str, Any]]:
    """Return the spectrograms of several waves for drawing, on one scale: black is `RANGE` dB below the loudest."""
    levels = [decibels(wave, rate) for wave in waves]
    most = max(float(of.max()) for of in levels)
    return [as_bytes_of(of, most - RANGE, most) for of in levels]


def heat(evidence: Array, bands: list[Band], rate: float, span: tuple[float, float], seconds: float) -> Array:
    """Return where the evidence lies in a spectrogram, [BANDS, 1 or MAX_FRAMES], its largest value 1.

    Evidence of a vector [D] belongs to bands and to the whole window; that of a spectrogram [H, W] also to a moment
    within `span`, in seconds from the start of a window of `seconds`.
    """
    edges = np.linspace(0, mel(rate / 2), BANDS + 1)
    rows = [
        (np.searchsorted(edges, mel(max(low, 0)), "right") - 1, np.searchsorted(edges, mel(high), "left"))
        for low, high, _ in bands
    ]
    found = np.zeros((BANDS, 1 if evidence.ndim == 1 else MAX_FRAMES))
    for (low, high), (*_, what), own in zip(rows, bands, evidence.clip(min=0), strict=True):
        if what in ("level", "wobble"):
            found[low : max(high, low + 1), 0] += own
        elif evidence.ndim == 2:
            moments = (np.arange(MAX_FRAMES) + 0.5) * seconds / MAX_FRAMES
            inside = (moments >= span[0]) & (moments <= span[1])
            place = (moments - span[0]) / max(span[1] - span[0], 1e-9) * len(own)
            columns = place.astype(int).clip(0, len(own) - 1)
            found[low : max(high, low + 1)] = np.maximum(found[low : max(high, low + 1)], inside * own[columns])
    return found / (found.max() or 1)


def clip(wave: Array, rate: float, highest: float, loudest: float) -> dict[str, Any]:
    """Return a part of a window to listen to, as 16-bit WAV of at most `MAX_CLIP` characters, and what it is.

    Parameters
    ----------
    highest : float
        The frequency in Hz up to which evidence must be heard; the lowest of `RATES` that holds it is taken, and at
        most that of the recording. What then does not fit is cut off at the end.
    loudest : float
        The value that becomes `LOUDEST`; of two clips that are compared it must be the same.
    """
    wanted = next((one for one in RATES if one >= 2.1 * highest), RATES[-1])
    to = int(min(rate, wanted))
    if to < rate:
        wave = soxr.resample(np.asarray(wave, np.float32), rate, to)
    if to < 3000:  # browsers play no lower rates
        wave, to = soxr.resample(np.asarray(wave, np.float32), to, RATES[0]), RATES[0]
    cut = np.asarray(wave[:MAX_SAMPLES], float)
    content = io.BytesIO()
    soundfile.write(content, (cut * (LOUDEST / (loudest or 1))).clip(-1, 1), to, format="WAV", subtype="PCM_16")
    return {
        "wav": data_uri(content.getvalue(), "audio/wav"),
        "rate": to,
        "seconds": len(cut) / to,
        "of_rate": rate,
        "of_seconds": len(wave) / to,
    }
