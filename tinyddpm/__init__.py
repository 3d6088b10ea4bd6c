"""tinyddpm: denoising diffusion (DDPM) as a small, checked library. One module per chapter of the book.

`tinyddpm.book`, the book's own tools (they need SymPy and matplotlib), is loaded when it is first used.
"""

import importlib
from types import ModuleType

from tinyddpm import data, exact, metrics, pictures, scenes
from tinyddpm.checkpoint import load, load_pretrained
from tinyddpm.ddpm import DDPM
from tinyddpm.elbo import VLB, bits_per_dim, discretised_log_prob, vlb_terms
from tinyddpm.forward import q_marginal, q_sample, q_step
from tinyddpm.gaussian import Gaussian
from tinyddpm.guidance import Labels
from tinyddpm.interchange import load_diffusers
from tinyddpm.latent import Autoencoder, fit_autoencoder
from tinyddpm.latent_ddpm import LatentDDPM
from tinyddpm.loss import simple_loss, vlb_weight
from tinyddpm.nets import MLP, UNet
from tinyddpm.posterior import eps_from_v, eps_from_x0, p_step, q_posterior, v_from_eps, v_from_x0, x0_from_eps, x0_from_v
from tinyddpm.sampling import sample, sample_ddim
from tinyddpm.schedule import Schedule
from tinyddpm.text import Text
from tinyddpm.training import fit
from tinyddpm.unet2d import UNet2D

__version__ = "0.1.0"  # the one place: pyproject.toml reads it here

__all__ = [
    "DDPM",
    "MLP",
    "VLB",
    "Autoencoder",
    "Gaussian",
    "Labels",
    "LatentDDPM",
    "Schedule",
    "Text",
    "UNet",
    "UNet2D",
    "bits_per_dim",
    "data",
    "discretised_log_prob",
    "eps_from_v",
    "eps_from_x0",
    "exact",
    "fit",
    "fit_autoencoder",
    "load",
    "load_diffusers",
    "load_pretrained",
    "metrics",
    "p_step",
    "pictures",
    "q_marginal",
    "q_posterior",
    "q_sample",
    "q_step",
    "sample",
    "sample_ddim",
    "scenes",
    "simple_loss",
    "v_from_eps",
    "v_from_x0",
    "vlb_terms",
    "vlb_weight",
    "x0_from_eps",
    "x0_from_v",
]


def __getattr__(name: str) -> ModuleType:
    if name == "book":
        return importlib.import_module("tinyddpm.book")
    raise AttributeError(f"module 'tinyddpm' has no attribute {name!r}")
