"""The command `sub3` as people expect of a command: help, versions, completion, interruptions, sentences."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.format import store
from service.__main__ import COMPRESS, SERVE, VERBS, parser
from service.cli.completion import SHELLS, script
from service.cli.translate import _available
from tests.conftest import ROOT
from tests.service.tiny_model import write_tiny_model

SUB3 = [sys.executable, "-m", "service"]


def sub3(*arguments: str, given: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*SUB3, *arguments], input=given, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def two_ways(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write models of both directions, each of which answers otherwise."""
    folder = tmp_path_factory.mktemp("store")
    for seed, (source, target) in enumerate((("en", "de"), ("de", "en"))):
        write_tiny_model(folder / f"{source}-{target}", sources=(source,), targets=(target,), seed=seed)
    return folder


@pytest.mark.parametrize("module", ["service", "models"])
def test_the_version_is_that_of_the_distribution(module: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (told.returncode, told.stdout) == (0, f"sub3 {project['version']}\n")


def test_the_entry_point_is_the_module() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"sub3": "service.__main__:main"}


@pytest.mark.parametrize("verb", [None, SERVE, *VERBS])
def test_help(verb: str | None) -> None:
    told = sub3(*([verb] if verb else []), "--help") if verb else sub3("translate", "--help")
    assert told.returncode == 0
    assert told.stderr == ""
    for ugly in ("PydanticUndefined", "SUPPRESS", "<object", "<function", "None)"):
        assert ugly not in told.stdout
    assert all(len(line) <= 160 for line in told.stdout.splitlines())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != COMPRESS])  # whose help is where torch is
def test_the_examples_of_the_help_are_taken(verb: str) -> None:
    _, _, examples = sub3(verb, "--help").stdout.partition("examples:\n")
    commands = re.findall(r"^  .*?\b(sub3 .*?)(?: {2,}|\)|$)", examples.partition("\n\n")[0], re.MULTILINE)
    assert len(commands) > 1
    for command in commands:
        assert parser(verb).parse_args(shlex.split(command.partition(">")[0])[1:]).command == verb, command


def test_no_verb_lists_the_verbs() -> None:
    code = "import sys; from service.__main__ import main; sys.exit(main([]))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0
    for verb in (SERVE, *VERBS):
        assert re.search(rf"^    {verb}\s+\w", told.stdout, re.MULTILINE), verb


def test_standard_input_is_translated_as_it_comes(tiny_model: Path) -> None:
    with subprocess.Popen(
        [*SUB3, "translate", "--model", str(tiny_model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        replies = []
        for line in ("The old house.\n", "A big tree sees the river.\n"):
            process.stdin.write(line)
            process.stdin.flush()
            replies.append(process.stdout.readline())  # before anything else is written
        process.stdin.write("no end of line")
        process.stdin.close()
        replies.append(process.stdout.read())
        assert process.wait() == 0
    whole = sub3(
        "translate", "--model", str(tiny_model), given="The old house.\nA big tree sees the river.\nno end of line"
    )
    assert "".join(replies) == whole.stdout
    assert all(replies)


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"x", b"\n")), max_size=8), st.booleans())
def test_what_has_come_is_cut_after_a_line(written: list[bytes], paragraphs: bool) -> None:
    whole = b"".join(written)
    ends = (b"\n\n", b"\n\r\n") if paragraphs else (b"\n",)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe:
        chunks = _available(pipe.fileno(), ends)
        got = []
        for data in written:
            os.write(writing, data)
            if not whole.startswith((b"\xff\xfe", b"\xfe\xff")) and any(data.endswith(end) for end in ends):
                got.append(next(chunks))  # there is enough for one: it does not wait for more
                assert got[-1].endswith(ends)
        os.close(writing)
        got += chunks
    assert b"".join(got) == whole
    assert all(got)


