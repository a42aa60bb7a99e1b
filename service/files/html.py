"""HTML and XHTML, to the letter but for the text: `service.text.markup` reads it."""

from collections.abc import Sequence

from service.files import Aligned, FileRefused, Limits, decode, encode
from service.text.alignment import Link, moved
from service.text.markup import Document
from service.text.markup_tokens import Kind, Markup


class MarkedUp:
    """Text with tags; a unit of it is a text."""

    def __init__(self, source: str, markup: Markup) -> None:
        """Take it apart."""
        self._document = Document(source, markup, is_aligned=True)
        self.texts: Sequence[str] = self._document.text.split("\n")

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """The markup around the translations."""
        links: list[Link] = []
        source_begin = target_begin = 0
        for source, translation in zip(self.texts, translations, strict=True):
            links += moved(translation.links, source_begin, target_begin)
            source_begin, target_begin = source_begin + len(source) + 1, target_begin + len(translation.text) + 1
        return self._document.render("\n".join(translation.text for translation in translations), links)


class WebPage:
    """A page."""

    def __init__(self, data: bytes, kind: Kind) -> None:
        """Read it."""
        self._data, self._page = data, MarkedUp(decode(data), Markup(kind))
        self.texts = self._page.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The page."""
        return encode(self._page.render(translations, target), self._data)


def read(data: bytes, ending: str, limits: Limits) -> WebPage:
    """Open it."""
    return WebPage(data, "html")


def without_entities(source: str) -> str:
    """The source itself.

    Raises:
        FileRefused: it declares entities, which might be files or grow without end.
    """
    if "<!ENTITY" in source:
        raise FileRefused("The file declares entities of its own, which are not expanded; save it without them.")
    return source
