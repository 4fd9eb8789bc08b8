"""A model read from its file is the one that was saved, and a file that cannot be one is refused."""

import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from problems import Own, frozen, kinds, pictures, quick, signals, with_batch_norm
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays
from scoring import OF_SIGNALS
from sklearn.exceptions import NotFittedError
from torch import nn

import oddkind
from oddkind import SCORES, CrossConformal, CrossModel, Detector, InputError, Model, explain, load, neighbours, save
from oddkind.model import bundle
from oddkind.model.bundle import ARRAYS, FORMAT, MANIFEST, READABLE, read
from oddkind.model.onnx_forward import OnnxForward
from oddkind.train.torch_forward import TorchForward

NOT_LEARNT = pytest.mark.filterwarnings("ignore:.* were not learnt:oddkind.ConcernWarning")
VECTORS, KINDS = kinds(120)
DATA = {
    "vectors": (VECTORS, KINDS),
    "pictures": (pictures(60)[0], np.arange(60) % 2),
    "float pictures": (pictures(60)[0] / 255, np.arange(60) % 2),
    "large pictures": (pictures(60)[0].repeat(2, 2).repeat(2, 3), np.arange(60) % 2),
    "signals": (signals(60), np.arange(60) % 2),
}


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


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model, its file and the bytes of the file."""
    detector = quick(task="labels", score_function="msp").fit(VECTORS, np.array(["c", "a", "bb"])[KINDS])
    file = tmp_path_factory.mktemp("saved") / "pump.oddkind"
    detector.save(file)
    return detector.model_, file, file.read_bytes()


@pytest.fixture(scope="module")
def with_views(tmp_path_factory):
    """The bytes of the file of a model that learnt no labels and keeps normal samples."""
    file = tmp_path_factory.mktemp("views") / "pump.oddkind"
    quick().fit(VECTORS).save(file)
    return file.read_bytes()


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def sealed(manifest, arrays):
    """The file with these members, and their digest, if the manifest still has a place for it."""
    manifest = manifest if isinstance(manifest, bytes) else manifest.encode()
    found = re.search(rb'"sha256": ?"([0-9a-f]{64})"', manifest)
    if found:
        digest = bundle.digest_of(manifest, arrays, found[1].decode())
        manifest = manifest.replace(found[1], digest.encode(), 1)
    return zipped({MANIFEST: manifest, ARRAYS: arrays})


def manifest_of(content):
    return json.loads(members(content)[MANIFEST])


def arrays_of(content):
    return load_arrays(members(content)[ARRAYS])


def changed(content, fold=None, **fields):
    """The file with other fields in its manifest, and in its first fold; `...` takes one away."""
    facts = manifest_of(content) | fields
    if fold:
        facts["folds"][0] = {k: v for k, v in (facts["folds"][0] | fold).items() if v is not ...}
    facts = {name: value for name, value in facts.items() if value is not ...}
    return sealed(json.dumps(facts), members(content)[ARRAYS])


def with_content(content, arrays):
    """The file with other bytes for its arrays, and the digest of those."""
    return sealed(members(content)[MANIFEST], arrays)


def with_arrays(content, changes):
    """The file with other arrays, and their digest; `...` takes one away."""
    arrays = {name: array for name, array in (arrays_of(content) | changes).items() if array is not ...}
    return with_content(content, save_arrays({name: np.asarray(array, order="C") for name, array in arrays.items()}))


# --- the same model ---


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


def test_the_format_number_is_read_first():
    assert next(iter(bundle.Manifest.model_fields)) == "format"


# --- writing ---


def test_a_detector_that_is_not_fitted_cannot_be_saved(tmp_path):
    for detector in (Detector(), CrossConformal()):
        with pytest.raises(NotFittedError):
            detector.save(tmp_path / "a.oddkind")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("step", ["writestr", "replace"])
def test_a_save_that_fails_leaves_what_was_there(tmp_path, monkeypatch, saved, error, step):
    def fail(*_):
        raise error

    file = tmp_path / "a.oddkind"
    file.write_text("old")
    monkeypatch.setattr(*{"writestr": (zipfile.ZipFile, step), "replace": (os, step)}[step], fail)
    with pytest.raises(InputError if isinstance(error, OSError) else KeyboardInterrupt):
        save(saved[0], file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.oddkind"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("place", ["none/a.oddkind", "file/a.oddkind", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, saved, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{place}: cannot be written \(.+\); name a file that can"):
        save(saved[0], tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_file_that_is_there_is_replaced(tmp_path, saved):
    (tmp_path / "a.oddkind").write_text("old")
    save(saved[0], tmp_path / "a.oddkind")
    assert (tmp_path / "a.oddkind").read_bytes() == saved[2]


# --- refusals ---


def labels(dtype, *values):
    return {"labels": {"dtype": dtype, "values": values}}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", "not a saved model, or damaged"),
        (lambda _: b"PK\x03\x04 and then something else", "not a saved model, or damaged"),
        (lambda content: content[:-1], "not a saved model, or damaged"),
        (lambda content: content.replace(b'"c"', b'"d"'), "Bad CRC-32"),
        (lambda content: zipped(members(content), zipfile.ZIP_DEFLATED), "is compressed; a saved model stores it unc"),
        (lambda content: zipped({**members(content), MANIFEST: b"0" * 10**7}, zipfile.ZIP_DEFLATED), "uncompressed"),
        (lambda _: zipped({"a.txt": "a"}), r"a zip of \['a\.txt'\]; a saved model holds manifest\.json and arr"),
        (lambda content: zipped({MANIFEST: members(content)[MANIFEST]}), "a saved model holds"),
        (lambda content: zipped({**members(content), "code.pkl": b""}), "a saved model holds"),
        (lambda content: zipped({**members(content), MANIFEST: b"\xff"}), "no JSON"),
        (lambda content: zipped({**members(content), MANIFEST: b"[]"}), "should be an object"),
        (lambda content: zipped({**members(content), ARRAYS: b""}), r"arrays\.safetensors is not what was saved"),
        (lambda content: with_content(content, b""), r"arrays\.safetensors is damaged"),
        (lambda content: with_content(content, members(content)[ARRAYS][:-9]), r"arrays\.safetensors is damaged"),
        (lambda content: changed(content, sha256="0a"), "sha256: String should match pattern"),
        (lambda content: changed(content, sha256=...), "sha256: Field required"),
        (
            lambda content: zipped({**members(content), ARRAYS: members(content)[ARRAYS] + b" "}),
            r"manifest\.json or arrays\.safetensors is not what was saved",
        ),
        (
            lambda content: zipped({**members(content), MANIFEST: members(content)[MANIFEST].replace(b"0.2", b"0.3")}),
            r"manifest\.json or arrays\.safetensors is not what was saved",
        ),
        (lambda content: changed(content, format=FORMAT + 1), "written by a newer oddkind; upgrade"),
        (lambda content: changed(content, format=FORMAT + 1, novelty=1), "written by a newer oddkind; upgrade"),
        (lambda content: changed(content, format=2), "format 2 was never released; fit the model again"),
        (lambda content: changed(content, format="1"), "format: Input should be a valid integer; got '1'"),
        (lambda content: changed(content, format=...), "format: Field required"),
        (lambda content: changed(content, novelty=1), "novelty: Extra inputs are not permitted; got 1"),
        (lambda content: changed(content, folds=[]), "folds: Tuple should have at least 1 item"),
        (lambda content: changed(content, folds=2 * manifest_of(content)["folds"]), r"array 'mean' is missing"),
        (lambda content: changed(content, false_alarm_rate=0.0), "false_alarm_rate: Input should be greater than 0"),
        (lambda content: changed(content, false_alarm_rate=1.0), "false_alarm_rate: Input should be less than 1"),
        (lambda content: changed(content, {"accuracy": ...}), "folds.0.accuracy: Field required"),
        (lambda content: changed(content, {"accuracy": "0"}), "accuracy: Input should be a valid number; got '0'"),
        (lambda content: changed(content, {"novelty": 1}), "novelty: Extra inputs are not permitted; got 1"),
        (lambda content: changed(content, {"input_shape": []}), "input_shape: "),
        (lambda content: changed(content, {"input_shape": [5]}), r"'mean' is float32 \(4,\); it must be .*\(5,\)"),
        (lambda content: changed(content, {"input_shape": [2**30, 2**30]}), "'mean'"),
        (lambda content: changed(content, {"input_shape": [2**30], "standardises": False}), "weight 'normed"),
        (
            lambda content: changed(content, {"input_shape": [4, 1], "standardises": False}),
            "network 'branches' reads v",
        ),
        (
            lambda content: changed(content, {"standardises": False}),
            r"'examples' is float32 \(14, 4\); it must be uint8 \(14, 4\)",
        ),
        (
            lambda content: changed(content, {"epochs": 3}),
            r"'report.losses' is float.. \(2, 1\); it must be .*\(3, 1\)",
        ),
        (lambda content: changed(content, {"labels": None}), "classifier"),
        (lambda content: changed(content, labels("<U1", "b", "a")), "labels are not sorted"),
        (lambda content: changed(content, labels("<U1", "a", "bb")), "labels are not sorted"),
        (lambda content: changed(content, labels("|u1", 1, 300)), "labels are not sorted"),
        (lambda content: changed(content, labels("<i3", 1, 3)), "labels are not sorted"),
        (lambda content: changed(content, labels("|O", 1, "a")), "labels are not sorted"),
        (lambda content: changed(content, labels("<f8", "nan", 1)), "labels are not sorted"),
        (lambda content: changed(content, labels("V8", 1, 3)), "String should match"),
        (lambda content: changed(content, labels("<i8")), "values"),
        (lambda content: changed(content, labels("<i8", 1, 3)), "classifier"),
        (lambda content: changed(content, {"feature_names": ["a"]}), "1 names for 4 features"),
        (lambda content: changed(content, {"view_names": ["upside down"]}), r"the views \['upside down'\] are not"),
        (lambda content: changed(content, {"view_names": []}), "view_names"),
        (lambda content: changed(content, {"n_scored": 2}), "2 of 1 views are scored"),
        (lambda content: changed(content, {"n_scored": 0}), "greater than or equal to 1"),
        (lambda content: changed(content, {"score": "odin"}), "score: Value error, unknown; known are 'msp'"),
        (lambda content: changed(content, {"score": None}), "fitted with a score of its own"),
        (
            lambda content: changed(content, {"score": "combined"}),
            r"'score.weights' is float64 \(1,\); it must be .*\(3,\)\. The file is damaged or .*; fit the model again",
        ),
        (lambda content: changed(content, {"score": "view-neighbours"}), "do not fit together"),
        (lambda content: changed(content, {"temperature": 0.0}), "greater than 0"),
        (lambda content: changed(content, {"has_normal": True}), "'normal.rows' is missing"),
        (lambda content: changed(content, {"members": []}), "members"),
        (lambda content: changed(content, {"members": 2 * manifest_of(content)["folds"][0]["members"]}), "losses"),
        (lambda content: with_arrays(content, {"extra": np.zeros(1)}), "unexpected array 'extra'"),
        (lambda content: with_arrays(content, {"fold.0.extra": np.zeros(1)}), "unexpected array 'fold.0.extra'"),
        (lambda content: with_arrays(content, {"fold.1.extra": np.zeros(1)}), "unexpected array 'fold.1.extra'"),
        (lambda content: with_arrays(content, {"fold.0.report.losses": ...}), "array 'report.losses' is missing"),
        (lambda content: with_arrays(content, {"fold.0.report.losses": np.zeros(2)}), "array 'report.losses' is"),
        (lambda content: with_arrays(content, {"fold.0.labelled.scores": ...}), r"array 'labelled\.scores' is missing"),
        (lambda content: with_arrays(content, {"fold.0.labelled.scores": np.zeros((1, 1))}), r"'labelled\.scores' is"),
        (lambda content: with_arrays(content, {"fold.0.calibration.groups": np.zeros(24)}), "must be int64"),
        (lambda content: with_arrays(content, {"fold.0.member.0.network.classifier.bias": ...}), "classifier.bias"),
        (lambda content: with_arrays(content, {"fold.0.member.0.network.more": np.zeros(3)}), "unexpected weight"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_file_that_is_no_saved_model_is_refused(tmp_path, saved, spoil, message):
    (tmp_path / "a.oddkind").write_bytes(spoil(saved[2]))
    with pytest.raises(InputError, match=rf"a\.oddkind: .*{message}"):
        load(tmp_path / "a.oddkind")


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"network": "resnet", "transform": ""}, "network 'resnet' is unknown; known are 'lecture'"),
        ({"network": ["mlp"], "transform": ""}, "network .* is unknown"),
        ({"network": {"mlp": 1}, "transform": ""}, "network .* is unknown"),
        ({"network": "lecture", "transform": ""}, "network 'lecture' reads pictures"),
        ({"network": "mlp", "transform": "jigsaw"}, "transform 'jigsaw' is unknown; known are 'rotations'"),
        ({"network": "mlp", "transform": ["affine"]}, "transform .* is unknown"),
        ({"network": "mlp", "transform": None}, "transform .* is unknown"),
        ({"network": "mlp", "transform": "rotations"}, "of shape"),
        ({"network": "mlp", "transform": "affine"}, "affine maps are"),
        ({"network": "mlp", "transform": "", "device": "cpu"}, "unknown|must"),
        ({"network": "mlp"}, "unknown|must"),
        ({}, "unknown|must"),
        ({"network": None, "transform": ""}, "fitted with a network of its own; pass it"),
    ],
)
def test_networks_that_cannot_be_are_refused(tmp_path, saved, description, message):
    (tmp_path / "a.oddkind").write_bytes(changed(saved[2], {"members": [description]}))
    with pytest.raises(InputError, match=rf"a\.oddkind: .*({message})"):
        load(tmp_path / "a.oddkind")


def test_a_promise_within_each_label_needs_labels(tmp_path, with_views):
    (tmp_path / "a.oddkind").write_bytes(changed(with_views, per_label=True))
    with pytest.raises(InputError, match=r"a\.oddkind: per_label=True needs a task with labels"):
        load(tmp_path / "a.oddkind")


@pytest.mark.parametrize("settings_of_the_source", [1, {}, {"sampling_rate": "fast"}, None, []])
def test_settings_of_files_that_cannot_be_are_refused(tmp_path, saved, settings_of_the_source):
    (tmp_path / "a.oddkind").write_bytes(changed(saved[2], source={"settings": settings_of_the_source}))
    with pytest.raises(InputError, match=r"a\.oddkind: .*settings"):
        load(tmp_path / "a.oddkind")


def test_a_member_of_absurd_size_is_refused(tmp_path, saved):
    content = bytearray(saved[2])
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little") * 2  # what the directory says it holds
    (tmp_path / "a.oddkind").write_bytes(content)
    with pytest.raises(InputError, match="is compressed"):
        load(tmp_path / "a.oddkind")


def test_a_sample_of_absurd_size_takes_no_memory(tmp_path):
    """The weights of a network for signals do not depend on their length."""
    quick(score_function="msp").fit(*DATA["signals"]).save(tmp_path / "a.oddkind")
    content = changed((tmp_path / "a.oddkind").read_bytes(), {"input_shape": [2, 2**31 - 1]})
    (tmp_path / "a.oddkind").write_bytes(content)
    with pytest.raises(InputError, match=r"'examples' is float32 .*; it must be float32 \(2, 2, 2147483647\)"):
        load(tmp_path / "a.oddkind").predict(DATA["signals"][0])


@pytest.mark.parametrize("network", ["lecture", "picture", "local", "unet", "mlp", "signal"])
@pytest.mark.parametrize("shape", [[2**31 - 1] * length for length in (1, 2, 3)], ids=len)
def test_a_network_for_samples_of_absurd_size_takes_no_memory(tmp_path, network, shape):
    data = {"mlp": "vectors", "signal": "signals", "unet": "large pictures"}.get(network, "pictures")
    file = tmp_path / "a.oddkind"
    quick(network=network, score_function="msp", task="labels", epochs=1).fit(*DATA[data]).save(file)
    file.write_bytes(changed(file.read_bytes(), {"input_shape": shape}))
    with pytest.raises(InputError, match=r"a\.oddkind: "):
        load(file)


def test_labels_of_absurd_size_take_no_memory(tmp_path, saved):
    many = [f"{number:06}" for number in range(100_000)]
    (tmp_path / "a.oddkind").write_bytes(changed(saved[2], labels("<U9999", *many)))
    with pytest.raises(InputError, match=r"a\.oddkind: "):
        load(tmp_path / "a.oddkind")


@pytest.mark.parametrize("place", ["none", "folder", "none/none", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{place}: "):
        load(tmp_path / place)


def test_a_network_or_score_the_file_names_is_not_asked_for(saved):
    for passed, named in (
        ({"network": nn.Identity()}, "network, 'branches'"),
        ({"score_function": neighbours()}, "score, 'msp'"),
    ):
        with pytest.raises(InputError, match=rf"pump\.oddkind: names its {named}; leave out {next(iter(passed))}="):
            load(saved[1], **passed)


def test_nothing_is_unpickled(monkeypatch, saved):
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("pickle.loads", None)
    monkeypatch.setattr(torch, "load", None)
    assert_same(load(saved[1]), saved[0], VECTORS, saved[0].task.labels[KINDS % 3])


# --- damaged and hostile files ---


def refused_or_read(folder, content):
    """The bytes of the model that `load` read; None if it was refused. Nothing but an InputError is raised."""
    file = folder / "spoilt.oddkind"
    file.write_bytes(content)
    try:
        found = load(file)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017
        return None
    save(found, file)
    return file.read_bytes()


@settings(max_examples=400)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_do_not_matter(saved, data):
    content, folder = bytearray(saved[2]), saved[1].parent
    # What steers the reading lies at the ends.
    near = st.one_of(st.integers(0, 80), st.integers(1, 300).map(lambda back: len(content) - back))
    place = st.one_of(near, st.integers(0, len(content) - 1))
    for at, bits in data.draw(st.lists(st.tuples(place, st.integers(1, 255)), max_size=3)):
        content[at] ^= bits
    if data.draw(st.booleans()):
        content = content[: data.draw(place)]
    assert refused_or_read(folder, bytes(content)) in (None, saved[2])


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from([MANIFEST, ARRAYS]), views=st.booleans())
def test_a_member_that_was_changed_on_purpose_is_refused_or_read(saved, with_views, data, name, views):
    whole = with_views if views else saved[2]
    content = bytearray(members(whole)[name])
    at = data.draw(st.integers(0, min(len(content), 4000) - 1))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"9", b"-", b"e9", b"null", b",", b'"', b"[", b"}"]))
    )
    content = bytes(content)
    changed_whole = with_content(whole, content) if name == ARRAYS else sealed(content, members(whole)[ARRAYS])
    refused_or_read(saved[1].parent, changed_whole)


@pytest.mark.slow
@settings(max_examples=200)
@given(data=st.data())
def test_values_of_the_manifest_that_were_changed_on_purpose_are_refused_or_read(saved, with_views, data):
    whole = data.draw(st.sampled_from([saved[2], with_views]))
    facts = manifest_of(whole)
    place = facts if data.draw(st.booleans()) else facts["folds"][0]
    strange = st.recursive(
        st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.sampled_from([*SCORES])
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["network", "a"]), inner, max_size=2)
        ),
        max_leaves=4,
    )
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(strange)
    refused_or_read(saved[1].parent, sealed(json.dumps(facts), members(whole)[ARRAYS]))


def misfits(array):
    """Arrays that may not belong where `array` does."""
    yield ...
    yield array[..., None]
    if array.ndim:
        yield array[:0]
        yield array[:-1]
        yield np.concatenate([array, array])
        yield array.sum(0)
    for kind in (np.int8, np.complex64):
        with np.errstate(invalid="ignore"):
            yield array.astype(kind)
    if array.dtype.kind in "iu":
        yield array - 1000
        yield array + 1000
        yield np.flip(array)
        yield np.full_like(array, np.iinfo(array.dtype).max)
    else:
        yield np.full_like(array, np.nan)


HOSTILE = {
    **{f"labels, {name}": ("labels", name) for name in ("mahalanobis", "vim", "likelihood", "target-nll")},
    "labels, fused-distances": ("labels", "fused-distances"),
    "affine, joint-neighbours": ("affine", "joint-neighbours"),
    "labels and affine, view-neighbours": ("labels+affine", "view-neighbours"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("task", "score"), HOSTILE.values(), ids=HOSTILE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_arrays_that_do_not_fit_together_are_refused_or_harmless(tmp_path, task, score):
    """Whatever one array of a file is replaced by: nothing but an InputError is raised, in reading or in use."""
    quick(task=task, network="mlp", mixup=0, score_function=score, epochs=1).fit(VECTORS, KINDS).save(
        tmp_path / "a.oddkind"
    )
    content, new, claimed = (tmp_path / "a.oddkind").read_bytes(), VECTORS[:3], KINDS[:3]
    refused = 0
    for name, array in arrays_of(content).items():
        if ".network." in name:
            continue
        for other in misfits(array):
            (tmp_path / "b.oddkind").write_bytes(with_arrays(content, {name: other}))
            try:
                model = load(tmp_path / "b.oddkind")
                for y in (claimed, None):
                    for per_label in {False, model.task.labels is not None}:
                        decisive = replace(model, per_label=per_label)
                        assert decisive.p_value(new, y).shape == decisive.decision_function(new, y).shape == (3,)
                    if ".normal." in name:
                        explain(model, new[:1], None if y is None else y[:1])
            except InputError:
                refused += 1
    assert refused > 3 * len(arrays_of(content))


def test_folds_that_do_not_fit_together_are_refused(tmp_path):
    CrossConformal(quick(epochs=1), folds=2).fit(VECTORS, KINDS).save(tmp_path / "a.oddkind")
    content = (tmp_path / "a.oddkind").read_bytes()
    one, other = (tmp_path / name for name in ("one.oddkind", "other.oddkind"))
    quick(epochs=1).fit(VECTORS[:, :3], KINDS).save(one)
    quick(epochs=1).fit(VECTORS, KINDS + 1).save(other)
    for file in (one, other):
        fold, arrays = manifest_of(file.read_bytes())["folds"][0], arrays_of(file.read_bytes())
        facts = manifest_of(content)
        facts["folds"][1] = fold
        mixed = {name: array for name, array in arrays_of(content).items() if name.startswith("fold.0.")}
        mixed |= {name.replace("fold.0.", "fold.1."): array for name, array in arrays.items()}
        facts = json.dumps(facts)
        file.write_bytes(sealed(facts, save_arrays(mixed)))
        with pytest.raises(InputError, match=file.name):
            load(file)


def test_a_model_is_a_model(saved):
    assert isinstance(load(saved[1]), Model)


def test_a_model_with_values_that_are_not_finite_is_refused(tmp_path):
    inputs, labels = kinds()
    model = quick(score_function="mahalanobis").fit(inputs, labels).model_
    scores = model.calibration.labelled.scores.copy()
    scores[0] = np.nan
    calibration = replace(model.calibration, labelled=replace(model.calibration.labelled, scores=scores))
    save(replace(model, calibration=calibration), tmp_path / "nan.oddkind")
    with pytest.raises(InputError, match=r"array 'fold.0.labelled.scores' holds NaN or infinity; fit the model again"):
        load(tmp_path / "nan.oddkind")


@pytest.mark.parametrize("number", READABLE)
@pytest.mark.parametrize("runtime", ["auto", "torch"])
def test_files_of_every_format_since_the_first_release_are_read(number, runtime):
    """A file of each format, with what the model of it said; `Detector.save` of that version wrote it."""
    file = Path(__file__).parent / "formats" / f"format-{number}.oddkind"
    said, model = np.load(file.with_suffix(".npz")), load(file, runtime=runtime)
    assert read(file).manifest.format == number
    assert_allclose(model.anomaly_score(said["x"]), said["score"], rtol=1e-4)
    assert_allclose(model.p_value(said["x"]), said["p"])


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
