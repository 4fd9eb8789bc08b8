import os
import threading

import numpy as np
import pytest
import soundfile
from problems import RATE
from watching import model_of

from oddkind import InputError, score_files
from oddkind.files.listing import Entry
from oddkind.files.sounds import windows
from oddkind.watch.judge import Judge
from oddkind.watch.parts import Parts, parts_of
from oddkind.watch.pcm import FORMATS, Pcm

MODEL = model_of("sounds", sample_rate=1000, window=0.1, hop=0.1, front_end=["log-mel"])


def streamed(content, model=MODEL, length=200, step=200, pieces=7, **given):
    """The items of a stream that arrives in pieces, with the content of their files, and the source."""
    options = {"sample_format": "s16le", "rate": None, "n_channels": 1, "label": None} | given
    read, write = os.pipe()

    def send():
        for start in range(0, len(content), max(1, len(content) // pieces)):
            os.write(write, content[start : start + max(1, len(content) // pieces)])
        os.close(write)

    threading.Thread(target=send).start()
    source = Pcm(read, model, Parts(length, step, 1000, ""), **options)
    found = []
    while (items := source.poll(1.0)) is not None:
        for item in items:
            (entry,) = item.entries
            signal, rate = soundfile.read(entry.path, always_2d=True)
            found.append((item.name, signal, rate))
            source.done(item)
            assert not entry.path.exists()
    source.close()
    os.close(read)
    return found, source


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_read_as_libsndfile_reads_it(draw, name):
    subtype = {
        "u8": "PCM_U8",
        "s16le": "PCM_16",
        "s24le": "PCM_24",
        "s32le": "PCM_32",
        "f32le": "FLOAT",
        "f64le": "DOUBLE",
        "alaw": "ALAW",
        "mulaw": "ULAW",
    }[name]
    n = FORMATS[name][0]
    whole = np.round(draw.uniform(-0.5, 0.5, size=(450, 2)) * 2**6) / 2**6
    raw = os.fspath(os.path.join(os.environ.get("TMPDIR", "/tmp"), f"oddkind-{os.getpid()}-{name}.raw"))  # noqa: S108
    soundfile.write(raw, whole, 1000, format="RAW", subtype=subtype, endian="LITTLE")
    with open(raw, "rb") as file:
        content = file.read()
    expected, _ = soundfile.read(raw, format="RAW", subtype=subtype, endian="LITTLE", channels=2, samplerate=1000)
    os.unlink(raw)
    found, source = streamed(content, sample_format=name, n_channels=2)
    assert len(content) == 450 * 2 * n
    assert [rate for *_, rate in found] == [1000, 1000]
    np.testing.assert_array_equal(np.concatenate([signal for _, signal, _ in found]), expected[:400])
    assert source.left_over() == "the last 0.05 s of standard input"


@pytest.mark.parametrize("name", ["S16_LE", "s16le", "cd"])
def test_names_of_arecord_are_known(name):
    found, _ = streamed(b"\1\0" * 200, sample_format=name)
    assert len(found) == 1


def test_parts_overlap_as_blocks_do():
    ramp = np.arange(1000, dtype="<i2")
    found, source = streamed(ramp.tobytes(), length=300, step=200)
    begins = [round(signal[0, 0] * 2**15) for _, signal, _ in found]
    assert begins == [0, 200, 400, 600]
    assert found[1][0] == "stdin, 0:00:00.200–0:00:00.500"
    assert source.left_over() == "the last 0.1 s of standard input"


def test_parts_can_leave_gaps():
    ramp = np.arange(1000, dtype="<i2")
    found, _ = streamed(ramp.tobytes(), length=100, step=400)
    assert [round(signal[0, 0] * 2**15) for _, signal, _ in found] == [0, 400]


def test_another_rate_gives_parts_of_the_same_time():
    found, _ = streamed(bytes(2 * 4410), rate=2205)
    assert [len(signal) for _, signal, _ in found] == [441] * 10
    assert {rate for *_, rate in found} == {2205}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sample_format": "s16be"}, "must be one of u8, s16le"),
        ({"n_channels": 0}, "at least 1"),
        ({"rate": 0}, "at least 1"),
        ({"model": model_of("pictures")}, "learnt from pictures"),
    ],
)
def test_what_cannot_be_is_refused(given, message):
    options = {"model": MODEL, "sample_format": "s16le", "rate": None, "n_channels": 1, "label": None} | given
    with pytest.raises(InputError, match=message):
        Pcm(0, parts=Parts(1, 1, 1000, ""), **options)


def test_an_empty_stream_ends():
    found, source = streamed(b"")
    assert not found
    assert source.left_over() is None


def test_parts_score_as_files_do(fitted, data):
    files = sorted((data / "fan 2" / "test").rglob("*.wav"))[:4]
    signals = [soundfile.read(file, dtype="int16")[0] for file in files]
    parts, judge = parts_of(fitted, None), Judge(fitted)
    assert parts.length == 2 * RATE
    read, write = os.pipe()
    threading.Thread(target=lambda: (os.write(write, np.concatenate(signals).tobytes()), os.close(write))).start()
    source = Pcm(read, fitted, parts, sample_format="s16le", rate=None, n_channels=1, label="fan 2")
    found = []
    while (items := source.poll(1.0)) is not None:
        found += [judged for item in items for judged in judge(item)]
    os.close(read)
    expected = score_files([Entry(file, str(file), "fan 2") for file in files], fitted)
    assert [(one.score, one.p_value) for one in found] == [(one.score, one.p_value) for one in expected]
    assert len([*windows(files[0], sample_rate=RATE, window=1, hop=1, channels=None, match_loudness=False)]) == 1
