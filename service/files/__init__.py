"""Translation of files: one module per format takes a file apart into texts and puts the translations back.

Opening a file never writes to the disk, expands an entity or fetches anything.
"""

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple, Protocol

from service.text.alignment import Link

# Ending -> the module that reads it, imported when the first such file is opened.
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
    """A file does not have the format of its name, or is dangerous; the message says which."""


class UnknownFormat(ValueError):
    """Files with this ending are not supported."""

    def __init__(self, ending: str) -> None:
        """Name the ending, and those that are supported."""
        super().__init__(f"Files ending in {ending[:20]!r} are not translated; send one of {', '.join(ENDINGS)}.")
        self.ending = ending


class Limits(NamedTuple):
    """The size that a file may unpack to."""

    max_bytes: int
    max_members: int = 2000


class Aligned(NamedTuple):
    """A translation, and the links from its words to those of its text."""

    text: str
    links: Sequence[Link] = ()


class Cursor:
    """The translations of a file, handed out in order to its parts."""

    def __init__(self, translations: Sequence[Aligned]) -> None:
        """Start at the first."""
        self._translations, self._position = translations, 0

    def take(self, texts: Sequence[str]) -> Sequence[Aligned]:
        """Return the translations of the next texts."""
        begin, self._position = self._position, self._position + len(texts)
        return self._translations[begin : self._position]


class OpenFile(Protocol):
    """A file, taken apart."""

    texts: Sequence[str]  # to translate, each by itself; one without a line break gets a translation without one

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the file with the translations in it, and the target language where the format has a place for it.

        Args:
            translations: of `texts`, one for each.
            target: the code of the language.
        """


def ending_of(name: str) -> str:
    """Return the ending of a client's name for a file, in lower case.

    Raises:
        UnknownFormat: files with this ending are not supported.
    """
    ending = PurePosixPath(PureWindowsPath(name).name).suffix.lower()
    if ending not in _READERS:
        raise UnknownFormat(ending)
    return ending


def translated_name(name: str, target: str) -> str:
    """Return the name of a translated file: notes.de.txt for notes.txt, without its folders."""
    path = PurePosixPath(PureWindowsPath(name).name)
    plain = "".join(character for character in path.stem if character.isprintable())[:100]
    return f"{plain or 'file'}.{target}{path.suffix.lower()}"


def open_file(name: str, data: bytes, limits: Limits, columns: Collection[str] = ()) -> OpenFile:
    """Take a file apart; this blocks, for a second where the file is large.

    Args:
        name: of the file; its ending tells the format.
        data: what is in it.
        limits: of what it unpacks to.
        columns: of a table, the headers of what is translated; by default columns of text are.

    Raises:
        UnknownFormat: files with this ending are not supported.
        FileRefused: the file cannot be read, has no such columns, or unpacks to more than the limits allow.
    """
    ending = ending_of(name)
    reader = reader_of(ending)
    if not columns:
        return reader(data, ending, limits)
    if _READERS[ending] != "tables":
        raise FileRefused("Columns are chosen in .csv and .tsv files only; leave `columns` out for this one.")
    return reader(data, ending, limits, columns)


def reader_of(ending: str) -> Callable[..., OpenFile]:
    """Import what takes files with a supported ending apart: `read(data, ending, limits)`, for a table also columns."""
    return import_module(f"{__name__}.{_READERS[ending]}").read  # type: ignore[no-any-return]
