"""The wheel: one package whose names collide with no project's own, with the models inside."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cffi
import httpx
import kernels._engine
import pytest

from tests.conftest import ROOT

PACKAGES = ("service", "kernels", "models")
ENGLISH, GERMAN = "Would you like another cup of coffee?\n", "Möchten Sie noch eine Tasse Kaffee?\n"


@pytest.fixture(scope="module")
def backend() -> types.ModuleType:
    """Load the build backend, which needs scikit-build-core only when it builds."""
    stand_in = types.ModuleType("scikit_build_core.build")
    for name in re.findall(r"^    (\w+),$", (ROOT / "cmake/one_package.py").read_text(), re.MULTILINE):
        setattr(stand_in, name, None)
    spec = importlib.util.spec_from_file_location("one_package", ROOT / "cmake/one_package.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "scikit_build_core", types.ModuleType("scikit_build_core"))
        patch.setitem(sys.modules, "scikit_build_core.build", stand_in)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tree(backend: types.ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lay the packages out as the wheel does, with the engine of this environment."""
    folder = tmp_path_factory.mktemp("site")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    files = backend.DOOR | dict(backend.moved(name, (ROOT / name).read_bytes()) for name in listed.stdout.split())
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    engine = Path(kernels._engine.__file__)
    shutil.copy(engine, folder / "sub3/kernels" / engine.name)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a folder of a project that has our names itself."""
    for name in PACKAGES:
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('the {name} of the project')\n")
    return tmp_path


def environment(tree: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUB3_", "PYTHON"))}
    return kept | {"PYTHONPATH": f"{tree}{os.pathsep}{Path(cffi.__file__).parents[1]}", "OMP_NUM_THREADS": "1"}


def in_project(tree: Path, project: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, cwd=project, env=environment(tree)
    )


def test_the_command_works_beside_a_project_of_the_same_names(tree: Path, project: Path) -> None:
    for text, expected in ((ENGLISH, GERMAN), (GERMAN, ENGLISH)):
        done = in_project(tree, project, "-m", "sub3", "translate", given=text)
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    listed = in_project(tree, project, "-m", "sub3", "models", "list")
    assert re.search(r"^en-de .* best-2\*", listed.stdout, re.MULTILINE)
    assert re.search(r"^de-en .* best-2\*", listed.stdout, re.MULTILINE)
    assert "usage: python -m models" in in_project(tree, project, "-m", "sub3.models", "--help").stdout


def test_no_import_is_left_as_it_was(tree: Path, project: Path) -> None:
    code = (
        "import sys, sub3.service.app, sub3.service.files.child, sub3.service.files.word, sub3.service.__main__; "
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('service', 'kernels', 'models')))"
    )
    done = in_project(tree, project, "-P", "-c", code)
    # names that cffi registers; nobody imports anything by them
    assert (done.stdout, done.stderr) == ("['kernels._engine', 'kernels._engine.lib']\n", "")


def served(command: list[str], folder: Path, variables: dict[str, str]) -> Iterator[str]:
    """Run a server on a free port; yield its address."""
    with subprocess.Popen(
        [*command, "serve", "--port", "0"], cwd=folder, env=variables, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            address = next(line for line in process.stderr if "running on" in line)
            yield address.split("running on ")[1].split()[0]
        finally:
            process.terminate()
            process.communicate()


def check_server(url: str) -> None:
    """Ask for the page, for both directions, and for a file, which is read in a process of its own."""
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.get("/").headers["Content-Type"].startswith("text/html")
        german = client.get("/languages", headers={"Accept-Language": "de"}).json()
        assert {language["name"] for language in german} == {"Deutsch", "Englisch"}
        for source, target, text, expected in (("en", "de", ENGLISH, GERMAN), ("de", "en", GERMAN, ENGLISH)):
            reply = client.post("/v1/translate", json={"text": text.strip(), "source": source, "target": target})
            assert reply.json()["translations"][0]["text"] == expected.strip()
        form = {"source": "en", "target": "de"}
        made = client.post("/v1/files", data=form, files={"file": ("a.md", ENGLISH.encode())}).json()
        events = client.get(f"/v1/files/{made['id']}/events").text
        assert '"done"' in events
        assert client.get(f"/v1/files/{made['id']}/result").text == GERMAN


def test_the_server_works_beside_a_project_of_the_same_names(tree: Path, project: Path) -> None:
    for url in served([sys.executable, "-m", "sub3"], project, environment(tree)):
        check_server(url)


def test_an_import_that_cannot_be_moved_fails_the_build(backend: types.ModuleType) -> None:
    with pytest.raises(ValueError, match="Line 2"):
        backend.renamed("import os\nimport models.format\n")
    moved = backend.renamed("def f():\n    from service.app import (\n        x,\n    )\n'from service import y'\n")
    assert moved == "def f():\n    from sub3.service.app import (\n        x,\n    )\n'from service import y'\n"


@pytest.mark.wheel
def test_the_wheel_in_a_fresh_environment(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < 40e6
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        (metadata,) = (name for name in names if name.endswith("METADATA"))
        assert "Classifier: Private :: Do Not Upload" in content.read(metadata).decode()
    assert {name.split("/")[0] for name in names} == {"sub3", metadata.split("/")[0]}
    bin_folder = tmp_path / "fresh" / "bin"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "fresh")], check=True)
    subprocess.run([bin_folder / "pip", "install", "--quiet", str(wheel)], check=True)
    checked = subprocess.run([bin_folder / "pip", "check"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    empty = tmp_path / "empty"
    empty.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SUB3_", "PYTHON"))}
    for text, expected in ((ENGLISH, GERMAN), (GERMAN, ENGLISH)):
        done = subprocess.run(
            [bin_folder / "sub3", "translate"], input=text, capture_output=True, text=True, cwd=empty, env=kept
        )
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)
    for arguments, words in (
        (["--version"], r"sub3 \d"),
        (["--help"], r"examples:"),
        (["models", "list"], r"en-de .* best-2\*"),
        (["models", "inspect", "de-en"], r"best-2"),
        (["keys", "add", "acme"], r"\w{20}"),
        (["keys", "list"], r"acme"),
        (["bench", "--rounds", "1", "--model", "en-de"], r"sentences"),
        (["completion", "bash"], r"complete "),
    ):
        done = subprocess.run([bin_folder / "sub3", *arguments], capture_output=True, text=True, cwd=empty, env=kept)
        assert done.returncode == 0, done.stderr
        assert re.search(words, done.stdout), arguments
    for url in served([str(bin_folder / "sub3")], empty, kept):
        check_server(url)
