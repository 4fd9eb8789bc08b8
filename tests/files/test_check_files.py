"""What a data set contains, and what is doubtful about it."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image
from problems import LABELS, RATE, listed, quick, record

from oddkind import ConcernWarning, Entry, InputError, check_files, fit_files, source_of


def test_files_are_counted_by_split_label_and_condition(data):
    progress = []
    found = check_files(listed(data), source_of(data), on_progress=progress.append)
    wanted = [
        ("test", label, condition, 6, 6, 12) for label in sorted(LABELS) for condition in ("anomalous", "normal")
    ] + [("train", label, "normal", 24, 24, 48) for label in sorted(LABELS)]
    assert [tuple(part.values()) for part in found["parts"]] == wanted
    assert [*found["parts"][0]] == ["split", "label", "condition", "files", "groups", "samples"]
    assert found["settings"]["sample_rate"] == RATE
    assert progress[-1] == 1


def test_what_was_taken_for_what_comes_first(data):
    found = check_files(listed(data), source_of(data))
    assert next(iter(found)) == "taken"
    assert sorted(found["taken"], key=lambda row: row["files"]) == [
        {"found": "folder abnormal", "taken_for": "anomalous files", "files": 12},
        {"found": "folder test", "taken_for": "the split test", "files": 24},
        *({"found": f"folder {label}", "taken_for": f"label {label}", "files": 36} for label in sorted(LABELS)),
        {"found": "folder train", "taken_for": "the split train", "files": 48},
        {"found": "folder normal", "taken_for": "normal files", "files": 60},
    ]


def test_a_file_without_a_label_among_others_is_left_out_and_one_of_the_test_split_is_not(data):
    files = [
        replace(entry, label=None) if entry.name in ("fan 2/train/normal/3.wav", "fan 2/test/normal/3.wav") else entry
        for entry in listed(data)
    ]
    refused = {}
    found = check_files(files, source_of(data), on_refused=refused.__setitem__)
    assert [*refused] == ["fan 2/train/normal/3.wav"]
    counts = {(part["split"], part["label"], part["condition"]): part["files"] for part in found["parts"]}
    assert counts["train", "fan 2", "normal"] == 23
    assert counts["test", None, "normal"] == 1
    assert "few samples" not in [issue["kind"] for issue in found["issues"]]
    with pytest.raises(InputError, match=r"3\.wav: has no label"):
        check_files(files, source_of(data))


def test_a_group_of_files_counts_once_and_what_is_not_known_is_none(tmp_path, draw):
    for number in range(6):
        pixels = draw.integers(256, size=(16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"s{number // 2}_{number}.png")
    source = source_of(tmp_path, pattern="{session}_{number}.png", group="session")
    found = check_files(source.entries(tmp_path)[0], source)
    (part,) = found["parts"]
    assert part == {"split": None, "label": None, "condition": None, "files": 6, "groups": 3, "samples": 6}


def test_recordings_that_clip_or_are_resampled_are_issues(tmp_path):
    record(tmp_path, "normal/a.wav", 300, 1)
    noise = np.random.default_rng(0).normal(size=2 * RATE)
    soundfile.write(tmp_path / "normal" / "b.wav", noise * 0.1, 2 * RATE)
    soundfile.write(tmp_path / "normal" / "c.wav", noise.clip(-1, 1 - 2**-15), RATE)
    issues = check_files(listed(tmp_path), source_of(tmp_path))["issues"]
    messages = {issue["kind"]: issue["message"] for issue in issues}
    assert messages["resampled"].startswith("1 of 3 files: recordings at 8000 Hz are resampled to 4000 Hz")
    assert messages["clipped"] == "1 of 3 recordings clip at full scale: normal/c.wav"


def test_a_file_that_cannot_be_read_is_reported_or_raises(tmp_path):
    record(tmp_path, "a.wav", 300, 1)
    (tmp_path / "b.wav").write_text("no sound")
    files, refused = [Entry(tmp_path / name, name) for name in ("a.wav", "b.wav")], {}
    found = check_files(files, source_of(tmp_path), on_refused=refused.__setitem__)
    assert [part["files"] for part in found["parts"]] == [1]
    assert [*refused] == ["b.wav"]
    with pytest.raises(InputError, match=r"^b\.wav: is not a recording"):
        check_files(files, source_of(tmp_path))


def test_samples_that_were_perhaps_meant_otherwise_are_named(tmp_path, draw):
    for number in range(8):
        np.save(tmp_path / f"{number}.npy", draw.normal(size=1000))
    source = source_of(tmp_path)
    files = source.entries(tmp_path)[0]
    said = "each sample is a row of 1000 numbers, which are compared one by one; if the rows are recordings, name"
    assert said in {issue["kind"]: issue["message"] for issue in check_files(files, source)["issues"]}["recordings"]
    with pytest.warns(ConcernWarning, match=said):
        fit_files(files, source, quick(epochs=1), folds=None)
    recordings = source_of(tmp_path, sample_rate=1000)
    assert "recordings" not in [issue["kind"] for issue in check_files(files, recordings)["issues"]]


def test_whole_tables_as_samples_are_named(tmp_path, draw):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("a,b\n" + "".join(f"{x},{-x}\n" for x in draw.normal(size=50)))
    for window, said in ((None, True), (10, False)):
        source = source_of(tmp_path, window=window)
        messages = [issue["message"] for issue in check_files(source.entries(tmp_path)[0], source)["issues"]]
        assert any(text.startswith("each file is one sample of 50 rows") for text in messages) is said


def test_missing_values_and_gaps_in_time_of_tables_are_issues(tmp_path, draw):
    for number in range(3):
        lines = [f"2020-01-01 0{number}:00:{row:02};{draw.normal()}" for row in range(20)]
        if number == 1:
            lines[4:6] = ["2020-01-01 01:00:04;-", "2020-01-01 01:00:05;NULL"]
            del lines[8:17]
        (tmp_path / f"{number}.csv").write_text("\n".join(["at;a", *lines]))
    for missing, what in (("interpolate", "are interpolated"), ("drop-window", "are missing, and their windows")):
        source = source_of(tmp_path, window=4, missing=missing)
        found = check_files(source.entries(tmp_path)[0], source)
        messages = {issue["kind"]: issue["message"] for issue in found["issues"]}
        assert messages["missing"].startswith(f"2 values in 1 of 3 files {what}")
        assert "time has gaps of more than 5 usual steps" in messages["time"]
        assert messages["time"].endswith("in 1 of 3 files, such as 1.csv, row 9")
        assert (found["row_interval"], found["settings"]["time"]) == (1, "at")
        assert [row["column"] for row in found["left_out"]] == ["at"]
