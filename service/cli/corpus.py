"""`sub3 corpus`: translate shards of JSON lines, on this machine or on a Ray cluster."""

import argparse
import sys
from pathlib import Path

from models.format.files import sentence
from models.format.languages import canonical
from service.cli.arguments import model_path, positive

HELP = "translate a corpus: shards of JSON lines in, shards of JSON lines out"
DESCRIPTION = (
    "Translates each shard once: a run that was stopped resumes where it was. Each line of a shard is an object with a "
    "text; the output has the same line with a translation and a score."
)
EPILOG = """\
examples:
  sub3 corpus --input 'in/*.jsonl' --output out             again: it goes on where it was stopped
  sub3 corpus --input in.jsonl --output out --engine ray    on the cluster at RAY_ADDRESS"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--input", nargs="+", required=True, metavar="PATTERN", help="files; each line is an object with a text"
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="gets a file of the name of each input"
    )
    parser.add_argument(
        "--model", default="en-de", metavar="NAME", help="name of a model, or a model directory (default: %(default)s)"
    )
    parser.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")
    for side, of in (("source", "the texts"), ("target", "the translations")):
        parser.add_argument(
            f"--{side}", type=canonical, metavar="CODE", help=f"language of {of} (default: the model's first)"
        )
    parser.add_argument(
        "--field", default="text", metavar="NAME", help="field that holds the text (default: %(default)s)"
    )
    parser.add_argument("--beam-size", type=positive, metavar="N", help="hypotheses kept (default: the model's)")
    parser.add_argument(
        "--engine",
        choices=("process", "ray"),
        default="process",
        help="process: threads of this process (default); ray: workers of the cluster at RAY_ADDRESS, or a local one",
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="threads, or workers of Ray (default: every core)"
    )
    parser.add_argument("--overwrite", action="store_true", help="translate finished shards again, too")


def run(arguments: argparse.Namespace) -> int:
    """Translate the corpus; return 2 with a sentence on stderr if it, or a part of it, is refused."""
    from service.corpora import corpus  # `sub3 translate` needs no scheduler

    try:
        job = corpus.plan(
            arguments.input,
            arguments.output,
            model_path(arguments.model),
            config=arguments.config,
            source=arguments.source,
            target=arguments.target,
            beam_size=arguments.beam_size,
            field=arguments.field,
        )
        corpus.translate(
            job, arguments.output, engine=arguments.engine, workers=arguments.workers, overwrite=arguments.overwrite
        )
    except (OSError, ValueError) as error:
        print(f"corpus: {sentence(error)}", file=sys.stderr)
        return 2
    return 0
