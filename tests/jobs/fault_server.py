"""A process into which the fault shim (custom_ops/tests/fault_shim.cc) is preloaded, and which forks a child a job.

`FaultyProcess` is the client, `serve` what the process does. Everything that jobs import is imported once:
a fault costs milliseconds and not a second. A child that dies tells by which signal.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

TESTS = Path(__file__).resolve().parents[1]
SOURCE = TESTS.parent / "custom_ops" / "tests" / "fault_shim.cc"
#: After which a job counts as hanging, and dies of SIGALRM.
PATIENCE_SECONDS = 120


def build_shim(folder: Path) -> Path:
    """Compiles the shim."""
    shim = folder / "libnq_fault_shim.so"
    strict = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-fno-exceptions", "-fno-rtti"]
    subprocess.run(["c++", *strict, "-o", shim, SOURCE, "-ldl"], check=True)
    return shim


@dataclass(frozen=True)
class Ended:
    """How a job ended: by a signal (0: by none; -1: an exception, which is on stderr), with this result."""

    signal: int
    value: Any


class Faults:
    """The shim as a job of the process sees it; fault_shim.cc explains the rules."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._set, self._hits = library.nq_faults, library.nq_faults_hits
        self._set.argtypes, self._set.restype = [ctypes.c_char_p], None
        self._hits.argtypes, self._hits.restype = [ctypes.c_int], ctypes.c_long

    def set(self, rules: str) -> None:
        """Replaces the rules."""
        self._set(rules.encode())

    def hits(self, rule: int = 0) -> int:
        """How many calls have matched a rule."""
        return int(self._hits(rule))


class FaultyProcess:
    """A context manager; `run` runs `job(faults, *arguments)` in a child of its own."""

    def __init__(self, shim: Path) -> None:
        environment = os.environ | {
            "LD_PRELOAD": str(shim),
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(str(TESTS / each) for each in ("jobs", "support")),
        }
        command = [sys.executable, "-c", "import fault_server; fault_server.serve()"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def __enter__(self) -> FaultyProcess:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_SECONDS)

    def run(self, job: Callable[..., Any], *arguments: Any, kill_after: float | None = None) -> Ended:
        """Runs a job; `kill_after` so many seconds it is killed."""
        assert self._process.stdin
        assert self._process.stdout
        _send(self._process.stdin, (job, arguments, kill_after))
        ended: Ended = _receive(self._process.stdout)
        return ended


def _send(stream: BinaryIO, value: Any) -> None:
    data = pickle.dumps(value)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO) -> Any:
    head = stream.read(8)
    if not head:
        raise EOFError
    return pickle.loads(stream.read(struct.unpack("<Q", head)[0]))  # noqa: S301 - the other process is ours


def _answer(faults: Faults, job: Callable[..., Any], arguments: tuple[Any, ...], writer: int) -> NoReturn:
    signal.alarm(PATIENCE_SECONDS)
    try:
        value = job(faults, *arguments)
        faults.set("")
        with os.fdopen(writer, "wb") as answer:
            pickle.dump(value, answer)
        os._exit(0)
    finally:  # a child never goes on as its parent
        faults.set("")
        traceback.print_exc()
        os._exit(1)


def _run_forked(faults: Faults, job: Callable[..., Any], arguments: tuple[Any, ...], kill_after: float | None) -> Ended:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(faults, job, arguments, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        if kill_after is not None and not select.select([answer], [], [], kill_after)[0]:
            os.kill(child, signal.SIGKILL)
        data = answer.read()
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and not data:
        return Ended(-1, None)
    value = pickle.loads(data) if data else None  # noqa: S301 - the child's
    return Ended(os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, value)


def serve() -> None:
    """Answers calls on stdin, until it ends."""
    calls, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints is no answer
    faults = Faults()
    import fault_jobs

    fault_jobs.import_everything()
    while True:
        try:
            job, arguments, kill_after = _receive(calls)
        except EOFError:
            return
        _send(answers, _run_forked(faults, job, arguments, kill_after))
