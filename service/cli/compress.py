"""`sub3 compress` and `sub3 models shortlist`: verbs of the offline half, `python -m models`, which has their options.

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
    return hand_over([arguments.command])


def hand_over(arguments: Sequence[str]) -> int:
    """Go on as the offline half; return 2 with a sentence on stderr if its packages are missing.

    Args:
        arguments: `compress` or `models shortlist`, and what stands behind it.
    """
    if find_spec("torch") is not None:
        # -P: a folder `models` in the working directory is not the package
        offline = arguments[1:] if arguments[0] == "models" else arguments
        os.execv(sys.executable, [sys.executable, "-P", "-m", "models", *offline])
    verb = " ".join(arguments[:2] if arguments[0] == "models" else arguments[:1])
    print(
        f"sub3 {verb} needs torch and what comes with it, which serving does not: install sub3 with its extra "
        "`train`, as in pip install -e '.[train]'.",
        file=sys.stderr,
    )
    return _UNUSABLE
