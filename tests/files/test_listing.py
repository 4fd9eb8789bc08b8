import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddkind import InputError
from oddkind.files.listing import _matched, entries, kind_of


def tree(root, *names):
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"?")
    return root


def known(found):
    return {entry.name: (entry.label, entry.anomalous, entry.group, entry.split) for entry in found[0]}


def test_folders_give_the_split_the_label_and_the_condition(tmp_path):
    data = tree(
        tmp_path, "train/good/1.png", "test/good/2.png", "test/scratch/3.png", "test/crack/4.PNG", "read me.txt"
    )
    assert kind_of(data) == "pictures"
    assert known(entries(data, "pictures")) == {
        "train/good/1.png": (None, False, None, "train"),
        "test/good/2.png": (None, False, None, "test"),
        "test/scratch/3.png": (None, True, None, "test"),
        "test/crack/4.PNG": (None, True, None, "test"),
    }


def test_without_a_folder_called_normal_folders_are_labels(tmp_path):
    data = tree(tmp_path, "펌프 1/a.wav", "펌프 2/b.wav", "c.flac", ".hidden/d.wav", "펌프 1/.e.wav")
    assert known(entries(data, "sounds")) == {
        "c.flac": (None, None, None, None),
        "펌프 1/a.wav": ("펌프 1", None, None, None),
        "펌프 2/b.wav": ("펌프 2", None, None, None),
    }
    assert known(entries(data, "sounds", normal="label=펌프 1"))["펌프 2/b.wav"] == ("펌프 2", True, None, None)


def test_folders_above_the_condition_are_labels(tmp_path):
    data = tree(tmp_path, "fan/normal/1.wav", "fan/abnormal/2.wav", "pump/normal/3.wav")
    assert {name: of[:2] for name, of in known(entries(data, "sounds")).items()} == {
        "fan/normal/1.wav": ("fan", False),
        "fan/abnormal/2.wav": ("fan", True),
        "pump/normal/3.wav": ("pump", False),
    }


@pytest.mark.parametrize(
    ("name", "label", "anomalous", "split"),
    [
        ("fan/train/normal_id_00_00000000.wav", "fan/id_00", False, "train"),
        ("fan/test/anomaly_id_02_00000011.wav", "fan/id_02", True, "test"),
        ("gearbox/train/section_00_source_train_normal_0001_volt_1.wav", "gearbox/section_00", False, "train"),
        ("gearbox/test/section_02_target_test_anomaly_0009_volt_1.wav", "gearbox/section_02", True, "test"),
    ],
)
def test_dcase_names_are_understood(tmp_path, name, label, anomalous, split):
    assert known(entries(tree(tmp_path, name), "sounds"))[name] == (label, anomalous, None, split)


def test_a_pattern_names_fields(tmp_path):
    data = tree(tmp_path, "Healthy_M1_1400.wav", "Propeller_M2_1500.wav", "notes.wav")
    found = entries(data, "sounds", pattern="{condition}_{label}_{rpm}.wav", normal="condition=Healthy", group="rpm")
    assert known(found) == {
        "Healthy_M1_1400.wav": ("M1", False, "1400", None),
        "Propeller_M2_1500.wav": ("M2", True, "1500", None),
    }
    assert found[1] == {"notes.wav": "the name does not match the pattern {condition}_{label}_{rpm}.wav"}


def test_a_pattern_with_folders_reads_the_path(tmp_path):
    data = tree(tmp_path, "M1/Healthy/a.wav", "M2/Broken/b.wav")
    found = known(entries(data, "sounds", pattern="{label}/{state}/{number}.wav", normal="state=Healthy"))
    assert found["M2/Broken/b.wav"] == ("M2", True, None, None)


words = st.text("abcXYZ019-. 펌프", min_size=1, max_size=6)


@given(st.lists(words, min_size=1, max_size=4), st.sampled_from("_+()["))
def test_a_pattern_reads_back_what_was_put_in(parts, between):
    names = [f"field{number}" for number in range(len(parts))]
    pattern = between.join(f"{{{name}}}" for name in names) + ".wav"
    assert _matched(between.join(parts) + ".wav", pattern) == dict(zip(names, parts, strict=True))


