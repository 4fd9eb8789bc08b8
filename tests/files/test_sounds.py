import os
import warnings

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import Entry, InputError, Source, check_files, source_of
from oddkind.errors import ConcernWarning
from oddkind.files.listing import SUFFIXES
from oddkind.files.sounds import look_at, sample_rate_of, windows
from oddkind.files.source import resolved

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


@pytest.mark.parametrize("channels", [None, (1,), (2, 1)])
def test_a_short_recording_is_padded_with_silence_if_that_is_wanted_and_a_long_one_is_cut(tmp_path, noise, channels):
    stereo = np.stack([noise, noise[::-1]], 1)
    for name, n in (("short", 3000), ("exact", 4000), ("long", 9000)):
        soundfile.write(tmp_path / f"{name}.wav", stereo[:n], RATE, "FLOAT")

    def cut(name, **how):
        return read(tmp_path / f"{name}.wav", channels=channels, **how)

    short = cut("short", pad=True)
    assert short.shape == (1, 1 if channels is None else len(channels), 4000)
    assert_array_equal(short[..., :3000], cut("short", window=3000 / RATE, hop=3000 / RATE))
    assert not short[..., 3000:].any()
    for name in ("exact", "long"):
        assert_array_equal(cut(name, pad=True), cut(name))
    with pytest.raises(InputError, match="shorter than a window"):
        cut("short")
    with pytest.warns(ConcernWarning, match="resampled"):
        halved = cut("short", pad=True, sample_rate=RATE // 2)
    assert halved.shape[2] == 2000
    assert not halved[..., 1500:].any()


def test_a_file_that_cannot_be_opened_is_refused(tmp_path):
    os.symlink("loop.wav", tmp_path / "loop.wav")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "loop.wav")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "gone.wav")


def number(value, order="little"):
    return int(value).to_bytes(4, order)


@pytest.mark.parametrize("data_size", [0, 2**32 - 1, 2**32 - 1 - 36, 0x7FFFF000, 0x7FFFFFFF, 0x80000000])
@pytest.mark.parametrize("riff_size", [0, 36, 2**32 - 1])
def test_a_wav_that_was_written_to_a_pipe_is_whole(tmp_path, noise, riff_size, data_size):
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    streamed = content[:4] + number(riff_size) + content[8:40] + number(data_size) + content[44:]
    found = read(written(tmp_path / "b.wav", streamed))
    assert_allclose(found, read(tmp_path / "a.wav"), atol=0)
    assert (tmp_path / "b.wav").read_bytes() == streamed


@pytest.mark.parametrize(
    "changed",
    [
        lambda content: content[:4] + number(len(content) + 4) + content[8:],  # sizes that count padding
        lambda content: content[:40] + number(len(content) - 44 + 1) + content[44:],
        lambda content: content[:4] + number(len(content) - 10) + content[8:],
        lambda content: content + b"LIST" + number(500) + b"INFO",  # only what follows the samples is cut off
        lambda content: content + bytes(3000),
    ],
)
def test_a_wav_whose_samples_are_whole_is_read_whatever_its_header_says(tmp_path, noise, changed):
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    whole = read(tmp_path / "a.wav")
    assert_allclose(read(written(tmp_path / "b.wav", changed((tmp_path / "a.wav").read_bytes()))), whole, atol=0)


@pytest.mark.parametrize("riff_size", [0, 36, 2**32 - 1, 9000 - 8])
def test_a_wav_whose_samples_are_cut_off_is_refused_whatever_its_header_says(tmp_path, noise, riff_size):
    soundfile.write(tmp_path / "a.wav", noise, RATE)
    content = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(InputError, match=f"is incomplete: its header announces {len(content)} bytes, .* 9000"):
        read(written(tmp_path / "b.wav", content[:4] + number(riff_size) + content[8:9000]))


