"""The one object: three ways to predict that are the same, clipping, and what it hands to the functions of the package."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tinyddpm as td
from tinyddpm import checkpoint
from tinyddpm._registry import describe
from tinyddpm.exact import GaussianMixture

SCHEDULE = td.Schedule.linear(50, 1e-3, 0.1)
DATA = GaussianMixture([[-1.0, 0.5], [1.0, 0.0], [0.2, -2.0]], [0.3, 0.05, 0.2])
PREDICTIONS = ["eps", "x0", "v"]
WEIGHTS = Path(td.__file__).parent / "weights"


def seed(n):
    return torch.Generator().manual_seed(n)


def randn(n, *shape):
    return torch.randn(shape, generator=seed(n), dtype=torch.float64)


class Exact(nn.Module):
    """The best denoiser, in the words of a prediction."""

    def __init__(self, predict="eps"):
        super().__init__()
        self.best = DATA.eps(SCHEDULE)
        self.convert = {"eps": lambda s, xt, t, eps: eps, "x0": td.x0_from_eps, "v": td.v_from_eps}[predict]

    def forward(self, xt, t):
        return self.convert(SCHEDULE, xt, t, self.best(xt, t))


class Function(nn.Module):
    """A function of (x_t, t) as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, xt, t):
        return self.function(xt, t)


class Dropout(nn.Module):
    """A network with two parts that behave differently in training."""

    def __init__(self):
        super().__init__()
        self.net, self.drop, self.frozen = nn.Linear(2, 2), nn.Dropout(0.5), nn.Dropout(0.5)

    def forward(self, xt, t):
        return self.frozen(self.drop(self.net(xt)))


def small(**changed):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = changed.pop("model", None) or td.MLP(2, 8, 1)
    return td.DDPM(network, **{"schedule": SCHEDULE, **changed})


def close(a, b, tol=1e-10):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


def test_the_loss_for_eps_is_the_simple_loss():
    ddpm, x0 = small(), torch.randn(6, 2, generator=seed(1))
    assert torch.equal(ddpm(x0, generator=seed(2)), td.simple_loss(SCHEDULE, ddpm.model, x0, generator=seed(2)))
    t, eps = torch.tensor([1, 2, 3, 4, 5, 50]), torch.randn(6, 2, generator=seed(3))
    assert torch.equal(ddpm(x0, t, eps), td.simple_loss(SCHEDULE, ddpm.model, x0, t, eps))


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_the_loss_is_the_squared_error_of_what_is_predicted(predict):
    ddpm = small(predict=predict).double()
    x0, eps, t = randn(1, 4, 2), randn(2, 4, 2), torch.tensor([1, 10, 20, 50])
    bar = torch.cumprod(1 - SCHEDULE.beta, 0)[t][:, None]
    xt = bar.sqrt() * x0 + (1 - bar).sqrt() * eps
    target = {"eps": eps, "x0": x0, "v": bar.sqrt() * eps - (1 - bar).sqrt() * x0}[predict]
    close(ddpm(x0, t, eps), ((target - ddpm.model(xt, t)) ** 2).mean())


@pytest.mark.parametrize("t", [1, 500, 1000])
def test_the_velocity_to_learn_keeps_its_digits_in_single_precision(t):
    """The division by sqrt(alpha_bar_t), 0.00005 at the end, would cost four of the seven."""
    schedule, x0, eps = td.Schedule.cosine(1000), torch.randn(64, 2, generator=seed(1)), torch.randn(64, 2, generator=seed(2))
    bar = schedule.alpha_bar[t]
    v = (bar.sqrt() * eps.double() - schedule.one_minus_alpha_bar[t].sqrt() * x0.double()).float()
    answer = torch.nn.Module()
    answer.forward = lambda xt, t: v
    assert td.DDPM(answer, schedule, "v")(x0, t, eps).sqrt() < 3e-7


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_what_is_not_given_is_drawn_in_the_same_order_for_all(predict):
    """The steps, then the noise."""
    ddpm, x0, generator = small(predict=predict), torch.randn(5, 2, generator=seed(1)), seed(4)
    t = torch.randint(1, 51, (5,), generator=generator)
    eps = torch.randn(5, 2, generator=generator)
    close(ddpm(x0, generator=seed(4)), ddpm(x0, t, eps), 1e-6)


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_the_best_denoiser_is_the_same_in_all_words(predict):
    ddpm, plain = td.DDPM(Exact(predict), SCHEDULE, predict), Exact()
    xt, t = randn(1, 5, 2), torch.tensor([1, 2, 10, 40, 50])
    close(ddpm.eps(xt, t), plain(xt, t))
    close(ddpm.x0(xt, t), td.x0_from_eps(SCHEDULE, xt, t, plain(xt, t)))
    x_T = randn(2, 4, 2)
    close(ddpm.sample((4, 2), x_T, generator=seed(3)), td.sample(SCHEDULE, plain, x_T, generator=seed(3)), 1e-9)
    close(
        ddpm.sample_ddim((4, 2), 10, 0.5, x_T, generator=seed(3)),
        td.sample_ddim(SCHEDULE, plain, x_T, 10, 0.5, generator=seed(3)),
        1e-9,
    )
    ours, theirs = ddpm.vlb(randn(5, 3, 2), generator=seed(4)), td.vlb_terms(SCHEDULE, plain, randn(5, 3, 2), generator=seed(4))
    close(ours.total, theirs.total, 1e-9)


