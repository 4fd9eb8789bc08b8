"""What a signal is like, whenever it began: level, extremes, and how strongly it varies, in all and in each octave."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from oddkind.arrays import Array, batches

# The first so many statistics are levels; the others are amplitudes.
N_LEVELS = 3
# So many numbers of signals are described at a time, because each takes several times its memory.
NUMBERS_AT_ONCE = 1 << 20


def signal_statistics(signals: Array) -> Array:
    """Describe each channel of signals [N, C, T] by its levels and amplitudes, float32 [N, 3 + K, C].

    The levels are the mean, the least and the largest value. The amplitudes are the standard deviation, the root mean
    square of the steps from one value to the next, and that of each octave of the spectrum: of the lines 1, 2, 3 to 4,
    5 to 8, … of the signal without its mean, under a Hann window. None of them depends on when a signal begins, so
    windows that are cut anywhere from a recording can be compared.
    """
    n, channels, length = signals.shape
    ends = [1, *(1 + 2**k for k in range(length.bit_length()))]
    octaves = [(low, high) for low, high in pairwise(ends) if low <= length // 2]
    window = np.sin(np.pi * np.arange(length) / length) ** 2
    found = np.empty((n, N_LEVELS + 2 + len(octaves), channels), np.float32)
    for rows in batches(n, max(1, NUMBERS_AT_ONCE // (channels * length))):
        x = signals[rows].astype(float)
        mean = x.mean(-1)
        varies = x - mean[..., None]
        power = np.abs(np.fft.rfft(varies * window)) ** 2
        squares = [np.square(varies).mean(-1), np.square(np.diff(x)).sum(-1) / length]
        squares += [power[..., low:high].sum(-1) / length**2 for low, high in octaves]
        found[rows] = np.stack([mean, x.min(-1), x.max(-1), *np.sqrt(squares)], 1)
    return found
