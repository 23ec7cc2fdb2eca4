"""What tests do inside a process that has one stock runtime; every job's first argument is the runtime's name.

Here: opening models, feeding them and collecting outputs. By subject: switching_jobs, delegation_jobs, compiled_jobs.
"""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import nq_tflite as nq
from nq_tflite.device import native
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.device.switching import SwitchingModel

warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")


# ---- opening models --------------------------------------------------------------------------------------------------


def builtin_kernels(runtime: str) -> dict[str, Any]:
    """Options that keep XNNPACK out."""
    module = __import__(load_runtime(runtime).interpreter.__module__, fromlist=["OpResolverType"])
    return {"experimental_op_resolver_type": module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


def open_nested(runtime: str, source: Path | bytes, **options: Any) -> nq.Interpreter:
    """A model by path or by content, without the warning that content cannot page."""
    key = "model_content" if isinstance(source, bytes) else "model_path"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nq.Interpreter(**{key: source}, runtime=runtime, **options)


@contextmanager
def isa_forced(isa: str) -> Iterator[bool]:
    """Whether the machine has the instruction set that is forced meanwhile; "" forces none."""
    with mock.patch.dict(os.environ, {"NQ_ISA": isa}):
        yield bool(native.load_library().nq_isa())


# ---- feeding them ----------------------------------------------------------------------------------------------------


def feed(interpreter: Any, inputs: np.ndarray) -> np.ndarray:
    """Outputs for each input, run one by one."""
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for x in inputs:
        interpreter.set_tensor(source["index"], x[None].astype(source["dtype"]))
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_tensor(sink["index"])[0]))
    return np.array(outputs)


def feed_batch(interpreter: Any, inputs: np.ndarray) -> list[np.ndarray]:
    """Every output for all inputs in one batch, to whose shape the model is resized."""
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, inputs)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(sink["index"])) for sink in interpreter.get_output_details()]


def at_each(model: SwitchingModel, precisions: Sequence[Any]) -> Iterator[Any]:
    """The precisions, each once the model has switched to it."""
    for precision in precisions:
        model.precision = precision
        yield precision


def made_up(shape: tuple[int, ...], seed: list[int]) -> np.ndarray:
    """Waves with some noise on them, mostly within [-1, 1]."""
    rng = np.random.default_rng(seed)
    waves = np.sin(np.arange(np.prod(shape, dtype=int)) * rng.uniform(0, 2)).reshape(shape)
    return 0.8 * waves + rng.normal(0, 0.1, shape)


# ---- jobs ------------------------------------------------------------------------------------------------------------


def run_stock(runtime: str, path: Path, inputs: np.ndarray, *, threads: int = 1, builtin: bool = True) -> np.ndarray:
    """A stock model's outputs under the runtime's own Interpreter."""
    options = builtin_kernels(runtime) if builtin else {}
    interpreter = load_runtime(runtime).interpreter(str(path), num_threads=threads, **options)
    interpreter.allocate_tensors()
    return feed(interpreter, inputs)


def run_nested(
    runtime: str,
    source: Path | bytes,
    inputs: np.ndarray,
    precisions: Sequence[Any],
    *,
    threads: int = 1,
    builtin: bool = True,
    fuse: bool | None = None,
) -> list[np.ndarray]:
    """A nested model's outputs at each of the precisions in turn, in one interpreter.

    `builtin`: unpacked for the runtime's builtin kernels; otherwise fused unless told not to, and XNNPACK for the rest.
    """
    options = builtin_kernels(runtime) | {"fuse": False} if builtin else {"fuse": fuse}
    interpreter = open_nested(runtime, source, num_threads=threads, **options)
    interpreter.allocate_tensors()
    return [feed(interpreter, inputs) for _ in at_each(interpreter, precisions)]


def all_outputs(
    runtime: str,
    path: Path,
    inputs: np.ndarray,
    *,
    precision: Any = None,
    threads: int = 1,
    isa: str = "",
    fuse: bool = True,
) -> list[np.ndarray]:
    """Every output of a stock model (no precision) or of a nested one, XNNPACK on; [] if the machine lacks the ISA."""
    with isa_forced(isa) as has_isa:
        if not has_isa:
            return []
        if precision is None:
            interpreter = load_runtime(runtime).interpreter(str(path), num_threads=threads)
        else:
            interpreter = nq.Interpreter(path, runtime=runtime, precision=precision, num_threads=threads, fuse=fuse)
    return feed_batch(interpreter, inputs)


