"""`oddkind export`: what it writes, says and refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
from problems import quick

from oddkind import load, save
from oddkind.model.onnx_forward import OnnxForward
from oddkind.train import onnx_export

pytestmark = pytest.mark.slow


@pytest.fixture
def saved(tmp_path, fitted):
    """A model of sounds."""
    save(fitted, tmp_path / "a.oddkind")
    return tmp_path / "a.oddkind"


def test_the_file_itself_gets_graphs_and_scores_alike(saved, command, data):
    before = command("score", saved, data, "--json")[1]
    code, out, _ = command("export", saved, "--onnx", "--data", data)
    assert code == 0
    assert f"{saved} contains ONNX graphs, and scoring with it needs no torch." in out
    assert "no decision differs" in out
    assert isinstance(load(saved).folds[0].members[0], OnnxForward)
    after = command("score", saved, data, "--json")[1]
    for one, other in zip(map(json.loads, before.splitlines()), map(json.loads, after.splitlines()), strict=True):
        assert (one["path"], one["anomalous"]) == (other["path"], other["anomalous"])
        assert np.isclose(one["score"], other["score"], rtol=1e-4)
    again = command("export", saved, "--onnx", "--json")
    assert again[0] == 0
    assert json.loads(again[1])["n_flipped"] == 0


def test_another_file_is_written_and_the_first_one_kept(saved, command, tmp_path):
    content = saved.read_bytes()
    assert command("export", saved, "--onnx", "--out", tmp_path / "b.oddkind")[0] == 0
    assert saved.read_bytes() == content
    assert isinstance(load(tmp_path / "b.oddkind").folds[0].members[0], OnnxForward)


def test_nothing_is_written_if_a_decision_differs(saved, command, monkeypatch):
    content = saved.read_bytes()
    found = replace(onnx_export.agreement(load(saved), load(saved)), n_flipped=1)
    monkeypatch.setattr(onnx_export, "agreement", lambda *_: found)
    code, _, error = command("export", saved, "--onnx")
    assert code == 2
    assert "1 decisions on" in error
    assert saved.read_bytes() == content


def test_what_is_missing_is_named(saved, command, tmp_path):
    code, _, error = command("export", saved)
    assert (code, error) == (2, "oddkind: name a format: --onnx\n")
    code, _, error = command("export", saved, "--onnx", "--out", tmp_path / "no" / "b.oddkind")
    assert code == 2
    assert "cannot be written" in error
    quick(epochs=1).fit(np.random.default_rng(0).normal(size=(60, 3))).save(tmp_path / "arrays.oddkind")
    code, _, error = command("export", tmp_path / "arrays.oddkind", "--onnx", "--data", tmp_path)
    assert code == 2
    assert "the model learnt from arrays, not files" in error


def test_files_that_cannot_be_read_are_named_and_without_any_other_nothing_is_written(saved, command, data, tmp_path):
    content = saved.read_bytes()
    new = tmp_path / "new"
    new.mkdir()
    (new / "broken.wav").write_bytes(b"no sound")
    code, _, error = command("export", saved, "--onnx", "--data", new)
    assert code == 2
    assert "none of its files can be read" in error
    assert saved.read_bytes() == content
    sound = next(data.rglob("*.wav"))
    (new / sound.name).write_bytes(sound.read_bytes())
    code, out, error = command("export", saved, "--onnx", "--data", new)
    assert code == 0
    assert "and 1 file: no decision differs" in out
    assert "left out: broken.wav" in error
