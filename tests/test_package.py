"""The package as it is published: what is in it, and that it works where nothing is installed but it and what it asks for."""

import os
import re
import shlex
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string

import environments
import notebooks
import numpy as np
import pytest
from environments import run
from PIL import Image
from set_repository import repository_url

import tinyddpm as td


@pytest.fixture(scope="session")
def dist(wheel):
    """The folder of the wheel and the sources."""
    return wheel.parent


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"tinyddpm", f"tinyddpm-{td.__version__}.dist-info"}
    assert "tinyddpm/py.typed" in names and any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 5_000_000


def test_sources_hold_no_tests_and_no_chapters(dist):
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/")[1] for name in archive.getnames()}
    assert names == {"tinyddpm", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml", "PKG-INFO", ".gitignore"}
    assert path.stat().st_size < 5_000_000


def test_the_index_will_take_it(dist):
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, dist.iterdir())]
    out = subprocess.run(check, capture_output=True, text=True)
    assert out.returncode == 0 and out.stdout.count("PASSED") == 2, out.stdout


def test_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    found = message_from_string(archive.read(f"tinyddpm-{td.__version__}.dist-info/METADATA").decode())
    address = repository_url(notebooks.ROOT / "_config.yml")
    assert found["Version"] == td.__version__ and f"Source, {address}" in found.get_all("Project-URL")
    assert found["Requires-Python"] == ">=3.10" and found["License-Expression"] == "MIT" and "Typing :: Typed" in found.as_string()
    required = [line for line in found.get_all("Requires-Dist") if "extra ==" not in line]
    assert [re.match(r"\w+>=[\d.]+$", line) is not None for line in required] == [True] * 4  # lower bounds only
    assert found.get_all("Provides-Extra") == ["book", "test"]
    commands = archive.read(f"tinyddpm-{td.__version__}.dist-info/entry_points.txt").decode()
    assert "tinyddpm = tinyddpm.cli:main" in commands


def test_citation_has_the_version_and_the_licence():
    text = (notebooks.ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {td.__version__}\n" in text and "license: MIT\n" in text


def test_the_trained_models_are_in_the_wheel(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    for name in td.checkpoint.PRETRAINED:
        assert sum(file.startswith(f"tinyddpm/weights/{name}/") for file in inside) == 2


# ---- in an environment of its own ----


@pytest.fixture(scope="session")
def clean(wheel, tmp_path_factory):
    """The folder of the programs of an environment that holds the wheel and what pip would have fetched for it.

    What would have been fetched is linked. Pip itself installs the wheel, and would refuse if the metadata asked for more.
    """
    folder = tmp_path_factory.mktemp("clean")
    programs, _ = environments.create(folder, "torch", "numpy", "safetensors", "pillow")
    run(programs / "python", "-m", "pip", "install", "--quiet", "--no-index", str(wheel), cwd=folder)
    return programs


def test_nothing_is_installed_that_was_not_asked_for(clean, tmp_path):
    listed = run(clean / "python", "-m", "pip", "list", "--format=freeze", cwd=tmp_path).lower()
    assert f"tinyddpm=={td.__version__}" in listed and "torch==" in listed
    assert not re.search("matplotlib|scikit-learn|scipy|tqdm|jupyter|pytest|ipython", listed), listed
    run(clean / "python", "-m", "pip", "check", cwd=tmp_path)


def test_import_loads_nothing_that_is_not_needed_yet(clean, tmp_path):
    lazy = "{'sympy', 'matplotlib', 'sklearn', 'scipy', 'tqdm', 'tinyddpm.book', 'tinyddpm.cli'}"
    code = f"import sys, torch; before = set(sys.modules); import tinyddpm; print({lazy} & set(sys.modules) - before)"
    assert run(clean / "python", "-c", code, cwd=tmp_path).strip() == "set()"


def test_import_costs_little_beside_that_of_torch(clean, tmp_path):
    """In one process, first torch and then this, in processor time, of which other work takes nothing; the least of two runs."""
    code = "import time, torch; spent = time.process_time(); import tinyddpm; print(spent, time.process_time())"
    runs = [map(float, run(clean / "python", "-c", code, cwd=tmp_path).split()) for _ in range(2)]
    torch, both = map(min, zip(*runs, strict=True))
    assert both < 1.5 * torch, (torch, both)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("td.book", "tinyddpm.book needs matplotlib: pip install 'tinyddpm[book]'"),
        ("td.data.digits()", "the digits need scikit-learn: pip install 'tinyddpm[book]'"),
        ("td.load_pretrained('two_moons').sample((1, 2), progress=True)", "progress=True needs tqdm: pip install 'tinyddpm[book]'"),
        (
            "import sys; sys.modules['matplotlib'] = sys; sys.modules['sympy'] = None; td.book",
            "tinyddpm.book needs sympy: pip install 'tinyddpm[book]'",
        ),
    ],
)
def test_what_is_missing_is_named_with_the_extra_that_brings_it(code, message, clean, tmp_path):
    error = run(clean / "python", "-c", f"import tinyddpm as td; {code}", cwd=tmp_path, fails=True)
    assert error.splitlines()[-1] == f"ModuleNotFoundError: {message}"


