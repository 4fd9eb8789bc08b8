"""Small saved models."""

import numpy as np
import pytest
from problems import quick
from saved_files import KINDS, VECTORS


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model, its file and the bytes of the file."""
    detector = quick(task="labels", score_function="msp").fit(VECTORS, np.array(["c", "a", "bb"])[KINDS])
    file = tmp_path_factory.mktemp("saved") / "pump.oddkind"
    detector.save(file)
    return detector.model_, file, file.read_bytes()
