"""The ledger rejects what is wrong, proves what is right, and refuses checks that cannot fail or that show less than they say."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from sympy import Abs, Eq, Function, Integral, Limit, Product, Rational, Sum, cos, exp, log, oo, pi, sqrt, symbols, sympify

import tinyddpm as td
from tinyddpm.book import (
    KL,
    CheckFailed,
    Mean,
    N,
    States,
    agree,
    at_most,
    define,
    ledger,
    measure,
    p,
    p_theta,
    proof,
    prove,
    q,
    refute,
)
from tinyddpm.book.broken import slips
from tinyddpm.book.proof import DoesNotHold, NotProved

a, b = symbols(r"\alpha_t \alpha_{t-1}", positive=True)
x, y, e, f, g = symbols("x y e f g", real=True)
n = symbols("n", integer=True, positive=True)


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test is a run of its own."""
    monkeypatch.setattr(ledger, "_checked", {})
    monkeypatch.setattr(ledger, "_noises", {})
    monkeypatch.setattr(ledger, "_made_of", {})


def verdict(capsys, check, *args, **kwargs):
    capsys.readouterr()
    check(*args, **kwargs)
    return " ".join(capsys.readouterr().out.split())


# ---- proofs ----


def test_a_true_identity_is_proved_and_reported(capsys):
    text = verdict(capsys, prove, "2.7", (x + y) ** 2, x**2 + 2 * x * y + y**2)
    assert re.fullmatch(r"✓ \(2.7\) proved: left − right = 0; rejects \d+ broken versions", text)


@pytest.mark.parametrize(
    "wrong",
    [x**2 + 2 * x * y - y**2, x**2 + x * y + y**2, x**2 + 2 * x * y + y**3, x**2 + 2 * x * y + x**2, 0, 2 * (x + y) ** 2],
)
def test_every_slip_is_rejected_with_its_residual(wrong, capsys):
    with pytest.raises(CheckFailed, match=r"\(2.7\) does not hold: left − right") as error:
        prove("2.7", (x + y) ** 2, wrong)
    assert not isinstance(error.value, NotProved)
    prove("2.7", (x + y) ** 2, x**2 + 2 * x * y + y**2)
    assert "✗ rejected: a slip: left − right" in verdict(capsys, refute, "2.7", rhs=sympify(wrong), slip="a slip")


@pytest.mark.parametrize("digits", [11, 9, 3])
def test_a_small_difference_is_a_difference(digits):
    with pytest.raises(DoesNotHold):
        prove("2.7", x * a, x * a * (1 + Rational(1, 10**digits)))


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        (x, [2 * x, y, Rational(11, 10) * x]),
        (2 * x, [4 * x, -2 * x, 3 * x, 2 * y]),
        (x + y, [2 * x + 2 * y, -x + y, x - y, 2 * x, 2 * y]),
        (x**2, [2 * x**2, x**3, y**2]),
        (sqrt(a), [2 * sqrt(a), a ** Rational(3, 2), sqrt(b)]),
        (Product(a, (n, 1, 5)), [2 * Product(a, (n, 1, 5)), Product(b, (n, 1, 5)), Product(a, (n, 2, 5)), Product(a, (n, 1, 6))]),
    ],
)
def test_every_kind_of_slip_is_tried(claim, wrong):
    """A factor, the sign of each part, each number one up, each symbol for the next of its kind, each limit of a sum."""
    found = [slip for _, slip in slips(claim, sorted({x, y, a, b}, key=str))]
    assert all(slip in found for slip in wrong), found


def test_the_residual_is_shown_with_readable_symbols():
    with pytest.raises(CheckFailed, match=r"left − right = -α_t \+ α_\{t-1\}; it is -?0\.\d+ at α_t = 0\.\d+, α_\{t-1\} = 0\.\d+"):
        prove("2.7", b, a)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (sqrt((1 - a) + a * (1 - b)), sqrt(1 - a * b)),
        (N((x - y) / sqrt(a), 0, 1) / sqrt(a), N(x, y, a)),
        (Integral(N(x, sqrt(a) * y, 1 - a) * N(y, 0, 1 - b), (y, -oo, oo)), N(x, 0, 1 - a * b)),
        (Integral(N(x, y, a) * log(N(x, y, a) / N(x, 0, b)), (x, -oo, oo)), (a / b - 1 - log(a / b) + y**2 / b) / 2),
        (Product(1 - 1 / (n + 1) ** 2, (n, 1, 5)), sympify("7/12")),
    ],
)
def test_proves_what_the_derivation_needs(lhs, rhs, capsys):
    assert "proved" in verdict(capsys, prove, "1.1", lhs, rhs)


def test_given_is_applied_to_both_sides_and_in_turn(capsys):
    c, d = symbols("c d", positive=True)
    assert "✓" in verdict(capsys, prove, "1.1", c, 1 - a * b, given={c: 1 - d, d: a * b})
    with pytest.raises(CheckFailed):
        prove("1.1", c, 1 - a * b, given={c: 1 - d, d: a})


