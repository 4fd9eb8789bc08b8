import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, weights
from scipy import stats
from scipy.special import log_softmax

from oddkind import SCORES, Detector, InputError
from oddkind.metrics import auc
from oddkind.model.combining import combined
from oddkind.model.fitted_score import learn_score
from oddkind.samples import Samples
from oddkind.study.evaluation import Configuration, Result, Row, evaluate_settings, train_settings
from oddkind.train.temperature import fit_temperature, label_perplexity


def row(name="a", auc=(0.8, 0.9, 0.7), nll=(0.1,) * 3, ece=(0.1,) * 3, flagged=None, **setting):
    return Row(Configuration(name, **setting), auc, (0.9,) * len(auc), (1.5,) * len(auc), nll, ece, flagged)


# --- The table ----------------------------------------------------------------------------------------------


def test_the_interval_is_students():
    found = row()
    assert found.auc_mean == pytest.approx(0.8)
    assert found.auc_ci95 == pytest.approx(stats.t.interval(0.95, 2, 0.8, stats.sem(found.auc)))
    assert row(auc=(0.8,)).auc_ci95 is None


@pytest.mark.parametrize(
    ("lecture", "inside"), [(None, None), (0.69, False), (0.7, True), (0.85, True), (0.9, True), (0.91, False)]
)
def test_the_lecture_lies_inside_the_range_of_single_runs_or_not(lecture, inside):
    assert row(lecture_auc=lecture).lecture_inside is inside


def test_gains_are_paired_by_seed():
    better, first = row(auc=(0.85, 0.94, 0.76)), row()
    mean, interval = better.gain(first)
    found = stats.ttest_rel(better.auc, first.auc).confidence_interval()
    assert mean == pytest.approx(0.05)
    assert interval == pytest.approx((found.low, found.high))
    assert first.gain(first) == (0, (0, 0))
    assert row(auc=(0.9,)).gain(row(auc=(0.8,))) == (pytest.approx(0.1), None)


def test_rows_are_found_by_name():
    result = Result((row("a"), row("b", auc=(0.1, 0.2, 0.3))))
    assert result["b"].auc == (0.1, 0.2, 0.3)


def test_each_measure_chooses_its_best_row_and_the_first_of_equals():
    rows = (
        row("likely", nll=(0.1, 0.2, 0.1), ece=(0.3,) * 3, flagged=(0.7,) * 3),
        row("calibrated", nll=(0.2,) * 3, ece=(0.1, 0.1, 0.4), flagged=(0.7,) * 3),
        row("finds", nll=(0.2,) * 3, ece=(0.2,) * 3, flagged=(0.9, 0.8, 0.7)),
        row("finds as well", nll=(0.1, 0.2, 0.1), ece=(0.3,) * 3, flagged=(0.9, 0.8, 0.7)),
    )
    chosen = {measure: found.setting.name for measure, found in Result(rows).chosen_by.items()}
    assert chosen == {"nll": "likely", "ece": "calibrated", "flagged_auc": "finds"}
    assert set(Result((row(),)).chosen_by) == {"nll", "ece"}


def test_json_holds_all_of_it():
    result = Result((row("a", lecture_auc=0.8), row("b", auc=(0.85, 0.94, 0.76), temperature="fit")))
    found = json.loads(json.dumps(result.to_json()))
    first, second = found["rows"]
    assert first["name"] == "a"
    assert first["lecture_auc"] == 0.8
    assert first["auc"] == [0.8, 0.9, 0.7]
    assert first["auc_ci95"] == pytest.approx(result.rows[0].auc_ci95)
    assert first["held_out"] == {"nll": [0.1] * 3, "ece": [0.1] * 3, "flagged_auc": None}
    assert second["temperature"] == "fit"
    assert second["gain"]["mean"] == pytest.approx(0.05)
    assert second["gain"]["ci95"] == pytest.approx(result.rows[1].gain(result.rows[0])[1])
    assert found["chosen_by"] == {"nll": "a", "ece": "a"}
    alone = json.loads(json.dumps(Result((row(auc=(0.8,)),)).to_json()))["rows"][0]
    assert (alone["auc_ci95"], alone["gain"]["ci95"]) == (None, None)


# --- From samples to the table ------------------------------------------------------------------------------

SETTINGS = (
    Configuration("plain"),
    Configuration("warm", label_smoothing=0.2, temperature=3.0),
    Configuration("fitted", temperature="fit", score="entropy"),
    Configuration("neighbours", score="cosine-neighbours"),
    Configuration("combined", score="combined"),
    Configuration("affine", task="affine", score="target-nll"),
)


def odd(n, seed):
    return np.random.default_rng(seed).normal([0, 0, 0, 6], size=(n, 4))


def data(flagged=0):
    """Three kinds of normal vectors with anomalies among those to learn from, and a test part with anomalies."""
    inputs, labels = kinds(400, apart=2.0)
    places = np.arange(flagged) * 3  # among the others, not at the end
    inputs, labels = np.insert(inputs, places, odd(flagged, 5), axis=0), np.insert(labels, places, 9)
    new, known = kinds(200, seed=1, apart=2.0)
    test = Samples(np.vstack([new, odd(100, 6)]), np.append(known, np.full(100, 9)), np.arange(300) >= 200)
    return Samples(inputs, labels, labels == 9), test


@pytest.fixture(scope="module")
def evaluated():
    train, test = data(flagged=30)
    told = []
    trained = train_settings(SETTINGS, train, seeds=[4, 7], epochs=2, network="mlp", on_progress=told.append)
    return train, test, trained, evaluate_settings(SETTINGS, trained, train, test, on_progress=told.append), told


