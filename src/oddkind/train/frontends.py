"""Front ends: torch modules that turn windows of sound into vectors for a small network, and are saved with it.

A spectrum is computed for each frame, and a window is described by mean and standard deviation over its frames
(statistics pooling: Snyder et al., "X-vectors", ICASSP 2018), because a fault may be a tone or a fluctuation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from oddkind.arrays import Array
from oddkind.errors import InputError
from oddkind.files.sounds import FLOOR
from oddkind.files.source import Source
from oddkind.model.forward import Band


class LogMel(nn.Module):
    """Mean and standard deviation over time of the log energy in mel bands, [B, T] → [B, 2 · bands].

    Frames of about 64 ms, half overlapping, with a Hann window; triangular bands, evenly spaced on the mel scale
    2595 log₁₀(1 + f / 700) from 0 to half the sample rate (O'Shaughnessy 1987, as in HTK).
    """

    filters: Tensor
    window: Tensor

    def __init__(self, sample_rate: float, n_samples: int, bands: int = 64) -> None:
        super().__init__()
        self.n_fft = frame_length(sample_rate, n_samples)
        frequencies = torch.linspace(0, sample_rate / 2, self.n_fft // 2 + 1, dtype=torch.float64)
        edges = 700 * (10 ** (torch.linspace(0, mel(sample_rate / 2), bands + 2, dtype=torch.float64) / 2595) - 1)
        low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
        filters = torch.minimum(rising, falling).clamp(min=0)
        # A band that is narrower than the lines of the spectrum may contain none of them.
        filled = filters.sum(1) > 0
        self.register_buffer("filters", filters[filled].float())
        self.register_buffer("window", torch.hann_window(self.n_fft))
        self.edges = [(float(a), float(b)) for a, b in zip(low[filled, 0], high[filled, 0], strict=True)]
        # A quarter of the bands at a time, with only the lines that they contain: a third of the work of one product.
        self.quarters = []
        for rows in torch.arange(len(self.filters)).chunk(4):
            lines = self.filters[rows].any(0).nonzero()
            bands_of, lines_of = ((int(index.min()), int(index.max()) + 1) for index in (rows, lines))
            self.quarters.append((slice(*bands_of), slice(*lines_of)))

    def bands(self) -> list[Band]:
        """Return the frequencies of each feature: those of its triangle."""
        return [(*edges, what) for what in ("level", "wobble") for edges in self.edges]

    def forward(self, x: Tensor) -> Tensor:
        """Return the statistics of windows."""
        spectrum = power(x, self.window)
        energy = torch.cat([spectrum[..., lines] @ self.filters[rows, lines].T for rows, lines in self.quarters], -1)
        return statistics((energy + FLOOR).log())


class Spectrum(nn.Module):
    """Mean and standard deviation over time of the log power at each frequency, [B, T] → [B, n_fft]."""

    window: Tensor

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(min(512, frame_length(sample_rate, n_samples))))
        self.sample_rate = sample_rate

    def bands(self) -> list[Band]:
        """Return the frequencies of each feature: half a line to both sides of its own."""
        line = self.sample_rate / len(self.window)
        lines = [(line * (n - 0.5), line * (n + 0.5)) for n in range(1, len(self.window) // 2 + 1)]
        return [(*edges, what) for what in ("level", "wobble") for edges in lines]

    def forward(self, x: Tensor) -> Tensor:
        """Return the statistics of windows."""
        return statistics((power(x, self.window)[..., 1:] + FLOOR).log())


class Envelope(nn.Module):
    """Spectrum of the squared envelope in the four highest octaves, up to 400 Hz, [B, T] → [B, D].

    A damaged bearing strikes once per revolution or ball; each strike rings at high frequencies, and the rate of the
    strikes is the frequency of the envelope. Randall & Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP
    2011.

    The features are square roots of amplitudes. The amplitude of a line of noise has a Rayleigh distribution, its
    square root a Weibull distribution of shape 4, which is nearly Gaussian. Its logarithm has a long tail towards small
    values, whose distances hide the few lines that a fault changes.
    """

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        super().__init__()
        self.n_samples, self.sample_rate = n_samples, sample_rate
        nyquist = n_samples // 2
        self.octaves = [(nyquist >> (octave + 1), nyquist >> octave) for octave in range(4)]
        lines = min(nyquist, int(400 * n_samples / sample_rate))
        self.lines = max(1, lines // 100 * 100 if lines > 100 else lines)
        if self.octaves[-1][0] < 1:
            raise InputError(f"an envelope needs windows of at least 32 samples; this one has {n_samples}")

    def bands(self) -> list[Band]:
        """Return the rates of strikes in Hz that each feature describes, and the octave in which they are heard."""
        line = self.sample_rate / self.n_samples
        count = min(100, self.lines)
        step = self.lines // count
        return [
            (
                line * (n * step + 0.5),
                line * ((n + 1) * step + 0.5),
                f"strikes heard at {line * a:.0f}–{line * b:.0f} Hz",
            )
            for a, b in self.octaves
            for n in range(count)
        ]

    def forward(self, x: Tensor) -> Tensor:
        """Return the square roots of the amplitudes, in at most 100 bands per octave."""
        spectrum = torch.fft.fft(x)
        amplitudes = []
        for low, high in self.octaves:
            # The positive frequencies give the analytic signal, whose magnitude is the envelope.
            band = torch.zeros_like(spectrum)
            band[:, low:high] = 2 * spectrum[:, low:high]
            squared = torch.view_as_real(torch.fft.ifft(band)).square().sum(2)
            squared = squared / (squared.mean(1, keepdim=True) + FLOOR**2)
            lines = torch.fft.rfft(squared)[:, 1 : self.lines + 1].abs() / self.n_samples
            amplitudes.append(lines.unflatten(1, (min(100, self.lines), -1)).mean(2).sqrt())
        return torch.cat(amplitudes, 1)


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


def power(x: Tensor, window: Tensor) -> Tensor:
    """Power of half overlapping frames, [B, T] → [B, frames, n_fft / 2 + 1]; a full-scale sine has power 1 / 4."""
    frames = x.unfold(1, len(window), len(window) // 2) * (window / window.sum())
    squares = torch.view_as_real(torch.fft.rfft(frames)).square_()
    return squares[..., 0] + squares[..., 1]  # abs would take a root first, and four times as long


def statistics(x: Tensor) -> Tensor:
    """Mean and standard deviation over time, [B, frames, F] → [B, 2F]."""
    mean = x.mean(1)
    return torch.cat([mean, (x - mean[:, None]).square().mean(1).sqrt()], 1)  # var_mean would take eight times as long


FRONT_ENDS: dict[str, Callable[[float, int], nn.Module]] = {
    "log-mel": LogMel,
    "spectrum": Spectrum,
    "envelope": Envelope,
}


class FrontEnds(nn.Module):
    """Several front ends, whose features are concatenated, [B, T] → [B, D]."""

    def __init__(self, names: tuple[str, ...], sample_rate: float, n_samples: int) -> None:
        super().__init__()
        unknown = [name for name in names if name not in FRONT_ENDS]
        if unknown or not names:
            raise InputError(f"front end {','.join(unknown)!r}; known are {', '.join(map(repr, FRONT_ENDS))}")
        self.parts = nn.ModuleList(FRONT_ENDS[name](sample_rate, n_samples) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of all front ends, concatenated."""
        return torch.cat([front_end(x) for front_end in self.parts], 1)

    def bands(self) -> list[Band]:
        """Return the frequencies of each feature, [D]."""
        front_ends: Iterable[Any] = self.parts
        return [band for front_end in front_ends for band in front_end.bands()]


@dataclass(frozen=True, eq=False)
class TorchFrontEnd:
    """The `FrontEnd` of a model, computed with torch."""

    module: FrontEnds

    def __call__(self, windows: Array) -> Array:
        """Turn windows [n, T] into vectors [n, D]."""
        with torch.inference_mode():
            return self.module(torch.from_numpy(windows)).numpy()

    def bands(self) -> list[Band]:
        """Return the frequencies that each number of a vector describes, [D]."""
        return self.module.bands()


def make_front_end(source: Source) -> TorchFrontEnd | None:
    """Build the front end that resolved settings name; None if the settings name none.

    Raises
    ------
    InputError
        If the windows are too short for it.
    """
    if not source.front_end:
        return None
    if source.sample_rate is None or source.window is None:
        raise InputError("the settings name no sample rate or no window")
    length, _ = source.window_samples()
    return TorchFrontEnd(FrontEnds(source.front_end, source.rate, length))


def front_end_of(source: Mapping[str, Any] | None) -> TorchFrontEnd | None:
    """Build the front end of a model from `Model.source`; None if the model has none."""
    if source is None or "settings" not in source:
        return None
    return make_front_end(Source.model_validate(source["settings"]))
