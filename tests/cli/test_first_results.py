"""From the files of a machine to the first result: three commands and no edited file, as in the documentation."""

import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

pytestmark = pytest.mark.slow


@pytest.fixture
def valve_logs(tmp_path):
    """A folder of logs as a valve's data logger writes them, the last four with marked rows."""
    draw, folder = np.random.default_rng(0), tmp_path / "valve"
    folder.mkdir()
    names = "datetime;Current;Pressure;Temperature;anomaly;changepoint"
    for number in range(44):
        values = draw.normal(size=(120, 3))
        values[:, 1] += 3 * values[:, 0]
        marks = np.zeros(120)
        if number >= 40:
            marks[60:], values[60:, 1] = 1, 10  # the pressure is stuck
        start = np.datetime64("2020-03-09T10:00:00") + np.timedelta64(number, "h")
        lines = [
            f"{start + np.timedelta64(row, 's')}".replace("T", " ")
            + ";{:.4f};{:.4f};{:.4f}".format(*values[row])
            + f";{mark};0.0"
            for row, mark in enumerate(marks)
        ]
        (folder / f"{number:02}.csv").write_text("\n".join([names, *lines, ""]))
    return folder


def test_a_valve_log_needs_three_commands_and_no_edited_file(command, valve_logs, tmp_path):
    code, out, err = command("check", valve_logs, "--window", 30)
    assert (code, err) == (0, "")
    for line in (
        "columns: Current, Pressure, Temperature",
        "delimiter: ;",
        "rows are 1 s apart; windows are counted in rows",
        "column left out: datetime: is time",
        "column left out: anomaly: looks like a label",
        "column left out: changepoint: looks like a label",
        "column anomaly  a marked row: an anomalous file  4",
    ):
        assert line in out
    model = tmp_path / "valve.oddkind"
    code, out, _ = command("fit", valve_logs, "--window", 30, "--out", model)
    assert (code, "40 files" in out, "column left out: anomaly: looks like a label" in out) == (0, True, True)
    code, out, _ = command("evaluate", model, valve_logs, "--json")
    rows = json.loads(out)["rows"]
    assert (code, rows[0]["n_anomalous"]) == (0, 4)
    assert rows[0]["found"] > 0.5


def vibration(seconds, rate, draw, strikes=0.0, load=0):
    """A shaft's harmonics in noise; a damaged bearing strikes 107 times per second, which rings at 4 kHz."""
    time = np.arange(round(seconds * rate)) / rate
    signal = 0.3 * draw.normal(size=len(time))
    for order in (1, 2):
        signal += 0.3 * np.sin(2 * np.pi * order * (30 - load) * time + draw.uniform(0, 6))
    blows = np.zeros(len(time))
    blows[(np.arange(draw.uniform(0, 0.009), seconds, 1 / 107) * rate).astype(int)] = strikes
    ring = np.exp(-np.arange(200) / rate * 1500) * np.sin(2 * np.pi * 4000 * np.arange(200) / rate)
    return signal + np.convolve(blows, ring)[: len(time)]


def test_a_bearing_folder_of_short_files_without_header(command, tmp_path):
    rate, draw = 25_600, np.random.default_rng(0)
    for part, strikes, n in (("healthy", 0, 40), ("later", 1.5, 6)):
        (tmp_path / part).mkdir()
        for number in range(n):
            pair = [vibration(0.1, rate, draw, strikes) for _ in range(2)]
            microsecond = draw.integers(900_000) + np.round(np.arange(2560) * 1e6 / rate)
            clock = f"9,{number // 6},{number % 6 * 10}"
            lines = [f"{clock},{m:.0f},{a:.3f},{b:.3f}" for m, a, b in zip(microsecond, *pair, strict=True)]
            (tmp_path / part / f"acc_{number:05d}.csv").write_text("\n".join(lines) + "\n")
    code, out, err = command("check", tmp_path / "healthy", "--sample-rate", rate)
    assert (code, err) == (0, "")
    for line in (
        "columns: column 5, column 6",
        "window: 0.1 s",
        "front end: spectrum",
        "column left out: column 1: has no name and one whole number in most files",
        "column left out: column 4: rises by the same step in each row",
    ):
        assert line in out
    model = tmp_path / "bearing.oddkind"
    code, out, _ = command("fit", tmp_path / "healthy", "--sample-rate", rate, "--out", model)
    assert (code, "was fitted to 40 files" in out) == (0, True)
    code, out, _ = command("score", model, tmp_path / "later", "--json")
    assert (code, [json.loads(line)["anomalous"] for line in out.splitlines()]) == (0, [True] * 6)
    code, out, _ = command("explain", model, tmp_path / "later", "--most", 1)
    assert (code, "Hz, level, column " in out) == (0, True)


