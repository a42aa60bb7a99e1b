"""Positions of the elements of an XML document in its text, so that all else is copied unchanged."""

import codecs
import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from sys import intern

from service.files import FileRefused
from service.files.xml import parse

# Of a well-formed document each alternative ends.
_TOKEN = re.compile(
    r"""<!--.*?(?:-->|\Z) | <!\[CDATA\[.*?(?:\]\]>|\Z) | <\?.*?(?:\?>|\Z)
      | <(?P<end>/?)(?P<name>[^\s/<>!?]++)(?P<attributes>(?>(?:[^"'<>]++|"[^"]*+"|'[^']*+')*))>""",
    re.DOTALL | re.VERBOSE,
)
_ATTRIBUTE = re.compile(r"""(?<![^\s=/])([^\s=/]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)')""")
UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")  # XML has no place for them
_CODECS = ("utf-8", "utf-16-", "ascii", "iso8859", "cp125", "koi8")  # in which a letter is always the same bytes
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


@dataclass(slots=True)
class Element:
    """An element and where it stands: [begin, end), its content within [inner_begin, inner_end)."""

    name: str
    begin: int
    inner_begin: int
    inner_end: int = 0
    end: int = 0
    children: Sequence["Element"] = ()
    tag: str = ""  # what stands in the start tag behind the name; it is read when it is asked for, as few are

    @property
    def attributes(self) -> dict[str, str]:
        """Return the values of the attributes."""
        return {found[1]: html.unescape(found[found.lastindex or 0]) for found in _ATTRIBUTE.finditer(self.tag)}

    @property
    def attribute_spans(self) -> dict[str, tuple[int, int]]:
        """Return where the values of the attributes stand in the document."""
        place = self.begin + len("<") + len(self.name)
        spans = ((found[1], found.span(found.lastindex or 0)) for found in _ATTRIBUTE.finditer(self.tag))
        return {name: (begin + place, end + place) for name, (begin, end) in spans}

    @property
    def local_name(self) -> str:
        """Return the name without its prefix."""
        return self.name.rpartition(":")[2]

    def walk(self) -> Iterator["Element"]:
        """Yield the element and all within it, in the order of their start tags."""
        pending = [self]
        while pending:
            element = pending.pop()
            yield element
            pending += reversed(element.children)


def read_xml(data: bytes) -> tuple[str, Element, Callable[[str], bytes]]:
    """Read a document: its text, its root, and what makes bytes of a text in the document's encoding.

    Raises:
        FileRefused: it is not well-formed, has a document type, or its encoding is not known.
    """
    encoding = parse(data).docinfo.encoding or "utf-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16-le" if data[:1] == b"\xff" else "utf-16-be"
    try:
        codec = codecs.lookup(encoding).name
        text = data.decode(codec)
    except (LookupError, UnicodeDecodeError):
        raise FileRefused(f"The file's encoding {encoding[:20]!r} can't be read; save it in UTF-8.") from None
    if not codec.startswith(_CODECS) or text.encode(codec, "xmlcharrefreplace") != data:
        raise FileRefused(f"The file's encoding {encoding[:20]!r} can't be written; save it in UTF-8.")
    return text, root_of(text), lambda rendered: rendered.encode(codec, "xmlcharrefreplace")


def root_of(text: str) -> Element:
    """Find the elements of a well-formed document."""
    path: list[Element] = []
    children: list[list[Element]] = [[]]  # of the document, then of each element around
    for token in _TOKEN.finditer(text):
        name, tag = token["name"], token["attributes"]
        if not name:
            continue
        if token["end"]:
            element = path.pop()
            element.children = tuple(children.pop())
            element.inner_end, element.end = token.span()
            continue
        element = Element(intern(name), *token.span(), tag=intern(tag))  # a document has few different ones
        children[-1].append(element)
        if tag.endswith("/"):
            element.inner_end = element.end = element.inner_begin
        else:
            path.append(element)
            children.append([])
    return children[0][0]


def escaped(text: str) -> str:
    """Spell a text between tags."""
    return UNWRITABLE.sub("", text).translate(_ESCAPES)
