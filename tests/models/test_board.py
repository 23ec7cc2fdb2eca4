"""The board kit: what it reads of a board, when it refuses, and all of it here or on an emulated Arm CPU."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import board_jobs
import pytest
from board_jobs import COOL
from nq_tflite_models import board
from nq_tflite_models.measure import board_facts, board_kit, board_record, perf_events
from nq_tflite_models.measure.board_sections import Timings

from nq_tflite.errors import MissingPackageError

#: A Raspberry Pi 5's processor, and one of two kinds of cores.
PI_5 = {"0xd0b": 4}
BIG_LITTLE = {"0xd05": 2, "0xd41": 2}
_TASK_CLOCK = {"clock": (1, 1)}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "board_decisions.md"


def lay_out(root: Path, parts: dict[str, int]) -> Path:
    """The files of a board whose later kinds of cores are stronger."""
    cores = [(kind, part) for kind, (part, count) in enumerate(parts.items()) for _ in range(count)]
    files = {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0", "proc/cpuinfo": ""}
    for index, (kind, part) in enumerate(cores):
        files["proc/cpuinfo"] += f"processor\t: {index}\nCPU part\t: {part}\n\n"
        folder = f"sys/devices/system/cpu/cpu{index}"
        # The little cores' clock is the higher one, which says nothing of their strength.
        clocks = {"cpuinfo_max_freq": 2_400_000 - 100_000 * kind, "scaling_cur_freq": 1_500_000}
        files |= {f"{folder}/cpufreq/{name}": str(value) for name, value in clocks.items()}
        files |= {f"{folder}/cpu_capacity": str(400 + 500 * kind), f"{folder}/cpufreq/scaling_governor": "ondemand\n"}
    files |= {"sys/class/thermal/thermal_zone0/temp": "48700\n", "sys/class/thermal/thermal_zone1/temp": "41000\n"}
    files["sys/devices/platform/soc/soc:firmware/get_throttled"] = "0\n"
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def no_vcgencmd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one folder on the PATH, without vcgencmd in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_what_a_board_is(tmp_path: Path) -> None:
    found = board_facts.read_board(lay_out(tmp_path, PI_5))
    assert (found.name, found.cores) == ("Raspberry Pi 5 Model B Rev 1.0", "4xA76@2400")
    assert found.clock_governor == "ondemand"
    mixed = board_facts.read_board(lay_out(tmp_path, BIG_LITTLE | {"0xfff": 1}))
    assert mixed.cores == "1x0xfff@2200+2xA55@2400+2xA78@2300"
    bare = board_facts.read_board(tmp_path / "nothing")
    assert bare.clock_governor is None


def test_the_fastest_core_is_the_last_of_the_strongest(tmp_path: Path) -> None:
    root = lay_out(tmp_path, BIG_LITTLE)
    assert board_facts.fastest_core({0, 1, 2, 3}, root) == 3
    assert board_facts.fastest_core({0, 1}, root) == 1
    assert board_facts.fastest_core({0, 1}, tmp_path / "nothing") == 1


def test_health(tmp_path: Path, no_vcgencmd: Path) -> None:
    root = lay_out(tmp_path, PI_5)
    assert board_facts.read_health(root) == replace(COOL, megahertz=1500.0)
    (no_vcgencmd / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x50004\n")
    (no_vcgencmd / "vcgencmd").chmod(0o755)
    assert board_facts.read_health(root).bits == 0x50004
    (no_vcgencmd / "vcgencmd").write_text("#!/bin/sh\necho VCHI initialization failed\nexit 255\n")
    assert board_facts.read_health(root).bits is None
    device = root / "sys/class/thermal/cooling_device0"
    device.mkdir()
    (device / "type").write_text("cpufreq-cpu0\n")
    for state, cooled in (("0\n", False), ("3\n", True)):
        (device / "cur_state").write_text(state)
        assert board_facts.read_health(root).cooled is cooled
    nothing = board_facts.read_health(tmp_path / "nothing")
    assert (nothing.celsius, nothing.megahertz, nothing.cooled) == (None, None, False)


@pytest.mark.parametrize(
    ("before", "after", "at_start", "at_end"),
    [
        (0x0, 0x0, None, None),
        (0x50000, 0x50000, None, None),  # earlier, and not since
        (0x4, 0x40004, "throttled", "throttled"),
        (0x9, 0x90009, "under-voltage, soft temperature limit", "under-voltage, soft temperature limit"),
        (0x50000, 0xD0000, None, "soft temperature limit"),  # meanwhile, and over
        (0x0, 0x20002, None, "clock capped"),
        (None, None, None, None),
    ],
)
def test_throttling(before: int | None, after: int | None, at_start: str | None, at_end: str | None) -> None:
    start, end = replace(COOL, bits=before), replace(COOL, bits=after)
    assert start.throttling() == at_start
    assert end.throttling(start) == at_end
    assert replace(end, cooled=True).throttling(start) is not None


def test_a_throttled_board_measures_nothing_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(board, "prepare", lambda folder, size: None)
    monkeypatch.setattr(board_kit, "read_health", lambda: replace(COOL, bits=0x50005))
    assert board.main([]) == 1
    *table, _, line = capsys.readouterr().out.splitlines()
    assert "REFUSED: under-voltage, throttled" in table[-1]
    record = json.loads(line)
    assert record["refused"] == "under-voltage, throttled"
    assert record["before"]["bits"] == "50005"
    assert "net" not in record


def test_models_that_cannot_be_made_are_made_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_schema(name: str) -> None:
        raise MissingPackageError("reading .tflite files", expected="ai-edge-litert or tensorflow", got="neither")

    monkeypatch.setattr(board_kit, "import_module", no_schema)
    with pytest.raises(MissingPackageError, match="--prepare"):
        board_kit.prepare(tmp_path / "kit", 32)


@pytest.fixture(scope="session")
def kit_folder(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The kit's models, the net for images of 32 x 32."""
    return made_once("board_kit", lambda folder: board_kit.prepare(folder, 32))


