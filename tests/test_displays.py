"""Displayed lines are evaluated as they stand on the page, in small worlds where both of their sides have values.

A line of algebra is compared in test_book.py with what SymPy was given. That says nothing of what its check was given besides: the
premises, and the meaning of a name that a line introduces. So such a line must also be true in the world "standing", where every
name has the value that the book gives it, and so must the premises. The other lines are about densities that are left open, about
means, networks and samplers: their checks hand the ledger numbers, and here the line itself is read and computed.
"""

import contextlib
import re
from functools import cache

import notebooks
import pytest
import sympy as sp
import test_book
import worlds
from latex import parts, stripped, symbol
from test_book import CHAPTERS, CHECKS, EQUATIONS, MEASURED, PASSED, SLIPS, recorded

from tinyddpm.book import N

LINES = {equation.tag: equation.latex for equation in EQUATIONS}
KINDS = (
    "paths",
    "codes",
    "gaussians",
    "noises",
    "levels",
    "batch",
    "words",
    "stretched",
    "rates",
    "walk",
    "jump",
    "told",
    "fields",
    "projected",
    "encoded",
    "spread",
)
INEQUALITY = re.compile(r"\\[lg]e\b|<|>")


@cache
def made(kind, chapter=2):
    """Several worlds of each kind."""
    return {
        "paths": lambda: [w for T in (2, 3) for seed in (0, 1) for v in [worlds.Paths.random(T, seed)] for w in (v, v.tight())],
        "two steps": lambda: [worlds.Paths.random(2, seed) for seed in range(3)],
        "three steps": lambda: [worlds.Paths.random(3, seed) for seed in range(3)],
        "codes": lambda: [worlds.Codes(seed) for seed in range(3)],
        "gaussians": lambda: [worlds.Gaussians(0)],
        "told": lambda: [worlds.Told(T, seed) for T in (2, 3) for seed in range(2)],
        "fields": lambda: [worlds.Fields(seed) for seed in range(2)],
        "projected": lambda: [worlds.Projected(seed) for seed in range(3)],
        "encoded": lambda: [worlds.Encoded(seed) for seed in range(2)],
        "spread": lambda: [worlds.Spread()],
        "words": lambda: [worlds.Words(seed) for seed in range(3)],
        "stretched": lambda: [worlds.Stretched(0)],
        "noises": lambda: [worlds.Noises(seed) for seed in range(2)],
        "levels": lambda: [worlds.Levels(seed) for seed in range(3)],
        "batch": lambda: [worlds.Batch(seed) for seed in range(2)],
        "rates": lambda: [worlds.Rates(k) for k in (0, 50, 98, 99, 100, 500, 999)],
        "walk": lambda: [worlds.Walk(seed, variance) for seed in range(2) for variance in ("beta", "beta_tilde")],
        "jump": lambda: [worlds.Jump(seed) for seed in range(2)],
        "standing": lambda: [worlds.Standing(seed, chapter) for seed in range(12)],
    }[kind]()


def true(display, kind, chapter=2, given=()):
    """Whether a formula holds in all the worlds of a kind. A ValueError says that it has no meaning there."""
    return all(worlds.holds(stripped(display), world, given) for world in made(kind, chapter if kind == "standing" else 2))


def chapter_of(tag):
    return int(tag.split(".")[0])


@cache
def kind_of(tag):
    """The world in which a line has a meaning, if there is one: for what SymPy was given, the one where names have their values."""
    for kind in KINDS if PASSED[tag]["rhs"] is None else ("standing", "paths"):
        with contextlib.suppress(ValueError):
            true(LINES[tag], kind, chapter_of(tag))
            return kind
    return None


EVALUATED = [tag for tag in LINES if tag in PASSED and tag not in MEASURED and kind_of(tag)]


def test_every_line_is_evaluated_or_measured():
    left = [tag for tag in LINES if tag not in EVALUATED and tag not in MEASURED]
    assert left == [], f"{left}: no world of tests/worlds.py can read such a line. Give the one that it is about what it names."


@pytest.mark.parametrize("tag", EVALUATED)
def test_the_two_sides_of_a_line_have_the_same_value(tag):
    kind = kind_of(tag)
    assert true(LINES[tag], kind, chapter_of(tag)), f"({tag}) is wrong in the world {kind!r} of tests/worlds.py: {LINES[tag]}"


def test_the_means_of_the_bound_are_taken_and_not_only_their_insides_compared():
    means = [tag for tag in LINES if r"\mathbb{E}_q" in LINES[tag]]
    assert len(means) >= 12 and set(means) <= set(EVALUATED)


# ---- typos ----

