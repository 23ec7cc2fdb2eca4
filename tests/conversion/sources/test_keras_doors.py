"""Keras models of every kind that people bring: what converts, and what the message says where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jobs
import numpy as np
import pytest
from commands import invoke
from nq_tflite_models.nets.families import FAMILIES, build_family
from nq_tflite_models.nets.seeded import model_inputs, set_seeded_weights
from nq_tflite_models.nets.variants import of_policy, several_inputs_and_outputs, subclassed

import nq_tflite as nq
from nq_tflite.errors import RepresentativeDataError, UnsupportedModelError
from nq_tflite.graph import flatbuffer as fb
from nq_tflite.graph.nested import read_nested


def codes(path: Path) -> list[bytes]:
    """Every level of every nested weight."""
    return [bytes(level) for weight in read_nested(path).weights for level in weight.levels]


def converted(source: Any, path: Path, data: Any = None, **options: Any) -> list[bytes]:
    nq.convert(source, path, "8|4", data, rounding="nearest", **options)
    return codes(path)


@pytest.fixture
def unregistered() -> tuple[Any, type]:
    """A model with a layer of a class that nobody registered, and the class."""
    import keras

    class Doubled(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return 2.0 * inputs

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(64, 3, name="conv")(Doubled(name="doubled")(image))
    return set_seeded_weights(keras.Model(image, x), 1), Doubled


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_custom_objects(suffix: str, unregistered: tuple[Any, type], tmp_path: Path) -> None:
    model, layer = unregistered
    model.save(tmp_path / f"model{suffix}")
    with pytest.raises(UnsupportedModelError, match=r"'?Doubled'?.*custom_objects=\{'MyLayer': MyLayer\}"):
        converted(tmp_path / f"model{suffix}", tmp_path / "file.tflite")
    from_file = converted(tmp_path / f"model{suffix}", tmp_path / "file.tflite", custom_objects={layer.__name__: layer})
    assert from_file == converted(model, tmp_path / "memory.tflite")


def test_command_says_how_to_bring_a_class(unregistered: tuple[Any, type], tmp_path: Path) -> None:
    unregistered[0].save(tmp_path / "model.keras")
    done = invoke("convert", tmp_path / "model.keras", tmp_path / "out.tflite")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "nq.convert(path, ..., custom_objects=" in " ".join(done.stderr.split())


def test_lambda_layers(tmp_path: Path) -> None:
    """Code from a file runs only if its user says so; in memory it is the user's own."""
    import keras

    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(64, 3)(keras.layers.Lambda(lambda values: 2.0 * values)(image))
    model = set_seeded_weights(keras.Model(image, x), 1)
    model.save(tmp_path / "model.keras")
    with pytest.raises(UnsupportedModelError, match=r"load it yourself.*safe_mode=False"):
        nq.convert(tmp_path / "model.keras", tmp_path / "file.tflite")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=False)
    assert converted(loaded, tmp_path / "file.tflite") == converted(model, tmp_path / "memory.tflite")


