"""Every parameter of every public name, given what people give it by mistake: the error says what is wrong with what."""

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
from tinyddpm import ledger

LINEAR = td.Schedule.linear(T=100)
x, eps, t = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)), torch.full((3, 2), 0.5), torch.tensor([1, 50, 100])
picture, grey = torch.zeros(3, 1, 8, 8), td.UNet(1, 8)
NAN = torch.tensor([[0.0, 0.0], [0.0, math.nan], [0.0, 0.0]])
ROOM = tempfile.TemporaryDirectory()  # is deleted at the end
FOLDER = Path(ROOM.name) / "model"
MLP = td.MLP(2, 8, 1)
DDPM = td.DDPM(MLP, LINEAR)
DDPM.save(FOLDER)
MIXTURE = td.exact.GaussianMixture([[0.0, 0.0], [1.0, 1.0]], 1.0)
OBJECTS = {"Gaussian": td.Gaussian(x, 1.0), "DDPM": DDPM, "GaussianMixture": MIXTURE, "MLP": MLP, "UNet": grey, "Schedule": LINEAR}
a, b, e = sp.symbols("a b e", positive=True)


def zero(xt, t):
    return 0 * xt


def tiny():
    return td.DDPM(td.MLP(2, 8, 1), LINEAR)


def figure():
    return plt.subplots(figsize=(1, 1))[0]


# --- What is wrong for many: a list of (value, error, message) for the argument `p`


def is_type(p, value, expected):
    return value, TypeError, f"^{p} (= .* )?is of type {type(value).__name__}, expected {expected}"


def shaped(p, values, expected):
    return [(v, ValueError, rf"^{p} has shape {re.escape(str(tuple(v.shape)))}, expected {expected}") for v in values]


def off(p, values, what):
    return [(v, ValueError, rf"^{p} = {re.escape(repr(v))} {what}") for v in values]


def schedule(p="schedule"):
    return [is_type(p, value, "a Schedule") for value in (None, [0.1], 1000, MLP, x, td.Schedule, LINEAR.beta, "linear")]


def tensor(p):
    wrong = [is_type(p, value, "a Tensor") for value in (None, [[1.0, 2.0]], 1.0, x.numpy(), LINEAR)]
    dtypes = [x.long(), x.cfloat(), x > 0, x.to(torch.uint8)]
    return wrong + [(value, TypeError, f"^{p} has dtype {value.dtype}, expected a floating-point dtype") for value in dtypes]


def batch(p):
    return [*tensor(p), *shaped(p, [torch.tensor(1.0)], r"\(batch, \.\.\.\)$")]


def like(p, other):
    """All that would be broadcast, and another device."""
    shapes = [x[:1], x[:, :1], x[0], x[0, 0], x[:2], x[None], torch.zeros(0, 2)]
    return [
        *tensor(p),
        *shaped(p, shapes, rf"\(3, 2\), the shape of {other}$"),
        (x.to("meta"), ValueError, f"^{p} is on meta, expected cpu, where {other} is$"),
    ]


def integer(p, least=1):
    wrong = [is_type(p, value, "an integer") for value in (2.0, "3", True, [3], math.nan)]
    return [*wrong, *off(p, [least - 1, -5], f"is below {least}$")]


def no_number(p):
    return [is_type(p, value, "a number") for value in (None, "0.1", True, [0.1], 1j, torch.tensor(0.1))]


def number(p, high):
    """Strictly between 0 and `high`."""
    outside = [0, -0.1, high, math.nan, -math.inf, *([1.2] if high == 1 else [])]
    return [*no_number(p), *off(p, outside, rf"is outside \(0, {high:g}\)$")]


def steps(T=100, of="x", whole=False):
    """Not a step for each of three rows, nor one for all of them."""
    return [
        *[is_type("t", v, "an integer") for v in (1.0, True, "1", [1, 2, 3], np.array([1, 2, 3]), *([] if whole else [None]))],
        *off("t", [0, -1, T + 1], rf"is outside 1\.\.{T}$"),
        (torch.tensor(0), ValueError, rf"^t = 0 is outside 1\.\.{T}$"),
        (torch.tensor([1, 0, 5]), ValueError, rf"^t\[1\] = 0 is outside 1\.\.{T}$"),
        (torch.tensor([1, 5, T + 1]), ValueError, rf"^t\[2\] = {T + 1} is outside 1\.\.{T}$"),
        (t.float(), TypeError, "^t has dtype torch.float32, expected an integer dtype such as torch.int64$"),
        (t / T, TypeError, "^t has dtype torch.float32, expected an integer dtype"),
        (t > 1, TypeError, "^t has dtype torch.bool, expected an integer dtype"),
        *(shaped("t", [t[:1], t[:, None], torch.arange(1, 5)], rf"\(3,\): a step for each row of {of}$") if of else []),
        *([(t.to("meta"), ValueError, f"^t is on meta, expected cpu, where {of} is$")] if of else []),
    ]


def choice(p, names, values):
    return off(p, values, f"is not one of {names}$")


