"""Every term of the bound against 50 digits, against its exact value on Gaussian data, and as a quantity that streams."""

import math
import sys
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf, workdps

import tinyddpm as td
from tinyddpm.elbo import discretised_log_prob

LINEAR, COSINE, SHORT = td.Schedule.linear(1000), td.Schedule.cosine(1000), td.Schedule.linear(20, 1e-3, 0.4)
SCHEDULES = {"linear": LINEAR, "cosine": COSINE}
FEW = td.Schedule([0.3]), td.Schedule([0.1, 0.6]), SHORT
WHEN = [1, 2, 3, 10, 100, 500, 999, 1000]
x0, eps = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
both = pytest.mark.parametrize("variance", ["beta", "beta_tilde"])


def seed(n):
    return torch.Generator().manual_seed(n)


def zero(xt, t):
    return torch.zeros_like(xt)


def model(xt, t):
    """Exact in binary, but for one rounding; depends on the state, the step and the dtype that it is shown."""
    share = 0.25 + t.to(torch.float64) / 2048
    return 0.75 * xt.double() * share.reshape(-1, *[1] * (xt.ndim - 1)) + 0.125


def exact_terms(schedule, rows, noise, variance, dtype, steps):
    """The terms of each row at 50 digits: steps by Bayes' rule (precisions add), not by the book's formulas for them."""
    round_as = (lambda x: mpf(float(x))) if dtype == torch.float64 else (lambda x: mpf(float(np.float32(float(x)))))
    beta, bar = [mpf(0), *map(mpf, schedule.beta[1:].tolist())], [mpf(1)]
    for b in beta[1:]:
        bar.append(bar[-1] * (1 - b))

    def merge(x, xt, t):  # the mean and variance of x_{t-1}, if x_0 = x
        precision = 1 / (1 - bar[t - 1]) + (1 - beta[t]) / beta[t]
        return (mp.sqrt(bar[t - 1]) * x / (1 - bar[t - 1]) + mp.sqrt(1 - beta[t]) * xt / beta[t]) / precision, 1 / precision

    def one(x, e, t):
        xt = mp.sqrt(bar[t]) * x + mp.sqrt(1 - bar[t]) * e
        guess = mpf(3) / 4 * round_as(xt) * (mpf(1) / 4 + mpf(t) / 2048) + mpf(1) / 8
        clean = (xt - mp.sqrt(1 - bar[t]) * guess) / mp.sqrt(bar[t])
        mean, var = (clean, mpf(0)) if t == 1 else merge(clean, xt, t)
        if variance == "beta" or schedule.T == 1:
            var = beta[t]
        elif t == 1:
            var = merge(clean, xt, 2)[1]
        if t == 1:
            return ((x - mean) ** 2 / var + mp.log(2 * mp.pi * var)) / 2
        m, v = merge(x, xt, t)
        return (v / var - 1 - mp.log(v / var) + (m - mean) ** 2 / var) / 2

    def end(x):
        return (1 - bar[-1] + bar[-1] * x**2 - 1 - mp.log(1 - bar[-1])) / 2

    pairs = [list(zip(map(mpf, a), map(mpf, b), strict=True)) for a, b in zip(rows.tolist(), noise.tolist(), strict=True)]
    terms = {t: [float(mp.fsum(one(x, e, t) for x, e in row)) for row in pairs] for t in steps}
    return terms, [float(mp.fsum(end(x) for x, _ in row)) for row in pairs]


def check_terms(schedule, variance, dtype, steps, rel):
    a, e = x0.to(dtype), eps.to(dtype)
    terms = td.vlb_terms(schedule, model, a, variance, eps=e)
    with workdps(50):
        exact, end = exact_terms(schedule, a.double(), e.double(), variance, dtype, steps)
    assert terms.L_T.tolist() == pytest.approx(end, rel=rel, abs=0)
    errors = {}
    for t in steps:
        got = terms.L_0 if t == 1 else terms.L_t[:, t - 2]
        errors[t] = max(abs(g / x - 1) for g, x in zip(got.tolist(), exact[t], strict=True))
    assert max(errors.values()) < rel, errors
    return errors


@both
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-9)])
def test_terms_at_50_digits(schedule, variance, dtype, rel):
    check_terms(SCHEDULES[schedule], variance, dtype, WHEN, rel)


