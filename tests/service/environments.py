"""Environments of clients whose packages can't stand beside the server's; made under build/ when first asked for."""

import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "clients"


def interpreter(name: str, *installs: str) -> Path:
    """Return the interpreter of an environment.

    Args:
        name: Of the environment.
        installs: The arguments of one or more runs of `pip install`, each a line.
    """
    folder = FOLDER / name
    made = folder / "made"
    if not made.exists() or made.read_text() != "\n".join(installs):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        for arguments in installs:
            subprocess.run([folder / "bin" / "pip", "install", "--quiet", *arguments.split()], check=True)
        made.write_text("\n".join(installs))
    return folder / "bin" / "python"
