"""Stacks, fleets and ensembles: each network as if it had been trained alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import Own, frozen, kinds, pictures, quick, signals, weights, with_batch_norm, with_dropout
from scipy.special import log_softmax
from scipy.special import softmax as probabilities
from torch import nn

import oddkind.train.stacks
from oddkind import SCORES, Detector, InputError, fit_fleet, fit_together
from oddkind.metrics import auc
from oddkind.model.calibration import combined
from oddkind.model.scores import Outputs, pooled
from oddkind.samples import Samples
from oddkind.study.evaluation import LECTURE

# Two epochs teach little, and pictures of one slope or another are told apart by a single pixel.
pytestmark = pytest.mark.filterwarnings("ignore::oddkind.errors.ConcernWarning")

SINGLE = [name for name, score in SCORES.items() if not score.parts]

SETTINGS = {
    "seeds": [{"random_state": seed} for seed in range(3)],
    "transforms": [{"task": "labels+{}", "random_state": seed} for seed in range(2)],
    "training": [{"label_smoothing": 0.3}, {"learning_rate": 1e-2, "weight_decay": 0.1}, {}],
    "scoring": [{"score": "msp", "temperature": "fit"}, {"score": "energy"}, {"false_alarm_rate": 0.5}],
    "forms": [
        {"epochs": 1},
        {"task": "labels+{}"},
        {"task": "{}"},
        {"batch_size": 7},
        {},
        {"validation_fraction": 0.5},
    ],
    "members": [{"members": 3}, {"members": 2, "random_state": 1}],
}


def assert_same(found, expected, inputs):
    assert_array_equal(found.validation_rows_, expected.validation_rows_)
    assert_allclose(found.losses_, expected.losses_, rtol=1e-4)
    assert_allclose(found.temperature_, expected.temperature_, rtol=1e-3)
    assert_allclose(found.offset_, expected.offset_, rtol=1e-3, atol=1e-4)
    assert_allclose(found.labelled_offset_, expected.labelled_offset_, rtol=1e-3, atol=1e-4)
    assert_allclose(found.outputs(inputs).logits, expected.outputs(inputs).logits, rtol=1e-3, atol=2e-3)


@pytest.fixture
def trained(monkeypatch):
    """How many models each call of `train` was given."""
    sizes = []

    def spy(jobs, **how):
        sizes.append(len(jobs))
        return train(jobs, **how)

    train = oddkind.train.stacks.train
    monkeypatch.setattr(oddkind.train.stacks, "train", spy)
    return sizes


@pytest.mark.parametrize("data", ["vectors", "pictures"])
@pytest.mark.parametrize("settings", SETTINGS)
def test_detectors_fitted_together_are_those_fitted_alone(data, settings):
    inputs, labels = kinds() if data == "vectors" else pictures()
    transform = "affine" if data == "vectors" else "rotations"
    parameters = [
        {**setting, "task": setting.get("task", "labels").format(transform)} for setting in SETTINGS[settings]
    ]
    together, alone = ([quick(**p) for p in parameters] for _ in range(2))
    fit_together(together, inputs, labels)
    for found, expected in zip(together, alone, strict=True):
        assert_same(found, expected.fit(inputs, labels), inputs)


@pytest.mark.parametrize("task", ["labels", "rotations"])
def test_after_five_epochs_on_mnist_the_auc_is_that_of_the_network_alone(mnist, task):
    train, test = mnist[0][::15], mnist[1][::4]
    parameters = [
        {
            "task": task,
            "score": score,
            "epochs": 5,
            "label_smoothing": smoothing,
            "random_state": seed,
            "false_alarm_rate": 0.5,
            **LECTURE,
        }
        for seed, (score, smoothing) in enumerate([("max-logit", 0.0), ("entropy", 0.1), ("cosine-neighbours", 0.3)])
    ]
    together, alone = ([Detector(**p) for p in parameters] for _ in range(2))
    fit_together(together, train.inputs, train.labels)
    for found, expected in zip(together, alone, strict=True):
        expected.fit(train.inputs, train.labels)
        both = [auc(test.anomalous, one.anomaly_score(test.inputs)) for one in (found, expected)]
        assert_allclose(*both, atol=1e-3)


def test_fitting_together_tells_its_progress():
    told = []
    detectors = [quick(epochs=epochs, batch_size=16, random_state=seed) for epochs in (1, 3) for seed in range(2)]
    fit_together(detectors, *kinds(60), on_progress=told.append)
    assert told == sorted(told)
    assert 0 < told[0] < 0.5
    assert told[-1] == pytest.approx(1)


def test_nothing_to_fit_is_no_error():
    fit_together([], *kinds(60))
    assert fit_fleet({}, quick()) == {}


@pytest.mark.parametrize("memory", [1, 4e5, 1e9])
def test_stacks_are_as_large_as_memory_allows_and_the_results_are_the_same(monkeypatch, trained, memory):
    inputs, labels = pictures()
    like = {"task": "labels", "network": "lecture", "batch_size": 32}
    expected = [quick(**like, random_state=seed).fit(inputs, labels) for seed in range(5)]
    found = [quick(**like, random_state=seed) for seed in range(5)]
    monkeypatch.setattr(oddkind.train.stacks, "STACK_BYTES", memory)
    trained.clear()
    fit_together(found, inputs, labels)
    assert sum(trained) == 5
    assert {1: max(trained) == 1, 4e5: 1 < max(trained) < 5, 1e9: trained == [5]}[memory]
    for one, other in zip(found, expected, strict=True):
        assert_same(one, other, inputs)


# --- Networks that cannot be stacked ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (with_batch_norm, "they keep a state besides their weights"),
        (with_dropout, "their dropout would draw otherwise"),
        (frozen, "some of their parameters are frozen"),
    ],
)
def test_they_are_trained_one_after_another_with_a_warning_that_says_why(trained, network, why):
    inputs, labels = kinds()
    together = [quick(network=network, random_state=seed) for seed in range(2)]
    with pytest.warns(UserWarning, match=f"2 networks Own are trained one after another: {why}"):
        fit_together(together, inputs, labels)
    assert trained == [1, 1]
    for seed, found in enumerate(together):
        assert_same(found, quick(network=network, random_state=seed).fit(inputs, labels), inputs)


def test_the_members_of_an_ensemble_likewise():
    inputs, labels = kinds()
    with pytest.warns(UserWarning, match="3 networks Own are trained one after another"):
        found = quick(network=with_batch_norm, members=3).fit(inputs, labels)
    alone = quick(network=with_batch_norm).fit(inputs, labels)
    assert_array_equal(weights(found.networks_[0]), weights(alone.networks_[0]))


def test_frozen_parameters_stay_as_they_are():
    network = frozen((4,), 3)
    detector = quick(task="labels", network=network).fit(*kinds())
    assert_array_equal(weights(detector.networks_[0].inner), weights(network.inner))
    assert not np.array_equal(weights(detector.networks_[0].classifier), weights(network.classifier))


def test_networks_of_one_class_that_compute_otherwise_are_not_mixed_up():
    inputs, labels = kinds()
    networks = [Own((4,), 3, activation=activation) for activation in (nn.Tanh, nn.ReLU)]
    together = [quick(task="labels", network=network) for network in networks]
    fit_together(together, inputs, labels)
    for found, network in zip(together, networks, strict=True):
        assert_same(found, quick(task="labels", network=network).fit(inputs, labels), inputs)


# --- Fleets -------------------------------------------------------------------------------------------------


def vectors_of(n, seed, apart=6.0):
    return Samples(*kinds(n, seed, apart))


def pictures_of(n, seed):
    return Samples(*pictures(n, seed))


FLEETS = {
    "vectors": {name: vectors_of(240, seed) for seed, name in enumerate("abc")},
    "other lengths": {name: vectors_of(200 + 35 * seed, seed) for seed, name in enumerate("abcd")},
    "pictures": {name: pictures_of(200 + 3 * seed, seed) for seed, name in enumerate("abc")},
    "no labels": {seed: Samples(signals(100, seed)) for seed in range(2)},
    "other labels": {"a": vectors_of(240, 0), "b": Samples(kinds(240, 1)[0], np.arange(240) % 2)},
    "groups": {"a": Samples(*kinds(240), groups=np.arange(240) // 8), "b": vectors_of(240, 1)},
    "parts of one array": dict(zip("abc", (lambda s: (s[:150], s[::2], s))(pictures_of(300, 0)), strict=True)),
}


@pytest.mark.parametrize("fleet", FLEETS)
def test_a_fleet_is_each_machine_fitted_alone(fleet):
    machines, like = FLEETS[fleet], quick(label_smoothing=0.1)
    found = fit_fleet(machines, like)
    assert list(found) == list(machines)
    assert not hasattr(like, "networks_")
    for name, samples in machines.items():
        expected = quick(label_smoothing=0.1).fit(samples.inputs, samples.labels, samples.groups)
        assert_same(found[name], expected, samples.inputs)


def test_a_fleet_of_one_form_is_one_stack(trained):
    fit_fleet(FLEETS["vectors"], quick(members=2))
    assert trained == [6]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (Samples(np.full((60, 4), np.nan)), "fan 3: .*NaN"),
        (Samples(kinds(60)[0], np.zeros(60)), r"fan 3: all 60 labels are 0\.0"),
        (Samples(kinds(60)[0], kinds(60)[1], groups=np.zeros(60)), "fan 3: .* normal groups on.*there are 1"),
        (Samples(*kinds(7)), "fan 3: a false-alarm rate"),
    ],
)
def test_an_error_names_the_machine_and_nothing_is_trained(trained, samples, message):
    with pytest.raises(InputError, match=message):
        fit_fleet({"fan 1": vectors_of(240, 0), "fan 3": samples}, quick(task="labels"))
    assert not trained


# --- Ensembles ----------------------------------------------------------------------------------------------


def test_a_member_is_the_network_of_its_seed_and_the_first_is_the_only_ones():
    inputs, labels = kinds()
    three, one = quick(members=3).fit(inputs, labels), quick().fit(inputs, labels)
    assert len(three.networks_) == 3
    assert three.losses_.shape == (2, 3)
    assert_allclose(weights(three.networks_[0]), weights(one.networks_[0]), atol=1e-4)
    assert not np.allclose(weights(three.networks_[0]), weights(three.networks_[1]))


def test_outputs_of_an_ensemble_are_log_mean_probabilities_and_features_side_by_side():
    inputs, labels = kinds()
    detector = quick(task="labels", members=3).fit(inputs, labels)
    members, found = detector.member_outputs(inputs, labels), detector.outputs(inputs, labels)
    mean = np.mean([probabilities(member.logits, axis=-1) for member in members], 0)
    assert_allclose(np.exp(found.logits), mean, rtol=1e-5)
    assert found.features.shape == (300, 1, 3 * 64)
    assert_array_equal(found.features[:, :, 64:128], members[1].features)
    assert_array_equal(found.targets, labels[:, None])
    assert (
        detector.accuracy_ == (mean[detector.validation_rows_, 0].argmax(1) == labels[detector.validation_rows_]).mean()
    )


def members_of(draw, n, known=True, views=4):
    targets = draw.integers(3, size=(n, 1)) * views + np.arange(views)
    inputs = draw.normal(size=(n, 6))
    return [
        Outputs(
            draw.normal(size=(n, views, 3 * views)) * 3,
            draw.normal(size=(n, views, 5)),
            targets if known else None,
            inputs,
        )
        for _ in range(3)
    ]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("name", SINGLE)
def test_every_score_pools_its_members_as_it_says(draw, name, temperature, known):
    score, members, references = SCORES[name], members_of(draw, 20, known), members_of(draw, 60)
    first = members[0]
    if score.pool == "probability":
        mean = np.mean([probabilities(member.logits / temperature, axis=-1) for member in members], 0)
        expected = score.compute(Outputs(np.log(mean), first.features, first.targets), None, 1.0)
    elif score.pool == "logit":
        mean = np.mean([member.logits for member in members], 0)
        expected = score.compute(Outputs(mean, first.features, first.targets), None, temperature)
    else:
        each = [score.compute(m, r, temperature) for m, r in zip(members, references, strict=True)]
        expected = np.mean(each, 0)
    assert_allclose(score(members, references if score.needs_reference else None, temperature), expected, rtol=1e-6)


def test_what_each_score_pools():
    pools = {name: score.pool for name, score in SCORES.items()}
    assert {name for name, pool in pools.items() if pool == "logit"} == {"max-logit", "energy"}
    assert {name for name, pool in pools.items() if pool == "score"} == {
        name for name, score in SCORES.items() if score.needs_reference
    }


def test_one_member_or_many_alike_score_as_one(draw):
    one, reference = members_of(draw, 20)[0], members_of(draw, 60)[0]
    for score in (SCORES[name] for name in SINGLE):
        expected = score.compute(one, reference, 2.0)
        assert_allclose(score([one], [reference], 2.0), expected)
        assert_allclose(score([one] * 4, [reference] * 4, 2.0), expected, atol=1e-9)


def test_pooling_takes_the_temperature_into_each_member(draw):
    members = members_of(draw, 20)
    logits = [log_softmax(member.logits / 2, axis=-1) for member in members]
    assert_allclose(pooled(members, 2.0).logits, np.log(np.mean(np.exp(logits), 0)))
    assert_allclose(pooled(members[:1], 2.0).logits, members[0].logits / 2)
    assert pooled(members[:1]) is members[0]


@pytest.mark.parametrize("score", SCORES)
def test_an_ensemble_scores_with_every_score(score):
    inputs, labels = pictures()
    detector = quick(members=2, task="labels+rotations", score=score, temperature=2.0).fit(inputs, labels)
    references = detector.member_outputs(inputs[detector.training_rows_], labels[detector.training_rows_])
    for known in (None, labels):
        held_out = detector.validation_rows_
        claimed = None if known is None else labels[held_out]
        samples, normal = (
            SCORES[score].columns(detector.member_outputs(x, y), references, 2.0)
            for x, y in ((inputs, known), (inputs[held_out], claimed))
        )
        expected = combined(samples, normal, SCORES[score].weights(detector.perplexity_, detector.task_.n_classes))
        assert_allclose(detector.anomaly_score(inputs, known), expected, rtol=1e-5, atol=1e-6)


def test_an_ensembles_threshold_and_temperature_are_those_of_its_pooled_outputs():
    inputs, labels = kinds(apart=1.0)
    detector = quick(members=3, temperature="fit", score="msp", validation_fraction=0.5).fit(inputs, labels)
    rows = detector.validation_rows_
    outputs = detector.outputs(inputs[rows], labels[rows])

    def nll(temperature):
        return SCORES["target-nll"].compute(outputs, None, temperature).mean()

    assert nll(detector.temperature_) <= min(nll(t) for t in np.geomspace(0.1, 10, 100)) + 1e-6
    assert (detector.anomaly_score(inputs[rows]) > -detector.offset_).sum() == 150 - np.ceil(151 * 0.8)


def test_a_users_score_is_averaged_over_the_members():
    inputs, labels = kinds()
    seen = []

    def score(outputs, reference, temperature):
        seen.append((len(outputs), len(reference), temperature))
        return np.full(len(outputs), float(len(seen)))

    detector = quick(members=2, score=score, temperature=3.0).fit(inputs, labels)
    seen.clear()
    assert detector.anomaly_score(inputs[:5]).tolist() == [1.5] * 5
    assert seen == [(5, 270, 3.0)] * 2


@pytest.mark.parametrize("members", [0, -1, 1.5, True, "3", None])
def test_a_number_of_members_that_cannot_be_is_refused(members):
    with pytest.raises(InputError, match=r"members=.*; it must be a whole number of at least 1"):
        quick(members=members).fit(*kinds(60))
