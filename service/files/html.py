"""HTML and XHTML: everything but the text comes back to the letter (`service.text.markup`)."""

import re
from collections.abc import Iterable, Sequence

from service.files import Aligned, FileRefused, Limits
from service.files.charsets import decoded
from service.files.language_marks import language_mark
from service.text.markup import Document
from service.text.markup_tokens import Markup

_HEAD_BYTES = 4096  # in which a page declares its encoding
_CHARSET = re.compile(
    rb"""<meta\b[^<>]*?\bcharset\s*+=\s*+["']?\s*+([^\s"'/>;]++)|\A\s*+<\?xml\b[^<>]*?\bencoding\s*+=\s*+["']([^"'>]++)""",
    re.IGNORECASE,
)
_ROOT = re.compile(r"<!--.*?(?:-->|\Z)|<html(?=[\s>])(?P<attributes>[^>]*+)", re.IGNORECASE | re.DOTALL)
_LANGUAGE = re.compile(r"""(?<!\S)((?:xml:)?lang\s*+=\s*+["']?)([\w-]+)""", re.IGNORECASE)


class MarkedUp:
    """Text with tags, of which each unit is a text to translate."""

    __slots__ = ("_document", "texts")  # a file may have thousands

    def __init__(self, source: str, markup: Markup) -> None:
        """Take markup apart."""
        self._document = Document(source, markup, is_aligned=True)
        self.texts: Sequence[str] = self._document.lines

    def render(self, translations: Iterable[Aligned], target: str) -> str:
        """Write the markup around the translations."""
        return self._document.render_lines(translations)


class WebPage:
    """A page of HTML, written in the encoding that it declares."""

    def __init__(self, data: bytes) -> None:
        """Decode a page and take it apart.

        Raises:
            FileRefused: the encoding that it declares is not known, or it is not text in it.
        """
        found = _CHARSET.search(data[:_HEAD_BYTES])
        declared = (found[1] or found[2]).decode("ascii", "replace") if found else None
        self._source = decoded(data, declared, is_html=True)
        self._page = MarkedUp(self._source.text, Markup("html"))
        self.texts = self._page.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the page; a character that its encoding lacks is a reference."""
        page = with_language(self._page.render(translations, target), target)
        return self._source.encode(page, "xmlcharrefreplace")


def read(data: bytes, ending: str, limits: Limits) -> WebPage:
    """Open a page."""
    return WebPage(data)


def with_language(page: str, target: str) -> str:
    """Return a page that names the target as its language, where it names one in its outermost element."""
    root = next((tag for tag in _ROOT.finditer(page) if tag["attributes"] is not None), None)
    if root is None:
        return page
    attributes = _LANGUAGE.sub(lambda mark: mark[1] + language_mark(mark[2], target), root["attributes"])
    return page[: root.start("attributes")] + attributes + page[root.end("attributes") :]


def without_entities(data: bytes) -> None:
    """Check that XML declares no entities, which might be files or grow without end.

    Raises:
        FileRefused: it declares some.
    """
    if b"<!ENTITY" in data.replace(b"\0", b""):
        raise FileRefused("The file declares entities of its own, which are not expanded; save it without them.")
