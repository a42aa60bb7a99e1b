"""XLIFF 1.2 and 2: segments without a target get one."""

from collections.abc import Sequence
from typing import Any

from lxml import etree

from service.files import Aligned, Cursor, FileRefused, Limits
from service.files.html import MarkedUp
from service.files.xml import parse
from service.text.markup_tokens import Markup

# Elements whose content is code of the document that the file was made from.
_CODES = frozenset({"bpt", "ept", "ph", "it"})
_PROTECTED = frozenset({("mtype", "protected")})  # of XLIFF 1.2; 2 has translate="no"
_OPEN_STATES = frozenset({"new", "needs-translation", "initial"})


class XliffFile:
    """The segments that have no target yet."""

    def __init__(self, data: bytes) -> None:
        """Parse a file.

        Raises:
            FileRefused: it is not XLIFF.
        """
        self._tree = parse(data)
        root = self._tree.getroot()
        if etree.QName(root).localname != "xliff":
            raise FileRefused("The file is no XLIFF: its outermost element is another.")
        self._is_2 = root.get("version", "1.2").startswith("2")
        self._segments: list[tuple[Any, MarkedUp]] = []
        for source in root.iter("{*}source"):
            holder = source.getparent()
            if holder is None or etree.QName(holder).localname not in ("trans-unit", "segment") or _is_done(holder):
                continue
            text = etree.tostring(source, encoding="unicode", with_tail=False)
            self._segments.append((source, MarkedUp(text, Markup("xml", _CODES, protected=_PROTECTED))))
        self.texts: Sequence[str] = [text for _, segment in self._segments for text in segment.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the file, with the target language where it had none."""
        cursor = Cursor(translations)
        for source, segment in self._segments:
            rendered = segment.render(cursor.take(segment.texts), target)
            element = etree.fromstring(rendered.replace("]]>", "]]&gt;"))
            self._put(source, element, target)
        root = self._tree.getroot()
        holders = [root] if self._is_2 else list(root.iter("{*}file"))
        for holder in holders:
            name = "trgLang" if self._is_2 else "target-language"
            if holder.get(name) is None:
                holder.set(name, target)
        etree.cleanup_namespaces(root)
        return bytes(etree.tostring(self._tree, xml_declaration=True, encoding="UTF-8"))

    def _put(self, source: Any, element: Any, target: str) -> None:
        """Make an element the target beside a source."""
        element.tag = etree.QName(etree.QName(source).namespace, "target")
        for name in element.attrib:
            del element.attrib[name]
        holder = source.getparent()
        old = holder.find("{*}target")
        if old is not None:
            element.tail = old.tail
            holder.replace(old, element)
        else:
            element.tail = source.tail
            source.addnext(element)
        if self._is_2 and holder.get("state") in (None, "initial"):
            holder.set("state", "translated")


def read(data: bytes, ending: str, limits: Limits) -> XliffFile:
    """Open an XLIFF file."""
    return XliffFile(data)


def _is_done(holder: Any) -> bool:
    """Return whether a segment has a target, or must not get one."""
    if any(element.get("translate") == "no" for element in (holder, *holder.iterancestors())):
        return True
    target = holder.find("{*}target")
    if target is None or target.get("state") in _OPEN_STATES or holder.get("state") == "initial":
        return False
    return bool("".join(target.itertext()).strip() or len(target))
