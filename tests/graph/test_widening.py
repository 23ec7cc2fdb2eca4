"""float16, dynamic-range, weight-only and INT4 files nest as the float models that they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest
from graphs import Graph
from same_model import assert_same_model

import nq_tflite as nq
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.nested import read_nested
from nq_tflite.graph.prune import prune
from nq_tflite.graph.readers import reader_of
from nq_tflite.graph.widening import widen

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
    float16_tflite: bytes,
    float_tflite: bytes,
    samples: np.ndarray,
    runtimes: tuple[str, ...],
    worker_of: Any,
    tmp_path: Path,
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
        for worker in map(worker_of, runtimes):
            wanted = worker(jobs.run_stock, tmp_path / "stock.tflite", samples[:2])
            np.testing.assert_array_equal(worker(jobs.run_nested, path, samples[:2], [precision])[0], wanted)
    for worker in map(worker_of, runtimes):
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


# ---- LiteRT Quantizer's files ----------------------------------------------------------------------------------------

#: A dense layer's outputs and inputs, and the weights that share a scale in blocks.
CHANNELS, DEPTH, BLOCK = 64, 128, 32
#: Of weights with a scale for each block, as 8-bit codes with one for each channel.
BLOCKWISE_SNR_DB = 40.0


def dense_of(kind: str) -> tuple[bytes, np.ndarray]:
    """A float dense layer whose weight is stored as LiteRT Quantizer does it, and the values that it stands for."""
    rng, graph = np.random.default_rng(21), Graph()
    x = graph.input((1, DEPTH))
    num_bits = {"int8": 8, "int4": 4, "int2": 2}[kind.split("-")[0]]
    largest = (1 << (num_bits - 1)) - 1
    codes = rng.integers(-largest, largest + 1, (CHANNELS, DEPTH)).astype(np.int8)
    codes[:, 0] = largest
    scales = rng.uniform(0.5, 2, CHANNELS).astype(np.float32) / np.float32(16 * largest)
    values = codes * scales[:, None]
    if kind == "int4-blocks":
        of_blocks = rng.uniform(0.5, 2, (CHANNELS, DEPTH // BLOCK)).astype(np.float16) / np.float16(16)
        values = codes * np.repeat(of_blocks, BLOCK, axis=1).astype(np.float32)
        weight = graph.narrow(codes, 4, block_scales=of_blocks)
    elif num_bits < 8:
        weight = graph.narrow(codes, num_bits, scale=scales)
    else:
        point = 5 if kind == "int8-asymmetric" else 0
        values = (codes - np.float32(point)) * scales[:, None]
        weight = graph.constant(codes, scale=scales, zero_point=point)
    floats = {"dtype": np.float32, "version": 1}
    if not kind.endswith(("dynamic", "blocks")):
        weight = graph.add("DEQUANTIZE", [weight], (CHANNELS, DEPTH), **floats)
        graph._graph.tensors[weight].shapeSignature = None
    bias = graph.constant(rng.normal(size=CHANNELS).astype(np.float32))
    options = schema.FullyConnectedOptionsT()
    y = graph.add("FULLY_CONNECTED", [x, weight, bias], (1, CHANNELS), options=options, **floats)
    return graph.build([y]), values


def nested_values(path: Path, level: int) -> np.ndarray:
    [weight] = read_nested(path).weights
    return np.asarray(weight.values(level))


@pytest.mark.parametrize("kind", ["int8-only", "int4-only", "int4-dynamic", "int2-dynamic"])
def test_codes_with_a_scale_a_channel_keep_their_values(kind: str, tmp_path: Path) -> None:
    content, values = dense_of(kind)
    report = nq.convert(content, tmp_path / "nested.tflite", "8|5", exact=True)
    np.testing.assert_array_equal(nested_values(tmp_path / "nested.tflite", 1), values)
    assert [row.output_type for row in report.weights] == ["float32"]
    narrow = kind.split("-")[0].upper()
    assert any(f"1 {narrow} weight" in note for note in report.notes) == (narrow != "INT8")


@pytest.mark.parametrize(("kind", "nesting"), [("int4-dynamic", "5|4"), ("int2-dynamic", "3|2")])
def test_narrow_codes_nest_in_few_bits(kind: str, nesting: str, tmp_path: Path) -> None:
    content, values = dense_of(kind)
    report = nq.convert(content, tmp_path / "nested.tflite", nesting, exact=True)
    np.testing.assert_array_equal(nested_values(tmp_path / "nested.tflite", 1), values)
    assert any(f"'{nesting}' holds all" in note for note in report.notes)


@pytest.mark.parametrize("kind", ["int4-blocks", "int8-asymmetric"])
def test_what_has_no_symmetric_scale_a_channel_comes_near(kind: str, tmp_path: Path) -> None:
    content, values = dense_of(kind)
    report = nq.convert(content, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    snr = signal_to_noise_db(values, nested_values(tmp_path / "nested.tflite", 1))
    assert report.weights[0].snr_db[1] == pytest.approx(snr, abs=0.01)
    assert snr > BLOCKWISE_SNR_DB
    assert any("each block" in note for note in report.notes) == (kind == "int4-blocks")
    names = [fb.text(tensor.name) for tensor in fb.read_model(tmp_path / "nested.tflite").model.subgraphs[0].tensors]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", ["int8-only", "int4-only"])
def test_weight_only_outputs_are_the_stock_files(
    kind: str, runtimes: tuple[str, ...], worker_of: Any, tmp_path: Path
) -> None:
    """To the bit under builtin kernels, which multiply the same floats; tflite-runtime lacks a DEQUANTIZE of INT4."""
    content, _ = dense_of(kind)
    (tmp_path / "stock.tflite").write_bytes(content)
    nq.convert(content, tmp_path / "nested.tflite", "8|5", exact=True)
    inputs = np.random.default_rng(22).normal(size=(4, DEPTH)).astype(np.float32)
    for runtime in runtimes:
        [full] = worker_of(runtime)(jobs.run_nested, tmp_path / "nested.tflite", inputs, ["full"])
        if (kind, runtime) == ("int4-only", "tflite-runtime"):
            with pytest.raises(RuntimeError, match="DEQUANTIZE"):
                worker_of(runtime)(jobs.run_stock, tmp_path / "stock.tflite", inputs)
            continue
        np.testing.assert_array_equal(full, worker_of(runtime)(jobs.run_stock, tmp_path / "stock.tflite", inputs))


@pytest.mark.parametrize("kind", ["int8-only", "int4-dynamic", "int4-blocks"])
def test_what_is_not_nested_stays_what_it_was(kind: str) -> None:
    content, _ = dense_of(kind)
    model, before = fb.read_model(content).model, fb.read_model(content).model
    widened = widen(model)
    assert len(widened.stored_bytes) == 1
    widened.restore(model)
    prune(model)
    assert_same_model(model, before)
