"""Ranges of activations: those that tensors have, not what calibration found in memory that was written over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nq_tflite.conversion.sources import channel_ranges as module
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.channel_ranges import (
    ChannelRange,
    measure_channels,
    measure_ranges,
    needs_calibrator,
)
from nq_tflite.conversion.sources.keras_export import calibrate
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.model import ModelT
from nq_tflite.graph.quantization import covered_values
from nq_tflite.progress import silent

SHAPE = (8, 8, 4)


def samples(count: int = 12) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def net() -> Any:
    """Three residual blocks: sums grow from one to the next, what they add up does not."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    layers, inputs = keras.layers, keras.Input(SHAPE)
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    for _ in range(3):
        x = layers.Add()([layers.Conv2D(8, 3, padding="same")(layers.ReLU()(x)), x])
    return set_seeded_weights(keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))), 5)


@pytest.fixture(scope="module")
def source(net: Any) -> Source:
    return load_source(net, samples(), look=True, notify=silent)


@pytest.fixture(scope="module")
def calibrated(net: Any) -> ModelT:
    return fb.read_model(calibrate(net, sample_source(samples())).content).model


def values_of(model: ModelT, tensors: list[int]) -> list[np.ndarray]:
    """What tensors hold for all samples, each an output of its own: [samples, ...]."""
    graph = model.subgraphs[0]
    kept, graph.outputs = graph.outputs, tensors
    interpreter = walking_runtime().interpreter(model_content=fb.pack_model(model))
    graph.outputs = kept
    interpreter.allocate_tensors()
    found = []
    for values in samples():
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[None])
        interpreter.invoke()
        found.append([interpreter.get_tensor(each["index"])[0] for each in interpreter.get_output_details()])
    return [np.stack(each) for each in zip(*found, strict=True)]


def added_up(model: ModelT) -> list[int]:
    """The convolutions' outputs that additions read."""
    graph = model.subgraphs[0]
    made = {
        output
        for operator in graph.operators
        if fb.operator_name(model, operator) == "CONV_2D"
        for output in fb.indices(operator.outputs)
    }
    additions = [operator for operator in graph.operators if fb.operator_name(model, operator) == "ADD"]
    return [each for operator in additions for each in fb.indices(operator.inputs) if each in made]


def test_int8_ranges_are_those_of_the_values(source: Source) -> None:
    """Of what a sum may be written over, above all."""
    tensors = added_up(source.reference.model)
    assert len(tensors) == 4
    wanted = [(float(each.min()), float(each.max())) for each in values_of(source.reference.model, tensors)]
    covered = [covered_values(source.model.subgraphs[0].tensors[tensor]) for tensor in added_up(source.model)]
    for (low, high), found in zip(wanted, covered, strict=True):
        assert found is not None
        assert found[0] == pytest.approx(low, abs=(high - low) / 100)
        assert found[1] == pytest.approx(high, abs=(high - low) / 100)


def test_any_number_of_tensors_at_a_time(calibrated: ModelT, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(content: bytes) -> Any:
        found = walking_runtime().interpreter(model_content=content)
        found.allocate_tensors()
        return found

    model, given = calibrated, [[each[None]] for each in samples()]
    tensors = [output for operator in model.subgraphs[0].operators for output in fb.indices(operator.outputs)]
    shapes = {tensor: fb.shape(model.subgraphs[0].tensors[tensor]) for tensor in tensors}
    wide = {tensor: shape[-1] for tensor, shape in shapes.items() if len(shape) > 1}
    together = measure_channels(model, wide, interpreter, lambda: given)
    monkeypatch.setattr(module, "_AT_ONCE", 3000)
    apart = measure_channels(model, wide, interpreter, lambda: given)
    assert together.keys() == apart.keys() > {*added_up(model)}
    for tensor, found in together.items():
        np.testing.assert_array_equal(found.low, apart[tensor].low)
        np.testing.assert_array_equal(found.high, apart[tensor].high)
    [first, *_] = added_up(model)
    [values] = values_of(model, [first])
    np.testing.assert_allclose(together[first].low, values.min(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(together[first].high, values.max(axis=(0, 1, 2)), rtol=1e-5)


def test_shifted_and_divided() -> None:
    found = ChannelRange(np.array([-2.0, 0.0]), np.array([6.0, 1.0]))
    assert found.shifted(np.array([2.0, 0.5])).magnitudes.tolist() == [4, 0.5]
    assert found.divided(np.array([2.0, 0.5])).limits == (-1, 3)


def interpreter_of(content: bytes, **options: Any) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, **options)
    interpreter.allocate_tensors()
    return interpreter


def test_ranges_are_those_of_every_tensor(float_tflite: bytes, samples: np.ndarray) -> None:
    """By plain kernels that keep all tensors, operator by operator; ADD does not take the place of its input."""
    from ai_edge_litert.interpreter import OpResolverType

    few = samples[:3]
    found = measure_ranges(float_tflite, interpreter_of, lambda: [[each[None]] for each in few])
    model = fb.read_model(found.content).model
    assert any(fb.operator_name(model, operator) == "ADD" for operator in model.subgraphs[0].operators)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    keeping = {"experimental_op_resolver_type": plain, "experimental_preserve_all_tensors": True}
    interpreter = interpreter_of(float_tflite, **keeping)
    seen: dict[int, list[np.ndarray]] = {}
    ranged = {index for index, tensor in enumerate(model.subgraphs[0].tensors) if tensor.quantization is not None}
    ranged = {index for index in ranged if len(fb.indices(model.subgraphs[0].tensors[index].quantization.min))}
    for each in few:
        interpreter.set_tensor(fb.indices(model.subgraphs[0].inputs)[0], each[None])
        interpreter.invoke()
        for index in ranged:
            seen.setdefault(index, []).append(interpreter.get_tensor(index))
    made = {index for operator in model.subgraphs[0].operators for index in fb.indices(operator.outputs)}
    assert ranged == made | set(fb.indices(model.subgraphs[0].inputs))
    for index, values in seen.items():
        quantization = model.subgraphs[0].tensors[index].quantization
        expected = np.min(values), np.max(values)
        np.testing.assert_allclose((quantization.min[0], quantization.max[0]), expected, rtol=1e-4, atol=1e-5)
    for tensor, channels in found.channels.items():
        assert channels.low.min() == np.float32(model.subgraphs[0].tensors[tensor].quantization.min[0])
        assert channels.high.max() == np.float32(model.subgraphs[0].tensors[tensor].quantization.max[0])


def test_states_are_left_to_tensorflow(float_tflite: bytes) -> None:
    model = fb.read_model(float_tflite).model
    assert not needs_calibrator(model)
    model.subgraphs[0].tensors[0].isVariable = True
    assert needs_calibrator(model)
