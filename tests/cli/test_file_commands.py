"""Commands for files, as from a shell."""

import json
import warnings

import numpy as np
import pytest
import soundfile
from numpy.testing import assert_array_equal
from PIL import Image
from problems import LABELS, RATE, record

from oddkind import load
from oddkind.cli.file_commands import promise_line
from oddkind.files.score import (
    Promise,
)


def test_check_says_what_was_understood(command, data):
    code, out, err = command("check", data)
    assert (code, err.strip()) == (0, "")
    for word in (*LABELS, "train", "test", "anomalous", "48", f"sample rate: {RATE}", "0 of 72 files cannot be read"):
        assert word in out
    facts = json.loads(command("check", data, "--json")[1])
    assert sum(part["files"] for part in facts["parts"]) == 72
    assert facts["refused"] == {}


def test_check_says_what_is_doubtful(command, tmp_path):
    draw = np.random.default_rng(0)

    def write(name, sound):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, sound, RATE)

    for number in range(12):
        for label in LABELS:
            write(f"{label}/train/normal/{number}.wav", 0.2 * draw.normal(size=2 * RATE).clip(-4, 4))
    told = command("check", tmp_path)
    assert (told[0], "Look at this" in told[1]) == (0, False)
    assert json.loads(command("check", tmp_path, "--json")[1])["concerns"] == []
    loud = (0.6 * draw.normal(size=2 * RATE)).clip(-1, 1 - 2**-15)
    write("fan 2/test/normal/loud.wav", loud)
    write("fan 2/test/normal/once.wav", loud.clip(-0.5, 0.5) + (np.arange(2 * RATE) == 9) / 2)  # loudest sample at 1
    write("fan 2/test/normal/copy.wav", soundfile.read(tmp_path / "fan 2/train/normal/3.wav")[0])
    code, out, err = command("check", tmp_path)
    assert (code, err.strip()) == (0, "")
    assert "Look at this: 1 of 27 recordings clip at full scale: fan 2/test/normal/loud.wav." in out
    assert "exact copies of one in another split, such as fan 2/test/normal/copy.wav" in out
    assert [row["kind"] for row in json.loads(command("check", tmp_path, "--json")[1])["concerns"]] == [
        "copies",
        "copies",
        "clipped",
    ]


def test_a_detector_is_fitted_saved_used_and_evaluated(command, data, tmp_path):
    model, scores = tmp_path / "fan.oddkind", tmp_path / "scores.csv"
    code, out, err = command("fit", data, "--out", model, "--false-alarm-rate", "0.1")
    assert (code, err.strip()) == (0, "")
    assert "learnt from 48 files" in out
    assert load(model).false_alarm_rate == 0.1
    code, out, err = command("score", model, data, "--out", scores)
    assert (code, err.strip()) == (0, "")
    assert "72 files" in out
    printed = command("score", model, data)[1]
    assert_array_equal(printed.splitlines(), scores.read_text(encoding="utf-8").splitlines())
    lines = command("score", model, data, "--json")[1].splitlines()
    assert [json.loads(line)["path"] for line in lines] == [row.split(",")[0] for row in printed.splitlines()[1:]]
    code, out, err = command("evaluate", model, data, "--json")
    assert (code, err.strip()) == (0, "")
    facts = json.loads(out)
    assert [row["label"] for row in facts["rows"]] == ["all", *sorted(LABELS)]
    assert facts["rows"][0]["n_normal"] == facts["rows"][0]["n_anomalous"] == 12
    assert facts["rows"][0]["auc"] > 0.9
    assert facts["promise"]["rate"] == 0.1
    code, out, _ = command("evaluate", model, data, "--false-alarm-rate", "0.5")
    assert code == 0
    assert "harmonic mean" in out
    assert "of 12 normal files or groups raise a false alarm; 0.5 was promised" in out
    loose, strict = (
        command("score", model, data, "--out", scores, *words)[1]
        for words in (("--false-alarm-rate", "0.5"), ("--false-discovery-rate", "0.1"))
    )
    assert "at a false-alarm rate of 0.5" in loose
    assert "at a false discovery rate of 0.1" in strict
    code, out, err = command("score", model, data, "--false-alarm-rate", "0.001")
    assert (code, out) == (2, "")
    assert "0.001 can be promised from 999" in err


def test_files_that_have_drifted_are_said_to_break_the_promise():
    text = promise_line(Promise(30, 60, 0.05, 1e-12))
    assert "30 of 60 normal files or groups raise a false alarm; 0.05 was promised" in text
    assert "the promise does not hold for these files" in text
    assert "does not hold" not in promise_line(Promise(3, 60, 0.05, 0.4))


def test_settings_are_chosen_by_hiding_one_machine_after_another(command, tmp_path):
    for machine in range(3):
        for number in range(8):
            record(tmp_path, f"m{machine}/{number}.wav", 200 * 2**machine, 10 * machine + number)
    words = ("choose", tmp_path, "--score", "msp,joint-neighbours", "--task", "auto", "--seeds", "1")
    code, out, err = command(*words)
    assert (code, err.strip()) == (0, "")
    assert "Hidden, one after another: m0, m1, m2." in out
    assert "label smoothing 0.1 changes the AUC of msp" in out
    facts = json.loads(command(*words, "--json")[1])
    assert facts["labels"] == ["m0", "m1", "m2"]
    assert len(facts["rows"]) == 4
    found = {(row["score"], row["label_smoothing"]): row["auc_mean"] for row in facts["rows"]}
    assert found["joint-neighbours", 0.0] > 0.9
    assert [row["auc_mean"] for row in facts["rows"]] == sorted(found.values(), reverse=True)
    code, out, err = command("choose", tmp_path, "--score", "magic")
    assert (code, out) == (2, "")
    assert "score='magic'; known are" in err


def test_files_that_cannot_be_read_are_named_or_end_it_all(command, data, tmp_path):
    for number in range(4):
        record(tmp_path, f"normal/{number}.wav", 300, number)
    (tmp_path / "normal" / "망가진 것.wav").write_text("no sound")
    code, out, err = command("check", tmp_path)
    assert code == 0
    assert "1 of 5 files cannot be read" in out
    assert "망가진 것.wav" in err
    code, out, err = command("check", tmp_path, "--strict")
    assert (code, out) == (2, "")
    assert err.strip().startswith("oddkind: normal/망가진 것.wav: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "NONE"), "not there; pass a folder"),
        (("fit", "DATA", "--out", "MODEL", "--size", "64,64"), "--size does not suit sounds"),
        (("fit", "DATA", "--out", "MODEL", "--window", "-1"), "--window -1.0: Input should be greater than 0"),
        (("fit", "DATA", "--out", "MODEL", "--front-end", "mfcc"), "'mfcc'"),
        (("fit", "DATA", "--out", "MODEL", "--false-alarm-rate", "0.001"), "can be promised from 1998 normal groups"),
        (("fit", "DATA", "--out", "MODEL", "--label", "load"), "no field 'load' for --label"),
        (("score", "DATA/fan 2/test/normal/0.wav", "DATA"), "not a saved detector"),
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


def test_a_warning_is_one_line(command, tmp_path):
    for number in range(60):
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(tmp_path / f"{number}.png")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = command("fit", tmp_path, "--out", tmp_path / "model", "--size", "10,10", "--task", "rotations")
    assert code == 0
    (line,) = [line for line in err.splitlines() if "leave" in line]
    assert line.startswith("oddkind: rotations leave 100% of the samples as they are")
