"""Jobs that switch: back and forth, from another thread, in files that are a part of others or still arriving."""

from __future__ import annotations

import ctypes
import mmap
import struct
import threading
import time
import urllib.request
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jobs import at_each, feed

import nq_tflite as nq
from nq_tflite.device.switching import SwitchingModel


def toggled(model: SwitchingModel, run: Callable[[], np.ndarray], times: int) -> dict[str, Any]:
    """Which outputs, residencies and moved bytes are seen while a model switches full -> part -> full many times."""
    seen: dict[str, set[Any]] = {"full": set(), "part": set(), "resident full": set(), "resident part": set()}
    moved = set()
    for _ in range(times):
        for precision in ("part", "full"):
            moved.add(model.switch(precision).bytes_moved)
            seen[precision].add(run().tobytes())
            seen[f"resident {precision}"].add(model.resident_bytes(1))
    return seen | {"moved": moved, "size": model.level_bytes(1)}


@contextmanager
def kept_switching(model: SwitchingModel, steps: Iterator[tuple[int, float]]) -> Iterator[list[int]]:
    """Another thread that switches meanwhile, to each step's precision and then pauses for its seconds; the list grows
    by every precision that was switched to."""
    stop = threading.Event()
    switched: list[int] = []

    def switch() -> None:
        for precision, pause in steps:
            if stop.is_set():
                return
            model.precision = precision
            switched.append(precision)
            time.sleep(pause)

    thread = threading.Thread(target=switch)
    thread.start()
    try:
        yield switched
    finally:
        stop.set()
        thread.join()


def toggle(runtime: str, path: Path, inputs: np.ndarray, times: int) -> dict[str, Any]:
    """Switches full -> part -> full many times; says which outputs and residencies were seen."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    interpreter.allocate_tensors()
    return toggled(interpreter, lambda: feed(interpreter, inputs), times)


def switch_while_running(
    runtime: str, path: Path, inputs: np.ndarray, times: int, *, fuse: bool | None = None
) -> dict[str, Any]:
    """Invokes in one thread and switches in another, until both have been done as often, but a minute at most."""
    interpreter = nq.Interpreter(path, runtime=runtime, num_threads=2, fuse=fuse)
    interpreter.allocate_tensors()
    outputs: Counter[bytes] = Counter()
    end = time.monotonic() + 60
    with kept_switching(interpreter, _at_random(interpreter.levels)) as switched:
        while min(len(switched), outputs.total()) < times and time.monotonic() < end:
            outputs[feed(interpreter, inputs[:1]).tobytes()] += 1
    levels = at_each(interpreter, interpreter.levels)
    legal = {precision: feed(interpreter, inputs[:1]).tobytes() for precision in levels}
    return {"outputs": outputs, "legal": legal, "switches": len(switched), "runs": outputs.total()}


def _at_random(levels: Sequence[int]) -> Iterator[tuple[int, float]]:
    rng = np.random.default_rng(1)
    while True:
        yield int(rng.choice(levels)), float(rng.uniform(0, 0.0005))


def paging_of_content(runtime: str, content: bytes) -> dict[str, Any]:
    """What a model loaded from bytes says of paging."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        interpreter = nq.Interpreter(model_content=content, runtime=runtime)
    interpreter.allocate_tensors()
    switch = interpreter.switch("part")
    return {
        "warnings": [str(w.message) for w in caught if "page" in str(w.message)],
        "can_page": interpreter.can_page,
        "moved": switch.bytes_moved,
        "bits": (switch.from_bits, switch.to_bits),
    }


