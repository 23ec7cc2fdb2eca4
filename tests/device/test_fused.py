"""Fused layers: bit for bit what XNNPACK gives for the extracted model, the same on every ISA and thread count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.conversion.sources.calibration import sample_source
from nq_tflite.conversion.sources.keras_export import export
from nq_tflite.device.runtimes import installed_runtimes


@pytest.fixture(scope="session")
def inputs() -> np.ndarray:
    """float32 [3, 19, 17, 35]: nothing is a multiple of anything."""
    return np.random.default_rng(9).normal(0.2, 0.6, (3, 19, 17, 35)).astype(np.float32)


@pytest.fixture(scope="session")
def branches(inputs: np.ndarray) -> bytes:
    """One full-int8 model with a branch for each kind of layer and of neighbour, and all of them as outputs."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    image = keras.Input(inputs.shape[1:], name="image")
    wide = layers.Conv2D(150, 1, activation="relu6")(image)
    padded = layers.ZeroPadding2D(1)(wide)
    outputs = [
        wide,
        layers.Conv2D(70, 3, padding="same", activation="relu6")(image),
        layers.Conv2D(65, 3, strides=2, padding="valid")(image),
        layers.Conv2D(64, 5, strides=(2, 3), padding="same", activation="relu")(image),
        layers.Conv2D(70, 1, strides=2)(image),
        layers.Conv2D(48, 3, dilation_rate=2, padding="same", use_bias=False)(image),
        layers.Conv2D(48, (1, 7), padding="same")(image),
        layers.Conv2D(33, (19, 17), padding="valid")(image),
        layers.DepthwiseConv2D(3, padding="same", activation="relu6")(wide),
        layers.DepthwiseConv2D(3, strides=2, padding="valid")(wide),
        layers.DepthwiseConv2D(5, strides=2, padding="same", activation="relu")(wide),
        layers.DepthwiseConv2D(3, dilation_rate=2, padding="same")(wide),
        layers.Dense(90)(layers.GlobalAveragePooling2D()(wide)),
        layers.Dense(40, activation="relu")(wide),
        layers.Add()([wide, layers.Conv2D(150, 3, padding="same")(image)]),
        layers.ReLU()(layers.Add()([layers.DepthwiseConv2D(3, padding="same")(wide), wide])),
        layers.Conv2D(48, 3, strides=2)(layers.ZeroPadding2D(((1, 2), (0, 3)))(wide)),
        layers.MaxPooling2D(3, strides=2, padding="same")(wide),
        layers.MaxPooling2D((2, 3), strides=1, padding="valid")(wide),
        layers.DepthwiseConv2D(3, strides=2)(layers.ZeroPadding2D(((0, 1), (2, 1)))(wide)),
        layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(((2, 1), (1, 2)))(wide)),
        layers.MaxPooling2D(2)(layers.ZeroPadding2D(1)(layers.Conv2D(48, 1)(image))),
        layers.Conv2D(48, 3)(padded),
        layers.MaxPooling2D(2)(padded),
    ]
    return export(keras.Model(image, outputs), sample_source(inputs))


@pytest.fixture(scope="session")
def litert(worker_of: Any) -> Any:
    if "ai-edge-litert" not in installed_runtimes():
        pytest.skip("ai-edge-litert is not installed, and only its XNNPACK takes int8 on x86")
    return worker_of("ai-edge-litert")


@pytest.mark.parametrize("nesting", ["8|5", "8|4", "8|7", "8|2", "8|6|4", "6|3", "4|3"])
def test_every_layer_is_xnnpacks_bit_for_bit(
    nesting: str, litert: Any, branches: bytes, inputs: np.ndarray, tmp_path: Path
) -> None:
    nq.convert(branches, tmp_path / "nested.tflite", nesting, rounding="nearest")
    levels = nq.Nesting.parse(nesting).precisions
    for batch in (1, 3):
        for bits in levels:
            nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", bits)
            wanted = litert(jobs.all_outputs, tmp_path / "stock.tflite", inputs[:batch])
            for threads in (1, 2):
                got = litert(
                    jobs.all_outputs, tmp_path / "nested.tflite", inputs[:batch], precision=bits, threads=threads
                )
                assert len(got) == len(wanted) == 24
                for a, b in zip(got, wanted, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_large_images_come_in_bands_bit_for_bit(litert: Any, tmp_path: Path) -> None:
    """What lies between layers is above the size from which it is computed some rows at a time."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    images = np.random.default_rng(10).normal(0.2, 0.6, (2, 97, 113, 3)).astype(np.float32)
    image = keras.Input(images.shape[1:], name="image")
    first = layers.Conv2D(32, 3, padding="same", activation="relu6")(image)
    wide = layers.DepthwiseConv2D(5, padding="same", activation="relu6")(first)
    added = layers.Add()([layers.Conv2D(32, 1)(wide), layers.Conv2D(32, 1)(image)])
    narrow = layers.DepthwiseConv2D(3, strides=2)(layers.Conv2D(48, 1, activation="relu")(added))
    again = layers.Add()([added, layers.Conv2D(32, 3, padding="same")(added)])
    outputs = [layers.Conv2D(4, 1)(narrow), layers.Conv2D(8, 5, strides=3, padding="same")(again)]
    content = export(keras.Model(image, outputs), sample_source(images))
    nq.convert(content, tmp_path / "nested.tflite", "8|4", rounding="nearest")
    for bits in (8, 4):
        nq.extract(tmp_path / "nested.tflite", tmp_path / "stock.tflite", bits)
        wanted = litert(jobs.all_outputs, tmp_path / "stock.tflite", images)
        for threads in (1, 2):
            got = litert(jobs.all_outputs, tmp_path / "nested.tflite", images, precision=bits, threads=threads)
            for a, b in zip(got, wanted, strict=True):
                np.testing.assert_array_equal(a, b)


def test_isas_and_thread_counts_agree(worker_of: Any, branches: bytes, inputs: np.ndarray, tmp_path: Path) -> None:
    nq.convert(branches, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    run = worker_of(installed_runtimes()[0])
    for precision in ("full", "part"):
        wanted = run(jobs.all_outputs, tmp_path / "nested.tflite", inputs, precision=precision, isa="scalar")
        for isa in ("", "sse2", "avx2", "avxvnni", "avx512vnni"):
            for threads in (1, 2, 3):
                got = run(
                    jobs.all_outputs, tmp_path / "nested.tflite", inputs, precision=precision, isa=isa, threads=threads
                )
                for a, b in zip(got or wanted, wanted, strict=True):  # empty: not an ISA of this machine
                    np.testing.assert_array_equal(a, b)


def test_the_weight_between_fused_nodes_is_never_allocated(
    litert: Any, branches: bytes, inputs: np.ndarray, tmp_path: Path
) -> None:
    nq.convert(branches, tmp_path / "nested.tflite", "8|5", rounding="nearest")
    fused = litert(delegation_jobs.allocated_weights, tmp_path / "nested.tflite", fuse=True)
    unpacked = litert(delegation_jobs.allocated_weights, tmp_path / "nested.tflite", fuse=False)
    assert fused == 0
    assert unpacked == len(nq.inspect_file(tmp_path / "nested.tflite").weights)


def test_an_input_of_other_channels_is_refused(litert: Any, nested_dir: Path) -> None:
    with pytest.raises(RuntimeError, match="another shape; expected its channels"):
        litert(delegation_jobs.prepare_for, nested_dir / "int8_8_5.tflite", (1, 16, 16, 4))
