"""Small worlds in which every symbol of the book has a value, so that a formula can be evaluated as it stands on the page.

Each quantity is an array with one axis for each random variable, of length 1 where it does not depend on it. A mean, a
divergence and an integral are then sums over axes. A density that a chapter leaves open is a random table, and a network is
any function: what holds for these holds by its form.
"""

import contextlib
import math
import random
import re
from functools import cache
from itertools import pairwise
from typing import ClassVar

import numpy as np
import sympy as sp
import torch
from latex import N, Opaque, Reader, chain

import tinyddpm as td
from tinyddpm.engine import learning_rate

NAME = re.compile(r"((?:\\(?:bar|tilde|hat))?(?:\\[A-Za-z]+|[A-Za-z]))(?:([_^])\{(.+)\})?'*")
ROUNDED = re.compile(r"(\d+(?:\.(\d+))?)(?: \\cdot 10 \^ \{ (-? ?\d+) \})?")
FUNCTIONS = {sp.log: np.log, sp.exp: np.exp, sp.cos: np.cos, sp.Min: np.minimum}


@cache
def read(text: str) -> sp.Expr:
    return Reader(text).whole()


TINY = 1e-300  # so that each density has a logarithm


def normal(x, mean, var):
    return np.maximum(np.exp(-((x - mean) ** 2) / (2 * var)) / np.sqrt(2 * np.pi * var), TINY)


def holds(formula: str, world: "World", given=()) -> bool:
    """Whether the sides of a formula are related as it says, at every time at which all of them have a meaning.

    Before that, names are replaced by what is given for them, one after the other.

    A ValueError says that it cannot be read, or means nothing in this world.
    """
    texts, relations = chain(formula)
    exprs = [read(text) for text in texts]
    for name, meaning in given:
        exprs = [e.xreplace({name: meaning}) for e in exprs]
    met, reason = [], "there is nothing to compare"
    for t in world.times:
        try:
            with np.errstate(all="ignore"):
                values = [world.evaluate(e, {"t": t, **world.fixed}) for e in exprs]
        except OutOfRange as error:
            reason = str(error)
            continue
        except (TypeError, KeyError, IndexError, OverflowError) as error:
            raise ValueError(f"{formula} has no meaning") from error
        if not all(np.isfinite(value).all() for value in values):
            reason = "a side is not a number"
            continue
        met += [related(*pair) for pair in zip(values, relations, values[1:], texts[1:], [world.rtol] * len(values), strict=False)]
    if not met:
        raise ValueError(reason)
    return all(met)


def equal(a: sp.Expr, b: sp.Expr, world: "World") -> bool:
    """Whether two expressions have the same value, at every time at which both have a meaning."""
    met = []
    for t in world.times:
        with contextlib.suppress(OutOfRange):
            values = [np.asarray(world.evaluate(e, {"t": t, **world.fixed}), float) for e in (a, b)]
            met.append(np.isfinite(values).all() and np.allclose(*values, rtol=world.rtol, atol=world.rtol))
    return bool(met) and all(met)


def related(a, relation: str, b, text: str, rtol: float) -> bool:
    a, b = np.broadcast_arrays(np.asarray(a, float), np.asarray(b, float))
    number = ROUNDED.fullmatch(text)
    if relation == "=" and (a.ndim or not number or "." not in text):
        return np.allclose(a, b, rtol=rtol, atol=rtol)
    if relation in ("=", r"\approx") and number:  # as many digits as are written
        return bool(np.all(abs(a - b) <= 0.5001 * 10.0 ** (int((number[3] or "0").replace(" ", "")) - len(number[2] or ""))))
    if relation not in ("<", ">", r"\le", r"\ge"):
        raise ValueError(f"nothing is evaluated on the two sides of {relation}")
    low, high = (a, b) if relation in ("<", r"\le") else (b, a)
    return bool(np.all(low < high if relation in "<>" else low <= high + rtol))


class OutOfRange(ValueError):
    """Something has no meaning at this time, such as x_{t-2} at t = 1."""


class World:
    """Evaluates what is common to all: arithmetic, sums over an index, Gaussian densities."""

    times = (1,)
    fixed: ClassVar[dict] = {}
    rtol = 1e-8

    def evaluate(self, e, env):
        if isinstance(e, sp.Symbol):
            return env[e.name] if e.name in env else self.value(e.name, env)
        if isinstance(e, Opaque) and str(e.args[0]) == "nabla":
            return self.slope(e.args[1][0], "x_{t}", env)
        if isinstance(e, Opaque):
            return self.named(str(e.args[0]), e.args[1:], env)
        if isinstance(e, sp.Sum | sp.Product):
            body, (index, low, high) = e.args
            low, high = self.whole(low, env), self.whole(high, env)
            terms = [self.evaluate(body, env | {index.name: i}) for i in range(low, high + 1)]
            return sum(terms, 0.0) if isinstance(e, sp.Sum) else math.prod(terms, start=1.0)
        if isinstance(e, sp.Integral):
            return self.integral(e.args[0], *e.args[1], env)
        if isinstance(e, sp.Limit):
            return self.limit(*e.args[:3], env)
        if isinstance(e, sp.Derivative):
            return self.slope(e.args[0], e.args[1][0].name, env)
        if e.is_number and not e.has(Opaque, N):
            return float(e)
        values = [self.evaluate(arg, env) for arg in e.args]
        if isinstance(e, sp.Add):
            return sum(values)
        if isinstance(e, sp.Mul):
            return math.prod(values)
        if isinstance(e, sp.Pow):
            return np.power(np.asarray(values[0], float), values[1])
        if isinstance(e, N):
            return normal(*values)
        if e.func in FUNCTIONS:
            return FUNCTIONS[e.func](*values)
        raise ValueError(f"{e} is not evaluated")

    def split(self, name, env):
        """x_{t-1} as x and a number; without an index as x and None."""
        found = NAME.fullmatch(name)
        if not found:
            raise ValueError(f"{name} is not evaluated")
        base, _, index = found.groups()
        return base, None if index is None else self.index(index, env)

    def index(self, text, env):
        if re.search(r"\\(theta|mathrm)|:", text):
            return text
        try:
            return self.whole(read(text.strip("()")), env)
        except (TypeError, KeyError) as error:
            raise ValueError(f"{text} is not an index") from error

    def whole(self, e, env):
        """An expression that is an index or a limit of a sum."""
        found = self.evaluate(e, env)
        if found != int(found):
            raise ValueError(f"{e} is not a whole number")
        return int(found)

    def value(self, name, env):
        raise ValueError(f"{name} has no value here")

    def named(self, name, groups, env):
        raise ValueError(f"{name} has no value here")

    def integral(self, body, variable, low, high, env):
        raise ValueError("an integral is not evaluated here")

    def slope(self, body, name, env):
        raise ValueError("nothing is differentiated here")

    def limit(self, body, variable, point, env):
        """From above: the polynomial through the values at six points near it, continued."""
        near = 5e-5 * np.arange(1, 7)
        values = self.evaluate(body, env | {variable.name: self.evaluate(point, env) + near})
        weights = [math.prod(b / (b - a) for b in near if b != a) for a in near]
        return float(np.sum(weights * values))


# ---- densities that are random tables ----