def flag(p="progress"):
    return [is_type(p, value, "True or False") for value in ("no", 1, [])]


def function(p):
    return [is_type(p, value, "a callable") for value in (3, "model", x)]


def path(p):
    return [is_type(p, value, "a path") for value in (5, True, b"folder", [FOLDER], DDPM)]


GENERATOR = [is_type("generator", v, "a torch.Generator or None") for v in (0, "cpu", True, torch.manual_seed, torch.device("cpu"))]
VARIANCE = choice("variance", "'beta', 'beta_tilde'", ["fixed_small", "beta_hat", "", None, 1.0, ["beta"], True])
PREDICT = choice("predict", "'eps', 'x0', 'v'", ["epsilon", "v_prediction", "sample", "noise", None, "EPS"])
ANSWER = r"^model\(x_t, t\) "
MODEL = [
    *[is_type("model", value, "a callable") for value in (None, 3, "unet", x)],
    *[
        (lambda xt, t, v=v: v, TypeError, rf"{ANSWER}is of type {type(v).__name__}, expected a Tensor")
        for v in (None, 0.0, (x,), {"sample": x}, SimpleNamespace(sample=x), x.numpy())
    ],
    (lambda xt, t: xt.long(), TypeError, rf"{ANSWER}has dtype torch.int64, expected a floating-point dtype"),
    (lambda xt, t: xt[:1], ValueError, rf"{ANSWER}has shape \(1, 2\), expected \(3, 2\), the shape of x_t"),
    (lambda xt, t: xt[:, :1], ValueError, rf"{ANSWER}has shape \(3, 1\), expected \(3, 2\)"),
    (lambda xt, t: xt.mean(), ValueError, rf"{ANSWER}has shape \(\), expected \(3, 2\)"),
    (lambda xt, t: torch.cat([xt, xt], 1), ValueError, rf"{ANSWER}has shape \(3, 4\), expected \(3, 2\)"),
    (lambda xt, t: xt.to("meta"), ValueError, rf"{ANSWER}is on meta, expected cpu, where x_t is"),
]
EMPTY = shaped("x0", [x[:0], x[:, :0]], "at least one example$")
LEVELS = integer("levels", 2)
OFF = (x, ValueError, r"^x0 has a value .*, which is none of 17 equally spaced levels in \[-1, 1\]$")
SHAPE = [
    *[is_type("shape", value, r"a tuple such as \(64, 1, 8, 8\)") for value in (None, "32", 2.0, x, np.array([3, 2]), {3, 2})],
    ((3, 2.0), TypeError, r"^shape = 2\.0 is of type float, expected an integer$"),
    ((0, 2), ValueError, "^shape = 0 is below 1$"),
    ((-1, 2), ValueError, "^shape = -1 is below 1$"),
    (True, TypeError, "^shape = True is of type bool, expected an integer$"),
    ((), ValueError, r"^x_T has shape \(\), expected \(batch, \.\.\.\)$"),
    ((4,), ValueError, r"^xt has shape \(4,\), expected \(batch, 2\)$"),
    ((3, 3), ValueError, r"^xt has shape \(3, 3\), expected \(batch, 2\)$"),
]
START = [
    *[is_type("x_T", value, "a Tensor") for value in ([1.0], 0.0, x.numpy())],
    *shaped("x_T", [x[:2], x[:, :1]], r"\(3, 2\), the given shape$"),
    (x.long(), TypeError, "^x_T has dtype torch.int64, expected a floating-point dtype$"),
    (x.double(), TypeError, "^xt has dtype torch.float64, expected torch.float32, that of the network$"),
    (x.to("meta"), ValueError, "^xt is on meta, expected cpu, where the network is$"),
]
DDIM_STEPS = [*integer("steps"), (101, ValueError, "^steps = 101 is above T = 100$")]
ETA = [
    *no_number("eta"),
    *off("eta", [-0.1, 1.1, 2], r"is outside 0\.\.1$"),
    *off("eta", [math.nan, math.inf], "is outside"),
]


def pair(p, far=True):
    """Sets of points for a distance."""
    return [
        *batch(p),
        *shaped(p, [x[:0], x[:, :0]], r"at least \d points$"),
        (torch.ones(3, 3), ValueError, r"^(y|among) has points of shape \(\d,\), expected \(\d,\), as x has$"),
        *([(NAN, ValueError, rf"^{p}\[1\] has an entry that is NaN or infinite, expected finite numbers$")] if far else []),
        *([(NAN / 0, ValueError, rf"^{p}\[0\] has an entry that is NaN or infinite")] if far else []),
        *([(x.to("meta"), ValueError, f"^{p} is on meta, expected a device where its numbers are$")] if far else []),
    ]


