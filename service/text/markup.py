"""Markup -> the text in it -> the same markup around the translation, with every tag, comment and space as it was.

This is the tokenizer of the HTML standard, as one expression, and no parser: parsers build a tree and repair it (tags
moved, added, dropped, attributes rewritten), but what comes back must be the client's own markup to the letter, however
malformed. The standard library's html.parser knows positions, but in Python 3.11 takes 2 s for 10 kB of "<a <a <a".

Each run of text between two tags is a unit of its own. Where the words of a translation are aligned, pairs of inline
tags within a sentence, `<b>x</b>` or `**x**`, stay in it, and come back around the words from theirs
(`inline_tags.py`). In XML, where names mean nothing, a pair is inline if there are words beside it, unless the client
says otherwise. What stands in a sentence as a word does, `<code>x</code>`, `<img>` or `<x id="7"></x>`, is no end of
it: in the unit it is one private character, which translations keep (`placeholders.py`).
"""

import html
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from service.text.alignment import Link, moved
from service.text.inline_tags import Pair, insert

# Content that is no prose, whatever the attributes say.
_OPAQUE = frozenset({"code", "pre", "script", "style"})
_RAW = frozenset({"script", "style"})  # up to their end tag nothing is markup
# Have no end tag.
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_IMPLIED_END = frozenset({"p", "li", "dt", "dd", "td", "th", "tr", "option"})  # ended by the next of their kind
# Of these, empty or ignored ones stand in a sentence as a word does; in XML all do.
_INLINE_NAMES = (
    "a abbr b bdi bdo button cite code data dfn em font g i img input kbd label mark "
    "q s samp small span strong sub sup svg time tt u var x"
)
_INLINE = frozenset(_INLINE_NAMES.split())
_TRANSLATED_ATTRIBUTES = frozenset({"alt", "title", "placeholder", "aria-label"})
_MAX_DEPTH = 256  # deeper ones are not remembered: looking through them for each end tag would take quadratic time
_MAX_PAIR_DEPTH = 16  # pairs within pairs in a sentence
_MAX_PAIRS = 64  # in a sentence: their places take time in proportion to their number and the words
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);?")
# Whatever begins ends at the end of the text at the latest, and no part gives back what it took: time is linear.
_TOKEN = re.compile(
    r"""<!--(?:-?>|.*?(?:--!?>|\Z))
      | <!\[CDATA\[.*?(?:\]\]>|\Z)
      | <(?:[!?]|/(?![a-zA-Z]))[^>]*+(?:>|\Z)
      | <(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+)
        (?P<attributes>(?:[^>=]++|=\s*+(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))?+)*+)(?:>|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""([^\s/>="']++)\s*+=\s*+(?:"([^"]*+)|'([^']*+)|([^\s"'>]++))""")
# Spaces, and what ends the words before the tag: a model makes a sentence of ", and" and loses the comma.
_HEAD = re.compile(r"[\s,.;:!?)\]}»”’–—-]*")
_LINE_BREAK = re.compile(r"\s*[\r\n]\s*")


# What is told apart in a paragraph of Markdown; code, automatic links, footnotes' marks and escapes stand as words do.
_MARKDOWN = re.compile(
    r"""(?P<word>`[^`]+` | ``[^`]+`` | <(?:[a-zA-Z][a-zA-Z0-9+.-]*:|[^\s<>@]+@)[^\s<>]*> | \[\^[^\]\s]+\]
          | \\[!-/:-@\[-`{-~])
      | ^\[[ xX]\](?=\s) | !?\[ | \](?:\([^()\s]*(?:\([^()\s]*\)[^()\s]*)?(?:\s+"[^"]*")?\)|\[[^\[\]]*\])?
      | (?<![\s*])\*{1,3} | \*{1,3}(?![\s*]) | ~~ | (?<!\w)_{1,3}(?=[^\s_]) | (?<=[^\s_])_{1,3}(?!\w)
      | </?[a-zA-Z][^<>]*> | <!--.*?--> | \|""",
    re.DOTALL | re.VERBOSE,
)
_EMPHASIS = frozenset({"*", "**", "***", "_", "__", "___", "~~"})
Kind = Literal["html", "xml", "markdown"]


