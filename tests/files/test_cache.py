"""A folder that keeps what was read from files."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import listed, quick

from oddkind import InputError, fit_files, score_files, source_of
from oddkind.files.cache import cached


@pytest.fixture
def content(tmp_path):
    file = tmp_path / "content"
    file.write_bytes(b"1")
    return file


def counted(calls):
    def make():
        calls.append(1)
        return np.arange(3.0) + len(calls)

    return make


def test_an_array_is_made_once_for_each_content_and_settings(tmp_path, content):
    calls = []
    first = cached(tmp_path / "cache", content, "settings", counted(calls))
    renamed = content.rename(tmp_path / "renamed")
    assert_array_equal(cached(tmp_path / "cache", renamed, "settings", counted(calls)), first)
    assert len(calls) == 1
    cached(tmp_path / "cache", renamed, "other settings", counted(calls))
    renamed.write_bytes(b"2")
    cached(tmp_path / "cache", renamed, "settings", counted(calls))
    assert len(calls) == 3


def test_a_damaged_array_is_made_again(tmp_path, content):
    calls = []
    first = cached(tmp_path / "cache", content, "settings", counted(calls))
    (kept,) = (tmp_path / "cache").rglob("*.npy")
    for damaged in (b"", kept.read_bytes()[:-5], b"no array"):
        kept.write_bytes(damaged)
        found = cached(tmp_path / "cache", content, "settings", counted(calls))
        assert_array_equal(found, first + len(calls) - 1)
    assert len(calls) == 4
    assert_array_equal(np.load(kept), found)


def test_an_array_that_cannot_be_kept_is_returned_all_the_same(tmp_path, content):
    (tmp_path / "file").write_bytes(b"")
    assert_array_equal(cached(tmp_path / "file", content, "settings", counted([])), [1, 2, 3])
    assert_array_equal(cached(tmp_path / "cache", tmp_path / "gone", "settings", counted([])), [1, 2, 3])
    assert not (tmp_path / "cache").exists()


def test_an_error_is_not_kept(tmp_path, content):
    def refuse():
        raise InputError("damaged")

    with pytest.raises(InputError, match="damaged"):
        cached(tmp_path / "cache", content, "settings", refuse)
    assert not [*tmp_path.rglob("*.npy")]


def test_what_is_read_from_the_cache_gives_the_same_model_and_verdicts(data, fitted, tmp_path, monkeypatch):
    source = source_of(data)
    again = fit_files(source.entries(data)[0], source, quick(epochs=20), cache=tmp_path)
    assert again.source == fitted.source
    first = score_files(listed(data, "test"), fitted, cache=tmp_path)
    monkeypatch.setattr("oddkind.files.reading._inputs", None)  # nothing is read again
    assert score_files(listed(data, "test"), fitted, cache=tmp_path) == first
    monkeypatch.undo()
    assert score_files(listed(data, "test"), fitted) == first


def test_a_cache_that_cannot_be_written_is_refused(data, fitted, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file: cannot be written"):
        score_files(listed(data, "test"), fitted, cache=tmp_path / "file")
