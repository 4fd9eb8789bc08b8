"""What requests hold: JSON and .npy are read as NumPy reads them, and nothing else is."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_array_equal

from oddkind import InputError
from oddkind.model.inputs import InputSpec
from oddkind.serve.formats import JsonReader, format_of, labels_learnt, suffix_of
from oddkind.serve.limits import Limits, RequestError

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)


@given(SHAPES, st.integers(1, 5), st.data())
def test_json_holds_the_same_numbers(shape, n, data):
    floats = st.floats(-1e30, 1e30, allow_subnormal=True)
    X = data.draw(hnp.arrays(np.float64, (n, *shape), elements=floats))
    reader = JsonReader(InputSpec(shape, np.zeros(1, np.float32), np.ones(1, np.float32)), Limits())
    for body in (X.tolist(), {"samples": X.tolist()}):
        found, labels = reader.read(json.dumps(body).encode())
        assert_array_equal(found, X)
        assert labels is None


@given(SHAPES, st.integers(1, 5), st.data())
def test_json_holds_the_same_bytes(shape, n, data):
    X = data.draw(hnp.arrays(np.uint8, (n, *shape)))
    reader = JsonReader(InputSpec(shape), Limits())
    found, labels = reader.read(json.dumps({"samples": X.tolist(), "labels": ["a"]}).encode())
    assert_array_equal(found, X)
    assert (found.dtype, labels) == (np.uint8, ["a"])


@pytest.mark.parametrize("value", ["256", "-1", "1.5", "1.0", "true", '"1"', "null", "[1]"])
def test_json_of_no_bytes_is_refused(value):
    with pytest.raises(RequestError, match=r"\[0\]\[1\].*0 to 255") as refused:
        JsonReader(InputSpec((2,)), Limits()).read(f"[[1,{value}]]".encode())
    assert refused.value.status == 422


def test_what_a_body_is():
    assert format_of("application/json", b"garbage") == "json"
    assert format_of("Application/JSON; charset=utf-8", b"") == "json"
    assert format_of("", b"  \n{") == "json"
    assert format_of("audio/wav", b"RIFF....WAVE") == ".wav"
    assert format_of("application/octet-stream", b"\xff\xd8\xff\xe0") == ".jpg"
    for content_type, content in (
        ("audio/wav", b"fLaC"),
        ("image/gif", b"GIF89a"),
        ("", b"GIF89a"),
        ("image/png", b""),
    ):
        with pytest.raises(RequestError) as refused:
            format_of(content_type, content)
        assert refused.value.status == 415


def test_what_a_file_is():
    assert suffix_of("A.WAV", b"RIFF") == ".wav"
    assert suffix_of("a.jpeg", b"\xff\xd8\xff") == ".jpg"
    assert suffix_of("recording", b"fLaC") == ".flac"
    assert suffix_of("a.csv", b"a,b\n1,2\n") == ".csv"
    for name, content in (
        ("a.csv", b"\x89PNG\r\n\x1a\n"),
        ("a.png", b"%!PS-Adobe"),
        ("a.eps", b"%!PS"),
        ("a", b"a,b\n"),
    ):
        with pytest.raises(InputError):
            suffix_of(name, content)


def test_labels():
    learnt = np.array([3, 5, 8])
    assert_array_equal(labels_learnt([5], learnt, 3), [5, 5, 5])
    assert_array_equal(labels_learnt([5, 8, 3], learnt, 3), [5, 8, 3])
    assert_array_equal(labels_learnt(["8"], learnt, 1, as_text=True), [8])
    for given_labels, known, n in (([5, 8], learnt, 3), (["5"], learnt, 1), ([4], learnt, 1), ([1], None, 1)):
        with pytest.raises(InputError):
            labels_learnt(given_labels, known, n)
