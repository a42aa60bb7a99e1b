"""Languages of a model, by the names that Marian, Opus-MT and Tatoeba give them."""

import re
from collections.abc import Iterable

from models.format.languages import TARGET_TOKEN, canonical, is_known

_OF_A_NAME = re.compile(r"^.*opus-?mt[_-](?:tc[_-])?(?:big[_-]|base[_-]|tiny[_-])?", re.IGNORECASE)
_CODE = re.compile(r"[a-z]{2,3}(?:[_-][A-Za-z0-9]+)*|[A-Z]{3,}")
# Groups of languages: the collective codes of ISO 639-5 and 639-2; Opus-MT's own names are in capitals.
_COLLECTIVE = """
aav afa alg alv apa aqa aql art ath auf aus awd azc bad bai bat ber bnt btk cai cau cba ccn ccs cdc cdd cel cmc
cpe cpf cpp crp csu cus day dmn dra egx esx euq fiu fox gem gme gmq gmw grk hmx hok hyx iir ijo inc ine ira iro
itc jpx kar kdo khi kro map mkh mno mul mun myn nah nai ngf nic nub omq omv oto paa phi plf poz pqe pqw pra qwe
roa sai sal sdv sem sgn sio sit sla smi son sqj ssa syd tai tbq trk tup tut tuw urj wak wen xgn xnd ypk zhx zle
zls zlw znd
"""
_GROUPS = frozenset(_COLLECTIVE.split())
_CARD = re.compile(r"^[*-]? *(source|target) language\(s\): *(\S.*)$", re.MULTILINE)
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


def is_group(code: str) -> bool:
    """Tell whether a name is that of a group of languages, such as `mul` or `ROMANCE`."""
    return code in _GROUPS or (len(code) > 2 and code.isupper())


def languages_of_card(text: str) -> dict[str, tuple[str, ...]]:
    """Return the languages of each side, `source` and `target`, that a card of Opus-MT lists, canonical, each once."""
    return {side: languages_of("+".join(listed.split())) for side, listed in _CARD.findall(text)}


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
