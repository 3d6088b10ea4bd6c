"""Every parameter of every public name, given what people give it by mistake: the error says what is wrong with what.

A kind of argument, such as a step or a batch, is checked by one function for all who take it. So all that can be wrong with it is
tried at one of them, and at the others what shows that they ask it, with the right name and the right measure.
"""

import functools
import inspect
import math
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy as sp
import torch
from public import public

import tinyddpm as td
from tinyddpm.book import densities, ledger

LINEAR = td.Schedule.linear(T=100)
x, eps, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.full((3, 2), 0.5), torch.tensor([1, 50, 100])
picture, grey = torch.zeros(3, 1, 8, 8), td.UNet(1, 8)
NAN = torch.tensor([[0.0, 0.0], [0.0, math.nan], [0.0, 0.0]])
ROOM = tempfile.TemporaryDirectory()  # is deleted at the end
FOLDER, PNG, TEXT = (Path(ROOM.name) / name for name in ("model", "grey.png", "text.png"))
MLP = td.MLP(2, 8, 1)
DDPM = td.DDPM(MLP, LINEAR)
DDPM.save(FOLDER)
PIXELS = np.zeros((4, 6), dtype=np.uint8)
td.pictures.write(PNG, PIXELS)
TEXT.write_text("no picture")
MIXTURE = td.exact.GaussianMixture([[0.0, 0.0], [1.0, 1.0]], 1.0)
CAPTION, SCENE = "a small red circle", torch.zeros(1, 3, 64, 64)
LABELS, TEXTS = td.Labels(10), td.Text(["a", "red", "circle"], length=4)
TOLD = td.DDPM(td.MLP(2, 8, 1, condition=LABELS), LINEAR)
CODER = td.Autoencoder(1, width=8)
WITH_WORDS = td.DDPM(td.UNet(4, 16, condition=TEXTS), LINEAR)
WITH_WORDS.example_shape = (4, 2, 2)
LATENT = td.LatentDDPM(CODER, WITH_WORDS)
SMALL = {
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": [8],
    "norm_num_groups": 4,
    "down_block_types": ["DownBlock2D"],
    "up_block_types": ["UpBlock2D"],
}
THERE = Path(ROOM.name) / "there"
THEIRS = td.DDPM(td.UNet2D(**SMALL), LINEAR)
THEIRS.to_diffusers(THERE)
OBJECTS = {
    "Autoencoder": CODER,
    "LatentDDPM": LATENT,
    "Gaussian": td.Gaussian(x, 1.0),
    "DDPM": TOLD,
    "DDPM.to_diffusers": THEIRS,
    "Labels": LABELS,
    "Text": TEXTS,
    "GaussianMixture": MIXTURE,
    "MLP": TOLD.model,
    "UNet": grey,
    "UNet2D": td.UNet2D(**SMALL),
    "Schedule": LINEAR,
}
a, b, e = sp.symbols("a b e", positive=True)


def zero(xt, t):
    return 0 * xt


def new_folder():
    return Path(tempfile.mkdtemp(dir=ROOM.name))


def tiny():
    return td.DDPM(td.MLP(2, 8, 1), LINEAR)


def coder():
    return td.Autoencoder(1, width=8)


def of_points():
    made = tiny()
    made.example_shape = (2,)
    return made


def figure():
    return plt.subplots(figsize=(1, 1))[0]


# --- What an error says of a value: (value, error, message) for the argument `p`


def is_type(p, value, expected):
    return value, TypeError, f"^{p} is of type {type(value).__name__}, expected {expected}$"


def shows(p, value, expected):
    return value, TypeError, f"^{p} = .+ is of type {type(value).__name__}, expected {expected}$"


def dtype(p, value, expected="a floating-point dtype"):
    return value, TypeError, f"^{p} has dtype {value.dtype}, expected {expected}$"


def shaped(p, values, expected):
    return [(v, ValueError, rf"^{p} has shape {re.escape(str(tuple(np.shape(v))))}, expected {expected}$") for v in values]


def off(p, values, what):
    return [(v, ValueError, rf"^{p} = {re.escape(repr(v))} {what}$") for v in values]


def at(p, value, expected):
    return value, ValueError, f"^{p} is on {value.device}, expected {expected}$"


# --- The kinds of argument: what is tried everywhere, and what else is tried where `every` is set, at one place

KINDS = {}  # by name: at how many places everything is tried


def kind(cases):
    KINDS[cases.__name__] = 0

    @functools.wraps(cases)
    def chosen(*args, every=False, **options):
        KINDS[cases.__name__] += every
        everywhere, more = cases(*args, **options)
        return everywhere + every * more

    return chosen


@kind
def schedule(p="schedule"):
    others = (None, 1000, MLP, x, td.Schedule, LINEAR.beta, "linear")
    return [is_type(p, [0.1], "a Schedule")], [is_type(p, value, "a Schedule") for value in others]


@kind
def tensor(p):
    wrong = [is_type(p, value, "a Tensor") for value in (None, [[1.0, 2.0]], 1.0, x.numpy(), LINEAR)]
    return [dtype(p, x.long())], [*wrong, *(dtype(p, value) for value in (x.cfloat(), x > 0, x.to(torch.uint8)))]


@kind
def batch(p):
    return shaped(p, [torch.tensor(1.0)], r"\(batch, \.\.\.\)"), [is_type(p, [1.0], "a Tensor"), dtype(p, x.long())]


@kind
def examples(p):
    more = [is_type(p, [1.0], "a Tensor"), *shaped(p, [torch.tensor(1.0)], r"\(batch, \.\.\.\)")]
    return shaped(p, [x[:0]], "at least one example"), [*shaped(p, [x[:, :0]], "at least one example"), *more]


@kind
def like(p, other):
    """All that would be broadcast, and another device."""
    few, *shapes = shaped(p, [x[:1], x[:, :1], x[0], x[0, 0], x[:2], x[None], x[:0]], rf"\(3, 2\), the shape of {other}")
    return [few, at(p, x.to("meta"), f"cpu, where {other} is")], [*shapes, is_type(p, 1.0, "a Tensor"), dtype(p, x.cfloat())]


@kind
def integer(p, least=1):
    wrong = [shows(p, value, "an integer") for value in (None, 2.0, "3", True, [3], math.nan, (1, 8, 8), torch.Generator())]
    return off(p, [least - 1], f"is below {least}"), [*wrong, *off(p, [-5], f"is below {least}")]


@kind
def number(p, high=math.inf):
    """Strictly between 0 and `high`."""
    no_number = [shows(p, value, "a number") for value in (None, "0.1", True, [0.1], 1j, torch.tensor(0.1))]
    outside = rf"is outside \(0, {high:g}\)"
    return off(p, [0], outside), [*no_number, *off(p, [-0.1, high, 1.2, math.nan, math.inf, -math.inf], outside)]


@kind
def between(p, values, what):
    """What a comparison of its own decides, `values` on both sides of it."""
    return [shows(p, "0.1", "a number"), *off(p, values, what)], off(p, [math.nan, math.inf], r"is outside \(-inf, inf\)")


@kind
def steps(of, T=100):
    """Not a step for each of three rows, nor one for all of them."""
    outside = [
        (torch.tensor([1, 5, T + 1]), 2, T + 1),
        (torch.tensor([1, 0, T + 1]), 1, 0),  # the first of them is named
        (torch.tensor([-1, 1, 1]), 0, -1),
    ]
    no_integer, row = r"an integer, or a tensor of integers \(batch,\)", rf"\(3,\): a step for each row of {of}"
    return [
        (torch.tensor([1, 0, 5]), ValueError, rf"^t\[1\] = 0 is outside 1\.\.{T}$"),
        *shaped("t", [t[:1]], row),
    ], [
        *[shows("t", v, no_integer) for v in (None, 1.0, True, "1", [1, 2, 3], (5,), np.array([1, 2, 3]), object())],
        *off("t", [0, -1, T + 1], rf"is outside 1\.\.{T}"),
        (torch.tensor(0), ValueError, rf"^t = 0 is outside 1\.\.{T}$"),
        *[(v, ValueError, rf"^t\[{i}\] = {wrong} is outside 1\.\.{T}$") for v, i, wrong in outside],
        *[dtype("t", v, "an integer dtype such as torch.int64") for v in (t.float(), t / T, t > 1, t.cfloat())],
        *shaped("t", [t[:, None], torch.arange(1, 5)], row),
        at("t", t.to("meta"), f"cpu, where {of} is"),
    ]


