"""`compress`: a checkpoint becomes a model directory of few bits that is served at once.

    text        divided into held-out and training lines, translated by the model where there are no translations
    prices      what an error of each row costs (models/quantize/fisher.py)
    planes      those that cost least for the bits, the bytes or the divergence asked (models/quantize/apportion.py)
    codes       specialised, compensated, fitted to what the codes before them made of the text
    training    codes, scales and vectors together towards the fp32 model's predictions, for the minutes left
    judgement   divergence and agreement on the held-out lines; BLEU and chrF where they have references

Each step leaves its result in OUT.work, so a call that was killed goes on where it was. OUT appears when all is done.
"""

import ctypes
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from models.codes.bit_config import Apportioned
from models.compress.card import card
from models.compress.text import Text, prepare
from models.evaluate.divergence import Divergence
from models.evaluate.evaluate import conditions, evaluate_engine, translate
from models.evaluate.quality import scores
from models.format.directory import open_model
from models.format.layout import Vectors, bits_per_weight, model_bytes
from models.format.schema import MAX_PLANES, Allocation, Architecture
from models.format.vocabulary import Vocabulary
from models.marian.batches import Batch, encode, in_order
from models.marian.checkpoint import Checkpoint
from models.marian.coded import dequantize
from models.marian.read import read_checkpoint
from models.marian.rows import piece_counts, sort_rows
from models.marian.transformer import Transformer
from models.quantize.allocate import AllocationError
from models.quantize.apportion import Curve, apportion, curves, predicted
from models.quantize.export import ExportError, Request, quantize, write_coded
from models.quantize.fisher import Prices, prices
from models.text.lines import read_lines
from models.train.dataset import read_corpus
from models.train.loop import MODEL, train
from models.train.recipe import Batches, Codes, Init, Optimizer, Phase, RetrainRecipe, Run, Source, Validation
from models.train.retrain import Retraining, Target
from models.train.schedule import Schedule
from models.train.state import newest_state
from models.train.warm_start import of_codes

PRICED_TOKENS, PRICED_BATCH_TOKENS = 4_000, 256  # of 240 M weights, 1,024 tokens' activations are 0.9 GB
CALIBRATION_TOKENS = 10_000  # and four times the widest matrix's columns, if that is more
BATCH_TOKENS = 1_024
TRANSLATING = 0.2  # of the minutes, at most
LENGTHS = (4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 80, 100)
TRAINED_BATCH_TOKENS = 1_600
RATE = 3e-4
LEAST_TOKENS = 10_000  # fewer are not worth a training
WHOLE_SOFTMAX = 16_000  # words up to which no sample stands for them
TIMED_STEPS = 3
ATTEMPTS = 4  # to meet a divergence
_M_MMAP_THRESHOLD, MAPPED = -3, 1 << 20  # bytes from which glibc gives freed memory back at once


@dataclass(frozen=True)
class Goal:
    """What is asked for; one of the three.

    Attributes:
        bits: planes for each weight, on average.
        size: bytes of the model.
        max_loss: KL to fp32 before training, nats a token.
    """

    bits: float | None = None
    size: int | None = None
    max_loss: float | None = None


@dataclass(frozen=True)
class Options:
    """Options of a compression.

    Attributes:
        goal: of bits, bytes or divergence.
        minutes: for everything but the judgement; 0 = no training.
        target: language of the text's translations, for a model of several.
        threads: of torch.
        name: of the model.
        source_languages: in place of what the model calls them; none for those.
        target_languages: likewise.
        moses_punctuation: as `read_checkpoint` takes it.
        notes: text on data and licences for the card.
    """

    goal: Goal
    minutes: float
    target: str | None
    threads: int
    name: str
    source_languages: tuple[str, ...] = ()
    target_languages: tuple[str, ...] = ()
    moses_punctuation: bool | None = None
    notes: str = ""


