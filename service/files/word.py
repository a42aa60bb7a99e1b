"""Word documents, .docx: paragraphs of runs, read and written as XML."""

import copy
import html
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lxml import etree

from service.files import Aligned, FileRefused, Limits
from service.files.archive import Archive
from service.files.web import MarkedUp
from service.files.xml import parse
from service.markup import Markup

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_PART = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML has no place for them
# Of a run's properties, what nobody sees: Word cuts words in pieces by these.
_UNSEEN = frozenset({_W + "lang", _W + "noProof", _W + "rsid"})
# Between two runs they change nothing.
_TRANSPARENT_NAMES = "r t rPr proofErr bookmarkStart bookmarkEnd lastRenderedPageBreak pPr smartTag hyperlink"
_TRANSPARENT = frozenset(_W + name for name in _TRANSPARENT_NAMES.split())
_MARKUP = Markup("xml", joins_lines=True)
_MARKED = re.compile(r"<g(\d+)>(.*?)</g\1>", re.DOTALL)


class WordDocument:
    """Its texts are what follows each other in a paragraph, however it looks."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Unpack and parse it."""
        self._archive = Archive(data, limits)
        self._trees = {name: parse(content) for name, content in self._archive.members.items() if _PART.fullmatch(name)}
        if "word/document.xml" not in self._trees:
            raise FileRefused("The file is no Word document: it has no word/document.xml.")
        self._stretches = [
            _Stretch(groups)
            for tree in self._trees.values()
            for paragraph in tree.iter(_W + "p")
            for whole in _stretches(paragraph)
            for groups in ([whole] if _can_be_moved(whole) else [[group] for group in whole])
        ]
        self.texts: Sequence[str] = [text for stretch in self._stretches for text in stretch.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The document."""
        position = 0
        for stretch in self._stretches:
            count = len(stretch.texts)
            stretch.put(translations[position : position + count], target)
            position += count
        replaced = {
            name: etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)
            for name, tree in self._trees.items()
        }
        return self._archive.write(replaced)


class _Group(NamedTuple):
    """Text elements that follow each other and look the same."""

    texts: list[Any]
    look: tuple[Any, bytes]  # what they are in, and their properties

    @property
    def is_link(self) -> bool:
        return bool(self.look[0].tag == _W + "hyperlink")

    @property
    def text(self) -> str:
        return "".join(text.text or "" for text in self.texts)

    def put(self, text: str) -> None:
        first, *rest = self.texts
        first.text = _CONTROL.sub("", text)
        first.set(_SPACE, "preserve")
        for element in rest:
            element.text = ""


class _Stretch:
    """Groups that are one text: in it, those that look unlike most of it are between tags, which follow their words."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self._groups = groups
        self._most = max(groups, key=lambda group: (not group.is_link, _length(groups, group.look)))
        escaped = (html.escape(group.text, quote=False) for group in groups)
        self._marked = MarkedUp(
            "".join(
                text
                if len(groups) == 1 or (group.look == self._most.look and not group.is_link)
                else f"<g{number}>{text}</g{number}>"
                for number, (group, text) in enumerate(zip(groups, escaped, strict=True))
            ),
            _MARKUP,
        )
        self.texts = self._marked.texts

    def put(self, translations: Sequence[Aligned], target: str) -> None:
        """Write the translation into the runs, which stand in its order then."""
        parts = list(map(html.unescape, _MARKED.split(self._marked.render(translations, target))))
        if len(self._groups) == 1:
            self._groups[0].put(parts[0])
            return
        plain = copy.deepcopy(self._most.texts[0].getparent())
        for text in list(plain.iterfind(_W + "t"))[1:]:
            plain.remove(text)
        runs = []
        for number, part in enumerate(parts):
            if number % 3 == 0 and part:  # between the groups
                run = copy.deepcopy(plain)
                _Group([run.find(_W + "t")], self._most.look).put(part)
                runs.append(run)
            elif number % 3 == 2:
                group = self._groups[int(parts[number - 1])]
                group.put(part)
                runs.append(_holder(group.texts[0].getparent()))
        first = _holder(self._groups[0].texts[0].getparent())
        paragraph = first.getparent()
        place = paragraph.index(first)
        for group in self._groups:
            for text in group.texts:
                if (holder := _holder(text.getparent())).getparent() is paragraph:
                    paragraph.remove(holder)
        for number, run in enumerate(runs):
            paragraph.insert(place + number, run)


def read(data: bytes, ending: str, limits: Limits) -> WordDocument:
    """Open it."""
    return WordDocument(data, limits)


def _stretches(paragraph: Any) -> Iterator[list[_Group]]:
    """Of a paragraph, the groups between which nothing stands, in order."""
    groups: list[_Group] = []
    for element in _own(paragraph):
        if element.tag == _W + "t":
            run = element.getparent()
            look = (run.getparent(), _properties(run))
            if not groups or groups[-1].look != look:
                groups.append(_Group([], look))
            groups[-1].texts.append(element)
        elif element.tag not in _TRANSPARENT and groups:
            yield groups
            groups = []
    if groups:
        yield groups


def _length(groups: Sequence[_Group], look: tuple[Any, bytes]) -> int:
    return sum(len(group.text) for group in groups if group.look == look)


def _can_be_moved(groups: Sequence[_Group]) -> bool:
    """Whether the runs hold nothing but these texts, in the paragraph itself or in links of one look."""
    paragraph = _holder(groups[0].texts[0].getparent()).getparent()
    for group in groups:
        for text in group.texts:
            run = text.getparent()
            holder = _holder(run)
            alike = all(_properties(other) == group.look[1] for other in holder.iterfind(_W + "r"))
            inside = {child.tag for child in holder} if holder is not run else set()
            if (
                not alike
                or not inside <= {_W + "r", _W + "proofErr"}
                or {child.tag for child in run} - {_W + "t", _W + "rPr", _W + "lastRenderedPageBreak"}
                or holder.getparent() is not paragraph
            ):
                return False
    return True


def _holder(run: Any) -> Any:
    """What stands in the paragraph: a run itself, or the link that it is in."""
    parent = run.getparent()
    return parent if parent is not None and parent.tag == _W + "hyperlink" else run


def _own(element: Any) -> Iterator[Any]:
    """What is in a paragraph but not in one inside of it (a text box's), without properties."""
    for child in element:
        if child.tag == _W + "p" or child.tag in (_W + "pPr", _W + "rPr") or not isinstance(child.tag, str):
            continue
        yield child
        yield from _own(child)


def _properties(run: Any) -> bytes:
    properties = run.find(_W + "rPr")
    if properties is None:
        return b""
    return b"".join(
        etree.tostring(child, with_tail=False, method="c14n") for child in properties if child.tag not in _UNSEEN
    )
