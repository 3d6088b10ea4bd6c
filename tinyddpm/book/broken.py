"""What breaks: every version of an equation that is one slip away from it. A check has to reject them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sympy as sp

Slip = tuple[sp.Symbol | None, sp.Expr]


def slips(expr: sp.Expr, symbols: Sequence[sp.Symbol]) -> Iterator[Slip]:
    """Each expression that is one slip away: a sign, a factor, a number or exponent off by one, another symbol.

    With each comes the symbol that was changed in one place, or None. By these it is seen whether a claim depends on a symbol.
    """
    yield None, 2 * expr
    yield from _within(expr, symbols)


def _within(expr: sp.Expr, symbols: Sequence[sp.Symbol]) -> Iterator[Slip]:
    if expr.is_Symbol and expr in symbols:
        yield from [(expr, s) for s in symbols if s != expr and s.is_positive == expr.is_positive][:1]
        yield expr, expr + 1 if expr.is_integer else sp.Rational(11, 10) * expr
    elif expr.is_Rational:
        yield None, expr + 1
    elif expr.is_Add or expr.is_Mul:
        yield from ((None, expr.func(*expr.args[:i], -arg, *expr.args[i + 1 :])) for i, arg in enumerate(expr.args))
    if isinstance(expr, sp.Sum | sp.Product):
        i, low, high = expr.limits[0]
        yield None, expr.func(expr.function, (i, low + 1, high))
        yield from ((symbol, expr.func(expr.function, (i, low, slip))) for symbol, slip in _within(high, symbols))
    binds = isinstance(expr, sp.Integral | sp.Sum | sp.Product | sp.Derivative)
    parts = 1 if binds else len(expr.args)  # the limits of an integral stay, and so does the variable of a derivative
    for i, part in enumerate(expr.args[:parts]):
        for symbol, slip in _within(part, symbols):
            try:
                yield symbol, expr.func(*expr.args[:i], slip, *expr.args[i + 1 :])
            except TypeError:  # such as a divergence of densities of different states: it cannot even be written down
                continue
