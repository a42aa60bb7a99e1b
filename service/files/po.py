"""PO files (gettext): messages without a translation get one."""

from collections.abc import Sequence

import polib

from service.files import Aligned, Cursor, FileRefused, Limits, decode
from service.files.html import MarkedUp
from service.text.markup_tokens import Markup

_MARKUP = Markup("xml", has_references=False)  # Pango's, HTML's, Docbook's: & is copied as it is


class PoFile:
    """The messages of a file; those that are translated, fuzzy or obsolete are not changed."""

    def __init__(self, data: bytes) -> None:
        """Parse a file.

        Raises:
            FileRefused: it is not a PO file.
        """
        try:
            # polib would open a file of that name: no name begins with a line break
            self._file = polib.pofile("\n" + decode(data), wrapwidth=_width(data))
        except (OSError, ValueError, IndexError) as error:
            raise FileRefused(f"The file is no PO file: {str(error)[:200] or 'it cannot be parsed'}.") from None
        self._entries = [e for e in self._file if not e.obsolete and not e.fuzzy and not _has_translation(e)]
        sources = (text for entry in self._entries for text in (entry.msgid, entry.msgid_plural) if text)
        self._messages = [MarkedUp(source, _MARKUP) for source in sources]
        self.texts: Sequence[str] = [text for message in self._messages for text in message.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Write the file, with the language in its header."""
        cursor = Cursor(translations)
        rendered = (message.render(cursor.take(message.texts), target) for message in self._messages)
        for entry in self._entries:
            translation = next(rendered) if entry.msgid else ""
            if entry.msgid_plural:
                plural = next(rendered)
                forms = sorted(entry.msgstr_plural) or [0, 1]
                entry.msgstr_plural = {form: translation if form == 0 and len(forms) > 1 else plural for form in forms}
            else:
                entry.msgstr = translation
        if self._file.metadata:
            self._file.metadata["Language"] = target
            self._file.metadata["Content-Type"] = "text/plain; charset=UTF-8"
            self._file.metadata.setdefault("Plural-Forms", "nplurals=2; plural=(n != 1);")
        return (str(self._file).lstrip("\n").rstrip("\n") + "\n").encode()


def read(data: bytes, ending: str, limits: Limits) -> PoFile:
    """Open a PO file."""
    return PoFile(data)


def _has_translation(entry: polib.POEntry) -> bool:
    return bool(entry.msgstr or any(entry.msgstr_plural.values()))


def _width(data: bytes) -> int:
    """Return the longest line of the file, so that messages which are not translated keep their lines."""
    return max((len(line) for line in data.splitlines() if line.startswith(b'"')), default=78) if data else 78
