"""Models in the layout of diffusers: read as a DDPM, and written from one, without diffusers.

Such a folder holds `config.json`, which says what the network is like, its weights in `diffusion_pytorch_model.safetensors`, and
`scheduler_config.json` with the schedule and how to sample. A setting that we have no counterpart for is refused by its name: a
model that is read computes what it computes there. No pickle is ever loaded.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import safetensors.torch
import torch

from tinyddpm._checks import check_choice, check_count, check_flag, check_number, check_path, unknown_word
from tinyddpm._files import replacing
from tinyddpm._registry import KNOWN, unwrapped
from tinyddpm.checkpoint import Tensors, Where, load_weights
from tinyddpm.schedule import Schedule
from tinyddpm.unet2d import UNet2D

if TYPE_CHECKING:
    from tinyddpm.ddpm import DDPM

Made = TypeVar("Made")
CONFIG, WEIGHTS, SCHEDULER = "config.json", "diffusion_pytorch_model.safetensors", "scheduler_config.json"
PIPELINE = "model_index.json"
NO_PICKLE = "(no pickle is ever loaded)"

# Their words, and ours.
PREDICT = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
VARIANCE = {"fixed_small": "beta_tilde", "fixed_small_log": "beta_tilde", "fixed_large": "beta"}
BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid")
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # names of weights

# The settings of a scheduler that we read, with their defaults there; those that must be as they are; and those that only choose
# between ways to sample, or were forgotten long ago.
SETTINGS: dict[str, Any] = {
    "num_train_timesteps": 1000, "beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "trained_betas": None,
    "variance_type": "fixed_small", "prediction_type": "epsilon", "clip_sample": True, "clip_sample_range": 1.0,
}  # fmt: skip
FIXED: dict[str, Any] = {"thresholding": False, "rescale_betas_zero_snr": False, "predict_epsilon": True}
SAMPLING = (
    "timestep_spacing", "steps_offset", "set_alpha_to_one", "dynamic_thresholding_ratio", "sample_max_value", "tensor_format",
    "timestep_values",
)  # fmt: skip
# The same for a network: what is no argument of UNet2D.
FIXED_NETWORK: dict[str, Any] = {"mid_block_type": "UNetMidBlock2D", "class_embed_type": None, "num_class_embeds": None}
AVERAGING = ("decay", "min_decay", "inv_gamma", "power", "optimization_step", "update_after_step", "use_ema_warmup")  # of weights


def load_diffusers(folder: Where) -> DDPM:
    """The DDPM in a folder of diffusers' layout: a UNet2DModel, with the schedule of its DDPMScheduler or DDIMScheduler.

    It is in evaluation mode and in float32, its network a `UNet2D`, its `example_shape` of the size of picture that the folder
    gives, if it gives one. `fit` trains it further.

    Args:
        folder: what `save_pretrained` of a DDPMPipeline has written, or one folder with `config.json`,
            `diffusion_pytorch_model.safetensors` and `scheduler_config.json`, as that of google/ddpm-cifar10-32.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: a file is missing, damaged, or something else; a setting, which is named, has a value that we have no
            counterpart for, such as a learned variance; or the weights are in a pickle, which is never loaded.

    Example:
        >>> levels = {"block_out_channels": [8], "down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]}
        >>> network = td.UNet2D(sample_size=8, in_channels=1, out_channels=1, norm_num_groups=4, **levels)
        >>> td.DDPM(network, Schedule.cosine(T=20), predict="v").to_diffusers(folder)
        >>> ddpm = load_diffusers(folder)
        >>> ddpm.predict, ddpm.sample((2, *ddpm.example_shape)).shape
        ('v', torch.Size([2, 1, 8, 8]))
    """
    check_path("folder", folder)
    folder = Path(folder)
    if folder.is_file():
        raise ValueError(f"{folder} is a file, expected a folder in diffusers' layout {NO_PICKLE}")
    config, scheduler = _file(folder, "unet", CONFIG), _file(folder, "scheduler", SCHEDULER)
    if not config.is_file():
        raise FileNotFoundError(f"there is no model in diffusers' layout in {folder}: it has neither {CONFIG} nor unet/{CONFIG}")
    if (folder / PIPELINE).is_file():
        _read(folder / PIPELINE, _check_parts)
    network, how = _read(config, _network), _read(scheduler, _how)
    steps = network.arguments["num_train_timesteps"]
    if network.table and steps < how["schedule"].T:
        raise ValueError(f"{scheduler}: num_train_timesteps = {how['schedule'].T} is above {steps}, that of the network")
    load_weights(network, _weights(config.parent), config.parent / WEIGHTS)
    ddpm: DDPM = KNOWN["DDPM"](model=network, **how)
    size = network.arguments["sample_size"]
    if size is not None:
        ddpm.example_shape = (network.channels, *(size if isinstance(size, Sequence) else (size, size)))
    return ddpm.eval()


def to_diffusers(ddpm: DDPM, folder: Where) -> None:
    """Writes a DDPM to a new folder: what `DDPM.to_diffusers` does and says."""
    check_path("folder", folder)
    folder, network = Path(folder), unwrapped(ddpm.model)
    if type(network) is not UNet2D:
        raise TypeError(f"the network is of type {type(network).__name__}, which diffusers does not have: train a UNet2D")
    if ddpm.scale is not None:
        raise ValueError("the model has a shift and a scale, which diffusers does not have: train it on data of size 1 as they are")
    clip = None if ddpm.clip in (None, (-math.inf, math.inf)) else ddpm.clip  # at infinity nothing is cut off
    low, high = clip or (-1.0, 1.0)
    if low != -high:
        raise ValueError(f"clip = {ddpm.clip} is not as far below 0 as above, which diffusers does not have")
    weights = {name: tensor.detach().cpu().float().contiguous().clone() for name, tensor in network.state_dict().items()}
    shape, schedule = ddpm.example_shape, ddpm.schedule
    size = network.arguments["sample_size"] if shape is None else shape[1] if shape[1] == shape[2] else list(shape[1:])
    scheduler = {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": schedule.T,
        "trained_betas": schedule.beta[1:].tolist(),
        "variance_type": next(theirs for theirs, ours in VARIANCE.items() if ours == ddpm.variance),
        "prediction_type": next(theirs for theirs, ours in PREDICT.items() if ours == ddpm.predict),
        "clip_sample": clip is not None,
        "clip_sample_range": high,
    }
    pipeline = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    files = {
        WEIGHTS: safetensors.torch.save(weights, {"format": "pt"}),
        CONFIG: _json({"_class_name": "UNet2DModel", **network.arguments, "sample_size": size}),
        SCHEDULER: _json(scheduler),
        PIPELINE: _json({"_class_name": "DDPMPipeline", **pipeline}),
    }
    _write(folder, files)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes new files, all or none."""
    for name in files:
        if (folder / name).exists():
            raise FileExistsError(f"{folder / name} is there already: name a folder without it")
    done = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            with replacing(folder / name) as file:
                file.write(data)
            done.append(folder / name)
    except BaseException as error:
        for path in done:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"the model could not be written: {error.strerror}", str(folder)) from error
        raise


