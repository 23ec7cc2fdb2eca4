"""Jobs that time the layers of a model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jobs import at_each, feed, feed_batch, open_nested

import nq_tflite as nq


@dataclass
class Timed:
    """Profiles, and seconds of all invocations, by precision."""

    delegation: nq.Delegation
    level_bytes: tuple[int, ...]
    profiles: dict[int, nq.Profile]
    seconds: dict[int, float]


def _loaded(runtime: str, source: Path | bytes, **options: Any) -> nq.Interpreter:
    interpreter = open_nested(runtime, source, profile=True, **options)
    interpreter.allocate_tensors()
    return interpreter


def timed(runtime: str, path: Path, counts: dict[int, int], *, fuse: bool = True) -> Timed:
    """So many invocations at each precision in turn; all profiles are read in the end."""
    interpreter = _loaded(runtime, path, fuse=fuse)
    seconds = {}
    for bits in at_each(interpreter, list(counts)):
        started = time.perf_counter()
        for _ in range(counts[bits]):
            interpreter.invoke()
        seconds[bits] = time.perf_counter() - started
    level_bytes = tuple(map(interpreter.level_bytes, range(len(interpreter.levels))))
    profiles = {bits: interpreter.profile(bits) for bits in counts}
    assert interpreter.profile() == profiles[interpreter.precision]
    return Timed(interpreter.delegation, level_bytes, profiles, seconds)


def outputs(runtime: str, path: Path, *, profile: bool) -> np.ndarray:
    """Of one input at both precisions."""
    interpreter = open_nested(runtime, path, fuse=True, profile=profile)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    inputs = np.random.default_rng(4).integers(-100, 100, details["shape"])
    return np.array([feed(interpreter, inputs) for _ in at_each(interpreter, ("full", "part"))])


def started_anew(runtime: str, path: Path) -> list[nq.Profile]:
    """After two invocations, after a reset, and after one of three images at once."""
    interpreter = _loaded(runtime, path, fuse=True)
    interpreter.invoke()
    interpreter.invoke()
    profiles = [interpreter.profile()]
    interpreter.reset_profile()
    profiles.append(interpreter.profile())
    details = interpreter.get_input_details()[0]
    feed_batch(interpreter, np.zeros([3, *details["shape"][1:]], details["dtype"]))
    return [*profiles, interpreter.profile()]


def of_stock(runtime: str, content: bytes) -> nq.Profile:
    """A stock model's, after an invocation."""
    interpreter = _loaded(runtime, content)
    interpreter.invoke()
    return interpreter.profile()


def refusals(runtime: str, path: Path) -> list[tuple[str, str]]:
    """What is said of a profile that nobody asked for, of another precision, and of another value."""
    plain = nq.Interpreter(path, runtime=runtime)
    timing = _loaded(runtime, path)
    calls: list[Callable[[], Any]] = [
        plain.profile,
        plain.reset_profile,
        lambda: timing.profile(7),
        lambda: nq.Interpreter(path, runtime=runtime, profile="yes"),  # type: ignore[arg-type]
    ]
    found = []
    for call in calls:
        try:
            call()
        except nq.NqError as error:
            found.append((type(error).__name__, str(error)))
    return found