def network(image):
    """The two arguments of a network."""
    good = picture if image else x
    shape = r"\(batch, 1, height, width\) with sides divisible by 2" if image else r"\(batch, 2\)"
    shapes = [good[0], good[:, :, None], good.new_zeros(3, 3, *good.shape[2:]), *([good[..., :7]] if image else [])]
    return {
        "xt": [
            *batch("xt"),
            (good.double().to("meta"), TypeError, "^xt has dtype torch.float64, expected torch.float32, that of the network$"),
            *shaped("xt", shapes, f"{shape}$"),
            (good.double(), TypeError, "^xt has dtype torch.float64, expected torch.float32, that of the network$"),
            (good.half(), TypeError, "^xt has dtype torch.float16, expected torch.float32, that of the network$"),
            (good.to("meta"), ValueError, "^xt is on meta, expected cpu, where the network is$"),
        ],
        "t": [
            *[is_type("t", value, "a Tensor") for value in (None, 3, [1, 2, 3], t.numpy())],
            (t.float(), TypeError, "^t has dtype torch.float32, expected an integer dtype"),
            (t > 1, TypeError, "^t has dtype torch.bool, expected an integer dtype"),
            *shaped("t", [t[:1], t[:, None], t[0]], r"\(3,\), a step for each row of xt$"),
            (t.to("meta"), ValueError, "^t is on meta, expected cpu, where the network is$"),
        ],
    }


# --- The table: for each public name, good arguments, and for each parameter what is wrong

POINTS = {"n": [*integer("n"), is_type("n", None, "an integer")], "generator": GENERATOR}
PARTS = {"part": choice("part", "'all', 'train', 'test'", ["val", "validation", None, 0, "Train", True])}
MODEL_OR_NONE = [is_type("model", value, "a Module") for value in (3, zero, td.MLP, "unet")]
UNKNOWN = ("mnist", "digit", None, 5, "", ["digits"])
NETWORK = [is_type("model", value, "a Module") for value in (None, zero, td.MLP, LINEAR, "unet")]
TABLES = "beta, alpha, alpha_bar, one_minus_alpha_bar, beta_tilde, snr"


def convert(name, given):
    good = {"schedule": LINEAR, "xt": x, "t": t, given: eps}
    return name, good, {"schedule": schedule(), "xt": tensor("xt"), "t": steps(of="xt"), given: like(given, "xt")}


def mixture_data(p):
    """What holds no finite real numbers."""
    return [
        *[(v, TypeError, rf"^{p} = .* does not hold real numbers$") for v in ("a", [1j], ["a"], [[1.0], [1.0, 2.0]])],
        ([1.0, math.nan], ValueError, f"^{p} has an entry that is not finite: nan$"),
        ([1.0, math.inf], ValueError, f"^{p} has an entry that is not finite: inf$"),
    ]


