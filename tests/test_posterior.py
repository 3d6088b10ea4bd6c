"""The reverse step against Bayes and the joint law; x_0, eps and v into one another; the row before row t."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf, workdps

import tinyddpm as td

schedules = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=50).map(td.Schedule)
numbers = st.floats(-3, 3)
LINEAR = td.Schedule.linear(100)
t = torch.tensor([1, 50, 100])
x0, xt, eps = torch.randn(3, 3, 2, generator=torch.Generator().manual_seed(0)).unbind()
CONVERSIONS = [td.x0_from_eps, td.eps_from_x0, td.v_from_eps, td.v_from_x0, td.x0_from_v, td.eps_from_v]


def row(*values):
    return torch.tensor(values, dtype=torch.float64)


@given(schedules, numbers, numbers)
@settings(max_examples=25)
def test_posterior_is_bayes_rule_at_50_digits(schedule, clean, state):
    """Every t: the densities of x_{t-1} given x_0 and of x_t given x_{t-1}, multiplied; precisions add."""
    T = schedule.T
    law = td.q_posterior(schedule, row(*[clean] * T), row(*[state] * T), torch.arange(1, T + 1))
    assert law.mean[0] == clean and law.var[0] == 0  # exactly
    with workdps(50):
        bar = mpf(1)
        for i, beta in enumerate(map(mpf, schedule.beta[1:].tolist())):
            if i:
                precision = 1 / (1 - bar) + (1 - beta) / beta
                first, second = mp.sqrt(bar) * clean / (1 - bar), mp.sqrt(1 - beta) * state / beta
                assert abs(law.var[i].item() * precision - 1) < 1e-14
                assert abs(law.mean[i].item() - (first + second) / precision) <= 1e-14 * (abs(first) + abs(second)) / precision
            bar *= 1 - beta


@given(schedules, numbers, numbers, st.data())
@settings(max_examples=40)
def test_posterior_is_the_conditional_of_the_joint_gaussian(schedule, clean, state, data):
    """(x_{t-1}, x_t) given x_0 has a 2x2 covariance, built here from the maps that make them out of unit noise."""
    step = data.draw(st.integers(1, schedule.T))
    maps = np.zeros((schedule.T + 1, schedule.T))  # row s: x_s as a function of the noise of the steps; row 0: none
    mean = np.full(schedule.T + 1, clean)
    for s, beta in enumerate(schedule.beta[1:].numpy(), 1):
        maps[s], mean[s] = math.sqrt(1 - beta) * maps[s - 1], math.sqrt(1 - beta) * mean[s - 1]
        maps[s, s - 1] = math.sqrt(beta)
    cov = maps[[step - 1, step]] @ maps[[step - 1, step]].T
    gain = cov[0, 1] / cov[1, 1]
    law = td.q_posterior(schedule, row(clean), row(state), step)
    assert law.mean.item() == pytest.approx(mean[step - 1] + gain * (state - mean[step]), rel=1e-12, abs=1e-12)
    assert law.var.item() == pytest.approx(cov[0, 0] - gain * cov[1, 0], rel=1e-9, abs=1e-15)


@given(schedules, numbers)
@settings(max_examples=40)
def test_averaged_over_the_state_the_posterior_is_the_marginal(schedule, clean):
    """The mean is affine in x_t, so two states tell its slope: the law of total expectation and of total variance."""
    steps, data = torch.arange(1, schedule.T + 1), torch.full((schedule.T,), clean, dtype=torch.float64)
    now = td.q_marginal(schedule, data, steps)
    centre, above = (td.q_posterior(schedule, data, now.mean + shift, steps) for shift in (0.0, 1.0))
    torch.testing.assert_close(centre.mean, schedule.alpha_bar[:-1].sqrt() * clean, rtol=1e-13, atol=1e-13)
    total = centre.var + (above.mean - centre.mean) ** 2 * now.var
    torch.testing.assert_close(total, schedule.one_minus_alpha_bar[:-1], rtol=1e-11, atol=1e-14)


@given(schedules.filter(lambda s: s.T > 1), numbers, numbers, numbers, st.data())
@settings(max_examples=40)
def test_the_joint_density_can_be_taken_apart_either_way(schedule, clean, before, state, data):
    """q(x_{t-1} | x_t, x_0) q(x_t | x_0) = q(x_t | x_{t-1}) q(x_{t-1} | x_0)"""
    step = data.draw(st.integers(2, schedule.T))
    a, b, c = row(clean), row(before), row(state)
    backward = td.q_posterior(schedule, a, c, step).log_prob(b) + td.q_marginal(schedule, a, step).log_prob(c)
    forward = td.q_step(schedule, b, step).log_prob(c) + td.q_marginal(schedule, a, step - 1).log_prob(b)
    torch.testing.assert_close(backward, forward, rtol=1e-9, atol=1e-9)


@given(schedules, numbers, numbers)
@settings(max_examples=40)
def test_noise_data_and_velocity_lead_to_one_another(schedule, clean, noise):
    T = schedule.T
    steps, data, unit = torch.arange(1, T + 1), row(*[clean] * T), row(*[noise] * T)
    signal, rest = np.sqrt(np.cumprod(1 - schedule.beta[1:].numpy())), np.sqrt(1 - np.cumprod(1 - schedule.beta[1:].numpy()))
    state, v = torch.from_numpy(signal * clean + rest * noise), torch.from_numpy(signal * noise - rest * clean)
    known = {"x0": data, "eps": unit, "v": v}
    for function in CONVERSIONS:
        to, _, given_as = function.__name__.split("_")
        got = function(schedule, state, steps, known[given_as])
        loss = torch.from_numpy(1 / np.minimum(signal, rest))  # rounding grows where one of the two is divided by
        assert ((got - known[to]).abs() <= 1e-11 * loss).all(), function.__name__


@given(schedules, numbers, numbers)
@settings(max_examples=40)
def test_round_trips_at_any_state(schedule, state, known):
    """Also where state and prediction do not belong together, as with a network."""
    steps, state, known = torch.arange(1, schedule.T + 1), row(*[state] * schedule.T), row(*[known] * schedule.T)
    for function in CONVERSIONS:
        to, _, given_as = function.__name__.split("_")
        back = getattr(td, f"{given_as}_from_{to}")
        grown = schedule.alpha_bar[1:].rsqrt() + schedule.one_minus_alpha_bar[1:].rsqrt()
        error = (back(schedule, state, steps, function(schedule, state, steps, known)) - known).abs()
        assert (error <= 1e-14 * grown).all(), function.__name__


def test_noise_and_velocity_of_ones_by_hand():
    """beta = 0.36: signal 0.8, noise 0.6; all six from x_0 = 1, eps = 2, so x_1 = 2 and v = 1."""
    schedule, known = td.Schedule([0.36]), {"x0": 1.0, "eps": 2.0, "v": 1.0}
    for function in CONVERSIONS:
        to, _, given_as = function.__name__.split("_")
        assert function(schedule, row(2.0), 1, row(known[given_as])).item() == pytest.approx(known[to], rel=1e-14)


@given(schedules, numbers, numbers)
@settings(max_examples=40)
def test_the_learned_mean_is_the_posterior_mean_at_the_predicted_data(schedule, state, prediction):
    T = schedule.T
    steps, state, prediction = torch.arange(1, T + 1), row(*[state] * T), row(*[prediction] * T)
    clean = td.x0_from_eps(schedule, state, steps, prediction)
    for variance in ("beta", "beta_tilde"):
        law = td.p_step(schedule, state, steps, prediction, variance)
        size = 1 + clean.abs() + schedule.alpha[1:].rsqrt() * 6
        assert ((law.mean - td.q_posterior(schedule, clean, state, steps).mean).abs() <= 1e-13 * size).all()


def test_variances_of_the_learned_step():
    schedule = td.Schedule([0.1, 0.2, 0.5])
    a, steps = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([1, 2, 3])
    second, third = 0.2 * 0.1 / 0.28, 0.5 * 0.28 / 0.64  # beta_t (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t)
    expected = {"beta": [0.1, 0.2, 0.5], "beta_tilde": [second, second, third]}
    for variance, values in expected.items():
        assert td.p_step(schedule, a, steps, a, variance).var.tolist() == [pytest.approx([v, v], rel=1e-15) for v in values]
        for step in (1, 2, 3):
            for same in (step, np.int64(step), torch.tensor(step), torch.tensor([step] * 3, dtype=torch.int32)):
                got = td.p_step(schedule, a, same, a, variance).var
                torch.testing.assert_close(got, torch.full_like(a, values[step - 1]), rtol=1e-15, atol=0)
    assert td.p_step(schedule, a, 2, a).var[0, 0] == 0.2  # "beta" is the default
    one = td.Schedule([0.3])
    assert td.p_step(one, a, 1, a, "beta").var[0, 0] == td.p_step(one, a, 1, a, "beta_tilde").var[0, 0] == 0.3


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.uint16])
def test_any_integer_dtype_serves_as_a_step(dtype):
    for variance in ("beta", "beta_tilde"):
        got = td.p_step(LINEAR, xt, t.to(dtype), eps, variance)
        assert torch.equal(got.var, td.p_step(LINEAR, xt, t, eps, variance).var)
    assert torch.equal(td.q_posterior(LINEAR, x0, xt, t.to(dtype)).mean, td.q_posterior(LINEAR, x0, xt, t).mean)


def calls():
    """Every function as a function of (state, other tensor, t) that returns a list of tensors."""
    both = lambda law: [law.mean, law.var]  # noqa: E731
    yield "q_posterior", lambda a, b, s: both(td.q_posterior(LINEAR, b, a, s))
    yield "p_step beta", lambda a, b, s: both(td.p_step(LINEAR, a, s, b))
    yield "p_step beta_tilde", lambda a, b, s: both(td.p_step(LINEAR, a, s, b, "beta_tilde"))
    for function in CONVERSIONS:
        yield function.__name__, lambda a, b, s, f=function: [f(LINEAR, a, s, b)]


CALLS = [pytest.param(call, id=name) for name, call in calls()]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("shape", [(5,), (5, 2), (5, 1, 8, 8)])
def test_a_batch_of_mixed_steps_is_each_step_alone(call, shape):
    a, b = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    steps = torch.tensor([7, 1, 100, 2, 7])
    together = call(a, b, steps)
    assert all(r.shape == shape for r in together)
    for i, step in enumerate(steps.tolist()):
        for s in (step, torch.tensor(step), torch.tensor([step])):
            for r, alone in zip(together, call(a[i : i + 1], b[i : i + 1], s), strict=True):
                torch.testing.assert_close(r[i : i + 1], alone, rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_of_its_input(call, dtype):
    wide = call(xt.to(dtype).double(), x0.to(dtype).double(), t)
    for r, exact in zip(call(xt.to(dtype), x0.to(dtype), t), wide, strict=True):
        assert r.dtype == dtype and r.shape == xt.shape
        assert (r.double() - exact).abs().max() <= 4 * torch.finfo(dtype).eps * exact.abs().max()


def test_first_step_is_certain_in_every_dtype():
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        law = td.q_posterior(LINEAR, x0.to(dtype), xt.to(dtype), 1)
        assert torch.equal(law.mean, x0.to(dtype)) and not law.var.any()


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_gradients_reach_the_prediction(variance):
    """d mean / d eps = -beta_t / sqrt(alpha_t (1 - alpha_bar_t))"""
    a, b = xt.double(), eps.double().requires_grad_()
    td.p_step(LINEAR, a, t, b, variance).mean.sum().backward()
    beta, bar = LINEAR.beta.numpy()[t], np.cumprod(1 - LINEAR.beta.numpy())[t]
    expected = torch.from_numpy(-beta / np.sqrt((1 - beta) * (1 - bar)))[:, None].expand(3, 2)
    torch.testing.assert_close(b.grad, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("call", CALLS)
def test_gradients_are_right(call):
    inputs = [z.double().requires_grad_() for z in (xt, x0)]
    assert torch.autograd.gradcheck(lambda a, b: call(a, b, t)[0], inputs)


@pytest.mark.parametrize("call", CALLS)
def test_under_vmap_and_compile(call):
    expected = call(xt, x0, t)
    mapped = torch.func.vmap(lambda a, b, s: tuple(call(a, b, s)))(xt, x0, t)
    compiled = torch.compile(call, fullgraph=True, backend="eager")(xt, x0, t)
    for r, m, c in zip(expected, mapped, compiled, strict=True):
        torch.testing.assert_close(m, r)
        torch.testing.assert_close(c, r)


@pytest.mark.parametrize("outside", [0, -1, 101])
def test_no_row_is_read_outside_the_table_where_values_cannot_be_checked(outside):
    bad = torch.tensor([1, outside, 3])
    posterior, learned = CALLS[0].values[0], CALLS[2].values[0]
    for call in (lambda *args: posterior(*args)[0], lambda *args: learned(*args)[1]):
        with pytest.raises((IndexError, RuntimeError)):
            torch.func.vmap(call)(x0, xt, bad)
        with pytest.raises((IndexError, RuntimeError)):
            torch.compile(call, fullgraph=True, backend="eager")(x0, xt, bad)


def test_tables_follow_the_tensor_to_its_device():
    a = xt.to("meta")
    assert td.q_posterior(LINEAR, a, a, t).mean.device.type == "meta"
    assert td.p_step(LINEAR, a, t.to("meta"), a, "beta_tilde").var.device.type == "meta"


def test_the_row_before():
    """at(back=1) reads row t-1, and clean data before the first step; t itself must still be a step."""
    schedule = td.Schedule([0.1, 0.2, 0.5])
    for table in ("beta", "alpha", "alpha_bar", "one_minus_alpha_bar", "beta_tilde", "snr"):
        rows = getattr(schedule, table)
        before = schedule.at(table, torch.tensor([3, 1, 2]), torch.zeros(3, 2, 2), back=1)
        assert before.shape == (3, 1, 1) and before.flatten().tolist() == rows[[2, 0, 1]].tolist()
        for step in (1, 2, 3):
            for same in (step, torch.tensor(step)):
                got = schedule.at(table, same, torch.zeros(3, 2), back=1)
                assert got.shape == () and got == rows[step - 1]
            assert schedule.at(table, step, torch.zeros(3, 2)) == schedule.at(table, step, torch.zeros(3, 2), back=0) == rows[step]
        schedule.at(table, 1, torch.zeros(1), back=1).add_(5)  # no view of the table
        schedule.at(table, torch.tensor([1]), torch.zeros(1), back=1).add_(5)
    assert schedule.alpha_bar[0] == 1 and schedule.beta[0] == 0


@pytest.mark.parametrize("bad", [0, 4, -1])
def test_the_row_before_is_that_of_a_step(bad):
    schedule = td.Schedule([0.1, 0.2, 0.5])
    with pytest.raises(ValueError, match=rf"t = {bad} is outside 1\.\.3"):
        schedule.at("alpha_bar", bad, torch.zeros(2), back=1)
    with pytest.raises(ValueError, match=rf"t\[1\] = {bad} is outside 1\.\.3"):
        schedule.at("alpha_bar", torch.tensor([1, bad]), torch.zeros(2), back=1)
    with pytest.raises((IndexError, RuntimeError)):  # by value nothing can be raised there
        torch.func.vmap(lambda s: schedule.at("alpha_bar", s, torch.zeros(2), back=1))(torch.tensor([1, bad]))
