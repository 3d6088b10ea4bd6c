"""Sampling as an affine map of its noise, at 50 digits; DDIM against its formula and against ancestral sampling."""

import math
import sys

import numpy as np
import pytest
import torch
from mpmath import matrix, mp, mpf, workdps

import tinyddpm as td
from tinyddpm import _walk
from tinyddpm.exact import Empirical, GaussianMixture
from tinyddpm.sampling import ddim_times

VARIANCES = ["beta", "beta_tilde"]
SHORT = td.Schedule([0.1, 0.3, 0.5])
TEN = td.Schedule.linear(10, 0.01, 0.4)
MEAN, VAR = [0.5, -1.0, 2.0], [0.04, 1.0, 3.0]
GAUSSIAN = GaussianMixture([MEAN], [VAR])
PLANE = GaussianMixture([[-1.0, 0.5], [1.0, 0.0], [0.2, -2.0]], [0.3, 0.05, 0.2])


def seed(n):
    return torch.Generator().manual_seed(n)


def start(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=seed(0), dtype=dtype)


def linear(xt, t):
    return 0.3 * xt + 0.01 * t.to(xt).reshape(-1, *[1] * (xt.ndim - 1))


def zero(xt, t):
    return torch.zeros_like(xt)


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("T", [1, 2, 10])
def test_each_draw_is_one_of_the_learned_step(T, variance):
    schedule, x_T = td.Schedule.linear(T, 0.05, 0.4), start(4, 3)
    generator, x = seed(1), x_T
    for t in range(T, 0, -1):
        law = td.p_step(schedule, x, t, linear(x, torch.full((4,), t)), variance)
        x = law.sample(generator) if t > 1 else law.mean
    close(td.sample(schedule, linear, x_T, variance, generator=seed(1)), x, 1e-12)


def test_the_variance_is_beta_by_default():
    args = SHORT, linear, start(2, 2)
    assert torch.equal(td.sample(*args, generator=seed(0)), td.sample(*args, "beta", generator=seed(0)))
    assert not torch.equal(td.sample(*args, generator=seed(0)), td.sample(*args, "beta_tilde", generator=seed(0)))


@pytest.mark.parametrize("schedule", [td.Schedule([0.3]), SHORT], ids=["T=1", "T=3"])
def test_one_draw_for_each_step_but_the_last(schedule):
    used, same = seed(3), seed(3)
    td.sample(schedule, zero, torch.ones(2, 2), generator=used)
    for _ in range(schedule.T - 1):
        torch.randn(2, 2, generator=same)
    assert torch.equal(used.get_state(), same.get_state())


def affine(sampler, monkeypatch, draws):
    """What a sampler of three coordinates does, found row by row: offset (3,), gain of x_T (3,), gain of each draw (draws, 3)."""
    unit, calls = torch.eye(draws + 2, dtype=torch.float64)[:, :, None], []

    def noise(like, generator):
        calls.append(0)
        return unit[:, len(calls) + 1].expand_as(like)

    monkeypatch.setattr("tinyddpm._walk.standard_normal", noise)
    out = sampler(unit[:, 1].expand(-1, 3))
    assert len(calls) == draws
    return out[0], (out[1] - out[0]), (out[2:] - out[0])


def table(schedule):
    """beta_t and alpha_bar_t, to the digits of mpmath."""
    beta, bar = [mpf(0), *map(mpf, schedule.beta[1:].tolist())], [mpf(1)]
    for b in beta[1:]:
        bar.append(bar[-1] * (1 - b))
    return beta, bar


