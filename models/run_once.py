"""`python -m nq_tflite_models.run_once`: loads one model and runs it twice; imports as little as a device has.

Arguments: the runtime's name, and then a .tflite file and a precision, or "stock" for the runtime's own Interpreter.
Without a file only what any of these would import is imported.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime


def load(runtime: str, path: str, precision: str) -> Any:
    """An interpreter with one thread."""
    if precision == "stock":
        return load_runtime(runtime).interpreter(model_path=path, num_threads=1)
    return nq.Interpreter(path, runtime=runtime, precision=precision, num_threads=1)


def main(runtime: str, path: str = "", precision: str = "stock") -> None:
    """Runs a model on zeros."""
    load_runtime(runtime)
    if not path:
        return
    interpreter = load(runtime, path, precision)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    for _ in range(2):
        interpreter.invoke()


if __name__ == "__main__":
    main(*sys.argv[1:])
