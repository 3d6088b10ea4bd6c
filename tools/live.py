"""Sphinx extension of the book: the weights of the trained models, as scripts that a page on disk can load.

A browser fetches nothing for a page on disk, but runs scripts. So the book gets `_static/live/weights/NAME.js` for each model,
made from the checkpoints of the package when the book is built: none is stored twice. `_static/live/engine.js` reads them.
"""

import base64
import json
from pathlib import Path

import torch

import tinyddpm as td
from tinyddpm._registry import describe
from tinyddpm.checkpoint import PRETRAINED

FOLDER = Path("_static") / "live" / "weights"


def weights(name: str) -> str:
    """The script of a model that comes with the package."""
    script = json.dumps(described(td.load_pretrained(name)))
    return f"(self.tinyddpmWeights = self.tinyddpmWeights || {{}})[{json.dumps(name)}] = {script};\n"


def described(model: td.DDPM | td.LatentDDPM) -> dict[str, object]:
    """What a model is made as, the shape of what it draws, the names and shapes of its tensors, and their numbers in base64."""
    tensors = model.state_dict()
    for name, value in tensors.items():
        if not torch.equal(value.half().float(), value):
            raise ValueError(f"{name} has numbers that 16 bits do not hold")
    data = b"".join(value.half().numpy().astype("<f2").tobytes() for value in tensors.values())
    return {
        "description": describe(model),
        "example": list(getattr(model, "ddpm", model).example_shape),  # of a code, where pictures are drawn as codes
        "tensors": [[name, list(value.shape)] for name, value in tensors.items()],
        "data": base64.b64encode(data).decode(),
    }


def write_weights(app, exception):
    """Writes the scripts into the built book."""
    if exception is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in PRETRAINED:
        (folder / f"{name}.js").write_text(weights(name), encoding="utf-8")


def setup(app):
    """Called by Sphinx."""
    app.connect("build-finished", write_weights)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
