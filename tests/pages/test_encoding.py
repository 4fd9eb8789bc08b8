import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from oddkind.pages.encoding import TYPES, as_bytes_of, as_json, packed


@given(st.recursive(st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.none(), st.lists))
def test_json_says_the_same_and_ends_no_element(content):
    text = as_json(content)
    assert json.loads(text) == content
    assert not {"<", ">", "&", "\u2028", "\u2029"} & {*text}


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json([float("nan")])


@pytest.mark.parametrize("kind", TYPES)
def test_arrays_come_back(kind, draw):
    values = draw.integers(0, 100, (3, 4)).astype(TYPES[kind])
    of = json.loads(as_json(packed(values, kind)))
    back = np.frombuffer(base64.b64decode(of["base64"]), TYPES[of["type"]]).reshape(of["shape"])
    assert_array_equal(back, values)


def test_values_for_drawing_end_at_the_ends_of_their_range():
    of = as_bytes_of(np.array([-1.0, 0, 1, 2, 9]), 0, 2)
    assert list(base64.b64decode(of["base64"])) == [0, 0, 128, 255, 255]
    assert list(base64.b64decode(as_bytes_of(np.zeros(2), 0, 0)["base64"])) == [0, 0]
