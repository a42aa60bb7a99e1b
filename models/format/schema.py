"""Records of config.json, constants of the format, and its two errors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from models.format.languages import LanguageTokens

FORMAT_VERSION = 3  # that is written
MAX_PLANES = 8
BLOCK_ROWS = 16  # rows whose words lie side by side: one 64-byte load
WORD_COLUMNS = 32  # columns in a word

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
SHORTLIST_FILE = "shortlist.safetensors"
VOCABULARY_FILES = {2: "vocab.json", 3: "vocab.safetensors"}  # by the format versions that are read
SENTENCEPIECE_FILES = ("source.spm", "target.spm")
# README.md, the model card, has the table of measured quality between these.
RESULTS_BEGIN, RESULTS_END = "<!-- results -->", "<!-- /results -->"

# A hostile config.json must not make us list a billion tensors, and what passes is what the engine takes.
MAX_LAYERS = 128
MAX_WIDTH = 1 << 17
MAX_POSITIONS = 1 << 16
MAX_VOCABULARY = 1 << 24
MAX_LENGTH_PENALTY = 10
MAX_BEAM_SIZE = 8


class ModelError(ValueError):
    """A model directory that can't be used. One sentence: the file and the fault."""


class UnavailableConfiguration(ValueError):
    """A configuration that this directory can't serve. One sentence: the reason."""


class Segment(NamedTuple):
    """Rows [begin, end) of a matrix use `planes` planes."""

    begin: int
    end: int
    planes: int


Allocation = Mapping[str, tuple[Segment, ...]]


@dataclass(frozen=True)
class Architecture:
    """The shape of the Transformer.

    Attributes:
        norm: layer norm before ("pre") or after each sub-layer.
        positions: what is added to the embeddings: as transformers and CTranslate2 have it in Marian models, as
            fairseq, or as tensor2tensor and Marian itself (`models.marian.transformer.positions`).
        autoregression: how a position of the target reads those before it. "ssru" is a simpler simple recurrent unit
            in the place of self-attention, as students of Marian have it.
    """

    d_model: int
    source_vocab_size: int
    target_vocab_size: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn_dim: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn_dim: int
    activation: Literal["relu", "swish", "gelu"]
    norm: Literal["post", "pre"]
    norm_epsilon: float
    scale_embedding: bool
    max_positions: int
    shared_vocabulary: bool
    tied_output: bool
    positions: Literal["marian", "fairseq", "tensor2tensor"] = "marian"
    autoregression: Literal["self_attention", "ssru"] = "self_attention"


@dataclass(frozen=True)
class Ids:
    """Rows of the sorted vocabulary.

    Attributes:
        suppressed: the search never predicts these.
        ends_sources: eos ends each source; models of OpenNMT-py, which Argos distributes, read none.
    """

    eos: int
    pad: int
    unk_source: int
    unk_target: int
    decoder_start: int
    suppressed: tuple[int, ...]
    ends_sources: bool = True

    def ended(self, rows: Sequence[int]) -> list[int]:
        """Return the rows of a source as the model reads them; one without any is eos alone."""
        return [*rows, self.eos] if self.ends_sources or not rows else list(rows)

    @property
    def silent(self) -> frozenset[int]:
        """Rows of the target side that stand for no text."""
        return frozenset((self.eos, self.pad, self.unk_target, self.decoder_start))


@dataclass(frozen=True)
class Codes:
    """The coding of the weights of one file. `group_size` None: one scale for a row and plane."""

    kind: Literal["progressive", "specialised"]
    depth: int
    group_size: int | None
    solver: str


@dataclass(frozen=True)
class Matrix:
    """One coded matrix; `error` is |W - W^|^2 / |W|^2 by planes (progressive) or as stored (specialised, one entry)."""

    rows: int
    columns: int
    error: tuple[float, ...]


@dataclass(frozen=True)
class Weights:
    """Contents of one weight file."""

    codes: Codes
    matrices: Mapping[str, Matrix]


@dataclass(frozen=True)
class Configuration:
    """An allocation with its cost, and its quality by test set where measured."""

    allocation: Allocation
    bits_per_weight: float
    bytes: int
    quality: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class ModelConfig:
    """config.json. `dataclasses.asdict` of its parts gives the mappings that the engine takes.

    Attributes:
        codes: of model.safetensors, as `matrices` are.
        beam_size: of requests that name none.
        source_tokens: language -> the piece that begins its sources, of models that want to know the source language.
        target_token_begins: what the piece of a target language begins; of M2M-100 and NLLB the translation.
        moses_punctuation: the model read only text whose punctuation Moses had normalised.
        shortlist: the configurations that choose words from shortlist.safetensors where a request does not say; None
            if there is no such file.
        specialised: configuration -> what NAME.safetensors holds, codes made for this configuration alone. They serve
            every request for its allocation, and model.safetensors serves the other allocations.
    """

    format_version: int
    name: str
    source_languages: tuple[str, ...]
    target_languages: tuple[str, ...]
    target_tokens: Mapping[str, str]
    architecture: Architecture
    ids: Ids
    length_penalty: float
    codes: Codes
    matrices: Mapping[str, Matrix]
    specialised: Mapping[str, Weights]
    configurations: Mapping[str, Configuration]
    default_configuration: str
    checksums: Mapping[str, str]
    beam_size: int = 1
    moses_punctuation: bool = False
    source_tokens: Mapping[str, str] = field(default_factory=dict)
    target_token_begins: Literal["source", "target"] = "source"
    shortlist: tuple[str, ...] | None = None

    @property
    def tokens(self) -> LanguageTokens:
        """The pieces that name languages."""
        return LanguageTokens(self.source_tokens, self.target_tokens, self.target_token_begins == "target")

    @property
    def weight_files(self) -> tuple[str, ...]:
        """Names of the weight files, the main one first."""
        return (WEIGHTS_FILE, *map(weights_file, self.specialised))

    @property
    def vocabulary_file(self) -> str:
        """Name of the file that holds the vocabulary."""
        return VOCABULARY_FILES[self.format_version]

    @property
    def checked_files(self) -> tuple[str, ...]:
        """Every file whose checksum is stated."""
        shortlist = () if self.shortlist is None else (SHORTLIST_FILE,)
        return (*self.weight_files, self.vocabulary_file, *shortlist, *SENTENCEPIECE_FILES)


def weights_file(configuration: str) -> str:
    """Return the name of the file of codes that are specialised to a configuration."""
    return f"{configuration}.safetensors"