class Markup(NamedTuple):
    """How to read markup: HTML, where a line break is a space, XML, where it is kept, or a paragraph of Markdown.

    Names of tags are in lower case. Without `outline_detection` all XML that is not in `splitting_tags` is inline.
    """

    kind: Kind
    ignored_tags: frozenset[str] = frozenset()  # their content is copied
    splitting_tags: frozenset[str] = frozenset()  # always end a sentence
    non_splitting_tags: frozenset[str] = frozenset()  # never do, even where nothing stands beside them
    outline_detection: bool = True
    nested_tags: frozenset[str] = frozenset()  # stand in a sentence as a word does, and hold text of their own: notes
    protected: frozenset[tuple[str, str]] = frozenset()  # attributes whose element is copied, besides translate="no"
    joins_lines: bool = False  # in XML, too, a line break is a space
    has_references: bool = True  # &amp; is &; where not, both are what they are

    def is_inline(self, name: str) -> bool:
        """Whether an element of this name may stand in a sentence."""
        name = name.lower()
        if name in self.splitting_tags:
            return False
        return self.kind == "xml" or name in self.non_splitting_tags or name in _INLINE

    def is_always_inline(self, name: str) -> bool:
        """Whether an element of this name is in a sentence even if nothing stands beside it."""
        return name.lower() in self.non_splitting_tags or (self.kind == "xml" and not self.outline_detection)


class _Value(NamedTuple):
    """The value of an attribute that is read by people, between its quotation marks."""

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
    """Text between two tags: what is copied, lines to translate, white space."""

    source: str  # with a private character for each of the elements that stand in it as words
    head: str
    lines: list[str]
    tail: str
    references: dict[int, str]  # character -> how the run spells it
    words: dict[int, "list[_Part]"]  # private character -> its element, or its tag
    pairs: list[Pair]  # private characters around spans of the lines

    def render(self, lines: Sequence[str], links: Sequence[Link]) -> str:
        text, marks = "\n".join(lines), list(map(chr, self.words))
        if self.pairs:
            text = insert(self.pairs, "\n".join(self.lines), text, links)
        for pair in self.pairs:
            inside = text[text.find(pair.start) : text.find(pair.end)]
            is_empty = not any(c.isalnum() or (c >= _FIRST_PRIVATE and c not in marks) for c in inside)
            if is_empty and self.words[ord(pair.start)][0] in _EMPHASIS:  # around nothing it would be asterisks
                text = text.replace(pair.start, "").replace(pair.end, "")
                marks = [mark for mark in marks if mark not in (pair.start, pair.end)]
        if lines == self.lines or any(text.count(mark) != 1 for mark in marks):
            return self.source
        return self.head + text.translate(self.references) + self.tail


_Part = str | _Value | _Run
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;"}
_PRIVATE = range(0xF0000, 0x10FFFE)
_FIRST_PRIVATE = "\ue000"


class Document:
    """Markup, taken apart. `text` is what there is to translate: a line for each unit, and "" if there is none."""

    def __init__(self, source: str, markup: Markup, *, is_aligned: bool = False) -> None:
        """Never fails: what can't be understood is copied.

        Args:
            is_aligned: `render` gets an alignment if this `needs_alignment`, so that inline tags need not end a unit.
        """
        self._parts = _taken_apart(source, markup, is_aligned)
        self.text = "\n".join(line for unit in _units(self._parts) for line in unit.lines)
        self.needs_alignment = any(isinstance(unit, _Run) and unit.pairs for unit in _units(self._parts))

    def render(self, translation: str, links: Sequence[Link] = ()) -> str:
        """The markup with the translation of `text` in place of it; it has the same number of lines.

        `links` are between the words of the two, and are of use where the document `needs_alignment`.
        """
        lines, remaining = iter(translation.split("\n")), deque(links)
        translated: list[tuple[list[str], list[Link]]] = []
        source = target = 0
        for unit in _units(self._parts):
            own = list(itertools.islice(lines, len(unit.lines)))
            end = target + sum(len(line) + 1 for line in own)
            own_links = []
            while remaining and remaining[0].target[1] < end:
                own_links.append(remaining.popleft())
            translated.append((own, moved(own_links, -source, -target)))
            source, target = source + sum(len(line) + 1 for line in unit.lines), end
        return _render(self._parts, iter(translated))


class _Token(NamedTuple):
    """A piece of the source: text, an element that stands in a sentence as a word, or anything else."""

    kind: Literal["text", "word", "tag", "start", "end"]  # the last two are a pair within a sentence
    begin: int
    end: int
    is_ignored: bool = False
    nested: "list[_Part] | None" = None  # what a word holds that has text of its own


