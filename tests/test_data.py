"""The data sets: their shape, scale and support."""

import sys

import numpy as np
import pytest
import torch

from tinyddpm import data

SETS = [data.eight_gaussians, data.two_moons, data.swiss_roll, data.checkerboard]


def seed(s=0):
    return torch.Generator().manual_seed(s)


@pytest.mark.parametrize("draw", SETS)
def test_mean_zero_and_variance_one(draw):
    points = draw(100_000, seed())
    assert points.shape == (100_000, 2) and points.dtype == torch.float32
    error = 5 / 100_000**0.5  # five standard errors of a mean of variance 1; the variance's own is of that size or less
    assert points.mean(0).abs().max() < error and (points.var(0) - 1).abs().max() < 1.5 * error


@pytest.mark.parametrize("draw", SETS)
def test_the_generator_decides_and_nothing_else_draws(draw):
    state = torch.get_rng_state()
    assert torch.equal(draw(50, seed(1)), draw(50, seed(1))) and not torch.equal(draw(50, seed(1)), draw(50, seed(2)))
    assert torch.equal(torch.get_rng_state(), state)
    assert draw(1).shape == (1, 2)


@pytest.mark.parametrize("draw", SETS)
def test_float32_whatever_the_default(draw):
    torch.set_default_dtype(torch.float64)
    try:
        assert draw(2).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_eight_gaussians_lie_where_they_should():
    points = data.eight_gaussians(40_000, seed()).double()
    angle = torch.arange(8) * torch.pi / 4
    centres = data.EIGHT_GAUSSIANS_RADIUS * torch.stack([angle.cos(), angle.sin()], 1).double()
    distance, mode = torch.cdist(points, centres).min(1)
    share = (distance < 3 * data.EIGHT_GAUSSIANS_STD).double().mean()
    assert abs(share - (1 - np.exp(-4.5))) < 0.003  # of a round Gaussian in the plane
    assert (mode.bincount() - 5000).abs().max() < 5 * (40_000 / 8 * 7 / 8) ** 0.5


def test_checkerboard_fills_the_dark_squares_only():
    cell = (data.checkerboard(20_000, seed()) / (12**0.5 / 4) + 2).floor().long()
    assert set(map(tuple, cell.tolist())) == {(c, r) for c in range(4) for r in range(4) if (c + r) % 2 == 0}


def test_moons_and_roll_lie_on_their_curves():
    moons = data.two_moons(5000, seed()) / (1 - 0.1**2) ** 0.5 * torch.tensor([0.75, 9 / 16 - 1 / torch.pi]).sqrt()
    curve = torch.linspace(0, torch.pi, 2000)
    upper = torch.stack([curve.cos() - 0.5, curve.sin() - 0.25], 1)
    scale = torch.tensor([0.75, 9 / 16 - 1 / torch.pi]).sqrt()
    assert 0.03 < torch.cdist(moons, torch.cat([upper, -upper])).min(1).values.mean() < 0.1 * scale.max()
    roll = data.swiss_roll(5000, seed())
    angle = torch.pi * (1.5 + 3 * torch.linspace(0, 1, 4000))
    spiral = angle[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    mean, scale = spiral.mean(0), spiral.std(0) / (1 - 0.05**2) ** 0.5
    # Across the curve the noise is one number of standard deviation 0.05, so the mean distance is 0.05 sqrt(2/pi).
    assert torch.cdist(roll, (spiral - mean) / scale).min(1).values.mean() == pytest.approx(0.05 * (2 / torch.pi) ** 0.5, rel=0.05)


def test_digits_are_the_real_ones():
    from sklearn.datasets import load_digits

    images = data.digits()
    assert images.shape == (1797, 1, 8, 8) and images.dtype == torch.float32
    assert images.unique().tolist() == [k / 8 - 1 for k in range(17)]
    assert np.array_equal((images[:, 0] + 1) * 8, load_digits().images)
    assert np.array_equal(data.digit_labels(), load_digits().target) and data.digit_labels().dtype == torch.int64


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r"need scikit-learn: pip install 'tinyddpm\[book\]'"):
        data.digits()
