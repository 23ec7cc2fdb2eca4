"""What the interpreter tests do inside a process that has one stock runtime; every job's first argument is its name."""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import mmap
import os
import struct
import threading
import time
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import nq_tflite as nq
from nq_tflite import native
from nq_tflite.nested import read_nested
from nq_tflite.runtimes import load_runtime

warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")


def builtin_kernels(runtime: str) -> dict[str, Any]:
    """Options that keep XNNPACK out."""
    module = __import__(load_runtime(runtime).interpreter.__module__, fromlist=["OpResolverType"])
    return {"experimental_op_resolver_type": module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}


def feed(interpreter: Any, inputs: np.ndarray) -> np.ndarray:
    """Outputs for each input, run one by one."""
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    outputs = []
    for x in inputs:
        interpreter.set_tensor(source["index"], x[None].astype(source["dtype"]))
        interpreter.invoke()
        outputs.append(np.array(interpreter.get_tensor(sink["index"])[0]))
    return np.array(outputs)


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
) -> list[np.ndarray]:
    """A nested model's outputs at each of the precisions in turn, in one interpreter.

    `builtin`: unpacked for the runtime's builtin kernels; otherwise fused, and XNNPACK for the rest.
    """
    options = builtin_kernels(runtime) | {"fuse": False} if builtin else {}
    arguments = {"model_content": source} if isinstance(source, bytes) else {"model_path": source}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        interpreter = nq.Interpreter(**arguments, runtime=runtime, num_threads=threads, **options)
    interpreter.allocate_tensors()
    outputs = []
    for precision in precisions:
        interpreter.precision = precision
        outputs.append(feed(interpreter, inputs))
    return outputs


def run_unpacked_with_xnnpack(
    runtime: str, path: Path, inputs: np.ndarray, precisions: Sequence[Any]
) -> list[np.ndarray]:
    """As `run_nested`, with XNNPACK for what it takes of a graph whose weights are unpacked."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=False)
    interpreter.allocate_tensors()
    outputs = []
    for precision in precisions:
        interpreter.precision = precision
        outputs.append(feed(interpreter, inputs))
    return outputs


def bytes_inside(archive: Path, offset: int, size: int) -> bytes:
    """A bytes object whose bytes are a shared mapping of a part of a file, as an Android app's model buffer is.

    Python's runtimes take nothing else as a model in memory. The object's head must lie before its bytes: in the page
    where they start, of which a private copy is mapped over the shared one.
    """
    head = struct.pack("nPnn", 1 << 30, id(bytes), size, -1)  # references (never freed), type, length, no hash yet
    file_start = (offset - len(head)) // mmap.PAGESIZE * mmap.PAGESIZE
    private = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE - file_start
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] + [ctypes.c_int] * 3, ctypes.c_long]
    with archive.open("rb") as file:
        arguments = (mmap.PROT_READ, mmap.MAP_SHARED, file.fileno(), file_start)
        address = libc.mmap(None, offset + size - file_start, *arguments)
        fixed, writable = 0x10, mmap.PROT_READ | mmap.PROT_WRITE
        libc.mmap(address, private, writable, mmap.MAP_PRIVATE | fixed, file.fileno(), file_start)
    start = address + offset - file_start - len(head)
    ctypes.memmove(start, head, len(head))
    content = ctypes.cast(start, ctypes.py_object).value
    assert isinstance(content, bytes)
    return content


def run_inside_archive(
    runtime: str, archive: Path, offset: int, size: int, inputs: np.ndarray, precisions: Sequence[Any]
) -> list[tuple[np.ndarray, int, bool]]:
    """Outputs, resident bytes and pageability at each precision of a model that is a part of a file."""
    interpreter = nq.Interpreter(model_content=bytes_inside(archive, offset, size), runtime=runtime)
    interpreter.allocate_tensors()
    results = []
    for precision in precisions:
        interpreter.precision = precision
        results.append((feed(interpreter, inputs), interpreter.resident_bytes(), interpreter.can_page))
    return results


def toggle(runtime: str, path: Path, inputs: np.ndarray, times: int) -> dict[str, Any]:
    """Switches full -> part -> full many times; says which outputs and residencies were seen."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    interpreter.allocate_tensors()
    seen: dict[str, set[Any]] = {
        "full": set(),
        "part": set(),
        "resident full": set(),
        "resident part": set(),
        "moved": set(),
    }
    for _ in range(times):
        for precision in ("part", "full"):
            seen["moved"].add(interpreter.switch(precision).bytes_moved)
            seen[precision].add(feed(interpreter, inputs).tobytes())
            seen[f"resident {precision}"].add(interpreter.resident_bytes(1))
    return seen | {"size": interpreter.level_bytes(1)}


