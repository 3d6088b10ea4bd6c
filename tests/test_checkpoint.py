"""Checkpoints: whole at every moment, refused where they are damaged; and training that goes on after it was killed."""

import builtins
import contextlib
import errno
import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

import tinyddpm as td
from tinyddpm import _files, checkpoint, engine

DATA = td.data.eight_gaussians(200, torch.Generator().manual_seed(0))


class Dropout(nn.Module):
    """A network whose training draws random numbers of its own, with a buffer."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.SiLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def forward(self, xt, t):
        return self.net(xt)


def fresh(network=lambda: td.MLP(2, 8, 1), seed=0, T=20, **more):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return td.DDPM(network(), td.Schedule.linear(T), **more)


def fit(ddpm, steps=12, **more):
    return td.fit(ddpm, **{"x0": DATA, "steps": steps, "batch_size": 8, "lr": 0.01, "seed": 3, "progress": False, **more})


def weights(ddpm):
    return {name: value.clone() for name, value in ddpm.model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def stop_at(ddpm, call, error=RuntimeError):
    """Lets the training die in its `call`-th loss."""
    forward, calls = ddpm.forward, []

    def dying(*args):
        calls.append(0)
        if len(calls) == call:
            raise error("killed")
        return forward(*args)

    ddpm.forward = dying
    return ddpm


@pytest.mark.parametrize("network", [lambda: td.MLP(2, 8, 1), Dropout], ids=["mlp", "dropout"])
@pytest.mark.parametrize("save_every", [1, 5])
def test_a_run_that_died_goes_on_bit_for_bit(network, save_every, tmp_path):
    """Whenever it dies; the one that goes on begins with other weights."""
    whole = fresh(network)
    losses = fit(whole)
    for call in (1, 2, 6, 12):
        folder, error = tmp_path / str(call), KeyboardInterrupt if call == 6 else RuntimeError
        with pytest.raises(error, match="killed"):
            fit(stop_at(fresh(network), call, error), checkpoint=folder, save_every=save_every)
        again = fresh(network, seed=9)
        assert torch.equal(fit(again, checkpoint=folder, resume=folder, save_every=save_every), losses)
        assert same(weights(again), weights(whole))
        assert same(weights(td.load(folder, fresh(network).model)), weights(whole))


def test_a_run_that_died_twice(tmp_path):
    whole = fresh()
    losses = fit(whole)
    with pytest.raises(RuntimeError, match="killed"):
        fit(stop_at(fresh(), 5), checkpoint=tmp_path, save_every=2)
    with pytest.raises(RuntimeError, match="killed"):
        fit(stop_at(fresh(seed=1), 4), checkpoint=tmp_path, resume=tmp_path, save_every=2)
    again = fresh(seed=2)
    assert torch.equal(fit(again, resume=tmp_path), losses) and same(weights(again), weights(whole))
    assert json.loads((tmp_path / "ddpm.json").read_text())["step"] == 6  # without `checkpoint` none is written


def test_a_finished_run_can_be_resumed_and_nothing_happens(tmp_path):
    ddpm = fresh()
    losses = fit(ddpm, checkpoint=tmp_path)
    again = stop_at(fresh(seed=1), 1)
    assert torch.equal(fit(again, resume=tmp_path), losses) and same(weights(again), weights(ddpm))


def test_more_steps_than_before(tmp_path):
    losses = fit(fresh(), 6, checkpoint=tmp_path)
    more = fit(fresh(), 9, resume=tmp_path)
    assert more.shape == (9,) and torch.equal(more[:6], losses) and more.isfinite().all() and (more[6:] > 0).all()
    with pytest.raises(ValueError, match="is after step 6, expected at most steps = 5"):
        fit(fresh(), 5, resume=tmp_path)


def test_a_checkpoint_is_there_from_the_beginning_and_at_the_end(tmp_path):
    steps = []
    ddpm = fresh()
    before, forward = weights(ddpm), ddpm.forward
    ddpm.forward = lambda *args: steps.append(json.loads((tmp_path / "ddpm.json").read_text())["step"]) or forward(*args)
    fit(ddpm, 7, checkpoint=tmp_path, save_every=3)
    assert steps == [0, 0, 0, 3, 3, 3, 6]
    assert json.loads((tmp_path / "ddpm.json").read_text())["step"] == 7 and len(list(tmp_path.iterdir())) == 2
    assert same(weights(td.load(tmp_path)), weights(ddpm)) and not same(before, weights(ddpm))


def test_load_has_the_averaged_weights(tmp_path):
    ddpm, raw = fresh(), fresh()
    fit(ddpm, ema=0.5, checkpoint=tmp_path)
    fit(raw, ema=0.0)
    assert same(weights(td.load(tmp_path)), weights(ddpm)) and not same(weights(raw), weights(ddpm))
    saved = checkpoint.read(tmp_path)
    assert same({name.removeprefix("model."): value for name, value in saved.weights.items()}, weights(raw))


def test_load_has_the_averaged_weights_also_where_two_layers_share_them(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = nn.Linear(2, 2)

        def forward(self, xt, t):
            return self.b(self.a(xt).tanh())

    ddpm = fresh(Shared)
    fit(ddpm, checkpoint=tmp_path, ema=0.9)
    torch.testing.assert_close(td.load(tmp_path, Shared()).model.a.weight, ddpm.model.a.weight)


SERVER = """
import os, pathlib, random, signal, sys, time
import torch
import tinyddpm as td

