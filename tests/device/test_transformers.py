"""Transformers at dynamic range: one partition, near the exact results, for any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.device.runtimes import installed_runtimes

#: What quantizing the inputs of dense layers may cost.
LEAST_SNR_DB = 25.0


@pytest.mark.parametrize("name", ["vit", "swin"])
def test_they_run_in_one_piece(name: str, worker_of: Any, tmp_path: Path) -> None:
    from nq_tflite_models.nets import transformers

    path = tmp_path / "nested.tflite"
    nq.convert(getattr(transformers, name)(side=16, blocks=2), path, "8|4", rounding="nearest")
    run = worker_of(installed_runtimes()[0])
    assert run(delegation_jobs.is_one_partition, path)
    images = np.random.default_rng(1).uniform(0, 1, (3, 16, 16, 3)).astype(np.float32)
    for batch in (images, images[:1]):
        for precision in ("full", "part"):
            [exact] = run(jobs.all_outputs, path, batch, precision=precision, fuse=False)
            [fused] = run(jobs.all_outputs, path, batch, precision=precision, threads=2)
            error = np.square(fused - exact).sum() / np.square(exact).sum()
            assert 10 * np.log10(error) < -LEAST_SNR_DB


def test_images_are_normalized_alike_by_all(worker_of: Any, tmp_path: Path) -> None:
    """Normalized over three axes, scaled by constants of a short axis: PoolFormer's blocks."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(6)
    image = keras.Input((24, 20, 48))
    x = layers.GroupNormalization(1, beta_initializer="normal", gamma_initializer="uniform")(image)
    x = layers.Add()([image, layers.Subtract()([layers.AveragePooling2D(3, 1, "same")(x), x])])
    y = layers.Conv2D(96, 1, bias_initializer="normal", activation="gelu")(layers.LayerNormalization(axis=(1, 2, 3))(x))
    x = layers.Add()([x, layers.Conv2D(48, 1)(y)])
    path = tmp_path / "nested.tflite"
    nq.convert(keras.Model(image, x), path, "8|4", rounding="nearest")
    run = worker_of(installed_runtimes()[0])
    assert run(delegation_jobs.is_one_partition, path)
    images = np.random.default_rng(2).normal(0.5, 1, (2, 24, 20, 48)).astype(np.float32)
    [exact] = run(jobs.all_outputs, path, images, precision="full", fuse=False)
    [wanted] = run(jobs.all_outputs, path, images, precision="full", isa="scalar")
    assert 10 * np.log10(np.square(wanted - exact).sum() / np.square(exact).sum()) < -LEAST_SNR_DB
    for isa, threads in [("", 1), ("", 2), ("avx2", 2)]:
        for got in run(jobs.all_outputs, path, images, precision="full", isa=isa, threads=threads):
            np.testing.assert_array_equal(got, wanted)