@pytest.mark.parametrize("kind", ["FLAC", "AIFF", "RF64", "MP3", "CAF", "OGG"])
def test_other_recordings_that_are_cut_short_are_refused(tmp_path, noise, kind):
    soundfile.write(tmp_path / "a", noise, RATE, format=kind)
    content = (tmp_path / "a").read_bytes()
    assert len(read(tmp_path / "a")) == 5
    with pytest.raises(InputError, match=r"incomplete|cannot be read|can read|no samples"):
        read(written(tmp_path / "b", content[: len(content) // 2]))


def test_a_wav_without_samples_is_refused_although_something_follows(tmp_path):
    content = b"RIFF" + number(48) + b"WAVEfmt " + number(16) + b"\1\0\1\0" + number(RATE) + number(2 * RATE)
    content += b"\2\0\x10\0data" + number(0) + b"LIST" + number(4) + b"INFO"
    with pytest.raises(InputError, match="has no samples"):
        read(written(tmp_path / "a.wav", content))


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [
        *((kind, None) for kind in ("FLAC", "MP3", "AIFF", "AU", "CAF", "W64", "XI")),
        *(("OGG", subtype) for subtype in ("VORBIS", "OPUS")),
        *(("WAV", subtype) for subtype in ("GSM610", "G721_32", "IMA_ADPCM")),
        ("AU", "G723_24"),
    ],
)
def test_what_counts_is_the_content_and_not_the_suffix(tmp_path, kind, subtype):
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(20500) / RATE)
    soundfile.write(tmp_path / "a", tone, RATE, subtype=subtype, format=kind)
    content = (tmp_path / "a").read_bytes()
    for name in ("a.WAV", "a.flac", "a.mp3", "a.aiff", "a.au"):
        file = written(tmp_path / name, content)
        rate = sample_rate_of(file)
        found = read(file, sample_rate=rate, window=0.25, hop=0.25)
        assert 0.1 < np.square(found).mean() < 0.15
        assert not look_at(file).silent


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"\0\0\0\x1cftypM4A ", "MP4"), (b"\x1aE\xdf\xa3", "Matroska"), (b"0&\xb2u", "Windows Media")],
)
def test_what_libsndfile_cannot_read_is_named_with_a_way_out(tmp_path, head, name):
    file = written(tmp_path / "pump.wav", head + bytes(range(256)) * 20)
    with pytest.raises(InputError, match=rf"it is {name}.*ffmpeg -i pump.wav"):
        read(file)
    assert {".m4a", ".mp3", ".opus", ".aiff"} <= {*SUFFIXES["sounds"]}


def test_channels_that_cancel_each_other_are_named(tmp_path, noise):
    other = noise[::-1]
    cases = {
        "opposed": (np.stack([noise, -noise], 1), True),
        "with an offset": (np.stack([0.3 * noise + 0.5, 0.5 - 0.3 * noise], 1), True),
        "nearly": (np.stack([noise, -0.9 * noise + 0.01 * other], 1), True),
        "four": (np.stack([noise, other, -noise, -other], 1), True),
        "independent": (np.stack([noise, other], 1), False),
        "one is silent": (np.stack([noise, 0 * noise], 1), False),
        "equal": (np.stack([noise, noise], 1), False),
        "one": (noise[:, None], False),
    }
    for name, (channels, cancelling) in cases.items():
        soundfile.write(tmp_path / f"{name}.wav", channels, RATE, "FLOAT")
        assert look_at(tmp_path / f"{name}.wav").cancelling == cancelling, name
        if cancelling:
            with pytest.warns(ConcernWarning, match=r"channels that cancel each other.*--channels 1"):
                read(tmp_path / f"{name}.wav")
        else:
            read(tmp_path / f"{name}.wav")
        read(tmp_path / f"{name}.wav", channels=(1,))


