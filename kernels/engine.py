"""The engine's Python API over its C ABI: token ids in, token ids out.

Statuses become exceptions, and arrays that C++ points into are kept alive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, Final, NamedTuple

from kernels._engine import ffi, lib
from kernels.tensor import Array, Tensor

_DTYPES: Final = {"F32": lib.SUB3_FLOAT32, "F16": lib.SUB3_FLOAT16, "U32": lib.SUB3_UINT32}
CONSTRAINED_ROWS: Final = int(lib.SUB3_CONSTRAINED_ROWS)
MAX_CONSTRAINTS: Final = int(lib.SUB3_MAX_CONSTRAINTS)
MAX_THREADS: Final = int(lib.SUB3_MAX_THREADS)
# The format of the codes as the engine reads it; models.format, which must do without the engine, states it too.
BLOCK_ROWS: Final = int(lib.SUB3_BLOCK_ROWS)
WORD_COLUMNS: Final = int(lib.SUB3_WORD_COLUMNS)
MAX_PLANES: Final = int(lib.SUB3_MAX_PLANES)
_ACTIVATIONS: Final = {"relu": lib.SUB3_RELU, "swish": lib.SUB3_SWISH, "gelu": lib.SUB3_GELU}
_POSITIONS: Final = {
    "marian": lib.SUB3_MARIAN_POSITIONS,
    "fairseq": lib.SUB3_FAIRSEQ_POSITIONS,
    "tensor2tensor": lib.SUB3_TENSOR2TENSOR_POSITIONS,
}


class EngineError(Exception):
    """The engine refused a call or failed; the message says what to do."""


class InvalidModel(EngineError):
    """The tensors, segments or architecture do not form a model."""


class InvalidRequest(EngineError):
    """The ids or options of a call are out of the model's range."""


class Cancelled(EngineError):
    """The call's CancelFlag was set."""


_EXCEPTIONS: Final = {
    lib.SUB3_INVALID_MODEL: InvalidModel,
    lib.SUB3_INVALID_REQUEST: InvalidRequest,
    lib.SUB3_CANCELLED: Cancelled,
}


def _check(status: int) -> None:
    if status != lib.SUB3_OK:
        raise _EXCEPTIONS.get(status, EngineError)(ffi.string(lib.sub3_last_error()).decode())


def set_threads(threads: int) -> None:
    """Set how many threads of this process compute at most; 1 at first.

    A call computes in its own thread. The loops of a call that runs alone are shared among up to four threads
    (network/thread_pool.h). Results are the same to the bit.

    Raises:
        InvalidRequest: `threads` is not from 1 to MAX_THREADS.
    """
    _check(lib.sub3_set_threads(threads))


def position_table_bytes(max_positions: int, d_model: int) -> int:
    """Return the bytes that an engine of this architecture allocates beside its tensors: its table of positions."""
    return int(lib.sub3_position_table_bytes(max_positions, d_model))


class MatrixSegment(NamedTuple):
    """Rows [begin, end) of a matrix that use `planes` planes."""

    matrix: str
    begin: int
    end: int
    planes: int
    scale_begin: int  # first row that the scales tensor stores
    group_size: int  # columns that share a scale; 0 = the whole row


class Hypothesis(NamedTuple):
    """One translation: ids without eos; score = sum of log probabilities / length ** length_penalty.

    `alignment`, if requested, is [ids + 1, source ids]: the attention to each source token when each id, and at last
    eos, was chosen. The sum of a row is 1. The floats stay the engine's: 4 bytes each, where a list has 32.
    """

    ids: list[int]
    score: float
    alignment: Sequence[Sequence[float]] | None = None


class BatchResult(NamedTuple):
    """Translations of a batch and their cost."""

    hypotheses: list[list[Hypothesis]]  # for each source, best first
    encode_ms: float
    decode_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class CancelFlag:
    """A flag that cancels a call. Any thread may set it; the engine reads it before each layer and step."""

    def __init__(self) -> None:
        self._value = ffi.new("int32_t *", 0)

    def set(self) -> None:
        self._value[0] = 1


