"""What `soak` does in a process that has one stock runtime: load on one nested file, and samples of what it holds."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import nq_tflite as nq
from nq_tflite.device.runtimes import load_runtime
from nq_tflite.errors import NqError
from nq_tflite.measure.child_process import Job, answer_job
from nq_tflite.measure.resident import resident_memory

NUM_INPUTS = 4
_LONGEST_PAUSE = 0.001

#: The outputs that an input may have, one for each precision.
Legal = list[set[bytes]]


class Runner:
    """One interpreter, allocated, with every legal output of a few seeded inputs.

    Args:
        door: "fused" or "unpacked" for nq.Interpreter, "compiled" for nq.CompiledModel.

    Raises:
        NqError: two precisions of the model have the same outputs, so that none could be told from another.
    """

    def __init__(self, path: str, runtime: str, door: str, num_threads: int, precision: str | int = "full") -> None:
        self.model: Any
        if door == "compiled":
            self.model, self._write, self._run, self._read = _compiled(path, num_threads, precision)
        else:
            self.model = nq.Interpreter(
                path, runtime=runtime, num_threads=num_threads, precision=precision, fuse=door == "fused"
            )
            self.model.allocate_tensors()
            self._write, self._run, self._read = _ordinary(self.model)

    def feed(self, inputs: np.ndarray) -> bytes:
        """The bytes of the outputs."""
        self._write(inputs)
        self._run()
        return self._read()

    def legal_outputs(self, inputs: np.ndarray) -> Legal:
        """For each input, the outputs at every precision."""
        before, outputs = self.model.precision, []
        for bits in self.model.levels:
            self.model.precision = bits
            outputs.append([self.feed(each) for each in inputs])
        self.model.precision = before
        legal = [set(each) for each in zip(*outputs, strict=True)]
        if any(len(each) < len(self.model.levels) for each in legal):
            raise NqError("soak", expected="a model whose precisions differ in their outputs", got="equal outputs")
        return legal


def _ordinary(interpreter: Any) -> tuple[Callable[..., None], Callable[[], None], Callable[[], bytes]]:
    source, sink = (each()[0]["index"] for each in (interpreter.get_input_details, interpreter.get_output_details))
    return (
        lambda inputs: interpreter.set_tensor(source, inputs),
        interpreter.invoke,
        lambda: interpreter.get_tensor(sink).tobytes(),
    )


def _compiled(path: str, num_threads: int, precision: str | int) -> tuple[Any, Any, Any, Any]:
    from ai_edge_litert.options import CpuOptions, Options

    options = Options(cpu_options=CpuOptions(num_threads=num_threads))
    model = nq.CompiledModel.from_file(path, options=options, precision=precision)
    sources, sinks = model.create_input_buffers(0), model.create_output_buffers(0)
    [details] = model.get_output_tensor_details(next(iter(model.get_signature_list()))).values()
    size = int(np.prod(details["shape"]))
    return (
        model,
        sources[0].write,
        lambda: model.run_by_index(0, sources, sinks),
        lambda: np.asarray(sinks[0].read(size, details["dtype"])).tobytes(),
    )


def seeded_inputs(path: str, runtime: str) -> np.ndarray:
    """A few inputs of a model with one input tensor: [NUM_INPUTS, *its shape]."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    interpreter.allocate_tensors()
    [details] = interpreter.get_input_details()
    rng, shape, dtype = np.random.default_rng(8), (NUM_INPUTS, *details["shape"]), np.dtype(details["dtype"])
    if dtype.kind == "f":
        return rng.normal(0.0, 0.5, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)


# ---- what the process holds ------------------------------------------------------------------------------------------


