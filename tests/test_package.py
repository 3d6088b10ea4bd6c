"""The package from its wheel: what is in it, what it imports, and a chapter that runs with nothing but it."""

import os
import re
import subprocess
import sys
import zipfile
from email import message_from_string

import nbformat
import notebooks
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from set_repository import repository_url

import tinyddpm as td


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel, built from this folder."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        ".",
    ]
    subprocess.run(command, cwd=notebooks.ROOT, check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def site(wheel, tmp_path_factory):
    """A folder in which only the wheel is unpacked."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"tinyddpm", f"tinyddpm-{td.__version__}.dist-info"}
    assert "tinyddpm/py.typed" in names and any(name.endswith("licenses/LICENSE") for name in names)
    assert wheel.stat().st_size < 2e6


def test_metadata(wheel):
    archive = zipfile.ZipFile(wheel)
    metadata = message_from_string(archive.read(f"tinyddpm-{td.__version__}.dist-info/METADATA").decode())
    address = repository_url(notebooks.ROOT / "_config.yml")
    assert metadata["Version"] == td.__version__ and f"Source, {address}" in metadata.get_all("Project-URL")
    required = [line for line in metadata.get_all("Requires-Dist") if "extra ==" not in line]
    assert [re.match(r"\w+>=[\d.]+$", line) is not None for line in required] == [True] * 3  # lower bounds only
    assert metadata.get_all("Provides-Extra") == ["book", "test"]
    commands = archive.read(f"tinyddpm-{td.__version__}.dist-info/entry_points.txt").decode()
    assert "tinyddpm = tinyddpm.cli:main" in commands


def test_the_trained_models_are_in_the_wheel_and_it_is_small(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    for name in td.ddpm.PRETRAINED:
        assert sum(file.startswith(f"tinyddpm/weights/{name}/") for file in inside) == 2
    assert wheel.stat().st_size < 1_500_000


def test_import_loads_torch_and_nothing_that_a_chapter_needs(site, tmp_path):
    code = "import sys, tinyddpm; print(tinyddpm.__file__, *{'sympy', 'matplotlib', 'sklearn', 'scipy'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    out = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split() == [str(site / "tinyddpm" / "__init__.py")]


def test_readme_example_runs():
    blocks = re.findall(r"```python\n(.*?)```", (notebooks.ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert blocks
    for block in blocks:
        subprocess.run([sys.executable, "-c", block], check=True, capture_output=True)


@pytest.mark.parametrize("path", notebooks.chapters(), ids=lambda p: p.stem)
def test_chapter_runs_alone_and_so_do_its_solutions(path, site, tmp_path):
    """In an empty folder, with the wheel: the cells, then each solution that is code, then proof of where it ran."""
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    solutions = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(solutions) >= 3 and sum("assert" in s or "verify" in s for s in solutions) == len(solutions)
    notebook.cells += [nbformat.v4.new_code_cell(s) for s in [*solutions, "import os; print(td.__file__, os.listdir())"]]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    NotebookClient(notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=environment
    )
    assert notebook.cells[-1].outputs[0].text.strip() == f"{site / 'tinyddpm' / '__init__.py'} []"


def test_first_cell_says_what_is_wrong_where_the_package_cannot_be_had(tmp_path):
    """No tinyddpm, and no index to install it from: an error that helps, not a success that is none."""
    first = next(cell for cell in nbformat.read(notebooks.chapters()[0], as_version=4).cells if cell.cell_type == "code")
    hide = nbformat.v4.new_code_cell("import sys; sys.modules['tinyddpm'] = None")
    notebook = nbformat.v4.new_notebook(cells=[hide, first])
    client = NotebookClient(notebook, kernel_name="python3", timeout=120, resources={"metadata": {"path": str(tmp_path)}})
    with pytest.raises(CellExecutionError, match="tinyddpm could not be installed: pip's message above says why"):
        client.execute(env={**os.environ, "PIP_NO_INDEX": "1", "PIP_DRY_RUN": "1"})
