import pytest
from watching import model_of

from oddkind import InputError
from oddkind.watch.parts import parts_of


def sounds(files=((0, 10), (10, 20), (30, 12)), **settings):
    model = model_of("sounds", **{"sample_rate": 1000, "window": 1.0, "hop": 0.5, "front_end": ["log-mel"]} | settings)
    model.source["files"] = [[f"{row}.wav", row] for row, _ in files]
    return model


def test_parts_are_as_long_as_the_files_usually_were():
    found = parts_of(sounds(), None)
    # A median of 15 windows, half a second apart.
    assert (found.length, found.step, found.rate) == (14 * 500 + 1000, 15 * 500, 1000)
    assert "each 8 s is judged like a file, the usual length" in found.reason


def test_parts_are_as_long_as_the_blocks_were():
    found = parts_of(sounds(block=10.0), None)
    assert found.length == 10_000
    assert "blocks that the model learnt from" in found.reason


@pytest.mark.parametrize(("block", "length"), [("2s", 2000), ("1min", 60_000), ("4", 4000)])
def test_block_decides(block, length):
    assert parts_of(sounds(), block).length == length


def test_a_table_that_was_one_window_gives_parts_of_its_rows():
    model = model_of("tables", columns=["a"], front_end=[])
    model.inputs.shape = (1, 64)
    found = parts_of(model, None)
    assert (found.length, found.step, found.rate) == (64, 64, None)
    assert parts_of(model, "128").length == 128


@pytest.mark.parametrize(
    ("block", "message"), [("0.5s", "shorter than a window"), ("soon", "a duration with a unit"), ("0", "more than 0")]
)
def test_a_length_that_cannot_be_is_refused(block, message):
    with pytest.raises(InputError, match=message):
        parts_of(sounds(), block)


def test_a_time_needs_a_rate():
    with pytest.raises(InputError, match="counts rows"):
        parts_of(model_of("tables", columns=["a"], window=8, front_end=[]), "10s")
