"""A file is written whole or not at all."""

import os
import zipfile

import pytest
from sklearn.exceptions import NotFittedError

from oddkind import CrossConformal, Detector, InputError, save


def test_a_detector_that_is_not_fitted_cannot_be_saved(tmp_path):
    for detector in (Detector(), CrossConformal()):
        with pytest.raises(NotFittedError):
            detector.save(tmp_path / "a.oddkind")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("step", ["writestr", "replace"])
def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch, saved, error, step):
    def fail(*_):
        raise error

    file = tmp_path / "a.oddkind"
    file.write_text("old")
    monkeypatch.setattr(*{"writestr": (zipfile.ZipFile, step), "replace": (os, step)}[step], fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        save(saved[0], file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.oddkind"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("place", ["none/a.oddkind", "file/a.oddkind", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, saved, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{place}: cannot be written \(.+\); name a file that can"):
        save(saved[0], tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_file_that_is_there_is_replaced(tmp_path, saved):
    (tmp_path / "a.oddkind").write_text("old")
    save(saved[0], tmp_path / "a.oddkind")
    assert (tmp_path / "a.oddkind").read_bytes() == saved[2]
