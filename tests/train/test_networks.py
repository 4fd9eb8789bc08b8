import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everyone writes it

from oddkind import InputError
from oddkind.train.networks import (
    MLP,
    NETWORKS,
    LectureCNN,
    PictureCNN,
    SignalCNN,
    UNet,
    build,
    resolve_network,
)

SHAPES = {
    "lecture": (1, 28, 28),
    "picture": (1, 28, 28),
    "local": (1, 28, 28),
    "unet": (1, 28, 28),
    "spectrogram": (1, 40, 32),
    "mlp": (5,),
    "branches": (5,),
    "signal": (2, 100),
}


class Pair(nn.Module):
    """One linear layer that answers as `answer` says."""

    def __init__(self, answer=lambda z, x: (z, x), n_classes=3):
        super().__init__()
        self.classifier, self.answer = nn.Linear(5, n_classes), answer

    def forward(self, x):
        return self.answer(self.classifier(x), x)


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy()


def test_lecture_cnn_has_the_lectures_layers():
    layers = list(LectureCNN((1, 28, 28), 4).feature_extractor)
    convolutions = layers[::2]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.ReLU] * 3
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 2), (2, 4), (4, 8)]
    assert {(c.kernel_size, c.stride, c.padding, c.dilation) for c in convolutions} == {
        ((2, 2), (2, 2), (0, 0), (1, 1))
    }
    shapes = [tuple(p.shape) for p in LectureCNN((1, 28, 28), 4).parameters()]
    assert shapes == [(2, 1, 2, 2), (2,), (4, 2, 2, 2), (4,), (8, 4, 2, 2), (8,), (4, 72), (4,)]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 17, 30)])
