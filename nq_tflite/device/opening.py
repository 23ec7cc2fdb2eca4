"""Opening a model of either kind for measurements: nested, or a runtime's own."""

from __future__ import annotations

from typing import Any

import numpy as np

from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.runtimes import RuntimeName, load_runtime
from nq_tflite.format.nesting import Precision


def open_model(
    path: str,
    nested: bool,
    runtime: RuntimeName | None,
    num_threads: int,
    precision: Precision = "full",
    profile: bool = False,
) -> Any:
    """An allocated interpreter with zeros as input: nq.Interpreter for a nested model, the stock one for a stock model.

    A stock model is opened without nq_tflite's delegate, so that it runs exactly as it does without nq_tflite.
    """
    if nested:
        interpreter: Any = Interpreter(
            path, precision=precision, runtime=runtime, num_threads=num_threads, profile=profile
        )
    else:
        interpreter = load_runtime(runtime).interpreter(model_path=path, num_threads=num_threads)
    interpreter.allocate_tensors()
    for details in interpreter.get_input_details():
        interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    return interpreter
