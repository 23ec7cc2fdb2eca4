"""uint8 files of the legacy quantization nest as the full-int8 models that say the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from graphs import Graph

import nq_tflite as nq
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema
from nq_tflite.graph.legacy_uint8 import to_int8
from nq_tflite.graph.sites import find_sites

SHAPE, WIDTH, CLASSES = (1, 8, 8, 48), 64, 40
#: Of a weight of few codes beyond INT8's, and of a small net's outputs that has such weights.
WEIGHT_SNR_DB, OUTPUT_SNR_DB = 40.0, 30.0
#: Steps of an output between TFLite's own kernels for uint8 and whatever computes the same in INT8, after four layers.
MOST_STEPS = 2


def weight(shape: tuple[int, ...], zero_point: int, seed: int, axis: int = 0) -> np.ndarray:
    """uint8 codes, of other spread in each channel."""
    rng = np.random.default_rng(seed)
    dims = [1] * len(shape)
    dims[axis] = shape[axis]
    spread = rng.integers(3, 128, dims)
    codes = zero_point + np.rint(rng.uniform(-1, 1, shape) * spread)
    if zero_point != 128:
        codes.flat[0] = 0 if zero_point > 128 else 255  # beyond INT8's
    return np.clip(codes, 1, 255).astype(np.uint8)


def legacy_graph(zero_point: int, *, tail: bool = False) -> bytes:
    """A convolution, a depthwise one, their sum and a dense layer; with a tail also operators that round otherwise."""
    graph = Graph(np.uint8)
    x = graph.input(SHAPE, scale=0.02, zero_point=120)
    kernel = graph.constant(weight((WIDTH, 3, 3, SHAPE[3]), zero_point, 1), scale=0.004, zero_point=zero_point)
    bias = np.random.default_rng(2).integers(-4000, 4000, WIDTH, np.int32)
    same = schema.Padding.SAME
    maps = (*SHAPE[:3], WIDTH)
    y = graph.add(
        "CONV_2D",
        [x, kernel, graph.constant(bias, scale=0.02 * 0.004)],
        maps,
        scale=0.05,
        zero_point=100,
        version=1,
        options=schema.Conv2DOptionsT(padding=same, strideW=1, strideH=1),
    )
    taps = graph.constant(weight((1, 3, 3, WIDTH), zero_point, 3, axis=3), scale=0.006, zero_point=zero_point)
    z = graph.add(
        "DEPTHWISE_CONV_2D",
        [y, taps, graph.constant(bias, scale=0.05 * 0.006)],
        maps,
        scale=0.06,
        zero_point=130,
        version=1,
        options=schema.DepthwiseConv2DOptionsT(padding=same, strideW=1, strideH=1, depthMultiplier=1),
    )
    s = graph.add("ADD", [y, z], maps, scale=0.08, zero_point=110, version=1, options=schema.AddOptionsT())
    if tail:
        both = (*SHAPE[:3], 2 * WIDTH)
        s = graph.add(
            "CONCATENATION", [s, z], both, scale=0.08, zero_point=110, options=schema.ConcatenationOptionsT(axis=3)
        )
        pool = schema.Pool2DOptionsT(padding=same, strideW=2, strideH=2, filterWidth=2, filterHeight=2)
        s = graph.add("AVERAGE_POOL_2D", [s], (1, 4, 4, 2 * WIDTH), scale=0.08, zero_point=110, options=pool)
    depth = 16 * 2 * WIDTH if tail else 64 * WIDTH
    flat = graph.constant(np.array([-1, depth], np.int32))
    f = graph.add("RESHAPE", [s, flat], (1, depth), scale=0.08, zero_point=110, version=1)
    dense = graph.constant(weight((CLASSES, depth), zero_point, 5), scale=0.001, zero_point=zero_point)
    d = graph.add(
        "FULLY_CONNECTED",
        [f, dense, -1],
        (1, CLASSES),
        scale=0.1,
        zero_point=128,
        options=schema.FullyConnectedOptionsT(),
    )
    return graph.build([d])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """uint8 [4, 8, 8, 48]."""
    return np.random.default_rng(6).integers(0, 256, (4, *SHAPE[1:])).astype(np.uint8)


@pytest.fixture(scope="module")
def legacy(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`legacy(zero_point, tail)` is a uint8 file, the nested one made of it, and the report."""
    made: dict[Any, tuple[Path, Path, nq.ConversionReport]] = {}

    def make(zero_point: int, *, tail: bool = False) -> tuple[Path, Path, nq.ConversionReport]:
        key = zero_point, tail
        if key not in made:
            folder = tmp_path_factory.mktemp("legacy")
            source, nested = folder / "uint8.tflite", folder / "nested.tflite"
            source.write_bytes(legacy_graph(zero_point, tail=tail))
            made[key] = source, nested, nq.convert(source, nested, "8|5", exact=True, include="*")
        return made[key]

    return make