def compress(source: Path, files: Sequence[Path], out: Path, options: Options, *, overwrite: bool) -> dict[str, Any]:
    """Go the whole road, or on from where an earlier call was.

    Args:
        source: a checkpoint of any form.
        files: text of the source language, with translations or without.
        out: the model directory to be.
        options: what is made.
        overwrite: replace `out`.

    Returns:
        The figures of the card.

    Raises:
        ExportError: `out` exists, or OUT.work is that of another call.
        CheckpointError: the checkpoint can't be read.
        DataError: the text can't be read, or is too little.
        AllocationError: what is asked can't be met.
    """
    if out.exists() and not overwrite:
        raise ExportError(f"{out}: this exists already; --overwrite replaces it.")
    torch.set_num_threads(options.threads)
    _give_back_memory()
    work = out.with_name(f"{out.name}.work")
    _begin(work, source, files, options)
    clock = _Clock(work / "seconds.json")
    plain = read_checkpoint(source, options.source_languages, options.target_languages, options.moses_punctuation)
    seconds = TRANSLATING * 60 * options.minutes
    text = prepare(plain, files, work, target=options.target, seconds=seconds, threads=options.threads)
    _say(f"{options.name}: sorting words by their frequency")
    checkpoint, vocabulary = sort_rows(plain, *piece_counts(plain, [text.training]))
    del plain  # its embedding is another copy
    held_out = in_order(encode(checkpoint, text.held_out), checkpoint.ids, BATCH_TOKENS)
    clock.save()
    divergence = Divergence(checkpoint, held_out)
    calibrated = work / "calibrated"
    if not (work / "calibrated.json").exists():
        tokens = _calibrate(checkpoint, vocabulary, text, options, divergence, calibrated)
        kl = _divergence(divergence, calibrated)["loss"]
        (work / "calibrated.json").write_text(json.dumps({"tokens": tokens, "kl": kl}))
    done = json.loads((work / "calibrated.json").read_text())
    _say(f"{options.name}: KL {done['kl']:.4f} to fp32 once calibrated")
    clock.save()
    trained = _train(checkpoint, vocabulary, text, options, divergence, work, clock)
    result = work / "run" / MODEL if trained else calibrated
    clock.save()
    figures = {
        **_judge(result, checkpoint, text, divergence),
        "calibration_tokens": done["tokens"],
        "calibrated_kl": done["kl"],
        "trained_tokens": trained,
        "minutes": clock.seconds / 60,
        "processor_minutes": clock.processor_seconds / 60,
        "conditions": conditions(),
    }
    languages = f"{', '.join(checkpoint.source_languages)} to {', '.join(checkpoint.target_languages)}"
    (result / "README.md").write_text(card(options.name, languages, figures, options.notes), encoding="utf-8")
    if out.exists():
        shutil.rmtree(out)
    result.rename(out)
    shutil.rmtree(work)
    return figures


def _give_back_memory() -> None:
    """Give each freed tensor back to the system.

    With 240 M weights the prices peaked at 2.86 GB over four batches, and without this at 3.16 over five.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, MAPPED)


def _say(line: str) -> None:
    tqdm.write(line)


def _begin(work: Path, source: Path, files: Sequence[Path], options: Options) -> None:
    """Make the folder of the work, or check that it is that of the same call."""
    same = {
        "checkpoint": str(source.resolve()),
        "text": [[str(path.resolve()), path.stat().st_size if path.exists() else None] for path in files],
        "goal": asdict(options.goal),
        "target": options.target,
        "languages": [list(options.source_languages), list(options.target_languages)],
        "moses_punctuation": options.moses_punctuation,
        "name": options.name,
    }
    plan = work / "plan.json"
    if plan.exists():
        found = json.loads(plan.read_text())
        if different := [field for field in same if found.get(field) != same[field]]:
            raise ExportError(
                f"{work}: an earlier call with another {' and '.join(different)} did not finish; "
                "call it as it was, or remove this folder."
            )
        return
    work.mkdir(parents=True, exist_ok=True)
    plan.write_text(json.dumps(same, indent=1))


class _Clock:
    """Seconds of all calls together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = json.loads(path.read_text()) if path.exists() else [0.0, 0.0]
        self._began = time.monotonic(), _processor_seconds()

    @property
    def seconds(self) -> float:
        """By the clock on the wall."""
        return float(self._before[0] + time.monotonic() - self._began[0])

    @property
    def processor_seconds(self) -> float:
        """Of all processors."""
        return float(self._before[1] + _processor_seconds() - self._began[1])

    def save(self) -> None:
        """Keep them for a later call."""
        self._path.write_text(json.dumps([self.seconds, self.processor_seconds]))


def _processor_seconds() -> float:
    times = os.times()
    return times.user + times.system


# --- planes and codes -------------------------------------------------------------------------------------------------


