"""Formulas in the text are true too: each is a part of a numbered line, or evaluated, or listed with a reason in formulas.md."""

import contextlib
import random
import re
from functools import cache
from itertools import pairwise

import notebooks
import pytest
import sympy as sp
from latex import Reader, cancels, chain, parts, tokens
from reasons import reasons
from test_book import CHAPTERS, EQUATIONS, MEASURED
from test_displays import true, typos

LIST = notebooks.ROOT / "tests/formulas.md"
PAGES = tuple(name for name in notebooks.pages() if not name.startswith("chapters/"))
WHERE = [*range(len(CHAPTERS)), *PAGES]
FENCED = re.compile(r"```.*?```|~~~.*?~~~|`[^`\n]*`", re.S)
ATOM = r"(?:\\[A-Za-z]+|[A-Za-z]|\{(?:\\[A-Za-z]+|[A-Za-z]+)\})"
FONT = r"(?:\\(?:bar|tilde|hat|mathbf|boldsymbol|mathbb|mathcal|mathrm) ?)"
INDEX = r"(?:[_^](?:\w|\\\w+|\{(?:[^{}]|\{[^{}]*\})*\}))"
MACROS = re.compile(r"\\[td]?frac|\\cdot")
NAME = re.compile(rf"{FONT}?(?:\{{{FONT}?{ATOM}\}}|{FONT}?{ATOM}){INDEX}{{0,2}}'*")


def passages(where):
    """The texts of a chapter, by the number of their cells, or the lines of a page that have formulas, by theirs."""
    if isinstance(where, int):
        return [(i, cell["source"]) for i, cell in enumerate(notebooks.cells(CHAPTERS[where])) if cell["cell_type"] == "markdown"]
    text = (notebooks.ROOT / f"{where}.md").read_text(encoding="utf-8")
    text = FENCED.sub(lambda found: "\n" * found[0].count("\n"), text).replace("$$", "$")  # no number stands beside a line there
    return [(text.count("\n", 0, found.start()) + 1, found[0]) for found in re.finditer(r"\$[^$]+\$", text)]


def formulas(where):
    """The inline formulas of a chapter or a page that are more than a name or a number, each with the place where it stands."""
    found = [
        (at, " ".join(formula.split()))
        for at, text in passages(where)
        for formula in re.findall(r"\$([^$]+)\$", notebooks.DISPLAY.sub("", FENCED.sub("", text)))
    ]
    return [(at, formula) for at, formula in found if not is_single(formula)]


def is_single(formula):
    """Whether a formula only names something, or is a rational number."""
    if NAME.fullmatch(re.sub(r" ?([_^{}']) ?", r"\1", formula)):
        return True
    with contextlib.suppress(ValueError):
        return isinstance(Reader(formula).whole(), sp.Rational) and not re.search("[A-Za-z]", MACROS.sub("", formula))
    return False


# ---- parts of numbered lines ----


@cache
def numbered():
    return [(int(e.tag.split(".")[0]), *parts(e.latex)) for e in EQUATIONS if e.tag not in MEASURED]


def at(expr, time):
    """An expression with another time in the place of t, as of x_{t-1} with T is x_{T-1}, and with 2 is x_1."""

    def renamed(name):
        text = re.sub(r"(?<!mathrm\{)(?<=\{)[^{}\\]*(?=\})", lambda index: moved(index[0], time), name)
        return time if name == "t" else text

    return expr.xreplace({symbol: sp.Symbol(renamed(symbol.name)) for symbol in expr.free_symbols})


@cache
def moved(index, time):
    with contextlib.suppress(ValueError):
        return str(Reader(index).whole().subs(sp.Symbol("t"), Reader(time).whole())).replace(" ", "")
    return index


@cache
def at_time(time):
    """All numbered lines at one time: the chapter, the sides, the relations, the parts."""
    return [(n, [at(e, time) for e in exprs], between, {at(e, time) for e in inside}) for n, exprs, between, inside in numbered()]


