"""Front ends: from windows of sound to vectors a small network learns from; torch modules, to be shipped with it.

Each frame's spectrum is taken on its own and the window is described by mean and deviation over its frames
(statistics pooling: Snyder et al., "X-vectors", ICASSP 2018): a fault may be a tone, or a wobble.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from oddkind.errors import InputError

Band = tuple[float, float, str]
"""Lowest and highest frequency in Hz that a feature hears, and what it says of them."""

# Below what a 24-bit recording can hold; keeps the logarithm of silence finite.
FLOOR = 1e-12


class LogMel(nn.Module):
    """Mean and deviation over time of the log energy in mel bands, [B, T] → [B, 2 · bands].

    Frames of about 64 ms, half overlapping, under a Hann window; triangular bands, evenly spaced on the mel scale
    2595 log₁₀(1 + f / 700) from 0 to half the sample rate (O'Shaughnessy 1987, as in HTK).
    """

    filters: Tensor
    window: Tensor

    def __init__(self, sample_rate: int, n_samples: int, bands: int = 64) -> None:
        super().__init__()
        self.n_fft = frame_length(sample_rate, n_samples)
        frequencies = torch.linspace(0, sample_rate / 2, self.n_fft // 2 + 1, dtype=torch.float64)
        edges = 700 * (10 ** (torch.linspace(0, mel(sample_rate / 2), bands + 2, dtype=torch.float64) / 2595) - 1)
        low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
        filters = torch.minimum(rising, falling).clamp(min=0)
        # A band narrower than the spectrum's lines may hold none of them.
        heard = filters.sum(1) > 0
        self.register_buffer("filters", filters[heard].float())
        self.register_buffer("window", torch.hann_window(self.n_fft))
        self.edges = [(float(a), float(b)) for a, b in zip(low[heard, 0], high[heard, 0], strict=True)]
        # A quarter of the bands at a time, and only the lines they hold: a third of the work of all by all.
        self.quarters = []
        for own in torch.arange(len(self.filters)).chunk(4):
            held = self.filters[own].any(0).nonzero()
            self.quarters.append((slice(int(own[0]), int(own[-1]) + 1), slice(int(held.min()), int(held.max()) + 1)))

    def bands(self) -> list[Band]:
        """Which frequencies each feature hears: those of its triangle."""
        return [(*edges, what) for what in ("level", "wobble") for edges in self.edges]

    def forward(self, x: Tensor) -> Tensor:
        """Return the statistics of windows."""
        lines = power(x, self.window)
        energy = torch.cat([lines[..., held] @ self.filters[own, held].T for own, held in self.quarters], -1)
        return statistics((energy + FLOOR).log())


class Spectrum(nn.Module):
    """Mean and deviation over time of the log power at each frequency, [B, T] → [B, n_fft]."""

    window: Tensor

    def __init__(self, sample_rate: int, n_samples: int) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(min(512, frame_length(sample_rate, n_samples))))
        self.sample_rate = sample_rate

    def bands(self) -> list[Band]:
        """Which frequencies each feature hears: half a line around its own."""
        line = self.sample_rate / len(self.window)
        lines = [(line * (n - 0.5), line * (n + 0.5)) for n in range(1, len(self.window) // 2 + 1)]
        return [(*edges, what) for what in ("level", "wobble") for edges in lines]

    def forward(self, x: Tensor) -> Tensor:
        """Return the statistics of windows."""
        return statistics((power(x, self.window)[..., 1:] + FLOOR).log())


class Envelope(nn.Module):
    """Spectrum of the envelope in the four highest octaves, up to 400 Hz, [B, T] → [B, D].

    A damaged bearing strikes once a revolution or a ball: each strike rings high up, and how often it strikes is
    the envelope's frequency. Randall & Antoni, "Rolling element bearing diagnostics: a tutorial", MSSP 2011.
    """

    def __init__(self, sample_rate: int, n_samples: int) -> None:
        super().__init__()
        self.n_samples, self.sample_rate = n_samples, sample_rate
        nyquist = n_samples // 2
        self.octaves = [(nyquist >> (octave + 1), nyquist >> octave) for octave in range(4)]
        lines = min(nyquist, int(400 * n_samples / sample_rate))
        self.lines = max(1, lines // 100 * 100 if lines > 100 else lines)
        if self.octaves[-1][0] < 1:
            raise InputError(f"an envelope needs windows of at least 32 samples; this one has {n_samples}")

    def bands(self) -> list[Band]:
        """How often in a second what each feature hears strikes, and in which octave."""
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
        """Return the envelopes' log amplitudes, in at most 100 bands an octave."""
        spectrum = torch.fft.fft(x)
        parts = []
        for low, high in self.octaves:
            # Half of the spectrum is the analytic signal; its magnitude is the envelope.
            band = torch.zeros_like(spectrum)
            band[:, low:high] = 2 * spectrum[:, low:high]
            envelope = torch.fft.ifft(band).abs()
            envelope = envelope / (envelope.mean(1, keepdim=True) + FLOOR)
            lines = torch.fft.rfft(envelope)[:, 1 : self.lines + 1].abs() / self.n_samples
            parts.append((lines.unflatten(1, (min(100, self.lines), -1)).mean(2) + 1e-6).log())
        return torch.cat(parts, 1)


def mel(frequency: float) -> float:
    """Mel of a frequency in Hz, 2595 log₁₀(1 + f / 700)."""
    return 2595 * math.log10(1 + frequency / 700)


def frame_length(sample_rate: int, n_samples: int) -> int:
    """Power of two nearest to 64 ms, at most half a window.

    Raises
    ------
    InputError
        Where a window is too short to be cut into frames.
    """
    if n_samples < 32:
        raise InputError(f"a window of {n_samples} samples is too short for a spectrum; it needs at least 32")
    longest = 2 ** int(math.log2(n_samples // 2))
    return max(16, min(longest, 2 ** round(math.log2(0.064 * sample_rate))))


def power(x: Tensor, window: Tensor) -> Tensor:
    """Power of half overlapping frames, [B, T] → [B, frames, n_fft / 2 + 1]; a full-scale sine has power 1 / 4."""
    frames = x.unfold(1, len(window), len(window) // 2) * (window / window.sum())
    parts = torch.view_as_real(torch.fft.rfft(frames)).square_()
    return parts[..., 0] + parts[..., 1]  # abs takes a root first: four times as long


def statistics(x: Tensor) -> Tensor:
    """Mean and deviation over time, [B, frames, F] → [B, 2F]."""
    mean = x.mean(1)
    return torch.cat([mean, (x - mean[:, None]).square().mean(1).sqrt()], 1)  # var_mean takes eight times as long


FRONT_ENDS: dict[str, Callable[[int, int], nn.Module]] = {
    "log-mel": LogMel,
    "spectrum": Spectrum,
    "envelope": Envelope,
}


class FrontEnds(nn.Module):
    """Several front ends side by side, [B, T] → [B, D]."""

    def __init__(self, names: tuple[str, ...], sample_rate: int, n_samples: int) -> None:
        super().__init__()
        unknown = [name for name in names if name not in FRONT_ENDS]
        if unknown or not names:
            raise InputError(f"front end {','.join(unknown)!r}; known are {', '.join(map(repr, FRONT_ENDS))}")
        self.parts = nn.ModuleList(FRONT_ENDS[name](sample_rate, n_samples) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each part says, one after another."""
        return torch.cat([part(x) for part in self.parts], 1)

    def bands(self) -> list[Band]:
        """Which frequencies each feature hears, [D]."""
        parts: Iterable[Any] = self.parts
        return [band for part in parts for band in part.bands()]
