"""Property tests are the same in every run, and are never failed for their speed. The book is built once, for all who read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import notebooks
import pytest
from filelock import FileLock
from hypothesis import settings

settings.register_profile("tinyddpm", deadline=None, derandomize=True)
settings.load_profile("tinyddpm")

FORK = "https://github.com/somebody/their-fork"
NOT_COPIED = shutil.ignore_patterns(".*", "_build", "dist", "__pycache__", "*.egg-info")


@pytest.fixture(scope="session")
def html(tmp_path_factory) -> Path:
    """The book as a fork's publishing workflow makes it: by the first of the workers that asks, while the others wait."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    copy, whole = shared / "fork" / "book", shared / "fork" / "whole"
    with FileLock(shared / "fork.lock"):
        if not whole.exists():
            shutil.rmtree(copy, ignore_errors=True)  # what a worker before left, whose build failed
            shutil.copytree(notebooks.ROOT, copy, ignore=NOT_COPIED)
            subprocess.run([sys.executable, "tools/set_repository.py", FORK, "trunk"], cwd=copy, check=True)
            command = [Path(sys.executable).with_name("jupyter-book"), "build", ".", "-n", "-W", "--keep-going"]
            built = subprocess.run(command, cwd=copy, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
            whole.touch()
    return copy / "_build" / "html"
