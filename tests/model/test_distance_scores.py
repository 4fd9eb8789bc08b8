"""What distances of vectors tell about how far normal samples are apart; the distances themselves: test_scores.py."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from oddkind.model.distance_scores import apart


@pytest.mark.parametrize("most", [1000, 7])
def test_how_far_two_samples_of_a_label_are_apart_is_the_root_of_the_mean_square(draw, monkeypatch, most):
    monkeypatch.setattr("oddkind.model.distance_scores.MAX_USUAL", most)
    rows = [draw.normal(size=(n, 3)) * scale + 9 * scale for n, scale in ((40, 1), (30, 5))]
    arrays = {"reference": np.concatenate(rows).astype(np.float32), "starts": np.array([0, 40, 70])}
    some = [own[:: -(-70 // most)] for own in rows]
    # Each sample is paired with itself, too, at distance 0.
    squares = [2 * np.square(pdist(own)).sum() / len(own) ** 2 for own in some]
    expected = np.sqrt(np.average(squares, weights=[len(own) for own in some]))
    assert apart(arrays) == pytest.approx(expected, rel=1e-6)


def test_equal_samples_are_not_apart():
    assert apart({"reference": np.ones((5, 2), np.float32), "starts": np.array([0, 5])}) == 0
