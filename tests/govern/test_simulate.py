"""Simulated strategies: by hand on a few steps, and what holds on any trace; the command and its figure."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import check_error, invoke, run
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nq_tflite.errors import ModelSourceError, TraceError
from nq_tflite.govern import Policy, Rule
from nq_tflite.govern.simulate import Costs, Strategy, outcome, simulate
from nq_tflite.govern.traces import TRACES, Trace, read_trace
from nq_tflite.plot import runs_figure, save_figure

NESTED = Costs((4, 8), (50, 80), (30, 60), (0.4, 0.4), (0.001, 0.002))
ALONE = replace(NESTED, switch_seconds=(0.4, 0.5), reloads=True)
ACCURACY = (0.8, 1.0)
MEMORY = 1000
COLD = Policy("cold", (Rule("warmth", below=10, until=20),), dwell_seconds=2)
ROOMY = Policy("roomy", (Rule("memory_available", below=5, until=10),), dwell_seconds=2)


def trace_of(room: list[float] | None = None, **signals: list[float]) -> Trace:
    steps = len(room or next(iter(signals.values())))
    return Trace(
        "made",
        np.arange(steps, dtype=np.float64),
        {name: np.array(values) for name, values in signals.items()},
        None if room is None else np.array(room),
    )


def test_a_governed_model_and_a_reloaded_one() -> None:
    trace = trace_of(warmth=[30, 5, 30, 30, 30, 30])
    nested = simulate(Strategy("nested", NESTED), trace, COLD, ACCURACY)
    np.testing.assert_array_equal(nested.level, [1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(nested.held_bytes, [80, 50, 50, 50, 80, 80])
    np.testing.assert_allclose(nested.served, [1, 0.999, 1, 1, 0.998, 1])
    np.testing.assert_allclose(nested.service, [1, 0.7992, 0.8, 0.8, 0.998, 1])
    assert (nested.switches, nested.bytes_moved, nested.starts) == (2, 30 + 30, 0)
    alone = simulate(Strategy("alone", ALONE), trace, COLD, ACCURACY)
    np.testing.assert_array_equal(alone.level, nested.level)
    np.testing.assert_allclose(alone.served, [1, 0.6, 1, 1, 0.5, 1])
    assert (alone.switches, alone.bytes_moved) == (2, 30 + 60)


def test_who_holds_more_than_the_room_is_killed() -> None:
    trace = trace_of(room=[20, 7, 7, 20, 20])  # percent of 1000 bytes
    stock = simulate(Strategy("stock", NESTED, fixed=1), trace, ROOMY, ACCURACY, MEMORY)
    np.testing.assert_array_equal(stock.level, [1, -1, -1, 1, 1])
    np.testing.assert_array_equal(stock.held_bytes, [80, 0, 0, 80, 80])
    np.testing.assert_allclose(stock.served, [1, 0, 0, 0.6, 1])
    assert stock.starts == 1
    governed = simulate(Strategy("nested", NESTED), trace, ROOMY, ACCURACY, MEMORY)
    np.testing.assert_array_equal(governed.level, [1, 0, 0, 0, 0])
    assert governed.starts == 0
    figures = outcome(governed, trace, 1)
    assert (figures.full_time, figures.mean_bytes, figures.peak_bytes) == (0.2, 56.0, 80)
    assert figures.served == pytest.approx((5 - 0.001) / 5)


@given(
    room=st.lists(st.floats(0, 30), min_size=2, max_size=50),
    warmth=st.lists(st.floats(0, 40), min_size=50, max_size=50),
)
def test_on_any_trace(room: list[float], warmth: list[float]) -> None:
    """Nothing runs beyond the room; who never changes is served while it fits; the figures are fractions."""
    trace = trace_of(room=room, warmth=warmth[: len(room)])
    policy = Policy("both", COLD.rules + ROOMY.rules, dwell_seconds=2)
    limit = np.array(room) / 100 * MEMORY
    for strategy in (Strategy("nested", NESTED), Strategy("alone", ALONE), Strategy("fixed", NESTED, fixed=1)):
        done = simulate(strategy, trace, policy, ACCURACY, MEMORY)
        assert np.all(done.held_bytes <= limit)
        assert np.all((done.served >= 0) & (done.served <= 1))
        assert np.all(done.service <= done.served)
        figures = outcome(done, trace, 1)
        assert 0 <= figures.service <= figures.served <= 1
        if strategy.fixed is not None:
            np.testing.assert_array_equal(done.level >= 0, limit >= 80)


def test_mistakes() -> None:
    strategy = Strategy("nested", NESTED)
    with pytest.raises(TraceError, match="memory_bytes"):
        simulate(strategy, trace_of(room=[1, 2]), COLD, ACCURACY)
    with pytest.raises(TraceError, match="2 numbers, part-bit first"):
        simulate(strategy, trace_of(warmth=[1, 2]), COLD, (1.0,))


@pytest.mark.parametrize(
    "name", ["battery-day", *(pytest.param(name, marks=pytest.mark.slow) for name in TRACES if name != "battery-day")]
)
def test_figures(name: str, tmp_path: Path) -> None:
    trace = read_trace(name)
    costs = replace(NESTED, held_bytes=(50_000, 80_000))
    runs = [simulate(Strategy("nested", costs), trace, Policy.named("memory+battery"), ACCURACY, 1_000_000)]
    figure = runs_figure(runs, trace, 1_000_000)
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1152, 1216)
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    with pytest.raises(ModelSourceError, match=r"a \.png, \.svg or \.pdf"):
        save_figure(figure, tmp_path / "a.doc")
    with pytest.raises(ModelSourceError, match="nowhere"):
        save_figure(figure, tmp_path / "nowhere/a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_the_command(nested_dir: Path, tmp_path: Path) -> None:
    figure = tmp_path / "storm.svg"
    model = nested_dir / "int8_8_5.tflite"
    result = run("simulate", model, "--accuracy", "0.9,0.99", "--plot", figure, "--json")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    nested, reloaded, part, stock = answer["outcomes"]
    assert (answer["trace"], answer["policy"], answer["accuracy"]) == ("memory-storm", "memory", [0.9, 0.99])
    assert nested["switches"] == reloaded["switches"] > 0
    assert 0 < nested["bytes_moved"] < reloaded["bytes_moved"]
    assert part["full_time"] == 0 == part["switches"]
    assert stock["mean_bytes"] > 0
    assert figure.read_text().startswith("<?xml")


def test_mistakes_at_the_command(nested_dir: Path) -> None:
    model = nested_dir / "int8_8_5.tflite"
    assert invoke("simulate", model, "--accuracy", "1").exit_code == 2
    check_error(invoke("simulate", model, "--trace", "rainy-day"), "battery-day", "rainy-day")
    unknown = invoke("simulate", model, "--policy", "weather")
    assert (unknown.exit_code, "'weather'" in unknown.output) == (2, True)
