"""Which models, in which input format, work under which runtime at which precision: every cell tried, none guessed."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from nq_tflite_models.measure.compatibility_jobs import PRECISIONS, Outcome, Result, check_file, convert_source
from nq_tflite_models.measure.rows import ALL_ROWS, FORMATS

from nq_tflite.device.runtimes import RUNTIMES, RuntimeName, installed_runtimes
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.progress import Progress, silent


@dataclass(frozen=True)
class Cell:
    """One combination, and what became of it; `reason` is "" where it passes."""

    model: str
    format: str
    activations: str
    runtime: str
    precision: str
    outcome: Outcome
    reason: str = ""


class Processes:
    """A process for each key, kept for the calls to come; one that dies is replaced. A context manager.

    Example:
      with Processes() as processes:
        cells = list(try_models(["vit", "swin"], Path("files"), processes=processes))
    """

    def __init__(self) -> None:
        self._pools: dict[str, ProcessPoolExecutor] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        while self._pools:
            self._end(next(iter(self._pools)))

    def run(self, key: str, job: Callable[..., Result], *arguments: Any) -> Result:
        """The job's result, or what kept it from one."""
        if key not in self._pools:
            self._pools[key] = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        try:
            return self._pools[key].submit(job, *arguments).result()
        except BrokenProcessPool:
            self._end(key)
            return Result("fails", "its process died")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this cell's outcome
            return Result("fails", f"{type(error).__name__}: {error}")

    def _end(self, key: str) -> None:
        self._pools.pop(key).shutdown()


def try_models(
    names: Sequence[str],
    folder: Path,
    *,
    formats: Sequence[str] = tuple(FORMATS),
    runtimes: Sequence[RuntimeName] = RUNTIMES,
    nesting: str = "8|4",
    rounding: str = "nearest",
    processes: Processes | None = None,
    progress: Progress | None = None,
) -> Iterator[Cell]:
    """Converts each model from each format and runs it under each runtime, as `check_file` says.

    Conversions have a process of their own, and so has each runtime, for tflite-runtime cannot share one. A process
    that dies costs its cell, not the others.

    Args:
      names: keys of `ALL_ROWS`.
      folder: where the files are written.
      formats: keys of `FORMATS`; files are tried as they are.
      runtimes: of `nq_tflite.device.runtimes.RUNTIMES`; those not installed are unsupported.
      nesting, rounding: as nq.convert.
      processes: some that are there already; new ones, ended with the last cell, if not given.
      progress: called before each conversion.

    Raises:
      UnsupportedModelError: no such model, format or runtime.

    Example:
      {cell.outcome for cell in try_models(["audio"], Path("files"))}  # {"pass"}
    """
    for what, wanted, known in (
        ("model", names, ALL_ROWS),
        ("format", formats, FORMATS),
        ("runtime", runtimes, RUNTIMES),
    ):
        if unknown := [each for each in wanted if each not in known]:
            raise UnsupportedModelError(what, expected=f"names of {', '.join(known)}", got=", ".join(unknown))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [ALL_ROWS[name] for name in names]
    sources = [(row.name, source) for row in rows for source in row.sources if row.file or source[0] in formats]
    notify, installed = progress or silent, installed_runtimes()
    with ExitStack() as stack:
        processes = processes or stack.enter_context(Processes())
        for done, (name, (format_name, activations)) in enumerate(sources):
            notify(f"{name}, {format_name}, {activations} activations", done, len(sources))
            stem = folder / f"{name}_{format_name.replace('.', '_')}_{activations}"
            converted = processes.run(
                "conversion", convert_source, ALL_ROWS[name], format_name, activations, stem, nesting, rounding
            )
            for runtime, precision in product(runtimes, PRECISIONS):
                if runtime not in installed:
                    result = Result("unsupported", f"{runtime} is not installed")
                elif converted.outcome == "pass":
                    stateful = ALL_ROWS[name].stateful
                    result = processes.run(runtime, check_file, runtime, stem, activations, precision, stateful)
                else:
                    result = converted
                yield Cell(name, format_name, activations, runtime, precision, result.outcome, result.reason)
