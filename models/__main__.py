"""The offline command line: `python -m models <verb>`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models", description="Make and measure model directories.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    verb = verbs.add_parser("import", help="read a Marian / Opus-MT directory and write it by our names, in fp32")
    verb.add_argument("directory", type=Path, metavar="DIR", help="as Hugging Face transformers writes it")
    verb.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    verb.set_defaults(run=_import)

    verb = verbs.add_parser("quantize", help="write a model directory from a checkpoint")
    verb.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="a Marian directory, or one that import wrote"
    )
    verb.add_argument("out", type=Path, metavar="OUT", help="directory to write")
    verb.add_argument("--config", default="balanced", metavar="NAME", help="serves by default (default: %(default)s)")
    verb.add_argument(
        "--kind",
        choices=("progressive", "specialised"),
        default="progressive",
        help="progressive codes serve every narrower configuration, specialised ones only this one, with less error",
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
        help="where to count words: source TAB target (.tsv, .tsv.xz) or plain text",
    )
    verb.add_argument("--name", help="name of the model (default: the name of OUT)")
    verb.add_argument("--card", type=Path, metavar="FILE", help="text on data and licences for the model card")
    verb.add_argument("--overwrite", action="store_true", help="replace OUT")
    verb.set_defaults(run=_quantize)
    return parser


def _import(arguments: argparse.Namespace) -> None:
    from models.checkpoint import read_checkpoint, write_checkpoint

    write_checkpoint(read_checkpoint(arguments.directory), arguments.out)


def _quantize(arguments: argparse.Namespace) -> None:
    import torch

    from models.bit_config import find_config, shipped_configs
    from models.checkpoint import read_checkpoint
    from models.export import Request, export

    torch.set_num_threads(1)  # batches of small matrices: waiting for a second thread costs more than it brings
    base = find_config(arguments.config)
    others = [config for config in shipped_configs().values() if config.name != base.name]
    progressive = arguments.kind == "progressive"
    request = Request(
        name=arguments.name or arguments.out.resolve().name,
        base=base,
        others=tuple(others) if progressive else (),
        kind=arguments.kind,
        depth=arguments.max_planes,
        solver=arguments.solver,
        group_size=arguments.group_size,
    )
    if not arguments.text:
        print("No --text: words are sorted by SentencePiece's probabilities instead of counts.", file=sys.stderr)
    card = arguments.card.read_text() if arguments.card else ""
    checkpoint = read_checkpoint(arguments.checkpoint)
    export(checkpoint, arguments.text, request, arguments.out, card=card, overwrite=arguments.overwrite)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb. An error of the user or of the files is a sentence and exit code 2."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
    except (ValueError, OSError) as error:
        print(f"{parsed.verb}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