@kind
def choice(p, names, few, more=()):
    return off(p, few, f"is not one of {names}"), off(p, more, f"is not one of {names}")


@kind
def flag(p="progress"):
    return [shows(p, 1, "True or False")], [shows(p, value, "True or False") for value in ("no", [], torch.bfloat16)]


@kind
def function(p):
    return [is_type(p, 3, "a callable")], [is_type(p, value, "a callable") for value in ("model", x)]


@kind
def path(p):
    return [shows(p, 5, "a path")], [shows(p, value, "a path") for value in (True, b"folder", [FOLDER], DDPM)]


@kind
def generator():
    others = ("cpu", True, torch.manual_seed, torch.device("cpu"))
    expected = "a torch.Generator or None"
    return [shows("generator", 0, expected)], [shows("generator", value, expected) for value in others]


@kind
def network():
    """No callable yet, too."""
    return [is_type("model", td.MLP, "a callable")], [is_type("model", value, "a callable") for value in (None, 3, "unet", x)]


@kind
def answer():
    """What a model says, as the model that says it."""
    p, model = r"model\(x_t, t\)", lambda case: (lambda xt, t: case[0], *case[1:])
    few, *shapes = shaped(p, [x[:1], x[:, :1], x.mean(), x.sum(1), torch.cat([x, x], 1)], r"\(3, 2\), the shape of x_t")
    types = [is_type(p, v, "a Tensor") for v in (None, 0.0, (x,), {"sample": x}, SimpleNamespace(sample=x), x.numpy())]
    return [model(few)], [model(case) for case in (*shapes, *types, dtype(p, x.long()), at(p, x.to("meta"), "cpu, where x_t is"))]


@kind
def points(p, least):
    """Sets of points for a distance, the first of two."""
    no_number = rf"^{p}\[{{}}\] has an entry that is NaN or infinite, expected finite numbers$"
    return [(NAN, ValueError, no_number.format(1)), *shaped(p, [x[: least - 1]], f"at least {least} points")], [
        is_type(p, [1.0], "a Tensor"),
        *shaped(p, [torch.tensor(1.0)], r"\(batch, \.\.\.\)"),
        *shaped(p, [x[:0], x[:, :0]], f"at least {least} points"),
        (NAN / 0, ValueError, no_number.format(0)),
        at(p, x.to("meta"), "a device where its numbers are"),
    ]


@kind
def table(p):
    """What holds no finite real numbers."""
    more = ("a", [1j], ["a"], [[1.0], [1.0, 2.0]], torch.tensor([1j]), torch.tensor([True]))
    return [
        (None, TypeError, f"^{p} = None does not hold real numbers$"),
        ([1.0, math.nan], ValueError, f"^{p} has an entry that is not finite: nan$"),
    ], [
        *[(v, TypeError, rf"^{p} = .+ does not hold real numbers$") for v in more],
        ([1.0, math.inf], ValueError, f"^{p} has an entry that is not finite: inf$"),
    ]


@kind
def shape():
    """Of what is drawn."""
    wrong = (None, 2.0, x, np.array([3, 2]), {3, 2})
    return [shows("shape", "32", r"a tuple such as \(64, 1, 8, 8\)")], [
        *[shows("shape", value, r"a tuple such as \(64, 1, 8, 8\)") for value in wrong],
        ((3, 2.0), TypeError, r"^shape = 2\.0 is of type float, expected an integer$"),
        ((0, 2), ValueError, "^shape = 0 is below 1$"),
        ((-1, 2), ValueError, "^shape = -1 is below 1$"),
        (True, TypeError, "^shape = True is of type bool, expected an integer$"),
        ((), ValueError, r"^x_T has shape \(\), expected \(batch, \.\.\.\)$"),
        ((4,), ValueError, r"^xt has shape \(4,\), expected \(batch, 2\)$"),
        ((3, 3), ValueError, r"^xt has shape \(3, 3\), expected \(batch, 2\)$"),
    ]


@kind
def start():
    """Where sampling starts, if it is given."""
    return shaped("x_T", [x[:2]], r"\(3, 2\), the given shape"), [
        *shaped("x_T", [x[:, :1]], r"\(3, 2\), the given shape"),
        *[is_type("x_T", value, "a Tensor") for value in ([1.0], 0.0, x.numpy())],
        dtype("x_T", x.long()),
        dtype("xt", x.double(), "torch.float32, that of the network"),
        at("xt", x.to("meta"), "cpu, where the network is"),
    ]


@kind
def state(good):
    """What a network is asked about."""
    wide = "torch.float32, that of the network"
    return [dtype("xt", good.double(), wide)], [
        dtype("xt", good.long()),
        dtype("xt", good.half(), wide),
        dtype("xt", good.double().to("meta"), wide),
        at("xt", good.to("meta"), "cpu, where the network is"),
    ]


@kind
def when():
    """The step that a network is asked about."""
    few, *shapes = shaped("t", [t[:1], t[:, None], t[0]], r"\(3,\), a step for each row of xt")
    return [few], [
        *shapes,
        *[is_type("t", value, "a Tensor") for value in (None, 3, [1, 2, 3], t.numpy())],
        *[dtype("t", value, "an integer dtype such as torch.int64") for value in (t.float(), t > 1)],
        at("t", t.to("meta"), "cpu, where the network is"),
    ]


# --- The table: for each public name, good arguments, and for each parameter what is wrong


def given(name, p):
    """A conversion of x_t and `p` into another of x_0, eps and v."""
    wrong = {"schedule": schedule(), "xt": tensor("xt"), "t": steps("xt"), p: like(p, "xt")}
    return name, {"schedule": LINEAR, "xt": x, "t": t, p: eps}, wrong


def second(p, least):
    """Points beside those of x."""
    return [*points(p, least), (torch.ones(3, 3), ValueError, rf"^{p} has points of shape \(3,\), expected \(2,\), as x has$")]


def no_pixels(value):
    expected = r"expected bytes \(height, width\) or \(height, width, 3\)"
    return value, ValueError, f"^pixels are {value.dtype} of shape {re.escape(str(value.shape))}, {expected}$"


NO_CONDITION = [(3, TypeError, r"^condition is of type int, expected a condition such as Labels\(10\)$")]
UNTOLD = (t, ValueError, "^c is given, but the network, a UNet, knows no condition: make it with condition=$")
SHEET = torch.zeros(2, 1, 8, 16)


def sheet(p):
    """Pictures for an autoencoder."""
    return [
        *batch(p), dtype(p, SHEET.double(), "torch.float32, that of the autoencoder"),
        at(p, SHEET.to("meta"), "cpu, where the autoencoder is"),
        *shaped(p, [x, SHEET[0], SHEET[:, :, :7], SHEET.expand(2, 3, 8, 16)], r"\(n, 1, height, width\) with sides divisible by 8"),
    ]  # fmt: skip


NULL = r"is outside 0\.\.9, nor is it 10, the null$"
VARIANCES, PREDICTED = "'beta', 'beta_tilde'", "'eps', 'x0', 'v'"
VARIANCE = choice("variance", VARIANCES, ["fixed_small"])
OFF_LEVELS = r"which is none of {} equally spaced levels in \[-1, 1\]$"


def size(p):
    return [
        *[shows(p, value, "numbers") for value in ("a", object(), [None])],
        (math.nan, ValueError, rf"^{p} has an entry that is NaN or infinite"),
        ([1.0, math.inf], ValueError, rf"^{p}\[1\] has an entry that is NaN or infinite"),
    ]


NO_INTEGER = [shows("t", value, "an integer") for value in (1.0, torch.tensor(1))]  # not even one for each of many
TABLES = "beta, alpha, alpha_bar, one_minus_alpha_bar, beta_tilde, snr"
OTHERS = "digits, eight_gaussians, two_moons, swiss_roll, checkerboard, scenes"
NO_FOLDER = (FOLDER / "no", FileNotFoundError, r"^there is no checkpoint in .*no: it has no ddpm\.json$")
NO_FORMAT = r"^path = '.+' is of no known format of pictures, expected one such as \.png$"
COMPLEX = np.array([0.1 + 5j]), torch.tensor([0.1j])

