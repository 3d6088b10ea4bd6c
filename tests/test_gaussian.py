"""A Gaussian's density, draws and KL against independent routes, at the edges too."""

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mpf
from scipy import integrate, stats

from tinyddpm import Gaussian

means = st.floats(-5, 5)
variances = st.floats(1e-6, 1e6)


def scalar(x):
    return torch.tensor(x, dtype=torch.float64)


def gaussian(mean, var):
    return Gaussian(scalar(mean), scalar(var))


@given(x=means, mean=means, var=variances)
def test_log_prob_is_the_density_of_scipy(x, mean, var):
    got = gaussian(mean, var).log_prob(scalar(x)).item()
    assert got == pytest.approx(stats.norm.logpdf(x, mean, math.sqrt(var)), rel=1e-12, abs=1e-12)


def exact_kl(m1, v1, m2, v2):
    with mpmath.workdps(60):
        m1, v1, m2, v2 = map(mpf, (m1, v1, m2, v2))
        return float((v1 / v2 - 1 - mpmath.log(v1 / v2) + (m1 - m2) ** 2 / v2) / 2)


@given(means, variances, means, variances)
def test_kl_against_60_digits(m1, v1, m2, v2):
    assert gaussian(m1, v1).kl(gaussian(m2, v2)).item() == pytest.approx(exact_kl(m1, v1, m2, v2), rel=1e-13)


@given(variances, st.floats(-0.5, 0.5))
def test_kl_of_nearly_equal_variances_keeps_its_digits(var, change):
    """Also for changes of 1e-12 or so, where var1/var2 - 1 - log(var1/var2) would be nothing but rounding."""
    for scale in (1, 1e-4, 1e-8, 1e-12):
        other = var * (1 + scale * change)
        assert gaussian(0.0, other).kl(gaussian(0.0, var)).item() == pytest.approx(exact_kl(0, other, 0, var), rel=1e-12, abs=0)


def test_kl_keeps_its_digits_in_float32():
    var = torch.tensor([1.0, 1.0, 1.0, 1.0])
    other = torch.tensor([1.0001, 0.99, 1.2, 0.8])
    got = Gaussian(torch.zeros(4), other).kl(Gaussian(torch.zeros(4), var)).tolist()
    assert got == pytest.approx([exact_kl(0, v, 0, 1) for v in other.tolist()], rel=1e-6)


def test_kl_is_the_integral():
    p, q = stats.norm(0.3, 0.7), stats.norm(-0.5, 1.3)
    integral = integrate.quad(lambda x: p.pdf(x) * (p.logpdf(x) - q.logpdf(x)), -10, 10, epsabs=1e-13)[0]
    assert gaussian(0.3, 0.49).kl(gaussian(-0.5, 1.69)).item() == pytest.approx(integral, rel=1e-10)


@given(means, variances, means, variances)
def test_kl_is_zero_for_equals_and_only_for_them(m1, v1, m2, v2):
    kl = gaussian(m1, v1).kl(gaussian(m2, v2)).item()
    assert kl >= 0 and gaussian(m1, v1).kl(gaussian(m1, v1)).item() == 0
    if abs(m1 - m2) > 1e-6 or abs(v1 / v2 - 1) > 1e-6:
        assert kl > 0


def test_draws_follow_the_density():
    draws = Gaussian(torch.full((20000,), 0.5), 4.0).sample(torch.Generator().manual_seed(0))
    assert stats.kstest(draws.numpy(), stats.norm(0.5, 2.0).cdf).pvalue > 0.01
    assert stats.kstest(draws.numpy(), stats.norm(0.5, 4.0).cdf).pvalue < 1e-6  # the variance is not the deviation


