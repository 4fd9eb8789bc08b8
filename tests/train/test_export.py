from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from numpy.testing import assert_allclose
from problems import kinds, pictures, quick, signals

from oddkind import InputError, Model, Source, fit_files, source_of
from oddkind.files.reading import read
from oddkind.train.export import as_module

pytestmark = pytest.mark.slow

RATE = 4000


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Two machines' stereo hums."""
    folder, draw = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    now = np.arange(2 * RATE) / RATE
    for number in range(24):
        hum = np.sin(2 * np.pi * (300 + 200 * (number % 2)) * now)[:, None] * draw.uniform(0.1, 0.3, 2)
        soundfile.write(folder / f"m{number % 2}_{number}.wav", hum + 0.01 * draw.normal(size=hum.shape), RATE)
    return folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"channels": (1, 2), "front_end": ("log-mel", "spectrum", "envelope"), "match_loudness": True},
        {"channels": (1, 2), "front_end": ("mel-spectrogram",)},
    ],
)
@pytest.mark.filterwarnings("ignore:number .* alone determines")
def test_the_module_of_a_model_of_sounds_takes_windows_of_sound_even_exported(sounds, settings):
    source = source_of(sounds, pattern="{label}_{number}.wav", **settings)
    files = source.entries(sounds)[0]
    model = fit_files(files, source, quick(), folds=None)
    assert isinstance(model, Model)
    sound = soundfile.read(files[0].path, dtype="float32")[0]
    kept = sound.mean(1, keepdims=True) if "channels" not in settings else sound
    windows = torch.from_numpy(kept.reshape(2, RATE, -1).swapaxes(1, 2).copy())
    module = as_module(model)
    with torch.no_grad():
        logits, features = module(windows)
    inputs = read(files[:1], Source.model_validate(model.source["settings"])).inputs
    expected = model.member_outputs(inputs)[0]
    assert_allclose(logits, expected.logits, atol=1e-4)
    assert_allclose(features, expected.features, atol=1e-4)

    exported = torch.export.export(module, (windows,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        assert_allclose(exported(torch.cat([windows, windows]))[0], torch.cat([logits, logits]), atol=1e-5)


@pytest.mark.parametrize(
    "x", [kinds()[0], signals(), pictures()[0], pictures()[0] / 9.0], ids=["vectors", "signals", "bytes", "pictures"]
)
def test_the_module_of_a_model_of_arrays_takes_samples_as_fit_did(x):
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    model = quick(n_members=2).fit(x).model
    for member, expected in enumerate(model.member_outputs(x[:20])):
        with torch.no_grad():
            logits, features = as_module(model, member=member)(torch.from_numpy(x[:20]))
        assert_allclose(logits, expected.logits, atol=1e-4)
        assert_allclose(features, expected.features, atol=1e-4)


@pytest.mark.parametrize("member", [1, -1])
def test_it_refuses_members_that_there_are_not(member):
    model = quick(epochs=1).fit(kinds()[0]).model
    with pytest.raises(InputError, match=f"member={member}; the model has 1, counted from 0"):
        as_module(model, member=member)


def test_it_refuses_a_network_that_torch_does_not_run():
    model = replace(quick(epochs=1).fit(kinds()[0]).model, members=("a network",))
    with pytest.raises(InputError, match="the networks are not run by torch; load the model with runtime='torch'"):
        as_module(model)
