"""Archives of XML parts with slots; parts that hold none are written as they were."""

import re
from collections.abc import Collection, Mapping, Sequence

from service.files import Aligned, FileRefused
from service.files.archive import Archive
from service.files.language_marks import DocumentLanguage
from service.files.slots import SlottedFile


class OfficeFile:
    """An archive with parts that hold text."""

    def __init__(
        self,
        archive: Archive,
        parts: Mapping[str, SlottedFile],
        mark: re.Pattern[bytes] | None = None,
        marked: Collection[str] = (),
    ) -> None:
        """Take the parts with text.

        Args:
            archive: all parts.
            parts: those with text, by their names.
            mark: finds a mark of the language, where the format has any.
            marked: names of other parts that have marks.
        """
        self._archive, self._parts = archive, parts
        self.texts: Sequence[str] = [text for part in parts.values() for text in part.texts]
        members = archive.members
        names = [name for name in (*marked, *parts) if mark is not None and name in members]
        self._marked = {name: members[name] for name in names}
        self._language = None if mark is None else DocumentLanguage(mark, self._marked.values())

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Render the archive with its parts translated."""
        position = 0
        replaced: dict[str, bytes] = {}
        for name, part in self._parts.items():
            count = len(part.texts)
            replaced[name] = part.render(translations[position : position + count], target)
            position += count
        for name, content in self._marked.items():
            assert self._language is not None  # there are marks
            replaced[name] = self._language.set(replaced.get(name, content), target)
        return self._archive.write(replaced)


def require(members: Mapping[str, bytes], name: str, kind: str) -> None:
    """Check that an archive is what its name says.

    Raises:
        FileRefused: a part that makes it one is not there.
    """
    if name not in members:
        raise FileRefused(f"The file is no {kind}: it has no {name}.")
