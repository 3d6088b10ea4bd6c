"""Reads the chapters: their equations, and the verdicts that the ledger stored in their outputs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from tinyddpm.ledger import MIME

ROOT = Path(__file__).parents[1]
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
TAG = re.compile(r"\\tag\{([^}]*)\}")


@dataclass(frozen=True)
class Equation:
    """A displayed line with a tag, and where it stands."""

    tag: str
    latex: str
    chapter: str  # "chapters/forward"
    cell: int

    @property
    def formula(self) -> str:
        """The line without the remark that may follow it."""
        return " ".join(self.latex.split(r"\qquad")[0].split()).rstrip(" ,.")

    @property
    def anchor(self) -> str:
        """The name of its place in the built page."""
        return "eq-" + self.tag.replace(".", "-")


def chapters() -> list[Path]:
    """The chapters of the book, in its order."""
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return [ROOT / f"{name}.ipynb" for name in re.findall(r"file: (chapters/\S+)", toc)]


def cells(path: Path) -> list[dict]:
    """The cells of a chapter, their source joined."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]


def title(path: Path) -> str:
    """The heading of a chapter."""
    return next(cell["source"].splitlines()[0].lstrip("# ") for cell in cells(path))


def equations(path: Path) -> list[Equation]:
    """The tagged equations of a chapter, as they follow one another."""
    name = path.relative_to(ROOT).with_suffix("").as_posix()
    return [
        Equation(tag, TAG.sub("", display).strip(), name, i)
        for i, cell in enumerate(cells(path))
        if cell["cell_type"] == "markdown"
        for display in DISPLAY.findall(cell["source"])
        for tag in TAG.findall(display)
    ]


def checks(path: Path) -> list[dict]:
    """The stored verdicts of a chapter, each with the cell that it stands in."""
    return [
        {**output["data"][MIME], "cell": i}
        for i, cell in enumerate(cells(path))
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]
