import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from problems import RATE, kinds, quick, record

from oddkind import save, score_files
from oddkind.files.score import read_as_learnt


@pytest.fixture(scope="session")
def model(fitted, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "fans.oddkind"
    save(fitted, file)
    return file


@pytest.fixture(autouse=True)
def own_state(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def incoming(tmp_path):
    folder = tmp_path / "in"
    for number in range(3):
        record(folder, f"fan 2/{number}.wav", 600, 500 + number)
    record(folder, "fan 2/odd.wav", 600, 600, odd=True)
    for file in folder.rglob("*.wav"):
        os.utime(file, (1, 1))
    return folder


def lines_in(text):
    return [json.loads(line) for line in text.splitlines()]


def test_once_judges_what_is_there_as_score_does(command, model, fitted, incoming):
    code, out, err = command("watch", model, incoming, "--once")
    assert code == 0
    found = {line["item"]: line for line in lines_in(out)}
    verdicts = score_files(read_as_learnt(fitted, incoming)[0], fitted)
    assert {name: (line["score"], line["p_value"], line["anomalous"]) for name, line in found.items()} == {
        one.path: (one.score, one.p_value, one.anomalous) for one in verdicts
    }
    assert found["fan 2/odd.wav"]["alarm"]
    assert "lines: 4; anomalous: " in err
    assert "Evidence of drift" in err
    assert command("watch", model, incoming, "--once")[1] == ""


def test_lines_go_to_a_file_and_the_summary_is_json(command, model, incoming, tmp_path):
    out = tmp_path / "out.jsonl"
    (incoming / "fan 2" / "bad.wav").write_bytes(b"RIFF")
    code, printed, _ = command("watch", model, incoming, "--once", "--out", out, "--json", "--settle", "1ms")
    assert code == 0
    summary = json.loads(printed)
    assert summary["items"] == summary["lines"] == 5
    assert summary["errors"] == 1
    assert summary["undelivered"] == {}
    assert len(lines_in(out.read_text(encoding="utf-8"))) == 5


def test_with_lines_on_standard_output_the_summary_is_one_more(command, model, incoming):
    _, out, _ = command("watch", model, incoming, "--once", "--json")
    *lines, last = lines_in(out)
    assert [line["id"] for line in lines] == [1, 2, 3, 4]
    assert last["summary"]["lines"] == 4


def test_another_model_begins_evidence_anew(command, model, fitted, incoming, tmp_path):
    own = tmp_path / "own.oddkind"
    own.write_bytes(model.read_bytes())
    command("watch", own, incoming, "--once", "--state", tmp_path / "s")
    from dataclasses import replace

    save(replace(fitted, false_alarm_rate=0.3), own)
    record(incoming, "fan 2/new.wav", 600, 700)
    _, out, err = command("watch", own, incoming, "--once", "--state", tmp_path / "s", "--settle", "1ms")
    assert "another one than before" in err
    (line,) = lines_in(out)
    assert line["id"] == 5
    assert line["alarm_rate"][1] > 0.98


def test_standard_input_is_judged_in_parts(command, model, monkeypatch, incoming):
    files = sorted((incoming / "fan 2").glob("?.wav"))
    recording = np.concatenate([soundfile.read(file, dtype="int16")[0] for file in files])
    read, write = os.pipe()
    os.write(write, recording.tobytes())
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, out, err = command("watch", model, "-", "--rate", RATE, "--stream-label", "fan 2")
    assert code == 0
    assert [line["item"] for line in lines_in(out)] == [
        "stdin, 0:00:00–0:00:02",
        "stdin, 0:00:02–0:00:04",
        "stdin, 0:00:04–0:00:06",
    ]
    assert "s16le, 4000 Hz, 1 channel; each 2 s is judged like a file" in err


def test_a_growing_table_is_judged_in_parts(command, tmp_path, shown):
    draw = np.random.default_rng(0)
    for number in range(40):
        table = "a,b\n" + "".join(f"{x:.3f},{y:.3f}\n" for x, y in draw.normal(size=(16, 2)))
        (tmp_path / "learnt").mkdir(exist_ok=True)
        (tmp_path / "learnt" / f"{number}.csv").write_text(table)
    model = tmp_path / "log.oddkind"
    assert command("fit", tmp_path / "learnt", "--out", model)[0] == 0
    log = tmp_path / "log.csv"
    log.write_text("a,b\n" + "".join(f"{x:.3f},{y:.3f}\n" for x, y in draw.normal(size=(40, 2))))
    code, out, err = command("watch", model, log, "--once")
    assert code == 0
    assert [line["item"] for line in lines_in(out)] == ["log.csv, rows 1–16", "log.csv, rows 17–32"]
    assert "each 16 rows are judged like a file" in err
    with log.open("a") as more:
        more.write("".join(f"{x:.3f},{y:.3f}\n" for x, y in draw.normal(size=(8, 2))))
    assert [line["item"] for line in lines_in(command("watch", model, log, "--once")[1])] == ["log.csv, rows 33–48"]


def test_a_hold_off_is_said(command, model, incoming):
    record(incoming, "fan 2/odd too.wav", 600, 601, odd=True)
    _, _, err = command("watch", model, incoming, "--once", "--hold-off", "10min", "--settle", "1ms")
    anomalous = int(re.search(r"anomalous: (\d+);", err)[1])  # the odd ones, and normal ones by chance
    assert anomalous >= 2
    assert f"alarms: 1; held off: {anomalous - 1};" in err


def test_a_rate_that_cannot_be_promised_is_said_once(command, model, incoming, shown):
    _, _, err = command("watch", model, incoming, "--once", "--false-alarm-rate", "0.0001")
    assert err.count("no alarm is raised") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "does not exist"),
        (("IN", "--hold-off", "soon"), "--hold-off 'soon'"),
        (("IN", "--settle", "x"), "--settle 'x'"),
        (("IN", "--webhook", "host"), "--webhook must be"),
        (("IN", "--webhook-alarms"), "needs --webhook"),
        (("IN", "--out", "no/folder/x"), "cannot be written"),
        (("-", "--new-only"), "--new-only is for folders and tables"),
        (("mqtt://me:hush@host/topic",), "password"),
        (("mqtt://host",), "must be mqtt://"),
        (("IN/fan 2/0.wav",), "learnt from sounds"),
        (("-", "--format", "s16be"), "--format"),
        (("-", "--block", "10ms"), "shorter than a window"),
        (("IN", "--block", "10s"), "--block is for standard input and growing tables"),
        (("IN", "--rate", "16000"), "--rate is for standard input"),
        (("mqtt://host/topic", "--channels", "2"), "--channels is for standard input"),
        (("-", "--pattern", "{label}.wav"), "--pattern is for a folder"),
        (("IN", "--stream-label", "pump"), "--stream-label 'pump' was not learnt; known are 'fan 2'"),
    ],
)
def test_what_cannot_be_is_refused(command, model, incoming, monkeypatch, words, message):
    monkeypatch.chdir(incoming.parent)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(open(os.devnull, "rb")))  # noqa: SIM115
    given = [str(word).replace("IN", str(incoming)) for word in words]
    code, out, err = command("watch", model, *given, "--once")
    sys.stdin.close()
    assert code == 2
    assert out == ""
    assert message in err
    assert "hush" not in err
    assert "Traceback" not in err


