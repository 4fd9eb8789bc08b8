import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import Own, frozen, weights, with_batch_norm, with_both, with_dropout
from torch import nn

from oddkind.train import loop as training
from oddkind.train.job import Job
from oddkind.train.loop import SCHEDULES, Adam, train
from oddkind.train.networks import NETWORKS, build
from oddkind.train.planted import Defects, Pastes
from oddkind.train.transform import Transform
from oddkind.train.transforms import Affine, Identity, Reversals, Rotations

CPU, N = torch.device("cpu"), 50
SHAPES = {
    "lecture": (1, 16, 16),
    "picture": (1, 16, 16),
    "local": (1, 16, 12),
    "unet": (1, 16, 18),
    "spectrogram": (1, 16, 16),
    "mlp": (5,),
    "branches": (5,),
    "signal": (2, 40),
}
TRANSFORMS = {
    "lecture": Rotations(),
    "picture": Rotations(),
    "local": Pastes(),
    "unet": Defects(),
    "spectrogram": Rotations(),
    "mlp": Affine(np.random.default_rng(0).normal(size=(3, 5, 5)).astype(np.float32)),
    "branches": Identity(),
    "signal": Reversals(),
}


def job(network="mlp", *, transform=None, seed=0, data=0, n=N, **more):
    """A network that learns 3 labels of random samples."""
    shape = SHAPES.get(network, (5,))
    draw, transform = torch.Generator().manual_seed(data), transform or Identity()
    if len(shape) == 3:
        inputs = torch.randint(256, (n, *shape), generator=draw, dtype=torch.uint8)
    else:
        inputs = torch.randn(n, *shape, generator=draw)
    labels = torch.randint(3, (n, 1), generator=draw).numpy()
    targets = labels * transform.count + np.arange(transform.count)
    defaults = {"rows": np.arange(n), "label_smoothing": 0.1, "learning_rate": 1e-2, "weight_decay": 0.1, "seed": seed}
    return Job(
        build(network, shape, 3 * transform.count, seed=seed), inputs, transform, targets, **{**defaults, **more}
    )


def run(*jobs, epochs=2, batch_size=16, **more):
    """Train copies of the jobs' networks; return them and the losses."""
    jobs = [replace(one, network=copy.deepcopy(one.network)) for one in jobs]
    losses = train(jobs, epochs=epochs, batch_size=batch_size, device=CPU, **more)
    return [one.network for one in jobs], losses


