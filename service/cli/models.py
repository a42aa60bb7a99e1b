"""`sub3 models`: list the installed models, and show what is in one."""

import argparse
import sys

from models.format import store
from models.format.describe import describe
from models.format.directory import open_model
from models.format.schema import ModelError, UnavailableConfiguration
from service.cli.arguments import model_path

HELP = "list the installed models, or show what is in one"
DESCRIPTION = (
    "The models are those that `sub3 serve` serves and `sub3 translate` uses: what SUB3_MODEL_DIRECTORY or "
    "SUB3_MODELS_DIRECTORY names, else those that come with sub3. `python -m models` makes models."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("list", help="name, languages, configurations, size and quality of each model")
    inspect = verbs.add_parser("inspect", help="planes, bytes and error of each matrix of a model")
    inspect.add_argument("model", metavar="NAME", help="name of a model, or a model directory")
    inspect.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")


def run(arguments: argparse.Namespace) -> int:
    """Run the verb; return 2 with a sentence on stderr if a model is bad or there is none."""
    try:
        if arguments.verb == "inspect":
            model = open_model(model_path(arguments.model))
            print(describe(model, arguments.config or model.config.default_configuration))
            return 0
        models = store.found()
    except (ModelError, UnavailableConfiguration) as error:
        print(error, file=sys.stderr)
        return 2
    rows = [("model", "languages", "configuration", "bits", "MB", "BLEU")]
    status = 0
    for name, path in models.items():
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
