"""What Weblate's machinery makes of a server, as JSON: weblate_machinery.py ADDRESS TEXT...

Its code of DeepL, LibreTranslate and LTEngine runs as it is published, over Django and httpx2. What of Weblate needs
its database is stood in for: whatever is imported from there is there. `type X = ...`, a statement of Python 3.12,
becomes an assignment.
"""

import importlib
import importlib.util
import json
import re
import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import django
import httpx2
from django.conf import settings

PUBLISHED = re.compile(r"weblate\.(machinery\.(base|deepl|libretranslate|types)|utils\.hash)")
FOLDER = Path(sysconfig.get_path("purelib"))


def fetch_url(method: str, url: str, *, raise_for_status: bool, **options: Any) -> httpx2.Response:
    """Fetch a page as Weblate does, without its check of the address."""
    assert not raise_for_status
    return httpx2.request(method, url, follow_redirects=True, **options)


STAND_INS = {
    "DocVersionsMixin": type("DocVersionsMixin", (), {}),
    "JSON_RESPONSE_ERRORS": (ValueError,),
    "fetch_url": fetch_url,
    "get_glossary_tsv": lambda translation: translation.tsv,
    "get_site_url": lambda *_: "http://weblate.example/",
}


class StandIn(ModuleType):
    """A module in which every name is."""

    def __getattr__(self, name: str) -> Any:
        """Return what the name stands for, or make it up."""
        if name.startswith("__"):
            raise AttributeError(name)
        return STAND_INS.get(name) or MagicMock(name=name)


class Source(SourceFileLoader):
    """A module as it is published."""

    def source_to_code(self, data: Any, path: Any, **_: Any) -> Any:
        """Compile it."""
        source = re.sub(r"^type (\w+) = ", r"\1 = ", bytes(data).decode(), flags=re.MULTILINE)
        return compile(source, path, "exec")


class Weblate(MetaPathFinder, Loader):
    """Finds the modules of Weblate."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module."""
        if PUBLISHED.fullmatch(name):
            file = FOLDER.joinpath(*name.split(".")).with_suffix(".py")
            return importlib.util.spec_from_file_location(name, file, loader=Source(name, str(file)))
        return ModuleSpec(name, self, is_package=True) if name.split(".")[0] == "weblate" else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Make a stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Leave it as it is."""


def unit(terms: str = "") -> Any:
    """Return a unit of a project that has a glossary."""
    made = MagicMock(all_flags=[])
    made.translation.component.project.id = 1
    made.translation.tsv = terms
    return made


def texts(translations: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the texts of translations."""
    return [found["text"] for each in translations.values() for found in each]


def deepl(url: str, given: list[str]) -> dict[str, Any]:
    """Add the service, translate, then with a glossary that is made, found, replaced and deleted."""
    module = importlib.import_module("weblate.machinery.deepl")
    results: dict[str, Any] = {}
    service = module.DeepLTranslation({"url": f"{url}/v2/", "key": "any", "formality": "default", "context": ""})
    service.validate_settings()
    results["languages"] = sorted(service.download_languages())
    results["write"] = [service.is_rephrase_enabled(), sorted(service.get_write_languages())]
    results["rephrased as"] = service.get_rephrase_target_language("DE")
    results["translated"] = texts(
        service.download_multiple_translations("EN", "DE", [(text, unit()) for text in given])
    )
    marked = f'{given[0]} <x id="7"></x>'
    results["marked"] = texts(service.download_multiple_translations("EN", "DE", [(marked, unit())]))
    results["glossary languages"] = [service.is_glossary_supported("EN", target) for target in ("DE", "FR")]
    found = []
    for terms in ("house\tHaus", "house\tHaus", "river\tFluss"):  # made, found again, replaced
        [text] = texts(service.download_multiple_translations("EN", "DE", [(given[0], unit(terms))]))
        found.append([text, sorted(service.list_glossaries().values())])
    results["with glossaries"] = found
    service.delete_oldest_glossary()
    results["left"] = service.list_glossaries()
    try:
        service.delete_glossary("00000000-0000-0000-0000-000000000000")
    except module.GlossaryDoesNotExistError:
        results["unknown"] = "does not exist"
    try:
        service.download_multiple_translations("EN", "FR", [(given[0], None)])
    except httpx2.HTTPStatusError as refusal:
        results["refusal"] = service.get_error_message(refusal)
    return results


def libretranslate(url: str, given: list[str]) -> dict[str, Any]:
    """Add the two services and translate."""
    module = importlib.import_module("weblate.machinery.libretranslate")
    results: dict[str, Any] = {}
    for service in (
        module.LibreTranslateTranslation({"url": url, "key": ""}),
        module.LTEngineTranslation({"url": url, "key": ""}),
    ):
        service.validate_settings()
        translated = service.download_multiple_translations("en", "de", [(text, None) for text in given])
        results[service.name] = [service.download_languages(), texts(translated)]
    return results


if __name__ == "__main__":
    sys.meta_path.insert(0, Weblate())
    cache = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.configure(CACHES=cache, ALLOWED_MACHINERY_DOMAINS=[], USE_I18N=False)
    django.setup()
    address, *sentences = sys.argv[1:]
    print(json.dumps({"deepl": deepl(address, sentences)} | libretranslate(address, sentences)))