def test_any_callable_is_a_model_but_training_and_saving_want_a_module(tmp_path):
    best, x0 = DATA.eps(SCHEDULE), torch.randn(5, 2, generator=seed(1))
    ddpm = td.DDPM(best, SCHEDULE)
    assert torch.equal(ddpm(x0, generator=seed(2)), td.simple_loss(SCHEDULE, best, x0, generator=seed(2)))
    assert torch.equal(ddpm.vlb(x0, generator=seed(2)).total, td.vlb_terms(SCHEDULE, best, x0, generator=seed(2)).total)
    assert ddpm.sample((3, 2)).shape == ddpm.sample_ddim((3, 2)).shape == (3, 2) and not list(ddpm.parameters())
    for call in (lambda: td.fit(ddpm, x0, steps=1, progress=False), lambda: ddpm.save(tmp_path / "new")):
        with pytest.raises(TypeError, match=r"^ddpm\.model is of type function, expected a Module$"):
            call()
    assert not (tmp_path / "new").exists()


def test_the_shape_of_an_example_is_known_once_data_were_seen(tmp_path):
    ddpm = small()
    assert ddpm.example_shape is None
    td.fit(ddpm, torch.randn(20, 2, generator=seed(1)), steps=1, progress=False, checkpoint=tmp_path / "run")
    ddpm.save(tmp_path / "saved")
    small().save(tmp_path / "new")
    shapes = [td.load(tmp_path / name).example_shape for name in ("run", "saved", "new")]
    assert ddpm.example_shape == (2,) and shapes == [(2,), (2,), None]
    assert {name: td.load_pretrained(name).example_shape for name in ("digits", "two_moons")} == {
        "digits": (1, 8, 8),
        "two_moons": (2,),
    }


def test_nothing_looks_at_steps_that_we_have_drawn_ourselves(monkeypatch):
    def look(*_):
        raise AssertionError("a step was looked at")

    for where in ("_rates", "loss", "ddpm", "schedule"):
        monkeypatch.setattr(f"tinyddpm.{where}.check_time", look)
    for predict in PREDICTIONS:
        ddpm = small(predict=predict, clip=(-1, 1))
        td.fit(ddpm, torch.randn(20, 2, generator=seed(1)), steps=3, progress=False)
        ddpm(torch.ones(3, 2)), ddpm.sample((3, 2)), ddpm.sample_ddim((3, 2), 5, 0.5), ddpm.vlb(torch.ones(3, 2))
    with pytest.raises(AssertionError, match="a step was looked at"):
        ddpm(torch.ones(3, 2), torch.tensor([1, 2, 3]))


def test_what_is_put_in_the_place_of_eps_or_the_loss_is_asked():
    """On an object as in a subclass; hooks of the module too."""
    asked, x0 = [], torch.randn(20, 2, generator=seed(1))
    for name, calls in (
        ("eps", [lambda d: d.sample((2, 2)), lambda d: d.sample_ddim((2, 2), 5), lambda d: d.vlb(x0)]),
        ("forward", [lambda d: td.fit(d, x0, steps=2, progress=False)]),
    ):
        for call in calls:
            ddpm = small()
            own = getattr(ddpm, name)
            setattr(ddpm, name, lambda *args: asked.append(0) or own(*args))  # noqa: B023
            asked.clear()
            call(ddpm)
            assert len(asked) >= 2
    ddpm = small()
    ddpm.register_forward_hook(lambda *_: asked.append(0))
    asked.clear()
    td.fit(ddpm, x0, steps=2, progress=False)
    assert len(asked) == 2


