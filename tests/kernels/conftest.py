"""The random model that tests of the search share."""

from __future__ import annotations

import pytest

from kernels.engine import Engine

from .coded_model import TINY, code, random_tensors

# Added to the logit of eos: without it no hypothesis of the random model ends before its maximum length; with 2 some
# end; with 4 nearly all do, many of them at once.
EOS_BIASES = [0.0, 2.0, 4.0]


@pytest.fixture(scope="module", params=EOS_BIASES)
def tiny(request):
    """Return the engine of a tiny model in five planes, and its reference by torch."""
    return code(TINY, random_tensors(TINY, 3, eos_bias=request.param), lambda name: 5)


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    """Return the engine of the module's model."""
    return tiny[0]
