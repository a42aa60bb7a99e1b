"""Marks of a document that say which language it is in; a translation bears the target's.

A mark of another language than the document's own stays: it is that of a quotation, which a translation may keep.
"""

import re
from collections import Counter
from collections.abc import Iterable


def language_mark(old: str, target: str) -> str:
    """Return the new value of a mark: as it was if it names the target, with a region or without.

    Args:
        old: the value, such as en-US.
        target: the code of the language that the document was translated to.
    """
    return old if _base(old) == _base(target) else target


class DocumentLanguage:
    """The language that most marks of an office document name; the first of those where several are as frequent."""

    def __init__(self, mark: re.Pattern[bytes], parts: Iterable[bytes]) -> None:
        """Count the marks.

        Args:
            mark: finds one. Its groups are what stands before a code, the code and, if regions are marks of their own,
                what stands between and the region.
            parts: the document's parts, in an encoding that has ASCII's letters.
        """
        self._mark = mark
        bases = Counter(_base(found[2].decode()) for part in parts for found in mark.finditer(part))
        self._own = bases.most_common(1)[0][0] if bases else None

    def set(self, part: bytes, target: str) -> bytes:
        """Return a part whose marks of the document's language name the target."""

        def renamed(found: re.Match[bytes]) -> bytes:
            code = found[2].decode()
            if _base(code) != self._own or language_mark(code, target) == code:
                return found[0]
            region = (found[3] + (b"none" if found[4] else b"")) if self._mark.groups == 4 else b""
            return found[1] + target.encode() + region

        return part if self._own is None else self._mark.sub(renamed, part)


def _base(code: str) -> str:
    """Return a language without its script and region."""
    return code.lower().replace("_", "-").partition("-")[0]
