"""Models of diffusers, read and written, are held to an installed diffusers: its network, its scheduler, its loaders."""

import inspect
import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import norm
from test_checkpoint import stop_at
from test_coming_from import exact_tables
from torch.distributions import Normal, kl_divergence

import tinyddpm as td
from tinyddpm.interchange import PIPELINE, PREDICT, SCHEDULER, VARIANCE, WEIGHTS, load_diffusers, to_diffusers
from tinyddpm.unet2d import ACTIVATIONS, UNet2D

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: it needs Python 3.11 or newer")

BASE = {
    "sample_size": 8, "in_channels": 2, "out_channels": 2, "block_out_channels": [8, 16], "layers_per_block": 1,
    "norm_num_groups": 4, "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
CIFAR = {  # the published model of Ho et al., but for its widths: what an early version of diffusers wrote
    "act_fn": "silu", "attention_head_dim": None, "block_out_channels": [8, 16, 16, 16], "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"], "downsample_padding": 0,
    "flip_sin_to_cos": False, "freq_shift": 1, "in_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1,
    "norm_eps": 1e-06, "norm_num_groups": 4, "out_channels": 3, "sample_size": 32, "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}  # fmt: skip
LARGE = {  # those of 256 x 256 pictures, such as ddpm-celebahq-256 and ddpm-church-256, but for their widths
    **CIFAR, "block_out_channels": [8, 8, 16, 16, 24, 24], "sample_size": 256,
    "down_block_types": [*["DownBlock2D"] * 4, "AttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "AttnUpBlock2D", *["UpBlock2D"] * 4],
}  # fmt: skip
OLD_SCHEDULER = {  # and its schedule, in full
    "_class_name": "DDPMScheduler", "_diffusers_version": "0.1.1", "beta_end": 0.02, "beta_schedule": "linear",
    "beta_start": 0.0001, "clip_sample": True, "num_train_timesteps": 1000, "trained_betas": None, "variance_type": "fixed_large",
}  # fmt: skip
RESNETS = {  # as the consistency models of OpenAI are written
    "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"],
    "block_out_channels": [8, 16, 24], "resnet_time_scale_shift": "scale_shift", "downsample_type": "resnet",
    "upsample_type": "resnet", "attn_norm_num_groups": 8, "layers_per_block": 2,
}  # fmt: skip
CONFIGS = {
    "base": {},
    "cifar": CIFAR,
    "resnets": RESNETS,
    "one level": {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
    "attention above only": {
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D"], "up_block_types": ["UpBlock2D", "AttnUpBlock2D"],
    },
    "other ways up than down": {"down_block_types": ["ResnetDownsampleBlock2D", "DownBlock2D"]},
    "attention halved by a block, doubled by a convolution": {
        "down_block_types": ["AttnDownBlock2D", "DownBlock2D"], "downsample_type": "resnet",
        "resnet_time_scale_shift": "scale_shift",
    },
    "many heads": {"attention_head_dim": 2},
    "one head": {"attention_head_dim": None},
    "heads that leave a rest": {"attention_head_dim": 3},
    "scale and shift": {"resnet_time_scale_shift": "scale_shift"},
    "no attention below": {"add_attention": False},
    "padding below and on the right": {"downsample_padding": 0},
    "sines first": {"flip_sin_to_cos": False},
    "a shift of the waves": {"freq_shift": 1},
    "a learned table": {"time_embedding_type": "learned", "num_train_timesteps": 1000},
    "a wide time": {"time_embedding_dim": 20},
    "centred": {"center_input_sample": True},
    "divided below": {"mid_block_scale_factor": 1.5},
    "groups of its own below": {"attn_norm_num_groups": 2},
    "a large epsilon": {"norm_eps": 0.1},
    "dropout": {"dropout": 0.3},
    "three layers": {"layers_per_block": 3},
    **{act: {"act_fn": act} for act in ACTIVATIONS},
}  # fmt: skip
TIMES = torch.tensor([1, 2, 500, 1000])


def seed(n):
    return torch.Generator().manual_seed(n)


def theirs(**changed):
    """A network of diffusers in which every weight is random, so that no layer does nothing."""
    generator = seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(**{**BASE, **changed}).eval()
    with torch.no_grad():
        for p in network.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
    return network


def both(**changed):
    """The same network, theirs and ours."""
    network = theirs(**changed)
    ours = UNet2D(**{**BASE, **changed}).eval()
    ours.load_state_dict(network.state_dict())
    return network, ours


def pictures(*shape, n=1):
    return torch.randn(shape, generator=seed(n))


def folder_of(folder, network, **scheduler):
    """A model as diffusers writes it."""
    network.save_pretrained(folder)
    diffusers.DDPMScheduler(**scheduler).save_pretrained(folder)
    return folder


def small(folder, **scheduler):
    return folder_of(folder, theirs(), **{"num_train_timesteps": 20, "beta_end": 0.3, **scheduler})


def edit(file, **changed):
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


# ---- the network ----


@torch.no_grad()
@pytest.mark.parametrize("changed", CONFIGS.values(), ids=CONFIGS)
def test_the_network_answers_as_theirs(changed, record_property):
    network, ours = both(**changed)
    channels = network.config.in_channels
    assert ours.state_dict().keys() == network.state_dict().keys()
    x = pictures(4, channels, 16, 16)
    answer = network(x, TIMES - 1).sample
    assert answer.std() > 0.1
    worst = (ours(x, TIMES) - answer).abs().max().item()
    record_property("worst", worst)
    assert worst < 1e-5
    for t in (1, 77, 1000):
        assert (ours(x, torch.full((4,), t)) - network(x, t - 1).sample).abs().max() < 1e-5
    wide = pictures(2, channels, 8, 24)
    assert (ours(wide, TIMES[1:3]) - network(wide, TIMES[1:3] - 1).sample).abs().max() < 1e-5
    network, ours = network.double(), ours.double()
    assert (ours(x.double(), TIMES) - network(x.double(), TIMES - 1).sample).abs().max() < 1e-12


def test_every_argument_changes_the_answer():
    """So that the comparison above sees each: none of them is read and forgotten, here or there."""
    x, default = pictures(4, 2, 16, 16), both()[1]
    for name in CONFIGS.keys() - {"base", "cifar", "resnets", "one level", "dropout", "silu", "swish"}:
        changed = CONFIGS[name]
        network = UNet2D(**{**BASE, **changed}).eval()
        if network.state_dict().keys() == default.state_dict().keys():
            shapes = [p.shape for p in network.parameters()] == [p.shape for p in default.parameters()]
            if shapes:
                network.load_state_dict(default.state_dict())
                assert (network(x, TIMES) - default(x, TIMES)).abs().max() > 1e-4, name


def test_gradients_are_theirs_and_dropout_is_for_training_only():
    x, target = pictures(4, 2, 16, 16), pictures(4, 2, 16, 16, n=2)
    network, ours = (made.double() for made in both())
    (network(x.double(), TIMES - 1).sample - target).square().mean().backward()
    (ours(x.double(), TIMES) - target).square().mean().backward()
    there = dict(network.named_parameters())
    assert max(p.grad.abs().max() for p in there.values()) > 0.1
    for name, p in ours.named_parameters():
        assert (p.grad - there[name].grad).abs().max() <= 1e-12, name
    # Their attention draws too, for a dropout of 0: so there is none here.
    plain = {"down_block_types": ["DownBlock2D"] * 2, "up_block_types": ["UpBlock2D"] * 2, "add_attention": False}
    network, ours = both(dropout=0.3, **plain)
    network.train(), ours.train()
    answers = []
    for answer in (lambda: network(x, TIMES - 1).sample, lambda: ours(x, TIMES)):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            answers.append(answer())
    assert (answers[0] - answers[1]).abs().max() < 1e-5
    assert (ours.eval()(x, TIMES) - answers[1]).abs().max() > 0.01


def test_the_defaults_are_theirs():
    """But for those that are not ours: a config of theirs need not say what is the default."""
    ours, there = UNet2D.__init__.__kwdefaults__, diffusers.UNet2DModel.__init__
    defaults = {n: p.default for n, p in inspect.signature(there).parameters.items()}
    assert {name: defaults[name] for name in ours} == ours
    assert defaults.keys() - ours.keys() == {"self", "mid_block_type", "class_embed_type", "num_class_embeds"}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, ValueError,
         r"^down_block_types\[0\] = 'SkipDownBlock2D' is not one of 'DownBlock2D', 'ResnetDownsampleBlock2D', 'AttnDownBlock2D'$"),
        ({"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}, ValueError, r"^up_block_types\[1\] = 'CrossAttnUpBlock2D' is"),
        ({"up_block_types": ["UpBlock2D"]}, ValueError, "^up_block_types has 1 entries, expected 2, one for each of block_out_"),
        ({"up_block_types": "UpBlock2D"}, TypeError, "^up_block_types = 'UpBlock2D' is of type str, expected a sequence"),
        ({"block_out_channels": []}, ValueError, "^block_out_channels is empty"),
        ({"block_out_channels": [8, 18]}, ValueError, r"^block_out_channels\[1\] = 18 is not a multiple of 4, norm_num_groups$"),
        ({"block_out_channels": [8, "16"]}, TypeError, r"^block_out_channels\[1\] = '16' is of type str, expected an integer$"),
        ({"block_out_channels": [9, 18], "norm_num_groups": 9}, ValueError, r"^block_out_channels\[0\] = 9 is not a multiple of"),
        ({"time_embedding_type": "fourier"}, ValueError, "^time_embedding_type = 'fourier' is not one of 'positional', 'learned'$"),
        ({"time_embedding_type": "learned"}, ValueError, "^num_train_timesteps = None, expected the number of steps"),
        ({"out_channels": 4}, ValueError, r"^out_channels = 4 is not 2, the value of in_channels \(a learned variance is not supp"),
        ({"out_channels": 3}, ValueError, "^out_channels = 3 is not 2, the value of in_channels$"),
        ({"resnet_time_scale_shift": "spatial"}, ValueError, "^resnet_time_scale_shift = 'spatial' is not one of 'default', 's"),
        ({"downsample_type": "fir"}, ValueError, "^downsample_type = 'fir' is not one of 'conv', 'resnet'$"),
        ({"upsample_type": None}, ValueError, "^upsample_type = None is not one of 'conv', 'resnet'$"),
        ({"downsample_padding": True}, TypeError, "^downsample_padding = True is of type bool, expected an integer$"),
        ({"downsample_padding": 2}, ValueError, "^downsample_padding = 2 is not one of 0, 1$"),
        ({"act_fn": "tanh"}, ValueError, "^act_fn = 'tanh' is not one of 'silu'"),
        ({"attention_head_dim": 17}, ValueError, r"^attention_head_dim = 17 is above 16, block_out_channels\[1\]$"),
        ({"attention_head_dim": 0}, ValueError, "^attention_head_dim = 0 is below 1$"),
        ({"attn_norm_num_groups": 3}, ValueError, "^attn_norm_num_groups = 3 does not divide 16, the last width$"),
        ({"norm_num_groups": None}, TypeError, "^norm_num_groups = None is of type NoneType, expected an integer$"),
        ({"norm_eps": 0}, ValueError, r"^norm_eps = 0 is outside \(0, inf\)$"),
        ({"freq_shift": 4}, ValueError, r"^freq_shift = 4 is outside \(-inf, 4\)$"),
        ({"mid_block_scale_factor": 0}, ValueError, r"^mid_block_scale_factor = 0 is outside \(0, inf\)$"),
        ({"dropout": 1.0}, ValueError, r"^dropout = 1.0 is outside \(-inf, 1\)$"),
        ({"dropout": -0.5}, ValueError, "^dropout = -0.5 is below 0$"),
        ({"layers_per_block": 0}, ValueError, "^layers_per_block = 0 is below 1$"),
        ({"flip_sin_to_cos": 1}, TypeError, "^flip_sin_to_cos = 1 is of type int, expected True or False$"),
        ({"sample_size": [8, 8, 8]}, TypeError, r"^sample_size = \[8, 8, 8\] is of type list, expected a side, a pair"),
        ({"sample_size": 0}, ValueError, "^sample_size = 0 is below 1$"),
        ({"sample_size": 8.0}, TypeError, r"^sample_size = 8\.0 is of type float"),
    ],
)  # fmt: skip
def test_what_the_network_does_not_know_is_refused_by_name(changed, error, message):
    with pytest.raises(error, match=message):
        UNet2D(**{**BASE, **changed})


def test_what_the_network_is_asked_is_checked():
    network, x = UNet2D(**BASE), pictures(4, 2, 8, 8)
    for bad, t, error, message in (
        (
            x[:, :1],
            TIMES,
            ValueError,
            r"^xt has shape \(4, 1, 8, 8\), expected \(batch, 2, height, width\) with sides divisible",
        ),
        (x[..., :7], TIMES, ValueError, r"^xt has shape \(4, 2, 8, 7\), expected"),
        (x.double(), TIMES, TypeError, r"^xt has dtype torch.float64, expected torch.float32, that of the network$"),
        (x, TIMES[:1], ValueError, r"^t has shape \(1,\), expected \(4,\), a step for each row of xt$"),
        (x, TIMES.float(), TypeError, "^t has dtype torch.float32"),
        (x.to("meta"), TIMES, ValueError, "^xt is on meta, expected cpu"),
    ):
        with pytest.raises(error, match=message):
            network(bad, t)
    with pytest.raises(ValueError, match=r"^t has steps outside 1\.\.1000, those of the network$"):
        both(**CONFIGS["a learned table"])[1](x, TIMES + 1)


def test_it_compiles_in_one_piece_and_works_in_half_precision():
    ours, x = both()[1], pictures(4, 2, 8, 8)
    compiled = torch.compile(ours, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, TIMES), ours(x, TIMES))
    half = both()[1].bfloat16()
    assert (half(x.bfloat16(), TIMES).float() - ours(x, TIMES)).abs().max() < 0.2


