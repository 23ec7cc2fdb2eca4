"""What each activation costs: known noise, known shares, every kind of source, and sources that have none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import invoke

import nq_tflite as nq
from nq_tflite.errors import PhotosError, RepresentativeDataError, UnsupportedModelError
from nq_tflite.measure.activation_noise import INPUT, MOST_INPUTS, ActivationNoise, activation_noise

SIDE = 8


def images(count: int, seed: int = 0) -> np.ndarray:
    from nq_tflite_models.nets.seeded import seeded_inputs

    return np.asarray(seeded_inputs((None, SIDE, SIDE, 3), count, seed), np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.keras, nested.tflite, full.tflite, float.tflite, samples.npy: one channel of "loud" is 100 times wider."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    y = layers.Conv2D(8, 1, name="loud")(x)
    x = layers.Add(name="joined")([x, layers.Conv2D(8, 3, padding="same", name="quiet")(y)])
    x = layers.MaxPooling2D(name="pooled")(x)
    model = set_seeded_weights(keras.Model(inputs, layers.Dense(6)(layers.Flatten()(x))), 3)
    kernel, bias = model.get_layer("loud").get_weights()
    model.get_layer("loud").set_weights([kernel * np.where(np.arange(8) == 0, 100, 1), bias])
    kernel, bias = model.get_layer("quiet").get_weights()
    kernel[:, :, 0] *= 0.01
    model.get_layer("quiet").set_weights([kernel, bias])
    folder = tmp_path_factory.mktemp("noise")
    model.save(folder / "model.keras")
    np.save(folder / "samples.npy", images(40))
    nq.convert(model, folder / "nested.tflite", "8|4", images(40), equalize=False, rounding="squant", include="*")
    nq.convert(model, folder / "floats.tflite", "8|4", rounding="nearest", include="*")
    nq.extract(folder / "nested.tflite", folder / "full.tflite")
    return folder


@pytest.fixture(scope="module")
def nested(files: Path) -> ActivationNoise:
    return activation_noise(files / "nested.tflite", samples=files / "samples.npy", progress=None)


def test_the_wide_channel_is_found(nested: ActivationNoise) -> None:
    assert "loud" in nested.tensors[0].name
    assert nested.tensors[0].operator == "CONV_2D"
    assert nested.tensors[0].share > 0.5
    assert nested.num_inputs == 20 <= MOST_INPUTS


def test_shares_and_sums(nested: ActivationNoise) -> None:
    assert sum(each.share for each in nested.tensors) == pytest.approx(1)
    powers = [10 ** (-each.snr_db / 10) for each in nested.tensors]
    assert powers == sorted(powers, reverse=True)
    assert nested.sum_db == pytest.approx(-10 * np.log10(sum(powers)))
    assert [each.share for each in nested.tensors] == pytest.approx([power / sum(powers) for power in powers])


def test_every_place_where_values_are_rounded_is_told_once(nested: ActivationNoise) -> None:
    """What max pooling and flattening give has the codes of what they read."""
    names = [each.name for each in nested.tensors]
    assert len(set(names)) == len(names) == 6
    assert sorted(each.operator for each in nested.tensors) == [
        "ADD", "CONV_2D", "CONV_2D", "CONV_2D", "FULLY_CONNECTED", "QUANTIZE",
    ]  # fmt: skip


def test_rounding_all_at_once_is_what_the_int8_model_does(files: Path, nested: ActivationNoise) -> None:
    """Next to floats with the same weights, the runtime's int8 kernels err by as much, within what rounding inside
    them adds."""
    from nq_tflite.device.runtimes import load_runtime
    from nq_tflite.format.levels import signal_to_noise_db
    from nq_tflite.graph import flatbuffer as fb
    from nq_tflite.graph.float_twin import make_float_twin

    twin = fb.read_model(files / "full.tflite").model
    make_float_twin(twin)
    results = []
    for content in (fb.pack_model(twin), (files / "full.tflite").read_bytes()):
        interpreter = load_runtime("ai-edge-litert").interpreter(model_content=content)
        interpreter.allocate_tensors()
        rows = []
        for values in np.load(files / "samples.npy")[::2]:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
        results.append(np.stack(rows))
    assert signal_to_noise_db(*results) == pytest.approx(nested.together_db, abs=0.3)


def test_a_stock_file_is_told_like_the_nested_one(files: Path, nested: ActivationNoise) -> None:
    assert (
        activation_noise(files / "full.tflite", samples=files / "samples.npy", progress=None).tensors == nested.tensors
    )


@pytest.mark.slow
def test_a_keras_model_becomes_an_int8_one(files: Path, nested: ActivationNoise) -> None:
    found = activation_noise(files / "model.keras", samples=files / "samples.npy", progress=None)
    assert "loud" in found.tensors[0].name
    assert found.together_db == pytest.approx(nested.together_db, abs=1.5)


def test_int8_inputs_are_told_too(files: Path, tmp_path: Path) -> None:
    import keras

    path, model = tmp_path / "int8.tflite", keras.models.load_model(files / "model.keras")
    nq.convert(model, path, "8|4", images(8), rounding="nearest", include="*", input_type="int8", output_type="int8")
    found = activation_noise(path, samples=images(8), progress=None)
    assert INPUT in {each.operator for each in found.tensors}
    assert len(found.tensors) == 6


def test_the_command(files: Path) -> None:
    arguments = ("evaluate", files / "nested.tflite", "--sensitivity", "--samples", files / "samples.npy")
    text = invoke(*arguments).stdout
    assert "loud" in text
    assert "all activations at once: " in text
    found = json.loads(invoke(*arguments, "--threads", 1, "--json").stdout)
    assert found["tensors"][0]["share"] > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--compare",), "--compare cannot be combined with --sensitivity"),
        (("--reference", "x"), "--reference cannot be combined with --sensitivity"),
        (("--nesting", "8|4"), "--nesting cannot be combined with --sensitivity"),
    ],
)
def test_options_of_others(files: Path, options: tuple[str, ...], message: str) -> None:
    result = invoke("evaluate", files / "nested.tflite", "--sensitivity", "--samples", files / "samples.npy", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_refusals(files: Path) -> None:
    samples = images(4)
    with pytest.raises(UnsupportedModelError, match="expected int8 activations, got floats alone"):
        activation_noise(files / "floats.tflite", samples=samples, progress=None)
    with pytest.raises(RepresentativeDataError, match=r"expected \[samples, 8, 8, 3\], got \[4, 8, 3\]"):
        activation_noise(files / "nested.tflite", samples=samples[:, 0], progress=None)
    with pytest.raises(PhotosError, match="expected photos or samples, got neither"):
        activation_noise(files / "nested.tflite", progress=None)


def test_photos_are_inputs(files: Path, tmp_path: Path) -> None:
    from PIL import Image

    rng: Any = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    found = activation_noise(files / "nested.tflite", tmp_path, preprocess="0..1", progress=None)
    assert found.num_inputs == 3