def test_what_an_integral_runs_over_stays_inside_it(capsys):
    """A variance that depends on the variable of the integral or sum must not be pulled out of it."""
    v = symbols("v", positive=True)
    for lhs, wrong in (
        (Integral(N(x, 0, v), (v, 0, 1)), N(x, 0, v)),
        (Sum(Integral(x**2 * N(x, 0, n), (x, -oo, oo)), (n, 1, 3)), 3 * n),
    ):
        with pytest.raises(CheckFailed):
            prove("1.1", lhs, wrong)
    assert "proved" in verdict(capsys, prove, "1.1", Integral(x**2 * N(x, 0, v), (x, -oo, oo), (v, 0, 1)), Rational(1, 2))


def test_bayes_and_the_posterior_of_the_next_chapter(capsys):
    """The quotient of three densities is a Gaussian, constant included: roots of products and products of roots merge."""
    z = symbols("z", real=True)
    prior, marginal = N(y, sqrt(b) * z, 1 - b), N(x, sqrt(a * b) * z, 1 - a * b)
    var = (1 - b) / (1 - a * b) * (1 - a)
    mean = sqrt(a) * (1 - b) / (1 - a * b) * x + sqrt(b) * (1 - a) / (1 - a * b) * z
    quotient = N(x, sqrt(a) * y, 1 - a) * prior / marginal
    assert "proved" in verdict(capsys, prove, "2.4", quotient, N(y, mean, var))
    refute("2.4", rhs=N(y, mean, 1 - a), slip="the variance of the step")


def test_a_network_is_a_symbol_of_which_nothing_is_known(capsys):
    net = Function("net")(x)
    assert "proved" in verdict(capsys, prove, "4.1", (e - net) ** 2, e**2 - 2 * e * net + net**2)
    with pytest.raises(DoesNotHold):
        prove("4.1", (e - net) ** 2, e**2 - e * net + net**2)


def test_tiny_numbers_are_told_apart(capsys):
    tiny = Rational(1, 10**20)
    assert "proved" in verdict(capsys, prove, "1.1", a * (1 + b) * tiny, a * tiny + a * b * tiny)
    with pytest.raises(CheckFailed):
        prove("1.1", a * tiny, a * 2 * tiny)


@pytest.mark.parametrize(
    ("lhs", "rhs", "given", "error", "message"),
    [
        (x, 0.5 * x, {}, TypeError, "has a rounded number in it"),
        (0.5 * x, x / 2, {}, TypeError, "has a rounded number in it"),
        (x, y, {x: 0.5 * y}, TypeError, "has a rounded number in it"),
        (x, Integral(x, (x, 0, 1)), {}, TypeError, "has an integral in rhs"),
        (x, y, {x: y, y: x}, TypeError, "is circular"),
        (Integral(N(x, 0, a - 2), (x, -oo, oo)), 1, {}, CheckFailed, "is not positive, so it is no variance"),
    ],
)
def test_claims_that_prove_nothing_are_refused(lhs, rhs, given, error, message):
    with pytest.raises(error, match=message):
        prove("1.1", lhs, rhs, given=given)


def test_two_sides_that_are_one_object_are_refused():
    with pytest.raises(CheckFailed, match="has the same on both sides: it proves nothing"):
        prove("1.1", exp(x / (a - b)), exp(x / (a - b)))


def test_two_names_for_the_same_are_refused():
    """(4.5) with the true mean in the place of the learned one: 0 = 0."""
    m, m_theta = symbols(r"\tilde\mu_t \mu_\theta", real=True)
    with pytest.raises(CheckFailed, match=f"{proof.plain(m_theta)} and {proof.plain(m)} stand for the same: -e"):
        prove("4.5", (m - m_theta) ** 2 / 2, sympify(0), given={m: x - e, m_theta: x - e})


class Mute(Function):
    """Shows a symbol and is 0 whatever it is."""

    def doit(self, **_):
        return sympify(0)

    def _eval_evalf(self, _):
        return sympify(0)


def test_a_symbol_on_which_the_claim_does_not_depend_is_refused():
    with pytest.raises(CheckFailed, match=r"\(1.1\) shows y, on which its claim does not depend"):
        prove("1.1", x * (1 + x), x + x**2 + Mute(y))
    with pytest.raises(CheckFailed, match="shows α_t, on which its claim does not depend"):
        define("1.4", 1 - b + Mute(a), lambda a, b: td.Schedule([b]).alpha[1], args=(a, b))


def test_what_only_writes_out_a_name_is_called_so(capsys):
    c = symbols("c", positive=True)
    assert "✓ (4.7) substituted: with its names written out, one side is the other; rejects" in verdict(
        capsys, prove, "4.7", (x - c) ** 2, (x - a * b) ** 2, given={c: a * b}
    )
    assert "proved: left − right = 0" in verdict(
        capsys, prove, "4.7", (x - c) ** 2, x**2 - 2 * a * b * x + (a * b) ** 2, given={c: a * b}
    )


def test_agreement_in_numbers_is_no_proof():
    """Two sides that differ in the 25th digit agree in all the numbers that are looked at."""
    with pytest.raises(NotProved):
        prove("1.1", x, x + x * Rational(1, 10**25))


def test_an_undecided_slip_is_held_against_the_check(monkeypatch):
    monkeypatch.setattr(proof, "is_zero", lambda lhs, rhs: lhs == rhs)
    monkeypatch.setattr(proof, "same_numbers", lambda lhs, rhs: True)
    with pytest.raises(CheckFailed, match="accepts a broken version of its claim"):
        prove("1.1", cos(e * y), cos(x * y), given={e: x})


