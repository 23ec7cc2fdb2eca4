"""Keras' own MultiHeadAttention, whose projections are sums over several axes by `keras.layers.EinsumDense`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import delegation_jobs
import jobs
import numpy as np
import pytest

import nq_tflite as nq
from nq_tflite.device.runtimes import installed_runtimes
from nq_tflite.format.levels import signal_to_noise_db

TOKENS, WIDTH, HEADS = 12, 64, 4


@pytest.mark.parametrize("rounding", ["nearest", pytest.param("descent", marks=pytest.mark.slow)])
def test_every_projection_nests(rounding: Any, worker_of: Any, tmp_path: Path) -> None:
    """Query, key, value and output of attention, and a projection by einsum alone; full-bit is near the float model."""
    import keras
    from nq_tflite_models.nets.seeded import set_seeded_weights

    tokens = keras.Input((TOKENS, WIDTH), name="tokens")
    x = keras.layers.MultiHeadAttention(HEADS, WIDTH // HEADS, name="attention")(tokens, tokens)
    x = keras.layers.LayerNormalization()(keras.layers.Add()([tokens, x]))
    x = keras.layers.EinsumDense("abc,cd->abd", (None, WIDTH), bias_axes="d", name="einsum")(x)
    model = set_seeded_weights(keras.Model(tokens, x))
    inputs = np.random.default_rng(0).normal(size=(24, TOKENS, WIDTH)).astype(np.float32)
    exact, path = np.asarray(model(inputs[:8])), tmp_path / "nested.tflite"

    data = None if rounding == "nearest" else inputs[8:]
    float_file = tmp_path / "float.tflite"
    float_file.write_bytes(_exported(model))
    report = nq.convert(float_file, path, "8|5", data, rounding=rounding)
    assert len(report.weights) == 5
    assert not report.unnested
    assert worker_of(installed_runtimes()[0])(delegation_jobs.is_one_partition, path)
    full, part = worker_of(installed_runtimes()[0])(jobs.run_nested, path, inputs[:8], ["full", "part"], builtin=False)
    assert signal_to_noise_db(exact, full.reshape(exact.shape)) > 30
    assert signal_to_noise_db(exact, part.reshape(exact.shape)) > 15
    if rounding == "nearest":
        nq.convert(model, path, "8|5", inputs[8:], rounding=rounding)
        assert worker_of(installed_runtimes()[0])(delegation_jobs.is_one_partition, path), "full-int8"


def _exported(model: Any) -> bytes:
    from nq_tflite.conversion.sources.keras_export import export

    return export(model, None)
