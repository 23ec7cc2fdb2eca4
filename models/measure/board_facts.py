"""What a Linux board says of itself: its cores, their clock, its temperature, and whether it is throttled.

Files are read below `root`, so that tests can lay out a board of their own.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
#: CPU parts of Arm's own design (implementer 0x41), by /proc/cpuinfo's number.
PARTS = {
    "0xc07": "A7",
    "0xc08": "A8",
    "0xc09": "A9",
    "0xc0f": "A15",
    "0xd03": "A53",
    "0xd04": "A35",
    "0xd05": "A55",
    "0xd07": "A57",
    "0xd08": "A72",
    "0xd09": "A73",
    "0xd0a": "A75",
    "0xd0b": "A76",
    "0xd0c": "N1",
    "0xd0d": "A77",
    "0xd40": "V1",
    "0xd41": "A78",
    "0xd44": "X1",
    "0xd46": "A510",
    "0xd47": "A710",
    "0xd48": "X2",
    "0xd49": "N2",
    "0xd4f": "V2",
}
#: What the bits of a Raspberry Pi's `get_throttled` say of now; the same 16 bits higher, of any time since its start.
_THROTTLED = ("under-voltage", "clock capped", "throttled", "soft temperature limit")
_NOW = (1 << len(_THROTTLED)) - 1
_AT_HWCAP, _AT_HWCAP2 = 16, 26
_CPUS = Path("sys/devices/system/cpu")


@dataclass(frozen=True)
class Board:
    """What does not change while a board measures.

    Attributes:
        name: of the board, or of its processor.
        system: kernel, version and machine.
        cores: parts with their greatest clock, "4xA76@2400".
        hwcap: features that the kernel announces, in hexadecimal, of both words.
        clock_governor: of the first core; None where there is none.
    """

    name: str
    system: str
    cores: str
    hwcap: str
    clock_governor: str | None


@dataclass(frozen=True)
class Health:
    """What does.

    Attributes:
        celsius: the greatest temperature; megahertz: the greatest clock. None where the system tells none.
        bits: of a Raspberry Pi's get_throttled; None on others.
        cooled: whether the system holds clocks down for the temperature.
    """

    celsius: float | None
    megahertz: float | None
    bits: int | None
    cooled: bool

    def throttling(self, before: Health | None = None) -> str | None:
        """Why no time should be trusted; None if nothing speaks against it.

        `before` is the health at the start: what has happened since the board's start counts from there alone.
        """
        bits = self.bits or 0
        now = bits & _NOW
        if before is not None:
            now |= (bits >> 16) & ~((before.bits or 0) >> 16) & _NOW
        words = [word for index, word in enumerate(_THROTTLED) if now >> index & 1]
        return ", ".join([*words, *(["clock held down for the temperature"] if self.cooled else [])]) or None


def read_board(root: Path = ROOT) -> Board:
    """Reads what a board is."""
    cpuinfo = _text(root / "proc/cpuinfo") or ""
    name = (_text(root / "proc/device-tree/model") or "").rstrip("\0")
    named = (line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name"))
    system = platform.uname()
    return Board(
        name=name or next(named, platform.machine()),
        system=f"{system.system} {system.release} {system.machine}",
        cores=_cores(cpuinfo, root),
        hwcap=_hwcap(),
        clock_governor=_text(root / _CPUS / "cpu0/cpufreq/scaling_governor"),
    )


def read_health(root: Path = ROOT) -> Health:
    """Reads how it is. Asks `vcgencmd` if it is on the PATH, and else the firmware's file in /sys."""
    zones = (root / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [float(value) / 1000 for value in map(_text, zones) if value]
    clocks = [mhz for core in _core_folders(root) if (mhz := megahertz(int(core.name[3:]), root)) is not None]
    return Health(
        celsius=max(degrees, default=None),
        megahertz=max(clocks, default=None),
        bits=_throttled_bits(root),
        cooled=any(_holds_clock_down(device) for device in (root / "sys/class/thermal").glob("cooling_device*")),
    )


def megahertz(core: int, root: Path = ROOT) -> float | None:
    """A core's clock now; None where the system does not tell."""
    kilohertz = _text(root / _CPUS / f"cpu{core}/cpufreq/scaling_cur_freq")
    if kilohertz:
        return float(kilohertz) / 1000
    clocks = [line for line in (_text(root / "proc/cpuinfo") or "").splitlines() if line.startswith("cpu MHz")]
    return float(clocks[core].partition(":")[2]) if core < len(clocks) else None


def fastest_core(allowed: set[int], root: Path = ROOT) -> int:
    """The allowed core with the greatest capacity, or clock; the last one of several, which interrupts disturb least.

    Where the capacities of a board's cores differ, the kernel says so; a clock alone would not tell a little core.
    """

    def strength(core: int) -> tuple[int, int, int]:
        folder = root / _CPUS / f"cpu{core}"
        return int(_text(folder / "cpu_capacity") or 0), _greatest_kilohertz(folder), core

    return max(allowed, key=strength)


def _cores(cpuinfo: str, root: Path) -> str:
    parts = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("CPU part")]
    cores = _core_folders(root)
    names = [PARTS.get(part, part) for part in parts] or ["cpu"] * len(cores)
    clocks = [_greatest_kilohertz(core) // 1000 for core in cores]
    clocks += [0] * (len(names) - len(clocks))
    counted = Counter(zip(names, clocks, strict=False))
    return "+".join(f"{count}x{name}" + (f"@{mhz}" if mhz else "") for (name, mhz), count in sorted(counted.items()))


def _core_folders(root: Path) -> list[Path]:
    return sorted((root / _CPUS).glob("cpu[0-9]*"), key=lambda folder: int(folder.name[3:]))


def _greatest_kilohertz(core: Path) -> int:
    return int(_text(core / "cpufreq/cpuinfo_max_freq") or 0)


def _hwcap() -> str:
    """The kernel's own words of the C library's getauxval; on x86 they say little."""
    ask = ctypes.CDLL(None).getauxval
    ask.restype, ask.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    return f"{ask(_AT_HWCAP):x}.{ask(_AT_HWCAP2):x}"


def _throttled_bits(root: Path) -> int | None:
    try:
        answer = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, check=False)
    except OSError:
        bits = _text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
        return int(bits, 16) if bits else None
    word, _, value = answer.stdout.strip().partition("=")
    return int(value, 16) if word == "throttled" else None


def _holds_clock_down(device: Path) -> bool:
    kind, state = _text(device / "type") or "", _text(device / "cur_state")
    return "cpu" in kind.lower() and state not in (None, "", "0")


def _text(path: Path) -> str | None:
    """A small file's text; None if the system has none, or keeps it to itself."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
