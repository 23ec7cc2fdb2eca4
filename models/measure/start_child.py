"""One start of a model, phase by phase, in the process that runs this module: a job on stdin, the answer on stdout.

It imports Python's own library alone, for what a start imports is part of its time.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

Job = dict[str, Any]
Seconds = dict[str, float]
#: In order. With the weight cache, allocating is part of loading.
PHASES = ("import", "load", "allocate", "first", "second")


def _stock(job: Job) -> Callable[[], Any]:
    from ai_edge_litert.interpreter import Interpreter

    return lambda: Interpreter(model_path=job["path"], num_threads=job["threads"])


def _nested(job: Job) -> Callable[[], Any]:
    import nq_tflite as nq
    from nq_tflite.device.native import load_library
    from nq_tflite.device.runtimes import load_runtime

    load_runtime("ai-edge-litert")
    load_library()
    options = {"runtime": "ai-edge-litert", "precision": job["precision"], "num_threads": job["threads"]}
    return lambda: nq.Interpreter(job["path"], **options)


def _cached(job: Job) -> Callable[[], Any]:
    from nq_tflite.measure.peers import Peer, new_environment

    environment = new_environment()
    return lambda: Peer(job["path"], "weight-cache", job["threads"], job["cache"], environment)


_KINDS = {"stock": _stock, "nested": _nested, "cached": _cached}


def start(job: Job) -> Seconds:
    """Seconds of every phase; `kind` is one of _KINDS, with the options that its function reads."""
    times = [time.perf_counter()]
    make = _KINDS[job["kind"]](job)
    times.append(time.perf_counter())
    model = make()
    times.append(time.perf_counter())
    if job["kind"] != "cached":
        model.allocate_tensors()
    times.append(time.perf_counter())
    for _ in range(2):
        model.invoke()
        times.append(time.perf_counter())
    return {phase: times[k + 1] - times[k] for k, phase in enumerate(PHASES)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        answer = start(json.load(sys.stdin))
    json.dump({"seconds": answer}, sys.stdout)
