import os

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose

from oddkind import InputError
from oddkind.errors import ConcernWarning
from oddkind.files.sounds import sample_rate_of, windows

RATE = 8000


def read(file, **settings):
    usual = {"sample_rate": RATE, "window": 0.5, "hop": 0.5, "channels": None, "match_loudness": False}
    return np.concatenate(list(windows(file, **usual | settings)))


@pytest.fixture
def noise(draw):
    return draw.uniform(-0.9, 0.9, size=20500).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        ("wav", "PCM_16", 1e-4),
        ("wav", "PCM_24", 1e-6),
        ("wav", "FLOAT", 0),
        ("wav", "PCM_U8", 1e-2),
        ("flac", "PCM_16", 1e-4),
    ],
)
def test_a_recording_is_read_as_it_was_written(tmp_path, noise, suffix, subtype, error):
    file = tmp_path / f"펌프 1.{suffix}"
    soundfile.write(file, noise, RATE, subtype)
    assert sample_rate_of(file) == RATE
    assert_allclose(read(file)[:, 0].ravel(), noise[:20000], atol=error)


@pytest.mark.parametrize("seconds", [1, 60])
@pytest.mark.parametrize("hop", [0.1, 0.25, 0.5, 0.6, 1.3])
def test_windows_are_cut_where_they_should_be_however_much_is_read_at_once(tmp_path, noise, monkeypatch, hop, seconds):
    monkeypatch.setattr("oddkind.files.sounds.BLOCK_SECONDS", seconds)
    soundfile.write(tmp_path / "a.wav", noise, RATE, "FLOAT")
    step = round(hop * RATE)
    expected = [noise[start : start + 4000] for start in range(0, len(noise) - 4000 + 1, step)]
    assert_allclose(read(tmp_path / "a.wav", hop=hop)[:, 0], expected)


def test_channels_are_averaged_or_chosen(tmp_path, noise):
    stereo = np.stack([noise, 0.5 * noise[::-1]], 1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE, "FLOAT")
    assert_allclose(read(tmp_path / "a.wav")[:, 0].ravel(), stereo.mean(1)[:20000], atol=1e-7)
    assert_allclose(read(tmp_path / "a.wav", channels=(2, 1))[0], stereo[:4000, ::-1].T)
    with pytest.raises(InputError, match="has no channel 3; it has 2"):
        read(tmp_path / "a.wav", channels=(1, 3))


def test_another_sample_rate_is_resampled(tmp_path):
    def wave(rate):
        return np.sin(2 * np.pi * 440 * np.arange(3 * rate) / rate).astype(np.float32)

    soundfile.write(tmp_path / "a.wav", wave(44100), 44100, "FLOAT")
    with pytest.warns(ConcernWarning, match="recordings at 44100 Hz are resampled to 8000 Hz; above 4000 Hz"):
        found = read(tmp_path / "a.wav").ravel()
    assert len(found) == 24000
    assert_allclose(found[500:-500], wave(RATE)[500:-500], atol=1e-3)


def test_matched_windows_are_equally_loud(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise * np.linspace(0.01, 1, len(noise)), RATE, "FLOAT")
    found = read(tmp_path / "a.wav", match_loudness=True)
    assert_allclose(np.square(found).mean((1, 2)), 1, rtol=1e-5)
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    assert not read(tmp_path / "silence.wav", match_loudness=True).any()


def written(file, content):
    file.write_bytes(content)
    return file


def test_a_file_that_is_not_a_complete_recording_is_refused(tmp_path, noise):
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    cases = {
        "is empty": b"",
        f"is incomplete: its header announces {len(content)} bytes, but there are 9000": content[:9000],
        "is not a recording that libsndfile can read": b"To whom it may concern, " * 40,
        "has no samples": content[:40] + bytes(4),
    }
    for number, (reason, damaged) in enumerate(cases.items()):
        head = bytearray(damaged)
        if reason == "has no samples":
            head[4:8] = (36).to_bytes(4, "little")
        with pytest.raises(InputError, match=reason):
            read(written(tmp_path / f"{number}.wav", bytes(head)))


def test_nan_and_too_short_are_refused(tmp_path, noise):
    with_nan = noise.copy()
    with_nan[8400] = np.nan
    soundfile.write(tmp_path / "a.wav", with_nan, RATE, "FLOAT")
    with pytest.raises(InputError, match=r"NaN or infinite at 1.050 s"):
        read(tmp_path / "a.wav")
    soundfile.write(tmp_path / "short.wav", noise[:3999], RATE)
    with pytest.raises(InputError, match=r"is 0.500 s long, shorter than a window of 0.5 s"):
        read(tmp_path / "short.wav")


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    os.symlink("loop.wav", tmp_path / "loop.wav")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "loop.wav")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "gone.wav")
