"""The book's own tools: the ledger, which checks its equations, and the figures. They need `pip install "tinyddpm[book]"`."""

try:
    import matplotlib  # noqa: F401
    import sympy  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"tinyddpm.book needs {error.name}: pip install 'tinyddpm[book]'", name=error.name) from error

from tinyddpm.book import figures
from tinyddpm.book.densities import KL, Mean, N, States, p, p_theta, q
from tinyddpm.book.ledger import CheckFailed, agree, at_most, define, measure, prove, refute

__all__ = [
    "KL",
    "CheckFailed",
    "Mean",
    "N",
    "States",
    "agree",
    "at_most",
    "define",
    "figures",
    "measure",
    "p",
    "p_theta",
    "prove",
    "q",
    "refute",
]