CASES = [
    # schedule
    ("Schedule", {"beta": [0.1, 0.2]}, {"beta": [
        *[(v, TypeError, "^beta = .* is not a sequence of real numbers$")
          for v in (None, "0.1", ["0.1"], [0.1, None], [0.1j], LINEAR, torch.tensor([True]), torch.ones(2, device="meta"))],
        *[([0.1, v], ValueError, rf"^beta\[1\] = {v} is outside \(0, 1\)$") for v in (0.0, 1.0, 1.2, -0.1, math.nan, math.inf)],
        (0.1, ValueError, r"^beta has shape \(\), expected one dimension with at least one entry$"),
        ([], ValueError, r"^beta has shape \(0,\), expected one dimension with at least one entry$"),
        ([[0.1]], ValueError, r"^beta has shape \(1, 1\), expected one dimension with at least one entry$"),
        (LINEAR.beta, ValueError, r"^beta\[0\] = 0\.0 is outside \(0, 1\)$"),  # the table has a row for t = 0
        (LINEAR.alpha, ValueError, r"^beta\[0\] = 1\.0 is outside \(0, 1\)$"),
    ]}),
    ("Schedule.linear", {"T": 10}, {
        "T": integer("T"), "beta_1": number("beta_1", 1), "beta_T": number("beta_T", 1)}),
    ("Schedule.cosine", {"T": 10}, {
        "T": integer("T"), "max_beta": number("max_beta", 1),
        "s": [*no_number("s"), *off("s", [-0.1], "is below 0$"), *off("s", [math.nan, math.inf], r"is outside \(-inf, inf\)$")]}),
    ("Schedule.at", {"table": "beta", "t": t, "x": x}, {
        "table": choice("table", TABLES, ["gamma", "BETA", None, 1, ["beta"], "T"]),
        "t": steps(), "x": [is_type("x", value, "a Tensor") for value in ([1.0], None, 1.0, x.numpy())],
        "back": choice("back", "0, 1", [2, -1, None])}),
    ("Schedule.rows", {"tables": ("beta",), "t": t, "x": x}, {
        "tables": [*[is_type("tables", value, "a list or tuple of names") for value in ("beta", None, 1)],
                   (["gamma"], ValueError, f"^table = 'gamma' is not one of {TABLES}$")],
        "t": steps(), "x": [is_type("x", value, "a Tensor") for value in ([1.0], None, 1.0, x.numpy())],
        "back": choice("back", "0, 1", [2, -1, None])}),
    # gaussian
    ("Gaussian", {"mean": x, "var": eps}, {"mean": tensor("mean"), "var": [
        *[case for case in like("var", "mean") if not isinstance(case[0], float)],
        *[is_type("var", value, "a Tensor") for value in ("1", True)],
        *[(v, ValueError, rf"^var has an entry {v}, expected finite variances of 0 or more$") for v in (-1.0, math.nan, math.inf)],
        (torch.full((3, 2), -1.0), ValueError, r"^var has an entry -1\.0, expected finite variances of 0 or more$"),
        (NAN, ValueError, "^var has an entry nan, expected finite variances"),
        (eps.double(), TypeError, "^var has dtype torch.float64, expected torch.float32, the dtype of mean$"),
        (1e300, ValueError, r"^var = 1e\+300 is beyond the largest number of torch.float32, the dtype of mean$"),
    ]}),
    ("Gaussian.sample", {}, {"generator": GENERATOR}),
    ("Gaussian.log_prob", {"x": x}, {"x": like("x", "mean")}),
    ("Gaussian.kl", {"other": td.Gaussian(x, 1.0)}, {"other": [
        *[is_type("other", value, "a Gaussian") for value in (None, x, 1.0, torch.distributions.Normal(0, 1))],
        (td.Gaussian(x[:1], 1.0), ValueError, r"^other\.mean has shape \(1, 2\), expected \(3, 2\), the shape of mean$"),
        (td.Gaussian(x[0, 0], 1.0), ValueError, r"^other\.mean has shape \(\), expected \(3, 2\)"),
        (td.Gaussian(x.to("meta"), 1.0), ValueError, r"^other\.mean is on meta, expected cpu, where mean is$")]}),
    # forward
    ("q_step", {"schedule": LINEAR, "x_prev": x, "t": t}, {
        "schedule": schedule(), "x_prev": tensor("x_prev"), "t": steps(of="x_prev")}),
    ("q_marginal", {"schedule": LINEAR, "x0": x, "t": t}, {"schedule": schedule(), "x0": tensor("x0"), "t": steps(of="x0")}),
    ("q_sample", {"schedule": LINEAR, "x0": x, "t": t, "eps": eps}, {
        "schedule": schedule(), "x0": tensor("x0"), "t": steps(of="x0"), "eps": like("eps", "x0")}),
    # posterior
    ("q_posterior", {"schedule": LINEAR, "x0": x, "xt": x, "t": t}, {
        "schedule": schedule(), "x0": tensor("x0"), "xt": like("xt", "x0"), "t": steps(of="x0")}),
    ("p_step", {"schedule": LINEAR, "xt": x, "t": t, "eps": eps}, {
        "schedule": schedule(), "xt": tensor("xt"), "t": steps(of="xt"), "eps": like("eps", "xt"), "variance": VARIANCE}),
    convert("x0_from_eps", "eps"), convert("eps_from_x0", "x0"), convert("v_from_eps", "eps"), convert("v_from_x0", "x0"),
    convert("x0_from_v", "v"), convert("eps_from_v", "v"),
    # elbo
    ("VLB", {"L_T": torch.zeros(3), "L_t": torch.zeros(3, 9), "L_0": torch.zeros(3)}, {
        "L_T": [*tensor("L_T"), *shaped("L_T", [x, x[0, 0]], r"\(batch,\)$")],
        "L_t": [*tensor("L_t"), *shaped("L_t", [torch.zeros(3), torch.zeros(1, 9)], r"\(batch, T-1\)$")],
        "L_0": [*tensor("L_0"), *shaped("L_0", [torch.zeros(3, 1), torch.zeros(1)], r"\(batch,\)$")]}),
    ("vlb_terms", {"schedule": LINEAR, "model": zero, "x0": x}, {
        "schedule": schedule(), "model": MODEL, "x0": batch("x0"), "variance": VARIANCE, "eps": like("eps", "x0")[1:],
        "levels": [*LEVELS, (17, *OFF[1:])], "generator": GENERATOR, "progress": flag()}),
    ("discretised_log_prob", {"law": td.Gaussian(x, 1.0), "x": eps, "levels": 5}, {
        "law": [is_type("law", value, "a Gaussian") for value in (None, 0.0, x)], "levels": LEVELS,
        "x": [*like("x", r"law\.mean"), *[(torch.full((3, 2), v), ValueError, rf"^x has a value {v:g}, which is none of 5 equally")
                                          for v in (0.3, 1.5, 255.0, math.nan)]]}),
    ("bits_per_dim", {"nats": x, "dims": 2}, {
        "nats": [*[is_type("nats", value, "a number") for value in (None, "1", [1.0], x.numpy(), True)],
                 (x.long(), TypeError, "^nats has dtype torch.int64, expected a floating-point dtype$"),
                 (math.nan, ValueError, r"^nats = nan is outside \(-inf, inf\)$")],
        "dims": [*integer("dims"), is_type("dims", (1, 8, 8), "an integer")]}),
    # loss
    ("simple_loss", {"schedule": LINEAR, "model": zero, "x0": x}, {
        "schedule": schedule(), "model": MODEL, "x0": [*batch("x0"), *EMPTY], "t": steps(of="x0", whole=True),
        "eps": like("eps", "x0")[1:], "generator": GENERATOR}),
    ("vlb_weight", {"schedule": LINEAR, "t": t}, {
        "schedule": schedule(), "variance": VARIANCE,
        "t": [*steps(of=None), *shaped("t", [t[:, None]], r"\(n,\)$")]}),
    # nets
    ("MLP", {}, {"dim": integer("dim"), "width": integer("width"), "depth": integer("depth")}),
    ("MLP.forward", {"xt": x, "t": t}, network(image=False)),
    ("UNet", {"width": 8}, {
        "channels": integer("channels"), "levels": integer("levels"),
        "width": [*integer("width"), *off("width", [12], "is not a multiple of 8$")]}),
    ("UNet.forward", {"xt": picture, "t": t}, network(image=True)),
    ("nets.time_embedding", {"t": t, "size": 4}, {
        "t": [*[is_type("t", value, "a Tensor") for value in (None, 3, [1, 2], t.numpy())],
              *shaped("t", [t[0], t[:, None]], r"\(batch,\)$")],
        "size": [*integer("size", 2), *off("size", [3], "is not a multiple of 2$")]}),
    # sampling
    ("sample", {"schedule": LINEAR, "model": zero, "x_T": x}, {
        "schedule": schedule(), "model": MODEL, "x_T": batch("x_T"), "variance": VARIANCE, "generator": GENERATOR,
        "callback": function("callback"), "progress": flag()}),
    ("sample_ddim", {"schedule": LINEAR, "model": zero, "x_T": x}, {
        "schedule": schedule(), "model": MODEL, "x_T": batch("x_T"), "steps": DDIM_STEPS, "eta": ETA, "generator": GENERATOR,
        "callback": function("callback"), "progress": flag()}),
    # ddpm
    ("DDPM", {"model": MLP, "schedule": LINEAR}, {
        "model": NETWORK, "schedule": schedule(), "predict": PREDICT, "variance": VARIANCE,
        "clip": [*[(v, TypeError, r"^clip = .* is not a pair of numbers \(low, high\)$")
                   for v in (1.0, True, (1.0,), (0, 1, 2), "01", ("0", "1"), (None, 1), (None, None))],
                 *[(v, ValueError, rf"^clip = \({v[0]}, {v[1]}\) is not a range: expected low < high$")
                   for v in ((1, -1), (1, 1), (math.nan, 1))]]}),
    ("DDPM.forward", {"x0": x}, {
        "x0": [*batch("x0"), *EMPTY, (torch.ones(3, 3), ValueError, r"^xt has shape \(3, 3\), expected \(batch, 2\)$"),
               (x.double(), TypeError, "^xt has dtype torch.float64, expected torch.float32, that of the network$")],
        "t": steps(of="x0", whole=True), "eps": like("eps", "x0")[1:], "generator": GENERATOR}),
    ("DDPM.eps", {"xt": x, "t": t}, {"xt": batch("xt"), "t": steps(of="xt")}),
    ("DDPM.x0", {"xt": x, "t": t}, {"xt": batch("xt"), "t": steps(of="xt")}),
    ("DDPM.sample", {"shape": (3, 2)}, {
        "shape": SHAPE, "x_T": START, "generator": GENERATOR, "progress": flag(), "callback": function("callback")}),
    ("DDPM.sample_ddim", {"shape": (3, 2)}, {
        "shape": SHAPE, "x_T": START, "steps": DDIM_STEPS, "eta": ETA, "generator": GENERATOR, "progress": flag(),
        "callback": function("callback")}),
    ("DDPM.vlb", {"x0": x}, {
        "x0": batch("x0"), "levels": [*LEVELS, (17, *OFF[1:])], "generator": GENERATOR, "progress": flag(),
        "eps": like("eps", "x0")[1:]}),
    ("DDPM.save", {"path": FOLDER}, {"path": [*path("path"), is_type("path", None, "a path")]}),
    ("load", {"path": FOLDER}, {
        "path": [*path("path"), is_type("path", None, "a path"),
                 (FOLDER / "no", FileNotFoundError, r"^there is no checkpoint in .*no: it has no ddpm\.json$"),
                 (FOLDER / "ddpm.json", ValueError, r"ddpm\.json is a file, expected the folder of a checkpoint")],
        "model": [*MODEL_OR_NONE, (td.MLP(2, 9, 1), ValueError, "^the checkpoint in .* is of another architecture than MLP: ")]}),
    ("load_pretrained", {"name": "two_moons"}, {
        "name": choice("name", "digits, eight_gaussians, two_moons, swiss_roll, checkerboard", UNKNOWN)}),
    # training
    ("fit", {"ddpm": tiny, "x0": x, "steps": 1, "batch_size": 2, "progress": False}, {
        "ddpm": [is_type("ddpm", value, "a DDPM") for value in (None, MLP, LINEAR, td.DDPM, x)],
        "x0": [*batch("x0"), *EMPTY, (NAN, ValueError, r"^x0\[1\] has an entry that is NaN or infinite, expected finite numbers$"),
               (x.to("meta"), ValueError, "^x0 is on meta, expected a device where its numbers are$"),
               (torch.ones(5, 3), ValueError, r"^xt has shape \(2, 3\), expected \(batch, 2\)$"),
               (x.double(), TypeError, "^xt has dtype torch.float64, expected torch.float32, that of the network$")],
        "steps": integer("steps"), "batch_size": integer("batch_size"), "lr": number("lr", math.inf),
        "ema": [*no_number("ema"),
                *off("ema", [-0.1, 1, 1.5], r"is outside \[0, 1\)$"), *off("ema", [math.nan, math.inf], "is outside")],
        "seed": [*integer("seed", 0), is_type("seed", torch.Generator(), "an integer")],
        "checkpoint": path("checkpoint"),
        "resume": [*path("resume"), (FOLDER / "no", FileNotFoundError, r"^there is no checkpoint in .*no: it has no ddpm\.json$"),
                   (FOLDER, ValueError, r"^the checkpoint in .* holds a network, but no training to resume$")],
        "progress": flag(), "max_grad_norm": number("max_grad_norm", math.inf), "save_every": integer("save_every"),
        "device": [*off("device", ["gpu", "cuda:99", "", 1.5, ["cpu"]], "is no device of this machine: .+"),
                   *off("device", ["meta"], "has no numbers, expected a device such as 'cpu' or 'cuda'$")],
        "mixed_precision": [*flag("mixed_precision"), is_type("mixed_precision", torch.bfloat16, "True or False")]}),
    # data
    *[(f"data.{name}", {"n": 3}, POINTS) for name in ("eight_gaussians", "two_moons", "swiss_roll", "checkerboard")],
    ("data.digits", {}, PARTS),
    ("data.digit_labels", {}, PARTS),
    # metrics
    ("metrics.sliced_wasserstein", {"x": x, "y": eps}, {
        "x": pair("x"), "directions": integer("directions"),
        "y": [*pair("y"), *shaped("y", [x[:2]], r"\(3, 2\), the shape of x$")]}),
    *[(f"metrics.{name}", {"x": x, "y": eps}, {
        p: [*pair(p), *shaped(p, [x[:1]], "at least 2 points$")] for p in "xy"})
      for name in ("energy_distance", "frechet_distance")],
    ("metrics.nearest", {"x": x, "among": eps}, {"x": pair("x", far=False), "among": pair("among", far=False)}),
    ("metrics.ring_modes", {"x": x}, {
        "x": [*tensor("x"),
              *shaped("x", [x[:0], x[0], torch.ones(3, 3), torch.tensor(1.0)], r"\(n, 2\) with at least one point$")],
        "sigmas": number("sigmas", math.inf)}),
    # exact
    ("exact.GaussianMixture", {"means": [0.0, 1.0], "variances": 1.0}, {
        "means": [*mixture_data("means"), (None, TypeError, "^means = None does not hold real numbers$"),
                  (0.0, ValueError, r"^means has shape \(\), expected \(K, \.\.\.\) with at least one mean$"),
                  ([], ValueError, r"^means has shape \(0,\), expected \(K, \.\.\.\) with at least one mean$")],
        "variances": [*mixture_data("variances"), (None, TypeError, "^variances = None does not hold real numbers$"),
                      ([1.0], ValueError, r"^variances has shape \(1,\), expected \(\), \(2,\) or \(2,\)$"),
                      ([[1.0], [1.0]], ValueError, r"^variances has shape \(2, 1\), expected \(\), \(2,\) or \(2,\)$"),
                      (-1.0, ValueError, r"^variances has an entry -1\.0, expected 0 or more$")],
        "weights": [*mixture_data("weights"),
                    ([1.0], ValueError, r"^weights has shape \(1,\), expected \(2,\), one for each mean$"),
                    (0.5, ValueError, r"^weights has shape \(\), expected \(2,\), one for each mean$"),
                    ([0.5, 0.6], ValueError, r"^weights has the sum 1\.1, expected 1$"),
                    ([1.5, -0.5], ValueError, r"^weights has an entry -0\.5, expected 0 or more$")]}),
    ("exact.GaussianMixture.sample", {"n": 3}, POINTS),
    ("exact.GaussianMixture.log_prob", {"x": x}, {
        "x": [*tensor("x"), *shaped("x", [x[0], x[:, :1], x[0, 0], x[None]], r"\(batch, 2\)$")]}),
    ("exact.GaussianMixture.marginal", {"schedule": LINEAR, "t": 0}, {
        "schedule": schedule(), "t": [*[is_type("t", v, "an integer") for v in (1.0, None, True, "1", t, torch.tensor(1))],
                                      *off("t", [-1, 101], r"is outside 0\.\.100$")]}),
    ("exact.GaussianMixture.reverse_step", {"schedule": LINEAR, "xt": x[0], "t": 1}, {
        "schedule": schedule(),
        "xt": [*tensor("xt"), *shaped("xt", [x, x[:1], x[0, 0], torch.ones(3)], r"\(2,\), that of one point$"),
               (NAN[1], ValueError, r"^xt\[1\] has an entry that is NaN or infinite, expected finite numbers$"),
               (x[0].to("meta"), ValueError, "^xt is on meta, expected a device where its numbers are$")],
        "t": [*[is_type("t", v, "an integer") for v in (1.0, None, True, "1", t, torch.tensor(1))],
              *off("t", [0, -1, 101], r"is outside 1\.\.100$")]}),
    ("exact.GaussianMixture.eps", {"schedule": LINEAR}, {"schedule": schedule()}),
    ("exact.Empirical", {"data": x}, {"data": [
        *tensor("data"), (x[:0], ValueError, r"^data has shape \(0, 2\), expected \(n, \.\.\.\) with at least one point$"),
        (torch.tensor(1.0), ValueError, r"^data has shape \(\), expected \(n, \.\.\.\) with at least one point$"),
        (NAN, ValueError, "^data has an entry that is not finite: nan$")]}),
]  # fmt: skip