class Paths(World):
    """A chain of T + 1 states: `q` and `p` are arrays of what the forward process and the learned chain give to each path.

    What a density means follows from what is named in it: it is a sum over all the other states, divided by another such sum.
    """

    def __init__(self, q, p, values, widths):
        self.q, self.p, self.values, self.widths = q, p, values, widths
        self.axes, self.T = range(q.ndim), q.ndim - 1
        self.fixed = {"T": self.T}
        self.times = range(1, self.T + 1)

    @classmethod
    def random(cls, T, seed, sizes=(3, 2, 4, 2)):
        """Markov chains in both directions with random steps."""
        rng = np.random.default_rng(seed)
        sizes = sizes[: T + 1]

        def table(*shape):
            weights = rng.uniform(0.2, 1, shape)
            return weights / weights.sum(-1, keepdims=True)

        def chained(order):
            joint = table(sizes[order[0]]).reshape([-1 if n == order[0] else 1 for n in range(T + 1)])
            for known, drawn in pairwise(order):
                step = table(sizes[known], sizes[drawn])
                step = step if known < drawn else step.T
                joint = joint * step.reshape([sizes[n] if n in (known, drawn) else 1 for n in range(T + 1)])
            return joint

        forward, back = range(T + 1), range(T, -1, -1)
        values = [rng.normal(size=size) for size in sizes]
        return cls(chained(forward), chained(back), values, [np.ones(size) for size in sizes])

    def tight(self):
        """The same forward process, and a chain that walks back just as it came, to other data: there a bound is an equality."""
        q_0 = self.over(self.q, range(1, self.T + 1))
        p_0 = self.over(self.p, range(1, self.T + 1))
        return Paths(self.q, self.q / q_0 * p_0, self.values, self.widths)

    def over(self, f, axes):
        """The sum of f over some states, the weights of an integral included."""
        for axis in axes:
            f = np.asarray(f, float)
            if not f.ndim:
                f = f.reshape([1] * len(self.axes))
            f = (f * self.along(self.widths[axis], axis)).sum(axis, keepdims=True)
        return f

    def along(self, values, axis):
        return np.asarray(values).reshape([-1 if n == axis else 1 for n in self.axes])

    def states(self, args, env):
        """The numbers of the states in x_{t-1}, x_0 or in x_{1:T}."""
        numbers = []
        for arg in args:
            found = re.fullmatch(r"x_\{(.+)\}", str(arg))
            if not found:
                raise ValueError(f"{arg} is not a state")
            ends = [self.index(end, env) for end in found[1].split(":")]
            numbers += range(ends[0], ends[-1] + 1)
        if not numbers or not all(0 <= n <= self.T for n in numbers):
            raise OutOfRange(f"{args} is not a state")
        if len(set(numbers)) < len(numbers):
            raise OutOfRange(f"a state twice in {args}")
        return numbers

    def density(self, e, env):
        """The array of a density, and the states that it is a density of."""
        if not isinstance(e, Opaque) or str(e.args[0]) not in ("q", "p", r"p_{\theta}"):
            raise ValueError(f"{e} is not a density")
        groups = [self.states(group, env) for group in e.args[1:]]
        of, given = groups[0], [n for group in groups[1:] for n in group]
        if set(of) & set(given):
            raise OutOfRange(f"a state is drawn and known in {e}")
        if str(e.args[0]) == "p" and (of, given) != ([self.T], []):
            raise ValueError(f"{e}: only the density of the last state is not learned")
        return self.share(self.q if str(e.args[0]) == "q" else self.p, of, given), of

    def share(self, joint, of, given):
        rest = [n for n in self.axes if n not in (*of, *given)]
        both = self.over(joint, rest)
        return both / self.over(both, of)

    def named(self, name, groups, env):
        if name in ("q", "p", r"p_{\theta}"):
            return self.density(Opaque(sp.Symbol(name), *groups), env)[0]
        if name.startswith("D_"):
            (first,), (second,) = groups
            a, of = self.density(first, env)
            if isinstance(second, Opaque) and str(second.args[0]) == "N":
                (n,) = of
                b = normal(self.along(self.values[n], n), *(self.evaluate(arg, env) for arg in second.args[1]))
            else:
                b, other = self.density(second, env)
                if set(of) != set(other):
                    raise ValueError(f"{first} and {second} are densities of different things")
            return self.over(a * np.log(a / b), of)
        if name == "E_q":  # over the path that starts at x_0
            path = list(range(1, self.T + 1))
            return self.over(self.share(self.q, path, [0]) * self.evaluate(groups[0][0], env), path)
        if name == "E":
            over, (inner,), given = groups
            if (over and given) or len(over) > 1:
                raise ValueError("a mean of which it is not clear what is drawn")
            if over:
                law, of = self.density(over[0], env)
            else:
                given = self.states(given, env)
                of = [n for n in self.axes if n not in given]
                law = self.share(self.q, of, given)
            mean = self.over(law * self.evaluate(inner, env), of)
            if over and not given and any(mean.shape[n] > 1 for n in self.axes if n not in of):
                raise ValueError("what is left depends on a state that no mean is taken over")
            return mean
        raise ValueError(f"{name} has no value here")

    def integral(self, body, variable, low, high, env):
        if (low, high) != (-sp.oo, sp.oo):
            raise ValueError("an integral over a part of the states")
        return self.over(self.evaluate(body, env), self.states([variable], env))

    def value(self, name, env):
        """A state itself, or one of the names for the parts of the bound, computed from the tables alone."""
        base, n = self.split(name, env)
        if base == "x":
            (n,) = self.states([sp.Symbol(name)], env)
            return self.along(self.values[n], n)
        if base == "L":
            last, steps, first = self.terms()
            if n == self.T:
                return last
            if n == 0:
                return first
            if n in steps:
                return steps[n]
            if n == r"\mathrm{VLB}":
                return (self.q * np.log(self.q / self.over(self.q, range(1, self.T + 1)) / self.p)).sum()
            raise OutOfRange(f"there is no L_{n}")
        raise ValueError(f"{name} has no value here")

    def terms(self):
        """L_T, the L_{t-1} by their index, and L_0, by sums that are written out."""
        q, p, T = self.q, self.p, self.T

        def keep(joint, *states):
            return joint.sum(tuple(n for n in range(T + 1) if n not in states), keepdims=True)

        last = keep(q, 0, T) / keep(q, 0)
        last = (last * np.log(last / keep(p, T))).sum(T, keepdims=True)
        steps = {}
        for t in range(2, T + 1):
            true, learned = keep(q, 0, t - 1, t) / keep(q, 0, t), keep(p, t - 1, t) / keep(p, t)
            steps[t - 1] = (true * np.log(true / learned)).sum(t - 1, keepdims=True)
        return last, steps, -np.log(keep(p, 0, 1) / keep(p, 1))


class Told(Paths):
    """Paths of data that have a class c, the last axis: the forward process does not ask for it, the learned chain does."""

    def __init__(self, T, seed):
        rng = np.random.default_rng(seed)
        forward = Paths.random(T, seed).q
        c_of_x0 = rng.dirichlet([2] * 3, len(forward)).reshape(len(forward), *[1] * T, 3)
        learned = np.stack([Paths.random(T, seed + k).p for k in (1, 2, 3)], axis=-1) * rng.dirichlet([2] * 3)
        values = [rng.normal(size=size) for size in (*forward.shape, 3)]
        super().__init__(forward[..., None] * c_of_x0, learned, values, [np.ones(len(v)) for v in values])
        self.T = T
        self.fixed, self.times = {"T": T}, range(1, T + 1)

    def states(self, args, env):
        names = [str(arg) for arg in args]
        numbers = super().states([arg for arg in args if str(arg) != "c"], env) if names != ["c"] else []
        return [*numbers, self.T + 1] if "c" in names else numbers

    def value(self, name, env):
        base, _ = self.split(name, env)
        if base != "x":
            raise ValueError(f"{name} has no value here")
        return super().value(name, env)


