"""Front ends: turn windows of sound into what a small network reads.

`MelSpectrogram` gives pictures, the others vectors: a spectrum is computed for each frame, and a window is described by
mean and standard deviation over its frames (statistics pooling: Snyder et al., "X-vectors", ICASSP 2018), because a
fault may be a tone or a fluctuation.

They are written for NumPy, so that a model scores the same with and without torch. They use only functions that torch
has under the same name: with `xp=torch` they run on tensors, as `oddkind.train.export` needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.sounds import FLOOR
from oddkind.language import Message

Tensor = Any
"""An array of NumPy or a tensor of torch."""

# The picture of a `MelSpectrogram`: bands, the lowest frequency in Hz, and frames.
MEL_BANDS, LOWEST, FRAMES = 40, 60.0, 32
# The decibels that count below the loudest point, and the level above which a frame sounds.
RANGE, AUDIBLE = 50.0, 0.2

Band = tuple[float, float, str]
"""Lowest and highest frequency in Hz that a number describes, and what it describes: "level", "wobble", …"""


class Part(Protocol):
    """One front end."""

    constants: dict[str, Array]
    """The arrays that `__call__` needs, by name."""

    def __call__(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Turn windows [B, T] into vectors [B, D] or pictures [B, 1, H, W]."""
        ...

    def bands(self) -> list[Band]:
        """Return what each number of a vector describes, [D], or each row of a picture, [H]."""
        ...


