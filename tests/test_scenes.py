"""The captioned pictures: the grammar, what is drawn, what is read, and how near drawings of different scenes can be."""

import math
from collections import Counter
from itertools import combinations, product

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from tinyddpm import _shapes, scenes
from tinyddpm._shapes import THINGS, coverage, places, render

NUMBERS = 3 * scenes.SIDE**2
SHAPES = [size + kind for size in (0, 12) for kind in range(3)]  # the things of the first colour
INK = _shapes._INK[::3][:4].double()  # of the four colours
WORDS = {*scenes.SIZES, *scenes.COLOURS, *scenes.KINDS, "above", "below", "left", "right"}


def seed(n=0):
    return torch.Generator().manual_seed(n)


def blurred(pictures, sigma):
    bell = torch.exp(-(torch.arange(-4, 5) ** 2) / (2 * sigma**2))
    bell = (bell / bell.sum())[None, None, None]
    rows = F.conv2d(F.pad(pictures.flatten(0, 1)[:, None], (4, 4, 4, 4), mode="replicate"), bell)
    return F.conv2d(rows, bell.mT).view_as(pictures)


def noise(like, n=9):
    return 0.1 * torch.randn(like.shape, generator=seed(n))


def distance(a, b):
    return (a - b).square().mean((-3, -2, -1)).sqrt()


# --- The grammar


def test_every_scene_has_one_caption_that_captions_writes():
    one, two = (seen + kept for seen, kept in zip(scenes._grammar(False), scenes._grammar(True), strict=True))
    found = {scenes.scene(caption) for caption in one + two}
    assert (len(one), len(two), len(found)) == (24, 2 * 24**2, 24 + 2 * 24**2)
    assert all(scenes.scene(caption).captions[0] == caption for caption in one + two)
    for caption in two:
        both = scenes.scene(caption).captions
        assert len(set(both)) == 2 and {scenes.scene(other) for other in both} == {scenes.scene(caption)}
    written = {other for scene in found for other in scene.captions}
    assert len(written) == 24 + 4 * 24**2  # all that can be said


def test_the_order_in_which_things_are_named():
    first = {
        "a large blue square below a small red circle": "a small red circle above a large blue square",
        "a small blue square above a small red circle": "a small red circle below a small blue square",
        "a large red triangle left of a large red circle": "a large red circle right of a large red triangle",
        "a large red circle right of a large red circle": "a large red circle left of a large red circle",
    }
    assert {caption: scenes.scene(caption).captions[0] for caption in first} == first


def test_what_is_withheld_is_never_seen_and_every_word_is_seen_often():
    seen, kept = scenes.captions(4000, seed()), scenes.captions(4000, seed(1), withheld=True)
    assert not any(thing in caption for caption in seen for thing in scenes.WITHHELD)
    assert all(any(thing in caption for thing in scenes.WITHHELD) for caption in kept)
    assert sum(thing.partition(" ")[2] in scenes.WITHHELD for thing in THINGS) == 4
    often = Counter(word for caption in seen for word in set(caption.split()))
    assert min(often[word] for word in WORDS) > 600  # of 4000
    assert len({thing for caption in seen for thing in scenes.scene(caption).things}) == 20
    for some in (seen, kept):
        alone = sum(scenes.scene(caption).relation is None for caption in some) / len(some)
        assert abs(alone - 0.25) < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_the_generator_decides_and_nothing_else_draws():
    state = torch.get_rng_state()
    said = scenes.captions(20, seed(1))
    assert said == scenes.captions(20, seed(1)) != scenes.captions(20, seed(2))
    pictures = scenes.draw(said, seed(1))
    assert torch.equal(pictures, scenes.draw(said, seed(1))) and not torch.equal(pictures, scenes.draw(said, seed(2)))
    scenes.read(pictures[:2])
    assert torch.equal(torch.get_rng_state(), state)
    assert len(scenes.captions(1)) == len(scenes.draw(said[:1])) == 1


# --- The pictures


def numbers(captions):
    each = [scenes.scene(caption) for caption in captions]
    things = torch.tensor([[*map(THINGS.index, scene.things), -1][:2] for scene in each])
    return things, torch.tensor([scene.relation == "above" for scene in each])


