"""Programs that test_supply_chain.py runs in processes of their own: `python supply_chain_jobs.py JOB ARGUMENT...`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import nq_tflite as nq


def use(runtime: str, file: str) -> None:
    """Everything that a device does with a file."""
    interpreter = nq.Interpreter(file, runtime=runtime, num_threads=2)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
    for precision in ("part", "full"):
        interpreter.precision = precision
        interpreter.invoke()
    if runtime == "ai-edge-litert":
        model = nq.CompiledModel.from_file(file)
        model.run_by_index(0, model.create_input_buffers(0), model.create_output_buffers(0))


def handle(source: str, folder: str) -> None:
    """Converts a stock .tflite file, looks at the result, takes it apart, puts it together and receives it."""
    nested = Path(folder) / "nested.tflite"
    nq.convert(source, nested, "8|5", rounding="nearest")
    nq.inspect_file(nested)
    nq.extract(nested, Path(folder) / "part.tflite", "part")
    parts = nq.split(nested, Path(folder) / "parts")
    nq.join(parts.base.path, [each.path for each in parts.upgrades], Path(folder) / "joined.tflite")
    with nested.open("rb") as stream:
        nq.receive(stream, Path(folder) / "received.tflite")


def convert_keras(source: str, folder: str) -> None:
    """Converts a Keras file; tensorflow does the first half."""
    nq.convert(source, Path(folder) / "nested.tflite", "8|5", rounding="nearest")


def receive(url: str, folder: str) -> None:
    """The one thing that may use a network."""
    nq.receive(url, Path(folder) / "received.tflite")


if __name__ == "__main__":
    job, *arguments = sys.argv[1:]
    {"use": use, "handle": handle, "convert_keras": convert_keras, "receive": receive}[job](*arguments)
    print("done")
