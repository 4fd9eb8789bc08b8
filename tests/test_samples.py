import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from oddkind import InputError, Samples
from oddkind.samples import holdout

FIELDS = ("inputs", "labels", "anomalous", "groups")


def state(seed=0):
    return np.random.RandomState(seed)


@pytest.fixture
def samples():
    rows = np.arange(6)
    return Samples(rows[:, None] * np.ones(3), rows % 2, rows > 3, rows // 2, name="six")


@pytest.mark.parametrize("field", FIELDS[1:])
@pytest.mark.parametrize("values", [np.zeros(5), np.zeros(7), np.zeros((6, 1)), np.array(1)])
def test_samples_refuse_a_field_of_another_length(field, values):
    with pytest.raises(InputError, match=rf"six: {field} has shape .*6 inputs need one value each"):
        Samples(np.zeros((6, 3)), **{field: values}, name="six")


@pytest.mark.parametrize("rows", [slice(1, 4), [5, 0, 0], np.array([4, 2]), np.arange(6) % 2 == 0])
def test_selecting_rows_takes_the_same_rows_of_every_field(samples, rows):
    part = samples[rows]
    wanted = np.arange(6)[rows]
    assert len(part) == len(wanted)
    assert part.name == "six"
    for field in FIELDS:
        assert_array_equal(getattr(part, field), getattr(samples, field)[wanted])


def test_selecting_rows_keeps_unknown_fields_unknown():
    part = Samples(np.zeros((6, 3)))[:2]
    assert (part.labels, part.anomalous, part.groups) == (None, None, None)


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
