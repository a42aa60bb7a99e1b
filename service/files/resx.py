"""Resources of .NET, .resx: the values of its strings."""

import html
from collections.abc import Iterator

from service.files import FileRefused, Limits
from service.files.slots import Slot, SlottedFile, value_slot, with_slots
from service.files.xml_spans import Element, escaped, read_xml

_CDATA, _CDATA_END = "<![CDATA[", "]]>"


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it; typed entries are not strings, and names that begin with >> belong to the designer."""
    text, root, encode = read_xml(data)
    if root.name != "root":
        raise FileRefused(f"The file is no .resx: its outermost element is {root.name[:50]!r}.")
    return SlottedFile(with_slots(text, _slots(text, root)), encode)


def _slots(text: str, root: Element) -> Iterator[tuple[int, int, Slot]]:
    for entry in root.children:
        is_string = entry.name == "data" and not entry.attributes.keys() & {"type", "mimetype"}
        if is_string and not entry.attributes.get("name", "").startswith(">>"):
            for value in entry.children:
                if value.name == "value" and not value.children:
                    yield from _value(text, value.inner_begin, value.inner_end)


def _value(text: str, begin: int, end: int) -> Iterator[tuple[int, int, Slot]]:
    source = text[begin:end]
    if "<" not in source:
        yield begin, end, value_slot(source, html.unescape(source), escaped)
    elif source.startswith(_CDATA) and source.endswith(_CDATA_END) and source.count("<!") == 1:
        inner = source[len(_CDATA) : -len(_CDATA_END)]
        yield (
            begin + len(_CDATA),
            end - len(_CDATA_END),
            value_slot(inner, inner, lambda value: value.replace(_CDATA_END, "]]&gt;")),
        )
