"""The page for readers of other libraries: its code runs, and agrees with diffusers, and with what their own tests assert.

What is compared with an installed diffusers is skipped without one. The numbers that the tests of diffusers assert, and the
formulas of the other two libraries, are held here by our functions alone, so that they are checked everywhere.
"""

import inspect
import itertools
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_guidance import RING, SCHEDULE, Exact
from torch import nn

import tinyddpm as td
from tinyddpm.sampling import ddim_times

TEXT = (Path(__file__).parents[1] / "pages/coming-from.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)
NAMESPACE: dict = {}
for block in BLOCKS:  # in order, as a reader would paste them
    exec(compile(block, "pages/coming-from.md", "exec"), NAMESPACE)
page = SimpleNamespace(**NAMESPACE)

LINEAR = td.Schedule.linear(1000, 1e-4, 0.02)  # the defaults of DDPMScheduler and DDIMScheduler, and of all their tests below
U = 2.0**-24  # the largest relative error of one rounding to float32
KINDS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCES = {"fixed_small": "beta_tilde", "fixed_large": "beta"}
SCHEDULES = ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"]
SPOTS = [0, 1, 2, 10, 487, 998, 999]  # time steps of theirs, both ends among them


def seed(n=0):
    return torch.Generator().manual_seed(n)


def draw(*shape, n=0, dtype=torch.float64):
    return torch.randn(shape, generator=seed(n), dtype=dtype)


def close(a, b, tol):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def net(x, t):
    """A network of theirs: its t runs from 0, as a number, a tensor without dimensions, or one entry for each row."""
    t = torch.as_tensor(t).to(x).reshape(-1, *[1] * (x.ndim - 1))
    return 0.4 * x + 0.2 * torch.sin(t)


# ---- the page ----


def test_each_code_block_is_short_and_narrow_and_begins_where_the_last_one_ended():
    assert len(BLOCKS) == 13 and BLOCKS[0] == "import torch\nimport tinyddpm as td\n"
    for block in BLOCKS:
        lines = block.splitlines()
        assert len(lines) <= 15 and max(map(len, lines)) <= 79


def test_every_name_of_ours_that_the_tables_give_exists():
    rows = re.findall(r"(?m)^\| (.*?) \| (.*?) \|$", TEXT)
    assert len(rows) > 50
    spans = {span for _, right in rows for span in re.findall(r"`([^`]+)`", right)}
    names = {re.match(r'[."]*([A-Za-z_0-9]+)', span)[1] for span in spans} | set(re.findall(r"td\.(\w+)", TEXT))
    takes = (td.DDPM.sample_ddim, td.DDPM.given, td.fit, td.MLP)
    ours = {*td.__all__, *vars(LINEAR), *(p for thing in takes for p in inspect.signature(thing).parameters), "predict"}
    terms = {"L_T", "L_t", *vars(td.VLB)}  # fields without a default are no attributes of their class
    assert names - ours - terms - {"L_0"} == {"respaced", "leading", "linspace", "step"}  # the page's own, and theirs
    for _, right in rows:
        for value in re.findall(r'`predict="(\w+)"`', right):
            td.DDPM(nn.Identity(), LINEAR, predict=value)
        for method in re.findall(r"`DDPM\.(\w+)", right):
            assert hasattr(td.DDPM, method)


def test_the_rows_of_the_tables_of_a_schedule_are_shifted_as_the_page_says():
    betas = LINEAR.beta[1:].numpy()
    bars = np.cumprod(1 - betas)
    before = np.append(1.0, bars[:-1])
    there = {
        "betas[i]": betas, "alphas[i]": 1 - betas, "alphas_cumprod[i]": bars, "alphas_cumprod_prev[i]": before,
        "1 - alphas_cumprod[i]": 1 - bars, "posterior_variance[i]": betas * (1 - before) / (1 - bars),
    }  # fmt: skip
    rows = dict(re.findall(r"(?m)^\| `([^`]*\[i\])` \| `([^`]*)` \|$", TEXT))
    assert rows.keys() == there.keys()
    for name, array in there.items():
        ours = [eval(rows[name], {**vars(LINEAR), "i": i}).item() for i in range(1000)]
        np.testing.assert_allclose(ours, array, rtol=1e-11)  # 1 - alphas_cumprod loses four digits there


def test_the_converters_follow_the_formulas_written_out_at_every_time_step():
    """add_noise, get_velocity and step, in NumPy from betas alone and with rows that start at 0."""
    betas = np.linspace(1e-4, 0.02, 1000)
    bars = np.cumprod(1 - betas)
    x0, noise, out = draw(2, 3, n=1), draw(2, 3, n=2), draw(2, 3, n=3)
    for i in range(1000):
        before = bars[i - 1] if i else 1.0
        a, s = np.sqrt(bars[i]), np.sqrt(1 - bars[i])
        both = torch.full((2,), i)
        close(page.add_noise(LINEAR, x0, noise, both), a * x0 + s * noise, 1e-12)
        close(page.get_velocity(LINEAR, x0, noise, both), a * noise - s * x0, 1e-12)
        xt = x0
        z = draw(2, 3, n=4) if i else torch.zeros(2, 3, dtype=torch.float64)
        for kind, guess in {"epsilon": (xt - s * out) / a, "sample": out, "v_prediction": a * xt - s * out}.items():
            for clip in (None, 0.7):
                x = guess if clip is None else guess.clamp(-clip, clip)
                mean = np.sqrt(before) * betas[i] / (1 - bars[i]) * x + np.sqrt(1 - betas[i]) * (1 - before) / (1 - bars[i]) * xt
                small = betas[i] * (1 - before) / (1 - bars[i])
                for variance, value in {"fixed_small": small, "fixed_large": betas[i]}.items():
                    got = page.step(LINEAR, out, i, xt, seed(4), kind, variance, clip)
                    close(got, mean + np.sqrt(value) * z, 1e-10)


def test_networks_of_theirs_see_their_time_and_ours_see_ours():
    x, seen = draw(3, 2), []

    def watch(xt, t):
        seen.append(t.tolist())
        return xt

    close(page.Theirs(net)(x, torch.tensor([1, 5, 9])), net(x, torch.tensor([0, 4, 8])), 0)
    wrapped = SimpleNamespace(sample=x)
    assert page.Theirs(lambda xt, t: wrapped)(x, torch.tensor([1, 1, 1])) is x
    for t in (4, torch.tensor(4), torch.tensor([4, 4, 4])):
        page.Ours(watch)(x, t)
    page.Ours(watch)(x, torch.tensor([0, 1, 2]), None)  # lucidrains' third argument
    assert seen == [[5, 5, 5]] * 3 + [[1, 2, 3]]
    close(page.Ours(page.Theirs(net))(x, 7), net(x, 7), 0)


def test_our_networks_answer_in_their_loops():
    pictures = td.UNet(channels=1, width=8)
    assert page.Ours(pictures)(draw(2, 1, 8, 8, dtype=torch.float32), torch.tensor(0)).shape == (2, 1, 8, 8)


@pytest.mark.parametrize("times", [[1000], [1, 1000], [251, 501, 751], [1, 101, 201, 901], list(range(1, 1001))], ids=len)
def test_a_respaced_chain_has_the_noise_levels_of_its_times(times):
    seen = []
    short, model = page.respaced(LINEAR, lambda xt, t: seen.append(t.tolist()) or xt, times)
    assert len(times) == short.T
    close(short.alpha_bar, LINEAR.alpha_bar[[0, *times]], 1e-12)
    model(draw(len(times), 1), torch.arange(1, short.T + 1))
    assert seen == [times]


def test_a_respaced_chain_with_our_times_is_our_ddim():
    for steps in (1, 7, 10):
        short, model = page.respaced(LINEAR, page.Theirs(net), ddim_times(1000, steps)[1:])
        x_T = draw(2, 3)
        for eta in (0.0, 0.5):
            close(
                td.sample_ddim(short, model, x_T, steps, eta, generator=seed(1)),
                td.sample_ddim(LINEAR, page.Theirs(net), x_T, steps, eta, generator=seed(1)),
                1e-9,
            )


def test_a_chain_from_the_middle_ends_where_the_whole_chain_ends():
    states, generator = {}, seed(1)
    rest = {}

    def keep(t, x):
        states[t] = x
        if t == 300:
            rest["state"] = generator.get_state()

    x0 = td.sample(LINEAR, page.Theirs(net), draw(2, 3), "beta_tilde", generator=generator, callback=keep)
    generator.set_state(rest["state"])
    again = page.from_the_middle(LINEAR, page.Theirs(net), states[300], 300, variance="beta_tilde", generator=generator)
    assert torch.equal(again, x0)


def test_a_single_entry_stands_for_no_batch_here_and_time_zero_is_refused():
    x = draw(4, 2)
    with pytest.raises(ValueError, match="a step for each row"):
        td.q_sample(LINEAR, x, torch.tensor([5]), x)
    with pytest.raises(ValueError, match=r"outside 1\.\.1000"):
        td.q_sample(LINEAR, x, 0, x)


def test_the_other_named_schedules_of_diffusers_written_out():
    rise = 1 / (1 + np.exp(-np.linspace(-6, 6, 1000)))
    np.testing.assert_allclose(page.named("sigmoid", 1000).beta[1:], 1e-4 + (0.02 - 1e-4) * rise, rtol=1e-13)
    np.testing.assert_allclose(page.named("scaled_linear", 1000).beta[1:], np.linspace(0.01, 0.02**0.5, 1000) ** 2, rtol=1e-13)
    assert torch.equal(page.named("linear", 1000).beta, LINEAR.beta)


# ---- OpenAI's improved-diffusion and guided-diffusion, and lucidrains: their definitions in NumPy ----


@pytest.mark.parametrize("T", [21, 50, 1000, 4000])
def test_the_linear_schedule_of_the_other_two_is_scaled_by_a_thousand_over_T(T):
    betas = np.linspace(1000 / T * 1e-4, 1000 / T * 0.02, T)
    np.testing.assert_allclose(page.named("openai", T).beta[1:], betas, rtol=1e-13)


def test_the_scaled_linear_schedule_of_twenty_steps_ends_in_a_variance_of_one_which_we_refuse():
    with pytest.raises(ValueError, match=r"beta_T = 1.0 is outside \(0, 1\)"):
        page.named("openai", 20)


@pytest.mark.parametrize("T", [10, 1000])
def test_their_cosine_schedule_is_ours(T):
    def bar(u):
        return np.cos((u + 0.008) / 1.008 * np.pi / 2) ** 2

    u = np.arange(T + 1) / T
    betas = np.minimum(1 - bar(u[1:]) / bar(u[:-1]), 0.999)
    np.testing.assert_allclose(page.named("squaredcos_cap_v2", T).beta[1:], betas, rtol=1e-11)


def test_the_sigmoid_schedule_of_lucidrains_is_a_schedule_here():
    """Their default: alpha_bar falls as a sigmoid does between -3 and 3, from 1 to 0."""
    u = np.arange(1001) / 1000
    fall = 1 / (1 + np.exp(6 * u - 3))
    bars = (fall - fall[-1]) / (fall[0] - fall[-1])
    betas = np.clip(1 - bars[1:] / bars[:-1], 0, 0.999)
    schedule = page.from_betas(torch.tensor(betas, dtype=torch.float32))  # their buffers are float32
    assert schedule.T == 1000 and betas.min() > 0 and betas[-1] == 0.999
    np.testing.assert_allclose(schedule.alpha_bar[1:-1], bars[1:-1], rtol=1000 * U)


@pytest.mark.parametrize("schedule", [LINEAR, td.Schedule.cosine(100), page.named("openai", 50)], ids=["linear", "cosine", "short"])
def test_their_posterior_coefficients_and_variances_are_those_of_ours(schedule):
    betas = schedule.beta[1:].numpy()
    bars = np.cumprod(1 - betas)
    before = np.append(1.0, bars[:-1])
    coef1 = betas * np.sqrt(before) / (1 - bars)
    coef2 = (1 - before) * np.sqrt(1 - betas) / (1 - bars)
    variance = betas * (1 - before) / (1 - bars)
    T, one = schedule.T, torch.ones(schedule.T, 1, dtype=torch.float64)
    t = torch.arange(1, T + 1)
    np.testing.assert_allclose(td.q_posterior(schedule, one, 0 * one, t).mean[:, 0], coef1, rtol=1e-10)
    np.testing.assert_allclose(td.q_posterior(schedule, 0 * one, one, t).mean[:, 0], coef2, rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(td.q_posterior(schedule, one, one, t).var[:, 0], variance, rtol=1e-10)
    # x_0 from the noise, as sqrt(1/bar) x_t - sqrt(1/bar - 1) eps
    np.testing.assert_allclose(td.x0_from_eps(schedule, one, t, 0 * one)[:, 0], np.sqrt(1 / bars), rtol=1e-10)
    np.testing.assert_allclose(td.x0_from_eps(schedule, 0 * one, t, one)[:, 0], -np.sqrt(1 / bars - 1), rtol=1e-10)
    # OpenAI's log-variance has its second entry in the place of the first: what our learned step has in the bound
    clipped = np.append(variance[1], variance[1:])
    np.testing.assert_allclose(td.p_step(schedule, one, t, one, "beta_tilde").var[:, 0], clipped, rtol=1e-10)
    # ... for FIXED_LARGE too, where ours keeps beta_1: the one difference that the page names
    large = np.append(variance[1], betas[1:])
    ours = td.p_step(schedule, one, t, one, "beta").var[:, 0].numpy()
    np.testing.assert_allclose(ours[1:], large[1:], rtol=1e-13)
    assert ours[0] == betas[0] > large[0]


def test_the_weights_of_lucidrains_turn_every_loss_into_that_of_the_noise():
    class Net(nn.Module):
        def forward(self, xt, t):
            return net(xt, t - 1)

    x0, eps = draw(1, 6, n=1), draw(1, 6, n=2)
    for t in (1, 2, 400, 1000):
        snr = LINEAR.snr[t]
        xt = td.q_sample(LINEAR, x0, t, eps)
        for predict, weight in {"eps": 1.0, "x0": snr, "v": snr / (snr + 1)}.items():
            ddpm = td.DDPM(Net(), LINEAR, predict=predict)
            error = (ddpm.eps(xt, torch.tensor([t])) - eps).square().mean()
            close(weight * ddpm(x0, t=t, eps=eps), error, 1e-9)


@pytest.mark.parametrize("T", [1000, 50, 37])
def test_the_ddim_times_of_lucidrains_are_ours_up_to_rounding(T):
    for steps in range(1, T):
        there = [int(i) + 1 for i in np.linspace(-1, T - 1, steps + 1, dtype=np.float32)]
        assert np.abs(np.subtract(there, ddim_times(T, steps))).max() <= 1
        exact = [int(i) + 1 for i in np.round(np.linspace(-1, T - 1, steps + 1), 9)]
        assert exact == ddim_times(T, steps)


# ---- labels and guidance ----

XT, AT = draw(6, 2, n=3), torch.tensor([1, 5, 10, 12, 19, 20])


@pytest.mark.parametrize("guidance", [-1.0, 0.0, 0.5, 1.0, 2.0, 7.5])
def test_guidance_is_that_of_diffusers_and_one_more_than_that_of_the_paper(guidance):
    network, c = Exact(), torch.arange(6)
    told, untold = network(XT, AT, c), network(XT, AT)
    ours = td.DDPM(network, SCHEDULE).given(c, guidance).eps(XT, AT)
    close(page.guided(told, untold, guidance), ours, 1e-12)
    close(page.guided_by_w(told, untold, guidance - 1), ours, 1e-12)
    close(guidance * told + (1 - guidance) * untold, ours, 1e-12)  # Saharia et al., Eq. (2)


def by_cond_scale(logits, null_logits, cond_scale, rescaled_phi=0.0, remove_parallel_component=True):
    """forward_with_cond_scale of lucidrains, once it has both answers."""
    update = logits - null_logits
    if remove_parallel_component:
        unit = logits / logits.norm(dim=1, keepdim=True)
        update = update - (update * unit).sum(dim=1, keepdim=True) * unit
    scaled = logits + update * (cond_scale - 1)
    rescaled = scaled * logits.std(dim=1, keepdim=True) / scaled.std(dim=1, keepdim=True)
    return rescaled * rescaled_phi + scaled * (1 - rescaled_phi)


def test_guidance_is_the_cond_scale_of_lucidrains_where_nothing_is_taken_out_or_rescaled():
    told, untold = draw(4, 30, n=1), draw(4, 30, n=2)
    for guidance in (0.0, 1.0, 6.0):
        ours = page.guided(told, untold, guidance)
        close(by_cond_scale(told, untold, guidance, remove_parallel_component=False), ours, 1e-12)
        for other in ({"remove_parallel_component": True}, {"remove_parallel_component": False, "rescaled_phi": 0.7}):
            assert (guidance == 1) == torch.allclose(by_cond_scale(told, untold, guidance, **other), ours)
    assert inspect.signature(td.fit).parameters["drop"].default == 0.1


def test_the_gradient_of_an_exact_classifier_is_guidance():
    """cond_fn of guided-diffusion for the ring, in its ddim_sample (condition_score) and in its p_sample (condition_mean)."""
    exact, k = td.DDPM(Exact(), SCHEDULE), 3
    for t in (1, 5, 12, 20):
        x = XT.clone().requires_grad_()
        law = RING.marginal(SCHEDULE, t)
        each = -(x[:, None] - law.means).square().sum(dim=2) / (2 * law.variances[:, 0])  # of equal weights and widths
        (gradient,) = torch.autograd.grad(each.log_softmax(dim=1)[:, k].sum(), x)
        alpha, beta, noise = SCHEDULE.alpha[t], SCHEDULE.beta[t], SCHEDULE.one_minus_alpha_bar[t].sqrt()
        told, untold = exact.given(k).eps(XT, t), exact.eps(XT, t)
        close(told - untold, -noise * gradient, 1e-9)
        for scale in (1.0, 2.5):
            close(untold - noise * scale * gradient, exact.given(k, scale).eps(XT, t), 1e-9)
            close(told - noise * scale * gradient, exact.given(k, scale + 1).eps(XT, t), 1e-9)  # class_cond
            plain, guided = (td.p_step(SCHEDULE, XT, t, eps).mean for eps in (untold, exact.given(k, scale).eps(XT, t)))
            close(scale * beta * gradient, alpha.sqrt() * (guided - plain), 1e-9)  # FIXED_LARGE
            assert t == 1 or SCHEDULE.beta_tilde[t] < beta  # FIXED_SMALL, still less


class Embedded(nn.Module):
    """A network of theirs that is told labels, three and one for none: its t runs from 0."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 2)

    def forward(self, x, t, y):
        return net(x, t) + self.table(y).to(x)


def test_a_network_of_theirs_with_one_class_more_is_guided_and_trained():
    torch.manual_seed(0)
    theirs, x, t, c = Embedded(), draw(4, 2), torch.tensor([1, 2, 9, 20]), torch.tensor([0, 1, 2, 0])
    ddpm = td.DDPM(page.TheirsTold(theirs, 3), SCHEDULE)
    told, untold = theirs(x, t - 1, c), theirs(x, t - 1, torch.full((4,), 3))
    close(ddpm.eps(x, t), untold, 0)
    for guidance in (0.0, 1.0, 4.0):
        close(ddpm.given(c, guidance).eps(x, t), page.guided(told, untold, guidance), 1e-6)
        close(page.Ours(ddpm.given(c, guidance).model)(x, t - 1, c), ddpm.given(c, guidance).eps(x, t), 0)
    before = theirs.table.weight.detach().clone()
    td.fit(ddpm, draw(50, 2, dtype=torch.float32), steps=9, c=torch.arange(50) % 2, drop=0.5, progress=False)
    assert (theirs.table.weight != before).any(dim=1).tolist() == [True, True, False, True]  # no example has label 2
    with pytest.raises(ValueError, match=r"^c = 3 is outside 0\.\.2$"):
        ddpm.given(3)


# ---- what the tests of diffusers assert (tests/schedulers of that repository), by our functions alone ----


def ramp(down=False):
    """The picture that their loops start from, and their noise: 0, 1, 2, ... over the number of elements, or down to 0."""
    values = torch.arange(4 * 3 * 8 * 8)
    values = values.flip(0) if down else values
    return (values.reshape(3, 8, 8, 4) / values.numel()).permute(3, 0, 1, 2)


class Dummy(nn.Module):
    """Their model, x t / (t + 1) with t from 0, for ours."""

    def forward(self, xt, t):
        t = (t - 1).to(xt).reshape(-1, 1, 1, 1)
        return xt * t / (t + 1)


def ddpm(predict="eps", schedule=LINEAR):
    """Their defaults: clip_sample=True, and variance_type="fixed_small"."""
    return td.DDPM(Dummy(), schedule, predict=predict, variance="beta_tilde", clip=(-1, 1))


def assert_is(x, total, mean, tol=1e-2):
    assert abs(x.abs().sum().item() - total) < tol and abs(x.abs().mean().item() - mean) < 1e-3  # their tolerances


@pytest.mark.parametrize(("t", "value"), [(0, 0.0), (487, 0.00979), (999, 0.02)])
def test_ddpm_variance(t, value):
    assert abs(LINEAR.beta_tilde[t + 1] - value) < 1e-5


@pytest.mark.parametrize(
    ("t", "before", "value"), [(420, 400, 0.14771), (980, 960, 0.32460), (487, 486, 0.00979), (999, 998, 0.02)]
)
def test_ddim_variance(t, before, value):
    short, _ = page.respaced(LINEAR, None, [before + 1, t + 1])
    assert abs(short.beta_tilde[2] - value) < 1e-5


@pytest.mark.parametrize(("predict", "total", "mean"), [("eps", 258.9606, 0.3372), ("v", 202.0296, 0.2631)])
def test_ddpm_full_loop(predict, total, mean):
    """Noise included: we draw it in the same order, from the same generator."""
    assert_is(ddpm(predict).sample((4, 3, 8, 8), x_T=ramp(), generator=seed()), total, mean)


def test_ddpm_full_loop_by_the_step_of_the_page():
    x, generator = ramp(), seed()
    for i in reversed(range(1000)):
        x = page.step(LINEAR, x * i / (i + 1), i, x, generator)
    assert_is(x, 258.9606, 0.3372)


def test_ddpm_loop_from_the_second_last_step():
    x = page.add_noise(LINEAR, ramp(), ramp(down=True), torch.tensor(1))
    x0 = page.from_the_middle(LINEAR, ddpm().eps, x, 2, variance="beta_tilde", generator=seed())
    # Two small steps, in which their float32 tables show: the weights of x_0 and x_t are off together by 5e-5, and so is the sum.
    assert_is(x0, 387.9466, 0.5051, tol=387.9466 * 1e-4)


def three():
    """Their batch of three pictures at their times 0, 1 and 2."""
    x = torch.cat([ramp(), ramp() + 0.1, ramp() - 0.1])
    t = torch.arange(1, 4).repeat_interleave(4)
    return x, t, ddpm().x0(x, t)


def test_ddpm_batch_step_without_noise():
    x, t, x0 = three()
    assert_is(td.q_posterior(LINEAR, x0, x, t).mean, 1153.1833, 0.5005)


def test_ddim_batch_step_without_noise():
    assert_is(three()[2], 1147.7904, 0.4982)  # with ten steps of 100, each of the three goes to x_0 at once


def leading(x, predict="eps", schedule=LINEAR, last=0, start=901):
    """DDIM with ten steps as diffusers does it: "leading", and after clipping x_0 the noise as it was predicted.

    Neither is ours, so it is put together: the step from t to s is x_s for the predicted data and noise.
    """
    to_x0 = {"eps": td.x0_from_eps, "v": td.x0_from_v}[predict]
    for t in range(start, 0, -100):
        answer, s = Dummy()(x, torch.full((4,), t)), t - 100 if t > 100 else last
        eps = answer if predict == "eps" else td.eps_from_v(schedule, x, t, answer)
        x0 = to_x0(schedule, x, t, answer).clamp(-1, 1)
        x = td.q_sample(schedule, x0, s, eps) if s else x0
    return x


@pytest.mark.parametrize(("predict", "total", "mean"), [("eps", 172.0067, 0.223967), ("v", 52.5302, 0.0684)])
def test_ddim_full_loop(predict, total, mean):
    assert_is(leading(ramp(), predict), total, mean)


@pytest.mark.parametrize(("last", "total", "mean"), [(0, 149.8295, 0.1951), (1, 149.0784, 0.1941)])
def test_ddim_full_loop_with_and_without_set_alpha_to_one(last, total, mean):
    assert_is(leading(ramp(), schedule=td.Schedule.linear(1000, 0.01, 0.02), last=last), total, mean)


def test_ddim_loop_from_the_second_last_step():
    x = page.add_noise(LINEAR, ramp(), ramp(down=True), torch.tensor(100))
    assert_is(leading(x, start=101), 354.5418, 0.4616)


# ---- diffusers itself ----


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers", reason="diffusers is not installed: its own test values above still hold ours")


def exact_tables(scheduler, schedule):
    """Their scheduler with our tables in the place of its float32 ones: what is left to differ is the formulas."""
    scheduler.alphas_cumprod = schedule.alpha_bar[1:].clone()
    if not getattr(scheduler.config, "set_alpha_to_one", True):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def bar_error(i):
    """How far their alphas_cumprod[i] may be off, relatively: two roundings for each factor."""
    return 2 * (i + 1) * U


def step_error(schedule, i):
    """How far the coefficients of a step at their time i may be off, relatively, because of float32 tables.

    They are made of 1 - alphas_cumprod at two times, and of beta as 1 minus a ratio of neighbours, in which all but the last
    factor's roundings cancel.
    """
    noise = schedule.one_minus_alpha_bar
    return bar_error(i) / noise[i + 1] + (bar_error(i - 1) / noise[i] + 4 * U / schedule.beta[i + 1] if i else 0) + 8 * U


@pytest.mark.parametrize("name", SCHEDULES)
def test_their_schedules_are_ours_up_to_float32(diffusers, name):
    scheduler = diffusers.DDPMScheduler(beta_schedule=name)
    theirs = scheduler.alphas_cumprod.double()
    carried, made = page.from_betas(scheduler.betas), page.named(name, 1000)
    i = torch.arange(1000)
    assert torch.equal(carried.beta[1:], scheduler.betas.double())
    assert ((theirs / carried.alpha_bar[1:] - 1).abs() <= bar_error(i)).all()
    # Made here, beta is not rounded: a few roundings of theirs, and of sigmoid(-6) or of 1 - ratio for the cosine an absolute one.
    close(scheduler.betas.double(), made.beta[1:], 1e-6)
    spread = torch.cumsum((carried.beta - made.beta).abs() / made.alpha, 0)[1:]
    assert ((carried.alpha_bar / made.alpha_bar - 1).abs()[1:] <= 1.01 * spread).all()


def test_their_noise_at_the_first_step_is_off_by_what_the_page_says(diffusers):
    scheduler = diffusers.DDPMScheduler()
    off = (1 - scheduler.alphas_cumprod[0].double()) / page.from_betas(scheduler.betas).one_minus_alpha_bar[1] - 1
    assert 1 / 6500 < abs(off) < 1 / 5500


def test_our_variances_make_their_scheduler(diffusers):
    for schedule in (td.Schedule.cosine(50), td.Schedule([0.1, 0.3, 0.5])):
        for scheduler_class in (diffusers.DDPMScheduler, diffusers.DDIMScheduler):
            scheduler = page.to_diffusers(schedule, scheduler_class, clip_sample=False)
            assert len(scheduler) == schedule.T and len(scheduler.timesteps) == schedule.T and not scheduler.config.clip_sample
            close(scheduler.betas, schedule.beta[1:].float(), 0)
            back = page.from_betas(scheduler.betas).alpha_bar[1:]  # of the variances as rounded to float32
            assert ((scheduler.alphas_cumprod / back - 1).abs() <= bar_error(torch.arange(schedule.T))).all()


@pytest.mark.parametrize("name", SCHEDULES)
def test_add_noise_and_get_velocity_at_every_time_step(diffusers, name):
    scheduler = diffusers.DDPMScheduler(beta_schedule=name)
    schedule, i = page.from_betas(scheduler.betas), torch.arange(1000)
    x0, noise = draw(1000, 3, n=1), draw(1000, 3, n=2)
    noisy = scheduler.add_noise(x0.float(), noise.float(), i)
    v = scheduler.get_velocity(x0.float(), noise.float(), i)
    # sqrt(bar) is off by half of bar's relative error, and sqrt(1 - bar) by half of that error over 1 - bar.
    signal, rest = schedule.alpha_bar[1:].sqrt(), schedule.one_minus_alpha_bar[1:].sqrt()
    off = bar_error(i) / 2 * (signal + signal**2 / rest) + 4 * U
    bound = off[:, None] * (x0.abs() + noise.abs())
    assert ((noisy - page.add_noise(schedule, x0, noise, i)).abs() <= bound).all()
    assert ((v - page.get_velocity(schedule, x0, noise, i)).abs() <= bound).all()
    exact_tables(scheduler, schedule)
    close(scheduler.add_noise(x0, noise, i), page.add_noise(schedule, x0, noise, i), 1e-11)
    close(scheduler.get_velocity(x0, noise, i), page.get_velocity(schedule, x0, noise, i), 1e-11)
    # ... which is the v of our functions, from x_t.
    xt = td.q_sample(schedule, x0, i + 1, noise)
    close(scheduler.get_velocity(x0, noise, i), td.v_from_x0(schedule, xt, i + 1, x0), 1e-9)


@pytest.mark.parametrize("name", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("clip", [None, 1, 0.6])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_step(diffusers, kind, variance, clip, name):
    options = {
        "prediction_type": kind,
        "variance_type": variance,
        "clip_sample": clip is not None,
        "clip_sample_range": clip or 1.0,
    }
    scheduler = diffusers.DDPMScheduler(beta_schedule=name, **options)
    schedule = page.from_betas(scheduler.betas)
    x, out = draw(4, 3, 2, n=1, dtype=torch.float32), draw(4, 3, 2, n=2, dtype=torch.float32)
    to_x0 = {"epsilon": td.x0_from_eps, "v_prediction": td.x0_from_v, "sample": lambda s, x, t, known: known}[kind]
    for i in SPOTS:
        t = i + 1
        theirs = scheduler.step(out, i, x, seed(5)).prev_sample  # noise included: both draw it first, in the same shape
        x0 = to_x0(schedule, x, t, out).abs().max()
        amplified = 1 / schedule.alpha_bar[t].sqrt() if kind == "epsilon" else 1  # roundings in x_0, before it is clipped
        size = (x0 if clip is None else clip) + 2 * x.abs().max() + draw(4, 3, 2, n=5, dtype=torch.float32).abs().max()
        bound = step_error(schedule, i) * size + 8 * U * amplified * x.abs().max()
        assert (theirs - page.step(schedule, out, i, x, seed(5), kind, variance, clip)).abs().max() <= bound, i
    exact_tables(scheduler, schedule)
    for i in SPOTS:
        theirs = scheduler.step(out.double(), i, x.double(), seed(5))
        close(theirs.prev_sample, page.step(schedule, out.double(), i, x.double(), seed(5), kind, variance, clip), 1e-9)
        if clip is None:
            close(theirs.pred_original_sample, to_x0(schedule, x.double(), i + 1, out.double()), 1e-9)


def their_loop(scheduler, x, generator, **options):
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t), t, x, generator=generator, **options).prev_sample
    return x


@pytest.mark.parametrize("clip", [None, (-1, 1)])
@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("kind", KINDS)
def test_whole_ancestral_loops_with_the_same_noise(diffusers, kind, variance, clip):
    options = {"prediction_type": kind, "variance_type": variance, "clip_sample": clip is not None}
    schedule = page.named("openai", 200)
    ours = td.DDPM(page.Theirs(net), schedule, KINDS[kind], VARIANCES[variance], clip)
    x_T = draw(2, 3, 4, 4)
    scheduler = page.to_diffusers(schedule, diffusers.DDPMScheduler, **options)
    x0 = ours.sample(x_T.shape, x_T=x_T, generator=seed(1))
    theirs = their_loop(exact_tables(scheduler, schedule), x_T, seed(1))
    close(theirs, x0, 1e-8)
    # And as it comes, in float32 throughout: each step's error is at most the worst one's, and the chain forgets.
    scheduler = page.to_diffusers(schedule, diffusers.DDPMScheduler, **options)
    theirs = their_loop(scheduler, x_T.float(), seed(1))
    x0 = ours.sample(x_T.shape, x_T=x_T.float(), generator=seed(1))
    worst = max(step_error(schedule, i).item() for i in range(200))
    assert (theirs - x0).abs().max() <= 3 * worst * x0.abs().max()


@pytest.mark.parametrize("steps", [1, 4, 10, 200])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("kind", "clip"), [("epsilon", None), ("v_prediction", None), ("sample", None), ("v_prediction", (-1, 1))])
def test_whole_ddim_loops_where_the_times_coincide(diffusers, kind, clip, eta, steps):
    """That is with "trailing" and steps that divide T; clipped, if the noise is made to fit the clipped data."""
    schedule, x_T = page.named("openai", 200), draw(2, 3, 4, 4)
    options = {"prediction_type": kind, "clip_sample": clip is not None, "timestep_spacing": "trailing"}
    scheduler = exact_tables(page.to_diffusers(schedule, diffusers.DDIMScheduler, **options), schedule)
    scheduler.set_timesteps(steps)
    assert [0, *reversed((scheduler.timesteps + 1).tolist())] == ddim_times(200, steps)
    theirs = their_loop(scheduler, x_T, seed(1), eta=eta, use_clipped_model_output=clip is not None)
    ours = td.DDPM(page.Theirs(net), schedule, KINDS[kind], clip=clip)
    close(theirs, ours.sample_ddim(x_T.shape, steps, eta, x_T, generator=seed(1)), 1e-8)


def test_a_ddim_loop_in_float32_as_it_comes(diffusers):
    scheduler = diffusers.DDIMScheduler(clip_sample=False, timestep_spacing="trailing")
    scheduler.set_timesteps(50)
    x_T = draw(2, 3, 4, 4, dtype=torch.float32)
    schedule = page.from_betas(scheduler.betas)
    x0 = td.sample_ddim(schedule, page.Theirs(net), x_T, 50)
    # No step is as small as beta: the errors are those of alphas_cumprod alone, and of 1 - alphas_cumprod at the last step.
    bound = bar_error(999) + bar_error(19) / schedule.one_minus_alpha_bar[20]
    assert (their_loop(scheduler, x_T, None) - x0).abs().max() <= bound * x0.abs().max()


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("steps", [4, 10, 37])
def test_their_other_times_make_a_respaced_chain(diffusers, steps, spacing):
    """Ancestral sampling on any of their grids, and DDIM on "leading", also with an offset."""
    schedule, x_T = LINEAR, draw(2, 3, 4, 4)
    options = {"clip_sample": False, "timestep_spacing": spacing, "steps_offset": int(spacing == "leading")}
    scheduler = exact_tables(page.to_diffusers(schedule, diffusers.DDPMScheduler, **options), schedule)
    scheduler.set_timesteps(steps)
    times = [t + 1 for t in reversed(scheduler.timesteps.tolist())]
    short, model = page.respaced(schedule, page.Theirs(net), times)
    close(their_loop(scheduler, x_T, seed(1)), td.sample(short, model, x_T, "beta_tilde", generator=seed(1)), 1e-8)
    if spacing == "leading":
        ddim = exact_tables(page.to_diffusers(schedule, diffusers.DDIMScheduler, **options), schedule)
        ddim.set_timesteps(steps)
        close(their_loop(ddim, x_T, seed(1), eta=0.5), td.sample_ddim(short, model, x_T, steps, 0.5, generator=seed(1)), 1e-8)


def test_what_the_page_says_of_their_times(diffusers):
    def grid(spacing, steps):
        scheduler = diffusers.DDIMScheduler(timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        return [0, *reversed((scheduler.timesteps + 1).tolist())]

    assert grid("leading", 4) == [0, 1, 251, 501, 751] and ddim_times(1000, 4) == [0, 250, 500, 750, 1000]
    for steps in range(1, 1001):
        same = grid("trailing", steps) == ddim_times(1000, steps)
        assert same or 1000 % steps  # where it divides T, they are the same
    # Where it does not, or with "linspace", a step of DDIM does not end where the next begins.
    for spacing, steps in [("trailing", 37), ("linspace", 10)]:
        times = grid(spacing, steps)[:0:-1]
        assert any(t - 1000 // steps != s for t, s in itertools.pairwise(times))


def test_without_set_alpha_to_one_the_last_state_is_the_one_before_x0(diffusers):
    schedule, x_T, states = page.named("openai", 200), draw(2, 3, 4, 4), {}
    options = {"clip_sample": False, "timestep_spacing": "leading", "set_alpha_to_one": False, "steps_offset": 1}
    scheduler = exact_tables(page.to_diffusers(schedule, diffusers.DDIMScheduler, **options), schedule)
    scheduler.set_timesteps(10)
    times = [1, *(t + 1 for t in reversed(scheduler.timesteps.tolist()))]
    short, model = page.respaced(schedule, page.Theirs(net), times)
    td.sample_ddim(short, model, x_T, len(times), callback=lambda t, x: states.update({t: x}))
    close(their_loop(scheduler, x_T, None), states[1], 1e-8)


def test_the_variance_types_are_what_the_page_says(diffusers):
    x = draw(2, 3, n=1, dtype=torch.float32)

    def drawn(variance, i):
        return diffusers.DDPMScheduler(variance_type=variance).step(0 * x, i, x, seed(2)).prev_sample

    close(drawn("fixed_small_log", 500), drawn("fixed_small", 500), 1e-6)
    assert drawn("fixed_large_log", 500).isnan().all()
    for variance in ("fixed_small", "fixed_small_log", "fixed_large", "fixed_large_log"):
        assert torch.equal(drawn(variance, 0), drawn("fixed_small", 0))  # no noise in the last step of sampling
    defaults = diffusers.DDPMScheduler().config
    assert (defaults.variance_type, defaults.clip_sample, defaults.timestep_spacing) == ("fixed_small", True, "leading")
    assert defaults.beta_schedule == "linear" and defaults.prediction_type == "epsilon"


def test_a_network_of_theirs_works_in_our_functions_and_one_of_ours_in_their_loop(diffusers):
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ).eval()  # fmt: skip
    schedule, x_T = td.Schedule.cosine(20), draw(2, 1, 8, 8, dtype=torch.float32)
    ours = td.DDPM(page.Theirs(unet), schedule, "v", "beta_tilde", (-1, 1))
    for network in (unet, page.Ours(page.Theirs(unet))):
        scheduler = page.to_diffusers(schedule, diffusers.DDPMScheduler, prediction_type="v_prediction")
        x, generator = x_T, seed(3)
        with torch.no_grad():
            for t in scheduler.timesteps:
                answer = network(x, t)
                answer = answer if isinstance(answer, torch.Tensor) else answer.sample
                x = scheduler.step(answer, t, x, generator).prev_sample
        close(x, ours.sample(x_T.shape, x_T=x_T, generator=seed(3)), 1e-4)


def test_a_network_of_theirs_with_class_labels_is_guided_as_in_their_loops(diffusers):
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"), num_class_embeds=4,
    ).eval()  # fmt: skip
    x, i, c = draw(2, 1, 8, 8, dtype=torch.float32), torch.tensor([3, 19]), torch.tensor([0, 2])
    with pytest.raises(ValueError, match="class_labels should be provided"):
        unet(x, i)
    with torch.no_grad():
        told, untold = (unet(x, i, class_labels=y).sample for y in (c, torch.full((2,), 3)))
        ours = td.DDPM(page.TheirsTold(unet, 3), td.Schedule.cosine(20)).given(c, guidance=4.0).eps(x, i + 1)
    close(ours, page.guided(told, untold, 4.0), 1e-4)
    assert not torch.allclose(told, untold, atol=1e-3)


def test_the_two_formulas_of_their_guider_are_those_of_the_page(diffusers):
    told, untold = draw(2, 3, n=1), draw(2, 3, n=2)
    for original, ours in {False: page.guided, True: page.guided_by_w}.items():
        guider = diffusers.guiders.ClassifierFreeGuidance(guidance_scale=4.0, use_original_formulation=original)
        guider.set_state(step=0, num_inference_steps=10, timestep=torch.tensor(900))
        close(guider.forward(told, untold).pred, ours(told, untold, 4.0), 1e-12)


def test_a_network_that_both_sides_have_goes_there_and_comes_back_with_its_bound(diffusers, tmp_path):
    torch.manual_seed(0)
    ddpm = td.DDPM(page.small_network(8, channels=1), td.Schedule.cosine(20), "v", "beta_tilde", (-1, 1)).eval()
    ddpm.to_diffusers(tmp_path)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path)
    pipeline.set_progress_bar_config(disable=True)
    (theirs,) = pipeline(batch_size=2, generator=seed(3), num_inference_steps=20, output_type="pt", return_dict=False)
    generator = seed(3)
    ours = ddpm.sample((2, 1, 8, 8), torch.randn(2, 1, 8, 8, generator=generator), generator=generator)
    close(torch.as_tensor(theirs), (ours / 2 + 0.5).clamp(0, 1), 1e-4)
    assert td.load_diffusers(tmp_path).example_shape == (1, 8, 8)
    pictures = torch.randint(256, (3, 1, 8, 8), generator=seed(4))
    torch.manual_seed(5)
    bits = page.bits(tmp_path, pictures)
    torch.manual_seed(5)
    close(bits, td.bits_per_dim(ddpm.vlb(pictures / 127.5 - 1, levels=256).total, 64), 1e-12)


def test_zero_terminal_snr_has_a_variance_of_one_which_we_refuse(diffusers):
    with pytest.raises(ValueError, match=r"beta\[999\] = 1.0 is outside"):
        page.from_betas(diffusers.DDPMScheduler(rescale_betas_zero_snr=True).betas)
