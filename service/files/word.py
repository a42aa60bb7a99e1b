"""Word documents, .docx: paragraphs of runs, read and written as XML."""

import copy
import html
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from lxml import etree

from service.files import Aligned, Cursor, FileRefused, Limits
from service.files.archive import Archive
from service.files.html import MarkedUp
from service.files.xml import parse
from service.text.markup_tokens import Markup

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_PART = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # not allowed in XML
# Properties of a run that are not visible: Word cuts words in pieces by these.
_UNSEEN = frozenset({_W + "lang", _W + "noProof", _W + "rsid"})
# Elements that may stand between two runs without cutting the text.
_TRANSPARENT_NAMES = (
    "r t rPr proofErr bookmarkStart bookmarkEnd commentRangeStart commentRangeEnd lastRenderedPageBreak pPr smartTag "
    "hyperlink"
)
_TRANSPARENT = frozenset(_W + name for name in _TRANSPARENT_NAMES.split())
# Elements that stand in a sentence as words do.
_MARKS = frozenset(_W + name for name in ("footnoteReference", "endnoteReference", "commentReference"))
_Properties = tuple[Any, ...]  # names, attributes and content of each
_Look = tuple[Any, _Properties]
_MARKUP = Markup("xml", joins_lines=True)
_MARKED = re.compile(r"(<g\d+>|</g\d+>|<g\d+/>)")


