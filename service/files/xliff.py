"""XLIFF 1.2 and 2: segments without a target get one; all else comes back to the letter.

Inline codes are tags to `service.text.markup`: pairs where one begins and another ends a stretch (`bpt` and `ept`, `bx`
and `ex`, `sc` and `ec`), else single ones, which stand in a sentence as a word does.
"""

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from service.files import Aligned, FileRefused, Limits
from service.files.codes import CODE, WHOLE, Key, Role, partners, tag
from service.files.html import MarkedUp
from service.files.language_marks import language_mark
from service.files.slots import Language, Slot, SlottedFile, SlottedText, value_slot, with_slots
from service.files.xml_spans import UNWRITABLE, Element, escaped, read_xml
from service.text.markup_tokens import Markup

_PAIRS = frozenset({"g", "pc", "mrk"})  # elements around text
_OPENING, _CLOSING = frozenset({"bpt", "bx", "sc"}), frozenset({"ept", "ex", "ec"})
_FAMILIES = {"bx": "x", "ex": "x", "sc": "c", "ec": "c"}
_KEYS = ("rid", "startRef", "id")  # what the two of a pair have in common
_OPEN_STATES = frozenset({"new", "needs-translation", "initial"})
_NO_ELEMENT = re.compile(r"(<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z))", re.DOTALL)
_CDATA, _CDATA_END = "<![CDATA[", "]]>"
_SEGMENT_TAG = re.compile(r"""</?(?:[\w.-]+:)?mrk\b[^<>]*+>""")
_MARKUP = Markup("xml")


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it.

    Raises:
        FileRefused: it is not XLIFF.
    """
    text, root, encode = read_xml(data)
    if root.local_name != "xliff":
        raise FileRefused("The file is no XLIFF: its outermost element is another.")
    slots = sorted(_slots(text, root), key=lambda slot: slot[:2])
    return SlottedFile(with_slots(text, slots), encode)


def _slots(text: str, root: Element) -> Iterator[tuple[int, int, Slot]]:
    is_2 = root.attributes.get("version", "1.2").startswith("2")
    holders = [root] if is_2 else [element for element in root.children if element.local_name == "file"]
    for holder in holders:
        has_translations = False
        for unit, is_translated in _units(holder):
            if not is_translated:
                continue
            found = list(_unit(text, unit, is_2=is_2))
            has_translations = has_translations or not found
            yield from found
        yield from _language(holder, "trgLang" if is_2 else "target-language", has_translations=has_translations)


def _language(holder: Element, name: str, *, has_translations: bool) -> Iterator[tuple[int, int, Slot]]:
    """Yield the slot of the target language, unless there are translations in the one that is named."""
    if name not in holder.attributes:
        place = holder.inner_begin - (2 if holder.inner_begin == holder.end else 1)
        yield place, place, Language(lambda target: f' {name}="{target}"')
    elif not has_translations:
        old = holder.attributes[name]
        yield *holder.attribute_spans[name], Language(lambda target: language_mark(old, target))


def _units(holder: Element) -> Iterator[tuple[Element, bool]]:
    """Yield the elements that hold a source, and whether it is to be translated, as the nearest element says."""
    pending = [(holder, holder.attributes.get("translate") != "no")]
    while pending:
        element, is_translated = pending.pop()
        if element.local_name in ("trans-unit", "segment"):
            yield element, is_translated
        else:
            pending += [
                (child, child.attributes.get("translate", "yes" if is_translated else "no") != "no")
                for child in reversed(element.children)
            ]


def _unit(text: str, unit: Element, *, is_2: bool) -> Iterator[tuple[int, int, Slot]]:
    """Yield the slots of a unit: of its target, or of the segments in it; none where all is translated."""
    parts = {child.local_name: child for child in reversed(unit.children)}  # the first of each name
    source, target, segmented = parts.get("source"), parts.get("target"), parts.get("seg-source")
    if source is None or _is_empty(text, source):
        return
    state = (unit if is_2 else target or unit).attributes.get("state")
    is_open = target is None or _is_empty(text, target) or state in _OPEN_STATES
    segments, given = _segments(segmented), _segments(target)
    if segmented is not None and segments and (is_open or given):
        filled = {mid for mid, segment in given.items() if not _is_empty(text, segment)}
        wanted = [mid for mid in segments if mid not in filled]
        if target is not None and given and all(mid in given for mid in wanted):
            yield from (_within(given[mid], _Segment(text, segments[mid])) for mid in wanted)
        else:
            kept = {mid: _content(text, given[mid]) for mid in filled}
            yield _target(text, segmented, target, _Segmented(text, segmented, segments, kept))
        is_open = bool(wanted)
    elif is_open:
        yield _target(text, segmented or source, target, _content_slot(text, source))
    if not is_open:
        return
    marked = unit if is_2 else target
    if marked is not None and state in _OPEN_STATES:
        yield *marked.attribute_spans["state"], Language(lambda _: "translated")
    elif is_2 and state is None:
        yield unit.inner_begin - 1, unit.inner_begin - 1, Language(lambda _: ' state="translated"')
    if target is not None and "xml:lang" in target.attributes:
        old = target.attributes["xml:lang"]
        yield *target.attribute_spans["xml:lang"], Language(lambda language: language_mark(old, language))


def _segments(element: Element | None) -> dict[str, Element]:
    """Return the segments that a source or a target is marked up with."""
    parts = element.walk() if element is not None else ()
    return {
        part.attributes["mid"]: part
        for part in parts
        if part.local_name == "mrk" and part.attributes.get("mtype") == "seg" and "mid" in part.attributes
    }


def _content(text: str, element: Element) -> str:
    return text[element.inner_begin : element.inner_end]


def _is_empty(text: str, element: Element) -> bool:
    """Return whether an element holds nothing but empty segments."""
    return not (_SEGMENT_TAG.sub("", _content(text, element)).strip() if element.inner_end < element.end else "")


def _target(text: str, source: Element, target: Element | None, slot: Slot) -> tuple[int, int, Slot]:
    """Return the slot of a target with its place; it stands behind the source if there is none."""
    if target is not None:
        return _within(target, slot)
    name = source.name.removesuffix(source.local_name) + "target"
    line = text[max(source.begin - 200, 0) : source.begin]
    space = line[len(line.rstrip()) :]
    return source.end, source.end, _Wrapped(f"{space}<{name}>", slot, f"</{name}>")


def _within(element: Element, slot: Slot) -> tuple[int, int, Slot]:
    """Return the slot of an element's content with its place."""
    if element.inner_end < element.end:
        return element.inner_begin, element.inner_end, slot
    return element.end - 2, element.end, _Wrapped(">", slot, f"</{element.name}>")