def every():
    """All scenes, with their things as far from the edges and from one another as chance may put them, or as near: 16 ways each."""
    one, two = (seen + kept for seen, kept in zip(scenes._grammar(False), scenes._grammar(True), strict=True))
    things, upright = numbers(one + two)
    corners = torch.tensor(list(product([0.0, 1.0], repeat=4))).view(16, 2, 2)
    return things.repeat(16, 1), upright.repeat(16), corners.repeat_interleave(len(things), 0)


def test_things_are_where_the_scene_says():
    things, upright, corners = every()
    for chance in (corners, torch.rand(corners.shape, generator=seed())):
        centres = places(things, upright, chance)
        reach, two = _shapes._REACH[things], things[:, 1] >= 0
        moved = (_shapes._kept(things, upright, centres) - centres).abs() > 1e-4
        assert not moved[:, 0].any() and not moved[two].any()
        inside = (centres - reach >= 2 - 1e-4) & (centres + reach <= 62 + 1e-4)
        assert inside[two].all() and inside[:, 0].all()
        (ax, ay), (bx, by) = centres[:, 0].T, centres[:, 1].T
        (rx, ry), (sx, sy) = reach[:, 0].T, reach[:, 1].T
        above = (by - sy - ay - ry >= 6 - 1e-4) & ((ax - bx).abs() <= 6 + 1e-4)
        left = (bx - sx - ax - rx >= 6 - 1e-4) & ((ay - by).abs() <= 6 + 1e-4)
        assert (above == upright)[two].all() and (left == ~upright)[two].all()


def test_nothing_of_a_thing_is_farther_off_than_its_reach():
    at = 24 + 8 * torch.rand(24 * 50, 2, generator=seed())
    things = torch.arange(24).repeat(50)
    covered = coverage(things, at) > 0
    middle = torch.arange(64) + 0.5
    for axis, some in enumerate([covered.any(1), covered.any(2)]):
        far = ((middle - at[:, axis, None]).abs() * some).amax(1)
        reach = _shapes._REACH[things, axis]
        assert (far < reach + 1e-4).all() and (far.view(50, 24).amax(0) > reach[:24] - 0.3).all()


@pytest.mark.parametrize("thing", range(24))
def test_the_area_of_what_is_drawn(thing):
    """Of a circle exactly; of a square and a triangle without what the round corners take away."""
    size, _, kind = THINGS[thing].split()
    r = scenes.SIZES[size] * scenes.KINDS[kind]
    area = {"circle": math.pi, "square": 4, "triangle": 27**0.5}[kind] * r**2
    taken = {"circle": 0, "square": 0.02, "triangle": 0.05}[kind] * area
    drawn = coverage(torch.tensor([thing]), torch.tensor([[31.3, 30.8]])).sum()
    assert area - taken - 0.01 * area < drawn < area * 1.01


