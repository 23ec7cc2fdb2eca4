"""Traces: made up from a seed, read from files, and every mistake that a file can hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nq_tflite.errors import TraceError
from nq_tflite.govern.traces import TRACES, read_trace


@pytest.mark.parametrize("name", TRACES)
def test_made_up_traces_depend_on_their_seed_alone(name: str) -> None:
    first, again, other = read_trace(name), read_trace(name), read_trace(name, seed=1)
    for trace in (first, again, other):
        assert trace.name == name
        assert np.all(np.diff(trace.seconds) > 0)
        assert trace.durations.shape == trace.seconds.shape
    columns = [{**trace.signals, "room": trace.room} for trace in (first, again, other)]
    for column, values in columns[0].items():
        if values is not None:
            np.testing.assert_array_equal(values, columns[1][column])
            assert not np.array_equal(values, columns[2][column])


def test_a_day_crosses_the_presets_bounds() -> None:
    battery = read_trace("battery-day").signals["battery"]
    assert (battery.min() < 30, battery.max()) == (True, 100)
    temperature = read_trace("heat-soak").signals["temperature"]
    assert temperature.min() < 65 < 75 < temperature.max()
    room = read_trace("memory-storm").room
    assert room is not None
    assert 1 <= room.min() < 10 < 20 < room.max()


def test_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "porch.csv"
    path.write_text("seconds,temperature,room\n5,40,10\n6,,9\n8,42,8.5\n")
    trace = read_trace(path)
    assert trace.name == "porch"
    np.testing.assert_array_equal(trace.seconds, [0, 1, 3])
    np.testing.assert_array_equal(trace.durations, [1, 2, 2])
    np.testing.assert_array_equal(trace.room, [10, 9, 8.5])
    assert list(trace.readings()) == [{"temperature": 40.0}, {}, {"temperature": 42.0}]


def test_what_watch_wrote(tmp_path: Path) -> None:
    path = tmp_path / "watched.jsonl"
    lines = [
        {"event": "state", "seconds": 0.5, "readings": {"memory_available": 50.0}},
        {"event": "switch", "reason": "battery below 30"},
        {"event": "state", "seconds": 1.5, "readings": {"memory_available": 49.0, "battery": 29}},
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    trace = read_trace(path)
    assert list(trace.readings()) == [{"memory_available": 50.0}, {"memory_available": 49.0, "battery": 29.0}]
    assert trace.room is None


@pytest.mark.parametrize(
    "text",
    ["", "seconds\n1\n", "seconds,battery\n1,2\n1,3\n", "time,battery\n1,2\n2,3\n", "seconds,battery\n1,x\n2,3\n"],
)
def test_files_that_are_no_traces(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(TraceError):
        read_trace(path)


@pytest.mark.parametrize("text", ["no json", '{"seconds": 1}', "[1, 2]", '{"event": "state", "seconds": "x"}'])
def test_lines_that_are_no_traces(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(text)
    with pytest.raises(TraceError, match="nq-tflite watch --json"):
        read_trace(path)
    with pytest.raises(TraceError, match="battery-day"):
        read_trace("rainy-day")
