"""What happens under faults, in children of fault_server.py's process; every job's first argument is the shim."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fault_server import Faults

import nq_tflite as nq
from nq_tflite.device import native
from nq_tflite.device.runtimes import installed_runtimes

#: Calls of the native library itself, not those of the runtime or of Python.
OURS = "@libnq_tflite"


def import_everything() -> None:
    """What jobs import, so that no fault hits an import."""
    for module in ("cli", "conversion.convert", "delivery", "graph.extraction", "measure.storage", "plot"):
        importlib.import_module(f"nq_tflite.{module}")
    importlib.import_module("matplotlib.backends.backend_agg")
    native.load_library()
    importlib.import_module(
        {"ai-edge-litert": "ai_edge_litert", "tflite-runtime": "tflite_runtime"}[runtime()] + ".interpreter"
    )


def runtime() -> str:
    """The stock runtime that jobs run under: one that comes without tensorflow."""
    return next(name for name in installed_runtimes() if name != "tensorflow")


# ---- models under faults ---------------------------------------------------------------------------------------------


def plain(text: str, *folders: Path) -> str:
    """A message without what differs from run to run: folders, addresses, sizes, checksums."""
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    text = re.sub(r"\b[0-9a-f]{8}\b|0x[0-9a-f]+|\b\d{3,}\b", "N", text)
    return " ".join(text.split())


def message_of(error: BaseException, *folders: Path) -> str:
    """Type and text of an error; what nq_tflite has not raised itself is marked."""
    mark = "" if isinstance(error, nq.NqError) else "NOT CAUGHT: "
    text = plain(str(error), *folders)
    if "a model that" in text:
        text = "the runtime does not load the model, in its own words"
    return f"{mark}{type(error).__name__}: {text}"


class Model:
    """A model that runs, and what it gives at each precision."""

    def __init__(self, path: Path, precision: Any, threads: int = 1) -> None:
        with warnings.catch_warnings(record=True) as self.warnings:
            warnings.simplefilter("always")
            self.interpreter = nq.Interpreter(path, precision=precision, runtime=runtime(), num_threads=threads)
        self.interpreter.allocate_tensors()

    def output(self) -> bytes:
        """Of one input that is always the same."""
        [source], [sink] = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        values = np.random.default_rng(0).normal(0.3, 0.5, source["shape"])
        self.interpreter.set_tensor(source["index"], values.astype(source["dtype"]))
        self.interpreter.invoke()
        return bytes(np.array(self.interpreter.get_tensor(sink["index"])).tobytes())


def outputs(faults: Faults, path: Path) -> dict[int, bytes]:
    """What is right at each precision."""
    model = Model(path, "full")
    found = {}
    for bits in model.interpreter.levels:
        model.interpreter.precision = bits
        found[bits] = model.output()
    return found


def struck(faults: Faults, rules: str) -> bool:
    """Whether the first rule has made a call fail."""
    return faults.hits() >= int(rules.split(",")[2])


def open_under(faults: Faults, path: Path, rules: str, right: dict[int, bytes], threads: int = 1) -> str:
    """Opens a model full-bit, under faults, and runs it."""
    faults.set(rules)
    try:
        model = Model(path, "full", threads)
    except nq.NqError as error:
        return message_of(error, path.parent)
    finally:
        hits = struck(faults, rules) or "arch_prctl" in rules  # which a CPU without AMX is never asked for
        faults.set("")
    if not hits:
        return "NOT REACHED"
    outcome = "opens" if model.output() == right[max(right)] else "WRONG OUTPUT"
    if not model.interpreter.can_page:
        outcome += ", and warns that it cannot page" if model.warnings else ", SILENTLY WITHOUT PAGING"
    return outcome


def switch_under(faults: Faults, path: Path, start: Any, to: Any, rules: str, right: dict[int, bytes]) -> str:
    """Switches under faults; then runs, then switches without faults."""
    model = Model(path, start)
    before = model.interpreter.precision
    faults.set(rules)
    try:
        model.interpreter.switch(to)
        outcome = "switches"
    except nq.NqError as error:
        outcome = f"{message_of(error, path.parent)}; stays at {model.interpreter.precision} bits"
    finally:
        hits = struck(faults, rules)
        faults.set("")
    if not hits:
        return "NOT REACHED"
    if not outcome.startswith("switches") and model.interpreter.precision != before:
        return f"{outcome}: ANOTHER PRECISION"
    if model.output() != right[model.interpreter.precision]:
        return f"{outcome}: WRONG OUTPUT"
    model.interpreter.switch(to)
    return outcome if model.output() == right[model.interpreter.precision] else f"{outcome}: WRONG OUTPUT LATER"


def ask_resident(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> str:
    """Asks what is resident."""
    model = Model(path, "full")
    faults.set(rules)
    try:
        resident = model.interpreter.resident_bytes()
    except nq.NqError as error:
        return message_of(error)
    finally:
        hits = struck(faults, rules)
        faults.set("")
    if not hits:
        return "NOT REACHED"
    held = sum(map(model.interpreter.level_bytes, range(len(model.interpreter.levels))))
    return "tells" if resident == held else f"TELLS {resident} OF {held}"


def change_file(faults: Faults, path: Path, change: Callable[[Path], None], right: dict[int, bytes]) -> str:
    """Runs a copy of a model part-bit, changes its file, upgrades, and runs it again."""
    copy = path.with_name("changed.tflite")
    shutil.copy(path, copy)
    model = Model(copy, "part")
    change(copy)
    try:
        model.interpreter.switch("full")
        outcome = "switches"
    except nq.NqError as error:
        outcome = f"{message_of(error, path.parent)}; stays at {model.interpreter.precision} bits"
    if change is not overwrite_base and model.output() != right[model.interpreter.precision]:
        return f"{outcome}: WRONG OUTPUT"
    return outcome


def cut(path: Path) -> None:
    """Takes the last byte's section away."""
    os.truncate(path, nq_sections(path)[-1].offset)


