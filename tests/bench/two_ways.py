"""Sentences translated without one of the server's checks and with it, in turns."""

import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from service.translation.cost import NO_RUNGS, Rungs
from service.translation.results import Options
from service.translation.translator import Translator


@dataclass
class Way:
    """What one of the ways gave, and the processor milliseconds of each sentence."""

    texts: list[str] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    rungs: Rungs = NO_RUNGS

    @property
    def mean_ms(self) -> float:
        """The mean of the times, as reports show it."""
        return round(statistics.mean(self.times_ms), 3)


def both_ways(
    translator: Translator,
    sources: Sequence[str],
    options: Options,
    unchecked: Callable[[], AbstractContextManager[None]],
) -> dict[str, Way]:
    """Translate each sentence alone, without the check and with it.

    Args:
        translator: of the language pair.
        sources: the sentences.
        options: of the translations.
        unchecked: within it the check lets everything pass.

    Returns:
        The ways "without" and "with".
    """
    ways = {"without": Way(), "with": Way()}
    for source in sources:
        for way, switched in zip(ways.values(), (unchecked, nullcontext), strict=True):
            with switched():
                started = time.thread_time()
                result = translator.translate([source], options)
                way.times_ms.append(1e3 * (time.thread_time() - started))
            way.texts.append(result.translations[0].best.text)
            way.rungs += result.cost.rungs
    return ways


def changed(ways: dict[str, Way]) -> int:
    """Count the sentences that the check gave another translation."""
    return sum(one != other for one, other in zip(*(way.texts for way in ways.values()), strict=True))
