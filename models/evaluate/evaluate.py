"""Quality, bytes, time and memory of a configuration in the engine, and of the fp32 checkpoint run by torch."""

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from kernels.engine import isa
from models.evaluate.fidelity import Named, named, names_right, numbers_all_arrive
from models.evaluate.quality import faults, scores
from models.format.directory import ModelDirectory
from models.format.languages import canonical
from models.format.punctuation import rules
from models.format.schema import SENTENCEPIECE_FILES
from models.text.lines import DataError, read_lines
from models.text.pieces import PieceTokenizer

if TYPE_CHECKING:  # torch would add its own memory to the process that is measured
    from models.marian.checkpoint import Checkpoint
    from models.marian.transformer import Transformer

FP32_BATCH = 64


def max_length(source_length: int, max_positions: int) -> int:
    """Return the target tokens that a source may have; the service allows as many."""
    return min(2 * source_length + 20, max_positions)


def read_test_set(source: Path, reference: Path, limit: int | None) -> tuple[list[str], list[str]]:
    """Read sentences and their references, line by line.

    Raises:
        DataError: a file can't be read, or they are empty or of different lengths.
    """
    sources, references = ([line.source for line in read_lines(path)] for path in (source, reference))
    if len(sources) != len(references):
        raise DataError(f"{source} has {len(sources)} lines, but {reference} has {len(references)}.")
    if not sources:
        raise DataError(f"{source}: the file is empty.")
    return sources[:limit], references[:limit]


def conditions() -> dict[str, Any]:
    """Describe where and how something is measured; the command without folders of this machine."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists() and (found := re.search(r"^model name\s*: (.*)$", info.read_text(), re.M)):
        cpu = found[1]
    commit = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    command = shlex.join([Path(sys.executable).name, "-m", "models", *sys.argv[1:]])
    return {
        "command": re.sub(r"(?<![^\s'=])/(?:[^\s'/]*/)*", "", command),  # of an absolute path the last name
        "commit": commit.stdout.strip() or None,
        "date": time.strftime("%Y-%m-%d"),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _process_rss_bytes() -> int:
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def evaluate_engine(
    model: ModelDirectory,
    configuration: str,
    sources: Sequence[str],
    beam_size: int = 1,
    *,
    shortlist: bool | None = None,
) -> dict[str, Any]:
    """Translate sentence by sentence on one thread; return the translations and what they cost.

    Args:
        model: an open model directory.
        configuration: the name of one of its configurations.
        sources: plain text, a sentence each; at least one.
        beam_size: 1 to 8; 1 is greedy search.
        shortlist: whether words are chosen from the model's shortlist; None: as the configuration has it.

    Raises:
        InvalidRequest: the model has no shortlist.
        UnavailableConfiguration: the model has no configuration of that name.
    """
    config, allocation = model.config, model.allocation(configuration)
    engine = model.engine(allocation)
    ids = config.ids
    reader, writer = tokenizers(model)
    listed = configuration in (config.shortlist or ()) if shortlist is None else shortlist
    translations, milliseconds, workspace, kv_cache = [], [], 0, 0
    for text in tqdm(sources, desc=configuration, unit="sentence"):
        rows, begins = reader.encode_marked(text, config.tokens)
        source = ids.ended(rows)
        begin = time.perf_counter()
        result = engine.translate(
            [source],
            beam_size=beam_size,
            length_penalty=config.length_penalty,
            prefixes=[list(map(writer.row, begins))],
            max_lengths=[max_length(len(source), config.architecture.max_positions)],
            shortlist=listed,
        )
        milliseconds.append(1000 * (time.perf_counter() - begin))
        translations.append(writer.decode(result.hypotheses[0][0].ids))
        workspace = max(workspace, result.workspace_peak_bytes)
        kv_cache = max(kv_cache, result.kv_cache_peak_bytes)
    return {
        "model_bytes": model.model_bytes(allocation),
        "bits_per_weight": round(model.bits_per_weight(allocation), 3),
        "ms_per_sentence": round(sum(milliseconds) / len(milliseconds), 2),
        "ms_median": round(sorted(milliseconds)[len(milliseconds) // 2], 2),
        "weight_bytes": engine.weight_bytes,
        "workspace_peak_bytes": workspace,
        "kv_cache_peak_bytes": kv_cache,
        "engine_peak_bytes": engine.weight_bytes + workspace + kv_cache,
        "process_rss_bytes": _process_rss_bytes(),
        "batch": 1,
        "threads": 1,
        "beam_size": beam_size,
        "isa": isa(),
        "translations": translations,
    }


def translate(model: "Transformer", checkpoint: "Checkpoint", sources: Sequence[str]) -> list[str]:
    """Translate greedily by torch, in batches of sentences of similar lengths."""
    ids = checkpoint.ids
    reader, writer = checkpoint.source_tokenizer(), checkpoint.target_tokenizer()
    marked = [reader.encode_marked(text, checkpoint.tokens) for text in sources]
    encoded = [ids.ended(rows) for rows, _ in marked]
    order = sorted(range(len(encoded)), key=lambda n: len(encoded[n]))
    translations = [""] * len(encoded)
    for first in tqdm(range(0, len(order), FP32_BATCH), desc="fp32", unit="batch", leave=False):
        batch = order[first : first + FP32_BATCH]
        lengths = [max_length(len(encoded[n]), checkpoint.architecture.max_positions) for n in batch]
        firsts = [writer.row(piece) for n in batch for piece in marked[n][1]]
        for n, tokens in zip(batch, model.greedy([encoded[n] for n in batch], ids, lengths, firsts), strict=True):
            translations[n] = writer.decode(tokens)
    return translations


def evaluate_fp32(checkpoint_path: Path, sources: Sequence[str]) -> dict[str, Any]:
    """Translate with the unquantised checkpoint by torch: greedy, in batches of similar lengths, on one thread."""
    tqdm.write(f"reading {checkpoint_path}", file=sys.stderr)
    import torch

    from models.marian.read import read_checkpoint
    from models.marian.transformer import Transformer

    torch.set_num_threads(1)
    checkpoint = read_checkpoint(checkpoint_path)
    model = Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors)
    begin = time.perf_counter()
    translations = translate(model, checkpoint, sources)
    seconds = time.perf_counter() - begin
    return {
        "model_bytes": 4 * sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        "bits_per_weight": 32.0,
        "ms_per_sentence": round(1000 * seconds / len(sources), 2),
        "process_rss_bytes": _process_rss_bytes(),
        "batch": FP32_BATCH,
        "threads": 1,
        "beam_size": 1,
        "library": f"torch {torch.__version__}",
        "translations": translations,
    }


def evaluate(
    model: ModelDirectory,
    configuration: str,
    source: Path,
    reference: Path,
    *,
    checkpoint: Path | None = None,
    limit: int | None = None,
    beam_size: int = 1,
    target: str | None = None,
    with_names: bool = False,
    shortlist: bool | None = None,
) -> Mapping[str, Any]:
    """Measure one configuration on one test set, and the checkpoint beside it where given.

    Args:
        model: an opened model directory.
        configuration: one of its configurations.
        source: text to translate, a sentence a line.
        reference: translations by people, line by line.
        checkpoint: the fp32 checkpoint to measure too.
        limit: sentences to take; None = all.
        beam_size: hypotheses that the engine's search keeps.
        target: language, for a model of several; None for its first, or what a source begins with.
        with_names: translate the 500 names of `fidelity.py` too.
        shortlist: whether the engine chooses words from the model's shortlist; None: as the configuration has it.

    Returns:
        Figures and translations, as JSON.

    Raises:
        DataError: the files can't be read or have different lengths.
    """
    sources, references = read_test_set(source, reference, limit)
    if target is not None:
        sources = _marked(sources, model, canonical(target))
    sentences = named(*_languages(model)) if with_names else []

    def by_engine(texts: Sequence[str]) -> dict[str, Any]:
        return evaluate_engine(model, configuration, texts, beam_size, shortlist=shortlist)

    return {
        "model": model.config.name,
        "configuration": configuration,
        "source": source.name,
        "sentences": len(sources),
        "conditions": conditions(),
        # the engine first: torch would add its own memory to the process
        "engine": _judged(by_engine(sources), model, sources, references) | _names(sentences, by_engine),
        "fp32": _judged(evaluate_fp32(checkpoint, sources), model, sources, references)
        | _names(sentences, lambda texts: evaluate_fp32(checkpoint, texts))
        if checkpoint
        else None,
    }


def _marked(sources: Sequence[str], model: ModelDirectory, target: str) -> list[str]:
    """Put the token of a target language before each source, where the model has such tokens."""
    config = model.config
    if target not in config.target_languages:
        raise DataError(f"{config.name} has no target {target!r}; it has {', '.join(config.target_languages)}.")
    token = config.target_tokens.get(target)
    return [f"{token} {text}" for text in sources] if token else list(sources)


def _names(sentences: Sequence[Named], translate: Callable[[Sequence[str]], Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many names are right; nothing without sentences."""
    if not sentences:
        return {}
    return names_right(sentences, translate([each.sentence for each in sentences])["translations"])


