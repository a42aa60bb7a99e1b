"""Sentence splitting: a text as pieces to translate and pieces to copy, which joined are the text."""

import bisect
import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import sentencex

from service.text import placeholders
from service.text.detection import is_common
from service.text.placeholders import Span

# DeepL's values: "0", a text is one sentence; "1", line breaks and full stops end sentences; "nonewlines", only full
# stops do. And "lines": a line is one sentence, which is "0" for markup, where each run of text is a line.
SplitSentences = Literal["0", "1", "nonewlines", "lines"]

_CLAUSE_END = re.compile(r"[,;:.!?)\]–—…、，；：。！？](?=\s)|[、，；：。！？]|\s[–—-](?=\s)")
_SPACE = re.compile(r"\s+")
_FORMULA = re.compile(r"(\$\$[^$]+\$\$|\\\[(?>(?:[^\\]|\\(?![\[\]]))*)\\\])")  # of TeX, and it may have several lines
# A break as strings of software write it, a backslash and a letter; in code and in paths it is none. Before a small
# letter it is one behind a mark, or between two plain words.
_WRITTEN_BREAK = re.compile(
    r"``[^`\n]+``|`[^`\n]+`|(?<!\w)[A-Za-z]:\\\S*|(?<!\S)\\\\\S+"
    r"|(?P<is_break>(?>(?:\\r\\n|\\[nr](?![a-z]))+)|(?<=[.!?:;,])(?>(?:\\[nr])+))"
    r"|(?:(?<!\S)|(?<=\\[nr]))[^\W\d_]{0,40}[^\W\d_A-Z](?P<is_between>\\[nr])"
    r"(?=(?P<following>[^\W\d_]++)(?:[\s.,;:!?]|\\[nr]|\Z))"
)
_PARAGRAPH_BREAK = re.compile(r"((?>\r\n|[\r\n])(?:[^\S\r\n]*+(?>\r\n|[\r\n]))+)")
_COLUMN_BREAK = re.compile(r"\t+ *| {3,}|[ \t]*+(?<!\S)\|(?!\S)[ \t]*+")  # between cells of a table
# Indentation, quotation marks of mail, bullets, numbers of lists, check boxes, who speaks (Q: and A:).
_LINE_HEAD = re.compile(
    r"\s*(?:(?:[-*+•‣◦▪▫●○■□·>#–—]+|\(?\d{1,3}[.)]|\(?[a-zA-Z]\))\s+)*(?:\[[ xX]\]\s+|[A-Z]:\s+(?=\S))?"
)
# A line of program text: recognised by its end, or a definition, an assignment, a call, a return with nothing after it.
_CODE_LINE = re.compile(
    r"(?s:.*[{};])|(?:async )?(?:def|class|function|func|fn) \w+\([^()]*\).*:?|[\w.\[\]]+\s*[-+*/|&]?=\s*\S+"
    r"|[\w.]+\([^()]*\)|return (?![a-zA-Z]+[.!?]?$)\S+"
)
# What a number follows, so that its point ends no sentence: "No. 5", "order no. 7", "pp. 3".
_NUMBERED = re.compile(
    r"(?<!\w)(?:(?:order|item|part|invoice|ticket|serial|model|case|account|flight|room|reference|patent|phone) no|"
    r"nos|nr|fig|vol|No|Nos|Nr|Fig|Figs|Vol|Art|Sec|Ch|Eq|pp?|Abb|Abs|Kap|Bd)\.\s+\Z"
)
_RULE = re.compile(r";|:\s")  # in braces, as of a style sheet
_PROSE = re.compile(r"\b[^\W\d_]++,? [^\W\d_]++,? [^\W\d_]")
# Emoji and their modifiers: symbols, joiners and other format characters, variation selectors, skin tones.
_COPIED_CATEGORIES = frozenset({"So", "Cf", "Cc", "Cn"})
_EMOJI_MODIFIERS = frozenset("\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")
_DIRECTION = re.compile(f"[{''.join({*placeholders.DIRECTED, *placeholders.DIRECTED.values()})}]")
# After a placeholder that is not part of the sentence: "%s: not found".
_AFTER_HEAD = re.compile(r"\s*[:;,=.)\]–—-]+\s+|\s*\Z")


class Piece(NamedTuple):
    """A part of a text to copy, or to translate with the units `kept` left as they are."""

    text: str
    translate: bool
    kept: tuple[Span, ...] = ()


def split(text: str, language: str, sentences: SplitSentences = "1") -> list[Piece]:
    """Cut a text into sentences to translate, and what stands around them to copy.

    Line breaks, spaces, bullets, emoji, lines of code and sentences without a word are copied.

    Args:
        text: of any number of lines.
        language: code of the text's language.
        sentences: which of line breaks and full stops end a sentence.
    """
    pieces: list[Piece] = []
    for line in _lines(text, language, sentences):
        spans = placeholders.find(line)
        if not line.strip() or _is_code(line, spans) or _FORMULA.fullmatch(line):
            pieces.append(Piece(line, False))
            continue
        head = _LINE_HEAD.match(line)
        position = 0 if head is None or any(begin < head.end() for begin, _ in spans) else head.end()
        if position:
            pieces.append(Piece(line[:position], False))
        for end in [len(line)] if sentences in ("0", "lines") else _sentence_ends(line, position, spans, language):
            pieces += _edges(line, position, end, spans)
            position = end
    return _with_direction(pieces) if _DIRECTION.search(text) else pieces


