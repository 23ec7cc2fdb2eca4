"""Inferences by several threads, more than there are processors too, and by several models at once, nested and stock.

Rounds of the two take turns in one process. Several models run in a Python thread each: the runtimes let go of Python's
lock while they compute.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nq_tflite_models.measure.comparison import model_files

from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.progress import Progress, silent

#: Models at once, and threads of each.
SETTINGS = ((1, 1), (1, 2), (1, 4), (1, 8), (2, 1), (2, 2))


@dataclass(frozen=True)
class ThreadRate:
    """Medians of the rounds.

    Attributes:
        model, runtime: what ran, and under what.
        num_models: how many of it at once, with `num_threads` each.
        stock_seconds, nested_seconds: of an inference of one of them.
        ratio, ratio_min, ratio_max: of nested to stock in the same round.
    """

    model: str
    runtime: str
    num_models: int
    num_threads: int
    stock_seconds: float
    nested_seconds: float
    ratio: float
    ratio_min: float
    ratio_max: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def thread_rates(
    names: Sequence[str],
    folder: str | Path,
    *,
    settings: Sequence[tuple[int, int]] = SETTINGS,
    runtime: RuntimeName = "ai-edge-litert",
    rounds: int = 7,
    seconds: float = 0.3,
    progress: Progress = silent,
) -> list[ThreadRate]:
    """Runs models of the zoo, nested 8|4 at full-bit and stock.

    Args:
        names: keys of `zoo.MODELS`.
        folder: keeps the files, as compare_models.
        settings: models at once and threads of each.
        runtime: as nq.Interpreter.
        rounds: of each of the two; seconds: that a round takes.
        progress: called with a stage, the steps done and the steps in all.

    Raises:
        UnsupportedModelError, ModelSourceError: as compare_models.
        MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        thread_rates(["mobilenet_v2"], "models")[2].ratio  # 0.40: 4 threads on two processors
    """
    rows = []
    for position, name in enumerate(names):
        files = model_files(name, folder)
        for step, (num_models, num_threads) in enumerate(settings):
            progress(
                f"{name}, {num_models} x {num_threads}", position * len(settings) + step, len(names) * len(settings)
            )
            job = {"job": "run", "paths": [files.stock, files.nested], "runtime": runtime}
            job |= {"models": num_models, "threads": num_threads, "rounds": rounds, "seconds": seconds}
            stock, nested = run_in_child(__name__, job)["seconds"]
            ratios = [own / other for own, other in zip(nested, stock, strict=True)]
            times = statistics.median(stock), statistics.median(nested), statistics.median(ratios)
            rows.append(ThreadRate(name, runtime, num_models, num_threads, *times, min(ratios), max(ratios)))
    return rows


# ---- in a child process ----------------------------------------------------------------------------------------------


def _run(job: Job) -> Job:
    crews = [
        [open_model(path, nested, job["runtime"], job["threads"]) for _ in range(job["models"])]
        for path, nested in zip(job["paths"], (False, True), strict=True)
    ]
    seconds: list[list[float]] = [[] for _ in crews]
    for _ in range(job["rounds"]):
        for times, models in zip(seconds, crews, strict=True):
            times.append(_seconds_each(models, job["seconds"]))
    return {"seconds": seconds}


def _seconds_each(models: Sequence[Any], seconds: float) -> float:
    """Of an inference of one of the models, while all of them run for so long."""
    counts, stop, start = [0] * len(models), threading.Event(), threading.Barrier(len(models) + 1)

    def run(index: int) -> None:
        models[index].invoke()
        start.wait()
        while not stop.is_set():
            models[index].invoke()
            counts[index] += 1

    runners = [threading.Thread(target=run, args=(index,)) for index in range(len(models))]
    for runner in runners:
        runner.start()
    start.wait()
    started = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for runner in runners:
        runner.join()
    return (time.perf_counter() - started) * len(models) / max(sum(counts), 1)


if __name__ == "__main__":
    answer_job({"run": _run})