def test_what_cannot_be_proved_is_no_refutation(monkeypatch):
    prove("1.1", (x + y) ** 2, x**2 + 2 * x * y + y**2)
    monkeypatch.setattr(proof, "is_zero", lambda lhs, rhs: False)
    for check in (lambda: prove("1.1", x * (1 + y), x + x * y), lambda: refute("1.1", lhs=(y + x) ** 2, slip="?")):
        with pytest.raises(NotProved, match="is not proved"):
            check()


def test_a_check_knows_its_two_sides(monkeypatch):
    """What the ledger page and the tests of the displayed lines read."""
    seen = []
    monkeypatch.setattr(ledger.Check, "show", lambda check: seen.append(check))
    prove("1.1", sqrt(a) ** 2 * (1 + b), a + a * b, statement="S1", broken={"b": b})
    prove("1.4", sqrt(a) * e + sqrt(1 - a) * f, g, noise=[e, f], new=g)
    define("1.2", Eq(b, 1 - a), lambda v: td.Schedule([v]).alpha[1], args=(a,))
    define("1.3", 1 - a, lambda v: td.Schedule([v]).alpha[1], args=(a,))
    assert [(c.tag, c.kind, c.statement, c.broken) for c in seen[:1]] == [("1.1", "proved", "S1", ("b",))]
    assert [c.lhs and sympify(c.lhs) for c in seen] == [a * (1 + b), sqrt(a) * e + sqrt(1 - a) * f, b, None]
    assert [sympify(c.rhs) for c in seen] == [a + a * b, g, 1 - a, 1 - a]
    assert [c.new for c in seen] == [None, "g", None, None]
    assert seen[2].calls == ("td.Schedule",)


def test_broken_versions_by_name_must_be_rejected(capsys):
    text = verdict(capsys, prove, "1.1", a * (1 + b), a + a * b, broken={"a sum": a + b})
    assert text.endswith("among them “a sum”")
    with pytest.raises(CheckFailed, match="accepts the broken version 'the same'"):
        prove("1.1", a * (1 + b), a + a * b, broken={"the same": a * b + a})


# ---- noise ----


def test_equality_in_distribution_adds_variances_not_deviations(capsys):
    two = sqrt(a) * e + sqrt(b) * f + x
    assert "both Gaussian, same mean, same standard deviation" in verdict(
        capsys, prove, "1.1", two, x + sqrt(a + b) * g, noise=[e, f], new=g
    )
    for wrong in (x + (sqrt(a) + sqrt(b)) * g, x - sqrt(a + b) * g, sqrt(a + b) * g, x + sqrt(a + b) * g + e, x + (a + b) * g):
        with pytest.raises(CheckFailed):
            prove("1.1", two, wrong, noise=[e, f], new=g)
    with pytest.raises(CheckFailed, match="not a mean plus the new noise"):
        prove("1.1", x + a * e, x, noise=[e], new=g)
    with pytest.raises(CheckFailed, match="not a mean plus independent noises"):
        prove("1.1", x + e**2, x + g, noise=[e], new=g)
    with pytest.raises(TypeError, match="name the noise of the right side with new="):
        prove("1.1", two, x + sqrt(a + b) * g, noise=[e, f])


def test_the_noise_on_the_right_has_to_be_new(capsys):
    """(1.15) with the noise of the step for the merged one: the very slip that the next box refutes."""
    two = sqrt(a) * e + sqrt(1 - a) * f
    with pytest.raises(DoesNotHold, match="e is a noise of the left side already, and no new one"):
        prove("1.15", two, e, noise=[e, f], new=e)
    prove("1.15", two, g, noise=[e, f], new=g)
    prove("1.15", two, g, noise=[e, f], new=g)  # a cell may be run again
    for used in (g, e):
        with pytest.raises(DoesNotHold, match=rf"{used} is a noise of \(1\.15\) already, and no new one"):
            prove("1.16", sqrt(a) * x + sqrt(1 - a) * y, used, noise=[x, y], new=used)


def test_a_symbol_may_be_drawn_from_a_density(capsys):
    drawn = {x: N(x, 2 * y, a)}
    assert "proved" in verdict(capsys, prove, "1.1", x, 2 * y + sqrt(a) * e, given=drawn, new=e)
    with pytest.raises(CheckFailed):
        prove("1.1", x, 2 * y + a * e, given=drawn, new=e)
    with pytest.raises(CheckFailed):
        prove("1.1", x, N(x, 2 * y, a), given=drawn, new=e)  # a density is no recipe


def test_one_noise_twice_is_not_two_noises(capsys):
    prove("1.1", sqrt(a) * e + sqrt(b) * f, sqrt(a + b) * g, noise=[e, f], new=g)
    assert "✗ rejected: dependent: left − right" in verdict(
        capsys, refute, "1.1", lhs=sqrt(a) * e + sqrt(b) * e, noise=[e], slip="dependent"
    )


# ---- densities: their meaning follows from their arguments ----

