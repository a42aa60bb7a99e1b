"""One configuration of one model, loaded: the whole way text -> sentences -> ids -> engine -> ids -> text."""

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from kernels.engine import (
    CONSTRAINED_ROWS,
    MAX_CONSTRAINTS,
    BatchResult,
    CancelFlag,
    Constraint,
    Hypothesis,
    Sentence,
    SentenceResult,
)
from models.format.directory import ModelDirectory
from models.format.schema import Allocation
from service.text import placeholders
from service.text.alignment import Link, best_layer, links, moved
from service.text.glossary import Glossary, GlossaryRefused
from service.text.sentences import Piece, SplitSentences, cut_at_kept, halve, has_words, split
from service.translation.cost import ModelIdentity, milliseconds_since
from service.translation.scheduler import Scheduler, Usage
from service.translation.tokenizer import Tokenizer

# Longer sentences are cut: models see few of them in training and the attention's cost grows with the square.
MAX_SENTENCE_TOKENS = 200
# Up to here texts are cut and tokenized on the event loop: 0.23 ms at most, where a thread and back takes 0.1 to 0.3.
CHARACTERS_ON_THE_LOOP = 1000
_CHARACTERS_A_TOKEN = 3  # English text has 3.2, so that the guess is rather high

# One thread: more would only take turns at the interpreter's lock, and away from the engine's threads.
_preparing = ThreadPoolExecutor(1, "prepare")


@dataclass(frozen=True, slots=True)
class Options:
    """How to translate; `alternatives` beyond the best widen the beam to alternatives + 1 where it is narrower."""

    source: str
    target: str
    beam_size: int = 1
    alternatives: int = 0
    split_sentences: SplitSentences = "1"
    alignment: bool = False  # of the words of the translations
    glossary: Glossary | None = None  # which may be for other languages


class Candidate(NamedTuple):
    """A text with its score: the mean of its sentences' log probabilities, each normalised by length; at most 0.

    `alignment`: if it was asked for, one link for each word and mark of the text, in its order; parts that were copied
    are one word. A sentence whose words could not be followed has none.
    """

    text: str
    score: float
    alignment: tuple[Link, ...] = ()


class Translation(NamedTuple):
    """A text's best translation and the next best, best first; how many sentences were too long and were cut.

    `via` are the languages that it went through, where no model translates the pair itself.
    """

    best: Candidate
    alternatives: tuple[Candidate, ...]
    cut_sentences: int = 0
    via: tuple[str, ...] = ()


class TranslatedSentence(NamedTuple):
    """A sentence of a text as soon as it is ready; both numbers count from 0, the second the translated ones only."""

    text: int
    sentence: int
    source: str
    best: Candidate
    begin: int  # where the source stands in its text, in characters
    is_last: bool  # of its text


OnSentence = Callable[[TranslatedSentence], None]
# What goes on with all sentences of a request: for each of them, its translations by the models after this one.
GoOn = Callable[[Sequence[TranslatedSentence]], Awaitable[Sequence[list[Candidate]]]]


@dataclass(frozen=True, slots=True)
class Translated:
    """The translations of a request and what they took: milliseconds by stage, bytes of scratch at the peak."""

    translations: list[Translation]
    queue_ms: float
    tokenize_ms: float
    encode_ms: float
    decode_ms: float
    detokenize_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class _Sentence(NamedTuple):
    """A piece of a text; `ids` is None for what is copied. Of what is `kept`, the ids have stand-ins."""

    piece: Piece
    ids: list[int] | None
    is_cut: bool = False  # the first part of an over-long sentence
    constraints: tuple[Constraint, ...] = ()

    @property
    def kept(self) -> list[str]:
        return [self.piece.text[begin:end] for begin, end in self.piece.kept]


_Document = list[_Sentence]


class _Place(NamedTuple):
    """Where a sentence to be translated stands: in which text, as which of its sentences, from which character."""

    text: int
    number: int
    begin: int
    is_last: bool
    sentence: _Sentence


