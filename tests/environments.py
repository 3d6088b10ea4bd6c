"""Environments to try the published package in: nothing is downloaded, what they hold is linked to what is installed here."""

import os
import subprocess
import sys
import venv
from functools import cache
from importlib import metadata
from pathlib import Path

import notebooks
from packaging.requirements import Requirement

import tinyddpm as td


def build(folder):
    """What `make dist` makes: the sources, and the wheel that is built from them alone, whose path is returned."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), "."]
    subprocess.run(command, cwd=notebooks.ROOT, check=True, capture_output=True)
    return folder / f"tinyddpm-{td.__version__}-py3-none-any.whl"


def required(name, known):
    """A distribution and all that it requires here, without extras."""
    known.add(name)
    for need in map(Requirement, metadata.requires(name) or []):
        if need.name.lower() not in known and (need.marker is None or need.marker.evaluate({"extra": ""})):
            required(need.name.lower(), known)
    return known


@cache
def places(name):
    """The folders and files, side by side, that a distribution consists of."""
    tops = {file.parts[0] for file in metadata.files(name)} - {"..", "__pycache__"}
    return [Path(metadata.distribution(name).locate_file(top)).resolve() for top in sorted(tops)]


def create(folder, *names):
    """Makes an environment that holds pip, these distributions and what they require: its programs, and its packages."""
    venv.create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(run(programs / "python", "-c", ask, cwd=folder).strip())
    for need in set().union(*(required(name, set()) for name in ("pip", *names))):
        for place in places(need):
            if not (packages / place.name).exists():
                (packages / place.name).symlink_to(place)
    return programs, packages


def surroundings():
    """The variables of this process without those that would tell Python, pip or pytest about packages and settings elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "PYTEST_"))}


def run(*command, cwd, fails=False):
    """What a command prints, in a folder with nothing of ours in sight."""
    out = subprocess.run(list(map(str, command)), cwd=cwd, env=surroundings(), capture_output=True, text=True)
    assert (out.returncode != 0) == fails, out.stdout + out.stderr
    return out.stderr if fails else out.stdout