class Codes(Paths):
    """A data point x and its code z, as in a VAE: there every p is the model's."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        q, p = (joint / joint.sum() for joint in rng.uniform(0.2, 1, (2, 4, 3)))
        super().__init__(q, p, [rng.normal(size=4), rng.normal(size=3)], [np.ones(4), np.ones(3)])

    def states(self, args, env):
        numbers = [{"x": 0, "z": 1}.get(str(arg)) for arg in args]
        if None in numbers or len(set(numbers)) < len(numbers):
            raise ValueError(f"{args} is neither a data point nor a code")
        return numbers

    def density(self, e, env):
        if isinstance(e, Opaque) and str(e.args[0]) == "p":
            e = Opaque(sp.Symbol(r"p_{\theta}"), *e.args[1:])
        elif not isinstance(e, Opaque) or str(e.args[0]) != "q" or len(e.args) < 3:
            raise ValueError(f"{e} has no value here")  # the encoder says nothing of x
        return super().density(e, env)

    def value(self, name, env):
        raise ValueError(f"{name} has no value here")


class Gaussians(Paths):
    """Three Gaussian steps from a data point with three values; a state after it has a fine grid. There alpha_t is a number."""

    rtol = 1e-6

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.alpha = np.array([1.0, *rng.uniform(0.5, 0.8, 3)])
        self.numbers = {"m": rng.normal(), "s": rng.uniform(0.6, 1.2)}
        self.axes, self.T, width = range(4), 3, 0.3
        grids = [np.arange(-end, end, width) for end in (9.5, 8.5, 6.5)]  # wide enough for what may have led to the next
        self.values = [rng.uniform(-1, 1, 3), *grids]
        self.widths = [np.ones(3), *(np.full(len(grid), width) for grid in grids)]
        x = [self.along(values, n) for n, values in enumerate(self.values)]
        q, p = self.along(rng.dirichlet([2, 2, 2]), 0), normal(x[3], 0, 1)
        for t in (1, 2, 3):
            q = q * normal(x[t], np.sqrt(self.alpha[t]) * x[t - 1], 1 - self.alpha[t])
            step = normal(x[t - 1], 0.7 * x[t], 0.5)
            p = p * (step if t > 1 else step / step.sum(0, keepdims=True))
        q, p = (np.maximum(joint, 1e-250) for joint in (q, p))  # so that each density has a logarithm
        super().__init__(q, p, self.values, self.widths)

    def value(self, name, env):
        base, n = self.split(name, env)
        if base in self.numbers and n is None:
            return self.numbers[base]
        if base in (r"\alpha", r"\beta", r"\bar\alpha") and n is not None:
            return rate(self.alpha, base, n)
        return super().value(name, env)


def rate(alpha, base, n):
    if not isinstance(n, int) or not 0 <= n < len(alpha):
        raise OutOfRange(f"{base} has no index {n}")
    return {r"\alpha": alpha[n], r"\beta": 1 - alpha[n], r"\bar\alpha": np.prod(alpha[: n + 1])}[base]


# ---- numbers: data points, noises and a network ----


def network(x, t):
    """Any function would do."""
    wave = torch.sin(1.3 * x + t) if isinstance(x, torch.Tensor) else np.sin(1.3 * x + t)
    return wave + 0.2 * x - 0.1 * t


def on_tensors(x, t):
    return network(x, t.double().reshape(-1, *[1] * (x.ndim - 1)))


class Numbers(World):
    """Rates of a schedule, a network that is an arbitrary function, and names with given values."""

    def __init__(self, alpha, **fixed):
        self.alpha = np.array([1.0, *alpha])
        self.T = len(alpha)
        self.schedule = td.Schedule(1 - np.array(alpha))
        self.fixed = {"T": self.T, **fixed}
        self.times = range(1, self.T + 1)

    def value(self, name, env):
        base, n = self.split(name, env)
        if base in (r"\alpha", r"\beta", r"\bar\alpha") and n is not None:
            return rate(self.alpha, base, n)
        return self.own(base, n, env)

    def own(self, base, n, env):
        raise ValueError(f"{base} with the index {n} has no value here")

    def named(self, name, groups, env):
        if name == r"\epsilon_{\theta}" and len(groups) == 1 and len(groups[0]) == 2:
            x, t = (self.evaluate(arg, env) for arg in groups[0])
            return network(x, t)
        raise ValueError(f"{name} has no value here")


class Noises(Numbers):
    """Data points and noises with a few values each, so chosen that the same x_t comes of several pairs. Axes: x_0, noise.

    The noise has the mean 0 and the mean square 1. The rates are such that states coincide at one step, `self.fold`.
    """

    rtol = 1e-6

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        fold, bars = int(rng.integers(1, 4)), np.sort(rng.uniform(0.1, 0.9, 3))[::-1]
        super().__init__(bars / np.array([1, *bars[:-1]]))
        a, bar = rng.uniform(1.1, 1.5), bars[fold - 1]
        self.eps, self.p_eps = np.array([[-a, 0, a]]), np.array([[0.5 / a**2, 1 - 1 / a**2, 0.5 / a**2]])
        self.x0 = (np.arange(3) * a * np.sqrt((1 - bar) / bar) + rng.normal())[:, None]
        self.p_x0 = rng.dirichlet([2] * 3)[:, None]
        self.answers = None

    def own(self, base, n, env):
        if (base, n) == ("x", 0):
            return self.x0
        if base == "x" and n == env.get("t"):
            bar = rate(self.alpha, r"\bar\alpha", n)
            return np.sqrt(bar) * self.x0 + np.sqrt(1 - bar) * self.eps
        if base == r"\bar\epsilon" and n == env.get("t"):
            return self.eps
        if (base, n) == ("L", r"\mathrm{simple}"):  # of the package, one pair at a time
            return sum(
                p * q * td.simple_loss(self.schedule, on_tensors, torch.tensor([x]), t, torch.tensor([e])).item() / self.T
                for x, p in zip(self.x0[:, 0], self.p_x0[:, 0], strict=True)
                for e, q in zip(self.eps[0], self.p_eps[0], strict=True)
                for t in range(1, self.T + 1)
            )
        return super().own(base, n, env)

    def groups_of(self, x):
        """Which pairs give the same value: the values, and for each pair the number of its own."""
        values, inverse = np.unique(np.round(x, 9), return_inverse=True)
        return values, inverse.reshape(np.shape(x))

    def mean(self, f):
        return float((np.broadcast_to(f, (3, 3)) * self.p_x0 * self.p_eps).sum())

    def given(self, f, x):
        """The mean of f over all pairs that give the same x, as an array over pairs."""
        _, which = self.groups_of(x)
        p = self.p_x0 * self.p_eps
        return (np.bincount(which.ravel(), (np.broadcast_to(f, (3, 3)) * p).ravel()) / np.bincount(which.ravel(), p.ravel()))[which]

    def state(self, env):
        return self.own("x", env["t"], env)

    def named(self, name, groups, env):
        if name == "E":
            over, (inner,), given = groups
            if given:
                if over or [str(g) for g in given] != ["x_{t}"]:
                    raise ValueError("only a mean given x_t is evaluated")
                return self.given(self.evaluate(inner, env), self.state(env))
            if not over:
                return self.mean(self.evaluate(inner, env))
            if {str(o) for o in over} != {"t", "x_{0}", r"\bar\epsilon_{t}"}:
                raise ValueError(f"a mean over {over} is not evaluated")
            return np.mean([self.mean(self.evaluate(inner, env | {"t": t})) for t in range(1, self.T + 1)])
        if name == r"\hat\epsilon_{t}" and len(groups) == 1 and [str(g) for g in groups[0]] == ["x_{t}"]:
            return self.given(self.eps, self.state(env))
        if name == "min":
            (over,), (body,) = groups
            if str(over) != r"\epsilon_{\theta}":
                raise ValueError(f"not minimised over {over}")
            return self.least(body, env)
        if name == r"\epsilon_{\theta}" and self.answers is not None:
            x, t = (self.evaluate(arg, env) for arg in groups[0])
            if t != env["t"] or not np.array_equal(x, self.state(env)):
                raise ValueError("the network is asked something else")
            return self.answers[self.groups_of(x)[1]]
        if name == "q" and [[str(arg) for arg in g] for g in groups] == [["x_{t}"]]:
            _, which = self.groups_of(self.state(env))
            return np.bincount(which.ravel(), (self.p_x0 * self.p_eps).ravel())[which]
        return super().named(name, groups, env)

    def least(self, body, env):
        """Over all functions of x_t, each a list of its values: a mean square is at its least after one step of Newton's method."""

        def at(answers):
            self.answers = answers
            return self.evaluate(body, env)

        n = len(self.groups_of(self.state(env))[0])
        zero, unit = np.zeros(n), np.eye(n)
        try:
            slope = np.array([at(unit[i]) - at(-unit[i]) for i in range(n)]) / 2
            alone = [at(a) for a in unit]
            curve = np.array([[at(unit[i] + unit[j]) - alone[i] - alone[j] if i <= j else 0 for j in range(n)] for i in range(n)])
            curve = np.triu(curve + at(zero)) + np.triu(curve + at(zero), 1).T
            found = np.linalg.lstsq(curve, -slope, rcond=None)[0]
            around = [at(found + 0.1 * step) for step in np.random.default_rng(0).normal(size=(5, n))]
            return at(found) if min(around) >= at(found) else -np.inf
        finally:
            self.answers = None

    def integral(self, body, variable, low, high, env):
        """Over x_t: each of its values once."""
        if str(variable) != "x_{t}" or (low, high) != (-sp.oo, sp.oo):
            raise ValueError(f"an integral over {variable} is not evaluated")
        values, which = self.groups_of(self.state(env))
        f = np.broadcast_to(self.evaluate(body, env), which.shape)
        each = [f[which == n] for n in range(len(values))]
        if not all(np.allclose(group, group[0]) for group in each):
            raise ValueError("what is integrated is not a function of x_t")
        return sum(group[0] for group in each)


