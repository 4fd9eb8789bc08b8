import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import get_window, lfilter, stft
from scipy.spatial.distance import cdist
from scipy.stats import kurtosis, skew

from oddkind import InputError
from oddkind.files.front_ends import (
    FLOOR,
    FRONT_ENDS,
    Envelope,
    FrontEnds,
    LogMel,
    MelSpectrogram,
    Spectrum,
    frame_length,
    hann,
    mel,
    power,
)

RATE = 16000


def tone(frequency, seconds=1.0, rate=RATE):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def features(front_end, x):
    return front_end(x, front_end.constants, np)


def test_power_is_scipys(draw):
    x = draw.normal(size=4000)
    _, _, expected = stft(x, window=get_window("hann", 256), nperseg=256, noverlap=128, boundary=None, padded=False)
    found = power(x[None], hann(256).astype(float), np)
    assert_allclose(found[0].T, np.abs(expected) ** 2, rtol=1e-5, atol=1e-12)


def test_mel_bands_are_even_triangles_that_overlap_by_half():
    filters = LogMel(RATE, RATE).filters
    assert filters.shape == (64, 513)
    peaks = np.array([mel(f) for f in np.linspace(0, 8000, 513)[filters.argmax(1)]])
    assert_allclose(np.diff(peaks[20:]), mel(8000) / 65, rtol=0.25)  # to within a line of the spectrum
    inside = (np.arange(513) > filters[0].argmax()) & (np.arange(513) < filters[-1].argmax())
    assert_allclose(filters.sum(0)[inside], 1, atol=1e-5)


@pytest.mark.parametrize("frequency", [440, 1000, 3000, 7000])
def test_a_tone_stands_out_in_its_band(frequency):
    bands = LogMel(RATE, RATE)
    means = features(bands, tone(frequency)[None])[0, : len(bands.filters)]
    nearest = bands.filters[:, round(frequency / RATE * bands.n_fft)].argmax()
    assert abs(int(means.argmax()) - int(nearest)) <= 1


def test_a_wobble_shows_in_the_deviation_alone():
    steady, wobbling = tone(1000), tone(1000) * (1 + 0.9 * tone(3))
    wobbling *= np.sqrt(np.mean(steady**2) / np.mean(wobbling**2))
    bands = LogMel(RATE, RATE)
    low, high = features(bands, np.stack([steady, wobbling]))
    band = int(low[:64].argmax())
    assert high[64 + band] > 0.5 > 0.05 > low[64 + band]


def test_twice_as_loud_moves_the_means_alone(draw):
    x = draw.normal(size=(3, RATE)).astype(np.float32)
    for name in ("log-mel", "spectrum"):
        front_end = FRONT_ENDS[name](RATE, RATE)
        once, twice = features(front_end, x), features(front_end, 2 * x)
        half = once.shape[1] // 2
        assert_allclose(twice[:, :half] - once[:, :half], np.log(4), atol=1e-4)
        assert_allclose(twice[:, half:], once[:, half:], atol=1e-3)