def switch_while_running(
    runtime: str, path: Path, inputs: np.ndarray, seconds: float, *, fuse: bool | None = None
) -> dict[str, Any]:
    """Invokes in one thread and switches in another."""
    interpreter = nq.Interpreter(path, runtime=runtime, num_threads=2, fuse=fuse)
    interpreter.allocate_tensors()
    stop, switches = threading.Event(), [0]

    def keep_switching() -> None:
        rng = np.random.default_rng(1)
        while not stop.is_set():
            interpreter.precision = int(rng.choice(interpreter.levels))
            switches[0] += 1
            time.sleep(float(rng.uniform(0, 0.0005)))

    thread = threading.Thread(target=keep_switching)
    thread.start()
    outputs: dict[bytes, int] = {}
    runs, end = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            key = feed(interpreter, inputs[:1]).tobytes()
            outputs[key] = outputs.get(key, 0) + 1
            runs += 1
    finally:
        stop.set()
        thread.join()
    legal = {}
    for precision in interpreter.levels:
        interpreter.precision = precision
        legal[precision] = feed(interpreter, inputs[:1]).tobytes()
    return {"outputs": outputs, "legal": legal, "switches": switches[0], "runs": runs}


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


def error_of(runtime: str, source: Path | bytes, **options: Any) -> tuple[str, str]:
    """Type and message of the error that opening and allocating a model gives; ("", "") if none."""
    try:
        key = "model_content" if isinstance(source, bytes) else "model_path"
        nq.Interpreter(**{key: source}, runtime=runtime, **options).allocate_tensors()
    except nq.NqError as error:
        return type(error).__name__, str(error)
    return "", ""