T, t = symbols("T t", integer=True, positive=True)
PATH, WHOLE = States(1, T), States(0, T)
STEPS = Product(q(t, t - 1), (t, 1, T))
BACK = p(T) * Product(p_theta(t - 1, t), (t, 1, T))
RATIOS = Mean(log(q(T, 0) / p(T)) + Sum(log(q(t - 1, t, 0) / p_theta(t - 1, t)), (t, 2, T)))


def test_paths_are_the_products_of_their_steps():
    prove("3.7", Mean(log(q(PATH, 0) / p_theta(WHOLE))), Mean(log(STEPS / BACK)), induction=T)
    for wrong in (STEPS * BACK, STEPS / BACK * p(T), BACK / STEPS, STEPS / (p(T) / Product(p_theta(t - 1, t), (t, 1, T)))):
        with pytest.raises(DoesNotHold):
            prove("3.7", Mean(log(q(PATH, 0) / p_theta(WHOLE))), Mean(log(wrong)), induction=T)


def test_bayes_rule_is_known_and_no_other():
    step, turned = log(q(t, t - 1)), log(q(t - 1, t, 0) * q(t, 0) / q(t - 1, 0))
    prove("3.10", Mean(Sum(step, (t, 2, T))), Mean(Sum(turned, (t, 2, T))), induction=T)
    for wrong in (q(t - 1, t, 0) * q(t - 1, 0) / q(t, 0), q(t - 1, t) * q(t, 0) / q(t - 1, 0), q(t - 1, t, 0)):
        with pytest.raises(DoesNotHold):
            prove("3.10", Mean(Sum(step, (t, 2, T))), Mean(Sum(log(wrong), (t, 2, T))), induction=T)


def test_a_divergence_is_the_mean_over_its_first_density(capsys):
    between = Sum(KL(q(t - 1, t, 0), p_theta(t - 1, t)), (t, 2, T))
    text = verdict(capsys, prove, "3.15", RATIOS, Mean(KL(q(T, 0), p(T)) + between), induction=T)
    assert text.startswith("✓ (3.15) substituted")
    with pytest.raises(DoesNotHold):
        prove("3.15", RATIOS, Mean(KL(q(T, 0), p_theta(T)) + between), induction=T)
    with pytest.raises(TypeError, match="draws that do not know x_0"):
        prove("3.15", RATIOS, Mean(KL(q(T, 0), p(T)) + Sum(KL(q(t, t - 1), p_theta(t)), (t, 2, T))), induction=T)


def test_a_divergence_that_is_turned_around_is_refused():
    """(3.15) with both divergences reversed, in cell and page, was proved once."""
    reversed_end = KL(p_theta(T, 0), q(T, 0))
    with pytest.raises(TypeError, match=r"is a mean over draws from p_.*and E_q draws from q"):
        prove("3.15", RATIOS, Mean(reversed_end), induction=T)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (q(T, 0), 3, "needs two densities"),
        (x, p(T), "needs two densities"),
        (q(T, 0), p(T - 1), "compares densities of different states"),
        (q(t - 1, 0), p_theta(t - 1, t), "has a second density that knows more than the first"),
    ],
)
def test_what_stands_in_a_divergence_is_two_densities_of_one_state(first, second, message):
    with pytest.raises(TypeError, match=message):
        KL(first, second)


@pytest.mark.parametrize(
    "side",
    [Mean(log(q(1, 0))) * Mean(log(q(1, 0))), log(q(1, 0)) + Mean(log(q(2, 1))), log(Mean(q(1, 0))), KL(q(2, 0), p(2))],
)
def test_what_is_no_mean_is_refused(side):
    with pytest.raises(TypeError, match="is not a mean E_q"):
        prove("3.5", side, x)


# ---- inequalities ----


def test_an_inequality_is_proved_where_it_is_tightest(capsys):
    text = verdict(capsys, at_most, "1.20", 1 - a, exp(-a), over=(a, 0, 1))
    assert "from 0 to 1, right − left is smallest where its slope is 0 or at an end, and ≥ 0 there; rejects" in text
    for low, high, start, end in (
        (exp(-a), 1 - a, 0, 1),
        (log(a), a - 2, 0, oo),
        (exp(-2 * a), 1 - a, 0, 1),
        (a, 3 * a / 2 - a**2, 0, 1),
    ):
        with pytest.raises(DoesNotHold, match=r"right − left is -"):
            at_most("1.20", low, high, over=(a, start, end))
    refute("1.20", high=exp(-2 * a), slip="twice the exponent")


def test_a_divergence_is_never_negative(capsys):
    gap, truth = KL(q(PATH, 0), p_theta(PATH, 0)), -log(p_theta(0))
    text = verdict(capsys, at_most, "3.1", truth, truth + gap, gap=gap)
    assert "proved: right − left is a divergence, and log y ≤ y − 1" in text
    at_most("3.6", truth, Mean(log(q(PATH, 0) / p_theta(WHOLE))), gap=gap)
    for low, high in (
        (truth + gap, truth),
        (truth, 2 * truth + gap),
        (truth, truth - gap),
        (truth, Mean(log(p_theta(WHOLE) / q(PATH, 0)))),
    ):
        with pytest.raises(DoesNotHold):
            at_most("3.1", low, high, gap=gap)
    with pytest.raises(DoesNotHold, match="is not a sum of divergences"):
        at_most("3.1", truth, truth - gap, gap=-gap)


