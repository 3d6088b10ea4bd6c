"""The engine of the live pages, in a real browser and from disk, against the package: the same numbers within a few roundings.

The package computes in 64 bits here, as the engine's networks do: what differs is then rounded by the engine alone, whose states
have 32, and is the same on every machine.
"""

import base64
import json
import math
from functools import cache

import browsers
import live
import notebooks
import numpy as np
import pytest
import torch

import tinyddpm as td
from tinyddpm import _walk
from tinyddpm._model import Prediction
from tinyddpm.checkpoint import PRETRAINED

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives a browser, is not installed")
if browsers.program() is None:
    pytest.skip(browsers.MISSING, allow_module_level=True)

ENGINE = notebooks.ROOT / "_static" / "live" / "engine.js"
CAPTIONS = ["a large green square above a small yellow circle", "A large green square, above a small yellow triangle.", ""]
NEAR = 1e-5  # the most that a number may differ; they do by 2e-6 at most
PLANS = {  # how each is made here, and there
    "ancestral beta": ("ancestral(s, 'beta')", lambda s, m, x: td.sample(s, m, x, "beta")),
    "ancestral beta_tilde": ("ancestral(s, 'beta_tilde')", lambda s, m, x: td.sample(s, m, x, "beta_tilde")),
    "ddim all, eta 1": ("ddim(s, s.T, 1)", lambda s, m, x: td.sample_ddim(s, m, x, s.T, 1.0)),
    "ddim 7, eta 0": ("ddim(s, 7)", lambda s, m, x: td.sample_ddim(s, m, x, 7)),
    "ddim 7, eta 0.5": ("ddim(s, 7, 0.5)", lambda s, m, x: td.sample_ddim(s, m, x, 7, 0.5)),
    "ddim 4, eta 1": ("ddim(s, 4, 1)", lambda s, m, x: td.sample_ddim(s, m, x, 4, 1.0)),
}
MIXTURES = {  # means, variances, weights
    "a line": ([-1.0, 0.5, 2.0], [0.25, 0.04, 1.0], [0.2, 0.5, 0.3]),
    "a plane": ([[-1.0, 0.3], [0.5, -2.0]], 0.09, None),
    "one": ([[0.5, 0.5, 1.0]], [0.7], [1.0]),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page on disk with the engine as `E`, and the models as `M`."""
    folder = tmp_path_factory.mktemp("live")
    for name in PRETRAINED:
        (folder / f"{name}.js").write_text(live.weights(name), encoding="utf-8")
    scripts = "".join(f'<script src="{where}"></script>' for where in [ENGINE.as_uri(), *(f"{name}.js" for name in PRETRAINED)])
    (folder / "page.html").write_text(f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">{scripts}')
    with (
        sync_api.sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=browsers.program(), args=browsers.FLAGS) as browser,
        browser.new_context(offline=True) as context,
    ):
        page, faults = context.new_page(), []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((folder / "page.html").as_uri())
        page.evaluate("""() => {
            self.E = tinyddpm;
            self.M = Object.fromEntries(Object.entries(tinyddpmWeights).map(([name, weights]) => [name, E.load(weights)]));
            self.floats = x => Float32Array.from(x);
            self.handed = noises => ({ normals: () => floats(noises.shift()) });
        }""")
        yield page
        assert faults == []


def flat(x):
    return torch.as_tensor(x).detach().double().flatten().tolist()


def largest_gap(found, expected):
    """How far two flat lists of numbers are apart."""
    found, expected = np.array(found, dtype=float), np.array(flat(expected))
    assert found.shape == expected.shape
    return np.abs(found - expected).max(initial=0)


def schedule_of(page, T):
    """A schedule by the name `s`, here and there."""
    page.evaluate("T => { self.s = E.cosine(T) }", T)
    return td.Schedule.cosine(T)


def noise(*shape, seed=0):
    """Numbers that 32 bits hold."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


@cache
def trained(name):
    """A model that comes with the package, in 64 bits, and the DDPM in it."""
    model = td.load_pretrained(name).double()
    return model, getattr(model, "ddpm", model)


def test_the_engine_is_short_and_knows_no_page():
    source = ENGINE.read_text(encoding="utf-8")
    lines = source.splitlines()
    assert len(lines) < 800 and max(map(len, lines)) <= 132
    for word in ("document", "window.", "fetch(", "import ", "export ", "XMLHttpRequest", "Math.random", "eval("):
        assert word not in source


@pytest.mark.parametrize("name", PRETRAINED)
def test_a_script_holds_every_number_of_its_model(name):
    script = live.weights(name)
    stored = json.loads(script[script.index("] = ") + 4 : -2])
    data, at = np.frombuffer(base64.b64decode(stored["data"]), "<f2"), 0
    tensors = td.load_pretrained(name).state_dict()
    assert [key for key, _ in stored["tensors"]] == list(tensors)
    for key, shape in stored["tensors"]:
        size = math.prod(shape)
        assert np.array_equal(data[at : at + size].reshape(shape).astype("f4"), tensors[key].numpy())
        at += size
    assert at == len(data)


def test_numbers_that_16_bits_do_not_hold_are_refused():
    ddpm = td.DDPM(td.MLP(dim=2), td.Schedule.cosine(T=10))
    with pytest.raises(ValueError, match="16 bits"):
        live.described(ddpm)


@pytest.mark.parametrize("name", ["linear", "cosine", "lognormal", "schedule"])
@pytest.mark.parametrize("T", [1, 2, 10, 200, 1000])
def test_schedules_have_the_package_s_tables(page, name, T):
    betas = torch.logspace(-12, -0.5, T, dtype=torch.float64)  # whose 1 - alpha_bar would cancel
    ours = td.Schedule(betas) if name == "schedule" else getattr(td.Schedule, name)(T=T)
    theirs = page.evaluate(
        "([name, argument]) => Object.fromEntries(Object.entries(E[name](argument)).map(([k, v]) => [k, v.length ? [...v] : v]))",
        [name, betas.tolist() if name == "schedule" else T],
    )
    assert theirs.pop("T") == T
    names = {"alphaBar": "alpha_bar", "lost": "one_minus_alpha_bar", "betaTilde": "beta_tilde"}
    for table, values in theirs.items():
        expected = getattr(ours, names.get(table, table))
        np.testing.assert_allclose(values, expected.numpy(), rtol=1e-9)


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("T", [7, 200])
def test_plans_are_the_package_s_steps(page, monkeypatch, name, T):
    schedule, steps = schedule_of(page, T), steps_of(monkeypatch, name, T)
    plan = page.evaluate(
        f"() => {{ const {{ times, keep, fresh, take }} = E.{PLANS[name][0]}; return {{ times, keep, fresh, take }} }}"
    )
    assert plan["times"] == steps.times
    assert largest_gap(plan["keep"], steps.keep) < 1e-9
    assert (plan["fresh"] is None) == (steps.fresh is None)
    if steps.fresh is not None:
        assert largest_gap(plan["fresh"], steps.fresh) < 1e-9
    take = schedule.one_minus_alpha_bar[steps.times[1:]].sqrt() if steps.share is None else steps.share
    assert largest_gap(plan["take"], take) < 1e-9


def steps_of(monkeypatch, name, T):
    """What a sampler hands to the loop."""
    found = []
    with monkeypatch.context() as patch:
        patch.setattr("tinyddpm.sampling.walk", lambda *arguments: found.append(arguments[3]))
        PLANS[name][1](td.Schedule.cosine(T), lambda xt, t: xt, torch.zeros(1, 2))
    return found[0]


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("clip", [None, (-0.5, 0.7)], ids=["as it is", "clipped"])
@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
def test_each_single_step_is_the_package_s(page, monkeypatch, predict, clip, name):
    schedule, steps = schedule_of(page, 20), steps_of(monkeypatch, name, 20)
    x, answer, z = noise(3, 4, seed=1), noise(3, 4, seed=2), noise(3, 4, seed=3)
    monkeypatch.setattr(_walk, "standard_normal", lambda x, generator: z)
    step = _walk._Step(schedule, Prediction(lambda xt, t: answer, predict, clip), steps, x, None)
    count = len(steps.times) - 1
    for i in {0, 1, count // 2, count - 1}:
        if i == count - 1 and predict == "eps":
            x = (x * 0.05 + answer).float().double()  # else x_0 would be a thousand there
        found = page.evaluate(
            f"""([predict, clip, i, x, answer, z]) =>
                [...E.step(E.{PLANS[name][0]}, {{ schedule: s, predict, clip }}, i, floats(x), floats(answer), floats(z))]""",
            [predict, clip, i, flat(x), flat(answer), flat(z)],
        )
        assert largest_gap(found, step.move(i, x, step.ask(i, x))) < NEAR


@pytest.mark.parametrize("name", PRETRAINED)
@pytest.mark.parametrize("t", [1, 30, 200])
def test_networks_answer_as_the_package_s(page, name, t):
    """Told nothing, one thing for all, and one for each."""
    _, ddpm = trained(name)
    x = noise(3, *ddpm.example_shape)
    for c in cases(ddpm):
        told = [] if c is None else [torch.as_tensor(c)]
        if c is not None and told[0].ndim == ddpm.model.condition.null.ndim:
            told = [told[0].expand(3, *told[0].shape)]
        with torch.no_grad():
            expected = ddpm.model(x, torch.full((3,), t), *told)
        found = page.evaluate("([name, x, t, c]) => [...M[name].answer(floats(x), t, c)]", [name, flat(x), t, c])
        assert largest_gap(found, expected) < NEAR


def cases(ddpm):
    condition = getattr(ddpm.model, "condition", None)
    if condition is None:
        return [None]
    if isinstance(condition, td.Labels):
        return [None, 2, [2, 2, 2], [0, 7, 3]]
    tokens = [condition.tokens(caption).tolist() for caption in CAPTIONS]
    return [None, tokens[1], tokens]


def test_codes_are_decoded_as_by_the_package(page):
    codes = noise(2, 4, 8, 8)
    with torch.no_grad():
        expected = trained("scenes")[0].autoencoder.decode(codes)
    assert largest_gap(page.evaluate("z => [...M.scenes.decode(floats(z))]", flat(codes)), expected) < NEAR


GUIDED = {"digits": (3, [4, 5]), "eight_gaussians": ([1, 2], 6), "scenes": (CAPTIONS[0], CAPTIONS[:2])}


@pytest.mark.parametrize("guidance", [0, 1, 3.5, -1])
@pytest.mark.parametrize("unlike", [False, True], ids=["", "negative"])
@pytest.mark.parametrize("name", GUIDED)
def test_guidance_is_the_package_s(page, name, guidance, unlike):
    if unlike and guidance == 1:
        return  # the package refuses a negative that would do nothing
    (_, ddpm), (c, negative) = trained(name), GUIDED[name]
    x = noise(2, *ddpm.example_shape)
    with torch.no_grad():
        expected = ddpm.given(c, guidance, negative if unlike else None).model(x, torch.full((2,), 90))
    plain = [ddpm.model.condition._checked(value).tolist() for value in (c, negative)]
    found = page.evaluate(
        "([name, x, c, guidance, negative]) => [...E.told(M[name], c, guidance, negative)(floats(x), 90)]",
        [name, flat(x), plain[0], guidance, plain[1] if unlike else None],
    )
    assert largest_gap(found, expected) < NEAR


RUNS = {  # the model, how many, the run here, and there
    "two_moons": (16, lambda m, s, x: m.sample(s, x), "E.ancestral(m.schedule, m.variance)", "E.told(m)"),
    "eight_gaussians": (
        16,
        lambda m, s, x: m.given(5, 2.0).sample_ddim(s, 40, 1.0, x),
        "E.ddim(m.schedule, 40, 1)",
        "E.told(m, 5, 2)",
    ),
    "digits": (2, lambda m, s, x: m.given([3, 8]).sample_ddim(s, 50, 0.5, x), "E.ddim(m.schedule, 50, 0.5)", "E.told(m, [3, 8])"),
    "scenes": (
        1,
        lambda m, s, x: m.given(CAPTIONS[1], 3.0).sample_ddim(s, 25, 0.0, x),
        "E.ddim(m.schedule, 25)",
        f"E.told(m, m.tokens({CAPTIONS[1]!r}), 3)",
    ),
}


@pytest.mark.parametrize("name", RUNS)
def test_whole_runs_with_the_same_noises_end_in_the_same_place(page, monkeypatch, name):
    """Each state on the way is the same too; a scene is decoded at the end."""
    many, run, plan, told = RUNS[name]
    (model, ddpm), noises = trained(name), []
    monkeypatch.setattr(_walk, "standard_normal", lambda x, g: noises.append(noise(*x.shape, seed=len(noises) + 1)) or noises[-1])
    x_T = noise(many, *ddpm.example_shape, seed=9)
    expected = run(ddpm, x_T.shape, x_T)
    found = page.evaluate(
        f"""([name, x, noises]) => {{
            const m = M[name], states = [], plan = {plan};
            const x0 = E.walk(plan, m, {told}, floats(x), handed(noises), (i, t, x) => states.push([i, t, plan.times[i], [...x]]));
            return {{ x0: [...x0], states, left: noises.length }};
        }}""",
        [name, flat(x_T), [flat(z) for z in noises]],
    )
    assert found["left"] == 0
    assert largest_gap(found["x0"], expected) < NEAR
    first, last = found["states"][0], found["states"][-1]
    assert first[1:3] == [200, 200] and last[:3] == [0, 0, 0] and largest_gap(first[3], x_T) == 0 and last[3] == found["x0"]
    if name == "scenes":
        picture = page.evaluate("z => [...M.scenes.decode(floats(z))]", found["x0"])
        assert largest_gap(np.clip(picture, -1, 1), model._decoded(expected)) < NEAR


SCALES = {"a number": 2.0, "of columns": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0], "of channels": [[[2.0]], [[0.5]]]}


@pytest.mark.parametrize("scale", SCALES)
def test_a_model_of_another_size_in_other_units_is_the_same(page, monkeypatch, scale):
    """A UNet of three levels that predicts x_0, with a shift of its own."""
    torch.manual_seed(0)
    network = td.UNet(channels=2, width=8, levels=3, condition=td.Text(["a", "b"], length=3, size=8, layers=1))
    for parameter in network.parameters():  # some are 0 at first
        parameter.data = (parameter + 0.1 * torch.randn(parameter.shape)).half().float()
    ddpm = td.DDPM(network, td.Schedule.linear(T=20, beta_T=0.5), "x0", clip=(-2, 1), shift=-1.5, scale=SCALES[scale])
    ddpm.example_shape = (2, 4, 8)
    weights, x_T, noises = live.described(ddpm), noise(2, 2, 4, 8), [noise(2, 2, 4, 8, seed=seed) for seed in range(19)]
    left = iter(noises)
    monkeypatch.setattr(_walk, "standard_normal", lambda x, generator: next(left))
    expected = ddpm.double().eval().given(["b a", "a"]).sample(x_T.shape, x_T)
    found = page.evaluate(
        """([weights, x, noises]) => {
            const m = E.load(weights), told = E.told(m, ["b a", "a"].map(m.tokens));
            return [...E.walk(E.ancestral(m.schedule, m.variance), m, told, floats(x), handed(noises))];
        }""",
        [weights, flat(x_T), [flat(z) for z in noises]],
    )
    assert largest_gap(found, expected) < NEAR


@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("t", [1, 15, 30])
def test_mixtures_are_the_package_s(page, name, t):
    schedule, ours = schedule_of(page, 30), td.exact.GaussianMixture(*MIXTURES[name])
    shape, some = ours.means.shape[1:], [len(ours.means) - 1, 0][: len(ours.means)]
    x, one = noise(5, *shape), noise(*shape, seed=1)
    found = page.evaluate(
        """([mixture, x, one, t, some]) => {
            const m = E.mixture(...mixture), now = m.marginal(s, t), law = m => [m.means.flat(), m.variances, m.weights];
            return { densities: x.map(m.density), logs: x.map(m.logDensity), chances: x.map(now.chances).flat(),
                     eps: [...m.eps(s, floats(x.flat()), t)], score: [...m.score(floats(x.flat()))],
                     given: law(m.given(some)), marginal: law(now), back: law(m.reverseStep(s, one, t)) };
        }""",
        [[value for value in MIXTURES[name] if value is not None], x.tolist(), one.tolist(), t, some],
    )
    clean = x.requires_grad_()
    logs = ours.log_prob(clean)
    logs.sum().backward()
    assert largest_gap(found["logs"], logs) < 1e-9
    assert largest_gap(found["densities"], logs.exp()) < 1e-9
    assert largest_gap(found["chances"], ours.chances(schedule, x.detach(), t)) < 1e-9
    assert largest_gap(found["score"], clean.grad) < NEAR
    assert largest_gap(found["eps"], ours.eps(schedule)(x.detach(), t)) < NEAR
    laws = {"given": ours.given(some), "marginal": ours.marginal(schedule, t), "back": ours.reverse_step(schedule, one, t)}
    for key, law in laws.items():
        round_ones = law.variances.reshape(len(law.means), -1)[:, 0]
        for values, expected in zip(found[key], (law.means, round_ones, law.weights), strict=True):
            assert largest_gap(values, expected) < 1e-9


def test_points_without_width_are_a_data_set(page):
    """`Empirical`: what a network would answer that knew its training set by heart."""
    schedule, data, x = schedule_of(page, 30), noise(6, 3), noise(4, 3, seed=1)
    found = page.evaluate(
        """([data, x]) => {
            const m = E.mixture(data, 0);
            return [[...m.eps(s, floats(x), 9)], m.logDensity(data[2]) === Infinity, m.density([1, 2, 3]) === 0];
        }""",
        [data.tolist(), flat(x)],
    )
    assert largest_gap(found[0], td.exact.Empirical(data).eps(schedule)(x, 9)) < NEAR and found[1:] == [True, True]


def test_the_ring_is_that_of_the_data(page):
    means, variances = page.evaluate("[E.ring.means.flat(), E.ring.variances]")
    assert largest_gap(means, td.exact.eight_gaussians().means) < 1e-12 and np.allclose(variances, 0.01)


def test_draws_from_a_mixture_follow_its_law(page):
    x = page.evaluate("JSON.stringify([...E.mixture([-2, 3], [0.25, 1], [0.3, 0.7]).sample(20000, E.random(5))])")
    x = np.array(json.loads(x))
    left = x[x < 0.3]
    assert abs(len(left) / len(x) - 0.3) < 0.015
    assert abs(left.mean() + 2) < 0.03 and abs(x[x > 0.3].mean() - 3) < 0.05 and abs(left.std() - 0.5) < 0.03


def test_a_state_is_mixed_as_in_the_package(page):
    schedule, x0, eps = schedule_of(page, 50), noise(4, 2), noise(4, 2, seed=1)
    found = page.evaluate("([x, eps]) => [...E.mix(s, floats(x), 20, floats(eps))]", [flat(x0), flat(eps)])
    assert largest_gap(found, td.q_sample(schedule, x0, 20, eps)) < 1e-6


@pytest.mark.parametrize("d, directions", [(2, 256), (2, 100), (3, 50), (1, 16)])
def test_the_sliced_distance_is_the_package_s(page, d, directions):
    x, y = noise(300, d), noise(300, d, seed=1) * 1.5 + 0.2
    found = page.evaluate("([x, y, ...how]) => E.slicedWasserstein(x, y, ...how)", [flat(x), flat(y), d, directions])
    assert abs(found - td.metrics.sliced_wasserstein(x, y, directions)) < 1e-6


def test_random_numbers_follow_from_their_seed_and_are_normal(page):
    same, other, near = (page.evaluate("seed => [...E.random(seed).normals(6)]", seed) for seed in (1, 2, 1))
    assert same == near and not set(same) & set(other)
    assert page.evaluate("(r => [r.normal(), r.normal(), r.normal()])(E.random(1)).map(Math.fround)") == same[:3]
    normals = np.sort(json.loads(page.evaluate("JSON.stringify([...E.random(7).normals(100000)])")))
    uniforms = np.sort(json.loads(page.evaluate("(r => JSON.stringify(Array.from({ length: 100000 }, r.uniform)))(E.random(8))")))
    assert uniforms[0] >= 0 and uniforms[-1] < 1
    shares = torch.special.ndtr(torch.tensor(normals)).numpy()
    for found in (shares, uniforms):  # the distance of Kolmogorov and Smirnov is below 1.63 / sqrt(n) in 99 of 100 cases
        assert np.abs(found - (np.arange(100000) + 0.5) / 100000).max() < 1.63 / 100000**0.5
    for power, moment in ((1, 0), (2, 1), (3, 0), (4, 3)):
        assert abs((normals**power).mean() - moment) < 4 * (math.prod(range(1, 2 * power, 2)) / 100000) ** 0.5
    first = np.array(page.evaluate("Array.from({ length: 2000 }, (_, seed) => E.random(seed).normal())"))
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.08 and abs(first.mean()) < 0.08  # of seeds that are close


def test_captions_become_the_package_s_numbers_and_errors(page):
    text = trained("scenes")[1].model.condition
    assert page.evaluate("M.scenes.words") == text.words
    for caption in (*CAPTIONS, "  Red,blue.  ", "a " * 12):
        assert page.evaluate("caption => M.scenes.tokens(caption)", caption) == text.tokens(caption).tolist()
    wrong = ["a smal red circle", "a crcle above a xyz", "zebra", "left of ablow", "a " * 13, "circus", "smallarge"]
    for caption in wrong:
        with pytest.raises(ValueError) as error:
            text.tokens(caption)
        said = page.evaluate("caption => { try { M.scenes.tokens(caption) } catch (error) { return error.message } }", caption)
        assert said == str(error.value)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ("M.digits.answer(new Float32Array(64), 1, 11)", "c = 11 is outside 0..9"),
        ("M.digits.answer(new Float32Array(64), 1, [1, 2])", "2 conditions, expected one"),
        ("M.digits.answer(new Float32Array(65), 1, null)", "expected a multiple of 64"),
        ("M.two_moons.answer(new Float32Array(2), 1, 0)", "knows no condition"),
        ("E.load({ ...tinyddpmWeights.digits, data: btoa('1234') })", "4 bytes, expected"),
        ("E.load({ ...tinyddpmWeights.digits, example: [1, 7, 8] })", "not divisible by 2"),
    ],
)
def test_what_cannot_be_is_said(page, wrong, message):
    assert message in page.evaluate(f"() => {{ try {{ {wrong} }} catch (error) {{ return error.message }} }}")


