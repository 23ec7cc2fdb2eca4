"""Processes that load another build of the native library, such as one with AddressSanitizer and UBSan in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from nq_tflite.device.native import LIBRARY_VARIABLE

#: What must be in a process before a sanitized library: the sanitizer, and what C++ exceptions go through.
_PRELOADED = ("libasan.so", "libtsan.so", "libstdc++.so")
_OPTIONS = {
    # Python and the runtimes keep much until the process ends.
    "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    # Its own allocator would hide where one object ends and the next begins.
    "PYTHONMALLOC": "malloc",
}


def environment(library: Path) -> dict[str, str]:
    """Variables of a process that uses this build of libnq_tflite.so."""
    linked = subprocess.run(["ldd", library], check=True, capture_output=True, text=True).stdout
    fields = [line.split() for line in linked.splitlines()]
    preloaded = [words[2] for words in fields if words[0].startswith(_PRELOADED)]
    return _OPTIONS | {LIBRARY_VARIABLE: str(library), "LD_PRELOAD": " ".join(preloaded)}