class Batch(Numbers):
    """B examples, each with its own step and noise: what a training step sees."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        super().__init__(rng.uniform(0.4, 0.9, 4), B=5)
        self.x, self.eps, self.t = rng.normal(size=5), rng.normal(size=5), rng.integers(1, 5, 5)

    def value(self, name, env):
        if name == r"\hatL":
            batch = (torch.tensor(self.x), torch.tensor(self.t), torch.tensor(self.eps))
            return td.simple_loss(self.schedule, on_tensors, *batch).item()
        return super().value(name, env)

    def own(self, base, n, env):
        drawn = {"x": self.x, r"\epsilon": self.eps, "t": self.t}.get(base)
        if drawn is None or not isinstance(n, int) or not 1 <= n <= len(drawn):
            raise ValueError(f"{base} with the index {n} has no value here")
        return drawn[n - 1].item()


class Walk(Numbers):
    """The states of the package's sampler, and the noises that it drew."""

    def __init__(self, seed, variance="beta"):
        super().__init__(np.random.default_rng(seed).uniform(0.4, 0.9, 4))
        x = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        self.states, self.variance = {self.T: x.numpy()}, getattr(self.schedule, variance).numpy()
        again = torch.Generator().manual_seed(seed + 1)
        self.z = {t: torch.randn(3, generator=again, dtype=torch.double).numpy() for t in range(self.T, 1, -1)} | {1: 0.0}
        td.sample(self.schedule, on_tensors, x, variance, generator=torch.Generator().manual_seed(seed + 1),
                  callback=lambda t, x: self.states.update({t: x.numpy().copy()}))  # fmt: skip

    def own(self, base, n, env):
        if base == "x" and n in self.states:
            return self.states[n]
        if base == "z" and n is None:
            return self.z[env["t"]]
        if base == r"\sigma" and n in range(1, self.T + 1):
            return np.sqrt(self.variance[n])
        return super().own(base, n, env)


class Jump(Walk):
    """One jump of the package's DDIM, from t = 5 to s = 2."""

    def __init__(self, seed):
        Numbers.__init__(self, np.random.default_rng(seed).uniform(0.4, 0.9, 5), s=2)
        self.times, self.eta, self.variance = (5,), 0.6, np.full(6, np.nan)
        x = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
        self.z = {5: torch.randn(3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.double).numpy()}
        self.states = {5: x.numpy()}
        td.sample_ddim(self.schedule, on_tensors, x, 2, self.eta, generator=torch.Generator().manual_seed(seed + 1),
                       callback=lambda t, x: self.states.update({t: x.numpy().copy()}))  # fmt: skip

    def own(self, base, n, env):
        bar_t, bar_s = (rate(self.alpha, r"\bar\alpha", i) for i in (5, 2))
        if (base, n) == (r"\hatx", 0):  # (2.21)
            return (self.states[5] - np.sqrt(1 - bar_t) * network(self.states[5], 5)) / np.sqrt(bar_t)
        if (base, n) == (r"\sigma", None):  # (6.9)
            return self.eta * np.sqrt((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s))
        return super().own(base, n, env)


class Rates(World):
    """The learning rate of the package's training."""

    rtol = 1e-12

    def __init__(self, k):
        self.fixed = {"k": k, "K": 1000}

    def value(self, name, env):
        if name == r"\gamma":
            return 0.003
        if name == r"\gamma_{k}":
            return learning_rate(env["k"], env["K"], 0.003)
        return super().value(name, env)


class Levels(World):
    """The probability of a level in the last step: one of the inner levels of a picture."""

    def __init__(self, seed, levels=9):
        rng = np.random.default_rng(seed)
        self.delta, self.x0 = 1 / (levels - 1), -1 + 2 * int(rng.integers(1, levels - 1)) / (levels - 1)
        self.mean, self.sigma, self.x1, self.levels = rng.normal() / 3, rng.uniform(0.2, 0.5), rng.normal(), levels

    def value(self, name, env):
        known = {"x_{0}": self.x0, "x_{1}": self.x1, r"\delta": self.delta, r"\sigma_{1}": self.sigma}
        return known[name] if name in known else super().value(name, env)

    def named(self, name, groups, env):
        args = [[str(arg) for arg in group] for group in groups]
        if (name, args) == (r"P_{\theta}", [["x_{0}"], ["x_{1}"]]):
            mean, var, x0 = torch.tensor([self.mean, self.sigma**2, self.x0], dtype=torch.double)
            return td.elbo.discretised_log_prob(td.Gaussian(mean, var), x0, self.levels).exp().item()
        if (name, args) == (r"\mu_{\theta}", [["x_{1}", "1"]]):
            return self.mean
        return super().named(name, groups, env)

    def integral(self, body, variable, low, high, env):
        from scipy.integrate import quad

        return quad(lambda x: self.evaluate(body, env | {str(variable): x}), self.evaluate(low, env), self.evaluate(high, env))[0]


