"""A detector read from its file is the one that was saved, and a file that cannot be one is refused."""

import io
import json
import os
import zipfile
from dataclasses import is_dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from problems import Own, frozen, kinds, pictures, quick, signals, with_batch_norm
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.exceptions import NotFittedError
from torch import nn

import oddkind
from oddkind import SCORES, Detector, InputError, load
from oddkind.model import bundle
from oddkind.model.bundle import ARRAYS, FORMAT, MANIFEST
from oddkind.model.scores import neighbours

VECTORS, KINDS = kinds(120)
DATA = {
    "vectors": (VECTORS, KINDS),
    "pictures": (pictures(60)[0], np.arange(60) % 2),
    "float pictures": (pictures(60)[0] / 255, np.arange(60) % 2),
    "signals": (signals(60), np.arange(60) % 2),
}


def assert_same(found, expected, inputs, labels):
    """All that is fitted, and all that is said of many samples and of one, has the same bits."""
    for rows in (slice(None), slice(1)):
        for known in ((), () if labels is None else (labels[rows],)):
            for method in ("anomaly_score", "score_samples", "decision_function", "predict"):
                assert_array_equal(*(getattr(one, method)(inputs[rows], *known) for one in (found, expected)))
        assert_alike(*(vars(one.outputs(inputs[rows])) for one in (found, expected)))
    states = [{k: v for k, v in vars(one).items() if k not in ("device", "networks_")} for one in (found, expected)]
    assert_alike(states[0], {"source_": None, **states[1]})


def assert_alike(found, expected):
    assert type(found) is type(expected)
    if isinstance(found, np.ndarray):
        assert found.dtype == expected.dtype
        assert_array_equal(found, expected)
    elif isinstance(found, dict):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            assert_alike(value, expected[name])
    elif isinstance(found, list):
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other)
    elif is_dataclass(found):
        assert_alike(vars(found), vars(expected))
    else:
        assert found == expected


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small detector, its file and the file's bytes."""
    detector = quick(task="labels", score="msp").fit(VECTORS, np.array(["c", "a", "bb"])[KINDS])
    file = tmp_path_factory.mktemp("saved") / "pump.oddkind"
    detector.save(file)
    return detector, file, file.read_bytes()


def members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts, method=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def changed(content, **fields):
    """The file with other fields in its manifest; `...` takes one away."""
    parts = members(content)
    facts = json.loads(parts[MANIFEST]) | fields
    facts = {name: value for name, value in facts.items() if value is not ...}
    return zipped({**parts, MANIFEST: json.dumps(facts)})


def with_tensors(content, **tensors):
    parts = members(content)
    held = load_tensors(parts[ARRAYS]) | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    held = {name: tensor for name, tensor in held.items() if tensor is not ...}
    return zipped({**parts, ARRAYS: save_tensors(held)})


# --- The same detector ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["auto", *SCORES])
@pytest.mark.parametrize("members", [1, 3])
def test_every_score_has_the_same_bits(tmp_path, score, members):
    inputs, labels = DATA["pictures"]
    detector = quick(score=score, members=members, temperature="fit", network="lecture", epochs=1).fit(inputs, labels)
    detector.save(tmp_path / "a.oddkind")
    assert_same(load(tmp_path / "a.oddkind"), detector, inputs, labels)


def test_of_many_samples_some_are_compared_with_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("oddkind.model.scores.MOST_COMPARED", 50)
    inputs, labels = DATA["vectors"]
    detector = quick(epochs=1).fit(inputs, labels)
    (reference,) = detector._reference
    rows = detector.training_rows_[np.linspace(0, len(detector.training_rows_) - 1, 50).astype(int)]
    assert_array_equal(reference.targets[:, 0], detector.task_.targets(labels[rows], 50)[:, 0])
    assert_array_equal(detector.member_outputs(inputs[rows], labels[rows])[0].features, reference.features)
    detector.save(tmp_path / "a.oddkind")
    assert_same(load(tmp_path / "a.oddkind"), detector, inputs, labels)