def test_it_is_saved_loaded_trained_and_resumed_like_our_own(tmp_path):
    def made():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return td.DDPM(UNet2D(**BASE, dropout=0.1), td.Schedule.cosine(20), clip=(-1, 1))

    options = {"steps": 4, "batch_size": 4, "seed": 0, "progress": False}
    x0, dies = pictures(16, 2, 8, 8).clamp(-1, 1), stop_at(made(), 3)
    whole = td.fit(made(), x0, **options)
    with pytest.raises(RuntimeError, match="killed"):
        td.fit(dies, x0, checkpoint=tmp_path, save_every=2, **options)
    ddpm = td.load(tmp_path)
    assert torch.equal(td.fit(ddpm, x0, resume=tmp_path, **options), whole)
    ddpm.save(tmp_path / "saved")
    again = td.load(tmp_path / "saved")
    assert again.model.arguments == ddpm.model.arguments
    assert torch.equal(again.sample((2, 2, 8, 8), generator=seed(0)), ddpm.sample((2, 2, 8, 8), generator=seed(0)))


# ---- a model is read ----


PARTS = {"unet": ["diffusers", "UNet2DModel"], "scheduler": ["diffusers", "DDPMScheduler"]}
LAYOUTS = {  # where the network and the scheduler are, and whether a file says that it is a pipeline
    "one folder": (".", ".", False), "one folder, a pipeline": (".", ".", True), "folders": ("unet", "scheduler", True),
    "folders, said nowhere": ("unet", "scheduler", False), "only the network in one": ("unet", ".", True),
    "only the scheduler in one": (".", "scheduler", True),
}  # fmt: skip


