"""Engine: ids in, ids out. The only Python that sees the C ABI.

It turns statuses into exceptions and keeps the arrays alive that the C++ model points into.
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


class EngineError(Exception):
    """The engine refused or failed; the message is a sentence that says what to do."""


class InvalidModel(EngineError):
    """The tensors, segments or architecture do not make a model."""


class InvalidRequest(EngineError):
    """The ids or options of a call are outside what the model takes."""


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
    """How many threads of this process compute at most, 1 at first.

    A call takes one thread; one that is alone has its loops shared out among up to four (network/thread_pool.h).
    Results are the same to the bit.

    Raises:
        InvalidRequest: not from 1 to 256.
    """
    _check(lib.sub3_set_threads(threads))


def position_table_bytes(max_positions: int, d_model: int) -> int:
    """Return the bytes that an engine of this architecture allocates beside its tensors: its table of positions."""
    return int(lib.sub3_position_table_bytes(max_positions, d_model))


class MatrixSegment(NamedTuple):
    """Rows [begin, end) of a matrix that use `planes` planes (docs/design.md, "Codes")."""

    matrix: str
    begin: int
    end: int
    planes: int
    scale_begin: int  # first row that the scales tensor stores
    group_size: int  # columns that share a scale; 0 = the whole row


class Hypothesis(NamedTuple):
    """One translation: ids without eos; score = sum of log probabilities / length ** length_penalty.

    `alignment` if it was asked for: [ids + 1, source ids], how much the decoder looked at each source token when it
    chose each id, and at last eos; a row adds up to 1.
    """

    ids: list[int]
    score: float
    alignment: list[list[float]] | None = None


class BatchResult(NamedTuple):
    """Translations of a batch and what they cost."""

    hypotheses: list[list[Hypothesis]]  # for each source, best first
    encode_ms: float
    decode_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class CancelFlag:
    """Set from any thread; the engine reads it before each layer and step."""

    def __init__(self) -> None:
        self._value = ffi.new("int32_t *", 0)

    def set(self) -> None:
        self._value[0] = 1


class Interrupt(CancelFlag):
    """Set from any thread to have `Batch.step` return after the step that it is taking; cleared to use it again."""

    def clear(self) -> None:
        self._value[0] = 0


# What a translation must have: one of these phrases, each of target ids.
Constraint = Sequence[Sequence[int]]


class Sentence(NamedTuple):
    """What joins a batch: ids that end with eos, and how to search; the fields are those of `Engine.translate`."""

    ids: Sequence[int]
    max_length: int
    beam_size: int = 1
    num_hypotheses: int = 1
    length_penalty: float = 1.0
    min_length: int = 0
    alignment_layer: int = 0
    constraints: Sequence[Constraint] = ()

    @property
    def rows(self) -> int:
        """Hypotheses that may run at a time."""
        return max(self.beam_size, CONSTRAINED_ROWS) if self.constraints else self.beam_size


class SentenceResult(NamedTuple):
    """Translations of a sentence, best first, and its share of what the batch cost (docs/design.md, "Memory")."""

    hypotheses: list[Hypothesis]
    encode_ms: float
    decode_ms: float
    workspace_peak_bytes: int
    kv_cache_peak_bytes: int


class Progress(NamedTuple):
    """The steps that a call of `Batch.step` took; `rows` is their sum, the bytes are held now by the whole batch."""

    ended: list[int]  # sentences to take
    steps: int
    rows: int
    milliseconds: float
    workspace_bytes: int
    kv_cache_bytes: int


class _Tables:
    """Tensors and segments as the C ABI wants them, with everything they point to."""

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
    """The phrases of sentences as the C ABI wants them, with what they point to."""

    def __init__(self, constraints: Sequence[Sequence[Constraint]]) -> None:
        """`constraints`: of each sentence."""
        phrases = [
            [(number, phrase) for number, alternatives in enumerate(of_sentence) for phrase in alternatives]
            for of_sentence in constraints
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
    """Arrays for `slots` hypotheses of up to `longest` ids, and the struct that names them.

    `longest_source`: of the sources, in ids, if the hypotheses are to be aligned; else 0.
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

    def hypotheses(self, first: int, count: int, source_length: int) -> list[Hypothesis]:
        """Those found, of the slots from `first` on, which are of a source of that many ids."""
        found = []
        for slot in range(first, first + count):
            if (length := self._lengths[slot]) >= 0:
                ids = ffi.unpack(self._tokens + slot * self._longest, length)
                aligned = self._alignment(slot, length + 1, source_length) if self._longest_source else None
                found.append(Hypothesis(ids, self._scores[slot], aligned))
        return found

    def _alignment(self, slot: int, rows: int, columns: int) -> list[list[float]]:
        first = self._alignments + slot * (self._longest + 1) * self._longest_source
        return [ffi.unpack(first + row * self._longest_source, columns) for row in range(rows)]

    def cost(self) -> tuple[float, float, int, int]:
        """Milliseconds of encoding and decoding, bytes of workspace and key/value cache."""
        cost = self.struct
        return cost.encode_seconds * 1e3, cost.decode_seconds * 1e3, cost.workspace_peak_bytes, cost.kv_cache_peak_bytes


