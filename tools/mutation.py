"""Breaks the mathematical modules in some thousand places, one at a time, and counts what the tests notice.

`make mutation` runs it. mutmut makes the mutants and runs for each the tests that reach it (pyproject.toml says which files;
more than an hour on two cores; a second run goes on where the first one stopped). A mutant that no test notices must stand in
tests/survivors.md with the reason why it changes nothing that anyone can see.
"""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEEDED = 0.95
NOTICED = ("killed", "timeout")  # in mutmut's words
NAME = re.compile(r"(?P<module>[\w.]+)\.x(?:_|ǁ(?P<class>\w+)ǁ)(?P<function>\w+)__mutmut_\d+")


@dataclass(frozen=True)
class Change:
    """What a mutant changes: lines of one function, without their indentation."""

    where: str  # "tinyddpm/exact.py: GaussianMixture.sample"
    lines: tuple[str, ...]  # "- before" and "+ after"

    def __str__(self) -> str:
        return "\n".join([f"### {self.where}", "```diff", *self.lines, "```"])


def explained(text: str) -> set[Change]:
    """The changes that a list of survivors explains: diffs under headings that say where they are."""
    changes = set()
    for where, body in re.findall(r"(?ms)^### (.+?)$(.*?)(?=^#|\Z)", text):
        for diff in re.findall(r"(?ms)^```diff\n(.*?)\n```", body):
            changes.add(Change(where, tuple(diff.splitlines())))
    return changes


def change(name: str, diff: str) -> Change:
    """What a mutant changes, from its name and its diff."""
    parts = NAME.fullmatch(name)
    assert parts, name
    function = ".".join(filter(None, (parts["class"], parts["function"])))
    lines = re.findall(r"(?m)^([-+])(?!--|\+\+)\s*(.*)$", diff)
    return Change(f"{parts['module'].replace('.', '/')}.py: {function}", tuple(f"{sign} {line}" for sign, line in lines))


def mutmut(*arguments: str) -> str:
    """The output of a command of mutmut."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main() -> int:
    """Runs the mutants and prints the score; 0 if it is high enough and each survivor is explained."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
    from mutmut.stats import status_by_exit_code  # installed by `make mutation`, not for the tests

    run = [sys.executable, "-m", "mutmut", "run", "--max-children", str(os.cpu_count() or 1)]
    if subprocess.run(run, cwd=ROOT, env=environment).returncode:
        return 1
    results: dict[str, str] = {}
    for meta in sorted((ROOT / "mutants" / "tinyddpm").glob("*.py.meta")):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        results |= {name: status_by_exit_code[code] for name, code in codes.items()}
    count = Counter(results.values())
    by_module = Counter(name.split(".")[1] for name in results)
    missed = [name for name, status in results.items() if status not in NOTICED]
    for module, total in by_module.items():
        print(f"{module:12} {total:5} mutants, {sum(name.split('.')[1] == module for name in missed):3} survived")
    score = 1 - len(missed) / len(results)
    print(f"{len(results)} mutants: {', '.join(f'{n} {what}' for what, n in count.most_common())}: {score:.1%} noticed")
    known = explained((ROOT / "tests" / "survivors.md").read_text(encoding="utf-8"))
    unknown = [found for found in (change(name, mutmut("show", name)) for name in missed) if found not in known]
    print(*unknown, sep="\n\n")
    print(f"{len(missed) - len(unknown)} survivors are explained in tests/survivors.md, {len(unknown)} are not")
    return int(score < NEEDED or bool(unknown))


if __name__ == "__main__":
    sys.exit(main())
