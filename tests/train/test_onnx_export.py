"""A model as ONNX graphs decides as torch does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import kinds, pictures, quick, signals
from torch import nn

from oddkind import CrossConformal, Detector, InputError, explain, load
from oddkind.model.onnx_forward import OnnxForward
from oddkind.train import onnx_export
from oddkind.train.onnx_export import Agreement, agreement, checked_graphs, with_graphs

pytestmark = pytest.mark.slow


def surfaces():
    draw = np.random.default_rng(0)
    return draw.integers(0, 255, (60, 1, 32, 32)).astype(np.uint8), None


PROBLEMS = {
    "vectors with labels": (kinds(), {}),
    "vectors": ((kinds()[0], None), {}),
    "affine maps": (kinds(), {"task": "labels+affine"}),
    "many affine maps": ((np.random.default_rng(0).normal(size=(80, 300)), None), {"task": "affine", "epochs": 1}),
    "signals": ((signals(), None), {}),
    "pictures": (pictures(), {}),
    "pictures in floats": ((pictures()[0] / 9.0, pictures()[1]), {"per_label": True}),
    "rotations": ((pictures()[0], None), {"n_members": 2}),
    "pastes": (surfaces(), {"task": "pastes", "epochs": 1}),
    "defects": (surfaces(), {"task": "defects", "network": "unet", "epochs": 1}),
    "the lecture's network": (pictures(), {"network": "lecture", "score_function": "msp", "task": "labels"}),
    "a score that needs labels": (pictures(), {"score_function": "target-nll", "task": "labels"}),
}


@pytest.mark.filterwarnings("ignore:number . of 196")
@pytest.mark.parametrize("name", PROBLEMS)
def test_outputs_and_decisions_are_those_of_torch(name, tmp_path):
    (x, y), parameters = PROBLEMS[name]
    detector = quick(**parameters).fit(x, y)
    detector.save(tmp_path / "a.oddkind", onnx=True)
    exported, torch_model = load(tmp_path / "a.oddkind"), load(tmp_path / "a.oddkind", runtime="torch")
    assert all(isinstance(member, OnnxForward) for member in exported.members)
    new = (x[:40] + np.random.default_rng(1).integers(0, 3, x[:40].shape)).astype(x.dtype)
    for found, expected in zip(exported.member_outputs(new), torch_model.member_outputs(new), strict=True):
        for what in ("logits", "features"):
            wanted = getattr(expected, what)
            assert_allclose(getattr(found, what), wanted, atol=2e-5 * np.abs(wanted).max(), rtol=2e-5)
    known = [None] if y is None else [y[:40]]
    if y is not None and exported.calibration.unlabelled is not None:
        known.append(None)
    for labels in known:
        assert_array_equal(exported.decide(new, labels), torch_model.decide(new, labels))
    assert_array_equal(
        torch_model.anomaly_score(new, y if y is None else y[:40]),
        detector.anomaly_score(new, y if y is None else y[:40]),
    )


@pytest.mark.parametrize(
    "name", ["vectors with labels", "affine maps", "signals", "pictures in floats", "rotations", "pastes", "defects"]
)
def test_networks_of_one_form_share_a_graph_that_reads_their_weights(name):
    (x, y), parameters = PROBLEMS[name]
    models = [quick(random_state=0, **parameters).fit(x[rows], y if y is None else y[rows]).model for rows in HALVES]
    graphs = [with_graphs(model, shared=True) for model in models]
    first, other = (model.members[0] for model in graphs)
    assert first.graph is other.graph
    for found, expected in zip(graphs, models, strict=True):
        inputs = expected.prepare(x[:40], None)[0]
        for one, wanted in zip(found.members[0](inputs), expected.members[0](inputs), strict=True):
            assert_allclose(one, wanted, atol=2e-5 * np.abs(wanted).max(), rtol=2e-5)
        assert agreement(expected, found).n_flipped == 0


HALVES = slice(0, None, 2), slice(1, None, 2)


def test_other_transforms_have_other_graphs():
    x = kinds()[0]
    one, other = (with_graphs(quick(random_state=seed).fit(x).model, shared=True).members[0] for seed in (0, 1))
    assert one.graph != other.graph


def test_folds_are_exported_too(tmp_path):
    cross = CrossConformal(quick(), folds=3).fit(*kinds(90))
    cross.save(tmp_path / "a.oddkind", onnx=True)
    exported, x = load(tmp_path / "a.oddkind", runtime="onnx"), kinds(30, seed=3)[0]
    assert len(exported.folds) == 3
    assert_allclose(exported.anomaly_score(x), cross.anomaly_score(x), rtol=1e-4, atol=1e-5)
    assert_array_equal(exported.p_value(x), cross.p_value(x))
    assert agreement(cross.model, exported).n_samples == 90


def test_it_compares_decisions_and_refuses_if_one_differs(monkeypatch, tmp_path):
    model = quick().fit(*kinds()).model
    assert agreement(model, model) == Agreement(len(model.examples), 0, 0.0, 0.0)

    def noisy(forward, inputs, shared):
        network = onnx_export.OnnxForward(onnx_export.to_onnx(forward, inputs), forward.describe(), {})
        return lambda x: tuple(part * (1 + 20 * (x[:, :1, None] > 0)) for part in network(x))

    monkeypatch.setattr(onnx_export, "_exported", noisy)
    found = agreement(model, with_graphs(model))
    assert found.n_flipped > 0
    assert found.p_value > 0
    with pytest.raises(InputError, match=r"decisions on \d+ held-out samples differ .* nothing was written"):
        checked_graphs(model)


def test_what_cannot_be_exported_or_compared_is_refused():
    model = quick().fit(*kinds()).model
    with pytest.raises(InputError, match="run by OnnxForward; load the model with runtime='torch'"):
        with_graphs(with_graphs(model))
    with pytest.raises(InputError, match="keeps no held-out samples to compare with; fit it again"):
        agreement(replace(model, examples=None), model)


class Random(nn.Module):
    """A network whose work depends on the values, which no graph can express."""

    def __init__(self, input_shape, n_classes):
        super().__init__()
        self.inner = nn.Linear(*input_shape, n_classes)

    def forward(self, x):
        if not torch.is_grad_enabled() and float(x.sum()) > 1e9:
            x = x[:1]
        return self.inner(x), x


def test_a_network_that_cannot_be_expressed_is_refused():
    model = Detector(network=Random, epochs=1, random_state=0, false_alarm_rate=0.2).fit(*kinds()).model
    with pytest.raises(InputError, match="cannot be exported to ONNX"):
        with_graphs(model)


def test_a_network_of_ones_own_needs_no_code_when_it_is_a_graph(tmp_path):
    class Own(nn.Module):
        def __init__(self, input_shape, n_classes):
            super().__init__()
            self.inner, self.outer = nn.Linear(*input_shape, 8), nn.Linear(8, n_classes)

        def forward(self, x):
            features = self.inner(x).tanh()
            return self.outer(features), features

    x, y = kinds()
    detector = quick(network=Own).fit(x, y)
    detector.save(tmp_path / "a.oddkind", onnx=True)
    assert_allclose(load(tmp_path / "a.oddkind").anomaly_score(x[:9]), detector.anomaly_score(x[:9]), rtol=1e-4)
    with pytest.raises(InputError, match="network of its own"):
        load(tmp_path / "a.oddkind", runtime="torch")


@pytest.mark.parametrize(("task", "network"), [("pastes", "local"), ("defects", "unet")])
def test_a_map_is_drawn_from_the_graph_as_from_torch(tmp_path, task, network):
    quick(task=task, network=network, epochs=1).fit(*surfaces()).save(tmp_path / "a.oddkind", onnx=True)
    pictures = surfaces()[0][:3].copy()
    pictures[:, :, 4:9, 20:25] = 255
    found, expected = (explain(load(tmp_path / "a.oddkind", runtime=one), pictures) for one in ("onnx", "torch"))
    for one, other in zip(found, expected, strict=True):
        assert other.map.shape == (32, 32)
        assert_allclose(one.map, other.map, rtol=1e-3, atol=1e-4)
