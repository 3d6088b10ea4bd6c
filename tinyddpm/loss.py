"""The simplified loss, and the weights that it drops from the bound (the chapter of that name)."""

from __future__ import annotations

import torch
from torch import Tensor

from tinyddpm._checks import Time, check_examples, check_generator, check_time, check_type
from tinyddpm._model import Model, ask
from tinyddpm.forward import q_sample
from tinyddpm.gaussian import standard_normal
from tinyddpm.posterior import Variance, reverse_variance
from tinyddpm.schedule import Schedule


def simple_loss(
    schedule: Schedule,
    model: Model,
    x0: Tensor,
    t: Time | None = None,
    eps: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """L_simple: the mean squared error of the predicted noise. Eq. (4.11); Ho et al. 2020, Eq. 14

    Args:
        schedule: the noise schedule, with T steps.
        model: a callable; model(x_t, t) predicts the noise in x_t, in its shape, for a LongTensor t (batch,).
        x0: the data, a floating-point tensor (batch, ...), at least one example.
        t: the steps in 1..T, a LongTensor (batch,) or one integer. Without it, each is drawn uniformly.
        eps: the noise, in the shape of `x0`. Without it, it is drawn.
        generator: where the randomness comes from; without it, PyTorch's default generator.

    Returns:
        The mean over the batch and over the elements of an example, a scalar through which gradients flow. The squared
        norm of Eq. (4.11) is this times the number of elements of an example.

    Raises:
        TypeError, ValueError: as for `q_sample`; x0 is empty, or the model returns no floating-point tensor in the shape of x_t.

    Example:
        >>> simple_loss(Schedule([0.1, 0.2]), lambda xt, t: 0 * xt, torch.ones(2, 3), eps=torch.ones(2, 3))
        tensor(1.)
    """
    check_type("schedule", schedule, Schedule)
    xt, t, eps = noised(schedule, x0, t, eps, generator)
    return (eps - ask(model, xt, t)).square().mean()


def noised(
    schedule: Schedule, x0: Tensor, t: Time | None = None, eps: Tensor | None = None, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """A training example: x_t, the steps t (batch,) and the noise eps in it. What is not given is drawn, as for `simple_loss`."""
    check_examples("x0", x0)
    check_generator(generator)
    if t is None:
        device = generator.device if generator is not None else x0.device
        t = torch.randint(1, schedule.T + 1, x0.shape[:1], generator=generator, device=device).to(x0.device)
    else:
        t = torch.as_tensor(check_time(t, schedule.T, "x0", x0), device=x0.device).expand(len(x0))
    eps = standard_normal(x0, generator) if eps is None else eps
    return q_sample(schedule, x0, t, eps), t, eps


def vlb_weight(schedule: Schedule, t: Time, variance: Variance = "beta") -> Tensor:
    """The factor before the squared error of the noise in the bound, which L_simple drops. Eq. (4.8); Ho et al. 2020, Eq. 12

    beta_t² / (2 sigma_t² alpha_t (1 - alpha_bar_t)), in nats.

    Args:
        schedule: the noise schedule, with T steps.
        t: steps in 1..T: a LongTensor (n,), or an integer.
        variance: what sigma_t² is, as for `p_step`.

    Returns:
        float64, in the shape of `t`.

    Raises:
        TypeError, ValueError: as for `p_step`.

    Example:
        >>> vlb_weight(Schedule([0.2, 0.5]), torch.tensor([1, 2]))
        tensor([0.6250, 0.8333], dtype=torch.float64)
    """
    check_type("schedule", schedule, Schedule)
    if isinstance(t, Tensor) and t.ndim > 1:
        raise ValueError(f"t has shape {tuple(t.shape)}, expected (n,)")
    x = t if isinstance(t, Tensor) else schedule.beta
    beta, alpha, noise = schedule.rows(("beta", "alpha", "one_minus_alpha_bar"), t, x)
    return beta / reverse_variance(schedule, t, x, variance) * beta / (2 * alpha * noise)
