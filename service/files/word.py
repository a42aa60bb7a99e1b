"""Word documents, .docx: paragraphs of runs, read and written as XML."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lxml import etree

from service.files import Aligned, FileRefused, Limits
from service.files.archive import Archive
from service.files.xml import parse

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_PART = re.compile(r"word/(?:document|header\d*|footer\d*|footnotes|endnotes|comments)\.xml")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML has no place for them
# Of a run's properties, what nobody sees: Word cuts words in pieces by these.
_UNSEEN = frozenset({_W + "lang", _W + "noProof", _W + "rsid"})
# Between two runs they change nothing.
_TRANSPARENT_NAMES = "r t rPr proofErr bookmarkStart bookmarkEnd lastRenderedPageBreak pPr smartTag"
_TRANSPARENT = frozenset(_W + name for name in _TRANSPARENT_NAMES.split())


class WordDocument:
    """Its texts are runs of a paragraph that follow each other and look the same."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Unpack and parse it."""
        self._archive = Archive(data, limits)
        self._trees = {name: parse(content) for name, content in self._archive.members.items() if _PART.fullmatch(name)}
        if "word/document.xml" not in self._trees:
            raise FileRefused("The file is no Word document: it has no word/document.xml.")
        self._groups = [
            group for tree in self._trees.values() for paragraph in tree.iter(_W + "p") for group in _groups(paragraph)
        ]
        self.texts: Sequence[str] = ["".join(text.text or "" for text in group) for group in self._groups]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The document; a group's translation stands in its first run."""
        for group, translation in zip(self._groups, translations, strict=True):
            first, *rest = group
            first.text = _CONTROL.sub("", translation.text)
            first.set(_SPACE, "preserve")
            for text in rest:
                text.text = ""
        replaced = {
            name: etree.tostring(tree, xml_declaration=True, encoding="UTF-8", standalone=True)
            for name, tree in self._trees.items()
        }
        return self._archive.write(replaced)


def read(data: bytes, ending: str, limits: Limits) -> WordDocument:
    """Open it."""
    return WordDocument(data, limits)


def _groups(paragraph: Any) -> Iterator[list[Any]]:
    """Of a paragraph, the text elements that belong together, in order."""
    group: list[Any] = []
    look: tuple[Any, bytes] | None = None
    for element in _own(paragraph):
        if element.tag == _W + "t":
            run = element.getparent()
            its_look = (run.getparent(), _properties(run))
            if group and its_look != look:
                yield group
                group = []
            group.append(element)
            look = its_look
        elif element.tag not in _TRANSPARENT and group:
            yield group
            group = []
    if group:
        yield group


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