@pytest.mark.slow
def test_files_of_keras_2(tmp_path: Path) -> None:
    """An .h5 file that tf_keras wrote, as every Keras before 3 did; and a tf_keras model in memory."""
    tf_keras = pytest.importorskip("tf_keras")
    image = tf_keras.Input((8, 8, 3), name="image")
    x = tf_keras.layers.Conv2D(64, 3, use_bias=False, name="conv")(image)
    x = tf_keras.layers.ReLU(6.0, name="relu")(tf_keras.layers.BatchNormalization(name="bn")(x))
    model = tf_keras.Model(image, tf_keras.layers.Conv2D(64, 1, name="pointwise")(x))
    rng = np.random.default_rng(1)
    model.set_weights([rng.uniform(0.1, 1.0, weight.shape) for weight in model.get_weights()])
    model.save(tmp_path / "model.h5")
    samples = rng.uniform(-1.0, 1.0, (4, 8, 8, 3)).astype(np.float32)
    for data in (None, samples):
        from_file = converted(tmp_path / "model.h5", tmp_path / "file.tflite", data)
        assert from_file == converted(model, tmp_path / "memory.tflite", data)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_files_of_keras_2_that_keras_3_does_not_read(suffix: str, tmp_path: Path) -> None:
    """Keras 3 has no `groups` of depthwise convolutions, and no classes of tf_keras: what the message says helps."""
    tf_keras = pytest.importorskip("tf_keras")
    image = tf_keras.Input((8, 8, 64), name="image")
    model = tf_keras.Model(image, tf_keras.layers.Conv2D(64, 3)(tf_keras.layers.DepthwiseConv2D(3)(image)))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    with pytest.raises(UnsupportedModelError, match=r"tf_keras\.models\.load_model\(path, compile=False\)") as refused:
        nq.convert(path, tmp_path / "file.tflite")
    assert "custom_objects" not in str(refused.value)
    loaded = tf_keras.models.load_model(path, compile=False)
    assert converted(loaded, tmp_path / "file.tflite") == converted(model, tmp_path / "memory.tflite")


def test_subclassed_models(tmp_path: Path) -> None:
    model = subclassed()
    model.save(tmp_path / "model.keras")
    assert converted(tmp_path / "model.keras", tmp_path / "file.tflite") == converted(model, tmp_path / "memory.tflite")


# ---- shapes, inputs, types -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["subclassed", "sequential"])
@pytest.mark.parametrize("data", [None, np.zeros((2, 16, 16, 3), np.float32)], ids=["float", "int8"])
def test_models_that_were_never_called(kind: str, data: Any, tmp_path: Path) -> None:
    import keras
    from nq_tflite_models.nets.custom import SubclassedNet

    model = SubclassedNet() if kind == "subclassed" else keras.Sequential([keras.layers.Conv2D(64, 3)])
    with pytest.raises(UnsupportedModelError, match="was never called"):
        nq.convert(model, tmp_path / "model.tflite", representative_data=data)
    model(np.zeros((1, 16, 16, 3), np.float32))
    nq.convert(model, tmp_path / "model.tflite", representative_data=data, rounding="nearest")


def test_lists_of_samples_have_the_order_of_the_models_inputs(tmp_path: Path) -> None:
    """The converter sorts inputs by name: here the other way round."""
    model = several_inputs_and_outputs()
    image, features = model_inputs(model, 4)
    lists = [[image[k : k + 1], features[k : k + 1]] for k in range(4)]
    dicts = [{"features": second, "image": first} for first, second in lists]
    for number, data in enumerate((lists, dicts)):
        nq.convert(model, tmp_path / f"{number}.tflite", representative_data=data)
    assert (tmp_path / "0.tflite").read_bytes() == (tmp_path / "1.tflite").read_bytes()
    with pytest.raises(RepresentativeDataError, match="dicts by input name"):
        nq.convert(model, tmp_path / "2.tflite", representative_data=[sample[::-1] for sample in lists])


