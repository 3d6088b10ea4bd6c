"""What `make mutation` counts: names and diffs as mutmut gives them, and a list of survivors that is of today's code."""

import re

import mutation
from mutation import Change, change, explained

LIST = (mutation.ROOT / "tests" / "survivors.md").read_text(encoding="utf-8")


def test_a_mutant_is_known_by_its_function_and_its_lines():
    diff = "# x: survived\n--- a.py\n+++ a.py\n@@ -1 +1 @@\n def f():\n-    return 1\n+    return 2\n"
    method = change("tinyddpm.exact.xǁGaussianMixtureǁ_joint__mutmut_12", diff)
    assert method == Change("tinyddpm/exact.py: GaussianMixture._joint", ("- return 1", "+ return 2"))
    assert change("tinyddpm.loss.x_vlb_weight__mutmut_3", diff).where == "tinyddpm/loss.py: vlb_weight"


def test_what_is_printed_of_a_survivor_explains_it_once_it_is_in_the_list():
    one, two = Change("a.py: f", ("- 1", "+ 2")), Change("a.py: f", ("- 1", "+ 3"))
    assert explained(f"# Title\n\n## Reason\n\nwhy\n\n{one}\n\n{two}\n\n## Other\n") == {one, two}


def test_each_survivor_in_the_list_is_of_a_line_that_is_still_there():
    """So that the list is read again when the code changes, and no reason outlives its line."""
    changes = explained(LIST)
    assert len(changes) == LIST.count("```diff") > 0
    for found in changes:
        file, function = found.where.split(": ")
        source = (mutation.ROOT / file).read_text(encoding="utf-8")
        assert f"def {function.split('.')[-1]}(" in source
        lines = {line.strip() for line in source.splitlines()}
        assert {line[2:] for line in found.lines if line[0] == "-"} <= lines, found


def test_each_survivor_stands_under_a_reason():
    for section in re.split(r"(?m)^## ", LIST)[1:]:
        assert len(section.split("### ")[0].split("\n", 1)[1].split()) > 8, section[:80]
