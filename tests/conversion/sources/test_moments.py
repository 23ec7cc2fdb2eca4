"""Moments from batch normalization: exact formulas, the graph's operators, and nets whose data they must agree with."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from graphs import Graph

from nq_tflite.conversion.sources.keras_export import export, folded_norms
from nq_tflite.conversion.sources.moments import FoldedNorm, Moments, predicted_mean, tensor_moments
from nq_tflite.conversion.sources.pairing import layer_weights
from nq_tflite.errors import UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.flatbuffer import schema

CHANNELS = 5


def random_moments(seed: int, channels: int = CHANNELS) -> Moments:
    rng = np.random.default_rng(seed)
    return Moments(rng.normal(0.5, 2, channels), rng.uniform(0.1, 4, channels))


def normal(moments: Moments, seed: int = 0, count: int = 400_000) -> np.ndarray:
    rng = np.random.default_rng([seed, 7])
    return rng.normal(moments.mean, np.sqrt(moments.variance), (count, len(moments.mean)))


def assert_like(moments: Moments, values: np.ndarray) -> None:
    """The moments of sampled values, within their sampling error."""
    np.testing.assert_allclose(moments.mean, values.mean(0), atol=0.03)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=0.03, atol=0.01)


def float_input(graph: Graph, *, size: int = 4) -> int:
    return graph.input((1, size, size, CHANNELS))


def unary(name: str, options: Any = None) -> tuple[Any, int, int]:
    graph = Graph()
    x = float_input(graph)
    y = graph.add(name, [x], (1, 4, 4, CHANNELS), options=options)
    return fb.read_model(graph.build([y])).model, x, y


def phi(x: np.ndarray) -> np.ndarray:
    return np.asarray([0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])


@pytest.mark.parametrize(("name", "cap"), [("RELU", None), ("RELU6", 6.0)])
def test_clipped_normals_have_their_textbook_moments(name: str, cap: float | None) -> None:
    model, x, y = unary(name)
    given = random_moments(1)
    mean, deviation = given.mean, np.sqrt(given.variance)

    def density(v: np.ndarray) -> np.ndarray:
        return np.exp(-0.5 * v**2) / math.sqrt(2 * math.pi)

    low = -mean / deviation
    expected = mean * (1 - phi(low)) + deviation * density(low)
    if cap is not None:
        high = (cap - mean) / deviation
        expected += cap * (1 - phi(high)) - mean * (1 - phi(high)) - deviation * density(high)
    got = tensor_moments(model, [], {x: given})[y]
    np.testing.assert_allclose(got.mean, expected, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("RELU_N1_TO_1", lambda x: np.clip(x, -1, 1)),
        ("HARD_SWISH", lambda x: x * np.clip(x + 3, 0, 6) / 6),
        ("LOGISTIC", lambda x: 1 / (1 + np.exp(-x))),
        ("TANH", np.tanh),
        ("ELU", lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))),
    ],
)
def test_functions(name: str, function: Any) -> None:
    model, x, y = unary(name)
    given = random_moments(2)
    assert_like(tensor_moments(model, [], {x: given})[y], function(normal(given)))


def test_a_product_with_its_own_gate_is_not_one_of_independents() -> None:
    """x * sigmoid(x), and x * relu6(x + 3) / 6 in single operators."""
    graph, shape = Graph(), (1, 4, 4, CHANNELS)
    x = float_input(graph)
    swish = graph.add("MUL", [x, graph.add("LOGISTIC", [x], shape)], shape, options=schema.MulOptionsT())
    three, sixth = (graph.constant(np.float32(v)) for v in (3, 1 / 6))
    gate = schema.AddOptionsT(fusedActivationFunction=schema.ActivationFunctionType.RELU6)
    shifted = graph.add("ADD", [x, three], shape, options=gate)
    scaled = graph.add("MUL", [shifted, sixth], shape, options=schema.MulOptionsT())
    hard = graph.add("MUL", [scaled, x], shape, options=schema.MulOptionsT())
    given = random_moments(3)
    got = tensor_moments(fb.read_model(graph.build([swish, hard])).model, [], {x: given})
    values = normal(given)
    assert_like(got[swish], values / (1 + np.exp(-values)))
    assert_like(got[hard], values * np.clip(values + 3, 0, 6) / 6)


@pytest.mark.parametrize("name", ["ADD", "SUB", "MUL"])
def test_independent_terms(name: str) -> None:
    graph, shape = Graph(), (1, 4, 4, CHANNELS)
    x, y = float_input(graph), float_input(graph)
    z = graph.add(name, [x, y], shape, options=schema.AddOptionsT() if name == "ADD" else None)
    operator_options = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT}[name]()
    model = fb.read_model(graph.build([z])).model
    model.subgraphs[0].operators[0].builtinOptions = operator_options
    first, second = random_moments(4), random_moments(5)
    combine = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply}[name]
    got = tensor_moments(model, [], {x: first, y: second})[z]
    expected = combine(normal(first, 1), normal(second, 2))
    np.testing.assert_allclose(got.mean, expected.mean(0), atol=0.05)
    np.testing.assert_allclose(got.variance, expected.var(0), rtol=0.03)


def test_moving_and_joining() -> None:
    graph = Graph()
    x, y = float_input(graph), float_input(graph)
    none = schema.ActivationFunctionType.NONE
    join = schema.ConcatenationOptionsT(axis=3, fusedActivationFunction=none)
    joined = graph.add("CONCATENATION", [x, y], (1, 4, 4, 2 * CHANNELS), options=join)
    paddings = graph.constant(np.asarray([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
    padded = graph.add("PAD", [joined, paddings], (1, 6, 6, 2 * CHANNELS))
    flat = graph.add("RESHAPE", [padded], (1, 36 * 2 * CHANNELS))
    crossed = graph.add("RESHAPE", [padded], (1, 2 * CHANNELS, 36))
    axes = graph.constant(np.asarray([1, 2], np.int32))
    mean = graph.add("MEAN", [joined, axes], (1, 2 * CHANNELS))
    unknown = graph.add("CUMSUM", [joined], (1, 4, 4, 2 * CHANNELS))
    behind = graph.add("RELU", [unknown], (1, 4, 4, 2 * CHANNELS))
    first, second = random_moments(6), random_moments(7)
    model = fb.read_model(graph.build([flat, crossed, mean, behind])).model
    got = tensor_moments(model, [], {x: first, y: second})
    expected = np.concatenate([first.mean, second.mean])
    np.testing.assert_array_equal(got[joined].mean, expected)
    np.testing.assert_array_equal(got[padded].variance, np.concatenate([first.variance, second.variance]))
    np.testing.assert_array_equal(got[flat].mean, np.tile(expected, 36))
    np.testing.assert_array_equal(got[mean].mean, expected)
    assert (got[mean].variance < got[joined].variance).all()
    assert not {crossed, unknown, behind} & set(got)


def test_a_maximum_lies_higher() -> None:
    options = schema.Pool2DOptionsT(filterHeight=3, filterWidth=3, strideH=1, strideW=1)
    model, x, y = unary("MAX_POOL_2D", options)
    given = random_moments(8)
    got = tensor_moments(model, [], {x: given})[y]
    assert (got.mean > given.mean).all()
    assert (got.variance < given.variance).all()


def test_the_same_kernel_under_two_norms_tells_nothing() -> None:
    graph = Graph()
    x = float_input(graph)
    kernel = np.random.default_rng(9).normal(size=(8, 1, 1, CHANNELS)).astype(np.float32)
    weight = graph.constant(kernel)
    options = schema.Conv2DOptionsT(padding=schema.Padding.VALID, strideW=1, strideH=1)
    y = graph.add("CONV_2D", [x, weight, graph.constant(np.ones(8, np.float32))], (1, 4, 4, 8), options=options)
    model = fb.read_model(graph.build([y])).model
    one, other = (FoldedNorm(kernel.reshape(8, CHANNELS), random_moments(seed, 8)) for seed in (10, 11))
    np.testing.assert_array_equal(tensor_moments(model, [one])[y].mean, one.moments.mean)
    assert y not in tensor_moments(model, [one, other])
    inferred = tensor_moments(model, [one, other], {x: random_moments(12)})[y]
    matrix = kernel.reshape(8, CHANNELS)
    np.testing.assert_allclose(inferred.mean, matrix @ random_moments(12).mean + 1, rtol=1e-6)
    np.testing.assert_allclose(inferred.variance, matrix**2 @ random_moments(12).variance, rtol=1e-6)
    [found] = layer_weights(model)
    given = random_moments(12)
    expected = kernel.reshape(8, CHANNELS) @ given.mean + 1
    np.testing.assert_allclose(predicted_mean(model, found, given), expected, rtol=1e-6)
    with pytest.raises(UnsupportedModelError, match="multiple of 5 channels"):
        predicted_mean(model, found, random_moments(12, 3))


# ---- Keras models ---------------------------------------------------------------------------------------------------


def settled_net() -> Any:
    """Every kind of layer that takes a batch norm, one norm that stays, shortcuts, gates; settled on its own data."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights, settle_batch_norms

    norm, conv = keras.layers.BatchNormalization, keras.layers.Conv2D
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.ReLU(6.0)(norm()(conv(24, 3, strides=2, padding="same")(inputs)))
    x = keras.layers.Activation("relu")(norm()(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)))
    x = shortcut = norm()(conv(32, 1, use_bias=False)(x))
    x = keras.layers.Activation("silu")(norm()(keras.layers.SeparableConv2D(32, 3, padding="same")(x)))
    x = keras.layers.Add()([shortcut, norm()(conv(32, 3, groups=4, padding="same")(x))])
    x = keras.layers.Concatenate()([x, conv(16, 1)(x)])
    x = conv(24, 1)(keras.layers.Activation("relu")(norm()(x)))
    x = keras.layers.Activation("hard_silu")(norm()(x))
    x = norm()(keras.layers.Dense(20)(keras.layers.GlobalAveragePooling2D()(x)))
    x = keras.layers.Activation("relu")(x)  # or the converter folds the norm into the layer behind it
    model = set_seeded_weights(keras.Model(inputs, keras.layers.Dense(7)(x)), seed=2)
    return settle_batch_norms(model, data())