@pytest.mark.parametrize("options", [{}, {"over": (a, 0, 1), "gap": a}, {"over": (b, 0, 1)}, {"over": a}])
def test_an_inequality_needs_a_range_or_a_gap(options):
    with pytest.raises(TypeError, match=r"give either over= or gap=|is not the one symbol"):
        at_most("1.1", 1 - a, exp(-a), **options)


# ---- refutations ----


@pytest.mark.parametrize("wrong", [{"rhs": b * a + a}, {"rhs": a + a * b, "given": {}}])
def test_refute_accepts_only_a_difference(wrong):
    prove("1.1", a * (1 + b), a + a * b)
    with pytest.raises(CheckFailed, match="holds, so 'nothing wrong' is no slip"):
        refute("1.1", **wrong, slip="nothing wrong")


def test_a_variant_goes_to_the_check_of_its_equation():
    """`refute` knows nothing by itself: what it rejects is rejected by the check that the equation passed."""
    with pytest.raises(CheckFailed, match=r"\(4.2\) has not been checked in this run"):
        refute("4.2", rhs=x, slip="anything at all")
    agree("4.2", lambda: [1.0, 2.0], lambda: np.array([1, 2]))
    refute("4.2", claim=lambda: [1.0, 2.5], slip="a wrong number")
    with pytest.raises(TypeError):
        refute("4.2", rhs=x, slip="not of its kind")
    with pytest.raises(CheckFailed, match="compares the shapes") as error:
        refute("4.2", claim=lambda: 16384.0, slip="anything at all")
    assert not isinstance(error.value, DoesNotHold)


def test_dividing_by_zero_is_a_difference(capsys):
    c = symbols("c", positive=True)
    prove("2.7", x * (1 / c + 1), x / c + x)
    assert "it has no value, for something is divided by zero" in verdict(capsys, refute, "2.7", given={c: 0}, slip="zero")


# ---- two computations ----


def double(value=3.0):
    return 2 * value


def once_more():
    return double(3.0)


def test_numbers_must_agree_to_the_tolerance(capsys):
    text = verdict(capsys, agree, "3.9", lambda: [1.0, 2.0], lambda: np.array([1, 2]))
    assert text == "✓ (3.9) two computations agree to 1e-10; they call no function and read no value in common"
    for against in ([1.0, 2.0 + 1e-9], [1.0, np.nan], [1.0, np.inf], [1.0, -2.0], [1.0], [0.0, 2.0]):
        with pytest.raises(CheckFailed):
            agree("3.9", lambda: [1.0, 2.0], lambda against=against: against)
    agree("3.9", lambda: torch.tensor(3.0, requires_grad=True), lambda: 3.0)
    with pytest.raises(DoesNotHold):
        agree("3.9", lambda: [1e-9], lambda: [1.1e-9])  # relative, not absolute
    for nothing in ([], [0.0, 0.0]):
        with pytest.raises(CheckFailed, match="compares nothing but zeros"):
            agree("3.9", lambda nothing=nothing: nothing, lambda nothing=nothing: list(nothing))
    with pytest.raises(TypeError, match="complex128 are compared"):
        agree("3.9", lambda: np.array([1j]), lambda: np.array([1j]))


def test_what_two_computations_have_in_common_is_said(capsys):
    schedule = td.Schedule([0.1, 0.2])
    text = verdict(capsys, agree, "3.1", once_more, lambda: double(3.0))
    assert "both use double" in text
    text = verdict(capsys, agree, "3.1", lambda: td.q_marginal(schedule, torch.ones(1), 2).mean,
                   lambda: td.q_marginal(schedule, torch.ones(1), 2).mean.clone())  # fmt: skip
    assert "both use q_marginal" in text
    with pytest.raises(CheckFailed, match="compares a computation with itself"):
        agree("3.1", double, double)


def test_broken_versions_of_numbers_are_those_that_the_chapter_computes(capsys):
    text = verdict(capsys, agree, "3.9", lambda: 1.0, lambda: 1, broken={"twice": lambda: 2.0, "half": 0.5})
    assert text.endswith("in common; rejects “twice”, “half”")
    with pytest.raises(CheckFailed, match="accepts the broken version 'the same'"):
        agree("3.9", lambda: 1.0, lambda: 1, broken={"the same": lambda: 1.0})
    with pytest.raises(CheckFailed, match=r"broken version 'b' has the shape \(3,\), expected \(2,\)"):
        agree("3.9", lambda: [1.0, 2.0], lambda: (1, 2), broken={"b": [1.0, 2.0, 3.0]})


# ---- definitions ----


def test_define_compares_code_with_formula(capsys):
    text = verdict(capsys, define, "1.1", Eq(N(x, y, a), exp(-((x - y) ** 2) / (2 * a)) / sqrt(2 * pi * a)),
                   lambda x, y, v: td.Gaussian(y, v).log_prob(x).exp(), args=(x, y, a))  # fmt: skip
    assert "the code computes the formula to 1e-12" in text
    with pytest.raises(DoesNotHold):
        define("1.1", 1 - 2 * a, lambda a: td.Schedule([a]).alpha[1], args=(a,))
    with pytest.raises(CheckFailed, match="accepts the broken version 'the same'"):
        define("1.1", 1 - a, lambda a: td.Schedule([a]).alpha[1], args=(a,), broken={"the same": 1 - a})
    define("1.1", 1 - a, lambda a: td.Schedule([a]).alpha[1], args=(a,))
    refute("1.1", formula=1 - a**2, slip="a square")


