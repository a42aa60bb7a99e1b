"""Workbooks, .xlsx: shared strings, inline strings, notes; formulas, numbers, names and headers of tables stay.

Excel finds a table's column by its name, which must be the text of its header cell: such a text is copied.
"""

import html
import re
from collections.abc import Collection, Iterator

from service.files import Limits
from service.files.archive import Archive
from service.files.office import OfficeFile, require
from service.files.runs import Runs, pieces_of, stretches
from service.files.slots import Slot, SlottedFile, with_slots
from service.files.xml_spans import Element, read_xml

_PART = re.compile(r"xl/(?:sharedStrings|worksheets/[^/]+|comments\d*|comments/[^/]+)\.xml", re.IGNORECASE)
_TABLE = re.compile(r"xl/tables/[^/]+\.xml", re.IGNORECASE)
_HOLDERS = frozenset({"si", "is", "text"})


def read(data: bytes, ending: str, limits: Limits) -> OfficeFile:
    """Open it."""
    archive = Archive(data, limits)
    members = archive.members
    require(members, "xl/workbook.xml", "workbook")
    headers: set[str] = set()
    for name, content in members.items():
        if _TABLE.fullmatch(name):
            _, table, _ = read_xml(content)
            headers |= {part.attributes.get("name", "") for part in table.walk() if part.local_name == "tableColumn"}
    parts = {}
    for name, content in members.items():
        if _PART.fullmatch(name) and (not name.startswith("xl/worksheets/") or b"inlineStr" in content):
            text, root, encode = read_xml(content)
            parts[name] = SlottedFile(with_slots(text, _slots(text, root, headers)), encode)
    return OfficeFile(archive, parts)


def _slots(text: str, root: Element, headers: Collection[str]) -> Iterator[tuple[int, int, Slot]]:
    for holder in root.walk():
        if holder.local_name not in _HOLDERS:
            continue
        for runs in stretches(list(pieces_of(text, holder))):
            whole = html.unescape("".join(piece.run.text for piece in runs if piece.run is not None))
            if whole not in headers:
                yield runs[0].begin, runs[-1].end, Runs(text, runs, joins_lines=False, says_spaces=True)
