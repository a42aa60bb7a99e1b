"""`python -m service keys`: make, list and revoke API keys in the store of the settings."""

import argparse
import sys
from dataclasses import replace

from service.accounts.keys import NameTaken, Record, StoreDown, new_key
from service.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verbs and their options."""
    verbs = parser.add_subparsers(dest="verb", required=True)
    add = verbs.add_parser("add", help="make a key and print it, this once")
    add.add_argument("name", help="what replies, logs and this list call it")
    add.add_argument("--requests-per-minute", type=_positive, metavar="N", help="unlimited if left out")
    add.add_argument("--characters", type=_positive, metavar="N", help="a calendar month (UTC); unlimited if left out")
    verbs.add_parser("list", help="every key with its limits and what it used this month")
    revoke = verbs.add_parser("revoke", help="refuse a key from now on, for good")
    revoke.add_argument("name")


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do what the arguments say; 1 with a sentence on stderr if that can't be done."""
    from service.stores.key_stores import open_store  # the server parses these arguments too, and may need no SQLite

    try:
        store = open_store(settings)
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
            raise ValueError("There is no key of that name; `keys list` shows all.")
    except (NameTaken, ValueError, StoreDown) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _line(record: Record) -> str:
    pace = "any pace" if record.requests_per_minute is None else f"{record.requests_per_minute} requests/minute"
    quota = "no limit" if record.characters_per_month is None else f"of {record.characters_per_month}"
    used = f"{record.month or 'unused'}: {record.requests} requests, {record.characters} characters ({quota})"
    return "\t".join([record.name, "revoked" if record.revoked else "valid", pace, used])


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a whole number of at least 1")
    return number
