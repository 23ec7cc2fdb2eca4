"""What one model costs a process: resident memory by mapping, the time of a switch and the time of a reload.

Call `measure_footprint` in a separate process (`benchmark` starts one for each model). A process that has run another
model holds freed memory, which the next model would reuse without being counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nq_tflite.device.delegation import Delegation
from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.native import load_library
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName, load_runtime
from nq_tflite.measure.peers import Peer, PeerKind, new_environment
from nq_tflite.measure.resident import ResidentMemory, resident_memory


@dataclass(frozen=True)
class MedianSwitch:
    """Switches between part-bit and full-bit: medians of many.

    Attributes:
        count: switches timed in each direction; none is an interpreter's first upgrade.
        upgrade_seconds, downgrade_seconds: of the call alone.
        upgrade_and_run_seconds, downgrade_and_run_seconds: of the call and the first invocation after it.
        bytes_in, bytes_out: residual bytes that one upgrade pages in, one downgrade out.
        first_count: interpreters loaded at part-bit whose first upgrade was timed, which also checks the residual.
        first_upgrade_seconds, first_upgrade_and_run_seconds: as the others, of those.
    """

    count: int
    upgrade_seconds: float
    downgrade_seconds: float
    upgrade_and_run_seconds: float
    downgrade_and_run_seconds: float
    bytes_in: int
    bytes_out: int
    first_count: int
    first_upgrade_seconds: float
    first_upgrade_and_run_seconds: float


@dataclass(frozen=True)
class MedianReload:
    """Loading the model anew: medians.

    Attributes:
        count: reloads timed.
        load_seconds: construct and allocate.
        load_and_run_seconds: construct, allocate and the first invocation.
    """

    count: int
    load_seconds: float
    load_and_run_seconds: float


@dataclass(frozen=True)
class MemoryState:
    """Memory after a switch to a precision and two invocations there.

    Attributes:
        bits: the precision; None for a stock model.
        added: what the model added to a process that had imported the runtime.
        weights: resident bytes of the nested weights' mappings; None for a stock model.
    """

    bits: int | None
    added: ResidentMemory
    weights: int | None


@dataclass(frozen=True)
class Footprint:
    """One model in a process of its own.

    Attributes:
        path, runtime, num_threads: what was measured; runtime with its version.
        states: a nested model loaded at full-bit, switched to part-bit, and back to full-bit; a stock model loaded.
        switch: None for a stock model.
        peak: the most that all mappings together had added at any moment of loading and the first two invocations; None
            where the system does not keep it.
        delegation: which operators are fused, and why the others are not; None for a stock model, which runs without
            nq_tflite.
        peer: how a stock model runs, if not in a plain Interpreter; None for a plain one and for a nested model.
        cache_bytes: of the weight cache's file; None without one.
        first_start_seconds: construct, allocate and the first invocation in a new process. With a weight cache, this
            start writes the cache's file.
    """

    path: str
    runtime: str
    num_threads: int
    states: tuple[MemoryState, ...]
    switch: MedianSwitch | None
    reload: MedianReload
    peak: int | None = None
    delegation: Delegation | None = None
    peer: PeerKind | None = None
    cache_bytes: int | None = None
    first_start_seconds: float | None = None


def measure_footprint(
    path: str | os.PathLike[str],
    *,
    nested: bool,
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    switches: int = 100,
    reloads: int = 10,
    peer: PeerKind | None = None,
    cache: str | None = None,
) -> Footprint:
    """Measures one model in this process, which should have run no other model before.

    Args:
        path: a .tflite file.
        nested: whether it is a nested one.
        runtime, num_threads: as nq.Interpreter.
        switches: how many times to switch to part-bit and back.
        reloads: how many times to load it anew, a nested one at part-bit too, for its first upgrade.
        peer: how to run a stock model; None for a plain Interpreter.
        cache: the file of a weight cache, which an earlier start has written.

    Raises:
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.
        NqError: not on Linux.

    Example:
        >>> measure_footprint("model.tflite", nested=True).switch.bytes_in  # doctest: +SKIP
        1290240
    """
    model = os.fspath(path)
    loaded = load_runtime(runtime)
    if nested:
        load_library()
    load = _loader(model, nested, runtime, num_threads, peer, cache)
    _settled(model, cache)  # what measuring itself takes from the heap is not the model's
    _trim_heap()
    before = _settled(model, cache)
    peaks = _restart_peak()
    started = time.perf_counter()
    interpreter = load()
    interpreter.invoke()
    first_seconds = time.perf_counter() - started
    interpreter.invoke()
    peak = peak_memory() - before.total if peaks else None
    precisions = ("full", "part", "full") if nested else (None,)
    states = tuple(_states(interpreter, model, cache, before, precisions))
    first = _time_first_upgrades(partial(load, "part"), reloads) if nested else None
    switch = _time_switches(interpreter, switches, first) if first else None
    delegation = interpreter.delegation if nested else None
    del interpreter
    reload = _time_reloads(load, reloads)
    cache_bytes = None if cache is None else Path(cache).stat().st_size
    return Footprint(
        model, str(loaded), num_threads, states, switch, reload, peak, delegation, peer, cache_bytes, first_seconds
    )


def _loader(
    model: str, nested: bool, runtime: RuntimeName | None, num_threads: int, peer: PeerKind | None, cache: str | None
) -> Callable[..., Any]:
    if peer is None:
        return partial(open_model, model, nested, runtime, num_threads)
    return partial(Peer, model, peer, num_threads, cache or "", new_environment())


def _states(
    interpreter: Any, model: str, cache: str | None, before: ResidentMemory, precisions: Sequence[str | None]
) -> Iterator[MemoryState]:
    for precision in precisions:
        if precision is not None:
            interpreter.switch(precision)
        _run_twice(interpreter)
        added = _settled(model, cache) - before
        nested = precision is not None
        yield MemoryState(
            interpreter.precision if nested else None, added, interpreter.resident_bytes() if nested else None
        )


def _run_twice(interpreter: Any) -> None:
    for _ in range(2):
        interpreter.invoke()


def _trim_heap() -> None:
    """Gives the heap's free pages back: a model that moves into pages freed by an import would seem to take none."""
    with contextlib.suppress(AttributeError):  # glibc has it, musl has not
        ctypes.CDLL(None).malloc_trim(0)


