"""The chapters, each run once, as Colab runs and shows them: the first cell installs the package, and Markdown has no MyST."""

import json
import os
import re
import shutil
import subprocess
import sys

import environments
import nbformat
import notebooks
import pytest
from bs4 import BeautifulSoup
from check_notebooks import MYST
from markdown_it import MarkdownIt
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook, new_output
from set_repository import repository_url

import tinyddpm as td

CHAPTERS = notebooks.chapters()
# Their code is that of the chapters, and their outputs too: see test_vietnamese.py.
TWINS = notebooks.chapters(notebooks.BOOKS["vi"])
by_name = pytest.mark.parametrize("path", CHAPTERS, ids=lambda p: p.stem)


# ---- as Colab runs them ----

# Of what Colab holds, all that a chapter or its kernel may ask for; safetensors comes there with transformers. SymPy and the
# others are in the versions that are installed here, which are not Colab's: only what is here can be linked.
USUAL = ("torch", "numpy", "matplotlib", "scikit-learn", "scipy", "sympy", "safetensors", "tqdm", "ipython", "ipykernel")
AT_MOST = {"two minutes": 120, "three minutes": 180, "four minutes": 240}
# What a first cell that installs shows above its stored output. Of pip, which is quiet, it must show nothing.
INSTALLED = "Note: you may need to restart the kernel to use updated packages.\n"
CLAIM = re.compile(r"Running: about [\w ]+ on two cores, at most ([\w ]+)\.")


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """Makes a kernel "colab", in a new environment without tinyddpm, and an empty folder to run in.

    It returns that folder, where the environment's packages are, and the variables to run with. Pip knows one index, a folder laid
    out as PyPI is, which holds this wheel or nothing. It is told so as a user would: in a file of settings, which outdoes the files
    that the machine has.
    """

    def make(wheel, holds=USUAL):
        programs, packages = environments.create(tmp_path / "environment", *holds)
        assert not list(packages.glob("*tinyddpm*"))
        index, settings, folder = tmp_path / "simple", tmp_path / "pip.conf", tmp_path / "content"
        (index / "tinyddpm" if wheel else index).mkdir(parents=True)
        if wheel:
            (index / "tinyddpm" / "index.html").write_text(f'<a href="{wheel.as_uri()}">{wheel.name}</a>')
        options = ["no-index = false", f"index-url = {index.as_uri()}", "extra-index-url =", "find-links ="]
        options += ["disable-pip-version-check = true"]  # else pip looks for a newer pip in this index too, and warns
        settings.write_text("\n".join(["[global]", *options]))
        command = [str(programs / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        kernel = tmp_path / "kernels" / "colab" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        kernel.write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
        folder.mkdir()
        return folder, packages, {**environments.surroundings(), "PIP_CONFIG_FILE": str(settings)}

    return make


def code(notebook):
    """The cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def unchecked(source):
    """A cell of our own, whose output nbval lets be what it will; it fails where it raises."""
    return new_code_cell(source, metadata={"tags": ["nbval-ignore-output"]})


@by_name
def test_chapter_installs_the_package_and_repeats_its_outputs_in_the_time_that_it_says_and_its_solutions_run(path, colab, wheel):
    """nbval runs the chapter, with cells added: on the time, each solution that is code, and on where it ran.

    The time is the processor's, of which other work on the machine takes nothing.
    """
    text = notebooks.texts(path)
    claim = CLAIM.search(text[0])
    assert claim and claim[1] in AT_MOST, "the first cell does not say how long the chapter runs at most"
    solutions = re.findall(r"```python\n(.*?)```", "\n".join(text), re.S)
    assert len(solutions) >= 3 and sum("assert" in s or "prove" in s for s in solutions) == len(solutions)
    folder, packages, env = colab(wheel)
    notebook = nbformat.read(path, as_version=4)
    code(notebook)[0].outputs.insert(0, new_output("stream", text=INSTALLED))
    spent = '__import__("time").process_time()'  # of the kernel since its start; no name of ours is left to the solutions
    in_time = f"assert {spent} < {AT_MOST[claim[1]]}, f'it took {{{spent}:.0f}} seconds, {claim[1]} at most were said'"
    where = "(td.__version__, td.__file__, os.listdir())"
    here = (td.__version__, str(packages / "tinyddpm" / "__init__.py"), [path.name])
    notebook.cells += map(unchecked, [in_time, *solutions, f"import os\nassert {where} == {here}, {where}"])
    nbformat.write(notebook, folder / path.name)
    command = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-p", "nbval.plugin"]
    command += ["--nbval", "--nbval-kernel-name", "colab", "--nbval-sanitize-with", notebooks.ROOT / "tests" / "nbval.cfg"]
    command += ["--nbval-cell-timeout", "300", "--maxfail", "5", "-q", "-o", "verbosity_assertions=2", "--color", "no", path.name]
    # No plugin but nbval, and none of our settings of pytest: neither belongs to what is tried here.
    out = subprocess.run(command, cwd=folder, env={**env, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, capture_output=True, text=True)
    every_cell = re.search(rf"(?m)^{len(code(notebook))} passed\b", out.stdout)
    assert out.returncode == 0 and every_cell, out.stdout + out.stderr


def test_every_chapter_begins_with_the_same_code_which_knows_the_repository():
    (first,) = {code(nbformat.read(path, as_version=4))[0].source for path in CHAPTERS + TWINS}
    assert re.findall(r"git\+(.*?)\"", first) == [repository_url(notebooks.ROOT / "_config.yml")]


def first_cell(folder, env, repository):
    """The outputs of the first cell of a chapter, where the address of its repository leads to a folder here; it may fail."""
    address = {"GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf", "GIT_CONFIG_COUNT": "1"}
    address["GIT_CONFIG_VALUE_0"] = repository_url(notebooks.ROOT / "_config.yml")
    install = code(nbformat.read(CHAPTERS[0], as_version=4))[0]
    resources = {"metadata": {"path": str(folder)}}
    client = NotebookClient(new_notebook(cells=[install]), kernel_name="colab", timeout=300, resources=resources)
    try:
        client.execute(env={**env, **address})
    except CellExecutionError:
        assert install.outputs[-1].output_type == "error"
    return install.outputs


@pytest.mark.parametrize("lacking", ["tinyddpm", "tqdm"])
def test_first_cell_says_what_is_wrong_where_the_package_cannot_be_had(lacking, colab, wheel):
    """An index without the package or what it requires, and no repository: an error that helps, not a success that is none."""
    folder, _, env = colab(None if lacking == "tinyddpm" else wheel, [name for name in USUAL if name != lacking])
    *above, error = first_cell(folder, env, folder / "nowhere")
    assert f"No matching distribution found for {lacking}" in "".join(output.text for output in above)
    assert error.output_type == "error" and error.evalue == "tinyddpm is missing: pip says above why"


def test_first_cell_takes_the_package_from_its_repository_where_the_index_has_none(colab, tmp_path):
    source = tmp_path / "repository"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(notebooks.ROOT / name, source)
    shutil.copytree(notebooks.ROOT / "tinyddpm", source / "tinyddpm", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], cwd=source, check=True)
    folder, packages, env = colab(None, (*USUAL, "hatchling"))
    outputs = first_cell(folder, {**env, "PIP_NO_BUILD_ISOLATION": "0"}, source)  # 0: the index here has nothing to build with
    assert outputs[-1].get("text", "").endswith(f"tinyddpm {td.__version__}\n"), outputs
    assert (packages / "tinyddpm" / "nets.py").is_file()


# ---- as Colab shows them ----

MATHS = re.compile(r"\$\$.+?\$\$|\$[^$]+\$", re.S)
RAW = re.compile(r"[*_\\$]|\]\(|\]\[|:::|```|~~~|\{[\w:+-]+\}|\|[ :]*--|</?\w|^\s*(#|>|[-+] |\|)", re.M)
PLAIN = MarkdownIt("commonmark").enable("table").disable("escape")  # a \( or \[ stays: Colab knows no maths but $ and $$


def raw(source):
    """The markup that a reader of a cell would see, or None. Maths and code are left out, which may hold any sign."""
    page = BeautifulSoup(PLAIN.render(MATHS.sub("@@", source)), "html.parser")
    for code in page.find_all("code"):
        code.decompose()
    text = page.get_text()
    return RAW.search(text) or MYST.search(text)


@pytest.mark.parametrize("path", CHAPTERS + TWINS, ids=lambda path: path.relative_to(notebooks.ROOT).with_suffix("").as_posix())
def test_no_cell_shows_markup_in_plain_markdown(path):
    seen = {i: raw(cell["source"]) for i, cell in enumerate(notebooks.cells(path)) if cell["cell_type"] == "markdown"}
    assert not any(seen.values()), {
        i: found.string[max(0, found.start() - 40) : found.end() + 40] for i, found in seen.items() if found
    }


@pytest.mark.parametrize(
    "source",
    [
        "# Title\n\nWords, *some* **stressed $x_*$**, `co_de`, a [link](a.ipynb):\n- one\n- two\n\n> said\n\n$$x_t \\tag{1.1}$$",
        "| a | b |\n|---|---|\n| $x_1$ | **two** |",
        "<details><summary>Solution</summary>\n\nIt is **so**:\n\n```python\na_b = c * d\n```\n\n</details>",
    ],
)
def test_plain_markdown_is_let_pass(source):
    assert raw(source) is None


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("by {eq}`eq-x`", "{eq}"),
        (":::{note}\nwords\n:::", ":::"),
        ("(label)=\nwords", "(label)="),
        ("<details><summary>Solution</summary>\nIt is **so**.\n\n</details>", "*"),
        ("<details><summary>Solution</summary>\n```python\n1\n```\n\n</details>", "```"),
        ("words &lt;br> words", "<b"),
        ("words\n| a | b |\n|---|\n| c | d |", "|"),
        ("**words **follow", "*"),
        ("a snake_case name", "_"),
        ("#Title", "#"),
        ("a [link] (a.ipynb), a [link](a b)", "]("),
        ("words \\(x\\)", "\\"),
        ("\\begin{align} x \\tag{1.1} \\end{align}", "\\"),
        ("costs $5", "$"),
    ],
)
def test_markup_that_a_reader_would_see_is_found(source, seen):
    assert raw(source)[0] == seen
