"""One loaded configuration of one model: text -> sentences -> ids -> engine -> ids -> text."""

import asyncio
import functools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from kernels.engine import (
    CONSTRAINED_ROWS,
    MAX_CONSTRAINTS,
    BatchResult,
    CancelFlag,
    Constraint,
    Sentence,
)
from models.format.directory import ModelDirectory
from models.format.languages import marked
from models.format.schema import Allocation
from service.process import process_rss_bytes
from service.text import names, numbers, placeholders
from service.text.alignment import best_layer
from service.text.glossary import GlossaryRefused, Term, spelt
from service.text.placeholders import Span
from service.text.sentences import Piece, cut_at_kept, halve, split
from service.translation.assembly import Arrivals, Document, SourceSentence, engine_sentences, join, joined_copies
from service.translation.cost import NO_COST, Cost, Memory, ModelIdentity, Rungs, StageTimings, milliseconds_since
from service.translation.preparing import place_of, prepared, turns
from service.translation.results import (
    Candidate,
    Continuation,
    LimitExceeded,
    OnSentence,
    Options,
    Translated,
    TranslatedSentence,
)
from service.translation.scheduler import Scheduler
from service.translation.tokenizer import Tokenizer

# Longer sentences are cut: models see few of them in training and the attention's cost grows with the square.
MAX_SENTENCE_TOKENS = 200
# Hypotheses of the searches for a sentence that lost something. A third of those that lost a number have a second one
# that did not; 4 hypotheses take twice as long and help 44 %.
_WIDER_BEAM = 2
_CHARACTERS_A_TOKEN = 3  # English text has 3.2, so that the estimate is rather high
_LINKS_TAKE = 10  # times the work of a hypothesis without: 25 ms for one of 400 tokens