def test_samples_of_another_eps_are_cut_off_at_the_end_only():
    class Guided(td.DDPM):
        def eps(self, xt, t):
            return 0.5 * super().eps(xt, t)

    guided, x_T = Guided(Exact(), SCHEDULE, clip=(-0.5, 0.5)), randn(1, 40, 2)
    free = td.sample(SCHEDULE, guided.eps, x_T, generator=seed(2))
    assert free.abs().max() > 0.6
    assert torch.equal(guided.sample((40, 2), x_T, generator=seed(2)), free.clamp(-0.5, 0.5))
    assert torch.equal(guided.vlb(x_T, eps=x_T).total, td.vlb_terms(SCHEDULE, guided.eps, x_T, eps=x_T).total)


def test_a_subclass_is_loaded_as_a_ddpm_without_what_it_has_besides(tmp_path):
    class Scaled(td.DDPM):
        def __init__(self, *args):
            super().__init__(*args)
            self.register_buffer("weight", torch.ones(3))
            self.extra = nn.Linear(2, 2)

    class Mine(td.Schedule):
        pass

    schedule = Mine([0.1, 0.2])
    td.fit(Scaled(small().model, schedule), randn(1, 9, 2).float(), steps=1, progress=False, checkpoint=tmp_path / "run")
    Scaled(small().model, schedule).save(tmp_path / "saved")
    for name in ("run", "saved"):
        again = td.load(tmp_path / name)
        assert type(again) is td.DDPM and torch.equal(again.schedule.beta, schedule.beta) and type(again.model) is td.MLP
    with pytest.raises(ValueError, match=r"beta = \[0\.1, 0\.2\] in the checkpoint in .*, expected \[0\.1, 0\.3\] as in this run"):
        td.fit(Scaled(small().model, Mine([0.1, 0.3])), randn(1, 9, 2).float(), steps=2, progress=False, resume=tmp_path / "run")


def test_a_compiled_ddpm_is_trained_and_its_checkpoint_is_that_of_the_plain_one(tmp_path):
    ddpm, graphs = small(), []
    compiled = torch.compile(ddpm, backend=lambda graph, _: graphs.append(0) or graph.forward)
    td.fit(compiled, torch.randn(9, 2, generator=seed(1)), steps=2, batch_size=4, progress=False, checkpoint=tmp_path)
    assert graphs and all(torch.equal(a, b) for a, b in zip(td.load(tmp_path).parameters(), ddpm.parameters(), strict=True))
    assert ddpm.example_shape == (2,)


def test_only_a_ddpm_is_fitted():
    other = nn.Module()
    other.schedule, other.model = SCHEDULE, td.MLP(2, 8, 1)
    with pytest.raises(TypeError, match=r"^ddpm is of type Module, expected a DDPM$"):
        td.fit(other, torch.zeros(3, 2), steps=1)


def test_a_subclass_may_change_the_loss_and_fit_minimises_it():
    class Weighted(td.DDPM):
        def forward(self, x0, t, eps):
            return 3 * super().forward(x0, t, eps)

    plain, weighted, x0 = small(), Weighted(small().model, SCHEDULE), torch.randn(20, 2, generator=seed(1))
    once, thrice = (td.fit(ddpm, x0, steps=1, progress=False) for ddpm in (plain, weighted))
    close(thrice, 3 * once, 1e-6)


def test_a_subclass_may_change_the_prediction():
    """Guidance, for instance, is another `eps`: sampling and the bound go through it."""

    class Guided(td.DDPM):
        def eps(self, xt, t):
            return 2 * super().eps(xt, t)

    guided, plain, x_T, eps = Guided(td.MLP(2, 8, 1), SCHEDULE), small(), randn(1, 4, 2), randn(2, 4, 2)
    guided.load_state_dict({name: value.clone() for name, value in plain.state_dict().items()})
    guided.double(), plain.double()
    twice = lambda xt, t: 2 * plain.eps(xt, t)  # noqa: E731
    close(guided.sample((4, 2), x_T, generator=seed(3)), td.sample(SCHEDULE, twice, x_T, generator=seed(3)))
    close(guided.sample_ddim((4, 2), 5, x_T=x_T), td.sample_ddim(SCHEDULE, twice, x_T, 5))
    close(guided.vlb(x_T, eps=eps).total, td.vlb_terms(SCHEDULE, twice, x_T, eps=eps).total)


