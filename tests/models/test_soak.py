"""Interpreters of one file, switched at random, made and dropped: `python -m nq_tflite_models.soak` in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nq_tflite_models.soak import COMPILED, INTERPRETERS, WARM_UP, fit_trend, soak, soak_command

from nq_tflite.errors import NqError

RUNTIMES = ["ai-edge-litert", "tflite-runtime", "tensorflow"]
#: Bytes that the heap may move by, whatever the count.
STEP = 1 << 19
#: Bytes an interpreter that tflite-runtime's and tensorflow's own keep of every one of a stock file.
KEPT_BY_THE_RUNTIME = 2000


@pytest.fixture
def runtime(request: pytest.FixtureRequest, runtimes: tuple[str, ...]) -> str:
    if request.param not in runtimes:
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


few_and_many = pytest.mark.parametrize(
    ("runtime", "count"),
    [("ai-edge-litert", 200), *(pytest.param(each, 20_000, marks=pytest.mark.slow) for each in RUNTIMES)],
    indirect=["runtime"],
)


@few_and_many
def test_switching_interpreters_of_one_file(runtime: str, count: int, nested_dir: Path) -> None:
    found = soak("invoke", nested_dir / "int8_8_6_4.tflite", runtime, count, samples=20)
    assert (found.count, found.illegal) == (count, 0)
    assert found.switches > 0
    assert_flat(found, count, 0)


@pytest.mark.parametrize(
    ("runtime", "interpreters", "count"),
    [
        ("ai-edge-litert", INTERPRETERS, 40),
        *(pytest.param(each, INTERPRETERS, 600, marks=pytest.mark.slow) for each in RUNTIMES),
        pytest.param("ai-edge-litert", COMPILED, 600, marks=pytest.mark.slow),
    ],
    indirect=["runtime"],
)
def test_interpreters_come_and_go(runtime: str, interpreters: Any, count: int, nested_dir: Path) -> None:
    found = soak("create", nested_dir / "int8_8_6_4.tflite", runtime, count, interpreters=interpreters, samples=20)
    assert (found.count, found.illegal) == (count, 0)
    assert_flat(found, count, KEPT_BY_THE_RUNTIME)


def assert_flat(found: Any, count: int, kept: int) -> None:
    """No descriptor, no mapping but the heap's few, and no memory beyond steps of the heap."""
    trends = found.trends
    assert trends["descriptors"].last == trends["descriptors"].first
    assert abs(trends["mappings"].last - trends["mappings"].first) <= 4
    assert trends["anonymous"].slope * count < STEP + kept * count


def test_a_line_through_samples() -> None:
    samples = [{"done": n, "anonymous": 8 * n + (1000 if n < 10 * WARM_UP else 0)} for n in range(10)]
    trend = fit_trend(samples, "anonymous")
    assert (trend.slope, trend.error, trend.first, trend.last) == (pytest.approx(8), pytest.approx(0, abs=1e-9), 16, 72)


def test_a_model_that_gives_itself_away_is_asked_for(int8_tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "stock.tflite"
    path.write_bytes(int8_tflite)
    with pytest.raises(NqError, match="without nested weights"):
        soak("create", path, "ai-edge-litert", 1)


@pytest.mark.slow
def test_command(nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    stock = tmp_path / "stock.tflite"
    stock.write_bytes(int8_tflite)
    options = ["--nested", nested_dir / "int8_8_6_4.tflite", "--stock", stock, "--runtime", "tflite-runtime"]
    options += ["--invocations", 240, "--creations", 24]
    shown = CliRunner().invoke(soak_command, [*map(str, options), "--json"])
    assert shown.exit_code == 0, shown.output
    soaks = json.loads(shown.stdout)["soaks"]
    assert [each["load"] for each in soaks] == ["invoke", "create", "create stock"]
    assert [each["illegal"] for each in soaks] == [0, 0, 0]
    table = CliRunner().invoke(soak_command, [*map(str, options)])
    assert "anonymous, bytes each" in " ".join(table.output.replace("┃", " ").split()) or "anonymous" in table.output