def test_ctrl_c_ends_a_translation_with_one_line(tiny_model: Path) -> None:
    with subprocess.Popen(
        [*SUB3, "translate", "--model", str(tiny_model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("The old house.\n")
        process.stdin.flush()
        assert process.stdout.readline()  # it runs, and waits for more
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stderr.read() == "Interrupted.\n"


def test_ctrl_c_ends_the_offline_half_with_one_line(tiny_model: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "source.txt"
    os.mkfifo(fifo)
    command = [sys.executable, "-m", "models", "evaluate", str(tiny_model), "--json", str(tmp_path / "out.json")]
    command += ["--source", str(fifo), "--reference", str(fifo)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        writing = None
        while writing is None:  # until the verb reads, which then waits for text
            assert process.poll() is None, process.stderr.read()
            with contextlib.suppress(OSError):
                writing = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        os.close(writing)
        assert process.stderr.read() == "evaluate: interrupted.\n"


def test_a_reader_that_goes_ends_it_quietly(tiny_model: Path) -> None:
    with subprocess.Popen(
        [*SUB3, "translate", "--model", str(tiny_model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write("The old house.\n")
        process.stdin.close()
        assert process.wait() == 141
        assert process.stderr.read() == ""


def test_the_language_of_the_text_chooses_the_direction(two_ways: Path) -> None:
    english, german = "Would you like another cup of coffee?\n", "Möchten Sie noch eine Tasse Kaffee?\n"
    for text, name in ((english, "en-de"), (german, "de-en")):
        expected = sub3("translate", "--model", str(two_ways / name), given=text).stdout
        for options in ((), ("--source", "auto")):
            assert sub3("translate", *options, given=text, SUB3_MODELS_DIRECTORY=str(two_ways)).stdout == expected != ""
    french = "Je voudrais une tasse de café, s'il vous plaît.\n"
    refused = sub3("translate", given=french, SUB3_MODELS_DIRECTORY=str(two_ways))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "French" in refused.stderr
    assert sub3("translate", "--source", "en", given=french, SUB3_MODELS_DIRECTORY=str(two_ways)).returncode == 0


def test_each_file_goes_its_own_direction(two_ways: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Would you like another cup of coffee?\n")
    (tmp_path / "b.txt").write_text("Möchten Sie noch eine Tasse Kaffee?\n")
    done = sub3("translate", f"{tmp_path}/a.txt", f"{tmp_path}/b.txt", SUB3_MODELS_DIRECTORY=str(two_ways))
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "a.de.txt", "b.txt", "b.en.txt"}


def test_a_name_or_a_directory_is_a_model(two_ways: Path) -> None:
    by_name = sub3("models", "inspect", "de-en", SUB3_MODELS_DIRECTORY=str(two_ways))
    by_path = sub3("models", "inspect", str(two_ways / "de-en"))
    assert by_name.stdout == by_path.stdout != ""
    refused = sub3("models", "inspect", "fr-en", SUB3_MODELS_DIRECTORY=str(two_ways))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "de-en, en-de" in refused.stderr


def test_the_list_of_models(two_ways: Path) -> None:
    listed = sub3("models", "list", SUB3_MODELS_DIRECTORY=str(two_ways))
    assert listed.returncode == 0
    assert re.search(r"^de-en +de -> en +full\* ", listed.stdout, re.MULTILINE)
    (two_ways / "broken").mkdir()
    try:
        listed = sub3("models", "list", SUB3_MODELS_DIRECTORY=str(two_ways))
    finally:
        (two_ways / "broken").rmdir()
    assert listed.returncode == 2
    assert "config.json" in listed.stderr
    assert "de-en" in listed.stdout  # what is wrong with one is not the others' fault


@pytest.mark.parametrize("verb", [["translate"], ["serve"], ["models", "list"], ["bench"]])
def test_without_a_model_all_say_what_to_do(verb: list[str], tmp_path: Path) -> None:
    told = sub3(*verb, given="", SUB3_MODELS_DIRECTORY=str(tmp_path), PORT="0")
    assert told.returncode == 2
    assert str(tmp_path) in told.stderr
    assert store.ADVICE in told.stderr


def test_without_settings_the_models_are_those_that_come_with_the_code() -> None:
    assert store.found({}) == {path.name: path for path in sorted((ROOT / "models/store").iterdir())}


@pytest.mark.parametrize(
    "command",
    [
        ["service", "translate", "nope.txt"],
        ["service", "translate", "--glossary", "nope.tsv"],
        ["service", "bench", "--text", "nope.txt"],
        ["service", "corpus", "--input", "nope.jsonl", "--output", "out"],
        ["models", "generate", "/proc/nope/out.tsv"],
        ["models", "train", "/proc/nope.toml"],
    ],
)
def test_no_numbers_of_the_system_in_sentences(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        input="",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode in (1, 2)
    assert "nope" in done.stderr
    assert "Errno" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--host", "nope.invalid"], "nope.invalid"), (["--host", "192.0.2.1"], "192.0.2.1"), (["--port", "x"], "port")],
)
def test_an_address_that_cannot_be(options: list[str], words: str, tmp_path: Path) -> None:
    # before the models are looked for: there are none
    told = sub3("serve", *options, SUB3_MODELS_DIRECTORY=str(tmp_path))
    assert told.returncode == 2
    assert words in told.stderr
    assert len(told.stderr.splitlines()) == 1


def test_a_taken_port_is_noticed_at_once(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        told = sub3("serve", "--port", port, SUB3_MODELS_DIRECTORY=str(tmp_path))
    assert told.returncode == 2
    assert told.stderr == (
        f"Port {port} of 127.0.0.1 is taken by another program; stop it, or choose another by --port or SUB3_PORT.\n"
    )


def test_an_option_goes_before_the_environment(tiny_model: Path) -> None:
    with subprocess.Popen(
        [*SUB3, "serve", "--port", "0", "--model-directory", str(tiny_model)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PORT": "1", "SUB3_MODELS_DIRECTORY": "/nowhere"},
    ) as process:
        assert process.stderr is not None
        try:
            assert any("running on http://127.0.0.1:" in line for line in process.stderr)
        finally:
            process.terminate()


def test_a_bench_prints_figures(tiny_model: Path) -> None:
    done = sub3("bench", "--model", str(tiny_model), "--rounds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    figures = [float(figure) for figure in re.findall(r"([\d.]+)(?: ms| MB)?$", done.stdout, re.MULTILINE)]
    assert len(figures) == 5
    assert all(figure > 0 for figure in figures)


def test_progress_is_not_drawn_into_a_pipe(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("The old house.\n")
    command = [sys.executable, "-m", "models", "evaluate", str(tiny_model), "--json", str(tmp_path / "out.json")]
    command += ["--source", str(tmp_path / "a"), "--reference", str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_a_script_of_its_shell(shell: str) -> None:
    made = sub3("completion", shell)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == script(shell, parser("completion"))
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here: apt-get install {shell}")
    checked = subprocess.run([shell, "-n"], input=made.stdout, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sub3", "tr"], ["translate"]),
        (["sub3", "models", ""], ["list", "inspect", "verify", "pack", "compress", "shortlist", "add", "-h", "--help"]),
        (["sub3", "translate", "--bea"], ["--beam-size"]),
        (["sub3", "translate", "--split-sentences", "n"], ["nonewlines"]),
        (["sub3", "completion", "f"], ["fish"]),
        (["sub3", "translate", "--threads", "1"], []),
    ],
)
def test_bash_completes(words: list[str], expected: list[str]) -> None:
    quoted = " ".join(f"'{word}'" for word in words)
    ask = f"{script('bash', parser('completion'))}\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _sub3\n"
    done = subprocess.run(["bash"], input=ask + 'printf "%s\\n" "${COMPREPLY[@]}"', capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (expected, "")


def test_fish_completes() -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish here: apt-get install fish")
    ask = (
        script("fish", parser("completion")) + "complete -C 'sub3 tr'; complete -C 'sub3 translate --split-sentences n'"
    )
    done = subprocess.run([fish, "--no-config"], input=ask, capture_output=True, text=True)
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["translate", "nonewlines"], done.stderr
