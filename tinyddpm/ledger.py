"""The ledger: every numbered equation of the book is checked by a machine where it stands.

A chapter calls `verify` under an equation that claims something, `define` under one that introduces something, and
`refute` under a slip that is often met. Each call shows its verdict or raises `CheckFailed`. Each check is also run on
broken versions of its claim (a sign, a factor, an exponent, an index changed), which it must reject: a check that
cannot fail is refused.
"""

from __future__ import annotations

import math
import random
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

try:
    import sympy as sp
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("tinyddpm.ledger needs SymPy: pip install 'tinyddpm[book]'", name="sympy") from error

from sympy.core.function import AppliedUndef

from tinyddpm._checks import check_callable, check_flag, check_number, wrong_type

__all__ = ["CheckFailed", "N", "define", "measure", "refute", "verify"]

MIME = "application/vnd.tinyddpm.check+json"  # the verdict as data, beside the text, in a chapter's stored output
LETTERS = {
    r"\bar\alpha": "ᾱ", r"\bar\epsilon": "ε̄", r"\tilde\beta": "β̃", r"\tilde\mu": "μ̃", r"\alpha": "α", r"\beta": "β",
    r"\epsilon": "ε", r"\sigma": "σ", r"\mu": "μ", r"\theta": "θ", r"\mid": "|",
}  # fmt: skip
DIGITS = 30  # of the numbers at which two expressions are told apart


class CheckFailed(AssertionError):
    """An equation's check did not hold, or could not have failed. The message shows the equation and the residual.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> try:
        ...     verify("1.1", (x + 1) ** 2, x**2 + 1)
        ... except CheckFailed as error:
        ...     print(error)
        (1.1) does not hold: left − right = 2*x; it is -2.47 at x = -1.236
    """


class DoesNotHold(CheckFailed):
    """The two sides differ, and the message says where and by how much."""


class NotProved(CheckFailed):
    """The two sides agree in numbers, but SymPy does not simplify their difference to zero."""


class N(sp.Function):  # type: ignore[misc]
    """The density of a Gaussian, N(x, mean, variance), as a SymPy expression that stays as it is written.

    `.doit()` writes it out. The variance is taken to be positive.

    Example:
        >>> from sympy import symbols
        >>> x, m = symbols("x m", real=True)
        >>> N(x, m, 1).doit()
        sqrt(2)*exp(-(-m + x)**2/2)/(2*sqrt(pi))
    """

    nargs = 3

    def doit(self, **hints: Any) -> sp.Expr:
        """The density written out.

        Example:
            >>> N(0, 0, 1).doit()
            sqrt(2)/(2*sqrt(pi))
        """
        x, mean, var = (arg.doit(**hints) for arg in self.args)
        return sp.exp(-((x - mean) ** 2) / (2 * var)) / sp.sqrt(2 * sp.pi * var)

    def _latex(self, printer: Any, **_: Any) -> str:
        x, mean, var = (printer.doprint(arg) for arg in self.args)
        return rf"\mathcal{{N}}\left({x};\ {mean},\ {var}\right)"


@dataclass(frozen=True)
class Check:
    """One line of the ledger: what was claimed, how it was checked, and what the check rejects."""

    tag: str
    kind: str  # "symbolic", "exact", "definition", "measured" or "refuted"
    verdict: str
    statement: str | None
    rejected: int = 0  # how many broken versions the check was run on; it rejected each
    broken: tuple[str, ...] = ()  # the names of those that the chapter wrote itself
    lhs: str | None = None  # the two sides as SymPy's srepr, where there are any
    rhs: str | None = None

    def __post_init__(self) -> None:
        if self.kind != "refuted" and not self.rejected:
            raise CheckFailed(f"({self.tag}) is a check that cannot fail: it rejects no broken version of its claim")

    def __str__(self) -> str:
        if self.kind == "refuted":
            text = f"✗ {self.verdict}"
        else:
            names = ", ".join(f"“{name}”" for name in self.broken)
            text = f"✓ ({self.tag}) {self.verdict}; rejects {self.rejected} broken version{'s'[: self.rejected > 1]}"
            text += f", among them {names}" if names else ""
        return textwrap.fill(text, 80, subsequent_indent="  ", break_long_words=False)

    def show(self) -> None:
        """Displays the verdict, in a notebook together with its data, from which the ledger page is made."""
        try:
            from IPython import display, get_ipython
        except ModuleNotFoundError:
            print(self)
            return
        if get_ipython() is None:
            print(self)
        else:
            display.display({"text/plain": str(self), MIME: asdict(self)}, raw=True)


