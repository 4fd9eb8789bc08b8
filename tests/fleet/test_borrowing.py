"""Machines that borrow: networks of many machines, held-out samples of their own."""

import numpy as np
import pytest
from fleet_machines import MACHINES, later
from numpy.testing import assert_array_equal
from problems import kinds

from oddkind import Fleet, PromiseWarning, Samples, write_fleet
from oddkind.fleet.borrowing import fit_borrowers
from oddkind.fleet.fitting import compact_detector

# That of the machine with 7 samples.
pytestmark = pytest.mark.filterwarnings("ignore:.*raise no alarm:oddkind.PromiseWarning")


def lenders():
    return {name: samples for name, samples in MACHINES.items() if name.startswith("pump")}


def test_machines_with_too_little_data_borrow_and_say_so(fleet_file, compact, tmp_path):
    summary = write_fleet(tmp_path / "f", MACHINES, compact)
    assert summary.borrowed == {
        "few": "it has 25 samples, fewer than 38",
        "fewer": "it has 7 samples, fewer than 38",
    }
    assert summary.unpromised == ["fewer"]
    fleet = Fleet(fleet_file)
    facts = fleet.facts()
    assert {name for name, own in facts.items() if own.borrows_from} == {"few", "fewer"}
    assert facts["few"].borrows_from == 9
    assert "few" in facts["few"].reason
    assert fleet["few"].report.parameters["borrows_from"] == [*lenders(), "fewer"]
    assert "borrows_from" not in fleet["pump 1"].report.parameters


def test_a_machine_that_borrows_is_compared_with_its_own_samples_alone(fleet_file):
    model = Fleet(fleet_file)["few"]
    held_out = model.calibration.labelled
    assert len(held_out.scores) == 19  # enough for 0.05
    report = model.report
    assert_array_equal(np.sort(np.r_[report.training_rows, report.calibration_rows]), np.arange(25))
    own = MACHINES["few"].inputs[report.calibration_rows]
    assert_array_equal(model.anomaly_score(own, np.full(19, "few")), held_out.scores)
    # What it held out are the p-values of a permutation: 2/20 to 20/20.
    assert sorted(np.round(model.p_value(own, np.full(19, "few")) * 20)) == [*range(2, 21)]


def test_a_machine_that_borrows_finds_what_is_not_its_own(fleet_file):
    model = Fleet(fleet_file)["few"]

    def alarms(samples):
        return (model.p_value(samples.inputs, np.full(len(samples), "few")) <= 0.05).mean()

    assert alarms(later("pump 3")) > 0.9
    assert alarms(later("few")) < 0.3


def test_the_false_alarm_rate_of_machines_that_borrow_is_kept_on_average():
    detector, rates = compact_detector(false_alarm_rate=0.1), []
    for seed in range(12):
        own = {f"few {number}": Samples(kinds(24, 1000 + 10 * seed + number)[0]) for number in range(4)}
        for number, (name, model) in enumerate(fit_borrowers(own, lenders(), detector).items()):
            new = kinds(100, 5000 + 10 * seed + number)[0]
            rates.append((model.p_value(new, np.full(100, name)) <= 0.1).mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) < 0.1 + 3 * error
    assert np.mean(rates) > 0.02


def test_whole_groups_are_held_out():
    groups = np.arange(24) // 4
    own = {"few": Samples(kinds(24)[0], groups=groups)}
    model = fit_borrowers(own, lenders(), compact_detector())["few"]
    report = model.report
    assert not {*groups[report.training_rows]} & {*groups[report.calibration_rows]}
    assert model.calibration.grouped
    assert model.calibration.labelled.count == 5  # of 6: one is learnt from


def test_labels_and_groups_of_other_machines_do_not_mix():
    own = {name: Samples(kinds(24, seed)[0], kinds(24)[1], groups=np.arange(24) // 2) for seed, name in enumerate("ab")}
    models = fit_borrowers(own, {}, compact_detector())
    assert models["a"].task.labels.tolist() == ["a", "b"]
    assert [models[name].calibration.labelled.count for name in "ab"] == [11, 11]


def test_a_machine_that_nobody_lends_to_is_fitted_alone(tmp_path):
    with pytest.warns(PromiseWarning, match="1 of 1 machines raise no alarm, such as few"):
        summary = write_fleet(tmp_path / "f", {"few": MACHINES["few"]})
    assert summary.borrowed == {}
    assert Fleet(tmp_path / "f").facts()["few"].reason.endswith("and there is no machine to borrow from")


def test_a_machine_of_another_shape_does_not_lend(tmp_path):
    machines = {"wide": Samples(np.random.default_rng(0).normal(size=(80, 9)))} | {"few": MACHINES["few"]}
    machines["pump 1"] = MACHINES["pump 1"]
    write_fleet(tmp_path / "f", machines)
    assert Fleet(tmp_path / "f")["few"].report.parameters["borrows_from"] == ["pump 1"]


def test_a_single_sample_is_not_enough_to_borrow(tmp_path):
    refused = {}
    write_fleet(tmp_path / "f", MACHINES | {"one": Samples(np.zeros((1, 4)))}, on_refused=refused.__setitem__)
    assert [*refused] == ["one"]
    assert "one" not in Fleet(tmp_path / "f")
