"""float16 and dynamic-range files nest as the float models that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested
from nq_tflite.graph.readers import reader_of

#: SNR in dB of fused full-bit against the stock dynamic-range model: both quantize activations to 8 bits, each its way.
DYNAMIC_RANGE_SNR_DB = 35.0


def converted(model: Any, *, float16: bool) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if float16:
        converter.target_spec.supported_types = [tf.float16]
    # One scale a dense layer: version 9 of FULLY_CONNECTED, which tflite-runtime loads.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return bytes(converter.convert())


@pytest.fixture(scope="module")
def layered() -> Any:
    """A Keras model of four layers, two of which are too small to nest."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(9)
    image = keras.Input((8, 8, 48))
    x = layers.Conv2D(64, 3, padding="same", activation="relu", bias_initializer="normal")(image)
    x = layers.DepthwiseConv2D(3, padding="same", bias_initializer="normal")(x)
    x = layers.Conv2D(6, 3, bias_initializer="normal")(x)
    return keras.Model(image, layers.Dense(40, bias_initializer="normal")(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """float32 [24, 8, 8, 48]."""
    return np.random.default_rng(10).normal(size=(24, 8, 8, 48)).astype(np.float32)


@pytest.fixture(scope="module")
def float_tflite(layered: Any) -> bytes:
    return export(layered, None)


@pytest.fixture(scope="module")
def float16_tflite(layered: Any) -> bytes:
    return converted(layered, float16=True)


@pytest.fixture(scope="module")
def dynamic_tflite(layered: Any) -> bytes:
    return converted(layered, float16=False)


def constants(content: bytes | Path, tensor_type: int) -> dict[str, np.ndarray]:
    model = fb.read_model(content).model
    values = {fb.text(t.name): fb.constant(model, t) for t in model.subgraphs[0].tensors if t.type == tensor_type}
    return {name: value for name, value in values.items() if value is not None}


def test_float16_weights_nest_as_floats(
    float16_tflite: bytes, float_tflite: bytes, samples: np.ndarray, worker: Any, tmp_path: Path
) -> None:
    path = tmp_path / "nested.tflite"
    report = nq.convert(float16_tflite, path, "8|5", rounding="nearest")
    expected = nq.convert(float_tflite, tmp_path / "float.tflite", "8|5", rounding="nearest")
    assert [row.shape for row in report.weights] == [row.shape for row in expected.weights]
    assert {row.output_type for row in report.weights} == {"float32"}
    assert [row.shape for row in report.unnested] == [(1, 3, 3, 64), (6, 3, 3, 64)]
    assert [2 * row.bytes for row in report.unnested] == [row.bytes for row in expected.unnested]
    assert path.stat().st_size <= (tmp_path / "float.tflite").stat().st_size + 4096
    assert nq.inspect_file(path).unnested == report.unnested
    for precision in ("full", "part"):
        nq.extract(path, tmp_path / "stock.tflite", precision)
        wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", samples[:2])
        np.testing.assert_array_equal(worker(jobs.run_nested, path, samples[:2], [precision])[0], wanted)
    [found] = worker(delegation_jobs.delegation, path, fuse=True)
    assert {each.place for each in found.nested} == {"fused"}


def test_float16_weights_that_do_not_nest_stay_float16(float16_tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    report = nq.convert(float16_tflite, path, "8|5", rounding="nearest")
    before, after = (constants(each, schema.TensorType.FLOAT16) for each in (float16_tflite, path))
    assert after.keys() < before.keys()
    assert after
    for name, values in after.items():
        np.testing.assert_array_equal(values, before[name])
    assert {row.shape for row in report.unnested} <= {values.shape for values in after.values()}
    nq.extract(path, tmp_path / "stock.tflite")
    model = fb.read_model(tmp_path / "stock.tflite").model
    readers = [op for op in model.subgraphs[0].operators if reader_of(model, op)]
    are_constant = [
        [fb.constant(model, model.subgraphs[0].tensors[index]) is not None for index in fb.indices(op.inputs)[1:3]]
        for op in readers
    ]
    assert are_constant == [
        [True, True],
        [False, False],
        [False, False],
        [True, True],
    ]  # a layer's weight and bias alike


def test_dynamic_range_weights_keep_their_codes(
    dynamic_tflite: bytes, samples: np.ndarray, worker: Any, tmp_path: Path
) -> None:
    path, source = tmp_path / "nested.tflite", tmp_path / "source.tflite"
    source.write_bytes(dynamic_tflite)
    report = nq.convert(dynamic_tflite, path, "8|5", exact=True)
    before, after = (constants(each, schema.TensorType.INT8) for each in (dynamic_tflite, path))
    nested = read_nested(path).weights
    assert before.keys() == {*after, *(weight.name for weight in nested)}
    assert after.keys() == {row.name for row in report.unnested} & before.keys()
    for weight in nested:
        codes = before[weight.name]
        wanted = codes.reshape(-1, codes.shape[-1]).T if weight.consumer == "DEPTHWISE_CONV_2D" else codes
        np.testing.assert_array_equal(weight.codes(), wanted.reshape(weight.codes().shape))
    for name, values in after.items():
        np.testing.assert_array_equal(values, before[name])
    assert nq.inspect_file(path).unnested == report.unnested
    [full] = worker(jobs.run_nested, path, samples[:4], ["full"], builtin=False)
    stock = worker(jobs.run_stock, source, samples[:4], builtin=False)
    error = np.square(full.astype(float) - stock).sum()
    assert 10 * np.log10(np.square(stock.astype(float)).sum() / error) > DYNAMIC_RANGE_SNR_DB


def test_dynamic_range_weights_are_rounded_by_inputs(
    dynamic_tflite: bytes, samples: np.ndarray, tmp_path: Path
) -> None:
    report = nq.convert(dynamic_tflite, tmp_path / "nested.tflite", "8|4", samples)
    assert any("rounding has seen" in note for note in report.notes)
    assert report.estimate is not None
    assert report.estimate.snr_db[1] > report.estimate.snr_db[0] > 5
