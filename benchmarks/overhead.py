"""What the library costs: a training step and a sampling step over a loop by hand that does the same arithmetic.

    python benchmarks/overhead.py

Each round times every route one after the other, so that what slows the machine slows all of them; the table shows the
medians of the rounds' ratios. The bare network is a forward pass in sampling, and a forward and a backward pass in training.
With diffusers or denoising-diffusion-pytorch installed, they get a column each.
"""

import contextlib
import copy
import io
import statistics
import time
from collections.abc import Callable

import torch
from loops import diffusers_loss, diffusers_sample, diffusers_scheduler, optional, train
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

import tinyddpm as td

T, STEPS, ROUNDS = 100, 100, 15
COLUMNS = ("by hand", "tinyddpm", "diffusers", "denoising_diffusion_pytorch")
Routes = dict[str, Callable[[], object]]


class ConvNet(nn.Module):
    """A small convolutional network for 8x8 pictures."""

    channels = out_dim = 1  # this and the next line: what denoising-diffusion-pytorch asks of a network
    self_condition = random_or_learned_sinusoidal_cond = False

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Linear(32, 32)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, 32), (32, 32), (32, 1)))

    def forward(self, x: Tensor, t: Tensor, _: None = None) -> Tensor:
        """The answer for x_t at t."""
        h = self.layers[0](x) + self.time(td.nets.time_embedding(t, 32))[:, :, None, None]
        answer: Tensor = self.layers[2](self.layers[1](h.relu()).relu())
        return answer


class ByHand:
    """Loss and sampling by hand, with coefficients that are computed once."""

    def __init__(self, net: nn.Module, schedule: td.Schedule) -> None:
        self.net = net
        self.signal = schedule.alpha_bar.sqrt().float()
        self.noise = schedule.one_minus_alpha_bar.sqrt().float()
        self.grow = schedule.alpha.rsqrt().tolist()
        self.share = (schedule.beta / schedule.one_minus_alpha_bar.sqrt()).tolist()
        self.std = schedule.beta.sqrt().tolist()

    def loss(self, x0: Tensor) -> Tensor:
        """Algorithm 1: the mean squared error of the predicted noise."""
        t = torch.randint(1, T + 1, (len(x0),))
        eps = torch.randn_like(x0)
        shape = (-1, *[1] * (x0.ndim - 1))
        xt = self.signal[t].view(shape) * x0 + self.noise[t].view(shape) * eps
        return F.mse_loss(self.net(xt, t), eps)

    @torch.no_grad()
    def sample(self, x: Tensor) -> Tensor:
        """Algorithm 2."""
        for t in range(T, 0, -1):
            eps = self.net(x, torch.full((len(x),), t))
            x = (x - self.share[t] * eps) * self.grow[t]
            if t > 1:
                x = x + self.std[t] * torch.randn_like(x)
        return x


@torch.no_grad()
def sample_bare(net: nn.Module, x: Tensor) -> None:
    """The network alone, as often as sampling asks it."""
    t = torch.full((len(x),), 1)
    for _ in range(T):
        net(x, t)


def train_bare(net: nn.Module, x: Tensor) -> None:
    """The network and its gradient alone, as often as training asks for them."""
    t = torch.full((len(x),), 1)
    for _ in range(STEPS):
        net.zero_grad()
        net(x, t).square().mean().backward()


