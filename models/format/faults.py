"""Faults of a configuration: each function returns a sentence without its full stop, None if there is nothing wrong."""

import ctypes
import math
import re
from dataclasses import asdict

from models.format.layout import bits_per_weight, matrix_shapes
from models.format.schema import (
    MAX_BEAM_SIZE,
    MAX_LAYERS,
    MAX_LENGTH_PENALTY,
    MAX_PLANES,
    MAX_POSITIONS,
    MAX_VOCABULARY,
    MAX_WIDTH,
    SHORTLIST_FILE,
    WEIGHTS_FILE,
    WORD_COLUMNS,
    Allocation,
    Architecture,
    ModelConfig,
    Weights,
    weights_file,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def config_fault(config: ModelConfig) -> str | None:
    """Find what contradicts itself in a config.json of the right types."""
    return (
        architecture_fault(config.architecture)
        or _names_fault(config)
        or _ids_fault(config)
        or _search_fault(config)
        or _codes_fault(config)
        or next(filter(None, (_configuration_fault(config, name) for name in config.configurations)), None)
    )


def architecture_fault(architecture: Architecture) -> str | None:
    """Find what is impossible about an architecture."""
    limits = {
        "source_vocab_size": MAX_VOCABULARY,
        "target_vocab_size": MAX_VOCABULARY,
        "encoder_layers": MAX_LAYERS,
        "decoder_layers": MAX_LAYERS,
        "max_positions": MAX_POSITIONS,
    }
    for name, value in asdict(architecture).items():
        limit = limits.get(name, MAX_WIDTH)
        if type(value) is int and not 1 <= value <= limit:
            return f"architecture.{name} is {value}, outside 1 to {limit}"
    for heads in ("encoder_heads", "decoder_heads"):
        if architecture.d_model % getattr(architecture, heads):
            return f"architecture.d_model is {architecture.d_model}, which {heads} must divide"
    if architecture.d_model % 2:
        return "architecture.d_model must be even, half sines and half cosines of the positions"
    if not 0 < ctypes.c_float(architecture.norm_epsilon).value < 1:
        return "architecture.norm_epsilon must lie between 0 and 1, in single precision too"
    if architecture.shared_vocabulary and architecture.source_vocab_size != architecture.target_vocab_size:
        return "a shared vocabulary has one size, but source_vocab_size and target_vocab_size differ"
    return None


def _names_fault(config: ModelConfig) -> str | None:
    for name in (config.name, *config.configurations):
        if not NAME.fullmatch(name):
            return f"{name!r} is not a name: letters, digits, '.', '_' and '-' make one"
    if not config.source_languages or not config.target_languages:
        return "source_languages and target_languages must each name a language"
    if unknown := sorted(config.target_tokens.keys() - set(config.target_languages)):
        return f"target_tokens has {unknown[0]!r}, which is not one of target_languages"
    return None


def _ids_fault(config: ModelConfig) -> str | None:
    source, target = config.architecture.source_vocab_size, config.architecture.target_vocab_size
    ids = config.ids
    limits = [("eos", ids.eos, min(source, target)), ("pad", ids.pad, target), ("unk_source", ids.unk_source, source)]
    limits += [("unk_target", ids.unk_target, target), ("decoder_start", ids.decoder_start, target)]
    limits += [("suppressed", token, target) for token in ids.suppressed]
    for name, token, size in limits:
        if not 0 <= token < size:
            return f"ids.{name} is {token}, outside the vocabulary of {size}"
    if ids.eos in ids.suppressed:
        return "ids.suppressed holds eos, so that no translation could end"
    return None


def _search_fault(config: ModelConfig) -> str | None:
    if not 0 <= config.length_penalty <= MAX_LENGTH_PENALTY:
        return f"length_penalty is {config.length_penalty}, outside 0 to {MAX_LENGTH_PENALTY}"
    if not 1 <= config.beam_size <= MAX_BEAM_SIZE:
        return f"beam_size is {config.beam_size}, outside 1 to {MAX_BEAM_SIZE}"
    return None


def _codes_fault(config: ModelConfig) -> str | None:
    if config.default_configuration not in config.configurations:
        return f"default_configuration is {config.default_configuration!r}, which configurations does not have"
    for name, weights in config.specialised.items():
        if name not in config.configurations or weights_file(name) in (WEIGHTS_FILE, SHORTLIST_FILE):
            return f"specialised has {name!r}, which is not the name of a configuration with weights of its own"
        if weights.codes.kind != "specialised":
            return f"specialised.{name}.codes.kind must be 'specialised'"
        if fault := _weights_fault(config.architecture, weights, f"specialised.{name}."):
            return fault
    allocations = [dict(config.configurations[name].allocation) for name in config.specialised]
    if any(allocation in allocations[:n] for n, allocation in enumerate(allocations)):
        return "two of the files in specialised are for the same allocation"
    others = config.configurations.keys() - config.specialised.keys() - {config.default_configuration}
    if config.codes.kind == "specialised" and others:
        return "specialised codes serve one configuration, but configurations has several"
    if unknown := sorted(set(config.shortlist or ()) - config.configurations.keys()):
        return f"shortlist has {unknown[0]!r}, which configurations does not have"
    if config.checksums.keys() != set(config.checked_files):
        return f"checksums must state {', '.join(config.checked_files)} and nothing else"
    return _weights_fault(config.architecture, Weights(config.codes, config.matrices), "")


def _weights_fault(architecture: Architecture, weights: Weights, where: str) -> str | None:
    codes = weights.codes
    if not 1 <= codes.depth <= MAX_PLANES:
        return f"{where}codes.depth is {codes.depth}, outside 1 to {MAX_PLANES}"
    group_size = WORD_COLUMNS if codes.group_size is None else codes.group_size
    if not 1 <= group_size <= MAX_WIDTH or group_size % WORD_COLUMNS:
        return f"{where}codes.group_size is {codes.group_size}, not a multiple of {WORD_COLUMNS} up to {MAX_WIDTH}"
    shapes = matrix_shapes(architecture)
    if unexpected := sorted(shapes.keys() ^ weights.matrices.keys()):
        state = "missing" if unexpected[0] in shapes else "unknown"
        return f"the field {where}matrices.{unexpected[0]} is {state}"
    errors = codes.depth if codes.kind == "progressive" else 1
    for name, matrix in weights.matrices.items():
        if (matrix.rows, matrix.columns) != shapes[name]:
            return (
                f"{where}matrices.{name} is {matrix.rows} x {matrix.columns}, "
                f"but the architecture makes it {shapes[name]}"
            )
        if len(matrix.error) != errors:
            return f"{where}matrices.{name}.error has {len(matrix.error)} entries instead of {errors}"
    return None


def allocation_fault(architecture: Architecture, depth: int, allocation: Allocation) -> str | None:
    """Find what is wrong with an allocation for an architecture and codes of `depth` planes."""
    shapes = matrix_shapes(architecture)
    if missing := sorted(shapes.keys() - allocation.keys()):
        return f"the allocation has no planes for the matrix {missing[0]!r}"
    if unknown := sorted(allocation.keys() - shapes.keys()):
        return f"the allocation names the matrix {unknown[0]!r}, which this model does not have"
    for name, segments in allocation.items():
        row, planes = 0, MAX_PLANES + 1
        for segment in segments:
            if segment.begin != row or segment.end <= segment.begin:
                return f"the segments of {name!r} must follow one another from row 0 without gap or overlap"
            if segment.planes < 1:
                return f"{name!r} is to have {segment.planes} planes; the least is 1"
            if segment.planes > depth:
                return f"{name!r} is to have {segment.planes} planes, but the codes are only {depth} planes deep"
            if segment.planes >= planes:
                return f"the planes of {name!r} must fall from one segment to the next"
            row, planes = segment.end, segment.planes
        if row != shapes[name][0]:
            return f"the segments of {name!r} cover {row} rows of {shapes[name][0]}"
    return None


def _configuration_fault(config: ModelConfig, name: str) -> str | None:
    configuration = config.configurations[name]
    where, codes = "", config.codes
    if name in config.specialised:
        where, codes = f"specialised.{name}.", config.specialised[name].codes
    if fault := allocation_fault(config.architecture, codes.depth, configuration.allocation):
        return f"configurations.{name}: {fault}"
    deepest = max(segments[0].planes for segments in configuration.allocation.values())
    if codes.kind == "specialised" and deepest != codes.depth:
        return f"{where}codes.depth is {codes.depth}, but the stored allocation has {deepest} planes at most"
    bits = bits_per_weight(config.architecture, configuration.allocation)
    if not math.isclose(configuration.bits_per_weight, bits, abs_tol=1e-6):
        return (
            f"configurations.{name}.bits_per_weight is {configuration.bits_per_weight}, but its allocation makes {bits}"
        )
    return None
