"""Languages of a model, by the names that Marian, Opus-MT and Tatoeba give them."""

import re
from collections.abc import Iterable

from models.format.languages import canonical, is_known

TARGET_TOKEN = re.compile(r">>([A-Za-z0-9_.-]+)<<")
_OF_A_NAME = re.compile(r"^.*opus-?mt[_-](?:tc[_-])?(?:big[_-]|base[_-]|tiny[_-])?", re.IGNORECASE)
_CODE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z0-9]+)*|[A-Z]{3,}")
_GROUP_OR_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


def languages_of(name: str) -> tuple[str, ...]:
    """Return the languages that a field such as `de`, `es+fr` or `cat_oci_spa` names, canonical, each once."""
    parts = name.split("+")
    listed = name.split("_")
    if len(listed) > 1 and all(len(part) in (2, 3) and part.islower() and is_known(part) for part in listed):
        parts = listed
    return tuple(dict.fromkeys(canonical(part) for part in parts if _GROUP_OR_CODE.fullmatch(part)))


def languages_of_name(name: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the source and target languages of a name such as `opus-mt-en-de`; none of one that tells neither."""
    parts = re.split("-", _OF_A_NAME.sub("", name))
    if len(parts) >= 2 and all(_CODE.fullmatch(part) for part in parts[:2]):
        return languages_of(parts[0]), languages_of(parts[1])
    if len(pair := name.split("_")) == 2 and all(is_known(part) for part in pair):  # as Argos names packages
        return languages_of(pair[0]), languages_of(pair[1])
    return (), ()


def target_tokens(pieces: Iterable[str]) -> dict[str, str]:
    """Return canonical language -> the piece that asks for it, `>>fra<<`; of several, that which spells it so."""
    found: dict[str, str] = {}
    for piece in pieces:
        if not (match := TARGET_TOKEN.fullmatch(piece)):
            continue
        language = canonical(match[1])
        if language not in found or match[1].replace("_", "-") == language:
            found[language] = piece
    return found