@pytest.mark.parametrize(
    ("prefix", "names"),
    [
        ("", ("zeta", "Alpha")),
        ("", ("a", "b")),
        ("input_", ("mid_2", "mid_10")),
        pytest.param("input_", ("zeta", "Alpha"), marks=pytest.mark.slow),
        pytest.param("input_", ("a", "b"), marks=pytest.mark.slow),
        pytest.param("", ("mid_2", "mid_10"), marks=pytest.mark.slow),
    ],
)
def test_models_called_with_a_dict(prefix: str, names: tuple[str, str], tmp_path: Path) -> None:
    """Whatever the order of its keys, and also where the inputs have other names than those."""
    import keras

    inputs = {name: keras.Input((40,), name=f"{prefix}{name}") for name in names}
    dense = [keras.layers.Dense(64, name=f"of_{name}")(each) for name, each in inputs.items()]
    x = keras.layers.Dense(64)(keras.layers.Concatenate()(dense))
    model = set_seeded_weights(keras.Model(inputs, x), 1)
    rng = np.random.default_rng(2)
    dicts = [{name: rng.normal(size=(1, 40)).astype(np.float32) for name in names} for _ in range(4)]
    for data in (None, dicts):
        report = nq.convert(model, tmp_path / "model.tflite", "8|4", data, include="*", rounding="nearest")
        assert len(report.weights) == 3
        signature = fb.read_model(tmp_path / "model.tflite").model.signatureDefs[0]
        assert sorted(fb.text(each.name) for each in signature.inputs) == sorted(f"{prefix}{name}" for name in names)
    lists = [list(sample.values()) for sample in dicts]
    if names == ("a", "b"):  # the model's order and the sorted one
        as_dicts = (tmp_path / "model.tflite").read_bytes()
        nq.convert(model, tmp_path / "model.tflite", "8|4", lists, include="*", rounding="nearest")
        assert (tmp_path / "model.tflite").read_bytes() == as_dicts
    else:
        with pytest.raises(RepresentativeDataError, match=r"expected dicts by input name .*, got lists"):
            nq.convert(model, tmp_path / "model.tflite", representative_data=lists)


def test_loops_of_models_called_with_a_dict_get_a_batch_of_one(tmp_path: Path) -> None:
    import keras

    inputs = {name: keras.Input((6, 40), name=name) for name in ("zeta", "Alpha")}
    x = keras.layers.Concatenate()([keras.layers.LSTM(64)(each) for each in inputs.values()])
    nq.convert(set_seeded_weights(keras.Model(inputs, x), 1), tmp_path / "model.tflite", rounding="nearest")
    graph = fb.read_model(tmp_path / "model.tflite").model.subgraphs[0]
    assert [fb.shape(graph.tensors[index]) for index in graph.inputs] == [(1, 6, 40)] * 2


def test_subclassed_models_called_with_a_dict(tmp_path: Path) -> None:
    import keras

    class Both(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = keras.layers.Dense(64)

        def call(self, inputs: Any) -> Any:
            return self.dense(inputs["zeta"]) - self.dense(inputs["Alpha"])

    model = Both()
    model({name: np.zeros((1, 40), np.float32) for name in ("zeta", "Alpha")})
    nq.convert(model, tmp_path / "model.tflite", rounding="nearest", include="*")
    signature = fb.read_model(tmp_path / "model.tflite").model.signatureDefs[0]
    assert sorted(fb.text(each.name) for each in signature.inputs) == ["Alpha", "zeta"]


def test_the_exports_own_reason_is_told(tmp_path: Path) -> None:
    """Of Keras, and of code of the user's that cannot be traced."""
    import keras

    class Choosy(keras.Model):
        def call(self, inputs: Any) -> Any:
            if inputs.shape[0] is None:
                raise ArithmeticError("no batch, no result")
            return inputs

    choosy = Choosy()
    choosy(np.zeros((1, 8), np.float32))
    image, row = keras.Input((None, None, 3)), keras.Input((8,))
    free = keras.layers.UpSampling2D(2, interpolation="bilinear")(keras.layers.Conv2D(64, 3)(image))
    for model, reason in (
        (keras.Model(image, free), "UpSampling2D.*symbolic `tf.Tensor` as a Python `bool`"),
        (keras.Model(row, keras.layers.Dense(64, name="größe")(row)), "'größe' is not a valid scope name"),
        (choosy, "no batch, no result"),
    ):
        with pytest.raises(UnsupportedModelError, match=reason) as refused:
            nq.convert(model, tmp_path / "model.tflite")
        assert "NoneType" not in str(refused.value)
        assert "\x1b" not in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "policy",
    [
        "mixed_float16",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("bfloat16", "mixed_bfloat16", "float16")),
    ],
)
def test_half_precision_converts_as_float32(policy: str, tmp_path: Path) -> None:
    """The weights are the model's own, and the model is left as it is."""
    model, plain = of_policy(policy), of_policy("float32")
    plain.set_weights([np.asarray(weight, np.float32) for weight in model.get_weights()])
    assert converted(model, tmp_path / "half.tflite") == converted(plain, tmp_path / "plain.tflite")
    assert model.get_layer("conv").dtype_policy.name == policy
    data = model_inputs(model, 4)[0]
    assert converted(model, tmp_path / "half.tflite", data) == converted(plain, tmp_path / "plain.tflite", data)


