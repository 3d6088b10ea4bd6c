"""What is exact is held against integrals, against autograd and against sums written out."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

import tinyddpm as td
from tinyddpm import exact
from tinyddpm.exact import Empirical, GaussianMixture

LINEAR = td.Schedule.linear(100, 1e-3, 0.1)
WEIGHTS, MEANS, VARIANCES = np.array([0.2, 0.5, 0.3]), np.array([-1.5, 0.25, 2.0]), np.array([0.1, 0.5, 0.02])
ONE = GaussianMixture(MEANS, VARIANCES, WEIGHTS)  # one-dimensional
PLANE = GaussianMixture(
    np.array([[-1.0, 0.5], [1.0, 0.0], [0.2, -2.0]]), np.array([[0.3, 0.1], [0.05, 0.4], [0.2, 0.2]]), np.array([0.5, 0.2, 0.3])
)
POINTS = torch.tensor([[0.0, 1.0], [0.5, 0.5], [-1.0, 0.25], [2.0, -1.0], [0.0, 1.0]], dtype=torch.float64)


def seed(n):
    return torch.Generator().manual_seed(n)


def rows(*values):
    return torch.tensor(values, dtype=torch.float64)


def density(x, weights=WEIGHTS, means=MEANS, variances=VARIANCES):
    """Of the one-dimensional mixture, by SciPy."""
    return float(np.sum(weights * stats.norm.pdf(x, means, np.sqrt(variances))))


def bars(schedule):
    return np.cumprod(np.concatenate([[1], 1 - schedule.beta[1:].numpy()]))


def scipy_log_prob(mixture, x):
    """The log density of points (n, D) under a mixture, by SciPy's multivariate normal."""
    parts = [
        math.log(w) + stats.multivariate_normal(m.flatten(), np.diag(v.flatten())).logpdf(x)
        for w, m, v in zip(mixture.weights.tolist(), mixture.means.numpy(), mixture.variances.numpy(), strict=True)
    ]
    return np.logaddexp.reduce(np.atleast_2d(np.transpose(parts)), axis=-1).ravel()


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=2))
def test_log_prob_is_that_of_scipy(x):
    assert ONE.log_prob(rows(x[0])).item() == pytest.approx(math.log(density(x[0])), rel=1e-11, abs=1e-12)
    assert PLANE.log_prob(rows(x)).tolist() == pytest.approx(scipy_log_prob(PLANE, [x]).tolist(), rel=1e-12, abs=1e-12)


def test_log_prob_far_out_and_in_any_shape():
    assert ONE.log_prob(rows(300.0)).item() == pytest.approx(math.log(0.5) + stats.norm.logpdf(300, 0.25, 0.5**0.5), rel=1e-12)
    picture = GaussianMixture(PLANE.means.reshape(3, 1, 2, 1), PLANE.variances.reshape(3, 1, 2, 1), PLANE.weights)
    torch.testing.assert_close(picture.log_prob(POINTS.reshape(5, 1, 2, 1)), PLANE.log_prob(POINTS))
    noise = picture.eps(LINEAR)(POINTS.reshape(5, 1, 2, 1), 9)
    torch.testing.assert_close(noise, PLANE.eps(LINEAR)(POINTS, 9).reshape(5, 1, 2, 1))
    assert picture.sample(4).shape == (4, 1, 2, 1)
    assert picture.reverse_step(LINEAR, POINTS[0].reshape(1, 2, 1), 9).means.shape == (3, 1, 2, 1)


def test_sample_has_the_mean_and_variance_of_the_mixture():
    """Within 5 standard errors, coordinate by coordinate; and the distribution in one dimension."""
    n = 40000
    for mixture in (ONE, PLANE):
        draws = mixture.sample(n, seed(0)).reshape(n, -1)
        w, m, v = mixture.weights[:, None], mixture.means.reshape(3, -1), mixture.variances.reshape(3, -1)
        mean = (w * m).sum(0)
        var = (w * (v + (m - mean) ** 2)).sum(0)
        assert draws.dtype == torch.float64 and ((draws.mean(0) - mean).abs() < 5 * (var / n).sqrt()).all()
        fourth = ((draws - mean) ** 4).mean(0)
        assert ((((draws - mean) ** 2).mean(0) - var).abs() < 5 * ((fourth - var**2) / n).sqrt()).all()
    cdf = lambda x: sum(w * stats.norm.cdf(x, m, v**0.5) for w, m, v in zip(WEIGHTS, MEANS, VARIANCES, strict=True))  # noqa: E731
    assert stats.kstest(ONE.sample(n, seed(1)).numpy(), cdf).pvalue > 0.01
    cov = np.cov(PLANE.sample(n, seed(2)).T.numpy())[0, 1]  # the coordinates of one draw belong to the same component
    w, m = PLANE.weights.numpy(), PLANE.means.numpy()
    assert cov == pytest.approx(w @ (m[:, 0] * m[:, 1]) - (w @ m[:, 0]) * (w @ m[:, 1]), abs=0.03)


