"""Reshapes by computed shapes become constant where the batch alone is open, and go on fitting any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from graphs import Graph
from hypothesis import given, settings
from hypothesis import strategies as st

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.shape_arithmetic import fold_shapes

SHAPES = {"SHAPE", "GATHER", "REDUCE_PROD", "PACK", "STRIDED_SLICE"}


def names(model: Any) -> list[str]:
    return [fb.operator_name(model, operator) for operator in model.subgraphs[0].operators]


def run(content: bytes, values: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], values.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def test_a_transformer_loses_all_of_it(worker_of: Any, tmp_path: Path) -> None:
    """A ViT of Keras: Dense layers on three dimensions, and reshapes with a free batch."""
    from nq_tflite_models.nets.transformers import vit

    content = export(vit(side=16, blocks=1), None)
    model = fb.read_model(content).model
    before = names(model)
    assert set(before) >= SHAPES
    dropped = fold_shapes(model)
    assert SHAPES.isdisjoint(names(model))
    assert dropped == len(before) - len(names(model)) > 30
    (tmp_path / "before.tflite").write_bytes(content)
    (tmp_path / "after.tflite").write_bytes(fb.pack_model(model))
    litert = worker_of("ai-edge-litert")
    for batch in (1, 3):
        images = np.random.default_rng(batch).uniform(0, 1, (batch, 16, 16, 3)).astype(np.float32)
        [wanted] = litert(jobs.all_outputs, tmp_path / "before.tflite", images)
        [got] = litert(jobs.all_outputs, tmp_path / "after.tflite", images)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("samples", [None, 8])
def test_convert_folds(samples: int | None, tmp_path: Path) -> None:
    from nq_tflite_models.nets.transformers import vit

    images = None if samples is None else np.random.default_rng(0).uniform(0, 1, (samples, 16, 16, 3))
    nq.convert(vit(side=16, blocks=1), tmp_path / "nested.tflite", "8|5", images, rounding="nearest")
    assert SHAPES.isdisjoint(names(fb.read_model(tmp_path / "nested.tflite").model))


def reshaped(sizes: list[int], begin: int, end: int) -> tuple[Graph, int, int]:
    """input [N, *sizes] reshaped to [N, product of sizes[begin:end] with the rest around it], by computed sizes."""
    graph, shape = Graph(), (1, *sizes)
    x = graph.input(shape)
    vector: dict[str, Any] = {"dtype": np.int32, "version": 1}
    whole = graph.add("SHAPE", [x], (len(shape),), options=schema.ShapeOptionsT(outType=2), **vector)
    middle = graph.constant(np.arange(begin, end, dtype=np.int32))
    taken = graph.add("GATHER", [whole, middle], (end - begin,), options=schema.GatherOptionsT(), **vector)
    axis = graph.constant(np.array([0], np.int32))
    product = graph.add("REDUCE_PROD", [taken, axis], (1,), options=schema.ReducerOptionsT(keepDims=True), **vector)
    one = graph.constant(np.array([1], np.int32))

    def part(first: int, last: int) -> int:
        slots = [whole, *(graph.constant(np.array([n], np.int32)) for n in (first, last))]
        return graph.add(
            "STRIDED_SLICE", [*slots, one], (last - first,), options=schema.StridedSliceOptionsT(), **vector
        )

    parts = [*([part(0, begin)] if begin else []), product, *([part(end, len(shape))] if end < len(shape) else [])]
    count = begin + 1 + len(shape) - end
    new = graph.add("CONCATENATION", parts, (count,), options=schema.ConcatenationOptionsT(), **vector)
    return graph, x, new


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4), batch=st.integers(1, 3), data=st.data())
def test_any_axes_are_joined_as_before(sizes: list[int], batch: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, len(sizes)))
    end = data.draw(st.integers(begin + 1, len(sizes) + 1))
    graph, x, new = reshaped(sizes, begin, end)
    y = graph.add("RESHAPE", [x, new], (1,) * (begin + 2 + len(sizes) - end), dtype=np.float32, version=1)
    content = graph.build([y])
    model = fb.read_model(content).model
    fold_shapes(model)
    assert names(model) == ["RESHAPE"]
    values = np.arange(batch * np.prod(sizes), dtype=np.float32).reshape(batch, *sizes)
    np.testing.assert_array_equal(run(fb.pack_model(model), values), run(content, values))


def test_two_open_sizes_are_left() -> None:
    graph = Graph()
    x = graph.input((1, 6))
    batch = graph.add("SHAPE", [x], (2,), dtype=np.int32, options=schema.ShapeOptionsT(outType=2), version=1)
    first, one = graph.constant(np.array([0], np.int32)), graph.constant(np.array([1], np.int32))
    slots = [batch, first, one, one]
    size = graph.add("STRIDED_SLICE", slots, (1,), dtype=np.int32, options=schema.StridedSliceOptionsT(), version=1)
    six = graph.constant(np.array([6], np.int32))
    both = graph.add("CONCATENATION", [size, size, six], (3,), dtype=np.int32, options=schema.ConcatenationOptionsT())
    y = graph.add("RESHAPE", [x, both], (1, 1, 6), dtype=np.float32, version=1)
    model = fb.read_model(graph.build([y])).model
    assert fold_shapes(model) == 0
    assert names(model) == ["SHAPE", "STRIDED_SLICE", "CONCATENATION", "RESHAPE"]


def test_sizes_that_the_model_gives_away_stay() -> None:
    graph, x, new = reshaped([2, 3], 1, 3)
    y = graph.add("RESHAPE", [x, new], (1, 6), dtype=np.float32, version=1)
    model = fb.read_model(graph.build([y, new])).model
    assert fold_shapes(model) == 0
    shape = model.subgraphs[0].tensors[model.subgraphs[0].operators[-1].inputs[1]]
    assert fb.constant(model, shape).tolist() == [-1, 6]


def test_a_batch_that_no_signature_tells_of_stays_open() -> None:
    graph, x, new = reshaped([2, 3], 1, 3)
    y = graph.add("RESHAPE", [x, new], (1, 6), dtype=np.float32, version=1)
    model = fb.read_model(graph.build([y])).model
    for tensor in model.subgraphs[0].tensors:
        tensor.shapeSignature = None
    fold_shapes(model)
    assert run(fb.pack_model(model), np.zeros((4, 2, 3), np.float32)).shape == (4, 6)