MORE = {  # beyond those of test_book
    r"\\le\b": r"\\ge", r"\\ge\b": r"\\le", "<": ">", r"\\min\b": "", r"\\cos": r"\\log", "100": "101", r"\bB\b": "2", "/K": "K",
    r"\\prod(_\S+\})? ": r"/\\prod\1 ", r"(D_\S+\\big\()([^|]+?)\\,\\\|\\,(.+?)\\big\)": r"\1\3\\|\2\\big)",
    r"\\frac\{([^{}]+)\}\{([^{}]+)\}": r"\\frac{\2}{\1}", r"\\infty": "1", r"(?<=\W)z\b": "2z", r"\\log ?p": "-\\\\log p",
    r"\\hat\\epsilon": r"\\epsilon", r"\\hat ": "", "_s": "_t", r"\\sigma": r"2\\sigma", r"\\delta": r"2\\delta", "x_t": "x_0",
    r"w_j": r"w_j^2", "v_j": "k_j", "k_j": "k_i", "= 1$": "= 2", r"/\\sqrt d": "",
    r"q\((x_\S+) \\mid (x_\S+)\)": r"q(\2 \\mid \1)", r"(?<=\d, )1\b": "2", r"\{1:T\}": "{0:T}", r"\{0:T\}": "{1:T}",
}  # fmt: skip
STILL_TRUE = {  # what an altered line has and the line had not, and why it is true all the same
    r"- p_\theta(x_0) \le": "minus a probability is negative, and minus its logarithm is not",
    r"-\mathbb{E}_{q(x_0)}\big[ p_\theta(x_0)\big]": "the same",
    r"-\mathbb{E}_{q(x_0)}\big[-\log p_\theta(x_0)\big]": "the same: the right side is negative, the bound is not",
    r"\big(q(x_{1:T} \mid x_0)\,\|\,q(x_{1:T} \mid x_0)\big)": "the divergence becomes 0: both sides are the same",
    r"\big(p_\theta(x_{1:T} \mid x_0)\|q(x_{1:T} \mid x_0)\big)": "the other divergence is not negative either",
    r"\ge -\mathbb{E}_{q(x_0)}\big[\log q(x_0)\big]": "the entropy of the data is the least that any such mean can be",
    r"\bar\epsilon_t+\epsilon_\theta(x_t, t)": "the least over all functions is the same for a function and its negative",
    r"\le 1+\beta": "a larger right side", r"\le 2-\beta": "a larger right side",
    r"\big(y+u;": "the density of u is even", r"(u - w\,\epsilon)": "the density of the noise is even",
    r"\sqrt{\alpha_1}": "in the step t = 1 there is one rate", r"1-\alpha_1": "the same",
    r"\;\epsilon_1": "in the step t = 1 there is one noise",
    r"\log q(x_t , c)": "q(x_t, c) is q(x_t | c) times a number, and has the same gradient",
}  # fmt: skip


def typos(display):
    """Those of test_book and the further ones, in what is read of a line."""
    return test_book.typos(stripped(display), SLIPS | MORE)


def found_wrong(display, kinds, chapter):
    """Whether a line is false in the first world that can read it. One that none can read is found as well."""
    for kind in kinds:
        with contextlib.suppress(ValueError):
            return not true(display, kind, chapter)
    return True


@cache
def unnoticed(tag):
    """The typos after which a line can be read and is true."""
    return [typo for typo in typos(LINES[tag]) if not found_wrong(typo, (kind_of(tag),), chapter_of(tag))]


@pytest.mark.parametrize("tag", EVALUATED)
def test_a_typo_in_an_evaluated_line_makes_it_wrong(tag):
    assert len(typos(LINES[tag])) >= 3
    for typo in unnoticed(tag):
        assert any(part in typo and part not in LINES[tag] for part in STILL_TRUE), (
            f"({tag}) is still true, or taken to be, with a typo: {typo}. If it is really true, add what is altered to STILL_TRUE "
            "with the reason; if not, the world needs more in it."
        )


def test_the_reasons_why_an_altered_line_is_true_are_all_needed():
    found = [typo for tag in EVALUATED for typo in unnoticed(tag)]
    assert [part for part in STILL_TRUE if not any(part in typo for typo in found)] == []


