import sys

import hypothesis
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from oddkind import cli, load_mnist

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
