"""Reads the chapters: their equations, and the verdicts that the ledger stored in their outputs."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from docutils.nodes import make_id

from tinyddpm.book.ledger import MIME

ROOT = Path(__file__).parents[1]
BOOKS = {"en": ROOT, "vi": ROOT / "vi"}  # by language
DISPLAY = re.compile(r"\$\$(.+?)\$\$", re.S)
TAG = re.compile(r"\\tag\{([^}]*)\}")
SLIP = re.compile(r"(?m)^> \*\*Where this goes wrong: (.+?)\.?\*\*")


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


@dataclass(frozen=True)
class Slip:
    """A box that says where a derivation goes wrong, and what the check in a cell below it says of the wrong variant."""

    title: str
    chapter: str
    cell: int
    verdict: str | None

    @property
    def anchor(self) -> str:
        """The name of its place in the built page."""
        return make_id(f"slip {self.title}")


def pages() -> list[str]:
    """The pages of the book, in its order: "index", "chapters/generative-models" and so on."""
    return re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))


def chapters(book: Path = ROOT) -> list[Path]:
    """The chapters among them; of the Vietnamese book, where its folder is given."""
    return [book / f"{name}.ipynb" for name in pages() if name.startswith("chapters/")]


def cells(path: Path) -> list[dict]:
    """The cells of a chapter, their source joined."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return [{**cell, "source": "".join(cell["source"])} for cell in notebook["cells"]]


def is_open(cell: dict) -> bool:
    """Whether the built page shows all of a cell of code: no tag folds it."""
    return cell["cell_type"] == "code" and not {"hide-input", "hide-cell"} & {*cell["metadata"].get("tags", [])}


def texts(path: Path) -> list[str]:
    """What a chapter says between its code: its cells of Markdown."""
    return [cell["source"] for cell in cells(path) if cell["cell_type"] == "markdown"]


def live_figures(page: str) -> int:
    """How many live figures a page has, in the outputs of a chapter or in the text of another page."""
    path = ROOT / f"{page}.ipynb"
    return (path if path.is_file() else path.with_suffix(".md")).read_text(encoding="utf-8").count("data-figure=")


def title(path: Path) -> str:
    """The heading of a chapter."""
    return next(cell["source"].splitlines()[0].lstrip("# ") for cell in cells(path))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def equations(path: Path) -> list[Equation]:
    """The tagged equations of a chapter, as they follow one another, without the lines that mark what changed."""
    found: list[Equation] = []
    for i, cell in enumerate(cells(path)):
        for display in DISPLAY.findall(cell["source"]) if cell["cell_type"] == "markdown" else []:
            for tag in TAG.findall(display):
                latex = _without("underline", TAG.sub("", display).strip())
                if found and re.match(r"(\\begin\{aligned\} *&?)? *=", latex):
                    latex = _joined(found[-1].latex, latex)
                found.append(Equation(tag, latex, _name(path), i))
    return found


def _without(macro: str, latex: str) -> str:
    """A formula in which the macro's argument stands without the macro."""
    while (start := latex.find(rf"\{macro}{{")) >= 0:
        opened = start + len(macro) + 2
        end = next(i for i in range(opened, len(latex)) if latex[opened : i + 1].count("}") > latex[opened : i + 1].count("{"))
        latex = latex[:start] + latex[opened:end] + latex[end + 1 :]
    return latex


def _joined(before: str, latex: str) -> str:
    """A line that begins with "=" goes on from the line before it: with the last side of that line put in front."""
    before, latex = (re.sub(r"\\(begin|end)\{aligned\}", "", text.split(r"\qquad")[0]).strip() for text in (before, latex))
    last = max(i for i, sign in enumerate(before) if sign == "=" and before[:i].count("{") == before[:i].count("}"))
    left = before[last + 1 :].strip().rstrip(".,")
    return rf"\begin{{aligned}} &{left} \\ &{latex.removeprefix('&').strip()} \end{{aligned}}"


def checks(path: Path) -> list[dict]:
    """The stored verdicts of a chapter, each with the cell that it stands in."""
    return [
        {**output["data"][MIME], "cell": i}
        for i, cell in enumerate(cells(path))
        for output in cell.get("outputs", [])
        if MIME in output.get("data", {})
    ]


def slips(path: Path) -> list[Slip]:
    """The boxes "Where this goes wrong" of a chapter, each with the first verdict before the next box."""
    boxes = [(i, title) for i, cell in enumerate(cells(path)) for title in SLIP.findall(cell["source"])]
    ends = [i for i, _ in boxes[1:]] + [len(cells(path))]
    refuted = [check for check in checks(path) if check["kind"] == "refuted"]
    return [
        Slip(title, _name(path), i, next((c["verdict"] for c in refuted if i < c["cell"] < end), None))
        for (i, title), end in zip(boxes, ends, strict=True)
    ]