class Interrupt(CancelFlag):
    """A flag that has `Batch.step` return after the current step. Any thread may set it; clear it to use it again."""

    def clear(self) -> None:
        self._value[0] = 0


# Alternative phrases, each of target ids: a translation must contain one of them.
Constraint = Sequence[Sequence[int]]


class Sentence(NamedTuple):
    """A sentence that joins a batch: ids that end with eos, and search options as in `Engine.translate`."""

    ids: Sequence[int]
    max_length: int
    beam_size: int = 1
    num_hypotheses: int = 1
    length_penalty: float = 1.0
    min_length: int = 0
    alignment_layer: int = 0
    constraints: Sequence[Constraint] = ()
    prefix: Sequence[int] = ()  # what the hypotheses begin with
    shortlist: bool = False

    @property
    def rows(self) -> int:
        """The most hypotheses that run at a time."""
        return max(self.beam_size, CONSTRAINED_ROWS) if self.constraints else self.beam_size


class SentenceResult(NamedTuple):
    """Translations of a sentence, best first, and its share of the batch's cost (decoding/batch.h)."""

    hypotheses: list[Hypothesis]
    encode_ms: float
    decode_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class Progress(NamedTuple):
    """The steps of one call of `Batch.step`; `rows` is the sum over them, the bytes are those the whole batch holds."""

    ended: list[int]  # sentences to take
    steps: int
    rows: int
    milliseconds: float
    workspace_bytes: int
    kv_cache_bytes: int


class _Tables:
    """Tensors and segments as C structs, with everything they point to."""

    def __init__(self, tensors: Mapping[str, Array], segments: Sequence[MatrixSegment]) -> None:
        self._alive: list[Any] = []
        self.tensors = ffi.new("sub3_tensor[]", max(len(tensors), 1))
        self.num_tensors = len(tensors)
        for entry, (name, array) in zip(self.tensors, tensors.items(), strict=False):
            try:
                tensor = Tensor.of(array)
            except ValueError as error:
                raise InvalidModel(f'Tensor "{name}" must {error}.') from None
            if not 1 <= len(tensor.shape) <= 3:
                raise InvalidModel(f'Tensor "{name}" must have 1 to 3 dimensions.')
            entry.name = self._text(name)
            entry.dtype = _DTYPES[tensor.dtype]
            entry.num_dims = len(tensor.shape)
            entry.shape[0 : len(tensor.shape)] = tensor.shape
            held = ffi.from_buffer(tensor.buffer)
            self._alive.append(held)
            entry.data = held + tensor.begin
            entry.bytes = tensor.nbytes
        self.segments = ffi.new("sub3_segment[]", max(len(segments), 1))
        self.num_segments = len(segments)
        for entry, segment in zip(self.segments, segments, strict=False):
            entry.matrix = self._text(segment.matrix)
            entry.begin, entry.end, entry.planes = segment.begin, segment.end, segment.planes
            entry.scale_begin, entry.group_size = segment.scale_begin, segment.group_size

    def _text(self, text: str) -> Any:
        value = ffi.new("char[]", text.encode())
        self._alive.append(value)
        return value


class _Phrases:
    """The phrases of sentences as C structs, with everything they point to."""

    def __init__(self, constraints: Sequence[Sequence[Constraint]], prefixes: Sequence[Sequence[int]]) -> None:
        """Take the constraints and the prefix of each sentence."""
        phrases = [
            [(number, phrase) for number, alternatives in enumerate(of_sentence) for phrase in alternatives]
            + ([(lib.SUB3_PREFIX, prefix)] if prefix else [])
            for of_sentence, prefix in zip(constraints, prefixes, strict=True)
        ]
        self.offsets = ffi.new("uint64_t[]", [0, *accumulate(map(len, phrases))])
        self.count = int(self.offsets[len(phrases)])
        self.entries = ffi.new("sub3_phrase[]", max(self.count, 1))
        self._alive: list[Any] = []
        for entry, (number, phrase) in zip(self.entries, chain.from_iterable(phrases), strict=False):
            tokens = ffi.new("int32_t[]", list(phrase))
            self._alive.append(tokens)
            entry.tokens, entry.num_tokens, entry.constraint = tokens, len(tokens), number


