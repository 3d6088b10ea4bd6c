"""Captioned pictures with a known truth: a small grammar, its pictures drawn by program, and a program that reads them back.

A caption names one thing, "a large green triangle", or two, "a small red circle above a large blue square". A thing has one of two
sizes, four colours and three kinds. Two things can be told of in two ways, for "b below a" says what "a above b" says. `captions`
and `read` keep to one: the smaller thing comes first; of two of a size, the one whose colour comes first in `COLOURS`; of two of
a colour too, the one whose kind comes first in `KINDS`; two that are alike are above or left of one another. So all four relations
are used, and two scenes are the same if, and only if, these captions are. `Scene.captions` has both ways.

Things of two colours and kinds are kept from training, `WITHHELD`: blue triangles and yellow circles, which are 4 of the 24 things.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from tinyddpm._checks import check_count, check_examples, check_finite, check_flag, check_generator, shown, unknown_word, wrong_type
from tinyddpm._shapes import COLOURS, KINDS, SIDE, SIZES, THINGS, nearest, places, render

__all__ = [
    "COLOURS",
    "KINDS",
    "LEAST_DISTANCE",
    "READABLE",
    "RELATIONS",
    "SIDE",
    "SIZES",
    "WITHHELD",
    "WORDS",
    "Reading",
    "Scene",
    "captions",
    "draw",
    "grade",
    "read",
    "scene",
]

RELATIONS = {"above": "below", "left of": "right of"}  # and what each is from the other side
WITHHELD = ("blue triangle", "yellow circle")

LEAST_DISTANCE = 0.07  # root mean square per number: no drawings of different scenes are nearer (proved in tests/test_scenes.py)
READABLE = 0.125  # the largest deviation with a caption: its square is just under half of what leaving out the smallest thing costs

_PARTS = ("size", "colour", "kind")  # of a thing, in the order in which they are said
_THING = rf"a ((?:{'|'.join(SIZES)}) (?:{'|'.join(COLOURS)}) (?:{'|'.join(KINDS)}))"
_CAPTION = re.compile(rf"{_THING}(?: ({'|'.join([*RELATIONS, *RELATIONS.values()])}) {_THING})?")
WORDS = sorted({word for words in ("a", *THINGS, *RELATIONS, *RELATIONS.values()) for word in words.split()})


@dataclass(frozen=True)
class Scene:
    """What a caption says, however it says it.

    Attributes:
        things: one or two, each such as "small red circle", from top to bottom or from left to right.
        relation: of the first to the second, "above" or "left of"; None if there is one.

    Example:
        >>> scene("a large blue square below a small red circle")
        Scene(things=('small red circle', 'large blue square'), relation='above')
    """

    things: tuple[str, ...]
    relation: str | None

    @property
    def captions(self) -> tuple[str, ...]:
        """All captions of the scene; the first is the one that `captions` and `read` keep to."""
        if self.relation is None:
            return (f"a {self.things[0]}",)
        a, b = self.things
        straight, turned = f"a {a} {self.relation} a {b}", f"a {b} {RELATIONS[self.relation]} a {a}"
        return (straight, turned) if THINGS.index(a) <= THINGS.index(b) else (turned, straight)


@dataclass(frozen=True)
class Reading:
    """What `read` finds in a picture.

    Attributes:
        caption: that of the scene that explains the picture best, as `captions` writes it; None if the picture is unreadable, its
            deviation above `READABLE`.
        deviation: how far the picture is from a drawing of this scene, root mean square per number. The drawing is the nearest, or
            hardly farther: of blurred pictures by 0.002 at most.

    Example:
        >>> Reading("a small red circle", deviation=0.02).certain
        True
    """

    caption: str | None
    deviation: float

    @property
    def certain(self) -> bool:
        """Whether no drawing of any other scene is as near to the picture.

        Any such drawing is at least `LEAST_DISTANCE` from the one that was found. If the picture is nearer than half of this to the
        one that was found, it is farther than half of it from the other, by the triangle inequality.
        """
        return 2 * self.deviation < LEAST_DISTANCE


def scene(caption: str) -> Scene:
    """What a caption says. Two captions say the same if their scenes are equal.

    Args:
        caption: any of the grammar.

    Raises:
        ValueError: it is not of the grammar. A word that is in no caption is named, with the nearest that is.

    Example:
        >>> scene("a small red circle right of a large green square").things
        ('large green square', 'small red circle')
        >>> scene("a large green square left of a small red circle").captions[0]
        'a small red circle right of a large green square'
    """
    return _scene("caption", caption)


def _scene(name: str, caption: str) -> Scene:
    """As `scene`, of a caption that errors call `name`."""
    if not isinstance(caption, str):
        raise wrong_type(name, caption, "a string")
    found = _CAPTION.fullmatch(caption)
    if not found:
        raise ValueError(f"{name} = {shown(caption)} {_fault(caption)}")
    one, relation, two = found.groups()
    if relation is None:
        return Scene((one,), None)
    if relation in RELATIONS:
        return Scene((one, two), relation)
    return Scene((two, one), next(straight for straight, turned in RELATIONS.items() if turned == relation))


def _fault(caption: str) -> str:
    """Why a text is no caption."""
    if fault := unknown_word(caption.split(), WORDS):
        return fault
    relations = ", ".join([*RELATIONS, *RELATIONS.values()])
    return f"is no caption, expected one such as 'a small red circle', or two of them joined by one of {relations}"


def captions(n: int, generator: torch.Generator | None = None, withheld: bool = False) -> list[str]:
    """`n` captions: a quarter of them, on average, name one thing; all scenes of as many things are equally likely.

    Args:
        n: how many, 1 or more.
        generator: where the randomness comes from; without it, PyTorch's default generator.
        withheld: False for captions without the things that are kept from training, True for those with at least one of them.

    Example:
        >>> captions(2, torch.Generator().manual_seed(0))
        ['a small yellow triangle below a large red square', 'a large green square below a large blue circle']
    """
    check_generator(generator)
    check_flag("withheld", withheld)
    chance = torch.rand(check_count("n", n), 2, generator=generator, dtype=torch.float64)
    one, two = _grammar(withheld)
    return [said[int(where * len(said))] for many, where in chance.tolist() for said in [one if many < 0.25 else two]]


@functools.cache
def _grammar(withheld: bool) -> tuple[list[str], list[str]]:
    """All captions of one thing, and all of two, as `captions` writes them."""
    one = [f"a {thing}" for thing in THINGS]
    pairs = combinations_with_replacement(THINGS, 2)
    relations = [*RELATIONS, *RELATIONS.values()]
    two = [f"a {a} {relation} a {b}" for a, b in pairs for relation in (relations if a != b else RELATIONS)]
    one, two = ([said for said in some if withheld == any(thing in said for thing in WITHHELD)] for some in (one, two))
    return one, two


def draw(captions: Sequence[str], generator: torch.Generator | None = None) -> Tensor:
    """A picture of each caption, float32 (n, 3, 64, 64) in [-1, 1].

    Sizes and colours are fixed. Where the things are is drawn from all that the scene allows: they are at least 2 pixels from the
    edge, and two are at least 6 pixels apart in the direction of the relation, and at most 6 pixels out of line.

    Args:
        captions: any of the grammar, in a list.
        generator: where the randomness comes from; without it, PyTorch's default generator.

    Example:
        >>> draw(["a small red circle above a large blue square", "a large green triangle"]).shape
        torch.Size([2, 3, 64, 64])
    """
    if isinstance(captions, str) or not isinstance(captions, Sequence):
        raise wrong_type("captions", captions, "a list of strings")
    if not captions:
        raise ValueError(f"captions = {captions} is empty, expected at least one caption")
    check_generator(generator)
    scenes = [_scene(f"captions[{i}]", caption) for i, caption in enumerate(captions)]
    things = torch.tensor([[*map(THINGS.index, s.things), -1][:2] for s in scenes])  # -1 is none
    upright = torch.tensor([s.relation == "above" for s in scenes])
    return render(things, places(things, upright, torch.rand(len(scenes), 2, 2, generator=generator, dtype=torch.float32)))


def read(pictures: Tensor) -> list[Reading]:
    """Reads pictures: finds the scene of which a drawing is nearest, and how far off it is.

    All scenes of the grammar are tried with all centres on pixels, two things being up to 12 pixels out of line, twice as far as in
    `draw`. The four that come nearest are then drawn, with centres that are moved to where they fit best.

    Args:
        pictures: (n, 3, 64, 64) in [-1, 1], such as those of `draw` or of a model, whose numbers may be a little outside.

    Example:
        >>> picture = draw(["a small red circle above a large blue square"], torch.Generator().manual_seed(0))
        >>> [reading] = read(picture)
        >>> reading.caption, reading.certain
        ('a small red circle above a large blue square', True)
    """
    check_examples("pictures", pictures)
    if pictures.shape[1:] != (3, SIDE, SIDE):
        raise ValueError(f"pictures has shape {tuple(pictures.shape)}, expected (n, 3, {SIDE}, {SIDE})")
    check_finite("pictures", pictures)
    pictures = pictures.detach().to("cpu", torch.float32)
    for i, most in enumerate(pictures.abs().amax((1, 2, 3)).tolist()):
        if most > 10:  # such as bytes
            raise ValueError(f"pictures[{i}] has a number of size {most:g}, expected numbers in [-1, 1], or a little outside")
    found = map(nearest, torch.split(pictures, 16))
    things, upright, deviation = (torch.cat(parts).tolist() for parts in zip(*found, strict=True))
    return [_reading(*each) for each in zip(things, upright, deviation, strict=True)]


def grade(asked: str, found: str | None) -> dict[str, bool]:
    """Which parts of what was asked for are there: "size", "colour", "kind", "relation", and "all" of it.

    Of two things, each is compared with the one that it has most in common with. The relation is right if there are as many things,
    and they stand as was asked. In an unreadable picture nothing is right.

    Args:
        asked: any caption of the grammar.
        found: such as `Reading.caption`.

    Example:
        >>> grade("a small red circle above a large blue square", "a small red circle above a small blue square")
        {'size': False, 'colour': True, 'kind': True, 'relation': True, 'all': False}
    """
    a = _scene("asked", asked)
    b = None if found is None else _scene("found", found)
    if b is None or len(a.things) != len(b.things):
        return dict.fromkeys((*_PARTS, "relation", "all"), False)
    straight, turned = _in_common(a.things, b.things), _in_common(a.things, b.things[::-1])
    common = max(straight, turned, key=lambda rows: sum(map(sum, rows)))  # straight, if both have as much
    parts = dict(zip(_PARTS, map(all, zip(*common, strict=True)), strict=True))
    return {**parts, "relation": a.relation == b.relation and common is straight, "all": a == b}


def _in_common(some: Sequence[str], others: Sequence[str]) -> list[list[bool]]:
    """For each pair of things, which of their parts are the same."""
    return [[p == q for p, q in zip(a.split(), b.split(), strict=True)] for a, b in zip(some, others, strict=True)]


def _reading(things: list[int], upright: bool, deviation: float) -> Reading:
    names = tuple(THINGS[thing] for thing in things if thing >= 0)
    found = Scene(names, None if len(names) == 1 else "above" if upright else "left of")
    return Reading(found.captions[0] if deviation <= READABLE else None, deviation)
