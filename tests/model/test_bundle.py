"""A file that cannot be that of a saved model is refused, and every format is read."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from problems import kinds, quick
from safetensors.numpy import save as save_arrays
from saved_files import (
    DATA,
    KINDS,
    VECTORS,
    arrays_of,
    changed,
    manifest_of,
    members,
    sealed,
    with_arrays,
    with_content,
    zipped,
)
from torch import nn

from oddkind import SCORES, CrossConformal, InputError, Model, explain, load, neighbours, save
from oddkind.model import bundle
from oddkind.model.bundle import ARRAYS, FORMAT, MANIFEST, READABLE, read

NOT_LEARNT = pytest.mark.filterwarnings("ignore:.* were not learnt:oddkind.ConcernWarning")


@pytest.fixture(scope="module")
def with_views(tmp_path_factory):
    """The bytes of the file of a model that learnt no labels and keeps normal samples."""
    file = tmp_path_factory.mktemp("views") / "pump.oddkind"
    quick().fit(VECTORS).save(file)
    return file.read_bytes()


def test_the_format_number_is_read_first():
    assert next(iter(bundle.Manifest.model_fields)) == "format"


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
