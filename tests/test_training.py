"""Training: what `seed`, `ema` and `lr` do, step by step and in two processes; what it refuses; and that it learns."""

import math
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tinyddpm as td

DATA = td.data.eight_gaussians(500, torch.Generator().manual_seed(0))
ROOT = Path(td.__file__).parents[1]


class Function(nn.Module):
    """A function of (x_t, t), with one parameter that scales it."""

    def __init__(self, function):
        super().__init__()
        self.function, self.a = function, nn.Parameter(torch.ones(()))

    def forward(self, xt, t):
        return self.a * self.function(xt, t)


class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 16), nn.SiLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def forward(self, xt, t):
        return self.net(xt)


def fresh(network=lambda: td.MLP(2, 8, 1), seed=0, T=20, **more):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return td.DDPM(network(), td.Schedule.linear(T, 1e-3, 0.3), **more)


def fit(ddpm, steps=10, **more):
    return td.fit(ddpm, **{"x0": DATA, "steps": steps, "batch_size": 8, "lr": 0.01, "progress": False, **more})


def weights(ddpm):
    return [p.detach().clone() for p in ddpm.parameters()]


def trained(network=lambda: td.MLP(2, 8, 1), **more):
    ddpm = fresh(network)
    fit(ddpm, **more)
    return weights(ddpm)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


def watched(ddpm):
    """The weights and the arguments at each loss."""
    seen, forward = [], ddpm.forward

    def watching(*args):
        seen.append((weights(ddpm), args))
        return forward(*args)

    ddpm.forward = watching
    return seen


@pytest.mark.parametrize("network", [lambda: td.MLP(2, 8, 1), Dropout], ids=["mlp", "dropout"])
def test_the_seed_decides_bit_for_bit_whatever_the_global_state(network):
    one = trained(network, seed=3)
    torch.randn(7)
    assert same(one, trained(network, seed=3)) and not same(one, trained(network, seed=4))
    assert same(trained(network), trained(network, seed=0))


def test_the_global_randomness_is_left_alone():
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    fit(fresh())
    with pytest.raises(FloatingPointError):
        fit(fresh(lambda: Function(lambda xt, t: xt * math.nan)))
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()


def test_it_is_algorithm_1_with_adam():
    """Written out: rows with replacement, steps, noise; a gradient of norm 1 at most; Adam; the average."""
    network, lr, steps = (lambda: td.MLP(2, 8, 1)), 0.01, 12
    ddpm, schedule = fresh(network), td.Schedule.linear(20, 1e-3, 0.3)
    model, losses = ddpm.model, []
    p = list(model.parameters())
    first, second, average = ([torch.zeros_like(q) for q in p] for _ in range(3))
    average = weights(ddpm)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        for step in range(1, steps + 1):
            rows, t = torch.randint(500, (8,)), torch.randint(1, 21, (8,))
            eps = torch.randn(8, 2)
            bar = schedule.alpha_bar[t].float()[:, None]
            loss = ((model(bar.sqrt() * DATA[rows] + (1 - bar).sqrt() * eps, t) - eps) ** 2).mean()
            losses.append(loss.item())
            gradients = torch.autograd.grad(loss, p)
            norm = sum((g**2).sum() for g in gradients).sqrt()
            gradients = [g * min(1.0, 0.5 / norm.item()) for g in gradients]
            rate = lr * step / 100 * (1 + math.cos(math.pi * (step - 1) / steps)) / 2
            decay = min(0.4, step / (9 + step))
            with torch.no_grad():
                for q, g, m, v, a in zip(p, gradients, first, second, average, strict=True):
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g**2)
                    q -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
                    a.copy_(decay * a + (1 - decay) * q)
    other = fresh(network)
    got = fit(other, steps, lr=lr, ema=0.4, seed=5, max_grad_norm=0.5)
    assert got.tolist() == pytest.approx(losses, rel=1e-4)
    for a, b in zip(weights(other), average, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 40, 250])
