"""Every identity of the derivation, as properties: any rank, dtype, T and t, through the public functions alone.

The coefficients are read off the functions (their means at 1 and 0), so that the identities bind them to one another.
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tinyddpm as td

HALVES, DTYPES = (torch.float16, torch.bfloat16), (torch.float16, torch.bfloat16, torch.float32, torch.float64)
VARIANCES = ("beta", "beta_tilde")
CONVERSIONS = {f"{a}_from_{b}": getattr(td, f"{a}_from_{b}") for a in ("x0", "eps", "v") for b in ("x0", "eps", "v") if a != b}


@cache
def build(kind, T, seed=0):
    if kind != "random":
        return getattr(td.Schedule, kind)(T)
    powers = torch.empty(T, dtype=torch.float64).uniform_(-5, -0.02, generator=torch.Generator().manual_seed(seed))
    return td.Schedule(10**powers)  # from 1e-5 to 0.95


@dataclass
class Case:
    schedule: td.Schedule
    dtype: torch.dtype
    shape: tuple
    t: int | torch.Tensor  # as it is given to the functions
    steps: torch.Tensor  # the same for each row
    seed: int

    def row(self, table, back=0):
        """The entries of a table at t - back, in float64, shaped to multiply a tensor of the case."""
        return getattr(self.schedule, table)[self.steps - back].reshape(-1, *[1] * (len(self.shape) - 1))

    def draw(self, n, scale=1.0):
        g = torch.Generator().manual_seed(self.seed)
        return [(scale * torch.randn(self.shape, generator=g, dtype=torch.float64)).to(self.dtype) for _ in range(n)]

    @property
    def ones(self):
        return torch.ones(self.shape, dtype=self.dtype)

    @property
    def rates(self):
        return self.row("alpha_bar").sqrt(), self.row("one_minus_alpha_bar").sqrt()

    def divisor(self, given_as):
        """What a conversion divides by, and its errors with it."""
        signal, noise = self.rates
        return {"v": 1.0, "eps": signal, "x0": noise}[given_as]

    @property
    def normal(self):
        """Where both rates are normal numbers of the dtype: a rate below them has lost digits, or is 0."""
        return torch.minimum(*self.rates) >= torch.finfo(self.dtype).tiny


@st.composite
def cases(draw, first=1, dtypes=DTYPES, most=4000):
    lengths = st.integers(first, 12) | st.sampled_from([T for T in (100, 999, 1000, 4000) if most >= T])
    named = st.builds(build, st.sampled_from(["linear", "cosine", "random"]), lengths, st.integers(0, 2))
    schedule = draw(named | st.lists(st.floats(1e-5, 0.95), min_size=first, max_size=12).map(td.Schedule))
    shape = (draw(st.integers(1, 4)), *draw(st.lists(st.integers(1, 3), max_size=4)))
    when = st.sampled_from([first, schedule.T]) | st.integers(first, schedule.T)
    steps = torch.tensor(draw(st.lists(when, min_size=shape[0], max_size=shape[0]) | when.map(lambda t: [t] * shape[0])))
    t = int(steps[0]) if len(steps.unique()) == 1 and draw(st.booleans()) else steps
    return Case(schedule, draw(st.sampled_from(dtypes)), shape, t, steps, draw(st.integers(0, 99)))


def close(dtype, got, want, size, units=4.0, keep=True):
    """Apart by no more than `units` roundings of `size`, the sum of the terms without their signs: what cancellation leaves.

    Below the smallest normal number a rounding gets no smaller. In bfloat16, 4 units are 3 %.
    """
    info = torch.finfo(dtype)
    excess = (got.double() - want.double()).abs() - units * info.eps * (size + info.tiny)
    bad = ~(excess <= 0) & torch.as_tensor(keep)  # also where it is NaN
    assert not bad.any(), (
        got.double()[bad.expand_as(excess)][:3],
        torch.as_tensor(want).expand_as(excess)[bad.expand_as(excess)][:3],
    )


def wide(*tensors):
    return [x.double() for x in tensors]


# The forward process and its posterior


@given(cases())
def test_a_step_from_the_marginal_before_gives_the_marginal(case):
    one, S, t = case.ones, case.schedule, case.t
    step, now = td.q_step(S, one, t), td.q_marginal(S, one, t)
    before = [td.q_marginal(S, one[:1], int(s) - 1) if s > 1 else td.Gaussian(one[:1], 0.0) for s in case.steps]
    mean, var = (torch.cat([getattr(law, name) for law in before]).double() for name in ("mean", "var"))
    slope, added, m, v = wide(step.mean, step.var, now.mean, now.var)
    close(case.dtype, slope * mean, m, m)
    close(case.dtype, slope**2 * var + added, v, v)
    x0, eps = case.draw(2)
    got, law = td.q_sample(S, x0, t, eps), td.q_marginal(S, x0, t)
    size = law.mean.double().abs() + v.sqrt() * eps.double().abs()
    close(case.dtype, got, law.mean.double() + v.sqrt() * eps.double(), size)


@given(cases(), st.data())
def test_steps_from_any_time_to_any_later_one_make_one_long_step(case, data):
    """Chapman-Kolmogorov. In half types only short ways: there every step adds a rounding of 0.1 or 1 %."""
    S, t = case.schedule, int(case.steps[0])
    s = data.draw(st.integers(max(0, t - 3) if case.dtype in HALVES else 0, t - 1))
    way = torch.arange(s + 1, t + 1)
    law = td.q_step(S, torch.ones(len(way), dtype=case.dtype), way)
    slopes, noise = wide(law.mean, law.var)
    left = torch.cat([slopes, torch.ones(1)]).flip(0).cumprod(0).flip(0)  # of x_k in x_t, from k = s to t
    slope, var = left[0], (left[1:] ** 2 * noise).sum()
    n = 4 + (t - s)
    close(case.dtype, S.alpha_bar[s] * slope**2, S.alpha_bar[t], S.alpha_bar[t], n)
    close(case.dtype, var, -torch.expm1(torch.log1p(-S.beta[s + 1 : t + 1]).sum()), var, n)
    x0 = case.draw(1)[0]
    start, end = td.q_marginal(S, x0, s) if s else td.Gaussian(x0, 0.0), td.q_marginal(S, x0, t)
    close(case.dtype, slope * start.mean.double(), end.mean, end.mean.double().abs(), n)
    close(case.dtype, slope**2 * start.var.double() + var, end.var, end.var.double(), n)


@given(cases())
def test_coefficients_of_the_posterior_bring_the_marginal_back_one_step(case):
    S, one, t, zero = case.schedule, case.ones, case.t, 0 * case.ones
    from_x0, from_xt, var = wide(td.q_posterior(S, one, zero, t).mean, *vars(td.q_posterior(S, zero, one, t)).values())
    now = td.q_marginal(S, one, t)
    mean, before = case.row("alpha_bar", 1).sqrt(), case.row("one_minus_alpha_bar", 1)
    close(case.dtype, from_x0 + from_xt * now.mean, mean, mean)
    close(case.dtype, from_xt**2 * now.var + var, before, before)
    x0, xt = case.draw(2)
    close(case.dtype, td.q_posterior(S, x0, xt, t).mean, from_x0 * x0 + from_xt * xt, from_x0 * x0.abs() + from_xt * xt.abs())
    first = (case.steps == 1).reshape(-1, *[1] * (len(case.shape) - 1))
    assert (((td.q_posterior(S, x0, xt, t).mean == x0) & (var == 0)) | ~first).all()  # t = 1 is certain


@given(cases(first=2))
def test_posterior_times_marginal_is_step_times_marginal(case):
    """A rounding of x or of the mean moves log p by z / std of it, one of var by z²; states come from the laws themselves."""
    S, (x0, eps, fresh) = case.schedule, case.draw(3)
    earlier = case.t - 1
    xt = td.q_sample(S, x0, case.t, eps)
    law = td.q_posterior(S, x0, xt, case.t)
    before = law.mean + law.var.sqrt() * fresh
    parts = [(law, before), (td.q_marginal(S, x0, case.t), xt), (td.q_step(S, before, case.t), xt)]
    parts.append((td.q_marginal(S, x0, earlier), before))
    size, keep = 0, True
    for p, x in parts:
        a, m, v = wide(x, p.mean, p.var)
        z = (a - m) / v.sqrt()
        size = size + z.abs() * (a.abs() + m.abs() + x0.double().abs() + xt.double().abs()) / v.sqrt() + z**2 + v.log().abs() + 3
        keep = keep & (p.var >= torch.finfo(case.dtype).tiny)
    a, b, c, d = (p.log_prob(x).double() for p, x in parts)
    close(case.dtype, a + b, c + d, size, keep=keep)


# Noise, data and velocity


@given(cases())
def test_noise_data_and_velocity_of_a_noised_example_lead_to_one_another(case):
    """What is divided by a rate grows with it: an error in x_t does."""
    signal, noise = case.rates
    x0, eps = case.draw(2)
    xt = td.q_sample(case.schedule, x0, case.t, eps)
    v = signal * eps.double() - noise * x0.double()
    known, size = {"x0": x0, "eps": eps, "v": v.to(case.dtype)}, x0.double().abs() + eps.double().abs()
    for name, convert in CONVERSIONS.items():
        to, _, given_as = name.split("_")
        got = convert(case.schedule, xt, case.t, known[given_as])
        close(case.dtype, got, known[to], size / case.divisor(given_as), keep=case.normal)


@given(cases(), st.sampled_from([0.01, 1.0, 30.0]))
def test_round_trips_and_triangles_close_at_any_state(case, scale):
    """Also where state and prediction do not belong together, as with a network."""
    (xt, known), (signal, noise) = case.draw(2, scale), case.rates
    size = xt.double().abs() + known.double().abs()
    for name in CONVERSIONS:
        to, _, given_as = name.split("_")
        (third,) = {"x0", "eps", "v"} - {to, given_as}
        for way, divisor in (([given_as, to, given_as], case.divisor(to)), ([given_as, to, third, given_as], signal * noise)):
            x, keep = known, case.normal
            for a, b in pairwise(way):
                keep = keep & x.isfinite()  # what is in between may be too large for float16
                x = CONVERSIONS[f"{b}_from_{a}"](case.schedule, xt, case.t, x)
            close(case.dtype, x, known, size / divisor, 6, keep)


@given(cases())
def test_the_learned_mean_is_the_posterior_mean_at_the_predicted_data(case):
    S, t, (xt, eps) = case.schedule, case.t, case.draw(2)
    truth = td.q_posterior(S, td.x0_from_eps(S, xt, t, eps), xt, t)
    size = (xt.double().abs() + eps.double().abs()) / case.row("alpha").sqrt()
    for variance in VARIANCES:
        law = td.p_step(S, xt, t, eps, variance)
        close(case.dtype, law.mean, truth.mean, size, keep=case.normal & truth.mean.isfinite())
    later = case.steps.reshape(-1, *[1] * (xt.ndim - 1)) > 1
    assert ((law.var == truth.var) | ~later).all() and torch.equal(td.p_step(S, xt, t, eps).var, td.q_step(S, xt, t).var)
    second = td.p_step(S, xt, min(2, S.T), eps, "beta_tilde").var  # what stands for the variance 0 of the first step
    assert ((law.var == second) | later).all()


# Divergences, the bound and the loss


def equal_or_not(dtype, seed, spread):
    g = torch.Generator().manual_seed(seed)
    means, powers = torch.randn(2, 2, 6, generator=g, dtype=torch.float64).unbind()
    return [td.Gaussian((spread * m).to(dtype), (10 ** (spread * p)).to(dtype)) for m, p in zip(means, powers, strict=True)]


@given(st.sampled_from(DTYPES), st.integers(0, 999), st.sampled_from([1e-4, 0.01, 0.1, 0.5, 1.0]))
def test_divergence_is_zero_for_equals_and_positive_for_others(dtype, seed, spread):
    p, q = equal_or_not(dtype, seed, spread)
    assert not p.kl(p).any() and (p.kl(q) >= 0).all()
    d, r = (p.mean.double() - q.mean.double()) / q.var.double().sqrt(), p.var.double() / q.var.double()
    exact = (r - 1 - r.log() + d**2) / 2
    assert (p.kl(q) > 0)[exact > torch.finfo(dtype).tiny].all()
    # d has the roundings of the means, divided by the deviation; r - 1 - log(r) of the reference those of r, in float64
    size = exact + d.abs() * (p.mean.double().abs() + q.mean.double().abs()) / q.var.double().sqrt() + r.log().abs() + (r - 1).abs()
    close(dtype, p.kl(q), exact, size)
    # KL is the mean of log p - log q under p. That is quadratic in x, so that the two points mean ± deviation give it in double.
    p, q = (td.Gaussian(law.mean.double(), law.var.double()) for law in (p, q))
    points = [p.mean + sign * p.var.sqrt() for sign in (1, -1)]
    found = sum(p.log_prob(x) - q.log_prob(x) for x in points) / 2
    close(torch.float64, found, exact, size + r + d.abs() * (points[0].abs() + points[1].abs()) / q.var.sqrt() + 3, 8)


@given(cases(first=2))
def test_weighted_squared_error_is_the_divergence_of_the_learned_step(case):
    """With equal variances, KL is d² / 2, and the weight that of the error in it; a rounding of the means shows in d."""
    S, t, (x0, guess, eps), (signal, noise) = case.schedule, case.t, case.draw(3), case.rates
    xt = td.q_sample(S, x0, t, eps)
    truth, law = td.q_posterior(S, x0, xt, t), td.p_step(S, xt, t, guess, "beta_tilde")
    error = (xt.double() - signal * x0.double()) / noise - guess.double()  # of the noise that is in the rounded x_t
    weight = td.vlb_weight(S, case.steps, "beta_tilde").reshape(noise.shape)
    assert torch.equal(td.vlb_weight(S, case.t, "beta_tilde").expand(case.steps.shape), weight.flatten())
    size = (x0.double().abs() + (xt.double().abs() + guess.double().abs()) / case.row("alpha").sqrt()) / law.var.double().sqrt()
    keep = law.var >= torch.finfo(case.dtype).tiny
    d = (2 * weight).sqrt() * error.abs()
    keep &= d**2 < torch.finfo(case.dtype).max / 2  # see the faults below
    close(case.dtype, (2 * truth.kl(law).double()).sqrt(), d, size + d, keep=keep)
    beta = td.vlb_weight(S, case.steps).reshape(noise.shape)  # the same error, measured in another variance
    close(torch.float64, beta * case.row("beta"), weight * case.row("beta_tilde"), beta * case.row("beta"))


def of(answer):
    return lambda xt, t: answer.to(xt.dtype)


@given(cases(most=100), st.sampled_from(VARIANCES))
@settings(max_examples=25)
@example(Case(build("linear", 4000), torch.float32, (2, 1, 2), 1, torch.ones(2, dtype=torch.long), 0), "beta")
def test_bound_is_the_sum_of_its_divergences(case, variance):
    S, T, batch, (x0, eps, guess) = case.schedule, case.schedule.T, case.shape[0], case.draw(3)
    terms = td.vlb_terms(S, of(guess), x0, variance, eps=eps)
    assert terms.L_T.shape == terms.L_0.shape == terms.total.shape == (batch,) and terms.L_t.shape == (batch, T - 1)
    assert {x.dtype for x in (terms.L_T, terms.L_t, terms.L_0, terms.total)} == {torch.float64}
    close(torch.float64, terms.total, terms.L_T + terms.L_t.sum(1) + terms.L_0, terms.L_T + terms.L_t.sum(1) + terms.L_0.abs(), T)
    data, noise, answer = (x.double() for x in (x0, eps, guess))
    end = td.q_marginal(S, data, T).kl(td.Gaussian(torch.zeros_like(data), 1.0))
    assert (terms.L_T >= 0).all() and (terms.L_t >= 0).all()
    close(torch.float64, terms.L_T, end.reshape(batch, -1).sum(1), terms.L_T, 100)
    for t in {1, 2, (T + 1) // 2, T} & set(range(1, T + 1)):
        xt = td.q_sample(S, data, t, noise)
        law = td.p_step(S, xt, t, answer, variance)
        term = td.q_posterior(S, data, xt, t).kl(law) if t > 1 else -law.log_prob(data)
        got, want = terms.L_t[:, t - 2] if t > 1 else terms.L_0, term.reshape(batch, -1).sum(1)
        close(torch.float64, got, want, term.abs().reshape(batch, -1).sum(1), 100)
        # what the learned step misses is the noise that it takes for another, and its variance: (r - 1 - log r) / 2
        if t > 1:
            r = torch.ones(()).double() if variance == "beta_tilde" else S.beta_tilde[t] / S.beta[t]
            missed = td.vlb_weight(S, t, variance) * (noise - answer) ** 2
            sizes = missed + (r - 1).abs() + r.log().abs() + (1 + xt.abs() + noise.abs()) / S.alpha[t].sqrt() / S.beta[t]
            close(
                torch.float64, got, (missed + (r - 1 - r.log()) / 2).reshape(batch, -1).sum(1), sizes.reshape(batch, -1).sum(1), 100
            )
    perfect = td.vlb_terms(S, of(eps), x0, "beta_tilde", eps=eps)
    assert (perfect.L_t < 1e-18).all()  # each a square of roundings


class Net(torch.nn.Module):
    """Answers what it was told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, xt, t):
        return self.answer.to(xt.dtype)


