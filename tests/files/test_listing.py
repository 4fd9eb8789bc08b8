import errno
import os
import re
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddkind import InputError
from oddkind.files.folders import MASK
from oddkind.files.listing import OUTSIDE, _matched, entries, grouped, is_manifest, kind_of, labelled, present


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
        "Healthy_M1_1400.wav": ("M1", False, "M1 / 1400", None),
        "Propeller_M2_1500.wav": ("M2", True, "M2 / 1500", None),
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


def test_some_files_are_listed_as_they_are_among_all(tmp_path):
    tree(tmp_path, "fan/normal/1.wav", "fan/scratch/2.wav", "fan/scratch/3.wav")
    every, _ = entries(tmp_path, "sounds")
    some, _ = entries(tmp_path, "sounds", only={"fan/scratch/2.wav"})
    assert some == [entry for entry in every if entry.name == "fan/scratch/2.wav"]
    assert some[0].anomalous  # because of the folder beside it, of which no file is listed


def test_every_file_that_a_kind_may_have_is_present(tmp_path):
    tree(tmp_path, "a.wav", "sub/b.NPY", "note.txt", ".hidden.wav")
    assert present(tmp_path, "sounds") == {"a.wav": tmp_path / "a.wav", "sub/b.NPY": tmp_path / "sub" / "b.NPY"}
    assert [*present(tmp_path, "arrays")] == ["sub/b.NPY"]


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
        ("gone.wav", "row 2 of list.csv: does not exist"),
        ("../outside.wav", f"row 2 of list.csv: {OUTSIDE}"),
        ("/etc/hostname", f"row 2 of list.csv: {OUTSIDE}"),
        ("link.wav", f"row 2 of list.csv: {OUTSIDE}"),
        ("elsewhere/2.wav", f"row 2 of list.csv: {OUTSIDE}"),
        ("circle.wav", "row 2 of list.csv: is a link that leads in a circle"),
        ("pipe.wav", "row 2 of list.csv: is a named pipe, a socket or a device, not a file"),
        ("folder", "row 2 of list.csv: is a folder"),
        ("nul\0.wav", "row 2 of list.csv: cannot be read (embedded null byte)"),
        ("", "the path is empty"),
    ],
)
def test_rows_of_a_manifest_that_cannot_be_used_are_named_and_left_out(tmp_path, rows, reason):
    tree(tmp_path, "outside.wav", "elsewhere/2.wav")
    data = tree(tmp_path / "data", "a.wav", "folder/b.wav")
    os.symlink("circle.wav", data / "circle.wav")
    os.symlink("../outside.wav", data / "link.wav")
    os.symlink("../elsewhere", data / "elsewhere")
    os.mkfifo(data / "pipe.wav")
    listed = manifest(data, f"path,label\na.wav,M1\n{rows},M1\n")
    found, refused = entries(listed, "sounds")
    assert [entry.name for entry in found] == ["a.wav"]
    assert refused == {rows or "row 2": reason}
    if OUTSIDE in reason:
        assert [entry.name for entry in entries(listed, "sounds", follow=True)[0]] == ["a.wav", rows]
    with pytest.raises(InputError, match=re.escape(f"contains no sounds that can be used; {rows or 'row 1'}: ")):
        entries(manifest(data, f"path,label\n{rows},M1\n"), "sounds")


def test_a_manifest_names_each_file_once(tmp_path):
    data = manifest(tree(tmp_path, "a.wav"), "path\na.wav\na.wav\n")
    with pytest.raises(InputError, match=r"list\.csv: a\.wav is listed twice"):
        entries(data, "sounds")


def test_folders_that_are_linked_in_a_circle_are_walked_once(tmp_path):
    data = tree(tmp_path / "data", "a/1.wav")
    os.symlink(data, data / "a" / "again")
    os.symlink(tree(tmp_path / "elsewhere", "2.wav"), data / "b")
    os.symlink("nowhere", data / "broken")
    assert sorted(known(entries(data, "sounds", follow=True))) == ["a/1.wav", "b/2.wav"]
    found, refused = entries(data, "sounds")
    assert [entry.name for entry in found] == ["a/1.wav"]
    assert refused == {"b": OUTSIDE}