def test_the_rate_rises_over_100_steps_and_falls_along_a_cosine(steps, monkeypatch):
    rates, step = [], torch.optim.Adam.step

    def recording(self, *args, **more):
        rates.extend({group["lr"] for group in self.param_groups})
        return step(self, *args, **more)

    monkeypatch.setattr(torch.optim.Adam, "step", recording)
    fit(fresh(Dropout), steps, lr=0.2)
    expected = [0.2 * min(1, k / 100) * (1 + math.cos(math.pi * (k - 1) / steps)) / 2 for k in range(1, steps + 1)]
    assert rates == pytest.approx(expected, rel=1e-12) and len(rates) == steps
    assert steps == 1 or rates[-1] < 0.01 * max(rates) or steps < 100


@pytest.mark.parametrize("ema", [0.3, 0.999])
def test_the_average_is_that_of_the_recorded_weights(ema):
    raw = fresh()
    seen = watched(raw)
    fit(raw, 30, ema=0)
    path = [step for step, _ in seen] + [weights(raw)]
    average = [p.double() for p in path[0]]
    for k, step in enumerate(path[1:]):
        decay = min(ema, (1 + k) / (10 + k))
        average = [decay * a + (1 - decay) * p.double() for a, p in zip(average, step, strict=True)]
    for a, b in zip(trained(steps=30, ema=ema), average, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-7)


def test_the_average_does_not_change_the_path():
    a, b = fresh(), fresh()
    first, second = watched(a), watched(b)
    assert torch.equal(fit(a, ema=0), fit(b, ema=0.9))
    assert all(same(p, q) for (p, _), (q, _) in zip(first, second, strict=True)) and not same(weights(a), weights(b))


def test_what_a_batch_is():
    """Rows of the data, each as likely, with steps 1..T and standard normal noise."""
    data, ddpm = torch.arange(10.0).reshape(10, 1), fresh(lambda: Function(lambda xt, t: xt), T=5)
    seen = watched(ddpm)
    fit(ddpm, 20, x0=data, batch_size=1000)
    rows, t, eps = (torch.cat([args[i] for _, args in seen]) for i in range(3))
    assert rows.shape == (20000, 1) and t.shape == (20000,) and eps.shape == (20000, 1) and t.dtype == torch.int64
    for counts, n in ((torch.bincount(rows.long().flatten(), minlength=10), 10), (torch.bincount(t, minlength=6)[1:], 5)):
        assert len(counts) == n and ((counts - 20000 / n) ** 2 / (20000 / n)).sum() < 40  # chi-square, 9 or 4 degrees of freedom
    assert abs(eps.mean()) < 5 / 20000**0.5 and abs(eps.var() - 1) < 5 * (2 / 20000) ** 0.5
    assert abs(torch.corrcoef(torch.stack([rows.flatten(), t.float(), eps.flatten()])) - torch.eye(3)).max() < 0.04


@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
def test_it_learns(predict):
    ddpm = fresh(lambda: td.MLP(2, 32, 2), predict=predict)
    losses = fit(ddpm, 400, x0=td.data.eight_gaussians(2000, torch.Generator().manual_seed(1)), batch_size=128, ema=0.95)
    assert losses.shape == (400,) and losses.dtype == torch.float32 and not losses.requires_grad
    assert losses[-50:].mean() < 0.9 * losses[:20].mean()
    x, truth = ddpm.sample((500, 2), generator=torch.Generator().manual_seed(2)), DATA
    noise = torch.randn(500, 2, generator=torch.Generator().manual_seed(3))
    assert td.metrics.energy_distance(x, truth) < td.metrics.energy_distance(noise, truth) / 3


def test_a_quadratic_is_solved_up_to_the_noise():
    """The best a in a x_t is known: E[x_t eps] / E[x_t²], here 1 - alpha_bar over 1, as the data have variance 1."""
    schedule = td.Schedule([0.36])
    ddpm = td.DDPM(Function(lambda xt, t: xt), schedule)
    data = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0))
    fit(ddpm, 400, x0=data, batch_size=2000, lr=0.02, ema=0.98)
    assert ddpm.model.a.item() == pytest.approx(0.6, abs=0.02)


def test_the_loss_of_each_step_is_the_one_that_was_computed():
    ddpm = fresh()
    losses, forward = [], ddpm.forward
    ddpm.forward = lambda *args: losses.append(forward(*args)) or losses[-1]
    assert torch.equal(fit(ddpm), torch.stack(losses).detach()) and len(losses) == 10