@given(cases())
def test_loss_is_zero_for_the_perfect_answer_and_the_mean_square_of_the_error_else(case):
    S, t, (x0, eps, off), (signal, noise) = case.schedule, case.t, case.draw(3), case.rates
    xt, v = td.q_sample(S, x0, t, eps), td.q_sample(S, eps, t, -x0)
    assert td.simple_loss(S, of(eps), x0, t, eps) == 0
    wrong = {"eps": (eps, 1.0), "x0": (x0, -noise / signal), "v": (v, 1 / signal)}  # one error, of the noise, in each
    for predict, (target, factor) in wrong.items():
        error = (factor * off.double()).to(case.dtype)
        mean = error.double().square().mean()
        grown = x0.double().abs() + eps.double().abs()  # the error that is measured has the roundings of the target
        size = (error.double().abs() + grown).square().mean().sqrt().clamp(max=1e300)
        loss = td.DDPM(Net(target + error), S, predict)(x0, t, eps).double()
        keep = case.normal.all() & (mean < torch.finfo(case.dtype).max / 1000) & (mean > 1e-5)  # where a square has its range
        close(case.dtype, loss.sqrt(), mean.sqrt(), size, keep=keep)
        if predict == "eps":
            assert loss == td.simple_loss(S, of(target + error), x0, t, eps)
        net = td.DDPM(Net(target), S, predict)
        close(case.dtype, net(x0, t, eps).sqrt(), torch.zeros(()), grown.square().mean().sqrt())  # whatever signal is left
        close(case.dtype, net.eps(xt, case.steps), eps, grown / (noise if predict == "x0" else 1.0), keep=case.normal)
        close(case.dtype, net.x0(xt, case.steps), x0, grown / (signal if predict == "eps" else 1.0), keep=case.normal)