def line_with(*parts):
    """The evaluated line that has all of these parts."""
    (tag,) = (tag for tag in EVALUATED if all(part in LINES[tag] for part in parts))
    return LINES[tag], kind_of(tag)


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (  # both divergences the other way round
            (r"E}_q\Big[D_{\mathrm{KL}}", r"\sum_{t=2}^{T} D_{"),
            [(r"(q(x_T \mid x_0)\,\|\,p(x_T)\big)", r"(p(x_T)\,\|\,q(x_T \mid x_0)\big)"),
             (r"(q(x_{t-1} \mid x_t, x_0)\,\|\,p_\theta(x_{t-1} \mid x_t)\big)",
              r"(p_\theta(x_{t-1} \mid x_t)\,\|\,q(x_{t-1} \mid x_t, x_0)\big)")],
        ),
        ((r"E}_q\Big[\log\frac{q(x_{1:T}", r"{p(x_T)\,\prod"), [(r"p(x_T)\,\prod", r"p(x_T)/\prod")]),
        ((r"E}_q\Big[\log\frac{q(x_{1:T}", r"{p(x_T)\,\prod"), [(r"\mathbb{E}_q\Big", r"\Big")]),
        ((r"p_\theta(x_0) = \mathbb{E}_q",), [(r"\frac{p_\theta(x_{0:T})}{q(x_{1:T} \mid x_0)}", r"p_\theta(x_{0:T})")]),
        ((r"\ge -\mathbb{E}_{q(x_0)}",), [(r"\mathbb{E}_{q(x_{0:T})}", r"\mathbb{E}_{q(x_{1:T})}")]),
        ((r"\min_{\epsilon_\theta}",), [(r"\mathbb{E}[\bar\epsilon_t \mid x_t]^2", r"\mathbb{E}[\bar\epsilon_t^2 \mid x_t]")]),
        ((r"\frac{1}{B}",), [("t_i\\big", "t_1\\big")]),
    ],
)  # fmt: skip
def test_errors_that_a_code_cell_may_share_with_its_line_are_found(parts, changes):
    display, kind = line_with(*parts)
    for old, new in changes:
        assert old in display
        display = display.replace(old, new, 1)
    with contextlib.suppress(ValueError):
        assert not true(display, kind)


CONSISTENT = [  # a line, and what is altered in it: errors that its check "proves", if its premises or its name have them as well
    ("1.4", r"\alpha_t", r"\bar\alpha_t"),
    ("1.4", r"\alpha_t", r"\alpha_t^2"),
    ("1.6", r"\sqrt{\alpha_t}\;x_{t-1}", "x_{t-1}"),
    ("1.8", "x_t = ", "x_t = x_{t-2} + "),
    ("1.11", r"\;\epsilon'", r"\;\frac{1}{2}\epsilon'"),
    ("1.12", r"\bar\alpha_t = ", r"\alpha_t = "),
    ("1.12", "i=1", "i=0"),
    ("1.13", r"\sqrt{\bar\alpha_1}\;", r"\bar\alpha_1\;", r"\sqrt{1-\bar\alpha_1}", r"\sqrt{1-\bar\alpha_1^2}"),
    ("1.14", r"= 1-\bar\alpha_t", r"= 1-\bar\alpha_t^2"),
    ("1.16", "x_0", "x_1"),
    ("1.17", r"x_t;\ \sqrt{\bar\alpha_t}\;x_0,\ 1-\bar\alpha_t", r"x_t;\ \bar\alpha_t\;x_0,\ 1-\bar\alpha_t^2"),
    ("2.5", r"\mu_\theta(x_t, t)", r"2\mu_\theta(x_t, t)"),
    ("2.7", r"q(x_{t-1} \mid x_t, x_0)", r"q(x_{t-1} \mid x_t)"),
    ("2.8", r"q(x_{t-1} \mid x_t, x_0)", r"q(x_{t-1} \mid x_t)"),
    ("2.8", r"= \sqrt", r"= 2\sqrt"),
    ("2.10", "+ C(", "+ 2 C("),
    ("2.13", r"\tilde\beta_t", r"\tilde\beta_{t-1}"),
    ("2.13", r"\tilde\beta_t", r"\sigma_t"),
    ("2.15", r"{1-\bar\alpha_t}", r"{2-\alpha_t-\bar\alpha_t}"),
    ("2.16", r"\tilde\mu_t", r"\mu_\theta(x_t, t)"),
    ("2.19", r"q(x_{t-1} \mid x_t, x_0)", r"q(x_{t-1} \mid x_t)"),
    ("2.19", r"q(x_{t-1} \mid x_t, x_0)", r"p_\theta(x_{t-1} \mid x_t)"),
    ("2.19", r"\tilde\beta_t", r"\tilde\beta_t^2"),
    ("3.22", "L_T", "L_0"),
    ("3.22", r"\bar\alpha_T", r"\alpha_T"),
    ("3.23", "b = ", r"\frac{1}{b} = "),
    ("4.1", r"\mu_\theta(x_t, t) =", r"\tilde\mu_t ="),
    ("4.2", r"\sigma_t\,z", r"\sqrt{\sigma_t}\,z"),
    ("4.3", r"\frac{1}{2\,\sigma_t^2}", r"\frac{1}{\sigma_t^2}"),
    ("4.4", r"\frac{1}{2}\Big(", r"\Big("),
    ("4.7", r"\epsilon_\theta\big(\sqrt", r"\epsilon_\theta\big(x_0 + \sqrt"),
    ("4.8", "w_t =", "w_{t-1} ="),
    ("4.9", r"= \frac{\beta_t}", r"= \frac{1}"),
    ("4.13", "v_t =", "v_{t-1} ="),
    ("4.13", r"\bar\alpha_t", r"\alpha_t"),
    ("4.14", r" - \sqrt{1-\bar\alpha_t}\,v_t", r" + \sqrt{1-\bar\alpha_t}\,v_t"),
    ("4.16", r"\frac{\bar\alpha_t}", r"\frac{4\bar\alpha_t}"),
    ("6.3", r"S_{t-1} =", "S_t ="),
    ("6.9", r"\sigma^2", r"\sigma"),
]


