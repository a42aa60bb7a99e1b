"""Positions of the elements of an XML document in its text, so that all else is copied unchanged."""

import codecs
import html
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

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
    children: list["Element"] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    attribute_spans: dict[str, tuple[int, int]] = field(default_factory=dict)  # of the values

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
    document = Element("", 0, 0)
    path = [document]
    for token in _TOKEN.finditer(text):
        name = token["name"]
        if not name:
            continue
        if token["end"]:
            element = path.pop()
            element.inner_end, element.end = token.start(), token.end()
            continue
        element = Element(name, token.start(), token.end())
        if token["attributes"]:
            shift = token.start("attributes")
            for match in _ATTRIBUTE.finditer(token["attributes"]):
                begin, end = match.span(2 if match[2] is not None else 3)
                element.attributes[match[1]] = html.unescape(token["attributes"][begin:end])
                element.attribute_spans[match[1]] = (begin + shift, end + shift)
        path[-1].children.append(element)
        if token["attributes"].endswith("/"):
            element.inner_end = element.end = token.end()
        else:
            path.append(element)
    return document.children[0]


def escaped(text: str) -> str:
    """Spell a text between tags."""
    return UNWRITABLE.sub("", text).translate(_ESCAPES)
