import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from oddkind.model.alarm_rate import AlarmRate, together
from oddkind.model.conformal import alarms, p_values


def after(n, n_alarms, **given):
    counted = AlarmRate(**{"n_calibration": 99, "false_alarm_rate": 0.05} | given)
    for number in range(n):
        counted.add(number < n_alarms)
    return counted


@given(st.integers(1, 200), st.integers(0, 200))
def test_the_bounds_enclose_what_was_seen(n, n_alarms):
    counted = after(n, min(n, n_alarms))
    low, high = counted.bounds()
    assert 0 <= low <= min(n, n_alarms) / n <= high <= 1
    wider = counted.bounds(0.001)
    assert wider[0] <= low
    assert wider[1] >= high


def test_the_bounds_are_where_the_martingale_reaches_its_limit():
    counted = after(100, 12)
    for edge in counted.bounds(0.05):
        mixture = math.exp(
            math.lgamma(12.5) + math.lgamma(88.5) - math.lgamma(101) - 2 * math.lgamma(0.5) + math.lgamma(1)
        )
        assert_allclose(mixture / (edge**12 * (1 - edge) ** 88), 20, rtol=1e-6)


def test_the_bounds_are_wider_than_for_one_look():
    low, high = after(200, 10).bounds(0.05)
    exact = stats.binomtest(10, 200).proportion_ci(0.95)
    assert low < exact.low
    assert high > exact.high


def test_without_samples_nothing_is_known():
    assert AlarmRate(99, 0.05).bounds() == (0.0, 1.0)


def test_the_evidence_multiplies_fair_bets():
    # q₀ is the exact chance of an alarm given the alarms before it: of k = 5 from 100, and what was seen.
    counted = after(1, 1)
    assert_allclose(counted.evidence, 0.5 / 0.05)
    counted.add(True)
    assert_allclose(counted.evidence, 0.5 / 0.05 * (1.5 / 2) / (6 / 101))


@pytest.mark.parametrize(("n", "rate"), [(19, 0.05), (99, 0.05), (39, 0.1)])
def test_a_promise_that_is_kept_rarely_looks_broken(draw, n, rate):
    runs, broken, outside = 300, 0, 0
    for _ in range(runs):
        held_out, new = draw.random(n), draw.random(200)
        true = 1 - np.sort(held_out)[-math.floor(round(rate * (n + 1), 9))]
        counted = AlarmRate(n, rate)
        ever = wrong = False
        for number, alarm in enumerate(alarms(p_values(new, held_out), rate)):
            counted.add(bool(alarm))
            ever = ever or counted.evidence >= 100
            if number % 20 == 19:
                low, high = counted.bounds()
                wrong = wrong or not low <= true <= high
        broken, outside = broken + ever, outside + wrong
    for count in (broken, outside):
        assert stats.binomtest(count, runs, 0.01, alternative="greater").pvalue > 1e-3


def test_a_promise_that_is_broken_is_seen():
    assert after(60, 30).evidence > 100


def test_few_alarms_are_no_evidence():
    assert after(2000, 0).evidence <= 1


def test_a_rate_that_raises_no_alarm_has_no_evidence():
    assert after(50, 0, n_calibration=5).evidence == 1


def test_labels_are_joined():
    first, second = after(60, 20), after(30, 1, n_calibration=39)
    joined = together([first, second])
    assert (joined.n, joined.n_alarms) == (90, 21)
    assert_allclose(joined.evidence, first.evidence * second.evidence)