def test_links_to_files_inside_are_followed_and_others_take_follow(tmp_path):
    data = tree(tmp_path / "data", "a.wav")
    os.symlink("a.wav", data / "b.wav")
    os.symlink(tree(tmp_path, "far.wav") / "far.wav", data / "c.wav")
    os.symlink(data, tmp_path / "link")
    for folder in (data, tmp_path / "link"):
        found, refused = entries(folder, "sounds")
        assert [entry.name for entry in found] == ["a.wav", "b.wav"]
        assert refused == {"c.wav": OUTSIDE}
    assert "--follow" in OUTSIDE
    assert len(entries(data, "sounds", follow=True)[0]) == 3


def test_what_is_no_readable_file_is_named_and_left_out(tmp_path):
    data = tree(tmp_path, "a.wav", "folder.wav/b.wav")
    os.mkfifo(data / "pipe.wav")
    os.symlink("gone", data / "dangling.wav")
    os.symlink("circle.wav", data / "circle.wav")
    os.symlink("/dev/zero", data / "device.wav")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(data / "socket.wav"))
    found, refused = entries(data, "sounds")
    assert [entry.name for entry in found] == ["a.wav", "folder.wav/b.wav"]
    special = "is a named pipe, a socket or a device, not a file"
    assert refused == {
        "circle.wav": "is a link that leads in a circle",
        "dangling.wav": "is a link to a file that does not exist",
        "device.wav": special,
        "pipe.wav": special,
        "socket.wav": special,
    }
    for name in ("pipe.wav", "device.wav", "circle.wav"):
        with pytest.raises(InputError, match=r"contains no sounds that can be used; |does not exist"):
            entries(data / name, kind_of(data / name))
    assert is_manifest(data / "pipe.csv") is False


def test_folders_and_files_without_permission_are_named_and_left_out(tmp_path, monkeypatch):
    data = tree(tmp_path, "a.wav", "closed/b.wav", "secret.wav")
    scan, access = os.scandir, os.access

    def scandir(folder):
        if os.fspath(folder).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(folder))
        return scan(folder)

    # The tests may run as root, who may read everything.
    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "access", lambda file, mode: Path(file).name != "secret.wav" and access(file, mode))
    found, refused = entries(data, "sounds")
    assert [entry.name for entry in found] == ["a.wav"]
    assert refused == {
        "closed": "the folder cannot be read (Permission denied)",
        "secret.wav": "cannot be read (no permission)",
    }
    with pytest.raises(InputError, match=r"contains no file with a suffix.*; \.: the folder cannot be read"):
        kind_of(data / "closed")


def test_a_manifest_of_many_rows_is_listed_in_seconds(tmp_path):
    data = tree(tmp_path, *(f"{number % 50}/{number}.wav" for number in range(2000)))
    rows = "".join(f"{number % 50}/{number}.wav,{number % 7}\n" for number in range(2000))
    listed = manifest(data, f"path,label\n{rows}")
    start = time.perf_counter()
    assert len(entries(listed, "sounds")[0]) == 2000
    assert time.perf_counter() - start < 1  # some 0.1 s; a million rows then take a minute


