"""Weights with something special about them: all-zero channels, several readers, several subgraphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.plan import make_plan
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sources.source import load_source
from nq_tflite.conversion.trial import try_nesting
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested
from nq_tflite.progress import silent


def silence(model: Any, shape: tuple[int, ...], channels: list[int]) -> None:
    """Sets output channels (dimension 0) of the weight of that shape to zero."""
    tensor = next(t for t in model.subgraphs[0].tensors if fb.shape(t) == shape and fb.constant(model, t) is not None)
    values = fb.constant(model, tensor)
    assert values is not None
    values = values.copy()
    values[channels] = 0
    model.buffers[tensor.buffer].data = np.frombuffer(values.tobytes(), np.uint8)


@pytest.mark.parametrize("kind", ["int8", "float"])
@pytest.mark.parametrize("nesting", ["8|2", *(pytest.param(each, marks=pytest.mark.slow) for each in ("8|5", "6|3"))])
def test_all_zero_channels_stay_silent_at_every_precision(
    kind: str, nesting: str, worker: Any, stock_dir: Path, samples: np.ndarray, made_once: Any
) -> None:
    """The middle of their cell is not zero, yet the output is that of the stock model: only the bias counts."""
    shape = (153, 3, 3, 63)

    def make(folder: Path) -> None:
        model = fb.read_model(stock_dir / f"{kind}.tflite").model
        silence(model, shape, list(range(153)))  # nothing but biases from here on: any error would be seen
        (folder / "stock.tflite").write_bytes(fb.pack_model(model))
        nq.convert(folder / "stock.tflite", folder / "nested.tflite", nesting)
        for precision in ("full", "part"):
            nq.extract(folder / "nested.tflite", folder / f"{precision}.tflite", precision)

    folder = made_once(f"silent_{kind}_{nesting.replace('|', '_')}", make)
    [silent] = [each for each in read_nested(folder / "nested.tflite").weights if each.shape == shape]
    stock_bias_only = worker(jobs.tensor_after_weight, folder / "stock.tflite", samples[0], shape)
    for precision in ("full", "part"):
        got = worker(jobs.tensor_after_weight, folder / f"{precision}.tflite", samples[0], shape)
        np.testing.assert_allclose(got, stock_bias_only, atol=1 if kind == "int8" else 0)
    assert (silent.scales == 0).all() if kind == "float" else (silent.scales > 0).all()


def test_planning_leaves_the_model_alone(int8_tflite: bytes) -> None:
    model = fb.read_model(int8_tflite).model
    before = fb.pack_model(model)
    make_plan(model, Nesting.parse("8|5"), METHODS["nearest"])
    assert fb.pack_model(model) == before


def test_a_weight_with_several_readers_is_unpacked_once(worker: Any, samples: np.ndarray, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    inputs = keras.Input((16, 16, 3), name="image")
    shared = keras.layers.Conv2D(48, 3, padding="same", activation="relu", name="shared")
    x = keras.layers.Conv2D(48, 3, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(shared(shared(x))))
    nq.convert(model, tmp_path / "nested.tflite", "8|5", samples)
    nested = read_nested(tmp_path / "nested.tflite")
    names = [weight.name for weight in nested.weights]
    assert len(names) == len(set(names))
    nq.extract(tmp_path / "nested.tflite", tmp_path / "part.tflite", "part")
    wanted = worker(jobs.run_stock, tmp_path / "part.tflite", samples[:2])
    [got] = worker(jobs.run_nested, tmp_path / "nested.tflite", samples[:2], ["part"])
    np.testing.assert_array_equal(got, wanted)


def test_signatures_that_share_weights_share_their_levels(worker: Any, tmp_path: Path) -> None:
    """Two subgraphs on the same variables: one set of level buffers, both right at both precisions."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(np.random.default_rng(2).normal(size=(96, 64)).astype(np.float32))

        @tf.function(input_signature=[tf.TensorSpec([2, 96], tf.float32, name="x")])
        def plain(self, x: Any) -> dict[str, Any]:
            return {"y": tf.matmul(x, self.weight)}

        @tf.function(input_signature=[tf.TensorSpec([2, 96], tf.float32, name="x")])
        def squared(self, x: Any) -> dict[str, Any]:
            return {"y": tf.square(tf.matmul(x, self.weight))}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "saved"), {"plain": module.plain, "squared": module.squared})
    nq.convert(tmp_path / "saved", tmp_path / "nested.tflite", "8|5")
    nested = read_nested(tmp_path / "nested.tflite")
    assert len({weight.subgraph for weight in nested.weights}) == 2
    report = nq.inspect_file(tmp_path / "nested.tflite")
    assert report.section_bytes[0] <= 2 * report.weights[0].level_bytes[0]
    x = np.random.default_rng(3).normal(size=(2, 96)).astype(np.float32)
    [delegation] = worker(delegation_jobs.delegation, tmp_path / "nested.tflite", batches=(2,))
    assert [each.weight for each in delegation.nested] == [weight.name for weight in nested.weights]
    got = worker(jobs.run_signatures, tmp_path / "nested.tflite", x, fuse=False)  # exact: no dynamic range
    fused = worker(jobs.run_signatures, tmp_path / "nested.tflite", x, fuse=True)
    for level, precision in enumerate(("part", "full")):
        weight = nested.weights[0].values(level)
        np.testing.assert_allclose(got[precision]["plain"], x @ weight.T, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(got[precision]["squared"], np.square(x @ weight.T), rtol=1e-3, atol=1e-3)
        np.testing.assert_array_equal(fused[precision]["squared"], np.square(fused[precision]["plain"]))
        np.testing.assert_allclose(fused[precision]["plain"], x @ weight.T, atol=0.3)


def test_deep_filters_are_rounded_without_covariances(float_tflite: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their matrices would take minutes and gigabytes; the means still correct biases."""
    monkeypatch.setattr("nq_tflite.conversion.plan.MOST_DEPTH", 100)
    quiet = {"notify": silent}
    loaded = load_source(float_tflite, None, look=True, **quiet)
    weights = try_nesting(loaded, Nesting.parse("8|4"), METHODS["descent"], **quiet).plan.weights
    assert {(each.target.shape[1] > 100, each.rounding) for each in weights} == {(True, "squant"), (False, "descent")}
    assert all(each.level_biases is not None for each in weights)
