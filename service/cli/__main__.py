"""`sub3`, or `python -m service.cli`: translate files, or a corpus, without a server.

It starts in half a second: neither the web framework nor its settings are loaded.
"""

import argparse
import sys
from collections.abc import Sequence

from service.cli import corpus, translate


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; return its exit status."""
    parser = argparse.ArgumentParser(prog="sub3", description="Translation with weights of one to eight binary planes.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    for name, verb in (("translate", translate), ("corpus", corpus)):
        added = verbs.add_parser(name, help=verb.HELP, description=verb.DESCRIPTION)
        verb.add_arguments(added)
        added.set_defaults(run=verb.run)
    parsed = parser.parse_args(arguments)
    status: int = parsed.run(parsed)
    return status


if __name__ == "__main__":
    sys.exit(main())