CASES = [
    # schedule
    ("Schedule", {"beta": [0.1, 0.2]}, {"beta": [
        *[(v, TypeError, r"^beta = .+ is not a sequence of real numbers$")
          for v in (None, "0.1", ["0.1"], [0.1, None], [0.1j], *COMPLEX, torch.tensor([True]), LINEAR, [[0.1], [0.2, 0.3]],
                    torch.ones(2, device="meta"))],
        *[([0.1, v], ValueError, rf"^beta\[1\] = {v} is outside \(0, 1\)$") for v in (0.0, 1.0, 1.2, -0.1, math.nan, math.inf)],
        *shaped("beta", [0.1, [], [[0.1]], torch.full((2, 3), 0.1)], "one dimension with at least one entry"),
        (LINEAR.beta, ValueError, r"^beta\[0\] = 0\.0 is outside \(0, 1\)$"),  # the table has a row for t = 0
        ([torch.tensor([0.1]), torch.tensor([0.2])], (ValueError, TypeError), "^beta "),  # as NumPy reads it
        (LINEAR.alpha, ValueError, r"^beta\[0\] = 1\.0 is outside \(0, 1\)$"),
    ]}),
    ("Schedule.linear", {"T": 10}, {
        "T": integer("T", every=True), "beta_1": number("beta_1", 1, every=True), "beta_T": number("beta_T", 1)}),
    ("Schedule.cosine", {"T": 10}, {
        "T": integer("T"), "max_beta": number("max_beta", 1), "s": between("s", [-0.1], "is below 0")}),
    ("Schedule.lognormal", {"T": 10}, {
        "T": integer("T"), "std": number("std"),
        "mean": [shows("mean", "1", "a number"), *off("mean", [math.nan, math.inf], r"is outside \(-inf, inf\)"),
                 (50, ValueError, r"^mean = 50\.0 with std = 1\.2 and T = 10 gives a step with a beta of 0 or 1")]}),
    ("Schedule.at", {"table": "beta", "t": t, "x": x}, {
        "table": choice("table", TABLES, ["gamma", "T", "BETA", None, ["beta"]]), "t": steps("x"),
        "x": [is_type("x", value, "a Tensor") for value in (1.0, x.numpy())], "back": choice("back", "0, 1", [2, -1, None])}),
    # gaussian
    ("Gaussian", {"mean": x, "var": eps}, {"mean": tensor("mean"), "var": [
        *like("var", "mean"), *[is_type("var", value, "a Tensor") for value in ("1", True)],
        *[(v, ValueError, rf"^var has an entry {v}, expected finite variances of 0 or more$") for v in (-1.0, math.nan, math.inf)],
        (torch.full((3, 2), -1.0), ValueError, r"^var has an entry -1\.0, expected finite variances of 0 or more$"),
        (NAN, ValueError, "^var has an entry nan, expected finite variances of 0 or more$"),
        dtype("var", eps.double(), "torch.float32, the dtype of mean"),
        (1e300, ValueError, r"^var = 1e\+300 is beyond the largest number of torch.float32, the dtype of mean$"),
    ]}),
    ("Gaussian.sample", {}, {"generator": generator(every=True)}),
    ("Gaussian.log_prob", {"x": x}, {"x": like("x", "mean")}),
    ("Gaussian.kl", {"other": td.Gaussian(x, 1.0)}, {"other": [
        *[is_type("other", value, "a Gaussian") for value in (None, x, torch.distributions.Normal(0, 1))],
        *[(td.Gaussian(case[0], 1.0), *case[1:]) for case in like(r"other\.mean", "mean")]]}),
    # forward
    ("q_step", {"schedule": LINEAR, "x_prev": x, "t": t}, {
        "schedule": schedule(every=True), "x_prev": tensor("x_prev", every=True), "t": steps("x_prev", every=True)}),
    ("q_marginal", {"schedule": LINEAR, "x0": x, "t": t}, {"schedule": schedule(), "x0": tensor("x0"), "t": steps("x0")}),
    ("q_sample", {"schedule": LINEAR, "x0": x, "t": t, "eps": eps}, {
        "schedule": schedule(), "x0": tensor("x0"), "t": steps("x0"), "eps": like("eps", "x0", every=True)}),
    # posterior
    ("q_posterior", {"schedule": LINEAR, "x0": x, "xt": x, "t": t}, {
        "schedule": schedule(), "x0": tensor("x0"), "xt": like("xt", "x0"), "t": steps("x0")}),
    ("p_step", {"schedule": LINEAR, "xt": x, "t": t, "eps": eps}, {
        "schedule": schedule(), "xt": tensor("xt"), "t": steps("xt"), "eps": like("eps", "xt"),
        "variance": choice("variance", VARIANCES, ["fixed_small"], ["BETA", "", None, 1.0, ["beta"], True], every=True)}),
    ("p_step", {"schedule": LINEAR, "xt": x, "t": t, "eps": eps, "variance": "beta_tilde"}, {"t": steps("xt")}),  # with t = 1 as 2
    ("p_step", {"schedule": td.Schedule([0.5]), "xt": x, "t": 1, "eps": eps}, {"variance": VARIANCE}),  # where all are the same
    given("x0_from_eps", "eps"), given("eps_from_x0", "x0"), given("v_from_eps", "eps"), given("v_from_x0", "x0"),
    given("x0_from_v", "v"), given("eps_from_v", "v"),
    # elbo
    ("VLB", {"L_T": torch.zeros(3), "L_t": torch.zeros(3, 9), "L_0": torch.zeros(3)}, {
        "L_T": [*tensor("L_T"), *shaped("L_T", [x, x[0, 0]], r"\(batch,\)")],
        "L_t": [*tensor("L_t"), *shaped("L_t", [torch.zeros(3), torch.zeros(1, 9)], r"\(batch, T-1\)")],
        "L_0": [*tensor("L_0"), *shaped("L_0", [torch.zeros(3, 1), torch.zeros(1)], r"\(batch,\)")]}),
    ("vlb_terms", {"schedule": LINEAR, "model": zero, "x0": x}, {
        "schedule": schedule(), "model": [*network(), *answer()], "x0": batch("x0", every=True), "variance": VARIANCE,
        "levels": [*integer("levels", 2), (17, ValueError, f"^x0 has a value .+, {OFF_LEVELS.format(17)}")],
        "eps": like("eps", "x0"), "generator": generator(), "progress": flag()}),
    ("discretised_log_prob", {"law": td.Gaussian(x, 1.0), "x": eps, "levels": 5}, {
        "law": [is_type("law", value, "a Gaussian") for value in (None, x)], "levels": integer("levels", 2),
        "x": [*like("x", r"law\.mean"), (eps - 0.2, ValueError, rf"^x has a value 0\.3, {OFF_LEVELS.format(5)}")]}),
    ("bits_per_dim", {"nats": x, "dims": 2}, {
        "nats": [*[shows("nats", value, "a number") for value in (None, "1", [1.0], x.numpy(), True)], dtype("nats", x.long()),
                 *off("nats", [math.nan], r"is outside \(-inf, inf\)")],
        "dims": integer("dims")}),
    # loss
    ("simple_loss", {"schedule": LINEAR, "model": zero, "x0": x}, {
        "schedule": schedule(), "model": [*network(), *answer()], "x0": examples("x0", every=True), "t": steps("x0"),
        "eps": like("eps", "x0"), "generator": generator()}),
    ("vlb_weight", {"schedule": LINEAR, "t": t}, {
        "schedule": schedule(), "variance": VARIANCE,
        "t": [*steps("t")[:1], *off("t", [0], r"is outside 1\.\.100"), *shaped("t", [t[:, None]], r"\(n,\)"),
              shows("t", [1, 2], r"an integer, or a tensor of integers \(batch,\)")]}),
    ("vlb_weight", {"schedule": LINEAR, "t": t, "variance": "beta_tilde"}, {"t": steps("t")[:1]}),
    # nets
    ("MLP", {}, {"dim": integer("dim"), "width": integer("width"), "depth": integer("depth"), "condition": NO_CONDITION}),
    ("MLP.forward", {"xt": x, "t": t}, {
        "xt": [*batch("xt"), *state(x, every=True), *shaped("xt", [x[0], x[:, :, None], torch.ones(3, 3)], r"\(batch, 2\)")],
        "t": when(every=True), "c": [
            is_type("c", 3, "a Tensor"), *shaped("c", [t[:2]], r"\(3,\), one for each row of xt"),
            (t, ValueError, r"^c has labels outside 0\.\.9 that are not 10, the null$"), at("c", t.to("meta"), "cpu, where xt is"),
            dtype("c", t / 100, "an integer dtype such as torch.int64")]}),
    ("UNet", {"width": 8}, {
        "channels": integer("channels"), "levels": integer("levels"), "condition": NO_CONDITION,
        "width": [*integer("width"), *off("width", [12], "is not a multiple of 8")]}),
    ("UNet.forward", {"xt": picture, "t": t}, {
        "c": [UNTOLD],
        "xt": [*batch("xt"), *state(picture), *shaped(
            "xt", [picture[0], picture[..., None], torch.zeros(3, 3, 8, 8), picture[..., :0], picture[:, :, :0]],
            r"\(batch, 1, height, width\)")],
        "t": when()}),
    ("UNet2D", SMALL, {
        "sample_size": [(0, ValueError, "^sample_size = 0 is below 1$"),
                        *[shows("sample_size", v, r"a side, a pair \(height, width\) or None") for v in ("8", 8.0, (8,))]],
        "in_channels": [*integer("in_channels"), (2, ValueError, "^out_channels = 1 is not 2, the value of in_channels$")],
        "out_channels": [*integer("out_channels"), (2, ValueError, r"^out_channels = 2 is not 1, .+ \(a learned variance is not")],
        "center_input_sample": flag("center_input_sample"), "flip_sin_to_cos": flag("flip_sin_to_cos"),
        "add_attention": flag("add_attention"),
        "time_embedding_type": [*choice("time_embedding_type", "'positional', 'learned'", ["fourier", None]),
                                ("learned", ValueError, "^num_train_timesteps = None, expected the number of steps")],
        "time_embedding_dim": integer("time_embedding_dim"), "num_train_timesteps": integer("num_train_timesteps"),
        "freq_shift": [*[shows("freq_shift", v, "a number") for v in (None, "1")],
                       *off("freq_shift", [4, math.nan], r"is outside \(-inf, 4\)")],
        "down_block_types": [shows("down_block_types", "DownBlock2D", "a sequence with one entry for each level"),
                             (["DownBlock"], ValueError, r"^down_block_types\[0\] = 'DownBlock' is not one of 'DownBlock2D', '"),
                             ([], ValueError, "^down_block_types has 0 entries, expected 1, one for each of block_out_channels$")],
        "up_block_types": [shows("up_block_types", None, "a sequence with one entry for each level"),
                           ([None], ValueError, r"^up_block_types\[0\] = None is not one of 'UpBlock2D', '"),
                           (["UpBlock2D"] * 2, ValueError, "^up_block_types has 2 entries, expected 1, one for each of block_out")],
        "block_out_channels": [shows("block_out_channels", 8, "a sequence with one entry for each level"),
                               ([], ValueError, "^block_out_channels is empty, expected at least one level$"),
                               ([10], ValueError, r"^block_out_channels\[0\] = 10 is not a multiple of 4, norm_num_groups$"),
                               (["8"], TypeError, r"^block_out_channels\[0\] = '8' is of type str, expected an integer$")],
        "layers_per_block": integer("layers_per_block"), "norm_num_groups": integer("norm_num_groups"),
        "mid_block_scale_factor": number("mid_block_scale_factor")[:1], "norm_eps": number("norm_eps")[:1],
        "downsample_padding": [*choice("downsample_padding", "0, 1", [2, None]), shows("downsample_padding", True, "an integer")],
        "downsample_type": choice("downsample_type", "'conv', 'resnet'", ["fir", None]),
        "upsample_type": choice("upsample_type", "'conv', 'resnet'", ["fir", None]),
        "dropout": [shows("dropout", None, "a number"), *off("dropout", [1.0], r"is outside \(-inf, 1\)"),
                    *off("dropout", [-0.1], "is below 0")],
        "act_fn": choice("act_fn", "'silu', 'swish', 'mish', 'gelu', 'relu'", ["tanh", None]),
        "attention_head_dim": [*integer("attention_head_dim"),
                               *off("attention_head_dim", [9], r"is above 8, block_out_channels\[0\]")],
        "attn_norm_num_groups": [*integer("attn_norm_num_groups"),
                                 *off("attn_norm_num_groups", [3], "does not divide 8, the last width")],
        "resnet_time_scale_shift": choice("resnet_time_scale_shift", "'default', 'scale_shift'", ["ada_group", None])}),
    ("UNet2D.forward", {"xt": picture, "t": t}, {
        "xt": [*batch("xt"), *state(picture), *shaped("xt", [picture[0], torch.zeros(3, 3, 8, 8)],
                                                      r"\(batch, 1, height, width\) with sides divisible by 1")],
        "t": when()}),
    ("load_diffusers", {"folder": THERE}, {
        "folder": [*path("folder"), (THERE / "no", FileNotFoundError, "^there is no model in diffusers' layout in .*no: it has"),
                   (THERE / "config.json", ValueError, r"config\.json is a file, expected a folder in diffusers' layout")]}),
    ("DDPM.to_diffusers", {"folder": new_folder}, {
        "folder": [*path("folder"), (THERE, FileExistsError, "is there already: name a folder without it")]}),
    ("nets.time_embedding", {"t": t, "size": 4}, {
        "t": [is_type("t", 3, "a Tensor"), *shaped("t", [t[0], t[:, None]], r"\(batch,\)")],
        "size": [*integer("size", 2), *off("size", [3], "is not a multiple of 2")]}),
    # sampling
    ("sample", {"schedule": LINEAR, "model": zero, "x_T": x}, {
        "schedule": schedule(), "model": [*network(every=True), *answer(every=True)], "x_T": batch("x_T"), "variance": VARIANCE,
        "generator": generator(), "callback": function("callback", every=True), "progress": flag(every=True)}),
    ("sample_ddim", {"schedule": LINEAR, "model": zero, "x_T": x}, {
        "schedule": schedule(), "model": [*network(), *answer()], "x_T": batch("x_T"), "generator": generator(),
        "steps": [*integer("steps"), *off("steps", [101], "is above T = 100")],
        "eta": between("eta", [-0.1, 1.1], r"is outside 0\.\.1", every=True), "callback": function("callback"),
        "progress": flag()}),
    # ddpm
    ("DDPM", {"model": MLP, "schedule": LINEAR}, {
        "model": network(), "schedule": schedule(), "predict": choice("predict", PREDICTED, ["epsilon"]), "variance": VARIANCE,
        "clip": [*[(v, TypeError, r"^clip = .+ is not a pair of numbers \(low, high\)$")
                   for v in (1.0, True, (1.0,), (0, 1, 2), "01", ("0", "1"), (None, 1), (None, None))],
                 *off("clip", [(1, -1), (1, 1), (math.nan, 1)], "is not a range: expected low < high")],
        "shift": size("shift"), "scale": [*size("scale"), *off("scale", [0.0, [1.0, -1.0]], "has a number that is not above 0")],
    }),
    ("DDPM.forward", {"x0": x}, {
        "x0": [*examples("x0"), *shaped("xt", [torch.ones(3, 3)], r"\(batch, 2\)")], "t": steps("x0"), "eps": like("eps", "x0"),
        "generator": generator(), "c": [
            dtype("c", torch.zeros(3), "an integer dtype such as torch.int64"),
            *shaped("c", [t[:1], 3], r"\(3,\), one for each row of xt"), (-1, ValueError, f"^c = -1 {NULL}"),
            (t, ValueError, rf"^c\[1\] = 50 {NULL}"), ([1, 2, 11], ValueError, rf"^c\[2\] = 11 {NULL}")]}),
    ("DDPM.given", {"c": 3}, {
        "c": [*[shows("c", v, r"a label, or a tensor of labels \(batch,\)") for v in (None, 1.5, "7", True)],
              *shaped("c", [t[:, None]], r"\(\) or \(batch,\)"), dtype("c", t / 100, "an integer dtype such as torch.int64"),
              *off("c", [-1, 10, 10**30], r"is outside 0\.\.9"),
              ([1, 2.0], TypeError, r"^c\[1\] = 2\.0 is of type float, expected an integer$"),
              *[(v, ValueError, r"^c\[1\] = 50 is outside 0\.\.9$") for v in (t, [1, 50], t.to(torch.uint16))],
              at("c", t.to("meta"), "cpu, where the network is")],
        "guidance": [shows("guidance", "2", "a number"), *off("guidance", [math.nan, math.inf], r"is outside \(-inf, inf\)")],
        "negative": [(3, ValueError, "^negative is given with guidance = 1, where it does nothing: take a guidance above 1$")]}),
    ("Labels", {"classes": 10}, {"classes": integer("classes"), "size": integer("size")}),
    ("Labels.forward", {"c": t % 10}, {"c": [dtype("c", t / 100, "an integer dtype such as torch.int64")]}),
    ("Text", {"words": ["a", "red"]}, {
        "words": [*[shows("words", value, "a list of strings") for value in ("red", None, [1])],
                  *off("words", [[], ["a", "a"]], "is empty, or has a word twice")],
        "length": integer("length"), "layers": integer("layers"),
        "size": [*integer("size"), *off("size", [6], "is not a multiple of 4")]}),
    ("Text.tokens", {"caption": "a red circle"}, {
        "caption": [shows("caption", 3, "a string"), ("a " * 5, ValueError, "has 5 words, expected at most 4$"),
                    ("a rad circle", ValueError, "has the unknown word 'rad': the nearest known word is 'red'$")]}),
    ("Text.forward", {"c": TEXTS.null[None]}, {"c": [dtype("c", t / 100, "an integer dtype such as torch.int64")]}),
    ("Text.attention", {"width": 16}, {"width": integer("width")}),
    ("Autoencoder", {}, {
        "channels": integer("channels"), "code": integer("code"), "weight": number("weight"),
        "width": [*integer("width"), *off("width", [12], "is not a multiple of 8")]}),
    ("Autoencoder.encode", {"x": SHEET}, {"x": sheet("x")}),
    ("Autoencoder.decode", {"z": torch.zeros(2, 4, 1, 1)}, {
        "z": [*batch("z"), *shaped("z", [x, torch.zeros(2, 3, 1, 1)], r"\(n, 4, height, width\)"),
              dtype("z", torch.zeros(2, 4, 1, 1).double(), "torch.float32, that of the autoencoder"),
              at("z", torch.zeros(2, 4, 1, 1, device="meta"), "cpu, where the autoencoder is")]}),
    ("Autoencoder.forward", {"x": SHEET, "eps": torch.zeros(2, 4, 1, 2)}, {
        "x": sheet("x"), "generator": generator(), "eps": [
            is_type("eps", 1, "a Tensor"),
            *shaped("eps", [torch.zeros(2, 4, 1, 1)], r"\(2, 4, 1, 2\), the shape of the codes of x")]}),
    ("fit_autoencoder", {"autoencoder": coder, "x0": SHEET, "steps": 1, "batch_size": 2, "progress": False}, {
        "autoencoder": [is_type("autoencoder", value, "a Autoencoder") for value in (None, DDPM, td.Autoencoder)],
        "x0": [*sheet("x0"), (SHEET / 0, ValueError, r"^x0\[0\] has an entry that is NaN or infinite, expected finite numbers$"),
               (SHEET[:0], ValueError, r"^x0 has shape \(0, 1, 8, 16\), expected at least one example$")],
        "steps": off("steps", [0], "is below 1"), "batch_size": off("batch_size", [0], "is below 1"),
        "lr": off("lr", [0], r"is outside \(0, inf\)"), "ema": off("ema", [1], r"is outside \[0, 1\)"),
        "seed": off("seed", [-1], "is below 0"), "checkpoint": [shows("checkpoint", 3, "a path")],
        "resume": [shows("resume", 3, "a path")], "progress": flag(), "max_grad_norm": off("max_grad_norm", [0], r"is outside .+"),
        "save_every": off("save_every", [0], "is below 1"), "device": off("device", ["gpu"], "is no device of this machine: .+"),
        "mixed_precision": flag("mixed_precision")}),
    ("LatentDDPM", {"autoencoder": CODER, "ddpm": WITH_WORDS}, {
        "autoencoder": [is_type("autoencoder", value, "a Autoencoder") for value in (None, DDPM, td.Autoencoder)],
        "ddpm": [*[is_type("ddpm", value, "a DDPM") for value in (None, MLP)],
                 (of_points(), ValueError, r"^ddpm was trained on examples of shape \(2,\), expected codes \(4, .+\)$")]}),
    ("LatentDDPM.draw", {"prompts": "a red circle", "steps": 1}, {
        "prompts": [is_type("prompts", 3, "a caption, a list of captions or a Tensor"),
                    *off("prompts", [[]], "is empty, expected at least one caption"),
                    (["a", 3], TypeError, r"^prompts\[1\] = 3 is of type int, expected a string$"),
                    ("a red a red a", ValueError, r"^prompts = 'a red a red a' has 5 words, expected at most 4$"),
                    (["a", "rad"], ValueError, r"^prompts\[1\] = 'rad' has the unknown word 'rad': the nearest known .+ 'red'$")],
        "guidance": [shows("guidance", "2", "a number"), *off("guidance", [math.nan, math.inf], r"is outside \(-inf, inf\)")],
        "steps": [*integer("steps"), *off("steps", [101], "is above T = 100")], "generator": generator(),
        "negative": [is_type("negative", 3, "a caption, a list of captions or a Tensor"),
                     (["a", "red"], ValueError, "^negative has 2 captions, expected 1, or 1, one for each prompt$"),
                     ("a cirkle", ValueError, r"^negative = 'a cirkle' has the unknown word 'cirkle': the nearest .+ 'circle'$")],
        "start": [*batch("start"), *shaped("start", [SHEET, SHEET[0]], r"\(1, 1, 16, 16\): pictures of the size .+"),
                  (torch.full((1, 1, 16, 16), math.nan), ValueError, r"^start\[0\] has an entry that is NaN or infinite, .+"),
                  (torch.full((1, 1, 16, 16), 255.0), ValueError, r"^start has numbers of size 255, expected .+ \[-1, 1\]$")],
        "strength": [shows("strength", "1", "a number"), *off("strength", [0, 1.01, math.nan], r"is outside .+")]}),
    ("LatentDDPM.save", {"path": FOLDER}, {"path": [shows("path", None, "a path")]}),
    ("DDPM.eps", {"xt": x, "t": t}, {"xt": batch("xt"), "t": steps("xt")}),
    ("DDPM.x0", {"xt": x, "t": t}, {"xt": batch("xt"), "t": steps("xt")}),
    ("DDPM.sample", {"shape": (3, 2)}, {
        "shape": shape(every=True), "x_T": start(every=True), "generator": generator(), "progress": flag(),
        "callback": function("callback")}),
    ("DDPM.sample_ddim", {"shape": (3, 2)}, {
        "shape": shape(), "x_T": start(), "generator": generator(), "progress": flag(), "callback": function("callback"),
        "steps": off("steps", [101], "is above T = 100"), "eta": off("eta", [1.1], r"is outside 0\.\.1")}),
    ("DDPM.vlb", {"x0": x}, {
        "x0": batch("x0"), "levels": integer("levels", 2), "generator": generator(), "progress": flag(), "eps": like("eps", "x0")}),
    ("DDPM.save", {"path": FOLDER}, {"path": [*path("path", every=True), shows("path", None, "a path")]}),
    ("load", {"path": FOLDER}, {
        "path": [*path("path"), NO_FOLDER,
                 (FOLDER / "ddpm.json", ValueError, r"ddpm\.json is a file, expected the folder of a checkpoint")],
        "model": [is_type("model", zero, "a Module"),
                  (td.MLP(2, 9, 1), ValueError, "^the checkpoint in .+ is of another architecture than MLP: .+, and 10 more$")]}),
    ("load_pretrained", {"name": "two_moons"}, {"name": choice("name", OTHERS, ["mnist", None, ["digits"]])}),
    # training
    ("fit", {"ddpm": tiny, "x0": x, "steps": 1, "batch_size": 2, "progress": False}, {
        "ddpm": [*[is_type("ddpm", value, "a DDPM") for value in (None, MLP, td.DDPM, SimpleNamespace(schedule=LINEAR))],
                 (td.DDPM(zero, LINEAR), TypeError, r"^ddpm\.model is of type function, expected a Module$")],
        "x0": [*examples("x0"), (NAN, ValueError, r"^x0\[1\] has an entry that is NaN or infinite, expected finite numbers$"),
               at("x0", x.to("meta"), "a device where its numbers are"),
               (torch.ones(5, 3), ValueError, r"^xt has shape \(2, 3\), expected \(batch, 2\)$")],
        "steps": integer("steps"), "batch_size": integer("batch_size"), "lr": number("lr"),
        "ema": between("ema", [-0.1, 1], r"is outside \[0, 1\)"),
        "seed": [*integer("seed", 0), shows("seed", "1", "an integer"), *off("seed", [2**63], r"is above 2\*\*63 - 1")],
        "checkpoint": path("checkpoint"),
        "resume": [*path("resume"), NO_FOLDER,
                   (FOLDER, ValueError, r"^the checkpoint in .* holds a network, but no training to resume$")],
        "workers": integer("workers", 0), "callback": [is_type("callback", 1, "a callable")],
        "progress": flag(), "max_grad_norm": number("max_grad_norm"), "save_every": integer("save_every"),
        "device": [*off("device", ["gpu", "cuda:99", "", 1.5, ["cpu"]], "is no device of this machine: .+"),
                   *off("device", ["meta"], "has no numbers, expected a device such as 'cpu' or 'cuda'")],
        "mixed_precision": flag("mixed_precision"), "drop": between("drop", [-0.1, 1.1], r"is outside \[0, 1\]"),
        "c": [(t, ValueError, "^c is given, but the network, a MLP, knows no condition: make it with condition=$")]}),
    # data
    ("data.eight_gaussians_labels", {"points": x}, {"points": [
        *batch("points"), *shaped("points", [torch.ones(3, 3)], r"\(n, 2\)"),
        (NAN, ValueError, r"^points\[1\] has an entry that is NaN or infinite, expected finite numbers$")]}),
    *[(f"data.{name}", {"n": 3}, {"n": integer("n"), "generator": generator()})
      for name in ("eight_gaussians", "two_moons", "swiss_roll", "checkerboard")],
    *[(f"data.{name}", {}, {"part": choice("part", "'all', 'train', 'test'", ["val"])}) for name in ("digits", "digit_labels")],
    # pictures
    ("pictures.grid", {"x": picture}, {
        "columns": integer("columns"), "zoom": integer("zoom"),
        "x": [*batch("x"), *shaped("x", [picture[0], picture[..., 0], torch.zeros(3, 2, 8, 8), picture[:0]],
                                   r"\(n, 1 or 3, height, width\), n at least 1"),
              (picture + math.nan, ValueError, r"^x\[0\] has an entry that is NaN or infinite, expected finite numbers$")]}),
    ("pictures.density", {"x": x}, {
        "x": [*batch("x"), *shaped("x", [x[0], torch.ones(3, 3)], r"points \(n, 2\)")], "side": integer("side"),
        "reach": number("reach")}),
    ("pictures.write", {"path": PNG, "pixels": PIXELS}, {
        "path": [*path("path"), *[(PNG.with_name(name), ValueError, NO_FORMAT) for name in ("none", "a.txt", "a.psd")]],
        "pixels": [is_type("pixels", torch.zeros(4, 6, dtype=torch.uint8), "a ndarray"), no_pixels(PIXELS / 255),
                   *[no_pixels(np.zeros(size, np.uint8)) for size in ((4,), (4, 6, 4), (4, 6, 3, 1))]]}),
    ("pictures.read", {"path": PNG}, {
        "path": [*path("path"), (FOLDER / "no.png", FileNotFoundError, r"no\.png"),
                 (TEXT, OSError, r"^cannot identify image file .+text\.png")]}),
    # scenes
    ("scenes.scene", {"caption": CAPTION}, {
        "caption": [shows("caption", 3, "a string"),
                    ("a smal red circle", ValueError, "the unknown word 'smal': the nearest known word is 'small'$"),
                    ("a red small circle", ValueError, "is no caption, expected one such as 'a small red circle', or two")]}),
    ("scenes.captions", {"n": 2}, {"n": integer("n"), "generator": generator(), "withheld": flag("withheld")}),
    ("scenes.draw", {"captions": [CAPTION]}, {
        "captions": [*[shows("captions", value, "a list of strings") for value in (CAPTION, None, 3)],
                     ([], ValueError, r"^captions = \[\] is empty, expected at least one caption$"),
                     ([None], *shows(re.escape("captions[0]"), None, "a string")[1:]),
                     ([CAPTION, "a blue dog"], ValueError, r"^captions\[1\] = .+ word 'dog'")],
        "generator": generator()}),
    ("scenes.grade", {"asked": CAPTION, "found": CAPTION}, {
        "asked": [shows("asked", None, "a string"), ("a red circle", ValueError, "^asked = 'a red circle' is no caption, .+")],
        "found": [shows("found", 3, "a string"), ("a red circle", ValueError, "^found = 'a red circle' is no caption, .+")]}),
    ("scenes.read", {"pictures": SCENE}, {
        "pictures": [*examples("pictures"), *shaped("pictures", [SCENE[:, :1], SCENE[..., :8]], r"\(n, 3, 64, 64\)"),
                     (SCENE + math.nan, ValueError, r"^pictures\[0\] has an entry that is NaN or infinite, expected finite"),
                     (255 + 0 * SCENE, ValueError, r"^pictures\[0\] has a number of size 255, expected numbers in \[-1, 1\]")]}),
    # metrics
    ("metrics.energy_distance", {"x": x, "y": eps}, {"x": points("x", 2, every=True), "y": second("y", 2)}),
    ("metrics.frechet_distance", {"x": x, "y": eps}, {"x": points("x", 2), "y": second("y", 2)}),
    ("metrics.sliced_wasserstein", {"x": x, "y": eps}, {
        "x": points("x", 1), "y": [*second("y", 1), *shaped("y", [x[:2]], r"\(3, 2\), the shape of x")],
        "directions": integer("directions")}),
    ("metrics.nearest", {"x": x, "among": eps}, {"x": points("x", 1)[1:], "among": second("among", 1)[1:]}),  # NaN may be far
    ("metrics.ring_modes", {"x": x}, {
        "x": [*tensor("x"), *shaped("x", [x[:0], x[0], torch.ones(3, 3)], r"\(n, 2\) with at least one point")],
        "sigmas": number("sigmas")}),
    # exact
    ("exact.GaussianMixture", {"means": [0.0, 1.0], "variances": 1.0}, {
        "means": [*table("means", every=True),
                  *shaped("means", [0.0, [], torch.zeros(2, 0)], r"\(K, \.\.\.\) with at least one mean")],
        "variances": [*table("variances"), ([1.0, -0.5], ValueError, r"^variances has an entry -0\.5, expected 0 or more$"),
                      *shaped("variances", [[1.0], [[1.0], [1.0]]], r"\(\), \(2,\) or \(2,\)")],
        "weights": [*table("weights")[1:], ("half", TypeError, "^weights = 'half' does not hold real numbers$"),
                    ([1.5, -0.5], ValueError, r"^weights has an entry -0\.5, expected 0 or more$"),
                    *shaped("weights", [[1.0], 0.5], r"\(2,\), one for each mean"),
                    *[([0.5, w], ValueError, rf"^weights has the sum {0.5 + w:.6g}, expected 1$") for w in (0.6, 0.4999)]]}),
    ("exact.GaussianMixture", {"means": torch.zeros(2, 3), "variances": 1.0}, {
        "variances": shaped("variances", [[1.0] * 3], r"\(\), \(2,\) or \(2, 3\)")}),
    ("exact.GaussianMixture.sample", {"n": 3}, {"n": integer("n"), "generator": generator()}),
    ("exact.GaussianMixture.log_prob", {"x": x}, {
        "x": [*tensor("x"), *shaped("x", [x[0], x[:, :1], x[0, 0], x[None]], r"\(batch, 2\)")]}),
    ("exact.GaussianMixture.marginal", {"schedule": LINEAR, "t": 0}, {
        "schedule": schedule(), "t": [*NO_INTEGER, *off("t", [-1, 101], r"is outside 0\.\.100")]}),
    ("exact.GaussianMixture.reverse_step", {"schedule": LINEAR, "xt": x[0], "t": 1}, {
        "schedule": schedule(), "t": [*NO_INTEGER, *off("t", [0, 101], r"is outside 1\.\.100")],
        "xt": [*tensor("xt"), *shaped("xt", [x, x[:1], x[0, 0], torch.ones(3)], r"\(2,\), that of one point"),
               (NAN[1], ValueError, r"^xt\[1\] has an entry that is NaN or infinite, expected finite numbers$"),
               at("xt", x[0].to("meta"), "a device where its numbers are")]}),
    ("exact.GaussianMixture.eps", {"schedule": LINEAR}, {"schedule": schedule()}),
    ("exact.GaussianMixture.given", {"k": 1}, {"k": [
        *[shows("k", v, "an integer") for v in (None, 1.0, "1", True)], *off("k", [-1, 2], r"is outside 0\.\.1"),
        *[(v, ValueError, r"^k = .+ is not one component or several different ones, with a weight above 0$")
          for v in ([], [0, 0])]]}),
    ("exact.GaussianMixture.chances", {"schedule": LINEAR, "xt": x, "t": t}, {
        "schedule": schedule(), "xt": [*tensor("xt"), *shaped("xt", [x[0], x[:, :1]], r"\(batch, 2\)")], "t": steps("xt")}),
    ("exact.Empirical", {"data": x}, {"data": [
        *tensor("data"), *shaped("data", [x[:0], torch.tensor(1.0)], r"\(n, \.\.\.\) with at least one point"),
        (NAN, ValueError, "^data has an entry that is not finite: nan$")]}),
    ("exact.eight_gaussians", {}, {}),
]  # fmt: skip