@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_it_hands_everything_on_to_the_functions(variance):
    ddpm, x_T, states = small(variance=variance), torch.randn(4, 2, generator=seed(1)), []
    expected = td.sample(SCHEDULE, ddpm.eps, x_T, variance, generator=seed(2))
    assert torch.equal(ddpm.sample((4, 2), x_T, generator=seed(2), callback=lambda t, x: states.append(t)), expected)
    assert states == list(range(50, -1, -1))
    expected = td.sample_ddim(SCHEDULE, ddpm.eps, x_T, 7, 0.4, generator=seed(2))
    assert torch.equal(ddpm.sample_ddim((4, 2), 7, 0.4, x_T, generator=seed(2), callback=lambda t, x: states.append(t)), expected)
    assert states[51:] == [50, 42, 35, 28, 21, 14, 7, 0]
    x0, eps = torch.tensor([[-1.0, 1.0], [0.0, 1.0]]), torch.randn(2, 2, generator=seed(3))
    for more in ({"generator": seed(4)}, {"levels": 3, "generator": seed(4)}, {"eps": eps}):
        ours = ddpm.vlb(x0, **more).total
        more["generator"] = seed(4)
        assert torch.equal(ours, td.vlb_terms(SCHEDULE, ddpm.eps, x0, variance, **more).total)


def test_progress_is_handed_on(capsys):
    ddpm = small()
    for call in (lambda p: ddpm.sample((1, 2), progress=p), lambda p: ddpm.sample_ddim((1, 2), progress=p)):
        call(False)
        assert capsys.readouterr().err == ""
        call(True)
        assert "sampling" in capsys.readouterr().err
    ddpm.vlb(torch.zeros(1, 2), progress=True)
    assert "bound" in capsys.readouterr().err


@pytest.mark.parametrize("shape", [(3, 2), [3, 2], torch.Size([3, 2]), (np.int64(3), 2)])
def test_the_start_is_drawn_first_in_the_dtype_of_the_network(shape):
    for dtype in (torch.float32, torch.float64):
        ddpm, generator = small().to(dtype), seed(5)
        x_T = torch.randn(3, 2, generator=generator, dtype=dtype)
        assert torch.equal(ddpm.sample(shape, generator=seed(5)), ddpm.sample(shape, x_T, generator=generator))
        assert torch.equal(ddpm.sample_ddim(shape, generator=seed(5)), ddpm.sample_ddim(shape, x_T=x_T))


def test_a_shape_may_be_one_number():
    assert td.DDPM(Function(torch.mul), td.Schedule([0.1])).sample(3).shape == (3,)


def test_without_parameters_the_start_is_float32():
    assert td.DDPM(Exact(), SCHEDULE).sample((3, 2)).dtype == torch.float32


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_clip_cuts_the_clean_data_off(predict):
    """And the noise is the one that belongs to them: the learned step is the posterior of the data that were cut off."""
    low, high = -0.25, 0.5
    free, cut = (td.DDPM(Exact(predict), SCHEDULE, predict, clip=clip) for clip in (None, (low, high)))
    xt, t = 2 * randn(1, 50, 2), torch.arange(1, 51)
    x0 = cut.x0(xt, t)
    close(x0, free.x0(xt, t).clamp(low, high))
    assert ((x0 == low).any() and (x0 == high).any()) and ((x0 > low) & (x0 < high)).any()
    close(td.p_step(SCHEDULE, xt, t, cut.eps(xt, t)).mean, td.q_posterior(SCHEDULE, x0, xt, t).mean)
    inside = (x0 > low) & (x0 < high)
    close(cut.eps(xt, t)[inside], free.eps(xt, t)[inside])