# Sampling


@given(cases(most=100), st.sampled_from(VARIANCES), st.data())
@settings(max_examples=60)
def test_data_of_one_point_come_back_by_every_sampler(case, variance, data):
    """The last step is (x - sqrt(1 - alpha_bar) eps) / sqrt(alpha_bar): its roundings are divided by the signal."""
    S, (point, x_T), seed = case.schedule, case.draw(2), torch.Generator().manual_seed(case.seed)
    signal, noise = S.alpha_bar.sqrt(), S.one_minus_alpha_bar.sqrt()
    seen = []

    def model(xt, t):
        eps = (xt.double() - signal[t[0]] * point.double()) / noise[t[0]]
        seen.append((int(t[0]), xt.double().abs() + noise[t[0]] * eps.abs()))
        return eps.to(xt.dtype)

    x = td.sample(S, model, x_T, variance, generator=seed)
    assert x.shape == x_T.shape and x.dtype == x_T.dtype and [t for t, _ in seen] == [*range(S.T, 0, -1)]
    close(case.dtype, x, point, seen[-1][1] / signal[1])
    steps, eta = data.draw(st.integers(1, S.T)), data.draw(st.sampled_from([0.0, 0.5, 1.0]))
    if signal[-1] >= 100 * torch.finfo(case.dtype).tiny:
        x = td.sample_ddim(S, model, x_T, steps, eta, generator=seed)
        assert x.shape == x_T.shape and x.dtype == x_T.dtype
        close(case.dtype, x, point, seen[-1][1] / signal[seen[-1][0]])


