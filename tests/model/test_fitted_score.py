"""What a score learns and how several networks and components score together; held-out samples to compare with."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scoring import (
    COMBINED,
    DISTANCES,
    FUSED,
    LABELS,
    SINGLE,
    N,
    outputs_of,
    scored,
)

from oddkind import SCORES, InputError, Outputs, Score
from oddkind.model.combining import combined
from oddkind.model.conformal import p_values
from oddkind.model.fitted_score import cross_fitted, learn_score, reference_rows, softmax_share
from oddkind.model.outputs import pooled
from oddkind.model.signal_statistics import signal_statistics
from oddkind.model.task import Task


def test_the_share_of_the_softmax_grows_with_the_classes_that_it_rules_out():
    score = SCORES["combined"]
    assert softmax_share(score, 4.0, 4) == 0
    weight = 0.75**4  # of each of its two scores made of the softmax, beside one that is not
    assert softmax_share(score, 1.0, 4) == pytest.approx(2 * weight / (1 + 2 * weight))
    for name, share in (("msp", 1), ("mahalanobis", 0)):
        assert softmax_share(SCORES[name], 4.0, 4) == share


@pytest.mark.parametrize("name", SINGLE)
def test_several_networks_are_pooled_as_the_score_says(draw, name):
    score, new, normal = SCORES[name], *([outputs_of(draw, n) for _ in range(2)] for n in (N, 60))
    found = learn_score(name, score, normal, 2.0)(new, 2.0)
    assert found.shape == (N, 1)
    if score.pool == "probability":
        expected = score.compute(pooled(new, 2.0), {}, 1.0)
    elif score.pool == "logit":
        expected = score.compute(replace(new[0], logits=(new[0].logits + new[1].logits) / 2), {}, 2.0)
    else:
        expected = np.mean([scored(name, *pair, 2.0) for pair in zip(new, normal, strict=True)], 0)
    assert_allclose(found[:, 0], expected, rtol=1e-12)
    assert not score.learn or score.pool == "score"  # what is pooled has learnt nothing


@pytest.mark.parametrize("name", sorted(COMBINED))
def test_a_combination_has_a_column_for_each_of_its_scores(draw, name):
    new, normal = ([outputs_of(draw, n) for _ in range(2)] for n in (N, 60))
    fitted = learn_score(name, SCORES[name], normal, 2.0, 2.0, 12)
    assert [SCORES[part] for part in SCORES[name].components] == list(fitted.components)
    columns = fitted(new, 2.0)
    counts = fitted.fuse.counts(fitted.weights)
    assert counts.any()
    for column, part, own, counted in zip(columns.T, SCORES[name].components, fitted.learnt, counts, strict=True):
        if not counted:  # it is neither kept nor computed
            assert (own, column.tolist()) == (({}, {}), [0] * N)
            continue
        alone = learn_score(part, SCORES[part], normal, 2.0)(new, 2.0)[:, 0]
        if name in FUSED and part.startswith("local-") and "W" in SCORES[part].formula:
            alone *= column[0] / alone[0]  # its scales are those of new samples
            assert_allclose(column, alone)
        else:
            assert_array_equal(column, alone)


def test_the_softmax_counts_the_more_the_more_classes_it_rules_out():
    score = SCORES["combined"]
    assert dict(zip(score.components, score.fuse.weights(2.0, 4), strict=True)) == {
        "view-neighbours": 1,
        "hellinger-neighbours": 1 / 16,
        "likelihood": 1 / 16,
    }
    assert score.fuse.weights(4, 4).tolist() == [1, 0, 0]
    assert score.fuse.weights(1, 24)[1] > score.fuse.weights(1, 4)[1]


def test_the_softmax_counts_less_where_it_hesitates_between_labels_and_the_input_counts_in_its_place():
    fuse = SCORES["combined-with-input"].fuse
    features, hellinger, likelihood, inputs = fuse.weights(2.0, 8, 1.5)
    assert (features, hellinger, likelihood) == (1, 0.5**4, 0.5**4)
    assert inputs == (1 - 0.5**4) ** 2 / 2
    assert fuse.weights(8, 8, 2.0).tolist() == [1, 0, 0, 0.5]


def test_a_score_of_ones_own_learns_once_and_scores_by_what_it_learnt(draw):
    learnt_from = []

    def learn(normal, temperature):
        learnt_from.append((len(normal), temperature))
        return {"centre": normal.features.mean((0, 1))}

    own = Score(
        "‖f − mean f‖", lambda o, arrays, _: np.linalg.norm(o.features - arrays["centre"], axis=2).sum(1), learn
    )
    fitted = learn_score(None, own, [outputs_of(draw, 60)], 2.0)
    assert (fitted.name, fitted.own, fitted.components) == (None, own, (own,))
    for n in (1, N):
        assert fitted([outputs_of(draw, n)], 2.0).shape == (n, 1)
    assert learnt_from == [(60, 2.0)]


def test_of_many_normal_samples_some_are_compared_with(monkeypatch):
    rows = np.arange(0, 300, 3)
    assert reference_rows(rows) is rows
    monkeypatch.setattr("oddkind.model.fitted_score.MAX_REFERENCE_ROWS", 7)
    some = reference_rows(rows)
    assert (len(some), some[0], some[-1]) == (7, 0, 297)
    assert np.ptp(np.diff(some)) <= 3
    assert np.isin(some, rows).all()


# --- held-out samples to compare with ---

TASK = Task(np.arange(LABELS), ("0",), 1)


def fitted_and_held_out(draw, name, n=9, n_learnt=60):
    """A score learnt from some samples, and outputs of n held-out ones; every label is among both."""
    normal, held_out = (outputs_of(draw, size, views=1) for size in (n_learnt, n))
    normal.targets[:LABELS, 0] = held_out.targets[:LABELS, 0] = range(LABELS)
    return learn_score(name, SCORES[name], [normal], 1.0, 1.0, LABELS), held_out


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", [*sorted(DISTANCES), *sorted(FUSED), "combined-logs", "msp"])
def test_a_held_out_sample_is_scored_as_if_it_were_new_to_all_others(draw, name, grouped, with_labels):
    fitted, held_out = fitted_and_held_out(draw, name)
    groups = np.array([5, 5, 5, 7, 7, 1, 1, 2, 3]) if grouped else np.arange(9)
    extended, given = fitted.extended([held_out]), groups if grouped else None
    found = extended.of_held_out([held_out], given, 1.0, TASK, with_labels=with_labels)
    for row, group in enumerate(groups):
        own = held_out[[row]]
        own = own if with_labels else replace(own, targets=None)
        expected = fitted.extended([held_out[groups != group]])([own], 1.0)
        assert_allclose(found[[row]], expected, rtol=1e-5)


@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("name", [*sorted(DISTANCES), *sorted(FUSED)])
def test_a_copy_of_a_held_out_sample_is_not_compared_with_that_one(draw, name, with_labels):
    fitted, held_out = fitted_and_held_out(draw, name)
    held_out.inputs[4], held_out.features[4], held_out.targets[4] = 0.0, held_out.features[2], held_out.targets[2]
    held_out.inputs[2], held_out.statistics[4] = -0.0, held_out.statistics[2]
    extended = fitted.extended([held_out])
    known = held_out if with_labels else replace(held_out, targets=None)
    found = extended.of_held_out([held_out], np.arange(9), 1.0, TASK, with_labels=with_labels)
    assert_allclose(extended([known], 1.0), found, rtol=1e-5)
    assert_array_equal(found[2], found[4])
    assert (found[:, fitted.fuse.counts(fitted.weights)] > 1e-3).all()


@pytest.mark.parametrize("name", ["input-distance", "local-input-distance"])
def test_a_copy_with_another_label_is_compared_within_its_own(draw, name):
    task = Task(np.arange(2), ("as it is",), 1)

    def outputs(labels):
        inputs = (draw.normal(size=(len(labels), 4)) + 10 * labels[:, None]).astype(np.float32)
        return Outputs(np.zeros((len(labels), 1, 2)), np.zeros((len(labels), 1, 3)), labels[:, None], inputs)

    normal, held_out = outputs(np.arange(40) % 2), outputs(np.arange(6) % 2)
    held_out.inputs[1] = held_out.inputs[0]
    fitted = learn_score(name, SCORES[name], [normal], 1.0).extended([held_out])
    found = fitted.of_held_out([held_out], np.arange(6), 1.0, task, with_labels=True)
    assert_allclose(found, fitted([held_out], 1.0), rtol=1e-6)
    assert found[1] > 5 * found[0]


def test_held_out_samples_without_others_to_be_compared_with_have_finite_scores(draw):
    """A file cannot hold infinity."""
    normal, held_out = outputs_of(draw, 60), outputs_of(draw, 1100)
    held_out.targets[:] = normal.targets[0]
    alone = replace(normal, targets=normal.targets.copy())
    alone.targets[1:] = (alone.targets[0] + 1) % alone.logits.shape[2]
    fitted = learn_score("input-distance", SCORES["input-distance"], [alone], 1.0).extended([held_out])
    task = Task(np.arange(normal.logits.shape[2]), ("as it is",), 1)
    found = fitted.of_held_out([held_out], np.zeros(1100, int), 1.0, task, with_labels=True)
    assert np.isfinite(found).all()
    assert found.min() > 1e300


@pytest.mark.parametrize("name", ["input-distance", "input-distance-to-all"])
def test_with_held_out_samples_it_is_the_score_that_would_be_learnt_from_all(draw, name):
    normal, others, new = (outputs_of(draw, n, views=1) for n in (60, 9, N))
    fields = "logits", "features", "targets", "inputs"
    both = Outputs(*(np.concatenate([getattr(o, field) for o in (normal, others)]) for field in fields))
    found = learn_score(name, SCORES[name], [normal], 1.0).extended([others])([new], 1.0)
    assert_array_equal(found, learn_score(name, SCORES[name], [both], 1.0)([new], 1.0))


def test_held_out_samples_change_no_weight_and_are_left_out_where_nothing_counts(draw):
    fitted, held_out = fitted_and_held_out(draw, "fused-distances")
    extended = fitted.extended([held_out])
    assert_array_equal(extended.weights, fitted.weights)
    for before, after in zip(fitted.learnt, extended.learnt, strict=True):
        assert before[0].keys() <= after[0].keys()
        assert not after[0] or len(after[0]["reference"]) == len(before[0]["reference"]) + 9


def test_a_held_out_sample_of_a_label_that_was_not_learnt_is_refused(draw):
    fitted, held_out = fitted_and_held_out(draw, "input-distance")
    held_out.targets[4] = LABELS
    with pytest.raises(InputError, match=r"^there is no normal sample of label 3 to compare with$"):
        fitted.extended([held_out])


def test_p_values_of_samples_that_are_compared_with_each_other_are_valid(draw):
    """A tenth too few alarms or more would be lost power, one too many a broken promise."""
    fuse, n, p = SCORES["fused-input-distances"].fuse, 9, []
    for _ in range(600):
        fitted, held_out = fitted_and_held_out(draw, "fused-input-distances", n, n_learnt=12)
        extended = fitted.extended([held_out])
        normal, new = (
            combined(components, components, fitted.weights, fuse)
            for components in (
                extended.of_held_out([held_out], None, 1.0, TASK, with_labels=False),
                extended([outputs_of(draw, 40, views=1, known=False)], 1.0),
            )
        )
        p.append((p_values(new, normal) <= 0.1 + 1e-9).mean())
    assert 0.07 < np.mean(p) < 0.1 + 3 * np.std(p) / len(p) ** 0.5


def evidence(draw, size, n, perplexity=1.0, groups=None):
    """Names of the distances of which the largest, and of those of which the mean counts."""
    targets = draw.integers(2, size=(n, 1))
    inputs = (draw.normal(size=(n, size)) + 50 * targets).astype(np.float32)
    outputs = Outputs(draw.normal(size=(n, 1, 2)), draw.normal(size=(n, 1, 3)), targets, inputs, groups)
    score = SCORES["fused-distances"]
    found = learn_score("fused-distances", score, [outputs], 1.0, perplexity, 2).weights.reshape(7, -1)
    return [[name for name, one in zip(score.components, row, strict=True) if one] for row in found[:2]]


NAMES = list(SCORES["fused-distances"].components)
FAR, LOCAL = NAMES[:5], [NAMES[0], *NAMES[4:]]


def test_the_number_of_dimensions_decides_which_distances_count(draw):
    assert evidence(draw, 3, 200) == [FAR, []]
    assert evidence(draw, 90, 400) == [[], LOCAL]


def test_evidence_leaves_out_what_was_not_learnt_and_what_too_few_samples_tell(draw):
    assert evidence(draw, 3, 200, perplexity=1.6)[0] == [name for name in FAR if "feature" not in name]
    assert evidence(draw, 90, 400, perplexity=1.6)[1] == [name for name in LOCAL if "feature" not in name]
    assert evidence(draw, 90, 26)[1] == ["input-distance", "feature-distance"]
    assert evidence(draw, 90, 26, perplexity=1.6)[1] == ["input-distance"]
    # Few groups do not tell how far samples are apart, however many samples they have.
    assert evidence(draw, 90, 400, groups=np.arange(400) // 20)[1] == ["input-distance", "feature-distance"]
    assert evidence(draw, 90, 400, groups=np.arange(400) // 10)[1] == LOCAL
    # A network knows the groups that it was trained with.
    grouped = evidence(draw, 3, 200, groups=np.arange(200) // 20)
    assert grouped == [[name for name in FAR if "feature" not in name], []]


def evidence_of_signals(draw, waves, perplexity=1.0):
    """Names of the distances that count for signals [n, C, T]."""
    n, score = len(waves), SCORES["fused-signal-distances"]
    targets, features = draw.integers(2, size=(n, 1)), draw.normal(size=(n, 1, 3))
    statistics, inputs = signal_statistics(waves), waves.reshape(n, -1).astype(np.float32)
    outputs = Outputs(draw.normal(size=(n, 1, 2)), features, targets, inputs, statistics=statistics)
    weights = learn_score("fused-signal-distances", score, [outputs], 1.0, perplexity, 2).weights.reshape(7, -1)
    assert not weights[0].any()
    return [name for name, one in zip(score.components, weights[1], strict=True) if one]


OF_WINDOWS = list(SCORES["fused-signal-distances"].components)
NOT_VALUES = [name for name in OF_WINDOWS if "values" not in name]


def test_values_of_signals_count_if_there_are_enough_signals_that_begin_alike(draw):
    time, n = np.arange(50), 60
    slow, fast = draw.uniform(0.5, 1.5, size=(2, n, 1, 1))
    aligned = slow * np.sin(time / 8) + fast * np.cos(time / 3) + 0.01 * draw.normal(size=(n, 1, 50))
    assert evidence_of_signals(draw, aligned) == OF_WINDOWS
    assert evidence_of_signals(draw, aligned, perplexity=1.6) == [one for one in OF_WINDOWS if "feature" not in one]
    assert evidence_of_signals(draw, aligned[:9]) == NOT_VALUES  # fewer than a fifth of the numbers of one
    noise = slow * draw.normal(size=(n, 1, 50))
    assert evidence_of_signals(draw, noise) == NOT_VALUES


def test_local_scales_are_those_of_samples_that_the_whitening_did_not_learn_from(draw):
    """Otherwise held-out samples, which are not made alike, would be the nearest to all others."""
    size = np.geomspace(1, 0.01, 100)
    normal, held_out, new = (
        replace(outputs_of(draw, n, views=1), inputs=draw.normal(size=(n, 100)) * size, targets=np.zeros((n, 1), int))
        for n in (120, 12, 300)
    )
    score = SCORES["fused-input-distances"]
    fitted = learn_score("fused-input-distances", score, [normal], 1.0)
    column = score.components.index("local-whitened-distance")
    plain = SCORES["local-whitened-distance"].learn(normal, 1.0)
    assert (fitted.learnt[column][0]["scales"] / plain["scales"]).std() < 1e-9
    extended = fitted.extended([held_out]).learnt[column][0]
    whitening, scales = extended["whitening"], extended["scales"]
    quotients = cdist(new.inputs @ whitening, extended["reference"]) / scales
    among = np.isin(np.arange(132), extended["held_out"][1].astype(int))
    nearest = quotients.argmin(1)
    # A share of 12 / 132 of the new samples is expected to be nearest to a held-out one; with plain scales it is 0.3.
    assert 0.03 < among[nearest].mean() < 0.2
    z = fitted([new], 1.0)[:, column]
    weights = fitted.weights.reshape(7, -1)[:, column]
    assert abs(((np.log(z + weights[2]) - weights[5]) / weights[6]).mean()) < 1.0


def test_cross_fitted_scores_are_those_by_what_the_other_folds_tell(draw):
    normal = outputs_of(draw, 40, views=1)
    normal.targets[:30, 0] = np.arange(30) % 2
    normal.targets[30:, 0] = 2
    grouped = replace(normal, groups=np.concatenate([draw.permutation(30) // 2, np.full(10, 20)]))
    score = SCORES["whitened-distance"]
    found = cross_fitted(score, grouped)
    fold = np.unique(grouped.groups, return_inverse=True)[1] % 5
    expected = []
    for number in range(5):
        own, others = grouped[(fold == number) & (grouped.targets[:, 0] < 2)], grouped[fold != number]
        expected.extend(score.compute(own, score.learn(others, 1.0), 1.0))
    assert len(found) == 30  # label 2 has a single group, so no other fold knows it
    assert_allclose(found, expected)


def test_cross_fitted_scores_are_no_less_than_those_of_new_samples(draw):
    """Those of the samples that the whitening learnt from are, if there are few; it made them alike."""
    score, size = SCORES["whitened-distance"], np.repeat([1, 0.1], 30)
    few, new = (replace(outputs_of(draw, n, views=1), inputs=draw.normal(size=(n, 60)) * size) for n in (90, 500))
    learnt = score.learn(few, 1.0)
    fresh = score.compute(new, learnt, 1.0).mean()
    assert score.usual(learnt, few).mean() < 0.97 * fresh < cross_fitted(score, few).mean() < 1.1 * fresh


def test_what_is_usual_for_the_mean_is_cross_fitted_where_samples_are_whitened(draw):
    normal = replace(outputs_of(draw, 120, views=1), inputs=draw.normal(size=(120, 60)))
    score = SCORES["fused-distances"]
    found = learn_score("fused-distances", score, [normal], 1.0, 1.0, LABELS).weights.reshape(7, -1)
    for column in np.flatnonzero(found[1]):
        component = SCORES[score.components[column]]
        usual = component.usual(component.learn(normal, 1.0), normal)
        whitened = "W" in component.formula
        usual, fresh = np.log([usual, cross_fitted(component, normal) if whitened else usual] + found[2, column])
        # The scales of local distances grow, so that these are as usual.
        middle = usual.mean() if "local" in score.components[column] else fresh.mean()
        assert_allclose(found[5:, column], [middle, fresh.std()])


@pytest.mark.parametrize("n", [1, 2])
def test_very_few_samples_are_cross_fitted_as_far_as_they_go(draw, n):
    alone = replace(outputs_of(draw, n, views=1), targets=np.zeros((n, 1), int))
    assert len(cross_fitted(SCORES["input-distance"], alone)) == (n if n > 1 else 0)
