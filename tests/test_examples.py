"""Data that stay where they are: arrays on the disk and Datasets, drawn from bit for bit, known again, and looked at."""

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import tinyddpm as td
from tinyddpm import checkpoint, examples
from tinyddpm.engine import Stopped

POINTS = td.data.eight_gaussians(300, torch.Generator().manual_seed(0)).numpy()
BYTES = np.random.default_rng(1).integers(0, 256, (40, 1, 4, 4), dtype=np.uint8)


class Of(Dataset):
    """Rows of an array, and whatever is done to each."""

    def __init__(self, array, change=lambda row, i: row):
        self.array, self.change, self.read = array, change, []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, i):
        self.read.append(i)
        return self.change(self.array[i], i)


def shaken(row, _):
    """Another one at each look, by all three generators."""
    return torch.from_numpy(row) + 0.1 * torch.randn(2) + 0.1 * random.gauss(0, 1) + 0.1 * float(np.random.normal())


def on_disk(array, folder):
    np.save(folder / "x.npy", array)
    return np.load(folder / "x.npy", mmap_mode="r")


def fresh(network=lambda: td.MLP(2, 8, 1), **more):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return td.DDPM(network(), td.Schedule.cosine(20), **more)


def unet():
    return fresh(lambda: td.UNet(1, 8, 1))


def trained(x0, ddpm=None, steps=6, **more):
    ddpm = ddpm or fresh()
    td.fit(ddpm, x0, **{"steps": steps, "batch_size": 8, "lr": 0.01, "progress": False, "seed": 5, **more})
    return [p.detach().clone() for p in ddpm.parameters()]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


# ---- what is drawn ----


def test_an_array_on_the_disk_in_memory_and_a_dataset_train_alike_bit_for_bit(tmp_path):
    one = trained(POINTS)
    assert same(one, trained(on_disk(POINTS, tmp_path))) and same(one, trained(Of(POINTS)))
    assert same(one, trained(Of(POINTS, lambda row, _: torch.from_numpy(row)), workers=2))
    assert not same(one, trained(POINTS, seed=6)) and not same(one, trained(POINTS + np.float32(0.01)))


def test_a_batch_is_drawn_by_the_seed_and_the_number_of_the_step():
    drawn = examples.asked_for("x0", POINTS, 8, seed=5, step=3, mine=slice(0, 8), workers=0)
    for step in (3, 4, 5):
        x, told, rows = next(drawn)
        assert rows.tolist() == np.random.default_rng([5, step]).integers(300, size=8).tolist()
        assert (x.numpy() == POINTS[rows]).all() and told is None


def test_each_process_reads_its_part_alone():
    parts = [Of(POINTS), Of(POINTS)]
    drawn = [examples.asked_for("x0", x0, 8, 5, 0, mine, 0) for x0, mine in zip(parts, (slice(0, 4), slice(4, 8)), strict=True)]
    (a, _, _), (b, _, _) = (next(source) for source in drawn)
    whole, _, rows = next(examples.asked_for("x0", POINTS, 8, 5, 0, slice(0, 8), 0))
    assert parts[0].read == rows[:4].tolist() and parts[1].read == rows[4:].tolist() and torch.equal(torch.cat([a, b]), whole)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (">u2", 65535)])
