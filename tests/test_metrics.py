"""The distances against direct sums, SciPy and laws for which they are known; the modes of the ring."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy import linalg, stats

import tinyddpm as td
from tinyddpm.metrics import energy_distance, frechet_distance, nearest, ring_modes, sliced_wasserstein

RADIUS, STD = td.data.EIGHT_GAUSSIANS_RADIUS, td.data.EIGHT_GAUSSIANS_STD


def seed(n):
    return torch.Generator().manual_seed(n)


def randn(n, *shape):
    return torch.randn(shape, generator=seed(n), dtype=torch.float64)


def moments(n, mean, cov):
    """Points whose mean and covariance are exactly these."""
    x = randn(n, 50, len(mean))
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(x.T))).T
    return white @ torch.linalg.cholesky(cov).T + mean


def test_sliced_wasserstein_in_one_dimension_is_the_distance_of_the_sorted_points():
    """Checked against all orders: none has a smaller sum of squares."""
    x, y = randn(0, 5, 1), 2 * randn(1, 5, 1) + 1
    best = min(((x - y[list(order)]) ** 2).mean().item() for order in permutations(range(5)))
    assert sliced_wasserstein(x, y) == pytest.approx(math.sqrt(best), rel=1e-12)
    assert sliced_wasserstein(torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [1.0]])) == pytest.approx(math.sqrt(5), rel=1e-12)


def test_sliced_wasserstein_of_a_shift_is_its_length_seen_from_all_sides():
    """Along a direction at the angle a it is |shift| cos a: over all directions the mean square is |shift|² / dim."""
    for dim, shape in ((2, (2,)), (3, (3,)), (16, (1, 4, 4))):
        x, shift = randn(0, 20, *shape), randn(1, *shape)
        got = sliced_wasserstein(x, x + shift, directions=20000)
        assert got == pytest.approx(shift.norm().item() / math.sqrt(dim), rel=0.02)
        assert sliced_wasserstein(x, x + 3 * shift, 10) == pytest.approx(3 * sliced_wasserstein(x, x + shift, 10), rel=1e-10)


def test_sliced_wasserstein_is_symmetric_and_0_for_the_same_points_in_another_order():
    x, y = randn(0, 30, 3), randn(1, 30, 3)
    assert sliced_wasserstein(x, y) == sliced_wasserstein(y, x) > 0.1
    assert sliced_wasserstein(x, x[torch.randperm(30, generator=seed(2))]) < 1e-15


def test_sliced_wasserstein_looks_from_the_same_sides_each_time():
    state = torch.get_rng_state()
    x, y = randn(0, 30, 3), randn(1, 30, 3)
    assert sliced_wasserstein(x, y, 3) == sliced_wasserstein(x, y, 3) != sliced_wasserstein(x, y, 4)
    assert torch.equal(torch.get_rng_state(), state)


def test_energy_distance_is_the_double_sum_over_different_points():
    x, y = randn(0, 7, 3), randn(1, 4, 3) + 0.5

    def mean(a, b, same):
        pairs = [np.linalg.norm(p - q) for i, p in enumerate(a.numpy()) for j, q in enumerate(b.numpy()) if not same or i != j]
        return np.mean(pairs)

    expected = 2 * mean(x, y, False) - mean(x, x, True) - mean(y, y, True)
    assert energy_distance(x, y) == pytest.approx(expected, rel=1e-12)
    assert energy_distance(y, x) == pytest.approx(expected, rel=1e-12)
    assert energy_distance(x.reshape(7, 1, 3), y.reshape(4, 1, 3)) == pytest.approx(expected, rel=1e-12)


def test_energy_distance_of_many_points_is_scipys():
    """SciPy's is the root of twice the integral of (F - G)², with each point also paired with itself: that is corrected."""
    x, y = randn(0, 300, 1), 1.5 * randn(1, 200, 1)
    both = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    within = sum((a - a.T).abs().sum().item() * (1 / (n * (n - 1)) - 1 / n**2) for a, n in ((x, 300), (y, 200)))
    assert energy_distance(x, y) == pytest.approx(both - within, abs=1e-7)


