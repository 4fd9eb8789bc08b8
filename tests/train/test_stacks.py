"""Stacks: networks trained at once, each as if it had been trained alone."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import Own, assert_same, frozen, kinds, pictures, quick, weights, with_batch_norm, with_dropout
from torch import nn

import oddkind.train.stacks
from oddkind import fit_together

# Two epochs teach little, and pictures of one slope or another are told apart by a single pixel.
pytestmark = pytest.mark.filterwarnings("ignore::oddkind.ConcernWarning")


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
        (with_batch_norm, "they keep a state in addition to their weights"),
        (with_dropout, "their dropout would draw other random numbers"),
        (frozen, "some of their parameters are frozen"),
    ],
)
def test_networks_that_cannot_be_stacked_are_trained_one_after_another_with_a_warning_that_says_why(
    trained, network, why
):
    inputs, labels = kinds()
    together = [quick(network=network, random_state=seed) for seed in range(2)]
    with pytest.warns(UserWarning, match=f"2 networks Own are trained one after another: {why}"):
        fit_together(together, inputs, labels)
    assert trained == [1, 1]
    for seed, found in enumerate(together):
        assert_same(found, quick(network=network, random_state=seed).fit(inputs, labels), inputs)


def test_members_that_cannot_be_stacked_are_trained_one_after_another_too():
    inputs, labels = kinds()
    with pytest.warns(UserWarning, match="3 networks Own are trained one after another"):
        found = quick(network=with_batch_norm, n_members=3).fit(inputs, labels)
    alone = quick(network=with_batch_norm).fit(inputs, labels)
    assert_array_equal(weights(found.model_.members[0].network), weights(alone.model_.members[0].network))


def test_frozen_parameters_stay_as_they_are():
    network = frozen((4,), 3)
    detector = quick(task="labels", network=network).fit(*kinds())
    assert_array_equal(weights(detector.model_.members[0].network.inner), weights(network.inner))
    assert not np.array_equal(weights(detector.model_.members[0].network.classifier), weights(network.classifier))


def test_networks_of_one_class_that_compute_otherwise_are_not_mixed_up():
    inputs, labels = kinds()
    networks = [Own((4,), 3, activation=activation) for activation in (nn.Tanh, nn.ReLU)]
    together = [quick(task="labels", network=network) for network in networks]
    fit_together(together, inputs, labels)
    for found, network in zip(together, networks, strict=True):
        assert_same(found, quick(task="labels", network=network).fit(inputs, labels), inputs)
