import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from oddkind import training
from oddkind.networks import NETWORKS, build
from oddkind.stacking import as_float
from oddkind.tasks import Identity, Rotations, Task
from oddkind.training import Adam, predict, train

N, SHAPES = 50, {"lecture": (1, 16, 16), "mlp": (5,), "signal": (2, 40)}


class Normed(nn.Module):
    """A network with a state (batch norm) and draws of its own (dropout)."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout))
        self.classifier = nn.Linear(8, 3)

    def forward(self, x):
        features = self.features(x)
        return self.classifier(features), features


def problem(shape, *, transform=None, seed=0):
    """Inputs, targets [N, V] and a transform."""
    draw = torch.Generator().manual_seed(seed)
    transform = transform or Identity()
    if len(shape) == 3:
        inputs = torch.randint(256, (N, *shape), generator=draw, dtype=torch.uint8)
    else:
        inputs = torch.randn(N, *shape, generator=draw)
    labels = torch.randint(3, (N, 1), generator=draw)
    return inputs, labels * transform.count + torch.arange(transform.count), transform


def run(networks, data, *, rows=None, seeds=None, smoothing=None, rate=None, epochs=2, batch_size=16, **more):
    """Train copies of the networks; return them and the losses."""
    inputs, targets, transform = data
    networks, m = copy.deepcopy(networks), len(networks)
    losses = train(
        networks,
        transform,
        inputs,
        targets,
        torch.arange(N).expand(m, -1) if rows is None else rows,
        seeds=seeds or list(range(m)),
        label_smoothing=smoothing or [0.1] * m,
        learning_rate=rate or [1e-2] * m,
        epochs=epochs,
        batch_size=batch_size,
        device=torch.device("cpu"),
        **more,
    )
    return networks, losses


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy()


def plain_loop(network, data, *, rows, seed, smoothing, rate, epochs, batch_size):
    """The same training as anyone would write it."""
    inputs, targets, transform = data
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    criterion = nn.CrossEntropyLoss(label_smoothing=smoothing)
    generator, losses = torch.Generator().manual_seed(seed), []
    for _ in range(epochs):
        total = 0.0
        for batch in rows[torch.randperm(len(rows), generator=generator)].split(batch_size):
            x = transform(inputs[batch])
            x = (x.float() / 255 if x.dtype == torch.uint8 else x).flatten(0, 1)
            loss = criterion(network(x)[0], targets[batch].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch) / len(rows)
        losses.append(total)
    return losses


@pytest.mark.parametrize("transform", [Identity(), Rotations()], ids=["labels", "labels+rotations"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_one_model_is_a_plain_torch_loop(transform, smoothing):
    data = problem((1, 16, 16), transform=transform)
    network = build("lecture", (1, 16, 16), 3 * transform.count, seed=0)
    rows = torch.arange(0, N, 2)
    how = {"epochs": 3, "batch_size": 8}
    (found,), losses = run([network], data, rows=rows[None], seeds=[7], smoothing=[smoothing], rate=[1e-2], **how)
    expected = copy.deepcopy(network)
    expected_losses = plain_loop(expected, data, rows=rows, seed=7, smoothing=smoothing, rate=1e-2, **how)
    assert_allclose(weights(found), weights(expected), atol=1e-4)
    assert_allclose(losses[:, 0], expected_losses, rtol=1e-4)
    assert np.abs(weights(found) - weights(network)).max() > 0.05


def test_batch_norm_learns_its_statistics():
    data, network = problem((5,)), build(Normed(), (5,), 3, seed=0)
    (found,), _ = run([network], data, seeds=[7])
    expected = copy.deepcopy(network)
    plain_loop(expected, data, rows=torch.arange(N), seed=7, smoothing=0.1, rate=1e-2, epochs=2, batch_size=16)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert found.features[1].num_batches_tracked == 8


@pytest.mark.parametrize("name", NETWORKS)
def test_models_trained_at_once_are_those_trained_alone(name):
    shape = SHAPES[name]
    data = problem(shape, transform=Rotations() if len(shape) == 3 else None)
    networks = [build(name, shape, int(data[1].max()) + 1, seed=seed) for seed in range(3)]
    rows = torch.stack([torch.randperm(N, generator=torch.Generator().manual_seed(m))[:30] for m in range(3)])
    each = {"seeds": [5, 6, 7], "smoothing": [0.0, 0.1, 0.3], "rate": [1e-2, 3e-3, 1e-2]}
    together, losses = run(networks, data, rows=rows, **each)
    for m, network in enumerate(networks):
        own = {key: values[m : m + 1] for key, values in each.items()}
        (alone,), own_losses = run([network], data, rows=rows[m : m + 1], **own)
        assert_allclose(weights(together[m]), weights(alone), atol=1e-4)
        assert_allclose(losses[:, m], own_losses[:, 0], rtol=1e-4)
        assert np.abs(weights(alone) - weights(network)).max() > 0.01


def test_training_learns():
    inputs, _, transform = problem((5,))
    targets = (inputs[:, :1] > 0).long()
    (network,), losses = run([build("mlp", (5,), 2, seed=0)], (inputs, targets, transform), smoothing=[1e-9], epochs=30)
    assert losses[-1, 0] < 0.05 < 0.5 < losses[0, 0]
    assert torch.equal(network(inputs)[0].argmax(1), targets[:, 0])


def test_losses_are_means_over_the_samples_partial_last_batch_included():
    data = problem((5,))  # 50 samples: 16 + 16 + 16 + 2
    network = build("mlp", (5,), 3, seed=0)
    _, losses = run([network], data, epochs=1, rate=[1e-30], smoothing=[1e-9])
    expected = nn.functional.cross_entropy(network(data[0])[0], data[1][:, 0]).item()
    assert_allclose(losses, [[expected]], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 49, 50, 10**12])
def test_any_batch_size_sees_every_sample_once_an_epoch(batch_size):
    data = problem((5,))
    steps = []
    _, losses = run([build("mlp", (5,), 3, seed=0)], data, epochs=1, batch_size=batch_size, on_progress=steps.append)
    assert len(steps) == -(-N // batch_size)
    assert np.isfinite(losses).all()


def test_models_learn_from_their_own_rows_alone():
    inputs, targets, transform = problem((5,))
    rows = torch.arange(20).expand(1, -1)
    spoilt = inputs.clone()
    spoilt[20:] = torch.nan
    (clean,), _ = run([build("mlp", (5,), 3, seed=0)], (inputs, targets, transform), rows=rows)
    (found,), _ = run([build("mlp", (5,), 3, seed=0)], (spoilt, targets, transform), rows=rows)
    assert_array_equal(weights(found), weights(clean))


@pytest.mark.parametrize("n_models", [1, 3])
def test_the_same_seeds_give_the_same_bits(n_models):
    data = problem((1, 16, 16), transform=Rotations())
    networks = [build("lecture", (1, 16, 16), 12, seed=seed) for seed in range(n_models)]
    first, losses = run(networks, data)
    again, losses_again = run(networks, data)
    other, _ = run(networks, data, seeds=[seed + 100 for seed in range(n_models)])
    assert_array_equal(losses, losses_again)
    for m in range(n_models):
        assert_array_equal(weights(first[m]), weights(again[m]))
        assert not np.array_equal(weights(first[m]), weights(other[m]))


def test_draws_come_from_the_seed_and_leave_torchs_own_random_state_alone():
    data, network = problem((5,)), build(Normed(dropout=0.5), (5,), 3, seed=0)
    found = []
    for own in (1, 2):
        torch.manual_seed(own)
        expected = torch.rand(3)
        torch.manual_seed(own)
        found.append(weights(run([network], data, seeds=[3])[0][0]))
        assert torch.equal(torch.rand(3), expected)
    assert_array_equal(*found)


def test_dropout_draws_from_the_seed():
    network = build(Normed(dropout=0.5), (5,), 3, seed=0)
    network.features[1] = nn.Identity()
    rows = torch.zeros(1, N, dtype=torch.long)  # one sample again and again: its order plays no part
    first, again, other = (weights(run([network], problem((5,)), rows=rows, seeds=[s])[0][0]) for s in (3, 3, 4))
    assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("name", NETWORKS)
def test_views_made_batch_by_batch_train_the_same(monkeypatch, name):
    data = problem(SHAPES[name], transform=Rotations() if name == "lecture" else None)
    networks = [build(name, SHAPES[name], int(data[1].max()) + 1, seed=seed) for seed in range(2)]
    calls = []
    data = (*data[:2], lambda x, transform=data[2]: calls.append(len(x)) or transform(x))
    prepared, losses = run(networks, data)
    assert sum(calls) in (N, N + 1)  # a first look at the form of one sample is free
    calls.clear()
    monkeypatch.setattr(training, "PREPARED_BYTES", 0)
    found, found_losses = run(networks, data)
    assert sum(calls) in (2 * 2 * N, 2 * 2 * N + 1)  # models, epochs
    assert_allclose(found_losses, losses, rtol=1e-6)
    for one, other in zip(found, prepared, strict=True):
        assert_allclose(weights(one), weights(other), atol=1e-6)


def test_progress_rises_to_1():
    told = []
    run([build("mlp", (5,), 3, seed=0)], problem((5,)), epochs=3, on_progress=told.append)
    assert len(told) == 3 * 4
    assert all(a < b for a, b in pairwise(told))
    assert told[0] == pytest.approx(1 / 12)
    assert told[-1] == 1.0


@pytest.mark.parametrize("rates", [[1e-3], [1e-2, 1e-3, 0.5]])
def test_adam_is_torchs(rates):
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(len(rates), 10, generator=draw)
    found = Adam(start.clone(), torch.tensor(rates).view(-1, 1))
    own = [nn.Parameter(row.clone()) for row in start]
    optimizer = torch.optim.Adam([{"params": [p], "lr": rate} for p, rate in zip(own, rates, strict=True)])
    for step in range(20):
        gradient = torch.randn(len(rates), 10, generator=draw) * 10.0 ** (step % 5 - 3)
        found.step([gradient[:, :4].reshape(-1, 2, 2), gradient[:, 4:]])
        for parameter, row in zip(own, gradient, strict=True):
            parameter.grad = row.clone()
        optimizer.step()
        torch.testing.assert_close(found.weights, torch.stack([p.detach() for p in own]), rtol=1e-5, atol=1e-6)


def test_bytes_are_read_as_0_to_1_and_floats_as_they_are():
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    x = torch.tensor([-3.0, 7.0])
    assert torch.equal(as_float(x), x)


def test_predict_is_the_network_on_every_view():
    inputs, targets, transform = problem((1, 16, 16), transform=Rotations())
    network = build("lecture", (1, 16, 16), 12, seed=0)
    outputs = predict(network, Task(np.arange(3), transform), inputs, (targets[:, 0] // 4).numpy())
    for v in range(4):
        logits, features = network(torch.rot90(inputs, v, (-2, -1)).float() / 255)
        assert_allclose(outputs.logits[:, v], logits.detach(), atol=1e-6)
        assert_allclose(outputs.features[:, v], features.detach(), atol=1e-6)
    assert_array_equal(outputs.targets, targets)


@pytest.mark.parametrize("batch", [1, 9, 4000])
def test_predict_does_not_depend_on_the_batch(monkeypatch, batch):
    inputs, _, transform = problem((1, 16, 16), transform=Rotations())
    network, task = build("lecture", (1, 16, 16), 4, seed=0), Task(None, transform)
    whole = predict(network, task, inputs, None)
    monkeypatch.setattr(training, "PREDICT_BATCH", batch)
    parts = predict(network, task, inputs, None)
    assert_allclose(parts.logits, whole.logits, atol=1e-6)
    assert_allclose(parts.features, whole.features, atol=1e-6)


def test_predict_uses_evaluation_mode_and_leaves_inputs_alone():
    network = build(Normed(dropout=0.5), (5,), 3, seed=0)
    inputs, task = problem((5,))[0], Task(np.arange(3), Identity())
    before, state = inputs.clone(), copy.deepcopy(network.state_dict())
    expected = network.eval()(inputs)[0].detach()
    network.train()
    assert_allclose(predict(network, task, inputs, None).logits[:, 0], expected, atol=1e-6)
    assert not network.training
    assert torch.equal(inputs, before)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


def test_a_trained_network_is_ready_to_predict():
    (network,), _ = run([build(Normed(dropout=0.5), (5,), 3, seed=0)], problem((5,)))
    assert not network.training


def test_frozen_parameters_stay():
    network = build("mlp", (5,), 3, seed=0)
    network.feature_extractor[0].requires_grad_(False)
    (found,), _ = run([network], problem((5,)))
    assert torch.equal(found.feature_extractor[0].weight, network.feature_extractor[0].weight)
    assert not torch.equal(found.classifier.weight, network.classifier.weight)


def test_a_parameter_that_is_never_used_does_no_harm():
    network = Normed()
    network.unused = nn.Linear(2, 2)
    (found,), _ = run([network], problem((5,)))
    assert torch.equal(found.unused.weight, network.unused.weight)
    assert not torch.equal(found.classifier.weight, network.classifier.weight)