@given(cases(most=100))
@settings(max_examples=60)
def test_ddim_with_all_steps_and_all_noise_is_ancestral_sampling_in_any_dtype(case):
    """The model is that of standard normal data: it keeps the size of x, so that a rounding of each step is all that adds up."""
    S, (x_T,) = case.schedule, case.draw(1)
    sizes = []

    def model(xt, t):
        sizes.append(xt.double().abs().max())
        return (S.one_minus_alpha_bar[t[0]].sqrt() * xt.double()).to(xt.dtype)

    a = td.sample(S, model, x_T, "beta_tilde", generator=torch.Generator().manual_seed(1))
    b = td.sample_ddim(S, model, x_T, S.T, 1.0, generator=torch.Generator().manual_seed(1))
    shrink = float(S.alpha.min().sqrt())  # by which a step divides
    close(case.dtype, a, b, max(sizes) / shrink, 2 * (S.T + 2), keep=S.alpha_bar[-1].sqrt() >= 100 * torch.finfo(case.dtype).tiny)


@given(st.sampled_from(DTYPES), st.sampled_from([2, 3, 17, 256]), st.floats(-3, 3), st.just(0.0) | st.floats(-18, 9).map(math.exp))
def test_probabilities_of_all_levels_sum_to_one(dtype, levels, mean, var):
    """A rounding of a bin's edge, in deviations, moves its probability by that times the density; edges are levels - 1."""
    x = torch.linspace(-1, 1, levels, dtype=torch.float64).to(dtype)
    law = td.Gaussian(torch.full_like(x, mean), var)
    log_probs = td.discretised_log_prob(law, x, levels)
    std = max(law.var[0].item(), torch.finfo(torch.float32 if dtype in HALVES else dtype).tiny) ** 0.5
    near = min(levels, 2 + std * levels)  # the edges where there is density
    edges = [(2 * k + 1) / (levels - 1) - 1 for k in range(levels)]
    if law.var[0] > 0 or min(abs(mean - edge) for edge in edges) > 4 * torch.finfo(dtype).eps:  # a point on an edge is in two bins
        size = 1 + near * min((2 + abs(mean)) / std, 1 / torch.finfo(dtype).eps)
        close(dtype, log_probs.exp().sum(dtype=torch.float64), torch.ones(()), torch.tensor(size), 2)
    assert log_probs.dtype == dtype and (log_probs <= 0).all()


