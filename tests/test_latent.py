"""The smaller space: what an autoencoder's loss is, that its codes have variance 1, and pictures of words drawn in it."""

import math

import pytest
import torch
import train_pretrained
import train_scenes
from test_nets import seed, woken

import tinyddpm as td
from tinyddpm.latent_ddpm import _up_to

WORDS = ["a", "blue", "circle", "red"]


def autoencoder(**options):
    torch.manual_seed(0)
    return td.Autoencoder(**{"channels": 1, "width": 8, **options})


def pictures(n=6, channels=1, side=32):
    return torch.rand(n, channels, side, side, generator=seed(n)) * 2 - 1


def fit(made, x0, steps=6, **options):
    return td.fit_autoencoder(made, x0, **{"steps": steps, "batch_size": 4, "progress": False, **options})


# ---- the autoencoder ----


def test_sides_are_8_times_shorter_and_each_picture_has_a_code_of_its_own():
    made, x = autoencoder(), torch.rand(3, 1, 16, 24, generator=seed(0))
    law = made.encode(x)
    assert law.mean.shape == law.var.shape == (3, 4, 2, 3) and made.decode(law.mean).shape == x.shape
    torch.testing.assert_close(made.encode(x[1:2]).mean, law.mean[1:2])
    torch.testing.assert_close(made.decode(law.mean[1:2]), made.decode(law.mean)[1:2])


def test_the_loss_is_the_bound_of_chapter_0_for_a_decoder_whose_variance_is_half_the_weight():
    """(0.3) by the laws themselves, with the factor weight / numbers and without what no parameter changes."""
    made, x = autoencoder(weight=0.3).double(), pictures().double()
    eps = torch.randn(6, 4, 4, 4, generator=seed(1), dtype=torch.float64)
    code = made.encode(x)  # shift 0 and scale 1
    decoder = td.Gaussian(made.decode(code.mean + code.var.sqrt() * eps), made.weight / 2)
    surprise = code.kl(td.Gaussian(torch.zeros_like(code.mean), 1.0)).sum() - decoder.log_prob(x).sum()
    constant = x.numel() / 2 * math.log(math.pi * made.weight)
    torch.testing.assert_close(made(x, eps), made.weight * (surprise - constant) / x.numel())


def test_the_noise_in_the_codes_is_drawn_from_the_generator():
    made, x = autoencoder(weight=1.0), pictures()
    eps = torch.randn(6, 4, 4, 4, generator=seed(3))
    assert made(x, generator=seed(3)) == made(x, eps) != made(x, 0 * eps)