def overwrite_residual(path: Path) -> None:
    """Damages the last level in place."""
    _overwrite(path, nq_sections(path)[-1].offset)


def overwrite_base(path: Path) -> None:
    """Damages level 0 in place."""
    _overwrite(path, nq_sections(path)[0].offset)


def replace(path: Path) -> None:
    """Puts another file in its place, as convert and receive do."""
    other = path.with_suffix(".new")
    other.write_bytes(b"another file")
    other.replace(path)


def nq_sections(path: Path) -> Any:
    """Sections of a nested file."""
    from nq_tflite.graph.nested import read_nested

    return read_nested(path).table.sections


def load_library(faults: Faults, path: Path) -> str:
    """Loads another file as the native library."""
    os.environ[native.LIBRARY_VARIABLE] = str(path)
    native.load_library.cache_clear()
    try:
        native.load_library()
    except nq.NqError as error:
        return message_of(error, path.parent)
    return "loads"


def has_tensorflow(faults: Faults) -> bool:
    """Whether the process has it."""
    return "tensorflow" in sys.modules


def _overwrite(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset + 64)
        file.write(bytes(range(64)))


# ---- want of memory --------------------------------------------------------------------------------------------------


@dataclass
class Survived:
    """A loop over the allocations of an act: how many it makes, how many were made to fail, and every outcome."""

    allocations: int
    tried: int
    outcomes: dict[str, int]


def without_memory(faults: Faults, act: str, path: Path, right: dict[int, bytes], stride: int, count: int) -> Survived:
    """Does something with its nth allocation failing, for every stride-th n until none fails any more.

    `count`: 1, or 0 for that allocation and all after it.
    """
    outcomes: dict[str, int] = {}
    n, tried = 1, 0
    while True:
        rules = f"allocate,{OURS},{n},{count},12"
        outcome, hits = _ACTS[act](faults, path, rules, right)
        if hits < n:
            assert outcome == "works", outcome
            return Survived(hits, tried, outcomes)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        tried += 1
        n += stride