def _calibrate(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    text: Text,
    options: Options,
    divergence: Divergence,
    path: Path,
) -> int:
    """Write a model directory of calibrated codes; return the tokens that they were fitted to."""
    widest = max(tensor.shape[1] for tensor in checkpoint.tensors.values() if tensor.dim() == 2)
    batches = _batches(checkpoint, text, max(CALIBRATION_TOKENS, 4 * widest))
    few = _batches(checkpoint, text, PRICED_TOKENS, PRICED_BATCH_TOKENS)
    found = prices(checkpoint, few)
    by_planes = curves(checkpoint, found.rows)
    architecture, goal = checkpoint.architecture, options.goal
    ratio = 1.0
    for attempt in range(ATTEMPTS):
        if goal.max_loss is None:
            allocation = apportion(by_planes, lambda allocation: _fits(checkpoint, goal, allocation))
        else:
            allocation = _for_loss(architecture, by_planes, goal.max_loss / ratio)
        bits = bits_per_weight(architecture, allocation)
        _say(f"{options.name}: {bits:.3f} bits a weight, predicted KL {ratio * predicted(by_planes, allocation):.4f}")
        _write_codes(checkpoint, vocabulary, allocation, batches, found, options, path)
        if goal.max_loss is None:
            break
        measured = _divergence(divergence, path)["loss"]
        if measured <= goal.max_loss:
            break
        ratio = 1.05 * measured / predicted(by_planes, allocation)
        if attempt == ATTEMPTS - 1:
            raise AllocationError(f"The divergence is {measured:.4f} at {bits:.2f} bits, above {goal.max_loss}.")
    return sum(batch.tokens for batch in batches)


def _batches(checkpoint: Checkpoint, text: Text, tokens: int, batch_tokens: int = BATCH_TOKENS) -> list[Batch]:
    """Return the first pairs of the text, with about so many target tokens, in batches of so many places a side."""
    pairs, count, lines = [], 0, []
    for line in read_lines(text.training):
        lines.append(line)
        if len(lines) == 64:
            pairs += encode(checkpoint, lines)
            count += sum(len(target) for _, target in pairs[-len(lines) :])
            lines = []
            if count >= tokens:
                break
    pairs += encode(checkpoint, lines)
    return in_order(pairs, checkpoint.ids, batch_tokens)


def _fits(checkpoint: Checkpoint, goal: Goal, allocation: Allocation) -> bool:
    architecture = checkpoint.architecture
    if goal.size is not None:
        bias = checkpoint.tensors.get("output.bias")
        vectors = Vectors(output_bias=bias is not None, half=True)
        return model_bytes(architecture, None, allocation, vectors) <= goal.size
    return bits_per_weight(architecture, allocation) <= (goal.bits or 0)


def _for_loss(architecture: Architecture, by_planes: dict[str, Curve], loss: float) -> dict[str, Any]:
    """Return the allocation of fewest bits whose predicted divergence is at most `loss`."""
    low, high = 1.0, float(MAX_PLANES)
    while high - low > 0.01:
        middle = (low + high) / 2
        allocation = apportion(by_planes, lambda found: bits_per_weight(architecture, found) <= middle)  # noqa: B023
        low, high = (low, middle) if predicted(by_planes, allocation) <= loss else (middle, high)
    return apportion(by_planes, lambda found: bits_per_weight(architecture, found) <= high)


def _write_codes(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    allocation: Allocation,
    batches: Sequence[Batch],
    found: Prices,
    options: Options,
    path: Path,
) -> None:
    """Write the directory of an allocation's calibrated codes."""
    bits = bits_per_weight(checkpoint.architecture, allocation)
    base = Apportioned(f"bits-{bits:.2f}", dict(allocation))
    request = Request(options.name, base, (), "specialised", MAX_PLANES, "refined", None)
    tensors, matrices = quantize(checkpoint, request, batches, found.states)
    write_coded(
        checkpoint,
        vocabulary,
        request,
        tensors,
        matrices,
        path,
        solver="refined, compensated",
        texts=(),
        notes=options.notes,
        overwrite=True,
    )


# --- training ---------------------------------------------------------------------------------------------------------