class _Wrapped:
    """A slot with tags around it."""

    def __init__(self, before: str, slot: Slot, behind: str) -> None:
        self._before, self._slot, self._behind = before, slot, behind
        self.texts = slot.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        return f"{self._before}{self._slot.render(translations, target)}{self._behind}"


class _Segmented:
    """The content of a target that is made from a segmented source; segments that have a translation keep it."""

    def __init__(self, text: str, source: Element, segments: Mapping[str, Element], kept: Mapping[str, str]) -> None:
        begin = source.inner_begin
        slots: list[tuple[int, int, Slot]] = [
            (
                segment.inner_begin - begin,
                segment.inner_end - begin,
                Language(lambda _, mid=mid: kept[mid]) if mid in kept else _Segment(text, segment),  # type: ignore[misc]
            )
            for mid, segment in segments.items()
        ]
        self._text = SlottedText(with_slots(_content(text, source), slots))
        self.texts = self._text.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        return self._text.render(translations, target)


def _content_slot(text: str, element: Element) -> Slot:
    """Return the slot of a source's content: a message or a value where it is text alone."""
    source = _content(text, element)
    if element.children or "<!--" in source or "<?" in source:
        return _Segment(text, element)
    if source.startswith(_CDATA) and source.endswith(_CDATA_END) and source.count("<!") == 1:
        inner = source[len(_CDATA) : -len(_CDATA_END)]
        return _Wrapped(_CDATA, value_slot(inner, inner, lambda value: value.replace(_CDATA_END, "]]&gt;")), _CDATA_END)
    if "<" in source:
        return _Segment(text, element)
    return value_slot(source, html.unescape(source), escaped)


class _Event(NamedTuple):
    """A piece of a source: text, or a code by what it may do."""

    source: str
    role: Role | None = None  # of a code
    flows: Sequence[tuple[int, int, Slot]] = ()  # texts of their own within a code


class _Segment:
    """The slot of a source's content with inline codes."""

    def __init__(self, text: str, element: Element) -> None:
        events = list(_events(text, element))
        pairs = partners([event.role or Role("other") for event in events])
        self._codes: dict[str, SlottedText] = {}
        markup = []
        for number, event in enumerate(events):
            if event.role is None:
                markup.append(event.source)
                continue
            markup.append(tag(number, pairs.get(number)))
            self._codes[markup[-1]] = SlottedText(with_slots(event.source, event.flows))
        self._source, self._value = _content(text, element), "".join(markup)
        self._marked = MarkedUp(self._value, _MARKUP)
        flows = [text for code in self._codes.values() for text in code.texts]
        self.texts: Sequence[str] = [*self._marked.texts, *flows]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        position = len(self._marked.texts)
        rendered = UNWRITABLE.sub("", self._marked.render(translations[:position], target))
        codes = {}
        for name, code in self._codes.items():
            codes[name] = code.render(translations[position : position + len(code.texts)], target)
            position += len(code.texts)
        return "".join(codes.get(piece, piece) for piece in CODE.split(rendered)).replace("]]>", "]]&gt;")


def _events(text: str, element: Element) -> Iterator[_Event]:
    """Yield the pieces of an element's content."""
    position = element.inner_begin
    for child in element.children:
        yield from _plain(text[position : child.begin])
        position = child.end
        name = child.local_name
        is_kept = child.attributes.get("translate") == "no" or child.attributes.get("mtype") == "protected"
        if name in _PAIRS and not is_kept and child.inner_end < child.end:
            key = Key(WHOLE, str(child.begin))
            yield _Event(text[child.begin : child.inner_begin], Role("open", key))
            yield from _events(text, child)
            yield _Event(text[child.inner_end : child.end], Role("close", key))
            continue
        key = Key(
            _FAMILIES.get(name, "pt"),
            next((child.attributes[known] for known in _KEYS if known in child.attributes), ""),
        )
        role = Role("open", key) if name in _OPENING else Role("close", key) if name in _CLOSING else Role("other")
        flows = [
            (sub.inner_begin - child.begin, sub.inner_end - child.begin, _content_slot(text, sub))
            for sub in child.children
            if sub.local_name == "sub" and sub.inner_end < sub.end
        ]
        yield _Event(text[child.begin : child.end], role, flows)
    yield from _plain(text[position : element.inner_end])


def _plain(source: str) -> Iterator[_Event]:
    """Yield text without elements; a section of CDATA becomes text."""
    for number, piece in enumerate(_NO_ELEMENT.split(source)):
        if piece.startswith(_CDATA):
            yield _Event(html.escape(piece[len(_CDATA) : -len(_CDATA_END)], quote=False))
        elif piece:
            yield _Event(piece, Role("other") if number % 2 else None)
