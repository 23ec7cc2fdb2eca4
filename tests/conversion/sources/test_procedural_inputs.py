"""Inputs made up for a model: in the range that it was trained on where that can be known, and said so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from graphs import Graph

from nq_tflite.conversion.sources.keras_export import export, folded_norms
from nq_tflite.conversion.sources.procedural import procedural_images
from nq_tflite.conversion.sources.procedural_inputs import ProceduralInputs, procedural_inputs
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema


def photo_like(low: Sequence[float], high: Sequence[float]) -> np.ndarray:
    """Images of another seed than the tested ones, between those values in each channel."""
    lows, highs = np.asarray(low, np.float32), np.asarray(high, np.float32)
    return lows + (highs - lows) * np.stack([*procedural_images(24, 40, 40, len(lows), seed=99)])


def columns(made: ProceduralInputs) -> list[np.ndarray]:
    """All samples of each input: [count, ...]."""
    return [np.concatenate([each.load() for each in column]) for column in zip(*made.samples, strict=True)]


def settled(inputs: np.ndarray, first_layers: Sequence[Any] = ()) -> Any:
    """A convolution and its batch norm that have seen those inputs."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights, settle_batch_norms

    layers = [*first_layers, keras.layers.Conv2D(16, 3, strides=2, padding="same")]
    tail = [keras.layers.BatchNormalization(), keras.layers.ReLU(), keras.layers.Conv2D(4, 1)]
    model = keras.Sequential([keras.Input(inputs.shape[1:]), *layers, *tail])
    return settle_batch_norms(set_seeded_weights(model, seed=6), inputs)


@pytest.mark.parametrize(
    ("low", "high"), [((0, 0, 0), (1, 1, 1)), ((-2.1, -2.0, -1.8), (2.2, 2.4, 2.6)), ((0,), (255,)), ((-1,), (1,))]
)
def test_the_first_batch_norm_tells_the_range(low: Sequence[float], high: Sequence[float]) -> None:
    seen = photo_like(low, high)
    model = settled(seen)
    made = procedural_inputs(fb.read_model(export(model, None)).model, folded_norms(model), 24, seed=1)
    [images] = columns(made)
    assert "batch norm" in made.description
    assert images.shape == seen.shape
    assert images.dtype == np.float32
    deviation = seen.std()
    np.testing.assert_allclose(images.mean((0, 1, 2)), seen.mean((0, 1, 2)), atol=0.2 * deviation)
    assert images.std() == pytest.approx(deviation, rel=0.25)


def test_rescaling_inside_the_model_is_undone() -> None:
    import keras

    seen = photo_like((0, 0, 0), (255, 255, 255))
    model = settled(seen, [keras.layers.Rescaling(1 / 127.5, -1), keras.layers.Normalization(mean=0.1, variance=0.04)])
    made = procedural_inputs(fb.read_model(export(model, None)).model, folded_norms(model), 24, seed=1)
    assert "batch norm" in made.description
    [images] = columns(made)
    np.testing.assert_allclose(images.mean((0, 1, 2)), seen.mean((0, 1, 2)), atol=12)
    assert images.std() == pytest.approx(seen.std(), rel=0.25)


def image_graph(*, quantized: bool) -> Any:
    graph = Graph()
    x = graph.input((1, 16, 12, 3), scale=0.02 if quantized else None, zero_point=-28)
    y = graph.add("RELU", [x], (1, 16, 12, 3), scale=0.02 if quantized else None, zero_point=-28)
    return fb.read_model(graph.build([y])).model


def test_an_int8_input_fills_its_quantization_range() -> None:
    made = procedural_inputs(image_graph(quantized=True), [], 30, seed=2)
    [images] = columns(made)
    assert images.dtype == np.int8
    assert images.shape == (30, 16, 12, 3)
    assert "[-2, 3.1], its quantization range" in made.description
    assert images.min() < -120
    assert images.max() > 120


def test_a_float_input_in_front_of_int8_fills_the_same_range() -> None:
    graph = Graph()
    x = graph.input((1, 16, 12, 1))
    y = graph.add("QUANTIZE", [x], (1, 16, 12, 1), scale=0.02, zero_point=-28)
    made = procedural_inputs(fb.read_model(graph.build([y])).model, [], 30)
    [images] = columns(made)
    assert images.dtype == np.float32
    assert images.min() == pytest.approx(-2, abs=0.1)
    assert images.max() == pytest.approx(3.1, abs=0.1)


@pytest.mark.parametrize(("channels", "doubtful"), [(1, True), (3, False)])
def test_one_channel_may_be_a_spectrogram(channels: int, doubtful: bool) -> None:
    """Statistics of pictures must not move its codes: keywords' full-bit lost 2.6 dB against plain rounding."""
    graph = Graph()
    x = graph.input((1, 49, 10, channels))
    made = procedural_inputs(fb.read_model(graph.build([x])).model, [], 4)
    assert made.noise is doubtful


def test_without_anything_known_it_is_an_assumption() -> None:
    made = procedural_inputs(image_graph(quantized=False), [], 4)
    assert "[-1, 1], an assumption" in made.description
    assert np.abs(columns(made)).max() <= 1


def test_other_inputs_are_noise() -> None:
    graph = Graph()
    features = graph.input((1, 500))
    graph.input((1, 30, 40), scale=0.1, zero_point=28)
    model = fb.read_model(graph.build([features])).model
    made = procedural_inputs(model, [], 20, seed=3)
    first, second = columns(made)
    assert (first.shape, second.shape) == ((20, 500), (20, 30, 40))
    assert first.mean() == pytest.approx(0, abs=0.05)
    assert first.std() == pytest.approx(1, abs=0.05)
    assert second.dtype == np.int8
    assert second.std() == pytest.approx(127.5 / 3, rel=0.05)
    assert made.description.count("normal noise") == 2
    for once, again in zip((first, second), columns(procedural_inputs(model, [], 20, seed=3)), strict=True):
        np.testing.assert_array_equal(once, again)


def test_token_ids_cannot_be_made_up() -> None:
    graph = Graph()
    x = graph.input((1, 16))
    model = fb.read_model(graph.build([x])).model
    model.subgraphs[0].tensors[x].type = schema.TensorType.INT32
    with pytest.raises(UnsupportedModelError, match=r"token ids.*representative data"):
        procedural_inputs(model, [], 4)


def test_an_open_size_is_refused() -> None:
    model = image_graph(quantized=False)
    model.subgraphs[0].tensors[0].shapeSignature = [-1, -1, -1, 3]
    with pytest.raises(UnsupportedModelError, match="fixed sizes"):
        procedural_inputs(model, [], 4)
