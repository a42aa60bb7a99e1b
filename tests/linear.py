"""How processor time grows with the size of an input: a ratio, which holds on any machine."""

import gc
import time
from collections.abc import Callable


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
    pairs = [(_seconds(small), _seconds(large)) for _ in range(tries)]
    return min(pair[1] for pair in pairs) / max(min(pair[0] for pair in pairs), 0.005)


def _seconds(run: Callable[[], object]) -> float:
    gc.disable()
    begin = time.process_time()
    run()
    taken = time.process_time() - begin
    gc.enable()
    return taken