def _languages(model: ModelDirectory) -> tuple[str, str]:
    return model.config.source_languages[0], model.config.target_languages[0]


def _judged(
    figures: Mapping[str, Any], model: ModelDirectory, sources: Sequence[str], references: Sequence[str]
) -> dict[str, Any]:
    """Put the quality of the translations before the other figures."""
    (_, writer), rare = tokenizers(model), len(model.vocabulary.target_pieces) * 3 // 4
    translations = figures["translations"]
    found = faults(sources, translations, references, lambda text: writer.beyond(rare, text))
    arrived = numbers_all_arrive(sources, translations, references, _languages(model))
    return {**scores(translations, references), **found, **arrived, **figures}


def tokenizers(model: ModelDirectory) -> tuple[PieceTokenizer, PieceTokenizer]:
    """Make the tokenizers of the source and the target side."""
    vocabulary, config, ids = model.vocabulary, model.config, model.config.ids
    source, target = ((model.path / name).read_bytes() for name in SENTENCEPIECE_FILES)
    target_pieces = [piece for piece, _ in vocabulary.target_pieces]
    silent = ids.silent | config.tokens.silent_rows(target_pieces)
    by_source, by_target = (
        rules(config.moses_punctuation, languages) for languages in (config.source_languages, config.target_languages)
    )
    return (
        PieceTokenizer(source, [piece for piece, _ in vocabulary.source], ids.unk_source, (), by_source),
        PieceTokenizer(target, target_pieces, ids.unk_target, silent, by_target),
    )
