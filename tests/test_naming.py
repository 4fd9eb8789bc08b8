"""What names mean, and how they are printed."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddkind.naming import condition_of, printable


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("normal", (False, "")),
        ("NotOK", (True, "")),
        ("no_fault", (False, "")),
        ("defect free", (False, "")),
        ("FanNormal", (False, "Fan")),
        ("id_00_abnormal_6dB", (True, "id_00_6dB")),
        ("정상_normal", (False, "정상")),
        ("good_or_bad", (None, "good_or_bad")),
        ("abnormality", (None, "abnormality")),
        ("default", (None, "default")),
        ("", (None, "")),
    ],
)
def test_a_condition_is_read_from_whole_words(name, expected):
    assert condition_of(name) == expected


@given(st.text(max_size=12))
def test_any_name_can_be_read(name):
    condition, rest = condition_of(name)
    assert condition is not None or rest == name


@given(st.binary(max_size=12).filter(lambda name: b"\0" not in name))
def test_any_file_name_can_be_printed_and_utf_8_stays(name):
    text = os.fsdecode(name)
    printable(text).encode("utf-8")
    try:
        assert printable(text) == name.decode("utf-8")
    except UnicodeDecodeError:
        assert "\\udc" in printable(text)
