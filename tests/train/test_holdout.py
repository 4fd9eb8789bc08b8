"""Which samples are held out, and how many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from sklearn.model_selection import GroupShuffleSplit

from oddkind import InputError
from oddkind.model.conformal import conformal_threshold, min_calibration_size
from oddkind.train.holdout import calibration_fraction, copy_groups, holdout


def state(seed=0):
    return np.random.RandomState(seed)


some_labels = st.lists(st.integers(1, 40), min_size=1, max_size=8).map(lambda n: np.repeat(np.arange(len(n)), n))
fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32 - 1)


def can_split(labels):
    return len(labels) > len(np.unique(labels))


@given(some_labels.filter(can_split), fractions, seeds)
def test_holdout_puts_every_row_on_one_side(labels, fraction, seed):
    learn, held_out = holdout(len(labels), fraction, state(seed), labels=labels)
    assert_array_equal(np.sort(np.concatenate([learn, held_out])), np.arange(len(labels)))
    for part in (learn, held_out):
        assert len(part)
        assert (np.diff(part) > 0).all()


@given(some_labels.filter(can_split), fractions, seeds)
def test_holdout_leaves_every_label_to_learn_from(labels, fraction, seed):
    learn, _ = holdout(len(labels), fraction, state(seed), labels=labels)
    assert set(labels[learn]) == set(labels)


@given(some_labels.filter(can_split), fractions, seeds)
def test_holdout_keeps_every_labels_share_to_within_one_sample(labels, fraction, seed):
    _, held_out = holdout(len(labels), fraction, state(seed), labels=labels)
    if round(fraction * len(labels)) == 0:
        assert len(held_out) == 1
        return
    share = np.bincount(labels[held_out], minlength=labels.max() + 1)
    assert np.abs(share - fraction * np.bincount(labels)).max() <= 1 + 1e-9


@given(st.lists(st.integers(2, 40), min_size=1, max_size=8), st.floats(0.01, 0.5), seeds)
def test_holdout_holds_out_exactly_the_fraction_where_the_labels_allow_it(counts, fraction, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    _, held_out = holdout(len(labels), fraction, state(seed), labels=labels)
    assert len(held_out) == max(1, round(fraction * len(labels)))


@given(st.integers(2, 200), fractions, seeds)
def test_holdout_without_labels_is_exact(n, fraction, seed):
    learn, held_out = holdout(n, fraction, state(seed))
    assert len(held_out) == min(n - 1, max(1, round(fraction * n)))
    assert len(learn) == n - len(held_out)


@given(st.lists(st.integers(0, 9), min_size=2, max_size=60).filter(lambda g: len(set(g)) > 1), fractions, seeds)
def test_holdout_never_tears_a_group(groups, fraction, seed):
    groups = np.array(groups)
    n_groups = len(np.unique(groups))
    learn, held_out = holdout(len(groups), fraction, state(seed), groups=groups)
    assert not set(groups[learn]) & set(groups[held_out])
    assert len(set(groups[held_out])) == min(n_groups - 1, max(1, round(fraction * n_groups)))
    assert_array_equal(np.sort(np.concatenate([learn, held_out])), np.arange(len(groups)))
    assert (np.diff(learn) > 0).all()
    assert (np.diff(held_out) > 0).all()


@pytest.mark.parametrize("known", [{}, {"labels": np.arange(100) % 3}, {"groups": np.arange(100) // 5}])
def test_holdout_is_decided_by_the_seed(known):
    (first, again, other) = (holdout(100, 0.3, state(seed), **known)[1] for seed in (1, 1, 2))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_holdout_draws_at_random_within_a_label():
    counts = sum(np.bincount(holdout(10, 0.5, state(seed))[1], minlength=10) for seed in range(400))
    assert np.abs(counts - 200).max() < 60  # 6 standard deviations


def test_holdout_of_nothing_learns_from_everything():
    learn, held_out = holdout(5, 0, state())
    assert_array_equal(learn, np.arange(5))
    assert held_out.tolist() == []


def test_holdout_refuses_one_group():
    with pytest.raises(InputError, match=r"of one group.*at least 2"):
        holdout(5, 0.2, state(), groups=np.zeros(5))


@pytest.mark.parametrize("labels", [np.arange(5), np.zeros(1)])
def test_holdout_refuses_labels_of_one_sample_each(labels):
    with pytest.raises(InputError, match="leave none to hold out; give each label 2 or more"):
        holdout(len(labels), 0.2, state(), labels=labels)


def test_holdout_refuses_groups_of_two_labels_only_if_each_label_must_keep_its_groups():
    labels, groups = np.array([0, 1, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2, 2])
    assert len(holdout(6, 0.4, state(), labels=labels, groups=groups)[1]) == 2
    with pytest.raises(InputError, match="group 0 has samples of two labels"):
        holdout(6, 0.4, state(), labels=labels, groups=groups, each_label=True)


@given(st.lists(st.integers(2, 12), min_size=1, max_size=4), st.floats(0.05, 0.9), seeds)
def test_holdout_with_each_label_keeps_every_labels_share_of_the_groups(n_groups, fraction, seed):
    labels = np.repeat(np.repeat(np.arange(len(n_groups)), n_groups), 3)
    groups = np.arange(len(labels)) // 3
    learn, held_out = holdout(len(labels), fraction, state(seed), labels=labels, groups=groups, each_label=True)
    assert not set(groups[learn]) & set(groups[held_out])
    assert set(labels[learn]) == set(labels)
    for label, n in enumerate(n_groups):
        held = len(set(groups[held_out][labels[held_out] == label]))
        assert abs(held - fraction * n) <= 1 + 1e-9


some_groups = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=2, max_size=60)


@given(some_groups, fractions, seeds)
def test_holding_out_groups_leaves_every_label_to_learn_from_if_that_is_possible(pairs, fraction, seed):
    groups, labels = np.array(pairs).T
    # It is possible if some group can be held out alone: each of its labels is in another group too.
    possible = any(set(labels) == set(labels[groups != group]) for group in groups)
    if not possible:
        reason = "of one group" if len(set(groups)) == 1 else "is the only one of some label"
        with pytest.raises(InputError, match=reason):
            holdout(len(groups), fraction, state(seed), labels=labels, groups=groups)
        return
    learn, held_out = holdout(len(groups), fraction, state(seed), labels=labels, groups=groups)
    assert_array_equal(np.sort(np.concatenate([learn, held_out])), np.arange(len(groups)))
    assert set(labels[learn]) == set(labels)
    assert not set(groups[learn]) & set(groups[held_out])
    assert 1 <= len(set(groups[held_out])) <= max(1, round(fraction * len(set(groups))))


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda n: max(n) > 1), fractions, seeds)
def test_as_many_groups_of_one_label_each_are_held_out_as_the_labels_allow(n_groups, fraction, seed):
    labels = np.repeat(np.repeat(np.arange(len(n_groups)), n_groups), 2)
    groups = np.arange(len(labels)) // 2
    _, held_out = holdout(len(labels), fraction, state(seed), labels=labels, groups=groups)
    most = sum(n_groups) - len(n_groups)
    assert len(set(groups[held_out])) == min(most, max(1, round(fraction * sum(n_groups))))


@given(st.integers(2, 9), fractions, seeds)
def test_groups_are_drawn_as_scikit_learn_draws_them_if_every_label_is_in_every_group(n_groups, fraction, seed):
    groups, labels = np.divmod(np.arange(3 * n_groups), 3)
    wanted = min(n_groups - 1, max(1, round(fraction * n_groups)))
    splitter = GroupShuffleSplit(1, test_size=wanted, random_state=state(seed))
    _, expected = next(splitter.split(groups, groups=groups))
    assert_array_equal(holdout(len(groups), fraction, state(seed), labels=labels, groups=groups)[1], np.sort(expected))


def test_one_group_of_a_label_is_never_held_out_whatever_the_seed():
    groups = np.arange(12)
    labels = np.where(groups == 5, "load3", "load1")
    for seed in range(50):
        assert 5 not in holdout(12, 0.5, state(seed), labels=labels, groups=groups)[1]


# --- How many ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "rate", "held_out"),
    [
        (2, 0.05, 1),  # a half
        (3, 0.05, 1),  # a half, rounded down
        (37, 0.05, 18),
        (38, 0.05, 19),  # the least that promises 0.05: the largest of 19 decides
        (100, 0.05, 19),
        (194, 0.05, 19),
        (195, 0.05, 39),  # a fifth is enough for the second largest of 39
        (200, 0.05, 39),
        (294, 0.05, 39),
        (295, 0.05, 59),  # the third largest of 59
        (500, 0.05, 59),
        (700, 0.05, 59),  # a tenth would be 70, which is rounded down: the threshold is the third largest either way
        (1000, 0.05, 99),
        (10_000, 0.05, 999),  # a tenth
        (300, 0.2, 29),
        (300, 0.01, 99),
        (198, 0.01, 99),
        (197, 0.01, 98),  # cannot be promised
        (1000, 0.01, 199),
        (1495, 0.01, 299),
        (50, 0.5, 5),
    ],
)
def test_how_many_are_held_out(n, rate, held_out):
    assert len(holdout(n, calibration_fraction(n, rate), state())[1]) == held_out


@given(st.integers(2, 5000), st.floats(0.001, 0.9))
def test_enough_are_held_out_to_promise_the_rate_if_a_half_is_enough(n, rate):
    fraction = calibration_fraction(n, rate)
    held_out = round(fraction * n)
    assert 0 < fraction < 1
    assert 1 <= held_out <= n // 2 or held_out == min_calibration_size(rate)
    assert (held_out >= min_calibration_size(rate)) == (n // 2 >= min_calibration_size(rate))
    assert held_out >= min(n // 2, min_calibration_size(rate))


@given(st.integers(2, 5000), st.sampled_from([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
def test_one_sample_less_would_give_a_threshold_with_fewer_scores_above_it(n, rate):
    held_out = round(calibration_fraction(n, rate) * n)
    if held_out < min_calibration_size(rate):
        return

    def at_or_above(size):
        scores = np.arange(size)
        return (scores >= conformal_threshold(scores, rate)).sum()

    if held_out > min_calibration_size(rate):
        assert at_or_above(held_out - 1) == at_or_above(held_out) - 1


@given(st.floats(0.001, 0.5), st.integers(2, 2000))
def test_more_samples_never_hold_out_fewer(rate, n):
    assert round(calibration_fraction(n + 1, rate) * (n + 1)) >= round(calibration_fraction(n, rate) * n)


def test_exact_copies_are_one_group_and_numbered_as_they_appear(draw):
    inputs = draw.normal(size=(6, 3)).astype(np.float32)[[4, 2, 4, 0, 2, 1]]
    assert copy_groups(inputs, 1).tolist() == [0, 1, 0, 2, 1, 3]
    labels = np.array(["a", "a", "b", "a", "a", "a"])  # a copy with another label
    assert len(np.unique(copy_groups(inputs, 1, labels))) == 5
    assert copy_groups(draw.normal(size=(6, 3)), 1) is None
    assert copy_groups(np.ones((6, 3)), 1) is None


def test_whole_numbers_may_be_equal_by_chance_if_few_differ(draw):
    inputs = draw.integers(3, size=(200, 2))
    assert copy_groups(inputs, 10) is None
    assert len(np.unique(copy_groups(inputs, 9))) == 9
    for other in (inputs + 0.5, inputs[:, :, None]):
        assert len(np.unique(copy_groups(other, 10))) == 9
