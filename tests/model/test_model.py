"""What a model says of samples, worked out by hand for scores that are known."""

import warnings
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from oddkind import CrossModel, InputError, Model, PromiseWarning, Score
from oddkind.model.conformal import Calibration, CalibrationScores, group_weights, p_values
from oddkind.model.fitted_score import FittedScore
from oddkind.model.inputs import InputSpec
from oddkind.model.model import TrainingReport, checked_labels
from oddkind.model.task import Task

LABELS = np.array(["a", "b", "c"])


class Echo:
    """A network whose features are its inputs, times a factor."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def __call__(self, inputs):
        logits = np.tile(np.arange(3.0), (len(inputs), 1, 1)) * inputs[:, None, :1]
        return logits, self.factor * inputs[:, None]


# The first number of a sample; a known label adds 10 for each label before it, so that known labels count.
FIRST = Score("f", lambda o, *_: o.features[:, 0, 0] + (0 if o.targets is None else 10 * o.targets[:, 0]))


def model_of(
    scores, *, labels=LABELS, label_index=None, groups=None, rate=0.1, per_label=False, factors=(1.0,), **given
):
    """A model of two numbers whose held-out samples have these scores, beside 10 for each label before theirs."""
    scores = np.asarray(scores, float)
    n = len(scores)
    label_index = np.zeros(n, int) if label_index is None else label_index
    own = np.arange(n) if groups is None else groups

    def usual(values):
        return CalibrationScores(values[:, None], values, own, None if labels is None else label_index)

    score = given.pop("score", FIRST)
    return Model(
        InputSpec((2,), np.zeros(2, np.float32), np.ones(2, np.float32)),
        Task(labels, ("as it is",), 1),
        tuple(map(Echo, factors)),
        1.0,
        FittedScore(None, score, ((),), np.ones(1)),
        Calibration(usual(scores + 10 * label_index), usual(scores), groups is not None),
        None,
        rate,
        per_label,
        TrainingReport(1.0, 1.0, np.zeros((1, 1)), 1, 0.0, np.arange(0), np.arange(n)),
        **given,
    )


def samples(scores):
    return np.stack([np.asarray(scores, float), np.zeros(len(scores))], 1)


def without_warning(model, X, y=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromiseWarning)
        return model.predict(X, y)


# --- one model ---


def test_scores_are_those_of_the_score_function():
    model, X = model_of(np.arange(20)), samples([3, -1, 2.5])
    assert model.anomaly_score(X).tolist() == [3, -1, 2.5]
    assert model.anomaly_score(X, ["a", "b", "c"]).tolist() == [3, 9, 22.5]
    assert_array_equal(model.anomaly_score(X, np.array([["a"], ["b"], ["c"]])), [3, 9, 22.5])
    assert_array_equal(model.score_samples(X), -model.anomaly_score(X))
    assert_array_equal(model.fold_scores(X), [model.anomaly_score(X)])
    assert model.folds == (model,)


def test_the_p_value_is_the_part_of_the_held_out_scores_at_or_above():
    model = model_of(np.arange(19), rate=0.05)
    assert_allclose(model.p_value(samples([-1, 0, 0.5, 18, 18.5])), [1, 1, 19 / 20, 2 / 20, 1 / 20])
    assert model.predict(samples([-1, 18, 18.5])).tolist() == [1, 1, -1]  # 1 / 20 is just 0.05


def test_samples_are_compared_with_those_scored_in_the_same_way():
    draw = np.random.default_rng(0)
    scores, index = draw.normal(size=60), draw.integers(3, size=60)
    model, X, y = model_of(scores, label_index=index), samples(draw.normal(size=9)), LABELS[draw.integers(3, size=9)]
    assert_array_equal(model.p_value(X), p_values(model.anomaly_score(X), scores))
    assert_array_equal(model.p_value(X, y), p_values(model.anomaly_score(X, y), scores + 10 * index))


def test_held_out_groups_count_once_each():
    groups = np.repeat(np.arange(10), np.arange(1, 11))
    scores = np.random.default_rng(0).normal(size=len(groups))
    model, X = model_of(scores, groups=groups), samples([-1, 0, 1, 9])
    assert_allclose(model.p_value(X), p_values(X[:, 0], scores, group_weights(groups)))
    assert model.p_value(X)[-1] == pytest.approx(1 / 11)


@given(st.integers(0, 999), st.floats(0.02, 0.9), st.booleans(), st.booleans(), st.booleans())
def test_the_decision_is_that_of_the_p_value_and_the_sign_of_the_decision_function(
    seed, rate, known, per_label, grouped
):
    draw = np.random.default_rng(seed)
    scores, index = draw.integers(9, size=60), draw.integers(3, size=60)  # with ties
    groups = draw.permutation(60) // 2 if grouped else None
    if groups is not None:
        index = groups % 3
    model = model_of(scores, label_index=index, groups=groups, rate=rate, per_label=per_label)
    X, y = samples(draw.integers(-1, 11, size=20)), LABELS[draw.integers(3, size=20)] if known else None
    decisions, p = model.decide(X, y), model.p_value(X, y)
    assert_array_equal(decisions, np.where(p <= rate * (1 + 1e-9), -1, 1))
    assert_array_equal(without_warning(model, X, y), decisions)
    if model.promise_problem(with_labels=known) is None:
        assert_array_equal(model.decision_function(X, y) < 0, decisions < 0)
    else:
        sizes = model.calibration_sizes(with_labels=known)
        y = np.full(20, None) if None in sizes else y
        assert all(decisions[y == label].min(initial=1) == 1 for label, n in sizes.items() if 1 / (n + 1) > rate + 1e-9)


def test_within_each_label_a_sample_is_compared_with_those_of_its_label():
    draw = np.random.default_rng(0)
    scores, index = draw.normal(size=60), np.arange(60) % 3
    model = model_of(scores * (1 + index), label_index=index, per_label=True)
    X = samples(draw.normal(size=9) * 2)
    for number, label in enumerate(LABELS):
        own = (scores * (1 + index))[index == number]
        assert_array_equal(model.p_value(X, np.full(9, label)), p_values(X[:, 0] + 10 * number, own + 10 * number))
        threshold = model.threshold(with_labels=True)[number]
        found = model.decision_function(X, np.full(9, label))
        assert_allclose(found, threshold - X[:, 0] - 10 * number, rtol=1e-5, atol=1e-5)
    # Without labels the promise is over all of them together.
    assert_array_equal(model.p_value(X), replace(model, per_label=False).p_value(X))
    assert model.threshold(with_labels=False) == replace(model, per_label=False).threshold(with_labels=False)
    y = LABELS[[0, 1, 2] * 3]
    assert_array_equal(model.p_value(X, y[:, None]), model.p_value(X, y))
    assert_array_equal(model.decision_function(X, y[:, None]), model.decision_function(X, y))


def test_a_label_without_held_out_samples_raises_no_alarm():
    model = model_of(np.arange(40), label_index=np.arange(40) % 2, per_label=True)
    X, y = samples([1e6, 0]), ["c", "c"]
    assert model.p_value(X, y).tolist() == [1, 1]
    assert model.decide(X, y).tolist() == [1, 1]
    assert (model.decision_function(X, y) > 0).all()
    assert model.calibration_sizes() == {"a": 20, "b": 20, "c": 0}
    with pytest.warns(PromiseWarning, match="no alarm is raised: .* held-out normal samples of label 'c'; there are 0"):
        model.predict(X, y)


# --- promises ---


@pytest.mark.parametrize(("n", "enough"), [(8, False), (9, True)])
def test_a_rate_that_cannot_be_promised_raises_no_alarm_and_is_said(n, enough):
    model, X = model_of(np.arange(n)), samples([1e6, 0])
    if enough:
        assert model.promise_problem() is None
        assert model.predict(X).tolist() == [-1, 1]
        return
    message = "no alarm is raised: a false-alarm rate of 0.1 takes at least 9 held-out normal samples; there are 8"
    with pytest.warns(PromiseWarning, match=message):
        assert model.predict(X).tolist() == [1, 1]
    assert model.decide(X).tolist() == [1, 1]
    assert_allclose(model.p_value(X), [1 / 9, 1])
    assert model.promise_problem().startswith(message)
    assert model.threshold(with_labels=False) == n - 1


def test_a_promise_counts_groups():
    model = model_of(np.arange(20), groups=np.arange(20) % 5)
    assert model.calibration_sizes() == {None: 5}
    with pytest.warns(PromiseWarning, match="at least 9 held-out normal groups; there are 5"):
        model.predict(samples([0]))


def test_a_promise_within_each_label_counts_the_least_of_them():
    model = model_of(np.arange(24), label_index=np.array([0] * 10 + [1] * 11 + [2] * 3), per_label=True)
    assert model.calibration_sizes() == {"a": 10, "b": 11, "c": 3}
    assert model.calibration_sizes(with_labels=False) == {None: 24}
    with pytest.warns(PromiseWarning, match="at least 9 held-out normal samples of label 'c'; there are 3"):
        model.predict(samples([0]), ["a"])
    assert model.predict(samples([0])).tolist() == [1]


def test_another_rate_is_another_model():
    model = model_of(np.arange(99), rate=0.01)
    X = samples([50, 97, 99])
    assert model.predict(X).tolist() == [1, 1, -1]
    assert replace(model, false_alarm_rate=0.05).predict(X).tolist() == [1, -1, -1]
    assert model.predict(X).tolist() == [1, 1, -1]
    with pytest.raises(FrozenInstanceError):
        model.false_alarm_rate = 0.05


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, np.nan])
def test_a_rate_outside_0_to_1_is_refused(rate):
    model = model_of(np.arange(9))
    with pytest.raises(InputError, match="it must lie between 0 and 1"):
        replace(model, false_alarm_rate=rate)
    with pytest.raises(InputError, match="it must lie between 0 and 1"):
        CrossModel((model, model), rate)


def test_a_promise_within_each_label_needs_labels():
    with pytest.raises(InputError, match="per_label=True needs a task with labels; the task learnt has none"):
        model_of(np.arange(9), labels=None, per_label=True)


# --- samples and labels ---


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.zeros((2, 3)), None, r"samples have shape \(3,\); the model learnt \(2,\)"),
        (np.full((1, 2), np.nan), None, "NaN"),
        (np.zeros((2, 2)), ["a"], "1 labels for 2 samples"),
        (np.zeros((2, 2)), ["a", "z"], "label 'z' of sample 1 was not learnt"),
        (np.zeros((2, 2)), [["a", "b"], ["a", "b"]], r"labels have shape \(2, 2\)"),
        (np.zeros((2, 2)), "a", r"labels have shape \(\)"),
    ],
)
@pytest.mark.parametrize("per_label", [True, False])
def test_samples_and_labels_that_were_not_learnt_are_refused(X, y, message, per_label):
    model = model_of(np.arange(30), label_index=np.arange(30) % 3, per_label=per_label)
    asked = [
        model.anomaly_score,
        model.score_samples,
        model.p_value,
        model.decide,
        model.decision_function,
        model.outputs,
    ]
    for ask in asked:
        with pytest.raises(InputError, match=message):
            ask(X, y)


def test_labels_that_the_task_does_not_have_do_not_matter():
    model = model_of(np.arange(9), labels=None)
    X = samples([3, 4])
    assert_array_equal(model.anomaly_score(X, ["x", "y"]), model.anomaly_score(X))
    assert_array_equal(model.p_value(X, ["x", "y"]), model.p_value(X))


def test_a_score_that_needs_labels_asks_for_them():
    model = model_of(np.arange(9))
    needy = replace(model, calibration=replace(model.calibration, unlabelled=None))
    X = samples([3])
    assert needy.p_value(X, ["a"]) == model.p_value(X, ["a"])
    for ask in (needy.anomaly_score, needy.p_value, needy.decide, needy.decision_function, needy.predict):
        with pytest.raises(InputError, match="compares with a known label: pass the labels of the samples too"):
            ask(X)


@pytest.mark.parametrize("y", [["a", "b"], np.array(["a", "b"], object), np.array([["a"], ["b"]])], ids=str)
def test_labels_are_one_for_each_sample(y):
    assert checked_labels(y, 2).tolist() == ["a", "b"]


def test_many_samples_are_scored_in_batches(monkeypatch):
    model, draw = model_of(np.arange(30)), np.random.default_rng(0)
    X, y = samples(draw.normal(size=23)), LABELS[draw.integers(3, size=23)]
    expected = [model.anomaly_score(X), model.anomaly_score(X, y)]
    sizes = []
    monkeypatch.setattr("oddkind.arrays.BATCH_SIZE", 5)
    monkeypatch.setattr(Echo, "__call__", lambda self, x, run=Echo.__call__: sizes.append(len(x)) or run(self, x))
    assert_array_equal(model.anomaly_score(X), expected[0])
    assert_array_equal(model.anomaly_score(X, y), expected[1])
    assert max(sizes) == 5


def test_outputs_of_several_networks_are_pooled():
    model, X = model_of(np.arange(9), factors=(1.0, 3.0)), samples([3, 4])
    members = model.member_outputs(X, ["a", "c"])
    assert [outputs.features[0, 0, 0] for outputs in members] == [3, 9]
    assert all(outputs.targets.tolist() == [[0], [2]] for outputs in members)
    assert_array_equal(members[0].inputs, X)
    together = model.outputs(X, ["a", "c"])
    assert_array_equal(together.features, np.concatenate([outputs.features for outputs in members], -1))
    assert model.outputs(X).targets is None
    assert model.anomaly_score(X).tolist() == [6, 8]  # the mean over the networks


def test_samples_are_standardised_before_the_networks_see_them():
    model = model_of(np.arange(9))
    inputs = InputSpec((2,), np.array([1, 0], np.float32), np.array([2, 1], np.float32))
    assert replace(model, inputs=inputs).anomaly_score(samples([5, 1])).tolist() == [2, 0]


# --- whole groups ---


@pytest.mark.parametrize(("how", "pooled"), [("mean", np.mean), ("max", np.max), ("0.5", np.median)])
@pytest.mark.parametrize("known", [True, False])
def test_the_p_value_of_a_group_compares_it_with_whole_groups(how, pooled, known):
    draw = np.random.default_rng(0)
    usual, scores = draw.normal(size=60), draw.normal(size=20) + 0.5
    groups, new, index = np.arange(60) % 12, draw.integers(5, size=20), np.arange(60) % 3
    model = model_of(usual, groups=groups, label_index=index)
    y = LABELS[new % 3] if known else None
    names, p = model.group_p_value(samples(scores), np.array(list("vwxyz"))[new], y, how=how)
    scores, usual = scores + 10 * (new % 3) * known, usual + 10 * index * known
    held_out = np.array([pooled(usual[groups == group]) for group in range(12)])
    expected = [(1 + (held_out >= pooled(scores[new == group]) - 1e-12).sum()) / 13 for group in np.unique(new)]
    assert names.tolist() == [list("vwxyz")[group] for group in np.unique(new)]
    assert_allclose(p, expected)


def test_the_p_value_of_a_group_within_its_label_compares_it_with_groups_of_that_label():
    draw = np.random.default_rng(0)
    usual, groups = draw.normal(size=60), np.arange(60) % 12
    model = model_of(usual, groups=groups, label_index=groups % 3, per_label=True)
    scores, new = draw.normal(size=20), np.arange(20) % 6
    _, p = model.group_p_value(samples(scores), new, LABELS[new % 3])
    held_out = np.array([usual[groups == group].mean() for group in range(12)])
    for group in range(6):
        own = held_out[np.arange(12) % 3 == group % 3]
        assert p[group] == pytest.approx((1 + (own >= scores[new == group].mean()).sum()) / 5)
    with pytest.raises(InputError, match="a group has samples of two labels"):
        model.group_p_value(samples([0, 1]), [7, 7], ["a", "b"])
    assert model.group_p_value(samples([0, 1]), [7, 7])[0].tolist() == [7]


def test_groups_that_cannot_be_compared_are_refused():
    with pytest.raises(InputError, match="fit was given no groups"):
        model_of(np.arange(9)).group_p_value(samples([0]), [1])
    model = model_of(np.arange(9), groups=np.arange(9) // 3)
    with pytest.raises(InputError, match=r"groups have shape \(1,\); 2 samples need one group each"):
        model.group_p_value(samples([0, 1]), [1])
    with pytest.raises(InputError, match="pool='median'; it must be 'fisher', 'mean', 'max' or a quantile"):
        model.group_p_value(samples([0, 1]), [1, 1], how="median")


# --- several folds ---


def folds_of(draw, **given):
    """Two folds: the second scores a sample three times as high, and so its held-out samples."""
    usual = draw.normal(size=20), 3 * draw.normal(size=30)
    one, other = (
        model_of(scores, factors=(factor,), **given) for scores, factor in zip(usual, (1.0, 3.0), strict=True)
    )
    return CrossModel((one, other), 0.1), usual


def test_a_sample_is_compared_with_every_fold_by_the_score_of_that_fold(draw):
    model, (one, other) = folds_of(draw)
    scores = draw.normal(size=12) * 2
    X = samples(scores)
    assert_allclose(model.fold_scores(X), [scores, 3 * scores], rtol=1e-6)
    assert_allclose(model.anomaly_score(X), 2 * scores, rtol=1e-6)
    assert_array_equal(model.score_samples(X), -model.anomaly_score(X))
    above = (one >= scores[:, None]).sum(1) + (other >= 3 * scores[:, None]).sum(1)
    assert_allclose(model.p_value(X), (1 + above) / 51)
    assert_array_equal(model.predict(X), np.where((1 + above) / 51 <= 0.1, -1, 1))
    assert_array_equal(model.decision_function(X) < 0, model.predict(X) < 0)
    assert (model.folds, model.inputs, model.task) == (model.models, model.models[0].inputs, model.models[0].task)
    assert model.per_label is False


def test_folds_promise_together_what_none_of_them_could_alone(draw):
    model, _ = folds_of(draw)
    X = samples([99, 0])
    assert model.calibration_sizes() == {None: 50}
    sharp = replace(model, false_alarm_rate=0.02)
    assert sharp.predict(X).tolist() == [-1, 1]
    with pytest.warns(PromiseWarning, match="at least 99 held-out normal samples; there are 50"):
        assert replace(model, false_alarm_rate=0.01).predict(X).tolist() == [1, 1]
    with pytest.warns(PromiseWarning, match="there are 20"):
        replace(model.models[0], false_alarm_rate=0.02).predict(X)


def test_whole_groups_are_compared_with_those_of_every_fold(draw):
    usual = draw.normal(size=20), 3 * draw.normal(size=30)
    groups = np.arange(20) // 4, np.arange(30) // 5
    model = CrossModel(
        tuple(
            model_of(own, factors=(factor,), groups=each)
            for own, factor, each in zip(usual, (1, 3), groups, strict=True)
        ),
        0.1,
    )
    scores, new = draw.normal(size=12), np.arange(12) % 3
    names, p = model.group_p_value(samples(scores), new)
    assert names.tolist() == [0, 1, 2]
    held_out = [
        [own[each == group].mean() for group in np.unique(each)] for own, each in zip(usual, groups, strict=True)
    ]
    for group in names:
        mean = scores[new == group].mean()
        above = (np.array(held_out[0]) >= mean).sum() + (np.array(held_out[1]) >= 3 * mean).sum()
        assert p[group] == pytest.approx((1 + above) / 12)


def test_one_fold_alone_is_as_its_model(draw):
    one = model_of(draw.normal(size=20))
    X, y = samples(draw.normal(size=9)), LABELS[draw.integers(3, size=9)]
    for known in (None, y):
        for method in ("anomaly_score", "p_value", "predict", "score_samples"):
            assert_array_equal(getattr(CrossModel((one,), 0.1), method)(X, known), getattr(one, method)(X, known))


def test_the_false_alarms_of_exchangeable_samples_stay_within_the_promise(draw):
    found = []
    for _ in range(400):
        model = model_of(draw.gamma(2.0, size=39), rate=0.05)
        found.append((model.decide(samples(draw.gamma(2.0, size=50))) < 0).mean())
    error = 4 * np.std(found) / np.sqrt(len(found))
    assert 0.025 - error < np.mean(found) <= 0.05 + error
