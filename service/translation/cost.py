"""The resource usage of a request: the one record that the reply, its headers, the log and the metrics are made of."""

import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import NamedTuple, Self


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The weights that answered: `version` is 12 hex digits of their checksum, `config` names the planes in use."""

    name: str
    config: str
    version: str
    bits_per_weight: float


@dataclass(frozen=True, slots=True)
class StageTimings:
    """Milliseconds by stage; `total` of a whole request runs from its admission to its reply, else it is their sum.

    `encode` and `decode` are the request's share of what the engine threads did for everybody: where several requests
    run together, the stages add up to less than `total`; where several threads work on one request, to more.

    A new stage needs a field here and a measurement where it happens: replies, headers, logs, traces and metrics
    follow from the fields.
    """

    queue: float
    tokenize: float
    encode: float
    decode: float
    detokenize: float
    total: float

    @classmethod
    def of(cls, **stages_ms: float) -> Self:
        """Return the timings of some stages; the others took no time."""
        return cls(**(_NO_TIME | stages_ms), total=sum(stages_ms.values()))

    def __add__(self, later: "StageTimings") -> "StageTimings":
        """Return the timings of two pieces of work, one after the other."""
        return StageTimings(*map(operator.add, _times(self), _times(later)))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: the weights that the configuration can touch, this request's scratch, and the whole process."""

    model_bytes: int
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int
    process_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Rungs:
    """Sentences whose first hypothesis lost a unit, a number, a term or a name, by what gave them back.

    Attributes:
        next_best: Another hypothesis of the same search, or of one with a wider beam.
        masked: A search of the sentence with masks for its numbers, terms and lost names, too.
        constrained: A search, under the constraint that the mask of each stands in the translation.
        cut: The sentence, cut at them.
    """

    next_best: int = 0
    masked: int = 0
    constrained: int = 0
    cut: int = 0

    def __add__(self, later: "Rungs") -> "Rungs":
        """Return the counts of two pieces of work."""
        return Rungs(*map(operator.add, _counts(self), _counts(later)))


NO_RUNGS = Rungs()


@dataclass(frozen=True, slots=True)
class Cost:
    """Resource usage: the configurations that answered (in order) with their bytes, time per stage, peak memory.

    The engine's part of the work, before a translator has put its name to it, has no `weights`.
    """

    weights: Mapping[ModelIdentity, int]
    latency_ms: StageTimings
    memory: Memory
    rungs: Rungs = NO_RUNGS

    @property
    def model(self) -> ModelIdentity:
        """The configuration that answered, or the first one of several."""
        return next(iter(self.weights))

    def then(self, later: "Cost") -> "Cost":
        """Return the cost of two pieces of work, one after the other.

        Times add up, and so do the bytes of different weights. Of scratch the larger counts, because the first is freed
        before the second is taken.
        """
        weights = {**self.weights, **later.weights}
        first, second = self.memory, later.memory
        memory = Memory(
            model_bytes=sum(weights.values()),
            workspace_peak_bytes=max(first.workspace_peak_bytes, second.workspace_peak_bytes),
            kv_cache_peak_bytes=max(first.kv_cache_peak_bytes, second.kv_cache_peak_bytes),
            process_rss_bytes=max(first.process_rss_bytes, second.process_rss_bytes),
        )
        return Cost(weights, self.latency_ms + later.latency_ms, memory, self.rungs + later.rungs)

    def finished(self, total_ms: float) -> "Cost":
        """Return the cost of a whole request, which took `total_ms`, with its stages to the microsecond."""
        stages = {stage: round(getattr(self.latency_ms, stage), 3) for stage in STAGES}
        return Cost(self.weights, StageTimings(**stages, total=total_ms), self.memory, self.rungs)


class LiveConfiguration(NamedTuple):
    """A live configuration: bytes of its weights, those and its own memory, and its measured quality by test set."""

    identity: ModelIdentity
    model_bytes: int
    resident_bytes: int
    quality: Mapping[str, Mapping[str, float]]


STAGES = tuple(field.name for field in fields(StageTimings) if field.name != "total")
_NO_TIME = dict.fromkeys(STAGES, 0.0)
_times = operator.attrgetter(*STAGES, "total")
RUNGS = tuple(field.name for field in fields(Rungs))
_counts = operator.attrgetter(*RUNGS)
NO_COST = Cost({}, StageTimings.of(), Memory(0, 0, 0, 0))


def milliseconds_since(started: float) -> float:
    """Return the milliseconds since a time of time.perf_counter, to the microsecond."""
    return round(1e3 * (time.perf_counter() - started), 3)