def test_weights_around_128_keep_every_output(
    legacy: Any, images: np.ndarray, runtimes: tuple[str, ...], worker_of: Any
) -> None:
    """Fused beside XNNPACK on the uint8 file; TFLite's own kernels for uint8 round otherwise than those for int8."""
    source, nested, report = legacy(128)
    assert len(report.weights) == 3
    assert report.notes[0] == "3 uint8 weights are INT8 ones now, 3 of them with the same values"
    for runtime in runtimes:
        stock = worker_of(runtime)(jobs.run_stock, source, images, builtin=False)
        [full] = worker_of(runtime)(jobs.run_nested, nested, images, ["full"], builtin=False)
        assert full.dtype == stock.dtype == np.uint8
        if runtime == "tflite-runtime":  # its XNNPACK takes no quantized operators
            assert np.abs(full.astype(int) - stock).max() <= MOST_STEPS
        else:
            np.testing.assert_array_equal(full, stock, runtime)


def test_weights_around_128_are_near_builtin_kernels(legacy: Any, images: np.ndarray, worker: Any) -> None:
    source, nested, _ = legacy(128)
    stock = worker(jobs.run_stock, source, images).astype(int)
    [full] = worker(jobs.run_nested, nested, images, ["full"])
    assert np.abs(full - stock).max() <= MOST_STEPS


@pytest.mark.parametrize("zero_point", [100, 160])
def test_other_zero_points_cost_what_the_report_says(
    zero_point: int, legacy: Any, images: np.ndarray, runtimes: tuple[str, ...], worker_of: Any
) -> None:
    source, nested, report = legacy(zero_point, tail=True)
    before, after = (fb.read_model(each).model for each in (source, source))
    reexpressed = to_int8(after)
    assert reexpressed is not None
    assert str(reexpressed) == report.notes[0]
    assert not reexpressed.exact
    for each in reexpressed.requantized:
        [old, new] = (real(model, each.name) for model in (before, after))
        assert signal_to_noise_db(old, new) == pytest.approx(each.snr_db, abs=1e-3)
        assert each.snr_db > WEIGHT_SNR_DB
    for runtime in runtimes:
        stock = worker_of(runtime)(jobs.run_stock, source, images).astype(float)
        [full] = worker_of(runtime)(jobs.run_nested, nested, images, ["full"], builtin=False)
        assert signal_to_noise_db(stock - 128, full.astype(float) - 128) > OUTPUT_SNR_DB


def real(model: Any, name: str) -> np.ndarray:
    """float64 values of a weight, by its scales and zero points."""
    [tensor] = [each for each in model.subgraphs[0].tensors if fb.text(each.name) == name]
    quantization = tensor.quantization
    scales = np.asarray(quantization.scale, float)
    if len(scales) > 1:
        dims = [1] * len(fb.shape(tensor))
        dims[quantization.quantizedDimension] = -1
        scales = scales.reshape(dims)
    return np.asarray((fb.constant(model, tensor).astype(float) - quantization.zeroPoint[0]) * scales)


def test_channels_of_small_codes_get_finer_steps_and_keep_their_values() -> None:
    before, after = (fb.read_model(legacy_graph(128)).model for _ in range(2))
    to_int8(after)
    sites, _ = find_sites(after)
    for [site] in sites:
        np.testing.assert_array_equal(*(real(model, site.name) for model in (before, after)))
    scales = [after.subgraphs[0].tensors[site.tensor].quantization.scale for [site] in sites]
    assert [len(set(each)) > 1 for each in scales] == [True, True, False]  # a dense layer has one


def test_inputs_and_outputs_keep_their_names_and_types(legacy: Any) -> None:
    source, nested, _ = legacy(100, tail=True)
    graphs = [fb.read_model(each).model.subgraphs[0] for each in (source, nested)]
    for ends in ("inputs", "outputs"):
        before, after = ([graph.tensors[index] for index in getattr(graph, ends)] for graph in graphs)
        for old, new in zip(before, after, strict=True):
            assert (new.name, new.type, list(new.quantization.zeroPoint)) == (
                old.name,
                old.type,
                list(old.quantization.zeroPoint),
            )


def test_operators_that_know_no_int8_keep_uint8(worker: Any, tmp_path: Path) -> None:
    """A CAST reads codes, and not what they stand for."""
    graph = Graph(np.uint8)
    x = graph.input((1, 64), scale=0.02, zero_point=120)
    dense = graph.constant(weight((64, 64), 128, 7), scale=0.001, zero_point=128)
    options = schema.FullyConnectedOptionsT()
    y = graph.add("FULLY_CONNECTED", [x, dense, -1], (1, 64), scale=0.02, zero_point=90, version=1, options=options)
    codes = graph.add("CAST", [y], (1, 64), dtype=np.float32, version=1, options=schema.CastOptionsT())
    source, nested = tmp_path / "uint8.tflite", tmp_path / "nested.tflite"
    source.write_bytes(graph.build([codes]))
    nq.convert(source, nested, "8|5", exact=True, include="*")
    inputs = np.random.default_rng(8).integers(0, 256, (4, 64)).astype(np.uint8)
    [full] = worker(jobs.run_nested, nested, inputs, ["full"], builtin=False)
    assert np.abs(full - worker(jobs.run_stock, source, inputs, builtin=False)).max() <= 1


def test_a_model_without_uint8_weights_stays_as_it_is() -> None:
    graph = Graph()
    x = graph.input((1, 4, 4, 16), scale=0.1)
    content = graph.build([graph.convolution(x, (1, 4, 4, 16), 8, seed=9, scale=0.1, zero_point=3)])
    model = fb.read_model(content).model
    assert to_int8(model) is None
    assert fb.pack_model(model) == fb.pack_model(fb.read_model(content).model)
