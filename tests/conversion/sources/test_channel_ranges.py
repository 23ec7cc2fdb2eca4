"""Ranges of activations: those that tensors have, not what calibration found in memory that was written over."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nq_tflite.conversion.sources import channel_ranges as module
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.channel_ranges import ChannelRange, measure_channels, written_over
from nq_tflite.conversion.sources.keras_export import calibrate
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.conversion.trial import walking_runtime
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


def test_what_a_sum_may_be_written_over(calibrated: ModelT) -> None:
    found = written_over(calibrated)
    assert {*added_up(calibrated)} <= found
    assert not found & {*fb.indices(calibrated.subgraphs[0].inputs)}


def test_any_number_of_tensors_at_a_time(calibrated: ModelT, monkeypatch: pytest.MonkeyPatch) -> None:
    def interpreter(content: bytes) -> Any:
        found = walking_runtime().interpreter(model_content=content)
        found.allocate_tensors()
        return found

    model, given = calibrated, [[each[None]] for each in samples()]
    tensors = [output for operator in model.subgraphs[0].operators for output in fb.indices(operator.outputs)]
    together = measure_channels(model, tensors, interpreter, lambda: given)
    monkeypatch.setattr(module, "_AT_ONCE", 3000)
    apart = measure_channels(model, tensors, interpreter, lambda: given)
    assert together.keys() == apart.keys() > {*added_up(model)}
    for tensor, found in together.items():
        np.testing.assert_array_equal(found.low, apart[tensor].low)
        np.testing.assert_array_equal(found.high, apart[tensor].high)
    [first, *_] = added_up(model)
    [values] = values_of(model, [first])
    np.testing.assert_allclose(together[first].low, values.min(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(together[first].high, values.max(axis=(0, 1, 2)), rtol=1e-5)


def test_a_last_axis_that_changes_has_one_range() -> None:
    found = ChannelRange.of(np.float32([[1, 2], [3, -4]]))
    assert found.limits == (-4, 3)
    assert found.magnitudes.tolist() == [3, 4]
    found.add(np.float32([[0, 5, 1]]))
    assert (found.low.tolist(), found.high.tolist()) == ([-4], [5])
    found.add(np.float32(7))
    assert found.limits == (-4, 7)


def test_shifted_and_divided() -> None:
    found = ChannelRange(np.array([-2.0, 0.0]), np.array([6.0, 1.0]))
    assert found.shifted(np.array([2.0, 0.5])).magnitudes.tolist() == [4, 0.5]
    assert found.divided(np.array([2.0, 0.5])).limits == (-1, 3)
