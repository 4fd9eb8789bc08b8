"""A model read from its file is the one that was saved."""

import hashlib
from collections.abc import Mapping
from dataclasses import is_dataclass, replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from problems import Own, frozen, quick, with_batch_norm
from saved_files import DATA, KINDS, VECTORS, arrays_of, manifest_of, members
from scoring import OF_SIGNALS

import oddkind
from oddkind import SCORES, CrossConformal, CrossModel, InputError, explain, load, neighbours, save
from oddkind.model.bundle import ARRAYS, FORMAT, MANIFEST
from oddkind.model.onnx_forward import OnnxForward
from oddkind.train.torch_forward import TorchForward

NOT_LEARNT = pytest.mark.filterwarnings("ignore:.* were not learnt:oddkind.ConcernWarning")


def assert_same(found, expected, inputs, labels):
    """All that is fitted, and all that is said of many samples and of one, has the same bits."""
    needs_labels = any(fold.calibration.unlabelled is None for fold in expected.folds)
    for rows in (slice(None), slice(1)):
        for known in ([None] if not needs_labels else []) + ([] if labels is None else [labels[rows]]):
            for method in ("anomaly_score", "score_samples", "decision_function", "p_value", "decide"):
                assert_array_equal(*(getattr(one, method)(inputs[rows], known) for one in (found, expected)))
        for one, other in zip(found.folds, expected.folds, strict=True):
            assert_alike(one.outputs(inputs[rows]), other.outputs(inputs[rows]))
    assert_alike(found, expected)


def assert_alike(found, expected):
    """Two values are of one type and have the same bits."""
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert_array_equal(found, expected)
    elif isinstance(expected, TorchForward):
        assert found.describe() == expected.describe()
        assert_alike(dict(found.weights()), dict(expected.weights()))
        assert found.transform.names == expected.transform.names
    elif isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert_alike(value, expected[name])
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif is_dataclass(expected):
        assert type(found) is type(expected)
        assert_alike(vars(found), vars(expected))
    else:
        assert found == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "score", ["auto", *(name for name in SCORES if name != "changed-place" and name not in OF_SIGNALS)]
)
@pytest.mark.parametrize("n_members", [1, 3])
@NOT_LEARNT
def test_every_score_has_the_same_bits(tmp_path, score, n_members):
    inputs, labels = DATA["pictures"]
    given = {"score_function": score, "n_members": n_members, "temperature": "fit", "network": "lecture", "epochs": 1}
    detector = quick(**given).fit(inputs, labels)
    detector.save(tmp_path / "a.oddkind")
    assert_same(load(tmp_path / "a.oddkind"), detector.model_, inputs, labels)