def test_energy_distance_is_unbiased():
    """For one law it is 0 on average; for N(0, 1) and N(d, 1), E|N(d, 2)| is known."""
    d, draws = 1.0, randn(0, 2000, 2, 5, 1)
    expected = 2 * (2 / math.sqrt(math.pi) * math.exp(-(d**2) / 4) + d * math.erf(d / 2)) - 2 * 2 / math.sqrt(math.pi)
    for shift, value in ((0.0, 0.0), (d, expected)):
        got = np.array([energy_distance(x, y + shift) for x, y in draws])
        assert abs(got.mean() - value) < 4 * got.std() / math.sqrt(2000)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_frechet_distance_is_that_of_scipys_square_root(dim):
    x, y = randn(0, 40, dim) @ randn(1, dim, dim), randn(2, 30, dim) @ randn(3, dim, dim) + 1
    a, b = (np.atleast_2d(np.cov(s.T.numpy())) for s in (x, y))
    gap = (x.mean(0) - y.mean(0)).numpy()
    expected = gap @ gap + np.trace(a + b - 2 * linalg.sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(y, x) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_known_gaussians():
    """Independent coordinates: the squared distance of the means and of the standard deviations."""
    m, n, s, r = (torch.tensor(v, dtype=torch.float64) for v in ([0.0, 1.0], [2.0, -1.0], [1.0, 0.5], [3.0, 0.1]))
    x, y = moments(0, m, torch.diag(s**2)), moments(1, n, torch.diag(r**2))
    assert frechet_distance(x, y) == pytest.approx((8 + 4 + 0.16), rel=1e-10)
    assert abs(frechet_distance(x, moments(2, m, torch.diag(s**2)))) < 1e-10


def test_frechet_distance_of_points_on_a_line():
    """Covariances without full rank; the root of a small negative eigenvalue would be NaN."""
    x = randn(0, 20, 1) @ randn(1, 1, 6)
    assert abs(frechet_distance(x, x)) < 1e-6 and frechet_distance(x, x + 2) == pytest.approx(24, rel=1e-6)
    assert math.isfinite(frechet_distance(randn(0, 3, 10), randn(1, 3, 10)))


def test_nearest():
    x, among = torch.tensor([[0.0, 0.0], [5.0, 5.0], [1.0, 0.0]]), torch.tensor([[1.0, 0.0], [5.0, 2.0], [0.0, 0.5]])
    distance, index = nearest(x, among)
    assert index.tolist() == [2, 1, 0] and distance.tolist() == [0.5, 3.0, 0.0]
    distance, index = nearest(x.reshape(3, 1, 2, 1), among.reshape(3, 1, 2, 1))
    assert index.tolist() == [2, 1, 0]


def test_nearest_of_many_is_a_direct_search():
    x, among = randn(0, 40, 2, 3), randn(1, 60, 2, 3)
    direct = (x[:, None] - among).flatten(2).norm(dim=2).min(dim=1)
    distance, index = nearest(x, among)
    assert torch.equal(index, direct.indices)
    torch.testing.assert_close(distance, direct.values, rtol=1e-7, atol=1e-7)


def test_a_copy_is_at_the_distance_0():
    x = randn(0, 100, 64)
    assert nearest(x, x)[0].max() == 0


def test_distances_do_not_depend_on_where_the_origin_is():
    x, y = randn(0, 50, 1), 2 * randn(1, 50, 1)
    assert energy_distance(x + 1e6, y + 1e6) == pytest.approx(energy_distance(x, y), rel=1e-6)


def ring(k, radius=RADIUS):
    angle = torch.as_tensor(k) * (math.pi / 4)
    return radius * torch.stack([angle.cos(), angle.sin()], dim=-1)


def test_ring_modes_of_points_put_there():
    k = torch.tensor([0, 0, 0, 1, 2, 2, 7])
    modes = ring_modes(torch.cat([ring(k), torch.zeros(1, 2)]))
    assert modes.counts.tolist() == [3, 1, 2, 0, 0, 0, 0, 1] and modes.covered == 4 and modes.off == 0.125


def test_ring_modes_end_at_so_many_standard_deviations():
    for sigmas in (1.0, 3.0):
        for factor, off in ((0.999, 0.0), (1.001, 1.0)):
            assert ring_modes(ring(torch.arange(8), RADIUS + factor * sigmas * STD), sigmas).off == off
    inside = ring(torch.arange(8), RADIUS + 2.9 * STD)
    assert ring_modes(inside).off == 0 and ring_modes(inside, 2.8).off == 1


def test_a_mode_is_covered_by_a_tenth_of_its_share():
    """Of 800 points that is 10 in a mode."""
    for few, covered in ((10, 2), (9, 1)):
        points = ring(torch.cat([torch.zeros(800 - few), torch.full((few,), 3)]))
        assert ring_modes(points).covered == covered


def test_ring_modes_of_true_draws():
    """Within 3 standard deviations in the plane: 1 - exp(-9/2); each count is binomial."""
    n, share = 20000, 1 - math.exp(-4.5)
    modes = ring_modes(td.data.eight_gaussians(n, seed(0)))
    near = int(modes.counts.sum())
    assert modes.covered == 8 and modes.off == pytest.approx(1 - near / n, abs=1e-12)
    assert stats.binomtest(near, n, share).pvalue > 0.001 and round(share, 3) == 0.989
    assert stats.chisquare(modes.counts.numpy()).pvalue > 0.001


def test_ring_modes_of_a_sampler_that_fell_on_one_point():
    modes = ring_modes(ring(torch.full((100,), 5)))
    assert modes.covered == 1 and modes.off == 0 and modes.counts[5] == 100


def test_nan_is_no_mode():
    assert ring_modes(torch.full((4, 2), math.nan)).off == 1


@pytest.mark.parametrize("function", [sliced_wasserstein, energy_distance, frechet_distance])
def test_distances_are_numbers_in_float64_without_gradients(function):
    x, y = randn(0, 30, 2), randn(1, 30, 2) + 3
    assert isinstance(function(x.requires_grad_(), y), float)
    assert function(x.float(), y.float()) == pytest.approx(function(x.float().double(), y.float().double()), rel=1e-14)


def test_sliced_wasserstein_looks_from_256_sides_that_are_the_same_on_every_machine():
    x, y = (torch.randn(50, 3, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    sides = torch.randn(3, 256, generator=torch.Generator().manual_seed(0)).double()
    sides /= sides.norm(dim=0)
    moves = np.sort((x.double() @ sides).numpy(), axis=0) - np.sort((y.double() @ sides).numpy(), axis=0)
    assert sliced_wasserstein(x, y) == pytest.approx(math.sqrt((moves**2).mean()), rel=1e-12)


def test_nearest_keeps_the_dtype_and_ring_modes_counts_all_eight():
    x = torch.zeros(3, 2, dtype=torch.float16)
    assert nearest(x, x)[0].dtype == torch.float16 and nearest(x, x)[1].dtype == torch.int64
    assert ring_modes(torch.tensor([[td.data.EIGHT_GAUSSIANS_RADIUS, 0.0]])).counts.tolist() == [1, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("n", "covered"), [(99, 1), (100, 2)])
def test_a_tenth_of_the_fair_share_is_an_eightieth_of_all(n, covered):
    R = td.data.EIGHT_GAUSSIANS_RADIUS
    assert (
        ring_modes(torch.cat([torch.tensor([[R, 0.0]]).expand(8000 - n, 2), torch.tensor([[0.0, R]]).expand(n, 2)])).covered
        == covered
    )
