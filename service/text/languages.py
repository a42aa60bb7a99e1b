"""Language codes of the dialects, with their names in English and in the languages themselves."""

from models.format.languages import canonical

_NAMES = """
af Afrikaans|ar Arabic = العربية|az Azerbaijani = azərbaycan|be Belarusian = беларуская|bg Bulgarian = български
bn Bengali = বাংলা|bs Bosnian = bosanski|ca Catalan = català|cs Czech = čeština|cy Welsh = Cymraeg|da Danish = dansk
de German = Deutsch|el Greek = Ελληνικά|en English|eo Esperanto|es Spanish = español|et Estonian = eesti
eu Basque = euskara|fa Persian = فارسی|fi Finnish = suomi|fr French = français|ga Irish = Gaeilge|gl Galician = galego
he Hebrew = עברית|hi Hindi = हिन्दी|hr Croatian = hrvatski|hu Hungarian = magyar|hy Armenian = հայերեն
id Indonesian = Indonesia|is Icelandic = íslenska|it Italian = italiano|ja Japanese = 日本語|ka Georgian = ქართული
kk Kazakh = қазақ тілі|ko Korean = 한국어|la Latin = Latina|lt Lithuanian = lietuvių|lv Latvian = latviešu
mk Macedonian = македонски|ml Malayalam = മലയാളം|mn Mongolian = монгол|mr Marathi = मराठी|ms Malay = Melayu
mt Maltese = Malti|nb Norwegian Bokmål = norsk bokmål|ne Nepali = नेपाली|nl Dutch = Nederlands
nn Norwegian Nynorsk = norsk nynorsk|no Norwegian = norsk|pa Punjabi = ਪੰਜਾਬੀ|pb Portuguese (Brazil) = português (Brasil)
pl Polish = polski|pt Portuguese = português|ro Romanian = română|ru Russian = русский|sk Slovak = slovenčina
sl Slovenian = slovenščina|sq Albanian = shqip|sr Serbian = српски|sv Swedish = svenska|sw Swahili = Kiswahili
ta Tamil = தமிழ்|te Telugu = తెలుగు|th Thai = ไทย|tl Tagalog|tr Turkish = Türkçe|uk Ukrainian = українська
ur Urdu = اردو|uz Uzbek = o‘zbek|vi Vietnamese = Tiếng Việt|zh Chinese = 中文|zt Chinese (traditional) = 繁體中文
"""
_NAME = dict(entry.split(" ", 1) for line in _NAMES.strip().splitlines() for entry in line.split("|"))
RIGHT_TO_LEFT = frozenset({"ar", "fa", "he", "ur"})


def name(code: str) -> str:
    """Return the English name of a language, or its code if it is not known."""
    return _named(code).partition(" = ")[0]


def native_name(code: str) -> str:
    """Return the name of a language in that language, or its code if it is not known."""
    return _named(code).rpartition(" = ")[2]


def _named(code: str) -> str:
    """Look a code up; a variant such as zh-Hans has the names of its language, and its variant in brackets."""
    language, _, variant = canonical(code).partition("-")
    if code in _NAME or language not in _NAME or not variant:
        return _NAME.get(code, code)
    return " = ".join(f"{each} ({variant})" for each in _NAME[language].split(" = "))