def _restart_peak() -> bool:
    """Makes the kernel's high-water mark of resident memory start anew; not every system lets a process do so."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_memory() -> int:
    """The high-water mark of this process' resident memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _settled(model: str, cache: str | None) -> ResidentMemory:
    gc.collect()
    return resident_memory(model, cache)


def _time_first_upgrades(load: Callable[[], Interpreter], count: int) -> tuple[list[float], list[float]]:
    """Seconds of the call alone, and with the invocation after it, of an interpreter each."""
    calls, runs = [], []
    for _ in range(count):
        interpreter = load()
        interpreter.invoke()
        started = time.perf_counter()
        interpreter.switch("full")
        calls.append(time.perf_counter() - started)
        interpreter.invoke()
        runs.append(time.perf_counter() - started)
    return calls, runs


def _time_switches(interpreter: Interpreter, count: int, first: tuple[list[float], list[float]]) -> MedianSwitch:
    """Between part-bit and full-bit, with an invocation after each so that every switch moves pages in use."""
    first_calls, first_runs = first
    calls: dict[str, list[float]] = {"part": [], "full": []}
    runs: dict[str, list[float]] = {"part": [], "full": []}
    bytes_in = bytes_out = 0
    for _ in range(count):
        for precision in ("part", "full"):
            started = time.perf_counter()
            switch = interpreter.switch(precision)
            calls[precision].append(time.perf_counter() - started)
            interpreter.invoke()
            runs[precision].append(time.perf_counter() - started)
            bytes_in, bytes_out = max(bytes_in, switch.bytes_in), max(bytes_out, switch.bytes_out)
    return MedianSwitch(
        count=count,
        upgrade_seconds=statistics.median(calls["full"]),
        downgrade_seconds=statistics.median(calls["part"]),
        upgrade_and_run_seconds=statistics.median(runs["full"]),
        downgrade_and_run_seconds=statistics.median(runs["part"]),
        bytes_in=bytes_in,
        bytes_out=bytes_out,
        first_count=len(first_calls),
        first_upgrade_seconds=statistics.median(first_calls),
        first_upgrade_and_run_seconds=statistics.median(first_runs),
    )


def _time_reloads(load: Callable[[], Any], count: int) -> MedianReload:
    loads, runs = [], []
    for _ in range(count):
        gc.collect()
        started = time.perf_counter()
        interpreter = load()
        loads.append(time.perf_counter() - started)
        interpreter.invoke()
        runs.append(time.perf_counter() - started)
        del interpreter
    return MedianReload(count, statistics.median(loads), statistics.median(runs))