@pytest.mark.parametrize("mode", [True, False])
def test_in_training_the_network_is_in_training_mode_and_then_as_it_was(mode):
    ddpm, modes = fresh(Dropout).train(mode), []
    ddpm.model.register_forward_hook(lambda module, *_: modes.append(module.training))
    fit(ddpm, 2)
    assert modes == [True, True] and {m.training for m in ddpm.modules()} == {mode}
    assert {p.device.type for p in ddpm.parameters()} == {"cpu"}


def test_a_part_that_was_in_another_mode_is_again():
    ddpm = fresh(Dropout)
    ddpm.model.net[2].eval()
    fit(ddpm, 2)
    assert not ddpm.model.net[2].training and ddpm.model.net[0].training


def test_the_mode_comes_back_after_an_error():
    ddpm = fresh(lambda: Function(lambda xt, t: xt[:1])).eval()
    with pytest.raises(ValueError, match=r"model\(x_t, t\) has shape \(1, 2\)"):
        fit(ddpm)
    assert not ddpm.training


def test_frozen_weights_stay():
    ddpm = fresh()
    ddpm.model.first.weight.requires_grad_(False)
    before = ddpm.model.first.weight.clone()
    fit(ddpm)
    assert torch.equal(ddpm.model.first.weight, before) and ddpm.model.last.weight.requires_grad


def test_the_data_are_left_alone_and_may_have_any_shape():
    for network, shape in ((lambda: td.UNet(1, 8), (5, 1, 8, 8)), (lambda: Function(lambda xt, t: xt), (5,))):
        x0 = torch.randn(shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
        before = x0.detach().clone()
        assert fit(fresh(network), 3, x0=x0).isfinite().all() and torch.equal(x0, before) and x0.grad is None


def test_one_example_is_enough():
    assert fit(fresh(), 3, x0=torch.ones(1, 2), batch_size=1).shape == (3,)


def test_in_float64():
    ddpm = fresh().double()
    losses = fit(ddpm, x0=DATA.double())
    assert losses.dtype == torch.float32 and {p.dtype for p in ddpm.parameters()} == {torch.float64}


def test_mixed_precision_computes_in_bfloat16_and_keeps_float32_weights():
    seen, ddpm = [], fresh(lambda: td.MLP(2, 32, 2))
    ddpm.model.last.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    losses = fit(ddpm, 200, mixed_precision=True, batch_size=64, ema=0.9)
    assert set(seen) == {torch.bfloat16} and {p.dtype for p in ddpm.parameters()} == {torch.float32}
    assert losses.isfinite().all() and losses[-20:].mean() < 0.9 * losses[:5].mean()
    seen.clear()
    fit(ddpm, 2)
    assert set(seen) == {torch.float32}  # on the CPU, not unless asked for


def test_progress(capsys):
    quiet = fit(fresh())
    assert capsys.readouterr() == ("", "")
    shown = fit(fresh(), 10, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "training" in err and "10/10" in err and torch.equal(quiet, shown)
    td.fit(fresh(), DATA, 20, 8)
    assert "loss=" in capsys.readouterr().err  # it is shown by default


def test_progress_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ModuleNotFoundError, match="progress=True needs tqdm"):
        fit(fresh(), progress=True)


@pytest.mark.parametrize("step", [1, 13, 20, 25])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_its_step(step, value, tmp_path):
    """And the last checkpoint is a good one."""
    calls = []

    def model(xt, t):
        calls.append(0)
        return xt * value if len(calls) >= step else xt

    ddpm = fresh(lambda: Function(model))
    with pytest.raises(FloatingPointError, match=f"the loss is (nan|inf) at step {step}: try an lr below 0.01"):
        fit(ddpm, 30, checkpoint=tmp_path, save_every=5)
    good = td.load(tmp_path, Function(model))
    assert good.model.a.isfinite() and td.checkpoint.read(tmp_path).run.step == (step - 1) // 5 * 5


class Root(nn.Module):
    """At 0 its loss is a number, the gradient is not."""

    def __init__(self):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(2))

    def forward(self, xt, t):
        return xt * self.a.abs().sqrt()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    ddpm = fresh(Root)
    with pytest.raises(FloatingPointError, match="the network has weights that are NaN or infinite after step 1"):
        fit(ddpm, 1, checkpoint=tmp_path)
    assert td.load(tmp_path, Root()).model.a.tolist() == [0, 0]