def _taken_apart(source: str, markup: Markup, is_aligned: bool) -> list[_Part]:
    parts: list[_Part] = []
    run: list[_Token] = []
    tokens = list(_markdown_tokens(source) if markup.kind == "markdown" else _tokens(source, markup, is_aligned))
    for token in _with_pairs(source, tokens, markup) if is_aligned else tokens:
        if token.kind == "tag":
            parts += [*_run(source, run, markup), *_tag(source, token, markup)]
            run = []
        else:
            run.append(token)
    return parts + _run(source, run, markup)


def _units(parts: Sequence[_Part]) -> Iterator[_Value | _Run]:
    """What has lines to translate, in the order of `_render`."""
    for part in parts:
        if isinstance(part, _Run):
            yield part
            for word in part.words.values():
                yield from _units(word)
        elif isinstance(part, _Value):
            yield part


def _render(parts: Sequence[_Part], translated: Iterator[tuple[list[str], list[Link]]]) -> str:
    rendered = []
    for part in parts:
        if isinstance(part, str):
            rendered.append(part)
            continue
        text = part.render(*next(translated))
        if isinstance(part, _Run):
            text = text.translate({character: _render(word, translated) for character, word in part.words.items()})
        rendered.append(text)
    return "".join(rendered)


def _run(source: str, tokens: Sequence[_Token], markup: Markup) -> list[_Part]:
    """A run of text and what stands in it; as it is if it holds no letter."""
    if not tokens:
        return []
    whole = source[tokens[0].begin : tokens[-1].end]
    spelt = html.unescape(whole)
    private = (code for code in _PRIVATE if chr(code) not in spelt)
    words: dict[int, list[_Part]] = {}
    starts: list[str] = []
    ends: dict[str, str] = {}  # of each start, what ends it
    pieces = []
    for token in tokens:
        if token.kind == "text":
            pieces.append(source[token.begin : token.end])
        elif (code := next(private, None)) is not None:
            words[code] = _tag(source, token, markup)
            pieces.append(chr(code))
            if token.kind == "start":
                starts.append(chr(code))
            elif token.kind == "end":
                ends[starts.pop()] = chr(code)
        else:
            return [whole]
    text = "".join(pieces)
    head = _HEAD.match(text)
    assert head is not None  # it matches the empty string
    core = text[head.end() :].rstrip()
    plain = html.unescape(core) if markup.has_references else core
    if not any(character.isalpha() for character in plain):
        return [part for token in tokens for part in _tag(source, token, markup)]
    lines = plain.split("\n") if markup.kind == "xml" and not markup.joins_lines else [_LINE_BREAK.sub(" ", plain)]
    references = _references(core) if markup.has_references else {}
    lines, pairs = _without_pairs(lines, ends)
    return [_Run(text, head[0], lines, text[head.end() + len(core) :], references, words, pairs)]


def _without_pairs(lines: list[str], ends: dict[str, str]) -> tuple[list[str], list[Pair]]:
    """The lines without the characters that stand for pairs, and where those were."""
    if not ends:
        return lines, []
    marks = {*ends, *ends.values()}
    text: list[str] = []
    places: dict[str, int] = {}
    for character in "\n".join(lines):
        if character in marks:
            places[character] = len(text)
        else:
            text.append(character)
    pairs = [Pair(mark, ends[mark], (place, places[ends[mark]])) for mark, place in places.items() if mark in ends]
    return "".join(text).split("\n"), pairs


def _references(source: str) -> dict[int, str]:
    """How a text spells characters, and must."""
    references = dict(_ESCAPES)
    for reference in _REFERENCE.findall(source):
        character = html.unescape(reference)
        # a letter by its number is an accident; a no-break space or a quotation mark by its name is a wish
        if len(character) == 1 and not character.isalnum() and character not in "\r\n":
            references[ord(character)] = reference if reference.endswith(";") else reference + ";"
    return references


def _tag(source: str, token: _Token, markup: Markup) -> list[_Part]:
    """A tag or an element with nothing in it, its attributes for people taken out; else the source as it is."""
    if token.nested is not None:
        return token.nested
    whole = source[token.begin : token.end]
    if token.kind == "text" or token.is_ignored or markup.kind != "html" or not whole.startswith("<"):
        return [whole]
    tag = _TOKEN.match(whole)
    if tag is None or not tag["name"] or tag["end"]:
        return [whole]
    parts: list[_Part] = []
    position = 0
    for attribute in _ATTRIBUTE.finditer(whole, tag.start("attributes"), tag.end("attributes")):
        group = 2 if attribute[2] else 3
        value = attribute[group]
        if attribute[1].lower() not in _TRANSLATED_ATTRIBUTES or not value:
            continue
        text = _LINE_BREAK.sub(" ", html.unescape(value))
        if any(character.isalpha() for character in text):
            begin, end = attribute.span(group)
            parts += [whole[position:begin], _Value(value, [text], "\"'"[group - 2], _references(value))]
            position = end
    return [*parts, whole[position:]]


