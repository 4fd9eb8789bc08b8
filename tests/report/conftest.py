import warnings

import numpy as np
import pytest
import soundfile
from PIL import Image
from problems import RATE, quick

from oddkind import ConcernWarning, fit_files, source_of

SUFFIXES = {"pictures": ".png", "tables": ".csv", "vibration": ".csv", "arrays": ".npy"}


def write(folder, kind, draw):
    """Write 60 files of two labels, a and b."""
    slope = np.add.outer(np.arange(24), np.zeros(24)) * 5
    for number in range(60):
        kind_of, file = number % 2, folder / f"{'ab'[number % 2]}_{number}{SUFFIXES[kind]}"
        if kind == "pictures":
            pixels = (slope if kind_of else slope.T) + draw.integers(0, 60, (24, 24))
            Image.fromarray(pixels.astype(np.uint8)).save(file)
        elif kind == "arrays":
            np.save(file, draw.normal(size=6) + 4 * kind_of)
        else:
            rows = np.sin(np.arange(80)[:, None] / (3 + kind_of)) + 0.1 * draw.normal(size=(80, 2))
            np.savetxt(file, rows, delimiter=",", header="x,<b>y", comments="")


@pytest.fixture(scope="session")
def kinds(data, tmp_path_factory):
    """A model and its data for every kind of page, by name."""
    draw, found = np.random.default_rng(0), {}

    def add(name, folder, folds=None, **settings):
        source = source_of(folder, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConcernWarning)  # the labels are easy, the long file is cut
            model = fit_files(source.entries(folder)[0], source, quick(epochs=4), folds=folds)
        found[name] = model, folder

    for kind, suffix in SUFFIXES.items():
        folder = tmp_path_factory.mktemp(kind)
        write(folder, kind, draw)
        settings = {"sample_rate": 1000.0, "window": "0.08"} if kind == "vibration" else {}
        add(kind, folder, pattern="{label}_{number}" + suffix, **settings)
    add("spectrograms", data, front_end=("mel-spectrogram",))
    add("folds", data, folds=3)
    folder = tmp_path_factory.mktemp("long")
    time = np.arange(RATE * 60) / RATE
    soundfile.write(folder / "log.wav", 0.3 * np.sin(880 * time) + 0.05 * draw.normal(size=len(time)), RATE)
    add("blocks", folder, block="3s", window="0.5")
    return found


@pytest.fixture(scope="session")
def another(data):
    """A model of the recordings of `fitted` that hears something else, so that it decides differently."""
    source = source_of(data, front_end=("envelope",))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConcernWarning)  # the labels are easy
        return fit_files(source.entries(data)[0], source, quick(epochs=1, score_function="msp", random_state=3))
