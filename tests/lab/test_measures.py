import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddkind.lab.measures import (
    centre_rule,
    densest,
    embed,
    found_at,
    ink_centre,
    nearest_flags,
    ordered_labels,
    rotation_confusion,
    rotations_mistaken,
    separation,
)
from oddkind.model.outputs import Outputs
from oddkind.samples import Samples

pytestmark = pytest.mark.slow


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.floats(0, 0.99),
)
def test_a_threshold_keeps_its_rate_and_none_lower_does(normal, odd, rate):
    scores = np.array(normal + odd)
    anomalous = np.arange(len(scores)) >= len(normal)
    cut, n_false, n_found = found_at(anomalous, scores, rate)
    assert n_false == sum(score > cut for score in normal) <= rate * len(normal) + 1e-6
    assert n_found == sum(score > cut for score in odd)
    if cut > 2e-6:
        assert sum(score > cut - 2e-6 for score in normal) > rate * len(normal) - 1e-6


def test_threshold_by_hand():
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.25, 0.35, 0.9])
    anomalous = np.array([False] * 4 + [True] * 3)
    assert found_at(anomalous, scores, 0.25) == (0.3, 1, 2)
    assert found_at(anomalous, scores, 0.0) == (0.4, 0, 1)


def test_the_nearest_other_sample_decides():
    features = np.array([[0.0], [1], [1.5], [9]])
    assert nearest_flags(features, np.array([False, True, False, True])).tolist() == [True, False, True, False]


def test_embedding_is_the_same_for_one_seed_and_parts_what_is_apart(draw):
    features = draw.normal(size=(60, 5)) + 40 * (np.arange(60) % 2)[:, None]
    points = embed(features, 3)
    assert points.shape == (60, 2)
    assert np.array_equal(points, embed(features, 3))
    assert not np.array_equal(points, embed(features, 4))
    assert separation(points, np.arange(60) % 2) > 1.5


def test_a_dead_network_still_has_a_map():
    assert np.isfinite(embed(np.zeros((12, 5)), 0)).all()


def test_the_densest_point_is_in_the_largest_crowd(draw):
    points = np.concatenate([draw.normal(size=(20, 2)) + 50, 0.1 * draw.normal(size=(20, 2)), [[9, 9]]])
    assert 20 <= densest(points) < 40
    assert densest(np.zeros((1, 2))) == 0


def test_separation_by_hand():
    features = np.array([[0.0, 0], [2, 0], [10, 0], [12, 0]])
    assert separation(features, np.array([0, 0, 1, 1])) == pytest.approx(10 / 1)
    assert separation(features * 7, np.array([0, 0, 1, 1])) == pytest.approx(10 / 1)


def test_rotation_confusion_by_hand():
    logits = np.zeros((2, 4, 4))
    logits[:, [0, 1, 2, 3], [0, 1, 2, 3]] = 1
    logits[1, 2, 0] = 5  # the second sample upside down is taken for upright
    outputs = Outputs(logits, np.zeros((2, 4, 1)))
    assert rotation_confusion(outputs).tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0.5, 0, 0.5, 0], [0, 0, 0, 1]]
    assert rotations_mistaken(outputs) == pytest.approx(1 / 8)


def test_normal_labels_come_first():
    samples = Samples(np.zeros((4, 1, 2, 2)), np.array([7, 3, 9, 1]), np.array([True, False, True, False]))
    assert ordered_labels(samples) == [(1, False), (3, False), (7, True), (9, True)]


def test_centre_rule_sees_where_the_ink_lies():
    inputs = np.zeros((3, 1, 4, 4), np.uint8)
    inputs[0, 0, 2, 2] = inputs[1, 0, 1, 2] = inputs[2, 0, 1:3, 1:3] = 9
    assert centre_rule(inputs).tolist() == [True, False, False]
    assert ink_centre(inputs).tolist() == [[0.5, 0.5], [-0.5, 0.5], [0, 0]]
    assert ink_centre(np.zeros((1, 1, 4, 4))).tolist() == [[0, 0]]
