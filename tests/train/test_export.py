import numpy as np
import pytest
import soundfile
import torch
from numpy.testing import assert_allclose
from problems import kinds, pictures, quick, signals
from sklearn.exceptions import NotFittedError

from oddkind import Detector, InputError
from oddkind.files import Source, read, source_of
from oddkind.files.score import fit_files
from oddkind.train.export import as_module

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
    "settings", [{}, {"channels": (1, 2), "front_end": ("log-mel", "spectrum", "envelope"), "match_loudness": True}]
)
def test_sound_goes_in_and_what_the_detector_says_of_the_file_comes_out_even_exported(sounds, settings):
    source = source_of(sounds, pattern="{label}_{number}.wav", **settings)
    files = source.entries(sounds)[0]
    detector = quick()
    fit_files(files, source, detector)
    sound = soundfile.read(files[0].path, dtype="float32")[0]
    kept = sound.mean(1, keepdims=True) if "channels" not in settings else sound
    windows = torch.from_numpy(kept.reshape(2, RATE, -1).swapaxes(1, 2).copy())
    module = as_module(detector)
    with torch.no_grad():
        logits, features = module(windows)
    inputs = read(files[:1], Source.model_validate(detector.source_["settings"])).inputs
    expected = detector.outputs(inputs)
    assert_allclose(logits, expected.logits, atol=1e-4)
    assert_allclose(features, expected.features, atol=1e-4)

    exported = torch.export.export(module, (windows,), dynamic_shapes=({0: torch.export.Dim("batch")},)).module()
    with torch.no_grad():
        assert_allclose(exported(torch.cat([windows, windows]))[0], torch.cat([logits, logits]), atol=1e-5)


@pytest.mark.parametrize(
    "x", [kinds()[0], signals(), pictures()[0], pictures()[0] / 9.0], ids=["vectors", "signals", "bytes", "pictures"]
)
def test_of_arrays_it_takes_samples_as_fit_did(x):
    x = x if x.dtype == np.uint8 else x.astype(np.float32)
    detector = quick(members=2).fit(x)
    for member, expected in enumerate(detector.member_outputs(x[:20])):
        with torch.no_grad():
            logits, features = as_module(detector, member=member)(torch.from_numpy(x[:20]))
        assert_allclose(logits, expected.logits, atol=1e-4)
        assert_allclose(features, expected.features, atol=1e-4)


def test_it_refuses_what_is_not_fitted_and_members_there_are_not():
    with pytest.raises(NotFittedError):
        as_module(Detector())
    detector = quick(epochs=1).fit(kinds()[0])
    with pytest.raises(InputError, match="member=1; the detector has 1, counted from 0"):
        as_module(detector, member=1)
