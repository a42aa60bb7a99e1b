"""Files that need more memory than their process may have: none of them is called a bad one."""

import subprocess
import sys

import pytest

from service.files import ENDINGS
from tests.bench.file_kinds import files

FILES = dict(files([f"The tree sees number {number} of the houses near the river." for number in range(1_500)]))
# What a reader says under each of the limits, in KiB of address space above what the process has before it reads.
PROGRAM = """
import os, resource, sys
from service.files import Aligned, Limits, open_file, reader_of
name, data = sys.argv[1], sys.stdin.buffer.read()
reader_of(name[1:])
def read():
    opened = open_file(name, data, Limits(1 << 26))
    opened.render([Aligned(text) for text in opened.texts], "de")
for kib in map(int, sys.argv[2:]):
    child = os.fork()
    if not child:
        own = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + (kib << 10),) * 2)
        try:
            read()
            os.write(1, b"done\\n")
        except MemoryError:
            os.write(1, b"memory\\n")
        except BaseException as error:
            os.write(1, repr(error).encode() + b"\\n")
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if status:
        os.write(1, b"status %d\\n" % status)
"""
LIMITS_KIB = [64, 256, 512, *range(1024, 12_288, 1024), 1 << 18]


@pytest.mark.parametrize("name", FILES)
def test_a_reader_without_memory_says_so(name: str) -> None:
    command = [sys.executable, "-c", PROGRAM, name, *map(str, LIMITS_KIB)]
    ended = subprocess.run(command, input=FILES[name], capture_output=True, check=True)
    said = ended.stdout.decode().split("\n")[:-1]
    assert len(said) == len(LIMITS_KIB)
    assert set(said) <= {"done", "memory"}, list(zip(LIMITS_KIB, said, strict=True))
    assert said[-1] == "done"


def test_there_is_a_file_of_each_format() -> None:
    alike = {".htm": ".html", ".xhtml": ".html", ".xliff": ".xlf", ".yml": ".yaml"}
    assert {f"a{alike.get(ending, ending)}" for ending in ENDINGS} == set(FILES)
