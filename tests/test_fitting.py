"""Detectors fitted together, and fleets: each as if it had been fitted alone."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from problems import assert_same, kinds, pictures, quick, signals

from oddkind import ConcernWarning, Detector, InputError, PromiseWarning, Samples, fit_fleet, fit_together
from oddkind.metrics import auc
from oddkind.study.evaluation import LECTURE

# Two epochs teach little, and pictures of one slope or another are progress apart by a single pixel.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")]

SETTINGS = {
    "seeds": [{"random_state": seed} for seed in range(3)],
    "transforms": [{"task": "labels+{}", "random_state": seed} for seed in range(2)],
    "training": [{"label_smoothing": 0.3}, {"learning_rate": 1e-2, "weight_decay": 0.1}, {}],
    "scoring": [
        {"score_function": "msp", "temperature": "fit"},
        {"score_function": "energy"},
        {"false_alarm_rate": 0.5},
    ],
    "forms": [
        {"epochs": 1},
        {"task": "labels+{}"},
        {"task": "{}"},
        {"batch_size": 7},
        {},
        {"calibration_fraction": 0.5},
    ],
    "n_members": [{"n_members": 3}, {"n_members": 2, "random_state": 1}],
}


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
            "score_function": score,
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


def test_fitting_together_reports_its_progress():
    progress = []
    detectors = [quick(epochs=epochs, batch_size=16, random_state=seed) for epochs in (1, 3) for seed in range(2)]
    fit_together(detectors, *kinds(60), on_progress=progress.append)
    assert progress == sorted(progress)
    assert 0 < progress[0] < 0.5
    assert progress[-1] == pytest.approx(1)


def test_nothing_to_fit_is_no_error():
    fit_together([], *kinds(60))
    assert fit_fleet({}, quick()) == {}


def test_a_detector_of_which_a_parameter_is_refused_leaves_all_as_they_were(trained):
    inputs, labels = kinds(60)
    fitted = quick().fit(inputs, labels)
    model, trained[:] = fitted.model_, []
    with pytest.raises(InputError, match="epochs=0"):
        fit_together([fitted, quick(), quick(epochs=0)], inputs, labels)
    assert fitted.model_ is model
    assert not trained


def test_detectors_fitted_together_and_interrupted_stay_as_they_were():
    inputs, labels = kinds(60)
    detectors = [quick().fit(inputs, labels), quick(epochs=5)]
    model = detectors[0].model_

    def interrupt(done):
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_together(detectors, *kinds(60, seed=1), on_progress=interrupt)
    assert detectors[0].model_ is model
    assert not hasattr(detectors[1], "model_")


def test_the_rows_to_hold_out_may_be_given():
    rows = [np.arange(0, 60, 2), np.arange(10)]
    detectors = [quick(), quick(calibration_fraction=0.9)]
    fit_together(detectors, *kinds(60), calibration_rows=rows)
    for detector, own in zip(detectors, rows, strict=True):
        report = detector.model_.report
        assert_array_equal(report.calibration_rows, own)
        assert_array_equal(report.training_rows, np.setdiff1d(np.arange(60), own))


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
    assert not hasattr(like, "model_")
    for name, samples in machines.items():
        expected = quick(label_smoothing=0.1).fit(samples.inputs, samples.labels, samples.groups)
        assert_same(found[name], expected, samples.inputs)


def test_a_fleet_of_one_form_is_one_stack(trained):
    fit_fleet(FLEETS["vectors"], quick(n_members=2))
    assert trained == [6]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (Samples(np.full((60, 4), np.nan)), "fan 3: .*NaN"),
        (Samples(kinds(60)[0], np.zeros(60)), r"fan 3: all 60 labels are 0\.0"),
        (Samples(kinds(60)[0], kinds(60)[1], groups=np.zeros(60)), "fan 3: all samples are of one group"),
        (Samples(*kinds(1)), r"fan 3: .*1 sample"),
        (Samples(np.ones((60, 1, 7, 7), np.uint8), np.arange(60) % 2), "fan 3: .*at least 8 × 8"),
    ],
)
def test_an_error_names_the_machine_and_nothing_is_trained(trained, samples, message):
    with pytest.raises(InputError, match=message):
        fit_fleet({"fan 1": vectors_of(240, 0), "fan 3": samples}, quick(task="labels"))
    assert not trained


def test_the_warning_of_a_rate_that_a_machine_cannot_promise_names_the_machine():
    machines = {"pump 1": Samples(*kinds(60)), "pump 2": Samples(*kinds(6))}
    with pytest.warns(PromiseWarning, match="^pump 2: no alarm is raised: .* at least 4 .*; there are 3") as said:
        fleet = fit_fleet(machines, quick(epochs=1))
    assert [one.category for one in said if one.category is not ConcernWarning] == [PromiseWarning]
    assert np.isfinite(fleet["pump 2"].anomaly_score(kinds(6)[0])).all()
