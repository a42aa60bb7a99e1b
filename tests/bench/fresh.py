"""One side's cost of a model in a process of its own: `python -m tests.bench.fresh ours|peer DIRECTORY`.

Prints {"ms": load to the end of the first translation, "mb": memory added by the two}. Memory is what is resident,
private and mapped; both are counted from after the imports, so that they are the model's and not Python's.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

from service.live.memory import give_back
from tests.bench.subjects import CTranslate2, Ours, Sources, Subject


def resident_mb() -> float:
    """Return the resident bytes of this process, private and mapped, in 10^6."""
    rollup = Path("/proc/self/smaps_rollup").read_text()
    kilobytes = re.search(r"^Rss:\s+(\d+) kB$", rollup, re.M)
    assert kilobytes is not None
    return int(kilobytes[1]) * 1024 / 1e6


def main() -> None:
    """Import, measure, load, translate, measure."""
    side, directory = sys.argv[1], Path(sys.argv[2])
    sources: Sources = [[f"w{n}" for n in range(2, 25)]]
    if side == "ours":
        import kernels.engine  # noqa: F401
        import models.format.directory  # noqa: F401
    else:
        import ctranslate2  # noqa: F401
    before, begin = resident_mb(), time.perf_counter()
    subject: Subject
    if side == "ours":
        subject = Ours(directory)
        give_back(subject.directory)  # as the service when it has loaded a model
    else:
        subject = CTranslate2(directory, "int8")
    subject.translate(sources, 1, (32, 32))
    milliseconds = 1e3 * (time.perf_counter() - begin)
    print(json.dumps({"ms": milliseconds, "mb": resident_mb() - before}))


if __name__ == "__main__":
    main()