folder, result = map(pathlib.Path, sys.argv[1:])
torch.set_num_threads(1)
data = td.data.eight_gaussians(200, torch.Generator().manual_seed(0))

def run(folder, result, seed=0):
    torch.manual_seed(seed)
    ddpm = td.DDPM(td.MLP(2, 8, 1), td.Schedule.linear(20))
    resume = folder if (folder / "ddpm.json").exists() else None
    losses = td.fit(ddpm, data, 40, 8, 0.01, 0.9, 3, checkpoint=folder, resume=resume, progress=False, save_every=1)
    torch.save([losses, ddpm.model.state_dict()], result)

def child(*args):
    pid = os.fork()
    if pid == 0:
        try:
            run(*args)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        os._exit(0)
    return pid

p = torch.nn.Parameter(torch.zeros(1))
p.grad = torch.ones(1)
torch.optim.Adam([p]).step()  # which imports what each child would otherwise import anew
_, status = os.waitpid(child(folder / "whole", result / "whole"), 0)
assert status == 0
random.seed(0)
index, kills, seen = folder / "killed" / "ddpm.json", 0, None
while True:
    pid = child(folder / "killed", result / "killed", 7 * (kills > 0))
    while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and seen == (seen := index.read_bytes() if index.exists() else None):
        time.sleep(0.001)  # until there is a new checkpoint, so that it comes to an end
    if ended == (0, 0):
        time.sleep(random.uniform(0, 0.04))
        os.kill(pid, signal.SIGKILL)
        ended = os.waitpid(pid, 0)
    if os.WIFEXITED(ended[1]):
        print("kills", kills)
        sys.exit(os.WEXITSTATUS(ended[1]))
    kills += 1
    td.load(folder / "killed")
    seen = index.read_bytes()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")
