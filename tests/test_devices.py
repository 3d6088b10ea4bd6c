"""The same answers wherever tensors are: on any device, in any dtype, under torch.compile and vmap, and in a worker process."""

import copy
import multiprocessing
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.utils.data import DataLoader, Dataset, get_worker_info

import tinyddpm as td
from tinyddpm.exact import GaussianMixture

T = 6
SCHEDULE = td.Schedule.linear(T, 0.05, 0.4)
DATA = GaussianMixture([[-1.0, 0.5], [1.0, 0.0]], [0.3, 0.05])
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LOOKS = ["_checks", "gaussian", "elbo", "_walk"]  # the modules that ask whether values can be read


recent = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6), reason="this PyTorch traces a step, but no whole sampler"
)


def seed(n, device="cpu"):
    return torch.Generator(device).manual_seed(n)


def randn(n, *shape, dtype=torch.float32):
    return torch.randn(shape, generator=seed(n), dtype=torch.float64).to(dtype)


def close(a, b, tol=1e-5, **more):
    torch.testing.assert_close(a, b, rtol=tol, atol=tol, **more)


def linear(xt, t):
    return 0.3 * xt + 0.01 * t.to(xt).reshape(-1, *[1] * (xt.ndim - 1))


def lively(net):
    """A network whose last layers are not 0."""
    with torch.no_grad():
        for i, parameter in enumerate(net.parameters()):
            parameter.copy_(0.3 * randn(i, *parameter.shape))
    return net


def points():
    return lively(td.MLP(2, 8, 1))


def pictures():
    return lively(td.UNet(1, 8, 2))


def theirs():
    """The network that diffusers has too, with a level of each kind."""
    down, up = ["AttnDownBlock2D", "ResnetDownsampleBlock2D", "DownBlock2D"], ["UpBlock2D"] * 3
    sizes = {"block_out_channels": [4, 4, 8], "norm_num_groups": 2, "attention_head_dim": 2, "layers_per_block": 1}
    return lively(td.UNet2D(in_channels=1, out_channels=1, down_block_types=down, up_block_types=up, **sizes))


every_network = pytest.mark.parametrize(
    ("network", "shape"), [(points, (4, 2)), (pictures, (2, 1, 4, 4)), (theirs, (2, 1, 8, 8))], ids=["MLP", "UNet", "UNet2D"]
)


def tensors(answer):
    """The tensors of an answer, whatever its type."""
    if isinstance(answer, td.Gaussian):
        return answer.mean, answer.var
    if isinstance(answer, td.VLB):
        return answer.L_T, answer.L_t, answer.L_0, answer.total
    return answer if isinstance(answer, tuple) else (answer,)


def law(x, e):
    return td.Gaussian(x, e * e + 0.1)


def level(x):
    """The nearest of five levels in [-1, 1]."""
    return ((x * 2).round() / 2).clamp(-1, 1)


NET = points()


def module(x, **how):
    """A DDPM in the dtype and on the device of a tensor."""
    return td.DDPM(copy.deepcopy(NET), SCHEDULE, **how).to(x)


