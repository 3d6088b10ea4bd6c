"""The command `tinyddpm`: draw what is said, sample from a model, train one, compute its bound."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from tinyddpm import checkpoint, data, pictures
from tinyddpm.checkpoint import POINTS, PRETRAINED, load, load_pretrained
from tinyddpm.ddpm import DDPM
from tinyddpm.elbo import bits_per_dim
from tinyddpm.guidance import Labels
from tinyddpm.latent_ddpm import LatentDDPM
from tinyddpm.nets import MLP, UNet
from tinyddpm.schedule import Schedule
from tinyddpm.training import fit

DRAW = {name: parameter.default for name, parameter in inspect.signature(LatentDDPM.draw).parameters.items()}
FIT = {name: parameter.default for name, parameter in inspect.signature(fit).parameters.items()}
WIDTH = {network: inspect.signature(network).parameters["width"].default for network in (MLP, UNet)}
MADE = {"T": 200, "schedule": "cosine", "predict": "eps", "width": None}  # of a new model
OWN = "own"  # labels that belong to data of the package
MANY = 1_000_000  # more classes than that are no classes: each has features of its own in the network
MODEL = f"a pretrained model ({', '.join(PRETRAINED)}), or the folder of a checkpoint"
DATA = f"digits, {', '.join(POINTS)}, or a file .npy: numbers (n, ...), or pictures as bytes (n, height, width[, channels])"
EXAMPLES = """examples:
  tinyddpm draw "a small red circle above a large blue square" --out picture.png
  tinyddpm sample digits --out grid.png             64 new digits, as a picture
  tinyddpm bound digits                             how many bits a pixel costs, term by term
  tinyddpm train digits --steps 3000 --out run      a model of your own, in the folder run
  tinyddpm train digits --steps 6000 --out run --resume
  tinyddpm sample run --out grid.png                and what it has learned
  tinyddpm train digits --labels --out told         one that is told what it draws
  tinyddpm sample told --label 7 --guidance 2 --out sevens.png"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, and examples after the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 after an error, which is one line on stderr."""
    options = _parser().parse_args(argv)
    try:
        options.run(options)
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"tinyddpm: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("tinyddpm: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> _Parser:
    parser = _Parser(prog="tinyddpm", description="Denoising diffusion models: draw, sample, train, measure.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    sub = commands.add_parser("draw", help="draw what is said", description="Draws pictures of what is said.")
    sub.add_argument("prompt", help='what to draw, such as "a small red circle above a large blue square"; "" for anything')
    sub.add_argument("--out", required=True, metavar="FILE", help="picture.png for a picture, pictures.npy for the numbers")
    sub.add_argument("--n", type=_count, default=1, help="how many (default: 1)")
    sub.add_argument(
        "--guidance",
        type=float,
        default=DRAW["guidance"],
        help=f"1 to draw as told, more to exaggerate (default: {DRAW['guidance']:g})",
    )
    sub.add_argument("--steps", type=_count, default=DRAW["steps"], help=f"of DDIM (default: {DRAW['steps']})")
    sub.add_argument("--negative", metavar="TEXT", help='what not to draw, such as "a small red circle"')
    sub.add_argument("--start", metavar="PICTURE", help="a picture to begin with, in place of noise")
    sub.add_argument("--strength", type=float, help=f"with --start: how much to forget, up to 1 (default: {DRAW['strength']})")
    sub.add_argument("--model", default="scenes", help="the model, or the folder of a LatentDDPM (default: scenes)")
    sub.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same pictures (default: 0)")
    sub.set_defaults(run=_draw)

    sub = commands.add_parser("sample", help="draw new data from a model", description="Draws new data from a model.")
    sub.add_argument("model", help=MODEL)
    sub.add_argument("--out", required=True, metavar="FILE", help="grid.png for a picture, samples.npy for the numbers")
    sub.add_argument("--n", type=_count, help="how many (default: 64 pictures, or 5000 points)")
    sub.add_argument(
        "--shape", type=_count, nargs="+", metavar="SIDE", help="the shape of one example, where the model does not say"
    )
    sub.add_argument("--steps", type=_count, help="few steps, by DDIM (default: all steps, by ancestral sampling)")
    sub.add_argument("--eta", type=float, default=0.0, help="with --steps: how much noise to add on the way, 0 to 1 (default: 0)")
    sub.add_argument("--label", type=int, help="what to draw: a class that the model has learned, such as 7 for the digits")
    sub.add_argument("--guidance", type=float, help="with --label: 1 to draw as told, more to exaggerate it (default: 1)")
    sub.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same samples (default: 0)")
    sub.set_defaults(run=_sample)

    sub = commands.add_parser("train", help="train a model", description="Trains a model, on the GPU if there is one.")
    sub.add_argument("data", metavar="DATA", help=DATA)
    sub.add_argument("--out", required=True, metavar="DIR", help="the folder for checkpoints")
    sub.add_argument("--steps", type=_count, help=f"how many in all (default: {FIT['steps']}, or with --resume as before)")
    sub.add_argument(
        "--labels",
        nargs="?",
        const=OWN,
        metavar="FILE",
        help="after DATA: tell the network the label of each example, integers (n,) in a file .npy that count classes from 0; "
        "without FILE, those of the digits or of eight_gaussians",
    )
    sub.add_argument("--resume", action="store_true", help="go on with the run in DIR, with its settings")
    sub.add_argument("--batch-size", type=_count, help=f"examples in a step (default: {FIT['batch_size']})")
    sub.add_argument("--lr", type=float, help=f"highest learning rate (default: {FIT['lr']})")
    sub.add_argument("--ema", type=float, help=f"decay of the average of the weights (default: {FIT['ema']})")
    sub.add_argument("--seed", type=_seed, help=f"the same seed gives the same model (default: {FIT['seed']})")
    sub.add_argument("--T", type=_count, help=f"steps of the diffusion (default: {MADE['T']})")
    sub.add_argument("--schedule", choices=("cosine", "linear"), help=f"how the noise grows (default: {MADE['schedule']})")
    sub.add_argument("--predict", choices=("eps", "x0", "v"), help=f"what the network answers (default: {MADE['predict']})")
    sub.add_argument(
        "--width", type=_count, help=f"features of the network (default: {WIDTH[MLP]} for points, {WIDTH[UNet]} for pictures)"
    )
    sub.add_argument(
        "--save-every", type=_count, default=FIT["save_every"], help=f"steps between checkpoints (default: {FIT['save_every']})"
    )
    sub.set_defaults(run=_train)

    sub = commands.add_parser(
        "bound",
        help="compute the variational bound of a model",
        description="Computes the variational bound on -log p(x), in bits for each number of an example, term by term.",
    )
    sub.add_argument("model", help=MODEL)
    sub.add_argument("--data", metavar="DATA", help=f"{DATA} (default: unseen data of the pretrained model's kind)")
    sub.add_argument("--levels", type=_count, help="the values that a pixel can have (default: 17 for the digits; else a density)")
    sub.add_argument("--n", type=_count, default=1000, help="how many examples at most (default: 1000)")
    sub.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same numbers (default: 0)")
    sub.set_defaults(run=_bound)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number in 0..2**63 - 1")
    return int(text)


def _draw(options: argparse.Namespace) -> None:
    out = _out(options.out)
    if options.strength is not None and options.start is None:
        raise ValueError("--strength is for a picture to begin with: give --start too")
    model = _model(options.model)
    if not isinstance(model, LatentDDPM):
        raise ValueError(f"--model {options.model} draws nothing that is said, expected scenes, or the folder of a LatentDDPM")
    start = None if options.start is None else pictures.read(options.start)[None]
    x = model.draw(
        [options.prompt] * options.n, options.guidance, options.steps, negative=options.negative, start=start,
        strength=DRAW["strength"] if options.strength is None else options.strength,
        generator=torch.Generator().manual_seed(options.seed),
    )  # fmt: skip
    _write(out, x, side=256)
    print(f"{'a picture is' if options.n == 1 else f'{options.n} pictures are'} in {out}")


def _out(name: str) -> Path:
    """The file to write, which can be written: this shows before all the work."""
    out = Path(name)
    if out.suffix.lower() not in (".png", ".npy"):
        raise ValueError(f"--out {out} ends in {out.suffix!r}, expected .png or .npy")
    place = out if out.exists() else out.parent
    if out.is_dir() or not out.parent.is_dir() or not os.access(place, os.W_OK):
        raise ValueError(f"--out {out} cannot be written: is its folder there, and yours to write to?")
    return out


def _write(out: Path, x: Tensor, side: int) -> None:
    """Samples as numbers, or as a picture: of points as a density, else in a grid, each about so many pixels wide."""
    if out.suffix.lower() == ".npy":
        np.save(out, x.numpy())
    else:
        pictures.write(out, pictures.density(x) if x.ndim == 2 else pictures.grid(x, zoom=max(1, side // x.shape[2])))


def _sample(options: argparse.Namespace) -> None:
    out = _out(options.out)
    if options.eta and options.steps is None:
        raise ValueError("--eta is for few steps: give --steps too")
    if options.guidance is not None and options.label is None:
        raise ValueError("--guidance is for what a model is told: give --label too")
    made = _model(options.model)
    ddpm, decoded = (made.ddpm, made._decoded) if isinstance(made, LatentDDPM) else (made, None)
    if options.label is not None:
        condition = getattr(ddpm.model, "condition", None)
        if not isinstance(condition, Labels):
            raise ValueError(f"--label {options.label} says nothing to {options.model}, which was trained without labels")
        if not 0 <= options.label < condition.classes:
            raise ValueError(f"--label {options.label} is outside 0..{condition.classes - 1}, the classes of {options.model}")
        ddpm = ddpm.given(options.label, 1.0 if options.guidance is None else options.guidance)
    if decoded and options.shape:
        raise ValueError(f"--shape is for models of other things than codes: {options.model} knows its own")
    shape = options.shape or ddpm.example_shape
    if shape is None:
        raise ValueError(f"the checkpoint in {options.model} does not say what shape its data have: give --shape")
    if not decoded and out.suffix.lower() == ".png" and tuple(shape) != (2,) and (len(shape) != 3 or shape[0] not in (1, 3)):
        raise ValueError(f"samples of shape {tuple(shape)} make no picture: use --out samples.npy")
    n = options.n if options.n is not None else 64 if len(shape) == 3 else 5000
    generator = torch.Generator().manual_seed(options.seed)
    if options.steps is None:
        x = ddpm.sample((n, *shape), generator=generator, progress=_is_seen())
    else:
        x = ddpm.sample_ddim((n, *shape), options.steps, options.eta, generator=generator, progress=_is_seen())
    if decoded:
        x = decoded(x)
    _write(out, x, side=64)
    print(f"{n} samples are in {out}")


def _train(options: argparse.Namespace) -> None:
    out, steps, classes = Path(options.out), FIT["steps"], MANY
    settings: dict[str, Any] = {name: FIT[name] for name in ("batch_size", "lr", "ema", "seed")}
    model: dict[str, Any] = dict(MADE)
    given = {key: value for key in (*settings, *model) if (value := getattr(options, key)) is not None}
    if options.resume:
        if given:
            names = ", ".join(f"--{key.replace('_', '-')}" for key in given)
            raise ValueError(f"{names} cannot be chosen with --resume: the run in {out} goes on with its own settings")
        ddpm = load(out)
        classes = getattr(getattr(ddpm.model, "condition", None), "classes", MANY)
        if run := checkpoint.read(out).run:
            if ("c" in run.settings) != (options.labels is not None):
                wrong = "told labels: give" if options.labels is None else "told no labels: leave out"
                raise ValueError(f"the run in {out} was {wrong} --labels")
            settings = {key: run.settings.get(key, value) for key, value in settings.items()}
            steps = run.steps
    settings |= {key: value for key, value in given.items() if key in settings}
    x0 = _data(options.data, "train", settings["seed"])
    c = None if options.labels is None else _labels(options.labels, options.data, x0, classes)
    if not options.resume:
        model |= {key: value for key, value in given.items() if key in model}
        schedule = Schedule.cosine(model["T"]) if model["schedule"] == "cosine" else _linear(model["T"])
        torch.manual_seed(settings["seed"])  # of the network's first weights
        condition = None if c is None else Labels(int(c.max()) + 1)
        ddpm = DDPM(_network(x0, model["width"], condition), schedule, model["predict"], clip=(-1, 1) if x0.ndim == 4 else None)
    settings |= {"resume": out if options.resume else None, "save_every": options.save_every, "progress": _is_seen()}
    steps = options.steps or steps
    losses = fit(ddpm, x0, steps, checkpoint=out, c=c, **settings)
    print(f"trained for {steps} steps, loss {losses[-100:].mean():.4f} at the end; the model is in {out}")


def _bound(options: argparse.Namespace) -> None:
    ddpm = _model(options.model)
    if isinstance(ddpm, LatentDDPM):
        raise ValueError(f"{options.model} has a bound on its codes alone, which says nothing of pictures: expected another model")
    name = options.data or (options.model if options.model in PRETRAINED else None)
    if name is None:
        raise ValueError(f"{options.model} is a folder, so that its data are not known: give --data")
    x0 = _data(name, "test", options.seed + 1_000_000)[: options.n]  # not the points of a training
    levels = options.levels or (17 if name == "digits" else None)
    terms = ddpm.vlb(x0, levels, generator=torch.Generator().manual_seed(options.seed), progress=_is_seen())
    dims, T = x0[0].numel(), ddpm.schedule.T
    print(f"bits for each of {dims} numbers, mean over {len(x0)} examples of {name}")
    rows = [("L_0    t = 1", terms.L_0)]
    edges = torch.linspace(1, T, min(T, 11)).round().int().tolist()
    rows += [(f"L_t    t = {a + 1}..{b}", terms.L_t[:, a - 1 : b - 1].sum(dim=1)) for a, b in itertools.pairwise(edges)]
    rows += [(f"L_T    t = {T}", terms.L_T), ("total", terms.total)]
    for label, nats in rows:
        print(f"{label:24}{bits_per_dim(nats.mean(), dims):10.5f}")
    if len(x0) > 1:
        error = bits_per_dim(terms.total.std() / len(x0) ** 0.5, dims)
        print(f"{'standard error':24}{error:10.5f}")


def _model(name: str) -> Any:
    """A model that comes with the package, or one from a folder."""
    if name in PRETRAINED:
        return load_pretrained(name)
    if not Path(name).exists():
        raise ValueError(f"MODEL {name} is not {MODEL}")
    return load(name)


def _data(name: str, part: data.Part, seed: int) -> Tensor:
    if name == "digits":
        return data.digits(part)
    if name in POINTS:
        points: Tensor = getattr(data, name)(50000, torch.Generator().manual_seed(seed))
        return points
    if not name.endswith(".npy"):
        raise ValueError(f"DATA {name} is not one of {DATA}")
    array = _array(name)
    if array.dtype.kind not in "fiu" or not array.ndim or not array.size:
        raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}, expected numbers (n, ...), n at least 1")
    if array.dtype != np.uint8:
        numbers = torch.from_numpy(array.astype(np.float64)).float()
        if not numbers.isfinite().all():
            raise ValueError(f"{name} has a number that is NaN or infinite")
        return numbers
    if array.ndim not in (3, 4):
        raise ValueError(f"{name} has bytes of shape {array.shape}, expected (n, height, width) or (n, height, width, channels)")
    pictures = torch.from_numpy(array).float() / 127.5 - 1
    return pictures[:, None] if pictures.ndim == 3 else pictures.permute(0, 3, 1, 2).contiguous()


def _array(name: str) -> Any:
    read: Any = np.lib.format.read_array  # where np.load would also take an archive or a pickle for what it is not
    try:
        with open(name, "rb") as file:
            return read(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{name} is no whole file .npy of numbers: {error}") from error


def _labels(name: str, of: str, x0: Tensor, classes: int) -> Tensor:
    """The labels of some data, of at most so many classes: from a file, or those that the package knows."""
    if name == OWN:
        if of == "digits":
            return data.digit_labels("train")
        if of == "eight_gaussians":
            return data.eight_gaussians_labels(x0)
        raise ValueError(f"--labels needs a file .npy of integers: {of} has no labels of its own")
    if not name.endswith(".npy"):
        raise ValueError(f"--labels {name} is no file .npy of integers")
    array = _array(name)
    if array.dtype.kind not in "iu" or array.shape != (len(x0),):
        raise ValueError(
            f"--labels {name} has shape {array.shape} and dtype {array.dtype}, expected ({len(x0)},) integers, one for each of {of}"
        )
    for i in np.flatnonzero((array < 0) | (array >= classes))[:1]:
        raise ValueError(f"--labels {name} has {array[i]} in row {i}, expected labels in 0..{classes - 1}")
    return torch.from_numpy(array.astype(np.int64))


def _linear(T: int) -> Schedule:
    """The linear schedule of 1000 steps, in T steps: as much noise in all."""
    return Schedule.linear(T, min(0.1 / T, 0.5), min(20 / T, 0.999))


def _network(x0: Tensor, width: int | None, condition: Labels | None) -> MLP | UNet:
    chosen: dict[str, Any] = {"condition": condition} if width is None else {"width": width, "condition": condition}
    if x0.ndim == 2:
        return MLP(x0.shape[1], **chosen)
    if x0.ndim != 4:
        raise ValueError(f"DATA has shape {tuple(x0.shape)}, expected points (n, d) or pictures (n, channels, height, width)")
    if x0.abs().max() > 1:
        raise ValueError(f"DATA has values up to {x0.abs().max():g}, expected pictures as numbers in [-1, 1], or as bytes")
    network = UNet(x0.shape[1], levels=2 if x0.shape[2] <= 16 else 3 if x0.shape[2] <= 32 else 4, **chosen)
    with torch.no_grad():
        network(x0[:1], torch.ones(1).long())  # which says so if the sides do not fit, before there is a checkpoint
    return network


def _is_seen() -> bool:
    """Whether someone looks at the bars, and there is what draws them."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
