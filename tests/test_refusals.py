"""What the detector refuses, and how it says so."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from problems import kinds, pictures, quick
from torch import nn

import oddkind.train.stacks
from oddkind import Detector, InputError


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
        ({"shift": -1}, "shift=-1; it must be a whole number of at least 0, or 'auto'"),
        ({"shift": 1.5}, r"shift=1\.5; it must be"),
        ({"shift": None}, "shift=None; it must be"),
        ({"schedule": "cosine"}, "schedule='cosine'; known are 'constant', 'one-cycle'"),
        ({"schedule": None}, "schedule=None; known are"),
        ({"batch_size": 0}, "batch_size=0; it must be a whole number of at least 1"),
        ({"learning_rate": 0}, "learning_rate=0; it must be a number above 0"),
        ({"learning_rate": np.nan}, "learning_rate=nan; it must be"),
        ({"weight_decay": -0.1}, "weight_decay=-0.1; it must be a number of at least 0"),
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
        ({"score": "odin"}, "score='odin'; known are 'auto', 'msp', 'max-logit'"),
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
        (np.ones((60, 1, 2, 3, 4)), r"X has 5 axes; pass \[N, D\], \[N, C, T\] or \[N, C, H, W\]"),
        ([["a", "b"]] * 60, "could not convert string"),
        (np.full((60, 1, 8, 8), np.nan), "contains NaN"),
        (np.ones((60, 1, 7, 7), np.uint8), "at least 8 × 8"),
        (np.ones((60, 1, 7, 9), np.uint8), "network 'local' reads pictures"),
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
        quick(task="labels").fit(kinds(60)[0], labels)


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
        quick(validation_fraction=0.1, false_alarm_rate=0.5).fit(*kinds(60), groups=groups)


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


@pytest.mark.parametrize(
    ("parameters", "groups", "message"),
    [
        ({}, None, r"from 38 normal samples on, half of them held out; there are 36\. Pass more, a rate of 0\.06"),
        ({"validation_fraction": 0.2}, None, r"from 19 held-out normal samples on; there are 7\. Pass more samples"),
        ({}, np.arange(36) // 2, "from 38 normal groups on, half of them held out; there are 18"),
        ({"validation_fraction": 0.5}, np.arange(36) // 2, "from 19 held-out normal groups on; there are 9"),
        ({"per_label": True}, None, "from 38 normal samples of each label on, half of them held out; there are 12"),
        (
            {"per_label": True, "validation_fraction": 0.5},
            None,
            "from 19 held-out normal samples of label 0 on; there are 6",
        ),
    ],
)
def test_too_few_samples_for_the_rate_are_refused_before_training(monkeypatch, parameters, groups, message):
    monkeypatch.setattr(oddkind.train.stacks, "train", lambda *_, **__: pytest.fail("trained for nothing"))
    labels = np.arange(36) // 2 % 3
    with pytest.raises(InputError, match="a false-alarm rate of 0.05 can be promised " + message):
        Detector(random_state=0, **parameters).fit(kinds(36)[0], labels, groups)


@given(st.integers(2, 60))
def test_the_rate_that_a_refusal_suggests_can_be_promised(n):
    detector = Detector(false_alarm_rate=1e-3)
    detector._grouped = False
    with pytest.raises(InputError) as refusal:
        detector._fraction(None, np.arange(n))
    rate = float(str(refusal.value).split("a rate of ")[1].split()[0])
    if rate < 1:
        assert detector.set_params(false_alarm_rate=rate)._fraction(None, np.arange(n)) <= 0.5


def test_scores_made_comparable_among_held_out_groups_take_two_of_them():
    inputs, labels = pictures(60)
    with pytest.raises(InputError, match="score='combined' compares held-out groups with each other; 1 is held out"):
        quick(score="combined", validation_fraction=0.5, false_alarm_rate=0.5).fit(
            inputs, labels, groups=np.arange(60) % 2
        )


def test_a_promise_within_each_label_needs_labels_and_groups_of_one():
    with pytest.raises(InputError, match="per_label=True needs a task with labels; task='affine'"):
        quick(per_label=True, task="affine").fit(kinds(60)[0])
    with pytest.raises(InputError, match="group 0 has samples of two labels"):
        quick(per_label=True).fit(kinds(60)[0], np.arange(60) % 2, np.arange(60) // 2)


def test_a_rate_set_after_fitting_is_refused_where_it_cannot_be_promised(fitted):
    inputs = kinds(3)[0]
    with pytest.raises(InputError, match=r"0\.001 can be promised from 999 held-out normal samples on; there are"):
        clone_of(fitted, false_alarm_rate=0.001).predict(inputs)
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