class _Result:
    """Arrays for hypotheses, and the C struct that points to them.

    Args:
        slots: the number of hypotheses.
        longest: ids of the longest hypothesis.
        longest_source: ids of the longest source if the hypotheses are aligned; else 0.
    """

    def __init__(self, slots: int, longest: int, longest_source: int) -> None:
        self._tokens = ffi.new("int32_t[]", slots * longest)
        self._lengths = ffi.new("int32_t[]", slots)
        self._scores = ffi.new("float[]", slots)
        self._longest = longest
        self.struct = ffi.new("sub3_result *")
        self.struct.tokens, self.struct.num_tokens = self._tokens, slots * longest
        self.struct.lengths, self.struct.scores = self._lengths, self._scores
        self.struct.max_length, self.struct.num_slots = longest, slots
        self._longest_source = longest_source
        if longest_source:
            self._alignments = ffi.new("float[]", slots * (longest + 1) * longest_source)
            self.struct.alignments, self.struct.num_alignments = self._alignments, len(self._alignments)
            self.struct.max_source_length = longest_source
            self._weights = memoryview(ffi.buffer(self._alignments)).cast("B").cast("f")

    def hypotheses(self, first: int, count: int, source_length: int) -> list[Hypothesis]:
        """Return the hypotheses found in `count` slots from `first` on, all of a source of `source_length` ids."""
        found = []
        for slot in range(first, first + count):
            if (length := self._lengths[slot]) >= 0:
                ids = ffi.unpack(self._tokens + slot * self._longest, length)
                aligned = self._alignment(slot, length + 1, source_length) if self._longest_source else None
                found.append(Hypothesis(ids, self._scores[slot], aligned))
        return found

    def _alignment(self, slot: int, rows: int, columns: int) -> list[memoryview[float]]:
        first = slot * (self._longest + 1) * self._longest_source
        begins = range(first, first + rows * self._longest_source, self._longest_source)
        return [self._weights[begin : begin + columns] for begin in begins]

    def cost(self) -> tuple[float, float, int, int]:
        """Return milliseconds of encoding and decoding, and peak bytes of workspace and KV cache."""
        cost = self.struct
        return cost.encode_seconds * 1e3, cost.decode_seconds * 1e3, cost.workspace_peak_bytes, cost.kv_cache_peak_bytes


