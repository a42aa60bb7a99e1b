"""Names of people and places in a sentence, and whether its translation has them.

A small model spells names that it never saw in its own way. So the names of a source are looked for in the translation:
places as the language of the translation calls them, other names as they are written.
"""

import functools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from service.text.detection import is_common
from service.text.placeholders import Span, overlaps

_FOLDER = Path(__file__).parent / "gazetteer"
_LANGUAGES = ("en", "de", "es", "fr", "pt")  # columns of places.tsv
# Languages that neither inflect names nor write them in other letters.
_VERBATIM = frozenset({"ca", "da", "de", "en", "es", "fr", "gl", "it", "nb", "nl", "no", "pt", "sv"})
_WORD = re.compile(r"(?<!\w)[^\W\d_]+(?:[’'.-][^\W\d_]+)*")
_GENITIVE = re.compile(r"['’]s?\Z")
_INFLECTED = ("", "s", "'s", "’s", "'", "’")
_ENDINGS = ("s", "es", "ed", "d", "ing", "er", "r", "ers", "rs", "ly", "y")  # of words that a list leaves out
# Words of a people, a faith or a style, of which other languages have their own; and those that are made of any name.
_DERIVED = re.compile(r"(?:ans?|ese|ish|ine|inos?|ists?|isms?|ics?|is?|ites?)\Z")
_MADE = re.compile(r"(?:[ie]ans?|ese|ish|ists?|isms?|ics?)\Z")
# What a word of a place ends with, as Münchner and italienisch.
_OF_A_PLACE = re.compile(r"(?:er[ns]?|isk?h(?:e[mnrs]?)?|innen|i?ans?|ese|is[eh]?|ik|[ao]i?se?|en[oa]s?|[eñ]os?)\Z")
_OF_NAMES = re.compile(r"mann|berg|stein|bach|burg|feld|meister|macher|bauer|hauer|hofer|hoff|wald|haus|haupt")
_CONTRACTION = re.compile(r"['’](?:d|ll|m|re|t|ve)\Z")
_INNER_CAPITAL = re.compile(r"(?<!\AMc)(?<!\AMac)(?<=[^\W\d_])(?<![-'’.])[A-Z]")
_VOWEL = re.compile(r"[aeiouyà-ÿ]", re.IGNORECASE)  # Ctrl and Mrs are no names
_BEFORE_A_SENTENCE = frozenset('.!?:;(["“”„«»-–—•*')
_CALENDAR = frozenset(
    {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "Christmas", "Easter"}
    | {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"}
    | {"December"}
)
_GERMAN_WORDS = frozenset(  # which are places, too
    {"Bergen", "Ende", "Essen", "Hof", "Klang", "Man", "Mobile", "Ob", "Orange", "San", "Sur", "Van", "Wa"}
)
_LONGEST_END = 20  # letters of the last word of a German compound
_MOST_WORDS = 4  # of a place in the gazetteer


class _Kind(Enum):
    """What a word with a capital is."""

    NOTHING = 0  # known of it
    WORD = 1  # of the language
    FIRST = 2  # a frequent name, which the model may translate, but not before another name
    KNOWN = 3  # a name that a dictionary has, so that other languages may have another one
    NAME = 4  # any other


class Name(NamedTuple):
    """A name in a source.

    Attributes:
        span: [begin, end) there.
        written: How the translation writes it.
        is_place: A word that is made of it may stand for it: Münchner for Munich.
        is_known: A word that begins alike may stand for it: Kreta for Crete.
    """

    span: Span
    written: str
    is_place: bool = False
    is_known: bool = False


class _Token(NamedTuple):
    """A word with a capital, without its genitive."""

    span: Span
    kind: _Kind

    @property
    def is_name(self) -> bool:
        return self.kind in (_Kind.KNOWN, _Kind.NAME)


_Tokens = Sequence[_Token | None]  # None for a word without a capital


def find(text: str, source: str, target: str, kept: Sequence[Span] = ()) -> list[Name]:
    """Find the names of a sentence that its translation must have, in order.

    English tells names by their capitals and a dictionary; German only those behind a first name; of other languages
    only places are found. Nothing is found in a headline, where most words have a capital. Time is linear in the text.

    Args:
        text: a sentence.
        source: ISO 639-1 code of its language.
        target: that of the translation.
        kept: sorted spans [begin, end) that are kept anyway, or that a glossary translates.
    """
    places = _places(source, target)
    copies = source in ("en", "de") and target in _VERBATIM
    if not (places or copies):
        return []
    words = list(_WORD.finditer(text))
    tokens = [_token(text, *word.span(), source) if word[0][0].isupper() else None for word in words]
    if source == "en" and _is_headline(words, tokens):
        return []
    if copies:
        tokens = _with_first_names(text, tokens, source)
    return [name for name in _merged(text, _names(text, tokens, places, source)) if not overlaps(name.span, kept)]


def load(sources: Iterable[str], targets: Collection[str]) -> None:
    """Read what `find` needs for languages, once in a process: 7 ms a pair, and 10 for each language's words.

    Args:
        sources: ISO 639-1 codes of the languages that are translated.
        targets: of those that are translated into.
    """
    for source in sources:
        for target in targets:
            if source != target and source in _LANGUAGES and target in _LANGUAGES:
                find("the Anna Kowalski", source, target)


def lost(names: Sequence[Name], translation: str) -> list[Name]:
    """Return the names that a translation does not have, neither as they are nor in the genitive."""
    if not names:
        return []
    there = {part for word in _WORD.findall(translation) for part in (word, *word.split("-"))}
    missing = [name for name in names if not all(_stands(part, there) for part in name.written.split())]
    folded = {_folded(word): word[0].isupper() for word in there} if missing else {}
    return [
        name
        for name in missing
        if not all(_stands(part, there) or _is_meant(part, folded, name) for part in name.written.split())
    ]


def _stands(word: str, there: set[str]) -> bool:
    """Return whether a word of a name is there, maybe in the genitive."""
    return any(word + ending in there for ending in _INFLECTED) or word.removesuffix("s") in there


def _is_meant(word: str, folded: Mapping[str, bool], name: Name) -> bool:
    """Return whether one of the folded words, each with whether it has a capital, may stand for a word of a name."""
    own = _folded(word)
    if name.is_place:
        stem = own[: max(3, len(own) - 2)]
        return any(other.startswith(stem) and _OF_A_PLACE.search(other) for other in folded)
    begin = own[: max(3, (len(own) + 1) // 2)]
    return name.is_known and any(is_capital and other.startswith(begin) for other, is_capital in folded.items())


def _names(text: str, tokens: _Tokens, places: Mapping[str, str | None], language: str) -> Iterator[Name]:
    """Yield the names among the words of a text."""
    position = 0
    while position < len(tokens):
        token, (count, place) = tokens[position], _longest(text, tokens[position : position + _MOST_WORDS], places)
        if token is not None and (count > 1 or (count and _is_a_place(text, tokens, position, place, language))):
            last = tokens[position + count - 1]
            if last is not None and place is not None:
                yield Name((token.span[0], last.span[1]), place, is_place=True)
            position += count
            continue
        if token is not None and token.is_name:
            yield Name(token.span, text[slice(*token.span)], is_known=token.kind is _Kind.KNOWN)
        position += 1


def _merged(text: str, names: Iterable[Name]) -> Iterator[Name]:
    """Join names that follow one another, such as first and last name."""
    run: list[Name] = []
    for name in names:
        if run and (name.is_place or run[0].is_place or text[run[-1].span[1] : name.span[0]] != " "):
            yield _joined(text, run)
            run = []
        run.append(name)
    if run:
        yield _joined(text, run)


def _joined(text: str, run: Sequence[Name]) -> Name:
    if len(run) == 1:
        return run[0]
    span = run[0].span[0], run[-1].span[1]
    return Name(span, text[slice(*span)], is_known=all(name.is_known for name in run))


def _longest(text: str, tokens: _Tokens, places: Mapping[str, str | None]) -> tuple[int, str | None]:
    """Return of how many of the tokens, from the first, the longest place is, and its name in the other language."""
    for count in range(len(tokens), 0, -1):
        first, last = tokens[0], tokens[count - 1]
        if first is not None and last is not None and (place := text[first.span[0] : last.span[1]]) in places:
            return count, places[place]
    return 0, None


def _is_a_place(text: str, tokens: _Tokens, index: int, place: str | None, language: str) -> bool:
    """Return whether a word that may be a place is neither another word nor a part of a name: Florence Nightingale."""
    token, before = tokens[index], tokens[index - 1] if index else None
    if token is None or _follows(text, tokens, index):
        return False
    if token.kind is _Kind.WORD and _begins_a_sentence(text, token.span[0]):  # Nice, Turkey
        return False
    if _is_also_a_word(text[slice(*token.span)], place, language):
        return False
    if before is None or not _follows(text, tokens, index - 1):
        return True
    return not before.is_name and _begins_a_sentence(text, before.span[0])


def _follows(text: str, tokens: _Tokens, index: int) -> bool:
    """Return whether another word with a capital stands behind one, with only a space between."""
    first, second = tokens[index], tokens[index + 1] if index + 1 < len(tokens) else None
    return first is not None and second is not None and text[first.span[1] : second.span[0]] == " "


def _with_first_names(text: str, tokens: _Tokens, language: str) -> list[_Token | None]:
    """Make names of frequent ones that stand before another; in German of what stands behind those, too."""
    found = list(tokens)
    for index in range(len(found) - 2, -1, -1):
        first, second = found[index], found[index + 1]
        if first is not None and second is not None and _follows(text, tokens, index) and first.kind is _Kind.FIRST:
            if language == "de" and not _is_german_noun(text[slice(*second.span)]):
                found[index + 1] = second = second._replace(kind=_Kind.NAME)
            if second.is_name or second.kind is _Kind.FIRST:
                found[index : index + 2] = first._replace(kind=_Kind.NAME), second._replace(kind=_Kind.NAME)
    return found


def _is_headline(words: Sequence[re.Match[str]], tokens: _Tokens) -> bool:
    """Return whether most words that are no names have a capital, which then says nothing."""
    ordinary = [
        token is not None
        for word, token in zip(words[1:], tokens[1:], strict=True)
        # a, of and the are written small there, and I is not
        if len(word[0]) > 3 and (token is None or token.kind is _Kind.WORD)
    ]
    return len(ordinary) > 1 and sum(ordinary) > len(ordinary) / 2


def _token(text: str, begin: int, end: int, language: str) -> _Token:
    word = _GENITIVE.sub("", text[begin:end]) or text[begin:end]
    is_plain = len(word) > 2 and not word.isupper() and not text[end : end + 1].isalnum()
    kind = _KIND_OF[language](text, begin, word) if is_plain and language in _KIND_OF else _Kind.NOTHING
    return _Token((begin, begin + len(word)), kind)


def _kind_in_english(text: str, begin: int, word: str) -> _Kind:
    if _CONTRACTION.search(word) or _INNER_CAPITAL.search(word) or not _VOWEL.search(word):
        return _Kind.NOTHING
    parts = word.split("-")
    if any(_is_word(part.lower()) for part in parts):
        return _Kind.WORD
    if all(map(_is_listed, parts)):
        if _DERIVED.search(word) or word in _CALENDAR:
            return _Kind.NOTHING
        return _Kind.FIRST if any(is_common(each, "en") for each in (word, word.removesuffix("s"))) else _Kind.KNOWN
    # any word has a capital where a sentence begins
    return _Kind.NOTHING if _MADE.search(word) or _begins_a_sentence(text, begin) else _Kind.NAME


def _kind_in_german(_text: str, _begin: int, word: str) -> _Kind:
    """Return whether a noun may be a first name: one of those that English begins with a capital, too."""
    if len(word) < 4 or word in _CALENDAR or _DERIVED.search(word) or _INNER_CAPITAL.search(word):
        return _Kind.NOTHING
    if not _is_listed(word) or _is_listed(word.lower()):
        return _Kind.NOTHING
    return _Kind.FIRST if is_common(word, "en") or not is_common(word, "de") else _Kind.NOTHING


def _is_german_noun(word: str) -> bool:
    """Return whether a word is frequent in German, or ends with a word that is and that few names end with."""
    ends = (word[begin:] for begin in range(max(1, len(word) - _LONGEST_END), len(word) - 3))
    return (
        "-" in word
        or is_common(word, "de")
        or any(is_common(end, "de") and not _OF_NAMES.fullmatch(end) for end in ends)
    )


_KIND_OF = {"en": _kind_in_english, "de": _kind_in_german}


def _begins_a_sentence(text: str, begin: int) -> bool:
    before = text[max(begin - 4, 0) : begin].rstrip()
    return not before or before[-1] in _BEFORE_A_SENTENCE


def _is_word(word: str) -> bool:
    """Return whether a word in small letters is an English one, or comes from one."""
    stems = (word[: -len(ending)] for ending in _ENDINGS if word.endswith(ending) and len(word) > len(ending) + 2)
    return _is_listed(word) or any(map(_is_listed, stems))


def _is_listed(word: str) -> bool:
    """Return whether english.txt has a word, with a capital or without as it is written."""
    lines, line = _english(), word.encode() + b"\n"
    low, high = 0, len(lines)
    while low < high:
        middle = lines.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if lines.startswith(line, middle):
            return True
        behind = lines.index(b"\n", middle) + 1
        if lines[middle:behind] < line:
            low = behind
        else:
            high = middle
    return False


def _folded(word: str) -> str:
    """Return a word without marks and case, and in one spelling of the sounds that languages spell apart."""
    plain = "".join(c for c in unicodedata.normalize("NFD", word.casefold()) if not unicodedata.combining(c))
    return plain.replace("ph", "f").replace("c", "k").replace("y", "i")


@functools.cache
def _english() -> bytes:
    """Return the sorted lines of english.txt: as a set of words they would take ten times their 0.7 MB."""
    return (_FOLDER / "english.txt").read_bytes()


@functools.cache
def _places(source: str, target: str) -> dict[str, str | None]:
    """Return the places of a language and their names in another; None for names that are not known."""
    places: dict[str, str | None] = {}
    if source not in _LANGUAGES or target not in _LANGUAGES or source == target:
        return places
    read, write = _LANGUAGES.index(source), _LANGUAGES.index(target)
    for line in (_FOLDER / "places.tsv").read_text("utf-8").splitlines():
        names = (line.split("\t") + [""] * len(_LANGUAGES))[: len(_LANGUAGES)]
        here, there = names[read] or names[0], names[write] or names[0]
        if here != "?":
            places.setdefault(here, None if there == "?" else there)
    return places


def _is_also_a_word(name: str, other: str | None, language: str) -> bool:
    """Return whether a name is another word, too, as Independence and Essen; of places with two names few are."""
    if name != other or "-" in name:
        return False
    if language == "en":
        return _is_word(name.lower())
    return name in _GERMAN_WORDS if language == "de" else is_common(name, language)
