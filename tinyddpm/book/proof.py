"""What proves: whether SymPy shows that two sides of an equation are equal, and if not, where they differ."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import AppliedUndef

from tinyddpm.book.broken import Slip, slips
from tinyddpm.book.densities import KL, Density, N, inside, written_out

LETTERS = {
    r"\bar\alpha": "ᾱ", r"\bar\epsilon": "ε̄", r"\tilde\beta": "β̃", r"\tilde\mu": "μ̃", r"\hat\epsilon": "ε̂", r"\alpha": "α",
    r"\beta": "β", r"\epsilon": "ε", r"\sigma": "σ", r"\mu": "μ", r"\theta": "θ", r"\eta": "η", r"\mid": "|",
}  # fmt: skip
SCALES = (1, 4, sp.Rational(1, 40), 25, 1000)
DIGITS = 30  # of the numbers at which two expressions are told apart


class CheckFailed(AssertionError):
    """An equation's check did not hold, or could not have failed. The message shows the equation and the residual.

    Example:
        >>> x = sp.Symbol("x", real=True)
        >>> try:
        ...     Claim("1.1", (x + 1) ** 2, x**2 + 1).prove()
        ... except CheckFailed as error:
        ...     print(error)
        (1.1) does not hold: left − right = 2*x; it is -2.47 at x = -1.236
    """


class DoesNotHold(CheckFailed):
    """The two sides differ. `why` says where and by how much."""

    def __init__(self, tag: str, why: str) -> None:
        super().__init__(f"({tag}) does not hold: {why}")
        self.why = why


class NotProved(CheckFailed):
    """The two sides agree in numbers, but SymPy does not simplify their difference to zero."""


@dataclass(frozen=True)
class Claim:
    """That two sides are equal, and what their symbols stand for: see `prove` for each field."""

    tag: str
    lhs: sp.Expr
    rhs: sp.Expr
    given: Mapping[sp.Symbol, Any] = field(default_factory=dict)
    noise: Sequence[sp.Symbol] = ()
    new: sp.Symbol | None = None
    induction: sp.Symbol | None = None

    def prove(self) -> bool:
        """Proves it, or raises. True if there was nothing to prove, once it is written out what the symbols stand for."""
        if self.lhs == self.rhs:
            raise CheckFailed(f"({self.tag}) has the same on both sides: it proves nothing")
        self._tell_names_apart()
        if self.new is not None and (self.new in self.noise or self.lhs.has(self.new) or self.meaning(self.lhs).has(self.new)):
            raise DoesNotHold(self.tag, f"{plain(self.new)} is a noise of the left side already, and no new one")
        for a, b in zip(*self.sides, strict=True):
            prove_equal(self.tag, a, b)
        return self.new is None and self._only_names()

    @cached_property
    def sides(self) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
        """What is compared of the two sides: worked out once, for an integral takes seconds."""
        return self.compared(self.lhs), self.compared(self.rhs, claimed=True)

    def _only_names(self) -> bool:
        """Whether one side, with its names written out, is the other as it stands."""
        for side, other in ((self.lhs, self.rhs), (self.rhs, self.lhs)):
            written = (inside(meant(side, self.given)), self.meaning(side))
            if not other.has(KL) and inside(other) in written:
                return side.has(KL) or inside(side) not in written or written[0] != written[1]
        return False

    def _tell_names_apart(self) -> None:
        """Two symbols that stand for the same would make their difference 0, whatever the equation says of it."""
        values = {k: meant(k, self.given) for k, v in self.given.items() if not isinstance(v, N)}
        used = [k for k in values if k in meant_symbols(self.lhs, self.rhs, self.given)]
        for i, a in enumerate(used):
            for b in used[:i]:
                if values[a].free_symbols and values[a] == values[b]:
                    raise CheckFailed(f"({self.tag}) {plain(a)} and {plain(b)} stand for the same: {plain(values[a])}")

    def slips(self) -> int:
        """How many broken versions of it the proof rejects; raises if it accepts one, or if a symbol plays no part in it."""
        symbols = sorted((self.lhs.free_symbols | self.rhs.free_symbols) - {*self.noise, self.new}, key=str)
        # Each slip of an integral or of an open sum would take seconds.
        heavy = self.induction is None and self.lhs.has(sp.Integral, sp.Sum, sp.Product, sp.Limit)

        def versions(side: sp.Expr, claimed: bool) -> Versions:
            return (
                slips(side, symbols),
                lambda slip: not self.accepts(slip, claimed),
                lambda slip: self.accepts(slip, claimed, is_zero),  # what SymPy proves too is no slip, but the same claim
            )

        return rejections(self.tag, versions(self.rhs, True), *([] if heavy else [versions(self.lhs, False)]))

    def accepts(self, wrong: sp.Expr, claimed: bool = True, agree: Callable[[sp.Expr, sp.Expr], bool] | None = None) -> bool:
        """Whether the proof would accept another right side, or another left one: as numbers, or as `agree` says."""
        try:
            return all(map(agree or same_numbers, self.compared(wrong, claimed), self.sides[0 if claimed else 1]))
        except (CheckFailed, TypeError):  # not even of the form of the claim
            return False

    def meaning(self, side: sp.Expr) -> sp.Expr:
        """A side with what its names stand for, and nothing done to it."""
        if isinstance(self.given.get(side), N):
            return self.given[side]
        return written_out(inside(meant(side, self.given)), steps=self.induction is not None)

    def compared(self, side: sp.Expr, claimed: bool = False) -> tuple[sp.Expr, ...]:
        """What is compared of a side: its value; with noise, the mean and the deviation of its law; else what an induction asks."""
        side = self.meaning(side)
        if self.induction is not None:
            return growth(side, self.induction)
        if self.new is None:
            return (named(evaluate(side)),)
        if isinstance(side, N) and not claimed:  # the law that it is drawn from
            return named(evaluate(meant(side.args[1], self.given))), sp.sqrt(named(evaluate(meant(side.args[2], self.given))))
        noises = [self.new] if claimed else [*self.noise]
        coefficients = [c for c in (sp.expand(side).diff(e) for e in noises) if c != 0]
        if any(c.has(*self.noise, self.new) for c in coefficients) or (claimed and side.has(*self.noise)) or not coefficients:
            kind = "the new noise" if claimed else "independent noises"
            raise CheckFailed(f"({self.tag}) {plain(side)} is not a mean plus {kind}")
        std = coefficients[0] if claimed else sp.sqrt(sp.expand(sum(c**2 for c in coefficients)))
        return side.subs(dict.fromkeys([*self.noise, self.new], 0)), std


Versions = tuple[Iterable[Slip], Callable[[sp.Expr], bool], Callable[[sp.Expr], bool]]


def rejections(tag: str, *sides: Versions, shown: Iterable[sp.Symbol] = ()) -> int:
    """How many broken versions a check rejects: of each side its slips, what rejects one, and whether it says the same after all.

    Raises if another one is accepted; or if a symbol may be changed in any one place without being noticed, be it one of those
    that were changed or of those that are `shown`.
    """
    matter, rejected = dict.fromkeys(sorted(shown, key=str), False), 0
    for versions, rejects, says_the_same in sides:
        for symbol, slip in versions:
            wrong = rejects(slip)
            rejected += wrong
            if symbol is not None:
                matter[symbol] = matter.get(symbol, False) or wrong
            if not wrong and not says_the_same(slip):
                raise CheckFailed(f"({tag}) the check accepts a broken version of its claim: {plain(slip)}")
    if idle := [plain(symbol) for symbol, matters in matter.items() if not matters]:
        raise CheckFailed(f"({tag}) shows {', '.join(idle)}, on which its claim does not depend")
    return rejected


def meant(side: sp.Expr, given: Mapping[sp.Symbol, Any]) -> sp.Expr:
    """A side with its symbols replaced by what they stand for."""
    symbols = {k: sp.sympify(v) for k, v in given.items() if not isinstance(v, N)}
    for _ in symbols:  # a symbol may stand for an expression in other symbols that stand for something
        side = side.subs(symbols)
    if side.free_symbols & set(symbols):
        raise TypeError(f"given = {plain(sp.Dict(given))} is circular")
    return side


def meant_symbols(lhs: sp.Expr, rhs: sp.Expr, given: Mapping[sp.Symbol, Any]) -> set[sp.Symbol]:
    """The symbols of two sides, and of what these stand for."""
    found = lhs.free_symbols | rhs.free_symbols
    for _ in given:
        found |= {s for k in found & set(given) for s in sp.sympify(given[k]).free_symbols}
    return set(found)


def growth(side: sp.Expr, n: sp.Symbol) -> tuple[sp.Expr, ...]:
    """What an induction over `n` compares of a side: its values for 1 and for 2, and by how much it grows with n."""

    def unroll(kind: type[sp.Expr], function: sp.Expr, *limits: sp.Tuple) -> sp.Expr:
        i, low, high = limits[0]
        if len(limits) > 1 or sp.expand(high - high.subs(n, n - 1)) != 1:
            return kind(function, *limits)
        last, shorter = function.subs(i, high), kind(function, (i, low, high - 1))
        return shorter + last if kind is sp.Sum else shorter * last

    for part in side.atoms(sp.Sum, sp.Product):
        low, high = (sp.sympify(limit).subs(n, 1) for limit in part.limits[0][1:])
        if (low - high).is_number and low - high > 1:
            raise CheckFailed(f"{plain(part)} runs backwards for {n} = 1")
    later = side.subs(n, n + 1)
    for kind in (sp.Sum, sp.Product):
        later = later.replace(kind, lambda *args, kind=kind: unroll(kind, *args))
    grown = sp.expand(sp.expand_log(later) - sp.expand_log(side))
    if grown.has(sp.Sum, sp.Product):
        raise NotProved(f"by how much {plain(side)} grows with {n} is not known: SymPy leaves {plain(grown)}")
    return (*(named(side.subs(n, value).doit()) for value in (1, 2)), named(grown))


def named(expr: sp.Expr) -> sp.Expr:
    """A function of which nothing is known, such as a network's output or a density, is one symbol more."""

    def name(e: sp.Expr) -> sp.Symbol:
        text = str(e.func(*map(sp.expand, e.args)))
        return sp.Symbol(text, positive=True) if e.is_positive else sp.Symbol(text, real=True)

    return expr.replace(lambda e: isinstance(e, AppliedUndef | Density), name)


