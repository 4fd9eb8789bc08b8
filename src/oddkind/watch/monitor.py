"""From judgements to lines: alarms with a hold-off, evidence of drift, and the rate of alarms against the promise."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from oddkind.model.alarm_rate import AlarmRate, together
from oddkind.model.martingale import ConformalMartingale
from oddkind.watch.judge import Judge, Judgement
from oddkind.watch.state import State, Step

# Facts that belong to one model: with another they begin anew.
OF_MODEL = ("martingale", "alarm_rate", "with_labels", "drift_alarm")


def now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class Monitor:
    """Turns judgements into lines, and keeps what these depend on in the state.

    Parameters
    ----------
    judge : Judge
    state : State
    hold_off : float
        After an alarm, the seconds without another one of its kind. The kind is the label.
    outputs : sequence of (name, wants)
        The outputs, and a function that says whether one wants a line.
    """

    def __init__(
        self,
        judge: Judge,
        state: State,
        *,
        hold_off: float = 0.0,
        outputs: Sequence[tuple[str, Callable[[dict[str, Any]], bool]]] = (),
        clock: Callable[[], datetime] = now,
    ) -> None:
        self._judge, self._hold_off, self._outputs, self._clock = judge, hold_off, outputs, clock
        self._next = int(state.fact("next", 1))
        self._held: dict[str, list[float]] = state.fact("hold_off", {})
        self._groups = {key for key in state.marks() if key.startswith("group:")}
        self._with_labels: bool | None = state.fact("with_labels")
        self._drift_alarm: bool = state.fact("drift_alarm", False)
        self._gathered: tuple[ConformalMartingale, dict[str, AlarmRate]] | None = None
        self.counts: Counter[str] = Counter()
        if self._with_labels is not None:
            martingale, rates = self._begin(self._with_labels)
            martingale.restore(state.fact("martingale"), state.observations())
            kept = {category: AlarmRate(**counted) for category, counted in state.fact("alarm_rate").items()}
            # Alarms at another rate are not counted against this one.
            same = all(own.false_alarm_rate == judge.model.false_alarm_rate for own in kept.values())
            self._gathered = martingale, kept if same else rates

    def step(self, judgements: Iterable[Judgement], marks: dict[str, str]) -> Step:
        """Return what is written for the judgements of one item."""
        lines: list[tuple[int, list[str], str]] = []
        observations: list[tuple[float, str]] = []
        for judgement in judgements:
            content: dict[str, Any] = {"id": self._next, "time": self._clock().isoformat(timespec="milliseconds")}
            content["item"] = judgement.name
            if judgement.problem is None:
                content |= self._verdict(judgement, observations, marks)
            else:
                content["error"] = judgement.problem
                self.counts["errors"] += 1
            self.counts["lines"] += 1
            outputs = [name for name, wants in self._outputs if wants(content)]
            lines.append((self._next, outputs, json.dumps(content, ensure_ascii=False)))
            self._next += 1
        return Step(marks, self._facts(), observations, lines)

    def summary(self) -> dict[str, Any]:
        """Return the counts of this run, and the evidence so far."""
        names = "lines", "anomalous", "alarms", "suppressed", "errors", "not_in_evidence"
        return {name: self.counts[name] for name in names} | self._evidence()

    def _verdict(
        self, judgement: Judgement, observations: list[tuple[float, str]], marks: dict[str, str]
    ) -> dict[str, Any]:
        self._observe(judgement, observations, marks)
        self.counts["anomalous"] += judgement.anomalous
        content = {
            "label": judgement.label,
            "score": judgement.score,
            "p_value": judgement.p_value,
            "anomalous": judgement.anomalous,
            **self._alarm(judgement),
            **self._evidence(),
        }
        if content["drift"] and not self._drift_alarm:
            self._drift_alarm = content["drift_alarm"] = True
        return content

    def _alarm(self, judgement: Judgement) -> dict[str, Any]:
        """Decide whether an anomaly raises an alarm, or is within the hold-off of one."""
        if not judgement.anomalous:
            return {"alarm": False}
        kind, seconds = judgement.label or "", self._clock().timestamp()
        last, suppressed = self._held.get(kind, (-math.inf, 0))
        if 0 <= seconds - last < self._hold_off:  # a clock that was set back holds nothing off
            self._held[kind] = [last, suppressed + 1]
            self.counts["suppressed"] += 1
            return {"alarm": False, "suppressed": int(suppressed) + 1}
        self._held[kind] = [seconds, 0]
        self.counts["alarms"] += 1
        return {"alarm": True, "suppressed": int(suppressed)}

    def _observe(self, judgement: Judgement, observations: list[tuple[float, str]], marks: dict[str, str]) -> None:
        """Count a judgement as evidence, unless it is not the first of its group or is scored in another way."""
        known = self._judge.knows(judgement.label)
        if self._gathered is None:
            self._with_labels, self._gathered = known, self._begin(known)
        martingale, rates = self._gathered
        group = f"group:{judgement.group}"
        if known != self._with_labels or (judgement.group is not None and group in self._groups):
            self.counts["not_in_evidence"] += 1
            return
        if judgement.group is not None:
            self._groups.add(group)
            marks[group] = ""
        category = self._judge.category(judgement.label)
        martingale.add(judgement.drift_score, category)
        rates[category].add(judgement.anomalous)
        observations.append((judgement.drift_score, category))

    def _begin(self, with_labels: bool) -> tuple[ConformalMartingale, dict[str, AlarmRate]]:
        """Begin to gather evidence; scores with and without labels cannot be compared, so the first decides."""
        sizes, rate = self._judge.n_calibration(with_labels=with_labels), self._judge.model.false_alarm_rate
        martingale = ConformalMartingale(self._judge.calibration(with_labels=with_labels))
        return martingale, {category: AlarmRate(n, rate) for category, n in sizes.items()}

    def _evidence(self) -> dict[str, Any]:
        if self._gathered is None:
            return {"drift_evidence": 1.0, "drift": False, "alarm_rate": [0.0, 1.0], "promise_evidence": 1.0}
        martingale, rates = self._gathered
        rate = together([*rates.values()])
        return {
            "drift_evidence": _short(martingale.evidence),
            "drift": martingale.drifted,
            "alarm_rate": [round(edge, 4) for edge in rate.bounds()],
            "promise_evidence": _short(rate.evidence),
        }

    def _facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"next": self._next, "hold_off": self._held, "drift_alarm": self._drift_alarm}
        if self._gathered is not None:
            martingale, rates = self._gathered
            counted = {category: vars(rate) for category, rate in rates.items()}
            facts |= {"martingale": martingale.state(), "alarm_rate": counted, "with_labels": self._with_labels}
        return facts


def _short(value: float) -> float:
    """Round to four digits."""
    return float(f"{value:.4g}")
