"""How rare scores are among normal ones, and several scores combined by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from oddkind.model.combining import (
    PARTS,
    FarOrLocal,
    StandardisedLogs,
    Surprises,
    combined,
    combined_among_others,
    contrast_of,
    surprise,
    usual_log,
)
from oddkind.model.conformal import alarms, conformal_threshold, p_values

SUM = Surprises(("features", "softmax"))


def test_surprise_is_minus_log_of_the_part_at_or_above():
    normal = np.arange(1.0, 20.0)  # 19: the lowest is reached by all
    assert_allclose(surprise([0.0, 1.0, 2.0, 10.0], normal), -np.log([1, 1, 19 / 20, 11 / 20]))
    assert_allclose(surprise([1.5], normal), -np.log(19 / 20) / 2)  # a straight line between


def test_surprise_of_an_exponential_tail_continues_as_it_does(draw):
    normal = draw.exponential(2.0, size=100_000)
    assert_allclose(surprise(np.array([1.0, 5.0, 10.0, 40.0]), normal), np.array([0.5, 2.5, 5.0, 20.0]), rtol=0.03)


@given(st.integers(0, 99), st.integers(1, 60), st.booleans())
def test_surprise_never_falls_and_is_never_negative(seed, n, ties):
    draw = np.random.default_rng(seed)
    normal = draw.integers(4, size=n) if ties else draw.normal(size=n)
    found = surprise(np.sort(np.append(draw.normal(size=50) * 5, normal)), normal)
    assert (found >= 0).all()
    assert (np.diff(found) >= 0).all()


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-9, 9))
def test_surprise_does_not_depend_on_the_unit_of_the_scores(seed, scale, shift):
    draw = np.random.default_rng(seed)
    normal, scores = draw.normal(size=60), draw.normal(size=30) * 3
    assert_allclose(surprise(scale * scores + shift, scale * normal + shift), surprise(scores, normal), rtol=1e-6)


def test_surprise_of_scores_that_never_vary():
    assert_allclose(surprise([1.0, 2.0, 3.0], np.full(9, 2.0)), [0, 0, np.log(10)])


def test_nothing_is_surprising_without_normal_scores():
    assert surprise(np.array([1.0, 9.0]), np.empty(0)).tolist() == [0, 0]


def test_combined_sums_the_weighted_surprises_and_leaves_a_single_score_as_it_is(draw):
    normal, scores, weights = draw.normal(size=(50, 3)), draw.normal(size=(20, 3)), np.array([1, 0.5, 0])
    expected = surprise(scores[:, 0], normal[:, 0]) + surprise(scores[:, 1], normal[:, 1]) / 2
    assert_allclose(combined(scores, normal, weights, SUM), expected)
    assert_array_equal(combined(scores[:, :1], normal[:, :1], weights[:1], SUM), scores[:, 0])


def test_normal_samples_are_combined_among_the_others(draw):
    normal, weights = draw.normal(size=(50, 3)), np.array([1, 0.5, 0])
    among = combined_among_others(normal, weights, SUM)
    assert_allclose(among[7], combined(normal[7:8], np.delete(normal, 7, 0), weights, SUM)[0])
    assert_array_equal(combined_among_others(normal[:, :1], weights[:1], SUM), normal[:, 0])
    many = draw.normal(size=(2 * PARTS + 1, 3))  # the first of 200 parts has three
    assert_allclose(combined_among_others(many, weights, SUM)[:3], combined(many[:3], many[3:], weights, SUM))
    assert combined_among_others(many[:0], weights, SUM).tolist() == []


@pytest.mark.parametrize("n_groups", [2, 12, 2 * PARTS + 1])
def test_samples_of_one_group_are_never_compared_with_each_other(draw, n_groups):
    normal, weights = draw.normal(size=(3 * n_groups, 2)), np.array([1, 0.5])
    groups = draw.permutation(np.repeat(np.arange(n_groups), 3)) * 7  # numbers need not be consecutive
    among = combined_among_others(normal, weights, SUM, groups)
    part = np.isin(groups, [0, 7, 14] if n_groups > PARTS else [0])
    assert_allclose(among[part], combined(normal[part], normal[~part], weights, SUM))
    # Whatever the other samples of the group are, the score of a sample is the same.
    changed = np.where((groups == 0)[:, None], draw.normal(size=normal.shape), normal)
    first = np.flatnonzero(groups == 0)[0]
    changed[first] = normal[first]
    assert combined_among_others(changed, weights, SUM, groups)[first] == among[first]


@pytest.mark.parametrize("groups", [None, np.array([4, 4, 4])])
def test_a_single_group_makes_no_other_sample_look_rare(groups, draw):
    normal, weights = draw.normal(size=(1 if groups is None else 3, 2)), np.array([1, 1])
    among = combined_among_others(normal, weights, SUM, groups)
    assert_array_equal(among, np.full(len(normal), np.finfo(float).max))
    new = combined(np.full((1, 2), 1e9), normal, weights, SUM)
    assert p_values(new, among).tolist() == [1]


@pytest.mark.parametrize("n", [40, 200])
def test_false_alarms_of_combined_scores_stay_within_the_promise(draw, n):
    found, weights = [], np.array([1, 0.5])
    for _ in range(100):
        normal, new = (draw.normal(size=(size, 2)) @ [[1, 0.8], [0, 0.6]] for size in (n, 200))
        scores, usual = combined(new, normal, weights, SUM), combined_among_others(normal, weights, SUM)
        threshold = conformal_threshold(usual, 0.1)
        assert_array_equal(alarms(p_values(scores, usual), 0.1), scores > threshold)
        found.append((scores > threshold).mean())
    assert np.mean(found) <= 0.1 + 3 * np.std(found) / np.sqrt(len(found))


# --- far or local ---


def test_usual_logs_have_mean_0_and_deviation_1(draw):
    usual = draw.uniform(1, 5, size=50)
    least, middle, deviation = usual_log(usual)
    own = (np.log(usual + least) - middle) / deviation
    assert_allclose([own.mean(), own.std()], [0, 1], atol=1e-12)
    # The unit does not matter, and equal distances, zeros and none at all have an answer.
    assert_allclose((np.log(7 * usual + usual_log(7 * usual)[0]) - usual_log(7 * usual)[1]) / deviation, own)
    assert usual_log(np.ones(3))[2] == 1
    assert np.isfinite([usual_log(np.zeros(3)), usual_log(np.empty(0))]).all()


def test_standardised_logarithms_are_added_with_their_weights(draw):
    scores, normal = draw.gamma(2, size=(6, 2)), draw.gamma(2, size=(500, 2))
    fuse = StandardisedLogs(("features", "softmax"))  # which is a logarithm already
    weights = fuse.weights(2.0, 4)
    assert_allclose(weights, [1, 2 / 3])
    assert_allclose([*fuse.weights(1.0, 4), *fuse.weights(4.0, 4), *fuse.weights(1.0, 1)], [1, 1, 1, 0, 1, 0])
    expected = 0
    for own, logs, weight in zip(
        (np.log(scores[:, 0]), scores[:, 1]), (np.log(normal[:, 0]), normal[:, 1]), weights, strict=True
    ):
        expected += weight * (own - logs.mean()) / logs.std()
    assert_allclose(combined(scores, normal, weights, fuse), expected, atol=0.01)  # a thousandth of the median is added
    # The units of the scores do not matter.
    assert_allclose(fuse([7, 0.1] * scores, [7, 0.1] * normal, weights), fuse(scores, normal, weights))
    assert np.isfinite(fuse(np.array([[0, np.nan]]), normal, weights)).all()
    assert np.isfinite(fuse(scores, np.ones((9, 2)), weights)).all()
    assert np.isfinite(fuse(scores, np.empty((0, 2)), weights)).all()
    among = combined_among_others(normal[:50], weights, fuse)
    assert_allclose(among[7], fuse(normal[7:8], np.delete(normal[:50], 7, 0), weights)[0])


FUSE = FarOrLocal(far=(0, 1), local={0: 1, 2: 1, 3: 1}, instead={0: 4, 1: 1}, spread=0, few=20, many=40)
ALL, FAR_APART = np.ones(4, bool), [9.0] * 4


def usual_of(n_dimensions, n=400):
    """Usual scores whose logarithms vary as the lengths of Gaussian vectors of so many dimensions do, [4, n]."""
    return np.exp(np.tile([1, -1], (4, n // 2)) / np.sqrt(2 * n_dimensions))


def weights_of(usual, *, reliable=ALL, learnt=ALL, apart=FAR_APART, fresh=None):
    """Weights and what is usual, [7, 4]; `fresh` are the scores of samples that were not learnt from."""
    fresh = usual if fresh is None else fresh
    contrast = [contrast_of(*pair) for pair in zip(usual, apart, strict=True)]
    return FUSE.weights(reliable, learnt, usual, contrast, lambda column: fresh[column]).reshape(7, 4)


@pytest.mark.parametrize(("n_dimensions", "share"), [(1, 0), (19, 0), (30, 0.5), (42, 1), (200, 1)])
def test_in_few_dimensions_the_largest_distance_counts_and_in_many_the_local_ones(draw, n_dimensions, share):
    usual, scores = usual_of(n_dimensions), draw.uniform(1, 9, size=(6, 4))
    weights = weights_of(usual).ravel()
    expected = [1 - share, 1 - share, 0, 0, share / 3, 0, share / 3, share / 3]
    assert weights[:8].tolist() == pytest.approx(expected, abs=0.01)
    assert FUSE.counts(weights).tolist() == [True, share < 1, share > 0, share > 0]
    share = weights[:4].max() * -1 + 1
    least, middle, deviation = np.transpose([*map(usual_log, usual)])
    values = (np.log(scores + least) - middle) / deviation
    expected = (1 - share) * values[:, :2].max(1) + share * values[:, [0, 2, 3]].mean(1)
    assert_allclose(FUSE(scores, np.empty((0, 4)), weights), expected)
    assert combined_among_others(scores, weights, FUSE, np.zeros(6)).tolist() == FUSE(scores, scores, weights).tolist()


def test_what_was_not_learnt_or_has_too_few_samples_is_left_out():
    def weights(reliable, learnt, n_dimensions):
        return weights_of(usual_of(n_dimensions), reliable=reliable, learnt=learnt)[:2].ravel().tolist()

    some = np.array([True, False, True, False])
    assert weights(some, ALL, 1) == [1, 0, 0, 0, 0, 0, 0, 0]
    assert weights(ALL, some, 99) == [0, 0, 0, 0, 0.5, 0, 0.5, 0]
    few = np.array([True, False, False, False])
    assert weights(few, ALL, 99) == [0, 0, 0, 0, 0.8, 0.2, 0, 0]
    assert weights(few, some, 99) == [0, 0, 0, 0, 1, 0, 0, 0]


@pytest.mark.parametrize("unit", [1, 7.0])
def test_a_distance_with_less_contrast_than_the_first_one_is_discounted(unit):
    usual, apart = usual_of(9), np.array([9.0, 9 / np.e**0.8, 9, 9])
    plain, found = weights_of(usual), weights_of(unit * usual, apart=unit * apart)
    _, middle, deviation = np.transpose([usual_log(own) for own in unit * usual])
    middle[1] += 0.4 * deviation[1]
    assert_allclose(found[3], middle, rtol=1e-3)  # a thousandth of the median is added
    assert_allclose(found[[0, 1, 4]], plain[[0, 1, 4]])
    # One with more contrast gains nothing, and if all samples are equal there is none.
    assert_allclose(weights_of(usual, apart=[9.0, 99, 9, 9]), plain)
    assert np.isfinite(weights_of(np.zeros((4, 9)), apart=[0.0] * 4)).all()


def test_what_is_usual_for_the_mean_is_told_by_samples_that_were_not_learnt_from(draw):
    usual, fresh = usual_of(30), draw.gamma(9, size=(4, 300)) * [[1], [1], [5], [9]]
    found = weights_of(usual, fresh=fresh)
    largest, mean, least, middle, deviation, fresh_middle, fresh_deviation = found
    assert_array_equal(found[:5], weights_of(usual)[:5])
    counted = np.flatnonzero(mean)
    assert counted.tolist() == [0, 2, 3]
    logs = np.log(fresh + least[:, None])[counted]
    assert_allclose([fresh_middle[counted], fresh_deviation[counted]], [logs.mean(1), logs.std(1)])
    values = (np.log(fresh.T + least) - middle) / deviation
    fresh_values = (np.log(fresh.T + least) - fresh_middle) / fresh_deviation
    expected = largest[0] * values[:, :2].max(1) + mean[0] * fresh_values[:, counted].sum(1)
    assert_allclose(FUSE(fresh.T, np.empty((0, 4)), found.ravel()), expected)


@pytest.mark.parametrize("fresh", [np.empty((4, 0)), np.ones((4, 1)), np.ones((4, 5))], ids=["none", "one", "equal"])
def test_too_few_samples_that_were_not_learnt_from_tell_nothing(fresh):
    usual = usual_of(99)
    assert_array_equal(weights_of(usual, fresh=fresh)[5:], weights_of(usual)[3:5])


def test_only_what_is_averaged_is_learnt_again():
    asked = []
    FUSE.weights(ALL, ALL, usual_of(99), FAR_APART, lambda column: asked.append(column) or np.ones(3))
    FUSE.weights(ALL, ALL, usual_of(2), FAR_APART, None)  # the largest counts alone
    assert asked == [0, 2, 3]


def test_distances_that_overflow_give_a_high_score_and_no_nan():
    weights = weights_of(usual_of(30))
    assert np.isfinite(FUSE(np.array([[np.inf, 1, np.nan, 1]]), np.empty((0, 4)), weights)).all()


def test_contrast_is_how_much_farther_two_samples_are_apart_than_a_sample_and_its_nearest():
    usual = np.exp(np.tile([-0.5, 0.5], 50))
    assert contrast_of(usual, np.e**2) == pytest.approx(2, abs=0.01)  # a thousandth of the median is added
    assert contrast_of(7 * usual, 7 * np.e**2) == pytest.approx(contrast_of(usual, np.e**2))
    assert np.isfinite(contrast_of(np.zeros(3), 0.0))


MEAN = FarOrLocal(far=(), local={0: 1, 1: 1, 2: 1, 3: 1}, instead={0: 1, 1: 1, 3: 1}, rows_needed={2: 0.2})


@pytest.mark.parametrize("n_dimensions", [1, 200])
def test_without_far_distances_the_mean_counts_whatever_the_dimensions(draw, n_dimensions):
    usual, scores, some = usual_of(n_dimensions), draw.uniform(1, 9, size=(6, 4)), np.array([True, True, False, True])

    def weights(reliable, learnt=ALL):
        return MEAN.weights(reliable, learnt, usual, FAR_APART, lambda column: usual[column])

    assert weights(ALL)[:8].tolist() == [0] * 4 + [0.25] * 4
    assert weights(some)[:8].tolist() == pytest.approx([0] * 4 + [1 / 3, 1 / 3, 0, 1 / 3])
    assert weights(ALL, np.array([True, True, True, False]))[:8].tolist() == pytest.approx([0] * 4 + [1 / 3] * 3 + [0])
    least, middle, deviation = np.transpose([*map(usual_log, usual)])
    values = (np.log(scores + least) - middle) / deviation
    assert_allclose(MEAN(scores, np.empty((0, 4)), weights(ALL)), values.mean(1))
    names = "a", "b", "c", "d"
    said = "the mean of a, b, c, d, because the samples are alike enough to be compared value by value"
    assert MEAN.describe(names, weights(ALL)) == said
    said = "the mean of a, b, d, because the samples are too few, or too different, to be compared value by value"
    assert MEAN.describe(names, weights(some)) == said


def test_what_counts_is_said_with_the_reason():
    def said(reliable, n_dimensions):
        return FUSE.describe(("a", "b", "c", "d"), weights_of(usual_of(n_dimensions), reliable=reliable))

    assert said(ALL, 30) == "the largest of a, b and the mean of a, c, d, because the samples fill about 30 dimensions"
    assert said(ALL, 2) == "the largest of a, b, because the samples fill about 2 dimensions"
    assert said(~ALL, 99) == "the weighted mean of a, b, because the samples fill about 99 dimensions"
    assert SUM.describe(("a", "b"), np.array([1, 0.25])).startswith("1 × a + 0.25 × b; the softmax counts the more")
