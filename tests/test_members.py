"""Detectors with several networks: their outputs, scores, temperature and accuracy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick, weights
from scipy.special import log_softmax
from scipy.special import softmax as probabilities
from scoring import OF_SIGNALS

from oddkind import SCORES, InputError, Outputs, Score
from oddkind.model.combining import combined
from oddkind.model.fitted_score import learn_score
from oddkind.model.formulas import target_nll
from oddkind.model.outputs import pooled

# Two epochs teach little, and pictures of one slope or another are told apart by a single pixel.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")]

SINGLE = [name for name, score in SCORES.items() if isinstance(score, Score)]


def scored(name, members, references, temperature):
    """The score of each component, [N, P]."""
    return learn_score(name, SCORES[name], references, temperature)(members, temperature)


def test_the_first_of_several_members_is_the_network_that_is_trained_alone():
    inputs, labels = kinds()
    three, one = quick(n_members=3).fit(inputs, labels), quick().fit(inputs, labels)
    assert len(three.model_.members) == 3
    assert three.model_.report.losses.shape == (2, 3)
    assert_allclose(weights(three.model_.members[0].network), weights(one.model_.members[0].network), atol=1e-4)
    assert not np.allclose(weights(three.model_.members[0].network), weights(three.model_.members[1].network))


def test_outputs_of_an_ensemble_are_log_mean_probabilities_and_features_side_by_side():
    inputs, labels = kinds()
    detector = quick(task="labels", network="mlp", n_members=3).fit(inputs, labels)
    members, found = detector.model.member_outputs(inputs, labels), detector.outputs(inputs, labels)
    mean = np.mean([probabilities(member.logits, axis=-1) for member in members], 0)
    assert_allclose(np.exp(found.logits), mean, rtol=1e-5)
    assert found.features.shape == (300, 1, 3 * 64)
    assert_array_equal(found.features[:, :, 64:128], members[1].features)
    assert_array_equal(found.targets, labels[:, None])
    assert (
        detector.model_.report.accuracy
        == (
            mean[detector.model_.report.calibration_rows, 0].argmax(1)
            == labels[detector.model_.report.calibration_rows]
        ).mean()
    )


def members_of(draw, n, known=True, views=4):
    targets = draw.integers(3, size=(n, 1)) * views + np.arange(views)
    inputs, statistics = draw.normal(size=(n, 6)), np.abs(draw.normal(size=(n, 6, 2)))
    return [
        Outputs(
            draw.normal(size=(n, views, 3 * views)) * 3,
            draw.normal(size=(n, views, 5)),
            targets if known else None,
            inputs,
            statistics=statistics,
        )
        for _ in range(3)
    ]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("name", SINGLE)
def test_every_score_pools_its_members_as_it_declares(draw, name, temperature, known):
    score, members, references = SCORES[name], members_of(draw, 20, known), members_of(draw, 60)
    first = members[0]
    if score.pool == "probability":
        mean = np.mean([probabilities(member.logits / temperature, axis=-1) for member in members], 0)
        expected = score.compute(Outputs(np.log(mean), first.features, first.targets), {}, 1.0)
    elif score.pool == "logit":
        mean = np.mean([member.logits for member in members], 0)
        expected = score.compute(Outputs(mean, first.features, first.targets), {}, temperature)
    else:
        each = [
            score.compute(member, score.learn(reference, temperature) if score.learn else {}, temperature)
            for member, reference in zip(members, references, strict=True)
        ]
        expected = np.mean(each, 0)
    found = scored(name, members, references if score.learn else None, temperature)[:, 0]
    assert_allclose(found, expected, rtol=1e-6)


def test_what_each_score_pools():
    pools = {name: SCORES[name].pool for name in SINGLE}
    assert {name for name, pool in pools.items() if pool == "logit"} == {"max-logit", "energy", "unscaled-energy"}
    of_features = {name for name in SINGLE if SCORES[name].learn} | {"changed-place"}
    assert {name for name, pool in pools.items() if pool == "score"} == of_features


def test_several_equal_members_score_as_one(draw):
    one, reference = members_of(draw, 20)[0], members_of(draw, 60)[0]
    for name in SINGLE:
        score = SCORES[name]
        expected = score.compute(one, score.learn(reference, 2.0) if score.learn else {}, 2.0)
        assert_allclose(scored(name, [one], [reference], 2.0)[:, 0], expected)
        assert_allclose(scored(name, [one] * 4, [reference] * 4, 2.0)[:, 0], expected, atol=1e-9)


def test_pooling_takes_the_temperature_into_each_member(draw):
    members = members_of(draw, 20)
    logits = [log_softmax(member.logits / 2, axis=-1) for member in members]
    assert_allclose(pooled(members, 2.0).logits, np.log(np.mean(np.exp(logits), 0)))
    assert_allclose(pooled(members[:1], 2.0).logits, members[0].logits / 2)
    assert pooled(members[:1]) is members[0]


@pytest.mark.parametrize("score", [name for name in SCORES if name != "changed-place" and name not in OF_SIGNALS])
def test_an_ensemble_scores_with_every_score(score):
    inputs, labels = pictures(60)
    detector = quick(n_members=2, task="labels+rotations", score_function=score, temperature=2.0).fit(inputs, labels)
    model, report = detector.model, detector.model_.report
    references, held_out = (
        model.member_outputs(inputs[rows], labels[rows]) for rows in (report.training_rows, report.calibration_rows)
    )
    fitted = learn_score(score, SCORES[score], references, 2.0).extended(held_out)
    for known in (None, labels):
        normal = fitted.of_held_out(held_out, None, 2.0, model.task, with_labels=known is not None)
        samples = fitted(model.member_outputs(inputs, known), 2.0)
        expected = combined(samples, normal, model.score.weights, model.score.fuse)
        assert_allclose(detector.anomaly_score(inputs, known), expected, rtol=1e-5, atol=1e-6)


def test_an_ensembles_threshold_and_temperature_are_those_of_its_pooled_outputs():
    inputs, labels = kinds(apart=1.0)
    detector = quick(n_members=3, temperature="fit", score_function="msp", calibration_fraction=0.5).fit(inputs, labels)
    rows = detector.model_.report.calibration_rows
    outputs = detector.outputs(inputs[rows], labels[rows])

    def nll(temperature):
        return target_nll(outputs.logits, outputs.targets, temperature).mean()

    assert nll(detector.model_.temperature) <= min(nll(t) for t in np.geomspace(0.1, 10, 100)) + 1e-6
    assert (detector.anomaly_score(inputs[rows]) > -detector.offset_).sum() == 150 - np.ceil(151 * 0.8)


def test_a_users_score_is_averaged_over_the_members():
    inputs, labels = kinds()
    learnt, seen = [], []

    def learn(normal, temperature):
        learnt.append((len(normal), temperature))
        return {"number": np.array(len(learnt))}

    def compute(outputs, arrays, temperature):
        seen.append((len(outputs), temperature))
        return np.full(len(outputs), float(arrays["number"]))

    detector = quick(n_members=2, score_function=Score("its number", compute, learn), temperature=3.0)
    detector.fit(inputs, labels)
    assert learnt == [(len(detector.model_.report.training_rows), 3.0)] * 2
    seen.clear()
    assert detector.anomaly_score(inputs[:5]).tolist() == [1.5] * 5
    assert seen == [(5, 3.0)] * 2
    assert len(learnt) == 2


@pytest.mark.parametrize(
    ("network", "given", "expected"), [("spectrogram", "auto", 5), ("spectrogram", 2, 2), ("lecture", "auto", 1)]
)
def test_several_networks_for_spectrograms_score_together(network, given, expected):
    detector = quick(network=network, task="labels", epochs=1, n_members=given).fit(*pictures())
    assert len(detector.model_.members) == expected


@pytest.mark.parametrize("n_members", [0, -1, 1.5, True, "3", None])
def test_a_number_of_members_that_cannot_be_is_refused(n_members):
    with pytest.raises(InputError, match=r"n_members=.*; it must be a whole number of at least 1, or 'auto'"):
        quick(n_members=n_members).fit(*kinds(60))
