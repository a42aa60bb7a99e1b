"""Glossaries: the terms that stand in a sentence, and the spellings of their translations that are allowed there.

A term is found as whole words: neither a letter nor a hyphen joins it to another word. A term in lower case is found in
any casing, a term with a capital as it is written. Terms are not inflected: each form is an entry. Their translations
may be, where the client leaves that to the model. Of terms that overlap, the one that begins first is taken, and of
those the longest. Kept units do not hold terms.
"""

import bisect
import functools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from service.text.composed import composed
from service.text.placeholders import Span, overlaps

MAX_TERM_CHARACTERS = 200
MAX_TERM_LENGTHS = 20  # in words and marks, of terms with the same first word: each is looked up from that word

_WORD = re.compile(r"(?:\w[\u0300-\u036f]*)+|[^\w\s]")
_SENTENCE_END = re.compile(r"(?<!\d)[.!?…](?=\s+\S)")
# What inflection puts behind a word, by language; where it changes the word itself, that is another entry.
_ENDINGS = {
    "de": frozenset("e em en er ern es n nen ns s se sen ses".split()),  # noqa: SIM905
    "en": frozenset({"s", "es"}),
    "fr": frozenset({"e", "es", "s", "x"}),
}
_IN_COMPOUND_BEFORE, _IN_COMPOUND_AFTER = re.compile(r"(?<=\w-)\w"), re.compile(r"(?<=\w)-\w")


class GlossaryRefused(ValueError):
    """A glossary, or the use of one in a request, is not valid; the message says why."""


class Term(NamedTuple):
    """A term of a sentence, however often it stands there."""

    spellings: tuple[str, ...]  # of its translation, one of which must be in that of the sentence
    follows_mark: bool  # somewhere a quotation mark, a bracket or another mark stands before it
    spans: tuple[Span, ...] = ()  # where it stands
    endings: frozenset[str] = frozenset()  # that its translation may have


class Glossary:
    """Terms and their translations; immutable, so that threads can share it."""

    def __init__(self, entries: Mapping[str, str], source: str, target: str) -> None:
        """Index the entries by their first words.

        Args:
            entries: the translation of each term; a term that is its own translation is not translated.
            source: the language of the terms; "auto" is any.
            target: the language of the translations.

        Raises:
            GlossaryRefused: a term or translation is empty, too long or has a control character, or too many
                lengths of terms begin with one word.
        """
        self.source, self.target = source, target
        self._translations: dict[str, str] = {}
        # How long the terms are that begin with a word, in words and marks, longest first. Words share their tuples:
        # most begin terms of one length.
        self._lengths: dict[str, tuple[int, ...]] = {}
        for term, translation in map(_checked_entry, entries.items()):
            self._translations[term] = translation
            words = _WORD.findall(term)
            first = _lowered(words[0])
            lengths = self._lengths.get(first, ())
            if len(words) not in lengths:
                if len(lengths) == MAX_TERM_LENGTHS:
                    raise GlossaryRefused(f"More than {MAX_TERM_LENGTHS} lengths of terms begin with one word.")
                self._lengths[first] = _longest_first((*lengths, len(words)))

    def covers(self, source: str, target: str) -> bool:
        """Return whether the glossary is for this pair of languages."""
        return self.source in (source, "auto") and self.target == target

    def find(self, text: str, kept: Sequence[Span], *, exact: bool = True) -> list[Term]:
        """Return the terms of a sentence, in order.

        Args:
            text: the sentence.
            kept: units, which do not hold terms.
            exact: the translations stand as the glossary has them; otherwise they may have an ending of their language.
        """
        endings = frozenset() if exact else _ENDINGS.get(self.target, frozenset())
        found: dict[tuple[str, tuple[str, ...]], Term] = {}
        spans: dict[tuple[str, tuple[str, ...]], list[Span]] = {}
        for begin, end in self._spans(text, kept):
            stands = _composed(text[begin:end])
            term, translation = self._entry(stands) or (stands, stands)
            spellings = _spellings(term, translation, stands)
            known = found.get((term, spellings), Term(spellings, False, (), endings))
            follows_mark = known.follows_mark or (begin > 0 and not text[begin - 1].isspace())
            found[term, spellings] = known._replace(follows_mark=follows_mark)
            spans.setdefault((term, spellings), []).append((begin, end))
        return [term._replace(spans=tuple(spans[key])) for key, term in found.items()]

    def _spans(self, text: str, kept: Sequence[Span]) -> Iterator[Span]:
        """Yield where the terms stand in a sentence."""
        words = [match.span() for match in _WORD.finditer(text)]
        position = 0
        while position < len(words):
            begin, end = words[position]
            for length in self._lengths.get(_lowered(text[begin:end]), ()):
                if position + length > len(words):
                    continue
                span = (begin, words[position + length - 1][1])
                if self._entry(_composed(text[slice(*span)])) and _is_whole(text, span) and not overlaps(span, kept):
                    yield span
                    position += length - 1
                    break
            position += 1

    def _entry(self, stands: str) -> tuple[str, str] | None:
        """Return the term as the glossary spells it and its translation; None if the text is not a term."""
        for term in (stands, _lowered(stands)):
            if (translation := self._translations.get(term)) is not None:
                return term, translation
        return None


