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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from notebooks import ROOT, pages

FENCE = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
DISPLAY = re.compile(r"\$\$.+?\$\$", re.S)
INLINE = re.compile(r"\$[^$]+\$")
CODE = re.compile(r"`[^`\n]+`")
LINK = re.compile(r"(?:\]\(|<a [^>]*href=\"|<img [^>]*src=\")([^)\"\s]+)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
IN_FORMULA = re.compile(r"\\text\{([^}]*)\}")
MARK = re.compile(r"(?m)^<!-- translates (\w*) -->\n*")


def digest(text: str) -> str:
    """The hash by which a translation knows its English text."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:12]


def split(pattern: str, text: str) -> list[str]:
    """The parts of a text, cut where the pattern is, but not inside a block of code."""
    kept: list[str] = []
    held = FENCE.sub(lambda found: kept.append(found[0]) or f"\0{len(kept) - 1}\0", text)
    parts = [re.sub("\0(\\d+)\0", lambda at: kept[int(at[1])], part).strip() for part in re.split(pattern, held)]
    return [part for part in parts if part]


def blocks(text: str) -> list[str]:
    """The paragraphs of a text; a block of code stays one, whatever empty lines are in it."""
    return split(r"\n\s*\n", text)


def _kind(block: str) -> str:
    first = re.match(r"\s*(#+|>( \*\*)?|[-*] |\d+\. |\||\$\$|```|~~~|</?\w+|\*\*|!\[)?", block)
    return (first[1] or "text").strip()


def features(block: str) -> dict[str, Counter[str]]:
    """What a translation may not change in a paragraph: formulas (but for words in them), code, links, numbers, and its kind."""
    found: dict[str, Counter[str]] = {"kind": Counter([_kind(block)])}

    def take(name: str, pattern: re.Pattern[str], text: str) -> str:
        found[name] = Counter(re.sub(r"\s+", " ", match[0]) for match in pattern.finditer(text))
        return pattern.sub(" ", text)

    text = IN_FORMULA.sub(lambda words: r"\text{" + "".join(NUMBER.findall(words[1])) + "}", block)
    text = take("code blocks", FENCE, text)
    text = take("displayed formulas", DISPLAY, text)
    text = take("formulas", INLINE, text)
    text = take("code words", CODE, text)
    # As seen from either book.
    found["links"] = Counter(re.sub(r"^(\.\./|vi/)*|-vi(?=\.pdf$)", "", link) for link in LINK.findall(text))
    text = re.sub(r"(\]\()[^)\s]+", r"\1", re.sub(r"(href|src)=\"[^\"]*\"", "", text))
    found["numbers"] = Counter(NUMBER.findall(text))
    found["HTML"] = Counter(re.findall(r"</?\w+", text))
    return {name: +counter for name, counter in found.items()}


def count_words(block: str) -> int:
    """How many words a paragraph has, apart from formulas, code, links, and English words that only the Vietnamese has."""
    text = INLINE.sub(" x ", DISPLAY.sub("", FENCE.sub("", block)))
    return len(re.findall(r"\w+", re.sub(r"\]\([^)]*\)|<[^>]+>|Nhãn trong hình.*|\(\*[^()]*\*\)", "", text)))


def faults(english: str, vietnamese: str) -> Iterator[str]:
    """What a translation has lost, added or changed, paragraph by paragraph."""
    pairs = blocks(english), blocks(vietnamese)
    if len(pairs[0]) != len(pairs[1]):
        yield f"{len(pairs[1])} paragraphs, expected {len(pairs[0])}"
        return
    for i, (source, target) in enumerate(zip(*pairs, strict=True)):
        ours, theirs = features(target), features(source)
        for name in theirs:
            for text in (theirs[name] - ours[name]).elements():
                yield f"paragraph {i + 1}: {name}: {text!r} is missing"
            for text in (ours[name] - theirs[name]).elements():
                yield f"paragraph {i + 1}: {name}: {text!r} is not in the English"
        # A word of English is 1.2 of Vietnamese, which writes syllables; in nearly all paragraphs it is between 1 and 1.5.
        count, expected = count_words(target), count_words(source)
        if expected >= 20 and not 0.85 <= count / expected <= 1.75:
            yield f"paragraph {i + 1}: {count} words for {expected}: something is lost or added"


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


def texts(path: Path) -> dict[str, tuple[str, str]]:
    """The texts of a notebook or a page by their names, each with the hash of what it translates, if it does."""
    if path.suffix == ".md":
        found = enumerate(sections(path.read_text(encoding="utf-8")), 1)
        return {f"section {i}": (MARK.sub("", section), "".join(MARK.findall(section))) for i, section in found}
    return {
        cell["id"]: (
            "".join(cell["source"]) if cell["cell_type"] == "markdown" else alt(cell),
            cell["metadata"].get("translates", ""),
        )
        for cell in read(path)["cells"]
        if cell["cell_type"] == "markdown" or alt(cell)
    }


def twins() -> list[tuple[Path, Path]]:
    """Each chapter and each page of the English book, and its Vietnamese twin."""
    names = [f"{page}.ipynb" if page.startswith("chapters/") else f"{page}.md" for page in pages()]
    return [(ROOT / name, ROOT / "vi" / name) for name in names]


def drift(english: Path, vietnamese: Path) -> list[str]:
    """Where a twin does not say what its original says, as far as a machine can see; each line names the text."""
    name = english.relative_to(ROOT).as_posix()
    if not vietnamese.is_file():
        return [f"{name} has no twin"]
    ours, theirs = texts(vietnamese), texts(english)
    found = [f"{name} {text}: only in the Vietnamese" for text in ours if text not in theirs]
    for text, (source, _) in theirs.items():
        target, translates = ours.get(text, ("", ""))
        if not target or target == source:
            found.append(f"{name} {text}: not translated")
        elif translates != digest(source):
            found.append(f"{name} {text}: the English has changed since it was translated")
        else:
            found += [f"{name} {text}: {fault}" for fault in faults(source, target)]
    if english.suffix == ".ipynb" and list(ours) != list(theirs):
        found.append(f"{name}: the cells are in another order")
    return found


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
            kept = {cell["id"] for cell in after["cells"]}
            for cell in before["cells"]:
                if cell["id"] not in kept and cell["cell_type"] == "markdown":
                    print(f"{vietnamese} {cell['id']}: the English has no such cell any more. It said: {''.join(cell['source'])}")
            write(vietnamese, after)


def mark(name: str, text: str) -> None:
    """Says that a text has been translated as it now is."""
    english, vietnamese = ROOT / name, ROOT / "vi" / name
    for path in (english, vietnamese):
        if text not in (texts(path) if path.is_file() else {}):
            raise SystemExit(f"{path} has no text {text!r}")
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


if __name__ == "__main__":
    follow()
    for argument in sys.argv[1:]:
        name, _, text = argument.partition(" ")
        mark(name, text)
    for pair in twins():
        for line in drift(*pair):
            print(line)
