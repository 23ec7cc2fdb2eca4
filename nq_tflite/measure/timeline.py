"""A model over time: the latency of every invocation and the resident memory, while the precision changes."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.native import load_library
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName, load_runtime
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.resident import resident_memory
from nq_tflite.records import from_dict

#: Untimed invocations before the first sample.
_WARMUP = 5


@dataclass(frozen=True)
class Moment:
    """One invocation.

    Attributes:
        seconds: since the first one.
        bits: the precision; None for a stock model.
        latency: seconds that it took.
        weights: resident bytes of the nested weights' mappings after it; None for a stock model.
        held: bytes that the model adds to the process after it: anonymous and of its file.
    """

    seconds: float
    bits: int | None
    latency: float
    weights: int | None
    held: int


@dataclass(frozen=True)
class PrecisionChange:
    """One switch: when, to which precision, how long it took, and the residual bytes paged in or out."""

    seconds: float
    bits: int
    latency: float
    bytes_moved: int


@dataclass(frozen=True)
class Timeline:
    """Invocations in order, and the switches between them.

    Attributes:
        path, runtime, num_threads: what ran; runtime with its version.
    """

    path: str
    runtime: str
    num_threads: int
    moments: tuple[Moment, ...]
    switches: tuple[PrecisionChange, ...]

    @property
    def precisions(self) -> tuple[int, ...]:
        """Bits that it ran at, part-bit first; empty for a stock model."""
        return tuple(sorted({each.bits for each in self.moments if each.bits is not None}))

    def median_latency(self, bits: int | None) -> float:
        """Of the invocations at a precision, in seconds."""
        return statistics.median(each.latency for each in self.moments if each.bits == bits)

    def median_held(self, bits: int | None) -> float:
        """Bytes held at a precision."""
        return statistics.median(each.held for each in self.moments if each.bits == bits)

    def median_weights(self, bits: int) -> float:
        """Resident bytes of the nested weights at a precision."""
        return statistics.median(each.weights or 0 for each in self.moments if each.bits == bits)

    def median_switch(self, *, up: bool) -> float:
        """Seconds of a switch that pages in (or out)."""
        before = [self.moments[0].bits, *(each.bits for each in self.switches)]
        pairs = zip(before, self.switches, strict=False)
        return statistics.median(each.latency for old, each in pairs if (each.bits > (old or 0)) == up)

    @property
    def median_moved(self) -> int:
        """Bytes that a switch moved."""
        return round(statistics.median(each.bytes_moved for each in self.switches))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def measure_timeline(
    path: str | os.PathLike[str],
    *,
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    invocations: int = 25,
    rounds: int = 2,
) -> Timeline:
    """Runs a model in a separate process: at full-bit, down level by level and up again, `rounds` times.

    Args:
        path: a nested .tflite file, or a stock one, which runs without switches.
        runtime, num_threads: as nq.Interpreter.
        invocations: between two switches, on zeros as input.
        rounds: how often to go down and up.

    Raises:
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.
        NqError: not on Linux, or the process died.

    Example:
        >>> [switch.bits for switch in measure_timeline("model.tflite").switches]  # doctest: +SKIP
        [5, 8, 5, 8]
    """
    job = {"job": "timeline", "path": os.fspath(path), "runtime": runtime, "num_threads": num_threads}
    return from_dict(Timeline, run_in_child(__name__, job | {"invocations": invocations, "rounds": rounds}))


def _timeline_job(job: Job) -> Job:
    path, runtime, num_threads = job["path"], job["runtime"], job["num_threads"]
    levels = Interpreter(path, runtime=runtime).levels
    loaded = load_runtime(runtime)
    if levels:
        load_library()
    resident_memory(path)  # what measuring itself takes from the heap is not the model's
    before = resident_memory(path)
    interpreter = open_model(path, bool(levels), runtime, num_threads)
    for _ in range(_WARMUP):
        interpreter.invoke()
    moments, switches = [], []
    started = time.perf_counter()
    for index, bits in enumerate(_itinerary(levels, job["rounds"])):
        if index and bits is not None:
            at = time.perf_counter()
            done = interpreter.switch(bits)
            switches.append(PrecisionChange(at - started, bits, time.perf_counter() - at, done.bytes_moved))
        for _ in range(job["invocations"]):
            at = time.perf_counter()
            interpreter.invoke()
            latency = time.perf_counter() - at
            weights = interpreter.resident_bytes() if levels else None
            held = (resident_memory(path) - before).held
            moments.append(Moment(at - started, bits, latency, weights, held))
    return asdict(Timeline(path, str(loaded), num_threads, tuple(moments), tuple(switches)))


def _itinerary(levels: Sequence[int], rounds: int) -> Iterator[int | None]:
    """Precisions in turn: from full-bit down to part-bit and up again, level by level; None alone for a stock model.

    >>> list(_itinerary((4, 6, 8), 1))
    [8, 6, 4, 6, 8]
    """
    if not levels:
        yield None
        return
    yield levels[-1]
    for _ in range(rounds):
        yield from levels[-2::-1]
        yield from levels[1:]


if __name__ == "__main__":
    answer_job({"timeline": _timeline_job})
