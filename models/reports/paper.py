"""The measurements of Chung et al. 2020 on our model; `paper_page` renders them beside the paper's figures.

    sensitivity   Table 1: one block at a time in 4, 3, 2, 1 planes, the rest in fp32, nothing retrained
    embedding     Figure 3: the embedding alone, by word frequency with ratios 1, 2, 4, 8, against flat planes
    models        Tables 2 and 3: whole models, after training or retrained: bytes, quality, time and memory
    blocks        Table 4: the share of each block in the time of a translation, from the engine
    runs          the validation curves of trainings

Each is recorded as JSON with its command and conditions.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kernels.engine import Engine, MatrixSegment
from kernels.tensor import Array
from models.codes import bcq
from models.codes.bit_config import Rule
from models.evaluate.evaluate import conditions, read_test_set, translate
from models.evaluate.quality import scores
from models.format.directory import ModelDirectory, open_model
from models.format.layout import matching, matrix_shapes
from models.format.schema import Segment
from models.marian.checkpoint import Checkpoint
from models.marian.read import read_checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.marian.transformer import Transformer
from models.train.log import LOG

# The paper's name of a block -> globs over matrices.
BLOCKS = {
    "Emb": ("*embedding", "output"),
    "Enc": ("encoder.*",),
    "Enc_ee": ("encoder.*.self_attention",),
    "Enc_ffn": ("encoder.*.ffn",),
    "Dec": ("decoder.*",),
    "Dec_dd": ("decoder.*.self_attention",),
    "Dec_ed": ("decoder.*.encoder_attention",),
    "Dec_ffn": ("decoder.*.ffn",),
}
SOLVERS: tuple[bcq.SolverName, ...] = ("greedy", "alternating")
RATIOS = (1, 2, 4, 8)
PLANES = (4, 3, 2, 1)
# Post-training codes: their names, and the options of `quantize`.
POST_TRAINING = {"greedy": ("--solver", "greedy"), "alternating": ("--solver", "alternating")}
COMPENSATED = "alternating, compensated"
FEW_PIECES = 32  # whose output layer costs nothing that can be measured


class PaperError(ValueError):
    """A measurement that can't be made. One sentence."""


class BlockTests:
    """BLEU of a checkpoint whose rows are sorted by frequency, with codes in place of some matrices.

    Args:
        checkpoint: a Marian directory.
        texts: training text to count pieces in, source then target.
        source: sentences of the test set.
        reference: their translations.
        limit: sentences that are translated, from the first.
    """

    def __init__(self, checkpoint: Path, texts: Sequence[Path], source: Path, reference: Path, limit: int) -> None:
        """Read the checkpoint and the test set.

        Args:
            checkpoint: the fp32 model.
            texts: where words are counted.
            source: sentences of the test set.
            reference: their translations, line by line.
            limit: sentences to translate.
        """
        torch.set_num_threads(1)  # small matrices: waiting for a second thread costs more than it brings
        plain = read_checkpoint(checkpoint)
        self.checkpoint: Checkpoint = sort_rows(plain, *piece_counts(plain, texts))[0]
        self.shapes = matrix_shapes(self.checkpoint.architecture)
        self._sources, self._references = read_test_set(source, reference, limit)
        self._codes: dict[tuple[str, str, int], Tensor] = {}

    def bleu(self, replaced: Mapping[str, Tensor]) -> float:
        """Return greedy BLEU with these matrices in place of the checkpoint's."""
        model = Transformer.from_tensors(self.checkpoint.architecture, {**self.checkpoint.tensors, **replaced})
        return float(scores(translate(model, self.checkpoint, self._sources), self._references)["bleu"])

    def coded(self, name: str, solver: bcq.SolverName, planes: int) -> Tensor:
        """Return the values of the codes of a matrix."""
        key = (name, solver, planes)
        if key not in self._codes:
            code = bcq.specialised(self.checkpoint.tensors[name], planes, solver=solver)
            self._codes[key] = code.dequantize(planes)
        return self._codes[key]

    def clustered(self, name: str, solver: bcq.SolverName, segments: Sequence[Segment]) -> Tensor:
        """Return the values of codes whose planes fall from one cluster of rows to the next."""
        return torch.cat([self.coded(name, solver, s.planes)[s.begin : s.end] for s in segments])


def sensitivity(tests: BlockTests) -> dict[str, Any]:
    """Measure Table 1, with the paper's greedy codes and with the best: solver -> block -> planes -> BLEU."""
    table: dict[str, dict[str, dict[str, float]]] = {}
    with tqdm(total=len(SOLVERS) * len(BLOCKS) * len(PLANES), desc="sensitivity", unit="model") as bar:
        for solver in SOLVERS:
            for block, globs in BLOCKS.items():
                names = matching(tests.shapes, *globs)
                row = table.setdefault(solver, {}).setdefault(block, {})
                for planes in PLANES:
                    row[str(planes)] = tests.bleu({name: tests.coded(name, solver, planes) for name in names})
                    bar.update()
    return {"fp32": tests.bleu({}), "bleu": table}