def test_killed_at_random_moments_it_ends_in_the_same_weights(tmp_path):
    """By SIGKILL, mostly while a checkpoint is written: one is, after each step. After each kill, there is one to load."""
    (tmp_path / "results").mkdir()
    command = [sys.executable, "-c", SERVER, str(tmp_path / "runs"), str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(td.__file__).parents[1], timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    (losses, whole), (again, resumed) = (torch.load(tmp_path / "results" / name) for name in ("whole", "killed"))
    assert int(done.stdout.split()[1]) >= 3, done.stdout
    assert torch.equal(losses, again) and same(whole, resumed)


# --- A checkpoint is written whole or not at all


def no_space(*args, **more):
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_on_call(monkeypatch, where, name, number, then=no_space):
    """Lets the `number`-th call of a function fail."""
    function, calls = getattr(where, name, None) or getattr(builtins, name), []

    def failing(*args, **more):
        calls.append(0)
        return (then if len(calls) == number else function)(*args, **more)

    monkeypatch.setattr(where, name, failing, raising=False)


FAILURES = [
    *[(_files, "open", number, no_space) for number in (1, 2)],
    *[(_files, "open", number, lambda path, mode: Path("/dev/full").open(mode)) for number in (1, 2)],  # noqa: SIM115
    *[(os, "fsync", number, no_space) for number in (1, 2)],
    *[(os, "replace", number, no_space) for number in (1, 2)],
    (Path, "mkdir", 1, no_space),
]


@pytest.mark.parametrize(
    "failure", FAILURES, ids=[f"{name}-{n}{'-full' if then is not no_space else ''}" for _, name, n, then in FAILURES]
)
@pytest.mark.parametrize("before", [True, False], ids=["one-before", "none-before"])
def test_where_writing_fails_the_checkpoint_before_is_intact(failure, before, tmp_path, monkeypatch):
    if failure[3] is not no_space and not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    folder, old, new = tmp_path / "a", fresh(seed=1), fresh(seed=2)
    if before:
        old.save(folder)
    with monkeypatch.context() as patch:
        fail_on_call(patch, *failure)
        kept = "the one that was there is intact" if before else "no other was there before"
        with pytest.raises(OSError, match=f"the checkpoint could not be written, {kept}: No space left on device") as error:
            new.save(folder)
        assert error.value.errno == errno.ENOSPC and str(folder) in str(error.value)
    if before:
        assert same(weights(td.load(folder)), weights(old))
    else:
        with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
            td.load(folder)
    assert not list(tmp_path.glob("a/*.new"))
    new.save(folder)
    assert same(weights(td.load(folder)), weights(new)) and len(list(folder.iterdir())) == 2


def test_where_the_old_file_cannot_be_deleted_the_new_checkpoint_is_there(tmp_path, monkeypatch):
    old, new = fresh(seed=1), fresh(seed=2)
    old.save(tmp_path)
    with monkeypatch.context() as patch:
        fail_on_call(patch, Path, "unlink", 1)
        with contextlib.suppress(OSError):
            new.save(tmp_path)
    assert same(weights(td.load(tmp_path)), weights(new))


def test_where_the_old_file_cannot_be_deleted_an_error_names_the_folder_or_there_is_none(tmp_path, monkeypatch):
    fresh(seed=1).save(tmp_path)
    fail_on_call(monkeypatch, Path, "unlink", 1)
    try:
        fresh(seed=2).save(tmp_path)
    except OSError as error:
        assert str(tmp_path) in str(error)


def test_a_full_disk_in_training_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        fail_on_call(patch, os, "fsync", 6)  # two for each checkpoint: the third one's index
        with pytest.raises(OSError, match="the one that was there is intact"):
            fit(fresh(), checkpoint=tmp_path, save_every=4)
    again, whole = fresh(seed=1), fresh()
    assert checkpoint.read(tmp_path).run.step == 4
    assert torch.equal(fit(again, resume=tmp_path, checkpoint=tmp_path), fit(whole)) and same(weights(again), weights(whole))


def test_what_a_killed_process_has_left_is_cleared_away(tmp_path):
    ddpm = fresh()
    for name in ("weights.new", "ddpm.new"):
        (tmp_path / name).write_bytes(b"half")
    for name in ("notes.txt", "weights-best.pt", "weights-0123456789ab.safetensors"):
        (tmp_path / name).write_text("mine")
    fresh(seed=1).save(tmp_path)
    ddpm.save(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert (
        len(names) == 5
        and {"notes.txt", "weights-best.pt", "weights-0123456789ab.safetensors"} < names
        and same(weights(td.load(tmp_path)), weights(ddpm))
    )


def test_the_folder_is_made_and_may_not_be_a_file(tmp_path):
    fresh().save(tmp_path / "a" / "b")
    assert td.load(tmp_path / "a" / "b").schedule.T == 20
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match=r"the checkpoint could not be written, no other was there before: File exists.*file"):
        fresh().save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


# --- What is damaged or something else is refused


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def files(folder):
    (tensors,) = folder.glob("weights-*.safetensors")
    return folder / "ddpm.json", tensors


def truncate(folder):
    _, path = files(folder)
    path.write_bytes(path.read_bytes()[:-10])


def flip(folder):
    _, path = files(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def empty(folder):
    files(folder)[1].write_bytes(b"")


def delete(folder):
    files(folder)[1].unlink()


def pickled(folder):
    files(folder)[1].write_bytes(pickle.dumps(Payload(folder / "done")))


def pickled_with_its_hash(folder):
    _, path = files(folder)
    pickled(folder)
    edit(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def torch_save_with_its_hash(folder):
    _, path = files(folder)
    torch.save({"a": Payload(folder / "done")}, path)
    edit(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def sign(folder, info):
    """Writes what the index says with its right digest: it is not damaged, but wrong."""
    rest = {name: value for name, value in info.items() if name not in ("format", "weights", "sha256", "sha256 of the rest")}
    (folder / "ddpm.json").write_text(json.dumps({**info, "sha256 of the rest": checkpoint._digest(rest)}))


def edit(folder, **changed):
    sign(folder, {**json.loads((folder / "ddpm.json").read_text()), **changed})


def other_tensors(folder):
    _, path = files(folder)
    data = safetensors.torch.save({"x": torch.zeros(1)})
    path.write_bytes(data)
    edit(folder, sha256=hashlib.sha256(data).hexdigest())


def other_digit(folder):
    """Of beta, which would make another schedule."""
    index = folder / "ddpm.json"
    index.write_text(index.read_text().replace('"beta": [0.0001,', '"beta": [0.0002,'))


DAMAGES = [
    (truncate, r"weights-\w+\.safetensors is damaged: its \d+ bytes are not those that were written"),
    (flip, "is damaged: its"),
    (empty, "is damaged: its 0 bytes"),
    (delete, r"lacks weights-\w+\.safetensors, the tensors of its checkpoint"),
    (pickled, r"is damaged: .*\(no pickle is ever loaded\)"),
    (pickled_with_its_hash, r"is not a safetensors file: .*\(no pickle is ever loaded\)"),
    (torch_save_with_its_hash, r"is not a safetensors file: .*\(no pickle is ever loaded\)"),
    (lambda folder: (folder / "ddpm.json").write_text("{"), r"ddpm\.json is damaged, or not of a checkpoint"),
    (lambda folder: (folder / "ddpm.json").write_text(""), r"ddpm\.json is damaged, or not of a checkpoint"),
    (lambda folder: (folder / "ddpm.json").write_text("[1]"), r"ddpm\.json is damaged, or not of a checkpoint"),
    (lambda folder: (folder / "ddpm.json").write_text("{}"), r"ddpm\.json is damaged, or not of a checkpoint: 'format'"),
    (lambda folder: (folder / "ddpm.json").write_bytes(b"\xff\xfe\x00"), r"ddpm\.json is damaged, or not of a checkpoint"),
    (lambda folder: (folder / "ddpm.json").write_bytes(pickle.dumps(Payload(folder / "done"))), r"ddpm\.json is damaged"),
    (lambda folder: edit(folder, format=1), r"ddpm\.json has the format 1, expected 2"),
    (lambda folder: edit(folder, weights="../../etc/passwd"), "lacks passwd"),
    (lambda folder: edit(folder, weights=5), r"ddpm\.json is damaged"),
    (other_digit, r"ddpm\.json is damaged: it does not say what was written"),
    (other_tensors, "is not the checkpoint of a DDPM|lacks|schedule.beta"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damage_is_found_and_no_pickle_is_loaded(damage, message, tmp_path):
    fit(fresh(), 2, checkpoint=tmp_path)
    damage(tmp_path)
    calls = [lambda: td.load(tmp_path)]
    if damage is not other_tensors:
        calls.append(lambda: fit(fresh(), resume=tmp_path))
    for call in calls:
        with pytest.raises(ValueError, match=message) as error:
            call()
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("damage", [other_tensors, lambda folder: drop(folder, "step"), lambda folder: drop(folder, "description")])
def test_a_checkpoint_without_a_part_cannot_be_resumed(damage, tmp_path):
    fit(fresh(), 2, checkpoint=tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=r".+"):
        fit(fresh(), resume=tmp_path)


def drop(folder, name):
    index = folder / "ddpm.json"
    info = json.loads(index.read_text())
    del info[name]
    sign(folder, info)


def test_every_flipped_bit_of_the_tensors_is_found(tmp_path):
    fresh().save(tmp_path)
    _, path = files(tmp_path)
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 128]) + data[place + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            td.load(tmp_path)
    path.write_bytes(data)
    assert same(weights(td.load(tmp_path)), weights(fresh()))


def test_a_pickle_in_place_of_the_folder_is_not_loaded(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(Payload(tmp_path / "done"), path)
    for call in (lambda: td.load(path), lambda: fit(fresh(), resume=path)):
        with pytest.raises(
            ValueError, match=r"model\.pt is a file, expected the folder of a checkpoint \(no pickle is ever loaded\)"
        ):
            call()
    assert not (tmp_path / "done").exists()


@pytest.mark.parametrize("name", ["", "missing"])
def test_where_there_is_no_checkpoint(name, tmp_path):
    for call in (lambda: td.load(tmp_path / name), lambda: fit(fresh(), resume=tmp_path / name)):
        with pytest.raises(FileNotFoundError, match=r"there is no checkpoint in .*: it has no ddpm\.json"):
            call()


def other_beta():
    return td.DDPM(fresh().model, td.Schedule.linear(20, beta_T=0.03))


@pytest.mark.parametrize(
    ("ddpm", "changed", "message"),
    [
        (fresh, {"batch_size": 9}, "batch_size = 8 in the checkpoint in .*, expected 9 as in this run"),
        (fresh, {"lr": 0.02}, "lr = 0.01 in the checkpoint in .*, expected 0.02"),
        (fresh, {"ema": 0.5}, "ema = 0.999 in the checkpoint in .*, expected 0.5"),
        (fresh, {"seed": 4}, "seed = 3 in the checkpoint in .*, expected 4"),
        (fresh, {"max_grad_norm": 2.0}, "max_grad_norm = 1.0 in the checkpoint in .*, expected 2.0"),
        (fresh, {"x0": DATA + 0.1}, "is of a run with other data, though of as many examples"),
        (fresh, {"x0": DATA[:100]}, r"data = \[200, 2\] in the checkpoint in .*, expected \[100, 2\]"),
        (lambda: fresh(T=21), {}, r"len\(beta\) = 20 in the checkpoint in .*, expected 21 as in this run"),
        (other_beta, {}, r"beta\[1\] = 0\.00\d+ in the checkpoint in .*, expected 0\.00\d+ as in this run"),
        (lambda: fresh(predict="v"), {}, "predict = eps in the checkpoint in .*, expected v"),
        (lambda: fresh(variance="beta_tilde"), {}, "variance = beta in the checkpoint in .*, expected beta_tilde"),
        (lambda: fresh(clip=(-1, 1)), {}, r"clip = None in the checkpoint in .*, expected \[-1.0, 1.0\]"),
        (lambda: fresh(lambda: td.MLP(2, 16, 1)), {}, "width = 8 in the checkpoint in .*, expected 16 as in this run"),
        (lambda: fresh(Dropout), {}, "model = MLP in the checkpoint in .*, expected Dropout as in this run"),
    ],
)
def test_another_run_is_not_resumed(ddpm, changed, message, tmp_path):
    fit(fresh(), 2, checkpoint=tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        fit(ddpm(), **{"steps": 2, "resume": tmp_path, **changed})
    assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


def test_what_a_run_had_and_this_one_has_not_is_no_detail(tmp_path):
    """Labels, and the size of the data."""
    told = lambda: fresh(lambda: td.MLP(2, 8, 1, condition=td.Labels(3)))  # noqa: E731
    fit(told(), 2, checkpoint=tmp_path / "told", c=torch.arange(len(DATA)) % 3, drop=0.2)
    with pytest.raises(ValueError, match=r"drop = 0\.2 in the checkpoint in .*, expected None as in this run"):
        fit(told(), 4, resume=tmp_path / "told")
    fit(fresh(shift=1.0), 2, checkpoint=tmp_path / "far")
    with pytest.raises(ValueError, match=r"shift = 1\.0 in the checkpoint in .*, expected None as in this run"):
        fit(fresh(), 4, resume=tmp_path / "far")


def test_another_architecture_under_the_same_name_is_not_resumed(tmp_path):
    class Net(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.a, self.b = nn.Linear(2, width), nn.Linear(width, 2)

        def forward(self, xt, t):
            return self.b(self.a(xt))

    fit(fresh(lambda: Net(3)), 2, checkpoint=tmp_path)
    with pytest.raises(
        ValueError, match=r"is of another architecture than Net: model\.a\.bias has shape \(3,\), expected \(4,\), and 2 more"
    ):
        fit(fresh(lambda: Net(4)), 2, resume=tmp_path)


def test_a_saved_network_is_no_run(tmp_path):
    fresh().save(tmp_path)
    with pytest.raises(ValueError, match="holds a network, but no training to resume"):
        fit(fresh(), resume=tmp_path)


def test_a_checkpoint_is_not_overwritten(tmp_path):
    ddpm = fresh()
    fit(ddpm, 2, checkpoint=tmp_path / "a")
    fit(fresh(), 2, checkpoint=tmp_path / "b")
    for more in ({}, {"resume": tmp_path / "b"}):
        with pytest.raises(FileExistsError, match=r"a has a checkpoint already: resume it, remove it, or name another folder"):
            fit(fresh(seed=1), checkpoint=tmp_path / "a", **more)
    assert same(weights(td.load(tmp_path / "a")), weights(ddpm))


def test_the_folder_to_resume_may_be_named_in_another_way(tmp_path, monkeypatch):
    fit(fresh(), 2, checkpoint=tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    fit(fresh(), 4, checkpoint="a", resume=tmp_path / "." / "a")
    assert checkpoint.read(tmp_path / "a").run.step == 4


@pytest.mark.parametrize("changed", ["seed", "lr"])
def test_settings_may_be_numbers_of_numpy(changed, tmp_path):
    value = {"seed": np.int64(3), "lr": np.float32(0.01)}[changed]
    fit(fresh(), 2, checkpoint=tmp_path, **{changed: value})
    assert td.load(tmp_path).schedule.T == 20


def test_read_and_write_keep_every_dtype_and_shape_and_all_else(tmp_path):
    tensors = {
        "a": torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).T,  # not contiguous
        "b": torch.arange(4, dtype=torch.uint8),
        "c": torch.tensor(5),
        "d": torch.ones(2, dtype=torch.float64),
        "e": torch.zeros(0),
        "f": torch.ones(3, dtype=torch.bfloat16, requires_grad=True),
    }
    tensors["g"] = tensors["d"]  # shared
    halves = {name: tensors[name] for name in "ab"}, {name: tensors[name] for name in "cd"}
    adam = {0: halves[0], 11: halves[1]}
    run = checkpoint.Run({"lr": 0.1, "data": [3]}, 4, 9, torch.arange(4.0), tensors["c"], halves[1], adam, {"cpu": tensors["b"]})
    thing = {"class": "DDPM", "arguments": {"beta": [0.1, 1 / 3], "clip": None}}
    for saved in (checkpoint.Checkpoint(thing, tensors, (2, 1), run), checkpoint.Checkpoint(thing, tensors, ())):
        checkpoint.write(tmp_path, saved)
        again = checkpoint.read(tmp_path)
        assert again.description == thing and again.example == saved.example and (again.run is None) == (saved.run is None)
        assert same(again.weights, {name: t.detach() for name, t in tensors.items()})
        assert all(again.weights[name].dtype == t.dtype for name, t in tensors.items())
        if again.run:
            assert (again.run.settings, again.run.step, again.run.steps) == (run.settings, 4, 9)
            assert torch.equal(again.run.losses, run.losses) and torch.equal(again.run.data, run.data)
            assert same(again.run.average, run.average) and same(again.run.random, run.random)
            assert again.run.adam.keys() == adam.keys() and all(same(again.run.adam[i], adam[i]) for i in adam)


# --- Others who use the folder at the same time, and networks that are wrapped


ONE_AFTER_THE_OTHER = """
import sys
import tinyddpm as td
ddpms = [td.DDPM(td.MLP(2, 8, 1), td.Schedule.linear(20)) for _ in range(2)]
print("begun", flush=True)
for i in range(int(sys.argv[2])):
    ddpms[i % 2].save(sys.argv[1])
"""


def test_a_reader_succeeds_while_another_process_writes(tmp_path):
    fresh().save(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ONE_AFTER_THE_OTHER, str(tmp_path), "150"], stdout=subprocess.PIPE) as writer:
        writer.stdout.readline()
        while writer.poll() is None:
            assert td.load(tmp_path).schedule.T == 20
    assert writer.returncode == 0 and len(list(tmp_path.iterdir())) == 2


def test_a_reader_succeeds_where_what_it_began_with_is_there_again(tmp_path, monkeypatch):
    """Two saves between the index and the tensors: of another network, and of the first one once more."""
    one, other, read = fresh(seed=1), fresh(seed=2), checkpoint._read
    one.save(tmp_path)

    def late(folder, index):
        monkeypatch.setattr(checkpoint, "_read", read)
        other.save(tmp_path)
        try:
            return read(folder, index)
        finally:
            one.save(tmp_path)

    monkeypatch.setattr(checkpoint, "_read", late)
    assert same(weights(td.load(tmp_path)), weights(one))


def test_a_second_process_that_writes_is_refused_by_name(tmp_path):
    pytest.importorskip("fcntl")
    fresh().save(tmp_path)
    with checkpoint.writing(tmp_path):
        done = subprocess.run(
            [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(tmp_path), "1"], capture_output=True, text=True, timeout=100
        )
        fresh(seed=1).save(tmp_path)  # this one may
    assert (
        done.returncode
        and "BlockingIOError" in done.stderr
        and f"another process is writing a checkpoint there: wait until it is done, or name another folder: '{tmp_path}'"
        in done.stderr
    )
    fresh().save(tmp_path)


def test_the_folder_of_a_training_is_its_own_from_one_checkpoint_to_the_next(tmp_path):
    pytest.importorskip("fcntl")
    ddpm, found = fresh(), []
    command = [sys.executable, "-c", ONE_AFTER_THE_OTHER, str(tmp_path), "1"]
    ddpm.model.last.register_forward_hook(lambda *_: found.append(subprocess.run(command, capture_output=True, timeout=100)))
    fit(ddpm, 1, checkpoint=tmp_path)
    assert b"another process is writing" in found[0].stderr and checkpoint.read(tmp_path).run.step == 1


@pytest.mark.parametrize("wrap", [lambda net: torch.compile(net, backend="eager"), nn.DataParallel], ids=["compiled", "parallel"])
def test_a_wrapped_network_is_kept_as_what_is_in_it(wrap, tmp_path):
    ddpm = fresh(lambda: wrap(td.MLP(2, 16)))
    losses = fit(ddpm, checkpoint=tmp_path / "run", save_every=5)
    ddpm.save(tmp_path / "saved")
    x, t = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 5, 10, 15, 20])
    for name in ("run", "saved"):
        loaded = td.load(tmp_path / name)
        assert type(loaded.model) is td.MLP and torch.equal(loaded.eps(x, t), ddpm.eval().eps(x, t))
        assert torch.equal(td.load(tmp_path / name, wrap(td.MLP(2, 16))).eps(x, t), loaded.eps(x, t))
    assert torch.equal(fit(fresh(lambda: wrap(td.MLP(2, 16)), seed=1), resume=tmp_path / "run"), losses)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_network_is_loaded_in_the_dtype_that_it_had(dtype, tmp_path):
    fresh().to(dtype).save(tmp_path)
    assert {p.dtype for p in td.load(tmp_path).parameters()} == {dtype}


def test_a_first_call_that_fails_does_not_block_the_second(tmp_path):
    with pytest.raises(TypeError, match="float64"):
        fit(fresh(), x0=DATA.double(), checkpoint=tmp_path)
    fit(fresh(), checkpoint=tmp_path)
    with pytest.raises(FileExistsError, match="has a checkpoint already"):
        fit(fresh(), checkpoint=tmp_path)


def test_processes_that_nobody_has_started_are_named(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"^WORLD_SIZE = 2 is set in the environment, but not RANK, MASTER_ADDR, MASTER_PORT"):
        fit(fresh())


@pytest.mark.parametrize(("capability", "able"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_bfloat16_that_is_emulated_is_not_used(capability, able, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    assert engine.has_bf16(torch.device("cuda")) is able and not engine.has_bf16(torch.device("cpu"))