def plain_loop(one, *, epochs, batch_size, schedule="constant"):
    """The same training as anyone would write it: network, losses."""
    network = copy.deepcopy(one.network).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=one.learning_rate, weight_decay=one.weight_decay)
    criterion = nn.CrossEntropyLoss(label_smoothing=one.label_smoothing)
    losses, done = [], 0
    for epoch in range(epochs):
        order = np.random.default_rng((one.seed, epoch)).permutation(len(one.rows))
        batches = torch.from_numpy(one.rows[order]).split(batch_size)
        total = 0.0
        for batch in batches:
            x = one.transform(one.inputs[batch]).flatten(0, 1)
            x = x.float() / 255 if x.dtype == torch.uint8 else x
            loss = criterion(network(x)[0], torch.from_numpy(one.targets[batch].ravel()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = one.learning_rate * SCHEDULES[schedule](done / (epochs * len(batches)))
            optimizer.step()
            done += 1
            total += loss.item() / len(batches)
        losses.append(total)
    return network.eval(), losses


# --- One model ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transform", [Identity(), Rotations()], ids=["labels", "labels+rotations"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_one_lecture_network_is_a_plain_torch_loop(transform, smoothing):
    one = job("lecture", transform=transform, seed=7, rows=np.arange(0, N, 2), label_smoothing=smoothing)
    (found,), losses = run(one, epochs=3, batch_size=8)
    expected, expected_losses = plain_loop(one, epochs=3, batch_size=8)
    assert_allclose(weights(found), weights(expected), atol=1e-4)
    assert_allclose(losses[:, 0], expected_losses, rtol=1e-4)
    assert np.abs(weights(found) - weights(one.network)).max() > 0.05


@pytest.mark.parametrize("network", ["mlp", "signal", Own, with_batch_norm, frozen])
def test_one_model_is_a_plain_torch_loop(network):
    one = job(network, seed=7)
    (found,), losses = run(one)
    expected, expected_losses = plain_loop(one, epochs=2, batch_size=16)
    assert_allclose(losses[:, 0], expected_losses, rtol=1e-4)
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_a_unet_learns_which_places_were_changed_beside_the_classes():
    one, transform = job("unet", transform=Defects(), seed=7, n=24, weight_decay=0.0), Defects()
    (found,), losses = run(one, epochs=2, batch_size=8)
    network, expected = copy.deepcopy(one.network), []
    optimizer = torch.optim.Adam(network.parameters(), lr=one.learning_rate)
    for epoch in range(2):
        order = np.random.default_rng((7, epoch)).permutation(24)
        draws = torch.from_numpy(np.random.default_rng((7, epoch, 2)).random((24, transform.n_draws), np.float32))
        lent = one.inputs[np.random.default_rng((7, epoch, 5)).permutation(24)]
        total = 0.0
        for batch, *given in zip(torch.from_numpy(order).split(8), draws.split(8), lent.split(8), strict=True):
            x = transform(one.inputs[batch], *given).float() / 255
            apart = (x[:, 1] - x[:, 0]).abs().amax(1) / x[:, 0].std((1, 2, 3))[:, None, None]
            changed = torch.stack([torch.zeros_like(apart), (apart > 0.15).float()], 1).flatten(0, 1)
            logits, _, places = network(x.flatten(0, 1))
            of_places = nn.functional.binary_cross_entropy_with_logits(places, changed, weight=1 + 3 * changed)
            targets = torch.from_numpy(one.targets[batch].ravel())
            loss = of_places + 0.1 * nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() / 3
        expected.append(total)
    assert_allclose(losses[:, 0], expected, rtol=1e-3)
    assert_allclose(weights(found), weights(network), atol=1e-3)


def test_training_learns():
    one = job(label_smoothing=0.0)
    one = replace(one, targets=(one.inputs[:, :1] > 0).long().numpy())
    (network,), losses = run(one, epochs=30)
    assert losses[-1, 0] < 0.05 < 0.5 < losses[0, 0]
    assert_array_equal(network(one.inputs)[0].argmax(1), one.targets[:, 0])


def test_losses_are_means_over_the_batches():
    one = job(n=48, learning_rate=1e-30, label_smoothing=0.0)
    _, losses = run(one, epochs=1)
    expected = nn.functional.cross_entropy(one.network(one.inputs)[0], torch.from_numpy(one.targets[:, 0])).item()
    assert_allclose(losses, [[expected]], rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 49, 50, 10**12])
def test_any_batch_size_sees_every_sample_once_an_epoch(batch_size):
    steps = []
    _, losses = run(job(), epochs=1, batch_size=batch_size, on_progress=steps.append)
    assert len(steps) == -(-N // batch_size)
    assert np.isfinite(losses).all()


def test_models_learn_from_their_own_rows_alone():
    clean = job(rows=np.arange(20))
    spoilt = clean.inputs.clone()
    spoilt[20:] = torch.nan
    (expected,), _ = run(clean)
    (found,), _ = run(replace(clean, inputs=spoilt))
    assert_array_equal(weights(found), weights(expected))


# --- Many at once -------------------------------------------------------------------------------------------

DATA = {
    "shared": lambda m: {},
    "own rows": lambda m: {"rows": np.random.default_rng(m).permutation(N)[:30]},
    "other lengths": lambda m: {"rows": np.arange(m, m + 33 + 6 * m)},  # 33, 39, 45: three batches each
    "own data": lambda m: {"data": m},
    "own data, other lengths": lambda m: {"data": m, "n": 33 + 7 * m},
}


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("views", [False, True], ids=["one view", "views"])
@pytest.mark.parametrize("network", [*NETWORKS, Own])
def test_models_trained_at_once_are_those_trained_alone(network, views, data):
    transform = TRANSFORMS.get(network, TRANSFORMS["mlp"]) if views else None
    settings = [(5, 0.0, 1e-2), (6, 0.1, 3e-3), (7, 0.3, 1e-2)]
    jobs = [
        job(network, transform=transform, seed=seed, label_smoothing=smoothing, learning_rate=rate, **DATA[data](m))
        for m, (seed, smoothing, rate) in enumerate(settings)
    ]
    if "data" not in data:
        jobs = [replace(one, inputs=jobs[0].inputs, targets=jobs[0].targets) for one in jobs]
    together, losses = run(*jobs, epochs=1)
    for m, one in enumerate(jobs):
        (alone,), own_losses = run(one, epochs=1)
        assert_allclose(weights(together[m]), weights(alone), atol=1e-4)
        assert_allclose(losses[:, m], own_losses[:, 0], rtol=1e-4)
        assert np.abs(weights(alone) - weights(one.network)).max() > 0.005


@pytest.mark.parametrize("part", [lambda x: x[:20], lambda x: x[::2][:20]], ids=["shorter", "every other"])
@pytest.mark.parametrize("order", [1, -1])
def test_samples_that_begin_at_the_same_place_in_memory_are_told_apart(part, order):
    whole = job("lecture", n=40)
    fewer = replace(whole, inputs=part(whole.inputs), targets=whole.targets[:20], rows=np.arange(20))
    jobs = [replace(whole, rows=np.arange(20, 40)), fewer][::order]
    together, _ = run(*jobs)
    for m, one in enumerate(jobs):
        assert_allclose(weights(together[m]), weights(run(one)[0][0]), atol=1e-4)


@pytest.mark.parametrize("n_models", [1, 3])
def test_the_same_seeds_give_the_same_bits(n_models):
    jobs = [job("lecture", transform=Rotations(), seed=seed) for seed in range(n_models)]
    first, losses = run(*jobs)
    again, losses_again = run(*jobs)
    other, _ = run(*(replace(one, seed=one.seed + 100) for one in jobs))
    assert_array_equal(losses, losses_again)
    for m in range(n_models):
        assert_array_equal(weights(first[m]), weights(again[m]))
        assert not np.array_equal(weights(first[m]), weights(other[m]))


class Counted(Transform):
    """A transform that notes how many samples it was shown."""

    count = None

    def __init__(self, transform):
        self.transform, self.count, self.shown = transform, transform.count, 0

    def __call__(self, x, draws=None, others=None):
        self.shown += len(x)
        return self.transform(x)


@pytest.mark.parametrize("network", [name for name in NETWORKS if not TRANSFORMS[name].n_draws])
def test_views_made_batch_by_batch_train_the_same(monkeypatch, network):
    counted = Counted(TRANSFORMS[network])
    first = job(network, transform=counted)
    jobs = [first, replace(first, network=job(network, transform=counted, seed=1).network, seed=1)]
    prepared, losses = run(*jobs)
    assert counted.shown == N
    counted.shown = 0
    monkeypatch.setattr(training, "PREPARED_BYTES", 0)
    found, found_losses = run(*jobs)
    assert counted.shown == 2 * 2 * N  # models, epochs
    assert_allclose(found_losses, losses, rtol=1e-6)
    for one, other in zip(found, prepared, strict=True):
        assert_allclose(weights(one), weights(other), atol=1e-6)


# --- Shifts and schedules -----------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["picture", "lecture", "signal"])
def test_training_with_shifts_learns_from_moved_views_anew_each_epoch(monkeypatch, network):
    shown = []

    def spy(x, moves):
        shown.append(moves.numpy())
        return training_shifted(x, moves)

    training_shifted = training.shifted
    monkeypatch.setattr(training, "shifted", spy)
    one = job(network, transform=TRANSFORMS[network], shift=2)
    (found,), _ = run(one, epochs=2)
    assert not np.allclose(weights(found), weights(run(replace(one, shift=0), epochs=2)[0][0]))
    first, second = (np.concatenate(part) for part in (shown[:4], shown[4:8]))
    assert first.shape == (N * one.transform.count, one.inputs.ndim - 2)
    assert set(np.unique(first)) == {-2, -1, 0, 1, 2}
    assert not np.array_equal(first, second)
    assert_array_equal(weights(found), weights(run(one, epochs=2)[0][0]))


@pytest.mark.parametrize(("network", "transform"), [("local", Pastes), ("unet", Defects)])
def test_views_are_drawn_and_borrowed_anew_each_epoch_from_the_seed_alone(monkeypatch, network, transform):
    drawn, borrowed = [], []

    def spy(self, x, draws=None, others=None):
        drawn.append(draws.numpy())
        borrowed.append(x.numpy() if others is None else others.numpy())
        return call(self, x, draws, others)

    call = transform.__call__
    monkeypatch.setattr(transform, "__call__", spy)
    jobs = [job(network, transform=transform(), seed=seed) for seed in range(2)]

    def seen(*some):
        """Random numbers, and what was borrowed, [epochs, models, N, …] each."""
        drawn.clear()
        borrowed.clear()
        run(*some, epochs=2, batch_size=N)
        return [np.stack(found).reshape(2, len(some), N, *found[0].shape[1:]) for found in (drawn, borrowed)]

    together, alone = seen(*jobs), [seen(one) for one in jobs]
    for number, found in enumerate(together):
        assert not np.array_equal(found[0], found[1])
        assert not np.array_equal(found[:, 0], found[:, 1])
        for m in range(2):
            assert_array_equal(alone[m][number][:, 0], found[:, m])
    for lent in together[1].reshape(4, N, -1):  # every sample lends once
        assert_array_equal(np.unique(lent, axis=0), np.unique(jobs[0].inputs.reshape(N, -1).numpy(), axis=0))


@pytest.mark.parametrize("network", ["picture", "lecture"])
def test_models_shifted_at_once_are_those_shifted_alone(network):
    jobs = [job(network, transform=Rotations(), seed=seed, shift=shift) for seed, shift in enumerate((2, 0, 1))]
    together, _ = run(*jobs)
    for found, one in zip(together, jobs, strict=True):
        assert_allclose(weights(found), weights(run(one)[0][0]), atol=1e-4)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_models_warped_at_once_are_those_warped_alone_anew_each_epoch(mixup):
    jobs = [job("spectrogram", seed=seed, warp=warp, mixup=mixup) for seed, warp in enumerate((0.3, 0.0, 0.5))]
    together, _ = run(*jobs)
    for found, one in zip(together, jobs, strict=True):
        alone = run(one)[0][0]
        assert_allclose(weights(found), weights(alone), atol=1e-4)
        assert_array_equal(weights(alone), weights(run(one)[0][0]))
    assert not np.allclose(weights(together[0]), weights(run(replace(jobs[0], warp=0.0))[0][0]))
    first, second = (training._warps(jobs[0], epoch, N, 1) for epoch in range(2))
    assert not np.array_equal(first, second)
    assert 0.25 < np.abs(first).max() <= 0.3


def test_the_schedule_of_one_cycle_warms_up_and_falls_to_0():
    one_cycle = SCHEDULES["one-cycle"]
    assert [one_cycle(done) for done in (0, 0.1, 0.2, 0.6, 1)] == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert {SCHEDULES["constant"](done) for done in (0, 0.5, 1)} == {1.0}


def test_one_network_with_a_schedule_is_a_plain_torch_loop():
    one = job()
    (found,), found_losses = run(one, epochs=3, schedule="one-cycle")
    expected, losses = plain_loop(one, epochs=3, batch_size=16, schedule="one-cycle")
    assert_allclose(weights(found), weights(expected), atol=1e-5)
    assert_allclose(found_losses[:, 0], losses, rtol=1e-5)


# --- Draws, progress, what is left alone --------------------------------------------------------------------


def test_draws_come_from_the_seed_and_leave_torchs_own_random_state_alone():
    found = []
    for own in (1, 2):
        torch.manual_seed(own)
        expected = torch.rand(3)
        torch.manual_seed(own)
        found.append(weights(run(job(with_both))[0][0]))
        assert torch.equal(torch.rand(3), expected)
    assert_array_equal(*found)


def test_dropout_draws_from_the_seed():
    one = job(with_dropout, rows=np.zeros(N, int))  # one sample again and again: its order plays no part
    first, again, other = (weights(run(replace(one, seed=seed))[0][0]) for seed in (3, 3, 4))
    assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_progress_rises_to_1():
    told = []
    run(job(), epochs=3, on_progress=told.append)
    assert len(told) == 3 * 4
    assert all(a < b for a, b in pairwise(told))
    assert told[0] == pytest.approx(1 / 12)
    assert told[-1] == 1.0


def test_the_number_of_threads_is_given_back_even_after_a_failure():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(job(), on_progress=interrupt)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("network", "threads"), [("lecture", 1), ("mlp", 1), ("local", 2), ("unet", 2)])
def test_small_batches_are_computed_by_one_thread_except_by_networks_with_places(monkeypatch, network, threads):
    before, seen = torch.get_num_threads(), set()
    step = Adam.step
    monkeypatch.setattr(Adam, "step", lambda *given: (seen.add(torch.get_num_threads()), step(*given)))
    torch.set_num_threads(2)
    try:
        run(job(network, transform=TRANSFORMS[network]), epochs=1)
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}