def evaluate(expr: sp.Expr) -> sp.Expr:
    """Evaluates integrals, sums and products and writes densities out. SymPy is told that their variances are positive."""
    for var in {n.args[2] for n in expr.atoms(N)}:  # in vain: it would prove what holds for no Gaussian
        check_variance(var)
    for part in expr.atoms(sp.Sum, sp.Product):
        if any((low - high).is_number and low - high > 1 for _, low, high in part.limits):
            raise CheckFailed(f"{plain(part)} runs backwards")
    if not expr.has(sp.Integral):
        return expr.doit()
    bound = {s for e in expr.atoms(sp.Integral, sp.Sum, sp.Product) for s in e.variables}
    names: dict[tuple[sp.Expr, str], sp.Dummy] = {}

    def name(part: sp.Expr, assumption: str) -> sp.Expr:
        """A plain symbol for what no integral or sum runs over: the integral is then the general one, and quick."""
        if part.free_symbols & bound or (part.is_Symbol and getattr(part, f"is_{assumption}")) or part.is_Number:
            return part
        return names.setdefault((part, assumption), sp.Dummy(**{assumption: True}))

    renamed = expr.replace(N, lambda x, mean, var: N(x, name(mean, "real"), name(var, "positive")))
    return sp.expand_log(sp.simplify(renamed.doit())).subs({dummy: part for (part, _), dummy in names.items()})


