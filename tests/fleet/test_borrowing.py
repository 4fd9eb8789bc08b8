"""Machines that borrow: networks of many machines, samples of their own."""

import numpy as np
import pytest
from fleet_machines import MACHINES, later
from numpy.testing import assert_array_equal
from problems import kinds

from oddkind import CrossModel, Fleet, PromiseWarning, Samples, write_fleet
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
    assert fleet["few"].folds[0].report.parameters["borrows_from"] == [*lenders(), "fewer"]
    assert "borrows_from" not in fleet["pump 1"].report.parameters


def test_a_machine_that_borrows_is_compared_with_its_own_samples_alone(fleet_file):
    model = Fleet(fleet_file, runtime="torch")["few"]
    assert isinstance(model, CrossModel)
    held_out = np.concatenate([fold.report.calibration_rows for fold in model.folds])
    assert_array_equal(np.sort(held_out), np.arange(25))  # each is held out once
    for fold in model.folds:
        report = fold.report
        assert_array_equal(np.setdiff1d(np.arange(25), report.calibration_rows), report.training_rows)
        own = MACHINES["few"].inputs[report.calibration_rows]
        for scores, labels in (
            (fold.calibration.labelled, np.full(len(own), "few")),
            (fold.calibration.unlabelled, None),
        ):
            assert_array_equal(fold.anomaly_score(own, labels), scores.scores)
        (arrays,) = fold.score.learnt[0]
        assert len(arrays["inputs"]) == len(report.training_rows)
        # It is 0 apart from what was learnt from, in the precision of the search.
        assert fold.anomaly_score(MACHINES["few"].inputs[report.training_rows]).max() < 1e-3


def test_a_machine_that_borrows_needs_no_label(fleet_file):
    model, inputs = Fleet(fleet_file)["few"], later("few").inputs
    assert_array_equal(model.p_value(inputs, np.full(len(inputs), "few")), model.p_value(inputs))


def test_a_machine_that_borrows_finds_what_is_not_its_own(fleet_file):
    model = Fleet(fleet_file)["few"]
    assert (model.p_value(later("pump 3").inputs) <= 0.05).mean() > 0.9
    assert (model.p_value(later("few").inputs) <= 0.05).mean() < 0.2


@pytest.mark.slow
def test_the_false_alarm_rate_of_machines_that_borrow_is_kept_on_average():
    detector, rates = compact_detector(false_alarm_rate=0.1), []
    for seed in range(12):
        own = {f"few {number}": Samples(kinds(24, 1000 + 10 * seed + number)[0]) for number in range(4)}
        for number, model in enumerate(fit_borrowers(own, lenders(), detector).values()):
            new = kinds(100, 5000 + 10 * seed + number)[0]
            rates.append((model.p_value(new) <= 0.1).mean())
    error = np.std(rates) / np.sqrt(len(rates))
    assert 0.02 < np.mean(rates) < 0.1 + 3 * error


def test_whole_groups_are_held_out():
    groups = np.arange(24) // 4
    own = {"few": Samples(kinds(24)[0], groups=groups)}
    model = fit_borrowers(own, lenders(), compact_detector())["few"]
    for fold in model.folds:
        assert not {*groups[fold.report.training_rows]} & {*groups[fold.report.calibration_rows]}
        assert fold.calibration.grouped
    assert model.calibration_sizes() == {None: 6}


def test_labels_and_groups_of_other_machines_do_not_mix():
    own = {name: Samples(kinds(24, seed)[0], kinds(24)[1], groups=np.arange(24) // 2) for seed, name in enumerate("ab")}
    models = fit_borrowers(own, {}, compact_detector())
    assert [models[name].task.labels.tolist() for name in "ab"] == [["a"], ["b"]]
    assert [models[name].calibration_sizes() for name in "ab"] == [{None: 12}] * 2


@pytest.mark.parametrize("n", [2, 3])
def test_very_few_samples_have_fewer_folds(n):
    own = {"few": Samples(kinds(n)[0]), "more": Samples(kinds(30, 2)[0])}
    models = fit_borrowers(own, lenders(), compact_detector())
    assert [len(models[name].folds) for name in own] == [n, 5]
    assert np.isfinite(models["few"].p_value(kinds(4)[0])).all()


def test_samples_of_a_single_group_are_held_out_one_by_one():
    own = {"few": Samples(kinds(10)[0], groups=np.zeros(10))}
    model = fit_borrowers(own, lenders(), compact_detector())["few"]
    assert len(model.folds) == 5
    assert model.promise_problem() is not None


def test_a_machine_that_nobody_lends_to_is_fitted_alone(tmp_path):
    with pytest.warns(PromiseWarning, match="1 of 1 machines raise no alarm, such as few"):
        summary = write_fleet(tmp_path / "f", {"few": MACHINES["few"]})
    assert summary.borrowed == {}
    assert Fleet(tmp_path / "f").facts()["few"].reason.endswith("and there is no machine to borrow from")


def test_a_machine_of_another_shape_does_not_lend(tmp_path):
    machines = {"wide": Samples(np.random.default_rng(0).normal(size=(80, 9)))} | {"few": MACHINES["few"]}
    machines["pump 1"] = MACHINES["pump 1"]
    write_fleet(tmp_path / "f", machines)
    assert Fleet(tmp_path / "f")["few"].folds[0].report.parameters["borrows_from"] == ["pump 1"]


def test_a_single_sample_is_not_enough_to_borrow(tmp_path):
    refused = {}
    write_fleet(tmp_path / "f", MACHINES | {"one": Samples(np.zeros((1, 4)))}, on_refused=refused.__setitem__)
    assert [*refused] == ["one"]
    assert "one" not in Fleet(tmp_path / "f")
