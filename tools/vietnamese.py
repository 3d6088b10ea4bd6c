"""The Vietnamese book follows the English one: `make vi` copies what is not words, and says what is to be translated anew.

A twin notebook in `vi/chapters` is the English one with other Markdown and other descriptions of its figures. Code, outputs and the
order of the cells come from the English notebook each time. A twin page in `vi` is translated section by section. Each translated
text carries the hash of the English text that it translates, a cell in its metadata and a section in a comment below its heading.
Where the English text has changed since, the translation is stale, and a test says so. Once it is true again,
`python tools/vietnamese.py NAME...` marks it as that, with the name that was given: "chapters/loss.ipynb loss-24a".
"""

import copy
import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

from drift import faults, split
from notebooks import ROOT, pages

MARK = re.compile(r"(?m)^<!-- translates (\w*) -->\n*")
# Paragraphs in which Vietnamese has things in another order, or joins two sentences.
REORDERED = {
    "generative-models generative-models-opening-text": {1}, "generative-models generative-models-exercises": {2},
    "forward forward-46": {2}, "forward forward-exercises": {18}, "posterior posterior-44": {1}, "posterior posterior-71": {2},
    "posterior posterior-exercises": {19}, "elbo elbo-25": {3}, "elbo elbo-59": {1}, "loss loss-43": {1},
    "training training-35": {4}, "sampling sampling-14a": {1}, "sampling sampling-42": {3}, "sampling sampling-exercises": {2, 9},
    "guidance guidance-ancestral-sum": {1}, "guidance guidance-far-ode": {1}, "guidance guidance-exercises": {23},
    "latent latent-scale-schedule": {1}, "stable-diffusion stable-diffusion-training-caption": {2},
    "stable-diffusion stable-diffusion-told-text": {1}, "notation section 2": {3}, "coming-from section 9": {2, 4},
    "coming-from section 10": {5}, "ledger section 4": {3},
}  # fmt: skip


def digest(text: str) -> str:
    """The hash by which a translation knows its English text."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


# ---- texts, each with its name ----


def sections(page: str) -> list[str]:
    """A page, cut at its headings; what looks like a heading inside a block of code is none."""
    return split(r"(?m)^(?=#{1,4} )", page)


def alt(cell: dict[str, Any]) -> str:
    """What a figure shows, in words."""
    return cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")


def read(path: Path) -> dict[str, Any]:
    """A notebook."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise SystemExit(f"{path} is no notebook: {error}") from error


def texts_of(notebook: dict[str, Any]) -> dict[str, str]:
    """What a notebook says: its cells of Markdown, and what its figures show."""
    said = {cell["id"]: "".join(cell["source"]) if cell["cell_type"] == "markdown" else alt(cell) for cell in notebook["cells"]}
    return {name: words for name, words in said.items() if words}


def texts(path: Path) -> dict[str, tuple[str, str]]:
    """The texts of a notebook or a page by their names, each with the hash of what it translates, if it does."""
    if path.suffix == ".md":
        found = enumerate(sections(path.read_text(encoding="utf-8")), 1)
        return {f"section {i}": (MARK.sub("", section), "".join(MARK.findall(section))) for i, section in found}
    notebook = read(path)
    marks = {cell["id"]: cell["metadata"].get("translates", "") for cell in notebook["cells"]}
    return {name: (words, marks[name]) for name, words in texts_of(notebook).items()}


def twins() -> list[tuple[Path, Path]]:
    """Each chapter and each page of the English book, and its Vietnamese twin."""
    names = [f"{page}.ipynb" if page.startswith("chapters/") else f"{page}.md" for page in pages()]
    return [(ROOT / name, ROOT / "vi" / name) for name in names]