# What every function owes its input


def both(law):
    return [law.mean, law.var]


CALLS = {  # of (schedule, t, two tensors)
    "q_step": lambda S, t, a, b: both(td.q_step(S, a, t)),
    "q_marginal": lambda S, t, a, b: both(td.q_marginal(S, a, t)),
    "q_sample": lambda S, t, a, b: [td.q_sample(S, a, t, b)],
    "q_posterior": lambda S, t, a, b: both(td.q_posterior(S, a, b, t)),
    "p_step": lambda S, t, a, b: both(td.p_step(S, a, t, b)) + both(td.p_step(S, a, t, b, "beta_tilde")),
    "log_prob": lambda S, t, a, b: [td.q_marginal(S, a, t).log_prob(b)],
    "kl": lambda S, t, a, b: [td.q_posterior(S, a, b, t).kl(td.p_step(S, b, t, a))],
    "sample": lambda S, t, a, b: [td.q_marginal(S, a, t).sample(torch.Generator(a.device).manual_seed(0))],
    **{name: lambda S, t, a, b, f=f: [f(S, a, t, b)] for name, f in CONVERSIONS.items()},
}
each_call = pytest.mark.parametrize("name", CALLS)


@each_call
@given(case=cases())
@settings(max_examples=15)
def test_results_are_like_the_input_and_each_row_is_as_it_is_alone(name, case):
    S, (a, b), call = case.schedule, case.draw(2), CALLS[name]
    results = call(S, case.t, a, b)
    for device, found in (("cpu", results), ("meta", [] if name == "sample" else call(S, case.t, a.to("meta"), b.to("meta")))):
        assert all((r.shape, r.dtype, r.device.type) == (case.shape, case.dtype, device) for r in found)
    for i, t in enumerate(case.steps.tolist() if name != "sample" else []):
        for alone, r in zip(call(S, t, a[i : i + 1], b[i : i + 1]), results, strict=True):
            close(case.dtype, alone, r[i : i + 1], r[i : i + 1].double().abs(), 1, keep=r[i : i + 1].isfinite())
            assert torch.equal(alone.isfinite(), r[i : i + 1].isfinite())


