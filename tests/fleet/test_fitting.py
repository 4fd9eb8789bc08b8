"""Fleets: each model is the one fitted alone, whatever is fitted beside it."""

import shutil
import warnings

import numpy as np
import pytest
from fleet_machines import MACHINES, content
from joblib import parallel_config
from numpy.testing import assert_array_equal
from problems import kinds, pictures
from sklearn.base import clone

from oddkind import ConcernWarning, Detector, Fleet, InputError, PromiseWarning, Samples, write_fleet
from oddkind.fleet import fitting
from oddkind.fleet.fitting import compact_detector

# That of the machine with 7 samples.
pytestmark = pytest.mark.filterwarnings("ignore:.*raise no alarm:oddkind.PromiseWarning")


def alone(name, detector):
    samples = MACHINES[name]
    return clone(detector).fit(samples.inputs, samples.labels, samples.groups).model_


@pytest.mark.parametrize("name", ["pump 0", "pump 7"])
def test_a_machine_of_a_fleet_is_to_the_bit_the_detector_fitted_alone(fleet_file, compact, name):
    expected, found = alone(name, compact), Fleet(fleet_file, runtime="torch")[name]
    inputs = MACHINES["pump 3"].inputs
    assert_array_equal(found.anomaly_score(inputs), expected.anomaly_score(inputs))
    assert_array_equal(found.p_value(inputs), expected.p_value(inputs))
    assert_array_equal(found.report.calibration_rows, expected.report.calibration_rows)


def test_without_torch_a_machine_decides_alike(fleet_file):
    inputs = MACHINES["pump 3"].inputs
    graphs, torch = Fleet(fleet_file), Fleet(fleet_file, runtime="torch")
    for name in MACHINES:
        assert type(graphs[name].folds[0].members[0]).__name__ == "OnnxForward"
        assert_array_equal(graphs[name].p_value(inputs), torch[name].p_value(inputs))


@pytest.mark.parametrize("stack", [1, 3])
def test_the_models_do_not_depend_on_the_size_of_a_stack(fleet_file, compact, tmp_path, monkeypatch, stack):
    monkeypatch.setattr(fitting, "STACK", stack)
    write_fleet(tmp_path / "other", MACHINES, compact)
    assert content(Fleet(tmp_path / "other")) == content(Fleet(fleet_file))


@pytest.mark.slow
def test_the_models_do_not_depend_on_the_number_of_processes(fleet_file, compact, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "STACK", 4)
    with parallel_config(n_jobs=2):
        write_fleet(tmp_path / "other", MACHINES, compact)
    assert content(Fleet(tmp_path / "other")) == content(Fleet(fleet_file))


def test_one_machine_is_fitted_again_without_touching_the_rest(fleet_file, compact, tmp_path):
    file = tmp_path / "pumps.fleet"
    shutil.copy(fleet_file, file)
    before = content(Fleet(file))
    changed = MACHINES | {"pump 3": Samples(kinds(90, 70)[0]), "new": Samples(kinds(80, 71)[0])}
    summary = write_fleet(file, changed, compact, only=["pump 3", "new"])
    after = content(Fleet(file))
    assert summary.fitted == 2
    assert after.keys() - before.keys() == {"new"}
    assert [name for name in before if before[name] != after[name]] == ["pump 3"]
    write_fleet(file, MACHINES, compact, only=["pump 3"])
    assert content(Fleet(file))["pump 3"] == before["pump 3"]


def test_machines_are_asked_for_stack_by_stack(compact, tmp_path, monkeypatch):
    monkeypatch.setattr(fitting, "STACK", 2)
    asked = []

    def given(name):
        def samples():
            asked.append(name)
            return MACHINES[name]

        return samples

    progress = []
    machines = {name: given(name) for name in [f"pump {number}" for number in range(6)]}
    write_fleet(tmp_path / "f", machines, compact, on_progress=lambda done: progress.append((done, len(asked))))
    # The first is asked for once more, for its shape is not asked for: a detector is given.
    assert asked == [*machines]
    assert [count for _, count in progress] == [2, 2, 4, 4, 6, 6]
    assert progress[-1][0] == 1


