"""The heap that threads share, counted by glibc itself."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

import service

# Threads that allocate at the same time; then glibc's own account of its heaps, one element each.
HEAPS = """
import ctypes, sys, threading
from service.memory import share_one_heap
if sys.argv[1] == "shared":
    share_one_heap()
libc = ctypes.CDLL(None)
libc.fopen.restype = libc.malloc.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
together = threading.Barrier(6)
def allocate():
    together.wait()
    libc.malloc(ctypes.c_size_t(50_000))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
stream = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


def heaps(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", HEAPS, how],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(service.__file__).parent.parent,
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_one_heap() -> None:
    assert heaps("by default") > 1
    assert heaps("shared") == 1