def data() -> np.ndarray:
    from nq_tflite_models.nets.seeded import seeded_inputs

    return seeded_inputs((None, 32, 32, 3), 64, seed=1)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    model = settled_net()
    path = tmp_path_factory.mktemp("settled") / "float.tflite"
    path.write_bytes(export(model, None))
    return model, path


def test_moments_are_those_of_the_data(settled: tuple[Any, Path], native_worker_of: Any) -> None:
    model, path = settled
    graph = fb.read_model(path).model
    folded = folded_norms(model)
    assert len(folded) == 2 * 7 + 1  # all but the one behind a concatenation are folded
    got = tensor_moments(graph, folded)
    values = native_worker_of("tensorflow")(jobs.every_tensor, path, data())
    operators = graph.subgraphs[0].operators
    names = [fb.operator_name(graph, operator) for operator in operators]
    weights = {weight.operator: weight for weight in layer_weights(graph)}
    checked = set()
    for position, (operator, name) in enumerate(zip(operators, names, strict=True)):
        index = fb.indices(operator.outputs)[0]
        if index not in got:
            continue
        measured = values[index].reshape(-1, values[index].shape[-1])
        deviation = np.sqrt(measured.var())
        normed = position in weights and any(weights[position].is_of(norm.kernel) for norm in folded)
        tight = normed and operator.builtinOptions.fusedActivationFunction == 0
        np.testing.assert_allclose(got[index].mean, measured.mean(0), atol=(0.01 if tight else 0.25) * deviation)
        if name != "MEAN":
            ratio = got[index].variance.sum() / measured.var(0).sum()
            assert 0.6 < ratio < 1.6, name
        checked.add(name)
    assert checked >= {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "MUL", "LOGISTIC", "MEAN", "FULLY_CONNECTED"}


