"""How processor time grows with the size of an input: a ratio, which holds on any machine."""

import gc
import time
from collections.abc import Callable

_DOUBLINGS = 3  # over one alone a jump of the allocator or of a cache looked like growth: 2.8 of linear work was seen
_SURELY_LINEAR = 2.2  # linear work gives 2, quadratic 4


def growth(work: Callable[[int], Callable[[], object]], size: int, tries: int = 3) -> float:
    """Return how many times the processor time grows when the size doubles, the mean of three doublings.

    Args:
        work: makes what is timed for a size; the making is not timed.
        size: to begin with; twice as much until the time can be measured, and no more, lest caches be what is measured.
        tries: at most four times as many are made of each, in turns, so that what else the machine does slows both; the
            best of each counts. One is enough where the work looks linear: it would have to be slowed six times.
    """
    ratios: list[float] = []
    for seconds in (0.003, 0.015, 0.05):  # quadratic work is so at any size; beside other work 2.6 of linear was seen
        ratios.append(_growth(work, size, tries, seconds))
        if ratios[-1] < _SURELY_LINEAR:
            break
    return min(ratios)


def _growth(work: Callable[[int], Callable[[], object]], size: int, tries: int, seconds: float) -> float:
    while _seconds(work(size << _DOUBLINGS)) < seconds and size < 1 << 20:
        size *= 2
    small, large = work(size), work(size << _DOUBLINGS)
    pairs: list[tuple[float, float]] = []
    while len(pairs) < 4 * tries:  # more where the ratio is high: other work on the machine, or work that is not linear
        if len(pairs) == 1:
            gc.collect()  # a tenth of a second beside the objects of other tests
        pairs.append((_seconds(small), _seconds(large)))
        ratio = min(pair[1] for pair in pairs) / max(min(pair[0] for pair in pairs), seconds / 10)
        if ratio < _SURELY_LINEAR**_DOUBLINGS:
            break
    return float(ratio ** (1 / _DOUBLINGS))


def _seconds(run: Callable[[], object]) -> float:
    gc.disable()
    begin = time.process_time()
    run()
    taken = time.process_time() - begin
    gc.enable()
    return taken
