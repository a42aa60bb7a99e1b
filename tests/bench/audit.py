"""`make audit`: known vulnerabilities of the locked packages, of Python and of npm.

pip-audit and npm ask the databases of PyPI and of the npm registry. Where those do not answer, which pip-audit takes
for packages without vulnerabilities, this says so. ADVISORIES names a clone of PyPA's advisory database
(github.com/pypa/advisory-database), in the format of OSV, which is read as well: it knows what was known at its last
commit, of Python. Exit status 1: something is vulnerable; 2: for some packages there was no database at all.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

from tests.bench.bench import ROOT

LOCKS = sorted(path for path in (ROOT / "docker/requirements").glob("*.txt"))
NPM = ("tests/service/clients", "tests/kubernetes", "tests/service/linters")
_PINNED = re.compile(r"^([a-zA-Z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
_PIP_AUDIT = ["--from", "pip-audit>=2.10,<3", "pip-audit", "--disable-pip", "--no-deps", "--progress-spinner", "off"]
NONE = "No database of vulnerabilities is at hand"


def pinned(lock: Path) -> dict[str, str]:
    """Return the versions of a lock by name."""
    return {name.lower().replace("_", "-"): version for name, version in _PINNED.findall(lock.read_text())}


def by_pip_audit(lock: Path) -> dict[str, Any]:
    """Ask PyPI. A package that it does not know was not audited."""
    uvx = Path(sys.executable).with_name("uvx")
    command = [str(uvx), *_PIP_AUDIT, "--format", "json", "--requirement", str(lock)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        told = json.loads(ran.stdout)["dependencies"]
    except ValueError:
        return {"asked": 0, "reason": (ran.stderr.strip().splitlines() or ["it said nothing"])[-1], "found": []}
    skipped = [each for each in told if "skip_reason" in each]
    return {
        "asked": len(told) - len(skipped),
        "reason": re.sub(r"[\w.-]+ \(.*?\)", "...", skipped[0]["skip_reason"]) if skipped else None,
        "found": [
            f"{each['name']} {each['version']}: {known['id']}" for each in told for known in each.get("vulns", [])
        ],
    }


def by_npm(folder: str) -> dict[str, Any]:
    """Ask the npm registry."""
    lock = json.loads((ROOT / folder / "package-lock.json").read_text())["packages"]
    ran = subprocess.run(
        ["npm", "audit", "--package-lock-only", "--json"],
        cwd=ROOT / folder,
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(ran.stdout or "{}")
    if "vulnerabilities" not in told:
        reason = f"{told.get('method', 'npm')}: {told.get('statusCode', 'no answer')}"
        return {"packages": len(lock) - 1, "asked": 0, "reason": reason, "found": []}
    found = [f"{name}: {known['severity']}" for name, known in told["vulnerabilities"].items()]
    return {"packages": len(lock) - 1, "asked": len(lock) - 1, "reason": None, "found": found}


def by_advisories(clone: Path) -> dict[str, Any]:
    """Read a clone of PyPA's database."""
    last = subprocess.run(
        ["git", "-C", str(clone), "log", "-1", "--format=%h %cs"], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = {}
    for lock in LOCKS:
        found[lock.name] = [
            f"{name} {version}: {advisory}"
            for name, version in pinned(lock).items()
            for advisory in advisories(clone, name, Version(version.partition("+")[0]))
        ]
    return {"last_commit": last.stdout.strip(), "found": found}


def advisories(clone: Path, name: str, version: Version) -> Iterator[str]:
    """Yield the ids of the advisories for a version of a package."""
    for path in sorted((clone / "vulns" / name).glob("*.yaml")):
        advisory = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "withdrawn" not in advisory and any(_affects(each, name, version) for each in advisory["affected"]):
            yield advisory["id"]


def _affects(affected: Mapping[str, Any], name: str, version: Version) -> bool:
    if affected["package"]["name"].lower().replace("_", "-") != name:
        return False
    ranges = [each["events"] for each in affected.get("ranges", []) if each["type"] == "ECOSYSTEM"]
    return version in _versions(affected.get("versions", [])) or any(_within(events, version) for events in ranges)


def _versions(names: list[str]) -> Iterator[Version]:
    for name in names:
        try:
            yield Version(name)
        except InvalidVersion:  # of a time before there were rules
            continue


def _within(events: list[dict[str, str]], version: Version) -> bool:
    """Tell whether a version is within what events say, which come in order."""
    is_within = False
    for event in events:
        ((kind, at),) = event.items()
        if kind == "introduced" and (at == "0" or Version(at) <= version):
            is_within = True
        elif (kind == "fixed" and Version(at) <= version) or (kind == "last_affected" and Version(at) < version):
            is_within = False
    return is_within


def main() -> int:
    """Ask each database, print what was found, and write docs/results/audit.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.audit", description=__doc__)
    parser.add_argument("--advisories", type=Path, help="a clone of PyPA's advisory database")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/results/audit.json")
    arguments = parser.parse_args()
    report: dict[str, Any] = {
        "command": "make audit" + (" ADVISORIES=..." if arguments.advisories else ""),
        "pip_audit": {lock.name: {"packages": len(pinned(lock)), **by_pip_audit(lock)} for lock in LOCKS},
        "npm_audit": {folder: by_npm(folder) for folder in NPM},
    }
    if arguments.advisories:
        report["advisories"] = by_advisories(arguments.advisories)
    asked = {**report["pip_audit"], **report["npm_audit"]}
    found = {name: told["found"] for name, told in asked.items() if told["found"]}
    found |= {name: told for name, told in report.get("advisories", {}).get("found", {}).items() if told}
    for name, told in asked.items():
        if told["asked"] < told["packages"]:
            print(f"{name}: {NONE} for {told['packages'] - told['asked']} of {told['packages']} ({told['reason']}).")
    if arguments.advisories:
        print(f"The locks of Python were held against PyPA's advisories as of {report['advisories']['last_commit']}.")
    for name, vulnerable in found.items():
        print(f"{name}: {', '.join(vulnerable)}")
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if found:
        return 1
    print("Nothing vulnerable was found.")
    left = asked if arguments.advisories is None else report["npm_audit"]
    return 0 if all(told["asked"] == told["packages"] for told in left.values()) else 2


if __name__ == "__main__":
    sys.exit(main())
