"""String resources of Android: strings, arrays of strings and plurals of a `resources` file."""

import html
import re
from collections.abc import Iterator, Sequence

from service.files import Aligned, FileRefused, Limits
from service.files.slots import Language, Slot, SlottedFile, SlottedText, Value, whole_characters, with_slots
from service.files.xml_spans import UNWRITABLE, Element, read_xml
from service.text.markup_tokens import Markup
from service.text.plurals import plural_categories

_CDATA = re.compile(r"(<!\[CDATA\[.*?(?:\]\]>|\Z))", re.DOTALL)
_TAG = re.compile(r"""(<!--.*?(?:-->|\Z)|<(?>(?:[^<>"']++|"[^"]*+"|'[^']*+')*)>)""", re.DOTALL)
# Of a text outside of tags: escapes, quotation marks, white space, which is one space.
_TOKEN = re.compile(r"""\\u([0-9a-fA-F]{4})|\\(.)|(")|(\s++)""", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "\n": " "}
_SPELT = str.maketrans({"\\": r"\\", "'": r"\'", '"': r"\"", "\n": r"\n", "\t": r"\t"})
_REFERENCE = re.compile(r"[@?](?:\+?[\w.]+:)?\w+/[\w.]+|@null|@empty")  # to another resource
_XML = Markup("xml", frozenset({"xliff:g"}))  # so a developer marks what isn't translated
_HTML = Markup("html")


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it; other XML than string resources is refused."""
    text, root, encode = read_xml(data)
    if root.name != "resources":
        raise FileRefused(f"The file is not a list of string resources: its outermost element is {root.name[:50]!r}.")
    return SlottedFile(with_slots(text, _slots(text, root)), encode)


def _slots(text: str, root: Element) -> Iterator[tuple[int, int, Slot]]:
    """Yield the slots with the span of each."""
    if "tools:locale" in root.attributes:
        yield *root.attribute_spans["tools:locale"], Language(lambda target: target)
    for element in root.children:
        if element.attributes.get("translatable") == "false" or element.attributes.get("translate") == "no":
            continue
        if element.name == "string":
            yield from _content(text, element)
        elif element.name == "string-array":
            for item in element.children:
                yield from _content(text, item)
        elif element.name == "plurals":
            quantities = {item.attributes.get("quantity") for item in element.children}
            for item in element.children:
                if item.attributes.get("quantity") == "other" and item.inner_end < item.end:
                    yield item.begin, item.end, _Other(text, item, quantities)
                else:
                    yield from _content(text, item)


def _content(text: str, element: Element) -> Iterator[tuple[int, int, Slot]]:
    """Yield the slot of an element's content without the white space around it; nothing for a reference."""
    source = text[element.inner_begin : element.inner_end]
    core = source.strip(" \t\r\n")
    if core and not _REFERENCE.fullmatch(core):
        begin = element.inner_begin + source.index(core)
        yield begin, begin + len(core), _Content(core)


class _Content:
    """The content of a string: text, tags and sections of CDATA."""

    def __init__(self, source: str) -> None:
        pieces = _CDATA.split(source)
        self._text = SlottedText(
            part for number, piece in enumerate(pieces) if piece for part in _piece(piece, is_cdata=bool(number % 2))
        )
        self.texts = self._text.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        return self._text.render(translations, target)


class _Other:
    """The item of a plural for all other numbers, before which those are made that the target language needs."""

    def __init__(self, text: str, item: Element, quantities: set[str | None]) -> None:
        self._quantities = quantities
        begin, end = item.attribute_spans["quantity"]
        self._head, self._middle = text[item.begin : begin], text[end : item.inner_begin]
        self._tail = text[item.inner_end : item.end]
        before = text[max(item.begin - 1000, 0) : item.begin]
        self._space = before[len(before.rstrip()) :]
        source = text[item.inner_begin : item.inner_end]
        slots = [(b - item.inner_begin, e - item.inner_begin, slot) for b, e, slot in _content(text, item)]
        self._inner = SlottedText(with_slots(source, slots))
        self.texts = self._inner.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        inner = self._inner.render(translations, target)
        made = [category for category in plural_categories(target) if category not in self._quantities]
        return self._space.join(
            f"{self._head}{category}{self._middle}{inner}{self._tail}" for category in (*made, "other")
        )


def _piece(source: str, *, is_cdata: bool) -> Iterator[str | Slot]:
    """Yield the parts of a section of CDATA or of what stands outside of one."""
    inner = source[9:-3] if is_cdata else source
    is_quoted = any(match[3] for match in _TOKEN.finditer("".join(_TAG.split(inner)[::2])))
    value = whole_characters(_unescaped(inner))
    if value is None:
        yield source
        return

    def spell(rendered: str) -> str:
        pieces = _TAG.split(UNWRITABLE.sub("", rendered))
        text = "".join(piece if number % 2 else piece.translate(_SPELT) for number, piece in enumerate(pieces))
        text = "\\" + text if text.startswith(("@", "?")) else text
        return f'"{text}"' if is_quoted else text

    if is_cdata:
        yield source[:9]
        yield Value(inner, value, lambda rendered: spell(rendered).replace("]]>", "]]&gt;"), _HTML)
        yield source[-3:]
    else:
        yield Value(inner, value, spell, _XML)


def _unescaped(source: str) -> str:
    """Read what is outside of tags."""
    is_quoted = False

    def character(match: re.Match[str]) -> str:
        nonlocal is_quoted
        if match[1]:
            return html.escape(chr(int(match[1], 16)))
        if match[2]:
            return _NAMED.get(match[2], match[2])
        if match[3]:
            is_quoted = not is_quoted
            return ""
        return match[4] if is_quoted else " "

    pieces = _TAG.split(source)
    return "".join(piece if number % 2 else _TOKEN.sub(character, piece) for number, piece in enumerate(pieces))