# --- The ledger, whose errors also say which equation they are about


def named(p, values, what):
    return [(value, TypeError, rf"^(\(1\.1\) )?{p} = .+ {what}") for value in values]


@kind
def tag():
    few, *more = off("tag", ["1", 1.1, None, "one.two", ""], r"is not chapter\.number, such as '2\.7'")
    return [few], more


@kind
def mapping(p, of):
    few, *more = named(p, ([a], [(a, b)], a, "a"), f"is of type .+, expected a mapping from {of}$")
    return [few], more


@kind
def statement():
    few, *more = named("statement", (4, ["S4"]), "is of type .+, expected a name such as 'S4'$")
    return [few], more


@kind
def numbers(p):
    few, *more = named(p, ("a", [1j, 2], [[1.0], [1.0, 2.0]], [True, False], object()), "is no array of numbers: ")
    return [few, ([math.nan, 1.0, 2.0], ledger.CheckFailed, r"^\(1\.1\) compares (numbers|results) that are not finite$")], more


@kind
def expression(p):
    few, *more = named(p, ("a +", [a], x, sp.Eq(a, b), object()), "is not an expression of SymPy$")
    return [few], more


@kind
def symbols(p):
    few, *more = named(p, (a, "ab", ("a", "b"), [1], None), "is not a sequence of SymPy's symbols$")
    return [few], more


