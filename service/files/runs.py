"""Runs of office documents: what follows each other is one text, and its looks follow their words."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from service.files import Aligned
from service.files.html import MarkedUp
from service.files.xml_spans import UNWRITABLE, Element
from service.text.markup_tokens import Markup

_MARKED = re.compile(r"(</?g\d+>)")
# Of a run's properties, what nobody sees: editors cut words in pieces by these.
_UNSEEN = re.compile(
    r"""\s(?:lang|altLang|dirty|err|smtClean|noProof|bmk)\s*=\s*(?:"[^"]*"|'[^']*')|(?<!\s)\s++(?=/?>)"""
)


class Run(NamedTuple):
    """A run in the text of its document."""

    begin: int
    end: int
    text_begin: int  # its text, as XML spells it, within the tags of its element
    text_end: int
    look: str  # its properties


def stretches(document: str, holder: Element) -> Iterator[list[Run]]:
    """Yield the runs of a paragraph or a string that follow each other; breaks and fields stand between stretches."""
    stretch: list[Run] = []
    for child in holder.children:
        run = _run(document, child)
        if run is not None:
            stretch.append(run)
        elif stretch:
            yield stretch
            stretch = []
    if stretch:
        yield stretch


def _run(document: str, element: Element) -> Run | None:
    """Return a run, or a text without one; None of anything else."""
    texts = [element] if element.local_name == "t" else []
    if element.local_name == "r":
        texts = [part for part in element.children if part.local_name == "t"]
    if len(texts) != 1 or texts[0].inner_begin == texts[0].end:
        return None
    begin, end = texts[0].inner_begin, texts[0].inner_end
    if "<" in document[begin:end]:
        return None
    properties = "".join(document[part.begin : part.end] for part in element.children if part.local_name == "rPr")
    return Run(element.begin, element.end, begin, end, _UNSEEN.sub("", properties))


class Runs:
    """A slot: runs with nothing but white space between them."""

    def __init__(self, document: str, runs: Sequence[Run], *, keeps_spaces: bool) -> None:
        """Take a stretch.

        Args:
            document: the text that the runs stand in.
            runs: in order.
            keeps_spaces: whether a line break is one, and spaces at the ends count only where an element says so.
        """
        self._keeps_spaces = keeps_spaces
        self._source = document[runs[0].begin : runs[-1].end]
        self._groups = [_Group(document, list(group)) for _, group in groupby(runs, key=lambda run: run.look)]
        lengths: dict[str, int] = {}
        for group in self._groups:
            lengths[group.look] = lengths.get(group.look, 0) + len(group.text)
        most = max(self._groups, key=lambda group: lengths[group.look])
        self._most = self._groups.index(most)
        self._value = "".join(
            group.text if group.look == most.look else f"<g{number}>{group.text}</g{number}>"
            for number, group in enumerate(self._groups)
        )
        self._marked = MarkedUp(self._value, Markup("xml", joins_lines=not keeps_spaces))
        self.texts = self._marked.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the runs in the order of the translation."""
        rendered = self._marked.render(translations, target)
        return self._source if rendered == self._value else "".join(self._runs(UNWRITABLE.sub("", rendered)))

    def _runs(self, rendered: str) -> Iterator[str]:
        look = self._most
        for piece in _MARKED.split(rendered):
            if _MARKED.fullmatch(piece):
                look = self._most if piece.startswith("</") else int(piece[2:-1])
            elif piece:
                yield self._groups[look].with_text(piece, keeps_spaces=self._keeps_spaces)


class _Group:
    """Runs that look the same; a translation stands in the first."""

    def __init__(self, document: str, runs: Sequence[Run]) -> None:
        first = runs[0]
        self.look = first.look
        self.text = "".join(document[run.text_begin : run.text_end] for run in runs)
        self._head = document[first.begin : first.text_begin]
        self._tail = document[first.text_end : first.end]

    def with_text(self, text: str, *, keeps_spaces: bool) -> str:
        head = self._head
        if keeps_spaces and text != text.strip() and "xml:space" not in head.rpartition("<")[2]:
            head = f'{head[:-1]} xml:space="preserve">'
        return f"{head}{text}{self._tail}"
