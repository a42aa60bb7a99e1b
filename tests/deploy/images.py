"""Images as the tests build them; `python -m tests.deploy.images` builds all, and the tests find cached layers."""

import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.deploy.docker import NGINX, SERVER, docker

BASE = "python:3.11-slim-bookworm"
STAND_INS = ROOT / "tests" / "deploy" / "stand-ins"
# What compose files name by default, and the variable that names another one.
OFFICIAL = {
    "nginx": ("NGINX_IMAGE", "nginx:1.30-alpine"),
    "redis": ("REDIS_IMAGE", "redis:7.4-alpine"),
    "prometheus": ("PROMETHEUS_IMAGE", "prom/prometheus:v3.5.0"),
}


def server_image() -> str:
    """Build the server's image from these sources and return its tag."""
    build(ROOT / "docker" / "Dockerfile", ROOT, SERVER, "--target", "server", *arguments())
    return SERVER


def stack_images() -> dict[str, str]:
    """Make sure of the images beside the server's; return the variables that name third-party ones."""
    names = base_images()
    folder = ROOT / "docker" / "nginx"
    build(folder / "Dockerfile", folder, NGINX, "--build-arg", f"NGINX_IMAGE={names['NGINX_IMAGE']}")
    return names


def build(dockerfile: Path, context: Path, tag: str, *options: str) -> None:
    """Run `docker build` with the machine's network; cached layers cost nothing."""
    docker("build", "--network", "host", "--file", dockerfile, "--tag", tag, *options, context, timeout=1500)


def arguments() -> list[str]:
    """Build arguments: the package index of this machine, and headers where the base image has Debian's own Python."""
    found = []
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        if os.environ.get(name, "").startswith("http"):
            found += ["--build-arg", f"{name}={os.environ[name]}"]
    code = "import os, sysconfig; print(os.path.exists(sysconfig.get_path('include') + '/Python.h'))"
    if docker("run", "--rm", BASE, "python", "-c", code) != "True":
        found += ["--build-arg", "BUILD_PACKAGES=g++ python3-dev"]
    return found


def exists(image: str) -> bool:
    """Tell whether the engine has it, or can pull it."""
    for verb in (["image", "inspect"], ["pull", "--quiet"]):
        if subprocess.run(["docker", *verb, image], capture_output=True, timeout=300).returncode == 0:
            return True
    return False


def base_images() -> dict[str, str]:
    """Return the variables that name third-party images: the official ones, or stand-ins from Debian's packages."""
    names = {}
    for service, (variable, official) in OFFICIAL.items():
        names[variable] = official
        if not exists(official):
            names[variable] = f"sub3-stand-in:{service}"
            build(STAND_INS / service / "Dockerfile", STAND_INS / service, names[variable])
            print(f"{official} can't be pulled: {names[variable]} is in its place")
    return names


if __name__ == "__main__":
    server_image()
    stack_images()
