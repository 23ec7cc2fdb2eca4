"""Nested tables: rows that GATHER and EMBEDDING_LOOKUP copy, alone or of a weight that a dense layer reads too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested

ROWS, WIDTH, SCALE = 300, 75, 0.05
INDICES = np.array([0, 299, 17, 16, 15, 299, 64, 128, 5], np.int32)


def table_graph(kind: str, operator: str, *, tied: bool = False, axis: int = 0) -> bytes:
    """Indices [n] to rows of a table, and, tied, to their products with all rows."""
    rng = np.random.default_rng(7)
    graph = Graph()
    indices = graph.input((len(INDICES),), dtype=np.int32)
    if kind == "int8":
        table = graph.constant(rng.integers(-127, 128, (ROWS, WIDTH), np.int8), scale=SCALE)
    else:
        table = graph.constant(rng.normal(size=(ROWS, WIDTH)).astype(np.float32))
    scale = SCALE if kind == "int8" else None
    dtype = np.int8 if kind == "int8" else np.float32
    gather = operator == "GATHER"
    shape = (len(INDICES), WIDTH) if axis == 0 else (ROWS, len(INDICES))
    rows = graph.add(
        operator,
        [table, indices] if gather else [indices, table],
        shape,
        scale=scale,
        dtype=dtype,
        version=2 if gather else 1,
        options=schema.GatherOptionsT(axis=axis) if gather else None,
    )
    outputs = [rows]
    if tied:
        inputs, wide, scale = [rows, table, -1], (len(INDICES), ROWS), None if scale is None else 1.5
        options = schema.FullyConnectedOptionsT()
        outputs.append(graph.add("FULLY_CONNECTED", inputs, wide, scale=scale, dtype=dtype, version=6, options=options))
    return graph.build(outputs)


@pytest.mark.parametrize("operator", ["GATHER", "EMBEDDING_LOOKUP"])
@pytest.mark.parametrize(("kind", "nesting"), [("int8", "8|5"), ("float", "8|6|4"), ("float", "6|3")])
def test_rows_are_those_of_the_extracted_table(
    kind: str, nesting: str, operator: str, worker: Any, tmp_path: Path
) -> None:
    path = tmp_path / "nested.tflite"
    report = nq.convert(table_graph(kind, operator), path, nesting)
    assert [(row.operator, row.shape) for row in report.weights] == [(operator, (ROWS, WIDTH))]
    for precision in read_nested(path).precisions:
        stock = tmp_path / f"{precision}.tflite"
        nq.extract(path, stock, precision)
        [wanted] = worker(jobs.all_outputs, stock, INDICES)
        for fuse in (True, False):
            for threads in (1, 2):
                [got] = worker(jobs.all_outputs, path, INDICES, precision=precision, fuse=fuse, threads=threads)
                np.testing.assert_array_equal(got, wanted)
    [fused], [unpacked] = (worker(delegation_jobs.delegation, path, fuse=fuse, batches=(3,)) for fuse in (True, False))
    assert [(each.name, each.place) for each in fused.nested] == [(operator, "fused")]
    assert [(each.name, each.place) for each in unpacked.nested] == [(operator, "unpacked")]


def test_rounding_is_to_nearest(tmp_path: Path) -> None:
    """Every row is an output by itself: nothing makes up for a code that is not the nearest."""
    path = tmp_path / "nested.tflite"
    content = table_graph("int8", "GATHER")
    nq.convert(content, path, "8|5", INDICES)
    model = fb.read_model(content).model
    [weight] = read_nested(path).weights
    source = next(fb.constant(model, t) for t in model.subgraphs[0].tensors if fb.shape(t) == (ROWS, WIDTH))
    np.testing.assert_array_equal(weight.values(1), source)


@pytest.mark.parametrize("kind", ["int8", "float"])
@pytest.mark.parametrize("fuse", [True, False])
@pytest.mark.parametrize("index", [ROWS, -1])
def test_an_index_outside_the_table_is_an_error(index: int, fuse: bool, kind: str, worker: Any, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    nq.convert(table_graph(kind, "GATHER"), path, "8|5")
    bad = INDICES.copy()
    bad[3] = index
    message, after = worker(jobs.error_then_output, path, bad, INDICES, fuse=fuse)
    if fuse:
        assert f"index {index} is none of the {ROWS} rows" in message
    else:
        assert message
    nq.extract(path, tmp_path / "stock.tflite")
    np.testing.assert_array_equal(after, worker(jobs.all_outputs, tmp_path / "stock.tflite", INDICES)[0])


@pytest.mark.parametrize("kind", ["int8", "float"])
def test_a_table_that_a_dense_layer_reads_too_is_stored_once(kind: str, worker: Any, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    report = nq.convert(table_graph(kind, "GATHER", tied=True), path, "8|5")
    [row] = report.weights
    nested = read_nested(path)
    assert [weight.consumer for weight in nested.weights] == ["GATHER", "FULLY_CONNECTED"]
    assert nested.table.sections[0].size == row.level_bytes[0]
    [fused] = worker(delegation_jobs.delegation, path, fuse=True, batches=(2,))
    assert [(each.name, each.place) for each in fused.nested] == [("GATHER", "fused"), ("FULLY_CONNECTED", "fused")]
    for precision in ("full", "part"):
        stock = tmp_path / f"{precision}.tflite"
        nq.extract(path, stock, precision)
        wanted = worker(jobs.all_outputs, stock, INDICES)
        rows, products = worker(jobs.all_outputs, path, INDICES, precision=precision, fuse=True)
        np.testing.assert_array_equal(rows, wanted[0])
        np.testing.assert_allclose(products, wanted[1], atol=1 if kind == "int8" else 0.05 * np.abs(wanted[1]).max())


def test_extracting_and_converting_again_keeps_a_tied_table(tmp_path: Path) -> None:
    first, stock, second = (tmp_path / f"{name}.tflite" for name in ("first", "stock", "second"))
    nq.convert(table_graph("int8", "GATHER", tied=True), first, "8|5", exact=True)
    nq.extract(first, stock)
    nq.convert(stock, second, "8|5", exact=True)
    for old, new in zip(read_nested(first).weights, read_nested(second).weights, strict=True):
        np.testing.assert_array_equal(old.codes(), new.codes())
    assert read_nested(first).table == read_nested(second).table or first.stat().st_size == second.stat().st_size


def test_lookups_along_another_axis_stay(tmp_path: Path) -> None:
    with pytest.raises(nq.NqError, match="looked up along another axis than the first"):
        nq.convert(table_graph("float", "GATHER", axis=1), tmp_path / "nested.tflite", "8|5")
