"""The file of a fleet: read one machine at a time, updated as a whole or not at all, refused when damaged."""

import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fleet_machines import MACHINES, content
from numpy.testing import assert_array_equal
from problems import kinds

from oddkind import Fleet, InputError, Samples, explain, load, save, write_fleet
from oddkind.fleet import file as fleet_file_module

pytestmark = pytest.mark.filterwarnings("ignore:.*raise no alarm:oddkind.PromiseWarning")


@pytest.fixture
def copied(fleet_file, tmp_path):
    return Path(shutil.copy(fleet_file, tmp_path / "pumps.fleet"))


def test_a_fleet_is_a_mapping(fleet_file):
    with Fleet(fleet_file) as fleet:
        assert [*fleet] == sorted(MACHINES)
        assert len(fleet) == len(MACHINES)
        assert "pump 3" in fleet
        assert "pump 99" not in fleet
        assert 3 not in fleet
        with pytest.raises(KeyError, match="pump 99"):
            fleet["pump 99"]
        assert fleet.get("pump 99") is None
        assert {name: own.samples for name, own in fleet.facts().items()} == {
            name: len(samples) for name, samples in MACHINES.items()
        }
        assert fleet.about["parameters"]["score_function"] == "joint-mahalanobis"


def test_a_fleet_is_no_model_and_the_message_says_what_reads_it(fleet_file):
    with pytest.raises(InputError, match="is a fleet, not a model; 'oddkind fleet score' reads it"):
        load(fleet_file)


def test_a_fleet_that_was_closed_says_so(fleet_file):
    fleet = Fleet(fleet_file)
    fleet.close()
    with pytest.raises(InputError, match="closed"):
        len(fleet)


def test_a_machine_is_read_without_the_others(copied):
    with sqlite3.connect(copied) as connection:
        connection.execute("UPDATE machines SET model = zeroblob(length(model)) WHERE name != 'pump 3'")
    fleet = Fleet(copied)
    assert np.isfinite(fleet["pump 3"].anomaly_score(kinds(5)[0])).all()
    with pytest.raises(InputError, match=r"pumps\.fleet, machine pump 4: damaged"):
        fleet["pump 4"]


def test_a_fleet_travels_to_other_processes_as_its_path(fleet_file):
    fleet = Fleet(fleet_file, runtime="torch")
    assert len(pickle.dumps(fleet)) < 400
    again = pickle.loads(pickle.dumps(fleet))  # noqa: S301 - its own
    inputs = kinds(5)[0]
    assert_array_equal(again["pump 3"].anomaly_score(inputs), fleet["pump 3"].anomaly_score(inputs))


def test_a_machine_may_be_saved_as_a_model_of_its_own(fleet_file, tmp_path):
    inputs = kinds(9)[0]
    for runtime in ("onnx", "torch"):
        for name in ("pump 3", "few"):
            model = Fleet(fleet_file, runtime=runtime)[name]
            save(model, tmp_path / "one.oddkind")
            again = load(tmp_path / "one.oddkind", runtime=runtime)
            assert_array_equal(again.anomaly_score(inputs), model.anomaly_score(inputs))
            for one, other in zip(again.folds, model.folds, strict=True):
                assert one.report.parameters == other.report.parameters


def test_a_machine_can_explain(fleet_file):
    (found,) = explain(Fleet(fleet_file)["pump 3"], np.array([[3, 3, 3, 30.0]]))
    assert np.argmax(np.abs(found.evidence)) == 3


WITHOUT = """
import sys
import numpy as np
class Refuse:
    @staticmethod
    def find_spec(name, *_):
        if name.partition(".")[0] in ("torch", "scipy", "sklearn", "joblib", "onnx"):
            raise ModuleNotFoundError(f"{name} is refused here", name=name)
sys.meta_path.insert(0, Refuse)
from oddkind import Fleet, Samples, score_fleet
fleet, inputs = Fleet(sys.argv[1]), np.load(sys.argv[2])
np.savez(sys.argv[3], **{name: model.p_value(inputs) for name, model in fleet.items()})
states = score_fleet(fleet, {name: Samples(inputs) for name in fleet})
assert [one.machine for one in states] == [*fleet]
try:
    Fleet(sys.argv[1], runtime="torch")["pump 3"]
except ValueError as error:
    assert "machine pump 3: torch is not installed" in str(error), error
else:
    raise AssertionError
"""


