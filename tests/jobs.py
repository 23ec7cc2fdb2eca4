"""What the interpreter tests do inside a process that has one stock runtime; every job's first argument is its name."""

from __future__ import annotations

import os
import threading
import time
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


def switch_while_running(runtime: str, path: Path, inputs: np.ndarray, seconds: float) -> dict[str, Any]:
    """Invokes in one thread and switches in another."""
    interpreter = nq.Interpreter(path, runtime=runtime, num_threads=2)
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
        interpreter.resize_tensor_input(details["index"], [batch, *details["shape"][1:]])
        interpreter.allocate_tensors()
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


def in_batches(runtime: str, path: Path, inputs: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs by precision, of the inputs one by one and in one batch, switched in one interpreter."""
    interpreter = nq.Interpreter(path, runtime=runtime, fuse=True)
    source, sink = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.allocate_tensors()
    single: dict[str, np.ndarray] = {}
    for precision in ("full", "part"):
        interpreter.precision = precision
        single[precision] = feed(interpreter, inputs)
    interpreter.resize_tensor_input(source["index"], inputs.shape)
    interpreter.allocate_tensors()
    batch: dict[str, np.ndarray] = {}
    for precision in ("part", "full"):
        interpreter.precision = precision
        interpreter.set_tensor(source["index"], inputs)
        interpreter.invoke()
        batch[precision] = np.array(interpreter.get_tensor(sink["index"]))
    return single, batch
