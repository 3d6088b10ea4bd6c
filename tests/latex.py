"""Reads the displayed formulas of the book: the subset of LaTeX that they use, as SymPy expressions.

Strict on purpose: what it does not know is an error, so that no part of a displayed line goes unread.
"""

import re

import sympy as sp

from tinyddpm.ledger import N

TOKEN = re.compile(r"\\\||\\[A-Za-z]+|\d+|[A-Za-z]|[-+=^_{}(),;!']|\S")
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
}
LETTERS = r"\\(?:alpha|beta|epsilon|eta|sigma|theta|mu|varepsilon)|[A-Za-z]"
ACCENTS = {r"\bar", r"\tilde", r"\hat"}
FRACTIONS = {r"\frac", r"\tfrac", r"\dfrac"}


# What may have arguments.
CALLED = re.compile(r"(q|p|p_\{\\theta\}|D_\{\\mathrm\{KL\}\}|C|\\(mu|epsilon)_\{\\theta\}|[xv]_\{\\theta\})$")


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


def stripped(display: str) -> str:
    """A displayed line without its tag, its alignment and a remark."""
    return re.sub(r"\\tag\{[^}]*\}|\\(begin|end)\{aligned\}|&|\\\\", "", display).split(r"\qquad")[0].strip().rstrip(".,")


def tokens(display: str) -> list[str]:
    """What a displayed line consists of, without the spaces."""
    return [t for t in TOKEN.findall(re.sub(r"\\([ ,;:!])", " ", stripped(display))) if t not in SPACING]


def symbol(name: str) -> sp.Symbol | Opaque:
    """A symbol named in LaTeX, in one spelling: \\bar{\\alpha}_t and \\bar\\alpha_{t} are the same."""
    found = Reader(name).whole()
    if not isinstance(found, sp.Symbol | Opaque):
        raise ValueError(f"{name!r} is not the name of a symbol")
    return found


class Reader:
    """Recursive descent: sum, product, power, atom."""

    def __init__(self, text: str):
        self.tokens = tokens(text)
        self.at = 0

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
        sign = -1 if self.accept("-") else 1
        total = sign * self.product()
        while self.peek() in ("+", "-"):
            sign = 1 if self.take() == "+" else -1
            total += sign * self.product()
        return total

    def product(self):
        result = self.power()
        while self.peek() not in (None, "+", "-", ")", "]", "}", ",", ";", r"\mathrm", r"\to", r"\mid", r"\|"):
            if self.accept("/"):
                result /= self.power()
            else:
                self.accept(r"\cdot")
                result *= self.power()
        return result

    def power(self):
        base = self.atom()
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
        if token.isdigit():
            return sp.Integer(self.take())
        if token in FRACTIONS:
            self.take()
            if self.peek() != "{":  # \tfrac12
                digits = self.take()
                return sp.Rational(int(digits[0]), int(digits[1:]))
            numerator = self.group()
            return numerator / self.group()
        if token == r"\sqrt":
            self.take()
            return sp.sqrt(self.group())
        if token in (r"\log", r"\exp"):
            self.take()
            return {r"\log": sp.log, r"\exp": sp.exp}[token](self.power())
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
        self.take(r"\int")
        self.take("_")
        low = self.group()
        self.take("^")
        high = self.group()
        body = self.product()
        self.take(r"\mathrm"), self.take("{"), self.take("d"), self.take("}")
        return sp.Integral(body, (self.name(), low, high))

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
        """The mean E_q[...]: only named."""
        self.take(r"\mathbb"), self.take("{"), self.take("E"), self.take("}"), self.take("_"), self.take("q")
        self.take("[")
        inner = self.sum()
        self.take("]")
        return Opaque(sp.Symbol("E_q"), sp.Tuple(inner))

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
        if self.accept("_"):
            index = "_" + self.raw_group()
        prime = "'" if self.accept("'") else ""
        name = accent + letter + index + prime
        if (self.peek() or "").isdigit():
            raise ValueError(f"a digit behind {name} in {''.join(self.tokens)!r}")
        if CALLED.match(name) and self.peek() == "(":
            return self.opaque(name)
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
        return Opaque(sp.Symbol(name), *(sp.Tuple(*group) for group in groups))