def test_weights_that_are_not_finite_are_not_returned():
    with pytest.raises(FloatingPointError):
        fit(fresh(Root), 1)


def test_a_network_without_parameters_is_refused():
    class Plain(nn.Module):
        def forward(self, xt, t):
            return xt

    with pytest.raises(ValueError, match="parameters"):
        fit(fresh(Plain))


NAN, INF = DATA.clone(), DATA.clone()
NAN[7, 1], INF[9, 0] = math.nan, math.inf


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x0": [[1.0, 2.0]]}, TypeError, r"x0\[0\] is of type float, expected a tensor, an array or a picture"),
        ({"x0": DATA.long()}, TypeError, "x0 has dtype torch.int64, expected a floating-point dtype"),
        ({"x0": torch.tensor(1.0)}, ValueError, r"x0 has shape \(\), expected \(batch"),
        ({"x0": DATA[:0]}, ValueError, r"x0 has shape \(0, 2\), expected at least one example"),
        ({"x0": DATA[:, :0]}, ValueError, r"x0 has shape \(500, 0\), expected at least one example"),
        ({"x0": NAN}, ValueError, r"x0\[7\] has an entry that is NaN or infinite"),
        ({"x0": INF}, ValueError, r"x0\[9\] has an entry that is NaN or infinite"),
        ({"x0": torch.ones(5, 3)}, ValueError, r"xt has shape \(8, 3\), expected \(batch, 2\)"),
        ({"steps": 0}, ValueError, "steps = 0 is below 1"),
        ({"steps": 1.5}, TypeError, "steps = 1.5 is of type float, expected an integer"),
        ({"batch_size": 0}, ValueError, "batch_size = 0 is below 1"),
        ({"batch_size": 8.0}, TypeError, "batch_size = 8.0 is of type float, expected an integer"),
        ({"lr": 0}, ValueError, r"lr = 0 is outside \(0, inf\)"),
        ({"lr": -1e-3}, ValueError, r"lr = -0.001 is outside \(0, inf\)"),
        ({"lr": math.nan}, ValueError, "lr = nan is outside"),
        ({"lr": math.inf}, ValueError, "lr = inf is outside"),
        ({"lr": "1e-3"}, TypeError, "lr = '1e-3' is of type str, expected a number"),
        ({"ema": 1}, ValueError, r"ema = 1 is outside \[0, 1\)"),
        ({"ema": -0.1}, ValueError, r"ema = -0.1 is outside \[0, 1\)"),
        ({"ema": math.nan}, ValueError, "ema = nan is outside"),
        ({"ema": None}, TypeError, "ema = None is of type NoneType, expected a number"),
        ({"seed": -1}, ValueError, "seed = -1 is below 0"),
        ({"seed": None}, TypeError, "seed = None is of type NoneType, expected an integer"),
        ({"save_every": 0}, ValueError, "save_every = 0 is below 1"),
        ({"max_grad_norm": 0}, ValueError, r"max_grad_norm = 0 is outside \(0, inf\)"),
    ],
)
def test_bad_input_is_named(changed, error, message):
    ddpm = fresh()
    before = weights(ddpm)
    with pytest.raises(error, match=message):
        fit(ddpm, **changed)
    assert same(before, weights(ddpm))


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda xt, t: xt[:1], ValueError, r"model\(x_t, t\) has shape \(1, 2\), expected \(8, 2\), the shape of x_t"),
        (lambda xt, t: xt[:, :1], ValueError, r"model\(x_t, t\) has shape \(8, 1\), expected \(8, 2\)"),
        (lambda xt, t: xt.mean(), ValueError, r"model\(x_t, t\) has shape \(\), expected \(8, 2\)"),
    ],
)
@pytest.mark.parametrize("predict", ["eps", "x0", "v"])
def test_an_answer_of_another_shape_is_named(answer, error, message, predict):
    with pytest.raises(error, match=message):
        fit(fresh(lambda: Function(answer), predict=predict))


