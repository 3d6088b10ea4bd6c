"""Where random numbers come from: a generator that the caller names, or PyTorch's default one."""

from __future__ import annotations

import torch
from torch import Tensor


def standard_normal(like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Noise in the shape, dtype and device of a tensor; which numbers does not depend on its layout in memory.

    A generator draws where it lives: one on the CPU gives the same numbers on every device.
    """
    if generator is None and like.is_contiguous():
        return torch.randn_like(like)
    place = like.device if generator is None else generator.device
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=place).to(like.device)


def default_generator(device: torch.device) -> torch.Generator:
    """Where PyTorch draws from on a device if no generator is named."""
    return torch.cuda.default_generators[device.index] if device.type == "cuda" else torch.default_generator
