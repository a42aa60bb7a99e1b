"""Write the C source of the extension `kernels._engine` (cffi, API mode) from kernels/engine_api.h.

Run by CMake: `python build_ffi.py OUTPUT.c`.
"""

import sys
from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).with_name("engine_api.h")


def main(output: str) -> None:
    """Write the C source to `output`."""
    ffi = FFI()
    ffi.cdef(HEADER.read_text(encoding="utf-8"))
    ffi.set_source("kernels._engine", '#include <stdint.h>\n#include "kernels/engine_api.h"\n', py_limited_api=True)
    ffi.emit_c_code(output)


if __name__ == "__main__":
    main(sys.argv[1])