def readme(language):
    """The README's examples in a language."""
    text = (notebooks.ROOT / "README.md").read_text(encoding="utf-8")
    return [code for name, code in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text) if name == language]


def test_readme_examples_run(clean, tmp_path):
    blocks = readme("python")
    assert len(blocks) >= 3
    for block in blocks:
        run(clean / "python", "-W", "error", "-c", block, cwd=tmp_path)


def own_data(folder):
    """What a user has: photographs of different sizes in two subfolders, and points."""
    random = np.random.default_rng(0)
    for i in range(6):
        place = folder / "photos" / ("cats" if i % 2 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (100 + i, 200 - i, 3), dtype=np.uint8)).save(place / f"{i}.jpg")
    np.save(folder / "points.npy", 1000 * random.standard_normal((500, 2)) + [3000, 5000])


def test_the_commands_of_the_readme_run(clean, tmp_path):
    lines = [shlex.split(line.split("#")[0]) for block in readme("") for line in block.splitlines() if line.startswith("tinyddpm ")]
    assert {line[1] for line in lines} == {"draw", "sample", "bound", "train"}
    own_data(tmp_path)
    for program, command, *options in lines:
        quick = [{"3000": "30", "1000": "3"}.get(option, option) for option in options]  # of steps
        if command == "bound":  # needs the digits, which need scikit-learn
            error = run(clean / program, command, *quick, cwd=tmp_path, fails=True)
            assert "pip install 'tinyddpm[book]'" in error and "Traceback" not in error
        else:
            run(clean / program, command, *quick, cwd=tmp_path)
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "run").is_dir()
    assert "bits for each of 2 numbers" in run(clean / "tinyddpm", "bound", "run", "--data", "two_moons", "--n", "20", cwd=tmp_path)


# ---- for type checkers ----

PROGRAM = """
import numpy as np
import torch
import tinyddpm as td

schedule: td.Schedule = td.Schedule.cosine(T=100)
x0: torch.Tensor = td.data.two_moons(100, torch.Generator().manual_seed(0))
law: td.Gaussian = td.q_marginal(schedule, x0, 3)
loss: torch.Tensor = td.simple_loss(schedule, lambda xt, t: torch.zeros_like(xt), x0)
ddpm = td.DDPM(td.MLP(dim=2), schedule, predict="v", variance="beta_tilde", clip=(-1.0, 1.0))
losses: list[float] = td.fit(ddpm, x0, steps=2, progress=False).tolist()
grid: td.Schedule = td.Schedule(np.array([0.1, 0.2]))
mixture = td.exact.GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], variances=0.04)
again: torch.Tensor = ddpm(x0)
bound: td.VLB = ddpm.vlb(x0, levels=None)
bits: float = td.bits_per_dim(float(bound.total.mean()), dims=2)
points: torch.Tensor = td.load_pretrained("two_moons").sample_ddim((4, 2), steps=10)
told = td.DDPM(td.MLP(dim=2, condition=td.Labels(3)), schedule)
td.fit(told, x0, steps=2, progress=False, c=torch.zeros(100).long(), drop=0.2)
guided: torch.Tensor = told.given([0, 1, 2], guidance=2.0).sample((3, 2))
distance: float = td.metrics.sliced_wasserstein(points, x0[:4])
"""
WRONG = {
    'td.DDPM(td.MLP(dim=2), schedule, predict="epsilon")': "arg-type",
    "td.q_sample(schedule, x0, 1.5, x0)": "arg-type",
    "law.kl(x0)": "arg-type",
    "ddpm('two_moons')": "arg-type",
    "ddpm(x0).lost": "attr-defined",
    "ddpm.sample((4, 2)).shap": "attr-defined",
    "ddpm.given(3, guidance='2')": "arg-type",
}


def test_a_users_program_and_the_package_pass_a_type_checker(clean, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(PROGRAM + "".join(f"{line}\n" for line in WRONG))
    mypy = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache")]
    users = [*mypy, "--python-executable", str(clean / "python"), "--config-file", os.devnull]
    good = subprocess.run([*users, "program.py"], cwd=tmp_path, capture_output=True, text=True)
    assert good.returncode == 0, good.stdout + good.stderr
    bad = subprocess.run([*users, "wrong.py"], cwd=tmp_path, capture_output=True, text=True)
    assert re.findall(r"\[([\w-]+)\]$", bad.stdout, re.M) == list(WRONG.values()), bad.stdout
    ours = subprocess.run(mypy, cwd=notebooks.ROOT, capture_output=True, text=True)
    assert ours.returncode == 0, ours.stdout + ours.stderr