def test_the_code_may_not_compute_the_formula_itself():
    """(6.3) with the variance typed into formula and code alike: three times as much would pass."""
    one = td.Schedule([0.1])
    for code in (
        lambda v: 1 - v,
        lambda v: td.Schedule([0.5]).alpha[1] * 2 - v,
        lambda v: td.q_step(one, v[None], 1).mean[0] * 0 + (1 - v),
        lambda v: torch.stack([1 - v]).sum() + 0 * td.Schedule([0.5]).alpha[1],
    ):
        with pytest.raises(CheckFailed, match=r"computes a part of the formula itself|does not call the package"):
            define("6.3", 1 - a, code, args=(a,))
    define("6.3", sqrt(1 - b) * x, lambda v, x: td.q_step(td.Schedule([v]), (2 * x / 2)[None], 1).mean, args=(b, x))


@pytest.mark.parametrize("name", [a, b + x, 1 - b])
def test_what_is_defined_is_a_name(name):
    with pytest.raises(CheckFailed, match="is not a name that the formula defines"):
        define("1.4", Eq(name, 1 - a), lambda v: td.Schedule([v]).alpha[1], args=(a,))


def test_a_density_that_is_defined_is_the_one_that_is_named():
    with pytest.raises(DoesNotHold):
        define("1.1", Eq(N(x, y, a**2), exp(-((x - y) ** 2) / (2 * a)) / sqrt(2 * pi * a)),
               lambda x, y, v: td.Gaussian(y, v).log_prob(x).exp(), args=(x, y, a))  # fmt: skip


def test_define_draws_where_the_formula_is_real():
    variance = lambda p, q: td.Schedule([p, q]).one_minus_alpha_bar[2]  # noqa: E731
    define("1.1", a + b - a * b, variance, args=(a, b))
    with pytest.raises(TypeError, match=r"symbols that are not in args: α_\{t-1\}"):
        define("1.1", a * b, lambda p: p, args=(a,))
    with pytest.raises(CheckFailed, match="has no real value"):
        define("1.1", sqrt(-1 - a), lambda p: p, args=(a,))


def test_define_passes_counts_as_int():
    i, alpha = symbols("i", integer=True, positive=True), symbols("alpha", positive=True)
    six = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    define("1.1", Product(alpha, (i, 1, n)), lambda n: td.Schedule(six).alpha_bar[n], args=(n,), given={alpha: 1 - i / 10})
    with pytest.raises(CheckFailed):
        define("1.1", Product(alpha, (i, 1, n)), lambda n: td.Schedule(six).alpha[n], args=(n,), given={alpha: 1 - i / 10})
    refute("1.1", formula=Product(alpha, (i, 1, 6)), slip="the product to T")


@pytest.mark.parametrize("tag", ["", "1", "1.1a", "one.two"])
def test_bad_tags_are_named(tag):
    with pytest.raises(ValueError, match=f"tag = '{tag}' is not chapter.number"):
        prove(tag, x, y)


def test_prints_as_it_is_written():
    from sympy import latex

    assert latex(N(x, y, a)) == r"\mathcal{N}\left(x;\ y,\ \alpha_{t}\right)"


def test_without_sympy_the_extra_is_named():
    code = "import sys; sys.modules['sympy'] = None\ntry: import tinyddpm.book\nexcept ModuleNotFoundError as e: print(e)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "tinyddpm.book needs sympy: pip install 'tinyddpm[book]'"


# ---- for every T: sums and products, by induction ----

h = Function("h", positive=True)
telescope = Sum(log(h(t) / h(t - 1)), (t, 2, T))


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (Sum(t, (t, 1, T)), T * (T + 1) / 2),
        (telescope, log(h(T) / h(1))),
        (log(Product(h(t), (t, 1, T))), Sum(log(h(t)), (t, 1, T))),
        (log(Product(h(t), (t, 1, T)) / Product(q(t), (t, 1, T))), log(h(1) / q(1)) + Sum(log(h(t) / q(t)), (t, 2, T))),
    ],
)
def test_a_line_for_every_T_is_proved_by_induction(lhs, rhs, capsys):
    assert "for every T, by induction; rejects" in verdict(capsys, prove, "2.7", lhs, rhs, induction=T)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (Sum(t, (t, 1, T)), T * (T + 1) / 2 + (T - 1) * (T - 2)),  # holds for T = 1 and T = 2
        (Sum(t, (t, 1, T)), T * (T + 1) / 2 + 1),  # grows as it should
        (telescope, log(h(T) / h(2))),
        (telescope, log(h(T - 1) / h(1))),
        (telescope, Sum(log(h(t) / h(t - 1)), (t, 3, T))),
        (telescope, Sum(log(h(t) / h(t - 1)), (t, 2, T + 1))),
        (log(Product(h(t), (t, 1, T))), Sum(log(h(t)), (t, 1, T - 1))),
        (log(Product(h(t), (t, 1, T))), Sum(log(h(t)), (t, 0, T))),
        (Sum(log(h(t)), (t, 1, T)), Sum(log(h(t - 1)), (t, 1, T))),
    ],
)
def test_what_fails_for_some_T_is_rejected(lhs, rhs):
    with pytest.raises(CheckFailed):
        prove("2.7", lhs, rhs, induction=T)