@pytest.mark.slow
def test_a_fleet_is_scored_without_torch(fleet_file, tmp_path):
    inputs = np.random.default_rng(0).normal(size=(30, 4)) * 6
    np.save(tmp_path / "inputs.npy", inputs)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    files = fleet_file, tmp_path / "inputs.npy", tmp_path / "found.npz"
    subprocess.run([sys.executable, "-c", WITHOUT, *map(str, files)], check=True, env=environment)  # noqa: S603
    found = np.load(tmp_path / "found.npz")
    for name, model in Fleet(fleet_file, runtime="torch").items():
        assert_array_equal(found[name], model.p_value(inputs))


def test_what_machines_have_in_common_is_stored_once(fleet_file):
    with sqlite3.connect(fleet_file) as connection:
        parts = connection.execute("SELECT digest, length(content) FROM parts").fetchall()
        uses = dict(connection.execute("SELECT digest, count(*) FROM uses GROUP BY digest").fetchall())
    assert {digest for digest, _ in parts} == {*uses}
    assert max(uses.values()) == 8  # the graph of the machines that do not borrow


def test_the_room_of_what_was_replaced_is_used_again(copied, compact):
    def sizes():
        with sqlite3.connect(copied) as connection:
            unused = connection.execute("SELECT count(*) FROM parts WHERE digest NOT IN (SELECT digest FROM uses)")
            lost = connection.execute("SELECT count(*) FROM uses WHERE machine NOT IN (SELECT id FROM machines)")
            assert (unused.fetchone()[0], lost.fetchone()[0]) == (0, 0)
        return copied.stat().st_size

    found = []
    for seed in range(6):
        changed = MACHINES | {"few": Samples(kinds(30, seed)[0])}
        write_fleet(copied, changed, compact, only=["few", "pump 1"])
        found.append(sizes())
    assert found[-1] <= found[1] * 1.05


def test_it_is_read_where_nobody_may_write(copied):
    copied.chmod(0o444)
    copied.parent.chmod(0o555)
    try:
        assert len(Fleet(copied)) == len(MACHINES)
    finally:
        copied.parent.chmod(0o755)


# --- killed, and two at once ---

UPDATE = """
import sys, time
import sqlite3
from pathlib import Path
from oddkind import Samples
from oddkind.fleet import file as module
from oddkind.fleet.fitting import compact_detector, write_fleet
from fleet_machines import MACHINES
from problems import kinds

file, moment = Path(sys.argv[1]), sys.argv[2]
class Slow(sqlite3.Connection):  # writes pages as soon as they change, and stops at one moment
    def execute(self, statement, *given):
        if statement.startswith("BEGIN"):
            super().execute("PRAGMA cache_size = 1")
        found = super().execute(statement, *given)
        if moment in statement:
            print("now", flush=True)
            time.sleep(60)
        return found
connect = sqlite3.connect
sqlite3.connect = lambda *given, **named: connect(*given, factory=Slow, **named)
changed = {name: Samples(kinds(60, 9)[0] - 3) for name in ("pump 1", "pump 2", "new")}
write_fleet(file, changed, compact_detector(), only=[*changed])
"""
MOMENTS = ["INSERT INTO machines", "DELETE FROM main.machines", "INSERT INTO main.uses", "DELETE FROM main.parts"]


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_write_that_is_killed_leaves_the_fleet_as_it_was(copied, moment):
    before = content(Fleet(copied))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", UPDATE, str(copied), moment]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:  # noqa: S603
        assert process.stdout.readline() == b"now\n"
        process.send_signal(signal.SIGKILL)
    journal = copied.with_name(f"{copied.name}-journal")
    assert journal.exists() == (moment in MOMENTS[1:])  # pages of the fleet itself were overwritten
    assert content(Fleet(copied)) == before
    write_fleet(copied, {"pump 1": Samples(kinds(60)[0])}, only=["pump 1"])
    after = content(Fleet(copied))
    assert [name for name in before if before[name] != after[name]] == ["pump 1"]


