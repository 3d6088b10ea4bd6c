"""The command `tinyddpm`: sample from a model, train one, compute its bound."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import os
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinyddpm import checkpoint, data
from tinyddpm.ddpm import DDPM, PRETRAINED, load, load_pretrained
from tinyddpm.elbo import bits_per_dim
from tinyddpm.nets import MLP, UNet
from tinyddpm.schedule import Schedule
from tinyddpm.training import fit

POINTS = PRETRAINED[1:]
MODEL = f"a pretrained model ({', '.join(PRETRAINED)}), or the folder of a checkpoint"
DATA = f"digits, {', '.join(POINTS)}, or a file .npy: numbers (n, ...), or pictures as bytes (n, height, width[, channels])"
EXAMPLES = """examples:
  tinyddpm sample digits --out grid.png             64 new digits, as a picture
  tinyddpm bound digits                             how many bits a pixel costs, term by term
  tinyddpm train digits --steps 3000 --out run      a model of your own, in the folder run
  tinyddpm train digits --steps 6000 --out run --resume
  tinyddpm sample run --out grid.png                and what it has learned"""


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
    parser = _Parser(prog="tinyddpm", description="Denoising diffusion models: sample, train, measure.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    sub = commands.add_parser("sample", help="draw new data from a model", description="Draws new data from a model.")
    sub.add_argument("model", help=MODEL)
    sub.add_argument("--out", required=True, metavar="FILE", help="grid.png for a picture, samples.npy for the numbers")
    sub.add_argument("--n", type=_count, help="how many (default: 64 pictures, or 5000 points)")
    sub.add_argument(
        "--shape", type=_count, nargs="+", metavar="SIDE", help="the shape of one example, where the model does not say"
    )
    sub.add_argument("--steps", type=_count, help="few steps, by DDIM (default: all steps, by ancestral sampling)")
    sub.add_argument("--eta", type=float, default=0.0, help="with --steps: how much noise to add on the way, 0 to 1 (default: 0)")
    sub.add_argument("--seed", type=_seed, default=0, help="the same seed gives the same samples (default: 0)")
    sub.set_defaults(run=_sample)

    sub = commands.add_parser("train", help="train a model", description="Trains a model, on the GPU if there is one.")
    sub.add_argument("data", metavar="DATA", help=DATA)
    sub.add_argument("--out", required=True, metavar="DIR", help="the folder for checkpoints")
    sub.add_argument("--steps", type=_count, help="how many in all (default: 3000, or with --resume as before)")
    sub.add_argument("--resume", action="store_true", help="go on with the run in DIR, with its settings")
    sub.add_argument("--batch-size", type=_count, help="examples in a step (default: 256)")
    sub.add_argument("--lr", type=float, help="highest learning rate (default: 0.002)")
    sub.add_argument("--ema", type=float, help="decay of the average of the weights (default: 0.999)")
    sub.add_argument("--seed", type=_seed, help="the same seed gives the same model (default: 0)")
    sub.add_argument("--T", type=_count, help="steps of the diffusion (default: 200)")
    sub.add_argument("--schedule", choices=("cosine", "linear"), help="how the noise grows (default: cosine)")
    sub.add_argument("--predict", choices=("eps", "x0", "v"), help="what the network answers (default: eps)")
    sub.add_argument("--width", type=_count, help="features of the network (default: 96 for points, 32 for pictures)")
    sub.add_argument("--save-every", type=_count, default=1000, help="steps between checkpoints (default: 1000)")
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


def _sample(options: argparse.Namespace) -> None:
    out = Path(options.out)
    if out.suffix not in (".png", ".npy"):
        raise ValueError(f"--out {out} ends in {out.suffix!r}, expected .png or .npy")
    place = out if out.exists() else out.parent
    if out.is_dir() or not out.parent.is_dir() or not os.access(place, os.W_OK):  # not only after all the work
        raise ValueError(f"--out {out} cannot be written: is its folder there, and yours to write to?")
    if options.eta and options.steps is None:
        raise ValueError("--eta is for few steps: give --steps too")
    ddpm, shape = _model(options.model)
    shape = options.shape or shape
    if shape is None:
        raise ValueError(f"the checkpoint in {options.model} does not say what shape its data have: give --shape")
    if out.suffix == ".png" and shape != [2] and (len(shape) != 3 or shape[0] not in (1, 3)):
        raise ValueError(f"samples of shape {tuple(shape)} make no picture: use --out samples.npy")
    n = options.n if options.n is not None else 64 if len(shape) == 3 else 5000
    generator = torch.Generator().manual_seed(options.seed)
    if options.steps is None:
        x = ddpm.sample((n, *shape), generator=generator, progress=_is_seen())
    else:
        x = ddpm.sample_ddim((n, *shape), options.steps, options.eta, generator=generator, progress=_is_seen())
    if out.suffix == ".npy":
        np.save(out, x.numpy())
    else:
        out.write_bytes(_png(_picture(x)))
    print(f"{n} samples are in {out}")


def _train(options: argparse.Namespace) -> None:
    out, steps = Path(options.out), 3000
    settings: dict[str, Any] = {"batch_size": 256, "lr": 2e-3, "ema": 0.999, "seed": 0}
    model: dict[str, Any] = {"T": 200, "schedule": "cosine", "predict": "eps", "width": None}
    given = {key: value for key in (*settings, *model) if (value := getattr(options, key)) is not None}
    if options.resume:
        if given:
            names = ", ".join(f"--{key.replace('_', '-')}" for key in given)
            raise ValueError(f"{names} cannot be chosen with --resume: the run in {out} goes on with its own settings")
        ddpm = load(out)
        _, info = checkpoint.read(out)
        settings = {key: info.get("training", {}).get(key, value) for key, value in settings.items()}
        steps = info.get("steps", steps)
    settings |= {key: value for key, value in given.items() if key in settings}
    x0 = _data(options.data, "train", settings["seed"])
    if not options.resume:
        model |= {key: value for key, value in given.items() if key in model}
        schedule = Schedule.cosine(model["T"]) if model["schedule"] == "cosine" else _linear(model["T"])
        torch.manual_seed(settings["seed"])  # of the network's first weights
        ddpm = DDPM(_network(x0, model["width"]), schedule, model["predict"], clip=(-1, 1) if x0.ndim == 4 else None)
    settings |= {"resume": out if options.resume else None, "save_every": options.save_every, "progress": _is_seen()}
    steps = options.steps or steps
    losses = fit(ddpm, x0, steps, checkpoint=out, **settings)
    print(f"trained for {steps} steps, loss {losses[-100:].mean():.4f} at the end; the model is in {out}")


def _bound(options: argparse.Namespace) -> None:
    ddpm, _ = _model(options.model)
    name = options.data or (options.model if options.model in PRETRAINED else None)
    if name is None:
        raise ValueError(f"{options.model} is a folder, so that its data are not known: give --data")
    x0 = _data(name, "test", options.seed + 1_000_000)[: options.n]  # not the points of a training
    levels = options.levels or (17 if name == "digits" else None)
    terms = ddpm.vlb(x0, levels, torch.Generator().manual_seed(options.seed), progress=_is_seen())
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


def _model(name: str) -> tuple[DDPM, list[int] | None]:
    """A model, and the shape of its examples, if that is known."""
    if name in PRETRAINED:
        return load_pretrained(name), [1, 8, 8] if name == "digits" else [2]
    if not Path(name).exists():
        raise ValueError(f"MODEL {name} is not {MODEL}")
    _, info = checkpoint.read(name)
    return load(name), info.get("training", {}).get("data", [])[1:] or None


def _data(name: str, part: data.Part, seed: int) -> Tensor:
    if name == "digits":
        return data.digits(part)
    if name in POINTS:
        points: Tensor = getattr(data, name)(50000, torch.Generator().manual_seed(seed))
        return points
    if not name.endswith(".npy"):
        raise ValueError(f"DATA {name} is not one of {DATA}")
    read: Any = np.lib.format.read_array  # where np.load would also take an archive or a pickle for what it is not
    try:
        with open(name, "rb") as file:
            array = read(file, allow_pickle=False)
    except ValueError as error:
        raise ValueError(f"{name} is no whole file .npy of numbers: {error}") from error
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


def _linear(T: int) -> Schedule:
    """The linear schedule of 1000 steps, in T steps: as much noise in all."""
    return Schedule.linear(T, min(0.1 / T, 0.5), min(20 / T, 0.999))


def _network(x0: Tensor, width: int | None) -> MLP | UNet:
    if x0.ndim == 2:
        return MLP(x0.shape[1], width or 96)
    if x0.ndim != 4:
        raise ValueError(f"DATA has shape {tuple(x0.shape)}, expected points (n, d) or pictures (n, channels, height, width)")
    if x0.abs().max() > 1:
        raise ValueError(f"DATA has values up to {x0.abs().max():g}, expected pictures as numbers in [-1, 1], or as bytes")
    network = UNet(x0.shape[1], width or 32, levels=2 if x0.shape[2] <= 16 else 3 if x0.shape[2] <= 32 else 4)
    with torch.no_grad():
        network(x0[:1], torch.ones(1).long())  # which says so if the sides do not fit, before there is a checkpoint
    return network


def _picture(x: Tensor) -> NDArray[np.uint8]:
    """Pictures in a grid, or the density of points, as bytes (height, width, channels)."""
    if x.ndim == 2:
        counts, _, _ = np.histogram2d(-x[:, 1].numpy(), x[:, 0].numpy(), bins=256, range=[[-3, 3], [-3, 3]])
        dark = np.minimum(counts / max(np.quantile(counts, 0.99), 1), 1)
        points: NDArray[np.uint8] = (255 * (1 - dark[..., None])).astype(np.uint8)
        return points
    zoom, columns = max(1, 64 // x.shape[2]), int(np.ceil(len(x) ** 0.5))
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().repeat_interleave(zoom, 2).repeat_interleave(zoom, 3)
    x = torch.nn.functional.pad(x, (0, 4, 0, 4), value=255)
    x = torch.cat([x, x.new_full((-len(x) % columns, *x.shape[1:]), 255)])
    rows = [torch.cat(list(row), dim=2) for row in torch.split(x, columns)]
    pixels: NDArray[np.uint8] = torch.cat(rows, dim=1).permute(1, 2, 0).numpy().astype(np.uint8)
    return pixels


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Bytes (height, width, 1 or 3) as a PNG file: a header, the compressed rows, an end."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if channels == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _is_seen() -> bool:
    """Whether someone looks at the bars, and there is what draws them."""
    return sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
