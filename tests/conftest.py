"""What every test may use: the corpus and the checkpoint, where they are, and the default model."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# No deadlines: a busy machine is no fault. The same examples every time, so that what passed passes again; new ones are
# what `make test-properties` is for.
hypothesis.settings.register_profile("repeat", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("repeat")
os.environ["SUB3_STATE_FILE"] = ""  # a server of a test forgets its swaps, unless the test says where to keep them
# What begins in the background ignores the one, what nohup begins the other, and so would the servers of the tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SUB3_SHARED", ROOT.parent / "shared"))
DEFAULT_MODEL = ROOT / "models" / "store" / "en-de"


@pytest.fixture(scope="session")
def corpus_dir() -> Path:
    """Return the parallel text; skip where it is absent (it is not part of the repository)."""
    directory = SHARED / "corpus"
    if not directory.is_dir():
        pytest.skip(f"no corpus at {directory}; set SUB3_SHARED to the folder that holds corpus/ and checkpoint/")
    return directory


@pytest.fixture(scope="session")
def checkpoint_dir() -> Path:
    """Return the trained Marian checkpoint; skip where it is absent."""
    directory = SHARED / "checkpoint" / "en-de-small"
    if not directory.is_dir():
        pytest.skip(f"no checkpoint at {directory}; set SUB3_SHARED to the folder that holds corpus/ and checkpoint/")
    return directory


@pytest.fixture(scope="session")
def default_model_dir() -> Path:
    """Return the model directory that ships."""
    return DEFAULT_MODEL