class Translator:
    """One loaded configuration. It is immutable, so any number of threads may translate; its directory stays mapped."""

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
            directory: the model's.
            tokenizer: of the same model.
            configuration: the name that replies give the allocation.
            allocation: the planes to use of each matrix.
            max_batch_tokens: source tokens times beam size in one engine call; at least one sentence in any case.

        Raises:
            UnavailableConfiguration: the directory cannot serve the allocation.
            ModelError: the engine refuses what the directory holds.
        """
        config = directory.config
        self._engine = directory.engine(allocation)  # first, since it refuses an allocation that cannot be served
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
        self._longest = min(MAX_SENTENCE_TOKENS, self._max_positions)
        self._target_tokens = config.target_tokens
        self._own_beam_size, self._length_penalty = config.beam_size, config.length_penalty
        self._shortlisted = configuration in (config.shortlist or ())
        self._alignment_layer = best_layer(config.architecture.decoder_layers)
        self.model_bytes = self._engine.weight_bytes
        names.load(config.source_languages, config.target_languages)  # or the first text does, on the event loop

    async def serve(
        self,
        texts: Sequence[str],
        options: Options,
        scheduler: Scheduler,
        on_sentence: OnSentence | None = None,
        continuation: Continuation | None = None,
        *,
        is_admitted: bool = False,
    ) -> Translated:
        """Translate texts together with those of other requests.

        When this is cancelled, it returns only once no thread uses the engine for it any more.

        Args:
            texts: any number, of any length.
            options: how to translate all of them.
            scheduler: of the engine threads.
            on_sentence: is called with each sentence, those of a text in its order.
            continuation: takes all sentences on to further models, whose translations stand in their places.
            is_admitted: the texts belong to a request that has been admitted; they find a place in a full queue too.

        Raises:
            GlossaryRefused: the vocabulary cannot spell the translation of a term.
            LimitExceeded: the texts have more sentences than the options allow.
            QueueFull: too much work is waiting.
            SchedulerClosed: the server is shutting down.
            EngineError: the engine failed.
        """
        size = sum(map(len, texts))
        most = options.alternatives + 1
        read = size * most * (_LINKS_TAKE if options.alignment else 1)
        reader = place_of(read)
        with scheduler.reserve_queue(size // _CHARACTERS_A_TOKEN * self._most_rows(options), is_admitted=is_admitted):
            documents, tokenize_ms = await self._prepared(size, texts, options)
            if on_sentence is not None and reader is not None:
                on_sentence = _on_this_loop(on_sentence)
            sentences, arrivals = await prepared(size, self._expected, documents, on_sentence, most)
        cost = await scheduler.run(self._engine, sentences, arrivals.ready, reader)
        repairs = self._repairs(arrivals, options)
        while (repair := await prepared(read, lambda: next(repairs, None))) is not None:
            parts, arrived = repair
            sentences = await prepared(size, engine_sentences, parts)
            cost = cost.then(await scheduler.run(self._engine, sentences, arrived.ready, reader))
        cost = replace(cost, rungs=arrivals.rungs)
        candidates = arrivals.candidates() if continuation is None else iter(await continuation(arrivals.translated()))
        return await prepared(read, self._translated, documents, candidates, arrivals.detokenize_ms, tokenize_ms, cost)

    def translate(self, texts: Sequence[str], options: Options, cancel: CancelFlag | None = None) -> Translated:
        """Translate texts alone, without a scheduler. This blocks, so it belongs in a thread of its own.

        Raises:
            Cancelled: the flag was set.
            GlossaryRefused: the vocabulary cannot spell the translation of a term.
        """
        documents, tokenize_ms = self._prepare(texts, options, threading.Event())
        arrivals = Arrivals(documents, self._tokenizer, None, options.alternatives + 1)
        cost = self._decode_all(documents, arrivals, cancel)
        for parts, arrived in self._repairs(arrivals, options):
            cost = cost.then(self._decode_all(parts, arrived, cancel))
        cost = replace(cost, rungs=arrivals.rungs)
        return self._translated(documents, arrivals.candidates(), arrivals.detokenize_ms, tokenize_ms, cost)

    def score(self, sentence: str, options: Options) -> float:
        """Return the score of the best translation of a sentence, given to the engine whole, unknown words and all."""
        ids = self._tokenizer.encode(sentence, options.target, options.source)
        result = self._decode([self._engine_input(ids, options, ())], None)
        return result.hypotheses[0][0].score

    def close(self) -> None:
        """Free the engine; no translation may be running."""
        self._engine.close()

    def _translated(
        self,
        documents: Sequence[Document],
        candidates: Iterator[list[Candidate]],
        detokenize_ms: float,
        tokenize_ms: float,
        engine: Cost,
    ) -> Translated:
        """Join the sentences, and add what this and the engine took."""
        started = time.perf_counter()
        translations = [join(document, candidates) for document in documents]
        detokenize_ms += milliseconds_since(started)
        own = Cost(
            weights={self.identity: self.model_bytes},
            latency_ms=StageTimings.of(tokenize=tokenize_ms, detokenize=detokenize_ms),
            memory=Memory(self.model_bytes, 0, 0, process_rss_bytes()),
        )
        return Translated(translations, own.then(engine))

    def _expected(
        self, documents: Sequence[Document], on_sentence: OnSentence | None = None, wanted: int | None = None
    ) -> tuple[list[Sentence], Arrivals]:
        """Return what the engine is to translate of documents, and where its results go."""
        return engine_sentences(documents), Arrivals(documents, self._tokenizer, on_sentence, wanted)

    async def _prepared(self, size: int, texts: Sequence[str], options: Options) -> tuple[list[Document], float]:
        """Run `_prepare`, off the event loop where it takes long, in turns with other requests.

        It stops soon after this is cancelled.
        """
        stop = threading.Event()
        documents: list[Document] = []
        tokenize_ms = 0.0
        sentences = 0
        try:
            for turn in turns(texts):
                found, took_ms = await prepared(size, self._prepare, turn, options, stop)
                documents += found
                tokenize_ms += took_ms
                sentences += sum(sentence.engine_input is not None for document in found for sentence in document)
                if options.max_sentences is not None and sentences > options.max_sentences:
                    raise LimitExceeded(
                        f"The texts have more than {options.max_sentences:,} sentences; send fewer in a request."
                    )
            return documents, tokenize_ms
        finally:
            stop.set()

    def _prepare(self, texts: Sequence[str], options: Options, stop: threading.Event) -> tuple[list[Document], float]:
        """Return the texts as sentences with their ids, and the milliseconds it took; cut short once `stop` is set."""
        started = time.perf_counter()
        documents: list[Document] = []
        for text in texts:
            documents.append([])
            is_begun = not options.prefix
            for sentence in joined_copies(self._sentences(text, options)):
                if stop.is_set():
                    return documents, 0.0  # nobody waits for it
                if not is_begun and sentence.engine_input is not None:
                    sentence, is_begun = self._begun(sentence, options.prefix), True
                documents[-1].append(sentence)
        return documents, milliseconds_since(started)

    def _sentences(self, text: str, options: Options) -> Iterator[SourceSentence]:
        """Yield the sentences of a text in order, and what stands between them."""
        language, begin = marked(text, self._target_tokens)
        if language is not None:
            yield SourceSentence(Piece(text[:begin], False, ((0, begin),)), None, stands=("",))
            text = text[begin:]
            if options.obeys_marks:
                options = replace(options, target=language.lower())
        for whole in split(text, options.source, options.split_sentences):
            pending, is_first = [whole], True
            while pending:
                sentence = self._encoded(pending.pop(), options)
                piece = sentence.piece
                if sentence.engine_input is not None and len(sentence.engine_input.ids) > self._longest:
                    # One character can't be cut, and longer pieces come only from the few that NFKC spells out.
                    pending += halve(piece)[::-1] if len(piece.text) > 1 else [Piece(piece.text, False)]
                else:
                    yield sentence._replace(is_cut=is_first and len(pending) > 0)
                    is_first = False

    def _encoded(self, piece: Piece, options: Options) -> SourceSentence:
        """Encode a piece of text; words that the vocabulary can't spell become kept units."""
        if not piece.translate:
            return SourceSentence(piece, None)
        ids = self._tokenizer.encode(placeholders.hide(piece.text, piece.kept), options.target, options.source)
        stands = None
        if self._tokenizer.unknown in ids:
            unknown = placeholders.words_with(piece.text, piece.kept, lambda word: not self._tokenizer.knows(word))
            numerals = dict(numbers.stretches(piece.text, options.source, options.target, piece.kept))
            unknown += [span for span in numerals if placeholders.overlaps(span, unknown)]
            piece = piece._replace(kept=tuple(placeholders.merge(piece.kept, unknown)))
            stands = [numerals.get(span, piece.text[slice(*span)]) for span in piece.kept]  # 3.50€, without a €
            if not placeholders.has_words(piece.text, piece.kept):
                return SourceSentence(piece._replace(translate=False), None)
            ids = self._tokenizer.encode(placeholders.hide(piece.text, piece.kept), options.target, options.source)
        terms = self._terms(piece, options)
        units = [piece.text[begin:end] for begin, end in piece.kept] if stands is None else stands
        if (written := [numbers.ordinal(unit, options.source, options.target) for unit in units]) != units:
            units = stands = written
        spans, texts = _with_terms(piece, units, terms)
        if terms and not placeholders.has_words(piece.text, spans):  # all of it is a term, or several
            return SourceSentence(piece._replace(translate=False, kept=spans), None, stands=texts)
        sentence = self._engine_input(ids, options, self._constraints(terms))
        languages = options.source, options.target
        is_whole = len(ids) <= self._longest  # otherwise it is halved first
        found = names.find(piece.text, *languages, spans) if is_whole else ()
        return SourceSentence(
            piece, sentence, False, None if stands is None else tuple(stands), terms, found, languages
        )

    def _is_begun(self, sentence: SourceSentence) -> bool:
        """Return whether the translation of a sentence begins with more than the token of its language."""
        search = sentence.engine_input
        return search is not None and len(search.prefix) > len(self._tokenizer.begins(sentence.languages[1]))

    def _begun(self, sentence: SourceSentence, prefix: str) -> SourceSentence:
        """Return a sentence whose translation begins with a prefix; as it was if the vocabulary can't spell that."""
        search = sentence.engine_input
        assert search is not None
        for mask, unit in zip(placeholders.masks(len(sentence.units)), sentence.units, strict=True):
            prefix = prefix.replace(unit.text, mask, 1)
        ids = next(iter(self._tokenizer.phrases(prefix.strip(), follows_mark=False)), [])
        if not 0 < len(ids) < self._max_positions // 2:
            return sentence
        longest = min(search.max_length + len(ids), self._max_positions)
        return sentence._replace(engine_input=search._replace(max_length=longest, prefix=(*search.prefix, *ids)))

    def _terms(self, piece: Piece, options: Options) -> Sequence[Term]:
        """Return the terms of a piece, up to as many as the engine takes."""
        glossary = options.glossary
        if glossary is None or not glossary.covers(options.source, options.target):
            return ()
        return glossary.find(piece.text, piece.kept, exact=options.exact_terms)[:MAX_CONSTRAINTS]

    def _constraints(self, terms: Sequence[Term]) -> tuple[Constraint, ...]:
        """Return what the terms demand of a translation."""
        constraints = []
        for term in terms:
            phrases = [p for s in term.spellings for p in self._tokenizer.phrases(s, follows_mark=term.follows_mark)]
            if not phrases:
                raise GlossaryRefused(
                    f'The model can\'t spell "{term.spellings[0]}"; give the term another translation.'
                )
            constraints.append(phrases)
        return tuple(constraints)

    def _repairs(self, arrivals: Arrivals, options: Options) -> Iterator[tuple[list[Document], Arrivals]]:
        """Yield what is to be translated again because something was lost, and where its hypotheses go.

        First the sentences as they were, by a wider beam; then with numbers and terms masked; then under the constraint
        that each mask stands in them; at last those that still lack one, cut at their units.
        """
        for search_again, rung in (
            (self._widened, Rungs(next_best=1)),
            (self._masked, Rungs(masked=1)),
            (self._constrained, Rungs(constrained=1)),
        ):
            found = ((index, search_again(arrivals, index, options)) for index in arrivals.failed)
            again = {index: sentence for index, sentence in found if sentence is not None}
            if again:
                parts = [[sentence] for sentence in again.values()]
                arrived = Arrivals(parts, self._tokenizer, None, arrivals.wanted)
                yield parts, arrived
                arrivals.replace_found(again, arrived, rung)
        if arrivals.failed:
            parts = [list(self._parts(arrivals.searched(index), options)) for index in arrivals.failed]
            arrived = Arrivals(parts, self._tokenizer, None, arrivals.wanted)
            yield parts, arrived
            arrivals.replace_failed(parts, arrived)

    def _widened(self, arrivals: Arrivals, index: int, options: Options) -> SourceSentence | None:
        """Return a failed sentence for a wider beam; None if it had one."""
        sentence = arrivals.sentence(index)
        if sentence.engine_input is None or self._beam_size(options) >= _WIDER_BEAM:
            return None
        return sentence._replace(engine_input=_wide(sentence.engine_input))

    def _masked(self, arrivals: Arrivals, index: int, options: Options) -> SourceSentence | None:
        """Return a failed sentence with masks for its numbers, its terms and the names that it lost, too.

        None if it lost other units.
        """
        sentence = arrivals.sentence(index)
        nearest = arrivals.nearest(index)
        if nearest is None and not sentence.terms:
            return None
        spans, texts = _with_terms(sentence.piece, [unit.text for unit in sentence.units], sentence.terms)
        found = numbers.stretches(sentence.piece.text, *sentence.languages, spans)
        found += [(name.span, name.written) for name in names.lost(sentence.names, nearest.text if nearest else "")]
        inside = [(begin, end) for (begin, end), _ in found]
        found += [
            (span, text)
            for span, text in zip(spans, texts, strict=True)
            if not any(begin <= span[0] and span[1] <= end for begin, end in inside)
        ]
        found.sort()
        piece = sentence.piece._replace(kept=tuple(span for span, _ in found))
        source, target = sentence.languages
        ids = self._tokenizer.encode(placeholders.hide(piece.text, piece.kept), target, source)
        search = _wide(self._engine_input(ids, replace(options, target=target), ()))
        stands = tuple(text for _, text in found)
        # Whether its terms and names stand there is asked again: a mask may be part of a compound, or said twice.
        again = sentence._replace(piece=piece, engine_input=search, stands=stands)
        return self._begun(again, options.prefix) if self._is_begun(sentence) else again

    def _constrained(self, arrivals: Arrivals, index: int, options: Options) -> SourceSentence:
        """Return a failed sentence, as it was searched last, under the constraint that it has its masks."""
        sentence = arrivals.searched(index)
        assert sentence.engine_input is not None  # it was searched
        masks = placeholders.masks(len(sentence.piece.kept))[:MAX_CONSTRAINTS]
        phrases = (self._tokenizer.phrases(mask, follows_mark=True) for mask in masks)
        options = replace(options, target=sentence.languages[1])
        search = self._engine_input(sentence.engine_input.ids, options, tuple(filter(None, phrases)))
        found = sentence._replace(engine_input=_wide(search, CONSTRAINED_ROWS))  # it takes those rows anyway
        return self._begun(found, options.prefix) if self._is_begun(sentence) else found

    def _engine_input(self, ids: Sequence[int], options: Options, constraints: tuple[Constraint, ...]) -> Sentence:
        """Return a sentence for the engine; its maximum length bounds the cost of a model that repeats itself."""
        constrained = sum(min(map(len, constraint)) for constraint in constraints)
        asked = self._shortlisted if options.shortlist is None else options.shortlist
        beam_size = self._beam_size(options)
        return Sentence(
            ids,
            min(2 * len(ids) + 20 + constrained, self._max_positions),
            beam_size,
            beam_size,
            self._length_penalty,
            alignment_layer=self._alignment_layer if options.alignment else 0,
            constraints=constraints,
            shortlist=self._engine.has_shortlist and asked,
            prefix=self._tokenizer.begins(options.target),
        )

    def _beam_size(self, options: Options) -> int:
        own = min(self._own_beam_size, options.max_beam_size)
        return max(options.beam_size or own, options.alternatives + 1)

    def _most_rows(self, options: Options) -> int:
        """Return the most rows that a sentence may take; with a glossary those without a term take fewer."""
        return max(self._beam_size(options), CONSTRAINED_ROWS if options.glossary else 1)

    def _parts(self, sentence: SourceSentence, options: Options) -> Iterator[SourceSentence]:
        """Yield a failed sentence, cut at its units; a part has no term again that stands between the parts."""
        stands = iter(unit.text for unit in sentence.units)
        options = replace(options, target=sentence.languages[1])
        elsewhere = [term._replace(spans=()) for term in sentence.terms]
        for part, is_unit in cut_at_kept(sentence.piece):
            if is_unit:
                spans = ((0, len(part.text)),)
                yield SourceSentence(part._replace(kept=spans), None, stands=(next(stands),))
            else:
                encoded = self._encoded(part, options)
                yield encoded._replace(terms=[*encoded.terms, *elsewhere])

    def _decode_all(self, documents: Sequence[Document], arrivals: Arrivals, cancel: CancelFlag | None) -> Cost:
        """Translate sentences in batches; `arrivals` gets their hypotheses."""
        results = [self._decode(batch, cancel) for batch in self._batches(engine_sentences(documents))]
        for index, hypotheses in enumerate(hypotheses for result in results for hypotheses in result.hypotheses):
            arrivals.read(index, hypotheses)
        return functools.reduce(Cost.then, map(_engine_cost, results), NO_COST)

    def _batches(self, sentences: Sequence[Sentence]) -> Iterator[list[Sentence]]:
        """Yield sentences in order, cut where the token budget of an engine call ends."""
        batch: list[Sentence] = []
        tokens = 0
        for sentence in sentences:
            cost = len(sentence.ids) * sentence.rows
            if batch and tokens + cost > self._max_batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(sentence)
            tokens += cost
        if batch:
            yield batch

    def _decode(self, batch: list[Sentence], cancel: CancelFlag | None) -> BatchResult:
        """Translate sentences of the same options in one engine call."""
        first = batch[0]
        return self._engine.translate(
            [sentence.ids for sentence in batch],
            beam_size=first.beam_size,
            num_hypotheses=first.num_hypotheses,
            length_penalty=first.length_penalty,
            max_lengths=[sentence.max_length for sentence in batch],
            alignment_layer=first.alignment_layer,
            constraints=[sentence.constraints for sentence in batch],
            shortlist=first.shortlist,
            prefixes=[sentence.prefix for sentence in batch],
            cancel=cancel,
        )


def _on_this_loop(on_sentence: OnSentence) -> OnSentence:
    """Return a function that any thread may call; the sentences arrive on this event loop, in order."""
    loop = asyncio.get_running_loop()

    def pass_on(sentence: TranslatedSentence) -> None:
        loop.call_soon_threadsafe(on_sentence, sentence)

    return pass_on


def _wide(search: Sentence, beam_size: int = _WIDER_BEAM) -> Sentence:
    """Return a search that has hypotheses to choose from."""
    rows = max(search.beam_size, beam_size)
    return search._replace(beam_size=rows, num_hypotheses=rows)


def _with_terms(piece: Piece, units: Sequence[str], terms: Sequence[Term]) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """Return the units of a piece together with its terms, and what stands for each in the translation."""
    found = list(zip(piece.kept, units, strict=True))
    found += [(span, spelt(term, piece.text, span)) for term in terms for span in term.spans]
    found.sort()
    return tuple(span for span, _ in found), tuple(text for _, text in found)


def _engine_cost(result: BatchResult) -> Cost:
    timings = StageTimings.of(encode=result.encode_ms, decode=result.decode_ms)
    return Cost({}, timings, Memory(0, result.workspace_peak_bytes, result.kv_cache_peak_bytes, 0))
