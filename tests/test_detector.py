import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.spatial.distance import cdist
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import oddkind.detector
from oddkind import SCORES, Detector, InputError, fit_together
from oddkind.metrics import auc
from oddkind.scores import neighbours

SCORE_IS_A_PARAMETER = "takes our parameter `score` for scikit-learn's method `score`; its concern is tested below"


@parametrize_with_checks(
    [Detector(epochs=1, false_alarm_rate=0.5, random_state=0)],
    expected_failed_checks=lambda _: {
        "check_fit_score_takes_y": SCORE_IS_A_PARAMETER,
        "check_n_features_in_after_fitting": SCORE_IS_A_PARAMETER,
        "check_pipeline_consistency": SCORE_IS_A_PARAMETER,
    },
)
def test_scikit_learn(estimator, check):
    check(estimator)


def kinds(n=300, seed=0, apart=6.0):
    """Three kinds of normal vectors [n, 4], Gaussians on three of the axes, and which kind each is."""
    draw = np.random.default_rng(seed)
    label = draw.integers(3, size=n)
    return draw.normal(size=(n, 4)) + apart * np.eye(3, 4)[label], label


def pictures(n=200, seed=0):
    """Bytes [n, 1, 16, 16] that grow brighter downwards (kind 0) or to the right (1)."""
    draw = np.random.default_rng(seed)
    label = draw.integers(2, size=n)
    slope = np.linspace(0, 200, 16)
    ramp = np.where(label[:, None, None] == 0, slope[:, None], slope)
    return (ramp + draw.integers(56, size=(n, 16, 16))).astype(np.uint8)[:, None], label


def signals(n=200, seed=0):
    """Decaying oscillations [n, 2, 64]."""
    draw = np.random.default_rng(seed)
    time = np.arange(64)
    waves = np.exp(-time / 20) * np.sin(time / 3 + draw.uniform(0, 6, size=(n, 2, 1)))
    return waves + 0.1 * draw.normal(size=(n, 2, 64))


