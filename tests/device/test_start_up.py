"""What starting a model costs, counted and not timed: modules that are imported, and calls as graphs grow."""

from __future__ import annotations

import subprocess
import sys

#: What others may have of the package at hand, but no start needs.
_WHEN_USED = ("nq_tflite.govern", "nq_tflite.device.compiled_model", "nq_tflite.graph", "nq_tflite.delivery")
#: Of Python's library: each takes milliseconds, NumPy and the runtimes bring none of them.
_SLOW = ("importlib.metadata", "email", "html", "difflib", "json.decoder", "logging", "zipfile", "socket")

_IMPORT = """
import sys, numpy
before = set(sys.modules)
import nq_tflite
print(*sorted(set(sys.modules) - before))
"""


def test_an_import_brings_what_an_interpreter_needs() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "nq_tflite.device.interpreter" in imported
    assert [name for name in imported if name in _SLOW or name.startswith(_WHEN_USED)] == []


def test_what_is_imported_later_is_there() -> None:
    code = "import nq_tflite as nq; print(nq.CompiledModel.__name__, nq.Governor.__name__, len(dir(nq)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["CompiledModel", "Governor"]
