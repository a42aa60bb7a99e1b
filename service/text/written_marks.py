"""Marks of Markdown in texts that are not Markdown: emphasis around words, and links, as people write them anywhere."""

import re

EMPHASIS = frozenset({"*", "**", "***", "_", "__", "___", "~~", "=="})

# A pair on one line, not within words. What has two underscores before it and no space in it is an identifier.
_PAIRS = (
    re.compile(r"(?<![\w*\\/])(\*{1,3})(?=[^\s*.])[^*\n]*?(?<=[^\s*])(\1)(?![\w*])"),
    re.compile(r"(?<![\w\\/])(_)(?=[^\s_])[^_\n]*?(?<=[^\s_])(\1)(?!\w)"),
    re.compile(r"(?<![\w\\/])(__)(?=[^\s_]++[^\S\n])[^_\n]*?(?<=[^\s_])(\1)(?!\w)"),
    re.compile(r"(?<!~)(~~)(?=[^\s~])[^~\n]*?(?<=[^\s~])(\1)(?!~)"),
    re.compile(r"(?<![\w\]\\])(!?\[)[^\[\]\n]*+(\]\((?:[^()\s]|\([^()\s]*+\))++\))"),
)
_HINT = re.compile(r"</|/>|<br|\*\S|_\S|~~|\]\(")


def may_have_pairs(text: str) -> bool:
    """Return whether a text has something of a pair of tags or marks: most have not, and are searched no further."""
    return _HINT.search(text) is not None


def written_marks(text: str) -> list[tuple[int, int]]:
    """Find the two marks of each pair, in order; pairs of different marks may cross."""
    return sorted(
        span for pattern in _PAIRS for match in pattern.finditer(text) for span in (match.span(1), match.span(2))
    )