def quick(**parameters):
    return Detector(**{"epochs": 2, "random_state": 0, "false_alarm_rate": 0.2, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*kinds())


# --- The obvious use --------------------------------------------------------------------------------------


def test_an_outlier_among_three_kinds_is_found():
    inputs, labels = kinds(600)
    detector = Detector(random_state=0).fit(inputs, labels)
    normal, odd = kinds(300, seed=1)[0], np.random.default_rng(2).normal([0, 0, 0, 12], size=(300, 4))
    anomalous = np.repeat([False, True], 300)
    assert auc(anomalous, detector.anomaly_score(np.vstack([normal, odd]))) > 0.99
    assert (detector.predict(odd) == -1).mean() > 0.95
    assert (detector.predict(normal) == 1).mean() > 0.85
    assert detector.classes_.tolist() == [0, 1, 2]
    assert detector.accuracy_ > 0.95
    assert detector.losses_.shape == (5,)
    assert detector.losses_[-1] < detector.losses_[0]
    assert detector.train_seconds_ > 0


@pytest.mark.parametrize(
    ("normal", "new", "odd"),
    [
        (kinds(400)[0], kinds(100, seed=1)[0], np.random.default_rng(2).normal(size=(100, 4)) - 8),
        (signals(), signals(100, seed=1), signals(100, seed=1)[..., ::-1]),
        (pictures()[0], pictures(100, seed=1)[0], pictures(100, seed=1)[0][:, :, ::-1, ::-1].copy()),
    ],
    ids=["vectors", "signals", "pictures"],
)
def test_without_labels_the_task_makes_its_own(normal, new, odd):
    detector = Detector(random_state=0, epochs=20).fit(normal)
    assert not hasattr(detector, "classes_")
    anomalous = np.repeat([False, True], [len(new), len(odd)])
    assert auc(anomalous, detector.anomaly_score(np.concatenate([new, odd]))) > 0.9


@pytest.mark.parametrize("score", SCORES)
def test_every_score_finds_digits_it_was_not_shown(mnist, score):
    train, test = mnist
    train, test = train[::12], test[::12]
    detector = Detector(task="labels+rotations", score=score, epochs=4, learning_rate=1e-2, random_state=0)
    detector.fit(train.inputs, train.labels)
    assert auc(test.anomalous, detector.anomaly_score(test.inputs)) > 0.6


def test_outputs_are_what_the_network_said():
    inputs, labels = pictures()
    detector = quick(task="labels+rotations").fit(inputs, labels)
    outputs = detector.outputs(inputs[:7])
    assert outputs.logits.shape == (7, 4, 8)
    assert outputs.features.shape[:2] == (7, 4)
    assert outputs.targets is None
    assert_array_equal(detector.outputs(inputs[:7], labels[:7]).targets, labels[:7, None] * 4 + np.arange(4))
    assert_array_equal(quick(task="rotations").fit(inputs).outputs(inputs[:2]).targets, [[0, 1, 2, 3]] * 2)


def test_floats_are_standardised_by_what_was_learnt_from():
    inputs, labels = kinds()
    inputs = inputs * [1, 100, 1e-3, 1] + [0, 5, 0, -1e3]
    detector = quick().fit(inputs, labels)
    learnt = inputs[detector.training_rows_]
    assert_allclose(detector.mean_, learnt.mean(0), rtol=1e-4, atol=1e-6)
    assert_allclose(detector.scale_, learnt.std(0), rtol=1e-4)
    z = torch.tensor((inputs - learnt.mean(0)) / learnt.std(0), dtype=torch.float32)
    assert_allclose(detector.outputs(inputs).logits[:, 0], detector.network_(z)[0].detach(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 12345.678, -7e-5])
def test_a_feature_that_never_varies_is_not_blown_up(value):
    inputs, labels = kinds(311)
    inputs[:, 3] = value
    detector = quick().fit(inputs, labels)
    assert detector.scale_[3] == 1
    assert_allclose(detector.mean_[3], value, rtol=1e-6)


def test_scaling_or_shifting_float_inputs_changes_nothing():
    inputs, labels = kinds()
    plain, moved = (quick().fit(x, labels).anomaly_score(x) for x in (inputs, 64 * inputs + 128))
    assert_allclose(plain, moved, atol=1e-3)


def test_bytes_stay_0_to_1_and_whole_numbers_are_read_as_floats():
    inputs, labels = pictures()
    assert not hasattr(quick().fit(inputs, labels), "mean_")
    whole, floats = (quick().fit(x, labels).anomaly_score(x) for x in (inputs.astype(int), inputs.astype(float)))
    assert_array_equal(whole, floats)


# --- Laws -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["msp", "cosine-neighbours"])
def test_a_higher_false_alarm_rate_never_raises_fewer_alarms(score):
    inputs, labels = kinds(apart=1.0)
    new = kinds(500, seed=1, apart=1.0)[0]
    alarms = [
        (quick(score=score, false_alarm_rate=rate).fit(inputs, labels).predict(new) == -1)
        for rate in (0.05, 0.2, 0.4, 0.8)
    ]
    for fewer, more in pairwise(alarms):
        assert (more >= fewer).all()
    assert alarms[0].sum() < alarms[-1].sum()


def test_methods_follow_scikit_learns_signs(fitted):
    inputs = np.vstack([kinds(50, seed=1)[0], np.full((50, 4), -20.0)])
    scores = fitted.anomaly_score(inputs)
    assert_array_equal(fitted.score_samples(inputs), -scores)
    assert_array_equal(fitted.decision_function(inputs), -scores - fitted.offset_)
    assert_array_equal(fitted.predict(inputs), np.where(scores > -fitted.offset_, -1, 1))
    assert set(fitted.predict(inputs)) == {-1, 1}


@pytest.mark.parametrize(
    ("score", "known"),
    [
        ("msp", False),
        ("msp", True),
        ("target-nll", True),
        ("cosine-neighbours", False),
        ("cosine-neighbours", True),
        ("mahalanobis", False),
        ("mahalanobis", True),
    ],
)
def test_false_alarms_stay_within_the_promise(score, known):
    rate, alarms = 0.2, []
    for seed in range(20):
        inputs, labels = kinds(80, seed, apart=1.0)
        detector = Detector(
            epochs=1, random_state=seed, score=score, validation_fraction=0.5, false_alarm_rate=rate
        ).fit(inputs, labels)
        new, claimed = kinds(400, 1000 + seed, apart=1.0)
        alarms.append((detector.predict(new, claimed if known else None) == -1).mean())
    # n = 40 held out: the mean is between rate − 1/41 and rate.
    error = 3 * np.sqrt(rate * (1 - rate) / 42 / 20)
    assert rate - 1 / 41 - error <= np.mean(alarms) <= rate + error


@pytest.mark.parametrize("parameters", [{}, {"temperature": "fit", "task": "labels+affine"}, {"score": "msp"}])
def test_the_same_seed_gives_the_same_bits(parameters):
    inputs, labels = kinds()
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - a state that must play no part
    first = quick(**parameters).fit(inputs, labels)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    again, other = (quick(**{**parameters, "random_state": s}).fit(inputs, labels) for s in (0, 1))
    assert_array_equal(first.anomaly_score(inputs), again.anomaly_score(inputs))
    assert_array_equal(first.losses_, again.losses_)
    assert first.offset_ == again.offset_
    assert not np.array_equal(first.anomaly_score(inputs), other.anomaly_score(inputs))


def test_the_initial_weights_are_drawn_from_the_seed():
    still = (quick(random_state=seed, learning_rate=1e-30).fit(*kinds(60)).network_ for seed in range(2))
    one, other = (network.classifier.weight.detach() for network in still)
    assert not np.allclose(one, other)


def test_fitting_leaves_the_global_random_states_alone():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = torch.get_rng_state(), np.random.get_state()[1]  # noqa: NPY002
    quick().fit(*kinds(60))
    assert torch.equal(torch.get_rng_state(), expected[0])
    assert_array_equal(np.random.get_state()[1], expected[1])  # noqa: NPY002


def test_random_state_may_be_a_generator_or_none():
    inputs, labels = kinds(60)
    one, two = (
        quick(random_state=np.random.RandomState(0)).fit(inputs, labels).anomaly_score(inputs) for _ in range(2)
    )
    assert_array_equal(one, two)
    one, two = (quick(random_state=None).fit(inputs, labels).anomaly_score(inputs) for _ in range(2))
    assert not np.array_equal(one, two)


def test_clone_forgets_what_was_learnt_and_keeps_the_parameters(fitted):
    copy = clone(fitted.set_params(label_smoothing=0.0))
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "network_")
    assert_array_equal(copy.fit(*kinds()).anomaly_score(kinds()[0]), fitted.anomaly_score(kinds()[0]))


