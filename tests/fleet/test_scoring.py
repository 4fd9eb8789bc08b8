"""What a fleet says of new data."""

import statistics

import numpy as np
import pytest
from fleet_machines import MACHINES, later
from numpy.testing import assert_allclose
from problems import kinds

from oddkind import Fleet, InputError, Samples, discoveries, false_alarm_test, score_fleet
from oddkind.fleet.scoring import auc_interval
from oddkind.metrics import auc


@pytest.fixture(scope="module")
def fleet(fleet_file):
    return Fleet(fleet_file)


def states(fleet, machines, **options):
    return {one.machine: one for one in score_fleet(fleet, machines, **options)}


def test_machines_alarm_drift_are_new_or_missing(fleet):
    ok = {name: later(name) for name in MACHINES if name not in ("pump 6", "pump 7")}
    calm = 2 + 6 * np.eye(3, 4)[np.arange(200) % 3] + np.random.default_rng(0).normal(0, 0.3, (200, 4))
    given = ok | {"pump 1": Samples(later("pump 1").inputs + np.array([0, 0, 0, 9])), "pump 2": Samples(calm)}
    given |= {"new one": later("pump 1")}
    found = states(fleet, given)
    assert [*found] == sorted({*MACHINES, "new one"})
    assert found["pump 1"].state == "alarm, drift"
    assert found["pump 1"].alarms == found["pump 1"].items == 60
    assert found["pump 2"].state == "drift"  # it varies less than it did, so nothing alarms
    assert (found["new one"].state, found["new one"].items) == ("new", 60)
    assert found["pump 6"].state == found["pump 7"].state == "missing"
    assert sum(found[name].state == "ok" for name in ("pump 0", "pump 3", "pump 4", "pump 5")) >= 3
    assert found["few"].borrows_from == 9
    assert found["fewer"].p_value is None  # too few are held out


def test_the_chance_of_the_alarms_of_a_machine(fleet):
    found, model, new = states(fleet, {"pump 3": later("pump 3")})["pump 3"], fleet["pump 3"], later("pump 3").inputs
    n_alarms = int((model.p_value(new) <= 0.05 * (1 + 1e-9)).sum())
    assert found.alarms == n_alarms
    assert found.p_value == false_alarm_test(n_alarms, 60, model.calibration.labelled.count, 0.05)


def test_a_group_counts_once(fleet):
    new = later("pump 3", 40).inputs
    alone = states(fleet, {"pump 3": Samples(new)})["pump 3"]
    twice = states(fleet, {"pump 3": Samples(np.repeat(new, 3, 0), groups=np.repeat(np.arange(40), 3))})["pump 3"]
    assert (twice.items, twice.alarms) == (3 * alone.items, 3 * alone.alarms)
    assert twice.p_value == alone.p_value
    assert twice.evidence == alone.evidence


def test_another_rate_and_a_false_discovery_rate(fleet):
    given = {name: later(name) for name in MACHINES}
    given["pump 1"] = Samples(given["pump 1"].inputs + np.array([0, 0, 0, 9]))
    for rate in (0.05, 0.2):
        found = states(fleet, given, false_alarm_rate=rate, false_discovery_rate=0.1)
        p = {name: one.p_value for name, one in found.items() if one.p_value is not None}
        called = {name for name, flag in zip(p, discoveries([*p.values()], 0.1), strict=True) if flag}
        assert called == {name for name, one in found.items() if "alarm" in one.state}
        assert "pump 1" in called
    with pytest.raises(InputError, match="false_discovery_rate=2"):
        score_fleet(fleet, given, false_discovery_rate=2)


def test_samples_that_cannot_be_scored_name_the_machine(fleet):
    with pytest.raises(InputError, match=r"machine pump 3: .*NaN"):
        score_fleet(fleet, {"pump 3": Samples(np.full((3, 4), np.nan))})


def test_samples_are_asked_for_one_machine_after_another(fleet):
    progress = []
    given = {"pump 1": lambda: later("pump 1"), "pump 2": lambda: later("pump 2")}
    score_fleet(fleet, given, on_progress=progress.append)
    assert progress == sorted(progress)
    assert progress[-1] == 1


def test_machines_as_usual_seldom_alarm_or_drift(fleet):
    n = drifts = odd = 0
    for seed in range(25):
        given = {f"pump {number}": Samples(kinds(60, 1000 + 8 * seed + number)[0] + number) for number in range(8)}
        for one in states(fleet, given).values():
            if one.items:
                n, odd, drifts = n + 1, odd + ("alarm" in one.state), drifts + ("drift" in one.state)
    assert n == 200
    # The machines are eight, drawn once, so each may be unlucky with what it held out.
    assert odd / n < 0.2
    assert drifts / n < 0.05


def test_the_interval_of_an_auc_covers_it():
    truth, covered = statistics.NormalDist().cdf(2**-0.5), []
    for seed in range(400):
        draw = np.random.default_rng(seed)
        anomalous = np.arange(80) >= 50
        scores = draw.normal(size=80) + anomalous
        low, high = auc_interval(anomalous, scores)
        assert low < auc(anomalous, scores) < high
        covered.append(low <= truth <= high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_an_auc_of_1_has_no_interval():
    assert auc_interval(np.array([False, False, True, True]), np.arange(4.0)) is None
    assert auc_interval(np.array([False, False, True]), np.array([0, 2, 1.0])) is None


def test_the_variance_is_that_of_delong():
    draw = np.random.default_rng(0)
    anomalous, scores = np.arange(40) >= 25, draw.integers(6, size=40).astype(float)
    normal, odd = scores[:25], scores[25:]
    wins = (odd[:, None] > normal) + 0.5 * (odd[:, None] == normal)
    variance = wins.mean(1).var(ddof=1) / 15 + wins.mean(0).var(ddof=1) / 25
    low, high = (np.log(end / (1 - end)) for end in auc_interval(anomalous, scores))
    value = wins.mean()
    assert_allclose((high - low) / 2, 1.959964 * np.sqrt(variance) / (value * (1 - value)), rtol=1e-6)