class WordDocument:
    """A document whose texts are runs that follow each other in a paragraph, whatever their looks."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Unpack and parse a document.

        Raises:
            FileRefused: it is not a Word document.
        """
        self._archive = Archive(data, limits)
        self._trees = {name: parse(content) for name, content in self._archive.members.items() if _PART.fullmatch(name)}
        if "word/document.xml" not in self._trees:
            raise FileRefused("The file is not a Word document: it has no word/document.xml.")
        self._stretches = [
            _Stretch(groups)
            for tree in self._trees.values()
            for paragraph in tree.iter(_W + "p")
            for whole in _stretches(paragraph)
            for groups in ([whole] if _can_be_moved(whole) else [[group] for group in whole])
            if any(group.mark is None for group in groups)
        ]
        self.texts: Sequence[str] = [text for stretch in self._stretches for text in stretch.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the document."""
        cursor = Cursor(translations)
        for stretch in self._stretches:
            stretch.put(cursor.take(stretch.texts), target)
        replaced = {
            name: etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)
            for name, tree in self._trees.items()
        }
        return self._archive.write(replaced)


class _Group(NamedTuple):
    """Text elements that follow each other and look the same; or instead of texts a mark, such as a footnote's."""

    texts: list[Any]
    look: _Look  # the parent of the run, and its properties
    mark: Any = None

    @property
    def runs(self) -> list[Any]:
        """The runs that hold it."""
        return [element.getparent() for element in (self.texts if self.mark is None else [self.mark])]

    @property
    def is_link(self) -> bool:
        return bool(self.look[0].tag == _W + "hyperlink")

    @property
    def text(self) -> str:
        return "".join(text.text or "" for text in self.texts)


class _Stretch:
    """Groups that are one text, in which those that look unlike most of it are between tags."""

    def __init__(self, groups: Sequence[_Group]) -> None:
        self._groups = groups
        worded = [group for group in groups if group.mark is None]
        lengths: Counter[_Look] = Counter()
        for group in worded:
            lengths[group.look] += len(group.text)
        self._most = max(worded, key=lambda group: (not group.is_link, lengths[group.look]))
        self._marked = MarkedUp("".join(map(self._tagged, range(len(groups)))), _MARKUP)
        self.texts = self._marked.texts

    def _tagged(self, number: int) -> str:
        """Return the text of a group, between tags of its number if it needs them."""
        group = self._groups[number]
        if group.mark is not None:
            return f"<g{number}/>"
        text = html.escape(group.text, quote=False)
        if len(self._groups) == 1 or (group.look == self._most.look and not group.is_link):
            return text
        return f"<g{number}>{text}</g{number}>"

    def put(self, translations: Sequence[Aligned], target: str) -> None:
        """Write the translation into the runs, and put these in its order."""
        rendered = self._marked.render(translations, target)
        if len(self._groups) == 1:
            _put(self._groups[0].texts, html.unescape(rendered))
            return
        holders = list(self._holders(rendered))
        removed = dict.fromkeys(_holder(run) for group in self._groups for run in group.runs)
        first = next(iter(removed))
        paragraph = first.getparent()
        follower = next((sibling for sibling in first.itersiblings() if sibling not in removed), None)
        for holder in removed:
            paragraph.remove(holder)
        for holder in holders:  # an index would be counted from the first child each time
            paragraph.append(holder) if follower is None else follower.addprevious(holder)

    def _holders(self, rendered: str) -> Iterator[Any]:
        """Yield new children of the paragraph: copies of runs or links with the pieces of a translation, and marks."""
        plain = holder = self._most.runs[0]
        for piece in _MARKED.split(rendered):
            if not piece:
                continue
            if not _MARKED.fullmatch(piece):
                yield _copied(holder, html.unescape(piece))
            elif piece.endswith("/>"):
                yield self._groups[int(piece[2:-2])].runs[0]
            else:
                holder = plain if piece.startswith("</") else _holder(self._groups[int(piece[2:-1])].runs[0])


def _copied(holder: Any, text: str) -> Any:
    """Copy a run, or a link with its runs, with another text."""
    holder = copy.deepcopy(holder)
    _put(list(holder.iter(_W + "t")), text)
    return holder


def _put(elements: Sequence[Any], text: str) -> None:
    """Replace the text of elements that together hold one text."""
    first, *rest = elements
    first.text = _CONTROL.sub("", text)
    first.set(_SPACE, "preserve")
    for element in rest:
        element.text = ""


def read(data: bytes, ending: str, limits: Limits) -> WordDocument:
    """Open a Word document."""
    return WordDocument(data, limits)


def _stretches(paragraph: Any) -> Iterator[list[_Group]]:
    """Yield the groups of a paragraph between which nothing stands, in order."""
    groups: list[_Group] = []
    looks: dict[Any, _Look] = {}  # by run
    for element in _own(paragraph):
        if element.tag == _W + "t":
            run = element.getparent()
            look = looks.get(run) or looks.setdefault(run, (run.getparent(), _properties(run)))
            if not groups or groups[-1].look != look:
                groups.append(_Group([], look))
            groups[-1].texts.append(element)
        elif element.tag in _MARKS:
            groups.append(_Group([], (element, ()), element))
        elif element.tag not in _TRANSPARENT and groups:
            yield groups
            groups = []
    if groups:
        yield groups


def _can_be_moved(groups: Sequence[_Group]) -> bool:
    """Return whether the runs hold nothing but these texts, in the paragraph itself or in links of one look."""
    paragraph = _holder(groups[0].runs[0]).getparent()
    looks: dict[Any, set[_Properties]] = {}  # of the runs in a link
    for group in groups:
        own = _W + "t" if group.mark is None else group.mark.tag
        for run in dict.fromkeys(group.runs):
            holder = _holder(run)
            if holder not in looks:
                inside = {child.tag for child in holder} if holder is not run else set()
                if not inside <= {_W + "r", _W + "proofErr"} or holder.getparent() is not paragraph:
                    return False
                looks[holder] = {_properties(other) for other in holder.iterfind(_W + "r")}
            others = {child.tag for child in run} - {own, _W + "rPr", _W + "lastRenderedPageBreak"}
            if others or not looks[holder] <= {group.look[1]}:
                return False
    return True


def _holder(run: Any) -> Any:
    """Return the child of the paragraph that a run is or is in: itself, or a link."""
    parent = run.getparent()
    return parent if parent is not None and parent.tag == _W + "hyperlink" else run


def _own(element: Any) -> Iterator[Any]:
    """Yield the elements of a paragraph, but for properties and for paragraphs within it (of text boxes)."""
    for child in element:
        if child.tag == _W + "p" or child.tag in (_W + "pPr", _W + "rPr") or not isinstance(child.tag, str):
            continue
        yield child
        yield from _own(child)


def _properties(run: Any) -> _Properties:
    properties = run.find(_W + "rPr")
    return () if properties is None else tuple(_tree(child) for child in properties if child.tag not in _UNSEEN)


def _tree(element: Any) -> tuple[Any, ...]:
    return element.tag, *sorted(element.attrib.items()), *map(_tree, element)
