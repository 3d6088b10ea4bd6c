"""The command `tinyddpm`: draw what is said, sample from a model, train one, compute its bound."""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import io
import itertools
import math
import re
import shlex
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from tinyddpm import _output, checkpoint, pictures
from tinyddpm._output import Now, say
from tinyddpm._progress import bar
from tinyddpm.checkpoint import PRETRAINED, load, load_pretrained
from tinyddpm.ddpm import DDPM
from tinyddpm.elbo import bits_per_dim
from tinyddpm.engine import Stopped
from tinyddpm.examples import _tensor, numbers
from tinyddpm.guidance import Labels
from tinyddpm.interchange import CONFIG, PIPELINE, load_diffusers
from tinyddpm.latent_ddpm import LatentDDPM
from tinyddpm.nets import MLP, UNet
from tinyddpm.schedule import Schedule
from tinyddpm.sources import EXPECTED, MANY, SIZE, Asked, Source, source
from tinyddpm.training import fit

DRAW = {name: parameter.default for name, parameter in inspect.signature(LatentDDPM.draw).parameters.items()}
FIT = {name: parameter.default for name, parameter in inspect.signature(fit).parameters.items()}
WIDTH = {network: inspect.signature(network).parameters["width"].default for network in (MLP, UNet)}
NEW: dict[str, dict[str, Any]] = {  # models, by what they are of
    "points": {"T": 200, "schedule": "lognormal", "predict": "v", "width": None, "clip": None},
    "pictures": {"T": 200, "schedule": "cosine", "predict": "eps", "width": None, "clip": (-1, 1)},
}
MODEL = f"a pretrained model ({', '.join(PRETRAINED)}), or the folder of a checkpoint, or of a model of diffusers"
DATA = f"{EXPECTED}: points (n, d), or pictures (n, height, width[, channels])"
EXAMPLES = """examples:
  tinyddpm draw "a small red circle above a large blue square" --out picture.png
  tinyddpm sample digits --out grid.png             64 new digits, as a picture
  tinyddpm bound digits                             how many bits a pixel costs, term by term
  tinyddpm train digits --steps 3000 --out run      a model of your own, in the folder run
  tinyddpm train digits --steps 6000 --out run --resume
  tinyddpm sample run --out grid.png                and what it has learned
  tinyddpm train digits --labels --out told         one that is told what it draws
  tinyddpm sample told --label 7 --guidance 2 --out sevens.png
  tinyddpm train photos --size 32 --out mine        your own pictures, all that are in the folder photos"""