def _train(
    checkpoint: Checkpoint,
    vocabulary: Vocabulary,
    text: Text,
    options: Options,
    divergence: Divergence,
    work: Path,
    clock: _Clock,
) -> int:
    """Train the calibrated codes for the minutes left; return the tokens of it, 0 for none."""
    left = 60 * options.minutes - clock.seconds
    run = work / "run"
    plan = work / "training.json"
    if not plan.exists() and left <= 0:
        return 0
    _say(f"{options.name}: reading text to train on")
    calibrated = open_model(work / "calibrated")
    name = calibrated.config.default_configuration
    allocation = calibrated.allocation(name)
    longest = min(LENGTHS[-1], checkpoint.architecture.max_positions)
    shape = Batches(TRAINED_BATCH_TOKENS, tuple(length for length in LENGTHS if length <= longest))
    corpus = read_corpus(checkpoint, [Source(str(text.training), "")], work, shape, 1)
    words = checkpoint.architecture.target_vocab_size
    target = Target(options.name, Apportioned(name, dict(allocation)), (), vocabulary, (), options.notes)

    def objective(tokens: int) -> tuple[RetrainRecipe, Retraining]:
        recipe = RetrainRecipe(
            name=options.name,
            description="compress",
            init=Init("compress"),
            sources=(Source("training.tsv", ""),),
            batches=shape,
            validation=Validation("held-out", len(text.held_out), 0, max(tokens // 4, 1)),
            label_smoothing=0.0,
            optimizer=Optimizer(ema=0.99, scale_rate=0.2, weight_decay=0.0),
            run=Run(threads=options.threads, checkpoint_minutes=2.0),
            codes=Codes(name, "ste", ()),
            distillation=1.0,
            phases=(Phase("all", ("*",), Schedule(tokens, min(tokens // 10, 20_000), RATE)),),
            sampled_words=0 if words <= WHOLE_SOFTMAX else WHOLE_SOFTMAX // 2,
        )
        return recipe, Retraining(recipe, checkpoint, target, of_codes(calibrated, allocation))

    if not plan.exists():
        _say(f"{options.name}: timing {TIMED_STEPS} steps")
        _, timed = objective(LEAST_TOKENS)
        timed.enter(0, resumed=False)
        epoch = corpus.epoch(0)
        tokens = 0
        for step in range(TIMED_STEPS + 1):
            if step == 1:
                began = time.monotonic()
            batch = corpus.batch(epoch[step % len(epoch)])
            timed.loss(batch, step).backward()
            tokens += batch.tokens if step else 0
        speed = tokens / (time.monotonic() - began)
        left = 60 * options.minutes - clock.seconds
        count = int(speed * left)
        plan.write_text(json.dumps({"tokens": count}))
        del timed
    count = int(json.loads(plan.read_text())["tokens"])
    if count < LEAST_TOKENS:
        return 0
    _say(f"{options.name}: training on {count:,} tokens")
    recipe, objective_ = objective(count)
    progress = train(recipe, objective_, corpus, divergence, run)
    if progress.tokens < count or newest_state(run) is None:
        raise KeyboardInterrupt
    return progress.tokens


# --- judgement --------------------------------------------------------------------------------------------------------


def _divergence(divergence: Divergence, path: Path) -> dict[str, float]:
    """Measure a model directory's default configuration by what its codes stand for."""
    model = open_model(path)
    return divergence.measure(dequantize(model, model.allocation(model.config.default_configuration)))


def _judge(path: Path, checkpoint: Checkpoint, text: Text, divergence: Divergence) -> dict[str, Any]:
    """Measure the result on the held-out lines."""
    _say("judging on the held-out text")
    model = open_model(path)
    name = model.config.default_configuration
    found = _divergence(divergence, path)
    quality: dict[str, Any] | None = None
    if text.referenced:
        sources = [line.source for line in text.held_out]
        references = [line.target or "" for line in text.held_out]
        fp32 = translate(Transformer.from_tensors(checkpoint.architecture, checkpoint.tensors), checkpoint, sources)
        coded = evaluate_engine(model, name, sources)["translations"]
        quality = {"fp32": scores(fp32, references), "coded": scores(coded, references), "beam_size": 1}
        if (beam_size := model.config.beam_size) > 1:  # what requests get
            served = evaluate_engine(model, name, sources, beam_size)["translations"]
            quality |= {"served": scores(served, references), "beam_size": beam_size}
    configuration = model.config.configurations[name]
    return {
        "bytes": configuration.bytes,
        "fp32_bytes": 4 * sum(tensor.numel() for tensor in checkpoint.tensors.values()),
        "bits_per_weight": configuration.bits_per_weight,
        "held_out": len(text.held_out),
        "referenced": text.referenced,
        "kl": found["loss"],
        "agreement": found["agreement"],
        "quality": quality,
    }
