"""The deletion test tells evidence that lies where it should from evidence that does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import kinds, pictures, quick
from scipy.stats import wilcoxon

from oddkind import InputError, deletion_test
from oddkind.study.deletion_test import Deletion

pytestmark = pytest.mark.slow

MARK = 5


def marked(n=14, seed=7):
    """Pictures of `problems.pictures`, each with an inverted square [5, 5]."""
    inputs, _ = pictures(n, seed)
    draw = np.random.default_rng(seed)
    for picture, (y, x) in zip(inputs[:, 0], draw.integers(14 - MARK, size=(n, 2)), strict=True):
        mark = picture[y : y + MARK, x : x + MARK]
        mark[:] = np.where(mark > 127, 0, 255)
    return inputs


@pytest.fixture(scope="module")
def of_vectors():
    return quick(epochs=30).fit(*kinds())


def test_the_deletion_test_tells_evidence_from_chance():
    detector, inputs = quick(epochs=15, false_alarm_rate=0.1).fit(*pictures()), marked()
    explanations = detector.explain(inputs)
    evidence = np.stack([explanation.evidence for explanation in explanations])
    test = deletion_test(detector.model, inputs, evidence, fraction=MARK**2 / 14**2)
    assert test.gain > 0.5 * np.mean([explanation.score for explanation in explanations])
    assert test.interval[0] > 0
    assert test.won > 0.9
    assert test.p_value < 1e-3
    by_chance = np.random.default_rng(0).normal(size=inputs.shape)
    assert deletion_test(detector.model, inputs, by_chance).gain < test.gain / 3
    backwards = deletion_test(detector.model, inputs, -evidence)
    assert backwards.won < 0.5
    assert backwards.p_value > 0.5


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), min_size=2, max_size=30))
def test_a_deletion_test_sums_up_its_drops(pairs):
    drops, elsewhere = np.array(pairs, float).T
    test = Deletion(drops, elsewhere)
    assert test.gain == pytest.approx(np.mean(drops - elsewhere))
    assert test.interval[0] <= test.gain <= test.interval[1]
    assert test.won == pytest.approx(np.mean(drops > elsewhere) + np.mean(drops == elsewhere) / 2)
    if (drops != elsewhere).any():
        assert test.p_value == wilcoxon(drops, elsewhere, alternative="greater", method="asymptotic").pvalue
    else:
        assert test.p_value == 1


def test_a_single_sample_has_no_interval():
    assert Deletion(np.ones(1), np.zeros(1)).interval is None


def test_a_deletion_test_replaces_the_points_with_the_most_evidence_and_repeats(of_vectors):
    model, (inputs, labels) = of_vectors.model, kinds(6, seed=5)
    evidence = np.tile([0.0, 3.0, 2.0, 1.0], (6, 1))
    test = deletion_test(model, inputs, evidence, labels, fraction=0.5)
    for number, found in enumerate(of_vectors.explain(inputs, labels)):
        replaced = np.where([False, True, True, False], found.normal, inputs[number])
        drop = found.score - of_vectors.anomaly_score(replaced[None], labels[number : number + 1])[0]
        assert test.drops[number] == pytest.approx(drop, rel=1e-4, abs=1e-6)
    again = deletion_test(model, inputs[:3], evidence[:3], labels[:3], fraction=0.5)
    assert_array_equal(again.drops, test.drops[:3])
    assert_array_equal(again.elsewhere, test.elsewhere[:3])


@pytest.mark.parametrize(
    ("evidence", "fraction", "message"),
    [
        (np.zeros((1, 4)), 0.5, r"of shape \(2, 4\)"),
        (np.full((2, 4), np.inf), 0.5, "finite"),
        (np.zeros((2, 4)), 0.0, "fraction=0 of 4 points"),
        (np.zeros((2, 4)), 1.0, "fraction=1 of 4 points"),
        (np.zeros((2, 4)), 0.99, r"fraction=0\.99 of 4 points"),
    ],
)
def test_a_deletion_test_refuses_what_it_cannot_compare(of_vectors, evidence, fraction, message):
    with pytest.raises(InputError, match=message):
        deletion_test(of_vectors.model, np.zeros((2, 4)), evidence, fraction=fraction)
