"""Jobs with nq.CompiledModel in a process of ai-edge-litert."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from jobs import at_each, isa_forced
from switching_jobs import kept_switching, toggled

import nq_tflite as nq


class Compiled:
    """A model under nq.CompiledModel with its first signature's buffers: one input, one output."""

    def __init__(self, model: nq.CompiledModel) -> None:
        self.model = model
        self.key = next(iter(model.get_signature_list()))
        self.inputs, self.outputs = model.create_input_buffers(0), model.create_output_buffers(0)

    def feed(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs for each input, run one by one."""
        [source] = self.model.get_input_tensor_details(self.key).values()
        [sink] = self.model.get_output_tensor_details(self.key).values()
        outputs = []
        for x in inputs:
            self.inputs[0].write(x[None].astype(source["dtype"]))
            self.model.run_by_index(0, self.inputs, self.outputs)
            read = self.outputs[0].read(int(np.prod(sink["shape"])), np.dtype(sink["dtype"]))
            outputs.append(np.array(read).reshape(sink["shape"])[0])
        return np.array(outputs)


def compiled_options(kernels: str, threads: int) -> Any:
    """LiteRT's options: "xnnpack", "builtin" or "reference" kernels for what nq_tflite leaves."""
    from ai_edge_litert.cpu_kernel_mode import CpuKernelMode
    from ai_edge_litert.options import CpuOptions, Options

    return Options(cpu_options=CpuOptions(num_threads=threads, kernel_mode=CpuKernelMode[kernels.upper()]))


def run_compiled(
    runtime: str,
    source: Path | bytes,
    inputs: np.ndarray,
    precisions: Sequence[Any],
    *,
    kernels: str = "xnnpack",
    threads: int = 1,
    fuse: bool | None = None,
) -> list[np.ndarray]:
    """A nested model's outputs at each of the precisions in turn, in one nq.CompiledModel."""
    make = nq.CompiledModel.from_buffer if isinstance(source, bytes) else nq.CompiledModel.from_file
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = Compiled(make(source, options=compiled_options(kernels, threads), fuse=fuse))
    return [compiled.feed(inputs) for _ in at_each(compiled.model, precisions)]


def toggle_compiled(runtime: str, path: Path, inputs: np.ndarray, times: int) -> dict[str, Any]:
    """Switches full -> part -> full many times in an nq.CompiledModel; says what was seen, delegation included."""
    compiled = Compiled(nq.CompiledModel.from_file(path))
    seen = toggled(compiled.model, lambda: compiled.feed(inputs), times)
    return seen | {"delegation": compiled.model.delegation}


def switch_compiled_while_running(runtime: str, path: Path, inputs: np.ndarray, runs: int) -> dict[str, Any]:
    """Runs in one thread and switches in another, which must wait for Python's lock."""
    compiled = Compiled(nq.CompiledModel.from_file(path))
    levels = compiled.model.levels
    legal = {compiled.feed(inputs[:1]).tobytes() for _ in at_each(compiled.model, levels)}
    with kept_switching(compiled.model, itertools.cycle((level, 0.0002) for level in levels)):
        outputs = {compiled.feed(inputs[:1]).tobytes() for _ in range(runs)}
    return {"outputs": outputs, "legal": legal}


def every_compiled_call(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Uses the surface of LiteRT's CompiledModel."""
    from ai_edge_litert.compiled_model import CompiledModel

    with nq.CompiledModel.from_file(path, precision="part") as model:
        compiled = Compiled(model)
        single = compiled.feed(inputs)
        [source], [sink] = (model.get_signature_list()[compiled.key][each] for each in ("inputs", "outputs"))
        given = {source: model.create_input_buffer_by_name(compiled.key, source)}
        taken = {sink: model.create_output_buffer_by_name(compiled.key, sink)}
        given[source].write(inputs[:1])
        model.run_by_name(compiled.key, given, taken)
        by_name = taken[sink].read(single[0].size, single.dtype)
        shared = Compiled(nq.CompiledModel.from_file(path, precision="part", environment=model.environment))
        model.resize_input_tensor(0, inputs.shape, strict=False)
        given[source] = model.create_input_buffer_by_name(compiled.key, source)
        taken[sink] = model.create_output_buffer_by_name(compiled.key, sink)
        given[source].write(inputs)
        model.run_by_name(compiled.key, given, taken)
        return {
            "single": single,
            "by name": by_name,
            "batch": np.array(taken[sink].read(single.size, single.dtype)).reshape(single.shape),
            "shared": shared.feed(inputs),
            "missing": sorted(n for n in dir(CompiledModel) if not n.startswith("_") and not hasattr(model, n)),
            "precision": model.precision,
            "levels": model.levels,
            "runtime": model.runtime,
            "accelerated": model.is_fully_accelerated(),
        }


def threads_of_compiled(runtime: str, path: Path, inputs: np.ndarray, threads: int) -> int:
    """How many threads a model brings, with no XNNPACK to bring its own."""
    before = len(list(Path("/proc/self/task").iterdir()))
    compiled = Compiled(nq.CompiledModel.from_file(path, options=compiled_options("builtin", threads)))
    compiled.feed(inputs[:1])
    return len(list(Path("/proc/self/task").iterdir())) - before


def error_of_compiled(runtime: str, source: Path | bytes, *, isa: str = "", **options: Any) -> tuple[str, str]:
    """Type and message of the error that compiling a model gives; ("", "") if none."""
    make = nq.CompiledModel.from_buffer if isinstance(source, bytes) else nq.CompiledModel.from_file
    with isa_forced(isa), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            make(source, **options)
        except nq.NqError as error:
            return type(error).__name__, str(error)
    return "", ""


def error_in_a_stock_environment(runtime: str, path: Path) -> tuple[str, str]:
    """As `error_of_compiled`, with an environment of LiteRT's own."""
    from ai_edge_litert.environment import Environment

    return error_of_compiled(runtime, path, environment=Environment.create())


def run_stock_compiled(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """A stock model under nq.CompiledModel, and what a switch says."""
    compiled = Compiled(nq.CompiledModel.from_file(path))
    try:
        compiled.model.precision = "part"
        message = ""
    except nq.NqError as error:
        message = str(error)
    return {"outputs": compiled.feed(inputs), "levels": compiled.model.levels, "error": message}


def warnings_of_compiled(runtime: str, content: bytes) -> list[tuple[str, str]]:
    """Texts and files of the warnings that compiling bytes gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nq.CompiledModel.from_buffer(content)
    return [(str(warning.message), Path(warning.filename).name) for warning in caught]


def compiled_without_litert(runtime: str, path: Path) -> tuple[str, str]:
    """What nq.CompiledModel says where ai-edge-litert is not installed."""
    found = importlib.util.find_spec
    with mock.patch("importlib.util.find_spec", lambda name: None if name == "ai_edge_litert" else found(name)):
        return error_of_compiled(runtime, path)


def profiled(runtime: str, path: Path, inputs: np.ndarray) -> tuple[nq.Profile, nq.Profile]:
    """The times of the layers at full-bit and at part-bit, after an invocation for each input at full-bit."""
    compiled = Compiled(nq.CompiledModel.from_file(path, fuse=True, profile=True))
    compiled.feed(inputs)
    return compiled.model.profile("full"), compiled.model.profile("part")
