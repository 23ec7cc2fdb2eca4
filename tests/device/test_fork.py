"""nq.Interpreter in the children of os.fork(), as preloading servers make them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import fork_jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.device.runtimes import installed_runtimes

#: A plain end of the child, by the interpreter's own exit.
ENDS = """
import os, signal, sys
import numpy as np
import nq_tflite as nq
interpreter = nq.Interpreter(sys.argv[1], runtime=sys.argv[2], num_threads=2)
interpreter.allocate_tensors()
interpreter.invoke()
child = os.fork()
if child == 0:
    signal.alarm(60)
    sys.exit(0)
sys.exit(os.waitpid(child, 0)[1] != 0)
"""


@pytest.mark.parametrize(
    ("name", "threads"),
    [
        ("int8_8_5", 1),
        ("int8_8_5", 2),
        ("float_8_5", 1),
        pytest.param("float_8_5", 2, marks=pytest.mark.slow),  # children of tensorflow's own interpreter wait for ever
    ],
)
def test_a_child_uses_its_parents_interpreter(
    name: str, threads: int, cpu: str | None, worker: Any, nested_dir: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    """Whatever the runtime's own interpreter survives."""
    if cpu is not None and threads > 1:
        pytest.skip("qemu-user ends a child of fork() that starts a thread")
    path, stock = nested_dir / f"{name}.tflite", tmp_path / "stock.tflite"
    found = worker(fork_jobs.use_in_children, path, samples[:2], threads)
    failed = {what: became for what, became in found.items() if became}
    if failed:
        nq.extract(path, stock)
        survived = worker(fork_jobs.use_stock_in_children, stock, samples[:2], threads)
        failed = {what: became for what, became in failed.items() if survived.get(what) == ""}
    assert failed == {}


def test_a_fork_amid_switches(worker: Any, nested_dir: Path, samples: np.ndarray) -> None:
    assert set(worker(fork_jobs.fork_amid_switches, nested_dir / "int8_8_5.tflite", samples[:1], 40)) == {""}


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_a_child_ends_by_itself(runtime: str, nested_dir: Path) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    command = [sys.executable, "-c", ENDS, str(nested_dir / "int8_8_5.tflite"), runtime]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (0, "")