class _Parser(argparse.ArgumentParser):
    """Errors in one line, and examples after the help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit code: 0, or 2 after an error, which is one line on stderr.

    After Ctrl-C or SIGTERM it is 128 and the number of the signal.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that its encoding lacks
    options = _parser().parse_args(argv)
    try:
        with _warnings_are_lines(), _sigterm_is_heard():
            options.run(options)
    except (ArithmeticError, ImportError, MemoryError, OSError, RuntimeError, TypeError, ValueError) as error:
        print(f"tinyddpm: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        say(f"{stopped}; to go on: {_to_go_on(options)}")
        return 128 + stopped.signum
    except KeyboardInterrupt as stopped:
        say("stopped")
        return 128 + (stopped.args[0] if stopped.args else signal.SIGINT)
    return 0


@contextmanager
def _warnings_are_lines() -> Iterator[None]:
    """What the package warns of is said in a line, once."""
    said = set[str]()

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        if str(message) not in said:
            said.add(str(message))
            say(re.sub(r"^x0 has", "the data have", str(message)))

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


@contextmanager
def _sigterm_is_heard() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does, so that no half of a file is left."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, _: object) -> NoReturn:
        raise KeyboardInterrupt(signum)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _to_go_on(options: argparse.Namespace) -> str:
    """The command that takes up a training."""
    labels = [] if options.labels is None else ["--labels"] if options.labels is True else ["--labels", options.labels]
    channels = [] if options.channels is None else ["--channels", options.channels]
    return shlex.join(["tinyddpm", "train", options.data, "--out", options.out, *labels, *channels, "--resume"])


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
        const=True,
        metavar="FILE",
        help="after DATA: tell the network the label of each example, integers (n,) in a file .npy that count classes from 0; "
        "without FILE, those of the digits, of eight_gaussians or of an archive .npz, or the names of the subfolders",
    )
    sub.add_argument(
        "--size", type=_count, help=f"of pictures in a folder, to which they are resized (default: {SIZE}, or as they are if small)"
    )
    sub.add_argument("--channels", choices=("first", "last"), help="in a file of pictures of which it is not clear")
    sub.add_argument("--resume", action="store_true", help="go on with the run in DIR, with its settings")
    sub.add_argument("--batch-size", type=_count, help=f"examples in a step (default: {FIT['batch_size']})")
    sub.add_argument("--lr", type=float, help=f"highest learning rate (default: {FIT['lr']})")
    sub.add_argument("--ema", type=float, help=f"decay of the average of the weights (default: {FIT['ema']})")
    sub.add_argument("--seed", type=_seed, help=f"the same seed gives the same model (default: {FIT['seed']})")
    sub.add_argument("--T", type=_count, help=f"steps of the diffusion (default: {_new('T')})")
    sub.add_argument(
        "--schedule", choices=("cosine", "linear", "lognormal"), help=f"how the noise grows (default: {_new('schedule')})"
    )
    sub.add_argument("--predict", choices=("eps", "x0", "v"), help=f"what the network answers (default: {_new('predict')})")
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
    sub.add_argument("--channels", choices=("first", "last"), help="in a file of pictures of which it is not clear")
    sub.add_argument("--levels", type=_count, help="the values that a pixel can have (default: 17 for the digits; else a density)")
    sub.add_argument("--n", type=_count, default=1000, help="how many examples at most (default: 1000)")
    sub.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same numbers (default: 0)")
    sub.set_defaults(run=_bound)
    return parser


def _new(setting: str) -> str:
    """The setting of a new model, in words."""
    values = {kind: str(made[setting]) for kind, made in NEW.items()}
    return values["points"] if len({*values.values()}) == 1 else ", ".join(f"{v} for {kind}" for kind, v in values.items())


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 1 or more")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number in 0..2**63 - 1")
    return int(text)


def _draw(options: argparse.Namespace) -> None:
    out = _output.check(options.out)
    if options.strength is not None and options.start is None:
        raise ValueError("--strength is for a picture to begin with: give --start too")
    model = _model(options.model)
    if not isinstance(model, LatentDDPM):
        raise ValueError(f"--model {options.model} draws nothing that is said, expected scenes, or the folder of a LatentDDPM")
    start = None if options.start is None else pictures.read(options.start)[None]
    generator = torch.Generator().manual_seed(options.seed)

    def some(n: int, _: object) -> Tensor:
        return model.draw(
            [options.prompt] * n, options.guidance, options.steps, negative=options.negative, start=start,
            strength=DRAW["strength"] if options.strength is None else options.strength, generator=generator,
        )  # fmt: skip

    _output.write(out, options.n, _in_parts(some, options.n, TOGETHER, options.steps), side=256)
    print(f"{'a picture is' if options.n == 1 else f'{options.n} pictures are'} in {out}")


def _sample(options: argparse.Namespace) -> None:
    out = _output.check(options.out)
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
    n, drawn = options.n if options.n is not None else 64 if len(shape) == 3 else 5000, out.suffix.lower() == ".png"
    if not drawn:
        _output.check_room(out, n, tuple(shape))
    elif not decoded and tuple(shape) != (2,):
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise ValueError(f"samples of shape {tuple(shape)} make no picture: use --out samples.npy")
        _output.check_grid(n, tuple(shape), GRID)
    generator = torch.Generator().manual_seed(options.seed)

    def some(n: int, how: dict[str, Any]) -> Tensor:
        if options.steps is None:
            x = ddpm.sample((n, *shape), generator=generator, **how)
        else:
            x = ddpm.sample_ddim((n, *shape), options.steps, options.eta, generator=generator, **how)
        return decoded(x) if decoded else x

    together = max(TOGETHER, min(5000, 2**18 // math.prod(shape)))
    _output.write(out, n, _in_parts(some, n, together, ddpm.schedule.T), GRID, ddpm._standardised)
    print(f"{n} samples are in {out}")


TOGETHER = 64  # pictures that are made at once, and more if they are small
GRID = 64  # pixels that each picture in a grid is wide, about


def _in_parts(some: Callable[[int, dict[str, Any]], Tensor], n: int, together: int, T: int) -> Iterator[Tensor]:
    """n samples, some at a time, and how far that is: a bar where it is seen, else a line now and then.

    Args:
        some: makes so many samples, given what `DDPM.sample` takes to show how far it is.
        n: how many in all.
        together: how many at a time.
        T: how many steps that takes.
    """
    seen, now = _is_seen(), Now()
    starts = range(0, n, together)
    one_bar = seen and len(starts) == 1
    for start in bar(starts, seen and not one_bar, "sampling"):

        def tell(t: int, _: Tensor, start: int = start) -> None:
            if t and now.due:
                say(f"{start} of {n} samples are there, the next are at t = {t} of {T}")

        yield some(min(together, n - start), {"progress": True} if one_bar else {} if seen else {"callback": tell})


def _train(options: argparse.Namespace) -> None:
    if not options.out:
        raise ValueError("--out has no name, expected a folder")
    out, steps, now = Path(options.out), FIT["steps"], Now()
    settings: dict[str, Any] = {name: FIT[name] for name in ("batch_size", "lr", "ema", "seed")}
    asked = Asked(labels=options.labels, size=options.size, channels=options.channels, out=out)
    asked.tell = lambda line: say(line) if now.due else None
    ddpm: DDPM | None = None
    if options.resume:
        fixed = (*settings, "size", *(key for key in NEW["points"] if key != "clip"))
        if given := [f"--{key.replace('_', '-')}" for key in fixed if getattr(options, key) is not None]:
            raise ValueError(f"{', '.join(given)} cannot be chosen with --resume: the run in {out} goes on with its own settings")
        ddpm = load(out)
        asked.shape = ddpm.example_shape
        asked.classes = getattr(getattr(ddpm.model, "condition", None), "classes", MANY)
        if run := checkpoint.read(out).run:
            if ("c" in run.settings) != (options.labels is not None):
                wrong = "told labels: give" if options.labels is None else "told no labels: leave out"
                raise ValueError(f"the run in {out} was {wrong} --labels")
            settings = {key: run.settings.get(key, value) for key, value in settings.items()}
            steps = run.steps
    else:
        settings |= {key: value for key in settings if (value := getattr(options, key)) is not None}
    asked.seed, steps = settings["seed"], options.steps or steps
    data = source(options.data, asked)
    for line in data.lines:
        say(line)
    if ddpm is None:
        torch.manual_seed(settings["seed"])  # of the network's first weights
        ddpm = _new_model(data, options)
    seen = _is_seen()

    def tell(step: int, loss: Tensor) -> None:
        if now.due:  # only then the loss is read, for which a GPU has to be waited for
            say(f"step {step} of {steps}, loss {float(loss):.4f}")

    settings |= {"resume": out if options.resume else None, "save_every": options.save_every, "progress": seen}
    losses = fit(ddpm, data.x, steps, checkpoint=out, c=data.labels, callback=None if seen else tell, **settings)
    if _output.is_first():
        print(f"trained for {steps} steps, loss {losses[-100:].mean():.4f} at the end; the model is in {out}")


def _bound(options: argparse.Namespace) -> None:
    ddpm = _model(options.model)
    if isinstance(ddpm, LatentDDPM):
        raise ValueError(f"{options.model} has a bound on its codes alone, which says nothing of pictures: expected another model")
    name = options.data or (options.model if options.model in PRETRAINED else None)
    if name is None:
        raise ValueError(f"{options.model} is a folder, so that its data are not known: give --data")
    seed = options.seed + 1_000_000  # not the points of a training
    data = source(
        name,
        Asked("test", seed, channels=options.channels, shape=ddpm.example_shape, rows=options.n, packaged=options.data is None),
    )
    for line in data.lines:
        say(line)
    x0 = numbers(data.x if isinstance(data.x, Tensor) else _tensor(data.x), torch.float32)
    if ddpm.example_shape not in (None, tuple(x0.shape[1:])):
        raise ValueError(f"{name} has examples of shape {tuple(x0.shape[1:])}, expected {ddpm.example_shape} as {options.model}")
    generator = torch.Generator().manual_seed(options.seed)
    terms = ddpm.vlb(x0, options.levels or data.levels, generator=generator, progress=_is_seen())
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
    """A model from a folder, of ours or of diffusers, or one that comes with the package."""
    folder = Path(name)
    theirs = any((folder / file).is_file() for file in (CONFIG, PIPELINE, f"unet/{CONFIG}"))
    is_model = checkpoint.exists(folder) or theirs
    if name in PRETRAINED:
        if folder.is_dir():
            here = f"the folder {name} here, and not" if is_model else f"not the folder {name} here, which holds no model, but"
            say(f"the model is {here} the one of that name that comes with the package")
        if not is_model:
            return load_pretrained(name)
    if not folder.exists():
        raise ValueError(f"MODEL {name} is not {MODEL}")
    return load_diffusers(folder) if theirs and not checkpoint.exists(folder) else load(folder)


def _new_model(data: Source, options: argparse.Namespace) -> DDPM:
    """An untrained model that suits the data."""
    made = dict(NEW["points" if data.x.ndim == 2 else "pictures"])
    made |= {key: value for key in made if (value := getattr(options, key, None)) is not None}
    schedule = _linear(made["T"]) if made["schedule"] == "linear" else getattr(Schedule, made["schedule"])(made["T"])
    condition = None if data.labels is None else Labels(int(data.labels.max()) + 1)
    network = _network(tuple(data.x.shape[1:]), made["width"], condition)
    return DDPM(network, schedule, made["predict"], clip=made["clip"], shift=data.shift, scale=data.scale)


def _linear(T: int) -> Schedule:
    """The linear schedule of 1000 steps, in T steps: as much noise in all."""
    return Schedule.linear(T, min(0.1 / T, 0.5), min(20 / T, 0.999))


def _network(shape: tuple[int, ...], width: int | None, condition: Labels | None) -> MLP | UNet:
    chosen: dict[str, Any] = {"condition": condition} if width is None else {"width": width, "condition": condition}
    if len(shape) == 1:
        return MLP(shape[0], **chosen)
    side = max(shape[1:])
    return UNet(shape[0], levels=2 if side <= 16 else 3 if side <= 32 else 4, **chosen)


def _is_seen() -> bool:
    """Whether someone looks at the bars, and there is what draws them."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
