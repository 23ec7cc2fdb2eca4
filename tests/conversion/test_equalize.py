"""Equalized linear chains: what a conversion does with them, and when it leaves them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke

import nq_tflite as nq
from nq_tflite.conversion import equalize as module
from nq_tflite.conversion.equalize import EXPONENTS, MOST_LOSS_DB, equalize
from nq_tflite.conversion.report import read_conversion
from nq_tflite.conversion.rounding import METHODS
from nq_tflite.conversion.sources.source import Source, load_source
from nq_tflite.conversion.trial import start_walk
from nq_tflite.device.runtimes import walking_runtime
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.format.levels import signal_to_noise_db
from nq_tflite.format.nesting import Nesting
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.progress import silent

SHAPE = (None, 16, 16, 3)


def inverted_bottlenecks(spread: float = 1.2) -> Any:
    """A stem and two residual blocks, whose narrow tensors have channels of very different widths."""
    import keras
    from nq_tflite_models.nets.seeded import seeded_inputs, set_seeded_weights, settle_batch_norms

    layers = keras.layers
    inputs = keras.Input(SHAPE[1:], name="image")
    x = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(16, 3, strides=2, padding="same")(inputs)))
    x = layers.BatchNormalization(name="stem_project")(layers.Conv2D(12, 1, use_bias=False)(x))
    for number in range(2):
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(48, 1, use_bias=False)(x)))
        y = layers.ReLU(6.0)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(y)))
        y = layers.BatchNormalization(name=f"project_{number}")(layers.Conv2D(12, 1, use_bias=False)(y))
        x = layers.Add()([x, y])
    x = layers.ReLU(6.0)(layers.Conv2D(64, 1)(x))
    model = set_seeded_weights(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x))), 3)
    widths = np.exp(np.random.default_rng(1).normal(0, spread, 12))
    for name in ("stem_project", "project_0", "project_1"):
        gamma, beta, mean, variance = model.get_layer(name).get_weights()
        model.get_layer(name).set_weights([gamma * widths, beta * widths, mean, variance])
    return settle_batch_norms(model, seeded_inputs(SHAPE, 16))


def images(count: int, seed: int = 0) -> np.ndarray:
    from nq_tflite_models.nets.seeded import seeded_inputs

    return seeded_inputs(SHAPE, count, seed)


@pytest.fixture(scope="module")
def model() -> Any:
    return inverted_bottlenecks()


def load(model: Any, **options: Any) -> Source:
    return load_source(model, images(48), look=True, notify=silent, equalize=True, **options)


@pytest.fixture(scope="module")
def source(model: Any) -> Source:
    return load(model)


def snr_db(source: Source, inputs: np.ndarray) -> float:
    """Of a full-int8 model's outputs before nesting."""
    assert source.samples is not None
    samples = replace(source.samples, arrays=[[each[None]] for each in inputs], held_out=0)
    wanted, got = (np.concatenate(start_walk(net, samples).outputs()) for net in (source.reference.model, source.model))
    return signal_to_noise_db(wanted, got)


def test_a_chain_is_equalized_and_gains_on_inputs_that_nobody_saw(source: Source) -> None:
    found, equalization = equalize(source, Nesting((8, 4)), METHODS["descent"], notify=silent)
    assert equalization is not None
    linear, *rectified = equalization.exponents
    assert linear > 0
    assert rectified == [1, 1]
    assert equalization.gain_db > 0.5
    assert snr_db(found, images(32, seed=9)) > snr_db(source, images(32, seed=9)) + 0.5


def test_weights_are_paired_and_moments_follow(source: Source) -> None:
    """All that rounding knows of the source is of the equalized model."""
    assert source.equalizable is not None
    found = source.equalized([1.0, 0.0, 0.0], final=True)
    assert len(found.reference.weights) == len(source.reference.weights) == 10
    chain = source.equalizable.chains[0]
    change = source.equalizable.change(chain, 1.0)
    assert np.exp(np.log(change.factors).mean()) == pytest.approx(1)
    for tensor, labels in chain.tensors.items():
        old, new = source.reference.moments[tensor], found.reference.moments[tensor]
        np.testing.assert_allclose((new.mean + change.offsets[tensor]) * change.factors[labels], old.mean)
        np.testing.assert_allclose(new.variance * change.factors[labels] ** 2, old.variance)