def test_same_generator_same_draw_and_the_default_one_is_left_alone():
    g = Gaussian(torch.zeros(3), 1.0)
    state = torch.get_rng_state()
    a, b = (g.sample(torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(a, b) and torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_dtype_and_shape(dtype):
    mean = torch.ones(2, 3, dtype=dtype)
    g = Gaussian(mean, 0.5)
    for result in (g.var, g.sample(), g.log_prob(mean), g.kl(Gaussian(mean, 0.25))):
        assert result.dtype == dtype and result.shape == mean.shape and result.isfinite().all()


def test_certainty_is_a_limit_not_a_nan():
    certain, other = gaussian([1.0, 1.0], [0.0, 0.0]), gaussian([1.0, 2.0], [0.0, 1.0])
    assert torch.equal(certain.sample(), certain.mean)
    assert certain.log_prob(scalar([1.0, 2.0])).tolist() == [math.inf, -math.inf]
    assert certain.kl(other).tolist() == [0, math.inf]  # the same certainty; and a point against a density
    assert gaussian(1.0, 0.0).kl(gaussian(2.0, 0.0)).item() == math.inf
    assert gaussian(1.0, 1.0).kl(gaussian(1.0, 0.0)).item() == math.inf


def test_gradients_are_finite_also_for_equals():
    mean = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    var = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    Gaussian(mean, var).kl(gaussian([0.0, 0.0], [1.0, 1.0])).sum().backward()
    assert np.allclose(mean.grad, [0, 1]) and np.allclose(var.grad, [0, 0.25])  # d/dv (v - log v)/2 = (1 - 1/v)/2


def test_second_derivatives_are_right_also_where_a_term_vanishes():
    """At x = mean, or at equal variances, the value is 0 and its curvature is not."""

    def second(f, at):
        point = scalar(at).requires_grad_()
        (first,) = torch.autograd.grad(f(point), point, create_graph=True)
        return torch.autograd.grad(first, point)[0].item()

    assert second(lambda x: gaussian(1.0, 2.0).log_prob(x), 1.0) == pytest.approx(-1 / 2)
    assert second(lambda m: Gaussian(m, scalar(1.0)).kl(gaussian(1.0, 3.0)), 1.0) == pytest.approx(1 / 3)
    assert second(lambda v: Gaussian(scalar(0.0), v).kl(gaussian(0.0, 1.0)), 1.0) == pytest.approx(1 / 2)


def test_certainty_does_not_spoil_the_gradient_of_its_neighbours():
    mean = scalar([1.0, 2.0]).requires_grad_()
    other = gaussian([1.0, 1.0], [0.0, 1.0])
    (Gaussian(mean, scalar([0.0, 1.0])).kl(other) + Gaussian(mean, scalar([0.0, 1.0])).log_prob(scalar([3.0, 3.0])))[1].backward()
    assert mean.grad.tolist() == [0, 2]  # d/dm (m - 1)²/2 + (3 - m)


def test_squares_do_not_leave_the_range_of_the_dtype():
    assert gaussian(0.0, 0.0).log_prob(scalar(1e-200)).item() == -math.inf
    wide = Gaussian(torch.zeros(1, dtype=torch.float16), 1e4)
    assert wide.log_prob(torch.full((1,), 500.0, dtype=torch.float16)).item() == pytest.approx(-18.0, abs=0.05)
    assert wide.kl(Gaussian(torch.full((1,), 500.0, dtype=torch.float16), 1e4)).item() == pytest.approx(12.5, abs=0.05)


def test_the_layout_in_memory_does_not_change_the_draw():
    one = Gaussian(torch.zeros(2, 3, 4, 4), 1.0)
    other = Gaussian(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last), 1.0)
    assert torch.equal(*(g.sample(torch.Generator().manual_seed(0)) for g in (one, other)))
    drawn = []
    for g in (one, other):  # from the default generator too
        with torch.random.fork_rng():
            torch.manual_seed(0)
            drawn.append(g.sample())
    assert torch.equal(*drawn)


def test_nothing_is_a_batch_too():
    assert Gaussian(torch.zeros(0, 2), torch.zeros(0, 2)).sample().shape == (0, 2)


def test_gaussians_are_compared_as_objects():
    g = Gaussian(torch.zeros(2), 1.0)
    assert g == g and g != Gaussian(torch.zeros(2), 1.0)


def test_a_gaussian_cannot_be_changed():
    with pytest.raises(AttributeError):
        Gaussian(torch.zeros(2), 1.0).var = torch.ones(2)


def test_a_number_of_numpy_is_a_number():
    assert Gaussian(torch.zeros(2), np.float32(0.25)).var.tolist() == [0.25, 0.25]
