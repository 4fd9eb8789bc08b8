import re

import pytest
import torch
from problems import Own, frozen, with_batch_norm, with_dropout
from torch import nn

from oddkind.train.networks import MLP, BranchedMLP, LectureCNN, LocalCNN, PictureCNN, SignalCNN, UNet
from oddkind.train.stacked import Stack, why_alone

CPU = torch.device("cpu")


CASES = [
    (LectureCNN, (1, 28, 28)),
    (LectureCNN, (3, 30, 45)),
    (LectureCNN, (2, 8, 9)),
    (LectureCNN, (1, 15, 31)),
    (PictureCNN, (1, 28, 28)),
    (PictureCNN, (3, 40, 21)),
    (LocalCNN, (2, 21, 30)),
    (UNet, (1, 17, 20)),
    (MLP, (5,)),
    (BranchedMLP, (5,)),
    (SignalCNN, (2, 50)),
    (Own, (5,)),
]
forms = pytest.mark.parametrize(("kind", "shape"), CASES, ids=[f"{kind.__name__}{shape}" for kind, shape in CASES])
models = pytest.mark.parametrize("n_models", [1, 3])


@pytest.fixture
def stack_of(request):
    """M networks that differ, and a batch for each, [M, 6, *shape]."""
    torch.manual_seed(0)

    def make(kind, shape, n_models):
        return [kind(shape, 4) for _ in range(n_models)], torch.randn(n_models, 6, *shape)

    return make


def arranged(stack, x):
    """[M, B, ...] in the stack's order."""
    return stack.arrange(x.flatten(0, 1)).unflatten(0, x.shape[:2])


@models
@forms
def test_a_stack_says_what_each_network_says_of_its_own_batch(stack_of, kind, shape, n_models):
    networks, x = stack_of(kind, shape, n_models)
    stack = Stack(networks, CPU)
    logits, places = stack.logits(arranged(stack, x))
    assert logits.shape == (n_models, 4, 6)
    assert (places is not None) == (kind is UNet)
    for m, network in enumerate(networks):
        if places is not None:
            torch.testing.assert_close(places[m], network(x[m])[2])
        torch.testing.assert_close(logits[m].T, network(x[m])[0])


@forms
def test_bytes_are_read_as_0_to_1(stack_of, kind, shape):
    networks, x = stack_of(kind, shape, 2)
    x = (40 * x + 100).clamp(0, 255).to(torch.uint8)
    stack = Stack(networks, CPU)
    logits, _ = stack.logits(arranged(stack, x))
    for m, network in enumerate(networks):
        torch.testing.assert_close(logits[m].T, network(x[m] / 255)[0])


@models
@forms
def test_gradients_are_each_networks_own(stack_of, kind, shape, n_models):
    networks, x = stack_of(kind, shape, n_models)
    stack = Stack(networks, CPU)
    weight = torch.randn(n_models, 4, 6)
    logits, _ = stack.logits(arranged(stack, x))
    gradients = torch.autograd.grad((logits * weight).sum(), list(stack.parameters.values()))
    for m, network in enumerate(networks):
        own = torch.autograd.grad((network(x[m])[0].T * weight[m]).sum(), list(network.parameters()))
        for found, expected in zip(gradients, own, strict=True):
            torch.testing.assert_close(found[m], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 45), (2, 8, 9)])
def test_arranging_pictures_only_reorders_the_pixels_that_patches_cover(shape):
    channels, height, width = shape
    x = torch.arange(2 * channels * height * width).view(2, *shape)
    found = Stack([LectureCNN(shape, 4)], CPU).arrange(x)
    covered = x[:, :, : height // 8 * 8, : width // 8 * 8].flatten(1)
    assert torch.equal(found.sort(1).values, covered.sort(1).values)
    assert found.is_contiguous()


@pytest.mark.parametrize(("kind", "shape"), [(MLP, (5,)), (SignalCNN, (2, 50)), (Own, (5,))])
def test_other_inputs_stay_as_they_are(kind, shape):
    x = torch.randn(3, *shape)
    assert torch.equal(Stack([kind(shape, 4)], CPU).arrange(x), x)


@forms
def test_parameters_are_views_of_the_weights_and_unstack_copies_them_back(stack_of, kind, shape):
    networks, x = stack_of(kind, shape, 3)
    stack = Stack(networks, CPU)
    with torch.no_grad():
        stack.weights.mul_(torch.tensor([[1.0], [2.0], [-3.0]]))
    expected = stack.logits(arranged(stack, x))[0].detach()
    for name, parameter in networks[1].named_parameters():
        torch.testing.assert_close(stack.parameters[name][1], 2 * parameter)
    stack.unstack()
    for m, network in enumerate(networks):
        assert not network.training
        torch.testing.assert_close(network(x[m])[0].T, expected[m])


def test_networks_do_not_share_memory_once_unstacked():
    networks = [MLP((5,), 3) for _ in range(2)]
    stack = Stack(networks, CPU)
    stack.unstack()
    before = [p.detach().clone() for p in networks[1].parameters()]
    with torch.no_grad():
        for parameter in networks[0].parameters():
            parameter.zero_()
    assert all(torch.equal(p, q) for p, q in zip(networks[1].parameters(), before, strict=True))
    for network in networks:  # a pickle has all of the memory of which a tensor is a view
        for parameter in network.parameters():
            assert parameter.untyped_storage().nbytes() == parameter.numel() * parameter.element_size()


class Functional(Own):
    """Draws at random without a module that says so."""

    def forward(self, x):
        features = nn.functional.dropout(self.inner(x), training=self.training)
        return self.classifier(features), features


class Branching(Own):
    """Goes by what it reads, which torch.func cannot follow."""

    def forward(self, x):
        features = self.inner(x) if x.sum() > 0 else -self.inner(x)
        return self.classifier(features), features


@pytest.mark.parametrize(("kind", "shape"), CASES)
def test_what_can_be_stacked(kind, shape):
    assert why_alone(kind(shape, 4), shape, CPU) is None


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (with_batch_norm, "keep a state in addition to their weights, such as running means"),
        (with_dropout, "their dropout would draw other random numbers"),
        (frozen, "some of their parameters are frozen"),
        (Branching, "torch.func.vmap cannot run them .*control flow"),
        (Functional, "random"),
    ],
)
def test_what_cannot_be_stacked_says_why(kind, message):
    network = kind((5,), 4)
    network.eval()  # as it comes from `build`
    assert re.search(message, why_alone(network, (5,), CPU) or "")


@pytest.mark.parametrize("kind", [LectureCNN, MLP])
def test_frozen_built_in_networks_are_not_stacked_or_still_right(kind):
    shape = dict(CASES[::-1])[kind]
    network = kind(shape, 4)
    network.feature_extractor[0].requires_grad_(False)
    x = torch.randn(1, 6, *shape)
    stack = Stack([network], CPU)
    torch.testing.assert_close(stack.logits(arranged(stack, x))[0][0].T, network(x[0])[0])
    assert why_alone(network, shape, CPU) == "some of their parameters are frozen"
