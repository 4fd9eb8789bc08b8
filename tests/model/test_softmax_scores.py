"""Scores of the softmax against scipy, and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.special import softmax as reference_softmax
from scoring import (
    LABELS,
    VIEWS,
    N,
    outputs_of,
    scored,
)

from oddkind import InputError, Outputs
from oddkind.model import formulas
from oddkind.model.outputs import softmax


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_target_nll_sums_over_the_labels_when_only_the_transform_is_known(draw, temperature):
    outputs = outputs_of(draw, N, known=False)
    p = reference_softmax(outputs.logits / temperature, axis=-1)
    expected = [
        np.mean([-np.log(sum(p[n, v, label * VIEWS + v] for label in range(LABELS))) for v in range(VIEWS)])
        for n in range(N)
    ]
    assert_allclose(scored("target-nll", outputs, None, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_rotation_scores_sum_over_the_labels(draw, temperature):
    outputs = outputs_of(draw, N)
    p = reference_softmax(outputs.logits / temperature, axis=-1).reshape(N, VIEWS, LABELS, VIEWS).sum(2)
    turns, apart = np.arange(4), formulas.circular_distance(4)
    assert_allclose(reference_softmax(outputs.transform_logits(), axis=-1).sum(-1), 1)
    found = scored("expected-rotation-distance", outputs, None, temperature)
    assert_allclose(found, (p * apart).sum(-1).mean(1))
    if temperature == 1:
        expected = apart[p.argmax(-1), turns].mean(1)
        assert_array_equal(scored("rotation-distance", outputs, None, temperature), expected)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_likelihood_is_that_of_one_label_in_all_views_beside_its_normal_samples(draw, temperature):
    outputs, reference = outputs_of(draw, N), outputs_of(draw, 60)
    own = reference.targets[:, 0] // VIEWS

    def p(of, view):
        return reference_softmax(of.logits[:, view] / temperature, axis=-1)

    def nll(of, label):
        return np.mean([-np.log(p(of, v) @ p(reference, v)[own == label].mean(0)) for v in range(VIEWS)], 0)

    expected = np.stack(
        [stats.zmap(nll(outputs, label), nll(reference, label)[own == label]) for label in range(LABELS)], 1
    )
    of_the_label = expected[np.arange(N), outputs.targets[:, 0] // VIEWS]
    assert_allclose(scored("likelihood", outputs, reference, temperature), of_the_label)
    assert_allclose(scored("likelihood", replace(outputs, targets=None), reference, temperature), expected.min(1))


def test_a_label_that_is_hard_for_normal_samples_too_is_held_to_less(draw):
    label = np.repeat([0, 1], 50)
    # Label 1 is half as likely as not, even for its own: label 0 never errs.
    sure = np.where(label == 0, 9.0, draw.normal(0, 1, size=100))
    logits = np.where(np.arange(2) == label[:, None], sure[:, None], 0)[:, None]
    reference = Outputs(logits + 0.01 * draw.normal(size=logits.shape), logits, label[:, None])
    torn, odd = np.array([[[0.0, 0.0]]]), np.array([[[7.0, 0.0]]])
    p = softmax(logits)
    usual = np.stack([p[label == 0].mean(0), p[label == 1].mean(0)])
    nll_of_torn, nll_of_odd = (formulas.label_nll(z, np.log(usual))[0].min() for z in (torn, odd))
    assert nll_of_torn > nll_of_odd
    low, high = (scored("likelihood", Outputs(z, z), reference)[0] for z in (torn, odd))
    assert low < high


def test_classes_that_normal_samples_are_taken_for_are_as_good_as_the_true_one(draw):
    sure = 9.0 * np.eye(4)[None]  # every view is taken for what it is
    upside_down = sure[:, [2, 3, 0, 1]]
    usual = (softmax(sure) + softmax(upside_down)) / 2
    sideways = sure[:, [1, 2, 3, 0]]
    nll = [formulas.label_nll(logits, np.log(usual))[0, 0] for logits in (sure, upside_down, sideways)]
    assert nll[0] == pytest.approx(nll[1])
    assert nll[2] > nll[0] + 3
    logits = draw.normal(size=(N, 4, 4)) * 2
    expected = formulas.target_nll(logits, np.tile(np.arange(4), (N, 1))).mean(1)
    sure = np.where(np.eye(4) == 1, 0, -np.inf)[None]
    assert_allclose(formulas.label_nll(logits, sure)[:, 0], expected)


def test_likelihood_of_the_surest_network_is_finite(draw):
    label = np.repeat([0, 1], 30)
    logits = 1e4 * np.eye(2)[label][:, None] + draw.normal(size=(60, 1, 2))
    scores = scored("likelihood", Outputs(-logits, logits), Outputs(logits, logits, label[:, None]), 0.05)
    assert np.isfinite(scores).all()


def test_target_nll_refuses_samples_without_labels(draw):
    with pytest.raises(InputError, match="pass the labels"):
        scored("target-nll", outputs_of(draw, 3, views=1, known=False))