@pytest.mark.parametrize("kind", ["array", "tensor", "dataset"])
def test_pixels_become_numbers_from_minus_1_to_1(dtype, top, kind):
    pixels = (BYTES.astype(np.int64) * (top // 255)).astype(dtype)
    numbers = (pixels.astype(np.float64) / top * 2 - 1).astype(np.float32)
    put = {"array": lambda x: x, "tensor": lambda x: torch.from_numpy(x.astype(x.dtype.newbyteorder("="))), "dataset": Of}[kind]
    for a, b in zip(trained(put(pixels), unet()), trained(put(numbers), unet()), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_pictures_of_pillow_and_pairs_with_a_label():
    labels = np.arange(40) % 3
    pairs = Of(BYTES, lambda row, i: (Image.fromarray(row[0]), int(labels[i])))
    told = [fresh(lambda: td.MLP(16, 8, 1, condition=td.Labels(3))) for _ in range(3)]
    with pytest.raises(ValueError, match=r"^xt has shape \(8, 1, 4, 4\), expected \(batch, 16\)$"):
        trained(pairs, told[0])
    flat = Of(BYTES, lambda row, i: (torch.from_numpy(row.reshape(-1)), int(labels[i])))
    by_pairs, by_c = trained(flat, told[1]), trained(Of(BYTES.reshape(40, -1)), told[2], c=torch.from_numpy(labels))
    assert same(by_pairs, by_c)
    assert same(trained(Of(BYTES, lambda row, i: Image.fromarray(row[0])), unet()), trained(BYTES, unet()))


def test_a_network_without_a_condition_leaves_labels_aside():
    assert same(trained(POINTS), trained(TensorDataset(torch.from_numpy(POINTS), torch.zeros(300).long())))


def test_a_dataset_may_be_random_and_neither_workers_nor_a_kill_change_what_it_gives(tmp_path):
    state = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].copy()
    one = trained(Of(POINTS, shaken))
    assert random.getstate() == state[0] and torch.equal(torch.get_rng_state(), state[1])
    assert (np.random.get_state()[1] == state[2]).all()
    assert same(one, trained(Of(POINTS, shaken), workers=2)) and not same(one, trained(POINTS))
    with pytest.raises(InterruptedError):
        trained(Of(POINTS, shaken), checkpoint=tmp_path / "run", save_every=2, callback=die_at(5))
    assert checkpoint.read(tmp_path / "run").run.step == 4
    assert same(one, trained(Of(POINTS, shaken), checkpoint=tmp_path / "run", resume=tmp_path / "run", workers=1))


def die_at(last):
    def callback(step, _):
        if step == last:
            raise InterruptedError

    return callback


def test_a_dataset_of_one_tensor_is_of_its_rows():
    assert same(trained(POINTS), trained(TensorDataset(torch.from_numpy(POINTS))))


def test_longer_numbers_than_pytorch_has_are_rounded():
    assert same(trained(POINTS), trained(POINTS.astype("g")))


@pytest.mark.parametrize("mode", ["1", "P"])
def test_pictures_of_a_palette_are_what_is_seen(mode):
    """And not the numbers by which the palette has them."""
    right = [Image.fromarray(row[0]).convert(mode) for row in BYTES]
    seen = np.stack([np.asarray(image.convert("L"))[None] for image in right])
    seen = seen if mode == "1" else np.repeat(seen, 3, axis=1)
    network = lambda: td.UNet(seen.shape[1], 8, 1)  # noqa: E731
    flipped = [image.remap_palette([*range(255, -1, -1)]) if mode == "P" else image for image in right]
    assert same(trained(seen, fresh(network)), trained(flipped, fresh(network)))


def test_what_is_told_besides_matters_to_a_condition_alone():
    named = Of(POINTS, lambda row, i: (row, "cat"))
    assert same(trained(POINTS), trained(named))
    with pytest.raises(TypeError, match=r"^c\[0\] = 'cat' is of type str, expected an integer$"):
        trained(named, fresh(lambda: td.MLP(2, 8, 1, condition=td.Labels(3))))


def test_labels_may_be_an_array():
    labels = np.arange(len(POINTS)) % 3
    both = [fresh(lambda: td.MLP(2, 8, 1, condition=td.Labels(3))) for _ in range(2)]
    assert same(trained(POINTS, both[0], c=labels), trained(POINTS, both[1], c=torch.from_numpy(labels)))


# ---- the look at them ----


@pytest.mark.parametrize("kind", ["tensor", "array", "disk", "dataset"])
def test_what_a_look_finds(kind, tmp_path):
    array = POINTS[:60]  # few enough for a Dataset to be looked at as a whole
    x0 = {"tensor": torch.from_numpy, "array": np.copy, "disk": lambda x: on_disk(x, tmp_path), "dataset": Of}[kind](array)
    found = examples.survey("x0", x0)
    assert (found.rows, found.shape, found.low, found.high) == (60, (2,), array.min(), array.max())
    np.testing.assert_allclose(found.mean, array.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(found.variance, array.var(0, dtype=np.float64), rtol=1e-6)
    assert found.size == pytest.approx(float(np.square(array.astype(float)).mean() ** 0.5))


def test_a_look_in_parts_is_one_at_all(monkeypatch):
    whole = examples.survey("x0", POINTS)
    monkeypatch.setattr(examples, "LOOK", 7)
    parts = examples.survey("x0", POINTS)
    np.testing.assert_allclose(parts.mean, whole.mean, rtol=1e-12)
    assert (parts.low, parts.high) == (whole.low, whole.high)


def changed(i, by):
    x = POINTS.copy()
    x[i, 0] += by
    return x


@pytest.mark.parametrize("other", [changed(0, 0.3), changed(299, 0.3), POINTS[::-1].copy(), np.roll(POINTS, 1, axis=0), -POINTS])
def test_a_run_with_other_data_is_not_resumed(other, tmp_path):
    trained(POINTS, steps=2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"is of a run with other data, though of as many examples$"):
        trained(other, resume=tmp_path)
    trained(on_disk(POINTS, tmp_path), resume=tmp_path)
    trained(changed(7, 1e-6), resume=tmp_path)  # rounding is no other data


UNIT = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("x0", "sentence"),
    [
        (1000 * UNIT + [3000, 5000], r"x0 has mean 4.99e\+03 and standard deviation 967 in coordinate 1, expected about 0 and 1"),
        (0.1 * UNIT, "x0 has mean -0.00878 and standard deviation 0.0984 in coordinate 0, expected about 0 and 1"),
        (UNIT + np.float32([0, 30]), "x0 has mean 30 and standard deviation 0.967 in coordinate 1, expected"),
        (np.zeros((9, 2)), "x0 has examples that are all the same, up to rounding: there is nothing else to learn"),
        (np.full((9, 1, 4, 4), -0.01), "x0 has examples that are all the same, up to rounding"),
        (BYTES / 255, r"x0 has numbers from 0 to 1 and none below 0: pictures are expected in \[-1, 1\]; x0 / 0.5 - 1 does that"),
        (BYTES.astype(float), r"x0 has numbers from 0 to 255 .*; x0 / 127.5 - 1 does that"),
        (BYTES.astype(float) * 300, r"x0 has numbers from 0 to 76500 and none below 0: pictures are expected in \[-1, 1\]$"),
        (UNIT, None),
        (POINTS, None),
        (BYTES, None),
        (BYTES // 2 + 128, None),  # bright ones
        (BYTES / 127.5 - 1, None),
        (UNIT * [1, 0.01], None),  # a line is data too
        (np.float32([[50.0, 60.0]]), None),  # of one example nothing is said
    ],
)
def test_data_that_do_not_fit_are_warned_of(x0, sentence):
    ddpm = fresh() if x0.ndim == 2 else unet()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trained(x0, ddpm, steps=1)
    assert len(seen) == (sentence is not None)
    if sentence is not None:
        assert seen[0].filename == __file__  # it points at the call of fit
        with pytest.warns(UserWarning, match=sentence):
            trained(x0, ddpm, steps=1)


def test_a_scale_that_fits_is_not_warned_of_and_one_that_does_not_is():
    x0 = 1000 * UNIT + [3000, 5000]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained(x0, fresh(shift=x0.mean(0), scale=x0.std(0)), steps=1)
    with pytest.warns(UserWarning, match="x0 has mean 3 and standard deviation 0.000967 in coordinate 1"):
        trained(UNIT, fresh(shift=-3000.0, scale=1000.0), steps=1)


def uneven(row, i):
    return torch.zeros(2 if i < 30 else 3)


class Table:
    """As of pandas, where [0] is a column of that name."""

    def to_numpy(self):
        return POINTS

    def __len__(self):
        return len(POINTS)

    def __getitem__(self, i):
        raise KeyError(i)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(POINTS)


@pytest.mark.parametrize(
    ("x0", "error", "message"),
    [
        (DataLoader(Of(POINTS)), TypeError, r"^x0 is a DataLoader, expected its Dataset: batches are drawn here"),
        (Stream(), TypeError, "^x0 is of type Stream, expected a tensor, an array, or a Dataset with a length"),
        ({"a": 1}, TypeError, "^x0 is of type dict, expected"),
        ("x.npy", TypeError, "^x0 is of type str, expected"),
        (None, TypeError, "^x0 is of type NoneType, expected"),
        (POINTS.astype(int), TypeError, "^x0 has dtype int64, expected floating-point numbers, or pixels in 8 or 16 bits$"),
        (np.array(3.0), ValueError, r"^x0 has shape \(\), expected \(n, \.\.\.\)$"),
        (np.ma.array(POINTS, mask=POINTS > 0), ValueError, "^x0 has masked entries, expected numbers$"),
        (Table(), TypeError, r"^x0 is a Table, expected an array: x0\.to_numpy\(\) is one$"),
        (
            torch.eye(2).to_sparse(),
            TypeError,
            r"^x0 has the layout torch.sparse_coo, expected a dense tensor: x0\.to_dense",
        ),
        (POINTS[:0], ValueError, r"^x0 has shape \(0, 2\), expected at least one example$"),
        (POINTS[:, :0], ValueError, r"^x0 has shape \(300, 0\), expected at least one example$"),
        (Of(POINTS[:0]), ValueError, r"^x0 has length 0, expected at least one example$"),
        (changed(70, np.nan), ValueError, r"^x0\[70\] has an entry that is NaN or infinite, expected finite numbers$"),
        (Of(changed(0, np.inf)), ValueError, r"^x0\[0\] has an entry that is NaN or infinite, expected finite numbers$"),
        (
            Of(POINTS, uneven),
            ValueError,
            r"^x0\[33\] is torch.float32 of shape \(3,\), expected torch.float32 of shape \(2,\) as x0\[0\]$",
        ),
        (
            Of(POINTS, lambda row, i: "a"),
            TypeError,
            r"^x0\[0\] is of type str, expected a tensor, an array or a picture, or a pair",
        ),
        (Of(POINTS, lambda row, i: row.astype(int)), TypeError, r"^x0\[0\] has dtype torch.int64, expected floating-point numbers"),
    ],
)
def test_what_no_example_can_be_drawn_from_is_named(x0, error, message):
    with pytest.raises(error, match=message):
        trained(x0)


# ---- a training that one can watch and stop ----


def test_the_callback_hears_each_step_and_its_loss(tmp_path):
    heard = []
    losses = td.fit(fresh(), POINTS, 5, 8, progress=False, callback=lambda step, loss: heard.append((step, loss.item())))
    assert heard == [*enumerate(losses.tolist(), 1)]
    trained(POINTS, steps=3, checkpoint=tmp_path)
    heard.clear()
    trained(POINTS, steps=6, checkpoint=tmp_path, resume=tmp_path, callback=lambda step, loss: heard.append(step))
    assert heard == [4, 5, 6]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_last_step(signum, tmp_path):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    whole = trained(POINTS)

    def callback(step, _):
        if step == 3:
            os.kill(os.getpid(), signum)

    with pytest.raises(Stopped, match=rf"^stopped after step 3, which is saved in {tmp_path}$") as stopped:
        trained(POINTS, checkpoint=tmp_path, callback=callback)
    assert (stopped.value.step, stopped.value.signum) == (3, signum) and isinstance(stopped.value, KeyboardInterrupt)
    assert checkpoint.read(tmp_path).run.step == 3
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert same(whole, trained(POINTS, checkpoint=tmp_path, resume=tmp_path))


def test_without_a_checkpoint_ctrl_c_is_what_it_was():
    def callback(step, _):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt) as stopped:
        trained(POINTS, callback=callback)
    assert not isinstance(stopped.value, Stopped)


ENDLESS = """
import sys, numpy as np, torch, tinyddpm as td
class Slow(torch.utils.data.Dataset):
    def __len__(self): return 100
    def __getitem__(self, i): return torch.full((2,), i / 50 - 1)
if __name__ == "__main__":
    ddpm = td.DDPM(td.MLP(2, 8, 1), td.Schedule.cosine(20))
    say = lambda step, loss: step == 2 and print("begun", flush=True)
    td.fit(ddpm, Slow(), 10**6, 8, progress=False, checkpoint=sys.argv[1], callback=say, workers=2)
"""


@pytest.mark.parametrize("to_all", [False, True])
def test_workers_end_with_the_process_that_is_stopped(to_all, tmp_path):
    """Ctrl-C in a terminal reaches the workers too: they leave it to the first process."""
    script = tmp_path / "script.py"
    script.write_text(ENDLESS)
    env = {**os.environ, "PYTHONPATH": str(Path(td.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, script, tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
        start_new_session=True,
    )  # fmt: skip
    assert child.stdout.readline() == "begun\n"
    (os.killpg if to_all else os.kill)(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    step = checkpoint.read(tmp_path / "run").run.step
    assert step >= 2 and f"stopped after step {step}, which is saved in" in errors and "DataLoader worker" not in errors


# ---- data of any size ----


@pytest.fixture(scope="module")
def far():
    """Points far from the origin, and the mean and the standard deviation of each coordinate."""
    x0 = 1000 * torch.from_numpy(POINTS).double() + torch.tensor([3000.0, 5000.0])
    return x0, x0.mean(0), x0.std(0)


def test_a_model_of_data_of_any_size_is_one_of_standardised_data(far):
    x0, shift, scale = far
    z = ((x0 - shift) / scale).float()
    wide, plain = fresh(shift=shift, scale=scale), fresh()
    for a, b in zip(trained(x0.float(), wide), trained(z, plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    plain.load_state_dict(wide.state_dict())
    for draw in (lambda m: m.sample((9, 2), generator=seed(1)), lambda m: m.sample_ddim((9, 2), 5, generator=seed(1))):
        torch.testing.assert_close(draw(wide), (shift + scale * draw(plain)).float(), rtol=1e-5, atol=1e-2)
    t, eps = torch.tensor([1, 7, 20]), torch.randn(3, 2, generator=seed(2))
    torch.testing.assert_close(wide(x0[:3].float(), t, eps), plain(z[:3], t, eps), rtol=1e-3, atol=1e-5)


def seed(n):
    return torch.Generator().manual_seed(n)


def test_its_bound_is_that_of_the_standardised_data_and_the_log_of_the_scale(far):
    x0, shift, scale = far
    wide, plain = fresh(shift=shift, scale=scale), fresh()
    eps = torch.randn(300, 2, generator=seed(3))
    found, other = wide.vlb(x0.float(), eps=eps), plain.vlb(((x0 - shift) / scale).float(), eps=eps)
    torch.testing.assert_close(found.total, other.total + scale.log().sum(), rtol=1e-4, atol=1e-2)
    with pytest.raises(
        ValueError, match=r"^levels = 17 with a scale: levels lie in \[-1, 1\], expected a model of data as they are$"
    ):
        wide.vlb(x0.float(), 17)


def test_its_scale_is_kept(far, tmp_path):
    _, shift, scale = far
    wide = fresh(lambda: td.MLP(2, 8, 1, condition=td.Labels(3)), shift=shift, scale=scale)
    wide.save(tmp_path)
    for other in (td.load(tmp_path), wide.given(1, 2.0)):
        assert torch.equal(other.shift, wide.shift) and torch.equal(other.scale, wide.scale)
    torch.testing.assert_close(wide.scale.double(), scale, rtol=1e-6, atol=0)
    assert fresh().scale is None and "scale" not in "".join(wide.state_dict())


def test_one_of_the_two_is_enough():
    assert fresh(scale=3.0).shift == 0 and fresh(shift=3.0).scale == 1


# ---- the start from noise ----


def test_a_schedule_that_does_not_reach_noise_is_warned_of():
    """With exact answers: two modes of 0.9 and 0.1 come out wrong, and right where nothing is said."""
    law = td.exact.GaussianMixture(torch.tensor([[-1.0], [1.0]]) / 0.6, 0.01, torch.tensor([0.9, 0.1]))
    short, good = td.Schedule.linear(50), td.Schedule.lognormal(50)

    def share(schedule):
        return (td.DDPM(law.eps(schedule), schedule).sample((4000, 1), generator=seed(4)) > 0).double().mean()

    with pytest.warns(
        UserWarning, match=r"^alpha_bar\[T\] = 0\.603: .* below 0\.02, such as Schedule\.cosine\(50\), or give x_T$"
    ) as seen:
        assert share(short) > 0.3
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert share(good) == pytest.approx(0.1, abs=0.02)
        ddpm = td.DDPM(law.eps(short), short)
        ddpm.sample((4, 1), torch.randn(4, 1))


# ---- memory ----

PEAK = """
import resource, sys, numpy as np, torch, tinyddpm as td
from tinyddpm.cli import main
torch.set_num_threads(1)
if sys.argv[1] == "fit":
    x0 = np.lib.format.open_memmap("x.npy", "w+", np.uint8, (int(sys.argv[2]), 1, 32, 32))  # without a byte on the disk
    td.fit(td.DDPM(td.UNet(1, 8, 1), td.Schedule.cosine(9)), np.load("x.npy", mmap_mode="r"), 3, 4, progress=False)
else:
    td.DDPM(td.MLP(64, 8, 1), td.Schedule.cosine(9)).save("model")
    assert main(f"sample model --shape 64 --steps 1 --n {sys.argv[2]} --out x.npy".split()) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # of KB; macOS counts bytes
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KB on Linux alone")
@pytest.mark.parametrize(("what", "few", "many"), [("fit", 10_000, 400_000), ("sample", 10_000, 400_000)])
def test_memory_does_not_grow_with_the_data_nor_with_the_samples(what, few, many, tmp_path):
    """10 and 400 MB of bytes, which would be 1.6 GB of numbers; 3 and 100 MB of samples."""
    env = {**os.environ, "PYTHONPATH": str(Path(td.__file__).parents[1]), "OMP_NUM_THREADS": "1"}

    def peak(n):
        done = subprocess.run([sys.executable, "-c", PEAK, what, str(n)], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1]) / 1000

    assert peak(many) < peak(few) + (100 if what == "fit" else 60)