def exact_eps(bar, m, v):
    """The noise in x_t given x_t, for data N(m, v): a x_t + b."""
    a = mp.sqrt(1 - bar) / (bar * v + 1 - bar)
    return a, -a * mp.sqrt(bar) * m


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("schedule", [td.Schedule([0.4]), TEN, td.Schedule.cosine(40)], ids=["T=1", "T=10", "cosine"])
def test_the_law_of_the_samples_at_50_digits(schedule, variance, monkeypatch):
    """With the exact eps of N(m, v), mean and variance go backwards by a recursion; x_T is N(0, 1)."""
    sampler = lambda x_T: td.sample(schedule, GAUSSIAN.eps(schedule), x_T, variance)  # noqa: E731
    offset, gain, gains = affine(sampler, monkeypatch, schedule.T - 1)
    with workdps(50):
        beta, bar = table(schedule)
        for i, (m, v) in enumerate(zip(MEAN, VAR, strict=True)):
            mean, var, product = mpf(0), mpf(1), mpf(1)
            for t in range(schedule.T, 0, -1):
                a, b = exact_eps(bar[t], m, v)
                share = beta[t] / mp.sqrt(1 - bar[t])
                shrink, shift = (1 - share * a) / mp.sqrt(1 - beta[t]), -share * b / mp.sqrt(1 - beta[t])
                sigma2 = beta[t] if variance == "beta" else beta[t] * (1 - bar[t - 1]) / (1 - bar[t])
                mean, var, product = shrink * mean + shift, shrink**2 * var + (sigma2 if t > 1 else 0), product * shrink
            assert offset[i].item() == pytest.approx(float(mean), rel=1e-12, abs=1e-12)
            assert gain[i].item() == pytest.approx(float(product), rel=1e-10, abs=1e-13)
            assert (gain[i] ** 2 + (gains[:, i] ** 2).sum()).item() == pytest.approx(float(var), rel=1e-12)


def test_a_standard_normal_comes_back_but_for_the_noise_of_the_last_step(monkeypatch):
    """Every step keeps variance 1, alpha_t + beta_t; the last one adds no beta_1."""
    normal = GaussianMixture([[0.0] * 3], 1.0)
    offset, gain, gains = affine(lambda x_T: td.sample(TEN, normal.eps(TEN), x_T), monkeypatch, 9)
    close(gain**2 + (gains**2).sum(0), torch.full((3,), 1 - 0.01, dtype=torch.float64), 1e-14)
    assert not offset.any()


def test_the_law_of_the_samples_nears_that_of_the_data_as_the_steps_get_finer(monkeypatch):
    errors = []
    for T in (10, 100, 1000):
        schedule = td.Schedule.linear(T, 0.1 / T, 20 / T if T > 20 else 0.9)
        with monkeypatch.context() as patch:
            offset, gain, gains = affine(lambda x_T: td.sample(schedule, GAUSSIAN.eps(schedule), x_T), patch, T - 1)  # noqa: B023
        var = gain**2 + (gains**2).sum(0)
        errors.append(max((offset - torch.tensor(MEAN)).abs().max().item(), (var / torch.tensor(VAR) - 1).abs().max().item()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2] and errors[2] < 0.02


@pytest.mark.parametrize("call", [td.sample, td.sample_ddim], ids=["sample", "ddim"])
def test_data_of_one_point_come_back_whatever_the_noise(call):
    point = Empirical(torch.tensor([[0.5, -2.0]], dtype=torch.float64))
    steps = {} if call is td.sample else {"steps": 4, "eta": 0.7}
    close(call(TEN, point.eps(TEN), start(5, 2), generator=seed(0), **steps), point.means.expand(5, 2), 1e-13)


def ddim_by_hand(schedule, model, x, times, eta, generator):
    """Song et al. 2021, Eqs. 12 and 16, in their words; their alpha is alpha_bar."""
    alpha = np.cumprod(np.concatenate([[1.0], 1 - schedule.beta[1:].numpy()]))
    for t, s in zip(times[::-1], times[-2::-1], strict=False):
        eps = model(x, torch.full((len(x),), t))
        sigma = eta * math.sqrt((1 - alpha[s]) / (1 - alpha[t])) * math.sqrt(1 - alpha[t] / alpha[s])
        predicted_x0 = (x - math.sqrt(1 - alpha[t]) * eps) / math.sqrt(alpha[t])
        direction = math.sqrt(1 - alpha[s] - sigma**2) * eps
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype) if sigma > 0 else 0.0
        x = math.sqrt(alpha[s]) * predicted_x0 + direction + sigma * noise
    return x