def test_pictures_are_float32_in_range_and_have_the_colours_of_their_captions():
    torch.set_default_dtype(torch.float64)
    try:
        pictures = scenes.draw(["a small red circle below a large yellow square", *scenes.captions(300, seed(3))], seed(3))
        assert scenes.read(pictures[:1])[0].caption == "a small red circle below a large yellow square"
    finally:
        torch.set_default_dtype(torch.float32)
    assert pictures.dtype == torch.float32 and pictures.shape == (301, 3, 64, 64)
    assert pictures.min() >= -1 and pictures.max() <= 1
    colours = [torch.tensor(colour) / 127.5 - 1 for colour in (scenes.COLOURS["red"], scenes.COLOURS["yellow"], _shapes.PAPER)]
    of = [(pictures[0] - colour[:, None, None]).abs().amax(0) < 1e-5 for colour in colours]
    assert 120 < of[0].sum() < 170 and 400 < of[1].sum() < 470 and of[2].sum() > 3300
    rows = [some.nonzero()[:, 0].float().mean() for some in of]
    assert rows[1] < rows[0]
    edge = torch.ones(64, 64, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    assert (pictures[:, :, edge] == pictures[:1, :, :1, 0]).all()


def test_both_captions_of_a_scene_draw_the_same():
    both = scenes.scene("a small red circle above a large blue square").captions
    a, b = (scenes.draw([caption], seed()) for caption in both)
    assert torch.equal(a, b)


# --- The reader


@pytest.mark.parametrize("withheld", [False, True])
def test_true_pictures_are_read_right_and_for_certain(withheld):
    said = scenes.captions(150, seed(4), withheld)
    found = scenes.read(scenes.draw(said, seed(4)))
    assert [reading.caption for reading in found] == said
    assert max(reading.deviation for reading in found) < 1e-4 and all(reading.certain for reading in found)


def test_things_at_the_ends_of_where_they_may_be_are_read_right():
    things, upright, corners = every()
    some = torch.randperm(len(things), generator=seed())[:150]
    things, upright, corners = things[some], upright[some], corners[some]
    found = scenes.read(render(things, places(things, upright, corners)))
    expected = [scenes._reading(*each, 0.0).caption for each in zip(things.tolist(), upright.tolist(), strict=True)]
    assert [reading.caption for reading in found] == expected


@pytest.mark.parametrize("sigma, add", [(0, True), (0.8, False), (0.6, True)])
def test_noise_and_blur_are_read_through(sigma, add):
    said = scenes.captions(80, seed(5))
    pictures = scenes.draw(said, seed(5))
    worse = blurred(pictures, sigma) if sigma else pictures
    worse = worse + noise(worse) if add else worse
    found = scenes.read(worse)
    assert [reading.caption for reading in found] == said
    deviation = torch.tensor([reading.deviation for reading in found])
    assert (deviation <= distance(worse, pictures) + (0.002 if sigma else 1e-5)).all()  # the true drawing is no nearer, or hardly


def test_the_deviation_is_the_distance_from_the_nearest_drawing():
    """A change that no drawing can follow, even in every pixel, is all of it."""
    picture = scenes.draw(["a large green triangle"], seed(6))
    even = picture + 0.01 * torch.tensor([1.0, -1.0]).repeat(32)  # every other column
    assert scenes.read(even)[0].deviation == pytest.approx(0.01, rel=0.03)
    assert scenes.read(picture)[0].deviation < 1e-5


def test_things_that_are_less_neatly_in_line_than_drawings_are_read():
    things, centres = torch.tensor([[4, 22]]), torch.tensor([[[20.0, 16.0], [31.5, 46.0]]])
    [reading] = scenes.read(render(things, centres))
    assert reading.caption == f"a {THINGS[4]} above a {THINGS[22]}" and reading.deviation < 1e-5


def test_what_is_no_scene_is_unreadable():
    three = scenes.draw(["a small red circle above a small blue square"], seed(7))
    things, centres = torch.tensor([[4, -1], [10, 22]]), torch.tensor([[[32.0, 32.0], [0, 0]], [[18.0, 18.0], [44.0, 44.0]]])
    paper = render(torch.tensor([[-1, -1]]), centres[:1])
    aslant = render(things[1:], centres[1:])  # neither above nor beside
    three = three + render(things[:1], centres[:1].roll(1)) - paper
    others = [
        paper,
        three,
        aslant,
        -three,
        torch.zeros_like(paper),
        torch.randn(paper.shape, generator=seed()),
        paper.flip(1) - 0.5,
    ]
    found = scenes.read(torch.cat(others))
    assert [reading.caption for reading in found] == [None] * len(others)
    assert min(reading.deviation for reading in found) > scenes.READABLE
    assert not any(reading.certain for reading in found)


def test_readable_is_less_than_half_of_the_smallest_thing():
    alone = coverage(torch.arange(24), torch.full((24, 2), 32.0))
    least = float((alone.square().sum((1, 2)) * _shapes._INK.square().sum(1)).min())
    assert 0.9 * least / 2 < scenes.READABLE**2 * NUMBERS < least / 2


def test_more_pictures_than_are_read_at_once_and_other_dtypes():
    said = scenes.captions(33, seed(8))
    pictures = scenes.draw(said, seed(8))
    assert [reading.caption for reading in scenes.read(pictures.double().requires_grad_())] == said
    assert scenes.read(pictures)[32] == scenes.read(pictures[32:])[0]


# --- How near drawings of different scenes can be
#
# Take a drawing f of one scene and a drawing g of another; |f - g|² is the sum of the squares of all numbers. A thing of f and one
# of g meet if both cover some pixel, however little.
#
# 1. A thing of one drawing meets two of the other. Those leave 6 rows (or columns) of pixels blank between them, and the thing is
#    convex: it has pixels in all of these and on both sides. What it has in them is not in the other drawing.
# 2. Otherwise a thing meets one at most. One that meets none is missing in the other drawing: |f - g|² is at least its own square.
# 3. Otherwise each meets one, and no pixel belongs to two pairs. The two of a pair differ in colour,
# 4. or in kind or size alone,
# 5. or all pairs are of like things. Then the relations differ, or the things have changed places. The way from one thing to the
#    other is more than 20.5 pixels along the relation and at most 12 across, in f and in g, and the directions differ.
#    So the ways differ by more than 8.5 pixels both along and across, and one of the things has moved by more than 6.
#
# These are all drawings that `read` may find; those of `draw`, at most 6 pixels across, are among them.
#
# In each case |f - g|² is at least LEAST. For 1 to 3 this is looked up with centres on a fine grid, less what may be lost between
# its points. For 4 and 5 the grid is made finer where that decides.

LEAST = NUMBERS * scenes.LEAST_DISTANCE**2
FAR = (_shapes._circle, _shapes._square, _shapes._triangle)
FAINTEST = float(INK.square().sum(1).min())


def lost(thing, centres, way):
    """How much the root of the sum of squares of what a thing covers may change, at most, if its centre moves by `way`.

    What it covers of a pixel changes by no more than the centre moves: the gradient of the distance is no longer than 1. And it
    changes only where the edge may come to be.
    """
    middle = torch.arange(_shapes.SIDE) + 0.5
    x, y = middle - centres[:, :1], middle - centres[:, 1:]
    radius = _shapes._RADIUS[thing]
    off = FAR[thing % 3](x[:, None, :], y[:, :, None], radius) - radius
    return way * (off.abs() < 0.5 + way).sum((1, 2)).sqrt()


def fine(thing, step=1 / 32):
    """What a thing covers with its centre in all places within a pixel, and what may be lost between them."""
    centres = 32 + torch.cartesian_prod(*[torch.arange(step / 2, 1, step)] * 2)
    covers = coverage(torch.full((len(centres),), thing), centres)
    return covers, float(lost(thing, centres, step / 2**0.5).max())


@pytest.mark.parametrize("thing", range(24))
def test_what_a_thing_covers_changes_no_more_than_is_said(thing):
    generator = seed(thing)
    at, turn = 24 + 16 * torch.rand(300, 2, generator=generator), 2 * math.pi * torch.rand(300, 1, generator=generator)
    for way in (0.01, 0.1, 0.7, 3.0):
        to = at + way * torch.rand(300, 1, generator=generator).sqrt() * torch.cat([turn.cos(), turn.sin()], 1)
        a, b = (coverage(torch.full((300,), thing), centres) for centres in (at, to))
        assert ((a - b).abs().amax((1, 2)) <= (to - at).norm(dim=1) + 1e-4).all()
        assert ((a - b).square().sum((1, 2)).sqrt() <= lost(thing, at, way) + 1e-4).all()


@pytest.mark.parametrize("thing", SHAPES)
def test_1_a_thing_that_reaches_across_the_space_between_two(thing):
    covers, most = fine(thing)
    least = math.inf
    for cover in covers:
        for lines in (cover.square().sum(1), cover.square().sum(0)):
            inner = lines[lines > 0][1:-1]  # the first and the last are on either side
            least = min(least, float(inner.unfold(0, int(_shapes.GAP), 1).sum(1).min()))
    assert (least**0.5 - most) ** 2 * FAINTEST > LEAST


@pytest.mark.parametrize("thing", SHAPES)
def test_2_and_3_a_thing_that_is_missing_or_has_another_colour(thing):
    """Whatever the other thing is, its ink is on the line of its own colour, and the sine of the angle says how far that is."""
    covers, most = fine(thing)
    least = (float(covers.square().sum((1, 2)).min()) ** 0.5 - most) ** 2
    apart = [INK[a].square().sum() - (INK[a] @ INK[b]) ** 2 / INK[b].square().sum() for a in range(4) for b in range(4) if a != b]
    assert least * min(FAINTEST, *map(float, apart)) > LEAST


def never_nearer(a, b, least, apart=0.0):
    """Whether no two places, `apart` or more from one another, make the things a and b differ by less than `least`.

    Cells of places of both, at first half a pixel wide, are cut into halves in all directions until what may be lost inside of them
    decides. Only pixels around a are looked at; more could only add.
    """
    half, reach = 0.25, math.ceil(float(_shapes._REACH[[a, b]].amax(1).sum()))
    way = torch.arange(-reach + 0.25, reach + 1, 0.5)
    down = [0.25] if 2 not in (a % 3, b % 3) else [0.25, 0.75]  # squares and circles are the same upside down, and all in a mirror
    cells = _shapes.SIDE / 2 + torch.cartesian_prod(torch.tensor([0.25]), torch.tensor(down), way, way)
    while len(cells):
        move, open_ = half * 2**0.5, []
        for some in cells.split(4096):
            one, two = some.split(2, 1)
            differ = (
                (coverage(torch.full((len(some),), a), one) - coverage(torch.full((len(some),), b), two))
                .square()
                .sum((1, 2))
                .sqrt()
            )
            far = (one - two).norm(dim=1)
            if (differ[far >= apart] < least).any():
                return False
            open_.append(some[(differ - lost(a, one, move) - lost(b, two, move) < least) & (far + 2 * move >= apart)])
        half /= 2
        cells = (torch.cat(open_)[:, None] + half * torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)).flatten(0, 1)
    return True


