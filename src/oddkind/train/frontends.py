"""Front ends: torch modules that turn windows of sound into what a small network reads, and are rebuilt with it.

`MelSpectrogram` gives pictures, the others vectors: a spectrum is computed for each frame, and a window is described by
mean and standard deviation over its frames (statistics pooling: Snyder et al., "X-vectors", ICASSP 2018), because a
fault may be a tone or a fluctuation.
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

# The picture of a `MelSpectrogram`: bands, the lowest frequency in Hz, and frames.
MEL_BANDS, LOWEST, FRAMES = 40, 60.0, 32
# The decibels that count below the loudest point, and the level above which a frame sounds.
RANGE, AUDIBLE = 50.0, 0.2


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
        filters, self.edges = mel_filters(sample_rate, self.n_fft, bands, 0)
        self.register_buffer("filters", filters)
        self.register_buffer("window", torch.hann_window(self.n_fft))
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


class MelSpectrogram(nn.Module):
    """A picture of the sounding part of a window: log energy in mel bands over 32 frames, [B, T] → [B, 1, bands, 32].

    Frames of about 64 ms, a quarter of one apart, with a Hann window; at most 40 mel bands from 60 Hz on. The upper
    50 dB below the loudest point of a window count. From the first frame to the last within 40 dB of it, the window is
    stretched to 32 frames, so that the same sound, slower or faster, gives the same picture; silence before and after
    it is left out. The mean of each band over the frames is subtracted, which removes the microphone and much of the
    speaker: cepstral mean normalisation (Atal, "Effectiveness of linear prediction characteristics of the speech
    wave", JASA 1974), here in the logarithmic spectrum.
    """

    filters: Tensor
    window: Tensor
    places: Tensor

    def __init__(self, sample_rate: float, n_samples: int) -> None:
        super().__init__()
        self.n_fft, self.sample_rate = frame_length(sample_rate, n_samples), sample_rate
        self.step = self.n_fft // 4
        filters, self.edges = mel_filters(sample_rate, self.n_fft, MEL_BANDS, min(LOWEST, sample_rate / 8))
        self.register_buffer("filters", filters / filters.sum(1, keepdim=True))
        self.register_buffer("window", torch.hann_window(self.n_fft))
        self.register_buffer("places", torch.linspace(0, 1, FRAMES))

    def bands(self) -> list[Band]:
        """Return the frequencies of each row of the picture."""
        return [(*edges, "spectrogram") for edges in self.edges]

    def sounding(self, x: Tensor) -> Tensor:
        """Return where the sounding part of each window begins and ends, in seconds, [B, T] → [B, 2]."""
        first, last = self._ends(self._levels(x))
        seconds = torch.stack([first - 0.5, last + 0.5], 1) * (self.step / self.sample_rate)
        return seconds.clamp(0, x.shape[1] / self.sample_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Return the pictures of windows."""
        levels = self._levels(x)
        first, last = self._ends(levels)
        at = first[:, None] + (last - first)[:, None] * self.places
        before = at.floor()
        share = (at - before)[:, None]
        before = before.long()[:, None].expand(-1, levels.shape[1], -1)
        after = (before + 1).clamp(max=levels.shape[2] - 1)
        picture = levels.gather(2, before) * (1 - share) + levels.gather(2, after) * share
        return (picture - picture.mean(2, keepdim=True))[:, None]

    def _levels(self, x: Tensor) -> Tensor:
        """Level of each band and frame, from 0 to 1: the upper `RANGE` decibels, [B, bands, frames]."""
        padded = nn.functional.pad(x, (self.n_fft // 2, self.n_fft // 2))
        energy = (power(padded, self.window, self.step) @ self.filters.T).transpose(1, 2)
        decibels = (energy + FLOOR).log() * (10 / math.log(10))
        return ((decibels - decibels.amax((1, 2), keepdim=True)) / RANGE + 1).clamp(min=0)

    def _ends(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first and the last frame that sounds, [B] each."""
        sounds = (levels.amax(1) > AUDIBLE).to(levels.dtype)
        frames = torch.arange(1, levels.shape[2] + 1, device=levels.device, dtype=levels.dtype)
        return levels.shape[2] - (sounds * frames.flip(0)).amax(1), (sounds * frames).amax(1) - 1


def mel_filters(sample_rate: float, n_fft: int, count: int, lowest: float) -> tuple[Tensor, list[tuple[float, float]]]:
    """Triangles on the lines of a spectrum, evenly spaced in mel, [bands, n_fft / 2 + 1], and their ends in Hz.

    A band that is narrower than the lines of the spectrum may contain none of them; it is left out.
    """
    frequencies = torch.linspace(0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    edges = torch.linspace(mel(lowest), mel(sample_rate / 2), count + 2, dtype=torch.float64)
    edges = 700 * (10 ** (edges / 2595) - 1)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    filters = torch.minimum(rising, falling).clamp(min=0)
    filled = filters.sum(1) > 0
    pairs = zip(low[filled, 0].tolist(), high[filled, 0].tolist(), strict=True)
    return filters[filled].float(), [*pairs]


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


def power(x: Tensor, window: Tensor, step: int | None = None) -> Tensor:
    """Power of frames, [B, T] → [B, frames, n_fft / 2 + 1]; a full-scale sine has power 1 / 4.

    Frames are `step` samples apart; by default half of one.
    """
    frames = x.unfold(1, len(window), step or len(window) // 2) * (window / window.sum())
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
    "mel-spectrogram": MelSpectrogram,
}


class FrontEnds(nn.Module):
    """Several front ends, whose features are concatenated, [B, T] → [B, D]; or one that gives pictures."""

    def __init__(self, names: tuple[str, ...], sample_rate: float, n_samples: int) -> None:
        super().__init__()
        unknown = [name for name in names if name not in FRONT_ENDS]
        if unknown or not names:
            raise InputError(f"front end {','.join(unknown)!r}; known are {', '.join(map(repr, FRONT_ENDS))}")
        self.parts = nn.ModuleList(FRONT_ENDS[name](sample_rate, n_samples) for name in names)
        if len(names) > 1 and any(isinstance(part, MelSpectrogram) for part in self.parts):
            raise InputError("front end 'mel-spectrogram' gives pictures, which join no other numbers; name it alone")

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
        """Turn windows [n, T] into vectors [n, D] or pictures [n, 1, H, W]."""
        with torch.inference_mode():
            return self.module(torch.from_numpy(windows)).numpy()

    def bands(self) -> list[Band]:
        """Return the frequencies that each number of a vector or each row of a picture describes, [D] or [H]."""
        return self.module.bands()

    def sounding(self, windows: Array) -> Array:
        """Return where the picture of each window [n, T] begins and ends in the window, in seconds, [n, 2]."""
        (spectrogram,) = self.module.parts
        assert isinstance(spectrogram, MelSpectrogram)  # noqa: S101 - others give no pictures
        with torch.inference_mode():
            return spectrogram.sounding(torch.from_numpy(windows)).numpy()


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
