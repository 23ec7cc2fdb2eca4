"""Memory of this process's control group, version 2 or 1: what it holds, may hold, and how often it was throttled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: What version 1 says for "no limit", on every page size.
_NO_LIMIT = 1 << 62


@dataclass(frozen=True)
class CgroupMemory:
    """Attributes:
    limit: bytes that the group may hold before the system throttles or kills; None for no limit.
    used: bytes that it holds and the system cannot simply take back.
    throttled: how often it ran into its limits, since it was made.
    """

    limit: int | None
    used: int
    throttled: int


class MemoryCgroup:
    """The memory controller's folder of this process.

    Args:
        proc: where /proc is mounted; tests have their own.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._folder, self._unified = locate_memory_group(proc)

    @property
    def pressure_file(self) -> Path | None:
        """The group's own memory.pressure, where the system has it."""
        path = self._folder / "memory.pressure" if self._folder is not None and self._unified else None
        return path if path is not None and path.is_file() else None

    def read(self) -> CgroupMemory | None:
        """Its memory now; None without a memory controller, or in the root group of version 2."""
        if self._folder is None:
            return None
        try:
            return _read_unified(self._folder) if self._unified else _read_legacy(self._folder)
        except OSError:  # the root group has none of these files, and a container may hide them
            return None


def _read_unified(folder: Path) -> CgroupMemory:
    limits = [_number(folder / name) for name in ("memory.max", "memory.high")]
    known = [limit for limit in limits if limit is not None]
    events = _table(folder / "memory.events")
    return CgroupMemory(
        limit=min(known) if known else None,
        used=max(0, int((folder / "memory.current").read_text()) - _table(folder / "memory.stat")["inactive_file"]),
        throttled=events.get("high", 0) + events.get("max", 0),
    )


def _read_legacy(folder: Path) -> CgroupMemory:
    stat = _table(folder / "memory.stat")
    limit = stat.get("hierarchical_memory_limit", _NO_LIMIT)
    return CgroupMemory(
        limit=limit if limit < _NO_LIMIT else None,
        used=max(0, int((folder / "memory.usage_in_bytes").read_text()) - stat.get("total_inactive_file", 0)),
        throttled=int((folder / "memory.failcnt").read_text()),
    )


def _number(path: Path) -> int | None:
    text = path.read_text().strip()
    return None if text == "max" else int(text)


def _table(path: Path) -> dict[str, int]:
    return {name: int(value) for name, value in (line.split() for line in path.read_text().splitlines())}


def locate_memory_group(proc: Path = Path("/proc")) -> tuple[Path | None, bool]:
    """The group's folder below its mount, and whether that is version 2."""
    try:
        groups = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
        mounts = [line.split(" - ") for line in (proc / "self/mountinfo").read_text().splitlines()]
    except OSError:
        return None, False
    paths = {controllers: path for _, controllers, path in groups}
    for mount, rest in mounts:
        root, point = mount.split()[3:5]
        kind, _, options = rest.split(maxsplit=2)
        if kind == "cgroup" and "memory" in options.split(",") and "memory" in paths:
            return _below(point, root, paths["memory"]), False
    for mount, rest in mounts:
        root, point = mount.split()[3:5]
        if rest.split()[0] == "cgroup2" and "" in paths:
            return _below(point, root, paths[""]), True
    return None, False


def _below(point: str, root: str, path: str) -> Path:
    """A mount may show a part of the hierarchy only, as containers' do."""
    relative = path[len(root) :] if root != "/" and path.startswith(root) else path
    return Path(point) / relative.strip("/")
