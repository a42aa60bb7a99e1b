"""JSON with the strings of software, and ARB, which is JSON with notes: only the spans of string values change.

Keys, order, numbers, indentation and the escapes of other values are never parsed into objects, so none can change.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.files import Aligned, FileRefused, Limits
from service.files.charsets import decoded
from service.files.slots import Language, Slot, SlottedFile, value_slot, whole_characters
from service.text.plurals import plural_categories

_TOKEN = re.compile(r'"(?>(?:[^"\\]++|\\.)*)"|[{}\[\],:]')
# A letter or mark that its writer has escaped, who writes ASCII then; what nobody can see is escaped by hand.
_VISIBLE = re.compile(r"\\u(?!00(?:[01]|2[26f]|3[ce]|5c|7f|[89]|a0|ad)|20[0-2]|2060|feff)", re.IGNORECASE)
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|/)")


class _String(NamedTuple):
    """A string value and where it stands."""

    begin: int
    end: int
    key_begin: int  # where its key stands, if it has one
    siblings: set[str]  # the keys of its object, complete where the object has been read
    depth: int  # 1 for a value of the outermost object
    key: str  # of the innermost object, if it is a value of one
    is_noted: bool  # below a key that begins with @


def read(data: bytes, ending: str, limits: Limits) -> SlottedFile:
    """Open it; all strings are translated, of Chrome's messages.json only the messages.

    Plurals of i18next get the forms that the target language has.
    """
    source = decoded(data)
    text = source.text
    is_ascii = text.isascii() and _VISIBLE.search(text) is not None
    return SlottedFile(_parts(text, is_ascii, _is_chrome(_parsed(text))), source.encode)


def _parsed(text: str) -> object:
    """Parse the text. orjson would not tell that it has no memory: it crashes, or says that this is no JSON."""
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_int=len, parse_float=len, parse_constant=_no_number)
    except ValueError as error:
        raise FileRefused(f"The file is no JSON: {str(error)[:100]}.") from None
    except RecursionError:
        raise FileRefused("The file is nested too deeply to be taken apart.") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _parts(text: str, is_ascii: bool, chrome: bool) -> Iterator[str | Slot]:
    position = 0
    for string in list(_strings(text)):
        source = text[string.begin : string.end]
        is_wanted = (string.depth, string.key) == (2, "message") if chrome else not string.is_noted
        begin = string.begin
        slot: Slot | None = None
        if string.depth == 1 and string.key == "@@locale":
            slot = Language(lambda target: json.dumps(target))
        elif is_wanted and len(source) > 2:
            slot = _slot(source, is_ascii)
            base = string.key.removesuffix("_other")
            if base != string.key and f"{base}_one" in string.siblings and not base.endswith("_ordinal"):
                line = text[max(string.key_begin - 200, 0) : string.key_begin]
                begin = string.key_begin
                space = line[len(line.rstrip()) :]
                slot = _Other(slot, text[begin : string.begin], base, string.siblings, space)
        if slot is not None:
            yield text[position:begin]
            yield slot
            position = string.end
    yield text[position:]


class _Other:
    """The plural form for all other numbers of i18next, before which those are made that the target language needs."""

    def __init__(self, slot: Slot, key: str, base: str, keys: set[str], space: str) -> None:
        self._slot, self._space = slot, space
        self._key, _, self._colon = key.rpartition('_other"')
        self._has = {name.removeprefix(f"{base}_") for name in keys if name.startswith(f"{base}_")}
        self.texts = slot.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        value = self._slot.render(translations, target)
        made = [category for category in plural_categories(target) if category not in self._has]
        return f",{self._space}".join(f'{self._key}_{category}"{self._colon}{value}' for category in (*made, "other"))


def _slot(source: str, is_ascii: bool) -> Slot:
    value = whole_characters(json.loads(source, strict=False))
    if value is None:
        raise FileRefused("The file is no JSON: a character of a string lacks its other half.")
    # what a writer has escaped for reasons of its own (< in Go, / in PHP) stays escaped
    escapes = {json.loads(f'"{escape}"'): escape for escape in _ESCAPE.findall(source)}
    table = str.maketrans({character: escape for character, escape in escapes.items() if not character.isalnum()})
    for character in '"\\\n\r\t':
        table.pop(ord(character), None)

    def spell(value: str) -> str:
        return json.dumps(value, ensure_ascii=is_ascii).translate(table)

    return value_slot(source, value, spell)


def _strings(text: str) -> Iterator[_String]:
    """Find the string values of valid JSON."""
    keys: list[str | None] = []  # of each open object the last key, of each open array None
    siblings: list[set[str]] = []  # all keys of each
    is_key = False
    key_begin = 0
    noted = 0  # the depth of the outermost key that begins with @, if there is one
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in "{[":
            keys.append("" if mark == "{" else None)
            siblings.append(set())
            is_key = mark == "{"
        elif mark in "}]":
            keys.pop()
            siblings.pop()
            is_key = False
            noted = noted if noted <= len(keys) else 0
        elif mark == ",":
            is_key = keys[-1] is not None
        elif mark == ":":
            is_key = False
        elif is_key:
            key = keys[-1] = json.loads(mark)
            siblings[-1].add(key)
            key_begin = token.start()
            if not noted or noted == len(keys):
                noted = len(keys) if mark.startswith('"@') else 0
        else:
            around = siblings[-1] if siblings else set()
            yield _String(*token.span(), key_begin, around, len(keys), (keys[-1] or "") if keys else "", bool(noted))


def _is_chrome(known: object) -> bool:
    """Tell whether this is a messages.json of a browser extension: objects with a message and notes about it."""
    return (
        isinstance(known, dict)
        and len(known) > 0
        and all(isinstance(entry, dict) and isinstance(entry.get("message"), str) for entry in known.values())
    )
