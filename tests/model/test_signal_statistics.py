"""What describes a signal: known answers, and what does not matter."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from oddkind.model.signal_statistics import N_LEVELS, signal_statistics

TIME = np.arange(64)


@pytest.mark.parametrize(("line", "octave"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4), (30, 5)])
def test_a_sine_is_in_the_octave_of_its_line(line, octave):
    wave = 3 + 2 * np.cos(2 * np.pi * line * TIME / 64 + 0.3)
    mean, least, largest, deviation, steps, *octaves = signal_statistics(wave[None, None])[0, :, 0]
    assert_allclose([mean, least, largest], [wave.mean(), wave.min(), wave.max()], rtol=1e-6)
    assert_allclose([deviation, steps], [wave.std(), np.sqrt(np.square(np.diff(wave)).sum() / 64)], rtol=1e-6)
    assert int(np.argmax(octaves)) == octave
    # Under a Hann window half of the amplitude stays in the line, and a quarter goes to each of its neighbours.
    power = np.zeros(64)
    power[line - 1 : line + 2] = 1 / 16, 1 / 4, 1 / 16
    ends = [1, 2, 3, 5, 9, 17, 33]
    expected = [np.sqrt(power[low:high].sum()) for low, high in pairwise(ends)]
    assert_allclose(octaves, expected, atol=1e-6)


@given(st.integers(0, 999), st.integers(1, 70), st.integers(1, 3), st.floats(0.1, 100), st.floats(-100, 100))
def test_amplitudes_grow_with_the_signal_and_do_not_notice_an_offset(seed, length, channels, factor, offset):
    signals = np.random.default_rng(seed).normal(size=(5, channels, length))
    found, changed = signal_statistics(signals), signal_statistics(factor * signals + offset)
    n_octaves = (length // 2 - 1).bit_length() + 1 if length > 1 else 0
    assert found.shape == (5, N_LEVELS + 2 + n_octaves, channels)
    assert_allclose(changed[:, N_LEVELS:], factor * found[:, N_LEVELS:], rtol=1e-3, atol=1e-4 * factor)
    levels = factor * found[:, :N_LEVELS] + offset
    assert_allclose(changed[:, :N_LEVELS], levels, rtol=1e-4, atol=1e-4 * factor)


def test_it_does_not_matter_when_a_periodic_signal_begins(draw):
    wave = np.cos(2 * np.pi * TIME[:16] / 16) + 0.3 * np.cos(2 * np.pi * 5 * TIME[:16] / 16)
    cuts = np.stack([np.roll(np.tile(wave, 4), shift) for shift in range(16)])[:, None]
    found = signal_statistics(cuts)
    assert_allclose(found, np.repeat(found[:1], 16, 0), rtol=0.02, atol=1e-6)


def test_channels_are_described_one_by_one_and_many_signals_as_each_alone(draw):
    signals = draw.normal(size=(5000, 2, 9)).astype(np.float32)
    found = signal_statistics(signals)
    assert found.dtype == np.float32
    for row in (0, 4095, 4096, 4999):
        np.testing.assert_array_equal(signal_statistics(signals[row : row + 1])[0], found[row])
    np.testing.assert_array_equal(signal_statistics(signals[:, 1:])[:, :, 0], found[:, :, 1])


def test_long_signals_are_described_some_at_a_time(draw):
    signals = draw.normal(size=(200, 4, 8192)).astype(np.float32)
    tracemalloc.start()
    found = signal_statistics(signals)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * signals.nbytes
    np.testing.assert_array_equal(signal_statistics(signals[-1:])[0], found[-1])


def test_silence_has_no_amplitude():
    found = signal_statistics(np.full((1, 1, 8), 5.0))[0, :, 0]
    assert found.tolist() == [5, 5, 5, 0, 0, 0, 0, 0]
