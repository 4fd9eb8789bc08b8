import io
import json

import numpy as np
import pytest
import soundfile
from problems import RATE
from watching import model_of

from oddkind import score_files
from oddkind.files.listing import Entry
from oddkind.watch.judge import Judge
from oddkind.watch.payloads import Payloads


@pytest.fixture
def payloads():
    made = []

    def make(model, label=None):
        made.append(Payloads(model, label))
        return made[-1]

    yield make
    for one in made:
        one.close()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("array", [[1.5, 2], [[1.5, 2], [3, 4]]], ids=["one", "several"])
@pytest.mark.parametrize(
    "pack", [lambda array: json.dumps(array).encode(), lambda array: npy(array)], ids=["json", "npy"]
)
def test_arrays_are_samples_for_a_model_of_arrays(payloads, array, pack):
    item = payloads(model_of(), "fan").item("topic", pack(array), {"message:1": "x"})
    np.testing.assert_array_equal(item.samples, np.reshape(array, (-1, 2)))
    assert (item.name, item.label, item.marks) == ("topic", "fan", {"message:1": "x"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "must hold a JSON array or an .npy array"),
        (b"[1, 2, 3]", r"shape \(3,\); the model learnt samples of shape \(2,\)"),
        (b"[1, [2]]", "the array cannot be read"),
        (b'["a", "b"]', "must hold numbers"),
        (b"[" * 100_000, "the array cannot be read"),
        (b"\x93NUMPY\1\0garbage", "is not a complete .npy file of numbers"),
        (b"", "must hold a JSON array"),
    ],
    ids=range(7),
)
def test_what_is_no_sample_is_named(payloads, content, message):
    item = payloads(model_of()).item("topic", content, {"message:1": "x"})
    assert item.samples is None
    assert item.problem is not None
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(item.problem)
    assert item.marks == {"message:1": "x"}


def test_pickles_are_not_loaded(payloads):
    item = payloads(model_of()).item("topic", npy(np.array([{}], object)), {})
    assert "is not a complete .npy file of numbers" in item.problem


def test_an_array_is_a_table_in_the_dialect_of_the_model(payloads):
    settings = {"columns": ["a", "b"], "front_end": [], "delimiter": ";", "decimal": ",", "units_rows": 1}
    source = payloads(model_of("tables", **settings))
    item = source.item("log", b"[[1.5, 2], [3, 0.1]]", {})
    assert item.entries[0].path.read_text() == "a;b\n-;-\n1,5;2,0\n3,0;0,1\n"
    source.done(item)
    assert not item.entries[0].path.exists()
    assert "rows of 2 values: a, b" in source.item("log", b"[1, 2]", {}).problem


def test_pictures_are_sent_as_files(payloads):
    source = payloads(model_of("pictures", size=(8, 8), grey=True))
    assert "PNG or JPEG" in source.item("camera", b"[[1, 2]]", {}).problem
    assert source.item("camera", b"\x89PNG", {}).entries[0].path.suffix == ".png"


@pytest.mark.parametrize("kind", ["wav", "flac", "json", "npy"])
def test_a_recording_scores_as_its_file_does(fitted, data, payloads, kind):
    file = next((data / "fan 2" / "test").rglob("*.wav"))
    signal, _ = soundfile.read(file, dtype="float32")
    content = {"json": lambda: json.dumps(signal.tolist()).encode(), "npy": lambda: npy(signal)}
    if kind in content:
        message = content[kind]()
    else:
        packed = io.BytesIO()
        soundfile.write(packed, soundfile.read(file, dtype="int16")[0], RATE, format=kind.upper())
        message = packed.getvalue()
    item = payloads(fitted, "fan 2").item("press/1", message, {})
    (found,) = Judge(fitted)(item)
    (expected,) = score_files([Entry(file, "press/1", "fan 2")], fitted)
    assert found.problem is None
    assert (found.score, found.p_value, found.anomalous) == (expected.score, expected.p_value, expected.anomalous)