def check_entries(entries: Mapping[str, str]) -> None:
    """Check terms and translations. Raises GlossaryRefused, as `Glossary` does."""
    for entry in entries.items():
        _checked_entry(entry)


def are_obeyed(terms: Sequence[Term], text: str, translation: str) -> bool:
    """Return whether each term's translation stands in that of the text as often as the term, and in its sentences.

    A search that must say a word which it has no place for says it behind the end of the sentence.
    """
    words = [match.span() for match in _WORD.finditer(translation)]
    begins, ends = {begin for begin, _ in words}, [end for _, end in words]
    alike: dict[str, list[Term]] = {}  # terms with the same translation, which tell nothing of which stands where
    for term in terms:
        alike.setdefault(term.spellings[0].casefold(), []).append(term)
    for own in alike.values():
        places = set()
        for spelling in dict.fromkeys(spelling for term in own for spelling in term.spellings):
            for match in re.finditer(re.escape(spelling), translation):
                end = ends[bisect.bisect_left(ends, match.end())]  # of the word in which it ends
                is_word = end == match.end() or translation[match.end() : end] in own[0].endings
                if match.start() in begins and is_word and _is_whole(translation, (match.start(), end)):
                    places.add((match.start(), end))
        if len(places) != sum(len(term.spans) for term in own):
            return False
    return not terms or len(_SENTENCE_END.findall(translation)) <= len(_SENTENCE_END.findall(text))


def spelt(term: Term, text: str, span: Span) -> str:
    """Return the spelling of a term's translation where the term stands in a text."""
    stands = text[slice(*span)]
    if len(term.spellings) == 1:
        return term.spellings[0]
    if len(term.spellings) > 2 and stands.isupper():
        return term.spellings[2]
    return term.spellings[1 if stands[:1].isupper() and not text[: span[0]].strip() else 0]


def _spellings(term: str, translation: str, stands: str) -> tuple[str, ...]:
    """Return the allowed spellings of the translation of a term that `stands` so in the source."""
    if translation == term:
        return (stands,)
    spellings = [translation, translation[0].upper() + translation[1:]]  # at the beginning of a sentence
    if len(stands) > 1 and stands.isupper() and not term.isupper():
        spellings.append(translation.upper())
    return tuple(dict.fromkeys(spellings))


def _checked_entry(entry: tuple[str, str]) -> tuple[str, str]:
    term, translation = map(_checked, entry)
    return term, translation


@functools.lru_cache(maxsize=1024)  # clients choose the lengths
def _longest_first(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """Return the lengths in order, as one tuple however often it is asked for."""
    return tuple(sorted(lengths, reverse=True))


def _checked(term: str) -> str:
    term = _composed(term)
    if not _WORD.search(term):
        raise GlossaryRefused("A glossary's terms and their translations must not be empty.")
    if len(term) > MAX_TERM_CHARACTERS:
        raise GlossaryRefused(f"A glossary's terms have up to {MAX_TERM_CHARACTERS} characters.")
    if not term.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in term):
        raise GlossaryRefused("A glossary's terms must not hold control characters.")
    return term


def _composed(text: str) -> str:
    """Normalise a text for comparison: one space between words, characters composed (NFC)."""
    return composed(" ".join(text.split()))


def _lowered(text: str) -> str:
    return composed(text).lower()


def _is_whole(text: str, span: Span) -> bool:
    begin, end = span
    return not _IN_COMPOUND_BEFORE.match(text, begin) and not _IN_COMPOUND_AFTER.match(text, end)