def tensors_of(model: Any, tensors: list[int], count: int) -> list[np.ndarray]:
    """What tensors of a float model hold for images: [images, height, width, channels] each."""
    graph = model.subgraphs[0]
    kept, graph.outputs = graph.outputs, tensors
    interpreter = walking_runtime().interpreter(model_content=fb.pack_model(model))
    graph.outputs = kept
    interpreter.allocate_tensors()
    seen = []
    for image in images(count):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        seen.append([interpreter.get_tensor(each["index"])[0] for each in interpreter.get_output_details()])
    return [np.stack(values) for values in zip(*seen, strict=True)]


def test_exponent_one_makes_channels_alike(source: Source) -> None:
    """The widest values of all channels are the same then, and calibration would see the new ranges."""
    assert source.equalizable is not None
    model, _ = source.equalizable.equalized([1.0, 1.0, 1.0])
    first, *others = source.equalizable.chains
    assert [len(each.tensors) for each in (first, *others)] == [5, 1, 1]
    values = tensors_of(model, list(first.tensors), 48)
    widest = np.max([np.abs(each).max(axis=(0, 1, 2)) for each in values], axis=0)
    np.testing.assert_allclose(widest, widest[0], rtol=1e-3)
    for tensor, each in zip(first.tensors, values, strict=True):
        quantization = model.subgraphs[0].tensors[tensor].quantization
        assert quantization is not None
        np.testing.assert_allclose([*quantization.min, *quantization.max], [each.min(), each.max()], rtol=1e-3)
    for chain in others:
        [each] = tensors_of(model, list(chain.tensors), 48)
        np.testing.assert_allclose(each.max(axis=(0, 1, 2)), 6, rtol=1e-3)


def test_offsets_narrow_the_ranges(source: Source) -> None:
    """With the same exponent, the tensors of the chain together cover less."""
    assert source.equalizable is not None
    chain = source.equalizable.chains[0]
    change = source.equalizable.change(chain, 1.0)
    assert change.offsets.keys() == chain.tensors.keys()
    with_offsets = [each.limits for each in change.ranges.values()]
    without = [
        source.equalizable.ranges[tensor].divided(change.factors[labels]) for tensor, labels in chain.tensors.items()
    ]
    assert sum(high - low for low, high in with_offsets) < sum(np.ptp(each.limits) for each in without)


@pytest.mark.slow
def test_convert_says_so_and_gives_the_same_bytes(model: Any, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("one.tflite", "other.tflite", "without.tflite")]
    reports = [
        nq.convert(model, path, "8|4", images(48), rounding="squant", equalize=path is not paths[2]) for path in paths
    ]
    one, other, without = reports
    assert paths[0].read_bytes() == paths[1].read_bytes() != paths[2].read_bytes()
    assert one.equalization == other.equalization
    assert one.equalization is not None
    assert str(one.equalization) in str(one)
    assert "3 of 3 linear chains equalized, by exponents of " in str(one)
    assert without.equalization is None
    assert one.estimate is not None
    assert without.estimate is not None
    assert one.estimate.snr_db[1] > without.estimate.snr_db[1]
    (tmp_path / "report.json").write_text(json.dumps(one.as_dict()))
    assert read_conversion(tmp_path / "report.json").equalization == one.equalization


def test_types_and_ranges_are_those_asked_for(model: Any, tmp_path: Path) -> None:
    path = tmp_path / "nested.tflite"
    options: dict[str, Any] = {"input_type": "int8", "output_type": "uint8", "activation_ranges": "percentile"}
    report = nq.convert(model, path, "8|5", images(12), rounding="squant", **options)
    assert report.equalization is not None
    assert report.equalization.num_inputs == 3
    graph = fb.read_model(path).model.subgraphs[0]
    types = fb.schema.TensorType
    assert graph.tensors[graph.inputs[0]].type == types.INT8
    assert graph.tensors[graph.outputs[0]].type == types.UINT8


