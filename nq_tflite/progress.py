"""How work that takes long says how far it is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: Called with a stage's name, the steps done and the steps in all (0 while unknown).
Progress = Callable[[str, int, int], None]
#: What a function's `progress` takes: a `Progress`; True for a bar where somebody looks; False or None for silence.
ShowProgress = Progress | bool | None

_SECONDS_BETWEEN, _BAR_WIDTH = 0.1, 20


def silent(stage: str, done: int, total: int) -> None:
    """The `Progress` of those who did not ask for one."""


@contextmanager
def shown(wanted: ShowProgress) -> Iterator[Progress]:
    """The `Progress` that was asked for; a bar disappears at the end.

    True shows a bar in a terminal and in a notebook, and nothing where stderr goes into a file.
    """
    if callable(wanted):
        yield wanted
    elif wanted and _in_notebook():
        with _bar(sys.stderr) as bar:
            yield bar
    elif wanted and sys.stderr is not None and sys.stderr.isatty():
        # A duplicate: what runs meanwhile may send stderr elsewhere.
        with os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", errors="replace") as own, _bar(own) as bar:
            yield bar
    else:
        yield silent


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.split(".")[0] == "ipykernel"


@contextmanager
def _bar(file: TextIO) -> Iterator[Progress]:
    """One line that is written over and over."""
    start, last, shown_stage, width = time.monotonic(), 0.0, "", 0

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last, shown_stage, width
        now = time.monotonic()
        if stage == shown_stage and now - last < _SECONDS_BETWEEN and done != total:
            return
        last, shown_stage = now, stage
        filled = _BAR_WIDTH * done // total if total else 0
        bar = f" {'#' * filled}{'.' * (_BAR_WIDTH - filled)} {done}/{total}" if total else " ..."
        line = f"{stage}{bar} {now - start:.0f} s"
        file.write("\r" + line.ljust(width))
        file.flush()
        width = len(line)

    try:
        yield show
    finally:
        file.write("\r" + " " * width + "\r")
        file.flush()