@pytest.mark.parametrize(("tag", "changes"), [(tag, changes) for tag, *changes in CONSISTENT])
def test_an_error_that_a_check_and_its_line_have_in_common_is_found(tag, changes):
    display = LINES[tag]
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in display, f"({tag}) has no {old} any more: name the line where it is now"
        display = display.replace(old, new)
    assert found_wrong(display, ("standing", "paths"), chapter_of(tag))


# ---- what a check was given besides ----

SPECIAL = {  # premises that are not always true, and why a check has them
    ("1.12", r"\alpha_{i}"): "the schedule at which the code's product is compared; the line holds for any",
    ("4.8", r"\sigma_{t}"): "the choice of it with which the code's weight is compared; the line holds for any",
    ("6.3", r"\sigma_{t}"): "the choice of it with which the code's sampler is compared; the line holds for any",
    ("7.15", r"\sigma_{t}"): "the choice of it with which the code's sampler is compared; the line holds for any",
    ("6.9", r"\bar\alpha_{t}"): "the code asks for the ratio k of the two, a name of its cell alone",
}
PREMISES = [
    (tag, recorded(key), recorded(value), None if check["new"] is None else symbol(check["new"]))
    for tag, check in PASSED.items()
    for key, value in check.get("given") or []
]


def standing(key, value, new, chapter):
    """Whether a premise holds: a name has the value that is given for it, or is drawn from that law, by the noise of the line."""
    if isinstance(value, N):
        drawn, mean, var = value.args
        if drawn != key or new is None:
            return False
        key, value = (key - mean) / sp.sqrt(var), new
    with contextlib.suppress(ValueError):  # a name that the book gives no value
        return all(worlds.equal(key, value, world) for world in made("standing", chapter))
    return False


@pytest.mark.parametrize(("tag", "key", "value", "new"), PREMISES, ids=lambda value: str(value)[:30])
def test_a_premise_of_a_check_is_true(tag, key, value, new):
    assert (tag, str(key)) in SPECIAL or standing(key, value, new, chapter_of(tag)), (
        f"({tag}) was given that {key} is {value}, and in the world 'standing' of tests/worlds.py it is not. A proof from a wrong "
        "premise proves nothing. Correct it; if it is one case of many on purpose, say so in SPECIAL."
    )


def test_the_premises_that_are_listed_as_special_cases_are_not_always_true():
    special = {(tag, str(key)) for tag, key, value, new in PREMISES if not standing(key, value, new, chapter_of(tag))}
    assert special == {key for key in SPECIAL if "given" in PASSED[key[0]]}  # recorded since the chapters were last run


