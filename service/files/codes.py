"""Codes in a sentence: which of them are a pair around words, and the tags that stand for them in its markup."""

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

CODE = re.compile(r"(</?[gx]\d+/?>)")  # a tag of `tag`
WHOLE = "whole"  # the family of codes that are the two tags of an element, which nothing may cut


class Key(NamedTuple):
    """What the two codes of a pair have in common."""

    family: str
    name: str


class Role(NamedTuple):
    """What a code may do, or "other" of text."""

    kind: Literal["open", "close", "other"]
    key: Key = Key("", "")


def partners(roles: Sequence[Role]) -> dict[int, int]:
    """Return the pairs, by the index of each of their codes; those that cross another pair have none."""
    found: dict[int, int] = {}
    path: list[int] = []
    places: dict[Key, list[int]] = {}  # in the path
    whole: list[int] = []  # places in the path of elements
    for number, role in enumerate(roles):
        if role.kind == "open":
            places.setdefault(role.key, []).append(len(path))
            if role.key.family == WHOLE:
                whole.append(len(path))
            path.append(number)
        elif role.kind == "close" and places.get(role.key):
            place = places[role.key][-1]
            if whole and whole[-1] > place:
                continue
            # what began since then and isn't closed ends elsewhere
            for other in path[place:]:
                places[roles[other].key].pop()
            if whole and whole[-1] == place:
                whole.pop()
            found |= {path[place]: number, number: path[place]}
            del path[place:]
    return found


def tag(number: int, partner: int | None) -> str:
    """Return the tag of a code, by its index and that of its partner."""
    if partner is None:
        return f"<x{number}/>"
    return f"<g{number}>" if partner > number else f"</g{partner}>"
