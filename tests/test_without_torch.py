"""A model with graphs needs neither torch nor SciPy: read without them, it says what it says with them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy_only
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick

from oddkind import CrossConformal, CrossModel, load

pytestmark = pytest.mark.slow

MODELS = {
    "vectors": (lambda: quick(epochs=10, task="labels+affine").fit(*kinds(200)), kinds(8, seed=5)),
    "pictures": (lambda: quick(epochs=4, n_members=2, temperature="fit").fit(*pictures(120)), pictures(6, seed=5)),
    "folds": (
        lambda: CrossConformal(quick(epochs=10, task="labels+affine"), folds=3).fit(*kinds(120)),
        kinds(8, seed=5),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved models, what they say with torch, and what they say without it."""
    folder = tmp_path_factory.mktemp("models")
    for name, (fit, (inputs, labels)) in MODELS.items():
        odd = inputs.copy()
        odd[: len(odd) // 2, ..., -3:] = odd.max()
        file = folder / f"{name}.oddkind"
        fit().save(file, onnx=True)
        np.savez(file.with_suffix(".samples.npz"), inputs=odd, labels=labels)
        np.savez(folder / f"{name}.torch.npz", **numpy_only.answers(load(file, runtime="torch"), odd, labels))
    script = Path(numpy_only.__file__)
    # As here, because sums of several threads have other last bits.
    environment = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, script, folder]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_the_same_without_torch(folder, name):
    found, expected = np.load(folder / f"{name}.answers.npz"), np.load(folder / f"{name}.torch.npz")
    assert found.files == expected.files
    for what in expected.files:
        if expected[what].dtype.kind == "f":
            close = 3e-3 if "evidence" in what else 1e-3  # evidence is a difference of scores
            assert_allclose(found[what], expected[what], rtol=close, atol=close, err_msg=what)
        else:
            assert_array_equal(found[what], expected[what], err_msg=what)
    assert set(expected["labels known, decide"]) == {1, -1}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_saved_to_the_same_bytes_without_torch(folder, name):
    assert (folder / f"{name}.again.oddkind").read_bytes() == (folder / f"{name}.oddkind").read_bytes()


def test_the_models_are_of_the_kinds_that_they_should_be(folder):
    for name, score in (
        ("vectors", "fused-distances"),
        ("pictures", "combined-with-input"),
        ("folds", "fused-distances"),
    ):
        model = load(folder / f"{name}.oddkind")
        assert {fold.score.name for fold in model.folds} == {score}
        assert isinstance(model, CrossModel) == (name == "folds")
