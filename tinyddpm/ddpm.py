"""All of it in one object: a network, a schedule, and how the two go together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from tinyddpm import checkpoint, nets
from tinyddpm._checks import Time, check_batch, check_count, check_generator, check_time, check_type, wrong_type
from tinyddpm._model import ask, in_mode
from tinyddpm.checkpoint import Where
from tinyddpm.elbo import VLB, vlb_terms
from tinyddpm.forward import q_sample
from tinyddpm.gaussian import standard_normal
from tinyddpm.loss import noised, simple_loss
from tinyddpm.posterior import Variance, eps_from_v, eps_from_x0, reverse_variance, x0_from_eps, x0_from_v
from tinyddpm.sampling import Callback, sample, sample_ddim
from tinyddpm.schedule import Schedule

Predict: TypeAlias = Literal["eps", "x0", "v"]
NETWORKS = (nets.MLP, nets.UNet)  # what `load` can build from a checkpoint alone
PRETRAINED = ("digits", "eight_gaussians", "two_moons", "swiss_roll", "checkerboard")


class DDPM(nn.Module):
    """A denoising diffusion model. Calling it with data gives the loss; `sample` draws new data.

    Args:
        model: the network, any module of (x_t, t) that answers in the shape of x_t; t is a LongTensor (batch,) in 1..T.
        schedule: the noise schedule, with T steps.
        predict: what the network's answer is: the noise "eps", the clean data "x0", or the velocity "v".
        variance: the variance of the reverse steps, "beta" or "beta_tilde", as for `p_step`.
        clip: if the data lie in a range, such as (-1, 1), then that range: whatever the network predicts, its x_0 is
            cut off there, in sampling and in the bound. Right for pictures, wrong for data without bounds.

    Raises:
        TypeError, ValueError: an argument is of another type or has another value than these.

    Example:
        >>> ddpm = DDPM(nets.MLP(dim=2), Schedule.cosine(T=100))
        >>> ddpm.sample((5, 2)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        predict: Predict = "eps",
        variance: Variance = "beta",
        clip: tuple[float, float] | None = None,
    ) -> None:
        super().__init__()
        check_type("model", model, nn.Module)
        check_type("schedule", schedule, Schedule)
        if predict not in get_args(Predict):
            raise ValueError(f"predict = {predict!r} is not one of 'eps', 'x0', 'v'")
        reverse_variance(schedule, 1, schedule.beta, variance)  # which says so if there is no such variance
        self.model, self.schedule, self.predict, self.variance = model, schedule, predict, variance
        self.clip = None if clip is None else _range("clip", clip)

    def forward(
        self, x0: Tensor, t: Time | None = None, eps: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """The loss: the mean squared error of what the network predicts. Arguments, result and errors as for `simple_loss`.

        For "eps" it is `simple_loss`. For "x0" and "v" it is the error of the data and of the velocity, which weighs the
        steps differently.

        Example:
            >>> ddpm = DDPM(nets.MLP(dim=2), Schedule.linear(T=10))
            >>> loss = ddpm(torch.zeros(8, 2))
            >>> loss.backward()
        """
        if self.predict == "eps":
            return simple_loss(self.schedule, self.model, x0, t, eps, generator)
        xt, t, eps = noised(self.schedule, x0, t, eps, generator)
        # v like x_t with x_0 and eps exchanged and one sign changed, Eq. (4.13): nothing cancels, as it would with x_t.
        target = x0 if self.predict == "x0" else q_sample(self.schedule, eps, t, -x0)
        return (target - ask(self.model, xt, t)).square().mean()

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward

    def eps(self, xt: Tensor, t: Tensor) -> Tensor:
        """The predicted noise in x_t (batch, ...) at t (batch,), whatever it is that the network predicts, after `clip`.

        It is the model that the functions of this package take: `vlb_terms(ddpm.schedule, ddpm.eps, x0)`. Unlike `sample`
        and `vlb`, it leaves the network in the mode that it is in, for training or for evaluation.

        Args:
            xt: the state after t steps, a floating-point tensor (batch, ...).
            t: the step in 1..T, a LongTensor (batch,).

        Raises:
            TypeError, ValueError: as for `q_step`; and the network returns no floating-point tensor in the shape of x_t.

        Example:
            >>> ddpm = load_pretrained("two_moons")
            >>> ddpm.eps(torch.zeros(3, 2), torch.tensor([1, 100, 200])).shape
            torch.Size([3, 2])
        """
        answer = self._answer(xt, t)
        if self.clip is None and self.predict != "x0":
            return answer if self.predict == "eps" else eps_from_v(self.schedule, xt, t, answer)
        return eps_from_x0(self.schedule, xt, t, self._x0(xt, t, answer))

    def x0(self, xt: Tensor, t: Tensor) -> Tensor:
        """The predicted clean data, after `clip`: the mean of x_0 given x_t, as the network sees it.

        Args, result and errors as for `eps`.

        Example:
            >>> ddpm = load_pretrained("digits")
            >>> ddpm.x0(torch.randn(3, 1, 8, 8), torch.tensor([1, 100, 200])).abs().max() <= 1  # it clips
            tensor(True)
        """
        return self._x0(xt, t, self._answer(xt, t))

    def _answer(self, xt: Tensor, t: Tensor) -> Tensor:
        check_batch("xt", xt)
        return ask(self.model, xt, check_time(t, self.schedule.T, "xt", xt))

    def _x0(self, xt: Tensor, t: Tensor, answer: Tensor) -> Tensor:
        convert = {"eps": x0_from_eps, "v": x0_from_v}
        x0 = answer if self.predict == "x0" else convert[self.predict](self.schedule, xt, t, answer)
        return self._clipped(x0)

    def _clipped(self, x0: Tensor) -> Tensor:
        return x0 if self.clip is None else x0.clamp(*self.clip)

    def sample(
        self,
        shape: Sequence[int],
        x_T: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
        callback: Callback | None = None,
    ) -> Tensor:
        """New data by ancestral sampling: the function `sample` of this package, with this network.

        Args:
            shape: the shape of the result, (batch, ...).
            x_T: the start, in that shape. Without it, it is drawn, in the dtype and on the device of the network.
            generator, progress, callback: as for the function `sample`.

        Returns:
            x_0, in that shape.

        Raises:
            TypeError, ValueError, FloatingPointError: as for the function `sample`; and x_T has another shape.

        Example:
            >>> ddpm = load_pretrained("two_moons")
            >>> points = ddpm.sample((100, 2), generator=torch.Generator().manual_seed(0))
            >>> points.shape
            torch.Size([100, 2])
        """
        with in_mode(self, training=False):
            x_T = self._start(shape, x_T, generator)
            return self._clipped(sample(self.schedule, self.eps, x_T, self.variance, generator, callback, progress))

    def sample_ddim(
        self,
        shape: Sequence[int],
        steps: int = 50,
        eta: float = 0.0,
        x_T: Tensor | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
        callback: Callback | None = None,
    ) -> Tensor:
        """New data in `steps` steps: the function `sample_ddim` of this package, with this network.

        Args, result and errors as for `sample`; `steps` and `eta` as for the function `sample_ddim`.

        Example:
            >>> ddpm = load_pretrained("two_moons")
            >>> x_T = torch.zeros(2, 2)
            >>> torch.equal(ddpm.sample_ddim((2, 2), steps=20, x_T=x_T), ddpm.sample_ddim((2, 2), steps=20, x_T=x_T))
            True
        """
        with in_mode(self, training=False):
            x_T = self._start(shape, x_T, generator)
            return self._clipped(sample_ddim(self.schedule, self.eps, x_T, steps, eta, generator, callback, progress))

    def vlb(
        self,
        x0: Tensor,
        levels: int | None = None,
        generator: torch.Generator | None = None,
        progress: bool = False,
        eps: Tensor | None = None,
    ) -> VLB:
        """Every term of the variational bound on -log p(x0): `vlb_terms` with this network and variance; arguments as there.

        Example:
            >>> bound = load_pretrained("two_moons").vlb(torch.zeros(3, 2))
            >>> bound.L_t.shape, bound.total.shape
            (torch.Size([3, 199]), torch.Size([3]))
        """
        with in_mode(self, training=False):
            return vlb_terms(self.schedule, self.eps, x0, self.variance, levels, eps, generator, progress)

    def save(self, path: Where) -> None:
        """Writes the network's weights and all that is needed to use them to the folder `path`; `load` reads it.

        Raises:
            TypeError: path is neither a string nor a Path.
            OSError: it cannot be written, because the disk is full for instance; what was there is intact.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     load_pretrained("two_moons").save(folder)
            ...     load(folder).predict
            'v'
        """
        checkpoint.write(path, self.tensors(), self.description())

    def description(self) -> dict[str, Any]:
        """What a checkpoint says about it, but for the weights and beta: plain values for JSON.

        Example:
            >>> DDPM(nets.MLP(dim=2), Schedule.linear(T=10)).description()["network"]
            {'class': 'MLP', 'arguments': {'dim': 2, 'width': 96, 'depth': 3}}
        """
        network = type(self.model).__name__
        known = {"class": network, "arguments": self.model.arguments} if type(self.model) in NETWORKS else {"class": network}
        clip = None if self.clip is None else list(self.clip)
        return {"network": known, "T": self.schedule.T, "predict": self.predict, "variance": self.variance, "clip": clip}

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the weights of the network, and beta.

        Example:
            >>> DDPM(nets.MLP(dim=2), Schedule([0.1, 0.2])).tensors()["schedule.beta"]
            tensor([0.1000, 0.2000], dtype=torch.float64)
        """
        weights = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        return {"schedule.beta": self.schedule.beta[1:], **weights}

    def _start(self, shape: Sequence[int], x_T: Tensor | None, generator: torch.Generator | None) -> Tensor:
        shape = (shape,) if isinstance(shape, int) else shape
        if not isinstance(shape, Sequence) or isinstance(shape, str):
            raise wrong_type("shape", shape, "a tuple such as (64, 1, 8, 8)")
        check_generator(generator)
        size = tuple(check_count("shape", side) for side in shape)
        if x_T is None:
            like = next((p for p in self.model.parameters() if p.is_floating_point()), self.schedule.beta.float())
            return standard_normal(like.new_empty(size), generator)
        check_type("x_T", x_T, Tensor)
        if x_T.shape != size:
            raise ValueError(f"x_T has shape {tuple(x_T.shape)}, expected {size}, the given shape")
        return x_T


def load(path: Where, model: nn.Module | None = None) -> DDPM:
    """The DDPM in a checkpoint, of `DDPM.save` or of `fit`: there with the averaged weights, the ones to sample with.

    It is in evaluation mode; `fit` trains it further all the same.

    Args:
        path: the folder.
        model: the network, of the architecture that was saved, which gets the weights. Not needed for the networks of
            this package.

    Raises:
        TypeError: path is no path, or model no module.
        FileNotFoundError: there is no checkpoint.
        ValueError: it is damaged, or something else (no pickle is ever loaded); the network is not known here, or the
            weights are those of another architecture.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     DDPM(nets.MLP(dim=2), Schedule.cosine(T=100), predict="v").save(folder)
        ...     load(folder).sample((3, 2)).shape
        torch.Size([3, 2])
    """
    if model is not None:
        check_type("model", model, nn.Module)
    tensors, info = checkpoint.read(path)
    known = {network.__name__: network for network in NETWORKS}
    try:
        if model is None:
            name = info["network"]["class"]
            if name not in known:
                raise ValueError(f"{path} holds the weights of a {name}, which is not of this package: pass it as model")
            with torch.random.fork_rng(devices=[]):  # its first weights are drawn, in vain
                model = known[name](**info["network"]["arguments"])
        ddpm = DDPM(model, Schedule(tensors["schedule.beta"]), info["predict"], info["variance"], info["clip"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not the checkpoint of a DDPM: {error}") from error
    if any(value.dtype == torch.float64 for name, value in tensors.items() if name.startswith("model.")):
        ddpm.double()
    averaged = any(name.startswith("average.") for name in tensors)
    checkpoint.load_weights(ddpm.model, tensors, "average." if averaged else "model.", path)
    return ddpm.eval()


def load_pretrained(name: str) -> DDPM:
    """A trained DDPM that comes with the package.

    Args:
        name: "digits" for pictures like `data.digits`, or the name of one of the sets of points in `data`:
            "eight_gaussians", "two_moons", "swiss_roll", "checkerboard".

    Raises:
        ValueError: there is none of this name.

    Example:
        >>> ddpm = load_pretrained("digits")
        >>> ddpm.sample_ddim((2, 1, 8, 8), steps=10).shape
        torch.Size([2, 1, 8, 8])
    """
    if name not in PRETRAINED:
        raise ValueError(f"name = {name!r} is not one of {', '.join(PRETRAINED)}")
    return load(Path(__file__).parent / "weights" / name)


def _range(name: str, value: tuple[float, float]) -> tuple[float, float]:
    """Two numbers in ascending order."""
    try:
        low, high = (float(number + 0.0) for number in value)  # to which no string can be added
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} = {value!r} is not a pair of numbers (low, high)") from error
    if not low < high:
        raise ValueError(f"{name} = {value!r} is not a range: expected low < high")
    return low, high