class LogMel:
    """Mean and standard deviation over time of the log energy in mel bands, [B, T] → [B, 2 · bands].

    Frames of about 64 ms, half overlapping, with a Hann window; triangular bands, evenly spaced on the mel scale
    2595 log₁₀(1 + f / 700) from 0 to half the sample rate (O'Shaughnessy 1987, as in HTK).
    """

    def __init__(self, sample_rate: float, n_samples: int, bands: int = 64) -> None:
        self.n_fft = frame_length(sample_rate, n_samples)
        self.filters, self.edges = mel_filters(sample_rate, self.n_fft, bands, 0)
        # A quarter of the bands at a time, with only the lines that they contain: a third of the work of one product.
        self.lines: list[slice] = []
        self.constants = {"window": hann(self.n_fft)}
        for number, rows in enumerate(np.array_split(self.filters, 4)):
            lines = np.flatnonzero(rows.any(0)) if len(rows) else np.zeros(1, int)
            self.lines.append(slice(int(lines.min()), int(lines.max()) + 1))
            self.constants[f"filters_{number}"] = np.ascontiguousarray(rows[:, self.lines[-1]].T)

    def bands(self) -> list[Band]:
        """Return the frequencies of each feature: those of its triangle."""
        return [(*edges, what) for what in (Message("level"), Message("wobble")) for edges in self.edges]

    def __call__(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Return the statistics of windows."""
        spectrum = power(x, constants["window"], xp)
        quarters = [spectrum[..., lines] @ constants[f"filters_{n}"] for n, lines in enumerate(self.lines)]
        return statistics(xp.log(xp.concatenate(quarters, -1) + FLOOR), xp)


class Spectrum:
    """Mean and standard deviation over time of the log power at each frequency, [B, T] → [B, n_fft]."""

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        self.n_fft, self.sample_rate = min(512, frame_length(sample_rate, n_samples)), sample_rate
        self.constants = {"window": hann(self.n_fft)}

    def bands(self) -> list[Band]:
        """Return the frequencies of each feature: half a line to both sides of its own."""
        line = self.sample_rate / self.n_fft
        lines = [(line * (n - 0.5), line * (n + 0.5)) for n in range(1, self.n_fft // 2 + 1)]
        return [(*edges, what) for what in (Message("level"), Message("wobble")) for edges in lines]

    def __call__(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Return the statistics of windows."""
        return statistics(xp.log(power(x, constants["window"], xp)[..., 1:] + FLOOR), xp)


class Envelope:
    """Spectrum of the squared envelope in the four highest octaves, up to 400 Hz, [B, T] → [B, D].

    A damaged bearing strikes once per revolution or ball; each strike rings at high frequencies, and the rate of the
    strikes is the frequency of the envelope. Randall & Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP
    2011.

    The features are square roots of amplitudes. The amplitude of a line of noise has a Rayleigh distribution, its
    square root a Weibull distribution of shape 4, which is nearly Gaussian. Its logarithm has a long tail towards small
    values, whose distances hide the few lines that a fault changes.
    """

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        self.n_samples, self.sample_rate = n_samples, sample_rate
        nyquist = n_samples // 2
        octaves = [(nyquist >> (octave + 1), nyquist >> octave) for octave in range(4)]
        lines = max(1, min(nyquist, int(400 * n_samples / sample_rate)))
        self.step = max(1, lines // 100)
        # The envelope of an octave changes at most as fast as the octave is wide; faster lines are rounding errors.
        counts = [(low, high, min(lines, 100, -(-(high - low - 1) // self.step))) for low, high in octaves]
        self.octaves = [(low, high, count) for low, high, count in counts if count]
        self.constants: dict[str, Array] = {}
        if octaves[-1][0] < 1:
            raise InputError(f"an envelope needs windows of at least 32 samples; this one has {n_samples}")

    def bands(self) -> list[Band]:
        """Return the rates of strikes in Hz that each feature describes, and the octave in which they are heard."""
        line = self.sample_rate / self.n_samples
        return [
            (
                line * (n * self.step + 0.5),
                line * ((n + 1) * self.step + 0.5),
                f"strikes heard at {line * a:.0f}–{line * b:.0f} Hz",
            )
            for a, b, count in self.octaves
            for n in range(count)
        ]

    def __call__(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Return the square roots of the amplitudes, in at most 100 bands per octave."""
        # The square root of a line that is nearly 0 would enlarge the rounding errors of single precision.
        spectrum = xp.fft.rfft(xp.asarray(x, dtype=xp.float64))
        amplitudes = []
        for low, high, count in self.octaves:
            # The positive frequencies alone give the analytic signal, whose magnitude is the envelope.
            band = xp.zeros_like(spectrum)
            band[:, low:high] = 2 * spectrum[:, low:high]
            squared = magnitude(xp.fft.ifft(band, self.n_samples))
            squared = squared / (squared.mean(1)[:, None] + FLOOR**2)
            lines = abs(xp.fft.rfft(squared)[:, 1 : count * self.step + 1]) / self.n_samples
            amplitudes.append(xp.sqrt(lines.reshape((-1, count, self.step)).mean(2)))
        return xp.asarray(xp.concatenate(amplitudes, 1), dtype=xp.float32)


class MelSpectrogram:
    """A picture of the sounding part of a window: log energy in mel bands over 32 frames, [B, T] → [B, 1, bands, 32].

    Frames of about 64 ms, a quarter of one apart, with a Hann window; at most 40 mel bands from 60 Hz on. The upper
    50 dB below the loudest point of a window count. From the first frame to the last within 40 dB of it, the window is
    stretched to 32 frames, so that the same sound, slower or faster, gives the same picture; silence before and after
    it is left out. The mean of each band over the frames is subtracted, which removes the microphone and much of the
    speaker: cepstral mean normalisation (Atal, "Effectiveness of linear prediction characteristics of the speech
    wave", JASA 1974), here in the logarithmic spectrum.
    """

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        self.n_fft, self.sample_rate = frame_length(sample_rate, n_samples), sample_rate
        self.step = self.n_fft // 4
        filters, self.edges = mel_filters(sample_rate, self.n_fft, MEL_BANDS, min(LOWEST, sample_rate / 8))
        self.n_frames = (n_samples + self.n_fft) // self.step - 3
        self.constants = {
            "window": hann(self.n_fft),
            "filters": np.ascontiguousarray((filters / filters.sum(1, keepdims=True)).T),
            "frames": np.arange(1, self.n_frames + 1, dtype=np.float32),
            "places": np.linspace(0, 1, FRAMES, dtype=np.float32),
        }

    def bands(self) -> list[Band]:
        """Return the frequencies of each row of the picture."""
        return [(*edges, "spectrogram") for edges in self.edges]

    def sounding(self, x: Array) -> Array:
        """Return where the sounding part of each window begins and ends, in seconds, [B, T] → [B, 2]."""
        first, last = self._ends(self._levels(x, self.constants, np), self.constants, np)
        seconds = np.stack([first - 0.5, last + 0.5], 1) * (self.step / self.sample_rate)
        return seconds.clip(0, x.shape[1] / self.sample_rate)

    def __call__(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Return the pictures of windows."""
        levels = self._levels(x, constants, xp)
        first, last = self._ends(levels, constants, xp)
        at = first[:, None] + (last - first)[:, None] * constants["places"]
        before = xp.floor(at)
        share, before = (at - before)[:, :, None], xp.asarray(before, dtype=xp.int64)
        after, rows = xp.clip(before + 1, None, self.n_frames - 1), xp.arange(x.shape[0])[:, None]
        picture = levels[rows, before] * (1 - share) + levels[rows, after] * share
        return xp.swapaxes(picture - picture.mean(1)[:, None], 1, 2)[:, None]

    def _levels(self, x: Tensor, constants: Mapping[str, Tensor], xp: Any) -> Tensor:
        """Level of each frame and band, from 0 to 1: the upper `RANGE` decibels, [B, frames, bands]."""
        blank = 0 * x[:, : self.n_fft // 2]
        energy = power(xp.concatenate([blank, x, blank], 1), constants["window"], xp, parts=4) @ constants["filters"]
        decibels = xp.log(energy + FLOOR) * (10 / math.log(10))
        return xp.clip((decibels - xp.amax(decibels, (1, 2))[:, None, None]) / RANGE + 1, 0, None)

    def _ends(self, levels: Tensor, constants: Mapping[str, Tensor], xp: Any) -> tuple[Tensor, Tensor]:
        """Return the first and the last frame that sounds, [B] each."""
        sounds, frames = xp.amax(levels, 2) > AUDIBLE, constants["frames"]
        return self.n_frames - xp.amax(sounds * (self.n_frames + 1 - frames), 1), xp.amax(sounds * frames, 1) - 1


def mel_filters(sample_rate: float, n_fft: int, count: int, lowest: float) -> tuple[Array, list[tuple[float, float]]]:
    """Triangles on the lines of a spectrum, evenly spaced in mel, [bands, n_fft / 2 + 1], and their ends in Hz.

    A band that is narrower than the lines of the spectrum may contain none of them; it is left out.
    """
    frequencies = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)
    edges = 700 * (10 ** (np.linspace(mel(lowest), mel(sample_rate / 2), count + 2) / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    filters = np.minimum(rising, falling).clip(min=0)
    filled = filters.sum(1) > 0
    pairs = zip(low[filled, 0].tolist(), high[filled, 0].tolist(), strict=True)
    return filters[filled].astype(np.float32), [*pairs]


def mel(frequency: float) -> float:
    """Convert a frequency in Hz to mel, 2595 log₁₀(1 + f / 700)."""
    return 2595 * math.log10(1 + frequency / 700)


def frame_length(sample_rate: float, n_samples: int) -> int:
    """Return the power of two nearest to 64 ms, at most half a window.

    Raises
    ------
    InputError
        If a window is too short to be cut into frames.
    """
    if n_samples < 32:
        raise InputError(
            f"a window of {n_samples} samples is too short for a spectrum; it needs at least 32: raise --window"
        )
    longest = 2 ** int(math.log2(n_samples // 2))
    return max(16, min(longest, 2 ** round(math.log2(0.064 * sample_rate))))


def hann(length: int) -> Array:
    """Periodic Hann window that sums to 1, float32 [length]."""
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    return (window / window.sum()).astype(np.float32)


def power(x: Tensor, window: Tensor, xp: Any, parts: int = 2) -> Tensor:
    """Power of overlapping frames, [B, T] → [B, frames, n_fft / 2 + 1].

    Frames are as long as the window, n_fft, and a half of it (or another number of `parts`, which divides it) apart.
    With a window that sums to 1, a full-scale sine has power 1 / 4.
    """
    step = len(window) // parts
    count = x.shape[1] // step
    cut = x[:, : count * step].reshape((-1, count, step))
    frames = xp.concatenate([cut[:, part : count - parts + 1 + part] for part in range(parts)], -1)
    return magnitude(xp.fft.rfft(frames * window))


def magnitude(z: Tensor) -> Tensor:
    """Return |z|²."""
    return z.real**2 + z.imag**2


def statistics(x: Tensor, xp: Any) -> Tensor:
    """Mean and standard deviation over time, [B, frames, F] → [B, 2F]."""
    mean = x.mean(1)
    return xp.concatenate([mean, xp.sqrt(((x - mean[:, None]) ** 2).mean(1))], 1)


FRONT_ENDS: dict[str, Callable[[float, int], Part]] = {
    "log-mel": LogMel,
    "spectrum": Spectrum,
    "envelope": Envelope,
    "mel-spectrogram": MelSpectrogram,
}


class FrontEnds:
    """Several front ends, whose features are concatenated, [B, T] → [B, D]; or one that gives pictures."""

    def __init__(self, names: Sequence[str], sample_rate: float, n_samples: int) -> None:
        unknown = [name for name in names if name not in FRONT_ENDS]
        if unknown or not names:
            raise InputError(f"front end {','.join(unknown)!r}; known are {', '.join(map(repr, FRONT_ENDS))}")
        self.parts = [FRONT_ENDS[name](sample_rate, n_samples) for name in names]
        if len(names) > 1 and "mel-spectrogram" in names:
            raise InputError("front end 'mel-spectrogram' gives pictures, which join no other numbers; name it alone")

    def __call__(
        self, windows: Tensor, constants: Sequence[Mapping[str, Tensor]] | None = None, xp: Any = np
    ) -> Tensor:
        """Turn windows [n, T] into vectors [n, D] or pictures [n, 1, H, W].

        `xp=torch` takes a tensor, and the `constants` of each part as tensors.
        """
        constants = constants or [part.constants for part in self.parts]
        return xp.concatenate([part(windows, own, xp) for part, own in zip(self.parts, constants, strict=True)], 1)

    def bands(self) -> list[Band]:
        """Return the frequencies that each number of a vector or each row of a picture describes, [D] or [H]."""
        return [band for part in self.parts for band in part.bands()]

    def sounding(self, windows: Array) -> Array:
        """Return where the picture of each window [n, T] begins and ends in the window, in seconds, [n, 2]."""
        (spectrogram,) = self.parts
        assert isinstance(spectrogram, MelSpectrogram)  # noqa: S101 - others give no pictures
        return spectrogram.sounding(windows)
