"""Encodings that a file declares, and the one of its format; a file is written in the encoding that it was read in.

UTF-8 and UTF-16 with a byte order mark need no declaration. What is neither may be windows-1252 where editors still
write that without saying so, if most of its letters are ASCII: text of another alphabet would be nonsense in it.
"""

import codecs
import re
from typing import Literal, NamedTuple

from service.files import FileRefused

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # which begins as UTF-16 does
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
# In these a letter of ASCII is always the same byte, so that a declaration can be read before the encoding is known.
_KNOWN = ("utf-8", "ascii", "iso8859", "cp125", "koi8", "gb", "big5", "euc", "shift_jis", "mac-")
# What browsers read for these: HTML's standard has no other meaning for them.
_BROWSERS = {"iso8859-1": "cp1252", "ascii": "cp1252"}
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
OnUnwritable = Literal["strict", "xmlcharrefreplace"]


class Decoded(NamedTuple):
    """The text of a file, with its byte order mark, and the encoding that it was in."""

    text: str
    codec: str

    def encode(self, text: str, unwritable: OnUnwritable = "strict") -> bytes:
        """Encode a text as the file was.

        Args:
            text: with the mark that it had.
            unwritable: whether a character that the encoding lacks becomes a reference of HTML.

        Raises:
            UnicodeEncodeError: a character cannot be written.
        """
        return text.encode(self.codec, unwritable)


def decoded(data: bytes, declared: str | None = None, *, is_html: bool = False) -> Decoded:
    """Decode a file by its byte order mark, as UTF-8 if it is that, whatever it declares, or by its declaration.

    Bytes of another encoding are hardly ever UTF-8 by accident, while editors save pages in it and leave what they
    declare.

    Args:
        data: the file.
        declared: the encoding that it names.
        is_html: whether the declaration means what it means to browsers.

    Raises:
        FileRefused: it is not text in that encoding, or the encoding is not known.
    """
    codec = next((codec for mark, codec in _MARKS.items() if data.startswith(mark)), "utf-8")
    if codec == "utf-8" and declared is not None and (data.isascii() or not _is_utf_8(data)):
        codec = _named(declared)
        codec = _BROWSERS.get(codec, codec) if is_html else codec
    try:
        text = data.decode(codec)
        if codec != "utf-8" and text.encode(codec) != data:
            raise FileRefused(f"The file's encoding {codec!r} can't be written as it was; save it in UTF-8.")
        return Decoded(text, codec)
    except UnicodeError:
        if declared is None:
            raise FileRefused("The file is not text in UTF-8; convert it first.") from None
        raise FileRefused(f"The file is not text in {declared[:20]!r}, which it says it is.") from None


def decoded_or_western(data: bytes) -> Decoded:
    """Decode a file of a format that says nothing of its encoding: UTF-8, UTF-16 by its mark, or windows-1252.

    Raises:
        FileRefused: it is text in none of them, or not in a language that windows-1252 is for.
    """
    try:
        return decoded(data)
    except FileRefused:
        text = data.decode("cp1252", "replace")
        letters = [character for character in text if character.isalpha()]
        if "\ufffd" in text or _CONTROL.search(text) or 2 * sum(map(str.isascii, letters)) <= len(letters):
            raise
        return Decoded(text, "cp1252")


def encoded_or_unicode(text: str, source: Decoded) -> bytes:
    """Encode a text as its file was, or as UTF-8 with a mark if the translation has characters that this lacks."""
    try:
        return source.encode(text)
    except UnicodeEncodeError:
        return codecs.BOM_UTF8 + text.encode()


def _named(declared: str) -> str:
    try:
        codec = codecs.lookup(declared).name
    except (LookupError, ValueError):
        codec = ""
    if codec == "utf-16" or codec.startswith("utf-16-"):
        return "utf-8"  # it has no mark, and the declaration could be read
    if not codec.startswith(_KNOWN):
        raise FileRefused(f"The file's encoding {declared[:20]!r} is not known; save it in UTF-8.")
    return codec


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