def test_files_need_a_model_of_files(command, incoming, tmp_path):
    save(quick().fit(*kinds(100)).model_, tmp_path / "vectors.oddkind")
    code, _, err = command("watch", tmp_path / "vectors.oddkind", incoming, "--once")
    assert code == 2
    assert "learnt from arrays" in err


def test_missing_packages_are_named_with_the_command_that_installs_them(command, model, incoming, monkeypatch):
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)
    for source in (incoming, "mqtt://host/topic"):
        code, _, err = command("watch", model, source)
        assert code == 2
        assert "pip install 'oddkind[watch]'" in err


def test_two_watches_do_not_share_a_state(command, model, incoming, tmp_path):
    from oddkind.watch.state import State

    state = State(tmp_path / "s")
    code, _, err = command("watch", model, incoming, "--once", "--state", tmp_path / "s")
    state.close()
    assert code == 2
    assert "another watch uses this state" in err


def test_lines_for_an_output_that_is_not_named_any_more_are_kept(command, model, incoming, monkeypatch):
    monkeypatch.setattr("oddkind.watch.loop.LAST_SECONDS", 0.2)
    code, _, err = command("watch", model, incoming, "--once", "--webhook", "http://127.0.0.1:1/x")
    assert code == 0
    assert "webhook http://127.0.0.1: 4 lines are not delivered; they are kept" in err
    _, _, err = command("watch", model, incoming, "--once")
    assert "4 lines from before wait for webhook http://127.0.0.1" in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_what_is_in_hand(model, incoming, tmp_path, number):
    out = tmp_path / "out.jsonl"
    words = ["watch", str(model), str(incoming), "--out", str(out), "--json"]
    program = "from oddkind.cli.main import main; main()"
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while (not out.exists() or out.read_bytes().count(b"\n") < 4) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    printed, complaints = process.communicate(timeout=30)
    assert process.returncode == 0, complaints
    assert json.loads(printed)["lines"] == 4