def upgrade_damaged(runtime: str, path: Path, whole: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Starts part-bit on a file whose residual has not arrived, fails to upgrade, then upgrades once it has."""
    interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
    interpreter.allocate_tensors()
    before = feed(interpreter, inputs)
    try:
        interpreter.precision = "full"
        message = ""
    except nq.NqError as error:
        message = str(error)
    after, precision = feed(interpreter, inputs), interpreter.precision
    with path.open("r+b") as file:  # in place: the mapping sees it
        file.write(whole.read_bytes())
    interpreter.precision = "full"
    return {
        "message": message,
        "before": before,
        "after": after,
        "precision": precision,
        "full": feed(interpreter, inputs),
    }


def bytes_inside(archive: Path, offset: int, size: int) -> bytes:
    """A bytes object whose bytes are a shared mapping of a part of a file, as an Android app's model buffer is.

    Python's runtimes take nothing else as a model in memory. The object's head must lie before its bytes: in the page
    where they start, of which a private copy is mapped over the shared one.
    """
    head = struct.pack("nPnn", 1 << 30, id(bytes), size, -1)  # references (never freed), type, length, no hash yet
    file_start = (offset - len(head)) // mmap.PAGESIZE * mmap.PAGESIZE
    private = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE - file_start
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] + [ctypes.c_int] * 3, ctypes.c_long]
    with archive.open("rb") as file:
        arguments = (mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), file_start)
        address = libc.mmap(None, offset + size - file_start, *arguments)
        fixed, writable = 0x10, mmap.PROT_READ | mmap.PROT_WRITE
        libc.mmap(address, private, writable, mmap.MAP_PRIVATE | fixed, file.fileno(), file_start)
    start = address + offset - file_start - len(head)
    ctypes.memmove(start, head, len(head))
    content = ctypes.cast(start, ctypes.py_object).value
    assert isinstance(content, bytes)
    return content


def run_inside_archive(
    runtime: str, archive: Path, offset: int, size: int, inputs: np.ndarray, precisions: Sequence[Any]
) -> list[tuple[np.ndarray, int, bool]]:
    """Outputs, resident bytes and pageability at each precision of a model that is a part of a file."""
    interpreter = nq.Interpreter(model_content=bytes_inside(archive, offset, size), runtime=runtime)
    interpreter.allocate_tensors()
    return [
        (feed(interpreter, inputs), interpreter.resident_bytes(), interpreter.can_page)
        for _ in at_each(interpreter, precisions)
    ]


def govern(runtime: str, paths: Sequence[Path], inputs: np.ndarray, times: int) -> dict[str, Any]:
    """Models that run under a governor whose budget swings at random, until it has switched as often, but a minute at
    most; counts what must not happen."""
    models = {str(path): nq.Interpreter(path, runtime=runtime) for path in paths}
    legal: dict[str, set[bytes]] = {}
    for name, model in models.items():
        model.allocate_tensors()
        legal[name] = {feed(model, inputs).tobytes() for _ in at_each(model, model.levels)}
    sizes = [sum(model.level_bytes(level) for level in range(len(model.levels))) for model in models.values()]
    base = sum(model.level_bytes(0) for model in models.values())
    counts = {"switches": 0, "over budget": 0, "foreign outputs": 0}
    rng, end = np.random.default_rng(3), time.monotonic() + 60

    def count(made: nq.GovernedSwitch) -> None:
        counts["switches"] += 1

    policy = nq.Policy("budget", dwell_seconds=0, interval_seconds=0.001)
    with nq.Governor(models, policy, on_switch=count) as governor:
        while counts["switches"] < times and time.monotonic() < end:
            governor.budget_bytes = budget = int(rng.integers(base, sum(sizes) + 1))
            for name, model in models.items():
                counts["foreign outputs"] += feed(model, inputs).tobytes() not in legal[name]
            held = sum(
                sum(model.level_bytes(level) for level in range(model.levels.index(model.precision) + 1))
                for model in models.values()
            )
            counts["over budget"] += held > budget
        governor.budget_bytes = None
        while any(model.precision < max(model.levels) for model in models.values()) and time.monotonic() < end + 10:
            time.sleep(0.01)
    return counts | {"at the end": tuple(model.precision for model in models.values())}


def run_while_receiving(runtime: str, url: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Runs part-bit from the moment that level 0 has arrived, and switches up as levels arrive."""
    found: dict[str, Any] = {"refused": {}, "levels": [], "precisions": [], "outputs": []}
    opened: list[nq.Interpreter] = []
    stop, seen = threading.Event(), set()

    def keep_running() -> None:
        interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
        interpreter.allocate_tensors()
        opened.append(interpreter)
        for precision in ("6", "8"):
            try:
                interpreter.precision = precision
            except nq.NqError as error:
                found["refused"][precision] = type(error).__name__
        urllib.request.urlopen(url.replace("/model.tflite", "/release")).close()
        while not (stop.is_set() and seen):
            seen.add(feed(interpreter, inputs[:1]).tobytes())

    thread = threading.Thread(target=keep_running)

    def on_level(arrived: nq.ArrivedLevel) -> None:
        found["levels"].append(arrived.bits)
        if arrived.level == 0:
            thread.start()

    nq.receive(url, path, on_level=on_level)
    stop.set()
    thread.join()
    for _ in at_each(opened[0], opened[0].levels):
        found["precisions"].append(opened[0].precision)
        found["outputs"].append(feed(opened[0], inputs))
    found["only part-bit"] = seen == {found["outputs"][0][:1].tobytes()}
    return found


def join_while_running(runtime: str, path: Path, upgrades: list[Path], inputs: np.ndarray) -> dict[str, Any]:
    """Joins upgrades into the file that an interpreter runs, each after a switch to it was refused."""
    interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
    interpreter.allocate_tensors()
    refused, outputs = [], [feed(interpreter, inputs)]
    for bits, upgrade in zip(interpreter.levels[1:], upgrades, strict=True):
        try:
            interpreter.precision = bits
        except nq.NqError as error:
            refused.append(type(error).__name__)
        nq.join(path, [upgrade], path)
        interpreter.precision = bits
        outputs.append(feed(interpreter, inputs))
    return {"refused": refused, "outputs": outputs}


def file_pages(runtime: str, path: Path, precision: nq.Precision) -> list[tuple[int, int]]:
    """Resident bytes of the file's mappings, and this process's share of them, with one interpreter and with two.

    A page that is mapped twice counts twice among the first, and once among the second.
    """
    kept, found = [], []
    for _ in range(2):
        interpreter = nq.Interpreter(path, runtime=runtime, precision=precision)
        interpreter.allocate_tensors()
        interpreter.invoke()
        kept.append(interpreter)
        sums = Counter[str]()
        is_file = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            name, *values = line.split(maxsplit=5)
            if not name.endswith(":"):
                is_file = len(values) == 5 and values[4] == str(path)
            elif is_file and name in ("Rss:", "Pss:"):
                sums[name] += 1024 * int(values[0])
        found.append((sums["Rss:"], sums["Pss:"]))
    return found
