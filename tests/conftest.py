"""Property tests are the same in every run, and are never failed for their speed. The book is built once, for all who read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import environments
import notebooks
import pytest
from filelock import FileLock
from hypothesis import settings
from set_repository import repository_url

settings.register_profile("tinyddpm", deadline=None, derandomize=True)
settings.load_profile("tinyddpm")

# What takes longest begins first, so that no worker of `-n` is left alone with it at the end. The run of a chapter goes by itself
# to whichever worker is free; the tests of any other file stay together, because they share what was made for them.
CHAPTER = "tests/test_colab.py::test_chapter_"
FIRST = (
    "tests/test_browser.py",
    CHAPTER,
    *(f"tests/test_{name}.py" for name in ("pdf", "live", "browser_vietnamese", "package", "book", "devices", "training")),
)


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((i for i, start in enumerate(FIRST) if item.nodeid.startswith(start)), len(FIRST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    if config.option.dist != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid):
            return nodeid if nodeid.startswith(CHAPTER) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False  # by the number of tests, which says little about their time
    return Scheduling(config, log)


FORK = "https://github.com/somebody/their-fork"


def of_the_fork(text: str) -> str:
    """What names our repository, as the fork has it."""
    return text.replace(repository_url(notebooks.ROOT / "_config.yml"), FORK)


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
            built = subprocess.run([sys.executable, "tools/make_book.py"], cwd=copy, capture_output=True, text=True)
            assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
            whole.touch()
    return copy / "_build" / "html"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The package as it is published, beside its sources; made in half a second, hence by each worker for itself."""
    return environments.build(tmp_path_factory.mktemp("dist"))
