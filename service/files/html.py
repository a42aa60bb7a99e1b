"""HTML and XHTML: everything but the text comes back to the letter (`service.text.markup`)."""

from collections.abc import Sequence

from service.files import Aligned, FileRefused, Limits, decode, encode
from service.text.alignment import Link, moved
from service.text.markup import Document
from service.text.markup_tokens import Kind, Markup


class MarkedUp:
    """Text with tags, of which each unit is a text to translate."""

    def __init__(self, source: str, markup: Markup) -> None:
        """Take markup apart."""
        self._document = Document(source, markup, is_aligned=True)
        self.texts: Sequence[str] = self._document.text.split("\n")

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Write the markup around the translations."""
        links: list[Link] = []
        source_begin = target_begin = 0
        for source, translation in zip(self.texts, translations, strict=True):
            links += moved(translation.links, source_begin, target_begin)
            source_begin, target_begin = source_begin + len(source) + 1, target_begin + len(translation.text) + 1
        return self._document.render("\n".join(translation.text for translation in translations), links)


class WebPage:
    """A page of HTML."""

    def __init__(self, data: bytes, kind: Kind) -> None:
        """Decode a page and take it apart."""
        self._data, self._page = data, MarkedUp(decode(data), Markup(kind))
        self.texts = self._page.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the page in its encoding."""
        return encode(self._page.render(translations, target), self._data)


def read(data: bytes, ending: str, limits: Limits) -> WebPage:
    """Open a page."""
    return WebPage(data, "html")


def without_entities(source: str) -> str:
    """Return the source if it declares no entities, which might be files or grow without end.

    Raises:
        FileRefused: it declares some.
    """
    if "<!ENTITY" in source:
        raise FileRefused("The file declares entities of its own, which are not expanded; save it without them.")
    return source
