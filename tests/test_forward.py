"""The forward process: its steps, its shortcut and its joint law agree; nothing broadcasts."""

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

import tinyddpm as td

schedules = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=12).map(td.Schedule)
LINEAR = td.Schedule.linear(100)
x, t, eps = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 50, 100]), torch.ones(3, 2)


@given(schedules, st.floats(-3, 3))
def test_steps_one_after_the_other_give_the_marginal(schedule, start):
    """A Gaussian through x -> q_step(x) stays one: its mean goes through the step's mean, its variance is carried on."""
    x0 = torch.tensor([start], dtype=torch.float64)
    mean, var = x0, torch.zeros_like(x0)
    for step in range(1, schedule.T + 1):
        slope = td.q_step(schedule, torch.ones_like(x0), step).mean
        mean, var = td.q_step(schedule, mean, step).mean, slope**2 * var + td.q_step(schedule, mean, step).var
        marginal = td.q_marginal(schedule, x0, step)
        torch.testing.assert_close(marginal.mean, mean, rtol=1e-13, atol=1e-15)
        torch.testing.assert_close(marginal.var, var, rtol=1e-13, atol=0)


@given(schedules, st.data())
def test_joint_density_is_the_product_of_the_steps(schedule, data):
    """The chain x_1..x_T given x_0 is one Gaussian, with Cov(x_s, x_t) = sqrt(ᾱ_t/ᾱ_s) (1-ᾱ_s): SciPy's density of it."""
    x0 = 0.7
    path = data.draw(st.lists(st.floats(-2, 2), min_size=schedule.T, max_size=schedule.T))
    bar = schedule.alpha_bar[1:].numpy()
    low, high = np.maximum.outer(bar, bar), np.minimum.outer(bar, bar)  # the earlier of two times has the larger ᾱ
    dense = stats.multivariate_normal(np.sqrt(bar) * x0, np.sqrt(high / low) * (1 - low)).logpdf(path)
    states = torch.tensor([x0, *path], dtype=torch.float64)
    product = td.q_step(schedule, states[:-1], torch.arange(1, schedule.T + 1)).log_prob(states[1:]).sum().item()
    assert product == pytest.approx(dense, rel=1e-8, abs=1e-8)


@given(schedules, st.integers(0, 4))
def test_q_sample_is_mean_plus_noise_for_any_rank(schedule, rank):
    x0, noise = (torch.randn(schedule.T, *[2] * rank, dtype=torch.float64) for _ in range(2))
    steps = torch.randperm(schedule.T) + 1
    law = td.q_marginal(schedule, x0, steps)
    torch.testing.assert_close(td.q_sample(schedule, x0, steps, noise), law.mean + law.var.sqrt() * noise)
    for row, step in enumerate(steps.tolist()):  # each row has its own step
        alone = td.q_sample(schedule, x0[row], step, noise[row])
        torch.testing.assert_close(td.q_sample(schedule, x0, steps, noise)[row], alone)


def test_unit_variance_is_kept():
    """Data of variance 1 keep variance 1 at every step: what sqrt(1 - beta) is for."""
    bar, noise = LINEAR.alpha_bar, LINEAR.one_minus_alpha_bar
    torch.testing.assert_close(bar * 1.0 + noise, torch.ones(101, dtype=torch.float64), rtol=0, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_of_its_input(dtype):
    a = x.to(dtype)
    results = [td.q_step(LINEAR, a, t), td.q_marginal(LINEAR, a, t)]
    tensors = [r.mean for r in results] + [r.var for r in results] + [td.q_sample(LINEAR, a, t, eps.to(dtype))]
    assert all(r.dtype == dtype and r.shape == a.shape and r.isfinite().all() for r in tensors)


@pytest.mark.parametrize("function", [td.q_step, td.q_marginal])
def test_a_number_is_one_step_for_all(function):
    for same in (
        7,
        np.int64(7),
        torch.tensor(7),
        torch.tensor([7, 7, 7]),
        torch.tensor([7, 7, 7], dtype=torch.int32),
        torch.tensor([7, 7, 7], dtype=torch.uint16),
    ):
        assert torch.equal(function(LINEAR, x, same).mean, function(LINEAR, x, torch.full((3,), 7)).mean)


def test_under_compile_and_vmap():
    expected = td.q_sample(LINEAR, x, t, eps)
    torch.testing.assert_close(torch.func.vmap(lambda a, s, e: td.q_sample(LINEAR, a, s, e))(x, t, eps), expected)
    compiled = torch.compile(lambda a, s, e: td.q_sample(LINEAR, a, s, e), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, eps), expected)


@pytest.mark.parametrize("outside", [0, -1, 101])
def test_no_row_is_read_outside_the_table_where_values_cannot_be_checked(outside):
    """Under vmap and compile nothing can be raised by value; reading the wrong row must fail all the same."""
    with pytest.raises((IndexError, RuntimeError)):
        torch.func.vmap(lambda a, s, e: td.q_sample(LINEAR, a, s, e))(x, torch.tensor([1, outside, 3]), eps)
    with pytest.raises((IndexError, RuntimeError)):
        torch.compile(lambda s: td.q_sample(LINEAR, x, s, eps), fullgraph=True, backend="eager")(torch.tensor([1, outside, 3]))


def test_gradients_per_example_and_a_changing_step_under_compile():
    slopes = torch.func.vmap(torch.func.grad(lambda a, s, e: td.q_sample(LINEAR, a, s, e).sum()))(x, t, eps)
    torch.testing.assert_close(slopes, LINEAR.alpha_bar[t].sqrt().float()[:, None].expand(3, 2))
    compiled = torch.compile(lambda a, step: td.q_marginal(LINEAR, a, step).mean, fullgraph=True, backend="eager")
    for step in (3, 4, 5):
        torch.testing.assert_close(compiled(x, step), td.q_marginal(LINEAR, x, step).mean)


def test_results_are_no_views_of_the_tables():
    schedule = td.Schedule([0.1, 0.2])
    for step in (1, torch.tensor(1), torch.tensor([1])):
        schedule.at("beta", step, torch.zeros(1)).mul_(2)
    assert schedule.beta[1] == 0.1


def test_a_schedule_made_anywhere_serves_in_training():
    with torch.inference_mode():
        schedule = td.Schedule([0.1, 0.2])
    a = x.double().requires_grad_()
    td.q_sample(schedule, a, 1, eps.double()).sum().backward()
    assert a.grad is not None


def test_copies_on_devices_are_not_pickled():
    td.q_marginal(LINEAR, x.to("meta"), 1)
    copy = pickle.loads(pickle.dumps(LINEAR))
    assert LINEAR._copies and not copy._copies and torch.equal(copy.alpha_bar, LINEAR.alpha_bar)


def test_tables_follow_the_tensor_to_its_device():
    assert td.q_marginal(LINEAR, x.to("meta"), t.to("meta")).mean.device.type == "meta"
    rows = LINEAR.at("beta", torch.tensor([1, 2, 3]), x.to("meta"))  # also with t elsewhere
    assert rows.device.type == "meta" and rows.dtype == torch.float64


def test_gradients_reach_the_data():
    a = x.clone().requires_grad_()
    td.q_sample(LINEAR, a, 50, eps).sum().backward()
    torch.testing.assert_close(a.grad, torch.full_like(a, math.sqrt(LINEAR.alpha_bar[50])))