def test_a_users_network_is_not_trained_in_place():
    network = oddkind.detector.build("mlp", (4,), 3, seed=0)
    before = nn.utils.parameters_to_vector(network.parameters()).clone()
    detector = quick(network=network).fit(*kinds())
    assert torch.equal(nn.utils.parameters_to_vector(network.parameters()), before)
    assert not torch.equal(nn.utils.parameters_to_vector(detector.network_.parameters()), before)


def test_labels_may_be_strings_in_any_order():
    inputs, labels = kinds()
    named = quick(score="target-nll", task="labels+affine").fit(inputs, np.array(["c", "a", "b"])[labels])
    numbered = quick(score="target-nll", task="labels+affine").fit(inputs, np.array([2, 0, 1])[labels])
    assert named.classes_.tolist() == ["a", "b", "c"]
    assert_array_equal(named.anomaly_score(inputs), numbered.anomaly_score(inputs))
    assert_array_equal(
        named.anomaly_score(inputs, np.array(["c", "a", "b"])[labels]),
        numbered.anomaly_score(inputs, np.array([2, 0, 1])[labels]),
    )


@pytest.mark.parametrize("score", ["target-nll", "cosine-neighbours", "mahalanobis"])
def test_a_wrong_claim_is_an_anomaly(score):
    inputs, labels = kinds(600)
    detector = quick(score=score, epochs=5).fit(inputs, labels)
    new, true = kinds(100, seed=1)
    scores = np.concatenate([detector.anomaly_score(new, claim) for claim in (true, (true + 1) % 3)])
    assert auc(np.repeat([False, True], 100), scores) > 0.95


def test_target_nll_of_a_known_label_is_its_negative_log_likelihood():
    inputs, labels = kinds()
    detector = quick(score="target-nll", temperature=2.0).fit(inputs, labels)
    expected = -log_softmax(detector.outputs(inputs).logits[:, 0].astype(float) / 2, axis=1)[np.arange(300), labels]
    assert_allclose(detector.anomaly_score(inputs, labels), expected, rtol=1e-5)
    with pytest.raises(InputError, match="pass the labels"):
        detector.anomaly_score(inputs)


def test_a_score_may_be_a_function(fitted):
    inputs, labels = kinds()
    detector = quick(score=neighbours(k=3, metric="euclidean")).fit(inputs, labels)
    features = detector.outputs(inputs).features[:, 0]
    expected = np.sort(cdist(features, features[detector.training_rows_]), axis=1)[:, 2]
    assert_allclose(detector.anomaly_score(inputs), expected, atol=1e-4)
    told = []
    quick(score=lambda *given: told.append(given) or np.arange(len(given[0])), temperature=3.0).fit(inputs, labels)
    assert {(len(outputs), len(reference), temperature) for outputs, reference, temperature in told} == {(30, 270, 3.0)}


