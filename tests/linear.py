"""How processor time grows with the size of an input: a ratio, which holds on any machine."""

import gc
import time
from collections.abc import Callable

_SURELY_LINEAR = 2.3  # linear work gives 2, quadratic 4


def growth(work: Callable[[int], Callable[[], object]], size: int, tries: int = 4) -> float:
    """Return the processor time of twice the size over that of the size, the best of some tries each.

    Args:
        work: makes what is timed for a size; the making is not timed.
        size: to begin with; four times as much until the time can be measured.
        tries: of each, in turns, so that what else the machine does slows both.
    """
    while _seconds(work(size)) < 0.01 and size < 1 << 20:
        size *= 4
    small, large = work(size), work(2 * size)
    gc.collect()
    pairs: list[tuple[float, float]] = []
    while len(pairs) < 4 * tries:  # more where the ratio is high: other work on the machine, or work that is not linear
        pairs += [(_seconds(small), _seconds(large)) for _ in range(tries)]
        ratio = min(pair[1] for pair in pairs) / max(min(pair[0] for pair in pairs), 0.005)
        if ratio < _SURELY_LINEAR:
            break
    return ratio


def _seconds(run: Callable[[], object]) -> float:
    gc.disable()
    begin = time.process_time()
    run()
    taken = time.process_time() - begin
    gc.enable()
    return taken
