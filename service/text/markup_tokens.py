"""Scanner for HTML, XML, paragraphs of Markdown and strings of software: cuts a source into text, tags and elements.

The scanner is the tokenizer of the HTML standard as one regular expression. It does not build a tree: parsers repair
what they read (they move, add and drop tags and rewrite attributes), but the client gets its own markup back to the
letter, however malformed it is. The tokens joined are the source. The standard library's html.parser reports
positions too, but in Python 3.11 it takes 2 s for 10 kB of "<a <a <a".
"""

import bisect
import itertools
import re
from collections import deque
from collections.abc import Iterator, Sequence, Set
from typing import Literal, NamedTuple

from service.text.placeholders import MEASURE_BEHIND, Span, find, has_words
from service.text.references import unescape
from service.text.written_marks import EMPHASIS, written_marks

Kind = Literal["html", "xml", "markdown", "software"]

# Elements whose content is not prose, whatever their attributes.
_OPAQUE = frozenset({"code", "kbd", "math", "pre", "samp", "script", "style", "svg", "var"})
_FORMULAS = frozenset({"math", "m:math", "mml:math"})  # of MathML, in any markup
_RAW = frozenset({"script", "style"})  # up to their end tag nothing is markup
_VOID = frozenset(  # have no end tag
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
_IMPLIED_END = frozenset({"p", "li", "dt", "dd", "td", "th", "tr", "option"})  # ended by the next of their kind
# Elements that may stand within a sentence of HTML; in XML all may.
_INLINE_NAMES = (
    "a abbr acronym b bdi bdo big button cite code data dfn del em font g i img input ins kbd label mark math nobr "
    "output q rb ruby s samp slot small span strike strong sub sup svg time tt u var wbr x"
)
_INLINE = frozenset(_INLINE_NAMES.split())
# Elements of HTML that end a sentence of a string of software, too; what other names mean the program says.
_BLOCKS = "blockquote br dd div dl dt h1 h2 h3 h4 h5 h6 hr li ol p pre section table td th tr ul"
# Elements that may stand within a word: where a line or a page may end, or marks of places.
_PLACES = (
    "soft-page-break",
    "bookmark",
    "bookmark-start",
    "bookmark-end",
    "reference-mark-start",
    "reference-mark-end",
)
_SEAMS = frozenset({"a", "span", "wbr", *(f"text:{name}" for name in _PLACES)})
_RAISED = frozenset({"sub", "sup"})  # a letter in one is that of a formula or of a note
_MARK_OF_TRADE = re.compile(r"TM|SM|MC|MD")
_ORDINAL = re.compile(r"st|nd|rd|th|er|re|e|è|ème|o|a|os|as")  # what is raised behind a digit: 1<sup>st</sup>
_MEASURES = frozenset({"in", "mi", "mile", "min", "mol", "µm"})  # units with a vowel; those without are told by that
_VOWEL = re.compile(r"[aeiouyàáâäãåæèéêëìíîïòóôöõøœùúûüý]", re.IGNORECASE)
# A single letter in a pair of tags: a consonant is no word, nor is a capital vowel within a sentence, unless it is "I",
# nor is a vowel beside an operator or another such letter.
_CONSONANT = re.compile(r"[b-df-hj-np-tv-z]", re.IGNORECASE)
_CAPITAL_VOWEL = re.compile(r"[AEOU]")
_OPERATORS = frozenset("=+*/^|\u00b1\u00d7\u00f7\u2212")
_ANOTHER_LETTER = re.compile(r">[b-df-hj-np-tv-z]</", re.IGNORECASE)
_NEAR = 100  # characters
_CHEMICAL = re.compile(r"(?:[A-Z][a-z]?){1,6}")
_PART_OF_FORMULA = re.compile(r""">[^<>]*?[^\s,.;:!?()"'“”„<>]""")  # a pair around a comma alone is none
_POWER_OF_TEN = re.compile(r"10<[^<>]*>[+\u2212-]?\d+</[^<>]*>")
_CHARGE = re.compile(r"\d*[+\u2212-]")
_LONGEST_UNIT = 2000  # characters of a pair that is read for whether it holds a word
_TRANSLATED_ATTRIBUTES = frozenset({"alt", "title", "placeholder", "aria-label"})
# Limits that keep the time linear: each end tag looks through the open elements, each pair through its sentence.
_MAX_DEPTH = 256  # open elements that are remembered
_MAX_PAIR_DEPTH = 16  # pairs within pairs in a sentence
_MAX_PAIRS = 64  # pairs in a sentence

# Whatever opens ends at the end of the text at the latest, and no part gives back what it took: time is linear.
_TAG = re.compile(
    r"""<!--(?:-?>|.*?(?:--!?>|\Z))
      | <!\[CDATA\[.*?(?:\]\]>|\Z)
      | <(?:[!?]|/(?![a-zA-Z]|\d{1,3}\s?>))[^>]*+(?:>|\Z)
      | <(?P<end>/?)(?P<name>[a-zA-Z][^\s/>]*+|\d{1,3}(?=\s?/?>))
        (?P<attributes>(?>(?:[^>=]++|=\s*+(?>(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z))?))*))(?:>|\Z)""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""(?<![^\s/>="'])([^\s/>="']++)\s*+=\s*+(?:"([^"]*+)|'([^']*+)|([^\s"'>]++))""")
# Code, automatic links, footnote marks, formulas and escapes stand in a paragraph of Markdown as words do; so does a
# file such as __init__.py, which is no emphasis. What stands between \( and \) is a formula unless it has words.
_MARKDOWN = re.compile(
    r"""(?P<word>`[^`]+` | ``[^`]+`` | <(?:[a-zA-Z][a-zA-Z0-9+.-]*:|[^\s<>@]+@)[^\s<>]*> | \[\^[^\[\]\s]+\]
          | \$\$(?>(?:[^$\\]++|\\.)+)\$\$ | (?<![\\$\w])\$(?![\s$])(?>(?:[^$\\]++|\\.)+)(?<!\s)\$(?!\w)
          | \\\((?![^\\]*[^\W\d_]{2}\s+[^\W\d_]{2})(?>(?:[^\\]++|\\(?![()])[\s\S])*)\\\)
          | \\\[(?![^\\]*[^\W\d_]{2}\s+[^\W\d_]{2})(?>(?:[^\\]++|\\(?![\[\]])[\s\S])*)\\\]
          | \[\[[^\[\]\n]{1,80}\]\](?!\() | (?<!\w)__[a-zA-Z0-9]\w*?__(?:\.\w++|\(\))
          | \\[!-/:-@\[-`{-~])
      | ^\[[ xX]\](?=\s) | !?\[
      | \](?:\((?:<[^<>\n]*+>|[^()\s]*(?:\([^()\s]*\)[^()\s]*)?)
          (?:\s++(?:"(?>(?:[^"\\]++|\\.)*)"|'(?>(?:[^'\\]++|\\.)*)'|\((?>(?:[^()\\]++|\\.)*)\)))?\s*+\)|\[[^\[\]]*\])?
      | (?<![\s*])\*{1,3} | \*{1,3}(?![\s*]) | ~~
      | (?<![\w=])==(?=[^\s=]) | (?<=[^\s=])==(?![\w=]) | (?<!\w)_{1,3}(?=[^\s_]) | (?<=[^\s_])_{1,3}(?!\w)
      | </?(?:[a-zA-Z][^<>]*|\d{1,3}\s?/?)> | <!--.*?(?:-->|\Z) | \|""",
    re.DOTALL | re.VERBOSE,
)


class Markup(NamedTuple):
    """Rules of a kind of markup: HTML, where a line break is a space, XML, where it is kept, or a Markdown paragraph.

    A string of software has pairs of tags and of Markdown's marks, tags that are placeholders, and line breaks to keep.
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

    @property
    def within_nested(self) -> "Markup":
        """The rules for the content of a nested element: an element nested in it ends a sentence."""
        return self._replace(splitting_tags=self.splitting_tags | self.nested_tags, nested_tags=frozenset())

    def is_inline(self, name: str) -> bool:
        """Return whether an element of this name may stand in a sentence."""
        name = name.lower()
        if name in self.splitting_tags:
            return False
        is_free = self.kind in ("xml", "software") or name.isdecimal()
        return is_free or name in self.non_splitting_tags or name in _INLINE

    def is_always_inline(self, name: str) -> bool:
        """Return whether an element of this name is in a sentence even if nothing stands beside it."""
        return name.lower() in self.non_splitting_tags or (self.kind == "xml" and not self.outline_detection)


SOFTWARE = Markup("software", splitting_tags=frozenset(_BLOCKS.split()), has_references=False)


class Token(NamedTuple):
    """A piece of the source: text, an element that stands in a sentence as a word, a tag, or a comment.

    A "tag" ends a sentence; a "start" and its "end" are a pair of tags within one. A word that is a mark has nothing to
    read, or a sign such as that of a note: where it touches a word it belongs to that. A seam may be within a word. A
    note of the writer, a comment, always belongs to a word.
    """

    kind: Literal["text", "word", "tag", "start", "end"]
    begin: int
    end: int
    is_ignored: bool = False
    nested: Span | None = None  # what a word holds that has text of its own
    mark: Literal["", "empty", "sign", "seam", "note"] = ""


def scan(source: str, markup: Markup, *, with_pairs: bool) -> Iterator[Token]:
    """Cut a source into tokens, which joined are the source.

    Args:
        source: HTML, XML, a paragraph of Markdown or a string of software.
        markup: how to read it.
        with_pairs: pairs of tags that have words beside them are "start" and "end", and do not end a sentence.
    """
    tokens = _markdown_tokens(source) if markup.kind == "markdown" else _tokens(source, markup)
    if markup.kind == "software":
        tokens = iter(_software_tokens(source, list(tokens), markup))
    for stretch in _stretches(source, tokens, markup):
        if not any(token.kind == "tag" for token in stretch[:-1]):  # there is no pair
            yield from stretch
            continue
        units = _with_units(source, stretch, markup)
        kinds = _kinds_within_sentences(source, units, markup) if with_pairs else {}
        for index, token in enumerate(units):
            yield token._replace(kind=kinds[index]) if index in kinds else token


def _stretches(source: str, tokens: Iterator[Token], markup: Markup) -> Iterator[list[Token]]:
    """Yield the tokens in parts, each up to a tag that is of no pair, so that no more of a page is held."""
    stretch: list[Token] = []
    for token in tokens:
        stretch.append(token)
        if token.kind == "tag" and (token.is_ignored or _delimiter(source, token, markup) is None):
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def attributes_for_people(tag: str) -> Iterator[tuple[Span, str]]:
    """Yield where in a start tag the values of attributes that people read stand, and their quotation marks."""
    match = _TAG.match(tag)
    if match is None or not match["name"] or match["end"]:
        return
    for attribute in _ATTRIBUTE.finditer(tag, match.start("attributes"), match.end("attributes")):
        group = 2 if attribute[2] else 3
        if attribute[1].lower() in _TRANSLATED_ATTRIBUTES and attribute[group]:
            yield attribute.span(group), "\"'"[group - 2]


def _markdown_tokens(source: str) -> Iterator[Token]:
    """Yield the tokens of a paragraph."""
    position = 0
    for match in _MARKDOWN.finditer(source):
        if position < match.start():
            yield Token("text", position, match.start())
        token = _comment(source, match) or Token("word" if match["word"] else "tag", *match.span())
        yield token
        position = token.end
    if position < len(source):
        yield Token("text", position, len(source))


def _software_tokens(source: str, tokens: Sequence[Token], markup: Markup) -> list[Token]:
    """Return the tokens of XML with those of Markdown's marks; a tag without its other end is a placeholder, a word."""
    cut: list[Token] = []
    marks = deque(written_marks(source))
    for token in tokens:
        position = token.begin
        while marks and marks[0][0] < token.end:
            begin, end = marks.popleft()
            if token.kind == "text" and position <= begin and end <= token.end:
                cut += [Token("text", position, begin)] if position < begin else []
                cut.append(Token("tag", begin, end))
                position = end
        if position < token.end:
            cut.append(token._replace(begin=position))
    ends = {_name(source, token) for token in cut if source.startswith("</", token.begin)}
    starts = {_name(source, token) for token in cut if not source.startswith("</", token.begin)}
    lone = {name for name in starts ^ ends if name and name not in markup.splitting_tags}
    cut = [token._replace(kind="word") if _name(source, token) in lone else token for token in cut]
    pairs = _pairs(source, cut, markup)
    paired = {*pairs.ends, *pairs.ends.values()}
    found: list[Token] = []
    for index, token in enumerate(cut):
        if token.kind == "tag" and index not in paired and _delimiter(source, token, markup) is not None:
            token = token._replace(kind="text" if source[token.begin : token.end] in EMPHASIS else "word")
        if found and found[-1].kind == token.kind == "text":
            found[-1] = found[-1]._replace(end=token.end)
        else:
            found.append(token)
    return found


def _tokens(source: str, markup: Markup) -> Iterator[Token]:
    """Yield the tokens of HTML, XML or the tags of software."""
    elements = _OpenElements(markup)
    nested_tags = markup.nested_tags
    position = 0
    while tag := _TAG.search(source, position):
        if position < tag.start():
            yield Token("text", position, tag.start())
        token = None
        if nested_tags and _opens(tag, nested_tags, markup):
            token = _nested(source, tag, markup)
            if token is None:  # without an end: to look for those of the others could take quadratic time
                nested_tags = frozenset()
        token = token or _empty_element(source, tag, markup) or _tag(source, tag, markup, elements)
        yield token
        position = token.end
    if position < len(source):
        yield Token("text", position, len(source))


def _opens(tag: re.Match[str], names: Set[str], markup: Markup) -> bool:
    """Return whether a tag opens an element of one of the names."""
    return bool(tag["name"]) and tag["name"].lower() in names and not tag["end"] and not _is_void(tag, markup)


def _nested(source: str, tag: re.Match[str], markup: Markup) -> Token | None:
    """Return the element with text of its own that a start tag opens, as a word; None if it has no end tag."""
    name, depth = tag["name"].lower(), 1
    for other in _TAG.finditer(source, tag.end()):
        if other["name"] and other["name"].lower() == name and not _is_void(other, markup):
            depth += -1 if other["end"] else 1
        if depth == 0:
            return Token("word", tag.start(), other.end(), nested=(tag.end(), other.start()))
    return None


def _empty_element(source: str, tag: re.Match[str], markup: Markup) -> Token | None:
    """Return an inline element that is a start tag and its end tag, with nothing between, as a word."""
    if not source.startswith("</", tag.end()) or not tag["name"] or tag["end"] or not markup.is_inline(tag["name"]):
        return None
    closing = _TAG.match(source, tag.end())
    if closing is None or (closing["name"] or "").lower() != tag["name"].lower() or _is_ignored(tag, markup):
        return None
    return Token("word", tag.start(), closing.end(), mark=_empty_mark(tag))


def _tag(source: str, tag: re.Match[str], markup: Markup, elements: "_OpenElements") -> Token:
    """Return a tag or a comment; of an element to copy, all of it."""
    if not tag["name"]:
        return _comment(source, tag) or Token("tag", *tag.span())
    is_inline = markup.is_inline(tag["name"])
    end = elements.read(source, tag)
    if elements.is_ignored:
        return _ignored_element(source, tag.start(), end, is_inline, elements)
    is_word = is_inline and not tag["end"] and _is_void(tag, markup)
    return Token(
        "word" if is_word else "tag",
        tag.start(),
        end,
        _is_ignored(tag, markup),
        mark=_empty_mark(tag) if is_word else "",
    )


def _comment(source: str, match: re.Match[str]) -> Token | None:
    """Return a comment as a word, with the spaces behind it if there are some before it; None for anything else."""
    if not match[0].startswith("<!--"):
        return None
    begin, end = match.span()
    if begin == 0 or source[begin - 1].isspace():
        while end < len(source) and source[end] in " \t":
            end += 1
    return Token("word", begin, end, mark="note")


def _empty_mark(tag: re.Match[str]) -> Literal["empty", "seam"]:
    return "seam" if tag["name"].lower() in _SEAMS else "empty"


def _ignored_element(source: str, begin: int, end: int, is_inline: bool, elements: "_OpenElements") -> Token:
    """Return the element to copy that begins at `begin`, its start tag read up to `end`."""
    while tag := _TAG.search(source, end):
        end = tag.end()
        if not tag["name"]:
            continue
        end = elements.read(source, tag)
        if not elements.is_ignored:
            is_whole = tag["end"] == "/"  # not where the start of another implies its end
            return Token("word" if is_inline and is_whole else "tag", begin, end, is_ignored=True)
    return Token("tag", begin, len(source), is_ignored=True)


class _OpenElements:
    """The elements around a place, outermost first."""

    def __init__(self, markup: Markup) -> None:
        self._markup = markup
        self._path: list[tuple[str, bool]] = []  # names, and whether each is ignored

    @property
    def is_ignored(self) -> bool:
        """Whether one of them is copied."""
        return any(ignored for _, ignored in self._path)

    def read(self, source: str, tag: re.Match[str]) -> int:
        """Open or close an element; return where its tag ends, or its content if that is not markup."""
        name, is_html = tag["name"].lower(), self._markup.kind == "html"
        if tag["end"]:
            self._close(name)
            return tag.end()
        if _is_void(tag, self._markup):
            return tag.end()
        if is_html and name in _IMPLIED_END and self._path and self._path[-1][0] == name:
            self._path.pop()
        ignored = _is_ignored(tag, self._markup)
        if len(self._path) < _MAX_DEPTH or (ignored and not self.is_ignored):
            self._path.append((name, ignored))
        if is_html and name in _RAW:
            content_end = re.compile(rf"</{name}(?=[\s/>])|\Z", re.IGNORECASE).search(source, tag.end())
            assert content_end is not None  # at the end of the text at the latest
            return content_end.start()
        return tag.end()

    def _close(self, name: str) -> None:
        """Close an element and those within it; a stray end tag closes nothing."""
        if any(name == other for other, _ in self._path):
            while self._path.pop()[0] != name:
                pass


def _is_void(tag: re.Match[str], markup: Markup) -> bool:
    """Return whether a tag is an element of its own, without an end tag."""
    return tag["attributes"].endswith("/") or (markup.kind == "html" and tag["name"].lower() in _VOID)


def _is_ignored(tag: re.Match[str], markup: Markup) -> bool:
    """Return whether the element that a start tag opens is copied with its content."""
    name = tag["name"].lower()
    if name in markup.ignored_tags or name in _FORMULAS or (markup.kind in ("html", "software") and name in _OPAQUE):
        return True
    if "=" not in tag["attributes"]:  # most tags
        return False
    found = _ATTRIBUTE.finditer(tag["attributes"])
    attributes = {match[1].lower(): match[2] or match[3] or match[4] or "" for match in found}
    if any(attributes.get(attribute) == value for attribute, value in markup.protected):
        return True
    return attributes.get("translate", "").lower() == "no" or "notranslate" in attributes.get("class", "").split()


def _with_units(source: str, tokens: list[Token], markup: Markup) -> list[Token]:
    """Return the tokens with each pair of tags without a word to translate as a word, a unit of its sentence.

    A number, an address, a hashtag or a sign is not to be translated, nor is a letter that is raised. What is raised
    within a formula or behind a measure takes these with it: H<sub>2</sub>O, 5 m<sup>2</sup>.
    """
    ends = _pairs(source, tokens, markup).ends
    if not ends:
        return tokens
    found: list[Token] = []
    index = begin = emphasis_end = 0
    while index < len(tokens):
        token = tokens[index]._replace(begin=max(tokens[index].begin, begin))
        end = ends.get(index)
        mark = None
        if end is not None:
            is_emphasis = source[token.begin : token.end] in EMPHASIS
            if not is_emphasis or index >= emphasis_end:  # within other emphasis it would be asterisks
                mark = _mark(source, tokens[index : end + 1], markup)
            emphasis_end = end if is_emphasis and mark is None and index >= emphasis_end else emphasis_end
        if end is None or mark is None:
            if token.begin < token.end:
                found.append(token)
            index += 1
            continue
        unit = Token("word", token.begin, tokens[end].end, mark=mark)
        following = tokens[end + 1] if end + 1 < len(tokens) else None
        is_raised = markup.kind == "xml" or _name(source, token) in _RAISED
        if mark and is_raised and _PART_OF_FORMULA.search(source, unit.begin, unit.end):
            unit = _with_formula(source, found, unit, following, _name(source, token))
        begin = unit.end
        found.append(unit)
        index = end + 1
    return found


def _name(source: str, token: Token) -> str:
    tag = _TAG.match(source, token.begin)
    return (tag["name"] or "").lower() if tag is not None else ""


def _mark(source: str, tokens: Sequence[Token], markup: Markup) -> Literal["", "empty", "sign"] | None:
    """Return what the pair around tokens is as a word; None if it holds a word to translate."""
    inner = tokens[1:-1]
    if inner and inner[-1].end - inner[0].begin > _LONGEST_UNIT:
        return None
    for token in inner:
        if token.nested is not None or (
            markup.kind == "html"
            and token.kind != "text"
            and any(attributes_for_people(source[token.begin : token.end]))
        ):
            return None
    texts = [source[token.begin : token.end] for token in inner if token.kind == "text"]
    text = "".join(map(unescape, texts) if markup.has_references else texts).strip()
    if not any(map(str.isalpha, text)):
        is_seen = text or any(token.kind == "word" and not token.mark for token in inner)
        if not text and is_seen:
            return ""
        return "sign" if text else "empty"
    is_raised = _name(source, tokens[0]) in _RAISED
    if is_raised and (sum(map(str.isalpha, text)) == 1 or _MARK_OF_TRADE.fullmatch(text)):
        return "sign"
    is_behind_digit = source[max(tokens[0].begin - 1, 0) : tokens[0].begin].isdecimal()
    if (is_raised or markup.kind == "xml") and is_behind_digit and _ORDINAL.fullmatch(text):
        return "sign"
    if len(text) == 1 and _is_no_word(source, text, tokens[0].begin, tokens[-1].end):
        return ""
    return None if has_words(text, find(text)) else ""


def _is_no_word(source: str, letter: str, begin: int, end: int) -> bool:
    """Return whether a letter that stands alone in a pair of tags, source[begin:end], is one of a formula or a name."""
    before, after = source[max(begin - _NEAR, 0) : begin], source[end : end + _NEAR]
    if before[-1:].isalpha() or after[:1].isalpha():  # of a word
        return False
    if _CONSONANT.fullmatch(letter):
        return True
    last, following = before.rstrip()[-1:], after.lstrip()[:1]
    if _CAPITAL_VOWEL.fullmatch(letter) and (last.isalnum() or last in tuple(",:;(")):
        return True
    return bool({last, following} & _OPERATORS or _ANOTHER_LETTER.search(before) or _ANOTHER_LETTER.search(after))


def _with_formula(source: str, found: list[Token], unit: Token, following: Token | None, name: str) -> Token:
    """Return what is raised with the parts of its formula on both sides; those are taken from `found`."""
    content = source[unit.begin : unit.end]
    is_charge = any(_CHARGE.fullmatch(text) for text in re.findall(r">([^<>]+)<", content))
    is_low = name != "sup" or is_charge
    begin = unit.begin
    while found and found[-1].kind == "text" and found[-1].begin < begin and source[begin - 1].isalnum():
        begin -= 1
    if begin < unit.begin and _is_formula(source[begin : unit.begin], is_low=is_low):
        rest = found.pop()._replace(end=begin)
        unit = unit._replace(begin=begin, mark="")
        if rest.begin < rest.end:
            found.append(rest)
    if (
        found
        and found[-1].kind == "word"
        and found[-1].end == unit.begin
        and _name(source, found[-1]) not in ("img", "br")
    ):
        unit = unit._replace(begin=found.pop().begin, mark="")
    end = unit.end
    if following is not None and following.kind == "text":
        while end < following.end and source[end].isalnum():
            end += 1
        if end > unit.end and _is_formula(source[unit.end : end], is_low=is_low):
            unit = unit._replace(end=end, mark="")
        measure = MEASURE_BEHIND.match(source, unit.end, following.end)
        if measure is not None and name == "sup" and _POWER_OF_TEN.fullmatch(source, unit.begin, unit.end):
            unit = unit._replace(end=measure.end(), mark="")
    return unit


def _is_formula(text: str, *, is_low: bool) -> bool:
    """Return whether letters and digits that touch something raised are a formula, a number or a measure."""
    if len(text) == 1 or not text.isalpha() or text in _MEASURES or _VOWEL.search(text) is None:
        return True
    if is_low:
        return len(text) <= 3 or _CHEMICAL.fullmatch(text) is not None
    return text.isupper() and len(text) <= 3


def _kinds_within_sentences(source: str, tokens: Sequence[Token], markup: Markup) -> dict[int, Literal["start", "end"]]:
    """Return the new kinds of the tags that are pairs within a sentence, by their index."""
    pairs = _pairs(source, tokens, markup)
    paired = {*pairs.ends, *pairs.ends.values()}
    breaks = [index for index, token in enumerate(tokens) if token.kind == "tag" and index not in paired]
    kinds: dict[int, Literal["start", "end"]] = {}
    for before, after in itertools.pairwise([-1, *breaks, len(tokens)]):
        for start in _starts_within(source, tokens, pairs, before + 1, after):
            kinds |= {start: "start", pairs.ends[start]: "end"}
    return kinds


class _Pairs(NamedTuple):
    """Indices of the tags that belong together."""

    ends: dict[int, int]  # of each start tag
    always: set[int]  # start tags of pairs that need no words beside them


def _pairs(source: str, tokens: Sequence[Token], markup: Markup) -> _Pairs:
    """Match the tags and delimiters between which nothing ends a sentence for sure."""
    pairs = _Pairs({}, set())
    path: list[tuple[int, str]] = []  # the start tags around
    for index, token in enumerate(tokens):
        if token.kind != "tag":
            continue
        delimiter = None if token.is_ignored else _delimiter(source, token, markup)
        if delimiter is None:
            path.clear()
        elif delimiter.ends and path and path[-1][1] == delimiter.name:
            start = path.pop()[0]
            pairs.ends[start] = index
            if markup.is_always_inline(delimiter.name):
                pairs.always.add(start)
        elif delimiter.starts:
            path = [*path, (index, delimiter.name)][-_MAX_PAIR_DEPTH:]
        else:
            path.clear()
    return pairs


class _Delimiter(NamedTuple):
    """A tag, bracket or mark of emphasis by what it may start or end."""

    name: str
    starts: bool
    ends: bool


def _delimiter(source: str, token: Token, markup: Markup) -> _Delimiter | None:
    """Return what starts or ends a pair that may be in a sentence; None for all else."""
    text = source[token.begin : token.end]
    if text.startswith("<"):
        tag = _TAG.match(source, token.begin)
        if tag is None or not tag["name"] or not markup.is_inline(tag["name"]) or _is_void(tag, markup):
            return None
        return _Delimiter(tag["name"].lower(), not tag["end"], tag["end"] == "/")
    if text == "[":  # the text of an image is not part of the sentence
        return _Delimiter("]", starts=True, ends=False)
    if text.startswith("]"):
        return _Delimiter("]", starts=False, ends=True)
    if text[0] in "*_~=":
        is_open = not source[token.end : token.end + 1].isspace() and token.end < len(source)
        return _Delimiter(text, is_open, token.begin > 0 and not source[token.begin - 1].isspace())
    return None


def _starts_within(source: str, tokens: Sequence[Token], pairs: _Pairs, begin: int, end: int) -> Iterator[int]:
    """Yield the start tags in tokens[begin:end] of pairs with words beside them.

    A row of links is not a sentence, but its links may hold some.
    """
    starts = [index for index in range(begin, end) if index in pairs.ends]
    outer = _outermost(starts, pairs)
    if len(starts) <= _MAX_PAIRS and _has_words_beside(source, tokens, outer, pairs, begin, end):
        yield from starts
        return
    kept = 0
    for start in outer:
        within = starts[bisect.bisect_right(starts, start) : bisect.bisect_left(starts, pairs.ends[start])]
        if start in pairs.always and kept + len(within) < _MAX_PAIRS:
            kept += 1 + len(within)
            yield from [start, *within]
        else:  # its tags end the sentence, and another begins
            kept = 0
            yield from _starts_within(source, tokens, pairs, start + 1, pairs.ends[start])


def _outermost(starts: Sequence[int], pairs: _Pairs) -> list[int]:
    """Return the starts of the pairs that are in no other of them."""
    outer: list[int] = []
    for start in starts:
        if not outer or start > pairs.ends[outer[-1]]:
            outer.append(start)
    return outer


def _has_words_beside(
    source: str, tokens: Sequence[Token], outer: Sequence[int], pairs: _Pairs, begin: int, end: int
) -> bool:
    """Return whether tokens[begin:end] have a letter outside of the outermost pairs."""
    position = begin
    for start in [*outer, end]:
        for token in tokens[position:start]:
            if token.kind == "text" and any(map(str.isalpha, unescape(source[token.begin : token.end]))):
                return True
        position = pairs.ends.get(start, end) + 1
    return False
