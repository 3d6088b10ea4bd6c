"""The schedule's tables against 60-digit arithmetic, and what it says to bad input."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf

import tinyddpm as td

STEPS = [1, 2, 3, 20, 50, 1000, 4000]
TABLES = ["beta", "alpha", "alpha_bar", "one_minus_alpha_bar", "beta_tilde", "snr"]


def linear_beta(T):
    first, last = mpf("1e-4"), mpf("0.02")
    return [first + (last - first) * (t - 1) / (T - 1) if T > 1 else first for t in range(1, T + 1)]


def cosine_beta(T):
    """As Nichol and Dhariwal write it, a quotient of squared cosines. 60 digits can afford to lose a few."""
    s = mpf("0.008")
    alpha_bar = [mpmath.cos((mpf(t) / T + s) / (1 + s) * mpmath.pi / 2) ** 2 for t in range(T + 1)]
    return [min(1 - alpha_bar[t] / alpha_bar[t - 1], mpf("0.999")) for t in range(1, T + 1)]


def exact_tables(beta):
    rows = [dict(beta=mpf(0), alpha=mpf(1), alpha_bar=mpf(1), one_minus_alpha_bar=mpf(0), beta_tilde=mpf(0), snr=mpf("inf"))]
    for b in beta:
        bar = rows[-1]["alpha_bar"] * (1 - b)
        tilde = (1 - rows[-1]["alpha_bar"]) / (1 - bar) * b
        rows.append(dict(beta=b, alpha=1 - b, alpha_bar=bar, one_minus_alpha_bar=1 - bar, beta_tilde=tilde, snr=bar / (1 - bar)))
    return {name: [row[name] for row in rows] for name in TABLES}


def relative_errors(stored, exact):
    return [
        float(abs(mpf(a) - b) / b) if b else abs(a)
        for a, b in zip(stored.double().tolist(), exact, strict=True)
        if mpmath.isfinite(b)
    ]


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_every_row_against_60_digits(kind, T):
    with mpmath.workdps(60):
        exact = exact_tables({"linear": linear_beta, "cosine": cosine_beta}[kind](T))
        schedule = getattr(td.Schedule, kind)(T)
        for name in TABLES:
            table = getattr(schedule, name)
            assert table.shape == (T + 1,) and table.dtype == torch.float64
            assert max(relative_errors(table, exact[name])) < 4e-15, name
        assert schedule.snr[0] == math.inf


@pytest.mark.parametrize("T", STEPS)
@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_as_used_on_float32(kind, T):
    schedule, ones, t = getattr(td.Schedule, kind)(T), torch.ones(T, 1), torch.arange(1, T + 1)
    with mpmath.workdps(60):
        exact = exact_tables({"linear": linear_beta, "cosine": cosine_beta}[kind](T))
        used = {
            "alpha_bar": td.q_marginal(schedule, ones, t).mean[:, 0].double() ** 2,
            "one_minus_alpha_bar": td.q_marginal(schedule, ones, t).var[:, 0],
            "alpha": td.q_step(schedule, ones, t).mean[:, 0].double() ** 2,
            "beta": td.q_step(schedule, ones, t).var[:, 0],
        }
        roots = {
            "alpha": td.q_step(schedule, ones, t).mean[:, 0],
            "alpha_bar": td.q_sample(schedule, ones, t, 0 * ones)[:, 0],
            "one_minus_alpha_bar": td.q_sample(schedule, 0 * ones, t, ones)[:, 0],
        }
        for name, values in roots.items():
            assert max(relative_errors(values, [mpmath.sqrt(value) for value in exact[name][1:]])) < 6.1e-8, (
                name
            )  # rounded once: half a unit
        for name, values in used.items():
            bound = 1e-7 if name in ("one_minus_alpha_bar", "beta") else 2e-7  # a square doubles the error of its root
            assert max(relative_errors(values, exact[name][1:])) < bound, name


@given(st.lists(st.floats(0, 1, exclude_min=True, exclude_max=True), min_size=1, max_size=30))
def test_any_beta_gives_the_nearest_floats(beta):
    schedule = td.Schedule(beta)
    with mpmath.workdps(700):  # beta may be as small as 5e-324
        exact = exact_tables([mpf(b) for b in beta])
        for name in TABLES:
            assert all(torch.isfinite(getattr(schedule, name)[1:]) | (schedule.snr[1:] == math.inf))
            for stored, value in zip(getattr(schedule, name).tolist(), exact[name], strict=True):
                if 1e-300 < value < 1e300:
                    assert abs(mpf(stored) - value) <= value * mpf(2) ** -53, name


def test_accepts_what_holds_numbers():
    tables = [
        td.Schedule(b).beta for b in ([0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2]), torch.tensor([0.1, 0.2], dtype=torch.float64))
    ]
    assert all(torch.equal(t, tables[0]) for t in tables)
    assert td.Schedule(torch.tensor([0.1])).beta[1].item() == np.float32(0.1)
    assert td.Schedule.linear(np.int64(3), beta_1=np.float32(0.25)).T == 3


def test_accepts_any_layout_of_numbers():
    for beta in (
        np.array([0.2, 0.1])[::-1],
        np.array([0.1, 0.2], dtype=">f8"),
        np.array([0.1, 0.2], dtype=object),
        [torch.tensor(0.1, dtype=torch.float64), 0.2],
    ):
        assert td.Schedule(beta).beta.tolist() == [0, 0.1, 0.2]


def test_default_device_and_dtype_do_not_matter():
    with torch.device("meta"):
        assert td.Schedule.linear(2).beta.tolist() == [0, 1e-4, 0.02] and td.Schedule([0.1]).beta.device.type == "cpu"


def test_a_huge_offset_of_the_cosine():
    assert td.Schedule.cosine(10, s=1e300).beta[1:].tolist() == pytest.approx(
        [(2 * k - 1) / k**2 for k in range(10, 1, -1)] + [0.999]
    )


def test_tables_do_not_follow_a_changed_argument():
    beta = torch.tensor([0.1, 0.2], dtype=torch.float64)
    schedule = td.Schedule(beta)
    beta[0] = 0.9
    assert schedule.beta[1] == 0.1


def test_defaults_are_those_of_the_papers():
    assert td.Schedule.linear().T == td.Schedule.cosine().T == 1000
    assert td.Schedule.cosine(5, s=0).T == 5 and td.Schedule.cosine().beta.max() == 0.999


def test_beta_may_require_a_gradient():
    assert td.Schedule(torch.tensor([0.5], requires_grad=True)).beta[1] == 0.5


def test_repr_tells_what_it_is():
    assert repr(td.Schedule.linear()) == "Schedule(T=1000, beta_1=0.0001, beta_T=0.02, alpha_bar_T=4.036e-05)"