def test_afterwards_codes_have_mean_0_and_variance_1_and_pictures_are_what_they_were():
    made, x = autoencoder(), pictures(100) + torch.linspace(-1, 1, 100)[:, None, None, None]
    losses = fit(made, x)
    codes = made.encode(x).mean
    torch.testing.assert_close(codes.mean((0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(codes.square().mean(), torch.ones(()))
    raw = made._raw(x)
    torch.testing.assert_close(made.decode(codes), made._decoded(raw.mean), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(made.encode(x).var / made.encode(x).mean.var(), raw.var / raw.mean.sub(made.shift).var())
    assert losses.shape == (6,) and made.scale != 1


def test_it_learns_pictures_that_have_few_numbers():
    """Of each half is grey as it likes, and half always the same: of its 256 numbers one says it all."""
    x = torch.full((200, 1, 16, 16), 0.5)
    x[..., :8] = torch.rand(200, 1, 1, 1, generator=seed(0)) * 2 - 1
    made = autoencoder(width=16)
    fit(made, x, steps=150, batch_size=32, lr=1e-2, ema=0.9)
    assert (made.decode(made.encode(x).mean) - x).square().mean() < 0.02 * x.var()


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    x, whole, parts = pictures(), autoencoder(), autoencoder()
    losses = fit(whole, x, seed=2)
    fit(autoencoder(), x, seed=2, checkpoint=tmp_path / "run", save_every=2)
    saved = td.checkpoint.read(tmp_path / "run")
    assert saved.run.step == 6
    loss, calls = parts._loss, []

    def dying(*batch):
        calls.append(0)
        if len(calls) == 4:
            raise InterruptedError
        return loss(*batch)

    parts._loss = dying
    with pytest.raises(InterruptedError):
        fit(parts, x, seed=2, checkpoint=tmp_path / "killed", save_every=2)
    parts = autoencoder()
    assert torch.equal(fit(parts, x, seed=2, resume=tmp_path / "killed"), losses)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), parts.state_dict().values(), strict=True))


# ---- and a DDPM on its codes ----


def latent(**options):
    made = autoencoder()
    fit(made, pictures(20), steps=2)
    network = woken(td.UNet(4, 8, condition=td.Text(WORDS, length=3, size=16)))
    ddpm = td.DDPM(network, td.Schedule.cosine(20), **options)
    with torch.no_grad():
        codes = made.encode(pictures(20)).mean
    td.fit(ddpm, codes, steps=2, batch_size=4, progress=False, c=["a red circle", "a blue circle"] * 10)
    return td.LatentDDPM(made, ddpm)


def decoded(made, codes):
    with torch.no_grad():
        return made.autoencoder.decode(codes).clamp(-1, 1)


SAID = ["a red circle", "a blue circle", "circle"]


def test_what_is_drawn_is_decoded_from_codes_that_were_told():
    made = latent()
    codes = made.ddpm.given(SAID, 2.0).sample_ddim((3, 4, 4, 4), 5, generator=seed(1))
    drawn = made.draw(SAID, guidance=2.0, steps=5, generator=seed(1))
    torch.testing.assert_close(drawn, decoded(made, codes), rtol=0, atol=0)
    assert not drawn.requires_grad and made.example_shape == (1, 32, 32)
    other = made.draw(SAID[::-1], guidance=2.0, steps=5, generator=seed(1))
    assert (drawn - other).abs().amax((1, 2, 3)).gt(1e-5).tolist() == [True, False, True]


def test_a_string_is_one_prompt_and_the_empty_one_says_nothing():
    made = latent()
    one = made.draw("a red circle", steps=3, generator=seed(1))
    torch.testing.assert_close(one, made.draw(["a red circle"], steps=3, generator=seed(1)), rtol=0, atol=0)
    untold = decoded(made, made.ddpm.sample_ddim((2, 4, 4, 4), 3, generator=seed(1)))
    torch.testing.assert_close(made.draw(["", ""], steps=3, generator=seed(1)), untold)


def test_a_negative_prompt_stands_where_else_nothing_is_told():
    made, xt, t = latent(), torch.randn(3, 4, 4, 4, generator=seed(0)), torch.full((3,), 9)
    with torch.no_grad():
        c, no = (made.ddpm.model.condition._checked(said).expand(3, 3) for said in (SAID, "a circle"))
        told, untold = made.ddpm.model(xt, t, c), made.ddpm.model(xt, t, no)
        guided = made.ddpm.given(SAID, 2.5, negative="a circle").model(xt, t)
    torch.testing.assert_close(guided, untold + 2.5 * (told - untold))
    drawn = [
        made.draw(SAID, 2.5, 3, negative=no, generator=seed(1)) for no in (None, "", "a circle", ["a circle"] * 3, "a red circle")
    ]
    torch.testing.assert_close(drawn[1], drawn[0], rtol=0, atol=0)  # nothing is said in both
    torch.testing.assert_close(drawn[3], drawn[2], rtol=0, atol=0)
    assert not torch.allclose(drawn[2], drawn[0], atol=1e-5)
    alone = made.draw(SAID[:1], 1.0, 3, generator=seed(2))  # away from itself leads nowhere
    torch.testing.assert_close(made.draw(SAID[:1], 2.5, 3, negative=SAID[0], generator=seed(2)), alone, rtol=1e-4, atol=1e-5)


def test_the_first_steps_of_a_chain_are_a_chain():
    """From where the whole one passes, the part goes on to the same end, with the same noise."""
    ddpm, states = latent().ddpm, {}
    ddpm.sample_ddim((3, 4, 4, 4), 20, 0.0, generator=seed(0), callback=lambda t, x: states.update({t: x.clone()}))
    end = _up_to(ddpm, 12).sample_ddim((3, 4, 4, 4), 12, x_T=states[12])
    torch.testing.assert_close(end, states[0])


def test_a_picture_to_begin_with_is_noised_up_to_a_share_of_the_steps_and_goes_down_from_there():
    made, start = latent(), pictures(3)
    with torch.no_grad():
        z = made.autoencoder.encode(start).mean
    xt = td.q_sample(made.ddpm.schedule, z, 10, torch.randn(z.shape, generator=seed(1)))
    codes = _up_to(made.ddpm, 10).given(SAID, 3.0).sample_ddim(z.shape, 3, x_T=xt)
    drawn = made.draw(SAID, steps=6, start=start, strength=0.5, generator=seed(1))
    torch.testing.assert_close(drawn, decoded(made, codes), rtol=0, atol=0)
    one = made.draw(SAID, steps=6, start=start[:1], generator=seed(1))
    torch.testing.assert_close(one[0], made.draw(SAID, steps=6, start=start, generator=seed(1))[0], rtol=0, atol=1e-4)
    kept, lost = (
        made.draw(SAID, steps=20, start=start, strength=share, generator=seed(1)) - decoded(made, z) for share in (0.05, 1.0)
    )
    assert kept.square().mean() < 0.1 * lost.square().mean()


@pytest.mark.parametrize("options", [{}, {"predict": "v", "clip": (-3, 3), "variance": "beta_tilde"}])
def test_it_is_kept_whole(tmp_path, options):
    made = latent(**options)
    made.save(tmp_path / "kept")
    again = td.load(tmp_path / "kept")
    assert type(again) is td.LatentDDPM and not again.training and again.ddpm.clip == options.get("clip")
    torch.testing.assert_close(
        again.draw(SAID, steps=3, generator=seed(1)), made.draw(SAID, steps=3, generator=seed(1)), rtol=0, atol=0
    )


# ---- the one that comes with the package ----


def test_the_training_script_goes_on_where_it_was_and_shows_no_withheld_thing(tmp_path, monkeypatch):
    """With few pictures and steps: stopped between its stages and begun again, it ends in the same weights."""
    drawn, draw, codes = [], td.scenes.draw, train_scenes.codes
    for name, value in {"PICTURES": 40, "CODES": 40, "PART": 20, "STEPS": {"autoencoder": 2, "ddpm": 2}}.items():
        monkeypatch.setattr(train_scenes, name, value)
    monkeypatch.setattr(td.scenes, "draw", lambda said, *generator: drawn.extend(said) or draw(said, *generator))
    monkeypatch.setattr(train_pretrained, "FOLDER", tmp_path / "out")

    def trained(run):
        monkeypatch.setattr("sys.argv", ["train_scenes.py", str(tmp_path / run)])
        train_scenes.main()
        return td.load(tmp_path / "out/scenes").state_dict()

    whole = trained("whole")
    monkeypatch.setattr(train_scenes, "codes", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trained("parts")
    monkeypatch.setattr(train_scenes, "codes", codes)
    parts = trained("parts")
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    assert len(drawn) == 200 and not [said for said in drawn if any(thing in said for thing in td.scenes.WITHHELD)]


@pytest.fixture(scope="module")
def scenes():
    return td.load_pretrained("scenes")


@pytest.mark.parametrize("withheld", [False, True])
def test_decoded_true_pictures_are_read_as_the_originals_are(scenes, withheld):
    said = td.scenes.captions(50, seed(1), withheld=withheld)
    with torch.no_grad():
        again = decoded(scenes, scenes.autoencoder.encode(td.scenes.draw(said, seed(2))).mean)
    assert [reading.caption for reading in td.scenes.read(again)] == said


def test_the_shipped_codes_have_variance_1(scenes):
    with torch.no_grad():
        codes = scenes.autoencoder.encode(td.scenes.draw(td.scenes.captions(200, seed(3)), seed(4))).mean
    assert codes.square().mean().item() == pytest.approx(1, abs=0.05) and codes.mean((0, 2, 3)).abs().max() < 0.1


@pytest.mark.parametrize(("withheld", "least"), [(False, 36), (True, 34)])
def test_what_is_drawn_is_what_was_said(scenes, withheld, least):
    """Of 40. At the rates that the book measures, as few as these come once in a thousand seeds."""
    said = td.scenes.captions(40, seed(5), withheld=withheld)
    found = [reading.caption for reading in td.scenes.read(scenes.draw(said, generator=seed(6)))]
    assert sum(a == b for a, b in zip(found, said, strict=True)) >= least
