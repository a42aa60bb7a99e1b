"""The offline command line: `python -m models <verb>`. One function a room adds its verbs to the parser."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from models import __version__
from models.format.files import sentence

if TYPE_CHECKING:
    from models.marian.checkpoint import Checkpoint

ROOT = Path(__file__).resolve().parents[1]
COUNTED = ("tatoeba", "software_po", "libreoffice_help")  # where the pieces of our model are counted
OURS = ROOT / "models/store/en-de"
SHARED = Path(os.environ.get("SUB3_SHARED", ROOT.parent / "shared"))
# argparse has no public name for what add_subparsers returns.
_READABLE = "of transformers, CTranslate2 or Marian, a package of Argos, what import wrote, or a model directory"
Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. An error of the user or of the files is a sentence and exit code 2; Ctrl-C ends it with 130."""
    watched = sys.stderr.isatty()
    if not watched:
        os.environ.setdefault("TQDM_DISABLE", "1")  # a file or a pipe is no place for progress bars
    parsed = _parser().parse_args(arguments)
    if watched and (reads := getattr(parsed, "reads", None)):  # torch alone takes seconds
        print(f"{parsed.verb}: reading {getattr(parsed, reads)}", file=sys.stderr, flush=True)
    try:
        parsed.run(parsed)
    except (OSError, ValueError) as error:
        print(f"{parsed.verb}: {sentence(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parsed.verb}: interrupted.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Make and measure model directories.")
    parser.add_argument("--version", action="version", version=f"sub3 {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for add_room in (
        add_marian,
        add_quantize,
        add_evaluate,
        add_train,
        add_back_translation,
        add_carry,
        add_compress,
        add_reports,
    ):
        add_room(verbs)
    return parser


# --- checkpoints ------------------------------------------------------------------------------------------------------


def add_marian(verbs: Verbs) -> None:
    """Add the verbs that read checkpoints."""
    verb = verbs.add_parser("import", help="convert a Marian / Opus-MT directory into a checkpoint in fp32")
    verb.add_argument("checkpoint", type=Path, metavar="DIR", help=_READABLE)
    verb.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    _add_languages(verb)
    verb.set_defaults(run=_import, reads="checkpoint")

    verb = verbs.add_parser("keep", help="write a trained checkpoint in float16, as models/checkpoints has it")
    verb.add_argument("checkpoint", type=Path, metavar="DIR", help="the model of a run of `train`")
    verb.add_argument("out", type=Path, metavar="OUT", help="directory to write, in place of an older one")
    verb.set_defaults(run=_keep)


def _add_languages(verb: argparse.ArgumentParser) -> None:
    """Add the options that say what a checkpoint may not: its languages, and what its text went through."""
    for side, more in (("source", ""), ("target", "; of those that a token asks for, the ones to keep")):
        verb.add_argument(
            f"--{side}-languages",
            type=lambda text: tuple(filter(None, text.split(","))),
            default=(),
            metavar="CODES",
            help=f"such as es,ca,pt-BR (default: what the model calls them{more})",
        )
    verb.add_argument(
        "--moses-punctuation",
        action=argparse.BooleanOptionalAction,
        help="whether Moses normalised the punctuation of what it was trained on (default: what its card says)",
    )


def _read(arguments: argparse.Namespace) -> "Checkpoint":
    """Read the checkpoint of the arguments, with the languages that they name."""
    from models.marian.read import read_checkpoint

    return read_checkpoint(
        arguments.checkpoint, arguments.source_languages, arguments.target_languages, arguments.moses_punctuation
    )


def _import(arguments: argparse.Namespace) -> None:
    from models.marian.imported import write_checkpoint

    write_checkpoint(_read(arguments), arguments.out)


def _keep(arguments: argparse.Namespace) -> None:
    import torch

    from models.marian.marian import write_marian
    from models.marian.read import read_checkpoint

    write_marian(read_checkpoint(arguments.checkpoint), arguments.out, torch.float16)


# --- codes ------------------------------------------------------------------------------------------------------------


