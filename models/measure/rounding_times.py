"""How long conversions take, by net and method: wall and CPU seconds, tensorflow's share, and the peak of memory."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

from nq_tflite_models.nets.zoo import build_model

from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.memory import peak_memory
from nq_tflite.progress import Progress, silent

SourceKind = Literal["keras", "float", "int8"]
SOURCES: tuple[SourceKind, ...] = ("keras", "float", "int8")
#: Of conversion that is tensorflow's, or that waits for it: loading it, exporting, measuring ranges, quantizing.
_TENSORFLOW = ("loading tensorflow", "converting with tensorflow")


#: Of the zoo. Weights are seeded: time does not ask what a net knows.
NETS = ("mobilenet_v2", "resnet18", "resnet50", "deit_s", "ds_cnn_s")


@dataclass(frozen=True)
class RoundingTime:
    """One conversion, in a process of its own.

    Attributes:
        source: what was converted: a Keras file, or a float or INT8 .tflite.
        samples: of representative data; 0 for none.
        seconds: from the call to the written file, without Python's start.
        cpu_seconds: of all threads meanwhile.
        stages: seconds by stage, as `convert` names them to its bar.
        peak_bytes: of resident memory, libraries and tensorflow with it.
        rounded: how many weights got their codes from which method.
        blas: OpenBLAS' kernels, by the CPU that they are for.
    """

    net: str
    source: SourceKind
    method: str
    nesting: str
    samples: int
    seconds: float
    cpu_seconds: float
    stages: dict[str, float]
    peak_bytes: int
    rounded: dict[str, int]
    blas: str

    @property
    def tensorflow_seconds(self) -> float:
        """Those of `seconds` that went to tensorflow."""
        return sum(self.stages.get(name, 0.0) for name in _TENSORFLOW)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self) | {"tensorflow_seconds": self.tensorflow_seconds}


def rounding_times(
    nets: Sequence[str],
    methods: Sequence[str],
    sources: Sequence[SourceKind],
    samples: Sequence[int],
    nesting: str = "8|4",
    *,
    progress: Progress = silent,
) -> list[RoundingTime]:
    """Converts each net from each kind of source by each method, with each number of samples.

    Args:
        nets: names of `NETS`.
        methods: of rounding.
        sources, samples: as `RoundingTime` has them.
        progress: called with a stage, the steps done and the steps in all.

    Example:
        rounding_times(["resnet18"], ["squant"], ["int8"], [0])[0].seconds  # 2.1
    """
    rows, cases = [], list(product(sources, methods, samples))
    for number, net in enumerate(nets):
        with tempfile.TemporaryDirectory(prefix="nq-tflite-rounding-") as folder:
            progress(f"{net}: building", number * len(cases), len(nets) * len(cases))
            run_in_child(__name__, {"job": "make", "net": net, "folder": folder, "sources": list(sources)})
            for done, (source, method, count) in enumerate(cases, number * len(cases)):
                progress(f"{net}, {source}, {method}", done, len(nets) * len(cases))
                job = {"folder": folder, "source": source, "method": method, "samples": count, "nesting": nesting}
                answer = run_in_child(__name__, {"job": "convert", **job})
                rows.append(RoundingTime(net, source, method, nesting, count, **answer))
    return rows


# ---- in a child process ----------------------------------------------------------------------------------------------


def _path(folder: str, source: SourceKind) -> Path:
    return Path(folder, "net.keras" if source == "keras" else f"{source}.tflite")


def _make(job: Job) -> Job:
    """Writes the net as each kind of source, and inputs for it."""
    import numpy as np
    from nq_tflite_models.nets.seeded import model_inputs

    from nq_tflite.conversion.sources.calibration import sample_source
    from nq_tflite.conversion.sources.keras_export import export

    net = build_model(job["net"])
    [inputs] = model_inputs(net, 160, 1)
    np.save(Path(job["folder"], "inputs.npy"), inputs)
    for source in job["sources"]:
        path = _path(job["folder"], source)
        if source == "keras":
            net.save(path)
        else:
            path.write_bytes(export(net, sample_source(inputs[:8]) if source == "int8" else None))
    return {}


def _convert(job: Job) -> Job:
    import numpy as np
    from threadpoolctl import threadpool_info

    import nq_tflite as nq

    inputs = np.load(Path(job["folder"], "inputs.npy"))[: job["samples"]] if job["samples"] else None
    stages: dict[str, float] = {}
    last = ["", time.perf_counter()]

    def stage(name: str, done: int, total: int) -> None:
        now = time.perf_counter()
        stages[last[0]] = stages.get(last[0], 0.0) + now - float(last[1])
        last[:] = [name, now]

    started, cpu = time.perf_counter(), time.process_time()
    target = Path(job["folder"], "nested.tflite")
    report = nq.convert(
        _path(job["folder"], job["source"]), target, job["nesting"], inputs, rounding=job["method"], progress=stage
    )
    stage("", 0, 0)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    names = [row.rounding for row in report.weights]
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "stages": {name: each for name, each in stages.items() if name},
        "peak_bytes": peak_memory(),
        "rounded": {name: names.count(name) for name in sorted(set(names))},
        "blas": ", ".join(
            each.get("architecture", each["internal_api"]) for each in threadpool_info() if each["user_api"] == "blas"
        ),
    }


if __name__ == "__main__":
    answer_job({"make": _make, "convert": _convert})