# Every function of tensors, without randomness: each is called with a schedule, x and noise e (batch, 2), and t (batch,).
CALLS = {
    "q_step": lambda s, x, e, t: td.q_step(s, x, t),
    "q_marginal": lambda s, x, e, t: td.q_marginal(s, x, t),
    "q_sample": lambda s, x, e, t: td.q_sample(s, x, t, e),
    "q_posterior": lambda s, x, e, t: td.q_posterior(s, x, e, t),
    "p_step": lambda s, x, e, t: td.p_step(s, x, t, e),
    "p_step, beta_tilde": lambda s, x, e, t: td.p_step(s, x, t, e, "beta_tilde"),
    "x0_from_eps": lambda s, x, e, t: td.x0_from_eps(s, x, t, e),
    "x0_from_v": lambda s, x, e, t: td.x0_from_v(s, x, t, e),
    "eps_from_x0": lambda s, x, e, t: td.eps_from_x0(s, x, t, e),
    "eps_from_v": lambda s, x, e, t: td.eps_from_v(s, x, t, e),
    "v_from_eps": lambda s, x, e, t: td.v_from_eps(s, x, t, e),
    "v_from_x0": lambda s, x, e, t: td.v_from_x0(s, x, t, e),
    "Gaussian": lambda s, x, e, t: td.Gaussian(x, 0.5),
    "Gaussian.log_prob": lambda s, x, e, t: law(x, e).log_prob(e),
    "Gaussian.kl": lambda s, x, e, t: law(x, e).kl(law(e, x)),
    "discretised_log_prob": lambda s, x, e, t: td.discretised_log_prob(law(x, e), level(e), 5),
    "bits_per_dim": lambda s, x, e, t: td.bits_per_dim(x, 2),
    "simple_loss": lambda s, x, e, t: td.simple_loss(s, linear, x, t, e),
    "vlb_weight": lambda s, x, e, t: td.vlb_weight(s, t, "beta_tilde"),
    "vlb_terms": lambda s, x, e, t: td.vlb_terms(s, linear, x, eps=e),
    "vlb_terms, levels": lambda s, x, e, t: td.vlb_terms(s, linear, level(x), levels=5, eps=e),
    "sample, one step": lambda s, x, e, t: td.sample(td.Schedule([0.3]), linear, x),
    "sample_ddim": lambda s, x, e, t: td.sample_ddim(s, linear, x, 3),
    "GaussianMixture.eps": lambda s, x, e, t: DATA.eps(s)(x, t),
    "GaussianMixture.log_prob": lambda s, x, e, t: DATA.log_prob(x),
    "DDPM": lambda s, x, e, t: module(x)(x, t, e),
    "DDPM, v": lambda s, x, e, t: module(x, predict="v")(x, t, e),
    "DDPM.eps": lambda s, x, e, t: module(x, predict="x0", clip=(-1, 1)).eps(x, t),
    "DDPM.x0": lambda s, x, e, t: module(x, predict="v").x0(x, t),
    "DDPM.sample_ddim": lambda s, x, e, t: module(x).sample_ddim(x.shape, 3, x_T=x),
    "DDPM.vlb": lambda s, x, e, t: module(x).vlb(x, eps=e),
}
WIDE = {name for name in CALLS if "vlb" in name}  # these answer in float64, whatever x is
every_call = pytest.mark.parametrize("name", CALLS)


def examples(dtype=torch.float32, *more):
    return randn(1, *more, 4, 2, dtype=dtype), randn(2, *more, 4, 2, dtype=dtype), torch.tensor([1, 2, 3, T])


def answers(name, x, e, t, schedule=SCHEDULE):
    return tensors(CALLS[name](schedule, x, e, t))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_call
def test_an_answer_has_the_dtype_of_its_input_and_is_near_the_one_in_float64(name, dtype):
    x, e, t = examples(dtype)
    expected = answers(name, x.double(), e.double(), t)
    for answer, exact in zip(answers(name, x, e, t), expected, strict=True):
        assert answer.dtype == (torch.float64 if name in WIDE else dtype) and answer.device == x.device
        close(answer.double(), exact, 60 * torch.finfo(dtype).eps)


@every_call
def test_an_answer_is_on_the_device_of_its_input(name):
    x, e, t = examples()
    for steps in (t, t.to("meta")):
        for answer, real in zip(answers(name, x.to("meta"), e.to("meta"), steps), answers(name, x, e, t), strict=True):
            if name != "vlb_weight":  # of t alone
                assert answer.device.type == "meta"
            assert answer.shape == real.shape and answer.dtype == real.dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@every_call
def test_default_device_and_dtype_do_not_leak_in(name, dtype, request):
    x, e, t = examples()
    expected = answers(name, x, e, t)
    before = torch.get_default_dtype()
    request.addfinalizer(lambda: torch.set_default_dtype(before))  # whatever happens
    torch.set_default_dtype(dtype)
    with torch.device("meta"):
        found = answers(name, x, e, t)
    for answer, right in zip(found, expected, strict=True):
        assert torch.equal(answer, right) and answer.dtype == right.dtype


