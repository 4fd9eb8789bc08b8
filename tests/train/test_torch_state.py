"""Threads and forked processes: the same seed gives the same bits, and nothing hangs."""

import os
import subprocess
import sys
import threading
import warnings

import pytest
import torch
from numpy.testing import assert_array_equal

from oddkind import Detector
from oddkind.train import loop
from oddkind.train.torch_state import seeded

FORKED = """
import os, signal, warnings
import numpy as np, torch
from oddkind import Detector
warnings.simplefilter("ignore")
torch.set_num_threads(2)
X = np.random.default_rng(0).normal(size=(300, 1, 16, 16))
detector = Detector(random_state=0, epochs=1).fit(X)
scores = detector.anomaly_score(X)
if os.fork() == 0:
    signal.alarm(60)
    Detector(random_state=0, epochs=1).fit(X)
    os._exit(0 if (detector.anomaly_score(X) == scores).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_fits_and_scores_the_same(tmp_path):
    command = [sys.executable, "-c", FORKED]
    subprocess.run(command, check=True, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "2"})  # noqa: S603 - our own


def test_fits_in_several_threads_are_those_in_one(draw):
    given = [draw.normal(size=(80, 4)), draw.normal(size=(80, 1, 12, 12))] * 2

    def scores(number):
        return Detector(random_state=number, epochs=1).fit(given[number]).anomaly_score(given[number])

    expected, found = [scores(number) for number in range(4)], {}

    def run(number):
        found[number] = scores(number)

    for _ in range(3):
        threads = [threading.Thread(target=run, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number in range(4):
            assert_array_equal(found[number], expected[number])


def test_the_generator_is_restored():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded(1):
        first = torch.rand(3)
        with seeded(2):
            torch.rand(1)
    assert_array_equal(torch.get_rng_state(), before)
    with seeded(1):
        assert_array_equal(torch.rand(3), first)


@pytest.mark.parametrize("points", [1, 2, 3])
def test_small_batches_of_every_network_of_ours_are_computed_by_one_thread(draw, monkeypatch, points):
    before, seen = torch.get_num_threads(), set()
    step = loop.Adam.step
    monkeypatch.setattr(loop.Adam, "step", lambda *given: (seen.add(torch.get_num_threads()), step(*given)))
    torch.set_num_threads(2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one point read backwards is the same
            Detector(random_state=0, epochs=1).fit(draw.normal(size=(60, 1, points)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1}
