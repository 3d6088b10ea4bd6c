"""All of Stable Diffusion in one object: an autoencoder, and a DDPM on its codes, told in words (the chapter of that name)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tinyddpm import checkpoint
from tinyddpm._checks import check_batch, check_count, check_finite, check_generator, check_number, check_type
from tinyddpm._random import standard_normal
from tinyddpm._registry import known
from tinyddpm.checkpoint import Where
from tinyddpm.ddpm import DDPM
from tinyddpm.forward import q_sample
from tinyddpm.latent import FACTOR, Autoencoder
from tinyddpm.schedule import Schedule
from tinyddpm.text import Text


@known
class LatentDDPM(nn.Module):
    """An autoencoder, and a DDPM on its codes: `draw` makes pictures of what it is told. Rombach et al. 2022

    Args:
        autoencoder: turns pictures into codes, and codes into pictures.
        ddpm: has been trained on codes by `fit`, with captions if it is to be told what to draw.

    Example:
        >>> scenes = td.load_pretrained("scenes")
        >>> scenes.draw(["a small red circle above a large blue square"], steps=2).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, autoencoder: Autoencoder, ddpm: DDPM) -> None:
        super().__init__()
        check_type("autoencoder", autoencoder, Autoencoder)
        check_type("ddpm", ddpm, DDPM)
        if ddpm.example_shape is not None and (len(ddpm.example_shape) != 3 or ddpm.example_shape[0] != autoencoder.code):
            raise ValueError(
                f"ddpm was trained on examples of shape {ddpm.example_shape}, expected codes ({autoencoder.code}, height, width)"
            )
        self.arguments = {"autoencoder": autoencoder, "ddpm": ddpm}
        self.autoencoder, self.ddpm = autoencoder, ddpm

    @property
    def example_shape(self) -> tuple[int, ...] | None:
        """The shape of one picture, such as (3, 64, 64); None if `fit` has not seen codes yet."""
        if self.ddpm.example_shape is None:
            return None
        _, *sides = self.ddpm.example_shape
        return self.autoencoder.channels, *(FACTOR * side for side in sides)

    @torch.no_grad()
    def draw(
        self, prompts: str | Sequence[str], guidance: float = 3.0, steps: int = 25, *,
        generator: torch.Generator | None = None, negative: str | Sequence[str] | None = None,
        start: Tensor | None = None, strength: float = 0.6,
    ) -> Tensor:  # fmt: skip
        """A picture of each prompt, (n, channels, height, width) in [-1, 1]: codes by DDIM, decoded.

        Args:
            prompts: a caption, or a list of captions. The empty one says nothing.
            guidance: as for `DDPM.given`.
            steps: of DDIM, of which `start` leaves only a share.
            generator: where the noise comes from; without it, PyTorch's default generator.
            negative: what is not to be drawn, a caption, or one for each prompt: it stands where else nothing is told. Eq. (9.7)
            start: a picture to begin with, (n or 1, channels, height, width) in [-1, 1]: its code is noised up to step
                strength * T, and goes down from there. Eq. (9.8); Meng et al. 2022
            strength: of `start`, above 0 and at most 1: how much of it is forgotten.

        Raises:
            ValueError: a word is not known, and the nearest that is known is named; there are too many words; `negative` with
                guidance 1, where it would do nothing; `start` is of another size.

        Example:
            >>> scenes, generator = td.load_pretrained("scenes"), torch.Generator().manual_seed(0)
            >>> pictures = scenes.draw(["a large green triangle", "a small red square"], generator=generator)
            >>> [reading.caption for reading in td.scenes.read(pictures)]
            ['a large green triangle', 'a small red square']
        """
        ddpm, code, shape = self.ddpm, self.ddpm.example_shape, self.example_shape
        if code is None or shape is None:
            raise ValueError("ddpm.example_shape is None: the DDPM has not been trained by fit, which would tell the codes' size")
        c = self._told("prompts", prompts)
        unlike = None if negative is None else self._told("negative", negative)
        if unlike is not None and len(unlike) not in (1, len(c)):
            raise ValueError(f"negative has {len(unlike)} captions, expected 1, or {len(c)}, one for each prompt")
        check_generator(generator)
        x_T, steps = None, check_count("steps", steps)
        if not 0 < check_number("strength", strength, -math.inf, math.inf) <= 1:
            raise ValueError(f"strength = {strength} is outside (0, 1]")
        if start is not None:
            _check_start(start, len(c), shape)
            z = self.autoencoder.encode(start.to(self.autoencoder.scale)).mean.expand(len(c), *code)
            t = math.ceil(strength * ddpm.schedule.T)
            x_T = q_sample(ddpm.schedule, z, t, standard_normal(z, generator))
            ddpm, steps = _up_to(ddpm, t), math.ceil(strength * steps)
        unlike = unlike[0] if unlike is not None and len(unlike) == 1 else unlike  # one for all
        codes = ddpm.given(c, guidance, unlike).sample_ddim((len(c), *code), steps, x_T=x_T, generator=generator)
        return self._decoded(codes)

    @torch.no_grad()
    def _decoded(self, codes: Tensor) -> Tensor:
        """The pictures of codes, cut off at -1 and 1."""
        return self.autoencoder.decode(codes).clamp(-1, 1)

    def _told(self, name: str, captions: str | Sequence[str]) -> Tensor:
        """Captions as numbers, (n, length)."""
        condition = getattr(self.ddpm.model, "condition", None)
        if not isinstance(condition, Text):
            raise ValueError(f"{name} is given, but the network of ddpm knows no words: make it with condition=Text(...)")
        return condition._checked(captions, name=name).reshape(-1, condition.length)

    def save(self, path: Where) -> None:
        """Writes the weights and all that is needed to use them to the folder `path`, as `DDPM.save` does; `load` reads it.

        Example:
            >>> td.load_pretrained("scenes").save(folder)
            >>> td.load(folder).example_shape
            (3, 64, 64)
        """
        checkpoint.write(path, checkpoint.of(self, self.ddpm.example_shape))


def _up_to(ddpm: DDPM, t: int) -> DDPM:
    """The same chain from step t on down: its first t steps are a chain of their own."""
    schedule = Schedule(ddpm.schedule.beta[1 : t + 1])
    return DDPM(**{**ddpm.arguments, "schedule": schedule})


def _check_start(start: Tensor, n: int, shape: tuple[int, ...]) -> None:
    """Pictures in [-1, 1], one for all prompts or one for each, of the model's size."""
    check_batch("start", start)
    if start.shape not in ((1, *shape), (n, *shape)):
        allowed = " or ".join(str((k, *shape)) for k in sorted({1, n}))
        raise ValueError(f"start has shape {tuple(start.shape)}, expected {allowed}: pictures of the size that the model draws")
    check_finite("start", start)
    if start.abs().max() > 1.5:
        raise ValueError(f"start has numbers of size {start.abs().max():g}, expected a picture in [-1, 1]")
