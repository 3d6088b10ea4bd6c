"""The engine knows no diffusion: it trains any module with a loss of a batch, and what it keeps goes on bit for bit."""

import pytest
import torch
from torch import nn

import tinyddpm as td
from tinyddpm import checkpoint, engine
from tinyddpm.examples import survey

DATA = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.tensor([2.0, 1.0, 0.1]))
FOUND = survey("data", DATA)
SETTINGS = {
    "batch_size": 16, "lr": 0.02, "ema": 0.9, "seed": 4, "max_grad_norm": 1.0, "checkpoint": None, "resume": None, "save_every": 5,
    "progress": False, "device": None, "mixed_precision": None,
}  # fmt: skip


class Narrow(nn.Module):
    """A linear autoencoder: three numbers through one, with a little noise in training."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encode, self.decode = nn.Linear(3, 1), nn.Linear(1, 3)

    def forward(self, x):
        code = self.encode(x)
        return (self.decode(code + 0.01 * torch.randn_like(code)) - x).square().mean()


def batches(place, mine, _):
    data = DATA.to(place)
    while True:
        yield (data[torch.randint(len(data), (16,), device=place)[mine]],)


def train(thing, steps=12, **changed):
    return engine.train(thing, thing, batches, FOUND, {"class": "Narrow"}, steps=steps, **{**SETTINGS, "rows": 300, **changed})


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_another_model_learns_what_is_known_of_it():
    """A linear autoencoder keeps the first principal component: what is lost is the variance of the others."""
    thing = Narrow()
    losses = train(thing, 1500, ema=0.99)
    lost = (1.0 + 0.01) / 3
    assert losses[-200:].mean().item() == pytest.approx(lost, rel=0.1) and losses[:5].mean() > 2 * lost


def test_a_run_that_died_goes_on_bit_for_bit(tmp_path):
    whole, killed, calls = Narrow(), Narrow(), []
    losses = train(whole)

    def dies(x):
        calls.append(0)
        if len(calls) == 8:
            raise InterruptedError
        return killed(x)

    with pytest.raises(InterruptedError):
        engine.train(
            killed, dies, batches, FOUND, {"class": "Narrow"}, steps=12, **{**SETTINGS, "rows": 300, "checkpoint": tmp_path}
        )
    assert checkpoint.read(tmp_path).run.step == 5
    again = Narrow()
    assert (
        torch.equal(train(again, checkpoint=tmp_path, resume=tmp_path), losses) and same(again, whole) and not same(again, Narrow())
    )


def test_what_must_be_the_same_is_the_callers_to_say(tmp_path):
    train(Narrow(), checkpoint=tmp_path)
    with pytest.raises(ValueError, match=r"^rows = 300 in the checkpoint in .*, expected 301 as in this run$"):
        train(Narrow(), resume=tmp_path, rows=301)
    with pytest.raises(ValueError, match=r"^trained = Narrow in the checkpoint in .*, expected Wide as in this run$"):
        engine.train(
            Narrow(), Narrow(), batches, FOUND, {"class": "Wide"}, steps=12, **{**SETTINGS, "rows": 300, "resume": tmp_path}
        )


def test_its_checkpoint_is_no_ddpm(tmp_path):
    train(Narrow(), checkpoint=tmp_path)
    assert checkpoint.read(tmp_path).example == (3,)
    with pytest.raises(ValueError, match="holds the weights of a Narrow, which is not of this package"):
        td.load(tmp_path)


@pytest.mark.parametrize(("steps", "most"), [(10, 0), (400, 20), (5000, 100)])
def test_losses_are_looked_at_a_hundred_times_at_most(steps, most, monkeypatch):
    looks, check = [], engine._Training.check
    monkeypatch.setattr(engine._Training, "check", lambda self, weights=False: (looks.append(0), check(self, weights)))
    train(nn.Sequential(nn.Linear(3, 1), nn.Flatten(0), Mean()), steps, ema=0)
    assert len(looks) == most + 1  # and once at the end


class Mean(nn.Module):
    def forward(self, x):
        return x.square().mean()
