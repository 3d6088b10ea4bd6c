"""The book as HTML, in both languages: python tools/make_book.py makes _build/html, with the Vietnamese book in its folder `vi`.

-n and -W: a dangling reference or any other warning fails the build. Both are made anew, so that no page of old is left, and side
by side.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "_build"
BOOKS = {".": ".", "vi": "_build/vi"}  # where each is, and where Jupyter Book puts what it makes
FAULT = re.compile(r"WARNING|ERROR|Error|exception:")


def start(book: str, output: str) -> subprocess.Popen:
    """Begins to build a book."""
    program = Path(sys.executable).with_name("jupyter-book")
    if not program.is_file():
        sys.exit(f"{sys.executable} has no jupyter-book beside it: take .venv/bin/python, which `make` fills")
    command = [program, "build", book, "--path-output", output, "-n", "-W", "--keep-going"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def make() -> None:
    """Builds both; says what went wrong, and exits, where something did."""
    if BUILD.exists():
        shutil.rmtree(BUILD)
    BUILD.mkdir()
    print("Building the book, in English and in Vietnamese; this takes a minute.", flush=True)
    running = {book: start(book, output) for book, output in BOOKS.items()}
    try:
        said = {book: process.communicate()[0] for book, process in running.items()}
    except BaseException:  # Ctrl-C: what goes on would write into the next build
        for process in running.values():
            process.terminate()
            process.wait()
        raise
    failed = [book for book, process in running.items() if process.returncode]
    for book in failed:
        faults = [line for line in said[book].splitlines() if FAULT.search(line) and "suppress_warnings" not in line]
        print(said[book], f"The book in {ROOT / book} was not built:", *faults, sep="\n")
    if failed:
        sys.exit(1)
    (BUILD / "vi" / "_build" / "html").rename(BUILD / "html" / "vi")
    shutil.rmtree(BUILD / "html" / "vi" / "_static" / "mathjax")  # half of the size; its pages take that of the English book


if __name__ == "__main__":
    make()
