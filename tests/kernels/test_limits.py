"""Numbers that Python and C++ both state."""

import pytest
from pydantic import ValidationError

from kernels.engine import BLOCK_ROWS, MAX_PLANES, MAX_THREADS, WORD_COLUMNS
from models.format import schema
from service.settings import Settings


def test_the_format_of_the_codes_is_the_same_on_both_sides():
    """C++ holds its own constants to these (network/tensor_table.cc)."""
    assert (schema.BLOCK_ROWS, schema.WORD_COLUMNS, schema.MAX_PLANES) == (
        BLOCK_ROWS,
        WORD_COLUMNS,
        MAX_PLANES,
    )


def test_the_setting_takes_as_many_threads_as_the_engine():
    assert Settings(threads=MAX_THREADS).threads == MAX_THREADS
    with pytest.raises(ValidationError, match="threads"):
        Settings(threads=MAX_THREADS + 1)
