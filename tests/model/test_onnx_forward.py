"""Networks that onnxruntime runs, and what a graph in a file may contain."""

import pickle

import numpy as np
import onnx
import pytest
from numpy.testing import assert_array_equal
from onnx import TensorProto, helper
from problems import kinds, pictures, quick

from oddkind import InputError
from oddkind.model.onnx_forward import GRAPH, OnnxForward, check_graph, restore_graph
from oddkind.train.onnx_export import with_graphs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[kinds, pictures])
def model(request):
    return with_graphs(quick().fit(*request.param()).model), request.param(40, seed=1)[0]


def test_a_sample_has_the_same_bits_in_any_batch(model):
    fitted, x = model
    forward, inputs = fitted.members[0], fitted.prepare(x, None)[0]
    together = forward(inputs)
    for rows in (slice(1), slice(3, 8), slice(20, 40)):
        for one, other in zip(forward(inputs[rows]), together, strict=True):
            assert_array_equal(one, other[rows])
    many = forward(np.concatenate([inputs] * 30))
    for one, other in zip(many, together, strict=True):
        assert_array_equal(one, np.concatenate([other] * 30))


def test_a_graph_that_reads_weights_needs_them():
    forward = with_graphs(quick().fit(*kinds()).model, shared=True).members[0]
    weights = dict(forward.weights())
    assert isinstance(restore_graph(forward.describe(), weights), OnnxForward)
    name = min(name for name in weights if name.startswith("network."))
    changed = {one: array for one, array in weights.items() if one != name}
    with pytest.raises(InputError, match=f"reads '{name}', which is missing"):
        restore_graph(forward.describe(), changed)(np.zeros((2, 4), np.float32))
    weights[name] = weights[name][..., :1]
    with pytest.raises(InputError, match="cannot be run"):
        restore_graph(forward.describe(), weights)(np.zeros((2, 4), np.float32))


def test_it_is_pickled_before_and_after_it_has_run(model):
    fitted, x = model
    expected = fitted.anomaly_score(x)
    assert_array_equal(pickle.loads(pickle.dumps(fitted)).anomaly_score(x), expected)  # noqa: S301
    forward = fitted.members[0]
    fresh = OnnxForward(forward.graph, forward.describe(), {})
    again = pickle.loads(pickle.dumps(fresh))  # noqa: S301
    inputs = fitted.prepare(x, None)[0]
    assert_array_equal(again(inputs)[0], fresh(inputs)[0])


def test_its_weights_hold_the_graph_and_those_of_torch(model):
    forward = model[0].members[0]
    again = restore_graph(forward.describe(), forward.weights())
    assert again.graph == forward.graph
    assert again.describe() == forward.describe()
    assert [*again.weights()] == [*forward.weights()]
    assert set(forward.weights()) > {GRAPH}


def graph_of(nodes, initializers=(), functions=()):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("z", TensorProto.FLOAT, ["n", 1, 4]), value("f", TensorProto.FLOAT, ["n", 1, 4])],
        initializers,
    )
    return helper.make_model(graph, functions=functions, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def axes():
    return helper.make_tensor("axes", TensorProto.INT64, [1], [1])


def plain():
    return [helper.make_node("Unsqueeze", ["x", "axes"], [name]) for name in ("z", "f")]


def forward_of(model):
    return OnnxForward(model.SerializeToString(), {}, {})


def test_a_plain_graph_is_run():
    logits, features = forward_of(graph_of(plain(), [axes()]))(np.eye(4, dtype=np.float32))
    assert_array_equal(logits[:, 0], np.eye(4))
    assert_array_equal(features, logits)


def outside():
    tensor = axes()
    tensor.ClearField("int64_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def looping():
    body = helper.make_graph([], "b", [], [])
    return [helper.make_node("Loop", ["", "", "x"], ["z"], body=body), *plain()]


def constant():
    return [helper.make_node("Constant", [], ["c"], value=outside()), *plain()]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: graph_of(plain(), [outside()]), "refers to other files"),
        (lambda: graph_of(constant(), [axes()]), "refers to other files"),
        (lambda: graph_of(looping(), [axes()]), "operator 'Loop' of the ONNX graph holds a graph"),
        (
            lambda: graph_of([helper.make_node("SequenceInsert", ["x", "x"], ["s"]), *plain()], [axes()]),
            "operator SequenceInsert of the ONNX graph is not allowed",
        ),
        (
            lambda: graph_of([helper.make_node("Run", ["x"], ["s"], domain="evil"), *plain()], [axes()]),
            r"operator evil\.Run of the ONNX graph is not allowed",
        ),
        (
            lambda: graph_of(
                plain(), [axes()], [helper.make_function("", "F", ["a"], ["a"], [], [helper.make_opsetid("", 18)])]
            ),
            "defines functions",
        ),
    ],
)
def test_what_a_graph_must_not_contain_is_refused_before_it_is_run(make, reason):
    with pytest.raises(InputError, match=reason):
        forward_of(make())


def test_a_graph_that_returns_something_else_is_refused():
    model = graph_of(plain(), [axes()])
    model.graph.output.pop()
    with pytest.raises(InputError, match=r"does not return logits \[N, V, C\] and features"):
        forward_of(model)(np.eye(4, dtype=np.float32))
    model = graph_of([helper.make_node("Nonsense", ["x"], ["z"]), *plain()[1:]], [axes()])
    with pytest.raises(InputError, match="cannot be run"):
        forward_of(model)(np.eye(4, dtype=np.float32))


def test_damaged_bytes_are_refused_or_are_a_graph_and_break_nothing(draw):
    whole = graph_of(plain(), [axes()]).SerializeToString()
    for content in (b"", b"\x07", b"\xff" * 40, whole[:-3], whole[1:]):
        with pytest.raises(InputError, match=r"damaged|cannot be run|does not|not allowed"):
            OnnxForward(content, {}, {})(np.eye(4, dtype=np.float32))
    refused = 0
    for _ in range(300):
        content = bytearray(whole)
        content[draw.integers(len(content))] = draw.integers(256)
        try:
            check_graph(bytes(content))
        except InputError:
            refused += 1
    assert 0 < refused < 300
    with pytest.raises(InputError, match="must be bytes"):
        restore_graph({}, {GRAPH: np.zeros(3)})


def test_the_parser_sees_what_onnx_sees(model):
    graph = model[0].members[0].graph
    check_graph(graph)
    assert {node.domain for node in onnx.load_from_string(graph).graph.node} == {""}
    assert not any(one.metadata_props or one.doc_string for one in onnx.load_from_string(graph).graph.node)
