"""Reads the formulas of the book, displayed and inline: the subset of LaTeX that they use, as SymPy expressions.

Strict on purpose: what it does not know is an error, so that no part of a displayed line goes unread.
"""

import operator
import re
from itertools import accumulate

import sympy as sp

from tinyddpm.book import N

TOKEN = re.compile(r"\\\||\\[A-Za-z]+|\d+(?:\.\d+)?|[A-Za-z]|[-+=^_{}(),;!']|\S")
SPACING = {
    r"\quad",
    r"\ ",
    r"\,",
    r"\;",
    r"\:",
    r"\!",
    r"\left",
    r"\right",
    r"\big",
    r"\Big",
    r"\bigl",
    r"\bigr",
    r"\Bigl",
    r"\Bigr",
    r"\bigg",
}
RELATIONS = {"=", "<", ">", r"\le", r"\ge", r"\approx", r"\sim", r"\to"}
NUMBER = re.compile(r"\d+(\.\d+)?")
LETTERS = r"\\(?:alpha|beta|delta|ell|epsilon|eta|gamma|lambda|rho|sigma|theta|mu|nu|varepsilon|tau)|[A-Za-z]"
ACCENTS = {r"\bar", r"\tilde", r"\hat"}
FRACTIONS = {r"\frac", r"\tfrac", r"\dfrac"}


# What may have arguments.
CALLED = re.compile(
    r"(q|q_\{s\}|p|D_\{(\\mathrm\{KL\}|s)\}|C|([pPxv]|\\mu|\\epsilon)_\{\\theta\}|\\hat\\epsilon_\{t\}|\\hat ?x_\{0\})$"
)


class Opaque(sp.Function):
    """A quantity that is only named, such as q(x_t | x_0): its name, then what stands before and behind each bar."""


def sides(display: str) -> list[sp.Expr]:
    """The expressions that a displayed line sets equal. What follows a \\qquad is a remark."""
    display = stripped(display)
    parts, depth = [""], 0
    for character in display:
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == "=" and depth == 0:  # not the one of a lower limit
            parts.append("")
        else:
            parts[-1] += character
    return [Reader(part).whole() for part in parts]


def chain(text: str) -> tuple[list[str], list[str]]:
    """The texts that relations such as = and \\le stand between, and those relations, as they follow one another."""
    parts, relations, depth = [[]], [], 0
    for token in tokens(text):
        depth += (token in "{([") - (token in "})]")
        if token in RELATIONS and depth == 0:
            relations.append(token)
            parts.append([])
        else:
            parts[-1].append(token)
    return [" ".join(part) for part in parts], relations


def parts(text: str) -> tuple[list[sp.Expr], list[str], set[sp.Expr]]:
    """The expressions between the relations of a formula, the relations, and all that is a part of one of the expressions."""
    texts, relations = chain(text)
    readers = [Reader(side) for side in texts]
    return [reader.whole() for reader in readers], relations, set().union(*(reader.parts for reader in readers))


def cancels(text: str) -> bool:
    """Whether a name that a side of a formula shows drops out by itself, as x_t does in x_t - x_t: the side says nothing of it."""
    for side in chain(text)[0]:
        reader = Reader(side)
        whole = reader.whole()
        binding = whole.atoms(sp.Sum, sp.Product, sp.Integral, sp.Limit)
        limits = [e.args[1:] if isinstance(e, sp.Limit) else e.args[1] for e in binding]
        kept = {str(limit[0]) for limit in limits} | {symbol.name for symbol in whole.free_symbols}
        if reader.names - kept or reader.calls - whole.atoms(Opaque):
            return True
    return False


def stripped(display: str) -> str:
    """A displayed line without its tag, its alignment and a remark."""
    return re.sub(r"\\tag\{[^}]*\}|\\(begin|end)\{aligned\}|&|\\\\", "", display).split(r"\qquad")[0].strip().rstrip(".,")


def tokens(display: str) -> list[str]:
    """What a displayed line consists of, without the spaces."""
    text = re.sub(r"\\([ ,;:!])", " ", stripped(display)).replace(r"\Vert", r"\|")
    return [t for t in TOKEN.findall(text) if t not in SPACING]


def symbol(name: str) -> sp.Symbol | Opaque:
    """A symbol named in LaTeX, in one spelling: \\bar{\\alpha}_t and \\bar\\alpha_{t} are the same."""
    found = Reader(name).whole()
    if not isinstance(found, sp.Symbol | Opaque):
        raise ValueError(f"{name!r} is not the name of a symbol")
    return found


