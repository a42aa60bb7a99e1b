"""Runs of office documents: what follows each other is one text, and its looks follow their words.

A paragraph is a row of pieces: runs of text; elements around some of them, such as links; single ones that stand in the
sentence, such as the mark of a note; and what ends a sentence. A stretch of pieces is one text, in which a look that
differs from most of its surroundings is a pair of tags, as is an element around runs.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple

from service.files import Aligned
from service.files.codes import CODE, WHOLE, Key, Role, partners, tag
from service.files.html import MarkedUp
from service.files.xml_spans import UNWRITABLE, Element
from service.text.markup_tokens import Markup

# Of a run's properties, what nobody sees: editors cut words in pieces by these.
_UNSEEN = re.compile(
    r"""\s(?:lang|altLang|dirty|err|smtClean|noProof|bmk|w:rsid\w*)\s*=\s*(?:"[^"]*"|'[^']*')|(?<!\s)\s++(?=/?>)
      | <w:(?:lang|noProof)\b[^<>]*+>""",
    re.VERBOSE,
)
_NO_PROPERTIES = re.compile(r"<(?:\w+:)?rPr(?:/>|>\s*</(?:\w+:)?rPr>)")
_HYPHENS = {"noBreakHyphen": "\u2011", "softHyphen": "\u00ad"}


class Run(NamedTuple):
    """Text with a look, and how to write another text that looks the same."""

    text: str  # as XML spells it
    look: str
    head: str
    tail: str

    def with_text(self, text: str, *, says_spaces: bool) -> str:
        """Write a run with another text.

        Args:
            text: as XML spells it.
            says_spaces: whether spaces at the ends count only where an attribute says so.
        """
        head, text = self.head, UNWRITABLE.sub("", text).replace("]]>", "]]&gt;")
        if says_spaces and text != text.strip() and "xml:space" not in head.rpartition("<")[2]:
            head = f'{head[:-1]} xml:space="preserve">'
        return f"{head}{text}{self.tail}"


class Piece(NamedTuple):
    """A piece of a paragraph, [begin, end) in its document."""

    kind: Literal["run", "open", "close", "single", "break"]
    begin: int
    end: int
    key: Key = Key("", "")
    run: Run | None = None
    is_trimmed: bool = False  # at the ends of a text, as what nobody sees

    @property
    def role(self) -> Role:
        """What it may be a pair with."""
        return Role(self.kind, self.key) if self.kind in ("open", "close") else Role("other")


def run_of(document: str, element: Element) -> Run | None:
    """Return a run, or a text without one; None of anything else."""
    parts = [element] if element.local_name == "t" else element.children if element.local_name == "r" else []
    texts = [part for part in parts if part.local_name == "t"]
    holders = [part for part in texts if part.inner_begin < part.end]
    others = [part for part in parts if part.local_name != "t"]
    if not holders or any(part.local_name not in ("rPr", "lastRenderedPageBreak", *_HYPHENS) for part in others):
        return None
    text = "".join(
        _HYPHENS.get(part.local_name, document[part.inner_begin : part.inner_end] if part.local_name == "t" else "")
        for part in parts
    )
    if "<" in text:
        return None
    properties = "".join(document[part.begin : part.end] for part in others if part.local_name == "rPr")
    look = _NO_PROPERTIES.sub("", _UNSEEN.sub("", properties))
    first = holders[0]
    before = first.begin if element is not first else element.begin
    start = document[element.begin : element.inner_begin] + properties if element is not first else ""
    head = start + document[before : first.inner_begin]
    return Run(text, look, head, document[first.inner_end : first.end] + (f"</{element.name}>" if start else ""))


def pieces_of(document: str, holder: Element) -> Iterator[Piece]:
    """Yield the pieces of a paragraph or a string that knows no elements around runs; a field is single."""
    for child in holder.children:
        run = run_of(document, child)
        kind: Literal["run", "single", "break"] = "run" if run else "single" if child.local_name == "fld" else "break"
        yield Piece(kind, child.begin, child.end, run=run, is_trimmed=kind == "single")


def stretches(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces that are one text. An element around what ends a sentence ends one itself."""
    pairs = partners([piece.role for piece in pieces])
    breaks = [0]
    for piece in pieces:
        breaks.append(breaks[-1] + (piece.kind == "break"))
    stretch: list[Piece] = []
    for number, piece in enumerate(pieces):
        partner = pairs.get(number)
        ends = piece.kind == "break"
        if piece.key.family == WHOLE:
            ends = partner is None or breaks[max(number, partner)] > breaks[min(number, partner)]
        if not ends:
            stretch.append(piece)
            continue
        yield from _trimmed(stretch)
        stretch = []
    yield from _trimmed(stretch)


