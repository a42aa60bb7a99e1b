"""A model as one file: what comes out is what went in, and nothing that was altered or means harm comes out at all."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.format.directory import open_model
from models.format.package import SUMS, pack, unpack
from models.format.schema import ModelError
from tests.service.tiny_model import write_tiny_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("packed") / "tiny")


@pytest.fixture(scope="module")
def package(directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("package") / "tiny.sub3.zip"
    assert pack(directory, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def refused(package: Path, out: Path, *words: str) -> None:
    with pytest.raises(ModelError) as error:
        unpack(package, out)
    for word in words:
        assert word in str(error.value)
    assert not out.exists()
    assert not [path for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")]


def altered(package: Path, path: Path, change: dict[str, bytes | None], *, compress: bool = False) -> Path:
    """Write the package with other files, and with the checksums of what is in it."""
    with zipfile.ZipFile(package) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if name != SUMS}
    files = {name: content for name, content in (files | change).items() if content is not None}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, content in (files | {SUMS: sums.encode()} | {k: v for k, v in change.items() if k == SUMS}).items():
            archive.writestr(name, content)
    return path


def test_what_comes_out_went_in(directory: Path, package: Path, tmp_path: Path) -> None:
    unpack(package, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in directory.iterdir()
    }
    assert open_model(tmp_path / "out").config == open_model(directory).config
    with pytest.raises(ModelError, match="exists already"):
        unpack(package, tmp_path / "out")
    again = tmp_path / "again.sub3.zip"
    pack(directory, again)
    assert again.read_bytes() == package.read_bytes()
    with pytest.raises(ModelError, match="exists already"):
        pack(directory, again)


def test_a_bad_model_is_not_packed(directory: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(directory, bad)
    with (bad / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with pytest.raises(ModelError, match="sha256 differs"):
        pack(bad, tmp_path / "bad.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "a/b.safetensors",
        "..\\evil.safetensors",
        "evil.sh",
        ".hidden.safetensors",
        "config.json/",
    ],
)
def test_no_file_goes_elsewhere(package: Path, tmp_path: Path, name: str) -> None:
    refused(altered(package, tmp_path / "evil.zip", {name: b"x"}), tmp_path / "out", "is not a file of a model")


def test_hostile_archives_are_refused(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    bomb = {"bomb.safetensors": b"\0" * 1_000_000}
    refused(altered(package, tmp_path / "bomb.zip", bomb, compress=True), out, "is compressed")
    refused(altered(package, tmp_path / "more.zip", {f"{n}.safetensors": b"" for n in range(70)}), out, "more than 64")
    refused(altered(package, tmp_path / "sums.zip", {SUMS: b"0  config.json\n"}), out, "does not list exactly")
    refused(altered(package, tmp_path / "less.zip", {"source.spm": None}), out, "source.spm")
    text = tmp_path / "text.zip"
    text.write_text("no zip")
    refused(text, out, "is not a package")
    twice = tmp_path / "twice.zip"
    shutil.copyfile(package, twice)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(twice, "a") as archive:
        archive.writestr("config.json", b"{}")
    refused(twice, out, "twice")


def test_files_that_overlap_are_refused(package: Path, tmp_path: Path) -> None:
    whole = bytearray(package.read_bytes())
    with zipfile.ZipFile(package) as archive:
        central = archive.start_dir
        largest = max(archive.infolist(), key=lambda info: info.file_size)
    entry = whole.index(b"PK\x01\x02", central)
    while entry >= 0:  # every name stands for the largest file
        whole[entry + 42 : entry + 46] = largest.header_offset.to_bytes(4, "little")
        whole[entry + 20 : entry + 28] = largest.file_size.to_bytes(4, "little") * 2
        entry = whole.find(b"PK\x01\x02", entry + 4)
    (tmp_path / "overlap.zip").write_bytes(whole)
    refused(tmp_path / "overlap.zip", tmp_path / "out", "overlap")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_no_altered_byte_comes_out(
    directory: Path, package: Path, tmp_path_factory: pytest.TempPathFactory, place: float, change: int
) -> None:
    folder = tmp_path_factory.mktemp("altered")
    content = bytearray(package.read_bytes())
    content[int(place * len(content))] ^= change
    (folder / "altered.zip").write_bytes(content)
    try:
        unpack(folder / "altered.zip", folder / "out")
    except ModelError:
        assert not (folder / "out").exists()
    else:  # a date or the like
        for path in (folder / "out").iterdir():
            assert path.read_bytes() == (directory / path.name).read_bytes()
