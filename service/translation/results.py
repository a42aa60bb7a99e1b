"""The options of a translation, and its results: sentences as they come, texts, and what they cost."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models.format.schema import MAX_BEAM_SIZE
from service.text.alignment import Link
from service.text.glossary import Glossary
from service.text.sentences import SplitSentences
from service.translation.cost import Cost


class LimitExceeded(ValueError):
    """A request asks for more than the settings allow; the sentence names the limit."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a translation.

    Attributes:
        source: Code of the language of the texts.
        target: Code of the language to translate to.
        beam_size: Hypotheses that the search keeps, at least 1, which is greedy; None for the model's own number.
        alternatives: Next best translations to return, at least 0. The beam is at least one wider than that.
        split_sentences: What ends a sentence.
        alignment: Whether to link the words of translations to those of the texts.
        glossary: Terms that have a given translation; ignored where it is for other languages.
        prefix: What the translation of the first sentence begins with, if the vocabulary can spell it.
        max_beam_size: Limit of the model's own number.
        max_sentences: Limit of the sentences of all texts that a model is to translate; None for any number.
        obeys_marks: Whether a text may ask for another target at its head (`>>fr<< Good morning`) of a model that has
            such tokens.
        exact_terms: Whether the translation of a term stands as the glossary has it; otherwise it may be inflected.
        shortlist: Whether words are chosen from the model's shortlist, where it has one; None: as configured.
    """

    source: str
    target: str
    beam_size: int | None = None
    alternatives: int = 0
    split_sentences: SplitSentences = "1"
    alignment: bool = False
    glossary: Glossary | None = None
    prefix: str = ""
    max_beam_size: int = MAX_BEAM_SIZE
    max_sentences: int | None = None
    obeys_marks: bool = True
    exact_terms: bool = True
    shortlist: bool | None = None


class Candidate(NamedTuple):
    """A translation with its score: the mean of its sentences' log probabilities, each normalised by length; at most 0.

    `alignment`, if it was asked for, has one link for each word and mark of the text, in its order; a part that was
    copied is one word. A sentence whose words could not be followed has no link.
    """

    text: str
    score: float
    alignment: tuple[Link, ...] = ()


# Why a text came back as it was: it is in the target language already, or in a language that no model translates.
Unchanged = Literal["same_language", "unsupported_language"]


class Translation(NamedTuple):
    """The best translation of a text and the next best ones, best first.

    `cut_sentences` is the number of sentences that were too long and were cut; `via` are the languages between source
    and target, where no model translates the pair itself; `unchanged` tells why a text was not translated.
    """

    best: Candidate
    alternatives: tuple[Candidate, ...]
    cut_sentences: int = 0
    via: tuple[str, ...] = ()
    unchanged: Unchanged | None = None


class TranslatedSentence(NamedTuple):
    """A sentence of a text, passed on as soon as it is ready.

    `text` and `sentence` count from 0; sentences that are copied are not counted. `begin` is the place of the source in
    its text, in characters; `is_last` tells the last sentence of a text.
    """

    text: int
    sentence: int
    source: str
    best: Candidate
    begin: int
    is_last: bool


OnSentence = Callable[[TranslatedSentence], None]
# Takes all sentences of a request on to further models; returns for each of them the candidates of the last one.
Continuation = Callable[[Sequence[TranslatedSentence]], Awaitable[Sequence[list[Candidate]]]]


@dataclass(frozen=True, slots=True)
class Translated:
    """The translations of texts, in their order, and what they cost."""

    translations: list[Translation]
    cost: Cost