def test_the_generator_decides_and_the_default_one_is_left_alone():
    state = torch.get_rng_state()
    one, same, other = (PLANE.sample(5, seed(n)) for n in (3, 3, 4))
    assert torch.equal(one, same) and not torch.equal(one, other) and torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(PLANE.sample(5), PLANE.sample(5))
    torch.set_rng_state(state)


@pytest.mark.parametrize("t", [1, 10, 60, 100])
def test_marginal_is_the_density_convolved_with_the_noise(t):
    bar = bars(LINEAR)[t]
    marginal = ONE.marginal(LINEAR, t)
    for x in (-2.0, -0.3, 0.0, 0.7, 2.5):
        spread = math.sqrt(1 - bar)
        joint = lambda x0: density(x0) * stats.norm.pdf(x, math.sqrt(bar) * x0, spread)  # noqa: B023, E731
        nodes = sorted({*MEANS, x / math.sqrt(bar)})
        integral = integrate.quad(joint, -6, 6, points=nodes, epsabs=1e-13, limit=500)[0]
        assert marginal.log_prob(rows(x)).item() == pytest.approx(math.log(integral), rel=1e-7, abs=1e-8)


def test_marginal_of_no_step_is_the_data():
    for mixture in (ONE, PLANE, Empirical(POINTS)):
        same = mixture.marginal(LINEAR, 0)
        for name in ("means", "variances", "weights"):
            assert torch.equal(getattr(same, name), getattr(mixture, name))