def extremes(dtype, shape, seed):
    """Zeros, the smallest and the largest numbers of the dtype, their roots, and ordinary ones."""
    info = torch.finfo(dtype)
    small = [0.0, info.tiny * info.eps, info.tiny, info.tiny**0.5, info.eps, 0.1, 1.0, 3.0]
    values = torch.tensor([*small, info.max**0.5, info.max / 2, info.max], dtype=torch.float64).to(dtype)
    g = torch.Generator().manual_seed(seed)
    picks, signs = torch.randint(len(values), (2, *shape), generator=g), 2 * torch.randint(2, (2, *shape), generator=g) - 1
    return (values[picks] * signs).unbind()


@each_call
@given(case=cases())
@settings(max_examples=50)
def test_no_nan_comes_of_finite_numbers_and_no_infinity_of_small_results(name, case):
    """What overflows must do so in float64 too, or be above the range there, but for the factor 4 that squares and halves take."""
    S, call, (a, b) = case.schedule, CALLS[name], extremes(case.dtype, case.shape, case.seed)
    exact = call(S, case.t, a.double(), b.double())
    keep = case.normal if name in CONVERSIONS else torch.ones(case.shape, dtype=torch.bool)  # see the faults below
    if name in ("kl", "log_prob"):  # where a variance of the dtype is 0, a point, infinity is right
        keep = torch.minimum(case.row("beta"), case.row("one_minus_alpha_bar")) >= torch.finfo(case.dtype).tiny
    for r, e in zip(call(S, case.t, a, b), exact, strict=True):
        assert not (r.isnan() & keep).any()
        assert ((r.isfinite() | (e.abs() > torch.finfo(case.dtype).max / 4)) | ~keep).all()


