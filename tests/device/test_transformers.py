"""Transformers at dynamic range: one partition, near the exact results, for any batch."""

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
from nq_tflite.format.levels import signal_to_noise_db

TOKENS, WIDTH = 12, 64
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


def test_masks_that_the_graph_computes(worker_of: Any, tmp_path: Path) -> None:
    """They are added within attention, which stays in one piece: hidden tokens hardly change what others become."""
    import keras
    from keras import ops
    from nq_tflite_models.nets.seeded import set_seeded_weights
    from nq_tflite_models.nets.transformers import attention

    tokens = keras.Input((TOKENS, WIDTH), name="tokens")  # those whose first value is positive are hidden
    mask = ops.reshape(ops.relu(tokens[:, :, :1]) * -1e5, (-1, 1, 1, TOKENS))
    model = keras.Model(tokens, attention(tokens, 4, "attention", bias=lambda scores: scores + mask))
    path = tmp_path / "nested.tflite"
    nq.convert(export(set_seeded_weights(model, 5), None), path, "8|4", rounding="nearest")
    run = worker_of(installed_runtimes()[0])
    assert run(delegation_jobs.is_one_partition, path)
    values = np.random.default_rng(6).normal(0, 1, (3, TOKENS, WIDTH)).astype(np.float32)
    values[:, :, 0] = np.where(np.arange(TOKENS) % 3 == 0, 1, -1)
    others = np.where(values[:, :, :1] > 0, np.abs(values), values)
    exact, fused, changed = (
        run(jobs.all_outputs, path, each, precision="full", fuse=fuse)[0]
        for each, fuse in ((values, False), (values, True), (others, True))
    )
    shown = values[:, :, 0] < 0
    for wanted, got in ((exact, fused), (fused[shown], changed[shown])):
        assert signal_to_noise_db(wanted, got) > LEAST_SNR_DB


@pytest.fixture(scope="module")
def language_block() -> Any:
    """RMS norms, one projection split into queries, keys and values, rotated by position, a gate, GELU as formulas."""
    import keras
    from keras import ops
    from nq_tflite_models.nets.seeded import set_seeded_weights

    def rotated(x: Any) -> Any:
        left, right = ops.split(x, 2, axis=-1)
        angles = np.arange(TOKENS)[:, None] * 10.0 ** -np.linspace(0, 4, WIDTH)
        return x * np.cos(angles).astype(np.float32) + ops.concatenate([-right, left], -1) * np.sin(angles).astype("f")

    tokens = keras.Input((TOKENS, WIDTH), name="tokens")
    x = keras.layers.RMSNormalization(name="norm_0")(tokens)
    query, key, value = ops.split(keras.layers.Dense(3 * WIDTH, name="projection")(x), 3, axis=-1)
    scores = ops.matmul(rotated(query), ops.transpose(rotated(key), (0, 2, 1))) * WIDTH**-0.5
    x = keras.layers.Add()([tokens, keras.layers.Dense(WIDTH, name="out")(ops.matmul(ops.softmax(scores), value))])
    hidden = keras.layers.Dense(160, name="hidden")(keras.layers.RMSNormalization(name="norm_1")(x))
    gate, up = ops.split(hidden, [64], axis=-1)
    y = keras.layers.Dense(WIDTH, name="project")(ops.silu(gate) * up[:, :, :64])
    y = 0.5 * y * (1 + ops.tanh(0.79788 * (y + 0.044715 * ops.power(y, 3))))
    y = ops.pad(keras.layers.Add()([x, y]), ((0, 0), (1, 0), (0, 0)))
    pooled = ops.max(y, axis=1) + ops.mean(y, axis=1)
    return set_seeded_weights(keras.Model(tokens, keras.layers.Dense(10, name="logits")(pooled)), 3)


@pytest.mark.parametrize("activations", ["float", "int8"])
def test_blocks_of_language_models_run_in_one_piece(
    activations: str, language_block: Any, worker_of: Any, native_worker_of: Any, tmp_path: Path
) -> None:
    """Of int8, as the stock file bit for bit."""
    tokens = np.random.default_rng(2).normal(0, 1, (24, TOKENS, WIDTH)).astype(np.float32)
    data = None if activations == "float" else sample_source(tokens)
    nested, stock = tmp_path / "nested.tflite", tmp_path / "stock.tflite"
    nq.convert(export(language_block, data), nested, "8|4", rounding="nearest")
    nq.extract(nested, stock, "full")
    run = worker_of(installed_runtimes()[0])
    assert run(delegation_jobs.is_one_partition, nested)
    [got] = run(jobs.all_outputs, nested, tokens[:3], precision="full", threads=2)
    [wanted] = native_worker_of(installed_runtimes()[0])(jobs.all_outputs, stock, tokens[:3])
    if activations == "int8":
        np.testing.assert_array_equal(got, wanted)
    else:
        assert signal_to_noise_db(wanted, got) > LEAST_SNR_DB


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