def routes(net: nn.Module, data: Tensor, batch: int) -> tuple[Routes, Routes]:
    """The ways to sample and the ways to train; each way trains its own copy of the network."""
    schedule, noise = td.Schedule.cosine(T), torch.randn(batch, *data.shape[1:])
    bare, hand, ours, theirs, others = (copy.deepcopy(net) for _ in range(5))
    by_hand, ddpm = ByHand(hand, schedule), td.DDPM(ours, schedule)
    sampling: Routes = {
        "bare": lambda: sample_bare(bare, noise),
        "by hand": lambda: by_hand.sample(noise),
        "tinyddpm": lambda: ddpm.sample(noise.shape, x_T=noise),
    }
    training: Routes = {
        "bare": lambda: train_bare(bare, data[:batch]),
        "by hand": lambda: train(hand, data, STEPS, batch, by_hand.loss),
        "tinyddpm": lambda: td.fit(ddpm, data, STEPS, batch, device="cpu", progress=False),
    }
    if optional("diffusers"):
        scheduler = diffusers_scheduler(T, "fixed_large")
        sampling["diffusers"] = lambda: diffusers_sample(scheduler, theirs, noise)
        training["diffusers"] = lambda: train(theirs, data, STEPS, batch, lambda x0: diffusers_loss(scheduler, theirs, x0))
    if isinstance(net, ConvNet) and (library := optional("denoising_diffusion_pytorch")):
        diffusion = library.GaussianDiffusion(
            others, image_size=8, timesteps=T, objective="pred_noise", beta_schedule="cosine", auto_normalize=False
        )
        sampling[library.__name__] = lambda: quietly(lambda: diffusion.sample(batch_size=batch))
        training[library.__name__] = lambda: train(others, data, STEPS, batch, diffusion)
    return sampling, training


def quietly(way: Callable[[], object]) -> None:
    """Without the progress bar, where a library has no argument for that."""
    with contextlib.redirect_stderr(io.StringIO()):
        way()


def check_same(net: nn.Module, data: Tensor, batch: int) -> None:
    """Raises an error unless the loop by hand ends in the same weights and samples as the library, up to rounding."""
    hand, ours = copy.deepcopy(net), copy.deepcopy(net)
    by_hand, ddpm = ByHand(hand, td.Schedule.cosine(T)), td.DDPM(ours, td.Schedule.cosine(T))
    torch.manual_seed(0)
    train(hand, data, 20, batch, by_hand.loss)
    td.fit(ddpm, data, 20, batch, seed=0, device="cpu", progress=False)
    torch.testing.assert_close(dict(hand.named_parameters()), dict(ours.named_parameters()), rtol=1e-3, atol=1e-4)
    noise = torch.randn(batch, *data.shape[1:])
    torch.manual_seed(0)
    expected = by_hand.sample(noise)
    samples = ddpm.sample(noise.shape, x_T=noise, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(samples, expected, rtol=1e-2, atol=1e-2)


def clock(ways: Routes) -> dict[str, list[float]]:
    """The seconds that each way takes, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(ROUNDS + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if round_:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: dict[str, list[float]], name: str, over: str) -> list[float]:
    """The quartiles of one way's time over another's, each pair from the same round."""
    return statistics.quantiles([a / b for a, b in zip(seconds[name], seconds[over], strict=True)], n=4)


def row(seconds: dict[str, list[float]], count: int) -> str:
    """A line of the table, for ways of `count` steps each."""
    bare = statistics.median(seconds["bare"]) / count * 1e3
    over_bare = [f"{ratios(seconds, name, 'bare')[1]:.2f}" if name in seconds else "-" for name in COLUMNS]
    low, middle, high = ratios(seconds, "tinyddpm", "by hand")
    cells = "".join(f"{cell:>{width}}" for cell, width in zip(over_bare, (9, 10, 11, 11), strict=True))
    return f"{bare:9.3f}{cells}{middle:9.3f} ({low:.3f}-{high:.3f})"


def main() -> None:
    """Prints the table."""
    cases = {
        "MLP, 256 points": (td.MLP(), td.data.eight_gaussians(10_000), 256),
        "conv net, 64 pictures of 8x8": (ConvNet(), td.data.digits(), 64),
    }
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} thread(s). The columns from 'by hand' on are ratios.")
    print("'d-d-pyt.' is denoising-diffusion-pytorch. The last column has the median and the quartiles.\n")
    print(f"{'':38}  bare ms  by hand  tinyddpm  diffusers   d-d-pyt.  tinyddpm / by hand")
    for name, case in cases.items():
        check_same(*case)
        sampling, training = routes(*case)
        print(f"{'sampling, ' + name:38}{row(clock(sampling), T)}")
        print(f"{'training, ' + name:38}{row(clock(training), STEPS)}")


if __name__ == "__main__":
    main()
