"""A memory-limited control group for processes under test; needs root, or a group that was delegated to the user."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from nq_tflite.errors import NqError
from nq_tflite.govern.cgroup import locate_memory_group


class MemoryGroup:
    """A control group of its own, of version 2 or 1, made by `memory_group`."""

    def __init__(self, folder: Path, unified: bool) -> None:
        self._folder, self._unified = folder, unified

    def limit(self, num_bytes: int) -> None:
        """Sets what its processes may hold together, page cache included and swap excluded."""
        names = ("memory.max", "memory.swap.max") if self._unified else ("memory.limit_in_bytes",)
        for name, value in zip(names, (num_bytes, 0), strict=False):
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting
                (self._folder / name).write_text(str(value))
        if not self._unified:
            (self._folder / "memory.swappiness").write_text("0")

    def enter(self) -> None:
        """Moves the calling process in; what it holds already stays charged where it is."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def peak_bytes(self) -> int:
        """The most that its processes ever held."""
        return int((self._folder / ("memory.peak" if self._unified else "memory.max_usage_in_bytes")).read_text())

    @property
    def kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        file = self._folder / ("memory.events" if self._unified else "memory.oom_control")
        return next(int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith("oom_kill "))


@contextlib.contextmanager
def memory_group() -> Iterator[MemoryGroup]:
    """A group that is removed in the end; its processes must have ended by then.

    Raises:
        NqError: this system has no memory controller, or not for this user.
    """
    own, unified = locate_memory_group()
    if own is None:
        raise NqError("memory control group", expected="a memory controller", got="none on this system")
    try:
        # Version 2 keeps processes in leaves only, so the new group stands beside this process's own.
        parent = own.parent if unified and (own.parent / "cgroup.procs").exists() else own
        folder = Path(tempfile.mkdtemp(prefix="nq-", dir=parent))
        if not (folder / ("memory.max" if unified else "memory.limit_in_bytes")).exists():
            folder.rmdir()
            raise PermissionError("its parent does not hand on the memory controller")
    except OSError as error:
        raise NqError(
            f"memory control group below {own}",
            expected="a group that this user may create",
            got=str(error),
            fix="Run as root, or under: systemd-run --user --scope -p Delegate=yes.",
        ) from error
    try:
        yield MemoryGroup(folder, unified)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """A killed process leaves its group a moment after it is reaped."""
    for _ in range(50):
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return
    folder.rmdir()