def test_silent_recordings_are_recognised(tmp_path, noise):
    quiet = (np.abs(noise) > 0.5) * 2.0**-15
    cases = {
        "zero": (0 * noise, "PCM_16", True),
        "constant": (0 * noise + 0.25, "PCM_16", True),
        "one step": (quiet, "PCM_16", True),
        "two steps": (2 * quiet, "PCM_16", False),
        "quiet": (1e-9 * noise, "FLOAT", False),
        "float": (0 * noise, "FLOAT", True),
    }
    for name, (signal, subtype, silent) in cases.items():
        soundfile.write(tmp_path / "a.wav", signal, RATE, subtype)
        assert look_at(tmp_path / "a.wav").silent == silent, name
    soundfile.write(tmp_path / "a.wav", np.stack([noise, 0 * noise], 1), RATE)
    assert [look_at(tmp_path / "a.wav", channels).silent for channels in (None, (1,), (2,))] == [False, False, True]


@pytest.mark.parametrize(
    ("lengths", "settings", "window", "short"),
    [
        ((0.3, 0.84, 1.2, 0.9), {}, 1.2, "pad"),
        ((0.3, 0.84, 9, 0.9), {}, 2, "pad"),
        ((3, 3, 3, 3), {}, 1, None),
        ((3,) * 10 + (0.5,), {}, 1, None),  # a tenth are not many
        ((0.3, 0.84, 3), {"short": "refuse"}, 1, "refuse"),
        ((0.3, 0.84), {"window": 0.5}, 0.5, None),
        ((0.3, 0.84), {"window": 0.5, "short": "pad"}, 0.5, "pad"),
    ],
)
def test_a_window_is_as_long_as_the_longest_of_short_recordings(tmp_path, noise, lengths, settings, window, short):
    signal = np.resize(noise, 9 * RATE)
    for number, seconds in enumerate(lengths):
        soundfile.write(tmp_path / f"{number}.wav", signal[: round(seconds * RATE)], RATE)
    source = source_of(tmp_path, **settings)
    files, _ = source.entries(tmp_path)
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        found = resolved(source, files)
    assert (found.window, found.hop, found.short) == (window, window, short)
    chosen = short == "pad" and not settings
    shorter = sum(seconds < 1 for seconds in lengths)
    message = f"{shorter} of {len(lengths)} recordings are shorter than 1 s, so a window is {window:g} s long"
    assert [str(one.message)[: len(message)] for one in given] == ([message] if chosen else [])
    issues = check_files(files, source, on_refused=lambda *_: None)["issues"]
    assert ("window" in {issue["kind"] for issue in issues}) == (short == "pad")


def test_check_names_recordings_that_are_silent_or_cancel(tmp_path, noise):
    for name, other in (("a", noise[::-1]), ("b", -noise), ("c", noise)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([noise, other], 1) * 0.5 * (name != "c"), RATE)
    files = [Entry(tmp_path / f"{name}.wav", f"{name}.wav") for name in "abc"]
    issues = check_files(files, source_of(tmp_path))["issues"]
    messages = {issue["kind"]: issue["message"] for issue in issues}
    assert messages["silent"] == "1 of 3 recordings are silent: c.wav"
    assert messages["cancelling"].startswith("1 of 3 recordings have channels that cancel each other")
    assert messages["cancelling"].endswith("--channels 1: b.wav")
    issues = check_files(files, source_of(tmp_path, channels=(1,)))["issues"]
    assert "cancelling" not in {issue["kind"] for issue in issues}


def test_the_rate_is_that_of_most_recordings(tmp_path, noise):
    for name, rate in (("a", 2 * RATE), ("b", RATE), ("c", RATE)):
        soundfile.write(tmp_path / f"{name}.wav", noise, rate)
    (tmp_path / "d.wav").write_text("no sound")
    files = [Entry(tmp_path / f"{name}.wav", name) for name in "abcd"]
    assert resolved(Source(kind="sounds"), files).sample_rate == RATE
    assert resolved(Source(kind="sounds"), files[:2]).sample_rate == 2 * RATE
