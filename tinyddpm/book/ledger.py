"""The ledger: every numbered equation of the book is checked by a machine where it stands.

Under an equation a chapter calls `prove` or `at_most` (SymPy, with every symbol left free), `define` (code against formula),
`agree` (two computations), or `measure` (an experiment); and `refute` under a slip that is often met. Each call shows its
verdict or raises `CheckFailed`. A verdict says what was shown and no more.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
import random
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import sympy as sp
import torch

from tinyddpm._checks import check_callable, check_flag, check_number, wrong_type
from tinyddpm.book.broken import slips
from tinyddpm.book.densities import KL, N, inside, p_theta
from tinyddpm.book.proof import (
    DIGITS,
    CheckFailed,
    Claim,
    DoesNotHold,
    NotProved,
    check_variance,
    meant,
    plain,
    point,
    prove_at_most,
    rejections,
)
from tinyddpm.book.watch import Origin, watch

__all__ = ["CheckFailed", "agree", "at_most", "define", "measure", "prove", "refute"]

MIME = "application/vnd.tinyddpm.check+json"  # the verdict as data, beside the text, in a chapter's stored output
LEVEL = 0.01  # how often chance alone may show what a measurement shows

_checked: dict[str, Callable[..., None]] = {}  # the checks of this run, to which a wrong variant of their equation can be handed
_noises: dict[sp.Symbol, str] = {}  # the noises that this run has met, and the equation that brought each
_made_of: dict[sp.Symbol, set[sp.Symbol]] = {}  # those that are made of others


@dataclass(frozen=True)
class Check:
    """One line of the ledger: what was claimed, how it was checked, and what the check rejects."""

    tag: str
    kind: str  # "proved", "substituted", "defined", "agreed", "measured" or "refuted"
    verdict: str
    statement: str | None
    rejected: int = 0  # how many broken versions of the equation were handed to the check; it rejected each
    broken: tuple[str, ...] = ()  # the names of those that the chapter wrote itself
    lhs: str | None = None  # the two sides as SymPy's srepr, where there are any
    rhs: str | None = None
    new: str | None = None  # the noise that the right side introduces
    given: tuple[tuple[str, str], ...] = ()  # what symbols were said to stand for, as srepr
    calls: tuple[str, ...] = ()  # the functions of the package that the check's code called

    def __str__(self) -> str:
        if self.kind == "refuted":
            text = f"✗ rejected: {self.verdict}"
        else:
            names = ", ".join(f"“{name}”" for name in self.broken)
            text, others = f"✓ ({self.tag}) {self.verdict}", self.rejected - len(self.broken)
            text += f"; rejects {self.rejected} broken version{'s'[: self.rejected > 1]}" if others else ""
            text += (", among them " if others else "; rejects ") + names if names else ""
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


def prove(
    tag: str,
    lhs: Any,
    rhs: Any,
    *,
    given: Mapping[sp.Symbol, Any] | None = None,
    noise: Sequence[sp.Symbol] = (),
    new: sp.Symbol | None = None,
    induction: sp.Symbol | None = None,
    broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:
    """Proves equation `tag`: SymPy must simplify left minus right to 0, with every symbol left free.

    The proof is also run on broken versions of the equation (a sign, a factor, an exponent, an index or a symbol changed in one
    place), and has to reject them; and each symbol that is shown has to matter. Where nothing is left to prove once it is
    written out what the symbols stand for, the verdict says "substituted".

    Args:
        tag: the equation's number, such as "2.7".
        lhs, rhs: the two sides. Integrals are evaluated, `N` is written out, and what the densities `q` and `p_theta`, their
            divergences `KL` and the mean `Mean` mean follows from their arguments.
        given: what symbols stand for, such as {beta_t: 1 - alpha_t}. A symbol that is given as an `N` is drawn from it.
        noise: independent standard normal symbols of the left side. The claim is then equality in distribution: both sides
            have the same mean, and the factor of the noise `new` is the standard deviation of all the noise on the left.
        new: that noise. No equation before may have used it: it is the name that this one gives.
        induction: a symbol that stands for any number from 1 up, such as the T of a sum's upper limit. The claim is
            then proved for 1 and for 2, and both sides are proved to grow by the same when it grows by 1.
        broken: by name, further right-hand sides that are wrong and must be rejected.
        statement: the statement of the derivation that the equation makes, such as "S4".

    Raises:
        CheckFailed: it does not hold, SymPy cannot prove it, or the check accepts a broken version.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> prove("1.1", (x + 1) ** 2, x**2 + 2 * x + 1)
        ✓ (1.1) proved: left − right = 0; rejects 17 broken versions
    """
    claim = _claim(tag, lhs, rhs, given, noise, new, induction)
    _check_common(tag, broken, statement)
    broken = broken or {}
    if new is not None and _noises.get(new, tag) != tag:
        raise DoesNotHold(tag, f"{plain(new)} is a noise of ({_noises[new]}) already, and no new one")
    sources = [_sources(symbol) for symbol in noise]
    if sum(map(len, sources)) > len(set().union(*sources)):
        raise DoesNotHold(tag, "one noise of the left side is made of another, so they are not independent")
    substituted = claim.prove()
    for name, wrong in broken.items():
        if claim.accepts(_expression(f"broken[{name!r}]", wrong)):
            raise CheckFailed(f"({tag}) the check accepts the broken version {name!r}: {wrong}")
    rejected = claim.slips() + len(broken)
    if not rejected:
        raise CheckFailed(f"({tag}) is a check that cannot fail: it rejects no broken version of its claim")
    _checked[tag] = functools.partial(_prove_again, tag, **_arguments(claim))
    for symbol in (*noise, *([] if new is None else [new])):
        _noises.setdefault(symbol, tag)
    if new is not None:
        _made_of[new] = set(noise)
    verdict = "substituted: with its names written out, one side is the other" if substituted else "proved: left − right = 0"
    verdict = "proved: both Gaussian, same mean, same standard deviation" if new is not None else verdict
    verdict += f" for every {induction}, by induction" if induction is not None and not substituted else ""
    Check(tag, "substituted" if substituted else "proved", verdict, statement, rejected, tuple(broken), sp.srepr(claim.lhs),
          sp.srepr(claim.rhs), None if new is None else str(new), _premises(claim.given)).show()  # fmt: skip


def at_most(
    tag: str,
    low: Any,
    high: Any,
    *,
    over: tuple[sp.Symbol, Any, Any] | None = None,
    gap: Any = None,
    statement: str | None = None,
) -> None:
    """Proves the inequality low <= high of equation `tag`, in one of two ways.

    Args:
        tag, statement: as for `prove`.
        low, high: the two sides.
        over: the one symbol in them and the ends of its range. SymPy finds where the difference is smallest, at an end or where
            its slope is 0, and that it is at least 0 there.
        gap: else, what the difference is: a divergence `KL`, or a sum of some. SymPy proves that it is, and that
            log y <= y - 1; so a divergence, the mean of -log(p/q) over q, is at least the mean of 1 - p/q, which is not negative.

    Raises:
        CheckFailed: it does not hold, SymPy cannot prove it, or the check accepts a broken version.

    Example:
        >>> y = sp.Symbol("y", positive=True)
        >>> at_most("1.1", sp.log(y), y - 1, over=(y, 0, sp.oo))
        ✓ (1.1) proved: from 0 to oo, right − left is smallest where its slope is 0 or
          at an end, and ≥ 0 there; rejects 3 broken versions
    """
    _check_common(tag, statement=statement)
    low, high = _expression("low", low), _expression("high", high)
    if (over is None) == (gap is None):
        raise TypeError(f"({tag}) give either over= or gap=")
    if over is not None and not (isinstance(over, tuple) and len(over) == 3 and low.free_symbols | high.free_symbols == {over[0]}):
        raise TypeError(f"({tag}) over = {over!r} is not the one symbol of the two sides and the ends of its range")

    def show_it(low: sp.Expr = low, high: sp.Expr = high) -> None:
        if over is not None:
            prove_at_most(tag, low, high, over[0], *map(sp.sympify, over[1:]))
        else:
            _gibbs(tag, low, high, gap)

    if over is None:
        gap = _expression("gap", gap)
        _check_gap(tag, gap)
    show_it()
    rejected = 0
    for wrong in [*({"high": slip} for _, slip in slips(high, [])), *({"low": slip} for _, slip in slips(low, []))]:
        try:
            show_it(**wrong)
        except (DoesNotHold, TypeError):
            rejected += 1
        except NotProved:
            continue  # many inequalities near a true one are true as well
    _checked[tag] = show_it
    if not rejected:
        raise CheckFailed(f"({tag}) is a check that cannot fail: it rejects no broken version of its claim")
    verdict = "right − left is a divergence, and log y ≤ y − 1"
    if over is not None:
        verdict = (
            f"from {plain(over[1])} to {plain(over[2])}, right − left is smallest where its slope is 0 or at an end, and ≥ 0 there"
        )
    Check(tag, "proved", f"proved: {verdict}", statement, rejected, (), sp.srepr(low), sp.srepr(high)).show()


def _check_gap(tag: str, gap: sp.Expr) -> None:
    """Gibbs' inequality: a sum of divergences is never negative, because log y <= y - 1."""
    divergences = {d: sp.Symbol(f"d{i}", nonnegative=True) for i, d in enumerate(sorted(gap.atoms(KL), key=str))}
    if not gap.xreplace(divergences).is_nonnegative or gap.xreplace(divergences).free_symbols != set(divergences.values()):
        raise DoesNotHold(tag, f"{plain(gap)} is not a sum of divergences")
    y = sp.Symbol("y", positive=True)
    prove_at_most(tag, sp.log(y), y - 1, y, sp.Integer(0), sp.oo)