@pytest.mark.parametrize("clip", [None, (-0.75, 0.5)])
@pytest.mark.parametrize("predict", PREDICTIONS)
@pytest.mark.parametrize("variance", ["beta", "beta_tilde"])
def test_a_walk_is_one_learned_step_after_the_other(variance, predict, clip):
    """Whatever the network answers, and though no step of the walk goes by way of eps."""
    ddpm = td.DDPM(Exact(predict), SCHEDULE, predict, variance, clip)
    x_T, draws = randn(1, 4, 2), seed(3)
    x = x_T
    for t in range(50, 0, -1):
        law = td.p_step(SCHEDULE, x, t, ddpm.eps(x, torch.full((4,), t)), variance)
        x = law.sample(draws) if t > 1 else law.mean
    close(ddpm.sample((4, 2), x_T, generator=seed(3)), x, 1e-9)


@pytest.mark.parametrize("eta", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("clip", [None, (-0.75, 0.5)])
@pytest.mark.parametrize("predict", PREDICTIONS)
def test_a_walk_in_few_steps_is_that_of_its_eps(predict, clip, eta):
    """Song et al. 2021, Eq. 12, in its own words."""
    ddpm = td.DDPM(Exact(predict), SCHEDULE, predict, clip=clip)
    x_T, draws, bar = randn(1, 4, 2), seed(3), SCHEDULE.alpha_bar
    x, times = x_T, [0, 7, 14, 21, 28, 35, 42, 50]
    for t, s in zip(times[:0:-1], times[-2::-1], strict=True):
        eps, x0 = ddpm.eps(x, torch.full((4,), t)), ddpm.x0(x, torch.full((4,), t))
        sigma = eta * ((1 - bar[s]) / (1 - bar[t])).sqrt() * (1 - bar[t] / bar[s]).sqrt()
        x = bar[s].sqrt() * x0 + (1 - bar[s] - sigma**2).sqrt() * eps
        if eta and s:
            x = x + sigma * torch.randn(4, 2, generator=draws, dtype=torch.float64)
    close(ddpm.sample_ddim((4, 2), 7, eta, x_T, generator=seed(3)), x, 1e-9)


def test_samples_stay_in_the_range_of_clip():
    x = small(clip=(-0.5, 0.25)).double().sample((200, 2), generator=seed(0))
    assert x.min() >= -0.5 - 1e-12 and x.max() <= 0.25 + 1e-12 and x.std() > 0.1


def test_clip_does_not_change_the_loss():
    x0 = torch.randn(6, 2, generator=seed(1))
    assert small(clip=(-0.1, 0.1))(x0, generator=seed(2)) == small()(x0, generator=seed(2))


def test_no_dropout_while_sampling_and_the_modes_come_back():
    ddpm = small(model=Dropout())
    ddpm.model.frozen.eval()
    modes = [m.training for m in ddpm.modules()]
    assert modes[0] and not modes[-1]
    x_T = torch.randn(4, 2, generator=seed(1))
    calls = [
        lambda: ddpm.sample((4, 2), x_T, generator=seed(2)),
        lambda: ddpm.sample_ddim((4, 2), 5, x_T=x_T),
        lambda: ddpm.vlb(x_T, generator=seed(2)).total,
    ]
    for call in calls:
        assert torch.equal(call(), call()) and [m.training for m in ddpm.modules()] == modes
    many = torch.ones(100, 2)  # with few, the same ones may be dropped twice
    assert not torch.equal(ddpm.model(many, None), ddpm.model(many, None))  # in training, there is dropout


def test_the_modes_come_back_after_an_error():
    ddpm = small(model=Function(lambda xt, t: xt * math.nan))
    with pytest.raises(FloatingPointError, match="at t = 50"):
        ddpm.sample((4, 2))
    assert all(m.training for m in ddpm.modules())


def test_it_is_a_module_with_the_weights_of_the_network_only():
    ddpm = small()
    assert isinstance(ddpm, nn.Module) and set(ddpm.state_dict()) == {f"model.{name}" for name in ddpm.model.state_dict()}
    ddpm(torch.ones(3, 2)).backward()
    assert ddpm.model.last.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("network", [lambda: td.MLP(2, 8, 1), lambda: td.UNet(1, 8, 2)], ids=["mlp", "unet"])
@pytest.mark.parametrize("predict", PREDICTIONS)
def test_saved_and_loaded_it_is_the_same(network, predict, tmp_path):
    schedule = td.Schedule.cosine(7)
    ddpm = td.DDPM(network(), schedule, predict, "beta_tilde", (-2, 1.5))
    for p in ddpm.parameters():
        nn.init.normal_(p, std=0.1, generator=seed(0))
    ddpm.save(tmp_path / "a")
    again = td.load(str(tmp_path / "a"))
    assert again.predict == predict and again.variance == "beta_tilde" and again.clip == (-2.0, 1.5)
    assert type(again.model) is type(ddpm.model) and again.model.arguments == ddpm.model.arguments
    for name in ("beta", "alpha_bar", "one_minus_alpha_bar", "beta_tilde"):
        assert torch.equal(getattr(again.schedule, name), getattr(schedule, name))
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), ddpm.parameters(), strict=True))
    shape = (3, 2) if isinstance(ddpm.model, td.MLP) else (3, 1, 8, 8)
    assert torch.equal(again.sample(shape, generator=seed(1)), ddpm.sample(shape, generator=seed(1)))


