"""Character references of HTML and XML."""

import html
import re

REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);?")
# No character has such a number; Python refuses to read one of thousands of digits.
_ENDLESS = re.compile(r"(&#(?:[0-9]{20,}+|[xX][0-9a-fA-F]{20,}+);?)")


def unescape(text: str) -> str:
    """Return the text with the characters that its references stand for; a number of 20 digits or more is copied."""
    if "&" not in text:
        return text
    return "".join(piece if number % 2 else html.unescape(piece) for number, piece in enumerate(_ENDLESS.split(text)))
