"""Counts of this thread's cycles and instructions by the kernel's perf_event_open, without a library."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

_SYSCALLS = {"x86_64": 298, "aarch64": 241, "armv7l": 364, "armv8l": 364}
_HARDWARE, _RAW = 0, 4
#: Type and number of an event. On Arm, 0x17 is L2D_CACHE_REFILL of the architecture's own numbers.
EVENTS = {"cycles": (_HARDWARE, 0), "instructions": (_HARDWARE, 1)}
if platform.machine() != "x86_64":
    EVENTS["l2_refills"] = (_RAW, 0x17)
#: struct perf_event_attr in its first size: type, size, config, four fields of 0, flags, and what follows them.
_ATTRIBUTES = struct.Struct("=IIQ24xQ16x")
#: Without the kernel and a hypervisor: all that /proc/sys/kernel/perf_event_paranoid = 2 allows.
_USER_ALONE = 1 << 5 | 1 << 6


class Counters:
    """Events of the thread that opened them, counted from then on."""

    def __init__(self, files: Mapping[str, int]) -> None:
        self._files = files

    @property
    def names(self) -> tuple[str, ...]:
        """What this system lets the process count; empty where it lets it count nothing."""
        return tuple(self._files)

    def read(self) -> dict[str, int]:
        """Counts so far."""
        return {name: struct.unpack("=Q", os.read(file, 8))[0] for name, file in self._files.items()}


@contextmanager
def counters(events: Mapping[str, tuple[int, int]] = EVENTS) -> Iterator[Counters]:
    """Opens the events that the system has and allows; emulators, most containers and many virtual machines have none.

    Args:
        events: type and number of each, by the name to count it under.

    Example:
        with counters() as counts:
            before = counts.read()  # {"cycles": 12345, "instructions": 23456}
    """
    with ExitStack() as stack:
        files = {}
        for name, event in events.items():
            file = _open(*event)
            if file >= 0:
                stack.callback(os.close, file)
                files[name] = file
        yield Counters(files)


def _open(kind: int, number: int) -> int:
    """A file of counts; -1 if there is none."""
    call = _SYSCALLS.get(platform.machine())
    if call is None:
        return -1
    attributes = _ATTRIBUTES.pack(kind, _ATTRIBUTES.size, number, _USER_ALONE)
    this_thread, any_cpu, no_group = 0, -1, -1
    words = (ctypes.c_long(each) for each in (this_thread, any_cpu, no_group, 0))
    return int(ctypes.CDLL(None).syscall(ctypes.c_long(call), attributes, *words))