@pytest.mark.parametrize("eta", [0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_ddim_is_the_formula_of_song_et_al(steps, eta):
    schedule = td.Schedule.linear(40, 1e-3, 0.2)
    times = [40 * i // steps for i in range(steps + 1)]
    expected = ddim_by_hand(schedule, linear, start(3, 2), times, eta, seed(5))
    close(td.sample_ddim(schedule, linear, start(3, 2), steps, eta, generator=seed(5)), expected, 1e-10)


@pytest.mark.parametrize(
    "schedule", [td.Schedule.linear(50), td.Schedule.cosine(50), td.Schedule.linear(1000)], ids=["linear", "cosine", "long"]
)
def test_ddim_with_all_steps_and_all_noise_is_ancestral_sampling(schedule):
    for model in (PLANE.eps(schedule), linear):
        ancestral = td.sample(schedule, model, start(4, 2), "beta_tilde", generator=seed(6))
        ddim = td.sample_ddim(schedule, model, start(4, 2), schedule.T, 1.0, generator=seed(6))
        assert ((ddim - ancestral).abs() <= 1e-10 * ancestral.abs().clamp(min=1)).all()


@pytest.mark.parametrize("steps", [1, 3, 10])
def test_ddim_of_a_gaussian_at_50_digits(steps, monkeypatch):
    """Without noise each step is affine, x_s = sqrt(bar_s) x0(x_t) + sqrt(1 - bar_s) eps(x_t): a product of 2x2 matrices."""
    offset, gain, _ = affine(lambda x_T: td.sample_ddim(TEN, GAUSSIAN.eps(TEN), x_T, steps), monkeypatch, 0)
    times = ddim_times(10, steps)
    with workdps(50):
        _, bar = table(TEN)
        for i, (m, v) in enumerate(zip(MEAN, VAR, strict=True)):
            whole = mp.eye(2)
            for t, s in zip(times[::-1], times[-2::-1], strict=False):
                a, b = exact_eps(bar[t], m, v)
                signal, noise = mp.sqrt(bar[s] / bar[t]), mp.sqrt(1 - bar[s])
                into = noise - signal * mp.sqrt(1 - bar[t])
                whole = matrix([[signal + into * a, into * b], [0, 1]]) * whole
            assert gain[i].item() == pytest.approx(float(whole[0, 0]), rel=1e-12)
            assert offset[i].item() == pytest.approx(float(whole[0, 1]), rel=1e-12, abs=1e-12)


def test_ddim_in_one_step_is_the_clean_data_that_the_model_sees():
    for eta in (0.0, 1.0):
        x_T = start(3, 2)
        expected = td.x0_from_eps(TEN, x_T, 10, linear(x_T, torch.full((3,), 10)))
        close(td.sample_ddim(TEN, linear, x_T, 1, eta, generator=seed(0)), expected, 1e-13)


def test_ddim_without_eta_draws_nothing_and_with_it_once_for_each_step_but_the_last():
    for eta, draws in ((0, 0), (0.0, 0), (0.5, 3), (1, 3)):
        used, same = seed(3), seed(3)
        td.sample_ddim(TEN, zero, torch.ones(2, 2), 4, eta, generator=used)
        for _ in range(draws):
            torch.randn(2, 2, generator=same)
        assert torch.equal(used.get_state(), same.get_state())


def test_ddim_takes_50_steps_and_no_noise_by_default():
    schedule, states = td.Schedule.linear(60), []
    x = td.sample_ddim(schedule, linear, start(2, 2), callback=lambda t, x: states.append(t))
    assert states == ddim_times(60, 50)[::-1] and torch.equal(x, td.sample_ddim(schedule, linear, start(2, 2), 50, 0.0))


def test_ddim_times_go_from_0_to_T_without_a_repetition():
    for T in (1, 2, 7, 50, 1000):
        for steps in range(1, T + 1):
            times = np.array(ddim_times(T, steps))
            gaps = np.diff(times)
            assert times[0] == 0 and times[-1] == T and len(times) == steps + 1
            assert gaps.min() >= max(1, T // steps) and gaps.max() <= -(-T // steps)  # even up to whole numbers


@pytest.mark.parametrize("schedule", [td.Schedule([0.9] * 20), td.Schedule.linear(5000)], ids=["strong", "long"])
def test_ddim_in_one_step_where_almost_no_signal_is_left(schedule):
    x = td.sample_ddim(schedule, GAUSSIAN.eps(schedule), start(2, 3), 1)
    close(x, torch.tensor(MEAN).double().expand(2, 3), 1e-3)


def test_ddim_with_all_noise_where_the_last_step_leaves_no_signal():
    for beta in np.linspace(0.01, 0.9, 50):
        assert td.sample_ddim(td.Schedule([beta, 1 - 2**-53]), zero, start(2, 3), 2, 1.0).isfinite().all()


SAMPLERS = [
    pytest.param(lambda *args, **more: td.sample(*args, **more), list(range(10, -1, -1)), id="sample"),
    pytest.param(lambda *args, **more: td.sample_ddim(*args, steps=4, eta=0.5, **more), [10, 7, 5, 2, 0], id="ddim"),
]


@pytest.mark.parametrize(("call", "times"), SAMPLERS)
def test_the_callback_sees_every_state_and_the_model_all_but_the_last(call, times):
    states, asked = [], []
    x_T = start(3, 2)
    x = call(TEN, lambda *args: asked.append(args) or linear(*args), x_T, generator=seed(0), callback=lambda *s: states.append(s))
    assert [t for t, _ in states] == times and states[0][1] is x_T and torch.equal(states[-1][1], x)
    assert [t.tolist() for _, t in asked] == [[t] * 3 for t in times[:-1]] and asked[0][1].dtype == torch.int64
    assert all(torch.equal(seen, state) for (seen, _), (_, state) in zip(asked, states, strict=False))


@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_the_generator_decides_and_the_default_one_is_left_alone(call, _):
    state = torch.get_rng_state()
    one, same, other = (call(TEN, linear, start(3, 2), generator=seed(n)) for n in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other) and torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    assert torch.equal(call(TEN, linear, start(3, 2)), one)
    torch.set_rng_state(state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 1, 4, 4)])
@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_keeps_shape_and_dtype_and_leaves_the_start_alone(call, _, shape, dtype):
    x_T = start(*shape).to(dtype)
    before, seen = x_T.clone(), []
    x = call(TEN, lambda *args: seen.append(args[0].dtype) or linear(*args), x_T, generator=seed(0))
    assert x.shape == shape and x.dtype == dtype and set(seen) == {dtype} and torch.equal(x_T, before)


@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_a_model_that_answers_in_another_dtype_does_not_change_that_of_the_samples(call, _):
    seen = []
    x = call(TEN, lambda xt, t: seen.append(xt.dtype) or xt.double() / 2, start(3, 2).float(), generator=seed(0))
    assert x.dtype == torch.float32 and set(seen) == {torch.float32}


@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_the_layout_in_memory_does_not_change_the_draw(call, _):
    x_T = start(2, 3, 4, 4)
    turned = x_T.to(memory_format=torch.channels_last)
    close(call(TEN, linear, turned, generator=seed(1)), call(TEN, linear, x_T, generator=seed(1)), 1e-13)


@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_no_gradients(call, _):
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    x = call(TEN, lambda xt, t: weight * xt, start(3, 2).requires_grad_(), generator=seed(0))
    assert not x.requires_grad and torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_large_finite_answers_pass(dtype):
    """Their sum overflows, but none of them is infinite."""
    big = torch.finfo(dtype).max / 2
    x = td.sample(td.Schedule([0.01]), lambda xt, t: torch.full_like(xt, big), torch.zeros(2, 8, dtype=dtype))
    assert x.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("call", "_"), SAMPLERS)
def test_an_answer_that_is_not_finite_is_named_with_its_step(call, _, bad):
    def model(xt, t):
        eps = torch.zeros_like(xt)
        if t[0] == 5:
            eps[1, 0] = bad
        return eps

    with pytest.raises(FloatingPointError, match=r"model\(x_t, t\) has 1 of 6 elements that are NaN or infinite, at t = 5$"):
        call(TEN, model, start(3, 2))


@pytest.mark.parametrize("t", [1, 2, 13, 60, 87, 99, 100])
@pytest.mark.parametrize(("call", "more"), [(td.sample, {}), (td.sample_ddim, {"steps": 100, "eta": 0.5})], ids=["sample", "ddim"])
def test_what_is_found_late_is_named_with_its_own_step(call, more, t):
    """States are looked at some ten times in a run. What is found then is walked again, with the same noise: here the model
    breaks where x_t has a certain value, so that other noise would hide it."""
    schedule, states = td.Schedule.linear(100), {}
    call(schedule, linear, start(3, 2), generator=seed(0), callback=states.__setitem__, **more)

    def breaks(xt, at):
        return torch.where(xt == states[t][1, 0], math.nan, linear(xt, at))

    with pytest.raises(FloatingPointError, match=rf"^model\(x_t, t\) has 1 of 6 elements that are NaN or infinite, at t = {t}$"):
        call(schedule, breaks, start(3, 2), generator=seed(0), **more)
    torch.manual_seed(5)
    states.clear()
    call(schedule, linear, start(3, 2), callback=states.__setitem__, **more)
    torch.manual_seed(5)
    with pytest.raises(FloatingPointError, match=rf"at t = {t}$"):  # from the default generator too
        call(schedule, breaks, start(3, 2), **more)


def test_a_nan_that_does_not_come_again_is_reported_all_the_same():
    calls = []

    def once(xt, t):
        calls.append(0)
        return xt * (math.nan if len(calls) == 40 else 0.1)

    with pytest.raises(FloatingPointError, match=r"^model\(x_t, t\) had a NaN or an infinity, at a t in 61\.\.7\d$"):
        td.sample(td.Schedule.linear(100), once, start(3, 2))


def test_a_state_that_leaves_its_dtype_is_not_the_models_fault():
    big = torch.full((2, 2), 6e4, dtype=torch.float16)
    x = td.sample(td.Schedule([0.5, 0.5, 0.5]), lambda xt, t: torch.zeros_like(xt), big, generator=seed(0))
    assert x.isinf().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize(("steps", "half", "single"), [(1, 0.4, 2e-3), (5, 0.1, 2e-4), (20, 0.04, 5e-5), (100, 0.04, 1e-5)])
def test_few_steps_where_little_signal_is_left_cost_no_digits(steps, half, single, dtype):
    """The state grows by up to 2e4 in a step here: what nearly cancels must do so first, or errors grow tenfold."""
    schedule, data = td.Schedule.cosine(1000), GaussianMixture([[-1.0], [0.5]], 0.1)
    x_T = torch.randn(4000, 1, generator=seed(0)).to(dtype)
    x, right = (td.sample_ddim(schedule, data.eps(schedule), start, steps) for start in (x_T, x_T.double()))
    assert (x.double() - right).square().mean().sqrt() < (single if dtype == torch.float32 else half)


def test_a_state_that_grows_beyond_its_dtype_is_infinite_and_no_error():
    x = td.sample_ddim(td.Schedule.cosine(4000), zero, torch.ones(2, 2, dtype=torch.float16), 1)
    assert not x.isnan().any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_the_bits_are_rounded_alike_where_no_value_can_be_read(dtype, monkeypatch):
    """There the numbers of a step are tensors, as under torch.compile."""
    x_T = start(50, 2).to(dtype)
    calls = [
        lambda: td.sample(TEN, linear, x_T, generator=seed(0)),
        lambda: td.sample_ddim(TEN, linear, x_T, 4, 0.5, generator=seed(0)),
    ]
    expected = [call() for call in calls]
    monkeypatch.setattr(_walk, "values_can_be_read", lambda x: False)
    for call, right in zip(calls, expected, strict=True):
        assert torch.equal(call(), right)


@pytest.mark.parametrize("T", [1, 3, 8, 50, 1000])
def test_the_states_of_a_run_are_looked_at_a_few_times(T, monkeypatch):
    """On a GPU each look is a wait."""
    looks, look = [], _walk._Watch.look
    monkeypatch.setattr(_walk._Watch, "look", lambda *args: looks.append(0) or look(*args))
    td.sample(td.Schedule.linear(T), zero, start(3, 2))
    assert min(T, 8) <= len(looks) <= 11


def test_infinities_of_both_signs_are_found_too():
    with pytest.raises(FloatingPointError, match=r"has 2 of 2 .* at t = 3"):
        td.sample(SHORT, lambda xt, t: torch.tensor([[math.inf, -math.inf]]), torch.ones(1, 2))


@pytest.mark.parametrize(("call", "times"), SAMPLERS)
def test_progress_goes_to_stderr_if_asked_for(call, times, capsys):
    quiet = call(TEN, linear, start(3, 2), generator=seed(0))
    assert capsys.readouterr() == ("", "")
    shown = call(TEN, linear, start(3, 2), generator=seed(0), progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "\rsampling: " in err and f"{len(times) - 1}/{len(times) - 1}" in err and torch.equal(shown, quiet)


def test_progress_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    assert td.sample(SHORT, zero, torch.ones(1, 2)).shape == (1, 2)
    with pytest.raises(ModuleNotFoundError, match=r"progress=True needs tqdm: pip install 'tinyddpm\[book\]'") as error:
        td.sample(SHORT, zero, torch.ones(1, 2), progress=True)
    assert error.value.name == "tqdm"


def draw(call=td.sample, **changed):
    return call(**{"schedule": TEN, "model": zero, "x_T": torch.ones(3, 2), **changed})


def ddim(**changed):
    return draw(td.sample_ddim, **{"steps": 4, **changed})
