"""Export: checkpoint, piece counts and bit configuration -> model directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kernels.tensor import Array
from models.codes import bcq
from models.codes.bit_config import Apportioned, BitConfig, BitConfigError
from models.codes.compensate import compensate
from models.format.faults import allocation_fault
from models.format.layout import Vectors, bits_per_weight, block_range, is_code, matrix_shapes, model_bytes, plane_rows
from models.format.schema import (
    FORMAT_VERSION,
    MAX_PLANES,
    RESULTS_BEGIN,
    RESULTS_END,
    WORD_COLUMNS,
    Allocation,
    Architecture,
    Codes,
    Configuration,
    Matrix,
    ModelConfig,
    Segment,
)
from models.format.shortlist import shortlist_tensors
from models.format.vocabulary import Vocabulary
from models.format.write import write_model
from models.marian.batches import Batch
from models.marian.checkpoint import Checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.quantize.calibrate import calibrate, output_moment, read_batches


class ExportError(ValueError):
    """A checkpoint that can't be written as asked. One sentence."""


@dataclass(frozen=True)
class Request:
    """Options of an export.

    Attributes:
        base: the configuration that serves by default; the only one of specialised codes.
        others: further configurations of progressive codes.
        depth: planes of progressive codes.
        solver: of specialised codes.
        calibration: files of source TAB target; if any, the codes compensate the errors at the outputs of the matrices.
        calibration_pairs: sentence pairs that are read of them.
    """

    name: str
    base: BitConfig | Apportioned
    others: tuple[BitConfig, ...]
    kind: Literal["progressive", "specialised"]
    depth: int
    solver: bcq.SolverName
    group_size: int | None
    calibration: tuple[Path, ...] = ()
    calibration_pairs: int = 2000

    @property
    def solver_name(self) -> str:
        """Name for `codes.solver` of config.json."""
        solver = "nested" if self.kind == "progressive" else self.solver
        return f"{solver}, compensated" if self.calibration else solver


def pack_progressive(name: str, weights: Tensor, code: bcq.BinaryCode) -> tuple[dict[str, Array], Matrix]:
    """Return the tensors of one matrix for every depth, and its errors."""
    tensors: dict[str, Array] = {f"{name}.plane.{i}": bcq.pack(b.numpy()) for i, b in enumerate(code.bits, start=1)}
    tensors |= {f"{name}.scales.{k}": bcq.pack_scales(scales) for k, scales in code.scales.items()}
    errors = tuple(code.error(weights, k) for k in range(1, len(code.bits) + 1))
    rows, columns = weights.shape
    return tensors, Matrix(rows, columns, errors)


def pack_specialised(
    name: str, weights: Tensor, segments: Sequence[Segment], codes: Sequence[bcq.BinaryCode]
) -> tuple[dict[str, Array], Matrix]:
    """Pack one matrix for the file of a specialised model; return its tensors and its error.

    Args:
        name: of the matrix.
        weights: [rows, columns], what the codes approximate.
        segments: of its allocation, in order of rows, planes falling.
        codes: one for each segment.
    """
    rows, columns = weights.shape
    bits = np.zeros((segments[0].planes, rows, columns), dtype=np.bool_)
    tensors: dict[str, Array] = {}
    approximation = torch.empty_like(weights)
    for segment, code in zip(segments, codes, strict=True):
        bits[: segment.planes, segment.begin : segment.end] = code.bits.numpy()
        approximation[segment.begin : segment.end] = code.dequantize(segment.planes)
        first, last = block_range(segment)
        scales = code.scales[segment.planes].numpy()
        tensors[f"{name}.scales.{segment.planes}"] = np.pad(
            scales, ((0, 0), (0, 0), (segment.begin - first, last - segment.end))
        )
    for i in range(1, segments[0].planes + 1):
        tensors[f"{name}.plane.{i}"] = bcq.pack(bits[i - 1, : plane_rows(segments, i)])
    return tensors, Matrix(rows, columns, (bcq.relative_error(weights, approximation),))


def solve_progressive(
    weights: Tensor, depth: int, group_size: int | None, moment: Tensor | None, advance: bcq.Advance = bcq.unheard
) -> bcq.BinaryCode:
    """Solve codes of every depth.

    Args:
        weights: [rows, columns].
        depth: the most planes, 1 to 8.
        group_size: columns that share their scales; None for the whole row.
        moment: [columns, columns], second moment of the matrix's inputs for the GPTQ sweep of `compensate`; None skips
            the sweep.
        advance: hears of so many weights more that are solved.
    """
    if moment is None:
        return bcq.progressive(weights, depth, group_size=group_size, advance=advance)
    advance_half = _half(advance)
    code = bcq.progressive(weights, depth, group_size=group_size, advance=advance_half)
    return compensate(code, weights, moment, advance_half)