class Engine:
    """A loaded model of one configuration: immutable and thread-safe. It releases the GIL while it computes."""

    def __init__(
        self,
        architecture: Mapping[str, int | float | str | bool],
        ids: Mapping[str, int | Sequence[int]],
        tensors: Mapping[str, Array],
        segments: Sequence[MatrixSegment],
    ) -> None:
        """Build the model over tensors, which are used in place and kept alive.

        Args:
            architecture: the object of this name in config.json; unknown keys are ignored.
            ids: the object of this name in config.json; unknown keys are ignored.
            tensors: planes, scales and vectors by name.
            segments: those of each matrix, in the order of its rows.

        Raises:
            InvalidModel: a tensor or field is missing or wrong; the message names it.
        """
        tables = _Tables(tensors, segments)
        self._tables: _Tables | None = tables
        config = ffi.new("sub3_config *")
        try:
            for field in ("d_model", "source_vocab_size", "target_vocab_size", "max_positions"):
                setattr(config, field, architecture[field])
            for side in ("encoder", "decoder"):
                for field in ("layers", "heads", "ffn_dim"):
                    setattr(config, f"{side}_{field}", architecture[f"{side}_{field}"])
            config.activation = _ACTIVATIONS[str(architecture["activation"])]
            config.pre_norm = architecture["norm"] == "pre"
            config.ssru = architecture.get("autoregression") == "ssru"
            config.norm_epsilon = architecture["norm_epsilon"]
            config.positions = _POSITIONS[str(architecture.get("positions", "marian"))]
            for field in ("scale_embedding", "shared_vocabulary", "tied_output"):
                setattr(config, field, bool(architecture[field]))
            config.eos, config.decoder_start = ids["eos"], ids["decoder_start"]
            suppressed = ffi.new("int32_t[]", ids["suppressed"])
        except KeyError as error:
            raise InvalidModel(f"The architecture or the ids lack or do not know {error}.") from None
        except (TypeError, OverflowError) as error:
            raise InvalidModel(f"The architecture or the ids hold a wrong value: {error}.") from None
        config.suppressed, config.num_suppressed = suppressed, len(suppressed)
        model = ffi.new("sub3_model **")
        _check(
            lib.sub3_model_create(
                config, tables.tensors, tables.num_tensors, tables.segments, tables.num_segments, model
            )
        )
        self._model = ffi.gc(model[0], lib.sub3_model_destroy)
        self._target_vocab_size = int(config.target_vocab_size)
        self.has_shortlist = "shortlist.offsets" in tensors
        self.weight_bytes = int(lib.sub3_model_weight_bytes(self._model))

    def translate(
        self,
        sources: Sequence[Sequence[int]],
        *,
        max_lengths: Sequence[int],
        beam_size: int = 1,
        num_hypotheses: int = 1,
        length_penalty: float = 1.0,
        min_length: int = 0,
        alignment_layer: int = 0,
        constraints: Sequence[Sequence[Constraint]] = (),
        prefixes: Sequence[Sequence[int]] = (),
        shortlist: bool = False,
        cancel: CancelFlag | None = None,
    ) -> BatchResult:
        """Translate a batch of sources of any lengths.

        Args:
            sources: ids of each source, ended by eos.
            max_lengths: of each source, the most target tokens, eos included.
            beam_size: 1 for greedy search, up to 64.
            num_hypotheses: translations of each source, from 1 to beam_size.
            length_penalty: exponent of the length by which a hypothesis's sum of log probabilities is divided, 0 to 10.
            min_length: target tokens before eos at least.
            alignment_layer: decoder layer, from 1, whose cross-attention (the mean of its heads) aligns the hypotheses;
                0: no alignment, at no cost.
            constraints: those of each source, or empty. Each hypothesis contains one phrase of each constraint if the
                shortest phrases together fit into the maximum length. They are met within the beam by dynamic beam
                allocation (Post & Vilar 2018, arXiv 1804.06609), which takes at least CONSTRAINED_ROWS rows.
            prefixes: ids that the hypotheses of each source begin with, or empty. They cost nothing: the score is that
                of what follows.
            shortlist: choose among the candidates that the model's lexicon has for the source's ids, eos and the ids of
                the constraints, so that scores are normalised over these alone (network/shortlist.h).
            cancel: when it is set, the call raises Cancelled.

        Raises:
            InvalidRequest: an id, length or option is out of range, or the model has no lexicon.
            Cancelled: `cancel` was set.
            EngineError: memory ran out, or the engine is closed.
        """
        if len(max_lengths) != len(sources):
            raise InvalidRequest("Give one maximum length for each source.")
        for of_sources in (constraints, prefixes):
            if of_sources and len(of_sources) != len(sources):
                raise InvalidRequest("Give the constraints and the prefixes of each source, or of none.")
        try:
            phrases = _Phrases(constraints or [()] * len(sources), prefixes or [()] * len(sources))
            tokens = ffi.new("int32_t[]", [token for source in sources for token in source])
            offsets = ffi.new("uint64_t[]", [0, *accumulate(len(source) for source in sources)])
            lengths = ffi.new("uint32_t[]", list(max_lengths))
            request = ffi.new(
                "sub3_request *",
                {
                    "tokens": tokens,
                    "num_tokens": len(tokens),
                    "offsets": offsets,
                    "num_sources": len(sources),
                    "max_lengths": lengths,
                    "min_length": min_length,
                    "beam_size": beam_size,
                    "num_hypotheses": num_hypotheses,
                    "length_penalty": length_penalty,
                    "alignment_layer": alignment_layer,
                    "phrases": phrases.entries,
                    "num_phrases": phrases.count,
                    "phrase_offsets": phrases.offsets if phrases.count else ffi.NULL,
                    "shortlist": shortlist,
                    "cancel": cancel._value if cancel is not None else ffi.NULL,
                },
            )
        except (OverflowError, TypeError) as error:
            raise InvalidRequest(f"A number of the request is out of range: {error}.") from None
        longest_source = max(map(len, sources), default=0) if alignment_layer else 0
        result = _Result(len(sources) * num_hypotheses, max(max_lengths, default=0), longest_source)
        _check(lib.sub3_translate(self._live_model(), request, result.struct))
        hypotheses = [
            result.hypotheses(number * num_hypotheses, num_hypotheses, len(source))
            for number, source in enumerate(sources)
        ]
        return BatchResult(hypotheses, *result.cost())

    def logits(self, source: Sequence[int], target: Sequence[int]) -> memoryview[float]:
        """Return logits [len(target), target_vocab_size] by teacher forcing: row t after reading target[0 .. t].

        `target` starts with decoder_start.

        Raises:
            InvalidRequest: an id or a length is out of range.
        """
        out = ffi.new("float[]", len(target) * self._target_vocab_size)
        _check(
            lib.sub3_logits(
                self._live_model(),
                ffi.new("int32_t[]", list(source)),
                len(source),
                ffi.new("int32_t[]", list(target)),
                len(target),
                out,
                len(out),
            )
        )
        return _matrix(out, len(target), self._target_vocab_size)

    def close(self) -> None:
        """Free the model and release its tensors. No call may be running; later calls raise EngineError."""
        if self._model is not None:
            ffi.release(self._model)
            self._model = None
            self._tables = None

    def _live_model(self) -> Any:
        if self._model is None:
            raise EngineError("The engine is closed.")
        return self._model


