"""`python -m nq_tflite_models.pressure`: real memory pressure on a nested model and on its alternatives."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from mmap import PAGESIZE
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import click
from nq_tflite_models.measure.comparison import model_files
from nq_tflite_models.measure.memory_group import MemoryGroup, memory_group
from nq_tflite_models.measure.pressure_app import APPS, IDLE, PART, STOCK
from nq_tflite_models.weights.archives import cache_dir

from nq_tflite.cli.console import (
    NqCommand,
    json_option,
    megabytes,
    milliseconds,
    percent,
    print_json,
    print_lines,
    print_table,
    progress_bar,
)
from nq_tflite.cli.parameters import SECONDS, WholeNumber, runtime_option
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.measure.child_process import Job
from nq_tflite.progress import Progress, silent

#: The zoo's models: the one to run, and the one to run instead.
MODELS = ("resnet50", "mobilenet_v2")
#: Of the group's limit that stays free in calm, beyond what the stock model needs, and in a storm, beyond part-bit.
SLACK = 0.06
#: oom_score_adj of the app: the kernel kills it before the other program, as phones kill what is in the background.
_VICTIM = 800
STALL_SECONDS = 0.2
_HOG = """
import sys, time
held, step = [], 1 << 20
for line in sys.stdin:
    wanted = int(line)
    while len(held) * step < wanted:
        held.append(bytearray(b"x") * step)
        time.sleep(0.02)
    del held[wanted // step:]
"""


_EPILOG = """\b
Examples:
  python -m nq_tflite_models.pressure
  python -m nq_tflite_models.pressure --rounds 10 --runtime tflite-runtime --json

Needs root, or a user with a memory control group of its own."""


@dataclass(frozen=True)
class Survival:
    """How an app fared.

    Attributes:
        app: which.
        results: inferences that it finished.
        kills: how often the kernel killed it for want of memory; it was started again each time.
        longest_gap: the longest time without a result, seconds, from its first result on.
        stalled: fraction of the time in gaps of more than STALL_SECONDS.
        by_model: fraction of the results by each model or precision.
        peak_bytes: the most that the group held, the other program's memory included.
    """

    app: str
    results: int
    kills: int
    longest_gap: float
    stalled: float
    by_model: dict[str, float]
    peak_bytes: int


@dataclass(frozen=True)
class Storm:
    """The same for every app: a limit, and what another program takes beside it.

    Attributes:
        limit_bytes: of the group.
        hog_bytes: what the other program holds in a storm; nothing in calm.
        seconds: how long calm and storm last, each.
        rounds: how many of both.
    """

    limit_bytes: int
    hog_bytes: int
    seconds: float
    rounds: int


def run_pressure(
    models: tuple[str, str] = MODELS,
    runtime: RuntimeName | None = None,
    rounds: int = 3,
    seconds: float = 5.0,
    folder: Path | None = None,
    progress: Progress = silent,
) -> tuple[Storm, tuple[Survival, ...]]:
    """Runs every app of `pressure_app.APPS` through the same storm.

    The limit is what the stock model's app needs and 6 % more; the other program then takes so much that the part-bit
    model's app and 6 % fit.

    Raises:
        NqError: no memory control group can be made here.
        As model_files.
    """
    target = folder or cache_dir() / "nets"
    large, small = (model_files(name, target, progress=progress) for name in models)
    job = {"nested": large.nested, "large": large.stock, "small": small.stock, "runtime": runtime}
    progress("measuring", 0, len(APPS))
    stock, part, idle = (_peak_bytes(job | {"app": app, "large_percent": 0}) for app in (STOCK, PART, IDLE))
    limit = int(stock / (1 - SLACK)) // PAGESIZE * PAGESIZE
    storm = Storm(limit, int(limit * (1 - SLACK)) - part, seconds, rounds)
    job["large_percent"] = 100 * (stock - idle) / limit
    survivals = []
    for index, app in enumerate(name for name in APPS if name != IDLE):
        progress(app, index, len(APPS) - 1)
        survivals.append(_survive(job | {"app": app}, storm))
    return storm, tuple(survivals)


def _peak_bytes(job: Job) -> int:
    """What an app and the idle other program hold at most in two seconds without a limit, loading included."""
    _forget_pages(job)
    with memory_group() as group, _hog(group), _started(job | {"end": time.monotonic() + 60}, group) as app:
        app.stdout.readline()
        time.sleep(2)
        return group.peak_bytes


def _survive(job: Job, storm: Storm) -> Survival:
    """One app through the storm, started again whenever it is killed."""
    _forget_pages(job)
    end = time.monotonic() + 2 * storm.rounds * storm.seconds
    lines: list[str] = []
    with memory_group() as group:
        group.limit(storm.limit_bytes)
        with _hog(group) as hog:
            weather = threading.Thread(target=_make_weather, args=(hog, storm), daemon=True)
            weather.start()
            while time.monotonic() < end:
                with _started(job | {"end": end}, group) as app:
                    lines += app.stdout
            weather.join()
        peak, kills = group.peak_bytes, group.kills
    return summarize(job["app"], lines, end, kills, peak)


def summarize(app: str, lines: Sequence[str], end: float, kills: int, peak: int) -> Survival:
    """Results as `pressure_app` writes them, in figures.

    Example:
        summarize("a", ["1.0 large", "1.1 large", "3.0 small"], 3.1, 1, 0).longest_gap  # 1.9
    """
    results = [(float(moment), name.strip()) for moment, _, name in (line.partition(" ") for line in lines)]
    if not results:
        return Survival(app, 0, kills, float("inf"), 1.0, {}, peak)
    moments = [moment for moment, _ in results] + [end]
    gaps = [after - before for before, after in pairwise(moments)]
    names = Counter(name for _, name in results)
    return Survival(
        app,
        len(results),
        kills,
        max(gaps),
        sum(gap for gap in gaps if gap > STALL_SECONDS) / sum(gaps),
        {name: count / len(results) for name, count in sorted(names.items())},
        peak,
    )


@contextmanager
def _started(job: Job, group: MemoryGroup) -> Iterator[Any]:
    command = [sys.executable, "-m", "nq_tflite_models.measure.pressure_app"]
    app = subprocess.Popen(
        command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True, preexec_fn=lambda: _enter(group, _VICTIM)
    )
    try:
        with contextlib.suppress(BrokenPipeError):
            app.stdin.write(json.dumps(job))
            app.stdin.close()
        yield app
    finally:
        app.kill()
        app.wait()


@contextmanager
def _hog(group: MemoryGroup) -> Iterator[Any]:
    """The other program: holds as many bytes as the last line that it was sent says."""
    hog = subprocess.Popen([sys.executable, "-c", _HOG], stdin=PIPE, text=True, preexec_fn=lambda: _enter(group, 0))
    try:
        yield hog
    finally:
        hog.kill()
        hog.wait()


def _make_weather(hog: Any, storm: Storm) -> None:
    for wanted in [0, storm.hog_bytes] * storm.rounds:
        hog.stdin.write(f"{wanted}\n")
        hog.stdin.flush()
        time.sleep(storm.seconds)


def _enter(group: MemoryGroup, oom_score: int) -> None:
    """In the child, before it starts: into the group, and up or down in the kernel's list of whom to kill."""
    group.enter()
    Path("/proc/self/oom_score_adj").write_text(str(oom_score))


def _forget_pages(job: Job) -> None:
    """Drops the models' cached pages, which would be charged to whoever read them first."""
    for path in (job["nested"], job["large"], job["small"]):
        with Path(path).open("rb+") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@click.command(cls=NqCommand, epilog=_EPILOG)
@click.option("--rounds", type=WholeNumber(), default=3, show_default=True, help="Rounds of calm and storm.")
@click.option("--seconds", type=SECONDS, default=5.0, show_default=True, help="Seconds of each calm and storm.")
@runtime_option
@json_option
def pressure(rounds: int, seconds: float, runtime: RuntimeName | None, as_json: bool) -> None:
    """Run ResNet50 in a memory-limited control group while another program takes the memory, and gives it back."""
    with progress_bar() as progress:
        storm, survivals = run_pressure(runtime=runtime, rounds=rounds, seconds=seconds, progress=progress)
    if as_json:
        print_json({"storm": asdict(storm), "apps": [asdict(each) for each in survivals]})
        return
    rows = [
        [
            each.app,
            str(each.results),
            str(each.kills),
            milliseconds(each.longest_gap),
            percent(each.stalled),
            ", ".join(f"{name} {percent(part)}" for name, part in each.by_model.items()),
            megabytes(each.peak_bytes),
        ]
        for each in survivals
    ]
    title = (
        f"{MODELS[0]}, limit {megabytes(storm.limit_bytes)}, another program takes {megabytes(storm.hog_bytes)} for "
        f"{storm.seconds:g} s every {2 * storm.seconds:g} s, {storm.rounds} times"
    )
    print_table(title, ("app", "results", "killed", "longest gap", "stalled", "results by", "peak of the group"), rows)
    print_lines(f"two models: {MODELS[0]} and {MODELS[1]}. Stalled: time in gaps of more than {STALL_SECONDS} s.")


if __name__ == "__main__":
    pressure(prog_name="python -m nq_tflite_models.pressure")
