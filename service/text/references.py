"""Character references of HTML and XML."""

import html
import re

REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);?")
_ENDLESS = re.compile(r"&#(?:[0-9]{20,}+|[xX][0-9a-fA-F]{20,}+);?")
_REPLACEMENT = "\ufffd"  # what HTML reads where no character has the number


def unescape(text: str) -> str:
    """Return the text with the characters that its references stand for; Python refuses to read thousands of digits."""
    return html.unescape(_ENDLESS.sub(_REPLACEMENT, text))
