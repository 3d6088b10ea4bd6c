"""Conditions and guidance: what a network is told, what is made of its two answers, and training that forgets at times."""

import pytest
import torch
from test_nets import seed, woken
from torch import nn

import tinyddpm as td

RING = td.exact.eight_gaussians()
SCHEDULE = td.Schedule.cosine(20)


class Exact(nn.Module):
    """The best network that there is for the ring: told k, it answers for component k alone, told nothing for all."""

    def __init__(self, predict="eps"):
        super().__init__()
        self.condition, self.predict, self.calls = td.Labels(8), predict, 0

    def forward(self, xt, t, c=None):
        self.calls += 1
        c = self.condition.null.expand(len(xt)) if c is None else c
        answer = torch.empty_like(xt)
        for k in c.unique().tolist():
            rows = c == k
            law = RING if k == 8 else RING.given(k)
            answer[rows] = law.eps(SCHEDULE)(xt[rows], t[rows])
        return answer if self.predict == "eps" else td.v_from_eps(SCHEDULE, xt, t, answer)


def networks():
    torch.manual_seed(0)
    yield woken(td.MLP(2, 16, 2, condition=td.Labels(3))), torch.randn(4, 2, generator=seed(0))
    yield woken(td.UNet(1, 8, condition=td.Labels(3))), torch.randn(4, 1, 8, 8, generator=seed(0))


XT, T = torch.randn(6, 2, generator=seed(0)), torch.tensor([1, 5, 10, 12, 19, 20])


# ---- conditions ----


def test_each_label_and_the_null_have_features_of_their_own():
    labels = td.Labels(3, size=5)
    rows = labels(torch.tensor([0, 1, 2, int(labels.null)]))
    assert rows.shape == (4, 5) and (torch.cdist(rows, rows) + torch.eye(4)).min() > 0.1


def test_what_a_network_is_told_matters_row_by_row_and_nothing_is_the_null():
    for network, xt in networks():
        t, c = torch.tensor([1, 2, 3, 4]), torch.tensor([0, 1, 2, 0])
        answer = network(xt, t, c)
        torch.testing.assert_close(network(xt, t), network(xt, t, network.condition.null.expand(4)), rtol=0, atol=0)
        for k in range(3):
            same = torch.isclose(network(xt, t, torch.full((4,), k)), answer, atol=1e-6).flatten(1).all(1)
            assert same.tolist() == (c == k).tolist()
        assert not torch.isclose(network(xt, t), answer).flatten(1).all(1).any()


def test_a_network_without_a_condition_is_as_it_was():
    torch.manual_seed(0)
    plain = td.UNet(1, 8)
    assert "condition" not in plain.arguments and not any("condition" in name for name in plain.state_dict())
    with pytest.raises(ValueError, match=r"^c is given, but the network, a UNet, knows no condition: make it with condition=$"):
        plain(torch.zeros(2, 1, 8, 8), torch.ones(2).long(), torch.zeros(2).long())


# ---- guidance ----


@pytest.mark.parametrize("guidance", [-1.0, 0.0, 0.5, 1.0, 3.0])
def test_two_answers_are_joined_in_one_batch(guidance):
    network, c = Exact(), torch.arange(6)
    told, untold = network(XT, T, c), network(XT, T)
    network.calls = 0
    guided = td.DDPM(network, SCHEDULE).given(c, guidance).eps(XT, T)
    torch.testing.assert_close(guided, untold + guidance * (told - untold))
    assert network.calls == 1


def test_joining_commutes_with_turning_v_into_eps_and_not_with_a_cut():
    by_eps, by_v = (td.DDPM(Exact(predict), SCHEDULE, predict).given(3, 4.0) for predict in ("eps", "v"))
    torch.testing.assert_close(by_v.eps(XT, T), by_eps.eps(XT, T), rtol=1e-4, atol=1e-4)
    cut = td.DDPM(Exact(), SCHEDULE, clip=(-1.5, 1.5))
    first_cut = (1 - 4.0) * cut.x0(XT, T) + 4.0 * cut.given(3).x0(XT, T)
    assert (cut.given(3, 4.0).x0(XT, T) - first_cut).abs().max() > 0.1


def test_told_nothing_is_the_mean_of_the_told_weighted_with_their_chances():
    """The law of total expectation, for the exact answers."""
    chances = RING.chances(SCHEDULE, XT.double(), T)
    each = torch.stack([RING.given(k).eps(SCHEDULE)(XT.double(), T) for k in range(8)], dim=1)
    torch.testing.assert_close((chances[..., None] * each).sum(dim=1), RING.eps(SCHEDULE)(XT.double(), T))


def test_told_one_component_the_exact_model_draws_it():
    points = td.DDPM(Exact(), SCHEDULE, variance="beta_tilde").given(5).sample((500, 2), generator=seed(1))
    assert (torch.cdist(points.double(), RING.means).argmin(dim=1) == 5).all()
    each = td.DDPM(Exact(), SCHEDULE).given(torch.arange(8)).sample((8, 2), generator=seed(1))
    assert torch.cdist(each.double(), RING.means).argmin(dim=1).tolist() == list(range(8))


def test_guidance_0_and_1_are_the_plain_models_path_by_path():
    ddpm, start = td.DDPM(Exact(), SCHEDULE), torch.randn(5, 2, generator=seed(2))
    untold = ddpm.sample_ddim((5, 2), 10, x_T=start)
    assert torch.equal(ddpm.given(3, guidance=0.0).sample_ddim((5, 2), 10, x_T=start), untold)
    law = RING.given(3)
    told = td.sample_ddim(SCHEDULE, law.eps(SCHEDULE), start, steps=10)
    torch.testing.assert_close(ddpm.given(3).sample_ddim((5, 2), 10, x_T=start), told)


