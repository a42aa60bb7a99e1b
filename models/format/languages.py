"""Language codes as BCP 47 has them, for what models and clients write: `deu`, `pt_BR`, `cmn_Hans`."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The two letters of a language, and the codes of three that mean it: ISO 639-2 and 639-3, single languages of a group
# that models name for the group, and codes that were withdrawn.
_TABLE = """
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara,arb as:asm av:ava ay:aym,ayr az:aze,azj ba:bak be:bel bg:bul
bh:bih bi:bis bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces,cze cu:chu cv:chv
cy:cym,wel da:dan de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo es:spa et:est,ekk eu:eus,baq
fa:fas,per,pes ff:ful,fuv fi:fin fj:fij fo:fao fr:fra,fre fy:fry ga:gle gd:gla gl:glg gn:grn,gug gu:guj gv:glv
ha:hau he:heb,iw hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye,arm hz:her ia:ina id:ind,in ie:ile ig:ibo ii:iii ik:ipk
io:ido is:isl,ice it:ita iu:iku ja:jpn jv:jav,jw ka:kat,geo kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor
kr:kau,knc ks:kas ku:kur,kmr kv:kom kw:cor ky:kir la:lat lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav,lvs
mg:mlg,plt mh:mah mi:mri,mao mk:mkd,mac ml:mal mn:mon,khk mr:mar ms:msa,may,zsm,zlm mt:mlt my:mya,bur na:nau nb:nob
nd:nde ne:nep,npi ng:ndo nl:nld,dut nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm,gaz or:ori,ory os:oss
pa:pan pi:pli pl:pol ps:pus,pbt pt:por qu:que,quy rm:roh rn:run ro:ron,rum,mo ru:rus rw:kin sa:san sc:srd sd:snd
se:sme sg:sag si:sin sk:slk,slo sl:slv sm:smo sn:sna so:som sq:sqi,alb,als sr:srp ss:ssw st:sot su:sun sv:swe
sw:swa,swh ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig
uk:ukr ur:urd uz:uzb,uzn ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid,ydd,ji yo:yor za:zha zh:zho,chi,cmn zu:zul
"""
_SHORTER = {
    other: code for code, _, others in (entry.partition(":") for entry in _TABLE.split()) for other in others.split(",")
}
_KNOWN = frozenset(_SHORTER.values())
# What asks a model for one of its target languages: at the head of a source, and as a piece of its vocabulary.
TARGET_TOKEN = re.compile(r">>([A-Za-z0-9_.-]{1,40})<<")
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[_-][A-Za-z0-9]{2,8})*")


def canonical(code: str) -> str:
    """Return the BCP 47 tag of a language: `de` for `deu`, `pt-BR` for `pt_br`, `zh-Hans` for `cmn_Hans`.

    What is no tag, such as the name of a group of languages (`ROMANCE`), comes back as it is.
    """
    if not _TAG.fullmatch(code):
        return code
    language, *rest = re.split("[_-]", code.lower())
    return "-".join([_SHORTER.get(language, language), *map(_subtag, rest)])


def _subtag(part: str) -> str:
    if len(part) == 4 and part.isalpha():  # a script
        return part.title()
    return part.upper() if len(part) == 2 or part.isdecimal() else part  # a region, or a variant


def is_known(code: str) -> bool:
    """Tell whether a code of two or three letters is one that is known here."""
    return code in _KNOWN or code in _SHORTER


def marked(text: str, tokens: Mapping[str, str]) -> tuple[str | None, int]:
    """Return the target language that a text asks for at its head, as in `>>fra<< Good morning`, and where it goes on.

    Any code of the language will do. Without one of the model's languages there are None and 0.

    Args:
        text: of a client.
        tokens: the model's languages, and the piece that asks for each.
    """
    head = text.lstrip()
    if not (found := TARGET_TOKEN.match(head)):
        return None, 0
    language = next((each for each, token in tokens.items() if token in found.group(0, 1)), canonical(found[1]))
    if language not in tokens:
        return None, 0
    return language, len(text) - len(head[found.end() :].lstrip())


class LanguageTokens(NamedTuple):
    """The pieces that name languages, by language; none of a side whose language the model is not told.

    Attributes:
        source: begins a source in the language.
        target: asks for the language.
        begin_targets: a piece of `target` begins the translation, as in M2M-100, not the source, as in Opus-MT.
    """

    source: Mapping[str, str]
    target: Mapping[str, str]
    begin_targets: bool

    def heads(self, source: str | None, target: str | None) -> tuple[list[str], list[str]]:
        """Return the pieces that begin a source and its translation; of a language that is not told, the first."""
        told = [self.source.get(source or "", next(iter(self.source.values())))] if self.source else []
        asked = [self.target.get(target or "", next(iter(self.target.values())))] if self.target else []
        return (told, asked) if self.begin_targets else ([*asked, *told], [])

    def silent_rows(self, pieces: Iterable[str]) -> frozenset[int]:
        """Return the rows of the target side, which has these pieces, that only name a language."""
        named = set(self.target.values()) if self.begin_targets else set()
        return frozenset(row for row, piece in enumerate(pieces) if piece in named)


def base(code: str) -> str:
    """Return the language of a canonical tag, without script and region."""
    return code.partition("-")[0]