def test_a_transaction_that_was_interrupted_is_taken_back(copied):
    """As a process leaves it that is killed once pages of the file are overwritten."""
    before, intact = content(Fleet(copied)), copied.read_bytes()
    connection = sqlite3.connect(copied, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE machines SET model = zeroblob(length(model))")
    journal = copied.with_name("pumps.fleet-journal")
    torn, torn_journal = copied.read_bytes(), journal.read_bytes()
    connection.close()
    assert torn != intact  # it had begun to write
    copied.write_bytes(torn)
    journal.write_bytes(torn_journal)
    assert content(Fleet(copied)) == before
    assert not journal.exists()


def test_a_new_fleet_in_place_of_an_interrupted_one_is_not_spoilt(copied, compact):
    connection = sqlite3.connect(copied, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.execute("UPDATE machines SET model = zeroblob(length(model))")
    journal = copied.with_name("pumps.fleet-journal")
    torn, torn_journal = copied.read_bytes(), journal.read_bytes()
    connection.close()
    copied.write_bytes(torn)
    journal.write_bytes(torn_journal)
    write_fleet(copied, {"pump 1": MACHINES["pump 1"]}, compact)
    assert [*Fleet(copied)] == ["pump 1"]
    assert np.isfinite(Fleet(copied)["pump 1"].anomaly_score(kinds(5)[0])).all()


def test_readers_see_the_fleet_before_or_after_an_update(copied, compact):
    reader = Fleet(copied)
    before = content(reader)
    write_fleet(copied, {"pump 1": Samples(kinds(60)[0])}, compact, only=["pump 1"])
    assert [name for name, own in content(reader).items() if own != before[name]] == ["pump 1"]


def test_two_processes_do_not_write_at_once(copied, compact, monkeypatch):
    monkeypatch.setattr(fleet_file_module, "LONGEST_WAIT", 0.1)
    before = copied.read_bytes()
    with sqlite3.connect(copied, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(InputError, match="another process is writing it"):
            write_fleet(copied, {"pump 1": MACHINES["pump 1"]}, compact, only=["pump 1"])
        assert time.monotonic() - started < 30
        other.execute("ROLLBACK")
    assert copied.read_bytes() == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


# --- damaged files ---


def damaged(file, statement):
    with sqlite3.connect(file) as connection:
        connection.executescript(statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA application_id = 1", "not a fleet"),
        ("PRAGMA user_version = 99", "format 99, written by a newer oddkind"),
        ("CREATE TABLE more (a)", "holds other tables"),
        ("CREATE TRIGGER t AFTER INSERT ON machines BEGIN DELETE FROM machines; END", "holds other tables"),
        ("DROP TABLE parts", "holds other tables"),
        ("UPDATE about SET value = '{'", "damaged"),
    ],
)
def test_a_file_of_another_form_is_refused(copied, statement, message):
    damaged(copied, statement)
    with pytest.raises(InputError, match=rf"pumps\.fleet: {message}"):
        Fleet(copied)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE machines SET size = 10", "damaged"),
        ("UPDATE machines SET size = 1 << 40", "damaged"),
        ("UPDATE machines SET size = 'many'", "damaged"),
        ("UPDATE machines SET model = 'text'", "damaged"),
        ("UPDATE machines SET model = x'00'", "damaged"),
        ("UPDATE parts SET content = x'00'", "a shared array is not what was saved"),
        ("DELETE FROM parts", "a shared array is not what was saved"),
    ],
)
def test_a_damaged_machine_is_named(copied, statement, message):
    damaged(copied, statement)
    with pytest.raises(InputError, match=rf"pumps\.fleet, machine pump 3: .*{message}"):
        Fleet(copied)["pump 3"]


def test_damaged_facts_are_refused(copied):
    damaged(copied, """UPDATE machines SET facts = '{"samples": 3, "other": 4}'""")
    with pytest.raises(InputError, match="damaged"):
        Fleet(copied).facts()


@pytest.mark.parametrize("content", [b"", b"text", b"SQLite format 3\0" + b"\0" * 5000])
def test_what_is_no_database_is_refused(tmp_path, content):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match="f: "):
        Fleet(tmp_path / "f")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Fleet(tmp_path / "f")
    with pytest.raises(InputError, match="is not a file"):
        Fleet(tmp_path)
    assert not [*tmp_path.iterdir()]


def test_mutated_bytes_are_refused_or_say_the_same(copied):
    """Whatever byte is changed: an InputError, or the same answers."""
    before, intact, draw = content(Fleet(copied)), copied.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(intact)
        for place in draw.integers(len(intact), size=3):
            changed[place] = draw.integers(256)
        copied.write_bytes(changed)
        try:
            fleet = Fleet(copied)
            fleet.facts()
            names = [*fleet]
        except InputError:
            continue
        for name in names:
            try:
                own = fleet[name]
            except (InputError, KeyError):
                continue
            inputs = np.linspace(-9, 9, 4 * 20).reshape(20, 4)
            assert own.anomaly_score(inputs).tobytes() == before.get(name), name
