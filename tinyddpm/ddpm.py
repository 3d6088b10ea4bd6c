"""All of it in one object: a network, a schedule, and how the two go together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor, nn

from tinyddpm import checkpoint, interchange
from tinyddpm._checks import (
    Time,
    check_batch,
    check_choice,
    check_count,
    check_finite,
    check_generator,
    check_range,
    check_time,
    check_type,
    wrong_type,
)
from tinyddpm._model import Model, Predict, Prediction, ask, check_model, in_mode
from tinyddpm._random import standard_normal
from tinyddpm._rates import Rates, rates
from tinyddpm._registry import known_base
from tinyddpm._walk import Callback
from tinyddpm.checkpoint import Where
from tinyddpm.elbo import VLB, vlb_terms
from tinyddpm.guidance import Told, condition_of, told
from tinyddpm.loss import drawn, error
from tinyddpm.posterior import Variance
from tinyddpm.sampling import sample, sample_ddim
from tinyddpm.schedule import Schedule

NOISE = 0.02  # the most that alpha_bar[T] may be: two modes of 0.9 and 0.1 then come out right to a hundredth


@known_base
class DDPM(nn.Module):
    """A denoising diffusion model. Calling it with data gives the loss; `sample` draws new data.

    Args:
        model: the network, any callable of (x_t, t) that answers in the shape of x_t; t is a LongTensor (batch,) in 1..T. To be
            trained (`fit`) and saved it must be a module.
        schedule: the noise schedule, with T steps.
        predict: what the network's answer is: the noise "eps", the clean data "x0", or the velocity "v".
        variance: the variance of the reverse steps, "beta" or "beta_tilde", as for `p_step`.
        clip: if the data lie in a range, such as (-1, 1), then that range: whatever the network predicts, its x_0 is
            cut off there, in sampling and in the bound. Right for pictures, wrong for data without bounds.
        shift, scale: numbers, or tensors or sequences that match an example, such as x0.mean(0) and x0.std(0) of points
            (n, d), scale above 0: for data of another size than 1, all else is about (x_0 - shift) / scale, and samples are turned
            back. What lies between, such as `x_T`, `clip` and what `eps` and `x0` take and answer, is in that size. Eq. (8.12)

    Attributes:
        example_shape: the shape of one example, such as (1, 8, 8), once `fit` has seen the data; else None.

    Example:
        >>> ddpm = DDPM(td.MLP(dim=2), Schedule.cosine(T=100))
        >>> ddpm.sample((5, 2)).shape
        torch.Size([5, 2])
    """

    shift: Tensor | None
    scale: Tensor | None

    def __init__(
        self, model: Model, schedule: Schedule, predict: Predict = "eps", variance: Variance = "beta",
        clip: tuple[float, float] | None = None, shift: float | Sequence[float] | Tensor | None = None,
        scale: float | Sequence[float] | Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_type("schedule", schedule, Schedule)
        check_choice("predict", predict, get_args(Predict))
        check_choice("variance", variance, get_args(Variance))
        check_model(model)
        self.model: Any = model
        self.schedule, self.predict, self.variance = schedule, predict, variance
        self.clip = None if clip is None else check_range("clip", clip)
        self.register_buffer("shift", _size("shift", shift, scale, 0.0), persistent=False)  # the description of a checkpoint has it
        self.register_buffer("scale", _size("scale", scale, shift, 1.0), persistent=False)
        self.example_shape: tuple[int, ...] | None = None

    def forward(
        self, x0: Tensor, t: Time | None = None, eps: Tensor | None = None, *, c: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:  # fmt: skip
        """The loss: the mean squared error of what the network predicts. Arguments and result as for `simple_loss`.

        For "eps" it is `simple_loss`. For "x0" and "v" it is the error of the data and of the velocity, which weighs the
        steps differently. `c` is what a network with a condition is told of each example, such as its label (batch,), or the null
        of its condition where it is to be told nothing.

        Example:
            >>> loss = DDPM(td.MLP(dim=2), Schedule.linear(T=10))(torch.zeros(8, 2))
            >>> loss.backward()
        """
        t, eps = drawn(self.schedule, x0, t, eps, generator)
        c = None if c is None else condition_of(self.model)._checked(c, null=True).to(x0.device)
        return self._error(x0, t, eps, c)

    def _error(self, x0: Tensor, t: Tensor, eps: Tensor, c: Tensor | None = None) -> Tensor:
        model = self.model if c is None else partial(self.model, c=c)
        return error(self.schedule, model, self.predict, self._standardised(x0), t, eps)

    def _standardised(self, x: Tensor) -> Tensor:
        if self.scale is None or self.shift is None:
            return x
        self._check_size(x.shape[1:])
        return (x - self.shift.to(x)) / self.scale.to(x)

    def _in_their_units(self, z: Tensor) -> Tensor:
        return z if self.scale is None or self.shift is None else self.shift.to(z) + self.scale.to(z) * z

    def _check_size(self, example: Sequence[int]) -> None:
        """An example of this shape can be shifted and scaled."""
        for name, size in (("shift", self.shift), ("scale", self.scale)):
            if size is None:
                continue
            pairs = zip(reversed(size.shape), reversed(example), strict=False)
            if size.ndim > len(example) or not all(own in (1, side) for own, side in pairs):
                raise ValueError(f"{name} has shape {tuple(size.shape)}, expected that of an example, {tuple(example)}, or ()")

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward

    def eps(self, xt: Tensor, t: Time) -> Tensor:
        """The predicted noise in x_t (batch, ...) at t, as for `q_step`, whatever the network predicts, after `clip`.

        Unlike `sample` and `vlb`, it leaves the network in the mode that it is in, for training or for evaluation.

        Example:
            >>> td.load_pretrained("two_moons").eps(torch.zeros(3, 2), torch.tensor([1, 100, 200])).shape
            torch.Size([3, 2])
        """
        return self._prediction.eps(*self._asked(xt, t))

    def x0(self, xt: Tensor, t: Time) -> Tensor:
        """The predicted clean data, after `clip`: the mean of x_0 given x_t, as the network sees it. Arguments as for `eps`.

        Example:
            >>> td.load_pretrained("digits").x0(torch.randn(3, 1, 8, 8), torch.tensor([1, 100, 200])).abs().max() <= 1  # it clips
            tensor(True)
        """
        return self._prediction.x0(*self._asked(xt, t))

    def _asked(self, xt: Tensor, t: Time) -> tuple[Rates, Tensor, Tensor]:
        check_batch("xt", xt)
        t = check_time(t, self.schedule.T, "xt", xt)
        return rates(self.schedule, t, xt), xt, ask(self.model, xt, t)

    @property
    def _prediction(self) -> Prediction:
        return Prediction(self.model, self.predict, self.clip)

    def _own(self, name: str) -> bool:
        """Whether a method is the one of this class: nobody has put another in its place."""
        return getattr(type(self), name) is OWN[name] and name not in vars(self)

    @property
    def _asked_for(self) -> Prediction:
        """What sampling and the bound ask: the network, or the `eps` that somebody has put in its place."""
        return self._prediction if self._own("eps") else Prediction(self.eps)

    @property
    def _loss(self) -> Callable[..., Tensor]:
        """The loss of x_0, t and eps that are known to be good: `forward` without a look at them, unless somebody has another."""
        hooks = (self._forward_hooks, self._forward_pre_hooks, self._backward_hooks, self._backward_pre_hooks)
        bare = self._own("forward") and not any(hooks)
        return self._error if bare else self

    def given(self, c: Any, guidance: float = 1.0, negative: Any = None) -> DDPM:
        """This model, told what to draw. Eq. (7.5); Ho and Salimans 2022, Eq. 6

        Its network answers null + guidance (told - null), where null is its answer when told nothing. This model stays as it is;
        the new one has the same weights, is used as any other, and cannot be told again.

        Args:
            c: what it is told, such as a label: one for all examples, or one for each (batch,).
            guidance: 1 for c as it is; more than 1 exaggerates what sets c apart; 0 is as if c were not given, and between 0 and 1
                is between the two. Except for 0 and 1, a step asks the network twice, in one batch. Papers often write
                w = guidance - 1, as Ho and Salimans do.
            negative: what stands in the place of nothing, of the kind of c: what the answer is pushed away from. Eq. (9.7)

        Raises:
            ValueError: the network was made without a condition, or knows no such c: a label is in 0, ..., classes - 1. Whether
                there is one for each example is checked when they are drawn. Or negative is given with guidance 1.

        Example:
            >>> ddpm = DDPM(td.MLP(dim=2, condition=td.Labels(8)), Schedule.cosine(T=100))
            >>> ddpm.given(3, guidance=2.0).sample((5, 2)).shape
            torch.Size([5, 2])
        """
        made = DDPM(**{**self.arguments, "model": told(self.model, c, guidance, negative)})
        made.example_shape = self.example_shape
        return made.train(self.training)

    def sample(
        self, shape: Sequence[int], x_T: Tensor | None = None, *, generator: torch.Generator | None = None,
        callback: Callback | None = None, progress: bool = False,
    ) -> Tensor:  # fmt: skip
        """New data by ancestral sampling with this network. Other arguments and errors are as for the function `sample`.

        Args:
            shape: the shape of the result, (batch, ...).
            x_T: the start, in that shape. Without it, it is drawn, in the dtype and on the device of the network.

        Example:
            >>> td.load_pretrained("two_moons").sample((100, 2), generator=torch.Generator().manual_seed(0)).shape
            torch.Size([100, 2])
        """
        return self._walked(sample, (self.variance,), shape, x_T, generator, callback=callback, progress=progress)

    def sample_ddim(
        self, shape: Sequence[int], steps: int = 50, eta: float = 0.0, x_T: Tensor | None = None, *,
        generator: torch.Generator | None = None, callback: Callback | None = None, progress: bool = False,
    ) -> Tensor:  # fmt: skip
        """New data in `steps` steps. `shape` and `x_T` are as for `sample`, all else is as for the function `sample_ddim`.

        Example:
            >>> td.load_pretrained("digits").sample_ddim((2, 1, 8, 8), steps=10).shape
            torch.Size([2, 1, 8, 8])
        """
        return self._walked(sample_ddim, (steps, eta), shape, x_T, generator, callback=callback, progress=progress)

    def vlb(
        self, x0: Tensor, levels: int | None = None, eps: Tensor | None = None, *, generator: torch.Generator | None = None,
        progress: bool = False,
    ) -> VLB:  # fmt: skip
        """Every term of the variational bound on -log p(x0): `vlb_terms` with this network and variance; arguments as there.

        Example:
            >>> bound = td.load_pretrained("two_moons").vlb(torch.zeros(3, 2))
            >>> bound.L_t.shape, bound.total.shape
            (torch.Size([3, 199]), torch.Size([3]))
        """
        if isinstance(self.model, Told) and self.model.guidance != 1:
            raise ValueError(
                f"guidance = {self.model.guidance}: the bound is that of a chain that was trained for it, with guidance 1"
            )
        if levels is not None and self.scale is not None:
            raise ValueError(f"levels = {levels} with a scale: levels lie in [-1, 1], expected a model of data as they are")
        with in_mode(self, training=False):
            asked = self._asked_for
            if self.scale is not None:
                check_batch("x0", x0)
            z = self._standardised(x0)
            found = vlb_terms(self.schedule, asked, z, self.variance, levels, eps, generator=generator, progress=progress)
            if self.scale is None:
                return found
            wider = self.scale.double().log().expand(x0.shape[1:]).sum()  # a density of x_0, not of z
            return VLB(found.L_T, found.L_t, found.L_0 + wider.to(found.L_0))

    def save(self, path: Where) -> None:
        """Writes the network's weights and all that is needed to use them to the folder `path`; `load` reads it.

        Raises:
            OSError: it cannot be written, because the disk is full for instance; what was there is intact.

        Example:
            >>> td.load_pretrained("two_moons").save(folder)
            >>> td.load(folder).predict
            'v'
        """
        check_type("ddpm.model", self.model, nn.Module)
        checkpoint.write(path, checkpoint.of(self, self.example_shape))

    def to_diffusers(self, folder: Where) -> None:
        """Writes the model to a new folder in the layout of diffusers, which `load_diffusers` and diffusers itself read.

        There, `from_pretrained` of UNet2DModel, DDPMScheduler and DDPMPipeline takes the folder. Weights are written in float32,
        the schedule as its variances. `save` keeps more: any network, any precision, a scale.

        Args:
            folder: where to write; it is made if it is missing.

        Raises:
            TypeError: the network is not a `UNet2D`, the one here that diffusers has too.
            ValueError: there is a `scale`, or a `clip` that is not as far below 0 as above.
            FileExistsError: a file that would be written is there already.
            OSError: it cannot be written, because the disk is full for instance; none of its files is there then.

        Example:
            >>> levels = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
            >>> ddpm = DDPM(td.UNet2D(norm_num_groups=4, **levels), Schedule.cosine(T=20), predict="v")
            >>> ddpm.to_diffusers(folder)
            >>> td.load_diffusers(folder).predict
            'v'
        """
        interchange.to_diffusers(self, folder)

    @property
    def arguments(self) -> dict[str, Any]:
        """How it was made."""
        given = ("model", "schedule", "predict", "variance", "clip")
        size = {} if self.scale is None or self.shift is None else {"shift": self.shift.tolist(), "scale": self.scale.tolist()}
        return {**{name: getattr(self, name) for name in given}, **size}

    def _walked(
        self, sampler: Callable[..., Tensor], how: tuple[Any, ...], shape: Sequence[int], x_T: Tensor | None,
        generator: torch.Generator | None, **options: Any,
    ) -> Tensor:  # fmt: skip
        """What a sampler makes of this network, in evaluation mode."""
        with in_mode(self, training=False):
            start = self._start(shape, x_T, generator)
            x = sampler(self.schedule, self._asked_for, start, *how, generator=generator, **options)
        x = x if self.clip is None or self._own("eps") else x.clamp(*self.clip)  # our own eps is cut off all the way
        return self._in_their_units(x)

    def _start(self, shape: Sequence[int], x_T: Tensor | None, generator: torch.Generator | None) -> Tensor:
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, Sequence) or isinstance(shape, str):
            raise wrong_type("shape", shape, "a tuple such as (64, 1, 8, 8)")
        check_generator(generator)
        size = tuple(check_count("shape", side) for side in shape)
        self._check_size(size[1:])
        if x_T is None:
            left = 0.0 if torch.compiler.is_compiling() else float(self.schedule.alpha_bar[-1])  # a warning breaks a graph
            if left > NOISE:
                warnings.warn(
                    f"alpha_bar[T] = {left:.3g}: so much of the data's variance is left in x_T, and a start from N(0, I) has"
                    f" none of it, so that samples come out wrong. Take a schedule that ends below {NOISE}, such as"
                    f" Schedule.cosine({self.schedule.T}), or give x_T",
                    stacklevel=4,
                )
            like = next((p for p in self.parameters() if p.is_floating_point()), self.schedule.beta.float())
            return standard_normal(like.new_empty(size), generator)
        check_type("x_T", x_T, Tensor)
        if x_T.shape != size:
            raise ValueError(f"x_T has shape {tuple(x_T.shape)}, expected {size}, the given shape")
        return x_T


def _size(name: str, value: Any, other: Any, default: float) -> Tensor | None:
    """A shift or a scale as a tensor, the default where only the other one is given; None where neither is."""
    if value is None:
        return None if other is None else torch.tensor(default)
    try:
        size = torch.as_tensor(value).detach().clone().float()
    except (TypeError, ValueError, RuntimeError) as wrong:
        raise TypeError(f"{name} = {value!r} is of type {type(value).__name__}, expected numbers") from wrong
    check_finite(name, size)
    if name == "scale" and not (size > 0).all():
        raise ValueError(f"scale = {value!r} has a number that is not above 0")
    return size


OWN = {"forward": DDPM.forward, "eps": DDPM.eps}
