"""`TorchForward`: a network run on the views of samples, described and built again."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from problems import Own, kinds, quick, with_both

from oddkind import InputError
from oddkind.model.inputs import InputSpec
from oddkind.model.task import Task
from oddkind.train.networks import build
from oddkind.train.stacked import as_float
from oddkind.train.torch_forward import TorchForward, restore_forward
from oddkind.train.transforms import TRANSFORMS, Identity, Rotations

CPU = torch.device("cpu")
CASES = {"mlp": (5,), "signal": (2, 40), "picture": (1, 16, 16), "lecture": (1, 16, 16)}
CASES |= {"local": (1, 16, 16), "unet": (1, 16, 16)}


def samples_of(shape, n=50, seed=0):
    draw = np.random.default_rng(seed)
    if len(shape) == 3:
        return draw.integers(256, size=(n, *shape)).astype(np.uint8)
    return draw.normal(size=(n, *shape)).astype(np.float32)


def forward_of(name="mlp", transform_name=""):
    shape = CASES[name]
    transform = TRANSFORMS[transform_name](shape, np.random.RandomState(0)) if transform_name else Identity()
    return TorchForward(build(name, shape, 3 * transform.count, seed=0).eval(), transform, name, transform_name)


def task_of(forward):
    return Task(np.arange(3), forward.transform.names, forward.transform.scored)


def test_bytes_are_read_as_0_to_1_and_floats_as_they_are():
    assert as_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    x = torch.tensor([-3.0, 7.0])
    assert torch.equal(as_float(x), x)


def long_forward(size=600):
    maps = TRANSFORMS["affine"]((size,), np.random.RandomState(0))
    return TorchForward(build("mlp", (size,), 3 * maps.count, seed=0).eval(), maps, "mlp", "affine")


def test_long_vectors_give_the_same_bits_in_every_batch():
    forward, inputs = long_forward(), samples_of((600,), n=200)
    logits, _ = forward(inputs)
    for rows in (slice(1), slice(3, 5), slice(40, 100), slice(0, 17)):
        assert_array_equal(forward(inputs[rows])[0], logits[rows])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("order", lambda order: order[:, :-1], r"orders of affine maps are int32 \(8, 599\); .* int32 \[V, D\]"),
        ("order", lambda order: order.astype(np.int64), "orders of affine maps are int64"),
        ("order", lambda order: order * 0, "are no permutations"),
        ("order", lambda order: order + 1, "are no permutations"),
        ("order", lambda order: -order, "are no permutations"),
        ("signs", lambda signs: signs * 0, "signs of affine maps must be 1 and −1"),
        ("signs", lambda signs: signs[:3], "signs of affine maps must be"),
        ("signs", lambda signs: signs.astype(np.float32), "signs of affine maps must be"),
    ],
)
def test_structured_maps_are_built_again_and_checked(name, change, message):
    forward, inputs = long_forward(), samples_of((600,))
    spec, weights = InputSpec((600,), np.zeros(600, np.float32), np.ones(600, np.float32)), dict(forward.weights())
    given = {"network": None, "device": CPU}
    again = restore_forward(forward.describe(), weights, spec, task_of(forward), **given)
    assert_array_equal(again(inputs)[0], forward(inputs)[0])
    with pytest.raises(InputError, match=message):
        restore_forward(forward.describe(), weights | {name: change(weights[name])}, spec, task_of(forward), **given)
    del weights["signs"]
    with pytest.raises(InputError, match="signs of affine maps must be"):
        restore_forward(forward.describe(), weights, spec, task_of(forward), **given)


def test_it_is_the_network_on_every_view():
    forward, inputs = forward_of("lecture", "rotations"), samples_of((1, 16, 16))
    found_logits, found_features = forward(inputs)
    assert found_logits.shape == (50, 4, 12)
    for view in range(4):
        with torch.no_grad():
            logits, features = forward.network(torch.rot90(torch.from_numpy(inputs), view, (-2, -1)).float() / 255)
        assert_allclose(found_logits[:, view], logits, atol=1e-6)
        assert_allclose(found_features[:, view], features, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_the_outputs_of_a_sample_are_the_same_bits_in_every_batch(name):
    forward, inputs = forward_of(name), samples_of(CASES[name], n=600)
    logits, features = forward(inputs)
    for rows in (slice(1), slice(3, 5), slice(40, 100), slice(0, 17), slice(500, 600), slice(None, None, -1)):
        own_logits, own_features = forward(np.ascontiguousarray(inputs[rows]))
        assert_array_equal(own_logits, logits[rows])
        assert_array_equal(own_features, features[rows])


@pytest.mark.parametrize("name", ["picture", "unet"])
def test_a_batch_that_threads_cannot_share_evenly_gives_the_same_bits(name):
    forward = TorchForward(build(name, (1, 40, 56), 2, seed=0).eval(), Identity(), name, "")
    inputs, threads = samples_of((1, 40, 56), n=64), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for found, expected in zip(forward(inputs[:17]), forward(inputs), strict=True):
            assert_array_equal(found, expected[:17])
    finally:
        torch.set_num_threads(threads)


def test_fewer_views_of_many_numbers_are_run_at_once(monkeypatch):
    monkeypatch.setattr("oddkind.model.forward.PREDICT_NUMBERS", 2 * 48 * 16 * 16)
    forward, inputs = forward_of("lecture", "rotations"), samples_of((1, 16, 16))
    shown = []
    forward.network.register_forward_pre_hook(lambda _, given: shown.append(len(given[0]) // 4))
    assert len(forward(inputs)[0]) == 50
    assert shown == [32, 32, 16]  # 24, 24 and 2 samples in 4 views, each padded to a multiple of 16


@pytest.mark.parametrize("batch", [1, 9, 4000])
def test_the_size_of_a_batch_changes_no_bits(monkeypatch, batch):
    forward, inputs = forward_of("lecture", "rotations"), samples_of((1, 16, 16))
    whole = forward(inputs)
    monkeypatch.setattr("oddkind.model.forward.PREDICT_BATCH", batch)
    for found, expected in zip(forward(inputs), whole, strict=True):
        assert_array_equal(found, expected)


def test_it_uses_evaluation_mode_and_leaves_inputs_and_network_alone():
    network = build(with_both, (5,), 3, seed=0)
    inputs, state = samples_of((5,)), copy.deepcopy(network.state_dict())
    before = inputs.copy()
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(inputs))[0]
    network.train()
    assert_allclose(TorchForward(network, Identity(), None, "")(inputs)[0][:, 0], expected, atol=1e-6)
    assert not network.training
    assert_array_equal(inputs, before)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


# --- Built again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "transform_name"),
    [
        *(("mlp", ""), ("mlp", "affine"), ("signal", "reversals"), ("lecture", "rotations"), ("local", "pastes")),
        ("unet", "defects"),
    ],
)
def test_from_its_description_and_weights_it_is_built_again_to_the_same_bits(name, transform_name):
    forward, inputs = forward_of(name, transform_name), samples_of(CASES[name])
    again = restore_forward(
        forward.describe(), forward.weights(), InputSpec(CASES[name]), task_of(forward), network=None, device=CPU
    )
    for found, expected in zip(again(inputs), forward(inputs), strict=True):
        assert_array_equal(found, expected)


@pytest.mark.parametrize("as_module", [False, True], ids=["a builder", "a module"])
def test_a_network_of_ones_own_is_built_again_with_its_state(as_module):
    network = build(with_both, (5,), 3, seed=0)
    network.between[0].running_mean.fill_(0.5)
    forward, inputs = TorchForward(network.eval(), Identity(), None, ""), samples_of((5,))
    own = build(with_both, (5,), 3, seed=9) if as_module else with_both
    again = restore_forward(
        forward.describe(), forward.weights(), InputSpec((5,)), task_of(forward), network=own, device=CPU
    )
    assert_array_equal(again(inputs)[0], forward(inputs)[0])
    assert again.network is not own


@pytest.mark.parametrize(
    ("description", "weights", "network", "message"),
    [
        ({"network": "resnet"}, {}, None, "network 'resnet' is unknown; known are 'lecture'"),
        ({"transform": "jigsaw"}, {}, None, "transform 'jigsaw' is unknown; known are 'rotations'"),
        ({"size": 3}, {}, None, "unknown"),
        ({"network": None}, {}, None, r"with a network of its own.*network=\.\.\."),
        ({}, {}, Own, "leave out network="),
        ({"transform": ""}, {}, None, "the views .* are not those of 'no transform'"),
        ({}, {"network.classifier.bias": None}, None, "weight 'classifier.bias' is missing; the network needs"),
        (
            {},
            {"network.classifier.bias": np.zeros(3, np.float32)},
            None,
            r"weight 'classifier.bias' is float32 \(3,\); the network needs torch.float32 \(24,\)",
        ),
        ({}, {"network.classifier.bias": np.zeros(24)}, None, r"is float64 \(24,\); the network needs torch.float32"),
        ({}, {"network.more": np.zeros(1, np.float32)}, None, "unexpected weight 'network.more'"),
        ({}, {"matrices": None}, None, r"affine maps are .* must be float32 \[V, D, D\]"),
        ({}, {"matrices": np.zeros((8, 4, 4), np.float32)}, None, r"affine maps are float32 \(8, 4, 4\)"),
    ],
)
def test_what_does_not_fit_together_is_refused(description, weights, network, message):
    forward = forward_of("mlp", "affine")
    held = {name: array for name, array in {**forward.weights(), **weights}.items() if array is not None}
    with pytest.raises(InputError, match=message):
        restore_forward(
            {**forward.describe(), **description},
            held,
            InputSpec((5,)),
            task_of(forward),
            network=network,
            device=CPU,
        )


def test_weights_of_a_type_that_numpy_does_not_have_are_refused():
    network = build("mlp", (5,), 3, seed=0).to(torch.bfloat16)
    with pytest.raises(InputError, match="a type that NumPy does not have"):
        TorchForward(network, Identity(), "mlp", "").weights()


def test_rotations_are_those_of_the_task():
    forward = forward_of("lecture", "rotations")
    assert isinstance(forward.transform, Rotations)
    assert forward.describe() == {"network": "lecture", "transform": "rotations"}


@pytest.mark.parametrize("weight", [float("nan"), 1e38])
def test_outputs_that_are_no_numbers_are_refused(weight):
    model = quick(epochs=1).fit(*kinds()).model
    with torch.no_grad():
        next(model.members[0].network.parameters()).fill_(weight)
    with pytest.raises(InputError, match="the network returns NaN or infinity"):
        model.anomaly_score(kinds(5)[0])
