"""Archives of XML parts with slots; parts that hold none are written as they were."""

from collections.abc import Mapping, Sequence

from service.files import Aligned, FileRefused
from service.files.archive import Archive
from service.files.slots import SlottedFile


class OfficeFile:
    """An archive with parts that hold text."""

    def __init__(self, archive: Archive, parts: Mapping[str, SlottedFile]) -> None:
        """Take the parts by their names."""
        self._archive, self._parts = archive, parts
        self.texts: Sequence[str] = [text for part in parts.values() for text in part.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Render the archive with its parts translated."""
        position, replaced = 0, {}
        for name, part in self._parts.items():
            count = len(part.texts)
            replaced[name] = part.render(translations[position : position + count], target)
            position += count
        return self._archive.write(replaced)


def require(members: Mapping[str, bytes], name: str, kind: str) -> None:
    """Check that an archive is what its name says.

    Raises:
        FileRefused: a part that makes it one is not there.
    """
    if name not in members:
        raise FileRefused(f"The file is no {kind}: it has no {name}.")
