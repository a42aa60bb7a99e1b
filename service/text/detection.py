"""Language detection: fastText's lid.176, and for short texts the frequent words of each language (lid/README.md).

lid.176 knows 176 languages, but it was pruned to a megabyte and has no feature for most short words: `Ja` and `Yes`
are the same to it. Bayes' rule puts together what it says, how frequent the words of the text are in each language, and
a prior: most texts are in a language that the server translates. A rare word is told by its letters.
"""

import bisect
import functools
import itertools
import math
import mmap
import re
import zlib
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import fasttext

_FOLDER = Path(__file__).parent / "lid"
_SAMPLE_CHARACTERS = 2000  # more text does not change the answer and costs time
_SAMPLE_WORDS = 12
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_CANDIDATES = 5  # of lid.176, beside the known languages
_LIST_WORDS = 10_000  # of a known language; of another one its most frequent ones do
_LIST_WORDS_OF_OTHERS = 1500
# In nats; the figures that they were chosen for are in docs/benchmarks.md.
_FLOOR = math.log(1e-4)  # a language that lid.176 does not name
_SHORT_WORDS = 4
_WORDS_OF_A_SENTENCE = 2.5  # as many count of a longer text
_TRUST_SHORT = 0.6  # lid.176's weight for a text of so few words
_PRIOR_SHORT, _PRIOR = math.log(20), math.log(5)  # for a known language
_SURELY_ANOTHER = 2  # times as likely as all known languages
_LISTED, _MOST_FREQUENT = 2.0, 6.0  # for a word that is in the list, and more the further up it stands
_MIN_CONFIDENCE = 0.01
# A word of a short text that no known language lists: threes of letters tell which of these it is like.
_LONG_WORD = 4
_UNSEEN = 0.1  # for threes that no listed word has
_TRUST_LETTERS, _MOST_FOR_LETTERS = 0.5, 4.0
# languages that share a list of words
_LISTS = {"no": "nb", "nn": "nb", "hr": "sh", "sr": "sh", "bs": "sh"}


class Detected(NamedTuple):
    """A language as an ISO code, and its probability, 0 to 1."""

    language: str
    confidence: float


_loaded: set[frozenset[str]] = set()  # languages, as `load` had them
UNKNOWN = Detected("en", 0.0)  # for a text without a letter: the answer that LibreTranslate's clients know


def detect(text: str, known: Collection[str] = (), context: str = "") -> Detected:
    """Return the language of a text: the likeliest known one, unless another one is twice as likely as all of them.

    Args:
        text: of which the first 2,000 characters are read.
        known: languages that the server reads or writes.
        context: text around it, in the same language, which is read with a text of a few words.
    """
    is_short = len(_WORD.findall(text[:_SAMPLE_CHARACTERS])) <= _SHORT_WORDS
    chances = _chances(f"{text} {context}" if context and is_short else text, known)
    if not chances:
        return UNKNOWN
    best = max(chances, key=chances.__getitem__)
    ours = {language: chances[language] for language in known if language in chances}
    if ours and best not in ours and chances[best] < _SURELY_ANOTHER * sum(ours.values()):
        best = max(ours, key=ours.__getitem__)
    return Detected(best, round(chances[best], 4))


def is_loaded(known: Collection[str]) -> bool:
    """Return whether the model is in memory, and what tells these languages apart."""
    return frozenset(known) in _loaded


def load(known: Collection[str]) -> None:
    """Load the model, and the words and letters that tell these languages apart."""
    detect("The river is wide.", known)
    for language in known:
        _letters(_LISTS.get(language, language))
    _loaded.add(frozenset(known))


def rank(text: str, sources: Collection[str], known: Collection[str]) -> list[Detected]:
    """Return the languages that a text may be in, likeliest first; never empty.

    Args:
        text: of which the first 2,000 characters are read.
        sources: languages to choose from, at least one. The probabilities of other languages are not theirs: they may
            add up to little.
        known: languages that the server reads or writes.
    """
    chances = _chances(text, known)
    if not chances:
        return [UNKNOWN if UNKNOWN.language in sources else Detected(next(iter(sources)), 0.0)]
    found = [Detected(language, round(chances.get(language, 0.0), 4)) for language in sources]
    found.sort(key=lambda guess: guess.confidence, reverse=True)
    return [guess for guess in found if guess.confidence >= _MIN_CONFIDENCE] or found[:1]


def is_common(word: str, language: str) -> bool:
    """Tell whether a word is among the most frequent of a language; of one without a list every word may be."""
    ranks = _ranks(_LISTS.get(language, language), _LIST_WORDS)
    return not ranks or ranks.get(word.casefold()) > 0