def manifest(root, text, name="list.csv"):
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def test_a_manifest_has_all_fields(tmp_path):
    tree(tmp_path, "a 1.wav", "소리/b.wav")
    data = manifest(
        tmp_path, "path,label,anomalous,group,split\na 1.wav,M1,no,morning,train\n소리/b.wav,M2,TRUE,evening,test\n"
    )
    assert kind_of(data) == "sounds"
    assert known(entries(data, "sounds")) == {
        "a 1.wav": ("M1", False, "morning", "train"),
        "소리/b.wav": ("M2", True, "evening", "test"),
    }
    assert known(entries(data, "sounds", label="group", normal="label=M2"))["a 1.wav"][:2] == ("morning", True)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("gone.wav,M1", "row 2: gone.wav does not exist"),
        ("../outside.wav,M1", "row 2: '../outside.wav' is not inside"),
        ("/etc/hostname,M1", "row 2: '/etc/hostname' is not inside"),
        (",M1", "row 2: 'an empty path' is not inside"),
        ("a.wav,M1", r"list\.csv: a\.wav is listed twice"),
    ],
)
def test_a_manifest_names_each_file_once_and_inside(tmp_path, rows, reason):
    (tmp_path / "outside.wav").write_bytes(b"?")
    data = manifest(tree(tmp_path / "data", "a.wav"), f"path,label\na.wav,M1\n{rows}\n")
    with pytest.raises(InputError, match=reason):
        entries(data, "sounds")


def test_folders_that_are_linked_in_a_circle_are_walked_once(tmp_path):
    data = tree(tmp_path / "data", "a/1.wav")
    os.symlink(data, data / "a" / "again")
    os.symlink(tree(tmp_path / "elsewhere", "2.wav"), data / "b")
    os.symlink("nowhere", data / "broken")
    assert sorted(known(entries(data, "sounds"))) == ["a/1.wav", "b/2.wav"]


def test_a_data_set_without_a_file_of_the_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"contains no pictures$"):
        entries(tree(tmp_path, "1.wav"), "pictures")
    with pytest.raises(InputError, match="the manifest has no rows"):
        kind_of(manifest(tmp_path, "path,label\n"))


def test_one_file_is_a_data_set(tmp_path):
    assert list(known(entries(tree(tmp_path, "1.wav", "2.wav") / "1.wav", "sounds"))) == ["1.wav"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"label": "machine"}, "--label names the field 'machine', which does not exist; known fields: a, b"),
        ({"normal": "a"}, "--normal 'a'; it must be FIELD=VALUE"),
        ({"normal": "c=1"}, "--normal names the field 'c', which does not exist"),
        ({"pattern": "all.wav"}, "it must name fields"),
        ({"pattern": "{a}_{a}.wav"}, "each field needs a different name"),
        (
            {"pattern": "{x}-{y}-{z}.wav"},
            "contains no sounds that can be used; 1_2.wav: the name does not match the pattern",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path, options, reason):
    with pytest.raises(InputError, match=reason):
        entries(tree(tmp_path, "1_2.wav"), "sounds", **{"pattern": "{a}_{b}.wav"} | options)


def test_a_split_and_a_condition_have_known_values(tmp_path):
    tree(tmp_path, "a.wav")
    with pytest.raises(InputError, match=r"a\.wav: the split is 'valid'; it must be train or test"):
        entries(manifest(tmp_path, "path,split\na.wav,valid\n"), "sounds")
    with pytest.raises(InputError, match=r"a\.wav: anomalous is 'maybe'; it must be true or false"):
        entries(manifest(tmp_path, "path,anomalous\na.wav,maybe\n"), "sounds")


def test_a_data_set_is_of_one_kind(tmp_path):
    with pytest.raises(InputError, match="does not exist; pass a folder"):
        kind_of(tmp_path / "gone")
    with pytest.raises(InputError, match=r"contains no file with a suffix of \.wav"):
        kind_of(tmp_path)
    with pytest.raises(InputError, match="contains pictures and sounds; choose one kind with --kind"):
        kind_of(tree(tmp_path, "a.wav", "b.png", "c.csv"))
    (tmp_path / "b.png").unlink()
    assert kind_of(tmp_path) == "sounds"
