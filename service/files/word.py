"""Word documents, .docx: paragraphs of the body, of headers, footers, notes and comments.

Links, insertions and controls are elements around runs, and so is a field that is a link; another field is computed and
stands in the sentence as a word does, like the mark of a note or a picture.
"""

import re
from collections.abc import Iterator, Sequence

from service.files import Limits
from service.files.archive import Archive
from service.files.codes import WHOLE, Key
from service.files.office import OfficeFile, require
from service.files.runs import Piece, Runs, run_of, stretches
from service.files.slots import Slot, SlottedFile, with_slots
from service.files.xml_spans import Element, read_xml

_PART = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
# Where a part has another name, its type says what it is.
_TYPE = re.compile(
    r"application/vnd\.(?:openxmlformats-officedocument\.wordprocessingml|ms-word)\."
    r"(?:(?P<is_body>(?:document|template)(?:\.macroEnabled(?:Template)?)?\.main)|header|footer|footnotes|endnotes|comments)\+xml"
)
_MARK = re.compile(rb'(<w:(?:lang|themeFontLang)\b[^<>]*?\bw:val=")([a-zA-Z][\w-]*)')
_PARAGRAPH = re.compile(r"<(?:\w+:)?(?:p|txbxContent)[\s/>]")
# Elements around runs. What a control offers for a choice is not a text.
_AROUND = frozenset({"hyperlink", "ins", "moveTo", "smartTag", "customXml", "dir", "bdo"})
_CHOSEN = re.compile(r"<w(?:14)?:(?:dropDownList|comboBox|date|checkbox)\b")
_LINK = re.compile(r"\s*HYPERLINK\b", re.IGNORECASE)
# What has a beginning and an end, in any order with others, and is not seen.
_BEGINS, _ENDS = {"bookmarkStart": "b", "commentRangeStart": "c"}, {"bookmarkEnd": "b", "commentRangeEnd": "c"}
_NOTHING = frozenset({"pPr", "rPr", "proofErr", "lastRenderedPageBreak"})
_UNSEEN = frozenset({"del", "moveFrom", "commentReference", "annotationRef"})
_IN_SENTENCE = frozenset(
    {"footnoteReference", "endnoteReference", "sym", "drawing", "pict", "object", "AlternateContent"}
)


def read(data: bytes, ending: str, limits: Limits) -> OfficeFile:
    """Open it.

    Raises:
        FileRefused: it is not a Word document.
    """
    archive = Archive(data, limits)
    types = _types(archive.members.get("[Content_Types].xml", b"<Types/>"))
    if not any(kind["is_body"] for kind in types.values()):
        require(archive.members, "word/document.xml", "Word document")
    parts = {}
    for name, content in archive.members.items():
        if _PART.fullmatch(name) or name in types:
            text, root, encode = read_xml(content)
            parts[name] = SlottedFile(with_slots(text, sorted(_slots(text, root), key=lambda slot: slot[:2])), encode)
    return OfficeFile(archive, parts, _MARK, ["word/styles.xml", "word/settings.xml"])


def _types(content: bytes) -> dict[str, re.Match[str]]:
    """Return the types of the parts that hold text, by their names, as the archive's list says them."""
    elements = read_xml(content)[1].walk()
    said = ((element.attributes.get("PartName", ""), element.attributes.get("ContentType", "")) for element in elements)
    found = ((name.removeprefix("/"), _TYPE.fullmatch(kind)) for name, kind in said)
    return {name: kind for name, kind in found if kind is not None}


def _slots(text: str, root: Element) -> Iterator[tuple[int, int, Slot]]:
    for paragraph in root.walk():
        if paragraph.local_name == "p":
            for stretch in stretches(list(_pieces(text, paragraph.children))):
                begin, end = stretch[0].begin, stretch[-1].end
                yield begin, end, Runs(text, stretch, joins_lines=True, says_spaces=True)