@given(st.sampled_from(DTYPES), st.integers(0, 9999))
def test_no_nan_comes_of_any_two_gaussians(dtype, seed):
    m, n = extremes(dtype, (4, 6), seed)
    v, w = (x.abs() for x in extremes(dtype, (4, 6), seed + 1))
    assert not td.Gaussian(m, v).log_prob(n).isnan().any()
    assert not td.Gaussian(m, v).kl(td.Gaussian(n, w)).isnan().any()


@given(cases(most=100, dtypes=DTYPES[:3]), st.sampled_from(VARIANCES))
@settings(max_examples=25)
def test_no_nan_comes_of_losses_bounds_and_samples(case, variance):
    """float64 is left out: the bound is computed in it, and an x_t that overflows there leaves nothing to compare."""
    S, (a, b) = case.schedule, extremes(case.dtype, case.shape, case.seed)
    assert not td.simple_loss(S, of(b), a, case.t, a).isnan() and not td.vlb_weight(S, case.steps, variance).isnan().any()
    assert not td.vlb_terms(S, of(b), a, variance, eps=b).total.isnan().any()
    assert not td.sample(S, of(b), a, variance).isnan().any()
    level = a.double().clamp(-1, 1).sign().to(case.dtype)
    assert not td.vlb_terms(S, of(b), level, variance, levels=3, eps=b).total.isnan().any()


