"""LiteRT Quantizer (packages litert-quantizer, ai-edge-quantizer), Google's own, in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from nq_tflite.device.runtimes import RuntimeName
from nq_tflite.errors import MissingPackageError, NqError, UnsupportedModelError
from nq_tflite.measure.benchmark import footprint_in_child
from nq_tflite.measure.child_process import Job, answer_job, run_in_child

#: Names of its module, the newer one first.
_MODULES = ("litert_quantizer", "ai_edge_quantizer")
INSTALL = "pip install litert-quantizer"
#: What its policy takes in four bits beside int8 activations; depthwise convolutions stay at eight.
_IN_FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")


#: LiteRT Quantizer's files: int4: weights of convolutions and dense layers in four bits, int8 activations. blockwise:
#: dense weights in four bits with a scale for every 32 of them, at dynamic range.
QuantizedKind = Literal["int4", "blockwise"]
QUANTIZED_KINDS: tuple[QuantizedKind, ...] = ("int4", "blockwise")


@dataclass(frozen=True)
class QuantizedFiles:
    """LiteRT Quantizer's files of a model.

    Attributes:
        paths: by kind; bytes: their sizes.
        missing: why there is none of a kind, or why it does not run.
    """

    paths: dict[str, str] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def quantized_by_litert(model: Path, samples: Path, num_bits: int, target: Path, *, blockwise: bool = False) -> str:
    """Writes a float .tflite file with weights of so many bits, minimum to maximum, and with int8 activations.

    Args:
        model: a .tflite file with one float32 input.
        samples: a .npy file, float32 [samples, ...], to calibrate with.
        num_bits: 8, or 4.
        target: where to write.
        blockwise: at dynamic range instead, with a scale for every 32 weights of dense layers in four bits; samples are
            not read.

    Returns:
        The package's name and version.

    Raises:
        MissingPackageError: neither package is installed.
        UnsupportedModelError: it cannot quantize the model.
    """
    paths = {"model": str(model), "samples": str(samples), "target": str(target)}
    job = {"job": "quantize", "num_bits": num_bits, "blockwise": blockwise, **paths}
    return str(run_in_child(__name__, job)["version"])


def quantized_files(
    source: Path, samples: Path, stem: Path, kinds: Sequence[QuantizedKind], runtime: RuntimeName | None
) -> QuantizedFiles:
    """A float file's files of some kinds, made unless they are there; each has run once.

    `stem` is the beginning of their paths, and `source` and `samples` are as quantized_by_litert has them.
    """
    found = QuantizedFiles()
    for kind in kinds:
        path = stem.with_name(f"{stem.name}_litert_{kind}.tflite")
        try:
            if not path.is_file():
                quantized_by_litert(source, samples, 4, path, blockwise=kind == "blockwise")
            footprint_in_child(str(path), False, runtime, reloads=1)
        except NqError as error:
            found.missing[kind] = " ".join(str(error).split())
        else:
            found.paths[kind], found.bytes[kind] = str(path), path.stat().st_size
    return found


def _quantize(job: Job) -> Job:
    package = _package()
    quantizer = package.quantizer.Quantizer(job["model"])
    operations = {operation.value: operation for operation in package.qtyping.TFLOperationName}
    if job["blockwise"]:
        quantizer.add_dynamic_config(".*", operations["*"], num_bits=8)
        block = package.qtyping.QuantGranularity.BLOCKWISE_32
        quantizer.add_dynamic_config(".*", operations["FULLY_CONNECTED"], job["num_bits"], granularity=block)
    else:
        quantizer.add_static_config(".*", operations["*"], activation_num_bits=8, weight_num_bits=8)
        for name in _IN_FOUR_BITS if job["num_bits"] == 4 else ():
            quantizer.add_static_config(".*", operations[name], activation_num_bits=8, weight_num_bits=4)
    try:
        seen = None if job["blockwise"] else _calibrated(quantizer, job["model"], job["samples"])
        content = quantizer.quantize(seen, enable_progress_report=False).quantized_model
    except (ValueError, RuntimeError, KeyError) as error:
        raise UnsupportedModelError(
            str(package.__name__), expected="a model that it quantizes", got=str(error)
        ) from error
    Path(job["target"]).write_bytes(bytes(content))
    return {"version": _version(package)}


def _calibrated(quantizer: Any, model: str, samples: str) -> Any:
    name, runner = _signature(model)
    inputs = [{runner: each[None]} for each in np.load(samples)]
    return quantizer.calibrate({name: inputs}, num_threads=1)


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
