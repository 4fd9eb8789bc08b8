"""What Prometheus is told: requests, latency, scores, p-values, alarms and the rate that was promised, drift."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from oddkind.arrays import Array
from oddkind.files.score import calibration_files
from oddkind.model.martingale import ConformalMartingale
from oddkind.model.model import FittedModel
from oddkind.serve.models import Served

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
P_VALUES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
# The scores of a model are counted between these quantiles of those of its held-out samples.
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
OF = ["model", "what"]  # what is judged: samples or files


# Evidence of drift begins anew after this many scores, so that memory and time stay bounded.
MOST_SCORES = 100_000


class Histograms(Collector):
    """Histograms of arrays, with buckets of their own for each model; that of a new model starts from 0.

    Those of prometheus-client have the same buckets for all, and take one value at a time.

    Parameters
    ----------
    name, text : str
        Of the metric.
    """

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = name, text
        self._of: dict[tuple[str, str], tuple[Array, Array, float]] = {}

    def start(self, model: str, what: str, edges: Array) -> None:
        """Count from 0, up to each of these edges [B]."""
        self._of[model, what] = edges, np.zeros(len(edges) + 1, int), 0.0

    def observe(self, model: str, what: str, values: Array) -> None:
        """Count values [n]."""
        edges, counts, total = self._of[model, what]
        counts = counts + np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(counts))
        self._of[model, what] = edges, counts, total + float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Return the histograms of all models."""
        family = HistogramMetricFamily(self._name, self._text, labels=OF)
        for labels, (edges, counts, total) in self._of.items():
            bounds = [*(repr(float(edge)) for edge in edges), "+Inf"]
            family.add_metric(labels, list(zip(bounds, np.cumsum(counts).tolist(), strict=True)), total)
        yield family


@dataclass(frozen=True)
class _Known:
    fingerprint: str
    task: str
    drift: dict[tuple[str, bool], ConformalMartingale]


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._known: dict[str, _Known] = {}
        self._observing = threading.Lock()
        self._scores = Histograms("oddkind_score", "Anomaly scores, between quantiles of the held-out ones.")
        self._p_values = Histograms("oddkind_p_value", "P-values; those of normal ones are uniform.")
        registry.register(self._scores)
        registry.register(self._p_values)
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "oddkind_requests", "Requests that were answered.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "oddkind_request_seconds", "Time to the answer.", ["route"], buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("oddkind_queue_depth", "Requests that are read, wait or are scored.", registry=registry)
        self.queue_limit = Gauge("oddkind_queue_limit", "The most that may wait.", registry=registry)
        self.batches = Histogram(
            "oddkind_batch_samples", "Samples in one forward pass.", ["model"], buckets=BATCHES, registry=registry
        )
        self.reloads = Counter("oddkind_reloads", "Models that were read again.", ["result"], registry=registry)
        self.judged = Counter("oddkind_judged", "Samples or files that were judged.", OF, registry=registry)
        self.alarms = Counter("oddkind_alarms", "Those that raised an alarm.", OF, registry=registry)
        self.promised = Gauge(
            "oddkind_promised_false_alarm_rate",
            "The largest fraction of normal ones that may raise an alarm; 0 if it cannot be promised, so none does.",
            OF,
            registry=registry,
        )
        self.info = Gauge(
            "oddkind_model_info", "1; the labels say which model is served.",
            ["model", "fingerprint", "task"], registry=registry,
        )  # fmt: skip
        self.loaded = Gauge("oddkind_model_loaded_timestamp_seconds", "When it was read.", ["model"], registry=registry)
        self._drift = Gauge(
            "oddkind_drift_evidence",
            "Evidence that what is judged is no longer like the held-out samples; without drift it reaches 100 in at "
            f"most 1 of 100 runs of {MOST_SCORES} scores, and then begins anew.",
            [*OF, "labels"],
            registry=registry,
        )

    def serve(self, served: Served) -> None:
        """Take note of a model that is served from now on. If it is new, scores and drift are counted from 0."""
        name, model = served.name, served.model
        self.loaded.labels(name).set(served.loaded)
        problems = {"samples": served.problem} | ({} if served.kind is None else {"files": served.problem_of_files})
        for what, problem in problems.items():
            self.promised.labels(name, what).set(0 if problem else model.false_alarm_rate)
            self.judged.labels(name, what)
            self.alarms.labels(name, what)
        known = self._known.get(name)
        if known is not None and known.fingerprint == served.fingerprint:
            return
        if known is not None:
            self.info.remove(name, known.fingerprint, known.task)
        self._known[name] = _Known(served.fingerprint, str(served.facts["task"]), {})
        self.info.labels(name, served.fingerprint, self._known[name].task).set(1)
        for what in problems:
            of_folds = calibration_files(model, with_labels=False) if what == "files" else [
                fold.calibration.of(with_labels=False) for fold in model.folds
            ]  # fmt: skip
            held_out = np.concatenate([own.scores for own in of_folds])
            self._scores.start(name, what, np.unique(np.quantile(held_out, QUANTILES)))
            self._p_values.start(name, what, np.array(P_VALUES))

    def observe(
        self, served: Served, what: str, scores: Array, p_values: Array, odd: Array, with_labels: Array
    ) -> None:
        """Count what was judged: scores, p-values, alarms and whether the label was known, [n] each.

        `what`: "samples" or "files". Several threads may call it.
        """
        with self._observing:
            self._observe(served, what, scores, p_values, odd, with_labels)

    def _observe(
        self, served: Served, what: str, scores: Array, p_values: Array, odd: Array, with_labels: Array
    ) -> None:
        name = served.name
        self.judged.labels(name, what).inc(len(scores))
        self.alarms.labels(name, what).inc(int(np.sum(odd)))
        known = self._known[name]
        if known.fingerprint != served.fingerprint:  # the request began before the model was replaced
            return
        self._scores.observe(name, what, scores)
        self._p_values.observe(name, what, p_values)
        if len(served.model.folds) > 1:  # the mean over folds is not exchangeable with the scores of one
            return
        for score, labelled in zip(scores.tolist(), with_labels.tolist(), strict=True):
            martingale = known.drift.get((what, labelled))
            if martingale is None or martingale.n >= MOST_SCORES:
                martingale = known.drift[what, labelled] = _evidence(served.model, what, with_labels=labelled)
            martingale.add(score)
        for (of, labelled), martingale in known.drift.items():
            self._drift.labels(name, of, "known" if labelled else "unknown").set(martingale.evidence)


def _evidence(model: FittedModel, what: str, *, with_labels: bool) -> ConformalMartingale:
    if what == "files":
        (held_out,) = calibration_files(model, with_labels=with_labels)
    else:
        held_out = model.folds[0].calibration.of(with_labels=with_labels)
    return ConformalMartingale(held_out.independent())