def with_old_names(network):
    """The weights of a network by the names of before, those of attention."""
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in network.state_dict().items():
        for new, old in names.items():
            name = name.replace(f".{new}.", f".{old}.")
        tensors[name] = tensor
    return tensors


@pytest.mark.parametrize(("layout", "config"), [*[(layout, CIFAR) for layout in LAYOUTS], ("one folder, a pipeline", LARGE)])
def test_the_published_models_of_ho_et_al_are_read_wherever_their_files_lie(tmp_path, layout, config):
    """Their files as they are, but for the widths: old configurations, and old names of the weights of attention."""
    unet, scheduler, said = LAYOUTS[layout]
    network, tensors = theirs(**config), with_old_names(theirs(**config))
    assert sum(".proj_attn.weight" in name for name in tensors) == 2 + 3 + 1
    for folder in (tmp_path / unet, tmp_path / scheduler):
        folder.mkdir(exist_ok=True)
    save_file(tensors, tmp_path / unet / WEIGHTS)
    written = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", **config}
    (tmp_path / unet / "config.json").write_text(json.dumps(written))
    variance = {"variance_type": "fixed_large" if config is CIFAR else "fixed_small"}
    (tmp_path / scheduler / SCHEDULER).write_text(json.dumps(OLD_SCHEDULER | variance))
    if said:
        (tmp_path / PIPELINE).write_text(json.dumps({"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1", **PARTS}))
    ddpm, side = load_diffusers(tmp_path), config["sample_size"]
    found = (ddpm.predict, ddpm.variance, ddpm.clip, ddpm.example_shape, ddpm.training)
    assert found == ("eps", "beta" if config is CIFAR else "beta_tilde", (-1, 1), (3, side, side), False)
    assert torch.equal(ddpm.schedule.beta, td.Schedule.linear(1000, 1e-4, 0.02).beta)
    there = diffusers.UNet2DModel.from_pretrained(tmp_path / unet).eval()
    x = pictures(4, 3, 32, 32)
    with torch.no_grad():
        answer = there(x, TIMES - 1).sample
        assert (ddpm.model(x, TIMES) - answer).abs().max() < 1e-5
        assert (network(x, TIMES - 1).sample - answer).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("config", "widths", "millions"),
    [(CIFAR, [128, 256, 256, 256], 35.7), (LARGE, [128, 128, 256, 256, 512, 512], 114)], ids=["cifar", "large"],
)  # fmt: skip
def test_at_their_own_widths_they_have_as_many_weights_as_the_paper_says(config, widths, millions):
    """Ho et al. 2020, appendix B: 35.7 million for CIFAR-10, 114 million for CelebA-HQ and LSUN."""
    with torch.device("meta"):
        network = UNet2D(**config | {"block_out_channels": widths, "norm_num_groups": 32})
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 1 if millions < 100 else None) == millions