@pytest.fixture
def window(monkeypatch):
    """As many pixels as one large thing needs, so that a search is quick."""
    return lambda thing: monkeypatch.setattr(_shapes, "SIDE", 2 * math.ceil(float(_shapes._REACH[thing].max())) + 2)


@pytest.mark.parametrize("b, a", list(combinations(SHAPES, 2)))
def test_4_things_of_another_kind_or_size(a, b, window):
    window(a)
    assert never_nearer(a, b, (LEAST / FAINTEST) ** 0.5)


@pytest.mark.parametrize("thing", SHAPES)
def test_5_things_that_have_moved(thing, window):
    window(thing)
    assert never_nearer(thing, thing, (LEAST / FAINTEST) ** 0.5, apart=6)
    assert 2 * float(_shapes._REACH.min()) + _shapes.GAP > 20.5 and _shapes.ASIDE <= _shapes.ASTRAY <= 12


def nearest_pair():
    """The nearest drawings of two scenes that are known: a small yellow circle and a small yellow square, nearly in one place."""
    places = 31.5 + torch.cartesian_prod(*[torch.arange(0, 1.01, 0.125)] * 2)
    a, b = (
        render(torch.tensor([[THINGS.index(f"small yellow {kind}"), -1]]).repeat(len(places), 1), places[:, None].repeat(1, 2, 1))
        for kind in ("circle", "square")
    )
    apart = torch.cdist(a.flatten(1), b.flatten(1)) / NUMBERS**0.5
    i, j = divmod(int(apart.argmin()), len(places))
    return a[i : i + 1], b[j : j + 1]