@pytest.mark.parametrize(
    ("key", "value", "holds"),
    [
        (r"\bar\alpha_t", r"\alpha_t\,\bar\alpha_{t-1}", True),
        (r"\bar\alpha_t", r"\sqrt{\alpha_t\,\bar\alpha_{t-1}}", False),
        (r"\bar\alpha_{t-1}", r"\alpha_t\,\bar\alpha_t", False),
        (r"\beta_t", r"2-2\alpha_t", False),
        (r"\beta_t", "3", False),
        (r"q(x_{t-1} \mid x_t, x_0)", r"q(x_t \mid x_{t-1})\,q(x_{t-1} \mid x_0) / q(x_t \mid x_0)", True),
        (r"q(x_{t-1} \mid x_t)", r"q(x_t \mid x_{t-1})\,q(x_{t-1} \mid x_0) / q(x_t \mid x_0)", False),
        (r"C_t", r"\log\frac{\sigma_t^2}{\tilde\beta_t} + \frac{\tilde\beta_t}{\sigma_t^2} - 1", False),
        (r"\tilde\beta_t", r"\sqrt{\frac{1-\bar\alpha_{t-1}}{1-\bar\alpha_t}\,\beta_t}", False),
        (r"v_t", r"\sqrt{1-\bar\alpha_t}\,x_0 - \sqrt{\bar\alpha_t}\,\bar\epsilon_t", False),
        (r"x_t", r"\mathcal{N}(x_t; \sqrt{1-\beta_t}\,x_{t-1}, \beta_t)", True),
        (r"x_t", r"\mathcal{N}(x_t; x_{t-1}, \beta_t)", False),
        (r"x_t", r"\mathcal{N}(x_t; \sqrt{1-\beta_t}\,x_{t-1}, \beta_t^2)", False),
        (r"x_t", r"\mathcal{N}(x_{t-1}; \sqrt{1-\beta_t}\,x_{t-1}, \beta_t)", False),
    ],
)
def test_a_wrong_premise_is_told_from_a_true_one(key, value, holds):
    assert standing(symbol(key), worlds.read(value), symbol(r"\epsilon_t"), 2) == holds


SIGNED = re.compile(r"([zuym]|v_\{?(t|\\theta)|(\\(bar|tilde|hat) ?)?\{?(\\epsilon|\\mu|x))(?![a-z])[^|]*")  # may be negative
POSITIVE = re.compile(r"Symbol\((['\"])((?:(?!\1).)*)\1[^)]*\b(?:positive|nonnegative|negative|nonpositive)=True")


def test_no_name_of_a_quantity_that_may_be_negative_is_declared_positive():
    """What is proved of positive numbers, such as that the root of a square is the number, need not be true of all."""
    declared = {
        (check["tag"], name)
        for check in CHECKS
        for text in (check["lhs"], check["rhs"], *(text for pair in check.get("given") or [] for text in pair))
        for _, name in POSITIVE.findall((text or "").replace("\\\\", "\\"))
    }
    assert any(name == r"\beta_t" for _, name in declared), "the declarations are not found any more"
    assert [found for found in declared if SIGNED.fullmatch(found[1])] == []


def test_the_names_of_what_may_be_negative_are_known():
    signed = ["x_{t-1}", r"\bar\epsilon_t", r"\epsilon'", r"\mu_\theta(x_t, t)", r"\tilde\mu_t", "m_1", "z", "v_t", r"v_\theta"]
    assert [name for name in signed if not SIGNED.fullmatch(name)] == []
    positive = [r"\alpha_t", r"\bar\alpha_t", r"\beta_t", "v", "v_1", r"\sigma_t", "V_t", r"q(x_t \mid x_0)"]
    assert [name for name in positive if SIGNED.fullmatch(name)] == []


# ---- displays without a number ----

PLAIN = [
    (number, cell, display)
    for number, path in enumerate(CHAPTERS)
    for cell, source in enumerate(notebooks.cells(path))
    if source["cell_type"] == "markdown"
    for display in notebooks.DISPLAY.findall(source["source"])
    if r"\tag" not in display
]


def kind_without_number(chapter, display):
    for kind in ("standing", "paths", "codes"):
        with contextlib.suppress(ValueError):
            if true(display, kind, chapter):
                return kind
    return None


@cache
def numbered():
    return [parts(line)[:2] for tag, line in LINES.items() if tag not in MEASURED]


def is_copied(display):
    """Whether a display is a numbered line once more."""
    with contextlib.suppress(ValueError):
        return parts(display)[:2] in numbered()
    return False


@pytest.mark.parametrize(("chapter", "cell", "display"), PLAIN, ids=lambda value: value if isinstance(value, int) else "")
def test_a_display_without_a_number_is_true(chapter, cell, display):
    assert kind_without_number(chapter, display) or is_copied(display), (
        f"Chapter {chapter}, cell {cell}: $${display}$$ cannot be read, or its two sides differ, and it is no copy of a numbered "
        "line. Correct it, give it a number and a check, or give tests/worlds.py what it names."
    )


@pytest.mark.parametrize(("chapter", "cell", "display"), PLAIN, ids=lambda value: value if isinstance(value, int) else "")
def test_a_typo_in_a_display_without_a_number_makes_it_wrong(chapter, cell, display):
    planted = typos(display)
    assert len(planted) >= 4
    assert [t for t in planted if kind_without_number(chapter, t) or is_copied(t)] == []
