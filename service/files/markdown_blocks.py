"""Blocks of Markdown's dialects, written for a parser of CommonMark: lines in, as many lines out.

Alerts (`> [!NOTE]`), containers (`:::tip`), admonitions (`!!! note`), tabs, footnotes, definitions, formulas, and tags
of templates become what holds the same text in CommonMark: comments, headings, items of lists and code.
"""

import re
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

_NOTHING = "<!---->"
_ITEM = "-   "  # what belongs to it is indented by four, as is the content of footnotes and admonitions
_CODE = "~" * 20
_QUOTE = r"[ \t]*+(?>(?:>[ \t]*+)*)"
_ALERT = re.compile(r"(?P<prefix>[ \t]*+(?>(?:>[ \t]*+)+))\[!\w++\][+-]?[ \t]*+(?P<title>.*)")
_CONTAINER = re.compile(
    rf"""(?P<prefix>{_QUOTE}):::++[ \t]*+(?:\{{[^{{}}]*+\}}|[\w-]*+)(?>(?:\{{[^{{}}]*+\}}|\[|[ \t])*)
         (?P<title>[^\[\]{{}}]*+)\]?(?:\{{[^{{}}]*+\}})?[ \t]*+""",
    re.VERBOSE,
)
_ADMONITION = re.compile(
    r"""(?P<prefix>[ \t]*+)(?:(?:!!!|\?\?\?\+?)[ \t]++(?>(?:[\w-]++[ \t]*+)+)|===[+!]*[ \t]++(?="))
        (?>(?:"(?P<title>[^"]*+)")?)\s*+""",
    re.VERBOSE,
)
_FOOTNOTE = re.compile(r"(?P<prefix> {0,3})\[\^[^\[\]\s]++\]:[ \t]*+(?P<title>(?:\S.*)?)")
_DEFINITION = re.compile(r"(?P<prefix> {0,3}):(?P<space>[ \t]++)(?P<title>\S.*)")
_TEMPLATE = re.compile(  # {{< note >}} {{% note %}} {% note %}
    rf"(?P<prefix>{_QUOTE})(?>(?:\{{\{{(?:<[^{{}}>]*+>|%[^{{}}%]*+%)\}}\}}|\{{%[^{{}}%]*+%\}})[ \t]*+)+"
)
_FORMULA = re.compile(rf"(?P<prefix>{_QUOTE})(?P<mark>\$\$|\\\[|\\begin\{{\w++\*?\}})\s*+")
_FORMULA_ENDS = {"$$": "$$", "\\[": "\\]", "\\begin": "}"}


class Line(NamedTuple):
    """A line for the parser."""

    text: str
    begin: int = 0  # where, in the line of the file, the text may begin that the parser finds
    is_changed: bool = False


def commonmark(lines: Sequence[str]) -> list[Line]:
    """Rewrite lines, without their breaks."""
    made: list[Line] = []
    formulas = _formulas(lines)
    indents = _indents_of_next(lines)
    for number, line in enumerate(lines):
        if number in formulas:
            made.append(Line(formulas[number] + _CODE, is_changed=True))
        elif (block := _ALERT.fullmatch(line) or _CONTAINER.fullmatch(line)) is not None:
            made.append(_titled(block, ""))
        elif (block := _TEMPLATE.fullmatch(line)) is not None:
            made.append(Line(block["prefix"] + _NOTHING, is_changed=True))
        elif (block := _ADMONITION.fullmatch(line)) is not None and indents[number] >= len(block["prefix"]) + 2:
            made.append(_titled(block, _ITEM))
        elif (block := _FOOTNOTE.fullmatch(line)) is not None:
            text = block["title"] or _NOTHING
            made.append(Line(f"{block['prefix']}{_ITEM}{text}", block.start("title"), is_changed=True))
        elif (block := _DEFINITION.fullmatch(line)) is not None:
            made.append(
                Line(f"{block['prefix']}-{block['space']}{block['title']}", block.start("title"), is_changed=True)
            )
        else:
            made.append(Line(line))
    return made


def _titled(block: re.Match[str], item: str) -> Line:
    """Write the first line of a block, whose title is a text of its own."""
    title = block["title"]
    text = f"# {title}" if title and title.strip() else _NOTHING
    return Line(f"{block['prefix']}{item}{text}", max(block.start("title"), 0), is_changed=True)


def _indents_of_next(lines: Sequence[str]) -> list[int]:
    """Return for each line how far the next one that is not empty is indented."""
    indents, indent = [], 0
    for line in reversed(lines):
        indents.append(indent)
        if line.strip():
            plain = line.expandtabs(4)
            indent = len(plain) - len(plain.lstrip(" "))
    return indents[::-1]


def _formulas(lines: Sequence[str]) -> dict[int, str]:
    """Return the lines that begin or end a formula of several lines, with what stands before it."""
    ends = {
        mark: [n for n, line in enumerate(lines) if line.rstrip().endswith(end)] for mark, end in _FORMULA_ENDS.items()
    }
    blank = [n for n, line in enumerate(lines) if not line.strip()]
    found: dict[int, str] = {}
    last = -1
    for number, line in enumerate(lines):
        formula = _FORMULA.fullmatch(line) if number > last else None
        if formula is None:
            continue
        closing = ends[formula["mark"].partition("{")[0]]
        place = bisect_right(closing, number)
        if place < len(closing) and bisect_right(blank, closing[place]) == bisect_right(blank, number):
            last = closing[place]
            found[number] = found[last] = formula["prefix"]
    return found
