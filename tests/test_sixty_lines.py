"""The script of 60 lines: it runs as a reader would run it, Chapter 0 consists of its pieces, and the README has all of it."""

import re
import subprocess
import sys

import notebooks
import pytest
import torch

import tinyddpm as td

PATH = notebooks.ROOT / "examples/sixty_lines.py"
SCRIPT = PATH.read_text(encoding="utf-8")
FUNCTIONS = SCRIPT.split("\npoints = ")[0]
OPEN = [
    cell["source"]
    for cell in notebooks.cells(notebooks.ROOT / "chapters/generative-models.ipynb")
    if cell["cell_type"] == "code" and not cell["metadata"].get("tags")
]


@pytest.fixture(scope="module")
def script():
    """What the script defines; the training is left out."""
    state, names = torch.get_rng_state(), {}
    exec(compile(FUNCTIONS, PATH.name, "exec"), names)
    torch.set_rng_state(state)
    return names


def test_it_has_sixty_lines_at_most_and_needs_nothing_but_pytorch():
    lines = SCRIPT.splitlines()
    assert len(lines) <= 60 and max(map(len, lines)) <= 79
    assert {name.split(".")[0] for name in re.findall(r"(?m)^ *(?:import|from) (\S+)", SCRIPT)} == {"torch"}


def test_it_runs_in_an_empty_folder_and_finds_all_eight(tmp_path):
    """And leaves nothing behind."""
    run = subprocess.run([sys.executable, PATH], cwd=tmp_path, capture_output=True, text=True, timeout=400)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    *picture, share, found = run.stdout.splitlines()
    assert int(re.match(r"(\d+)% are within three standard deviations of$", share)[1]) >= 80
    assert found == "a centre; 8 of the 8 centres are found"
    assert len(picture) == 18 and "#" in "".join(picture)
    assert list(tmp_path.iterdir()) == []


def test_chapter_0_shows_all_of_it_but_the_lines_that_print():
    """Its open cells are pieces of the script, in the same order, and what they leave out are the imports and the result."""
    pieces = [source for source in OPEN if source in SCRIPT]
    assert len(pieces) == 3
    imports, *between, result = re.split("|".join(map(re.escape, pieces)), SCRIPT)
    assert re.fullmatch(r'"""[^"]+"""\n(?:(?:import|from) .+\n)+\s*', imports) and "".join(between).strip() == ""
    assert result.strip().startswith("points = ") and len(result.strip().splitlines()) < 10


def test_the_readme_has_all_of_it():
    text = (notebooks.ROOT / "README.md").read_text(encoding="utf-8")
    assert f"```python\n{SCRIPT}```" in text


def test_its_data_are_those_of_the_package(script):
    expected = td.data.eight_gaussians(20_000, torch.Generator().manual_seed(0))
    assert torch.allclose(script["data"], expected, atol=1e-6)
    drawn = script["batch"]()
    assert drawn.shape == (256, 2) and torch.cdist(drawn, script["data"]).min(dim=1).values.max() < 1e-2


def test_its_walk_is_the_ancestral_sampling_of_the_package(script):
    """For any network: the same first noise, and in each step the same mean and the same noise."""
    T, signal, noise = script["T"], script["signal"].double(), script["noise"].double()
    schedule = td.Schedule((1 - (signal[1:] / signal[:-1]) ** 2).tolist())
    torch.manual_seed(1)
    net = script["mlp"](3, 2, width=8)

    def eps(xt, t):
        v = net(torch.cat([xt, t[:, None] / T], dim=1))
        a, b = signal[t][:, None].float(), noise[t][:, None].float()
        return b * xt + a * v

    torch.manual_seed(2)
    path = script["sample"](net, 50)
    assert len(path) == T + 1 and all(x.shape == (50, 2) and not x.requires_grad for x in path)
    torch.manual_seed(2)
    with torch.no_grad():
        expected = td.sample(schedule, eps, torch.randn(50, 2), variance="beta_tilde")
    assert torch.allclose(path[-1], expected, atol=1e-3)


def test_the_network_is_asked_for_the_direction_in_which_noise_leads(script):
    """v is the derivative of the mixture by the angle, which begins at 0 and ends just before a right angle."""
    turn, x0, eps = script["turn"].double(), 0.7, -1.3
    mixed = turn.cos() * x0 + turn.sin() * eps
    v = turn.cos() * eps - turn.sin() * x0
    (slope,) = torch.gradient(mixed, spacing=(turn,))
    assert torch.allclose(slope[1:-1], v[1:-1], atol=1e-3)
    assert turn[0] == 0 and 0 < script["signal"][-1] < 0.02
