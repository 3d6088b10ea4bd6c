"""A smaller space: an autoencoder turns pictures into codes, on which an ordinary DDPM is trained (the chapter of that name)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tinyddpm import engine
from tinyddpm._checks import (
    check_batch,
    check_count,
    check_examples,
    check_finite,
    check_generator,
    check_like,
    check_number,
    check_type,
)
from tinyddpm._random import standard_normal
from tinyddpm._registry import describe, known
from tinyddpm.checkpoint import Where
from tinyddpm.examples import survey
from tinyddpm.gaussian import Gaussian

PATCH = 4  # pixels on a side that become one place before the first convolution
FACTOR = 2 * PATCH  # how many pixels of a side become one number of a code's side
PART = 64  # pictures that are encoded at once when all codes are looked at


@known
class Autoencoder(nn.Module):
    """A VAE for pictures. Its codes have 8 times shorter sides and, after `fit_autoencoder`, the variance 1. Rombach et al. 2022

    Args:
        channels: the channels of a picture.
        code: the channels of a code.
        width: the number of features, a multiple of 8; twice as many at the codes' size.
        weight: of the divergence in the loss, which is twice the variance that the decoder takes its pictures to have. Eq. (8.5)

    Attributes:
        shift: a buffer (code, 1, 1): a code is what the network has made of a picture, minus shift, over scale. Eq. (8.12)
        scale: a buffer ().

    Example:
        >>> Autoencoder().encode(torch.zeros(2, 3, 64, 64)).mean.shape
        torch.Size([2, 4, 8, 8])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, channels: int = 3, code: int = 4, width: int = 48, weight: float = 0.005) -> None:
        super().__init__()
        given = {"channels": channels, "code": code, "width": width}
        self.arguments: dict[str, float] = {name: check_count(name, value) for name, value in given.items()}
        self.arguments["weight"] = check_number("weight", weight, 0, math.inf)
        if width % 8:
            raise ValueError(f"width = {width} is not a multiple of 8")
        self.channels, self.code, self.weight = channels, code, float(weight)
        pixels = channels * PATCH**2
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(PATCH), _conv(pixels, width), _Block(width), _conv(width, 2 * width, stride=2),
            _Block(2 * width), nn.GroupNorm(8, 2 * width), nn.SiLU(), nn.Conv2d(2 * width, 2 * code, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            _conv(code, 2 * width), _Block(2 * width), nn.Upsample(scale_factor=2.0), _conv(2 * width, width), _Block(width),
            _Block(width), nn.GroupNorm(8, width), nn.SiLU(), _conv(width, pixels), nn.PixelShuffle(PATCH),
        )  # fmt: skip
        self.register_buffer("shift", torch.zeros(code, 1, 1))
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Tensor) -> Gaussian:
        """The law of the code of each picture, (n, code, height / 8, width / 8). Eq. (8.12)

        Args:
            x: pictures (n, channels, height, width) in [-1, 1], whose sides are divisible by 8.

        Example:
            >>> autoencoder = td.load_pretrained("scenes").autoencoder
            >>> picture = td.scenes.draw(["a small red circle above a large blue square"], torch.Generator().manual_seed(0))
            >>> td.scenes.read(autoencoder.decode(autoencoder.encode(picture).mean))[0].caption
            'a small red circle above a large blue square'
        """
        self._check("x", x)
        raw = self._raw(x)
        return Gaussian._known((raw.mean - self.shift) / self.scale, raw.var / self.scale**2)

    def decode(self, z: Tensor) -> Tensor:
        """The pictures of codes, (n, channels, 8 height, 8 width); their numbers may be a little outside [-1, 1].

        Args:
            z: codes (n, code, height, width).

        Example:
            >>> Autoencoder(channels=1).decode(torch.zeros(2, 4, 3, 5)).shape
            torch.Size([2, 1, 24, 40])
        """
        check_batch("z", z)
        if z.ndim != 4 or z.shape[1] != self.code:
            raise ValueError(f"z has shape {tuple(z.shape)}, expected (n, {self.code}, height, width)")
        self._check_dtype("z", z)
        return self._decoded(z * self.scale + self.shift)

    def forward(self, x: Tensor, eps: Tensor | None = None, *, generator: torch.Generator | None = None) -> Tensor:
        """The loss, a scalar: the squared error, and the divergence of the codes' laws from N(0, 1), weighted. Eq. (8.5)

        Both are divided by how many numbers a picture has, and averaged over the pictures.

        Args:
            x: pictures (n, channels, height, width).
            eps: the noise in the codes (n, code, height / 8, width / 8); without it, it is drawn.
            generator: where eps comes from; without it, PyTorch's default generator.

        Example:
            >>> loss = Autoencoder()(torch.zeros(2, 3, 64, 64))
            >>> loss.backward()
        """
        self._check("x", x)
        check_generator(generator)
        like = x.new_empty(self._code_shape(x))
        if eps is None:
            eps = standard_normal(like, generator)
        check_like("eps", eps, "the codes of x", like)
        return self._loss(x, eps)

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward

    def _loss(self, x: Tensor, eps: Tensor) -> Tensor:
        """The loss of pictures and noise that are known to be good."""
        law = self._raw(x)
        error = (self._decoded(law.mean + law.var.sqrt() * eps) - x).square().sum()
        normal = Gaussian._known(torch.zeros_like(eps), torch.ones_like(eps))
        return (error + self.weight * law._kl(normal).sum()) / x.numel()

    def _raw(self, x: Tensor) -> Gaussian:
        """The law of a code before shift and scale."""
        mean, log_var = self.encoder(x).chunk(2, dim=1)
        return Gaussian._known(mean, log_var.clamp(-20, 10).exp())

    def _decoded(self, raw: Tensor) -> Tensor:
        picture: Tensor = self.decoder(raw)
        return picture

    def _code_shape(self, x: Tensor) -> tuple[int, ...]:
        return len(x), self.code, x.shape[2] // FACTOR, x.shape[3] // FACTOR

    def _check(self, name: str, x: Tensor) -> None:
        check_batch(name, x)
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % FACTOR or x.shape[3] % FACTOR:
            expected = f"(n, {self.channels}, height, width) with sides divisible by {FACTOR}"
            raise ValueError(f"{name} has shape {tuple(x.shape)}, expected {expected}")
        self._check_dtype(name, x)

    def _check_dtype(self, name: str, x: Tensor) -> None:
        if x.dtype != self.scale.dtype:
            raise TypeError(f"{name} has dtype {x.dtype}, expected {self.scale.dtype}, that of the autoencoder")
        if x.device != self.scale.device:
            raise ValueError(f"{name} is on {x.device}, expected {self.scale.device}, where the autoencoder is")

    @torch.no_grad()
    def _standardise(self, x: Tensor) -> None:
        """Sets shift and scale: the codes of these pictures get the mean 0 in each channel, and the variance 1. Eq. (8.12)"""
        means = torch.cat([self._raw(part.to(self.scale.device)).mean for part in torch.split(x, PART)])
        self.shift.copy_(means.mean((0, 2, 3))[:, None, None])
        self.scale.copy_((means - self.shift).square().mean().sqrt())


