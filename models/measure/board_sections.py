"""What the board kit measures, a section at a time: each is a job in a process of its own, and answers in few words.

Stock, full-bit and part-bit take turns, so that whatever else the board does hits all alike. A figure stands with its
lower and upper quartile around it, [25 %, 50 %, 75 %].
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from nq_tflite_models.measure.board_facts import fastest_core, megahertz
from nq_tflite_models.measure.perf_events import Counters, counters
from numpy.typing import NDArray

from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.native import kernels
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.measure.child_process import Job, answer_job
from nq_tflite.measure.memory import measure_footprint

#: What takes turns, and the precision of the nested file that it is.
LANES = {"stock": None, "full": "full", "part": "part"}
#: Rounds of a section that has no time for more.
LEAST_ROUNDS = 2
#: Seconds after which a pool of threads that has no work sleeps.
_PAUSE = 0.004
#: Bytes that no board's caches hold beside a layer's weights.
_WALK_BYTES = 32 << 20
_WARM_SWITCHES, _RELOADS, _MOST_COLD_SWITCHES = 10, 3, 10


@dataclass
class Timings:
    """One lane's invocations: seconds and counts of each."""

    seconds: list[float] = field(default_factory=list)
    counts: list[dict[str, int]] = field(default_factory=list)

    def count(self, name: str) -> float:
        """The median of a count; 0 if it was not counted, as on a core of another kind than the counter is for."""
        return float(np.median([each.get(name, 0) for each in self.counts]))


def quartiles(values: Sequence[float] | NDArray[np.float64]) -> list[float]:
    """Quartiles with the three figures that a reader needs.

    >>> quartiles([1.0, 2.0, 4.0, 8.0])
    [1.75, 3.0, 5.0]
    """
    return [short(each) for each in np.percentile(values, (25, 50, 75))]


def short(value: float) -> float:
    """Four figures.

    >>> short(1234567.0), short(0.0123456)
    (1235000.0, 0.01235)
    """
    return float(f"{value:.4g}")


