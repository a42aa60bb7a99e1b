"""Plain text: one text per paragraph."""

from collections.abc import Sequence

from service.files import Aligned, Limits, decode, encode


class PlainText:
    """Paragraphs, so that a sentence may go over line breaks where that is asked for."""

    def __init__(self, data: bytes) -> None:
        """Cut a file between blank lines."""
        self._data = data
        self.texts: Sequence[str] = _paragraphs(decode(data))

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Join the paragraphs."""
        return encode("".join(translation.text for translation in translations), self._data)


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
