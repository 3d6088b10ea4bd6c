"""The command: what it writes is what the functions return, what it trains goes on, and each error is one line."""

import contextlib
import hashlib
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import tinyddpm as td
from tinyddpm import _output, cli
from tinyddpm.cli import main
from tinyddpm.examples import numbers

ROOT = Path(td.__file__).parents[1]
OPTIONS = {
    "draw": "--out --n --guidance --steps --negative --start --strength --model --seed",
    "sample": "--out --n --shape --steps --eta --label --guidance --seed",
    "train": "--out --labels --size --channels --steps --resume --batch-size --lr --ema --seed --T --schedule --predict --width"
    " --save-every",
    "bound": "--data --channels --levels --n --seed",
}
TINY = "--steps 2 --batch-size 4 --width 8 --T"


class Evil:
    """A pickle that leaves a trace where it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def files():
    """Data of each kind, good and bad."""
    random = np.random.default_rng(0)
    np.save("points.npy", random.standard_normal((40, 2)))
    np.save("solid.npy", random.standard_normal((40, 3)).astype(np.float32))
    np.save("grey.npy", random.integers(0, 256, (12, 8, 8), dtype=np.uint8))
    np.save("colour.npy", random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8))
    np.save("row.npy", np.zeros((3, 8), np.uint8))
    np.save("bright.npy", random.integers(0, 300, (9, 1, 8, 8)))
    np.save("unclear.npy", np.zeros((9, 8, 8, 8), np.uint8))
    Path("photos").mkdir()
    for i in range(4):
        Image.fromarray(random.integers(0, 256, (8, 8), dtype=np.uint8)).save(f"photos/{i}.png")
    np.save("nan.npy", np.array([[0, 1], [np.nan, 0]]))
    np.save("inf.npy", np.array([[0, 1], [1e300, 0]]))
    np.save("none.npy", np.zeros((0, 2)))
    np.save("number.npy", np.array(1.0))
    np.save("line.npy", np.zeros(5))
    np.save("cube.npy", np.zeros((5, 4, 4)))
    np.save("complex.npy", np.zeros((5, 2), complex))
    np.save("words.npy", np.array(["a", "b"]))
    for name, change in {"labels": 0, "one-less": -1, "one-more": 1, "large": 10**12}.items():
        np.save(f"{name}.npy", np.arange(40) % 3 + change)
    np.save("short.npy", np.arange(39) % 3)
    np.save("turned.npy", np.arange(1, 41) % 3)
    Path("labels.csv").write_text("cat\ndog\n" * 20)
    np.save("objects.npy", np.array([Evil(), Evil()], dtype=object))
    np.savez("archive.npz", np.zeros((5, 2)))
    os.rename("archive.npz", "archive.npy")
    Path("pickle.npy").write_bytes(pickle.dumps(Evil()))
    Path("zip.npy").write_bytes(b"PK\3\4 and no more")
    Path("empty.npy").touch()
    Path("cut.npy").write_bytes(Path("points.npy").read_bytes()[:200])
    Path("folder.npy").mkdir()
    Path("weights.pt").write_bytes(pickle.dumps(Evil()))


def checkpoints():
    """Models after two steps, one without training, and damaged ones."""
    for name, T in {"points": 25, "solid": 3, "grey": 4, "colour": 3}.items():
        assert main(f"train {name}.npy --out {name} {TINY} {T}".split()) == 0
    assert main(f"train points.npy --labels labels.npy --out told {TINY} 5".split()) == 0
    with torch.random.fork_rng():
        td.DDPM(td.MLP(2, 8, 1), td.Schedule.cosine(4)).save("saved")
        td.DDPM(torch.nn.Linear(2, 2), td.Schedule.linear(4)).save("foreign")
        ddpm = td.DDPM(td.UNet(4, 16, condition=td.Text(["a", "red", "circle"], length=3)), td.Schedule.cosine(30))
        ddpm.example_shape = (4, 2, 2)
        td.LatentDDPM(td.Autoencoder(3, width=8), ddpm).save("latent")
        for name, side in {"start": 16, "large": 32}.items():
            td.pictures.write(f"{name}.png", np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
    for name in ("truncated", "pickled", "no-json", "no-weights"):
        shutil.copytree("points", name)
    for name, damage in {"truncated": lambda data: data[:-9], "pickled": lambda _: pickle.dumps(Evil())}.items():
        (weights,) = Path(name).glob("*.safetensors")
        weights.write_bytes(damage(weights.read_bytes()))
    index = json.loads(Path("pickled/ddpm.json").read_text())
    index["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    Path("pickled/ddpm.json").write_text(json.dumps(index))
    Path("no-json/ddpm.json").write_text("{")
    next(Path("no-weights").glob("*.safetensors")).unlink()
    Path("plain").mkdir()


@contextlib.contextmanager
def inside(path):
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli")
    with inside(path):
        files()
        checkpoints()
    return path


@pytest.fixture
def run(folder, tmp_path, monkeypatch, capsys):
    """Runs a command where the files are copied to: exit code, stdout, stderr."""
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "here"))

    def running(command):
        capsys.readouterr()
        try:
            code = main(shlex.split(command))
        except SystemExit as end:
            code = end.code
        return (code, *capsys.readouterr())

    return running


@pytest.fixture
def good(run):
    """The same, where nothing may fail: stdout."""

    def running(command):
        code, out, err = run(command)
        assert (code, err) == (0, "")
        return out

    return running


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def size(path):
    """The shift and the scale of the points in a file."""
    x = torch.from_numpy(np.load(path))
    return {"shift": x.mean(0), "scale": x.std(0, correction=0)}


def weights(path):
    return torch.cat([p.detach().flatten() for p in td.load(path).parameters()])


def pixels(path):
    Image.open(path).verify()
    return np.asarray(Image.open(path))


# --- draw ---


def test_pictures_are_those_of_draw(good):
    said = '"a red circle" --model latent'
    assert good(f"draw {said} --out x.npy") == "a picture is in x.npy\n"
    assert (np.load("x.npy") == td.load("latent").draw("a red circle", generator=seeded(0)).numpy()).all()
    options = "--n 3 --guidance 2 --steps 4 --negative circle --start start.png --strength 0.7 --seed 5"
    assert good(f"draw {said} --out x.npy {options}") == "3 pictures are in x.npy\n"
    start = td.pictures.read("start.png")[None]
    x = td.load("latent").draw(
        ["a red circle"] * 3, 2.0, 4, negative="circle", start=start, strength=0.7, generator=seeded(5)
    )  # fmt: skip
    assert (np.load("x.npy") == x.numpy()).all()
    good(f"draw {said} --out x.png {options}")
    assert (pixels("x.png") == td.pictures.grid(x, zoom=16)).all()


def test_samples_of_a_latent_ddpm_are_decoded(good):
    good("sample latent --out x.npy --n 3")
    made = td.load("latent")
    with torch.no_grad():
        x = made.autoencoder.decode(made.ddpm.sample((3, 4, 2, 2), generator=seeded(0))).clamp(-1, 1)
    assert (np.load("x.npy") == x.numpy()).all()
    good("sample latent --out x.png --steps 2")
    assert pixels("x.png").shape == (8 * 17 * 4 + 4, 8 * 17 * 4 + 4, 3)


# --- sample ---


@pytest.mark.parametrize(("model", "shape"), [("points", (2,)), ("solid", (3,)), ("grey", (1, 8, 8)), ("colour", (3, 8, 8))])
def test_numbers_are_those_of_ddpm_sample(good, model, shape):
    assert good(f"sample {model} --out x.npy --n 7 --seed 3") == "7 samples are in x.npy\n"
    x = np.load("x.npy")
    assert x.dtype == np.float32 and (x == td.load(model).sample((7, *shape), generator=seeded(3)).numpy()).all()


@pytest.mark.parametrize("eta", [None, 0.7])
def test_few_steps_are_those_of_ddim(good, eta):
    good(f"sample points --out x.npy --n 7 --steps 5 {f'--eta {eta}' if eta else ''}")
    assert (np.load("x.npy") == td.load("points").sample_ddim((7, 2), 5, eta or 0, generator=seeded(0)).numpy()).all()


def test_as_many_samples_as_the_help_says(good):
    good("sample points --out points.npy")
    good("sample grey --out grey.npy")
    assert len(np.load("points.npy")) == 5000 and len(np.load("grey.npy")) == 64


@pytest.mark.parametrize("out", ["x.npy", "x.png"])
def test_the_seed_decides_the_file(good, out):
    good(f"sample grey --out {out} --n 3 --seed 1")
    first = Path(out).read_bytes()
    good(f"sample grey --out {out} --n 3 --seed 2")
    second = Path(out).read_bytes()
    good(f"sample grey --out {out} --n 3 --seed 1")
    assert Path(out).read_bytes() == first != second


@pytest.mark.parametrize(("model", "channels"), [("grey", 1), ("colour", 3)])
def test_the_grid_shows_the_samples(good, model, channels):
    """Each of their pixels as 8x8."""
    good(f"sample {model} --out grid.png --n 5 --seed 3")
    x = td.load(model).sample((5, channels, 8, 8), generator=seeded(3))
    assert (pixels("grid.png") == td.pictures.grid(x, columns=3, zoom=8)).all() and len(np.unique(pixels("grid.png"))) > 20


@pytest.mark.parametrize(("shape", "zoom"), [((1, 3, 64, 64), 1), ((4, 1, 16, 8), 4), ((1, 1, 200, 100), 1)])
def test_pictures_are_64_pixels_high_or_as_high_as_they_are(good, monkeypatch, shape, zoom):
    monkeypatch.setattr(td.DDPM, "sample", lambda *_, **__: torch.zeros(shape))
    good(f"sample colour --out grid.png --n {shape[0]}")
    assert (pixels("grid.png") == td.pictures.grid(torch.zeros(shape), zoom=zoom)).all()


def test_points_are_dark_where_they_are(good, monkeypatch):
    """x goes right and y goes up, from -3 to 3 times the scale of the data that the model was trained on."""
    cloud = torch.tensor([1.5, -0.75]) + 0.1 * torch.randn(5000, 2, generator=seeded(0))
    cloud = torch.tensor(td.load("points").arguments["shift"]) + torch.tensor(td.load("points").arguments["scale"]) * cloud
    monkeypatch.setattr(td.DDPM, "sample", lambda *_, **__: cloud)
    good("sample points --out points.png")
    dark = 255.0 - pixels("points.png")
    row, column = (np.average(np.arange(256), weights=dark.sum(axis=axis)) for axis in (1, 0))
    assert dark.shape == (256, 256) and dark.max() == 255
    assert (column + 0.5) * 6 / 256 - 3 == pytest.approx(1.5, abs=0.02)
    assert 3 - (row + 0.5) * 6 / 256 == pytest.approx(-0.75, abs=0.02)


def test_the_shape_can_be_given_where_the_checkpoint_lacks_it(good):
    good("sample saved --out x.npy --n 7 --shape 2")
    assert (np.load("x.npy") == td.load("saved").sample((7, 2), generator=seeded(0)).numpy()).all()


@pytest.mark.parametrize(("name", "model", "shape"), [("digits", "grey", (64, 1, 8, 8)), ("two_moons", "points", (5000, 2))])
def test_the_name_of_a_pretrained_model_is_enough(good, monkeypatch, name, model, shape):
    monkeypatch.setattr(cli, "load_pretrained", lambda given: {name: td.load(model)}[given])
    good(f"sample {name} --out x.npy")
    assert (np.load("x.npy") == td.load(model).sample(shape, generator=seeded(0)).numpy()).all()


# --- train ---


@pytest.fixture
def fitted(good, monkeypatch):
    """Runs `train` up to the call of `fit`: the DDPM, the data and the other arguments."""

    def fitting(command):
        calls = []
        monkeypatch.setattr(cli, "fit", lambda ddpm, x0, steps, **more: calls.append((ddpm, x0, steps, more)) or torch.ones(steps))
        good(f"train {command} --out new")
        return calls[0]

    return fitting


def test_bytes_become_the_range_from_minus_1_to_1(fitted):
    grey, colour = np.load("grey.npy").astype(np.float64), np.load("colour.npy").astype(np.float64)
    for name, bytes_ in {"grey": grey[:, None], "colour": colour.transpose(0, 3, 1, 2)}.items():
        x0 = fitted(f"{name}.npy")[1]
        assert x0.dtype == torch.uint8  # one byte for each number, until it is in a batch
        np.testing.assert_allclose(numbers(x0, torch.float32), bytes_ / 255 * 2 - 1, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "<u2"])
def test_numbers_stay_as_they_are(fitted, dtype):
    points = np.array([[1, 2], [300, 4]], dtype)
    np.save("numbers.npy", points)
    ddpm, x0, _, _ = fitted("numbers.npy")
    assert x0.tolist() == points.tolist()
    assert ddpm.arguments["shift"] == [150.5, 3.0] and ddpm.arguments["scale"] == [149.5, 1.0]


@pytest.mark.parametrize("name", ["eight_gaussians", "two_moons", "swiss_roll", "checkerboard"])
def test_points_by_their_name(fitted, name):
    _, x0, _, _ = fitted(f"{name} --seed 3")
    assert torch.equal(x0, getattr(td.data, name)(50000, seeded(3)))


def test_digits_are_those_to_train_with(fitted):
    assert torch.equal(fitted("digits")[1], td.data.digits("train"))


@pytest.mark.parametrize(
    ("shape", "network", "arguments"),
    [
        ((5, 2), td.MLP, {"dim": 2, "width": 96, "depth": 3}),
        ((5, 7), td.MLP, {"dim": 7, "width": 96, "depth": 3}),
        ((5, 1, 8, 8), td.UNet, {"channels": 1, "width": 32, "levels": 2}),
        ((5, 3, 16, 16), td.UNet, {"channels": 3, "width": 32, "levels": 2}),
        ((5, 1, 28, 28), td.UNet, {"channels": 1, "width": 32, "levels": 3}),
        ((5, 3, 64, 64), td.UNet, {"channels": 3, "width": 32, "levels": 4}),
        ((5, 1, 8, 40), td.UNet, {"channels": 1, "width": 32, "levels": 4}),
    ],
)
def test_the_network_suits_the_data(fitted, shape, network, arguments):
    np.save("x.npy", np.full(shape, -0.5))
    ddpm, _, _, _ = fitted("x.npy")
    assert type(ddpm.model) is network and ddpm.model.arguments == arguments
    assert ddpm.clip == ((-1, 1) if network is td.UNet else None)  # pictures lie in a range, points do not


def test_defaults_are_those_in_the_help(fitted):
    ddpm, _, steps, more = fitted("points.npy")
    assert (ddpm.schedule.T, ddpm.predict, steps) == (200, "v", 3000)
    assert torch.equal(ddpm.schedule.beta, td.Schedule.lognormal(200).beta)
    pictures = fitted("grey.npy")[0]
    assert pictures.predict == "eps" and torch.equal(pictures.schedule.beta, td.Schedule.cosine(200).beta)
    settings = {"batch_size": 256, "lr": 0.002, "ema": 0.999, "seed": 0, "save_every": 1000}
    assert {key: more[key] for key in settings} == settings


@pytest.mark.parametrize("T", [50, 1000])
def test_no_sample_of_points_is_beyond_three_times_their_range(T, good):
    """After a training that is far too short, and in the units of the data."""
    x0 = 1000 * td.data.two_moons(2000, torch.Generator().manual_seed(0)).double().numpy() + [3000, 5000]
    np.save("far.npy", x0)
    good(f"train far.npy --out far --steps 60 --batch-size 128 --T {T}")
    good("sample far --n 1000 --out far-samples.npy")
    middle, reach = (x0.max(axis=0) + x0.min(axis=0)) / 2, np.ptp(x0, axis=0) / 2
    assert (np.abs(np.load("far-samples.npy") - middle) < 3 * reach).all()


def test_options_reach_the_training(fitted):
    options = "--steps 7 --batch-size 5 --lr 0.1 --ema 0.5 --seed 9 --T 20 --schedule linear --predict v --width 16 --save-every 3"
    ddpm, _, steps, more = fitted(f"points.npy {options}")
    assert (ddpm.predict, ddpm.model.arguments["width"], steps) == ("v", 16, 7)
    assert torch.equal(ddpm.schedule.beta, td.Schedule.linear(20, 0.005, 0.999).beta)
    settings = {"batch_size": 5, "lr": 0.1, "ema": 0.5, "seed": 9, "save_every": 3}
    assert {key: more[key] for key in settings} == settings


def test_training_is_fit(good):
    assert good(f"train points.npy --out new {TINY} 25 --seed 3").startswith("trained for 2 steps, loss ")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ddpm = td.DDPM(td.MLP(2, 8), td.Schedule.lognormal(25), "v", **size("points.npy"))
    losses = td.fit(ddpm, torch.from_numpy(np.load("points.npy")).float(), 2, batch_size=4, seed=3, progress=False)
    assert torch.equal(weights("new"), torch.cat([p.detach().flatten() for p in ddpm.parameters()]))
    assert f"loss {losses.mean():.4f}" in good(f"train points.npy --out again {TINY} 25 --seed 3")


@pytest.mark.parametrize("data", ["two_moons", "points.npy"])
def test_a_stopped_run_goes_on_to_the_same_weights_with_its_settings(good, run, monkeypatch, data):
    settings = "--batch-size 4 --width 8 --T 5 --predict x0 --seed 3 --lr 0.1 --ema 0.5 --save-every 2 --steps 6"
    good(f"train {data} --out whole {settings}")
    forward, calls = td.DDPM.forward, []

    def stopping(*args):
        calls.append(0)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return forward(*args)

    monkeypatch.setattr(td.DDPM, "forward", stopping)
    assert run(f"train {data} --out parts {settings}")[0] == 130
    assert not torch.equal(weights("parts"), weights("whole"))
    good(f"train {data} --out parts --resume --steps 6")
    assert torch.equal(weights("parts"), weights("whole")) and len(calls) == 4 + 4  # steps 3 to 6


def test_labels_are_told_and_what_is_drawn_is_what_was_asked_for(good):
    """A file of labels, those of the digits and of the ring; a run that goes on; the samples are those of `given`."""
    good(f"train points.npy --labels labels.npy --out new {TINY} 25 --seed 3")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        ddpm = td.DDPM(td.MLP(2, 8, condition=td.Labels(3)), td.Schedule.lognormal(25), "v", **size("points.npy"))
    x0 = torch.from_numpy(np.load("points.npy")).float()
    td.fit(ddpm, x0, 2, batch_size=4, seed=3, progress=False, c=torch.arange(40) % 3)
    assert torch.equal(weights("new"), torch.cat([p.detach().flatten() for p in ddpm.parameters()]))
    good("train points.npy --labels labels.npy --out new --resume --steps 4")
    good("sample new --label 2 --guidance 3 --out x.npy --n 5 --seed 1")
    asked = td.load("new").given(2, guidance=3.0).sample((5, 2), generator=seeded(1))
    assert (np.load("x.npy") == asked.numpy()).all()
    good("sample new --label 2 --out x.npy --n 5 --seed 1")
    assert (np.load("x.npy") == td.load("new").given(2).sample((5, 2), generator=seeded(1)).numpy()).all()
    for name, classes in (("digits", 10), ("eight_gaussians", 8)):
        good(f"train {name} --labels --out {name} {TINY} 5")
        assert td.load(name).model.condition.classes == classes


# --- bound ---


def table(text):
    title, *rows = text.splitlines()
    return title, {row[:24].strip(): float(row[24:]) for row in rows}


def test_bound_is_that_of_vlb(good):
    """Ten rows of L_t for the steps 2 to 25: each is the sum of its columns."""
    title, rows = table(good("bound points --data points.npy --n 30 --seed 3"))
    x0 = torch.from_numpy(np.load("points.npy")).float()[:30]
    terms = td.load("points").vlb(x0, generator=seeded(3))
    bits = {name: td.bits_per_dim(getattr(terms, name), 2) for name in ("L_0", "L_t", "L_T", "total")}
    assert "2 numbers" in title and "30 examples of points.npy" in title
    assert rows.pop("total") == pytest.approx(bits["total"].mean().item(), abs=1e-5)
    assert rows.pop("standard error") == pytest.approx(bits["total"].std().item() / 30**0.5, abs=1e-5)
    assert rows.pop("L_0    t = 1") == pytest.approx(bits["L_0"].mean().item(), abs=1e-5)
    assert rows.pop("L_T    t = 25") == pytest.approx(bits["L_T"].mean().item(), abs=1e-5)
    steps = []
    for label, value in rows.items():
        first, last = map(int, re.fullmatch(r"L_t    t = (\d+)\.\.(\d+)", label).groups())
        assert value == pytest.approx(bits["L_t"][:, first - 2 : last - 1].sum(dim=1).mean().item(), abs=1e-5)
        steps += range(first, last + 1)
    assert steps == list(range(2, 26)) and len(rows) == 10


@pytest.mark.parametrize("options", ["points --data points.npy", "grey --data grey.npy", "grey --data grey.npy --levels 256"])
def test_the_rows_sum_to_the_total(good, options):
    _, rows = table(good(f"bound {options}"))
    total, _ = rows.pop("total"), rows.pop("standard error")
    assert sum(rows.values()) == pytest.approx(total, abs=1e-4)


def test_bound_of_one_step(good):
    good("train points.npy --out short --steps 2 --width 8 --T 1")
    _, rows = table(good("bound short --data points.npy"))
    assert list(rows) == ["L_0    t = 1", "L_T    t = 1", "total", "standard error"]


def test_one_example_has_no_standard_error(good):
    title, rows = table(good("bound points --data points.npy --n 1"))
    assert "1 examples" in title and "standard error" not in rows and np.isfinite(list(rows.values())).all()


def test_levels_make_the_bound_that_of_a_probability(good):
    _, rows = table(good("bound grey --data grey.npy --levels 256"))
    x0 = torch.from_numpy(np.load("grey.npy"))[:, None] / 127.5 - 1
    terms = td.load("grey").vlb(x0, 256, generator=seeded(0))
    assert rows["L_0    t = 1"] == pytest.approx(td.bits_per_dim(terms.L_0.mean(), 64).item(), abs=1e-4)
    assert rows["L_0    t = 1"] > 0 and rows != table(good("bound grey --data grey.npy"))[1]


def test_the_seed_decides_the_bound(good):
    first, second, again = (good(f"bound points --data points.npy --seed {seed}") for seed in (1, 2, 1))
    assert first == again != second


def test_bound_of_the_digits_is_that_of_unseen_ones_with_their_17_levels(good, monkeypatch):
    monkeypatch.setattr(cli, "load_pretrained", lambda _: td.load("grey"))
    title, rows = table(good("bound digits --n 20"))
    terms = td.load("grey").vlb(td.data.digits("test")[:20], 17, generator=seeded(0))
    assert "20 examples of digits" in title
    assert rows["total"] == pytest.approx(td.bits_per_dim(terms.total.mean(), 64).item(), abs=1e-4)


def test_bound_of_points_is_not_that_of_the_ones_to_train_with(good, monkeypatch):
    seen = []
    terms = td.VLB(torch.zeros(1000), torch.zeros(1000, 24), torch.zeros(1000))
    monkeypatch.setattr(cli, "load_pretrained", lambda _: td.load("points"))
    monkeypatch.setattr(td.DDPM, "vlb", lambda _, x0, *__, **___: seen.append(x0) or terms)
    good("bound two_moons")
    assert seen[0].shape == (1000, 2) and torch.isin(seen[0], td.data.two_moons(50000, seeded(0))).float().mean() < 0.5


# --- help ---


@pytest.mark.parametrize("command", OPTIONS)
def test_help_names_each_option_and_an_example(run, command):
    code, out, err = run(f"{command} --help")
    assert (code, err) == (0, "") and f"  tinyddpm {command} " in out
    assert set(re.findall(r"^  (--[\w-]+)", out, re.M)) == set(OPTIONS[command].split())


def test_help_names_each_command(run):
    code, out, err = run("--help")
    assert (code, err) == (0, "") and all(re.search(rf"^    {command}  ", out, re.M) for command in OPTIONS)


def test_the_examples_in_the_help_are_commands(run, monkeypatch):
    calls = []
    for command in OPTIONS:
        monkeypatch.setattr(cli, f"_{command}", lambda _, command=command: calls.append(command))
    examples = [re.split(r"\s{2,}", line.strip())[0] for line in run("--help")[1].split("examples:\n")[1].splitlines()]
    for example in examples:
        assert run(example.removeprefix("tinyddpm ")) == (0, "", "")
    assert calls == [example.split()[1] for example in examples] and set(calls) == set(OPTIONS)


# --- errors ---

ERRORS = [
    ("", "required: COMMAND"),
    ("paint", "invalid choice: 'paint'"),
    ("sample", "required: model, --out"),
    ("sample points", "required: --out"),
    ("sample points --out x.png --colour", "unrecognized arguments: --colour"),
    ("sample points --out x.png 'two\nlines'", "unrecognized arguments: two lines"),
    ("sample nobody --out x.png", "MODEL nobody is not a pretrained model (digits, "),
    ("draw", "required: prompt, --out"),
    (
        "draw 'a rad circle' --model latent --out x.png",
        "has the unknown word 'rad': the nearest known word is 'red'",
    ),
    ("draw 'a red red circle' --model latent --out x.png", "has 4 words, expected at most 3"),
    ("draw circle --model latent --out x.jpg", "--out x.jpg ends in '.jpg', expected .png or .npy"),
    ("draw circle --model latent --out nowhere/x.png", "--out nowhere/x.png cannot be written"),
    ("draw circle --model points --out x.png", "--model points draws nothing that is said"),
    (
        "draw circle --model latent --out x.png --guidance 1 --negative a",
        "negative is given with guidance = 1",
    ),
    ("draw circle --model latent --out x.png --negative cirkle", "has the unknown word 'cirkle'"),
    ("draw circle --model latent --out x.png --strength 0.5", "give --start too"),
    ("draw circle --model latent --out x.png --start start.png --strength 2", "strength = 2.0 is outside (0, 1]"),
    ("draw circle --model latent --out x.png --start missing.png", "No such file or directory: "),
    ("draw circle --model latent --out x.png --start points.npy", "cannot identify image file"),
    (
        "draw circle --model latent --out x.png --start large.png",
        "start has shape (1, 3, 32, 32), expected (1, 3, 16, 16)",
    ),
    ("draw circle --model latent --out x.png --steps 31", "steps = 31 is above T = 30"),
    ("draw circle --model latent --out x.png --n 0", "argument --n: 0 is not a whole number of 1 or more"),
    ("sample latent --out x.png --shape 4 2 2", "--shape is for models of other things than codes"),
    ("sample latent --out x.png --label 1", "--label 1 says nothing to latent"),
    ("bound latent --data points.npy", "latent has a bound on its codes alone"),
    ("sample plain --out x.png", "there is no checkpoint in plain"),
    ("sample weights.pt --out x.png", "weights.pt is a file, expected the folder of a checkpoint"),
    ("sample truncated --out x.png", "is damaged"),
    ("sample pickled --out x.png", "is not a safetensors file"),
    ("sample no-json --out x.png", "no-json/ddpm.json is damaged"),
    ("sample no-weights --out x.png", "no-weights lacks weights-"),
    ("sample foreign --out x.png --shape 2", "foreign holds the weights of a Linear"),
    ("sample saved --out x.png", "give --shape"),
    ("sample saved --out x.npy --shape 3", "expected (batch, 2)"),
    ("sample points --out x.png --shape 1 8 8", "shift has shape (2,), expected that of an example, (1, 8, 8), or ()"),
    ("sample points --out x.png --shape 0", "argument --shape: 0 is not a whole number of 1 or more"),
    ("sample points --out x.png --label 1", "--label 1 says nothing to points, which was trained without labels"),
    ("sample told --out x.png --label 3", "--label 3 is outside 0..2, the classes of told"),
    ("sample told --out x.png --label -1", "--label -1 is outside 0..2, the classes of told"),
    (f"sample told --out x.png --label {10**30}", "is outside 0..2, the classes of told"),
    ("sample told --out x.png --label 1.5", "argument --label: invalid int value: '1.5'"),
    ("sample told --out x.png --label", "argument --label: expected one argument"),
    ("sample told --out x.png --label 1 --guidance nan", "guidance = nan is outside (-inf, inf)"),
    ("sample told --out x.png --label 1 --guidance two", "argument --guidance: invalid float value: 'two'"),
    ("sample told --out x.png --label 1 --guidance 1e30", "are NaN or infinite"),
    ("sample points --out x.png --guidance 2", "--guidance is for what a model is told: give --label too"),
    ("sample points --out x.png --label seven", "argument --label: invalid int value: 'seven'"),
    ("train two_moons --labels --out new", "--labels needs a file .npy of integers: two_moons has no labels of its own"),
    ("train points.npy --labels line.npy --out new", "--labels line.npy has shape (5,) and dtype float64, expected (40,) integers"),
    ("train points.npy --labels words.npy --out new", "--labels words.npy has shape (2,) and dtype <U1, expected (40,) integers"),
    ("train points.npy --labels short.npy --out new", "--labels short.npy has shape (39,) and dtype int64, expected (40,) "),
    ("train points.npy --labels one-less.npy --out new", "--labels one-less.npy has -1 in row 0, expected labels in 0..999999"),
    ("train points.npy --labels large.npy --out new", "has 1000000000000 in row 0, expected labels in 0..999999"),
    ("train points.npy --labels labels.csv --out new", "--labels labels.csv is no file .npy of integers"),
    ("train points.npy --labels missing.npy --out new", "No such file or directory: 'missing.npy'"),
    ("train --labels digits --out new", "required: DATA"),
    ("train points.npy --resume --out told", "the run in told was told labels: give --labels"),
    ("train points.npy --labels one-more.npy --resume --out told", "one-more.npy has 3 in row 2, expected labels in 0..2"),
    ("train points.npy --labels turned.npy --resume --out told", "checksum of c (what is told) = "),
    ("train points.npy --labels points.npy --resume --out points", "the run in points was told no labels: leave out --labels"),
    ("sample solid --out x.png", "samples of shape (3,) make no picture: use --out samples.npy"),
    ("sample points --out x.jpg", "--out x.jpg ends in '.jpg', expected .png or .npy"),
    ("sample points --out x", "--out x ends in '', expected .png or .npy"),
    ("sample points --out ''", "expected .png or .npy"),
    ("sample points --out nowhere/x.png", "--out nowhere/x.png cannot be written"),
    ("sample points --out points.npy/x.png", "--out points.npy/x.png cannot be written"),
    ("sample points --out folder.npy", "--out folder.npy cannot be written"),
    ("sample points --out x.png --n 0", "argument --n: 0 is not a whole number of 1 or more"),
    ("sample points --out x.png --n=-1", "argument --n: -1 is not"),
    ("sample points --out x.png --n many", "argument --n: many is not"),
    ("sample points --out x.npy --n 99999999999999", "--n 99999999999999 needs 8e+05 GB for x.npy, and "),
    ("sample grey --out x.png --n 9999999", "9999999 samples make a picture of 28468x28459 pixels, expected at most 100 million"),
    ("sample points --out x.png --steps 0", "argument --steps: 0 is not"),
    ("sample points --out x.png --steps 26", "steps = 26 is above T = 25"),
    ("sample points --out x.png --steps 5 --eta 2", "eta = 2.0 is outside 0..1"),
    ("sample points --out x.png --steps 5 --eta nan", "eta = nan is outside"),
    ("sample points --out x.png --eta 0.5", "give --steps too"),
    ("sample points --out x.png --seed 1.5", "argument --seed: 1.5 is not a whole number in 0..2**63 - 1"),
    ("sample points --out x.png --seed 99999999999999999999", "is not a whole number in 0..2**63 - 1"),
    ("train", "required: DATA, --out"),
    ("train points.npy", "required: --out"),
    ("train faces --out new", "DATA faces is not one of digits, "),
    ("train points.npy --out=", "--out has no name, expected a folder"),
    ("train missing.npy --out new", "No such file or directory: 'missing.npy'"),
    ("train folder.npy --out new", "the folder folder.npy holds no pictures"),
    ("train objects.npy --out new", "objects.npy is no whole file .npy of numbers"),
    ("train pickle.npy --out new", "pickle.npy is no whole file .npy of numbers"),
    ("train archive.npy --out new", "archive.npy is no whole file .npy of numbers"),
    ("train zip.npy --out new", "zip.npy is no whole file .npy of numbers"),
    ("train empty.npy --out new", "empty.npy is no whole file .npy of numbers"),
    ("train cut.npy --out new", "cut.npy is no whole file .npy of numbers"),
    ("train none.npy --out new", "none.npy has shape (0, 2)"),
    ("train number.npy --out new", "number.npy has shape ()"),
    ("train complex.npy --out new", "dtype complex128, expected numbers"),
    ("train words.npy --out new", "expected numbers"),
    ("train nan.npy --out new", "nan.npy[1] has an entry that is NaN or infinite"),
    ("train inf.npy --out new", "inf.npy has numbers from 0 to 1e+300, more than float32 can hold"),
    ("train line.npy --out new", "line.npy has shape (5,), expected points (n, d) or pictures"),
    (
        "train cube.npy --out new",
        "cube.npy has shape (5, 4, 4): a picture in colour is (1, 5, 4, 4), and grey",
    ),
    ("train unclear.npy --out new", "unclear.npy has shape (9, 8, 8, 8): is that 8 channels of 8x8 pixels (--channels first), or "),
    ("train row.npy --out new", "row.npy has bytes of shape (3, 8), expected (n, height, width)"),
    (
        "train bright.npy --out new",
        "bright.npy has numbers from 0 to 299, expected pictures as numbers in [-1, 1], in ",
    ),
    (
        "train photos --out photos --resume --size 8",
        "--size cannot be chosen with --resume: the run in photos",
    ),
    ("train points.npy --size 8 --out new", "--size is for a folder of pictures, and points.npy is none"),
    ("train photos --labels --out new", "photos/0.png is in no subfolder of photos, whose name would be its label"),
    ("train plain --out new", "the folder plain holds no pictures"),
    ("train grey.npy --out new --width 3", "width = 3 is not a multiple of 8"),
    ("train points.npy --out new --width 0", "argument --width: 0 is not"),
    ("train points.npy --out new --steps 0", "argument --steps: 0 is not"),
    ("train points.npy --out new --T 0", "argument --T: 0 is not"),
    ("train points.npy --out new --batch-size 0", "argument --batch-size: 0 is not"),
    ("train points.npy --out new --save-every 0", "argument --save-every: 0 is not"),
    ("train points.npy --out new --lr -1", "lr = -1.0 is outside (0, inf)"),
    ("train points.npy --out new --lr nan", "lr = nan is outside (0, inf)"),
    ("train points.npy --out new --ema 1", "ema = 1.0 is outside [0, 1)"),
    ("train points.npy --out new --seed -1", "argument --seed: -1 is not a whole number in 0..2**63 - 1"),
    (f"sample points --out x.npy --seed {2**63}", "is not a whole number in 0..2**63 - 1"),
    ("train points.npy --out points --resume --lr 0.1 --seed 7", "--lr, --seed cannot be chosen with --resume"),
    ("train points.npy --out points --resume --T 5 --batch-size 4", "--batch-size, --T cannot be chosen with --resume"),
    ("train points.npy --out new --schedule square", "invalid choice: 'square'"),
    ("train points.npy --out new --predict noise", "invalid choice: 'noise'"),
    ("train points.npy --out points", "points has a checkpoint already: resume it, remove it, or name another folder"),
    ("train points.npy --out weights.pt", "the checkpoint could not be written"),
    ("train points.npy --out weights.pt/new", "the checkpoint could not be written"),
    ("train points.npy --out new --resume", "there is no checkpoint in new"),
    ("train points.npy --out plain --resume", "there is no checkpoint in plain"),
    ("train points.npy --out saved --resume", "holds a network, but no training to resume"),
    ("train points.npy --out truncated --resume", "is damaged"),
    ("train points.npy --out points --resume --steps 1", "is after step 2, expected at most steps = 1"),
    ("train solid.npy --out points --resume", "data = [40, 2] in the checkpoint in points, expected [40, 3]"),
    ("bound", "required: model"),
    ("bound nobody", "MODEL nobody is not a pretrained model"),
    ("bound points", "points is a folder, so that its data are not known: give --data"),
    ("bound truncated --data points.npy", "is damaged"),
    ("bound points --data missing.npy", "No such file or directory: 'missing.npy'"),
    ("bound points --data nan.npy", "NaN or infinite"),
    ("bound points --data none.npy", "none.npy has shape (0, 2)"),
    ("bound points --data number.npy", "number.npy has shape ()"),
    ("bound points --data grey.npy", "grey.npy has examples of shape (1, 8, 8), expected (2,) as points"),
    ("bound points --data points.npy --levels 17", "levels = 17 with a scale: levels lie in [-1, 1]"),
    ("bound grey --data grey.npy --levels 17", "which is none of 17 equally spaced levels"),
    ("bound grey --data grey.npy --levels 1", "levels = 1 is below 2"),
    ("bound grey --data grey.npy --levels 0", "argument --levels: 0 is not"),
    ("bound points --data points.npy --n 0", "argument --n: 0 is not"),
    ("bound points --data points.npy --n=-3", "argument --n: -3 is not"),
]


def assert_one_line(result, message):
    code, out, err = result
    assert (code, out) == (2, "") and re.fullmatch(r"tinyddpm( draw| sample| train| bound)?: error: .+\n", err)
    assert message in err


@pytest.mark.parametrize(("command", "message"), ERRORS, ids=[command or "nothing" for command, _ in ERRORS])
def test_an_error_is_one_line_and_changes_nothing(run, command, message):
    def here():
        return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}

    before = here()
    assert_one_line(run(command), message)
    assert here() == before and not Path("executed").exists() and not Path("new").exists()


def test_the_pickles_of_these_tests_would_be_seen(run):
    with contextlib.suppress(Exception):
        np.load("objects.npy", allow_pickle=True)
    assert Path("executed").is_dir()


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(28, "No space left on device")], ids=["forbidden", "full"]
)
def test_a_folder_that_cannot_be_written_is_one_line(run, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(td.checkpoint, "_replace", refuse)
    assert_one_line(run(f"train points.npy --out new {TINY} 4"), error.strerror)


def test_a_place_that_cannot_be_written_is_found_before_the_work(run, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(td.DDPM, "sample", lambda *_, **__: pytest.fail("it has sampled"))
    assert_one_line(run("sample points --out x.npy"), "--out x.npy cannot be written")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("out", ["x.npy", "x.png"])
def test_a_full_disk_is_one_line(run, out):
    Path(out).symlink_to("/dev/full")
    assert_one_line(run(f"sample points --out {out}"), "")


def test_too_little_memory_is_one_line(run, monkeypatch):
    def fail(*_, **__):
        raise MemoryError("Unable to allocate 9. PiB")

    monkeypatch.setattr(td.DDPM, "sample", fail)
    assert_one_line(run("sample points --out x.npy"), "Unable to allocate 9. PiB")


def test_a_loss_that_is_infinite_is_one_line(run):
    assert_one_line(run("train points.npy --out new --lr 1e30 --steps 40 --width 8"), "try an lr below 1e+30")


def test_without_scikit_learn_the_digits_say_so(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert_one_line(run("train digits --out new"), "pip install 'tinyddpm[book]'")


@pytest.mark.parametrize("tqdm", [True, False], ids=["with-tqdm", "without"])
def test_a_terminal_shows_bars_where_it_can(run, monkeypatch, tqdm):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
        monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    code, _, err = run("sample points --out x.npy")
    assert code == 0 and ("sampling: 100%" in err) is tqdm


@pytest.mark.parametrize("command", ["sample points --out x.npy", "bound points --data points.npy"])
def test_ctrl_c_is_130_without_a_traceback(run, monkeypatch, command):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(td.DDPM, "eps", stop)
    assert run(command) == (130, "", "tinyddpm: stopped\n") and not Path("x.npy").exists()


def shell(command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "tinyddpm", *command.split()], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_last_step_and_says_how_to_go_on(good, which):
    """The command that it says, run as it is, ends in the weights of a run that nobody stopped."""
    settings = "--batch-size 4 --width 8 --T 5 --save-every 5000 --steps"
    Path("my data").mkdir()
    shutil.copy("points.npy", "my data/points.npy")
    command = [sys.executable, "-m", "tinyddpm", "train", "my data/points.npy", "--labels", "labels.npy", "--out", "new"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*command, *f"{settings} 100000".split()], env=environment, stderr=subprocess.PIPE, text=True)
    while not Path("new/ddpm.json").exists() or td.checkpoint.read("new").run is None:
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(which)
    _, err = process.communicate(timeout=60)
    found = re.fullmatch(r"tinyddpm: stopped after step (\d+), which is saved in new; to go on: tinyddpm (.+)\n", err)
    assert found and process.returncode == 128 + which
    step = int(found[1])
    assert td.checkpoint.read("new").run.step == step > 0
    assert found[2] == "train 'my data/points.npy' --out new --labels labels.npy --resume"
    good(f"{found[2]} --steps {step + 2}")
    assert td.checkpoint.read("new").run.step == step + 2


def test_a_signal_while_sampling_leaves_nothing_half(run, monkeypatch):
    """Nor does a disk that is full in the middle: what was there is as it was."""
    Path("x.npy").write_bytes(b"before")
    sample, calls = td.DDPM.sample, []

    def stopping(*args, **more):
        calls.append(0)
        if len(calls) == 2:
            raise errors.pop()
        return sample(*args, **more)

    monkeypatch.setattr(td.DDPM, "sample", stopping)
    errors = [OSError(28, "No space left on device"), KeyboardInterrupt(signal.SIGTERM)]
    before = {*Path().rglob("*")}
    assert run("sample points --out x.npy --n 6000") == (143, "", "tinyddpm: stopped\n")
    calls.clear()
    assert_one_line(run("sample points --out x.npy --n 6000"), "No space left on device")
    assert {*Path().rglob("*")} == before and Path("x.npy").read_bytes() == b"before"


@pytest.mark.parametrize("name", ["x.npy", "x.PNG", "x.NPY"])
def test_many_samples_are_made_in_parts_from_one_generator(good, name):
    good(f"sample points --out {name} --n 5003")
    draw, model = seeded(0), td.load("points")
    x = torch.cat([model.sample((5000, 2), generator=draw), model.sample((3, 2), generator=draw)])
    if name.endswith("PNG"):
        z = (x - torch.tensor(model.arguments["shift"])) / torch.tensor(model.arguments["scale"])
        assert (pixels(name) == td.pictures.density(z)).all()
    else:
        np.save("expected.npy", x.numpy())
        assert Path(name).read_bytes() == Path("expected.npy").read_bytes()


def test_points_of_any_size_come_back_in_their_units(good):
    ring = td.data.eight_gaussians(2000, seeded(0)).numpy()
    np.save("far.npy", 1000 * ring + [3000, 5000])
    good("train far.npy --out new --steps 300 --T 50 --width 32")
    good("sample new --out x.npy --n 2000")
    x = np.load("x.npy")
    assert np.abs(x.mean(0) - [3000, 5000]).max() < 200 and np.abs(x.std(0) - 1000).max() < 200
    good("sample new --out x.png --n 2000")
    assert 0.02 < (pixels("x.png") < 255).mean() < 0.9


def test_what_was_trained_on_a_folder_goes_on_is_drawn_and_has_a_bound(run):
    code, _, err = run(f"train photos --out new {TINY} 3")
    assert (code, err) == (0, "tinyddpm: photos: 4 pictures in grey of 8x8\n")
    Image.open("photos/0.png").resize((40, 50)).save("photos/0.png")  # other pictures, still in the shape of the run
    assert "with other data" in run("train photos --out new --resume --steps 3")[2]
    assert run("sample new --out x.png")[0] == 0 and pixels("x.png").shape == (8 * 73, 8 * 73)
    assert run("bound new --data photos --levels 256")[0] == 0


def test_a_model_of_diffusers_is_one(run):
    levels = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
    network = td.interchange.UNet2D(sample_size=8, in_channels=1, out_channels=1, norm_num_groups=4, **levels)
    td.interchange.to_diffusers(td.DDPM(network, td.Schedule.cosine(5)), "theirs")
    assert run("sample theirs --out x.npy --n 3") == (0, "3 samples are in x.npy\n", "")
    expected = td.interchange.load_diffusers("theirs").sample((3, 1, 8, 8), generator=seeded(0))
    assert (np.load("x.npy") == expected.numpy()).all()
    assert run("bound theirs --data grey.npy --levels 256")[0] == 0


def test_a_folder_of_the_name_of_a_model(run):
    os.mkdir("digits")
    _, _, err = run("sample digits --out x.npy --n 2 --steps 2")
    assert "not the folder digits here, which holds no model, but the one of that name" in err
    assert np.load("x.npy").shape == (2, 1, 8, 8)
    shutil.rmtree("digits")
    shutil.copytree("points", "digits")
    _, _, err = run("sample digits --out x.npy --n 2")
    assert "the folder digits here, and not the one" in err and np.load("x.npy").shape == (2, 2)


def test_a_warning_is_one_line(run):
    np.save("still.npy", np.full((9, 5, 5), 128, dtype=np.uint8))
    code, _, err = run(f"train still.npy --out new {TINY} 3")
    assert (
        code == 0
        and err == "tinyddpm: the data have examples that are all the same, up to rounding: there is nothing else to learn\n"
    )


def test_without_a_terminal_a_line_now_and_then(run, monkeypatch):
    monkeypatch.setattr(_output, "PAUSE", 0)
    assert re.search(r"^tinyddpm: step 2 of 2, loss \d\.\d{4}$", run(f"train points.npy --out new {TINY} 3")[2], re.M)
    assert "tinyddpm: 0 of 7 samples are there, the next are at t = 25 of 25\n" in run("sample points --out x.npy --n 7")[2]


def test_output_in_an_encoding_that_lacks_the_name(run):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252", "WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "tinyddpm"]
    done = subprocess.run([*command, "sample", "points", "--out", "图.png"], env=environment, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"5000 samples are in \\u56fe.png\n") and Path("图.png").exists()
    done = subprocess.run([*command, "train", "points.npy", "--out", "new"], env=environment, capture_output=True)
    assert done.returncode == 2 and b"WORLD_SIZE = 2 is set in the environment" in done.stderr and done.stderr.count(b"\n") == 1


def test_as_a_process_it_does_the_same(good):
    done = shell("sample points --out process.npy --n 7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "7 samples are in process.npy\n", "")
    good("sample points --out x.npy --n 7")
    assert Path("process.npy").read_bytes() == Path("x.npy").read_bytes()


def test_as_a_process_it_fails_with_2(run):
    done = shell("sample nobody --out x.png")
    assert_one_line((done.returncode, done.stdout, done.stderr), "MODEL nobody is not a pretrained model")