def add_quantize(verbs: Verbs) -> None:
    """Add the verbs that make and inspect codes."""
    verb = verbs.add_parser("quantize", help="write a model directory from a checkpoint")
    verb.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help=_READABLE)
    verb.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    verb.add_argument("--config", default="balanced", metavar="NAME", help="serves by default (default: %(default)s)")
    verb.add_argument(
        "--kind",
        choices=("progressive", "specialised"),
        default="progressive",
        help="progressive codes serve narrower configurations, too; below five planes specialised ones are far better",
    )
    verb.add_argument(
        "--solver",
        choices=("greedy", "refined", "alternating"),
        default="alternating",
        help="of specialised codes (default: %(default)s)",
    )
    verb.add_argument("--group-size", type=int, metavar="N", help="columns that share their scales (default: the row)")
    verb.add_argument("--max-planes", type=int, default=8, metavar="N", help="depth of progressive codes (default: 8)")
    verb.add_argument(
        "--text",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="text to count pieces in: source TAB target (.tsv, .tsv.xz) or plain text",
    )
    verb.add_argument(
        "--calibrate",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="source TAB target: fit codes to the errors at the outputs of the matrices on this text",
    )
    verb.add_argument(
        "--calibration-pairs",
        type=_positive,
        default=2000,
        metavar="N",
        help="sentence pairs to read in all (default: %(default)s)",
    )
    _add_languages(verb)
    verb.add_argument("--name", help="name of the model (default: the name of OUT)")
    verb.add_argument("--card", type=Path, metavar="FILE", help="text on data and licences for the model card")
    verb.add_argument("--overwrite", action="store_true", help="replace OUT")
    verb.set_defaults(run=_quantize, reads="checkpoint")

    verb = verbs.add_parser("assemble", help="put retrained weights into the directory of their model")
    verb.add_argument("directory", type=Path, metavar="DIR", help="a model directory")
    verb.add_argument("retrained", type=Path, nargs="*", metavar="RETRAINED", help="directories that retrain wrote")
    verb.add_argument("--default", metavar="NAME", help="configuration that serves by default (default: as it was)")
    verb.add_argument("--without", nargs="+", default=[], metavar="NAME", help="configurations to list no longer")
    verb.add_argument("--beam", type=_positive, metavar="N", help="of requests that name none (default: as it was)")
    verb.set_defaults(run=_assemble)

    verb = verbs.add_parser("shortlist", help="make the shortlist of a model, from its own attention on text")
    verb.add_argument("directory", type=Path, metavar="DIR", help="a model directory")
    verb.add_argument("--text", type=Path, nargs="+", required=True, metavar="FILE", help="source (TAB target)")
    verb.add_argument("--sentences", type=_positive, default=20_000, metavar="N", help="of each file (%(default)s)")
    verb.add_argument("--always", type=_positive, default=300, metavar="N", help="pieces for all (%(default)s)")
    verb.add_argument("--each", type=_positive, default=60, metavar="N", help="of a source piece (%(default)s)")
    verb.add_argument(
        "--configs", nargs="*", default=[], metavar="NAME", help="use it where a request does not say (default: none)"
    )
    verb.set_defaults(run=_shortlist)

    verb = verbs.add_parser("inspect", help="print each matrix: planes, bytes, error and the rule that won")
    verb.add_argument("directory", type=Path, metavar="DIR", help="a model directory")
    verb.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")
    verb.set_defaults(run=_inspect)

    verb = verbs.add_parser("allocate", help="search the planes of each sub-layer for a budget; writes a configuration")
    verb.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="in fp32")
    verb.add_argument("budget", type=float, metavar="BUDGET", help="bytes of the model, or microseconds a target token")
    verb.add_argument("out", type=Path, metavar="OUT", help="TOML file to write")
    verb.add_argument("--by", choices=("bytes", "time"), default="bytes", help="what is saved (default: %(default)s)")
    verb.add_argument("--against", nargs="*", default=[], metavar="NAME", help="configurations to measure beside it")
    verb.add_argument("--directory", type=Path, default=OURS, metavar="DIR", help="is timed")
    verb.add_argument("--shared", type=Path, default=SHARED, metavar="DIR", help="has corpus/")
    verb.add_argument("--limit", type=_positive, default=300, metavar="N", help="validation sentences")
    verb.add_argument("--learned", type=Path, metavar="F", help="TOML file for what training finds for the budget")
    verb.add_argument("--steps", type=_positive, default=200, metavar="N", help="of that training")
    verb.add_argument("--json", type=Path, metavar="F", help="file for what was measured")
    verb.set_defaults(run=_allocate, reads="checkpoint")


def _quantize(arguments: argparse.Namespace) -> None:
    import torch

    from models.codes.bit_config import find_config, shipped_configs
    from models.evaluate.divergence import diverging
    from models.format.directory import open_model
    from models.quantize.export import Request, export

    torch.set_num_threads(1)  # batches of small matrices: waiting for a second thread costs more than it brings
    base = find_config(arguments.config)
    others = [each for each in shipped_configs().values() if each.name != base.name and not each.retrained]
    progressive = arguments.kind == "progressive"
    request = Request(
        name=arguments.name or arguments.out.resolve().name,
        base=base,
        others=tuple(others) if progressive else (),
        kind=arguments.kind,
        depth=arguments.max_planes,
        solver=arguments.solver,
        group_size=arguments.group_size,
        calibration=tuple(arguments.calibrate),
        calibration_pairs=arguments.calibration_pairs,
    )
    if not arguments.text:
        print("No --text: pieces are sorted by SentencePiece's probabilities instead of counts.", file=sys.stderr)
    notes = arguments.card.read_text() if arguments.card else ""
    checkpoint = export(
        _read(arguments), arguments.text, request, arguments.out, notes=notes, overwrite=arguments.overwrite
    )
    if paired := [path for path in (*arguments.calibrate, *arguments.text) if ".tsv" in path.suffixes]:
        found = diverging(checkpoint, paired[0], open_model(arguments.out))
        print(
            f"{arguments.out}: KL to fp32 {found['loss']:.4f} nats a piece, the same likeliest piece "
            f"{100 * found['agreement']:.1f} %, on pairs of {paired[0].name}"
        )