OTHERS = {
    "GaussianMixture": lambda: DATA.marginal(td.Schedule.cosine(3), 2).weights,
    "GaussianMixture from lists": lambda: GaussianMixture([[1.0, 2.0]], [0.5], [1.0]).means,
    "GaussianMixture.sample": lambda: DATA.sample(3, seed(0)),
    "GaussianMixture.reverse_step": lambda: DATA.reverse_step(SCHEDULE, CPU, 2).weights,
    "sliced_wasserstein": lambda: td.metrics.sliced_wasserstein(CPU[None], CPU[None] + 1),
    "energy_distance": lambda: td.metrics.energy_distance(SET, SET + 1),
    "frechet_distance": lambda: td.metrics.frechet_distance(SET, SET + 1),
    "nearest": lambda: td.metrics.nearest(SET, SET + 1)[0],
    "ring_modes": lambda: td.metrics.ring_modes(SET).off,
    "time_embedding": lambda: td.nets.time_embedding(STEPS, 8),
    "sample": lambda: td.sample(SCHEDULE, linear, SET, "beta_tilde", generator=seed(0)),
    "sample_ddim": lambda: td.sample_ddim(SCHEDULE, linear, SET, 4, 0.5, generator=seed(0)),
    "Gaussian.sample": lambda: td.Gaussian(SET, 1.0).sample(seed(0)),
    "a scalar Gaussian": lambda: td.Gaussian(CPU[0], CPU[0].abs()).log_prob(CPU[1]),
}
CPU, SET, STEPS = randn(3, 2), randn(4, 9, 2), torch.tensor([1, 500])


@pytest.mark.parametrize("name", OTHERS)
def test_what_makes_tensors_of_its_own_makes_them_on_the_cpu_in_a_dtype_of_its_own(name, request):
    expected, before = OTHERS[name](), torch.get_default_dtype()
    request.addfinalizer(lambda: torch.set_default_dtype(before))
    for dtype in (torch.float64, torch.bfloat16):
        torch.set_default_dtype(dtype)
        with torch.device("meta"):
            found = OTHERS[name]()
        assert torch.equal(found, expected) and found.dtype == expected.dtype if torch.is_tensor(found) else found == expected


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_what_is_drawn_has_the_dtype_and_device_of_the_network(dtype):
    ddpm = td.DDPM(points(), SCHEDULE).to(dtype)
    for call in (ddpm.sample, lambda shape: ddpm.sample_ddim(shape, 3, 0.5), lambda shape: ddpm(torch.zeros(shape, dtype=dtype))):
        assert call((5, 2)).dtype == dtype
    ddpm.to("meta")
    assert ddpm.sample((5, 2)).device.type == ddpm.sample_ddim((5, 2), 3, 0.5, generator=seed(0)).device.type == "meta"


def test_a_generator_on_the_cpu_serves_every_device():
    """It advances as it does for the CPU, so that it gives the same numbers everywhere."""
    used, same = seed(0), seed(0)
    ddpm = td.DDPM(points(), SCHEDULE)
    for generator, device in ((used, "cpu"), (same, "meta")):
        ddpm.to(device)
        x0 = torch.zeros(4, 2, device=device)
        td.Gaussian(x0, 1.0).sample(generator)
        td.vlb_terms(SCHEDULE, linear, x0, generator=generator)
        ddpm(x0, generator=generator)
        ddpm.sample((4, 2), generator=generator)
        ddpm.sample_ddim((4, 2), 3, 0.5, generator=generator)
    assert torch.equal(used.get_state(), same.get_state())


def on_fake_gpu(mode, network):
    """The network, with fake weights on the fake GPU."""
    for part in network.modules():
        for name, weight in [*part.named_parameters(recurse=False)]:
            setattr(part, name, nn.Parameter(FakeTensor(mode, weight.detach().to("meta"), GPU)))
    return network


GPU = torch.device("lazy:0")  # stands for one: the only device but for "meta" that every build of PyTorch is linked with


