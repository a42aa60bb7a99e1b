"""OpenDocument text and EPUB: archives of XML. And how an archive is read: in memory, within bounds."""

import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence

from service.files import Aligned, FileRefused, Limits, decode
from service.files.html import MarkedUp, without_entities
from service.text.markup_tokens import Markup

# Of an OpenDocument: what people don't read, or what is computed.
_ODT_COPIED = (
    "dc:creator dc:date meta:date-string meta:creator-initials text:tracked-changes text:note-citation "
    "text:page-number text:page-count text:bibliography-mark text:sequence text:date text:time office:binary-data "
    "office:scripts number:text text:script math:math script"
)
# What may stand among the words of a paragraph, but in no sentence.
_ODT_SPLITTING = (
    "text:p text:h text:note-body text:line-break text:tab text:list text:section text:index-body "
    "table:table draw:text-box svg:title svg:desc"
)
# What is anchored in a sentence and holds sentences of its own.
_ODT_NESTED = "text:note draw:frame draw:a draw:custom-shape office:annotation"
_ODT = Markup(
    "xml",
    frozenset(_ODT_COPIED.split()),
    frozenset(_ODT_SPLITTING.split()),
    nested_tags=frozenset(_ODT_NESTED.split()),
)


class Archive:
    """A ZIP file, unpacked; members that are not replaced are written as they were, in their order."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Unpack it.

        Raises:
            FileRefused: it is no archive, is locked, or holds too much.
        """
        self._members: list[tuple[zipfile.ZipInfo, bytes]] = []
        left = limits.max_bytes
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if len(archive.infolist()) > limits.max_members:
                    raise FileRefused(f"The file has more than {limits.max_members:,} parts.")
                for info in archive.infolist():
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise FileRefused("The file is compressed in an unusual way; save it anew.")
                    with archive.open(info) as member:
                        content = member.read(left + 1)  # what it says of its size may be a lie
                    left -= len(content)
                    if left < 0:
                        raise FileRefused(f"The file unpacks to more than {limits.max_bytes:,} bytes.")
                    self._members.append((info, content))
        except FileRefused:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            NotImplementedError,
            EOFError,
            OSError,
            ValueError,
        ) as error:
            raise FileRefused(f"The file is damaged, locked or no archive: {str(error)[:100]}.") from None

    @property
    def members(self) -> dict[str, bytes]:
        """Contents by name."""
        return {info.filename: content for info, content in self._members}

    def write(self, replaced: Mapping[str, bytes]) -> bytes:
        """The archive with some members' contents replaced."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for info, content in self._members:
                copy = zipfile.ZipInfo(info.filename, info.date_time)
                stored = info.compress_type == zipfile.ZIP_STORED
                copy.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                copy.external_attr = info.external_attr
                archive.writestr(copy, replaced.get(info.filename, content))
        return buffer.getvalue()


class Parts:
    """An archive with parts that hold text."""

    def __init__(self, archive: Archive, parts: Mapping[str, MarkedUp]) -> None:
        """`parts`: by their names."""
        self._archive, self._parts = archive, parts
        self.texts: Sequence[str] = [text for part in parts.values() for text in part.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """The archive with its parts translated."""
        position, replaced = 0, {}
        for name, part in self._parts.items():
            count = len(part.texts)
            replaced[name] = part.render(translations[position : position + count], target).encode()
            position += count
        return self._archive.write(replaced)


def read(data: bytes, ending: str, limits: Limits) -> Parts:
    """Open it."""
    archive = Archive(data, limits)
    members = archive.members
    kind = members.get("mimetype", b"").strip()
    is_part: Callable[[str], Markup | None]
    if ending == ".odt":
        expected, is_part = b"application/vnd.oasis.opendocument.text", _odt_part
    else:
        expected, is_part = b"application/epub+zip", _epub_part
    if kind != expected:
        raise FileRefused(f"The file is no {ending[1:].upper()}: its type is {kind[:50].decode('ascii', 'replace')!r}.")
    if (
        "META-INF/encryption.xml" in members
        and ending == ".epub"
        and b"xmlenc#aes" in members["META-INF/encryption.xml"]
    ):
        raise FileRefused("The file is encrypted.")
    parts = {}
    for name, content in members.items():
        markup = is_part(name)
        if markup is not None:
            parts[name] = MarkedUp(without_entities(decode(content)), markup)
    if not parts:
        raise FileRefused("The file has no part that holds text.")
    return Parts(archive, parts)


def _odt_part(name: str) -> Markup | None:
    return _ODT if name in ("content.xml", "styles.xml") else None


def _epub_part(name: str) -> Markup | None:
    if name.lower().endswith((".xhtml", ".html", ".htm")):
        return Markup("html")
    return Markup("xml", frozenset({"doctitle", "docauthor"})) if name.lower().endswith(".ncx") else None