def test_lecture_cnn_computes_what_the_lecture_draws(shape):
    network, x = LectureCNN(shape, 4), torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    w1, b1, w2, b2, w3, b3, w, b = network.parameters()
    h = F.relu(F.conv2d(x, w1, b1, stride=2))
    h = F.relu(F.conv2d(h, w2, b2, stride=2))
    features = F.relu(F.conv2d(h, w3, b3, stride=2)).flatten(1)
    logits, found = network(x)
    torch.testing.assert_close(found, features)
    torch.testing.assert_close(logits, features @ w.T + b)
    assert (features > 0).any()
    assert features.shape == (6, 8 * (shape[1] // 8) * (shape[2] // 8))


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("picture", "unet")])
def test_logits_are_one_linear_layer_on_the_features(name):
    network = build(name, SHAPES[name], 7, seed=0)
    logits, features = network(torch.randn(3, *SHAPES[name], generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (3, 7)
    assert features.shape == (
        3,
        {"lecture": 72, "local": 128, "spectrogram": 64, "mlp": 64, "branches": 128, "signal": 32}[name],
    )
    torch.testing.assert_close(logits, F.linear(features, network.classifier.weight, network.classifier.bias))


def test_local_cnn_sees_a_mark_wherever_it_is():
    network, x = build("local", (1, 64, 64), 3, seed=0), torch.zeros(3, 1, 64, 64)
    x[0, 0, 20:24, 20:24] = 1
    x[1, 0, 40:44, 28:32] = 1
    with torch.no_grad():
        logits, features = network(x)
    torch.testing.assert_close(logits[0], logits[1], atol=1e-4, rtol=1e-4)
    assert (features[0] - features[2]).abs().max() > 0.01


@pytest.mark.parametrize(
    ("shape", "places"),
    [((1, 16, 16), (16, 16)), ((3, 61, 95), (61, 95)), ((1, 96, 131), (48, 65)), ((2, 128, 128), (64, 64))],
)
def test_a_unet_answers_for_each_place_and_for_the_largest_of_all(shape, places):
    network, x = UNet(shape, 2), torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    logits, features, changed = network(x)
    assert changed.shape == (3, *places)
    torch.testing.assert_close(features[:, 0], changed.amax((1, 2)))
    found = network.local_features(x)
    assert found.shape == (3, 16, *places)
    torch.testing.assert_close(features[:, 1:], torch.cat([found.amax((2, 3)), found.mean((2, 3))], 1))
    assert not network.of_largest.any()  # before it is trained
    torch.testing.assert_close(logits, F.linear(features[:, 1:], network.classifier.weight, network.classifier.bias))
    with torch.no_grad():
        network.of_largest += torch.tensor([0.0, 2.0])
        torch.testing.assert_close(network.head(found)[0] - logits, features[:, :1] * torch.tensor([0.0, 2.0]))


def test_a_unet_sees_neither_how_bright_nor_how_rich_in_contrast_a_picture_is():
    network, x = UNet((1, 24, 24), 2), torch.rand(2, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, brighter, blank = network(x)[2], network(9 * x + 7)[2], network(torch.full_like(x, 0.3))[2]
    assert (brighter - found).abs().max() < 0.01 * (found[0] - found[1]).abs().max()
    assert torch.isfinite(blank).all()


@pytest.mark.parametrize(
    ("shape", "stem", "last"),
    [
        ((1, 8, 8), [3], (2, 2)),
        ((1, 23, 90), [3], (5, 22)),
        ((3, 24, 37), [4], (3, 4)),
        ((1, 28, 28), [4], (3, 3)),
        ((1, 64, 100), [4, 4], (4, 6)),
        ((2, 128, 128), [4, 4, 4], (4, 4)),
    ],
)
def test_picture_cnn_brings_pictures_of_any_size_down_to_a_few_pixels(shape, stem, last):
    network, x = PictureCNN(shape, 5), torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))

    def convolved(layer, x, pool=1):
        h = F.conv2d(x, layer.weights.weight, stride=layer.weights.stride, padding=1)
        return F.relu(F.group_norm(F.max_pool2d(h, pool), 4, layer.norm.weight, layer.norm.bias))

    assert [layer.weights.kernel_size[0] for layer in network.stem] == stem
    levels = []
    h = x
    for layer in network.stem:
        assert layer.weights.stride == ((2, 2) if layer.weights.kernel_size[0] == 4 else (1, 1))
        h = convolved(layer, h)
    for pooled, added in network.blocks:
        h = convolved(pooled, h, pool=2)
        h = h + convolved(added, h)
        levels.append(h)
    assert levels[1].shape[2:] == last
    logits, features = network(x)
    flat = levels[1].flatten(1)
    early, late = F.adaptive_avg_pool2d(levels[0], 2).flatten(1), levels[1].mean((2, 3))
    torch.testing.assert_close(logits, network.classifier(flat))
    torch.testing.assert_close(features, torch.cat([3**0.5 * F.normalize(early), F.normalize(late)], 1))
    assert (features > 0).any()


@pytest.mark.parametrize("shape", [(1, 40, 32), (2, 9, 8), (1, 33, 100), (3, 64, 12)])
def test_spectrogram_cnn_reads_any_size_and_keeps_the_bands_apart(shape):
    network, x = build("spectrogram", shape, 3, seed=0), torch.zeros(3, *shape)
    assert network(x)[0].shape == (3, 3)
    x[0, :, :2], x[1, :, -2:] = 1, 1  # the same sound, low and high
    with torch.no_grad():
        features = network(x)[1]
    assert (features[0] - features[1]).abs().max() > 0.1
    with pytest.raises(InputError, match=r"'spectrogram' reads pictures .* of at least 8 × 8"):
        build("spectrogram", (1, 7, 32), 3, seed=0)


def test_spectrogram_cnn_reads_the_slopes_of_the_bands_over_time(draw):
    network, x = build("spectrogram", (1, 8, 32), 3, seed=0), draw.normal(size=(2, 1, 8, 32)).astype(np.float32)
    read = []
    network.stem.register_forward_hook(lambda module, given, found: read.append(given[0].numpy()))
    with torch.no_grad():
        network(torch.from_numpy(x))
    assert_array_equal(read[0][:, :1], x)
    assert_allclose(read[0][:, 1:, :, 1:-1], 3 * np.gradient(x, axis=-1)[..., 1:-1], rtol=1e-5, atol=1e-5)
    assert_allclose(read[0][:, 1, :, 0], 1.5 * (x[:, 0, :, 1] - x[:, 0, :, 0]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("length", [1, 7, 100])
def test_signal_cnn_reads_any_length(length):
    assert build("signal", (2, length), 3, seed=0)(torch.zeros(4, 2, length))[0].shape == (4, 3)


def test_auto_goes_by_shape():
    for name, kind in (("picture", PictureCNN), ("mlp", MLP), ("signal", SignalCNN)):
        assert type(build("auto", SHAPES[name], 3, seed=0)) is kind


@pytest.mark.parametrize("name", NETWORKS)
def test_the_seed_alone_decides_the_weights(name):
    torch.manual_seed(1)
    first = build(name, SHAPES[name], 3, seed=0)
    torch.manual_seed(2)
    again, other = (build(name, SHAPES[name], 3, seed=seed) for seed in (0, 1))
    assert_array_equal(weights(first), weights(again))
    assert not np.array_equal(weights(first), weights(other))


def test_building_leaves_torchs_own_random_state_alone():
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    build("mlp", (5,), 3, seed=0)
    torch.testing.assert_close(torch.rand(5), expected, rtol=0, atol=0)


def test_a_users_module_is_copied_with_its_weights():
    own = Pair()
    before = weights(own).copy()
    copy = build(own, (5,), 3, seed=0)
    assert_array_equal(weights(copy), before)
    with torch.no_grad():
        copy.classifier.weight.add_(1)
    assert_array_equal(weights(own), before)


def test_a_callable_is_told_the_shape_and_the_number_of_classes():
    told = []

    def builder(input_shape, n_classes):
        told.append((input_shape, n_classes))
        return Pair(n_classes=n_classes)

    first, again = (weights(build(builder, (5,), 4, seed=0)) for _ in range(2))
    assert told == [((5,), 4)] * 2
    assert_array_equal(first, again)


def test_the_network_that_suits_the_transform_comes_before_that_of_the_shape():
    assert resolve_network("auto", (1, 64, 64), suited="unet") == "unet"
    assert resolve_network("auto", (1, 64, 64)) == "picture"
    assert resolve_network("lecture", (1, 64, 64), suited="unet") == "lecture"
    assert [resolve_network("auto", (9,), labels=labels) for labels in (True, False)] == ["branches", "mlp"]


def test_unknown_names_are_refused():
    known = "'auto', 'lecture', 'picture', 'local', 'unet', 'spectrogram', 'mlp', 'branches', 'signal'"
    with pytest.raises(InputError, match=f"network='resnet'; known are {known}"):
        build("resnet", (5,), 3, seed=0)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lecture", (1, 7, 28), r"at least 8 × 8; got \(1, 7, 28\)"),
        ("lecture", (1, 28, 7), r"at least 8 × 8; got \(1, 28, 7\)"),
        ("lecture", (28, 28), r"reads pictures \[N, C, H, W\]"),
        ("picture", (1, 7, 28), r"at least 8 × 8; got \(1, 7, 28\)"),
        ("picture", (28, 28), r"network 'picture' reads pictures \[N, C, H, W\]"),
        ("local", (1, 28, 7), r"at least 8 × 8; got \(1, 28, 7\)"),
        ("local", (28, 28), r"network 'local' reads pictures \[N, C, H, W\]"),
        ("unet", (1, 28, 15), r"at least 16 × 16; got \(1, 28, 15\)"),
        ("unet", (28, 28), r"network 'unet' reads pictures \[N, C, H, W\]"),
        ("mlp", (1, 28, 28), r"reads vectors \[N, D\]"),
        ("signal", (5,), r"reads signals \[N, C, T\]"),
    ],
)
def test_samples_a_network_cannot_read_are_refused(name, shape, message):
    with pytest.raises(InputError, match=message):
        build(name, shape, 3, seed=0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Pair(n_classes=2), r"\(2, 2\) and \(2, 5\).*needs logits \(2, 3\)"),
        (Pair(lambda z, x: z), r"returned Tensor; it must return \(logits, features\)"),
        (Pair(lambda z, x: (z, x, x)), r"returned tuple; it must return \(logits, features\)"),
        (Pair(lambda z, x: (z, x[:, :, None])), r"\(2, 5, 1\).*features \(2, D\)"),
        (Pair(lambda z, x: (z, x[:1])), r"\(1, 5\).*features \(2, D\)"),
        (nn.Linear(4, 3), r"network Linear does not read samples of shape \(5,\)"),
    ],
)
def test_networks_that_answer_in_another_form_are_refused(network, message):
    with pytest.raises(InputError, match=message):
        build(network, (5,), 3, seed=0)


@pytest.mark.parametrize(
    "network",
    [
        pytest.param(nn.Flatten(), id="nothing to train"),
        pytest.param(Pair(lambda z, x: (z, None)), id="no features"),
        pytest.param(lambda input_shape, n_classes: None, id="builds no module"),
        pytest.param(7, id="no network at all"),
    ],
)
def test_what_is_no_network_is_refused(network):
    with pytest.raises(InputError, match="network"):
        build(network, (5,), 3, seed=0)
