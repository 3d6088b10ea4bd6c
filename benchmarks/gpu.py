"""How fast pictures of 32x32 are trained on and sampled on a GPU: images a second in bfloat16, compiled and not.

    python benchmarks/gpu.py

With diffusers installed, its UNet2DModel of about the same size and its DDPMScheduler run beside it, in a loop by hand. Data
are noise: the speed does not depend on them. Each route runs once before it is timed, which is also when it is compiled.
"""

import time
from collections.abc import Callable
from typing import Any

import torch
from loops import diffusers_loss, diffusers_sample, diffusers_scheduler, optional, train
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import tinyddpm as td

DEVICE = torch.device("cuda")
T, STEPS, BATCH = 1000, 200, 256
SHAPE = (BATCH, 3, 32, 32)


def bf16() -> torch.autocast:
    """Where the network computes in bfloat16."""
    return torch.autocast(DEVICE.type, torch.bfloat16)


def clock(way: Callable[[int], object], steps: int) -> float:
    """The seconds that a way takes for so many steps, after a few that warm up."""
    way(5)
    torch.cuda.synchronize()
    start = time.perf_counter()
    way(steps)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def gigaflops(net: nn.Module) -> float:
    """The operations of one forward pass for one picture, in 10⁹."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(torch.zeros(1, *SHAPE[1:], device=DEVICE), torch.ones(1, dtype=torch.long, device=DEVICE))
    return float(counter.get_total_flops()) / 1e9


def speeds(train_steps: Callable[[int], object], sample_steps: Callable[[int], object]) -> tuple[float, float]:
    """Images a second in training, and in sampling with T steps."""
    return STEPS * BATCH / clock(train_steps, STEPS), BATCH / clock(sample_steps, T)


def our_network() -> nn.Module:
    """The UNet of tinyddpm."""
    return td.UNet(3, 64, levels=3).to(DEVICE)


def ours(net: nn.Module, data: Tensor) -> tuple[float, float]:
    """The speeds of `td.fit` and `DDPM.sample`."""

    def fit(steps: int) -> None:
        ddpm = td.DDPM(net, td.Schedule.cosine(T))
        td.fit(ddpm, data, steps, BATCH, device=DEVICE, mixed_precision=True, progress=False)

    def sample(steps: int) -> None:
        with bf16():
            td.DDPM(net, td.Schedule.cosine(steps)).sample(SHAPE)

    return speeds(fit, sample)


def their_network() -> nn.Module:
    """The UNet of diffusers, with as many weights and about as many operations."""
    net: nn.Module = optional("diffusers").UNet2DModel(
        sample_size=32,
        block_out_channels=(48, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        norm_num_groups=8,
    )
    return net.to(DEVICE)


def theirs(net: nn.Module, data: Tensor) -> tuple[float, float]:
    """The speeds of the loops with the scheduler of diffusers."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        with bf16():
            answer: Tensor = net(x, t).sample
        return answer.float()

    def fit(steps: int) -> None:
        scheduler: Any = diffusers_scheduler(T, "fixed_large")
        net.train()
        train(net, data, steps, BATCH, lambda x0: diffusers_loss(scheduler, model, x0))

    def sample(steps: int) -> None:
        net.eval()
        diffusers_sample(diffusers_scheduler(steps, "fixed_large"), model, torch.randn(SHAPE, device=DEVICE))

    return speeds(fit, sample)


def main() -> None:
    """Prints the table."""
    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use: nothing to measure")
        return
    data = torch.randn(4 * BATCH, *SHAPE[1:], device=DEVICE)
    routes = {"tinyddpm": (our_network, ours)}
    if optional("diffusers"):
        routes["diffusers"] = (their_network, theirs)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, bfloat16, batches of {BATCH}, T = {T}. Images a second.\n")
    print(f"{'':24}{'million weights':>17}{'GFLOP forward':>15}{'training':>12}{'sampling':>12}")
    for name, (network, route) in routes.items():
        for compiled in (False, True):
            net = network()
            size = f"{sum(p.numel() for p in net.parameters()) / 1e6:17.2f}{gigaflops(net):15.2f}"
            if compiled:
                net.compile()
            training, sampling = route(net, data)
            print(f"{name + ', compiled' * compiled:24}{size}{training:12.0f}{sampling:12.1f}")


if __name__ == "__main__":
    main()
