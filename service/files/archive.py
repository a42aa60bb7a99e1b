"""OpenDocument text and EPUB, archives of XML; and the archive itself, read in memory and within bounds."""

import io
import re
import stat
import zipfile
import zlib
from collections.abc import Mapping, Sequence

from service.files import Aligned, Cursor, FileRefused, Limits, OpenFile
from service.files.charsets import decoded
from service.files.html import MarkedUp, WebPage, without_entities
from service.files.language_marks import DocumentLanguage
from service.text.markup_tokens import Markup

# Elements of an OpenDocument that people do not read, or whose text is computed.
_ODT_COPIED = (
    "dc:creator dc:date meta:date-string meta:creator-initials text:tracked-changes text:note-citation "
    "text:page-number text:page-count text:bibliography-mark text:sequence text:date text:time office:binary-data "
    "office:scripts number:text text:script math:math script"
)
# Elements that may stand among the words of a paragraph, but end a sentence.
_ODT_SPLITTING = (
    "text:p text:h text:note-body text:line-break text:tab text:list text:section text:index-body "
    "table:table draw:text-box svg:title svg:desc"
)
# Elements that are anchored in a sentence and hold sentences of their own.
_ODT_NESTED = "text:note draw:frame draw:a draw:custom-shape office:annotation"
_ODT = Markup(
    "xml",
    frozenset(_ODT_COPIED.split()),
    frozenset(_ODT_SPLITTING.split()),
    nested_tags=frozenset(_ODT_NESTED.split()),
)
_NCX = Markup("xml", frozenset({"doctitle", "docauthor"}))
# Parts that name the language of the document; in an .odt its default style does, and others.
_WITH_MARKS = (".opf", "styles.xml", "content.xml", "meta.xml", ".ncx")
_ODT_MARK = re.compile(
    rb"""(<style:text-properties\b[^<>]*?\bfo:language="|<dc:language>)([a-zA-Z][\w-]*)((?:"\s+fo:country=")?)([\w-]*)"""
)
_EPUB_MARK = re.compile(rb"""(<dc:language\b[^<>]*>\s*|<(?:package|ncx)\b[^<>]*?\bxml:lang=["'])([a-zA-Z][\w-]*)""")


class Archive:
    """A ZIP file, unpacked; members that are not replaced are written as they were, in their order."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Unpack an archive.

        Raises:
            FileRefused: the data is not an archive, or is damaged, encrypted or larger than the limits.
            MemoryError: the process has not enough.
        """
        self._members: list[tuple[zipfile.ZipInfo, bytes]] = []
        left = limits.max_bytes
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                if len(archive.infolist()) > limits.max_members:
                    raise FileRefused(f"The file has more than {limits.max_members:,} parts.")
                for info in archive.infolist():
                    if not _is_plain(info):
                        raise FileRefused("The file has a part that would be outside of it when unpacked.")
                    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        raise FileRefused("The file is compressed in an unusual way; save it again.")
                    with archive.open(info) as member:
                        content = member.read(left + 1)  # the size in its header may be wrong
                    left -= len(content)
                    if left < 0:
                        raise FileRefused(f"The file unpacks to more than {limits.max_bytes:,} bytes.")
                    self._members.append((info, content))
        except FileRefused:
            raise
        except zlib.error as error:
            if str(error).startswith("Error -4 "):  # Z_MEM_ERROR
                raise MemoryError from None
            raise FileRefused(f"The file is damaged: {str(error)[:100]}.") from None
        except (
            zipfile.BadZipFile,
            RuntimeError,
            NotImplementedError,
            EOFError,
            OSError,
            ValueError,
        ) as error:
            raise FileRefused(f"The file is damaged, locked or no archive: {str(error)[:100]}.") from None

    @property
    def members(self) -> dict[str, bytes]:
        """The contents of the members by name."""
        return {info.filename: content for info, content in self._members}

    def write(self, replaced: Mapping[str, bytes]) -> bytes:
        """Pack the archive with the contents of some members replaced."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for info, content in self._members:
                copy = zipfile.ZipInfo(info.filename, info.date_time)
                stored = info.compress_type == zipfile.ZIP_STORED
                copy.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
                copy.external_attr = info.external_attr
                archive.writestr(copy, replaced.get(info.filename, content))
        return buffer.getvalue()


def _is_plain(info: zipfile.ZipInfo) -> bool:
    """Tell whether a member is a file or a folder below the archive's root: the result, too, is unpacked somewhere."""
    parts = info.filename.replace("\\", "/").split("/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    return ".." not in parts and parts[0] != "" and ":" not in parts[0] and kind in (0, stat.S_IFREG, stat.S_IFDIR)


class ArchiveFile:
    """An archive of which some members hold text, and some marks of the language."""

    def __init__(self, archive: Archive, parts: Mapping[str, OpenFile], mark: re.Pattern[bytes]) -> None:
        """Take the members that hold text, by their names, and what finds a mark."""
        self._archive, self._parts = archive, parts
        self.texts: Sequence[str] = [text for part in parts.values() for text in part.texts]
        self._marked = {name: content for name, content in archive.members.items() if name.endswith(_WITH_MARKS)}
        self._language = DocumentLanguage(mark, self._marked.values())

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the archive with the texts translated."""
        cursor = Cursor(translations)
        written = {name: part.render(cursor.take(part.texts), target) for name, part in self._parts.items()}
        for name, content in self._marked.items():
            written[name] = self._language.set(written.get(name, content), target)
        return self._archive.write(written)


class _XmlPart:
    """A member whose text is XML."""

    def __init__(self, content: bytes, markup: Markup) -> None:
        without_entities(content)
        self._source = decoded(content)
        self._marked = MarkedUp(self._source.text, markup)
        self.texts = self._marked.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        return self._source.encode(self._marked.render(translations, target))


def read(data: bytes, ending: str, limits: Limits) -> ArchiveFile:
    """Open an .odt or .epub file.

    Raises:
        FileRefused: the file is not of that type, is encrypted, or has no part that holds text.
    """
    archive = Archive(data, limits)
    members = archive.members
    kind = members.get("mimetype", b"").strip()
    expected = b"application/vnd.oasis.opendocument.text" if ending == ".odt" else b"application/epub+zip"
    variants = (b"", b"-template", b"-web", b"-master") if ending == ".odt" else (b"",)
    if kind not in [expected + variant for variant in variants]:
        raise FileRefused(f"The file is no {ending[1:].upper()}: its type is {kind[:50].decode('ascii', 'replace')!r}.")
    if b"xmlenc#aes" in members.get("META-INF/encryption.xml", b""):
        raise FileRefused("The file is encrypted.")
    part_of = _odt_part if ending == ".odt" else _epub_part
    parts: dict[str, OpenFile] = {}
    for name, content in members.items():
        part = part_of(name, content)
        if part is not None:
            parts[name] = part
    if not parts:
        raise FileRefused("The file has no part that holds text.")
    return ArchiveFile(archive, parts, _ODT_MARK if ending == ".odt" else _EPUB_MARK)


def _odt_part(name: str, content: bytes) -> OpenFile | None:
    return _XmlPart(content, _ODT) if name in ("content.xml", "styles.xml") else None


def _epub_part(name: str, content: bytes) -> OpenFile | None:
    if name.lower().endswith((".xhtml", ".html", ".htm")):
        without_entities(content)
        return WebPage(content)
    return _XmlPart(content, _NCX) if name.lower().endswith(".ncx") else None