def test_models_without_chains_keep_their_bytes(tmp_path: Path) -> None:
    """A convolution that reads what a ReLU gives would pay for other factors with its own weights."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    layers, inputs = keras.layers, keras.Input(SHAPE[1:])
    x = layers.Conv2D(16, 3, activation="relu")(inputs)
    x = layers.Flatten()(layers.Conv2D(16, 3, activation="relu")(x))
    model = set_seeded_weights(keras.Model(inputs, layers.Dense(10)(x)), 3)
    paths = [tmp_path / name for name in ("with.tflite", "without.tflite")]
    for path in paths:
        report = nq.convert(model, path, "8|5", images(8), rounding="squant", equalize=path is paths[0])
        assert report.equalization is None
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize("rounding", [pytest.param("nearest", marks=pytest.mark.slow), "squant"])
def test_float_activations_are_left(rounding: Any, model: Any, tmp_path: Path) -> None:
    """Without samples a Keras model keeps them, and a .tflite stays what it is."""
    report = nq.convert(model, tmp_path / "nested.tflite", "8|5", rounding=rounding)
    assert report.equalization is None


def test_where_nobody_can_tell_it_is_left(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise UnsupportedModelError("operator X", expected="one that runs by itself", got="it does not")

    monkeypatch.setattr(module, "start_walk", refuse)
    found, equalization = equalize(source, Nesting((8, 4)), METHODS["descent"], notify=silent)
    assert equalization is not None
    assert not any(equalization.exponents)
    assert str(equalization) == (
        "3 linear chains not equalized: operator X: expected one that runs by itself, got it does not"
    )
    assert fb.pack_model(found.model) == fb.pack_model(source.model)


def test_outputs_that_lose_are_left(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_gain_db", lambda *_: -0.2)
    _, equalization = equalize(source, Nesting((8, 4)), METHODS["descent"], notify=silent)
    assert equalization is not None
    assert not any(equalization.exponents)
    assert str(equalization) == "3 linear chains not equalized: a precision would lose by it"


def decibels(part: float, full: float) -> np.ndarray:
    """Noise at the coarsest level and at full-bit that is so many decibels below none."""
    return np.asarray(10 ** (-np.array([part, full]) / 10))


@pytest.mark.parametrize(
    ("gains", "wanted"),
    [
        ([(0, 0), (1, 1), (0.5, 2), (-1, 9)], 1 / 2),
        ([(0, 0), (-0.05, 1), (-0.3, 5), (-1, 9)], 1 / 3),
        ([(0, 0), (-1, 1), (-2, 2), (-3, 3)], 0.0),
        ([(0, 0), (5, -0.2), (6, -0.3), (7, -0.4)], 0.0),
    ],
)
def test_neither_precision_may_lose(gains: list[tuple[float, float]], wanted: float) -> None:
    assert MOST_LOSS_DB == 0.1
    noises = {exponent: decibels(*gain) for exponent, gain in zip(EXPONENTS, gains, strict=True)}
    assert module._best(noises) == wanted


def test_a_layer_that_gives_nothing_chooses_nothing() -> None:
    assert module._best({exponent: np.zeros(2) for exponent in EXPONENTS}) == 0.0


@pytest.mark.slow
def test_the_command_has_the_option(model: Any, tmp_path: Path) -> None:
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "samples.npy", images(12))
    given = [tmp_path / "model.keras", tmp_path / "nested.tflite", "--representative", tmp_path / "samples.npy"]
    result = invoke("convert", *given, "--rounding", "squant")
    assert result.exit_code == 0, result.output
    assert "3 linear chains " in " ".join(result.output.split())
    result = invoke("convert", *given, "--rounding", "squant", "--no-equalize", "--json")
    assert json.loads(result.stdout)["equalization"] is None
