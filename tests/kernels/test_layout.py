"""The room: includes that only go down the ladder, and numbers that Python and C++ both state."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from kernels.engine import BLOCK_ROWS, MAX_PLANES, MAX_THREADS, WORD_COLUMNS
from models.format import directory
from service.settings import Settings

KERNELS = Path(__file__).resolve().parents[2] / "kernels"
# A file may include files of its own room and of those before it. engine_api.h has declarations only.
LADDER = ["engine_api.h", "floats", "products", "network", "decoding", "words.h", "words.cc", "engine.cc"]
SOURCES = sorted(path for pattern in ("**/*.cc", "**/*.h") for path in KERNELS.glob(pattern))


def rung(path: str) -> int:
    """Find the rung of a file, relative to kernels/; a file outside of all rooms is an error."""
    return LADDER.index(path.split("/")[0])


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(KERNELS).as_posix())
def test_includes_go_down_the_ladder(source):
    own = rung(source.relative_to(KERNELS).as_posix())
    included = re.findall(r'^#include "kernels/(.+)"', source.read_text(encoding="utf-8"), re.MULTILINE)
    assert [path for path in included if rung(path) > own] == []


def test_the_format_of_the_codes_is_the_same_on_both_sides():
    """C++ holds its own constants to these (network/tensor_table.cc)."""
    assert (directory.BLOCK_ROWS, directory.WORD_COLUMNS, directory.MAX_PLANES) == (
        BLOCK_ROWS,
        WORD_COLUMNS,
        MAX_PLANES,
    )


def test_the_setting_takes_as_many_threads_as_the_engine():
    assert Settings(threads=MAX_THREADS).threads == MAX_THREADS
    with pytest.raises(ValidationError, match="threads"):
        Settings(threads=MAX_THREADS + 1)
