import base64
import io

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal
from problems import listed

from oddkind import InputError
from oddkind.files.reading import each
from oddkind.report.sounds import BANDS, LOUDEST, MAX_CLIP, MAX_FRAMES, clip, decibels, heat, pictures, window_of


def heard(of):
    return soundfile.read(io.BytesIO(base64.b64decode(of["wav"].partition(",")[2])), always_2d=True)


def tone(frequency, rate, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate).astype(np.float32)


@pytest.mark.parametrize("rate", [500, 4000, 16000, 44100, 192000])
@pytest.mark.parametrize("seconds", [0.05, 1.0, 10.0])
@pytest.mark.parametrize("highest", [100.0, 3000.0, 90000.0])
def test_clips_are_small_16_bit_mono_and_say_what_they_are(rate, seconds, highest):
    of = clip(tone(100, rate, seconds), rate, highest, 1.0)
    assert len(of["wav"]) <= MAX_CLIP
    sound, own_rate = heard(of)
    assert (sound.shape[1], own_rate) == (1, of["rate"])
    assert len(sound) / own_rate == pytest.approx(of["seconds"])
    assert of["of_seconds"] == pytest.approx(seconds, rel=0.01)
    assert soundfile.info(io.BytesIO(base64.b64decode(of["wav"].partition(",")[2]))).subtype == "PCM_16"


def test_a_clip_keeps_the_frequencies_of_the_evidence_and_is_shorter_for_it():
    low, high = (clip(tone(100, 44100), 44100, highest, 1.0) for highest in (3000, 9000))
    assert (low["rate"], high["rate"]) == (8000, 22050)
    assert low["seconds"] > 0.9 > high["seconds"]


def test_two_clips_keep_their_difference_in_loudness():
    loud, soft = (heard(clip(level * tone(100, 4000), 4000, 500, 2.0))[0] for level in (2.0, 0.5))
    assert np.abs(loud).max() == pytest.approx(LOUDEST, rel=0.01)
    assert np.abs(soft).max() == pytest.approx(LOUDEST / 4, rel=0.01)


def test_a_window_is_what_the_model_hears(fitted, data):
    from oddkind.files.score import settings_of

    source, entry = settings_of(fitted), listed(data)[0]
    for _, waves in each([entry], source, front_end=lambda windows: windows):
        for number, wave in enumerate(waves):
            assert_array_equal(window_of(entry.path, source, number), wave)
    with pytest.raises(InputError, match="no window 2"):
        window_of(entry.path, source, 2)


def test_spectrograms_show_a_tone_in_its_band_on_one_scale():
    levels = decibels(tone(1000, 8000), 8000)
    assert levels.shape[0] == BANDS
    assert levels.shape[1] <= MAX_FRAMES
    row = levels.mean(1).argmax()
    middle = 700 * (10 ** ((row + 1) * 2595 * np.log10(1 + 4000 / 700) / (BANDS + 1) / 2595) - 1)
    assert middle == pytest.approx(1000, rel=0.1)
    loud, soft = pictures([tone(1000, 8000), 0.1 * tone(1000, 8000)], 8000)
    most = [max(base64.b64decode(of["base64"])) for of in (loud, soft)]
    assert most == [255, pytest.approx(255 * (1 - 20 / 60), abs=2)]


def test_evidence_lies_at_its_frequency_and_moment():
    bands = [(0, 500, "level"), (500, 1000, "level"), (0, 500, "wobble"), (1, 2, "envelope")]
    found = heat(np.array([0, 3.0, -1, 9]), bands, 8000, (0, 1), 1)
    assert found.shape == (BANDS, 1)
    rows = np.flatnonzero(found)
    assert found.max() == 1
    assert 0.1 < rows.min() / BANDS < rows.max() / BANDS < 0.6
    evidence = np.zeros((2, 4))
    evidence[1, 2] = 5
    found = heat(evidence, [(0, 500, "spectrogram"), (500, 1000, "spectrogram")], 8000, (0.5, 1), 1)
    columns = np.flatnonzero(found.any(0))
    assert_allclose([columns.min() / MAX_FRAMES, (columns.max() + 1) / MAX_FRAMES], [0.75, 0.875], atol=0.02)
    assert not heat(np.zeros(4), bands, 8000, (0, 1), 1).any()
