"""Markup -> the text in it -> the same markup around the translation, with every tag, comment and space as it was.

This is the tokenizer of the HTML standard, as one expression, and no parser: parsers build a tree and repair it (tags
moved, added, dropped, attributes rewritten), but what comes back must be the client's own markup to the letter, however
malformed. The standard library's html.parser knows positions, but in Python 3.11 takes 2 s for 10 kB of "<a <a <a".

Each run of text between two tags is a unit of its own: without word alignments nobody knows where a tag inside a
sentence goes in the translation.
"""

import html
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

# Content that is no prose, whatever the attributes say.
_OPAQUE = frozenset({"code", "pre", "script", "style"})
_RAW = frozenset({"script", "style"})  # up to their end tag nothing is markup
# Have no end tag.
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_IMPLIED_END = frozenset({"p", "li", "dt", "dd", "td", "th", "tr", "option"})  # ended by the next of their kind
_MAX_DEPTH = 256  # deeper ones are not remembered: looking through them for each end tag would take quadratic time
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


class Markup(NamedTuple):
    """How to read markup: HTML, where a line break is a space, or XML, where it is kept."""

    kind: Literal["html", "xml"]
    ignored_tags: frozenset[str] = frozenset()  # in lower case; their content is copied


class _Run(NamedTuple):
    """Text between two tags: what is copied, lines to translate, white space."""

    source: str
    head: str
    lines: list[str]
    tail: str
    references: dict[int, str]  # character -> how the run spells it

    def render(self, lines: list[str]) -> str:
        if lines == self.lines:
            return self.source
        table = {ord("&"): "&amp;", ord("<"): "&lt;", **self.references}
        return self.head + "\n".join(lines).translate(table) + self.tail


class Document:
    """Markup, taken apart. `text` is what there is to translate: a line for each unit, and "" if there is none."""

    def __init__(self, source: str, markup: Markup) -> None:
        """Never fails: what can't be understood is copied."""
        self._parts: list[str | _Run] = []
        position = 0
        for begin, end in _text_spans(source, markup):
            run = _run(source[begin:end], markup)
            if run is not None:
                self._parts += [source[position:begin], run]
                position = end
        self._parts.append(source[position:])
        self.text = "\n".join(line for part in self._parts if isinstance(part, _Run) for line in part.lines)

    def render(self, translation: str) -> str:
        """The markup with the translation of `text` in place of it; it has the same number of lines."""
        lines = translation.split("\n")
        rendered, position = [], 0
        for part in self._parts:
            if isinstance(part, str):
                rendered.append(part)
            else:
                rendered.append(part.render(lines[position : position + len(part.lines)]))
                position += len(part.lines)
        return "".join(rendered)


def _run(source: str, markup: Markup) -> _Run | None:
    """None if it holds no letter."""
    head = _HEAD.match(source)
    assert head is not None  # it matches the empty string
    core = source[head.end() :].rstrip()
    text = html.unescape(core)
    if not any(character.isalpha() for character in text):
        return None
    lines = [_LINE_BREAK.sub(" ", text)] if markup.kind == "html" else text.split("\n")
    references = {}
    for reference in _REFERENCE.findall(core):
        character = html.unescape(reference)
        # a letter by its number is an accident; a no-break space or a quotation mark by its name is a wish
        if len(character) == 1 and not character.isalnum() and character not in "\r\n":
            references[ord(character)] = reference if reference.endswith(";") else reference + ";"
    return _Run(source, head[0], lines, source[head.end() + len(core) :], references)


def _text_spans(source: str, markup: Markup) -> Iterator[tuple[int, int]]:
    """Where the text to translate stands: [begin, end) in order."""
    open_elements: list[tuple[str, bool]] = []  # the elements around, and whether each is ignored
    position = 0
    while position < len(source):
        token = _TOKEN.search(source, position)
        begin, end = token.span() if token else (len(source), len(source))
        if position < begin and not any(ignored for _, ignored in open_elements):
            yield position, begin
        if token and token["name"]:
            end = _element(source, token, markup, open_elements)
        position = end


def _element(source: str, tag: re.Match[str], markup: Markup, open_elements: list[tuple[str, bool]]) -> int:
    """Open or close an element; returns where its tag ends, which is that of its content if that is no markup."""
    name, is_html = tag["name"].lower(), markup.kind == "html"
    if tag["end"]:
        if any(name == other for other, _ in open_elements):  # a stray end tag ends nothing
            while open_elements.pop()[0] != name:
                pass
        return tag.end()
    if tag["attributes"].endswith("/") or (is_html and name in _VOID):
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
    return given.get("translate", "").lower() == "no" or "notranslate" in given.get("class", "").split()