class Densities:
    """Densities of states when a class c is known or not, for data of which each class is Gaussian, one-dimensional.

    A world that has `prior`, `bar`, `T` and `line`, `width` gets from it what Chapter 7 names.
    """

    def slope(self, body, name, env):
        """The derivative by a name: that of the polynomial through the values at six points around its own."""
        if name not in (s.name for s in body.free_symbols):
            raise ValueError(f"{body} does not depend on {name}")
        here, step = self.evaluate(sp.Symbol(name), env), 0.001
        at = {k: np.asarray(self.evaluate(body, env | {name: here + k * step}), float) for k in (-3, -2, -1, 1, 2, 3)}
        return (45 * (at[1] - at[-1]) - 9 * (at[2] - at[-2]) + (at[3] - at[-3])) / (60 * step)

    def density_told(self, groups, env):
        """q(a | b): the joint density of a and b over that of b, where the class is one of the variables."""
        sides = [[str(arg) for arg in group] for group in groups]
        of, known = sides[0], [name for group in sides[1:] for name in group]
        if len({*of, *known}) < len(of) + len(known):
            raise OutOfRange("something twice in a density")
        return self.joint([*of, *known], env) / self.joint(known, env)

    def joint(self, names, env):
        c = env["c"] if "c" in names else None
        x = {}
        for name in names:
            if name != "c":
                base, n = self.split(name, env)
                if base != "x" or not isinstance(n, int):
                    raise ValueError(f"{name} is not a state")
                if not 0 <= n <= self.T or n in x:
                    raise OutOfRange(f"{name} is no state, or one twice")
                x[n] = np.asarray(self.evaluate(sp.Symbol(name), env), float)
        if not x:
            return sum(weight for weight, _, _ in self.prior(c))
        first = min(x)
        bar = self.bar[first]
        start = sum(weight * normal(x[first], np.sqrt(bar) * mean, bar * var + 1 - bar) for weight, mean, var in self.prior(c))
        return start * self.path(x, sorted(x))

    def path(self, x, times):
        """The density of some states when the first of them is known: a Gaussian jump from each to the next."""
        jumps = [(x[m], x[n], self.bar[n] / self.bar[m]) for m, n in pairwise(times)]
        return math.prod((normal(after, np.sqrt(kept) * before, 1 - kept) for before, after, kept in jumps), start=1.0)

    def over_line(self, f, name, env):
        """The integral of f over a name: a sum over the first axis."""
        line = self.line.reshape(-1, *[1] * np.ndim(self.evaluate(sp.Symbol("x_{t}"), env)))
        values = np.asarray(f(env | {name: line}))
        return np.broadcast_to(values, (len(line), *values.shape[1:])).sum(0) * self.width

    def tilted(self, state, env):
        """q_s of a state: the law of x_0 that is tilted, or that law after t steps."""
        power = read(r"q(x_0 \mid c)^s\,q(x_0)^{1-s}")
        whole = self.over_line(lambda e: self.evaluate(power, e), "x_{0}", env)
        if state == "x_{0}":
            return self.evaluate(power, env) / whole
        if state != "x_{t}":
            raise ValueError(f"q_s of {state} has no value here")
        step = read(r"q(x_t \mid x_0)")
        return self.over_line(lambda e: self.evaluate(power, e) * self.evaluate(step, e), "x_{0}", env) / whole

    def renyi(self, groups, env):
        (first,), (second,) = groups
        if first.args[1] != second.args[1] or str(first.args[1]) != "(x_{0},)":
            raise ValueError("a divergence of densities of x_0")
        s = self.evaluate(sp.Symbol("s"), env)
        both = lambda e: self.evaluate(first, e) ** s * self.evaluate(second, e) ** (1 - s)  # noqa: E731
        return np.log(self.over_line(both, "x_{0}", env)) / (s - 1)

    def best(self, told, env):
        """The best prediction of the noise when a class is known or not, from the slope of the density."""
        law = r"q(x_t \mid c)" if told else "q(x_t)"
        return -np.sqrt(1 - self.bar[env["t"]]) * self.slope(read(rf"\log {law}"), "x_{t}", env)

    def of_chapter_7(self, name, groups, env):
        """What has arguments in that chapter; None for what is not of it."""
        args = [[str(arg) for arg in group] for group in groups]
        if name in (r"\hat\epsilon_{t}", r"\hatx_{0}") and args in ([["x_{t}"]], [["x_{t}", "c"]]):
            noise, bar = self.best(len(args[0]) == 2, env), self.bar[env["t"]]
            x = self.evaluate(sp.Symbol("x_{t}"), env)
            return noise if "epsilon" in name else (x - np.sqrt(1 - bar) * noise) / np.sqrt(bar)
        if name == r"\hat\epsilon_{t}" and args == [["x_{t}", "c'"]]:  # in Chapter 9, what is not to be drawn
            return self.best(True, env | {"c": 3})
        if name == "q":
            return self.density_told(groups, env)
        if name == "q_{s}" and len(args) == 1 and len(args[0]) == 1:
            return self.tilted(args[0][0], env)
        if name == "D_{s}":
            return self.renyi(groups, env)
        return None

    def guided(self, env):
        """The guided prediction, (7.5)."""
        untold, told = (self.best(known, env) for known in (False, True))
        return untold + self.evaluate(sp.Symbol("s"), env) * (told - untold)


class Fields(Densities, World):
    """A mixture of three Gaussians, which are the classes, at several states."""

    rtol = 1e-6
    line, width = np.arange(-9, 9, 0.01), 0.01
    times = (1, 2, 3)

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.bar, self.T = np.cumprod([1.0, *rng.uniform(0.5, 0.9, 3)]), 3
        self.weights, self.means, self.variances = rng.dirichlet([4] * 3), rng.normal(size=3), rng.uniform(0.3, 0.8, 3)
        self.fixed = {"K": 3, "c": 2, "s": rng.uniform(1.3, 3)}
        self.x = rng.normal(size=(4, 4))

    def prior(self, c):
        laws = list(zip(self.weights, self.means, self.variances, strict=True))
        return laws if c is None else laws[c - 1 : c]

    def value(self, name, env):
        base, n = self.split(name, env)
        if base == "x" and isinstance(n, int) and 0 <= n <= self.T:
            return self.x[n]
        if base == r"\bar\alpha" and isinstance(n, int) and 0 <= n <= 3:
            return self.bar[n]
        if base == r"\tilde\epsilon" and n == env["t"]:
            return self.guided(env)
        raise ValueError(f"{name} has no value here")

    def named(self, name, groups, env):
        found = self.of_chapter_7(name, groups, env)
        if found is None:
            raise ValueError(f"{name} has no value here")
        return found

    def integral(self, body, variable, low, high, env):
        if (low, high) != (-sp.oo, sp.oo) or str(variable) != "x_{0}":
            raise ValueError("an integral that is not one over all data")
        return self.over_line(lambda e: self.evaluate(body, e), "x_{0}", env)