def _pieces(text: str, elements: Sequence[Element]) -> Iterator[Piece]:
    """Yield the pieces of a paragraph or of an element around runs."""
    position = 0
    while position < len(elements):
        element = elements[position]
        name = element.local_name
        position += 1
        if name in _NOTHING:
            continue
        if name == "r" and _field_mark(element) == "begin":
            end = _field_end(elements, position - 1)
            if end is not None:
                yield from _field(text, elements[position - 1 : end])
                position = end
                continue
        if name in _BEGINS or name in _ENDS:
            key = Key((_BEGINS | _ENDS)[name], next((v for k, v in element.attributes.items() if k.endswith("id")), ""))
            yield Piece("open" if name in _BEGINS else "close", element.begin, element.end, key, is_trimmed=True)
        elif name == "r":
            yield from _run(text, element)
        elif _is_around(text, element):
            yield from _around(text, element)
        else:
            is_break = name == "oMathPara" or _PARAGRAPH.search(text, element.begin, element.end) is not None
            is_single = not is_break and name in ("fldSimple", "sdt", "oMath", *_UNSEEN)
            yield Piece("single" if is_single else "break", element.begin, element.end, is_trimmed=name in _UNSEEN)


def _is_around(text: str, element: Element) -> bool:
    name = element.local_name
    if name == "fldSimple":
        return _LINK.match(element.attributes.get("w:instr", "")) is not None and element.inner_end < element.end
    if name == "sdt":
        return _CHOSEN.search(text, element.begin, element.end) is None and any(
            child.local_name == "sdtContent" and child.inner_end < child.end for child in element.children
        )
    return name in _AROUND and element.inner_end < element.end


def _around(text: str, element: Element) -> Iterator[Piece]:
    """Yield the two tags of an element and what it is around."""
    inner = element
    if element.local_name == "sdt":
        inner = next(child for child in element.children if child.local_name == "sdtContent")
    key = Key(WHOLE, str(element.begin))
    yield Piece("open", element.begin, inner.inner_begin, key)
    yield from _pieces(text, inner.children)
    yield Piece("close", inner.inner_end, element.end, key)


def _run(text: str, element: Element) -> Iterator[Piece]:
    """Yield a run of text or of what stands in a sentence; of any other each text by itself."""
    if (run := run_of(text, element)) is not None:
        yield Piece("run", element.begin, element.end, run=run)
        return
    names = {child.local_name for child in element.children}
    is_single = names <= _IN_SENTENCE | _UNSEEN | _NOTHING
    if is_single and _PARAGRAPH.search(text, element.begin, element.end) is None:
        yield Piece("single", element.begin, element.end, is_trimmed=names <= _UNSEEN | _NOTHING)
        return
    yield Piece("break", element.begin, element.begin)
    for child in element.children:
        if child.local_name == "t" and (run := run_of(text, child)) is not None:
            yield Piece("run", child.begin, child.end, run=run)
        yield Piece("break", child.end, child.end)


def _field_mark(element: Element) -> str:
    """Return what a run is to a field: begin, separate, end, or nothing."""
    marks = [child.attributes.get("w:fldCharType", "") for child in element.children if child.local_name == "fldChar"]
    return marks[0] if len(marks) == 1 and not any(child.local_name == "t" for child in element.children) else ""


def _field_end(elements: Sequence[Element], begin: int) -> int | None:
    """Return where a field ends that begins with an element; None if that is not in this paragraph."""
    depth = 0
    for number in range(begin, len(elements)):
        mark = _field_mark(elements[number]) if elements[number].local_name == "r" else ""
        depth += (mark == "begin") - (mark == "end")
        if depth == 0:
            return number + 1
    return None


def _field(text: str, elements: Sequence[Element]) -> Iterator[Piece]:
    """Yield a field: a link as the two ends of what it is around, any other as one piece."""
    begin, end = elements[0].begin, elements[-1].end
    separate, depth = 0, 0
    for number, element in enumerate(elements):
        mark = _field_mark(element)
        depth += (mark == "begin") - (mark == "end")
        if mark == "separate" and depth == 1:
            separate = number
    head = [part for element in elements[:separate] for part in element.children if part.local_name == "instrText"]
    if separate and _LINK.match("".join(text[part.inner_begin : part.inner_end] for part in head)):
        key = Key(WHOLE, str(begin))
        yield Piece("open", begin, elements[separate].end, key)
        yield from _pieces(text, elements[separate + 1 : -1])
        yield Piece("close", elements[-1].begin, end, key)
    else:
        has_paragraphs = _PARAGRAPH.search(text, begin, end) is not None
        yield Piece("break" if has_paragraphs else "single", begin, end)