def fit_autoencoder(
    autoencoder: Autoencoder,
    x0: Tensor,
    steps: int = 4000,
    batch_size: int = 32,
    lr: float = 2e-3,
    ema: float = 0.998,
    seed: int = 0,
    *,
    checkpoint: Where | None = None,
    resume: Where | None = None,
    progress: bool = True,
    max_grad_norm: float = 1.0,
    save_every: int = 1000,
    device: torch.device | str | None = None,
    mixed_precision: bool | None = None,
) -> Tensor:
    """Trains an autoencoder, and then sets its shift and scale so that the codes' means have the variance 1 over x0. Eq. (8.12)

    Args:
        autoencoder: what to train.
        x0: the pictures, a floating-point tensor (n, channels, height, width), n at least 1. Batches are drawn from it with
            replacement.
        steps, ...: as for `fit`; a checkpoint is one to resume, which `load` does not read.

    Returns:
        The loss of each step, float32 (steps,) on the CPU, those before `resume` included.

    Raises:
        ValueError, FileExistsError, FloatingPointError: as for `fit`.

    Example:
        >>> pictures = td.scenes.draw(td.scenes.captions(100))
        >>> autoencoder = Autoencoder(width=8)
        >>> losses = fit_autoencoder(autoencoder, pictures, steps=10, progress=False)
        >>> bool(((autoencoder.encode(pictures).mean ** 2).mean() - 1).abs() < 1e-3)
        True
    """
    check_type("autoencoder", autoencoder, Autoencoder)
    check_examples("x0", x0)
    autoencoder._check("x0", x0)
    check_finite("x0", x0)

    def batches(place: torch.device, mine: slice, _: int) -> Iterator[tuple[Tensor, ...]]:
        """Pictures, and noise for their codes, without end."""
        data = x0.detach().to(place)
        shape = (batch_size, *autoencoder._code_shape(x0)[1:])
        while True:
            x = data[torch.randint(len(data), (batch_size,), device=place)[mine]]
            yield x, torch.randn(shape, dtype=x.dtype, device=place)[mine]

    losses = engine.train(
        autoencoder, autoencoder._loss, batches, survey("x0", x0), describe(autoencoder), steps=steps, batch_size=batch_size, lr=lr,
        ema=ema, seed=seed, checkpoint=checkpoint, resume=resume, progress=progress, max_grad_norm=max_grad_norm,
        save_every=save_every, device=device, mixed_precision=mixed_precision, data=list(x0.shape),
    )  # fmt: skip
    autoencoder._standardise(x0)
    return losses


class _Block(nn.Module):
    """h + f(h): two convolutions, each after a normalisation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _conv(width, width))
        self.outer = nn.Sequential(nn.GroupNorm(8, width), nn.SiLU(), _conv(width, width))

    def forward(self, h: Tensor) -> Tensor:
        f: Tensor = self.outer(self.inner(h))
        return h + f


def _conv(inside: int, outside: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, 3, stride, padding=1)