def test_the_least_distance_is_not_far_below_the_nearest_drawings():
    assert scenes.LEAST_DISTANCE < float(distance(*nearest_pair())) < 1.05 * scenes.LEAST_DISTANCE


@pytest.mark.parametrize("share, caption", [(0.0, "circle"), (0.3, "circle"), (0.45, "circle"), (0.55, "square"), (0.7, "square")])
def test_what_is_certain_is_right_on_the_way_from_one_scene_to_the_nearest_other(share, caption):
    a, b = nearest_pair()
    [reading] = scenes.read(torch.lerp(a, b, share))
    assert reading.caption == f"a small yellow {caption}"
    assert reading.certain == (min(share, 1 - share) * float(distance(a, b)) < scenes.LEAST_DISTANCE / 2)


def test_what_is_certain_has_no_nearer_drawing_of_another_scene():
    """Pictures that are changed as much as may be: no drawing of another scene, of many thousands, is as near."""
    said = scenes.captions(20, seed(11))
    pictures = scenes.draw(said, seed(11))
    change = torch.randn(pictures.shape, generator=seed(12))
    pictures = pictures + 0.034 * change / change.square().mean((1, 2, 3), keepdim=True).sqrt()
    others = scenes.captions(3000, seed(13)) + [said[0]] * 10
    drawn = scenes.draw(others, seed(13))
    far = torch.cdist(pictures.flatten(1), drawn.flatten(1)) / NUMBERS**0.5
    for caption, reading, row in zip(said, scenes.read(pictures), far, strict=True):
        assert reading.certain and reading.caption == caption
        assert min(float(d) for d, other in zip(row, others, strict=True) if other != caption) > reading.deviation


def test_certain_is_half_the_least_distance():
    half = scenes.LEAST_DISTANCE / 2
    assert scenes.Reading("a small red circle", half - 1e-9).certain and not scenes.Reading("a small red circle", half).certain


# --- Bad input


