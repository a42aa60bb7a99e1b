"""Localizable strings of Apple's systems: pairs of strings with comments, of which only values change."""

import re
from collections.abc import Callable, Iterator

from service.files import FileRefused, Limits
from service.files.charsets import decoded
from service.files.slots import Slot, SlottedFile, value_slot, whole_characters

_TOKEN = re.compile(
    r"""(?P<space>[\s\ufeff]++|//[^\r\n]*+|/\*(?:[^*]++|\*(?!/))*+\*/)
      | (?P<string>"(?:[^"\\]++|\\.)*+"|'(?:[^'\\]++|\\.)*+'|[\w.$:-]++)
      | (?P<mark>[=;])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:[Uu]([0-9a-fA-F]{4})|([0-7]{1,3})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "a": "\a", "b": "\b", "v": "\v"}
_SPELT = {ord("\\"): r"\\", ord('"'): r"\""}
_BREAKS = {ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it."""
    source = decoded(data)
    return SlottedFile(_parts(source.text), source.encode)


def _parts(text: str) -> Iterator[str | Slot]:
    done = position = 0
    before = ";"  # the last token: a mark, or `key` or `value`
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise _refused(text, position)
        begin, position = token.span()
        if token["space"]:
            continue
        if token["string"] and before in ";=":
            if before == "=" and (slot := _slot(token[0])) is not None:
                yield text[done:begin]
                yield slot
                done = position
            before = "key" if before == ";" else "value"
        elif (token["mark"], before) in (("=", "key"), (";", "key"), (";", "value")):
            before = token["mark"]
        else:
            raise _refused(text, begin)
    if before != ";":
        raise _refused(text, len(text))
    yield text[done:]


def _refused(text: str, position: int) -> FileRefused:
    line = text.count("\n", 0, position) + 1
    return FileRefused(f'The file is not a list of strings: line {line:,} does not read "key" = "value";.')


def _slot(source: str) -> Slot | None:
    """Make the slot of a value; None if half a character is escaped."""
    inner = source[1:-1] if source[0] in "\"'" else source
    value = whole_characters(_ESCAPE.sub(_character, inner))
    if value is None:
        return None
    has_raw_breaks = any(character in inner for character in "\n\r\t")
    return value_slot(source, value, _speller(_SPELT if has_raw_breaks else _SPELT | _BREAKS))


def _speller(table: dict[int, str]) -> Callable[[str], str]:
    return lambda value: f'"{value.translate(table)}"'


def _character(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return chr(int(escape[2], 8)) if escape[2] else _NAMED.get(escape[3], escape[3])
