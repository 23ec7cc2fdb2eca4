"""Sensors against made-up /proc and /sys trees, and against this machine's own."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from nq_tflite.errors import MissingPackageError
from nq_tflite.govern import SENSORS, Sensors
from nq_tflite.govern.cgroup import CgroupMemory, MemoryCgroup

MB = 1 << 20


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def unified(tmp_path: Path) -> Path:
    """A process in /app of a version 2 hierarchy; gives /proc."""
    group = write(
        tmp_path / "cgroup/app",
        memory__max=f"{100 * MB}\n",
        memory__high=f"{80 * MB}\n",
        memory__current=f"{70 * MB}\n",
        memory__stat=f"anon 1\ninactive_file {10 * MB}\nactive_file 2\n",
        memory__events="low 0\nhigh 3\nmax 2\noom 0\n",
        memory__pressure="some avg10=12.50 avg60=1.00 avg300=0.00 total=5\nfull avg10=1.00 avg60=0 avg300=0 total=1\n",
    )
    mount = f"30 25 0:27 / {group.parent} rw - cgroup2 cgroup2 rw,nsdelegate\n"
    write(tmp_path / "proc/self", cgroup="0::/app\n", mountinfo=mount)
    return tmp_path / "proc"


@pytest.fixture
def legacy(tmp_path: Path) -> Path:
    """A process in /app of a version 1 memory hierarchy, of which a container sees its own part."""
    group = write(
        tmp_path / "memory",
        memory__usage_in_bytes=f"{50 * MB}\n",
        memory__failcnt="7\n",
        memory__stat=f"cache 1\nhierarchical_memory_limit {64 * MB}\ntotal_inactive_file {20 * MB}\n",
    )
    mounts = f"31 25 0:28 /app {group} rw - cgroup cgroup rw,memory\n30 25 0:27 / /none rw - cgroup2 cgroup2 rw\n"
    write(tmp_path / "proc/self", cgroup="4:memory:/app\n0::/\n", mountinfo=mounts)
    write(tmp_path / "proc/pressure", memory="some avg10=0.25 avg60=0.00 avg300=0.00 total=5\n")
    return tmp_path / "proc"


def test_a_unified_cgroup(unified: Path) -> None:
    assert MemoryCgroup(unified).read() == CgroupMemory(limit=80 * MB, used=60 * MB, throttled=5)
    group = unified.parent / "cgroup/app"
    write(group, memory__max="max\n", memory__high="max\n")
    assert MemoryCgroup(unified).read() == CgroupMemory(limit=None, used=60 * MB, throttled=5)


def test_a_legacy_cgroup(legacy: Path) -> None:
    assert MemoryCgroup(legacy).read() == CgroupMemory(limit=64 * MB, used=30 * MB, throttled=7)
    assert MemoryCgroup(legacy).pressure_file is None


def test_no_cgroup(tmp_path: Path) -> None:
    assert MemoryCgroup(tmp_path).read() is None
    write(tmp_path / "self", cgroup="0::/\n", mountinfo=f"30 25 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    assert MemoryCgroup(tmp_path).read() is None


def test_readings_of_a_group(unified: Path) -> None:
    sensors = Sensors(unified)
    names = ("memory_pressure", "memory_available", "memory_throttled")
    assert sensors.read(names) == {"memory_pressure": 12.5, "memory_available": 25.0, "memory_throttled": 0.0}
    write(unified.parent / "cgroup/app", memory__events="low 0\nhigh 4\nmax 2\n", memory__current=f"{90 * MB}\n")
    assert sensors.read(names)["memory_throttled"] == 1.0
    assert sensors.read(names) == {"memory_pressure": 12.5, "memory_available": 0.0, "memory_throttled": 0.0}


def test_pressure_is_the_systems_without_one_of_the_group(legacy: Path) -> None:
    assert Sensors(legacy).read(["memory_pressure"]) == {"memory_pressure": 0.25}
    (legacy / "pressure/memory").unlink()
    assert Sensors(legacy).read(["memory_pressure", "no such sensor"]) == {}


def test_what_psutil_reads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreadable() -> Any:
        raise OSError("no such device")

    def chips(*celsius: float) -> Any:
        return lambda: {"cpu": [SimpleNamespace(current=value) for value in celsius]}

    def battery(percent: float, plugged: bool) -> Any:
        return lambda: SimpleNamespace(percent=percent, power_plugged=plugged)

    sensors = Sensors(tmp_path)
    for name, function, reading, expected in (
        ("sensors_battery", battery(42, False), "battery", {"battery": 42.0}),
        ("sensors_battery", battery(42, True), "battery", {"battery": 100.0}),
        ("sensors_battery", lambda: None, "battery", {}),
        ("sensors_temperatures", chips(50.5, 61.0), "temperature", {"temperature": 61.0}),
        ("sensors_temperatures", chips(), "temperature", {}),
        ("sensors_temperatures", unreadable, "temperature", {}),
        ("cpu_freq", lambda: SimpleNamespace(current=600, max=1500), "cpu_frequency", {"cpu_frequency": 40.0}),
        ("cpu_freq", lambda: SimpleNamespace(current=600, max=0), "cpu_frequency", {}),
    ):
        monkeypatch.setattr(psutil, name, function, raising=False)
        assert sensors.read([reading]) == expected, (name, reading)


def test_this_machine() -> None:
    readings = Sensors().read()
    assert set(readings) <= set(SENSORS)
    assert 0 < readings["memory_available"] <= 100
    assert 0 <= readings["cpu_load"] <= 100


def test_psutil_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_psutil(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "psutil":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_psutil)
    with pytest.raises(MissingPackageError, match=r"pip install '\.\[govern\]'"):
        Sensors()