def test_averaged_weights_are_read_with_what_their_file_says_of_the_averaging(tmp_path):
    small(tmp_path)
    network = diffusers.UNet2DModel.from_pretrained(tmp_path)
    average = diffusers.training_utils.EMAModel(network.parameters(), model_cls=diffusers.UNet2DModel, model_config=network.config)
    average.save_pretrained(tmp_path / "unet")
    assert {"decay", "optimization_step"} <= json.loads((tmp_path / "unet" / "config.json").read_text()).keys()
    x, ours = pictures(4, 2, 8, 8), load_diffusers(tmp_path)
    assert "decay" not in ours.model.arguments
    with torch.no_grad():
        assert (ours.model(x, TIMES) - network.eval()(x, TIMES - 1).sample).abs().max() < 1e-5


def test_a_pipeline_that_does_more_with_what_the_network_answers_is_refused(tmp_path):
    """Its network makes codes, not pictures."""
    options = {"in_channels": 2, "out_channels": 2, "latent_channels": 2, "block_out_channels": [8], "norm_num_groups": 4}
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=20)
    diffusers.LDMPipeline(vqvae=diffusers.VQModel(**options), unet=theirs(), scheduler=scheduler).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"^{tmp_path / PIPELINE}: it has the part 'vqvae', expected 'unet' and 'scheduler' alone"):
        load_diffusers(tmp_path)
    edit(tmp_path / PIPELINE, vqvae=[None, None], mel=None)  # parts that are not there
    assert load_diffusers(tmp_path).schedule.T == 20


