"""The state of models under a governor, at intervals; `nq-tflite watch` shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.govern.governor import GovernedSwitch, Governor
from nq_tflite.govern.policy import Policy, Preset
from nq_tflite.govern.sensors import Sensors


@dataclass(frozen=True)
class ModelState:
    """One model at one moment.

    Attributes:
        name: its file's name.
        bits: its precision; levels: the precisions it has.
        resident_bytes: bytes of its nested weights in memory.
        reason: why it has this precision.
        seconds: time of its last invocation.
    """

    name: str
    bits: int
    levels: tuple[int, ...]
    resident_bytes: int
    reason: str
    seconds: float


@dataclass(frozen=True)
class WatchState:
    """All models and readings at one moment.

    Attributes:
        seconds: since watching began.
        readings: every sensor that the device has, and "latency", the slowest model's.
        models: in order of importance.
        switches: made since the last state.
    """

    seconds: float
    readings: dict[str, float]
    models: tuple[ModelState, ...]
    switches: tuple[GovernedSwitch, ...]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def watch(
    paths: Sequence[str | os.PathLike[str]],
    policy: Policy | Preset | str | os.PathLike[str] = "memory",
    *,
    budget_bytes: int | None = None,
    seconds: float | None = None,
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[WatchState]:
    """Runs every model once per interval, on zeros, and lets a governor switch them.

    Args:
        paths: nested .tflite files in order of importance.
        policy: as `Governor`.
        budget_bytes: overrides the policy's.
        seconds: when to end; None for never.
        runtime, num_threads: as nq.Interpreter.
        wait: sleeps.

    Raises:
        PolicyError, PrecisionError, FormatError, MissingPackageError, NativeLibraryError: as Governor and Interpreter.

    Example:
        >>> for state in watch(["model.tflite"], "memory", seconds=10):  # doctest: +SKIP
        ...     print(state.models[0].bits, state.readings)
    """
    chosen = Policy.of(policy)
    if budget_bytes is not None:
        chosen = replace(chosen, budget_bytes=budget_bytes)
    names = _names(paths)
    models = {
        name: open_model(os.fspath(path), True, runtime, num_threads) for name, path in zip(names, paths, strict=True)
    }
    switches: list[GovernedSwitch] = []
    governor = Governor(models, chosen, on_switch=switches.append)
    sensors = Sensors()  # of its own: some readings are what happened since the last one
    started = time.monotonic()
    while True:
        governor.step()
        latencies = {name: _invoke(model) for name, model in models.items()}
        slowest = max(latencies.values())
        governor.report(latency=slowest)
        states = tuple(
            ModelState(
                name, each.precision, each.levels, each.resident_bytes(), governor.reasons[name], latencies[name]
            )
            for name, each in models.items()
        )
        elapsed = time.monotonic() - started
        readings = {**sensors.read(), **governor.readings, "latency": slowest}
        yield WatchState(elapsed, readings, states, tuple(switches))
        switches.clear()
        if seconds is not None and elapsed + chosen.interval_seconds > seconds:
            return
        wait(chosen.interval_seconds)


def _invoke(model: Any) -> float:
    started = time.perf_counter()
    model.invoke()
    return time.perf_counter() - started


def _names(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
    """File names; whole paths where those are not different."""
    names = [Path(path).name for path in paths]
    return names if len(set(names)) == len(names) else [os.fspath(path) for path in paths]