@pytest.mark.parametrize("task", ["labels", "labels+affine"])
def test_temperature_fit_makes_the_held_out_part_most_likely(task):
    inputs, labels = kinds(apart=1.5)
    detector = quick(task=task, temperature="fit", score="msp", epochs=10, learning_rate=1e-2).fit(inputs, labels)
    rows = detector.validation_rows_
    outputs = detector.outputs(inputs[rows], labels[rows])

    def nll(temperature):
        return SCORES["target-nll"].compute(outputs, None, temperature).mean()

    assert 0.1 < detector.temperature_ < 10
    assert nll(detector.temperature_) <= min(nll(t) for t in np.geomspace(0.1, 10, 200)) + 1e-6
    assert_allclose(
        detector.anomaly_score(inputs), SCORES["msp"].compute(detector.outputs(inputs), None, detector.temperature_)
    )


def test_accuracy_is_that_of_the_held_out_part():
    inputs, labels = kinds(apart=1.5)
    detector = quick(validation_fraction=0.3).fit(inputs, labels)
    rows = detector.validation_rows_
    assert len(rows) == 90
    assert_array_equal(np.sort(np.concatenate([rows, detector.training_rows_])), np.arange(300))
    predicted = detector.outputs(inputs[rows]).logits[:, 0].argmax(1)
    assert detector.accuracy_ == (predicted == labels[rows]).mean()
    assert 0.3 < detector.accuracy_ < 1


def test_groups_are_held_out_whole():
    inputs, labels = kinds()
    groups = np.random.default_rng(0).permutation(300) // 5
    for given in (groups, groups.tolist(), groups.astype(str)):
        detector = quick().fit(inputs, labels, groups=given)
        learnt, held_out = groups[detector.training_rows_], groups[detector.validation_rows_]
        assert not set(learnt) & set(held_out)
        assert len(set(held_out)) == 6


def test_a_detector_survives_pickling(fitted):
    inputs = kinds(50, seed=1)[0]
    again = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    assert_array_equal(again.anomaly_score(inputs), fitted.anomaly_score(inputs))
    assert_array_equal(again.predict(inputs), fitted.predict(inputs))


def test_fitting_again_forgets_the_first_time():
    inputs, labels = kinds()
    detector = quick().fit(pictures()[0], pictures()[1]).fit(inputs, labels)
    assert_array_equal(detector.anomaly_score(inputs), quick().fit(inputs, labels).anomaly_score(inputs))
    assert not hasattr(detector.fit(inputs), "classes_")


def test_inputs_are_not_changed():
    inputs, labels = kinds()
    inputs.flags.writeable = False
    before = inputs.copy()
    quick().fit(inputs, labels).predict(inputs)
    assert_array_equal(inputs, before)


def test_a_pipeline_ends_in_the_same_detector(fitted):
    pipeline = make_pipeline(quick()).fit(*kinds())
    assert_array_equal(pipeline.decision_function(kinds()[0]), fitted.decision_function(kinds()[0]))


def test_progress_is_shown_when_asked(capsys, monkeypatch):
    quick().fit(*kinds(60))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    quick(verbose=True).fit(*kinds(60))
    assert "training" in "".join(capsys.readouterr())


# --- Fitting together -------------------------------------------------------------------------------------


class WithDropout(nn.Module):
    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.inner, self.classifier = nn.Linear(*input_shape, 8), nn.Linear(8, n_classes)
        self.dropout = nn.Dropout()

    def forward(self, x):
        features = self.dropout(self.inner(x).relu())
        return self.classifier(features), features


SETTINGS = {
    "seeds": [{"random_state": seed} for seed in range(3)],
    "transforms": [{"task": "labels+{}", "random_state": seed} for seed in range(2)],
    "training": [{"label_smoothing": 0.3}, {"learning_rate": 1e-2}, {}],
    "scoring": [{"score": "msp", "temperature": "fit"}, {"score": "energy"}, {"false_alarm_rate": 0.5}],
    "forms": [
        {"epochs": 1},
        {"task": "labels+{}"},
        {"task": "{}"},
        {"batch_size": 7},
        {},
        {"validation_fraction": 0.5},
    ],
    "dropout": [{"network": WithDropout, "random_state": seed} for seed in range(2)],
}


