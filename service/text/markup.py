"""Translation of marked-up text: markup in, text out, the same markup around the translation.

Every tag, comment and space comes back as it was; `markup_tokens.py` finds them. Each run of text between two tags is
a unit of its own. Where the words of a translation are aligned, pairs of inline tags within a sentence, `<b>x</b>` or
`**x**`, stay in it, and come back around the words that come from theirs (`inline_tags.py`). In XML, where names mean
nothing, a pair is inline if there are words beside it, unless the client says otherwise. An element that stands in a
sentence as a word does, `<code>x</code>`, `<img>` or `<x id="7"></x>`, does not end it: in the unit it is one private
character, which translations keep (`placeholders.py`).
"""

import itertools
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence, Set
from typing import NamedTuple

from service.text.alignment import Link, moved
from service.text.inline_tags import Pair, insert
from service.text.markup_tokens import SOFTWARE, Markup, Token, attributes_for_people, scan
from service.text.placeholders import Span
from service.text.references import REFERENCE, unescape
from service.text.written_marks import EMPHASIS, may_have_pairs

# Spaces, and what ends the words before the tag: a model makes a sentence of ", and" and loses the comma.
_HEAD = re.compile(r"[\s,.;:!?)\]}»”’–—-]*")
_MAX_ATTACHED = 64  # elements that are placed beside their words in a run: each looks through its words
_CLOSING = ".,;:!?…)]}»”’"  # what a note stands behind as it does behind a word
_LINE_BREAK = re.compile(r"(?<!\s)[^\S\r\n]*+[\r\n]\s*+")
_WITHIN_PAIR = re.compile(r">([^<>\n]*+)</")
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;"}
_PRIVATE = range(0xF0000, 0x10FFFE)
_FIRST_PRIVATE = "\ue000"


class Document:
    """Markup, taken apart. `lines` are to be translated, one or more for each unit."""

    __slots__ = ("_parts", "is_one_run", "lines", "needs_alignment")  # a file may have thousands

    def __init__(self, source: str, markup: Markup, *, is_aligned: bool = False) -> None:
        """Take a source apart; never fails: what cannot be understood is copied.

        Args:
            source: the markup.
            markup: how to read it.
            is_aligned: `render` gets an alignment if this `needs_alignment`, so that inline tags need not end a unit.
        """
        self._parts: list[_Part] = []
        pieces = 0
        for is_copied, group in itertools.groupby(
            _parts(source, markup, is_aligned), lambda part: isinstance(part, str)
        ):
            parts = list(group)
            pieces += len(parts)
            self._parts += ["".join(map(str, parts))] if is_copied else parts
        self.lines: Sequence[str] = [line for unit in _units(self._parts) for line in unit.lines]
        self.needs_alignment = any(isinstance(unit, _Run) and unit.pairs for unit in _units(self._parts))
        self.is_one_run = pieces <= 1

    @property
    def text(self) -> str:
        """The lines to translate, joined."""
        return "\n".join(self.lines)

    def render(self, translation: str, links: Sequence[Link] = ()) -> str:
        """Return the markup with the translation of `text` in place of it; it has the same number of lines.

        `links` are between the words of the two, and are of use where the document `needs_alignment`.
        """
        return _render(self._parts, self._by_unit(translation, links))

    def render_lines(self, translations: Iterable[tuple[str, Sequence[Link]]]) -> str:
        """Return the markup with the translation of each of the `lines`, which has links of its own."""
        in_order = iter(translations)
        return _render(self._parts, (_translated(unit, in_order) for unit in _units(self._parts)))

    def linked(self, translation: str, links: Sequence[Link]) -> tuple[Link, ...]:
        """Return the links between a plain text that has pairs and what `render` makes of its translation."""
        found: list[Link] = []
        source = target = 0
        translated = self._by_unit(translation, links)
        for part in self._parts:
            assert not isinstance(part, _Value)  # a plain text has no attributes that people read
            if isinstance(part, str):
                source, target = source + len(part), target + len(part)
                continue
            lines, own = next(translated)
            rendered = part.render(lines, own)
            before, source_length = part.places(part.source)
            after, target_length = part.places(rendered)
            if rendered != part.source or lines == part.lines:  # otherwise it came back as it was
                spans = ((_placed(link.source, before), _placed(link.target, after)) for link in own)
                found += moved((Link(one, other) for one, other in spans if one and other), source, target)
            source, target = source + source_length, target + target_length
        return tuple(found)

    def _by_unit(self, translation: str, links: Sequence[Link]) -> Iterator[tuple[list[str], list[Link]]]:
        """Yield the lines of the translation of each unit, and the links between the words of the two."""
        lines, remaining = iter(translation.split("\n")), deque(links)
        source = target = 0
        for unit in _units(self._parts):
            own = list(itertools.islice(lines, len(unit.lines)))
            end = target + sum(len(line) + 1 for line in own)
            own_links = []
            while remaining and remaining[0].target[1] < end:
                link = remaining.popleft()
                if link.target[0] >= target:  # otherwise it is of lines that were copied together
                    own_links.append(link)
            yield own, moved(own_links, -source, -target)
            source, target = source + sum(len(line) + 1 for line in unit.lines), end


