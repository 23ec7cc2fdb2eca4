"""Nets of the zoo that take trained weights from a file: seeded ones, and files of them written here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nq_tflite_models.nets.zoo import WITH_WEIGHTS, build_model
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from state_dicts import saved_state_dict

from nq_tflite.errors import ModelSourceError, UnsupportedModelError

Array = NDArray[Any]

#: Parameters with the moments of batch norms; 0.27 and 0.85 million are the paper's.
PARAMETERS = {"cifar_resnet20": 271_098, "cifar_resnet56": 857_082, "mlperf_resnet8": 78_666, "mlperf_vww": 221_794}
#: What PyTorch calls the parameters of a batch norm.
NORM = ("weight", "bias", "running_mean", "running_var")
SHAPES = {"cifar": ((32, 32, 3), 10), "mlperf_resnet8": ((32, 32, 3), 10), "mlperf_vww": ((96, 96, 3), 2)}


@pytest.mark.parametrize("name", ["cifar_resnet20", "mlperf_resnet8", "mlperf_vww", "mlperf_kws"])
def test_seeded_weights(name: str) -> None:
    from nq_tflite_models.nets.seeded import seeded_inputs

    model, other = build_model(name, seed=3), build_model(name, seed=4)
    shape, classes = next((each for key, each in SHAPES.items() if name.startswith(key)), ((49, 10, 1), 12))
    assert (model.input_shape, model.output_shape) == ((None, *shape), (None, classes))
    assert model.count_params() == PARAMETERS.get(name, 22_604)
    logits, others = (np.asarray(each(seeded_inputs(model.input_shape, 6))) for each in (model, other))
    assert np.isfinite(logits).all()
    assert logits.std(axis=0).min() > 0.01
    assert not np.allclose(logits, others)


@pytest.mark.slow
def test_the_deepest_one() -> None:
    assert build_model("cifar_resnet56").count_params() == PARAMETERS["cifar_resnet56"]


# ---- CIFAR ResNets ---------------------------------------------------------------------------------------------------


def torch_weights(blocks: int, seed: int) -> dict[str, Array]:
    """Random weights by PyTorch's names and in its axes, as torch.nn.DataParallel writes them."""
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}

    def conv_and_norm(conv: str, norm: str, channels: int, given: int) -> None:
        found[f"module.{conv}.weight"] = rng.normal(0, (9 * given) ** -0.5, (channels, given, 3, 3))
        for name, low in zip(NORM, (0.5, -0.5, -0.5, 0.5), strict=True):
            found[f"module.{norm}.{name}"] = rng.uniform(low, low + 1, channels)

    conv_and_norm("conv1", "bn1", 16, 3)
    given = 16
    for stage, channels in enumerate((16, 32, 64), start=1):
        for block in range(blocks):
            for layer in (1, 2):
                name = f"layer{stage}.{block}"
                conv_and_norm(f"{name}.conv{layer}", f"{name}.bn{layer}", channels, given)
                given = channels
    found["module.linear.weight"], found["module.linear.bias"] = rng.normal(0, 0.2, (10, 64)), rng.normal(0, 1, 10)
    return {name: values.astype(np.float32) for name, values in found.items()}


