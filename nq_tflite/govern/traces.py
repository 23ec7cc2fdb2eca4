"""A device's readings over time: recorded, or generated from a seed."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import TraceError, did_you_mean, reason_of

#: Column of a trace file: percent of the device's memory that is left for the model, its own part included.
ROOM = "room"


@dataclass(frozen=True)
class Trace:
    """Readings at the start of each step.

    Attributes:
        name: what tables call it.
        seconds: float64 [steps], strictly increasing from 0; the last step is as long as the one before it.
        signals: float64 [steps] by name; NaN where there is no reading.
        room: float64 [steps], percent of the device's memory that it can spare for the model, including what the model
            holds; None to ignore memory. "memory_available" then follows from it and is not a signal.
    """

    name: str
    seconds: NDArray[np.float64]
    signals: Mapping[str, NDArray[np.float64]]
    room: NDArray[np.float64] | None = None

    @property
    def durations(self) -> NDArray[np.float64]:
        """Seconds of each step."""
        steps = np.diff(self.seconds)
        return np.append(steps, steps[-1])

    def readings(self) -> Iterator[dict[str, float]]:
        """Of each step, those that there are."""
        for index in range(len(self.seconds)):
            values = {name: float(values[index]) for name, values in self.signals.items()}
            yield {name: value for name, value in values.items() if np.isfinite(value)}


def battery_day(seed: int = 0) -> Trace:
    """A phone's day: 24 hours in steps of a minute, used now and then, charged at noon for an hour and in the evening.

    >>> trace = battery_day()
    >>> len(trace.seconds), trace.signals["battery"][0]
    (1440, 100.0)
    """
    rng = np.random.default_rng(seed)
    minutes = np.arange(24 * 60)
    used = np.repeat(rng.random(48) < 0.45, 30) & (minutes >= 7 * 60)
    drain = np.where(used, rng.uniform(0.3, 0.5, minutes.size), 0.03)
    plugged = ((minutes >= 13 * 60) & (minutes < 14 * 60)) | (minutes >= 21 * 60)
    level, levels = 100.0, []
    for index in range(minutes.size):
        levels.append(level)
        level = min(100.0, level + 0.8) if plugged[index] else max(1.0, level - drain[index])
    battery = np.where(plugged, 100.0, levels)  # what `Sensors` says of a device on mains
    return Trace("battery-day", 60.0 * minutes, {"battery": battery})


def memory_storm(seed: int = 0) -> Trace:
    """Twenty minutes in steps of half a second, in which other apps take and return memory, at times nearly all."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(0, 1200, 0.5)
    room = np.full(seconds.size, 45.0)
    start = 20.0
    while start < seconds[-1] - 60:
        length, depth = rng.uniform(10, 60), rng.uniform(20, 42)
        ramp = rng.uniform(3, 12)
        rising = np.clip((seconds - start) / ramp, 0, 1)
        falling = np.clip((start + ramp + length - seconds) / ramp, 0, 1)
        room -= depth * np.minimum(rising, falling)
        start += length + rng.uniform(10, 60)
    room = np.clip(room + rng.normal(0, 0.05, seconds.size), 1.0, 100.0)
    return Trace("memory-storm", seconds, {}, room)


def heat_soak(seed: int = 0) -> Trace:
    """An hour in steps of a second: a device in a window, the sun behind clouds now and then."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(3600.0)
    clouds = np.repeat(rng.random(30) < 0.35, 120)
    sun = np.where((seconds > 300) & (seconds < 3000) & ~clouds, 1.0, 0.0)
    temperature, values = 48.0, []
    for index in range(seconds.size):
        values.append(temperature)
        temperature += (48.0 + 45.0 * sun[index] - temperature) / 240.0
    return Trace("heat-soak", seconds, {"temperature": np.array(values) + rng.normal(0, 0.2, seconds.size)})


TRACES: Mapping[str, Callable[[int], Trace]] = {
    "battery-day": battery_day,
    "memory-storm": memory_storm,
    "heat-soak": heat_soak,
}


def read_trace(source: str | os.PathLike[str], seed: int = 0) -> Trace:
    """A made-up trace by name; a .csv file with the columns seconds, readings, and perhaps room; or the lines that
    `nq-tflite watch --json` wrote.

    Raises:
        TraceError: there is no such trace, or the file is not a trace.
    """
    if str(source) in TRACES:
        return TRACES[str(source)](seed)
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines())) if path.suffix == ".csv" else _watched(text)
        columns = {name: np.array([_value(row, name) for row in rows]) for name in _names(rows)}
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError, csv.Error) as error:
        raise TraceError(
            f"trace {source}",
            expected=f"{', '.join(TRACES)}, a .csv file, or lines of nq-tflite watch --json",
            got="a file of another kind" if isinstance(error, json.JSONDecodeError | KeyError) else reason_of(error),
            fix=did_you_mean(source, TRACES),
        ) from error
    seconds = columns.pop("seconds", np.array([]))
    if seconds.size < 2 or not np.all(np.diff(seconds) > 0):
        raise TraceError(f"trace {source}", expected="a column seconds that increases", got=f"{seconds[:3]}")
    return Trace(path.stem, seconds - seconds[0], columns, columns.pop(ROOM, None))


def _watched(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [{"seconds": line["seconds"], **line["readings"]} for line in lines if line["event"] == "state"]


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _value(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return float("nan") if value in (None, "") else float(value)