ROUNDED = (0.5 * a, TypeError, r"^\(1\.1\) has a rounded number in it; write it as a sympy\.Rational$")
RTOL = between("rtol", [-1e-10], "is below 0")
PROOF = {"tag": "1.1", "lhs": a * (1 + b), "rhs": a + a * b}
ORDER = {"tag": "1.1", "low": 1 - a, "high": sp.exp(-a), "over": (a, 0, 1)}
VALUES = {"tag": "1.1", "claim": lambda: [1.0, 2.0, 3.0], "other": lambda: (1, 2, 3)}
FAULT = {"tag": "1.1", "rhs": a, "slip": "a slip"}
DEFINITION = {"tag": "1.1", "formula": 1 - a, "code": lambda p: td.Schedule([p]).alpha[1], "args": (a,)}
MEASURED = {"tag": "1.1", "low": [1.0, 1.1, 1.2, 1.0, 1.1], "high": [5.0, 5.1, 5.2, 5.0, 5.3]}
LIVE = {"name": "forward", "fig": figure, "alt": "Nothing."}


def computed(cases):
    """The same numbers, as functions that compute them."""
    return [((lambda value=value: value), *error) for value, *error in cases]


CASES += [
    ("book.prove", PROOF, {
        "tag": tag(every=True), "lhs": [*expression("lhs", every=True), ROUNDED],
        "rhs": [*expression("rhs"), ROUNDED],
        "given": [*mapping("given", "symbols", every=True), ({a: 0.5}, *ROUNDED[1:]),
                  ({"a": b}, TypeError, r"^\(1\.1\) given = {'a': b} says what symbols stand for; a key of it is none$")],
        "noise": [*symbols("noise", every=True), ([e], TypeError, "name the noise of the right side with new=$")],
        "new": named("new", ("e", 1, a + b), "is not a symbol, the noise that the right side introduces$"),
        "statement": statement(every=True),
        "induction": named("induction", ("T", True, 2, e, a), "is not a positive integer symbol of the two sides$"),
        "broken": [*mapping("broken", "names"),
                   ({"slip": "a +"}, TypeError, r"^broken\['slip'\] = 'a \+' is not an expression of SymPy$")]}),
    ("book.at_most", ORDER, {
        "tag": tag(), "low": expression("low"), "high": expression("high"), "statement": statement(),
        "over": named("over", ((b, 0, 1), (a, 0), "a"), "is not the one symbol of the two sides and the ends of its range$"),
        "gap": [(a, TypeError, r"^\(1\.1\) give either over= or gap=$")]}),
    ("book.agree", VALUES, {
        "tag": tag(), "claim": [*function("claim"), *computed(numbers("claim", every=True))], "rtol": RTOL,
        "statement": statement(), "other": [*function("other"), *computed(numbers("other")),
                  (lambda: [1.0], ledger.CheckFailed, r"^\(1\.1\) compares the shapes \(3,\) and \(1,\)$")],
        "broken": [*mapping("broken", "names"), ({"slip": "a"}, TypeError, r"^broken\['slip'\] = 'a' is no array of numbers")]}),
    ("book.refute", FAULT, {
        "tag": [*tag(), ("9.9", ledger.CheckFailed, r"^\(9\.9\) has not been checked in this run")],
        "slip": [shows("slip", value, "words") for value in (3, None, a)],
        "changed": [({"rotl": 1.0}, TypeError, r"^\(1\.1\) has no rotl that may be changed, but lhs, rhs, given"),
                    *[({"given": value}, *error) for value, *error in mapping("given", "symbols")]]}),
    ("book.define", DEFINITION, {
        "tag": tag(), "formula": expression("formula"), "statement": statement(), "given": mapping("given", "symbols"),
        "broken": mapping("broken", "names"), "code": function("code"), "rtol": RTOL,
        "floats": symbols("floats"),
        "args": [*symbols("args"), ((b,), TypeError, r"^\(1\.1\) the formula has symbols that are not in args: a$")]}),
    ("book.measure", MEASURED, {
        "tag": tag(), "factor": number("factor"),
        "by": [(-1.0, ValueError, r"^\(1\.1\) by = -1\.0, factor = 1\.0: expected at least 0 and 1"),
               (math.inf, ValueError, r"^by = inf is outside \(-inf, inf\)$")],
        "paired": flag("paired"), "statement": statement(),
        "low": [*numbers("low"), ([1.0, 1.2], ledger.CheckFailed, r"^\(1\.1\) has too few runs, 2 and 5")],
        "high": [*numbers("high"), ([[5.0, 5.2]], ledger.CheckFailed, r"^\(1\.1\) compares \(5,\) with \(1, 2\) results$")]}),
    ("book.figures.style", {}, {}),
    ("book.figures.derivation", {"chapter": 2}, {
        "chapter": [shows("chapter", 2.0, "an integer"), *off("chapter", [-1, 10], "is not in the book, expected 0 to 9")]}),
    ("book.figures.live", LIVE, {
        "name": [is_type("name", None, "a str")], "fig": [is_type("fig", value, "a Figure") for value in (None, (1, 2), plt)],
        "alt": [is_type("alt", None, "a str"), *off("alt", ["", " "], "is empty, expected what is shown, in words")],
        "weights": [(["cats"], ValueError, r"^weights has 'cats', which is not one of digits, eight_gaussians, ")],
        "settings": [({1, 2}, TypeError, r"^settings is of type set, expected a Tensor")]}),
]  # fmt: skip