def with_pairs(text: str) -> Document | None:
    """Take a plain text apart that has pairs of tags or marks around some of its words; None of any other text."""
    document = Document(text, SOFTWARE, is_aligned=True) if may_have_pairs(text) else None
    if document is None or not document.is_one_run or document.needs_alignment:
        return document
    holds_words = any(any(map(str.isalpha, match[1])) for match in _WITHIN_PAIR.finditer(text))
    return document if holds_words else None


class _Value(NamedTuple):
    """The value of an attribute that people read, between its quotation marks."""

    source: str
    lines: list[str]  # one
    quote: str
    references: dict[int, str]

    def render(self, lines: Sequence[str], links: Sequence[Link]) -> str:
        if lines == self.lines:
            return self.source
        quote = {ord(self.quote): "&quot;" if self.quote == '"' else "&#39;"}
        return lines[0].translate({**self.references, **quote})


class _Run(NamedTuple):
    """Text between two tags: a head to copy, lines to translate, white space."""

    source: str  # with a private character for each element that stands in it, its mark
    head: str
    lines: list[str]
    tail: str
    references: dict[int, str]  # character -> how the run spells it
    elements: dict[str, "list[_Part]"]  # by their marks: what stands in the run, and the tags of pairs
    pairs: list[Pair]  # marks around spans of the lines

    def render(self, lines: Sequence[str], links: Sequence[Link]) -> str:
        text, marks = "\n".join(lines), set(self.elements)
        if self.pairs:
            text = insert(self.pairs, "\n".join(self.lines), text, links)
        for pair in self.pairs:
            if self._is_empty_emphasis(pair, text):
                text = text.replace(pair.start, "").replace(pair.end, "")
                marks -= {pair.start, pair.end}
        counts = Counter(text)
        if lines == self.lines or any(counts[mark] != 1 for mark in marks):
            return self.source
        return self.head + text.translate(self.references) + self.tail

    def places(self, rendered: str) -> tuple[list[Span], int]:
        """Return where each character of the lines stands once elements are in their places, and the length then.

        `rendered` has the marks of elements, as the source does and what `render` returns.
        """
        aside = {mark for pair in self.pairs for mark in (pair.start, pair.end)}
        found: list[Span] = []
        place, last = len(self.head), len(rendered) - len(self.tail)
        for character in rendered[len(self.head) : last]:
            element = self.elements.get(character)
            length = 1 if element is None else sum(len(part) for part in element if isinstance(part, str))
            if character not in aside:
                found.append((place, place + length))
            place += length
        return found, place + len(self.tail)

    def _is_empty_emphasis(self, pair: Pair, text: str) -> bool:
        """Return whether a pair is emphasis in Markdown around nothing, which would be read as asterisks."""
        if self.elements[pair.start][0] not in EMPHASIS:
            return False
        inside = text[text.find(pair.start) : text.find(pair.end)]
        return not any(c.isalnum() or (c >= _FIRST_PRIVATE and c not in self.elements) for c in inside)


