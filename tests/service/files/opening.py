"""Files opened and rendered with translators that are no models."""

from collections.abc import Callable, Sequence

from service.files import Aligned, Limits, open_file
from tests.linear import growth

LIMITS = Limits(16 << 20)


def loud(text: str) -> str:
    """Translate into capitals, but for private characters, which stand for what is kept."""
    return "".join(character if ord(character) >= 0xE000 else character.upper() for character in text)


def texts(name: str, data: bytes) -> list[str]:
    """List what there is to translate, without the empty ones."""
    return [text for text in open_file(name, data, LIMITS).texts if text]


def translated(name: str, data: bytes, translate: Callable[[str], str] = loud, target: str = "de") -> bytes:
    """Render a file with a translation of each of its texts."""
    opened = open_file(name, data, LIMITS)
    return opened.render([Aligned(translate(text)) for text in opened.texts], target)


def copied(name: str, data: bytes, target: str = "ja") -> bytes:
    """Render a file whose translations are its texts; Japanese has one plural category, so none is made."""
    return translated(name, data, str, target)


def time_growth(name: str, pieces: Sequence[bytes], size: int = 200) -> float:
    """Return what opening and rendering a file takes of twice the size: a beginning, `size` middles and an end."""
    begin, middle, end = pieces

    def work(n: int) -> Callable[[], object]:
        data = begin + middle * n + end
        return lambda: translated(name, data)

    return growth(work, size)
