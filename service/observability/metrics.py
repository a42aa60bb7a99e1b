"""What a request cost, in one record that feeds the reply, its headers and Prometheus; and the service's own gauges."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from service.process import process_rss_bytes
from service.translation.scheduler import BATCH_SIZES, Load

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which weights answered: `version` is 12 hex digits of their checksum, `config` their allocation of planes."""

    name: str
    config: str
    version: str
    bits_per_weight: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds by stage; `total` runs from the accepted request to its reply.

    `encode` and `decode` are the request's share of what the engine threads did for everybody: where several requests
    run together their stages leave some of `total` over, where several threads work on one they may exceed it.
    """

    queue: float
    tokenize: float
    encode: float
    decode: float
    detokenize: float
    total: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the weights that the configuration can touch, this request's scratch, and the whole process."""

    model_bytes: int
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int
    process_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The record of one request: which weights answered, the first ones first, with their bytes, and what that took."""

    weights: Mapping[ModelFacts, int]
    latency_ms: Timings
    memory: Memory

    @property
    def model(self) -> ModelFacts:
        """The weights that answered, or of several the first ones."""
        return next(iter(self.weights))

    def then(self, later: "Cost") -> "Cost":
        """Of two parts of a request, done one after the other.

        Times add up, and so do the bytes of different weights; of scratch the larger part counts, since one is given
        back before the other begins.
        """
        latency = {name: getattr(self.latency_ms, name) + getattr(later.latency_ms, name) for name in _names(Timings)}
        memory = {name: max(getattr(self.memory, name), getattr(later.memory, name)) for name in _names(Memory)}
        weights = {**self.weights, **later.weights}
        memory["model_bytes"] = sum(weights.values())
        return Cost(weights, Timings(**{name: round(ms, 3) for name, ms in latency.items()}), Memory(**memory))

    def headers(self) -> dict[str, str]:
        """The same figures as X-Sub3-* headers; where several models answered, their facts are lists."""
        models = list(self.weights)
        headers = {
            "X-Sub3-Model": ", ".join(model.name for model in models),
            "X-Sub3-Config": ", ".join(model.config for model in models),
            "X-Sub3-Version": ", ".join(model.version for model in models),
            "X-Sub3-Bits-Per-Weight": ", ".join(repr(model.bits_per_weight) for model in models),
        }
        for record, names in ((self.latency_ms, _TIMING_HEADERS), (self.memory, _MEMORY_HEADERS)):
            headers.update({header: repr(getattr(record, name)) for name, header in names.items()})
        return headers


# made once: of a request's 2.3 ms beside the engine, on a core whose caches the engine has just filled, each counts
_TIMING_HEADERS = {field.name: f"X-Sub3-{field.name.title()}-Ms" for field in fields(Timings)}
_MEMORY_HEADERS = {field.name: f"X-Sub3-{field.name.title().replace('_', '-')}" for field in fields(Memory)}


def _names(record: type[Timings] | type[Memory]) -> list[str]:
    return [field.name for field in fields(record)]


class LiveFacts(NamedTuple):
    """A live configuration: bytes of its weights, those with its own memory too, and its figures by test set."""

    facts: ModelFacts
    model_bytes: int
    resident_bytes: int
    quality: Mapping[str, Mapping[str, float]]


class Metrics:
    """The Prometheus side of one app; labels are routes, statuses, stages and configurations, so they are few."""

    def __init__(self, models: Callable[[], Iterable[LiveFacts]], load: Callable[[], Load]) -> None:
        """Counters at zero.

        Args:
            models: the live configurations; read, like `load`, when /metrics is.
            load: where the scheduler stands.
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
        self._stage = {field.name: stages.labels(field.name) for field in fields(Timings)}
        self._texts = Counter("sub3_texts", "Texts translated.", registry=self._registry)
        self._pivoted = Counter(
            "sub3_pivoted_texts", "Those of them that went through a third language.", registry=self._registry
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
        """Show one more figure, which is read when /metrics is."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def requested(self, route: str, status: int) -> None:
        """Count an HTTP request; `route` is its template, so that there are few."""
        self._requests.labels(route, str(status)).inc()

    def translated(self, texts: int, timings: Timings, *, is_pivoted: bool) -> None:
        """Count a finished request."""
        self._texts.inc(texts)
        if is_pivoted:
            self._pivoted.inc(texts)
        for name, histogram in self._stage.items():
            histogram.observe(1e-3 * getattr(timings, name))

    def failed(self, reason: str) -> None:
        """Count a translation that was refused or failed; `reason` is the name of its exception."""
        self._failures.labels(reason).inc()

    def swapped(self, result: str, milliseconds: float) -> None:
        """Count a swap; `result` is "ok", "unchanged", "refused" or "failed"."""
        self._swaps.labels(result).inc()
        if result == "ok":
            self._swap_seconds.observe(1e-3 * milliseconds)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    """Figures that are read when they are asked for, so that nothing has to keep them up to date."""

    def __init__(self, models: Callable[[], Iterable[LiveFacts]], load: Callable[[], Load]) -> None:
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
        for facts, model_bytes, resident_bytes, figures in self._models():
            info.add_metric([facts.name, facts.config, facts.version, str(facts.bits_per_weight)], 1)
            size.add_metric([facts.name, facts.config], model_bytes)
            resident.add_metric([facts.name, facts.config], resident_bytes)
            for data, measures in figures.items():
                for measure, figure in measures.items():
                    quality.add_metric([facts.name, facts.config, data, measure], figure)
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


def milliseconds_since(started: float) -> float:
    """Milliseconds since a time of time.perf_counter, to the microsecond."""
    return round(1e3 * (time.perf_counter() - started), 3)
