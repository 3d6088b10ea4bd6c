"""The book as HTML, in both languages: python tools/make_book.py makes _build/html, with the Vietnamese book in its folder `vi`.

-n and -W: a dangling reference or any other warning fails the build. Both are made anew, so that no page of old is left, and side
by side.
"""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def make(root: Path) -> None:
    """Builds the book that stands in `root`; says what went wrong, and exits, where something did."""
    build = root / "_build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    print("Building the book, in English and in Vietnamese; this takes a minute.", flush=True)
    program, strict = Path(sys.executable).with_name("jupyter-book"), ["-n", "-W", "--keep-going"]
    running = {
        book: subprocess.Popen(
            [program, "build", book, "--path-output", output, *strict],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for book, output in {".": ".", "vi": "_build/vi"}.items()
    }
    said = {book: process.communicate()[0] for book, process in running.items()}
    for book, process in running.items():
        if process.returncode:
            sys.exit(f"{said[book]}\nThe book in {root / book} was not built.")
    (build / "vi" / "_build" / "html").rename(build / "html" / "vi")
    shutil.rmtree(build / "html" / "vi" / "_static" / "mathjax")  # half of the size; its pages take that of the English book


if __name__ == "__main__":
    make(ROOT)
