import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick

from oddkind import InputError
from oddkind.arrays import gathered, is_mapped, kept


@given(st.lists(st.integers(0, 5), min_size=1), st.sampled_from([np.uint8, np.float32, float]))
def test_parts_stand_one_after_another_on_disk(lengths, dtype):
    parts = [np.arange(6 * n).reshape(n, 2, 3).astype(dtype) + n for n in lengths if n or sum(lengths)]
    if not sum(lengths):
        return
    array = gathered(iter(parts))
    assert array.dtype == dtype
    assert_array_equal(array, np.concatenate(parts))


def test_views_of_what_lies_on_disk_do_so_too_and_copies_do_not():
    array = gathered([np.zeros((4, 2))])
    assert is_mapped(array)
    assert is_mapped(np.asarray(array)[1:, 0])
    assert not is_mapped(array + 1)
    assert not is_mapped(np.zeros(3))


def test_where_there_is_no_room_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(InputError, match=r"gone: cannot be written .*; set TMPDIR"):
        gathered([np.zeros(3)])


def test_what_goes_wrong_in_the_parts_is_not_the_folders_fault():
    def parts():
        yield np.zeros(3)
        raise BrokenPipeError("gone")

    with pytest.raises(BrokenPipeError):
        gathered(parts())


@pytest.mark.parametrize("problem", [kinds, pictures])
def test_a_detector_learns_the_same_from_disk_as_from_memory(problem):
    x, y = problem()
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    on_disk = quick().fit(gathered([x]), y)
    assert_array_equal(on_disk.anomaly_score(x, y), quick().fit(x, y).anomaly_score(x, y))


class Maker:
    """Makes an array and counts how often."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return np.arange(6.0).reshape(2, 3)


@pytest.fixture
def content(tmp_path):
    file = tmp_path / "a.wav"
    file.write_bytes(b"sound")
    return file


def test_what_was_made_of_a_files_content_with_the_same_settings_is_not_made_again(tmp_path, content):
    make, cache = Maker(), tmp_path / "cache"
    first = kept(cache, content, "16 kHz", make)
    renamed = content.rename(tmp_path / "b.wav")
    assert_array_equal(kept(cache, renamed, "16 kHz", make), first)
    assert make.times == 1
    kept(cache, renamed, "8 kHz", make)
    renamed.write_bytes(b"noise")
    kept(cache, renamed, "16 kHz", make)
    assert make.times == 3


@pytest.mark.parametrize("damage", [b"", b"no array", None], ids=["empty", "other", "cut short"])
def test_what_a_crash_left_is_made_again(tmp_path, content, damage):
    make, cache = Maker(), tmp_path / "cache"
    first = kept(cache, content, "", make)
    (file,) = cache.rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-5] if damage is None else damage)
    assert_array_equal(kept(cache, content, "", make), first)
    assert_array_equal(kept(cache, content, "", make), first)
    assert make.times == 2


def test_without_room_nothing_is_kept_and_nothing_half_written_left(tmp_path, content, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    make = Maker()
    assert kept(tmp_path / "cache", content, "", make).shape == (2, 3)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_a_file_that_cannot_be_read_is_left_to_what_reads_it(tmp_path):
    make = Maker()
    kept(tmp_path / "cache", tmp_path / "gone.wav", "", make)
    assert make.times == 1