def solve_specialised(
    weights: Tensor,
    segments: Sequence[Segment],
    solver: bcq.SolverName,
    group_size: int | None,
    moment: Tensor | None,
    advance: bcq.Advance = bcq.unheard,
) -> list[bcq.BinaryCode]:
    """Solve a code for each segment.

    Args:
        weights: [rows, columns].
        segments: of the matrix's allocation, in order of rows.
        solver: how hard to look; see `bcq.specialised`.
        group_size: columns that share their scales; None for the whole row.
        moment: [columns, columns], as for `solve_progressive`.
        advance: hears of so many weights more that are solved.
    """
    codes = []
    share = advance if moment is None else _half(advance)
    for segment in segments:
        part = weights[segment.begin : segment.end]
        code = bcq.specialised(part, segment.planes, solver=solver, group_size=group_size, advance=share)
        codes.append(code if moment is None else compensate(code, part, moment, share))
    return codes


def _half(advance: bcq.Advance) -> bcq.Advance:
    """Return what hears of the progress of a first or a second pass."""
    return lambda weights: advance(weights / 2)


def quantize(
    checkpoint: Checkpoint, request: Request, batches: Sequence[Batch] = (), states: Tensor | None = None
) -> tuple[dict[str, Array], dict[str, Matrix]]:
    """Solve the codes of all matrices.

    Args:
        checkpoint: its rows sorted by frequency.
        request: what to make.
        batches: text to calibrate on; none = codes of the least error of each weight.
        states: `models.quantize.calibrate.output_moment` of the text, where it is known.

    Returns:
        All tensors of the model file, and the error of each matrix.
    """
    allocation = request.base.allocation(checkpoint.architecture)
    shapes = matrix_shapes(checkpoint.architecture)
    tensors: dict[str, Array] = {}
    matrices: dict[str, Matrix] = {}
    total = sum(rows * columns for rows, columns in shapes.values())
    with tqdm(total=total, desc="quantising", unit="weight", unit_scale=True) as progress:

        def solve(name: str, wanted: Tensor, moment: Tensor | None) -> Tensor:
            weights, segments = checkpoint.tensors[name], allocation[name]
            if request.kind == "progressive":
                code = solve_progressive(wanted, request.depth, request.group_size, moment, progress.update)
                coded, matrices[name] = pack_progressive(name, weights, code)
                result = code.dequantize(request.depth)
            else:
                codes = solve_specialised(wanted, segments, request.solver, request.group_size, moment, progress.update)
                coded, matrices[name] = pack_specialised(name, weights, segments, codes)
                result = torch.cat([code.dequantize(s.planes) for code, s in zip(codes, segments, strict=True)])
            tensors.update(coded)
            return result

        biases: dict[str, Tensor] = {}
        if batches:
            known = output_moment(checkpoint, batches) if states is None else states
            biases = calibrate(checkpoint, batches, known, solve)
        else:
            for name in shapes:
                solve(name, checkpoint.tensors[name], None)
    vectors = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items() if name not in shapes}
    vectors |= {name: bias.numpy() for name, bias in biases.items()}
    return {**vectors, **tensors}, {name: matrices[name] for name in shapes}


def model_card(config: ModelConfig, texts: Sequence[Path], notes: str) -> str:
    """Write README.md of the directory; `report` puts the measured quality between its markers."""
    a, pairs = config.architecture, f"{', '.join(config.source_languages)} to {', '.join(config.target_languages)}"
    source = ", ".join(path.name for path in texts) if texts else "SentencePiece's probabilities, for want of text"
    words = "shared" if a.shared_vocabulary else f"target side {a.target_vocab_size}"
    notes = notes or "## Data and licences\n\nNot stated."
    return f"""# {config.name}

Translates {pairs}. A Transformer of {a.encoder_layers} encoder and {a.decoder_layers} decoder layers,
width {a.d_model}, vocabulary {a.source_vocab_size} ({words}). Its weights are
{config.codes.kind} binary codes of up to {config.codes.depth} planes, written by `python -m models quantize`.
Word frequencies: {source}.

## Quality

{RESULTS_BEGIN}
Not measured yet; `python -m models report` fills this in.
{RESULTS_END}

{notes}
"""