# --- Fields ---


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["Fan_normal/1.wav", "Fan_abnormal/2.wav", "Pump_normal/3.wav"],
            {"Fan_normal": ("Fan", False), "Fan_abnormal": ("Fan", True), "Pump_normal": ("Pump", False)},
        ),
        (["ok_front/1.wav", "def_front/2.wav"], {"ok_front": ("front", False), "def_front": ("front", True)}),
        (
            ["healthy/sub/1.wav", "faulty/sub/2.wav", "faulty/outer race/3.wav"],
            {"healthy/sub": ("sub", False), "faulty/sub": ("sub", True), "faulty/outer race": (None, True)},
        ),
        (["healthy/sub/1.wav", "scratch/2.wav"], {"healthy/sub": ("sub", False), "scratch": (None, True)}),
        (
            ["good/1.wav", "broken_large/2.wav", "contamination/3.wav"],
            {"good": (None, False), "broken_large": (None, True), "contamination": (None, True)},
        ),
        (["anomaly-free/1.wav", "valve1/2.wav"], {"anomaly-free": (None, False), "valve1": (None, True)}),
        (
            ["faulty/normal speed/1.wav", "healthy/2.wav"],
            {"faulty/normal speed": (None, True), "healthy": (None, False)},
        ),
        (["Normal/1.wav", "NOK/2.wav"], {"Normal": (None, False), "NOK": (None, True)}),
        (["Abnormal/1.wav"], {"Abnormal": (None, True)}),
        (
            ["candle/Data/Images/Normal/1.wav", "candle/Data/Images/Anomaly/2.wav"],
            {"candle/Data/Images/Normal": ("candle", False), "candle/Data/Images/Anomaly": ("candle", True)},
        ),
        (["fan/normal/1.wav", "pump/2.wav"], {"fan/normal": ("fan", False), "pump": ("pump", None)}),
        (["machine 1/1.wav", "goodness/2.wav"], {"machine 1": ("machine 1", None), "goodness": ("goodness", None)}),
    ],
)
def test_names_of_folders_give_the_condition(tmp_path, names, expected):
    found = entries(tree(tmp_path, *names), "sounds")[0]
    assert {os.path.dirname(entry.name): (entry.label, entry.anomalous) for entry in found} == expected


def test_masks_of_defects_are_left_out(tmp_path):
    names = [
        *("bottle/train/good/0.png", "bottle/test/broken/0.png", "bottle/ground_truth/broken/0_mask.png"),
        *("candle/Data/Images/Normal/0.png", "candle/Data/Images/Anomaly/1.png", "candle/Data/Masks/Anomaly/1.png"),
        *("01/train/ok/0.png", "01/test/ko/1.png", "01/ground_truth/ko/1.png"),
        *("flat/normal/7.png", "flat/abnormal/8.png", "flat/abnormal/8_mask.png", "flat/normal/gas_mask.png"),
    ]
    data = tree(tmp_path, *names)
    found, refused = entries(data, "pictures")
    assert sorted(refused) == sorted([names[2], names[5], names[8], names[11]])
    assert all(reason.startswith(MASK) for reason in refused.values())
    assert {entry.name for entry in found if entry.anomalous} == {names[1], names[4], names[7], names[10]}
    assert {entry.name for entry in found if entry.anomalous is False} == {names[n] for n in (0, 3, 6, 9, 12)}
    pattern = entries(data, "pictures", pattern="{product}/ground_truth/{defect}/{number}.png")[0]
    assert [entry.name for entry in pattern] == [names[8], names[2]]
    assert len(entries(data / "bottle" / "ground_truth", "pictures")[0]) == 1


def test_groups_of_numbers_are_counted_within_each_label_and_fields_are_combined(tmp_path):
    names = [f"{valve}_{run}_{part}_{day}.wav" for valve in "AB" for run in "01" for part in "xy" for day in ("mon",)]
    data = tree(tmp_path, *names)

    def groups(group):
        found = entries(data, "sounds", pattern="{label}_{run}_{part}_{day}.wav", group=group)[0]
        return [entry.group for entry in found]

    assert groups("run") == ["A / 0"] * 2 + ["A / 1"] * 2 + ["B / 0"] * 2 + ["B / 1"] * 2
    assert groups("run,run") == ["0 / 0"] * 2 + ["1 / 1"] * 2 + ["0 / 0"] * 2 + ["1 / 1"] * 2
    assert groups("day") == ["mon"] * 8  # a session with a name is one for all labels
    assert groups("run,part")[:3] == ["0 / x", "0 / y", "1 / x"]
    taken = entries(data, "sounds", pattern="{label}_{run}_{part}_{day}.wav", group="run")[0][0].taken
    assert ("field run", "group, numbered within each label (--group run,run: over all labels)") in taken
    with pytest.raises(InputError, match="--group names the field 'hour', which does not exist"):
        groups("run,hour")