@pytest.mark.parametrize("t", [1, 10, 60, 100])
def test_eps_is_the_mean_noise_given_the_state(t):
    """E[eps | x_t]: the noise is integrated against the density of the x_0 that it leaves, (x_t - sqrt(1-ᾱ) eps) / sqrt(ᾱ)."""
    bar = bars(LINEAR)[t]
    for x in (-2.0, -0.3, 0.0, 0.7, 2.5):
        share = lambda e: stats.norm.pdf(e) * density((x - math.sqrt(1 - bar) * e) / math.sqrt(bar))  # noqa: B023, E731
        nodes = [float(p) for p in (x - math.sqrt(bar) * MEANS) / math.sqrt(1 - bar) if abs(p) < 12]
        over = lambda f: integrate.quad(f, -12, 12, points=nodes, epsabs=1e-14, limit=500)[0]  # noqa: B023, E731
        top, bottom = over(lambda e: e * share(e)), over(share)  # noqa: B023
        assert ONE.eps(LINEAR)(rows(x), t).item() == pytest.approx(top / bottom, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("mixture", [ONE, PLANE, GaussianMixture(PLANE.means, 0.3), Empirical(POINTS)])
def test_eps_is_the_score_of_the_marginal(mixture):
    """-sqrt(1 - alpha_bar_t) times the gradient of log q(x_t), by autograd."""
    shape = 7, *mixture.means.shape[1:]
    for t in (1, 2, 30, 100):
        xt = (1.5 * torch.randn(shape, dtype=torch.float64, generator=seed(t))).requires_grad_()
        (score,) = torch.autograd.grad(mixture.marginal(LINEAR, t).log_prob(xt).sum(), xt)
        noise = mixture.eps(LINEAR)(xt, t).detach()
        torch.testing.assert_close(noise, -math.sqrt(1 - bars(LINEAR)[t]) * score, rtol=1e-9, atol=1e-9)


def test_no_other_prediction_has_a_smaller_error():
    draws, noise = ONE.sample(20000, seed(0)), torch.randn(20000, dtype=torch.float64, generator=seed(1))
    t, best = torch.randint(1, 101, (20000,), generator=seed(2)), ONE.eps(LINEAR)
    least = td.simple_loss(LINEAR, best, draws, t, noise)
    for other in (lambda xt, t: best(xt, t) + 0.05, lambda xt, t: 0.9 * best(xt, t), lambda xt, t: best(xt, t) + 0.05 * xt):
        assert td.simple_loss(LINEAR, other, draws, t, noise) > least


@pytest.mark.parametrize("mixture", [ONE, PLANE, Empirical(POINTS)])
def test_a_batch_of_mixed_steps_is_each_step_alone(mixture):
    xt, t = mixture.means.repeat(2, *[1] * (mixture.means.ndim - 1))[:5] + 0.1, torch.tensor([7, 1, 100, 2, 7])
    together = mixture.eps(LINEAR)(xt, t)
    assert together.shape == xt.shape
    for i, step in enumerate(t.tolist()):
        for s in (step, np.int64(step), torch.tensor(step), torch.tensor([step])):
            torch.testing.assert_close(mixture.eps(LINEAR)(xt[i : i + 1], s)[0], together[i], rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(mixture.eps(LINEAR)(xt, 7), mixture.eps(LINEAR)(xt, torch.full((5,), 7)), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("t", [1, 2, 30, 100])
@pytest.mark.parametrize("state", [-1.0, 0.4, 2.0])
def test_reverse_step_is_bayes_rule_by_quadrature(t, state):
    """q(x_{t-1} | x_t) = q(x_t | x_{t-1}) q(x_{t-1}) / integral, with SciPy's densities throughout."""
    beta, bar = LINEAR.beta[t].item(), bars(LINEAR)[t - 1]
    prior = lambda b: density(b, means=math.sqrt(bar) * MEANS, variances=bar * VARIANCES + 1 - bar)  # noqa: E731
    joint = lambda b: prior(b) * stats.norm.pdf(state, math.sqrt(1 - beta) * b, math.sqrt(beta))  # noqa: E731
    centre, width = state / math.sqrt(1 - beta), 12 * math.sqrt(beta / (1 - beta))  # where the likelihood is
    total = integrate.quad(joint, centre - width, centre + width, points=[centre], epsabs=0, epsrel=1e-11, limit=500)[0]
    reverse = ONE.reverse_step(LINEAR, torch.tensor(state, dtype=torch.float64), t)
    for shift in (-2, -0.5, 0, 1, 3):
        b = centre + shift * math.sqrt(beta)
        expected = math.log(joint(b)) - math.log(total)
        assert reverse.log_prob(rows(b)).item() == pytest.approx(expected, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("mixture", [PLANE, GaussianMixture(PLANE.means, [0.25, 0.5, 0.125], [0.5, 0.25, 0.25])])
@pytest.mark.parametrize("t", [1, 2, 30, 100])
def test_reverse_step_identity_in_the_plane(mixture, t):
    """log q(b | x) + log q(x) = log q(x | b) + log q(b) at states x and b."""
    for state in POINTS:
        reverse = mixture.reverse_step(LINEAR, state, t)
        left = reverse.log_prob(POINTS) + mixture.marginal(LINEAR, t).log_prob(state[None])
        step = td.q_step(LINEAR, POINTS, t).log_prob(state.expand_as(POINTS)).sum(1)
        torch.testing.assert_close(left, step + mixture.marginal(LINEAR, t - 1).log_prob(POINTS), rtol=1e-10, atol=1e-8)


def test_reverse_step_of_a_finite_data_set():
    """At t = 1 it is on the points again; later, a component for each point is the posterior for that x_0."""
    data, state = Empirical(POINTS), rows(0.3, 0.4)
    first = data.reverse_step(LINEAR, state, 1)
    assert torch.equal(first.means, POINTS) and not first.variances.any()
    for t in (1, 2, 50):
        reverse, posterior = data.reverse_step(LINEAR, state, t), td.q_posterior(LINEAR, POINTS, state.expand(5, 2), t)
        torch.testing.assert_close(reverse.means, posterior.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(reverse.variances, posterior.var, rtol=1e-12, atol=0)
        bar = bars(LINEAR)[t]
        log = stats.norm.logpdf(state, math.sqrt(bar) * POINTS.numpy(), math.sqrt(1 - bar)).sum(axis=1)
        shares = np.exp(log - log.max())
        np.testing.assert_allclose(reverse.weights, shares / shares.sum(), rtol=1e-9)


def test_empirical_is_a_softmax_over_the_data():
    data = torch.randn(6, 2, 3, generator=seed(0), dtype=torch.float64)
    xt, t = torch.randn(4, 2, 3, generator=seed(1), dtype=torch.float64), torch.tensor([1, 20, 60, 100])
    got = Empirical(data).eps(LINEAR)(xt, t)
    for i, step in enumerate(t.tolist()):
        bar = bars(LINEAR)[step]
        log = [-((xt[i] - math.sqrt(bar) * p) ** 2).sum().item() / (2 * (1 - bar)) for p in data]
        shares = [math.exp(a - max(log)) for a in log]
        clean = sum(s * p for s, p in zip(shares, data, strict=True)) / sum(shares)
        torch.testing.assert_close(got[i], (xt[i] - math.sqrt(bar) * clean) / math.sqrt(1 - bar), rtol=1e-9, atol=1e-9)


def test_empirical_knows_its_own_points():
    data = Empirical(POINTS.float())
    assert torch.equal(data.means, POINTS) and not data.variances.any() and data.weights.tolist() == pytest.approx([0.2] * 5)
    assert {tuple(p) for p in data.sample(200, seed(0)).tolist()} == {tuple(p) for p in POINTS.tolist()}
    assert data.log_prob(POINTS[:1]).item() == math.inf
    assert data.log_prob(rows([5.0, 5.0])).item() == -math.inf


def test_one_coordinate_of_a_point_is_not_the_point():
    assert Empirical(POINTS).log_prob(rows([0.0, 0.5], [0.1, 1.0])).tolist() == [-math.inf] * 2


def test_what_has_no_weight_is_not_there():
    alone = GaussianMixture(np.array([1.0]), 0.5)
    for mixture in (GaussianMixture([0.0, 1.0], 0.5, [0.0, 1.0]), GaussianMixture([0.0, 1.0], [0.0, 0.5], [0.0, 1.0])):
        points = rows(0.0, 1.0, 3.0)
        torch.testing.assert_close(mixture.log_prob(points), alone.log_prob(points))
        torch.testing.assert_close(mixture.eps(LINEAR)(points, 5), alone.eps(LINEAR)(points, 5))
        assert mixture.sample(100, seed(0)).mean() > 0.5


def test_variances_in_each_form():
    means = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    full = {
        0.25: [[0.25] * 3] * 2,
        (0.25, 2.0): [[0.25] * 3, [2.0] * 3],
        ((0.25, 1.0, 2.0), (3.0, 4.0, 5.0)): [[0.25, 1.0, 2.0], [3.0, 4.0, 5.0]],
    }
    x = torch.randn(4, 3, generator=seed(0), dtype=torch.float64)
    for variances, expected in full.items():
        for form in (variances, np.array(variances), torch.tensor(variances)):
            mixture, spelled = GaussianMixture(means, form, [0.25, 0.75]), GaussianMixture(means, np.array(expected), [0.25, 0.75])
            assert mixture.variances.tolist() == expected and mixture.variances.dtype == torch.float64
            torch.testing.assert_close(mixture.log_prob(x), spelled.log_prob(x))
            torch.testing.assert_close(mixture.eps(LINEAR)(x, 9), spelled.eps(LINEAR)(x, 9))
            assert torch.equal(mixture.sample(3, seed(1)), spelled.sample(3, seed(1)))
            now, same = (m.reverse_step(LINEAR, x[0], 9) for m in (mixture, spelled))
            torch.testing.assert_close(now.variances, same.variances)
    square = GaussianMixture(np.zeros((2, 2)), [0.25, 4.0])  # (K,) also where it could be taken for coordinates
    assert square.variances.tolist() == [[0.25, 0.25], [4.0, 4.0]]


def test_weights_default_to_equal_and_are_normalised():
    assert GaussianMixture([0.0, 1.0, 2.0], 1.0).weights.tolist() == pytest.approx([1 / 3] * 3, rel=1e-15)
    close = GaussianMixture([0.0, 1.0], 1.0, np.array([0.3, 0.7 + 5e-7])).weights
    assert close.dtype == torch.float64 and close.sum().item() == pytest.approx(1, abs=1e-15)


def test_numbers_are_taken_in_double_precision():
    mixture = GaussianMixture([0.1, 0.7], [0.3, 0.4], [0.3, 0.7])
    assert mixture.means.tolist() == [0.1, 0.7] and mixture.variances.tolist() == [0.3, 0.4]
    assert mixture.weights.tolist() == [0.3, 0.7]
    assert GaussianMixture([0.1], 0.3).variances.tolist() == [0.3]


def test_its_tables_are_its_own():
    means = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    mixture = GaussianMixture(means, 1.0)
    with torch.no_grad():
        means += 5
    assert mixture.means.tolist() == [0, 1] and not mixture.means.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_answers_in_the_dtype_of_its_input(dtype):
    xt = POINTS.to(dtype)
    noise, log_prob = PLANE.eps(LINEAR)(xt, 30), PLANE.log_prob(xt)
    assert noise.dtype == log_prob.dtype == dtype and noise.shape == (5, 2) and log_prob.shape == (5,)
    wide = PLANE.eps(LINEAR)(xt.double(), 30)
    assert torch.equal(noise, wide.to(dtype))  # rounded once


@pytest.mark.parametrize("chunk", [1, 7, 13, 64])
def test_chunks_change_nothing(monkeypatch, chunk):
    xt, t = torch.randn(11, 2, generator=seed(0), dtype=torch.float64), torch.randint(1, 101, (11,), generator=seed(1))
    for mixture in (PLANE, Empirical(POINTS)):
        model = mixture.eps(LINEAR)
        expected, scalar, log_prob = model(xt, t), model(xt, 9), mixture.marginal(LINEAR, 9).log_prob(xt)
        with monkeypatch.context() as patch:
            patch.setattr(exact, "CHUNK", chunk)
            sizes, joint = [], mixture._joint
            patch.setattr(mixture, "_joint", lambda x, *rest, **clean: sizes.append(len(x)) or joint(x, *rest, **clean))  # noqa: B023
            torch.testing.assert_close(model(xt, t), expected, rtol=1e-14, atol=1e-14)
            torch.testing.assert_close(model(xt, 9), scalar, rtol=1e-14, atol=1e-14)
            torch.testing.assert_close(mixture.marginal(LINEAR, 9).log_prob(xt), log_prob, rtol=1e-14, atol=1e-14)
            mixture.log_prob(xt)
            assert max(sizes) == min(11, max(1, chunk // mixture.means.numel()))


def test_no_points_are_a_batch_too():
    assert PLANE.log_prob(torch.zeros(0, 2)).shape == (0,) and PLANE.eps(LINEAR)(torch.zeros(0, 2), 5).shape == (0, 2)
    assert ONE.log_prob(torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize(
    ("xt", "t", "error", "message"),
    [
        ([1.0], 1, TypeError, "^xt is of type list, expected a Tensor$"),
        (torch.zeros(4, 2).long(), 1, TypeError, "^xt has dtype torch.int64, expected a floating-point dtype$"),
        (torch.zeros(4, 3), 1, ValueError, r"^xt has shape \(4, 3\), expected \(batch, 2\)$"),
        (torch.zeros(4, 2), 1.0, TypeError, "^t = 1.0 is of type float, expected an integer, or"),
        (torch.zeros(4, 2), 0, ValueError, r"^t = 0 is outside 1\.\.100$"),
        (torch.zeros(2, 2), torch.tensor([1, 0]), ValueError, r"^t\[1\] = 0 is outside 1\.\.100$"),
        (torch.zeros(4, 2), torch.tensor([1, 2]), ValueError, r"^t has shape \(2,\), expected \(4,\): a step for each row of xt$"),
    ],
)
def test_what_the_best_model_cannot_answer_is_named(xt, t, error, message):
    with pytest.raises(error, match=message):
        PLANE.eps(LINEAR)(xt, t)


def test_points_of_one_number_are_a_batch_all_the_same():
    with pytest.raises(ValueError, match=r"^x has shape \(\), expected \(batch,\)$"):
        ONE.log_prob(torch.tensor(1.0))


def test_the_ring_of_eight_is_the_law_of_its_draws():
    ring, turn = exact.eight_gaussians(), np.arange(8) * np.pi / 4
    np.testing.assert_allclose(ring.means, td.data.EIGHT_GAUSSIANS_RADIUS * np.stack([np.cos(turn), np.sin(turn)], 1), atol=1e-15)
    assert (ring.variances == td.data.EIGHT_GAUSSIANS_STD**2).all() and ring.weights.tolist() == [1 / 8] * 8
    draws = td.data.eight_gaussians(20_000, seed(0)).double()
    by_law, by_draws = ring.log_prob(ring.sample(20_000, seed(1))), ring.log_prob(draws)
    assert abs(by_law.mean() - by_draws.mean()) < 5 * (by_law.var() / 10_000).sqrt()


def test_a_state_in_single_precision_is_taken_for_what_it_is():
    xt = torch.tensor([0.3, -0.7])
    low, high = PLANE.reverse_step(LINEAR, xt, 50), PLANE.reverse_step(LINEAR, xt.double(), 50)
    assert torch.equal(low.weights, high.weights) and torch.equal(low.means, high.means)


def test_a_state_of_one_number_that_is_not_finite_is_named_without_a_row():
    with pytest.raises(ValueError, match=r"^xt has an entry that is NaN or infinite"):
        ONE.reverse_step(LINEAR, torch.tensor(math.nan), 5)


def test_the_reason_of_a_refused_table_is_told():
    with pytest.raises(TypeError, match="does not hold real numbers") as caught:
        GaussianMixture(torch.tensor([True, False]), 1.0)
    assert str(caught.value.__cause__) == "its dtype is torch.bool"