def _chances(text: str, known: Collection[str]) -> dict[str, float]:
    """Return the probability of each candidate; nothing for a text without a letter."""
    sample = " ".join(text[:_SAMPLE_CHARACTERS].split())
    if not any(character.isalpha() for character in sample):
        return {}
    if sample.isupper():
        sample = sample.lower()  # the model has seen few capitals
    labels, probabilities = _model().predict(sample, k=-1, threshold=0.0)  # of all, likeliest first
    told = {
        label.removeprefix("__label__"): float(probability)
        for label, probability in zip(labels, probabilities, strict=True)
    }
    words = _WORD.findall(sample.casefold().replace("’", "'"))[:_SAMPLE_WORDS]
    is_short = len(words) <= _SHORT_WORDS
    letters = _evidence_of_letters(words, known) if is_short else {}
    nats: dict[str, float] = {}
    for language in {*known, *itertools.islice(told, _CANDIDATES)}:
        model = max(_FLOOR, math.log(max(told.get(language, 0.0), 1e-9)))
        if is_short:
            model *= _TRUST_SHORT
        listed = _evidence(words, language, _LIST_WORDS if language in known else _LIST_WORDS_OF_OTHERS)
        if not is_short:
            listed *= _WORDS_OF_A_SENTENCE / len(words)  # of which lid.176 knows more than its words tell
        prior = (_PRIOR_SHORT if is_short else _PRIOR) if language in known else 0.0
        nats[language] = model + listed + prior + letters.get(language, 0.0)
    most = max(nats.values())
    total = sum(math.exp(value - most) for value in nats.values())
    return {language: math.exp(value - most) / total for language, value in nats.items()}


def _evidence(words: Sequence[str], language: str, depth: int) -> float:
    """Return what the frequencies of the words say for a language, in nats."""
    ranks = _ranks(_LISTS.get(language, language), depth)
    found = filter(None, map(ranks.get, words))
    return sum(_LISTED + min(_MOST_FREQUENT, math.log(_LIST_WORDS / rank)) for rank in found)


def _evidence_of_letters(words: Sequence[str], known: Collection[str]) -> dict[str, float]:
    """Return for each known language how much less the words that none of them lists are like its own, in nats."""
    listed = {language: _ranks(_LISTS.get(language, language), _LIST_WORDS) for language in sorted(known)}
    own = [language for language, ranks in listed.items() if ranks]
    rare = [
        word for word in words if len(word) >= _LONG_WORD and not any(listed[language].get(word) for language in own)
    ]
    if not rare or len(own) < 2:
        return {}
    likeness = {
        language: _TRUST_LETTERS * sum(_likeness(three, language) for word in rare for three in _threes(word))
        for language in own
    }
    most = max(likeness.values())
    return {language: max(value - most, -_MOST_FOR_LETTERS) for language, value in likeness.items()}


def _likeness(three: str, language: str) -> float:
    counts, pairs = _letters(_LISTS.get(language, language))
    return math.log((counts.get(three) + _UNSEEN) / (pairs.get(three[:2]) + 30 * _UNSEEN))


def _threes(word: str) -> Iterator[str]:
    padded = f"  {word} "
    return (padded[begin : begin + 3] for begin in range(len(padded) - 2))


class _Table:
    """Numbers by short texts, as the sorted CRC-32s of these: a tenth of the memory of a dict.

    Of 10,000 texts two have the same CRC in one table of a hundred; the numbers of both are then those of one.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        pairs = sorted((zlib.crc32(text.encode()), number) for text, number in numbers.items())
        self._keys = array("I", (key for key, _ in pairs))
        self._numbers = array("I", (number for _, number in pairs))

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, text: str) -> int:
        """Return the number of a text; 0 if it has none."""
        key = zlib.crc32(text.encode("utf-8", "surrogatepass"))
        place = bisect.bisect_left(self._keys, key)
        return self._numbers[place] if place < len(self._keys) and self._keys[place] == key else 0


@functools.cache
def _letters(language: str) -> tuple[_Table, _Table]:
    """Count the threes of letters of a language's listed words, and the twos that they begin with."""
    letters = "".join(f"  {word} " for word in _listed(language, _LIST_WORDS))
    # those over the gap between two words begin with a letter and a space, as none of a word does
    threes = Counter(map("".join, zip(letters, letters[1:], letters[2:], strict=False)))
    pairs: Counter[str] = Counter()
    for three, count in threes.items():
        pairs[three[:2]] += count
    return _Table(threes), _Table(pairs)


@functools.cache
def _ranks(language: str, depth: int) -> _Table:
    """Return the ranks of a language's most frequent words, from 1; none for a language without a list."""
    return _Table({word: rank for rank, word in enumerate(_listed(language, depth), 1)})


def _listed(language: str, depth: int) -> list[str]:
    """Return a language's most frequent words."""
    with (_FOLDER / "words.txt").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as words:
        mark = f"{language} ".encode()
        begin = 0 if words[: len(mark)] == mark else words.find(b"\n" + mark) + 1
        if begin == 0 and words[: len(mark)] != mark:
            return []
        end = words.find(b"\n", begin)
        return words[begin : end if end >= 0 else len(words)].decode().split(" ", depth + 1)[1 : depth + 1]


@functools.cache
def _model() -> "fasttext.FastText._FastText":
    import fasttext  # here, so that a service that never detects a language does not load it

    return fasttext.load_model(str(_FOLDER / "lid.176.ftz"))
