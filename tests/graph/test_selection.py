"""Weights chosen by name, and the reason for every one that is not nested, in reports and in finished files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from graphs import Graph

import nq_tflite as nq
from nq_tflite.cli import nq_tflite as main
from nq_tflite.errors import SelectionError, UnsupportedModelError
from nq_tflite.graph.selection import Selection

SMALL = "too small to gain: padded to superblocks, 5 bits take as much as INT8"


def reasons(report: Any) -> dict[str, str]:
    return {row.name: row.reason for row in report.unnested}


@pytest.fixture(scope="module")
def chain() -> bytes:
    """Convolutions to 96, 80, 8 and 64 channels; the one to 8 is too small to gain."""
    graph, channels = Graph(), 64
    x = graph.input((1, 8, 8, 64), scale=0.1)
    for number, out in enumerate((96, 80, 8, 64)):
        x = graph.convolution(x, (1, 8, 8, channels), out, seed=number, scale=0.2, zero_point=0)
        channels = out
    return graph.build([x])


@pytest.fixture(scope="module")
def names(chain: bytes, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the weights that nest by themselves."""
    report = nq.convert(chain, tmp_path_factory.mktemp("names") / "n.tflite", "8|5", rounding="nearest")
    assert [row.reason for row in report.unnested] == [SMALL, SMALL]
    return [row.name for row in report.weights]


def test_excluded_weights_stay_and_say_so(names: list[str], chain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    report = nq.convert(chain, path, "8|5", rounding="nearest", exclude=names[1:])
    assert [row.name for row in report.weights] == [names[0]]
    assert {reasons(report)[name] for name in names[1:]} == {"excluded by name"}
    inspected = nq.inspect_file(path)
    assert {reasons(inspected)[name] for name in names[1:]} == {"left out when the file was made"}
    assert reasons(inspected).keys() == reasons(report).keys()
    assert {row.bytes for row in inspected.unnested} == {row.bytes for row in report.unnested}


def test_excluding_everything_is_refused(chain: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"excluded by name.*Exclude fewer"):
        nq.convert(chain, tmp_path / "nested.tflite", "8|5", rounding="nearest", exclude="*")


def test_included_weights_nest_without_gain(names: list[str], chain: bytes, tmp_path: Path) -> None:
    before = nq.convert(chain, tmp_path / "before.tflite", "8|5", rounding="nearest")
    small = [name for name, reason in reasons(before).items() if reason == SMALL]
    report = nq.convert(chain, tmp_path / "nested.tflite", "8|5", rounding="nearest", include=small)
    assert {row.name for row in report.weights} == {*names, *small}
    only = nq.convert(chain, tmp_path / "only.tflite", "8|5", rounding="nearest", include=small, exclude="*")
    assert {row.name for row in only.weights} == set(small)


def test_a_pattern_without_a_weight_names_the_nearest(names: list[str], chain: bytes, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"matches none of 4 names.* closest names are ") as caught:
        nq.convert(chain, tmp_path / "nested.tflite", "8|5", exclude=names[0][:-1] + "#")
    assert names[0] in str(caught.value)
    assert not (tmp_path / "nested.tflite").exists()


def test_a_selection_knows_whole_names_and_patterns() -> None:
    selection = Selection(include=("a[0]",), exclude=("a*", "b?"))
    assert (selection.includes("a[0]"), selection.includes("a0"), selection.excludes("a[0]")) == (True, True, False)
    assert [name for name in ("a1", "b1", "b12", "c") if selection.excludes(name)] == ["a1", "b1"]
    selection.check(["a0", "b1"])
    with pytest.raises(SelectionError, match="exclude pattern"):
        selection.check(["a0"])


def test_the_command_line_chooses_too(names: list[str], chain: bytes, tmp_path: Path) -> None:
    source, path = tmp_path / "int8.tflite", tmp_path / "nested.tflite"
    source.write_bytes(chain)
    arguments = ["convert", str(source), str(path), "--rounding", "nearest", "--exclude", names[0], "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert [row["name"] for row in json.loads(done.stdout)["weights"]] == names[1:]
    failed = CliRunner().invoke(main, [*arguments[:-3], "--include", "nothing like that"])
    assert failed.exit_code == 1
    assert "closest" in failed.output
    shown = CliRunner().invoke(main, ["inspect", str(path), "--json"])
    assert {row["reason"] for row in json.loads(shown.stdout)["unnested"]} >= {"left out when the file was made"}
    table = CliRunner().invoke(main, ["inspect", str(path), "--layers"])
    assert "tensors that stay as they are" in table.stdout


def test_constants_of_other_operators_are_told_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    graph = Graph()
    x = graph.input((1, 8, 8, 64), scale=0.1)
    y = graph.convolution(x, (1, 8, 8, 64), 96, seed=1, scale=0.2, zero_point=0)
    large = graph.constant(rng.integers(-127, 128, (1, 8, 8, 96), np.int8), scale=0.1)
    small = graph.constant(rng.integers(-127, 128, (1, 1, 1, 96), np.int8), scale=0.1)
    z = graph.add("MAXIMUM", [y, large], (1, 8, 8, 96), scale=0.2)
    z = graph.add("MAXIMUM", [z, small], (1, 8, 8, 96), scale=0.2)
    path = tmp_path / "nested.tflite"
    report = nq.convert(graph.build([z]), path, "8|5", rounding="nearest")
    told = [(row.operator, row.shape, row.bytes, row.reason) for row in report.unnested]
    assert told == [("MAXIMUM", (1, 8, 8, 96), 6144, "an operator without nesting")]
    assert nq.inspect_file(path).unnested == report.unnested
