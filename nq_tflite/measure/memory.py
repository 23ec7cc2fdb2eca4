"""What one model costs a process: resident memory by mapping, the time of a switch and the time of a reload.

`measure_footprint` wants a process of its own (`benchmark` starts one for each model): a process that has run another
model holds freed memory that the next one moves into unseen.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nq_tflite.device.delegation import Delegation
from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.native import load_library
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName, load_runtime
from nq_tflite.errors import NqError

SMAPS = Path("/proc/self/smaps")

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(?P<path>.*)$")
_FIELD = re.compile(r"^(?P<name>Rss|Anonymous): +(?P<kilobytes>\d+) kB$")


@dataclass(frozen=True)
class ResidentMemory:
    """Resident bytes of a process, by mapping.

    Attributes:
        anonymous: pages of its own: heap, stacks, arenas, and private copies of file pages.
        model_file: pages of the model's file mapping. The system can take them back at any time.
        other_files: pages of other files: code of the runtime's libraries, above all.
    """

    anonymous: int
    model_file: int
    other_files: int

    @property
    def held(self) -> int:
        """Bytes held for a model: anonymous and of its file."""
        return self.anonymous + self.model_file

    @property
    def total(self) -> int:
        """Bytes of all mappings."""
        return self.held + self.other_files

    def __sub__(self, other: ResidentMemory) -> ResidentMemory:
        return ResidentMemory(
            self.anonymous - other.anonymous, self.model_file - other.model_file, self.other_files - other.other_files
        )


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
        delegation: what runs fused and why the rest does not; None for a stock model, which runs without nq_tflite.
    """

    path: str
    runtime: str
    num_threads: int
    states: tuple[MemoryState, ...]
    switch: MedianSwitch | None
    reload: MedianReload
    peak: int | None = None
    delegation: Delegation | None = None


def resident_memory(model_path: str | os.PathLike[str]) -> ResidentMemory:
    """Resident bytes of this process, from /proc/self/smaps.

    Raises:
        NqError: the system has no /proc/self/smaps.

    Example:
        >>> resident_memory("model.tflite").anonymous  # doctest: +SKIP
        31928320
    """
    try:
        with SMAPS.open() as lines:  # line by line: the text as a whole would take half a megabyte of what is measured
            return parse_smaps(lines, os.path.realpath(model_path))
    except OSError as error:
        raise NqError("resident memory", expected=str(SMAPS), got=str(error), fix="Measure on Linux.") from error


def parse_smaps(lines: Iterable[str], model_path: str) -> ResidentMemory:
    """Sums the lines of an smaps listing.

    >>> listing = "00400000-00402000 r--p 00000000 08:02 1 /m.tflite\\nRss: 8 kB\\nAnonymous: 0 kB\\n"
    >>> parse_smaps(listing.splitlines(), "/m.tflite").model_file
    8192
    """
    path, anonymous, by_path = "", 0, {True: 0, False: 0}
    for line in lines:
        if mapping := _MAPPING.match(line):
            path = mapping["path"]
        elif field := _FIELD.match(line):
            size = 1024 * int(field["kilobytes"])
            private = field["name"] == "Anonymous"
            anonymous += size if private else 0
            # What is resident and not anonymous is a page of the mapped file.
            by_path[path == model_path] += -size if private else size
    return ResidentMemory(anonymous, by_path[True], by_path[False])


def measure_footprint(
    path: str | os.PathLike[str],
    *,
    nested: bool,
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    switches: int = 100,
    reloads: int = 10,
) -> Footprint:
    """Measures one model in this process, which should have run no other model before.

    Args:
        path: a .tflite file.
        nested: whether it is a nested one.
        runtime, num_threads: as nq.Interpreter.
        switches: how many times to switch to part-bit and back.
        reloads: how many times to load it anew, a nested one at part-bit too, for its first upgrade.

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
    _settled(model)  # what measuring itself takes from the heap is not the model's
    _trim_heap()
    before = _settled(model)
    peaks = _restart_peak()
    interpreter = open_model(model, nested, runtime, num_threads)
    _run_twice(interpreter)
    peak = peak_memory() - before.total if peaks else None
    states = tuple(_states(interpreter, model, before, ("full", "part", "full") if nested else (None,)))
    load = partial(open_model, model, nested, runtime, num_threads)
    first = _time_first_upgrades(partial(load, "part"), reloads) if nested else None
    switch = _time_switches(interpreter, switches, first) if first else None
    delegation = interpreter.delegation if nested else None
    del interpreter
    reload = _time_reloads(load, reloads)
    return Footprint(model, str(loaded), num_threads, states, switch, reload, peak, delegation)


def _states(
    interpreter: Any, model: str, before: ResidentMemory, precisions: Sequence[str | None]
) -> Iterator[MemoryState]:
    for precision in precisions:
        if precision is not None:
            interpreter.switch(precision)
        _run_twice(interpreter)
        added = _settled(model) - before
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


def _settled(model: str) -> ResidentMemory:
    gc.collect()
    return resident_memory(model)


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
