"""Plain text: one text per paragraph, and one per line of a paragraph that has pairs of tags."""

import re
from collections.abc import Sequence

from service.files import Aligned, Cursor, Limits
from service.files.charsets import decoded_or_western, encoded_or_unicode
from service.files.html import MarkedUp
from service.text.markup import with_pairs
from service.text.markup_tokens import SOFTWARE

# A line that an editor wrapped: the sentence may go on in the next one, where the client says so.
_WRAPPED = re.compile(r"^.{60,}+(?<![.!?:;…\s])[^\S\n]*+\n(?=\S)", re.MULTILINE)


class PlainText:
    """Paragraphs, so that a sentence may go over line breaks where that is asked for."""

    def __init__(self, data: bytes) -> None:
        """Cut a file between blank lines."""
        self._source = decoded_or_western(data)
        self._parts = [
            MarkedUp(text, SOFTWARE) if not _WRAPPED.search(text) and with_pairs(text) else _Paragraph(text)
            for text in _paragraphs(self._source.text)
        ]
        self.texts: Sequence[str] = [text for part in self._parts for text in part.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Join the paragraphs."""
        cursor = Cursor(translations)
        rendered = [part.render(cursor.take(part.texts), target) for part in self._parts]
        return encoded_or_unicode("".join(rendered), self._source)


class _Paragraph:
    """A paragraph without pairs of tags."""

    def __init__(self, text: str) -> None:
        self.texts = [text]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        return translations[0].text


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