def _json(settings: dict[str, Any]) -> bytes:
    return (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode()


def _file(folder: Path, part: str, name: str) -> Path:
    """A file of a part of a pipeline: in the folder of the part, or as in the oldest ones beside those of the other part."""
    return folder / part / name if (folder / part / name).is_file() else folder / name


def _check_parts(given: dict[str, Any]) -> None:
    """A pipeline is the network and the scheduler alone: what a `vqvae` would make of the network's answers is not read."""
    for name, what in given.items():
        if not name.startswith("_") and name not in ("unet", "scheduler") and what not in (None, [None, None]):
            raise ValueError(f"it has the part {name!r}, expected 'unet' and 'scheduler' alone")


def _read(file: Path, make: Callable[[dict[str, Any]], Made]) -> Made:
    """What the settings in a file make; what is wrong with them is said with its name."""
    if not file.is_file():
        raise ValueError(f"{file.parent} lacks {file.name}")
    try:
        settings = json.loads(file.read_bytes())
        if not isinstance(settings, dict):
            raise ValueError("it holds no settings by name")
        return make(settings)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise ValueError(f"{file}: {wrong}") from wrong


def _settings(given: dict[str, Any], classes: Sequence[str], fixed: dict[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """The settings that are known, once none is left that might change what is computed."""
    check_choice("_class_name", given.get("_class_name"), classes)
    given = {name: value for name, value in given.items() if not name.startswith("_")}
    if (wrong := unknown_word(given, [*known, *fixed])) is not None:
        raise ValueError(f"it {wrong}")
    for name, only in fixed.items():
        if (value := given.pop(name, only)) != only:
            raise ValueError(f"{name} = {value!r} is not supported, only {only!r}")
    return given


def _network(given: dict[str, Any]) -> UNet2D:
    """The network of a `config.json`, with weights of no meaning."""
    own = _settings(given, ("UNet2DModel",), FIXED_NETWORK, (*inspect.signature(UNet2D).parameters, *AVERAGING))
    own = {name: value for name, value in own.items() if name not in AVERAGING}
    for name in ("down_block_types", "up_block_types"):
        if isinstance(own.get(name), list):  # "UNetResDownBlock2D" is an old name of "DownBlock2D"
            own[name] = [kind.removeprefix("UNetRes") if isinstance(kind, str) else kind for kind in own[name]]
    with torch.random.fork_rng(devices=[]):  # the first weights of a network are drawn, in vain
        return UNet2D(**own)


def _how(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a DDPM in a `scheduler_config.json`. A DDIMScheduler has no variance: then it is the default one."""
    own = SETTINGS | _settings(given, ("DDPMScheduler", "DDIMScheduler"), FIXED, (*SETTINGS, *SAMPLING))
    check_choice("prediction_type", own["prediction_type"], tuple(PREDICT))
    check_choice("variance_type", own["variance_type"], tuple(VARIANCE))
    check_flag("clip_sample", own["clip_sample"])
    reach = check_number("clip_sample_range", own["clip_sample_range"], 0, math.inf)
    return {
        "schedule": _schedule(own),
        "predict": PREDICT[own["prediction_type"]],
        "variance": VARIANCE[own["variance_type"]],
        "clip": (-reach, reach) if own["clip_sample"] else None,
    }


def _schedule(own: dict[str, Any]) -> Schedule:
    """The schedule: in float64, where theirs is made in float32."""
    T, kind = check_count("num_train_timesteps", own["num_train_timesteps"]), own["beta_schedule"]
    if own["trained_betas"] is not None:
        schedule = Schedule(own["trained_betas"])
        if schedule.T != T:
            raise ValueError(f"trained_betas has {schedule.T} entries, expected {T}, num_train_timesteps")
        return schedule
    check_choice("beta_schedule", kind, BETAS)
    if kind == "squaredcos_cap_v2":
        return Schedule.cosine(T)
    start, end = (check_number(name, own[name], 0, 1) for name in ("beta_start", "beta_end"))
    if kind == "linear":
        return Schedule.linear(T, start, end)
    if kind == "scaled_linear":
        return Schedule(torch.linspace(start**0.5, end**0.5, T, dtype=torch.float64) ** 2)
    return Schedule(start + (end - start) * torch.linspace(-6, 6, T, dtype=torch.float64).sigmoid())


def _weights(folder: Path) -> Tensors:
    """The weights in a folder, by the names of today."""
    file = folder / WEIGHTS
    if not file.is_file():
        message = f"{folder} lacks {WEIGHTS}, the weights"
        if pickle := next(folder.glob("*.bin"), None):
            message += f"; {pickle.name} is a pickle, which is never loaded: have diffusers load it, and save_pretrained"
        raise ValueError(message)
    try:
        tensors = safetensors.torch.load_file(file)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{file} is not a safetensors file: {error} {NO_PICKLE}") from error
    found: Tensors = {}
    for name, tensor in tensors.items():
        today = _name_of_today(name)
        if today in found:
            raise ValueError(f"{file} has {today} twice, once by its old name")
        if not tensor.is_floating_point():
            raise ValueError(f"{file}: {name} has dtype {tensor.dtype}, expected a floating-point dtype")
        found[today] = tensor
    return found


def _name_of_today(name: str) -> str:
    old = "|".join(OLD_ATTENTION)
    return re.sub(rf"(?<=attentions\.)(\d+)\.({old})\.", lambda found: f"{found[1]}.{OLD_ATTENTION[found[2]]}.", name)