@pytest.mark.parametrize(
    ("lhs", "rhs", "arguments"),
    [
        (Abs(x), x, {}),
        (sqrt(1 - 2 * a + a**2), 1 - a, {}),
        (Sum(h(t) * Abs(8 - t), (t, 1, T)), Sum(h(t) * (8 - t), (t, 1, T)), {"induction": T}),
        (Sum(h(t), (t, 1, T)), h(1) + h(2) + Sum(h(t), (t, 3, T)), {"induction": T}),  # not for T = 1
    ],
)
def test_what_holds_only_nearby_is_not_proved(lhs, rhs, arguments):
    with pytest.raises(CheckFailed):
        prove("2.7", lhs, rhs, **arguments)


def test_a_sum_may_be_written_with_another_index():
    prove("2.7", Sum(h(t + 1), (t, 1, T)), Sum(h(t), (t, 2, T + 1)), induction=T)
    prove("2.7", h(x * (x + 1)) * y, h(x**2 + x) * y)


def test_a_growth_that_is_not_known_is_no_proof_and_no_slip():
    prove("2.7", Sum(t, (t, 1, T)), T * (T + 1) / 2, induction=T)
    with pytest.raises(NotProved, match="is not known"):
        refute("2.7", lhs=T * Sum(h(t), (t, 1, T)), rhs=Sum(h(t), (t, 1, T)), slip="none")


@pytest.mark.parametrize(
    "arguments", [{"induction": a}, {"induction": n}, {"induction": T, "new": e}, {"induction": T, "given": {x: N(x, y, 1)}}]
)
def test_an_induction_needs_a_number_that_counts(arguments):
    with pytest.raises(TypeError, match="induction"):
        prove("2.7", Sum(t, (t, 1, T)) * a / a, T * (T + 1) / 2, **arguments)


# ---- measurements ----

LOW, HIGH = [1.0, 1.1, 0.9, 1.05, 1.0], [2.0, 2.1, 1.9, 2.05, 2.2]
PAIRS = [1.0, 5.0, 9.0, 2.0, 6.0, 7.0, 3.0, 8.0]


def test_a_measured_difference_is_accepted(capsys):
    text = verdict(capsys, measure, "5.5", LOW, HIGH, by=0.5, statement="S44")
    assert text == ("✓ (5.5) measured: lower by more than 0.5 in 5 and 5 runs; of the experiments with exchanged names, "
                    "at most 1 in 100 show that")  # fmt: skip
    assert "lower by a factor of more than 1.8 in 5 and 5 runs" in verdict(capsys, measure, "5.5", LOW, HIGH, factor=1.8)
    assert "lower in 8 pairs of runs" in verdict(capsys, measure, "5.5", PAIRS, [r + 0.1 for r in PAIRS], paired=True)


@pytest.mark.parametrize(
    ("low", "high", "options"),
    [
        (HIGH, LOW, {}),
        (LOW, LOW, {}),
        (LOW, HIGH, {"by": 1.1}),
        (LOW, HIGH, {"factor": 2.2}),
        ([1.0, 1.1, 0.9, 1.0, 1.2], [1.05, 1.15, 0.95, 1.1, 1.2], {}),
        (PAIRS, [r + (-1) ** i + 0.1 for i, r in enumerate(PAIRS)], {"paired": True}),
        (PAIRS, [r + 0.1 for r in PAIRS], {}),  # pairs are told apart where single runs are not
    ],
)
def test_what_was_not_measured_is_rejected(low, high, options):
    with pytest.raises(DoesNotHold, match=r"it is not lower .*or chance alone shows it: .* with exchanged names"):
        measure("5.5", low, high, **options)


@pytest.mark.parametrize(
    ("pairs", "as_much"), [([1.0] * 8, 1 / 256), ([1.0] * 7 + [-0.5], 2 / 256), ([1.0] * 6 + [-1.0] * 2, 37 / 256)]
)
def test_the_share_of_chance_by_hand(pairs, as_much):
    """Of the 2^8 ways to exchange names, those whose sum is as large: none but itself, one more, 1 + 8 + 28."""
    assert ledger._by_chance(np.array(pairs)) == (as_much, 256)
    assert ledger._by_chance_of_two(np.zeros(3), np.ones(3)) == (1 / 20, 20)


def test_a_difference_by_chance_is_found_as_often_as_said():
    """Runs that differ in nothing but their names pass in about one case of a hundred."""
    draw = np.random.default_rng(0)
    passed = [ledger._by_chance(draw.normal(size=10))[0] <= ledger.LEVEL for _ in range(1000)]
    assert 2 <= sum(passed) <= 20


@pytest.mark.parametrize("low", [[1.0], LOW[:4], [1.0, float("nan"), 1.1], [[1.0, 1.1, 1.2]]])
def test_too_few_or_bad_runs_are_refused(low):
    with pytest.raises(CheckFailed, match=r"too few runs|not finite|compares") as error:
        measure("5.5", low, HIGH[:4])
    assert not isinstance(error.value, DoesNotHold)