@both
@pytest.mark.parametrize("beta", [[0.3], [1e-4], [0.1, 0.4], [0.5, 1e-3], [0.01, 0.5, 0.02, 0.9, 0.3]])
def test_every_term_of_short_schedules_at_50_digits(beta, variance):
    check_terms(td.Schedule(beta), variance, torch.float64, range(1, len(beta) + 1), 1e-10)


def test_a_model_in_single_precision_costs_little():
    """The arithmetic around it is in double: with the model's own rounding, the terms still agree to 1e-6."""
    wide = td.vlb_terms(LINEAR, lambda xt, t: 0.5 * xt, x0.float().double(), eps=eps.float().double())
    narrow = td.vlb_terms(LINEAR, lambda xt, t: 0.5 * xt, x0.float(), eps=eps.float())
    for name in ("L_T", "L_t", "L_0"):
        assert getattr(narrow, name).dtype == torch.float64
        torch.testing.assert_close(getattr(narrow, name), getattr(wide, name), rtol=1e-6, atol=0)


def test_shapes_and_the_sum():
    for schedule in (td.Schedule([0.3]), td.Schedule([0.1, 0.2]), SHORT):
        for a in (torch.zeros(3), x0.float(), torch.zeros(2, 1, 8, 8)):
            terms = td.vlb_terms(schedule, lambda xt, t: 0.1 * xt, a, generator=seed(0))
            assert terms.L_T.shape == terms.L_0.shape == terms.total.shape == (len(a),)
            assert terms.L_t.shape == (len(a), schedule.T - 1)
            assert {z.dtype for z in (terms.L_T, terms.L_t, terms.L_0, terms.total)} == {torch.float64}
            assert not any(z.requires_grad for z in (terms.L_T, terms.L_t, terms.L_0))
            parts = zip(terms.L_T.tolist(), terms.L_t.tolist(), terms.L_0.tolist(), strict=True)
            by_hand = [math.fsum([first, *middle, last]) for first, middle, last in parts]
            assert terms.total.tolist() == pytest.approx(by_hand, rel=1e-14)


def test_an_example_does_not_depend_on_the_rest_of_the_batch():
    for levels, a in ((None, x0), (17, (x0.clamp(-1, 1) * 8).round() / 8)):
        whole = td.vlb_terms(SHORT, model, a, levels=levels, eps=eps)
        for i in range(2):
            alone = td.vlb_terms(SHORT, model, a[i : i + 1], levels=levels, eps=eps[i : i + 1])
            for name in ("L_T", "L_t", "L_0", "total"):
                torch.testing.assert_close(getattr(alone, name)[0], getattr(whole, name)[i], rtol=1e-14, atol=0)


def test_the_model_is_called_once_for_each_step_and_nothing_is_kept():
    """Not with gradients either, and of the states that it was shown no more than a few are alive at any time."""
    seen, alive, states = [], [], []

    def spy(xt, t):
        assert not torch.is_grad_enabled() and xt.dtype == torch.float32 and t.dtype == torch.int64 and t.shape == (2,)
        seen.append(t.unique().item())  # the same for all rows
        states.append(weakref.ref(xt))
        alive.append(sum(ref() is not None for ref in states))
        return weight * xt

    weight = torch.tensor(0.5, requires_grad=True)
    clean = x0.float().requires_grad_()
    terms = td.vlb_terms(SHORT, spy, clean, generator=seed(0))
    assert sorted(seen) == list(range(1, 21)) and max(alive) <= 2 and torch.is_grad_enabled()
    assert not terms.total.requires_grad and clean.grad is None


def shown(schedule=SHORT, **arguments):
    """The noise in each state that a model is shown, by step."""
    found = {}

    def spy(xt, t):
        found[int(t[0])] = td.eps_from_x0(schedule, xt, t, x0)
        return 0.5 * xt

    terms = td.vlb_terms(schedule, spy, x0, **arguments)
    return terms, found


def test_given_noise_is_used_at_every_step():
    for noise in shown(eps=eps)[1].values():
        torch.testing.assert_close(noise, eps, rtol=1e-12, atol=1e-12)


def test_drawn_noise_is_new_at_every_step_and_for_every_row():
    noise = torch.stack([*shown(td.Schedule([0.05] * 400), generator=seed(0))[1].values()])
    assert len(noise.flatten().round(decimals=6).unique()) == noise.numel()
    assert abs(noise.mean()) < 5 / noise.numel() ** 0.5 and abs(noise.var() - 1) < 5 * (2 / noise.numel()) ** 0.5


