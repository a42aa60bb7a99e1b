"""Prometheus metrics: counters and histograms of requests, and gauges that are read at each scrape.

To a scraper that takes OpenMetrics, the requests by status, their time and the failures have an exemplar: the id of the
last such request, which its log line, its span and its reply have, too.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition
from prometheus_client.registry import Collector

from service.observability.request_context import current
from service.process import process_rss_bytes
from service.translation.cost import RUNGS, Cost, LiveConfiguration, StageTimings
from service.translation.scheduler import BATCH_SIZES, Load

# they would be a second series for each counter, which no rule or dashboard reads
disable_created_metrics()  # type: ignore[no-untyped-call]
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPEN_METRICS_TYPE = "application/openmetrics-text"
_EXEMPLAR_CHARACTERS = 128  # of all labels and values, by the specification
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The Prometheus metrics of one app; labels are routes, statuses, stages and configurations, so they are few."""

    def __init__(self, models: Callable[[], Iterable[LiveConfiguration]], load: Callable[[], Load]) -> None:
        """Start the counters at zero.

        Args:
            models: returns the live configurations; called, like `load`, at each scrape.
            load: returns the state of the scheduler.
        """
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "sub3_requests", "HTTP requests by route and status.", ["route", "status"], registry=self._registry
        )
        stages = Histogram(
            "sub3_stage_seconds",
            "Time of a translation request by stage, in seconds.",
            ["stage"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._stage = {field.name: stages.labels(field.name) for field in fields(StageTimings)}
        self._texts = Counter("sub3_texts", "Texts translated.", registry=self._registry)
        self._pivoted = Counter(
            "sub3_pivoted_texts", "Those of them that went through a third language.", registry=self._registry
        )
        self._repaired = Counter(
            "sub3_repaired_sentences",
            "Sentences whose first hypothesis lost a placeholder, a number or a term, by what gave it back.",
            ["rung"],
            registry=self._registry,
        )
        self._failures = Counter(
            "sub3_failures", "Translations refused or failed, by reason.", ["reason"], registry=self._registry
        )
        self._swaps = Counter("sub3_swaps", "Configuration swaps by result.", ["result"], registry=self._registry)
        self._swap_seconds = Histogram(
            "sub3_swap_seconds",
            "Time of a swap that succeeded, in seconds.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        Gauge("process_start_time_seconds", "When this process began, in seconds.", registry=self._registry).set(
            time.time()
        )
        self._registry.register(_Gauges(models, load))

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read at each scrape."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def requested(self, route: str, status: int) -> None:
        """Count an HTTP request; `route` is its template, so that there are few labels."""
        self._requests.labels(route, str(status)).inc(exemplar=_exemplar())

    def translated(self, texts: int, cost: Cost, *, is_pivoted: bool) -> None:
        """Count the texts and their repaired sentences, and observe the stages of a finished request."""
        self._texts.inc(texts)
        if is_pivoted:
            self._pivoted.inc(texts)
        for name, histogram in self._stage.items():
            histogram.observe(1e-3 * getattr(cost.latency_ms, name), _exemplar() if name == "total" else None)
        for rung in RUNGS:
            self._repaired.labels(rung).inc(getattr(cost.rungs, rung))

    def failed(self, reason: str) -> None:
        """Count a translation that was refused or failed; `reason` is the name of its exception."""
        self._failures.labels(reason).inc(exemplar=_exemplar())

    def swapped(self, result: str, milliseconds: float) -> None:
        """Count a swap; `result` is "ok", "unchanged", "refused" or "failed"."""
        self._swaps.labels(result).inc()
        if result == "ok":
            self._swap_seconds.observe(1e-3 * milliseconds)

    def render(self, accept: str = "") -> tuple[bytes, str]:
        """Return the text that Prometheus scrapes, and its media type.

        Args:
            accept: The header of the request; who takes OpenMetrics gets it.
        """
        if OPEN_METRICS_TYPE in accept:
            text: bytes = exposition.generate_latest(self._registry)  # type: ignore[no-untyped-call]
            return text, exposition.CONTENT_TYPE_LATEST
        return generate_latest(self._registry), METRICS_TYPE


def _exemplar() -> dict[str, str] | None:
    """Return the id of the present request; an id of the client's that is too long is left out."""
    labels = {"request_id": current().id}
    is_fit = 0 < len(labels["request_id"]) <= _EXEMPLAR_CHARACTERS - len("request_id")
    return labels if is_fit else None


class _Gauges(Collector):
    """Figures that are read at each scrape, so that nothing has to keep them up to date."""

    def __init__(self, models: Callable[[], Iterable[LiveConfiguration]], load: Callable[[], Load]) -> None:
        self._models, self._load = models, load

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "sub3_model_info",
            "1 for each configuration of a model that is live.",
            labels=["model", "config", "version", "bits_per_weight"],
        )
        size = GaugeMetricFamily(
            "sub3_model_bytes", "Bytes of weights that the configuration can touch.", labels=["model", "config"]
        )
        resident = GaugeMetricFamily(
            "sub3_model_resident_bytes",
            "Bytes that a live configuration keeps resident at most: weights, which are shared, and its own.",
            labels=["model", "config"],
        )
        quality = GaugeMetricFamily(
            "sub3_model_quality",
            "Measured quality of the configuration, such as BLEU, by test set; absent if it was never measured.",
            labels=["model", "config", "data", "measure"],
        )
        for identity, model_bytes, resident_bytes, figures in self._models():
            info.add_metric([identity.name, identity.config, identity.version, str(identity.bits_per_weight)], 1)
            size.add_metric([identity.name, identity.config], model_bytes)
            resident.add_metric([identity.name, identity.config], resident_bytes)
            for data, measures in figures.items():
                for measure, figure in measures.items():
                    quality.add_metric([identity.name, identity.config, data, measure], figure)
        yield from (info, size, resident, quality)
        yield from _load_metrics(self._load())
        yield GaugeMetricFamily("sub3_process_resident_bytes", "Resident bytes of the process.", process_rss_bytes())


def _load_metrics(load: Load) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "sub3_queue_sentences", "Sentences that wait to join a running batch.", load.waiting_sentences
    )
    yield GaugeMetricFamily(
        "sub3_queue_tokens", "Source tokens times beam size that wait to join a running batch.", load.waiting_tokens
    )
    yield GaugeMetricFamily("sub3_running_sentences", "Sentences in running batches.", load.running_sentences)
    bounds = [*map(str, BATCH_SIZES), "+Inf"]
    yield HistogramMetricFamily(
        "sub3_step_sentences",
        "Sentences in each decoder step.",
        buckets=list(zip(bounds, accumulate(load.steps), strict=True)),
        sum_value=load.step_sentences,
    )
    yield CounterMetricFamily(
        "sub3_target_tokens", "Tokens of translations that are done; its rate is the throughput.", load.target_tokens
    )
    yield CounterMetricFamily(
        "sub3_sentences_left_early", "Sentences of requests that ended early, waiting or running.", load.left_early
    )