def test_who_has_been_told_is_not_told_again():
    ddpm, x0 = td.DDPM(Exact(), SCHEDULE), torch.zeros(3, 2)
    told = ddpm.given(3)
    for again in (lambda: told.given(3), lambda: told(x0, c=torch.zeros(3).long())):
        with pytest.raises(ValueError, match=r"^c is given, but the network has been told one already: use the DDPM"):
            again()


def test_the_bound_of_a_guided_model_is_refused_and_that_of_a_told_one_is_not():
    ddpm, x0 = td.DDPM(Exact(), SCHEDULE), RING.given(3).sample(4, seed(0)).float()
    with pytest.raises(ValueError, match=r"^guidance = 2\.0: the bound is that of a chain that was trained for it"):
        ddpm.given(3, guidance=2.0).vlb(x0)
    told, untold = (model.vlb(x0, generator=seed(1)).total.mean() for model in (ddpm.given(3), ddpm))
    assert told < untold - 1  # the right label is worth about log 8 nats


# ---- training ----


def run(**options):
    torch.manual_seed(0)
    ddpm = td.DDPM(td.MLP(2, 16, 1, condition=td.Labels(8)), SCHEDULE)
    x0 = RING.sample(400, seed(3)).float()
    c = torch.cdist(x0.double(), RING.means).argmin(dim=1)
    losses = td.fit(ddpm, x0, **{"steps": 40, "batch_size": 32, "c": c, "progress": False, **options})
    return ddpm, losses


@pytest.mark.parametrize(("drop", "untouched"), [(0.0, [8]), (1.0, list(range(8)))])
def test_what_is_never_told_or_never_forgotten_is_not_learned(drop, untouched):
    torch.manual_seed(0)
    before = td.MLP(2, 16, 1, condition=td.Labels(8)).condition.embedding.weight
    after = run(drop=drop, ema=0.0)[0].model.condition.embedding.weight
    same = (after == before).all(dim=1)
    assert same.nonzero().flatten().tolist() == untouched


def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path):
    class Killed(Exception):
        pass

    def die(*_):
        die.calls += 1
        if die.calls == 30:
            raise Killed

    die.calls = 0
    whole, losses = run(save_every=10)
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: die() if isinstance(module, td.MLP) else None)
    with pytest.raises(Killed):
        run(save_every=10, checkpoint=tmp_path / "run")
    hook.remove()
    again, repeated = run(save_every=10, checkpoint=tmp_path / "run", resume=tmp_path / "run")
    assert torch.equal(repeated, losses)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), whole.parameters(), strict=True))
    with pytest.raises(ValueError, match=r"^drop = 0\.1 in the checkpoint"):
        run(resume=tmp_path / "run", drop=0.2)
    with pytest.raises(ValueError, match=r"^checksum of c \(what is told\) = \d+ in the checkpoint in .+, expected \d+ as in"):
        run(resume=tmp_path / "run", c=[*range(8)] * 50)  # as many labels, and others


def test_labels_may_be_a_column_of_a_table():
    table = torch.stack([torch.arange(400) % 8, torch.zeros(400).long()], dim=1)
    assert torch.equal(run(c=table[:, 0])[1], run(c=table[:, 0].tolist())[1])


def test_who_is_never_told_anything_learns_the_null_alone():
    """A run without c: told nothing, always."""
    torch.manual_seed(0)
    before = td.MLP(2, 16, 1, condition=td.Labels(8)).condition.embedding.weight
    after = run(c=None, ema=0.0)[0].model.condition.embedding.weight
    assert (after != before).any(dim=1).nonzero().flatten().tolist() == [8]


def test_a_condition_is_kept_by_a_checkpoint_and_does_not_fit_a_network_without_one(tmp_path):
    ddpm, _ = run()
    ddpm.save(tmp_path)
    read = td.load(tmp_path)
    start = torch.randn(3, 2, generator=seed(4))
    kept, own = (model.given(2, 2.0).sample_ddim((3, 2), 5, x_T=start) for model in (read, ddpm))
    assert torch.equal(kept, own)
    with pytest.raises(ValueError, match=r"is of another architecture than MLP: model\.\S*condition\S* is not in the network"):
        td.load(tmp_path, td.MLP(2, 16, 1))


def test_a_loss_of_ones_own_is_told_c():
    class Counting(td.DDPM):
        def forward(self, x0, t, eps, *, c):
            seen.append(c.shape)
            return super().forward(x0, t, eps, c=c)

    seen = []
    torch.manual_seed(0)
    x0 = RING.sample(50, seed(0)).float()
    td.fit(Counting(td.MLP(2, 8, 1, condition=td.Labels(8)), SCHEDULE), x0, 3, 16, c=torch.zeros(50).long(), progress=False)
    assert seen == [(16,)] * 3


# ---- the models that come with the package ----


def test_the_ring_that_comes_with_the_package_knows_its_labels():
    c = torch.arange(400) % 8
    told = td.load_pretrained("eight_gaussians").given(c).sample_ddim((400, 2), 20, generator=seed(5))
    near = torch.cdist(told.double(), RING.means).argmin(dim=1) == c
    assert near.double().mean() > 0.97


def test_the_digits_that_come_with_the_package_know_their_labels():
    """A classifier that has not seen what the model was trained with: which of the test pictures is the nearest."""
    c = torch.arange(100) % 10
    told = td.load_pretrained("digits").given(c, guidance=2.0).sample_ddim((100, 1, 8, 8), 20, generator=seed(5))
    nearest = td.metrics.nearest(told, td.data.digits("test"))[1]
    assert (td.data.digit_labels("test")[nearest] == c).double().mean() > 0.9