class Batch:
    """A running batch: sentences join between two steps, and leave when they end or are removed.

    The result of a sentence is what `Engine.translate` gives it alone. One thread at a time may use a batch; the engine
    must stay open meanwhile. The GIL is released while it computes.
    """

    def __init__(self, engine: Engine) -> None:
        """Create an empty batch, which takes next to no memory."""
        batch = ffi.new("sub3_batch **")
        _check(lib.sub3_batch_create(engine._live_model(), batch))
        self._batch = ffi.gc(batch[0], lib.sub3_batch_destroy)
        self._engine = engine
        self._sentences: dict[int, Sentence] = {}

    def __len__(self) -> int:
        """Return the number of sentences that run, or have ended and were not taken yet."""
        return len(self._sentences)

    def add(self, sentences: Mapping[int, Sentence]) -> None:
        """Encode sentences together, by keys that the caller chooses. They run from the next step on.

        Raises:
            InvalidRequest: a sentence is out of range, or its key is taken; none has joined.
            EngineError: memory ran out, and none has joined; or the batch is closed.
        """
        entries = ffi.new("sub3_sentence[]", len(sentences))
        alive: list[Any] = []
        try:
            for entry, (key, sentence) in zip(entries, sentences.items(), strict=True):
                tokens = ffi.new("int32_t[]", sentence.ids)
                alive.append(tokens)
                entry.id, entry.tokens, entry.num_tokens = key, tokens, len(tokens)
                entry.max_length, entry.min_length = sentence.max_length, sentence.min_length
                entry.beam_size, entry.length_penalty = sentence.beam_size, sentence.length_penalty
                entry.alignment_layer, entry.shortlist = sentence.alignment_layer, sentence.shortlist
                if sentence.constraints or sentence.prefix:
                    phrases = _Phrases([sentence.constraints], [sentence.prefix])
                    alive.append(phrases)
                    entry.phrases, entry.num_phrases = phrases.entries, phrases.count
                if not 1 <= sentence.num_hypotheses <= sentence.beam_size:
                    raise InvalidRequest("The number of hypotheses must be from 1 to the beam size.")
        except (OverflowError, TypeError) as error:
            raise InvalidRequest(f"A number of the request is out of range: {error}.") from None
        _check(lib.sub3_batch_add(self._live_batch(), entries, len(sentences)))
        self._sentences.update(sentences)

    def step(self, max_steps: int = 1, interrupt: Interrupt | None = None) -> Progress:
        """Take steps until a sentence has ended, `max_steps` are taken, or `interrupt` is set after a step.

        Raises:
            EngineError: memory ran out, or the batch is closed; it can only be closed then.
        """
        progress = ffi.new("sub3_progress *")
        ended = ffi.new("uint64_t[]", max(len(self._sentences), 1))
        progress.ended, progress.capacity = ended, len(ended)
        flag = interrupt._value if interrupt is not None else ffi.NULL
        _check(lib.sub3_batch_step(self._live_batch(), max_steps, flag, progress))
        return Progress(
            ffi.unpack(ended, progress.num_ended),
            progress.num_steps,
            progress.num_rows,
            progress.seconds * 1e3,
            progress.workspace_bytes,
            progress.kv_cache_bytes,
        )

    def take(self, key: int) -> SentenceResult:
        """Return the result of a sentence that has ended, and remove it.

        Raises:
            InvalidRequest: no ended sentence has the key.
        """
        sentence = self._sentences.get(key)
        if sentence is None:
            raise InvalidRequest("No sentence of the batch has that id.")
        length = len(sentence.ids)
        result = _Result(sentence.num_hypotheses, sentence.max_length, length if sentence.alignment_layer else 0)
        _check(lib.sub3_batch_take(self._live_batch(), key, result.struct))
        del self._sentences[key]
        return SentenceResult(result.hypotheses(0, sentence.num_hypotheses, length), *result.cost())

    def remove(self, key: int) -> None:
        """Remove a sentence, running or ended; its memory is freed at once.

        Raises:
            InvalidRequest: no sentence has the key.
        """
        _check(lib.sub3_batch_remove(self._live_batch(), key))
        del self._sentences[key]

    def close(self) -> None:
        """Remove all sentences and free the batch. Later calls raise EngineError."""
        if self._batch is not None:
            ffi.release(self._batch)
            self._batch = None
            self._sentences = {}

    def _live_batch(self) -> Any:
        if self._batch is None:
            raise EngineError("The batch is closed.")
        return self._batch