def named(p, what, values):
    """The errors of the ledger also say which equation they are about."""
    return [(value, TypeError, rf"^(\(1\.1\) )?{p} = .* {what}") for value in values]


TAG = off("tag", [1.1, None, "1", "one.two", ""], r"is not chapter\.number, such as '2\.7'$")
GIVEN = named("given", "is of type .*, expected a mapping from symbols$", ([(a, b)], a, "a"))
BROKEN = named("broken", "is of type .*, expected a mapping from names$", ([a], a, "a"))
STATEMENT = named("statement", "is of type .*, expected a name such as 'S4'$", (4, ["S4"]))
NUMBERS = [
    *named("NAME", "is no array of numbers: ", ("a", [1j, 2], [[1.0], [1.0, 2.0]], [True, False], object())),
    ([math.nan, 1.0, 2.0], ledger.CheckFailed, r"^\(1\.1\) compares (numbers|results) that are not finite$"),
]
RTOL = [*no_number("rtol"), *off("rtol", [-1e-10, -1], "is below 0$"), *off("rtol", [math.nan, math.inf], "is outside")]
SIDE = ("is not an expression of SymPy$", ("a +", [a], x, sp.Eq(a, b), object()))
ROUNDED = (0.5 * a, TypeError, r"^\(1\.1\) has a rounded number in it; write it as a sympy\.Rational$")
ONE_WAY = (None, TypeError, r"^equation '1\.1': give either lhs and rhs, or exact= and against=$")


