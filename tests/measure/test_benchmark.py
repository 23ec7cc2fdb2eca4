"""Benchmark: sums, smaps, child processes, and a run of two invocations. No test looks at a time."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import pytest

from nq_tflite.device.native import kernels
from nq_tflite.device.runtimes import RuntimeName, installed_runtimes
from nq_tflite.errors import FormatError, MissingPackageError, NativeLibraryError, NqError, PrecisionError
from nq_tflite.graph.inspection import inspect_file
from nq_tflite.measure.benchmark import Series, benchmark, cpu_name, summarize
from nq_tflite.measure.child_process import run_in_child
from nq_tflite.measure.peers import find_peers
from nq_tflite.measure.resident import ResidentMemory, parse_smaps, resident_memory
from nq_tflite.measure.rounds import ROUND, interleaved

SMAPS = """\
55f0c0000000-55f0c0021000 rw-p 00000000 00:00 0                          [heap]
Size:                132 kB
Rss:                 100 kB
Pss:                 100 kB
Anonymous:           100 kB
VmFlags: rd wr mr mw me ac
7f0000000000-7f0000400000 r--s 00000000 08:02 1234                       /data/a model.tflite
Rss:                4000 kB
Pss:                2000 kB
Anonymous:             0 kB
7f0000400000-7f0000500000 r--s 00400000 08:02 1234                       /data/a model.tflite
Rss:                  96 kB
Pss:                  96 kB
Anonymous:             0 kB
7f0000600000-7f0000700000 r--s 00000000 08:02 1235                       /data/weights.cache
Rss:                  64 kB
Pss:                  64 kB
Anonymous:             0 kB
7f0001000000-7f0001100000 rw-p 00000000 08:02 99                         /usr/lib/libc.so.6
Rss:                  40 kB
Pss:                  11 kB
Private_Dirty:         8 kB
Anonymous:             8 kB
7f0002000000-7f0002100000 rw-p 00000000 00:00 0
Rss:                  12 kB
Pss:                   6 kB
Private_Dirty:         0 kB
Anonymous:            12 kB
"""


def test_summarize_pairs_rounds() -> None:
    model, part = Series("m", 8, (2.0, 4.0, 6.0)), Series("m", 5, (1.0, 1.0, 1.0))
    stock = Series("s", None, (1.0, 4.0, 2.0))
    first, second, third = summarize([model, part, stock], 2)
    assert (first.path, first.ratio, first.ratio_min, first.ratio_max) == ("s", 1.0, 1.0, 1.0)
    assert (second.bits, second.median_seconds) == (8, 4.0)
    assert (second.ratio, second.ratio_min, second.ratio_max) == (2.0, 1.0, 3.0)
    assert (third.bits, third.ratio) == (5, 0.5)


def test_sums_of_mappings() -> None:
    memory = ResidentMemory(anonymous=1, model_file=20, other_files=300)
    assert (memory.held, memory.total) == (21, 321)


def test_smaps_by_mapping() -> None:
    kilobytes = {"anonymous": 120, "model_file": 4096, "other_files": 32, "cache_file": 64, "private_dirty": 8}
    bytes_by_kind = {kind: 1024 * size for kind, size in kilobytes.items()}
    pss = 1024 * (100 + 2000 + 96 + 64 + 8 + 6)  # of a library, the private pages alone
    memory = parse_smaps(SMAPS.splitlines(), "/data/a model.tflite", "/data/weights.cache")
    assert memory == ResidentMemory(**bytes_by_kind, pss=pss)
    assert (memory.clean_files, memory.held) == (1024 * 4160, 1024 * 4280)
    assert memory - ResidentMemory(1024, 1024, 1024) == ResidentMemory(
        119 * 1024, 4095 * 1024, 31 * 1024, 64 * 1024, 8 * 1024, pss
    )
    assert parse_smaps(SMAPS.splitlines(), "/data/a model.tflite").other_files == 96 * 1024


def test_resident_memory_of_this_process(tmp_path: Path) -> None:
    memory = resident_memory(tmp_path / "not mapped")
    assert memory.anonymous > 1 << 20
    assert memory.model_file == 0
    assert memory.other_files > 1 << 20


def test_no_smaps_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nq_tflite.measure.resident.SMAPS", tmp_path / "smaps")
    with pytest.raises(NqError, match="Measure on Linux"):
        resident_memory("model.tflite")


def test_cpu_name_says_something() -> None:
    assert cpu_name()


@pytest.mark.parametrize(
    "runtime", ["ai-edge-litert", "tflite-runtime", pytest.param("tensorflow", marks=pytest.mark.slow)]
)
def test_benchmark_beside_others(runtime: str, nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    stock, nested, three = tmp_path / "stock.tflite", nested_dir / "int8_8_5.tflite", nested_dir / "int8_8_6_4.tflite"
    stock.write_bytes(int8_tflite)
    stages: list[tuple[int, int]] = []
    report = benchmark(
        nested,
        [stock, three],
        precisions=("part", "full", 5),
        runtimes=[runtime],
        runs=2,
        warmup=1,
        switches=2,
        reloads=1,
        progress=lambda stage, done, total: stages.append((done, total)),
    )
    assert stages == [(done, 4) for done in range(5)]
    (setting,) = report.settings
    assert setting.runtime.startswith(runtime)
    assert [(Path(each.path), each.bits) for each in setting.latencies] == [
        (stock, None),
        (nested, 5),
        (nested, 8),
        (three, 8),
    ]
    assert setting.latencies[0].ratio == 1.0
    assert report.baseline == str(stock)
    own, other, _ = report.footprints
    assert [state.bits for state in own.states] == [8, 5, 8]
    assert [state.bits for state in other.states] == [None]
    assert other.switch is None
    assert own.switch is not None
    assert own.switch.bytes_in == own.switch.bytes_out == inspect_file(nested).section_bytes[1]
    assert (own.switch.first_count, own.switch.count) == (1, 2)
    assert 0 < own.switch.first_upgrade_seconds < own.switch.first_upgrade_and_run_seconds
    full, part, again = (state.weights for state in own.states)
    assert full == again
    assert full is not None
    assert part is not None
    assert full - part >= 0.95 * own.switch.bytes_out
    page = os.sysconf("SC_PAGE_SIZE")
    assert own.states[0].added.model_file - own.states[1].added.model_file >= 0.95 * own.switch.bytes_out - page
    counted_late = 64 * page  # the kernel keeps the peak from counters that threads bring up to date in batches
    assert own.peak is None or own.peak >= own.states[0].added.total - counted_late
    assert own.states[0].added.model_file <= nested.stat().st_size + page
    assert report.as_dict()["footprints"][0]["switch"]["count"] == 2
    assert own.delegation is not None
    assert len(own.delegation.nested) == len(inspect_file(nested).weights)
    assert other.delegation is None


def test_a_model_alone_is_its_own_baseline(nested_dir: Path) -> None:
    report = benchmark(
        nested_dir / "int8_8_5.tflite", runs=1, warmup=0, switches=1, reloads=1, threads=(1, 2), precisions=("full",)
    )
    assert [(setting.num_threads, len(setting.latencies)) for setting in report.settings] == [(1, 1), (2, 1)]
    assert report.baseline.endswith("int8_8_5.tflite")


@pytest.mark.skipif("ai-edge-litert" not in installed_runtimes(), reason="peers need ai-edge-litert")
def test_peers_beside_a_stock_file(nested_dir: Path, int8_tflite: bytes, tmp_path: Path) -> None:
    stock, nested = tmp_path / "stock.tflite", nested_dir / "int8_8_5.tflite"
    stock.write_bytes(int8_tflite)
    report = benchmark(nested, [stock], runs=2, warmup=0, switches=1, reloads=1, peers=("weight-cache", "ynnpack"))
    assert [each.peer for each in report.settings[0].latencies][:4] == [None, None, None, "weight-cache"]
    cached = next(each for each in report.footprints if each.peer == "weight-cache")
    assert cached.path == str(stock)
    assert cached.cache_bytes is not None
    assert 0 < cached.states[0].added.cache_file <= cached.cache_bytes + os.sysconf("SC_PAGE_SIZE")
    assert cached.first_start_seconds is not None
    assert {"ynnpack"} == report.missing_peers.keys() or any(each.peer == "ynnpack" for each in report.footprints)
    assert list(tmp_path.iterdir()) == [stock]  # the cache lay elsewhere and is gone


def test_a_peer_is_missing_where_no_runtime_has_it(
    monkeypatch: pytest.MonkeyPatch, int8_tflite: bytes, tmp_path: Path
) -> None:
    stock = tmp_path / "stock.tflite"
    stock.write_bytes(int8_tflite)
    reasons = {
        ("weight-cache", "tflite-runtime"): "runs under ai-edge-litert only",
        ("ynnpack", "ai-edge-litert"): "not compiled",
        ("ynnpack", "tflite-runtime"): "runs under ai-edge-litert only",
    }
    monkeypatch.setattr(
        "nq_tflite.measure.peers.run_in_child",
        lambda module, job: {"reason": reasons.get((job["kind"], job["runtime"]))},
    )
    orders: list[list[RuntimeName]] = [["ai-edge-litert", "tflite-runtime"], ["tflite-runtime", "ai-edge-litert"]]
    for runtimes in orders:
        found, missing = find_peers([str(stock)], runtimes, ("weight-cache", "ynnpack"))
        assert found == {"ai-edge-litert": [(str(stock), "weight-cache")], "tflite-runtime": []}
        assert missing == {"ynnpack": "not compiled"}
    only = find_peers([str(stock)], ["tflite-runtime"], ("ynnpack",))
    assert only == ({"tflite-runtime": []}, {"ynnpack": "runs under ai-edge-litert only"})


def test_peers_that_cannot_run_say_why(nested_dir: Path) -> None:
    nested = nested_dir / "int8_8_5.tflite"
    report = benchmark(nested, [nested], runs=1, warmup=0, switches=1, reloads=1, peers=("weight-cache",))
    assert report.missing_peers == {"weight-cache": "no stock model to run"}
    assert all(each.peer is None for each in report.footprints)


def test_short_invocations_are_timed_together() -> None:
    class Model:
        def __init__(self, seconds: float) -> None:
            self.seconds, self.count = seconds, 0

        def invoke(self) -> None:
            self.count += 1
            end = time.perf_counter() + self.seconds
            while time.perf_counter() < end:
                pass

    quick, slow = Model(1e-5), Model(1.5e-2)
    (many, once), (seconds, _) = interleaved([quick, slow], runs=3, warmup=1)
    assert 1 < many <= ROUND / 1e-5
    assert (once, slow.count) == (1, 8 + 4 * 2)
    assert quick.count >= 4 * (1 + many)
    assert min(seconds) >= 1e-5


def test_an_isa_of_ones_own(nested_dir: Path) -> None:
    nested = nested_dir / "int8_8_5.tflite"
    assert benchmark(nested, runs=1, warmup=0, switches=1, reloads=1, isa="scalar").isa == "scalar"
    with pytest.raises(NativeLibraryError, match="NQ_ISA=mmx is not"):
        benchmark(nested, isa="mmx")


def test_the_kernel_of_each_kind_is_told(nested_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of "matrix" names the whole where one name is asked for: unpacking may be done by another one's."""
    monkeypatch.setenv("NQ_ISA", "scalar")
    assert kernels() == dict.fromkeys(
        ("matrix", "depthwise", "unpack", "quantize", "addition", "elementwise", "checksum"), "scalar"
    )
    base = "sse2" if platform.machine() == "x86_64" else "generic"
    report = benchmark(nested_dir / "int8_8_5.tflite", runs=1, warmup=0, switches=1, reloads=1, isa=base)
    assert (report.isa, report.kernels) == ("scalar", kernels() | {"unpack": base})
    monkeypatch.setenv("NQ_ISA", "mmx")
    with pytest.raises(NativeLibraryError, match="NQ_ISA=mmx is not"):
        kernels()


def test_errors_come_back_from_children(nested_dir: Path, tmp_path: Path) -> None:
    nested = nested_dir / "int8_8_5.tflite"
    with pytest.raises(FormatError, match="No such file"):
        benchmark(nested, [tmp_path / "missing.tflite"])
    with pytest.raises(PrecisionError, match="got 6"):
        benchmark(nested, precisions=[6])
    with pytest.raises(MissingPackageError, match="TFLite runtime"):
        benchmark(nested, runtimes=["no-such-runtime"])
    (tmp_path / "noise.tflite").write_bytes(bytes(range(256)))
    with pytest.raises(FormatError, match=r"noise\.tflite"):
        benchmark(tmp_path / "noise.tflite")


def test_a_child_that_dies_is_an_error() -> None:
    with pytest.raises(NqError, match=r"child process \(dance\): expected an answer, got exit code 1.*KeyError"):
        run_in_child("nq_tflite.measure.benchmark", {"job": "dance"})