PROCESSES = """
import os, sys
import torch, torch.distributed
import tinyddpm as td

torch.set_num_threads(1)
folder = sys.argv[1]
rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
data = td.data.eight_gaussians(100, torch.Generator().manual_seed(0)).double()

def run(seed=0, batch_size=6, die=0, x0=data, **more):
    torch.manual_seed(seed)
    ddpm, calls = td.DDPM(td.MLP(2, 8, 1).double(), td.Schedule.linear(20)), []
    def count(module, args):
        calls.append(len(args[0]))
        if len(calls) == die:
            raise InterruptedError
    ddpm.model.register_forward_pre_hook(count)
    losses = td.fit(ddpm, x0, 8, batch_size, 0.01, 0.5, 1, progress=False, save_every=3, **more)
    assert set(calls) == {batch_size // world}
    return ddpm, losses

killed = folder + f"/killed{world}"
if sys.argv[2] == "begin":  # with processes that `fit` brings together
    try:
        run(die=6, checkpoint=killed)
    except InterruptedError:
        assert not torch.distributed.is_initialized()
        sys.exit()
result = {"step": td.checkpoint.read(killed).run.step}
if world > 1:  # and with those that are together already
    torch.distributed.init_process_group("gloo")
again, result["resumed losses"] = run(seed=5, checkpoint=killed, resume=killed)
result["resumed"] = list(again.state_dict().values())
class Read(torch.utils.data.Dataset):
    def __init__(self): self.rows = []
    def __len__(self): return len(data)
    def __getitem__(self, i): self.rows.append(i); return data[i]

rows = Read()
again, result["losses of a Dataset"] = run(x0=rows)
result["read"], result["from a Dataset"] = rows.rows[64:], list(again.state_dict().values())  # after the look at 64 of them
ddpm, result["losses"] = run()
result["weights"] = list(ddpm.state_dict().values())
if world > 1:
    assert torch.distributed.is_initialized()
    try:
        run(batch_size=7)
    except ValueError as error:
        result["error"] = str(error)
torch.save(result, folder + f"/{world}-{rank}")
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What one process has found, and what each of two that torchrun has started on the CPU."""
    folder = tmp_path_factory.mktemp("processes")
    script = folder / "script.py"
    script.write_text(PROCESSES)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for start, stage in product(([], torchrun), ("begin", "end")):
        command = [sys.executable, *start, str(script), str(folder), stage]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=100)
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / name) for name in ("1-0", "2-0", "2-1")]


def test_two_processes_train_as_one(runs):
    """The same weights up to rounding, and in both of them the same."""
    one, first, second = runs
    for a, b, c in zip(one["weights"], first["weights"], second["weights"], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)
        assert torch.equal(b, c)
    torch.testing.assert_close(first["losses"], one["losses"], rtol=1e-6, atol=0)
    assert torch.equal(first["losses"], second["losses"]) and len(one["losses"]) == 8


def test_two_processes_go_on_bit_for_bit(runs):
    for run in runs:
        assert run["step"] == 3 and same(run["resumed"], run["weights"])


def test_the_losses_of_a_resumed_run_are_those_of_the_whole_one(runs):
    assert torch.equal(runs[0]["resumed losses"], runs[0]["losses"])


def test_the_losses_of_a_resumed_run_of_two_processes_are_those_of_the_whole_one(runs):
    torch.testing.assert_close(runs[1]["resumed losses"], runs[1]["losses"], rtol=1e-6, atol=0)


def test_two_processes_read_a_dataset_in_parts(runs):
    """Each its half of every batch, and together what one process reads."""
    one, first, second = runs
    assert len(one["read"]) == 48 and len(first["read"]) == len(second["read"]) == 24
    for step in range(8):
        assert first["read"][3 * step :][:3] + second["read"][3 * step :][:3] == one["read"][6 * step :][:6]
    for a, b in zip(one["from a Dataset"], first["from a Dataset"], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-10, atol=1e-12)


def test_a_batch_that_two_processes_cannot_share_is_named(runs):
    for run in runs[1:]:
        assert run["error"] == "batch_size = 7 is not divisible by 2, the number of processes"


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_trains_where_gradients_are_switched_off_too_and_leaves_none(mode):
    ddpm = fresh()
    with mode():
        fit(ddpm, x0=DATA.clone())
        assert not torch.is_grad_enabled()
    assert same(weights(ddpm), trained()) and all(p.grad is None for p in ddpm.parameters())


def test_a_seed_that_no_generator_takes_is_named():
    with pytest.raises(ValueError, match=r"^seed = 18446744073709551616 is above 2\*\*63 - 1$"):
        fit(fresh(), seed=2**64)