def upgrade_damaged(runtime: str, path: Path, whole: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Starts part-bit on a file whose residual has not arrived, fails to upgrade, then upgrades once it has."""
    interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
    interpreter.allocate_tensors()
    before = feed(interpreter, inputs)
    try:
        interpreter.precision = "full"
        message = ""
    except nq.NqError as error:
        message = str(error)
    after, precision = feed(interpreter, inputs), interpreter.precision
    with path.open("r+b") as file:  # in place: the mapping sees it
        file.write(whole.read_bytes())
    interpreter.precision = "full"
    return {
        "message": message,
        "before": before,
        "after": after,
        "precision": precision,
        "full": feed(interpreter, inputs),
    }


def paging_of_content(runtime: str, content: bytes) -> dict[str, Any]:
    """What a model loaded from bytes says of paging."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        interpreter = nq.Interpreter(model_content=content, runtime=runtime)
    interpreter.allocate_tensors()
    switch = interpreter.switch("part")
    return {
        "warnings": [str(w.message) for w in caught if "page" in str(w.message)],
        "can_page": interpreter.can_page,
        "moved": switch.bytes_moved,
        "bits": (switch.from_bits, switch.to_bits),
    }


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
    source = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(source, inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source, inputs)
    interpreter.invoke()
    # Temporaries of single kernels have no name.
    return {
        d["index"]: np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_tensor_details() if d["name"]
    }


def run_signatures(runtime: str, path: Path, x: np.ndarray, *, fuse: bool) -> dict[str, dict[str, np.ndarray]]:
    """Every signature's output "y" at part-bit and at full-bit."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=fuse)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    found: dict[str, dict[str, np.ndarray]] = {}
    for precision in ("full", "part"):
        interpreter.precision = precision
        found[precision] = {name: np.array(runner(x=x)["y"]) for name, runner in runners.items()}
    return found


def run_first_signature(runtime: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """The one output of the only signature at both precisions, and what stays resident of the residual at part-bit."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    runner = interpreter.get_signature_runner()
    found: dict[str, Any] = {}
    for precision in ("full", "part"):
        interpreter.precision = precision
        [found[precision]] = (
            np.array(value) for value in runner(**{next(iter(runner.get_input_details())): inputs}).values()
        )
        found[f"resident after {precision}"] = interpreter.resident_bytes(1)
    return found


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
    with mock.patch.dict(os.environ, {"NQ_ISA": isa}):
        if not native.load_library().nq_isa():
            return []
        if precision is None:
            interpreter = load_runtime(runtime).interpreter(str(path), num_threads=threads)
        else:
            interpreter = nq.Interpreter(path, runtime=runtime, precision=precision, num_threads=threads, fuse=fuse)
    source = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(source["index"], inputs.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(source["index"], inputs)
    interpreter.invoke()
    return [np.array(interpreter.get_tensor(d["index"])) for d in interpreter.get_output_details()]


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


def prepare_for(runtime: str, path: Path, shape: tuple[int, ...]) -> None:
    """Resizes the input; XNNPACK, which would be the first to complain, is kept out."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True, **builtin_kernels(runtime))
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], shape)
    interpreter.allocate_tensors()


def delegation(
    runtime: str, source: Path | bytes, *, isa: str = "", batches: Sequence[int] = (1,), **options: Any
) -> list[nq.Delegation]:
    """What runs where, after an invocation of each batch in turn; [] if the machine lacks the ISA."""
    key = "model_content" if isinstance(source, bytes) else "model_path"
    with mock.patch.dict(os.environ, {"NQ_ISA": isa}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if not native.load_library().nq_isa():
            return []
        interpreter = nq.Interpreter(**{key: source}, runtime=runtime, **options)
    details = interpreter.get_input_details()[0]
    found = []
    for batch in batches:
        shape = [batch, *details["shape"][1:]]
        interpreter.resize_tensor_input(details["index"], shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(details["index"], np.zeros(shape, details["dtype"]))
        interpreter.invoke()
        found.append(interpreter.delegation)
    return found


def allocated_weights(runtime: str, path: Path, *, fuse: bool) -> int:
    """How many weight tensors the runtime has given memory."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=fuse)
    interpreter.allocate_tensors()
    interpreter.invoke()
    names = {weight.name for weight in read_nested(path).weights}
    allocated = 0
    for detail in interpreter.get_tensor_details():
        if detail["name"] in names:
            try:
                interpreter.get_tensor(detail["index"])
                allocated += 1
            except ValueError:
                pass
    return allocated


def is_one_partition(runtime: str, path: Path) -> bool:
    """Whether the delegate runs the whole graph as one node: from its inputs to all of its outputs."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True, **builtin_kernels(runtime))
    interpreter.allocate_tensors()
    operators = interpreter._get_ops_details()
    delegates = [o for o in operators if o["op_name"] in ("DELEGATE", "NqPartition")]
    computed = {int(t) for o in operators for t in o["outputs"]}
    if len(delegates) != 1 or computed & set(map(int, delegates[0]["inputs"])):
        return False
    return {int(d["index"]) for d in interpreter.get_output_details()} <= set(map(int, delegates[0]["outputs"]))


def govern(runtime: str, paths: Sequence[Path], inputs: np.ndarray, seconds: float) -> dict[str, Any]:
    """Models that run under a governor whose budget swings at random; counts what must not happen."""
    models = {str(path): nq.Interpreter(path, runtime=runtime) for path in paths}
    legal: dict[str, set[bytes]] = {name: set() for name in models}
    for name, model in models.items():
        model.allocate_tensors()
        for bits in model.levels:
            model.precision = bits
            legal[name].add(feed(model, inputs).tobytes())
    sizes = [sum(model.level_bytes(level) for level in range(len(model.levels))) for model in models.values()]
    base = sum(model.level_bytes(0) for model in models.values())
    counts = {"switches": 0, "over budget": 0, "foreign outputs": 0}
    rng, end = np.random.default_rng(3), time.monotonic() + seconds

    def count(made: nq.GovernedSwitch) -> None:
        counts["switches"] += 1

    policy = nq.Policy("budget", dwell_seconds=0, interval_seconds=0.001)
    with nq.Governor(models, policy, on_switch=count) as governor:
        while time.monotonic() < end:
            governor.budget_bytes = budget = int(rng.integers(base, sum(sizes) + 1))
            for name, model in models.items():
                counts["foreign outputs"] += feed(model, inputs).tobytes() not in legal[name]
            held = sum(
                sum(model.level_bytes(level) for level in range(model.levels.index(model.precision) + 1))
                for model in models.values()
            )
            counts["over budget"] += held > budget
        governor.budget_bytes = None
        time.sleep(0.05)
    return counts | {"at the end": tuple(model.precision for model in models.values())}


def run_while_receiving(runtime: str, url: str, path: Path, inputs: np.ndarray) -> dict[str, Any]:
    """Runs part-bit from the moment that level 0 has arrived, and switches up as levels arrive."""
    found: dict[str, Any] = {"refused": {}, "levels": [], "precisions": [], "outputs": []}
    opened: list[nq.Interpreter] = []
    stop, seen = threading.Event(), set()

    def keep_running() -> None:
        interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
        interpreter.allocate_tensors()
        opened.append(interpreter)
        for precision in ("6", "8"):
            try:
                interpreter.precision = precision
            except nq.NqError as error:
                found["refused"][precision] = type(error).__name__
        urllib.request.urlopen(url.replace("/model.tflite", "/release")).close()
        while not (stop.is_set() and seen):
            seen.add(feed(interpreter, inputs[:1]).tobytes())

    thread = threading.Thread(target=keep_running)

    def on_level(arrived: nq.ArrivedLevel) -> None:
        found["levels"].append(arrived.bits)
        if arrived.level == 0:
            thread.start()

    nq.receive(url, path, on_level=on_level)
    stop.set()
    thread.join()
    for precision in opened[0].levels:
        opened[0].precision = precision
        found["precisions"].append(opened[0].precision)
        found["outputs"].append(feed(opened[0], inputs))
    found["only part-bit"] = seen == {found["outputs"][0][:1].tobytes()}
    return found


def join_while_running(runtime: str, path: Path, upgrades: list[Path], inputs: np.ndarray) -> dict[str, Any]:
    """Joins upgrades into the file that an interpreter runs, each after a switch to it was refused."""
    interpreter = nq.Interpreter(path, runtime=runtime, precision="part")
    interpreter.allocate_tensors()
    refused, outputs = [], [feed(interpreter, inputs)]
    for bits, upgrade in zip(interpreter.levels[1:], upgrades, strict=True):
        try:
            interpreter.precision = bits
        except nq.NqError as error:
            refused.append(type(error).__name__)
        nq.join(path, [upgrade], path)
        interpreter.precision = bits
        outputs.append(feed(interpreter, inputs))
    return {"refused": refused, "outputs": outputs}


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
    outputs = []
    for precision in precisions:
        compiled.model.precision = precision
        outputs.append(compiled.feed(inputs))
    return outputs


def toggle_compiled(runtime: str, path: Path, inputs: np.ndarray, times: int) -> dict[str, Any]:
    """Switches full -> part -> full many times in an nq.CompiledModel; says what was seen, delegation included."""
    compiled = Compiled(nq.CompiledModel.from_file(path))
    model = compiled.model
    seen: dict[str, set[Any]] = {"full": set(), "part": set(), "resident full": set(), "resident part": set()}
    moved = set()
    for _ in range(times):
        for precision in ("part", "full"):
            moved.add(model.switch(precision).bytes_moved)
            seen[precision].add(compiled.feed(inputs).tobytes())
            seen[f"resident {precision}"].add(model.resident_bytes(1))
    return seen | {"moved": moved, "size": model.level_bytes(1), "delegation": model.delegation}


def switch_compiled_while_running(runtime: str, path: Path, inputs: np.ndarray, runs: int) -> dict[str, Any]:
    """Runs in one thread and switches in another, which must wait for Python's lock."""
    compiled = Compiled(nq.CompiledModel.from_file(path))
    legal = {}
    for precision in compiled.model.levels:
        compiled.model.precision = precision
        legal[precision] = compiled.feed(inputs[:1]).tobytes()
    stop = threading.Event()

    def keep_switching() -> None:
        for precision in itertools.cycle(compiled.model.levels):
            if stop.is_set():
                return
            compiled.model.precision = precision
            time.sleep(0.0002)

    thread = threading.Thread(target=keep_switching)
    thread.start()
    try:
        outputs = {compiled.feed(inputs[:1]).tobytes() for _ in range(runs)}
    finally:
        stop.set()
        thread.join()
    return {"outputs": outputs, "legal": set(legal.values())}


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
    with mock.patch.dict(os.environ, {"NQ_ISA": isa}), warnings.catch_warnings():
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