class Reader:
    """Recursive descent: sum, product, power, atom. It keeps what it met on the way: parts, names, calls."""

    def __init__(self, text: str):
        self.tokens = tokens(text)
        self.at = 0
        self.parts, self.names, self.calls = set(), set(), set()

    def whole(self):
        result = self.sum()
        if self.peek() is not None:
            raise ValueError(f"cannot read {''.join(self.tokens[self.at :])!r}")
        return result

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, expected=None):
        token = self.peek()
        if token is None or (expected is not None and token != expected):
            raise ValueError(f"expected {expected!r}, found {token!r} in {''.join(self.tokens)!r}")
        self.at += 1
        return token

    def accept(self, token):
        if self.peek() == token:
            self.at += 1
            return True
        return False

    def sum(self):
        signs = [-1 if self.accept("-") else 1]
        terms = [signs[0] * self.product()]
        while self.peek() in ("+", "-"):
            signs.append(1 if self.take() == "+" else -1)
            terms.append(signs[-1] * self.product())
        self.parts |= {run for i in range(len(terms)) for run in accumulate(terms[i:])}  # with the sign of the first
        self.parts |= {sign * term for sign, term in zip(signs, terms, strict=True)}
        return sum(terms[1:], terms[0])

    def product(self):
        factors, dividing = [self.power()], [False]
        while self.peek() not in (None, "+", "-", ")", "]", "}", ",", ";", r"\mathrm", r"\to", r"\mid", r"\|"):
            dividing.append(self.accept("/"))
            if not dividing[-1]:
                self.accept(r"\cdot")
            factors.append(self.power())
        self.parts |= set(factors)
        values = [1 / factor if below else factor for factor, below in zip(factors, dividing, strict=True)]
        for i, below in enumerate(dividing):
            if not below:
                self.parts |= set(accumulate(values[i:], operator.mul))
        result = values[0]
        for value in values[1:]:
            result *= value
        return result

    def power(self):
        base = self.atom()
        self.parts.add(base)
        if self.accept("^"):
            base **= self.group()
        return base

    def group(self):
        """{...}, or a single atom."""
        if self.accept("{"):
            result = self.sum()
            self.take("}")
            return result
        return self.atom()

    def atom(self):
        token = self.peek()
        if token is None:
            raise ValueError(f"{''.join(self.tokens)!r} stops too early")
        if token in ("(", "["):
            self.take()
            result = self.sum()
            self.take({"(": ")", "[": "]"}[token])
            return result
        if NUMBER.fullmatch(token):
            return sp.Rational(self.take())
        if token in FRACTIONS:
            self.take()
            if self.tokens[self.at : self.at + 4] == ["{", r"\mathrm", "{", "d"]:
                return self.derivative()
            if self.peek() != "{":  # \tfrac12
                digits = self.take()
                return sp.Rational(int(digits[0]), int(digits[1:]))
            numerator = self.group()
            return numerator / self.group()
        if token == r"\sqrt":
            self.take()
            return sp.sqrt(self.group())
        if token in (r"\log", r"\exp", r"\cos"):
            self.take()
            return {r"\log": sp.log, r"\exp": sp.exp, r"\cos": sp.cos}[token](self.power())
        if token == r"\min":
            return self.least()
        if self.tokens[self.at : self.at + 2] == ["e", "^"]:  # e alone is a letter like the others
            self.take(), self.take()
            return sp.exp(self.group())
        if token == r"\infty":
            self.take()
            return sp.oo
        if token == r"\pi":
            self.take()
            return sp.pi
        if token == r"\mathcal":
            return self.gaussian()
        if token == r"\int":
            return self.integral()
        if token in (r"\prod", r"\sum"):
            return self.indexed()
        if token == r"\mathbb":
            return self.expectation()
        if token == r"\lim":
            return self.limit()
        if token == r"\nabla":
            self.take()
            return Opaque(sp.Symbol("nabla"), sp.Tuple(self.product()))
        return self.name()

    def gaussian(self):
        self.take(r"\mathcal")
        self.take("{"), self.take("N"), self.take("}")
        self.take("(")
        x = self.sum()
        if self.accept(","):  # N(0, 1): a distribution, not a density at a point
            named = Opaque(sp.Symbol("N"), sp.Tuple(x, self.sum()))
            self.take(")")
            return named
        self.take(";")
        mean = self.sum()
        self.take(",")
        var = self.sum()
        self.take(")")
        return N(x, mean, var)

    def integral(self):
        """Over the line where no limits are given."""
        self.take(r"\int")
        low, high = -sp.oo, sp.oo
        if self.accept("_"):
            low = self.group()
            self.take("^")
            high = self.group()
        body = self.product()
        self.take(r"\mathrm"), self.take("{"), self.take("d"), self.take("}")
        return sp.Integral(body, (self.name(), low, high))

    def derivative(self):
        """d/da of the product that follows."""
        for token in ("{", r"\mathrm", "{", "d", "}", "}", "{", r"\mathrm", "{", "d", "}"):
            self.take(token)
        variable = self.name()
        self.take("}")
        return sp.Derivative(self.product(), variable)

    def least(self):
        """min(a, b), or the least value that something takes: only named."""
        self.take(r"\min")
        if self.accept("_"):
            over = self.group()
            return Opaque(sp.Symbol("min"), sp.Tuple(over), sp.Tuple(self.product()))
        self.take("(")
        first = self.sum()
        self.take(",")
        second = self.sum()
        self.take(")")
        return sp.Min(first, second, evaluate=False)

    def indexed(self):
        """A sum or a product over an index."""
        kind = {r"\prod": sp.Product, r"\sum": sp.Sum}[self.take()]
        self.take("_"), self.take("{")
        index = self.name()
        self.take("=")
        low = self.sum()
        self.take("}"), self.take("^")
        high = self.group()
        return kind(self.product(), (index, low, high))

    def expectation(self):
        """A mean, only named: E_q[...], or any other with what it is taken over, its inside and what is known."""
        self.take(r"\mathbb"), self.take("{"), self.take("E"), self.take("}")
        over, given = [], []
        if self.accept("_"):
            braced = self.accept("{")
            over.append(self.atom())
            while braced and self.accept(","):
                over.append(self.atom())
            if braced:
                self.take("}")
        self.take("[")
        inner = self.sum()
        while self.accept(r"\mid" if not given else ","):
            given.append(self.sum())
        self.take("]")
        if over == [sp.Symbol("q")] and not given:
            return Opaque(sp.Symbol("E_q"), sp.Tuple(inner))
        return Opaque(sp.Symbol("E"), sp.Tuple(*over), sp.Tuple(inner), sp.Tuple(*given))

    def limit(self):
        self.take(r"\lim")
        self.take("_"), self.take("{")
        variable = self.name()
        self.take(r"\to")
        point = self.sum()
        self.take("}")
        return sp.Limit(self.product(), variable, point)

    def name(self):
        """A letter with its accent, index and prime: one symbol. q(...), p(...), D_KL(...) and the like: only named."""
        accent = ""
        if self.peek() in ACCENTS:
            accent = self.take()
            braced = self.accept("{")
            letter = self.letter()
            if braced:
                self.take("}")
        else:
            letter = self.letter()
        index = ""
        if self.tokens[self.at : self.at + 2] == ["^", "{"] and self.tokens[self.at + 2 : self.at + 3] == ["("]:
            self.take("^")
            index = "^" + self.raw_group()  # x^{(i)}: the i-th of a batch, and not a power
        elif self.accept("_"):
            index = "_" + self.raw_group()
        prime = ""
        while self.accept("'"):
            prime += "'"
        name = accent + letter + index + prime
        if NUMBER.fullmatch(self.peek() or ""):
            raise ValueError(f"a digit behind {name} in {''.join(self.tokens)!r}")
        if CALLED.match(name) and self.peek() == "(":
            return self.opaque(name)
        self.names.add(name)
        return sp.Symbol(name)

    def letter(self):
        token = self.take()
        if not re.fullmatch(LETTERS, token):
            raise ValueError(f"cannot read {token!r} in {''.join(self.tokens)!r}")
        return token

    def raw_group(self):
        """The text of an index, such as t-1 or \\mathrm{KL}."""
        if not self.accept("{"):
            return "{" + self.take() + "}"
        depth, text = 1, ""
        while depth:
            token = self.take()
            depth += {"{": 1, "}": -1}.get(token, 0)
            text += token if depth else ""
        return "{" + text + "}"

    def opaque(self, name):
        self.take("(")
        groups = [[self.sum()]]
        while self.peek() in (r"\mid", r"\|", ","):
            separator = self.take()
            if separator != ",":
                if (separator == r"\|") != name.startswith("D"):
                    raise ValueError(f"{separator} in {name}(...)")
                groups.append([])
            groups[-1].append(self.sum())
        self.take(")")
        read = Opaque(sp.Symbol(name), *(sp.Tuple(*group) for group in groups))
        self.calls.add(read)
        return read
