"""The docstrings are the reference: each public name says what it takes, and has an example that runs.

What is the same everywhere is said once, at the top of the reference page.
"""

import inspect
import re
from collections import Counter
from pathlib import Path

import pytest
from public import public

NAMES = dict(public())
OTHER = re.compile(r"as for (the function )?`([\w.]+)`|`([\w.]+)` with this")  # where it says the rest
EVERYWHERE = ("schedule", "t", "generator", "progress")
TOP = " ".join((Path(__file__).parents[1] / "pages" / "api.md").read_text(encoding="utf-8").split("\n## ")[0].split())
by_name = pytest.mark.parametrize("name", NAMES)


def takes(name):
    if name in ("book.CheckFailed", "metrics.Modes", "scenes.Scene", "scenes.Reading"):  # what is raised, and what is returned
        return []
    return [p for p in inspect.signature(NAMES[name]).parameters if p not in ("self", "args", "hints", "options")]


def told(name):
    """What a docstring says before its example, with those that it refers to."""
    text, near = inspect.getdoc(NAMES[name]), name.rpartition(".")[0]
    for found in OTHER.finditer(text):
        other = found[2] or found[3]
        text = inspect.getdoc(NAMES[other if found[1] or f"{near}.{other}" not in NAMES else f"{near}.{other}"]) + text
    return re.sub(r"(?s)Example:\n.+?(?=\n\n|\Z)", "", text)


@by_name
def test_has_an_example(name):
    """Which the doctests run."""
    assert re.search(r"Example:\n\s+>>> ", inspect.getdoc(NAMES[name]))


@by_name
def test_says_what_it_takes(name):
    missing = [p for p in takes(name) if not re.search(rf"\b({p}|{p.replace('xt', 'x_t').replace('x0', 'x_0')})\b", told(name))]
    assert [p for p in missing if p not in EVERYWHERE] == []


@pytest.mark.parametrize("name", EVERYWHERE)
def test_the_top_of_the_reference_explains_what_is_the_same_everywhere(name):
    assert re.search(rf"`{name}(=\w+)?` (is|shows) |[Ww]ithout a `{name}`, ", TOP)
    assert Counter(p for other in NAMES for p in takes(other))[name] > 5


def test_the_top_of_the_reference_says_what_a_wrong_argument_raises():
    rule = "A wrong argument raises a `ValueError` or a `TypeError` that names the argument, its value and what was expected."
    assert rule in TOP
