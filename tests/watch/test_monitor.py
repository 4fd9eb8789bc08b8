import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from watching import Judge

from oddkind.watch.judge import Judgement
from oddkind.watch.monitor import Monitor
from oddkind.watch.state import State


class Clock:
    def __init__(self):
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def on(self, seconds):
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state")
    yield state
    state.close()


@pytest.fixture
def clock():
    return Clock()


def judged(name="a", score=0.5, anomalous=False, **given):
    return Judgement(name, score=score, p_value=0.5, anomalous=anomalous, drift_score=score, **given)


def lines_of(monitor, *judgements, state=None):
    marks = {}
    step = monitor.step(judgements, marks)
    if state is not None:
        state.commit(step)
    return [json.loads(line) for *_, line in step.lines]


def test_a_line_says_all(state, clock):
    monitor = Monitor(Judge(), state, clock=clock)
    (line,) = lines_of(monitor, judged("in/a.wav", label="fan"))
    assert line["id"] == 1
    assert line["time"] == "2026-01-01T00:00:00.000+00:00"
    assert [line[name] for name in ("item", "label", "score", "p_value")] == ["in/a.wav", "fan", 0.5, 0.5]
    assert [line[name] for name in ("anomalous", "alarm", "drift")] == [False, False, False]
    assert line["drift_evidence"] > 0
    assert 0 <= line["alarm_rate"][0] < line["alarm_rate"][1] <= 1


def test_an_error_is_a_line_and_no_evidence(state):
    monitor = Monitor(Judge(), state)
    (line,) = lines_of(monitor, Judgement("a", problem="is empty"))
    assert line["error"] == "is empty"
    assert set(line) == {"id", "time", "item", "error"}
    assert monitor.summary()["errors"] == 1
    assert monitor.summary()["drift_evidence"] == 1


def test_after_an_alarm_others_of_its_kind_are_held_off(state, clock):
    monitor = Monitor(Judge(), state, hold_off=60, clock=clock)
    found = []
    for seconds, label in ((0, "fan"), (10, "fan"), (10, "pump"), (30, "fan"), (20, "fan"), (1, "fan")):
        clock.on(seconds)
        found += lines_of(monitor, judged(anomalous=True, label=label))
    assert [line["alarm"] for line in found] == [True, False, True, False, True, False]
    assert [line["suppressed"] for line in found] == [0, 1, 0, 2, 2, 1]
    assert all(line["anomalous"] for line in found)
    assert monitor.summary() | {"alarms": 3, "suppressed": 3, "anomalous": 6} == monitor.summary()


def test_a_clock_that_is_set_back_holds_nothing_off(state, clock):
    monitor = Monitor(Judge(), state, hold_off=60, clock=clock)
    lines_of(monitor, judged(anomalous=True))
    clock.on(-3600)
    assert lines_of(monitor, judged(anomalous=True))[0]["alarm"]


def test_drift_is_alarmed_once(state, draw):
    monitor = Monitor(Judge(), state)
    found = [line for score in draw.normal(5, size=60) for line in lines_of(monitor, judged(score=score))]
    assert [line.get("drift_alarm", False) for line in found].count(True) == 1
    first = next(number for number, line in enumerate(found) if line["drift"])
    assert found[first]["drift_alarm"]
    assert found[first]["drift_evidence"] >= 100 > found[first - 1]["drift_evidence"]
    assert all(line["drift"] for line in found[first:])


def test_of_a_group_only_the_first_is_evidence(tmp_path):
    state = State(tmp_path)
    monitor = Monitor(Judge(), state)
    lines_of(monitor, judged("a", group="day 1"), judged("b", group="day 1"), judged("c", group="day 2"), state=state)
    assert len([*state.observations()]) == 2
    again = Monitor(Judge(), state)
    lines_of(again, judged("d", group="day 2"), judged("e"), state=state)
    assert len([*state.observations()]) == 3
    assert again.summary()["not_in_evidence"] == 1
    state.close()


def test_labels_that_are_known_are_not_mixed_with_others(state):
    judge = Judge()
    judge.knows = lambda label: label == "fan"
    monitor = Monitor(judge, state)
    lines_of(monitor, judged(label="fan"), judged(label=None), judged(label="fan"), state=state)
    assert len([*state.observations()]) == 2
    assert monitor.summary()["not_in_evidence"] == 1


@pytest.mark.parametrize("at", [0, 1, 7, 20])
def test_after_a_restart_the_lines_are_the_same(tmp_path, clock, at):
    scores = np.random.default_rng(0).normal(0.5, 0.4, size=20).tolist()
    found = []
    for folder, stops in (("whole", []), ("restarted", [at, at])):
        state = State(tmp_path / folder)
        monitor, lines = Monitor(Judge(), state, hold_off=5, clock=clock), []
        clock.now = datetime(2026, 1, 1, tzinfo=UTC)
        for number, score in enumerate(scores):
            if number in stops:
                monitor = Monitor(Judge(), state, hold_off=5, clock=clock)
            clock.on(1)
            lines += lines_of(monitor, judged(str(number), score, score > 0.9), state=state)
        found.append(lines)
        state.close()
    assert found[0] == found[1]


def test_with_another_rate_alarms_are_counted_anew(state):
    monitor = Monitor(Judge(), state)
    lines_of(monitor, *[judged(anomalous=True)] * 30, state=state)
    judge = Judge()
    judge.model = type("Model", (), {"false_alarm_rate": 0.2})
    again = Monitor(judge, state)
    assert again.summary()["alarm_rate"] == [0, 1]
    assert again.summary()["drift_evidence"] == monitor.summary()["drift_evidence"]


def test_lines_go_to_the_outputs_that_want_them(state):
    outputs = [("all", lambda line: True), ("alarms", lambda line: line.get("alarm", False))]
    monitor = Monitor(Judge(), state, outputs=outputs)
    step = monitor.step([judged(), judged(anomalous=True)], {})
    assert [names for _, names, _ in step.lines] == [["all"], ["all", "alarms"]]
