"""The densities of the two chains as symbols, with all that is known of them, so that the lines of the bound can be proved.

States are named by their times: `q(t - 1, t, 0)` is the density of x_{t-1} when x_t and x_0 are known. What a density means
follows from its arguments alone; nothing that a chapter writes can give it another meaning.
"""

from __future__ import annotations

from typing import Any

import sympy as sp
from sympy.core.function import AppliedUndef

__all__ = ["KL", "Mean", "N", "States", "p", "p_theta", "q"]

ANY = sp.Symbol("t", integer=True, positive=True)  # the step that a product over a whole path runs over


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


class States(sp.Function):  # type: ignore[misc]
    """A path of states: States(1, T) is x_1, ..., x_T.

    Example:
        >>> q(States(1, 3), 0)
        q(x_{1:3} | x_0)
    """

    nargs = 2

    def _sympystr(self, printer: Any) -> str:
        return ":".join(map(printer.doprint, self.args))


class Density(sp.Function):  # type: ignore[misc]
    """The density of the state at the first time when the states at the other times are known."""

    is_positive = True  # what is not possible at all plays no part in a logarithm's mean

    def __new__(cls, *times: Any, **options: Any) -> Any:
        """Refuses a state that is known already: it has no density."""
        if times and times[0] in times[1:]:
            raise TypeError(f"{cls.__name__}{times} is no density: that state is known")
        return super().__new__(cls, *times, **options)

    def _sympystr(self, printer: Any) -> str:
        texts = [printer.doprint(time).replace(" ", "") for time in self.args]
        of, *given = [f"x_{time}" if len(time) == 1 else f"x_{{{time}}}" for time in texts]
        name = {"p_theta": r"p_\theta"}.get(type(self).__name__, type(self).__name__)
        return f"{name}({of}" + (f" | {', '.join(given)})" if given else ")")


class q(Density):
    """A density of the forward process: `q(t, t - 1)` is that of x_t when x_{t-1} is known, a step.

    Example:
        >>> q(2, 1, 0)
        q(x_2 | x_1, x_0)
    """


class p(Density):
    """The density from which the learned chain starts: `p(T)` is that of x_T.

    Example:
        >>> p(1)
        p(x_1)
    """


class p_theta(Density):
    r"""A density of the learned chain: `p_theta(t - 1, t)` is a step of it.

    Example:
        >>> print(p_theta(0, 1))
        p_\theta(x_0 | x_1)
    """


class KL(sp.Function):  # type: ignore[misc]
    """The Kullback–Leibler divergence of two densities, KL(q, p): the mean of log(q / p) over draws from the first.

    Both have to be densities of the same states, and the second may know no more than the first.

    Example:
        >>> KL(q(2, 0), p(2))
        D(q(x_2 | x_0) ‖ p(x_2))
        >>> KL(q(2, 0), p(3))
        Traceback (most recent call last):
        TypeError: D(q(x_2 | x_0) ‖ p(x_3)) compares densities of different states
    """

    nargs = 2

    def __new__(cls, first: Any, second: Any, **options: Any) -> Any:
        """Refuses what is no divergence."""
        shown = f"D({first} ‖ {second})"
        if not (isinstance(first, Density) and isinstance(second, Density)):
            raise TypeError(f"{shown} needs two densities")
        if first.args[0] != second.args[0]:
            raise TypeError(f"{shown} compares densities of different states")
        if not {*second.args[1:]} <= {*first.args[1:]}:
            raise TypeError(f"{shown} has a second density that knows more than the first")
        return super().__new__(cls, first, second, **options)

    def _sympystr(self, printer: Any) -> str:
        return "D({} ‖ {})".format(*map(printer.doprint, self.args))


class Mean(sp.Function):  # type: ignore[misc]
    """The mean E_q of what stands in it, over the path x_1, ..., x_T that the forward process takes from x_0.

    Example:
        >>> Mean(sp.log(q(1, 0)))
        E_q[log(q(x_1 | x_0))]
    """

    nargs = 1

    def _sympystr(self, printer: Any) -> str:
        return f"E_q[{printer.doprint(self.args[0])}]"


def inside(side: sp.Expr) -> sp.Expr:
    """What a side comes to inside the mean E_q: c + E_q[f] is the mean of c + f, if c does not depend on the path.

    Two sides whose insides are equal are equal. A divergence from a density of q given x_0 is, on average, the log of the ratio:
    the mean can be taken over the divergence's state first. From a density of p it is not, for p is not what E_q draws from, and
    neither from one that does not know x_0, as E_q does.

    Raises:
        TypeError: a side is not of this form.
    """
    whole = [d for d in side.atoms(KL) if isinstance(d.args[0], q) and is_path(*d.args[0].args)]
    side = side.xreplace({d: Mean(sp.log(d.args[0] / d.args[1])) for d in whole})  # a mean over the whole path, by definition
    terms = [term.as_coeff_Mul() for term in sp.Add.make_args(side)]
    means = [(factor, mean) for factor, mean in terms if isinstance(mean, Mean)]
    if not side.has(Mean, KL):
        return side
    beside = side - sum(factor * mean for factor, mean in means)
    constant = beside.xreplace({p_theta(0): sp.Integer(1)})
    if constant.has(Mean, KL, Density) or constant.free_symbols or constant.atoms(AppliedUndef):
        raise TypeError(f"{side} is not a mean E_q[...] beside what does not depend on the path")
    side = beside + sum(factor * mean.args[0] for factor, mean in means)
    for divergence in side.atoms(KL):
        if not isinstance(divergence.args[0], q):
            raise TypeError(f"{divergence} is a mean over draws from {divergence.args[0]}, and E_q draws from q")
        if 0 not in divergence.args[0].args[1:]:
            raise TypeError(f"{divergence} is a mean over draws that do not know x_0, and E_q draws from x_0 on")
    return side.replace(KL, lambda first, second: sp.log(first / second))


def is_path(of: sp.Expr, *given: sp.Expr) -> bool:
    """Whether these are the arguments of the density of x_1, ..., x_T given x_0."""
    return isinstance(of, States) and of.args[0] == 1 and given == (0,)


def written_out(side: sp.Expr, steps: bool) -> sp.Expr:
    """The densities of a side by those that they are made of: Bayes' rule and, if asked for, paths as products of `steps`."""

    def of_q(*args: sp.Expr) -> sp.Expr:
        if steps and is_path(*args):
            return sp.Product(q(ANY, ANY - 1), (ANY, *args[0].args))  # Eq. (1.3)
        if len(args) == 3 and args[1] - args[0] == 1 and args[2] == 0:
            before, now, _ = args
            return q(now, before) * q(before, 0) / q(now, 0)  # Eq. (2.7), with the Markov property
        return q(*args)

    def of_p(*args: sp.Expr) -> sp.Expr:
        if is_path(*args):
            return of_p(States(0, args[0].args[1])) / p_theta(0)  # a conditional density
        if steps and isinstance(args[0], States) and args[0].args[0] == 0 and not args[1:]:
            return p(args[0].args[1]) * sp.Product(p_theta(ANY - 1, ANY), (ANY, 1, args[0].args[1]))  # Eq. (2.4)
        return p_theta(*args)

    for part in side.atoms(sp.Sum, sp.Product):
        index, low, _ = part.limits[0]
        for density in part.function.atoms(Density):
            density.subs(index, low)  # refuses, by itself, a density of x_0 when x_0 is known
    return side.replace(q, of_q).replace(p_theta, of_p)