def interrupt(_):
    raise KeyboardInterrupt


def test_a_trained_network_is_ready_to_predict():
    assert not run(job(with_both))[0][0].training


@pytest.mark.parametrize("network", ["mlp", "signal", "lecture", Own])
def test_frozen_parameters_stay(network):
    one = job(network)
    first = next(one.network.children())
    first.requires_grad_(False)
    (found,), _ = run(one)
    assert_array_equal(weights(next(found.children())), weights(first))
    assert not torch.equal(found.classifier.weight, one.network.classifier.weight)


def test_a_parameter_that_is_never_used_does_no_harm():
    one = job(Own, weight_decay=0.0)
    one.network.unused = nn.Linear(2, 2)
    (found,), _ = run(one)
    assert torch.equal(found.unused.weight, one.network.unused.weight)
    assert not torch.equal(found.classifier.weight, one.network.classifier.weight)


@pytest.mark.parametrize("rates", [[1e-3], [1e-2, 1e-3, 0.5]])
@pytest.mark.parametrize("decays", [(0.0, 0.0, 0.0), (0.0, 0.5, 3.0)])
def test_adamw_is_torchs(rates, decays):
    decays = decays[: len(rates)]
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(len(rates), 10, generator=draw)
    found = Adam(start.clone(), torch.tensor(rates).view(-1, 1), torch.tensor(decays).view(-1, 1))
    own = [nn.Parameter(row.clone()) for row in start]
    groups = [{"params": [p], "lr": r, "weight_decay": d} for p, r, d in zip(own, rates, decays, strict=True)]
    optimizer = torch.optim.AdamW(groups)
    for step in range(20):
        gradient = torch.randn(len(rates), 10, generator=draw) * 10.0 ** (step % 5 - 3)
        found.step([gradient[:, :4].reshape(-1, 2, 2), gradient[:, 4:]])
        for parameter, row in zip(own, gradient, strict=True):
            parameter.grad = row.clone()
        optimizer.step()
        torch.testing.assert_close(found.weights, torch.stack([p.detach() for p in own]), rtol=1e-5, atol=1e-6)