def verify(
    tag: str,
    lhs: Any = None,
    rhs: Any = None,
    *,
    exact: Any = None,
    against: Any = None,
    rtol: float = 1e-10,
    given: Mapping[sp.Expr, Any] | None = None,
    noise: Sequence[sp.Symbol] = (),
    induction: sp.Symbol | None = None,
    broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:
    """Checks the claim of equation `tag`: shows the verdict, or raises.

    There are two ways. With `lhs` and `rhs`, SymPy must simplify lhs - rhs to 0 with every symbol free. With `exact`
    and `against`, two numbers or arrays that were computed independently must agree, element by element.

    Args:
        tag: the equation's number, such as "2.7".
        lhs, rhs: the two sides as SymPy expressions. Integrals are evaluated and `N` is written out.
        exact, against: numbers, arrays or tensors of one shape; `exact` is the claim.
        rtol: relative tolerance of the second way.
        given: what symbols of the two sides stand for, such as {beta_t: 1 - alpha_t}. A function of which nothing is
            known, such as q(t, t - 1), may stand for something too, where it occurs with these arguments.
        noise: independent standard normal symbols. The claim is then equality in distribution: both sides have the
            same mean, and the coefficient of the one noise in `rhs` is the standard deviation of all noise in `lhs`.
            A symbol that is `given` as an `N` is drawn from it.
        induction: a symbol that stands for any number from 1 up, such as the T of a sum's upper limit. The claim is
            then proved for 1 and for 2, and both sides are proved to grow by the same when it grows by 1.
        broken: by name, further right-hand sides (or values of `exact`) that are wrong and must be rejected.
        statement: the statement of the derivation that the equation makes, such as "S4".

    Raises:
        CheckFailed: the claim does not hold, SymPy cannot prove it, or the check accepts a broken version.
        TypeError, ValueError: neither or both of the two ways were asked for, or an argument is none of these.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> verify("1.1", (x + 1) ** 2, x**2 + 2 * x + 1)
        ✓ (1.1) proved: left − right = 0; rejects 14 broken versions
        >>> verify("1.2", exact=math.sqrt(2) ** 2, against=2.0)
        ✓ (1.2) two independent computations agree to 1e-10; rejects 3 broken versions
    """
    _check(tag, lhs, rhs, exact, against, rtol, given, noise, induction, broken, statement).show()


def refute(tag: str, lhs: Any = None, rhs: Any = None, *, slip: str, **claim: Any) -> None:
    """Shows that a wrong variant of equation `tag` is rejected, and how; raises if it is not.

    Args:
        tag: the equation of which this is a slip.
        lhs, rhs: as for `verify`, and so are the further keyword arguments.
        slip: what the slip is, in words.

    Raises:
        CheckFailed: the claim holds, or the check fails for another reason than that the two sides differ.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> refute("1.1", (x + 1) ** 2, x**2 + 1, slip="the mixed term is forgotten")
        ✗ the mixed term is forgotten: (1.1) does not hold: left − right = 2*x; it is
          -2.47 at x = -1.236
    """
    if not isinstance(slip, str):
        raise wrong_type("slip", slip, "words")
    try:
        _check(tag, lhs, rhs, **claim)
    except DoesNotHold as error:
        Check(tag, "refuted", f"{slip}: {error}", claim.get("statement")).show()
    else:
        raise CheckFailed(f"({tag}) holds, so {slip!r} is no slip")


def define(
    tag: str,
    formula: Any,
    code: Any,
    args: Sequence[sp.Symbol] = (),
    *,
    rtol: float = 1e-12,
    given: Mapping[sp.Symbol, Any] | None = None,
    broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:
    """Checks that the package computes what equation `tag` defines: code against formula.

    Args:
        tag: the equation's number, such as "1.1".
        formula: a SymPy expression in the symbols `args`, or an `Eq` of what is defined and that expression; or, without
            `args`, numbers computed from the formula.
        code: a function that calls the package, one argument for each of `args`; or, without `args`, the package's
            numbers. Integer symbols are passed as int, others as float64 tensors.
        args: the symbols. Their values are drawn: between 0 and 1 for positive symbols, from 2 to 6 for integers, else
            between -2 and 2.
        rtol: relative tolerance of the comparison.
        given, broken, statement: as for `verify`.

    Raises:
        CheckFailed: the code does not compute the formula, or the check accepts a broken version.

    Example:
        >>> x = sp.Symbol("x", positive=True)
        >>> define("1.1", x**2 / 2, lambda x: x * x / 2, [x])
        ✓ (1.1) the code computes the formula to 1e-12; rejects 5 broken versions
    """
    _check_common(tag, given, broken, statement, rtol)
    _check_symbols("args", args)
    if not args:
        _compare(tag, "definition", formula, code, rtol, _number_slips(formula, "formula"), broken or {}, statement).show()
        return
    check_callable("code", code)
    lhs, formula = formula.args if isinstance(formula, sp.Equality) else (None, _expression("formula", formula))
    unknown = formula.subs(given or {}).free_symbols - set(args)
    if unknown:
        raise TypeError(f"({tag}) the formula has symbols that are not in args: {', '.join(sorted(map(_plain, unknown)))}")

    def value(expr: Any, point: Mapping[sp.Symbol, sp.Rational]) -> float:
        number = sp.N(sp.sympify(expr).subs(given or {}).subs(point).doit(), DIGITS)
        return float(number) if number.is_real and number.is_finite else math.nan  # the root of a slip may be imaginary

    drawn = (_point(args, f"{tag}/{i}") for i in range(200))
    points = [point for point in drawn if not math.isnan(value(formula, point))][:5]
    if not points:
        raise CheckFailed(f"({tag}) the formula has no real value at 200 points: {_plain(formula)}")

    def values(expr: Any) -> list[float]:
        return [value(expr, point) for point in points]

    def call(point: Mapping[sp.Symbol, sp.Rational]) -> float:
        return float(code(*(int(point[s]) if s.is_integer else torch.tensor(float(point[s]), dtype=torch.float64) for s in args)))

    computed = [call(point) for point in points]
    slips = [values(slip) for slip in _slips(formula, args)]
    wrong = {name: values(expr) for name, expr in (broken or {}).items()}
    check = _compare(tag, "definition", values(formula), computed, rtol, slips, wrong, statement)
    replace(check, lhs=sp.srepr(lhs) if lhs is not None else None, rhs=sp.srepr(formula)).show()


def measure(
    tag: str, low: Any, high: Any, *, errors: float = 3, paired: bool = False, broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:  # fmt: skip
    """Checks the claim of equation `tag` that one measured quantity is smaller than another, over several runs.

    The means must differ by more than `errors` times the standard error of their difference.

    Args:
        tag: the equation's number, such as "5.4".
        low, high: the results of at least 3 independent runs each. `high` may be one number that is known exactly.
        errors: how many standard errors the means must be apart.
        paired: whether run i of both sides had the same seed, so that the differences of the pairs are what scatters.
        broken: by name, further values of `low` of which the claim is wrong, and which must be rejected.
        statement: as for `verify`.

    Raises:
        CheckFailed: the claim does not hold, or the check accepts a broken version.

    Example:
        >>> measure("1.1", [0.8, 0.9, 1.0], 2.0)
        ✓ (1.1) measured: smaller by more than 3 standard errors in 3 runs; rejects 2
          broken versions
    """
    _check_common(tag, None, broken, statement)
    check_number("errors", errors, 0, math.inf)
    check_flag("paired", paired)
    a, b = (np.atleast_1d(_array(results, name)) for name, results in (("low", low), ("high", high)))
    sizes = (len(b),) if paired else (1, *range(3, len(b) + 1))
    if a.ndim != 1 or b.ndim != 1 or len(a) < 3 or (len(a) if paired else len(b)) not in sizes:
        raise CheckFailed(f"({tag}) compares {a.shape} with {b.shape} results, expected at least 3 of each")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise CheckFailed(f"({tag}) compares results that are not finite")

    def holds(a: np.ndarray[Any, Any]) -> bool:
        scatter = [a - b] if paired else [a, b]
        error = math.sqrt(sum(x.var(ddof=1) / len(x) for x in scatter if len(x) > 1))
        return float(b.mean() - a.mean()) > errors * error

    if not holds(a):
        raise DoesNotHold(f"({tag}) does not hold: {a.mean():.4g} is not below {b.mean():.4g} by {errors:g} standard errors")
    wrong = {"the two exchanged": 2 * b.mean() - a, "no difference": a + b.mean() - a.mean(), **(broken or {})}
    for name, results in wrong.items():
        if holds(np.atleast_1d(_array(results, f"broken[{name!r}]"))):
            raise CheckFailed(f"({tag}) the check accepts the broken version {name!r}")
    verdict = f"measured: smaller by more than {errors:g} standard errors in {len(a)} runs"
    Check(tag, "measured", verdict, statement, len(wrong), tuple(broken or ())).show()


def _check_common(tag: str, given: object, broken: object, statement: object, rtol: float = 1.0) -> None:
    """What all checks take."""
    if not isinstance(tag, str) or not re.fullmatch(r"\d+\.\d+", tag):
        raise ValueError(f"tag = {tag!r} is not chapter.number, such as '2.7'")
    for name, value, expected, what in (
        ("given", given, Mapping, "a mapping from symbols"),
        ("broken", broken, Mapping, "a mapping from names"),
        ("statement", statement, str, "a name such as 'S4'"),
    ):
        if value is not None and not isinstance(value, expected):
            raise wrong_type(f"({tag}) {name}", value, what)
    if check_number("rtol", rtol, -math.inf, math.inf) < 0:
        raise ValueError(f"rtol = {rtol} is below 0")


def _check_symbols(name: str, value: Sequence[sp.Symbol]) -> None:
    if not isinstance(value, Sequence) or not all(isinstance(symbol, sp.Symbol) for symbol in value):
        raise TypeError(f"{name} = {value!r} is not a sequence of SymPy's symbols")


def _expression(name: str, value: Any) -> sp.Expr:
    try:
        expression = sp.sympify(value)
    except (sp.SympifyError, TypeError, ValueError):
        expression = None
    if not isinstance(expression, sp.Expr):
        raise TypeError(f"{name} = {value!r} is not an expression of SymPy")
    return expression


# ---- symbolic checks: lhs - rhs simplifies to 0 ----


def _check(
    tag: str, lhs: Any = None, rhs: Any = None, exact: Any = None, against: Any = None, rtol: float = 1e-10,
    given: Mapping[sp.Expr, Any] | None = None, noise: Sequence[sp.Symbol] = (), induction: sp.Symbol | None = None,
    broken: Mapping[str, Any] | None = None, statement: str | None = None,
) -> Check:  # fmt: skip
    _check_common(tag, given, broken, statement, rtol)
    _check_symbols("noise", noise)
    given, broken = given or {}, broken or {}
    symbolic, numeric = (lhs is not None and rhs is not None), (exact is not None and against is not None)
    if symbolic == numeric:
        raise TypeError(f"equation {tag!r}: give either lhs and rhs, or exact= and against=")
    if numeric:
        return _compare(tag, "exact", exact, against, rtol, _number_slips(exact, "exact"), broken, statement)

    lhs, rhs = _expression("lhs", lhs), _expression("rhs", rhs)
    if lhs.has(sp.Float) or rhs.has(sp.Float) or any(sp.sympify(v).has(sp.Float) for v in given.values()):
        raise TypeError(f"({tag}) has a rounded number in it; write it as a sympy.Rational")
    if rhs.has(sp.Integral):
        raise TypeError(f"({tag}) has an integral in rhs, where every slip would have to be integrated; put it in lhs")
    if not all(isinstance(key, sp.Symbol | AppliedUndef) for key in given):
        raise TypeError(f"({tag}) given = {given} says what symbols stand for; a key of it is none")

    if induction is not None:
        free = lhs.free_symbols | rhs.free_symbols
        if not (isinstance(induction, sp.Symbol) and induction.is_integer and induction.is_positive and induction in free):
            raise TypeError(f"({tag}) induction = {induction!r} is not a positive integer symbol of the two sides")
        if noise or any(isinstance(value, N) for value in given.values()):
            raise TypeError(f"({tag}) an induction is about values, not about laws: without noise, and without N in given")

    def compared(side: sp.Expr, claimed: bool = False) -> tuple[sp.Expr, ...]:
        return _compared(side, given, noise, claimed) if induction is None else _steps(side, given, induction)

    left, right = compared(lhs), compared(rhs, claimed=True)
    for a, b in zip(left, right, strict=True):
        _prove(tag, a, b)

    def accepts(slip: sp.Expr, claimed: bool, agree: Callable[[sp.Expr, sp.Expr], bool]) -> bool:
        try:
            return all(map(agree, compared(slip, claimed), left if claimed else right))
        except CheckFailed:  # not even of the form of the claim
            return False

    rejected, symbols = len(broken), sorted((lhs.free_symbols | rhs.free_symbols) - set(noise), key=str)
    heavy = induction is None and lhs.has(sp.Integral, sp.Sum, sp.Product, sp.Limit)  # each slip of it would take seconds
    for side, claimed in ((rhs, True), (lhs, False)):
        for slip in [] if heavy and not claimed else _slips(side, symbols):
            if not accepts(slip, claimed, _same_numbers):
                rejected += 1
            elif not accepts(slip, claimed, _is_zero):  # what SymPy proves too is no slip, but the claim in other words
                raise CheckFailed(f"({tag}) the check accepts a broken version of its claim: {_plain(slip)}")
    for name, wrong in broken.items():
        if accepts(_expression(f"broken[{name!r}]", wrong), True, _same_numbers):
            raise CheckFailed(f"({tag}) the check accepts the broken version {name!r}: {wrong}")
    verdict = "proved: same mean, same standard deviation" if noise else "proved: left − right = 0"
    verdict += f" for every {induction}, by induction" if induction is not None else ""
    return Check(tag, "symbolic", verdict, statement, rejected, tuple(broken), sp.srepr(lhs), sp.srepr(rhs))


def _compared(
    side: sp.Expr, given: Mapping[sp.Symbol, Any], noise: Sequence[sp.Symbol], claimed: bool = False
) -> tuple[sp.Expr, ...]:
    """What is compared of a side: its value or, with noise, the mean and the standard deviation of its law."""
    side = given[side] if isinstance(given.get(side), N) else _meant(side, given)
    if not noise:
        return (_named(_evaluate(side)),)
    if isinstance(side, N):
        return (*_compared(side.args[1], given, ()), sp.sqrt(_compared(side.args[2], given, ())[0]))
    coefficients = [c for c in (sp.expand(side).diff(e) for e in noise) if c != 0]
    if any(c.has(*noise) for c in coefficients) or (claimed and len(coefficients) != 1):
        raise CheckFailed(f"{side} is not {'a mean plus one noise' if claimed else 'linear in the noise'}")
    std = coefficients[0] if claimed else sp.sqrt(sp.expand(sum(c**2 for c in coefficients)))
    return side.subs(dict.fromkeys(noise, 0)), std


def _meant(side: sp.Expr, given: Mapping[sp.Expr, Any]) -> sp.Expr:
    """A side with its symbols replaced by what they stand for."""
    meaning = {k: sp.sympify(v) for k, v in given.items() if not isinstance(v, N)}
    functions = {k: v for k, v in meaning.items() if not k.is_Symbol}
    symbols = {k: v for k, v in meaning.items() if k.is_Symbol}
    side = side.xreplace(functions)
    for _ in symbols:  # a symbol may stand for an expression in other symbols that stand for something
        side = side.subs(symbols)
    if side.free_symbols & set(symbols):
        raise TypeError(f"given = {_plain(sp.Dict(given))} is circular")
    return side


def _steps(side: sp.Expr, given: Mapping[sp.Expr, Any], n: sp.Symbol) -> tuple[sp.Expr, ...]:
    """What an induction over `n` compares of a side: its values for 1 and for 2, and by how much it grows with n."""

    def unroll(kind: type[sp.Expr], function: sp.Expr, *limits: sp.Tuple) -> sp.Expr:
        i, low, high = limits[0]
        if len(limits) > 1 or sp.expand(high - high.subs(n, n - 1)) != 1:
            return kind(function, *limits)
        last, shorter = function.subs(i, high), kind(function, (i, low, high - 1))
        return shorter + last if kind is sp.Sum else shorter * last

    side = _meant(side, given)
    for part in side.atoms(sp.Sum, sp.Product):
        low, high = (sp.sympify(limit).subs(n, 1) for limit in part.limits[0][1:])
        if (low - high).is_number and low - high > 1:
            raise CheckFailed(f"{_plain(part)} runs backwards for {n} = 1")
    later = side.subs(n, n + 1)
    for kind in (sp.Sum, sp.Product):
        later = later.replace(kind, lambda *args, kind=kind: unroll(kind, *args))
    growth = sp.expand(sp.expand_log(later) - sp.expand_log(side))
    if growth.has(sp.Sum, sp.Product):
        raise NotProved(f"by how much {_plain(side)} grows with {n} is not known: SymPy leaves {_plain(growth)}")
    return (*(_named(side.subs(n, value).doit()) for value in (1, 2)), _named(growth))


def _named(expr: sp.Expr) -> sp.Expr:
    """A function of which nothing is known, such as a network's output, is one symbol more."""

    def name(e: sp.Expr) -> sp.Symbol:
        text = str(e.func(*map(sp.expand, e.args)))
        return sp.Symbol(text, positive=True) if e.is_positive else sp.Symbol(text, real=True)

    return expr.replace(lambda e: isinstance(e, AppliedUndef), name)


def _evaluate(expr: sp.Expr) -> sp.Expr:
    """Evaluates integrals, sums and products and writes densities out. SymPy is told that their variances are positive."""
    if not expr.has(sp.Integral):
        return expr.doit()
    for var in {n.args[2] for n in expr.atoms(N)}:  # in vain: it would prove what holds for no Gaussian
        values = [sp.N(var.subs(_point(var.free_symbols, str(i)))) for i in range(20)]
        if not any(value.is_real and value > 0 for value in values):
            raise CheckFailed(f"{_plain(var)} is not positive, so it is no variance")
    bound = {s for e in expr.atoms(sp.Integral, sp.Sum, sp.Product) for s in e.variables}
    names: dict[tuple[sp.Expr, str], sp.Dummy] = {}

    def name(part: sp.Expr, assumption: str) -> sp.Expr:
        """A plain symbol for what no integral or sum runs over: the integral is then the general one, and quick."""
        if part.free_symbols & bound or (part.is_Symbol and getattr(part, f"is_{assumption}")) or part.is_Number:
            return part
        return names.setdefault((part, assumption), sp.Dummy(**{assumption: True}))

    renamed = expr.replace(N, lambda x, mean, var: N(x, name(mean, "real"), name(var, "positive")))
    return sp.expand_log(sp.simplify(renamed.doit())).subs({dummy: part for (part, _), dummy in names.items()})


def _prove(tag: str, lhs: sp.Expr, rhs: sp.Expr) -> None:
    if _is_zero(lhs, rhs):
        return
    if any(side.has(sp.nan, sp.zoo) for side in (lhs, rhs)):
        raise DoesNotHold(f"({tag}) has no value: something is divided by zero")
    residual = sp.simplify(lhs - rhs)
    shown = f"left − right = {_plain(residual)}" if len(str(residual)) < 45 else "left − right is not 0"
    symbols = _symbols(lhs, rhs)
    for i in range(100):  # a point where they differ clearly; they may meet at some
        point = _point(symbols, f"{tag}/{i}")
        difference, size = (sp.N(part.subs(point), DIGITS) for part in (lhs - rhs, lhs))
        if difference.is_number and difference.is_finite and size.is_finite and abs(difference) > 1e-12 * abs(size):
            where = ", ".join(f"{_plain(s)} = {float(v):g}" for s, v in point.items() if s in residual.free_symbols)
            raise DoesNotHold(f"({tag}) does not hold: {shown}" + (f"; it is {sp.N(difference, 3)} at {where}" if where else ""))
    if _same_numbers(lhs, rhs):
        raise NotProved(f"({tag}) is not proved: left and right agree in numbers, but SymPy leaves {_plain(residual)}")
    raise NotProved(f"({tag}) is not proved: SymPy leaves {_plain(residual)}, and cannot evaluate it")


def _plain(expr: sp.Expr) -> str:
    """An expression as text without the LaTeX of its symbols."""
    text = str(expr)
    for latex, letter in LETTERS.items():
        text = text.replace(latex, letter)
    return text


def _is_zero(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether SymPy shows lhs = rhs, by their difference or, for products of densities, by their quotient."""
    ways: tuple[Callable[[], sp.Expr], ...] = (
        lambda: sp.expand(lhs - rhs),
        lambda: sp.simplify(_tidy(lhs) - _tidy(rhs)),
        lambda: sp.simplify(_tidy(sp.powsimp(_tidy(lhs) / _tidy(rhs)))) - 1,
        lambda: _squared(lhs / rhs) - 1 if _same_sign(lhs, rhs) else sp.nan,  # no roots are left in the square
    )
    return _same_numbers(lhs, rhs) and any(way() == 0 for way in ways)


def _same_sign(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether two sides whose squares are equal agree in sign too, near and far, wherever they are real."""
    for i in range(60):
        far = (1, 4, sp.Rational(1, 40), 25)[i % 4]
        point = {s: v * (3 if s.is_integer else far) if i % 4 else v for s, v in _point(_symbols(lhs, rhs), f"sign/{i}").items()}
        a, b = (sp.N(side.subs(point), DIGITS) for side in (lhs, rhs))
        if a.is_real and b.is_real and a.is_finite and b.is_finite and abs(a - b) > 1e-12 * abs(a):
            return False
    return True


def _symbols(*sides: sp.Expr) -> set[sp.Symbol]:
    return {symbol for side in sides for symbol in side.free_symbols}


def _squared(expr: sp.Expr) -> sp.Expr:
    """The square of a product: sqrt(a) sqrt(b) and sqrt(a b), which differ where a and b are negative, become one."""
    exponent, factor = sp.Integer(0), sp.Integer(1)
    for part in sp.Mul.make_args(expr):
        base, power = part.as_base_exp()
        if base == sp.E:
            exponent += 2 * power
        elif isinstance(base, sp.exp):
            exponent += 2 * base.args[0] * power
        else:
            factor *= sp.Pow(base, 2 * power) if (2 * power).is_Integer else part**2
    return sp.cancel(sp.together(factor)) * sp.exp(sp.cancel(sp.together(exponent)))


def _tidy(expr: sp.Expr) -> sp.Expr:
    """Brings what stands in an exponential or under a root to one form, so that equal factors cancel."""
    expr = expr.replace(sp.exp, lambda arg: sp.exp(sp.cancel(sp.together(arg))))
    is_root = lambda e: e.is_Pow and e.exp.is_Rational and not e.exp.is_Integer  # noqa: E731
    return expr.replace(is_root, lambda e: sp.Pow(sp.factor(sp.expand(e.base)), e.exp))


def _same_numbers(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether lhs and rhs agree to 15 digits at three points: a quick no, never a proof."""
    for seed in "012":
        point = _point(_symbols(lhs, rhs), seed)
        a, b = (sp.N(side.subs(point), DIGITS) for side in (lhs, rhs))
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
            return False
        size = max(abs(a), abs(b))
        if not (size < 1e-60 or bool(abs(a - b) <= 1e-15 * size)):
            return False
    return True


def _point(symbols: Iterable[sp.Symbol], seed: str) -> dict[sp.Symbol, sp.Rational]:
    """A value for each symbol, the same in every run; no two are equal."""
    draw = random.Random(seed)
    thousandths, counts = iter(draw.sample(range(150, 850), 400)), iter(draw.sample(range(2, 7), 5))
    point = {}
    for s in sorted(symbols, key=str):
        if s.is_integer:
            point[s] = sp.Integer(next(counts))
        else:
            value = sp.Rational(next(thousandths), 1000)
            point[s] = value if s.is_positive else 4 * value - 2
    return point


def _slips(expr: sp.Expr, symbols: Sequence[sp.Symbol]) -> Iterator[sp.Expr]:
    """Every expression one slip away: a sign, a factor of two, a number or exponent off by one, another symbol."""
    yield 2 * expr
    yield from _slips_within(expr, symbols)


def _slips_within(expr: sp.Expr, symbols: Sequence[sp.Symbol]) -> Iterator[sp.Expr]:
    if expr.is_Symbol and expr in symbols:
        yield from [s for s in symbols if s != expr and s.is_positive == expr.is_positive][:1]
    elif expr.is_Rational:
        yield expr + 1
    elif expr.is_Add or expr.is_Mul:
        yield from (expr.func(*expr.args[:i], -arg, *expr.args[i + 1 :]) for i, arg in enumerate(expr.args))
    if isinstance(expr, sp.Sum | sp.Product):
        i, low, high = expr.limits[0]
        yield expr.func(expr.function, (i, low + 1, high))
    parts = 1 if isinstance(expr, sp.Integral | sp.Sum | sp.Product) else len(expr.args)  # else leave the limits alone
    for i, part in enumerate(expr.args[:parts]):
        yield from (expr.func(*expr.args[:i], slip, *expr.args[i + 1 :]) for slip in _slips_within(part, symbols))


# ---- numeric checks: two computations agree ----


def _compare(
    tag: str, kind: str, claim: Any, against: Any, rtol: float, slips: Iterable[Any], broken: Mapping[str, Any],
    statement: str | None,
) -> Check:  # fmt: skip
    if claim is against and not isinstance(claim, int | float):
        raise CheckFailed(f"({tag}) compares an object with itself")
    names = ("formula", "code") if kind == "definition" else ("exact", "against")
    a, b = _array(claim, names[0]), _array(against, names[1])
    if a.shape != b.shape:
        raise CheckFailed(f"({tag}) compares the shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise CheckFailed(f"({tag}) compares numbers that are not finite")
    error = _relative_error(a, b)
    if not error <= rtol:
        raise DoesNotHold(f"({tag}) does not hold: the two sides differ by {error:.3g} of their size, {rtol:g} was allowed")
    rejected = 0
    for slip in slips:
        if _relative_error(_array(slip), b) > rtol:
            rejected += 1
        elif not np.allclose(slip, a, rtol=1e-14, atol=0):  # else it is the claim itself, such as the negative of zero
            raise CheckFailed(f"({tag}) the check accepts a broken version of its claim")
    for name, wrong in broken.items():
        other = _array(wrong, f"broken[{name!r}]")
        if other.shape != b.shape:
            raise CheckFailed(f"({tag}) the broken version {name!r} has the shape {other.shape}, expected {b.shape}")
        if _relative_error(other, b) <= rtol:
            raise CheckFailed(f"({tag}) the check accepts the broken version {name!r}")
    verdict = "the code computes the formula" if kind == "definition" else "two independent computations agree"
    return Check(tag, kind, f"{verdict} to {rtol:.0e}", statement, rejected + len(broken), tuple(broken))


def _number_slips(claim: Any, name: str = "claim") -> list[np.ndarray[Any, Any]]:
    """The sign, a factor of two, one percent, and an index wrong."""
    a = _array(claim, name)
    return [-a, 2 * a, 1.01 * a, np.roll(a, 1)]


def _array(value: Any, name: str = "slip") -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fiuO":
            raise TypeError(f"numbers of dtype {array.dtype} are compared, expected real ones")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} = {value!r} is no array of numbers: {error}") from error


def _relative_error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The largest |a - b| / |b|; 0 where both are 0, infinite where the shapes differ or a number is not finite."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b) / np.abs(b)).max(initial=0.0))