def numbers(p):
    return [(value, error, message.replace("NAME", p)) for value, error, message in NUMBERS]


PROOF = {"tag": "1.1", "lhs": a * b, "rhs": b * a}
FAULT = {"tag": "1.1", "lhs": a, "rhs": b, "slip": "a slip"}
VALUES = {"tag": "1.1", "exact": [1.0, 2.0, 3.0], "against": [1.0, 2.0, 3.0]}
DEFINITION = {"tag": "1.1", "formula": a * b, "code": lambda p, q: p * q, "args": (a, b)}
MEASURED = {"tag": "1.1", "low": [1.0, 1.1, 1.2], "high": [5.0, 5.1, 5.2]}
PLAYER = {"fig": figure, "draw": lambda step: None, "steps": [0, 1], "alt": "Nothing."}
CASES += [
    ("ledger.verify", PROOF, {
        "tag": TAG, "lhs": [*named("lhs", *SIDE), ONE_WAY, ROUNDED], "rhs": [*named("rhs", *SIDE), ONE_WAY, ROUNDED],
        "given": [*GIVEN, ({"a": b}, TypeError, r"^\(1\.1\) given = {'a': b} says what symbols stand for; a key of it is none$"),
                  ({a: 0.5}, *ROUNDED[1:])],
        "noise": named("noise", "is not a sequence of SymPy's symbols$", (e, "e", ["e"], [1], None)),
        "induction": named("induction", "is not a positive integer symbol of the two sides$", ("T", True, 2, e, a)),
        "broken": [*BROKEN, ({"slip": "a +"}, TypeError, r"^broken\['slip'\] = 'a \+' is not an expression of SymPy$")],
        "statement": STATEMENT}),
    ("ledger.verify", VALUES, {
        "exact": numbers("exact"), "rtol": RTOL,
        "against": [*numbers("against"), ([1.0], ledger.CheckFailed, r"^\(1\.1\) compares the shapes \(3,\) and \(1,\)$")],
        "broken": [({"slip": "a"}, TypeError, r"^broken\['slip'\] = 'a' is no array of numbers")]}),
    ("ledger.refute", FAULT, {
        "tag": TAG, "lhs": [*named("lhs", *SIDE), ONE_WAY, ROUNDED], "rhs": [*named("rhs", *SIDE), ONE_WAY, ROUNDED],
        "slip": [(v, TypeError, rf"^slip = {v!r} is of type {type(v).__name__}, expected words$") for v in (3, None, a)],
        "claim": [({"rotl": 1.0}, TypeError, "unexpected keyword argument 'rotl'"), ({"given": [a]}, *GIVEN[0][1:])]}),
    ("ledger.define", DEFINITION, {
        "tag": TAG, "formula": named("formula", *SIDE)[:-2], "statement": STATEMENT, "given": GIVEN, "broken": BROKEN,
        "code": [is_type("code", v, "a callable") for v in (3, None, x)], "rtol": RTOL,
        "args": [*named("args", "is not a sequence of SymPy's symbols$", (a, "ab", ("a", "b"), None)),
                 ((a,), TypeError, r"^\(1\.1\) the formula has symbols that are not in args: b$")]}),
    ("ledger.define", {**DEFINITION, "formula": [1.0, 2.0, 3.0], "code": [1.0, 2.0, 3.0], "args": ()}, {
        "formula": numbers("formula"), "code": numbers("code")}),
    ("ledger.measure", MEASURED, {
        "tag": TAG, "low": [*numbers("low"),
                ([1.0], ledger.CheckFailed, r"^\(1\.1\) compares \(1,\) with \(3,\) results, expected at least 3")],
        "high": [*numbers("high"),
                 ([5.0, 5.1], ledger.CheckFailed, r"^\(1\.1\) compares \(3,\) with \(2,\) results, expected at least 3")],
        "errors": number("errors", math.inf), "paired": flag("paired"), "statement": STATEMENT,
        "broken": [*BROKEN, ({"slip": "a"}, TypeError, r"^broken\['slip'\] = 'a' is no array of numbers")]}),
    ("figures.style", {}, {}),
    ("figures.derivation", {"chapter": 2}, {
        "chapter": [*[is_type("chapter", v, "an integer") for v in (None, "2", 2.0, True)],
                    *off("chapter", [-1, 7], "is not in the book, expected 0 to 6$")]}),
    ("figures.player", PLAYER, {
        "fig": [is_type("fig", v, "a Figure") for v in (None, 3, (1, 2), plt)], "draw": function("draw"),
        "steps": [*[is_type("steps", v, "a sequence of steps") for v in (3, None, iter([1]), "ab")],
                  ([], ValueError, r"^steps = \[\] is empty, expected at least one step$")],
        "alt": [*[is_type("alt", v, "a str") for v in (None, 3)],
                *off("alt", ["", " "], "is empty, expected what the frames show, in words$")],
        "fps": number("fps", math.inf)}),
]  # fmt: skip