def test_layers_of_training_leave_no_trace(tmp_path: Path) -> None:
    from nq_tflite_models.nets.variants import training_layers

    nq.convert(training_layers(), tmp_path / "model.tflite", rounding="nearest")
    nq.extract(tmp_path / "model.tflite", tmp_path / "stock.tflite")
    model = fb.read_model(tmp_path / "stock.tflite").model
    names = [fb.operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert names == ["CONV_2D", "MEAN", "FULLY_CONNECTED"]


# ---- loops and operations that TFLite lacks --------------------------------------------------------------------------


@pytest.mark.slow
def test_recurrent_layers_get_a_batch_of_one_or_a_reason(tmp_path: Path) -> None:
    model, path = build_family("lstm"), tmp_path / "model.tflite"
    nq.convert(model, path, rounding="nearest")
    assert fb.read_model(path).model.subgraphs[0].tensors[0].shape.tolist() == [1, 12, 40]
    with pytest.raises(UnsupportedModelError, match=r"without loops.*layer.unroll = True"):
        nq.convert(model, path, representative_data=model_inputs(model, 4)[0])
    model.export(tmp_path / "saved", verbose=False)
    for data in (None, model_inputs(model, 4)[0]):
        with pytest.raises(UnsupportedModelError, match=r"fixed batch size.*keras\.Input\(batch_shape=\(1, \.\.\.\)\)"):
            nq.convert(tmp_path / "saved", path, representative_data=data)
    for layer in model.layers:
        if hasattr(layer, "unroll"):
            layer.unroll = True
    nq.convert(model, path, representative_data=model_inputs(model, 4)[0], rounding="nearest")


def test_operations_that_tflite_lacks_are_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3), name="image")
    model = keras.Model(image, keras.layers.Conv2D(64, 3)(keras.ops.roll(image, 1, axis=1)))
    with pytest.raises(UnsupportedModelError, match=r"operations that TFLite does not have: tf\.Roll\. Replace"):
        nq.convert(model, tmp_path / "model.tflite")


# ---- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "audio",
        "embedding",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("vit", "mobilenet_v2", "swin", "segmenter")),
    ],
)
@pytest.mark.parametrize("activations", ["float", "int8"])
def test_free_batches(name: str, activations: str, made_once: Any, worker: Callable[..., Any]) -> None:
    """Converted with a free batch, then resized, run and switched: each input's outputs are those of a batch of one."""

    def make(folder: Path) -> None:
        model = build_family(name)
        assert model.input_shape[0] is None
        [inputs] = model_inputs(model, 5)
        np.save(folder / "inputs.npy", inputs)
        data = inputs if activations == "int8" else None
        nq.convert(model, folder / "model.tflite", "8|4", data, rounding="nearest")

    folder = made_once(f"free_batches_{name}_{activations}", make)
    path, inputs = folder / "model.tflite", np.load(folder / "inputs.npy")
    single, batch = worker(jobs.in_batches, path, inputs)
    for precision in ("full", "part"):
        np.testing.assert_allclose(batch[precision], single[precision], rtol=1e-4, atol=1e-4)
        if activations == "int8":
            np.testing.assert_array_equal(batch[precision], single[precision])
    assert not np.array_equal(single["full"], single["part"])


def test_unknown_family() -> None:
    with pytest.raises(UnsupportedModelError, match=f"expected one of {', '.join(FAMILIES)}, got 'alexnet'"):
        build_family("alexnet")
