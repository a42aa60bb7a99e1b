"""A canary: a configuration that takes a share of the requests, and its comparison with the active one."""

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.translation.translator import Translator

LATENCIES_KEPT = 1000
# Shadow traffic: at most so many of 100 unpinned requests are run on both sides.
COMPARED_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Side:
    """Figures of one configuration for unpinned requests since the canary began; latency of the last 1000."""

    config: str
    requests: int
    mean_ms: float | None
    p95_ms: float | None
    model_bytes: int
    peak_request_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """Both sides, and how many of the compared texts the active configuration translates into the same words."""

    percent: float
    active: Side
    canary: Side
    texts_compared: int
    texts_equal: int
    agreement: float | None


@dataclass(eq=False, slots=True)
class _Tally:
    translator: Translator
    requests: int = 0
    peak_request_bytes: int = 0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    def side(self) -> Side:
        ranked = sorted(self.latencies_ms)
        return Side(
            config=self.translator.identity.config,
            requests=self.requests,
            mean_ms=round(sum(ranked) / len(ranked), 3) if ranked else None,
            p95_ms=ranked[(95 * len(ranked) - 1) // 100] if ranked else None,  # nearest rank
            model_bytes=self.translator.model_bytes,
            peak_request_bytes=self.peak_request_bytes,
        )


class Canary:
    """The running tally of one canary. Thread-safe."""

    def __init__(self, active: Translator, canary: Translator, percent: float) -> None:
        """Start counting; `percent` is the canary's share of the unpinned requests, above 0 and at most 100."""
        self.name = canary.identity.config
        self.percent = percent
        self._lock = threading.Lock()
        self._active, self._canary = _Tally(active), _Tally(canary)
        self._share = self._compared = 0.0
        self._texts_compared = self._texts_equal = 0

    def takes_next(self) -> bool:
        """Decide whether the next unpinned request goes to the canary: exactly `percent` of them do, evenly spread."""
        with self._lock:
            self._share += self.percent
            if self._share < 100:
                return False
            self._share -= 100
            return True

    def count(self, config: str, latency_ms: float, request_bytes: int) -> None:
        """Count an unpinned request that a configuration of either side has answered."""
        with self._lock:
            for tally in (self._active, self._canary):
                if tally.translator.identity.config == config:
                    tally.requests += 1
                    tally.latencies_ms.append(latency_ms)
                    tally.peak_request_bytes = max(tally.peak_request_bytes, request_bytes)

    def wants_comparison(self, config: str) -> bool:
        """Decide whether to run a request that this configuration has answered on the other side too."""
        if config != self.name:
            return False
        with self._lock:
            self._compared += min(1.0, COMPARED_PERCENT / self.percent)
            if self._compared < 1:
                return False
            self._compared -= 1
            return True

    def compared(self, equal: Sequence[bool]) -> None:
        """Count compared texts; `equal` has an entry for each."""
        with self._lock:
            self._texts_compared += len(equal)
            self._texts_equal += sum(equal)

    def report(self) -> Report:
        """Return the figures so far."""
        with self._lock:
            texts, equal = self._texts_compared, self._texts_equal
            return Report(
                percent=self.percent,
                active=self._active.side(),
                canary=self._canary.side(),
                texts_compared=texts,
                texts_equal=equal,
                agreement=round(equal / texts, 4) if texts else None,
            )