def _gibbs(tag: str, low: sp.Expr, high: sp.Expr, gap: sp.Expr) -> None:
    """Shows low <= high, from a difference that is `gap` or a multiple of it."""
    (found,), (divergence,) = Claim(tag, high - low, gap).sides
    times = sp.simplify(sp.expand_log(found) / sp.expand_log(divergence))
    if times.is_number and times.is_nonnegative:
        return
    if times.is_number or found.has(sp.Symbol(str(p_theta(0)), positive=True)) or not found.has(sp.log):
        raise DoesNotHold(tag, f"right − left is {plain(high - low)}, and not {plain(gap)}")
    raise NotProved(f"({tag}) is not proved: right − left is {plain(high - low)}, and not {plain(gap)}")


def refute(tag: str, *, slip: str, **changed: Any) -> None:
    """Hands a wrong variant of equation `tag` to the check that the equation passed, and shows why it is rejected.

    Args:
        tag: the equation of which this is a slip; it has been checked before in this run.
        slip: what the slip is, in words.
        changed: what is different: for an equation that was proved, arguments of `prove`, such as `rhs`; for one that was
            defined, another `formula`; for one that was computed twice, another `claim`.

    Raises:
        CheckFailed: the variant holds, or is rejected for another reason than that the two sides differ.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> prove("1.1", (x + 1) ** 2, x**2 + 2 * x + 1)
        ✓ (1.1) proved: left − right = 0; rejects 17 broken versions
        >>> refute("1.1", rhs=x**2 + 1, slip="the mixed term is forgotten")
        ✗ rejected: the mixed term is forgotten: left − right = 2*x; it is -2.47 at x =
          -1.236
    """
    _check_common(tag)
    if not isinstance(slip, str):
        raise wrong_type("slip", slip, "words")
    if tag not in _checked:
        raise CheckFailed(f"({tag}) has not been checked in this run, so nothing can be refuted with its check")
    may_change = inspect.signature(_checked[tag]).parameters
    if strange := set(changed) - set(may_change):
        raise TypeError(f"({tag}) has no {', '.join(sorted(strange))} that may be changed, but {', '.join(may_change)}")
    try:
        _checked[tag](**changed)
    except DoesNotHold as error:
        Check(tag, "refuted", f"{slip}: {error.why}", None).show()
    else:
        raise CheckFailed(f"({tag}) holds, so {slip!r} is no slip")