_Part = str | _Value | _Run


def _placed(span: Span, places: Sequence[Span]) -> Span | None:
    """Return where characters stand; None if some of them have no place."""
    return (places[span[0]][0], places[span[1] - 1][1]) if 0 <= span[0] < span[1] <= len(places) else None


def _parts(source: str, markup: Markup, is_aligned: bool) -> Iterator[_Part]:
    """Take a source apart: strings to copy, and what has lines to translate."""
    run: list[Token] = []
    for token in scan(source, markup, with_pairs=is_aligned):
        if token.kind == "tag":
            yield from _run(source, run, markup, is_aligned)
            yield from _element(source, token, markup, is_aligned)
            run = []
        else:
            run.append(token)
    yield from _run(source, run, markup, is_aligned)


def _units(parts: Sequence[_Part]) -> Iterator[_Value | _Run]:
    """Yield the parts that have lines to translate, in the order of `_render`."""
    for part in parts:
        if isinstance(part, _Run):
            yield part
            for element in part.elements.values():
                yield from _units(element)
        elif isinstance(part, _Value):
            yield part


def _translated(
    unit: _Value | _Run, translations: Iterator[tuple[str, Sequence[Link]]]
) -> tuple[list[str], list[Link]]:
    """Take the translations of a unit's lines, and the links that it needs, which count from its beginning."""
    lines: list[str] = []
    links: list[Link] = []
    source = target = 0
    for line, (translation, own) in zip(unit.lines, translations, strict=False):
        lines.append(translation)
        if isinstance(unit, _Run) and unit.pairs:
            links += moved(own, source, target)
        source, target = source + len(line) + 1, target + len(translation) + 1
    return lines, links


def _render(parts: Sequence[_Part], translated: Iterator[tuple[list[str], list[Link]]]) -> str:
    """Join the parts, each unit with the next of the translations."""
    rendered = []
    for part in parts:
        if isinstance(part, str):
            rendered.append(part)
            continue
        text = part.render(*next(translated))
        if isinstance(part, _Run):
            text = text.translate({ord(mark): _render(element, translated) for mark, element in part.elements.items()})
        rendered.append(text)
    return "".join(rendered)


def _run(source: str, tokens: Sequence[Token], markup: Markup, is_aligned: bool) -> list[_Part]:
    """Take apart a run of text and what stands in it; without a letter it is copied, as comments at its ends are."""
    first, last = 0, len(tokens)
    while first < last and _is_beside(source, tokens[first]):
        first += 1
    while first < last and _is_beside(source, tokens[last - 1]):
        last -= 1
    if first == last:
        return [source[token.begin : token.end] for token in tokens]
    if last - first < len(tokens):
        before, after = (
            [source[token.begin : token.end] for token in each] for each in (tokens[:first], tokens[last:])
        )
        return [*before, *_run(source, tokens[first:last], markup, is_aligned), *after]
    texts = _with_marks(source, tokens)
    if texts is None:
        return [source[tokens[0].begin : tokens[-1].end]]
    elements = {
        text: _element(source, token, markup, is_aligned)
        for token, text in zip(tokens, texts, strict=True)
        if token.kind != "text"
    }
    whole = "".join(texts)
    head = _HEAD.match(whole)
    assert head is not None  # it matches the empty string
    core = whole[head.end() :].rstrip()
    plain = unescape(core) if markup.has_references else core
    if not any(character.isalpha() for character in plain):
        return [part for text in texts for part in elements.get(text, [text])]
    keeps_lines = markup.kind in ("xml", "software") and not markup.joins_lines
    lines = plain.split("\n") if keeps_lines else [_LINE_BREAK.sub(" ", plain)]
    lines, pairs = _without_pairs(lines, _ends(tokens, texts), _attached(tokens, texts, "".join(lines)))
    references = _references(core) if markup.has_references else {}
    return [_Run(whole, head[0], lines, whole[head.end() + len(core) :], references, elements, pairs)]


def _is_beside(source: str, token: Token) -> bool:
    """Return whether a token at the end of a run is no part of its sentence: a comment, or the space beside one."""
    return token.mark == "note" or (token.kind == "text" and source[token.begin : token.end].isspace())