def halve(piece: Piece) -> list[Piece]:
    """Cut an over-long sentence in two, near its middle: after a clause, else at a space, else in a word."""
    sentence, spans = piece.text, piece.kept
    middle = len(sentence) // 2
    low, high = len(sentence) // 4, len(sentence) - len(sentence) // 4
    clauses = [match.end() for match in _CLAUSE_END.finditer(sentence) if low <= match.end() <= high]
    spaces = [match.end() for match in _SPACE.finditer(sentence) if match.start() > 0 and match.end() < len(sentence)]
    inside = bytearray(len(sentence) + 1)  # 1 where a cut would go through a kept unit
    for begin, end in spans:
        inside[begin + 1 : end] = b"\1" * (end - begin - 1)
    for cuts in (clauses, spaces, [middle], [end for _, end in spans], [begin for begin, _ in spans]):
        allowed = [cut for cut in cuts if 0 < cut < len(sentence) and not inside[cut]]
        if allowed:
            cut = min(allowed, key=lambda position: abs(position - middle))
            return _edges(sentence, 0, cut, spans) + _edges(sentence, cut, len(sentence), spans)
    return [Piece(sentence, False)]  # all of it is protected


def cut_at_kept(piece: Piece) -> list[tuple[Piece, bool]]:
    """Cut a sentence at its units, which are copied with the marks around; each part is translated by itself.

    Returns:
        the pieces, and whether each is a unit.
    """
    text = piece.text
    pieces: list[tuple[Piece, bool]] = []
    position = 0
    for (begin, end), following in zip(piece.kept, [*(span[0] for span in piece.kept), len(text)][1:], strict=True):
        first, last = begin, end
        while first > position and not text[first - 1].isalnum():
            first -= 1
        while last < following and not text[last].isalnum():
            last += 1
        pieces += [(part, False) for part in _edges(text, position, first, ())]
        pieces += [(Piece(text[first:begin], False), False)] if first < begin else []
        pieces.append((Piece(text[begin:end], False), True))
        pieces += [(Piece(text[end:last], False), False)] if end < last else []
        position = last
    return pieces + [(part, False) for part in _edges(text, position, len(text), ())]


def _lines(text: str, language: str, sentences: SplitSentences) -> Iterator[str]:
    """Yield the parts of a text that are cut into sentences one by one; joined they are the text."""
    if sentences == "0":
        yield text
    elif sentences == "nonewlines":
        yield from _PARAGRAPH_BREAK.split(text)
    else:
        for part in _FORMULA.split(text) if "\n" in text and ("$$" in text or "\\[" in text) else [text]:
            if "\n" in part and _FORMULA.fullmatch(part):
                yield part
                continue
            for line in part.splitlines(keepends=True):
                for stretch in _at_written_breaks(line, language) if "\\" in line else [line]:
                    yield from filter(None, _cells(stretch))


def _at_written_breaks(line: str, language: str) -> Iterator[str]:
    """Yield what stands between written breaks, and these; before a word that nobody says there is none, but a path."""
    position = 0
    for match in _WRITTEN_BREAK.finditer(line):
        name = "is_between" if match["following"] and is_common(match["following"], language) else "is_break"
        if match[name]:
            yield line[position : match.start(name)]
            yield match[name]
            position = match.end(name)
    yield line[position:]


def _cells(line: str) -> Iterator[str]:
    """Yield the cells of a line and what stands between them, which a bar within a unit does not."""
    kept = placeholders.find(line) if "|" in line else []
    position = 0
    for match in _COLUMN_BREAK.finditer(line):
        place = bisect.bisect_left(kept, match.end(), key=lambda span: span[0])  # the first unit that begins behind
        if place == 0 or kept[place - 1][1] <= match.start():
            yield line[position : match.start()]
            yield match[0]
            position = match.end()
    yield line[position:]


def _is_code(line: str, spans: Sequence[Span]) -> bool:
    """Return whether a line is one of a program; the mark at its end is none if a placeholder ends there."""
    last = line[slice(*spans[-1])] if spans and spans[-1][1] == len(line.rstrip()) else ""
    line = line.strip()
    if line.startswith("$ "):
        return True
    is_placeholder = last != "" and len(last) < len(line) and _RULE.search(last) is None
    return not is_placeholder and _CODE_LINE.fullmatch(line) is not None and _PROSE.search(line) is None