def check_variance(var: sp.Expr) -> None:
    """Raises for what is not positive anywhere; what is divided by 0 is found where it is evaluated."""
    if var == 0:
        return
    values = [sp.N(var.subs(point(var.free_symbols, str(i)))) for i in range(20)]
    if not any(value.is_real and value > 0 for value in values):
        raise CheckFailed(f"{plain(var)} is not positive, so it is no variance")


def prove_equal(tag: str, lhs: sp.Expr, rhs: sp.Expr) -> None:
    """Shows lhs = rhs, or raises: `DoesNotHold` with a point where they differ, or `NotProved`."""
    if is_zero(lhs, rhs):
        return
    if any(side.has(sp.nan, sp.zoo) for side in (lhs, rhs)):
        raise DoesNotHold(tag, "it has no value, for something is divided by zero")
    residual = sp.simplify(lhs - rhs)
    shown = f"left − right = {plain(residual)}" if len(str(residual)) < 45 else "left − right is not 0"
    symbols = symbols_of(lhs, rhs)
    for i in range(100):  # a point where they differ clearly; they may meet at some
        at = point(symbols, f"{tag}/{i}")
        difference, *sizes = (sp.N(part.subs(at), DIGITS) for part in (lhs - rhs, lhs, rhs))
        numbers = all(value.is_number and value.is_finite for value in (difference, *sizes))
        if numbers and abs(difference) > 1e-12 * max(map(abs, sizes)):
            where = ", ".join(f"{plain(s)} = {float(v):g}" for s, v in at.items() if s in residual.free_symbols)
            raise DoesNotHold(tag, shown + (f"; it is {sp.N(difference, 3)} at {where}" if where else ""))
    if same_numbers(lhs, rhs):
        raise NotProved(f"({tag}) is not proved: left and right agree in numbers, but SymPy leaves {plain(residual)}")
    raise NotProved(f"({tag}) is not proved: SymPy leaves {plain(residual)}, and cannot evaluate it")