def _with_marks(source: str, tokens: Sequence[Token]) -> list[str] | None:
    """Return the text of each token, for an element a private character that the run does not hold, its mark.

    None if there are too few of them.
    """
    spelt = unescape(source[tokens[0].begin : tokens[-1].end])
    marks = (mark for mark in map(chr, _PRIVATE) if mark not in spelt)
    try:
        return [source[token.begin : token.end] if token.kind == "text" else next(marks) for token in tokens]
    except StopIteration:
        return None


def _ends(tokens: Sequence[Token], texts: Sequence[str]) -> dict[str, str]:
    """Return the mark of each pair's end, by that of its start."""
    starts: list[str] = []
    ends: dict[str, str] = {}
    for token, text in zip(tokens, texts, strict=True):
        if token.kind == "start":
            starts.append(text)
        elif token.kind == "end":
            ends[starts.pop()] = text
    return ends


def _attached(tokens: Sequence[Token], texts: Sequence[str], plain: str) -> set[str]:
    """Return the marks of comments, and of what has nothing to read, or a sign, and touches a word: it goes there."""
    found: set[str] = set()
    places = {character: place for place, character in enumerate(plain) if character >= _FIRST_PRIVATE}
    for token, text in zip(tokens, texts, strict=True):
        if not token.mark or text not in places or len(found) == _MAX_ATTACHED:
            continue
        place = places[text]
        before, after = plain[max(place - 1, 0) : max(place, 0)], plain[place + 1 : place + 2]
        is_behind = before.isalnum() or (before != "" and before in _CLOSING)
        is_within = token.mark == "seam" and before.isalpha() and after.isalpha()
        if token.mark == "note" or is_within or (is_behind != after.isalnum() and (is_behind or token.mark != "sign")):
            found.add(text)
    return found


def _without_pairs(lines: list[str], ends: dict[str, str], attached: Set[str]) -> tuple[list[str], list[Pair]]:
    """Return the lines without the marks of pairs and those that are attached, and where these were."""
    if not ends and not attached:
        return lines, []
    closing = set(ends.values())
    text: list[str] = []
    places: dict[str, tuple[int, int]] = {}  # with the number of pairs around
    level = 0
    for character in "\n".join(lines):
        if character in closing:
            level -= 1
            places[character] = len(text), level
        elif character in ends or character in attached:
            places[character] = len(text), level
            level += character in ends
        else:
            text.append(character)
    pairs = [
        Pair(mark, ends.get(mark, ""), (place, places[ends[mark]][0] if mark in ends else place), level)
        for mark, (place, level) in places.items()
        if mark not in closing
    ]
    return "".join(text).split("\n"), pairs


def _references(source: str) -> dict[int, str]:
    """Return how a text spells characters by references, and must."""
    if "&" not in source:
        return _ESCAPES
    references = dict(_ESCAPES)
    for reference in REFERENCE.findall(source):
        character = unescape(reference)
        # a letter by its number is an accident; a no-break space or a quotation mark by its name is meant
        if len(character) == 1 and not character.isalnum() and character not in "\r\n":
            references[ord(character)] = reference if reference.endswith(";") else reference + ";"
    return references


def _element(source: str, token: Token, markup: Markup, is_aligned: bool) -> list[_Part]:
    """Take apart a tag or an element that stands in a run; what people do not read of it is copied."""
    if token.nested is not None:
        begin, end = token.nested
        inner = _parts(source[begin:end], markup.within_nested, is_aligned)
        return [source[token.begin : begin], *inner, source[end : token.end]]
    whole = source[token.begin : token.end]
    if token.is_ignored or markup.kind != "html":
        return [whole]
    parts: list[_Part] = []
    position = 0
    for (begin, end), quote in attributes_for_people(whole):
        value = whole[begin:end]
        text = _LINE_BREAK.sub(" ", unescape(value))
        if any(character.isalpha() for character in text):
            parts += [whole[position:begin], _Value(value, [text], quote, _references(value))]
            position = end
    return [*parts, whole[position:]]