class Engine:
    """A loaded model of one configuration: immutable, thread-safe, the GIL is released while it computes."""

    def __init__(
        self,
        architecture: Mapping[str, int | float | str | bool],
        ids: Mapping[str, int | Sequence[int]],
        tensors: Mapping[str, Array],
        segments: Sequence[MatrixSegment],
    ) -> None:
        """Build the model over `tensors`, which are used in place and kept alive.

        `architecture` and `ids` are those objects of config.json; other keys in them are ignored.
        Raises InvalidModel with a sentence that names the tensor or field at fault.
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
            config.norm_epsilon = architecture["norm_epsilon"]
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
        cancel: CancelFlag | None = None,
    ) -> BatchResult:
        """Translate a batch of sources of any lengths, each ended by eos.

        `max_lengths` bounds the target tokens of each source, eos included; eos is not chosen within the first
        `min_length` tokens. The attention of the decoder's layer `alignment_layer`, from 1, to the source, the mean of
        its heads, aligns the hypotheses; nothing is spent on it if that is 0.

        `constraints` are those of each source, or of none: each hypothesis has one phrase of each, where the shortest
        of them fit into the maximum length together. They are met within the beam, by dynamic beam allocation (Post
        & Vilar 2018, arXiv 1804.06609), which takes at least CONSTRAINED_ROWS rows.

        Raises InvalidRequest, Cancelled, or EngineError when memory runs out.
        """
        if len(max_lengths) != len(sources):
            raise InvalidRequest("Give one maximum length for each source.")
        if constraints and len(constraints) != len(sources):
            raise InvalidRequest("Give the constraints of each source, or of none.")
        try:
            phrases = _Phrases(constraints if any(constraints) else ())
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
        """Teacher forcing: [len(target), target_vocab_size], row t after the decoder has read target[0..t].

        `target` starts with decoder_start. Raises InvalidRequest.
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
        """Free the model and let go of its tensors; no call may be running. Later calls raise EngineError."""
        if self._model is not None:
            ffi.release(self._model)
            self._model = None
            self._tables = None

    def _live_model(self) -> Any:
        if self._model is None:
            raise EngineError("The engine is closed.")
        return self._model


class Batch:
    """Sentences that run together: they join between two steps, and leave when they end or are removed.

    What a sentence gets is what `Engine.translate` gives it alone. One thread at a time may use a batch; the engine
    must stay open meanwhile. The GIL is released while it computes.
    """

    def __init__(self, engine: Engine) -> None:
        """An empty batch, which holds no memory to speak of."""
        batch = ffi.new("sub3_batch **")
        _check(lib.sub3_batch_create(engine._live_model(), batch))
        self._batch = ffi.gc(batch[0], lib.sub3_batch_destroy)
        self._engine = engine
        self._sentences: dict[int, Sentence] = {}

    def __len__(self) -> int:
        """Sentences that run, or have ended and were not taken yet."""
        return len(self._sentences)

    def add(self, sentences: Mapping[int, Sentence]) -> None:
        """Encode sentences together; the keys are the caller's names for them. They take part from the next step on.

        Raises InvalidRequest, or EngineError when memory runs out; then nobody has joined.
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
                entry.alignment_layer = sentence.alignment_layer
                if sentence.constraints:
                    phrases = _Phrases([sentence.constraints])
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

        After an EngineError the batch is of no more use but to be closed.
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
        """The result of a sentence that has ended; it leaves. Raises InvalidRequest if it hasn't."""
        sentence = self._sentences.get(key)
        if sentence is None:
            raise InvalidRequest("No sentence of the batch has that id.")
        length = len(sentence.ids)
        result = _Result(sentence.num_hypotheses, sentence.max_length, length if sentence.alignment_layer else 0)
        _check(lib.sub3_batch_take(self._live_batch(), key, result.struct))
        del self._sentences[key]
        return SentenceResult(result.hypotheses(0, sentence.num_hypotheses, length), *result.cost())

    def remove(self, key: int) -> None:
        """A sentence leaves, running or ended; its memory is free at once. Raises InvalidRequest if it isn't there."""
        _check(lib.sub3_batch_remove(self._live_batch(), key))
        del self._sentences[key]

    def close(self) -> None:
        """Everyone leaves. Later calls raise EngineError."""
        if self._batch is not None:
            ffi.release(self._batch)
            self._batch = None
            self._sentences = {}

    def _live_batch(self) -> Any:
        if self._batch is None:
            raise EngineError("The batch is closed.")
        return self._batch


def isa() -> str:
    """The instruction set in use: "avx512", "avx2_vnni", "avx2", "neon_dotprod", "neon" or "scalar".

    SUB3_FORCE_ISA chooses. Raises EngineError if it asks for one that is unknown or that this CPU lacks.
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
    """One product with the coded matrix "m": x [n, columns] -> [n, rows]. For tests and benchmarks.

    Args:
        x: float32, contiguous.
        int8: whether to take the int8 GEMM (kernels/products/bcq_int8_matmul.h).

    Raises InvalidModel for tables that do not fit and InvalidRequest for an instruction set that is not there.
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
    """A C array of floats as [rows, columns]."""
    return memoryview(ffi.buffer(numbers)).cast("B").cast("f", (rows, columns))
