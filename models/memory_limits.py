"""A process under a memory limit, and the smallest limit that it lives with."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nq_tflite.errors import ModelSourceError

CGROUPS = Path("/sys/fs/cgroup")
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


@dataclass(frozen=True)
class ControlGroup(MemoryLimit):
    """A memory control group for each run: anonymous memory, and pages of files that the run is the first to read.

    Attributes:
        parent: a folder of the control group file system that may get children.
        limit_file: the child's file that takes the limit.
        swap_file: the one that takes the limit of swapped bytes, where there is one.
    """

    parent: Path
    limit_file: str
    swap_file: str | None
    description: str

    def allows(self, command: Sequence[str], limit: int, patience: int = PATIENCE_SECONDS) -> bool:
        """As MemoryLimit.allows; the kernel ends a process that needs more."""
        with self._child(limit) as group:
            enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group)]
            return _ends_well([*enter, *command], patience)

    @contextmanager
    def _child(self, limit: int) -> Iterator[Path]:
        group = self.parent / f"nq_tflite_{os.getpid()}"
        group.mkdir()
        try:
            (group / self.limit_file).write_text(str(limit))
            if self.swap_file is not None and (group / self.swap_file).exists():
                (group / self.swap_file).write_text("0")
            yield group
        finally:
            _remove(group)


@dataclass(frozen=True)
class DataLimit(MemoryLimit):
    """RLIMIT_DATA, for want of control groups: private writable memory, whether it is ever touched or not."""

    description: str = "RLIMIT_DATA (no control group may be made here): private writable memory, touched or not"

    def allows(self, command: Sequence[str], limit: int, patience: int = PATIENCE_SECONDS) -> bool:
        """As MemoryLimit.allows; allocations beyond the limit fail."""
        return _ends_well(command, patience, limit)


def find_memory_limit(cgroups: Path = CGROUPS) -> MemoryLimit:
    """The best way of this machine: a control group of version 2, one of version 1, or else RLIMIT_DATA."""
    counted = "anonymous memory, and pages of files that are not in memory yet"
    for parent, limit_file, swap_file, version in (
        (cgroups, "memory.max", "memory.swap.max", 2),
        (cgroups / "memory", "memory.limit_in_bytes", None, 1),
    ):
        group = ControlGroup(parent, limit_file, swap_file, f"memory control group, version {version}: {counted}")
        if _can_limit(group):
            return group
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
            raise ModelSourceError("command", expected="one that ends well", got="it fails with 4 GiB of memory too")
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


def _can_limit(group: ControlGroup) -> bool:
    try:
        with group._child(1 << 30) as folder:
            return (folder / "cgroup.procs").exists()
    except OSError:
        return False


def _ends_well(command: Sequence[str], patience: int, limit_data: int | None = None) -> bool:
    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (patience, patience))
        if limit_data is not None:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_data, limit_data))

    timeout = patience * _PATIENCE_WITH_DISKS
    try:
        done = subprocess.run(command, capture_output=True, preexec_fn=prepare, timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _remove(group: Path) -> None:
    """A group whose last process has just been killed is busy for a moment."""
    for _ in range(100):
        try:
            group.rmdir()
            return
        except OSError:
            time.sleep(0.01)
    group.rmdir()