@pytest.mark.parametrize(
    ("data", "parameters"),
    [
        ("vectors", {}),
        ("vectors", {"task": "labels", "score": "target-nll"}),
        ("vectors", {"task": "affine", "network": "mlp"}),
        ("pictures", {"task": "labels"}),
        ("pictures", {"task": "rotations", "network": "picture"}),
        ("pictures", {"task": "labels+pastes"}),
        ("float pictures", {}),
        ("float pictures", {"task": "pastes", "score": "likelihood"}),
        ("signals", {"network": "signal", "members": 2}),
        ("signals", {"task": "reversals", "score": "likelihood"}),
        ("signals", {"task": "labels+permutations"}),
        ("signals", {"task": "speeds", "score": "likelihood"}),
    ],
    ids=str,
)
@pytest.mark.parametrize("labelled", [True, False])
def test_every_task_and_network_has_the_same_bits(tmp_path, data, parameters, labelled):
    inputs, labels = DATA[data]
    needed = "labels" in parameters.get("task", "")
    detector = quick(**parameters, epochs=1).fit(inputs, labels if labelled or needed else None)
    detector.save(tmp_path / "a.oddkind")
    found = load(str(tmp_path / "a.oddkind"))
    if parameters.get("score") == "target-nll":
        assert_array_equal(found.anomaly_score(inputs, labels), detector.anomaly_score(inputs, labels))
    else:
        assert_same(found, detector, inputs, labels if hasattr(detector, "classes_") else None)
    found.save(tmp_path / "b.oddkind")
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
    assert found.classes_.dtype == labels.dtype
    assert found.classes_.tolist() == detector.classes_.tolist()
    assert_same(found, detector, VECTORS, labels)