def test_a_layer_predicts_its_norms_mean(settled: tuple[Any, Path]) -> None:
    model, path = settled
    graph = fb.read_model(path).model
    got = tensor_moments(graph, folded_norms(model))
    compared = 0
    for weight in layer_weights(graph):
        operator = graph.subgraphs[0].operators[weight.operator]
        source, result = fb.indices(operator.inputs)[0], fb.indices(operator.outputs)[0]
        if source in got and result in got and operator.builtinOptions.fusedActivationFunction == 0:
            error = predicted_mean(graph, weight, got[source]) - got[result].mean
            assert np.sqrt(np.square(error).mean() / got[result].variance.mean()) < 0.5
            compared += 1
    assert compared >= 3


def test_int8_weights_are_recognised_too(settled: tuple[Any, Path]) -> None:
    from nq_tflite.conversion.sources.calibration import sample_source

    model, path = settled
    folded = folded_norms(model)
    graphs = [fb.read_model(content).model for content in (path, export(model, sample_source(data()[:8])))]
    by_layer = []
    for graph in graphs:
        got = tensor_moments(graph, folded)
        outputs = [fb.indices(graph.subgraphs[0].operators[w.operator].outputs)[0] for w in layer_weights(graph)]
        by_layer.append([got.get(index) for index in outputs])
    assert len(by_layer[0]) == len(by_layer[1])
    assert sum(moments is not None for moments in by_layer[0]) >= 7
    for ours, theirs in zip(*by_layer, strict=True):
        assert (ours is None) == (theirs is None)
        if ours is not None and theirs is not None:
            # Those of norms are the same; a layer without one goes by its rounded weights.
            np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-6, atol=0.01 * np.sqrt(ours.variance.mean()))


