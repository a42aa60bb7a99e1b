"""Properties of Java: only values change, in the file's encoding and escapes."""

import re
from collections.abc import Callable, Iterator

from service.files import FileRefused, Limits
from service.files.charsets import Decoded, decoded
from service.files.slots import Slot, SlottedFile, value_slot, whole_characters

_BREAK = r"\\(?:\r\n|\r|\n)"
_BLANK = rf"(?:[ \t\f]|{_BREAK})*+"
_LINE = re.compile(
    rf"""[ \t\f]*+(?:(?P<comment>[#!][^\r\n]*+)
      | (?P<key>(?:[^\\=:\ \t\f\r\n]++|\\(?:\r\n|[\s\S]))*+){_BLANK}[=:]?+{_BLANK}
        (?P<value>(?:[^\\\r\n]++|\\(?:\r\n|[\s\S]|\Z))*+))(?:\r\n|\r|\n|\Z)""",
    re.VERBOSE,
)
_CONTINUATION = re.compile(rf"{_BREAK}[ \t\f]*+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(?!u)([\s\S]))")
_MALFORMED = re.compile(r"(?<!\\)(?:\\\\)*+\\(?:u(?![0-9a-fA-F]{4})|\Z)")
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}
_SPELT = str.maketrans({"\\": r"\\", **{character: f"\\{name}" for name, character in _NAMED.items()}})
_STORED = re.compile(r"\\[:=#!]")  # so writes java.util.Properties
_MESSAGE = re.compile(r"\{\d")  # an argument of java.text.MessageFormat
_WORD = re.compile(r"\\n|(?:[^\s\\]|\\(?!n).)*+[ ]*+(?=\S|\Z)")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f]")


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it: UTF-8 or, as up to Java 8, Latin-1; what the encoding of the file lacks is escaped."""
    try:
        source = Decoded(data.decode("ascii"), "ascii") if data.isascii() else decoded(data)
    except FileRefused:
        source = Decoded(data.decode("latin-1"), "latin-1")
    if _CONTROL.search(source.text):
        raise FileRefused("The file is not text: it has control characters.")
    return SlottedFile(_parts(*source), source.encode)


def _parts(text: str, codec: str) -> Iterator[str | Slot]:
    position = 0
    for line in _LINE.finditer(text):
        source = line["value"]
        if source and not _MALFORMED.search(source):
            value = _unescaped(source)
            if value is not None:
                begin, end = line.span("value")
                yield text[position:begin]
                yield value_slot(source, value, _speller(source, codec), doubles=_MESSAGE.search(value) is not None)
                position = end
    yield text[position:]


def _unescaped(source: str) -> str | None:
    """Read a value; None if half a character is escaped."""
    text = _ESCAPE.sub(
        lambda match: chr(int(match[1], 16)) if match[1] else _NAMED.get(match[2], match[2]),
        _CONTINUATION.sub("", source),
    )
    return whole_characters(text)


def _speller(source: str, codec: str) -> Callable[[str], str]:
    """Make what spells a translation as its source is spelt, on as wide lines."""
    is_stored = _STORED.search(source) is not None
    continuation = _CONTINUATION.search(source)
    width = max(map(len, _CONTINUATION.split(source)))

    def spell(value: str) -> str:
        text = value.translate(_SPELT)
        if is_stored:
            text = re.sub(r"[:=#!]", r"\\\g<0>", text)
        if text.startswith(" "):
            text = "\\" + text
        text = "".join(character if _fits(character, codec) else _unicode_escape(character) for character in text)
        return text if continuation is None else continuation[0].join(_wrapped(text, width))

    return spell


def _fits(character: str, codec: str) -> bool:
    return character.isascii() or codec.startswith("utf") or (codec == "latin-1" and character <= "\xff")


def _unicode_escape(character: str) -> str:
    units = character.encode("utf-16-be").hex()
    return "".join(f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))


def _wrapped(text: str, width: int) -> Iterator[str]:
    """Cut an escaped text behind spaces and escaped line breaks; no piece but the first begins with a space."""
    line = ""
    for word in filter(None, _WORD.findall(text)):
        if line and len(line) + len(word.rstrip()) > width:
            yield line
            line = ""
        line += word
    yield line
