"""Latency, memory and switching of a nested model beside other .tflite files, on this machine.

For each runtime and thread count, models take turns within one process, so that other work on the machine slows all of
them alike: read the ratios, not the milliseconds. Memory, switches and reloads are measured in one process per model.
"""

from __future__ import annotations

import itertools
import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nq_tflite.device.delegation import Delegation
from nq_tflite.device.interpreter import Interpreter
from nq_tflite.device.native import kernels
from nq_tflite.device.opening import open_model
from nq_tflite.device.runtimes import RuntimeName, load_runtime
from nq_tflite.files import check_model_file
from nq_tflite.format.nesting import Precision, precision_to_level
from nq_tflite.measure.child_process import Job, answer_job, run_in_child
from nq_tflite.measure.memory import Footprint, measure_footprint
from nq_tflite.measure.peers import Peer, PeerKind, find_peers, start_first
from nq_tflite.measure.rounds import interleaved
from nq_tflite.progress import ShowProgress, shown
from nq_tflite.records import from_dict
from nq_tflite.version import __version__

NOTE = "Timings are of a machine that does other things too: trust the ratios, which are of paired runs, not the times."


#: A ratio of latencies above this is worth a word; below, it may be noise.
SLOWER = 1.1


@dataclass(frozen=True)
class Series:
    """Seconds per invocation of a model at a precision (bits; None for a stock model), in order of the rounds.

    Attributes:
        invocations: timed together in every round.
        peer: how a stock model runs; None for a plain Interpreter.
    """

    path: str
    bits: int | None
    seconds: tuple[float, ...]
    invocations: int = 1
    peer: PeerKind | None = None


@dataclass(frozen=True)
class Latency:
    """Summary of one series.

    Attributes:
        median_seconds: of all invocations.
        ratio, ratio_min, ratio_max: median, least and greatest of this series' seconds over the baseline's in the same
            round.
        invocations: timed together in every round: several if one takes less than `rounds.ROUND`.
        peer: how a stock model runs; None for a plain Interpreter.
    """

    path: str
    bits: int | None
    median_seconds: float
    ratio: float
    ratio_min: float
    ratio_max: float
    invocations: int = 1
    peer: PeerKind | None = None


@dataclass(frozen=True)
class Setting:
    """Latencies under one runtime (name and version) with one number of threads; the baseline comes first."""

    runtime: str
    num_threads: int
    latencies: tuple[Latency, ...]


