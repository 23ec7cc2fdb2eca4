"""Jobs that open a nested model with every option that a runtime's Interpreter has."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jobs import builtin_kernels, feed, open_nested

import nq_tflite as nq
from nq_tflite.device.native import library_path
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.graph.nested import read_nested


def option_sets(runtime: str) -> dict[str, dict[str, Any]]:
    """By a name: each option by itself, and all switches at once; a new runtime's new switches come by themselves."""
    resolvers = type(builtin_kernels(runtime)["experimental_op_resolver_type"])
    sets: dict[str, dict[str, Any]] = {"none": {}, "num_threads=3": {"num_threads": 3}}
    sets |= {each.name: {"experimental_op_resolver_type": each} for each in resolvers}
    parameters = inspect.signature(load_runtime(runtime).interpreter).parameters.values()
    switches = {each.name: True for each in parameters if each.default is False}
    sets |= {name: {name: True} for name in switches}
    return sets | {"all switches": switches}


def outputs_by_options(
    runtime: str, path: Path, inputs: np.ndarray, *, fuse: bool | None
) -> dict[tuple[str, str], list[np.ndarray]]:
    """By the options' name and the interpreter's: full-bit's and part-bit's outputs, in one interpreter or two."""
    found = {}
    for name, options in option_sets(runtime).items():
        interpreter = open_nested(runtime, path, fuse=fuse, **options)
        interpreter.allocate_tensors()
        found[name, "nq"] = [feed(_at(interpreter, precision), inputs) for precision in ("full", "part")]
        for order, delegates in _orders(runtime, fuse).items():
            found[name, order] = []
            for precision in ("full", "part"):
                loaded = [load_runtime(runtime).load_delegate(str(library_path()), each(precision)) for each in delegates]
                stock = load_runtime(runtime).interpreter(str(path), experimental_delegates=loaded, **options)
                stock.allocate_tensors()
                found[name, order].append(feed(stock, inputs))
    return found
