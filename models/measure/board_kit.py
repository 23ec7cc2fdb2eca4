"""The board kit: its models, made once, and its sections, one after the other, as one record."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from nq_tflite_models.measure import board_record
from nq_tflite_models.measure.board_facts import read_board, read_health
from nq_tflite_models.measure.board_record import Record
from nq_tflite_models.measure.board_sections import SECTIONS

from nq_tflite.errors import MissingPackageError, ModelSourceError
from nq_tflite.files import write_whole
from nq_tflite.measure.child_process import Job, run_in_child
from nq_tflite.version import __version__


class Maker(NamedTuple):
    """A function of nets.board_net, by its name: that module needs TFLite's schema."""

    function: str
    arguments: tuple[int, ...]


class Layer(NamedTuple):
    """A layer to time alone."""

    maker: Maker
    multiply_accumulates: int


def layers(size: int) -> dict[str, Layer]:
    """Layers of MobileNetV2 for images of that size, by name; the deep one has the pixels of a shallower one."""
    wide, small = size // 4, size // 16
    return {
        "1x1 960>320": Layer(Maker("convolution_1x1", (small, 960, 320)), small**2 * 960 * 320),
        "1x1 24>144": Layer(Maker("convolution_1x1", (wide, 24, 144)), wide**2 * 24 * 144),
        "depthwise": Layer(Maker("depthwise_3x3", (wide, 144)), wide**2 * 9 * 144),
        "dense": Layer(Maker("dense", (1280, 1000)), 1280 * 1000),
    }


#: Of the whole time: one thread, all threads, other kernels, each layer, and switches that read the disk.
_ONE, _ALL, _OTHER, _LAYER, _COLD = 0.3, 0.2, 0.15, 0.05, 0.1
#: The variable that names the native library's instruction set.
_ISA = "NQ_ISA"
#: The instruction set of the oldest CPUs that have kernels of their own.
OLDEST_ISA = "avx2" if platform.machine() == "x86_64" else "neon"
#: Answers a job of board_sections, by an instruction set's kernels or (None) by the best ones.
Run = Callable[[Job, str | None], Job]


def prepare(folder: Path, size: int) -> None:
    """Makes the models that the folder lacks.

    Raises:
        MissingPackageError: there are some to make, and no TFLite schema to make them by.
        ModelSourceError: the folder cannot be made.
    """
    makers = {_net_stem(size): Maker("mobilenet_v2", (size,))}
    makers |= {_layer_stem(name, size): layer.maker for name, layer in layers(size).items()}
    missing = [stem for stem in makers if not all(path.is_file() for path in _files(folder, stem))]
    if not missing:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        board_net = import_module("nq_tflite_models.nets.board_net")
    except OSError as error:
        raise ModelSourceError(f"folder {folder}", expected="a folder that can be created", got=str(error)) from error
    except (MissingPackageError, ModuleNotFoundError) as error:
        raise MissingPackageError(
            "making the board kit's models",
            expected=f"ai-edge-litert, or the models in {folder}",
            got=f"neither ({error})",
            fix="On a computer, run: python -m nq_tflite_models.board --prepare --cache kit. Then copy the folder.",
        ) from error
    for stem in missing:
        stock, nested = _files(folder, stem)
        content = getattr(board_net, makers[stem].function)(*makers[stem].arguments)
        board_net.nest(content, nested)
        write_whole(stock, [(0, content)])


