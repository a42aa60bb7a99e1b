"""The heap that threads share, counted by glibc itself; resident weights, and what a change may need."""

import itertools
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import service
from models.format.directory import ModelDirectory, open_model
from service.live.configurations import Choice, by_name, by_planes
from service.live.desired import Desired
from service.live.memory import InsufficientMemory, give_back, own_bytes, resident_weight_bytes
from service.live.registry import Registry
from tests.service.live.settled import settled_rss_bytes

# Threads that allocate at the same time; then glibc's own account of its heaps, one element each.
HEAPS = """
import ctypes, sys, threading
from service.process import share_one_heap
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


# A scheduler that has nothing to do beside a heap of which all but the last block was freed; then the resident bytes
# of before, and whether 50 of the 60 MB go back while this waits for no more than a minute.
IDLE = """
import ctypes, time
from service.process import share_one_heap
from service.process import process_rss_bytes
from service.translation.scheduler import Limits, Scheduler
share_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(60_000) for _ in range(1001)]
for block in blocks: ctypes.memset(block, 1, 60_000)
for block in blocks[:-1]: libc.free(block)
before, ends_at = process_rss_bytes(), time.monotonic() + 60
scheduler = Scheduler(Limits(threads=1))
scheduler.start()
while process_rss_bytes() > before - 50_000_000 and time.monotonic() < ends_at: time.sleep(0.05)
print(process_rss_bytes() <= before - 50_000_000)
scheduler.close()
"""

# Bytes that a configuration is said to need beside its weights, and by how much the process grows with one.
TABLE = """
import sys
from dataclasses import replace
from models.format.directory import open_model
from service.live.configurations import by_name
from service.live.memory import own_bytes
from service.live.registry import Registry
from service.process import share_one_heap
share_one_heap()
directory = open_model(sys.argv[1])
architecture = replace(directory.config.architecture, max_positions=65536)
directory = replace(directory, config=replace(directory.config, architecture=architecture))
registry = Registry([directory], max_batch_tokens=4096)
registry.start()
for name in ("half", "narrow"):
    change = registry.change("tiny", lambda files, now: now.load(by_name(files, name)))
print(own_bytes(directory), change.rss_after - change.rss_before)
"""


def run(code: str, *arguments: str) -> str:
    """Run a script in a process of its own and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(service.__file__).parent.parent,
    )
    return done.stdout


needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heaps are like this")
needs_smaps = pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="needs /proc")


@pytest.fixture
def own_copy(default_model_dir: Path, tmp_path: Path) -> Path:
    """Copy the default model: nothing else in this process has the copy's files mapped."""
    return Path(shutil.copytree(default_model_dir, tmp_path / "en-de"))


@needs_glibc
def test_threads_share_one_heap() -> None:
    assert run(HEAPS, "by default").count("<heap nr=") > 1
    assert run(HEAPS, "shared").count("<heap nr=") == 1


@needs_glibc
def test_an_idle_scheduler_gives_back_what_was_freed() -> None:
    assert run(IDLE) == "True\n"


@needs_smaps
def test_the_kernel_tells_which_weights_are_resident(own_copy: Path) -> None:
    directory = open_model(own_copy)  # which gives back what it has read
    assert resident_weight_bytes(directory) == 0
    size = sum(tensor.nbytes for tensor in directory.main.tensors.values())
    for tensor in directory.main.tensors.values():
        bytes(tensor.data)
    assert size <= resident_weight_bytes(directory) < size + 2 * 4096 * len(directory.main.tensors)
    give_back(directory)
    assert resident_weight_bytes(directory) == 0


def test_without_proc_nothing_is_known_to_be_resident(own_copy: Path) -> None:
    assert resident_weight_bytes(open_model(own_copy), own_copy / "smaps") == 0


@needs_smaps
def test_planes_that_are_there_already_need_no_memory(own_copy: Path) -> None:
    """Four planes beside all that there are, with room for less than the four: 6 MB."""
    registry = Registry([open_model(own_copy)], max_batch_tokens=4096)
    (name,) = registry.models
    directory = registry.models[name].directory
    wide = Choice("all", directory.resolve({"*": directory.config.codes.depth}))
    narrow = Choice("flat-4", directory.allocation("flat-4"))
    registry.start_model(name, Desired(wide))
    for tensor in directory.engine_inputs(wide.allocation)[0].values():
        bytes(tensor.data)
    spare = directory.model_bytes(narrow.allocation) // 2
    registry.memory_limit_bytes = settled_rss_bytes() + spare
    change = registry.change(name, lambda _, now: now.load(narrow))
    assert set(change.after.choices) == {"all", "flat-4"}
    registry.change(name, lambda _, now: now.unload("flat-4"))
    # the same with all planes live but not resident: they can come back at any moment
    give_back(directory)
    registry.memory_limit_bytes = settled_rss_bytes() + spare
    with pytest.raises(InsufficientMemory, match="Loading flat-4 takes up to"):
        registry.change(name, lambda _, now: now.load(narrow))
    registry.close()


@needs_smaps
def test_what_is_freed_goes_back_to_the_system(own_copy: Path) -> None:
    registry = Registry([open_model(own_copy)], max_batch_tokens=4096)
    (name,) = registry.models
    directory = registry.models[name].directory
    registry.start_model(name, Desired(Choice("all", directory.resolve({"*": directory.config.codes.depth}))))
    for tensor in directory.main.tensors.values():
        bytes(tensor.data)
    assert resident_weight_bytes(directory) > 0
    registry.change(name, lambda files, now: now.activate(by_name(files, "flat-4")))
    assert resident_weight_bytes(directory) == 0
    registry.close()


@pytest.fixture
def far_positions(tiny_model: Path) -> ModelDirectory:
    """Write the tiny model with as many positions as an engine may have: 1 MB for each configuration."""
    directory = open_model(tiny_model)
    architecture = replace(directory.config.architecture, max_positions=65_536)
    return replace(directory, config=replace(directory.config, architecture=architecture))


def test_the_table_of_positions_needs_memory_as_well(far_positions: ModelDirectory) -> None:
    registry = Registry([far_positions], max_batch_tokens=4096)
    registry.start()
    # Eight tables at once: what else this process frees meanwhile is less than half of them.
    widths = list(itertools.product((1, 2, 3, 4), (1, 2)))
    tables = len(widths) * own_bytes(far_positions)
    assert tables > 20 * far_positions.config.configurations["half"].bytes

    def load_all(files: ModelDirectory, desired: Desired) -> Desired:
        for planes in widths:
            desired = desired.load(by_planes(files, dict(zip(("embedding", "encoder.*"), planes, strict=True))))
        return desired

    registry.memory_limit_bytes = settled_rss_bytes() + tables // 2
    with pytest.raises(InsufficientMemory, match=r"Loading .* takes up to"):
        registry.change("tiny", load_all)
    registry.memory_limit_bytes = settled_rss_bytes() + 4 * tables
    assert len(registry.change("tiny", load_all).after.choices) == 1 + len(widths)
    registry.close()


@needs_smaps
def test_the_engine_allocates_what_the_table_is_said_to_need(tiny_model: Path) -> None:
    needed, allocated = map(int, run(TABLE, str(tiny_model)).split())
    assert needed > 1_000_000
    assert abs(allocated - needed) < needed // 4
