"""A process under a memory limit, and the smallest limit that it lives with."""

from __future__ import annotations

import os
import resource
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from nq_tflite_models.measure.memory_group import memory_group

from nq_tflite.errors import ModelSourceError, NqError

#: Of a process's own time. One that must read its code from its files again and again, for want of memory, would still
#: end well, some day.
PATIENCE_SECONDS = 5
#: A process that waits for a disk all the while takes none of its own.
_PATIENCE_WITH_DISKS = 20


class MemoryLimit(ABC):
    """A way to limit what a command and its children hold."""

    #: What is limited and how, for a table.
    description: str

    @abstractmethod
    def allows(self, command: Sequence[str], limit: int, patience: int = PATIENCE_SECONDS) -> bool:
        """Whether the command ends well with `limit` bytes and in `patience` seconds. What it prints is lost."""


class ControlGroup(MemoryLimit):
    """A memory control group for each run: anonymous memory, and pages of files that the run is the first to read."""

    description = "a memory control group: anonymous memory, and pages of files that are not in memory yet"

    def allows(self, command: Sequence[str], limit: int, patience: int = PATIENCE_SECONDS) -> bool:
        """As MemoryLimit.allows; the kernel ends a process that needs more."""
        with memory_group() as group:
            group.limit(limit)
            return _ends_well(command, patience, group.enter)


class DataLimit(MemoryLimit):
    """RLIMIT_DATA, for want of control groups: private writable memory, whether it is ever touched or not."""

    description = "RLIMIT_DATA (no control group may be made here): private writable memory, touched or not"

    def allows(self, command: Sequence[str], limit: int, patience: int = PATIENCE_SECONDS) -> bool:
        """As MemoryLimit.allows; allocations beyond the limit fail."""
        return _ends_well(command, patience, lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)))


def find_memory_limit() -> MemoryLimit:
    """The best way that this machine allows: a control group, or else RLIMIT_DATA."""
    try:
        with memory_group():
            return ControlGroup()
    except NqError:
        return DataLimit()


def smallest_limit(allows: Callable[[int], bool], resolution: int, tries: int = 3) -> int:
    """The smallest multiple of `resolution` that allows, `tries` times in a row.

    Found by doubling and bisection; then in steps upwards, for whether a run fits may hang by a hair.

    Raises:
        ModelSourceError: not even 4 GiB do.

    Example:
        >>> smallest_limit(lambda limit: limit >= 37, 10)
        40
    """
    high = resolution
    while not allows(high):
        if high > 1 << 32:
            raise ModelSourceError(
                "command", expected="one that succeeds", got="one that fails even with 4 GiB of memory"
            )
        high *= 2
    low = high // 2
    while high - low > resolution:
        middle = (low + high) // 2 // resolution * resolution
        low, high = (low, middle) if allows(middle) else (middle, high)
    while not all(allows(high) for _ in range(tries)):
        high += resolution
    return high


def forget_cached_pages(path: str | Path) -> None:
    """Asks the system to forget what it has cached of a file, so that the next reader is charged for it."""
    with Path(path).open("rb") as file:
        os.fdatasync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _ends_well(command: Sequence[str], patience: int, enter: Callable[[], None]) -> bool:
    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))
        enter()

    timeout = patience * _PATIENCE_WITH_DISKS
    try:
        done = subprocess.run(command, capture_output=True, preexec_fn=prepare, timeout=timeout)
    except (OSError, subprocess.SubprocessError):  # too late, or too little even to start in
        return False
    return done.returncode == 0