def is_part(formula, chapter):
    """Whether a formula is an expression that occurs, as a whole, in a numbered line of its chapter or an earlier one."""
    sides, relations, _ = parts(formula)
    n = len(sides)
    if cancels(formula):
        return False
    for time in ("t", "T", "s", "1", "2"):
        for number, exprs, between, inside in at_time(time):
            if number <= chapter:
                if n == 1 and sides[0] in inside:
                    return True
                if n > 1 and any(exprs[i : i + n] == sides and between[i : i + n - 1] == relations for i in range(len(exprs))):
                    return True
    return False


# ---- what is evaluated ----


FREE = re.compile(r"[a-zA-Z]|\\?[a-z]+|[VLB]_.*|\\sigma_.*")  # what the table of worlds.Standing gives any value


def is_true(formula, chapter):
    """Whether a relation holds at random points, or in a world of random densities."""
    texts, relations = chain(formula)
    if not relations or any(tokens(a) == tokens(b) for a, b in pairwise(texts)):
        return False
    if all(is_single(text) for text in texts) and any(FREE.fullmatch(text.replace(" ", "")) for text in texts):
        return False  # such as t = 1: says which case is meant
    return is_true_in_some_world(formula, chapter)


def is_true_in_some_world(formula, chapter, given=()):
    """In the first kind of world in which it has a meaning."""
    for kind in ("standing", "paths", "two steps", "codes", "gaussians", "told", "fields", "projected", "encoded"):
        if (kind == "codes" and chapter > 0) or (kind == "gaussians" and r"\int" not in formula):
            continue
        if kind in ("told", "fields") and chapter != 7:
            continue
        if kind in ("projected", "encoded") and chapter != 8:
            continue
        with contextlib.suppress(ValueError):
            return true(formula, kind, chapter, given)
    return False


# ---- what is listed ----


@cache
def listed():
    """The formulas of the list and their reasons, by its sections."""
    return {title: {tuple(tokens(formula.strip("$"))): reason for formula, reason in rows} for title, rows in reasons(LIST).items()}


def section(where):
    return f"Chapter {where}" if isinstance(where, int) else where


def listed_in(formula, where):
    """The section that has a reason for a formula. A page may repeat what a chapter says."""
    chapters = [section(chapter) for chapter in range(len(CHAPTERS))] if where in PAGES else []
    found = tuple(tokens(formula))
    return next((title for title in (section(where), "Anywhere", *chapters) if found in listed().get(title, {})), None)


@cache
def ground(formula, where):
    """On what ground a formula is accepted: as a part, because it is true, or by the list."""
    chapter = where if isinstance(where, int) else len(CHAPTERS) - 1
    for name, found in (("part", is_part), ("true", is_true)):
        with contextlib.suppress(ValueError):
            if found(formula, chapter):
                return name
    return "listed" if listed_in(formula, where) else None


CLAIM = re.compile(r"\b(equals|true|so)\b(?: \$(.+?)\$)?(?:[^$]*? with ((?:(?: and )?\$[^$]+?\$)+))?")


def claim(formula, why):
    """What a reason says that can be evaluated: a relation, and what names in it stand for. Nothing, if it says only words."""
    found = CLAIM.search(why)
    if not found or not found[3 if found[1] == "true" else 2]:
        return None
    given = [chain(text)[0] for text in re.findall(r"\$([^$]+)\$", found[3] or "")]
    relation = {"equals": f"{formula} = {found[2]}", "true": formula, "so": found[2]}[found[1]]
    return relation, [(Reader(name).whole(), Reader(meaning).whole()) for name, meaning in given]


CLAIMS = [
    (title, formula, claim(formula, why))
    for title, rows in listed().items()
    for formula, why in ((" ".join(key), why) for key, why in rows.items())
    if claim(formula, why)
]