# Parameters for which nothing is wrong: fields of records that are returned.
RECORDS = {"metrics.Modes": "counts covered off", "scenes.Scene": "things relation", "scenes.Reading": "caption deviation"}
EXCUSED = {(record, field) for record, fields in RECORDS.items() for field in fields.split()}


def find(name):
    """What a name of the table stands for: an object's method where there is one in OBJECTS."""
    thing = td
    for part in name.split("."):
        methods = isinstance(thing, type) and part not in ("linear", "cosine", "lognormal")
        thing = getattr(OBJECTS.get(f"{thing.__name__}.{part}", OBJECTS[thing.__name__]) if methods else thing, part)
    return thing


def called(name, good, changed):
    if name == "book.refute":
        ledger.prove(**PROOF)
    makers = (tiny, coder, figure, new_folder)
    arguments = {key: value() if any(value is made for made in makers) else value for key, value in good.items()}
    return find(name)(**{**arguments, **changed})


ROWS = [
    pytest.param(name, good, parameter, *case, id=f"{name}-{parameter}-{i}")
    for name, good, wrong in CASES
    for parameter, cases in wrong.items()
    for i, case in enumerate(cases)
]


@pytest.mark.parametrize(("name", "good", "parameter", "bad", "error", "message"), ROWS)
@pytest.mark.filterwarnings("ignore:Casting complex values", "ignore::DeprecationWarning")
def test_the_error_names_the_argument_its_value_and_what_was_expected(name, good, parameter, bad, error, message):
    changed = bad if (name, parameter) == ("book.refute", "changed") else {parameter: bad}
    try:
        with pytest.raises(error, match=re.compile(message, re.DOTALL)) as caught:
            called(name, good, changed)
    finally:
        plt.close("all")
    assert "\n" not in str(caught.value) or "\n" in repr(bad)


