"""Sentences in their texts: from the engine's hypotheses, in any order, to whole translations."""

import itertools
import re
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kernels.engine import Hypothesis, Sentence, SentenceResult
from service.text import names, no_break_spaces, numbers, placeholders
from service.text.alignment import Link, links, moved
from service.text.glossary import Term, are_obeyed
from service.text.names import Name
from service.text.placeholders import Restored, Span, Unit
from service.text.sentences import Piece
from service.translation.cost import Rungs, milliseconds_since
from service.translation.results import Candidate, OnSentence, TranslatedSentence, Translation
from service.translation.tokenizer import Tokenizer


class SourceSentence(NamedTuple):
    """A part of a text, and what the engine gets of it: None for what is copied.

    Attributes:
        piece: The part, with its kept units.
        engine_input: Its ids, with masks for the units.
        is_cut: It is the first part of a sentence that was too long.
        stands: What stands for each unit in the translation, where numbers and terms are units too.
        terms: Those of the glossary that are no units.
        names: Those that the translation must have and that are no units.
        languages: Of the part and of its translation.
    """

    piece: Piece
    engine_input: Sentence | None
    is_cut: bool = False
    stands: tuple[str, ...] | None = None
    terms: Sequence[Term] = ()
    names: Sequence[Name] = ()
    languages: tuple[str, str] = ("", "")

    @property
    def units(self) -> list[Unit]:
        """The units, each of which the translation must have once."""
        units = placeholders.units(self.piece.text, self.piece.kept)
        if self.stands is None:
            return units
        return [unit._replace(text=text) for unit, text in zip(units, self.stands, strict=True)]

    @property
    def copied(self) -> str:
        """What stands in the translation where nothing of the part is translated."""
        text, position = [], 0
        for (begin, end), unit in zip(self.piece.kept, self.units, strict=True):
            text += [self.piece.text[position:begin], unit.text]
            position = end
        return "".join([*text, self.piece.text[position:]])

    def has_its_numbers(self, decoded: str) -> bool:
        """Return whether a translation that still has its masks has the numbers of the source; made-up ones are none.

        A source without a number in digits may have some in words.
        """
        text = placeholders.outside(self.piece.text, self.piece.kept)
        translation = placeholders.unmasked(decoded, len(self.piece.kept))
        if not numbers.keeps_marked(text, translation, self.languages[1]):
            return False
        if self.stands is None and not any(map(str.isdecimal, text)):
            return not numbers.are_made_up(text, self.languages[0], translation)
        return numbers.agree(text, self.languages[0], translation, self.languages[1])


Document = list[SourceSentence]  # all of a text
_SENTENCE_END = ".!?…。！？"
_FIRST_WORD = re.compile(r"[^\W\d_][^\W\d_A-Z]*(?!\w)")  # a capital at most at its begin


class _Place(NamedTuple):
    """The place of a sentence to translate: its text, its number there, and the character it begins at."""

    text: int
    number: int
    begin: int
    is_last: bool
    sentence: SourceSentence


def joined_copies(sentences: Iterable[SourceSentence]) -> Iterator[SourceSentence]:
    """Join neighbours that are copied: a text of lines without words has one part, not thousands."""
    for is_copied, group in itertools.groupby(sentences, _is_copied):
        if is_copied:
            yield SourceSentence(Piece("".join(sentence.piece.text for sentence in group), False), None)
        else:
            yield from group


def _is_copied(sentence: SourceSentence) -> bool:
    """Tell whether a part comes back to the letter, and nothing else is known of it."""
    return sentence.engine_input is None and sentence.stands is None and not sentence.is_cut


def engine_sentences(documents: Sequence[Document]) -> list[Sentence]:
    """Return what the engine is to translate, in order."""
    return [
        sentence.engine_input for document in documents for sentence in document if sentence.engine_input is not None
    ]