def test_a_ratio_is_one_of_positive_results():
    with pytest.raises(CheckFailed, match="factor = 2: the results are not all above 0"):
        measure("5.5", [0.0, *LOW], HIGH, factor=2)
    with pytest.raises(TypeError, match="by = 1 and factor = 2: give one of them"):
        measure("5.5", LOW, HIGH, by=1, factor=2)


def test_pairs_need_a_partner():
    with pytest.raises(CheckFailed, match=r"compares \(5,\) with \(4,\) results"):
        measure("5.5", LOW, HIGH[:4], paired=True)


# ---- what an attack found: each of these was printed as ✓ once ----


@pytest.mark.parametrize(
    ("lhs", "rhs", "options", "error"),
    [
        (sqrt((a - 6 * b) ** 2), 6 * b - a, {}, CheckFailed),  # for a below 6 b only
        (sqrt((x - 40) ** 2), 40 - x, {}, CheckFailed),
        (Mean(log(q(t - 1, t) / p_theta(t - 1, t))), Mean(KL(q(t - 1, t), p_theta(t - 1, t))), {}, TypeError),  # does not know x_0
        (Mean(log(q(WHOLE) / p_theta(WHOLE))), KL(q(WHOLE), p_theta(WHOLE)), {}, TypeError),  # not the path that E_q runs over
        (x + Mean(log(q(1, 0))), Mean(x + log(q(1, 0))), {}, TypeError),  # x might be a state
        (y, x + a * f, {"noise": [e], "new": f, "given": {y: x + a * e + 5 * f}}, DoesNotHold),
        (x, y + sqrt(a) * e, {"new": e, "given": {x: N(x, x, a)}}, TypeError),
        (x, y + sqrt(a) * e, {"new": e, "given": {x: N(y, y, a)}}, TypeError),
        (x, y + sqrt(a - 1) * e, {"new": e, "given": {x: N(x, y, a - 1)}}, CheckFailed),
        (Sum(b, (n, 1, 3)), 6 * a, {"given": {b: n * a}}, TypeError),
        (Limit(sqrt(x**2) / x, x, 0), sympify(1), {}, TypeError),
        (Sum(n * a, (n, 5, 1)), -9 * a, {}, CheckFailed),
    ],
)
def test_what_is_false_and_was_proved_is_refused(lhs, rhs, options, error):
    with pytest.raises(error):
        prove("9.1", lhs, rhs, **options)


def test_bayes_rule_has_no_first_step():
    with pytest.raises(TypeError, match="is no density: that state is known"):
        turned = log(q(t - 1, t, 0) * q(t, 0) / q(t - 1, 0))
        prove("3.10", Mean(Sum(log(q(t, t - 1)), (t, 1, T))), Mean(Sum(turned, (t, 1, T))), induction=T)


def test_noises_that_are_made_of_one_another_are_not_independent():
    prove("9.1", (e + f) / sqrt(2), g, noise=[e, f], new=g)
    with pytest.raises(DoesNotHold, match="made of another, so they are not independent"):
        prove("9.2", (g + e) / sqrt(2), y, noise=[g, e], new=y)
    state = symbols("x_t", real=True)
    with pytest.raises(TypeError, match="x_t is a state, and no noise"):
        prove("9.3", (state + e) / sqrt(2), y, noise=[state, e], new=y)


@pytest.mark.parametrize(
    ("low", "high", "over"),
    [(-1, 1 / x, (x, -1, 2)), (-2, 1 / (1 - a), (a, 0, 2)), (a, a**2, (a, 1, 0)), (1 - a, exp(-a), (a, 1, 1))],
)
def test_an_inequality_over_no_range_or_over_a_pole_is_refused(low, high, over):
    with pytest.raises(NotProved, match=r"is no range|have no value at"):
        at_most("9.1", low, high, over=over)


def test_a_true_inequality_is_no_slip():
    gap, truth = KL(q(PATH, 0), p_theta(PATH, 0)), -log(p_theta(0))
    at_most("3.1", truth, truth + gap, gap=gap)
    with pytest.raises(CheckFailed, match="holds, so 'twice the gap' is no slip"):
        refute("3.1", high=truth + 2 * gap, slip="twice the gap")


@pytest.mark.parametrize(
    "code", [lambda a: a.item() ** 2, lambda a: float(a) ** 2, lambda a: a.numpy() ** 2, lambda a: a.tolist() ** 2]
)
def test_an_argument_is_not_made_a_plain_number(code):
    with pytest.raises(TypeError, match="makes a plain number of an argument"):
        define("9.1", a**2, code, args=(a,))


def test_one_run_that_is_copied_is_no_experiment():
    with pytest.raises(CheckFailed, match="runs that all gave the same"):
        measure("9.1", [0.9] * 5, HIGH)
    with pytest.raises(ValueError, match="expected at least 0 and 1"):
        measure("9.1", HIGH, LOW, by=-5)


def test_a_premise_is_recorded(monkeypatch):
    seen = []
    monkeypatch.setattr(ledger.Check, "show", lambda check: seen.append(check))
    prove("1.1", x * (1 + y), x + x * a, given={y: a})
    assert [(sympify(key), sympify(value)) for key, value in seen[0].given] == [(y, a)]
