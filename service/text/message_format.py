"""ICU MessageFormat: a message -> the texts of its branches -> the same message around their translations.

The grammar is that of ICU's MessagePattern with apostrophes in their usual mode (DOUBLE_OPTIONAL):
https://unicode-org.github.io/icu/userguide/format_parse/messages/. An argument, a `#` and a quoted stretch are kept
units: each is one private character in a text. So is a plural or a select that stands among words; the texts of its
branches are texts of their own.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from service.text.plurals import missing_categories

_MAX_DEPTH = 16  # messages within messages; people write up to three
_S = r"[\t-\r \x85\u200e\u200f\u2028\u2029]"  # Pattern_White_Space
_SPACE = re.compile(rf"{_S}*+")
# Up to the next brace; in a plural a `#` is a token too. A single apostrophe quotes where syntax follows it.
_TEXT = re.compile(r"(?P<unit>'(?=[{}])(?>(?:[^']++|'')*)(?:'|\Z))|(?P<text>(?>(?:[^{}']++|''|'(?![{}']))+))")
_TEXT_OF_PLURAL = re.compile(
    r"(?P<unit>\#|'(?=[{}\#])(?>(?:[^']++|'')*)(?:'|\Z))|(?P<text>(?>(?:[^{}\#']++|''|'(?![{}\#']))+))"
)
_ARGUMENT = re.compile(rf"\{{{_S}*+[\w.-]++{_S}*+(?P<end>\}}|,{_S}*+(?P<type>\w++){_S}*+(?P<style>[,}}]))")
_OFFSET = re.compile(rf"{_S}*+offset:{_S}*+[+-]?\d++")
_SELECTOR = re.compile(
    rf"(?P<space>{_S}*+)(?P<key>=[+-]?\d++(?>(?:\.\d++)?)|[^\W\d][\w-]*+|\d[\w-]*+)(?P<open>{_S}*+\{{)"
)
_STYLE = re.compile(r"[^{}']++|'[^']*+'")
# What must be quoted, with the apostrophes after it: in no other way does one follow a quotation.
_QUOTED = re.compile(r"(\{[^{}]*+\}[{}']*+|[{}][{}']*+)")
_QUOTED_IN_PLURAL = re.compile(r"(\{[^{}]*+\}[{}\#']*+|[{}\#][{}\#']*+)")
_APOSTROPHE = re.compile(r"'(?=['|]|\Z)")  # a single one might quote what follows
_PRIVATE = range(0xF0000, 0x10FFFE)


class NotAMessage(ValueError):
    """A text that is not a valid message."""


class _Text(NamedTuple):
    """Words between units."""

    source: str

    def __str__(self) -> str:
        return self.source


class _Unit(NamedTuple):
    """An argument, a number sign or a quoted stretch: kept."""

    source: str

    def __str__(self) -> str:
        return self.source


class _Branch(NamedTuple):
    space: str
    key: str
    opening: str
    message: "_Pattern"

    def __str__(self) -> str:
        return f"{self.space}{self.key}{self.opening}{self.message}}}"


class _Choice(NamedTuple):
    """A plural, a selectordinal or a select."""

    head: str
    kind: str
    branches: list[_Branch]
    tail: str

    def __str__(self) -> str:
        return "".join([self.head, *map(str, self.branches), self.tail])


class _Pattern(NamedTuple):
    """A message or that of a branch."""

    parts: list[_Text | _Unit | _Choice]
    in_plural: bool

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    @property
    def units(self) -> int:
        return sum(not isinstance(part, _Text) for part in self.parts)

    @property
    def has_words(self) -> bool:
        return any(isinstance(part, _Text) and any(map(str.isalpha, part.source)) for part in self.parts)


class Message:
    """A message, taken apart. `texts` are what there is to translate, none of which begins or ends within a branch."""

    def __init__(self, source: str, *, doubles: bool = False) -> None:
        """Parse a message, in linear time.

        Args:
            source: of the message.
            doubles: whether a translation's apostrophes are always spelt twice, as Java's own MessageFormat needs it.

        Raises:
            NotAMessage: it breaks the grammar, or nests deeper than sixteen messages.
        """
        self._doubles = doubles
        self._pattern, end = _pattern(source, 0, 0, in_plural=False)
        if end != len(source):
            raise NotAMessage("A closing brace has no opening one.")
        translated = [pattern for pattern in _patterns(self._pattern) if pattern.has_words]
        units, used = max((pattern.units for pattern in translated), default=0), set(source)
        self._marks = list(islice((chr(code) for code in _PRIVATE if chr(code) not in used), units))
        if len(self._marks) < units:
            raise NotAMessage("There are more arguments than private characters.")
        self.texts: Sequence[str] = [self._text(pattern) for pattern in translated]
        self.has_choices = any(isinstance(part, _Choice) for part in self._pattern.parts)

    def __str__(self) -> str:
        """Render the message as it was."""
        return str(self._pattern)

    def render(self, translations: Sequence[str], target: str) -> str:
        """Render the message with translations of its texts, and all plural branches that the target language needs.

        A translation that doesn't have each unit of its text once is not taken.
        """
        given = iter(zip(self.texts, translations, strict=True))
        return self._render(self._pattern, given, target)

    def _text(self, pattern: _Pattern) -> str:
        marks = iter(self._marks)
        return "".join(
            part.source.replace("''", "'") if isinstance(part, _Text) else next(marks) for part in pattern.parts
        )

    def _render(self, pattern: _Pattern, given: Iterator[tuple[str, str]], target: str) -> str:
        source, translation = next(given) if pattern.has_words else ("", "")
        parts = [
            self._choice(part, given, target) if isinstance(part, _Choice) else part.source for part in pattern.parts
        ]
        if translation == source:
            return "".join(parts)
        units = [text for part, text in zip(pattern.parts, parts, strict=True) if not isinstance(part, _Text)]
        by_mark = dict(zip(self._marks, units, strict=False))
        pieces = re.split(f"([{''.join(by_mark)}])", translation) if units else [translation]
        if sorted(pieces[1::2]) != sorted(by_mark):
            return "".join(parts)
        doubles = self._doubles or any(isinstance(part, _Text) and "''" in part.source for part in pattern.parts)
        rendered, literal = [], ""  # quoted text is quoted again, together with the words beside it
        for number, piece in enumerate(pieces):
            unit = by_mark[piece] if number % 2 else ""
            if unit.startswith(("{", "#")):
                rendered += [_spelt(literal, pattern.in_plural, doubles), unit]
                literal = ""
            else:
                literal += _unquoted(unit) if number % 2 else piece
        return "".join([*rendered, _spelt(literal, pattern.in_plural, doubles)])

    def _choice(self, choice: _Choice, given: Iterator[tuple[str, str]], target: str) -> str:
        texts = [self._render(branch.message, given, target) for branch in choice.branches]
        keys = [branch.key for branch in choice.branches]
        exact = [] if "offset:" in choice.head else keys  # with an offset, =1 is another number than `one`
        missing = missing_categories(target, exact) if choice.kind == "plural" else []
        missing = [category for category in missing if category not in keys]
        rendered = [choice.head]
        for branch, text in zip(choice.branches, texts, strict=True):
            made = missing if branch.key == "other" else []
            missing = [] if branch.key == "other" else missing
            rendered += [f"{branch.space}{key}{branch.opening}{text}}}" for key in (*made, branch.key)]
        return "".join([*rendered, choice.tail])


def with_choices(text: str, *, doubles: bool = False) -> Message | None:
    """Take a text apart that is a message with a plural or a select; None of any other text, which needs no parser."""
    try:
        message = Message(text, doubles=doubles) if "{" in text and "," in text else None
    except NotAMessage:
        return None
    return message if message is not None and message.has_choices else None


class Choices:
    """Texts of which some are messages with a plural or a select: `text` has the texts of their branches, by lines."""

    def __init__(self, texts: Sequence[str], target: str) -> None:
        """Take the messages among the texts apart.

        Args:
            texts: what is to be translated, of any number of lines each.
            target: ISO 639-1 code; its plural branches are made.
        """
        self._target = target
        self._messages = [with_choices(text) for text in texts]
        self._parts = [
            [text] if message is None else list(message.texts)
            for text, message in zip(texts, self._messages, strict=True)
        ]
        self.text = "\n".join(part for parts in self._parts for part in parts)

    def __bool__(self) -> bool:
        """Tell whether any text is such a message."""
        return any(message is not None for message in self._messages)

    def render(self, translation: str) -> list[str]:
        """Return the texts with the translation of `text`, which has as many lines; what has not stays as it is."""
        lines = iter(translation.split("\n"))
        rendered = []
        for message, parts in zip(self._messages, self._parts, strict=True):
            translated = ["\n".join(islice(lines, part.count("\n") + 1)) for part in parts]
            rendered.append(translated[0] if message is None else message.render(translated, self._target))
        return rendered


def _patterns(pattern: _Pattern) -> Iterator[_Pattern]:
    """Yield a pattern and those of its branches, in the order of rendering."""
    yield pattern
    for part in pattern.parts:
        if isinstance(part, _Choice):
            for branch in part.branches:
                yield from _patterns(branch.message)


def _unquoted(unit: str) -> str:
    """Read a quoted stretch, which may lack its end."""
    text = unit[1:].replace("''", "\0")
    return text.removesuffix("'").replace("\0", "'")


def _spelt(text: str, in_plural: bool, doubles: bool) -> str:
    """Spell a text that stands between arguments, its apostrophes twice if it `doubles` them."""
    pieces = (_QUOTED_IN_PLURAL if in_plural else _QUOTED).split(text)
    return "".join(
        "'" + piece.replace("'", "''") + "'"
        if number % 2
        else (piece.replace("'", "''") if doubles else _APOSTROPHE.sub("''", piece))
        for number, piece in enumerate(pieces)
    )


def _pattern(source: str, position: int, depth: int, *, in_plural: bool) -> tuple[_Pattern, int]:
    """Parse the parts of a message up to its closing brace or the end of the source."""
    if depth > _MAX_DEPTH:
        raise NotAMessage(f"Messages nest deeper than {_MAX_DEPTH}.")
    parts: list[_Text | _Unit | _Choice] = []
    tokens = _TEXT_OF_PLURAL if in_plural else _TEXT
    while position < len(source) and source[position] != "}":
        if source[position] == "{":
            part, position = _argument(source, position, depth)
            parts.append(part)
            continue
        token = tokens.match(source, position)
        assert token is not None  # an apostrophe is in one of the two, and all else has no brace
        parts.append(_Unit(token[0]) if token["unit"] else _Text(token[0]))
        position = token.end()
    return _Pattern(parts, in_plural), position


def _argument(source: str, begin: int, depth: int) -> tuple[_Unit | _Choice, int]:
    """Parse an argument in braces."""
    head = _ARGUMENT.match(source, begin)
    if head is None:
        raise NotAMessage("An argument has no name, or its type is not a word.")
    kind = (head["type"] or "").lower()
    position = head.end()
    if kind in ("plural", "selectordinal", "select"):
        if head["style"] == "}":
            raise NotAMessage("A choice has no branches.")
        return _choice(source, begin, position, kind, depth)
    level = 1 if head["style"] == "," else 0
    while level:  # the style of a number or a date
        if position == len(source):
            raise NotAMessage("An argument has no closing brace.")
        if source[position] in "{}":
            level += 1 if source[position] == "{" else -1
            position += 1
            continue
        style = _STYLE.match(source, position)
        if style is None:
            raise NotAMessage("A quotation in an argument's style has no end.")
        position = style.end()
    return _Unit(source[begin:position]), position


def _choice(source: str, begin: int, position: int, kind: str, depth: int) -> tuple[_Choice, int]:
    """Parse the branches of a choice."""
    if kind != "select" and (offset := _OFFSET.match(source, position)) is not None:
        position = offset.end()
    head, branches = source[begin:position], []
    while (selector := _SELECTOR.match(source, position)) is not None:
        message, position = _pattern(source, selector.end(), depth + 1, in_plural=kind != "select")
        if position == len(source):
            raise NotAMessage("A branch has no closing brace.")
        position += 1
        branches.append(_Branch(selector["space"], selector["key"], selector["open"], message))
    space = _SPACE.match(source, position)
    assert space is not None  # it matches the empty string
    end = space.end()
    if source[end : end + 1] != "}":
        raise NotAMessage("A choice has no closing brace.")
    if all(branch.key != "other" for branch in branches):
        raise NotAMessage("A choice has no branch for all others.")
    return _Choice(head, kind, branches, source[position : end + 1]), end + 1
