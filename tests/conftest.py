import sys
import warnings

import hypothesis
import numpy as np
import pytest
import torch
from problems import LABELS, quick, record
from threadpoolctl import threadpool_limits

import oddkind.train.stacks
from oddkind import load_mnist, source_of
from oddkind.cli import main as cli
from oddkind.file_fitting import fit_files

# The same examples on every run: a failure is the code's, never the day's.
hypothesis.settings.register_profile("oddkind", deadline=None, max_examples=60, derandomize=True, database=None)
hypothesis.settings.load_profile("oddkind")
# For work as small as this, more threads only cost.
torch.set_num_threads(1)
threadpool_limits(1)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def mnist():
    return load_mnist()


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command as from a shell, but in this process: exit code, what it printed, what it complained of."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["oddkind", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def shown():
    """Warnings are shown, as they are to a user; in other tests they are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Two machines: 24 normal recordings each to learn from, 6 normal and 6 odd ones to test."""
    folder = tmp_path_factory.mktemp("sounds")
    for machine, label in enumerate(LABELS):
        tone, first = 300 * (machine + 1), 1000 * machine  # no two recordings share their noise
        for number in range(24):
            record(folder, f"{label}/train/normal/{number}.wav", tone, first + number)
        for number in range(6):
            record(folder, f"{label}/test/normal/{number}.wav", tone, first + 100 + number)
            record(folder, f"{label}/test/abnormal/{number}.wav", tone, first + 200 + number, odd=True)
    return folder


@pytest.fixture(scope="session")
def fitted(data):
    source = source_of(data)
    return fit_files(source.entries(data)[0], source, quick(epochs=20))


@pytest.fixture
def trained(monkeypatch):
    """How many models each call of `train` was given."""
    sizes = []

    def spy(jobs, **how):
        sizes.append(len(jobs))
        return train(jobs, **how)

    train = oddkind.train.stacks.train
    monkeypatch.setattr(oddkind.train.stacks, "train", spy)
    return sizes