def drifted(english: Path, vietnamese: Path) -> list[str]:
    """Where a twin does not say what its original says, as far as a machine can see; each line names the text."""
    name = english.relative_to(ROOT).as_posix()
    if not english.is_file() or not vietnamese.is_file():
        return [f"{name}: {'no such page' if vietnamese.is_file() else 'it has no twin'}"]
    ours, theirs = texts(vietnamese), texts(english)
    if english.suffix == ".md" and len(ours) != len(theirs):
        marks = {translates for _, translates in ours.values()}
        new = [source.splitlines()[0] for source, _ in theirs.values() if digest(source) not in marks]
        return [f"{name}: {len(ours)} sections, expected {len(theirs)}; not translated: {', '.join(new) or 'none'}"]
    found = [f"{name} {text}: only in the Vietnamese" for text in ours if text not in theirs]
    for text, (source, _) in theirs.items():
        target, translates = ours.get(text, ("", ""))
        if not target or target == source:
            found.append(f"{name} {text}: not translated")
        elif not translates:
            found.append(f"{name} {text}: not marked as translated")
        elif translates != digest(source):
            found.append(f"{name} {text}: the English has changed since it was translated")
        else:
            free = frozenset(REORDERED.get(f"{english.stem} {text}", ()))
            found += [f"{name} {text}: {fault}" for fault in faults(source, target, free)]
    if english.suffix == ".ipynb":
        if sorted(ours) == sorted(theirs) and list(ours) != list(theirs):
            moved = next(text for text, there in zip(ours, theirs, strict=True) if text != there)
            found.append(f"{name} {moved}: the cells are in another order from here on")
        found += [
            f"{name} {cell}: its code, outputs or tags are not those of the English: `make vi`"
            for cell in uncopied(english, vietnamese)
        ]
    return found


def uncopied(english: Path, vietnamese: Path) -> list[str]:
    """The cells of a twin in which more than the words differs from the English ones."""
    ours, theirs = read(vietnamese), read(english)
    made = {cell["id"]: cell for cell in twin(theirs, ours)["cells"]}
    return [cell["id"] for cell in ours["cells"] if cell["id"] in made and made[cell["id"]] != cell]


# ---- `make vi` ----


def twin(english: dict[str, Any], vietnamese: dict[str, Any]) -> dict[str, Any]:
    """The English notebook, with the words of the Vietnamese one where it has some."""
    own = {cell["id"]: cell for cell in vietnamese["cells"]}
    cells = []
    for cell in copy.deepcopy(english["cells"]):
        translated = own.get(cell["id"], {"cell_type": None, "metadata": {}})
        marks = {"translates": translated["metadata"]["translates"]} if "translates" in translated["metadata"] else {}
        if cell["cell_type"] == "markdown" and translated["cell_type"] == "markdown":
            cell["source"] = translated["source"]
            cell["metadata"] |= marks
        elif alt(cell) and translated["cell_type"] == "code" and alt(translated):
            cell["metadata"]["mystnb"]["image"]["alt"] = alt(translated)
            cell["metadata"] |= marks
        cells.append(cell)
    return {**english, "cells": cells}


def write(path: Path, notebook: dict[str, Any]) -> None:
    """Writes a notebook as nbformat does, if it says anything new."""
    text = json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def follow() -> None:
    """Brings code, outputs and order of all twin notebooks up to date; a cell without a translation stays English, and unmarked."""
    for english, vietnamese in twins():
        if english.suffix == ".ipynb":
            before = read(vietnamese) if vietnamese.is_file() else {"cells": []}
            after = twin(read(english), before)
            kept = texts_of(after)
            for text, words in texts_of(before).items():
                if text not in kept:
                    print(f"{vietnamese} {text}: the English has no such text any more. It said: {words}")
            write(vietnamese, after)


def mark(name: str, text: str) -> None:
    """Says that a text has been translated as it now is."""
    english, vietnamese = ROOT / name, ROOT / "vi" / name
    if (english, vietnamese) not in twins() or not english.is_file() or not vietnamese.is_file():
        raise SystemExit(f"{name!r} is no page of the book with a twin; say for example: chapters/loss.ipynb loss-09")
    for path in (english, vietnamese):
        if text not in texts(path):
            raise SystemExit(f"{path} has no text {text!r}")
    if english.suffix == ".md" and len(texts(english)) != len(texts(vietnamese)):
        raise SystemExit(f"{vietnamese} has another number of sections than {english}: first make them the same")
    new = digest(texts(english)[text][0])
    if english.suffix == ".ipynb":
        notebook = read(vietnamese)
        next(cell for cell in notebook["cells"] if cell["id"] == text)["metadata"]["translates"] = new
        write(vietnamese, notebook)
        return
    parts = sections(vietnamese.read_text(encoding="utf-8"))
    i = int(text.split()[1]) - 1
    heading, _, rest = MARK.sub("", parts[i], count=1).partition("\n")
    parts[i] = f"{heading}\n\n<!-- translates {new} -->\n\n{rest.strip()}".strip()
    vietnamese.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Brings the twins up to date, marks what is said to be translated, and prints what has drifted; 1 if anything has."""
    follow()
    for argument in arguments:
        name, _, text = argument.partition(" ")
        mark(name, text)
    found = [line for pair in twins() for line in drifted(*pair)]
    print("\n".join(found), end="\n" if found else "")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
