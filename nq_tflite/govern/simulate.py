"""Strategies on a device's day: a governed nested model, compared with one model and with two that are reloaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nq_tflite.errors import TraceError
from nq_tflite.govern.arbiter import Arbiter, ModelLevels
from nq_tflite.govern.policy import Policy
from nq_tflite.govern.traces import Trace


@dataclass(frozen=True)
class Costs:
    """The costs of a strategy's model at each precision.

    Attributes:
        precisions: bits, part-bit first.
        held_bytes: memory that the model adds at each precision.
        weight_bytes: packed weights in use at each precision.
        start_seconds: time from the start to the first result, at each precision.
        switch_seconds: time of a switch to each precision, with its first result.
        reloads: a switch loads another model; otherwise it moves the bytes between two precisions only.
    """

    precisions: tuple[int, ...]
    held_bytes: tuple[int, ...]
    weight_bytes: tuple[int, ...]
    start_seconds: tuple[float, ...]
    switch_seconds: tuple[float, ...]
    reloads: bool = False

    def moved_bytes(self, before: int, after: int) -> int:
        """Bytes of weights that a switch between two levels brings in or gives back."""
        return self.weight_bytes[after] if self.reloads else abs(self.weight_bytes[after] - self.weight_bytes[before])


@dataclass(frozen=True)
class Strategy:
    """How a model is served: governed by the policy, or always at one level (`fixed`)."""

    name: str
    costs: Costs
    fixed: int | None = None


@dataclass(frozen=True)
class Run:
    """One strategy on one trace.

    Attributes:
        name: the strategy's.
        level: int [steps], -1 while it does not run.
        held_bytes: int [steps].
        served: float [steps], fraction of the step in which the model gave results.
        service: float [steps], `served` times the accuracy of the level.
        switches, bytes_moved: totals. starts: how often it had to be started again after it was killed.
    """

    name: str
    level: NDArray[np.int64]
    held_bytes: NDArray[np.int64]
    served: NDArray[np.float64]
    service: NDArray[np.float64]
    switches: int
    bytes_moved: int
    starts: int


@dataclass(frozen=True)
class Outcome:
    """A run in figures; means are over time.

    Attributes:
        served: fraction of the time in which the model gave results.
        service: the same, weighted by accuracy.
        full_time: fraction of the time at full-bit.
        mean_bytes, peak_bytes: memory held.
        switches, bytes_moved, starts: as `Run`.
    """

    name: str
    served: float
    service: float
    full_time: float
    mean_bytes: float
    peak_bytes: int
    switches: int
    bytes_moved: int
    starts: int

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def simulate(
    strategy: Strategy, trace: Trace, policy: Policy, accuracy: Sequence[float], memory_bytes: int | None = None
) -> Run:
    """Runs a strategy over a trace.

    At the start of every step, the strategy gets the step's readings. "memory_available" is the trace's room minus the
    memory that the model holds. A model that holds more than the room is killed. It is started again as soon as the
    level that the policy then allows (the highest one without readings) fits.

    Args:
        strategy: what runs.
        trace: what happens.
        policy: of governed strategies.
        accuracy: the value of a result at each precision, part-bit first.
        memory_bytes: of the device; the trace's room is in percent of it.

    Raises:
        TraceError: the trace has room and memory_bytes is missing, or there is not one accuracy per precision.
    """
    costs = strategy.costs
    if trace.room is not None and not memory_bytes:
        raise TraceError(f"trace {trace.name}", expected="memory_bytes of the device", got=repr(memory_bytes))
    if len(accuracy) != len(costs.precisions):
        raise TraceError("accuracy", expected=f"{len(costs.precisions)} numbers, part-bit first", got=str(accuracy))
    world = _World(strategy, policy)
    levels, served = [], []
    for index, readings in enumerate(trace.readings()):
        room = None if trace.room is None else trace.room[index] / 100 * (memory_bytes or 0)
        idle = world.step(float(trace.seconds[index]), readings, room, memory_bytes)
        levels.append(world.level)
        served.append(0.0 if world.level < 0 else max(0.0, 1 - idle / trace.durations[index]))
    level = np.array(levels)
    held = np.where(level < 0, 0, np.array(costs.held_bytes)[level])
    worth = np.array(served) * np.where(level < 0, 0.0, np.array(accuracy)[level])
    return Run(strategy.name, level, held, np.array(served), worth, world.switches, world.bytes_moved, world.starts)


class _World:
    """A strategy's state between steps."""

    def __init__(self, strategy: Strategy, policy: Policy) -> None:
        costs = strategy.costs
        bytes_of_levels = np.diff(costs.held_bytes, prepend=0)
        self._costs, self._fixed = costs, strategy.fixed
        self._arbiter = Arbiter(policy, [ModelLevels(strategy.name, costs.precisions, tuple(bytes_of_levels.tolist()))])
        self.level = len(costs.precisions) - 1 if strategy.fixed is None else strategy.fixed
        self._last = self.level
        self.switches = self.bytes_moved = self.starts = 0

    def step(self, now: float, readings: Mapping[str, float], room: float | None, memory: int | None) -> float:
        """Moves on to `now`; returns the seconds of the step that are lost to starting or switching."""
        known = dict(readings)
        if room is not None and memory:
            held = self._costs.held_bytes[self.level] if self.level >= 0 else 0
            known["memory_available"] = 100 * max(0.0, room - held) / memory
        wanted = self._wanted(now, known)
        idle = 0.0
        if self.level < 0:
            if room is None or self._costs.held_bytes[wanted] <= room:
                self.level, self.starts = wanted, self.starts + 1
                idle = self._costs.start_seconds[wanted]
        elif wanted != self.level:
            self.bytes_moved += self._costs.moved_bytes(self.level, wanted)
            self.level, self.switches = wanted, self.switches + 1
            idle = self._costs.switch_seconds[wanted]
        if self.level >= 0:
            self._last = self.level
            if room is not None and self._costs.held_bytes[self.level] > room:
                self.level = -1
        return idle

    def _wanted(self, now: float, readings: Mapping[str, float]) -> int:
        if self._fixed is not None:
            return self._fixed
        return self._arbiter.decide(now, readings, [self._last])[0].level


def outcome(run: Run, trace: Trace, full_level: int) -> Outcome:
    """A run's means and sums."""
    weights = trace.durations / trace.durations.sum()
    return Outcome(
        name=run.name,
        served=float(weights @ run.served),
        service=float(weights @ run.service),
        full_time=float(weights @ (run.level == full_level)),
        mean_bytes=float(weights @ run.held_bytes),
        peak_bytes=int(run.held_bytes.max()),
        switches=run.switches,
        bytes_moved=run.bytes_moved,
        starts=run.starts,
    )