def isa() -> str:
    """Return the instruction set in use: "amx", "avx512", "avx2_vnni", "avx2", "neon_dotprod", "neon" or "scalar".

    It is the best that the CPU has, or the one that the environment's SUB3_FORCE_ISA names.

    Raises:
        EngineError: SUB3_FORCE_ISA names one that is unknown or that this CPU lacks.
    """
    name = lib.sub3_isa()
    if name == ffi.NULL:
        raise EngineError(ffi.string(lib.sub3_last_error()).decode())
    return str(ffi.string(name).decode())


def bcq_matmul(
    tensors: Mapping[str, Array],
    segments: Sequence[MatrixSegment],
    rows: int,
    x: Array,
    isa_name: str | None = None,
    *,
    int8: bool = False,
) -> memoryview[float]:
    """Multiply x [n, columns] by the coded matrix "m", to [n, rows]. For tests and benchmarks.

    Args:
        tensors: "m.plane.1" .. and "m.scales.k".
        segments: of the matrix "m".
        rows: of the matrix.
        x: float32, contiguous.
        isa_name: an instruction set; None for the one in use.
        int8: whether to take the int8 GEMM (kernels/products/bcq_int8_matmul.h).

    Raises:
        InvalidModel: the tensors or segments do not fit.
        InvalidRequest: the instruction set is not usable, or x or the matrix does not suit the product.
    """
    vectors = Tensor.of(x)
    if vectors.dtype != "F32":
        raise InvalidRequest(f"x must be float32, not {vectors.dtype}.")
    n, columns = vectors.shape
    out = ffi.new("float[]", n * rows)
    tables = _Tables(tensors, segments)
    _check(
        lib.sub3_bcq_matmul(
            isa_name.encode() if isa_name is not None else ffi.NULL,
            int8,
            tables.tensors,
            tables.num_tensors,
            tables.segments,
            tables.num_segments,
            rows,
            columns,
            ffi.from_buffer("float[]", x),
            n,
            out,
        )
    )
    return _matrix(out, n, rows)


def _matrix(numbers: Any, rows: int, columns: int) -> memoryview[float]:
    """Return a C array of floats as [rows, columns]."""
    return memoryview(ffi.buffer(numbers)).cast("B").cast("f", (rows, columns))