@pytest.mark.parametrize(
    "caption, message",
    [
        ("a smal red circle", "has the unknown word 'smal': the nearest known word is 'small'"),
        ("a small red cirle above a large blue square", "has the unknown word 'cirle': the nearest known word is 'circle'"),
        (
            "a small purple circle",
            "has the unknown word 'purple': the known words are a, above, below, blue, circle, green, large, ",
        ),
        (
            "a red circle",
            "is no caption, expected one such as 'a small red circle', or two of them joined by one of above, left of, ",
        ),
        ("small red circle", "is no caption"),
        ("a small red circle left a large blue square", "is no caption"),
        ("a small red circle above a large blue square above a small red circle", "is no caption"),
        ("", "is no caption"),
    ],
)
def test_what_is_no_caption_is_refused(caption, message):
    for say, name in ((scenes.scene, "caption"), (lambda text: scenes.draw(["a small red circle", text]), "captions[1]")):
        with pytest.raises(ValueError) as error:
            say(caption)
        assert str(error.value).startswith(f"{name} = {caption!r} {message}")


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: scenes.scene(3), TypeError, "caption = 3 is of type int, expected a string"),
        (
            lambda: scenes.draw("a small red circle"),
            TypeError,
            "captions = 'a small red circle' is of type str, expected a list of strings",
        ),
        (lambda: scenes.draw(3), TypeError, "captions = 3 is of type int, expected a list of strings"),
        (lambda: scenes.draw([None]), TypeError, "captions[0] = None is of type NoneType, expected a string"),
        (lambda: scenes.draw([]), ValueError, "captions = [] is empty, expected at least one caption"),
        (
            lambda: scenes.draw(["a small red circle"], 0),
            TypeError,
            "generator = 0 is of type int, expected a torch.Generator or None",
        ),
        (lambda: scenes.captions(0), ValueError, "n = 0 is below 1"),
        (lambda: scenes.captions(2.0), TypeError, "n = 2.0 is of type float, expected an integer"),
        (lambda: scenes.captions(2, 0), TypeError, "generator = 0 is of type int, expected a torch.Generator or None"),
        (lambda: scenes.captions(2, None, 1), TypeError, "withheld = 1 is of type int, expected True or False"),
        (lambda: scenes.read([1.0]), TypeError, "pictures is of type list, expected a Tensor"),
        (
            lambda: scenes.read(torch.zeros(1, 3, 64, 64).byte()),
            TypeError,
            "pictures has dtype torch.uint8, expected a floating-point dtype",
        ),
        (lambda: scenes.read(torch.zeros(3, 64, 64)), ValueError, "pictures has shape (3, 64, 64), expected (n, 3, 64, 64)"),
        (lambda: scenes.read(torch.zeros(2, 3, 32, 32)), ValueError, "pictures has shape (2, 3, 32, 32), expected (n, 3, 64, 64)"),
        (
            lambda: scenes.read(torch.zeros(0, 3, 64, 64)),
            ValueError,
            "pictures has shape (0, 3, 64, 64), expected at least one example",
        ),
        (
            lambda: scenes.read(torch.full((1, 3, 64, 64), math.nan)),
            ValueError,
            "pictures[0] has an entry that is NaN or infinite, expected finite numbers",
        ),
        (
            lambda: scenes.read(torch.stack([torch.zeros(3, 64, 64), torch.full((3, 64, 64), 255.0)])),
            ValueError,
            "pictures[1] has a number of size 255, expected numbers in [-1, 1], or a little outside",
        ),
    ],
)
def test_other_bad_input_is_refused(call, error, message):
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message


# ---- grading ----


@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ("a small red circle above a large blue square", ""),
        ("a large blue square below a small red circle", ""),
        ("a large red circle above a large blue square", "size all"),
        ("a small red circle above a large green square", "colour all"),
        ("a small red square above a large blue square", "kind all"),
        ("a small red circle left of a large blue square", "relation all"),
        ("a large blue square above a small red circle", "relation all"),
        ("a large blue circle above a small red square", "kind relation all"),
        ("a small red circle", "size colour kind relation all"),
        (None, "size colour kind relation all"),
    ],
)
def test_a_grade_names_the_parts_that_are_wrong(found, wrong):
    grade = scenes.grade("a small red circle above a large blue square", found)
    assert list(grade) == ["size", "colour", "kind", "relation", "all"]
    assert " ".join(part for part, right in grade.items() if not right) == wrong


def test_all_is_right_if_and_only_if_each_part_is():
    one, two = (scenes.captions(300, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    for asked, found in [*zip(one, two, strict=True), *zip(one, one, strict=True)]:
        *parts, whole = scenes.grade(asked, found).values()
        assert whole == all(parts) == (asked == found)
