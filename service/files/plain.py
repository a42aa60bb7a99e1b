"""Plain text: a text a line."""

from collections.abc import Sequence

from service.files import Aligned, Limits, decode, encode


class PlainText:
    """Blocks of lines that stand together, so that sentences may go over line breaks where that is asked for."""

    def __init__(self, data: bytes) -> None:
        """Cut between blank lines."""
        self._data = data
        self.texts: Sequence[str] = _blocks(decode(data))

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The blocks, joined."""
        return encode("".join(translation.text for translation in translations), self._data)


def read(data: bytes, ending: str, limits: Limits) -> PlainText:
    """Open it."""
    return PlainText(data)


def _blocks(text: str) -> list[str]:
    """Runs of lines up to a blank one, it included; joined they are the text."""
    blocks, lines = [], []
    for line in text.splitlines(keepends=True):
        lines.append(line)
        if not line.strip():
            blocks.append("".join(lines))
            lines = []
    return [*blocks, "".join(lines)]