def mixed_loop(one, *, epochs, batch_size):
    """Training with mixup as anyone would write it: the network."""
    network, n = copy.deepcopy(one.network).train(), len(one.rows)
    optimizer = torch.optim.AdamW(network.parameters(), lr=one.learning_rate, weight_decay=one.weight_decay)
    for epoch in range(epochs):
        order, draw = (
            np.random.default_rng((one.seed, epoch)).permutation(n),
            np.random.default_rng((one.seed, epoch, 3)),
        )
        other = order[draw.permutation(n)]
        share = torch.from_numpy(draw.beta(one.mixup, one.mixup, n).astype(np.float32))[:, None]
        one_hot = torch.eye(3)[torch.from_numpy(one.targets[:, 0])]
        for batch in np.arange(n).reshape(-1, batch_size):
            a, b, part = order[batch], other[batch], share[batch]
            x, target = (part * values[a] + (1 - part) * values[b] for values in (one.inputs, one_hot))
            smooth = (1 - one.label_smoothing) * target + one.label_smoothing / 3
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(x)[0], smooth).backward()
            optimizer.step()
    return network


@pytest.mark.parametrize("network", ["mlp", "branches"])
def test_mixup_is_a_plain_torch_loop(network):
    one = job(network, n=48, mixup=0.5)
    (found,), _ = run(one, batch_size=16)
    assert_allclose(weights(found), weights(mixed_loop(one, epochs=2, batch_size=16)), rtol=1e-3, atol=1e-4)


def test_each_view_is_mixed_with_the_same_view_of_another_sample(monkeypatch):
    seen = []
    monkeypatch.setattr(training, "mixed", lambda x, other, share: seen.append((x, other, share)) or x)
    one = job("mlp", transform=TRANSFORMS["mlp"], mixup=1.0)
    run(one, epochs=1, batch_size=N)
    ((x, other, share),) = seen
    draw = np.random.default_rng((0, 0, 3))
    partner = draw.permutation(N)
    assert_allclose(other, x[torch.from_numpy(partner)])
    assert_allclose(share, draw.beta(1, 1, N), rtol=1e-6)


@pytest.mark.parametrize("network", ["mlp", "branches", "picture"])
def test_models_mixed_at_once_are_those_mixed_alone(network):
    jobs = [
        job(network, seed=seed, n=n, mixup=mixup) for seed, (n, mixup) in enumerate([(50, 1.0), (50, 0.0), (49, 0.3)])
    ]
    together, losses = run(*jobs)
    for m, one in enumerate(jobs):
        (alone,), loss = run(one)
        assert_allclose(weights(together[m]), weights(alone), rtol=1e-3, atol=1e-4)
        assert_allclose(losses[:, m], loss[:, 0], rtol=1e-4)