@pytest.mark.parametrize(
    ("data", "settings"),
    [(data, name) for data in ("vectors", "pictures") for name in SETTINGS if (data, name) != ("pictures", "dropout")],
)
def test_detectors_fitted_together_are_those_fitted_alone(data, settings):
    inputs, labels = kinds() if data == "vectors" else pictures()
    transform = "affine" if data == "vectors" else "rotations"
    parameters = [
        {**setting, "task": setting.get("task", "labels").format(transform)} for setting in SETTINGS[settings]
    ]
    together, alone = ([quick(**p) for p in parameters] for _ in range(2))
    fit_together(together, inputs, labels)
    for found, expected in zip(together, alone, strict=True):
        expected.fit(inputs, labels)
        assert_array_equal(found.validation_rows_, expected.validation_rows_)
        assert_allclose(found.losses_, expected.losses_, rtol=1e-4)
        assert_allclose(found.temperature_, expected.temperature_, rtol=1e-3)
        assert_allclose(found.offset_, expected.offset_, rtol=1e-3, atol=1e-4)
        assert_allclose(found.outputs(inputs).logits, expected.outputs(inputs).logits, rtol=1e-3, atol=1e-4)


def test_fitting_together_tells_its_progress():
    told = []
    detectors = [quick(epochs=epochs, random_state=seed) for epochs in (1, 3) for seed in range(2)]
    fit_together(detectors, *kinds(60), on_progress=told.append)
    assert told == sorted(told)
    assert 0 < told[0] < 0.5
    assert told[-1] == pytest.approx(1)


# --- Refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": 0}, "epochs=0; it must be a whole number of at least 1"),
        ({"epochs": 1.5}, r"epochs=1\.5; it must be a whole number"),
        ({"epochs": True}, "epochs=True; it must be a whole number"),
        ({"epochs": "5"}, "epochs='5'; it must be a whole number"),
        ({"batch_size": 0}, "batch_size=0; it must be a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate=0; it must be a number above 0"),
        ({"learning_rate": np.nan}, "learning_rate=nan; it must be"),
        ({"learning_rate": np.inf}, "learning_rate=inf; it must be"),
        ({"label_smoothing": 1}, "label_smoothing=1; it must be a number from 0 to below 1"),
        ({"label_smoothing": -0.1}, r"label_smoothing=-0\.1; it must be"),
        ({"validation_fraction": 0}, "validation_fraction=0; it must be a number between 0 and 1"),
        ({"validation_fraction": 1.0}, r"validation_fraction=1\.0; it must be"),
        ({"false_alarm_rate": 0}, "false_alarm_rate=0; it must be a number between 0 and 1"),
        ({"false_alarm_rate": 1}, "false_alarm_rate=1; it must be"),
        ({"temperature": 0}, "temperature=0; it must be a number above 0, or 'fit'"),
        ({"temperature": "warm"}, "temperature='warm'; it must be a number above 0, or 'fit'"),
        ({"temperature": None}, "temperature=None; it must be"),
        ({"score": "odin"}, "score='odin'; known are 'msp', 'max-logit'"),
        ({"score": 5}, "score=5; "),
        ({"score": None}, "score=None; "),
        ({"task": "jigsaw"}, "task='jigsaw'; known are 'auto', 'labels'"),
        ({"task": "rotations"}, "turns square pictures"),
        ({"network": "resnet"}, "network='resnet'; known are 'auto'"),
        ({"network": "lecture"}, "network 'lecture' reads pictures"),
        ({"network": nn.Linear(4, 3)}, r"must return \(logits, features\)"),
        ({"device": "abacus"}, "device='abacus'; it must be"),
        ({"device": None}, "device=None; it must be"),
        ({"score": "rotation-distance"}, "score='rotation-distance' needs a task with rotations; task='auto' has none"),
        ({"score": "expected-rotation-distance"}, "needs a task with rotations"),
    ],
    ids=repr,
)
def test_parameters_out_of_range_are_refused(parameters, message):
    with pytest.raises(InputError, match=message):
        quick(**parameters).fit(*kinds(60))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="device='cuda'"):
        quick(device="cuda").fit(*kinds(60))


def test_the_random_state_is_checked():
    with pytest.raises(ValueError, match="cannot be used to seed"):
        quick(random_state="today").fit(*kinds(60))


