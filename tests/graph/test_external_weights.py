"""Weights in files beside a model, as LiteRT's converter can leave them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import compiled_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.errors import FormatError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema

DEPTH, WIDTH, OFFSET = 64, 96, 128
#: As LiteRT's exporter numbers them.
FIRST_ID = 0x80000000


def dense_layers() -> bytes:
    """Two float dense layers."""
    rng, graph = np.random.default_rng(41), Graph()
    x = graph.input((1, DEPTH))
    for channels, depth in ((WIDTH, DEPTH), (WIDTH, WIDTH)):
        weight = graph.constant(rng.normal(0, 0.2, (channels, depth)).astype(np.float32))
        bias = graph.constant(rng.normal(size=channels).astype(np.float32))
        options = schema.FullyConnectedOptionsT()
        x = graph.add("FULLY_CONNECTED", [x, weight, bias], (1, channels), dtype=np.float32, version=1, options=options)
    return graph.build([x])


def externalized(path: Path, change: Callable[[Any], object] = lambda model: None) -> None:
    """Writes the layers with their weights in `weights.bin` beside `path`."""
    model = fb.read_model(dense_layers()).model
    blob, buffers = bytes(OFFSET), []
    for number, operator in enumerate(model.subgraphs[0].operators):
        tensor = model.subgraphs[0].tensors[operator.inputs[1]]
        data = model.buffers[tensor.buffer].data.tobytes()
        buffers.append(
            schema.ExternalBufferT(
                id=FIRST_ID + number, group=0, offset=len(blob), length=len(data), packing="unpacked"
            )
        )
        blob += data
        tensor.buffer, tensor.externalBuffer = 0, FIRST_ID + number
    model.externalBuffers = buffers
    model.externalBufferGroups = [schema.ExternalBufferGroupT(name="weights.bin")]
    change(model)
    path.write_bytes(fb.pack_model(model))
    path.with_name("weights.bin").write_bytes(blob)


def test_they_nest_as_if_they_were_inside(tmp_path: Path) -> None:
    externalized(tmp_path / "model.tflite")
    nq.convert(tmp_path / "model.tflite", tmp_path / "nested.tflite", rounding="squant")
    nq.convert(dense_layers(), tmp_path / "inside.tflite", rounding="squant")
    assert (tmp_path / "nested.tflite").stat().st_size == (tmp_path / "inside.tflite").stat().st_size
    for precision in ("full", "part"):
        made = [tmp_path / f"{name}_{precision}.tflite" for name in ("nested", "inside")]
        for path, name in zip(made, ("nested", "inside"), strict=True):
            nq.extract(tmp_path / f"{name}.tflite", path, precision)
        assert made[0].read_bytes() == made[1].read_bytes()
    assert not fb.read_model(tmp_path / "nested.tflite").model.externalBuffers


def test_litert_reads_the_same_from_them(native_worker_of: Any, tmp_path: Path) -> None:
    """The file beside the model is what LiteRT's CompiledModel reads, and its outputs are those of the whole model."""
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("no ai-edge-litert")
    externalized(tmp_path / "model.tflite")
    (tmp_path / "inside.tflite").write_bytes(dense_layers())
    inputs = np.random.default_rng(42).normal(size=(3, DEPTH)).astype(np.float32)
    run = native_worker_of("ai-edge-litert")
    outside = run(compiled_jobs.run_stock_compiled, tmp_path / "model.tflite", inputs)["outputs"]
    np.testing.assert_array_equal(outside, run(jobs.run_stock, tmp_path / "inside.tflite", inputs, builtin=False))


def renamed(name: str) -> Callable[[Any], object]:
    return lambda model: setattr(model.externalBufferGroups[0], "name", name)


def of_first(**values: Any) -> Callable[[Any], object]:
    return lambda model: [setattr(model.externalBuffers[0], name, value) for name, value in values.items()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (renamed("other.bin"), "expected the file .*other.bin, got No such file"),
        (renamed("../weights.bin"), "expected the name of a file in the model's folder, got '../weights.bin'"),
        (renamed("/etc/passwd"), "expected the name of a file in the model's folder, got '/etc/passwd'"),
        (renamed(""), "expected the name of a file in the model's folder, got ''"),
        (of_first(group=7), "expected the name of a file in the model's folder, got ''"),
        (of_first(offset=1 << 40), r"expected 1099511652352 bytes, got \d+"),
        (of_first(length=1 << 63), r"expected \d+ bytes, got \d+"),
        (of_first(length=4), "expected 24576 bytes for shape"),
        (of_first(id=5), "expected an external buffer with id 2147483648, got none"),
        (of_first(packing="zip"), "expected bytes that are not packed, got packing 'zip'"),
    ],
)
def test_what_cannot_be_read_is_refused(change: Callable[[Any], object], message: str, tmp_path: Path) -> None:
    externalized(tmp_path / "model.tflite", change)
    with pytest.raises(FormatError, match=message):
        nq.convert(tmp_path / "model.tflite", tmp_path / "nested.tflite", rounding="nearest")
    assert not (tmp_path / "nested.tflite").exists()


def test_bytes_have_no_files_beside_them(tmp_path: Path) -> None:
    externalized(tmp_path / "model.tflite")
    with pytest.raises(FormatError, match="Give the model's path"):
        nq.convert((tmp_path / "model.tflite").read_bytes(), tmp_path / "nested.tflite")