def test_a_partly_labelled_or_grouped_manifest_keeps_what_it_has(tmp_path):
    tree(tmp_path, *"abcd")
    for name in "abcd":
        (tmp_path / name).rename(tmp_path / f"{name}.wav")
    listed = manifest(tmp_path, "path,label,group,anomalous\na.wav,M1,s1,\nb.wav,,s1,\nc.wav,M2,,no\nd.wav,,,yes\n")
    found = entries(listed, "sounds")[0]
    assert [(entry.label, entry.group) for entry in found] == [("M1", "s1"), (None, "s1"), ("M2", None), (None, None)]
    refused = {}
    assert [entry.name for entry in labelled(found, refused.__setitem__)] == ["a.wav", "c.wav", "d.wav"]
    why = "has no label, but 2 of 3 normal files have one; give it a label, or give none to any file"
    assert refused == {"b.wav": why}
    with pytest.raises(InputError, match=f"b.wav: {why}"):
        labelled(found)
    assert labelled(found[1:2]) == found[1:2]


def test_what_was_found_is_taken_for_something(tmp_path):
    data = tree(tmp_path, "fan/train/normal/1.wav", "fan/test/scratch/2.wav")
    assert [entry.taken for entry in entries(data, "sounds")[0]] == [
        (
            ("folder fan", "label fan"),
            ("folder test", "the split test"),
            ("folder scratch", "anomalous files, because it is beside a folder of normal files"),
        ),
        (("folder fan", "label fan"), ("folder train", "the split train"), ("folder normal", "normal files")),
    ]
    alone = entries(tree(tmp_path / "flat", "3.wav"), "sounds")[0]
    assert alone[0].taken == (("no folder", "nothing is known about the file"),)


def test_reasons_are_counted_with_an_example():
    reasons = {f"{n}.wav": f"has {n} samples, too few" for n in range(9)} | {"x.wav": "is no sound"}
    assert grouped(reasons) == "0.wav (and 8 other files): has 0 samples, too few; x.wav: is no sound"
    assert grouped({"a": "is gone", "b": "is gone"}, what="machines") == "a (and 1 other machine): is gone"
    assert grouped({}) == ""
    assert grouped({letter: letter for letter in "abcd"}).endswith("; …")


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
        entries(tmp_path / "none", "sounds")
    with pytest.raises(InputError, match="does not exist; pass a folder"):
        kind_of(tmp_path / "gone")
    with pytest.raises(InputError, match=r"contains no file with a suffix of \.wav"):
        kind_of(tmp_path)
    with pytest.raises(InputError, match="contains pictures and sounds; choose one kind with --kind"):
        kind_of(tree(tmp_path, "a.wav", "b.png", "c.csv"))
    (tmp_path / "b.png").unlink()
    assert kind_of(tmp_path) == "sounds"


def test_names_that_are_not_utf_8_are_shown_escaped(tmp_path):
    for name in (b"\xff.wav", rb"\udcff.wav", "소리.wav".encode()):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(name)
    found, refused = entries(tmp_path, "sounds")
    assert [entry.name for entry in found] == [r"\udcff.wav", "소리.wav"]
    assert refused == {r"\udcff.wav": "looks the same as another name"}
    assert {entry.path.read_bytes() for entry in found} <= {b"\xff.wav", rb"\udcff.wav", "소리.wav".encode()}


def test_a_single_file_of_another_kind_is_told_what_is_read(tmp_path):
    file = tmp_path / "README.md"
    file.write_text("sounds")
    with pytest.raises(InputError, match=r"README\.md: is no file with a suffix of \.wav"):
        kind_of(file)
    with pytest.raises(InputError, match=r"README\.md: is not read as pictures, whose files end in \.png"):
        entries(file, "pictures")
