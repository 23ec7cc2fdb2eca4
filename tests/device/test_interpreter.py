"""nq.Interpreter and the plugin under every stock runtime: exact outputs, paging, switching, errors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
import switching_jobs

import nq_tflite as nq
from nq_tflite.device import interpreter, native
from nq_tflite.errors import FormatError, MissingPackageError, ModelSourceError, NativeLibraryError, NqError
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph.nested import read_nested

FILES = ["int8_8_5", "int8_8_6_4", "int8_6_3", "float_8_5", "float_8_6_4", "float_6_3"]


def precisions_of(name: str) -> tuple[int, ...]:
    return Nesting.parse(name.split("_", 1)[1].replace("_", "|")).precisions


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("threads", [1, 2])
def test_outputs_are_those_of_the_extracted_model(
    name: str, threads: int, worker: Any, nested_dir: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    """With the runtime's builtin kernels, at every precision, mapped from a file and from bytes.

    Bit for bit, but for float convolutions on several threads: the runtime takes another kernel, with another order of
    additions, for a constant filter than for a computed one.
    """
    tolerance = 1e-5 if name.startswith("float") and threads > 1 else 0.0
    path = nested_dir / f"{name}.tflite"
    order = [*precisions_of(name), "full", "part"]
    wanted = {}
    for precision in precisions_of(name):
        nq.extract(path, tmp_path / f"{precision}.tflite", precision)
        wanted[precision] = worker(jobs.run_stock, tmp_path / f"{precision}.tflite", samples[:4], threads=threads)
    wanted |= {"part": wanted[min(wanted)], "full": wanted[max(wanted)]}
    for source in (path, path.read_bytes()):
        got = worker(jobs.run_nested, source, samples[:4], order, threads=threads)
        for precision, outputs in zip(order, got, strict=True):
            np.testing.assert_allclose(
                outputs, wanted[precision], tolerance, tolerance, err_msg=f"precision {precision}"
            )
    assert not np.array_equal(wanted["full"], wanted["part"])


@pytest.mark.parametrize("name", ["int8_8_5", "float_8_5"])
@pytest.mark.parametrize("threads", [1, 2])
def test_with_xnnpack_on_a_switch_gives_what_a_fresh_interpreter_gives(
    name: str, threads: int, worker: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    path = nested_dir / f"{name}.tflite"
    [fresh] = worker(jobs.run_nested, path, samples[:4], ["part"], threads=threads, builtin=False)
    _, switched, full = worker(
        jobs.run_nested, path, samples[:4], ["full", "part", "full"], threads=threads, builtin=False
    )
    np.testing.assert_array_equal(switched, fresh)
    assert not np.array_equal(full, fresh)


@pytest.mark.parametrize("times", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_toggling_repeats_outputs_and_gives_memory_back(
    times: int, worker: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    seen = worker(switching_jobs.toggle, nested_dir / "int8_8_5.tflite", samples[:1], times)
    assert len(seen["full"]) == len(seen["part"]) == 1
    assert seen["moved"] == {seen["size"]}
    assert max(seen["resident part"]) <= 0.05 * seen["size"]
    assert seen["resident full"] == {seen["size"]}


def test_switching_from_another_thread_never_mixes_precisions(
    worker: Any, nested_dir: Path, samples: np.ndarray
) -> None:
    seen = worker(switching_jobs.switch_while_running, nested_dir / "int8_8_6_4.tflite", samples, 1000)
    assert set(seen["outputs"]) <= set(seen["legal"].values())
    assert len(set(seen["legal"].values())) == 3
    assert min(seen["switches"], seen["runs"]) >= 1000


def test_every_call_of_the_stock_interpreter(worker: Any, nested_dir: Path, samples: np.ndarray) -> None:
    got = worker(jobs.every_public_call, nested_dir / "int8_8_5.tflite", samples[:3])
    np.testing.assert_array_equal(got["tensor()"], got["single"])
    np.testing.assert_array_equal(got["signature"], got["single"])
    np.testing.assert_allclose(got["batch"][:1], got["single"])
    assert got["batch"].shape == (3, got["single"].shape[1])
    assert got["missing"] == []
    assert got["signatures"]["serving_default"]["inputs"]
    assert (got["precision"], got["levels"]) == (5, (5, 8))
    assert got["tensors"] > 10


def test_an_interpreter_says_what_it_is_and_closes(worker: Any, nested_dir: Path, stock_dir: Path) -> None:
    path, stock = nested_dir / "int8_8_5.tflite", stock_dir / "int8.tflite"
    seen = worker(jobs.shown_and_closed, path, stock)
    assert seen["open"].startswith(f"<nq.Interpreter {path}: 5 bits of 8|5, ")
    assert seen["stock"].startswith(f"<nq.Interpreter {stock}: a stock model, ")
    assert seen["closed"] == f"<nq.Interpreter {path}: closed>"
    assert seen["before"] > 0
    assert re.fullmatch(r"5 to 8 bits: [\d.]+ [kM]?B paged in, \d+\.\d\d ms", seen["switch"])
    assert "nested weights fused" in seen["delegation"]
    assert "Send the model's path" in seen["pickled"]
    assert len(seen["copied"]) == 2
    assert all(each.startswith("copying an nq.Interpreter") and "Load the model" in each for each in seen["copied"])
    assert all("got one that was closed. Load it again." in each for each in seen["after"])


def test_a_model_from_bytes_switches_and_says_that_it_cannot_page(worker: Any, nested_dir: Path) -> None:
    got = worker(switching_jobs.paging_of_content, (nested_dir / "int8_8_5.tflite").read_bytes())
    assert got == {"warnings": got["warnings"], "can_page": False, "moved": 0, "bits": (8, 5)}
    assert "model_path" in got["warnings"][0]


def test_a_stock_model_runs_and_has_no_precision(
    worker: Any, int8_tflite: bytes, tmp_path: Path, samples: np.ndarray
) -> None:
    (tmp_path / "stock.tflite").write_bytes(int8_tflite)
    wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", samples[:2])
    got = worker(jobs.run_stock_through_nq, tmp_path / "stock.tflite", samples[:2])
    np.testing.assert_array_equal(got["outputs"], wanted)
    assert (got["levels"], got["can_page"], got["resident"]) == ((), False, 0)
    assert "nested model" in got["error"]


def test_a_file_whose_tail_has_not_arrived_runs_part_bit(
    worker: Any, nested_dir: Path, samples: np.ndarray, tmp_path: Path
) -> None:
    whole = nested_dir / "int8_8_5.tflite"
    data, residual = whole.read_bytes(), read_nested(whole).table.sections[1]
    partial = tmp_path / "partial.tflite"
    partial.write_bytes(data[: residual.offset] + bytes(residual.size))
    got = worker(switching_jobs.upgrade_damaged, partial, whole, samples[:2])
    assert "checksum" in got["message"].lower()
    assert got["precision"] == 5
    np.testing.assert_array_equal(got["after"], got["before"])
    [wanted] = worker(jobs.run_nested, whole, samples[:2], ["full"], builtin=False)
    np.testing.assert_array_equal(got["full"], wanted)


# ---- bad files under the native library ------------------------------------------------------------------------------


def damaged(path: Path, offset: int, value: bytes) -> bytes:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(value)] = value
    return bytes(data)


def test_damaged_level_0_is_refused(worker: Any, nested_dir: Path, tmp_path: Path) -> None:
    path = nested_dir / "int8_8_5.tflite"
    section = read_nested(path).table.sections[0]
    bad = damaged(path, section.offset + 3, bytes([path.read_bytes()[section.offset + 3] ^ 1]))
    (tmp_path / "bad.tflite").write_bytes(bad)
    for source in (tmp_path / "bad.tflite", bad):
        kind, message = worker(jobs.error_of, source, precision="part")
        assert kind == "FormatError"
        assert "checksum" in message.lower()


def test_damaged_blocks_and_tables_are_refused(worker: Any, nested_dir: Path, tmp_path: Path) -> None:
    """One byte of each field; the message comes from the native library."""
    path = nested_dir / "int8_8_5.tflite"
    data = path.read_bytes()
    block, table = data.index(b"NQOP"), data.index(b"NQST")
    for offset, value in [
        (block, b"X"),
        (block + 4, b"\x07"),
        (block + 8, b"\xff\xff"),
        (block + 12, b"\x80"),
        (block + 16, b"\x09"),
        (block + 18, b"\x09"),
        (block + 19, b"\x00"),
        (block + 20, b"\xff\xff\xff\xff"),
        (block + 24, b"\x00\x00\x00\x00"),
        (block + 32, b"\x01"),
        (block + 39, b"\x7f"),
        (block + 40, b"\x07"),
        (table, b"X"),
        (table + 4, b"\x07"),
        (table + 12, b"\x01"),
        (table + 16, b"\x01"),
        (table + 30, b"\x7f"),
        (table + 32, b"\x00\x00\x00\x00"),
    ]:
        (tmp_path / "bad.tflite").write_bytes(damaged(path, offset, value))
        kind, message = worker(jobs.error_of, tmp_path / "bad.tflite")
        assert kind in ("FormatError", "PrecisionError"), (offset, value, message)
        assert "expected" in message, (offset, value, message)


def test_truncated_files_are_refused(worker: Any, nested_dir: Path, tmp_path: Path) -> None:
    data = (nested_dir / "int8_8_5.tflite").read_bytes()
    start = read_nested(nested_dir / "int8_8_5.tflite").table.sections[0].offset
    for keep in (start + 10, len(data) - 1):
        (tmp_path / "bad.tflite").write_bytes(data[:keep])
        kind, message = worker(jobs.error_of, tmp_path / "bad.tflite")
        assert kind == "FormatError"
        assert message


def test_unknown_precisions_and_missing_files(worker: Any, nested_dir: Path, tmp_path: Path) -> None:
    kind, message = worker(jobs.error_of, nested_dir / "int8_8_5.tflite", precision=6)
    assert kind == "PrecisionError"
    assert "5, 8" in message
    kind, message = worker(jobs.error_of, tmp_path / "missing.tflite")
    assert kind == "FormatError"


# ---- missing parts ---------------------------------------------------------------------------------------------------


def test_unknown_runtimes_are_named() -> None:
    with pytest.raises(MissingPackageError, match="ai-edge-litert, tflite-runtime, tensorflow"):
        nq.Interpreter("model.tflite", runtime="onnxruntime")


def test_a_runtime_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nq_tflite.device.runtimes.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="none installed") as caught:
        nq.Interpreter("model.tflite")
    assert "pip install" in str(caught.value)


@pytest.mark.parametrize("content", [None, b"not a library"])
def test_missing_or_foreign_native_library(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "libnq_tflite.so"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(path))
    native.load_library.cache_clear()
    with pytest.raises(NativeLibraryError, match=str(path)) as caught:
        nq.Interpreter("model.tflite")
    assert "einstall" in str(caught.value)
    native.load_library.cache_clear()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda content: np.frombuffer(content, np.uint8)])
def test_content_in_any_object_that_holds_bytes(kind: Any) -> None:
    assert interpreter._plain_bytes(kind(b"TFL3")) == b"TFL3"


@pytest.mark.parametrize(("content", "message"), [("model.tflite", "Pass a path as model_path"), (5, "got a int")])
def test_content_that_is_none(content: Any, message: str) -> None:
    with pytest.raises(ModelSourceError, match=message):
        interpreter._plain_bytes(content)


def test_numbers_of_threads() -> None:
    assert [interpreter._plain_threads(each) for each in (None, 2, np.int64(3), np.uint8(4))] == [None, 2, 3, 4]
    for wrong in (0, -1, True, 2.0, "2", np.float32(2)):
        with pytest.raises(NqError, match="a whole number above 0, or None, got"):
            interpreter._plain_threads(wrong)


def test_an_extension_that_was_built_for_another_numpy(monkeypatch: pytest.MonkeyPatch, nested_dir: Path) -> None:
    """tflite-runtime 2.14 beside NumPy 2 fails with a SystemError that names neither."""

    class Broken:
        def load_delegate(self, *arguments: Any) -> None:
            return None

        def interpreter(self, **options: Any) -> None:
            raise SystemError("CreateWrapperFromFile returned a result with an exception set")

    monkeypatch.setattr(interpreter, "load_runtime", lambda name: Broken())
    with pytest.raises(MissingPackageError, match=r"below 2 for tflite-runtime, got NumPy .*numpy<2"):
        nq.Interpreter(nested_dir / "int8_8_5.tflite")


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("a\0b.tflite", FormatError, "a name without a zero byte"),
        ("a\ud800b.tflite", FormatError, "a name that utf-8, this system's encoding of file names, can encode"),
        ("a\udcffb.tflite", ModelSourceError, "a path in UTF-8"),
    ],
)
def test_names_that_no_runtime_takes(name: str, error: type[NqError], message: str, tmp_path: Path) -> None:
    if error is ModelSourceError:
        (tmp_path / name).write_bytes(b"\0\0\0\0TFL3" + bytes(16))
    with pytest.raises(error, match=message):
        nq.Interpreter(tmp_path / name)
