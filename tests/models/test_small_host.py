"""Memory limits, the search for the smallest, and the command that prints it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
from click.testing import CliRunner
from nq_tflite_models.measure import memory_limits
from nq_tflite_models.measure.memory_limits import DataLimit, MemoryLimit, find_memory_limit, smallest_limit
from nq_tflite_models.small_host import small_host

from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import ModelSourceError, NqError

MEBIBYTE = 1 << 20


@pytest.mark.parametrize("need", [1, 7, 8, 9, 64, 1000, 12_345])
@pytest.mark.parametrize("resolution", [1, 8, 10])
def test_the_smallest_multiple_that_fits(need: int, resolution: int) -> None:
    assert smallest_limit(lambda limit: limit >= need, resolution) == -(-need // resolution) * resolution


def test_a_limit_holds_three_times_in_a_row() -> None:
    calls = count()
    assert smallest_limit(lambda limit: limit >= 40 and (limit >= 50 or next(calls) % 3 == 0), 1) == 50


def test_a_command_that_never_ends_well_is_an_error() -> None:
    with pytest.raises(ModelSourceError, match="4 GiB"):
        smallest_limit(lambda limit: False, MEBIBYTE)


@pytest.mark.parametrize("limit", [DataLimit(), find_memory_limit()], ids=["data", "this machine's"])
def test_limits_limit(limit: MemoryLimit) -> None:
    def command(code: str) -> list[str]:
        return [sys.executable, "-c", code]

    holds_64 = command("memory = bytearray(64 << 20); memory[::4096] = bytes(len(memory[::4096]))")
    assert limit.allows(holds_64, 160 * MEBIBYTE)
    assert not limit.allows(holds_64, 48 * MEBIBYTE)
    assert not limit.allows(command("raise SystemExit(1)"), 160 * MEBIBYTE)
    assert not limit.allows(command("while True: pass"), 160 * MEBIBYTE, patience=1)


def test_without_control_groups_it_says_what_it_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise NqError("memory control group", expected="a memory controller", got="none on this system")

    monkeypatch.setattr(memory_limits, "memory_group", refuse)
    assert isinstance(find_memory_limit(), DataLimit)
    assert "RLIMIT_DATA" in find_memory_limit().description


def test_one_process_runs_a_model_and_imports_no_more_than_a_device_has(nested_dir: Path) -> None:
    model, [runtime, *_] = str(nested_dir / "int8_8_5.tflite"), installed_runtimes()
    code = "import sys; from nq_tflite_models.run_once import main; main(*sys.argv[1:]); print(*sys.modules)"
    for arguments in ([], [model, "full"], [model, "part"]):
        done = subprocess.run([sys.executable, "-c", code, runtime, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        loaded = {each.split(".")[0] for each in done.stdout.split()}
        assert not loaded & {"tensorflow", "flatbuffers", "click", "rich", "PIL", "bitarray"}


def test_nested_and_stock_belong_together() -> None:
    result = CliRunner().invoke(small_host, ["--nested", "a.tflite"])
    assert result.exit_code == 2
    assert "give --nested and --stock together." in result.output


@pytest.mark.slow
def test_command(nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    (tmp_path / "stock.tflite").write_bytes(int8_tflite)
    files = ["--nested", nested_dir / "int8_8_5.tflite", "--stock", tmp_path / "stock.tflite"]
    options = [*files, "--runtime", installed_runtimes()[0], "--resolution", "4096", "--json"]
    result = CliRunner().invoke(small_host, list(map(str, options)))
    assert result.exit_code == 0, result.output
    needs = json.loads(result.stdout)["needs"]
    assert [need["what"] for need in needs] == ["no model", "stock", "full-bit", "part-bit"]
    assert all(need["bytes"] % (4096 * 1024) == 0 and need["bytes"] > 4 * MEBIBYTE for need in needs)
