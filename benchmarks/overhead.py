"""What the library costs: a sampling step and a training step over a loop by hand that does the same arithmetic.

    python benchmarks/overhead.py [--device cuda]

Every prediction, with and without `clip`, by all steps and by DDIM; training by the module's loss in a loop of one's own, and by
`fit`, with the same optimiser on both sides. On the least networks, where the library shows, and on the package's own. Each route
is timed in pairs with its loop by hand, in turn before and after it, so that what slows the machine slows both; the table shows
the median of the ratios, with their quartiles, and the time of a step by hand. First both run from one seed, and the benchmark
stops unless they end in the same samples and weights up to rounding. With diffusers installed, its scheduler is timed too.
"""

import argparse
import copy
import itertools
import statistics
import time
from collections.abc import Callable

import torch
from loops import ByHand, diffusers_loss, diffusers_sample, diffusers_scheduler, optional, train
from torch import Tensor, nn

import tinyddpm as td

T, DDIM, STEPS, BY_FIT = 200, 50, 60, 400
PAIRS, LEAST_PAIRS, PATIENCE = 31, 5, 6.0  # fewer pairs where they take longer than so many seconds
SCHEDULE = td.Schedule.cosine(T)
TIMES = [T * i // DDIM for i in range(DDIM + 1)]


class Least(nn.Module):
    """Two layers, and none for t: hardly any work beside what the library does."""

    def __init__(self, pictures: bool) -> None:
        super().__init__()
        shapes = (1, 8), (8, 1)
        layers = [nn.Conv2d(*shape, 3, padding=1) for shape in shapes] if pictures else [nn.Linear(2, 16), nn.Linear(16, 2)]
        self.first, self.last = layers

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """The answer for x_t, whatever t is."""
        answer: Tensor = self.last(self.first(x).relu())
        return answer


def seconds(way: Callable[[], object], device: torch.device) -> float:
    """How long it takes."""
    start = time.perf_counter()
    way()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def row(name: str, ours: Callable[[], object], by_hand: Callable[[], object], steps: int, device: torch.device) -> None:
    """Prints a line of the table, for ways of so many steps."""
    ours(), by_hand()  # which warms up
    ratios, hand, start = [], [], time.perf_counter()
    for pair in range(PAIRS):
        if pair >= LEAST_PAIRS and time.perf_counter() - start > PATIENCE:
            break
        ways = [ours, by_hand] if pair % 2 else [by_hand, ours]
        took = {way: seconds(way, device) for way in ways}
        ratios.append(took[ours] / took[by_hand])
        hand.append(took[by_hand] / steps * 1e6)
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"{name:52}{statistics.median(hand):12.1f}{middle:9.3f} ({low:.3f}-{high:.3f})", flush=True)


def check_same(ddpm: td.DDPM, hand: ByHand, x: Tensor) -> None:
    """Stops unless both give the same samples and losses, up to rounding."""
    pairs = [
        (lambda: ddpm.sample(x.shape, x_T=x), lambda: hand.sample(x)),
        (lambda: ddpm.sample_ddim(x.shape, DDIM, x_T=x), lambda: hand.sample_ddim(x, TIMES)),
        (lambda: ddpm(x), lambda: hand.loss(x)),
    ]
    for ours, by_hand in pairs:
        results = []
        for way in (ours, by_hand):
            torch.manual_seed(0)
            results.append(way())
        torch.testing.assert_close(*results, rtol=1e-2, atol=1e-2)


def sampling(name: str, net: nn.Module, x: Tensor) -> None:
    """The rows of the samplers."""
    for predict, clip in itertools.product(("eps", "x0", "v"), (None, (-1.0, 1.0))):
        ddpm, hand = td.DDPM(net, SCHEDULE, predict, clip=clip), ByHand(net, SCHEDULE, predict, clip)  # type: ignore[arg-type]
        check_same(ddpm, hand, x)
        what = f"{name}, {predict}{', clip' * bool(clip)}"
        row(f"{what}, ancestral", lambda: ddpm.sample(x.shape, x_T=x), lambda: hand.sample(x), T, x.device)  # noqa: B023
        row(f"{what}, DDIM", lambda: ddpm.sample_ddim(x.shape, DDIM, x_T=x), lambda: hand.sample_ddim(x, TIMES), DDIM, x.device)  # noqa: B023
    if optional("diffusers"):
        scheduler, hand = diffusers_scheduler(T, "fixed_large"), ByHand(net, SCHEDULE)
        row(f"{name}, eps, diffusers", lambda: diffusers_sample(scheduler, net, x), lambda: hand.sample(x), T, x.device)


def own_loop(net: nn.Module, loss: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A loop of one's own around a loss, with Adam."""
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)

    def run() -> None:
        for _ in range(STEPS):
            value = loss(x)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()

    return run


def training(name: str, net: nn.Module, data: Tensor, batch: int) -> None:
    """The rows of training."""
    x = data[:batch]
    for predict in ("eps", "x0", "v"):
        ours, theirs = copy.deepcopy(net), copy.deepcopy(net)
        ddpm, hand = td.DDPM(ours, SCHEDULE, predict), ByHand(theirs, SCHEDULE, predict)  # type: ignore[arg-type]
        row(f"{name}, {predict}, the loss", own_loop(ours, ddpm, x), own_loop(theirs, hand.loss, x), STEPS, x.device)
        fit = lambda steps=BY_FIT: td.fit(ddpm, data, steps, batch, device=x.device, mixed_precision=False, progress=False)  # noqa: B023, E731
        by_hand = lambda steps=BY_FIT: train(theirs, data, steps, batch, hand.loss)  # noqa: B023, E731
        ours.load_state_dict(theirs.state_dict())
        fit(20)
        torch.manual_seed(0)
        by_hand(20)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-3, atol=1e-4)
        row(f"{name}, {predict}, fit", fit, by_hand, BY_FIT, x.device)
    if optional("diffusers"):
        scheduler, hand, ours = diffusers_scheduler(T, "fixed_large"), ByHand(net, SCHEDULE), copy.deepcopy(net)
        theirs_loss = own_loop(ours, lambda x0: diffusers_loss(scheduler, ours, x0), x)
        row(f"{name}, eps, diffusers", theirs_loss, own_loop(net, hand.loss, x), STEPS, x.device)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description="What the library costs over a loop by hand.")
    parser.add_argument("--device", default="cpu")
    device = torch.device(parser.parse_args().device)
    points, digits = td.data.eight_gaussians(10_000).to(device), td.data.digits().to(device)
    cases = {
        "least, 256 points": (Least(pictures=False), points, 256),
        "least, 64 pictures": (Least(pictures=True), digits, 64),
        "MLP, 256 points": (td.MLP(), points, 256),
        "UNet, 64 pictures": (td.UNet(width=8), digits, 64),
    }
    print(f"PyTorch {torch.__version__} on {device}, {torch.get_num_threads()} thread(s).\n")
    print(f"{'':52}{'hand, µs':>12}{'ratio':>9} (quartiles)")
    for name, (net, data, batch) in cases.items():
        net.to(device)
        sampling(f"sampling, {name}", net, torch.randn_like(data[:batch]))
        training(f"training, {name}", net, data, batch)


if __name__ == "__main__":
    main()
