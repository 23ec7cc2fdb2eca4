"""The readings of the device that a governor can use, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from nq_tflite.errors import needing_extra
from nq_tflite.govern.cgroup import MemoryCgroup

#: Every reading and what it means.
SENSORS: dict[str, str] = {
    "memory_pressure": "percent of the last 10 s in which tasks waited for memory (PSI)",
    "memory_available": "percent of memory, or of the control group's limit, to be had without swapping",
    "memory_throttled": "how often the control group ran into its memory limit since the last reading",
    "battery": "charge in percent on battery, 100 on mains",
    "temperature": "the hottest sensor's degrees Celsius",
    "cpu_load": "percent of all cores since the last reading",
    "cpu_frequency": "percent of the highest frequency",
}


class Sensors:
    """Reads the device through /proc, /sys and psutil.

    >>> Sensors().read(["memory_available"])["memory_available"] > 0
    True

    Args:
        proc: where /proc is mounted.

    Raises:
        MissingPackageError: psutil is not installed.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._psutil = _psutil()
        self._cgroup = MemoryCgroup(proc)
        self._pressure = self._cgroup.pressure_file or proc / "pressure/memory"
        self._throttled: int | None = None
        self._readers: dict[str, Callable[[], float | None]] = {
            "memory_pressure": self._read_pressure,
            "memory_available": self._read_available,
            "memory_throttled": self._read_throttled,
            "battery": self._read_battery,
            "temperature": self._read_temperature,
            "cpu_load": lambda: float(self._psutil.cpu_percent(None)),
            "cpu_frequency": self._read_frequency,
        }

    def read(self, names: Iterable[str] = tuple(SENSORS)) -> dict[str, float]:
        """Readings by name; those that this device does not have, and names that are no sensor's, are left out."""
        readings = {name: self._readers[name]() for name in names if name in self._readers}
        return {name: value for name, value in readings.items() if value is not None and math.isfinite(value)}

    def _read_pressure(self) -> float | None:
        try:
            some = self._pressure.read_text().splitlines()[0]
        except (OSError, IndexError):  # a kernel without PSI, or one that has it switched off
            return None
        return float(some.split("avg10=")[1].split()[0])

    def _read_available(self) -> float:
        memory, group = self._psutil.virtual_memory(), self._cgroup.read()
        available, total = memory.available, memory.total
        if group is not None and group.limit is not None and group.limit < total:
            total = group.limit
            available = min(available, max(0, group.limit - group.used))
        return 100.0 * int(available) / max(int(total), 1)

    def _read_throttled(self) -> float | None:
        group = self._cgroup.read()
        if group is None:
            return None
        before, self._throttled = self._throttled, group.throttled
        return 0.0 if before is None else float(group.throttled - before)

    def _read_battery(self) -> float | None:
        battery = self._optional("sensors_battery")
        if battery is None:
            return None
        return 100.0 if battery.power_plugged else float(battery.percent)

    def _read_temperature(self) -> float | None:
        chips = self._optional("sensors_temperatures") or {}
        values = [sensor.current for sensors in chips.values() for sensor in sensors if sensor.current is not None]
        return max(values, default=None)

    def _read_frequency(self) -> float | None:
        frequency = self._optional("cpu_freq")
        return None if frequency is None or not frequency.max else 100 * frequency.current / frequency.max

    def _optional(self, name: str) -> Any:
        """What psutil has on some systems only."""
        function = getattr(self._psutil, name, None)
        try:
            return None if function is None else function()
        except OSError:  # a sensor that is listed and cannot be read
            return None


def _psutil() -> ModuleType:
    with needing_extra("govern", "device sensors"):
        import psutil
    module: ModuleType = psutil
    return module
