"""One configuration of one model, loaded: the whole way text -> sentences -> ids -> engine -> ids -> text."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from kernels.engine import BatchResult, CancelFlag, Engine, Hypothesis, Segment
from models.format import Allocation, ModelDirectory
from service.metrics import ModelFacts, milliseconds_since
from service.text import Piece, halve, split
from service.tokenizer import Tokenizer

# Longer sentences are cut: models see few of them in training and the attention's cost grows with the square.
MAX_SENTENCE_TOKENS = 200


@dataclass(frozen=True, slots=True)
class Options:
    """How to translate; `alternatives` beyond the best widen the beam to alternatives + 1 where it is narrower.

    Without `split_sentences` a line is translated as one sentence.
    """

    source: str
    target: str
    beam_size: int = 1
    alternatives: int = 0
    split_sentences: bool = True


class Candidate(NamedTuple):
    """A text with its score: the mean of its sentences' log probabilities, each normalised by length; at most 0."""

    text: str
    score: float


class Translation(NamedTuple):
    """A text's best translation and the next best, best first."""

    best: Candidate
    alternatives: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Translated:
    """The translations of a request and what they took: milliseconds by stage, bytes of scratch at the peak."""

    translations: list[Translation]
    tokenize_ms: float
    encode_ms: float
    decode_ms: float
    detokenize_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class _Sentence(NamedTuple):
    """A piece of a text; `ids` is None for what is copied."""

    text: str
    ids: list[int] | None


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
        tensors, segments = directory.engine_inputs(allocation)
        self.allocation = allocation
        self.facts = ModelFacts(
            name=config.name,
            config=configuration,
            version=config.checksums["model.safetensors"][:12],
            bits_per_weight=round(directory.bits_per_weight(allocation), 4),
        )
        self._tokenizer = tokenizer
        self._max_batch_tokens = max_batch_tokens
        self._max_positions = config.architecture.max_positions
        self._length_penalty = config.length_penalty
        ids = asdict(config.ids)
        ids["suppressed"] = list(config.ids.suppressed)
        self._engine = Engine(asdict(config.architecture), ids, tensors, [Segment(*segment) for segment in segments])
        self.model_bytes = self._engine.weight_bytes

    def translate(self, texts: Sequence[str], options: Options, cancel: CancelFlag | None = None) -> Translated:
        """Translate texts; blocks, so it belongs in a worker thread.

        Raises:
            Cancelled: the flag was set.
        """
        started = time.perf_counter()
        documents = [list(self._sentences(text, options)) for text in texts]
        tokenize_ms = milliseconds_since(started)

        sources = [ids for document in documents for _, ids in document if ids is not None]
        results = [self._decode(batch, options, cancel) for batch in self._batches(sources, options)]

        started = time.perf_counter()
        hypotheses = iter([best_first for result in results for best_first in result.hypotheses])
        translations = [self._join(document, hypotheses) for document in documents]
        return Translated(
            translations=translations,
            tokenize_ms=tokenize_ms,
            encode_ms=round(sum(result.encode_ms for result in results), 3),
            decode_ms=round(sum(result.decode_ms for result in results), 3),
            detokenize_ms=milliseconds_since(started),
            workspace_peak_bytes=max((result.workspace_peak_bytes for result in results), default=0),
            kv_cache_peak_bytes=max((result.kv_cache_peak_bytes for result in results), default=0),
        )

    def close(self) -> None:
        """Free the engine; nobody may be translating."""
        self._engine.close()

    def _sentences(self, text: str, options: Options) -> Iterator[_Sentence]:
        """The pieces of a text in order, with ids where they are to be translated."""
        limit = min(MAX_SENTENCE_TOKENS, self._max_positions)
        pending = split(text, options.source, options.split_sentences)[::-1]
        while pending:
            piece = pending.pop()
            ids = self._tokenizer.encode(piece.text, options.target) if piece.translate else None
            if ids is not None and len(ids) > limit:
                # One character can't be cut, and pieces longer than this come only from the few that NFKC spells out.
                pending += halve(piece.text)[::-1] if len(piece.text) > 1 else [Piece(piece.text, False)]
            else:
                yield _Sentence(piece.text, ids)

    def _batches(self, sources: list[list[int]], options: Options) -> Iterator[list[list[int]]]:
        """Sources in order, cut where the token budget of an engine call ends."""
        batch: list[list[int]] = []
        tokens = 0
        for source in sources:
            cost = len(source) * _beam_size(options)
            if batch and tokens + cost > self._max_batch_tokens:
                yield batch
                batch, tokens = [], 0
            batch.append(source)
            tokens += cost
        if batch:
            yield batch

    def _decode(self, batch: list[list[int]], options: Options, cancel: CancelFlag | None) -> BatchResult:
        return self._engine.translate(
            batch,
            beam_size=_beam_size(options),
            num_hypotheses=options.alternatives + 1,
            length_penalty=self._length_penalty,
            # bounds what a model that repeats itself costs
            max_lengths=[min(2 * len(source) + 20, self._max_positions) for source in batch],
            cancel=cancel,
        )

    def _join(self, document: list[_Sentence], hypotheses: Iterator[list[Hypothesis]]) -> Translation:
        """The rank-r hypotheses of the sentences, joined, are the rank-r translation of the text."""
        columns: list[list[Candidate]] = []
        for sentence in document:
            if sentence.ids is None:
                columns.append([])
            else:
                columns.append([Candidate(self._tokenizer.decode(h.ids), h.score) for h in next(hypotheses)])
        translated = sum(sentence.ids is not None for sentence in document)
        ranked = []
        for rank in range(max((len(column) for column in columns), default=0) or 1):
            # a search may find fewer hypotheses of one sentence than of another: its last one stands in
            row = [column[min(rank, len(column) - 1)] if column else None for column in columns]
            text = "".join(
                sentence.text if candidate is None else candidate.text
                for sentence, candidate in zip(document, row, strict=True)
            )
            total = sum(candidate.score for candidate in row if candidate is not None)
            ranked.append(Candidate(text, round(total / translated, 6) if translated else 0.0))
        return Translation(ranked[0], tuple(ranked[1:]))


def _beam_size(options: Options) -> int:
    return max(options.beam_size, options.alternatives + 1)