def test_the_layout_of_a_pipeline_is_read(tmp_path):
    scheduler = diffusers.DDIMScheduler(num_train_timesteps=50, prediction_type="v_prediction", clip_sample_range=2.0)
    diffusers.DDIMPipeline(unet=theirs(sample_size=(8, 16)), scheduler=scheduler).save_pretrained(tmp_path)
    ddpm = load_diffusers(str(tmp_path))
    assert (ddpm.predict, ddpm.variance, ddpm.clip, ddpm.example_shape) == ("v", "beta_tilde", (-2, 2), (2, 8, 16))
    assert ddpm.schedule.T == 50


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"])
def test_their_schedules_are_read(tmp_path, name):
    """As they are meant: there, they are rounded to float32 in several steps."""
    options = {"beta_schedule": name, "num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.1}
    ddpm = load_diffusers(folder_of(tmp_path, theirs(), **options))
    betas = diffusers.DDPMScheduler(**options).betas
    torch.testing.assert_close(ddpm.schedule.beta[1:].float(), betas, rtol=2e-6, atol=1e-6 if "cos" in name else 1e-8)


def test_variances_of_its_own_are_read_to_the_last_digit(tmp_path):
    beta = torch.rand(20, generator=seed(0), dtype=torch.float64) * 0.5 + 0.01
    ddpm = load_diffusers(small(tmp_path, trained_betas=beta.tolist()))
    assert torch.equal(ddpm.schedule.beta[1:], beta)


def test_what_an_old_file_does_not_say_is_what_is_the_default_now(tmp_path):
    small(tmp_path)
    (tmp_path / SCHEDULER).write_text('{"_class_name": "DDPMScheduler"}')
    ddpm, now = load_diffusers(tmp_path), diffusers.DDPMScheduler().config
    assert (ddpm.predict, ddpm.variance) == (PREDICT[now.prediction_type], VARIANCE[now.variance_type])
    assert now.clip_sample and ddpm.clip == (-now.clip_sample_range, now.clip_sample_range)
    assert torch.equal(ddpm.schedule.beta, td.Schedule.linear(now.num_train_timesteps, now.beta_start, now.beta_end).beta)


def test_old_names_of_blocks_mean_the_same(tmp_path):
    small(tmp_path)
    x, before = pictures(4, 2, 8, 8), load_diffusers(tmp_path)
    types = {
        "down_block_types": ["UNetResDownBlock2D", "UNetResAttnDownBlock2D"],
        "up_block_types": ["AttnUpBlock2D", "UNetResUpBlock2D"],
    }
    edit(tmp_path / "config.json", **types)
    assert torch.equal(load_diffusers(tmp_path).model(x, TIMES), before.model(x, TIMES))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_read_in_float32(tmp_path, dtype):
    network = theirs().to(dtype)
    ddpm = load_diffusers(folder_of(tmp_path, network))
    assert {p.dtype for p in ddpm.parameters()} == {torch.float32}
    assert all(torch.equal(ddpm.model.state_dict()[name], p.float()) for name, p in network.state_dict().items())


def test_reading_draws_nothing(tmp_path):
    small(tmp_path)
    before = torch.get_rng_state()
    load_diffusers(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


# ---- what it computes ----


@torch.no_grad()
def their_states(network, scheduler, x, generator):
    states = []
    for t in scheduler.timesteps:
        x = scheduler.step(network(x, t).sample, t, x, generator=generator).prev_sample
        states.append(x)
    return torch.stack(states)


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("kind", PREDICT)
def test_it_samples_step_by_step_as_there(tmp_path, kind, variance, clip, record_property):
    options = {"prediction_type": kind, "variance_type": variance, "clip_sample": clip, "clip_sample_range": 1.5}
    ddpm = load_diffusers(small(tmp_path, **options))
    network, scheduler = (c.from_pretrained(tmp_path) for c in (diffusers.UNet2DModel, diffusers.DDPMScheduler))
    x_T, ours = pictures(3, 2, 8, 8), []
    ddpm.sample(x_T.shape, x_T=x_T, generator=seed(2), callback=lambda t, x: ours.append(x.clone()) if t < 20 else None)
    ours = torch.stack(ours)
    there = their_states(network.eval(), scheduler, x_T, seed(2))  # their float32 tables
    worst = ((ours - there).abs().amax((1, 2, 3, 4)) / there.abs().amax((1, 2, 3, 4))).max().item()
    record_property("worst", worst)
    assert ours.shape == there.shape and worst < 1e-4
    exact = their_states(network.double(), exact_tables(scheduler, ddpm.schedule), x_T.double(), seed(2))
    again, start = ddpm.double(), x_T.double()
    end = again.sample(start.shape, x_T=start, generator=seed(2))
    torch.testing.assert_close(end, exact[-1], rtol=1e-9, atol=1e-9)


def minus_log_prob(x, mean, std):
    """Of bytes in [-1, 1], each the interval around it under a normal law; the outermost ones reach to infinity."""
    up = np.where(x > 1 - 1e-6, np.inf, (x + 1 / 255 - mean) / std)
    down = np.where(x < -1 + 1e-6, -np.inf, (x - 1 / 255 - mean) / std)
    flip = np.where(down > 0, -1, 1)  # on the side where the two are small
    low, high = np.minimum(flip * up, flip * down), np.maximum(flip * up, flip * down)
    return -(norm.logcdf(high) + np.log1p(-np.exp(norm.logcdf(low) - norm.logcdf(high)))).sum((1, 2, 3))


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("kind", PREDICT)
def test_the_bound_is_that_of_their_network_and_the_formulas(tmp_path, kind, clip, variance):
    """Eqs. (3.16) to (3.19) written out in NumPy, float64, from betas and from what the network of diffusers answers."""
    ddpm = load_diffusers(small(tmp_path, prediction_type=kind, variance_type=variance, clip_sample=clip)).double()
    network = diffusers.UNet2DModel.from_pretrained(tmp_path).eval().double()
    x0 = torch.randint(256, (3, 2, 8, 8), generator=seed(5)).double() / 127.5 - 1
    eps = pictures(3, 2, 8, 8, n=6).double()
    bound = ddpm.vlb(x0, levels=256, eps=eps)
    betas = np.linspace(0.0001, 0.3, 20)
    bars = np.cumprod(1 - betas)
    before = np.append(1.0, bars[:-1])
    small_var = betas * (1 - before) / (1 - bars)
    small_var[0] = small_var[1]
    var = betas if variance == "fixed_large" else small_var
    x, z, terms = x0.numpy(), eps.numpy(), []
    for i in range(20):
        a, s = np.sqrt(bars[i]), np.sqrt(1 - bars[i])
        xt = a * x + s * z
        with torch.no_grad():
            out = network(torch.tensor(xt), i).sample.numpy()
        guess = {"epsilon": (xt - s * out) / a, "sample": out, "v_prediction": a * xt - s * out}[kind]
        guess = guess.clip(-1, 1) if clip else guess
        on_x0, on_xt = np.sqrt(before[i]) * betas[i] / (1 - bars[i]), np.sqrt(1 - betas[i]) * (1 - before[i]) / (1 - bars[i])
        mean = on_x0 * guess + on_xt * xt
        if i:
            off = (on_x0 * x + on_xt * xt - mean) ** 2
            terms.append((0.5 * (np.log(var[i] / small_var[i]) + (small_var[i] + off) / var[i] - 1)).sum((1, 2, 3)))
        else:
            first = minus_log_prob(x, mean, np.sqrt(var[0]))
    last = (0.5 * (bars[-1] * x**2 + (1 - bars[-1]) - 1 - np.log(1 - bars[-1]))).sum((1, 2, 3))
    np.testing.assert_allclose(bound.L_T, last, rtol=1e-9)
    np.testing.assert_allclose(bound.L_t, np.stack(terms, axis=1), rtol=1e-7)
    np.testing.assert_allclose(bound.L_0, first, rtol=1e-7)
    bits = td.bits_per_dim(bound.total, 2 * 8 * 8)
    assert bits.isfinite().all() and (bits > 0).all()
    torch.testing.assert_close(load_diffusers(tmp_path).vlb(x0.float(), 256, eps.float()).total, bound.total, rtol=1e-3, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("kind", PREDICT)
def test_terms_of_the_bound_are_those_of_the_steps_of_their_scheduler(tmp_path, kind, variance):
    """A term is the divergence of their step that knows x_0 from their step with the network's answer, with their variances."""
    ddpm = load_diffusers(small(tmp_path, prediction_type=kind, variance_type=variance)).double()
    network = diffusers.UNet2DModel.from_pretrained(tmp_path).eval().double()
    guessing, knowing = (
        exact_tables(diffusers.DDPMScheduler.from_pretrained(tmp_path, **options), ddpm.schedule)
        for options in ({}, {"prediction_type": "sample", "variance_type": "fixed_small"})
    )
    x0 = torch.randint(256, (3, 2, 8, 8), generator=seed(5)).double() / 127.5 - 1
    eps = pictures(3, 2, 8, 8, n=6).double()

    def law(scheduler, answer, i, xt):
        """Its step is mean + std noise: in the first step, without noise."""
        std, noise = scheduler._get_variance(i) ** 0.5, torch.randn(xt.shape, generator=seed(0), dtype=xt.dtype)
        drawn = scheduler.step(answer, i, xt, generator=seed(0)).prev_sample
        return Normal(drawn - std * noise if i else drawn, std)

    bound = ddpm.vlb(x0, levels=256, eps=eps)
    for i in (0, 1, 10, 19):
        xt = guessing.add_noise(x0, eps, torch.tensor([i] * 3))
        guess = law(guessing, network(xt, i).sample, i, xt)
        if i:
            term, ours = kl_divergence(law(knowing, x0, i, xt), guess).sum((1, 2, 3)), bound.L_t[:, i - 1]
        else:  # theirs has no noise there, and no variance for "fixed_small": ours is that of the next step
            std = guess.stddev if variance == "fixed_large" else guessing._get_variance(1) ** 0.5
            term, ours = torch.as_tensor(minus_log_prob(x0.numpy(), guess.mean.numpy(), std.numpy())), bound.L_0
        torch.testing.assert_close(ours, term, rtol=1e-7, atol=0)


# ---- and back ----


@pytest.mark.parametrize(
    ("predict", "variance", "clip"), [("eps", "beta", (-1, 1)), ("v", "beta_tilde", None), ("x0", "beta", (-0.5, 0.5))]
)
def test_a_model_that_was_trained_here_runs_there(tmp_path, predict, variance, clip):
    ddpm = td.DDPM(UNet2D(**BASE | {"sample_size": None}), td.Schedule.cosine(20), predict, variance, clip)
    td.fit(ddpm, pictures(16, 2, 8, 8), steps=2, batch_size=4, seed=0, progress=False)
    to_diffusers(ddpm, tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert {file.name for file in folder.iterdir()} == {"config.json", WEIGHTS, SCHEDULER, PIPELINE}
    network, loading = diffusers.UNet2DModel.from_pretrained(folder, output_loading_info=True)
    assert not any(loading.values()), loading
    scheduler = diffusers.DDPMScheduler.from_pretrained(folder)
    assert torch.equal(scheduler.betas, ddpm.schedule.beta[1:].float()) and network.config.sample_size == 8
    x, ddpm = pictures(4, 2, 8, 8), ddpm.eval()
    t = torch.tensor([1, 2, 10, 20])
    with torch.no_grad():
        assert (network.eval()(x, t - 1).sample - ddpm.model(x, t)).abs().max() < 1e-5
    end = ddpm.sample(x.shape, x_T=x, generator=seed(2))
    there = their_states(network, scheduler, x, seed(2))[-1]
    assert (there - end).abs().max() < 1e-4 * end.abs().max()
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    drawn = pipeline(batch_size=4, generator=seed(3), num_inference_steps=20, output_type="pt", return_dict=False)[0]
    generator = seed(3)
    ours = ddpm.sample(x.shape, x_T=torch.randn(x.shape, generator=generator), generator=generator)
    torch.testing.assert_close(torch.as_tensor(drawn), (ours / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-4)
    again = load_diffusers(folder)
    assert torch.equal(again.schedule.beta, ddpm.schedule.beta) and again.model.arguments == ddpm.model.arguments | {
        "sample_size": 8
    }
    assert (again.predict, again.variance, again.clip, again.example_shape) == (predict, variance, clip, (2, 8, 8))
    assert torch.equal(again.model(x, t), ddpm.model(x, t))


@pytest.mark.parametrize("name", ["cifar", "resnets", "a learned table"])
def test_what_was_read_is_written_as_it_was(tmp_path, name):
    size = 32 if name == "cifar" else (8, 16)
    ddpm = load_diffusers(folder_of(tmp_path / "there", theirs(**CONFIGS[name] | {"sample_size": size})))
    to_diffusers(ddpm, tmp_path / "back")
    there, back = (load_file(tmp_path / folder / WEIGHTS) for folder in ("there", "back"))
    assert there.keys() == back.keys() and all(torch.equal(there[key], back[key]) for key in there)
    network = diffusers.UNet2DModel.from_pretrained(tmp_path / "back").eval()
    before = {k: v for k, v in json.loads((tmp_path / "there" / "config.json").read_text()).items() if k[0] != "_"}
    assert {k: list(v) if isinstance(v, tuple) else v for k, v in network.config.items() if k in before} == before
    x, t = pictures(2, ddpm.model.channels, 8, 16), torch.tensor([3, 900])
    with torch.no_grad():
        assert (network(x, t - 1).sample - ddpm.model(x, t)).abs().max() < 1e-5


def test_weights_in_other_precisions_and_compiled_networks_go_back_too(tmp_path):
    for name, ddpm in {
        "double": td.DDPM(UNet2D(**BASE), td.Schedule.cosine(20)).double(),
        "half": td.DDPM(UNet2D(**BASE), td.Schedule.cosine(20)).bfloat16(),
        "compiled": td.DDPM(torch.compile(UNet2D(**BASE), backend="eager"), td.Schedule.cosine(20)),
    }.items():
        to_diffusers(ddpm, tmp_path / name)
        again = load_diffusers(tmp_path / name)
        own = [p.float() for p in ddpm.parameters()]
        assert all(torch.equal(p, q) for p, q in zip(again.parameters(), own, strict=True)), name


def test_a_clip_at_infinity_is_none(tmp_path):
    td.DDPM(UNet2D(**BASE), td.Schedule.cosine(20), clip=(-math.inf, math.inf)).to_diffusers(tmp_path)
    assert not diffusers.DDPMScheduler.from_pretrained(tmp_path).config.clip_sample and load_diffusers(tmp_path).clip is None


def test_what_diffusers_does_not_have_is_refused_by_name(tmp_path):
    schedule = td.Schedule.cosine(20)
    told = td.DDPM(td.MLP(2, 8, 1, condition=td.Labels(3)), schedule).given(1)
    for ddpm, name in ((td.DDPM(td.UNet(1, 8), schedule), "UNet"), (told, "Told"), (td.DDPM(lambda x, t: x, schedule), "function")):
        with pytest.raises(TypeError, match=f"^the network is of type {name}, which diffusers does not have: train a UNet2D$"):
            to_diffusers(ddpm, tmp_path)
    with pytest.raises(ValueError, match=r"^clip = \(0\.0, 1\.0\) is not as far below 0 as above, which diffusers does not have$"):
        to_diffusers(td.DDPM(UNet2D(**BASE), schedule, clip=(0, 1)), tmp_path)
    with pytest.raises(ValueError, match=r"^the model has a shift and a scale, which diffusers does not have: train it on"):
        to_diffusers(td.DDPM(UNet2D(**BASE), schedule, scale=2.0), tmp_path)
    with pytest.raises(TypeError, match=r"^folder = 3 is of type int, expected a path$"):
        to_diffusers(told, 3)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.json", WEIGHTS, SCHEDULER, PIPELINE])
def test_a_file_that_is_there_is_not_written_over(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} is there already: name a folder without it$"):
        to_diffusers(td.DDPM(UNet2D(**BASE), td.Schedule.cosine(20)), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("files", [0, 1, 3])
def test_of_a_full_disk_nothing_is_left(tmp_path, monkeypatch, files):
    import tinyddpm._files as module

    left, replace = [files], module.os.replace

    def full(*where):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        replace(*where)

    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(OSError, match="the model could not be written: No space left on device"):
        to_diffusers(td.DDPM(UNet2D(**BASE), td.Schedule.cosine(20)), tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- what is refused, and damage ----


@pytest.mark.parametrize(
    ("file", "changed", "message"),
    [
        ("config.json", {"_class_name": "UNet2DConditionModel"}, "_class_name = 'UNet2DConditionModel' is not one of 'UNet2DMo"),
        ("config.json", {"down_block_types": ["KDownBlock2D"] * 2}, r"down_block_types\[0\] = 'KDownBlock2D' is not one of 'Do"),
        ("config.json", {"mid_block_type": None}, "mid_block_type = None is not supported, only 'UNetMidBlock2D'$"),
        ("config.json", {"num_class_embeds": 10}, "num_class_embeds = 10 is not supported, only None$"),
        ("config.json", {"class_embed_type": "timestep"}, "class_embed_type = 'timestep' is not supported, only None$"),
        ("config.json", {"time_embedding_type": "fourier"}, "time_embedding_type = 'fourier' is not one of"),
        ("config.json", {"out_channels": 4}, "out_channels = 4 is not 2, the value of in_channels"),
        ("config.json", {"block_out_chanels": [8]}, "it has the unknown word 'block_out_chanels': the nearest known"),
        ("config.json", {"block_out_channels": 8}, "block_out_channels = 8 is of type int, expected a sequence"),
        ("config.json", {"downsample_padding": 1.0}, "downsample_padding = 1.0 is of type float, expected an integer$"),
        ("config.json", {"layers_per_block": "2"}, "layers_per_block = '2' is of type str, expected an integer$"),
        (SCHEDULER, {"_class_name": "PNDMScheduler"}, "_class_name = 'PNDMScheduler' is not one of 'DDPMScheduler', 'DDIM"),
        (SCHEDULER, {"variance_type": "learned_range"}, "variance_type = 'learned_range' is not one of 'fixed_small', "),
        (SCHEDULER, {"variance_type": "fixed_large_log"}, "variance_type = 'fixed_large_log' is not one of"),
        (SCHEDULER, {"prediction_type": "flow"}, "prediction_type = 'flow' is not one of 'epsilon', 'sample', 'v_prediction'$"),
        (SCHEDULER, {"beta_schedule": "laplace"}, "beta_schedule = 'laplace' is not one of 'linear', 'scaled_linear', 'squared"),
        (SCHEDULER, {"thresholding": True}, "thresholding = True is not supported, only False$"),
        (SCHEDULER, {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr = True is not supported, only False$"),
        (SCHEDULER, {"predict_epsilon": False}, "predict_epsilon = False is not supported, only True$"),
        (SCHEDULER, {"final_sigma": 1}, "it has the unknown word 'final_sigma'"),
        (SCHEDULER, {"beta_start": 0}, r"beta_start = 0 is outside \(0, 1\)$"),
        (SCHEDULER, {"beta_end": "0.02"}, "beta_end = '0.02' is of type str, expected a number$"),
        (SCHEDULER, {"num_train_timesteps": 0}, "num_train_timesteps = 0 is below 1$"),
        (SCHEDULER, {"trained_betas": [0.1, 0.2]}, "trained_betas has 2 entries, expected 20, num_train_timesteps$"),
        (SCHEDULER, {"trained_betas": [0.1, 1.0]}, r"beta\[1\] = 1.0 is outside \(0, 1\)$"),
        (SCHEDULER, {"clip_sample_range": -1}, r"clip_sample_range = -1 is outside \(0, inf\)$"),
        (SCHEDULER, {"clip_sample": None}, "clip_sample = None is of type NoneType, expected True or False$"),
    ],
)  # fmt: skip
def test_a_setting_without_a_counterpart_is_refused_with_its_file(tmp_path, file, changed, message):
    small(tmp_path)
    edit(tmp_path / file, **changed)
    with pytest.raises(ValueError, match=f"^{tmp_path / file}: {message}"):
        load_diffusers(tmp_path)


def test_settings_of_their_sampler_are_passed_over(tmp_path):
    small(tmp_path)
    x = pictures(2, 2, 8, 8)
    before = load_diffusers(tmp_path).sample(x.shape, x_T=x, generator=seed(0))
    other = {"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": False, "tensor_format": "pt", "_own": 1}
    edit(tmp_path / SCHEDULER, **other, variance_type="fixed_small_log", timestep_values=None, predict_epsilon=True)
    assert torch.equal(load_diffusers(tmp_path).sample(x.shape, x_T=x, generator=seed(0)), before)


def test_every_setting_of_their_schedulers_is_read_refused_or_passed_over():
    """One that a later version adds shows here."""
    from tinyddpm.interchange import FIXED, SAMPLING, SETTINGS

    for scheduler in (diffusers.DDPMScheduler, diffusers.DDIMScheduler):
        names = {name for name in scheduler().config if not name.startswith("_")}
        assert names <= {*SETTINGS, *FIXED, *SAMPLING}
        assert {name: scheduler().config.get(name, SETTINGS[name]) for name in SETTINGS} == SETTINGS


def test_a_schedule_longer_than_a_learned_table_is_refused(tmp_path):
    folder_of(tmp_path, theirs(time_embedding_type="learned", num_train_timesteps=10), num_train_timesteps=20)
    with pytest.raises(ValueError, match=f"^{tmp_path / SCHEDULER}: num_train_timesteps = 20 is above 10, that of the network$"):
        load_diffusers(tmp_path)


@pytest.mark.parametrize("file", ["config.json", SCHEDULER])
@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", '{"_class_name": []}', "[" * 100_000, b"\xff\xfe\x00".decode("latin1")])
def test_a_damaged_json_file_is_named(tmp_path, file, text):
    small(tmp_path)
    (tmp_path / file).write_text(text, encoding="latin1")
    with pytest.raises(ValueError, match=f"^{tmp_path / file}: ") as caught:
        load_diffusers(tmp_path)
    assert type(caught.value) is ValueError


def test_weights_twice_or_of_integers_are_refused_by_name(tmp_path):
    file = small(tmp_path) / WEIGHTS
    weights, name = load_file(file), "mid_block.attentions.0.to_q.bias"
    old = name.replace("to_q", "query")
    for damaged, message in (
        ({**weights, old: weights[name].clone()}, f" has {name} twice, once by its old name$"),
        ({**weights, "conv_in.bias": torch.ones(8).int()}, ": conv_in.bias has dtype torch.int32, expected a floating-point"),
    ):
        save_file(damaged, file)
        with pytest.raises(ValueError, match=f"^{file}{message}"):
            load_diffusers(tmp_path)


def shortened(tensors):
    return {name: value for name, value in tensors.items() if name != "conv_in.bias"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shortened, "is of another architecture than UNet2D: it lacks conv_in.bias$"),
        (lambda w: {**w, "conv_in.bias": w["conv_in.bias"][:4]}, r"UNet2D: conv_in.bias has shape \(4,\), expected \(8,\)$"),
        (lambda w: {n: v[..., None, None] if n.endswith("to_q.weight") else v for n, v in w.items()},  # convolutions, as at first
         r"UNet2D: down_blocks.1.attentions.0.to_q.weight has shape \(16, 16, 1, 1\), expected \(16, 16\), and 3 more$"),
        (lambda w: {**w, "extra.weight": w["conv_in.bias"]}, "UNet2D: extra.weight is not in the network$"),
        (lambda w: shortened({**w, "a": w["conv_in.bias"]}), "UNet2D: a is not in the network, and 1 more$"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_named_with_their_file(tmp_path, damage, message):
    file = small(tmp_path) / WEIGHTS
    save_file({name: value.clone() for name, value in damage(load_file(file)).items()}, file)
    with pytest.raises(ValueError, match=f"{file} .*{message}"):
        load_diffusers(tmp_path)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_a_file_of_weights_that_is_cut_off_is_named(tmp_path, keep):
    file = small(tmp_path) / WEIGHTS
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=rf"^{file} is not a safetensors file: .* \(no pickle is ever loaded\)$"):
        load_diffusers(tmp_path)


def test_a_pickle_is_refused_unread(tmp_path):
    small(tmp_path)
    torch.save(load_file(tmp_path / WEIGHTS), tmp_path / "diffusion_pytorch_model.bin")
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(
        ValueError, match=f"lacks {WEIGHTS}, the weights; diffusion_pytorch_model.bin is a pickle, which is never loaded"
    ):
        load_diffusers(tmp_path)
    (tmp_path / "diffusion_pytorch_model.bin").rename(tmp_path / WEIGHTS)
    with pytest.raises(ValueError, match=f"{WEIGHTS} is not a safetensors file"):
        load_diffusers(tmp_path)


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"^there is no model in diffusers' layout in {tmp_path}: it has neither config.json"
    ):
        load_diffusers(tmp_path)
    small(tmp_path)
    with pytest.raises(ValueError, match=r"config.json is a file, expected a folder .* \(no pickle is ever loaded\)$"):
        load_diffusers(tmp_path / "config.json")
    with pytest.raises(TypeError, match=r"^folder = None is of type NoneType, expected a path$"):
        load_diffusers(None)
    (tmp_path / WEIGHTS).rename(tmp_path / "moved")
    with pytest.raises(ValueError, match=f"^{tmp_path} lacks {WEIGHTS}, the weights$"):
        load_diffusers(tmp_path)
    (tmp_path / SCHEDULER).unlink()
    with pytest.raises(ValueError, match=f"^{tmp_path} lacks {SCHEDULER}$"):
        load_diffusers(tmp_path)


def test_none_of_it_needs_diffusers(tmp_path):
    """Nor is it imported where it is installed."""
    small(tmp_path / "there")
    code = f"""
import sys
import torch
from tinyddpm.interchange import load_diffusers, to_diffusers
ddpm = load_diffusers({str(tmp_path / "there")!r})
ddpm.sample((1, 2, 8, 8))
to_diffusers(ddpm, {str(tmp_path / "back")!r})
print([name for name in sys.modules if name.partition(".")[0] in ("diffusers", "huggingface_hub", "transformers")])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