def _trimmed(stretch: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Yield a stretch that has text, without what is trimmed at its ends, unless that is one of a pair."""
    pairs = partners([piece.role for piece in stretch])
    wanted = [n for n, piece in enumerate(stretch) if not piece.is_trimmed or n in pairs]
    if any(piece.run is not None and piece.run.text for piece in stretch):
        yield list(stretch[wanted[0] : wanted[-1] + 1])


class Runs:
    """A slot: a stretch with nothing but white space between its pieces."""

    __slots__ = (
        "_codes",
        "_marked",
        "_runs",
        "_says_spaces",
        "_source",
        "_value",
        "texts",
    )  # a file may have thousands

    def __init__(self, document: str, stretch: Sequence[Piece], *, joins_lines: bool, says_spaces: bool) -> None:
        """Take a stretch.

        Args:
            document: the text that the pieces stand in.
            stretch: in order.
            joins_lines: whether a line break is a space.
            says_spaces: whether spaces at the ends count only where an attribute says so.
        """
        self._says_spaces = says_spaces
        self._source = document[stretch[0].begin : stretch[-1].end]
        self._codes: dict[str, str] = {}
        self._runs: dict[str, Run] = {}  # what text looks like behind a start tag; "" for the outermost
        self._value = self._markup(document, stretch)
        self._marked = MarkedUp(self._value, Markup("xml", joins_lines=joins_lines))
        self.texts = self._marked.texts

    def _markup(self, document: str, stretch: Sequence[Piece]) -> str:
        """Write the stretch with tags for its codes and looks."""
        pairs = partners([piece.role for piece in stretch])
        around, holders = [""], []  # the start tags around each piece
        lengths: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for number, piece in enumerate(stretch):
            if pairs.get(number, number) < number:
                around.pop()
            holders.append(around[-1])
            if piece.run is not None:
                lengths[around[-1]][piece.run.look] += len(piece.run.text)
            if pairs.get(number, number) > number:
                around.append(tag(number, pairs[number]))
        most = {holder: max(looks, key=lambda look: looks[look]) for holder, looks in lengths.items()}
        markup = []
        for (_, look), group in groupby(
            enumerate(stretch), lambda item: (holders[item[0]], item[1].run and item[1].run.look)
        ):
            members = list(group)
            if look is None:
                for number, piece in members:
                    markup.append(tag(number, pairs.get(number)))
                    self._codes[markup[-1]] = document[piece.begin : piece.end]
                continue
            number, run, holder = members[0][0], members[0][1].run, holders[members[0][0]]
            assert run is not None  # it has a look
            text = "".join(piece.run.text for _, piece in members if piece.run is not None)
            if look == most[holder]:
                self._runs.setdefault(holder, run)
                markup.append(text)
            else:
                self._runs[f"<g{number}>"] = run
                markup.append(f"<g{number}>{text}</g{number}>")
        self._runs.setdefault("", next(iter(self._runs.values())))
        return "".join(markup)

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the pieces in the order of the translation."""
        rendered = self._marked.render(translations, target)
        return self._source if rendered == self._value else "".join(self._pieces(rendered))

    def _pieces(self, rendered: str) -> Iterator[str]:
        path = [self._runs[""]]
        for number, piece in enumerate(CODE.split(rendered)):
            if number % 2 == 0:
                yield path[-1].with_text(piece, says_spaces=self._says_spaces) if piece else ""
                continue
            if piece.startswith("</"):
                path.pop()
            elif not piece.endswith("/>"):
                path.append(self._runs.get(piece, path[-1]))
            yield self._codes.get(piece, "")
