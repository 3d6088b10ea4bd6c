"""The simplified loss against NumPy, and the weight it drops against 50 digits and against the divergences themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mpf, workdps

import tinyddpm as td

schedules = st.lists(st.floats(1e-4, 0.9), min_size=1, max_size=20).map(td.Schedule)
variances = st.sampled_from(["beta", "beta_tilde"])
numbers = st.floats(-3, 3)
LINEAR = td.Schedule.linear(100)
x0, eps = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0)).unbind()


def seed(n):
    return torch.Generator().manual_seed(n)


def zero(xt, t):
    return torch.zeros_like(xt)


@given(schedules, st.lists(numbers, min_size=12, max_size=12), st.data())
def test_loss_is_the_mean_squared_error_of_the_noise(schedule, values, data):
    clean, noise = np.reshape(values, (2, 3, 2))
    steps = np.array(data.draw(st.lists(st.integers(1, schedule.T), min_size=3, max_size=3)))
    bar = np.cumprod(np.concatenate([[1], 1 - schedule.beta[1:].numpy()]))[steps][:, None]
    state = np.sqrt(bar) * clean + np.sqrt(1 - bar) * noise
    expected = np.mean((noise - (0.3 * state + 0.125 * steps[:, None])) ** 2)
    args = schedule, lambda xt, t: 0.3 * xt + 0.125 * t[:, None], torch.tensor(clean), torch.tensor(steps), torch.tensor(noise)
    assert td.simple_loss(*args).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 1, 8, 8)])
def test_the_model_sees_the_noised_data_and_the_steps(shape):
    clean, noise = torch.randn(2, *shape, generator=seed(1)).unbind()
    for given_t, steps in [
        (7, [7, 7, 7]),
        (np.int64(7), [7, 7, 7]),
        (torch.tensor(7), [7, 7, 7]),
        (torch.tensor([7, 1, 100]), [7, 1, 100]),
    ]:
        seen = []
        loss = td.simple_loss(LINEAR, lambda *args: seen.append(args) or zero(*args), clean, given_t, noise)  # noqa: B023
        ((xt, t),) = seen
        assert torch.equal(t, torch.tensor(steps)) and torch.equal(xt, td.q_sample(LINEAR, clean, torch.tensor(steps), noise))
        assert loss.shape == () and loss.dtype == torch.float32
        assert loss.item() == pytest.approx(noise.numpy().astype(float).__pow__(2).mean(), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_of_its_input(dtype):
    seen = []
    loss = td.simple_loss(LINEAR, lambda *args: seen.append(args) or zero(*args), x0.to(dtype), 5, generator=seed(0))
    assert loss.dtype == seen[0][0].dtype == dtype and seen[0][1].dtype == torch.int64


def test_drawn_steps_are_uniform_from_first_to_last():
    steps = []
    td.simple_loss(td.Schedule([0.1] * 5), lambda xt, t: steps.append(t) or xt, torch.zeros(50000, 1), generator=seed(0))
    counts = torch.bincount(steps[0], minlength=6).tolist()
    assert steps[0].dtype == torch.int64 and steps[0].shape == (50000,)
    assert len(counts) == 6 and counts[0] == 0
    assert sum((n - 10000) ** 2 / 10000 for n in counts[1:]) < 18.5  # chi-square with 4 degrees of freedom, p = 0.001


def test_the_generator_decides_and_the_default_one_is_left_alone():
    model = lambda xt, t: 0.5 * xt + t[:, None]  # noqa: E731
    state = torch.get_rng_state()
    one, same, other = (td.simple_loss(LINEAR, model, x0, generator=seed(n)) for n in (3, 3, 4))
    assert one == same != other and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(0)
    drawn = td.simple_loss(LINEAR, model, x0)
    assert drawn != td.simple_loss(LINEAR, model, x0)
    torch.manual_seed(0)
    assert drawn == td.simple_loss(LINEAR, model, x0)
    torch.set_rng_state(state)


def test_the_layout_in_memory_does_not_change_the_draw():
    a = torch.randn(2, 3, 4, 4, generator=seed(0))
    layouts = a, a.to(memory_format=torch.channels_last)
    for t in (None, 5):
        one, other = (td.simple_loss(LINEAR, lambda xt, t: 0.5 * xt, b, t, generator=seed(1)) for b in layouts)
        torch.testing.assert_close(other, one)


def test_gradient_by_hand_and_through_the_data():
    a, clean = torch.tensor(0.3, dtype=torch.float64, requires_grad=True), x0.double().requires_grad_()
    td.simple_loss(LINEAR, lambda xt, t: a * xt, clean, 50, eps.double()).backward()
    bar = np.cumprod(1 - LINEAR.beta.numpy())[50]
    xt = np.sqrt(bar) * x0.double().numpy() + np.sqrt(1 - bar) * eps.double().numpy()
    error = 0.3 * xt - eps.double().numpy()
    assert a.grad.item() == pytest.approx(2 * (error * xt).mean(), rel=1e-12)
    np.testing.assert_allclose(clean.grad.numpy(), 2 / 6 * error * 0.3 * np.sqrt(bar), rtol=1e-12)


def test_expectation_over_the_noise():
    """For eps_theta = a x_t: a² alpha_bar_t x_0² + (a sqrt(1 - alpha_bar_t) - 1)², within 5 standard errors."""
    bar, a, n = 0.9 * 0.7, 0.4, 200_000
    loss = td.simple_loss(td.Schedule([0.1, 0.3]), lambda xt, t: a * xt, torch.full((n, 1), 1.5), 2, generator=seed(0)).item()
    m, s = a * bar**0.5 * 1.5, a * (1 - bar) ** 0.5 - 1  # the error is m + s eps
    assert abs(loss - (m**2 + s**2)) < 5 * ((2 * s**4 + 4 * m**2 * s**2) / n) ** 0.5


def test_under_compile_and_vmap():
    t, model = torch.tensor([1, 50, 100]), lambda xt, t: 0.5 * xt
    call = lambda a, s, e: td.simple_loss(LINEAR, model, a, s, e)  # noqa: E731
    torch.testing.assert_close(torch.compile(call, fullgraph=True, backend="eager")(x0, t, eps), call(x0, t, eps))
    torch.testing.assert_close(torch.func.vmap(call)(x0, t, eps).mean(), call(x0, t, eps))
    weight = torch.compile(lambda s: td.vlb_weight(LINEAR, s, "beta_tilde"), fullgraph=True, backend="eager")
    torch.testing.assert_close(weight(t), td.vlb_weight(LINEAR, t, "beta_tilde"))


@given(schedules, variances)
@settings(max_examples=50)
def test_weight_at_50_digits(schedule, variance):
    """beta_t² / (2 sigma_t² alpha_t (1 - alpha_bar_t)), with the divisions taken one by one."""
    T, weights = schedule.T, []
    with workdps(50):
        beta, bar = [mpf(0), *map(mpf, schedule.beta[1:].tolist())], [mpf(1)]
        for b in beta[1:]:
            bar.append(bar[-1] * (1 - b))
        for t in range(1, T + 1):
            s = max(t, 2) if variance == "beta_tilde" and T > 1 else t
            sigma2 = beta[t] if variance == "beta" or T == 1 else beta[s] * (1 - bar[s - 1]) / (1 - bar[s])
            weights.append(float(beta[t] / (1 - bar[t]) / (1 - beta[t]) * beta[t] / sigma2 / 2))
    got = td.vlb_weight(schedule, torch.arange(1, T + 1), variance)
    assert got.dtype == torch.float64 and got.tolist() == pytest.approx(weights, rel=1e-14)
    for t in (1, T):
        for same in (t, np.int64(t), torch.tensor(t), torch.tensor(t, dtype=torch.uint8)):
            one = td.vlb_weight(schedule, same, variance)
            assert one.shape == () and one.dtype == torch.float64 and one.item() == pytest.approx(weights[t - 1], rel=1e-14)


@given(schedules.filter(lambda s: s.T > 1), variances, numbers, numbers, numbers)
def test_weighted_squared_error_is_the_divergence(schedule, variance, clean, noise, prediction):
    """All of the KL between the reverse steps but the part that is there also for a perfect prediction."""
    t = torch.arange(2, schedule.T + 1)
    x0, eps, guess = (torch.full((len(t),), v, dtype=torch.float64) for v in (clean, noise, prediction))
    xt = td.q_sample(schedule, x0, t, eps)
    truth = td.q_posterior(schedule, x0, xt, t)
    kl, least = (truth.kl(td.p_step(schedule, xt, t, e, variance)) for e in (guess, eps))
    torch.testing.assert_close(td.vlb_weight(schedule, t, variance) * (eps - guess) ** 2, kl - least, rtol=1e-8, atol=1e-8)
    if variance == "beta_tilde":
        assert (least < 1e-12).all()


@given(schedules.filter(lambda s: s.T > 1))
def test_weight_is_half_the_relative_fall_of_the_ratio_of_signal_to_noise(schedule):
    t = torch.arange(2, schedule.T + 1)
    expected = (schedule.snr[t - 1] / schedule.snr[t] - 1) / 2
    torch.testing.assert_close(td.vlb_weight(schedule, t, "beta_tilde"), expected, rtol=1e-10, atol=1e-15)


def test_weight_takes_beta_by_default_and_is_no_view():
    schedule = td.Schedule([0.2, 0.5])
    assert torch.equal(td.vlb_weight(schedule, 2), td.vlb_weight(schedule, 2, "beta"))
    assert td.vlb_weight(schedule, 2) != td.vlb_weight(schedule, 2, "beta_tilde")
    td.vlb_weight(schedule, torch.tensor([1, 2])).zero_()
    assert schedule.beta.tolist() == [0, 0.2, 0.5]
