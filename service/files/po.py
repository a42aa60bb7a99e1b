"""PO files (gettext): messages without a translation get one; every other line comes back to the letter.

Of the header change `Language`, `Plural-Forms` where no message has plural forms yet, and the charset where it lacks
letters of the translation. polib and msgcat would write all strings on lines of their own width.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from service.files import Aligned, FileRefused, Limits
from service.files.charsets import Decoded, decoded
from service.files.html import MarkedUp
from service.files.plural_forms import PluralForms, forms_of, parsed
from service.files.slots import Slot, SlottedText, with_slots
from service.text.markup_tokens import SOFTWARE

_LINE = re.compile(
    r"""[ \t]*+(?>(?:(?P<comment>\#[^\n]*+)
        | (?>(?:(?P<keyword>msgctxt|msgid_plural|msgid|msgstr|domain)(?>(?:\[(?P<form>\d)\])?)[ \t]*+)?)
          (?P<string>"(?>(?:[^"\\\r\n]++|\\[^\r\n])*)")[ \t]*+)?)\r?(?:\n|\Z)""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_NAMED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_SPELT = {ord("\\"): r"\\", ord('"'): r"\"", **{ord(mark): f"\\{name}" for name, mark in _NAMED.items()}}
_FUZZY = re.compile(r"#,(?:[^,]*+,)*?[ \t]*+fuzzy[ \t]*+(?:,|\Z)")
_CHARSET = re.compile(r'"Content-Type:[^"\\]*?charset=([^\s"\\;]*)')
_BROKEN = r'(?>(?:[^"\\]++|"\s*+")*)'  # a field may go on on the next line
_LANGUAGE = re.compile(rf'(?<=["n])Language:({_BROKEN})(?:\\n|)')
_PLURAL_FORMS = re.compile(rf'(?<=["n])Plural-Forms:({_BROKEN})(?:\\n|)')
_JOINT = re.compile(r'"\s*+"')
_TEMPLATE = "CHARSET"
_WIDTH = 79  # columns of a line, after gettext


class _String(NamedTuple):
    """A keyword with its strings: [begin, end) from the first quotation mark to the last."""

    line: int  # where the keyword begins
    begin: int
    end: int
    value: str


class _Entry:
    """The strings of a message."""

    def __init__(self) -> None:
        self.comments: list[str] = []
        self.context: _String | None = None
        self.id: _String | None = None
        self.plural: _String | None = None
        self.translations: list[_String] = []

    @property
    def is_open(self) -> bool:
        """Whether it waits for a translation."""
        return not any(string.value for string in self.translations) and not any(
            _FUZZY.match(comment) for comment in self.comments
        )

    @property
    def is_header(self) -> bool:
        return self.id is not None and not self.id.value and self.context is None


class PoFile:
    """The messages of a file; those that are translated, fuzzy or obsolete are not changed."""

    def __init__(self, data: bytes) -> None:
        """Find the messages.

        Raises:
            FileRefused: it is not a PO file, or its encoding is not known.
        """
        self._source = decoded(data, _charset(data))
        text = self._source.text
        entries = list(_entries(text))
        headers = [entry for entry in entries[:1] if entry.is_header]
        messages = entries[len(headers) :]
        line_break = "\r\n" if "\r\n" in text[:1000] else "\n"
        width = _WIDTH if all(len(line) <= _WIDTH + 1 for line in text.splitlines() if not line.startswith("#")) else 0
        layout = _Layout(line_break, width)
        plurals = [entry for entry in messages if entry.plural is not None]
        may_change = all(entry.is_open for entry in plurals)
        self._header = headers[0].translations[0] if headers else None
        given = _given_forms(text, self._header)
        self._forms = None if may_change or given is None else given
        slots: list[tuple[int, int, Slot]] = []
        if self._header is not None:
            changed = self._forms is None and bool(plurals or given)
            slots.append((self._header.begin, self._header.end, _Header(text, self._header, layout, changed)))
        for entry in messages:
            if entry.is_open and entry.id is not None:
                first, last = entry.translations[0], entry.translations[-1]
                begin = first.begin if entry.plural is None else first.line
                slots.append((begin, last.end, _Message(text, entry, layout, self._forms)))
        self._text = SlottedText(with_slots(text, slots))
        self.texts = self._text.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the file, in UTF-8 where its charset lacks letters of the translation."""
        text = self._text.render(translations, target)
        declared = _CHARSET.search(text)
        if text.isascii() or (declared is not None and declared[1] != _TEMPLATE) or declared is None:
            try:
                return self._source.encode(text)
            except UnicodeEncodeError:
                pass
        if declared is not None:
            text = text[: declared.start(1)] + "UTF-8" + text[declared.end(1) :]
        return Decoded(text, "utf-8").encode(text)


def read(data: bytes, ending: str, limits: Limits) -> PoFile:
    """Open a PO file."""
    return PoFile(data)


class _Layout(NamedTuple):
    """How the strings of a file are written."""

    line_break: str
    width: int  # of a line; 0 where lines are not broken

    def spelt(self, keyword: str, value: str) -> str:
        """Spell the string of a keyword: on its line if it fits, else on lines that end as those of the value do."""
        pieces = [_spelt(piece) for piece in value.splitlines(keepends=True)] if "\n" in value else [_spelt(value)]
        if len(pieces) == 1 and (not self.width or len(keyword) + len(pieces[0]) + 3 <= self.width):
            return f'"{pieces[0]}"'
        lines = [line for piece in pieces for line in self._broken(piece)]
        return self.line_break.join(['""', *(f'"{line}"' for line in lines)])

    def _broken(self, text: str) -> list[str]:
        """Break an escaped text behind spaces."""
        if not self.width:
            return [text]
        lines, line = [], ""
        for word in re.findall(r"[^ ]*+ *+", text):
            if line and len(line) + len(word) + 2 > self.width:
                lines.append(line)
                line = ""
            line += word
        return [*lines, line]


class _Message:
    """The slot of a message's translation; of one with a plural, of all its forms with their keywords."""

    def __init__(self, text: str, entry: _Entry, layout: _Layout, forms: PluralForms | None) -> None:
        assert entry.id is not None  # a message has one
        self._layout, self._forms = layout, forms
        sources = [entry.id.value] + ([entry.plural.value] if entry.plural is not None else [])
        self._indent = text[entry.translations[0].line :][: entry.translations[0].begin - entry.translations[0].line]
        self._indent = self._indent.partition("msgstr")[0]
        self._messages = [MarkedUp(source, SOFTWARE) for source in sources]
        self.texts: Sequence[str] = [text for message in self._messages for text in message.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        count = len(self._messages[0].texts)
        parts = [translations[:count], translations[count:]]
        rendered = [message.render(part, target) for message, part in zip(self._messages, parts, strict=False)]
        if len(rendered) == 1:
            return self._layout.spelt("msgstr", rendered[0])
        forms = self._forms or forms_of(target)
        lines = []
        for form in range(forms.number):
            keyword = f"{self._indent}msgstr[{form}]"
            lines.append(f"{keyword} {self._layout.spelt(keyword, forms.of(form, *rendered))}")
        return self._layout.line_break.join(lines)


class _Header:
    """The slot of the header: the language, and plural forms unless there are translations in those that it has."""

    texts: Sequence[str] = ()

    def __init__(self, text: str, header: _String, layout: _Layout, has_new_forms: bool) -> None:
        self._source = text[header.begin : header.end]
        self._layout, self._has_new_forms = layout, has_new_forms

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        header = self._with(self._source, _LANGUAGE, "Language", target)
        if self._has_new_forms:
            header = self._with(header, _PLURAL_FORMS, "Plural-Forms", forms_of(target).source)
        return header

    def _with(self, header: str, field: re.Pattern[str], name: str, value: str) -> str:
        """Put a field in its place, or behind the others."""
        found = field.search(header)
        if found is None:
            return f'{header}{self._layout.line_break}"{name}: {value}\\n"'
        if _same(_JOINT.sub("", found[1]), value):
            return header
        return f"{header[: found.start()]}{name}: {value}\\n{header[found.end() :]}"


def _same(old: str, new: str) -> bool:
    """Return whether two values say the same: the spaces of an expression are free."""
    return re.sub(r"[\s()]|;$", "", old) == re.sub(r"[\s()]|;$", "", new)


def _charset(data: bytes) -> str | None:
    """Return the charset that a header declares, in any encoding that has ASCII's letters."""
    found = _CHARSET.search(data[:100_000].decode("latin-1"))
    return None if found is None or found[1] in ("", _TEMPLATE) else found[1]


def _given_forms(text: str, header: _String | None) -> PluralForms | None:
    found = _PLURAL_FORMS.search(text[header.begin : header.end]) if header is not None else None
    return None if found is None else parsed(_JOINT.sub("", found[1]))


def _entries(text: str) -> Iterator[_Entry]:
    """Yield the messages in order; lines of obsolete ones are comments.

    Raises:
        FileRefused: a line is not one of a PO file.
    """
    entry = _Entry()
    strings: list[tuple[str, _String]] = []  # keywords of the entry
    position, number = int(text.startswith("\ufeff")), 0
    while position < len(text):
        number += 1
        line = _LINE.match(text, position)
        if line is None:
            raise FileRefused(f"The file is no PO file: line {number:,} is neither a comment nor a string.")
        begins = line["comment"] is not None or line["keyword"] in ("msgctxt", "msgid", "domain")
        if begins and strings and strings[-1][0] in ("msgstr", "domain"):
            yield _entry(entry, strings, number)
            entry, strings = _Entry(), []
        if line["comment"] is not None:
            entry.comments.append(line["comment"])
        elif line["keyword"] is not None:
            strings.append((line["keyword"], _String(line.start(), *line.span("string"), _value(line["string"]))))
        elif line["string"] is not None:
            if not strings:
                raise FileRefused(f"The file is no PO file: the string in line {number:,} has no keyword.")
            keyword, string = strings[-1]
            longer = string._replace(end=line.end("string"), value=string.value + _value(line["string"]))
            strings[-1] = (keyword, longer)
        position = line.end()
    if strings:
        yield _entry(entry, strings, number)


def _entry(entry: _Entry, strings: Sequence[tuple[str, _String]], number: int) -> _Entry:
    """Give an entry its strings."""
    for keyword, string in strings:
        match keyword:
            case "msgctxt":
                entry.context = string
            case "msgid":
                entry.id = string
            case "msgid_plural":
                entry.plural = string
            case "msgstr":
                entry.translations.append(string)
    if strings[0][0] != "domain" and (entry.id is None or not entry.translations):
        raise FileRefused(f"The file is no PO file: the message before line {number:,} has no msgid or no msgstr.")
    return entry


def _value(string: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[3]:
            return _NAMED.get(match[3], match[3])
        return chr(int(match[1], 16) if match[1] else int(match[2], 8) & 0xFF)

    return _ESCAPE.sub(character, string[1:-1])


def _spelt(value: str) -> str:
    return value.translate(_SPELT)