@recent  # where tensors that stand for those of another device are not made so either
@every_call
def test_nothing_on_the_cpu_is_mixed_with_a_tensor_elsewhere(name, monkeypatch):
    """Without a GPU: fake tensors say that they are on one, and PyTorch holds the devices of all operands together."""
    expected, net, schedule = answers(name, *examples()), points(), copy.deepcopy(SCHEDULE)
    for where in LOOKS:
        monkeypatch.setattr(f"tinyddpm.{where}.values_can_be_read", lambda x: False)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        on_fake_gpu(mode, net)
        monkeypatch.setattr("test_devices.module", lambda x, **how: td.DDPM(net, schedule, **how))
        found = answers(name, *(FakeTensor(mode, a.to("meta"), GPU) for a in examples()), schedule)
    for answer, right in zip(found, expected, strict=True):
        assert answer.device == GPU and answer.shape == right.shape and answer.dtype == right.dtype


def seeded(n, call, *args):
    """What a function gives after a seed, which is forgotten again."""
    with torch.random.fork_rng():
        torch.manual_seed(n)
        return call(*args)


class Graphs:
    """A compiler for torch.compile that counts the graphs it is given and runs them as they are."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward

    def compile(self, function):
        torch._dynamo.reset()
        return torch.compile(function, fullgraph=True, backend=self)


@pytest.mark.parametrize(
    ("network", "shape", "predict", "clip"),
    [(points, (4, 2), predict, clip) for predict in ("eps", "x0", "v") for clip in (None, (-1, 1))]
    + [(pictures, (2, 1, 4, 4), "v", (-1, 1)), (theirs, (2, 1, 8, 8), "v", (-1, 1))],
)
def test_the_reverse_step_is_one_graph_for_all_t(network, shape, predict, clip):
    ddpm, graphs = td.DDPM(network(), SCHEDULE, predict, clip=clip).requires_grad_(False), Graphs()

    def step(x, t):
        return td.p_step(SCHEDULE, x, t, ddpm.eps(x, t)).sample()

    compiled, x = graphs.compile(step), randn(1, *shape)
    for t in range(T, 0, -1):
        now = torch.full(shape[:1], t)
        expected, x = (seeded(t, call, x, now) for call in (step, compiled))
        close(x, expected)
    assert graphs.count == 1


@every_network
def test_a_network_a_prediction_and_a_loss_with_its_gradient_are_one_graph_each(network, shape):
    ddpm, x, e, t = (
        td.DDPM(network(), SCHEDULE, "v", clip=(-1, 1)),
        randn(1, *shape),
        randn(2, *shape),
        torch.arange(1, shape[0] + 1),
    )
    for call, args in ((ddpm.model, (x, t)), (ddpm.eps, (x, t)), (ddpm.x0, (x, t)), (ddpm, (x, t, e))):
        graphs = Graphs()
        close(graphs.compile(call)(*args), call(*args))
        assert graphs.count == 1
    wanted = [*ddpm.parameters()]
    expected = torch.autograd.grad(ddpm(x, t, e), wanted)
    close(torch.autograd.grad(torch.compile(ddpm, fullgraph=True, backend="aot_eager")(x, t, e), wanted), expected)


WHOLE = {
    "sample": lambda ddpm, x: td.sample(ddpm.schedule, ddpm.eps, x, "beta_tilde"),
    "sample_ddim": lambda ddpm, x: td.sample_ddim(ddpm.schedule, ddpm.eps, x, 3, 0.5),
    "vlb_terms": lambda ddpm, x: td.vlb_terms(ddpm.schedule, ddpm.eps, x).total,
    "DDPM.sample": lambda ddpm, x: ddpm.sample(x.shape),
    "DDPM.sample_ddim": lambda ddpm, x: ddpm.sample_ddim(x.shape, 2, 1.0),
    "DDPM.vlb": lambda ddpm, x: ddpm.vlb(level(x), levels=5).total,
}


@recent
@pytest.mark.parametrize("name", WHOLE)
def test_all_steps_together_are_one_graph(name):
    graphs, x = Graphs(), randn(1, 4, 2)
    compiled = graphs.compile(WHOLE[name])
    for schedule in (SCHEDULE, td.Schedule.linear(T, 0.01, 0.3)):  # the numbers of the first are not built in
        ddpm = td.DDPM(NET, schedule, "v")
        close(seeded(0, compiled, ddpm, x), seeded(0, WHOLE[name], ddpm, x))
    assert graphs.count == 1


def test_the_exact_denoiser_is_one_graph():
    graphs, best, (x, _, t) = Graphs(), DATA.eps(SCHEDULE), examples()
    close(graphs.compile(best)(x, t), best(x, t))
    close(graphs.compile(DATA.log_prob)(x), DATA.log_prob(x))
    assert graphs.count == 2


BATCHES = randn(1, 3, 4, 2), randn(2, 3, 4, 2), torch.tensor([[1, 2, 3, T], [T, 1, 1, 2], [4, 4, 2, 1]])


def alike(call, args, dims=0, tol=1e-5, **how):
    """Holds vmap to a loop."""
    dims = (dims,) * len(args) if dims == 0 else dims
    each = [[a if d is None else a[i] for a, d in zip(args, dims, strict=True)] for i in range(3)]
    for found, *expected in zip(vmap(call, dims, **how)(*args), *(call(*example) for example in each), strict=True):
        close(found, torch.stack(expected), tol)


@every_call
def test_under_vmap_each_batch_gets_what_it_gets_alone(name):
    def call(x, e, t):
        return answers(name, x, e, t)

    alike(call, BATCHES)
    if not name.startswith("DDPM"):  # whose network wants a step for each row
        alike(call, (*BATCHES[:2], BATCHES[2][:, 0]))
    alike(call, (BATCHES[0][0], BATCHES[1][0], BATCHES[2]), (None, None, 0))
    alike(call, (BATCHES[0], BATCHES[1][0], BATCHES[2][0]), (0, None, None))
    alike(call, (BATCHES[0][0], BATCHES[1], BATCHES[2][0]), (None, 0, None))


DRAWS = {
    "Gaussian.sample": lambda x, net: td.Gaussian(x, 0.5).sample(),
    "p_step": lambda x, net: td.p_step(SCHEDULE, x, 3, net(x, torch.full((4,), 3))).sample(),
    "simple_loss": lambda x, net: td.simple_loss(SCHEDULE, net, x),
    "vlb_terms": lambda x, net: td.vlb_terms(SCHEDULE, net, x).total,
    "sample": lambda x, net: td.sample(SCHEDULE, net, x),
    "sample_ddim": lambda x, net: td.sample_ddim(SCHEDULE, net, x, 3, 0.5),
}


@pytest.mark.parametrize("batched", [0, None], ids=["own data", "the same data"])
@pytest.mark.parametrize("name", DRAWS)
def test_randomness_under_vmap_is_the_same_or_different_as_one_says(name, batched):
    """With networks of an ensemble: their weights are stacked. The same noise is that of a loop with the same seed."""
    nets = [td.MLP(2, 8, 1) for _ in range(3)]
    for i, net in enumerate(nets):
        lively(net).requires_grad_(False).last.bias.fill_(i)
    weights, _ = stack_module_state(nets)
    x = BATCHES[0] if batched == 0 else BATCHES[0][0]

    def call(x, weights):
        return DRAWS[name](x, lambda xt, t: functional_call(NET, weights, (xt, t)))

    expected = [seeded(0, DRAWS[name], x[i] if batched == 0 else x, net) for i, net in enumerate(nets)]
    close(seeded(0, vmap(call, (batched, 0), randomness="same"), x, weights), torch.stack(expected))
    if batched is None:  # equal networks and data, so that only the noise can differ
        weights = {key: value[:1].expand_as(value) for key, value in weights.items()}
        one, two, three = seeded(0, vmap(call, (None, 0), randomness="different"), x, weights)
        assert not torch.equal(one, two) and not torch.equal(two, three)


@every_network
def test_gradients_of_each_example_and_networks_with_stacked_weights(network, shape):
    net, x, e, t = network(), randn(1, *shape), randn(2, *shape), torch.arange(1, shape[0] + 1)
    weights = {name: value.detach() for name, value in net.named_parameters()}

    def loss(weights, x, e, t):
        return td.simple_loss(SCHEDULE, lambda *args: functional_call(net, weights, args), x[None], t[None], e[None])

    found = vmap(grad(loss), (None, 0, 0, 0))(weights, x, e, t)
    for i in range(len(x)):
        alone = torch.autograd.grad(td.simple_loss(SCHEDULE, net, x[i, None], t[i, None], e[i, None]), [*net.parameters()])
        close([value[i] for value in found.values()], [*alone])
    stacked = {name: torch.stack([value, -value, value / 2]) for name, value in weights.items()}
    answers = vmap(lambda w: functional_call(net, w, (x, t)))(stacked)
    for i, factor in enumerate((1, -1, 0.5)):
        close(answers[i], functional_call(net, {name: factor * value for name, value in weights.items()}, (x, t)))


class Noised(Dataset):
    """Points, noised in the worker process that fetches them, by a schedule and a DDPM that came there."""

    def __init__(self):
        self.schedule, self.ddpm = td.Schedule.linear(T, 0.05, 0.4), td.DDPM(copy.deepcopy(NET), SCHEDULE, "v", clip=(-1, 1))

    def __len__(self):
        return 8

    def __getitem__(self, i):
        x0, t = td.data.two_moons(1), torch.tensor([i % T + 1])
        assert torch.equal(td.Schedule.linear(T, 0.05, 0.4).beta, self.schedule.beta)
        return {"x": td.q_sample(self.schedule, x0, t, torch.ones_like(x0))[0], "x0": x0[0], "t": t[0], "by": get_worker_info().id}

    def collate(self, examples):
        batch = torch.utils.data.default_collate(examples)
        with torch.no_grad():
            return {**batch, "eps": self.ddpm.eps(batch["x"], batch["t"]), "drawn": torch.randn(1)}


def fetch(start, workers, n):
    """All batches of a DataLoader: those that its workers made, in order."""
    data = Noised()
    how = {"num_workers": workers, "multiprocessing_context": start, "generator": seed(n), "timeout": 60}
    return data, list(DataLoader(data, 2, collate_fn=data.collate, **how))


def expect(data, batches):
    assert len(batches) == 4
    for batch in batches:
        close(batch["x"], td.q_sample(SCHEDULE, batch["x0"], batch["t"], torch.ones(2, 2)))
        close(batch["eps"], data.ddpm.eps(batch["x"], batch["t"]).detach())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system cannot fork a process")
def test_forked_workers_of_a_data_loader_noise_the_data_each_with_a_seed_of_its_own():
    data, batches = fetch("fork", 2, 0)
    expect(data, batches)
    assert [batch["by"].tolist() for batch in batches] == [[0, 0], [1, 1], [0, 0], [1, 1]]
    assert len({batch["drawn"].item() for batch in batches}) == 4  # no worker draws what another has drawn
    _, again = fetch("fork", 2, 0)
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(batches, again, strict=True))


def test_a_spawned_worker_of_a_data_loader_noises_the_data():
    """It is a new process: schedule and DDPM come there as pickles."""
    expect(*fetch("spawn", 1, 0))


COPIES = {"pickle": lambda a: pickle.loads(pickle.dumps(a)), "deep copy": copy.deepcopy, "flat copy": copy.copy}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_copies_answer_alike(copied):
    ddpm, (x, e, t) = td.DDPM(copy.deepcopy(NET), td.Schedule.cosine(T), "x0", "beta_tilde", (-1, 1)), examples()
    ddpm.schedule.at("beta", 1, x.to("meta"))  # makes a copy of a table there
    other = copied(ddpm)
    assert torch.equal(other.eps(x, t), ddpm.eps(x, t)) and torch.equal(other(x, t, e), ddpm(x, t, e))
    assert torch.equal(other.sample((4, 2), x, generator=seed(0)), ddpm.sample((4, 2), x, generator=seed(0)))
    schedule = copied(ddpm.schedule)
    assert schedule.at("beta", 1, x.to("meta")).device.type == "meta"
    assert all(torch.equal(getattr(schedule, name), getattr(ddpm.schedule, name)) for name in td.schedule.TABLES)
    assert torch.equal(copied(DATA).log_prob(x), DATA.log_prob(x)) and repr(schedule) == repr(ddpm.schedule)


# The CPU is among them so that these tests are known to run.
THERE = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
every_device = pytest.mark.parametrize(
    "device", [pytest.param(d, marks=pytest.mark.skipif(not there, reason=f"no {d} here")) for d, there in THERE.items()]
)


@every_device
@every_call
def test_a_real_device_answers_as_the_cpu_does(name, device):
    x, e, t = examples()
    try:
        found = answers(name, x.to(device), e.to(device), t.to(device)), answers(name, x.to(device), e.to(device), t)
    except NotImplementedError as error:
        if device == "cpu" or "log_ndtr" not in str(error):
            raise
        pytest.skip(f"PyTorch has no log_ndtr on {device}")
    for wherever_t_is in found:
        for answer, right in zip(wherever_t_is, answers(name, x, e, t), strict=True):
            if name != "vlb_weight":  # of t alone
                assert answer.device.type == device
            assert answer.dtype == (torch.float32 if answer.device.type == "mps" else right.dtype)
            close(answer.cpu().to(right), right, 1e-4)


@every_device
def test_a_real_device_draws_and_measures(device):
    ddpm, x0 = td.DDPM(copy.deepcopy(NET), SCHEDULE, "v").to(device), BATCHES[0].flatten(0, 1).to(device)
    draws = (
        lambda g: td.Gaussian(x0, 0.5).sample(g),
        lambda g: ddpm(x0, generator=g),
        lambda g: ddpm.sample((12, 2), generator=g),
        lambda g: ddpm.sample_ddim((12, 2), 3, 0.5, generator=g),
        lambda g: ddpm.vlb(x0, generator=g).total,
    )
    alike = [draw(seed(0)).cpu() for draw in draws]  # a generator on the CPU serves every device, with the same numbers
    for draw in draws:
        there = draw(seed(1, device))
        assert there.device.type == device and torch.equal(there, draw(seed(1, device))) and draw(None).isfinite().all()
    ddpm.to("cpu")
    distance, index = td.metrics.nearest(x0, x0.flip(0))
    assert distance.device.type == index.device.type == device and distance.dtype == x0.dtype
    modes, steps = td.metrics.ring_modes(x0), DATA.reverse_step(SCHEDULE, x0[0], 3).weights
    far, near = td.metrics.sliced_wasserstein(x0, x0 + 1), td.metrics.energy_distance(x0, x0 + 1)
    assert td.metrics.frechet_distance(x0, x0 + 1) == pytest.approx(2)
    x0 = x0.cpu()
    for draw, found in zip(draws, alike, strict=True):
        close(found, draw(seed(0)).to(found), 1e-4)
    close(index.cpu(), torch.arange(12).flip(0))
    assert torch.equal(modes.counts, td.metrics.ring_modes(x0).counts)
    close(steps, DATA.reverse_step(SCHEDULE, x0[0], 3).weights)
    assert far == pytest.approx(td.metrics.sliced_wasserstein(x0, x0 + 1))
    assert near == pytest.approx(td.metrics.energy_distance(x0, x0 + 1))
    best = td.exact.Empirical(x0.to(device))  # made from data there
    assert best.means.device.type == "cpu" and best.eps(SCHEDULE)(x0.to(device), 3).device.type == device


@every_device
@pytest.mark.parametrize(
    ("network", "shape"), [(points, (16, 2)), (pictures, (8, 1, 4, 4)), (theirs, (8, 1, 8, 8))], ids=["MLP", "UNet", "UNet2D"]
)
def test_a_real_device_trains_samples_and_keeps_checkpoints(network, shape, device, tmp_path):
    x0, first = randn(1, *shape), network().state_dict()

    def train(steps=6, where=device, **more):
        ddpm = td.DDPM(network(), SCHEDULE, "v", clip=(-3, 3)).to(where)
        settings = {"batch_size": 8, "progress": False, "device": device, "mixed_precision": False, "save_every": 3, **more}
        return ddpm, td.fit(ddpm, x0, steps, **settings)

    ddpm, losses = train(where="cpu", checkpoint=tmp_path / "run")
    weights = ddpm.model.state_dict()
    assert losses.isfinite().all() and losses.device.type == "cpu" and any(not torch.equal(weights[n], first[n]) for n in first)
    assert {p.device.type for p in ddpm.parameters()} == {"cpu"}  # where it was
    there, same = train()
    assert {p.device.type for p in there.parameters()} == {device}
    close(same, losses, 1e-3)
    again, more = train(9, checkpoint=tmp_path / "run", resume=tmp_path / "run")
    assert len(more) == 9 and torch.equal(more[:6], losses) and more.isfinite().all()

    again.save(tmp_path / "saved")
    loaded = td.load(tmp_path / "saved").to(device).eval()
    x_T, steps = randn(2, *shape).to(device), torch.full(shape[:1], 3, device=device)
    with torch.no_grad():
        close(loaded.eps(x_T, steps), again.eps(x_T, steps))
    for call in (lambda: loaded.sample(shape), lambda: loaded.sample_ddim(shape, 3, 0.5), lambda: loaded.sample(shape, x_T)):
        x = call()
        assert x.shape == shape and x.device.type == device and x.dtype == torch.float32 and x.isfinite().all()
    assert loaded.vlb(x0.to(device)).total.isfinite().all()


@every_device
def test_a_real_device_computes_in_mixed_precision(device):
    ddpm, x_T = td.DDPM(copy.deepcopy(NET), SCHEDULE, "v", clip=(-3, 3)).to(device), randn(1, 8, 2).to(device)
    losses = td.fit(ddpm, x_T, 4, 8, progress=False, device=device, mixed_precision=True)
    assert losses.isfinite().all() and {p.dtype for p in ddpm.parameters()} == {torch.float32}
    right = (
        ddpm.sample((8, 2), x_T, generator=seed(0)),
        ddpm.sample_ddim((8, 2), 3, 0.5, x_T, generator=seed(0)),
        ddpm.vlb(x_T, eps=x_T).total,
    )
    with torch.autocast(device, torch.bfloat16):
        found = (
            ddpm.sample((8, 2), x_T, generator=seed(0)),
            ddpm.sample_ddim((8, 2), 3, 0.5, x_T, generator=seed(0)),
            ddpm.vlb(x_T, eps=x_T).total,
        )
    for a, b in zip(found, right, strict=True):
        assert a.dtype == b.dtype and a.device.type == device and not torch.equal(a, b)
        close(a, b, 0.1)


@recent
@every_device
def test_a_real_device_compiles_the_step_to_one_graph_and_maps_it(device):
    ddpm, graphs = td.DDPM(copy.deepcopy(NET), SCHEDULE, "v", clip=(-3, 3)).to(device).requires_grad_(False), Graphs()
    x, t = BATCHES[0].to(device), BATCHES[2].to(device)

    def step(x, t):
        return td.p_step(SCHEDULE, x, t, ddpm.eps(x, t)).mean

    compiled, expected = graphs.compile(step), [step(*pair) for pair in zip(x, t, strict=True)]
    for *pair, right in zip(x, t, expected, strict=True):
        close(compiled(*pair), right)
    assert graphs.count == 1
    close(vmap(step)(x, t), torch.stack(expected))
    whole = Graphs()
    assert whole.compile(lambda x: ddpm.sample((4, 2), x))(x[0]).isfinite().all() and whole.count == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda here")
def test_a_run_waits_for_a_gpu_a_few_times_and_a_loss_never():
    """However long it is; PyTorch says of each wait that it was one."""
    ddpm, x0 = td.DDPM(copy.deepcopy(NET), td.Schedule.linear(400), "v", clip=(-3, 3)).to("cuda"), BATCHES[0][0].to("cuda")
    fit = {"progress": False, "device": "cuda", "mixed_precision": False}

    def waits(call):
        call()  # what is made once, such as copies of tables, is not counted
        torch.cuda.set_sync_debug_mode("warn")
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                call()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        return sum("synchronizing" in str(warning.message) for warning in caught)

    generator = seed(0, "cuda")
    assert waits(lambda: ddpm(x0).backward()) == waits(lambda: ddpm(x0, generator=generator)) == 0
    assert waits(lambda: ddpm.sample((4, 2), generator=generator)) <= 25 and waits(lambda: ddpm.sample_ddim((4, 2), 100, 0.5)) <= 25
    assert waits(lambda: td.fit(ddpm, x0, 400, 8, **fit)) <= 200