def define(
    tag: str,
    formula: Any,
    code: Callable[..., Any],
    args: Sequence[sp.Symbol],
    *,
    floats: Sequence[sp.Symbol] = (),
    rtol: float = 1e-12,
    given: Mapping[sp.Symbol, Any] | None = None,
    broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:
    """Checks that the package computes what equation `tag` defines: code against formula.

    Args:
        tag, given, broken, statement: as for `prove`.
        formula: a SymPy expression in the symbols `args`, or an `Eq` of the name that is defined and that expression.
        code: a function that asks the package, one argument for each of `args`. Integer symbols are passed as int, others as
            float64 tensors, and these may reach its answer through the package only: it may not compute the formula itself.
        args: the symbols. Their values are drawn: between 0 and 1 for positive symbols, from 2 to 6 for integers, else
            between -2 and 2.
        floats: those of them that the package takes as plain numbers; how these reach the answer cannot be followed.
        rtol: relative tolerance of the comparison.

    Raises:
        CheckFailed: the code does not compute the formula, computes it without the package, or the check accepts a broken version.

    Example:
        >>> beta = sp.Symbol("beta", positive=True)
        >>> define("1.1", 1 - beta, lambda beta: td.Schedule([beta]).alpha[1], [beta])
        ✓ (1.1) the code computes the formula to 1e-12; rejects 8 broken versions
    """
    _check_common(tag, broken, statement, given, rtol)
    _check_symbols("args", args)
    _check_symbols("floats", floats)
    check_callable("code", code)
    name, formula = formula.args if isinstance(formula, sp.Equality) else (None, formula)
    formula, given, broken = _expression("formula", formula), given or {}, broken or {}
    if unknown := meant(formula, given).free_symbols - set(args):
        raise TypeError(f"({tag}) the formula has symbols that are not in args: {', '.join(sorted(map(plain, unknown)))}")
    _check_name(tag, name, formula, args)

    names = [key for key, stands_for in given.items() if not isinstance(stands_for, N)]

    def with_names(at: dict[sp.Symbol, sp.Rational]) -> dict[sp.Symbol, sp.Expr]:
        """A point, and the values of the names there, which the versions of the formula have in common."""
        return at | {name: sp.N(meant(name, given).subs(at).doit(), 2 * DIGITS) for name in names}

    def value(expr: Any, at: Mapping[sp.Symbol, sp.Expr]) -> float:
        number = sp.N(sp.sympify(expr).subs(at).doit(), DIGITS)
        return float(number) if number.is_real and number.is_finite else math.nan  # the root of a slip may be imaginary

    drawn = (point(args, f"{tag}/{i}") for i in range(200))
    both = ((at, with_names(at)) for at in drawn)
    points = list(itertools.islice((pair for pair in both if not math.isnan(value(formula, pair[1]))), 5))
    if not points:
        raise CheckFailed(f"({tag}) the formula has no real value at 200 points: {plain(formula)}")
    calls: set[str] = set()

    def call(at: Mapping[sp.Symbol, sp.Rational]) -> float:
        numbers = [int(at[s]) if s.is_integer else float(at[s]) for s in args]
        values = [
            n if s.is_integer or s in floats else torch.tensor(n, dtype=torch.float64) for s, n in zip(args, numbers, strict=True)
        ]
        with Origin([v for v in values if isinstance(v, torch.Tensor)]) as origin:
            seen = watch(lambda: code(*values), getattr(code, "__globals__", {}))
        calls.update(seen.of_the_package)
        if id(seen.answer) in origin.raw:
            raise CheckFailed(f"({tag}) the code computes a part of the formula itself; it is to ask the package for all of it")
        return float(seen.answer)

    computed = np.array([call(at) for at, _ in points])
    if not calls:
        raise CheckFailed(f"({tag}) the code does not call the package")

    def values(expr: Any) -> np.ndarray[Any, Any]:
        return np.array([value(expr, at) for _, at in points])

    def rejects(wrong: Any) -> bool:
        return relative_error(values(wrong), computed) > rtol

    claimed = values(formula)
    _compare(tag, claimed, computed, rtol)
    rejected = rejections(tag, (
        slips(formula, sorted({*args, *formula.free_symbols}, key=str)), rejects,
        lambda slip: np.allclose(values(slip), claimed, rtol=1e-14, atol=0),  # such as -0 for 0
    ), shown=formula.free_symbols)  # fmt: skip
    for wrong_name, expr in broken.items():
        if not rejects(expr):
            raise CheckFailed(f"({tag}) the check accepts the broken version {wrong_name!r}")
    _checked[tag] = lambda *, formula: _compare(tag, values(_expression("formula", formula)), computed, rtol)
    verdict = f"the code computes the formula to {rtol:.0e}"
    Check(tag, "defined", verdict, statement, rejected + len(broken), tuple(broken), None if name is None else sp.srepr(name),
          sp.srepr(formula), None, _premises(given), tuple(sorted(calls))).show()  # fmt: skip


def agree(
    tag: str,
    claim: Callable[[], Any],
    other: Callable[[], Any],
    *,
    rtol: float = 1e-10,
    broken: Mapping[str, Any] | None = None,
    statement: str | None = None,
) -> None:
    """Checks equation `tag` by two computations: they must agree, element by element.

    The verdict names what they have in common: the functions of the package and of the notebook that both call, and the values
    of the notebook that both read. An error in these could hide from the comparison.

    Args:
        tag, statement: as for `prove`.
        claim, other: functions without arguments that compute numbers, arrays or tensors of one shape.
        rtol: relative tolerance.
        broken: by name, versions of the claim that are wrong and must be rejected, as functions or numbers. Without any, the
            verdict counts none.

    Raises:
        CheckFailed: the two do not agree, or the check accepts a broken version.

    Example:
        >>> agree("1.2", lambda: math.sqrt(2) ** 2, lambda: 2.0)
        ✓ (1.2) two computations agree to 1e-10; they call no function and read no value
          in common
    """
    _check_common(tag, broken, statement, rtol=rtol)
    broken = broken or {}
    check_callable("claim", claim)
    check_callable("other", other)
    if claim is other:
        raise CheckFailed(f"({tag}) compares a computation with itself")
    first, second = (watch(f, getattr(f, "__globals__", {})) for f in (claim, other))
    against = _array(second.answer, "other")
    _compare(tag, first.answer, against, rtol)
    if not against.size or not against.any():
        raise CheckFailed(f"({tag}) compares nothing but zeros")
    for name, wrong in broken.items():
        found = _array(wrong() if callable(wrong) else wrong, f"broken[{name!r}]")
        if found.shape != against.shape:
            raise CheckFailed(f"({tag}) the broken version {name!r} has the shape {found.shape}, expected {against.shape}")
        if relative_error(found, against) <= rtol:
            raise CheckFailed(f"({tag}) the check accepts the broken version {name!r}")
    common = [n.removeprefix("td.") for n in sorted(first.functions & second.functions)] + sorted(first.values & second.values)
    _checked[tag] = lambda *, claim: _compare(tag, claim(), against, rtol)
    verdict = f"two computations agree to {rtol:.0e}; "
    verdict += f"both use {', '.join(common)}" if common else "they call no function and read no value in common"
    calls = tuple(sorted(first.of_the_package | second.of_the_package))
    Check(tag, "agreed", verdict, statement, len(broken), tuple(broken), calls=calls).show()


def measure(
    tag: str,
    low: Any,
    high: Any,
    *,
    by: float = 0.0,
    factor: float = 1.0,
    paired: bool = False,
    statement: str | None = None,
) -> None:
    """Checks the claim of equation `tag` that one measured quantity is below another, over several runs.

    It is a permutation test. The runs keep their results and exchange their names, so that there is no difference by
    construction; what was measured, beyond what is claimed, may be reached by at most one in a hundred of these experiments.

    Args:
        tag, statement: as for `prove`.
        low, high: the results of the runs; enough of them that chance alone can be told (7 pairs, or 5 and 5).
        by: the difference that is claimed, in the units of the results: high - low is larger.
        factor: or the ratio that is claimed, of positive results: high / low is larger, in the geometric mean.
        paired: whether run i of both sides had the same seed. Names are then exchanged within pairs only.

    Raises:
        CheckFailed: the effect is not as large as claimed, or chance alone shows it too often.

    Example:
        >>> measure("1.1", [0.8, 0.9, 1.0, 0.7, 0.9], [1.9, 2.0, 2.2, 2.1, 1.8], by=0.5)
        ✓ (1.1) measured: lower by more than 0.5 in 5 and 5 runs; of the experiments
          with exchanged names, at most 1 in 100 show that
    """
    _check_common(tag, statement=statement)
    check_flag("paired", paired)
    if check_number("by", by, -math.inf, math.inf) < 0 or check_number("factor", factor, 0, math.inf) < 1:
        raise ValueError(f"({tag}) by = {by}, factor = {factor}: expected at least 0 and 1, for the claim is that low is lower")
    if by and factor != 1:
        raise TypeError(f"({tag}) by = {by} and factor = {factor}: give one of them")
    a, b = (np.atleast_1d(_array(results, name)) for name, results in (("low", low), ("high", high)))
    if a.ndim != 1 or b.ndim != 1 or (paired and len(a) != len(b)):
        raise CheckFailed(f"({tag}) compares {a.shape} with {b.shape} results")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise CheckFailed(f"({tag}) compares results that are not finite")
    if factor != 1:
        if not ((a > 0).all() and (b > 0).all()):
            raise CheckFailed(f"({tag}) factor = {factor}: the results are not all above 0")
        a, b = np.log(a), np.log(b) - math.log(factor)
    chance, tried = _by_chance(b - by - a) if paired else _by_chance_of_two(a, b - by)
    if 1 / tried > LEVEL:
        raise CheckFailed(f"({tag}) has too few runs, {len(a)} and {len(b)}: no result could be told from chance")
    if len(set(a)) == 1 or len(set(b)) == 1:
        raise CheckFailed(f"({tag}) has runs that all gave the same: they are one run")
    effect = f"by a factor of more than {factor:g} " if factor != 1 else f"by more than {by:g} " if by else ""
    if not (b.mean() - a.mean() > by + 1e-12 * abs(b).max() and chance <= LEVEL):
        shown = f"{chance:.2g} of the experiments with exchanged names"
        raise DoesNotHold(tag, f"it is not lower {effect}or chance alone shows it: {shown}")
    runs = f"{len(a)} pairs of runs" if paired else f"{len(a)} and {len(b)} runs"
    by_chance = "of the experiments with exchanged names, at most 1 in 100 show that"
    Check(tag, "measured", f"measured: lower {effect}in {runs}; {by_chance}", statement).show()


def _by_chance(differences: np.ndarray[Any, Any]) -> tuple[float, int]:
    """The share of the ways to exchange names within pairs that show as large a mean difference, and how many ways there are."""
    if len(differences) <= 14:
        signs = np.array(list(itertools.product((1, -1), repeat=len(differences))))
    else:
        signs = np.random.default_rng(0).choice((1, -1), (9999, len(differences)))
        signs = np.vstack([np.ones((1, len(differences))), signs])
    return float((signs @ differences >= differences.sum() * (1 - 1e-12)).mean()), len(signs)


def _by_chance_of_two(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[float, int]:
    """The same for names that are exchanged among all runs."""
    everything, draw = np.concatenate([a, b]), random.Random(0)
    if math.comb(len(everything), len(a)) <= 20_000:
        chosen = list(itertools.combinations(range(len(everything)), len(a)))
    else:
        chosen = [tuple(range(len(a))), *(tuple(draw.sample(range(len(everything)), len(a))) for _ in range(9999))]
    sums = everything[np.array(chosen)].sum(1)
    return float((sums <= a.sum() + 1e-12 * abs(a).sum()).mean()), len(chosen)


def _sources(noise: sp.Symbol) -> set[sp.Symbol]:
    """The noises that one is made of, itself if of none."""
    return set().union(*map(_sources, _made_of[noise])) if _made_of.get(noise) else {noise}


def _premises(given: Mapping[sp.Symbol, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((sp.srepr(key), sp.srepr(sp.sympify(value))) for key, value in given.items())


def _prove_again(
    tag: str, *, lhs: Any, rhs: Any, given: Any, noise: Any, new: Any, induction: Any
) -> None:  # fmt: skip
    _claim(tag, lhs, rhs, given, noise, new, induction).prove()


def _arguments(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in ("lhs", "rhs", "given", "noise", "new", "induction")}


def _claim(
    tag: str, lhs: Any, rhs: Any, given: Mapping[sp.Symbol, Any] | None = None, noise: Sequence[sp.Symbol] = (),
    new: sp.Symbol | None = None, induction: sp.Symbol | None = None,
) -> Claim:  # fmt: skip
    """A claim whose parts were looked at."""
    _check_common(tag, given=given)
    _check_symbols("noise", noise)
    given = given or {}
    lhs, rhs = _expression("lhs", lhs), _expression("rhs", rhs)
    if any(sp.sympify(part).has(sp.Float) for part in (lhs, rhs, *given.values())):
        raise TypeError(f"({tag}) has a rounded number in it; write it as a sympy.Rational")
    if rhs.has(sp.Integral):
        raise TypeError(f"({tag}) has an integral in rhs, where every slip would have to be integrated; put it in lhs")
    if not all(isinstance(key, sp.Symbol) for key in given):
        raise TypeError(f"({tag}) given = {given} says what symbols stand for; a key of it is none")
    if new is not None and not isinstance(new, sp.Symbol):
        raise TypeError(f"({tag}) new = {new!r} is not a symbol, the noise that the right side introduces")
    bound = {s for e in (lhs + rhs).atoms(sp.Sum, sp.Product, sp.Integral) for s in e.variables}
    for key, value in given.items():
        if sp.sympify(value).free_symbols & bound:
            raise TypeError(f"({tag}) given[{plain(key)}] = {plain(value)} depends on what a sum or an integral runs over")
        if isinstance(value, N):
            if value.args[0] != key or {key} & (value.args[1].free_symbols | value.args[2].free_symbols):
                raise TypeError(f"({tag}) {plain(value)} is not the law of {plain(key)}")
            check_variance(meant(value.args[2], given))
    for limit in (lhs + rhs).atoms(sp.Limit):
        if not limit.args[1].is_positive and str(limit.args[3]) != "+-":
            raise TypeError(f"({tag}) {plain(limit)} is from one side; write it with '+-'")
    if strange := [s for s in noise if str(s).startswith("x_")]:
        raise TypeError(f"({tag}) {', '.join(map(plain, strange))} is a state, and no noise")
    if noise and new is None:
        raise TypeError(f"({tag}) has noise on the left: name the noise of the right side with new=")
    if induction is not None:
        if not (isinstance(induction, sp.Symbol) and induction.is_integer and induction.is_positive
                and induction in lhs.free_symbols | rhs.free_symbols):  # fmt: skip
            raise TypeError(f"({tag}) induction = {induction!r} is not a positive integer symbol of the two sides")
        if new is not None or any(isinstance(value, N) for value in given.values()):
            raise TypeError(f"({tag}) an induction is about values, not about laws: without noise, and without N in given")
    inside(meant(lhs, given)), inside(meant(rhs, given))  # what is no mean is named before anything else
    return Claim(tag, lhs, rhs, given, tuple(noise), new, induction)


def _check_common(tag: str, broken: object = None, statement: object = None, given: object = None, rtol: float = 1.0) -> None:
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


def _check_name(tag: str, name: sp.Expr | None, formula: sp.Expr, args: Sequence[sp.Symbol]) -> None:
    """What is defined is a name, on which its definition does not depend; or a density, of which the formula is the value."""
    if name is None:
        return
    if isinstance(name, N):
        Claim(tag, name.doit(), formula).prove() if name.doit() != formula else None
    elif not (
        name.is_Symbol or (name.is_Pow and name.base.is_Symbol and name.base.is_positive and name.exp == 2)
    ) or name.free_symbols & {*args, *formula.free_symbols}:
        raise CheckFailed(f"({tag}) {plain(name)} is not a name that the formula defines")


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


def _compare(tag: str, claim: Any, against: Any, rtol: float) -> None:
    """Raises where two computations do not agree."""
    a, b = _array(claim, "claim"), _array(against, "other")
    if a.shape != b.shape:
        raise CheckFailed(f"({tag}) compares the shapes {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise CheckFailed(f"({tag}) compares numbers that are not finite")
    error = relative_error(a, b)
    if not error <= rtol:
        raise DoesNotHold(tag, f"the two sides differ by {error:.3g} of their size, {rtol:g} was allowed")


def _array(value: Any, name: str) -> np.ndarray[Any, Any]:
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        if array.dtype.kind not in "fiuO":
            raise TypeError(f"numbers of dtype {array.dtype} are compared, expected real ones")
        return array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} = {value!r} is no array of numbers: {error}") from error


def relative_error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    """The largest |a - b| / |b|; 0 where both are 0, infinite where the shapes differ or a number is not finite."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(a == b, 0.0, np.abs(a - b) / np.abs(b)).max(initial=0.0))
