"""`oddkind fleet`, as from a shell."""

import csv
import json
import shutil

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from problems import kinds
from pyarrow import parquet

from oddkind import Fleet, fit_files, score_files, source_of
from oddkind.fleet.fitting import compact_detector


def vectors(folder, n, seed=0, shift=0.0, odd=0.0, first=0):
    """Write n vectors, a file each."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, vector in enumerate(kinds(n, seed)[0] + shift + [0, 0, 0, odd], start=first):
        np.save(folder / f"{number:03}.npy", vector.astype(np.float32))


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    for number in range(3):
        vectors(folder / f"pump {number}", 60, number, number)
    vectors(folder / "few", 21, 9, 5)
    return folder


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """New files: pump 1 is broken, pump 2 is missing, pump 3 is new."""
    folder = tmp_path_factory.mktemp("new")
    for name, seed, shift in (("pump 0", 20, 0), ("pump 1", 21, 1), ("pump 3", 23, 3), ("few", 24, 5)):
        vectors(folder / name / "good", 20, seed, shift)
        vectors(folder / name / "bad", 20, seed + 10, shift, 9.0 if name != "pump 0" else 4.0)
    return folder


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, train):
    from typer.testing import CliRunner

    from oddkind.cli.main import app

    file = tmp_path_factory.mktemp("fleet") / "pumps.fleet"
    result = CliRunner().invoke(app, ["fleet", "fit", str(train), "--out", str(file)])
    assert result.exit_code == 0, result.output
    return file


@pytest.fixture
def fleet(fitted, tmp_path):
    return shutil.copy(fitted, tmp_path / "pumps.fleet")


def test_a_fleet_is_fitted_to_folders(command, train, tmp_path):
    out = tmp_path / "pumps.fleet"
    code, said, err = command("fleet", "fit", train, "--out", out)
    assert (code, err) == (0, "")
    assert f"{out}: 4 machines fitted; " in said
    assert (
        "1 of them borrow, because they have too little data, such as few: it has 21 groups of samples, fewer than 38"
        in said
    )
    facts = json.loads(command("fleet", "fit", train, "--out", out, "--json")[1])
    assert facts["machines"] == facts["fitted"] == 4
    assert facts["borrowed"] == {"few": "it has 21 groups of samples, fewer than 38"}
    assert facts["bytes"] == out.stat().st_size
    assert facts["refused"] == facts["refused_files"] == {}


def test_a_machine_of_a_fleet_says_what_the_same_detector_says_that_was_fitted_to_its_files(fleet, train, new):
    source = source_of(train / "pump 1", kind="arrays")
    expected = fit_files(source.entries(train / "pump 1")[0], source, compact_detector())
    found = Fleet(fleet, runtime="torch")["pump 1"]
    files, _ = source.entries(new / "pump 1")
    verdicts = [[vars(one) | {"label": None} for one in score_files(files, model)] for model in (expected, found)]
    assert verdicts[0] == verdicts[1]


def test_the_table_of_a_fleet(command, fleet, new, tmp_path):
    out = tmp_path / "states.csv"
    code, said, err = command("fleet", "score", fleet, new, "--out", out)
    assert (code, err) == (0, "")
    assert "Machines: 3 with an alarm, 1 new (no model), 1 missing (no data)." in said
    assert "borrows: its network learnt from so many other machines" in said
    assert "--order names one" in said
    with out.open(encoding="utf-8") as content:
        rows = {row["machine"]: row for row in csv.DictReader(content)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "few": "alarm",
        "pump 0": "alarm",
        "pump 1": "alarm",
        "pump 2": "missing",
        "pump 3": "new",
    }
    content = json.loads(command("fleet", "score", fleet, new, "--json")[1])
    assert content["counts"] == {"alarm": 3, "drift": 0, "new": 1, "missing": 1, "learnt": 0, "unread": 0, "ok": 0}
    assert [one["machine"] for one in content["machines"]] == sorted(rows)
    assert content["machines"][2]["items"] == 40
    command("fleet", "score", fleet, new, "--out", tmp_path / "states.parquet")
    assert parquet.read_table(tmp_path / "states.parquet").num_rows == 5


def test_drift_is_looked_for_where_files_have_an_order(command, fleet, new):
    found = json.loads(command("fleet", "score", fleet, new, "--order", "name", "--json")[1])
    states = {one["machine"]: one for one in found["machines"]}
    assert states["pump 1"]["state"] == "alarm, drift"
    assert states["pump 1"]["evidence"] > 100


def test_a_manifest_names_machines_and_times(command, train, tmp_path):
    rows = [f"{name}/{number:03}.npy,{name[-1]},{number}" for number in range(60) for name in ("pump 0", "pump 1")]
    for name in ("pump 0", "pump 1"):
        shutil.copytree(train / name, tmp_path / name)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text("\n".join(["path,unit,time", *rows]))
    out = tmp_path / "f.fleet"
    code, _, err = command("fleet", "fit", manifest, "--machine-field", "unit", "--out", out)
    assert (code, err) == (0, "")
    assert [*Fleet(out)] == ["0", "1"]
    found = json.loads(command("fleet", "score", out, manifest, "--json")[1])["machines"]
    # All was learnt from or held out.
    assert [(one["state"], one["items"], one["learnt"]) for one in found] == [("learnt", 0, 60)] * 2


def test_the_machines_of_a_fleet_are_evaluated(command, fleet, new):
    code, said, err = command("fleet", "evaluate", fleet, new)
    assert (code, err) == (0, "")
    for word in ("pump 0", "pump 1", "mean", "DeLong", "1 machines are not counted, such as pump 3: the fleet has no"):
        assert word in said
    content = json.loads(command("fleet", "evaluate", fleet, new, "--json")[1])
    rows = {row["machine"]: row for row in content["machines"]}
    assert [*rows] == ["few", "pump 0", "pump 1"]
    assert all(row["n_normal"] == row["n_anomalous"] == 20 for row in rows.values())
    assert 0.8 < rows["pump 0"]["auc"] <= 1
    overall = content["overall"]
    assert overall["machines"] == 3
    assert overall["auc"] == pytest.approx(np.mean([row["auc"] for row in rows.values()]))
    assert overall["interval"][0] <= overall["auc"] <= overall["interval"][1]
    assert overall["found"] == pytest.approx(np.mean([row["found"] for row in rows.values()]))
    assert [*content["skipped"]] == ["pump 3"]


def test_one_machine_is_fitted_again(command, fleet, train, tmp_path):
    changed = tmp_path / "train"
    shutil.copytree(train, changed)
    vectors(changed / "pump 1", 30, 77, 1, first=60)
    inputs = kinds(10)[0]
    before = {name: model.anomaly_score(inputs) for name, model in Fleet(fleet).items()}
    code, said, err = command("fleet", "fit", changed, "--out", fleet, "--machine", "pump 1")
    assert (code, err) == (0, "")
    assert "1 machine fitted, and now holds 4" in said
    after = Fleet(fleet)
    for name in ("pump 0", "pump 2", "few"):
        assert_array_equal(after[name].anomaly_score(inputs), before[name])
    assert after.facts()["pump 1"].samples == 90


def test_new_machines_are_added(command, shown, fleet, new):
    code, said, err = command("fleet", "fit", new, "--out", fleet, "--new")
    assert code == 0
    assert "1 machine fitted, and now holds 5" in said
    assert "1 of 1 machines raise no alarm, such as pump 3" in err
    assert "pump 3" in Fleet(fleet)
    code, _, err = command("fleet", "fit", new, "--out", fleet, "--new")
    assert code == 2
    assert "nothing is new" in err


def test_a_full_detector_may_be_chosen(command, train, tmp_path):
    few = tmp_path / "train"
    shutil.copytree(train / "pump 0", few / "pump 0")
    assert command("fleet", "fit", few, "--out", tmp_path / "f", "--full")[0] == 0
    assert Fleet(tmp_path / "f").about["parameters"]["score_function"] == "auto"


def test_machines_that_cannot_be_fitted_are_named(command, train, tmp_path):
    some = tmp_path / "train"
    shutil.copytree(train, some)
    (some / "one").mkdir()
    np.save(some / "one" / "0.npy", np.zeros(4, np.float32))
    (some / "unread").mkdir()
    (some / "unread" / "0.npy").write_bytes(b"nothing")
    code, said, err = command("fleet", "fit", some, "--out", tmp_path / "f")
    assert code == 0
    assert "4 machines fitted" in said
    assert "not fitted: one: it has 1 sample; at least 2 are needed" in err
    assert "not fitted: unread: none of 1 arrays can be read; unread/0.npy" in err
    code, _, err = command("fleet", "fit", some, "--out", tmp_path / "g", "--strict")
    assert code == 2
    assert "one: it has 1 sample" in err
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "{new}", "--out", "{fleet}", "--machine", "pump 9"], "--machine 'pump 9': there are no normal files"),
        (["fit", "{new}", "--out", "{fleet}", "--new", "--full"], "--full is that of the fleet"),
        (["fit", "{new}", "--out", "{fleet}", "--machine", "few", "--size", "8,8"], "--size is that of the fleet"),
        (["fit", "{new}", "--out", "{new}/none.fleet", "--new"], "none.fleet: does not exist"),
        (["fit", "{new}", "--out", "{new}/no/f.fleet"], "cannot be written"),
        (["fit", "{new}", "--out", "{fleet}", "--machine-field", "unit"], "names the field 'unit'"),
        (["score", "{new}", "{new}"], "is not a file; name a fleet"),
        (["score", "{new}/pump 0/good/000.npy", "{new}"], "not a fleet"),
        (["score", "{fleet}", "{new}", "--out", "{new}/x.txt"], ".csv or .parquet"),
        (["score", "{fleet}", "{new}", "--order", "when"], "--order names the column 'when'"),
        (["score", "{fleet}", "{new}", "--false-discovery-rate", "3"], "false_discovery_rate=3"),
        (["score", "{fleet}", "{new}", "--false-alarm-rate", "3"], "false_alarm_rate=3"),
        (["evaluate", "{fleet}", "{train}"], "none of 4 machines can be evaluated"),
    ],
)
def test_bad_input_ends_with_one_line(command, fleet, new, train, arguments, message):
    before = {path: path.read_bytes() for path in (fleet, *sorted(new.rglob("*.*"))) if path.is_file()}
    given = [one.format(new=new, fleet=fleet, train=train) for one in arguments]
    code, said, err = command("fleet", *given)
    assert (code, said) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert "Traceback" not in err
    assert before == {path: path.read_bytes() for path in (fleet, *sorted(new.rglob("*.*"))) if path.is_file()}
