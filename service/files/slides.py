"""Presentations, .pptx: paragraphs of slides, of their notes and of diagrams; the layouts' own texts stay."""

import re
from collections.abc import Iterator

from service.files import Limits
from service.files.archive import Archive
from service.files.office import OfficeFile, require
from service.files.runs import Runs, pieces_of, stretches
from service.files.slots import Slot, SlottedFile, with_slots
from service.files.xml_spans import Element, read_xml

_PART = re.compile(r"ppt/(?:slides|notesSlides|diagrams)/(?:slide|notesSlide|data|drawing)\d+\.xml", re.IGNORECASE)

_MARK = re.compile(rb'(<a:(?:rPr|endParaRPr|defRPr)\b[^<>]*?\slang=")([a-zA-Z][\w-]*)')


def read(data: bytes, ending: str, limits: Limits) -> OfficeFile:
    """Open it."""
    archive = Archive(data, limits)
    require(archive.members, "ppt/presentation.xml", "presentation")
    parts = {}
    for name, content in archive.members.items():
        if _PART.fullmatch(name):
            text, root, encode = read_xml(content)
            parts[name] = SlottedFile(with_slots(text, _slots(text, root)), encode)
    return OfficeFile(archive, parts, _MARK, ["ppt/presentation.xml"])


def _slots(text: str, root: Element) -> Iterator[tuple[int, int, Slot]]:
    for paragraph in root.walk():
        if paragraph.local_name == "p":
            for runs in stretches(list(pieces_of(text, paragraph))):
                yield runs[0].begin, runs[-1].end, Runs(text, runs, joins_lines=True, says_spaces=False)
