import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from oddkind.model.martingale import BETS, DRIFT, Capital, ConformalMartingale


def path(martingale, scores):
    """P-values, and the evidence after each."""
    found = [(martingale.add(score), martingale.evidence) for score in scores]
    return np.array(found).T


@pytest.mark.parametrize("levels", [None, 3], ids=["continuous", "many ties"])
def test_p_values_of_exchangeable_scores_are_independent_and_uniform(draw, levels):
    runs = []
    for run in range(800):
        scores = draw.gamma(2.0, size=11) if levels is None else draw.integers(levels, size=11)
        runs.append(path(ConformalMartingale({"": scores[:5]}, seed=run), scores[5:])[0])
    p = np.array(runs)
    for column in p.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    pairs = np.corrcoef(p.T)[np.triu_indices(6, 1)]
    assert np.abs(pairs).max() < 4 / math.sqrt(800)


def test_p_values_among_held_out_scores_alone_are_not_independent(draw):
    # What the martingale avoids: a held-out set that is low makes all p-values small.
    held_out, new = draw.normal(size=(5000, 5)), draw.normal(size=(5000, 2))
    p = (held_out[:, None] > new[:, :, None]).mean(-1)
    assert np.corrcoef(p.T)[0, 1] > 0.1


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 2**32))
def test_a_p_value_is_the_smoothed_rank_among_all_scores_before(scores, seed):
    martingale, known = ConformalMartingale({"": [0.0, 1.0]}, seed=seed), [0.0, 1.0]
    for score in scores:
        p = martingale.add(score)
        above, tied = sum(other > score for other in known), sum(other == score for other in known)
        assert above / (1 + len(known)) <= p <= (above + tied + 1) / (1 + len(known))
        known.append(score)


def test_all_of_the_capital_is_divided():
    assert math.isclose(sum(share for _, share in BETS), 1)


def test_one_step_is_as_the_formula_says():
    capital = Capital()
    capital.bet(0.2)
    bet = sum(share * stats.beta(*density).pdf(0.2) for density, share in BETS)
    assert_allclose(math.exp(capital.log_evidence), 0.5 + 0.5 * bet)
    capital.bet(0.7)
    first = sum(share * stats.beta(*density).pdf(0.2) * stats.beta(*density).pdf(0.7) for density, share in BETS)
    second = sum(share * stats.beta(*density).pdf(0.7) for density, share in BETS)
    assert_allclose(math.exp(capital.log_evidence), 1 / 3 + 0.5 * first + 1 / 6 * second)


def test_the_capital_is_1_on_average_at_every_time(draw):
    # Stratified in the first p-value, because the mean of a martingale is that of its rare large values.
    n, steps = 4000, 4
    found = np.empty((n, steps))
    for run in range(n):
        capital = Capital()
        for step in range(steps):
            capital.bet((run + draw.random()) / n if step == 0 else draw.random())
            found[run, step] = math.exp(capital.log_evidence)
    means, errors = found.mean(0), found.std(0) / math.sqrt(n)
    assert (np.abs(means - 1) < 4 * errors + 0.02).all()


@given(st.integers(1, 400))
def test_what_waits_lasts(n):
    capital = Capital()
    for _ in range(n):
        capital.bet(0.5)
    assert_allclose(math.exp(capital.log_waiting), 1 / (n + 1))
    assert capital.log_evidence >= capital.log_waiting


@pytest.mark.slow
def test_few_runs_without_drift_ever_reach_100(draw):
    runs = 300
    found = 0
    for run in range(runs):
        martingale = ConformalMartingale({"": draw.normal(size=20)}, seed=run)
        path(martingale, draw.normal(size=300))
        found += martingale.drifted
    assert stats.binomtest(found, runs, 0.01, alternative="greater").pvalue > 1e-3


@pytest.mark.parametrize("shifted", [lambda z: z + 2, lambda z: z - 2, lambda z: 4 * z, lambda z: 0.1 * z])
@pytest.mark.parametrize("before", [0, 500])
def test_drift_is_found_early_and_late(draw, shifted, before):
    martingale = ConformalMartingale({"": draw.normal(size=100)})
    path(martingale, draw.normal(size=before))
    assert not martingale.drifted
    path(martingale, shifted(draw.normal(size=150)))
    assert martingale.drifted


def test_once_declared_drift_stays_declared(draw):
    martingale = ConformalMartingale({"": draw.normal(size=50)})
    path(martingale, draw.normal(5, size=30))
    assert martingale.evidence > DRIFT
    path(martingale, draw.normal(size=3000))
    assert martingale.drifted


def test_evidence_stays_finite(draw):
    martingale = ConformalMartingale({"": draw.normal(size=5000)})
    path(martingale, draw.normal(100, size=800))
    assert math.isfinite(martingale.evidence)
    json.dumps(martingale.state(), allow_nan=False)


@given(st.integers(0, 60), st.integers(0, 3))
def test_it_continues_from_its_state_on_the_same_path(n, seed):
    draw = np.random.default_rng(seed)
    held_out = {"a": draw.normal(size=9), "b": draw.integers(3, size=9)}
    scores = [(float(draw.integers(4)), "ab"[draw.integers(2)]) for _ in range(60)]
    whole, first, second = (ConformalMartingale(held_out, seed=7) for _ in range(3))
    for score in scores[:n]:
        first.add(*score)
    second.restore(json.loads(json.dumps(first.state())), scores[:n])
    expected = [(whole.add(*score), whole.evidence, whole.drifted) for score in scores]
    assert [(second.add(*score), second.evidence, second.drifted) for score in scores[n:]] == expected[n:]


def test_a_state_with_other_scores_is_refused():
    martingale = ConformalMartingale({"": [0.0]})
    martingale.add(1.0)
    with pytest.raises(ValueError, match="0 scores for a state after 1"):
        ConformalMartingale({"": [0.0]}).restore(martingale.state(), [])


def test_categories_are_compared_within_themselves(draw):
    # One machine scores higher than the other: that is no drift.
    martingale = ConformalMartingale({"loud": draw.normal(9, size=50), "quiet": draw.normal(size=50)})
    for _ in range(200):
        martingale.add(draw.normal(9), "loud")
    assert not martingale.drifted
    among_all = ConformalMartingale({"": [*draw.normal(9, size=50), *draw.normal(size=50)]})
    path(among_all, draw.normal(9, size=200))
    assert among_all.drifted


def test_a_category_without_held_out_scores_begins_with_its_first():
    martingale = ConformalMartingale({})
    assert 0 <= martingale.add(3.0, "new") <= 1


def test_nan_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        ConformalMartingale({"": [0.0]}).add(math.nan)


def test_a_million_scores_take_little_memory_and_time():
    martingale = ConformalMartingale({"": np.arange(200_000.0)})
    martingale.restore({"n": 0, "waiting": 0.0, "bet": [None] * len(BETS), "highest": 0.0}, [])
    path(martingale, np.random.default_rng(0).uniform(0, 200_000, size=500))
    assert not martingale.drifted