def seeded_input(shape: Sequence[int], seed: int = 0) -> NDArray[np.int8]:
    """int8 values of a seed, the same on every machine."""
    count = int(np.prod(shape))
    words = np.random.PCG64(seed).random_raw(-(-count // 8))
    return np.asarray(words, "<u8").view(np.int8)[:count].reshape(shape)


# ---- jobs ------------------------------------------------------------------------------------------------------------


def start(job: Job) -> Job:
    """The runtime and the kernels: what a board kit cannot do without, so it comes first."""
    return {"runtime": str(load_runtime(job["runtime"])), "kernels": kernels()}


def net(job: Job) -> Job:
    """MobileNetV2: milliseconds of each lane, ratios of the pairs in a round, counts, and checksums of the outputs."""
    with _one_core(job["threads"] == 1):
        lanes = _open_lanes(job)
        sums = {name: _checksum(interpreter) for name, interpreter in lanes.items()}
        with counters() as counts:
            timings = _take_turns(lanes, job["seconds"], counts, pause=job["threads"] > 1)
    stock = timings["stock"].seconds
    answer: Job = {
        "rounds": len(stock),
        "ms": {name: quartiles(1e3 * np.array(each.seconds)) for name, each in timings.items()},
        "x": {name: quartiles(np.array(timings[name].seconds) / stock) for name in ("full", "part")},
        "sums": sums,
    }
    for name in counts.names if job["threads"] == 1 else ():  # the counts are of one thread
        answer[name] = {lane: short(each.count(name) / 1e6) for lane, each in timings.items()}
    return answer


def layer(job: Job) -> Job:
    """One layer: multiply-accumulates for each cycle, or for each nanosecond where nothing tells the cycles."""
    with _one_core():
        lanes = _open_lanes(job)
        core = next(iter(os.sched_getaffinity(0)))
        before = _cold_caches if job["cold"] else None
        with counters() as counts:
            timings = _take_turns(lanes, job["seconds"], counts, before=before)
        clock = megahertz(core)
    counted = all(each.count("cycles") for each in timings.values())

    def rate(timing: Timings) -> float:
        seconds = float(np.median(timing.seconds))
        cycles = timing.count("cycles") if counted else seconds * (clock * 1e6 if clock else 1e9)
        return short(job["multiply_accumulates"] / cycles)

    unit = "cycle" if counted else "cycle by clock" if clock else "ns"
    return {"unit": unit, "rates": {name: rate(each) for name, each in timings.items()}}


def memory(job: Job) -> Job:
    """What a model adds to a process, in MB, and its warm switches and its first ones, in ms, each with a run."""
    nested = job["nested"]
    footprint = measure_footprint(
        job["path"],
        nested=nested,
        runtime=job["runtime"],
        num_threads=job["threads"],
        switches=_WARM_SWITCHES,
        reloads=_RELOADS,
    )
    answer: Job = {"MB": [short(state.added.held / 1e6) for state in footprint.states[:2]]}
    if switch := footprint.switch:
        answer["ms"] = {
            "up": short(1e3 * switch.upgrade_and_run_seconds),
            "down": short(1e3 * switch.downgrade_and_run_seconds),
            "first_up": short(1e3 * switch.first_upgrade_and_run_seconds),
        }
    return answer


def cold_switches(job: Job) -> Job:
    """Upgrades whose residual is read from the disk, in ms with the first run after them; and the memory's GB/s."""
    interpreter = Interpreter(job["path"], runtime=job["runtime"], num_threads=job["threads"])
    interpreter.allocate_tensors()
    interpreter.invoke()
    seconds: list[float] = []
    ends = time.monotonic() + job["seconds"]
    while len(seconds) < LEAST_ROUNDS or (len(seconds) < _MOST_COLD_SWITCHES and time.monotonic() < ends):
        interpreter.switch("part", drop_page_cache=True)
        interpreter.invoke()
        started = time.perf_counter()
        interpreter.switch("full")
        interpreter.invoke()
        seconds.append(time.perf_counter() - started)
    return {"ms": quartiles(1e3 * np.array(seconds)), "GB/s": short(max(_read_rate() for _ in range(3)) / 1e9)}


# ---- pieces ----------------------------------------------------------------------------------------------------------


@contextmanager
def _one_core(wanted: bool = True) -> Iterator[None]:
    """Keeps this thread, and those that it starts, on the fastest core."""
    allowed = os.sched_getaffinity(0)
    if wanted:
        os.sched_setaffinity(0, {fastest_core(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def _open_lanes(job: Job) -> dict[str, Any]:
    lanes = {}
    for name, precision in LANES.items():
        path = job["stock"] if precision is None else job["nested"]
        lanes[name] = open_model(path, precision is not None, job["runtime"], job["threads"], precision or "full")
        [details] = lanes[name].get_input_details()
        lanes[name].set_tensor(details["index"], seeded_input(details["shape"]))
    return lanes


def _checksum(interpreter: Any) -> str:
    interpreter.invoke()
    [details] = interpreter.get_output_details()
    return f"{zlib.crc32(interpreter.get_tensor(details['index']).tobytes()):08x}"


def _take_turns(
    lanes: Mapping[str, Any],
    seconds: float,
    counts: Counters,
    *,
    pause: bool = False,
    before: Callable[[], object] | None = None,
) -> dict[str, Timings]:
    """Invokes the lanes in turn for so long; the first of each round moves on by one.

    An untimed invocation goes before each timed one, and `before` between the two.
    """
    timings = {name: Timings() for name in lanes}
    names, ends, rounds = list(lanes), time.monotonic() + seconds, 0
    while rounds < LEAST_ROUNDS or time.monotonic() < ends:
        for offset in range(len(names)):
            name = names[(rounds + offset) % len(names)]
            if pause:
                time.sleep(_PAUSE)  # the threads of the lane before still spin for work
            lanes[name].invoke()
            if before:
                before()
            counted, started = counts.read(), time.perf_counter()
            lanes[name].invoke()
            timings[name].seconds.append(time.perf_counter() - started)
            ended = counts.read()
            timings[name].counts.append({event: ended[event] - counted[event] for event in counted})
        rounds += 1
    return timings


@cache
def _walked() -> bytearray:
    return bytearray(b"\1") * _WALK_BYTES  # of ones: the system may have a single page for all zeros


def _cold_caches() -> None:
    """Reads more than caches hold: the C library looks for a byte that is not there."""
    _walked().find(b"\0")


def _read_rate() -> float:
    """Bytes that one core reads from memory in a second."""
    _walked()
    started = time.perf_counter()
    _cold_caches()
    return _WALK_BYTES / (time.perf_counter() - started)


#: Jobs by name.
SECTIONS: dict[str, Callable[[Job], Job]] = {
    "start": start,
    "net": net,
    "layer": layer,
    "memory": memory,
    "cold_switches": cold_switches,
}

if __name__ == "__main__":
    answer_job(SECTIONS)
