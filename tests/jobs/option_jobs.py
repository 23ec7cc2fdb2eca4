"""Jobs that open a model with every option that a runtime's Interpreter has."""

from __future__ import annotations

import enum
import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jobs import at_each, builtin_kernels, feed, open_nested

import nq_tflite as nq
from nq_tflite.device.native import library_path
from nq_tflite.device.runtimes import load_runtime

PRECISIONS = ("full", "part")


@dataclass(frozen=True)
class Run:
    """Outputs [precision, inputs, ...] through nq.Interpreter and through the stock one with the delegate."""

    outputs: np.ndarray
    stock_outputs: np.ndarray
    num_fused: int
    summary: str


def outputs_by_options(runtime: str, path: Path, inputs: np.ndarray, *, fuse: bool) -> dict[str, Run]:
    """By the options' name: none, each one by itself, and all switches at once."""
    found = {}
    for name, options in _option_sets(runtime).items():
        interpreter = open_nested(runtime, path, fuse=fuse, **options)
        interpreter.allocate_tensors()
        outputs = [feed(interpreter, inputs) for _ in at_each(interpreter, PRECISIONS)]
        stock = [feed(_stock(runtime, path, [(each, fuse)], **options), inputs) for each in PRECISIONS]
        delegation = interpreter.delegation
        found[name] = Run(np.array(outputs), np.array(stock), delegation.num_fused_weights, delegation.summary())
    return found


def outputs_of_delegates(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Of stock interpreters with the delegate at part-bit: alone, with one at full-bit, with custom operators."""
    part, full = ("part", True), ("full", True)
    module = importlib.import_module(load_runtime(runtime).interpreter.__module__)
    interpreters = {
        "alone": _stock(runtime, path, [part]),
        "before another": _stock(runtime, path, [part, full]),
        "behind another": _stock(runtime, path, [full, part]),
        "with custom operators": _stock(
            runtime, path, [part], kind=module.InterpreterWithCustomOps, custom_op_registerers=[lambda _resolver: None]
        ),
    }
    return {name: feed(interpreter, inputs) for name, interpreter in interpreters.items()}


def named_tensors(
    runtime: str, path: Path, inputs: np.ndarray, *, fuse: bool | None = None, nested: bool = True, stock: bool = False
) -> dict[str, np.ndarray | None]:
    """Every tensor with a name, by that name, when all are to be kept; None of those that cannot be read."""
    options = {"experimental_preserve_all_tensors": True, **builtin_kernels(runtime)}
    if not nested:
        interpreter = load_runtime(runtime).interpreter(str(path), **options)
    elif stock:
        interpreter = _stock(runtime, path, [("full", bool(fuse))], **options)
    else:
        interpreter = open_nested(runtime, path, fuse=fuse, **options)
    interpreter.allocate_tensors()
    feed(interpreter, inputs)
    found: dict[str, np.ndarray | None] = {}
    for detail in interpreter.get_tensor_details():
        if not detail["name"]:  # a temporary of one kernel
            continue
        try:
            found[detail["name"]] = np.array(interpreter.get_tensor(detail["index"]))
        except ValueError:
            found[detail["name"]] = None
    return found


class OpResolverType(enum.Enum):
    """As another runtime would have it."""

    AUTO = 0


def error_of(runtime: str, path: Path, **options: Any) -> str:
    """What an interpreter with these options says."""
    try:
        open_nested(runtime, path, **options)
    except nq.NqError as error:
        return str(error)
    return "nothing"


def _option_sets(runtime: str) -> dict[str, dict[str, Any]]:
    """A new runtime's new switches come by themselves."""
    resolvers = type(builtin_kernels(runtime)["experimental_op_resolver_type"])
    sets: dict[str, dict[str, Any]] = {"none": {}, "num_threads=2": {"num_threads": 2}}
    sets |= {each.name: {"experimental_op_resolver_type": each} for each in resolvers}
    parameters = inspect.signature(load_runtime(runtime).interpreter).parameters.values()
    switches = {each.name: True for each in parameters if each.default is False}
    return sets | {name: {name: True} for name in switches} | {"all switches": switches}


def _stock(runtime: str, path: Path, delegates: list[tuple[str, bool]], *, kind: Any = None, **options: Any) -> Any:
    """The stock interpreter, or another kind, allocated, with delegates of these precisions, fused or not."""
    loaded = [
        load_runtime(runtime).load_delegate(str(library_path()), {"precision": precision, "fuse": str(int(fuse))})
        for precision, fuse in delegates
    ]
    kind = kind or load_runtime(runtime).interpreter
    interpreter = kind(model_path=str(path), experimental_delegates=loaded, **options)
    interpreter.allocate_tensors()
    return interpreter