def test_bearing_recordings_of_matlab_are_few_and_long(command, shown, tmp_path):
    rate, draw = 12_000, np.random.default_rng(0)
    for part, strikes in (("normal", 0), ("outer race", 1.5)):
        (tmp_path / part).mkdir()
        for load in range(4):
            signal = vibration(8, rate, draw, strikes, load)[:, None]
            values = {f"X{97 + load:03d}_DE_time": signal, f"X{97 + load:03d}RPM": 1797 - 20 * load}
            savemat(tmp_path / part / f"{load}.mat", values)
    model = tmp_path / "bearing.oddkind"
    how = ("--sample-rate", rate, "--pattern", "{condition}/{load}.mat", "--label", "load", "--normal")
    code, _, err = command("fit", tmp_path, *how, "condition=normal", "--out", model)
    assert (code, "nothing can be held out; learn from several files, or cut long ones into blocks" in err) == (2, True)
    how = (*how, "condition=normal", "--block", "500ms", "--window", "100ms")
    code, out, err = command("fit", tmp_path, *how, "--out", model)
    assert (code, "4 files are cut into 52 blocks of 0.5 s, with gaps of 0.1 s" in err) == (0, True)
    assert "was fitted to 52 blocks, of which 19 blocks or groups were held out" in out
    code, out, _ = command("evaluate", model, tmp_path, "--json")
    found = json.loads(out)["rows"]
    assert (code, [row["label"] for row in found]) == (0, ["all", "0", "1", "2", "3"])
    assert (found[0]["n_anomalous"], found[0]["found"]) == (64, 1.0)


def test_surfaces_in_the_layout_of_mvtec(command, tmp_path):
    draw = np.random.default_rng(0)
    for part, n in (("train/good", 40), ("test/good", 5), ("test/hole", 5), ("ground_truth/hole", 5)):
        (tmp_path / "tile" / part).mkdir(parents=True)
        for number in range(n):
            picture = draw.integers(90, 110, size=(32, 32)).astype(np.uint8)
            if "hole" in part:
                picture[10:20, 10:20] = 255
            name = f"{number:03d}_mask.png" if "truth" in part else f"{number:03d}.png"
            Image.fromarray(picture).save(tmp_path / "tile" / part / name)
    code, out, err = command("check", tmp_path / "tile")
    assert (code, "5 of 55 files are left out." in out, "mask" in err) == (0, True, True)
    model = tmp_path / "tile.oddkind"
    code, out, _ = command("fit", tmp_path / "tile", "--size", "32,32", "--out", model)
    assert (code, "was fitted to 40 files" in out) == (0, True)
    code, out, _ = command("evaluate", model, tmp_path / "tile", "--json")
    found = json.loads(out)["rows"][0]
    assert (code, found["n_normal"], found["n_anomalous"], found["auc"]) == (0, 5, 5, 1.0)


def plant_log(file, days, start, seed, *, fault=(0, 0), marked=False):
    """One row a minute of three sensors that depend on each other; the current drifts away between two rows."""
    draw, n = np.random.default_rng(seed), 1440 * days
    flow, pressure = 10 + 0.2 * draw.normal(size=n), 3 + 0.1 * np.sin(np.arange(n) / 229) + 0.02 * draw.normal(size=n)
    current, odd = 5 + 0.5 * (flow - 10) + 0.02 * draw.normal(size=n), np.zeros(n, int)
    odd[slice(*fault)] = 1
    current[odd == 1] += 1
    with file.open("w", newline="") as content:
        rows = csv.writer(content)
        rows.writerow(["timestamp", "flow", "pressure", "current", *(["anomaly"] if marked else [])])
        for row, values in enumerate(zip(flow, pressure, current, strict=True)):
            when = start + timedelta(minutes=row)
            rows.writerow([when, *(f"{value:.4f}" for value in values), *([odd[row]] if marked else [])])


def test_a_log_of_a_week_in_one_file(command, shown, tmp_path):
    plant_log(tmp_path / "week.csv", 7, datetime(2026, 1, 1), 0)
    plant_log(tmp_path / "next.csv", 1, datetime(2026, 1, 8), 1, fault=(720, 840))
    code, out, err = command("check", tmp_path / "week.csv")
    assert (code, err) == (0, "")
    for line in ("block: 2 h", "window: 12 min", "1 file is cut into 76 blocks of 2 h, with gaps of 12 min"):
        assert line in out
    model = tmp_path / "plant.oddkind"
    code, out, err = command("fit", tmp_path / "week.csv", "--out", model)
    assert (code, "fitted to 76 blocks, of which 19" in out, "1 file is cut into 76 blocks" in err) == (0, True, True)
    code, out, _ = command("score", model, tmp_path / "next.csv", "--json")
    found = [json.loads(line) for line in out.splitlines()]
    assert (code, len(found)) == (0, 12)
    odd = [row["path"] for row in found if row["anomalous"]]
    assert "next.csv, 2026-01-08 12:00:00–13:59:00" in odd
    code, out, _ = command("explain", model, tmp_path / "next.csv", "--most", 1)
    assert (code, "next.csv, 2026-01-08 12:00:00–13:59:00: anomalous" in out) == (0, True)
    assert "evidence: current, 1" in out


def test_a_log_whose_anomalies_are_marked_is_learnt_from_between_them(command, shown, tmp_path):
    plant_log(tmp_path / "plant.csv", 10, datetime(2026, 1, 1), 0, fault=(9000, 9400), marked=True)
    model = tmp_path / "plant.oddkind"
    code, _, err = command("fit", tmp_path / "plant.csv", "--out", model, "--block", "none")
    assert (code, "--block 10min, for example, cuts tables into blocks" in err) == (2, True)
    code, out, _ = command("fit", tmp_path / "plant.csv", "--out", model)
    assert (code, "column left out: anomaly: looks like a label" in out) == (0, True)
    code, out, _ = command("evaluate", model, tmp_path / "plant.csv", "--json")
    found = json.loads(out)["rows"][0]
    assert (code, found["n_anomalous"] >= 3, found["found"]) == (0, True, 1.0)