def spoilt(value):
    inputs = kinds(60)[0]
    inputs[3, 1] = value
    return inputs


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (spoilt(np.nan), "contains NaN"),
        (spoilt(np.inf), "contains infinity"),
        (spoilt(1e300), r"beyond the range of float32, ±3\.4e38"),
        (np.empty((0, 4)), "0 sample"),
        (np.empty((60, 0)), "0 feature"),
        (np.empty((60, 1, 0, 8), np.uint8), r"X has shape \(60, 1, 0, 8\); every axis needs at least 1"),
        (np.ones((1, 4)), "1 sample"),
        (np.ones(60), "Expected 2D array"),
        (np.float64(3), "Expected 2D array"),
        (np.ones((60, 1, 2, 3, 4)), r"X has 5 axes; pass \[N, D\], \[N, C, T\] or \[N, C, H, W\]"),
        ([["a", "b"]] * 60, "could not convert string"),
        (np.full((60, 1, 8, 8), np.nan), "contains NaN"),
        (np.ones((60, 1, 7, 7), np.uint8), "at least 8 × 8"),
        (np.ones((60, 1, 8, 9), np.uint8), "turns square pictures"),
    ],
    ids=lambda given: given if isinstance(given, str) else f"{np.shape(given)}",
)
def test_samples_that_cannot_be_learnt_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(inputs)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(59, int), "59 labels for 60 samples; pass one label a sample"),
        (np.zeros(61, int), "61 labels for 60 samples"),
        (np.array([], int), "0 labels for 60 samples"),
        (np.zeros(60, int), "all 60 labels are 0; telling kinds apart needs at least 2"),
        (np.full(60, "fan"), "all 60 labels are 'fan'"),
        (np.arange(60), "60 samples of 60 labels leave none to hold out"),
        (np.zeros((60, 2), int), "should be a 1d array"),
        (np.linspace(0, 1, 60), "Unknown label type: continuous"),
        (np.where(np.arange(60) > 3, 1.0, np.nan), "NaN"),
    ],
    ids=lambda given: given if isinstance(given, str) else f"{np.shape(given)}",
)
@pytest.mark.filterwarnings("ignore:The number of unique classes", "ignore:invalid value encountered in cast")
def test_labels_that_cannot_be_learnt_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(kinds(60)[0], labels)


def test_a_task_of_labels_without_labels_is_refused():
    with pytest.raises(InputError, match="task 'labels' classifies internal labels; pass them as the second argument"):
        quick(task="labels").fit(kinds(60)[0])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(59), "inconsistent numbers of samples"),
        (np.zeros(60), "all samples are of one group"),
        (kinds(60)[1], "label"),  # a group a label: whichever is held out is a label never learnt
    ],
    ids=["length", "one", "a label each"],
)
def test_groups_that_cannot_be_held_out_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(*kinds(60), groups=groups)


@pytest.mark.parametrize("method", ["anomaly_score", "score_samples", "decision_function", "predict", "outputs"])
def test_new_samples_of_another_form_are_refused(fitted, method):
    ask = getattr(fitted, method)
    for inputs, message in (
        (np.ones((5, 3)), "X has 3 features, but Detector is expecting 4 features"),
        (np.ones((5, 4, 2)), r"samples have shape \(4, 2\); the detector learnt \(4,\)"),
        (np.ones(4), "Expected 2D array"),
        (np.empty((0, 4)), "0 sample"),
        (np.full((5, 4), np.nan), "contains NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(inputs)
    for labels, message in (
        (np.zeros(4, int), "4 labels for 5 samples"),
        (np.full(5, 7), "label 7 of sample 0 was not learnt"),
        (np.full(5, "a"), "label 'a' of sample 0 was not learnt"),
    ):
        with pytest.raises(InputError, match=message):
            ask(np.ones((5, 4)), labels)


def test_a_detector_that_learnt_bytes_refuses_floats():
    inputs, labels = pictures()
    detector = quick().fit(inputs, labels)
    with pytest.raises(InputError, match="samples are floats; the detector learnt uint8, 0 to 255"):
        detector.predict(inputs / 255)


def test_too_few_samples_for_the_rate_are_refused_before_training(monkeypatch):
    monkeypatch.setattr(oddkind.detector, "train", lambda *_, **__: pytest.fail("trained for nothing"))
    with pytest.raises(
        InputError, match=r"rate of 0\.05 can be promised from 19 held-out normal samples on; there are 6"
    ):
        Detector(random_state=0).fit(*kinds(60))


def test_refusals_are_value_errors():
    assert issubclass(InputError, ValueError)
