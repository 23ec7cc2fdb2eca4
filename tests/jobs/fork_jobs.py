"""Jobs that fork: what an interpreter of the parent still does in the child."""

from __future__ import annotations

import itertools
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jobs import at_each, feed
from switching_jobs import kept_switching

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime

#: Of a child that works for milliseconds, before it is killed; children of some stock interpreters wait for ever.
SECONDS = 10


def started(work: Callable[[], bool]) -> int:
    """A child of this process that does this work, and then ends."""
    child = os.fork()
    if child == 0:
        signal.alarm(SECONDS)
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            if code == 2:
                traceback.print_exc()
            os._exit(code)
    return child


def became_of(child: int) -> str:
    """ "" if the child's work was true."""
    _, status = os.waitpid(child, 0)
    return "" if status == 0 else f"wait status {status}"


def in_child(work: Callable[[], bool]) -> str:
    """ "" if `work` is true in a child of this process; what became of the child otherwise."""
    return became_of(started(work))


def in_children(works: dict[str, Callable[[], bool]]) -> dict[str, str]:
    """`in_child` of each, all at once, so that those that wait for ever do so together."""
    children = {name: started(work) for name, work in works.items()}
    return {name: became_of(child) for name, child in children.items()}


def use_stock_in_children(runtime: str, path: Path, inputs: np.ndarray, threads: int) -> dict[str, str]:
    """What became of children that use and delete a stock interpreter which has run in the parent."""
    holders: list[Any] = [load_runtime(runtime).interpreter(str(path), num_threads=threads)]
    holders[0].allocate_tensors()
    wanted = feed(holders[0], inputs)

    def runs() -> bool:
        return np.array_equal(feed(holders[0], inputs), wanted)

    def deletes() -> bool:
        holders.clear()
        return True

    works = {"runs": runs, "deletes": deletes, "runs and deletes": lambda: runs() and deletes()}
    return in_children(works)


def use_in_children(runtime: str, path: Path, inputs: np.ndarray, threads: int) -> dict[str, str]:
    """What became of children that use, switch, and delete an interpreter which has run in the parent."""
    interpreter = nq.Interpreter(path, runtime=runtime, num_threads=threads)
    interpreter.allocate_tensors()
    wanted = {precision: feed(interpreter, inputs) for precision in at_each(interpreter, ("part", "full"))}
    holders = [interpreter]
    del interpreter

    def runs() -> bool:
        return np.array_equal(feed(holders[0], inputs), wanted["full"])

    def switches() -> bool:
        return all(
            np.array_equal(feed(holders[0], inputs), wanted[precision])
            for precision in at_each(holders[0], ("part", "full", "part"))
        )

    def deletes() -> bool:
        holders.clear()
        return True

    def opens_another() -> bool:
        other = nq.Interpreter(path, runtime=runtime, num_threads=threads)
        other.allocate_tensors()
        return np.array_equal(feed(other, inputs), wanted["full"])

    works = {
        "runs": runs,
        "switches": switches,
        "deletes": deletes,
        "runs and deletes": lambda: runs() and deletes(),
        "opens another": opens_another,
        "forks again": lambda: in_child(switches) == "",
    }
    found = in_children(works)
    found["parent runs on"] = "" if runs() else "other outputs"
    return found


def fork_amid_switches(runtime: str, path: Path, inputs: np.ndarray, times: int) -> list[str]:
    """What became of children that switch an interpreter which another thread of the parent was switching."""
    interpreter = nq.Interpreter(path, runtime=runtime, num_threads=1)
    interpreter.allocate_tensors()
    wanted = {precision: feed(interpreter, inputs) for precision in at_each(interpreter, ("part", "full"))}

    def switches() -> bool:
        return all(
            np.array_equal(feed(interpreter, inputs), wanted[precision])
            for precision in at_each(interpreter, ("part", "full"))
        )

    part, full = interpreter.levels[0], interpreter.levels[-1]
    with kept_switching(interpreter, ((bits, 0.0) for bits in itertools.cycle((part, full)))):
        return [in_child(switches) for _ in range(times)]