class Standing(Densities, World):
    """What always holds in the book, at random numbers: the rates and their sums, the states, the noises and what they define.

    A letter that is not in this table has any value, so that an equation with it can only hold whatever it stands for.
    """

    rtol = 1e-9
    line, width = np.arange(-16, 16, 0.02), 0.02  # what is integrated over

    def __init__(self, seed, chapter=2):
        rng = np.random.default_rng(seed)
        self.seed, self.chapter, self.T, self.fixed, self.times = seed, chapter, 5, {"T": 5}, (3, 4)
        low, high = (0.5, 0.95) if seed % 2 else (0.95, 0.995)  # large steps and small ones
        a = self.alpha = np.array([1.0, *rng.uniform(low, high, 5)])
        bar = self.bar = np.cumprod(a)
        eps, x = rng.normal(size=6), [rng.normal()]
        for t in range(1, 6):
            x.append(np.sqrt(a[t]) * x[-1] + np.sqrt(1 - a[t]) * eps[t])  # (1.6)
        noise = [np.nan] + [(x[t] - np.sqrt(bar[t]) * x[0]) / np.sqrt(1 - bar[t]) for t in range(1, 6)]  # (1.16)
        m, v, sigma = rng.uniform(0.1, 0.9, 3)
        self.spread = bar * v + 1 - bar  # the variance of x_t for data with the variance v
        sigmas, V0 = rng.uniform(0.3, 0.9, 6), rng.uniform(0.2, 0.9)
        V, S = self.spread if chapter >= 6 else bar * V0 + 1 - bar, np.ones(6)
        for t in range(5, 0, -1):
            S[t - 1] = a[t] * V[t - 1] ** 2 / V[t] ** 2 * S[t] + sigmas[t] ** 2  # (6.3)
        self.alone = {"m": m, "v": v, "e": math.e, r"\sigma": sigma, r"\beta": rng.uniform(0.02, 0.5)}
        self.tables = {
            r"\alpha": np.array([np.nan, *a[1:]]), r"\beta": 1 - a, r"\bar\alpha": bar,  # alpha_0 has no meaning
            "x": x, r"\epsilon": np.array([np.nan, *eps[1:]]), r"\bar\epsilon": noise,
            "S": S, "V": V, r"\sigma": sigmas,
        }  # fmt: skip
        if chapter in (7, 9):
            self.about_guidance(rng)
        if chapter == 8:
            self.about_codes()
        if chapter == 9:
            tau, eps = self.any(r"\tau"), self.any(r"\epsilon")
            self.alone |= {"a": (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2), r"x_{\tau}": (1 - tau) * x[0] + tau * eps}  # (9.11)
        if chapter == 0:
            self.alone["D"] = self.any("p") / (self.any("p") + self.any("g"))  # the best that a discriminator can say
        if chapter == 3:
            self.alone["b"] = self.any("L") / (self.any("D") * np.log(2))  # (3.23)
        if chapter == 5:
            theta, d = rng.normal(size=6), self.any("d")
            means = [theta[0]]
            for k in range(1, 6):
                means.append(d * means[-1] + (1 - d) * theta[k])  # (5.4)
            self.tables |= {r"\theta": theta, r"\bar\theta": means}
            self.fixed |= {"k": 3}

    def about_guidance(self, rng):
        """Gaussian data, Gaussian too when the class is known, and what the two samplers make of the guided prediction."""
        m_c, v_c, s = rng.uniform(0.1, 0.9), rng.uniform(0.2, 0.9), rng.uniform(1.2, 2.5)
        self.alone |= {"m_{c}": m_c, "v_{c}": v_c, "s": s}
        a, bar = self.alpha, self.bar
        V, U = self.spread, bar * v_c + 1 - bar
        G = 1 / ((1 - s) / V + s / U)
        S, R = np.ones(6), np.ones(6)
        for t in range(5, 0, -1):
            S[t - 1] = (1 - (1 - a[t]) / G[t]) ** 2 / a[t] * S[t] + self.tables[r"\sigma"][t] ** 2  # (7.15)
            kept = (1 - (1 - bar[t]) / G[t]) / np.sqrt(a[t]) + np.sqrt((1 - bar[t - 1]) * (1 - bar[t])) / G[t]
            R[t - 1] = kept**2 * R[t]  # (7.16)
        self.tables |= {"U": U, "G": G, "S": S, "R": R}
        self.fixed |= {"c": 1}

    def about_codes(self):
        """One direction of a linear autoencoder with its best encoder, and the schedule that a factor k makes."""
        g, sigma, k = self.any("g"), self.alone[r"\sigma"], self.any("k")
        v = g**2 + sigma**2
        self.alone |= {r"\gamma": 2 * sigma**2, "v": v, "a": g / v, "b": sigma**2 / v}
        ratio = np.array([np.nan, *(self.bar[1:] / (1 - self.bar[1:]))])
        self.tables |= {r"\rho": k**2 * self.bar / (k**2 * self.bar + 1 - self.bar), "Q": ratio}

    def prior(self, c):
        if c == 3:
            return [(0.2, self.any("m of what is not wanted"), self.any("v of what is not wanted"))]
        return [(1.0, self.alone["m"], self.alone["v"])] if c is None else [(0.3, self.alone["m_{c}"], self.alone["v_{c}"])]

    def guided(self, env):
        """The guided prediction, in Chapter 9 away from what is not wanted, (9.7)."""
        if self.chapter == 7:
            return super().guided(env)
        no, told = self.best(True, env | {"c": 3}), self.best(True, env)
        return no + self.alone["s"] * (told - no)

    def whole(self, e, env):
        return super().whole(e, env | {"s": 2, "r": 1})

    def value(self, name, env):
        try:
            base, n = self.split(name, env)
        except ValueError:
            base, n = name, None
        if n is not None and name in self.alone:  # m_c and v_c
            return self.alone[name]
        if n is None or re.fullmatch(r"v_\{\d\}", name):  # the variance v_1; v_t is the velocity
            drawn = self.drawn(name, env["t"])
            return self.alone.get(name, self.any(name)) if drawn is None else drawn
        if n == r"\theta":
            return self.of_network(base, self.tables["x"][env["t"]], env["t"])
        table = self.tables.get(base)
        if isinstance(n, int) and table is not None:
            if not 0 <= n <= self.T:
                raise OutOfRange(f"{name} is not in the table")
            return table[n]
        if isinstance(n, int) and 1 <= n <= self.T and (defined := self.defined(base, n)) is not None:
            return defined
        if base == r"\hatx" and n == 0:
            return self.of_network("x", self.tables["x"][env["t"]], env["t"])
        if base == "L" and isinstance(n, int):
            return self.term(n, env)
        return self.any(name)

    def term(self, n, env):
        """A part of the bound, by its definition in (3.16) to (3.18)."""
        if n == 0:
            return -np.log(self.evaluate(read(r"p_\theta(x_0 \mid x_1)"), env))
        if not 0 < n <= self.T:
            raise OutOfRange(f"there is no L_{n}")
        last = r"D_{\mathrm{KL}}(q(x_T \mid x_0) \| p(x_T))"
        return self.evaluate(read(last if n == self.T else r"D_{\mathrm{KL}}(q(x_n \mid x_m, x_0) \| p_\theta(x_n \mid x_m))"),
                             env | {"n": n, "m": n + 1})  # fmt: skip

    def drawn(self, name, t):
        """What has no index and belongs to a step all the same."""
        if self.chapter == 7 and name in ("y", r"\mu"):  # state and centre, in standard deviations
            return (self.tables["x"][t] if name == "y" else np.sqrt(self.bar[t]) * self.alone["m"]) / np.sqrt(self.spread[t])
        x, bar, eta = self.tables["x"], self.bar, self.any(r"\eta")
        sigma = eta * np.sqrt((1 - bar[2]) / (1 - bar[t]) * (1 - bar[t] / bar[2])) if t > 2 else np.nan  # (6.9), with s = 2
        if name == r"\epsilon'":  # the noise of two steps at once
            kept = bar[t] / bar[t - 2]
            return (x[t] - np.sqrt(kept) * x[t - 2]) / np.sqrt(1 - kept)
        if name == r"\sigma" and self.chapter == 6:
            return sigma
        if name == "z" and self.chapter == 6:  # the part of the noise of x_s that is new
            noise = self.tables[r"\bar\epsilon"]
            return (np.sqrt(1 - bar[2]) * noise[2] - np.sqrt(1 - bar[2] - sigma**2) * noise[t]) / sigma
        if name == "z" and self.chapter > 0:  # the noise with which the learned step gives x_{t-1}
            return (x[t - 1] - self.of_network(r"\mu", x[t], t)) / self.tables[r"\sigma"][t]
        return None

    def any(self, name):
        return random.Random(f"{self.seed} {name}").uniform(0.1, 0.9)

    def defined(self, base, t):
        """What the book defines by the rates and the states of a step."""
        a, b, bar, before = self.alpha[t], 1 - self.alpha[t], self.bar[t], self.bar[t - 1]
        x, x0, noise = self.tables["x"][t], self.tables["x"][0], self.tables[r"\bar\epsilon"][t]
        if base == r"\tilde\beta":  # (2.15)
            return (1 - before) / (1 - bar) * b
        if base == r"\tilde\mu":  # (2.18)
            return np.sqrt(a) * (1 - before) / (1 - bar) * x + np.sqrt(before) * b / (1 - bar) * x0
        if base == "v":  # (4.13)
            return np.sqrt(bar) * noise - np.sqrt(1 - bar) * x0
        if base == "w":  # (4.8)
            return (1 - a) ** 2 / (2 * self.tables[r"\sigma"][t] ** 2 * a * (1 - bar))
        if base == "bracket":  # the one of (2.8) at x_{t-1} = 0
            return x**2 / b + before * x0**2 / (1 - before) - (x - np.sqrt(bar) * x0) ** 2 / (1 - bar)
        if base == "C":  # the divergence of two Gaussians with the same mean
            return self.divergence(lambda y: normal(y, 0, self.defined(r"\tilde\beta", t)),
                                   lambda y: normal(y, 0, self.tables[r"\sigma"][t] ** 2))  # fmt: skip
        if base == r"\tilde\epsilon" and self.chapter in (7, 9):
            return self.guided({"t": t, **self.fixed})
        if base == r"\hat\epsilon":  # (4.18), for Gaussian data
            return np.sqrt(1 - bar) * (x - np.sqrt(bar) * self.alone["m"]) / self.spread[t]
        return None

    def of_network(self, base, x, t):
        """A network's answer, converted into the mean of a step (4.1), the data point (2.21) and the velocity (4.15)."""
        bar, eps = self.bar[t], network(x, t)
        return {
            r"\epsilon": eps,
            r"\mu": (x - (1 - self.alpha[t]) / np.sqrt(1 - bar) * eps) / np.sqrt(self.alpha[t]),
            "x": (x - np.sqrt(1 - bar) * eps) / np.sqrt(bar),
            "v": (eps - np.sqrt(1 - bar) * x) / np.sqrt(bar),
        }[base]

    def named(self, name, groups, env):
        if self.chapter in (7, 9) and (found := self.of_chapter_7(name, groups, env)) is not None:
            return found
        if name.endswith(r"_{\theta}") and name[0] not in "pPD" and len(groups) == 1 and len(groups[0]) == 2:
            x, t = (self.evaluate(arg, env) for arg in groups[0])
            if not isinstance(t, int):
                raise ValueError("a network is asked at a step")
            return self.of_network(name.removesuffix(r"_{\theta}"), x, t)
        if name == r"\hat\epsilon_{t}" and [str(arg) for arg in groups[0]] == ["x_{t}"]:
            return self.defined(r"\hat\epsilon", env["t"])
        if name == "C" and [str(arg) for group in groups for arg in group] == ["x_{t}", "x_{0}"]:
            return self.defined("bracket", env["t"])
        if name.startswith("D_"):
            (first,), (second,) = groups
            (f, of), (g, other) = self.law(first, env), self.law(second, env)
            if None not in (of, other) and of != other:
                raise ValueError(f"{first} and {second} are densities of different things")
            return self.divergence(f, g)
        if name in ("q", "p", r"p_{\theta}"):
            return self.density(name, groups, env)
        raise ValueError(f"{name} has no value here")

    def density(self, name, groups, env):
        """A density of states. What the forward process does before all that is known of it depends on the data, and is open."""
        states = [(self.split(str(arg), env), self.evaluate(arg, env)) for group in groups for arg in group]
        x = {n: value for (_, n), value in states}
        known = sorted(n for (_, n), _ in states[len(groups[0]) :])
        if any(base != "x" or not isinstance(n, int) for (base, n), _ in states):
            raise ValueError("not a density of states")
        if len(x) < len(states):
            raise OutOfRange("a state twice")
        if name == "q" and known and known[0] == min(x):
            return self.path(x, sorted(x)) / self.path(x, known)
        if name == "p" and list(x) == [self.T]:
            return normal(x[self.T], 0, 1)
        if name == r"p_{\theta}" and len(x) == 2 and known == [min(x) + 1]:
            (t,) = known
            return normal(x[t - 1], self.of_network(r"\mu", x[t], t), self.tables[r"\sigma"][t] ** 2)
        raise ValueError("not one of the densities that the book derives")

    def law(self, e, env):
        """A density as a function, and the state that it is a density of, if it is named."""
        if not isinstance(e, Opaque) or str(e.args[0]) not in ("N", "q", "p", r"p_{\theta}"):
            raise ValueError(f"{e} is not a density")
        if str(e.args[0]) == "N":
            mean, var = (self.evaluate(arg, env) for arg in e.args[1])
            return lambda y: normal(y, mean, var), None
        (state,) = e.args[1]
        if not isinstance(state, sp.Symbol):
            raise ValueError(f"{state} is not a state")
        return lambda y: self.evaluate(e, env | {state.name: y}), state

    def divergence(self, f, g):
        f, g = (np.maximum(law(self.line), TINY) for law in (f, g))
        return (f * np.log(f / g)).sum() * self.width

    def integral(self, body, variable, low, high, env):
        if (low, high) != (-sp.oo, sp.oo):
            raise ValueError("an integral over a part of the line")
        values = self.evaluate(body, env | {variable.name: self.line})
        return np.broadcast_to(values, self.line.shape).sum() * self.width