@pytest.mark.parametrize("runtime", ["ai-edge-litert", "tflite-runtime"])
def test_all_of_it(runtime: str, runtimes: tuple[str, ...], worker_of: Any, kit_folder: Path) -> None:
    if runtime not in runtimes:
        pytest.skip(f"{runtime} is not installed")
    record = worker_of(runtime)(board_jobs.measure, kit_folder, 32)
    assert record["exact"], record["sums"]
    assert record["runtime"].startswith(runtime)
    assert set(record["mac"]) == {*board_kit.layers(32), "dense cold"}
    assert len(record["net"]) == 1 + (len(os.sched_getaffinity(0)) > 1) + (
        record["kernels"]["matrix"] not in ("scalar", board_kit.OLDEST_ISA, "neon")
    )
    assert all(low <= middle <= high for net in record["net"].values() for low, middle, high in net["ms"].values())
    assert board_record.verdict(record).splitlines()[-1].endswith("| valid |")
    assert "NOT VALID" in board_record.verdict(record | {"throttled": "clock capped"})
    assert "**NO**" in board_record.verdict(record | {"exact": False})
    assert len(board_record.paste(_with_counts(record))) < board_record.MOST_BYTES


def _with_counts(record: board_record.Record) -> board_record.Record:
    """The record as a board with long names and a performance monitor would give it."""
    counts = {event: {"stock": 1234.0, "full": 1234.0, "part": 1234.0} for event in ("cycles", "instructions")}
    counts["l2_refills"] = {"stock": 0.1234, "full": 0.1234, "part": 0.1234}
    nets = {name: net | (counts if name.startswith("1 thread") else {}) for name, net in record["net"].items()}
    board = {"board": "Raspberry Pi 4 Model B Rev 1.5", "cores": "4xA55@2400+2xA78@2500+2xX1@2800"}
    return record | board | {"net": nets, "system": "Linux 6.12.47+rpt-rpi-v8-16k aarch64"}


def test_the_page_shows_a_line_and_names_its_figures() -> None:
    page = PAGE.read_text()
    [line] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    record = json.loads(line)
    assert record["kit"] == board_record.KIT
    assert record["exact"] is board_record.is_exact(record["sums"], record["size"]) is True
    assert len(board_record.paste(record)) < board_record.MOST_BYTES
    head, _, row = board_record.verdict(record).splitlines()
    assert head in page
    assert row in page
    assert set(re.findall(r'`mac\["(.+?)"\]', page)) <= set(record["mac"])


def test_counters_count_this_thread(tmp_path: Path) -> None:
    with perf_events.counters(_TASK_CLOCK) as counts:
        before = counts.read()
        sum(range(100_000))
        after = counts.read()
    assert all(after[name] > before[name] for name in counts.names)
    (tmp_path / "counts").write_bytes(struct.pack("=QQ", 5, 1 << 40))
    with (tmp_path / "counts").open("rb", buffering=0) as file:
        counts = perf_events.Counters({"cycles": file.fileno()})
        assert (counts.names, counts.read(), counts.read()) == (("cycles",), {"cycles": 5}, {"cycles": 1 << 40})
    with perf_events.counters({"none": (99, 99)}) as counts:
        assert counts.read() == {}
    timings = Timings(seconds=[0.1] * 3, counts=[{"cycles": cycles} for cycles in (7, 5, 9)])
    assert (timings.count("cycles"), timings.count("l2_refills")) == (7.0, 0.0)


@pytest.mark.slow
def test_command(kit_folder: Path) -> None:
    command = [sys.executable, "-m", "nq_tflite_models.board", "--size", "32", "--seconds", "0", "--cache", kit_folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    record = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == (1 if "refused" in record else 0), done.stderr
    assert record.get("exact", True)
