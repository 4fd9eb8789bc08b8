"""A fitted model needs NumPy alone: read without torch and SciPy, it says what it says with them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy_only
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick

from oddkind import CrossConformal, CrossModel, save
from oddkind.model.bundle import read, unpack
from oddkind.train.torch_forward import restore_forward

MODELS = {
    "vectors": (lambda: quick(epochs=10, task="labels+affine").fit(*kinds(200)), kinds(8, seed=5)),
    "pictures": (lambda: quick(epochs=4, n_members=2, temperature="fit").fit(*pictures(120)), pictures(6, seed=5)),
    "folds": (
        lambda: CrossConformal(quick(epochs=10, task="labels+affine"), folds=3).fit(*kinds(120)),
        kinds(8, seed=5),
    ),
}


class Recorder(numpy_only.Replay):
    """Answers as the torch network did when it first saw a sample; its last bits may depend on the batch."""

    def __init__(self, *given):
        super().__init__({}, *given)
        self.network = restore_forward(*given, network=None, device=torch.device("cpu"))

    def __call__(self, inputs):
        for sample, *answer in zip(inputs, *self.network(inputs), strict=True):
            self.recorded.setdefault(sample.tobytes(), (sample, answer))
        return super().__call__(inputs)

    def answer(self, sample):
        return super().answer(sample)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Saved models, what they say with torch, and what they say without it."""
    folder = tmp_path_factory.mktemp("models")
    for name, (fit, (inputs, labels)) in MODELS.items():
        odd = inputs.copy()
        odd[: len(odd) // 2, ..., -3:] = odd.max()
        file = folder / f"{name}.oddkind"
        save(fit().model_, file)
        np.savez(file.with_suffix(".samples.npz"), inputs=odd, labels=labels)
        recorders = []

        def make(*given, recorders=recorders):
            recorders.append(Recorder(*given))
            return recorders[-1]

        model = unpack(read(file), make)
        np.savez(folder / f"{name}.torch.npz", **numpy_only.answers(model, odd, labels))
        if name == "pictures":
            recorded = {}
            for number, recorder in enumerate(recorders):
                samples, answers = zip(*recorder.recorded.values(), strict=True)
                logits, features = zip(*answers, strict=True)
                for what, values in (("samples", samples), ("logits", logits), ("features", features)):
                    recorded[f"{number}.{what}"] = np.stack(values)
            np.savez(file.with_suffix(".networks.npz"), **recorded)
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
            assert_allclose(found[what], expected[what], rtol=1e-5, atol=1e-5, err_msg=what)
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
        manifest = read(folder / f"{name}.oddkind").manifest
        assert {fold.score for fold in manifest.folds} == {score}
        assert len(manifest.folds) == (3 if name == "folds" else 1)
    assert isinstance(unpack(read(folder / "folds.oddkind"), numpy_only.Perceptron), CrossModel)
