"""HTML and XHTML, to the letter but for the text: `service.markup` reads it."""

from collections.abc import Sequence

from service.files import FileRefused, Limits, decode, encode
from service.markup import Document, Kind, Markup


class MarkedUp:
    """Text with tags; a unit of it is a text."""

    def __init__(self, source: str, markup: Markup) -> None:
        """Take it apart."""
        self._document = Document(source, markup)
        self.texts: Sequence[str] = self._document.text.split("\n")

    def render(self, translations: Sequence[str], target: str) -> str:
        """The markup around the translations."""
        return self._document.render("\n".join(translations))


class WebPage:
    """A page."""

    def __init__(self, data: bytes, kind: Kind) -> None:
        """Read it."""
        self._data, self._page = data, MarkedUp(decode(data), Markup(kind))
        self.texts = self._page.texts

    def render(self, translations: Sequence[str], target: str) -> bytes:
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
