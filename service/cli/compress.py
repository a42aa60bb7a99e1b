"""`sub3 compress`: the offline half's `python -m models compress`, which has its options.

It takes the place of this process: serving has no torch, and need not be loaded to compress.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec

HELP = "make a model of few bits from your own Marian or Opus-MT checkpoint"
DESCRIPTION = "Is `python -m models compress`; `sub3 compress --help` lists its options."
_UNUSABLE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: `hand_over` gets the command line as it is."""


def run(arguments: argparse.Namespace) -> int:
    """Compress with no arguments, which is refused with the usage."""
    return hand_over([])


def hand_over(arguments: Sequence[str]) -> int:
    """Go on as the offline half; return 2 with a sentence on stderr if its packages are missing."""
    if find_spec("torch") is not None:
        # -P: a folder `models` in the working directory is not the package
        os.execv(sys.executable, [sys.executable, "-P", "-m", "models", "compress", *arguments])
    print(
        "sub3 compress needs torch and what comes with it, which serving does not: install sub3 with its extra "
        "`train`, as in pip install -e '.[train]'.",
        file=sys.stderr,
    )
    return _UNUSABLE
