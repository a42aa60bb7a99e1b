"""What the loads translate: sentences of the corpus where it is there, else our own."""

import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("SUB3_SHARED", ROOT.parent / "shared"))
CORPUS = SHARED / "corpus" / "test" / "tatoeba.en"
OURS = (
    "Would you like another cup of coffee?",
    "The train was late.",
    "I have never been to the sea, but my sister lives there with her two dogs.",
    "Please send me the report by Friday.",
    "What time is it?",
    "He opened the window, because it was too warm in the room.",
    "Nobody knew the answer.",
    "We should leave before it gets dark.",
    "The children were playing in the garden when it began to rain.",
    "Is there a bank near the station?",
    "My grandfather built this house with his own hands more than fifty years ago.",
    "Save the file before you close the program.",
    "She speaks three languages.",
    "The museum is closed on Mondays.",
    "If I had known that you were ill, I would have visited you in the hospital.",
    "Turn left at the second traffic light.",
)


def sentences(count: int = 500, seed: int = 5) -> list[str]:
    """Sample the Tatoeba test set in an order that the seed fixes, or our own sentences without a corpus."""
    if not CORPUS.is_file():
        return list(OURS)
    lines = [line for line in CORPUS.read_text(encoding="utf-8").splitlines() if any(map(str.isalpha, line))]
    return random.Random(seed).sample(lines, min(count, len(lines)))


def origin() -> str:
    """Name the source of the sentences, for the report."""
    return "Tatoeba test set" if CORPUS.is_file() else "the repository's own sentences"