def _tokens(source: str, markup: Markup, is_aligned: bool) -> Iterator[_Token]:
    """All of the source, in order."""
    nested_tags = markup.nested_tags
    open_elements: list[tuple[str, bool]] = []  # the elements around, and whether each is ignored
    position = 0
    ignored_from: int | None = None
    is_word = False  # the ignored element
    while position < len(source):
        token = _TOKEN.search(source, position)
        begin, end = token.span() if token else (len(source), len(source))
        if position < begin and ignored_from is None:
            yield _Token("text", position, begin)
        if token and ignored_from is None and token["name"] and token["name"].lower() in nested_tags:
            if nested := _nested(source, token, markup, is_aligned):
                yield nested
                position = nested.end
                continue
            nested_tags = frozenset()  # one without an end: to look for those of the others could take quadratic time
        if token and token["name"]:
            is_inline = markup.is_inline(token["name"])
            empty_end = _empty_element_end(source, token) if ignored_from is None and is_inline else None
            if empty_end is not None and not _is_ignored(token["name"].lower(), token["attributes"], markup):
                yield _Token("word", begin, empty_end)
                position = empty_end
                continue
            end = _element(source, token, markup, open_elements)
            is_ignored = any(ignored for _, ignored in open_elements)
            if ignored_from is None and is_ignored:
                ignored_from, is_word = begin, is_inline
            elif ignored_from is None:
                is_word = is_inline and token["end"] == "" and _is_void(token, markup)
                hidden = _is_ignored(token["name"].lower(), token["attributes"], markup)
                yield _Token("word" if is_word else "tag", begin, end, hidden)
            elif not is_ignored:
                # one that ended with an element around it is not whole
                whole = is_word and source[begin:end].startswith("</")
                yield _Token("word" if whole else "tag", ignored_from, end, True)
                ignored_from = None
        elif token and ignored_from is None:
            yield _Token("tag", begin, end)
        position = end
    if ignored_from is not None:
        yield _Token("tag", ignored_from, len(source), True)


def _with_pairs(source: str, tokens: Sequence[_Token], markup: Markup) -> list[_Token]:
    """The tokens, the tags of pairs that are within a sentence as its start and end."""
    partners: dict[int, int] = {}  # of each start tag
    always: set[int] = set()  # start tags of pairs that need no words beside them
    path: list[tuple[int, str]] = []
    for index, token in enumerate(tokens):
        if token.kind != "tag":
            continue
        delimiter = None if token.is_ignored else _delimiter(source, token, markup)
        if delimiter is None:
            path.clear()
        elif delimiter.ends and path and path[-1][1] == delimiter.name:
            start = path.pop()[0]
            partners[start] = index
            if markup.is_always_inline(delimiter.name):
                always.add(start)
        elif delimiter.starts:
            path = [*path, (index, delimiter.name)][-_MAX_PAIR_DEPTH:]
        else:
            path.clear()
    paired = {*partners, *partners.values()}
    breaks = [index for index, token in enumerate(tokens) if token.kind == "tag" and index not in paired]
    kinds: dict[int, Literal["start", "end"]] = {}
    for before, after in itertools.pairwise([-1, *breaks, len(tokens)]):
        for start in _starts_within(source, tokens, partners, always, before + 1, after):
            kinds |= {start: "start", partners[start]: "end"}
    return [token._replace(kind=kinds.get(index, token.kind)) for index, token in enumerate(tokens)]


class _Delimiter(NamedTuple):
    """What a tag may begin or end."""

    name: str
    starts: bool
    ends: bool


def _delimiter(source: str, token: _Token, markup: Markup) -> _Delimiter | None:
    """What begins or ends a pair that may be in a sentence; None for all else."""
    text = source[token.begin : token.end]
    if text.startswith("<"):
        tag = _TOKEN.match(source, token.begin)
        if tag is None or not tag["name"] or not markup.is_inline(tag["name"]) or _is_void(tag, markup):
            return None
        return _Delimiter(tag["name"].lower(), not tag["end"], tag["end"] == "/")
    if text == "[":  # the text of an image is no part of the sentence
        return _Delimiter("]", starts=True, ends=False)
    if text.startswith("]"):
        return _Delimiter("]", starts=False, ends=True)
    if text[0] in "*_~":
        is_open = not source[token.end : token.end + 1].isspace() and token.end < len(source)
        return _Delimiter(text, is_open, token.begin > 0 and not source[token.begin - 1].isspace())
    return None