def test_float64_weights_stay_float64(tmp_path):
    ddpm = small().double()
    nn.init.normal_(ddpm.model.first.weight, generator=seed(0))  # with all digits
    ddpm.save(tmp_path)
    torch.testing.assert_close(td.load(tmp_path).model.first.weight, ddpm.model.first.weight, rtol=0, atol=0)


def test_a_network_made_with_numbers_of_numpy_can_be_saved(tmp_path):
    small(model=td.MLP(np.int64(2), np.int32(8), np.int64(1))).save(tmp_path)
    assert td.load(tmp_path).model.dim == 2


def test_without_clip_there_is_none_after_loading(tmp_path):
    small().save(tmp_path)
    assert td.load(tmp_path).clip is None


def test_saving_again_replaces(tmp_path):
    for value in (1.0, 2.0):
        ddpm = small()
        nn.init.constant_(ddpm.model.last.bias, value)
        ddpm.save(tmp_path)
        assert (td.load(tmp_path).model.last.bias == value).all() and len(list(tmp_path.iterdir())) == 2


def test_a_network_of_ones_own_is_given_to_load(tmp_path):
    ddpm = small(model=Dropout())
    ddpm.save(tmp_path)
    with pytest.raises(ValueError, match="holds the weights of a Dropout, which is not of this package: pass it as model"):
        td.load(tmp_path)
    given = Dropout()
    again = td.load(tmp_path, given)
    assert again.model is given and torch.equal(given.net.weight, ddpm.model.net.weight)


def test_a_subclass_is_a_network_of_ones_own(tmp_path):
    class Mine(td.MLP):
        pass

    small(model=Mine(2, 8, 1)).save(tmp_path)
    with pytest.raises(ValueError, match="holds the weights of a Mine, which is not of this package"):
        td.load(tmp_path)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            lambda: td.MLP(2, 16, 1),
            r"is of another architecture than MLP: model\.blocks\S* has shape \(16,\), expected \(32,\), and \d+ more",
        ),
        (lambda: td.MLP(2, 8, 2), r"is of another architecture than MLP: it lacks model\.blocks\.1\.from_time\.bias, and 7 more"),
        (lambda: td.UNet(1, 8), "is of another architecture than UNet"),
    ],
)
def test_weights_of_another_architecture(other, message, tmp_path):
    small().save(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        td.load(tmp_path, other())
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("predict", "x"),
        ("predict", None),
        ("variance", "x"),
        ("clip", [1]),
        ("clip", 3),
        ("schedule", 5),
        ("schedule", {"class": "Schedule", "arguments": {"beta": [2.0]}}),
        ("schedule", {"class": "MLP", "arguments": {}}),
        ("model", {"class": "MLP", "arguments": {"size": 3}}),
        ("model", {"class": "MLP", "arguments": {"dim": 0}}),
        ("model", {"class": "os.system", "arguments": {"command": "true"}}),
        ("model", {"class": "MLP"}),
        ("model", 5),
        ("model", {}),
        ("size", 3),
    ],
)
def test_nonsense_in_the_json_file(name, value, tmp_path):
    small().save(tmp_path)
    saved = checkpoint.read(tmp_path)
    saved.description["arguments"][name] = value
    checkpoint.write(tmp_path, saved)
    with pytest.raises(ValueError, match=r"\w+"):
        td.load(tmp_path)


