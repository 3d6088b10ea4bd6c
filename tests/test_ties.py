"""The package computes what the chapters prove: their expressions at 50 digits, for random schedules."""

import math

import notebooks
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyddpm as td
from tinyddpm.book import N

PROVED = {c["tag"]: c["rhs"] for path in notebooks.chapters() for c in notebooks.checks(path) if c["kind"] != "refuted"}
BETAS = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=6)
NUMBERS = st.floats(-3, 3)


def exact(tag: str, **values):
    """The right-hand side that the chapter of `tag` proved or compared with code, at 50 digits."""
    names = {"Symbol": lambda name, **_: sp.Symbol(name), "Function": lambda name: {"N": N}[name]}
    expr = sp.parse_expr(PROVED[tag], global_dict={**vars(sp), **names})
    unknown = {s.name for s in expr.free_symbols} - {LATEX[name] for name in values}
    assert not unknown, unknown
    point = {sp.Symbol(LATEX[name]): sp.Rational(value) for name, value in values.items()}
    return sp.N(expr.xreplace(point).doit(), 50)


LATEX = {
    "alpha": r"\alpha_t", "beta": r"\beta_t", "abar": r"\bar\alpha_t", "abar_prev": r"\bar\alpha_{t-1}", "abar_T": r"\bar\alpha_T",
    "x0": "x_0", "xt": "x_t", "eps": r"\bar\epsilon_t", "predicted": r"\epsilon_\theta(x_t, t)", "sigma": r"\sigma_t",
    "v": "v_t", "m1": "m_1", "m2": "m_2", "v1": "v_1", "v2": "v_2", "x": "x", "m": "m", "var": "v",
}  # fmt: skip


def tables(betas, t):
    """The symbols of step t, without rounding."""
    alphas = [1 - sp.Rational(b) for b in betas]
    return {
        "alpha": alphas[t - 1],
        "beta": sp.Rational(betas[t - 1]),
        "abar": sp.prod(alphas[:t]),
        "abar_prev": sp.prod(alphas[: t - 1]),
    }


def only(tag, row):
    """Those symbols that an equation has."""
    return {name: value for name, value in row.items() if LATEX[name] in PROVED[tag].replace("\\\\", "\\")}


def reverse_variance(variance, betas, t):
    """sigma_t²: beta_t, or the proved beta_tilde_t with that of t = 2 at t = 1, where there is one."""
    if variance == "beta" or len(betas) == 1:
        return tables(betas, t)["beta"]
    return exact("2.15", **only("2.15", tables(betas, max(t, 2))))


def agree(computed, expected, scale=1.0):
    computed = float(computed)
    assert math.isfinite(computed)
    assert abs(computed - expected) <= 1e-13 * max(abs(expected), scale), (computed, expected)


def one(x):
    return torch.tensor([x], dtype=torch.float64)


@given(BETAS, NUMBERS, NUMBERS, NUMBERS)
@settings(max_examples=30)
def test_tables_means_and_conversions(betas, x0, xt, eps):
    schedule = td.Schedule(betas)
    for t in range(1, len(betas) + 1):
        row = tables(betas, t)
        point = row | {"x0": x0, "xt": xt, "eps": eps, "predicted": eps, "v": eps}

        def value(tag, point=point):
            return exact(tag, **only(tag, point))

        agree(schedule.beta_tilde[t], value("2.15"), scale=0)
        agree(td.q_posterior(schedule, one(x0), one(xt), t).var, value("2.15"), scale=0)
        agree(td.q_posterior(schedule, one(x0), one(xt), t).mean, value("2.18"))
        small = 1 / math.sqrt(row["abar"])  # dividing by a small root amplifies what float64 rounds
        agree(td.p_step(schedule, one(xt), t, one(eps)).mean, value("2.23"), scale=small)
        agree(td.p_step(schedule, one(xt), t, one(eps)).mean, value("4.1"), scale=small)
        agree(td.x0_from_eps(schedule, one(xt), t, one(eps)), value("2.21"), scale=10 * small)
        agree(td.x0_from_v(schedule, one(xt), t, one(eps)), value("4.14"))
        agree(td.eps_from_v(schedule, one(xt), t, one(eps)), value("4.15"))
        mixed = td.q_sample(schedule, one(x0), t, one(eps))
        agree(td.v_from_eps(schedule, mixed, t, one(eps)), value("4.13"), scale=10 * small)
        agree(td.v_from_x0(schedule, mixed, t, one(x0)), value("4.13"), scale=10 / math.sqrt(1 - row["abar"]))


@given(BETAS)
@settings(max_examples=30)
def test_weights(betas):
    schedule = td.Schedule(betas)
    for t in range(1, len(betas) + 1):
        row = tables(betas, t)
        for variance in ("beta", "beta_tilde"):
            sigma = sp.sqrt(reverse_variance(variance, betas, t)).n(60)
            agree(td.vlb_weight(schedule, t, variance), exact("4.8", **only("4.8", row), sigma=sigma), scale=0)
        agree(td.vlb_weight(schedule, t), exact("4.9", **only("4.9", row)), scale=0)
        if t > 1:
            agree(td.vlb_weight(schedule, t, "beta_tilde"), exact("4.10", **only("4.10", row)), scale=0)


@given(NUMBERS, NUMBERS, st.floats(1e-6, 10), st.floats(1e-6, 10))
@settings(max_examples=50)
def test_divergence(m1, m2, v1, v2):
    kl = td.Gaussian(one(m1), one(v1)).kl(td.Gaussian(one(m2), one(v2)))
    agree(kl, exact("3.20", m1=m1, m2=m2, v1=v1, v2=v2), scale=1e-3)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@given(betas=BETAS, x0=NUMBERS, eps=NUMBERS, slope=st.floats(-1, 1))
@settings(max_examples=15)
def test_terms_of_the_bound(variance, betas, x0, eps, slope):
    """Each term put together from the proved pieces: the state, both means, both variances, the divergence."""
    schedule, T = td.Schedule(betas), len(betas)
    terms = td.vlb_terms(schedule, lambda xt, t: slope * xt, one(x0), variance, eps=one(eps))
    agree(terms.L_T, exact("3.22", x0=x0, abar_T=tables(betas, T)["abar"]), scale=1e-3)
    for t in range(1, T + 1):
        row = tables(betas, t)
        state = sp.sqrt(row["abar"]).n(60) * sp.Rational(x0) + sp.sqrt(1 - row["abar"]).n(60) * sp.Rational(eps)
        point = row | {"x0": x0, "xt": state, "predicted": sp.Rational(slope) * state}
        sigma2, mean = reverse_variance(variance, betas, t), exact("4.1", **only("4.1", point))
        if t > 1:
            own = exact("2.18", **only("2.18", point)), exact("2.15", **only("2.15", point))
            expected = exact("3.20", m1=own[0], v1=own[1], m2=mean, v2=sigma2)
            agree(terms.L_t[:, t - 2], expected, scale=1)
        else:
            agree(terms.L_0, -sp.log(exact("1.1", x=x0, m=mean, var=sigma2)), scale=1)
