"""Plural forms of PO files: how many a language has there, and which is that of one.

The table is that of gettext's msginit, and of the languages that it lacks what their translators write.
"""

import gettext
import re
from collections.abc import Callable
from typing import NamedTuple

_ONE_FORM = "nplurals=1; plural=0;"
_NOT_ONE = "nplurals=2; plural=(n != 1);"
_MORE_THAN_ONE = "nplurals=2; plural=(n > 1);"
_SLAVIC = "n%10>=2 && n%10<=4 && (n%100<10 || n%100>=20) ? 1 : 2"
_EAST_SLAVIC = f"nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : {_SLAVIC});"
_CZECH = "nplurals=3; plural=(n==1) ? 0 : (n>=2 && n<=4) ? 1 : 2;"
_BY_LANGUAGE = {
    **dict.fromkeys(["id", "ja", "ko", "lo", "ms", "my", "th", "vi", "zh", "zt"], _ONE_FORM),
    **dict.fromkeys(["fa", "fr", "hy", "oc", "pb", "pt_br", "ti", "wa"], _MORE_THAN_ONE),
    **dict.fromkeys(["be", "bs", "hr", "ru", "sr", "uk"], _EAST_SLAVIC),
    **dict.fromkeys(["cs", "sk"], _CZECH),
    "ar": "nplurals=6; plural=(n==0 ? 0 : n==1 ? 1 : n==2 ? 2 : n%100>=3 && n%100<=10 ? 3 : n%100>=11 ? 4 : 5);",
    "cy": "nplurals=4; plural=(n==1 ? 0 : n==2 ? 1 : n==8 || n==11 ? 2 : 3);",
    "ga": "nplurals=3; plural=n==1 ? 0 : n==2 ? 1 : 2;",
    "is": "nplurals=2; plural=(n%10!=1 || n%100==11);",
    "lt": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && (n%100<10 || n%100>=20) ? 1 : 2);",
    "lv": "nplurals=3; plural=(n%10==1 && n%100!=11 ? 0 : n != 0 ? 1 : 2);",
    "mk": "nplurals=2; plural=(n%10==1 && n%100!=11 ? 0 : 1);",
    "mt": "nplurals=4; plural=(n==1 ? 0 : n==0 || (n%100>=2 && n%100<=10) ? 1 : n%100>=11 && n%100<=19 ? 2 : 3);",
    "pl": f"nplurals=3; plural=(n==1 ? 0 : {_SLAVIC});",
    "ro": "nplurals=3; plural=n==1 ? 0 : (n==0 || (n%100 > 0 && n%100 < 20)) ? 1 : 2;",
    "sl": "nplurals=4; plural=(n%100==1 ? 0 : n%100==2 ? 1 : n%100==3 || n%100==4 ? 2 : 3);",
}
_FORMS = re.compile(r"\s*nplurals\s*=\s*([1-9])\s*;\s*plural\s*=([^;]+);?\s*")
_LONGEST = 500  # characters of an expression


class PluralForms(NamedTuple):
    """The forms of a file."""

    source: str  # as a header has them
    number: int
    of_one: int  # the form that is used for one thing; where there is but one form, none is

    def of(self, form: int, singular: str, plural: str) -> str:
        """Return which of two translations a form gets."""
        return singular if form == self.of_one and self.number > 1 else plural


def parsed(source: str) -> PluralForms | None:
    """Read the forms of a header; None if they are none, as in a template."""
    match = _FORMS.fullmatch(source[:_LONGEST])
    if match is None:
        return None
    try:
        form_of: Callable[[int], int] = gettext.c2py(match[2].strip())
        return PluralForms(source, int(match[1]), form_of(1))
    except (ValueError, ArithmeticError, RecursionError):
        return None


def forms_of(language: str) -> PluralForms:
    """Return the forms of a language."""
    code = language.lower().replace("-", "_")
    forms = parsed(_BY_LANGUAGE.get(code) or _BY_LANGUAGE.get(code.partition("_")[0], _NOT_ONE))
    assert forms is not None  # the table's own are valid
    return forms