@pytest.mark.parametrize(
    "made", [None, 3, {"class": "DDPM"}, {"class": "MLP", "arguments": {}}, {"class": "Schedule", "arguments": {"beta": [0.1]}}]
)
def test_what_is_no_ddpm_is_not_loaded_as_one(made, tmp_path):
    small().save(tmp_path)
    saved = checkpoint.read(tmp_path)
    saved.description = made
    checkpoint.write(tmp_path, saved)
    with pytest.raises(ValueError, match=r"\w+"):
        td.load(tmp_path)


def test_pretrained_names():
    with pytest.raises(ValueError, match="name = 'x' is not one of digits, eight_gaussians, two_moons, swiss_roll, checkerboard"):
        td.load_pretrained("x")
    with pytest.raises(ValueError, match=r"name = '\.\./weights/digits' is not one of"):
        td.load_pretrained("../weights/digits")


@pytest.mark.skipif(not (WEIGHTS / "digits").is_dir(), reason="no pretrained weights yet")
def test_pretrained_digits():
    x = td.load_pretrained("digits").sample_ddim((2, 1, 8, 8), steps=10, generator=seed(0))
    assert x.shape == (2, 1, 8, 8) and x.min() >= -1 - 1e-5 and x.max() <= 1 + 1e-5 and x.std() > 0.3


@pytest.mark.skipif(not (WEIGHTS / "eight_gaussians").is_dir(), reason="no pretrained weights yet")
@pytest.mark.parametrize("name", ["eight_gaussians", "two_moons", "swiss_roll", "checkerboard"])
def test_pretrained_points_are_near_the_data(name):
    x = td.load_pretrained(name).sample_ddim((500, 2), steps=20, generator=seed(0))
    data = getattr(td.data, name)(500, seed(1))
    noise = torch.randn(500, 2, generator=seed(2))
    assert td.metrics.energy_distance(x, data) < td.metrics.energy_distance(noise, data) / 2


def test_nothing_is_printed_unless_asked_for(capfd):
    ddpm = small()
    ddpm.sample((2, 2)), ddpm.sample_ddim((2, 2), 3), ddpm.vlb(torch.zeros(2, 2))
    assert capfd.readouterr() == ("", "")


def test_what_a_checkpoint_says():
    known = {"class": "MLP", "arguments": {"dim": 2, "width": 8, "depth": 1}}
    said = describe(small(predict="v", variance="beta_tilde", clip=(-1, 1)))
    schedule = {"class": "Schedule", "arguments": {"beta": SCHEDULE.beta[1:].tolist()}}
    how = {"model": known, "schedule": schedule, "predict": "v", "variance": "beta_tilde", "clip": [-1.0, 1.0]}
    assert said == {"class": "DDPM", "arguments": how}


def test_of_a_training_run_the_averaged_weights_are_loaded(tmp_path):
    """Which the network has after `fit`; a checkpoint has the last ones too."""
    ddpm = small()
    td.fit(ddpm, torch.randn(20, 2, generator=seed(1)), steps=5, progress=False, checkpoint=tmp_path / "run")
    loaded = td.load(tmp_path / "run").state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in ddpm.state_dict().items())


def test_a_checkpoint_of_something_else_is_refused_by_its_path(tmp_path):
    small().save(tmp_path / "model")
    saved = checkpoint.read(tmp_path / "model")
    saved.description["arguments"]["other"] = saved.description["arguments"].pop("predict")
    checkpoint.write(tmp_path / "model", saved)
    with pytest.raises(ValueError, match="model is not the checkpoint of a DDPM: "):
        td.load(tmp_path / "model")


def test_loading_draws_nothing_and_gives_a_network_that_is_ready_to_sample(tmp_path):
    small().save(tmp_path)
    state = torch.get_rng_state()
    assert not td.load(tmp_path).training and not td.load_pretrained("two_moons").training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_what_is_clipped_stays_in_its_range_to_the_last_digit(dtype):
    """Though x_0 goes through eps and back, which rounds."""
    ddpm = small(clip=(-0.1, 0.1)).to(dtype)
    x_T = torch.randn(500, 2, generator=seed(1)).to(dtype)
    limit = torch.tensor(0.1, dtype=dtype)
    for x in (ddpm.sample((500, 2), x_T, generator=seed(2)), ddpm.sample_ddim((500, 2), 5, x_T=x_T)):
        assert x.abs().max() == limit
