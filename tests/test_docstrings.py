"""The docstrings are the reference: each public name says what it takes and what it raises, and has an example that runs."""

import inspect
import re

import pytest
from public import public

NAMES = dict(public())
OTHER = re.compile(r"as for (the function )?`([\w.]+)`|`([\w.]+)` with this")  # where it says the rest
by_name = pytest.mark.parametrize("name", NAMES)


def told(name):
    """What a docstring says, with those that it refers to."""
    text, near = inspect.getdoc(NAMES[name]), name.rpartition(".")[0]
    for found in OTHER.finditer(text):
        other = found[2] or found[3]
        text += inspect.getdoc(NAMES[other if found[1] or f"{near}.{other}" not in NAMES else f"{near}.{other}"])
    return text


@by_name
def test_has_an_example(name):
    """Which the doctests run."""
    assert re.search(r"Example:\n\s+>>> ", inspect.getdoc(NAMES[name]))


@by_name
def test_says_what_it_takes_and_what_it_raises(name):
    if name in ("ledger.CheckFailed", "metrics.Modes"):  # what is raised, and what is returned
        return
    takes = [p for p in inspect.signature(NAMES[name]).parameters if p not in ("self", "args", "hints")]
    assert not takes or "Raises:" in told(name)
    assert [p for p in takes if not re.search(rf"\b({p}|{p.replace('xt', 'x_t')})\b", told(name))] == []