def _assemble(arguments: argparse.Namespace) -> None:
    from models.quantize.assemble import assemble

    assemble(
        arguments.directory,
        arguments.retrained,
        default=arguments.default,
        without=arguments.without,
        beam_size=arguments.beam,
    )


def _shortlist(arguments: argparse.Namespace) -> None:
    from models.quantize.shortlist import Sizes, add_shortlist

    found = add_shortlist(
        arguments.directory,
        arguments.text,
        sentences=arguments.sentences,
        sizes=Sizes(arguments.always, arguments.each),
        configurations=arguments.configs,
    )
    print(
        f"{arguments.directory}: {sum(map(len, found.rows)):,} pairs of pieces from {found.sentences:,} sentences; of "
        f"held-out ones {100 * found.same:.1f} % keep every word, among {found.candidates:.0f} candidates"
    )


def _inspect(arguments: argparse.Namespace) -> None:
    from models.codes.bit_config import shipped_configs
    from models.format.describe import describe
    from models.format.directory import open_model

    model = open_model(arguments.directory)
    name = arguments.config or model.config.default_configuration
    shipped, architecture = shipped_configs().get(name), model.config.architecture
    rules = {}
    if shipped is not None and shipped.allocation(architecture) == dict(model.allocation(name)):
        rules = {matrix: str(rule) for matrix, rule in shipped.winners(architecture).items()}
    print(describe(model, name, rules))


def _allocate(arguments: argparse.Namespace) -> None:
    from models.codes.bit_config import find_config
    from models.marian.read import read_checkpoint
    from models.marian.rows import piece_counts, sort_rows
    from models.quantize import allocate
    from models.reports.paper import record
    from models.train.allocation import learn
    from models.train.dataset import read_corpus
    from models.train.recipe import Batches, Source, Validation
    from models.train.validation import HeldOut

    plain = read_checkpoint(arguments.checkpoint)
    texts = [arguments.shared / f"corpus/train/{name}.tsv.xz" for name in COUNTED]
    checkpoint = sort_rows(plain, *piece_counts(plain, texts))[0]
    what = Validation("valid/tatoeba", arguments.limit, arguments.limit, 1)
    held_out = HeldOut(checkpoint, what, range(4, 128, 4), arguments.shared)
    options = allocate.measure(checkpoint, held_out)
    cost: allocate.Cost
    if arguments.by == "bytes":
        cost, budget = (lambda option: option.bytes), arguments.budget - allocate.fixed_bytes(checkpoint)
    else:
        speed = allocate.microseconds_per_bit(arguments.directory)
        cost, budget = (lambda option: option.decode_bits * speed), arguments.budget
    unit = "bytes" if arguments.by == "bytes" else "microseconds of decoding a token"
    ways = {arguments.out: ("searched", allocate.choose(options, cost, budget))}
    if arguments.learned:
        shape = Batches(1600, tuple(range(4, 104, 4)))
        corpus = read_corpus(checkpoint, [Source(name, "") for name in COUNTED], arguments.shared / "corpus", shape, 1)
        ways[arguments.learned] = "learned", learn(checkpoint, options, cost, budget, corpus, arguments.steps)
    compared = [find_config(name) for name in arguments.against]
    for path, (how, chosen) in ways.items():
        found = allocate.configuration(path.stem, f"{how} for {arguments.budget:,.0f} {unit}", chosen)
        path.write_text(allocate.toml(found))
        compared.append(found)
    losses = {config.name: allocate.together(checkpoint, held_out, config) for config in compared}
    for name, figures in losses.items():
        print(f"{name}: loss {figures['loss']:.4f}, BLEU {figures['bleu']}, nothing retrained")
    if arguments.json:
        record(arguments.json, {"options": allocate.recorded(options), "together": losses})


# --- measurements -----------------------------------------------------------------------------------------------------