@pytest.mark.parametrize(
    ("members", "network"), [(1, with_batch_norm), (2, with_batch_norm), (1, frozen), (1, Own((4,), 3))], ids=str
)
@pytest.mark.filterwarnings("ignore:2 networks Own are trained one after another")
def test_a_network_and_a_score_of_ones_own_are_passed_again(tmp_path, members, network):
    score = neighbours(k=3)
    detector = quick(task="labels", network=network, score=score, members=members).fit(VECTORS, KINDS)
    detector.save(tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind", network=network, score=score)
    assert_same(found, detector, VECTORS, KINDS)
    assert found.network is network
    for one, other in zip(found.networks_, detector.networks_, strict=True):
        assert [p.requires_grad for p in one.parameters()] == [p.requires_grad for p in other.parameters()]
    for missing, passed in (("network", {"score": score}), ("score", {"network": network})):
        with pytest.raises(InputError, match=rf"a\.oddkind: fitted with a {missing} of its own; pass it: load\(file"):
            load(tmp_path / "a.oddkind", **passed)
    with pytest.raises(InputError, match=r"it must be|is missing|one too many|needs logits"):
        load(tmp_path / "a.oddkind", network=lambda shape, n: Own(shape, n + 1), score=score)


class Tied(Own):
    """Two names for one tensor, one tensor outside the state dict, one that is no float32."""

    def __init__(self, input_shape, n_classes):
        super().__init__(input_shape, n_classes)
        self.again = self.inner
        self.register_buffer("table", torch.ones(3, dtype=torch.bfloat16), persistent=False)


def test_all_a_network_holds_is_saved(tmp_path):
    detector = quick(task="labels", network=Tied).fit(VECTORS, KINDS)
    detector.networks_[0].table.fill_(2)
    detector.save(tmp_path / "a.oddkind")
    network = load(tmp_path / "a.oddkind", network=Tied).networks_[0]
    assert network.again.weight is network.inner.weight
    assert network.table.tolist() == [2, 2, 2]


def test_what_json_cannot_hold_is_none_and_the_rest_is_plain(tmp_path):
    given = {"random_state": np.random.RandomState(0), "learning_rate": np.float32(0.5), "members": np.int8(1)}
    detector = quick(**given, device="cpu").fit(VECTORS)
    detector.save(tmp_path / "a.oddkind")
    found = load(tmp_path / "a.oddkind").get_params()
    assert found == {**detector.get_params(), "random_state": None, "device": "auto"}
    assert quick(random_state=np.uint32(7)).fit(VECTORS).save(tmp_path / "a.oddkind") is None
    assert load(tmp_path / "a.oddkind").random_state == 7


def test_names_of_features_come_back(tmp_path):
    detector = quick().fit(VECTORS)
    detector.feature_names_in_ = np.array(["a", "b", "c", "d"], object)  # as scikit-learn sets it for a table
    detector.save(tmp_path / "a.oddkind")
    assert_alike(load(tmp_path / "a.oddkind").feature_names_in_, detector.feature_names_in_)


@pytest.mark.parametrize("source", [None, {}, {"machine": "pump 3", "runs": [1, 2.5, None, True, {"ä": "\n"}]}])
def test_the_source_comes_back(tmp_path, saved, source):
    saved[0].save(tmp_path / "a.oddkind", source=source)
    found = load(tmp_path / "a.oddkind")
    assert found.source_ == source
    assert not hasattr(found.fit(VECTORS, KINDS), "source_")


@pytest.mark.parametrize("source", [{"a": (1, 2)}, {"a": object()}, {1: 2}, [1], "pump", {"a": "\ud800"}], ids=ascii)
def test_a_source_that_is_no_json_object_is_refused(tmp_path, saved, source):
    with pytest.raises(InputError, match="source"):
        saved[0].save(tmp_path / "a.oddkind", source=source)
    assert list(tmp_path.iterdir()) == []


def test_a_source_too_deep_to_be_read_again_is_refused(tmp_path, saved):
    for depth in (300, 5000):
        deep = []
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(InputError, match=r"recursion|source"):
            saved[0].save(tmp_path / "a.oddkind", source={"a": deep})


def test_only_what_is_needed_is_saved(saved):
    names = set(load_tensors(members(saved[2])[ARRAYS]))
    assert {name for name in names if not name.startswith("network.0.")} == {
        "losses",
        "training_rows",
        "validation_rows",
        "mean",
        "scale",
        "normal.labelled",
        "normal.labelled.score",
        "normal.unlabelled",
        "normal.unlabelled.score",
        "held_out.units",
        "held_out.kinds",
    }
    facts = json.loads(members(saved[2])[MANIFEST])
    assert list(facts)[:2] == ["format", "oddkind"]
    assert (facts["format"], facts["oddkind"]) == (FORMAT, oddkind.__version__)


# --- Writing ----------------------------------------------------------------------------------------------


def test_a_detector_that_is_not_fitted_cannot_be_saved(tmp_path):
    with pytest.raises(NotFittedError):
        Detector().save(tmp_path / "a.oddkind")
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
        saved[0].save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["a.oddkind"]
    assert file.read_text() == "old"


@pytest.mark.parametrize("place", ["none/a.oddkind", "file/a.oddkind", "folder"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, saved, place):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=rf"{place}: cannot be written \(.+\); name a file that can"):
        saved[0].save(tmp_path / place)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


def test_a_file_that_is_there_is_replaced(tmp_path, saved):
    (tmp_path / "a.oddkind").write_text("old")
    saved[0].save(tmp_path / "a.oddkind")
    assert (tmp_path / "a.oddkind").read_bytes() == saved[2]


# --- Refusing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", "not a saved detector, or damaged"),
        (lambda _: b"PK\x03\x04 and then something else", "not a saved detector, or damaged"),
        (lambda content: content[:-1], "not a saved detector, or damaged"),
        (lambda content: content.replace(b'"c"', b'"d"'), "Bad CRC-32"),
        (lambda content: zipped(members(content), zipfile.ZIP_DEFLATED), "is not stored as it is, uncompressed"),
        (lambda content: zipped({**members(content), MANIFEST: b"0" * 10**7}, zipfile.ZIP_DEFLATED), "uncompressed"),
        (lambda _: zipped({"a.txt": "a"}), r"a zip of \['a\.txt'\]; a saved detector holds manifest\.json and arr"),
        (lambda content: zipped({MANIFEST: members(content)[MANIFEST]}), "a saved detector holds"),
        (lambda content: zipped({**members(content), "code.pkl": b""}), "a saved detector holds"),
        (lambda content: zipped({**members(content), ARRAYS: members(content)[ARRAYS][:-9]}), "safetensors is damaged"),
        (lambda content: zipped({**members(content), ARRAYS: b""}), r"arrays\.safetensors is damaged"),
        (lambda content: zipped({**members(content), MANIFEST: b"\xff"}), "no JSON"),
        (lambda content: zipped({**members(content), MANIFEST: b"[]"}), "should be an object"),
        (lambda content: changed(content, format=FORMAT + 1), "written by a newer oddkind; upgrade"),
        (lambda content: changed(content, format=FORMAT + 1, novelty=1), "written by a newer oddkind; upgrade"),
        (lambda content: changed(content, format=0), f"format 0; this oddkind reads format {FORMAT}"),
        (lambda content: changed(content, format="1"), "format: Input should be a valid integer; got '1'"),
        (lambda content: changed(content, format=...), "format: Field required"),
        (lambda content: changed(content, accuracy=...), "accuracy: Field required"),
        (lambda content: changed(content, accuracy="0"), "accuracy: Input should be a valid number; got '0'"),
        (lambda content: changed(content, novelty=1), "novelty: Extra inputs are not permitted; got 1"),
        (lambda content: changed(content, input_shape=[]), "input_shape: "),
        (lambda content: changed(content, input_shape=[5]), r"'mean' is torch\.float32 \(4,\); it must be .*\(5,\)"),
        (lambda content: changed(content, input_shape=[2**30, 2**30]), "'mean'"),
        (lambda content: changed(content, input_shape=[2**30, 2**30], scaled=False), "'network.0"),
        (lambda content: changed(content, epochs=3), r"'losses' is torch\.float32 \(2, 1\); it must be .*\(3, 1\)"),
        (lambda content: changed(content, input_shape=[4, 1], scaled=False), "network 'auto'|'network.0"),
        (lambda content: changed(content, labels=None), "task 'labels' classifies internal labels"),
        (lambda content: changed(content, labels={"dtype": "<U1", "values": ["b", "a"]}), "labels are not sorted"),
        (lambda content: changed(content, labels={"dtype": "<U1", "values": ["a", "bb"]}), "labels are not sorted"),
        (lambda content: changed(content, labels={"dtype": "|u1", "values": [1, 300]}), "labels are not sorted"),
        (lambda content: changed(content, labels={"dtype": "<i3", "values": [1, 3]}), "labels are not sorted"),
        (lambda content: changed(content, labels={"dtype": "V8", "values": [1, 3]}), "String should match"),
        (lambda content: changed(content, labels={"dtype": "<i8", "values": [1, 3]}), "classifier"),
        (lambda content: changed(content, feature_names=["a"]), "1 names for 4 features"),
        (lambda content: with_tensors(content, losses=...), "tensor 'losses' is missing"),
        (lambda content: with_tensors(content, losses=torch.zeros(2)), r"'losses' is torch\.float32 \(2,\); it must"),
        (lambda content: with_tensors(content, losses=torch.zeros(2, 1).long()), r"'losses' is torch\.int64"),
        (lambda content: with_tensors(content, normal__labelled=...), r"tensor 'normal\.labelled' is missing"),
        (lambda content: with_tensors(content, normal__labelled=torch.zeros(1, 1)), r"'normal\.labelled' is"),
        (lambda content: with_tensors(content, network__0__classifier__bias=...), "classifier.bias' is missing"),
        (lambda content: with_tensors(content, extra=torch.zeros(1)), "tensor 'extra' is one too many"),
    ],
    ids=lambda given: given if isinstance(given, str) else "",
)
def test_a_file_that_is_no_saved_detector_is_refused(tmp_path, saved, spoil, message):
    (tmp_path / "a.oddkind").write_bytes(spoil(saved[2]))
    with pytest.raises(InputError, match=rf"a\.oddkind: .*{message}"):
        load(tmp_path / "a.oddkind")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("score", "odin", "parameters.score: Value error, unknown; known are 'auto', 'msp'"),
        ("network", "resnet", "unknown; known are 'auto', 'lecture'"),
        ("network", "lecture", "network 'lecture' reads pictures"),
        ("task", "jigsaw", "unknown; known are 'auto', 'labels'"),
        ("task", "labels+rotations", "'matrices' is missing"),
        ("schedule", "cosine", "unknown; known are"),
        ("members", 10**9, "'losses'"),
        ("members", True, "valid integer"),
        ("temperature", 0, "greater than 0"),
        ("device", "cpu", "Extra inputs"),
    ],
)
def test_parameters_that_cannot_be_are_refused(tmp_path, saved, name, value, message):
    parameters = json.loads(members(saved[2])[MANIFEST])["parameters"] | {name: value}
    (tmp_path / "a.oddkind").write_bytes(changed(saved[2], parameters=parameters))
    with pytest.raises(InputError, match=rf"a\.oddkind: .*{message}"):
        load(tmp_path / "a.oddkind")