@pytest.mark.parametrize(("name", "good"), [case[:2] for case in CASES], ids=lambda value: value if isinstance(value, str) else "")
def test_the_arguments_that_the_rows_change_are_good(name, good):
    """So that each row fails for what is wrong in it."""
    called(name, good, {})
    plt.close("all")


def test_every_parameter_of_every_public_callable_has_a_row():
    covered = {(name, parameter) for name, _, wrong in CASES for parameter, cases in wrong.items() if cases}
    symbols = {f"book.{name}" for name in (*densities.__all__, "CheckFailed")}  # what a reader does not call, or SymPy does
    callables = [(n, f) for n, f in public() if ".".join(n.split(".")[:2]) not in symbols]
    asked = {(name, p) for name, thing in callables for p in inspect.signature(thing).parameters if p != "self"}
    assert len({name for name, _ in asked}) > 50
    assert sorted(asked - covered - EXCUSED) == []
    assert sorted((covered | EXCUSED) - asked) == []
    assert not covered & EXCUSED


def test_all_that_is_wrong_with_a_kind_of_argument_is_tried_at_one_place():
    assert {name: places for name, places in KINDS.items() if places != 1} == {}


@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
def test_an_answer_that_is_not_like_the_state_is_named_wherever_a_network_is_asked(predict):
    """A network is no argument of these."""
    ddpm = td.DDPM(lambda xt, t: xt[:1], LINEAR, predict)
    sampled = [lambda: ddpm.sample((3, 2)), lambda: ddpm.sample_ddim((3, 2))]
    for call in (lambda: ddpm(x), lambda: ddpm.eps(x, t), lambda: ddpm.x0(x, t), lambda: ddpm.vlb(x), *sampled):
        with pytest.raises(ValueError, match=r"^model\(x_t, t\) has shape \(1, 2\), expected \(3, 2\), the shape of x_t$"):
            call()


