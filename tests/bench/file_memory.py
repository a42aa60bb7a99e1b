"""Resident memory of a server that translates files of every kind, round after round: does it level off?

    python -m tests.bench.file_memory [--rounds 40]

A round is a file of each kind, of some 5,000 characters that no other round has; the memory is read after each round,
with what is shared (mapped weights, libraries) told apart. Writes docs/results/file-memory.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import httpx

from models.format.directory import open_model
from tests.bench.bench import MODEL, ROOT, machine
from tests.bench.file_kinds import files
from tests.load.processes import ours, placements

_THINGS = ["house", "river", "tree", "garden", "window", "letter", "street", "morning", "picture", "question", "hill"]
_VERBS = ["sees", "finds", "leaves", "opens", "paints", "crosses", "forgets", "describes", "needs", "repairs"]


def sentences(round_number: int, count: int = 80) -> list[str]:
    """Make plain English sentences; each round has its own."""
    return [
        f"In {1000 + round_number} the {_THINGS[n % 11]} of number {n} {_VERBS[(n + round_number) % 10]} "
        f"a {_THINGS[(n * 7 + round_number) % 11]}."
        for n in range(count)
    ]


def translate(client: httpx.Client, name: str, data: bytes) -> None:
    """Send a file, wait for it, fetch it, forget it."""
    fields = {"source": "en", "target": "de"}
    job = client.post("/v1/files", files={"file": (name, data)}, data=fields).raise_for_status().json()["id"]
    with client.stream("GET", f"/v1/files/{job}/events") as events:
        last = [line for line in events.iter_lines() if line.startswith("data: ")][-1]
    if json.loads(last[6:])["status"] != "done":
        raise SystemExit(f"{name}: {last}")
    client.get(f"/v1/files/{job}/result").raise_for_status()
    client.delete(f"/v1/files/{job}").raise_for_status()


def main() -> None:
    """Run the rounds against a server of our own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", help="one kind, as .docx")
    options = parser.parse_args()
    default = open_model(MODEL).config.default_configuration
    figures: list[dict[str, float]] = []
    with ours(default, placements()["shared"]) as server, httpx.Client(base_url=server.url, timeout=120) as client:
        for number in range(options.rounds + 1):
            for name, data in files(sentences(number)) if number else ():
                if options.only in (None, Path(name).suffix):
                    translate(client, name, data)
            memory = server.memory()
            figures.append(
                {"round": number}
                | {name: round(memory[f"{name}_bytes"] / 1e6, 1) for name in ("resident", "anonymous", "mapped_file")}
            )
            print(figures[-1], flush=True)
    command = f"python -m tests.bench.file_memory {' '.join(sys.argv[1:])}".strip()
    report = {"command": command, "machine": machine(), "megabytes": figures}
    (ROOT / "docs" / "results" / "file-memory.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