class Samples:
    """What this process holds, again and again; keeping it takes no memory that was not there at the start."""

    NAMES = ("done", "resident", "anonymous", "descriptors", "mappings")

    def __init__(self, job: Job) -> None:
        total = job["count"]
        self.every = max(1, total // job["samples"])
        self._path, self._taken = job["path"], 0
        self._values = np.zeros((-(-total // self.every), len(self.NAMES)), np.int64)

    def take(self, done: int) -> None:
        """After so many units of work."""
        gc.collect()  # runtimes define classes at every load, and classes are cycles
        held = resident_memory(self._path)
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
        self._values[self._taken] = done, held.total, held.anonymous, descriptors, mappings
        self._taken += 1

    def as_jobs(self) -> list[Job]:
        """For JSON."""
        return [dict(zip(self.NAMES, row, strict=True)) for row in self._values[: self._taken].tolist()]


# ---- the two loads ---------------------------------------------------------------------------------------------------


def invoke(job: Job) -> Job:
    """Interpreters of one file in a thread each, and one more thread that switches them at random.

    Whoever is free takes the next run. Samples are taken between rounds of runs, with every interpreter at full-bit and
    no thread at work.
    """
    path, runtime, total = job["path"], job["runtime"], job["count"]
    inputs = seeded_inputs(path, runtime)
    runners = [Runner(path, runtime, door, threads) for door, threads in job["interpreters"]]
    legal = [runner.legal_outputs(inputs) for runner in runners]
    rng, samples, illegal, switches = random.Random(job["seed"]), Samples(job), 0, 0
    started = time.monotonic()
    with ThreadPoolExecutor(len(runners)) as pool:
        for done in range(0, total, samples.every):
            runs = iter(range(min(samples.every, total - done)))
            with _switching([runner.model for runner in runners], rng) as count:
                illegal += sum(pool.map(lambda *each: _share(runs, inputs, *each), runners, legal))  # noqa: B023
            switches += count[0]
            for runner in runners:
                runner.model.precision = "full"
                runner.feed(inputs[0])
            samples.take(min(total, done + samples.every))
    return _answer(samples, illegal, switches, started)


def _share(runs: Iterator[int], inputs: np.ndarray, runner: Runner, legal: Legal) -> int:
    """Takes runs while there are any; returns how many of their outputs no precision gives."""
    return sum(runner.feed(inputs[run % NUM_INPUTS]) not in legal[run % NUM_INPUTS] for run in runs)


@contextmanager
def _switching(models: Sequence[Any], rng: random.Random) -> Iterator[list[int]]:
    """Another thread switches one model or another meanwhile; yields a list with the number of switches."""
    stop, count = threading.Event(), [0]

    def keep_switching() -> None:
        while not stop.wait(rng.uniform(0.0, _LONGEST_PAUSE)):
            model = rng.choice(models)
            model.precision = rng.choice(model.levels)
            count[0] += 1

    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(keep_switching)
        try:
            yield count
        finally:
            stop.set()
        switching.result()  # an error of the thread's is an error


def create(job: Job) -> Job:
    """Interpreters made, switched, run at two precisions and dropped, one after the other."""
    path, runtime, total, doors = job["path"], job["runtime"], job["count"], job["interpreters"]
    inputs = seeded_inputs(path, runtime)
    legal = {door: Runner(path, runtime, door, 1).legal_outputs(inputs) for door, _ in doors}
    rng, samples, illegal, started = random.Random(job["seed"]), Samples(job), 0, time.monotonic()
    for done in range(1, total + 1):
        door, threads = doors[done % len(doors)]
        runner = Runner(path, runtime, door, threads, rng.choice(("full", "part")))
        for _ in range(2):
            which = rng.randrange(NUM_INPUTS)
            illegal += runner.feed(inputs[which]) not in legal[door][which]
            runner.model.precision = rng.choice(runner.model.levels)
        del runner
        if done % samples.every == 0:
            samples.take(done)
    return _answer(samples, illegal, 2 * total, started)


def create_stock(job: Job) -> Job:
    """The same of the runtime's own interpreters of a stock file: what they keep is not nq_tflite's."""
    path, total, doors = job["path"], job["count"], job["interpreters"]
    samples, started = Samples(job), time.monotonic()
    for done in range(1, total + 1):
        door, threads = doors[done % len(doors)]
        if door == "compiled":
            _run_stock_compiled(path, threads)
        else:
            interpreter = load_runtime(job["runtime"]).interpreter(model_path=path, num_threads=threads)
            interpreter.allocate_tensors()
            interpreter.invoke()
            del interpreter
        if done % samples.every == 0:
            samples.take(done)
    return _answer(samples, 0, 0, started)


def _run_stock_compiled(path: str, num_threads: int) -> None:
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.environment import Environment
    from ai_edge_litert.options import CpuOptions, Options

    options = Options(cpu_options=CpuOptions(num_threads=num_threads))
    model = CompiledModel.from_file(path, environment=Environment.create(), options=options)
    model.run_by_index(0, model.create_input_buffers(0), model.create_output_buffers(0))


def _answer(samples: Samples, illegal: int, switches: int, started: float) -> Job:
    seconds = time.monotonic() - started
    return {"samples": samples.as_jobs(), "illegal": illegal, "switches": switches, "seconds": seconds}


if __name__ == "__main__":
    answer_job({"invoke": invoke, "create": create, "create stock": create_stock})