def add_evaluate(verbs: Verbs) -> None:
    """Add the verbs that measure a model."""
    verb = verbs.add_parser("evaluate", help="measure quality, bytes, time and memory of one configuration")
    verb.add_argument("directory", type=Path, metavar="DIR", help="a model directory")
    verb.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")
    verb.add_argument("--source", type=Path, required=True, metavar="F", help="sentences, one a line")
    verb.add_argument("--reference", type=Path, required=True, metavar="F", help="their translations, line by line")
    verb.add_argument("--json", type=Path, required=True, metavar="F", help="file to write")
    verb.add_argument("--checkpoint", type=Path, metavar="DIR", help="also measure this fp32 checkpoint, run by torch")
    verb.add_argument("--limit", type=_positive, metavar="N", help="only the first N sentences")
    verb.add_argument("--beam", type=_positive, default=1, metavar="N", help="beam size (default: 1, greedy, as fp32)")
    verb.add_argument(
        "--target", metavar="LANGUAGE", help="to translate into, of a model of several (default: the first)"
    )
    verb.add_argument("--names", action="store_true", help="also translate 400 places and 100 people")
    verb.add_argument(
        "--shortlist", action=argparse.BooleanOptionalAction, help="choose words from it (default: as configured)"
    )
    verb.set_defaults(run=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    import json

    from models.evaluate.evaluate import evaluate
    from models.format.directory import open_model

    model = open_model(arguments.directory)
    result = evaluate(
        model,
        arguments.config or model.config.default_configuration,
        arguments.source,
        arguments.reference,
        checkpoint=arguments.checkpoint,
        limit=arguments.limit,
        beam_size=arguments.beam,
        target=arguments.target,
        with_names=arguments.names,
        shortlist=arguments.shortlist,
    )
    arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for name in ("engine", "fp32"):
        if figures := result[name]:
            print(
                f"{name}, beam of {figures['beam_size']}: BLEU {figures['bleu']} chrF {figures['chrf']}, "
                f"{figures['ms_per_sentence']} ms per sentence"
            )
    if arguments.beam != model.config.beam_size:
        print(f"Requests that name no beam get one of {model.config.beam_size}: --beam {model.config.beam_size}.")


# --- training ---------------------------------------------------------------------------------------------------------


def add_train(verbs: Verbs) -> None:
    """Add the verbs that train, and that make text to train on."""
    verb = verbs.add_parser("train", help="train a checkpoint by a recipe; resumes where the run stopped")
    _add_training(verb)
    verb.add_argument(
        "--continue",
        dest="begin",
        type=Path,
        metavar="RUN",
        help="begin a new run with weights, moments and average of another run's newest state (init.run)",
    )
    verb.set_defaults(run=_train, reads="recipe")

    verb = verbs.add_parser("retrain", help="retrain a checkpoint into few planes by a recipe; resumes as train does")
    _add_training(verb)
    verb.add_argument("--card", type=Path, metavar="FILE", help="text on data and licences for the model card")
    verb.add_argument(
        "--begin", type=Path, metavar="DIR", help="warm start with this model directory or run (codes.begin)"
    )
    verb.add_argument(
        "--begin-teacher",
        type=Path,
        metavar="DIR",
        help="the teacher of that run: add its delta to this one (codes.begin_teacher)",
    )
    verb.add_argument("--config", metavar="NAME", help="retrain into this configuration, not into the recipe's")
    verb.set_defaults(run=_retrain, reads="recipe")

    verb = verbs.add_parser("generate", help="write pairs with numbers, dates, amounts and names to train on")
    verb.add_argument("out", type=Path, metavar="OUT", help="file of source TAB target to write")
    verb.add_argument("--pairs", type=_positive, default=150_000, metavar="N", help="default: %(default)s")
    verb.add_argument("--seed", type=int, default=1, metavar="N", help="other pairs (default: %(default)s)")
    verb.set_defaults(run=_generate)

    verb = verbs.add_parser("sample", help="shards of sentences with their references, for `sub3 corpus`")
    verb.add_argument("out", type=Path, metavar="DIR", help="new directory of shards")
    verb.add_argument("counts", nargs="+", type=_count, metavar="SOURCE=N", help="how many of each source are drawn")
    verb.add_argument("--shared", type=Path, default=SHARED, metavar="DIR", help="has corpus/")
    verb.add_argument("--seed", type=int, default=1, metavar="N", help="of the draws (default: %(default)s)")
    verb.set_defaults(run=_sample)

    verb = verbs.add_parser("select", help="pairs to train on: translations of a sample that are near its references")
    verb.add_argument("translated", type=Path, metavar="DIR", help="what `sub3 corpus` made of the shards of `sample`")
    verb.add_argument("out", type=Path, metavar="OUT", help=".tsv file to write")
    help_chrf = "farther ones are replaced by a reference (default: %(default)s)"
    verb.add_argument("--least-chrf", type=float, default=50.0, metavar="N", help=help_chrf)
    verb.set_defaults(run=_select)


def _add_training(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("recipe", metavar="RECIPE", help="a TOML file, or the name of one in models/configs/recipes")
    verb.add_argument(
        "--out", type=Path, metavar="DIR", help="directory of the run (default: runs/<name of the recipe>)"
    )
    verb.add_argument("--shared", type=Path, default=SHARED, metavar="DIR", help="has corpus/ and checkpoint/")
    verb.add_argument("--checkpoint", type=Path, metavar="DIR", help="begin with this one, not with the recipe's")
    verb.add_argument("--steps", type=_positive, metavar="N", help="stop after so many steps; a later call goes on")
    verb.add_argument("--minutes", type=_minutes, metavar="N", help="stop, with a state, after so many minutes")
    verb.add_argument("--device", choices=("cpu", "cuda"), help="that computes the steps (run.device)")
    verb.add_argument(
        "--set",
        dest="changed",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="change a field of the recipe, as batches.multiple=8 or run.precision='bf16'; may be given several times",
    )


def add_back_translation(verbs: Verbs) -> None:
    """Add the verb that makes pairs of monolingual text."""
    verb = verbs.add_parser("backtranslate", help="make pairs to train on of monolingual text")
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("shards", help="draw sentences for `sub3 corpus`")
    action.add_argument("texts", nargs="+", type=Path, metavar="FILE", help="of a sentence a line, .xz or not")
    action.add_argument("--out", type=Path, required=True, metavar="DIR", help="new directory of shards")
    action.add_argument("--sentences", type=_positive, default=100_000, metavar="N", help="default: %(default)s")
    action.add_argument("--seed", type=int, default=1, metavar="N", help="of the draw (default: %(default)s)")
    action.set_defaults(run=_shards)

    action = actions.add_parser("pairs", help="write translation TAB text, without translations that have a fault")
    action.add_argument("translated", type=Path, metavar="DIR", help="what `sub3 corpus` made of the shards")
    action.add_argument("out", type=Path, metavar="OUT", help=".tsv file to write")
    action.add_argument("--source", required=True, metavar="LANGUAGE", help="of the translations, as en")
    action.add_argument("--target", required=True, metavar="LANGUAGE", help="of the text, as de")
    action.set_defaults(run=_pairs)


def _shards(arguments: argparse.Namespace) -> None:
    from models.train.back_translation import write_shards

    count = write_shards(arguments.texts, arguments.out, sentences=arguments.sentences, seed=arguments.seed)
    print(f"{arguments.out}: {count:,} sentences.")


def _pairs(arguments: argparse.Namespace) -> None:
    from models.train.back_translation import write_pairs

    back = write_pairs(arguments.translated, arguments.out, source=arguments.source, target=arguments.target)
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in back.dropped.most_common()) or "none"
    print(f"{arguments.out}: {back.kept:,} pairs; dropped: {reasons}.")


def add_carry(verbs: Verbs) -> None:
    """Add the verb that carries a training to another machine."""
    verb = verbs.add_parser("carry", help="train on another machine, through transfers of little size")
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    action = actions.add_parser("pack", help="write code, recipe, weights and text into one small directory")
    action.add_argument("recipe", metavar="RECIPE", help="of `train`")
    action.add_argument("pack", type=Path, metavar="PACK", help="directory to write")
    action.add_argument("--limit", type=_positive, default=64, metavar="MIB", help="of all (default: %(default)s)")
    action.add_argument("--shared", type=Path, default=SHARED, metavar="DIR", help="has corpus/ and checkpoint/")
    action.add_argument("--checkpoint", type=Path, metavar="DIR", help="begin with this one, not with the recipe's")
    action.set_defaults(run=_pack)

    action = actions.add_parser("run", help="train for some minutes, from the newest state")
    action.add_argument("pack", type=Path, metavar="PACK", help="what `carry pack` wrote")
    action.add_argument("run_directory", type=Path, metavar="RUN", help="directory of the run")
    action.add_argument("--minutes", type=_minutes, default=8.0, metavar="N", help="of steps (default: %(default)s)")
    action.add_argument("--device", choices=("cpu", "cuda"), help="that computes the steps (run.device)")
    action.add_argument(
        "--set", dest="changed", action="append", default=[], metavar="FIELD=VALUE", help="as that of `train`"
    )
    action.set_defaults(run=_run_carried)

    action = actions.add_parser("split", help="cut the weights of a run's newest state into parts")
    action.add_argument("pack", type=Path, metavar="PACK", help="what `carry pack` wrote")
    action.add_argument("run_directory", type=Path, metavar="RUN", help="directory of the run")
    action.add_argument("parts", type=Path, metavar="PARTS", help="directory to write")
    action.add_argument("--most", type=_positive, default=16, metavar="MIB", help="of a part (default: %(default)s)")
    action.set_defaults(run=_split)

    action = actions.add_parser("join", help="put parts together to a checkpoint")
    action.add_argument("parts", type=Path, metavar="PARTS", help="what `carry split` wrote")
    action.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    action.set_defaults(run=_join)


def _pack(arguments: argparse.Namespace) -> None:
    from models.train import carry
    from models.train.recipe import TrainRecipe, read_recipe

    recipe = read_recipe(TrainRecipe, arguments.recipe).beginning_with(checkpoint=arguments.checkpoint)
    counts = carry.pack(recipe, arguments.shared, arguments.pack, limit=arguments.limit)
    print(f"{arguments.pack}: {sum(counts.values()):,} pairs of {len(counts)} sources.")


def _run_carried(arguments: argparse.Namespace) -> None:
    from models.train import carry
    from models.train.loop import Until

    carry.run(arguments.pack, arguments.run_directory, Until(minutes=arguments.minutes), _changed(arguments))


def _split(arguments: argparse.Namespace) -> None:
    from models.train import carry

    count = carry.split(arguments.pack, arguments.run_directory, arguments.parts, most=arguments.most)
    print(f"{arguments.parts}: {count} parts.")


def _join(arguments: argparse.Namespace) -> None:
    from models.train import carry

    carry.join(arguments.parts, arguments.out)


def _changed(arguments: argparse.Namespace) -> list[str]:
    """Return the fields of the recipe that the command line changes."""
    return [*arguments.changed, *([f"run.device = '{arguments.device}'"] if arguments.device else [])]


def _train(arguments: argparse.Namespace) -> None:
    from models.train.full_precision import train_recipe
    from models.train.loop import Until
    from models.train.recipe import TrainRecipe, read_recipe

    recipe = read_recipe(TrainRecipe, arguments.recipe, _changed(arguments))
    recipe = recipe.beginning_with(checkpoint=arguments.checkpoint, run=arguments.begin)
    out = arguments.out or ROOT / "runs" / recipe.name
    train_recipe(recipe, arguments.shared, out, until=Until(arguments.steps, arguments.minutes))


def _retrain(arguments: argparse.Namespace) -> None:
    from models.train.loop import Until
    from models.train.recipe import RetrainRecipe, read_recipe
    from models.train.retrain import retrain_recipe

    recipe = read_recipe(RetrainRecipe, arguments.recipe, _changed(arguments))
    recipe = recipe.beginning_with(checkpoint=arguments.checkpoint)
    codes = {
        "config": arguments.config,
        "begin": arguments.begin and str(arguments.begin.resolve()),
        "begin_teacher": arguments.begin_teacher and str(arguments.begin_teacher.resolve()),
    }
    recipe = replace(recipe, codes=replace(recipe.codes, **{k: value for k, value in codes.items() if value}))
    out = arguments.out or ROOT / "runs" / recipe.name
    notes = arguments.card.read_text() if arguments.card else ""
    until = Until(arguments.steps, arguments.minutes)
    retrain_recipe(recipe, arguments.shared, out, notes=notes, until=until)


def _generate(arguments: argparse.Namespace) -> None:
    from itertools import islice

    from models.format.atomic import replace_file
    from models.text.frames import generate

    pairs = islice(generate(arguments.seed), arguments.pairs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    replace_file(arguments.out, "".join(f"{source}\t{target}\n" for source, target in pairs).encode())


def _sample(arguments: argparse.Namespace) -> None:
    from models.train.distillation import sample

    sample(dict(arguments.counts), arguments.shared / "corpus", arguments.out, seed=arguments.seed)


def _select(arguments: argparse.Namespace) -> None:
    from models.train.distillation import select

    kept, total = select(arguments.translated, arguments.out, least_chrf=arguments.least_chrf)
    print(f"{arguments.out}: {total} pairs, {kept} of them the model's own translation.")


# --- the whole road ---------------------------------------------------------------------------------------------------


def add_compress(verbs: Verbs) -> None:
    """Add the verb that makes a served model of few bits from a checkpoint."""
    verb = verbs.add_parser(
        "compress",
        help="make a model directory of few bits from your own checkpoint: the whole road",
        description="A call that was stopped goes on when it is repeated; OUT.work holds what it did so far.",
    )
    verb.add_argument("checkpoint", type=Path, metavar="DIR", help=_READABLE)
    verb.add_argument("out", type=Path, metavar="OUT", help="model directory to write")
    _add_languages(verb)
    goal = verb.add_mutually_exclusive_group()
    goal.add_argument("--bits", type=_bits, metavar="N", help="planes a weight on average, 1 to 8 (default: 2)")
    goal.add_argument("--size", type=_size, metavar="SIZE", help="bytes of the model, such as 20MB")
    goal.add_argument(
        "--max-loss", type=_positive_number, metavar="KL", help="divergence from fp32 before training, nats a piece"
    )
    verb.add_argument(
        "--text",
        type=Path,
        nargs="+",
        required=True,
        metavar="FILE",
        help="source TAB target (.tsv, .tsv.xz), or plain source text, which the checkpoint then translates",
    )
    help_minutes = "for all of it; what is left after calibration is for training, 0 = none (default: %(default)s)"
    verb.add_argument("--minutes", type=_minutes_or_none, default=60.0, metavar="N", help=help_minutes)
    verb.add_argument("--target", metavar="LANGUAGE", help="of the translations in the text, if the model has several")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    verb.add_argument("--threads", type=_positive, default=cores, metavar="N", help="default: all (%(default)s)")
    verb.add_argument("--name", help="name of the model (default: the name of OUT)")
    verb.add_argument("--card", type=Path, metavar="FILE", help="text on data and licences for the model card")
    verb.add_argument("--json", type=Path, metavar="FILE", help="file for the figures of the card")
    verb.add_argument("--overwrite", action="store_true", help="replace OUT")
    verb.set_defaults(run=_compress, reads="checkpoint")


def _compress(arguments: argparse.Namespace) -> None:
    import json

    from models.compress.road import Goal, Options, compress

    asked = (arguments.bits, arguments.size, arguments.max_loss)
    figures = compress(
        arguments.checkpoint,
        arguments.text,
        arguments.out,
        Options(
            goal=Goal(*asked) if any(asked) else Goal(bits=2.0),
            minutes=arguments.minutes,
            target=arguments.target,
            threads=arguments.threads,
            name=arguments.name or arguments.out.resolve().name,
            source_languages=arguments.source_languages,
            target_languages=arguments.target_languages,
            moses_punctuation=arguments.moses_punctuation,
            notes=arguments.card.read_text() if arguments.card else "",
        ),
        overwrite=arguments.overwrite,
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")
    print(
        f"{arguments.out}: {figures['bytes']:,} bytes, {figures['bits_per_weight']:.2f} bits a weight, KL to fp32 "
        f"{figures['kl']:.4f}, the same likeliest piece {100 * figures['agreement']:.1f} %, "
        f"{figures['minutes']:.1f} minutes"
    )
    if quality := figures["quality"]:
        print(f"BLEU, greedy: {quality['coded']['bleu']}, fp32 {quality['fp32']['bleu']}")
        if served := quality.get("served"):
            print(f"BLEU, beam of {quality['beam_size']}, as served: {served['bleu']}")


def _bits(text: str) -> float:
    value = _positive_number(text)
    if not 1 <= value <= 8:
        raise argparse.ArgumentTypeError(f"must be from 1 to 8, not {text!r}")
    return value


def _size(text: str) -> int:
    """Read a number of bytes, with kB, MB or GB, or KiB, MiB or GiB behind it."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kKmMgG]?)(i?)[bB]?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"must be bytes such as 20MB, not {text!r}")
    power = " kmg".index(found[2].lower() or " ")
    return int(float(found[1]) * (1024 if found[3] else 1000) ** power)


def _positive_number(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be more than 0, not {text!r}")
    return value


def _minutes_or_none(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must be 0 or more, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return value


# --- reports ----------------------------------------------------------------------------------------------------------


def add_reports(verbs: Verbs) -> None:
    """Add the verbs that write reports."""
    verb = verbs.add_parser("report", help="measure all configurations on the corpus; results, README table and plot")
    verb.add_argument("directory", type=Path, nargs="?", default=OURS, metavar="DIR", help="(default: en-de)")
    verb.add_argument("--corpus", type=Path, default=SHARED / "corpus", metavar="DIR", help="has test/<set>.<language>")
    verb.add_argument("--checkpoint", type=Path, metavar="DIR", help="fp32 (default: en-de-small for en-de, else none)")
    verb.add_argument("--sets", nargs="+", default=[], metavar="SET", help="test sets (default: all)")
    verb.add_argument(
        "--configs", nargs="+", default=[], metavar="NAME", help="the others' figures stay (default: all)"
    )
    verb.add_argument("--limit", type=_positive, metavar="N", help="only the first N sentences of each set")
    beside = "(default: this repository's for en-de, for other models beside DIR)"
    verb.add_argument("--out", type=Path, metavar="DIR", help=f"JSON files and the plot {beside}")
    verb.add_argument("--readme", type=Path, metavar="F", help=f"gets the table {beside}")
    verb.add_argument("--keep-times", action="store_true", help="the milliseconds stay as recorded")
    verb.set_defaults(run=_report)

    verb = verbs.add_parser("paper", help="the paper's tables on our model: docs/paper from what was recorded")
    kinds = ("sensitivity", "embedding", "models", "blocks", "runs")
    verb.add_argument("--measure", choices=kinds, metavar="WHAT", help=f"first record one of {', '.join(kinds)}")
    verb.add_argument("--checkpoint", type=Path, default=SHARED / "checkpoint/en-de-small", metavar="DIR", help="fp32")
    verb.add_argument("--directory", type=Path, default=OURS, metavar="DIR", help="of blocks")
    verb.add_argument("--corpus", type=Path, default=SHARED / "corpus", metavar="DIR", help="has train/ and test/")
    verb.add_argument("--sets", nargs="+", default=["tatoeba", "multi30k_2016_flickr"], metavar="SET")
    verb.add_argument("--limit", type=_positive, metavar="N", help="only the first N sentences of each set")
    verb.add_argument("--configs", nargs="*", default=["flat-3", "flat-2", "paper-2.5"], metavar="NAME")
    verb.add_argument(
        "--retrained",
        nargs="*",
        type=_retrained,
        default=[],
        metavar="METHOD=DIR[:CONFIG]",
        help="directories that retrain wrote, with a configuration that is not their default",
    )
    verb.add_argument("--runs", type=Path, nargs="*", default=[], metavar="DIR", help="directories of trainings")
    verb.add_argument("--out", type=Path, default=ROOT / "docs/paper", metavar="DIR", help="JSON files, page and plots")
    verb.set_defaults(run=_paper)


def _report(arguments: argparse.Namespace) -> None:
    from models.reports.report import report

    if not arguments.corpus.is_dir():
        raise ValueError(f"{arguments.corpus}: there is no corpus; --corpus or SUB3_SHARED says where it is.")
    directory = arguments.directory.resolve()
    ours = directory == OURS.resolve()
    wanted = arguments.checkpoint or (SHARED / "checkpoint/en-de-small" if ours else None)
    checkpoint = wanted if wanted and wanted.is_dir() else None
    if checkpoint is None:
        print(f"{wanted or '--checkpoint'}: no checkpoint, so nothing to compare with.", file=sys.stderr)
    report(
        arguments.directory,
        arguments.corpus,
        checkpoint,
        sets=arguments.sets,
        configurations=arguments.configs,
        limit=arguments.limit,
        results_dir=arguments.out
        or (ROOT / "docs/results" if ours else directory.with_name(f"{directory.name}.results")),
        readme=arguments.readme or (ROOT if ours else directory) / "README.md",
        keeps_times=arguments.keep_times,
    )


def _paper(arguments: argparse.Namespace) -> None:
    from models.reports import paper
    from models.reports.paper_page import render

    texts = [arguments.corpus / f"train/{name}.tsv.xz" for name in COUNTED]
    test = arguments.corpus / "test"
    sets = {name: (test / f"{name}.en", test / f"{name}.de") for name in arguments.sets}

    def tests() -> paper.BlockTests:
        source, reference = sets[arguments.sets[0]]
        return paper.BlockTests(arguments.checkpoint, texts, source, reference, arguments.limit or 1000)

    measurements: dict[str, Callable[[], dict[str, Any]]] = {
        "sensitivity": lambda: paper.sensitivity(tests()),
        "embedding": lambda: paper.embedding(tests()),
        "models": lambda: paper.models(
            arguments.checkpoint, texts, sets, arguments.configs, arguments.retrained, arguments.limit
        ),
        "blocks": lambda: {"models": {name: paper.blocks(arguments.directory, name) for name in arguments.configs}},
        "runs": lambda: paper.runs(arguments.runs),
    }
    if arguments.measure:
        paper.record(arguments.out / f"{arguments.measure}.json", measurements[arguments.measure]())
    render(arguments.out)


# --- arguments --------------------------------------------------------------------------------------------------------


def _retrained(text: str) -> tuple[str, Path, str | None]:
    method, equals, place = text.partition("=")
    directory, _, config = place.partition(":")
    if not (method and equals and directory):
        raise argparse.ArgumentTypeError(f"{text!r} is not METHOD=DIR or METHOD=DIR:CONFIG")
    return method, Path(directory), config or None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, at least 1")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of minutes above 0")
    return minutes


def _count(text: str) -> tuple[str, int]:
    name, given, number = text.partition("=")
    if not given:
        raise argparse.ArgumentTypeError(f"{text!r} must be SOURCE=N, as tatoeba=1000")
    return name, _positive(number)


def _preload_tcmalloc() -> None:
    """Start this process again under tcmalloc where it is installed: training allocates large tensors all the time."""
    from ctypes.util import find_library

    library = find_library("tcmalloc_minimal")
    if library and "tcmalloc" not in os.environ.get("LD_PRELOAD", ""):
        preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), library]))
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "LD_PRELOAD": preload})


if __name__ == "__main__":
    if sys.argv[1:2] in (["train"], ["retrain"]):
        _preload_tcmalloc()
    sys.exit(main())