def test_a_member_of_absurd_size_is_refused(tmp_path, saved):
    content = bytearray(saved[2])
    entry = content.rindex(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = (0xFFFFFFF0).to_bytes(4, "little") * 2  # what the directory says it holds
    (tmp_path / "a.oddkind").write_bytes(content)
    with pytest.raises(InputError, match="is not stored as it is"):
        load(tmp_path / "a.oddkind")


@pytest.mark.parametrize("place", ["none", "folder", "none/none", "a\0b"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, place):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{place}: "):
        load(tmp_path / place)


def test_a_network_or_score_the_file_names_is_not_asked_for(saved):
    for passed, named in (({"network": nn.Identity()}, "network, 'auto'"), ({"score": neighbours()}, "score, 'msp'")):
        with pytest.raises(InputError, match=rf"pump\.oddkind: names its {named}; leave out {next(iter(passed))}="):
            load(saved[1], **passed)


def test_nothing_is_unpickled(monkeypatch, saved):
    monkeypatch.setattr("pickle.Unpickler", None)
    monkeypatch.setattr("pickle.loads", None)
    monkeypatch.setattr(torch, "load", None)
    assert_same(load(saved[1]), saved[0], VECTORS, saved[0].classes_[KINDS % 3])


def refused_or_read(folder, content):
    """Whether `load` read it; nothing but an InputError is raised."""
    file = folder / "spoilt.oddkind"
    file.write_bytes(content)
    try:
        found = load(file)
    except InputError as error:
        assert str(file) in str(error)  # noqa: PT017
        return None
    found.save(file)
    return file.read_bytes()


@settings(max_examples=500)
@given(data=st.data())
def test_damaged_bytes_are_refused_or_do_not_matter(tmp_path_factory, saved, data):
    content, folder = bytearray(saved[2]), saved[1].parent
    # What steers the reading lies at the ends.
    near = st.one_of(st.integers(0, 80), st.integers(1, 300).map(lambda back: len(content) - back))
    place = st.one_of(near, st.integers(0, len(content) - 1))
    for at, bits in data.draw(st.lists(st.tuples(place, st.integers(1, 255)), max_size=3)):
        content[at] ^= bits
    if data.draw(st.booleans()):
        content = content[: data.draw(place)]
    assert refused_or_read(folder, bytes(content)) in (None, saved[2])


@settings(max_examples=300)
@given(data=st.data(), name=st.sampled_from([MANIFEST, ARRAYS]))
def test_a_member_that_was_tampered_with_is_refused_or_read(saved, data, name):
    parts = members(saved[2])
    content = bytearray(parts[name])
    at = data.draw(st.integers(0, min(len(content), 1000) - 1))
    content[at : at + data.draw(st.integers(0, 3))] = data.draw(
        st.one_of(st.binary(max_size=3), st.sampled_from([b"9", b"-", b"e9", b"null", b",", b'"', b"[", b"}"]))
    )
    refused_or_read(saved[1].parent, zipped({**parts, name: bytes(content)}))


def test_the_format_number_is_read_first():
    assert next(iter(bundle.Manifest.model_fields)) == "format"
