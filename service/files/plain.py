"""Plain text: one text per paragraph."""

from collections.abc import Sequence

from service.files import Aligned, Limits
from service.files.charsets import decoded_or_western, encoded_or_unicode


class PlainText:
    """Paragraphs, so that a sentence may go over line breaks where that is asked for."""

    def __init__(self, data: bytes) -> None:
        """Cut a file between blank lines."""
        self._source = decoded_or_western(data)
        self.texts: Sequence[str] = _paragraphs(self._source.text)

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Join the paragraphs."""
        return encoded_or_unicode("".join(translation.text for translation in translations), self._source)


def read(data: bytes, ending: str, limits: Limits) -> PlainText:
    """Open a text file."""
    return PlainText(data)


def _paragraphs(text: str) -> list[str]:
    """Cut a text after each blank line."""
    paragraphs, lines = [], []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if not line.strip():
            paragraphs.append("".join(lines))
            lines = []
    return [*paragraphs, "".join(lines)]
