"""The noise schedule: beta_t, and the tables that follow from it (chapter "The forward process")."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal, localcontext
from typing import Any, Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from tinyddpm._checks import Time, check_betas, check_choice, check_count, check_number, check_time, check_type
from tinyddpm._registry import known_base

TABLES = ("beta", "alpha", "alpha_bar", "one_minus_alpha_bar", "beta_tilde", "snr")


@known_base
class Schedule:
    """How much noise each step of the forward process adds: T variances beta_1, ..., beta_T, and what follows from them.

    Every table is a float64 tensor of shape (T+1,) whose index is t. Row 0 is clean data: beta 0, alpha_bar 1.

    Attributes:
        T (int): the number of steps.
        beta: the variance of the noise that step t adds. Eq. (1.2)
        alpha: 1 - beta, the share of the variance that step t keeps. Eq. (1.4)
        alpha_bar: the product of alpha over the steps 1..t, the share that is left of the data. Eq. (1.12)
        one_minus_alpha_bar: 1 - alpha_bar without cancellation, the variance of all the noise up to t. Eq. (1.14)
        beta_tilde: (1 - alpha_bar[t-1]) / (1 - alpha_bar[t]) * beta[t], the variance of the posterior. Row 1 is 0:
            given x_0, nothing about it is unknown. Eq. (2.15); Ho et al. 2020, Eq. 7
        snr: alpha_bar / (1 - alpha_bar), the ratio of signal to noise. Row 0 is infinite.

    They are computed from beta with 50 digits and rounded once, so each entry is the float64 next to the exact value.

    Args:
        beta: the T variances, as a list, an array or a tensor with one dimension; each inside (0, 1).

    Example:
        >>> schedule = Schedule([0.1, 0.2])
        >>> schedule.alpha_bar
        tensor([1.0000, 0.9000, 0.7200], dtype=torch.float64)
    """

    def __init__(self, beta: ArrayLike | Tensor) -> None:
        steps = check_betas(beta)
        self.T = len(steps)
        rows = [tuple(Decimal(entry) for entry in ("0", "1", "1", "0", "0", "inf", "1", "0"))]
        with localcontext() as context:
            context.prec = 50
            for b in map(Decimal, steps):
                kept, before = rows[-1][2:4]
                kept, lost = (1 - b) * kept, (1 - b) * before + b  # what was lost shrinks, the step's own is added: Eq. (1.14)
                rows.append((b, 1 - b, kept, lost, before / lost * b, kept / lost, kept.sqrt(), lost.sqrt()))
        with torch.inference_mode(False):  # the tables serve in training too, wherever they were made
            table = torch.tensor([[float(entry) for entry in row] for row in rows], dtype=torch.float64, device="cpu")
            columns = [column.clone() for column in table.unbind(1)]
            self._both = torch.stack(columns[6:])  # the roots of alpha_bar and 1 - alpha_bar, for one look-up
            self._both32 = self._both.float()  # the same for the usual dtype: a training step need not cast
        self.beta, self.alpha, self.alpha_bar, self.one_minus_alpha_bar, self.beta_tilde, self.snr = columns[:6]
        self._signal, self._noise = self._both
        self._least = min(float(rate) for row in rows[1:] for rate in row[-2:])
        self._copies: dict[tuple[str, torch.device], Tensor] = {}

    @classmethod
    def linear(cls, T: int = 1000, beta_1: float = 1e-4, beta_T: float = 0.02) -> Schedule:
        """beta grows by equal amounts from beta_1 to beta_T (Ho et al. 2020, section 4). With T = 1 it is beta_1.

        Example:
            >>> Schedule.linear(T=3, beta_1=0.1, beta_T=0.3).beta
            tensor([0.0000, 0.1000, 0.2000, 0.3000], dtype=torch.float64)
        """
        T = check_count("T", T)
        beta_1, beta_T = check_number("beta_1", beta_1, 0, 1), check_number("beta_T", beta_T, 0, 1)
        return cls(torch.linspace(beta_1, beta_T, T, dtype=torch.float64, device="cpu"))

    @classmethod
    def cosine(cls, T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Schedule:
        """alpha_bar follows a squared cosine, so that the data fade evenly (Nichol and Dhariwal 2021, Eq. 17).

        alpha_bar_t = cos²(a_t) / cos²(a_0) with a_t = (t/T + s) / (1 + s) * pi/2; beta is cut off at `max_beta`.

        Args:
            s: the offset, 0 or more, that keeps the first steps from being too small.
            max_beta: the largest beta, inside (0, 1). The last step would otherwise have beta_T = 1.

        Example:
            >>> Schedule.cosine(T=3).beta
            tensor([0.0000, 0.2571, 0.6683, 0.9990], dtype=torch.float64)
        """
        T = check_count("T", T)
        s, max_beta = check_number("s", s, -math.inf, math.inf), check_number("max_beta", max_beta, 0, 1)
        if s < 0:
            raise ValueError(f"s = {s} is below 0")
        # beta_t = (cos²(a_{t-1}) - cos²(a_t)) / cos²(a_{t-1}) subtracts numbers that are nearly equal. The same as a
        # product: sin(a_t - a_{t-1}) sin(a_t + a_{t-1}) / cos²(a_{t-1}). All angles are whole multiples of `step` when
        # counted down from pi/2: a_{t-1} = pi/2 - k * step. The sum is taken on the side of pi/2 where it is smaller.
        step, beta = math.pi / 2 / (T * (1 + s)), []
        for k in range(T, 0, -1):
            total = step * min(2 * k - 1, 2 * (T - k) + 1 + 2 * T * s)
            cosine = math.sin(k * step)
            beta.append(min(math.sin(step) / cosine * (math.sin(total) / cosine), max_beta))
        return cls(beta)

    @classmethod
    def lognormal(cls, T: int = 1000, mean: float = -0.5, std: float = 1.2) -> Schedule:
        """The ratio of noise to signal has a normal logarithm: most steps lie where data of variance 1 take shape. Eq. (8.17)

        log of sqrt((1 - alpha_bar_t) / alpha_bar_t) is the quantile t/T of N(mean, std²), whose tails are cut off at three standard
        deviations. These are the levels that Karras et al. 2022 train at (section 5), in units of the data's standard deviation.
        Whatever T is, the last one leaves the share 1 / (1 + e^{2 (mean + 3 std)}) of the signal, by default 0.002.

        Args:
            mean: for data of another standard deviation s, add log s.
            std: above 0.

        Example:
            >>> Schedule.lognormal(T=3).alpha_bar
            tensor([1.0000, 0.8840, 0.4923, 0.0020], dtype=torch.float64)
        """
        T = check_count("T", T)
        mean, std = check_number("mean", mean, -math.inf, math.inf), check_number("std", std, 0, math.inf)
        tail = torch.special.ndtr(torch.tensor(-3.0, dtype=torch.float64, device="cpu"))
        share = torch.arange(1, T + 1, dtype=torch.float64, device="cpu") / T
        noise = mean + std * torch.special.ndtri(tail + share * (1 - 2 * tail))  # its logarithm, over that of the signal
        kept = torch.nn.functional.logsigmoid(-2 * noise)  # log alpha_bar
        beta = -torch.diff(kept, prepend=kept.new_zeros(1)).expm1()
        if not ((beta > 0) & (beta < 1)).all():
            raise ValueError(f"mean = {mean} with std = {std} and T = {T} gives a step with a beta of 0 or 1: too far from 0")
        return cls(beta)

    def at(self, table: str, t: Time, x: Tensor, back: Literal[0, 1] = 0) -> Tensor:
        """Rows `t` of a table, or the rows before them, in float64 and shaped to multiply `x`.

        Args:
            table: the name of an attribute, such as "alpha_bar".
            t: as for `q_step`. For an integer, the answer is a scalar, else it is (batch, 1, ..., 1).
            x: a tensor (batch, ...), which gives the device and the number of dimensions.
            back: 0 for the rows `t`, 1 for the rows `t - 1`, of which the first is clean data.

        Example:
            >>> Schedule([0.1, 0.2]).at("alpha_bar", torch.tensor([2, 1]), torch.zeros(2, 3))
            tensor([[0.7200],
                    [0.9000]], dtype=torch.float64)
        """
        if table not in TABLES:
            raise ValueError(f"table = {table!r} is not one of {', '.join(TABLES)}")
        check_choice("back", back, (0, 1))
        check_type("x", x, Tensor)
        return self._rows((table,), check_time(t, self.T, "x", x), x, int(back))[0]

    def _rows(self, tables: Sequence[str], t: Time, x: Tensor, back: int = 0) -> list[Tensor]:
        """What `at` gives, for several tables and arguments that are known to be good, t as `check_time` returns it."""
        values = [self._table(table, x.device) for table in tables]
        if not isinstance(t, Tensor):
            return [value[t - back].clone() for value in values]
        shape = [-1, *[1] * (x.ndim - 1)] if t.ndim else []
        # index_select, unlike [], counts no negative row from the end.
        return [value.index_select(0, t.reshape(-1) - back).reshape(shape) for value in values]

    def _table(self, name: str, device: torch.device) -> Tensor:
        table: Tensor = getattr(self, name)
        if table.device == device:
            return table
        if (name, device) not in self._copies:
            dtype = torch.float32 if device.type == "mps" else table.dtype  # that device has no float64
            if torch.compiler.is_compiling():
                return table.to(device, dtype)  # which belongs to what is being traced: not to keep
            with torch.inference_mode(False):  # as for the tables themselves
                self._copies[name, device] = table.to(device, dtype)
        return self._copies[name, device]

    @property
    def arguments(self) -> dict[str, Any]:
        """What it can be made again from."""
        return {"beta": self.beta[1:].tolist()}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_copies": {}}  # another machine may not have these devices

    def __repr__(self) -> str:
        return f"Schedule(T={self.T}, beta_1={self.beta[1]:.4g}, beta_T={self.beta[-1]:.4g}, alpha_bar_T={self.alpha_bar[-1]:.4g})"
