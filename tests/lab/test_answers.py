"""What the page says has the numbers of the results."""

import json

import numpy as np
import pytest
from lab_results import result_of, samples_of, shown_of

from oddkind.lab import answers
from oddkind.lab.facts import gather
from oddkind.lab.measures import centre_rule, found_at, rotations_mistaken
from oddkind.language import translated
from oddkind.metrics import auc, mean_interval
from oddkind.model.formulas import msp, rotation_distance
from oddkind.study.evaluation import Configuration, Result, Row
from oddkind.study.reliability import reliability

pytestmark = pytest.mark.slow


def pair(a, b):
    return Result(tuple(Row(Configuration(name), auc, (), (), (), (), None) for name, auc in (("a", a), ("b", b))))


def text_of(section):
    return " ".join([section["finding"], *section["answer"]])


def test_paired_differences_are_judged_by_their_interval():
    found = answers.paired(pair((0.8, 0.9, 0.7), (0.7, 0.8, 0.61)), "a", "b")
    low, high = mean_interval([0.1, 0.1, 0.09])
    assert (found["gain"], found["interval"], found["sure"]) == ("+0.097", [f"+{low:.3f}", f"+{high:.3f}"], True)
    assert found["verdict"] == "more than noise"
    found = answers.paired(pair((0.7, 0.8, 0.7), (0.8, 0.7, 0.8)), "a", "b")
    assert (found["gain"], found["sure"], found["verdict"]) == ("−0.033", False, "may be noise")


def test_a_single_run_is_not_judged():
    found = answers.paired(pair((0.8,), (0.7,)), "a", "b")
    assert (found["gain"], found["interval"], found["sure"]) == ("+0.100", None, None)
    assert "run more seeds" in found["verdict"]


def test_no_difference_has_no_minus():
    assert answers.signed(-0.0001) == "+0.000"


@pytest.mark.parametrize(("runs", "where"), [((0.8, 0.9), "within"), ((0.86, 0.9), "below"), ((0.8, 0.85), "above")])
def test_the_lecture_is_within_below_or_above_our_runs(runs, where):
    row = Row(Configuration("own"), runs, (), (), (), (), None)
    (said,) = answers.lecture_reached(0.856, [row])
    assert said == f"The lecture’s 0.856 lies {where} our single runs of own ({min(runs):.3f} to {max(runs):.3f})."
    assert answers.lecture_reached(None, [row]) == []


def test_results_are_compared_with_several_runs_only(draw):
    result = result_of(draw, 3)
    inside = sum(
        min(row.auc) <= row.setting.lecture_auc <= max(row.auc) for row in result.rows if row.setting.lecture_auc
    )
    said = text_of(answers.results(result))
    assert f"{inside} of the 5 AUCs of the lecture" in said
    initial = result["initial"].auc
    assert f"between {min(initial):.3f} and {max(initial):.3f} in 3 runs" in said
    said = text_of(answers.results(result_of(draw, 1)))
    assert "lecture" not in said
    assert "run more seeds" in said
    row = Row(Configuration("own"), (0.8,), (), (), (), (), None)
    assert answers.lecture_reached(0.856, [row]) == []


@pytest.mark.parametrize("verdict", [True, False, None])
def test_the_finding_says_whether_it_is_more_than_noise(draw, verdict):
    result, samples = result_of(draw, 1 if verdict is None else 3), samples_of(draw)
    gain = {True: [0.1, 0.11, 0.1], False: [0.1, -0.1, 0.01], None: [0.1]}[verdict]
    rows = {row.setting.name: row for row in result.rows}
    for name, base in (("label-smoothing-0.1", "initial"), ("rotnet-shifted", "rotnet")):
        rows[name] = Row(rows[name].setting, tuple(np.add(rows[base].auc, gain)), *[(0.9,) * len(gain)] * 4, None)
    result, shown = Result(tuple(rows.values())), shown_of(draw, samples)
    ending = {True: "more than noise", False: "which may be noise", None: "in the only run"}[verdict]
    assert answers.smoothing(result, shown)["finding"].endswith(ending)
    assert answers.shortcut(result, shown, samples)["finding"].endswith(ending)


def test_the_numbers_are_those_of_the_networks(draw):
    samples = samples_of(draw)
    odd, result, shown = samples.anomalous, result_of(draw, 3), shown_of(draw, samples)
    scores = msp(shown["initial"].test.logits).mean(1)
    said = text_of(answers.framework(result, shown, samples))
    for rate in answers.RATES:
        cut, n_false, n_found = found_at(odd, scores, rate)
        assert f"threshold is {cut:.4g}: {n_false} of {(~odd).sum()} normal pictures" in said
        assert f"{n_found} of {odd.sum()} anomalies" in said
    said = text_of(answers.temperature(result, shown, samples))
    cold, hot = (msp(shown["initial"].test.logits, t).mean(1) for t in (0.5, 10))
    assert f"the AUC from {auc(odd, cold):.3f} to {auc(odd, hot):.3f}" in said
    held_out = shown["initial"].held_out
    for t in (1.0, 0.8):
        error = reliability(held_out.logits[:, 0], held_out.targets[:, 0], temperature=t).expected_error
        assert f"{error:.4f}" in said
    assert "under-confident" in said
    assert "over-confident" not in said
    zero = rotation_distance(shown["rotnet"].test.logits).mean(1) == 0
    assert f"for {answers.percent(zero[~odd].mean())} of the normal and {answers.percent(zero[odd].mean())}" in text_of(
        answers.rotnet(result, shown, samples)
    )
    holds = centre_rule(samples.inputs)
    assert f"{answers.percent(holds[~odd].mean())} of the normal" in answers.why(samples)["finding"]
    said = text_of(answers.shortcut(result, shown, samples))
    for name in ("rotnet", "rotnet-shifted"):
        for kind in (odd, ~odd):
            assert answers.percent(rotations_mistaken(shown[name].test[kind])) in said
    for name in ("rotnet", "rotnet-shifted", "rotnet-shifted-larger"):
        assert f"{result[name].auc_mean:.3f} with" in said
    assert "moved by up to 2 pixels" in said
    assert "moves of up to 4 pixels" in said


def test_other_scores_are_compared_with_their_own_network(draw):
    gains = answers.scores(result_of(draw, 3))["gains"]
    assert [(one["name"], one["against"]) for one in gains] == [
        ("initial-max-logit", "initial"),
        ("rotnet-neighbours", "rotnet"),
    ]


def test_two_digits_against_one_in_a_single_run(draw):
    samples = samples_of(draw, (2, 4), (7,))
    facts = gather(result_of(draw, 1), samples, shown_of(draw, samples))
    for language in ("en", "ko"):
        said = json.dumps(translated(facts["sections"], language), ensure_ascii=False)
        assert "nan" not in said
        assert "None" not in said
