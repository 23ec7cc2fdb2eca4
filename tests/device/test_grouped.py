"""Weights with group scales on the device: fused layers and lookups beside the unpacked ones and the extracted file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from repacked import repacked
from tied_graph import tied_graph

import nq_tflite as nq
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

INDICES = np.array([0, 99, 5, 7], np.int32)
#: What quantizing the activations of two dense layers may cost, rows of which have parts of very different sizes.
FUSED_SNR_DB = 30.0


@pytest.mark.parametrize(("nesting", "group_size"), [("8|4", 32), ("8|6|4", 64), ("4|3|2", 128)])
def test_outputs_are_those_of_the_extracted_file(nesting: str, group_size: int, worker: Any, tmp_path: Path) -> None:
    path, stock = tmp_path / "nested.tflite", tmp_path / "stock.tflite"
    nq.convert(tied_graph(), path, nesting, group_size=group_size)
    for precision in read_nested(path).precisions:
        nq.extract(path, stock, precision)
        rows, products = worker(jobs.all_outputs, stock, INDICES)
        for threads in (1, 2):
            got_rows, got = worker(jobs.all_outputs, path, INDICES, precision=precision, fuse=True, threads=threads)
            np.testing.assert_array_equal(got_rows, rows)
            error = np.sum(np.square(got - products, dtype=np.float64))
            assert 10 * np.log10(np.sum(np.square(products, dtype=np.float64)) / error) > FUSED_SNR_DB
        unpacked = worker(jobs.all_outputs, path, INDICES, precision=precision, fuse=False)
        np.testing.assert_array_equal(unpacked[0], rows)
        # The runtime multiplies by a constant in another order.
        np.testing.assert_allclose(unpacked[1], products, atol=1e-5 * np.abs(products).max())
    [fused] = worker(delegation_jobs.delegation, path, fuse=True, batches=(2,))
    assert [each.place for each in fused.nested] == ["fused"] * 3


@pytest.mark.parametrize("precision", ["full", "part"])
def test_every_instruction_set_gives_the_same_bytes(precision: str, worker: Any, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    nq.convert(tied_graph(), path, "8|4", group_size=32)
    _, wanted = worker(jobs.all_outputs, path, INDICES, precision=precision, isa="scalar")
    for isa in ("avx2", "avx512vnni", "neon", "neondotprod"):
        for got in worker(jobs.all_outputs, path, INDICES, precision=precision, isa=isa)[1:]:
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(("weights", "precision", "snr_db"), [("int8", "full", 25), ("int4", "part", 15)])
def test_extracted_dynamic_range_files_run(
    weights: Any, precision: str, snr_db: float, worker_of: Any, tmp_path: Path
) -> None:
    """Rounded once more, so not the same: INT8 by channels whose groups differ by far, INT4 by the groups."""
    worker = worker_of("ai-edge-litert")  # tflite-runtime is older than blockwise INT4
    path, stock = tmp_path / "nested.tflite", tmp_path / "stock.tflite"
    nq.convert(tied_graph(), path, "8|4", group_size=32)
    nq.extract(path, stock, precision, weights=weights)
    rows, products = worker(jobs.all_outputs, stock, INDICES)
    wanted_rows, wanted = worker(jobs.all_outputs, path, INDICES, precision=precision, fuse=True)
    np.testing.assert_array_equal(rows, wanted_rows)
    error = np.sum(np.square(products - wanted, dtype=np.float64))
    assert 10 * np.log10(np.sum(np.square(wanted, dtype=np.float64)) / error) > snr_db


def change_scales(model: Any, kind: str) -> None:
    tensor = next(t for t in model.subgraphs[0].tensors if b"group_scale" in t.name)
    buffer = model.buffers[tensor.buffer]
    if kind == "shape":
        tensor.shape = list(tensor.shape)[::-1]
    elif kind == "type":
        tensor.type = schema.TensorType.INT16
    elif kind == "value":
        buffer.data = np.concatenate([np.array([0, 0xFC], np.uint8), np.asarray(buffer.data)[2:]])
    elif kind == "padding":
        buffer.data = np.concatenate([np.asarray(buffer.data)[:-2], np.array([0, 0x3C], np.uint8)])
    elif kind == "absent":
        tensor.buffer = 0
    else:
        operator = next(o for o in model.subgraphs[0].operators if o.customOptions is not None)
        operator.inputs = list(operator.inputs)[:-1]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", "the group scale has type 10, shape"),
        ("type", "the group scale has type 7"),
        ("value", "0 or a positive, normal number"),
        ("padding", "belongs to no channel; expected 0"),
        ("absent", "group scale"),
        ("inputs", "5 inputs and 1 outputs; expected 6 and 1"),
    ],
)
@pytest.mark.parametrize("fuse", [True, False])
def test_damaged_scales_are_refused(fuse: bool, kind: str, message: str, worker: Any, tmp_path: Path) -> None:
    nq.convert(tied_graph(), tmp_path / "nested.tflite", "8|4", group_size=32)
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(repacked((tmp_path / "nested.tflite").read_bytes(), lambda model: change_scales(model, kind)))
    name, text = worker(jobs.error_of, damaged, fuse=fuse)
    assert (name, message in text) == ("FormatError", True), text
