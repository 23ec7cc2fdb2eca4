"""Ranges of activations: what each method keeps, and that tensorflow's quantizer takes them as its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.activation_ranges import _BINS, METHODS, Histogram, minmax, percentile
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.errors import RepresentativeDataError, UnsupportedModelError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.graph import flatbuffer as fb


def histogram_of(values: np.ndarray) -> Histogram:
    values = values.astype(np.float32)
    found = Histogram(min(0.0, float(values.min())), max(0.0, float(values.max())), np.zeros(_BINS, np.int64))
    found.add(values)
    return found


def error(values: np.ndarray, low: float, high: float) -> float:
    scale = (high - low) / 255
    codes = np.clip(np.rint((values - low) / scale), 0, 255)
    return float(np.square(codes * scale + low - values).mean())


def test_percentile_leaves_outliers_out() -> None:
    values = np.random.default_rng(1).uniform(-1, 3, 200_000)
    values[:5] = [-50, 70, 70, 60, -40]
    found = histogram_of(values)
    assert minmax(found) == (-50, 70)
    assert percentile(found) == (pytest.approx(-1, abs=0.05), pytest.approx(3, abs=0.05))
    assert found.counts.sum() == 200_000


@pytest.mark.parametrize("seed", range(4))
def test_mse_is_no_worse_than_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.standard_t(3, 50_000) * rng.uniform(0.5, 5) + rng.normal()
    errors = {name: error(values, *method(histogram_of(values))) for name, method in METHODS.items()}
    assert errors["mse"] <= 1.02 * min(errors.values())
    assert errors["mse"] < errors["minmax"]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
@pytest.mark.parametrize("values", [np.full(9, 2.0), np.full(9, -2.0), np.linspace(0, 6, 99), np.linspace(-3, 0, 99)])
def test_zero_is_always_in_range(method: Any, values: np.ndarray) -> None:
    low, high = method(histogram_of(values))
    assert low <= 0 <= high
    assert low < high
    assert low >= min(0.0, values.min())
    assert high <= max(0.0, values.max()) + 1e-6


def activation_scales(content: bytes) -> dict[str, float]:
    """By the names of the tensors that operators give."""
    graph = fb.read_model(content).model.subgraphs[0]
    results = [graph.tensors[index] for operator in graph.operators for index in fb.indices(operator.outputs)]
    quantized = [tensor for tensor in results if tensor.type == fb.schema.TensorType.INT8]
    return {fb.text(tensor.name): float(tensor.quantization.scale[0]) for tensor in quantized}


@pytest.mark.slow
def test_tensorflow_quantizes_with_the_ranges(
    mixed_model: Any, float_tflite: bytes, samples: np.ndarray, native_worker_of: Any, tmp_path: Path
) -> None:
    """Outliers in one sample: ranges follow the bulk, those of inputs and outputs stay, and so does the graph."""
    outlying = samples[:8].copy()
    outlying[0, :1, :1] *= 30
    names = ("minmax", "percentile", "mse", "auto")
    contents = {name: export(mixed_model, sample_source(outlying), activation_ranges=name) for name in names}
    scales = {name: activation_scales(content) for name, content in contents.items()}
    stock = scales["minmax"]
    logits = list(stock)[-1]
    for name in ("percentile", "mse"):
        assert scales[name].keys() == stock.keys()
        assert scales[name][logits] == pytest.approx(stock[logits])
        assert all(scale <= 1.001 * stock[tensor] for tensor, scale in scales[name].items())
        assert any(scale < 0.9 * stock[tensor] for tensor, scale in scales[name].items())
    run = native_worker_of("tensorflow")
    (tmp_path / "float.tflite").write_bytes(float_tflite)
    wanted = run(jobs.run_stock, tmp_path / "float.tflite", outlying)
    ratios = {}
    for name, content in contents.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
        got = run(jobs.run_stock, tmp_path / f"{name}.tflite", outlying, builtin=False)
        ratios[name] = signal_to_noise_db(wanted, got)
    assert ratios["auto"] == pytest.approx(max(ratios.values()), abs=0.01)


def test_convert_takes_them_by_name_and_inputs_too(tmp_path: Path) -> None:
    from nq_tflite_models.nets.small import two_input_net

    rng = np.random.default_rng(2)
    data = [{"image": rng.normal(size=(1, 8, 8, 3)), "features": rng.normal(size=(1, 9))} for _ in range(4)]
    for ranges in ("percentile", "auto"):
        content = export(two_input_net(seed=1), sample_source(data), "int8", "uint8", activation_ranges=ranges)
        graph = fb.read_model(content).model.subgraphs[0]
        types = fb.schema.TensorType
        assert {graph.tensors[i].type for i in graph.inputs} == {types.INT8}
        assert {graph.tensors[i].type for i in graph.outputs} == {types.UINT8}
    with pytest.raises(RepresentativeDataError):
        export(
            two_input_net(seed=1), sample_source([{"bogus": each["image"]} for each in data]), activation_ranges="mse"
        )


def test_unknown_ranges(mixed_model: Any, samples: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"activation ranges: expected one of minmax, .*'bogus'"):
        nq.convert(mixed_model, tmp_path / "nested.tflite", "8|5", samples, activation_ranges="bogus")
    options: dict[str, Any] = {"activation_ranges": "percentile", "rounding": "nearest"}
    nq.convert(mixed_model, tmp_path / "nested.tflite", "8|5", samples, **options)
