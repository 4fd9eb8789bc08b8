"""Choosing among settings by hiding one kind of normal after another."""

from dataclasses import replace

import numpy as np
import pytest
from problems import kinds, quick
from scipy import stats

from oddkind import InputError, Samples
from oddkind.metrics import auc
from oddkind.study.evaluation import Configuration
from oddkind.study.selection import LeaveOneOutResult, leave_one_label_out

PLAIN, SMOOTH = Configuration("plain", score="msp"), Configuration("smooth", label_smoothing=0.1, score="msp")
NEAR = Configuration("near", score="euclidean-neighbours")


def left_out(auc, *settings):
    auc = np.array(auc, float)
    return LeaveOneOutResult(settings, np.arange(auc.shape[1]), auc)


# --- What was found ---------------------------------------------------------------------------------------


def test_settings_are_ranked_by_their_mean_and_the_interval_is_over_the_labels():
    found = left_out(
        [[[0.7, 0.9], [0.6, 0.6]], [[0.9, 0.9], [0.8, 0.8]], [[0.8, 0.8], [0.6, 0.6]]], PLAIN, SMOOTH, NEAR
    )
    ranked = found.ranked
    assert [setting.name for setting, _, _ in ranked] == ["smooth", "plain", "near"]  # the first of equals first
    assert [mean for _, mean, _ in ranked] == pytest.approx([0.85, 0.7, 0.7])
    assert ranked[1][2] == pytest.approx(stats.t.interval(0.95, 1, 0.7, stats.sem([0.8, 0.6])))


def test_gains_are_paired_by_label():
    one, other = [[0.9, 0.8], [0.7, 0.7], [0.6, 0.8]], [[0.8, 0.8], [0.5, 0.5], [0.6, 0.6]]
    mean, interval = left_out([one, other], SMOOTH, PLAIN).gain(SMOOTH, PLAIN)
    expected = stats.ttest_rel(np.mean(one, 1), np.mean(other, 1)).confidence_interval()
    assert mean == pytest.approx(0.35 / 3)
    assert interval == pytest.approx((expected.low, expected.high))


def test_what_smoothing_does_is_said_of_each_pair_that_differs_in_nothing_else():
    values = [[[0.8], [0.7], [0.6]], [[0.9], [0.81], [0.69]], [[0.5], [0.5], [0.5]], [[0.4], [0.6], [0.5]]]
    other = replace(SMOOTH, name="other", score="max-logit"), replace(PLAIN, name="more", score="max-logit")
    sentences = left_out(values, PLAIN, SMOOTH, *other).of_smoothing()
    assert sentences[0] == (
        "on your labels, label smoothing 0.1 changes the AUC of msp by +0.100 (95 % +0.075 to +0.125, more than noise)"
    )
    assert "of max-logit by +0.000" in sentences[1]
    assert "this may be noise" in sentences[1]
    assert len(sentences) == 2
    assert left_out(values[:2], PLAIN, NEAR).of_smoothing() == []
    assert "with one label, a difference cannot" in left_out([[[0.8]], [[0.9]]], PLAIN, SMOOTH).of_smoothing()[0]


CHANCE, GOOD, BETTER = [[0.4], [0.5], [0.63]], [[0.8], [0.82], [0.84]], [[0.9], [0.93], [0.95]]


@pytest.mark.parametrize(
    ("values", "use", "better", "words"),
    [
        ([CHANCE, CHANCE], PLAIN, (False, False), "No setting is better than chance"),
        ([GOOD, BETTER], SMOOTH, (True, True), "better than chance, and better than the default by +0.107 (95 % 0.0"),
        ([GOOD, GOOD], PLAIN, (True, False), "Keep the default, with a mean AUC of 0.820"),
        ([BETTER, GOOD], PLAIN, (True, False), "it is better than chance."),
        ([GOOD, [[0.9], [0.81], [0.84]]], PLAIN, (True, False), "leads by +0.030"),
        ([[[0.99], [0.4], [0.75]], GOOD], SMOOTH, (True, False), "which is not certain of the default"),
    ],
)
def test_the_verdict_follows_the_intervals(values, use, better, words):
    verdict = left_out(values, PLAIN, SMOOTH).verdict(PLAIN)
    assert verdict.setting is use
    assert (verdict.better_than_chance, verdict.better_than_default) == better
    assert words in verdict.reason


# --- Finding it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def samples():
    return Samples(*kinds(400, apart=4.0))


@pytest.fixture(scope="module")
def found(samples):
    like = quick(epochs=8, learning_rate=1e-2)
    return leave_one_label_out(samples, [PLAIN, SMOOTH, NEAR], seeds=range(2), like=like)


def test_a_hidden_label_is_scored_by_a_detector_that_never_saw_it(samples, found):
    assert found.auc.shape == (3, 3, 2)
    assert found.labels.tolist() == [0, 1, 2]
    rest, hidden = samples[samples.labels != 1], samples[samples.labels == 1]
    alone = quick(
        epochs=8,
        learning_rate=1e-2,
        task="labels",
        score_function="euclidean-neighbours",
        label_smoothing=0,
        random_state=1,
    )
    alone.fit(rest.inputs, rest.labels)
    held_out = rest[alone.model_.report.calibration_rows]
    odd = np.repeat([False, True], [len(held_out), len(hidden)])
    expected = auc(odd, alone.anomaly_score(np.concatenate([held_out.inputs, hidden.inputs])))
    assert found.auc[2, 1, 1] == pytest.approx(expected, abs=1e-6)


def test_the_better_score_is_ranked_first(found):
    best, mean, interval = found.ranked[0]
    assert best is NEAR
    assert mean > 0.95
    assert interval[0] < mean < interval[1]


def test_flagged_anomalies_are_left_out_and_progress_is_told(samples):
    inputs = np.concatenate([samples.inputs, np.full((20, 4), 50.0)])
    flagged = Samples(inputs, np.append(samples.labels, [0] * 20), np.arange(420) >= 400)
    told = []
    like = quick(epochs=1)
    with_flags = leave_one_label_out(flagged, [NEAR], seeds=[0], like=like, on_progress=told.append)
    assert np.array_equal(with_flags.auc, leave_one_label_out(samples, [NEAR], seeds=[0], like=like).auc)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)


def test_digits_are_chosen_by_the_lectures_network(mnist):
    train, _ = mnist
    settings = [PLAIN, replace(NEAR, score="combined")]
    found = leave_one_label_out(train[::60], settings, seeds=[0], epochs=1)
    assert found.auc.shape == (2, 4, 1)
    assert ((found.auc >= 0) & (found.auc <= 1)).all()


@pytest.mark.parametrize(
    ("labels", "settings", "seeds", "match"),
    [
        (None, [PLAIN], [0], "few: no labels; hiding one needs at least 3"),
        (np.arange(60) % 2, [PLAIN], [0], "few: 2 labels; hiding one and classifying the others needs at least 3"),
        (np.arange(60) % 3, [], [0], "0 settings"),
        (np.arange(60) % 3, [PLAIN], [], "0 seeds"),
        (
            *(np.arange(60) % 3, [replace(PLAIN, score="statistics-distance")], [0]),
            r"score 'statistics-distance' needs signals \[N, C, T\]; samples have the shape \(2,\)",
        ),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(labels, settings, seeds, match):
    with pytest.raises(InputError, match=match):
        leave_one_label_out(Samples(np.zeros((60, 2)), labels, name="few"), settings, seeds=seeds)