# --- NaN, and empty batches


@pytest.mark.parametrize("name", ["sample", "sample_ddim"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [1, 4, 8])
def test_a_model_that_answers_nan_while_sampling_is_reported_with_its_t(name, bad, at):
    class Breaks(torch.nn.Module):
        def forward(self, xt, t):
            return torch.where((t == at)[:, None] & (torch.arange(2) == 1), bad, 0 * xt)

    network, schedule = Breaks(), td.Schedule.linear(8)
    few = {"steps": 8} if name == "sample_ddim" else {}
    message = rf"^model\(x_t, t\) has 3 of 6 elements that are NaN or infinite, at t = {at}$"
    with pytest.raises(FloatingPointError, match=message):
        getattr(td, name)(schedule, network, x, **few)
    for predict in ("eps", "x0", "v"):
        with pytest.raises(FloatingPointError, match=message):
            getattr(td.DDPM(network, schedule, predict), name)((3, 2), **few)


SIZES = [0.0, 1e-38, 1e-20, 1e-3, 1.0, 1e3, 1e20, 1e38]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gaussians_make_no_nan_of_finite_numbers(dtype):
    numbers = torch.tensor(SIZES, dtype=dtype)
    mean, var, mean2, var2 = (n.flatten() for n in torch.meshgrid(*[numbers] * 4, indexing="ij"))
    for sign in (1, -1):
        one, other = td.Gaussian(mean, var), td.Gaussian(sign * mean2, var2)
        for answer in (one.log_prob(other.mean), one.kl(other), one.sample()):
            assert not answer.isnan().any()


@pytest.mark.parametrize("T", [1, 2, 5])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e15])
def test_no_nan_comes_out_where_none_went_in(T, size):
    schedule, data = td.Schedule.linear(T, 1e-8, 0.999), torch.full((3, 2), size)
    for variance in ("beta", "beta_tilde"):
        bound = td.vlb_terms(schedule, zero, data, variance)
        assert not bound.total.isnan().any() and not td.vlb_weight(schedule, torch.arange(1, T + 1), variance).isnan().any()
        assert not td.sample(schedule, zero, data, variance).isnan().any()
    assert not td.sample_ddim(schedule, zero, data, T, 1.0).isnan().any() and not td.simple_loss(schedule, zero, data).isnan()
    for step in (1, T):
        laws = [td.q_step(schedule, data, step), td.q_marginal(schedule, data, step), td.q_posterior(schedule, data, -data, step)]
        laws.append(td.p_step(schedule, data, step, -data))
        others = [f(schedule, data, step, -data) for f in (td.x0_from_eps, td.eps_from_x0, td.v_from_eps, td.v_from_x0)]
        assert not any(answer.isnan().any() for answer in [*[law.mean for law in laws], *[law.var for law in laws], *others])
    truth = td.exact.GaussianMixture([[0.0, 0.0], [1.0, 1.0]], 0.0)
    assert not truth.eps(schedule)(data, T).isnan().any() and not truth.log_prob(data).isnan().any()
    far = data + torch.arange(6.0).reshape(3, 2)
    for distance in (td.metrics.sliced_wasserstein, td.metrics.energy_distance, td.metrics.frechet_distance):
        assert math.isfinite(distance(far, data))


@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
def test_an_empty_batch_has_no_loss(predict):
    for empty in (x[:0], x[:, :0]):
        with pytest.raises(ValueError, match=r"^x0 has shape .*0.*, expected at least one example$"):
            td.DDPM(MLP, LINEAR, predict)(empty)


@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
@pytest.mark.parametrize("clip", [None, (-1, 1)])
def test_a_step_outside_the_schedule_is_named_whatever_the_network_predicts(predict, clip):
    ddpm = td.DDPM(MLP, LINEAR, predict, clip=clip)
    for call in (ddpm.eps, ddpm.x0):
        for bad in (0, 101, torch.tensor([1, 0, 5])):
            with pytest.raises(ValueError, match=r"^t(\[1\])? = \d+ is outside 1\.\.100$"):
                call(x, bad)


def test_networks_work_under_autocast_compile_and_on_meta():
    """What their checks must let through."""
    for network, good in ((MLP, x), (grey, picture)):
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(good, t), network(good, t))
        with torch.autocast("cpu", torch.bfloat16):
            assert network(good.bfloat16(), t).shape == network(good, t).shape == good.shape
    assert td.MLP(2, 8, 1).to("meta")(x.to("meta"), t.to("meta")).shape == x.shape


def test_of_a_long_value_a_message_shows_the_ends():
    for call, start, end in (
        (lambda: td.q_sample(LINEAR, x, list(range(9999)), eps), "t = [0, 1, 2, ", ", 9998] is of type list"),
        (lambda: td.Schedule(["a"] * 9999), "beta = ['a', 'a', ", ", 'a'] is not a sequence of real numbers"),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        assert str(caught.value).startswith(start) and " ... " in str(caught.value) and end in str(caught.value)
        assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("n", "whole"), [(198, True), (199, False)])
def test_a_value_of_200_characters_is_shown_whole(n, whole):
    with pytest.raises(TypeError) as caught:
        td.Schedule.linear("x" * n)
    assert (f"T = '{'x' * n}' is" in str(caught.value)) is whole
    assert whole or f"T = '{'x' * 149} ... {'x' * 39}' is" in str(caught.value)


def test_the_largest_and_the_smallest_seed_are_good():
    for seed in (0, 2**63 - 1):
        assert td.fit(tiny(), x, steps=1, batch_size=2, seed=seed, progress=False).shape == (1,)
