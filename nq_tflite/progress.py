"""How work that takes long says how far it is: a bar that rich draws, in a terminal and in a notebook."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars

#: Called with a stage's name, the steps done and the steps in all (0 while unknown).
Progress = Callable[[str, int, int], None]
#: What a function's `progress` takes: a `Progress`; True for a bar in a terminal or notebook; False or None for none.
ShowProgress = Progress | bool | None

_SECONDS_BETWEEN, _NOTEBOOK_WIDTH = 0.1, 80


def silent(stage: str, done: int, total: int) -> None:
    """The `Progress` of those who did not ask for one."""


def stage_lines() -> Progress:
    """A line on stderr for each stage."""
    seen: list[str] = []

    def show(stage: str, done: int, total: int) -> None:
        if stage not in seen[-1:]:
            seen.append(stage)
            print(stage, file=sys.stderr, flush=True)

    return show


@contextmanager
def shown(wanted: ShowProgress) -> Iterator[Progress]:
    """The `Progress` that was asked for; a bar disappears at the end.

    True shows a bar in a terminal and in a notebook, stages line by line there if rich is not installed, and nothing
    where stderr goes into a file.
    """
    notebook = _in_notebook()
    if callable(wanted):
        yield wanted
    elif not wanted or not (notebook or (sys.stderr is not None and sys.stderr.isatty())):
        yield silent
    elif find_spec("rich") is None:
        yield stage_lines()
    else:
        with (_notebook_bar if notebook else _terminal_bar)(sys.stderr) as bar:
            yield bar


def _in_notebook() -> bool:
    return type(sys.stderr).__module__.split(".")[0] == "ipykernel"


@contextmanager
def _terminal_bar(file: TextIO) -> Iterator[Progress]:
    """A bar that rich keeps alive between the steps."""
    from rich.console import Console

    # A duplicate: what runs meanwhile may send stderr elsewhere.
    with os.fdopen(os.dup(file.fileno()), "w", encoding="utf-8", errors="replace") as own:
        bars, show = _bars(Console(file=own, markup=False, highlight=False))
        with bars:
            yield show


@contextmanager
def _notebook_bar(file: TextIO) -> Iterator[Progress]:
    """One line that is written over and over: a notebook's stream has no cursor, and widgets may be missing."""
    from rich.console import Console

    # Else rich sees the kernel and displays by itself.
    plain = Console(
        file=io.StringIO(), width=_NOTEBOOK_WIDTH, force_jupyter=False, no_color=True, markup=False, highlight=False
    )
    bars, update = _bars(plain)
    last = ("", 0.0)

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        update(stage, done, total)
        now = time.monotonic()
        if stage == last[0] and now - last[1] < _SECONDS_BETWEEN and done != total:
            return
        last = (stage, now)
        with plain.capture() as line:
            plain.print(bars.get_renderable())
        file.write("\r" + line.get().rstrip("\n").ljust(_NOTEBOOK_WIDTH))
        file.flush()

    try:
        yield show
    finally:
        file.write("\r" + " " * _NOTEBOOK_WIDTH + "\r")
        file.flush()


def _bars(console: Console) -> tuple[Bars, Progress]:
    """The bar, which disappears at its end, and what moves it."""
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[steps]}"), TimeElapsedColumn())
    # The process's own streams stay as they are: other threads print too.
    bars = Bars(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
    task, last = bars.add_task("starting", total=None, steps=""), ""

    def show(stage: str, done: int, total: int) -> None:
        nonlocal last
        steps, is_new, last = f"{done}/{total}" if total else "", stage != last, stage
        bars.update(task, description=stage, completed=done, total=total or None, steps=steps, refresh=is_new)

    return bars, show
