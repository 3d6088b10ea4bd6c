"""Told what to draw: conditions, and guidance. Ho and Salimans 2022

A condition is a module that turns what an example is told, c, into features: `condition(c)` is (batch, size) for c (batch, ...) of
integers. It has a `null`, the c of one example that is told nothing, and `_checked`, which says what is wrong with a c of a user's;
with null=True, the null is none of it, and the error calls it by `name`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from tinyddpm._checks import check_count, check_integer, check_integers, check_number, values_can_be_read
from tinyddpm._registry import known

if TYPE_CHECKING:
    from tinyddpm._model import Model


@known
class Labels(nn.Module):
    """A condition: each example has one of some classes, an integer.

    A network that is made with it, such as `MLP(condition=Labels(10))`, is trained by `fit` with c=labels and draws a class by
    `DDPM.given`. Told nothing, it sees a label of its own, the null, which `fit` teaches it by forgetting labels now and then.

    Args:
        classes: how many there are; the labels are 0, ..., classes - 1.
        size: the number of features that a label becomes.

    Attributes:
        null: the number `classes`, a tensor (), which stands for a label where there is none.

    Example:
        >>> Labels(10)(torch.tensor([3, 7])).shape
        torch.Size([2, 64])
    """

    null: Tensor

    def __init__(self, classes: int, size: int = 64) -> None:
        super().__init__()
        self.arguments = {"classes": check_count("classes", classes), "size": check_count("size", size)}
        self.classes, self.size = self.arguments["classes"], self.arguments["size"]
        self.embedding = nn.Embedding(classes + 1, size)
        self.register_buffer("null", torch.tensor(classes), persistent=False)

    def forward(self, c: Tensor) -> Tensor:
        """The features of labels c (batch,) that are known to be good, the null among them: (batch, size).

        Example:
            >>> labels = Labels(10, size=4)
            >>> labels.forward(labels.null.expand(3)).shape
            torch.Size([3, 4])
        """
        check_integers("c", c)
        try:
            features: Tensor = self.embedding(c)
        except IndexError as error:  # on the CPU; a GPU stops, and says less
            raise ValueError(f"c has labels outside 0..{self.classes - 1} that are not {self.classes}, the null") from error
        return features

    if TYPE_CHECKING:  # for type checkers, which otherwise know nothing of a call of a module
        __call__ = forward

    def _checked(self, c: int | Tensor | Sequence[int], null: bool = False, name: str = "c") -> Tensor:
        """Labels as a LongTensor: () of one label for all examples, or (batch,)."""
        if isinstance(c, np.ndarray) and c.ndim == 1:
            c = c.tolist()
        if isinstance(c, Sequence) and not isinstance(c, str):
            c = torch.tensor(
                [self._label(f"{name}[{i}]", check_integer(f"{name}[{i}]", label), null) for i, label in enumerate(c)]
            ).long()
        if not isinstance(c, Tensor):
            c = torch.tensor(self._label(name, check_integer(name, c, "a label, or a tensor of labels (batch,)"), null))
        check_integers(name, c)
        if c.ndim > 1:
            raise ValueError(f"{name} has shape {tuple(c.shape)}, expected () or (batch,)")
        if c.is_meta and not self.null.is_meta:
            raise ValueError(f"{name} is on meta, expected {self.null.device}, where the network is")
        c = c.long()
        bad = ((c < 0) | (c >= self.classes + null)).flatten()
        if values_can_be_read(c) and bad.any():
            i = int(bad.nonzero()[0])
            self._label(f"{name}[{i}]" if c.ndim else name, int(c.flatten()[i]), null)
        return c

    def _label(self, name: str, label: int, null: bool) -> int:
        """A label that there is."""
        if not 0 <= label < self.classes + null:
            raise ValueError(f"{name} = {label} is outside 0..{self.classes - 1}{f', nor is it {self.classes}, the null' * null}")
        return label


class Told(nn.Module):
    """A network that has been told c, as a model of (x_t, t): null + guidance (told - null), on its raw answers. Eq. (7.5)

    Args:
        network: a network with a condition.
        c: what it is told, checked: one for all examples, or one for each.
        guidance: 0 for nothing, 1 for c as it is, more to exaggerate it.
        null: what it is told where it is told nothing: that of the condition, or like c something else.
    """

    c: Tensor
    null: Tensor

    def __init__(self, network: Any, c: Tensor, guidance: float, null: Tensor) -> None:
        super().__init__()
        self.network: Any = network
        self.guidance = guidance
        self.register_buffer("c", c)
        self.register_buffer("null", null)

    def forward(self, xt: Tensor, t: Tensor) -> Tensor:
        """The answer for x_t at t, from both questions in one batch where both are needed."""
        c, nothing = self._for_each("c", self.c, len(xt)), self._for_each("negative", self.null, len(xt))
        if self.guidance in (0, 1):
            answer: Tensor = self.network(xt, t, c if self.guidance else nothing)
            return answer
        untold, told = self.network(torch.cat([xt, xt]), torch.cat([t, t]), torch.cat([nothing, c])).chunk(2)
        guided: Tensor = untold + self.guidance * (told - untold)
        return guided

    def _for_each(self, name: str, value: Tensor, n: int) -> Tensor:
        """What one row, or each of n rows, is told, for n rows."""
        one = self.network.condition.null
        if value.dim() > one.dim() and len(value) != n:
            raise ValueError(f"{name} has shape {tuple(value.shape)}, expected one for each of {n} rows of x_t")
        return value.expand(n, *one.shape)


def told(network: Any, c: Any, guidance: float, negative: Any = None) -> Model:
    """A network that is told c, and negative in the place of nothing, once all are checked.

    Raises:
        ValueError: the network knows no condition, or has been told; negative would do nothing.
    """
    condition = condition_of(network)
    guidance = check_number("guidance", guidance, -math.inf, math.inf)
    if negative is not None and guidance == 1:
        raise ValueError("negative is given with guidance = 1, where it does nothing: take a guidance above 1")
    c, null = condition._checked(c), condition.null if negative is None else condition._checked(negative, name="negative")
    return Told(network, c.to(condition.null.device), guidance, null.to(condition.null.device))


def condition_of(network: Any) -> Any:
    """The condition of a network that has one and is to be told c."""
    if isinstance(network, Told):
        raise ValueError("c is given, but the network has been told one already: use the DDPM that `given` was called on")
    condition = getattr(network, "condition", None)
    if condition is None:
        raise ValueError(f"c is given, but the network, a {type(network).__name__}, knows no condition: make it with condition=")
    return condition