def export(
    checkpoint: Checkpoint, texts: Sequence[Path], request: Request, path: Path, *, notes: str, overwrite: bool
) -> Checkpoint:
    """Sort, quantise and write a model directory; return the checkpoint, its rows in the order of the directory.

    Args:
        checkpoint: in the order of its own vocabulary.
        texts: where to count pieces; none = SentencePiece's own probabilities.
        request: what to make.
        path: the directory to be.
        notes: text for the model card, on data and licences.
        overwrite: replace a directory that exists.

    Raises:
        ExportError: the directory exists, or the request is out of range.
        BitConfigError: a configuration does not fit the model.
        DataError: a text can't be read.
    """
    architecture = checkpoint.architecture
    check(request)
    if path.exists() and not overwrite:
        raise ExportError(f"{path}: this exists already.")
    resolve(request, architecture)  # refuses before it solves
    checkpoint, vocabulary = sort_rows(checkpoint, *piece_counts(checkpoint, texts))
    batches = read_batches(checkpoint, request.calibration, request.calibration_pairs) if request.calibration else []
    tensors, matrices = quantize(checkpoint, request, batches)
    write_coded(
        checkpoint,
        vocabulary,
        request,
        tensors,
        matrices,
        path,
        solver=request.solver_name,
        texts=texts,
        notes=notes,
        overwrite=overwrite,
    )
    return checkpoint


def check(request: Request) -> None:
    """Refuse numbers that no file can have.

    Raises:
        ExportError: group size or depth are out of range.
    """
    if request.group_size is not None and (request.group_size < 1 or request.group_size % WORD_COLUMNS):
        raise ExportError(f"The group size is {request.group_size}, not a multiple of {WORD_COLUMNS}.")
    if not 1 <= request.depth <= MAX_PLANES:
        raise ExportError(f"The number of planes is {request.depth}, outside 1 to {MAX_PLANES}.")


def resolve(request: Request, architecture: Architecture) -> tuple[int, dict[str, Allocation]]:
    """Return the depth of the codes and the allocation of every configuration of the file, that of the base first.

    Raises:
        BitConfigError: the base does not fit the model.
    """
    depth = request.depth
    if request.kind == "specialised":
        depth = max(segments[0].planes for segments in request.base.allocation(architecture).values())
    allocations: dict[str, Allocation] = {}
    for config in (request.base, *request.others):
        allocation = config.allocation(architecture)
        if fault := allocation_fault(architecture, depth, allocation):
            if config is request.base:
                raise BitConfigError(f"The configuration {config.name!r} does not fit: {fault}.")
            continue  # a configuration deeper than the file is not one of its configurations
        allocations[config.name] = allocation
    return depth, allocations


def with_half_vectors(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Return the tensors of a file with biases and layer norms in float16, unless one is too large for it.

    They are 7 % of a file of 1.3 bits a weight; rounding them moves best-1's loss by 0.00002.
    """
    with np.errstate(over="ignore"):
        halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items() if not is_code(name)}
    fit = all(np.isfinite(half).all() for half in halves.values())
    return {**tensors, **halves} if fit else dict(tensors)


def write_coded(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    request: Request,
    tensors: Mapping[str, Array],
    matrices: Mapping[str, Matrix],
    path: Path,
    *,
    solver: str,
    texts: Sequence[Path],
    notes: str,
    overwrite: bool,
) -> None:
    """Write a model directory from codes.

    Args:
        checkpoint: its rows sorted as `vocabulary` is.
        vocabulary: pieces with their counts.
        request: what was made.
        tensors: all of the file; vectors in float32.
        matrices: shape and error of every matrix.
        path: the directory to be.
        solver: what made the codes; the rest as `export`.
    """
    architecture = checkpoint.architecture
    depth, allocations = resolve(request, architecture)
    if request.kind == "specialised":
        tensors = with_half_vectors(tensors)
    config = ModelConfig(
        format_version=FORMAT_VERSION,
        name=request.name,
        source_languages=checkpoint.source_languages,
        target_languages=checkpoint.target_languages,
        target_tokens=checkpoint.target_tokens,
        architecture=architecture,
        ids=checkpoint.ids,
        length_penalty=checkpoint.length_penalty,
        codes=Codes(
            kind=request.kind,
            depth=depth,
            group_size=request.group_size,
            solver=solver,
        ),
        matrices=matrices,
        specialised={},
        configurations={
            name: Configuration(
                allocation,
                bits_per_weight(architecture, allocation),
                model_bytes(architecture, request.group_size, allocation, Vectors.of(tensors)),
                {},
            )
            for name, allocation in allocations.items()
        },
        default_configuration=request.base.name,
        checksums={},
        beam_size=checkpoint.beam_size,
        moses_punctuation=checkpoint.moses_punctuation,
        source_tokens=checkpoint.source_tokens,
        target_token_begins=checkpoint.target_token_begins,
        shortlist=None if checkpoint.shortlist is None else tuple(allocations),
    )
    files = {**checkpoint.spm, "README.md": model_card(config, texts, notes).encode()}
    shortlist = {} if checkpoint.shortlist is None else shortlist_tensors(*checkpoint.shortlist)
    write_model(path, config, tensors, vocabulary, files, shortlist=shortlist, overwrite=overwrite)