def _starts_within(
    source: str, tokens: Sequence[_Token], partners: dict[int, int], always: set[int], begin: int, end: int
) -> Iterator[int]:
    """Start tags of pairs with words beside them: a row of links is no sentence, but its links may hold some."""
    outer = []
    has_words = False
    index = begin
    while index < end:
        token = tokens[index]
        if index in partners:
            outer.append(index)
            index = partners[index]
        elif token.kind == "text":
            has_words = has_words or any(map(str.isalpha, html.unescape(source[token.begin : token.end])))
        index += 1
    if has_words and sum(index in partners for index in range(begin, end)) <= _MAX_PAIRS:
        yield from (index for index in range(begin, end) if index in partners)
        return
    for start in outer:
        within = start + 1, partners[start]
        if start in always and sum(index in partners for index in range(*within)) < _MAX_PAIRS:
            yield start
            yield from (index for index in range(*within) if index in partners)
        else:
            yield from _starts_within(source, tokens, partners, always, *within)


def _markdown_tokens(source: str) -> Iterator[_Token]:
    """All of a paragraph, in order."""
    position = 0
    for match in _MARKDOWN.finditer(source):
        if position < match.start():
            yield _Token("text", position, match.start())
        yield _Token("word" if match["word"] else "tag", *match.span())
        position = match.end()
    if position < len(source):
        yield _Token("text", position, len(source))


def _empty_element_end(source: str, tag: re.Match[str]) -> int | None:
    """Where an element ends that has nothing in it, if it is one with an end tag."""
    if tag["end"] or not source.startswith("</", tag.end()):
        return None
    closing = _TOKEN.match(source, tag.end())
    return closing.end() if closing and closing["name"] and closing["name"].lower() == tag["name"].lower() else None


def _nested(source: str, tag: re.Match[str], markup: Markup, is_aligned: bool) -> _Token | None:
    """An element with text of its own as a word, None if this is no start tag or has no end tag."""
    if tag["end"] or _is_void(tag, markup):
        return None
    name, depth = tag["name"].lower(), 1
    for other in _TOKEN.finditer(source, tag.end()):
        if other["name"] and other["name"].lower() == name and not _is_void(other, markup):
            depth += -1 if other["end"] else 1
        if depth == 0:
            inner = markup._replace(splitting_tags=markup.splitting_tags | markup.nested_tags, nested_tags=frozenset())
            content = _taken_apart(source[tag.end() : other.start()], inner, is_aligned)
            return _Token("word", tag.start(), other.end(), nested=[tag[0], *content, other[0]])
    return None


def _is_void(tag: re.Match[str], markup: Markup) -> bool:
    return tag["attributes"].endswith("/") or (markup.kind == "html" and tag["name"].lower() in _VOID)


def _element(source: str, tag: re.Match[str], markup: Markup, open_elements: list[tuple[str, bool]]) -> int:
    """Open or close an element; returns where its tag ends, which is that of its content if that is no markup."""
    name, is_html = tag["name"].lower(), markup.kind == "html"
    if tag["end"]:
        if any(name == other for other, _ in open_elements):  # a stray end tag ends nothing
            while open_elements.pop()[0] != name:
                pass
        return tag.end()
    if _is_void(tag, markup):
        return tag.end()
    if is_html and name in _IMPLIED_END and open_elements and open_elements[-1][0] == name:
        open_elements.pop()
    ignored = _is_ignored(name, tag["attributes"], markup)
    if ignored or len(open_elements) < _MAX_DEPTH:
        open_elements.append((name, ignored))
    if is_html and name in _RAW:
        content_end = re.compile(rf"</{name}(?=[\s/>])|\Z", re.IGNORECASE).search(source, tag.end())
        assert content_end is not None  # at the end of the text at the latest
        return content_end.start()
    return tag.end()


def _is_ignored(name: str, attributes: str, markup: Markup) -> bool:
    if name in markup.ignored_tags or (markup.kind == "html" and name in _OPAQUE):
        return True
    given = {match[1].lower(): match[2] or match[3] or match[4] or "" for match in _ATTRIBUTE.finditer(attributes)}
    if any(given.get(attribute) == value for attribute, value in markup.protected):
        return True
    return given.get("translate", "").lower() == "no" or "notranslate" in given.get("class", "").split()
