"""A fault made on purpose, for test_sanitized.py; every job's first argument is the runtime's name."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import nq_tflite as nq
from nq_tflite.device.native import load_library


def write_beyond_the_end(runtime: str, path: Path) -> str:
    """Lets the native library write a model's bits where there is room for one fewer, in a fork; what that printed."""
    interpreter = nq.Interpreter(path, runtime=runtime)
    interpreter.allocate_tensors()
    count, room = ctypes.c_int32(), len(interpreter.levels) - 1
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.POINTER(ctypes.c_int32), [ctypes.c_size_t]
    bits = libc.malloc(room * ctypes.sizeof(ctypes.c_int32))
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.dup2(writing, 2)
        load_library().nq_session_levels(interpreter._session.handle, ctypes.byref(count), bits, room + 1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stderr:
        printed = stderr.read()
    os.waitpid(child, 0)
    return printed
