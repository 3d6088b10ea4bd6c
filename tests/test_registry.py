"""What a checkpoint says of a thing is enough to make it again, things inside things included; and how two of them differ."""

import json

import pytest
import torch
from torch import nn

import tinyddpm as td
from tinyddpm._registry import KNOWN, Unknown, build, describe, differences, known


class Count(nn.Module):
    """A part that a network is given."""

    def __init__(self, classes):
        super().__init__()
        self.arguments = {"classes": classes}
        self.table = nn.Embedding(classes, 2)


class Net(nn.Module):
    """A network with a part."""

    def __init__(self, part, sizes=(1, 2)):
        super().__init__()
        self.arguments = {"part": part, "sizes": sizes}
        self.part = part

    def forward(self, xt, t):
        return xt + self.part.table.weight.sum()


@pytest.fixture(autouse=True)
def registered():
    known(Count), known(Net)
    yield
    del KNOWN["Count"], KNOWN["Net"]


def test_a_thing_with_a_thing_in_it_is_saved_and_loaded(tmp_path):
    ddpm = td.DDPM(Net(Count(3)), td.Schedule([0.1, 0.2]))
    ddpm.save(tmp_path)
    again = td.load(tmp_path)
    assert type(again.model) is Net and type(again.model.part) is Count
    assert torch.equal(again.model.part.table.weight, ddpm.model.part.table.weight)


def test_what_is_described_survives_json_and_can_be_built():
    said = describe(Net(Count(3), sizes=(4, 5)))
    assert said == {"class": "Net", "arguments": {"part": {"class": "Count", "arguments": {"classes": 3}}, "sizes": [4, 5]}}
    assert describe(build(json.loads(json.dumps(said)))) == said
    beta = [0.1, 1 / 3, 2**-30]
    assert build(json.loads(json.dumps(describe(td.Schedule(beta))))).beta[1:].tolist() == beta  # to the last digit


def test_what_is_not_known_is_named_and_not_built():
    class Other(Net):
        """A subclass is something else: it may be made in another way."""

    assert describe(Other(Count(2))) == {"class": "Other"}
    assert describe(td.DDPM(lambda xt, t: xt, td.Schedule([0.1])))["arguments"]["model"] == {"class": "function"}
    with pytest.raises(Unknown, match="Other"):
        build({"class": "Other"})
    assert type(build({"class": "Net", "arguments": {"sizes": [1]}}, part=Count(2)).part) is Count  # what is given is not built


@pytest.mark.parametrize(
    ("was", "now", "found"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {"a": 1, "b": 3}, [("b", None, 3)]),
        ({"class": "A", "arguments": {"x": 1}}, {"class": "B", "arguments": {"x": 2}}, [("thing", "A", "B")]),
        ({"class": "A"}, {"class": "A", "arguments": {"x": 2}}, [("x", None, 2)]),
        ({"class": "A", "arguments": {"p": {"class": "C", "arguments": {"n": 1}}}},
         {"class": "A", "arguments": {"p": {"class": "C", "arguments": {"n": 2}}}}, [("n", 1, 2)]),
        ({"b": [0.0] * 20}, {"b": [0.0] * 19 + [0.5]}, [("b[19]", 0.0, 0.5)]),
        ({"b": [0.0] * 20}, {"b": [0.0] * 21}, [("len(b)", 20, 21)]),
        ({"b": [1, 2]}, {"b": [1, 3]}, [("b", [1, 2], [1, 3])]),
        ({"c": None}, {"c": [1, 2]}, [("c", None, [1, 2])]),
        ({"a": 1, "b": 3}, {"a": 1}, [("b", 3, None)]),
        ({"a": 1, "b": None}, {"a": 1}, []),
    ],
)  # fmt: skip
def test_differences_are_named_where_they_are(was, now, found):
    assert list(differences("thing", was, now)) == found