def test_norms_are_found_through_nested_models(tmp_path: Path) -> None:
    """A norm inside a Sequential whose convolution stands outside, and the reverse; from a file as well."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    inner_input = keras.Input((8, 8, 6))
    inner = keras.Model(inner_input, keras.layers.Conv2D(4, 1, name="last")(keras.layers.ReLU()(inner_input)))
    head = keras.Sequential([keras.layers.BatchNormalization(name="first"), keras.layers.Conv2D(6, 3, padding="same")])
    inputs = keras.Input((8, 8, 3))
    x = inner(head(keras.layers.Conv2D(5, 3, padding="same", name="outer")(inputs)))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="outside")(x))
    for part in (model, inner, head):
        set_seeded_weights(part, seed=4)
    model.save(tmp_path / "model.keras")
    ours, theirs = (
        {norm.kernel.shape: norm for norm in folded_norms(each)} for each in (model, tmp_path / "model.keras")
    )
    assert sorted(ours) == sorted(theirs) == [(4, 1), (4, 6), (5, 1), (5, 27)]
    for shape, norm in ours.items():
        np.testing.assert_array_equal(norm.kernel, theirs[shape].kernel)
        np.testing.assert_array_equal(norm.moments.mean, theirs[shape].moments.mean)
    graph = fb.read_model(export(model, None)).model
    got = tensor_moments(graph, folded_norms(model))
    first, _, last = (graph.subgraphs[0].operators[weight.operator] for weight in layer_weights(graph))
    for operator, layer in ((first, head.layers[0]), (last, model.get_layer("outside"))):
        beta = np.asarray(layer.beta)
        np.testing.assert_allclose(got[fb.indices(operator.outputs)[0]].mean, beta, rtol=1e-6)


@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}, {"scale": False, "center": False}])
def test_parameters_of_a_norm(options: dict[str, bool]) -> None:
    import keras

    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4), keras.layers.BatchNormalization(**options)])
    rng = np.random.default_rng(5)
    norm = model.layers[-1]
    norm.set_weights([rng.uniform(0.5, 2, 4) for _ in norm.get_weights()])
    x = rng.normal(0, 3, (6, 6)).astype(np.float32)
    alone, folded = folded_norms(model)
    given = x @ model.layers[0].get_weights()[0]
    difference = np.asarray(model(x)) - x @ folded.kernel.T
    np.testing.assert_allclose(difference, np.broadcast_to(difference[0], (6, 4)), atol=1e-5)
    np.testing.assert_allclose(given * alone.kernel[:, 0], x @ folded.kernel.T, atol=1e-5)
    mean, variance = (np.asarray(values) for values in (norm.moving_mean, norm.moving_variance))
    at_mean = np.asarray(norm(np.stack([mean, mean + np.sqrt(variance)])))
    np.testing.assert_allclose(folded.moments.mean, at_mean[0], atol=1e-6)
    np.testing.assert_allclose(folded.moments.variance, np.square(at_mean[1] - at_mean[0]), rtol=1e-4)


def test_an_activation_before_the_norm_keeps_it_out_of_the_weight() -> None:
    import keras

    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.BatchNormalization()(x))
    [alone] = folded_norms(model)
    assert alone.kernel.shape == (4, 1)


def test_models_without_layers_have_no_norms(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    assert folded_norms(tmp_path) == []


@pytest.mark.network
def test_mobilenet_v2_knows_what_photos_look_like(worker_of: Any, tmp_path: Path) -> None:
    from nq_tflite_models.nets.mobilenet_v2 import MOBILENET_V2_PREPROCESSING, mobilenet_v2
    from nq_tflite_models.photos import calibration_photos

    model = mobilenet_v2()
    (tmp_path / "float.tflite").write_bytes(export(model, None))
    graph = fb.read_model(tmp_path / "float.tflite").model
    got = tensor_moments(graph, folded_norms(model))
    photos = np.stack([MOBILENET_V2_PREPROCESSING.apply(photo) for photo in calibration_photos(16)])
    values = worker_of("ai-edge-litert")(jobs.every_tensor, tmp_path / "float.tflite", photos.astype(np.float32))
    weights = list(layer_weights(graph))
    errors = []
    for weight in weights[:-1]:  # all but the classifier
        index = fb.indices(graph.subgraphs[0].operators[weight.operator].outputs)[0]
        measured = values[index].reshape(-1, values[index].shape[-1])
        errors.append(np.sqrt(np.square(got[index].mean - measured.mean(0)).mean() / measured.var(0).mean()))
    assert len(errors) == 52
    assert np.median(errors) < 0.25