@pytest.mark.parametrize(("title", "formula", "claimed"), CLAIMS, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_reason_says_is_true(title, formula, claimed):
    chapter = int(title.split()[1]) if title.startswith("Chapter") else len(CHAPTERS) - 1
    relation, given = claimed
    found = is_true_in_some_world(relation, chapter, given)
    assert found, f"{title} in tests/formulas.md: what is said of ${formula}$ is not found true: {relation}"


# ---- each formula has a ground, each reason a formula ----


def place(where, at):
    return f"Chapter {where}, cell {at}" if isinstance(where, int) else f"{where}.md, line {at}"


@pytest.mark.parametrize("where", WHERE)
def test_every_formula_in_the_text_is_checked_or_has_a_reason(where):
    without = [
        f"{place(where, at)}: ${formula}$ is neither a part of a numbered line, nor a relation that is found true. If it is wrong, "
        f"correct it; if it is right, say it as a numbered line does, or add it to tests/formulas.md under '## {section(where)}' "
        "with the reason."
        for at, formula in formulas(where)
        if not ground(formula, where)
    ]
    assert not without, "\n".join(without)


def test_the_list_can_be_read_and_has_nothing_twice():
    rows = re.findall(r"(?m)^\| \$", LIST.read_text(encoding="utf-8"))
    assert len(rows) == sum(map(len, listed().values())) and set(listed()) <= {"Anywhere", *map(section, WHERE)}
    assert all(len(why.split()) >= 2 for rows in listed().values() for why in rows.values())


def test_the_list_has_nothing_that_does_not_occur_or_needs_no_reason():
    needed = {}
    for where in WHERE:
        for _, formula in formulas(where):
            if ground(formula, where) == "listed":
                needed.setdefault(listed_in(formula, where), set()).add(tuple(tokens(formula)))
    left = [f"{title}: ${' '.join(key)}$" for title, rows in listed().items() for key in rows if key not in needed.get(title, ())]
    assert not left, "take these out of tests/formulas.md, they do not occur any more or are checked:\n" + "\n".join(left)


def test_most_formulas_are_evaluated_and_not_only_explained():
    """Of those that are longer than a list of states: parts of lines, relations, and reasons in which something is evaluated."""
    found = {(where, tuple(tokens(formula))): ground(formula, where) for where in WHERE for _, formula in formulas(where)}
    found = {key: why for key, why in found.items() if len(key[1]) > 9}
    claimed = {(title, formula) for title, formula, _ in CLAIMS}
    words = [(where, formula) for (where, formula), why in found.items() if why == "listed"
             and (listed_in(" ".join(formula), where), " ".join(formula)) not in claimed]  # fmt: skip
    assert len(found) > 150 and len(words) < 0.27 * len(found), "\n".join(" ".join(key[1]) for key in words)


@pytest.mark.parametrize("chapter", range(len(CHAPTERS)))
def test_what_a_result_box_says_is_checked_and_not_only_explained(chapter):
    boxes = [box for _, text in passages(chapter) for box in re.findall(r"> \*\*The result of this chapter.*?\n\n", text, re.S)]
    (box,) = boxes
    claimed = {(title, formula) for title, formula, _ in CLAIMS}
    for formula in re.findall(r"\$([^$]+)\$", box):
        assert (
            is_single(formula)
            or ground(formula, chapter) in ("part", "true")
            or (section(chapter), " ".join(tokens(formula))) in claimed
        ), f"Chapter {chapter}, in the box at its end: ${formula}$ is no part of a numbered line and not found true"


# ---- typos ----

PLANTED = [
    (where, typo)
    for where in WHERE
    for _, formula in formulas(where)
    if len(tokens(formula)) >= 5
    for typo in typos(formula)
    if tokens(typo) != tokens(formula)
]


def test_most_typos_in_the_text_are_noticed():
    """Not all: 1-\\beta_{t-1} in the place of 1-\\beta_t is a part of a line as well."""
    sample = random.Random(0).sample(PLANTED, 300)
    unnoticed = [typo for where, typo in sample if is_single(typo) or ground(typo, where)]
    assert len(unnoticed) <= 0.1 * len(sample), "\n".join(unnoticed)
