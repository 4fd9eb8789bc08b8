"""Lengths of time as users write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddkind.files.durations import between, clock, in_words, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds", "has_unit"),
    [
        ("500ms", 0.5, True),
        ("10s", 10, True),
        (" 5 min ", 300, True),
        ("5m", 300, True),
        ("1.5h", 5400, True),
        ("7d", 604_800, True),
        ("64", 64, False),
        (".25", 0.25, False),
    ],
)
def test_a_length_of_time_has_a_unit_or_is_a_number(text, seconds, has_unit):
    assert seconds_of(text) == (seconds, has_unit)


@pytest.mark.parametrize("text", ["", "h", "-1", "0", "0s", "1 week", "1h30", "1e3", "inf", "nan", "1,5s", "١s"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be a number, or a duration with a unit, such as 500ms"):
        seconds_of(text)


@given(st.integers(1, 10**7))
def test_what_is_written_in_words_is_the_same_length(seconds):
    assert seconds_of(in_words(seconds)) == (seconds, True)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00:00"), (61, "0:01:01"), (3723.5, "1:02:03.500"), (86_399.9999, "1 d 00:00:00"), (90_000, "1 d 01:00:00")],
)
def test_a_position_in_a_recording_reads_like_a_clock(seconds, text):
    assert clock(seconds) == text


def test_short_files_have_positions_in_seconds_and_rows_stay_rows():
    assert between(1.5, 2, "s") == "1.5–2 s"
    assert between(3600, 7200, "rows") == "3600–7200 rows"
    assert between(3600, 7200, "s") == "1:00:00–2:00:00"
