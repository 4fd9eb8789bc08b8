"""What the detector refuses, and how it says so."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import kinds, pictures, quick
from torch import nn

from oddkind import Detector, InputError, PromiseWarning
from oddkind.model.conformal import min_calibration_size, unpromised


@pytest.fixture(scope="module")
def fitted():
    return quick().fit(*kinds())


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epochs": 0}, "epochs=0; it must be a whole number of at least 1"),
        ({"epochs": 1.5}, r"epochs=1\.5; it must be a whole number"),
        ({"epochs": True}, "epochs=True; it must be a whole number"),
        ({"epochs": "5"}, "epochs='5'; it must be a whole number of at least 1, or 'auto'"),
        ({"max_shift": -1}, "max_shift=-1; it must be a whole number of at least 0, or 'auto'"),
        ({"max_shift": 1.5}, r"max_shift=1\.5; it must be"),
        ({"max_shift": None}, "max_shift=None; it must be"),
        ({"schedule": "cosine"}, "schedule='cosine'; known are 'constant', 'one-cycle'"),
        ({"schedule": None}, "schedule=None; known are"),
        ({"batch_size": 0}, "batch_size=0; it must be a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate=0; it must be a number above 0"),
        ({"learning_rate": np.nan}, "learning_rate=nan; it must be"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1; it must be a number of at least 0"),
        ({"learning_rate": np.inf}, "learning_rate=inf; it must be"),
        ({"label_smoothing": 1}, "label_smoothing=1; it must be a number from 0 to below 1"),
        ({"label_smoothing": -0.1}, r"label_smoothing=-0\.1; it must be"),
        ({"mixup": -0.1}, r"mixup=-0\.1; it must be a number of at least 0"),
        ({"mixup": np.nan}, "mixup=nan; it must be"),
        ({"warp": 1.5}, r"warp=1\.5; it must be a number from 0 to 1, or 'auto'"),
        ({"warp": True}, "warp=True; it must be"),
        ({"calibration_fraction": 0}, "calibration_fraction=0; it must be a number between 0 and 1"),
        ({"calibration_fraction": 1.0}, r"calibration_fraction=1\.0; it must be"),
        ({"false_alarm_rate": 0}, "false_alarm_rate=0; it must be a number between 0 and 1"),
        ({"false_alarm_rate": 1}, "false_alarm_rate=1; it must be"),
        ({"temperature": 0}, "temperature=0; it must be a number above 0, or 'fit'"),
        ({"temperature": "warm"}, "temperature='warm'; it must be a number above 0, or 'fit'"),
        ({"temperature": None}, "temperature=None; it must be"),
        ({"score_function": "odin"}, "score_function='odin'; known are 'auto', 'msp', 'max-logit'"),
        ({"score_function": 5}, "score_function=5; pass a name of oddkind.SCORES or an oddkind.Score"),
        ({"score_function": lambda outputs: outputs.logits}, "score_function=<function .*; pass a name"),
        ({"score_function": None}, "score_function=None; "),
        ({"task": "jigsaw"}, "task='jigsaw'; known are 'auto', 'labels'"),
        ({"task": "rotations"}, "rotates square pictures"),
        ({"network": "resnet"}, "network='resnet'; known are 'auto'"),
        ({"network": "lecture"}, "network 'lecture' reads pictures"),
        ({"network": nn.Linear(4, 3)}, r"must return \(logits, features\)"),
        ({"device": "abacus"}, "device='abacus'; it must be"),
        ({"device": None}, "device=None; it must be"),
        (
            {"score_function": "rotation-distance"},
            "'rotation-distance' needs a task with rotations; task='auto' has none",
        ),
        ({"score_function": "expected-rotation-distance"}, "needs a task with rotations"),
    ],
    ids=lambda given: repr(given).partition(" at 0x")[0],
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


def clone_of(fitted, **parameters):
    return copy.copy(fitted).set_params(**parameters)


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
        (
            np.ones((60, 1, 2, 3, 4)),
            r"X has 5 axes; pass vectors \[N, D\], signals \[N, C, T\] or pictures \[N, C, H, W\]",
        ),
        ([["a", "b"]] * 60, "not compatible with arrays of bytes/strings"),
        (np.array([["a", 1]] * 60, object), "could not convert string"),
        (np.ones((60, 4), complex), "Complex data not supported"),
        (np.full((60, 1, 8, 8), np.nan), "contains NaN"),
        (np.ones((60, 1, 7, 7), np.uint8), "at least 8 × 8"),
        (np.ones((60, 1, 7, 9), np.uint8), "network 'local' reads pictures"),
    ],
    ids=lambda given: given if isinstance(given, str) else f"{np.shape(given)}",
)
def test_samples_that_cannot_be_learnt_are_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(inputs)


@pytest.mark.parametrize("given", [{"max_shift": 2}, {"warp": 0.1}], ids=str)
def test_views_that_are_compared_place_by_place_cannot_be_moved(given):
    with pytest.raises(InputError, match="network 'unet' compares the views place by place, so they cannot be moved"):
        quick(task="defects", **given).fit(np.zeros((60, 1, 16, 16), np.uint8))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(59, int), "59 labels for 60 samples; pass one label a sample"),
        (np.zeros(61, int), "61 labels for 60 samples"),
        (np.array([], int), "0 labels for 60 samples"),
        (np.zeros(60, int), "all 60 labels are 0; .*at least 2"),
        (np.full(60, "fan"), "all 60 labels are 'fan'"),
        (np.arange(60), "60 samples of 60 labels leave none to hold out"),
        (np.zeros((60, 2), int), "should be a 1d array"),
        (np.linspace(0, 1, 60), "Unknown label type: continuous"),
        (np.where(np.arange(60) > 3, 1.0, np.nan), "4 of 60 labels are missing"),
    ],
    ids=lambda given: given if isinstance(given, str) else f"{np.shape(given)}",
)
@pytest.mark.filterwarnings("ignore:The number of unique classes", "ignore:invalid value encountered in cast")
def test_labels_that_cannot_be_learnt_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        quick(task="labels").fit(kinds(60)[0], labels)


def test_a_task_of_labels_without_labels_is_refused():
    with pytest.raises(InputError, match="task 'labels' classifies internal labels; pass them as the second argument"):
        quick(task="labels").fit(kinds(60)[0])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.zeros(59), "inconsistent numbers of samples"),
        (np.zeros(60), "all samples are of one group"),
        (kinds(60)[1], r"each of the 3 groups is the only one of some label, such as 0, so none can be held out"),
    ],
    ids=["length", "one", "a label each"],
)
def test_groups_that_cannot_be_held_out_are_refused(groups, message):
    with pytest.raises(ValueError, match=message):
        quick(calibration_fraction=0.1, false_alarm_rate=0.5).fit(*kinds(60), groups=groups)


@pytest.mark.parametrize("method", ["anomaly_score", "score_samples", "decision_function", "predict", "outputs"])
def test_new_samples_of_another_form_are_refused(fitted, method):
    ask = getattr(fitted, method)
    for inputs, message in (
        (np.ones((5, 3)), "X has 3 features, but Detector is expecting 4 features"),
        (np.ones((5, 4, 2)), r"samples have shape \(4, 2\); the model learnt \(4,\)"),
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
    with pytest.raises(InputError, match="samples are floats; the model learnt uint8, 0 to 255"):
        detector.predict(inputs / 255)


@pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")  # labels of few samples
@pytest.mark.parametrize(
    ("parameters", "groups", "message"),
    [
        (
            {},
            None,
            r"at least 19 held-out normal samples; there are 18\. Pass more samples, or raise the rate to 0\.053",
        ),
        ({"calibration_fraction": 0.2}, None, r"at least 19 held-out normal samples; there are 7\. Pass more samples"),
        ({}, np.arange(36) // 2, r"at least 19 held-out normal groups; there are 9\. Pass more groups"),
        ({"calibration_fraction": 0.5}, np.arange(36) // 2, "at least 19 held-out normal groups; there are 9"),
        ({"per_label": True}, None, "at least 19 held-out normal samples of label 0; there are 6"),
        (
            {"per_label": True, "calibration_fraction": 0.3},
            None,
            "at least 19 held-out normal samples of label [012]; there are 3",
        ),
    ],
)
def test_too_few_samples_for_the_rate_give_one_warning_and_no_alarm(parameters, groups, message):
    labels = np.arange(36) // 2 % 3
    detector = Detector(random_state=0, epochs=1, **parameters)
    with pytest.warns(
        PromiseWarning, match=r"no alarm is raised: a false-alarm rate of 0\.05 takes " + message
    ) as said:
        detector.fit(kinds(36)[0], labels, groups)
    assert len(said) == 1
    assert (detector.predict(kinds(36)[0] + 99, labels) == 1).all()


@given(st.integers(2, 200), st.floats(1e-4, 0.5))
def test_the_rate_that_the_warning_suggests_can_be_promised(n, rate):
    if n < min_calibration_size(rate):
        suggested = float(unpromised(n, rate, "samples").split("raise the rate to ")[1].split()[0])
        assert suggested > rate
        assert suggested < 0.5
        assert n >= min_calibration_size(suggested)


def test_a_single_held_out_group_has_nothing_to_be_compared_with_and_raises_no_alarm():
    inputs, labels = pictures(60)
    with pytest.warns(PromiseWarning, match="at least 2 held-out normal groups; there are 1"):
        detector = quick(score_function="combined", calibration_fraction=0.5, false_alarm_rate=0.4, epochs=1).fit(
            inputs, labels, groups=np.arange(60) % 2
        )
    assert (detector.p_value(255 - inputs) >= 0.5).all()
    assert (detector.predict(255 - inputs) == 1).all()


def test_a_promise_within_each_label_needs_labels_and_groups_of_one():
    with pytest.raises(InputError, match="per_label=True needs a task with labels; task='affine'"):
        quick(per_label=True, task="affine").fit(kinds(60)[0])
    with pytest.raises(InputError, match="group 0 has samples of two labels"):
        quick(per_label=True).fit(kinds(60)[0], np.arange(60) % 2, np.arange(60) // 2)


def test_a_rate_set_after_fitting_is_refused_if_it_is_out_of_range(fitted):
    inputs = kinds(3)[0]
    with pytest.raises(InputError, match="false_alarm_rate=2; it must lie between 0 and 1"):
        clone_of(fitted, false_alarm_rate=2).predict(inputs)
    with pytest.raises(InputError, match="fit was given no groups"):
        fitted.group_p_value(inputs, np.zeros(3))


@pytest.mark.parametrize("method", ["p_value", "predict"])
def test_nan_and_labels_that_were_not_learnt_get_no_p_value(fitted, method):
    with pytest.raises(ValueError, match="contains NaN"):
        getattr(fitted, method)(spoilt(np.nan))
    with pytest.raises(InputError, match="label 7 of sample 1 was not learnt; known are"):
        getattr(fitted, method)(kinds(3)[0], [0, 7, 0])


def test_refusals_are_value_errors():
    assert issubclass(InputError, ValueError)