# ---- Chapter 8: codes ----


class Projected(World):
    """Data in five dimensions, their principal components, noises of two values, and samples in the plane of the first two.

    The axis is what may happen: each data point with each noise. A sample is drawn along with it: the two are paired anyhow.
    """

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        j, k = [(1, 2), (2, 2), (1, 1)][seed % 3]
        self.fixed, self.times = {"D": 5, "r": 2, "i": 3, "j": j, "k": k}, (1, 2)
        self.bar = np.cumprod([1.0, *rng.uniform(0.4, 0.9, 2)])
        points, chances = rng.normal(size=(8, 5)), rng.dirichlet([3] * 8)
        points -= chances @ points
        values, vectors = np.linalg.eigh((points.T * chances) @ points)
        self.lambdas, self.W = values[::-1], vectors.T[::-1]
        signs = np.array(list(np.ndindex(2, 2, 2, 2, 2))) * 2.0 - 1
        self.x0, self.noise = np.repeat(points, 32, axis=0), np.tile(signs, (8, 1))
        self.chances, self.samples = np.repeat(chances, 32) / 32, rng.normal(size=(256, 2))

    def index(self, text, env):
        """Also two of them, such as that of x_{t,i}."""
        found = tuple(super(Projected, self).index(part, env) for part in text.split(","))
        return found if len(found) > 1 else found[0]

    def value(self, name, env):
        base, n = self.split(name, env)
        if name in (r"\bar\lambda", r"\tilde\lambda"):  # the means of those that are dropped
            dropped = self.lambdas[env["r"] :]
            return dropped.mean() if "bar" in name else np.exp(np.log(dropped).mean())
        if isinstance(n, tuple):
            return self.of_two(base, *n, env)
        if base == r"\bar\alpha" and n in (0, 1, 2):
            return self.bar[n]
        if base == r"\lambda" and n in range(1, 6):
            return self.lambdas[n - 1]
        if base == "u" and n in (1, 2):
            return self.samples[:, n - 1]
        if base == "y" and n in range(1, 6):  # a sample, decoded
            return self.samples @ self.W[:2, n - 1]
        raise ValueError(f"{name} has no value here")

    def of_two(self, base, n, i, env):
        """A row and a column of W, or a time and a coordinate."""
        if base == "W":
            return self.W[n - 1, i - 1]
        x = np.sqrt(self.bar[n]) * self.x0 + np.sqrt(1 - self.bar[n]) * self.noise
        known = {"x": x, r"\bar\epsilon": self.noise, "z": x @ self.W.T, r"\hatx": x @ self.W[:2].T @ self.W[:2]}
        if base not in known or not 1 <= i <= 5:
            raise ValueError(f"{base} has no value here")
        return known[base][:, i - 1]

    def named(self, name, groups, env):
        if name != "E" or groups[0] or groups[2]:
            raise ValueError(f"{name} has no value here")
        return float((self.chances * self.evaluate(groups[1][0], env)).sum())