def test_its_own_samples_are_as_near_the_data_as_the_package_s(page):
    """2000 points of the ring, of several seeds, by the distance to as many of the data."""
    data, ddpm = td.data.eight_gaussians(2000, torch.Generator().manual_seed(99)), td.load_pretrained("eight_gaussians")
    seeds = range(6)
    ours = [
        td.metrics.sliced_wasserstein(ddpm.sample_ddim((2000, 2), 20, 1.0, generator=torch.Generator().manual_seed(seed)), data)
        for seed in seeds
    ]
    theirs = page.evaluate(
        """([data, seeds]) => seeds.map(seed => {
            const m = M.eight_gaussians, r = E.random(seed), x = r.normals(data.length);
            return E.slicedWasserstein(E.walk(E.ddim(m.schedule, 20, 1), m, E.told(m), x, r), data);
        })""",
        [flat(data), [*seeds][:2]],
    )
    spread = max(ours) - min(ours)
    assert min(ours) - spread < np.mean(theirs) < max(ours)
    assert max(theirs) < max(ours) + spread


def test_a_worker_is_made_from_its_text(page):
    """From disk, a worker has no other source than text."""
    found = page.evaluate("""() => new Promise((resolve, reject) => {
        const code = `const E = (${tinyddpmEngine})(); onmessage = ({ data }) => {
            const m = E.load(data); postMessage([...E.told(m, 3)(E.random(1).normals(2), 50)]) }`;
        const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })));
        worker.onerror = reject;
        worker.onmessage = ({ data }) => { worker.terminate(); resolve(data) };
        worker.postMessage(tinyddpmWeights.eight_gaussians);
    })""")
    assert found == page.evaluate("[...E.told(M.eight_gaussians, 3)(E.random(1).normals(2), 50)]")