def _sentence_ends(line: str, begin: int, spans: Sequence[Span], language: str) -> list[int]:
    """Return the ends of the sentences of line[begin:]."""
    # sentencex 1.0 panics on an initial followed by a space outside ASCII: it reads a copy of the same length, with
    # plain spaces, and with letters for kept units, in which no sentence ends
    plain = [" " if character.isspace() else character for character in line]
    for span_begin, span_end in spans:
        plain[span_begin:span_end] = "x" * (span_end - span_begin)
    ends, position = [], begin
    for sentence in sentencex.segment(language, "".join(plain[begin:])):
        position += len(sentence)
        if not (line[position : position + 1].isdecimal() and _NUMBERED.search(line, max(position - 9, 0), position)):
            ends.append(position)
    return [*ends, len(line)]


def _edges(text: str, begin: int, end: int, spans: Sequence[Span]) -> list[Piece]:
    """Cut text[begin:end] into what is copied before it, what is translated, and what is copied after it.

    All of it is copied if it holds no word.
    """
    place = bisect.bisect_left(spans, begin, key=lambda span: span[0])
    kept = spans[place : bisect.bisect_right(spans, end, key=lambda span: span[1])]
    first, last = _without_symbols(text, begin, end, kept)
    first = _after_leading(text, first, last, kept)
    last = _before_trailing(text, first, last, kept)
    inside = [(b - first, e - first) for b, e in kept if first <= b and e <= last]
    core = text[first:last]
    if not placeholders.has_words(core, inside):
        return [Piece(text[begin:end], False)] if begin < end else []
    pieces = [Piece(text[begin:first], False), Piece(core, True, tuple(inside)), Piece(text[last:end], False)]
    return [piece for piece in pieces if piece.text]


def _without_symbols(text: str, first: int, last: int, kept: Sequence[Span]) -> Span:
    """Leave out the spaces and emoji at both ends of text[first:last], up to a unit."""
    low, high = (kept[0][0], kept[-1][1]) if kept else (last, first)
    while first < min(low, last) and _is_copied(text[first]):
        first += 1
    while first < last and last > high and _is_copied(text[last - 1]):
        last -= 1
    return first, last


def _after_leading(text: str, first: int, last: int, kept: Sequence[Span]) -> int:
    """Return where text[first:last] begins after kept units before the sentence ("%s: not found")."""
    for begin, end in kept:
        after = _AFTER_HEAD.match(text, end, last) if begin == first else None
        if after is None:
            break
        first = after.end()
    return first


def _before_trailing(text: str, first: int, last: int, kept: Sequence[Span]) -> int:
    """Return where text[first:last] ends before kept units after the sentence ("Usage: %s", "Fine. #now")."""
    for begin, end in reversed(kept):
        before = begin
        while first < before and text[before - 1].isspace():
            before -= 1
        is_trailer = text[before - 1] in ":=.!?…" or (text[begin] in "#:" and before < begin)
        if end != last or before <= first or not is_trailer:
            break
        last = before
    return last


def _with_direction(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces with each mark of direction in the words beside it if its other end is in words.

    The model does not read these marks: both ends go. Copied alone, one would turn all that follows.
    """
    merged: list[Piece] = []
    for piece in pieces:
        if merged and not piece.translate and not merged[-1].translate:
            merged[-1] = Piece(merged[-1].text + piece.text, False)
        else:
            merged.append(piece)
    pieces = merged
    heads, tails = [0] * len(pieces), [len(piece.text) for piece in pieces]  # of those to copy, what words take
    opened: list[tuple[int, int, str]] = []
    for number, piece in enumerate(pieces):
        for match in _DIRECTION.finditer(piece.text):
            if any(begin <= match.start() < end for begin, end in piece.kept):
                continue
            if match[0] in placeholders.DIRECTED:
                opened.append((number, match.start(), placeholders.DIRECTED[match[0]]))
            elif opened and opened[-1][2] == match[0]:
                start, place, _ = opened.pop()
                if piece.translate and not pieces[start].translate:
                    tails[start] = min(tails[start], place)
                elif pieces[start].translate and not piece.translate:
                    heads[number] = match.end()
    found: list[Piece] = []
    prefix = ""
    for number, piece in enumerate(pieces):
        if piece.translate:
            found.append(_with(prefix, piece, ""))
            prefix = ""
            continue
        head = heads[number] if found and found[-1].translate else 0
        if head:
            found[-1] = _with("", found[-1], piece.text[:head])
        is_before_words = number + 1 < len(pieces) and pieces[number + 1].translate
        tail = max(tails[number], head) if is_before_words else len(piece.text)
        prefix = piece.text[tail:]
        found += [Piece(piece.text[head:tail], False)] if head < tail else []
    return found


def _with(before: str, piece: Piece, behind: str) -> Piece:
    """Return a piece with more text, which may have units, too."""
    if not before and not behind:
        return piece
    text = before + piece.text + behind
    return Piece(text, True, tuple(placeholders.find(text)))


def _is_copied(character: str) -> bool:
    return character.isspace() or character in _EMOJI_MODIFIERS or unicodedata.category(character) in _COPIED_CATEGORIES