class Encoded(World):
    """A picture, its code and what is decoded, by an autoencoder of the package."""

    def __init__(self, seed):
        torch.manual_seed(seed)
        weight = 0.2 + 0.1 * seed
        coder = td.Autoencoder(channels=1, code=3, width=8, weight=weight).double()
        x, eps = torch.rand(4, 1, 8, 8).double() * 2 - 1, torch.randn(1, 3, 1, 1).double()
        td.fit_autoencoder(coder, x, steps=3, batch_size=2, seed=seed, progress=False)
        with torch.no_grad():
            raw = coder.encoder(x)[:, :3].numpy()
            law, code = coder.encode(x[:1]), coder.encode(x).mean
            back = coder.decode(law.mean + law.var.sqrt() * eps)
            loss = coder(x[:1], eps).item()
            mean, log_var = coder.encoder(x[:1]).chunk(2, dim=1)
        m = raw.mean(0, keepdims=True)
        self.fixed = {"D": 64}
        self.pixels = {"x": x[0].flatten().numpy(), r"\hatx": back[0].flatten().numpy()}
        self.alone = {r"\gamma": weight, r"\hatL": loss, r"\mu": raw, "m": m, "v": ((raw - m) ** 2).mean(), "z": code.numpy()}
        self.apart = ((log_var.exp() + mean**2 - 1 - log_var) / 2).sum().item()

    def index(self, text, env):
        zero, comma, i = text.partition(",")
        if zero != "0" or not comma:
            raise ValueError(f"{text} is not a number of a picture")
        return super().index(i, env)

    def value(self, name, env):
        if name in self.alone:
            return self.alone[name]
        base, i = self.split(name, env)
        if base in self.pixels and i in range(1, 65):
            return self.pixels[base][i - 1]
        raise ValueError(f"{name} has no value here")

    def named(self, name, groups, env):
        laws = [(str(side.args[0]), [[str(arg) for arg in group] for group in side.args[1:]]) for (side, *_) in groups if side.args]
        if not name.startswith("D_") or laws != [("q", [["z"], ["x_{0}"]]), ("p", [["z"]])]:
            raise ValueError(f"{name} has no value here")
        return self.apart


class Spread(World):
    """The package's lognormal schedule, and the quantiles of a normal law without its tails, found by halving."""

    times = (1, 20, 50)

    def value(self, name, env):
        base, n = self.split(name, env)
        if n != env["t"]:
            raise ValueError(f"{name} has no value here")
        if base == r"\bar\alpha":
            return td.Schedule.lognormal(50).alpha_bar[n].item()
        if base == r"\nu":
            low, high = -3.0, 3.0
            for _ in range(60):
                middle = (low + high) / 2
                share = (math.erf(middle / 2**0.5) / math.erf(3 / 2**0.5) + 1) / 2  # of what lies between -3 and 3
                low, high = (middle, high) if share < n / 50 else (low, middle)
            return middle
        raise ValueError(f"{name} has no value here")


# ---- Chapter 9: words and pictures ----


class Words(World):
    """A query among three words, a picture among drawings, a share of prompts, and Stable Diffusion's schedule."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.fixed = {"n": 3, "j": 2, "d": rng.uniform(2, 5), "q": rng.normal()}
        k, v = rng.normal(size=(2, 3))
        w = np.exp(self.fixed["q"] * k / np.sqrt(self.fixed["d"]))
        w /= w.sum()
        self.tables = {"k": k, "v": v, "w": w, **dict(zip("xab", rng.normal(size=(3, 3)), strict=True))}
        found, spread = rng.uniform(0.3, 0.7), rng.uniform(0.5, 1)
        whole, half = 1 + spread**2 / 3, spread**2 / 3 / 2 + found  # of the quadratic equation (9.5) for n = 3
        end = (half + np.sqrt(half**2 - whole * found**2)) / whole
        self.alone = {"o": (w * v).sum(), r"\hatp": found, r"\ell": spread, "p": end}
        self.left = np.prod(1 - np.linspace(np.sqrt(0.00085), np.sqrt(0.012), 1000) ** 2)

    def value(self, name, env):
        if name in self.alone:
            return self.alone[name]
        if re.search(r"\bt\b", name.replace("_", " ")):
            raise ValueError(f"{name} belongs to a step")
        base, n = self.split(name, env)
        if base in self.tables and n in (1, 2, 3):
            return self.tables[base][n - 1]
        if (base, n) == (r"\bar\alpha", 1000):
            return self.left
        raise ValueError(f"{name} has no value here")


class Stretched(World):
    """DDIM in many steps with the best predictions, for Gaussian data: followed step by step."""

    rtol = 2e-3
    times = (700, 1500)

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.T, self.m, self.v = 3000, rng.uniform(0.5, 2), rng.uniform(0.3, 0.8)
        self.bar = np.cumprod([1.0, *(1 - np.linspace(1e-5, 2e-3, self.T))])
        self.V = self.bar * self.v + 1 - self.bar
        self.fixed = {"T": self.T, "m": self.m, "v": self.v}

    def end(self, x, t):
        """x_0 from x_t."""
        for now in range(t, 0, -1):
            eps = np.sqrt(1 - self.bar[now]) * (x - np.sqrt(self.bar[now]) * self.m) / self.V[now]
            clean = (x - np.sqrt(1 - self.bar[now]) * eps) / np.sqrt(self.bar[now])
            x = np.sqrt(self.bar[now - 1]) * clean + np.sqrt(1 - self.bar[now - 1]) * eps
        return x

    def value(self, name, env):
        base, n = self.split(name, env)
        if base == "h" and n == env["t"]:
            start = np.sqrt(self.bar[n]) * np.array([0.0, 1.0])
            return np.diff(self.end(start, n))[0]
        if base == "m" and n == 0:
            return self.end(0.0, self.T)
        if base in (r"\bar\alpha", "V") and n in (env["t"], self.T):
            return {"V": self.V}.get(base, self.bar)[n]
        raise ValueError(f"{name} has no value here")
