"""The live figures of the bound and of the floor compute what the package does, in the browser."""

from pathlib import Path

import browsers
import numpy as np
import pytest
import torch

import tinyddpm as td
from tinyddpm.exact import GaussianMixture

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives a browser, is not installed")
if browsers.program() is None:
    pytest.skip(browsers.MISSING, allow_module_level=True)

SCRIPTS = Path(__file__).parents[1] / "live"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    scripts = "".join(f'<script src="{(SCRIPTS / name).as_uri()}.js"></script>' for name in ("engine", "plot", "pair", "bits"))
    path = tmp_path_factory.mktemp("bits") / "page.html"
    path.write_text(f"<!doctype html>{scripts}", encoding="utf-8")
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browsers.program(), args=browsers.FLAGS) as browser,
    ):
        page = browser.new_page()
        page.goto(path.as_uri())
        yield page


@pytest.fixture(scope="module")
def quadrature():
    """Data and noise with weights: what is averaged over them is exact to many digits."""
    nodes, weights = map(torch.tensor, np.polynomial.hermite_e.hermegauss(60))
    x0 = torch.cat([-1 + 0.2 * nodes, 1 + 0.2 * nodes]).repeat_interleave(60)
    weight = torch.outer(weights, weights).flatten().repeat(2)
    return x0, nodes.repeat(120), weight / weight.sum()


@pytest.mark.parametrize("T", [1, 5, 50])
@pytest.mark.parametrize("kind", ["linear", "cosine"])
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
@pytest.mark.parametrize("off", [0, 0.1])
def test_the_terms_of_the_bound_are_those_of_the_package(page, quadrature, T, kind, variance, off):
    x0, eps, weight = quadrature
    schedule = getattr(td.Schedule, kind)(T)
    best = GaussianMixture([-1.0, 1.0], 0.04).eps(schedule)
    terms = td.vlb_terms(schedule, lambda xt, t: best(xt, t) + off, x0, variance, eps=eps)
    found = page.evaluate(
        "([T, kind, variance, off]) => tinyddpm.boundTerms(tinyddpm[kind](T), variance, off, { apart: 2, spread: 0.04 })",
        [T, kind, variance, off],
    )
    assert found["end"] == pytest.approx((weight @ terms.L_T).item(), abs=1e-6)
    each = [best + added for best, added in zip(found["best"], found["added"], strict=True)][1:]
    assert each == pytest.approx([(weight @ terms.L_0).item(), *(weight @ terms.L_t).tolist()], abs=1e-5)
    assert found["bestTotal"] + found["error"] == pytest.approx((weight @ terms.total).item(), abs=1e-4)


@pytest.mark.parametrize(("apart", "variance"), [(2, 0.04), (0, 1), (4, 0.0025), (1, 0)])
def test_the_floor_is_that_of_the_package(page, apart, variance):
    schedule, steps, grid = td.Schedule.linear(1000), [1, 30, 200, 1000], torch.linspace(-12, 12, 200_001, dtype=torch.float64)
    data = GaussianMixture([-apart / 2, apart / 2], float(variance))
    for t in steps:
        density = data.marginal(schedule, t).log_prob(grid).exp()
        floor = 1 - torch.trapezoid(density * data.eps(schedule)(grid, t) ** 2, grid).item()
        parts = page.evaluate(
            "([t, apart, variance]) => tinyddpm.pairFloor(tinyddpm.linear(1000), t, apart, variance)", [t, apart, variance]
        )
        assert sum(parts) == pytest.approx(floor, abs=1e-6) and min(parts) >= 0
