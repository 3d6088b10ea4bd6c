"""The ledger rejects what is wrong, proves what is right, and refuses checks that cannot fail."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from sympy import Abs, Eq, Function, Integral, Product, Rational, Sum, cos, exp, log, oo, pi, sqrt, symbols, sympify

from tinyddpm import ledger
from tinyddpm.ledger import CheckFailed, DoesNotHold, N, NotProved, define, measure, refute, verify

a, b = symbols(r"\alpha_t \alpha_{t-1}", positive=True)
x, y, e, f, g = symbols("x y e f g", real=True)
n = symbols("n", integer=True, positive=True)


def verdict(capsys, check, *args, **kwargs):
    check(*args, **kwargs)
    return " ".join(capsys.readouterr().out.split())


def test_a_true_identity_is_proved_and_reported(capsys):
    text = verdict(capsys, verify, "2.7", (x + y) ** 2, x**2 + 2 * x * y + y**2)
    assert re.fullmatch(r"✓ \(2.7\) proved: left − right = 0; rejects \d+ broken versions", text)


@pytest.mark.parametrize(
    "wrong",
    [x**2 + 2 * x * y - y**2, x**2 + x * y + y**2, x**2 + 2 * x * y + y**3, x**2 + 2 * x * y + x**2, 0, 2 * (x + y) ** 2],
)
def test_every_slip_is_rejected_with_its_residual(wrong):
    with pytest.raises(CheckFailed, match=r"\(2.7\) does not hold: left − right") as error:
        verify("2.7", (x + y) ** 2, wrong)
    assert not isinstance(error.value, NotProved)
    refute("2.7", (x + y) ** 2, sympify(wrong), slip="a slip")


@pytest.mark.parametrize("digits", [11, 9, 3])
def test_a_small_difference_is_a_difference(digits):
    with pytest.raises(DoesNotHold):
        verify("2.7", x * a, x * a * (1 + Rational(1, 10**digits)))


@pytest.mark.parametrize(
    ("claim", "wrong"),
    [
        (x, [2 * x, y]),
        (2 * x, [4 * x, -2 * x, 3 * x, 2 * y]),
        (x + y, [2 * x + 2 * y, -x + y, x - y, 2 * x, 2 * y]),
        (x**2, [2 * x**2, x**3, y**2]),
        (sqrt(a), [2 * sqrt(a), a ** Rational(3, 2), sqrt(b)]),
        (Product(a, (n, 1, 5)), [2 * Product(a, (n, 1, 5)), Product(b, (n, 1, 5)), Product(a, (n, 2, 5))]),
    ],
)
def test_every_kind_of_slip_is_tried(claim, wrong):
    """A factor of two, the sign of each part, each number one up, each symbol for the next of its kind."""
    slips = list(ledger._slips(claim, sorted({x, y, a, b}, key=str)))
    assert all(slip in slips for slip in wrong), slips
    assert not any(s.limits[0][2] != claim.limits[0][2] for s in slips if isinstance(s, Product))


def test_the_residual_is_shown_with_readable_symbols():
    with pytest.raises(CheckFailed, match=r"left − right = -α_t \+ α_\{t-1\}; it is -?0\.\d+ at α_t = 0\.\d+, α_\{t-1\} = 0\.\d+"):
        verify("2.7", b, a)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (sqrt((1 - a) + a * (1 - b)), sqrt(1 - a * b)),
        (sqrt(a * b), sqrt(a) * sqrt(b)),
        (N((x - y) / sqrt(a), 0, 1) / sqrt(a), N(x, y, a)),
        (Integral(N(x, sqrt(a) * y, 1 - a) * N(y, 0, 1 - b), (y, -oo, oo)), N(x, 0, 1 - a * b)),
        (Integral(N(x, y, a) * log(N(x, y, a) / N(x, 0, b)), (x, -oo, oo)), (a / b - 1 - log(a / b) + y**2 / b) / 2),
        (Product(1 - 1 / (n + 1) ** 2, (n, 1, 5)), sympify("7/12")),
        (exp(x) * exp(-y) / exp(x - y), 1),
    ],
)
def test_proves_what_the_derivation_needs(lhs, rhs, capsys):
    assert "proved" in verdict(capsys, verify, "1.1", lhs, rhs)


def test_given_is_applied_to_both_sides_and_in_turn(capsys):
    c, d = symbols("c d", positive=True)
    assert "proved" in verdict(capsys, verify, "1.1", c, 1 - a * b, given={c: 1 - d, d: a * b})
    with pytest.raises(CheckFailed):
        verify("1.1", c, 1 - a * b, given={c: 1 - d, d: a})


def test_equality_in_distribution_adds_variances_not_deviations(capsys):
    two = sqrt(a) * e + sqrt(b) * f + x
    assert "same mean, same standard deviation" in verdict(capsys, verify, "1.1", two, x + sqrt(a + b) * g, noise=[e, f, g])
    for wrong in (x + (sqrt(a) + sqrt(b)) * g, x - sqrt(a + b) * g, sqrt(a + b) * g, x + sqrt(a + b) * g + e, x + (a + b) * g):
        with pytest.raises(CheckFailed):
            verify("1.1", two, wrong, noise=[e, f, g])
    with pytest.raises(CheckFailed, match="not a mean plus one noise"):
        verify("1.1", x + a * e, x, noise=[e])
    with pytest.raises(CheckFailed, match="not linear in the noise"):
        verify("1.1", x + e**2, x + g, noise=[e, g])


def test_a_symbol_may_be_drawn_from_a_density(capsys):
    drawn = {x: N(x, 2 * y, a)}
    assert "proved" in verdict(capsys, verify, "1.1", x, 2 * y + sqrt(a) * e, given=drawn, noise=[e])
    with pytest.raises(CheckFailed):
        verify("1.1", x, 2 * y + a * e, given=drawn, noise=[e])


def test_what_an_integral_runs_over_stays_inside_it(capsys):
    """A variance that depends on the variable of the integral or sum must not be pulled out of it."""
    v = symbols("v", positive=True)
    for lhs, wrong in (
        (Integral(N(x, 0, v), (v, 0, 1)), N(x, 0, v)),
        (Sum(Integral(x**2 * N(x, 0, n), (x, -oo, oo)), (n, 1, 3)), 3 * n),
    ):
        with pytest.raises(CheckFailed):
            verify("1.1", lhs, wrong)
    assert "proved" in verdict(capsys, verify, "1.1", Integral(x**2 * N(x, 0, v), (x, -oo, oo), (v, 0, 1)), Rational(1, 2))


def test_bayes_and_the_posterior_of_the_next_chapter(capsys):
    """The quotient of three densities is a Gaussian, constant included: roots of products and products of roots merge."""
    z = symbols("z", real=True)
    prior, marginal = N(y, sqrt(b) * z, 1 - b), N(x, sqrt(a * b) * z, 1 - a * b)
    var = (1 - b) / (1 - a * b) * (1 - a)
    mean = sqrt(a) * (1 - b) / (1 - a * b) * x + sqrt(b) * (1 - a) / (1 - a * b) * z
    quotient = N(x, sqrt(a) * y, 1 - a) * prior / marginal
    assert "proved" in verdict(capsys, verify, "2.4", quotient, N(y, mean, var))
    refute("2.4", quotient, N(y, mean, 1 - a), slip="the variance of the step")


def test_a_network_is_a_symbol_of_which_nothing_is_known(capsys):
    net = Function("net")(x)
    assert "proved" in verdict(capsys, verify, "4.1", (e - net) ** 2, e**2 - 2 * e * net + net**2)
    with pytest.raises(DoesNotHold):
        verify("4.1", (e - net) ** 2, e**2 - e * net + net**2)


def test_a_slip_that_divides_by_zero_is_rejected_like_any_other(capsys):
    assert "proved" in verdict(capsys, verify, "1.1", exp(x / (a - b)), exp(x / (a - b)))


def test_tiny_numbers_are_told_apart(capsys):
    assert "proved" in verdict(capsys, verify, "1.1", a * Rational(1, 10**20), a * Rational(1, 10**20))
    with pytest.raises(CheckFailed):
        verify("1.1", a * Rational(1, 10**20), a * Rational(2, 10**20))


@pytest.mark.parametrize(
    ("lhs", "rhs", "given", "error", "message"),
    [
        (x, 0.5 * x, {}, TypeError, "has a rounded number in it"),
        (0.5 * x, x / 2, {}, TypeError, "has a rounded number in it"),
        (y, x / 2, {y: 0.5 * x}, TypeError, "has a rounded number in it"),
        (x, y, {2: 3}, TypeError, "says what symbols stand for"),
        (a / b, b / a, {a: b, b: a}, TypeError, "is circular"),
        (x, a, {a: a + 1}, TypeError, "is circular"),
        (N(x, 0, 1), Integral(N(x, y, 1), (y, -oo, oo)), {}, TypeError, "put it in lhs"),
        (Integral(N(x, 0, -a), (x, -oo, oo)), sympify(1), {}, CheckFailed, "-α_t is not positive, so it is no variance"),
    ],
)
def test_claims_that_prove_nothing_are_refused(lhs, rhs, given, error, message):
    with pytest.raises(error, match=message):
        verify("1.1", lhs, rhs, given=given)


@pytest.mark.parametrize(
    "arguments",
    [
        {"exact": [1.0, 2.0], "against": [[1.0, 2.0]]},
        {"exact": [1.0, 2.0], "against": [1.0, 2.0], "rtol": 3},
        {"exact": [0.0, 0.0], "against": [0.0, 0.0]},
        {"lhs": a * b, "rhs": b * a, "broken": {"same": a * b}},
    ],
)
def test_refute_accepts_only_a_difference(arguments):
    """A check that fails for another reason has refuted nothing."""
    with pytest.raises(CheckFailed) as error:
        refute("1.1", **arguments, slip="?")
    assert not isinstance(error.value, DoesNotHold)


def test_one_noise_twice_is_not_two_noises(capsys):
    refute("1.1", sqrt(a) * e + sqrt(b) * e, sqrt(a + b) * g, noise=[e, g], slip="dependent")
    assert "✗ dependent: (1.1) does not hold" in " ".join(capsys.readouterr().out.split())


def test_refute_raises_where_the_claim_holds():
    with pytest.raises(CheckFailed, match="holds, so 'nothing wrong' is no slip"):
        refute("1.1", x + y, y + x, slip="nothing wrong")


def test_agreement_in_numbers_is_no_proof():
    """Two sides that differ in the 25th digit agree in all the numbers that are looked at."""
    with pytest.raises(NotProved):
        verify("1.1", x, x + x * Rational(1, 10**25))


def test_an_undecided_slip_is_held_against_the_check(monkeypatch):
    monkeypatch.setattr(ledger, "_is_zero", lambda lhs, rhs: lhs == rhs)
    monkeypatch.setattr(ledger, "_same_numbers", lambda lhs, rhs: True)
    with pytest.raises(CheckFailed, match="accepts a broken version of its claim"):
        verify("1.1", cos(x * y), cos(x * y))


def test_what_cannot_be_proved_is_no_refutation(monkeypatch):
    monkeypatch.setattr(ledger, "_is_zero", lambda lhs, rhs: False)
    for check in (verify, lambda *args: refute(*args, slip="?")):
        with pytest.raises(NotProved, match="is not proved"):
            check("1.1", x + y, y + x)


def test_a_check_knows_its_two_sides(monkeypatch):
    """What the ledger page and the tests of the displayed lines read."""
    seen = []
    monkeypatch.setattr(ledger.Check, "show", lambda check: seen.append(check))
    verify("1.1", sqrt(a) ** 2 * (1 + b), a + a * b, statement="S1", broken={"b": b})
    define("1.2", Eq(b, 1 - a), lambda v: 1 - v, args=(a,))
    define("1.3", 1 - a, lambda v: 1 - v, args=(a,))
    assert [(c.tag, c.kind, c.statement, c.broken) for c in seen[:1]] == [("1.1", "symbolic", "S1", ("b",))]
    assert [c.lhs and sympify(c.lhs) for c in seen] == [a * (1 + b), b, None]
    assert [sympify(c.rhs) for c in seen] == [a + a * b, 1 - a, 1 - a]


def test_broken_versions_by_name_must_be_rejected(capsys):
    text = verdict(capsys, verify, "1.1", a * b, a * b, broken={"a sum": a + b})
    assert text.endswith("among them “a sum”")
    with pytest.raises(CheckFailed, match="accepts the broken version 'the same'"):
        verify("1.1", a * b, a * b, broken={"the same": b * a})


def test_another_way_to_write_the_claim_is_no_broken_version(capsys):
    """A sign inside a cosine gives the claim again; it is neither counted nor held against the check."""
    slips = len(list(ledger._slips(cos(x * y), [x, y])))
    assert f"rejects {2 * (slips - 2)} broken" in verdict(capsys, verify, "1.1", cos(x * y), cos(x * y))


def test_numbers_must_agree_to_the_tolerance(capsys):
    assert "two independent computations agree to 1e-10" in verdict(capsys, verify, "3.9", exact=[1.0, 2.0], against=[1.0, 2.0])
    for against in ([1.0, 2.0 + 1e-9], [1.0, np.nan], [1.0, np.inf], [1.0, -2.0], [1.0], [0.0, 2.0]):
        with pytest.raises(CheckFailed):
            verify("3.9", exact=[1.0, 2.0], against=against)
    verify("3.9", exact=torch.tensor(3.0, requires_grad=True), against=3.0)
    with pytest.raises(DoesNotHold):
        verify("3.9", exact=[1e-9], against=[1.1e-9])  # relative, not absolute
    with pytest.raises(DoesNotHold):
        verify("3.9", exact=[1.0], against=[1.0 + 1e-9])
    refute("3.9", exact=[1.0], against=[1.0 + 1e-9], slip="the default tolerance is 1e-10")
    assert len(ledger._number_slips([1.0, 2.0])) == 4


def test_a_tolerance_that_accepts_everything_is_refused():
    with pytest.raises(CheckFailed, match="accepts a broken version"):
        verify("3.9", exact=[1.0, 2.0], against=[1.0, 2.0], rtol=3)


@pytest.mark.parametrize(
    "check",
    [
        lambda: verify("3.9", exact=0.0, against=0.0),
        lambda: verify("3.9", exact=[], against=[]),
        lambda: define("3.9", [0.0, 0.0], [0.0, 0.0]),
    ],
)
def test_a_check_that_cannot_fail_is_refused(check):
    with pytest.raises(CheckFailed, match="cannot fail"):
        check()


def test_define_compares_code_with_formula(capsys):
    text = verdict(capsys, define, "1.1", exp(-(x**2) / (2 * a)) / sqrt(2 * pi * a),
                   lambda x, v: torch.distributions.Normal(0, v.sqrt()).log_prob(x).exp(), args=(x, a))  # fmt: skip
    assert "the code computes the formula to 1e-12" in text
    with pytest.raises(CheckFailed, match="does not hold"):
        define("1.1", a * x, lambda a, x: a + x, args=(a, x))
    with pytest.raises(CheckFailed, match="accepts the broken version 'b a'"):
        define("1.1", a * x, lambda a, x: a * x, args=(a, x), broken={"b a": x * a})


def test_define_draws_where_the_formula_is_real(capsys):
    define("1.1", sqrt(1 - a - b), lambda p, q: (1 - p - q).sqrt(), args=(a, b))
    with pytest.raises(TypeError, match=r"symbols that are not in args: α_\{t-1\}"):
        define("1.1", a * b, lambda p: p, args=(a,))
    with pytest.raises(CheckFailed, match="has no real value"):
        define("1.1", sqrt(-1 - a), lambda p: p, args=(a,))


def test_numbers_that_are_no_evidence_are_refused():
    values = np.array([1.0, 2.0])
    with pytest.raises(CheckFailed, match="compares an object with itself"):
        verify("3.9", exact=values, against=values)
    with pytest.raises(CheckFailed, match=r"broken version 'b' has the shape \(3,\), expected \(2,\)"):
        verify("3.9", exact=values, against=values.copy(), broken={"b": [1.0, 2.0, 3.0]})
    with pytest.raises(CheckFailed, match="accepts a broken version"):
        verify("3.9", exact=[1.2], against=[1.0], rtol=0.3)
    with pytest.raises(TypeError, match="complex128 are compared"):
        verify("3.9", exact=values + 1j, against=values + 2j)


def test_define_passes_counts_as_int(capsys):
    i, alpha = symbols("i", integer=True, positive=True), symbols("alpha", positive=True)
    define(
        "1.1",
        Product(alpha, (i, 1, n)),
        lambda n: np.prod([1 - k / 10 for k in range(1, n + 1)]),
        args=(n,),
        given={alpha: 1 - i / 10},
    )
    with pytest.raises(CheckFailed):
        define("1.1", Product(alpha, (i, 1, n)), lambda n: 0.9**n, args=(n,), given={alpha: 1 - i / 10})


@pytest.mark.parametrize("kwargs", [{}, {"lhs": x}, {"exact": 1.0}, {"lhs": x, "rhs": x, "exact": 1.0, "against": 1.0}])
def test_one_way_must_be_chosen(kwargs):
    with pytest.raises(TypeError, match="give either lhs and rhs, or exact= and against="):
        verify("1.1", **kwargs)


@pytest.mark.parametrize("tag", ["", "1", "1.1a", "one.two"])
def test_bad_tags_are_named(tag):
    with pytest.raises(ValueError, match=f"tag = '{tag}' is not chapter.number"):
        verify(tag, x, x)


def test_prints_as_it_is_written():
    from sympy import latex

    assert latex(N(x, y, a)) == r"\mathcal{N}\left(x;\ y,\ \alpha_{t}\right)"


def test_without_sympy_the_extra_is_named():
    code = (
        "import sys; sys.modules['sympy'] = None\nimport tinyddpm as td\ntry: td.ledger\nexcept ModuleNotFoundError as e: print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "tinyddpm.ledger needs SymPy: pip install 'tinyddpm[book]'"


# ---- for every T: sums and products, by induction ----

T, t = symbols("T t", integer=True, positive=True)
q, p = Function("q", positive=True), Function("p", positive=True)
telescope = Sum(log(q(t) / q(t - 1)), (t, 2, T))


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (Sum(t, (t, 1, T)), T * (T + 1) / 2),
        (telescope, log(q(T) / q(1))),
        (log(Product(q(t), (t, 1, T))), Sum(log(q(t)), (t, 1, T))),
        (log(Product(q(t), (t, 1, T)) / Product(p(t), (t, 1, T))), log(q(1) / p(1)) + Sum(log(q(t) / p(t)), (t, 2, T))),
    ],
)
def test_a_line_for_every_T_is_proved_by_induction(lhs, rhs, capsys):
    assert "for every T, by induction; rejects" in verdict(capsys, verify, "2.7", lhs, rhs, induction=T)


@pytest.mark.parametrize(
    ("lhs", "rhs"),
    [
        (Sum(t, (t, 1, T)), T * (T + 1) / 2 + (T - 1) * (T - 2)),  # holds for T = 1 and T = 2
        (Sum(t, (t, 1, T)), T * (T + 1) / 2 + 1),  # grows as it should
        (telescope, log(q(T) / q(2))),
        (telescope, log(q(T - 1) / q(1))),
        (telescope, Sum(log(q(t) / q(t - 1)), (t, 3, T))),
        (telescope, Sum(log(q(t) / q(t - 1)), (t, 2, T + 1))),
        (log(Product(q(t), (t, 1, T))), Sum(log(q(t)), (t, 1, T - 1))),
        (log(Product(q(t), (t, 1, T))), Sum(log(q(t)), (t, 0, T))),
        (Sum(log(q(t)), (t, 1, T)), Sum(log(q(t - 1)), (t, 1, T))),
    ],
)
def test_what_fails_for_some_T_is_rejected(lhs, rhs):
    with pytest.raises(CheckFailed):
        verify("2.7", lhs, rhs, induction=T)


def test_a_density_may_stand_for_others(capsys):
    bayes = {q(t - 1, t, 0): q(t, t - 1) * q(t - 1, 0) / q(t, 0)}
    lhs = Sum(log(q(t, t - 1)), (t, 2, T))
    verdict(capsys, verify, "2.7", lhs, Sum(log(q(t - 1, t, 0) * q(t, 0) / q(t - 1, 0)), (t, 2, T)), given=bayes, induction=T)
    with pytest.raises(DoesNotHold):
        verify("2.7", lhs, Sum(log(q(t - 1, t, 0) * q(t - 1, 0) / q(t, 0)), (t, 2, T)), given=bayes, induction=T)


@pytest.mark.parametrize(
    ("lhs", "rhs", "arguments"),
    [
        (Abs(x), x, {}),
        (sqrt(1 - 2 * a + a**2), 1 - a, {}),
        (Sum(q(t) * Abs(8 - t), (t, 1, T)), Sum(q(t) * (8 - t), (t, 1, T)), {"induction": T}),
        (Sum(q(t), (t, 1, T)), q(1) + q(2) + Sum(q(t), (t, 3, T)), {"induction": T}),  # not for T = 1
    ],
)
def test_what_holds_only_nearby_is_not_proved(lhs, rhs, arguments):
    with pytest.raises(CheckFailed):
        verify("2.7", lhs, rhs, **arguments)


def test_a_sum_may_be_written_with_another_index(capsys):
    verdict(capsys, verify, "2.7", Sum(q(t + 1), (t, 1, T)), Sum(q(t), (t, 2, T + 1)), induction=T)
    verdict(capsys, verify, "2.7", q(x * (x + 1)) * y, q(x**2 + x) * y)


def test_a_growth_that_is_not_known_is_no_proof_and_no_slip():
    with pytest.raises(NotProved, match="is not known"):
        refute("2.7", T * Sum(q(t), (t, 1, T)), Sum(q(t), (t, 1, T)), induction=T, slip="none")


@pytest.mark.parametrize(
    "arguments", [{"induction": a}, {"induction": n}, {"induction": T, "noise": [e]}, {"induction": T, "given": {x: N(x, y, 1)}}]
)
def test_an_induction_needs_a_number_that_counts(arguments):
    with pytest.raises(TypeError, match="induction"):
        verify("2.7", Sum(t, (t, 1, T)) * a / a, T * (T + 1) / 2, **arguments)


@pytest.mark.parametrize("pair", [(np.nan, 1.0), (np.inf, np.inf), (1.0, np.nan)])
def test_numbers_that_are_not_finite_are_no_slip(pair):
    with pytest.raises(CheckFailed, match="not finite"):
        refute("2.7", exact=pair[0], against=pair[1], slip="none")


def test_dividing_by_zero_is_a_difference(capsys):
    assert "has no value: something is divided by zero" in verdict(capsys, refute, "2.7", x, 1 / a, given={a: 0}, slip="zero")


# ---- measurements ----

LOW, HIGH = [1.0, 1.1, 0.9, 1.05], [2.0, 2.1, 1.9, 2.05]


def test_a_measured_difference_is_accepted(capsys):
    text = verdict(capsys, measure, "5.5", LOW, HIGH, statement="S44")
    assert text == "✓ (5.5) measured: smaller by more than 3 standard errors in 4 runs; rejects 2 broken versions"


@pytest.mark.parametrize(
    ("low", "high", "options"),
    [
        (HIGH, LOW, {}),
        (LOW, LOW, {}),
        ([1.0, 1.1, 0.9], [1.05, 1.15, 0.95], {}),  # half a standard deviation
        ([1.0, 3.0, 2.0], [2.9, 1.0, 3.1], {"paired": True}),
    ],
)
def test_what_was_not_measured_is_rejected(low, high, options):
    with pytest.raises(CheckFailed, match=r"does not hold: .* is not below .* by 3 standard errors"):
        measure("5.5", low, high, **options)


def test_standard_errors_by_hand():
    """Means 0 and 1, variances 1 and 0: the difference is 1, its standard error 1 / sqrt(3)."""
    low = [-1.0, 0.0, 1.0]
    measure("5.5", low, 1.0, errors=1.73)
    with pytest.raises(CheckFailed):
        measure("5.5", low, 1.0, errors=1.74)


def test_pairs_are_told_apart_where_single_runs_are_not():
    low, high = [1.0, 5.0, 9.0], [1.1, 5.11, 9.09]
    measure("5.5", low, high, paired=True)
    with pytest.raises(CheckFailed, match="does not hold"):
        measure("5.5", low, high)


@pytest.mark.parametrize("low", [[1.0], [1.0, 1.1], [1.0, float("nan"), 1.1], [[1.0, 1.1, 1.2]]])
def test_too_few_or_bad_runs_are_refused(low):
    with pytest.raises(CheckFailed, match=r"expected at least 3 of each|not finite"):
        measure("5.5", low, HIGH)


@pytest.mark.parametrize("high", [[2.0, 2.1], [2.0, 2.1, 2.2]])
def test_pairs_need_a_partner(high):
    with pytest.raises(CheckFailed, match="expected at least 3 of each"):
        measure("5.5", LOW, high, paired=True)


def test_a_measurement_that_accepts_a_broken_version_is_refused():
    with pytest.raises(CheckFailed, match="accepts the broken version 'as good'"):
        measure("5.5", LOW, HIGH, broken={"as good": LOW})
