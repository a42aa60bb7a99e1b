"""Mutation tests: apply each mutant of mutants.toml to a copy of the tree and run the tests that should notice.

`make mutants` runs all of them; `make mutants ARGS="C1 C2"` runs some. A mutant is a table:

    [ID]
    file = "kernels/decoding/search.cc"
    old = "text that occurs once in the file"
    new = "what it becomes"
    tests = ["tests/kernels/test_engine.py", "tests/kernels/search_test.cc"]
    survives = "why no test can notice it"      # only of mutants that change nothing that is promised

The run fails where a mutant survives without a reason, where one with a reason dies, and where `old` does not occur
exactly once. The verdicts go to docs/results/mutants.json.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = Path(__file__).with_name("mutants.toml")
RESULTS = ROOT / "docs/results/mutants.json"
WORK = ROOT / "build/mutants"
TREE, NATIVE, ENVIRONMENT = WORK / "tree", WORK / "native", WORK / "environment"
CMAKE = Path(sysconfig.get_path("scripts")) / "cmake"
TIMEOUT_S = 300.0  # after which a mutant that hangs is killed


@dataclass(frozen=True)
class Mutant:
    """A change that tests should notice."""

    file: str
    old: str
    new: str
    tests: list[str] = field(default_factory=list)
    survives: str = ""

    def occurrences(self) -> int:
        """Count how often `old` occurs in the file."""
        path = ROOT / self.file
        return path.read_text("utf-8").count(self.old) if path.is_file() else 0

    def source(self) -> bytes:
        """Return the mutated file."""
        return (ROOT / self.file).read_text("utf-8").replace(self.old, self.new).encode()


def prepare() -> Path:
    """Bring the copy up to date and make an environment whose modules are the copy's; return its interpreter."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    names = {name for name in listed if name and (ROOT / name).is_file()}
    for path in [path for path in TREE.rglob("*") if path.is_file() and path.suffix not in (".so", ".pyc")]:
        if str(path.relative_to(TREE)) not in names:
            path.unlink()
    for name in names:
        copy, content = TREE / name, (ROOT / name).read_bytes()
        if not copy.is_file() or copy.read_bytes() != content:  # files that stay are not compiled again
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(content)
    # The copy is imported instead of the editable install, whose finder is in a .pth file that these paths do not run.
    venv.create(ENVIRONMENT, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(ENVIRONMENT)}))
    (packages / "a_tree.pth").write_text(f"{TREE}\n", "utf-8")
    (packages / "b_installed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    configure: list[str | Path] = [CMAKE, "-S", TREE, "-B", NATIVE, f"-DPython_EXECUTABLE={sys.executable}"]
    configure += ["-DCMAKE_BUILD_TYPE=Release", "-DSKBUILD=2", "-DSUB3_NATIVE_TESTS=ON"]
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    extension = TREE / "kernels/_engine.abi3.so"
    extension.unlink(missing_ok=True)
    extension.symlink_to(NATIVE / extension.name)
    return ENVIRONMENT / "bin/python"


def build(target: str) -> None:
    """Build a target of the copy, again only what changed."""
    command: list[str | Path] = [CMAKE, "--build", NATIVE, "--parallel", "2", "--target", target]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def commands(tests: list[str], python: Path) -> list[list[str | Path]]:
    """Build what the tests need and return the commands that run them."""
    native = [Path(test).stem for test in tests if test.endswith(".cc")]
    for target in native:
        build(target)
    runs: list[list[str | Path]] = [[NATIVE / target] for target in native]
    if selected := [test for test in tests if not test.endswith(".cc")]:
        build("_engine")
        runs.append([python, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *selected])
    return runs


def passes(command: list[str | Path]) -> bool:
    """Run tests on the copy; those that hang fail.

    Raises:
        SystemExit: pytest found no tests, or could not read them.
    """
    environment = {"OMP_NUM_THREADS": "1", "SUB3_SHARED": str(ROOT.parent / "shared"), **os.environ}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # of what is installed; they take longer than most tests
    try:
        done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode in (4, 5):
        raise SystemExit(f"pytest could not run its tests:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def survives(mutant: Mutant, python: Path) -> bool:
    """Tell whether all tests of a mutant pass on the mutated copy."""
    path = TREE / mutant.file
    original = path.read_bytes()
    path.write_bytes(mutant.source())
    try:
        return all(map(passes, commands(mutant.tests, python)))
    finally:
        path.write_bytes(original)  # newer than what was built of the mutant, which is therefore built again


def record(mutants: dict[str, Mutant], name: str, verdict: str) -> None:
    """Write a verdict to the results, which keep those of other mutants that there still are."""
    found = json.loads(RESULTS.read_text("utf-8"))["mutants"] if RESULTS.exists() else {}
    found[name] = {
        "file": mutants[name].file,
        "verdict": verdict,
        "date": time.strftime("%Y-%m-%d"),
        **({"reason": mutants[name].survives} if mutants[name].survives else {}),
    }
    found = {name: found[name] for name in mutants if name in found}
    results = {
        "command": "make mutants",
        "machine": f"{platform.system()} {platform.machine()}",
        "killed": sum(each["verdict"] == "killed" for each in found.values()),
        "survived": sum(each["verdict"] == "survived" for each in found.values()),
        "mutants": found,
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="ID", help="mutants to run (default: all)")
    names = parser.parse_args().names
    mutants = {name: Mutant(**table) for name, table in tomllib.loads(MUTANTS.read_text("utf-8")).items()}
    if unknown := set(names) - set(mutants):
        raise SystemExit(f"There are no mutants {', '.join(sorted(unknown))}.")
    if stale := [name for name, mutant in mutants.items() if mutant.occurrences() != 1]:
        raise SystemExit(f"The text of these does not occur exactly once in their files: {', '.join(stale)}.")
    python, wrong = prepare(), []
    for name in names or mutants:
        mutant = mutants[name]
        verdict = "survived" if survives(mutant, python) else "killed"
        print(f"{name:6} {verdict:8} {mutant.file}", flush=True)
        record(mutants, name, verdict)
        if (verdict == "survived") != bool(mutant.survives):
            wrong.append(name)
    if wrong:
        print(f"Not as mutants.toml says: {', '.join(wrong)}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
