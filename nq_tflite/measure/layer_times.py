"""The time of each layer of a nested model at several precisions, on this machine, in a separate process."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nq_tflite.device.native import kernels
from nq_tflite.device.opening import open_model
from nq_tflite.device.profile import Profile
from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import NqError
from nq_tflite.files import check_model_file
from nq_tflite.format.nesting import Precision, precision_to_level
from nq_tflite.measure.benchmark import cpu_name
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.records import from_dict


@dataclass(frozen=True)
class TimedLayers:
    """The layers at one precision, and the mean time of a whole invocation, the runtime's own operators included."""

    profile: Profile
    seconds: float

    @property
    def other_seconds(self) -> float:
        """What an invocation takes beside the layers: the runtime's operators, its calls, and the clocks."""
        return self.seconds - self.profile.seconds


@dataclass(frozen=True)
class LayerReport:
    """Everything measured.

    Attributes:
        path: the model.
        cpu, runtime: names of the processor, and of the runtime with its version.
        kernels: instruction set of each kind of kernel.
        num_threads, runs: threads, and timed invocations at each precision.
        precisions: the layers at each precision, in the order asked for.
    """

    path: str
    cpu: str
    runtime: str
    kernels: dict[str, str]
    num_threads: int
    runs: int
    precisions: tuple[TimedLayers, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def time_layers(
    path: str | os.PathLike[str],
    *,
    precisions: Sequence[Precision] = ("full", "part"),
    runtime: RuntimeName | None = None,
    num_threads: int = 1,
    runs: int = 50,
    warmup: int = 5,
    isa: str | None = None,
) -> LayerReport:
    """Times each layer of a nested model at each of the precisions, on inputs of zeros.

    Args:
        path: a nested .tflite file.
        precisions: "full", "part" or numbers of bits.
        runtime: as nq.Interpreter takes it.
        num_threads: to run with.
        runs, warmup: timed invocations at each precision, and untimed ones before all of them.
        isa: instruction set for nq_tflite's kernels, such as "avx2"; the best of this CPU if not given.

    Raises:
        FormatError: the file does not load.
        PrecisionError: the model has no such precision.
        NqError: none of its layers is computed by nq_tflite, or the child process died.

    Example:
        >>> time_layers("model.tflite").precisions[0].profile.slowest[0].output  # doctest: +SKIP
        'conv2d_3'
    """
    check_model_file(path)
    job = {"path": os.fspath(path), "precisions": list(precisions), "runtime": runtime, "num_threads": num_threads}
    answer = run_in_child(__name__, {"job": "layers", **job, "runs": runs, "warmup": warmup}, isa)
    return from_dict(LayerReport, answer)


def _layers_job(job: Job) -> Job:
    model = open_model(job["path"], True, job["runtime"], job["num_threads"], profile=True)
    if not model.levels or not model.profile().layers:
        raise NqError(
            job["path"],
            expected="a nested model, some of whose layers nq_tflite computes",
            got="one that the runtime computes alone",
            fix="TFLite's benchmark_model --enable_op_profiling=true times the runtime's operators.",
        )
    levels = [precision_to_level(each, model.levels) for each in job["precisions"]]
    for level in levels:
        model.precision = model.levels[level]
        for _ in range(job["warmup"]):
            model.invoke()
    model.reset_profile()
    timed = []
    for level in dict.fromkeys(levels):
        model.precision = model.levels[level]
        started = time.perf_counter()
        for _ in range(job["runs"]):
            model.invoke()
        seconds = (time.perf_counter() - started) / job["runs"]
        timed.append(TimedLayers(model.profile(), seconds))
    report = LayerReport(
        job["path"], cpu_name(), model.runtime, kernels(), job["num_threads"], job["runs"], tuple(timed)
    )
    return report.as_dict()


if __name__ == "__main__":
    answer_job({"layers": _layers_job})