class _Arrivals:
    """The translated sentences of a request, in whatever order they come; passed on in the order of their text."""

    def __init__(self, documents: list[_Document], tokenizer: Tokenizer, on_sentence: OnSentence | None) -> None:
        self._tokenizer, self._on_sentence = tokenizer, on_sentence
        self._places = [place for text, document in enumerate(documents) for place in _places(text, document)]
        self._pending: dict[int, deque[int]] = defaultdict(deque)  # of each text, the sentences not yet passed on
        for index, place in enumerate(self._places):
            self._pending[place.text].append(index)
        self._candidates: list[list[Candidate] | None] = [None] * len(self._places)
        self.broken: list[int] = []  # of sentences whose every hypothesis lost something that is to be kept
        self.detokenize_ms = 0.0

    def ready(self, index: int, result: SentenceResult) -> None:
        """Take the result of sentence `index`: some ten microseconds, so a document never holds the event loop."""
        self.read(index, result.hypotheses)

    def read(self, index: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Take the hypotheses of sentence `index`, best first."""
        started = time.perf_counter()
        candidates = []
        for hypothesis in hypotheses:
            sentence, decoded = self.sentence(index), self._tokenizer.decode(hypothesis.ids)
            if (text := placeholders.restore(decoded, sentence.kept)) is not None:
                aligned = self._links(sentence, hypothesis, decoded, text)
                candidates.append(Candidate(text, hypothesis.score, tuple(aligned)))
        if hypotheses and not candidates:
            self.broken.append(index)
        else:
            self._take(index, candidates)
        self.detokenize_ms += milliseconds_since(started)

    def mend(self, index: int, translation: Translation) -> None:
        """Take the translation of a broken sentence that was cut at what is kept of it."""
        source, kept = self.sentence(index).piece.text, "\n".join(self.sentence(index).kept)
        candidates = (translation.best, *translation.alternatives)
        # words and what they stand beside may come together as a placeholder
        self._take(index, [c if placeholders.same(c.text, kept) else Candidate(source, c.score) for c in candidates])

    def sentence(self, index: int) -> _Sentence:
        """The sentence of a number."""
        return self._places[index].sentence

    def candidates(self) -> Iterator[list[Candidate]]:
        """Of each sentence, best first; all have come."""
        return (candidates or [] for candidates in self._candidates)

    def translated(self) -> list[TranslatedSentence]:
        """Each sentence; all have come."""
        return [
            self._told(place, candidates or [])
            for place, candidates in zip(self._places, self._candidates, strict=True)
        ]

    def _links(self, sentence: _Sentence, hypothesis: Hypothesis, decoded: str, text: str) -> list[Link]:
        """Between the texts of a sentence and its translation, which the tokenizer read and wrote with stand-ins."""
        if hypothesis.alignment is None or (not sentence.kept and text != decoded):
            return []
        source, moves = (
            placeholders.hide(sentence.piece.text, sentence.piece.kept),
            placeholders.hidden(sentence.piece.kept),
        )
        spans = self._tokenizer.spans(source)
        # without eos, and without the language's token
        attention = [row[-1 - len(spans) : -1] for row in hypothesis.alignment[:-1]]
        restored = placeholders.restored(decoded, sentence.kept)
        return [
            Link(placeholders.followed(link.source, moves), placeholders.followed(link.target, restored))
            for link in links(attention, source, spans, decoded, self._tokenizer.decoded_spans(hypothesis.ids))
        ]

    def _take(self, index: int, candidates: list[Candidate]) -> None:
        self._candidates[index] = candidates
        if self._on_sentence is not None:
            self._pass_on(self._pending[self._places[index].text], self._on_sentence)

    def _pass_on(self, pending: deque[int], on_sentence: OnSentence) -> None:
        while pending and (candidates := self._candidates[pending[0]]) is not None:
            told = self._told(self._places[pending.popleft()], candidates)
            on_sentence(told._replace(best=told.best._replace(score=round(told.best.score, 6))))

    @staticmethod
    def _told(place: "_Place", candidates: Sequence[Candidate]) -> TranslatedSentence:
        source = place.sentence.piece.text
        best = candidates[0] if candidates else Candidate(source, 0.0)
        return TranslatedSentence(place.text, place.number, source, best, place.begin, place.is_last)


class Translator:
    """Immutable once made, so that any number of threads may translate; the directory stays mapped meanwhile."""

    def __init__(
        self,
        directory: ModelDirectory,
        tokenizer: Tokenizer,
        configuration: str,
        allocation: Allocation,
        max_batch_tokens: int,
    ) -> None:
        """Hand the planes of the allocation to a new engine.

        Args:
            configuration: the name that replies give it.
            max_batch_tokens: source tokens x beam size of one engine call, at least one sentence.

        Raises:
            UnavailableConfiguration: the directory can't serve the allocation.
            InvalidModel: the engine refuses what the directory holds.
        """
        config = directory.config
        self.allocation = allocation
        self.identity = ModelIdentity(
            name=config.name,
            config=configuration,
            version=directory.version(allocation),
            bits_per_weight=round(directory.bits_per_weight(allocation), 4),
        )
        self._tokenizer = tokenizer
        self._max_batch_tokens = max_batch_tokens
        self._max_positions = config.architecture.max_positions
        self._length_penalty = config.length_penalty
        self._alignment_layer = best_layer(config.architecture.decoder_layers)
        self._engine = directory.engine(allocation)
        self.model_bytes = self._engine.weight_bytes

    async def serve(
        self,
        texts: Sequence[str],
        options: Options,
        scheduler: Scheduler,
        on_sentence: OnSentence | None = None,
        go_on: GoOn | None = None,
        *,
        is_admitted: bool = False,
    ) -> Translated:
        """Translate texts among everybody else's.

        When this is cancelled, it returns only once no thread touches the engine for it any more.

        Args:
            on_sentence: gets each sentence, those of a text in its order.
            go_on: gets all of them, and says what stands in their places in the translations.
            is_admitted: the texts are part of a request that has been taken on; they find a place in any queue.

        Raises:
            GlossaryRefused: the vocabulary can't spell the translation of a term.
            QueueFull, SchedulerClosed: as the scheduler says.
        """
        tokens = sum(map(len, texts)) // _CHARACTERS_A_TOKEN * _most_rows(options)
        with scheduler.reserve_queue(tokens, is_admitted=is_admitted):
            documents, tokenize_ms = await self._prepared(texts, options)
        arrivals = _Arrivals(documents, self._tokenizer, on_sentence)
        usage = await scheduler.run(self._engine, self._wishes(documents, options), arrivals.ready)
        if arrivals.broken:
            parts = [self._parts(arrivals.sentence(index), options) for index in arrivals.broken]
            mended = _Arrivals(parts, self._tokenizer, None)
            usage = _sum(usage, await scheduler.run(self._engine, self._wishes(parts, options), mended.ready))
            _mend(arrivals, parts, mended)

        candidates = arrivals.candidates() if go_on is None else iter(await go_on(arrivals.translated()))
        started = time.perf_counter()
        translations = [_join(document, candidates) for document in documents]
        return Translated(
            translations=translations,
            queue_ms=round(usage.queue_ms, 3),
            tokenize_ms=tokenize_ms,
            encode_ms=round(usage.encode_ms, 3),
            decode_ms=round(usage.decode_ms, 3),
            detokenize_ms=round(arrivals.detokenize_ms + milliseconds_since(started), 3),
            workspace_peak_bytes=usage.workspace_peak_bytes,
            kv_cache_peak_bytes=usage.kv_cache_peak_bytes,
        )

    def translate(self, texts: Sequence[str], options: Options, cancel: CancelFlag | None = None) -> Translated:
        """Translate texts by themselves, without a scheduler; blocks, so it belongs in a thread of its own.

        Raises:
            Cancelled: the flag was set.
            GlossaryRefused: as `serve`.
        """
        documents, tokenize_ms = self._prepare(texts, options, threading.Event())
        arrivals = _Arrivals(documents, self._tokenizer, None)
        results = self._decode_all(documents, arrivals, options, cancel)
        if arrivals.broken:
            parts = [self._parts(arrivals.sentence(index), options) for index in arrivals.broken]
            mended = _Arrivals(parts, self._tokenizer, None)
            results += self._decode_all(parts, mended, options, cancel)
            _mend(arrivals, parts, mended)

        started = time.perf_counter()
        candidates = arrivals.candidates()
        translations = [_join(document, candidates) for document in documents]
        return Translated(
            translations=translations,
            queue_ms=0.0,
            tokenize_ms=tokenize_ms,
            encode_ms=round(sum(result.encode_ms for result in results), 3),
            decode_ms=round(sum(result.decode_ms for result in results), 3),
            detokenize_ms=round(arrivals.detokenize_ms + milliseconds_since(started), 3),
            workspace_peak_bytes=max((result.workspace_peak_bytes for result in results), default=0),
            kv_cache_peak_bytes=max((result.kv_cache_peak_bytes for result in results), default=0),
        )

    def score(self, sentence: str, options: Options) -> float:
        """What the engine gives the best translation of a sentence that it gets whole, unknown words and all."""
        ids = self._tokenizer.encode(sentence, options.target)
        result = self._decode(self._wishes([[_Sentence(Piece(sentence, True), ids)]], options), None)
        return result.hypotheses[0][0].score

    def close(self) -> None:
        """Free the engine; nobody may be translating."""
        self._engine.close()

    async def _prepared(self, texts: Sequence[str], options: Options) -> tuple[list[_Document], float]:
        """`_prepare`, off the event loop where it takes long; it stops soon after this is cancelled."""
        stop = threading.Event()
        if sum(map(len, texts)) <= CHARACTERS_ON_THE_LOOP:
            return self._prepare(texts, options, stop)
        try:
            return await asyncio.get_running_loop().run_in_executor(_preparing, self._prepare, texts, options, stop)
        finally:
            stop.set()

    def _prepare(self, texts: Sequence[str], options: Options, stop: threading.Event) -> tuple[list[_Document], float]:
        """The texts as sentences with their ids, and the milliseconds that it took; cut short once `stop` is set."""
        started = time.perf_counter()
        documents: list[_Document] = []
        for text in texts:
            documents.append([])
            for sentence in self._sentences(text, options):
                if stop.is_set():
                    return documents, 0.0  # nobody waits for it
                documents[-1].append(sentence)
        return documents, milliseconds_since(started)

    def _sentences(self, text: str, options: Options) -> Iterator[_Sentence]:
        """The pieces of a text in order, with ids where they are to be translated."""
        limit = min(MAX_SENTENCE_TOKENS, self._max_positions)
        for whole in split(text, options.source, options.split_sentences):
            pending, is_first = [whole], True
            while pending:
                sentence = self._encoded(pending.pop(), options)
                piece = sentence.piece
                if sentence.ids is not None and len(sentence.ids) > limit:
                    # One character can't be cut, and longer pieces come only from the few that NFKC spells out.
                    pending += halve(piece)[::-1] if len(piece.text) > 1 else [Piece(piece.text, False)]
                else:
                    yield sentence._replace(is_cut=is_first and len(pending) > 0)
                    is_first = False

    def _encoded(self, piece: Piece, options: Options) -> _Sentence:
        """A piece with its ids; words that the vocabulary can't spell are kept to the letter."""
        if not piece.translate:
            return _Sentence(piece, None)
        ids = self._tokenizer.encode(placeholders.hide(piece.text, piece.kept), options.target)
        if self._tokenizer.unknown in ids:
            unknown = placeholders.words_with(piece.text, piece.kept, lambda word: not self._tokenizer.knows(word))
            piece = piece._replace(kept=tuple(placeholders.merge(piece.kept, unknown)))
            if not has_words(piece.text, piece.kept):
                return _Sentence(piece._replace(translate=False), None)
            ids = self._tokenizer.encode(placeholders.hide(piece.text, piece.kept), options.target)
        glossary = options.glossary
        if glossary is None or not glossary.covers(options.source, options.target):
            return _Sentence(piece, ids)
        return _Sentence(piece, ids, constraints=self._constraints(piece, glossary))

    def _constraints(self, piece: Piece, glossary: Glossary) -> tuple[Constraint, ...]:
        """What the translation of a piece must have, by a glossary; of more terms than the engine takes, the first."""
        constraints = []
        for spellings, follows_mark in glossary.find(piece.text, piece.kept)[:MAX_CONSTRAINTS]:
            phrases = [p for s in spellings for p in self._tokenizer.phrases(s, follows_mark=follows_mark)]
            if not phrases:
                raise GlossaryRefused(f'The model can\'t spell "{spellings[0]}"; give the term another translation.')
            constraints.append(phrases)
        return tuple(constraints)

    def _parts(self, sentence: _Sentence, options: Options) -> _Document:
        """A sentence, cut at what is kept of it."""
        return [self._encoded(part, options) for part in cut_at_kept(sentence.piece)]

    def _decode_all(
        self, documents: list[_Document], arrivals: _Arrivals, options: Options, cancel: CancelFlag | None
    ) -> list[BatchResult]:
        wishes = self._wishes(documents, options)
        results = [self._decode(batch, cancel) for batch in self._batches(wishes)]
        for index, hypotheses in enumerate(hypotheses for result in results for hypotheses in result.hypotheses):
            arrivals.read(index, hypotheses)
        return results

    def _batches(self, wishes: list[Sentence]) -> Iterator[list[Sentence]]:
        """Sentences in order, cut where the token budget of an engine call ends."""
        batch: list[Sentence] = []
        tokens = 0
        for wish in wishes:
            cost = len(wish.ids) * wish.rows
            if batch and tokens + cost > self._max_batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(wish)
            tokens += cost
        if batch:
            yield batch

    def _decode(self, batch: list[Sentence], cancel: CancelFlag | None) -> BatchResult:
        """Sentences of the same options."""
        first = batch[0]
        return self._engine.translate(
            [sentence.ids for sentence in batch],
            beam_size=first.beam_size,
            num_hypotheses=first.num_hypotheses,
            length_penalty=first.length_penalty,
            max_lengths=[sentence.max_length for sentence in batch],
            alignment_layer=first.alignment_layer,
            constraints=[sentence.constraints for sentence in batch],
            cancel=cancel,
        )

    def _wishes(self, documents: list[_Document], options: Options) -> list[Sentence]:
        return [
            Sentence(
                sentence.ids,
                self._max_length(sentence),
                _beam_size(options),
                options.alternatives + 1,
                self._length_penalty,
                alignment_layer=self._alignment_layer if options.alignment else 0,
                constraints=sentence.constraints,
            )
            for document in documents
            for sentence in document
            if sentence.ids is not None
        ]

    def _max_length(self, sentence: _Sentence) -> int:
        """Most target tokens of a sentence: bounds what a model that repeats itself costs."""
        constrained = sum(min(map(len, constraint)) for constraint in sentence.constraints)
        return min(2 * len(sentence.ids or ()) + 20 + constrained, self._max_positions)


def _places(text: int, document: _Document) -> Iterator[_Place]:
    """Of the sentences of a text that are to be translated."""
    last = sum(sentence.ids is not None for sentence in document) - 1
    number = begin = 0
    for sentence in document:
        if sentence.ids is not None:
            yield _Place(text, number, begin, number == last, sentence)
            number += 1
        begin += len(sentence.piece.text)


def _join(document: _Document, candidates: Iterator[list[Candidate]]) -> Translation:
    """The rank-r candidates of the sentences, joined, are the rank-r translation of the text."""
    columns = [[] if sentence.ids is None else next(candidates) for sentence in document]
    translated = sum(sentence.ids is not None for sentence in document)
    ranked = []
    for rank in range(max((len(column) for column in columns), default=0) or 1):
        # a search may find fewer hypotheses of one sentence than of another: its last one stands in
        row = [column[min(rank, len(column) - 1)] if column else None for column in columns]
        texts = [
            sentence.piece.text if candidate is None else candidate.text
            for sentence, candidate in zip(document, row, strict=True)
        ]
        total = sum(candidate.score for candidate in row if candidate is not None)
        aligned = _joined_links(document, texts, row)
        ranked.append(Candidate("".join(texts), round(total / translated, 6) if translated else 0.0, aligned))
    return Translation(ranked[0], tuple(ranked[1:]), sum(sentence.is_cut for sentence in document))


def _joined_links(
    document: _Document, texts: Sequence[str], candidates: Sequence[Candidate | None]
) -> tuple[Link, ...]:
    """The links of sentences, one after the other; none if no sentence has any."""
    joined: list[Link] = []
    if not any(candidate is not None and candidate.alignment for candidate in candidates):
        return ()
    source = target = 0
    for sentence, text, candidate in zip(document, texts, candidates, strict=True):
        if candidate is not None:
            joined += moved(candidate.alignment, source, target)
        elif text.strip():
            joined.append(Link((source, source + len(text)), (target, target + len(text))))
        source += len(sentence.piece.text)
        target += len(text)
    return tuple(joined)


def _mend(arrivals: _Arrivals, parts: list[_Document], mended: _Arrivals) -> None:
    """Give the broken sentences the translations of their parts."""
    candidates = mended.candidates()
    for index, document in zip(arrivals.broken, parts, strict=True):
        arrivals.mend(index, _join(document, candidates))


def _sum(first: Usage, second: Usage) -> Usage:
    """Of two runs, one after the other."""
    return Usage(
        first.queue_ms,
        first.encode_ms + second.encode_ms,
        first.decode_ms + second.decode_ms,
        max(first.workspace_peak_bytes, second.workspace_peak_bytes),
        max(first.kv_cache_peak_bytes, second.kv_cache_peak_bytes),
    )


def _beam_size(options: Options) -> int:
    return max(options.beam_size, options.alternatives + 1)


def _most_rows(options: Options) -> int:
    """Rows that a sentence may take; with a glossary those without a term take fewer."""
    return _beam_size(options) if options.glossary is None else max(_beam_size(options), CONSTRAINED_ROWS)
