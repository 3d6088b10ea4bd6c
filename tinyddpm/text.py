"""Words as a condition: a small transformer turns a caption into features, and a network's places look at them.

A caption is a row of numbers, one for each word: its place in the list of known words, from 1 on; 0 stands for no word. The empty
caption, all zeros, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tinyddpm._checks import check_count, check_integers, shown, unknown_word, values_can_be_read, wrong_type
from tinyddpm._registry import known
from tinyddpm.nets import _zero

HEADS = 4


@known
class Text(nn.Module):
    """A condition: each example has a caption.

    Args:
        words: all that may occur, each once.
        length: the most words that a caption may have.
        size: the features of a word, a multiple of 4.
        layers: how often each word looks at all the others.

    Attributes:
        null: the empty caption, (length,).

    Example:
        >>> text = Text(["a", "circle", "red"], length=4)
        >>> text.tokens("a red circle")
        tensor([1, 3, 2, 0])
        >>> text(text.tokens("a red circle")[None]).shape
        torch.Size([1, 4, 64])
    """

    null: Tensor

    def __init__(self, words: Sequence[str], length: int = 12, size: int = 64, layers: int = 2) -> None:
        super().__init__()
        if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(word, str) for word in words):
            raise wrong_type("words", words, "a list of strings")
        if not words or len({*words}) < len(words):
            raise ValueError(f"words = {shown(words)} is empty, or has a word twice")
        if check_count("size", size) % HEADS:
            raise ValueError(f"size = {size} is not a multiple of {HEADS}")
        given = {"length": length, "size": size, "layers": layers}
        self.arguments = {"words": list(words), **{name: check_count(name, value) for name, value in given.items()}}
        self.words, self.length, self.size = list(words), length, size
        self.embedding = nn.Embedding(len(self.words) + 1, size)
        self.position = nn.Parameter(torch.randn(length, size) / size**0.5)
        self.layers = nn.ModuleList(_Layer(size) for _ in range(layers))
        self.norm = nn.LayerNorm(size)
        self.register_buffer("null", torch.zeros(length, dtype=torch.int64), persistent=False)

    def tokens(self, caption: str) -> Tensor:
        """A caption as numbers, (length,).

        Capitals, commas and full stops do not matter.

        Raises:
            ValueError: a word is not known, and the nearest that is known is named; or there are too many words.

        Example:
            >>> Text(["a", "circle", "red"], length=4).tokens("A red circle.")
            tensor([1, 3, 2, 0])
        """
        return self._tokens("caption", caption)

    def _tokens(self, name: str, caption: str) -> Tensor:
        if not isinstance(caption, str):
            raise wrong_type(name, caption, "a string")
        found = caption.lower().replace(",", " ").replace(".", " ").split()
        if len(found) > self.length:
            raise ValueError(f"{name} = {shown(caption)} has {len(found)} words, expected at most {self.length}")
        if fault := unknown_word(found, self.words):
            raise ValueError(f"{name} = {shown(caption)} {fault}")
        numbers = [self.words.index(word) + 1 for word in found]
        return torch.tensor(numbers + [0] * (self.length - len(found)))

    def forward(self, c: Tensor) -> Tensor:
        """The features of the words of captions c (batch, length) that are known to be good: (batch, length, size).

        Example:
            >>> text = Text(["a", "circle", "red"], length=4)
            >>> text.forward(text.null[None]).shape
            torch.Size([1, 4, 64])
        """
        check_integers("c", c)
        h = self.embedding(c) + self.position
        for layer in self.layers:
            h = layer(h)
        features: Tensor = self.norm(h)
        return features

    if TYPE_CHECKING:
        __call__ = forward

    def attention(self, width: int) -> nn.Module:
        """What lets the places of a picture with `width` features, a multiple of 8, look at the words.

        Example:
            >>> look = Text(["a", "circle", "red"], length=4).attention(16)
            >>> look(torch.zeros(2, 16, 8, 8), torch.zeros(2, 4, 64)).shape
            torch.Size([2, 16, 8, 8])
        """
        return CrossAttention(check_count("width", width), self.size)

    def _checked(self, c: Any, null: bool = False, name: str = "c") -> Tensor:
        """Captions as a LongTensor: (length,) of one for all examples, or (batch, length). The null is a caption like others."""
        if isinstance(c, str):
            return self._tokens(name, c)
        if isinstance(c, Sequence):
            if not c:
                raise ValueError(f"{name} = {c} is empty, expected at least one caption")
            return torch.stack([self._tokens(f"{name}[{i}]", caption) for i, caption in enumerate(c)])
        if not isinstance(c, Tensor):
            raise TypeError(f"{name} is of type {type(c).__name__}, expected a caption, a list of captions or a Tensor")
        check_integers(name, c)
        if c.ndim not in (1, 2) or c.shape[-1] != self.length:
            raise ValueError(f"{name} has shape {tuple(c.shape)}, expected ({self.length},) or (batch, {self.length})")
        wrong = (c < 0) | (c > len(self.words))
        if values_can_be_read(c) and wrong.any():
            raise ValueError(f"{name} has the number {int(c[wrong][0])}, expected 0 for no word, or 1 to {len(self.words)}")
        return c.long()


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query takes from all values what its key is like: softmax(q k^T / sqrt(d)) v, in four heads. Vaswani et al. 2017, Eq. 1

    Args:
        q: (batch, n, width); k, v: (batch, m, width).
    """
    q, k, v = (x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2) for x in (q, k, v))  # (batch, HEADS, n or m, width / HEADS)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class _Layer(nn.Module):
    """Each word looks at all, and then thinks for itself."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(size), nn.LayerNorm(size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.mlp = nn.Sequential(nn.Linear(size, 4 * size), nn.SiLU(), nn.Linear(4 * size, size))

    def forward(self, h: Tensor) -> Tensor:
        h = h + self.out(attend(*self.qkv(self.norm1(h)).chunk(3, dim=2)))
        answer: Tensor = h + self.mlp(self.norm2(h))
        return answer


class CrossAttention(nn.Module):
    """Each place of a picture (batch, width, height, width) looks at all words (batch, length, size)."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.norm, self.q = nn.GroupNorm(8, width), nn.Conv2d(width, width, 1)
        self.kv, self.out = nn.Linear(size, 2 * width), _zero(nn.Conv2d(width, width, 1))

    def forward(self, h: Tensor, words: Tensor) -> Tensor:
        """The picture's features, with what each place has found."""
        q = self.q(self.norm(h)).flatten(2).mT
        found = attend(q, *self.kv(words).chunk(2, dim=2))
        answer: Tensor = h + self.out(found.mT.reshape(h.shape))
        return answer
