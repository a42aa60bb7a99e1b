"""Files in, the same files out: what each kind holds to translate, and how the translations go back into it.

Opening one gives its texts; none of its parts is written to the disk, no entity is expanded, nothing is fetched.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple, Protocol

from service.text.alignment import Link

# Ending -> the module that reads it: imported when the first such file comes.
_READERS = {
    ".txt": "plain",
    ".srt": "subtitles",
    ".vtt": "subtitles",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".md": "markdown",
    ".po": "po",
    ".xlf": "xliff",
    ".xliff": "xliff",
    ".json": "json",
    ".arb": "json",
    ".properties": "properties",
    ".strings": "strings",
    ".xml": "android",
    ".resx": "resx",
    ".ftl": "fluent",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".csv": "tables",
    ".tsv": "tables",
    ".docx": "word",
    ".xlsx": "workbook",
    ".pptx": "slides",
    ".odt": "archive",
    ".epub": "archive",
}
ENDINGS = tuple(_READERS)


class FileRefused(ValueError):
    """A file that is not what its name says, or that is dangerous; the sentence says which."""


class UnknownFormat(ValueError):
    """A file of a kind that isn't translated."""

    def __init__(self, ending: str) -> None:
        """`ending`: of its name."""
        super().__init__(f"Files ending in {ending[:20]!r} are not translated; send one of {', '.join(ENDINGS)}.")
        self.ending = ending


class Limits(NamedTuple):
    """What a file may unpack to."""

    max_bytes: int
    max_members: int = 2000


class Aligned(NamedTuple):
    """A translation, and which of its words come from which of its text."""

    text: str
    links: Sequence[Link] = ()


class OpenFile(Protocol):
    """A file taken apart."""

    texts: Sequence[str]  # to translate, each by itself; one without a line break gets a translation without one

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The file with a translation in place of each text, and the language noted where the format has a place."""


def ending_of(name: str) -> str:
    """The ending of a client's name for a file, in lower case.

    Raises:
        UnknownFormat: such files aren't translated.
    """
    ending = PurePosixPath(PureWindowsPath(name).name).suffix.lower()
    if ending not in _READERS:
        raise UnknownFormat(ending)
    return ending


def translated_name(name: str, target: str) -> str:
    """What a translated file is called: notes.de.txt of notes.txt, whatever folders its client named."""
    path = PurePosixPath(PureWindowsPath(name).name)
    plain = "".join(character for character in path.stem if character.isprintable())[:100]
    return f"{plain or 'file'}.{target}{path.suffix.lower()}"


def open_file(name: str, data: bytes, limits: Limits) -> OpenFile:
    """Take a file apart; blocks, for a second where it is large.

    Raises:
        UnknownFormat: as `ending_of`.
        FileRefused: it can't be read, or is larger than it may be.
    """
    ending = ending_of(name)
    reader: Callable[[bytes, str, Limits], OpenFile] = import_module(f"service.files.{_READERS[ending]}").read
    return reader(data, ending, limits)


def decode(data: bytes) -> str:
    """Text in UTF-8, or in UTF-16 with its mark.

    Raises:
        FileRefused: it is neither.
    """
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError:
        raise FileRefused("The file is not text in UTF-8; convert it first.") from None


def encode(text: str, like: bytes) -> bytes:
    """Text in the encoding of the file that it came from."""
    if like[:2] == b"\xff\xfe":
        return b"\xff\xfe" + text.encode("utf-16-le")
    if like[:2] == b"\xfe\xff":
        return b"\xfe\xff" + text.encode("utf-16-be")
    return text.encode()