def in_batches(runtime: str, path: Path, inputs: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs by precision, of the inputs one by one and in one batch, switched in one interpreter."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True)
    interpreter.allocate_tensors()
    single = {precision: feed(interpreter, inputs) for precision in at_each(interpreter, ("full", "part"))}
    feed_batch(interpreter, inputs)  # from here on no switch meets a new allocation
    batch: dict[str, np.ndarray] = {}
    for precision in at_each(interpreter, ("part", "full")):
        interpreter.invoke()
        batch[precision] = np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return single, batch


def run_sequence(
    runtime: str,
    path: Path,
    precisions: Sequence[Any] = (),
    *,
    steps: int = 8,
    shape: tuple[int, ...] | None = None,
    fuse: bool = True,
    builtin: bool = False,
) -> list[list[np.ndarray]]:
    """Every output at each step of a sequence of made-up inputs: of a stock model, or of a nested one that goes through
    these precisions in turn. Variables start as the file has them."""
    options = builtin_kernels(runtime) if builtin else {}
    if precisions:
        interpreter = nq.Interpreter(path, runtime=runtime, num_threads=1, fuse=fuse, **options)
    else:
        interpreter = load_runtime(runtime).interpreter(str(path), num_threads=1, **options)
    sources = interpreter.get_input_details()
    if shape is not None:
        interpreter.resize_tensor_input(sources[0]["index"], shape)
        sources = [sources[0] | {"shape": shape}, *sources[1:]]
    interpreter.allocate_tensors()
    outputs = []
    for step in range(steps):
        if precisions:
            interpreter.precision = precisions[step % len(precisions)]
        for number, source in enumerate(sources):
            values = made_up(tuple(source["shape"]), [step, number, 1])
            if source["dtype"] != np.float32:
                values = np.clip(127 * values, -128, 127)
            interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
        interpreter.invoke()
        outputs.append([np.array(interpreter.get_tensor(sink["index"])) for sink in interpreter.get_output_details()])
    return outputs


def run_signatures(runtime: str, path: Path, x: np.ndarray, *, fuse: bool) -> dict[str, dict[str, np.ndarray]]:
    """Every signature's output "y" at part-bit and at full-bit."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=fuse)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    return {
        precision: {name: np.array(runner(x=x)["y"]) for name, runner in runners.items()}
        for precision in at_each(interpreter, ("full", "part"))
    }


def run_first_signature(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """The one output of the only signature at both precisions, and what stays resident of the residual at part-bit."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    runner = interpreter.get_signature_runner()
    name = next(iter(runner.get_input_details()))
    found: dict[str, Any] = {}
    for precision in at_each(interpreter, ("full", "part")):
        [found[precision]] = (np.array(value) for value in runner(**{name: inputs}).values())
        found[f"resident after {precision}"] = interpreter.resident_bytes(1)
    return found


def tensor_after_weight(runtime: str, path: Path, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The output of the operator that reads the (only) weight of that shape."""
    interpreter = load_runtime(runtime).interpreter(
        str(path), experimental_preserve_all_tensors=True, **builtin_kernels(runtime)
    )
    interpreter.allocate_tensors()
    feed(interpreter, x[None])
    weights = {d["index"] for d in interpreter.get_tensor_details() if tuple(d["shape"]) == shape}
    operator = next(o for o in interpreter._get_ops_details() if weights & set(map(int, o["inputs"])))
    return np.array(interpreter.get_tensor(int(operator["outputs"][0]))).astype(np.float32)


def every_tensor(runtime: str, path: Path, inputs: np.ndarray) -> dict[int, np.ndarray]:
    """Each tensor that a batch of inputs gives, by index; constants among them."""
    interpreter = load_runtime(runtime).interpreter(
        str(path), experimental_preserve_all_tensors=True, **builtin_kernels(runtime)
    )
    feed_batch(interpreter, inputs)
    # Temporaries of single kernels have no name.
    return {
        d["index"]: np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_tensor_details() if d["name"]
    }


def run_stock_through_nq(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """A stock model under nq.Interpreter, and what a switch says."""
    interpreter = nq.Interpreter(path, runtime=runtime, **builtin_kernels(runtime))
    interpreter.allocate_tensors()
    try:
        interpreter.precision = "part"
        message = ""
    except nq.NqError as error:
        message = str(error)
    return {
        "outputs": feed(interpreter, inputs),
        "levels": interpreter.levels,
        "can_page": interpreter.can_page,
        "resident": interpreter.resident_bytes(),
        "error": message,
    }


def every_public_call(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Uses the whole of tf.lite.Interpreter's surface."""
    interpreter = nq.Interpreter(path, runtime=runtime, precision="part", num_threads=2)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    single = feed(interpreter, inputs[:1])
    interpreter.tensor(source["index"])()[:] = inputs[:1]
    interpreter.invoke()
    by_tensor = np.array(interpreter.tensor(sink["index"])())
    runner = interpreter.get_signature_runner()
    by_signature = next(iter(runner(**{next(iter(runner.get_input_details())): inputs[:1]}).values()))
    del runner  # the stock Interpreter, too, refuses to resize while a runner holds its internals
    interpreter.resize_tensor_input(source["index"], [len(inputs), *inputs.shape[1:]], strict=True)
    interpreter.allocate_tensors()
    interpreter.reset_all_variables()
    interpreter.set_tensor(source["index"], inputs)
    interpreter.invoke()
    batch = interpreter.get_tensor(sink["index"])
    native = set(dir(load_runtime(runtime).interpreter))
    return {
        "single": single,
        "tensor()": by_tensor,
        "signature": by_signature,
        "batch": batch,
        "signatures": interpreter.get_signature_list(),
        "tensors": len(interpreter.get_tensor_details()),
        "missing": sorted(n for n in native if not n.startswith("_") and not hasattr(interpreter, n)),
        "precision": interpreter.precision,
        "levels": interpreter.levels,
        "runtime": interpreter.runtime,
    }


def shown_and_closed(runtime: str, path: Path, stock: Path) -> dict[str, Any]:
    """What an interpreter is called, what a switch says, and what is left after the end of a `with` block."""
    seen: dict[str, Any] = {"stock": repr(nq.Interpreter(stock, runtime=runtime))}
    with nq.Interpreter(path, runtime=runtime, precision="part") as interpreter:
        interpreter.allocate_tensors()
        seen["open"], seen["before"] = repr(interpreter), interpreter.resident_bytes()
        seen["switch"], seen["delegation"] = str(interpreter.switch("full")), str(interpreter.delegation)
        seen["pickled"] = _message(lambda: pickle.dumps(interpreter))
        seen["copied"] = [_message(lambda each=each: each(interpreter)) for each in (copy.copy, copy.deepcopy)]
    interpreter.close()
    seen["closed"] = repr(interpreter)
    seen["after"] = [
        _message(call)
        for call in (interpreter.invoke, interpreter.get_input_details, lambda: interpreter.switch("part"))
    ]
    return seen


def _message(call: Callable[[], Any]) -> str:
    try:
        call()
    except nq.NqError as error:
        return str(error)
    return "no error"


def error_of(runtime: str, source: Path | bytes, **options: Any) -> tuple[str, str]:
    """Type and message of the error that opening and allocating a model gives; ("", "") if none."""
    try:
        open_nested(runtime, source, **options).allocate_tensors()
    except nq.NqError as error:
        return type(error).__name__, str(error)
    return "", ""


def error_then_output(
    runtime: str, path: Path, bad: np.ndarray, good: np.ndarray, *, fuse: bool
) -> tuple[str, np.ndarray]:
    """The message of an invocation that fails, "" if it does not, and the first output of one with other inputs."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=fuse)
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, bad.shape)
    interpreter.allocate_tensors()
    message = ""
    interpreter.set_tensor(source, bad)
    try:
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        message = str(error)
    interpreter.set_tensor(source, good)
    interpreter.invoke()
    return message, np.array(interpreter.get_tensor(sink))