@given(st.sampled_from(DTYPES), st.integers(0, 9999))
def test_no_nan_comes_of_a_discretised_law(dtype, seed):
    mean, var = extremes(dtype, (4, 6), seed)
    x = torch.randint(-1, 2, (4, 6), generator=torch.Generator().manual_seed(seed)).to(dtype)
    log_probs = td.discretised_log_prob(td.Gaussian(mean, var.abs()), x, 3)
    assert not log_probs.isnan().any() and (log_probs <= 0).all()


# ---- where a number of the way, but not the answer, leaves the range of the dtype ----

LONG, FADED, GONE = build("linear", 4000), td.Schedule([0.9] * 100), td.Schedule([0.999] * 110)  # the signal left: 2e-9, 1e-50, 0
HALF = torch.float16


def filled(value, dtype, *shape):
    return torch.full(shape or (1, 2), value, dtype=dtype)


@pytest.mark.parametrize(("schedule", "dtype"), [(LONG, HALF), (FADED, torch.float32), (GONE, torch.float64)])
def test_nothing_divided_by_no_signal_is_nothing(schedule, dtype):
    nothing = filled(0.0, dtype)
    for convert in (td.x0_from_eps, td.v_from_eps):
        assert (convert(schedule, nothing, schedule.T, nothing) == 0).all()
    faint = td.Schedule([1e-300, 1 - 2**-53])
    for convert in (td.eps_from_x0, td.v_from_x0):
        assert (convert(faint, nothing, 1, nothing) == 0).all()
    assert (td.p_step(faint, nothing, 2, nothing).mean == 0).all()


@pytest.mark.parametrize(("schedule", "dtype"), [(LONG, HALF), (FADED, torch.float32), (GONE, torch.float64)])
def test_fewer_steps_do_not_overflow_on_their_way_through_the_data(schedule, dtype):
    """x_0 as a network sees it that is slightly off is beyond the dtype where no signal is left; the next state is not."""
    off = lambda xt, t: (0.999 * schedule.one_minus_alpha_bar[t[0]].sqrt() * xt.double()).to(dtype)  # noqa: E731
    states = []
    td.sample_ddim(schedule, off, filled(1.0, dtype), schedule.T // 2, callback=lambda t, x: states.append(x))
    assert all(state.isfinite().all() for state in states) and states[1].abs().max() < 2


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [(HALF, 1e-5, 1e3), (torch.float32, 1e-30, 1e30), (torch.float64, 1e-200, 1e200)]
)
def test_a_divergence_is_finite_though_the_ratio_of_the_variances_is_not(dtype, low, high):
    narrow, wide = td.Gaussian(filled(0.0, dtype), low), td.Gaussian(filled(0.0, dtype), high)
    v, w = narrow.var[0, 0].item(), wide.var[0, 0].item()
    exact = (v / w - 1 + math.log(w) - math.log(v)) / 2
    assert narrow.kl(wide)[0, 0].item() == pytest.approx(exact, rel=4 * torch.finfo(dtype).eps)
    assert wide.kl(narrow)[0, 0].item() > 1e4  # infinite, where that is beyond the dtype


def test_a_density_is_finite_though_the_square_is_not():
    assert (td.Gaussian(filled(0.0, HALF), 1.0).log_prob(filled(300.0, HALF)) == -45e3).all()
    assert (td.Gaussian(filled(300.0, HALF), 1.0).kl(td.Gaussian(filled(0.0, HALF), 1.0)) == 45e3).all()