def embedding(tests: BlockTests) -> dict[str, Any]:
    """Measure Figure 3: solver -> a list of (name, bits a weight, BLEU)."""
    names = matching(tests.shapes, *BLOCKS["Emb"])
    rules = {f"r = {ratio}": Rule(("*",), None, 4, ratio) for ratio in RATIOS}
    rules |= {f"flat {planes}": Rule(("*",), planes, None, None) for planes in PLANES}
    curves: dict[str, list[dict[str, Any]]] = {}
    for solver in SOLVERS:
        for title, rule in tqdm(rules.items(), desc=f"embedding, {solver}", unit="model"):
            segments = {name: rule.segments(tests.shapes[name][0]) for name in names}
            weights = sum(tests.shapes[name][0] for name in names)
            bits = sum((s.end - s.begin) * s.planes for parts in segments.values() for s in parts) / weights
            bleu = tests.bleu({name: tests.clustered(name, solver, parts) for name, parts in segments.items()})
            curves.setdefault(solver, []).append({"name": title, "bits": round(bits, 3), "bleu": bleu})
    return {"fp32": tests.bleu({}), "curves": curves}


# --- whole models -----------------------------------------------------------------------------------------------------


def models(
    checkpoint: Path,
    texts: Sequence[Path],
    sets: Mapping[str, tuple[Path, Path]],
    configurations: Sequence[str],
    retrained: Sequence[tuple[str, Path, str | None]],
    limit: int | None,
) -> dict[str, Any]:
    """Measure Tables 2 and 3: one row a model, quality by test set and beam size.

    Args:
        checkpoint: the fp32 model.
        texts: in which pieces are counted; the first 2,000 pairs also compensate.
        sets: test set -> source and reference.
        configurations: to be coded after training.
        retrained: method, a directory that `retrain` wrote, one of its configurations (None: its default).
        limit: sentences of each set.
    """
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        made: list[tuple[str, Path, str | None]] = []
        for configuration in configurations:
            for method, options in _post_training(texts).items():
                directory = Path(scratch) / f"{configuration}-{len(made)}"
                command = ["quantize", str(checkpoint), str(directory), "--kind", "specialised"]
                _run([*command, "--config", configuration, "--text", *map(str, texts), *options])
                made.append((method, directory, None))
        fp32: dict[str, dict[str, Any]] = {}
        for number, (method, directory, chosen) in enumerate([*made, *retrained]):
            model = open_model(directory)
            name = chosen or model.config.default_configuration
            row: dict[str, Any] = {"configuration": name, "method": method, "bits": _bits(model, name), "sets": {}}
            for set_name, (source, reference) in sets.items():
                out = Path(scratch) / "result.json"
                for beam in (1, 4):
                    command = ["evaluate", str(directory), "--config", name, "--source", str(source)]
                    command += ["--reference", str(reference)]
                    command += ["--json", str(out), "--beam", str(beam), *(["--limit", str(limit)] if limit else [])]
                    command += ["--checkpoint", str(checkpoint)] if number == 0 and beam == 1 else []
                    _run(command)
                    result = json.loads(out.read_text())
                    row["sets"].setdefault(set_name, {})[str(beam)] = _without_text(result["engine"])
                    if result["fp32"]:
                        fp32[set_name] = {"1": _without_text(result["fp32"])}
            rows.append(row)
    return {"fp32": fp32, "models": rows}


def _post_training(texts: Sequence[Path]) -> dict[str, tuple[str, ...]]:
    calibrated = ("--solver", "alternating", "--calibrate", *map(str, texts), "--calibration-pairs", "2000")
    return POST_TRAINING | {COMPENSATED: calibrated}


def _run(arguments: Sequence[str]) -> None:
    if subprocess.run([sys.executable, "-m", "models", *arguments], check=False).returncode:
        raise PaperError(f"`python -m models {arguments[0]}` failed; the reason is above.")


def _without_text(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in figures.items() if name != "translations"}


def _bits(model: ModelDirectory, configuration: str) -> dict[str, float]:
    """Return planes a weight by the paper's three blocks and in all."""
    allocation, shapes = model.allocation(configuration), matrix_shapes(model.config.architecture)

    def mean(globs: Sequence[str]) -> float:
        names = matching(shapes, *globs)
        bits = sum((s.end - s.begin) * s.planes * shapes[n][1] for n in names for s in allocation[n])
        return round(bits / sum(shapes[n][0] * shapes[n][1] for n in names), 2)

    return {block: mean(BLOCKS[block]) for block in ("Emb", "Dec", "Enc")} | {"all": mean(("*",))}


