"""The six commands of docs/your-model.md, as they stand there, on a made checkpoint in the place of the download."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx

from models.format.package import SUFFIX
from tests.conftest import ROOT
from tests.models.conftest import sentences
from tests.models.marian.test_checkpoint import edit, save_marian

CARD = "### eng-fra\n\n* model: transformer-align\n* pre-processing: normalization + SentencePiece (spm32k,spm32k)\n"


def commands() -> list[str]:
    """Return the lines of the first block of code."""
    block = re.search(r"^```sh\n(.*?)^```", (ROOT / "docs/your-model.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block
    return block[1].splitlines()


def test_the_six_commands_from_the_download_to_a_translation(
    tmp_path: Path, pieces: tuple[str, ...], spm: bytes
) -> None:
    download, compress, inspect, verify, serve, ask = commands()
    assert re.fullmatch(r"huggingface-cli download \S+ --local-dir (\S+)", download)
    checkpoint = tmp_path / download.split()[-1]
    save_marian(checkpoint, pieces, spm)
    edit(checkpoint, "tokenizer_config.json", source_lang="eng", target_lang="fra")
    (checkpoint / "generation_config.json").write_text(
        json.dumps({"num_beams": 4, "bad_words_ids": [[len(pieces) - 1]]})
    )
    (checkpoint / "README.md").write_text(CARD)
    (tmp_path / "mono.en").write_text("".join(f"{text}\n" for text in sentences(24, 4)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUB3_")}
    environment = {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "SUB3_STATE_FILE": ""}

    def ours(command: str) -> str:
        return command.replace(".venv/bin/sub3", f"{shlex.quote(sys.executable)} -m service")

    def run(command: str) -> str:
        done = subprocess.run(ours(command), shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "--bits 2 " in compress
    assert "KL to fp32" in run(compress.replace("--minutes 60", "--minutes 0"))
    assert "decoder.0.ffn.inner" in run(inspect)
    assert re.search(r"good; bits-\S+ translate", run(verify))
    run(f".venv/bin/sub3 models pack my-models/en-fr en-fr{SUFFIX}")
    background = ours(serve).removesuffix(" &") + " --port 0"
    with subprocess.Popen(
        f"exec env {background}", shell=True, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            url = next(line for line in server.stderr if "running on" in line).split("running on ")[1].split()[0]
            words = shlex.split(ask)
            assert words[:3] == ["curl", "-s", "localhost:8080/v1/translate"]
            body = json.loads(words[words.index("-d") + 1])
            with httpx.Client(base_url=url, timeout=60) as client:
                assert client.post("/v1/translate", json=body).json()["translations"][0]["text"]
                (model,) = client.get("/v1/models").json()["models"]
        finally:
            server.terminate()
            server.communicate()
    assert (model["source_languages"], model["target_languages"], model["beam_size"]) == (["en"], ["fr"], 4)
    assert json.loads((tmp_path / "my-models/en-fr/config.json").read_text())["moses_punctuation"]