class Arrivals:
    """The translated sentences of a request, in whatever order they arrive; passed on in the order of their text."""

    def __init__(
        self,
        documents: Sequence[Document],
        tokenizer: Tokenizer,
        on_sentence: OnSentence | None = None,
        wanted: int | None = None,
    ) -> None:
        """Expect the `engine_sentences` of the documents; nothing has arrived yet.

        Args:
            documents: the texts.
            tokenizer: writes the hypotheses.
            on_sentence: is called with each sentence, those of a text in its order.
            wanted: the most candidates of a sentence; None for all that are good.
        """
        self._tokenizer, self._on_sentence, self.wanted = tokenizer, on_sentence, wanted
        self._places = [place for text, document in enumerate(documents) for place in _places(text, document)]
        self._pending: dict[int, deque[int]] = defaultdict(deque)  # of each text, the sentences not passed on yet
        for index, place in enumerate(self._places):
            self._pending[place.text].append(index)
        self._candidates: list[list[Candidate] | None] = [None] * len(self._places)
        # of failed sentences that lost no unit, only numbers, terms or names: the first with its numbers, or the first
        self._nearest: dict[int, tuple[Candidate, bool]] = {}
        self._again: dict[int, SourceSentence] = {}  # failed sentences as they were searched again
        self.failed: list[int] = []  # sentences whose every hypothesis lost a unit, a number, a term or a name
        self.rungs = Rungs()
        self.detokenize_ms = 0.0

    def ready(self, index: int, result: SentenceResult) -> None:
        """Take the result of sentence `index`: some ten microseconds; milliseconds where words are linked."""
        self.read(index, result.hypotheses)

    def read(self, index: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Take the hypotheses of sentence `index`, best first."""
        started = time.perf_counter()
        sentence, first_is_good = self.sentence(index), False
        candidates: list[Candidate] = []
        for rank, hypothesis in enumerate(hypotheses):
            if len(candidates) == self.wanted:
                break
            decoded = self._tokenizer.decode(hypothesis.ids)
            restored = placeholders.restore(decoded, sentence.units)
            if restored is None:
                continue
            read = decoded if sentence.piece.kept else restored.text  # without a sign that the model made up
            has_numbers = sentence.has_its_numbers(read)
            has_terms = has_numbers and are_obeyed(sentence.terms, sentence.piece.text, restored.text)
            if has_terms and not names.lost(sentence.names, restored.text):
                candidates.append(self._candidate(sentence, hypothesis, decoded, restored))
                first_is_good = first_is_good or rank == 0
            elif index not in self._nearest or (has_numbers and not self._nearest[index][1]):
                self._nearest[index] = self._candidate(sentence, hypothesis, decoded, restored), has_numbers
        if hypotheses and not candidates:
            self.failed.append(index)
        else:
            self.rungs += Rungs(next_best=bool(hypotheses) and not first_is_good)
            self._take(index, candidates)
        self.detokenize_ms += milliseconds_since(started)

    def nearest(self, index: int) -> Candidate | None:
        """Return the best hypothesis of a failed sentence that lost no unit, but a number, a term or a name."""
        near = self._nearest.get(index)
        return near and near[0]

    def replace_found(self, again: Mapping[int, SourceSentence], arrived: "Arrivals", rung: Rungs) -> None:
        """Give failed sentences what another search found; those for which it found nothing stay failed.

        Args:
            again: failed sentences by their number, as they were searched again.
            arrived: what was found.
            rung: what to count for each sentence that has it.
        """
        for (index, sentence), candidates in zip(again.items(), arrived._candidates, strict=True):
            if candidates:
                self.rungs += rung
                self._take(index, candidates)
            else:
                self._again[index] = sentence
        self.failed = [index for index in self.failed if self._candidates[index] is None]
        self.detokenize_ms += arrived.detokenize_ms

    def searched(self, index: int) -> SourceSentence:
        """Return a failed sentence as it was searched last."""
        return self._again.get(index, self.sentence(index))

    def replace_failed(self, parts: Sequence[Document], arrived: "Arrivals") -> None:
        """Give each failed sentence the joined translations of its parts, or its source where they too lost a unit.

        Args:
            parts: the failed sentences, cut at their units.
            arrived: the translations of the parts.
        """
        candidates = arrived.candidates()
        for index, document in zip(self.failed, parts, strict=True):
            own = [
                [self._as_part(sentence.piece.text, candidate, is_first=number == 0) for candidate in next(candidates)]
                for number, sentence in enumerate(document)
                if sentence.engine_input is not None
            ]
            best, alternatives, *_ = join(document, iter(own))
            source, kept = self.sentence(index).piece.text, "\n".join(unit.text for unit in self.sentence(index).units)
            # a word and the mark beside it may form a placeholder that the source does not have
            self._take(
                index,
                [
                    candidate if placeholders.same(candidate.text, kept) else Candidate(source, candidate.score)
                    for candidate in (best, *alternatives)
                ],
            )
        self.rungs += Rungs(cut=len(self.failed))
        self.detokenize_ms += arrived.detokenize_ms

    def _as_part(self, source: str, candidate: Candidate, *, is_first: bool) -> Candidate:
        """Return the translation of a part of a sentence without what the model adds to make a sentence of it."""
        text = candidate.text
        if source[-1] not in _SENTENCE_END:
            text = text.rstrip(_SENTENCE_END) or text
        word = _FIRST_WORD.match(text)
        if not is_first and source[0].islower() and word is not None:
            lowered = word[0].lower()
            if len(lowered) == len(word[0]) and self._tokenizer.is_commoner(lowered, word[0]):
                text = lowered + text[len(lowered) :]
        alignment = tuple(link for link in candidate.alignment if link.target[1] <= len(text))
        return candidate._replace(text=text, alignment=alignment)

    def sentence(self, index: int) -> SourceSentence:
        """Return the sentence of a number."""
        return self._places[index].sentence

    def candidates(self) -> Iterator[list[Candidate]]:
        """Return the candidates of each sentence, best first; all must have arrived.

        A part that was cut may have failed: it has one that lacks a term, but none that has other numbers.
        """
        nearest = (self._nearest.get(index) for index in range(len(self._places)))
        return (
            candidates or ([near[0]] if near is not None and near[1] else [])
            for candidates, near in zip(self._candidates, nearest, strict=True)
        )

    def translated(self) -> list[TranslatedSentence]:
        """Return each sentence with its best translation; all must have arrived."""
        return [
            _translated(place, candidates or [])
            for place, candidates in zip(self._places, self._candidates, strict=True)
        ]

    def _candidate(
        self, sentence: SourceSentence, hypothesis: Hypothesis, decoded: str, restored: Restored
    ) -> Candidate:
        """Link the words of a hypothesis, which takes most of its time, and put its no-break spaces in."""
        aligned = self._links(sentence, hypothesis, decoded, restored)
        text, moves = no_break_spaces.restore(sentence.piece.text, sentence.piece.kept, restored.text, aligned)
        aligned = [link._replace(target=placeholders.followed(link.target, moves)) for link in aligned]
        return Candidate(text, hypothesis.score, tuple(aligned))

    def _links(self, sentence: SourceSentence, hypothesis: Hypothesis, decoded: str, restored: Restored) -> list[Link]:
        """Link the words of a sentence and its translation, which the tokenizer read and wrote with masks."""
        if hypothesis.alignment is None or (not sentence.piece.kept and restored.text != decoded):
            return []
        source = placeholders.hide(sentence.piece.text, sentence.piece.kept)
        moves = placeholders.hidden(sentence.piece.text, sentence.piece.kept)
        spans = self._tokenizer.spans(source)
        # without eos, and without the language's token
        behind = self._tokenizer.behind
        attention = [row[len(row) - behind - len(spans) : len(row) - behind] for row in hypothesis.alignment[:-1]]
        return [
            Link(placeholders.followed(link.source, moves), placeholders.followed(link.target, restored.moves))
            for link in links(attention, source, spans, decoded, self._tokenizer.decoded_spans(hypothesis.ids))
        ]

    def _take(self, index: int, candidates: list[Candidate]) -> None:
        self._candidates[index] = candidates[: self.wanted]
        if self._on_sentence is not None:
            self._pass_on(self._pending[self._places[index].text], self._on_sentence)

    def _pass_on(self, pending: deque[int], on_sentence: OnSentence) -> None:
        while pending and (candidates := self._candidates[pending[0]]) is not None:
            sentence = _translated(self._places[pending.popleft()], candidates)
            on_sentence(sentence._replace(best=sentence.best._replace(score=round(sentence.best.score, 6))))


def join(document: Document, candidates: Iterator[list[Candidate]]) -> Translation:
    """Return the translation of a text: the rank-r candidates of its sentences, joined, are its rank-r candidate.

    Args:
        document: the text.
        candidates: of each sentence to be translated, best first; those of this text are taken.
    """
    columns = [[] if sentence.engine_input is None else next(candidates) for sentence in document]
    translated = sum(sentence.engine_input is not None for sentence in document)
    ranked = []
    for rank in range(max((len(column) for column in columns), default=0) or 1):
        # a search may find fewer hypotheses of one sentence than of another: its last one stands in
        row = [column[min(rank, len(column) - 1)] if column else None for column in columns]
        texts = [
            sentence.copied if candidate is None else candidate.text
            for sentence, candidate in zip(document, row, strict=True)
        ]
        total = sum(candidate.score for candidate in row if candidate is not None)
        aligned = _joined_links(document, texts, row)
        ranked.append(Candidate("".join(texts), round(total / translated, 6) if translated else 0.0, aligned))
    return Translation(ranked[0], tuple(ranked[1:]), sum(sentence.is_cut for sentence in document))


def _joined_links(document: Document, texts: Sequence[str], candidates: Sequence[Candidate | None]) -> tuple[Link, ...]:
    """Return the links of all sentences in their text; none if no sentence has any."""
    joined: list[Link] = []
    if not any(candidate is not None and candidate.alignment for candidate in candidates):
        return ()
    source = target = 0
    for sentence, text, candidate in zip(document, texts, candidates, strict=True):
        if candidate is not None:
            joined += moved(candidate.alignment, source, target)
        elif text.strip():
            joined += moved([Link(_within_spaces(sentence.piece.text), _within_spaces(text))], source, target)
        source += len(sentence.piece.text)
        target += len(text)
    return tuple(joined)


def _within_spaces(text: str) -> Span:
    """Return what of a text is left without the spaces around it."""
    begin = len(text) - len(text.lstrip())
    return begin, begin + len(text.strip())


def _places(text: int, document: Document) -> Iterator[_Place]:
    """Yield the places of the sentences of a text that are to be translated."""
    last = sum(sentence.engine_input is not None for sentence in document) - 1
    number = begin = 0
    for sentence in document:
        if sentence.engine_input is not None:
            yield _Place(text, number, begin, number == last, sentence)
            number += 1
        begin += len(sentence.piece.text)


def _translated(place: _Place, candidates: Sequence[Candidate]) -> TranslatedSentence:
    source = place.sentence.piece.text
    best = candidates[0] if candidates else Candidate(source, 0.0)
    return TranslatedSentence(place.text, place.number, source, best, place.begin, place.is_last)
