"""`sub3 keys`: make, list and revoke API keys in the store of the settings."""

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from service.cli.arguments import positive

if TYPE_CHECKING:
    from service.accounts.keys import Record

HELP = "add, list or revoke API keys"
DESCRIPTION = (
    "Keys are in the SQLite file of SUB3_KEYS_FILE, or in the Redis of SUB3_REDIS_URL; only their hashes are. The "
    "server asks for them where SUB3_API_KEYS=true is set."
)
EPILOG = """\
examples:
  sub3 keys add acme --requests-per-minute 60   prints the key, this once
  sub3 keys list                                who used how much this month
  sub3 keys revoke acme                         from the next request on"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    add = verbs.add_parser("add", help="create a key and print it; it is not shown again")
    add.add_argument("name", help="shown in replies, logs and this list; up to 64 letters, digits, - and _")
    add.add_argument("--requests-per-minute", type=positive, metavar="N", help="rate limit; unlimited by default")
    add.add_argument(
        "--characters", type=positive, metavar="N", help="quota a calendar month (UTC); unlimited by default"
    )
    verbs.add_parser("list", help="list every key with its limits and its usage of this month")
    revoke = verbs.add_parser("revoke", help="refuse a key from now on; this can't be undone")
    revoke.add_argument("name")


def run(arguments: argparse.Namespace) -> int:
    """Run the verb; return 1 with a sentence on stderr if it fails, 2 if the settings are refused."""
    from pydantic import ValidationError  # these make the start of the other verbs slow

    from service.accounts.keys import NameTaken, new_key
    from service.accounts.unavailable import StoreUnavailable
    from service.settings import Settings, problems
    from service.stores.opening import open_keys

    try:
        settings = Settings()
        store = open_keys(settings)
        if arguments.verb == "add":
            key, record = new_key(arguments.name, arguments.requests_per_minute, arguments.characters)
            store.add(record)
            print(key)
            if not settings.api_keys:
                print("The server asks for keys where SUB3_API_KEYS=true is set.", file=sys.stderr)
        elif arguments.verb == "list":
            for record in store.all():
                print(_line(record))
        elif store.update(arguments.name, lambda record: replace(record, revoked=True)) is None:
            raise ValueError("There is no key of that name; `sub3 keys list` shows all.")
    except ValidationError as error:
        print(problems(error), file=sys.stderr)
        return 2
    except (NameTaken, ValueError, StoreUnavailable) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _line(record: "Record") -> str:
    pace = "any pace" if record.requests_per_minute is None else f"{record.requests_per_minute} requests/minute"
    quota = "no limit" if record.characters_per_month is None else f"of {record.characters_per_month}"
    used = f"{record.month or 'unused'}: {record.requests} requests, {record.characters} characters ({quota})"
    return "\t".join([record.name, "revoked" if record.revoked else "valid", pace, used])