# Parameters for which nothing is wrong, with the reason.
EXCUSED = {
    ("Schedule.at", "name"): "any text: what errors call x",
    ("Schedule.rows", "name"): "any text: what errors call x",
    **{("metrics.Modes", field): "a record that `ring_modes` returns" for field in ("counts", "covered", "off")},
}


def find(name):
    """What a name of the table stands for: an object's method where there is one in OBJECTS."""
    thing = td
    for part in name.split("."):
        methods = isinstance(thing, type) and part not in ("linear", "cosine")
        thing = getattr(OBJECTS[thing.__name__] if methods else thing, part)
    return thing


def called(name, good, changed):
    arguments = {key: value() if value in (tiny, figure) else value for key, value in good.items()}
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
    changed = bad if (name, parameter) == ("ledger.refute", "claim") else {parameter: bad}
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
    callables = [(n, f) for n, f in public() if n.split(".")[:2] not in (["ledger", "CheckFailed"], ["ledger", "N"])]
    asked = {(name, p) for name, thing in callables for p in inspect.signature(thing).parameters if p != "self"}
    assert len({name for name, _ in asked}) > 50
    assert sorted(asked - covered - EXCUSED.keys()) == []
    assert sorted((covered | EXCUSED.keys()) - asked) == []
    assert not covered & EXCUSED.keys()


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


@pytest.mark.parametrize(("seed", "message"), [(-1, "seed = -1 is below 0"), (2**63, f"seed = {2**63} is above 2**63 - 1")])
def test_a_seed_out_of_range_is_named(seed, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        td.fit(tiny(), x, steps=1, seed=seed, progress=False)
    with pytest.raises(TypeError, match=r"^seed = '1' is of type str, expected an integer$"):
        td.fit(tiny(), x, steps=1, seed="1", progress=False)


def test_the_largest_and_the_smallest_seed_are_good():
    for seed in (0, 2**63 - 1):
        assert td.fit(tiny(), x, steps=1, batch_size=2, seed=seed, progress=False).shape == (1,)


def test_a_list_of_steps_hears_of_the_tensor_that_it_should_be():
    with pytest.raises(TypeError, match=r"expected an integer, or a tensor of integers \(batch,\)$"):
        td.q_sample(LINEAR, x, [1, 2, 3], eps)


def test_a_path_that_is_none_is_shown():
    with pytest.raises(TypeError, match=r"^path = 5 is of type int, expected a path$"):
        td.load(5)
