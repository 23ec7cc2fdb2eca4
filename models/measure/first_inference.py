"""How long a first result takes: of a nested model, received level by level, and of a stock one, fetched whole."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nq_tflite_models.measure.throttled import throttled_server

from nq_tflite.delivery import ArrivedLevel, receive, split
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.progress import Progress, silent


@dataclass(frozen=True)
class FirstInference:
    """Seconds at one bandwidth, medians of the runs; each until an output has been computed.

    Attributes:
        megabits: of the link, a second.
        stock_seconds: the stock file, downloaded whole and loaded.
        part_seconds: the nested file, at part-bit.
        full_seconds: the same delivery, at full-bit.
    """

    megabits: float
    stock_seconds: float
    part_seconds: float
    full_seconds: float


@dataclass(frozen=True)
class FirstInferences:
    """All bandwidths.

    Attributes:
        runtime: name and version.
        precisions: of the nested file.
        stock_bytes, nested_bytes: sizes of the files; base_bytes: what must arrive for part-bit.
        runs: of each.
    """

    runtime: str
    precisions: tuple[int, ...]
    stock_bytes: int
    nested_bytes: int
    base_bytes: int
    runs: int
    rows: tuple[FirstInference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def first_inferences(
    stock: str | Path,
    nested: str | Path,
    megabits: Sequence[float],
    *,
    runs: int = 1,
    runtime: RuntimeName | None = None,
    progress: Progress | None = None,
) -> FirstInferences:
    """Serves both files at each bandwidth, and times a client that has its runtime loaded and nothing else.

    Args:
      stock: a .tflite file.
      nested: a nested one of the same model.
      megabits: bandwidths of the link.
      runs: of each; they take turns.
      runtime: as nq.Interpreter.
      progress: called with a stage, the steps done and the steps in all.

    Raises:
      UnsupportedModelError: a bandwidth that is none.
      FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
      first_inferences("int8.tflite", "nested.tflite", [8]).rows[0].part_seconds  # 2.5
    """
    if not megabits or min(megabits) <= 0:
        raise UnsupportedModelError("bandwidths", expected="megabits a second above 0", got=str(list(megabits)))
    notify = progress or silent
    contents = {"stock": Path(stock).read_bytes(), "nested": Path(nested).read_bytes()}
    with tempfile.TemporaryDirectory(prefix="nq-tflite-delivery-") as folder:
        base = split(nested, folder).base
        rows, answer = [], {}
        for index, rate in enumerate(megabits):
            seconds: dict[str, list[float]] = {"stock": [], "part": [], "full": []}
            for run in range(runs):
                for kind, content in contents.items():
                    notify(f"{kind} at {rate:g} Mbit/s", index * runs + run, len(megabits) * runs)
                    with throttled_server(content, rate) as url:
                        answer = run_in_child(__name__, {"job": kind, "url": url, "folder": folder, "runtime": runtime})
                    for name, value in answer["seconds"].items():
                        seconds[name].append(value)
            rows.append(FirstInference(rate, *(statistics.median(each) for each in seconds.values())))
    return FirstInferences(
        answer["runtime"],
        tuple(answer["precisions"]),
        len(contents["stock"]),
        len(contents["nested"]),
        base.bytes,
        runs,
        tuple(rows),
    )


# ---- in child processes ----------------------------------------------------------------------------------------------


def _stock(job: Job) -> Job:
    """Downloads the file whole, then loads it."""
    from nq_tflite.device.runtimes import load_runtime

    runtime, path = load_runtime(job["runtime"]), Path(job["folder"]) / "stock.tflite"
    started = time.monotonic()
    with urllib.request.urlopen(job["url"]) as response, path.open("wb") as file:
        shutil.copyfileobj(response, file)
    interpreter = runtime.interpreter(str(path))
    interpreter.allocate_tensors()
    interpreter.invoke()
    return {"runtime": str(runtime), "seconds": {"stock": time.monotonic() - started}}


def _nested(job: Job) -> Job:
    """Runs part-bit when level 0 has arrived, full-bit when the last one has."""
    from nq_tflite.device.interpreter import Interpreter
    from nq_tflite.device.native import load_library
    from nq_tflite.device.runtimes import load_runtime

    runtime, path = load_runtime(job["runtime"]), Path(job["folder"]) / "nested.tflite"
    load_library()
    interpreters: list[Interpreter] = []
    seconds: dict[str, float] = {}
    started = time.monotonic()

    def on_level(arrived: ArrivedLevel) -> None:
        if arrived.level == 0:
            interpreters.append(Interpreter(path, precision="part", runtime=job["runtime"]))
            interpreters[0].allocate_tensors()
        interpreters[0].precision = arrived.bits
        interpreters[0].invoke()
        seconds["part" if arrived.level == 0 else "full"] = time.monotonic() - started

    receive(job["url"], path, on_level=on_level)
    answer = {"runtime": str(runtime), "precisions": interpreters[0].levels}
    return answer | {"seconds": seconds}


if __name__ == "__main__":
    answer_job({"stock": _stock, "nested": _nested})