def prove_at_most(tag: str, low: sp.Expr, high: sp.Expr, x: sp.Symbol, start: sp.Expr, end: sp.Expr) -> None:
    """Shows low <= high for start <= x <= end: where the difference is smallest, at an end or where its slope is 0, it is >= 0."""
    gap = sp.simplify(high - low)
    if not (start < end) == True:  # noqa: E712, for SymPy's own truth
        raise NotProved(f"({tag}) is not proved: {plain(start)} to {plain(end)} is no range")
    if poles := sp.singularities(gap, x, sp.Interval.open(start, end)):
        raise NotProved(f"({tag}) is not proved: the two sides have no value at {plain(poles)}")
    stationary = sp.solveset(sp.simplify(gap.diff(x)), x, sp.Interval(start, end))
    if not isinstance(stationary, sp.FiniteSet | sp.EmptySet.__class__):
        raise NotProved(f"({tag}) is not proved: where the slope of {plain(gap)} is 0, SymPy cannot say")
    ends = (sp.limit(gap, x, start, "+"), sp.limit(gap, x, end, "-"))
    for where, value in [*((s, sp.simplify(gap.subs(x, s))) for s in stationary), *zip((start, end), ends, strict=True)]:
        if value.is_extended_negative or (value.is_extended_negative is None and sp.N(value) < 0):
            raise DoesNotHold(tag, f"right − left is {plain(sp.N(value, 3))} at {plain(x)} = {plain(where)}")
        if not value.is_extended_nonnegative:
            raise NotProved(f"({tag}) is not proved: SymPy cannot say whether {plain(value)} is at least 0")