@dataclass(frozen=True)
class BenchmarkReport:
    """Everything measured.

    Attributes:
        cpu, python, version: name and number of the processors, versions of Python and nq_tflite.
        isa: instruction set of nq_tflite's matrix kernels; kernels: those of each kind.
        runs, warmup: timed invocations, and untimed ones before them, of each model and precision.
        baseline: path of the model that ratios refer to: the first of `against`, or the model itself at full-bit.
        settings: latencies of each runtime and thread count.
        footprints: memory, switches and reloads of each runtime and model, with the first thread count; then of the
            first stock model as each peer.
        missing_peers: why a peer that was asked for was not measured.
    """

    cpu: str
    python: str
    version: str
    isa: str
    kernels: dict[str, str]
    runs: int
    warmup: int
    baseline: str
    settings: tuple[Setting, ...]
    footprints: tuple[Footprint, ...]
    note: str = NOTE
    missing_peers: dict[PeerKind, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return asdict(self)


def slower_than_stock(stock: str, ratio: float) -> str:
    """Advice on a model whose fastest precision takes `ratio` times as long as the stock model."""
    return (
        f"nested is slower than {stock} here, {ratio:.2f} times its latency: nest it for the memory and the switch, or "
        "stay with the stock file; small models and CPUs without AVX2, AVX-512 or NEON gain no time"
    )


def benchmark(
    path: str | os.PathLike[str],
    against: Sequence[str | os.PathLike[str]] = (),
    *,
    precisions: Sequence[Precision] = ("full", "part"),
    runtimes: Sequence[RuntimeName | None] = (None,),
    threads: Sequence[int] = (1,),
    runs: int = 50,
    warmup: int = 5,
    switches: int = 100,
    reloads: int = 10,
    isa: str | None = None,
    peers: Sequence[PeerKind] = (),
    progress: ShowProgress = True,
) -> BenchmarkReport:
    """Measures a model and compares it with others, each runtime in separate child processes.

    Args:
        path: a nested (or stock) .tflite file.
        against: other .tflite files, nested ones at full-bit; ratios refer to the first.
        precisions: precisions of the model to time.
        runtimes: names as nq.Interpreter takes them; None for the first that is installed.
        threads: thread counts; memory, switches and reloads use the first.
        runs, warmup: rounds of each model and precision, each of one invocation, or of several that take two
            milliseconds together.
        switches, reloads: how often to switch and to reload.
        isa: instruction set for nq_tflite's kernels, such as "avx2"; the best of this CPU if not given.
        peers: further ways of running the first stock model of `against`, under ai-edge-litert: "weight-cache",
            "ynnpack". `missing_peers` of the report says which the installed build does not have.
        progress: called during the work; True shows a bar in a terminal or notebook, None shows nothing.

    Raises:
        FormatError: a file does not load.
        PrecisionError: the model has no such precision.
        MissingPackageError: the runtime is not installed.
        NativeLibraryError: this CPU or library has no such isa.
        NqError: a child process died; the message has its last words.

    Example:
        >>> benchmark("model.tflite", ["int8.tflite"], runs=20).settings[0].latencies[1].ratio  # doctest: +SKIP
        1.9
    """
    paths = [os.fspath(path), *(os.fspath(other) for other in against)]
    for each in paths:
        check_model_file(each)
    kernels_in_use = kernels_in_child(isa)
    settings: list[Setting] = []
    footprints: list[Footprint] = []
    missing: dict[PeerKind, str] = {}
    with shown(progress) as notify, _caches() as cache_of:
        found = {runtime: find_peers(paths[1:], runtime, peers, missing) for runtime in runtimes}
        steps = sum(len(threads) + len(paths) + len(here) for here in found.values())
        count = itertools.count()
        for runtime, here in found.items():
            job = {"paths": paths, "precisions": list(precisions), "runtime": runtime, "runs": runs, "warmup": warmup}
            lanes = [{"path": stock, "kind": kind, "cache": cache_of(kind)} for stock, kind in here]
            starts = [start_first(lane, threads[0]) for lane in lanes]  # writes the caches
            for num_threads in threads:
                notify(f"latency, {num_threads} thread{'s' * (num_threads > 1)}", next(count), steps)
                answer = run_in_child(
                    __name__, {"job": "latency", **job, "num_threads": num_threads, "peers": lanes}, isa
                )
                settings.append(_setting(answer, num_threads, baseline=1 if against else 0))
            for each in paths:
                notify(f"memory and switching of {Path(each).name}", next(count), steps)
                nested = each in answer["nested"]
                footprints.append(footprint_in_child(each, nested, runtime, threads[0], switches, reloads, isa))
            for lane, start in zip(lanes, starts, strict=True):
                notify(f"memory with {lane['kind']}", next(count), steps)
                footprint = _peer_footprint(lane, threads[0], reloads)
                footprints.append(replace(footprint, first_start_seconds=start))
        notify("done", steps, steps)
    cpu, baseline = f"{cpu_name()} ({os.cpu_count()} CPUs)", paths[1 if against else 0]
    return BenchmarkReport(
        cpu,
        platform.python_version(),
        __version__,
        kernels_in_use["matrix"],
        kernels_in_use,
        runs,
        warmup,
        baseline,
        tuple(settings),
        tuple(footprints),
        missing_peers=missing,
    )


def summarize(series: Sequence[Series], baseline: int) -> tuple[Latency, ...]:
    """Medians, and ratios over the series at index `baseline`, which comes first in the result.

    >>> a, b = Series("a", 8, (1.0, 2.0)), Series("b", None, (2.0, 1.0))
    >>> summarize([a, b], 1)[1].ratio_max
    2.0
    """
    base = series[baseline].seconds
    ordered = [series[baseline], *(each for index, each in enumerate(series) if index != baseline)]
    latencies = []
    for each in ordered:
        ratios = [own / other for own, other in zip(each.seconds, base, strict=True)]
        middle = statistics.median(ratios)
        latencies.append(
            Latency(
                each.path,
                each.bits,
                statistics.median(each.seconds),
                middle,
                min(ratios),
                max(ratios),
                each.invocations,
                each.peer,
            )
        )
    return tuple(latencies)


def cpu_name() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def kernels_in_child(isa: str | None = None) -> dict[str, str]:
    """The instruction set of each kind of nq_tflite's own kernels if `isa` (None: the best) is asked for.

    Raises:
        NativeLibraryError: this CPU or library has no such isa.
    """
    return run_in_child(__name__, {"job": "kernels"}, isa)


def footprint_in_child(
    path: str,
    nested: bool,
    runtime: RuntimeName | None,
    num_threads: int = 1,
    switches: int = 100,
    reloads: int = 10,
    isa: str | None = None,
) -> Footprint:
    """`memory.measure_footprint` in a process of its own."""
    answer = run_in_child(
        __name__,
        {
            "job": "footprint",
            "path": path,
            "nested": nested,
            "runtime": runtime,
            "num_threads": num_threads,
            "switches": switches,
            "reloads": reloads,
        },
        isa,
    )
    return from_dict(Footprint, answer)


def delegation_in_child(path: str | os.PathLike[str], runtime: RuntimeName | None = None) -> tuple[str, Delegation]:
    """`Interpreter.delegation` in a process of its own, with the runtime's name and version.

    Raises:
        FormatError, MissingPackageError, NativeLibraryError: as nq.Interpreter.

    Example:
        >>> delegation_in_child("model.tflite")[1].num_partitions  # doctest: +SKIP
        1
    """
    answer = run_in_child(__name__, {"job": "delegation", "path": os.fspath(path), "runtime": runtime})
    return answer["runtime"], from_dict(Delegation, answer["delegation"])


@contextmanager
def _caches() -> Iterator[Callable[[PeerKind], str | None]]:
    """Files for weight caches, gone in the end."""
    with tempfile.TemporaryDirectory(prefix="nq-tflite-cache-") as folder:
        names = (str(Path(folder) / f"{number}.cache") for number in itertools.count())
        yield lambda kind: next(names) if kind == "weight-cache" else None


def _peer_footprint(lane: Job, num_threads: int, reloads: int) -> Footprint:
    job = {"path": lane["path"], "peer": lane["kind"], "cache": lane["cache"]}
    own = {"nested": False, "runtime": "ai-edge-litert", "num_threads": num_threads, "switches": 0, "reloads": reloads}
    return from_dict(Footprint, run_in_child(__name__, {"job": "footprint", **job, **own}))


def _setting(answer: Job, num_threads: int, baseline: int) -> Setting:
    """`baseline` counts models; the model's own series, one a precision, stand before the others'."""
    series = [from_dict(Series, each) for each in answer["series"]]
    position = answer["own"] if baseline else 0
    return Setting(answer["runtime"], num_threads, summarize(series, position))


# ---- child processes -------------------------------------------------------------------------------------------------


def _kernels_job(job: Job) -> Job:
    return dict(kernels())


def _delegation_job(job: Job) -> Job:
    interpreter = Interpreter(job["path"], runtime=job["runtime"])
    return {"runtime": interpreter.runtime, "delegation": interpreter.delegation.as_dict()}


def _footprint_job(job: Job) -> Job:
    return asdict(measure_footprint(job.pop("path"), **job))


def _latency_job(job: Job) -> Job:
    """Times every model in turn, `runs` times; the model itself at each precision, the others at full-bit."""
    runtime, num_threads = job["runtime"], job["num_threads"]
    levels = {path: Interpreter(path, runtime=runtime).levels for path in job["paths"]}
    lanes: list[tuple[str, int | None]] = []
    for index, path in enumerate(job["paths"]):
        found = levels[path]
        wanted = job["precisions"] if index == 0 else ["full"]
        bits = [found[precision_to_level(precision, found)] for precision in wanted] if found else [None]
        lanes += [(path, each) for each in dict.fromkeys(bits)]
    models = [open_model(path, each is not None, runtime, num_threads, each or "full") for path, each in lanes]
    peers = [(each["path"], each["kind"], each["cache"]) for each in job["peers"]]
    models += [Peer(path, kind, num_threads, cache or "") for path, kind, cache in peers]
    invocations, seconds = interleaved(models, job["runs"], job["warmup"])
    named = [*((path, bits, None) for path, bits in lanes), *((path, None, kind) for path, kind, _ in peers)]
    loaded = load_runtime(runtime)
    return {
        "runtime": str(loaded),
        "nested": [path for path in job["paths"] if levels[path]],
        "own": len(lanes) - len(job["paths"]) + 1,
        "series": [
            {"path": path, "bits": bits, "peer": kind, "seconds": times, "invocations": count}
            for (path, bits, kind), times, count in zip(named, seconds, invocations, strict=True)
        ],
    }


if __name__ == "__main__":
    answer_job(
        {"kernels": _kernels_job, "latency": _latency_job, "footprint": _footprint_job, "delegation": _delegation_job}
    )