def test_settings_that_differ_in_score_or_temperature_share_their_networks(evaluated):
    _, _, trained, result, _ = evaluated
    assert set(trained) == {setting.training for setting in SETTINGS}
    assert set(trained) == {("labels", 0.0, None, None), ("labels", 0.2, None, None), ("affine", 0.0, None, None)}
    assert [[detector.random_state for detector in group] for group in trained.values()] == [[4, 7]] * 3
    assert [found.setting for found in result.rows] == list(SETTINGS)
    assert (
        result["plain"].accuracy
        == result["fitted"].accuracy
        == tuple(d.model_.report.accuracy for d in trained["labels", 0.0, None, None])
    )


def test_every_number_by_hand(evaluated):
    train, test, trained, result, _ = evaluated
    normal, flagged = train[~train.anomalous], train[train.anomalous]
    for setting in SETTINGS:
        for i, detector in enumerate(trained[setting.training]):
            model, formula = detector.model_, SCORES[setting.score]
            temperature = model.temperature if setting.temperature == "fit" else setting.temperature
            learnt, held_out = normal[model.report.training_rows], normal[model.report.calibration_rows]
            reference = detector.outputs(learnt.inputs, learnt.labels)
            sure, classes = model.report.perplexity, model.task.n_classes
            outputs = detector.outputs(held_out.inputs, held_out.labels)
            fit = fit_temperature(outputs.logits.reshape(-1, classes), outputs.targets.ravel())
            labels = label_perplexity(outputs, model.task.n_views, fit)
            fitted = learn_score(
                setting.score, formula, [reference], temperature, sure, classes, label_perplexity=labels
            )

            def score(inputs, detector=detector, held_out=held_out, fitted=fitted, temperature=temperature):
                of, usual = (fitted([detector.outputs(rows)], temperature) for rows in (inputs, held_out.inputs))
                return combined(of, usual, fitted.weights, fitted.fuse)

            found = result[setting.name]
            log_p = log_softmax(outputs.logits / temperature, axis=-1)
            nll = -np.take_along_axis(log_p, outputs.targets[..., None], -1).mean()
            mixed = np.concatenate([score(held_out.inputs), score(flagged.inputs)])
            assert_allclose(found.auc[i], auc(test.anomalous, score(test.inputs)), atol=1e-6)
            assert_allclose(found.nll[i], nll, rtol=1e-5)
            assert_allclose(found.flagged_auc[i], auc(np.arange(len(mixed)) >= len(held_out), mixed), atol=1e-3)
            assert 0 <= found.ece[i] < 0.7


def test_flagged_anomalies_are_never_learnt_from(evaluated):
    train, _, trained, result, _ = evaluated
    assert len(train) == 430
    without = train_settings(SETTINGS, data()[0], seeds=[4, 7], epochs=2, network="mlp")
    for key, group in trained.items():
        for found, expected in zip(group, without[key], strict=True):
            assert_array_equal(weights(found.model_.members[0].network), weights(expected.model_.members[0].network))
            assert found.model_.temperature == expected.model_.temperature
    train, test = data()
    plain = evaluate_settings(SETTINGS, without, train, test)
    assert [found.auc for found in plain.rows] == [found.auc for found in result.rows]
    assert all(found.flagged_auc is None for found in plain.rows)


def test_progress_of_both_parts_ends_at_1(evaluated):
    told = evaluated[-1]
    ends = [i for i, done in enumerate(told) if done == pytest.approx(1)]
    assert len(ends) == 2
    assert told[: ends[0]] == sorted(told[: ends[0]])


def test_a_setting_named_twice_has_one_value_a_seed():
    train, test = data()
    twice = (Configuration("a"), Configuration("a"))
    result = evaluate_settings(twice, train_settings(twice, train, seeds=[0], epochs=1, network="mlp"), train, test)
    assert [len(found.auc) for found in result.rows] == [1] * len(result.rows)


def test_network_and_shift_belong_to_a_setting_or_are_those_of_the_detector():
    inputs = np.random.default_rng(0).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    settings = (
        Configuration("plain", "rotations"),
        Configuration("moved", "rotations", max_shift=1),
        Configuration("larger", "rotations", network="picture", max_shift=2),
    )
    trained = train_settings(settings, Samples(inputs), seeds=[0], epochs=1)
    found = [(one.network, one.max_shift) for (one,) in trained.values()]
    assert found == [("lecture", 0), ("lecture", 1), ("picture", 2)]
    plain, moved, _ = (weights(group[0].model_.members[0].network) for group in trained.values())
    assert not np.array_equal(plain, moved)
    like = Detector(network="picture", max_shift=3, epochs=1)
    ((one,),) = train_settings(settings[:1], Samples(inputs), seeds=[0], like=like).values()
    assert (one.network, one.max_shift) == ("picture", 3)
    with pytest.raises(InputError, match="max_shift=-1"):
        train_settings([Configuration("off", "rotations", max_shift=-1)], Samples(inputs), seeds=[0], epochs=1)


def test_no_seeds_are_refused():
    with pytest.raises(InputError, match="0 seeds; at least 1 run is needed"):
        train_settings(SETTINGS, data()[0], seeds=[])


def test_a_test_part_without_anomaly_flags_is_refused():
    train, test = data()
    unknown = Samples(test.inputs, test.labels, name="my pumps")
    with pytest.raises(InputError, match="my pumps: which samples are anomalous is not known"):
        evaluate_settings(SETTINGS, {}, train, unknown)