def test_of_many_samples_some_are_compared_with_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("oddkind.model.fitted_score.MAX_REFERENCE_ROWS", 50)
    inputs, labels = DATA["vectors"]
    model = quick(epochs=1).fit(inputs, labels).model_
    learnt = model.report.training_rows
    rows = learnt[np.linspace(0, len(learnt) - 1, 50).astype(int)]
    assert_array_equal(model.normal.rows, rows)
    assert_array_equal(model.normal.label_index, model.task.label_index(labels[rows]))
    assert_array_equal(model.normal.features, model.outputs(inputs[rows]).features)
    save(model, tmp_path / "a.oddkind")
    assert_same(load(tmp_path / "a.oddkind"), model, inputs, labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        ("vectors", {}),
        ("vectors", {"task": "labels", "score_function": "target-nll"}),
        ("vectors", {"task": "affine", "network": "mlp"}),
        ("pictures", {"task": "labels"}),
        ("pictures", {"task": "rotations", "network": "picture"}),
        ("pictures", {"task": "labels+pastes"}),
        ("large pictures", {"task": "defects"}),
        ("float pictures", {}),
        ("float pictures", {"task": "pastes", "score_function": "likelihood"}),
        ("signals", {"network": "signal", "n_members": 2}),
        ("signals", {"task": "reversals", "score_function": "likelihood"}),
        ("signals", {"task": "labels+permutations"}),
        ("signals", {"task": "speeds", "score_function": "likelihood"}),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
@NOT_LEARNT
def test_every_task_and_network_has_the_same_bits(tmp_path, data, parameters, labelled):
    inputs, labels = DATA[data]
    needed = "labels" in parameters.get("task", "")
    model = quick(**parameters, epochs=1).fit(inputs, labels if labelled or needed else None).model_
    save(model, tmp_path / "a.oddkind")
    found = load(str(tmp_path / "a.oddkind"))
    assert_same(found, model, inputs, None if model.task.labels is None else labels)
    save(found, tmp_path / "b.oddkind")
    assert (tmp_path / "a.oddkind").read_bytes() == (tmp_path / "b.oddkind").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("grouped", [True, False])
def test_a_cross_model_has_the_same_bits(tmp_path, data, labelled, grouped):
    inputs, labels = DATA[data]
    labels, groups = labels if labelled else None, np.arange(len(inputs)) // 3 if grouped else None
    network = "lecture" if "pictures" in data else "auto"
    model = CrossConformal(quick(epochs=1, network=network), folds=3).fit(inputs, labels, groups).model_
    model = replace(model, source={"machine": "pump 3"}, false_alarm_rate=0.15)
    save(model, tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind")
    assert isinstance(found, CrossModel)
    assert len(found.folds) == 3
    assert_same(found, model, inputs, labels)
    if grouped:
        for one, other in zip(*(each.group_p_value(inputs, groups, labels) for each in (found, model)), strict=True):
            assert_array_equal(one, other)
    for one, other in zip(*(explain(each, inputs[:2]) for each in (found, model)), strict=True):
        assert_alike(one, other)
    save(found, tmp_path / "b.oddkind")
    assert (tmp_path / "a.oddkind").read_bytes() == (tmp_path / "b.oddkind").read_bytes()


@pytest.mark.parametrize(
    "kind", [np.int64, np.uint8, ">i2", np.float16, bool, "<U1", "<U9", ">U3", object], ids=lambda kind: str(kind)
)
def test_labels_come_back_in_their_type(tmp_path, kind):
    names = np.array(["c", "ä", "b"] if kind is object or "U" in str(kind) else [2, 0, 1]).astype(kind)
    labels = names[KINDS]
    detector = quick(epochs=1).fit(VECTORS, labels)
    detector.save(tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind")
    assert found.task.labels.dtype == labels.dtype
    assert found.task.labels.tolist() == detector.classes_.tolist()
    assert_same(found, detector.model_, VECTORS, labels)


@pytest.mark.parametrize(
    ("n_members", "network"), [(1, with_batch_norm), (2, with_batch_norm), (1, frozen), (1, Own((4,), 3))]
)
@pytest.mark.filterwarnings("ignore:2 networks Own are trained one after another")
def test_a_network_and_a_score_of_ones_own_are_passed_again(tmp_path, n_members, network):
    score = neighbours(k=3)
    given = {"network": network, "score_function": score, "n_members": n_members}
    model = quick(task="labels", **given).fit(VECTORS, KINDS).model_
    save(model, tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind", network=network, score_function=score)
    assert_same(found, model, VECTORS, KINDS)
    assert found.score.own is score
    for one, other in zip(found.members, model.members, strict=True):
        assert one.network is not network
        assert [p.requires_grad for p in one.network.parameters()] == [
            p.requires_grad for p in other.network.parameters()
        ]
    for missing, passed in (("network", {"score_function": score}), ("score", {"network": network})):
        with pytest.raises(InputError, match=rf"a\.oddkind: fitted with a {missing} of its own; pass it: load\(file"):
            load(tmp_path / "a.oddkind", **passed)
    with pytest.raises(InputError, match=r"a\.oddkind: .*(it must be|is missing|unexpected weight|needs logits)"):
        load(tmp_path / "a.oddkind", network=lambda shape, n: Own(shape, n + 1), score_function=score)


class Tied(Own):
    """Two names for one tensor, one tensor outside the state dict, one that is no float32."""

    def __init__(self, input_shape, n_classes):
        super().__init__(input_shape, n_classes)
        self.again = self.inner
        self.register_buffer("table", torch.ones(3, dtype=torch.float16), persistent=False)


def test_all_a_network_holds_is_saved(tmp_path):
    detector = quick(task="labels", network=Tied).fit(VECTORS, KINDS)
    detector.model_.members[0].network.table.fill_(2)
    detector.save(tmp_path / "a.oddkind")
    network = load(tmp_path / "a.oddkind", network=Tied).members[0].network
    assert network.again.weight is network.inner.weight
    assert network.table.dtype == torch.float16
    assert network.table.tolist() == [2, 2, 2]


def test_weights_of_a_type_that_numpy_does_not_have_are_refused(tmp_path):
    detector = quick(task="labels", network=Tied).fit(VECTORS, KINDS)
    network = detector.model_.members[0].network
    network.table = network.table.to(torch.bfloat16)
    with pytest.raises(InputError, match="of a type that NumPy does not have"):
        detector.save(tmp_path / "a.oddkind")
    assert list(tmp_path.iterdir()) == []


def test_parameters_that_json_cannot_represent_are_null(tmp_path):
    given = {"random_state": np.random.RandomState(0), "learning_rate": np.float32(0.5), "n_members": np.int8(1)}
    detector = quick(**given, device="cpu").fit(VECTORS)
    detector.save(tmp_path / "a.oddkind")
    expected = {**detector.get_params(), "random_state": None}
    del expected["device"]
    assert load(tmp_path / "a.oddkind").report.parameters == expected
    quick(random_state=np.uint32(7), score_function=neighbours(2), network=Own).fit(VECTORS).save(
        tmp_path / "b.oddkind"
    )
    found = load(tmp_path / "b.oddkind", network=Own, score_function=neighbours(2)).report.parameters
    assert (found["random_state"], found["score_function"], found["network"]) == (7, None, None)


def test_names_of_features_come_back(tmp_path, saved):
    named = replace(saved[0], inputs=replace(saved[0].inputs, feature_names=("a", "b", "c", "d")))
    save(named, tmp_path / "a.oddkind")
    assert load(tmp_path / "a.oddkind").inputs.feature_names == ("a", "b", "c", "d")


@pytest.mark.parametrize("per_label", [True, False])
def test_the_decisions_come_back(tmp_path, saved, per_label):
    save(replace(saved[0], false_alarm_rate=0.125, per_label=per_label), tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind")
    assert (found.false_alarm_rate, found.per_label) == (0.125, per_label)


@pytest.mark.parametrize("source", [None, {}, {"machine": "pump 3", "runs": [1, 2.5, None, True, {"ä": "\n"}]}])
def test_the_source_comes_back(tmp_path, saved, source):
    save(replace(saved[0], source=source), tmp_path / "a.oddkind")
    assert load(tmp_path / "a.oddkind").source == source


@pytest.mark.parametrize("source", [{"a": (1, 2)}, {"a": object()}, {1: 2}, [1], "pump", {"a": "\ud800"}], ids=range(6))
def test_a_source_that_is_no_json_object_is_refused(tmp_path, saved, source):
    with pytest.raises(InputError, match="source"):
        save(replace(saved[0], source=source), tmp_path / "a.oddkind")
    assert list(tmp_path.iterdir()) == []


def test_a_source_too_deep_to_be_read_again_is_refused(tmp_path, saved):
    for depth in (300, 5000):
        deep = []
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(InputError, match=r"recursion|source"):
            save(replace(saved[0], source={"a": deep}), tmp_path / "a.oddkind")
        assert list(tmp_path.iterdir()) == []


def test_only_what_is_needed_is_saved(saved):
    names = set(arrays_of(saved[2]))
    assert {name for name in names if not name.startswith("fold.0.member.0.network.")} == {
        "fold.0." + name
        for name in (
            "report.losses",
            "report.training_rows",
            "report.calibration_rows",
            "examples",
            "mean",
            "scale",
            "score.weights",
            "labelled.components",
            "labelled.scores",
            "unlabelled.components",
            "unlabelled.scores",
            "calibration.groups",
            "calibration.label_index",
        )
    }
    facts = manifest_of(saved[2])
    assert list(facts)[:2] == ["format", "oddkind"]
    assert (facts["format"], facts["oddkind"]) == (FORMAT, oddkind.__version__)
    manifest, arrays = members(saved[2])[MANIFEST], members(saved[2])[ARRAYS]
    blank = manifest.replace(facts["sha256"].encode(), b"0" * 64)
    assert facts["sha256"] == hashlib.sha256(blank + arrays).hexdigest()


def test_what_runs_a_model_can_be_chosen(tmp_path):
    x, y = DATA["vectors"]
    quick().fit(x, y).save(tmp_path / "torch.oddkind")
    quick().fit(x, y).save(tmp_path / "both.oddkind", onnx=True)
    for name, runtime, kind in (
        ("torch", "auto", TorchForward),
        ("both", "auto", OnnxForward),
        ("both", "onnx", OnnxForward),
        ("both", "torch", TorchForward),
    ):
        assert isinstance(load(tmp_path / f"{name}.oddkind", runtime=runtime).members[0], kind)
    assert isinstance(load(tmp_path / "both.oddkind", device="cpu").members[0], TorchForward)
    with pytest.raises(InputError, match=r"holds no ONNX graph; 'oddkind export .*torch\.oddkind --onnx' adds it"):
        load(tmp_path / "torch.oddkind", runtime="onnx")
    with pytest.raises(InputError, match="network and device are for torch"):
        load(tmp_path / "both.oddkind", runtime="onnx", device="cpu")
    with pytest.raises(InputError, match="runtime='tpu'; known are 'auto', 'onnx', 'torch'"):
        load(tmp_path / "torch.oddkind", runtime="tpu")


def test_nothing_is_unpickled(monkeypatch, saved):
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("pickle.loads", None)
    monkeypatch.setattr(torch, "load", None)
    assert_same(load(saved[1]), saved[0], VECTORS, saved[0].task.labels[KINDS % 3])
