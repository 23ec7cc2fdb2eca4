"""Stronger ways of running a stock .tflite file than a plain Interpreter: LiteRT's CompiledModel with a cache of packed
weights, and with YNNPACK."""

from __future__ import annotations

import importlib
import mmap
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nq_tflite.device.runtimes import RuntimeName, installed_runtimes, load_compiled_models
from nq_tflite.errors import FormatError, MissingPackageError
from nq_tflite.graph.flatbuffer import read_model
from nq_tflite.graph.nested import is_nested
from nq_tflite.measure.child_process import Job, answer_job, run_in_child

#: weight-cache: XNNPACK maps its packed weights from a file that the first start writes. ynnpack: XNNPACK's successor.
PeerKind = Literal["weight-cache", "ynnpack"]
PEERS: tuple[PeerKind, ...] = ("weight-cache", "ynnpack")
#: What ai-edge-litert says of an option that its build does not have.
_NOT_COMPILED = b"YNNPACK support was not compiled"
_OTHER_RUNTIME = "runs under ai-edge-litert only"


class Peer:
    """A stock model in LiteRT's CompiledModel, with zeros as input. Needs ai-edge-litert 2.3 or newer.

    Args:
        path: a stock .tflite file.
        kind: how to run it.
        num_threads: of XNNPACK.
        cache_path: the file of the weight cache; the first start writes it.
        environment: LiteRT's; a new one if not given.

    Raises:
        MissingPackageError: no CompiledModel, or none with such an option.
        FormatError: a model that it does not compile.
    """

    def __init__(
        self, path: str, kind: PeerKind, num_threads: int = 1, cache_path: str = "", environment: Any = None
    ) -> None:
        litert = load_compiled_models()
        options = _options(litert.version, kind, num_threads, cache_path)
        try:
            self._model = litert.models.CompiledModel.from_file(path, environment=environment, options=options)
        except (RuntimeError, ValueError) as error:
            expected = f"a model that ai-edge-litert {litert.version} compiles"
            raise FormatError(path, expected=expected, got=" ".join(str(error).split())) from error
        self._inputs = self._model.create_input_buffers(0)
        self._outputs = self._model.create_output_buffers(0)
        signature = next(iter(self._model.get_signature_list()))
        details = self._model.get_input_tensor_details(signature).values()
        for buffer, each in zip(self._inputs, details, strict=True):
            buffer.write(np.zeros(each["shape"], each["dtype"]))

    def invoke(self) -> None:
        """Runs the model."""
        self._model.run_by_index(0, self._inputs, self._outputs)


def new_environment() -> Any:
    """LiteRT's environment, whose accelerators' libraries are then loaded already: they belong to no model."""
    return load_compiled_models().environments.Environment.create()


def find_peers(
    others: Sequence[str], runtimes: Sequence[RuntimeName | None], kinds: Sequence[PeerKind]
) -> tuple[dict[RuntimeName | None, list[tuple[str, PeerKind]]], dict[PeerKind, str]]:
    """The first stock file of `others` with each peer that can run it, by runtime; and why others run under none."""
    stock = next((path for path in others if not is_nested(read_model(path))), None) if kinds else None
    found: dict[RuntimeName | None, list[tuple[str, PeerKind]]] = {runtime: [] for runtime in runtimes}
    if stock is None:
        return found, dict.fromkeys(kinds, "no stock model to run")
    missing: dict[PeerKind, str] = {}
    for kind in kinds:
        reasons = set()
        for runtime in found:
            job = {"job": "why_not", "kind": kind, "path": stock, "runtime": runtime}
            if (reason := run_in_child(__name__, job)["reason"]) is None:
                found[runtime].append((stock, kind))
            else:
                reasons.add(reason)
        if not any(each == kind for here in found.values() for _, each in here):
            missing[kind] = min(reasons - {_OTHER_RUNTIME}, default=_OTHER_RUNTIME)
    return found, missing


def start_first(lane: Job, num_threads: int) -> float:
    """Seconds to construct, allocate and invoke a peer in a new process, before it has its weight cache: it writes it.

    `lane` has the model's `path`, the peer's `kind` and the `cache`'s path, None for a peer without one.
    """
    return float(run_in_child(__name__, {"job": "start", "num_threads": num_threads, **lane})["seconds"])


# ---- in child processes ----------------------------------------------------------------------------------------------


def _why_not(job: Job) -> Job:
    """Why a stock model cannot run as a peer under a runtime; None if it can."""
    kind, path, runtime = job["kind"], job["path"], job["runtime"]
    if (runtime or next(iter(installed_runtimes()), None)) != "ai-edge-litert":
        return {"reason": _OTHER_RUNTIME}
    if kind == "ynnpack" and _lacks_ynnpack():
        return {"reason": "not compiled into this build of ai-edge-litert"}
    with tempfile.TemporaryDirectory(prefix="nq-tflite-peer-") as folder:
        try:
            Peer(path, kind, 1, str(Path(folder) / "weights.cache"))
        except (MissingPackageError, FormatError) as error:
            return {"reason": " ".join(str(error).split())}
    return {"reason": None}


def _lacks_ynnpack() -> bool:
    """Whether the library has the words that a build without YNNPACK has for whoever asks for it.

    Such a build fails with another error, or runs XNNPACK in its place.
    """
    library = Path(load_compiled_models().models.__file__).parent / "libLiteRt.so"
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
        return content.find(_NOT_COMPILED) >= 0


def _start(job: Job) -> Job:
    environment = new_environment()
    started = time.perf_counter()
    Peer(job["path"], job["kind"], job["num_threads"], job["cache"] or "", environment).invoke()
    return {"seconds": time.perf_counter() - started}


def _options(version: str, kind: PeerKind, num_threads: int, cache_path: str) -> Any:
    try:
        options = importlib.import_module("ai_edge_litert.options")
        own = {"xnnpack_weight_cache_path": cache_path} if kind == "weight-cache" else {"enable_ynnpack": True}
        return options.Options(cpu_options=options.CpuOptions(num_threads=num_threads, **own))
    except (ImportError, TypeError) as error:
        raise MissingPackageError(
            kind,
            expected="ai-edge-litert 2.3 or newer",
            got=f"{version}: {error}",
            fix="pip install --upgrade ai-edge-litert.",
        ) from error


if __name__ == "__main__":
    answer_job({"why_not": _why_not, "start": _start})
