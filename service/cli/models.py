"""`sub3 models`: list the installed models, show and verify them, and hand them on."""

import argparse
import sys
from pathlib import Path

from models.format import store
from models.format.describe import describe
from models.format.directory import open_model
from models.format.files import sentence
from models.format.package import SUFFIX, pack
from models.format.schema import ModelError, UnavailableConfiguration
from service.cli.adding import DEFAULT_SERVER, NotAdded, add
from service.cli.arguments import model_path

HELP = "list, inspect, verify, pack, or add models to a running server"
DESCRIPTION = (
    "The models are those that `sub3 serve` serves and `sub3 translate` uses: what SUB3_MODEL_DIRECTORY or "
    "SUB3_MODELS_DIRECTORY names, else those that come with sub3. `sub3 compress` makes one of your own checkpoint."
)
EPILOG = """\
examples:
  sub3 models list                              what there is, how large and how good
  sub3 models inspect en-de --config flat-4     where the bytes are
  sub3 models pack en-de                        en-de.sub3.zip, to hand on
  sub3 models add en-de.sub3.zip                into the server that runs there"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("list", help="name, languages, configurations, size and quality of each model")
    inspect = verbs.add_parser("inspect", help="planes, bytes and error of each matrix of a model")
    inspect.add_argument("model", metavar="NAME", help="name of a model, or a model directory")
    inspect.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")
    verify = verbs.add_parser("verify", help="compare checksums, and translate by each configuration")
    verify.add_argument("model", nargs="*", metavar="NAME", help="models or model directories (default: all)")
    packed = verbs.add_parser("pack", help="write a model as one file to hand on, with checksums")
    packed.add_argument("model", metavar="NAME", help="name of a model, or a model directory")
    packed.add_argument("out", nargs="?", type=Path, metavar="FILE", help=f"(default: NAME{SUFFIX})")
    verbs.add_parser("compress", help="the same as `sub3 compress`")
    verbs.add_parser("shortlist", help="make a model's shortlist, from its own attention on text")
    added = verbs.add_parser(
        "add",
        help="add a model to a server that runs on this machine",
        description="Copies the model into the server's folder and has the server load it, by its admin API. If that "
        "fails, everything is as it was. The token is that of SUB3_ADMIN_TOKEN.",
    )
    added.add_argument("model", type=Path, metavar="MODEL", help=f"a file of `pack` (*{SUFFIX}), or a model directory")
    added.add_argument("--name", help="name to serve it by (default: that of the directory or file)")
    added.add_argument("--config", metavar="NAME", help="configuration to serve (default: the model's default)")
    added.add_argument("--server", default=DEFAULT_SERVER, metavar="URL", help="(default: %(default)s)")
    added.add_argument(
        "--folder", type=Path, metavar="DIR", help="the server's folder of models (default: SUB3_MODELS_DIRECTORY)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the verb; return 2 with a sentence on stderr if a model is bad or there is none."""
    verbs = {"list": _list, "inspect": _inspect, "verify": _verify, "pack": _pack, "add": _add}
    try:
        return verbs[arguments.verb](arguments)
    except (ModelError, UnavailableConfiguration, NotAdded, OSError) as error:
        print(sentence(error), file=sys.stderr)
        return 2


def _inspect(arguments: argparse.Namespace) -> int:
    model = open_model(model_path(arguments.model))
    print(describe(model, arguments.config or model.config.default_configuration))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from kernels.engine import EngineError
    from service.live.configurations import by_name
    from service.live.model import Model, SelfTestFailed

    paths = {name: model_path(name) for name in arguments.model} if arguments.model else store.found()
    status = 0
    for name, path in paths.items():
        try:
            directory = open_model(path)
            model = Model(directory, max_batch_tokens=1024, swap_wait_s=0)
            for configuration in directory.config.configurations:
                for translator in model.load([by_name(directory, configuration)]):
                    translator.close()
        except (ModelError, UnavailableConfiguration, SelfTestFailed, EngineError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 2
            continue
        print(f"{name}: good; {', '.join(directory.config.configurations)} translate", flush=True)
    return status


def _pack(arguments: argparse.Namespace) -> int:
    path = model_path(arguments.model)
    out = arguments.out or Path(f"{path.resolve().name}{SUFFIX}")
    digest = pack(path, out)
    print(f"{digest}  {out}")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    served = add(arguments.model, arguments.server, name=arguments.name, config=arguments.config, to=arguments.folder)
    pairs = ", ".join(served.pairs) or "another model answers its language pairs"
    print(f"{served.name} is served by {served.config}: {pairs}.")
    return 0


def _list(arguments: argparse.Namespace) -> int:
    rows = [("model", "languages", "configuration", "bits", "MB", "BLEU")]
    status = 0
    for name, path in store.found().items():
        try:
            config = open_model(path).config
        except ModelError as error:
            print(error, file=sys.stderr)
            status = 2
            continue
        languages = f"{'/'.join(config.source_languages)} -> {'/'.join(config.target_languages)}"
        for configuration, it in config.configurations.items():
            scores = [figures["bleu"] for figures in it.quality.values() if "bleu" in figures]
            mean = f"{sum(scores) / len(scores):.1f}" if scores else "-"
            mark = "*" if configuration == config.default_configuration else ""
            rows.append(
                (name, languages, configuration + mark, f"{it.bits_per_weight:.2f}", f"{it.bytes / 1e6:.1f}", mean)
            )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left, right = row[:3], row[3:]
        cells = [cell.ljust(width) for cell, width in zip(left, widths, strict=False)]
        print("  ".join([*cells, *(cell.rjust(width) for cell, width in zip(right, widths[3:], strict=True))]))
    print("\n* serves by default; BLEU is the mean over the test sets.")
    return status
