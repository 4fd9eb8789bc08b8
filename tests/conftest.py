import hypothesis
import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from oddkind import load_mnist

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
