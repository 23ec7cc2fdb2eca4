"""LiteRT Quantizer (packages litert-quantizer, ai-edge-quantizer), Google's own, in a process of its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from nq_tflite.errors import MissingPackageError, UnsupportedModelError
from nq_tflite.measure.child_process import Job, answer_job, run_in_child

#: Names of its module, the newer one first.
_MODULES = ("litert_quantizer", "ai_edge_quantizer")
INSTALL = "pip install litert-quantizer"
#: What its policy takes in four bits beside int8 activations; depthwise convolutions stay at eight.
_IN_FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")


def quantized_by_litert(model: Path, samples: Path, num_bits: int, target: Path) -> str:
    """Writes a float .tflite file with int8 activations and with weights of so many bits, minimum to maximum.

    Args:
        model: a .tflite file with one float32 input.
        samples: a .npy file, float32 [samples, ...], to calibrate with.
        num_bits: 8, or 4.
        target: where to write.

    Returns:
        The package's name and version.

    Raises:
        MissingPackageError: neither package is installed.
        UnsupportedModelError: it cannot quantize the model.
    """
    paths = {"model": str(model), "samples": str(samples), "target": str(target)}
    job = {"job": "quantize", "num_bits": num_bits, **paths}
    return str(run_in_child(__name__, job)["version"])


def _quantize(job: Job) -> Job:
    package = _package()
    quantizer = package.quantizer.Quantizer(job["model"])
    operations = {operation.value: operation for operation in package.qtyping.TFLOperationName}
    quantizer.add_static_config(".*", operations["*"], activation_num_bits=8, weight_num_bits=8)
    for name in _IN_FOUR_BITS if job["num_bits"] == 4 else ():
        quantizer.add_static_config(".*", operations[name], activation_num_bits=8, weight_num_bits=4)
    name, runner = _signature(job["model"])
    samples = [{runner: each[None]} for each in np.load(job["samples"])]
    try:
        seen = quantizer.calibrate({name: samples}, num_threads=1)
        content = quantizer.quantize(seen, enable_progress_report=False).quantized_model
    except (ValueError, RuntimeError, KeyError) as error:
        raise UnsupportedModelError(
            str(package.__name__), expected="a model that it quantizes", got=str(error)
        ) from error
    Path(job["target"]).write_bytes(bytes(content))
    return {"version": _version(package)}


def _package() -> ModuleType:
    for name in _MODULES:
        try:
            for part in ("quantizer", "qtyping"):
                importlib.import_module(f"{name}.{part}")
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if str(error.name).split(".")[0] != name:
                raise MissingPackageError(
                    name, expected=f"the package {error.name}", got="none", fix=f"{INSTALL}."
                ) from error
    raise MissingPackageError("LiteRT Quantizer", got="not installed", fix=f"{INSTALL}.")


def _version(package: ModuleType) -> str:
    from importlib.metadata import version

    distribution = package.__name__.replace("_", "-")
    return f"{distribution} {version(distribution)}"


def _signature(model: str) -> tuple[str, str]:
    """Names of a model's only signature and of its only input."""
    from ai_edge_litert.interpreter import Interpreter

    [(name, tensors)] = Interpreter(model).get_signature_list().items()
    [argument] = tensors["inputs"]
    return name, argument


if __name__ == "__main__":
    answer_job({"quantize": _quantize})