def as_torch(weights: Mapping[str, Array], blocks: int, image: Array) -> Array:
    """Logits of an image [3, 32, 32], by the arithmetic of the net's PyTorch code."""

    def conv_and_norm(x: Array, conv: str, norm: str, stride: int) -> Array:
        windows = sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))[:, ::stride, ::stride]
        y = np.einsum("ihwab,oiab->ohw", windows, weights[f"module.{conv}.weight"])
        scale, shift, mean, variance = (weights[f"module.{norm}.{each}"][:, None, None] for each in NORM)
        return (y - mean) / np.sqrt(variance + 1e-5) * scale + shift

    x = np.maximum(conv_and_norm(image, "conv1", "bn1", 1), 0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            stride, name = 2 if stage > 1 and block == 0 else 1, f"layer{stage}.{block}"
            y = np.maximum(conv_and_norm(x, f"{name}.conv1", f"{name}.bn1", stride), 0)
            y = conv_and_norm(y, f"{name}.conv2", f"{name}.bn2", 1)
            quarter = (len(y) - len(x)) // 2
            x = np.maximum(y + np.pad(x[:, ::stride, ::stride], ((quarter, quarter), (0, 0), (0, 0))), 0)
    return weights["module.linear.weight"] @ x.mean((1, 2)) + weights["module.linear.bias"]


def test_cifar_resnet_computes_what_pytorch_does(tmp_path: Path) -> None:
    from nq_tflite_models.nets.cifar_resnet import cifar_resnet

    weights, images = torch_weights(1, seed=5), np.random.default_rng(6).normal(0, 1, (2, 3, 32, 32))
    (tmp_path / "resnet8.th").write_bytes(saved_state_dict(weights))
    model = cifar_resnet(8, tmp_path / "resnet8.th")
    got = np.asarray(model(images.transpose(0, 2, 3, 1).astype(np.float32)))
    np.testing.assert_allclose(got, [as_torch(weights, 1, image) for image in images], rtol=1e-3, atol=1e-4)


def test_weights_of_another_depth_are_refused(tmp_path: Path) -> None:
    (tmp_path / "resnet8.th").write_bytes(saved_state_dict(torch_weights(1, seed=5)))
    with pytest.raises(ModelSourceError, match=r"weights layer1\.1\.conv1\.weight: expected a tensor of rank 4"):
        build_model("cifar_resnet20", weights=tmp_path / "resnet8.th")


def test_depths_that_there_are_not() -> None:
    from nq_tflite_models.nets.cifar_resnet import cifar_resnet

    for depth in (2, 18, 51):
        with pytest.raises(ValueError, match=rf"expected 6 n \+ 2, got {depth}"):
            cifar_resnet(depth)


# ---- MLPerf Tiny -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlperf_resnet8", "mlperf_vww"])
def test_weights_of_an_h5_file(name: str, tmp_path: Path) -> None:
    first = build_model(name, seed=7)
    first.save(tmp_path / "net.h5")
    again = build_model(name, weights=tmp_path / "net.h5")
    for ours, theirs in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimized", [False, True])
def test_weights_of_a_tflite_file(optimized: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    first = build_model("mlperf_kws", seed=7)
    converter = tf.lite.TFLiteConverter.from_keras_model(first)
    converter.optimizations = [tf.lite.Optimize.DEFAULT] if optimized else []
    (tmp_path / "net.tflite").write_bytes(converter.convert())
    again = build_model("mlperf_kws", weights=tmp_path / "net.tflite")
    for ours, theirs in zip(again.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=np.abs(theirs).max() / 250 if optimized else 0)


@pytest.mark.parametrize("name", ["mlperf_resnet8", "mlperf_kws"])
def test_files_of_other_nets_are_refused(name: str, tmp_path: Path) -> None:
    from nq_tflite_models.nets.small import mixed_net

    from nq_tflite.conversion.sources.keras_export import export

    other = mixed_net()
    suffix = ".h5" if name == "mlperf_resnet8" else ".tflite"
    path, missing, damaged = (tmp_path / f"{each}{suffix}" for each in ("other", "missing", "damaged"))
    if suffix == ".h5":
        other.save(path)
    else:
        path.write_bytes(export(other, None))
    damaged.write_bytes(b"damaged")
    for each in (path, missing, damaged):
        with pytest.raises(ModelSourceError, match=f"weights {each} for {name}: expected"):
            build_model(name, weights=each)


def test_weights_for_a_net_that_takes_none(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"one of cifar_resnet20, .*, got ds_cnn_s"):
        build_model("ds_cnn_s", weights=tmp_path / "net.h5")
    assert set(WITH_WEIGHTS) >= set(PARAMETERS)