def _act_open(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> tuple[str, int]:
    faults.set(rules)
    try:
        model = Model(path, "full", threads=2)
        outcome = "works"
    except (nq.NqError, ValueError, RuntimeError) as error:
        outcome = _why(error)
    hits = faults.hits()
    faults.set("")
    if outcome == "works" and model.output() != right[max(right)]:
        outcome = "WRONG OUTPUT"
    return outcome, hits


def _act_switch(start: Any, to: Any) -> Callable[..., tuple[str, int]]:
    def switch(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> tuple[str, int]:
        model = _kept(path, start)
        interpreter = model.interpreter
        interpreter.switch(start)
        before = interpreter.precision
        faults.set(rules)
        try:
            interpreter.switch(to)
            outcome = "works"
        except nq.NqError as error:
            outcome = _why(error)
        hits = faults.hits()
        faults.set("")
        if (interpreter.precision == before) == (outcome == "works"):
            outcome += ": ANOTHER PRECISION"
        if model.output() != right[interpreter.precision]:
            outcome += ": WRONG OUTPUT"
        return outcome, hits

    return switch


def _act_invoke(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> tuple[str, int]:
    model = _kept(path, "full")
    model.interpreter.switch("full")
    faults.set(rules)
    try:
        outcome = "works" if model.output() == right[max(right)] else "WRONG OUTPUT"
    except (nq.NqError, ValueError, RuntimeError) as error:
        outcome = _why(error)
    hits = faults.hits()
    faults.set("")
    return outcome if model.output() == right[max(right)] else f"{outcome}: WRONG OUTPUT LATER", hits


def _act_allocate(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> tuple[str, int]:
    """To a batch of 3 and back."""
    model = _kept(path, "full")
    interpreter = model.interpreter
    source = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(source["index"], [3, *source["shape"][1:]])
    faults.set(rules)
    try:
        interpreter.allocate_tensors()
        outcome = "works"
    except (nq.NqError, ValueError, RuntimeError) as error:
        outcome = _why(error)
    hits = faults.hits()
    faults.set("")
    interpreter.resize_tensor_input(source["index"], [1, *source["shape"][1:]])
    interpreter.allocate_tensors()
    return outcome if model.output() == right[max(right)] else f"{outcome}: WRONG OUTPUT LATER", hits


def _act_ask(faults: Faults, path: Path, rules: str, right: dict[int, bytes]) -> tuple[str, int]:
    interpreter = _kept(path, "full").interpreter
    faults.set(rules)
    try:
        outcome = "works" if interpreter.resident_bytes() and interpreter.delegation.operators else "NOTHING"
    except nq.NqError as error:
        outcome = _why(error)
    hits = faults.hits()
    faults.set("")
    return outcome, hits


_ACTS: dict[str, Callable[..., tuple[str, int]]] = {
    "opening": _act_open,
    "allocating tensors": _act_allocate,
    "invoking": _act_invoke,
    "downgrading": _act_switch("full", "part"),
    "upgrading": _act_switch("part", "full"),
    "asking": _act_ask,
}
ACTS = tuple(_ACTS)

_models: dict[Path, Model] = {}


def _kept(path: Path, start: Any) -> Model:
    """One model for all rounds of a loop: opening one is what takes time."""
    if path not in _models:
        _models[path] = Model(path, start, threads=2)
        _models[path].output()
    return _models[path]


def _why(error: BaseException) -> str:
    """An error by the library's own words: a runtime's message holds those of earlier failures too."""
    text = str(error) if isinstance(error, native.NativeLibraryError) else native.last_error()
    return f"{type(error).__name__}: {'out of memory' if text.startswith('out of memory') else plain(text)}"


# ---- commands under faults -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """How a command of nq-tflite ended: exit code, what it printed, calls that matched each rule."""

    exit_code: int
    output: str
    traceback: str
    hits: tuple[int, ...]

    @property
    def is_clear_error(self) -> bool:
        """One line of an error, exit code 1."""
        return self.exit_code == 1 and not self.traceback and self.output.count("error: ") == 1


def figure(faults: Faults, path: Path, rules: str, folder: Path) -> Command:
    """Writes a figure, as commands with --plot do."""
    from matplotlib.figure import Figure

    from nq_tflite.plot import save_figure

    drawn = Figure()
    drawn.subplots().plot(range(100))
    faults.set(rules)
    try:
        save_figure(drawn, path)
        exit_code, output = 0, ""
    except nq.NqError as error:
        exit_code, output = 1, f"error: {plain(str(error), folder)}"
    hits = tuple(faults.hits(rule) for rule in range(rules.count(";") + 1))
    faults.set("")
    return Command(exit_code, output, "", hits)


def command(faults: Faults, arguments: list[str], rules: str, folder: Path) -> Command:
    """Runs nq-tflite; temporary folders are made in `folder`."""
    from click.testing import CliRunner

    from nq_tflite.cli import nq_tflite

    tempfile.tempdir = str(folder)
    faults.set(rules)
    result = CliRunner().invoke(nq_tflite, arguments)
    hits = tuple(faults.hits(rule) for rule in range(rules.count(";") + 1)) if rules else ()
    faults.set("")
    unexpected = result.exception is not None and not isinstance(result.exception, SystemExit)
    trace = "".join(traceback.format_exception(result.exception)) if unexpected else ""
    return Command(result.exit_code, plain(result.output, folder), trace, hits)
