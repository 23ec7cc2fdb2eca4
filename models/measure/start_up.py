"""How long starting a model takes, from the import to the first result, each start in a process of its own."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nq_tflite_models.measure.comparison import model_files
from nq_tflite_models.measure.start_child import PHASES

from nq_tflite.measure.child_process import run_in_child
from nq_tflite.progress import Progress, silent

_CHILD = "nq_tflite_models.measure.start_child"


@dataclass(frozen=True)
class StartUp:
    """One way of starting one model: medians of the runs.

    Attributes:
        model: its name.
        way: "stock", "weight cache" (LiteRT's CompiledModel with XNNPACK's, warm), "full-bit" or "part-bit".
        seconds: of each of PHASES.
        to_first: seconds from loading to the first result, the import left out.
        ratio: of to_first to the stock model's in the same round.
    """

    model: str
    way: str
    seconds: dict[str, float]
    to_first: float
    ratio: float

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def start_ups(
    names: Sequence[str],
    folder: str | Path,
    *,
    num_threads: int = 1,
    runs: int = 5,
    progress: Progress = silent,
) -> list[StartUp]:
    """Starts models of the zoo, nested 8|4 and stock, under ai-edge-litert; the ways take turns.

    Args:
        names: keys of `zoo.MODELS`.
        folder: keeps the files, as compare_models.
        num_threads: of every interpreter.
        runs: of each way, after one that brings the files into the page cache and writes the weight cache.
        progress: called with a stage, the steps done and the steps in all.

    Raises:
        UnsupportedModelError, ModelSourceError: as compare_models.
        MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        start_ups(["mobilenet_v2"], "models")[2].ratio  # 0.67: full-bit has its first result in 0.67 of stock's time
    """
    rows: list[StartUp] = []
    for position, name in enumerate(names):
        progress(name, position, len(names))
        files = model_files(name, folder)
        with tempfile.TemporaryDirectory(prefix="nq-tflite-start-") as temporary:
            cache = str(Path(temporary, "weights.cache"))
            jobs = {
                "stock": {"kind": "stock", "path": files.stock},
                "weight cache": {"kind": "cached", "path": files.stock, "cache": cache},
                "full-bit": {"kind": "nested", "path": files.nested, "precision": "full"},
                "part-bit": {"kind": "nested", "path": files.nested, "precision": "part"},
            }
            rounds = [
                {
                    way: run_in_child(_CHILD, {"job": way, "threads": num_threads, **job})["seconds"]
                    for way, job in jobs.items()
                }
                for _ in range(runs + 1)
            ][1:]
        rows += [_median(name, way, rounds) for way in jobs]
    return rows


def _median(name: str, way: str, rounds: Sequence[dict[str, dict[str, float]]]) -> StartUp:
    own, stock = ([_to_first(each[kind]) for each in rounds] for kind in (way, "stock"))
    seconds = {phase: statistics.median(each[way][phase] for each in rounds) for phase in PHASES}
    ratio = statistics.median(a / b for a, b in zip(own, stock, strict=True))
    return StartUp(name, way, seconds, statistics.median(own), ratio)


def _to_first(seconds: dict[str, float]) -> float:
    return seconds["load"] + seconds["allocate"] + seconds["first"]