def test_the_generator_decides_and_the_default_one_is_left_alone():
    state = torch.get_rng_state()
    one, same, other = (shown(generator=seed(n))[0].total for n in (3, 3, 4))
    assert torch.equal(one, same) and (one != other).all() and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(0)
    first, second = (shown()[0].total for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(shown()[0].total, first) and not torch.equal(first, second)
    torch.set_rng_state(state)


def test_the_layout_in_memory_does_not_change_the_draw():
    a = torch.randn(2, 3, 4, 4, generator=seed(0))
    layouts = a, a.to(memory_format=torch.channels_last)
    one, other = (td.vlb_terms(SHORT, lambda xt, t: 0.5 * xt, b, generator=seed(1)).total for b in layouts)
    torch.testing.assert_close(other, one)


def test_progress_is_shown_and_changes_nothing(capsys):
    quiet = td.vlb_terms(SHORT, model, x0, generator=seed(0)).total
    assert capsys.readouterr() == ("", "")
    loud = td.vlb_terms(SHORT, model, x0, generator=seed(0), progress=True).total
    out, err = capsys.readouterr()
    assert torch.equal(quiet, loud) and not out and "\rbound: " in err and "20/20" in err


def test_a_missing_progress_bar_is_named(monkeypatch):
    for name in ("tqdm", "tqdm.auto"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match="progress=True needs tqdm: pip install") as caught:
        td.vlb_terms(SHORT, model, x0, progress=True)
    assert caught.value.name == "tqdm"
    td.vlb_terms(SHORT, model, x0)  # without a bar it is not needed


# Gaussian data: N(m, s²). Each term is quadratic in (x_0, eps), so that its mean over the four points x_0 = m ± s,
# eps = ±1 is its expectation.


def expected_terms(schedule, m, s2, variance):
    points = m + s2**0.5 * torch.tensor([-1, -1, 1, 1], dtype=torch.float64)
    noise = torch.tensor([-1, 1, -1, 1], dtype=torch.float64)
    best = td.exact.GaussianMixture(np.array([m]), s2).eps(schedule)
    terms = td.vlb_terms(schedule, best, points, variance, eps=noise)
    return terms.L_T.mean().item(), terms.L_t.mean(0).numpy(), terms.L_0.mean().item(), terms.total.mean().item()


@pytest.mark.parametrize(
    ("schedule", "m", "s2", "variance"),
    [
        *((s, *law, v) for s in FEW for law in ((0, 1), (0.5, 0.3), (-2, 1.7)) for v in ("beta", "beta_tilde")),
        (LINEAR, 0.5, 0.3, "beta_tilde"),
        (COSINE, -2, 1.7, "beta"),
    ],
)
def test_expected_terms_on_gaussian_data(schedule, m, s2, variance):
    """With the best model, the expected squared error is the variance of eps given x_t, alpha_bar_t s² / Var(x_t)."""
    beta = schedule.beta[1:].numpy()
    bar = np.concatenate([[1], np.cumprod(1 - beta)])
    before, now = bar[:-1], bar[1:]
    unknown = now * s2 / (now * s2 + 1 - now)  # Var(eps | x_t)
    step_var = np.where(now < 1, beta * (1 - before) / (1 - now), 0)
    model_var = beta if variance == "beta" else np.concatenate([step_var[1:2] if len(beta) > 1 else beta, step_var[1:]])
    slope = beta / np.sqrt((1 - beta) * (1 - now))  # of the mean of the learned step in the prediction
    ratio = step_var[1:] / model_var[1:]
    L_t = (ratio - 1 - np.log(ratio) + slope[1:] ** 2 * unknown[1:] / model_var[1:]) / 2
    L_0 = (np.log(2 * np.pi * model_var[0]) + slope[0] ** 2 * unknown[0] / model_var[0]) / 2
    L_T = (-np.log(1 - now[-1]) - now[-1] + now[-1] * (m**2 + s2)) / 2
    got = expected_terms(schedule, m, s2, variance)
    assert got[0] == pytest.approx(L_T, rel=1e-10)
    np.testing.assert_allclose(got[1], L_t, rtol=1e-9, atol=1e-14)  # the reference has 1 - bar of rounded numbers
    assert got[2] == pytest.approx(L_0, rel=1e-10)
    assert got[3] == pytest.approx(L_T + L_t.sum() + L_0, rel=1e-10)


@pytest.mark.parametrize("schedule", [*FEW, LINEAR, COSINE])
def test_the_bound_is_the_entropy_for_standard_normal_data(schedule):
    """Every reverse step is then a Gaussian with variance beta_t, which the model has: the bound is tight."""
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    assert expected_terms(schedule, 0.0, 1.0, "beta")[3] == pytest.approx(entropy, rel=1e-12)
    if 1 < schedule.T < 1000:
        assert expected_terms(schedule, 0.0, 1.0, "beta_tilde")[3] > entropy + 1e-3


def test_the_bound_is_above_the_entropy_for_other_data():
    for s2 in (0.1, 0.5, 2.0):
        for variance in ("beta", "beta_tilde"):
            assert expected_terms(SHORT, 0.3, s2, variance)[3] > 0.5 * math.log(2 * math.pi * math.e * s2)


# Discretised data


def grid(levels, dtype=torch.float64):
    return torch.tensor([-1 + 2 * k / (levels - 1) for k in range(levels)], dtype=dtype)


@pytest.mark.parametrize("levels", [2, 3, 17, 256])
@given(mean=st.floats(-3, 3), log_var=st.floats(-18, 9))
@settings(max_examples=40)
def test_probabilities_of_all_levels_sum_to_one(levels, mean, log_var):
    law = td.Gaussian(torch.full((levels,), mean, dtype=torch.float64), math.exp(log_var))
    log_probs = discretised_log_prob(law, grid(levels), levels)
    assert not log_probs.isnan().any() and (log_probs <= 0).all()
    assert math.fsum(log_probs.exp().tolist()) == pytest.approx(1, abs=1e-11)


def exact_log_prob(x, mean, sigma, levels):
    """At 80 digits: both ends of the bin as tail probabilities on the side where they are small."""
    with workdps(80):
        half, x, mean, sigma = mpf(1) / (levels - 1), mpf(x), mpf(mean), mpf(sigma)
        low = -mp.inf if x < -1 + half else (x - half - mean) / sigma
        high = mp.inf if x > 1 - half else (x + half - mean) / sigma
        if low + high > 0:
            low, high = -high, -low
        phi = lambda z: mp.erfc(-z / mp.sqrt(2)) / 2 if mp.isfinite(z) else mpf(int(z > 0))  # noqa: E731
        if high > 0:  # nearly 1: the log of 1 minus the tails
            return float(mp.log1p(-(mpf(0) if high == mp.inf else phi(-high)) - phi(low)))
        return float(mp.log(phi(high) - phi(low)))


@pytest.mark.parametrize("levels", [2, 17, 256])
@pytest.mark.parametrize("sigma", [1e-3, 0.01, 0.05, 0.3, 1.0, 20.0])
def test_bins_and_tails_at_80_digits(levels, sigma):
    """Means up to 12 standard deviations from the value, to either side; inner and outermost bins."""
    places = sorted({0, 1, levels // 2, levels - 2, levels - 1})
    shifts = [-12, -5, -1, -0.1, 0, 0.3, 2, 8, 12]
    x = torch.tensor([-1 + 2 * k / (levels - 1) for k in places for _ in shifts], dtype=torch.float64)
    mean = x + sigma * torch.tensor(shifts * len(places), dtype=torch.float64)
    got = discretised_log_prob(td.Gaussian(mean, sigma**2), x, levels).tolist()
    exact = [exact_log_prob(a, m, (sigma**2) ** 0.5, levels) for a, m in zip(x.tolist(), mean.tolist(), strict=True)]
    assert got == pytest.approx(exact, rel=1e-10, abs=0)


def test_the_log_of_a_probability_near_one_keeps_its_digits():
    """exp of it is 1 in double precision; the log is minus the tails, here at 10 and 20 standard deviations."""
    for half in (8, 10, 20, 30):
        for x in (-1.0, 0.0, 1.0):
            value = torch.tensor([x], dtype=torch.float64)
            got = discretised_log_prob(td.Gaussian(value, (0.5 / half) ** 2), value, 3).item()
            tails = mp.erfc(half / mp.sqrt(2)) / 2 * (2 if x == 0 else 1)
            assert got == pytest.approx(float(-tails), rel=1e-10, abs=0)


def test_extremes_stay_finite():
    law = td.Gaussian(torch.tensor([50.0, -50.0, 0.0, 1.0], dtype=torch.float64), 1e-6)
    got = discretised_log_prob(law, torch.tensor([-1.0, 1.0, 1.0, 1.0]).double(), 17)
    assert got.isfinite().all() and (got[:3] < -1e5).all() and got[3] == 0


@both
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretised_last_step_of_the_bound(levels, dtype, variance):
    """All levels as float32 or float64, each with its own mean; the other terms are as for a density."""
    a, one = grid(levels, dtype)[:, None], torch.ones(levels, 1, dtype=dtype)
    terms = td.vlb_terms(SHORT, lambda xt, t: 0.5 * xt, a, variance, levels=levels, eps=one)
    plain = td.vlb_terms(SHORT, lambda xt, t: 0.5 * xt, a, variance, eps=one)
    assert torch.equal(terms.L_t, plain.L_t) and torch.equal(terms.L_T, plain.L_T) and not torch.equal(terms.L_0, plain.L_0)
    beta = SHORT.beta[1:3].numpy()
    sigma = math.sqrt(beta[0] if variance == "beta" else beta[1] * beta[0] / (1 - (1 - beta[0]) * (1 - beta[1])))
    for value, got in zip(a[:, 0].tolist(), terms.L_0.tolist(), strict=True):
        xt = math.sqrt(1 - beta[0]) * value + math.sqrt(beta[0])
        mean = (xt - math.sqrt(beta[0]) * 0.5 * float(np.float32(xt) if dtype == torch.float32 else xt)) / math.sqrt(1 - beta[0])
        rel = 1e-5 if dtype == torch.float32 else 1e-9
        assert got == pytest.approx(-exact_log_prob(value, mean, sigma, levels), rel=rel)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [2, 3, 17, 100, 256])
def test_levels_however_computed_are_accepted(levels, dtype):
    k = torch.arange(levels).to(dtype)
    for a in (grid(levels, dtype), k / (levels - 1) * 2 - 1, (k / (levels - 1) - 0.5) / 0.5):
        assert td.vlb_terms(SHORT, zero, a[:, None], levels=levels).L_0.isfinite().all()


@pytest.mark.parametrize("bad", [0.3, 0.1251, 1.125, -1.125, -3.0, math.nan, math.inf, -math.inf])
def test_values_off_the_levels_are_refused(bad):
    for dtype in (torch.float32, torch.float64):
        values = torch.tensor([[0.0, 0.5, bad]], dtype=dtype)
        message = rf"has a value {bad:g}, which is none of 17 equally spaced levels in \[-1, 1\]"
        with pytest.raises(ValueError, match=f"x0 {message}"):
            td.vlb_terms(SHORT, zero, values, levels=17)
        with pytest.raises(ValueError, match=message):
            discretised_log_prob(td.Gaussian(torch.zeros(1, 3, dtype=dtype), 1.0), values, 17)


def test_a_value_half_way_between_levels_is_refused_in_sixteen_bits_too():
    """Which tell 256 levels apart, but not much more."""
    with pytest.raises(ValueError, match="0, which is none of 256 equally spaced levels"):
        discretised_log_prob(td.Gaussian(torch.zeros(1).bfloat16(), 1.0), torch.zeros(1).bfloat16(), 256)


def test_values_as_bytes_are_refused():
    """0..255 or [0, 1] where [-1, 1] is meant: the mistake that this check is there for."""
    for a in (torch.arange(256.0)[:, None], torch.linspace(0, 1, 256)[:, None]):
        with pytest.raises(ValueError, match="none of 256 equally spaced levels"):
            td.vlb_terms(SHORT, zero, a, levels=256)


def test_an_empty_batch_has_no_terms():
    terms = td.vlb_terms(SHORT, zero, torch.zeros(0, 3), levels=17)
    assert terms.total.shape == (0,) and terms.L_t.shape == (0, 19)


def test_bits_per_dim():
    """8 bits for each of 64 numbers are 64 * 8 * log 2 nats."""
    nats = torch.tensor([[64 * 8 * math.log(2)], [0.0]], dtype=torch.float64)
    assert td.bits_per_dim(nats, 64).tolist() == [[pytest.approx(8, rel=1e-15)], [0]]
    assert td.bits_per_dim(nats, np.int64(32)).tolist() == [[pytest.approx(16, rel=1e-15)], [0]]
    assert td.bits_per_dim(nats.float(), 1).dtype == torch.float32
    assert td.bits_per_dim(2 * math.log(2), 2) == 1


def test_the_terms_cannot_be_changed():
    with pytest.raises(AttributeError):
        td.vlb_terms(SHORT, zero, x0).L_0 = torch.zeros(2)
