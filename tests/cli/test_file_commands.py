"""Commands for files, as from a shell."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal
from PIL import Image
from problems import LABELS, RATE, record

from oddkind import CrossModel, InputError, load, save
from oddkind.cli.evaluate_command import promise_line
from oddkind.files.evaluate import Promise
from oddkind.train.transforms import show_surfaces


def test_check_prints_what_the_data_set_contains(command, data):
    code, out, err = command("check", data)
    assert (code, err) == (0, "")
    for word in (*LABELS, "train", "test", "anomalous", "48", f"sample rate: {RATE}", "0 of 72 files are left out"):
        assert word in out
    facts = json.loads(command("check", data, "--json")[1])
    assert sum(part["files"] for part in facts["parts"]) == 72
    assert facts["refused"] == {}


def test_check_prints_what_is_doubtful(command, tmp_path):
    draw = np.random.default_rng(0)

    def write(name, sound):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, sound, RATE)

    for number in range(12):
        for label in LABELS:
            write(f"{label}/train/normal/{number}.wav", 0.2 * draw.normal(size=2 * RATE).clip(-4, 4))
    code, out, err = command("check", tmp_path)
    assert (code, "Look at this" in out, err) == (0, False, "")
    assert json.loads(command("check", tmp_path, "--json")[1])["issues"] == []
    loud = (0.6 * draw.normal(size=2 * RATE)).clip(-1, 1 - 2**-15)
    write("fan 2/test/normal/loud.wav", loud)
    write("fan 2/test/normal/once.wav", loud.clip(-0.5, 0.5) + (np.arange(2 * RATE) == 9) / 2)  # loudest sample at 1
    write("fan 2/test/normal/copy.wav", soundfile.read(tmp_path / "fan 2/train/normal/3.wav")[0])
    code, out, err = command("check", tmp_path)
    assert (code, err) == (0, "")
    assert "Look at this: 1 of 27 recordings clip at full scale: fan 2/test/normal/loud.wav." in out
    assert "exact copies of a sample in another split, such as fan 2/test/normal/copy.wav" in out
    assert [row["kind"] for row in json.loads(command("check", tmp_path, "--json")[1])["issues"]] == [
        "copies",
        "copies",
        "clipped",
    ]


def test_a_model_is_fitted_saved_used_and_evaluated(command, data, tmp_path):
    model, scores = tmp_path / "fan.oddkind", tmp_path / "scores.csv"
    code, out, err = command("fit", data, "--out", model, "--false-alarm-rate", "0.1")
    assert (code, err) == (0, "")
    assert "was fitted to 48 files, of which 9 files or groups were held out." in out
    assert load(model).false_alarm_rate == 0.1
    code, out, err = command("score", model, data, "--out", scores)
    assert code == 0
    assert err.startswith("48 of 72 files are among those that the model was fitted to; their scores, p-values and")
    assert "contains 72 files, of which" in out
    printed = command("score", model, data)[1]
    assert_array_equal(printed.splitlines(), scores.read_text(encoding="utf-8").splitlines())
    lines = command("score", model, data, "--json")[1].splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row.split(",")[0] for row in printed.splitlines()[1:]]
    code, out, err = command("evaluate", model, data, "--json")
    assert (code, err) == (0, "")
    facts = json.loads(out)
    assert [row["label"] for row in facts["rows"]] == ["all", *sorted(LABELS)]
    assert facts["rows"][0]["n_normal"] == facts["rows"][0]["n_anomalous"] == 12
    assert facts["rows"][0]["auc"] > 0.9
    assert facts["promise"]["rate"] == 0.1
    code, out, _ = command("evaluate", model, data, "--false-alarm-rate", "0.5")
    assert code == 0
    assert "harmonic mean" in out
    assert "of 12 normal files raise a false alarm; the promised rate is 0.5." in out
    assert "48 files are not counted, because they were learnt from, are not in the test split, or" in out
    loose, strict = (
        command("score", model, data, "--out", scores, *words)[1]
        for words in (("--false-alarm-rate", "0.5"), ("--false-discovery-rate", "0.1"))
    )
    assert "at a false-alarm rate of 0.5" in loose
    assert "at a false discovery rate of 0.1" in strict


def test_nothing_is_written_if_no_file_can_be_judged(command, fitted, tmp_path):
    model, out, new = tmp_path / "fan.oddkind", tmp_path / "scores.csv", tmp_path / "new"
    save(fitted, model)
    out.write_text("of yesterday")
    new.mkdir()
    for number in range(2):
        (new / f"{number}.wav").write_text("not a sound")
    for words in (("score", model, new, "--out", out), ("score", model, new, "--json"), ("explain", model, new)):
        code, printed, err = command(*words)
        assert (code, printed) == (2, "")
        assert "no file can be judged; 0.wav (and 1 other file): is not a recording" in err
    assert out.read_text() == "of yesterday"


def test_explain_prints_lines_or_json_and_draws(command, data, fitted, tmp_path):
    model, out = tmp_path / "fan.oddkind", tmp_path / "why"
    save(fitted, model)
    code, printed, err = command("explain", model, data / LABELS[1], "--most", "2", "--out", out)
    assert (code, err) == (0, "")
    for words in ("p-value", "it looks like", "nearest normal samples (distance): ", "evidence: ", " Hz, "):
        assert words in printed
    assert "These are the 2 most anomalous of 36 files; --most changes the number." in printed
    assert [path.suffix for path in out.iterdir()] == [".png", ".png"]
    code, printed, _ = command("explain", model, data / LABELS[1], "--most", "2", "--json")
    facts = json.loads(printed)
    assert (code, len(facts["files"]), facts["promised"]) == (0, 2, True)
    keys = {"path", "p_value", "looks_like", "probabilities", "views", "nearest", "evidence"}
    assert keys <= facts["files"][0].keys()
    assert not any(file["learnt"] for file in facts["files"])
    note = "the model was fitted to this file, so its p-value and the decision mean nothing"
    assert note not in command("explain", model, data / LABELS[1], "--most", "2")[1]
    assert command("explain", model, data / LABELS[1], "--most", "99")[1].count(note) == 24
    (tmp_path / "file").write_text("")
    code, printed, err = command("explain", model, data / LABELS[1], "--most", "1", "--out", tmp_path / "file" / "why")
    assert (code, printed) == (2, "")
    assert "cannot be written" in err


# --- Folds, and rates that cannot be promised ---------------------------------------------------------------


def test_a_model_with_folds_is_written_and_scores_evaluates_and_explains_files(command, data, tmp_path):
    model, scores = tmp_path / "fan.oddkind", tmp_path / "scores.csv"
    words = "fit", data, "--out", model, "--cross", "5", "--false-alarm-rate", "0.03", "--window", "0.5"
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert "was fitted to 48 files. 5 models were trained, each without one fold of the files." in out
    assert "too few files" not in out
    assert "A new file is compared with all 48 files or groups." in out
    fitted = load(model)
    assert isinstance(fitted, CrossModel)
    assert fitted.task.labels.tolist() == sorted(LABELS)
    assert fitted.folds[0].report.calibration_rows.size == 10 * 4  # ten files of four windows
    code, out, err = command("score", model, data, "--out", scores)
    assert (code, err.startswith("48 of 72 files are among those that the model was fitted to")) == (0, True)
    assert "contains 72 files" in out
    lines = [json.loads(line) for line in command("score", model, data, "--json")[1].splitlines()]
    assert {line["promised"] for line in lines} == {True}
    assert min(line["p_value"] for line in lines) == 1 / 49
    code, out, err = command("evaluate", model, data, "--json")
    facts = json.loads(out)
    assert (code, err, facts["promised"]) == (0, "", True)
    assert [row["label"] for row in facts["rows"]] == ["all", *sorted(LABELS)]
    assert facts["rows"][0]["auc"] > 0.9
    assert facts["promise"]["n_normal"] == 12
    code, out, err = command("explain", model, data, "--most", "1", "--out", tmp_path / "why")
    assert (code, err) == (0, "")
    assert re.search(r"most anomalous of 4 windows: [\d.]+–[\d.]+ s, p-value 0\.0", out)
    assert re.search(r"nearest normal samples \(distance\): .*train/normal/\d+\.wav at [\d.]+ s", out)


@pytest.fixture
def few(tmp_path):
    """24 vectors of noise."""
    draw = np.random.default_rng(0)
    (tmp_path / "few" / "good").mkdir(parents=True)
    for number in range(24):
        np.save(tmp_path / "few" / "good" / f"{number}.npy", draw.normal(size=4))
    return tmp_path / "few"


def fit(few, *words):
    return "fit", few, "--out", few.parent / "model", *words


def test_folds_are_chosen_if_there_are_too_few_files_to_hold_some_out(command, few):
    code, out, err = command(*fit(few))
    assert (code, err) == (0, "")
    sentence = "There are too few files to hold some out, so 5 models were trained, each without one fold of the files."
    assert sentence in out
    assert "A new file is compared with all 24 files or groups." in out
    facts = json.loads(command(*fit(few), "--json")[1])
    assert (facts["folds"], facts["held_out"], facts["promised"], facts["learnt"]) == (5, 24, True, 24)
    facts = json.loads(command(*fit(few), "--json", "--false-alarm-rate", "0.1")[1])
    assert (facts["folds"], facts["promised"]) == (1, True)


def test_cross_none_uses_no_folds_and_one_line_names_the_number_of_files_it_takes(command, shown, few):
    code, out, err = command(*fit(few), "--cross", "none")
    (line,) = err.splitlines()
    assert code == 0
    assert line.startswith("oddkind: no alarm is raised: a false-alarm rate of 0.05 takes at least 19 held-out normal")
    assert "there are 12" in line
    assert "was fitted to 24 files, of which 12 files or groups were held out." in out
    code, out, err = command(*fit(few), "--cross", "none", "--json")
    facts = json.loads(out)
    assert (code, facts["folds"], facts["promised"], len(err.splitlines())) == (0, 1, False, 1)


def test_a_rate_that_cannot_be_promised_raises_no_alarm_and_is_one_line_in_every_command(
    command, shown, data, fitted, tmp_path
):
    model, scores = tmp_path / "fan.oddkind", tmp_path / "scores.csv"
    save(fitted, model)
    strict = "--false-alarm-rate", "0.001"
    for words in (("score", "--out", scores), ("score",), ("evaluate",), ("explain", "--most", "1")):
        code, out, err = command(words[0], model, data, *words[1:], *strict)
        line, *learnt = err.splitlines()
        assert (code, len(learnt)) == (0, words[0] == "score")
        assert line.startswith("oddkind: no alarm is raised: a false-alarm rate of 0.001 takes at least 999 held-out")
        assert out
    assert "True" not in scores.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in command("score", model, data, *strict, "--json")[1].splitlines()]
    assert {(line["promised"], line["anomalous"]) for line in lines} == {(False, False)}
    facts = json.loads(command("evaluate", model, data, *strict, "--json")[1])
    assert (facts["promised"], facts["promise"], facts["rows"][0]["found"]) == (False, None, 0)
    assert facts["rows"][0]["auc"] > 0.9
    assert json.loads(command("explain", model, data, *strict, "--json")[1])["promised"] is False
    code, out, err = command("score", model, data, *strict, "--false-discovery-rate", "0.3", "--out", scores)
    assert (code, "no alarm is raised" in err) == (0, False)  # that is another promise
    for rate in ("0", "1"):
        code, out, err = command("score", model, data, "--false-alarm-rate", rate)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert "it must lie between 0 and 1" in err


def test_a_picture_with_too_many_pixels_is_left_out_with_one_line(command, shown, tmp_path):
    for number in range(3):
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(tmp_path / f"{number}.png")
    Image.new("1", (10_000, 9_500)).save(tmp_path / "large.png")  # so many that Pillow warns of it, too
    code, out, err = command("check", tmp_path)
    assert code == 0
    assert "1 of 4 files are left out." in out
    assert err.splitlines() == ["left out: large.png: has 10000 × 9500 pixels; at most 89,000,000 are read"]


# --- Bad input ----------------------------------------------------------------------------------------------


def test_a_file_that_cannot_be_written_is_refused_before_any_work_is_done(command, data, fitted, tmp_path, monkeypatch):
    save(fitted, tmp_path / "model")
    monkeypatch.setattr("oddkind.files.reading._inputs", None)  # nothing is read
    for words in (("fit", data), ("score", tmp_path / "model", data)):
        code, out, err = command(*words, "--out", tmp_path / "none" / "file.csv")
        assert (code, out) == (2, "")
        assert "cannot be written (No such file or directory); name a file that can" in err


def test_the_promise_does_not_hold_for_files_that_have_drifted():
    text = promise_line(Promise(30, 60, "files", 0.05, 1e-12))
    assert text.startswith("30 of 60 normal files raise a false alarm; the promised rate is 0.05. If")
    assert "the promise does not hold for these files" in text
    assert "does not hold" not in promise_line(Promise(3, 60, "files", 0.05, 0.4))
    grouped = promise_line(Promise(3, 12, "groups", 0.05, 0.4))
    assert "The table counts files; the promise is for groups of files, each of which counts as one: " in grouped
    assert "3 of 12 groups of normal files raise a false alarm" in grouped


def test_score_says_when_files_alarm_far_more_often_than_promised_without_calling_them_normal(
    command, fitted, tmp_path
):
    model = tmp_path / "fan.oddkind"
    save(fitted, model)
    for number in range(30):
        record(tmp_path, f"drifted/{number}.wav", 3000, number)
    code, out, err = command("score", model, tmp_path / "drifted")
    assert code == 0
    assert err.count("\n") == 1
    assert "30 of 30 files raise an alarm; the promised rate of false alarms is" in err
    assert "If all of them were normal and like those held out, the chance" in err
    assert "either some of them are anomalous, or something has drifted" in err
    assert "30 of 30" not in out


def test_settings_are_chosen_by_hiding_one_machine_after_another(command, tmp_path):
    for machine in range(3):
        for number in range(8):
            record(tmp_path, f"m{machine}/{number}.wav", 200 * 2**machine, 10 * machine + number)
    words = ("choose", tmp_path, "--score", "msp,joint-neighbours", "--task", "auto", "--seeds", "1")
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    assert "These labels were hidden one after another: m0, m1, m2." in out
    assert "abel smoothing" in out
    facts = json.loads(command(*words, "--json")[1])
    assert len(facts["label_smoothing"]) == 2
    shared = command(*words, "--json", "--jobs", "2", "--checkpoints", tmp_path.parent / "checkpoints")
    assert (shared[0], json.loads(shared[1])) == (0, facts)
    assert list((tmp_path.parent / "checkpoints").glob("*.safetensors"))
    assert facts["verdict"].keys() == {"use", "better_than_chance", "better_than_default", "reason"}
    assert facts["verdict"]["reason"] in out
    assert [row["default"] for row in facts["rows"]].count(True) == 1
    assert facts["labels"] == ["m0", "m1", "m2"]
    assert len(facts["rows"]) == 5  # with the default
    found = {(row["score"], row["label_smoothing"]): row["auc_mean"] for row in facts["rows"]}
    assert found["joint-neighbours", 0.0] > 0.9
    assert [row["auc_mean"] for row in facts["rows"]] == sorted(found.values(), reverse=True)
    code, out, err = command("choose", tmp_path, "--score", "magic")
    assert (code, out) == (2, "")
    assert "score='magic'; known are" in err


def test_spectrograms_that_vary_equally_everywhere_are_no_surfaces_to_choose_settings_for(
    command, monkeypatch, tmp_path
):
    draw = np.random.default_rng(0)
    for number in range(40):
        path = tmp_path / f"m{number % 4}" / f"{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * draw.normal(size=2 * RATE).clip(-4, 4), RATE)
    tried = []

    def stop(samples, choices, *, like, **_):
        tried.append((show_surfaces(samples.inputs), like.network, choices[-1].score))
        raise InputError("enough")

    monkeypatch.setattr("oddkind.study.selection.leave_one_label_out", stop)
    words = "--front-end", "mel-spectrogram", "--score", "msp", "--task", "labels", "--window", "1"
    code, _, err = command("choose", tmp_path, *words)
    assert (code, err) == (2, "oddkind: enough\n")
    assert tried == [(True, "spectrogram", "combined-logs")]


def test_files_that_cannot_be_read_are_named_or_end_the_command(command, data, tmp_path):
    for number in range(4):
        record(tmp_path, f"normal/{number}.wav", 300, number)
    (tmp_path / "normal" / "망가진 것.wav").write_text("no sound")
    code, out, err = command("check", tmp_path)
    assert code == 0
    assert "1 of 5 files are left out" in out
    assert "망가진 것.wav" in err
    code, out, err = command("check", tmp_path, "--strict")
    assert (code, out) == (2, "")
    assert err.strip().startswith("oddkind: normal/망가진 것.wav: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "NONE"), "does not exist; pass a folder"),
        (("fit", "DATA", "--out", "MODEL", "--size", "64,64"), "--size does not apply to sounds"),
        (
            ("fit", "DATA", "--out", "MODEL", "--window", "-1"),
            "--window '-1': must be a number, or a duration with a unit",
        ),
        (("fit", "DATA", "--out", "MODEL", "--front-end", "mfcc"), "'mfcc'"),
        (("fit", "DATA", "--out", "MODEL", "--false-alarm-rate", "2"), "it must be a number between 0 and 1"),
        (
            ("fit", "DATA", "--out", "MODEL", "--cross", "five"),
            "--cross 'five'; it must be a number of folds such as 5",
        ),
        (("fit", "DATA", "--out", "MODEL", "--members", "many"), "n_members='many'; it must be a whole number"),
        (("fit", "DATA", "--out", "MODEL", "--members", "0"), "n_members=0; it must be a whole number"),
        (("fit", "DATA", "--out", "MODEL", "--cross", "1"), "folds=1; it must be a whole number of at least 2"),
        (("fit", "DATA", "--out", "MODEL", "--cross", "2.5"), "--cross '2.5'; it must be a number of folds"),
        (("fit", "DATA", "--out", "MODEL", "--cross", "100"), "100 folds take 100 normal groups; there are 48"),
        (("fit", "DATA", "--out", "MODEL", "--label", "load"), "--label names the field 'load', which does not exist"),
        (("score", "DATA/fan 2/test/normal/0.wav", "DATA"), "not a saved model"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2_and_writes_nothing(command, data, tmp_path, words, message):
    places = {"NONE": tmp_path / "none", "MODEL": tmp_path / "model", "DATA": data}
    line = "\n".join(words)
    for name, place in places.items():
        line = line.replace(name, str(place))
    code, out, err = command(*line.split("\n"))
    assert (code, out) == (2, "")
    (line,) = err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_a_warning_is_one_line(command, shown, tmp_path):
    for number in range(60):
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(tmp_path / f"{number}.png")
    code, _, err = command("fit", tmp_path, "--out", tmp_path / "model", "--size", "10,10", "--task", "rotations")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "rotations" in line]
    assert line.startswith("oddkind: rotations do not change 100% of the samples")


def test_options_say_how_csv_files_are_written_where_the_guess_is_wrong(command, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.csv").write_text("1,5\n2,5\n3,5\n")
    out = json.loads(command("check", tmp_path, "--decimal", ",", "--no-header", "--json")[1])
    assert (out["settings"]["columns"], out["parts"][0]["samples"]) == (["column 1"], 3)
    code, _, err = command("check", tmp_path, "--columns", "pressure")
    assert (code, "no table has the column 'pressure' of --columns; the columns are column 1, column 2" in err) == (
        2,
        True,
    )


def test_what_is_no_file_is_named_and_left_out_by_every_command(command, data, tmp_path):
    folder = tmp_path / "sounds"
    shutil.copytree(data, folder)
    odd = folder / LABELS[1] / "test" / "abnormal"
    os.mkfifo(odd / "pipe.wav")
    os.symlink("/dev/zero", odd / "zero.wav")
    os.symlink("gone.wav", odd / "dangling.wav")
    os.symlink("circle.wav", odd / "circle.wav")
    os.symlink(data / LABELS[0] / "test" / "normal" / "0.wav", odd / "far.wav")
    (odd / "0.wav").rename(os.fsdecode(os.fsencode(odd) + b"/\xff.wav"))
    model = tmp_path / "fan.oddkind"
    for words in (
        ("check", folder),
        ("fit", folder, "--out", model),
        ("score", model, folder),
        ("score", model, folder, "--json"),
        ("score", model, folder, "--out", tmp_path / "scores.csv"),
        ("score", model, folder, "--out", tmp_path / "scores.parquet"),
        ("evaluate", model, folder),
        ("explain", model, folder, "--most", "1"),
    ):
        code, out, err = command(*words)
        assert code == 0, err
        left_out = [line for line in err.splitlines() if line.startswith("left out: ")]
        assert [line.split("/")[-1].split(":")[0] for line in left_out] == [
            *("circle.wav", "dangling.wav", "far.wav", "pipe.wav", "zero.wav")
        ]
        assert any("--follow" in line for line in left_out)
        if words[0] == "score" and len(words) < 5:
            assert r"\udcff.wav" in out
        assert "far.wav" not in command(*words, "--follow")[2]
    code, out, err = command("check", folder, "--strict")
    assert (code, out) == (2, "")
    assert "circle.wav" in err
    os.mkfifo(tmp_path / "pipe.oddkind")
    code, out, err = command("score", tmp_path / "pipe.oddkind", folder)
    assert (code, out) == (2, "")
    assert "is not a file; name a file that oddkind saved" in err


def test_many_files_with_one_reason_are_one_line_and_masks_do_not_stop_a_strict_command(command, tmp_path):
    draw = np.random.default_rng(0)
    for name in [f"{part}/{n}.png" for part in ("test/good", "test/crack", "ground_truth/crack") for n in range(12)]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(256, size=(9, 9), dtype=np.uint8)).save(tmp_path / name)
    code, out, err = command("check", tmp_path, "--strict")
    assert code == 0
    assert out.split()[:5] == ["found", "taken", "for", "files", "─" * len(out.split()[4])]
    assert "folder crack" in out
    assert "anomalous files, because it is beside a folder of normal files" in out
    assert "12 of 36 files are left out." in out
    assert err.splitlines() == [
        "left out: ground_truth/crack/0.png (and 11 other files): is a mask that marks defects, not a picture to "
        "judge, because its folder is called ground_truth; with --pattern it would be read"
    ]
    code, _, err = command("check", tmp_path / "test" / "good" / "0.png", "--window", "3")
    assert code == 2


def test_names_are_printed_as_they_are(command, tmp_path):
    draw = np.random.default_rng(0)
    for name in ("[red]x[", ":smile:"):
        (tmp_path / name).mkdir()
        Image.fromarray(draw.integers(256, size=(9, 9), dtype=np.uint8)).save(tmp_path / name / "0.png")
    out = command("check", tmp_path)[1]
    assert "label [red]x[" in out
    assert "label :smile:" in out
