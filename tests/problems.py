"""Small problems and networks that several test files share."""

import numpy as np
import soundfile
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from oddkind import Detector, source_of


def kinds(n=300, seed=0, apart=6.0):
    """Three kinds of normal vectors [n, 4], Gaussians on three of the axes, and which kind each is."""
    draw = np.random.default_rng(seed)
    label = draw.integers(3, size=n)
    return draw.normal(size=(n, 4)) + apart * np.eye(3, 4)[label], label


def pictures(n=200, seed=0):
    """Bytes [n, 1, 14, 14] that grow brighter downwards (kind 0) or to the right (1)."""
    draw = np.random.default_rng(seed)
    label = draw.integers(2, size=n)
    slope = np.linspace(0, 200, 14)
    ramp = np.where(label[:, None, None] == 0, slope[:, None], slope)
    return (ramp + draw.integers(56, size=(n, 14, 14))).astype(np.uint8)[:, None], label


def signals(n=200, seed=0):
    """Decaying oscillations [n, 2, 64]."""
    draw = np.random.default_rng(seed)
    time = np.arange(64)
    waves = np.exp(-time / 20) * np.sin(time / 3 + draw.uniform(0, 6, size=(n, 2, 1)))
    return waves + 0.1 * draw.normal(size=(n, 2, 64))


def quick(**parameters):
    return Detector(**{"epochs": 2, "random_state": 0, "false_alarm_rate": 0.2, **parameters})


def weights(network):
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy()


class Own(nn.Module):
    """A user's network for vectors: a hidden layer between whatever modules are given."""

    def __init__(self, input_shape, n_classes, *between, activation=nn.Tanh):
        super().__init__()
        self.inner, self.between = nn.Linear(*input_shape, 8, bias=False), nn.Sequential(*between, activation())
        self.classifier = nn.Linear(8, n_classes)

    def forward(self, x):
        features = self.between(self.inner(x))
        return self.classifier(features), features


def with_batch_norm(input_shape, n_classes):
    return Own(input_shape, n_classes, nn.BatchNorm1d(8))


def with_dropout(input_shape, n_classes):
    return Own(input_shape, n_classes, nn.Dropout(0.5))


def with_both(input_shape, n_classes):
    return Own(input_shape, n_classes, nn.BatchNorm1d(8), nn.Dropout(0.5))


def frozen(input_shape, n_classes):
    network = Own(input_shape, n_classes)
    network.inner.requires_grad_(False)
    return network


RATE = 4000
LABELS = ("팬 1", "fan 2")


def record(folder, name, tone, seed, *, odd=False, seconds=2):
    """A tone in noise; an odd one has an overtone."""
    draw, time = np.random.default_rng(seed), np.arange(RATE * seconds) / RATE
    sound = np.sin(2 * np.pi * tone * time) + odd * np.sin(2 * np.pi * 2.7 * tone * time)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / name, 0.3 * sound + 0.02 * draw.normal(size=len(time)), RATE)


def listed(data, split=None):
    return [entry for entry in source_of(data).entries(data)[0] if split in (None, entry.split)]


def assert_same(found, expected, inputs):
    assert_array_equal(found.model_.report.calibration_rows, expected.model_.report.calibration_rows)
    assert_allclose(found.model_.report.losses, expected.model_.report.losses, rtol=1e-4)
    assert_allclose(found.model_.temperature, expected.model_.temperature, rtol=1e-3)
    assert_allclose(found.offset_, expected.offset_, rtol=1e-3, atol=1e-4)
    thresholds = [one.model.threshold(with_labels=True) for one in (found, expected)]
    assert_allclose(*thresholds, rtol=1e-3, atol=1e-4)
    assert_allclose(found.outputs(inputs).logits, expected.outputs(inputs).logits, rtol=1e-3, atol=2e-3)
