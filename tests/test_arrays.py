"""Arrays larger than memory."""

import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick

from oddkind import InputError
from oddkind.arrays import batches, digests, is_mapped, moments, standardised, to_memmap


@given(st.lists(st.integers(0, 5), min_size=1), st.sampled_from([np.uint8, np.float32, float]))
def test_parts_stand_one_after_another_on_disk(lengths, dtype):
    parts = [np.arange(6 * n).reshape(n, 2, 3).astype(dtype) + n for n in lengths if n or sum(lengths)]
    if not sum(lengths):
        return
    array = to_memmap(iter(parts))
    assert array.dtype == dtype
    assert_array_equal(array, np.concatenate(parts))


def test_views_of_what_lies_on_disk_do_so_too_and_copies_do_not():
    array = to_memmap([np.zeros((4, 2))])
    assert is_mapped(array)
    assert is_mapped(np.asarray(array)[1:, 0])
    assert not is_mapped(array + 1)
    assert not is_mapped(np.zeros(3))


def test_if_there_is_no_room_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"gone: cannot be written .*; set TMPDIR"):
        to_memmap([np.zeros(3)])


def test_an_error_of_the_parts_is_not_blamed_on_the_folder():
    def parts():
        yield np.zeros(3)
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError):
        to_memmap(parts())


@pytest.mark.parametrize("problem", [kinds, pictures])
def test_a_detector_learns_the_same_from_disk_as_from_memory(problem):
    x, y = problem()
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    on_disk = quick().fit(to_memmap([x]), y)
    assert_array_equal(on_disk.anomaly_score(x, y), quick().fit(x, y).anomaly_score(x, y))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, float])
def test_digests_are_equal_for_equal_rows_alone(dtype):
    rows = np.random.default_rng(0).integers(0, 2, (3000, 12)).astype(dtype)
    distinct, first = np.unique(rows, axis=0, return_index=True)
    assert len(np.unique(digests(rows))) == len(distinct)
    assert_array_equal(np.sort(digests(rows)[first]), np.unique(digests(rows)))


def test_digests_are_those_of_every_platform_and_of_both_zeros():
    assert digests(np.array([[0.0, 1.0]], np.float32)).tolist() == digests(np.array([[-0.0, 1.0]], np.float32)).tolist()
    # By Python's whole numbers, which do not overflow.
    assert digests(np.array([[1, 2], [2, 1]], np.uint8)).tolist() == [7092392983229378508, 13888463471691596484]


@given(st.integers(0, 20_000))
def test_batches_are_all_rows_in_turn_at_most_4096_at_once(n):
    rows = np.arange(n)
    parts = [rows[batch] for batch in batches(n)]
    assert_array_equal(np.concatenate([rows[:0], *parts]), rows)
    assert all(1 <= len(part) <= 4096 for part in parts)


@pytest.mark.parametrize("shape", [(5,), (2, 30), (3, 4, 5)], ids=["vectors", "signals", "pictures"])
def test_moments_and_standardised_are_numpys(monkeypatch, shape):
    monkeypatch.setattr("oddkind.arrays.BATCH_SIZE", 7)
    inputs = np.random.default_rng(0).normal(5, 3, size=(40, *shape)).astype(np.float32)
    rows, axes = np.arange(3, 33), (0, *range(2, 1 + len(shape)))
    mean, deviation = moments(inputs, rows)
    assert_allclose(mean, inputs[rows].mean(axes, float, keepdims=True)[0])
    assert_allclose(deviation, inputs[rows].std(axes, float, keepdims=True)[0])
    expected = ((inputs - mean) / deviation).astype(np.float32)
    assert_array_equal(standardised(inputs, mean, deviation), expected)
    mapped = standardised(to_memmap([inputs]), mean, deviation)
    assert_array_equal(mapped, expected)
    assert is_mapped(mapped)
