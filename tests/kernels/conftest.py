"""The random models that tests of the search share."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernels.engine import Engine

from .coded_model import TINY, code, random_tensors

# Added to the logit of eos: without it no hypothesis of the random model ends before its maximum length; with 2 some
# end; with 4 nearly all do, many of them at once.
EOS_BIASES = [0.0, 2.0, 4.0]
# One with SSRUs whose hypotheses have many words and many lengths. Tied to its embedding it would repeat what it read.
SSRU = replace(TINY, autoregression="ssru", encoder_layers=3, tied_output=False)
RANDOM_SSRU = random_tensors(SSRU, 0, eos_bias=1.0)


@pytest.fixture(scope="module", params=[*EOS_BIASES, "ssru"])
def tiny(request):
    """Return the engine of a tiny model in five planes, and its reference by torch."""
    if request.param == "ssru":
        return code(SSRU, RANDOM_SSRU, lambda name: 5)
    return code(TINY, random_tensors(TINY, 3, eos_bias=request.param), lambda name: 5)


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    """Return the engine of the module's model."""
    return tiny[0]
