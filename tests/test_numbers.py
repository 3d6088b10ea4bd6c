"""Numbers in the text are true too: a cell near it prints or holds each of them, or it is listed in numbers.md with a reason."""

import re
from functools import lru_cache

import notebooks
import pytest
from reasons import reasons
from test_book import CHAPTERS

LIST = notebooks.ROOT / "tests/numbers.md"
NUMBER = re.compile(r"(?<![\w.])\d+(?:[ ,]\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w])")
COUNTS = "two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fifteen"
TENS = "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety"
SHARES = "half|halves|(?:a|one|two|last|first) thirds?|(?:quarter|fifth|sixth|seventh|eighth|ninth|tenth|hundredth|thousandth)s?"
# Amounts in words. One to twelve by themselves count things that are there to be seen: "three lines", "two noises".
AMOUNT = re.compile(
    rf"\b(?:{SHARES}|twice|per cent|dozens?|hundreds?|thousands?|millions?|(?:{COUNTS}|{TENS}|\d+) times"
    rf"|(?:one|{COUNTS}|{TENS}) in (?:{COUNTS}|{TENS}|a hundred|a thousand)|(?:{TENS})(?:-\w+)?)\b",
    re.I,
)
# What numbers a place and no amount: citations, sections, figures, links, years of papers, exercises, and indices in formulas.
NAMED = r"(?:[Ss]ections?|Figures?|Chapters?|Exercises?|Algorithms?|Table|Proposition|Theorem|Part|[Ee]quations?|appendix|Eqs?\.?)"
PLACES = re.compile(
    rf"\(\d+\.\d+\)(?:(?:,| and| to) \(\d+\.\d+\))*|\b{NAMED} \d+(?:\.\d+)?(?:(?:,| and| to) \d+(?:\.\d+)?)*|\]\([^)]*\)"
    r"|\((?:19|20)\d\d\)|(?<=, )(?:19|20)\d\d\b|^#+ \d+(?:\.\d+)?.*$|^\*?\*?\d+\. |^\*Figure \d+\.\d+|^\*Reading:.*$"
    r"|_\{[^{}]*\}|_\w|\^\{[^{}]*\}|\^\w|8×8|\\(?:times|sqrt|d?t?frac)(?=\d)|[a-z_]+_\d+|x\d\b",
    re.M,
)


def passages(chapter):
    """The texts of a chapter by the number of their cells: without code, displayed lines, tables and what numbers a place."""
    for i, cell in enumerate(notebooks.cells(CHAPTERS[chapter])):
        if cell["cell_type"] == "markdown":
            text = re.sub(r"```.*?```|`[^`\n]*`", " ", notebooks.DISPLAY.sub(" ", cell["source"]), flags=re.S)
            yield i, PLACES.sub(lambda found: " " * len(found[0]), text).replace(r"\%", "%")


def numbers(text):
    """The amounts in a text, each with its place: digits beyond the 0, 1 and 2 of formulas, and amounts in words."""
    formulas = [found.span() for found in re.finditer(r"\$[^$]+\$", text)]
    for found in [*NUMBER.finditer(text), *AMOUNT.finditer(text)]:
        in_formula = any(start < found.start() < end for start, end in formulas)
        if not (in_formula and found[0] in "012"):
            yield found.start(), found.end(), found[0]


NEAR = 6  # cells: as far as a reader looks for a number


@lru_cache
def of_the_cells(chapter):
    """The numbers that each cell of a chapter holds in its code or prints."""
    found = []
    for cell in notebooks.cells(CHAPTERS[chapter]):
        shown = ["".join(o.get("text", [])) + "".join(o.get("data", {}).get("text/plain", [])) for o in cell.get("outputs", [])]
        said = [cell["source"], *shown] if cell["cell_type"] == "code" else re.findall(r"```python\n(.*?)```", cell["source"], re.S)
        texts = re.findall(r"\d+(?:[ ,_]\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?:%)?", "\n".join(said))
        found.append({float(re.sub("[ ,_%]", "", text)) / (100 if "%" in text else 1) for text in texts})
    return found


def is_in_a_cell(number, cell, chapter, percent):
    """Whether a cell near this one has the number, or one that is rounded to it."""
    if not re.match(r"\d", number) or "times" in number:
        return False
    scale = 100 if percent else 1
    value = float(re.sub("[ ,]", "", number)) / scale
    near = (0.5 * 10.0 ** -len(number.partition(".")[2]) if "." in number or percent else 1e-9) / scale
    own = set().union(*of_the_cells(chapter)[max(0, cell - NEAR) : cell + NEAR + 1])
    return any(abs(other - value) <= near * (1 + 1e-9) for other in own)


@lru_cache
def listed():
    """The phrases of numbers.md, by chapter."""
    return {int(title.removeprefix("Chapter ")): rows for title, rows in reasons(LIST).items()}


def phrased(phrase):
    """A phrase, with any space between its words: what numbers a place has been blanked out of the texts."""
    return re.compile(r"\s+".join(map(re.escape, phrase.split())))


def unknown(text, cell, chapter):
    """The numbers of a text that no cell near it has and no listed phrase contains."""
    spans = [found.span() for phrase, _ in listed().get(chapter, []) for found in phrased(phrase).finditer(text)]
    for start, end, number in numbers(text):
        percent = bool(re.match(r" ?(%|per cent)", text[end:]))
        if not is_in_a_cell(number, cell, chapter, percent) and not any(a <= start and end <= b for a, b in spans):
            yield number, " ".join(text[max(0, start - 40) : end + 30].split())


@pytest.mark.parametrize("chapter", range(len(CHAPTERS)))
def test_each_number_of_the_text_is_in_a_cell_or_has_a_reason(chapter):
    for cell, text in passages(chapter):
        for number, around in unknown(text, cell, chapter):
            pytest.fail(f"Chapter {chapter}, cell {cell}: {number!r} in {around!r}. No cell prints or holds it: let one do so, "
                        "or add the phrase to tests/numbers.md with the reason why it holds.")  # fmt: skip


def test_the_list_has_no_phrase_that_does_not_occur():
    for chapter, phrases in listed().items():
        text = "\n".join(text for _, text in passages(chapter))
        assert [phrase for phrase, reason in phrases if not phrased(phrase).search(text) or len(reason.split()) < 3] == []


@pytest.mark.parametrize("chapter", range(len(CHAPTERS)))
def test_a_number_that_is_changed_is_noticed(chapter):
    """Another number in its place, in all texts one after the other; some will be in a cell by chance."""
    tried = noticed = 0
    for cell, text in passages(chapter):
        for start, end, number in numbers(text):
            if re.fullmatch(r"\d+(\.\d+)?", number):
                wrong = f"{float(number) * 1.37 + 3:.{len(number.partition('.')[2])}f}"
                tried, noticed = tried + 1, noticed + any(unknown(text[:start] + wrong + text[end:], cell, chapter))
    assert noticed >= 0.4 * tried, (noticed, tried)