def plain(expr: Any) -> str:
    """An expression as text without the LaTeX of its symbols."""
    text = str(expr)
    for latex, letter in LETTERS.items():
        text = text.replace(latex, letter)
    return text


def is_zero(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether SymPy shows lhs = rhs, by their difference or, for products of densities, by their quotient."""
    ways: tuple[Callable[[], bool], ...] = (
        lambda: bool(sp.expand(lhs - rhs) == 0),
        lambda: bool(sp.simplify(_tidy(lhs) - _tidy(rhs)) == 0),
        lambda: bool(sp.simplify(_tidy(sp.powsimp(_tidy(lhs) / _tidy(rhs)))) == 1),
        lambda: bool(_squared(lhs / rhs) == 1) and _same_sign(lhs, rhs),  # no roots are left in the square
        lambda: bool(sp.cancel(_split(lhs) - _split(rhs)) == 0),
    )
    return same_numbers(lhs, rhs) and any(way() for way in ways)


def _same_sign(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether two sides whose squares are equal agree in sign too, near and far, wherever they are real."""
    symbols = sorted(symbols_of(lhs, rhs), key=str)
    both = sp.lambdify(symbols, [lhs, rhs], "mpmath")
    with mpmath.workdps(DIGITS):
        for i in range(150):
            draw = random.Random(f"sign/{i}")  # each symbol at a scale of its own
            near = point(symbols, f"sign/{i}")
            at = {s: v * (3 if s.is_integer else draw.choice(SCALES)) if i % 3 else v for s, v in near.items()}
            try:
                a, b = (mpmath.mpmathify(value) for value in both(*(mpmath.mpf(at[s].p) / at[s].q for s in symbols)))
            except (ZeroDivisionError, OverflowError):
                continue
            known = all(mpmath.im(value) == 0 and mpmath.isfinite(value) for value in (a, b))
            if known and abs(a - b) > 1e-12 * abs(a):
                return False
    return True


def symbols_of(*sides: sp.Expr) -> set[sp.Symbol]:
    """The free symbols of some expressions."""
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


def _split(expr: sp.Expr) -> sp.Expr:
    """b^(n + k r), for whole numbers n and k, as b^n (b^r)^k with one symbol for b^r: SymPy joins such powers again by itself."""

    def split(power: sp.Expr) -> sp.Expr:
        n, rest = power.exp.as_coeff_Add()
        k, r = rest.as_coeff_Mul()
        if not (n.is_Integer and k.is_Integer):
            return power
        base = sp.expand(power.base)
        return base**n * sp.Symbol(f"{base}^{r}") ** k

    return expr.replace(lambda e: e.is_Pow and e.exp.free_symbols, split)


def same_numbers(lhs: sp.Expr, rhs: sp.Expr) -> bool:
    """Whether lhs and rhs agree to 15 digits at three points: a quick no, never a proof."""
    for seed in "012":
        at = point(symbols_of(lhs, rhs), seed)
        a, b = (sp.N(side.subs(at), DIGITS) for side in (lhs, rhs))
        if not (a.is_number and b.is_number and a.is_finite and b.is_finite):
            return False
        size = max(abs(a), abs(b))
        if not (size < 1e-60 or bool(abs(a - b) <= 1e-15 * size)):
            return False
    return True


def point(symbols: Iterable[sp.Symbol], seed: str) -> dict[sp.Symbol, sp.Rational]:
    """A value for each symbol, the same in every run; no two are equal."""
    draw = random.Random(seed)
    thousandths, counts = iter(draw.sample(range(150, 850), 400)), iter(draw.sample(range(2, 7), 5))
    values = {}
    for s in sorted(symbols, key=str):
        if s.is_integer:
            values[s] = sp.Integer(next(counts))
        else:
            value = sp.Rational(next(thousandths), 1000)
            values[s] = value if s.is_positive else 4 * value - 2
    return values
