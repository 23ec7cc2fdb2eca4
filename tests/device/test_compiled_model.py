"""nq.CompiledModel under LiteRT: the outputs of nq.Interpreter, switching, paging, errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compiled_jobs
import jobs
import numpy as np
import pytest

from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.nested import read_nested


@pytest.fixture(scope="module")
def litert(native_worker_of: Any) -> Any:
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("ai-edge-litert is not installed")
    return native_worker_of("ai-edge-litert")


@pytest.mark.parametrize("name", ["int8_8_5", "int8_8_6_4", "int8_6_3", "float_8_5", "float_8_6_4"])
def test_outputs_are_those_of_the_interpreter(name: str, litert: Any, nested_dir: Path, samples: np.ndarray) -> None:
    """At every precision, while loaded, mapped from a file and from bytes, with 1 and 2 threads."""
    path = nested_dir / f"{name}.tflite"
    order = [*Nesting.parse(name.split("_", 1)[1].replace("_", "|")).precisions, "full", "part"]
    wanted = litert(jobs.run_nested, path, samples[:4], order, builtin=False)
    assert not np.array_equal(wanted[0], wanted[-2])
    for source, threads in ((path, 1), (path, 2), (path.read_bytes(), 1)):
        got = litert(compiled_jobs.run_compiled, source, samples[:4], order, threads=threads)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kernels", ["builtin", "xnnpack"])
@pytest.mark.parametrize("fuse", [True, False])
def test_with_and_without_xnnpack(kernels: str, fuse: bool, litert: Any, nested_dir: Path, samples: np.ndarray) -> None:
    """What nq_tflite leaves is XNNPACK's or, where that is suppressed, of TFLite's own kernels."""
    path, order = nested_dir / "int8_8_5.tflite", ["full", "part", "full"]
    got = litert(compiled_jobs.run_compiled, path, samples[:4], order, kernels=kernels, fuse=fuse)
    if fuse:
        wanted = litert(jobs.run_nested, path, samples[:4], order, builtin=False)
    elif kernels == "builtin":
        wanted = litert(jobs.run_nested, path, samples[:4], order, builtin=True)
    else:
        wanted = litert(jobs.run_nested, path, samples[:4], order, builtin=False, fuse=False)
    np.testing.assert_array_equal(got, wanted)


def test_threads_are_as_many_as_the_options_say(litert: Any, nested_dir: Path, samples: np.ndarray) -> None:
    for threads in (1, 3):
        brought = litert(compiled_jobs.threads_of_compiled, nested_dir / "int8_8_5.tflite", samples, threads)
        assert brought == threads - 1


@pytest.mark.parametrize("times", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_toggling_repeats_outputs_and_gives_memory_back(
    times: int, litert: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    seen = litert(compiled_jobs.toggle_compiled, nested_dir / "int8_8_5.tflite", samples[:1], times)
    assert len(seen["full"]) == len(seen["part"]) == 1
    assert seen["moved"] == {seen["size"]}
    assert max(seen["resident part"]) <= 0.05 * seen["size"]
    assert seen["resident full"] == {seen["size"]}
    assert {each.place for each in seen["delegation"].nested} == {"fused"}
    assert seen["delegation"].num_partitions == 1  # before XNNPACK had its choice


def test_switching_from_another_thread_never_mixes_precisions(
    litert: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    seen = litert(compiled_jobs.switch_compiled_while_running, nested_dir / "int8_8_6_4.tflite", samples, 1000)
    assert len(seen["legal"]) == 3
    assert seen["outputs"] <= seen["legal"]
    assert len(seen["outputs"]) > 1


def test_every_call_of_the_stock_compiled_model(litert: Any, nested_dir: Path, samples: np.ndarray) -> None:
    got = litert(compiled_jobs.every_compiled_call, nested_dir / "int8_8_5.tflite", samples[:3])
    np.testing.assert_array_equal(got["by name"], got["single"][0])
    np.testing.assert_array_equal(got["batch"], got["single"])
    np.testing.assert_array_equal(got["shared"], got["single"])
    assert got["missing"] == []
    assert (got["precision"], got["levels"], got["accelerated"]) == (5, (5, 8), True)
    assert got["runtime"].startswith("ai-edge-litert ")


def test_layers_are_timed(litert: Any, nested_dir: Path, samples: np.ndarray) -> None:
    full, part = litert(compiled_jobs.profiled, nested_dir / "int8_8_5.tflite", samples)
    assert {layer.invocations for layer in full.layers} == {len(samples)}
    assert all(layer.least_seconds > 0 for layer in full.layers)
    assert [(layer.name, layer.invocations) for layer in part.layers] == [(layer.name, 0) for layer in full.layers]


def test_a_stock_model_runs_and_has_no_precision(
    litert: Any, int8_tflite: bytes, tmp_path: Path, samples: np.ndarray
) -> None:
    (tmp_path / "stock.tflite").write_bytes(int8_tflite)
    wanted = litert(jobs.run_stock, tmp_path / "stock.tflite", samples[:2], builtin=False)
    got = litert(compiled_jobs.run_stock_compiled, tmp_path / "stock.tflite", samples[:2])
    np.testing.assert_array_equal(got["outputs"], wanted)
    assert got["levels"] == ()
    assert "nested model" in got["error"]


def test_a_model_from_bytes_says_that_it_cannot_page(litert: Any, nested_dir: Path) -> None:
    [(text, file)] = litert(compiled_jobs.warnings_of_compiled, (nested_dir / "int8_8_5.tflite").read_bytes())
    assert "from_file" in text
    assert file == "compiled_jobs.py"  # where the call is


def test_damaged_files_and_levels(litert: Any, nested_dir: Path, tmp_path: Path) -> None:
    path, bad = nested_dir / "int8_8_5.tflite", tmp_path / "bad.tflite"
    section, data = read_nested(path).table.sections[0], bytearray(path.read_bytes())
    data[section.offset] ^= 1
    bad.write_bytes(data)
    kind, message = litert(compiled_jobs.error_of_compiled, bad, precision="part")
    assert kind == "FormatError"
    assert "checksum of level 0" in message
    data[data.index(b"NQOP") + 16] = 9
    bad.write_bytes(data)
    kind, message = litert(compiled_jobs.error_of_compiled, bad)
    assert kind == "FormatError"
    assert "layout is 9; expected" in message
    no_models = {b"no model": "TFL3", tmp_path / "missing.tflite": "readable", bytes(data[:99]): "ai-edge-litert"}
    for source, text in no_models.items():
        kind, message = litert(compiled_jobs.error_of_compiled, source)
        assert kind == "FormatError"
        assert text in message


def test_what_cannot_be_compiled_says_why(litert: Any, nested_dir: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    kind, message = litert(compiled_jobs.error_of_compiled, path, precision=6)
    assert kind == "PrecisionError"
    assert "[5, 8]" in message
    kind, message = litert(compiled_jobs.error_of_compiled, path, isa="mmx")
    assert "NQ_ISA=mmx" in message  # not that of the error before
    for hardware in (2, 3, 4):  # GPU, GPU | CPU, NPU
        kind, message = litert(compiled_jobs.error_of_compiled, path, hardware_accel=hardware)
        assert kind == "NqError"
        assert "on the CPU" in message
        assert "nq-tflite extract" in message
    assert litert(compiled_jobs.error_of_compiled, path, hardware_accel=1) == ("", "")
    kind, message = litert(compiled_jobs.error_in_a_stock_environment, path)
    assert kind == "NqError"
    assert "of another nq.CompiledModel" in message


@pytest.mark.parametrize("runtime", ["tflite-runtime", "tensorflow"])
def test_without_litert(runtime: str, native_worker_of: Any, nested_dir: Path) -> None:
    if runtime not in installed_runtimes():
        pytest.skip(f"{runtime} is not installed")
    kind, message = native_worker_of(runtime)(compiled_jobs.compiled_without_litert, nested_dir / "int8_8_5.tflite")
    assert kind == "MissingPackageError"
    assert "expected ai-edge-litert" in message
    assert runtime in message
    assert "pip install" in message
