"""Types of command-line arguments."""

import argparse
from pathlib import Path

from models.format import store
from models.format.schema import ModelError


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def model_path(text: str) -> Path:
    """Find a model by its name among the installed ones, or else take a path.

    Raises:
        ModelError: it is neither.
    """
    path = Path(text)
    if path.is_dir() and len(path.parts) > 1:
        return path
    models = store.found()
    if text not in models and not path.is_dir():
        raise ModelError(f"{text}: there is no such model or directory; the models are {', '.join(models)}.")
    return models.get(text, path)
