"""Terms whose translation is given: which of them stand in a sentence, and how their translation may be spelt there.

A term is found as whole words: neither a letter nor a hyphen joins it to another word. One that is written in lower
case is found in any casing, one with a capital as it is written. Terms are not inflected: each form is an entry. Of
terms that overlap the one that begins first is taken, and of those the longest. What is kept to the letter holds no
term.
"""

import bisect
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from service.text.placeholders import Span

MAX_ENTRIES = 5000
MAX_TERM_CHARACTERS = 200
MAX_TERM_WORDS = 20  # and marks: a sentence is tried with as many from each of its words on

_WORD = re.compile(r"(?:\w[\u0300-\u036f]*)+|[^\w\s]")
_IN_COMPOUND_BEFORE, _IN_COMPOUND_AFTER = re.compile(r"(?<=\w-)\w"), re.compile(r"(?<=\w)-\w")


class GlossaryRefused(ValueError):
    """A glossary, or how a request uses one, is refused; the sentence says why."""


class Term(NamedTuple):
    """A term of a sentence; several times in it is once."""

    spellings: tuple[str, ...]  # of its translation, one of which must be in that of the sentence
    follows_mark: bool  # somewhere a quotation mark, a bracket or the like stands before it


class Glossary:
    """Immutable, so that threads share it."""

    def __init__(self, entries: Mapping[str, str], source: str, target: str) -> None:
        """`entries`: the translation of each term; the term itself is one that is not translated.

        Args:
            source: the language of the terms; "auto" is any.
            target: the language of their translations.

        Raises:
            GlossaryRefused: there are too many entries, or a term is empty, too long, or no one line.
        """
        if len(entries) > MAX_ENTRIES:
            raise GlossaryRefused(f"A glossary takes up to {MAX_ENTRIES:,} entries.")
        self.source, self.target = source, target
        self._targets: dict[str, dict[str, str]] = {}  # of each term in lower case: of each of its spellings
        self._lengths: dict[str, list[int]] = {}  # by its first word: in words and marks, longest first
        for term, translation in entries.items():
            term, translation = _checked(term), _checked(translation)
            words = _WORD.findall(term)
            if len(words) > MAX_TERM_WORDS:
                raise GlossaryRefused(f"A glossary's terms have up to {MAX_TERM_WORDS} words and marks.")
            self._targets.setdefault(_lowered(term), {})[term] = translation
            lengths = self._lengths.setdefault(_lowered(words[0]), [])
            if len(words) not in lengths:
                lengths.append(len(words))
                lengths.sort(reverse=True)

    def covers(self, source: str, target: str) -> bool:
        """Whether it is for texts of that pair of languages."""
        return self.source in (source, "auto") and self.target == target

    def find(self, text: str, kept: Sequence[Span]) -> list[Term]:
        """The terms of a sentence, of which `kept` stays to the letter, in order."""
        found: dict[tuple[str, tuple[str, ...]], bool] = {}
        for begin, end in self._spans(text, kept):
            stands = _composed(text[begin:end])
            term, translation = self._entry(stands) or (stands, stands)
            follows_mark = begin > 0 and not text[begin - 1].isspace()
            key = (term, _spellings(term, translation, stands))
            found[key] = found.get(key, False) or follows_mark
        return [Term(spellings, follows_mark) for (_, spellings), follows_mark in found.items()]

    def _spans(self, text: str, kept: Sequence[Span]) -> Iterator[Span]:
        words = [match.span() for match in _WORD.finditer(text)]
        position = 0
        while position < len(words):
            begin, end = words[position]
            for length in self._lengths.get(_lowered(text[begin:end]), ()):
                if position + length > len(words):
                    continue
                span = (begin, words[position + length - 1][1])
                if self._entry(_composed(text[slice(*span)])) and _is_whole(text, span) and not _overlap(span, kept):
                    yield span
                    position += length - 1
                    break
            position += 1

    def _entry(self, stands: str) -> tuple[str, str] | None:
        """The term that text is, as it is written in the glossary, and its translation."""
        spellings = self._targets.get(_lowered(stands), {})
        for term in (stands, _lowered(stands)):
            if term in spellings:
                return term, spellings[term]
        return None


def _spellings(term: str, translation: str, stands: str) -> tuple[str, ...]:
    """How the translation of a term may be spelt, which `stands` so in the source."""
    if translation == term:
        return (stands,)
    spellings = [translation, translation[0].upper() + translation[1:]]  # at the beginning of a sentence
    if len(stands) > 1 and stands.isupper() and not term.isupper():
        spellings.append(translation.upper())
    return tuple(dict.fromkeys(spellings))


def _checked(term: str) -> str:
    term = _composed(term)
    if not _WORD.search(term):
        raise GlossaryRefused("A glossary's terms and their translations must not be empty.")
    if len(term) > MAX_TERM_CHARACTERS:
        raise GlossaryRefused(f"A glossary's terms have up to {MAX_TERM_CHARACTERS} characters.")
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in term):
        raise GlossaryRefused("A glossary's terms must not hold control characters.")
    return term


def _composed(text: str) -> str:
    """The text as it is compared: one space between words, characters composed."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _lowered(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text).lower()


def _is_whole(text: str, span: Span) -> bool:
    begin, end = span
    return not _IN_COMPOUND_BEFORE.match(text, begin) and not _IN_COMPOUND_AFTER.match(text, end)


def _overlap(span: Span, kept: Sequence[Span]) -> bool:
    place = bisect.bisect_left(kept, span[1], key=lambda other: other[0])  # the first that begins behind
    return place > 0 and span[0] < kept[place - 1][1]