@dataclass(frozen=True)
class Kit:
    """What to measure, and how.

    Attributes:
        folder: of the models that `prepare` has made.
        run: answers jobs.
        notify: called with what comes next.
        runtime: as nq.Interpreter takes it.
        isa: the instruction set to time MobileNetV2 by once more; left out where the best one is no other.
        size: of MobileNetV2's images.
        seconds: of timing, in all; models that take long get two rounds at least.
    """

    folder: Path
    run: Run
    notify: Callable[[str], object]
    runtime: str | None = None
    isa: str = OLDEST_ISA
    size: int = 224
    seconds: float = 100.0

    def measure(self) -> Record:
        """Measures this machine, unless it is throttled: a record, which board_record.paste and verdict show.

        Raises:
            MissingPackageError, NativeLibraryError: as nq.Interpreter.
        """
        before = read_health()
        record = board_record.facts(read_board(), before)
        if refused := before.throttling():
            return record | {"refused": refused}
        first = self._ask("runtime", {"job": "start"})
        record |= {"nq": __version__, "python": platform.python_version(), **first}
        record |= self._nets(first["kernels"]["matrix"])
        record |= self._layers()
        record |= self._memory_and_switches()
        after = read_health()
        record["after"] = board_record.state(after)
        if doubt := after.throttling(before):
            record["throttled"] = doubt
        return record

    def _ask(self, stage: str, job: Job, isa: str | None = None) -> Job:
        self.notify(stage)
        return self.run({"runtime": self.runtime, "threads": 1} | job, isa)

    def _nets(self, best: str) -> Record:
        job = {"job": "net", **_paths(self.folder, _net_stem(self.size))}
        one, threads = "1 thread", len(os.sched_getaffinity(0))
        nets = {one: self._ask(f"MobileNetV2, {one}", job | {"seconds": _ONE * self.seconds})}
        if threads > 1:
            every = f"{threads} threads"
            nets[every] = self._ask(f"MobileNetV2, {every}", job | {"seconds": _ALL * self.seconds, "threads": threads})
        if best not in (self.isa, "scalar"):
            other = f"{one}, {self.isa}"
            nets[other] = self._ask(f"MobileNetV2, {other}", job | {"seconds": _OTHER * self.seconds}, self.isa)
        sums = [net.pop("sums") for net in nets.values()]
        exact = all(board_record.is_exact(each, self.size) for each in sums)
        return {"size": self.size, "net": nets, "sums": sums[0], "exact": exact}

    def _layers(self) -> Record:
        rates, known = {}, layers(self.size)
        for name, cold in [*((name, False) for name in known), ("dense", True)]:
            label = f"{name} cold" if cold else name
            job = {"job": "layer", **_paths(self.folder, _layer_stem(name, self.size)), "cold": cold}
            job |= {"seconds": _LAYER * self.seconds, "multiply_accumulates": known[name].multiply_accumulates}
            answer = self._ask(f"layer {label}", job)
            rates[label] = answer["rates"]
        return {"mac_per": answer["unit"], "mac": rates}

    def _memory_and_switches(self) -> Record:
        paths = _paths(self.folder, _net_stem(self.size))
        stock = self._ask("memory", {"job": "memory", "path": paths["stock"], "nested": False})
        nested = self._ask("memory and switches", {"job": "memory", "path": paths["nested"], "nested": True})
        job = {"job": "cold_switches", "path": paths["nested"], "seconds": _COLD * self.seconds}
        cold = self._ask("switches that read the disk", job)
        full, part = nested["MB"]
        return {
            "MB": {"stock": stock["MB"][0], "full": full, "part": part},
            "switch_ms": nested["ms"] | {"cold": cold["ms"]},
            "GB/s": cold["GB/s"],
        }


def _net_stem(size: int) -> str:
    return f"mobilenet_v2_{size}"


def _layer_stem(name: str, size: int) -> str:
    return f"{name.replace(' ', '_').replace('>', '_')}_{size}"


def _files(folder: Path, stem: str) -> tuple[Path, Path]:
    """The stock file and the nested one."""
    return folder / f"{stem}_int8.tflite", folder / f"{stem}_nested.tflite"


def _paths(folder: Path, stem: str) -> dict[str, str]:
    stock, nested = map(str, _files(folder, stem))
    return {"stock": stock, "nested": nested}


def in_children(job: Job, isa: str | None) -> Job:
    """Answers a job in a process of its own."""
    return run_in_child("nq_tflite_models.measure.board_sections", job, isa)


def in_this_process(job: Job, isa: str | None) -> Job:
    """Answers a job here, where no process can be started, as in an emulator. Its memory figures mean little."""
    before = os.environ.get(_ISA)
    if isa:
        os.environ[_ISA] = isa
    try:
        return SECTIONS[job["job"]](job)
    finally:
        os.environ.pop(_ISA, None)
        os.environ |= {_ISA: before} if before else {}
