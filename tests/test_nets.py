"""The two networks: shapes, size, what the answer depends on, and that every weight is trained."""

import inspect
import math

import pytest
import torch

import tinyddpm as td
from tinyddpm import nets
from tinyddpm.nets import time_embedding


def seed(n):
    return torch.Generator().manual_seed(n)


def build(network, *args):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network(*args)


def woken(network):
    """With noise added to all weights: a network starts with layers that are 0."""
    generator = seed(1)
    with torch.no_grad():
        for p in network.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return network


def count(network):
    return sum(p.numel() for p in network.parameters())


def test_time_embedding_is_sines_and_cosines():
    t, size = [0, 1, 7, 1000], 6
    angles = [[step / 10000 ** (k / 3) for k in range(3)] for step in t]
    expected = torch.tensor([[*map(math.sin, row), *map(math.cos, row)] for row in angles])
    torch.testing.assert_close(time_embedding(torch.tensor(t), size), expected, rtol=0, atol=1e-4)
    assert time_embedding(torch.tensor(t), size).shape == (4, 6)


def test_time_embedding_tells_all_steps_apart():
    rows = time_embedding(torch.arange(1, 1001), 64)
    assert (torch.cdist(rows, rows) + torch.eye(1000)).min() > 0.1


def test_they_are_small():
    assert count(td.MLP()) <= 140_000 and count(td.UNet(1, 32, 2)) <= 300_000
    code = [line for line in inspect.getsource(nets).splitlines() if line.strip()]
    assert len(code) < 215


@pytest.mark.parametrize(("dim", "width", "depth"), [(2, 96, 3), (1, 8, 1), (5, 16, 4)])
def test_parameters_of_the_mlp(dim, width, depth):
    """Embedding 2 (64² + 64), in and out, and for each block a norm, a map of the time and two of the features."""
    block = 2 * width + (64 + 1) * 2 * width + 2 * (width + 1) * width
    expected = 2 * 64 * 65 + (dim + 1) * width + (width + 1) * dim + depth * block
    network = td.MLP(dim, width, depth)
    assert count(network) == expected
    assert network(torch.zeros(3, dim), torch.tensor([1, 2, 3])).shape == (3, dim)


@pytest.mark.parametrize(
    ("size", "levels"), [((8, 8), 2), ((16, 16), 3), ((32, 32), 3), ((64, 64), 4), ((8, 16), 3), ((12, 4), 2), ((3, 5), 1)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_unet_answers_in_the_shape_of_its_input(channels, size, levels):
    network = woken(build(td.UNet, channels, 8, levels))
    x = torch.randn(2, channels, *size, generator=seed(0))
    answer = network(x, torch.tensor([1, 9]))
    assert answer.shape == x.shape and answer.isfinite().all() and answer.std() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 8), (5, 3), (9, 9), (30, 30), (31, 16), (7, 50)])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_the_unet_takes_pictures_of_any_size(size, levels):
    """As if the last row and the last column were there more than once, and the answer to these were left out."""
    network, factor, (height, width) = woken(build(td.UNet, 2, 8, levels)).double(), 2 ** (levels - 1), size
    x, t = torch.randn(2, 2, *size, generator=seed(0)).double(), torch.tensor([1, 9])
    rows, columns = (torch.arange(-(-side // factor) * factor).clamp(max=side - 1) for side in size)
    whole = network(x[:, :, rows][:, :, :, columns], t)
    assert torch.equal(network(x, t), whole[:, :, :height, :width]) and whole.std() > 0


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_a_picture_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match=r"^xt has shape \(2, 1, \d, \d\), expected \(batch, 1, height, width\)$"):
        td.UNet(1, 8)(torch.zeros(2, 1, *size), torch.tensor([1, 2]))


def test_a_picture_of_any_size_is_trained_on_and_drawn():
    ddpm = td.DDPM(build(td.UNet, 1, 8, 3), td.Schedule.cosine(T=3), clip=(-1, 1))
    td.fit(ddpm, torch.zeros(4, 1, 5, 9), steps=2, batch_size=2, progress=False)
    assert ddpm.sample((2, 1, 5, 9)).shape == ddpm.sample_ddim((2, *ddpm.example_shape), steps=2).shape == (2, 1, 5, 9)


NETWORKS = [
    pytest.param(lambda: build(td.UNet, 2, 16, 3), (2, 5, 7), id="unet-any-size"),
    pytest.param(lambda: build(td.MLP, 2, 16, 2), (2,), id="mlp"),
    pytest.param(lambda: build(td.UNet, 2, 16, 3), (2, 8, 4), id="unet"),
]


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_training_reaches_every_parameter(make, shape):
    """Layers that start at 0 let nothing through: the layer behind them is reached one step later, and in two steps all are."""
    network, x, t = make().double(), torch.randn(4, *shape, generator=seed(0)).double(), torch.tensor([1, 5, 50, 90])
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (network(x, t) - torch.randn(4, *shape, generator=seed(2)).double()).square().mean().backward()
        optimizer.step()
    for name, p in network.named_parameters():
        assert p.grad.abs().max() > 1e-9 and not torch.equal(p, before[name]), name


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_depends_on_the_state_and_on_the_step(make, shape):
    network, x = woken(make()), torch.randn(1, *shape, generator=seed(0))
    answer = network(x, torch.tensor([5]))
    assert (network(x, torch.tensor([6])) - answer).abs().max() > 1e-4
    assert (network(x, torch.tensor([500])) - answer).abs().max() > 1e-2
    assert (network(x + 0.1, torch.tensor([5])) - answer).abs().max() > 1e-3


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_each_example_is_answered_by_itself(make, shape):
    network, x, t = woken(make()).double(), torch.randn(3, *shape, generator=seed(0)).double(), torch.tensor([1, 7, 90])
    one_by_one = torch.cat([network(x[i : i + 1], t[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(network(x, t), one_by_one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_computes_in_the_dtype_of_its_weights(make, shape, dtype):
    assert make().to(dtype)(torch.zeros(2, *shape, dtype=dtype), torch.tensor([1, 2])).dtype == dtype


def test_every_place_of_the_picture_sees_every_other():
    network, x, t = (
        woken(build(td.UNet, 1, 8, 3)).double(),
        torch.randn(1, 1, 32, 32, generator=seed(0)).double(),
        torch.tensor([3]),
    )
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x, t)[0, 0, 0, 0], x)
    assert (gradient != 0).all()


@pytest.mark.parametrize(("make", "shape"), NETWORKS)
def test_arguments_build_the_same_network(make, shape):
    network = make()
    again = type(network)(**network.arguments)
    again.load_state_dict(network.state_dict())
    x, t = torch.randn(2, *shape, generator=seed(0)), torch.tensor([1, 2])
    assert torch.equal(again(x, t), network(x, t))