# --- where the time goes ----------------------------------------------------------------------------------------------


def blocks(directory: Path, configuration: str, *, tokens: int = 30, runs: int = 100) -> dict[str, float]:
    """Measure Table 4: milliseconds of the blocks for so many tokens in and out, one thread.

    Args:
        directory: a model directory.
        configuration: one of its own.
        tokens: of the source, eos included, and of the translation.
        runs: whose median is taken.

    Returns:
        encoder: the engine's own measurement of its stage.
        decoder: the decoding stage of the same model with a vocabulary of 32 pieces.
        embedding: what the decoding stage of the whole model takes longer, the output layer.
        total: of the two stages.
    """
    model = open_model(directory)
    whole, few = _engine(model, configuration, None), _engine(model, configuration, FEW_PIECES)
    generator = np.random.default_rng(1)
    times: list[tuple[float, float, float]] = []
    for _ in range(runs):
        source = [*generator.integers(2, FEW_PIECES, tokens - 1).tolist(), model.config.ids.eos]
        results = [engine.translate([source], max_lengths=[tokens], min_length=tokens) for engine in (whole, few)]
        times.append((results[0].encode_ms, results[0].decode_ms, results[1].decode_ms))
    encode, decode, without_output = np.median(np.array(times), axis=0).tolist()
    figures = {"encoder": encode, "decoder": without_output, "embedding": decode - without_output}
    return {name: round(ms, 3) for name, ms in {**figures, "total": encode + decode}.items()}


def _engine(model: ModelDirectory, configuration: str, pieces: int | None) -> Engine:
    """Create an engine over the codes, with only the first pieces of a shared vocabulary if asked."""
    config, allocation = model.config, model.allocation(configuration)
    if pieces is None:
        return model.engine(allocation)
    if not (config.architecture.shared_vocabulary and config.architecture.tied_output):
        raise PaperError("The share of the output layer is measured on models of one shared vocabulary.")
    architecture = asdict(config.architecture) | {"source_vocab_size": pieces, "target_vocab_size": pieces}
    ids = asdict(config.ids) | {"pad": 1, "unk_source": 1, "unk_target": 1, "decoder_start": 1, "suppressed": [1]}
    tensors, segments = model.engine_inputs(allocation)
    planes, group_size = allocation["embedding"][0].planes, config.codes.group_size or 0
    segments = [segment for segment in segments if segment.matrix != "embedding"]
    segments.append(MatrixSegment("embedding", 0, pieces, planes, 0, group_size))
    return Engine(architecture, ids, dict(_first_pieces(tensors, pieces)), segments)


def _first_pieces(tensors: Mapping[str, Array], pieces: int) -> Iterator[tuple[str, Array]]:
    deepest = max(name.rpartition(".")[2] for name in tensors if name.startswith("embedding.scales."))
    for name, tensor in tensors.items():
        if name.startswith("embedding.plane."):
            yield name, np.ascontiguousarray(np.asarray(tensor)[: pieces // 16])
        elif name == f"embedding.scales.{deepest}":
            yield name, np.ascontiguousarray(np.asarray(tensor)[:, :, :pieces])
        elif name == "output.bias":
            yield name, np.ascontiguousarray(np.asarray(tensor)[:pieces])
        elif not name.startswith("embedding."):
            yield name, tensor


# --- trainings --------------------------------------------------------------------------------------------------------


def runs(directories: Sequence[Path]) -> dict[str, Any]:
    """Return for each run validation loss and BLEU against target tokens, and the hours of its steps.

    Raises:
        PaperError: a log has no step.
    """
    curves = {}
    for directory in directories:
        log = [json.loads(line) for line in (directory / LOG).read_text().splitlines()]
        training = [line for line in log if line["kind"] == "training"]
        if not training:
            raise PaperError(f"{directory / LOG}: no step has been logged.")
        steps = zip(training, [{"tokens": 0}, *training], strict=False)
        seconds = sum((line["tokens"] - before["tokens"]) / line["tokens_per_second"] for line, before in steps)
        keys = ("tokens", "phase", "version", "loss", "bleu")
        curve = [{k: line[k] for k in keys if k in line} for line in log if line["kind"] == "validation"]
        curves[directory.name] = {"tokens": log[-1]["tokens"], "hours": round(seconds / 3600, 2), "validation": curve}
    return {"runs": curves}


def record(path: Path, figures: Mapping[str, Any]) -> None:
    """Write figures with their conditions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"conditions": conditions(), **figures}, indent=1, ensure_ascii=False) + "\n")