def test_the_envelope_tells_how_often_a_bearing_is_struck():
    strikes = np.zeros(RATE, np.float32)
    strikes[:: RATE // 50] = 1  # 50 times a second
    ringing = np.convolve(strikes, tone(5000, 0.01) * np.exp(-np.arange(160) / 30))[:RATE].astype(np.float32)
    front_end = Envelope(RATE, RATE)
    per_band = front_end.step  # Hz
    octave = features(front_end, ringing[None])[0, :100]  # 4 to 8 kHz
    others = np.delete(octave, [k * 50 // per_band + d for k in range(1, 9) for d in (-1, 0) if k * 50 + d < 400])
    assert octave[(50 - 1) // per_band] > 10 * others.max()


def test_the_envelope_does_not_depend_on_loudness(draw):
    front_end, x = Envelope(RATE, RATE), draw.normal(size=(3, RATE)).astype(np.float32)
    for factor in (1e-6, 1e4):
        assert_allclose(features(front_end, np.float32(factor) * x), features(front_end, x), rtol=1e-3)


def test_noise_gives_features_without_long_tails(draw):
    found = features(Envelope(RATE, 3200), draw.normal(size=(500, 3200)).astype(np.float32))
    for octave in found.reshape(len(found), 4, -1).swapaxes(0, 1):
        z = (octave - octave.mean(0)) / octave.std(0)
        assert abs(skew(z.ravel())) < 0.3
        assert abs(kurtosis(z.ravel())) < 0.3


@pytest.mark.parametrize("seconds", [0.2, 0.5])
def test_a_weak_fault_of_a_bearing_is_found_in_noise(draw, seconds):
    rate, n = 12000, round(12000 * seconds)
    ringing = tone(3500, 0.01, rate) * np.exp(-np.arange(120) / 9)

    def windows(count, fault):
        noise = draw.normal(size=(count, n))
        strikes = np.zeros((count, n))
        for row in strikes:
            row[np.cumsum(rate / 107 * draw.normal(1, 0.01, size=200)).astype(int).clip(max=n - 1)] = 1
        struck = np.apply_along_axis(np.convolve, 1, strikes, ringing)[:, :n]
        return (noise + fault * struck / struck.std(1, keepdims=True)).astype(np.float32)

    known, normal, faulty = (features(Envelope(rate, n), windows(100, fault)) for fault in (0, 0, 0.5))
    mean, deviation = known.mean(0), known.std(0)
    near, far = (cdist((x - mean) / deviation, (known - mean) / deviation).min(1) for x in (normal, faulty))
    assert (far[:, None] > near).mean() > 0.95  # log amplitudes: 0.70 and 0.90


@pytest.mark.parametrize("name", sorted(FRONT_ENDS))
@pytest.mark.parametrize(
    ("rate", "n"), [(16000, 16000), (48000, 4800), (1000, 500), (8000, 100), (22050, 44100), (100, 32)]
)
def test_every_window_gives_finite_numbers_even_in_silence(draw, name, rate, n):
    front_end = FrontEnds((name,), rate, n)
    x = np.stack([np.zeros(n), draw.normal(size=n), np.ones(n)]).astype(np.float32)
    found = front_end(x)
    assert found.ndim == (4 if name == "mel-spectrogram" else 2)
    assert found.shape[2 if name == "mel-spectrogram" else 1] == len(front_end.bands())
    assert np.isfinite(found).all()
    assert_allclose(front_end(x[1:2])[0], found[1], rtol=1e-4, atol=1e-5)


def word(*notes, gap=0.3, length=0.1, rate=8000, seconds=1.0):
    """Notes of `length` seconds each, at their frequencies, after a silence of `gap` seconds; [1, T]."""
    now = np.arange(round(length * rate)) / rate
    sound = np.concatenate([np.zeros(round(gap * rate)), *(np.sin(2 * np.pi * note * now) for note in notes)])
    return np.pad(sound, (0, round(seconds * rate) - len(sound))).astype(np.float32)[None]


def test_a_spectrogram_shows_which_band_sounds_when():
    spectrogram = MelSpectrogram(8000, 8000)
    notes = 400, 1600, 800
    (picture,) = features(spectrogram, word(*notes))[0]
    assert picture.shape == (40, 32)
    bands = np.array([[low, high] for low, high, _ in spectrogram.bands()])
    for note, frame in zip(notes, (5, 16, 27), strict=True):
        low, high = bands[picture[:, frame].argmax()]
        assert low < note < high
    assert_allclose(picture.mean(1), 0, atol=1e-6)


def test_a_spectrogram_does_not_depend_on_when_and_how_fast_a_word_is_said():
    spectrogram = MelSpectrogram(8000, 8000)
    one, later, slower, other = (
        features(spectrogram, x)
        for x in (
            word(400, 1600, gap=0.16),
            word(400, 1600, gap=0.48),  # by 20 frames
            word(400, 1600, gap=0.16, length=0.15),
            word(1600, 400, gap=0.16),
        )
    )
    assert_allclose(later, one, atol=1e-4)
    assert np.abs(one - slower).mean() < 0.3 * np.abs(one - other).mean()


def test_a_spectrogram_does_not_depend_on_loudness_or_the_microphone(draw):
    spectrogram = MelSpectrogram(8000, 8000)
    noise = draw.normal(size=(3, 8000)) * (0.6 + 0.4 * np.sin(np.arange(8000) / 400))
    x, muffled = (one.astype(np.float32) for one in (noise, lfilter([1], [1, -0.5], noise)))
    assert_allclose(features(spectrogram, np.float32(0.01) * x), features(spectrogram, x), atol=1e-4)
    apart, size = np.abs(features(spectrogram, muffled) - features(spectrogram, x)), features(spectrogram, x)
    assert apart.max() < 0.05 < size.max()


def test_a_spectrogram_knows_which_part_of_a_window_sounds():
    front_end = FrontEnds(("mel-spectrogram",), 8000, 8000)
    windows = np.concatenate(
        [word(400, 1600, gap=0.3), word(400, gap=0.5, length=0.25), np.zeros((1, 8000), np.float32)]
    )
    found = front_end.sounding(windows)
    assert_allclose(found[:2], [[0.3, 0.5], [0.5, 0.75]], atol=0.04)  # half a frame
    assert_allclose(found[2], [0, 1], atol=0.01)  # silence, all of it


def test_a_spectrogram_stands_alone():
    with pytest.raises(
        InputError, match="'mel-spectrogram' gives pictures, which join no other numbers; name it alone"
    ):
        FrontEnds(("log-mel", "mel-spectrogram"), 8000, 8000)


def test_front_ends_side_by_side(draw):
    x = draw.normal(size=(2, RATE)).astype(np.float32)
    both = FrontEnds(("log-mel", "spectrum"), RATE, RATE)(x)
    assert_allclose(both, np.hstack([features(LogMel(RATE, RATE), x), features(Spectrum(RATE, RATE), x)]))
    assert np.log(FLOOR) < both.min()


@pytest.mark.parametrize(
    ("rate", "n", "length"), [(16000, 16000, 1024), (44100, 44100, 2048), (48000, 48000, 4096), (16000, 100, 32)]
)
def test_frames_are_about_64_ms_and_fit_twice(rate, n, length):
    assert frame_length(rate, n) == length


def test_what_is_unknown_or_too_short_is_refused():
    with pytest.raises(InputError, match="front end 'mfcc'; known are 'log-mel', 'spectrum', 'envelope'"):
        FrontEnds(("log-mel", "mfcc"), RATE, RATE)
    for name in FRONT_ENDS:
        with pytest.raises(InputError, match="at least 32"):
            FrontEnds((name,), RATE, 20)


@pytest.mark.parametrize("frequency", [500, 1000, 3000, 7000])
@pytest.mark.parametrize("name", ["log-mel", "spectrum"])
def test_the_feature_that_hears_a_tone_most_says_its_frequency(name, frequency):
    front_end = FrontEnds((name,), RATE, RATE)
    heard, bands = front_end(tone(frequency)[None])[0], front_end.bands()
    levels = [number for number, (*_, what) in enumerate(bands) if what == "level"]
    low, high, _ = bands[levels[int(heard[levels].argmax())]]
    assert low <= frequency <= high


def test_a_band_of_the_envelope_says_how_often_it_is_struck():
    draw = np.random.default_rng(0)
    strikes = (1 + 0.9 * tone(87)) * draw.normal(size=RATE).astype(np.float32)
    front_end = FrontEnds(("envelope",), RATE, RATE)
    heard, bands = front_end(strikes[None])[0], front_end.bands()
    low, high, what = bands[int(heard.argmax())]
    assert low <= 87 <= high
    assert what.startswith("strikes heard at ")


@pytest.mark.parametrize("names", [("log-mel",), ("spectrum",), ("envelope",), ("envelope", "log-mel")])
@pytest.mark.parametrize(("rate", "n_samples"), [(16000, 16000), (8000, 400), (48000, 5000)])
def test_every_feature_has_a_band(names, rate, n_samples):
    front_end = FrontEnds(names, rate, n_samples)
    bands = front_end.bands()
    assert len(bands) == front_end(np.zeros((1, n_samples), np.float32)).shape[1]
    assert all(low < high <= rate / 2 + rate / n_samples * 20 for low, high, _ in bands)