def test_machines_of_other_forms_have_models_of_their_own(tmp_path):
    labelled = Samples(*kinds(120, 3))
    machines = {"a": Samples(kinds(120)[0]), "b": labelled, "c": Samples(kinds(120)[0][:, :3])}
    write_fleet(tmp_path / "f", machines)
    fleet = Fleet(tmp_path / "f")
    assert fleet["b"].task.labels.tolist() == [0, 1, 2]
    assert fleet["c"].inputs.shape == (3,)
    expected = compact_detector().fit(labelled.inputs, labelled.labels).model_
    found = Fleet(tmp_path / "f", runtime="torch")["b"]
    assert_array_equal(found.p_value(*kinds(40, 5)), expected.p_value(*kinds(40, 5)))


def test_pictures_get_the_usual_detector(tmp_path):
    machines = {name: Samples(*pictures(60, seed)) for seed, name in enumerate("ab")}
    write_fleet(tmp_path / "f", machines, Detector(epochs=1, random_state=0))
    expected = Detector(epochs=1, random_state=0).fit(*pictures(60, 1)).model_
    found = Fleet(tmp_path / "f", runtime="torch")["b"]
    assert_array_equal(found.p_value(*pictures(20, 4)), expected.p_value(*pictures(20, 4)))


# --- refusals ---


def test_a_machine_that_cannot_be_fitted_is_named_and_nothing_is_written(compact, tmp_path):
    machines = MACHINES | {"pump 9": Samples(np.full((60, 4), np.nan))}
    (tmp_path / "f").write_bytes(b"before")
    with pytest.raises(InputError, match=r"pump 9: .*NaN"):
        write_fleet(tmp_path / "f", machines, compact)
    assert (tmp_path / "f").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_machines_that_cannot_be_fitted_may_be_left_out(fleet_file, compact, tmp_path):
    def unreadable():
        raise InputError("no file of it can be read")

    bad = {"x": unreadable, "pump 0: again": Samples(np.full((60, 4), np.nan)), "one": Samples(np.zeros((1, 4)))}
    refused = {}
    summary = write_fleet(tmp_path / "f", bad | MACHINES, compact, on_refused=refused.__setitem__)
    assert refused == summary.refused
    assert [*refused] == [*bad]
    assert refused["x"] == "no file of it can be read"
    assert content(Fleet(tmp_path / "f")) == content(Fleet(fleet_file))


def test_a_machine_that_cannot_be_trained_does_not_spoil_its_stack(fleet_file, compact, tmp_path):
    # Refused only once it is planned: each label is in one group.
    groups = np.repeat([0, 1], 30)
    bad = {"bad": Samples(kinds(60)[0], groups, groups=groups)}
    refused = {}
    write_fleet(tmp_path / "f", MACHINES | bad, compact, on_refused=refused.__setitem__, least=0)
    assert "the only one of some label" in refused["bad"]
    assert content(Fleet(tmp_path / "f"))["pump 5"] == content(Fleet(fleet_file))["pump 5"]


@pytest.mark.parametrize(
    ("machines", "detector", "message"),
    [
        ({}, None, "there are no machines"),
        ({"a": Samples(np.zeros((1, 4)))}, None, "a: "),
        ({"a": MACHINES["few"]}, Detector(), "random_state=None"),
        ({"a": MACHINES["few"]}, Detector(random_state=0, network=lambda *_: None), "network is one of your own"),
    ],
)
def test_what_makes_no_fleet_is_refused(tmp_path, machines, detector, message):
    with pytest.raises(InputError, match=message):
        write_fleet(tmp_path / "f", machines, detector)
    assert not [*tmp_path.iterdir()]


def test_only_machines_that_are_given_can_be_fitted_again(fleet_file, compact):
    before = fleet_file.read_bytes()
    with pytest.raises(InputError, match="no machine 'pump 99' among the 10"):
        write_fleet(fleet_file, MACHINES, compact, only=["pump 99"])
    assert fleet_file.read_bytes() == before


def test_warnings_name_the_machines_once_for_each_kind(tmp_path):
    machines = {name: Samples(np.r_[kinds(150, seed)[0], [[1e6, 0, 0, 0]]]) for seed, name in enumerate("abc")}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        write_fleet(tmp_path / "f", machines)
    texts = [str(one.message) for one in said if one.category in (ConcernWarning, PromiseWarning)]
    assert len(texts) == len({text.partition(":")[2] for text in texts}) > 0, texts
    assert any("a" in text.partition(":")[0] for text in texts)
