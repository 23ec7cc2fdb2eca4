"""The types of a model in memory, and what its tensors' scales say."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from graphs import Graph

from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph import model as types
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.quantization import (
    activation_scale,
    bias_quantization,
    covered_values,
    real_constant,
    scale_and_zero_point,
    scales_of,
    stored_values,
)

PROTOCOLS = {
    "BufferT": types.BufferT,
    "MetadataT": types.MetadataT,
    "ModelT": types.ModelT,
    "OperatorCodeT": types.OperatorCodeT,
    "OperatorT": types.OperatorT,
    "QuantizationParametersT": types.QuantizationT,
    "SignatureDefT": types.SignatureDefT,
    "SubGraphT": types.SubGraphT,
    "TensorMapT": types.TensorMapT,
    "TensorT": types.TensorT,
}


@pytest.mark.parametrize("package", ["ai_edge_litert", "tensorflow.lite.python"])
def test_the_schemas_objects_have_what_the_protocols_say(package: str) -> None:
    generated = importlib.import_module(f"{package}.schema_py_generated")
    for name, protocol in PROTOCOLS.items():
        assert vars(getattr(generated, name)()).keys() >= protocol.__annotations__.keys()


def test_reading_fills_in_the_vectors_that_everything_goes_through() -> None:
    graph = Graph()
    x = graph.input((1, 4))
    model = fb.read_model(graph.build([x])).model
    model.subgraphs[0].operators = model.operatorCodes = None  # type: ignore[assignment]
    again = fb.read_model(fb.pack_model(model)).model
    assert (again.operatorCodes, again.subgraphs[0].operators) == ([], [])


def test_scales_and_zero_points() -> None:
    plain, one = fb.new_tensor("plain", [2], schema.TensorType.FLOAT32), fb.new_tensor("x", [2], schema.TensorType.INT8)
    each = fb.new_tensor("w", [2], schema.TensorType.INT8)
    one.quantization = fb.new_quantization(np.float32([0.5]))
    each.quantization = fb.new_quantization(np.float32([0.25, 4]))
    assert [scales_of(tensor).tolist() for tensor in (plain, one, each)] == [[], [0.5], [0.25, 4]]
    one.quantization.zeroPoint = np.int64([-3])
    assert [scale_and_zero_point(tensor) for tensor in (plain, one, each)] == [None, (0.5, -3), None]
    one.quantization.zeroPoint = None
    assert scale_and_zero_point(one) == (0.5, 0)


def test_the_unit_of_an_int32_bias_is_input_scale_times_weight_scale() -> None:
    x = fb.new_tensor("x", [2], schema.TensorType.INT8)
    with pytest.raises(UnsupportedModelError, match=r"activation 'x'.*one scale.*0 scales"):
        activation_scale(x)
    x.quantization = fb.new_quantization(np.float32([0.1]))
    bias = bias_quantization(x, np.float32([0.3, 0.7]))
    assert bias.scale == (np.float32([0.3, 0.7]) * np.float32(0.1)).tolist()
    assert (bias.zeroPoint, bias.quantizedDimension) == ([0, 0], 0)


def test_samples_take_the_type_of_the_input() -> None:
    tensor = schema.TensorT(type=schema.TensorType.INT8)
    tensor.quantization = schema.QuantizationParametersT(scale=[0.5], zeroPoint=[-3])
    np.testing.assert_array_equal(stored_values(tensor, np.float32([0.6, -1000, 1000])), np.int8([-2, -128, 127]))
    np.testing.assert_array_equal(stored_values(tensor, np.int8([5])), np.int8([5]))
    photo = np.uint8([0, 255])
    assert stored_values(schema.TensorT(type=schema.TensorType.FLOAT32), photo).dtype == np.float32


@pytest.mark.parametrize(("kind", "range_"), [("INT8", (-62.5, 65.0)), ("UINT8", (1.5, 129.0)), ("FLOAT32", None)])
def test_the_values_that_codes_cover(kind: str, range_: tuple[float, float] | None) -> None:
    tensor = fb.new_tensor("x", [2], getattr(schema.TensorType, kind))
    assert covered_values(tensor) is None
    tensor.quantization = fb.new_quantization(np.float32([0.5]))
    tensor.quantization.zeroPoint = [-3]
    assert covered_values(tensor) == range_


def test_real_values_of_constants() -> None:
    graph = Graph()
    values = np.arange(-3, 3, dtype=np.int8).reshape(1, 2, 3)
    asymmetric = graph.constant(values, scale=0.5, zero_point=-3)
    along = graph.constant(values, scale=[1, 2, 4], axis=2)
    indices = graph.constant(np.arange(4, dtype=np.int32))
    floats = graph.constant(values.astype(np.float32))
    computed = graph.input((1, 4), scale=1.0)
    model = fb.read_model(graph.build([computed])).model

    def real(tensor: int) -> np.ndarray | None:
        return real_constant(model, model.subgraphs[0], model.subgraphs[0].tensors[tensor])

    np.testing.assert_array_equal(real(asymmetric), 0.5 * (values + 3.0))
    np.testing.assert_array_equal(real(along), values * np.asarray([1.0, 2, 4]))
    np.testing.assert_array_equal(real(floats), values)
    assert real(indices) is None
    assert real(computed) is None
